"""A model behind the guard: what goes in is looked at and masked, what comes out is restored and gated.

What nobody looks at passes on as the bytes it came in. With a policy in force every answer is read, since the output gate
must see it; a request in which nothing was found goes up as it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, nullcontext, suppress
from dataclasses import replace
from typing import Any

from penstock.errors import Blocked, NotOffered
from penstock.guard.bodies import pieces, replaced
from penstock.guard.crossing import Crossing
from penstock.models.translate import DIALECTS, read
from penstock.types import Model, ModelEvent, ModelRequest, ReasoningDelta, Stopped, TextDelta, ToolCallDelta, Usage

__all__ = ["Shielded"]

CAREFUL = 0.2  # temperature where a policy wants a sober answer
MOST_JUDGED = 100_000  # characters of an answer that are looked at for harm


class Shielded:
    """A model behind a policy. Satisfies `Model`. Outermost of all: below it, caches too, stand-ins are all there is."""

    def __init__(self, inner: Model, crossing: Callable[[ModelRequest], Crossing]) -> None:
        self._inner, self._crossing = inner, crossing

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        asked, crossing = await asyncio.to_thread(self._entered, request)
        if request.dialect not in DIALECTS:
            async with aclosing(self._inner.stream(asked)) as events:
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
                    with (
                        suppress(Blocked) if request.stream else nullcontext()
                    ):  # of a stream, the words are out already
                        await asyncio.to_thread(crossing.judge, "".join(said)[:MOST_JUDGED])
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
    if request.body.get("n") not in (None, 1) and request.dialect in DIALECTS:
        raise NotOffered("several answers at once cannot be guarded: 'n' must be 1")
    body = crossing.with_tools(request.body, request.dialect)
    changed = {}
    for piece in pieces(body, request.dialect):
        if piece.origin.kind in ("system", "definition", "model"):
            entered = crossing.told(piece.text)
            if piece.origin.kind == "system":
                crossing.protect(piece.text)
        else:
            entered = crossing.enter(piece.text, piece.surface)
        if entered != piece.text:
            changed[piece.path] = entered
    if body is request.body and not changed and not crossing.careful:
        return request
    told: dict[str, Any] = dict(replaced(body, changed))
    if crossing.careful and request.dialect in DIALECTS:
        told["temperature"] = min(CAREFUL, told.get("temperature") or CAREFUL)
    return replace(request, body=told, data=b"")


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
