"""Whether two sets of figures differ by more than chance would have it, and what to do when many are compared.

Two systems on the same cases are paired: the paired tests see differences that the others miss. P-values are two-sided. A test by
permutation draws with a seed, and counts what was seen among the draws, so that its p-value is never 0 (Phipson and Smyth 2010).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penstock.errors import BadRequest
from penstock.stats.distributions import binomial_cdf, chi2_tail, kolmogorov_tail, normal_tail
from penstock.stats.intervals import Floats, numbers

__all__ = [
    "Tested",
    "benjamini_hochberg",
    "chi_squared",
    "fits",
    "holm",
    "kolmogorov_smirnov",
    "mcnemar",
    "paired_permutation",
    "permutation",
    "ranks",
    "wilcoxon",
]

AT_ONCE = 4_000_000  # numbers drawn at a time
EXACT_PAIRS = 14  # up to so many differences, all signs are tried
EXACT_RANKS = 60
EXACT_PATHS = 250_000  # size of the two samples multiplied


class Tested(NamedTuple):
    """What was seen, and how often chance alone gives as much."""

    statistic: float
    p_value: float


# ---------------------------------------------------------------- paired


def mcnemar(only_first: int, only_second: int, *, mid_p: bool = False) -> Tested:
    """Two systems, right or wrong on the same cases: cases that only the first had right, and only the second (McNemar 1947).

    Exact by default; `mid_p` counts half of the observed table, which is less timid (Fagerland, Lydersen and Laake 2013). The
    statistic is the difference of the two counts.
    """
    if min(only_first, only_second) < 0:
        raise BadRequest("counts cannot be negative")
    n, fewer = only_first + only_second, min(only_first, only_second)
    below = binomial_cdf(fewer, n, 0.5)
    if not mid_p:
        return Tested(only_first - only_second, min(1.0, 2 * below) if n else 1.0)
    fewer_still = binomial_cdf(fewer - 1, n, 0.5)
    if only_first == only_second:  # the middle of the distribution, counted from both sides
        return Tested(0, 1 - (below - fewer_still) / 2 if n else 1.0)
    return Tested(only_first - only_second, below + fewer_still)


def paired_permutation(first: ArrayLike, second: ArrayLike, *, draws: int = 10_000, seed: int = 0) -> Tested:
    """The mean of paired differences, second less first, against all flips of their signs: exact up to 14 that are not 0."""
    a, b = _pairs(first, second)
    apart = b - a
    differences = apart[apart != 0]
    n = len(differences)
    if not n:
        return Tested(0.0, 1.0)
    scale = float(np.abs(differences).max())  # so that equal sums are equal whatever the order of adding
    units = differences / scale
    seen = abs(float(units.sum())) - 1e-9 * n
    if n <= EXACT_PAIRS:
        all_signs = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1) * 2.0 - 1
        return Tested(float(apart.mean()), float(np.mean(np.abs(all_signs @ units) >= seen)))
    rng, hits, done = np.random.default_rng(seed), 0, 0
    while done < draws:
        now = min(max(1, AT_ONCE // n), draws - done)
        signs = rng.integers(0, 2, (now, n), dtype=np.int8) * np.int8(2) - np.int8(1)
        hits += int((np.abs(signs @ units) >= seen).sum())
        done += now
    return Tested(float(apart.mean()), (hits + 1) / (draws + 1))


def wilcoxon(first: ArrayLike, second: ArrayLike, *, zeros: Literal["drop", "pratt"] = "drop") -> Tested:
    """Wilcoxon's signed ranks of paired differences (1945); the statistic is the sum of the ranks of those above 0.

    Ties share their middle rank. zeros: left out (Wilcoxon), or ranked first and then left out (Pratt 1959). Up to 60 differences
    the p-value is exact given the ties; beyond that normal, with the variance that the ties leave and a correction for continuity.
    """
    a, b = _pairs(first, second)
    apart = b - a
    if zeros == "drop":
        apart = apart[apart != 0]
    middle_ranks = ranks(np.abs(apart))[apart != 0]
    above = apart[apart != 0] > 0
    n = len(middle_ranks)
    if not n:
        return Tested(0.0, 1.0)
    seen = float(middle_ranks[above].sum())
    if n > EXACT_RANKS:
        spread = math.sqrt(float((middle_ranks**2).sum()) / 4)
        z = max(0.0, abs(seen - float(middle_ranks.sum()) / 2) - 0.5) / spread
        return Tested(seen, min(1.0, 2 * normal_tail(z)))
    doubled = np.rint(2 * middle_ranks).astype(int)
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] = (ways[rank:] + ways[: len(ways) - rank]) / 2 if rank else ways[rank:]
        ways[:rank] /= 2
    place = round(2 * seen)
    return Tested(seen, min(1.0, 2 * float(min(ways[: place + 1].sum(), ways[place:].sum()))))


def ranks(values: ArrayLike) -> Floats:
    """1 for the smallest; equal values share their middle rank."""
    found = np.asarray(values, dtype=np.float64)
    _, which, counts = np.unique(found, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[which]


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    a, b = numbers(first), numbers(second)
    if len(a) != len(b):
        raise BadRequest(f"pairs need as many of the one as of the other, not {len(a)} and {len(b)}")
    return a, b


# ---------------------------------------------------------------- two samples


def permutation(first: ArrayLike, second: ArrayLike, *, draws: int = 10_000, seed: int = 0) -> Tested:
    """The difference of two means, second less first, against who belongs to which drawn anew."""
    a, b = numbers(first), numbers(second)
    both = np.concatenate([a, b])
    scale = float(np.abs(both - both.mean()).max())
    if scale == 0:
        return Tested(0.0, 1.0)
    units = (both - both.mean()) / scale  # the difference of means is then a line in the sum of the first sample alone
    seen = abs(float(units[: len(a)].sum())) - 1e-9 * len(both)
    rng, hits, done = np.random.default_rng(seed), 0, 0
    while done < draws:
        now = min(max(1, AT_ONCE // len(both)), draws - done)
        shuffled = rng.permuted(np.broadcast_to(units, (now, len(both))), axis=1)
        hits += int((np.abs(shuffled[:, : len(a)].sum(1)) >= seen).sum())
        done += now
    return Tested(float(b.mean() - a.mean()), (hits + 1) / (draws + 1))


def kolmogorov_smirnov(first: ArrayLike, second: ArrayLike) -> Tested:
    """The largest distance between two distributions. Exact where the sizes multiply to at most 250,000, else the limit.

    With ties the exact p-value is on the safe side.
    """
    a, b = np.sort(numbers(first)), np.sort(numbers(second))
    m, n = len(a), len(b)
    where = np.concatenate([a, b])
    gaps = np.searchsorted(a, where, side="right") * n - np.searchsorted(b, where, side="right") * m
    widest = int(np.abs(gaps).max())  # in units of 1 / (m n), so that nothing is lost
    distance = widest / (m * n)
    if m * n <= EXACT_PATHS:
        return Tested(distance, _paths(m, n, widest))
    root = math.sqrt(m * n / (m + n))
    return Tested(distance, kolmogorov_tail(distance * (root + 0.12 + 0.11 / root)))  # Stephens 1970


def _paths(m: int, n: int, widest: int) -> float:
    """The share of paths from (0, 0) to (m, n) that come as far from the diagonal (Hodges 1958), row by row as probabilities."""
    if widest == 0:
        return 1.0
    m, n = min(m, n), max(m, n)
    inside = [
        1.0 if column * m < widest else 0.0 for column in range(n + 1)
    ]  # never outside, given that a path is here
    for row in range(1, m + 1):
        first = max(0, (row * n - widest) // m + 1)
        last = min(n, (row * n + widest - 1) // m)
        carried, fresh = 0.0, [0.0] * (n + 1)
        for column in range(first, last + 1):
            carried = (row * inside[column] + column * carried) / (row + column)  # it came from below, or from the left
            fresh[column] = carried
        inside = fresh
    return min(1.0, max(0.0, 1 - inside[n]))


# ---------------------------------------------------------------- counts


def chi_squared(table: ArrayLike) -> Tested:
    """Whether the rows of a table of counts have the same shares (Pearson 1900). Empty rows and columns are left out.

    The p-value is that of the limit; where many expected counts are below 5 it is rough.
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2 or not np.isfinite(counts).all() or (counts < 0).any():
        raise BadRequest("a table of counts has rows and columns, and nothing negative in it")
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    if min(counts.shape) < 2:
        return Tested(0.0, 1.0)
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return Tested(statistic, chi2_tail(statistic, (counts.shape[0] - 1) * (counts.shape[1] - 1)))


