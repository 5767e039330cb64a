"""An export of a business's own data, in which the rows of a conversation are found by the codes and the customer that it names.

JSON with tables, a list of rows, JSON Lines, CSV, or an SQLite file. It is read once and stays in memory.
"""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.errors import BadRequest, TooLarge
from penstock.support.conversations import Row

__all__ = ["Data", "read_data"]

LARGEST = 1 << 30  # bytes
MOST_ROWS = 2_000_000
MOST_FOUND = 100  # rows for one conversation
MOST_OF_KEY = 50  # rows that one key finds: what finds more is no key
MOST_VALUES = 60  # of a column, for it to be a list of what something may be
_KEY = re.compile(
    r"(?:^|_)(?:id|ids|number|no|code|sku|email|username|key|order|user|customer|account|owner|line|invoice|ticket)s?$",
    re.I,
)
_OWNER = re.compile(r"^(?:user|customer|client|account|member|owner)(?:_id|_number|id)?$", re.I)
_TOKEN = re.compile(r"[#\w][\w.+@-]*")


@dataclass
class Data:
    """Rows by their keys. vocabulary: of columns of short texts with few values, all of these, lower-cased."""

    _by_key: dict[str, list[Row]] = field(default_factory=dict)
    _values: dict[str, set[str]] = field(default_factory=dict)
    _open: set[str] = field(default_factory=set)  # columns with too many values
    rows: int = 0

    @property
    def vocabulary(self) -> dict[str, frozenset[str]]:
        return {
            name: frozenset(some) for name, some in self._values.items() if len(some) > 1 and name not in self._open
        }

    def add(self, table: str, key: str, values: Mapping[str, Any]) -> None:
        self.rows += 1
        if self.rows > MOST_ROWS:
            raise TooLarge(
                f"the export has more than {MOST_ROWS:,} rows", hint="leave out tables that no answer is about"
            )
        row = Row("/".join(filter(None, (table, key))), dict(values))
        for one in {_bare(key), *_keys(values)} - {""}:
            self._by_key.setdefault(one, []).append(row)
        for name, value in _columns(values):
            if name in self._open:
                continue
            text = value.strip().lower()
            if (
                not text
                or len(text.split()) > 3
                or any(letter.isdigit() for letter in text)
                or "@" in text
                or _KEY.search(name)
            ):
                continue
            some = self._values.setdefault(name, set())
            some.add(text)
            if len(some) > MOST_VALUES:
                self._open.add(name)
                some.clear()

    def of(self, texts: Iterable[str], customer: str = "") -> list[Row]:
        """The rows that are named, and those of the customer; then those that these name.

        Where the customer is known, rows of another one are left out: naming them does not make them the customer's.
        """
        found: dict[int, Row] = {}
        keys = [_bare(token) for text in texts for token in _TOKEN.findall(text)]
        own = _bare(customer)
        self._take(found, [own] if own else [], "")
        owners = (
            {own, *(owner for row in found.values() for owner in _owners(row.values))} - {""}
            if own in self._by_key
            else set()
        )
        self._take(found, [key for key in keys if any(letter.isdigit() for letter in key) or "@" in key], owners)
        owners = owners or {owner for row in found.values() for owner in _owners(row.values)}
        self._take(found, [key for row in list(found.values()) for key in _keys(row.values)], owners)
        return list(found.values())[:MOST_FOUND]

    def _take(self, found: dict[int, Row], keys: Iterable[str], owners: Iterable[str]) -> None:
        allowed = set(owners)
        for key in dict.fromkeys(keys):
            rows = self._by_key.get(key, [])
            if len(rows) > MOST_OF_KEY:
                continue
            for row in rows:
                whose = set(_owners(row.values))
                if len(found) < MOST_FOUND and (not allowed or not whose or whose & allowed):
                    found[id(row)] = row


