"""Experiments in production, as they stand: state, weights and sums in the database, shared by all processes and machines.

A definition that changed begins anew. Whoever took part is known by a digest with a salt that is forgotten when the experiment
ends; what is left are sums. Nothing here reckons: this part is also in processes that only deal out, and does without numpy.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Literal

import orjson

from penstock.config import ABSettings, iso
from penstock.errors import Conflict, NotFound
from penstock.storage.database import Tables

__all__ = [
    "BY_HAND",
    "CONTROL",
    "HOLDOUT",
    "Experiments",
    "Live",
    "State",
    "begun",
    "definition_of",
    "digest_of",
    "first_weights",
]

State = Literal["running", "stopped", "won", "rolled_back"]
CONTROL, HOLDOUT = "control", "holdout"
BY_HAND = "stopped by "
DIGEST_BYTES = 16

STEPS = [
    """
    create table ab_experiments (
        name text primary key, definition text not null, state text not null, reason text not null, started real not null,
        ended real not null, first_stage integer not null, stage integer not null, step integer not null, weights text not null,
        winner text not null, decision text not null, salt text not null, before_row integer not null, before_mean real
    ) strict;
    create table ab_stages (
        name text not null, stage integer not null, started real not null, weights text not null, sums text not null,
        primary key (name, stage)
    ) strict;
    create table ab_units (
        name text not null, unit text not null, stage integer not null, arm text not null, first real not null,
        kept text not null, done integer not null, primary key (name, unit)
    ) strict;
    create index ab_units_due on ab_units (name, done, first);
    create table ab_before (
        name text not null, unit text not null, n integer not null, total real not null, primary key (name, unit)
    ) strict;
    create table ab_history (name text not null, at real not null, event text not null, said text not null) strict;
    create table ab_place (
        one integer primary key, place integer not null, id text not null, newest real not null
    ) strict
    """,
    "alter table ab_stages add column changes integer not null default 0",
]
_COLUMNS = (
    "name, definition, state, reason, started, ended, first_stage, stage, step, weights, winner, decision, salt, before_row, "
    "before_mean"
)
_INTO = f"insert into ab_experiments ({_COLUMNS}) values ({', '.join('?' * 15)})"  # noqa: S608  our own names


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """One experiment. Times are Unix times; ended: 0 while it runs. Stages are counted on through all its beginnings."""

    name: str
    definition: str
    state: State = "running"
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0
    first_stage: int = 1  # since it last began
    stage: int = 1  # a time during which the weights are the same
    step: int = 0  # of a roll-out
    weights: Mapping[str, float]
    winner: str = ""  # the arm that everybody gets
    decision: Mapping[str, Any]  # each candidate against the control, as last seen; kept once it has ended
    salt: str = ""  # hexadecimal; "" where it is forgotten
    before_row: int = 0  # how far the time before it was read; -1: all of it, or there is nothing to read
    before_mean: float | None = None  # of a unit's metric, in that time

    @classmethod
    def of(cls, row: Sequence[Any]) -> Live:
        """From its row."""
        values = dict(zip(_COLUMNS.split(", "), row, strict=True))
        return cls(**values | {name: orjson.loads(values[name]) for name in ("weights", "decision")})

    def row(self) -> tuple[Any, ...]:
        """As its row."""
        values = {name: getattr(self, name) for name in _COLUMNS.split(", ")}
        return tuple(
            (values | {name: orjson.dumps(dict(values[name])).decode() for name in ("weights", "decision")}).values()
        )


def definition_of(settings: ABSettings) -> str:
    """A digest of all that was agreed on: another one is another experiment."""
    return hashlib.sha256(orjson.dumps(astuple(settings), option=orjson.OPT_SORT_KEYS)).hexdigest()


def digest_of(salt: str, unit: str) -> str:
    """What stands for a unit. Without the salt nobody can tell whose it is."""
    return hashlib.blake2b(
        unit.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES, key=bytes.fromhex(salt)
    ).hexdigest()


def first_weights(settings: ABSettings) -> dict[str, float]:
    """Shares at the beginning: those of the settings, or of the first step."""
    if settings.rollout:
        (arm,) = settings.arms
        return {CONTROL: 1 - settings.rollout[0], arm: settings.rollout[0]}
    weights = {arm: settings.weights.get(arm, 1.0) for arm in (CONTROL, *settings.arms)}
    return {arm: weight / sum(weights.values()) for arm, weight in weights.items()}


def begun(name: str, settings: ABSettings, *, at: float, stage: int) -> Live:
    """An experiment that begins. Of people and keys it is looked up how they did before."""
    before = settings.unit in ("person", "key") and settings.metric != "satisfied"
    return Live(
        name=name, definition=definition_of(settings), started=at, first_stage=stage, stage=stage,
        weights=first_weights(settings), decision={}, salt=secrets.token_hex(16), before_row=0 if before else -1,
    )  # fmt: skip


class Experiments:
    """All experiments of one database. settings: those that are to run, by name."""

    def __init__(
        self, tables: Tables, settings: Mapping[str, ABSettings], *, clock: Callable[[], float] = time.time
    ) -> None:
        self.tables, self.settings, self._clock = tables, settings, clock

    # ---------------------------------------------------------------- begin and end

    def open(self) -> list[tuple[str, bool]]:
        """Begin those that are new, and anew those whose definition changed. Returns their names, and whether each had changed."""
        self.tables.migrate("ab", STEPS)
        now, found, asked = self._clock(), list[tuple[str, bool]](), self.tables.has("requests")
        with self.tables.write() as w:
            known = {one.name: one for one in self.all(w)}
            for name, settings in self.settings.items():
                old = known.get(name)
                if old is not None and old.definition == definition_of(settings):
                    continue
                self._begin(w, name, settings, old, now, "the settings changed" if old else "")
                found.append((name, old is not None))
            for name, one in known.items():
                if name not in self.settings and one.state in ("running", "won"):
                    reason = f"{BY_HAND}the settings, which do not have it any more"
                    self.end(w, replace(one, state="stopped", reason=reason, ended=now, winner=CONTROL))
            if not w.execute("select 1 from ab_place").fetchone():  # what was asked before belongs to no experiment
                last = asked and w.execute("select rowid, id from requests order by rowid desc limit 1").fetchone()
                w.execute("insert into ab_place values (1, ?, ?, ?)", (*(last or (0, "")), now))
        return found

    def start(self, name: str, *, by: str = "") -> Live:
        """Begin anew, from nothing. Raises NotFound where the settings have no such experiment."""
        if name not in self.settings:
            raise NotFound(
                f"the settings have no experiment '{name}'", hint=f"known: {', '.join(self.settings) or 'none'}"
            )
        with self.tables.write() as w:
            old = self.one(w, name)
            return self._begin(w, name, self.settings[name], old, self._clock(), f"started by {by}" if by else "")

    def stop(self, name: str, *, by: str = "") -> Live:
        """Give everybody the control, whatever was found. Raises NotFound, or Conflict where that is so already."""
        reason = f"{BY_HAND}{by or 'somebody'}"
        with self.tables.write() as w:
            now, one = self._clock(), self.one(w, name)
            if one is None:
                raise NotFound(f"there is no experiment '{name}'", hint=f"known: {', '.join(self.settings) or 'none'}")
            if one.state not in ("running", "won"):
                raise Conflict(f"'{name}' has ended already: {one.reason}")
            ended = replace(one, state="stopped", reason=reason, ended=now, winner=CONTROL)
            return self.end(w, ended)

    def _begin(self, w: Any, name: str, settings: ABSettings, old: Live | None, now: float, why: str) -> Live:
        live = begun(name, settings, at=now, stage=old.stage + 1 if old else 1)
        self.forget(w, name)
        w.execute("delete from ab_stages where name = ?", (name,))
        w.execute("delete from ab_experiments where name = ?", (name,))
        w.execute(_INTO, live.row())
        self.open_stage(w, live, now)
        self.note(w, name, now, "started", why or f"units get an arm of '{settings.target}'")
        return live

    # ---------------------------------------------------------------- within a transaction

    def save(self, w: Any, live: Live) -> None:
        """Write down how it stands."""
        w.execute("delete from ab_experiments where name = ?", (live.name,))
        w.execute(_INTO, live.row())

    def open_stage(self, w: Any, live: Live, now: float) -> None:
        """From now on the weights are these."""
        weights = orjson.dumps(dict(live.weights)).decode()
        w.execute(
            "insert into ab_stages (name, stage, started, weights, sums) values (?, ?, ?, ?, ?)",
            (live.name, live.stage, now, weights, "{}"),
        )

    def end(self, w: Any, live: Live) -> Live:
        """It is over: what is left are its sums, and nobody can be told from them."""
        over = replace(live, salt="", stage=live.stage + 1, weights={live.winner or CONTROL: 1.0})
        self.forget(w, live.name)
        self.save(w, over)
        self.note(w, live.name, live.ended, live.state, live.reason)
        return over

    @staticmethod
    def forget(w: Any, name: str) -> None:
        """Whoever took part."""
        w.execute("delete from ab_units where name = ?", (name,))
        w.execute("delete from ab_before where name = ?", (name,))

    def forget_units(self, units: Collection[str], digests: Collection[str] = ()) -> int:
        """Forget that these took part: by what they are, and by digests. Returns how many that were. Sums stay as they are."""
        with self.tables.write() as w:
            gone = [
                (one.name, digest)
                for one in self.all(w)
                for digest in (*digests, *(digest_of(one.salt, unit) for unit in units if one.salt))
            ]
            found = [
                place for place in gone
                if w.execute("select 1 from ab_units where name = ? and unit = ?", place).fetchone()
                or w.execute("select 1 from ab_before where name = ? and unit = ?", place).fetchone()
            ]  # fmt: skip
            w.executemany("delete from ab_units where name = ? and unit = ?", found)
            w.executemany("delete from ab_before where name = ? and unit = ?", found)
        return len(found)

    @staticmethod
    def note(w: Any, name: str, at: float, event: str, said: str) -> None:
        w.execute("insert into ab_history (name, at, event, said) values (?, ?, ?, ?)", (name, at, event, said))

    def one(self, w: Any, name: str) -> Live | None:
        """As a transaction sees it."""
        return next((one for one in self.all(w) if one.name == name), None)

    # ---------------------------------------------------------------- looks

    def all(self, w: Any = None) -> list[Live]:
        """All there ever were, by name; w: as a transaction sees them. Nothing is made by looking."""
        sql = f"select {_COLUMNS} from ab_experiments order by name"  # noqa: S608  our own names
        if w is not None:
            return [Live.of(row) for row in w.execute(sql).fetchall()]
        return [Live.of(row) for row in self.tables.read(sql)] if self.tables.has("ab_experiments") else []

    def get(self, name: str) -> Live:
        """Raises NotFound."""
        known = {one.name: one for one in self.all()}
        if name not in known:
            waits = "it begins with the next start of the server" if name in self.settings else ""
            raise NotFound(f"there is no experiment '{name}'", hint=waits or f"known: {', '.join(known) or 'none'}")
        return known[name]

    def history(self, name: str) -> list[dict[str, Any]]:
        """What became of it, the latest first, through all its beginnings. Raises NotFound."""
        self.get(name)
        rows = self.tables.read("select at, event, said from ab_history where name = ? order by rowid desc", (name,))
        return [{"at": iso(at), "event": event, "said": said} for at, event, said in rows]

    def sums(self, live: Live) -> list[tuple[Mapping[str, float], Mapping[str, Any]]]:
        """(weights, sums) of each stage since it last began. Sums: arm -> metric -> ten numbers, and `units` of each."""
        rows = self.tables.read(
            "select weights, sums from ab_stages where name = ? and stage >= ? order by stage",
            (live.name, live.first_stage),
        )
        return [(orjson.loads(weights), orjson.loads(sums)) for weights, sums in rows]

    def plain(self, live: Live) -> dict[str, Any]:
        """As JSON: what was agreed, how it stands, and who got what."""
        settings = self.settings.get(live.name)
        agreed: dict[str, Any] = {}
        metrics: list[str] = []
        if settings is not None and settings.rollout:
            agreed["rollout"] = {"shares": list(settings.rollout), "units_per_step": settings.units_per_step}
        if settings is not None:
            metrics = [settings.metric, *settings.guardrails]
            agreed |= {
                "target": settings.target, "unit": settings.unit, "metric": settings.metric, "rule": settings.rule,
                "most_units": settings.most_units, "guardrails": dict(settings.guardrails), "bandit": settings.bandit,
                "holdout": settings.holdout, "until": settings.until or None, "window_s": settings.window,
                "answers": {CONTROL: settings.target, **settings.arms},
            }  # fmt: skip
        stages = self.sums(live)
        arms = dict.fromkeys(arm for weights, sums in stages for arm in (*weights, *sums))
        watched = {} if not live.salt else dict(
            self.tables.read(
                "select arm, count(*) from ab_units where name = ? and done = 0 group by arm", (live.name,)
            )
        )  # fmt: skip
        return {
            "name": live.name,
            "state": live.state,
            "reason": live.reason or None,
            "started": iso(live.started),
            "ended": iso(live.ended),
            **agreed,
            "changed": settings is not None and definition_of(settings) != live.definition,
            "stage": live.stage,
            "step": live.step,
            "weights": dict(live.weights),
            "winner": live.winner or None,
            "arms": {arm: _arm(stages, arm, watched.get(arm, 0), metrics) for arm in arms},
            "decisions": dict(live.decision),
        }


def _arm(
    stages: Sequence[tuple[Mapping[str, float], Mapping[str, Any]]], arm: str, watched: int, metrics: Sequence[str]
) -> dict[str, Any]:
    """Units that are complete, units that are watched still, and the mean of each metric over all that were counted."""
    mine = [sums.get(arm, {}) for _, sums in stages]
    means = {}
    for metric in metrics:
        n = sum(one.get(metric, [0.0])[0] for one in mine)
        total = sum(one.get(metric, [0.0, 0.0])[1] for one in mine)
        means[metric] = total / n if n else None
    left_out = sum(one.get("left_out", 0) for one in mine)
    return {"units": sum(one.get("units", 0) for one in mine), "watched": watched, "left_out": left_out, "means": means}
