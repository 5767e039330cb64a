"""Scanned pages and pictures, where the extra `ocr` is installed."""

import io
import sys

import pytest
from fpdf import FPDF

from penstock.documents.draft import Limits, Raw
from penstock.documents.read_image import _engine
from penstock.documents.reading import read
from penstock.errors import MissingExtra, Unreadable
from penstock.types import Document

pytest.importorskip("rapidocr", reason="needs the extra `ocr`")

from PIL import Image

LINES = ("Books can be returned", "within thirty days", "Order number 48213")


def page(*lines: str) -> FPDF:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=24)
    for line in lines:
        pdf.cell(0, 16, line, new_x="LMARGIN", new_y="NEXT")
    return pdf


def picture(*lines: str) -> Image.Image:
    """What a scanner would give of that page."""
    import pypdfium2

    image = pypdfium2.PdfDocument(bytes(page(*lines).output()))[0].render(scale=2).to_pil()
    return image.crop((0, 0, image.width, image.height // 4))


def as_bytes(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def scanned_pdf(*lines: str, before: str = "") -> bytes:
    pdf = page(before) if before else FPDF()
    pdf.add_page()
    pdf.image(picture(*lines), w=180)
    return bytes(pdf.output())


def one(name: str, data: bytes, limits: Limits | None = None) -> Document:
    (document,) = read(Raw(name, data, limits or Limits()))
    assert isinstance(document, Document)
    return document


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_of_text_is_read(kind: str):
    document = one(f"scan.{kind.replace('jpeg', 'jpg')}", as_bytes(picture(*LINES), kind))

    for line in LINES:
        assert line in document.text


def test_a_scanned_page_among_others_is_read_in_its_place():
    document = one("mixed.pdf", scanned_pdf(*LINES, before="This page has text of its own."))

    assert document.text.index("of its own") < document.text.index("within thirty days")
    assert {block.page for block in document.blocks if "thirty" in document.text[block.start : block.end]} == {2}


def test_scans_are_left_out_where_the_settings_say_so():
    with pytest.raises(Unreadable, match="no text on any of its pages"):
        one("scan.pdf", scanned_pdf(*LINES), Limits(ocr=False))


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n broken", b"GIF89a", as_bytes(Image.new("RGB", (40, 40), "white"), "png")]
)
def test_a_picture_that_is_none_or_holds_no_text_says_so(data: bytes):
    with pytest.raises(Unreadable, match=r"scan\.png"):
        one("scan.png", data)


def test_without_the_extra_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    _engine.cache_clear()
    try:
        with pytest.raises(MissingExtra) as refused:
            one("scan.png", as_bytes(picture(*LINES), "png"))
        assert refused.value.hint == "pip install 'penstock[ocr]'"
    finally:
        _engine.cache_clear()
