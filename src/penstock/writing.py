"""A model writes an answer: asked, read piece by piece, restored, checked sentence by sentence, gated, and judged as a whole."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from penstock.errors import PenstockError
from penstock.guard.fence import Cited, Fence
from penstock.language.voice import HANDED_OVER, HEDGE, MISSING, NOT_FOUND, OTHERWISE, REWRITE, SAYS, Voice, spoken_in
from penstock.models.translate import read
from penstock.trace import log, span
from penstock.types import (
    Answer,
    Citation,
    Copied,
    Event,
    Finished,
    Message,
    Model,
    ModelRequest,
    Record,
    Status,
    Stopped,
    TextDelta,
    Turn,
    Usage,
    Verdict,
    Verifier,
)
from penstock.verify.copies import copies
from penstock.verify.decide import Limits, confidence, decided
from penstock.verify.held import Across, Held, Unsupported, Words, moved
from penstock.verify.rows import Strict

__all__ = ["TOOL", "Asked", "Checks", "NothingWritten", "Source", "Writing", "unsaid"]

LONGEST_ANSWER = 8_000  # characters that a model may write
CAREFUL = 0.2  # temperature where a policy wants a sober answer
CIRCLE = 60  # characters that are said for the third time: a small model has lost its way
TOOL = "tool:"  # what the ids of rows that a tool returned begin with
DASHES = frozenset("-–—")  # what a model writes where nothing is left of a sentence


Source = tuple[Citation, str]  # a passage that a model is shown: where it is from, and its text


@dataclass(frozen=True, slots=True)
class Checks:
    """What is asked of an answer before it leaves."""

    verifier: Callable[[Turn], Verifier] | None = None  # of what a model writes; none: nobody checks it
    unsupported: Unsupported = "mark"  # what becomes of a sentence that is not in the sources
    least: float = 0.0  # support that a sentence must have; 0: as the verifier has it
    limits: Limits = Limits()
    protected: tuple[str, ...] = ()  # tags of documents that nobody may repeat at length


class Asked(NamedTuple):
    """What a model is shown and told, and the fence that its sources stand in."""

    sources: list[Source]
    messages: list[Message]
    fence: Fence
    after: str = ""  # only what the model says after this is said

    @classmethod
    def nothing(cls) -> Asked:
        """Where no model is asked."""
        return cls([], [], Fence())


class NothingWritten(PenstockError):
    """A model ended before its first word."""


class Writing:
    """One model writing one answer."""

    def __init__(
        self, name: str, model: Model, turn: Turn, answer: Answer, asked: Asked, checks: Checks, voice: Voice,
    ) -> None:  # fmt: skip
        self._name, self._model, self._turn, self._answer, self._checks, self._voice = (
            name, model, turn, answer, checks, voice,
        )  # fmt: skip
        self._sources, self._messages, self._cited = asked.sources, asked.messages, Cited(asked.fence)
        self._after = _After(asked.after) if asked.after else None
        self._leaving = turn.boundary.leaving() if turn.boundary else None
        self._held = self._checking() if checks.verifier is not None else None
        self._usage = Usage()
        self._checked = ""  # what went to the gate

    def _checking(self) -> Held:
        from penstock.text.languages import identifier

        turn, voice = self._turn, self._voice
        assert self._checks.verifier is not None, "asked for where there is one"
        languages = spoken_in(turn)

        def language_of(text: str) -> str:
            return identifier().identify(text, among=tuple({turn.language, *languages})).language

        check: Verifier = Across(
            self._checks.verifier(turn),
            languages,
            language_of=language_of,
            translator=voice.translator(turn) if voice.translator else None,
        )
        if any(citation.passage_id.startswith(TOOL) for citation, _ in self._sources):
            check = Strict(check)
        return Held(
            check,
            [text for _, text in self._sources],
            question=turn.standalone,
            language=languages[0],
            unsupported=self._checks.unsupported,
            least=self._checks.least,
            rewrite=self._rewritten,
            words=Words(*(voice.say(words, turn.language) for words in (MISSING, OTHERWISE, SAYS))),
        )

    async def events(self) -> AsyncGenerator[Event, None]:
        """What the model writes. Raises NothingWritten where another may do better, or the error that broke it off."""
        said: list[str] = []
        hold = self._held is not None and self._checks.limits.hold
        async with aclosing(self._pieces()) as pieces:
            async for text in pieces:
                said.append(text)
                if not hold:
                    yield TextDelta(text)
        if not "".join(said).strip():
            raise NothingWritten(f"{self._name} wrote nothing that may be said")
        answer, text, decision = self._decided("".join(said))
        if decision in ("abstain", "hand_over"):
            text = self._voice.say(answer.text, self._turn.language)
            yield TextDelta(text)
            yield Finished(replace(answer, text=text))
            return
        if hold:
            opening = f"{self._voice.say(HEDGE, self._turn.language)} " if decision == "hedge" else ""
            text = opening + text
            yield TextDelta(text)
            answer = _moved(answer, len(opening))
        async for piece in self._disagreement(answer):
            text += piece.text
            yield piece
        yield Finished(replace(answer, text=text))

    async def _pieces(self) -> AsyncGenerator[str, None]:
        """The text as it may leave: stand-ins turned back, each sentence checked, and gated last."""
        request = _request(self._name, self._turn, self._messages)
        begun, written = False, ""
        with span("write", model=self._name) as writing:
            try:
                async with aclosing(read(self._model.stream(request), request)) as events:
                    async for event in events:
                        match event:
                            case TextDelta(text) if text:
                                written += text
                                if text := await self._out(text):
                                    begun = True
                                    yield text
                                if (self._leaving and self._leaving.stopped) or _has_lost_its_way(written):
                                    break
                            case Stopped(taken, _):
                                self._usage = taken
            except PenstockError as error:
                if begun:
                    raise
                failed = NothingWritten(error.message)
                failed.code = error.code
                raise failed from error
            if request.record.calls:
                self._usage = request.record.calls[-1].usage
            writing.values |= {
                "input_tokens": self._usage.input_tokens,
                "output_tokens": self._usage.output_tokens,
            }
        if rest := await self._out("", last=True):
            yield rest

    async def _out(self, text: str, *, last: bool = False) -> str:
        """One piece on its way out. What is private stands in it again before it is checked, and is gated after."""
        text = self._after.feed(text, last=last) if self._after else text
        text = self._cited.feed(text, last=last)
        words = self._leaving.restored(text, last=last) if self._leaving else text
        if self._held:
            words = await self._held.feed(words)
            words += await self._held.close() if last else ""
            self._checked += words
        return self._leaving.gated(words, last=last) if self._leaving else words

    async def _rewritten(self, sentence: str) -> str:
        """A sentence written once more so that it says no more than the sources; "" where nothing is left, or it fails."""
        boundary = self._turn.boundary
        try:
            masked = await asyncio.to_thread(boundary.enter, sentence, "document") if boundary else sentence
            told = Message("user", self._voice.say(REWRITE, self._turn.language))
            request = _request(self._name, self._turn, [*self._messages, Message("assistant", masked), told])
            text = ""
            async with aclosing(read(self._model.stream(request), request)) as events:
                async for event in events:
                    text += event.text if isinstance(event, TextDelta) else ""
                    if len(text) > 3 * len(sentence) + 200:
                        break
        except PenstockError as error:
            log("sentence not rewritten", level="warning", model=self._name, error=error.code)
            return ""
        text = boundary.leaving().restored(text, last=True) if boundary else text
        return "" if set(text.strip()) <= DASHES else text

    def _decided(self, text: str) -> tuple[Answer, str, str]:
        """The answer with what is known of it, its text, and whether it may be said."""
        citations = tuple(citation for citation, _ in self._sources)
        answer = replace(
            self._answer, text=text, status=Status.ANSWER, citations=citations, quoted=(), written_by=self._name,
            usage=self._usage, conflicts=_same_passages(self._answer, citations), copied=self._copied(text, citations),
        )  # fmt: skip
        verdict = self._verdict(text)
        sure = confidence(self._answer.confidence, verdict.claims if verdict else (), disagree=bool(answer.conflicts))
        answer = replace(answer, verdict=verdict, confidence=sure)
        self._note(answer)
        decision = decided(sure, self._checks.limits) if self._held else "answer"
        return unsaid(answer, decision), text, decision

    def _verdict(self, text: str) -> Verdict | None:
        """On what was said. Where the gate took something out, sentences are looked for in what is left."""
        if self._held is None:
            return None
        verdict = self._held.verdict()
        if text == self._checked:
            return verdict
        places = [(claim, text.find(self._checked[claim.start : claim.end])) for claim in verdict.claims]
        left = (moved(claim, at - claim.start) for claim, at in places if at >= 0)
        return replace(verdict, claims=tuple(left))

    def _copied(self, text: str, citations: tuple[Citation, ...]) -> tuple[Copied, ...]:
        """Where the text repeats a protected passage."""
        protected = set(self._checks.protected)
        tags = {hit.passage.id: hit.passage.tags for hit in self._turn.found.hits} if self._turn.found else {}
        shown = [n for n, citation in enumerate(citations) if protected.intersection(tags.get(citation.passage_id, ()))]
        found = copies(text, [self._sources[n][1] for n in shown]) if shown else []
        return tuple(Copied(one.start, one.end, shown[one.passage], one.share) for one in found)

    def _note(self, answer: Answer) -> None:
        """What was found wrong goes to the journal, for whoever reviews answers. No words of it."""
        wrong = [
            _finding(f"UNSUPPORTED:{claim.label}", claim.start, claim.end, 1 - claim.support, self._checks.unsupported)
            for claim in (self._held.written if self._held else ())
            if claim.label in ("contradicted", "not_found")
        ]
        wrong += [_finding("COPY", one.start, one.end, one.share, "mark") for one in answer.copied]
        if wrong and self._turn.record is not None:
            by = answer.verdict.by if answer.verdict else ""
            self._turn.record.guarded.append(
                {"surface": "output", "policy": f"grounded@{by}", "findings": wrong, "decision": "review"}
            )

    async def _disagreement(self, answer: Answer) -> AsyncIterator[TextDelta]:
        """What follows an answer whose sources disagree."""
        if not answer.conflicts:
            return
        gate = self._turn.boundary.leaving() if self._turn.boundary else None
        yield TextDelta("\n\n")
        for piece in self._voice.disagreement(self._answer):
            text = piece.text if piece.citation is None else f"“{piece.text}”"
            text = gate.gated(text) if gate else text
            yield TextDelta(text)
        if gate and (rest := gate.gated("", last=True)):
            yield TextDelta(rest)


class _After:
    """What a model says after a line that begins with a marker: the steps before it are its own. All of it where none came."""

    def __init__(self, marker: str) -> None:
        self._begins = re.compile(rf"(?im)^[\s*_#>]*{re.escape(marker)}[*_]*[ \t]*\n?")
        self._waiting, self._begun = "", False

    def feed(self, text: str, *, last: bool = False) -> str:
        if self._begun:
            return text
        self._waiting += text
        found = self._begins.search(self._waiting)
        if found and (last or found.end() < len(self._waiting)):
            self._begun = True
            return self._waiting[found.end() :]
        return self._waiting if last else ""


def _finding(kind: str, start: int, end: int, score: float, action: str) -> dict[str, Any]:
    return {"type": kind, "start": start, "end": end, "score": round(score, 3), "action": action, "rule": "verify"}


def _moved(answer: Answer, by: int) -> Answer:
    """The answer with places that count from where its text begins now."""
    if not by:
        return answer

    verdict = answer.verdict and replace(
        answer.verdict, claims=tuple(moved(claim, by) for claim in answer.verdict.claims)
    )
    copied = tuple(replace(one, start=one.start + by, end=one.end + by) for one in answer.copied)
    return replace(answer, verdict=verdict, copied=copied)


def unsaid(answer: Answer, decision: str) -> Answer:
    """An answer that is not said: what it rests on becomes what came nearest."""
    if decision not in ("abstain", "hand_over"):
        return answer
    status = Status.HANDED_OVER if decision == "hand_over" else Status.NOT_FOUND
    text = HANDED_OVER if decision == "hand_over" else NOT_FOUND
    return replace(
        answer, text=text, status=status, nearest=answer.citations, citations=(), quoted=(), conflicts=(), copied=(),
        verdict=None,
    )  # fmt: skip


def _same_passages(answer: Answer, citations: Sequence[Citation]) -> tuple[tuple[int, int], ...]:
    """Conflicts of an answer's citations by their numbers in another list."""
    places = {citation.passage_id: n for n, citation in enumerate(citations)}
    ids = [[answer.citations[n].passage_id for n in pair] for pair in answer.conflicts]
    return tuple((places[a], places[b]) for a, b in ids if a in places and b in places)


def _has_lost_its_way(text: str) -> bool:
    return len(text) > LONGEST_ANSWER or (len(text) > 3 * CIRCLE and text.count(text[-CIRCLE:]) > 2)


def _request(name: str, turn: Turn, messages: Sequence[Message]) -> ModelRequest:
    body: dict[str, Any] = {"model": name, "messages": [asdict(message) for message in messages], "stream": True}
    if turn.boundary and turn.boundary.careful:
        body["temperature"] = CAREFUL  # otherwise not said: models differ in what else they take
    record = turn.record or Record("")
    return ModelRequest(dialect="chat", model=name, body=body, stream=True, caller=turn.caller, record=record)
