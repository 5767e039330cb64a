"""PDF, page by page, through pdfium. Headings come from the document's own outline; a page without text goes to OCR."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from threading import Lock
from typing import Any

from penstock.documents import read_image
from penstock.documents.draft import Draft, Raw, turned
from penstock.errors import Unreadable
from penstock.types import BlockKind, Document

__all__ = ["read_pdf"]

MOST_PIXELS = 12_000_000  # of a page that is looked at: A4 at twice its size has 2 million

_pdfium = Lock()  # the library keeps its state in the process

_SOFT_HYPHEN = re.compile("(?:\ufffe|\x02|\u00ad)\r?\n?")
_SPLIT_WORD = re.compile(r"(?<=[a-zà-ÿ])-\r?\n(?=[a-zà-ÿ])")
_END = re.compile(r"[.!?:;\u3002\uff01\uff1f][\"')\]\u201d\u2019]*$")
_DATE = re.compile(r"D:(\d{4})(\d{2})(\d{2})")


def read_pdf(raw: Raw) -> Iterator[Document]:
    """One document. Raises Unreadable for an encrypted or broken file, or one without a single page of text."""
    import pypdfium2
    from pypdfium2 import PdfiumError

    with _pdfium:
        try:
            pdf = pypdfium2.PdfDocument(raw.data)
        except PdfiumError as error:
            if "password" in str(error).lower():
                raise Unreadable(f"'{raw.source}' is encrypted", hint="save it without a password") from error
            raise Unreadable(f"'{raw.source}' is not a complete PDF: {error}") from error
        try:
            document = _read(raw, pdf)
        finally:
            pdf.close()
    yield document  # outside the lock: whoever takes it may take long


def _read(raw: Raw, pdf: Any) -> Document:
    from pypdfium2 import PdfiumError

    draft, headings, scanned = Draft(raw), _outline(pdf), list[int]()
    ocr = raw.limits.ocr and read_image.installed()
    told = turned.get()
    for n in range(len(pdf)):
        told(n + 1, len(pdf))
        try:
            page = pdf[n]
            text = page.get_textpage().get_text_bounded()
        except PdfiumError:
            continue  # a broken page does not take the others with it
        if not text.strip():
            text = _recognise(page) if ocr else ""
            if not text:
                scanned.append(n + 1)
        _add_page(draft, text, n + 1, headings.get(n, []))
        page.close()
    information = pdf.get_metadata_dict()
    date = _DATE.match(information.get("ModDate") or information.get("CreationDate") or "")
    try:
        return draft.finish(
            "application/pdf",
            title=information.get("Title") or "",
            date="-".join(date.groups()) if date else "",
            metadata={"pages": len(pdf)} | ({"pages_without_text": len(scanned)} if scanned else {}),
        )
    except Unreadable as error:
        raise Unreadable(
            f"'{raw.source}' has no text on any of its pages", hint="pip install 'penstock[ocr]' reads scans"
        ) from error


def _outline(pdf: Any) -> dict[int, list[tuple[str, int]]]:
    """page index -> [(title, level)] of the bookmarks that point to it."""
    found: dict[int, list[tuple[str, int]]] = {}
    for item in pdf.get_toc(max_depth=6):
        target = item.get_dest()
        index = target.get_index() if target else None
        title = " ".join((item.get_title() or "").split())
        if index is not None and title:
            found.setdefault(index, []).append((title, item.level + 1))
    return found


def _add_page(draft: Draft, text: str, page: int, headings: list[tuple[str, int]]) -> None:
    text = _SPLIT_WORD.sub("", _SOFT_HYPHEN.sub("", text)).replace("\r\n", "\n").replace("\r", "\n")
    waiting = {re.sub(r"\W+", "", title).lower(): level for title, level in headings}
    for paragraph in _paragraphs(text.split("\n")):
        first, _, rest = paragraph.partition("\n")
        level = waiting.pop(re.sub(r"\W+", "", first).lower(), 0) if waiting else 0
        if level:
            draft.add(first, BlockKind.HEADING, level=level, page=page)
            paragraph = rest
        draft.add(paragraph, page=page)


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Lines grouped into paragraphs. A page has no marks for them: an empty line ends one, and so does a short line that
    ends a sentence, or a short line before which nothing stands, as a heading does."""
    widest = max(map(len, lines), default=0)
    group: list[str] = []
    for line in map(str.rstrip, lines):
        if not line:
            if group:
                yield "\n".join(group)
            group = []
            continue
        group.append(line)
        short = len(line) < 0.7 * widest
        if short and (_END.search(line) or len(group) == 1):
            yield "\n".join(group)
            group = []
    if group:
        yield "\n".join(group)


def _recognise(page: Any) -> str:
    width, height = page.get_size()
    scale = min(2.0, math.sqrt(MOST_PIXELS / max(width * height, 1.0)))
    return read_image.recognise(page.render(scale=scale).to_numpy())
