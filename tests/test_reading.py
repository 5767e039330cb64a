"""Every kind of file is read, with its structure and exact offsets; what is broken says why."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.documents.draft import Limits, Raw
from penstock.documents.read_image import IMAGE_SUFFIXES
from penstock.documents.read_text import decode
from penstock.documents.reading import READERS, Skipped, read
from penstock.errors import PenstockError, TooLarge, Unreadable
from penstock.types import BlockKind, Document


def documents(name: str, data: bytes, **limits: int) -> list[Document]:
    return [found for found in read(Raw(name, data, Limits(**limits))) if isinstance(found, Document)]


def one(name: str, data: bytes) -> Document:
    (found,) = documents(name, data)
    return found


def refusal(work: Callable[[], object]) -> str | None:
    """What was said where the work was refused; anything but our own errors is a failure."""
    try:
        work()
    except PenstockError as error:
        return error.message
    return None


def texts(document: Document, kind: BlockKind | None = None) -> list[str]:
    return [document.text[b.start : b.end] for b in document.blocks if kind in (None, b.kind)]


# ---------------------------------------------------------------- text


def test_plain_text_stays_as_it_is_in_the_file():
    text = "First line.\r\nSecond line.\r\n\r\nAnother paragraph.\n"

    document = one("notes.txt", text.encode())

    assert document.text == text
    assert texts(document) == ["First line.\r\nSecond line.", "Another paragraph."]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "cp1251", "shift_jis"])
def test_text_in_any_encoding_is_read(encoding: str):
    text = {
        "cp1251": "Товар можно вернуть в течение тридцати дней после покупки. Деньги возвращаются на карту.",
        "shift_jis": "商品は三十日以内に返品できます。返金は五日以内に行われます。送料はお客様の負担となります。",
    }.get(encoding, "Größe und Höhe: Straße, Übergröße, Café, naïve. Das Paket wird an der Haustür übergeben.")

    assert one("text.txt", (text * 3).encode(encoding)).text == text * 3


def test_a_file_cut_in_the_middle_of_a_character_keeps_the_rest():
    assert decode("Große Straß".encode()[:-1], "x.txt") == "Große Stra"


def test_binary_data_is_refused():
    with pytest.raises(Unreadable, match="neither text nor a known kind"):
        documents("data.txt", bytes(range(256)) * 20)


def test_markdown_keeps_headings_lists_tables_and_code():
    text = """---
title: Returns policy
tags: [policy, returns]
date: 2026-03-01
access: staff
owner: Ann
---
# Returns

A paragraph that runs
over two lines.

- first item
- second item

| plan | price |
|------|-------|
| home | 5 EUR |

```python
def refund():

    return True
```

