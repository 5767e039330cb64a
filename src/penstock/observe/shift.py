"""Whether the features of a window of requests are still those of a reference, and how sure one can be when many are looked at.

Numbers are compared by Kolmogorov and Smirnov's test, categories by chi-squared. The probabilities are corrected for the number of
features (Holm 1979), so that the chance of any false alarm stays what was asked for. The population stability index says how large
a shift is; by itself it says little, since it grows as samples get smaller, so what chance makes of it stands beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from penstock.errors import BadRequest
from penstock.observe.baseline import Floats

__all__ = ["Shift", "chi_squared_tail", "kolmogorov_tail", "psi", "shifts", "smirnov"]

LEAST = 20  # values on either side
BINS = 10  # of the stability index, of equal size in the reference
RARE = 5  # expected events, below which categories are taken together


@dataclass(frozen=True, slots=True)
class Shift:
    """One feature, compared."""

    feature: str
    kind: Literal["number", "category"]
    statistic: float  # the largest distance between the distribution functions, or chi-squared
    p: float
    adjusted_p: float  # for all features together
    shifted: bool
    psi: float  # population stability index
    psi_by_chance: float  # its mean where nothing has changed
    missing: tuple[float, float]  # share of values that are not there: in the reference, in the window


def shifts(
    reference: Mapping[str, Sequence[Any]], window: Mapping[str, Sequence[Any]], *, false_alarm: float = 0.05
) -> list[Shift]:
    """Compare each feature that both have, the most surprising first. Columns of values; None and NaN are missing.

    false_alarm: the chance that any feature is called shifted though none is. Raises BadRequest where no feature can be compared.
    """
    found: list[tuple[float, str, Literal["number", "category"], float, float, float, tuple[float, float]]] = []
    for feature in [name for name in reference if name in window]:
        before, after = _there(reference[feature]), _there(window[feature])
        if min(len(before), len(after)) < LEAST:
            continue
        missing = (1 - len(before) / len(reference[feature]), 1 - len(after) / len(window[feature]))
        by_chance = 1 / len(before) + 1 / len(after)
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in [*before, *after]):
            a, b = np.array(before, float), np.array(after, float)
            distance, p = smirnov(a, b)
            inner = np.unique(np.quantile(a, np.arange(1, BINS) / BINS))
            sides = [np.searchsorted(inner, side, "right") for side in (a, b)]
            bins: list[Floats] = [np.bincount(side, minlength=len(inner) + 1).astype(float) for side in sides]
            found.append((p, feature, "number", distance, psi(*bins), by_chance * len(inner), missing))
        else:
            counts = _counts([str(value) for value in before], [str(value) for value in after])
            statistic, freedom = _chi_squared(*counts)
            found.append(
                (chi_squared_tail(statistic, freedom), feature, "category", statistic, psi(*counts), by_chance * freedom, missing)
            )  # fmt: skip
    if not found:
        raise BadRequest(f"there is no feature with {LEAST} values on both sides")
    found.sort(key=lambda one: one[:2])
    result, highest = [], 0.0
    for place, (p, feature, kind, statistic, index, chance, missing) in enumerate(found):
        highest = max(highest, min(1.0, p * (len(found) - place)))
        result.append(Shift(feature, kind, statistic, p, highest, highest <= false_alarm, index, chance, missing))
    return result


def _there(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not None and not (isinstance(value, float) and math.isnan(value))]


def _counts(before: list[str], after: list[str]) -> list[Floats]:
    """How often each category is on each side, rare ones together."""
    sides, share = (Counter(before), Counter(after)), min(len(before), len(after)) / (len(before) + len(after))
    both = sides[0] + sides[1]
    common = [name for name in both if both[name] * share >= RARE]
    rows = [[side[name] for name in common] for side in sides]
    rest = [len(before) - sum(rows[0]), len(after) - sum(rows[1])]
    if sum(rest):
        rows = [[*row, one] for row, one in zip(rows, rest, strict=True)]
    return [np.array(row, float) for row in rows]


def _chi_squared(before: Floats, after: Floats) -> tuple[float, int]:
    table = np.stack([before, after])
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    return float(((table - expected) ** 2 / expected).sum()), table.shape[1] - 1


def psi(before: Floats, after: Floats) -> float:
    """The population stability index of counts in the same bins. Half an event is added to each, so that it is finite."""
    p, q = (before + 0.5) / (before + 0.5).sum(), (after + 0.5) / (after + 0.5).sum()
    return float(((q - p) * np.log(q / p)).sum())


def smirnov(before: Floats, after: Floats) -> tuple[float, float]:
    """(largest distance between two distribution functions, probability of one as large by chance). Ties make it cautious."""
    a, b = np.sort(before), np.sort(after)
    both = np.concatenate([a, b])
    distance = float(
        np.abs(np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)).max()
    )
    size = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    return distance, kolmogorov_tail((size + 0.12 + 0.11 / size) * distance)  # Stephens 1970


def kolmogorov_tail(x: float) -> float:
    """The probability that Kolmogorov's statistic is larger."""
    if x < 0.2:
        return 1.0
    return min(max(2 * math.fsum((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101)), 0.0), 1.0)


def chi_squared_tail(x: float, freedom: int) -> float:
    """The probability that chi-squared with so many degrees of freedom is larger (Numerical Recipes, 6.2)."""
    if freedom < 1 or x <= 0:
        return 1.0
    a, half = freedom / 2, x / 2
    front = math.exp(a * math.log(half) - half - math.lgamma(a))
    if half < a + 1:
        term = total = 1 / a
        n = a
        while term > total * 1e-16:
            n += 1
            term *= half / n
            total += term
        return max(1 - front * total, 0.0)
    b = half + 1 - a
    c, d = 1e300, 1 / b
    fraction = d
    for n in range(1, 10_000):
        step = -n * (n - a)
        b += 2
        d, c = 1 / (step * d + b), b + step / c
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return min(front * fraction, 1.0)
