"""Which words of a sentence are not in its sources: each is looked at beside its neighbours and the sentences that are nearest.

A logistic regression over eighteen numbers of each word, made by the recipe `train.checker_support`. It serves both tiers: what the
network says of single words was taught by too few texts to carry over (F1 .28 on FaithBench, .32 without it).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.text.words import UNSPACED
from penstock.verify.lexical import NEAR, Compared, nearest
from penstock.verify.words import Told, tokens

if TYPE_CHECKING:
    from penstock.types import Vectors

__all__ = ["FEATURES", "Marking", "Word", "joined", "words"]

FEATURES = (
    "there", "in_best", "in_second", "near", "number", "name", "before_there", "after_there", "pair_before", "pair_after",
    "asked", "grammar", "place", "length", "claim_best", "claim_support", "flagged", "new_around",
)  # fmt: skip
_UNSPACED = re.compile(f"[{UNSPACED}]")
GAP = re.compile(r"\W*(?:\w+\W+){0,1}")  # one word that stands between two marks goes with them


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a text: text[start:end], and what is known of it."""

    start: int
    end: int
    values: list[float]  # FEATURES


@dataclass(frozen=True)
class Marking:
    """The regression: which words it marks."""

    mean: Vectors
    scale: Vectors
    weights: Vectors
    bias: float
    threshold: float  # log-odds
    doubt: float  # support of a sentence from where on none of its words is marked

    @classmethod
    def load(cls, values: dict[str, Any]) -> Marking:
        arrays: dict[str, Any] = {n: np.array(values[n], np.float64) for n in ("mean", "scale", "weights")}
        return cls(bias=values["bias"], threshold=values["threshold"], doubt=values["doubt"], **arrays)

    def doubts(self, support: float) -> bool:
        """Whether words of a sentence with this support may be marked."""
        return support < self.doubt

    def odds(self, found: Sequence[Word]) -> Any:
        """Log-odds of each word that it is not in the sources."""
        rows = np.array([word.values for word in found])
        return (rows - self.mean) / self.scale @ self.weights + self.bias

    def marked(self, found: Sequence[Word]) -> list[tuple[int, int]]:
        """(start, end) of the words that are not in the sources."""
        if not found:
            return []
        return [
            (word.start, word.end) for word, odds in zip(found, self.odds(found), strict=True) if odds > self.threshold
        ]


def words(
    text: str,
    start: int,
    end: int,
    source: Told,
    compared: Compared,
    support: float,
    *,
    asked: frozenset[int] = frozenset(),
    flagged: Sequence[tuple[int, int]] = (),
) -> list[Word]:
    """What is known of each word of the sentence text[start:end]. flagged: stretches that a rule speaks against."""
    sentence = text[start:end]
    raw = tokens(sentence)
    places, at = [], 0
    for token in raw:
        at = sentence.index(token, at)
        places.append((start + at, start + at + len(token)))
        at += 1 if _UNSPACED.search(token) else len(token)  # pairs of characters overlap
    known = source.vocabulary
    terms = [known[token.lower()] for token in raw]
    best = nearest(compared, 2)
    sets = [source.sets[n] for n in best] + [set[int]()] * 2
    everything = source.everything
    content = [n for n, term in enumerate(terms) if term]
    new = [bool(term) and term not in everything for term in terms]
    share = sum(terms[n] in sets[0] for n in content) / max(1, len(content))
    odds = math.log(min(max(support, 0.01), 0.99) / (1 - min(max(support, 0.01), 0.99)))
    where = {term: {n for n, one in enumerate(source.sets) if term in one} for term in set(terms) if term}
    found = []
    for n, (token, term, (a, b)) in enumerate(zip(raw, terms, places, strict=True)):
        before = next((terms[k] for k in range(n - 1, -1, -1) if terms[k]), 0)
        after = next((terms[k] for k in range(n + 1, len(terms)) if terms[k]), 0)
        values = [
            float(not term or term in everything),
            float(not term or term in sets[0]),
            float(not term or term in sets[1]),
            float(new[n] and len(token) >= NEAR and token[:NEAR].lower() in source.text),
            float(term in known.numbers),
            float(bool(term) and token[0].isupper() and n > 0),
            float(not before or before in everything),
            float(not after or after in everything),
            float(not term or not before or bool(where[term] & where[before])),
            float(not term or not after or bool(where[term] & where[after])),
            float(bool(term) and term in asked),
            float(not term),
            n / max(1, len(raw) - 1),
            math.log1p(len(raw)),
            share,
            odds,
            float(any(x < b and a < y for x, y in flagged)),
            sum(new[max(0, n - 3) : n + 4]) / 7,
        ]
        found.append(Word(a, b, values))
    return found


def joined(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Marked words as stretches: what has at most one word between them is one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and (start <= found[-1][1] or GAP.fullmatch(text, found[-1][1], start)):
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
