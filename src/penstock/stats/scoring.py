"""Figures of models that have a right way to be estimated: pass@k and pass^k, AUROC, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penstock.errors import BadRequest
from penstock.stats.comparing import Tested, ranks
from penstock.stats.distributions import normal_quantile, normal_tail
from penstock.stats.intervals import Floats, Interval, clopper_pearson, mean_interval, numbers

__all__ = ["auroc", "auroc_test", "expected_calibration_error", "pass_at_k", "pass_hat_k"]


# ---------------------------------------------------------------- repeats


def pass_at_k(trials: Sequence[int], passed: Sequence[int], k: int, *, level: float = 0.95) -> Interval:
    """The chance that at least one of k tries passes, over tasks: unbiased (Chen et al. 2021). Interval between tasks, 0 to 1.

    trials, passed: per task, how often it was tried, at least k times, and how often it passed.
    """
    return _within_0_1([1 - _all_of(n, n - c, k) for n, c in _tasks(trials, passed, k)], level)


def pass_hat_k(trials: Sequence[int], passed: Sequence[int], k: int, *, level: float = 0.95) -> Interval:
    """The chance that all of k tries pass, pass^k, over tasks (Yao et al. 2024, tau-bench): how far one can rely on it."""
    return _within_0_1([_all_of(n, c, k) for n, c in _tasks(trials, passed, k)], level)


def _tasks(trials: Sequence[int], passed: Sequence[int], k: int) -> list[tuple[int, int]]:
    if len(trials) != len(passed) or not len(trials) or k < 1:
        raise BadRequest("each task needs a count of tries and one of those that passed, and k is at least 1")
    tasks = list(zip(trials, passed, strict=True))
    for place, (n, c) in enumerate(tasks, 1):
        if not 0 <= c <= n or n < k:
            raise BadRequest(
                f"task {place}: {c} of {n} tries passed, and k is {k}", hint=f"try each task {k} times or more"
            )
    return tasks


def _all_of(n: int, c: int, k: int) -> float:
    """C(c, k) / C(n, k): that k of n, drawn without putting back, are all among c."""
    return math.prod((c - i) / (n - i) for i in range(k)) if c >= k else 0.0


def _within_0_1(chances: list[float], level: float) -> Interval:
    found = mean_interval(chances, level=level)
    return found._replace(low=max(0.0, found.low), high=min(1.0, found.high))


# ---------------------------------------------------------------- two classes


def auroc(scores: ArrayLike, truth: ArrayLike, *, level: float = 0.95) -> Interval:
    """The chance that a true one scores above a false one, ties counted half, with the interval of DeLong et al. (1988).

    The interval is made on the logit, so that it stays between 0 and 1. Where the classes do not overlap at all DeLong's variance
    is 0; then the interval is that of as many independent pairs as the rarer class has members. Raises BadRequest for one class.
    """
    areas, covariance, pairs = _delong([numbers(scores)], truth)
    area, spread = float(areas[0]), math.sqrt(float(covariance[0, 0]))
    if spread == 0:
        return clopper_pearson(round(area * pairs), pairs, level=level)._replace(estimate=area)
    logit = math.log(area / (1 - area))
    half = normal_quantile(0.5 + level / 2) * spread / (area * (1 - area))
    return Interval(area, _logistic(logit - half), _logistic(logit + half), level)


def auroc_test(first: ArrayLike, second: ArrayLike, truth: ArrayLike) -> Tested:
    """Whether two scores of the same cases order them differently well (DeLong et al. 1988). The statistic: second less first."""
    areas, covariance, _ = _delong([numbers(first), numbers(second)], truth)
    apart = float(areas[1] - areas[0])
    spread = math.sqrt(max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    if spread == 0:
        return Tested(apart, 1.0)
    return Tested(apart, min(1.0, 2 * normal_tail(abs(apart) / spread)))


def _delong(scores: list[Floats], truth: ArrayLike) -> tuple[Floats, NDArray[np.float64], int]:
    """Areas, their covariance, and the size of the rarer class, through ranks (Sun and Xu 2014)."""
    yes = np.asarray(truth, dtype=bool)
    if any(len(one) != len(yes) for one in scores):
        raise BadRequest(f"each score needs its truth; there are {len(scores[0])} and {len(yes)}")
    m, n = int(yes.sum()), int((~yes).sum())
    if not m or not n:
        raise BadRequest("an AUROC needs cases of both classes")
    of_true, of_false = np.empty((len(scores), m)), np.empty((len(scores), n))
    for row, one in enumerate(scores):
        everyone = ranks(one)
        of_true[row] = (everyone[yes] - ranks(one[yes])) / n
        of_false[row] = 1 - (everyone[~yes] - ranks(one[~yes])) / m
    covariance = np.zeros((len(scores), len(scores)))
    for part in (of_true, of_false):
        if part.shape[1] > 1:
            covariance += np.atleast_2d(np.cov(part)) / part.shape[1]
    return of_true.mean(1), covariance, min(m, n)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


# ---------------------------------------------------------------- calibration


def expected_calibration_error(
    probability: ArrayLike, truth: ArrayLike, *, bins: int = 10, equal_size: bool = True
) -> float:
    """The mean distance between what was said and what was so, over bins of equal size or width (Naeini et al. 2015).

    Chance alone makes it some .4 * sqrt(bins / n) where odds are even, so small sets look worse than they are. No cases: 0.
    """
    said, was = numbers(probability, fewest=0), np.asarray(truth, dtype=np.float64)
    if len(said) != len(was) or bins < 1:
        raise BadRequest(
            f"each probability needs its truth, and there is at least one bin; there are {len(said)} and {len(was)}"
        )
    if not len(said):
        return 0.0
    if equal_size:
        order = np.lexsort((was, said))
        bins = min(bins, len(said))
        edges = [round(n * len(said) / bins) for n in range(1, bins)]
        parts = np.split(order, edges)
    else:
        which = np.clip((said * bins).astype(int), 0, bins - 1)
        parts = [np.flatnonzero(which == n) for n in range(bins)]
    return float(sum(abs(float((said[part] - was[part]).sum())) for part in parts) / len(said))
