"""The journal: one row per request, and what is spent of every budget, without anybody's words.

A request never waits for the database. Its row goes to a file beside it at once (the spool), which survives the process
being killed, and from memory into SQLite in the background. While the database cannot be written the rows wait; when a
process was killed, the next one books what its spool holds. What a call held and nobody ended counts as spent.
"""

from __future__ import annotations

import math
import mmap
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from filelock import FileLock, Timeout

from penstock.errors import PenstockError, StorageError
from penstock.storage.database import Tables
from penstock.storage.files import storage_errors
from penstock.trace import log

__all__ = ["COLUMNS", "Booked", "Journal", "Row"]

Booked = tuple[str, int, int]  # counter, window, amount

EVERY_S = 1.0
MOST_AT_ONCE = 2_000
SPOOL_BYTES = 8 << 20
ROOM = 64 << 10  # a spool with less is followed by another
HOUR_S = 3600.0

STEPS = [
    """
    create table requests (
        id text not null, trace_id text not null, at real not null, key text not null, person text not null, team text not null,
        app text not null, model text not null, dialect text not null, streamed integer not null, status integer not null,
        outcome text not null, error text not null, cached integer not null, first_ms real not null,
        duration_ms real not null, input_tokens integer not null, output_tokens integer not null,
        cached_tokens integer not null, reasoning_tokens integer not null, cost_pico_usd integer not null,
        calls text not null
    ) strict;
    create index requests_id on requests (id);
    create index requests_trace on requests (trace_id);
    create table spend (counter text not null, "window" integer not null, used integer not null,
        primary key (counter, "window")) strict, without rowid
    """,
    "create index requests_at on requests (at)",
    "alter table requests add column guarded text not null default ''",
    """
    alter table requests add column answer text not null default '';
    alter table requests add column spans text not null default '';
    alter table requests add column said text not null default '';
    alter table requests add column sealed integer not null default 0
    """,
    "alter table requests add column parent text not null default ''",
]


class Row(NamedTuple):
    """One request. Times in milliseconds, money in picodollars.

    JSON, and "" where there is nothing: `calls`, one entry for each upstream asked; `guarded`, one for each text in which the guard
    found something; `answer`, what is known of an app's answer; `spans`, the rooms that it passed through, each with its name, when
    it began and how long it took in microseconds, and its values. `said` is the question and the answer themselves, where the app
    keeps them, sealed where the home is.
    """

    id: str
    trace_id: str  # W3C's: several requests may share it
    at: float  # Unix time of its arrival
    key: str
    person: str
    team: str
    app: str
    model: str
    dialect: str
    streamed: bool
    status: int
    outcome: str
    error: str
    cached: bool
    first_ms: float
    duration_ms: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_pico_usd: int
    calls: str
    guarded: str = ""
    answer: str = ""
    spans: str = ""
    said: str = ""
    parent: str = ""  # W3C's id of the caller's span


COLUMNS = Row._fields


