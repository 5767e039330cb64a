"""Thousands of experiments that never were: what a rule does when it is watched after every single observation.

Each replicate draws units at random into two arms of equal weight, and is looked at after each of them, with the same bounds that
decide about real ones. All replicates of a block are worked on at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadRequest
from penstock.evaluate.effects import means_apart
from penstock.evaluate.sequential import Planned, Rule, conditional_power, enough
from penstock.stats import Interval, clopper_pearson, mean_interval

__all__ = ["Draw", "Simulated", "normal", "rate", "side_by_side", "simulate"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Draw = Callable[[np.random.Generator, Bools], Floats]

BLOCK = 40_000  # observations worked on at once: what fits into the cache of a core
FUTILITY_LOOKS = 100


@dataclass(frozen=True, slots=True)
class Simulated:
    """What became of each replicate: arrays of the same length."""

    won: NDArray[np.int8]  # 1 the candidate, -1 the control, 0 nobody
    stopped: NDArray[np.int64]  # observations, of both arms together
    difference: Floats  # when it was stopped
    error: Floats
    information: Floats
    units_per_arm: int

    @property
    def decided(self) -> Interval:
        """The share in which somebody won."""
        return clopper_pearson(int((self.won != 0).sum()), len(self.won))

    @property
    def right(self) -> Interval:
        """The share in which the candidate won."""
        return clopper_pearson(int((self.won > 0).sum()), len(self.won))

    @property
    def wrong(self) -> Interval:
        """The share in which the control won."""
        return clopper_pearson(int((self.won < 0).sum()), len(self.won))

    @property
    def length(self) -> Interval:
        """Units in each arm at the stop, on average."""
        return mean_interval(self.stopped / 2)


def rate(control: float, candidate: float) -> Draw:
    """Successes, 0 or 1."""
    for share in (control, candidate):
        if not 0 <= share <= 1:
            raise BadRequest(f"a rate must be between 0 and 1, not {share:g}")

    def draw(rng: np.random.Generator, of_candidate: Bools) -> Floats:
        chance = np.where(of_candidate, np.float32(candidate), np.float32(control))
        return (rng.random(of_candidate.shape, dtype=np.float32) < chance).astype(np.float64)

    return draw


def normal(control: float, candidate: float, deviation: float) -> Draw:
    """Values of a normal distribution."""

    def draw(rng: np.random.Generator, of_candidate: Bools) -> Floats:
        return rng.standard_normal(of_candidate.shape) * deviation + np.where(of_candidate, candidate, control)

    return draw


def simulate(
    draw: Draw, rule: Rule, *, units_per_arm: int, replicates: int = 10_000, minimum_effect: float = 0.0,
    futility: float = 0.1, seed: int = 0, tick: Callable[[int], object] = lambda done: None,
) -> Simulated:  # fmt: skip
    """Run an experiment so many times, looking after every observation.

    minimum_effect: above 0, an experiment also ends where the chance to show this effect has sunk below `futility`, looked for
    at each hundredth of the plan. tick: told how many replicates are done.
    """
    return side_by_side(
        draw, [rule], units_per_arm=units_per_arm, replicates=replicates, minimum_effect=minimum_effect,
        futility=futility, seed=seed, tick=tick,
    )[0]  # fmt: skip


def side_by_side(
    draw: Draw, rules: Sequence[Rule], *, units_per_arm: int, replicates: int = 10_000, minimum_effect: float = 0.0,
    futility: float = 0.1, seed: int = 0, tick: Callable[[int], object] = lambda done: None,
) -> list[Simulated]:  # fmt: skip
    """The same with several rules on the same draws."""
    if units_per_arm < 50 or replicates < 1:
        raise BadRequest(
            f"a simulation needs at least 50 units in each arm and one replicate, not {units_per_arm} and {replicates}"
        )
    rng, done = np.random.default_rng(seed), 0
    parts: list[list[tuple[Floats, ...]]] = [[] for _ in rules]
    at_once = max(1, BLOCK // (2 * units_per_arm))
    while done < replicates:
        now = min(at_once, replicates - done)
        run = _run(draw, units_per_arm, now, rng)
        for rule, own in zip(rules, parts, strict=True):
            own.append(_stopped(run, rule, minimum_effect, futility))
        done += now
        tick(now)
    found = []
    for own in parts:
        won, stopped, *rest = (np.concatenate(column) for column in zip(*own, strict=True))
        difference, error, information = rest
        found.append(
            Simulated(won.astype(np.int8), stopped.astype(np.int64), difference, error, information, units_per_arm)
        )
    return found


class _Run(NamedTuple):
    """Replicates as they went, after each observation: (replicates, observations) each."""

    difference: Floats
    error: Floats
    information: Floats
    ready: Bools


def _run(draw: Draw, units_per_arm: int, replicates: int, rng: np.random.Generator) -> _Run:
    total = 2 * units_per_arm
    of_candidate = rng.integers(0, 2, (replicates, total), dtype=np.int8).astype(bool)
    values = draw(rng, of_candidate)
    is_rate = bool(((values == 0) | (values == 1)).all())
    seen = np.arange(1.0, total + 1)
    n = np.cumsum(of_candidate, axis=1, dtype=np.float64)
    own, both = np.cumsum(values * of_candidate, axis=1), np.cumsum(values, axis=1)
    own_squares, squares = own, both
    if not is_rate:  # 0 and 1 are their own squares
        own_squares = np.cumsum(values * values * of_candidate, axis=1)
        squares = np.cumsum(values * values, axis=1)
    sides = []
    for size, sums, square in ((seen - n, both - own, squares - own_squares), (n, own, own_squares)):
        mean = sums / np.maximum(size, 1.0)
        sides.append((size, mean, np.maximum(square - sums * mean, 0.0) / np.maximum(size - 1, 1.0)))
    found = means_apart(*sides[0], *sides[1])
    information = np.asarray(found.weight) / (units_per_arm / 2)
    information[:, -1] = 1.0  # chance has made the arms of slightly unequal size, and yet the plan is at its end
    ready = enough(seen - n, n, np.minimum(both, seen - both) if is_rate else np.inf)
    return _Run(np.asarray(found.difference), np.asarray(found.error), information, ready)


def _stopped(run: _Run, rule: Rule, minimum_effect: float, futility: float) -> tuple[Floats, ...]:
    """Who won, after how many observations, and how things stood then."""
    replicates, total = run.difference.shape
    rows = np.arange(replicates)
    crossed = (np.abs(run.difference) >= rule.critical(run.information) * run.error) & run.ready
    first = np.where(crossed.any(1), crossed.argmax(1), total - 1)
    won = np.where(crossed.any(1), np.sign(run.difference[rows, first]), 0.0)
    if minimum_effect > 0 and isinstance(rule, Planned):
        step = max(1, total // FUTILITY_LOOKS)
        for row in rows:
            for place in range(step - 1, int(first[row]), step):
                t, error = float(run.information[row, place]), float(run.error[row, place])
                if not math.isfinite(error) or t >= 1:
                    continue
                at = float(run.difference[row, place]) / error * math.sqrt(t)
                if conditional_power(at, t, minimum_effect / (error * math.sqrt(t)), rule.width) < futility:
                    first[row], won[row] = place, 0.0
                    break
    return won, first + 1, run.difference[rows, first], run.error[rows, first], run.information[rows, first]