def read_data(path: Path) -> Data:
    """Raises BadRequest or TooLarge."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise BadRequest(f"the data {path} cannot be read: {error.strerror or error}") from error
    if size > LARGEST:
        raise TooLarge(
            f"the export {path} is larger than {LARGEST >> 20} MB", hint="leave out tables that no answer is about"
        )
    data = Data()
    if head.startswith(b"SQLite format 3"):
        _from_sqlite(path, data)
    elif path.suffix.lower() in (".csv", ".tsv"):
        _from_csv(path, data)
    else:
        _from_json(path, data)
    if not data.rows:
        raise BadRequest(f"there is no row in {path}", hint="JSON with tables, JSON Lines, CSV, or an SQLite file")
    return data


def _from_json(path: Path, data: Data) -> None:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"{path} is neither UTF-8 text nor an SQLite file", hint="JSON, JSON Lines, CSV, or SQLite"
        ) from error
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        for n, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise BadRequest(
                        f"line {n} of {path} is not JSON: {error}", hint="JSON with tables, or JSON Lines"
                    ) from error
                _add_any(data, path.stem, row)
        return
    _add_any(data, "", whole)


def _add_any(data: Data, table: str, value: Any, depth: int = 0) -> None:
    """Tables in tables, rows in lists, or rows by their keys."""
    if isinstance(value, list):
        for row in value:
            if isinstance(row, Mapping):
                data.add(table, _own_key(row), row)
    elif isinstance(value, Mapping):
        inner = {str(name): one for name, one in value.items() if isinstance(one, Mapping | list)}
        if depth < 3 and inner and len(inner) >= 0.5 * len(value) and not _has_key(value):
            rows = all(isinstance(one, Mapping) and not _holds_tables(one) for one in inner.values())
            for name, one in inner.items():
                if rows and isinstance(one, Mapping):
                    data.add(table, name, one)
                else:
                    _add_any(data, name, one, depth + 1)
        else:
            data.add(table, _own_key(value), value)


def _holds_tables(value: Mapping[str, Any]) -> bool:
    """Whether what stands there is a table by key and no row: all of it are objects with fields of their own."""
    return (
        bool(value) and not _has_key(value) and all(isinstance(one, Mapping) and len(one) > 1 for one in value.values())
    )


def _has_key(value: Mapping[str, Any]) -> bool:
    return any(_KEY.search(str(name)) and not isinstance(one, Mapping | list) for name, one in value.items())


def _own_key(row: Mapping[str, Any]) -> str:
    named = [
        name
        for name in row
        if _KEY.search(str(name)) and isinstance(row[name], str | int) and not isinstance(row[name], bool)
    ]
    named.sort(key=lambda name: (bool(_OWNER.match(str(name))), str(name) not in ("id", "number")))
    return str(row[named[0]]) if named else ""


def _from_csv(path: Path, data: Data) -> None:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t|", key=first.count)
            for row in csv.DictReader(file, delimiter=delimiter):
                values = {name: value for name, value in row.items() if name and value not in (None, "")}
                if values:
                    data.add(path.stem, _own_key(values), values)
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadRequest(f"{path} cannot be read as a table: {error}") from error


def _from_sqlite(path: Path, data: Data) -> None:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            tables = [
                name for (name,) in database.execute("select name from sqlite_master where type in ('table', 'view')")
            ]
            for table in tables:
                quoted = table.replace('"', '""')
                for row in database.execute(f'select * from "{quoted}"'):  # noqa: S608  a table of that file, quoted
                    values = {
                        name: _opened(row[name])
                        for name in row.keys()  # noqa: SIM118  a row of SQLite is looked through by its values
                        if row[name] is not None and not isinstance(row[name], bytes)
                    }
                    data.add(table, _own_key(values), values)
    except sqlite3.Error as error:
        raise BadRequest(f"{path} cannot be read as an SQLite file: {error}") from error


def _opened(value: Any) -> Any:
    """JSON in a column, as what it says."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _bare(key: str) -> str:
    return key.strip("#.,;:()").casefold()


def _columns(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and depth < 6:
        for inner, one in value.items():
            yield from _columns(one, str(inner), depth + 1)
    elif isinstance(value, list) and depth < 6:
        for one in value[:50]:
            yield from _columns(one, name, depth + 1)
    elif isinstance(value, str):
        yield name, value


def _keys(values: Any, depth: int = 0) -> Iterator[str]:
    """What a row may be found by: its ids, numbers and addresses, and those of what it holds."""
    if isinstance(values, Mapping) and depth < 4:
        for name, value in values.items():
            if isinstance(value, Mapping):
                yield from _keys(value, depth + 1)
            elif isinstance(value, list):
                if _KEY.search(str(name)):
                    yield from (_bare(str(one)) for one in value[:50] if isinstance(one, str | int))
                yield from (key for one in value[:50] if isinstance(one, Mapping) for key in _keys(one, depth + 1))
            elif (
                _KEY.search(str(name))
                and isinstance(value, str | int)
                and not isinstance(value, bool)
                and len(str(value)) > 2
            ):
                yield _bare(str(value))


def _owners(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if _OWNER.match(str(name)) and isinstance(value, str | int):
            yield _bare(str(value))
