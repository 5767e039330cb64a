"""A page of a PDF as it is printed: the quoted words are marked where they stand, and nothing else is shown."""

import json
import os
import re
import signal
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
from browsing import Open, browsing, in_chromium, opening
from fpdf import FPDF
from serving import KEYS, Served, serving

from penstock.documents import printed, printer
from penstock.documents.catalog import DocumentRow, digest
from penstock.documents.printed import Asked, Printed
from penstock.documents.printer import Printer
from penstock.errors import NotFound, NotReady, Unreadable
from penstock.testing import WordEmbedder

LAMPS = "The lamp Aurora is made of recycled glass, which a workshop in Bergen melts and blows by hand every morning."
CHAIRS = "The chair Boreas carries a hundred and fifty kilograms when its screws have been tightened with the key."


def printed_page(file: Path, page: int, quote: str = "", **around: str) -> Printed:
    return printed.printed_page(Asked(str(file), page, quote, **around))


def made(path: Path, *pages: str, rotate: int = 0) -> Path:
    pdf = FPDF()
    pdf.set_font("Helvetica", size=14)
    for text in pages:
        pdf.add_page()
        if text:
            pdf.multi_cell(0, 9, text)
    path.write_bytes(bytes(pdf.output()))
    if rotate:
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


def test_a_huge_page_makes_no_huge_picture(tmp_path: Path):
    pdf = FPDF(unit="pt", format=(200, 14_000))
    pdf.add_page()
    (tmp_path / "x.pdf").write_bytes(bytes(pdf.output()))
    height, width, _ = pixels(printed_page(tmp_path / "x.pdf", 1).png).shape
    assert height * width <= printed.MOST_PIXELS * 1.01


