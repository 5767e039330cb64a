"""Runs of words that two texts share, each counted at most as often as it stands in both: the core of BLEU, chrF++ and ROUGE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise

__all__ = ["runs", "shared"]


def runs(words: Sequence[str], length: int) -> Iterable[Hashable]:
    """Every run of `length` words."""
    if length == 1:
        return words
    if length == 2:
        return pairwise(words)
    return zip(*(words[n:] for n in range(length)), strict=False)


def shared(own: Iterable[Hashable], *others: Iterable[Hashable]) -> int:
    """How many of one's own the others have too, each at most as often as it stands in one of the others."""
    left = Counter(others[0])
    for other in others[1:]:
        left |= Counter(other)
    found = 0
    for one in own:
        if count := left.get(one):
            left[one] = count - 1
            found += 1
    return found
