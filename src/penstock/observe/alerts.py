"""Alerts: what is wrong now, since when, and who has been told. It is all in the database, so a restart forgets nothing.

An alert begins when its condition is first seen and ends when it has not been seen for a while. What is to be told goes into an
outbox in the same transaction, once for each channel, whichever process it is that looks. Nothing is sent from here.
"""

from __future__ import annotations

import fnmatch
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import orjson

from penstock.config import iso
from penstock.errors import BadRequest, NotFound
from penstock.observe.objectives import Severity
from penstock.storage.database import Database

__all__ = ["Alert", "Alerts", "Channel", "Condition", "Silence", "migrate", "outbox"]

KEEP_S = 90 * 86_400.0  # alerts that have ended
LONGEST_PATTERN, LONGEST_REASON = 200, 1000  # characters
REFRESH_S = 15.0  # how often it is written down that an alert goes on
MOST_WAITING = 1000  # messages of one channel; older ones make room
Event = Literal["fired", "worse", "still", "eased", "resolved"]

STEPS = [
    """
    create table alerts (
        id text primary key, key text not null, severity text not null, title text not null, facts text not null,
        samples text not null, started real not null, seen real not null, told real not null, told_to text not null,
        worst text not null, worst_seen real not null, ended real not null
    ) strict;
    create unique index alerts_firing on alerts (key) where ended = 0;
    create index alerts_started on alerts (started);
    create table alert_silences (
        id text primary key, pattern text not null, until real not null, by text not null, reason text not null, at real not null
    ) strict;
    create table alert_outbox (
        number integer primary key autoincrement, channel text not null, message text not null, made real not null,
        tries integer not null, due real not null, leased real not null
    ) strict;
    create index alert_outbox_channel on alert_outbox (channel, number);
    create table alert_channels (
        name text primary key, delivered real not null, failed real not null, failures integer not null, error text not null
    ) strict, without rowid
    """,
]


class Condition(NamedTuple):
    """Something that is wrong now. key: what it is about; one that comes again with the same key is the same alert."""

    key: str
    severity: Severity
    title: str
    facts: Mapping[str, Any] = {}
    samples: Sequence[str] = ()  # ids of requests


class Channel(NamedTuple):
    """Who is told what."""

    name: str
    severities: Collection[str] = ("page", "ticket")


@dataclass(frozen=True, slots=True)
class Alert:
    """Times are Unix times. told: when somebody was last told of it, 0 for never. ended: 0 while it fires."""

    id: str
    key: str
    severity: Severity
    title: str
    facts: Mapping[str, Any]
    samples: tuple[str, ...]
    started: float
    seen: float
    told: float = 0.0
    told_to: tuple[str, ...] = ()
    worst: Severity = ""  # since it began, or since it was last told that it is not so urgent any more
    worst_seen: float = 0.0
    ended: float = 0.0
    silenced: bool = field(default=False, compare=False)

    @property
    def state(self) -> Literal["firing", "resolved"]:
        return "resolved" if self.ended else "firing"

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id, "key": self.key, "state": self.state, "severity": self.worst if self.ended else self.severity,
            "title": self.title, "facts": dict(self.facts), "requests": list(self.samples), "started": iso(self.started),
            "ended": iso(self.ended), "told": iso(self.told), "told_to": list(self.told_to), "silenced": self.silenced,
        }  # fmt: skip


class Silence(NamedTuple):
    """Nobody is told of alerts whose key fits the pattern, until then."""

    id: str
    pattern: str
    until: float
    by: str
    reason: str
    at: float

    def plain(self) -> dict[str, Any]:
        return self._asdict() | {"until": iso(self.until), "at": iso(self.at)}


def migrate(database: Database) -> None:
    database.migrate("alerts", STEPS)