class Journal:
    """Rows in, budgets' spend out. `hold` and `write` never wait and never fail; `drain` runs in a thread of its own."""

    def __init__(
        self,
        database: Tables,
        folder: Path,
        *,
        keep_s: float = 0.0,
        keep_text_s: float = 0.0,
        seen: Callable[[Sequence[Row]], None] | None = None,
    ) -> None:
        """keep_s, keep_text_s: how long rows are kept, and the words in them; 0: for ever. seen: is shown the rows once they are
        stored, in the background."""
        self._database, self._folder, self._keep_s, self._keep_text_s = database, folder, keep_s, keep_text_s
        self._seen = seen
        self._waiting: deque[tuple[Row, Sequence[Booked], _Spool]] = deque()
        self._lock, self._wake, self._stop = threading.Lock(), threading.Event(), False
        self._draining = threading.Lock()
        self._migrated, self._swept, self._warned, self._spool_warned = False, -math.inf, False, False
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._spool = _Spool(folder)
        self._retired: list[_Spool] = []  # full, and of use until all that they hold is in the database
        self._thread = threading.Thread(target=self._run, daemon=True, name="journal")
        self._thread.start()

    # ---------------------------------------------------------------- from requests

    def hold(self, request: str, held: Sequence[Booked]) -> None:
        """A call begins that may spend this much: should the process end before the call does, it has."""
        if not self._spool.hold(request, held):
            self._turn_over()

    def write(self, row: Row, booked: Sequence[Booked]) -> None:
        """A request has ended."""
        spool = self._spool
        room = spool.end(row, booked)
        with self._lock:
            self._waiting.append((row, booked, spool))
            for full in self._retired:
                full.forget(row.id)
        if not room:
            self._turn_over()

    def _turn_over(self) -> None:
        """Go on with another spool. Where the disk has no room for one, this one is full, and rows are in memory only."""
        full = self._spool
        try:
            self._spool = _Spool(self._folder)
            full.retired, self._spool_warned = True, False
            with self._lock:
                self._retired.append(full)
        except StorageError as error:
            if not self._spool_warned:
                log("journal spool full", level="error", error=error.code)
            self._spool_warned = True

    # ---------------------------------------------------------------- to the database

    def recover(self) -> list[Booked]:
        """Book what processes left behind that are not there any more. Returns it. Raises StorageError or Conflict."""
        self._migrate()
        found: list[Booked] = []
        for path in sorted(self._folder.glob("*.spool"), reverse=True):  # what one holds may have ended in a later one
            with suppress(Timeout), FileLock(f"{path}.lock", timeout=0):
                if path.exists():
                    rows = self._new(_left_behind(path))
                    self._store(rows)
                    path.unlink(missing_ok=True)
                    self._show([row for row, _ in rows])
                    if rows:
                        log("journal recovered", level="warning", requests=len(rows))
                        found += [entry for _, booked in rows for entry in booked]
                Path(f"{path}.lock").unlink(missing_ok=True)
        return found

    def spent(self) -> list[Booked]:
        """(counter, window, used) of the latest window of each counter."""
        self._migrate()
        return [
            tuple(row)
            for row in self._database.read(
                'select counter, "window", used from spend s where "window" ='
                ' (select max("window") from spend where counter = s.counter)'
            )
        ]

    def drain(self) -> None:
        """Move what waits into the database. Raises StorageError or Conflict, and then it goes on waiting."""
        with self._draining:
            while self._waiting:
                with self._lock:
                    batch = list(islice(self._waiting, MOST_AT_ONCE))
                self._migrate()
                self._store([(row, booked) for row, booked, _ in batch])
                with self._lock:
                    for _, _, spool in batch:
                        self._waiting.popleft()
                        spool.drained += 1
                self._show([row for row, _, _ in batch])
                self._spool.tidy()
                with self._lock:
                    retired = list(self._retired)
                gone = [spool for spool in retired if spool.tidy()]
                with self._lock:
                    self._retired = [spool for spool in self._retired if spool not in gone]

    def requests(self, *, limit: int = 100, before: float = 0.0, **equal: str) -> list[Row]:
        """The latest rows first. equal: columns and the values they must have."""
        self._migrate()
        where = ["at < ?"] + [f"{name} = ?" for name in equal if name in Row._fields]
        rows = self._database.read(
            f"select {', '.join(COLUMNS)} from requests where {' and '.join(where)} order by rowid desc limit ?",  # noqa: S608  our own names
            (before or 1e12, *equal.values(), limit),
        )
        return [Row(*row) for row in rows]

    def close(self) -> None:
        """Write down what waits. What cannot be written stays in the spool for the next process."""
        self._stop = True
        self._wake.set()
        self._thread.join(5.0)
        with suppress(PenstockError):
            self.drain()
        for spool in (self._spool, *self._retired):
            spool.close(empty=not self._waiting)

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait(EVERY_S)
            try:
                self.drain()
                self._sweep()
                self._warned = False
            except Exception as error:  # a background task ends here: the rows go on waiting
                if not self._warned:
                    log("journal waits", level="error", error=type(error).__name__, rows=len(self._waiting))
                self._warned = True

    def waiting(self) -> int:
        """How many rows wait to be stored."""
        return len(self._waiting)

    def _show(self, rows: Sequence[Row]) -> None:
        """What goes wrong with whoever looks on is recorded, and the journal goes on."""
        if self._seen is None or not rows:
            return
        try:
            self._seen(rows)
        except Exception as error:
            log("stored requests not seen", level="error", error=type(error).__name__, requests=len(rows))

    def _migrate(self) -> None:
        if not self._migrated:
            self._database.migrate("journal", STEPS)
            self._migrated = True

    def _store(self, rows: Sequence[tuple[Row, Sequence[Booked]]]) -> None:
        spent: dict[tuple[str, int], int] = {}
        for _, booked in rows:
            for counter, window, amount in booked:
                spent[counter, window] = spent.get((counter, window), 0) + amount
        with self._database.write() as w:
            _insert(w, [row for row, _ in rows])
            w.executemany(_BOOK, [(counter, window, amount) for (counter, window), amount in spent.items()])

    def _new(self, rows: Iterable[tuple[Row, Sequence[Booked]]]) -> list[tuple[Row, Sequence[Booked]]]:
        """Those that are not in the database: a process may have been killed between storing rows and forgetting them."""
        return [
            (row, booked)
            for row, booked in rows
            if not self._database.read("select 1 from requests where id = ?", (row.id,))
        ]

    def _sweep(self) -> None:
        if not (self._keep_s or self._keep_text_s) or time.monotonic() - self._swept < HOUR_S:
            return
        self._swept, now = time.monotonic(), time.time()
        self._migrate()
        with self._database.write() as w:
            if self._keep_s:
                w.execute("delete from requests where at < ?", (now - self._keep_s,))
            if self._keep_text_s:
                w.execute("update requests set said = '' where at < ? and said != ''", (now - self._keep_text_s,))


