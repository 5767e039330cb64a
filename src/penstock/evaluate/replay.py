"""An experiment read from rows, and watched again as it went: what somebody who always looked would have decided, and when.

A unit with several rows counts once, with its rows together, in the stage in which it was first seen; what it does in later stages
is left out. So are units that were seen in two arms of a stage, and rows without a value; all of them are counted. Looks are taken
at up to a thousand places, evenly over the rows; bounds that hold at every look hold at these.

Where units come back, their values become surer with every row, and progress is no longer a matter of units: then the plan ends
with as much information as its units would give with one row each, going by the deviation that was seen first (or was planned).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadRequest
from penstock.evaluate.ab import Decision, Plan, decide
from penstock.evaluate.effects import Arm, Number, effect

__all__ = ["Analysis", "Observation", "analyse"]

Floats = NDArray[np.float64]
LOOKS = 1000
SURE_OF_DEVIATION = 50  # units in each arm


class Observation(NamedTuple):
    """One row: whose, in which arm, what. None: not measured."""

    unit: str
    arm: str
    value: float | None
    before: float | None = None  # of the unit, from before the experiment
    guardrails: tuple[float | None, ...] = ()
    stage: str = ""  # a time during which the weights were the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Each candidate against the control, and what was left out."""

    control: str
    decisions: Mapping[str, Decision]  # by candidate: as it stood when it stopped, or now
    rows: int
    stopped_after: Mapping[str, int]  # rows until the decision, by candidate; all of them where it goes on
    in_two_arms: int  # units
    in_later_stages: int  # rows
    without_value: int  # rows
    without_before: int  # units; the mean of the others stands in for what is not known
    alpha: float  # of each comparison

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "control": self.control,
            "candidates": {
                name: one.plain() | {"rows_until_then": self.stopped_after[name]}
                for name, one in self.decisions.items()
            },
            "rows": self.rows,
            "units_in_two_arms": self.in_two_arms,
            "rows_in_later_stages": self.in_later_stages,
            "rows_without_value": self.without_value,
            "units_without_before": self.without_before,
            "alpha_of_each_comparison": self.alpha,
        }


def analyse(
    rows: Sequence[Observation], plan: Plan, *, control: str, weights: Mapping[str, float] | None = None,
    use_before: bool = True, tick: Callable[[int], object] = lambda done: None,
) -> Analysis:  # fmt: skip
    """Watch an experiment again. rows: in the order in which they came.

    weights: of each arm, the same all the time; without them, or with stages, nothing is said about lost units. Several candidates
    share alpha evenly (Bonferroni). With the rule `fixed` the one look is at all rows, whatever the plan's size.
    """
    first_stage: dict[str, str] = {}
    kept = [row for row in rows if first_stage.setdefault(row.unit, row.stage) == row.stage]
    later = len(rows) - len(kept)
    kept, in_two = _in_one_arm(kept)
    without_value = sum(row.value is None for row in kept)
    kept = [row for row in kept if row.value is not None]
    arms = sorted({row.arm for row in kept})
    if control not in arms:
        raise BadRequest(
            f"no row with a value is in the arm {control!r}", hint=f"the arms are {', '.join(arms[:10]) or 'none'}"
        )
    candidates = [arm for arm in arms if arm != control]
    if not candidates:
        raise BadRequest("there is one arm only: nothing to compare it with")
    if weights is not None and (missing := set(arms) - set(weights)):
        raise BadRequest(f"the weights say nothing about the arm {sorted(missing)[0]!r}")
    plan = replace(plan, alpha=plan.alpha / len(candidates))
    last = len(kept) - 1
    looks = np.array([last]) if plan.rule == "fixed" else np.unique(np.linspace(0, last, LOOKS, dtype=int))
    history = _History(kept, looks, arms, len(plan.guardrails))
    decisions, stopped = {}, {}
    for candidate in candidates:
        decisions[candidate], stopped[candidate] = _watched(
            history, plan, control, candidate, weights if not history.several_stages else None, use_before, tick
        )
    return Analysis(
        control=control, decisions=decisions, rows=len(kept), stopped_after=stopped, in_two_arms=in_two,
        in_later_stages=later, without_value=without_value, without_before=history.without_before, alpha=plan.alpha,
    )  # fmt: skip


def _in_one_arm(rows: Sequence[Observation]) -> tuple[list[Observation], int]:
    arm_of: dict[str, str] = {}
    in_two = set()
    for row in rows:
        if arm_of.setdefault(row.unit, row.arm) != row.arm:
            in_two.add(row.unit)
    return [row for row in rows if row.unit not in in_two], len(in_two)


def _watched(
    history: _History, plan: Plan, control: str, candidate: str, weights: Mapping[str, float] | None,
    use_before: bool, tick: Callable[[int], object],
) -> tuple[Decision, int]:  # fmt: skip
    """The first decision that is one, unless units turn out to have been lost at any time."""
    decided: tuple[Decision, int] | None = None
    start = 0
    if history.coming_back and plan.rule != "fixed":
        start, plan = _clocked(history, plan, control, candidate, use_before)
    for place, look in enumerate(history.looks):
        tick(1)
        if place < start:
            continue
        stages = history.stages(control, candidate, place)
        if not stages:
            continue
        if plan.rule == "fixed":
            n, m = (sum(float(stage[side].n) for stage in stages) for side in (0, 1))
            plan = replace(plan, units=max(1, int(2 * n * m / max(n + m, 1))))
        counts = [history.units_of(arm, place) for arm in weights] if weights else []
        found = decide(
            plan, stages, use_before=use_before,
            guardrails={
                one.name: history.stages(control, candidate, place, metric + 1) for metric, one in enumerate(plan.guardrails)
            },
            assigned=[(counts, list(weights.values()))] if weights else (),
        )  # fmt: skip
        if found.outcome == "invalid":
            return history.as_measured(found), int(look) + 1
        if decided is None and (found.outcome != "continue" or place == len(history.looks) - 1):
            decided = history.as_measured(found), int(look) + 1
            if weights is None:
                break
    if decided is None:
        raise BadRequest(f"the arms {control!r} and {candidate!r} never had units in the same stage")
    return decided


