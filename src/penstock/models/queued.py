"""Turns at one upstream: so many calls at a time; whoever waits is served fairly between callers, and batch work last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from penstock.errors import Overloaded
from penstock.models.watch import Watch
from penstock.types import Model, ModelEvent, ModelRequest

__all__ = ["BATCH", "Queued"]

BATCH = "batch"  # the tag of requests that are in no hurry

Turn = asyncio.Future[None]


class Queued:
    """At most so many calls of a model at the same time, in this process. Satisfies `Model`.

    Callers take turns, one request each, however many each of them sends. While other requests wait, those with the tag
    `batch` do not move. Whoever finds the queue full, or waits too long, gets Overloaded.
    """

    def __init__(
        self, inner: Model, watch: Watch, *, most_running: int, most_waiting: int, longest_wait_s: float
    ) -> None:
        self._inner, self._watch = inner, watch
        self._most_running, self._most_waiting, self._longest_wait_s = most_running, most_waiting, longest_wait_s
        self._running = 0
        self._hurried, self._patient = _Line(), _Line()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if self._running < self._most_running:
            self._running += 1
        else:
            await self._wait(request)
        try:
            events = self._inner.stream(request)
            try:
                async for event in events:
                    yield event
            finally:
                await events.aclose()
        finally:
            self._give_turn()

    async def _wait(self, request: ModelRequest) -> None:
        watch, caller = self._watch, request.caller.name
        if watch.waiting >= self._most_waiting:
            raise Overloaded(
                f"{watch.name} works on {self._most_running} requests, and {watch.waiting} wait already",
                hint="try again later",
                retry_after_s=1.0,
            )
        loop = asyncio.get_running_loop()
        turn: Turn = loop.create_future()
        line = self._patient if BATCH in request.tags else self._hurried
        longest_s = max(0.0, min(self._longest_wait_s, request.deadline - time.monotonic()))
        timer = loop.call_later(longest_s, self._refuse, turn, longest_s)
        line.join(caller, turn)
        watch.waiting += 1
        try:
            await turn
        except BaseException:
            line.leave(caller, turn)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_turn()  # the turn came while its request was given up
            raise
        finally:
            watch.waiting -= 1
            timer.cancel()

    def _refuse(self, turn: Turn, waited_s: float) -> None:
        if not turn.done():
            turn.set_exception(
                Overloaded(
                    f"{self._watch.name} works on {self._most_running} requests, and no turn came in {waited_s:.1f} s",
                    hint="try again later",
                    retry_after_s=1.0,
                )
            )

    def _give_turn(self) -> None:
        """Hand the place of a call that has ended to whoever is next, or leave it free."""
        for line in (self._hurried, self._patient):
            while (turn := line.next()) is not None:
                if not turn.done():
                    turn.set_result(None)
                    return
        self._running -= 1


class _Line:
    """Those who wait, in one row for each caller. The rows are served in turn."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[Turn, None]] = {}

    def join(self, caller: str, turn: Turn) -> None:
        self._rows.setdefault(caller, {})[turn] = None

    def leave(self, caller: str, turn: Turn) -> None:
        row = self._rows.get(caller)
        if row is not None:
            row.pop(turn, None)
            if not row:
                del self._rows[caller]

    def next(self) -> Turn | None:
        if not self._rows:
            return None
        caller = next(iter(self._rows))
        row = self._rows.pop(caller)
        turn = next(iter(row))
        del row[turn]
        if row:
            self._rows[caller] = row  # behind the others
        return turn
