"""A page of a PDF as it is printed, as a picture, with the words of a quote marked in it."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from penstock.documents.read_pdf import pdfium
from penstock.errors import NotFound, NotReady

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Printed", "printed_page"]

WIDTH: Final = 1_100  # pixels
MOST_PIXELS: Final = 4_000_000
LEAST: Final = 24  # letters of a quote that goes on from another page, so that no other words are marked
PATIENCE_S: Final = 5.0  # while a long file is being read
MARK: Final = np.array([255, 226, 110], np.uint16)  # as the page marks quotes


class Printed(NamedTuple):
    """A picture as PNG, and how far down the first marked line stands in it: 0 at the top, 1 at the bottom; None without any."""

    png: bytes
    marked: float | None


def printed_page(file: Path, number: int, quote: str = "") -> Printed:
    """A page of a PDF file, from 1 on. quote: words that are marked, however the page breaks its lines.

    Raises NotFound where there is no such file or page, or where words of the page are known and the quote is not among them: the
    file has changed since it was read. Of a scan no words are known, so nothing is marked. Raises NotReady while pdfium is busy.
    """
    import pypdfium2
    from pypdfium2 import PdfiumError

    if file.suffix.lower() != ".pdf":
        raise NotFound("only pages of PDF files can be shown as they are printed")
    with pdfium(PATIENCE_S) as free:
        if not free:
            raise NotReady("a long PDF is being read", hint="try again in a moment")
        try:
            pdf = pypdfium2.PdfDocument(file)
        except (PdfiumError, OSError) as error:
            raise NotFound(f"the file of this document cannot be read any more: {error}") from error
        try:
            if not 1 <= number <= len(pdf):
                raise NotFound(f"this document has no page {number}")
            picture, marked = _drawn(pdf[number - 1], quote)
        except PdfiumError as error:
            raise NotFound(f"page {number} cannot be drawn: {error}") from error
        finally:
            pdf.close()
    return Printed(_png(picture), marked)


def _drawn(page: Any, quote: str) -> tuple[NDArray[np.uint8], float | None]:
    """Red, green and blue, (height, width, 3), and where the first mark is."""
    width, height = page.get_size()
    scale = min(WIDTH / max(width, 1.0), math.sqrt(MOST_PIXELS / max(width * height, 1.0)))
    boxes = _boxes(page, quote) if quote else []
    picture: NDArray[np.uint8] = page.render(scale=scale, rev_byteorder=True).to_numpy()[:, :, :3].copy()
    to_pixel, marked = _to_pixels(page, picture.shape[1], picture.shape[0]), None
    for left, bottom, right, top in boxes:
        (x0, y0), (x1, y1) = to_pixel(left, bottom), to_pixel(right, top)
        rows, columns = slice(*_span(y0, y1, 2)), slice(*_span(x0, x1, 1))
        under = picture[rows, columns].astype(np.uint16)
        picture[rows, columns] = under * MARK // 255  # as a marker does: black stays black
        marked = rows.start / len(picture) if marked is None else marked
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


def _boxes(page: Any, quote: str) -> list[tuple[float, float, float, float]]:
    """(left, bottom, right, top) in points of each line of a quote on a page. Raises NotFound."""
    text = page.get_textpage()
    letters, places = [], []
    for n in range(text.count_chars()):
        letter = _letters(text.get_text_range(n, 1, errors="ignore")) if n < 200_000 else ""
        letters.append(letter)
        places += [n] * len(letter)
    said, wanted = "".join(letters), _letters(quote)
    if not said:
        return []  # a scan
    start, length = _found(said, wanted)
    if not length:
        raise NotFound("the file has changed since it was read: these words are not on this page any more")
    lines: list[tuple[float, float, float, float]] = []
    for n in dict.fromkeys(places[start : start + length]):
        left, bottom, right, top = text.get_charbox(n, loose=True)
        if lines and abs(lines[-1][1] - bottom) < (top - bottom) / 2 and left >= lines[-1][0]:
            before = lines[-1]
            lines[-1] = (before[0], min(before[1], bottom), max(before[2], right), max(before[3], top))
        else:
            lines.append((left, bottom, right, top))
    return lines


def _letters(text: str) -> str:
    """What a quote and a page have in common: letters and digits, without lines, hyphens and case."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _found(said: str, wanted: str) -> tuple[int, int]:
    """Where a quote begins among the letters of a page, and how many of it are there. It may go over the end of the page, or have
    begun before."""
    start = said.find(wanted)
    if start >= 0 and wanted:
        return start, len(wanted)
    most = min(len(said), len(wanted))
    for length in range(most, LEAST - 1, -1):
        if said.endswith(wanted[:length]):
            return len(said) - length, length
        if said.startswith(wanted[-length:]):
            return 0, length
    return 0, 0


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
