"""How far two people who judged the same items agree, beyond what chance alone would give.

Cohen's (1960) kappa for two named reviewers. Over all reviewers, where it is chance who came first, chance is reckoned from the
verdicts of both together (Scott's pi, 1955). The interval is that of a jackknife over items, on the scale of Fisher's z, which
keeps near the ends of the scale what it promises and needs no formula of its own for each coefficient.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from penstock.errors import BadRequest

__all__ = ["Agreement", "by_pair", "kappa", "pi"]

FEWEST = 3  # items of which there is an interval
LEAST = -0.999

Pair = tuple[str, str]  # the verdicts of the first and the second


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two reviewers, or of all. coefficient: 1 is full agreement, 0 what chance gives; NaN where there is but one verdict."""

    name: str
    items: int
    agreed: float  # share of the items
    coefficient: float
    low: float
    high: float
    confusions: tuple[tuple[str, str, int], ...] = ()  # verdicts that stood against each other, the most frequent first

    def plain(self) -> dict[str, Any]:
        """As JSON: null where there is no number."""
        numbers = {"coefficient": self.coefficient, "low": self.low, "high": self.high}
        told = {name: None if math.isnan(value) else round(value, 4) for name, value in numbers.items()}
        return {
            "name": self.name, "items": self.items, "agreed": round(self.agreed, 4), "coefficient": told["coefficient"],
            "interval": [told["low"], told["high"]], "confusions": [list(one) for one in self.confusions],
        }  # fmt: skip


def kappa(pairs: Sequence[Pair], *, name: str = "", confidence: float = 0.95) -> Agreement:
    """Cohen's kappa of two reviewers: pairs are what the one and what the other said. Raises BadRequest for no pairs."""
    return _agreement(pairs, _cohen, name, confidence)


def pi(pairs: Sequence[Pair], *, name: str = "all", confidence: float = 0.95) -> Agreement:
    """Scott's pi: as kappa, where nobody is always the first."""
    return _agreement(pairs, _scott, name, confidence)


def by_pair(judged: Sequence[tuple[tuple[str, str], tuple[str, str]]], *, confidence: float = 0.95) -> list[Agreement]:
    """Kappa of every two reviewers, those with most items first. judged: (reviewer, verdict) twice for each item."""
    found: dict[Pair, list[Pair]] = {}
    for one, other in judged:
        (first, said), (second, answered) = sorted((one, other))
        found.setdefault((first, second), []).append((said, answered))
    order = sorted(found.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    return [kappa(pairs, name=f"{first}, {second}", confidence=confidence) for (first, second), pairs in order]


Counts = Counter[Pair]


def _agreement(pairs: Sequence[Pair], of: Callable[[Counts, int], float], name: str, confidence: float) -> Agreement:
    if not pairs:
        raise BadRequest("no item was judged by two people", hint="penstock review queue add FILE --double 0.2")
    counts, n = Counter(pairs), len(pairs)
    value = of(counts, n)
    low, high = _jackknife(counts, n, value, of, confidence)
    unlike = Counter({pair: count for pair, count in counts.items() if pair[0] != pair[1]})
    confusions = tuple(
        (one, other, count) for (one, other), count in sorted(unlike.items(), key=lambda e: (-e[1], e[0]))
    )
    agreed = 1 - unlike.total() / n
    return Agreement(name, n, agreed, value, low, high, confusions)


def _cohen(counts: Counts, n: int) -> float:
    first, second = Counter[str](), Counter[str]()
    for (one, other), count in counts.items():
        first[one] += count
        second[other] += count
    return _beyond_chance(counts, n, sum(first[label] * second[label] for label in first) / n**2)


def _scott(counts: Counts, n: int) -> float:
    both = Counter[str]()
    for (one, other), count in counts.items():
        both[one] += count
        both[other] += count
    return _beyond_chance(counts, n, sum(count**2 for count in both.values()) / (2 * n) ** 2)


def _beyond_chance(counts: Counts, n: int, chance: float) -> float:
    agreed = sum(count for (one, other), count in counts.items() if one == other) / n
    return (agreed - chance) / (1 - chance) if chance < 1 else math.nan  # only one verdict was ever given


def _jackknife(
    counts: Counts, n: int, value: float, of: Callable[[Counts, int], float], confidence: float
) -> tuple[float, float]:
    """An interval from leaving out one item at a time; items with the same pair of verdicts are all alike.

    At full agreement that says nothing: then the lower end is what Wilson's for the share of agreement makes of the coefficient.
    """
    if math.isnan(value) or n < FEWEST:
        return math.nan, math.nan
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    if value >= 1:
        chance = sum(count**2 for count in counts.values()) / n**2
        return max(-1.0, (n / (n + z * z) - chance) / (1 - chance)), 1.0
    left = [(of(counts - Counter([pair]), n - 1), count) for pair, count in counts.items()]
    if any(math.isnan(one) for one, _ in left):
        return math.nan, math.nan
    mean = sum(one * count for one, count in left) / n
    spread = math.sqrt((n - 1) / n * sum(count * (one - mean) ** 2 for one, count in left))
    middle, half = math.atanh(max(LEAST, value)), z * spread / (1 - max(LEAST, value) ** 2)
    return math.tanh(middle - half), math.tanh(middle + half)
