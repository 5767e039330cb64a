"""A conversation cut to what a model can read: the oldest turns go, and a summary may stand in their place.

What stays: system messages, messages that are pinned (`"penstock": {"pinned": true}`), the last question and what follows it.
A call of a tool and its result go together or stay together.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from penstock.errors import PenstockError
from penstock.models.estimate import size_of
from penstock.models.summaries import Summaries
from penstock.trace import log
from penstock.types import Model, ModelEvent, ModelRequest, Stopped

__all__ = ["Pruned"]

BYTES_PER_TOKEN: Final = 4.0  # to begin with; what the provider counts corrects it
OUTPUT_TOKENS: Final = 1_024  # room for the answer, where the request does not say
SUMMARY_SHARE: Final = 5  # a fifth of what the model reads may be the summary
BLOCKS: Final = 5  # the oldest messages go by the fifth of what there is room for
SLOWLY: Final = 0.1  # how much one answer moves the ratio
MARK: Final = "penstock"  # the key of a message that is for us and not for the model

Message = Mapping[str, Any]


class Pruned:
    """A model that is never sent more than it reads, as far as that can be told. Satisfies `Model`.

    For chat and messages; other requests pass as they are, and so does one whose last question alone is too long.
    """

    def __init__(self, inner: Model, *, context_tokens: int, summaries: Summaries | None = None) -> None:
        self._inner, self._context, self._summaries = inner, context_tokens, summaries
        self._ratio = BYTES_PER_TOKEN  # bytes per token of this model, as seen

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if request.dialect not in ("chat", "messages") or not isinstance(request.body.get("messages"), list):
            return self._inner.stream(request)
        return self._stream(request)

    async def _stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        request = await self._fitted(request)
        size = size_of(request.body)
        events = self._inner.stream(request)
        try:
            async for event in events:
                if type(event) is Stopped and not event.usage.estimated and event.usage.input_tokens > 20:
                    seen = size / event.usage.input_tokens
                    self._ratio += SLOWLY * (min(max(seen, 1.0), 8.0) - self._ratio)
                yield event
        finally:
            await events.aclose()

    async def _fitted(self, request: ModelRequest) -> ModelRequest:
        body = request.body
        messages: list[Message] = body["messages"]
        pinned = {n for n, message in enumerate(messages) if _is_pinned(message)}
        if any(isinstance(message, Mapping) and MARK in message for message in messages):
            messages = [_unmarked(message) for message in messages]
            request = replace(request, body={**body, "messages": messages}, data=b"")
        room = self._room(body)
        if not self._context or self._tokens({**body, "messages": messages}) <= room:
            return request
        gone = self._gone(body, messages, pinned, room)
        if not gone:
            return request
        kept = [message for n, message in enumerate(messages) if n not in gone]
        changed = {**body, "messages": kept}
        if self._summaries is not None:
            changed = await self._with_summary(request, changed, {n: messages[n] for n in sorted(gone)})
        return replace(request, body=changed, data=b"")

    def _room(self, body: Mapping[str, Any]) -> int:
        wanted = body.get("max_completion_tokens") or body.get("max_tokens")
        output = wanted if isinstance(wanted, int) and wanted > 0 else min(OUTPUT_TOKENS, self._context // 4)
        return self._context - output

    def _tokens(self, value: Any) -> float:
        return size_of(value) / self._ratio

    def _gone(self, body: Mapping[str, Any], messages: Sequence[Message], pinned: set[int], room: float) -> set[int]:
        """The messages to leave out: the oldest, whole turns, until the rest fits."""
        if self._summaries is not None:
            room -= self._context / SUMMARY_SHARE
        step = max(room / BLOCKS, 1.0)  # so that the cut moves seldom: what a provider has cached stays the same
        needed = math.ceil((self._tokens({**body, "messages": messages}) - room) / step) * step
        last = max((n for n, message in enumerate(messages) if _is_question(message)), default=len(messages))
        gone: set[int] = set()
        for unit in _units(messages):
            if needed <= 0 or unit[-1] >= last:
                break
            if pinned.isdisjoint(unit) and not _is_system(messages[unit[0]]):
                gone |= set(unit)
                needed -= sum(self._tokens(messages[n]) for n in unit)
        return gone

    async def _with_summary(
        self, request: ModelRequest, body: Mapping[str, Any], left_out: Mapping[int, Message]
    ) -> dict[str, Any]:
        """The request with a summary of what was left out. Without one, where the model that makes it fails."""
        assert self._summaries is not None, "asked only where there are summaries"
        texts = {n: _text(message) for n, message in left_out.items()}
        labels = {n: f"{_role(message)}: " for n, message in left_out.items()}
        most = int(self._context / SUMMARY_SHARE * self._ratio)
        try:
            summary = await self._summaries.of(
                texts, labels=labels, most_characters=most, caller=request.caller, record=request.record
            )
        except PenstockError as error:
            log("no summary", level="warning", model=self._summaries.name, error=error.code)
            return dict(body)
        said = f"Summary of the earlier part of this conversation, made by {self._summaries.name}:\n{summary.text}"
        if request.dialect == "messages":
            return {**body, "system": _with_system(body.get("system"), said)}
        messages = list(body["messages"])
        place = next((n for n, message in enumerate(messages) if not _is_system(message)), 0)
        return {**body, "messages": [*messages[:place], {"role": "system", "content": said}, *messages[place:]]}


def _with_system(system: Any, said: str) -> Any:
    if isinstance(system, list):
        return [*system, {"type": "text", "text": said}]
    return f"{system}\n\n{said}" if system else said


def _units(messages: Sequence[Message]) -> list[list[int]]:
    """What goes or stays together: a question with all that was said and done until the next one."""
    units: list[list[int]] = []
    for n, message in enumerate(messages):
        if not units or _is_question(message) or _is_system(message) or _is_system(messages[n - 1]):
            units.append([n])
        else:
            units[-1].append(n)
    return units


def _role(message: Any) -> str:
    return str(message.get("role", "")) if isinstance(message, Mapping) else ""


def _blocks(message: Any) -> list[Mapping[str, Any]]:
    content = message.get("content") if isinstance(message, Mapping) else None
    return [block for block in content if isinstance(block, Mapping)] if isinstance(content, list) else []


def _calls(message: Any) -> bool:
    if not isinstance(message, Mapping):
        return False
    return bool(message.get("tool_calls")) or any(block.get("type") == "tool_use" for block in _blocks(message))


def _is_result(message: Any) -> bool:
    return _role(message) == "tool" or any(block.get("type") == "tool_result" for block in _blocks(message))


def _is_system(message: Any) -> bool:
    return _role(message) in ("system", "developer")


def _is_question(message: Any) -> bool:
    return _role(message) == "user" and not _is_result(message)


def _is_pinned(message: Any) -> bool:
    mark = message.get(MARK) if isinstance(message, Mapping) else None
    return isinstance(mark, Mapping) and mark.get("pinned") is True


def _unmarked(message: Any) -> Any:
    if not isinstance(message, Mapping):
        return message
    return {name: value for name, value in message.items() if name != MARK}


def _text(message: Message) -> str:
    """The words of a message, calls of tools included."""
    content = message.get("content")
    words = [content] if isinstance(content, str) else [str(block.get("text", "")) for block in _blocks(message)]
    if calls := message.get("tool_calls"):
        words.append(orjson.dumps(calls).decode())
    words += [
        orjson.dumps(block).decode() for block in _blocks(message) if block.get("type") in ("tool_use", "tool_result")
    ]
    return "\n".join(word for word in words if word)
