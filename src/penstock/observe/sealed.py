"""The journal's past: hours that have ended, sealed into Parquet files that DuckDB reads, and what is left of them in the database.

Requests are first rows in the database. Once an hour those that are not sealed yet are written to files: one for requests and one
for the rooms they passed through, which DuckDB reads, and one in which a single request is found by its name. A list in the
database says which files count, so a process that is killed at any point leaves neither a gap nor a double. Files of a day are
joined when it is over. Rows that were sealed leave the database after a time; sums of them by the hour stay, so that what was
spent is still known. Words are never sealed.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from filelock import FileLock, Timeout

from penstock.errors import Conflict, MissingExtra, StorageError
from penstock.observe.journal import COLUMNS, Row
from penstock.storage.database import Database, Tables
from penstock.storage.files import storage_errors
from penstock.storage.postgres import Postgres

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "REQUESTS",
    "SPANS",
    "TABLES",
    "Sealed",
    "Segment",
    "arrays",
    "connect",
    "is_installed",
    "quoted",
    "reading",
    "seal",
]

HOUR_S, DAY_S = 3600.0, 86_400.0
AT_ONCE = 50_000  # rows that are in memory at the same time
ATTEMPTS = 3  # to read the files while others are joined or replaced
LATE_S = 600.0  # a day is joined so long after its end
TABLES = ("requests", "spans")
TRACES = "traces"
ENDINGS = {"requests": ".parquet", "spans": ".parquet", TRACES: ".traces"}

STEPS = [
    """
    create table sealed (
        file text primary key, kind text not null, first real not null, last real not null, rows integer not null,
        bytes integer not null
    ) strict;
    create table hours (
        hour integer not null, key text not null, person text not null, team text not null, app text not null,
        model text not null, requests integer not null, answered integer not null, input_tokens integer not null,
        output_tokens integer not null, cost_pico_usd integer not null,
        primary key (hour, key, person, team, app, model)
    ) strict, without rowid
    """,
]

_SUMS = ("requests", "answered", "input_tokens", "output_tokens", "cost_pico_usd")
_ADD = "on conflict (hour, key, person, team, app, model) do update set " + ", ".join(
    f"{name} = hours.{name} + excluded.{name}" for name in _SUMS
)
_PLAIN = [name for name in COLUMNS if name not in ("at", "spans", "said", "streamed", "cached")]
_TEXTS = ("person", "key", "team", "app", "model", "error", "calls", "guarded", "answer")
REQUESTS = f"""
select make_timestamp(("at" * 1e6)::bigint) as time, {", ".join(f'"{name}"' for name in _PLAIN)},
    streamed::boolean as streamed, cached::boolean as cached
from rows order by "at"
"""  # noqa: S608  our own names
SPANS = """
with told as (
    select id, "at", app, duration_ms, outcome, case spans when '' then '[]' else spans end as spans from rows
), rooms as (
    select id, "at", app,
        unnest(json_extract_string(spans, '$[*][0]')) as name,
        unnest(json_extract(spans, '$[*][1]')::bigint[]) as start_us,
        unnest(json_extract(spans, '$[*][2]')::bigint[]) as duration_us,
        unnest(json_extract(spans, '$[*][3]'))::varchar as "values"
    from told
    union all
    select id, "at", app, 'request', 0, (duration_ms * 1e3)::bigint, to_json({outcome: outcome})::varchar from told
)
select id as request, make_timestamp(("at" * 1e6 + start_us)::bigint) as time, app, name, duration_us,
    nullif("values", '{}') as "values"
from rooms order by request, time
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """A file that counts. first, last: Unix times of the requests in it."""

    file: str
    kind: str
    first: float
    last: float
    rows: int
    bytes: int


_Written = tuple[str, str, int, int]  # a file's name, its kind, its rows and its bytes


