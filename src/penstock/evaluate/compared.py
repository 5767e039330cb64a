"""Two results beside each other, case by case: which scores differ by more than chance would have it, and on which cases.

Pairs are the cases that both results answered and scored, with the same id and the same words. Differences within a group move
together: signs are flipped by group, and groups are drawn. P-values are adjusted for the number of scores (Holm 1979).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any, Literal

from penstock.errors import BadRequest
from penstock.evaluate.cases import Case, Reply
from penstock.evaluate.judged import Judge, Preferred
from penstock.evaluate.result import Result, case_values, interval
from penstock.evaluate.run import Row
from penstock.evaluate.scored import About
from penstock.stats import Interval, cohen_kappa, holm, mean_effect, paired_permutation, wilson

__all__ = ["Comparison", "Difference", "Moved", "Preference", "compare", "prefer"]

ALPHA = 0.05
LEADING = ("judge", "token_f1", "contains", "exact", "grounded", "answered")  # what cases are listed by, if it is there
SHOWN = 10  # cases that moved most, each way
Decision = Literal["better", "worse", "no difference shown", "the same", "too few"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One score: the second result less the first, over the cases that both have."""

    about: About
    n: int
    first: float
    second: float
    apart: Interval | None  # of the mean difference, 95 %; None of fewer than two groups
    p: float  # two-sided, by permutation
    p_holm: float
    wins: int  # cases on which the second is better
    losses: int
    only_first: int = 0  # cases that only the first has a value for
    only_second: int = 0
    seen_from: float | None = None  # the smallest difference that so many cases would mostly show

    @property
    def decision(self) -> Decision:
        """Of the second result."""
        if self.apart is None:
            return "too few"
        if not self.wins and not self.losses:
            return "the same"
        if self.p_holm >= ALPHA:
            return "no difference shown"
        return "better" if (self.second > self.first) == self.about.higher_is_better else "worse"

    @property
    def words(self) -> str:
        """The decision in a sentence."""
        name = self.about.name
        match self.decision:
            case "too few":
                return f"{name}: {self.n} case{'s are' if self.n != 1 else ' is'} too few to compare"
            case "the same":
                return f"{name}: the same on all {self.n} cases"
            case "no difference shown":
                small = (
                    f"; a difference of {_g(self.seen_from)} would mostly be seen on so many" if self.seen_from else ""
                )
                return f"{name}: no difference shown on {self.n} cases{small}"
        assert self.apart is not None
        by, low, high = (_g(value) for value in (abs(self.second - self.first), self.apart.low, self.apart.high))
        return f"{name}: {self.decision} by {by} on {self.n} cases ({low} to {high}, p = {self.p_holm:.2g})"

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "score": self.about.name, "decision": self.decision, "words": self.words, "n": self.n,
            "first": round(self.first, 6), "second": round(self.second, 6),
            "difference": round(self.second - self.first, 6),
            "low": round(self.apart.low, 6) if self.apart else None,
            "high": round(self.apart.high, 6) if self.apart else None,
            "p": round(self.p, 6), "p_holm": round(self.p_holm, 6), "wins": self.wins, "losses": self.losses,
            "only_first": self.only_first, "only_second": self.only_second,
            "seen_from": round(self.seen_from, 6) if self.seen_from else None,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moved:
    """A case on which one result is better than the other."""

    case: Case
    score: str
    first: float
    second: float
    replies: tuple[Reply, Reply]  # the first trial of each

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "case": self.case.id, "score": self.score, "question": self.case.question, "expected": list(self.case.expected),
            "first": {"value": round(self.first, 6), "answer": self.replies[0].text},
            "second": {"value": round(self.second, 6), "answer": self.replies[1].text},
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Preference:
    """How often a judge prefers the second result, in both orders. Ties count half."""

    judge: str
    n: int
    first: int
    second: int
    ties: int
    unscored: int
    share: Interval  # of the second
    kappa: Interval | None  # between the two orders
    first_place: (
        float  # how often the answer that stood first was preferred, of those that were preferred; half is fair
    )

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        kappa = self.kappa and {"value": self.kappa.estimate, "low": self.kappa.low, "high": self.kappa.high}
        return {
            "judge": self.judge, "n": self.n, "first": self.first, "second": self.second, "ties": self.ties,
            "unscored": self.unscored, "share": {"value": self.share.estimate, "low": self.share.low, "high": self.share.high},
            "kappa": kappa, "first_place": round(self.first_place, 4),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two results. by: the score that wins and losses are listed by."""

    first: Result
    second: Result
    shared: int  # cases with the same id and words
    differences: tuple[Difference, ...]
    by: str = ""
    wins: tuple[Moved, ...] = ()  # the widest first
    losses: tuple[Moved, ...] = ()
    preference: Preference | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "first": _about(self.first), "second": _about(self.second), "shared": self.shared,
            "same_cases": self.first.cases.digest == self.second.cases.digest,
            "scores": [one.plain() for one in self.differences], "by": self.by,
            "wins": [one.plain() for one in self.wins], "losses": [one.plain() for one in self.losses],
            "preference": self.preference and self.preference.plain(),
        }  # fmt: skip


def _about(result: Result) -> dict[str, Any]:
    return {
        "target": result.target, "cases": result.cases.name, "digest": result.cases.digest, "n": len(result.cases),
        "complete": result.complete, "versions": result.versions, "began": result.began,
    }  # fmt: skip


def _g(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def compare(first: Result, second: Result, *, scores: Sequence[str] = (), by: str = "", seed: int = 0) -> Comparison:
    """Compare two results. scores: only these, which are then surer: p-values pay for each score that is looked at. by: what to
    list wins and losses by; without, the score that differs most surely.

    Raises BadRequest where they share no case, or no score.
    """
    shared = _shared(first, second)
    if not shared:
        raise BadRequest(
            "the two results share no case", hint="a case is the same where its id and what it says are the same"
        )
    both = [about for name, about in first.abouts.items() if name in second.abouts and (not scores or name in scores)]
    found = [one for about in both if (one := _difference(first, second, about, shared, seed)) is not None]
    if not found:
        raise BadRequest(
            "the two results share no score", hint=", ".join(name for name in first.abouts if name in second.abouts)
        )
    if by and by not in {one.about.name for one in found}:
        raise BadRequest(f"both results must have '{by}'", hint=", ".join(one.about.name for one in found))
    adjusted = holm([one.p for one in found]).tolist()
    differences = tuple(replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True))
    chosen = by or _telling(differences)
    wins, losses = _moved(first, second, shared, first.abouts[chosen])
    return Comparison(first, second, len(shared), differences, chosen, wins, losses)


def _telling(differences: Sequence[Difference]) -> str:
    """The surest of the scores that are about quality, or else of all."""
    quality = [one for one in differences if not one.about.of_measured and math.isfinite(one.about.high)]
    places = {name: n for n, name in enumerate(LEADING)}
    return min(quality or differences, key=lambda one: (one.p, places.get(one.about.name, len(places)))).about.name


def _shared(first: Result, second: Result) -> dict[str, Case]:
    own = {case.id: case for case in first.cases.cases}
    return {case.id: case for case in second.cases.cases if case.id in own and own[case.id].digest == case.digest}


def _difference(first: Result, second: Result, about: About, shared: dict[str, Case], seed: int) -> Difference | None:
    a, b = case_values(first.rows, about.name), case_values(second.rows, about.name)
    pairs = [id_ for id_ in shared if id_ in a and id_ in b]
    only_a, only_b = (sum(id_ in one and id_ not in other for id_ in shared) for one, other in ((a, b), (b, a)))
    if not pairs:
        return None
    apart = [b[id_] - a[id_] for id_ in pairs]
    clusters = [shared[id_].cluster for id_ in pairs]
    sums: dict[str, float] = {}
    for cluster, value in zip(clusters, apart, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value
    p = paired_permutation([0.0] * len(sums), list(sums.values()), seed=seed).p_value
    widest = about.high - about.low
    found, _ = interval(apart, clusters, low=-widest, high=widest, seed=seed)
    sign = 1 if about.higher_is_better else -1
    seen = None
    if len(sums) > 1 and (spread := stdev(sums.values())) > 0:
        seen = mean_effect(spread, len(sums), paired=True) * len(sums) / len(pairs)
    return Difference(
        about, len(pairs), fmean(a[id_] for id_ in pairs), fmean(b[id_] for id_ in pairs), found, p, p,
        sum(sign * value > 0 for value in apart), sum(sign * value < 0 for value in apart), only_a, only_b, seen,
    )  # fmt: skip


def _first_replies(rows: Sequence[Row]) -> dict[str, Reply]:
    return {row.case.id: row.reply for row in reversed(rows) if row.reply is not None}


def _moved(
    first: Result, second: Result, shared: dict[str, Case], about: About
) -> tuple[tuple[Moved, ...], tuple[Moved, ...]]:
    a, b = case_values(first.rows, about.name), case_values(second.rows, about.name)
    said = _first_replies(first.rows), _first_replies(second.rows)
    sign = 1 if about.higher_is_better else -1
    pairs = [(sign * (b[id_] - a[id_]), id_) for id_ in shared if id_ in a and id_ in b]
    found = {
        id_: Moved(shared[id_], about.name, a[id_], b[id_], (said[0][id_], said[1][id_])) for by, id_ in pairs if by
    }
    wins = sorted((pair for pair in pairs if pair[0] > 0), key=lambda pair: (-pair[0], pair[1]))
    losses = sorted((pair for pair in pairs if pair[0] < 0), key=lambda pair: pair)
    return tuple(found[id_] for _, id_ in wins[:SHOWN]), tuple(found[id_] for _, id_ in losses[:SHOWN])


async def prefer(first: Result, second: Result, judge: Judge, *, concurrent: int = 4) -> Preference:
    """Let a judge compare the answers to each shared case, the first trial of each. Refusals and failures have lost already, where
    only one of the two is one."""
    shared = _shared(first, second)
    said = _first_replies(first.rows), _first_replies(second.rows)
    places = asyncio.Semaphore(max(1, concurrent))

    async def one(case: Case) -> Preferred:
        replies = said[0][case.id], said[1][case.id]
        answered = [reply.state == "answered" for reply in replies]
        if answered == [True, False]:
            return Preferred("first", ("first", "first"))
        if answered == [False, True]:
            return Preferred("second", ("second", "second"))
        if not any(answered) or replies[0].text == replies[1].text:
            return Preferred("tie", ("tie", "tie"))
        async with places:
            return await judge.prefer(case, *replies)

    found = await asyncio.gather(*(one(case) for id_, case in shared.items() if id_ in said[0] and id_ in said[1]))
    return preference(judge.name, found)


def preference(judge: str, found: Sequence[Preferred]) -> Preference:
    """What a judge preferred, counted."""
    scored = [one for one in found if one.side != "unscored"]
    counts = {side: sum(one.side == side for one in scored) for side in ("first", "second", "tie")}
    wins = counts["second"] + counts["tie"] / 2
    orders = [one.both for one in scored]
    kappa = cohen_kappa([a for a, _ in orders], [b for _, b in orders]) if orders else None
    places = [
        place
        for a, b in orders
        for place in (a == "first" if a != "tie" else None, b == "second" if b != "tie" else None)
    ]
    placed = [place for place in places if place is not None]
    return Preference(
        judge, len(scored), counts["first"], counts["second"], counts["tie"], len(found) - len(scored),
        wilson(wins, len(scored)), kappa, sum(placed) / len(placed) if placed else 0.5,
    )  # fmt: skip
