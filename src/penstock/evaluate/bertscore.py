"""BERTScore: for every word piece of an answer the nearest piece of the reference, by what an encoder makes of it in its sentence.

Zhang et al. (2020), greedy matching, on the encoder that comes with Penstock. That one is small, and was taught English: in other
languages of the Latin script it tells no more than spelling does, and in other scripts far less. Values are not rescaled, and
unrelated texts do not score 0. Compare them with each other, never with those of another encoder.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from penstock import encoder
from penstock.errors import BadRequest, TooLarge
from penstock.evaluate.text_score import Score, best, checked, harmonic

if TYPE_CHECKING:
    from penstock.types import Embedder, Vectors

__all__ = ["BertScore", "bertscore", "idf_weights"]

MOST_PIECES = 10_000  # of one text
WINDOW = 300  # pieces that are read together; the shipped encoder reads 384 tokens
WINDOW_WORDS = 150  # where pieces are whole words

_WORD = re.compile(r"\w+|[^\w\s]")


class _Piece(NamedTuple):
    text: str
    start: int  # in characters
    end: int


class BertScore:
    """Compares texts by the states of an encoder. Loading it takes about a second; keep one."""

    def __init__(self, embedder: Embedder | None = None, *, weights: Mapping[str, float] | None = None) -> None:
        """embedder: of your own; its pieces are then whole words. weights: of pieces, from `idf_weights`; without, all are 1."""
        self._embedder, self._weights = embedder, weights

    @cached_property
    def _states(self) -> Embedder:
        return self._embedder or encoder.shipped()

    def score(self, answer: str, references: str | Sequence[str]) -> Score:
        """F1 of precision (of the answer's pieces) and recall (of the reference's), against the reference that suits best.

        0 where a text has no pieces, or where all of its pieces weigh nothing. Raises TooLarge for texts of more than 10,000.
        """
        references = checked(answer, references)
        own = self._read(answer)
        return best([self._against(own, self._read(reference)) for reference in references])

    def pieces(self, text: str) -> list[str]:
        """What is compared, in order."""
        return [piece.text for piece in self._pieces(text)]

    def _against(self, own: tuple[Vectors, Vectors], wanted: tuple[Vectors, Vectors]) -> Score:
        (here, here_weights), (there, there_weights) = own, wanted
        if not here_weights.sum() or not there_weights.sum():
            return Score(0.0, 0.0, 0.0)
        precision = float(np.average(_nearest(here, there), weights=here_weights))
        recall = float(np.average(_nearest(there, here), weights=there_weights))
        return Score(min(1.0, max(0.0, harmonic(precision, recall))), precision, recall)

    def _read(self, text: str) -> tuple[Vectors, Vectors]:
        """float32 (pieces, dim), unit rows, and the weight of each piece."""
        text = text.encode("utf-8", "replace").decode()  # a lone surrogate is no text that an encoder reads
        pieces = self._pieces(text)
        if len(pieces) > MOST_PIECES:
            raise TooLarge(
                f"BERTScore compares texts of up to {MOST_PIECES:,} pieces of words, not {len(pieces):,}",
                hint="score the text by paragraph",
            )
        items = [
            (
                text[window[0].start : window[-1].end],
                [(p.start - window[0].start, p.end - window[0].start) for p in window],
            )
            for window in _windows(pieces, WINDOW if self._embedder is None else WINDOW_WORDS)
        ]
        rows = [found[1:] for found in self._states.embed_parts(items)]
        weights = np.ones(len(pieces), np.float32)
        if self._weights is not None:
            rarest = max(self._weights.values(), default=1.0)  # a piece that no reference has
            weights = np.array([self._weights.get(piece.text, rarest) for piece in pieces], np.float32)
        return (np.concatenate(rows) if rows else np.zeros((0, self._states.dim), np.float32)), weights

    def _pieces(self, text: str) -> list[_Piece]:
        if self._embedder is not None:
            return [_Piece(m[0].lower(), *m.span()) for m in _WORD.finditer(text)]
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [
            _Piece(token, start, end)
            for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
            if end > start
        ]

    @cached_property
    def _tokenizer(self) -> Any:
        return encoder.tokenizer()


@cache
def _usual() -> BertScore:
    return BertScore()


def bertscore(answer: str, references: str | Sequence[str]) -> Score:
    """BERTScore on the shipped encoder, all pieces worth the same. The first call loads the encoder."""
    return _usual().score(answer, references)


def idf_weights(references: Sequence[str], pieces: BertScore) -> dict[str, float]:
    """How rare each piece is in these references: -log of the share that have it, with one more reference that has none."""
    if isinstance(references, str) or not references:
        raise BadRequest("weights are counted over a list of references")
    holding = Counter(piece for text in references for piece in set(pieces.pieces(text)))
    return {piece: math.log((len(references) + 1) / (count + 1)) for piece, count in holding.items()} | {
        "": math.log(len(references) + 1)  # what a piece weighs that none has
    }


def _nearest(own: Vectors, wanted: Vectors) -> Vectors:
    """For each row the cosine with the nearest of the others."""
    found: Vectors = np.concatenate([(own[n : n + 1024] @ wanted.T).max(1) for n in range(0, len(own), 1024)])
    return found


def _windows(pieces: Sequence[_Piece], size: int) -> list[Sequence[_Piece]]:
    """Stretches of at most so many pieces, cut between words where that is possible."""
    found, start = [], 0
    while start < len(pieces):
        stop = min(start + size, len(pieces))
        if stop < len(pieces):
            gaps = (n for n in range(stop, start + size // 2, -1) if pieces[n].start > pieces[n - 1].end)
            stop = next(gaps, stop)
        found.append(pieces[start:stop])
        start = stop
    return found
