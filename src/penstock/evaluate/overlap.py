"""BLEU and chrF: how many short runs of words or characters an answer shares with a reference.

BLEU is that of Papineni et al. (2002) with the smoothings of Chen and Cherry (2014); chrF is that of Popović (2015), chrF++ that
of Popović (2017). Equal to sacrebleu (Post 2018), whose choices have become what a published figure means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from penstock.errors import BadRequest
from penstock.evaluate.counts import runs, shared
from penstock.evaluate.segment import Tokens, tokenized
from penstock.evaluate.text_score import Score, checked, checked_pairs

__all__ = ["Smoothing", "bleu", "chrf", "corpus_bleu", "corpus_chrf"]

Smoothing = Literal["exp", "floor", "add-k", "none"]

_SMOOTHING_VALUES = {"floor": 0.1, "add-k": 1.0}


# ---------------------------------------------------------------- BLEU


def bleu(
    answer: str, references: str | Sequence[str], *, tokens: Tokens = "13a", smoothing: Smoothing = "exp",
    smoothing_value: float | None = None, order: int = 4, effective_order: bool = True, lowercase: bool = False,
) -> Score:  # fmt: skip
    """BLEU of one answer. smoothing_value: added under "add-k" (1), or the count of what never matches under "floor" (0.1).

    order: the longest run of words. effective_order: an answer shorter than that is judged by the runs it can have; without,
    it gets nothing. detail: brevity_penalty, words, reference_words, and precision_1 to precision_ORDER.
    """
    counts = _counted(answer, checked(answer, references), tokens, order, lowercase)
    return _bleu(counts, smoothing, smoothing_value, effective_order)


def corpus_bleu(
    answers: Sequence[str], references: Sequence[str | Sequence[str]], *, tokens: Tokens = "13a",
    smoothing: Smoothing = "exp", smoothing_value: float | None = None, order: int = 4, effective_order: bool = False,
    lowercase: bool = False,
) -> Score:  # fmt: skip
    """BLEU of a corpus: counts are added up first, so it is not the mean of its sentences. references: those of each answer."""
    pairs = checked_pairs(answers, references)
    every = [_counted(answer, own, tokens, order, lowercase) for answer, own in pairs]
    total = _Counts(
        sum(counts.words for counts in every),
        sum(counts.reference_words for counts in every),
        [sum(column) for column in zip(*(counts.shared for counts in every), strict=True)],
        [sum(column) for column in zip(*(counts.there for counts in every), strict=True)],
    )
    return _bleu(total, smoothing, smoothing_value, effective_order)


class _Counts(NamedTuple):
    words: int
    reference_words: int  # of the reference whose length is nearest
    shared: list[int]  # runs of 1 to `order` words that a reference has too, each at most as often as one of them
    there: list[int]  # runs in the answer


def _counted(answer: str, references: Sequence[str], rules: Tokens, order: int, lowercase: bool) -> _Counts:
    if order < 1:
        raise BadRequest(f"the longest run has at least one word, not {order}")
    words = tokenized(answer, rules, lowercase=lowercase)
    others = [tokenized(reference, rules, lowercase=lowercase) for reference in references]
    size = len(words)
    hits = [0] * order
    for n in range(1, order + 1):
        hits[n - 1] = shared(runs(words, n), *(runs(other, n) for other in others))
        if not hits[n - 1]:
            break  # no longer run is shared then
    nearest = min(map(len, others), key=lambda length: (abs(length - size), length))
    return _Counts(size, nearest, hits, [max(0, size - n) for n in range(order)])


def _bleu(counts: _Counts, smoothing: Smoothing, value: float | None, effective_order: bool) -> Score:
    if smoothing not in get_args(Smoothing):
        raise BadRequest(f"no smoothing is called {smoothing!r}", hint=f"one of {', '.join(get_args(Smoothing))}")
    if value is None:
        value = _SMOOTHING_VALUES.get(smoothing, 0.0)
    words, wanted, shared_runs, there = counts
    penalty = 1.0
    if words < wanted:
        penalty = math.exp(1 - wanted / words) if words else 0.0
    precisions, reached, halved = [0.0] * len(shared_runs), len(shared_runs), 1.0
    if any(shared_runs):
        for n, (hits, total) in enumerate(zip(shared_runs, there, strict=True)):
            added = value if smoothing == "add-k" and n else 0
            if total + added == 0:
                break
            if effective_order:
                reached = n + 1
            if hits + added:
                precisions[n] = 100.0 * (hits + added) / (total + added)
            elif smoothing == "exp":
                halved *= 2
                precisions[n] = 100.0 / (halved * total)
            elif smoothing == "floor":
                precisions[n] = 100.0 * value / total
    logs = [math.log(precision) if precision else -math.inf for precision in precisions[:reached]]
    percent = penalty * math.exp(sum(logs) / reached) if any(shared_runs) else 0.0
    detail = {"brevity_penalty": penalty, "words": words, "reference_words": wanted}
    detail |= {f"precision_{n}": precision / 100 for n, precision in enumerate(precisions, 1)}
    value = percent / 100
    if 1 < value < 1 + 1e-9:
        value = 1.0  # the exponential of a logarithm may pass it by a hair
    return Score(value, detail=detail)


# ---------------------------------------------------------------- chrF

_TINY = 1e-16
_EDGE_SIGNS = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")

_Statistics = list[tuple[int, int, int]]  # for each length of run: in the answer, in the reference, in both


def chrf(
    answer: str, references: str | Sequence[str], *, characters: int = 6, words: int = 0, beta: float = 2,
    lowercase: bool = False, whitespace: bool = False, eps_smoothing: bool = False,
) -> Score:  # fmt: skip
    """chrF of one answer, against the reference that suits it best. words=2 makes it chrF++.

    characters, words: the longest runs. beta: recall counts so many times more than precision. whitespace: spaces are characters
    too. eps_smoothing: F of each length of run is averaged, in place of F of the averages over the lengths that occur.
    """
    chosen = _Chrf(characters, words, beta, lowercase, whitespace, eps_smoothing)
    return chosen.score(chosen.statistics(answer, checked(answer, references)))


def corpus_chrf(
    answers: Sequence[str], references: Sequence[str | Sequence[str]], *, characters: int = 6, words: int = 0,
    beta: float = 2, lowercase: bool = False, whitespace: bool = False, eps_smoothing: bool = False,
) -> Score:  # fmt: skip
    """chrF of a corpus: counts against the best reference of each answer, added up. references: those of each answer."""
    chosen = _Chrf(characters, words, beta, lowercase, whitespace, eps_smoothing)
    every = [chosen.statistics(answer, own) for answer, own in checked_pairs(answers, references)]
    return chosen.score(
        [(sum(a), sum(b), sum(both)) for a, b, both in (zip(*of_n, strict=True) for of_n in zip(*every, strict=True))]
    )


class _Chrf(NamedTuple):
    characters: int
    words: int
    beta: float
    lowercase: bool
    whitespace: bool
    eps_smoothing: bool

    def statistics(self, answer: str, references: Sequence[str]) -> _Statistics:
        """Of the reference with the highest F, the first of equals."""
        if self.characters < 0 or self.words < 0 or self.characters + self.words < 1 or self.beta < 0:
            raise BadRequest("chrF needs runs of at least one character or word, and a beta of at least 0")
        found = [self._against(answer, reference) for reference in references]
        return found[0] if len(found) == 1 else max(found, key=lambda statistics: self.score(statistics).value)

    def _against(self, answer: str, reference: str) -> _Statistics:
        if self.lowercase:
            answer, reference = answer.lower(), reference.lower()
        letters = (answer, reference) if self.whitespace else ("".join(answer.split()), "".join(reference.split()))
        found = _shared_characters(*letters, self.characters)
        if self.words:
            own, theirs = _parted(answer), _parted(reference)
            for n in range(1, self.words + 1):
                sizes = max(0, len(own) - n + 1), max(0, len(theirs) - n + 1)
                found.append((*sizes, shared(runs(own, n), runs(theirs, n))))
        # runs of a length that the reference has none of do not count against the answer
        return [(a if b else 0, b, both) for a, b, both in found]

    def score(self, statistics: _Statistics) -> Score:
        factor, total, counted = self.beta**2, 0.0, 0
        mean_precision = mean_recall = 0.0
        for own, theirs, both in statistics:
            precision = both / own if own else _TINY
            recall = both / theirs if theirs else _TINY
            below = factor * precision + recall
            total += (1 + factor) * precision * recall / below if below > 0 else _TINY
            if own and theirs:
                mean_precision, mean_recall, counted = mean_precision + precision, mean_recall + recall, counted + 1
        if counted:
            mean_precision, mean_recall = mean_precision / counted, mean_recall / counted
        if self.eps_smoothing:
            return Score(total / len(statistics), mean_precision, mean_recall)
        if not mean_precision + mean_recall:
            return Score(0.0, 0.0, 0.0)
        value = (1 + factor) * mean_precision * mean_recall / (factor * mean_precision + mean_recall)
        return Score(value, mean_precision, mean_recall)


def _parted(text: str) -> list[str]:
    """Words, with one sign parted from their end, or else from their beginning."""
    found = []
    for word in text.split():
        if len(word) > 1 and word[-1] in _EDGE_SIGNS:
            found += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in _EDGE_SIGNS:
            found += [word[0], word[1:]]
        else:
            found.append(word)
    return found


def _shared_characters(answer: str, reference: str, order: int) -> _Statistics:
    """(in the answer, in the reference, in both) for runs of 1 to `order` characters.

    The longest run that begins at each character becomes one number, and all of them are sorted once: runs that begin alike then
    stand side by side, for every length. Where a text has too many different characters for 64 bits, runs are counted as text.
    """
    sizes = [(max(0, len(answer) - n), max(0, len(reference) - n)) for n in range(order)]
    if not order or not answer or not reference:
        return [(a, b, 0) for a, b in sizes]
    points = np.frombuffer((answer + reference).encode("utf-32-le", "surrogatepass"), np.uint32)
    bits = int(points.max() + 1).bit_length()
    if bits * order > 63:
        points = np.unique(points, return_inverse=True)[1].astype(np.uint32)
        bits = int(points.max() + 1).bit_length()
    if bits * order > 63:
        slices = ((_slices(answer, n), _slices(reference, n)) for n in range(1, order + 1))
        return [(a, b, shared(own, theirs)) for (a, b), (own, theirs) in zip(sizes, slices, strict=True)]
    length = len(answer)
    keys = np.zeros(len(points) + 2 * order, np.uint64)  # 0 for what lies beyond the end of a text
    keys[:length] = points[:length] + 1
    keys[length + order : -order] = points[length:] + 1
    letters, longest = keys, keys
    for n in range(1, order):
        longest = (longest[:-1] << np.uint64(bits)) | letters[n:]
    longest = (longest << np.uint64(1)) | (np.arange(len(longest)) >= length + order)  # the last bit: whose it is
    longest = np.sort(longest[letters[: len(longest)] != 0])
    theirs = np.concatenate(([0], np.cumsum(longest & np.uint64(1), dtype=np.int64)))
    longest >>= np.uint64(1)
    differ = longest[1:] ^ longest[:-1]
    found = []
    for n in range(1, order + 1):
        beyond = np.uint64(bits * (order - n))
        edges = np.concatenate(([0], np.flatnonzero(differ >> beyond) + 1, [len(longest)]))
        in_reference = np.diff(theirs[edges])
        both = np.minimum(in_reference, np.diff(edges) - in_reference)
        whole = (longest[edges[:-1]] >> beyond) & np.uint64((1 << bits) - 1) != 0
        found.append((*sizes[n - 1], int(both[whole].sum())))
    return found


def _slices(text: str, n: int) -> Iterable[str]:
    return (text[at : at + n] for at in range(len(text) - n + 1))
