"""An experiment that runs: whether it goes on, who won, and whether somebody is harmed. Stores nothing; it is handed sums.

    plan = Plan(units=10_000, minimum_effect=0.02)
    decision = decide(plan, [(control, candidate)])

It may be asked after every observation. The promises, for a plan that is kept: without a difference somebody wins in at most
alpha of the experiments; the interval holds the true difference in all but alpha, at whatever time it is read; each guardrail
stops a harmless candidate in at most half of its own alpha, which comes on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from penstock.errors import BadRequest
from penstock.evaluate.effects import Arm, Effect, effect
from penstock.evaluate.sequential import (
    Always,
    Planned,
    Rule,
    RuleName,
    adjusted,
    conditional_power,
    enough,
    mismatch,
    rule_of,
)

__all__ = ["Checked", "Decision", "Guardrail", "Outcome", "Plan", "Stage", "decide"]

Outcome = Literal["continue", "winner", "no_difference", "harm", "invalid"]
Better = Literal["higher", "lower"]
Stage = tuple[Arm, Arm]  # control, candidate

MISMATCH = 0.01
EARLY = 0.1  # guardrails are sharpest at a tenth of the plan: harm should be seen before it is done


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """A metric that must not get worse by more than a margin, in its own unit. Holds at every look."""

    name: str
    better: Better = "higher"
    margin: float = 0.0
    alpha: float = 0.05
    deviation: float = 0.0  # as in a plan

    def __post_init__(self) -> None:
        if not (self.margin >= 0 and math.isfinite(self.margin)):
            raise BadRequest(f"the margin of {self.name} must be 0 or more, not {self.margin}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was agreed before the first unit came."""

    units: int  # in each arm; with arms of unequal size, as many as two equal arms of the same precision would have
    rule: RuleName = "planned"
    alpha: float = 0.05
    better: Better = "higher"
    minimum_effect: float = 0.0  # a smaller difference is of no interest, in the unit of the metric; 0: any is
    futility: float = 0.1  # stop where the chance to show the minimum effect is below this
    guardrails: tuple[Guardrail, ...] = ()
    deviation: float = 0.0  # of a unit's value, as planned; 0: progress is counted in units, each with its final value

    def __post_init__(self) -> None:
        if self.units < 1:
            raise BadRequest(f"a plan has at least one unit in each arm, not {self.units}")
        if not (self.minimum_effect >= 0 and math.isfinite(self.minimum_effect)):
            raise BadRequest(f"a minimum effect must be 0 or more, not {self.minimum_effect}")
        if not (self.deviation >= 0 and math.isfinite(self.deviation)):
            raise BadRequest(f"a standard deviation must be 0 or more, not {self.deviation}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A guardrail, as it stands."""

    name: str
    status: Literal["harmed", "safe", "open"]  # surely worse than the margin, surely not, or not known yet
    difference: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now, and on what grounds."""

    outcome: Outcome
    winner: Literal["", "control", "candidate"] = ""
    reason: str
    units: tuple[int, int]  # control, candidate
    means: tuple[float, float]
    difference: float  # candidate less control
    interval: tuple[float, float]  # holds at any time
    adjusted: float  # the difference without what stopping at a high adds to it; the same where nothing has stopped
    p_value: float  # to be read at any time
    information: float  # share of the plan
    mismatch: float | None = (
        None  # p-value of the units having come as the weights say; None: the weights are not known
    )
    variance_cut: float = 0.0  # by what was known from before
    guardrails: tuple[Checked, ...] = field(default=())

    def plain(self) -> dict[str, Any]:
        """As JSON; what is not known is null."""
        return {
            "outcome": self.outcome,
            "winner": self.winner or None,
            "reason": self.reason,
            "units": {"control": self.units[0], "candidate": self.units[1]},
            "means": {"control": _known(self.means[0]), "candidate": _known(self.means[1])},
            "difference": _known(self.difference),
            "interval": [_known(end) for end in self.interval],
            "adjusted": _known(self.adjusted),
            "p_value": self.p_value,
            "information": round(self.information, 6),
            "mismatch": self.mismatch,
            "variance_cut": round(self.variance_cut, 4),
            "guardrails": [
                {"name": one.name, "status": one.status, "difference": _known(one.difference),
                 "interval": [_known(end) for end in one.interval]}
                for one in self.guardrails
            ],
        }  # fmt: skip


def decide(
    plan: Plan, stages: Sequence[Stage], *, guardrails: Mapping[str, Sequence[Stage]] | None = None,
    assigned: Sequence[tuple[Sequence[float], Sequence[float]]] = (), use_before: bool = True,
) -> Decision:  # fmt: skip
    """Say how an experiment stands, from the sums of its arms.

    stages: (control, candidate) for each time during which the weights were the same. guardrails: the same of each guardrail of
    the plan, by its name. assigned: (units that came to each arm, weights), for each stage, to see whether some got lost.
    Once it has said something other than `continue`, it should not be asked again.
    """
    if not stages:
        raise BadRequest("an experiment has at least one stage")
    rule = rule_of(plan.rule, plan.alpha)
    found = effect(stages, use_before=use_before)
    units = round(sum(float(one.n) for one, _ in stages)), round(sum(float(one.n) for _, one in stages))
    ready = bool(enough(np.array(units[0]), np.array(units[1]), _rarer(stages)))
    information = _information(found, plan.units, plan.deviation)
    z, interval = _stands(found, rule, information)
    checked = tuple(_checked(one, (guardrails or {}).get(one.name, ()), plan, use_before) for one in plan.guardrails)
    lost = mismatch([(list(counts), list(weights)) for counts, weights in assigned]) if assigned else None
    outcome, winner, reason = _outcome(plan, rule, found, z, information, interval, ready, checked, lost, units)
    difference, error = float(found.difference), float(found.error)
    unbiased = difference
    if (
        isinstance(rule, Planned)
        and outcome in ("winner", "no_difference")
        and math.isfinite(error)
        and information > 0
    ):
        at_end = error * math.sqrt(min(information, 1.0))
        unbiased = adjusted(z, information, rule.width) * at_end if winner or information >= 1 else difference
    return Decision(
        outcome=outcome, winner=winner, reason=reason, units=units,
        means=(float(found.control), float(found.candidate)), difference=difference, interval=interval, adjusted=unbiased,
        p_value=rule.p_value(z, information) if ready else 1.0, information=information, mismatch=lost,
        variance_cut=float(found.variance_cut), guardrails=checked,
    )  # fmt: skip


def _information(found: Effect, units: int, deviation: float) -> float:
    """The share of what is planned to be known.

    Units are counted, where each comes once with its value. Where they come back, and their values become surer all the time, that
    clock stands still while the difference moves: then what counts is how small the error is, against that at the planned end.
    """
    if not deviation:
        return float(found.weight) / (units / 2)
    error = float(found.error)
    return 2 * deviation**2 / units / error**2 if math.isfinite(error) else 0.0


def _stands(found: Effect, rule: Rule, information: float) -> tuple[float, tuple[float, float]]:
    """z, and the interval that holds at any time."""
    difference, error = float(found.difference), float(found.error)
    if not math.isfinite(error) or information <= 0:
        return 0.0, (-math.inf, math.inf)
    half = float(rule.critical(np.array([information]))[0]) * error
    return difference / error, (difference - half, difference + half)


def _outcome(
    plan: Plan, rule: Rule, found: Effect, z: float, information: float, interval: tuple[float, float], ready: bool,
    checked: Sequence[Checked], lost: float | None, units: tuple[int, int],
) -> tuple[Outcome, Literal["", "control", "candidate"], str]:  # fmt: skip
    if lost is not None and lost < MISMATCH:
        return (
            "invalid",
            "",
            f"the units did not come to the arms as the weights say (p = {lost:.2g}): some get lost or count twice",
        )
    if harmed := [one for one in checked if one.status == "harmed"]:
        return "harm", "", " and ".join(_harm(one, plan) for one in harmed)
    if not ready:
        return "continue", "", "there are too few units yet to say anything"
    gain = float(found.difference) if plan.better == "higher" else -float(found.difference)
    share = f"at {information:.0%} of the plan"
    if isinstance(rule, Always):  # it knows no end
        share = f"after {units[0]:,} and {units[1]:,} units"
    said = f"{float(found.difference):+.4g} ({interval[0]:+.4g} to {interval[1]:+.4g})"
    if interval[0] > 0 or interval[1] < 0:
        open_still = [one.name for one in checked if one.status == "open"]
        note = f"; {', '.join(open_still)} not yet shown to stay within the margin" if open_still else ""
        if gain > 0:
            return "winner", "candidate", f"the candidate is better, by {said}, {share}{note}"
        return "winner", "control", f"the candidate is worse, by {said}, {share}"
    if plan.minimum_effect and -plan.minimum_effect < interval[0] and interval[1] < plan.minimum_effect:
        return (
            "no_difference",
            "",
            f"the difference, {said}, is smaller than the {plan.minimum_effect:g} that would matter",
        )
    if not isinstance(rule, Always) and information >= 1 - 1e-9:
        return "no_difference", "", f"the plan is at its end, and the difference, {said}, may be chance"
    if isinstance(rule, Planned) and plan.minimum_effect and math.isfinite(float(found.error)):
        at_end = float(found.error) * math.sqrt(information)
        chance = conditional_power(z * math.sqrt(information), information, plan.minimum_effect / at_end, rule.width)
        if chance < plan.futility:
            return "no_difference", "", (
                f"the difference is {said}, {share}: a difference of {plan.minimum_effect:g} would now be shown with a chance "
                f"of {chance:.0%} only"
            )  # fmt: skip
    return "continue", "", f"the difference is {said}, {share}: nothing is sure yet"


def _checked(guardrail: Guardrail, stages: Sequence[Stage], plan: Plan, use_before: bool) -> Checked:
    if not stages:
        return Checked(name=guardrail.name, status="open", difference=math.nan, interval=(-math.inf, math.inf))
    found = effect(stages, use_before=use_before)
    units = sum(float(one.n) for one, _ in stages), sum(float(one.n) for _, one in stages)
    information = _information(found, plan.units, guardrail.deviation)
    _, (low, high) = _stands(found, Always(guardrail.alpha, tuned=EARLY), information)
    status: Literal["harmed", "safe", "open"] = "open"
    if bool(enough(np.array(units[0]), np.array(units[1]), _rarer(stages))):
        worst, best = (low, high) if guardrail.better == "higher" else (-high, -low)
        status = "harmed" if best < -guardrail.margin else "safe" if worst > -guardrail.margin else "open"
    return Checked(name=guardrail.name, status=status, difference=float(found.difference), interval=(low, high))


def _harm(one: Checked, plan: Plan) -> str:
    margin = next(guardrail.margin for guardrail in plan.guardrails if guardrail.name == one.name)
    beyond = f", more than the {margin:g} that were allowed" if margin else ""
    return f"{one.name} got worse{beyond}: {one.difference:+.4g} ({one.interval[0]:+.4g} to {one.interval[1]:+.4g})"


def _rarer(stages: Sequence[Stage]) -> float:
    """Of a rate, how often its rarer outcome was seen in both arms; inf where it is none."""
    total = stages[0][0] + stages[0][1]
    for control, candidate in stages[1:]:
        total = total + control + candidate
    n, y, yy, d = (float(value) for value in (total.n, total.y, total.yy, total.d))
    is_rate = n > 0 and yy == y and d == n
    return min(y, n - y) if is_rate else math.inf


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
