"""One SQLite file in WAL mode: many readers beside one writer, durable when a transaction ends.

Each part brings its own tables as a list of migrations. They run forward on their own, in one transaction, and say so.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from penstock.errors import Conflict, StorageError
from penstock.storage.files import storage_errors
from penstock.trace import log

__all__ = ["Database", "Tables"]

BUSY_S = 10.0


class _Held:
    """A thread's connection. It is closed when the thread ends, and its thread-local values with it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


def _begin_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for others here: of several that open a new file at once, all but one would be told it is locked."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


class Tables(Protocol):
    """Where a part keeps its tables: one file, or a database server."""

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows that a question gives. `?` stands for a value."""
        ...

    def write(self) -> AbstractContextManager[Any]:
        """One transaction, with `execute` and `executemany`: all of it, or nothing when an exception leaves the block."""
        ...

    def snapshot(self) -> AbstractContextManager[Any]:
        """Several reads of one and the same state, with `execute`."""
        ...

    def migrate(self, part: str, steps: Sequence[str]) -> None:
        """Bring the part's tables up to the last step."""
        ...

    def has(self, table: str) -> bool:
        """Whether there is such a table. Nothing is made by looking."""
        ...

    def date_of(self, column: str) -> str:
        """The SQL for the day, in UTC, of a column of Unix times."""
        ...

    def hour_of(self, column: str) -> str:
        """The SQL for the hour, as a number, of a column of Unix times."""
        ...

    def close(self) -> None: ...


class Database:
    """A connection per thread to one file. `read` and `write` are all there is to know."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._all: weakref.WeakSet[_Held] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._turn = threading.RLock()  # to write

    def _connection(self) -> sqlite3.Connection:
        held: _Held | None = getattr(self._local, "held", None)
        if held is None:
            with storage_errors(self.path.parent):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.errors():
                connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
                held = _Held(connection)
                _begin_wal(connection)
                connection.execute("pragma synchronous = full")  # a publish that was announced survives a power cut
                connection.execute("pragma foreign_keys = on")
            self._local.held = held
            with self._lock:
                self._all.add(held)
        return held.connection

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self.errors():
            return self._connection().execute(sql, values).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Several reads of one and the same state."""
        connection = self._connection()
        with self.errors():
            connection.execute("begin")
        try:
            yield connection
        finally:
            connection.execute("commit")

    @contextmanager
    def write(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it, or nothing when an exception leaves the block.

        synced: whether it waits for the disk. What does not outlives the end of the process all the same, and a power cut once
        anything is written after it that is synced: for what can be said or asked again.
        """
        connection = self._connection()
        # SQLite's own waiting is sleeping and looking again: of many threads some would sleep until they give up
        if not self._turn.acquire(timeout=BUSY_S):
            raise Conflict(f"{self.path} is busy: this process has been writing for {BUSY_S:.0f} s")
        try:
            with self.errors():
                if not synced:
                    connection.execute("pragma synchronous = normal")
                connection.execute("begin immediate")
                try:
                    yield connection
                    connection.execute("commit")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("rollback")
                    raise
        finally:
            if not synced:
                connection.execute("pragma synchronous = full")
            self._turn.release()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """SQLite's errors as ours, in this one place."""
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                raise Conflict(f"{self.path} is busy: another process has been writing for {BUSY_S:.0f} s") from error
            if "full" in text:
                hint = "free some space and run the command again"
                raise StorageError(f"the disk is full: {self.path} was not changed", hint=hint) from error
            if "readonly" in text or "unable to open" in text:
                hint = "set PENSTOCK_HOME to a folder you may write to"
                raise StorageError(f"{self.path} cannot be written", hint=hint) from error
            raise StorageError(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise StorageError(
                f"{self.path} is damaged: {error}", hint="restore a backup: penstock restore FILE"
            ) from error

    def migrate(self, part: str, steps: Sequence[str]) -> None:
        """Bring the part's tables up to the last step. Raises StorageError when a newer Penstock wrote them."""
        with self.write() as w:
            w.execute("create table if not exists migrations (part text primary key, step integer not null) strict")
            row = w.execute("select step from migrations where part = ?", (part,)).fetchone()
            done = row[0] if row else 0
            if done > len(steps):
                raise StorageError(
                    f"{self.path} was written by a newer Penstock", hint="pip install --upgrade penstock"
                )
            if done == len(steps):
                return
            for step in steps[done:]:
                for statement in filter(str.strip, step.split(";")):
                    w.execute(statement)
            w.execute("insert or replace into migrations values (?, ?)", (part, len(steps)))
        if done:
            log("database migrated", level="warning", part=part, before=done, after=len(steps))

    def has(self, table: str) -> bool:
        """Whether there is such a table. Who looks at an empty home makes nothing in it."""
        return self.path.is_file() and bool(
            self.read("select 1 from sqlite_master where type = 'table' and name = ?", (table,))
        )

    def date_of(self, column: str) -> str:
        """The SQL for the day, in UTC, of a column of Unix times."""
        return f"strftime('%Y-%m-%d', {column}, 'unixepoch')"

    def hour_of(self, column: str) -> str:
        """The SQL for the hour, as a number, of a column of Unix times."""
        return f"cast({column} / 3600 as integer)"

    def copy_to(self, path: Path) -> None:
        """A consistent copy of the whole file, made while others read and write."""
        with self.errors():
            target = sqlite3.connect(path)
            try:
                self._connection().backup(target, pages=1024)
                target.execute("pragma journal_mode = delete")  # the copy is one file
            finally:
                target.close()

    def close(self) -> None:
        with self._lock:
            for held in self._all:
                held.connection.close()
            self._all.clear()
        self._local = threading.local()
