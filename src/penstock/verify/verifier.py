"""A text and its sources in, a verdict out: every sentence with its evidence, by the shipped checker or by words alone.

What is known of a sentence is a row of numbers: what `lexical.py` counts and, where the checker runs, what it reads. A
logistic regression makes a probability of it. The whole text is judged by the mean of its sentences' numbers.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from penstock.encoder import WEIGHTS
from penstock.types import Claim, Evidence, Support, Verdict
from penstock.verify import lexical
from penstock.verify.claims import blanked, claims, introduced
from penstock.verify.compare import CONTRADICTED, Mismatch, mismatches, negated, swapped
from penstock.verify.marks import Marking, Word, joined, words
from penstock.verify.words import Told, told

if TYPE_CHECKING:
    from penstock.types import Vectors
    from penstock.verify.checker import Checker, Reading
    from penstock.verify.evidence import Pieces, Reader

__all__ = ["Checking", "Lexical", "Model", "models"]

CHECKED = (
    "log_supported",
    "log_odds_contradicted",
    "worst_piece",
    "mean_piece",
)  # what the checker adds to the numbers
SHORT_ANSWER = 8  # words: what has no more is read with its question
ROOM = ((1, 320), (3, 128))  # (claims at most, tokens of evidence for each); more claims get LEAST_ROOM
LEAST_ROOM = 104
MOST_EVIDENCE = 3
MARKS = ".!?…。！？।؟"  # that end a sentence


@dataclass(frozen=True)
class Model:
    """A logistic regression over the numbers of a text's sentences: their means, and how many sentences there are."""

    names: tuple[str, ...]
    mean: Vectors  # (names + 1,)
    scale: Vectors
    weights: Vectors
    bias: float
    threshold: float  # probability from where on a text counts as supported

    @classmethod
    def load(cls, values: dict[str, Any]) -> Model:
        arrays: dict[str, Any] = {n: np.array(values[n], np.float64) for n in ("mean", "scale", "weights")}
        return cls(tuple(values["names"]), bias=values["bias"], threshold=values["threshold"], **arrays)

    def support(self, rows: Any) -> float:
        """Probability that all sentences are supported. rows: (sentences, names)."""
        odds = float((aggregated(rows) - self.mean) / self.scale @ self.weights) + self.bias
        return 1 / (1 + math.exp(-min(max(odds, -30.0), 30.0)))


def aggregated(rows: Any) -> Any:
    """float (names + 1,): the mean of each number, and the logarithm of how many sentences there are."""
    return np.append(rows.mean(0), math.log(len(rows)))


@cache
def models() -> dict[str, Model]:
    """The shipped regressions: "lexical" and "checker"."""
    loaded = json.loads((WEIGHTS / "checker" / "support.json").read_text("utf-8"))
    return {name: Model.load(loaded[name]) for name in ("lexical", "checker") if name in loaded}


@cache
def marking() -> Marking:
    """What marks the words that are not in the sources."""
    loaded = json.loads((WEIGHTS / "checker" / "support.json").read_text("utf-8"))
    return Marking.load(loaded["marks"])


@dataclass(frozen=True, slots=True)
class _Sentence:
    start: int
    end: int
    compared: lexical.Compared
    rules: list[Mismatch]
    asked: frozenset[int]

    @property
    def contradicted(self) -> bool:
        """Whether a rule found that the sources say something else."""
        return any(one.instead for one in self.rules)

    @property
    def flagged(self) -> list[tuple[int, int]]:
        """The stretches of the text that a rule speaks against."""
        return [(self.start + one.start, self.start + one.end) for one in self.rules]

    def words(self, text: str, source: Told, support: float) -> list[Word]:
        """What is known of each of its words."""
        flagged = [] if any(one.kind == "negation" for one in self.rules) else self.flagged
        return words(text, self.start, self.end, source, self.compared, support, asked=self.asked, flagged=flagged)

    def marks(self, text: str, source: Told, support: float) -> list[tuple[int, int]]:
        """Its words that are not in the sources."""
        return marking().marked(self.words(text, source, support)) if marking().doubts(support) else []


