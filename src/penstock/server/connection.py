"""One client's connection: uvicorn's, which also says at once when the client has left, and waits for nobody for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

__all__ = ["CYCLE", "LEFT", "Connection", "write_whole"]

LEFT: Final = "penstock.left"  # key of the scope: a set of callables, called when the client has left
CYCLE: Final = "penstock.cycle"  # key of the scope: uvicorn's side of the request, for `write_whole`
LARGEST_HEAD: Final = 64 << 10
HEAD_S: Final = 20.0  # longest time for the head of a request, from its first byte; and for the first one to begin
SILENCE_S: Final = 60.0  # longest silence within a body, and longest time that a client reads nothing
KEEP_ALIVE_S: Final = 75.0  # longest wait for another request
_NEVER: Final = float("inf")


class Connection(HttpToolsProtocol):
    """Calls everything in `scope[LEFT]` when the connection is lost. A request that does not come on is given up."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._left: set[Callable[[], object]] = set()
        self._head_size = 0
        self._in_body = False
        self._deadline = _NEVER
        self._paused = _NEVER  # since when the client reads nothing of what is there for it
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
        elif self._head_size + len(data) > LARGEST_HEAD and self._head_size:
            self.send_400_response("The head of the request is too large.")
            return
        else:
            self._head_size += len(data)
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._paused = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._paused = _NEVER

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._deadline = self.loop.time() + HEAD_S
        cast("dict[str, Any]", self.scope)[LEFT] = self._left

    def on_headers_complete(self) -> None:
        self._in_body, self._head_size = True, 0
        self._deadline = self.loop.time() + SILENCE_S
        super().on_headers_complete()
        cast("dict[str, Any]", self.scope)[CYCLE] = self.cycle

    def on_message_complete(self) -> None:
        self._in_body = False
        self._deadline = _NEVER
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but for its timer: the one that we have does for waiting connections too."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._deadline = self.loop.time() + KEEP_ALIVE_S

    def _look(self) -> None:
        """One timer serves all deadlines: it looks again later instead of being set anew for each request."""
        now = self.loop.time()
        if now - self._paused > SILENCE_S:
            self.transport.abort()
        elif now < self._deadline:
            self._timer = self.loop.call_later(min(self._deadline - now, HEAD_S), self._look)
        elif not self.transport.is_closing():
            self.transport.close()


def write_whole(cycle: RequestResponseCycle, status: int, head: bytes, body: bytes) -> bool:
    """Write a whole response in one go, a third of what the same takes through ASGI. Returns False where it must go that way.

    head: header lines, without those that belong to the connection.
    """
    if cycle.response_started or cycle.flow.write_paused or cycle.scope["method"] == "HEAD":
        return False
    if cycle.disconnected:
        return True
    ours = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])
    ends = b"" if cycle.keep_alive else b"connection: close\r\n"
    cycle.response_started = cycle.response_complete = True
    cycle.message_event.set()
    length = b"content-length: %d\r\n" % len(body)
    cycle.transport.write(b"".join((STATUS_LINE[status], ours, head, length, ends, b"\r\n", body)))
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True
