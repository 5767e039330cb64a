"""One question from start to finish.

understand what it refers to → search with the caller's rights → pick the sentences that answer, or say that none does
→ speak. Each step returns a new turn; each is a call into one part.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

from penstock.documents.followup import standalone
from penstock.errors import BadRequest
from penstock.trace import span
from penstock.types import Answer, Event, Finished, Index, Quoter, Status, TextDelta, Turn

__all__ = ["Quoted", "whole"]

LONGEST_QUESTION = 4_000  # characters


@dataclass(frozen=True, slots=True)
class Quoted:
    """Answers from one index in the words of its documents. Satisfies `Answerer`; needs no model."""

    index: Index
    quoter: Quoter
    limit: int = 3  # quotes at most

    async def stream(self, turn: Turn) -> AsyncIterator[Event]:
        with span("understand"):
            turn = _understood(turn)
        with span("search") as searching:
            turn = await asyncio.to_thread(self._searched, turn)
            searching.values["hits"] = len(turn.found.hits) if turn.found else 0
        with span("quote") as quoting:
            answer = await asyncio.to_thread(self._quoted, turn)
            quoting.values |= {"status": answer.status.value, "confidence": answer.confidence}
        for event in _spoken(answer):
            yield event

    def _searched(self, turn: Turn) -> Turn:
        return replace(turn, found=self.index.search(turn.standalone, caller=turn.caller, where=turn.where))

    def _quoted(self, turn: Turn) -> Answer:
        assert turn.found is not None, "a turn is searched before it is quoted"
        return self.quoter.quote(turn.standalone, turn.found, limit=self.limit)


async def whole(stream: AsyncIterator[Event]) -> Answer:
    """The answer that a stream ends with."""
    async for event in stream:
        if isinstance(event, Finished):
            return event.answer
    raise AssertionError("a stream ends with Finished")


def _understood(turn: Turn) -> Turn:
    if not turn.question.strip():
        raise BadRequest("the question is empty")
    if len(turn.question) > LONGEST_QUESTION:
        raise BadRequest(f"the question has {len(turn.question)} characters, the limit is {LONGEST_QUESTION}")
    return replace(turn, standalone=standalone(turn.question, turn.history)[:LONGEST_QUESTION])


def _spoken(answer: Answer) -> Iterator[Event]:
    """The text in pieces, each quote marked with the citation it comes from."""
    if answer.status is Status.ANSWER or answer.quoted:
        opening = answer.text.removesuffix(" ".join(answer.citations[n].quote for n in answer.quoted))
        if opening:
            yield TextDelta(opening)
        for place, n in enumerate(answer.quoted):
            yield TextDelta((" " if place else "") + answer.citations[n].quote, citation=n)
    else:
        yield TextDelta(answer.text)
    yield Finished(answer)
