"""Near-duplicate passages: the same words in nearly the same order, as two exports of one page have.

MinHash over runs of three words (Broder 1997), in bands so that likely pairs meet in a dictionary; then the two texts
are compared. Passages that differ in a number, a name or a negation say different things and are never duplicates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["BANDS", "same", "signatures"]

BANDS, ROWS = 4, 4  # pairs with 90 % of their runs in common meet in a band with probability .99
_RUN = 3
_MIX = np.random.default_rng(7).integers(1, 2**63, BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
_WORD = re.compile(r"\w+")
_MATTERS = re.compile(
    r"\d|^(not?|never|none|neither|nor|without|except|nicht|kein\w*|nie|ohne|sans|pas|jamais|sin|nunca|senza|mai|não|sem)$"
)


def signatures(passages: Sequence[Sequence[int]]) -> list[list[int]]:
    """BANDS numbers for each passage, given as term ids in order; passages that share one may be near-duplicates."""
    if not passages:
        return []
    with np.errstate(over="ignore"):
        runs = [_runs(np.array(terms or [0], np.uint64)) for terms in passages]
        starts = np.cumsum([0, *map(len, runs[:-1])])
        hashed = np.concatenate(runs)[None, :] * _MIX[:, None]
        hashed ^= hashed >> np.uint64(29)
        hashed *= np.uint64(0xBF58476D1CE4E5B9)
        hashed ^= hashed >> np.uint64(32)
        least = np.minimum.reduceat(hashed, starts, axis=1).reshape(BANDS, ROWS, -1)
        folded = least[:, 0]
        for row in range(1, ROWS):
            folded = folded * np.uint64(0x100000001B3) ^ least[:, row]
        folded = folded * np.uint64(BANDS) + np.arange(BANDS, dtype=np.uint64)[:, None]  # a band meets only itself
    bands: list[list[int]] = folded.T.tolist()
    return bands


def _runs(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    if len(ids) < _RUN:
        return ids
    return ids[:-2] * np.uint64(0x9E3779B97F4A7C15) ^ ids[1:-1] * np.uint64(0xC2B2AE3D27D4EB4F) ^ ids[2:]


def same(one: str, other: str) -> bool:
    """Whether two texts say the same: nine words in ten alike, and no number, name or negation among those that are not."""
    words = _WORD.findall(one), _WORD.findall(other)
    lowered = [[word.lower() for word in text] for text in words]
    if lowered[0] == lowered[1]:
        return True
    counted = Counter(lowered[0]), Counter(lowered[1])
    apart = (counted[0] - counted[1]) + (counted[1] - counted[0])
    if not apart or apart.total() > 0.1 * max(map(len, words)):
        return False
    names = {word.lower() for text in words for word in text if word[0].isupper()}
    return not any(word in names or _MATTERS.search(word) for word in apart)