def pdf_of(content: bytes, *forms: bytes, count: int = 1) -> bytes:
    """A PDF of one page, written by hand. forms: each may draw the one before it as /X; the page draws the last one."""
    parts: list[bytes] = [b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kind = b"<< /Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << /XObject << %s >> >> /Length %d >>"
    for form in forms:
        inner = b"/X %d 0 R" % len(parts) if len(parts) > 1 else b""
        parts.append(kind % (inner, len(form)) + b"\nstream\n" + form + b"\nendstream")
    drawn = b"/XObject << /X %d 0 R >>" % len(parts) if forms else b""
    parts.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    page = b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << /Font << /F 1 0 R >> %s >> >>"
    parts.append(page % (len(parts) + 2, len(parts), drawn))
    parts.append(b"<< /Type /Pages /Kids [%d 0 R] /Count %d >>" % (len(parts), count))
    parts.append(b"<< /Type /Catalog /Pages %d 0 R >>" % len(parts))
    data, places = b"%PDF-1.5\n", []
    for n, part in enumerate(parts, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (n, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer << /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(parts) + 1, len(parts), len(data))
    return data + b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1) + table + end


def endless(words: str) -> bytes:
    """Two kilobytes that take a minute to draw."""
    said = f"BT /F 12 Tf 50 700 Td ({words}) Tj ET /X Do".encode()
    return pdf_of(said, b"0 0 m 600 800 l S 0 0 600 800 re f " * 50, *[b"/X Do " * 8] * 3)


# ---------------------------------------------------------------- which words are meant


def test_of_a_sentence_that_stands_twice_the_one_that_is_meant_is_marked(tmp_path: Path):
    price, filler = "The price is ten euros.", "There is more to say of it. " * 30
    file = made(tmp_path / "x.pdf", f"Lamps. {price} {filler} Chairs. {price} {filler} {price}")
    first = printed_page(file, 1, price, before="Lamps. ", after=f" {filler}").marked
    second = printed_page(file, 1, price, before=f"{filler} Chairs. ", after=f" {filler}").marked
    third = printed_page(file, 1, price, before=f"{price} {filler} ").marked
    assert first is not None
    assert second is not None
    assert third is not None
    assert first < second < third


def test_a_row_that_stands_again_and_again_is_told_by_where_the_page_begins_and_ends(tmp_path: Path):
    file = made(tmp_path / "x.pdf", "\n".join(["100 kg"] * 5))
    rows = [
        printed_page(file, 1, "100 kg", before="100 kg\n" * n, after="\n100 kg" * (4 - n)).marked or 0 for n in range(5)
    ]
    assert rows == sorted(set(rows))


def test_a_short_quote_is_not_marked_inside_other_words(tmp_path: Path):
    file = made(tmp_path / "x.pdf", "The model T10 0 costs 1100 euros.\n\n\n\nIt weighs 100 grams.")
    where = marked(printed_page(file, 1, "100").png)
    alone = marked(printed_page(file, 1, "weighs 100 grams").png)
    assert where.any()
    assert not (where & ~alone).any()
    with pytest.raises(NotFound):
        printed_page(file, 1, "10")


@pytest.mark.parametrize("quote", ["ab" * 100_000, "a" * 200_000, "b" * 199_999 + "a", "a" * 100_000 + "b" * 100_000])
def test_a_long_quote_takes_no_longer_than_its_letters(quote: str):
    said = "a" * 200_000
    before = time.perf_counter()
    printed._found(said, set(), Asked("", 1, quote, before="a" * 2_000, after="a" * 2_000))
    assert time.perf_counter() - before < 2


def test_where_nothing_else_tells_the_words_of_a_page_have_to_be_those_of_the_document(tmp_path: Path):
    file = made(tmp_path / "x.pdf", LAMPS, "")
    assert printed_page(file, 1, indexed=f"Before.\n\n{LAMPS}\n\n{CHAIRS}").png
    for page, indexed in ((1, CHAIRS), (1, ""), (2, LAMPS)):
        with pytest.raises(NotFound, match="has changed"):
            printed_page(file, page, indexed=indexed)


def test_encrypted_files_and_pages_that_are_only_counted_say_so(tmp_path: Path):
    (tmp_path / "x.pdf").write_bytes(pdf_of(b"", count=7))
    with pytest.raises(NotFound, match=r"page 5 cannot be drawn|no page 5"):
        printed_page(tmp_path / "x.pdf", 5)
    pdf = FPDF()
    pdf.add_page()
    pdf.set_encryption(owner_password="owner", user_password="reader")
    (tmp_path / "y.pdf").write_bytes(bytes(pdf.output()))
    with pytest.raises(NotFound, match="encrypted"):
        printed_page(tmp_path / "y.pdf", 1)


# ---------------------------------------------------------------- in a process of its own


def row_of(file: Path, number: int = 1) -> DocumentRow:
    return DocumentRow(
        number, file.name, str(file), "", digest(file.read_bytes()), "", "application/pdf", "", "", (), {}, (), 0, 0, ""
    )


@contextmanager
def printing() -> Iterator[Callable[..., Printed]]:
    """Draws pages of files that nobody changed."""
    one = Printer()

    def page(file: Path, number: int = 1, text: str = "", **said: Any) -> Printed:
        known = row_of(file, hash(file.name))
        return one.page(known, text, number, **{"unchanged": lambda found: found == known.content, **said})

    page.printer = one  # type: ignore[attr-defined]
    try:
        yield page
    finally:
        one.close()


def process_of(page: Callable[..., Printed]) -> Any:
    return page.printer._process  # type: ignore[attr-defined]


def test_a_page_that_takes_too_long_is_given_up_and_the_next_one_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(printer, "LIMIT_S", 1.0)
    (tmp_path / "endless.pdf").write_bytes(endless("Lamps"))
    file = made(tmp_path / "x.pdf", LAMPS)
    with printing() as page:
        assert page(file).png
        first = process_of(page)
        for at_most in (3.0, 0.1):
            before = time.monotonic()
            with pytest.raises(Unreadable, match="takes longer than 1 s"):
                page(tmp_path / "endless.pdf")
            assert time.monotonic() - before < at_most, "and it is not tried again at once"
        assert first.returncode == -signal.SIGKILL, "no zombie is left"
        assert page(file, start=0, end=len(LAMPS), text=LAMPS).marked is not None
        last = process_of(page)
    assert last.returncode == -signal.SIGKILL


def test_whoever_comes_while_a_page_is_drawn_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(printer, "LIMIT_S", 2.0)
    (tmp_path / "endless.pdf").write_bytes(endless("Lamps"))
    file = made(tmp_path / "x.pdf", LAMPS)
    with printing() as page, ThreadPoolExecutor() as threads:
        page(file)
        long = threads.submit(page, tmp_path / "endless.pdf")
        time.sleep(0.3)
        before = time.monotonic()
        with pytest.raises(NotReady, match="another page is being drawn") as told:
            page(file, 1, LAMPS, start=0, end=3)
        assert told.value.retry_after_s > 0
        assert page(file).png, "what is kept needs no drawing"
        assert time.monotonic() - before < 0.2
        assert isinstance(long.exception(), Unreadable)


def test_a_process_that_dies_is_an_error_once_and_then_started_again(tmp_path: Path):
    files = [made(tmp_path / f"{n}.pdf", LAMPS) for n in range(3)]
    (tmp_path / "endless.pdf").write_bytes(endless("Lamps"))
    with printing() as page:
        page(files[0])
        os.kill(process_of(page).pid, signal.SIGKILL)
        process_of(page).wait()
        assert page(files[1]).png
        killing = threading.Timer(0.5, os.kill, (process_of(page).pid, signal.SIGKILL))
        killing.start()
        with pytest.raises(Unreadable, match="broke down"):
            page(tmp_path / "endless.pdf")
        assert page(files[2]).png


def test_a_file_that_was_replaced_is_not_shown(tmp_path: Path):
    file = made(tmp_path / "x.pdf", LAMPS)
    was = digest(file.read_bytes())
    with printing() as page:
        made(file, "The merger of tomorrow.")
        for _ in range(2):
            with pytest.raises(NotFound, match="has changed"):
                page(file, unchanged=lambda found: found == was)


def test_few_pages_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = made(tmp_path / "x.pdf", *[f"{n} {LAMPS}" for n in range(6)])
    with printing() as page:
        monkeypatch.setattr(printer, "CACHE_BYTES", 2 * len(page(file).png) + 2_000)
        for number in range(1, 7):
            page(file, number)
        kept = page.printer  # type: ignore[attr-defined]
        assert 1 <= len(kept._kept) <= 2
        assert kept._bytes == sum(len(one.png) for one in kept._kept.values()) <= printer.CACHE_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_draws_has_no_sockets_no_keys_and_ends_with_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody-may-see-this")
    (tmp_path / "endless.pdf").write_bytes(endless("Lamps"))
    file = made(tmp_path / "x.pdf", LAMPS)
    with printing() as page, ThreadPoolExecutor() as threads:
        page(file)
        process = process_of(page)
        of = Path(f"/proc/{process.pid}")
        assert not [one for one in (of / "fd").iterdir() if "socket" in os.readlink(one)]
        assert b"sk-nobody" not in (of / "environ").read_bytes()
        drawing = threads.submit(page, tmp_path / "endless.pdf")
        time.sleep(0.3)
        process.stdin.close()  # as when the server is killed
        assert process.wait(2) == 0
        assert drawing.exception()


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
@pytest.mark.parametrize(
    "words",
    [
        "הספרים ניתנים להחזרה בתוך שלושים יום מיום הקנייה",
        "يمكن إرجاع الكتب خلال ثلاثين يوما من الشراء",
        "The books of the shop can be returned",
    ],
)
def test_marks_are_even_whichever_way_the_words_run(browser: Any, tmp_path: Path, words: str):
    page = browser.new_page()
    page.set_content(f"<body style='font: 20px/1 DejaVu Sans'><p dir=auto>{words}</p><p dir=auto>{words}</p></body>")
    page.pdf(path=str(tmp_path / "x.pdf"))
    page.close()
    read = pypdfium2.PdfDocument(tmp_path / "x.pdf")[0].get_textpage().get_text_bounded()  # as pdfium orders letters
    picture = pixels(printed_page(tmp_path / "x.pdf", 1, read).png).astype(int)
    marks = (picture == (255, 226, 110)).all(axis=2)
    assert marks.any()
    assert (picture[(picture[:, :, 0] == 255) & ~marks] == 255).all(), "nothing is marked twice"
    assert (np.diff(np.flatnonzero(marks.any(axis=0))) == 1).all(), "and what is between words is marked too"


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


@in_chromium
def test_pages_are_turned_by_keyboard_and_a_page_that_fails_has_a_way_on(shop: Served, open_page: Open):
    page = open_page(shop.url, width=1280, refused=True)
    page.fill("#key-value", KEYS["clerk"])
    page.press("#key-value", "Enter")
    page.locator("#question:focus").wait_for()
    page.keyboard.type("How many kilograms does the chair Boreas carry?")
    page.keyboard.press("Enter")
    page.locator(".cite").first.click()
    page.get_by_alt_text("Page 3 as it is printed").wait_for()
    caption = page.locator(".page figcaption")
    caption.get_by_role("button", name="page 2").focus()
    page.keyboard.press("Enter")
    page.get_by_alt_text("Page 2 as it is printed").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "page 1"
    page.locator("#status", has_text="Page 2 as it is printed").wait_for(state="attached")
    page.keyboard.press("Enter")
    page.get_by_alt_text("Page 1 as it is printed").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "page 2", "the other button, as there is no page 0"
    page.route("**/pages/2*", lambda route: route.fulfill(status=404, body="{}"))
    page.keyboard.press("Enter")
    page.locator(".page .hint", has_text="The page cannot be shown, its text can.").wait_for()
    assert caption.locator("button:visible").all_text_contents() == ["page 1", "page 2", "page 3"]
    page.unroute_all()
    asked = []
    page.route(
        "**/pages/2*",
        lambda route: (asked.append(1), route.fulfill(status=503, body="{}") if len(asked) < 2 else route.continue_()),
    )
    caption.get_by_role("button", name="page 2").click()
    page.get_by_alt_text("Page 2 as it is printed").wait_for()
    assert len(asked) == 2, "a server that is busy is asked again"
    assert caption.locator("button:visible").all_text_contents() == ["page 1", "page 3"]


@in_chromium
def test_of_two_sources_the_one_that_was_opened_last_is_shown(shop: Served, open_page: Open):
    page = open_page(shop.url, width=1280)
    page.fill("#key-value", KEYS["clerk"])
    page.press("#key-value", "Enter")
    page.locator("#question:focus").wait_for()
    for question in ("How many kilograms does the chair Boreas carry?", "What is the lamp Aurora made of?"):
        page.locator("#question").fill(question)
        page.keyboard.press("Enter")
        page.locator(".answer:not(.waiting) .cite").nth(page.locator(".answer").count() - 1).wait_for()
    chairs, lamps = (
        page.locator(".answer").first.locator(".cite").first,
        page.locator(".answer").last.locator(".cite").first,
    )
    held: list[Any] = []

    def hold_first(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    for late in (re.compile(r"/documents/\d+$"), re.compile(r"/pages/3")):
        held.clear()
        page.route(late, hold_first)
        chairs.click()
        for _ in range(100):
            if held:
                break
            page.wait_for_timeout(20)
        lamps.click()
        page.get_by_alt_text("Page 2 as it is printed").wait_for()
        held[0].continue_()
        page.wait_for_timeout(700)
        assert "recycled glass" in page.locator("#source-text mark").inner_text(), late
        assert page.locator(".page img").get_attribute("alt") == "Page 2 as it is printed", late
        assert page.locator(".page").count() == 1
        assert lamps.get_attribute("aria-current") == "true"
        page.unroute_all()


def test_a_file_that_was_replaced_without_a_sync_is_shown_to_nobody(tmp_path: Path):
    (tmp_path / "catalogue").mkdir()
    file = made(tmp_path / "catalogue/x.pdf", LAMPS, CHAIRS)
    made(tmp_path / "catalogue/y.pdf", CHAIRS)
    was = file.read_bytes()
    with serving(tmp_path, '[documents.catalogue]\npaths = ["catalogue"]\n', embedder=WordEmbedder()) as served:
        client = served.client()
        path, other = (
            f"/api/collections/catalogue/documents/{one['id']}/pages/"
            for one in client.get("/api/collections/catalogue/documents").json()["documents"]
        )
        made(file, "The merger of tomorrow.", CHAIRS)
        replaced = [client.get(f"{path}{page}{query}") for page in (1, 2) for query in ("", "?start=0&end=9")]
        assert [one.status_code for one in replaced] == [404] * 4
        assert "has changed" in replaced[0].json()["error"]["message"]
        file.write_bytes(was)
        assert client.get(f"{path}1").status_code == 200
        home = served.house.library["catalogue"].home
        home.settings = {
            "catalogue": replace(home.settings["catalogue"], max_file_mb=7)
        }  # with it the digest would be another
        assert client.get(f"{other}1").status_code == 200
        made(tmp_path / "catalogue/y.pdf", "The merger of tomorrow.")
        served.house.printer._kept.clear()
        assert client.get(f"{other}1").status_code == 404


def test_readers_of_an_endless_page_hold_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(printer, "LIMIT_S", 2.0)
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue/endless.pdf").write_bytes(endless(LAMPS))
    made(tmp_path / "catalogue/x.pdf", CHAIRS)
    with serving(tmp_path, '[documents.catalogue]\npaths = ["catalogue"]\n', embedder=WordEmbedder()) as served:
        client = served.client()
        ids = {
            one["source"]: one["id"] for one in client.get("/api/collections/catalogue/documents").json()["documents"]
        }
        path = f"/api/collections/catalogue/documents/{ids['endless.pdf']}/pages/1"
        with ThreadPoolExecutor(24) as threads:
            asked = [threads.submit(client.get, path) for _ in range(24)]
            time.sleep(0.5)
            before = time.monotonic()
            assert client.get(f"/api/collections/catalogue/documents/{ids['x.pdf']}").status_code == 200
            assert time.monotonic() - before < 1
            answers = [one.result() for one in asked]
        assert sorted(one.status_code for one in answers) == [422] + [503] * 23
        busy = next(one for one in answers if one.status_code == 503)
        assert busy.headers["retry-after"] == "1"
        assert busy.json()["error"]["message"] == "another page is being drawn"
        process = served.house.printer._process
    assert process is None


def test_a_file_that_is_added_tells_which_page_is_read(shop: Served, tmp_path: Path):
    data = made(tmp_path / "long.pdf", *[f"Page {n} speaks of lamp {n}." for n in range(1, 31)]).read_bytes()
    path, headers = "/api/collections/catalogue/documents?name=long.pdf", {"accept": "application/x-ndjson"}
    reply = shop.client(KEYS["boss"]).post(path, content=data, headers=headers)
    steps = [json.loads(line) for line in reply.text.splitlines()]
    read = [(step["page"], step["pages"]) for step in steps if step["step"] == "reading" and "page" in step]
    assert (read[0], read[-1]) == ((1, 30), (30, 30))
    assert (steps[-1]["step"], steps[-1]["added"]) == ("done", ["long.pdf"])
