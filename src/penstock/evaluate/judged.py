"""Judges: a model that grades answers and compares them, and a judge that is a formula, for where there is no model.

A model judges twice, the second time with everything in the other order, since models prefer what stands first (Zheng et al. 2023,
"Judging LLM-as-a-judge"). How far it agrees with itself, and with people where they judged too, is reported with what it says. What
cannot be read is unscored. The formula is deterministic and costs nothing; what it weighs is written down at OfflineJudge.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, Final, Literal, NamedTuple, Protocol

from penstock.errors import BadRequest, PenstockError
from penstock.evaluate.cases import Case, Reply
from penstock.evaluate.rouge import rouge
from penstock.evaluate.scored import About, Scored, unanswered, unscored
from penstock.guard.fence import Fence
from penstock.models.kept import FRESH
from penstock.models.translate import read
from penstock.stats import Interval, cohen_kappa
from penstock.text.languages import identifier
from penstock.trace import log, span
from penstock.types import Caller, Model, ModelRequest, Record, TextDelta

__all__ = ["POINTS", "RUBRIC", "Agreement", "Judge", "ModelJudge", "OfflineJudge", "Preferred", "agreements"]

POINTS: Final = 5
LONGEST_REPLY: Final = 4_000  # characters
LONGEST_SHOWN: Final = 12_000  # characters of context that a judge is shown
RUBRIC = (
    "5: right, whole, and nothing in it that the sources or the reference do not say. 4: right, and something minor is missing "
    "or superfluous. 3: partly right. 2: mostly wrong, or beside the question. 1: wrong, or it misleads."
)
_GRADE = (
    "You grade an answer to a question. {fence} Judge what the answer says, not how long or how polished it is. "
    "{scale}\nGive one sentence of reasons, and then a last line that is nothing but POINTS: and one digit from 1 to 5."
)
_PREFER = (
    "You compare two answers to a question. {fence} Judge what they say, not how long or how polished they are, and not the "
    "order in which they stand. {scale}\nGive one sentence of reasons, and then a last line that is nothing but "
    "BETTER: 1, BETTER: 2 or BETTER: TIE."
)
_POINTS = re.compile(r"POINTS\W{0,6}([1-5])\b(?!\s*(?:[-/.]|to|of)\s*\d)", re.I)
_BETTER = re.compile(r"BETTER\W{0,6}(1|2|TIE)\b", re.I)
_BARE = re.compile(r"\W*([1-5])\W*")

Side = Literal["first", "second", "tie", "unscored"]


class Preferred(NamedTuple):
    """Which of two answers a judge prefers. both: what it said in the one order and in the other, in terms of the first."""

    side: Side
    both: tuple[Side, Side]


class Judge(Protocol):
    """Grades one answer as a `Scorer`, and says which of two is better."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> About: ...

    @property
    def cost_usd(self) -> float:
        """What its calls have cost so far."""
        ...

    async def score(self, case: Case, reply: Reply) -> Scored: ...

    async def prefer(self, case: Case, first: Reply, second: Reply) -> Preferred: ...


def _about(what: str, note: str) -> About:
    return About(name="judge", what=what, note=note, needs="an answer")


def _abstention(case: Case, reply: Reply) -> Scored | None:
    """What needs no judge; None where it does."""
    if not case.answerable and reply.state != "failed":
        return Scored(float(reply.state in ("abstained", "refused")))
    return None if reply.state == "answered" else unanswered(case, reply)


# ---------------------------------------------------------------- a model