def _clocked(history: _History, plan: Plan, control: str, candidate: str, use_before: bool) -> tuple[int, Plan]:
    """Where to begin, and the plan with deviations as they were then: for units that come back, whose values become surer."""
    first = len(history.looks) - 1
    for place in range(len(history.looks)):
        stages = history.stages(control, candidate, place)
        if stages and min(sum(float(stage[side].n) for stage in stages) for side in (0, 1)) >= SURE_OF_DEVIATION:
            first = place
            break

    def deviation(metric: int) -> float:
        stages = history.stages(control, candidate, first, metric)
        found = effect(stages, use_before=use_before) if stages else None
        return float(found.error) * math.sqrt(float(found.weight)) if found and np.isfinite(found.error) else 0.0

    guardrails = tuple(
        replace(one, deviation=one.deviation or deviation(n)) for n, one in enumerate(plan.guardrails, 1)
    )
    return first, replace(plan, deviation=plan.deviation or deviation(0), guardrails=guardrails)


class _History:
    """The sums of each stage and arm at each look, for the metric and its guardrails."""

    def __init__(
        self, rows: Sequence[Observation], looks: NDArray[np.int_], arms: Sequence[str], guardrails: int
    ) -> None:
        self.looks = looks
        units: dict[str, int] = {}
        unit = np.array([units.setdefault(row.unit, len(units)) for row in rows])
        self.coming_back = len(units) < len(rows)
        before, known = self._before(rows, unit, len(units))
        self.without_before = int((~known).sum()) if known.any() else 0
        names = list(dict.fromkeys(row.stage for row in rows))
        self.several_stages = len(names) > 1
        where = np.array([names.index(row.stage) * len(arms) + arms.index(row.arm) for row in rows])
        columns = [[row.value for row in rows], *([row.guardrails[n] for row in rows] for n in range(guardrails))]
        self._arms, self._stage_count = arms, len(names)
        self._states = [self._cumulated(column, unit, where, before) for column in columns]

    @staticmethod
    def _before(rows: Sequence[Observation], unit: NDArray[np.int_], count: int) -> tuple[Floats, NDArray[np.bool_]]:
        """What is known of each unit from before, less its mean; the first row that says so counts."""
        found = np.full(count, np.nan)
        for n, row in zip(unit, rows, strict=True):
            if row.before is not None and np.isnan(found[n]):
                found[n] = row.before
        known = ~np.isnan(found)
        middle = float(found[known].mean()) if known.any() else 0.0
        return np.where(known, found - middle, 0.0), known

    def _cumulated(
        self, column: Sequence[float | None], unit: NDArray[np.int_], where: NDArray[np.int_], before: Floats
    ) -> tuple[list[Arm], float]:
        """The sums of each stage and arm at each look, of values less the one in the middle; and that one.

        Far from 0, as times in seconds since 1970 are, squares would drown the differences.
        """
        measured = np.array([value is not None for value in column])
        y = np.array([0.0 if value is None else value for value in column])
        rate = bool(((y == 0) | (y == 1)).all())
        middle = 0.0 if rate or not measured.any() else float(np.median(y[measured]))
        y = np.where(measured, y - middle, 0.0)
        order = np.argsort(unit, kind="stable")
        after_y, after_d = (self._running(one, unit, order) for one in (y, measured.astype(float)))
        before_y, before_d = after_y - y, after_d - measured
        x = before[unit]
        grown = Arm.of(after_y, after_d, x, n=np.minimum(after_d, 1)) - Arm.of(
            before_y, before_d, x, n=np.minimum(before_d, 1)
        )
        sums = []
        for place in range(self._stage_count * len(self._arms)):
            mine = where == place
            sums.append(grown.each(partial(self._at_looks, mine)))
        return sums, middle

    def _at_looks(self, mine: NDArray[np.bool_], grown: Number) -> Floats:
        return np.cumsum(np.where(mine, grown, 0.0))[self.looks]

    @staticmethod
    def _running(values: Floats, unit: NDArray[np.int_], order: NDArray[np.intp]) -> Floats:
        """The sum so far of each unit, at each of its rows."""
        sums = np.cumsum(values[order])
        starts = np.flatnonzero(np.r_[True, np.diff(unit[order]) != 0])
        base = np.where(starts > 0, sums[starts - 1], 0.0)
        found = np.empty(len(order))
        found[order] = sums - np.repeat(base, np.diff(np.r_[starts, len(order)]))
        return found

    def stages(self, control: str, candidate: str, place: int, metric: int = 0) -> list[tuple[Arm, Arm]]:
        """(control, candidate) of each stage in which both have units."""
        sums, _ = self._states[metric]
        found = []
        for stage in range(self._stage_count):
            a, b = (sums[stage * len(self._arms) + self._arms.index(arm)].at(place) for arm in (control, candidate))
            if a.n and b.n:
                found.append((a, b))
        return found

    def units_of(self, arm: str, place: int) -> float:
        """Units of an arm at a look, in an experiment of one stage; 0 for an arm that nobody came to."""
        return float(self._states[0][0][self._arms.index(arm)].at(place).n) if arm in self._arms else 0.0

    def as_measured(self, found: Decision) -> Decision:
        """With what was taken from the values put back."""
        middle = self._states[0][1]
        return replace(found, means=(found.means[0] + middle, found.means[1] + middle))
