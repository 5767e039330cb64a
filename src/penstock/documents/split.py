"""Documents into passages: by structure first (headings, paragraphs, rows, code), by size second; and passages into sentences.

A passage is always an unbroken stretch of its document's text, within one section and on one page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from penstock.text.sentences import bounded, sentences
from penstock.types import Block, BlockKind, Document

__all__ = ["VERSION", "Piece", "context_of", "split"]

VERSION = "1"  # part of an index version's identity: another way of splitting is another index

SMALL = 300  # characters; a passage below this takes the next block in
LARGE = 1600  # no passage is longer: about what the encoder reads, 384 tokens

_WIDE = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)  # one character, one token or more


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


def _sentences(text: str, block: Block, language: str) -> Iterator[tuple[int, int]]:
    """(start, end) in the document, white space left out. A row is one sentence; code is cut at its lines."""
    if block.kind is BlockKind.PARAGRAPH:
        yield from sentences(text, block.start, block.end, language)
    elif block.kind is BlockKind.CODE:
        at = block.start
        for gap in re.finditer(r"\n[ \t\r]*\n+", text[block.start : block.end]):
            yield from bounded(text, at, block.start + gap.start())
            at = block.start + gap.end()
        yield from bounded(text, at, block.end)
    else:
        yield from bounded(text, block.start, block.end)


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
