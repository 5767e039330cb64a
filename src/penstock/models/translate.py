"""A model that speaks some dialects, for clients of all of them.

Where the client and the model speak the same dialect, bytes pass through as they are. Otherwise the request becomes a chat
body, and from there one of a dialect that the model speaks; what it answers is read, and goes on as typed events.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, Protocol

from penstock.errors import NotOffered, PenstockError, UpstreamError
from penstock.models import speak_chat, speak_completions, speak_messages, speak_responses
from penstock.types import Dialect, Model, ModelEvent, ModelRequest, Stopped, Usage, Wire

__all__ = ["DIALECTS", "Reading", "Speech", "Translated", "Writing", "read"]


class Reading(Protocol):
    """A stream of one dialect, as events."""

    def feed(self, data: bytes) -> list[ModelEvent]:
        """The events in these bytes, which may be cut anywhere. Raises UpstreamError."""
        ...

    def close(self) -> list[ModelEvent]:
        """The last events, of which `Stopped` is the last. Raises UpstreamError where the stream never came to its end."""
        ...


class Writing(Protocol):
    """Events, as one answer of one dialect: piece by piece, or whole."""

    def feed(self, event: ModelEvent) -> bytes:
        """What a stream says of this event; b"" where that is nothing."""
        ...

    def close(self) -> bytes:
        """What a stream says after `Stopped`."""
        ...

    def whole(self, events: Sequence[ModelEvent]) -> bytes: ...


class MakeWriter(Protocol):
    def __call__(self, model: str, *, body: Mapping[str, Any], id: str, created: int) -> Writing: ...  # noqa: A002


class FromChat(Protocol):
    def __call__(self, body: Mapping[str, Any], *, default_max_tokens: int) -> dict[str, Any]: ...


class Speech(Protocol):
    """What a dialect's module has."""

    @property
    def to_chat(self) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """A request of this dialect as a chat body. Raises NotOffered or BadRequest, naming the field."""
        ...

    @property
    def from_chat(self) -> FromChat:
        """A chat body as a request of this dialect. Raises NotOffered or BadRequest, naming the field."""
        ...

    @property
    def read_whole(self) -> Callable[[bytes], list[ModelEvent]]:
        """A whole body as events, `Stopped` last. Raises UpstreamError."""
        ...

    @property
    def usage_of(self) -> Callable[[Mapping[str, Any]], Usage]:
        """The tokens that a usage object of this dialect counts."""
        ...

    @property
    def error_stream(self) -> Callable[[PenstockError], bytes]:
        """An error in the middle of a stream. Nothing may follow it."""
        ...

    @property
    def error_whole(self) -> Callable[[PenstockError], bytes]:
        """The body of a refusal."""
        ...

    @property
    def Reader(self) -> Callable[[], Reading]: ...

    @property
    def Writer(self) -> MakeWriter: ...


DIALECTS: Final[Mapping[Dialect, Speech]] = {
    "chat": speak_chat,
    "messages": speak_messages,
    "responses": speak_responses,
    "completions": speak_completions,
}  # best first


class Translated:
    """A model for clients of every generating dialect. Satisfies `Model`."""

    def __init__(self, inner: Model, *, speaks: frozenset[Dialect], default_max_tokens: int, model: str = "") -> None:
        """speaks: what the inner model takes. default_max_tokens: for Anthropic, where the client does not say. model: what
        its provider calls it, where that is known: Claude's versions differ in how they are told to reason."""
        self._inner, self._speaks, self._default_max_tokens = inner, speaks, default_max_tokens
        self._model = model
        self._best = next((dialect for dialect in DIALECTS if dialect in speaks), None)

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if request.dialect in self._speaks:
            return self._inner.stream(request)
        asked = self._asked(request)
        return read(self._inner.stream(asked), asked)

    def _asked(self, request: ModelRequest) -> ModelRequest:
        """The request in the best dialect that the inner model speaks."""
        if request.dialect not in DIALECTS or self._best is None:
            raise NotOffered(f"the model '{request.model}' does not offer {request.dialect}")
        chat = DIALECTS[request.dialect].to_chat(request.body)
        if self._model:
            chat["model"] = self._model
        body = DIALECTS[self._best].from_chat(chat, default_max_tokens=self._default_max_tokens)
        if self._best == "chat" and "responses" in self._speaks and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")  # where OpenAI's reasoning models have it
        strangers = "openai-" if self._best == "messages" else "anthropic-"
        headers = {name: value for name, value in request.headers.items() if not name.lower().startswith(strangers)}
        return replace(request, dialect=self._best, body=body, data=b"", headers=headers)


async def read(events: AsyncGenerator[ModelEvent, None], asked: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
    """What was answered to a request in a dialect of DIALECTS, without any Wire. Closing this closes the events."""
    speech = DIALECTS[asked.dialect]
    reader: Reading | None = None
    whole: list[bytes] = []
    stopped = Stopped(Usage(estimated=True))
    async with aclosing(events):
        async for event in events:
            match event:
                case Wire(data) if reader or (not whole and asked.stream and not data.lstrip().startswith(b"{")):
                    reader = reader or speech.Reader()
                    for said in reader.feed(data):
                        yield said
                case Wire(data):
                    whole.append(data)
                case Stopped():
                    stopped = event
                case _:
                    yield event
    last = reader.close() if reader else speech.read_whole(b"".join(whole)) if whole else [stopped]
    for said in last[:-1]:
        yield said
    yield _ended(last[-1], stopped)


def _ended(last: ModelEvent, told: Stopped) -> Stopped:
    """The end as it was read; its usage from whoever sent the bytes, where the answer itself names none."""
    if not isinstance(last, Stopped):
        raise UpstreamError("the upstream's answer has no end")
    return Stopped(told.usage, last.reason) if last.usage.estimated else last
