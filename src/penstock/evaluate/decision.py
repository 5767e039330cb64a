"""An experiment's decision: several variants on the same cases, and which of them to ship, with the numbers it rests on.

A variant wins by quality where its share of correct answers is surely higher than the baseline's; of several, the best. Where
none is, one wins by cost that is surely cheaper for each answer and surely no worse than the margin allows. Otherwise the baseline
stays. P-values are paid for each variant that is looked at (Holm 1979), and "surely" is 95 %. What one case says of another is not
assumed: cases of a group are drawn together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any, Literal

from penstock.errors import BadRequest
from penstock.evaluate.cases import Reply
from penstock.evaluate.compared import Difference, compare
from penstock.evaluate.result import Result, interval
from penstock.stats import Interval, bootstrap, holm, mean_size, paired_permutation

__all__ = ["Correct", "Cost", "Decision", "Verdict", "decide"]

ALPHA = 0.05
MARGIN = 0.02  # of correct answers that may be lost where it is for money
_RULE = re.compile(r"\s*(\w+)\s*(?:(>=|<=)\s*([\d.]+))?\s*")

Why = Literal["better", "cheaper", "kept"]


@dataclass(frozen=True, slots=True)
class Correct:
    """What counts as a correct answer: a score, and where it has to be. `token_f1 >= 0.6`, `judge >= 0.75`, `contains`."""

    score: str
    least: float | None = None
    most: float | None = None

    @classmethod
    def parse(cls, rule: str) -> Correct:
        """Raises BadRequest for what is no rule."""
        found = _RULE.fullmatch(rule)
        if found is None:
            raise BadRequest(f"'{rule}' does not say what is correct", hint='correct = "token_f1 >= 0.6"')
        name, sign, number = found.groups()
        limit = float(number) if number else 1.0
        return cls(name, most=limit) if sign == "<=" else cls(name, least=limit)

    def of(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        return f"{self.score} <= {self.most:g}" if self.most is not None else f"{self.score} >= {self.least:g}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a variant costs besides its answers, in USD: once, such as a fine-tuning, and for each month, such as a machine."""

    once_usd: float = 0.0
    month_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One variant beside the baseline. Intervals are 95 %; None where there is too little to say."""

    name: str
    n: int  # cases that both answered
    correct: Interval | None
    difference: Interval | None  # of the share of correct answers, to the baseline
    p: float  # Holm's, two-sided
    latency_ms: tuple[float, float]  # median and 95th percentile
    cost_usd: Interval | None  # of one answer
    saved_usd: Interval | None  # for each answer, beside the baseline
    per_correct_usd: Interval | None
    breaks_even_at: float | None  # answers from where on all that it costs is less than the baseline; None: never
    cost: Cost = Cost()
    scores: tuple[Difference, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name, "n": self.n, "correct": _plain(self.correct), "difference": _plain(self.difference),
            "p": round(self.p, 6), "latency_p50_ms": self.latency_ms[0], "latency_p95_ms": self.latency_ms[1],
            "cost_usd": _plain(self.cost_usd), "saved_usd": _plain(self.saved_usd),
            "per_correct_usd": _plain(self.per_correct_usd), "breaks_even_at": self.breaks_even_at,
            "once_usd": self.cost.once_usd, "month_usd": self.cost.month_usd,
            "scores": [one.plain() for one in self.scores],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """Which variant to ship, and why."""

    baseline: str
    winner: str
    why: Why
    words: str
    correct: Correct
    margin: float
    verdicts: tuple[Verdict, ...]  # the baseline first
    needed: int | None = (
        None  # cases that a difference of the margin would mostly be seen on; None: as many as there are
    )
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON: the record to keep."""
        return {
            "baseline": self.baseline, "winner": self.winner, "why": self.why, "words": self.words,
            "correct": str(self.correct), "margin": self.margin, "needed": self.needed,
            "variants": [one.plain() for one in self.verdicts],
            "versions": {name: dict(each) for name, each in self.versions.items()},
        }  # fmt: skip

    def markdown(self) -> str:
        """For a pull request."""
        head = "| variant | correct | beside the baseline | ms p50 / p95 | USD an answer | USD a correct one | breaks even at |"
        n = max((one.n for one in self.verdicts), default=0)
        foot = f"Correct: `{self.correct}`; n = {n}; 95 % intervals."
        rows = [_row(one, bold=one.name == self.winner) for one in self.verdicts]
        return "\n".join([f"**{self.words}**", "", head, "|---|--:|--:|--:|--:|--:|--:|", *rows, "", foot])


def _row(one: Verdict, *, bold: bool) -> str:
    name = f"**{one.name}**" if bold else one.name
    times = f"{one.latency_ms[0]:,.0f} / {one.latency_ms[1]:,.0f}"
    cells = (name, _share(one.correct), _share(one.difference, signed=True), times, _usd(one.cost_usd))
    return f"| {' | '.join((*cells, _usd(one.per_correct_usd), _even(one)))} |"


