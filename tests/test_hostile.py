"""Files made to exhaust memory or time, and files that libraries trip over: refused or read, and never the end of a sync."""

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import MakeLibrary
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.documents.draft import Limits, Raw
from penstock.documents.followup import understood
from penstock.documents.library import Library
from penstock.documents.reading import read
from penstock.documents.split import split
from penstock.errors import PenstockError, TooLarge, Unreadable
from penstock.types import Document, Message

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
S = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
P = "http://schemas.openxmlformats.org/package/2006"
O = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"  # noqa: E741


def zipped(**parts: str | bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name.replace("__", "/").replace("_DOT_", "."), data)
    return buffer.getvalue()


def docx(body: str | bytes) -> bytes:
    return zipped(word__document_DOT_xml=body)


def xlsx(cells: str) -> bytes:
    link = f'<Relationships xmlns="{P}/relationships"><Relationship Id="a" Type="{O}/%s" Target="%s"/></Relationships>'
    sheets = '<sheets><sheet name="s" sheetId="1" r:id="a"/></sheets>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{P}/content-types"/>',
        "_rels/.rels": link % ("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook xmlns="{S}" xmlns:r="{O}">{sheets}</workbook>',
        "xl/_rels/workbook.xml.rels": link % ("worksheet", "worksheets/sheet1.xml"),
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{S}"><sheetData>{cells}</sheetData></worksheet>',
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def documents(name: str, data: bytes) -> list[Document]:
    return [found for found in read(Raw(name, data)) if isinstance(found, Document)]


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("last", ["XFD1048576", "BZZ60000"])
def test_two_cells_far_apart_are_not_a_sheet_of_billions(last: str):
    row = last.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    data = xlsx(f'<row r="1"><c r="A1"><v>1</v></c></row><row r="{row}"><c r="{last}"><v>2</v></c></row>')

    with pytest.raises(TooLarge, match="has a sheet of"):
        documents("far.xlsx", data)


def test_an_ordinary_sheet_is_read_as_before():
    assert "7" in documents("near.xlsx", xlsx('<row r="1"><c r="A1"><v>7</v></c></row>'))[0].text


def test_a_word_file_of_nothing_but_paragraphs_is_refused():
    with pytest.raises(TooLarge, match="of more than 32 MB"):
        documents("much.docx", docx(f"<w:document {W}><w:body>{'<w:p/>' * 6_000_000}</w:body></w:document>"))


def test_tables_in_tables_are_read_once():
    cell = "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>x</w:t></w:r></w:p>"
    body = cell * 200 + "</w:tc></w:tr></w:tbl>" * 200

    (document,) = documents("nested.docx", docx(f"<w:document {W}><w:body>{body}</w:body></w:document>"))

    assert document.text.count("x") == 200


def test_a_long_name_over_many_values_is_shortened():
    value = {"k" * 100_000: {str(n): 1 for n in range(2_000)}}

    assert len(documents("long.json", json.dumps(value).encode())[0].text) < 1_000_000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_wherever_they_are_declared(encoding: str):
    body = (
        f'<?xml version="1.0" encoding="{encoding}"?><!--{"x" * 3000}--><!DOCTYPE d [<!ENTITY a "expanded">]>'
        f"<w:document {W}><w:body><w:p><w:r><w:t>&a;</w:t></w:r></w:p></w:body></w:document>"
    )

    with pytest.raises(Unreadable, match="document type declaration"):
        documents("entity.docx", docx(body.encode(encoding)))


# ---------------------------------------------------------------- time: quadratic work would not end


BIG = [
    ("heading.md", lambda: b"# a" + b" " * 1_000_000 + b"b"),
    ("hashes.md", lambda: b"# a" + b"#" * 1_000_000 + b"b"),
    ("numbers.txt", lambda: b"1! " * 300_000),
    ("dots.txt", lambda: b". " * 300_000),
    ("kana.txt", lambda: "あ。".encode() * 100_000),
    ("marked.html", lambda: b"<article>x" * 10_000),
    ("deep.html", lambda: b"<div>" * 200_000 + b"x"),
    ("spans.html", lambda: b"<h1>" + b"<span>" * 100_000 + b"x"),
    ("spaces.csv", lambda: b"a,b\n" + b" " * 1_000_000),
    ("front.md", lambda: b"---\n" + b"a: b\n" * 100_000 + b"text"),
]


@pytest.mark.parametrize(("name", "make"), BIG, ids=[name for name, _ in BIG])
def test_a_large_file_of_one_thing_takes_no_more_than_its_length(name: str, make: Callable[[], bytes]):
    with suppress(PenstockError):
        for document in documents(name, make()):
            assert split(document)


@pytest.mark.parametrize(
    "text", ["how long for x" + " " * 100_000 + "y", "for " * 50_000, "(" * 100_000, "A " * 100_000]
)
def test_a_long_message_is_understood_at_once(text: str):
    history = [Message("user", text), Message("assistant", text)]

    assert understood("and for y?", history).question


# ---------------------------------------------------------------- what libraries trip over


MAILS = [
    b"To: a@[",
    b'To: "',
    b"To: <",
    b"From: a <",
    b"To: " + b"(" * 5_000,
    b"Content-Type: text/plain; charset=a\x00b",
]


@pytest.mark.parametrize("header", MAILS)
def test_an_odd_mail_does_not_stop_the_others(library: Library, tmp_path: Path, header: bytes):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "odd.eml").write_bytes(header + b"\nX: y\n\nbody")
    (folder / "good.txt").write_text("The shop opens at nine.")

    library.create("mail").add([str(folder)])

    assert "good.txt" in [row.source for row in library["mail"].documents()]


@given(cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_damaged_archive_is_read_or_refused(cut: int, flips: list[tuple[int, int]]):
    data = bytearray(zipped(one_DOT_md="# One\n\nfirst", two_DOT_txt="second " * 40))
    for at, bits in flips:
        data[at % len(data)] ^= bits
    del data[len(data) - cut % len(data) :]

    with suppress(PenstockError):  # anything else is a failure
        list(read(Raw("x.zip", bytes(data), Limits(max_file_mb=1))))


def test_hundreds_of_languages_in_one_collection_are_no_trouble(make_library: MakeLibrary, tmp_path: Path):
    folder = tmp_path / "docs"
    folder.mkdir()
    letters = "abcdefghijklmnopqrst"
    for n in range(300):
        code = f"{letters[n // 20 % 20]}{letters[n % 20]}"
        (folder / f"{n}.html").write_text(f'<html lang="{code}"><body><p>Page {n} of the book.</p></body></html>')

    assert make_library().create("pages").add([str(folder)]).documents == 300


def test_an_access_list_in_front_matter_is_understood_or_refused():
    for lines in ("access: hr", "access: [hr]", "access:\n  - hr", "access:\n- hr", "access: hr # only them"):
        assert documents("a.md", f"---\n{lines}\n---\nText.".encode())[0].access == ("hr",)
    for lines in ("access:", "access: []", "access: # nobody"):
        with pytest.raises(Unreadable, match="access list"):
            documents("a.md", f"---\n{lines}\n---\nText.".encode())
