"""Hashed character n-grams, and linear heads over them: the cheap first look at a text, in any script.

N-grams of two to five characters within words, a word bordered by one space (scikit-learn's `char_wb`), hashed into
2**bits buckets ("feature hashing", Weinberger et al. 2009, arXiv:0902.2206). A kilobyte takes a fraction of a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Linear", "hashed"]

SIZES = (2, 3, 4, 5)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio
_MIXER = np.uint64(0xBF58476D1CE4E5B9)


def hashed(text: str, *, bits: int, sizes: tuple[int, ...] = SIZES) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The buckets of a text's n-grams, ascending and each once, and their values: 1 + log(count), scaled to length 1."""
    padded = f" {' '.join(text.lower().split())} "
    codes = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64) + np.uint64(1)
    borders = np.cumsum(codes == np.uint64(33))  # of spaces, up to and including each place
    found = []
    value = codes
    for size in range(2, max(sizes) + 1):
        if len(codes) < size:
            break
        value = value[:-1] * _MULTIPLIER + codes[size - 1 :]  # of the n-gram that begins at each place
        if size in sizes:
            inside = borders[size - 2 : len(codes) - 1] - borders[: len(codes) - size + 1]
            found.append(value[inside == 0] + np.uint64(size))
    mixed = np.concatenate(found) if found else np.empty(0, np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(31))) * _MIXER
    buckets, counts = np.unique(mixed >> np.uint64(64 - bits), return_counts=True)
    values = (1.0 + np.log(counts)).astype(np.float32)
    length = float(np.linalg.norm(values))
    return buckets.astype(np.int64), values / length if length else values


@dataclass(frozen=True, slots=True)
class Linear:
    """Linear heads over hashed n-grams: weights int8 (2**bits, heads), each head with a scale and a bias."""

    weights: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    sizes: tuple[int, ...] = SIZES

    @property
    def bits(self) -> int:
        return len(self.weights).bit_length() - 1

    def logits(self, text: str) -> NDArray[np.float32]:
        """One number for each head, before the sigmoid."""
        buckets, values = hashed(text, bits=self.bits, sizes=self.sizes)
        summed: NDArray[np.float32] = values @ self.weights[buckets].astype(np.float32) * self.scale + self.bias
        return summed
