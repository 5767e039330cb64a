"""The process that evaluates a log of conversations for the console, so that whoever asks the server does not wait for it.

It writes down itself how far it is and what came of it. The files it was given are gone when it ends.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from penstock.assemble import House, assemble
from penstock.config import load
from penstock.errors import BadRequest, PenstockError
from penstock.evaluate.kept import Followed, State
from penstock.support.conversations import Conversation

if TYPE_CHECKING:
    from penstock.support.reading import Log
    from penstock.support.report import Report

__all__ = ["FILES", "command", "evaluated", "main", "told_of"]

FILES: Final = ("log", "ratings", "changes", "data")  # that somebody may have sent, by the field of the form
MOST_TALKS: Final = 400  # conversations that are kept with their words, those with findings first
MOST_TURNS: Final = 200
LONGEST_TURN: Final = 8_000  # characters
LEADING: Final = ("resolved", "accuracy", "hallucination", "silent_failure", "csat")


def command(file: Path | None, run: str, folder: Path, wanted: Mapping[str, Any]) -> list[str]:
    """How the process is started."""
    told = {
        "config": str(file.resolve()) if file else None,
        "run": run,
        "folder": str(folder),
        "parent": os.getpid(),
        **wanted,
    }
    return [sys.executable, "-m", "penstock.server.console.supporting", json.dumps(told)]


def main(told: Mapping[str, Any]) -> int:
    """Evaluate, and keep what came of it. Returns the exit status."""
    if hasattr(os, "nice"):
        os.nice(10)  # whoever asks the server comes first
    folder, run = Path(told["folder"]), str(told["run"])
    house = assemble(load(told["config"], keys=False))
    try:
        evaluated(house, run, folder, told)
    except PenstockError as error:
        with suppress(PenstockError):
            house.runs.end(run, "failed", {"error": error.message, "hint": error.hint}, only_running=True)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        house.close()
    return 0


def evaluated(house: House, run: str, folder: Path, told: Mapping[str, Any]) -> None:
    """Evaluate what is in a folder, and keep what came of it. Raises PenstockError for what cannot be read."""
    from penstock.encoder import shipped
    from penstock.support.data import read_data
    from penstock.support.evaluating import Evaluation, report_of
    from penstock.support.human import read_ratings
    from penstock.support.scoring import Scorer
    from penstock.support.trends import read_changes

    sent = {name: found for name in FILES for found in sorted(folder.glob(f"{name}.*"))[:1]}
    planned = sum(1 for _ in _log(house, sent, told))  # reading is quick beside scoring
    log = _log(house, sent, told)
    data = read_data(sent["data"]) if "data" in sent else None
    ratings = read_ratings(sent["ratings"]) if "ratings" in sent else ()
    changes = read_changes(sent["changes"]) if "changes" in sent else ()
    evaluation = Evaluation(Scorer(encoder=shipped(threads=1), data=data, find_intents=True))
    talks: dict[str, Conversation] = {}
    state: State = "done"
    with Followed(house.runs, run, planned, parent=int(told["parent"])) as followed:

        def passing() -> Iterator[Conversation]:
            for one in log:
                talks[one.id] = one
                yield one
                followed.tick()

        try:
            evaluation.run(passing())
        except KeyboardInterrupt:
            state = "unfinished"
    if not evaluation.scored:
        raise BadRequest(
            "there is no conversation in it" if state == "done" else "it was ended before anything was scored"
        )
    report = report_of(
        evaluation.scored, name=str(told.get("name") or log.name), app=str(told.get("app") or "APP"), ratings=ratings,
        changes=changes, notes=log.problems.told(), fields=log.fields, complete=evaluation.complete, seconds=evaluation.seconds,
    )  # fmt: skip
    result = report.plain() | {"talks": _talks(report, talks)}
    house.runs.end(run, state, told_of(report), result)


def _log(house: House, sent: Mapping[str, Path], told: Mapping[str, Any]) -> Log:
    from penstock.support.reading import open_log

    if "log" in sent:
        return open_log(sent["log"])
    return house.support_log(app=str(told.get("app") or ""), since=0.0)


def _talks(report: Report, talks: Mapping[str, Conversation]) -> dict[str, Any]:
    """Conversations with their words, those with findings first."""
    grave = list(dict.fromkeys(one.conversation for one in report.findings if one.conversation in talks))
    others = [name for name in talks if name not in set(grave)]
    return {name: _words(talks[name]) for name in [*grave, *others][:MOST_TALKS]}


def _words(talk: Conversation) -> dict[str, Any]:
    turns = [
        {"role": turn.role, "text": turn.text[:LONGEST_TURN], "at": turn.at, "latency_ms": turn.latency_ms}
        for turn in talk.turns[:MOST_TURNS]
    ]
    about = {name: getattr(talk, name) for name in ("release", "language", "intent", "started", "csat")}
    return about | {"turns": turns, "more": max(0, len(talk.turns) - MOST_TURNS)}


def told_of(report: Report) -> dict[str, Any]:
    """An evaluation of a log in short, for a list."""
    figures = {one.metric: one for one in report.all.figures}
    return {
        "log": report.name, "conversations": report.conversations, "turns": report.turns, "seconds": round(report.seconds, 1),
        "complete": report.complete, "findings": len(report.findings), "alarms": len(report.alarms), "against": report.against,
        "releases": [group.name for group in report.of("release")][:12],
        "figures": {name: figures[name].plain() for name in LEADING if name in figures},
    }  # fmt: skip


if __name__ == "__main__":  # pragma: no cover  it is run by the console
    raise SystemExit(main(json.loads(sys.argv[1])))
