"""The ASGI application: who may come in, which route, and what happens to errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from penstock.assemble import House
from penstock.errors import NotFound, NotReady, PenstockError
from penstock.server import admin, openai, pages
from penstock.server.access import identify
from penstock.server.http import Receive, Request, Response, Scope, Send, Stream, json_response, matched
from penstock.trace import log

__all__ = ["App"]

Route = Callable[[Request, House], Awaitable[Response | Stream]]

ROUTES: list[tuple[str, str, Route]] = [
    ("GET", "/v1/models", openai.models),
    ("POST", "/v1/chat/completions", openai.chat),
    ("POST", "/v1/embeddings", openai.embeddings),
    ("GET", "/api/collections", admin.collections),
    ("POST", "/api/collections", admin.create_collection),
    ("GET", "/api/collections/{name}/documents", admin.documents),
    ("POST", "/api/collections/{name}/documents", admin.upload),
    ("DELETE", "/api/collections/{name}/documents", admin.delete_document),
    ("GET", "/api/collections/{name}/documents/{document}", admin.document),
    ("POST", "/api/collections/{name}/search", admin.search),
    ("POST", "/api/collections/{name}/sync", admin.sync),
    ("GET", "/api/collections/{name}/versions", admin.versions),
    ("POST", "/api/collections/{name}/versions/{version}/use", admin.use_version),
    ("GET", "/api/collections/{name}/diff", admin.difference),
]

SAFE_HEADERS = (("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"))


class App:
    """Serves one house. `ready` from the moment the encoder is loaded until draining begins."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.ready = False
        self._refreshing: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(Request(scope, receive, self.house.settings.server.max_body_mb << 20), send)

    async def _answer(self, request: Request, send: Send) -> None:
        started, status = time.perf_counter(), 200
        try:
            response = await self._respond(request)
            status = response.status if isinstance(response, Response) else 200
            await response.send(send, SAFE_HEADERS)
        except PenstockError as error:
            status = error.status
            await admin.refusal(error).send(send, SAFE_HEADERS)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # here a request ends: what nobody expected is recorded, and its words stay inside
            status = 500
            log("request failed", level="error", path=request.path, error=f"{type(error).__name__}: {error}")
            with suppress(RuntimeError):  # the response had begun
                await admin.refusal(
                    PenstockError("something went wrong inside", hint="the server's log says what")
                ).send(send, SAFE_HEADERS)
        finally:
            took = round((time.perf_counter() - started) * 1000, 1)
            log(
                "request",
                method=request.method,
                path=request.path,
                status=status,
                duration_ms=took,
                caller=request.caller.name,
            )

    async def _respond(self, request: Request) -> Response | Stream:
        match request.path:
            case "/healthz":
                return json_response({"status": "ok"})
            case "/readyz":
                if not self.ready:
                    raise NotReady("starting or draining")
                return json_response({"status": "ready"})
        page = pages.page(request)
        if page:
            return page
        request.caller, request.admin = identify(request, self.house.settings)
        for method, pattern, route in ROUTES:
            values = matched(pattern, request.path) if method == request.method else None
            if values is not None:
                request.path_values = values
                return await route(request, self.house)
        allowed = sorted({method for method, pattern, _ in ROUTES if matched(pattern, request.path) is not None})
        raise NotFound(
            f"there is no {request.method} {request.path}",
            hint=f"this path takes {', '.join(allowed)}" if allowed else "",
        )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await asyncio.to_thread(self._warm)
        except PenstockError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        self.ready = True
        for name, settings in self.house.settings.documents.items():
            if settings.refresh:
                self._refreshing.append(asyncio.create_task(self._refresh(name, settings.refresh)))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.ready = False
        for task in self._refreshing:
            task.cancel()
        self.house.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _warm(self) -> None:
        """Load the encoder and open what is live, so that the first question is as fast as the second."""
        embedder = self.house.library.embedder
        if "://" not in embedder.id:  # a remote one is not called before it is needed
            embedder.embed(["ready"])
        for name in self.house.library.names():
            with suppress(NotFound):
                self.house.library[name].snapshot()

    async def _refresh(self, name: str, every_s: float) -> None:
        """Look for changes from time to time. An error is recorded, and the next time comes all the same."""
        while True:
            try:
                report = await asyncio.to_thread(self.house.library[name].sync)
                log("refreshed", collection=name, version=report.version, skipped=len(report.skipped))
            except PenstockError as error:
                log("refresh failed", level="warning", collection=name, error=error.code)
            except Exception as error:  # a background task ends here
                log("refresh failed", level="error", collection=name, error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(every_s)
