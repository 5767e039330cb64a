"""Whether an app's answers are what they were: a chart bank for each thing that is known of every answer.

What is watched: how many answers have a sentence that the sources do not support, or words in it that they do not have, and how
well they support it; refusals, other faults, confidence, length, time and money. Each stream learns what is normal by itself. A
false alarm in any of them is one for the app, so the rate is shared out among them. Nobody's words are looked at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from penstock.observe.alerts import Condition
from penstock.observe.charts import Alarm, ChartBank
from penstock.observe.journal import COLUMNS, Row
from penstock.storage.database import Tables

__all__ = ["STREAMS", "Change", "Looking", "Quality", "measured"]

STREAMS = ("unsupported", "doubtful", "support", "refused", "faulty", "confidence", "length", "latency", "cost")
MOST_SUBJECTS = 50
FALSE_ALARMS = 1.0  # for 10,000 answers of an app: one in a month, at three hundred a day
RECENT = 20  # ids of requests that a change may name
WARM_UP = 500  # answers
AT_ONCE = 2000  # rows
SAVE_EVERY_S = 30.0
SAID_S = 6 * 3600.0  # how long people are told of a change

STEPS = [
    """
    create table quality_charts (
        subject text not null, stream text not null, state text not null, primary key (subject, stream)
    ) strict;
    create table quality_changes (
        at real not null, subject text not null, stream text not null, change text not null, requests text not null
    ) strict;
    create table quality_place (one integer primary key, row integer not null, newest real not null) strict
    """,
]


@dataclass(frozen=True, slots=True)
class Change:
    """Something about an app's answers is not what it was. at: Unix time of the answer at which it was seen."""

    at: float
    subject: str
    stream: str
    direction: str  # up, down
    statistic: str  # mean, spread, share
    before: float
    after: float
    answers: int  # since the change, as far as can be told
    requests: tuple[str, ...]  # the latest, for a look

    @property
    def words(self) -> str:
        """In a sentence."""
        what = {"share": "the share of", "spread": "the spread of", "mean": "the mean of"}[self.statistic]
        return f"{self.subject}: {what} {self.stream} went {self.direction} from {self.before:.3g} to {self.after:.3g}"

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"requests": list(self.requests), "words": self.words}


def measured(row: Row, told: Mapping[str, Any]) -> dict[str, float]:
    """What is watched of one answer; what is not known of it is left out. told: its `answer`, from JSON."""
    found: dict[str, float] = {}
    claims = told.get("claims") or {}
    checked = sum(claims.get(label, 0) for label in ("supported", "contradicted", "not_found"))
    if checked:
        found["unsupported"] = float(claims.get("supported", 0) < checked)
        found["doubtful"] = float(told.get("doubtful", 0) > 0)
        found["support"] = float(told.get("support", 0.0))
    if told.get("status"):
        found["refused"] = float(told.get("status") == "refused")
        found["faulty"] = float(any(fault not in ("ungrounded", "refusal") for fault in told.get("faults", ())))
        found["confidence"] = float(told.get("confidence", 0.0))
        if told.get("status") == "answer":
            found["length"] = math.log1p(float(told.get("characters", 0)))
    if row.outcome == "ok" and not row.cached:
        found["latency"] = math.log(max(row.duration_ms, 0.01))
        if row.cost_pico_usd:
            found["cost"] = math.log(row.cost_pico_usd)
    return found


