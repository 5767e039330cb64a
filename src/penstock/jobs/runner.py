"""Running batches: the lines of all of them in turn, a few at the same time, in one process of those that serve together."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from penstock.errors import Limited, NeedsKey, NotReady, PenstockError, UpstreamResting
from penstock.jobs.batches import Batch, Batches, End, Line, Result
from penstock.jobs.files import Files, new_id
from penstock.trace import log
from penstock.types import Caller

__all__ = ["Ask", "Runner"]

LOOK_S = 1.0  # between two looks for what changed in the database: a batch that was cancelled, or is new
SWEEP_S = 3600.0  # between two times that files are removed which have expired
AT_ONCE = 16  # batches; others wait for their end
READ_AHEAD = 64  # lines
TRIES = 6  # of a line whose upstream fails in a way that may pass
LONGEST_PAUSE_S = 60.0

Ask = Callable[[Caller, str, Mapping[str, Any], str], Coroutine[Any, Any, bytes]]
"""(who, endpoint, body, trace id) -> the answer's body. Raises PenstockError."""


class Runner:
    """Runs what is unfinished, from `run` until `stop`. While there is no batch the database is asked once an hour."""

    def __init__(
        self,
        batches: Batches,
        files: Files,
        ask: Ask,
        holder: Callable[[str], Caller],
        *,
        concurrent: int,
        lock: Path,
    ) -> None:
        """holder: who has a key now, by its name; raises NeedsKey. concurrent: lines at the same time, over all batches."""
        self._batches, self._files, self._ask, self._holder = batches, files, ask, holder
        self._concurrent, self._places = concurrent, asyncio.Semaphore(concurrent)
        self._lock = FileLock(lock, thread_local=False)
        self._new, self._stopping = asyncio.Event(), asyncio.Event()

    def stop(self) -> None:
        """Ask no more. `run` returns when the lines that are on their way have been answered and are kept."""
        self._stopping.set()
        self._new.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._batches.told = lambda: loop.call_soon_threadsafe(self._new.set)
        while not self._stopping.is_set():
            try:
                await self._run_while_there_are()
            except PenstockError as error:  # the database or the disk has a bad day
                log("batches wait", level="error", error=error.code)
            except Exception as error:  # a background task ends here, and begins again
                log("batches wait", level="error", error=type(error).__name__)
            await self._pause(LOOK_S)

    async def _run_while_there_are(self) -> None:
        swept = 0.0
        while not self._stopping.is_set():
            if time.monotonic() > swept + SWEEP_S or not swept:
                swept = time.monotonic()
                await asyncio.to_thread(self._files.sweep)
            self._new.clear()
            if await asyncio.to_thread(self._batches.unfinished):
                try:
                    with self._lock.acquire(timeout=0):
                        await self._run_all()
                except Timeout:
                    await self._pause(LOOK_S)  # another process runs them
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SWEEP_S):
                        await self._new.wait()

    async def _run_all(self) -> None:
        """Run batches until there are none, new ones too."""
        running: dict[str, asyncio.Task[None]] = {}
        try:
            while not self._stopping.is_set():
                for id_ in (await asyncio.to_thread(self._batches.unfinished))[:AT_ONCE]:
                    if id_ not in running:
                        running[id_] = asyncio.create_task(self._run_one(id_))
                if not running:
                    return
                self._new.clear()
                new = asyncio.create_task(self._new.wait())
                await asyncio.wait([*running.values(), new], timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                new.cancel()
                running = {id_: task for id_, task in running.items() if not task.done()}
            if running:
                await asyncio.wait(running.values())
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)

    async def _run_one(self, id_: str) -> None:
        """A batch, from wherever it is to its end, or until the runner stops."""
        try:
            batch = await asyncio.to_thread(self._batches.find, id_)
            if batch is None:
                return
            if batch.status == "validating":
                batch = await asyncio.to_thread(self._batches.check, batch)
            end: End | None = None
            if batch.status == "in_progress":
                end = await _Lines(batch, self._batches, self._answered, self._stopping).run(self._concurrent)
            elif batch.status == "cancelling":
                end = CANCELLED
            elif batch.status == "finalizing":
                end = COMPLETED
            if end is not None:
                batch = await asyncio.to_thread(self._batches.finish, batch, end)
                log("batch ended", batch=id_, status=batch.status, completed=batch.completed, failed=batch.failed)
        except PenstockError as error:  # a full disk, a database that is busy: it goes on when that is over
            log("batch waits", level="error", batch=id_, error=error.code)
            await self._pause(5 * LOOK_S)
        except Exception as error:  # a background task ends here
            log("batch failed", level="error", batch=id_, error=type(error).__name__)
            with suppress(PenstockError):
                await asyncio.to_thread(self._give_up, id_)

    def _give_up(self, id_: str) -> None:
        if batch := self._batches.find(id_):
            end = End("failed", "internal_error", "something went wrong inside; the server's log says what")
            self._batches.finish(batch, end)

    async def _answered(self, batch: Batch, line: Line, halted: asyncio.Event) -> Result | None:
        """What comes of a line; None where it is given up before it has an answer. It waits where a limit asks for it.

        Raises NeedsKey where the key of the batch works no more.
        """
        trace_id = secrets.token_hex(16)  # of all its tries
        pause_s, tries = 1.0, 0  # tries: those in which the upstream was called
        while True:
            async with self._places:
                if halted.is_set():
                    return None
                caller = self._holder(batch.owner)
                try:
                    body = await self._ask(caller, batch.endpoint, line.body, trace_id)
                    return _result(line, 200, trace_id, orjson.loads(body))
                except PenstockError as error:
                    problem = error
                except Exception as error:  # of one line: the others go on
                    log(
                        "batch line failed", level="error", batch=batch.id, line=line.number, error=type(error).__name__
                    )
                    problem = PenstockError("something went wrong inside", hint="the server's log says what")
            not_called = isinstance(problem, Limited | NotReady | UpstreamResting) and problem.retry_after_s > 0
            tries += not not_called
            if not problem.retryable or tries >= TRIES:
                return _result(line, problem.status, trace_id, problem.body())
            wait_s = problem.retry_after_s
            if not not_called:
                wait_s, pause_s = max(wait_s, pause_s), pause_s * 2
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, LONGEST_PAUSE_S)):
                    await halted.wait()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