class Lexical:
    """The tier without a network: two milliseconds a text. Satisfies `Verifier`."""

    def __init__(self, model: Model | None = None) -> None:
        self._given = model

    @cached_property
    def _model(self) -> Model:
        return self._given or models()["lexical"]

    def words(self, text: str, sources: Sequence[str], question: str = "", language: str = "") -> list[Word]:
        """What is known of each word of a text that claims something."""
        plain, known = blanked(text), told("\n".join(sources), language)
        found = compared(plain, known, sources, question, written=text)
        supports = [self._model.support(np.array([one.compared.values])) for one in found]
        return [word for one, support in zip(found, supports, strict=True) for word in one.words(plain, known, support)]

    def numbers(self, text: str, sources: Sequence[str], question: str = "", language: str = "") -> list[list[float]]:
        """What is known of each sentence: a row of `lexical.FEATURES`."""
        known = told("\n".join(sources), language)
        return [one.compared.values for one in compared(blanked(text), known, sources, question, written=text)]

    async def verify(self, text: str, sources: Sequence[str], *, question: str = "", language: str = "") -> Verdict:
        return await asyncio.to_thread(self.check, text, sources, question=question, language=language)

    def check(self, text: str, sources: Sequence[str], *, question: str = "", language: str = "") -> Verdict:
        """`verify`, for whoever waits."""
        plain = blanked(text)
        known = told("\n".join(sources), language)
        found = compared(plain, known, sources, question, written=text)
        if not found:
            return Verdict("supported", 1.0, (), "lexical")
        rows = np.array([one.compared.values for one in found])
        said = []
        for one, row in zip(found, rows, strict=True):
            support = self._model.support(row[None])
            evidence = _located(known, lexical.nearest(one.compared, MOST_EVIDENCE), sources)
            said.append(_claim(plain, one, support, self._model.threshold, evidence, one.marks(plain, known, support)))
        return _verdict(said, found, self._model.support(rows), self._model.threshold, "lexical")


class Checking:
    """The tier with the checker. Satisfies `Verifier`."""

    def __init__(self, checker: Checker, reader: Reader, model: Model | None = None) -> None:
        self._checker, self._reader, self._given = checker, reader, model

    @cached_property
    def _model(self) -> Model:
        return self._given or models()["checker"]

    def numbers(self, text: str, sources: Sequence[str], question: str = "", language: str = "") -> list[list[float]]:
        """What is known of each sentence: a row of `lexical.FEATURES` and CHECKED."""
        from penstock.verify.evidence import Pieces

        plain = blanked(text)
        found = compared(plain, told("\n".join(sources), language), sources, question, written=text)
        spans = [(one.start, one.end) for one in found]
        readings = self._readings(plain, spans, Pieces(sources, self._reader, language), question) if found else []
        return [[*one.compared.values, *checked(reading)] for one, (reading, _) in zip(found, readings, strict=True)]

    async def verify(self, text: str, sources: Sequence[str], *, question: str = "", language: str = "") -> Verdict:
        return await asyncio.to_thread(self.check, text, sources, question=question, language=language)

    def check(self, text: str, sources: Sequence[str], *, question: str = "", language: str = "") -> Verdict:
        """`verify`, for whoever waits."""
        from penstock.verify.evidence import Pieces

        plain = blanked(text)
        known = told("\n".join(sources), language)
        found = compared(plain, known, sources, question, written=text)
        if not found:
            return Verdict("supported", 1.0, (), "checker")
        pieces = Pieces(sources, self._reader, language)
        said, rows = [], []
        readings = self._readings(plain, [(one.start, one.end) for one in found], pieces, question)
        for one, (reading, bearing) in zip(found, readings, strict=True):
            row = np.array([*one.compared.values, *checked(reading)])
            rows.append(row)
            support = self._model.support(row[None])
            evidence = tuple(Evidence(*pieces.pieces[n]) for n in bearing[:MOST_EVIDENCE])
            marks = one.marks(plain, known, support)
            said.append(_claim(plain, one, support, self._model.threshold, evidence, marks, reading))
        support = self._model.support(np.array(rows))
        return _verdict(said, found, support, self._model.threshold, "checker")

    def _readings(
        self, text: str, spans: Sequence[tuple[int, int]], pieces: Pieces, question: str
    ) -> list[tuple[Reading, list[int]]]:
        """For each sentence what the checker makes of it, and the pieces of evidence, best first."""
        from penstock.verify.checker import Pair

        room = next((tokens for most, tokens in ROOM if len(spans) <= most), LEAST_ROOM)
        asked = self._reader.read([question])[0].ids if question else []
        pairs, where = [], []
        for (start, end), one in zip(spans, self._reader.read([text[a:b] for a, b in spans]), strict=True):
            claim = text[start:end]
            with_question = asked if reads_with_question(claim, question) else []
            if with_question:
                claim = f"{question} {claim}"
            bearing = pieces.bearing(claim, [*with_question, *one.ids])
            window = pieces.chosen(bearing, room)
            evidence = [token for n in window for token in pieces.tokenised[n].ids]
            pairs.append(Pair(one.ids, evidence, with_question))
            where.append(np.argsort(-bearing, kind="stable").tolist())
        return list(zip(self._checker.read(pairs), where, strict=True))


