"""One question from start to finish.

may it be asked → understand what it refers to → search with the caller's rights → withhold passages that give orders →
pick the sentences that answer, or say that none does → have a model write the answer from their passages, masked and fenced,
where there is one → speak. Each step returns a new turn; each is a call into one part.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from typing import Any

from penstock.documents.followup import speaks_of, understood
from penstock.errors import BadRequest, Blocked, PenstockError
from penstock.models.translate import read
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
    ModelRequest,
    Quoter,
    Record,
    Status,
    Stopped,
    TextDelta,
    Turn,
    Usage,
)

__all__ = ["Quoted", "Written", "whole"]

LONGEST_QUESTION = 4_000  # characters
MOST_SHOWN = 6_000  # characters of passages that a model is shown
LONGEST_ANSWER = 8_000  # characters that a model may write
CAREFUL = 0.2  # temperature where a policy wants a sober answer
CIRCLE = 60  # characters that are said for the third time: a small model has lost its way
INSTRUCTIONS = (
    "Answer the question in one to four sentences, from the numbered sources alone and in the language of the question. "
    "After each statement write the number of its source in brackets, like this: [1]. "
    "Where the sources do not answer, say that they do not."
)


@dataclass(frozen=True, slots=True)
class Quoted:
    """Answers from one index in the words of its documents. Satisfies `Answerer`; needs no model."""

    index: Index
    quoter: Quoter
    limit: int = 3  # quotes at most
    guard: Callable[[Turn], Boundary] | None = None  # none: everything may be asked and said

    async def stream(self, turn: Turn) -> AsyncIterator[Event]:
        turn, answer = await self.answered(turn)
        for event in _spoken(answer, turn):
            yield event

    async def answered(self, turn: Turn) -> tuple[Turn, Answer]:
        """The turn with what was found for it, and the answer in the words of the documents."""
        with span("understand"):
            turn = await asyncio.to_thread(_understood, turn)
        if self.guard is not None:
            boundary = self.guard(turn)
            turn = replace(turn, boundary=boundary)
            with span("guard"):
                try:
                    await asyncio.to_thread(boundary.enter, turn.question, "prompt")
                except Blocked as error:
                    return turn, Answer(error.message, Status.REFUSED, 0.0, question=turn.standalone)
        turn, answer = await self._answered(turn)
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
            quoting.values |= {"status": answer.status.value, "confidence": answer.confidence}
        return replace(turn, found=found), replace(answer, withheld=withheld)


@dataclass(frozen=True, slots=True)
class Written:
    """Answers in the words of a model, from the passages that the quotes stand in. Satisfies `Answerer`.

    Where the documents are silent, no model is asked. Where no model can answer, the quotes do. A model sees the caller's
    question and passages that the caller may read, each with a number, and nothing else.
    """

    quoted: Quoted
    models: Mapping[str, Model]  # by name, in the order in which they are tried

    async def stream(self, turn: Turn) -> AsyncIterator[Event]:
        turn, answer = await self.quoted.answered(turn)
        try:
            citations, messages = await asyncio.to_thread(_asked, turn, answer)
        except Blocked as error:
            yield TextDelta(error.message)
            yield Finished(replace(answer, text=error.message, status=Status.REFUSED, citations=(), quoted=()))
            return
        for name, model in self.models.items() if citations else ():
            try:
                async with aclosing(_writing(name, model, turn, answer, citations, messages)) as events:
                    async for event in events:
                        yield event
                return
            except _NothingWritten as error:
                log("model did not write", level="warning", model=name, error=error.code)
        for event in _spoken(answer, turn):
            yield event


class _NothingWritten(PenstockError):
    """A model ended before its first word."""


async def _writing(
    name: str, model: Model, turn: Turn, answer: Answer, citations: tuple[Citation, ...], messages: list[Message]
) -> AsyncGenerator[Event, None]:
    """What one model writes. Raises _NothingWritten where another may do better, or the error that broke it off."""
    pieces: list[str] = []
    usage = Usage()
    request = _request(name, turn, messages)
    leaving = turn.boundary.leaving() if turn.boundary else None
    with span("write", model=name) as writing:
        try:
            async with aclosing(read(model.stream(request), request)) as events:
                async for event in events:
                    match event:
                        case TextDelta(text) if text:
                            if text := leaving.feed(text) if leaving else text:
                                pieces.append(text)
                                yield TextDelta(text)
                            if (leaving and leaving.stopped) or _has_lost_its_way("".join(pieces)):
                                break
                        case Stopped(taken, _):
                            usage = taken
        except PenstockError as error:
            if pieces:
                raise
            failed = _NothingWritten(error.message)
            failed.code = error.code
            raise failed from error
        if request.record.calls:
            usage = request.record.calls[-1].usage
        writing.values |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    if leaving and (rest := leaving.close()):
        pieces.append(rest)
        yield TextDelta(rest)
    text = "".join(pieces)
    if not text.strip():
        raise _NothingWritten(f"{name} wrote nothing that may be said")
    yield Finished(
        replace(answer, text=text, status=Status.ANSWER, citations=citations, quoted=(), written_by=name, usage=usage)
    )


def _has_lost_its_way(text: str) -> bool:
    return len(text) > LONGEST_ANSWER or (len(text) > 3 * CIRCLE and text.count(text[-CIRCLE:]) > 2)


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


def _asked(turn: Turn, answer: Answer) -> tuple[tuple[Citation, ...], list[Message]]:
    """The citations of what a model is shown, and what it is told: all masked in one scope, the sources fenced as data."""
    from penstock.guard.fence import Fence

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
    told = f"Sources:\n\n{blank_line.join(shown)}\n\nQuestion: {question}"
    return tuple(citation for citation, _ in sources), [
        Message(
            "system", f"{INSTRUCTIONS} {fence.instructions} {turn.boundary.advice if turn.boundary else ''}".rstrip()
        ),
        Message("user", told),
    ]


def _request(name: str, turn: Turn, messages: Sequence[Message]) -> ModelRequest:
    body: dict[str, Any] = {"model": name, "messages": [asdict(message) for message in messages], "stream": True}
    if turn.boundary and turn.boundary.careful:
        body["temperature"] = CAREFUL  # otherwise not said: models differ in what else they take
    record = turn.record or Record("")
    return ModelRequest(dialect="chat", model=name, body=body, stream=True, caller=turn.caller, record=record)


async def whole(stream: AsyncIterator[Event]) -> Answer:
    """The answer that a stream ends with."""
    answer = None
    async for event in stream:
        if isinstance(event, Finished):
            answer = event.answer
    assert answer is not None, "a stream ends with Finished"
    return answer


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


def _spoken(answer: Answer, turn: Turn) -> Iterator[Event]:
    """The text in pieces as far as it may leave, each quote marked with the citation it comes from. Citations stay exact."""
    said = ""
    for piece in _pieces(answer):
        text = piece.text
        if turn.boundary and answer.status is not Status.REFUSED:
            leaving = turn.boundary.leaving()
            text = leaving.feed(text) + leaving.close()
        said += text
        yield replace(piece, text=text)
    yield Finished(replace(answer, text=said))


def _pieces(answer: Answer) -> Iterator[TextDelta]:
    if answer.status is Status.ANSWER or answer.quoted:
        opening = answer.text.removesuffix(" ".join(answer.citations[n].quote for n in answer.quoted))
        if opening:
            yield TextDelta(opening)
        for place, n in enumerate(answer.quoted):
            yield TextDelta((" " if place else "") + answer.citations[n].quote, citation=n)
    else:
        yield TextDelta(answer.text)
