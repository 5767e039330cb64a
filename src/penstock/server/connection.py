"""One client's connection: uvicorn's, which also says at once when the client has left, and waits for nobody for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["LEFT", "Connection"]

LEFT: Final = "penstock.left"  # key of the scope: a set of callables, called when the client has left
LARGEST_HEAD: Final = 64 << 10
HEAD_S: Final = 20.0  # longest time for the head of a request, from its first byte; and for the first one to begin
SILENCE_S: Final = 60.0  # longest silence within a body
_NEVER: Final = float("inf")


class Connection(HttpToolsProtocol):
    """Calls everything in `scope[LEFT]` when the connection is lost. A request that does not come on is given up."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._left: set[Callable[[], object]] = set()
        self._head_size = 0
        self._in_body = False
        self._deadline = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._deadline = self.loop.time() + HEAD_S
        self._timer = self.loop.call_later(HEAD_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()
        for leave in list(self._left):
            leave()
        self._left.clear()

    def data_received(self, data: bytes) -> None:
        if self._in_body:
            self._deadline = self.loop.time() + SILENCE_S
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_size = 0
        self._deadline = self.loop.time() + HEAD_S
        cast("dict[str, Any]", self.scope)[LEFT] = self._left

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > LARGEST_HEAD:
            raise ValueError("the head of the request is too large")  # answered with 400, and the connection is closed
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._deadline = self.loop.time() + SILENCE_S
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._deadline = _NEVER
        super().on_message_complete()

    def _look(self) -> None:
        """One timer serves all deadlines: it looks again later instead of being set anew for each request."""
        now = self.loop.time()
        if now < self._deadline:
            self._timer = self.loop.call_later(min(self._deadline - now, HEAD_S), self._look)
        elif not self.transport.is_closing():
            self.transport.close()
