"""Which words are given names, surnames, places or ordinary words in some language: a sorted table of hashes.

Four bytes and one for the kinds a word has; about one word in a hundred thousand is taken for one that it is not.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COMMON", "GIVEN", "PLACE", "SURNAME", "Gazetteer"]

GIVEN, SURNAME, PLACE, COMMON = 1, 2, 4, 8  # a word may be several: "May", "Rose", "Paris"


class Gazetteer:
    """Words with what they may be, as bits. Words are compared in lower case."""

    def __init__(self, data: bytes) -> None:
        count = len(data) // 5
        self._hashes = memoryview(data)[: 4 * count].cast("I")  # ascending; all machines we know are little-endian
        self._kinds = data[4 * count :]

    @classmethod
    def load(cls, file: Path) -> Gazetteer:
        return cls(file.read_bytes())

    @classmethod
    def of(cls, words: Mapping[str, int]) -> Gazetteer:
        return cls(packed(words))

    def __len__(self) -> int:
        return len(self._kinds)

    def kinds(self, word: str) -> int:
        """The bits of a word in lower case; 0 where it is not known."""
        value = _hash(word)
        place = bisect_left(self._hashes, value)
        return self._kinds[place] if place < len(self._kinds) and self._hashes[place] == value else 0

    def kinds_of_hashes(self, hashes: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """The bits of many words at once, whose CRC-32 sums these are."""
        if not self._kinds:
            return np.zeros(len(hashes), np.uint8)
        known = np.frombuffer(self._hashes, np.uint32)
        places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        kinds = np.frombuffer(self._kinds, np.uint8)
        return np.where(known[places] == hashes, kinds[places], np.uint8(0))


def packed(words: Mapping[str, int]) -> bytes:
    """The file that `Gazetteer` reads."""
    merged: dict[int, int] = {}
    for word, kinds in words.items():
        merged[_hash(word)] = merged.get(_hash(word), 0) | kinds
    hashes = sorted(merged)
    return b"".join(value.to_bytes(4, "little") for value in hashes) + bytes(merged[value] for value in hashes)


def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))
