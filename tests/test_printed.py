"""A page of a PDF as it is printed: the quoted words are marked where they stand, and nothing else is shown."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import Open, browsing, in_chromium, opening
from fpdf import FPDF
from serving import KEYS, Served, serving

from penstock.documents import printed, read_pdf
from penstock.documents.printed import printed_page
from penstock.errors import NotFound, NotReady
from penstock.testing import WordEmbedder

LAMPS = "The lamp Aurora is made of recycled glass, which a workshop in Bergen melts and blows by hand every morning."
CHAIRS = "The chair Boreas carries a hundred and fifty kilograms when its screws have been tightened with the key."


def made(path: Path, *pages: str, rotate: int = 0) -> Path:
    pdf = FPDF()
    pdf.set_font("Helvetica", size=14)
    for text in pages:
        pdf.add_page()
        if text:
            pdf.multi_cell(0, 9, text)
    path.write_bytes(bytes(pdf.output()))
    if rotate:
        import pypdfium2

        found = pypdfium2.PdfDocument(path)
        for page in found:
            page.set_rotation(rotate)
        turned = path.with_name(f"turned-{path.name}")
        found.save(turned)
        return turned
    return path


def pixels(png: bytes) -> Any:
    """(height, width, 3) of a picture in the one form that is written."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, data, size = 8, b"", (0, 0)
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        part = png[place + 8 : place + 8 + length]
        assert zlib.crc32(kind + part) == struct.unpack(">I", png[place + 8 + length : place + 12 + length])[0]
        if kind == b"IHDR":
            size = struct.unpack(">II", part[:8])
        data += part if kind == b"IDAT" else b""
        place += 12 + length
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(size[1], size[0] * 3 + 1)
    assert set(rows[:, 0]) == {2}
    return np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).reshape(size[1], size[0], 3)


def marked(png: bytes) -> Any:
    """Which pixels are marked."""
    picture = pixels(png).astype(int)
    return (picture[:, :, 0] > 200) & (picture[:, :, 2] < 140)


def test_the_quoted_words_are_marked_over_the_ends_of_lines(tmp_path: Path):
    file = made(tmp_path / "lamps.pdf", f"Before it there is this.\n\n{LAMPS}\n\nAnd after it there is that.", CHAIRS)
    found = printed_page(file, 1, LAMPS)
    where = marked(found.png)
    rows = np.flatnonzero(where.any(axis=1))
    lines = np.split(rows, np.flatnonzero(np.diff(rows) > 3) + 1)
    assert len(lines) == 2
    assert found.marked == pytest.approx(rows[0] / len(where), abs=0.01)
    assert where[lines[0]].any(axis=0).sum() > where.shape[1] / 2, "the first line is marked to its end"
    picture = pixels(found.png)
    assert (picture[where].max(axis=-1) < 90).any() or (picture.min() < 90), "what is written stays black"
    assert printed_page(file, 1).marked is None
    assert not marked(printed_page(file, 1).png).any()


def test_a_hyphen_and_other_spaces_do_not_hide_a_quote(tmp_path: Path):
    file = made(tmp_path / "x.pdf", LAMPS.replace("recycled", "recy-\ncled").replace("Bergen melts", "Bergen\nmelts"))
    assert marked(printed_page(file, 1, LAMPS).png).any()


def test_a_quote_that_goes_over_the_end_of_a_page_is_marked_on_both(tmp_path: Path):
    file = made(tmp_path / "x.pdf", f"First. {LAMPS[:60]}", f"{LAMPS[60:]} Then more.")
    for page in (1, 2):
        assert marked(printed_page(file, page, LAMPS).png).any(), page


@pytest.mark.parametrize("rotate", [90, 180, 270])
def test_a_page_that_is_turned_is_marked_where_the_words_are(tmp_path: Path, rotate: int):
    file = made(tmp_path / "x.pdf", f"{LAMPS}\n\n{CHAIRS}", rotate=rotate)
    where = marked(printed_page(file, 1, LAMPS).png)
    assert where.any()
    middle = np.argwhere(where).mean(axis=0) / where.shape
    expected = {90: middle[1] > 0.8, 180: middle[0] > 0.8, 270: middle[1] < 0.2}
    assert expected[rotate], middle


def test_a_scan_is_shown_without_a_mark(tmp_path: Path):
    assert printed_page(made(tmp_path / "x.pdf", ""), 1, LAMPS).marked is None