class Sealed:
    """The files of one home. keep_s, hot_s: how long requests are kept at all, and how long in the database; 0: for ever."""

    def __init__(self, database: Tables, folder: Path, *, keep_s: float = 0.0, hot_s: float = 0.0) -> None:
        self._database, self.folder, self._keep_s, self._hot_s = database, folder, keep_s, hot_s

    def segments(self, kind: str = "", *, since: float = 0.0, until: float = float("inf")) -> list[Segment]:
        """The files that have something of that time, in the order of time."""
        self._migrate()
        rows = self._database.read(
            "select file, kind, first, last, rows, bytes from sealed where (kind = ? or ? = '') and last >= ? and first <= ?"
            " order by first, file",
            (kind, kind, since, min(until, 1e12)),
        )
        return [Segment(*row) for row in rows]

    def path(self, segment: Segment) -> Path:
        """Where a file lies."""
        return self.folder / segment.file

    def find(self, name: str) -> list[Row]:
        """The requests of a trace, or the one of an id, that were sealed. Needs no DuckDB.

        Raises StorageError for a file that is missing or damaged."""
        from penstock.observe import traces

        for _ in range(ATTEMPTS):
            parts = self.segments(TRACES)
            try:
                found = [row for part in parts for row in traces.find(self.path(part), name)]
                return sorted(found, key=lambda row: row.at)
            except StorageError:
                if self.segments(TRACES) == parts:
                    raise  # otherwise it was replaced and cleared away meanwhile
        raise Conflict("the sealed journal changes faster than it can be read", hint="try again shortly")

    def run(self, now: float = 0.0) -> int:
        """Seal what has ended, join days, forget what is past its time. Returns how many requests were sealed.

        Raises MissingExtra without DuckDB, StorageError where the disk has no room, Conflict where another process is at it.
        """
        now = now or time.time()
        self._migrate()
        with self._alone():
            self._clear()
            count = self._seal(before=now // HOUR_S * HOUR_S)
            self._join(before=(now - LATE_S) // DAY_S * DAY_S)
            self._cool(now)
            self._forget(now)
        return count  # files that were joined stay until the next time: somebody may be reading them

    def erase(self, mentioned: Callable[[str], bool]) -> int:
        """Empty every text that mentions somebody, and all that is known of what they asked. Returns how many requests it was.

        Raises Conflict while another process seals. Rooms have nobody's name in them.
        """
        self._migrate()
        count = self._erase_sums(mentioned)
        with self._alone():
            for segment in self.segments("requests"):
                with connect() as db:
                    db.execute(f"create table past as select * from read_parquet({quoted(self.path(segment))})")  # noqa: S608
                    found = _emptied(db, mentioned)
                    count += found
                    if found:
                        sql = "select * from past order by time"
                        self._replace([segment], self._write(db, "requests", sql))
            from penstock.observe import traces

            for segment in self.segments(TRACES):
                empty = _Emptied(mentioned)
                new = self._write_traces(map(empty, traces.rows(self.path(segment))))
                if empty.count:
                    self._replace([segment], new)
            self._clear()
        return count

    def _erase_sums(self, mentioned: Callable[[str], bool]) -> int:
        with self._database.write() as w:
            rows = w.execute("select * from hours").fetchall()
            wanted = [row for row in rows if any(mentioned(text) for text in row[1:6])]
            for hour, *texts in wanted:
                w.execute(
                    "delete from hours where (hour, key, person, team, app, model) = (?, ?, ?, ?, ?, ?)",
                    (hour, *texts[:5]),
                )
                left = ["" if mentioned(text) else text for text in texts[:5]]
                values = (hour, *left, *texts[5:])
                w.execute(f"insert into hours values ({', '.join('?' * len(values))}) {_ADD}", values)  # noqa: S608
            return len(wanted)

    # ---------------------------------------------------------------- steps

    def _seal(self, *, before: float) -> int:
        """Rows of hours that have ended. What arrived late is in a file of its own."""
        count = 0
        while True:
            rows = self._database.read(
                f"select {', '.join(COLUMNS)} from requests where sealed = 0 and at < ? order by at limit ?",  # noqa: S608
                (before, AT_ONCE),
            )
            if not rows:
                return count
            with connect() as db:
                db.register("rows", arrays(rows))
                made = [self._write(db, kind, sql) for kind, sql in zip(TABLES, (REQUESTS, SPANS), strict=True)]
            made.append(self._write_traces(Row(*row)._replace(said="") for row in rows))
            first, last = rows[0][COLUMNS.index("at")], rows[-1][COLUMNS.index("at")]
            with self._database.write() as w:
                w.executemany("insert into sealed values (?, ?, ?, ?, ?, ?)", [
                    (file, kind, first, last, count_, size) for file, kind, count_, size in made
                ])  # fmt: skip
                w.executemany(
                    "update requests set sealed = 1 where id = ?", [(row[COLUMNS.index("id")],) for row in rows]
                )
            count += len(rows)

    def _join(self, *, before: float) -> None:
        """The files of each day that is over become one."""
        for kind in ENDINGS:
            by_day: dict[int, list[Segment]] = {}
            for segment in self.segments(kind, until=before - 1e-3):
                if segment.last < before:
                    by_day.setdefault(int(segment.first // DAY_S), []).append(segment)
            for parts in by_day.values():
                if len(parts) > 1:
                    self._replace(parts, self._joined(kind, [self.path(part) for part in parts]))

    def _joined(self, kind: str, parts: Sequence[Path]) -> _Written:
        if kind == TRACES:
            from penstock.observe import traces

            path = self._new(kind)
            return path.name, kind, traces.join(path, parts), path.stat().st_size
        order = "time" if kind == "requests" else "request, time"
        with connect() as db:
            return self._write(db, kind, f"{reading([quoted(part) for part in parts])} order by {order}")

    def _replace(self, parts: Sequence[Segment], new: _Written) -> None:
        file, kind, count, size = new
        first, last = min(part.first for part in parts), max(part.last for part in parts)
        with self._database.write() as w:
            w.executemany("delete from sealed where file = ?", [(part.file,) for part in parts])
            if count:
                w.execute("insert into sealed values (?, ?, ?, ?, ?, ?)", (file, kind, first, last, count, size))

    def _cool(self, now: float) -> None:
        """Rows leave the database, and their sums stay. Those with words in them stay as long as their words do."""
        if not self._hot_s:
            return
        with self._database.write() as w:
            where = "sealed = 1 and said = '' and at < ?"
            sums = "count(*), count(*) filter (where outcome = 'ok'), sum(input_tokens), sum(output_tokens), sum(cost_pico_usd)"
            hours = f"insert into hours select {self._database.hour_of('at')}, key, person, team, app, model, {sums}"
            w.execute(f"{hours} from requests where {where} group by 1, 2, 3, 4, 5, 6 {_ADD}", (now - self._hot_s,))
            w.execute(f"delete from requests where {where}", (now - self._hot_s,))  # noqa: S608

    def _forget(self, now: float) -> None:
        if self._keep_s:
            with self._database.write() as w:
                w.execute("delete from sealed where last < ?", (now - self._keep_s,))
                w.execute("delete from hours where hour < ?", ((now - self._keep_s) // HOUR_S,))

    def _clear(self) -> None:
        """Remove the files that do not count: those that were joined or are past their time, and what a killed process left."""
        known = {segment.file for segment in self.segments()}
        for ending in set(ENDINGS.values()):
            for path in self.folder.glob(f"*{ending}*"):
                if path.name not in known:
                    path.unlink(missing_ok=True)

    def _new(self, kind: str) -> Path:
        """Where a new file goes, which does not count until the list has it."""
        return self.folder / f"{kind}-{time.time_ns()}{ENDINGS[kind]}"

    def _write(self, db: duckdb.DuckDBPyConnection, kind: str, sql: str) -> _Written:
        path = self._new(kind)
        row = db.execute(
            f"copy ({sql}) to {quoted(path)} (format parquet, compression zstd, compression_level 6)"
        ).fetchone()
        return path.name, kind, int(row[0]) if row else 0, path.stat().st_size

    def _write_traces(self, rows: Iterable[Row]) -> _Written:
        from penstock.observe import traces  # and numpy with it, which a plain gateway does without

        path = self._new(TRACES)
        return path.name, TRACES, traces.write(path, rows), path.stat().st_size

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise Conflict("another process is sealing the journal") from error
        try:
            yield
        finally:
            lock.release()

    def _migrate(self) -> None:
        self._database.migrate("sealed", STEPS)


def is_installed() -> bool:
    """Whether DuckDB is, without which nothing is sealed and all stays in the database."""
    return importlib.util.find_spec("duckdb") is not None


def seal(database: Path | str, folder: Path, keep_s: float, hot_s: float) -> int:
    """`Sealed.run` in a process of its own, so that whoever serves never loads DuckDB. database: its file, or its address."""
    opened: Tables = Database(database) if isinstance(database, Path) else Postgres(database)
    try:
        return Sealed(opened, folder, keep_s=keep_s, hot_s=hot_s).run()
    finally:
        opened.close()


@contextmanager
def connect(threads: int = 1) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB in memory, which fetches nothing from the network. Raises MissingExtra where it is not installed, and StorageError for
    what it cannot read or write."""
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtra("DuckDB, which reads the sealed journal,", extra="analytics") from error
    config: dict[str, Any] = {
        "threads": threads,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    db = duckdb.connect(config=config)
    try:
        db.execute("set timezone = 'UTC'")
        yield db
    except duckdb.IOException as error:
        raise StorageError(f"the sealed journal: {str(error).splitlines()[0]}") from error
    finally:
        db.close()


def quoted(path: Path) -> str:
    """A file's name as SQL writes it."""
    return "'" + str(path).replace("'", "''") + "'"


def reading(files: Sequence[str]) -> str:
    """The SQL that reads files as one; what a column is that older ones have not, is empty there."""
    return f"select * from read_parquet([{', '.join(files)}], union_by_name = true)"  # noqa: S608


def arrays(rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Rows of COLUMNS as arrays that DuckDB reads, by their names."""
    import numpy as np

    kinds: dict[type, Any] = {str: object, int: np.int64, bool: np.int64, float: np.float64}
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    hints = get_type_hints(Row)
    return {name: np.array(column, kinds[hints[name]]) for name, column in zip(COLUMNS, columns, strict=True)}


class _Emptied:
    """Empties the texts of rows that mention somebody, as `_emptied` does those of a table. count: of how many."""

    def __init__(self, mentioned: Callable[[str], bool]) -> None:
        self._mentioned, self.count = cache(mentioned), 0

    def __call__(self, row: Row) -> Row:
        found = [name for name in _TEXTS if (text := getattr(row, name)) and self._mentioned(text)]
        self.count += bool(found)
        also = ("guarded", "calls", "error", "answer") if "person" in found else ()
        empty: dict[str, Any] = dict.fromkeys((*found, *also), "")
        return row._replace(**empty)


def _emptied(db: duckdb.DuckDBPyConnection, mentioned: Callable[[str], bool]) -> int:
    """Empty the texts of a table that mention somebody. Returns in how many of its rows."""
    db.execute("alter table past add column found boolean default false")
    texts = [name for name in _PLAIN if name in _TEXTS]
    for name in texts:
        values = [value for (value,) in db.execute(f'select distinct "{name}" from past').fetchall() if value]  # noqa: S608
        for value in filter(mentioned, values):
            also = ", guarded = '', calls = '', error = '', answer = ''" if name == "person" else ""
            db.execute(f'update past set "{name}" = \'\', found = true{also} where "{name}" = ?', [value])  # noqa: S608
    row = db.execute("select count(*) from past where found").fetchone()
    db.execute("alter table past drop column found")
    return int(row[0]) if row else 0
