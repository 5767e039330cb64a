"""A document in the making: readers add pieces of text, and the offsets of each piece are kept."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from penstock.errors import TooLarge, Unreadable
from penstock.types import Block, BlockKind, Document, Metadata

__all__ = ["Draft", "Limits", "Raw", "Skipped", "first_line", "turned"]

turned: ContextVar[Callable[[int, int], None]] = ContextVar("turned", default=lambda page, pages: None)
"""Told by readers of files with pages which one is being read, from 1 on, and of how many."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one file may cost us."""

    max_file_mb: int = 100  # of the file, and of everything inside one archive
    max_text_mb: int = 200  # of the text that comes out
    max_entries: int = 10_000  # in one archive
    max_depth: int = 2  # archives in archives
    ocr: bool = True

    @property
    def max_bytes(self) -> int:
        return self.max_file_mb << 20


@dataclass(frozen=True, slots=True)
class Raw:
    """A file's bytes and where they came from."""

    source: str
    data: bytes
    limits: Limits = Limits()
    modified: str = ""  # ISO 8601 date
    depth: int = 0  # how many archives deep
    kind: str = ""  # the ending it would have, where its name has none

    @property
    def suffix(self) -> str:
        stem, dot, ending = self.name.rpartition(".")
        return f".{ending.lower()}" if dot and stem else ""

    @property
    def name(self) -> str:
        return self.source.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that gave no document, and why."""

    source: str
    reason: str
    hint: str = ""


class Draft:
    """Collects text and blocks. Pieces are kept apart by an empty line, rows of a table by a line break."""

    def __init__(self, raw: Raw) -> None:
        self._raw, self._parts, self._length = raw, list[str](), 0
        self._blocks: list[Block] = []
        self._heading = ""  # the first one

    def add(self, text: str, kind: BlockKind = BlockKind.PARAGRAPH, *, level: int = 0, page: int = 0) -> None:
        """Add one piece; white space around it is dropped, an empty one is nothing."""
        text = text.strip().replace("\x00", "")
        if not text:
            return
        if self._parts:
            near = kind is BlockKind.ROW and self._blocks and self._blocks[-1].kind is BlockKind.ROW
            self._append("\n" if near else "\n\n")
        if kind is BlockKind.HEADING:
            self._heading = self._heading or text
        start = self._length
        self._append(text)
        self._blocks.append(Block(start, self._length, kind, level, page))

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
        if self._length > self._raw.limits.max_text_mb << 20:
            raise TooLarge(f"the text of '{self._raw.source}' is over {self._raw.limits.max_text_mb} MB")

    def finish(
        self,
        media_type: str,
        *,
        title: str = "",
        language: str = "",
        date: str = "",
        tags: tuple[str, ...] = (),
        access: tuple[str, ...] = (),
        metadata: Metadata | None = None,
    ) -> Document:
        """Raises Unreadable where no text was found."""
        if not self._parts:
            raise Unreadable(f"'{self._raw.source}' holds no text")
        return Document(
            source=self._raw.source,
            text="".join(self._parts),
            blocks=tuple(self._blocks),
            title=first_line(title or self._heading) or self._raw.name,
            media_type=media_type,
            language=language,
            date=date or self._raw.modified,
            tags=tags,
            access=access,
            metadata=metadata or {},
        )


def first_line(text: str) -> str:
    """A heading as a title: on one line, not endless."""
    return " ".join(text.split())[:300]
