"""Plain text, Markdown and source code: the text stays as it is in the file, and blocks are found in it by line.

Offsets are characters of the decoded file, its byte order mark aside, so a citation can be checked with any editor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.documents.draft import Raw, first_line
from penstock.errors import Unreadable
from penstock.types import Block, BlockKind, Document, Metadata

__all__ = ["CODE_SUFFIXES", "decode", "read_code", "read_markdown", "read_plain"]

CODE_SUFFIXES = frozenset(
    (
        ".py .pyi .js .mjs .cjs .ts .tsx .jsx .java .kt .scala .go .rs .c .h .cc .cpp .hpp .cs .rb .php .pl "
        ".lua .r .jl .swift .m .sh .bash .zsh .ps1 .bat .sql .css .scss .less .vue .svelte .toml .ini .cfg "
        ".conf .yaml .yml .tf .proto .graphql .gradle .cmake .ex .exs .erl .hs .clj .dart .nix .tex .bib"
    ).split()
)

_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_ITEM = re.compile(r"[ \t]*(?:([-*+][ \t]+)|\d{1,9}[.)][ \t]+)\S")
_LINE = re.compile(r"[^\n]*\n?")
LONGEST_VALUE = 1_000  # characters of a value in front matter

_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|$)", re.S)


def decode(data: bytes, source: str) -> str:
    """Decode by byte order mark, then as UTF-8, then by the best guess. Raises Unreadable for binary data."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, "replace").removeprefix("\ufeff")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start >= len(data) - 3:  # cut in the middle of its last character
            return data[: error.start].decode("utf-8")
        from charset_normalizer import from_bytes

        guesses = from_bytes(data[:200_000])
        best = guesses.best()
        if best is None:
            raise Unreadable(f"'{source}' is neither text nor a known kind of file") from None
        equals = [g.encoding for g in guesses if (g.chaos, g.coherence) == (best.chaos, best.coherence)]
        text = data.decode("cp1252" if "cp1252" in equals else best.encoding, "replace")
    if "\x00" in text[:4096]:
        raise Unreadable(f"'{source}' is neither text nor a known kind of file")
    return text


def read_plain(raw: Raw) -> Iterator[Document]:
    """Paragraphs are what empty lines divide."""
    text = decode(raw.data, raw.source)
    yield _document(raw, text, list(_paragraphs(text, 0, len(text))), "text/plain")


def read_code(raw: Raw) -> Iterator[Document]:
    """A block starts at a line without indent that follows an empty line: a function, a class, a table of settings."""
    text = decode(raw.data, raw.source)
    blocks, start, empty = list[Block](), 0, True
    for line in _LINE.finditer(text):
        if empty and line[0][:1] not in ("", " ", "\t", "\n", "\r", "}", ")", "]") and line.start() > start:
            blocks.append(Block(start, line.start(), BlockKind.CODE))
            start = line.start()
        empty = not line[0].strip()
    blocks.append(Block(start, len(text), BlockKind.CODE))
    yield _document(raw, text, blocks, "text/x-source")


def read_markdown(raw: Raw) -> Iterator[Document]:
    """CommonMark's blocks as far as an index needs them: headings, fenced code, tables, list items, paragraphs.

    The marks around them (fences, bullets, the bars at both ends of a row) stay in the text and out of the blocks.
    """
    text = decode(raw.data, raw.source)
    front, begin = _front_matter(text)
    blocks = list(_markdown_blocks(text, begin))
    yield _document(raw, text, blocks, "text/markdown", front)


