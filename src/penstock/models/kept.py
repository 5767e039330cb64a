"""Answers that are kept in memory, and under which key. This part never sees a network, and asks no model.

What may be shared stands in the key: the caller's team and rights, the name that was asked, the dialect and its shape, every
field of the body that a model reads, and the versions of the policy and of the documents behind the answer.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson

from penstock.types import Dialect, ModelEvent, ModelRequest, Stopped, TextDelta, Wire

__all__ = ["FRESH", "Kept", "Scope", "whole"]

FRESH: Final = "no-cache"  # the tag of requests whose caller wants an answer of their own
NOT_READ: Final = frozenset({"user", "metadata", "safety_identifier"})  # about the caller: no model reads them
STATEFUL: Final = frozenset({"background", "conversation"})  # the same request may mean something else the next time
UNMOVED: Final = {"batch", "summary"}  # tags that lead nowhere else
SMALL: Final = 120  # bytes that an event takes beside its text
GOOD: Final = {
    "chat": (re.compile(rb'"finish_reason":\s*"([^"]*)"'), {b"stop", b"tool_calls", b"function_call"}),
    "completions": (re.compile(rb'"finish_reason":\s*"([^"]*)"'), {b"stop"}),
    "messages": (re.compile(rb'"stop_reason":\s*"([^"]*)"'), {b"end_turn", b"stop_sequence", b"tool_use"}),
    "responses": (re.compile(rb'"status":\s*"([^"]*)"'), {b"completed", b"in_progress", b"queued"}),
}  # how each dialect says why it stopped, and what it says of a whole answer


class Scope(NamedTuple):
    """Whose answers may be told to whom: what of a key does not stand in the request."""

    name: str  # the route
    policy: str = ""  # version of whatever changes a request or an answer on its way
    version: Callable[[], str] = lambda: ""  # of the documents behind the answers, as it is now

    def key(self, request: ModelRequest, *, instead: Mapping[str, Any] | None = None) -> bytes | None:
        """SHA-256 over all that the answer depends on; None where no answer may be kept.

        instead: fields in place of those of the body, for a key that leaves something open.
        """
        if FRESH in request.tags or any(request.body.get(name) for name in STATEFUL):
            return None
        body = {key: value for key, value in request.body.items() if key not in NOT_READ}
        form = request.media_type != "application/json"
        caller = request.caller
        parts = (
            self.name, self.policy, self.version(), caller.team, sorted(caller.rights), request.model, request.dialect,
            sorted(set(request.tags) - UNMOVED), request.stream, dict(request.headers), {**body, **(instead or {})},
            [request.media_type, sha256(request.data).hexdigest()] if form else None,
        )  # fmt: skip
        try:
            return sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).digest()
        except TypeError:  # nested too deeply to be written
            return None


class Kept:
    """Whole answers by their key: so many megabytes, each for so long; what was not asked for the longest goes first.

    Safe to use from several threads. on_drop is told the key of each answer that goes; it must not come back here.
    """

    def __init__(self, *, most_mb: float, keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most_bytes, self._keep_s, self._clock = int(most_mb * (1 << 20)), keep_s, clock
        self.on_drop: Callable[[bytes], object] = lambda key: None
        self.bytes = 0
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, key: bytes) -> bool:
        return key in self._answers

    def get(self, key: bytes) -> tuple[ModelEvent, ...] | None:
        """The events of an answer, or None."""
        with self._lock:
            answer = self._answers.get(key)
            if answer is None:
                return None
            if self._clock() >= answer.until:
                self._drop(key)
                return None
            self._answers.move_to_end(key)
            return answer.events

    def put(self, key: bytes, events: tuple[ModelEvent, ...], *, beside: int = 0) -> None:
        """Keep an answer. beside: bytes that somebody else keeps with it."""
        size = sum(map(_size, events)) + beside + SMALL
        with self._lock:
            if key in self._answers:
                self._drop(key)
            if size > self.most_bytes:
                return
            self._answers[key] = _Answer(events, size, self._clock() + self._keep_s)
            self.bytes += size
            while self.bytes > self.most_bytes:
                self._drop(next(iter(self._answers)))

    def _drop(self, key: bytes) -> None:
        self.bytes -= self._answers.pop(key).size
        self.on_drop(key)

    async def keeping(
        self, events: AsyncGenerator[ModelEvent, None], key: bytes, dialect: Dialect
    ) -> AsyncGenerator[ModelEvent, None]:
        """The same events, which are kept as soon as they are a whole answer. Closing this closes them."""
        said: list[ModelEvent] = []
        size = 0
        try:
            async for event in events:
                size += _size(event)
                if size <= self.most_bytes:
                    said.append(event)
                if type(event) is Stopped and size <= self.most_bytes and whole(said, dialect):
                    self.put(key, tuple(said))
                yield event
        finally:
            await events.aclose()


class _Answer(NamedTuple):
    events: tuple[ModelEvent, ...]
    size: int
    until: float


def whole(events: list[ModelEvent], dialect: Dialect) -> bool:
    """Whether an answer came to its own end. One that was cut off or blocked is not worth telling again."""
    last = events[-1] if events else None
    if type(last) is not Stopped or last.reason not in ("stop", "tool_calls"):
        return False
    said = b"".join(event.data for event in events if type(event) is Wire)
    if not said or dialect not in GOOD:
        return len(events) > 1
    pattern, good = GOOD[dialect]
    found = set(pattern.findall(said))  # a quotation in the text has its marks escaped, and so is not found
    return bool(found) and found <= good


def _size(event: ModelEvent) -> int:
    match event:
        case Wire(data):
            return len(data) + SMALL
        case TextDelta(text):
            return len(text) * 2 + SMALL
    return len(repr(event)) + SMALL
