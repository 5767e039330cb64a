"""Translation edit rate: how many words a person would have to add, drop, replace or move to make a reference of an answer.

TER is that of Snover et al. (2006): the fewest edits after a greedy search for moves of whole phrases. Equal to sacrebleu, which
follows the first program (tercom) in its limits on moves and in looking no further than a band around the diagonal.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from penstock.errors import TooLarge
from penstock.evaluate.segment import tercom
from penstock.evaluate.text_score import Score, checked, checked_pairs

__all__ = ["corpus_ter", "ter"]

LONGEST_MOVE = 10  # words moved at once
FARTHEST_MOVE = 50  # places in the text over which a phrase is looked for
BAND = 25  # words on each side of the diagonal
MOST_TRIES = 1000  # moves looked at for one answer
MOST_WORDS = 20_000  # of an answer or a reference

_NEVER = 1 << 40  # the cost of what the band leaves out


def ter(
    answer: str, references: str | Sequence[str], *, normalized: bool = False, no_punct: bool = False,
    asian: bool = False, case_sensitive: bool = False,
) -> Score:  # fmt: skip
    """Edits for each word of a reference: 0 is the best, and it may be more than 1. detail: edits, reference_words.

    Edits are those to the nearest reference, words the average of all references. normalized: part punctuation from words;
    no_punct: leave it out; asian: do both for Chinese and Japanese too. Raises TooLarge for texts of more than 20,000 words.
    """
    cut = _Cut(normalized, no_punct, asian, case_sensitive)
    return _ter(*_edited(answer, checked(answer, references), cut))


def corpus_ter(
    answers: Sequence[str], references: Sequence[str | Sequence[str]], *, normalized: bool = False,
    no_punct: bool = False, asian: bool = False, case_sensitive: bool = False,
) -> Score:  # fmt: skip
    """The edits of all answers for each word of all references. references: those of each answer."""
    cut = _Cut(normalized, no_punct, asian, case_sensitive)
    every = [_edited(answer, own, cut) for answer, own in checked_pairs(answers, references)]
    return _ter(sum(edits for edits, _ in every), sum(words for _, words in every))


class _Cut(NamedTuple):
    normalized: bool
    no_punct: bool
    asian: bool
    case_sensitive: bool


def _ter(edits: int, words: float) -> Score:
    value = edits / words if words else float(edits > 0)
    return Score(value, detail={"edits": edits, "reference_words": words})


def _edited(answer: str, references: Sequence[str], cut: _Cut) -> tuple[int, float]:
    words, *others = (tercom(text, **cut._asdict()) for text in (answer, *references))
    if max(map(len, (words, *others))) > MOST_WORDS:
        raise TooLarge(
            f"the edit rate is counted for texts of up to {MOST_WORDS:,} words",
            hint="score it by paragraph, or use chrF",
        )
    return min(_edits(words, other) for other in others), sum(map(len, others)) / len(others)


def _edits(answer: Sequence[str], reference: Sequence[str]) -> int:
    """Moves, and the edits that are left after them."""
    if not reference:
        return len(answer)
    numbers: dict[str, int] = {}
    words, wanted = ([numbers.setdefault(word, len(numbers)) for word in text] for text in (answer, reference))
    band = _Band(len(words), wanted)
    moves = tried = 0
    while True:
        ahead = band.ahead(words)
        left = ahead[-1][-1]
        if not left:
            return moves
        move, tried = _best_move(words, band, ahead, tried)
        if tried >= MOST_TRIES or move is None or move.gain <= 0:
            return moves + left
        moves, words = moves + 1, move.words


class _Move(NamedTuple):
    """Ordered by what is preferred: what gains most, the longest, the first, the nearest to the beginning."""

    gain: int
    length: int
    from_end: int  # minus the place of its first word
    to_end: int  # minus the place before which it goes
    words: list[int]


def _best_move(words: list[int], band: _Band, ahead: list[list[int]], tried: int) -> tuple[_Move | None, int]:
    """ahead: the rows of the band as the words stand. tried: moves looked at so far."""
    behind: list[list[int]] = []  # made when it is needed
    alignment = band.aligned(words, ahead)
    best: _Move | None = None
    costs: dict[tuple[int, int, int], tuple[int, list[int]]] = {}
    for start, wanted_at, length in _phrases(words, band.reference, alignment):
        if (
            not alignment.wrong_words(start, start + length)
            or not alignment.wrong_wanted(wanted_at, wanted_at + length)
            or start <= alignment.places[wanted_at + 1] < start + length
        ):
            continue
        before = -1
        for place in alignment.places[wanted_at : wanted_at + length + 1]:
            target = place + 1
            if target == before:
                continue
            before = target
            tried += 1
            key = (start, length, target)
            if key not in costs:
                behind = behind or band.behind(words)
                moved, first, last = _moved(words, start, length, target)
                costs[key] = band.cost(moved, first, last, ahead, behind), moved
            cost, moved = costs[key]
            move = _Move(ahead[-1][-1] - cost, length, -start, -target, moved)
            if best is None or move[:4] > best[:4]:
                best = move
        if tried >= MOST_TRIES:
            break
    return best, tried


def _phrases(words: list[int], reference: list[int], alignment: _Alignment) -> Iterator[tuple[int, int, int]]:
    """(place in the words, place in the reference, length) of phrases that both have, at most 50 places apart.

    Those that begin where all is well for the longest move are left out: moving them is never tried.
    """
    places: dict[int, list[int]] = {}
    for at, word in enumerate(reference):
        places.setdefault(word, []).append(at)
    for start, word in enumerate(words):
        if word not in places or not alignment.wrong_words(start, min(start + LONGEST_MOVE, len(words))):
            continue
        near = places[word]
        for n in range(bisect_left(near, start - FARTHEST_MOVE), bisect_right(near, start + FARTHEST_MOVE)):
            at = near[n]
            longest = min(LONGEST_MOVE, len(words) - start, len(reference) - at)
            for length in range(1, longest + 1):
                if words[start + length - 1] != reference[at + length - 1]:
                    break
                yield start, at, length


def _moved(words: list[int], start: int, length: int, target: int) -> tuple[list[int], int, int]:
    """The words with a phrase before what is now at the target, and from where to where they differ from before.

    A target inside the phrase counts from its end: the phrase goes that much to the right.
    """
    end = start + length
    phrase = words[start:end]
    if target < start:
        return words[:target] + phrase + words[target:start] + words[end:], target, end
    stop = target if target > end else min(length + target, len(words))
    return words[:start] + words[end:stop] + phrase + words[stop:], start, stop


class _Alignment(NamedTuple):
    places: list[int]  # n: the word that stands where the first n words of the reference end; -1 before the first
    words: list[int]  # n: how many of the first n words are no match
    wanted: list[int]  # n: how many of the first n words of the reference are no match

    def wrong_words(self, start: int, end: int) -> bool:
        return self.words[end] > self.words[start]

    def wrong_wanted(self, start: int, end: int) -> bool:
        return self.wanted[end] > self.wanted[start]


class _Band:
    """The table of edit distances (Levenshtein 1966) to one reference, near its diagonal.

    Row i, column j: what it costs to make the first j words of the reference of the first i words. A move changes the words
    between two places only. Rows ahead of the first stay, and what follows the last is known from the rows counted from
    behind; so the cost of a move is the work of the few rows between.
    """

    def __init__(self, size: int, reference: list[int]) -> None:
        self.reference = reference
        columns = len(reference) + 1
        slope = len(reference) / size if size else 1.0
        width = max(BAND, math.ceil(slope / 2 + BAND)) if slope / 2 > BAND else BAND
        middles = [math.floor(row * slope) for row in range(size + 1)]
        self.spans = [(max(0, middle - width), min(columns, middle + width)) for middle in middles]
        self.spans[0] = (0, columns)
        if size:
            self.spans[-1] = (self.spans[-1][0], columns)

    def ahead(self, words: list[int]) -> list[list[int]]:
        """All rows, each over its span."""
        rows = [list(range(len(self.reference) + 1))]
        for row, word in enumerate(words, 1):
            rows.append(self._next(rows[-1], row, word))
        return rows

    def _next(self, last: list[int], row: int, word: int) -> list[int]:
        (last_start, last_stop), (start, stop) = self.spans[row - 1], self.spans[row]
        above = last[start - last_start : stop - last_start]
        across = last[max(start - 1 - last_start, 0) : stop - 1 - last_start]
        if start and start == last_start:
            across.insert(0, _NEVER)
        if stop > last_stop:
            above += [_NEVER] * (stop - max(last_stop, start))
            across += [_NEVER] * (stop - 1 - max(last_stop, start - 1))
        found: list[int] = []
        if start:
            left, wanted = _NEVER, self.reference[start - 1 : stop - 1]
        else:
            left, wanted = above.pop(0) + 1, self.reference[: stop - 1]
            found.append(left)
        for cost, dropped, other in zip(across, above, wanted, strict=True):
            if other != word:
                cost += 1
            if dropped < cost:
                cost = dropped + 1
            if left < cost:
                cost = left + 1
            found.append(cost)
            left = cost
        return found

    def behind(self, words: list[int]) -> list[list[int]]:
        """For each row and column what the rest of the words costs."""
        columns, rows = len(self.reference) + 1, []
        start, stop = self.spans[-1]
        rows.append(list(range(columns - 1 - start, columns - 1 - stop, -1)))
        for row in range(len(words) - 1, -1, -1):
            word, (start, stop), (next_start, next_stop) = words[row], self.spans[row], self.spans[row + 1]
            below = rows[-1]
            found, right = [], _NEVER
            for column in range(stop - 1, start - 1, -1):
                if column == columns - 1:
                    least = _NEVER
                elif next_start <= column + 1 < next_stop:
                    least = below[column + 1 - next_start] + (self.reference[column] != word)
                else:
                    least = _NEVER
                if next_start <= column < next_stop:
                    least = min(least, below[column - next_start] + 1)
                right = min(least, right + 1)
                found.append(right)
            found.reverse()
            rows.append(found)
        rows.reverse()
        return rows

    def cost(self, words: list[int], first: int, last: int, ahead: list[list[int]], behind: list[list[int]]) -> int:
        """The distance after the words from the first to the last place (without it) have changed."""
        row = ahead[first]
        for at in range(first, last):
            row = self._next(row, at + 1, words[at])
        return min(map(int.__add__, row, behind[last]))

    def aligned(self, words: list[int], rows: list[list[int]]) -> _Alignment:
        """The cheapest way back through the table. Of equals, keeping or replacing goes before dropping, dropping before adding."""
        row, column = len(words), len(self.reference)
        wrong_words, wrong_wanted, places = [0] * (row + 1), [0] * (column + 1), [-1] * (column + 1)
        while row or column:
            cost = self._at(rows, row, column)
            wrong = int(row > 0 and column > 0 and words[row - 1] != self.reference[column - 1])
            if row and column and self._at(rows, row - 1, column - 1) + wrong == cost:
                places[column] = row - 1
                wrong_words[row] = wrong_wanted[column] = wrong
                row, column = row - 1, column - 1
            elif row and self._at(rows, row - 1, column) + 1 == cost:
                wrong_words[row] = 1
                row -= 1
            else:
                places[column] = row - 1
                wrong_wanted[column] = 1
                column -= 1
        return _Alignment(places, list(accumulate(wrong_words)), list(accumulate(wrong_wanted)))

    def _at(self, rows: list[list[int]], row: int, column: int) -> int:
        start, stop = self.spans[row]
        return rows[row][column - start] if start <= column < stop else _NEVER