def _markdown_blocks(text: str, begin: int) -> Iterator[Block]:
    open_at: int | None = None  # start of the paragraph that is being read
    fence = ""
    lines = [(m.start(), m.end(), m[0].rstrip("\r\n")) for m in _LINE.finditer(text, begin) if m[0]]
    for n, (start, end, line) in enumerate(lines):
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                yield Block(open_at or 0, start, BlockKind.CODE)
                open_at, fence = None, ""
            continue
        if match := _FENCE.match(line):
            if open_at is not None:
                yield Block(open_at, start)
            open_at, fence = end, match[1]
        elif match := _ATX.match(line):
            if open_at is not None:
                yield Block(open_at, start)
            open_at = None
            yield Block(start + match.end(), start + len(_unclosed(line)), BlockKind.HEADING, len(match[1]))
        elif not line.strip():
            if open_at is not None:
                yield Block(open_at, start)
            open_at = None
        elif (
            open_at is not None
            and lines[n - 1][0] == open_at
            and _SETEXT.match(line)
            and not _ITEM.match(lines[n - 1][2])
        ):
            yield Block(open_at, lines[n - 1][1], BlockKind.HEADING, 1 if "=" in line else 2)
            open_at = None
        elif line.lstrip().startswith("|"):
            if open_at is not None:
                yield Block(open_at, start)
            open_at = None
            if line.strip(" \t|:-"):  # not the line under a table's head
                yield Block(
                    start + len(line) - len(line.lstrip(" \t|")), start + len(line.rstrip(" \t|")), BlockKind.ROW
                )
        elif match := _ITEM.match(line):
            if open_at is not None:
                yield Block(open_at, start)
            open_at = start + (match.end(1) if match[1] else 0)  # a bullet is a mark, a number is text
        elif open_at is None:
            open_at = start
    if open_at is not None:
        yield Block(open_at, len(text), BlockKind.CODE if fence else BlockKind.PARAGRAPH)


def _unclosed(heading: str) -> str:
    """A heading without the marks that may close it."""
    line = heading.rstrip()
    bare = line.rstrip("#")
    return bare.rstrip() if bare != line and bare[-1:] in (" ", "\t") else line


def _paragraphs(text: str, begin: int, end: int) -> Iterator[Block]:
    start = begin
    for gap in re.finditer(r"\n[ \t\r]*\n\s*", text[begin:end]):
        yield Block(start, begin + gap.start())
        start = begin + gap.end()
    yield Block(start, end)


def _front_matter(text: str) -> tuple[dict[str, str], int]:
    """The lines `key: value`, and lists beneath a key, between two `---` at the top; and where the text proper begins."""
    match = _FRONT.match(text)
    if not match:
        return {}, 0
    found: dict[str, str] = {}
    key = ""
    for line in match[1].splitlines():
        bare = re.sub(r"(?:^|\s)#.*$", "", line).strip()  # without a comment
        if key and bare.startswith("- "):
            found[key] = ", ".join(filter(None, (found[key], bare[2:].strip())))
        elif not line[:1].isspace() and ":" in bare:
            key, _, value = (part.strip() for part in bare.partition(":"))
            key = key.lower()
            found[key] = value.strip("\"'")[:LONGEST_VALUE]
    return found, match.end()


def _listed(value: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in value.strip("[]").split(",") if part.strip(" \"'"))


def _document(
    raw: Raw, text: str, blocks: list[Block], media_type: str, front: dict[str, str] | None = None
) -> Document:
    front = dict(front or {})
    blocks = [tight for block in blocks if (tight := _tight(text, block))]
    if not blocks:
        raise Unreadable(f"'{raw.source}' holds no text")
    heading = next((text[b.start : b.end] for b in blocks if b.kind is BlockKind.HEADING), "")
    title = first_line(front.pop("title", "") or heading) or raw.name
    if "access" in front and not _listed(front["access"]):
        raise Unreadable(
            f"'{raw.source}' has an access list that names nobody", hint="access: [role, …], or no such line"
        )
    date, tags, access = front.pop("date", "")[:10], _listed(front.pop("tags", "")), _listed(front.pop("access", ""))
    metadata: Metadata = {key: value for key, value in front.items() if value}
    return Document(
        raw.source, text, tuple(blocks), title, media_type,
        date=date or raw.modified, tags=tags, access=access, metadata=metadata,
    )  # fmt: skip


def _tight(text: str, block: Block) -> Block | None:
    """The block without the white space around it, or None where nothing else is in it."""
    piece = text[block.start : block.end]
    start = block.start + len(piece) - len(piece.lstrip())
    end = block.start + len(piece.rstrip())
    return Block(start, end, block.kind, block.level, block.page) if end > start else None
