"""Rows under a heading: in "name;phone\\nMaria;0171…" the word that says what a number is stands in the first line."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from penstock.guard.labels import Label

__all__ = ["Table"]

_WIDEST: Final = 2000  # characters of a line that are looked at
_MARKS: Final = ";\t|,؛"
_LINE: Final = re.compile(r"[^\n]+")


class _Line(NamedTuple):
    start: int
    end: int
    mark: str  # what parts its cells
    parts: int
    head: int  # index of the line its columns are named in


class Table:
    """The tables of a text. Made at once, read when somebody asks."""

    def __init__(self, plain: str, words: Sequence[Label]) -> None:
        self._plain = plain
        self._words = words
        self._starts: list[int] = []
        self._lines: list[_Line] | None = None

    def label(self, place: int) -> Label | None:
        """The word above the cell at this place."""
        if not self._is_under(place):
            return None
        lines = self._read()
        index = bisect_right(self._starts, place) - 1
        if index < 0 or place >= lines[index].end:
            return None
        line = lines[index]
        if line.head == index or place - line.start > _WIDEST:
            return None
        return self._above(lines[line.head], self._plain.count(line.mark, line.start, place))

    def _is_under(self, place: int) -> bool:
        """Whether the line above has as many cells: a quick look, before all lines are read."""
        if self._lines is not None:
            return True
        plain = self._plain
        start = plain.rfind("\n", max(0, place - _WIDEST), place)
        above = plain.rfind("\n", max(0, start - _WIDEST), max(0, start))
        stop = plain.find("\n", place, place + _WIDEST) % (place + _WIDEST + 1)
        if start <= 0:
            return False
        for mark in _MARKS:
            cells = plain.count(mark, start, stop)
            if cells and plain.count(mark, above + 1, start) == cells:
                return True
        return False

    def cells(self, kind: str) -> Iterator[tuple[int, int, Label]]:
        """The cells under a word of this kind, with that word."""
        plain, done = self._plain, 0
        for label in self._words:
            if kind not in label.kinds or label.start < done:
                continue
            stop = plain.find("\n", label.end, label.end + _WIDEST)
            if stop < 0:
                continue
            start = plain.rfind("\n", max(0, label.start - _WIDEST), label.start) + 1
            mark = max(_MARKS, key=lambda mark: plain.count(mark, start, stop))
            parts, column = plain.count(mark, start, stop), plain.count(mark, start, label.start)
            if not parts:
                continue
            done = stop + 1
            while done < len(plain):
                end = plain.find("\n", done, done + _WIDEST)
                end = min(len(plain), done + _WIDEST) if end < 0 else end
                if plain.count(mark, done, end) != parts:
                    break
                cuts = [done - 1, *_places(plain, mark, done, end), end]
                yield cuts[column] + 1, cuts[column + 1], label
                done = end + 1

    def _above(self, head: _Line, column: int) -> Label | None:
        cuts = [head.start - 1, *_places(self._plain, head.mark, head.start, head.end), head.end]
        if column + 1 >= len(cuts):
            return None
        index = bisect_left(self._words, cuts[column] + 1, key=lambda label: label.start)
        if index < len(self._words) and self._words[index].end <= cuts[column + 1]:
            return self._words[index]
        return None

    def _read(self) -> list[_Line]:
        """The lines that are a heading or stand under one."""
        if self._lines is not None:
            return self._lines
        plain, words = self._plain, self._words
        lines: list[_Line] = []
        word = head = 0
        mark = ""  # of the table we are in
        parts = 0
        for match in _LINE.finditer(plain) if words and "\n" in plain else ():
            start, end = match.span()
            stop = min(end, start + _WIDEST)
            if mark and plain.count(mark, start, stop) == parts:
                lines.append(_Line(start, end, mark, parts, head))
                continue
            mark = ""
            while word < len(words) and words[word].start < start:
                word += 1
            if word == len(words):
                break
            if words[word].end > end:
                continue
            parts = 0
            for other in _MARKS:
                count = plain.count(other, start, stop)
                if count > parts:
                    mark, parts = other, count
            if mark:
                head = len(lines)
                lines.append(_Line(start, end, mark, parts, head))
        self._lines = lines
        self._starts = [line.start for line in lines]
        return lines


def _places(plain: str, mark: str, start: int, end: int) -> list[int]:
    return [start + at for at, letter in enumerate(plain[start:end]) if letter == mark]