def fits(counts: ArrayLike, shares: ArrayLike) -> Tested:
    """Whether counts are those that shares lead to expect (Pearson 1900)."""
    seen, wanted = numbers(counts, fewest=2), numbers(shares, fewest=2)
    if len(seen) != len(wanted) or (seen < 0).any() or (wanted <= 0).any():
        raise BadRequest("each count needs a share above 0, and no count may be negative")
    if not seen.sum():
        return Tested(0.0, 1.0)
    expected = wanted / wanted.sum() * seen.sum()
    statistic = float(((seen - expected) ** 2 / expected).sum())
    return Tested(statistic, chi2_tail(statistic, len(seen) - 1))


# ---------------------------------------------------------------- many at once


def holm(p_values: ArrayLike) -> Floats:
    """P-values that may each be held against alpha, though there are many: at most alpha that any false one passes (Holm 1979)."""
    p, order = _ordered(p_values)
    raised = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    return _put_back(np.minimum(raised, 1.0), order)


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """P-values adjusted so that of those below q at most a share of q is expected to be false (Benjamini and Hochberg 1995)."""
    p, order = _ordered(p_values)
    raised = p[order] * len(p) / np.arange(1, len(p) + 1)
    return _put_back(np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0), order)


def _ordered(p_values: ArrayLike) -> tuple[Floats, NDArray[np.intp]]:
    p = numbers(p_values, fewest=0)
    if ((p < 0) | (p > 1)).any():
        raise BadRequest("p-values lie between 0 and 1")
    return p, np.argsort(p, kind="stable")


def _put_back(values: Floats, order: NDArray[np.intp]) -> Floats:
    found = np.empty_like(values)
    found[order] = values
    return found