def decide(
    results: Mapping[str, Result], *, baseline: str, correct: Correct, margin: float = MARGIN,
    costs: Mapping[str, Cost] | None = None, month_answers: float = 0.0, seed: int = 0,
) -> Decision:  # fmt: skip
    """Decide between variants, by name. month_answers: how many a month there are, so that what is paid by the month counts.

    Raises BadRequest where a result has not the score that says what is correct, or shares no case with the baseline.
    """
    costs = costs or {}
    if baseline not in results:
        raise BadRequest(f"there is no variant '{baseline}'", hint=f"known: {', '.join(results)}")
    for name, result in results.items():
        if correct.score not in result.abouts:
            raise BadRequest(
                f"'{name}' has no score '{correct.score}'", hint=f"it has {', '.join(result.abouts) or 'none'}"
            )
    base = results[baseline]
    own = _verdict(baseline, base, base, correct, costs.get(baseline, Cost()), Cost(), month_answers, seed)
    others = [
        _verdict(name, result, base, correct, costs.get(name, Cost()), costs.get(baseline, Cost()), month_answers, seed)
        for name, result in results.items()
        if name != baseline
    ]
    adjusted = holm([one.p for one in others]).tolist() if others else []
    others = [replace(one, p=p) for one, p in zip(others, adjusted, strict=True)]
    winner, why = _winner(own, others, margin)
    needed = _needed(base, results, baseline, correct, margin)
    words = _words(own, others, winner, why, margin, needed)
    versions = {name: result.versions for name, result in results.items()}
    return Decision(baseline, winner, why, words, correct, margin, (own, *others), needed, versions)


def _winner(own: Verdict, others: Sequence[Verdict], margin: float) -> tuple[str, Why]:
    better = [one for one in others if one.p < ALPHA and one.difference and one.difference.low > 0]
    if better:
        return max(better, key=lambda one: one.difference.estimate if one.difference else 0.0).name, "better"
    cheaper = [
        one
        for one in others
        if one.saved_usd and one.saved_usd.low > 0 and one.difference and one.difference.low > -margin
    ]
    if cheaper:
        return max(cheaper, key=lambda one: one.saved_usd.estimate if one.saved_usd else 0.0).name, "cheaper"
    return own.name, "kept"


def _words(own: Verdict, others: Sequence[Verdict], winner: str, why: Why, margin: float, needed: int | None) -> str:
    by_name = {one.name: one for one in others}
    match why:
        case "better":
            one = by_name[winner]
            even = f"; its costs are made up for after {one.breaks_even_at:,.0f} answers" if one.breaks_even_at else ""
            return f"Ship {winner}: {_share(one.difference, signed=True)} correct beside {own.name}{even}."
        case "cheaper":
            one = by_name[winner]
            even = f", from {one.breaks_even_at:,.0f} answers on" if one.breaks_even_at else ""
            return f"Ship {winner}: no more than {margin:.0%} worse, and {_usd(one.saved_usd)} USD cheaper for each answer{even}."
    if not others:
        return f"There is nothing to compare {own.name} with."
    worse = [one.name for one in others if one.p < ALPHA and one.difference and one.difference.high < 0]
    if len(worse) == len(others):
        return f"Keep {own.name}: {' and '.join(worse)} {'is' if len(worse) == 1 else 'are'} surely worse."
    few = f" A difference of {margin:.0%} would mostly be seen on {needed:,} cases." if needed else ""
    return f"Keep {own.name}: no variant is surely better, or surely as good and cheaper, on {own.n} cases.{few}"


def _verdict(
    name: str, result: Result, base: Result, correct: Correct, cost: Cost, base_cost: Cost, month_answers: float, seed: int
) -> Verdict:  # fmt: skip
    right, clusters = _right(result, correct)
    base_right, _ = _right(base, correct)
    shared = [one for one in right if one in base_right]
    if not shared:
        raise BadRequest(f"'{name}' and the baseline share no case that was scored")
    apart = [right[one] - base_right[one] for one in shared]
    groups = [clusters[one] for one in shared]
    difference, _ = interval(apart, groups, low=-1.0, high=1.0, seed=seed) if result is not base else (None, "")
    sums: dict[str, float] = {}
    for group, value in zip(groups, apart, strict=True):
        sums[group] = sums.get(group, 0.0) + value
    p = paired_permutation([0.0] * len(sums), list(sums.values()), seed=seed).p_value if result is not base else 1.0
    once = result.repeats == 1
    share, _ = interval([right[one] for one in shared], groups, low=0.0, high=1.0, seed=seed, once=once)
    spent, base_spent = _costs(result), _costs(base)
    both = [one for one in shared if one in spent and one in base_spent]
    own_costs = [spent[one] for one in both]
    saved = [base_spent[one] - spent[one] for one in both]
    in_groups = [clusters[one] for one in both]
    of_cost, _ = interval(own_costs, in_groups, low=0.0, high=math.inf, seed=seed) if both else (None, "")
    of_saved, _ = (
        interval(saved, in_groups, low=-math.inf, high=math.inf, seed=seed)
        if both and result is not base
        else (None, "")
    )
    return Verdict(
        name, len(shared), share, difference, p, _latency(result), of_cost, of_saved,
        _per_correct(own_costs, [right[one] for one in both], in_groups, seed),
        _even_at(of_saved, cost, base_cost, month_answers), cost,
        compare(base, result).differences if result is not base else (),
    )  # fmt: skip


