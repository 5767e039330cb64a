"""The cheap model first: where its answer passes a check, nobody else is asked; else the strong model answers.

A check asks the cheap model for a whole answer and says how sure it is. What is checked is held back until then, so a
caller who streams waits for the cheap model's last word, and gets the pieces at once.
"""

from __future__ import annotations

import asyncio
import math
import re
import unicodedata
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from penstock.errors import PenstockError
from penstock.models.speak_chat import Call, Text, gathered
from penstock.models.translate import DIALECTS
from penstock.types import Model, ModelEvent, ModelRequest, Wire

__all__ = ["CHECKS", "Cascade", "Checked", "agreeing", "confident", "valid_json"]


@dataclass(frozen=True, slots=True)
class Checked:
    """A whole answer, and how sure of it one may be, 0..1."""

    events: Sequence[ModelEvent]
    sure: float


Check = Callable[[Model, ModelRequest], Awaitable[Checked]]  # raises PenstockError where the model fails


class Cascade:
    """A cheap model, and a strong one for what the cheap one cannot do. Satisfies `Model`."""

    def __init__(self, cheap: Model, strong: Model, *, check: Check, threshold: float) -> None:
        self._cheap, self._strong, self._check, self._threshold = cheap, strong, check, threshold

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if request.dialect in DIALECTS and request.body.get("n") in (None, 1):  # one text, which can be checked
            checked = Checked((), -1.0)
            with suppress(PenstockError):  # whatever the cheap model's trouble is, there is another
                checked = await self._check(self._cheap, request)
            if checked.sure >= self._threshold:
                for event in checked.events:
                    yield event
                return
            if checked.events:
                request.record.escalated += 1
        events = self._strong.stream(request)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()


# ---------------------------------------------------------------- checks


async def confident(model: Model, request: ModelRequest) -> Checked:
    """Sure as the mean probability that the model gave to the tokens it wrote. A model that does not say is never sure."""
    if request.dialect != "chat":
        return Checked((), -1.0)
    asked = bool(request.body.get("logprobs"))
    if not asked:
        request = replace(request, body={**request.body, "logprobs": True}, data=b"")
    events = await _whole(model, request)
    chances = [math.exp(min(token, 0.0)) for token in _logprobs(events)]
    if not asked:
        events = [_without_logprobs(event) if type(event) is Wire else event for event in events]
    return Checked(events, math.fsum(chances) / len(chances) if chances else -1.0)


async def valid_json(model: Model, request: ModelRequest) -> Checked:
    """Sure where the text, or what tools are called with, is JSON and fits the schema that the request gives, if any."""
    events = await _whole(model, request)
    said = _read(request, events)
    try:
        if said.calls:
            fits = all(isinstance(orjson.loads(call.arguments or "{}"), dict) for call in said.calls)
        else:
            fits = _fits(orjson.loads(said.text), _schema(request))
    except ValueError:
        fits = False
    return Checked(events, 1.0 if fits else -1.0)


async def agreeing(model: Model, request: ModelRequest) -> Checked:
    """Sure as two answers of the model are alike. The second is drawn with chance, or it would be the first again."""
    body = {key: value for key, value in request.body.items() if key != "seed"}
    if body.get("temperature") == 0:
        body["temperature"] = 1.0
    again = replace(request, body=body, data=b"") if body != request.body else request
    samples = [asyncio.create_task(_whole(model, one)) for one in (request, again)]
    try:
        first, second = await asyncio.gather(*samples)
    finally:
        for sample in samples:
            sample.cancel()
        await asyncio.gather(*samples, return_exceptions=True)
    return Checked(first, _likeness(_read(request, first), _read(again, second)))


CHECKS: Mapping[str, Check] = {"confident": confident, "json": valid_json, "agree": agreeing}


async def _whole(model: Model, request: ModelRequest) -> list[ModelEvent]:
    events = model.stream(request)
    try:
        return [event async for event in events]
    finally:
        await events.aclose()


# ---------------------------------------------------------------- what an answer says


class _Said(NamedTuple):
    text: str
    calls: tuple[Call, ...]  # of tools


