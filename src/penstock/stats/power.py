"""How many cases it takes to see a difference, and which difference so many can show.

All by the normal approximation with one look at the end. For means give the standard deviation; for pairs, that of their
differences. An experiment that is looked at all the time needs some more: see `penstock.evaluate.sequential`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from penstock.errors import BadRequest
from penstock.stats.distributions import normal_cdf, normal_quantile

__all__ = [
    "mean_effect",
    "mean_power",
    "mean_size",
    "paired_share_power",
    "paired_share_size",
    "share_effect",
    "share_power",
    "share_size",
]

MOST = 10**12  # cases; whoever needs more will not find the difference


def share_power(first: float, second: float, size: int, *, alpha: float = 0.05) -> float:
    """The chance to tell two shares apart with `size` cases in each group, two-sided."""
    spread = math.sqrt((_share(first) * (1 - first) + _share(second) * (1 - second)) / _size(size))
    return _power(second - first, spread, alpha)


def share_size(first: float, second: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Cases in each group to tell two shares apart with this power."""
    return _smallest(lambda n: share_power(first, second, n, alpha=alpha), power, second - first)


def share_effect(first: float, size: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest rise above `first` that `size` cases in each group show with this power; inf: none that is possible."""
    if share_power(first, 1.0, size, alpha=alpha) < power:
        return math.inf
    return _least(lambda rise: share_power(first, min(1.0, first + rise), size, alpha=alpha), power, 1 - first)


def mean_power(effect: float, deviation: float, size: int, *, alpha: float = 0.05, paired: bool = False) -> float:
    """The chance to see a difference of means with `size` cases in each group, or `size` pairs."""
    return _power(effect, _deviation(deviation) * math.sqrt((1 if paired else 2) / _size(size)), alpha)


def mean_size(effect: float, deviation: float, *, power: float = 0.8, alpha: float = 0.05, paired: bool = False) -> int:
    """Cases in each group, or pairs, to see a difference of means with this power."""
    return _smallest(lambda n: mean_power(effect, deviation, n, alpha=alpha, paired=paired), power, effect)


def mean_effect(deviation: float, size: int, *, power: float = 0.8, alpha: float = 0.05, paired: bool = False) -> float:
    """The smallest difference of means that `size` cases in each group, or pairs, show with this power."""
    unit = _deviation(deviation) * math.sqrt((1 if paired else 2) / _size(size))
    return unit * _least(lambda effect: _power(effect, 1.0, alpha), power, 100.0)


def paired_share_power(only_first: float, only_second: float, size: int, *, alpha: float = 0.05) -> float:
    """The chance that McNemar's test tells two systems apart on `size` cases (Connor 1987).

    only_first, only_second: the shares of cases that only the one, or only the other, has right.
    """
    apart, both = only_second - only_first, _share(only_first) + _share(only_second)
    _share(both)
    spread = math.sqrt(max(both - apart * apart, 0.0))
    z = -normal_quantile(alpha / 2) * math.sqrt(both)
    reach = abs(apart) * math.sqrt(_size(size)) - z
    if spread == 0:
        return 1.0 if reach > 0 else 0.0
    return normal_cdf(reach / spread)


def paired_share_size(only_first: float, only_second: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Cases for McNemar's test to tell two systems apart with this power."""
    return _smallest(
        lambda n: paired_share_power(only_first, only_second, n, alpha=alpha), power, only_second - only_first
    )


def _power(effect: float, spread: float, alpha: float) -> float:
    if not 0 < alpha < 1:
        raise BadRequest(f"alpha must be between 0 and 1, not {alpha}")
    if spread == 0:
        return 1.0 if effect else 0.0
    z, apart = -normal_quantile(alpha / 2), abs(effect) / spread
    return normal_cdf(apart - z) + normal_cdf(-apart - z)


def _smallest(of: Callable[[int], float], power: float, effect: float) -> int:
    _wanted(power)
    if not effect:
        raise BadRequest(
            "no number of cases shows that there is no difference", hint="say which difference would matter"
        )
    high = 2
    while of(high) < power:
        high *= 2
        if high > MOST:
            raise BadRequest(f"a difference of {effect:g} needs more than {MOST:,} cases")
    low = 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if of(middle) < power else (low, middle)
    return high


def _least(of: Callable[[float], float], power: float, high: float) -> float:
    _wanted(power)
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if of(middle) < power else (low, middle)
    return high


def _wanted(power: float) -> None:
    if not 0 < power < 1:
        raise BadRequest(f"the power must be between 0 and 1, not {power}")


def _share(share: float) -> float:
    if not 0 <= share <= 1:
        raise BadRequest(f"a share must be between 0 and 1, not {share}")
    return share


def _size(size: int) -> int:
    if size < 1:
        raise BadRequest(f"there must be at least one case, not {size}")
    return size


def _deviation(deviation: float) -> float:
    if not (deviation > 0 and math.isfinite(deviation)):
        raise BadRequest(f"a standard deviation must be positive, not {deviation}")
    return deviation
