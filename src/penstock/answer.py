"""One question from start to finish.

understand what it refers to → search with the caller's rights → pick the sentences that answer, or say that none does
→ speak. Each step returns a new turn; each is a call into one part.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

from penstock.documents.followup import speaks_of, understood
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
            turn = await asyncio.to_thread(_understood, turn)
        turn, answer = await self._answered(turn)
        if turn.standalone != turn.question and not _settled(turn, answer):
            _, alone = await self._answered(replace(turn, standalone=turn.fragment or turn.question))
            answer = _better(turn, answer, alone)
        for event in _spoken(answer):
            yield event

    async def _answered(self, turn: Turn) -> tuple[Turn, Answer]:
        with span("search") as searching:
            found = await asyncio.to_thread(self.index.search, turn.standalone, caller=turn.caller, where=turn.where)
            searching.values["hits"] = len(found.hits)
        with span("quote") as quoting:
            answer = await asyncio.to_thread(self.quoter.quote, turn.standalone, found, limit=self.limit)
            quoting.values |= {"status": answer.status.value, "confidence": answer.confidence}
        return replace(turn, found=found), answer


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
    found = understood(turn.question, turn.history)
    return replace(turn, standalone=found.question[:LONGEST_QUESTION], fragment=found.fragment)


def _settled(turn: Turn, answer: Answer) -> bool:
    """Whether a follow-up was answered as it was understood, and not by the words of the question before it."""
    assert turn.found is not None, "a turn is searched before it is judged"
    return answer.status is Status.ANSWER and speaks_of(turn.fragment, answer, turn.found)


def _better(turn: Turn, joined: Answer, alone: Answer) -> Answer:
    """A follow-up was asked both ways: with the words of the question before it, and alone."""
    assert turn.found is not None, "a turn is searched before it is judged"
    if not speaks_of(turn.fragment, joined, turn.found):
        return alone
    return max(joined, alone, key=lambda answer: answer.confidence)


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