class Alerts:
    """The alerts of one home. repeat_s: how often one that goes on is told again. quiet_s, quiet_ticket_s: how long it must
    not have been seen until a page, or a ticket, has ended."""

    def __init__(
        self, database: Database, channels: Sequence[Channel] = (), *, repeat_s: float = 14_400.0, quiet_s: float = 120.0,
        quiet_ticket_s: float = 1800.0,
    ) -> None:  # fmt: skip
        self._database, self.channels, self._repeat_s = database, channels, repeat_s
        self._quiet_s, self._quiet_ticket_s = quiet_s, quiet_ticket_s
        self._migrated = False

    # ---------------------------------------------------------------- what is wrong

    def update(self, conditions: Sequence[Condition], *, now: float, unknown: Collection[str] = ()) -> int:
        """Take in all that is wrong now. Returns how many messages that makes. unknown: keys of which it cannot be told now.

        Raises StorageError or Conflict, and then nothing has changed.
        """
        if not conditions and not self._firing_now():
            return 0
        self._migrate()
        count = 0
        with self._database.write() as w:
            firing = {alert.key: alert for alert in _alerts(w.execute(f"{_SELECT} where ended = 0").fetchall())}
            silences = _silences(w, now)
            seen: set[str] = set()
            for condition in conditions:
                if condition.key in seen:
                    continue
                seen.add(condition.key)
                count += self._wrong(w, condition, firing.get(condition.key), silences, now)
            for key, alert in firing.items():
                if key not in seen:
                    count += self._gone(w, alert, silences, now, known=key not in unknown)
            w.execute("delete from alerts where ended > 0 and ended < ?", (now - KEEP_S,))
            w.execute("delete from alert_silences where until < ?", (now - KEEP_S,))
        return count

    def _firing_now(self) -> bool:
        if not self._migrated and not _is_there(self._database, "alerts"):
            return False
        return bool(self._database.read("select 1 from alerts where ended = 0 limit 1"))

    def _wrong(
        self, w: sqlite3.Connection, condition: Condition, alert: Alert | None, silences: Sequence[Silence], now: float
    ) -> int:
        key, severity, title, facts, samples = condition
        new = alert is None
        if alert is None:
            alert = Alert(secrets.token_hex(8), key, severity, title, facts, tuple(samples), now, now, worst=severity)
        last, worse = alert.seen, not new and _RANK[severity] > _RANK[alert.worst]
        alert = replace(
            alert, severity=severity, title=title, facts=facts, samples=tuple(samples) or alert.samples, seen=now,
            worst=severity if worse else alert.worst,
        )  # fmt: skip
        if severity == alert.worst or alert.worst_seen > now:  # the clock may have been put back
            alert = replace(alert, worst_seen=now)
        count, silent = 0, _silenced(key, silences)
        if eased := now - alert.worst_seen >= self._quiet_s:
            for name in alert.told_to if not silent else ():
                count += _post(w, name, "eased", alert, now)
            still = tuple(c.name for c in self.channels if c.name in alert.told_to and severity in c.severities)
            alert = replace(alert, worst=severity, worst_seen=now, told_to=still)
        event: Event | None = "worse" if worse and alert.told else "fired" if not alert.told else None
        if event is None and abs(now - alert.told) >= self._repeat_s:  # also where the clock was put back
            event = "still"
        if event and not silent and not eased:
            count, alert = self._tell(w, alert, event, now)
        if new or worse or count or eased or not 0 <= now - last < REFRESH_S:
            _store(w, alert)
        return count

    def _gone(
        self, w: sqlite3.Connection, alert: Alert, silences: Sequence[Silence], now: float, *, known: bool
    ) -> int:
        if not known or alert.seen > now:  # the clock was put back: the wait begins now
            if not 0 <= now - alert.seen < REFRESH_S:
                _store(w, replace(alert, seen=now))
            return 0
        if now - alert.seen < (self._quiet_s if alert.severity == "page" else self._quiet_ticket_s):
            return 0
        ended, count = replace(alert, ended=now), 0
        if not _silenced(alert.key, silences):
            for channel in self.channels:
                if channel.name in alert.told_to:  # also where it was only told of the worst of it
                    count += _post(w, channel.name, "resolved", ended, now)
        _store(w, ended)
        return count

    def _tell(self, w: sqlite3.Connection, alert: Alert, event: Event, now: float) -> tuple[int, Alert]:
        told = [channel.name for channel in self.channels if alert.severity in channel.severities]
        if not told:
            return 0, alert
        told_now = replace(alert, told=now, told_to=tuple(dict.fromkeys((*alert.told_to, *told))))
        for name in told:
            _post(w, name, "fired" if name not in alert.told_to else event, told_now, now)
        return len(told), told_now

    # ---------------------------------------------------------------- what there is

    def firing(self, *, now: float) -> list[Alert]:
        """Those that fire now, the most urgent and the newest first."""
        alerts = self._find("where ended = 0 order by started desc", now=now)
        return sorted(alerts, key=lambda alert: -_RANK[alert.severity])

    def past(self, *, since: float = 0.0, limit: int = 100, now: float) -> list[Alert]:
        """Those that have ended, the newest first."""
        return self._find("where ended > ? order by ended desc limit ?", (since, limit), now=now)

    def _find(self, where: str, values: Sequence[Any] = (), *, now: float) -> list[Alert]:
        if not _is_there(self._database, "alerts"):
            return []
        alerts, silences = _alerts(self._database.read(f"{_SELECT} {where}", values)), self.silences(now=now)
        return [replace(alert, silenced=_silenced(alert.key, silences) and not alert.ended) for alert in alerts]

    # ---------------------------------------------------------------- silences

    def silence(self, pattern: str, *, until: float, now: float, by: str = "", reason: str = "") -> Silence:
        """Tell nobody of alerts whose key fits, such as `objective/*/handbook`. Raises BadRequest."""
        if not pattern.strip() or len(pattern) > LONGEST_PATTERN:
            raise BadRequest(
                f"a pattern has 1 to {LONGEST_PATTERN} characters", hint="a key, or a part of it with '*': objective/*"
            )
        if until <= now:
            raise BadRequest("a silence must end in the future", hint="a duration such as 2h")
        self._migrate()
        made = Silence(secrets.token_hex(4), pattern.strip(), until, by, reason[:LONGEST_REASON], now)
        with self._database.write() as w:
            w.execute("insert into alert_silences values (?, ?, ?, ?, ?, ?)", made)
        return made

    def end_silence(self, number: str, *, now: float) -> None:
        """Raises NotFound."""
        known = [silence.id for silence in self.silences(now=now)]
        if number not in known:
            raise NotFound(f"there is no silence '{number[:40]}'", hint=f"known: {', '.join(known) or 'none'}")
        with self._database.write() as w:
            w.execute("update alert_silences set until = ? where id = ?", (now, number))

    def silences(self, *, now: float) -> list[Silence]:
        """Those that hold."""
        if not _is_there(self._database, "alert_silences"):
            return []
        rows = self._database.read("select * from alert_silences where until > ? order by until", (now,))
        return [Silence(*row) for row in rows]

    def standing(self) -> list[dict[str, Any]]:
        """Each channel as JSON: when it last took a message, when one last failed and why, and how many wait."""
        known: dict[str, dict[str, Any]] = {
            channel.name: {"name": channel.name, "severities": sorted(channel.severities), "delivered": None}
            | {"failed": None, "failures": 0, "error": "", "waiting": 0}
            for channel in self.channels
        }
        if not _is_there(self._database, "alert_channels"):
            return list(known.values())
        for name, delivered, failed, failures, error in self._database.read("select * from alert_channels"):
            if name in known:
                known[name] |= {
                    "delivered": iso(delivered),
                    "failed": iso(failed),
                    "failures": failures,
                    "error": error,
                }
        for name, waiting in self._database.read("select channel, count(*) from alert_outbox group by 1"):
            if name in known:
                known[name]["waiting"] = waiting
        return list(known.values())

    def _migrate(self) -> None:
        if not self._migrated:
            migrate(self._database)
            self._migrated = True