_ROW = f"({', '.join('?' * len(Row._fields))})"
_INTO = f"insert into requests ({', '.join(COLUMNS)}) values "  # noqa: S608  our own names
_INSERTS = {size: _INTO + ", ".join([_ROW] * size) for size in (256, 16, 1)}
_BOOK = (
    'insert into spend values (?, ?, ?) on conflict (counter, "window") do update set used = spend.used + excluded.used'
)


def _insert(w: Any, rows: Sequence[Row]) -> None:
    """Many rows in one statement: between statements the interpreter is given up and asked for again, which requests feel."""
    at = 0
    for size, statement in _INSERTS.items():
        while at + size <= len(rows):
            w.execute(statement, tuple(chain.from_iterable(rows[at : at + size])))
            at += size


class _Spool:
    """A file of lines that one process appends to: ["hold", request, held] and ["end", row, booked].

    It is mapped into memory, so a line costs no call of the system and is safe as soon as it is written, though not from
    a power cut. Its space is taken beforehand. It begins again from nothing as soon as all it holds is in the database.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{time.time_ns()}-{secrets.token_hex(4)}.spool"
        self._lock = FileLock(f"{self.path}.lock", thread_local=False)  # whichever thread has it, another may let it go
        with storage_errors(self.path):
            self._lock.acquire()
            file = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
            try:
                _take_space(file, SPOOL_BYTES)
                self._map = mmap.mmap(file, SPOOL_BYTES)
            finally:
                os.close(file)
        self.size = self.drained = self._ended = 0
        self.retired = self._closed = False
        self._open: dict[str, int] = {}
        self._guard = threading.Lock()

    def hold(self, request: str, held: Sequence[Booked]) -> bool:
        with self._guard:
            self._open[request] = 1
            return self._append(["hold", request, held])

    def end(self, row: Row, booked: Sequence[Booked]) -> bool:
        with self._guard:
            self._open.pop(row.id, None)
            self._ended += 1
            return self._append(["end", tuple(row), booked])

    def _append(self, value: Any) -> bool:
        """Returns whether there is room for more."""
        line = orjson.dumps(value) + b"\n"
        end = self.size + len(line)
        if end <= SPOOL_BYTES:
            self._map[self.size : end] = line
            self.size = end
        return end < SPOOL_BYTES - ROOM

    def forget(self, request: str) -> None:
        """A request that held something here has ended in another spool."""
        with self._guard:
            self._open.pop(request, None)

    def tidy(self) -> bool:
        """Begin again, or be gone, where nothing is left that is not in the database. Returns whether it is gone."""
        with self._guard:
            if self._closed or self._open or self.drained < self._ended:
                return self._closed
            if self.retired:
                self._remove()
            elif self.size:
                self._map[: self.size] = bytes(self.size)
                self.size = 0
            return self._closed

    def close(self, *, empty: bool) -> None:
        with self._guard:
            if not self._closed:
                if empty and not self._open:
                    self._remove()
                else:
                    self._closed = True
                    self._map.close()
                    self._lock.release()

    def _remove(self) -> None:
        self._closed = True
        self._map.close()
        self.path.unlink(missing_ok=True)
        self._lock.release()
        Path(f"{self.path}.lock").unlink(missing_ok=True)


def _take_space(file: int, size: int) -> None:
    """A mapped file that has no room on the disk would end the process, so the room is taken now, or an error raised."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.write(file, bytes(size))


def _left_behind(path: Path) -> Iterable[tuple[Row, Sequence[Booked]]]:
    """What a spool says: the requests that ended, and those that did not, with all that they held."""
    held: dict[str, list[Booked]] = {}
    for line in path.read_bytes().rstrip(b"\0").split(b"\n"):
        try:
            kind, first, second = orjson.loads(line)
        except ValueError:  # the empty end
            continue
        if kind == "hold":
            held.setdefault(first, []).extend(map(tuple, second))
        else:
            row = Row(*first)
            held.pop(row.id, None)
            yield row, [tuple(entry) for entry in second]
    for request, booked in held.items():
        yield _lost(request, path), booked


def _lost(request: str, path: Path) -> Row:
    texts = ("",) * 6
    return Row(request, request, path.stat().st_mtime, *texts, False, 0, "lost", "", False, 0.0, 0.0, 0, 0, 0, 0, 0, "")