def _right(result: Result, correct: Correct) -> tuple[dict[str, float], dict[str, str]]:
    """By case: the share of its trials that were correct; what could not be scored was not. And what each is drawn with."""
    trials: dict[str, list[float]] = {}
    clusters: dict[str, str] = {}
    for row in result.rows:
        score = row.scores.get(correct.score)
        if score is None or score.state == "absent":
            continue
        trials.setdefault(row.case.id, []).append(float(score.state == "scored" and correct.of(score.value)))
        clusters[row.case.id] = row.case.cluster
    return {name: fmean(each) for name, each in trials.items()}, clusters


def _costs(result: Result) -> dict[str, float]:
    """USD of one answer, by case."""
    found: dict[str, list[float]] = {}
    for row in result.rows:
        if row.reply is not None and row.reply.cost_usd is not None:
            found.setdefault(row.case.id, []).append(row.reply.cost_usd)
    return {name: fmean(each) for name, each in found.items()}


def _latency(result: Result) -> tuple[float, float]:
    times = sorted(reply.latency_ms for reply in _replies(result) if reply.latency_ms is not None)
    if not times:
        return 0.0, 0.0
    return round(times[len(times) // 2], 1), round(times[min(len(times) - 1, int(0.95 * len(times)))], 1)


def _replies(result: Result) -> list[Reply]:
    return [row.reply for row in result.rows if row.reply is not None]


def _per_correct(costs: Sequence[float], right: Sequence[float], groups: Sequence[str], seed: int) -> Interval | None:
    """All that was spent by all that was correct."""
    if not costs or not any(right) or not any(costs):
        return None
    pairs = list(zip(costs, right, strict=True))
    try:
        return bootstrap(
            pairs, lambda rows: float(rows[:, 0].sum() / rows[:, 1].sum()) if rows[:, 1].any() else math.nan,
            clusters=groups, method="percentile", draws=2000, seed=seed,
        )  # fmt: skip
    except BadRequest:  # one case, or hardly a correct one
        return None


def _even_at(saved: Interval | None, cost: Cost, base: Cost, month_answers: float) -> float | None:
    """Answers after which what was paid once, or is paid by the month, is made up for by what each answer saves."""
    once, month = cost.once_usd - base.once_usd, cost.month_usd - base.month_usd
    if saved is None or (once <= 0 and month <= 0):
        return None
    each = saved.estimate - (month / month_answers if month_answers else 0.0)
    if month > 0 and not month_answers:
        return None if saved.estimate <= 0 else math.ceil(month / saved.estimate - 1e-6)  # in each month
    return math.ceil(once / each - 1e-6) if each > 0 else None


def _needed(base: Result, results: Mapping[str, Result], baseline: str, correct: Correct, margin: float) -> int | None:
    """How many cases show a difference of the margin four times in five."""
    own, _ = _right(base, correct)
    spreads = []
    for name, result in results.items():
        other, _ = _right(result, correct)
        apart = [other[one] - own[one] for one in own if one in other] if name != baseline else []
        if len(apart) > 1 and (spread := stdev(apart)) > 0:
            spreads.append(spread)
    if not spreads:
        return None
    wanted = mean_size(margin, max(spreads), paired=True)
    return wanted if wanted > len(own) else None


def _plain(one: Interval | None) -> dict[str, float | None] | None:
    if one is None:
        return None
    ends = (round(end, 9) if math.isfinite(end) else None for end in (one.low, one.high))
    return dict(zip(("value", "low", "high"), (round(one.estimate, 9), *ends), strict=True))


def _share(one: Interval | None, *, signed: bool = False) -> str:
    if one is None:
        return ""
    sign = "+" if signed else ""
    return f"{one.estimate:{sign}.1%} ({one.low:{sign}.1%} to {one.high:{sign}.1%})"


def _usd(one: Interval | None) -> str:
    return "" if one is None else f"{one.estimate:.6f}"


def _even(one: Verdict) -> str:
    if one.cost == Cost():
        return ""
    return f"{one.breaks_even_at:,.0f}" if one.breaks_even_at else "never"
