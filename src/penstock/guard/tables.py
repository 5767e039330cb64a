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
        lines = self._read()
        index = bisect_right(self._starts, place) - 1
        if index < 0 or place >= lines[index].end:
            return None
        line = lines[index]
        if line.head == index or place - line.start > _WIDEST:
            return None
        return self._above(lines[line.head], self._plain.count(line.mark, line.start, place))

    def cells(self, kind: str) -> Iterator[tuple[int, int, Label]]:
        """The cells under a word of this kind, with that word."""
        lines = self._read()
        columns: dict[int, list[tuple[int, Label]]] = {}
        for index, line in enumerate(lines):
            if line.head == index or line.end - line.start > _WIDEST:
                continue
            if line.head not in columns:
                columns.clear()
                head = lines[line.head]
                named = ((column, self._above(head, column)) for column in range(min(head.parts + 1, 100)))
                columns[line.head] = [(column, label) for column, label in named if label and kind in label.kinds]
            if not columns[line.head]:
                continue
            cuts = [line.start - 1, *_places(self._plain, line), line.end]
            for column, label in columns[line.head]:
                yield cuts[column] + 1, cuts[column + 1], label

    def _above(self, head: _Line, column: int) -> Label | None:
        cuts = [head.start - 1, *_places(self._plain, head), head.end]
        if column + 1 >= len(cuts):
            return None
        index = bisect_left(self._words, cuts[column] + 1, key=lambda label: label.start)
        if index < len(self._words) and self._words[index].end <= cuts[column + 1]:
            return self._words[index]
        return None

    def _read(self) -> list[_Line]:
        if self._lines is None:
            lines: list[_Line] = []
            if self._words and "\n" in self._plain:
                for match in _LINE.finditer(self._plain):
                    self._add(lines, match.start(), match.end())
            self._lines = lines
            self._starts = [line.start for line in lines]
        return self._lines

    def _add(self, lines: list[_Line], start: int, end: int) -> None:
        plain = self._plain
        last = lines[-1] if lines else None
        stop = min(end, start + _WIDEST)
        marks = {mark: plain.count(mark, start, stop) for mark in ";\t|,؛"}
        head = len(lines)
        if last and last.parts and marks.get(last.mark) == last.parts:
            mark, parts, head = last.mark, last.parts, last.head
        else:
            mark = max(marks, key=marks.__getitem__)
            parts = marks[mark]
        lines.append(_Line(start, end, mark, parts, head))


def _places(plain: str, line: _Line) -> list[int]:
    found: list[int] = []
    at = plain.find(line.mark, line.start, line.end)
    while at >= 0 and len(found) < line.parts:
        found.append(at)
        at = plain.find(line.mark, at + 1, line.end)
    return found
