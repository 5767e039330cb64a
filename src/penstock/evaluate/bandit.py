"""Thompson sampling: give more to what has worked so far, and keep a floor under every arm.

A bandit earns while it learns and tells less in the end: arms get units because they looked good, so the mean of what an arm got is
biased, mostly downwards, and its usual interval is too sure of itself. Keep the chance with which each unit was assigned, and use
`weighted_mean`, which pays for being right with wider intervals. To know which arm is better, run an experiment instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from penstock.errors import BadRequest
from penstock.stats import Interval, normal_quantile

__all__ = ["Tally", "chances", "weighted_mean"]


class Tally(NamedTuple):
    """What an arm got so far: units, the sum of their values, and of their squares (of a rate the same again)."""

    units: float = 0.0
    total: float = 0.0
    squares: float = 0.0


def chances(
    arms: Sequence[Tally],
    *,
    kind: Literal["rate", "mean"] = "rate",
    floor: float = 0.05,
    draws: int = 4000,
    seed: int = 0,
) -> list[float]:
    """How likely each arm should be assigned: its chance of being the best, and never less than the floor.

    rate: from a Beta(1, 1) prior (Thompson 1933). mean: from a normal one with the spread of all values, worth one unit. An arm
    nobody has had is as likely the best as its prior says. Compute them anew every so often, and keep what each unit was given.
    """
    n = len(arms)
    if not n or not 0 <= floor * n <= 1:
        raise BadRequest(f"{n} arms cannot each have a floor of {floor:g}", hint="the floors add up to 1 at most")
    rng = np.random.default_rng(seed)
    units, total, squares = (np.array(column, dtype=float) for column in zip(*arms, strict=True))
    if not (np.isfinite([units, total, squares]).all() and (units >= 0).all()):
        raise BadRequest("the sums of an arm must be finite, and its units not negative")
    if kind == "rate":
        if (total < 0).any() or (total > units).any():
            raise BadRequest("of a rate there are no more successes than units")
        drawn = rng.beta(1 + total, 1 + units - total, (draws, n))
    else:
        everyone = max(units.sum(), 1.0)
        middle = total.sum() / everyone
        spread = max(squares.sum() / everyone - middle**2, 0.0)
        drawn = rng.normal((total + middle) / (units + 1), np.sqrt(spread / (units + 1)), (draws, n))
    best = np.bincount((drawn + rng.random((draws, n)) * 1e-12).argmax(1), minlength=n) / draws
    return [float(one) for one in floor + (1 - floor * n) * best]


def weighted_mean(values: ArrayLike, assigned: ArrayLike, chance: ArrayLike, *, level: float = 0.95) -> Interval:
    """The mean of an arm from units that a bandit assigned, in the order in which they came, with an interval that holds.

    values: of all units (those of other arms are not looked at); assigned: whether a unit had this arm; chance: with which it could
    have had it. Each unit is weighed by one over its chance, and the mean so far stands in for what the others would have given
    (augmented inverse probability, Robins, Rotnitzky and Zhao 1994): no bias, for an interval some tenth wider. Holds at a size
    fixed beforehand, not at every look.
    """
    y, mine, e = np.asarray(values, float), np.asarray(assigned, bool), np.asarray(chance, float)
    if not len(y) == len(mine) == len(e) or not mine.any():
        raise BadRequest(
            "each unit needs a value, whether it had the arm, and the chance of it; and one must have had it"
        )
    if not ((e > 0) & (e <= 1)).all() or not np.isfinite(y[mine]).all():
        raise BadRequest("each chance lies above 0 and is at most 1, and each value is a finite number")
    own = np.where(mine, y, 0.0)
    before = np.concatenate([[0.0], np.cumsum(own)[:-1]]), np.concatenate([[0.0], np.cumsum(mine)[:-1]])
    guess = before[0] / np.maximum(before[1], 1)
    score = guess + np.where(mine, own - guess, 0.0) / e
    mean, error = float(score.mean()), float(score.std(ddof=1)) / len(score) ** 0.5 if len(score) > 1 else np.inf
    half = normal_quantile(0.5 + level / 2) * error
    return Interval(mean, mean - half, mean + half, level)
