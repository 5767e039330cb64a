"""Where sentences end, in about 300 languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

import sentencex

__all__ = ["LONGEST", "bounded", "sentences", "sentences_of"]

LONGEST = 500  # characters; a longer run without an end is cut at a line or a space
EMPHASIS = "*_"  # Markdown's, which stand around sentences and are not part of what they say
PART = 8_000  # characters that are cut into sentences at a time
MANY_LETTERS = 1_600  # of a stretch, no more are counted

_LETTER = re.compile(r"[^\W\d_]")


def sentences_of(text: str, language: str) -> list[tuple[int, int]]:
    """(start, end) of the sentences of a text that is one paragraph."""
    return list(sentences(text, 0, len(text), language))


def sentences(text: str, start: int, end: int, language: str) -> Iterator[tuple[int, int]]:
    """(start, end) of the sentences of the paragraph text[start:end], white space and emphasis around them left out."""
    piece = text[start:end]
    at = before = letters = 0
    for stop in _ends(piece, language):
        letters += len(_LETTER.findall(piece, before, min(stop, before + MANY_LETTERS)))
        before = stop
        if stop < len(piece) and letters < 3:
            continue  # "1." or "(a)" goes with what it counts
        yield from bounded(text, start + at, start + stop, around=EMPHASIS)
        at, letters = stop, 0


def _ends(piece: str, language: str) -> Iterator[int]:
    """Where the sentences of a paragraph end. Long ones are looked at in parts: the library takes their square."""
    at = 0
    while at < len(piece):
        until = len(piece)
        if until - at > PART:
            window = piece[at : at + PART]
            until = at + (max(window.rfind(mark) for mark in ("\n", " ", "。")) + 1 or PART)
        for found in sentencex.get_sentence_boundaries(language or "en", piece[at:until]):
            yield at + found["end_index"]
        at = until


def bounded(text: str, start: int, end: int, *, around: str = "") -> Iterator[tuple[int, int]]:
    """The stretch without white space (and marks) around it, cut at line ends or spaces where it is too long."""
    while start < end and (text[start].isspace() or text[start] in around):
        start += 1
    while end > start and (text[end - 1].isspace() or text[end - 1] in around):
        end -= 1
    while end - start > LONGEST:
        window = text[start : start + LONGEST]
        cut = max(window.rfind("\n"), 0) or max(window.rfind(" "), 0) or LONGEST
        yield from bounded(text, start, start + cut)
        start += cut
        while start < end and text[start].isspace():
            start += 1
    if end > start:
        yield start, end
