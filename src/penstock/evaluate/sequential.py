"""Bounds that hold however often one looks: for experiments that are watched while they run.

A difference that is looked at again and again behaves like Brownian motion: with t for the share of the planned cases that have
come, z * sqrt(t) is its place at time t. A rule says how far from 0 it must be at t to count. Three are here: one that knows the
planned size and is then nearly as strong as a single look, one that needs no plan and may run for ever, and the single look.

Each rule's promise is two-sided: without a difference, the chance that it is ever crossed is at most alpha. It rests on the normal
limit, and so do its first looks: with fewer than some 30 cases in a group, or 20 of the rarer outcome, none is taken (`enough`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadRequest
from penstock.stats import normal_quantile, normal_tail

__all__ = [
    "RULES",
    "Always",
    "Fixed",
    "Planned",
    "Rule",
    "RuleName",
    "adjusted",
    "conditional_power",
    "enough",
    "log_evidence",
    "mismatch",
    "planned_errors",
    "planned_length",
    "planned_power",
    "reached",
    "rule_of",
]

Floats = NDArray[np.float64]
RuleName = Literal["planned", "always", "fixed"]
RULES: tuple[RuleName, ...] = ("planned", "always", "fixed")

LATE = 0.02  # of alpha, kept for a last look that comes after the planned end
GRID = 2000
FEWEST_UNITS, FEWEST_RARE = 30, 20


class Rule(Protocol):
    """When a difference counts."""

    @property
    def alpha(self) -> float: ...

    def critical(self, information: Floats) -> Floats:
        """The z that a difference must reach, at each share of the planned information; inf: it cannot count now."""
        ...

    def p_value(self, z: float, information: float) -> float:
        """The smallest alpha at which this rule would have been crossed here: it may be looked at as often as one likes."""
        ...


@dataclass(frozen=True, slots=True)
class Planned:
    """O'Brien and Fleming's bound (1979) for a look after every case, with a planned end.

    The place of the difference may never leave a band of constant width: the limit of their design for endlessly many looks, and
    so the one that spends alpha as Lan and DeMets (1983) propose. Its width is exact, by reflection of Brownian motion. The first
    look at or after the planned end is the last one; a fiftieth of alpha is kept for one that comes late.
    """

    alpha: float = 0.05
    width: float = field(init=False)

    def __post_init__(self) -> None:
        _a_level(self.alpha)
        object.__setattr__(self, "width", _width(self.alpha * (1 - LATE)))

    def critical(self, information: Floats) -> Floats:
        t = np.asarray(information, dtype=np.float64)
        with np.errstate(divide="ignore"):
            bound = np.where(t > 0, self.width / np.sqrt(np.minimum(t, 1.0)), np.inf)
        late = t > 1
        if late.any():
            bound[late] = [_late_critical(self.alpha, round(float(one), 6)) for one in t[late]]
        return bound

    def p_value(self, z: float, information: float) -> float:
        return ever_outside(abs(z) * math.sqrt(min(information, 1.0))) if information > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Always:
    """A confidence sequence without an end (Waudby-Smith et al. 2024, by the normal mixture of Robbins 1970).

    It is narrowest around the share `tuned` of the planned size. Costs more cases than `Planned`, and may be stopped, prolonged
    and looked at in any way.
    """

    alpha: float = 0.05
    tuned: float = 1.0

    def __post_init__(self) -> None:
        _a_level(self.alpha)
        if not self.tuned > 0:
            raise BadRequest(f"a sequence is tuned to a share of the plan above 0, not {self.tuned}")

    @property
    def _mixture(self) -> float:
        """The variance of the mixture times the information at which it is to be narrowest."""
        twice = -2 * math.log(self.alpha)
        return (twice + math.log(twice) + 1) / self.tuned

    def critical(self, information: Floats) -> Floats:
        spread = self._mixture * np.maximum(np.asarray(information, dtype=np.float64), 0.0)
        with np.errstate(divide="ignore"):
            return np.sqrt((1 + 1 / spread) * (np.log1p(spread) - 2 * math.log(self.alpha)))

    def p_value(self, z: float, information: float) -> float:
        spread = self._mixture * max(information, 0.0)
        return min(1.0, math.sqrt(1 + spread) * math.exp(-z * z / 2 * spread / (1 + spread)))


@dataclass(frozen=True, slots=True)
class Fixed:
    """One look at the planned end, and none before."""

    alpha: float = 0.05

    def __post_init__(self) -> None:
        _a_level(self.alpha)

    def critical(self, information: Floats) -> Floats:
        return np.where(np.asarray(information) >= 1 - 1e-9, -normal_quantile(self.alpha / 2), np.inf)

    def p_value(self, z: float, information: float) -> float:
        return 2 * normal_tail(abs(z)) if information >= 1 - 1e-9 else 1.0


def rule_of(name: RuleName, alpha: float = 0.05) -> Rule:
    match name:
        case "planned":
            return Planned(alpha)
        case "always":
            return Always(alpha)
        case "fixed":
            return Fixed(alpha)
    raise BadRequest(f"there is no rule {name!r}", hint=f"one of {', '.join(RULES)}")


# ---------------------------------------------------------------- Brownian motion


def ever_outside(width: float) -> float:
    """The chance that Brownian motion leaves a band of this half width within time 1, by reflection (Lévy)."""
    if width < 0.2:
        return 1.0  # to fifteen digits
    return min(1.0, 4 * math.fsum((-1.0) ** k * normal_tail((2 * k + 1) * width) for k in range(60)))


@cache
def _width(alpha: float) -> float:
    low, high = 0.2, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if ever_outside(middle) > alpha else (low, middle)
    return high


@cache
def _late_critical(alpha: float, information: float) -> float:
    """The z for one look after the planned end, that spends what was kept for it.

    Where the motion may be at time 1 without ever having left the band is known by reflection; from there it moves freely.
    """
    width, kept = _width(alpha * (1 - LATE)), alpha * LATE
    places = (np.arange(GRID) + 0.5) / GRID * 2 * width - width
    density = sum(
        (-1.0) ** k * np.exp(-((places - 2 * k * width) ** 2) / 2) / math.sqrt(2 * math.pi) for k in range(-4, 5)
    )
    weights = np.maximum(density, 0.0) * (2 * width / GRID)
    step = math.sqrt(information - 1)

    def spent(bound: float) -> float:
        tails = [normal_tail((bound - x) / step) for x in places]
        return 2 * float(weights @ np.array(tails))

    low, high = width * math.sqrt(information), 10.0 + width * math.sqrt(information)
    if spent(low) <= kept:
        return low / math.sqrt(information)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > kept else (low, middle)
    return high / math.sqrt(information)


def reached(width: float, drift: float, time: float) -> float:
    """The chance that Brownian motion with a drift comes up to `width` before `time` (Bachelier and Lévy)."""
    if time <= 0:
        return 0.0 if width > 0 else 1.0
    root = math.sqrt(time)
    straight = normal_tail((width - drift * time) / root)
    return min(1.0, straight + _weighted(2 * drift * width, (width + drift * time) / root))


def _weighted(exponent: float, z: float) -> float:
    """exp(exponent) times the upper tail at z, where the one may be too large and the other too small to be written."""
    tail = normal_tail(z)
    if tail > 1e-290:
        return math.exp(min(exponent + math.log(tail), 0.0))
    return math.exp(min(exponent - z * z / 2 - math.log(z * math.sqrt(2 * math.pi)), 0.0))


def adjusted(z: float, information: float, width: float) -> float:
    """The drift at which what was seen is the middle of what could be: the estimate at a stop is too large, and this one is not.

    Outcomes are ordered by when they crossed, the earlier the more (Siegmund 1978). In units of the standard error at the planned
    end. width: of the band of `Planned`; where the difference is inside of it, nothing has been crossed and the end counts.
    """
    t = min(information, 1.0)
    sign, place = math.copysign(1.0, z), abs(z) * math.sqrt(t)

    def more(drift: float) -> float:
        """The chance of as much as was seen, or more."""
        if place >= width:
            return reached(width, drift, t)
        across = reached(width, drift, t)
        inside_above = normal_tail((place - drift * t) / math.sqrt(t)) - normal_tail((width - drift * t) / math.sqrt(t))
        mirrored = math.exp(min(2 * drift * width, 700.0)) * (
            normal_tail((place - 2 * width - drift * t) / math.sqrt(t))
            - normal_tail((width - 2 * width - drift * t) / math.sqrt(t))
        )
        return across + max(0.0, inside_above - mirrored)

    low, high = -60.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if more(middle) < 0.5 else (low, middle)
    return sign * high


# ---------------------------------------------------------------- who came where


def mismatch(stages: list[tuple[list[float], list[float]]]) -> float:
    """The p-value, to be looked at as often as one likes, of units having come to the arms as their weights say.

    stages: (units of each arm, weights of each arm), one for each time during which the weights were the same. The test is the
    sequential multinomial of Lindon and Malek (2022): a Dirichlet mixture around the weights against the weights themselves.
    A p-value below .01 says that something loses or doubles units, and that nothing else here can be believed.
    """
    evidence = 0.0
    for counts, weights in stages:
        total = sum(weights)
        if len(counts) != len(weights) or total <= 0 or min(*weights, *counts) < 0:
            raise BadRequest("each arm needs a weight above 0 and a count of its units")
        evidence += log_evidence([np.array(float(n)) for n in counts], [w / total for w in weights]).item()
    return math.exp(-max(0.0, evidence))


def log_evidence(counts: list[Floats], shares: list[float], *, mass: float = 500.0) -> Floats:
    """The logarithm of the Bayes factor against the shares, for counts of any shape. mass: units that the mixture is worth."""
    known = [(n, share) for n, share in zip(counts, shares, strict=True) if share > 0]
    total = np.sum([n for n, _ in known], axis=0)
    found = math.lgamma(mass) - _log_gamma(mass + total)
    for n, share in known:
        found = found + _log_gamma(mass * share + n) - math.lgamma(mass * share) - n * math.log(share)
    outside = np.sum([n for n, share in zip(counts, shares, strict=True) if share == 0], axis=0)
    return np.where(outside > 0, np.inf, found)  # a unit in an arm that takes none


def _log_gamma(x: Floats) -> Floats:
    return np.asarray(np.vectorize(math.lgamma, otypes=[np.float64])(x))


def enough(control: Floats, candidate: Floats, rarer: Floats | float) -> NDArray[np.bool_]:
    """Whether there are cases enough for the normal limit: in each arm, and, of a rate, of the rarer outcome in both together."""
    return (np.minimum(control, candidate) >= FEWEST_UNITS) & (np.asarray(rarer) >= FEWEST_RARE)


def conditional_power(place: float, information: float, drift: float, width: float) -> float:
    """The chance that a difference which is at `place` now still leaves the band until the end, on the side on which it is, if
    an effect of this drift is there."""
    rest, distance = 1 - information, width - abs(place)
    if distance <= 0:
        return 1.0
    return reached(distance, abs(drift), rest) if rest > 0 else 0.0


def planned_power(effect_in_errors: float, alpha: float = 0.05) -> float:
    """The power of `Planned` for a difference of so many standard errors at the planned end."""
    width = _width(alpha * (1 - LATE))
    return min(1.0, reached(width, abs(effect_in_errors), 1.0) + reached(width, -abs(effect_in_errors), 1.0))


def planned_errors(power: float, alpha: float = 0.05) -> float:
    """How many standard errors at the planned end a difference must be for this power."""
    low, high = 0.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if planned_power(middle, alpha) < power else (low, middle)
    return high


def planned_length(effect_in_errors: float, alpha: float = 0.05) -> float:
    """The share of the planned size at which `Planned` stops, on average, for a difference of so many standard errors."""
    width, times = _width(alpha * (1 - LATE)), (np.arange(400) + 0.5) / 400
    drift = abs(effect_in_errors)
    return float(np.mean([1 - min(1.0, reached(width, drift, t) + reached(width, -drift, t)) for t in times]))


def _a_level(alpha: float) -> None:
    if not 0 < alpha < 0.5:
        raise BadRequest(f"alpha must be between 0 and .5, not {alpha}")