def test_a_file_that_changed_is_gone_or_is_none_is_not_shown(tmp_path: Path):
    file = made(tmp_path / "x.pdf", LAMPS)
    for page, quote in ((0, ""), (2, ""), (10**8, ""), (1, CHAIRS), (1, "!!")):
        with pytest.raises(NotFound):
            printed_page(file, page, quote)
    (tmp_path / "y.pdf").write_bytes(b"%PDF-1.7 broken")
    (tmp_path / "z.txt").write_text("text")
    for name in ("y.pdf", "z.txt", "none.pdf"):
        with pytest.raises(NotFound):
            printed_page(tmp_path / name, 1)


def test_nobody_waits_for_a_long_file_that_is_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = made(tmp_path / "x.pdf", LAMPS)
    monkeypatch.setattr(printed, "PATIENCE_S", 0.05)
    with read_pdf.pdfium(), pytest.raises(NotReady):
        printed_page(file, 1)
    assert printed_page(file, 1).png


def test_a_huge_page_makes_no_huge_picture(tmp_path: Path):
    pdf = FPDF(unit="pt", format=(200, 14_000))
    pdf.add_page()
    (tmp_path / "x.pdf").write_bytes(bytes(pdf.output()))
    height, width, _ = pixels(printed_page(tmp_path / "x.pdf", 1).png).shape
    assert height * width <= printed.MOST_PIXELS * 1.01


# ---------------------------------------------------------------- where people see it


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "catalogue").mkdir()
    made(folder / "catalogue/chairs.pdf", "Contents", f"Introduction. {LAMPS}", f"More. {CHAIRS}")
    made(folder / "catalogue/secret.pdf", "Nobody may know that the desk Zephyr is delayed until the spring of 2031.")
    toml = f"""
[documents.catalogue]
paths = ["catalogue"]
[[documents.catalogue.rules]]
match = "secret*"
access = ["hr"]
[keys.boss]
key = "{KEYS["boss"]}"
roles = ["hr"]
admin = true
[keys.clerk]
key = "{KEYS["clerk"]}"
"""
    with serving(folder, toml, embedder=WordEmbedder()) as served:
        yield served


def test_pages_are_for_those_who_may_read_the_document(shop: Served):
    boss, clerk = shop.client(KEYS["boss"]), shop.client(KEYS["clerk"])
    ids = {d["source"]: d["id"] for d in boss.get("/api/collections/catalogue/documents").json()["documents"]}
    path = "/api/collections/catalogue/documents/{}/pages/{}"
    seen = clerk.get(path.format(ids["chairs.pdf"], 2))
    assert (seen.status_code, seen.headers["content-type"]) == (200, "image/png")
    assert boss.get(path.format(ids["secret.pdf"], 1)).status_code == 200
    assert clerk.get(path.format(ids["secret.pdf"], 1)).status_code == 404
    assert shop.client().get(path.format(ids["chairs.pdf"], 2)).status_code == 401
    for page, query, status in (("0", "", 404), ("9", "", 404), ("x", "", 400), ("-1", "", 400), ("2", "?start=x", 400),
                                ("2", "?start=9999999999", 400), ("2", "?start=5&end=2", 200)):  # fmt: skip
        assert clerk.get(path.format(ids["chairs.pdf"], page) + query).status_code == status, (page, query)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as running:
        yield running


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    with opening(browser) as opened:
        yield opened


@in_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_a_citation_opens_the_printed_page_at_the_marked_words(shop: Served, open_page: Open, width: int):
    page = open_page(shop.url, width=width)
    page.fill("#key-value", KEYS["clerk"])
    page.press("#key-value", "Enter")
    page.locator("#question:focus").wait_for()
    page.keyboard.type("How many kilograms does the chair Boreas carry?")
    page.keyboard.press("Enter")
    page.locator(".cite").first.click()
    picture = page.get_by_alt_text("Page \u20683\u2069 as it is printed").or_(
        page.get_by_alt_text("Page 3 as it is printed")
    )
    picture.wait_for()
    assert picture.evaluate("(image) => image.naturalWidth") == printed.WIDTH
    assert "kilograms" in page.locator("#source-text mark").inner_text()
    page.locator(".page").get_by_role("button", name="page 2").click()
    page.get_by_alt_text("Page 2 as it is printed").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
