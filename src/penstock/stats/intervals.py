"""How sure a figure is: exact and score intervals for shares, and the bootstrap for everything else.

What comes in groups (several answers to one question, several turns of one person) is drawn by groups: pass `clusters`. An
interval that takes the rows of a group for independent ones is too short.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penstock.errors import BadRequest
from penstock.stats.distributions import beta_quantile, normal_cdf, normal_quantile, t_quantile

__all__ = ["Interval", "bootstrap", "clopper_pearson", "mean_interval", "numbers", "wilson"]

Floats = NDArray[np.float64]

AT_ONCE = 4_000_000  # numbers drawn at a time
JACKKNIFE = 2000  # at most so many values are left out in turn; more of them in equal parts


class Interval(NamedTuple):
    """An estimate and the interval around it."""

    estimate: float
    low: float
    high: float
    level: float = 0.95


def wilson(successes: float, trials: float, *, level: float = 0.95) -> Interval:
    """Of a share, by the score test (Wilson 1927): right on average over shares. No trials: all that is possible."""
    z = -normal_quantile((1 - _level(level)) / 2)
    if not _counts(successes, trials):
        return Interval(0.0, 0.0, 1.0, level)
    p, n = successes / trials, trials
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return Interval(p, max(0.0, low) if successes else 0.0, min(1.0, high) if successes < trials else 1.0, level)


def clopper_pearson(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """Of a share, exact: covers at least as often as it says, whatever the share (Clopper and Pearson 1934)."""
    tail = (1 - _level(level)) / 2
    if not _counts(successes, trials):
        return Interval(0.0, 0.0, 1.0, level)
    k, n = successes, trials
    low = beta_quantile(tail, k, n - k + 1) if k else 0.0
    high = 1 - beta_quantile(tail, n - k, k + 1) if k < n else 1.0
    return Interval(k / n, low, high, level)


def mean_interval(values: ArrayLike, *, clusters: Sequence[Any] | None = None, level: float = 0.95) -> Interval:
    """Of a mean, by Student's t; with clusters by the variation between them (the linearised ratio of their sums and sizes)."""
    sums, sizes = _by_cluster(numbers(values), clusters)
    mean, n = float(sums.sum() / sizes.sum()), len(sums)
    if n < 2:
        return Interval(mean, -math.inf, math.inf, level)
    rest = (sums - mean * sizes) / sizes.mean()
    half = t_quantile(0.5 + _level(level) / 2, n - 1) * float(np.sqrt((rest**2).sum() / (n - 1) / n))
    return Interval(mean, mean - half, mean + half, level)


def bootstrap(
    values: ArrayLike, statistic: Callable[[Floats], float] | None = None, *, clusters: Sequence[Any] | None = None,
    method: Literal["percentile", "bca"] = "bca", level: float = 0.95, draws: int = 4000, seed: int = 0,
) -> Interval:  # fmt: skip
    """Of any statistic (Efron and Tibshirani 1993): the mean, or what `statistic` makes of rows.

    values: (n,) or (n, columns), drawn by rows. clusters: n labels; whole clusters are drawn, and left out for the acceleration.
    method: `bca` corrects for bias and skew (Efron 1987); `percentile` takes the quantiles as they are. The mean is computed
    for all draws at once; a statistic of your own is called once a draw, and for `bca` up to 2,000 times more.
    """
    rows = numbers(values, columns=True)
    if draws < 100:
        raise BadRequest(f"a bootstrap needs at least 100 draws, not {draws}")
    _level(level)
    rng = np.random.default_rng(seed)
    if statistic is None:
        if rows.ndim != 1:
            raise BadRequest("the mean is of one column; say which statistic you want of several")
        sums, sizes = _by_cluster(rows, clusters)
        estimate = float(sums.sum() / sizes.sum())
        drawn = _drawn_means(sums, sizes, draws, rng)
        left_out = _means_without(sums, sizes)
    else:
        parts = _parts(len(rows), clusters)
        estimate = float(statistic(rows))
        drawn = np.array(
            [
                statistic(rows[np.concatenate([parts[n] for n in rng.integers(0, len(parts), len(parts))])])
                for _ in range(draws)
            ],
            dtype=float,
        )
        left_out = _without(rows, parts, statistic) if method == "bca" else np.zeros(0)
    drawn = drawn[np.isfinite(drawn)]  # a draw may have nothing of what a statistic needs, such as a class
    if len(drawn) < draws / 2 or not math.isfinite(estimate):
        raise BadRequest("the statistic is no number in most draws", hint="too few rows, or a class is too rare")
    ends = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        ends = _corrected(ends, estimate, drawn, left_out)
    low, high = np.quantile(drawn, ends)
    return Interval(estimate, float(low), float(high), level)


