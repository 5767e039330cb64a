"""Runs of words that two texts share, each counted at most as often as it stands in both: the core of BLEU, chrF++ and ROUGE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

__all__ = ["common", "runs"]


def runs(words: Sequence[str], length: int) -> Counter[Hashable]:
    """Every run of `length` words, and how often it stands there."""
    if length == 1:
        return Counter(words)
    if length == 2:
        return Counter(pairwise(words))
    return Counter(zip(*(words[n:] for n in range(length)), strict=False))


def common(own: Mapping[Hashable, int], wanted: Mapping[Hashable, int]) -> int:
    """The sum of the smaller counts."""
    both = own.keys() & wanted.keys()
    found = len(both)
    for run in both:
        if (count := own[run]) > 1:
            found += min(count, wanted[run]) - 1
    return found