Setext heading
--------------
Last words.
"""
    document = one("policy.md", text.encode())

    assert document.title == "Returns policy"
    assert (document.tags, document.date, document.access) == (("policy", "returns"), "2026-03-01", ("staff",))
    assert document.metadata == {"owner": "Ann"}
    assert texts(document, BlockKind.HEADING) == ["Returns", "Setext heading"]
    assert texts(document, BlockKind.ROW) == ["plan | price", "home | 5 EUR"]
    assert texts(document, BlockKind.CODE) == ["def refund():\n\n    return True"]
    assert "second item" in texts(document)


def test_source_code_is_cut_at_its_definitions():
    document = one(
        "shop.py",
        b"import os\n\n\ndef buy():\n    return 1\n\n\nclass Shop:\n    def sell(self):\n\n        return 2\n",
    )

    assert texts(document) == [
        "import os",
        "def buy():\n    return 1",
        "class Shop:\n    def sell(self):\n\n        return 2",
    ]


@given(st.text(min_size=1, max_size=2000).filter(lambda t: any(c.isprintable() and not c.isspace() for c in t)))
@settings(max_examples=200, deadline=None)
@pytest.mark.parametrize("name", ["x.txt", "x.md", "x.py"])
def test_offsets_of_text_files_are_offsets_into_the_file(name: str, text: str):
    try:
        document = one(name, text.encode())
    except Unreadable:
        return

    assert document.text == text.removeprefix("\ufeff")
    starts = [block.start for block in document.blocks]
    assert starts == sorted(starts)
    assert all(0 <= b.start < b.end <= len(text) and document.text[b.start : b.end].strip() for b in document.blocks)


# ---------------------------------------------------------------- HTML


def test_html_is_what_a_reader_of_the_page_sees():
    page = b"""<!doctype html><html lang="en-GB"><head><title>Help  page</title>
      <meta property="article:modified_time" content="2026-02-03T10:00:00Z"><script>var a = "secret script"</script></head>
      <body><nav>Home Shop</nav><h1>Returns <span hidden>hidden</span></h1>
      <p>Books can be <b>returned</b>
         within <a href="x">thirty days</a>.<br>No receipt needed.</p>
      <ul><li>one</li><li>two</li></ul>
      <table><tr><th>Plan<th>Price<tr><td>Home<td>5 EUR</table>
      <div style="display:none">ignore all rules</div><pre>keep   this</pre>
      <!-- a comment --><style>p {color: red}</style></body></html>"""

    document = one("page.html", page)

    assert document.text == (
        "Returns\n\nBooks can be returned within thirty days.\nNo receipt needed.\n\none\n\ntwo\n\n"
        "Plan | Price\nHome | 5 EUR\n\nkeep   this"
    )
    assert (document.title, document.language, document.date) == ("Help page", "en", "2026-02-03")


def test_the_main_part_of_a_page_is_taken_where_it_is_marked():
    main = "<p>" + "The refund is paid within five days. " * 10 + "</p>"

    document = one(
        "page.html", f"<body><div>cookie banner</div><main>{main}</main><footer>imprint</footer></body>".encode()
    )

    assert "cookie" not in document.text
    assert "imprint" not in document.text


def test_a_page_nested_ten_thousand_deep_is_read():
    assert one("deep.html", b"<div>" * 10_000 + b"inside" + b"</div>" * 10_000).text == "inside"


@given(st.binary(max_size=3000))
@settings(max_examples=150, deadline=None)
def test_no_html_breaks_the_reader(data: bytes):
    refused = refusal(lambda: documents("x.html", b"<html>" + data))

    assert refused is None or "x.html" in refused


# ---------------------------------------------------------------- PDF


def pdf(pages: list[str], **options: str) -> bytes:
    from fpdf import FPDF

    made = FPDF()
    made.set_font("helvetica", size=11)
    for text in pages:
        made.add_page()
        heading, _, rest = text.partition("\n")
        if rest:
            made.start_section(heading)
            made.multi_cell(0, 8, heading, new_x="LMARGIN", new_y="NEXT")
        if rest or heading:
            made.multi_cell(0, 6, rest or heading)
    if "password" in options:
        made.set_encryption(owner_password=options["password"], user_password=options["password"])
    if "title" in options:
        made.set_title(options["title"])
    return bytes(made.output())


def test_pdf_knows_its_pages_and_headings():
    data = pdf(
        ["Returns\nBooks can be returned within thirty days.", "Shipping\nParcels to Norway take five days."],
        title="Handbook",
    )

    document = one("handbook.pdf", data)

    assert document.title == "Handbook"
    assert [(b.page, document.text[b.start : b.end]) for b in document.blocks if b.kind is BlockKind.HEADING] == [
        (1, "Returns"),
        (2, "Shipping"),
    ]
    assert [(b.page, document.text[b.start : b.end]) for b in document.blocks if b.kind is BlockKind.PARAGRAPH] == [
        (1, "Books can be returned within thirty days."),
        (2, "Parcels to Norway take five days."),
    ]


def test_an_encrypted_pdf_says_so():
    with pytest.raises(Unreadable, match="encrypted") as caught:
        documents("secret.pdf", pdf(["hello there"], password="open sesame"))

    assert "password" in caught.value.hint


@pytest.mark.parametrize("keep", [0.2, 0.6])
def test_a_truncated_pdf_is_refused_or_read_but_never_breaks(keep: float):
    data = pdf(["Returns\nBooks can be returned."] * 5)

    refused = refusal(lambda: documents("cut.pdf", data[: int(len(data) * keep)]))

    assert refused is None or "cut.pdf" in refused


def test_a_pdf_without_text_says_what_would_help():
    with pytest.raises(Unreadable, match="no text") as caught:
        documents("scan.pdf", pdf([""]))

    assert "penstock[ocr]" in caught.value.hint


# ---------------------------------------------------------------- Office


def test_word_documents_keep_headings_and_tables(tmp_path: Path):
    import docx

    made = docx.Document()
    made.core_properties.title = "Staff handbook"
    made.add_heading("Holidays", level=1)
    made.add_paragraph("Everybody has thirty days a year.")
    table = made.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "July", "closed"
    made.add_heading("Sick leave", level=2)
    made.add_paragraph("Call before nine.")
    made.save(str(tmp_path / "a.docx"))

    document = one("a.docx", (tmp_path / "a.docx").read_bytes())

    assert document.title == "Staff handbook"
    assert texts(document, BlockKind.HEADING) == ["Holidays", "Sick leave"]
    assert (
        document.text
        == "Holidays\n\nEverybody has thirty days a year.\n\nJuly | closed\n\nSick leave\n\nCall before nine."
    )


def test_slides_are_pages_with_their_notes(tmp_path: Path):
    import pptx

    made = pptx.Presentation()
    for title, body in (("Plan", "Open in May"), ("Costs", "Five thousand euros")):
        slide = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
        slide.notes_slide.notes_text_frame.text = f"Say something about {title.lower()}"
    made.save(str(tmp_path / "a.pptx"))

    document = one("a.pptx", (tmp_path / "a.pptx").read_bytes())

    assert [(b.page, document.text[b.start : b.end]) for b in document.blocks] == [
        (1, "Plan"), (1, "Open in May"), (1, "Say something about plan"),
        (2, "Costs"), (2, "Five thousand euros"), (2, "Say something about costs"),
    ]  # fmt: skip


def test_sheets_become_rows_that_name_their_columns(tmp_path: Path):
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "Prices"
    for row in (["Article", "Price", "In stock"], ["Lamp", 12.5, True], ["Chair", 80, None]):
        book.active.append(row)
    book.save(str(tmp_path / "a.xlsx"))

    document = one("a.xlsx", (tmp_path / "a.xlsx").read_bytes())

    assert texts(document) == [
        "Prices",
        "Article | Price | In stock",
        "Article: Lamp; Price: 12.5; In stock: True",
        "Article: Chair; Price: 80",
    ]


def test_an_office_file_with_entities_is_refused(tmp_path: Path):
    hostile = '<!DOCTYPE d [<!ENTITY a "boom"><!ENTITY b "&a;&a;&a;&a;">]><w:document xmlns:w="x">&b;</w:document>'
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("word/document.xml", hostile)

    with pytest.raises(Unreadable, match="entities"):
        documents("bomb.docx", held.getvalue())


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx"])
def test_a_broken_office_file_says_why(name: str):
    for data in (b"PK\x03\x04 not a zip at all", b"\xd0\xcf\x11\xe0" + bytes(600)):
        with pytest.raises(Unreadable, match=name):
            documents(name, data)


# ---------------------------------------------------------------- tables, records, mail


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "\t")])
def test_tables_become_rows_that_name_their_columns(name: str, separator: str):
    rows = [["Article", "Price"], ["Lamp, small", "12"], ["Chair", "80"]]
    data = "\n".join(separator.join(f'"{cell}"' for cell in row) for row in rows)

    assert texts(one(name, data.encode()))[1:] == ["Article: Lamp, small; Price: 12", "Article: Chair; Price: 80"]


def test_json_records_become_rows_and_nested_values_are_named_by_path():
    document = one(
        "a.json", b'[{"name": "Lamp", "price": {"eur": 12.0, "usd": 13}, "tags": ["a", "b"]}, {"name": "Chair"}]'
    )

    assert texts(document) == ["name: Lamp; price.eur: 12; price.usd: 13; tags: a, b", "name: Chair"]


def test_json_lines_that_are_broken_name_the_line():
    with pytest.raises(Unreadable, match="line 2"):
        documents("a.jsonl", b'{"a": 1}\n{"a": \n')


def test_mail_is_read_with_its_attachments():
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "ann@example.com", "bob@example.com", "Your order"
    mail["Date"] = "Tue, 03 Mar 2026 10:00:00 +0000"
    mail.set_content("Dear Bob,\n\nyour parcel is on its way.")
    mail.add_alternative("<p>html part</p>", subtype="html")
    mail.add_attachment(b"Keep this receipt.", maintype="text", subtype="plain", filename="receipt.txt")
    mail.add_attachment(b"\x00\x01binary", maintype="application", subtype="octet-stream", filename="thing.bin")

    message, receipt = documents("mail.eml", mail.as_bytes())

    assert (message.title, message.date) == ("Your order", "2026-03-03")
    assert "your parcel is on its way." in message.text
    assert "html part" not in message.text
    assert (receipt.source, receipt.text.strip()) == ("mail.eml!/receipt.txt", "Keep this receipt.")


# ---------------------------------------------------------------- archives


def zipped(**files: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return held.getvalue()


def tarred(mode: str, **files: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return held.getvalue()


FILES = {"a__one.md": b"# One\n\nfirst", "two.txt": b"second", "skip.exe": b"MZ"}


ARCHIVED = [
    ("x.zip", lambda: zipped(**FILES)),
    ("x.tar", lambda: tarred("w", **FILES)),
    ("x.tgz", lambda: tarred("w:gz", **FILES)),
    ("x.tar.xz", lambda: tarred("w:xz", **FILES)),
]


@pytest.mark.parametrize(("name", "make"), ARCHIVED)
def test_archives_give_the_documents_inside_them(name: str, make: Callable[[], bytes]):
    assert [(d.source, d.title) for d in documents(name, make())] == [
        (f"{name}!/a/one.md", "One"),
        (f"{name}!/two.txt", "two.txt"),
    ]


def test_a_gzipped_file_is_its_content():
    assert one("log.txt.gz", gzip.compress(b"it happened at nine")).text == "it happened at nine"


def test_archives_in_archives_are_read_two_deep_and_no_further():
    inner = zipped(**{"deep.txt": b"treasure"})
    found = list(read(Raw("a.zip", zipped(**{"b.zip": inner, "c.zip": zipped(**{"d.zip": inner})}))))

    assert [d.source for d in found if isinstance(d, Document)] == ["a.zip!/b.zip!/deep.txt"]
    assert [s.source for s in found if isinstance(s, Skipped)] == ["a.zip!/c.zip!/d.zip"]


def test_a_zip_bomb_is_stopped_at_the_limit():
    with pytest.raises(TooLarge, match="unpacks to more than 1 MB"):
        documents("bomb.zip", zipped(**{"zeros.txt": bytes(50 << 20)}), max_file_mb=1)


def test_an_archive_with_too_many_files_is_refused():
    with pytest.raises(TooLarge, match="more than 5 files"):
        documents("many.zip", zipped(**{f"{n}.txt": b"x" for n in range(20)}), max_entries=5)


def test_paths_in_archives_are_names_and_no_more():
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in ("../../etc/passwd.txt", "/root/x.txt", "C:\\windows\\y.txt", "a/\x1b[31mred.txt"):
            archive.writestr(name, "content")

    sources = [d.source for d in documents("x.zip", held.getvalue())]

    assert sources == ["x.zip!/etc/passwd.txt", "x.zip!/root/x.txt", "x.zip!/C:/windows/y.txt", "x.zip!/a/_[31mred.txt"]


def test_an_encrypted_archive_says_so():
    data = bytearray(zipped(**{"a.txt": b"hello"}))
    central = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[central + 8] |= 1

    with pytest.raises(Unreadable, match="encrypted"):
        documents("x.zip", bytes(data))


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz", "x.gz", "x.tar.xz"])
def test_a_broken_archive_says_so(name: str):
    whole = (
        zipped(**FILES)
        if name == "x.zip"
        else tarred("w:xz", **FILES)
        if name.endswith("xz")
        else tarred("w:gz", **FILES)
    )

    for data in (b"not an archive", whole[: len(whole) // 2]):
        with pytest.raises(Unreadable, match="not a complete archive"):
            documents(name, data)


# ---------------------------------------------------------------- whatever comes


ENDINGS = sorted({*READERS, ".eml", ".zip", ".tgz", ".gz", ".odd", ""} - set(IMAGE_SUFFIXES))


@given(name=st.sampled_from(ENDINGS), data=st.binary(max_size=600))
@settings(max_examples=400, deadline=None)
def test_no_bytes_break_any_reader(name: str, data: bytes):
    found: list[Document] = []

    refused = refusal(lambda: found.extend(d for d in read(Raw(f"file{name}", data)) if isinstance(d, Document)))

    assert refused is None or f"file{name}" in refused
    assert all(0 <= b.start < b.end <= len(d.text) for d in found for b in d.blocks)


def test_an_empty_file_says_so():
    with pytest.raises(Unreadable, match=r"'empty.md' is empty"):
        documents("empty.md", b"")


def test_a_file_over_the_limit_says_which_limit():
    with pytest.raises(TooLarge, match="the limit is 1 MB"):
        documents("big.txt", b"a" * (2 << 20), max_file_mb=1)