@dataclass
class ModelJudge:
    """A model as a judge. Satisfies `Judge`.

    samples: how often it is asked in each order; the median counts (self-consistency, Wang et al. 2022). Its calls are made past
    all caches, each with a record of its own.
    """

    name: str
    model: Model
    rubric: str = RUBRIC
    samples: int = 1
    caller: Caller = field(default_factory=Caller)
    spent_pico_usd: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= 25:
            raise BadRequest(f"a judge is asked 1 to 25 times, not {self.samples}")

    @property
    def about(self) -> About:
        return _about(
            f"one to five points by {self.name}, as 0 to 1",
            "People may not agree: see its agreement with them. Models favour long answers and their own kind.",
        )

    @property
    def cost_usd(self) -> float:
        return self.spent_pico_usd / 1e12

    async def score(self, case: Case, reply: Reply) -> Scored:
        if (settled := _abstention(case, reply)) is not None:
            return settled
        orders = await asyncio.gather(*(self._graded(case, reply, turned=turned) for turned in (False, True)))
        points = [one for one in orders if one is not None]
        if not points:
            return unscored(f"{self.name} gave no points")
        detail: dict[str, Any] = {"points": points}
        return Scored((fmean(points) - 1) / (POINTS - 1), detail=detail)

    async def prefer(self, case: Case, first: Reply, second: Reply) -> Preferred:
        shown = [first, second]
        one, other = await asyncio.gather(
            self._preferred(case, shown, turned=False), self._preferred(case, shown[::-1], turned=True)
        )
        back: dict[Side, Side] = {"first": "second", "second": "first", "tie": "tie", "unscored": "unscored"}
        both = (one, back[other])
        if "unscored" in both:
            return Preferred("unscored", both)
        return Preferred(both[0] if both[0] == both[1] else "tie", both)

    async def _graded(self, case: Case, reply: Reply, *, turned: bool) -> float | None:
        """The median of the points in one order; None where no reply could be read."""
        fence = Fence()
        system = _GRADE.format(fence=fence.instructions, scale=_scale(self.rubric, turned=turned))
        told = _told(fence, case, [("Answer", reply)], turned=turned)
        replies = await asyncio.gather(*(self._asked(system, told) for _ in range(self.samples)))
        found = [points for said in replies if (points := points_in(said))]
        return float(median(found)) if found else None

    async def _preferred(self, case: Case, shown: Sequence[Reply], *, turned: bool) -> Side:
        fence = Fence()
        system = _PREFER.format(fence=fence.instructions, scale=_scale(self.rubric, turned=turned))
        told = _told(fence, case, [("Answer 1", shown[0]), ("Answer 2", shown[1])], turned=False)
        replies = await asyncio.gather(*(self._asked(system, told) for _ in range(self.samples)))
        votes = [side for said in replies if (side := side_in(said)) != "unscored"]
        if not votes:
            return "unscored"
        counts = {side: votes.count(side) for side in votes}
        leading = [side for side, count in counts.items() if count == max(counts.values())]
        return leading[0] if len(leading) == 1 else "tie"

    async def _asked(self, system: str, told: str) -> str:
        """One reply; "" where the call failed."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": told}]
        temperature = 0 if self.samples == 1 else 0.7
        body = {"model": self.name, "messages": messages, "stream": True, "temperature": temperature}
        record = Record("judge")
        request = ModelRequest(
            dialect="chat", model=self.name, body=body, stream=True, caller=self.caller, record=record, tags=(FRESH,)
        )
        said = ""
        try:
            with span("judge", model=self.name):
                async with aclosing(read(self.model.stream(request), request)) as events:
                    async for event in events:
                        said += event.text if isinstance(event, TextDelta) else ""
                        if len(said) > LONGEST_REPLY:
                            break
        except PenstockError as error:
            log("judge failed", level="warning", model=self.name, error=error.code)
            return ""
        finally:
            self.spent_pico_usd += sum(call.cost_pico_usd for call in record.calls)
        return said


def points_in(said: str) -> int:
    """The points in a judge's reply, 1 to 5; 0 where it names none, or several different ones."""
    found = {int(points) for points in _POINTS.findall(said)}
    if not found and (bare := _BARE.fullmatch(said)):
        return int(bare[1])
    return found.pop() if len(found) == 1 else 0


def side_in(said: str) -> Side:
    """Which answer a judge's reply prefers; unscored where it names none, or several."""
    found = {side.upper() for side in _BETTER.findall(said)}
    names: dict[str, Side] = {"1": "first", "2": "second", "TIE": "tie"}
    return names[found.pop()] if len(found) == 1 else "unscored"


def _scale(rubric: str, *, turned: bool) -> str:
    """The lines of a rubric, the second time from the lowest."""
    lines = [line.strip() for line in re.split(r"(?<=[.!])\s+(?=[1-5]:)|\n", rubric) if line.strip()]
    return "\n" + "\n".join(reversed(lines) if turned else lines)


def _told(fence: Fence, case: Case, answers: Sequence[tuple[str, Reply]], *, turned: bool) -> str:
    """What a judge is shown, all of it as data: anybody may have written it."""
    context = answers[0][1].context or case.context
    parts = [("Question", case.question)]
    parts += (
        [("Conversation before it", "\n".join(f"{m.role}: {m.content}" for m in case.messages))]
        if case.messages
        else []
    )
    beside = [(f"Reference {n}", text) for n, text in enumerate(case.expected, 1)]
    beside += [("Sources", "\n\n".join(context)[:LONGEST_SHOWN])] if context else []
    shown = [(title, reply.text or "(nothing)") for title, reply in answers]
    parts += [*shown, *beside] if turned else [*beside, *shown]
    return "\n\n".join(fence.wrap(n, title, text) for n, (title, text) in enumerate(parts, 1))


# ---------------------------------------------------------------- a formula


WEIGHTS: Final[Mapping[str, float]] = {"grounding": 0.35, "overlap": 0.35, "completeness": 0.2, "language": 0.1}
CONTRADICTED: Final = 0.5  # an answer that says otherwise than its sources has no more
TIE: Final = 0.02


