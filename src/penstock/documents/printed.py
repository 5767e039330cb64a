"""A page of a PDF as it is printed, as a picture, with the words of a quote marked in it.

A small file can ask for hours of drawing, so a server draws in a process of its own: `printer` starts `draw_for_others` there.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import struct
import sys
import threading
import zlib
from contextlib import suppress
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from penstock.documents.catalog import digest
from penstock.errors import NotFound, PenstockError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Asked", "Printed", "draw_for_others", "printed_page"]

WIDTH: Final = 1_100  # pixels
MOST_PIXELS: Final = 4_000_000
MOST_MEMORY: Final = 3 << 30  # bytes of address space; a drawing that wants more ends the process
MOST_LETTERS: Final = 200_000  # of a page
MOST_PLACES: Final = 1_000  # of a quote on one page
LEAST: Final = 24  # letters of a quote that goes on from another page, so that no other words are marked
MARK: Final = np.array([255, 226, 110], np.uint16)  # as the page marks quotes

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4ff\uf900-\ufaff]")  # no spaces between words
_CHANGED = "the file has changed since it was read"


class Asked(NamedTuple):
    """Words that are marked on a page, however it breaks its lines, and what stands before and after them: they may stand there
    more than once. indexed: where nothing else tells whether the file has changed, the text that its words have to be in."""

    file: str
    page: int  # from 1 on
    quote: str = ""
    before: str = ""
    after: str = ""
    indexed: str | None = None


class Printed(NamedTuple):
    """A picture as PNG, and how far down the first marked line stands in it: 0 at the top, 1 at the bottom; None without any."""

    png: bytes
    marked: float | None
    content: bytes  # digest of the file


def printed_page(asked: Asked) -> Printed:
    """A page of a PDF file.

    Raises NotFound where there is no such file or page, or where words of the page are known and the quote is not among them: the
    file has changed since it was read. Of a scan no words are known, so nothing is marked.
    """
    import pypdfium2
    from pypdfium2 import PdfiumError

    if not asked.file.lower().endswith(".pdf"):
        raise NotFound("only pages of PDF files can be shown as they are printed")
    try:
        data = Path(asked.file).read_bytes()
        pdf = pypdfium2.PdfDocument(data)
    except (PdfiumError, OSError, ValueError) as error:
        if "password" in str(error).lower():
            raise NotFound("the file of this document is encrypted", hint="save it without a password") from error
        why = error.strerror if isinstance(error, OSError) else error  # it would name the folders of this machine
        raise NotFound(f"the file of this document cannot be read any more: {why}") from error
    try:
        if not 1 <= asked.page <= len(pdf):
            raise NotFound(f"this document has no page {asked.page}")
        picture, marked = _drawn(pdf[asked.page - 1], asked)
    except PdfiumError as error:
        raise NotFound(f"page {asked.page} cannot be drawn: {error}") from error
    finally:
        pdf.close()
    return Printed(_png(picture), marked, digest(data))


def _drawn(page: Any, asked: Asked) -> tuple[NDArray[np.uint8], float | None]:
    """Red, green and blue, (height, width, 3), and where the first mark is."""
    if asked.indexed is not None:
        words = _letters(page.get_textpage().get_text_bounded(errors="ignore"))
        if not words or words not in _letters(asked.indexed):
            raise NotFound(_CHANGED)
    boxes = _boxes(page, asked) if asked.quote else []
    width, height = page.get_size()
    scale = min(WIDTH / max(width, 1.0), math.sqrt(MOST_PIXELS / max(width * height, 1.0)))
    picture: NDArray[np.uint8] = page.render(scale=scale, rev_byteorder=True).to_numpy()[:, :, :3].copy()
    to_pixel, marked = _to_pixels(page, picture.shape[1], picture.shape[0]), None
    mask = np.zeros(picture.shape[:2], bool)
    for left, bottom, right, top in boxes:
        (x0, y0), (x1, y1) = to_pixel(left, bottom), to_pixel(right, top)
        rows = slice(*_span(y0, y1, 2))
        lit = mask[rows, slice(*_span(x0, x1, 1))]
        lit[:] = True
        if lit.size and marked is None:
            marked = rows.start / len(picture)
    picture[mask] = picture[mask] * MARK // 255  # as a marker does: black stays black
    return picture, marked


def _span(one: float, other: float, more: int) -> tuple[int, int]:
    return max(0, math.floor(min(one, other)) - more), max(0, math.ceil(max(one, other)) + more)


def _to_pixels(page: Any, width: int, height: int) -> Any:
    """From the points of a page to pixels, whatever way it is turned and cut."""
    from ctypes import byref, c_int

    from pypdfium2 import raw

    def place(x: float, y: float) -> tuple[float, float]:
        column, row = c_int(), c_int()
        raw.FPDF_PageToDevice(page, 0, 0, width, height, 0, x, y, byref(column), byref(row))
        return column.value, row.value

    return place


def _boxes(page: Any, asked: Asked) -> list[tuple[float, float, float, float]]:
    """(left, bottom, right, top) in points of each line of a quote on a page. Raises NotFound."""
    text = page.get_textpage()
    letters, places, gaps, gap = list[str](), list[int](), set[int](), False
    for n in range(min(text.count_chars(), MOST_LETTERS)):
        letter = _letters(text.get_text_range(n, 1, errors="ignore"))
        if letter and gap:
            gaps.add(len(places))
        gap = not letter
        letters.append(letter)
        places += [n] * len(letter)
    said = "".join(letters)
    if not said:
        return []  # a scan
    start, length = _found(said, gaps, asked)
    if not length:
        raise NotFound(f"{_CHANGED}: these words are not on this page any more")
    lines: list[tuple[float, float, float, float]] = []
    for n in dict.fromkeys(places[start : start + length]):
        left, bottom, right, top = text.get_charbox(n, loose=True)
        if lines and abs(lines[-1][1] - bottom) < (top - bottom) / 2:
            before = lines[-1]
            lines[-1] = min(before[0], left), min(before[1], bottom), max(before[2], right), max(before[3], top)
        else:
            lines.append((left, bottom, right, top))
    return lines


def _letters(text: str) -> str:
    """What a quote and a page have in common: letters and digits, without lines, hyphens and case. (Of those beyond the first
    65,536 pdfium tells halves.)"""
    return "".join(letter for letter in text.casefold() if letter.isalnum() and letter <= "\uffff")


def _found(said: str, gaps: set[int], asked: Asked) -> tuple[int, int]:
    """Where a quote begins among the letters of a page, and how many of it are there. It may go over the end of the page, or have
    begun before. gaps: where something else stands before a letter."""
    wanted = _letters(asked.quote)
    if not wanted:
        return 0, 0
    found = list(islice(_places(said, gaps, wanted), MOST_PLACES))
    if not found and len(wanted) >= LEAST:  # among words that the page does not keep apart
        found = [start] if (start := said.find(wanted)) >= 0 else []
    if found:
        before, after = _letters(asked.before)[::-1] + "\0", _letters(asked.after) + "\0"  # \0: nothing more is known

        def agreement(start: int) -> int:
            end = start + len(wanted)
            earlier = said[max(0, start - len(before)) : start][::-1]
            return _agreement(earlier, before) + _agreement(said[end : end + len(after)], after)

        return max(found, key=agreement), len(wanted)
    at_end, at_start = _overlap(said, wanted), _overlap(wanted, said)
    if max(at_end, at_start) < LEAST:
        return 0, 0
    return (len(said) - at_end, at_end) if at_end >= at_start else (0, at_start)


def _places(said: str, gaps: set[int], wanted: str) -> Iterator[int]:
    """Where a quote stands as words of its own."""

    def parts(at: int) -> bool:
        return at in gaps or at in (0, len(said)) or bool(_UNSPACED.search(said[at - 1 : at + 1]))

    start = said.find(wanted)
    while start >= 0:
        if parts(start) and parts(start + len(wanted)):
            yield start
        start = said.find(wanted, start + 1)


def _agreement(here: str, known: str) -> int:
    """How many letters beside a quote are those that are known; all, where the page ends first."""
    same = next(
        (n for n, (one, other) in enumerate(zip(here, known, strict=False)) if one != other), min(len(here), len(known))
    )
    return len(known) if same == len(here) else same


def _overlap(one: str, other: str) -> int:
    """How many letters one ends with and the other begins with, in time that grows with their number."""
    most = min(len(one), len(other))
    joined = f"{other[:most]}\0{one[len(one) - most :]}"
    lengths, length = [0], 0
    for letter in joined[1:]:
        while length and joined[length] != letter:
            length = lengths[length - 1]
        length += joined[length] == letter
        lengths.append(length)
    return length


def draw_for_others() -> None:
    """Draw what each line of standard input asks for, until it ends. The answer: a line about the picture, then the picture."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; whoever started this says when to stop
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    with suppress(ImportError, ValueError, OSError):  # systems without such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    lines = SimpleQueue[bytes]()

    def listen() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)  # also while a page is drawn

    threading.Thread(target=listen, daemon=True).start()
    answers.write(b"ready\n")
    answers.flush()
    while True:
        said: dict[str, Any]
        try:
            found = printed_page(Asked(**json.loads(lines.get())))
            said, png = {"marked": found.marked, "content": found.content.hex(), "bytes": len(found.png)}, found.png
        except PenstockError as error:
            said, png = {"error": error.message, "hint": error.hint}, b""
        except Exception as error:  # a damaged file can break a library in ways of its own
            said, png = {"error": f"the page cannot be drawn: {type(error).__name__}", "hint": ""}, b""
        answers.write(json.dumps(said).encode() + b"\n" + png)
        answers.flush()


def _png(picture: NDArray[np.uint8]) -> bytes:
    """Portable Network Graphics, as ISO/IEC 15948 has it: each row as what it differs from the one above."""
    height, width, _ = picture.shape
    rows = picture.reshape(height, width * 3)
    up = np.empty((height, width * 3 + 1), np.uint8)
    up[:, 0] = 2
    up[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=up[1:, 1:])
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(up.tobytes(), 4)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