def reads_with_question(claim: str, question: str) -> bool:
    """Whether a claim is so short that only its question makes a sentence of it."""
    return bool(question) and question.rstrip().endswith(("?", "？", "؟")) and len(claim.split()) <= SHORT_ANSWER


def compared(text: str, source: Told, sources: Sequence[str], question: str, *, written: str = "") -> list[_Sentence]:
    """The sentences of a text beside its source. A text that claims nothing is looked at whole. written: the text with its marks:
    the item of a list claims what the line above the list says of it."""
    language = source.vocabulary.language
    spans = claims(text, language)
    if not spans and (stripped := text.strip()):
        start = text.index(stripped[0])
        spans = [(start, start + len(stripped))]
    asked = told(question, language).everything - {0} if question else frozenset[int]()
    found, together = [], "\n".join(sources)
    for start, end in spans:
        claim = text[start:end]
        said = lexical.said(f"{introduced(written or text, start)} {claim}".lstrip(), source)
        values = lexical.compared(said, source, asked)
        rules = mismatches(claim, sources, asked=question, language=language)
        rules = swapped(rules, claim, values, source, together)
        rules += negated(claim, said, values, source, together)
        found.append(_Sentence(start, end, values, rules, asked))
    return found


def checked(reading: Reading) -> list[float]:
    """CHECKED: what the checker adds to the numbers of a sentence."""
    supported, open_, contradicted = map(float, reading.support)
    pieces = reading.unsupported if len(reading.unsupported) else np.zeros(1, np.float32)
    return [supported - math.log(max(1e-6, 1 - math.exp(supported))), contradicted - open_,
            float(pieces.max()), float(pieces.mean())]  # fmt: skip


def _claim(
    text: str,
    one: _Sentence,
    support: float,
    threshold: float,
    evidence: tuple[Evidence, ...],
    marks: Sequence[tuple[int, int]],
    reading: Reading | None = None,
) -> Claim:
    if one.contradicted:
        support = min(support, CONTRADICTED)
    spans = tuple(joined(text, [*one.flagged, *marks]))
    if support >= threshold:
        doubtful = tuple(joined(text, marks))
        return Claim(one.start, one.end, "supported", round(support, 4), evidence, doubtful)
    return Claim(
        one.start, one.end, _why_not(one, reading), round(support, 4), evidence, spans or ((one.start, one.end),),
        tuple(m.why for m in one.rules),
    )  # fmt: skip


def _why_not(one: _Sentence, reading: Reading | None) -> Support:
    if one.contradicted or (reading is not None and reading.support[2] > reading.support[1]):
        return "contradicted"
    return "not_found"


def _located(known: Told, best: Sequence[int], sources: Sequence[str]) -> tuple[Evidence, ...]:
    """Sentences of the joined sources as stretches of the single ones."""
    starts, at = [], 0
    for source in sources:
        starts.append(at)
        at += len(source) + 1
    found = []
    for n in best:
        start, end = known.spans[n]
        which = max(k for k, first in enumerate(starts) if first <= start)
        source, last = sources[which], min(end - starts[which], len(sources[which]))
        while last < len(source) and source[last] in MARKS:
            last += 1
        found.append(Evidence(which, start - starts[which], last))
    return tuple(found)


def _verdict(
    said: Sequence[Claim],
    found: Sequence[_Sentence],
    support: float,
    threshold: float,
    by: Literal["lexical", "checker"],
) -> Verdict:
    if any(one.contradicted for one in found):
        support = min(support, CONTRADICTED)
    if support >= threshold:
        label: Support = "supported"
    else:
        worst = min(said, key=lambda claim: claim.support)
        label = worst.label if worst.label != "supported" else "not_found"
    return Verdict(label, round(support, 4), tuple(said), by)