class OfflineJudge:
    """The deterministic judge. Satisfies `Judge`.

    The weighted mean of as many of four parts as the case allows: grounding .35 (the share of sentences whose words are in the
    sources), overlap .35 (ROUGE-1 F1 with the reference that suits best), completeness .2 (the share of the reference's words that
    it has, and of `must_contain`), language .1 (that of the question). Without sources, reference and `must_contain` it says
    nothing. An answer with a sentence that the sources contradict has at most .5. Of two answers the higher wins, by more than .02.
    """

    name = "offline"
    cost_usd = 0.0
    about = _about(
        "a formula over grounding, overlap with the reference, completeness and language",
        "Counts words, and knows neither paraphrase nor reasons: for tests and trends, not for a verdict.",
    )

    async def score(self, case: Case, reply: Reply) -> Scored:
        return await asyncio.to_thread(self.judged, case, reply)

    async def prefer(self, case: Case, first: Reply, second: Reply) -> Preferred:
        one, other = await asyncio.gather(self.score(case, first), self.score(case, second))
        side: Side = "tie"
        if "scored" not in (one.state, other.state):
            side = "unscored"
        elif one.state != other.state:
            side = "first" if one.state == "scored" else "second"
        elif abs(one.value - other.value) > TIE:
            side = "first" if one.value > other.value else "second"
        return Preferred(side, (side, side))

    def judged(self, case: Case, reply: Reply) -> Scored:
        """`score`, for whoever waits."""
        if (settled := _abstention(case, reply)) is not None:
            return settled
        if not reply.text.strip():
            return Scored(0.0, why="no words")
        parts: dict[str, float] = {}
        most = 1.0
        if context := reply.context or case.context:
            verdict = _words_alone().check(reply.text, list(context), question=case.question)
            if verdict.claims:
                good = sum(claim.label == "supported" for claim in verdict.claims)
                parts["grounding"] = good / len(verdict.claims)
                most = CONTRADICTED if any(claim.label == "contradicted" for claim in verdict.claims) else 1.0
        whole = []
        if case.expected:
            beside = rouge(reply.text, case.expected, kinds=("rouge1",))["rouge1"]
            parts["overlap"] = beside.value
            whole.append(beside.recall or 0.0)
        if case.must_contain:
            said = " ".join(reply.text.casefold().split())
            there = [" ".join(text.casefold().split()) in said for text in case.must_contain]
            whole.append(sum(there) / len(there))
        if whole:
            parts["completeness"] = fmean(whole)
        if not parts:
            return unscored("there is nothing to judge it by")
        spoken = identifier().identify(reply.text)
        if spoken.sure:
            parts["language"] = float(spoken.language == case.language.partition("-")[0])
        total = sum(WEIGHTS[name] for name in parts)
        value = min(most, sum(WEIGHTS[name] * part for name, part in parts.items()) / total)
        return Scored(value, detail={name: round(part, 4) for name, part in parts.items()})


def _words_alone() -> Any:
    from penstock.verify.check import verifier

    return verifier("lexical")


# ---------------------------------------------------------------- how far judges can be trusted


class Agreement(NamedTuple):
    """How far a judge agrees with itself in the other order, or with people: kappa beyond chance, and how often in so many."""

    with_: Literal["itself", "people"]
    kappa: Interval
    same: float  # share
    n: int

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "with": self.with_, "kappa": round(self.kappa.estimate, 4), "low": round(self.kappa.low, 4),
            "high": round(self.kappa.high, 4), "same": round(self.same, 4), "n": self.n,
        }  # fmt: skip


def agreements(judged: Sequence[tuple[Reply, Scored]]) -> list[Agreement]:
    """Of answers and what a judge made of them. Points are weighed by the square of their distance; people who said no more than
    good or bad are compared with whether the judge gave at least the middle."""
    found = []
    both = [one.detail["points"] for _, one in judged if len(one.detail.get("points", ())) == 2]
    if both:
        first, second = ([round(pair[n]) for pair in both] for n in (0, 1))
        found.append(_agreed("itself", first, second))
    people = [(reply.human, one.value) for reply, one in judged if reply.human is not None and one.state == "scored"]
    if people and all(human in (0.0, 1.0) for human, _ in people):
        found.append(_agreed("people", [int(value >= 0.5) for _, value in people], [int(human) for human, _ in people]))
    elif people:
        points = [[1 + round((POINTS - 1) * each) for each in pair] for pair in people]
        found.append(_agreed("people", [one[1] for one in points], [one[0] for one in points]))
    return found


def _agreed(with_: Literal["itself", "people"], first: Sequence[int], second: Sequence[int]) -> Agreement:
    kappa = cohen_kappa(first, second, weights="quadratic", order=range(POINTS + 1))
    same = sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
    return Agreement(with_, kappa, same, len(first))