COMPLETED = End("completed")
CANCELLED = End("cancelled", "batch_cancelled", "this request was not sent before the batch was cancelled")
EXPIRED = End("expired", "batch_expired", "this request could not be sent before the completion window was over")


class _Lines:
    """The lines of one batch, on their way."""

    def __init__(
        self,
        batch: Batch,
        batches: Batches,
        answered: Callable[[Batch, Line, asyncio.Event], Coroutine[Any, Any, Result | None]],
        stopping: asyncio.Event,
    ) -> None:
        self._batch, self._batches, self._answered, self._stopping = batch, batches, answered, stopping
        self._halted = asyncio.Event()  # no further line is asked
        self._end: End | None = None
        self._results: list[Result] = []
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ahead: list[Line] = []
        self._reading = asyncio.Lock()

    async def run(self, workers: int) -> End | None:
        """Returns how the batch ends; None where it goes on another time."""
        left = self._batches.left(self._batch)
        working = [asyncio.create_task(self._work(left)) for _ in range(workers)]
        stopping = asyncio.create_task(self._stopping.wait())
        stopping.add_done_callback(lambda _: self._halted.set())
        try:
            while True:
                over = all(worker.done() for worker in working)
                self._arrived.clear()
                await asyncio.shield(self._keep())
                if over and not self._results:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._arrived.wait()
        finally:
            stopping.cancel()
            for worker in working:
                worker.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            if self._results:  # there was no time to keep them, and they have been paid for
                self._batches.record(self._batch.id, self._results)
        for worker in working:
            worker.result()
        return self._end or (None if self._stopping.is_set() else COMPLETED)

    async def _work(self, left: Iterator[Line]) -> None:
        try:
            while not self._halted.is_set() and (line := await self._next(left)) is not None:
                await self._writable.wait()
                if result := await self._answered(self._batch, line, self._halted):
                    self._results.append(result)
                    self._arrived.set()
        except NeedsKey as error:
            self._halt(End("failed", error.code, error.message))
        finally:
            self._arrived.set()

    async def _next(self, left: Iterator[Line]) -> Line | None:
        async with self._reading:
            if not self._ahead:
                self._ahead = await asyncio.to_thread(lambda: list(islice(left, READ_AHEAD))[::-1])
            return self._ahead.pop() if self._ahead else None

    async def _keep(self) -> None:
        """Write down what has come, and look whether the batch is still wanted. Where that fails no more is asked for now."""
        results, self._results = self._results, []
        try:
            status = await asyncio.to_thread(self._batches.record, self._batch.id, results)
        except PenstockError as error:
            self._results = results + self._results
            if self._writable.is_set():
                log("batch waits", level="error", batch=self._batch.id, error=error.code, results=len(self._results))
            self._writable.clear()
            return
        self._writable.set()
        if status == "cancelling":
            self._halt(CANCELLED)
        elif time.time() > self._batch.expires:
            self._halt(EXPIRED)

    def _halt(self, end: End) -> None:
        self._end = self._end or end
        self._halted.set()


def _result(line: Line, status: int, trace_id: str, body: Any) -> Result:
    value = {
        "id": new_id("batch_req_"),
        "custom_id": line.custom_id,
        "response": {"status_code": status, "request_id": trace_id, "body": body},
        "error": None,
    }
    return Result(line.number, status == 200, orjson.dumps(value))
