"""What the journal's rows add up to, by the minute and by the hour: for objectives good and bad ones, for anomalies means.

The counts follow the journal row by row and are written down now and then together with the place in the journal that they reach
to, so a process that is killed has counted every request once when it is started again. They need neither old rows nor much memory:
a series is a few thousand numbers, and there is a limit to how many there are.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple
from functools import partial
from typing import Any, Final, NamedTuple

import orjson

from penstock.observe.counts import DAY_S, HISTORY_H, HOUR_S, MINUTE_S, SLOT_S, Counts, Observed, Slot
from penstock.observe.journal import COLUMNS, Row
from penstock.observe.objectives import Counted, Objective, Standing, judged, rules, standing, subject_of
from penstock.storage.database import Database, Tables

__all__ = ["MEASURES", "Opinion", "Tally"]

MOST_SUBJECTS = 100  # of apps and models; the rest is counted together
OTHERS = "(others)"
AT_ONCE = 2000  # rows
PRUNE_EVERY_S = 3600.0
LISTEN_EVERY_S = 600.0
MEASURES: Final = (
    "cost",
    "length",
    "refusals",
    "latency",
)  # alerts say where they are not as usual; others are there to be looked at

STEPS = [
    """
    create table tally_counts (
        objective text not null, subject text not null, step_s integer not null, number integer not null, good integer not null,
        bad integer not null, primary key (objective, subject, step_s, number)
    ) strict, without rowid;
    create table tally_samples (
        objective text not null, subject text not null, requests text not null, primary key (objective, subject)
    ) strict, without rowid;
    create table tally_measures (
        measure text not null, subject text not null, step_s integer not null, number integer not null, n integer not null,
        total real not null, squares real not null, expected real, primary key (measure, subject, step_s, number)
    ) strict, without rowid;
    create table tally_place (
        one integer primary key check (one = 1), definition text not null, row integer not null, id text not null,
        newest real not null
    ) strict
    """,
]

_READ = [name for name in COLUMNS if name not in ("calls", "guarded", "spans", "said")]  # what is judged, and no words
_PLACES = [COLUMNS.index(name) for name in _READ]


class Opinion(NamedTuple):
    """What somebody said of an answer. good: None where they said neither."""

    at: float
    changed: float
    app: str
    model: str
    request: str
    good: bool | None


def _measured(row: Row, told: dict[str, Any]) -> Iterable[tuple[str, float]]:
    """(measure, value) of a request."""
    if (answered := judged(_ANSWERED, row, told)) is not None:
        yield "refusals", float(not answered)
    if (went_well := judged(_AVAILABLE, row, told)) is not None:
        yield "failures", float(not went_well)
    if told.get("status"):
        yield from _known(told)
    if row.outcome != "ok":
        return
    if row.cost_pico_usd > 0:
        yield "cost", math.log(row.cost_pico_usd / 1e12)
    characters = told.get("characters")
    length = row.output_tokens or (characters if type(characters) is int else 0)
    if length > 0:
        yield "length", math.log(length)
    if row.duration_ms > 0 and math.isfinite(row.duration_ms):
        yield "latency", math.log(row.duration_ms)


def _known(told: dict[str, Any]) -> Iterable[tuple[str, float]]:
    """What is known of an app's answer."""
    claims, faults = told.get("claims"), told.get("faults")
    counts = [_number(claims.get(label)) or 0 for label in _CHECKED] if isinstance(claims, dict) else []
    if any(counts):
        yield "unsupported", float(counts[0] < sum(counts))
        yield "doubtful", float(bool(told.get("doubtful")))
        if (support := _number(told.get("support"))) is not None:
            yield "support", support
    yield "faulty", float(isinstance(faults, list) and any(fault not in _NO_FAULT for fault in faults))
    if (confidence := _number(told.get("confidence"))) is not None:
        yield "confidence", confidence


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


