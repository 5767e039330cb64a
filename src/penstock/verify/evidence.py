"""Which sentences of the sources bear on a claim: by the words they share, and by words that mean the like.

The words count by how rare they are among the sources' sentences; likeness is the cosine of the encoder's vectors of word
pieces, rare ones weighted up (SIF, Arora et al. 2017), without running it. A claim is read together with the best of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from penstock.encoder import WordTable, tokenizer
from penstock.text.sentences import bounded, sentences
from penstock.verify.words import tokens, told, vocabulary

if TYPE_CHECKING:
    from penstock.types import Vectors

__all__ = ["Piece", "Pieces", "Reader", "Tokenised"]

MOST_PIECES = 2_000  # sentences of all sources together that are looked at
LIKENESS = 1.5  # weight of likeness beside shared words
RARE = 3_000  # a piece's rank in the vocabulary, which is ordered by frequency, that halves its weight
FIRST_WORD = 1_996  # what comes before are marks and letters
UNWEIGHTED = 0.1


class Tokenised(NamedTuple):
    """A text as the encoder reads it: the numbers of its pieces, and where each stands in the text."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class Piece(NamedTuple):
    """A sentence of a source: sources[source][start:end]."""

    source: int
    start: int
    end: int


class Reader:
    """Tokenises, and knows the encoder's word vectors."""

    def __init__(self) -> None:
        self._tokenizer = tokenizer()
        self.table = WordTable()
        ranks = np.arange(self._tokenizer.get_vocab_size()) - FIRST_WORD
        self.rarity = np.where(ranks > 0, 1 / (1 + RARE / np.maximum(ranks, 1)), UNWEIGHTED).astype(np.float32)

    @cached_property
    def middle(self) -> Vectors:
        """float32 (384,): the mean of the vectors of all words, which says nothing about any."""
        total = np.zeros(self.table.words([0]).shape[1], np.float64)
        size = self._tokenizer.get_vocab_size()
        for at in range(FIRST_WORD, size, 4096):
            total += self.table.words(range(at, min(at + 4096, size))).sum(0, dtype=np.float64)
        middle: Vectors = (total / (size - FIRST_WORD)).astype(np.float32)
        return middle

    def read(self, texts: Sequence[str]) -> list[Tokenised]:
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [Tokenised(encoding.ids, encoding.offsets) for encoding in encodings]

    def vectors(self, ids: Sequence[int]) -> Vectors:
        """float32 (n, 384), unit rows: what each piece of a word means by itself."""
        rows = self.table.words(ids) - self.middle
        unit: Vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
        return unit


class Pieces:
    """The sentences of some sources, ready for the claims of an answer."""

    def __init__(self, sources: Sequence[str], reader: Reader, language: str = "") -> None:
        self.sources, self._reader, self._language = sources, reader, language
        self.pieces = _pieces(sources, language)
        self.tokenised = reader.read([sources[p.source][p.start : p.end] for p in self.pieces])
        self.lengths = [len(t.ids) for t in self.tokenised]

    @cached_property
    def _terms(self) -> list[frozenset[int]]:
        texts = (self.sources[p.source][p.start : p.end] for p in self.pieces)
        return [told(text, self._language).everything - {0} for text in texts]

    @cached_property
    def _rarity(self) -> dict[int, float]:
        """Term -> how rare it is among the pieces."""
        counts = Counter(term for terms in self._terms for term in terms)
        return {term: math.log(1 + len(self.pieces) / count) for term, count in counts.items()}

    @cached_property
    def _weights(self) -> Vectors:
        """float32 (vocabulary,): how much each piece of a word counts here."""
        counts = np.zeros(len(self._reader.rarity), np.float32)
        for one in self.tokenised:
            counts[list(set(one.ids))] += 1
        weights: Vectors = self._reader.rarity * np.log1p(len(self.pieces) / np.maximum(counts, 1))
        return weights

    @cached_property
    def _means(self) -> Vectors:
        return np.stack([self._mean(one.ids) for one in self.tokenised])

    def _mean(self, ids: Sequence[int]) -> Vectors:
        if not ids:
            return np.zeros(384, np.float32)
        mean: Vectors = self._weights[ids] @ self._reader.vectors(ids)
        return mean / np.float32(max(float(np.linalg.norm(mean)), 1e-6))

    def bearing(self, claim: str, ids: Sequence[int]) -> Vectors:
        """float32 (pieces,): how much each bears on a claim. ids: the claim's, question before it."""
        known = vocabulary(self._language) if self._language else told(self.sources[0]).vocabulary
        wanted = {known[word] for word in tokens(claim.lower())} - {0}
        shared = np.array([sum(self._rarity[term] for term in terms & wanted) for terms in self._terms], np.float32)
        bearing: Vectors = _scaled(shared) + LIKENESS * _scaled(self._means @ self._mean(ids))
        return bearing

    def chosen(self, bearing: Vectors, room: int) -> list[int]:
        """The pieces to read with a claim, in their order: all of them where there is room for so many tokens, or the best."""
        if sum(self.lengths) <= room:
            return list(range(len(self.pieces)))
        chosen, used = list[int](), 0
        for n in np.argsort(-bearing, kind="stable"):
            if not chosen or used + self.lengths[n] <= room:
                chosen.append(int(n))
                used += self.lengths[n]
            if used > room - 8:
                break
        return sorted(chosen)


def _pieces(sources: Iterable[str], language: str) -> list[Piece]:
    found = list[Piece]()
    for n, source in enumerate(sources):
        at = 0
        for line in source.split("\n"):
            for start, end in sentences(source, at, at + len(line), language):
                found += [Piece(n, a, b) for a, b in bounded(source, start, end)]
            at += len(line) + 1
            if len(found) >= MOST_PIECES:
                return found[:MOST_PIECES]
    return found or [Piece(0, 0, 0)]


def _scaled(values: Any) -> Any:
    """To 0..1 over the pieces."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low + 1e-6)
