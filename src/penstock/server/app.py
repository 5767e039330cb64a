"""The ASGI application: who may come in, which route, and what happens to errors."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from penstock.assemble import House
from penstock.errors import NotFound, NotReady, PenstockError
from penstock.server import admin, openai, pages
from penstock.server.access import identify
from penstock.server.http import Receive, Request, Response, Scope, Send, Stream, json_response, matched
from penstock.server.work import Stoppable, Work
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

CLOSING_S = 2.0  # longest wait for those who are indexing to notice that they should stop
SAFE_HEADERS = (("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"))


class App:
    """Serves one house, between `open` and `close`. Until it is ready, and when it is not any more, it says so."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.ready = False
        self.work = Work()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(Request(scope, receive, self.house.settings.server.max_body_mb << 20, self.work), send)

    async def _answer(self, request: Request, send: Send) -> None:
        started, status = time.perf_counter(), 200
        try:
            response = await self._respond(request)
            status = response.status if isinstance(response, Response) else 200
            await response.send(send, SAFE_HEADERS)
        except PenstockError as error:
            status = error.status
            await _refuse(send, error)
        except asyncio.CancelledError:
            status = NotReady.status
            await _refuse(send, NotReady("the server is stopping and could not wait for this"))
        except Exception as error:  # here a request ends: what nobody expected is recorded, and its words stay inside
            status = PenstockError.status
            log("request failed", level="error", path=request.path, error=type(error).__name__, at=_place(error))
            await _refuse(send, PenstockError("something went wrong inside", hint="the server's log says what"))
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
        if request.path == "/healthz":
            return json_response({"status": "ok"})
        page = pages.page(request)
        if page:
            return page
        if not self.ready:
            raise NotReady("the server is starting or stopping", hint="try again in a moment")
        if request.path == "/readyz":
            return json_response({"status": "ready"})
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

    def open(self) -> None:
        """Load the encoder and open what is live, so that the first question is as fast as the second."""
        embedder = self.house.library.embedder
        if "://" not in embedder.id:  # a remote one is not called before it is needed
            embedder.embed(["ready"])
        for name in self.house.library.names():
            with suppress(NotFound):
                self.house.library[name].snapshot()
        for name, settings in self.house.settings.documents.items():
            if settings.refresh:
                self.work.start(partial(self._refresh, name, settings.refresh))

    def _refresh(self, name: str, every_s: float) -> None:
        """Look for changes from time to time, and go on after an error, which is recorded."""
        while not self.work.stop.is_set():
            try:
                report = self.house.library[name].sync(progress=Stoppable(self.work))
                log("refreshed", collection=name, version=report.version, skipped=len(report.skipped))
            except PenstockError as error:
                log("refresh failed", level="warning", collection=name, error=error.code)
            except Exception as error:  # a background task ends here
                log("refresh failed", level="error", collection=name, error=type(error).__name__, at=_place(error))
            self.work.stop.wait(every_s)

    def close(self) -> None:
        """Close the house, unless somebody is still in it: then it stays open until the process ends."""
        if self.work.end(within_s=CLOSING_S):
            self.house.close()


async def _refuse(send: Send, error: PenstockError) -> None:
    with suppress(RuntimeError):  # the response has begun; it breaks off
        await json_response(error.body(), error.status).send(send, SAFE_HEADERS)


def _place(error: Exception) -> str:
    """Where an error was raised and from where it was called; its message may hold somebody's words."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
