"""Tables and records: CSV, TSV, XLSX, XLS, ODS, JSON, JSON Lines. Each row becomes a line "column: value; …" to be quoted."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from penstock.documents.draft import Draft, Raw
from penstock.documents.read_text import decode
from penstock.errors import TooLarge, Unreadable
from penstock.types import BlockKind, Document

__all__ = ["read_csv", "read_json", "read_jsonl", "read_sheets"]

LONGEST_CELL = 131_072 * 64
LONGEST_PATH = 200  # characters of the names above a value
MOST_CELLS = 20_000_000  # of a sheet, empty ones too: the library lays out all that lie between the first and the last
MOST_SHEET_MB = 400  # of XML

_CELL = re.compile(rb"<(?:\w+:)?(?:c|row)\s[^>]{0,200}?\br=[\"']([A-Z]{0,3})(\d{1,7})[\"']")


def read_csv(raw: Raw) -> Iterator[Document]:
    """The separator is found from the first lines; the first row names the columns."""
    text = decode(raw.data, raw.source)
    csv.field_size_limit(LONGEST_CELL)
    sample = text[:16_384].rpartition("\n")[0] or text[:16_384]
    if raw.suffix == ".tsv":
        dialect: type[csv.Dialect] = csv.excel_tab
    else:
        try:
            dialect = csv.Sniffer().sniff(sample, delimiters=",;\t|")
        except csv.Error:
            dialect = csv.excel
    draft = Draft(raw)
    try:
        _add_rows(draft, csv.reader(io.StringIO(text, newline=""), dialect))
    except csv.Error as error:
        raise Unreadable(f"'{raw.source}' is not a table: {error}") from error
    yield draft.finish("text/tab-separated-values" if raw.suffix == ".tsv" else "text/csv")


def read_sheets(raw: Raw) -> Iterator[Document]:
    """A workbook: each sheet a section and a page, cells as they are shown, formulas by their last value."""
    from python_calamine import CalamineError, CalamineWorkbook

    _check_extent(raw)
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(raw.data))
        draft = Draft(raw)
        for page, name in enumerate(workbook.sheet_names, 1):
            draft.add(name, BlockKind.HEADING, level=1, page=page)
            _add_rows(draft, workbook.get_sheet_by_name(name).to_python(), page=page)
    except CalamineError as error:
        raise Unreadable(
            f"'{raw.source}' is not a workbook that can be read: {error}", hint="save it without a password"
        ) from error
    yield draft.finish("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", title=raw.name)


def _check_extent(raw: Raw) -> None:
    """Two cells far apart make a sheet of billions. Raises TooLarge before anything is laid out."""
    if not raw.data.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(raw.data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > MOST_SHEET_MB << 20:
                raise TooLarge(f"'{raw.source}' unpacks to more than {MOST_SHEET_MB} MB")
            for info in archive.infolist():
                rows = columns = 1
                for column, row in _CELL.findall(archive.read(info)) if info.filename.endswith(".xml") else ():
                    rows, columns = max(rows, int(row)), max(columns, _number(column))
                if rows * columns > MOST_CELLS:
                    raise TooLarge(f"'{raw.source}' has a sheet of {rows} rows and {columns} columns")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError):
        return  # what else is wrong with it, the library says


def _number(column: bytes) -> int:
    """A -> 1, Z -> 26, AA -> 27."""
    number = 0
    for letter in column:
        number = number * 26 + letter - 64
    return number


def read_json(raw: Raw) -> Iterator[Document]:
    """A list of records becomes rows; anything else, lines "path: value"."""
    try:
        value = json.loads(decode(raw.data, raw.source))
    except (json.JSONDecodeError, RecursionError) as error:
        raise Unreadable(f"'{raw.source}' is not valid JSON: {error}") from error
    draft = Draft(raw)
    if isinstance(value, list):
        for record in value:
            _add_record(draft, record)
    else:  # one thing: each of its values can be quoted alone
        for path, shown in _flat(value, ""):
            draft.add(f"{path}: {shown}" if path else shown, BlockKind.PARAGRAPH if len(shown) > 400 else BlockKind.ROW)
    yield draft.finish("application/json")


def read_jsonl(raw: Raw) -> Iterator[Document]:
    draft = Draft(raw)
    for n, line in enumerate(decode(raw.data, raw.source).split("\n"), 1):
        if line.strip():
            try:
                _add_record(draft, json.loads(line))
            except (json.JSONDecodeError, RecursionError) as error:
                raise Unreadable(f"'{raw.source}' line {n} is not valid JSON: {error}") from error
    yield draft.finish("application/jsonl")


def _add_rows(draft: Draft, rows: Iterable[Sequence[Any]], *, page: int = 0) -> None:
    names: list[str] | None = None
    for row in rows:
        cells = [_shown(cell) for cell in row]
        if not any(cells):
            continue
        if names is None:
            names = cells
            draft.add(" | ".join(filter(None, cells)), BlockKind.ROW, page=page)
            continue
        named = [(names[n] if n < len(names) else "", cell) for n, cell in enumerate(cells) if cell]
        draft.add("; ".join(f"{name}: {cell}" if name else cell for name, cell in named), BlockKind.ROW, page=page)


def _add_record(draft: Draft, record: Any) -> None:
    pairs = list(_flat(record, ""))
    long = any(len(value) > 400 or "\n" in value for _, value in pairs)
    text = ("\n" if long else "; ").join(f"{path}: {value}" if path else value for path, value in pairs)
    draft.add(text, BlockKind.PARAGRAPH if long else BlockKind.ROW)


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}"[-LONGEST_PATH:] if path else str(key)[:LONGEST_PATH])
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for item in value:
            yield from _flat(item, path)
    elif shown := ", ".join(map(_shown, value)) if isinstance(value, list) else _shown(value):
        yield path, shown


def _shown(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell).strip()