def _read(request: ModelRequest, events: Sequence[ModelEvent]) -> _Said:
    """What an answer says, whole or streamed. Raises UpstreamError where it cannot be read."""
    data = b"".join(event.data for event in events if type(event) is Wire)
    if data:
        speech = DIALECTS[request.dialect]
        if request.stream:
            reader = speech.Reader()
            events = [*reader.feed(data), *reader.close()]
        else:
            events = speech.read_whole(data)
    blocks = gathered(events).blocks
    text = "".join(block.text for block in blocks if isinstance(block, Text))
    return _Said(text, tuple(block for block in blocks if isinstance(block, Call)))


def _logprobs(events: Sequence[ModelEvent]) -> list[float]:
    """Of each token of a chat answer, whole or streamed."""
    data = b"".join(event.data for event in events if type(event) is Wire)
    parts = (
        [data] if data.lstrip().startswith(b"{") else [line[5:] for line in data.splitlines() if line[:5] == b"data:"]
    )
    values = []
    for part in parts:
        with suppress(ValueError):
            values.append(orjson.loads(part))
    found = [
        token.get("logprob")
        for value in values
        for choice in _items(_table(value).get("choices"))
        for token in _items(_table(choice.get("logprobs")).get("content"))
    ]
    return [chance for chance in found if isinstance(chance, int | float)]


def _without_logprobs(wire: Wire) -> Wire:
    """The same answer for a caller who did not ask for them."""
    if b'"logprobs"' not in wire.data:
        return wire

    def stripped(data: bytes) -> bytes:
        try:
            value = orjson.loads(data)
        except ValueError:
            return data
        for choice in _items(_table(value).get("choices")):
            choice.pop("logprobs", None)
        return orjson.dumps(value)

    if not wire.media_type.startswith("text/event-stream"):
        return Wire(stripped(wire.data), wire.media_type)
    lines = [
        b"data: " + stripped(line[5:].strip()) if line.startswith(b"data:") and b'"logprobs"' in line else line
        for line in wire.data.split(b"\n")
    ]
    return Wire(b"\n".join(lines), wire.media_type)


def _likeness(one: _Said, other: _Said) -> float:
    """How alike two answers are, 0..1: as JSON the same or not; as text the words they share, and no number may differ."""
    if one.calls or other.calls:
        called, others_called = ([(call.name, call.input()) for call in answer.calls] for answer in (one, other))
        return float(called == others_called)
    if (first := _json(one.text)) is not None and (second := _json(other.text)) is not None:
        return float(first == second)
    words, others = Counter(_words(one.text)), Counter(_words(other.text))
    if not words or not others:
        return float(words == others)
    if {word for word in words if word[0].isdigit()} != {word for word in others if word[0].isdigit()}:
        return 0.0
    return 2 * (words & others).total() / (words.total() + others.total())


def _words(text: str) -> list[str]:
    return re.findall(r"\d+(?:[.,]\d+)*|\w+", unicodedata.normalize("NFKC", text).casefold())


def _json(text: str) -> Any:
    """A JSON object or list as a value; None for anything else."""
    with suppress(ValueError):
        value = orjson.loads(text)
        return value if isinstance(value, dict | list) else None
    return None


def _schema(request: ModelRequest) -> Any:
    """The JSON schema that the answer is to have; None where the request gives none."""
    with suppress(PenstockError):  # what has no words in chat has no schema that we could find
        chat = DIALECTS[request.dialect].to_chat(request.body)
        return _table(_table(chat.get("response_format")).get("json_schema")).get("schema")
    return None


_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "integer": (int,), "number": (int, float),
}  # fmt: skip


def _fits(value: Any, schema: Any) -> bool:
    """Whether a value has the types, the required keys and the listed values of a schema. The rest of it is not looked at."""
    if not isinstance(schema, dict):
        return True
    if wanted := schema.get("type"):
        names = wanted if isinstance(wanted, list) else [wanted]
        allowed = {kind for name in names for kind in _TYPES.get(name, (type(value),))}
        if type(value) not in allowed:
            return False
    if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
        return False
    if isinstance(value, dict):
        if any(key not in value for key in schema.get("required") or ()):
            return False
        parts = _table(schema.get("properties"))
        return all(_fits(entry, parts.get(key)) for key, entry in value.items())
    return not isinstance(value, list) or all(_fits(entry, schema.get("items")) for entry in value)


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
