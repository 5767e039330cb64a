"""The legacy completions: a prompt in, a text out. Reasoning and calls of tools have no place here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from penstock.errors import BadRequest, NotOffered, UpstreamError
from penstock.models import speak_chat
from penstock.models.speak_chat import (
    Text,
    check_offered,
    error_stream,
    error_whole,
    gathered,
    items,
    parsed,
    usage_body,
    usage_of,
    whole_id,
)
from penstock.types import ModelEvent, Stopped, StopReason, TextDelta, Wire

__all__ = ["Reader", "Writer", "error_stream", "error_whole", "from_chat", "read_whole", "to_chat", "usage_of"]

PREFIX: Final = "cmpl-"
DEFAULT_MAX_TOKENS: Final = 16  # what OpenAI takes where a completion does not say
_NOT_THERE: Final[Mapping[str, Sequence[Any]]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (),
    "suffix": ("",),
}


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """The prompt as what a user says. Raises NotOffered or BadRequest, naming the field."""
    check_offered(body, _NOT_THERE)
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        if len(prompt) != 1 or not isinstance(prompt[0], str):
            raise NotOffered("'prompt' must be one text: this model takes neither several prompts nor token ids")
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise BadRequest("'prompt' must be a text")
    chat = {name: value for name, value in body.items() if name != "prompt" and name not in _NOT_THERE}
    if chat.get("max_tokens") is None:
        chat["max_tokens"] = DEFAULT_MAX_TOKENS
    return {**chat, "messages": [{"role": "user", "content": prompt}]}


def from_chat(body: Mapping[str, Any], *, default_max_tokens: int = 0) -> dict[str, Any]:
    """Raises NotOffered: a conversation becomes a prompt by a template that only the model's own server knows."""
    raise NotOffered("this model completes texts, and holds no conversations", hint="ask it at /v1/completions")


class Reader(speak_chat.Reader):
    """A stream of completions, as events. Of several answers the first is read."""

    def _read(self, data: bytes, events: list[ModelEvent]) -> None:
        if self._done or data == b"[DONE]":
            self._done = True
        else:
            self.take(_as_chat(parsed(data)), "delta", events)


def read_whole(body: bytes) -> list[ModelEvent]:
    """A whole body as events. Raises UpstreamError."""
    events: list[ModelEvent] = []
    answer = _as_chat(parsed(body))
    reader = Reader()
    reader.take(answer, "delta", events)
    if not answer["choices"]:
        raise UpstreamError("the upstream's answer has no choices")
    events.append(reader.stopped())
    return events


def _as_chat(chunk: dict[str, Any]) -> dict[str, Any]:
    choices = [{**choice, "delta": {"content": choice.get("text")}} for choice in items(chunk, "choices")]
    return {**chunk, "choices": choices}


class Writer:
    """Events as a stream of completions, or as a whole one."""

    def __init__(self, model: str, *, body: Mapping[str, Any], id: str, created: int) -> None:  # noqa: A002
        """body: the client's request, which says whether it wants usage."""
        self._head = {"id": whole_id(PREFIX, id), "object": "text_completion", "created": created, "model": model}
        options = body.get("stream_options")
        self._wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))

    def feed(self, event: ModelEvent) -> bytes:
        match event:
            case TextDelta(piece):
                return self._chunk([_choice(piece)]) if piece else b""
            case Stopped(usage, reason):
                last = self._chunk([_choice("", _their_reason(reason))])
                return last + self._chunk([], usage_body(usage)) if self._wants_usage else last
            case Wire(data):
                return data
        return b""

    def close(self) -> bytes:
        return b"data: [DONE]\n\n"

    def whole(self, events: Sequence[ModelEvent]) -> bytes:
        blocks, stopped = gathered(events)
        said = "".join(block.text for block in blocks if isinstance(block, Text))
        choices = [_choice(said, _their_reason(stopped.reason))]
        return orjson.dumps({**self._head, "choices": choices, "usage": usage_body(stopped.usage)})

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        body = {**self._head, "choices": choices}
        if self._wants_usage:
            body["usage"] = usage
        return b"data: " + orjson.dumps(body) + b"\n\n"


def _choice(said: str, reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "text": said, "logprobs": None, "finish_reason": reason}


def _their_reason(reason: StopReason) -> str:
    return "stop" if reason == "tool_calls" else reason
