"""The evaluations and drills of one home, and those of support logs: which ran, which run, and what came of them, for whoever
looks later.

A run is a row from its beginning on, so that it can be followed, and ended, from another process. Of each evaluation the latest
are kept. What was asked and answered in them is people's words: it is sealed where content is.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

import orjson

from penstock.config import iso
from penstock.errors import Conflict, NotFound, PenstockError
from penstock.evaluate.drill import Report
from penstock.evaluate.gate import Held
from penstock.evaluate.report import leading
from penstock.evaluate.result import Result
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption
from penstock.types import new_id

__all__ = ["KEPT", "STATES", "Followed", "Kind", "Run", "Runs", "State", "told_of", "told_of_drill"]

Kind = Literal["evaluation", "drill", "support"]
State = Literal["running", "done", "unfinished", "failed", "lost"]
STATES: tuple[State, ...] = get_args(State)

KEPT: Final = 50  # of one evaluation, or of the drills against one target
SIGN_S: Final = 1.0
LOST_S: Final = 60.0  # without a sign of life: its process takes a while to begin
QUIET_S: Final = 5 * SIGN_S  # the same of one that is asked to end
AGAIN_S: Final = 10.0  # after which one that is interrupted, and goes on, is interrupted again

TABLES = [
    """
    create table evaluation_runs (
        id text primary key, kind text not null, name text not null, target text not null, by text not null, state text not null,
        began real not null, seen real not null, ended real not null, done integer not null, planned integer not null,
        stopping integer not null, told text not null, result text not null
    ) strict;
    create index evaluation_runs_began on evaluation_runs (began)
    """,
]
_SHORT = "id, kind, name, target, by, state, began, seen, ended, done, planned, stopping, told"  # without the result


@dataclass(frozen=True, slots=True)
class Run:
    """One run. name: of its evaluation in the settings, or ""; done, planned: steps; told: what it came to, as JSON."""

    id: str
    kind: Kind
    name: str
    target: str
    by: str
    state: State
    began: float
    seen: float
    ended: float
    done: int
    planned: int
    stopping: bool
    told: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id, "kind": self.kind, "name": self.name, "target": self.target, "by": self.by, "state": self.state,
            "began": iso(self.began), "ended": iso(self.ended), "done": self.done, "planned": self.planned,
            "stopping": self.stopping, **self.told,
        }  # fmt: skip


class Runs:
    """The runs of one home."""

    def __init__(
        self, database: Database, encryption: Encryption | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database, self._encryption, self._clock = database, encryption, clock

    def begin(self, kind: Kind, *, target: str, by: str, name: str = "", planned: int = 0, alone: bool = False) -> str:
        """A run begins. Returns its id. alone: raises Conflict while another one runs."""
        self._database.migrate("evaluations", TABLES)
        id_, now = new_id(), self._clock()
        with self._database.write() as w:
            if alone and (
                others := w.execute(
                    "select target from evaluation_runs where state = 'running'"
                    " and seen > case stopping when 0 then ? else ? end",
                    (now - LOST_S, now - QUIET_S),
                ).fetchall()
            ):
                raise Conflict(f"an evaluation of '{others[0][0]}' is running", hint="wait until it is done, or end it")
            w.execute(
                "insert into evaluation_runs values (?, ?, ?, ?, ?, 'running', ?, ?, 0, 0, ?, 0, '{}', '')",
                (id_, kind, name, target, by, now, now, planned),
            )
        return id_

    def go_on(self, id_: str, done: int, planned: int) -> bool:
        """It still runs, and is so far. Returns whether it is to go on."""
        with self._database.write() as w:
            w.execute(
                "update evaluation_runs set done = ?, planned = ?, seen = ? where id = ? and state = 'running'",
                (done, planned, self._clock(), id_),
            )
            row = w.execute(
                "select stopping from evaluation_runs where id = ? and state = 'running'", (id_,)
            ).fetchone()
        return row is not None and not row[0]

    def end(
        self, id_: str, state: State, told: Mapping[str, Any], result: Mapping[str, Any] | None = None, *,
        only_running: bool = False,
    ) -> None:  # fmt: skip
        """What became of it. Older runs of the same make room. only_running: one that has ended stays as it is."""
        if self._encryption:
            self._encryption.prepare()
        said = "" if result is None else json.dumps(result, ensure_ascii=False).encode("utf-8", "replace").decode()
        kept = self._encryption.sealed(said, aad=id_.encode()) if self._encryption and said else said
        now = self._clock()
        with self._database.write() as w:
            w.execute(
                "update evaluation_runs set state = ?, told = ?, result = ?, seen = ?, ended = ?"
                " where id = ? and (state = 'running' or not ?)",
                (state, orjson.dumps(told).decode(), kept, now, now, id_, only_running),
            )
            w.execute(
                "delete from evaluation_runs where id in (select other.id from evaluation_runs as other, evaluation_runs as own"
                " where own.id = ? and other.kind = own.kind and other.name = own.name and other.target = own.target"
                " order by other.began desc limit -1 offset ?)",
                (id_, KEPT),
            )

    def stop(self, id_: str) -> Run:
        """Ask a run to end; what is done stays. One that gives no sign of life any more is lost by that. Raises NotFound, or
        Conflict for one that has ended."""
        run = self.find(id_)
        if run.state != "running":
            raise Conflict("the run has ended already")
        with self._database.write() as w:
            w.execute("update evaluation_runs set stopping = 1 where id = ?", (id_,))
        return run

    def remove(self, id_: str) -> Run:
        """Forget a run. Raises NotFound, or Conflict while it runs."""
        run = self.find(id_)
        if run.state == "running":
            raise Conflict("the run is not over", hint="end it first")
        with self._database.write() as w:
            w.execute("delete from evaluation_runs where id = ?", (id_,))
        return run

    def latest(self, kind: Kind | Literal[""] = "", *, target: str = "", limit: int = 100) -> list[Run]:
        """The newest first, of one kind and of one target where they are given."""
        wanted = {name: value for name, value in (("kind", kind), ("target", target)) if value}
        where = f"where {' and '.join(f'{name} = ?' for name in wanted)}" if wanted else ""
        return self._found(f"{where} order by began desc limit ?", *wanted.values(), limit)

    def newest(self, kind: Kind) -> list[Run]:
        """The newest run of each name and target, however many ran since."""
        last = "select name, target, max(began) from evaluation_runs where kind = ? group by name, target"
        return self._found(f"where kind = ? and (name, target, began) in ({last}) order by began desc", kind, kind)

    def _found(self, which: str, *values: str | int) -> list[Run]:
        if not self._database.has("evaluation_runs"):
            return []
        return [self._run(row) for row in self._database.read(f"select {_SHORT} from evaluation_runs {which}", values)]  # noqa: S608

    def find(self, id_: str) -> Run:
        """One run. Raises NotFound."""
        rows = []
        if self._database.has("evaluation_runs"):
            rows = self._database.read(f"select {_SHORT} from evaluation_runs where id = ?", (id_,))  # noqa: S608
        if not rows:
            raise NotFound(f"there is no run '{id_[:80]}'", hint=f"the latest {KEPT} of each evaluation are kept")
        return self._run(rows[0])

    def result(self, id_: str) -> dict[str, Any]:
        """All that came of a run; empty where nothing did. Raises StorageError where its key is gone."""
        rows = self._database.read("select result from evaluation_runs where id = ?", (id_,))
        found: dict[str, Any] = orjson.loads(self._opened(id_, rows[0][0])) if rows and rows[0][0] else {}
        return found

    def mentions(self, mentioned: Callable[..., bool]) -> int:
        """How many runs hold a text that says a name."""
        return len(self._mentioning(mentioned))

    def erase(self, mentioned: Callable[..., bool]) -> int:
        """Forget the runs that hold a text that says a name. Returns how many."""
        found = self._mentioning(mentioned)
        with self._database.write() as w:
            w.executemany("delete from evaluation_runs where id = ?", [(id_,) for id_ in found])
        return len(found)

    def _mentioning(self, mentioned: Callable[..., bool]) -> list[str]:
        if not self._database.has("evaluation_runs"):
            return []
        rows = self._database.read("select id, name, target, by, told, result from evaluation_runs")
        return [id_ for id_, *texts, result in rows if mentioned(*texts, self._opened(id_, result))]

    def _opened(self, id_: str, kept: str) -> str:
        return self._encryption.opened(kept, aad=id_.encode()) if self._encryption and kept else kept

    def _run(self, row: tuple[Any, ...]) -> Run:
        values = dict(zip(_SHORT.split(", "), row, strict=True))
        run = Run(**values | {"stopping": bool(values["stopping"]), "told": orjson.loads(values["told"])})
        quiet = self._clock() - run.seen
        lost = run.state == "running" and quiet >= (QUIET_S if run.stopping else LOST_S)
        return replace(run, state="lost") if lost else run


class Followed:
    """A run that is going on in this process: it gives signs of life, and is interrupted once somebody asks it to end, or the
    process that began it is gone."""

    def __init__(self, runs: Runs, id_: str, planned: int, *, parent: int = 0) -> None:
        """parent: the id of the process without which it is not to go on; 0: it goes on by itself."""
        self._runs, self.id, self._planned, self._parent = runs, id_, planned, parent
        self._done, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def tick(self) -> None:
        """One step more is done."""
        self._done += 1

    def __enter__(self) -> Followed:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs inherit it
            with suppress(ValueError):  # only the main thread may
                signal.signal(signal.SIGINT, signal.default_int_handler)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        with suppress(PenstockError):
            self._runs.go_on(self.id, self._done, self._planned)

    def _follow(self) -> None:
        goes_on = True
        while goes_on and not self._over.wait(SIGN_S):
            with suppress(PenstockError):  # a database that is busy for a moment ends nothing
                goes_on = self._runs.go_on(self.id, self._done, self._planned)
            goes_on = goes_on and not self._orphaned
        while not self._over.is_set():
            _interrupt()
            self._over.wait(AGAIN_S)

    @property
    def _orphaned(self) -> bool:
        """Whether the process that began it is gone. Elsewhere than on POSIX nobody is told."""
        return os.name == "posix" and self._parent not in (0, os.getppid())


def _interrupt() -> None:
    """Interrupt the main thread, also where it waits for the network."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        interrupt_main()


# ---------------------------------------------------------------- in short


def told_of(result: Result, holds: Sequence[Held] = ()) -> dict[str, Any]:
    """An evaluation in short, for a list."""
    summaries = result.summaries()
    return {
        "cases": result.cases.name, "digest": result.cases.digest, "n": len(result.cases), "repeats": result.repeats,
        "complete": result.complete, "asked": result.asked, "rows": len(result.rows), "seconds": round(result.seconds, 2),
        "cost_usd": result.cost_usd + result.judge_cost_usd, "leading": leading(result, summaries),
        "scores": {one.about.name: one.all.plain() for one in summaries},
        "limits": [one.plain() for one in holds], "passed": all(one.holds for one in holds) if holds else None,
    }  # fmt: skip


def told_of_drill(report: Report) -> dict[str, Any]:
    """A drill in short."""
    return {
        "policy": report.policy, "model": report.model, "seconds": round(report.seconds, 1), "attacks": report.total.plain(),
        "harmless": report.harmless.plain(), "gap": round(report.gap, 4),
    }  # fmt: skip
