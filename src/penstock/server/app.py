"""The ASGI application: who may come in, which route, and what happens to errors."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from penstock import retention
from penstock.assemble import SEALED, House
from penstock.config import secret_files
from penstock.errors import Conflict, NotFound, NotReady, PenstockError
from penstock.jobs.runner import Runner
from penstock.models.providers import PATHS
from penstock.observe.sealed import is_installed, seal
from penstock.server import (
    ab,
    admin,
    batches,
    conversations,
    files,
    guard,
    language,
    manage,
    mcp,
    objectives,
    openai,
    pages,
    review,
    verify,
    widget,
)
from penstock.server.access import identify
from penstock.server.connection import LEFT
from penstock.server.console.adding import sweep
from penstock.server.generate import count_tokens, generating, refusal
from penstock.server.http import Receive, Request, Response, Scope, Send, Stream, json_response, matched
from penstock.server.work import Stoppable, Work
from penstock.settings_file import path_of
from penstock.trace import log, logs, place

if TYPE_CHECKING:
    from penstock.observe.probes import Run

__all__ = ["App"]

Route = Callable[[Request, House], Awaitable[Response | Stream]]

GENERATING: dict[str, Route] = {f"/v1{path}": generating(dialect) for dialect, path in PATHS.items()}
GENERATING["/v1/messages/count_tokens"] = count_tokens

ROUTES: list[tuple[str, str, Route]] = [
    *(("POST", path, route) for path, route in GENERATING.items()),
    ("GET", "/v1/models", openai.models),
    ("GET", "/v1/models/{model*}", openai.model),
    ("GET", "/v1/files", files.list_),
    ("POST", "/v1/files", files.create),
    ("GET", "/v1/files/{file}", files.get),
    ("DELETE", "/v1/files/{file}", files.delete),
    ("GET", "/v1/files/{file}/content", files.content),
    ("GET", "/v1/batches", batches.list_),
    ("POST", "/v1/batches", batches.create),
    ("GET", "/v1/batches/{batch}", batches.get),
    ("POST", "/v1/batches/{batch}/cancel", batches.cancel),
    ("POST", "/v1/guard", guard.check_text),
    ("POST", "/v1/verify", verify.check_text),
    ("POST", "/v1/language", language.tell),
    ("POST", mcp.PATH, mcp.serve),
    ("GET", mcp.PATH, mcp.only_post),
    ("DELETE", mcp.PATH, mcp.only_post),
    ("POST", "/v1/feedback", review.give_feedback),
    ("GET", "/v1/feedback", review.asked_for),
    ("GET", "/v1/feedback/{request}", review.feedback),
    ("DELETE", "/v1/feedback/{request}", review.withdraw_feedback),
    ("GET", "/v1/review", review.status),
    ("GET", "/v1/review/feedback", review.latest_feedback),
    ("POST", "/v1/review/draws", review.draw),
    ("GET", "/v1/review/draws/{draw}/estimate", review.estimate),
    ("GET", "/v1/review/agreement", review.agreement),
    ("POST", "/v1/review/next", review.next_),
    ("POST", "/v1/review/undo", review.undo),
    ("GET", "/v1/review/items/{item}", review.item),
    ("POST", "/v1/review/items/{item}/judge", review.judge),
    ("POST", "/v1/review/items/{item}/skip", review.skip),
    ("POST", "/v1/review/items/{item}/release", review.release),
    ("POST", "/v1/review/items/{item}/act", review.act),
    ("GET", "/v1/review/replies/{reply}", review.reply),
    ("POST", "/v1/review/replies/{reply}/claim", review.claim_reply),
    ("GET", "/v1/review/approvals", review.approvals),
    ("POST", "/v1/review/approvals/{reply}", review.decide),
    ("GET", "/v1/review/hand-overs", review.hand_overs),
    ("POST", "/v1/review/hand-overs", review.hand_over),
    ("POST", "/v1/review/hand-overs/{reply}", review.end_hand_over),
    ("GET", "/api/conversations", conversations.conversations),
    ("GET", "/api/conversations/{conversation}", conversations.conversation),
    ("PUT", "/api/conversations/{conversation}", conversations.keep),
    ("POST", "/api/conversations/{conversation}", conversations.rename),
    ("DELETE", "/api/conversations/{conversation}", conversations.remove),
    ("PUT", "/api/conversations/{conversation}/turns/{turn}", conversations.change),
    ("POST", "/api/conversations/{conversation}/share", conversations.share),
    ("DELETE", "/api/conversations/{conversation}/share", conversations.unshare),
    ("GET", "/api/shared/{secret}", conversations.shared),
    ("GET", "/v1/ab", ab.experiments),
    ("GET", "/v1/ab/{name}", ab.experiment),
    ("GET", "/v1/objectives", objectives.objectives),
    ("GET", "/v1/alerts", objectives.alerts),
    ("POST", "/v1/alerts/silences", objectives.silence),
    ("DELETE", "/v1/alerts/silences/{silence}", objectives.end_silence),
    ("GET", "/metrics", admin.metrics),
    ("GET", "/api/me", manage.me),
    ("GET", "/api/keys", manage.keys),
    ("POST", "/api/keys", manage.create_key),
    ("GET", "/api/keys/{name}", manage.key),
    ("POST", "/api/keys/{name}/rotate", manage.rotate_key),
    ("DELETE", "/api/keys/{name}", manage.revoke_key),
    ("GET", "/api/budgets", manage.budgets),
    ("GET", "/api/spend", manage.spend),
    ("GET", "/api/requests", manage.requests),
    ("GET", "/api/requests/{trace_id}", manage.request_),
    ("GET", "/api/models", manage.models),
    ("GET", "/api/guard/policies", guard.policies),
    ("GET", "/api/guard/events", guard.events),
    ("GET", "/api/collections", admin.collections),
    ("POST", "/api/collections", admin.create_collection),
    ("GET", "/api/collections/{name}/documents", admin.documents),
    ("POST", "/api/collections/{name}/documents", admin.upload),
    ("DELETE", "/api/collections/{name}/documents", admin.delete_document),
    ("GET", "/api/collections/{name}/documents/{document}", admin.document),
    ("GET", "/api/collections/{name}/documents/{document}/pages/{page}", admin.printed),
    ("POST", "/api/collections/{name}/search", admin.search),
    ("POST", "/api/collections/{name}/sync", admin.sync),
    ("GET", "/api/collections/{name}/versions", admin.versions),
    ("POST", "/api/collections/{name}/versions/{version}/use", admin.use_version),
    ("GET", "/api/collections/{name}/diff", admin.difference),
]

KEYS_EVERY_S = 0.5
AGAIN_S = 5.0
RESOLVE_EVERY_S = 60.0
HOUR_S = RETAIN_EVERY_S = 3600.0
SEAL_AFTER_S = 300.0  # the end of the hour, so that long answers are in it
CLIENT_LEFT = 499  # for the log, as nginx has it
CLOSING_S = 2.0  # longest wait for those who are indexing to notice that they should stop


class App:
    """Serves one house, between `open` and `close`. Until it is ready, and when it is not any more, it says so."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.ready = False
        self.work = Work()
        self._batches: tuple[Runner, asyncio.Task[None]] | None = None
        self._settings_read = 0  # when the settings file was last changed, as far as it was read
        self._secrets_named: tuple[int, list[Path]] = (-1, [])  # the files with secrets that it named then
        self._models_seen: tuple[int, ...] = ()  # when it, the shelf of models and those files were changed
        self._models_again = math.inf  # when what could not be taken over of that is tried again
        self._max_body_bytes = house.settings.server.max_body_mb << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, self._max_body_bytes, self.work)
        route = GENERATING.get(scope["path"]) if scope["method"] == "POST" else None
        if LEFT not in scope or (route is None and request.path != mcp.PATH and not widget.asks(request)):
            await self._answer(request, route, send)
            return
        task, left = asyncio.current_task(), scope[LEFT]

        def leave() -> None:
            request.gone = True
            if task is not None:
                task.cancel()

        left.add(leave)  # a client that leaves ends what is done for it at once
        try:
            await self._answer(request, route, send)
        finally:
            left.discard(leave)

    async def _answer(self, request: Request, route: Route | None, send: Send) -> None:
        started, status = time.perf_counter(), 200
        try:
            if route is not None and self.ready:
                request.caller = identify(request, self.house.settings, self.house.keys)
                response = await route(request, self.house)
            else:
                response = await self._respond(request)
            status = response.status if isinstance(response, Response) else 200
            await response.send(request, send)
        except PenstockError as error:
            status = error.status
            await _refuse(request, send, error)
        except asyncio.CancelledError:
            if request.gone:
                status = CLIENT_LEFT
                return
            status = NotReady.status
            await _refuse(request, send, NotReady("the server is stopping and could not wait for this"))
        except Exception as error:  # here a request ends: what nobody expected is recorded, and its words stay inside
            status = PenstockError.status
            log("request failed", level="error", path=request.path, error=type(error).__name__, at=place(error))
            await _refuse(
                request, send, PenstockError("something went wrong inside", hint="the server's log says what")
            )
        finally:
            if logs("info"):
                took = round((time.perf_counter() - started) * 1000, 1)
                log(
                    "request", method=request.method, path=request.path, status=status, duration_ms=took,
                    caller=request.caller.name,
                )  # fmt: skip

    async def _respond(self, request: Request) -> Response | Stream:
        if request.path == "/healthz":
            return json_response({"status": "ok"})
        page = pages.page(request)
        if page:
            return page
        if not self.ready and request.method == "GET" and f"{request.path}/".startswith("/console/"):
            return pages.starting()
        if not self.ready:
            raise NotReady("the server is starting or stopping", hint="try again in a moment")
        if request.path == "/readyz":
            return json_response({"status": "ready"})
        if f"{request.path}/".startswith("/console/"):
            return await self._console(request)
        if request.path.startswith("/widget/"):
            return await widget.answer(request, self.house)
        request.caller = identify(request, self.house.settings, self.house.keys)
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

    async def _console(self, request: Request) -> Response:
        from penstock.server.console import door  # once somebody looks: it brings Jinja along

        return await door.answer(request, self.house)

    def open(self) -> None:
        """Load the encoder and open what is live, so that the first question is as fast as the second."""
        self._refresh_keys(first=True)
        self._begin_experiments()
        self.work.start(self._keep_keys)
        if not self.house.worker and retention.has_rules(self.house):  # one of several processes does it
            self.work.start(self._retain)
        if not self.house.worker and is_installed():
            self.work.start(self._seal)
        for name in self.house.bots:
            warm = getattr(self.house.bot(name), "warm", None)
            if callable(warm):
                warm()
        if self.house.bots:
            self.work.start(self._resolve)
        self.work.start(partial(self.house.lookout.run, self.work.stop))  # one of several processes does look
        for name, told in self.house.settings.probes.items():
            if told.every and not self.house.worker:
                self.work.start(partial(self._probe, name, told.every))
        self.house.gateway.metrics.share()
        for model in self.house.locals:
            if model.name in self.house.settings.models:  # what was pulled and is not named may never be asked
                with suppress(PenstockError):  # it says so to whoever asks it
                    asyncio.run(model.warm())
        if not self.house.has_documents:
            return
        embedder = self.house.library.embedder
        if "://" not in embedder.id:  # a remote one is not called before it is needed
            embedder.embed(["ready"])
        for name in self.house.library.names():
            with suppress(NotFound):
                self.house.library[name].snapshot()
        for name, settings in self.house.settings.documents.items():
            if settings.refresh:
                self.work.start(partial(self._refresh, name, settings.refresh))

    def _retain(self) -> None:
        """Remove from time to time what is past its time, and go on after an error, which is recorded."""
        while True:
            try:
                removed = sum(due.count for due in retention.enforce(self.house))
                if removed:
                    log("retention", removed=removed)
            except PenstockError as error:
                log("retention failed", level="warning", error=error.code)
            except Exception as error:  # a background task ends here
                log("retention failed", level="error", error=type(error).__name__, at=place(error))
            if self.work.stop.wait(RETAIN_EVERY_S):
                return

    def _resolve(self) -> None:
        """Find out from time to time what became of what bots began and nobody knows the end of, and go on after an error."""
        while True:
            for name in self.house.bots:
                try:
                    self.house.requests_of(name).resolve()
                except PenstockError as error:
                    log("requests not resolved", level="warning", app=name, error=error.code)
                except Exception as error:  # a background task ends here
                    log("requests not resolved", level="error", app=name, error=type(error).__name__, at=place(error))
            if self.work.stop.wait(RESOLVE_EVERY_S):
                return

    def _seal(self) -> None:
        """Once an hour seal the journal of the hours that are over, in a process of its own, which ends after it."""
        settings = self.house.settings
        home, keep = settings.home_path, settings.journal
        while not self.work.stop.wait(HOUR_S - time.time() % HOUR_S + SEAL_AFTER_S):
            try:
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                    database = keep.database or home / "penstock.db"
                    asked = pool.submit(seal, database, home / SEALED, keep.keep, keep.hot)
                    log("journal sealed", requests=asked.result())
            except PenstockError as error:
                log("journal not sealed", level="warning", error=error.code)
            except Exception as error:  # a background task ends here
                log("journal not sealed", level="error", error=type(error).__name__, at=place(error))

    def _probe(self, name: str, every_s: float) -> None:
        """Ask a probe's prompts from time to time, and say so where the model has changed."""
        while not self.work.stop.wait(every_s):
            try:
                run = asyncio.run(self._taken(name))
                for change in run.changes:
                    log("a model has changed", level="warning", probe=name, what=change.words)
            except PenstockError as error:
                log("probe failed", level="warning", probe=name, error=error.code)
            except Exception as error:  # a background task ends here
                log("probe failed", level="error", probe=name, error=type(error).__name__, at=place(error))

    async def _taken(self, name: str) -> Run:
        from penstock import probing  # who has no probe does without numpy

        try:
            return await probing.take(self.house, name)
        finally:
            self.house.clients.close()  # their loop ends here

    def begin(self) -> None:
        """Go on with the batches that are unfinished, beside the requests of the running event loop."""
        runner = batches.runner(self.house, self.work)
        self._batches = runner, asyncio.create_task(runner.run())

    def end(self) -> set[asyncio.Task[None]]:
        """Begin nothing new. Returns what is still running: it ends by itself, and loses little when it is cancelled."""
        if self._batches is None:
            return set()
        runner, running = self._batches
        runner.stop()
        return {running}

    def _keep_keys(self) -> None:
        while not self.work.stop.wait(KEYS_EVERY_S):
            self._refresh_keys()
            self._refresh_policies()
            self._refresh_models()
            self._refresh_arms()
            self.house.gateway.metrics.share()

    def _refresh_policies(self) -> None:
        """Take over policies that were changed in the settings file. One that cannot be read changes nothing."""
        file = path_of(self.house.settings)
        try:
            changed = file.stat().st_mtime_ns if self.house.settings.file or file.exists() else 0
            if changed == self._settings_read:
                return
            self._settings_read = changed
            if self.house.reload_policies():
                log("policies changed", level="warning", policies=len(self.house.policies.names()))
        except (PenstockError, OSError) as error:
            if isinstance(error, Conflict):  # somebody is changing it at the moment
                self._settings_read = -1
            log("policies not changed", level="error", error=getattr(error, "message", type(error).__name__))

    def _refresh_models(self) -> None:
        """Take over models that were pulled, added or removed, in whichever process, and keys that were changed in their files.

        What cannot be read changes nothing, and is tried again.
        """
        file = path_of(self.house.settings)
        written = _changed_at(file)
        if written != self._secrets_named[0]:
            self._secrets_named = written, []
            with suppress(PenstockError):
                self._secrets_named = written, secret_files(file) if written else []
        seen = (written, _changed_at(self.house.shelf.folder), *map(_changed_at, self._secrets_named[1]))
        again = seen == self._models_seen
        if again and time.monotonic() < self._models_again:
            return
        self._models_seen, self._models_again = seen, math.inf
        try:
            if self.house.reload_models():
                log("models changed", level="warning", models=len(self.house.served_models))
            if not self.house.worker:  # one of several processes does
                sweep(self.house)
        except (PenstockError, OSError) as error:
            self._models_again = time.monotonic() + AGAIN_S
            if not again:
                log("models not changed", level="error", error=getattr(error, "message", type(error).__name__))

    def _begin_experiments(self) -> None:
        """Without a database to keep them in everybody gets what they asked for, until there is one."""
        try:
            self.house.begin_experiments()
        except PenstockError as error:
            log("experiments not begun", level="error", error=error.code)

    def _refresh_arms(self) -> None:
        """Take over how experiments stand. What was known goes on while that cannot be read."""
        if not self.house.settings.ab:
            return
        try:
            self.house.arms.refresh()
        except PenstockError as error:
            log("experiments not refreshed", level="warning", error=error.code)

    def _refresh_keys(self, *, first: bool = False) -> None:
        """Take over keys that were made or revoked elsewhere. With the database down, those known go on working."""
        try:
            self.house.keys.refresh()
            self.house.gateway.budgets.use_keys(self.house.keys.budgets)
        except PenstockError as error:
            if first:
                raise
            log("keys not refreshed", level="warning", error=error.code)

    def _refresh(self, name: str, every_s: float) -> None:
        """Look for changes from time to time, and go on after an error, which is recorded."""
        while not self.work.stop.is_set():
            try:
                report = self.house.library[name].sync(progress=Stoppable(self.work))
                log("refreshed", collection=name, version=report.version, skipped=len(report.skipped))
            except PenstockError as error:
                log("refresh failed", level="warning", collection=name, error=error.code)
            except Exception as error:  # a background task ends here
                log("refresh failed", level="error", collection=name, error=type(error).__name__, at=place(error))
            self.work.stop.wait(every_s)

    def close(self) -> None:
        """Close the house, unless somebody is still in it: then it stays open until the process ends."""
        if self.work.end(within_s=CLOSING_S):
            self.house.close()


async def _refuse(request: Request, send: Send, error: PenstockError) -> None:
    headers: tuple[tuple[str, str], ...] = ()
    if error.retry_after_s:
        headers = (("retry-after", str(math.ceil(error.retry_after_s))),)
    elif error.status == 429 and not error.retryable:
        headers = (("x-should-retry", "false"),)  # OpenAI's and Anthropic's clients heed it
    with suppress(RuntimeError):  # the response has begun; it breaks off
        body = refusal(request.path, error)
        await Response(body, error.status, headers=headers).send(request, send)


def _changed_at(path: Path) -> int:
    """0 where it is not there, or cannot be looked at."""
    try:
        return path.stat().st_mtime_ns
    except (OSError, ValueError):
        return 0
