"""A model behind the guard: what goes in is looked at and masked, what comes out is restored and gated.

What nobody looks at passes on as the bytes it came in. With a policy in force every answer is read, since the output gate
must see it, and what goes up is what was read.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from itertools import groupby
from typing import Any

from penstock.errors import Blocked, NotOffered, TooLarge
from penstock.guard.bodies import beside, pieces, replaced
from penstock.guard.crossing import Crossing
from penstock.models import form
from penstock.models.translate import DIALECTS, read
from penstock.types import (
    Dialect,
    Model,
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    Stopped,
    TextDelta,
    ToolCallDelta,
    Usage,
    Wire,
)

__all__ = ["Shielded"]

CAREFUL = 0.2  # temperature where a policy wants a sober answer
MOST_TEXT = 4_000_000  # characters of a request, about a million tokens: every one of them is looked at
UNREAD = ("logprobs", "top_logprobs", "audio")  # they would say the answer again, past the gate
REPEATING: frozenset[Dialect] = frozenset({"images", "moderations", "rerank", "transcriptions", "translations"})
MOST_JUDGED = 100_000  # characters of an answer that are looked at for harm


class Shielded:
    """A model behind a policy. Satisfies `Model`. Outermost of all: below it, caches too, stand-ins are all there is."""

    def __init__(self, inner: Model, crossing: Callable[[ModelRequest], Crossing]) -> None:
        self._inner, self._crossing = inner, crossing

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        asked, crossing = await asyncio.to_thread(self._entered, request)
        if request.dialect not in DIALECTS:
            async with aclosing(
                _repeated(self._inner.stream(asked), crossing)
                if request.dialect in REPEATING
                else self._inner.stream(asked)
            ) as events:
                async for event in events:
                    yield event
            return
        held: list[ModelEvent] = []
        said: list[str] = []
        async with aclosing(_gated(read(self._inner.stream(asked), asked), crossing, request)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    said.append(event.text)
                elif isinstance(event, Stopped):
                    try:
                        await asyncio.to_thread(crossing.judge, "".join(said)[:MOST_JUDGED])
                    except Blocked:
                        if not request.stream:
                            raise
                        event = replace(event, reason="content_filter")  # the words are out already
                if request.stream:
                    yield event
                else:
                    held.append(event)
        for event in held:
            yield event

    def _entered(self, request: ModelRequest) -> tuple[ModelRequest, Crossing]:
        crossing = self._crossing(request)
        return _changed(request, crossing), crossing


def _changed(request: ModelRequest, crossing: Crossing) -> ModelRequest:
    """The request as the model is given it. Raises Blocked."""
    _check_readable(request)
    body = crossing.with_tools(request.body, request.dialect)
    found = pieces(body, request.dialect)
    if (size := sum(len(piece.text) for piece in found)) > MOST_TEXT:
        raise TooLarge(f"the request has {size:,} characters of text, behind a policy the limit is {MOST_TEXT:,}")
    changed = {}
    for piece in found:
        if piece.origin.kind in ("system", "definition", "model"):
            entered = crossing.told(piece.text, own=piece.origin.kind == "model")
            if piece.origin.kind == "system":
                crossing.protect(piece.text)
        else:
            entered = crossing.enter(piece.text, piece.surface)
        if entered != piece.text:
            changed[piece.path] = entered
    for user, together in groupby(found, key=lambda piece: piece.origin.kind == "user"):
        if user and len(texts := [piece.text for piece in together]) > 1:
            crossing.heard(texts)
    changed |= {path: said for path, text in beside(body) if (said := crossing.told(text, own=True)) != text}
    told: dict[str, Any] = dict(replaced(body, changed))
    if crossing.careful and request.dialect in DIALECTS:
        wanted = told.get("temperature")
        told["temperature"] = min(CAREFUL, wanted) if isinstance(wanted, int | float) else CAREFUL
    if request.media_type != "application/json":
        return _form(request, told) if changed else request
    return replace(
        request, body=told, data=b""
    )  # never the bytes that came: of a name that stands twice, others read the first


def _check_readable(request: ModelRequest) -> None:
    """Raise NotOffered for what cannot be looked at, or not brought back."""
    body = request.body
    if request.dialect in DIALECTS and body.get("n") not in (None, 1):
        raise NotOffered("several answers at once cannot be guarded: 'n' must be 1")
    for name in UNREAD if request.dialect in DIALECTS else ():
        if body.get(name):
            raise NotOffered(f"what '{name}' asks for cannot be guarded", hint=f"leave '{name}' out")
    if request.dialect not in ("completions", "embeddings", "moderations"):
        return
    name = "prompt" if request.dialect == "completions" else "input"
    given = body.get(name)
    if not isinstance(given, list):
        return
    if any(isinstance(entry, int | list) for entry in given):
        raise NotOffered(
            f"'{name}' has numbers of tokens, which cannot be guarded",
            hint="send text; LangChain's embeddings do with check_embedding_ctx_length=False",
        )
    if request.dialect == "completions" and len(given) > 1:
        raise NotOffered("several answers at once cannot be guarded: 'prompt' must be one text")


def _form(request: ModelRequest, told: Mapping[str, Any]) -> ModelRequest:
    """The form with these texts in its fields. Files stay as they are."""
    parts: list[form.Part] = []
    at: Counter[str] = Counter()
    for part in form.read(request.data, request.media_type):
        text = told.get(part.name) if part.filename is None else None
        if isinstance(text, list):  # a field that comes several times
            text = text[at[part.name]]
            at[part.name] += 1
        parts.append(replace(part, data=text.encode()) if isinstance(text, str) else part)
    data, media_type = form.write(parts)
    return replace(request, body=told, data=data, media_type=media_type)


async def _repeated(events: AsyncGenerator[ModelEvent, None], crossing: Crossing) -> AsyncGenerator[ModelEvent, None]:
    """Bytes that repeat a request, such as the documents of a ranking, with its words in them again."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Wire) and crossing.advice:
                event = replace(event, data=await asyncio.to_thread(_restored, event, crossing))
            yield event


