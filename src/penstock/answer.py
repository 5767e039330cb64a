"""One question from start to finish.

which language is it in → may it be asked → understand what it refers to → search with the caller's rights → withhold passages
that give orders → pick the sentences that answer, or say that none does → put what tools returned before them → have a model
write the answer from both, masked and fenced, where there is one → look for each of its sentences in the sources → decide
whether it may be said → speak. Each step returns a new turn or answer; each is a call into one part.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from penstock.documents.followup import speaks_of, understood
from penstock.errors import BadRequest, Blocked
from penstock.guard.fence import Fence
from penstock.language.voice import STOPPED, Voice
from penstock.trace import log, span
from penstock.types import (
    Answer,
    Boundary,
    Citation,
    Event,
    Finished,
    Found,
    Hit,
    Index,
    Message,
    Model,
    Quoter,
    Status,
    Turn,
)
from penstock.verify.conflicts import conflicts
from penstock.verify.decide import Limits, confidence, decided
from penstock.verify.rows import as_text
from penstock.writing import TOOL, Asked, Checks, NothingWritten, Writing, unsaid

__all__ = ["Quoted", "Told", "Written", "whole"]


class Told(NamedTuple):
    """What a model is told besides the rules for sources, and after which word of its own it says what is to be said."""

    text: str = ""
    after: str = ""


LONGEST_QUESTION = 4_000  # characters
MOST_SHOWN = 6_000  # characters of passages that a model is shown
TOLD = 0.9  # confidence in what a tool returned for the question


@dataclass(frozen=True, slots=True)
class Quoted:
    """Answers from one index in the words of its documents. Satisfies `Answerer`; needs no model."""

    index: Index
    quoter: Quoter
    limit: int = 3  # quotes at most
    guard: Callable[[Turn], Boundary] | None = None  # none: everything may be asked and said
    voice: Voice = field(default_factory=Voice)
    limits: Limits = Limits()

    async def stream(self, turn: Turn) -> AsyncIterator[Event]:
        turn, answer = await self.answered(turn)
        async for event in self.spoken(turn, answer):
            yield event

    async def answered(self, turn: Turn) -> tuple[Turn, Answer]:
        """The turn with what was found for it, and the answer in the words of tools and documents."""
        turn, answer = await self._from_documents(turn)
        if turn.returned and answer.status is not Status.REFUSED:
            answer = await asyncio.to_thread(_with_rows, turn, answer)
        return turn, answer

    async def _from_documents(self, turn: Turn) -> tuple[Turn, Answer]:
        with span("understand"):
            turn = await asyncio.to_thread(_understood, turn, self.voice)
        if self.guard is not None:
            boundary = self.guard(turn)
            turn = replace(turn, boundary=boundary)
            with span("guard"):
                try:
                    await asyncio.to_thread(boundary.enter, turn.question, "prompt")
                except Blocked as error:
                    return turn, _refused(error, Answer("", Status.REFUSED, 0.0, question=turn.standalone), turn)
        turn, answer = await self._answered(turn)
        if translated := await self.voice.asked_in(turn):
            other, across = await self._answered(replace(turn, standalone=translated))
            if across.confidence > answer.confidence:
                found = replace(other, standalone=turn.standalone)
                return found, replace(across, question=turn.standalone)
        if turn.standalone != turn.question and not _settled(turn, answer):
            other, alone = await self._answered(replace(turn, standalone=turn.fragment or turn.question))
            better = _better(turn, answer, alone)
            turn, answer = (other, alone) if better is alone else (turn, answer)
        return turn, answer

    async def _answered(self, turn: Turn) -> tuple[Turn, Answer]:
        with span("search") as searching:
            found = await asyncio.to_thread(self.index.search, turn.standalone, caller=turn.caller, where=turn.where)
            searching.values["hits"] = len(found.hits)
        withheld: tuple[Citation, ...] = ()
        if turn.boundary is not None:
            with span("screen") as screening:
                found, withheld = await asyncio.to_thread(_screened, found, turn.boundary)
                screening.values["withheld"] = len(withheld)
        with span("quote") as quoting:
            answer = await asyncio.to_thread(self.quoter.quote, turn.standalone, found, limit=self.limit)
            at_odds = await asyncio.to_thread(_at_odds, answer)
            quoting.values |= {"status": answer.status.value, "confidence": answer.confidence}
        answer = replace(answer, withheld=withheld, conflicts=at_odds, language=turn.language)
        return replace(turn, found=found), answer

    async def spoken(self, turn: Turn, answer: Answer) -> AsyncIterator[Event]:
        """The answer in the words of the documents, as far as it may leave, each quote marked with its citation."""
        sure = confidence(answer.confidence, (), disagree=bool(answer.conflicts))
        decision = decided(sure, self.limits) if answer.status is Status.ANSWER else "answer"
        answer = replace(unsaid(answer, decision), confidence=sure, conflicts=() if turn.returned else answer.conflicts)
        pieces = await self.voice.pieces(turn, answer, hedged=decision == "hedge")
        said = ""
        for piece in pieces:
            text = piece.text
            if turn.boundary and answer.status is not Status.REFUSED:
                text = turn.boundary.leaving().gated(text, last=True)
            said += text
            yield replace(piece, text=text)
        yield Finished(replace(answer, text=said))


@dataclass(frozen=True, slots=True)
class Written:
    """Answers in the words of a model, from the passages that the quotes stand in. Satisfies `Answerer`.

    Where the documents are silent, no model is asked. Where no model can answer, or nothing of what it wrote is in the sources,
    the quotes do. A model sees the caller's question and passages that the caller may read, each with a number, and nothing else.
    """

    quoted: Quoted
    models: Mapping[str, Model]  # by name, in the order in which they are tried
    checks: Checks = Checks()
    told: Callable[[Turn], Told] | None = None  # what an app wants its models to know besides

    async def stream(self, turn: Turn) -> AsyncIterator[Event]:
        turn, answer = await self.quoted.answered(turn)
        try:
            asked = await asyncio.to_thread(_asked, turn, answer, self.quoted.voice, self.told)
        except Blocked as error:
            asked, answer = Asked.nothing(), _refused(error, answer, turn)
        for name, model in self.models.items() if asked.sources else ():
            try:
                writing = Writing(name, model, turn, answer, asked, self.checks, self.quoted.voice)
                async with aclosing(writing.events()) as events:
                    async for event in events:
                        yield event
                return
            except NothingWritten as error:
                log("model did not write", level="warning", model=name, error=error.code)
        async for event in self.quoted.spoken(turn, answer):
            yield event


def _at_odds(answer: Answer) -> tuple[tuple[int, int], ...]:
    """Citations that disagree with what is quoted."""
    if answer.status is not Status.ANSWER:
        return ()
    return tuple(pair for pair in conflicts(answer.citations) if set(pair) & set(answer.quoted))


def _with_rows(turn: Turn, answer: Answer) -> Answer:
    """The answer with what tools returned in the first place: they were called for this question."""
    texts = [(one.name, as_text(one.text).strip()[:MOST_SHOWN]) for one in turn.returned]
    rows = [
        Citation(name, text, 0, len(text), f"{TOOL}{name}", f"{TOOL}{n}", confidence=TOLD)
        for n, (name, text) in enumerate(texts)
        if text
    ]
    withheld = [row for row in rows if turn.boundary and turn.boundary.withholds(row.quote)]
    rows = [row for row in rows if row not in withheld]
    answer = replace(answer, withheld=(*answer.withheld, *withheld))
    if not rows:
        return answer
    told = answer.status in (Status.ANSWER, Status.RELATED)
    by = len(rows)
    return replace(
        answer,
        status=Status.ANSWER,
        confidence=max(answer.confidence, TOLD) if told else TOLD,
        citations=(*rows, *answer.citations) if told else tuple(rows),
        quoted=tuple(range(by)),
        conflicts=tuple((a + by, b + by) for a, b in answer.conflicts) if told else (),
    )


def _refused(error: Blocked, answer: Answer, turn: Turn) -> Answer:
    """An answer that a policy stopped. What was found is in the journal; the reader is told no more than that."""
    text = error.said or STOPPED
    return replace(
        answer, text=text, status=Status.REFUSED, citations=(), quoted=(), conflicts=(), language=turn.language
    )


def _sources(turn: Turn, answer: Answer) -> list[tuple[Citation, str]]:
    """A citation for each passage that a model is shown, and the passage's text. None where the documents are silent."""
    if answer.status in (Status.NOT_FOUND, Status.REFUSED) or turn.found is None:
        return []
    texts = {hit.passage.id: hit.passage.text for hit in turn.found.hits}
    sources: dict[str, tuple[Citation, str]] = {}
    size = 0
    for citation in (*(answer.citations[n] for n in answer.quoted), *answer.citations):
        text = texts.get(citation.passage_id, citation.quote)
        if citation.passage_id in sources or (sources and size + len(text) > MOST_SHOWN):
            continue
        sources[citation.passage_id] = (citation, text[:MOST_SHOWN])
        size += len(text)
    return list(sources.values())