_RANK: Mapping[str, int] = {"": 0, "ticket": 1, "page": 2}
_COLUMNS = "id, key, severity, title, facts, samples, started, seen, told, told_to, worst, worst_seen, ended"
_SELECT = f"select {_COLUMNS} from alerts"  # noqa: S608  our own names


def _is_there(database: Database, table: str) -> bool:
    """Whether there was ever an alert: who looks at an empty home makes nothing in it."""
    if not database.path.is_file():
        return False
    return bool(database.read("select 1 from sqlite_master where type = 'table' and name = ?", (table,)))


def _alerts(rows: Sequence[Sequence[Any]]) -> list[Alert]:
    return [
        Alert(
            number, key, severity, title, orjson.loads(facts), tuple(orjson.loads(samples)), started, seen, told,
            tuple(orjson.loads(told_to)), *rest,
        )
        for number, key, severity, title, facts, samples, started, seen, told, told_to, *rest in rows
    ]  # fmt: skip


def _store(w: sqlite3.Connection, alert: Alert) -> None:
    facts, samples, told_to = (orjson.dumps(v).decode() for v in (dict(alert.facts), alert.samples, alert.told_to))
    w.execute(
        f"insert or replace into alerts ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  our own names
        (alert.id, alert.key, alert.severity, alert.title, facts, samples, alert.started, alert.seen, alert.told, told_to,
         alert.worst, alert.worst_seen, alert.ended),
    )  # fmt: skip


def _silences(w: sqlite3.Connection, now: float) -> list[Silence]:
    return [Silence(*row) for row in w.execute("select * from alert_silences where until > ?", (now,))]


def _silenced(key: str, silences: Sequence[Silence]) -> bool:
    return any(fnmatch.fnmatchcase(key, silence.pattern) for silence in silences)


# ---------------------------------------------------------------- the outbox


def _post(w: sqlite3.Connection, channel: str, event: Event, alert: Alert, now: float) -> int:
    message = orjson.dumps({"event": event, **alert.plain()}).decode()
    w.execute(
        "insert into alert_outbox (channel, message, made, tries, due, leased) values (?, ?, ?, 0, 0, 0)",
        (channel, message, now),
    )
    w.execute(
        "delete from alert_outbox where channel = ? and number <= (select number from alert_outbox where channel = ?"
        " order by number desc limit 1 offset ?)",
        (channel, channel, MOST_WAITING),
    )
    return 1


def outbox(database: Database) -> Iterator[tuple[str, dict[str, Any]]]:
    """(channel, message) of all that waits, oldest first."""
    for channel, message in database.read("select channel, message from alert_outbox order by number"):
        yield channel, orjson.loads(message)
