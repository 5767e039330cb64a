"""One call for identical requests that run at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from penstock.errors import UpstreamError
from penstock.models.kept import Scope
from penstock.types import Model, ModelEvent, ModelRequest, Record

__all__ = ["SingleFlight"]


class SingleFlight:
    """Whoever asks what is being answered already listens to that answer, from its first word. Satisfies `Model`.

    The call belongs to nobody: it ends when nobody listens any more, whoever began it, and an error reaches all. It is
    booked once, on whoever began it; on the next in line, if they have left before its end.
    """

    def __init__(self, inner: Model, scope: Scope) -> None:
        self._inner, self._scope = inner, scope
        self._flights: dict[tuple[asyncio.AbstractEventLoop, bytes], _Flight] = {}

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        digest = self._scope.key(request)
        if digest is None:
            events = self._inner.stream(request)
            try:
                async for event in events:
                    yield event
            finally:
                await events.aclose()
            return
        key = (asyncio.get_running_loop(), digest)
        flight = self._flights.get(key)
        if flight is None or flight.ended:
            flight = self._flights[key] = _Flight(self._inner, request)
            flight.task.add_done_callback(lambda _: self._land(key, flight))
        news = flight.board(request.record)
        heard = 0
        try:
            while True:
                news.clear()
                while heard < len(flight.said):
                    heard += 1
                    yield flight.said[heard - 1]
                if flight.ended:
                    break
                await news.wait()
            if flight.error is not None:
                raise flight.error
        finally:
            if flight.is_last(news):
                self._land(key, flight)  # whoever comes now begins a call of their own
                flight.task.cancel()
                await asyncio.wait([flight.task])
            flight.leave(news)

    def _land(self, key: tuple[asyncio.AbstractEventLoop, bytes], flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class _Flight:
    """One call and those who listen to it. Its own record is handed over when it ends."""

    def __init__(self, inner: Model, request: ModelRequest) -> None:
        self.said: list[ModelEvent] = []
        self.ended = False
        self.error: BaseException | None = None
        self._listeners: dict[asyncio.Event, Record] = {}  # in the order in which they came
        record = request.record
        self._record = Record(
            record.trace_id, record.person, record.app, id=record.id
        )  # what it holds ends with theirs
        self.task = asyncio.create_task(self._fly(inner, replace(request, record=self._record)))

    def board(self, record: Record) -> asyncio.Event:
        """Listen from now on. The event says that there is something new."""
        news = asyncio.Event()
        self._listeners[news] = record
        return news

    def is_last(self, news: asyncio.Event) -> bool:
        return not self.ended and self._listeners.keys() == {news}

    def leave(self, news: asyncio.Event) -> None:
        self._listeners.pop(news, None)
        for record in self._listeners.values():  # what it holds from now on ends with whom it is booked on
            self._record.id = record.id
            return

    async def _fly(self, inner: Model, request: ModelRequest) -> None:
        try:
            events = inner.stream(request)
            try:
                async for event in events:
                    self.said.append(event)
                    self._tell()
            finally:
                await events.aclose()
        except asyncio.CancelledError:
            self.error = UpstreamError("the call that several requests shared was given up")
            raise
        except Exception as error:  # a background task ends here: all who listen raise it
            self.error = error
        finally:
            self.ended = True
            self._hand_over()
            self._tell()

    def _tell(self) -> None:
        for news in self._listeners:
            news.set()

    def _hand_over(self) -> None:
        for record in self._listeners.values():
            record.calls += self._record.calls
            record.booked += self._record.booked
            record.cached |= self._record.cached
            return