def _asked(turn: Turn, answer: Answer, voice: Voice, told: Callable[[Turn], Told] | None) -> Asked:
    """What a model is shown, and what it is told: all masked in one scope, the sources fenced as data."""
    sources = _sources(turn, answer)
    fence = Fence()
    shown = []
    for n, (citation, text) in enumerate(sources, 1):
        title = citation.title or citation.source
        if turn.boundary:
            title, text = turn.boundary.enter(title, "document"), turn.boundary.enter(text, "document")
        shown.append(fence.wrap(n, f"[{n}] {title}", text))
    question = turn.boundary.enter(turn.standalone, "prompt") if turn.boundary and sources else turn.standalone
    blank_line = "\n\n"
    said = f"Sources:\n\n{blank_line.join(shown)}\n\nQuestion: {question}"
    advice = turn.boundary.advice if turn.boundary else ""
    prompt = told(turn) if told and sources else Told()
    rules = f"{voice.instructions(turn.language)} {fence.instructions} {advice}".rstrip()
    instructions = f"{prompt.text}\n\n{rules}" if prompt.text else rules
    return Asked(sources, [Message("system", instructions), Message("user", said)], fence, prompt.after)


async def whole(stream: AsyncIterator[Event]) -> Answer:
    """The answer that a stream ends with."""
    answer = None
    async for event in stream:
        if isinstance(event, Finished):
            answer = event.answer
    assert answer is not None, "a stream ends with Finished"
    return answer


def _understood(turn: Turn, voice: Voice) -> Turn:
    if not turn.question.strip():
        raise BadRequest("the question is empty")
    if len(turn.question) > LONGEST_QUESTION:
        raise BadRequest(f"the question has {len(turn.question)} characters, the limit is {LONGEST_QUESTION}")
    found = understood(turn.question, turn.history, voice.refusals)
    language = turn.language or voice.language_of(turn.question, turn.history)
    return replace(turn, standalone=found.question[:LONGEST_QUESTION], fragment=found.fragment, language=language)


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


def _screened(found: Found, boundary: Boundary) -> tuple[Found, tuple[Citation, ...]]:
    """What was found without the passages that give orders to the model, and those."""
    hits = [(hit, boundary.withholds(hit.passage.text)) for hit in found.hits]
    withheld = tuple(_cited(hit) for hit, held in hits if held)
    return replace(found, hits=tuple(hit for hit, held in hits if not held)) if withheld else found, withheld


def _cited(hit: Hit) -> Citation:
    p = hit.passage
    return Citation(
        p.source,
        p.text,
        p.start,
        p.end,
        p.document_id,
        p.id,
        title=p.title,
        section=p.section,
        page=p.page,
        date=p.date,
    )
