"""The tier that needs no model: what a sentence shares with its sources, in numbers, and how likely that makes it.

Shared words, pairs and runs of words, the best sentence or two of the sources, numbers and names that are missing, negation,
order. A logistic regression (weights/checker/support.json, made by the recipe `train.checker`) turns them into a probability.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from itertools import pairwise
from typing import NamedTuple

from penstock.verify.words import Told, tokens

__all__ = ["FEATURES", "Compared", "Said", "compared", "nearest", "said"]

FEATURES = (
    "shared", "shared_or_asked", "shared_weighted", "pairs", "run", "best_sentence", "best_two", "numbers_missing",
    "share_of_numbers_missing", "has_numbers", "share_of_names_missing", "names_missing", "has_names", "new_words", "length",
    "source_length", "negates", "negates_otherwise", "strict_words", "order", "near_words", "best_with_grammar", "sentences",
)  # fmt: skip

STRICT = frozenset(
    "all every always only most first last largest smallest best worst entire entirely never each both exclusively "
    "solely must".split()
)
NEAR = 5  # letters that a new word shares with one of the source: "adopted", "adoption"


class Compared(NamedTuple):
    """A sentence beside its source. shared: for each sentence of the source the terms that both have."""

    values: list[float]  # FEATURES
    shared: list[set[int]]


class Said(NamedTuple):
    """A sentence of an answer as it is compared."""

    words: list[str]  # lower-cased
    terms: list[int]
    names: frozenset[int]  # terms that are written with a capital and do not begin the sentence
    numbers: frozenset[int]
    content: dict[int, float]  # term -> its weight; numbers and names count twice


def said(sentence: str, source: Told) -> Said:
    """A sentence in the terms of the language that its source is in."""
    known = source.vocabulary
    raw = tokens(sentence)
    words = [token.lower() for token in raw]
    terms = list(map(known.__getitem__, words))
    names, content = set[int](), dict[int, float]()
    for n, (token, term) in enumerate(zip(raw, terms, strict=True)):
        if term:
            capital = token[0].isupper()
            content[term] = 2.0 if capital or term in known.numbers else 1.0
            if capital and n:
                names.add(term)
    numbers = frozenset(terms) & known.numbers.keys()
    return Said(words, terms, frozenset(names) - numbers, numbers, content)


def compared(sentence: Said, source: Told, asked: Set[int] = frozenset()) -> Compared:
    """One sentence and its source. asked: the terms of the question."""
    content, everything = sentence.content, source.everything
    count = len(content)
    sentences = math.log1p(len(source.spans))
    if not count or not source.spans:
        all_there = 1.0 if not count else 0.0
        values = [all_there] * 7 + [0.0] * 8 + [math.log1p(source.size), 0.0, 0.0, 0.0, 1.0, 0.0, all_there, sentences]
        return Compared(values, [])
    wanted = content.keys()
    shared = [wanted & terms for terms in source.sets]
    there = wanted & everything
    new = [term for term in content if term not in everything and term not in asked]
    pairs, run = _pairs(sentence.terms, source.terms, [n for n, terms in enumerate(shared) if terms])
    hits = list(map(len, shared))
    best = max(range(len(hits)), key=hits.__getitem__)
    two = max((len(one | other) for one, other in pairwise(shared)), default=hits[best])
    numbers = sentence.numbers - source.numbers - asked
    names = sentence.names - everything - asked
    known, nearest, in_best = source.vocabulary, source.words[best], source.sets[best]
    negates = any(map(known.negates, sentence.words))
    values = [
        len(there) / count,
        1.0 - len(new) / count,
        sum(content[term] for term in there) / sum(content.values()),
        pairs,
        run,
        hits[best] / count,
        max(two, hits[best]) / count,
        len(numbers),
        len(numbers) / max(1, len(sentence.numbers)),
        float(bool(sentence.numbers)),
        len(names) / max(1, len(sentence.names)),
        len(names),
        float(bool(sentence.names)),
        len(new),
        math.log1p(len(sentence.terms)),
        math.log1p(source.size),
        float(negates),
        float(negates != any(map(known.negates, nearest))),
        sum(word in STRICT and word not in nearest for word in sentence.words),
        _order(sentence.terms, source.terms[best]),
        _near(sentence, new, source) / max(1, len(new)),
        sum(term in in_best for term in sentence.terms) / len(sentence.terms),
        sentences,
    ]
    return Compared(values, shared)


def nearest(compared: Compared, most: int = 3) -> list[int]:
    """The sentences of the source that share most with the claim, best first: rare words count more."""
    counts = Counter(term for terms in compared.shared for term in terms)
    total = len(compared.shared)
    scores = [
        (sum(math.log(1 + total / counts[term]) for term in terms), -n)
        for n, terms in enumerate(compared.shared)
        if terms
    ]
    return [-n for _, n in sorted(scores, reverse=True)[:most]]


def _pairs(terms: Sequence[int], source: Sequence[Sequence[int]], where: Sequence[int]) -> tuple[float, float]:
    """The share of neighbouring words that are neighbours in the source, and that of the longest run of such."""
    if len(terms) < 2:
        there = float(bool(where))
        return there, there
    neighbours = {pair for n in where for pair in pairwise(source[n])}
    found = run = longest = 0
    for pair in pairwise(terms):
        if pair in neighbours:
            found += 1
            run += 1
            longest = max(longest, run)
        else:
            run = 0
    return found / (len(terms) - 1), (longest + 1) / len(terms)


def _order(terms: Sequence[int], source: Sequence[int]) -> float:
    """The share of the common words that stand in the same order: the longest increasing run of places."""
    places = {term: place for place, term in reversed(list(enumerate(source))) if term}
    common = [places[term] for term in terms if term in places]
    if len(common) < 2:
        return 1.0
    tails = list[int]()
    for place in common:
        n = bisect_left(tails, place)
        tails[n : n + 1] = [place]
    return len(tails) / len(common)


def _near(sentence: Said, new: Iterable[int], source: Told) -> int:
    """How many new words begin like one of the source."""
    wanted = set(new)
    words = {word for word, term in zip(sentence.words, sentence.terms, strict=True) if term in wanted}
    return sum(len(word) >= NEAR and word[:NEAR] in source.text for word in words)