def _restored(wire: Wire, crossing: Crossing) -> bytes:
    try:
        text = wire.data.decode()
    except UnicodeDecodeError:
        return wire.data
    return crossing.restored(text, json=not wire.media_type.startswith("text/plain")).encode()


async def _gated(
    events: AsyncGenerator[ModelEvent, None], crossing: Crossing, request: ModelRequest
) -> AsyncGenerator[ModelEvent, None]:
    """What may leave of an answer. Closing this closes the events.

    The last words of a text are held back until it is certain what they are. Nothing overtakes them: thoughts end where
    something else begins, and what comes after a text waits for the text's end.
    """
    saying, thinking, calling = crossing.leaving(), crossing.leaving(), crossing.calling(request)
    waiting: list[ModelEvent] = []
    thought = said = False  # whether some of a thought, or of the text, may be held back
    async with aclosing(events):
        async for event in events:
            passed: list[ModelEvent] = []
            if thought and not isinstance(event, ReasoningDelta):
                thought, rest = False, thinking.close()
                (waiting if said else passed).extend([ReasoningDelta(rest)] if rest else [])
                thinking = thinking if thinking.stopped else crossing.leaving()
            match event:
                case TextDelta(text):
                    text = saying.feed(text)
                    passed += [replace(event, text=text)] if text else []
                case ReasoningDelta(text, signature):
                    thought, text = not signature, thinking.feed(text)
                    if signature:  # it is of the whole thought
                        text += thinking.close()
                        thinking = thinking if thinking.stopped else crossing.leaving()
                    passed += [replace(event, text=text)] if text or signature else []
                case ToolCallDelta():
                    passed += calling.feed(event)
                case Stopped():
                    rest = saying.close()
                    passed += [TextDelta(rest)] if rest else []
                    passed += [*waiting, *calling.feed(event)]
                case _:
                    passed.append(event)
            if said and not isinstance(event, TextDelta | Stopped):
                waiting += passed
                continue
            said = said or isinstance(event, TextDelta)
            for one in passed:
                yield one
            if isinstance(event, Stopped):
                return
            if saying.stopped:
                break
    saying.close()
    yield Stopped(Usage(estimated=True), "content_filter")
