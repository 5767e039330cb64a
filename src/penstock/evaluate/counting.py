"""From the journal's rows to the sums of each arm. It follows the journal by the place in it, which is written down with the sums
in one transaction: a process that is killed has counted everything once when another goes on.

A unit counts in the stage and the arm in which it was first seen; what it does elsewhere is left out. Its metric counts once, when
it has been watched for the time that was agreed (`complete`); guardrails count it from its first request on, as it stands, so that
harm is seen at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import orjson

from penstock.config import ABSettings
from penstock.evaluate.arms import PREFIX, Stamp, stamp_of, told_of, unit_of
from penstock.evaluate.effects import SUMS, Arm
from penstock.evaluate.live import CONTROL, HOLDOUT, Experiments, Live, definition_of, digest_of
from penstock.evaluate.outcomes import outcome
from penstock.observe.journal import COLUMNS, Row

__all__ = ["Counting", "Said", "arm_of", "runs_on"]

Said = Callable[
    [Sequence[str]], Mapping[str, float]
]  # requests -> how satisfied people were, 0 to 1, of those that say so

AT_ONCE = 2000  # rows
AT_ONCE_BEFORE = 20_000
BEFORE_S = 28 * 86_400.0  # of the time before that counts
MOST_REQUESTS = 200  # of one unit, whose opinions are looked up

_READ = [name for name in COLUMNS if name not in ("calls", "guarded", "spans", "said")]  # no words
_PLACES = [COLUMNS.index(name) for name in _READ]
_SELECT = f"select rowid, {', '.join(_READ)} from requests"  # noqa: S608  our own names


def arm_of(numbers: Sequence[float] | None) -> Arm:
    """Ten sums, from JSON."""
    return Arm(*numbers) if numbers else Arm()


def runs_on(settings: ABSettings, metric: str) -> bool:
    """Whether a guardrail counts a unit from its first request on. Opinions come later, and what answers cost has no deviation that
    could be known beforehand; of a single request the value is final at once."""
    return metric != "satisfied" and (settings.unit == "request" or metric != "cost")


class _Unit(NamedTuple):
    """Somebody who takes part, as far as is kept. kept: metric -> (requests, sum of their values)."""

    stage: int
    arm: str
    first: float
    kept: dict[str, tuple[int, float]]
    requests: list[str]
    done: bool = False


@dataclass
class _Batch:
    """What a transaction changes: sums of stages by (name, stage), and units by (name, digest)."""

    sums: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    units: dict[tuple[str, str], _Unit] = field(default_factory=dict)

    def add(self, name: str, stage: int, arm: str, metric: str, more: Arm) -> None:
        of_arm = self.sums[name, stage].setdefault(arm, {})
        grown = arm_of(of_arm.get(metric)) + more
        of_arm[metric] = [float(getattr(grown, one)) for one in SUMS]

    def count(self, name: str, stage: int, arm: str, what: str) -> None:
        of_arm = self.sums[name, stage].setdefault(arm, {})
        of_arm[what] = of_arm.get(what, 0) + 1


class Counting:
    """The sums of all running experiments. said: what people said of requests."""

    def __init__(self, experiments: Experiments, *, said: Said) -> None:
        self._experiments, self._said = experiments, said
        self._tables = experiments.tables
        self._definitions = {name: definition_of(settings) for name, settings in experiments.settings.items()}

    def running(self) -> dict[str, Live]:
        """Those that run and are as the settings have them: others are somebody else's."""
        return self._of_ours(self._experiments.all())

    def _of_ours(self, known: Iterable[Live]) -> dict[str, Live]:
        return {
            one.name: one
            for one in known
            if one.state == "running" and one.definition == self._definitions.get(one.name)
        }

    # ---------------------------------------------------------------- rows

    def follow(self, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Count what is new. Raises StorageError or Conflict."""
        while self._tables.has("requests") and not stop() and self._next():
            pass

    def _next(self) -> bool:
        """One piece. Returns whether there may be more."""
        ((last,),) = self._tables.read("select max(rowid) from requests")
        ((place, number, _),) = self._tables.read("select place, id, newest from ab_place")
        if (last or 0) == place and number == self._id_at(place):
            return False
        with self._tables.write() as w:
            place, number, newest = w.execute("select place, id, newest from ab_place").fetchone()
            here = w.execute("select id from requests where rowid = ?", (place,)).fetchone()
            last = w.execute("select max(rowid) from requests").fetchone()[0] or 0
            if place and (
                here[0] != number if here else last < place
            ):  # numbers begin again when all rows were removed
                place = 0
            else:
                newest = 0.0
            end = w.execute(
                "select rowid, id, at from (select rowid, id, at from requests where rowid > ? order by rowid limit ?) piece"
                " order by rowid desc limit 1",
                (place, AT_ONCE),
            ).fetchone()
            if end is None:
                return False
            found = w.execute(
                f"{_SELECT} where rowid > ? and rowid <= ? and at > ? and answer like ? order by rowid",
                (place, end[0], newest, f'%"{PREFIX}%'),
            ).fetchall()
            self._count(w, [_row(values) for _, *values in found])
            w.execute("update ab_place set place = ?, id = ?, newest = ?", end)
        return bool(end[0] < last)

    def _id_at(self, place: int) -> str:
        rows = self._tables.read("select id from requests where rowid = ?", (place,))
        return rows[0][0] if rows else ""

    def _count(self, w: Any, rows: Sequence[Row]) -> None:
        running, batch = self._of_ours(self._experiments.all(w)), _Batch()
        for row in rows:
            told = told_of(row.answer)
            versions = told.get("versions")
            for version, said in versions.items() if isinstance(versions, Mapping) else ():
                live = running.get(version.removeprefix(PREFIX)) if version.startswith(PREFIX) else None
                stamp = stamp_of(said) if live is not None else None
                if live is not None and stamp is not None and live.first_stage <= stamp.stage <= live.stage:
                    self._take(w, batch, live, stamp, row, told)
        self._write(w, batch)

    def _take(self, w: Any, batch: _Batch, live: Live, stamp: Stamp, row: Row, told: Mapping[str, Any]) -> None:
        """One request of an experiment."""
        settings, name = self._experiments.settings[live.name], live.name
        if stamp.arm not in (CONTROL, HOLDOUT, *settings.arms) or row.at < live.started - 1:
            return
        self._load(w, batch, name, stamp.stage)
        digest = stamp.unit or digest_of(
            live.salt, unit_of(settings.unit, key=row.key, person=row.person, request=row.id)
        )
        unit = self._unit(w, batch, name, digest)
        if unit is None:
            unit = _Unit(stamp.stage, stamp.arm, row.at, {}, [])
        elsewhere = (unit.stage, unit.arm) != (stamp.stage, stamp.arm)
        if elsewhere or unit.done or row.at > unit.first + settings.window:
            batch.count(name, stamp.stage, stamp.arm, "left_out")
            return
        kept = dict(unit.kept)
        for metric in (settings.metric, *settings.guardrails):
            value = outcome(metric, row, told)
            if value is None:
                continue
            n, total = kept.get(metric, (0, 0.0))
            kept[metric] = (n + 1, total + value)
            if metric != settings.metric and runs_on(settings, metric):
                batch.add(name, stamp.stage, stamp.arm, metric, _one(*kept[metric]) - _one(n, total))
        asks = "satisfied" in (settings.metric, *settings.guardrails)
        requests = [*unit.requests, row.id][-MOST_REQUESTS:] if asks else []
        batch.units[name, digest] = unit._replace(first=min(unit.first, row.at), kept=kept, requests=requests)

    # ---------------------------------------------------------------- units that are complete

    def complete(self, now: float, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Count those that have been watched for long enough. Raises StorageError or Conflict."""
        for name, live in self.running().items():
            before = now - self._experiments.settings[name].window
            while live.before_row < 0 and not stop() and self._complete(live, before):
                pass

    def _complete(self, live: Live, before: float) -> bool:
        """Some of them. Returns whether there were any."""
        due = "select unit, stage, arm, first, kept, done from ab_units where name = ? and done = 0 and first <= ?"
        if not self._tables.read(f"{due} limit 1", (live.name, before)):
            return False
        settings, batch = self._experiments.settings[live.name], _Batch()
        with self._tables.write() as w:
            units = {
                digest: _of_row(*values)
                for digest, *values in w.execute(
                    f"{due} order by first limit ?", (live.name, before, AT_ONCE)
                ).fetchall()
            }
            asked = [request for unit in units.values() for request in unit.requests]
            said = self._said(asked) if asked else {}
            for digest, unit in units.items():
                self._load(w, batch, live.name, unit.stage)
                self._finish(w, batch, live, settings, digest, unit, said)
                if settings.unit == "request":  # it never comes back
                    w.execute("delete from ab_units where name = ? and unit = ?", (live.name, digest))
                else:
                    batch.units[live.name, digest] = unit._replace(kept={}, requests=[], done=True)
            self._write(w, batch)
        return bool(units)

    def _finish(
        self,
        w: Any,
        batch: _Batch,
        live: Live,
        settings: ABSettings,
        digest: str,
        unit: _Unit,
        said: Mapping[str, float],
    ) -> None:
        kept = dict(unit.kept)
        if opinions := [said[request] for request in unit.requests if request in said]:
            kept["satisfied"] = (len(opinions), math.fsum(opinions))
        batch.count(live.name, unit.stage, unit.arm, "units")
        for metric in (settings.metric, *settings.guardrails):
            if metric not in kept or (metric != settings.metric and runs_on(settings, metric)):
                continue
            known = self._before(w, live, digest) if metric == settings.metric else 0.0
            batch.add(live.name, unit.stage, unit.arm, metric, _one(*kept[metric], before=known))

    # ---------------------------------------------------------------- the time before

    def look_back(self, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Read how units did before each experiment began, piece by piece, and once."""
        for name, live in self.running().items():
            while live.before_row >= 0 and not stop():
                live = self._look_back(live, self._experiments.settings[name])

    def _look_back(self, live: Live, settings: ABSettings) -> Live:
        there = self._tables.has("requests")
        with self._tables.write() as w:
            row = w.execute("select before_row from ab_experiments where name = ?", (live.name,)).fetchone()
            ends = (
                there
                and w.execute(
                    "select max(rowid) from (select rowid from requests where rowid > ? order by rowid limit ?) piece",
                    (row[0], AT_ONCE_BEFORE),
                ).fetchone()
            )
            if row[0] < 0 or not ends or ends[0] is None:
                return self._looked_back(w, live)
            found = w.execute(
                f"{_SELECT} where rowid > ? and rowid <= ? and at >= ? and at < ? and model = ?",
                (row[0], ends[0], live.started - BEFORE_S, live.started, settings.target),
            ).fetchall()
            sums: dict[str, tuple[int, float]] = {}
            for _, *values in found:
                one = _row(values)
                value = outcome(settings.metric, one, told_of(one.answer))
                if value is not None:
                    digest = digest_of(
                        live.salt, unit_of(settings.unit, key=one.key, person=one.person, request=one.id)
                    )
                    n, total = sums.get(digest, (0, 0.0))
                    sums[digest] = (n + 1, total + value)
            w.executemany(
                "insert into ab_before values (?, ?, ?, ?) on conflict (name, unit) do update set"
                " n = ab_before.n + excluded.n, total = ab_before.total + excluded.total",
                [(live.name, digest, n, total) for digest, (n, total) in sums.items()],
            )
            return self._at_row(w, live, ends[0], None)

    def _looked_back(self, w: Any, live: Live) -> Live:
        (mean,) = w.execute("select avg(total / n) from ab_before where name = ?", (live.name,)).fetchone()
        return self._at_row(w, live, -1, mean)

    @staticmethod
    def _at_row(w: Any, live: Live, row: int, mean: float | None) -> Live:
        w.execute("update ab_experiments set before_row = ?, before_mean = ? where name = ?", (row, mean, live.name))
        return replace(live, before_row=row, before_mean=mean)

    @staticmethod
    def _before(w: Any, live: Live, digest: str) -> float:
        """How a unit did before, less the mean of all: 0 stands in where that is not known."""
        if live.before_mean is None:
            return 0.0
        row = w.execute("select n, total from ab_before where name = ? and unit = ?", (live.name, digest)).fetchone()
        return row[1] / row[0] - live.before_mean if row else 0.0

    # ---------------------------------------------------------------- read and written

    @staticmethod
    def _load(w: Any, batch: _Batch, name: str, stage: int) -> None:
        if (name, stage) not in batch.sums:
            row = w.execute("select sums from ab_stages where name = ? and stage = ?", (name, stage)).fetchone()
            batch.sums[name, stage] = orjson.loads(row[0]) if row else {}

    @staticmethod
    def _unit(w: Any, batch: _Batch, name: str, digest: str) -> _Unit | None:
        found = batch.units.get((name, digest))
        if found is None:
            row = w.execute(
                "select stage, arm, first, kept, done from ab_units where name = ? and unit = ?", (name, digest)
            ).fetchone()
            found = _of_row(*row) if row else None
        return found

    @staticmethod
    def _write(w: Any, batch: _Batch) -> None:
        """`changes` tells whoever decides, perhaps elsewhere, that there is something new."""
        w.executemany(
            "update ab_stages set sums = ?, changes = changes + 1 where name = ? and stage = ?",
            [(orjson.dumps(sums).decode(), *place) for place, sums in batch.sums.items()],
        )
        w.executemany(
            "insert into ab_units values (?, ?, ?, ?, ?, ?, ?) on conflict (name, unit) do update set"
            " first = excluded.first, kept = excluded.kept, done = excluded.done",
            [
                (*place, unit.stage, unit.arm, unit.first, _kept(unit), int(unit.done))
                for place, unit in batch.units.items()
            ],
        )


def _one(n: int, total: float, *, before: float = 0.0) -> Arm:
    """A unit with the mean of its requests; nothing where it has none."""
    return Arm.of(total / n, 1.0, before) if n else Arm()


def _kept(unit: _Unit) -> str:
    return "" if unit.done else orjson.dumps([unit.kept, unit.requests]).decode()


def _of_row(stage: int, arm: str, first: float, kept: str, done: int) -> _Unit:
    values, requests = orjson.loads(kept) if kept else ({}, [])
    return _Unit(stage, arm, first, {metric: (n, total) for metric, (n, total) in values.items()}, requests, bool(done))


def _row(values: Sequence[Any]) -> Row:
    whole: list[Any] = [""] * len(COLUMNS)
    for place, value in zip(_PLACES, values, strict=True):
        whole[place] = value
    return Row(*whole)
