"""Files that callers keep: their bytes in a folder, one row for each in the database. A key sees its own and no others."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from penstock.errors import BadRequest, NotFound, TooLarge
from penstock.storage.database import Database
from penstock.storage.files import new_file, storage_errors

__all__ = ["Files", "Kept", "Page", "new_id"]

ORPHAN_S = 3600.0  # a file without a row that is older belongs to a process that was killed

STEPS = [
    """
    create table files (
        id text primary key, owner text not null, name text not null, purpose text not null, bytes integer not null,
        created real not null, expires real not null
    ) strict;
    create index files_owner on files (owner);
    create table batches (
        id text primary key, owner text not null, endpoint text not null, input text not null, window text not null,
        metadata text not null, keep_s real not null, status text not null, created real not null, expires real not null,
        times text not null, total integer not null, completed integer not null, failed integer not null,
        problems text not null, output text not null, errors text not null, ended integer not null
    ) strict;
    create index batches_owner on batches (owner);
    create index batches_open on batches (input) where ended = 0;
    create table batch_results (
        batch text not null, line integer not null, ok integer not null, result blob not null, primary key (batch, line)
    ) strict, without rowid
    """,
]
_OLD = (  # (files, batches) from before a moment
    "files where created < ? and id not in (select input from batches where ended = 0)",
    "batches where created < ? and ended = 1",
)
_COLUMNS = "id, owner, name, purpose, bytes, created, expires"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that somebody keeps here. Times are Unix times."""

    id: str
    owner: str  # the name of the key
    name: str
    purpose: str
    bytes: int
    created: float
    expires: float = 0.0  # 0: never


class Page(NamedTuple):
    """Some rows of a list, and whether there are more."""

    rows: Sequence[Kept]
    more: bool


class Files:
    """The files of all keys. Raises NotFound for one of another key, as for one that is not there."""

    def __init__(self, database: Database, folder: Path, *, most_bytes: int) -> None:
        """most_bytes: that one key may keep."""
        self._database, self._folder, self._most_bytes = database, folder, most_bytes
        self._migrated = False

    def path(self, id: str) -> Path:  # noqa: A002  as it is called everywhere
        """Where the bytes of a file are."""
        return self._folder / id

    def add(self, owner: str, name: str, data: bytes, *, purpose: str, expires: float = 0.0) -> Kept:
        """Keep a file. It is there whole, or not at all. Raises TooLarge, StorageError."""
        self.migrate()
        file = Kept(new_id("file-"), owner, name, purpose, len(data), time.time(), expires)
        path = self.path(file.id)
        with new_file(path) as out:
            out.write(data)
        try:
            with self._database.write() as w:
                (held,) = w.execute("select coalesce(sum(bytes), 0) from files where owner = ?", (owner,)).fetchone()
                if held + len(data) > self._most_bytes:
                    raise TooLarge(
                        f"the key '{owner}' keeps {held >> 20} MB, and may keep {self._most_bytes >> 20} MB",
                        hint="delete some files, or raise batches.files_mb",
                    )
                insert(w, file)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return file

    def get(self, id: str, owner: str) -> Kept:  # noqa: A002
        self.migrate()
        rows = self._database.read(f"select {_COLUMNS} from files where id = ? and owner = ?", (id, owner))  # noqa: S608
        if not rows or 0 < rows[0][-1] < time.time():
            raise NotFound(f"there is no file '{id}'")
        return Kept(*rows[0])

    def list(self, owner: str, *, purpose: str = "", after: str = "", limit: int = 10_000, newest: bool = True) -> Page:
        """The files of a key. after: the id of the last one that was seen."""
        self.migrate()
        order, follows = ("desc", "<") if newest else ("asc", ">")
        rows = self._database.read(
            f"select {_COLUMNS} from files where owner = ? and (? = '' or purpose = ?) and (expires = 0 or expires > ?)"  # noqa: S608
            f" and (? = '' or rowid {follows} (select rowid from files where id = ?)) order by rowid {order} limit ?",
            (owner, purpose, purpose, time.time(), after, after, limit + 1),
        )
        return Page([Kept(*row) for row in rows[:limit]], len(rows) > limit)

    def read(self, file: Kept) -> bytes:
        with storage_errors(self.path(file.id)):
            return self.path(file.id).read_bytes()

    def delete(self, id: str, owner: str) -> None:  # noqa: A002
        """Raises NotFound, or BadRequest for a file that a batch still reads."""
        file = self.get(id, owner)
        with self._database.write() as w:
            if found := w.execute("select id from batches where input = ? and ended = 0", (id,)).fetchone():
                raise BadRequest(f"the batch '{found[0]}' still reads this file", hint="cancel it first")
            w.execute("delete from files where id = ?", (id,))
        with storage_errors(self.path(file.id)):
            self.path(file.id).unlink(missing_ok=True)

    def made_before(self, moment: float) -> int:
        """How many files and ended batches are older than a Unix time; files that a batch still reads are not counted."""
        self.migrate()
        return sum(self._database.read(f"select count(*) from {old}", (moment,))[0][0] for old in _OLD)  # noqa: S608

    def remove_made_before(self, moment: float) -> int:
        """Remove those. Returns how many."""
        self.migrate()
        with self._database.write() as w:
            files, batches = (w.execute(f"delete from {old} returning id", (moment,)).fetchall() for old in _OLD)  # noqa: S608
        for (gone,) in files:
            self.path(gone).unlink(missing_ok=True)
        return len(files) + len(batches)

    def ids(self) -> Sequence[str]:
        """All there are, of every key."""
        self.migrate()
        return [row[0] for row in self._database.read("select id from files order by rowid")]

    def sweep(self) -> None:
        """Remove what has expired, and what a process left behind that was killed as it wrote."""
        self.migrate()
        with self._database.write() as w:
            expired = w.execute(
                "delete from files where expires > 0 and expires < ?"
                " and id not in (select input from batches where ended = 0) returning id",
                (time.time(),),
            ).fetchall()
            kept = {row[0] for row in w.execute("select id from files")}
        for (gone,) in expired:
            self.path(gone).unlink(missing_ok=True)
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            with storage_errors(path):
                if path.name not in kept and path.stat().st_mtime < time.time() - ORPHAN_S:
                    path.unlink(missing_ok=True)

    def migrate(self) -> None:
        """Make the tables of files and batches."""
        if not self._migrated:
            self._database.migrate("jobs", STEPS)
            self._migrated = True


def insert(w: sqlite3.Connection, file: Kept) -> None:
    """A row for a file that is in its place, within a transaction."""
    w.execute(
        f"insert into files ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (file.id, file.owner, file.name, file.purpose, file.bytes, file.created, file.expires),
    )


def new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(12)