def _corrected(ends: Floats, estimate: float, drawn: Floats, left_out: Floats) -> Floats:
    """Which quantiles to take instead, given bias and acceleration (Efron 1987)."""
    below = float(np.mean(drawn < estimate) + np.mean(drawn <= estimate)) / 2  # half of those that are equal
    bias = normal_quantile(min(max(below, 0.5 / len(drawn)), 1 - 0.5 / len(drawn)))
    left_out = left_out[np.isfinite(left_out)]
    apart = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = float((apart**2).sum())
    acceleration = float((apart**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    found = []
    for end in ends:
        z = bias + normal_quantile(float(end))
        found.append(normal_cdf(bias + z / (1 - acceleration * z)) if acceleration * z < 1 else float(end))
    return np.array(found)


def _drawn_means(sums: Floats, sizes: Floats, draws: int, rng: np.random.Generator) -> Floats:
    n, found = len(sums), []
    at_once = max(1, AT_ONCE // n)
    for start in range(0, draws, at_once):
        chosen = rng.integers(0, n, (min(at_once, draws - start), n))
        found.append(sums[chosen].sum(1) / sizes[chosen].sum(1))
    return np.concatenate(found)


def _means_without(sums: Floats, sizes: Floats) -> Floats:
    rest = sizes.sum() - sizes
    means: Floats = (sums.sum() - sums)[rest > 0] / rest[rest > 0]
    return means


def _without(rows: Floats, parts: list[NDArray[np.intp]], statistic: Callable[[Floats], float]) -> Floats:
    """The statistic with each part left out in turn; with parts in a bunch where there are very many."""
    if len(parts) < 2:
        return np.zeros(0)
    found = []
    for bunch in np.array_split(np.arange(len(parts)), min(len(parts), JACKKNIFE)):
        keep = np.ones(len(rows), bool)
        for n in bunch:
            keep[parts[n]] = False
        found.append(statistic(rows[keep]))
    return np.array(found, dtype=float)


def _parts(n: int, clusters: Sequence[Any] | None) -> list[NDArray[np.intp]]:
    if clusters is None:
        return list(np.arange(n)[:, None])
    _, which = _numbered(n, clusters)
    order = np.argsort(which, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(which[order])) + 1)


def _by_cluster(values: Floats, clusters: Sequence[Any] | None) -> tuple[Floats, Floats]:
    """(sum, size) of each cluster; of each value where there are none."""
    if clusters is None:
        return values, np.ones(len(values))
    groups, which = _numbered(len(values), clusters)
    sums = np.bincount(which, values, groups).astype(np.float64)
    return sums, np.bincount(which, minlength=groups).astype(np.float64)


def _numbered(n: int, clusters: Sequence[Any]) -> tuple[int, NDArray[np.intp]]:
    if len(clusters) != n:
        raise BadRequest(f"{n} values need as many cluster labels, not {len(clusters)}")
    numbers_of: dict[Any, int] = {}
    which = np.array([numbers_of.setdefault(label, len(numbers_of)) for label in clusters], dtype=np.intp)
    return len(numbers_of), which


def numbers(values: ArrayLike, *, columns: bool = False, fewest: int = 1) -> Floats:
    """Values as finite floats. Raises BadRequest for what is none, for too few, and for a table where one column is meant."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadRequest("the values must be numbers") from error
    if found.ndim != 1 and not (columns and found.ndim == 2):
        raise BadRequest(f"the values must be one list of numbers, not {found.ndim}-dimensional")
    if len(found) < fewest:
        raise BadRequest(f"this needs at least {fewest} value{'s' if fewest > 1 else ''}, not {len(found)}")
    if not np.isfinite(found).all():
        place = int(np.flatnonzero(~np.isfinite(found.reshape(len(found), -1)).all(1))[0])
        raise BadRequest(
            f"value {place + 1} is not a finite number", hint="leave out what could not be measured, and say so"
        )
    return found


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise BadRequest(f"the level of an interval must be between 0 and 1, not {level}")
    return level


def _counts(successes: float, trials: float) -> bool:
    """Whether there were trials at all. Raises BadRequest for counts that cannot be."""
    if not 0 <= successes <= trials:
        raise BadRequest(f"{successes} successes of {trials} trials cannot be")
    return trials > 0
