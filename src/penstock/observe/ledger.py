"""What the journal says, for people: what was spent, by whom and on what, and the latest requests.

It reads the database and needs nothing else. A request is in it about a second after it has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import orjson

from penstock.config import iso
from penstock.observe.journal import COLUMNS, Row
from penstock.storage.database import Tables

__all__ = ["FILTERS", "Asked", "Hour", "Ledger", "Per", "Spent", "added_up", "plain_request"]

Per = Literal["key", "team", "person", "app", "model", "day"]
USD = 10**12  # picodollars
_ALL = ", ".join(COLUMNS)
FILTERS = ("key", "team", "person", "app", "model", "outcome")


class Spent(NamedTuple):
    """What requests took together. name: of the key, team, …; of a day, its date in UTC."""

    name: str
    requests: int
    answered: int  # of them; the others were refused, failed or given up
    input_tokens: int
    output_tokens: int
    cost_pico_usd: int

    def plain(self) -> dict[str, Any]:
        values = self._asdict()
        return values | {"cost_usd": values.pop("cost_pico_usd") / USD}


class Hour(NamedTuple):
    """What was asked in one hour. at: Unix time of its beginning."""

    at: int
    requests: int
    answered: int
    refused: int
    failed: int
    cached: int
    duration_ms: float  # mean
    cost_pico_usd: int


class Asked(NamedTuple):
    """What was asked of one app. refused: by the server, or by the app in its answer; unanswered: what it found no answer to;
    p95_ms: of the answers, None where there are none."""

    app: str
    requests: int
    ok: int
    refused: int
    unanswered: int
    failed: int
    cost_pico_usd: int
    p95_ms: float | None

    def plain(self) -> dict[str, Any]:
        values = self._asdict()
        return values | {"cost_usd": values.pop("cost_pico_usd") / USD}


class Ledger:
    """The journal as it stands in one database."""

    def __init__(self, database: Tables) -> None:
        self._database = database

    def spent(self, by: Per, *, since: float, key: str | None = None) -> list[Spent]:
        """What was spent since a Unix time, most first; by day, in the order of time. key: only by this one."""
        if by not in get_args(Per) or not self._is_there():
            return []
        column = self._database.date_of("at") if by == "day" else by
        values: tuple[float | str, ...] = (since,) if key is None else (since, key)
        whose = "" if key is None else "and key = ?"
        sums = (
            f"select {column} as name, count(*) as requests, count(*) filter (where outcome = 'ok') as answered,"  # noqa: S608
            " sum(input_tokens) as given, sum(output_tokens) as made, sum(cost_pico_usd) as cost from requests"
            f" where at >= ? {whose} group by 1"
        )
        if self._is_there("hours"):  # of rows that have left for the sealed files
            sums += (
                f" union all select {column}, requests, answered, input_tokens, output_tokens, cost_pico_usd from"  # noqa: S608
                f" (select *, hour * 3600 as at from hours) as h where at >= ? {whose}"
            )
            values *= 2
        rows = self._database.read(
            f"select name, sum(requests), sum(answered), sum(given), sum(made), sum(cost) from ({sums}) as s"  # noqa: S608
            f" group by 1 order by {'1' if by == 'day' else '6 desc, 2 desc, 1'}",
            values,
        )
        return [Spent(name, *map(int, sums_)) for name, *sums_ in rows]

    def by_hour(self, *, since: float, app: str = "") -> list[Hour]:
        """The hours since a Unix time in which something was asked, in order. app: only of this one. Of what has left for the
        sealed files, nothing."""
        if not self._is_there():
            return []
        counts = ", ".join(f"count(*) filter (where outcome = '{outcome}')" for outcome in ("ok", "refused", "failed"))
        rows = self._database.read(
            f"select {self._database.hour_of('at')}, count(*), {counts}, count(*) filter (where cached = 1), avg(duration_ms),"  # noqa: S608
            f" sum(cost_pico_usd) from requests where at >= ?{' and app = ?' if app else ''} group by 1 order by 1",
            (since, app) if app else (since,),
        )
        return [
            Hour(int(hour) * 3600, every, ok, refused, failed, cached, float(took), int(cost))
            for hour, every, ok, refused, failed, cached, took, cost in rows
        ]

    def apps(self, *, since: float) -> list[Asked]:
        """What was asked of each app since a Unix time. Of what has left for the sealed files, nothing."""
        if not self._is_there():
            return []
        rows = self._database.read(
            "select app, count(*), count(*) filter (where outcome = 'ok'),"
            " count(*) filter (where outcome = 'refused' or answer like '{\"status\":\"refused\"%'),"
            " count(*) filter (where answer like '{\"status\":\"not_found\"%'), count(*) filter (where outcome = 'failed'),"
            " sum(cost_pico_usd) from requests where at >= ? and app != '' group by app order by app",
            (since,),
        )
        slow = "select duration_ms from requests where at >= ? and app = ? and outcome = 'ok' order by 1 desc limit 1 offset ?"
        found = []
        for app, every, ok, refused, unanswered, failed, cost in rows:
            p95 = self._database.read(slow, (since, app, ok // 20)) if ok else []
            took = float(p95[0][0]) if p95 else None
            found.append(Asked(app, every, ok, refused, unanswered, failed, int(cost), took))
        return found

    def made(self, by: Per, *, since: float) -> list[tuple[str, Row]]:
        """What models wrote since a Unix time: the name to add up by, and a row that stands for all calls of one model, or for one
        request that asked several. Of what has left for the sealed files, nothing."""
        if by not in get_args(Per) or not self._is_there():
            return []
        column = self._database.date_of("at") if by == "day" else by
        rows = self._database.read(
            f"select {column}, model, calls, sum(duration_ms), sum(output_tokens) from requests where at >= ? and"  # noqa: S608
            " cached = 0 and output_tokens > 0 group by 1, 2, 3",
            (since,),
        )
        return [(name, _standing_for(model, calls, took, int(tokens))) for name, model, calls, took, tokens in rows]

    def requests(
        self, wanted: Mapping[str, str] | None = None, *, limit: int = 20, before: float = 0.0, since: float = 0.0,
        after: str = "", guarded: bool = False,
    ) -> list[Row]:  # fmt: skip
        """The latest requests first. wanted: values of the columns in FILTERS; before, since: Unix times; after: the id of the last
        one that is known, to go on behind it; guarded: only those in which the guard found something."""
        if not self._is_there():
            return []
        conditions: list[tuple[str, tuple[str | float, ...]]] = [("at >= ?", (since,))]
        if before:
            conditions.append(("at < ?", (before - 1e-6,)))  # what is written is rounded to microseconds
        if after:
            conditions.append(("(at, id) < (select at, id from requests where id = ?)", (after,)))
        conditions += [(f"{name} = ?", (value,)) for name, value in (wanted or {}).items() if name in FILTERS]
        if guarded:
            conditions.append(("guarded != ''", ()))
        rows = self._database.read(
            f"select {_ALL} from requests where {' and '.join(said for said, _ in conditions)}"  # noqa: S608  our own names
            " order by at desc, id desc limit ?",
            (*(value for _, values in conditions for value in values), limit),
        )
        return [Row(*row) for row in rows]

    def kept(self, apps: Sequence[str], *, limit: int) -> list[Row]:
        """Of the latest requests of these apps those whose words are kept, latest first."""
        if not apps or not self._is_there():
            return []
        marks = ", ".join("?" * len(apps))
        asked = (
            f"select {_ALL} from requests where said != '' and app in ({marks}) order by at desc, rowid desc limit ?"  # noqa: S608
        )
        return [Row(*row) for row in self._database.read(asked, (*apps, limit))]

    def from_cache(self, *, since: float) -> dict[str, tuple[int, int]]:
        """By the name that was asked for, how often since a Unix time, and how often of that the answer was a kept one."""
        if not self._is_there():
            return {}
        rows = self._database.read(
            "select model, count(*), count(*) filter (where cached = 1) from requests where at >= ? group by model",
            (since,),
        )
        return {model: (int(every), int(kept)) for model, every, kept in rows}

    def request(self, trace_id: str) -> list[Row]:
        """The requests of one trace: callers may give several the same."""
        if not self._is_there():
            return []
        asked = f"select {_ALL} from requests where trace_id = ? or id = ? order by at"  # noqa: S608
        rows = self._database.read(asked, (trace_id, trace_id))
        return [Row(*row) for row in rows]

    def answers(self, *, limit: int, app: str = "", since: float = 0.0) -> list[tuple[str, float, dict[str, Any]]]:
        """Of the latest answers of apps, or of one, since a Unix time the app, how long it took in milliseconds, and what is known
        of the answer."""
        if not self._is_there():
            return []
        rows = self._database.read(
            "select app, duration_ms, answer from requests where answer != '' and at >= ?"  # noqa: S608
            f"{' and app = ?' if app else ''} order by at desc limit ?",
            (since, app, limit) if app else (since, limit),
        )
        return [(app, took, orjson.loads(answer)) for app, took, answer in rows]

    def used(self, counter: str, window: int) -> int:
        """What is booked of a limit, by the name of its counter."""
        if not self._is_there():
            return 0
        rows = self._database.read('select used from spend where counter = ? and "window" = ?', (counter, window))
        return int(rows[0][0]) if rows else 0

    def subjects(self, budget: str, windows: tuple[int, ...], *, limit: int) -> list[str]:
        """Whose share of a budget `per` something was used in these windows, most first."""
        if not self._is_there():
            return []
        prefix = f"budget/{budget}/"
        rows = self._database.read(
            f'select counter from spend where substr(counter, 1, ?) = ? and "window" in ({", ".join("?" * len(windows))})'  # noqa: S608
            " group by counter order by max(used) desc limit ?",
            (len(prefix), prefix, *windows, limit),
        )
        names = (row[0].removeprefix(prefix).rpartition("/")[0] for row in rows)
        return list(dict.fromkeys(filter(None, names)))

    def _is_there(self, table: str = "requests") -> bool:
        """Whether a journal was ever kept: who looks at an empty home makes nothing in it."""
        return self._database.has(table)


def _standing_for(model: str, calls: str, duration_ms: float, output_tokens: int) -> Row:
    texts = ("", "", 0.0, "", "", "", "", model, "chat")
    return Row(*texts, False, 200, "ok", "", False, 0.0, duration_ms, 0, output_tokens, 0, 0, 0, calls)


def added_up(rows: Sequence[Spent], name: str = "") -> Spent:
    """All rows as one."""
    return Spent(name, *(sum(int(row[n]) for row in rows) for n in range(1, len(Spent._fields))))


def plain_request(row: Row) -> dict[str, Any]:
    """A request as JSON. calls: each upstream that was asked, where there was not exactly one. said: whether its words are kept."""
    values = row._asdict()
    values["at"] = iso(row.at, timespec="microseconds")
    values["streamed"], values["cached"] = bool(row.streamed), bool(row.cached)
    values["first_ms"], values["duration_ms"] = round(row.first_ms, 3), round(row.duration_ms, 3)
    values["cost_usd"] = values.pop("cost_pico_usd") / USD
    values["guarded"] = orjson.loads(row.guarded) if row.guarded else []
    calls = orjson.loads(row.calls) if row.calls else []
    values["answer"] = orjson.loads(row.answer) if row.answer else None
    values["spans"] = [
        {"name": name, "at_ms": at / 1e3, "duration_ms": took / 1e3, "values": said}
        for name, at, took, said in orjson.loads(row.spans or "[]")
    ]
    values["said"] = bool(row.said)
    values["calls"] = [{"cost_usd": call.pop("cost_pico_usd") / USD, **call} for call in calls]
    return values
