"""Documents into passages: by structure first (headings, paragraphs, rows, code), by size second; and passages into sentences.

A passage is always an unbroken stretch of its document's text, within one section and on one page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

import sentencex

from penstock.types import Block, BlockKind, Document

__all__ = ["VERSION", "Piece", "context_of", "sentences_of", "split"]

VERSION = "1"  # part of an index version's identity: another way of splitting is another index

SMALL = 300  # characters; a passage below this takes the next block in
LARGE = 1600  # no passage is longer: about what the encoder reads, 384 tokens
EMPHASIS = "*_"  # Markdown's, which stand around sentences and are not part of what they say
PART = 8_000  # characters that are cut into sentences at a time
SENTENCE = 500  # a longer run without an end is cut at a line or a space

_WIDE = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)  # one character, one token or more

_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage before it has a home: document.text[start:end]."""

    start: int
    end: int
    section: tuple[str, ...]
    page: int
    sentences: tuple[tuple[int, int], ...]  # relative to start


def split(document: Document) -> list[Piece]:
    """Passages in the order of the text; [] for a document without text."""
    text = document.text
    large = LARGE // 3 if len(_WIDE.findall(text[:2000])) > 0.3 * len(text[:2000]) else LARGE
    pieces: list[Piece] = []
    headings: list[Block] = []
    group: list[Block] = []

    def close() -> None:
        if group:
            section = tuple(_line(text[h.start : h.end]) for h in headings)
            sentences = [span for block in group for span in _sentences(text, block, document.language)]
            start, end = group[0].start, group[-1].end
            shifted = tuple((a - start, b - start) for a, b in sentences or [(start, end)])  # nothing but marks
            pieces.append(Piece(start, end, section, group[0].page, shifted))
            group.clear()

    for block in _blocks(document):
        if block.kind is BlockKind.HEADING:
            close()
            while headings and headings[-1].level >= block.level:
                headings.pop()
            headings.append(block)
            continue
        for part in _parts(text, block, large, document.language):
            if group and (
                part.page != group[0].page
                or part.end - group[0].start > large
                or (group[-1].end - group[0].start >= SMALL and not _belongs(group[-1], part))
            ):
                close()
            group.append(part)
    close()
    return pieces


def _blocks(document: Document) -> tuple[Block, ...]:
    """The document's blocks; where there are nothing but headings, they are the text."""
    if any(block.kind is not BlockKind.HEADING for block in document.blocks):
        return document.blocks
    return tuple(Block(b.start, b.end, BlockKind.PARAGRAPH, 0, b.page) for b in document.blocks)


def _belongs(before: Block, part: Block) -> bool:
    """Rows of one table stay together as long as they fit."""
    return before.kind is BlockKind.ROW and part.kind is BlockKind.ROW


def _parts(text: str, block: Block, large: int, language: str) -> Iterator[Block]:
    """The block itself, or parts of it that are not too large, cut where sentences or lines end."""
    if block.end - block.start <= large:
        yield block
        return
    start = end = block.start
    for a, b in _sentences(text, block, language):
        if b - start > large and end > start:
            yield Block(start, end, block.kind, block.level, block.page)
            start = a
        end = b
    yield Block(start, end, block.kind, block.level, block.page)


def sentences_of(text: str, language: str) -> list[tuple[int, int]]:
    """(start, end) of the sentences of a text that is one paragraph."""
    return list(_sentences(text, Block(0, len(text)), language))


def _sentences(text: str, block: Block, language: str) -> Iterator[tuple[int, int]]:
    """(start, end) in the document, white space left out. A row is one sentence; code is cut at its lines."""
    piece = text[block.start : block.end]
    if block.kind is BlockKind.PARAGRAPH:
        start = before = letters = 0
        for end in _ends(piece, language):
            letters += len(_LETTER.findall(piece, before, min(end, before + LARGE)))
            before = end
            if end < len(piece) and letters < 3:
                continue  # "1." or "(a)" goes with what it counts
            yield from _bounded(text, block.start + start, block.start + end, around=EMPHASIS)
            start, letters = end, 0
    elif block.kind is BlockKind.CODE:
        at = 0
        for gap in re.finditer(r"\n[ \t\r]*\n+", piece):
            yield from _bounded(text, block.start + at, block.start + gap.start())
            at = gap.end()
        yield from _bounded(text, block.start + at, block.end)
    else:
        yield from _bounded(text, block.start, block.end)


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


def _bounded(text: str, start: int, end: int, *, around: str = "") -> Iterator[tuple[int, int]]:
    """The stretch without white space (and marks) around it, cut at line ends or spaces where it is too long."""
    while start < end and (text[start].isspace() or text[start] in around):
        start += 1
    while end > start and (text[end - 1].isspace() or text[end - 1] in around):
        end -= 1
    while end - start > SENTENCE:
        window = text[start : start + SENTENCE]
        cut = max(window.rfind("\n"), 0) or max(window.rfind(" "), 0) or SENTENCE
        yield from _bounded(text, start, start + cut)
        start += cut
        while start < end and text[start].isspace():
            start += 1
    if end > start:
        yield start, end


def context_of(title: str, source: str, section: tuple[str, ...]) -> str:
    """What stands over a passage: title and headings. Indexed with it, so that "it costs 5 euros" is found by what costs it."""
    return " > ".join(dict.fromkeys(part for part in (_title(title, source), *section) if part))[:200]


@lru_cache(maxsize=64)
def _title(title: str, source: str) -> str:
    if title == PurePosixPath(source.rpartition("!/")[2] or source).name:
        title = re.sub(r"[-_.]+", " ", PurePosixPath(title).stem)  # a file name says something where it has words
        return title if re.search(r"[^\W\d_]{3}", title) else ""
    return _line(title)


def _line(text: str) -> str:
    return " ".join(text.split())[:120]
