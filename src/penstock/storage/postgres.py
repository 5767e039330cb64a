"""One PostgreSQL database in place of a file, for the parts that several machines share. Satisfies `Tables`.

Statements are written once, in the SQL that SQLite and PostgreSQL both understand, with `?` for values; types of columns are
SQLite's, and are named anew when a table is made. A connection per thread, opened anew when it was lost.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from penstock.errors import BadSetting, Conflict, MissingExtra, StorageError
from penstock.trace import log

if TYPE_CHECKING:
    import psycopg

__all__ = ["Postgres"]

CONNECT_S = 5
BUSY_S = 10.0
WRITER = 0x70656E73746F636B  # the lock that whoever writes holds: "penstock"

_TYPES = {"real": "double precision", "integer": "bigint", "blob": "bytea"}
_SAID = re.compile(r"\b(real|integer|blob)\b")
_SECRET = re.compile(r"://[^@/]*@|password=\S+", re.I)


class Postgres:
    """address: `postgresql://user:password@host/name`. Nothing is connected before it is asked. Raises MissingExtra."""

    def __init__(self, address: str) -> None:
        try:
            import psycopg  # noqa: F401
        except ImportError as error:
            raise MissingExtra("psycopg, which speaks to PostgreSQL,", extra="postgres") from error
        self._address, self._name = address, _SECRET.sub("://", address)
        self._local = threading.local()
        self._open: list[psycopg.Connection] = []
        self._lock = threading.Lock()

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self.errors(), self._connected() as connection:
            try:
                return connection.execute(_theirs(sql), values).fetchall()
            finally:
                connection.rollback()  # nobody stays in a transaction for having read

    @contextmanager
    def write(self) -> Iterator[_Writing]:
        """One transaction: all of it, or nothing when an exception leaves the block. One writer at a time, as with a file: so rows
        are seen in the order of their numbers."""
        with self.errors(), self._connected() as connection, connection.transaction():
            connection.execute("select pg_advisory_xact_lock(%s)", (WRITER,))
            yield _Writing(connection)

    @contextmanager
    def snapshot(self) -> Iterator[_Writing]:
        """Several reads of one and the same state."""
        with self.errors(), self._connected() as connection, connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            yield _Writing(connection)

    def migrate(self, part: str, steps: Sequence[str]) -> None:
        """Bring the part's tables up to the last step. Raises StorageError when a newer Penstock wrote them."""
        with self.write() as w:
            w.execute("create table if not exists migrations (part text primary key, step integer not null)")
            row = w.execute("select step from migrations where part = ?", (part,)).fetchone()
            done = row[0] if row else 0
            if done > len(steps):
                raise StorageError(
                    f"{self._name} was written by a newer Penstock", hint="pip install --upgrade penstock"
                )
            for step in steps[done:]:
                for statement in filter(str.strip, step.split(";")):
                    w.execute(_made(statement))
            w.execute(
                "insert into migrations values (?, ?) on conflict (part) do update set step = excluded.step",
                (part, len(steps)),
            )
        if 0 < done < len(steps):
            log("database migrated", level="warning", part=part, before=done, after=len(steps))

    def date_of(self, column: str) -> str:
        return f"to_char(to_timestamp({column}) at time zone 'UTC', 'YYYY-MM-DD')"

    def hour_of(self, column: str) -> str:
        return f"floor({column} / 3600)::bigint"

    def has(self, table: str) -> bool:
        return bool(self.read("select to_regclass(?)", (table,))[0][0])

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()
        self._local = threading.local()

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        import psycopg

        connection: psycopg.Connection | None = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            connection = psycopg.connect(self._address, connect_timeout=CONNECT_S, application_name="penstock")
            connection.execute(f"set lock_timeout = '{BUSY_S:.0f}s'")
            connection.commit()
            self._local.connection = connection
            with self._lock:
                self._open = [one for one in self._open if not one.closed] + [connection]
        try:
            yield connection
        except psycopg.OperationalError:
            with suppress(psycopg.Error):
                connection.close()  # whoever asks next connects anew
            raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """PostgreSQL's errors as ours, in this one place."""
        import psycopg

        try:
            yield
        except psycopg.errors.LockNotAvailable as error:
            raise Conflict(f"{self._name} is busy: another process has been writing for {BUSY_S:.0f} s") from error
        except psycopg.errors.DiskFull as error:
            raise StorageError(f"the disk of {self._name} is full", hint="free some space there") from error
        except psycopg.OperationalError as error:
            hint = "is it running, and may this machine reach it?"
            raise StorageError(f"{self._name} does not answer: {_first(error)}", hint=hint) from error
        except psycopg.ProgrammingError as error:
            if "invalid connection option" in str(error) or "missing" in str(error):
                raise BadSetting(f"{self._name} is no address of PostgreSQL: {_first(error)}") from error
            raise
        except psycopg.Error as error:
            raise StorageError(f"{self._name}: {_first(error)}") from error


class _Writing:
    """A transaction, asked in the words of SQLite."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        return self._connection.execute(_theirs(sql), _values(values))

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._connection.cursor().executemany(_theirs(sql), [_values(row) for row in rows])


@lru_cache(maxsize=256)
def _theirs(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


def _values(values: Sequence[Any]) -> list[Any]:
    """As SQLite takes them: booleans are numbers. PostgreSQL's texts have no NUL, and nothing that is half a character."""
    return [
        int(value) if isinstance(value, bool)
        else value.replace("\0", "").encode("utf-8", "replace").decode() if isinstance(value, str) and not _is_plain(value)
        else value
        for value in values
    ]  # fmt: skip


def _is_plain(text: str) -> bool:
    return text.isascii() and "\0" not in text


def _made(statement: str) -> str:
    """A statement that makes a table, with the types of PostgreSQL, and with the number that SQLite gives every row."""
    plain = re.sub(r",?\s*\b(strict|without rowid)\b", "", statement)
    plain = _SAID.sub(lambda found: _TYPES[found[1]], plain)
    if "primary key" not in plain:
        plain = re.sub(r"(create table \w+ \()", r"\1rowid bigint generated always as identity, ", plain, count=1)
    return plain


def _first(error: Exception) -> str:
    return _SECRET.sub("://", str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__
