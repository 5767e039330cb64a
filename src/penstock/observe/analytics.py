"""The whole journal as two tables, `requests` and `spans`: what is sealed, and what is still in the database.

DuckDB reads them where they lie. Nothing is copied, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.errors import BadRequest
from penstock.observe.journal import COLUMNS
from penstock.observe.sealed import REQUESTS, SPANS, TABLES, Sealed, arrays, connect, quoted, reading
from penstock.storage.database import Tables

if TYPE_CHECKING:
    import duckdb

__all__ = ["Analytics", "Moment", "Room"]

MOST_MOMENTS = 100_000
LONGEST_S = 3600.0  # a room may be passed so long after its request arrived

_SERIES = """
select floor(epoch(time) / {step}) * {step} as second, count(*), count(*) filter (outcome = 'ok'),
    count(*) filter (outcome = 'refused'), count(*) filter (outcome = 'failed'), count(*) filter (cached),
    coalesce(quantile_cont(duration_ms, 0.5), 0), coalesce(quantile_cont(duration_ms, 0.95), 0),
    coalesce(quantile_cont(first_ms, 0.5) filter (first_ms > 0), 0), sum(input_tokens), sum(output_tokens),
    sum(cost_pico_usd) / 1e12,
    coalesce(sum((answer ->> '$.claims.supported')::int) filter (answer != ''), 0),
    coalesce(sum(coalesce((answer ->> '$.claims.contradicted')::int, 0) + coalesce((answer ->> '$.claims.not_found')::int, 0))
        filter (answer != ''), 0)
from requests where time >= make_timestamp(?::bigint) and time < make_timestamp(?::bigint)
    and (app = ? or ? = '') and (model = ? or ? = '') group by 1 order by 1
"""
_ROOMS = """
select floor(epoch(time) / {step}) * {step} as second, name, count(*), quantile_cont(duration_us, 0.5) / 1e3,
    quantile_cont(duration_us, 0.95) / 1e3
from spans where time >= make_timestamp(?::bigint) and time < make_timestamp(?::bigint) group by 1, 2 order by 1, 2
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """What happened in one stretch of time. Times in milliseconds."""

    at: float  # Unix time of its beginning
    requests: int
    answered: int
    refused: int
    failed: int
    cached: int
    duration_p50_ms: float
    duration_p95_ms: float
    first_p50_ms: float
    input_tokens: int
    output_tokens: int
    cost_usd: float
    supported: int  # sentences that were checked, and are in their sources
    unsupported: int


@dataclass(frozen=True, slots=True)
class Room:
    """How long one room took in one stretch of time, in milliseconds."""

    at: float
    name: str
    passed: int
    p50_ms: float
    p95_ms: float


class Analytics:
    """Questions about the journal as a whole. Raises MissingExtra without DuckDB."""

    def __init__(self, database: Tables, sealed: Sealed, *, threads: int = 2) -> None:
        self._database, self._sealed, self._threads = database, sealed, threads

    def series(
        self, *, since: float, until: float, step_s: float = 60.0, app: str = "", model: str = ""
    ) -> list[Moment]:
        """One entry for each stretch of time in which something was asked. Raises BadRequest for more than MOST_MOMENTS."""
        if step_s < 1 or (until - since) / step_s > MOST_MOMENTS:
            raise BadRequest(f"more than {MOST_MOMENTS:,} moments", hint="ask for longer steps, or a shorter time")
        with self.opened(since=since, until=until) as db:
            values = (int(since * 1e6), int(until * 1e6), app, app, model, model)
            rows = db.execute(_SERIES.format(step=float(step_s)), values).fetchall()
        return [Moment(*row) for row in rows]

    def rooms(self, *, since: float, until: float, step_s: float = 60.0) -> list[Room]:
        """How long each room took, stretch by stretch."""
        with self.opened(since=max(0.0, since - LONGEST_S), until=until) as db:
            rows = db.execute(_ROOMS.format(step=float(step_s)), (int(since * 1e6), int(until * 1e6))).fetchall()
        return [Room(*row) for row in rows]

    def sql(self, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The names of the columns, and the rows, that a query of one's own gives. Raises BadRequest for one that is wrong."""
        import duckdb

        with self.opened() as db:
            try:
                found = db.execute(query)
                return [column[0] for column in found.description or ()], found.fetchall()
            except duckdb.IOException:
                raise
            except duckdb.Error as error:
                raise BadRequest(str(error).strip(), hint="the tables are `requests` and `spans`") from error

    @contextmanager
    def opened(self, *, since: float = 0.0, until: float = float("inf")) -> Iterator[duckdb.DuckDBPyConnection]:
        """DuckDB with the views `requests` and `spans`, which have at least all of that time."""
        hot = self._database.read(
            f"select {', '.join(COLUMNS)} from requests where sealed = 0 and at >= ? and at <= ? order by at",  # noqa: S608
            (since - 86_400.0 if since else 0.0, min(until, 1e12)),
        )
        with connect(self._threads) as db:
            db.register("rows", arrays(hot))
            for kind, fresh in zip(TABLES, (REQUESTS, SPANS), strict=True):
                files = [
                    quoted(self._sealed.path(part)) for part in self._sealed.segments(kind, since=since, until=until)
                ]
                old = f"{reading(files)} union all by name " if files else ""
                db.execute(f"create view {kind} as {old}({fresh})")
            yield db