class Quality:
    """The charts of all apps of one home. false_alarms: per 10,000 answers of an app, in all of its streams together."""

    def __init__(self, *, false_alarms: float = FALSE_ALARMS, period: int = 0, warm_up: int = WARM_UP) -> None:
        self._each = false_alarms / len(STREAMS)
        self._period, self._warm_up = period, warm_up
        self._banks: dict[tuple[str, str], ChartBank] = {}
        self._recent: dict[str, list[str]] = {}
        self._changed: set[tuple[str, str]] = set()

    def take(self, row: Row) -> list[Change]:
        """The next answer of some app, in the order of the journal. Returns what has changed, which is mostly nothing."""
        if not row.app:
            return []
        told = orjson.loads(row.answer) if row.answer else {}
        recent = self._recent.setdefault(row.app, [])
        recent.append(row.id)
        del recent[:-RECENT]
        found = []
        for stream, value in measured(row, told).items():
            bank = self._bank(row.app, stream)
            if bank is None:
                continue
            self._changed.add((row.app, stream))
            if alarm := bank.update(value):
                found.append(_change(row, stream, alarm, recent))
        return found

    def _bank(self, subject: str, stream: str) -> ChartBank | None:
        bank = self._banks.get((subject, stream))
        if bank is None:
            if len({name for name, _ in self._banks}) >= MOST_SUBJECTS and not any(
                name == subject for name, _ in self._banks
            ):
                return None
            bank = self._banks[subject, stream] = ChartBank(
                false_alarms=self._each, period=self._period, warm_up=self._warm_up
            )
        return bank

    def learning(self) -> dict[str, int]:
        """Apps that are still being learnt, and how many answers that takes yet."""
        left: dict[str, int] = {}
        for (subject, _), bank in self._banks.items():
            left[subject] = max(left.get(subject, 0), bank.left_to_learn)
        return {subject: count for subject, count in left.items() if count}

    # ---------------------------------------------------------------- kept

    def load(self, tables: Tables) -> None:
        """Go on from what was saved."""
        tables.migrate("quality", STEPS)
        for subject, stream, state in tables.read("select subject, stream, state from quality_charts"):
            if stream in STREAMS:
                self._banks[subject, stream] = ChartBank.of_plain(orjson.loads(state))

    def save(self, tables: Tables, changes: Iterable[Change] = (), *, place: tuple[int, float] | None = None) -> None:
        """Write down what has changed since, the changes that were seen, and how far in the journal that reaches."""
        tables.migrate("quality", STEPS)
        rows = [(*key, orjson.dumps(self._banks[key].plain()).decode()) for key in sorted(self._changed)]
        with tables.write() as w:
            w.executemany(
                "insert into quality_charts values (?, ?, ?) on conflict (subject, stream) do update set state = excluded.state",
                rows,
            )
            w.executemany(
                "insert into quality_changes values (?, ?, ?, ?, ?)",
                [
                    (
                        one.at,
                        one.subject,
                        one.stream,
                        orjson.dumps(one.plain()).decode(),
                        orjson.dumps(one.requests).decode(),
                    )
                    for one in changes
                ],
            )
            if place is not None:
                w.execute(
                    "insert into quality_place values (1, ?, ?)"
                    " on conflict (one) do update set row = excluded.row, newest = excluded.newest",
                    place,
                )
        self._changed.clear()

    @staticmethod
    def changes(tables: Tables, *, since: float = 0.0, limit: int = 100) -> list[dict[str, Any]]:
        """What changed, the latest first."""
        if not tables.has("quality_changes"):
            return []
        rows = tables.read("select change from quality_changes where at >= ? order by at desc limit ?", (since, limit))
        return [orjson.loads(change) for (change,) in rows]


class Looking:
    """Follows the journal, and says for some hours what has changed. One process of a home does."""

    def __init__(self, tables: Tables, quality: Quality, *, clock: Callable[[], float] = time.time) -> None:
        self._tables, self.quality, self._clock = tables, quality, clock
        self._row, self._newest, self._loaded, self._saved = 0, 0.0, False, 0.0
        self._said: list[Change] = []
        self._unsaved: list[Change] = []

    def look(self, stop: Callable[[], bool] = lambda: False) -> list[Condition]:
        """Take what is new. Returns what people should know of. Raises StorageError or Conflict."""
        now = self._clock()
        if not self._tables.has("requests"):
            return []
        if not self._loaded:
            self._load(now)
        while not stop() and (rows := self._next()):
            for number, row in rows:
                found = self.quality.take(row)
                self._said += found
                self._unsaved += found
                self._row, self._newest = number, max(self._newest, row.at)
            if len(rows) < AT_ONCE:
                break
        if self._unsaved or now - self._saved >= SAVE_EVERY_S:
            self._save(now)
        self._said = [one for one in self._said if one.at > now - SAID_S]
        return [_condition(one) for one in {(one.subject, one.stream): one for one in self._said}.values()]

    def _next(self) -> list[tuple[int, Row]]:
        ((last,),) = self._tables.read("select max(rowid) from requests")
        again = (last or 0) < self._row  # all older ones have left for the sealed files
        names = ", ".join(COLUMNS)
        rows = self._tables.read(
            f"select rowid, {names} from requests where rowid > ? and at > ? and app != '' order by rowid limit ?",  # noqa: S608
            (0 if again else self._row, self._newest if again else 0.0, AT_ONCE),
        )
        return [(number, Row(*values)) for number, *values in rows]

    def _load(self, now: float) -> None:
        self.quality.load(self._tables)
        for row, newest in self._tables.read("select row, newest from quality_place"):
            self._row, self._newest = row, newest
        changes = Quality.changes(self._tables, since=now - SAID_S)
        self._said = [
            Change(**{name: one[name] for name in Change.__slots__} | {"requests": tuple(one["requests"])})
            for one in changes[::-1]
        ]
        self._loaded = True

    def _save(self, now: float) -> None:
        """What was learnt, and how far it reaches, in one transaction."""
        self.quality.save(self._tables, self._unsaved, place=(self._row, self._newest))
        self._unsaved, self._saved = [], now


def _condition(change: Change) -> Condition:
    """A ticket: whether a change is bad is for people to say."""
    return Condition(
        f"quality/{change.subject}/{change.stream}", "ticket", change.words, change.plain(), list(change.requests)
    )


def _change(row: Row, stream: str, alarm: Alarm, recent: list[str]) -> Change:
    before, after = alarm.before, alarm.after
    if alarm.statistic == "mean" and stream in ("length", "latency", "cost"):
        before, after = math.exp(before), math.exp(after)
        before, after = (before / 1e12, after / 1e12) if stream == "cost" else (before, after)
    answers = alarm.position - alarm.changed_at + 1
    names = tuple(recent[-min(answers, 5) :][::-1])
    return Change(row.at, row.app, stream, alarm.direction, alarm.statistic, before, after, answers, names)
