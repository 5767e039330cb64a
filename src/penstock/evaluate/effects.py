"""What an arm of an experiment has gathered, and the difference between two of them.

An arm is ten sums over its units, and nothing else: they add up across processes and days, and forget who the units were. A unit
(a person, a conversation) counts once, however many answers it had: its value and its denominator are its totals, and a mean over
answers is the ratio of the two, with the delta method for its variance (Deng, Knoblich and Lu 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arm", "Effect", "Number", "effect", "means_apart"]

Floats = NDArray[np.float64]
Number = float | Floats  # one state, or the states at many times


@dataclass(frozen=True, slots=True)
class Arm:
    """Sums over units: how many, values y, denominators d, what is known from before x, and their products."""

    n: Number = 0.0
    y: Number = 0.0
    d: Number = 0.0
    x: Number = 0.0
    yy: Number = 0.0
    dd: Number = 0.0
    xx: Number = 0.0
    yd: Number = 0.0
    yx: Number = 0.0
    dx: Number = 0.0

    def __add__(self, other: Arm) -> Arm:
        return Arm(*(getattr(self, name) + getattr(other, name) for name in SUMS))

    def __sub__(self, other: Arm) -> Arm:
        return Arm(*(getattr(self, name) - getattr(other, name) for name in SUMS))

    def at(self, place: int) -> Arm:
        """One of many states."""
        return Arm(*(float(getattr(self, name)[place]) for name in SUMS))

    def each(self, what: Callable[[Number], Number]) -> Arm:
        """Something done to every sum."""
        return Arm(*(what(getattr(self, name)) for name in SUMS))

    @classmethod
    def of(cls, y: Number, d: Number = 1.0, x: Number = 0.0, *, n: Number = 1.0) -> Arm:
        """One unit, or one in each place. To give a unit more, subtract it as it was and add it as it is."""
        return cls(n, y * n, d * n, x * n, y * y * n, d * d * n, x * x * n, y * d * n, y * x * n, d * x * n)

    @classmethod
    def over(cls, y: Floats, d: Floats | None = None, x: Floats | None = None) -> Arm:
        """All units of an arm together."""
        ones, zeros = np.ones(len(y)), np.zeros(len(y))
        each = cls.of(y, ones if d is None else d, zeros if x is None else x, n=ones)
        return each.each(lambda one: float(np.sum(one)))


SUMS = tuple(one.name for one in fields(Arm))


class Effect(NamedTuple):
    """The candidate against the control."""

    control: Number  # mean
    candidate: Number
    difference: Number
    error: Number  # standard error of the difference; inf: not to be told
    weight: Number  # units of control times candidate by their sum, over the stages: what information grows with
    variance_cut: Number = 0.0  # share of the variance of the difference that `x` explained


def means_apart(
    n_control: Number, mean_control: Number, variance_control: Number,
    n_candidate: Number, mean_candidate: Number, variance_candidate: Number,
) -> Effect:  # fmt: skip
    """The difference of two means, with variances that may differ (Welch). Variances are those of units.

    Where all units of the one arm have the same value and all of the other have another, as where the one always fails, each arm is
    taken to have had one more unit with either value (Agresti and Caffo 2000): a breakdown is no reason to say nothing.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        square = variance_control / np.maximum(n_control, 1) + variance_candidate / np.maximum(n_candidate, 1)
        gap = np.square(mean_candidate - mean_control) * (_spare(n_control) + _spare(n_candidate))
        square = np.where(square > 0, square, gap)
        error = np.where((square > 0) & (np.minimum(n_control, n_candidate) > 1), np.sqrt(square), np.inf)
        weight = n_control * n_candidate / np.maximum(n_control + n_candidate, 1)
    return Effect(mean_control, mean_candidate, mean_candidate - mean_control, error, weight)


def _spare(n: Number) -> Number:
    """The variance of the mean of n equal values and one of another that might have come, in squares of the distance of the two."""
    return (n + 1) / np.square(n + 2) / np.maximum(n, 1)


def effect(stages: Sequence[tuple[Arm, Arm]], *, use_before: bool = True) -> Effect:
    """The difference over stages (control, candidate), each a time with the same weights of the arms.

    Stages are compared within themselves and then combined by their weight: were they thrown together, a change of weights during a
    rising trend would look like an effect (Simpson's paradox). use_before: adjust for x, what is known from before the experiment
    (CUPED, Deng et al. 2013); where it explains nothing it changes nothing.
    """
    parts = [_within(control, candidate, use_before) for control, candidate in stages]
    if len(parts) == 1:
        return parts[0]
    weight = np.asarray(sum(part.weight for part in parts))
    shares = [np.where(part.weight > 0, part.weight, 0.0) / np.maximum(weight, 1e-300) for part in parts]

    def combined(values: Sequence[Number]) -> Number:
        """Weighted; a stage with nothing to compare has no share, whatever its value."""
        each = [s * np.where(s > 0, v, 0.0) for s, v in zip(shares, values, strict=True)]
        return np.asarray(sum(each))

    errors = [(s * np.where(s > 0, part.error, 0.0)) ** 2 for s, part in zip(shares, parts, strict=True)]
    return Effect(
        combined([part.control for part in parts]),
        combined([part.candidate for part in parts]),
        combined([part.difference for part in parts]),
        np.where(weight > 0, np.sqrt(sum(errors)), np.inf),
        weight,
        combined([part.variance_cut for part in parts]),
    )


def _within(control: Arm, candidate: Arm, use_before: bool) -> Effect:
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = [_side(arm) for arm in (control, candidate)]
        raw = means_apart(control.n, sides[0][0], sides[0][1], candidate.n, sides[1][0], sides[1][1])
        if not use_before:
            return raw
        covariance = sum(
            side[2] * np.maximum(arm.n - 1, 0) for side, arm in zip(sides, (control, candidate), strict=True)
        )
        of_x = sum(side[3] * np.maximum(arm.n - 1, 0) for side, arm in zip(sides, (control, candidate), strict=True))
        slope = np.where(of_x > 0, covariance / np.where(of_x > 0, of_x, 1.0), 0.0)
        pooled = (control.x + candidate.x) / np.maximum(control.n + candidate.n, 1)
        means, variances = [], []
        for (mean, variance, with_x, x_variance), arm in zip(sides, (control, candidate), strict=True):
            means.append(mean - slope * (arm.x / np.maximum(arm.n, 1) - pooled))
            variances.append(np.maximum(variance - 2 * slope * with_x + slope * slope * x_variance, 0.0))
        found = means_apart(control.n, means[0], variances[0], candidate.n, means[1], variances[1])
        cut = np.where(np.isfinite(raw.error), 1 - (found.error / raw.error) ** 2, 0.0)
    return found._replace(variance_cut=cut)


def _side(arm: Arm) -> tuple[Number, Number, Number, Number]:
    """Mean, variance of a unit, its covariance with x, variance of x; the variance is that of the linearised ratio."""
    n, freedom = np.maximum(arm.n, 1), np.maximum(arm.n - 1, 1)
    size = np.where(arm.d > 0, arm.d, 1.0) / n
    mean = np.where(arm.d > 0, arm.y / np.where(arm.d > 0, arm.d, 1.0), 0.0)
    rest = np.maximum(arm.yy - 2 * mean * arm.yd + mean * mean * arm.dd, 0.0)
    variance = rest / freedom / size**2
    x_variance = np.maximum(arm.xx - arm.x * arm.x / n, 0.0) / freedom
    return mean, variance, (arm.yx - mean * arm.dx) / freedom / size, x_variance
