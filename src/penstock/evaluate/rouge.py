"""ROUGE: how much of a reference's words, pairs of words, or longest common order of words is in an answer.

ROUGE is that of Lin (2004). With rules="original" it is equal to the package rouge-score, which drops all letters but a to z;
by default it reads every script, and differs on texts that are not ASCII alone. The longest common subsequence is found for a whole
row of words at once, as bits of one number (Hyyrö 2004, "Bit-parallel LCS-length computation revisited").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from statistics import fmean

from penstock.errors import BadRequest, TooLarge
from penstock.evaluate.counts import runs, shared
from penstock.evaluate.porter import ROUGE_STEMS
from penstock.evaluate.text_score import Score, best, checked, checked_pairs, harmonic
from penstock.evaluate.words import Rules, ascii_words, stemmed, words

__all__ = ["corpus_rouge", "lcs_length", "rouge"]

KINDS = ("rouge1", "rouge2", "rougeL")
MOST_CELLS = 1 << 36  # words of an answer times words of a reference, for the longest common subsequence: seconds
MOST_LINE_CELLS = 1 << 28  # for that of every line with every line

_LENGTHS = {f"rouge{length}": length for length in range(1, 10)}


def rouge(
    answer: str, references: str | Sequence[str], *, kinds: Sequence[str] = KINDS, stem: str = "",
    rules: Rules = "unicode",
) -> dict[str, Score]:  # fmt: skip
    """A score for each kind: rouge1 to rouge9 (runs of so many words), rougeL, rougeLsum (line by line, for several sentences).

    The value is F1 of precision (of the answer's words) and recall (of the reference's), against the reference where it is
    highest. stem: the language whose endings are taken off, "" for none; "en" is Porter's stemmer on words of more than three
    letters. Raises BadRequest for another kind, TooLarge where a longest common subsequence would take minutes.
    """
    return _rouge(answer, checked(answer, references), kinds, stem, rules)


def corpus_rouge(
    answers: Sequence[str], references: Sequence[str | Sequence[str]], *, kinds: Sequence[str] = KINDS, stem: str = "",
    rules: Rules = "unicode",
) -> dict[str, Score]:  # fmt: skip
    """The mean over the answers for each kind: of values, precisions and recalls. references: those of each answer."""
    every = [_rouge(answer, own, kinds, stem, rules) for answer, own in checked_pairs(answers, references)]
    return {
        kind: Score(
            fmean(scores[kind].value for scores in every),
            fmean(scores[kind].precision or 0.0 for scores in every),
            fmean(scores[kind].recall or 0.0 for scores in every),
        )
        for kind in kinds
    }


def _rouge(answer: str, references: Sequence[str], kinds: Sequence[str], stem: str, rules: Rules) -> dict[str, Score]:
    by_words = any(kind != "rougeLsum" for kind in kinds)
    own, *others = (_cut(text, stem, rules) if by_words else [] for text in (answer, *references))
    every = [
        _against(own, other, kinds, answer, reference, stem, rules)
        for other, reference in zip(others, references, strict=True)
    ]
    return every[0] if len(every) == 1 else {kind: best([scores[kind] for scores in every]) for kind in kinds}


def _against(
    own: list[str], wanted: list[str], kinds: Sequence[str], answer: str, reference: str, stem: str, rules: Rules
) -> dict[str, Score]:
    found = {}
    for kind in kinds:
        if kind in _LENGTHS:
            found[kind] = _runs(own, wanted, _LENGTHS[kind])
        elif kind == "rougeL":
            found[kind] = _score(lcs_length(own, wanted), len(own), len(wanted))
        elif kind == "rougeLsum":
            found[kind] = _line_by_line(_lines(answer, stem, rules), _lines(reference, stem, rules))
        else:
            raise BadRequest(f"no ROUGE is called {kind!r}", hint="rouge1 to rouge9, rougeL, rougeLsum")
    return found


def _cut(text: str, stem: str, rules: Rules) -> list[str]:
    found = ascii_words(text) if rules == "original" else words(text)
    if not stem:
        return found
    return list(map(ROUGE_STEMS.__getitem__, found)) if stem == "en" else stemmed(found, stem)


def _lines(text: str, stem: str, rules: Rules) -> list[list[str]]:
    return [_cut(line, stem, rules) for line in text.split("\n") if line]


def _score(hits: int, own: int, wanted: int) -> Score:
    precision, recall = hits / max(own, 1), hits / max(wanted, 1)
    return Score(harmonic(precision, recall), precision, recall)


# ---------------------------------------------------------------- runs of words


def _runs(own: list[str], wanted: list[str], length: int) -> Score:
    size, wanted_size = max(0, len(own) - length + 1), max(0, len(wanted) - length + 1)
    return _score(shared(runs(own, length), runs(wanted, length)), size, wanted_size)


# ---------------------------------------------------------------- words in order


def lcs_length(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence. Raises TooLarge where the lengths multiply to more than 2^36."""
    if len(one) * len(other) > MOST_CELLS:
        raise TooLarge(
            f"the longest common order of {len(one):,} and {len(other):,} words would take minutes",
            hint="leave rougeL out, or score the text by paragraph",
        )
    everywhere = (1 << len(one)) - 1
    places, ends = _places(one), everywhere  # bit n is 0 where word n makes the common order longer by one
    for there in filter(None, map(places.get, other)):
        if here := ends & there:
            ends = ends + here | ends - here  # a carry may pass the last bit: it is cut off at the end
    return len(one) - (ends & everywhere).bit_count()


def _places(row: Sequence[Hashable]) -> dict[Hashable, int]:
    """word -> a number with a bit for each of its places in the row."""
    places: dict[Hashable, int] = {}
    bit = 1
    for word in row:
        places[word] = places.get(word, 0) | bit
        bit <<= 1
    return places


def _line_by_line(lines: list[list[str]], wanted: list[list[str]]) -> Score:
    """Summary-level ROUGE-L: the words of each line of the reference that are in common order with some line of the answer.

    A word counts at most as often as it stands in the answer, as in the program of 2004 and not yet in its paper.
    """
    size, wanted_size = sum(map(len, lines)), sum(map(len, wanted))
    if size * wanted_size > MOST_LINE_CELLS:
        raise TooLarge(
            f"comparing every line of {size:,} words with every line of {wanted_size:,} words would take minutes",
            hint="leave rougeLsum out, or score the text by paragraph",
        )
    found: Counter[str] = Counter()
    for line in wanted:
        places = _places(line)
        there = {at for other in lines if not places.keys().isdisjoint(other) for at in _common(line, places, other)}
        found.update(line[at] for at in there)
    here = Counter(word for line in lines for word in line)
    return _score(sum(min(count, here[word]) for word, count in found.items()), size, wanted_size)


def _common(row: list[str], places: Mapping[Hashable, int], column: list[str]) -> Iterator[int]:
    """Places in the row that are in one longest common subsequence; of equals, the one that rouge-score takes."""
    ends = (1 << len(row)) - 1
    after = [ends]  # after n words of the column; bit m is 0 where word m of the row makes the common order longer
    for word in column:
        if here := ends & places.get(word, 0):
            ends = ends + here | ends - here
        after.append(ends)
    at, to = len(row), len(column)
    while at and to:
        if row[at - 1] == column[to - 1]:
            at, to = at - 1, to - 1
            yield at
        elif after[to] >> (at - 1) & 1:
            at -= 1
        else:
            to -= 1