_ANSWERED, _AVAILABLE = Objective("", "refusals", 0.5), Objective("", "availability", 0.5)
_CHECKED = ("supported", "contradicted", "not_found")
_NO_FAULT = ("ungrounded", "refusal")  # they are counted by themselves


# ---------------------------------------------------------------- all together


class Tally:
    """The counts of one home. One process follows and writes them down (`save`); others load and follow for a look."""

    def __init__(
        self, database: Database, objectives: Sequence[Objective], *, journal: Tables | None = None,
        opinions: Callable[[float], Iterable[Opinion]] | None = None, only_looks: bool = False,
    ) -> None:  # fmt: skip
        """database: where the counts are kept. journal: where the requests are; without it, in the same.

        opinions: those that were given or changed since a Unix time. only_looks: nothing is written, no measures are kept.
        """
        self._only_looks, self._journal = only_looks, journal or database
        self._database, self.objectives, self._opinions = database, objectives, opinions
        self.counts: dict[tuple[str, str], Counts] = {}
        self.observed: dict[tuple[str, str], Observed] = {}
        self._satisfied: dict[tuple[str, str], Counts] = {}
        self._heard = self._listened = -math.inf  # when the last opinion was given or changed; when all were read
        self._subjects: set[str] = set()
        self._row, self._id, self._newest = 0, "", 0.0
        self._loaded, self._others, self._pruned, self._now = False, False, -math.inf, 0.0
        self._longest_s = max([HISTORY_H * HOUR_S, *(objective.period_s for objective in objectives)]) + DAY_S
        plain = [astuple(objective) for objective in objectives]
        self._definition = hashlib.sha256(orjson.dumps(plain)).hexdigest()

    # ---------------------------------------------------------------- follow

    def follow(self, now: float, *, most: float = math.inf, stop: Callable[[], bool] = lambda: False) -> int:
        """Count what is new in the journal, about `most` rows of it. Returns how many that was. Raises StorageError or Conflict."""
        if not self._loaded or now < self._now - MINUTE_S:  # the clock was put back: what is written down knows more
            self._load(now)
        self._now = now
        self._hear(now)
        count = 0
        while self._journal.has("requests") and not stop():
            rows = self._next(now - self._longest_s)
            for number, row in rows:
                self._count(row, now)
                self._row, self._id, self._newest = number, row.id, max(self._newest, row.at)
            count += len(rows)
            if len(rows) < AT_ONCE or count >= most:
                break
        for counts in self.counts.values() if self._only_looks else ():
            _clear(counts.dirty)
        return count

    def _next(self, since: float) -> list[tuple[int, Row]]:
        """The rows after those that were counted. since: older ones count for nothing.

        Their numbers begin again when all older ones have left the database.
        """
        ((here, last),) = self._journal.read(
            "select (select id from requests where rowid = ?), (select max(rowid) from requests)", (self._row,)
        )
        again = self._row and (here != self._id if here is not None else (last or 0) < self._row)
        found = self._journal.read(
            f"select rowid, {', '.join(_READ)} from requests where rowid > ? and at > ? order by rowid limit ?",  # noqa: S608
            (0 if again else self._row, max(self._newest, since) if again else since, AT_ONCE),
        )
        return [(number, _row(values)) for number, *values in found]

    def _count(self, row: Row, now: float) -> None:
        at = row.at + max(0.0, row.duration_ms) / 1000  # it is of the minute in which it ended
        at = min(at, now) if math.isfinite(at) else now
        subject = self._named(subject_of(row.app, row.model))
        told = _told(row.answer)
        for objective in self.objectives:
            if not objective.concerns(row.app, row.model) or at < now - objective.period_s:
                continue
            if (good := judged(objective, row, told)) is not None:
                self._counts(self.counts, objective, subject).add(at, good, row.id)
        if at > now - HISTORY_H * HOUR_S and not self._only_looks:
            for measure, value in _measured(row, told):
                key = (measure, subject)
                observed = self.observed.get(key)
                if observed is None:
                    observed = self.observed[key] = Observed()
                observed.add(at, value, row.id)

    def _named(self, subject: str) -> str:
        """Who calls models by names of their own makes no more series than there is room for."""
        if subject not in self._subjects:
            if len(self._subjects) >= MOST_SUBJECTS:
                return OTHERS
            self._subjects.add(subject)
        return subject

    @staticmethod
    def _counts(among: dict[tuple[str, str], Counts], objective: Objective, subject: str) -> Counts:
        counts = among.get((objective.name, subject))
        if counts is None:
            counts = among[objective.name, subject] = Counts(objective.period_s)
        return counts

    def _hear(self, now: float) -> None:
        """Opinions can be changed and taken back, so they are counted anew as soon as one is."""
        wanted = [objective for objective in self.objectives if objective.kind == "satisfaction"]
        if not wanted or self._opinions is None:
            return
        since = now - max(objective.period_s for objective in wanted)
        fresh = abs(now - self._listened) < LISTEN_EVERY_S  # one that was taken back leaves nothing that could be seen
        if fresh and not any(True for _ in self._opinions(math.nextafter(self._heard, math.inf))):
            return
        self._listened = now
        satisfied: dict[tuple[str, str], Counts] = {}
        for said in sorted(self._opinions(since), key=lambda said: said.at):
            self._heard = max(self._heard, said.changed)
            subject = self._named(subject_of(said.app, said.model))
            for objective in wanted:
                if said.good is not None and objective.concerns(said.app, said.model):
                    self._counts(satisfied, objective, subject).add(min(said.at, now), said.good, said.request)
        self._satisfied = satisfied

    # ---------------------------------------------------------------- look

    def standings(self, now: float, *, burning: bool = False) -> list[Standing]:
        """Each objective for each subject that has requests. burning: only those where something has gone wrong of late."""
        found, named = [], {objective.name: objective for objective in self.objectives}
        for (name, subject), counts in sorted([*self.counts.items(), *self._satisfied.items()]):
            objective = named[name]
            longest = max(rule.long_s for rule in rules(objective.period_s))
            if burning and counts.last_bad < now - longest - HOUR_S:
                continue
            found.append(standing(objective, subject, partial(counts.counted, now=now)))
        for objective in () if burning else self.objectives:
            subject = objective.app or objective.model
            if subject and not any(one.objective is objective for one in found):
                found.append(standing(objective, subject, lambda window_s: Counted()))
        return found

    def samples(self, objective: str, subject: str) -> list[str]:
        """Ids of the last requests that went wrong, the newest first."""
        counts = self.counts.get((objective, subject)) or self._satisfied.get((objective, subject))
        return list(reversed(counts.samples)) if counts else []

    # ---------------------------------------------------------------- write down

    def save(self) -> None:
        """Write down what has changed, and how far it reaches, in one transaction. Raises StorageError or Conflict."""
        self._database.migrate("tally", STEPS)
        counts = [row for key, one in self.counts.items() for row in _counted(key, one)]
        samples = [(*key, orjson.dumps(list(one.samples)).decode()) for key, one in self.counts.items() if one.dirty[1]]
        measures = [row for key, one in self.observed.items() for row in _observed(key, one)]
        with self._database.write() as w:
            for table in ("tally_counts", "tally_samples", "tally_measures") if self._others else ():
                w.execute(f"delete from {table}")  # noqa: S608  our own names
            w.executemany("insert or replace into tally_counts values (?, ?, ?, ?, ?, ?)", counts)
            w.executemany("insert or replace into tally_samples values (?, ?, ?)", samples)
            w.executemany("insert or replace into tally_measures values (?, ?, ?, ?, ?, ?, ?, ?)", measures)
            w.execute(
                "insert or replace into tally_place values (1, ?, ?, ?, ?)",
                (self._definition, self._row, self._id, self._newest),
            )
            self._prune(w)
        for counted in self.counts.values():
            _clear(counted.dirty)
        for observed in self.observed.values():
            _clear(observed.dirty)
        self._others = False

    def _prune(self, w: sqlite3.Connection) -> None:
        """By the age of the newest row, not by the clock, which may have been wrong for a moment."""
        if time.monotonic() - self._pruned < PRUNE_EVERY_S:
            return
        self._pruned = time.monotonic()
        longest = max((objective.period_s for objective in self.objectives), default=DAY_S)
        for table, step, age_s in (
            ("tally_counts", MINUTE_S, 2 * DAY_S),
            ("tally_counts", HOUR_S, longest + DAY_S),
            ("tally_measures", SLOT_S, 2 * DAY_S),
            ("tally_measures", HOUR_S, HISTORY_H * HOUR_S + DAY_S),
        ):
            before = int((self._newest - age_s) // step)
            w.execute(f"delete from {table} where step_s = ? and number < ?", (step, before))  # noqa: S608  our own names

    def _load(self, now: float) -> None:
        """Begin where the last one ended. Where other objectives were counted, all rows that are still there are counted anew."""
        self.counts, self.observed, self._subjects = {}, {}, set()
        self._row, self._id, self._newest, self._loaded = 0, "", 0.0, True
        if not self._database.has("tally_place"):
            return
        place = self._database.read("select definition, row, id, newest from tally_place")
        if not place or place[0][0] != self._definition:
            self._others = True
            return
        _, self._row, self._id, self._newest = place[0]
        named = {objective.name: objective for objective in self.objectives}
        for name, subject, step, number, good, bad in self._database.read(
            "select * from tally_counts where number <= ? / step_s order by step_s, number", (int(now),)
        ):
            self._subjects.add(subject)
            one = self._counts(self.counts, named[name], subject)
            (one.minutes if step == MINUTE_S else one.hours).add(number, good, bad)
            if bad:
                one.last_bad = max(one.last_bad, (number + 1) * step)
        for name, subject, requests in self._database.read("select * from tally_samples"):
            self._counts(self.counts, named[name], subject).samples.extend(orjson.loads(requests))
        if not self._only_looks:
            self._load_measures()

    def _load_measures(self) -> None:
        for measure, subject, step, number, n, total, squares, expected in self._database.read(
            "select * from tally_measures order by step_s, number"
        ):
            self._subjects.add(subject)
            observed = self.observed.get((measure, subject))
            if observed is None:
                observed = self.observed[measure, subject] = Observed()
            if step == SLOT_S:
                observed.slots[number] = Slot(n, total, squares)
                continue
            observed.hours.add(number, n, total, squares)
            if expected is not None:
                observed.hours.foretell(number, expected)


def _counted(key: tuple[str, str], one: Counts) -> Iterable[tuple[Any, ...]]:
    for step, ring, numbers in ((MINUTE_S, one.minutes, one.dirty[0]), (HOUR_S, one.hours, one.dirty[1])):
        for number in numbers:
            if number > ring.last - ring.size:
                yield *key, step, number, *ring.of(number)


def _observed(key: tuple[str, str], one: Observed) -> Iterable[tuple[Any, ...]]:
    for number in one.dirty[0]:
        if slot := one.slots.get(number):
            yield *key, SLOT_S, number, slot.n, slot.total, slot.squares, None
    for number in one.dirty[1]:
        yield *key, HOUR_S, number, *one.hours.of(number)


def _clear(dirty: Iterable[set[int]]) -> None:
    for numbers in dirty:
        numbers.clear()


def _row(values: Sequence[Any]) -> Row:
    whole: list[Any] = [""] * len(COLUMNS)
    for place, value in zip(_PLACES, values, strict=True):
        whole[place] = value
    return Row(*whole)


def _told(answer: str) -> dict[str, Any]:
    """What is known of an answer; nothing where it was written by somebody else and cannot be read."""
    if not answer:
        return {}
    try:
        told = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}
