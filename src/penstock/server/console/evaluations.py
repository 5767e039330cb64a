"""Evaluations: which are set, what came of each run, two of them side by side; starting one, following it, and ending it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import fmean
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from penstock.assemble import House
from penstock.config import EvaluationSettings, iso
from penstock.errors import BadRequest, NotFound, PenstockError
from penstock.evaluate.kept import Kind, Run
from penstock.server.console.view import Action, Page, View
from penstock.server.http import Request
from penstock.server.work import Work

__all__ = ["ACTIONS", "PAGES", "set_for"]

PATH = "/console/evaluations"
AT_ONCE, MOST = 50, 200
LOOK_S, ENDING_S = 0.5, 5.0
COMPARED = 32  # pairs that are remembered: what was compared once stays as it is
SHOW = ("below", "unscored", "failed")
GROUPS = ("kind", "transform", "language")

_compared: WeakKeyDictionary[House, OrderedDict[tuple[str, str], dict[str, Any]]] = WeakKeyDictionary()
_lock = Lock()


async def _list(request: Request, house: House) -> View:
    def found() -> View:
        kinds: tuple[Kind, Kind] = ("evaluation", "drill")
        evaluations, drills = ([run.plain() for run in _listed(house, kind)] for kind in kinds)
        rows = [_line(run) for run in evaluations]
        data = {"set": set_for(house), "runs": evaluations, "drills": drills}
        return View("evaluations.html", data | {"running": any(run["state"] == "running" for run in evaluations)}, rows)

    return await asyncio.to_thread(found)


def _listed(house: House, kind: Kind) -> list[Run]:
    """The latest runs, and of whatever else ran the newest."""
    latest = house.runs.latest(kind, limit=MOST)
    known = {run.id for run in latest}
    return [*latest, *(run for run in house.runs.newest(kind) if run.id not in known)]


def set_for(house: House, target: str = "") -> list[dict[str, Any]]:
    """The evaluations of the settings, each with its last run. target: only of this app or model."""
    runs = {(run.name, run.target): run.plain() for run in house.runs.newest("evaluation")}
    return [
        {
            "name": name, "target": one.against or name, "cases": one.cases, "judge": one.judge, "repeats": one.repeats,
            "limits": dict(one.gate), "max_gap": one.max_gap or None,
            "last": runs.get((name, one.against or name)),
        }
        for name, one in house.settings.evaluations.items()
        if not target or (one.against or name) == target
    ]  # fmt: skip


def _line(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run as a row: its scores in columns of their own."""
    names = ("id", "name", "target", "by", "state", "began", "cases", "n", "repeats", "passed", "seconds", "cost_usd")
    means = {name: part["mean"] for name, part in run.get("scores", {}).items()}
    return {name: run.get(name) for name in names} | means


# ---------------------------------------------------------------- one run


async def _one(request: Request, house: House) -> View:
    def found() -> View:
        run = house.runs.find(request.path_values["run"])
        if run.kind == "support":
            raise NotFound("this run is of a log of conversations", hint=f"it is at /console/support/{run.id}")
        result = house.runs.result(run.id)
        if run.kind == "drill":
            return _drill(run, result)
        everything = request.query("as") in ("json", "csv")
        until = iso(run.ended + 1 if run.ended else 0.0)  # its last second too
        data = _of_result(run, result, request) | {"collection": _collection(house, run.target), "until": until or ""}
        if everything:
            rows = [_answer_row(case, answer) for case in data["cases"] for answer in case["answers"]]
            return View("evaluation.html", data, rows, title=run.name or run.target)
        skip = _whole(request.query("skip"))
        data |= {"cases": data["cases"][skip : skip + AT_ONCE], "skip": skip, "at_once": AT_ONCE}
        others = house.runs.latest("evaluation", target=run.target, limit=MOST)
        data["others"] = [one.plain() for one in others if one.told.get("scores") and one.id != run.id]
        data["gap_of"] = {name: one.get("gap") for name, one in result.get("scores", {}).items()}
        return View("evaluation.html", data, [{"more": True}], title=run.name or run.target)

    return await asyncio.to_thread(found)


def _collection(house: House, target: str) -> str:
    """The collection that a target answers from; "" where it answers from none."""
    app = house.settings.apps.get(target)
    source = (app.documents if app else "") or target
    return source if house.has_documents and source in house.library.names() else ""


def _of_result(run: Run, result: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """A run with its cases: those that are asked for, the worst first."""
    abouts = result.get("abouts", {})
    by, show, wanted = (
        request.query("by") or run.told.get("leading", ""),
        request.query("show"),
        request.query("find").strip(),
    )
    if by and abouts and by not in abouts:
        raise BadRequest(f"there is no score '{by[:40]}'", hint=", ".join(abouts))
    if show and show not in SHOW:
        raise BadRequest(f"'show' is '{show[:40]}'", hint=", ".join(SHOW))
    cases = _cases(result, by)
    about = abouts.get(by, {})
    up = about.get("higher_is_better", True)
    best = about.get("high") if up else about.get("low")
    chosen = [
        case
        for case in cases
        if (show != "below" or (case["value"] is not None and case["value"] != best))
        and (show != "unscored" or case["value"] is None)
        and (show != "failed" or any(answer["state"] in ("failed", "refused") for answer in case["answers"]))
        and wanted.casefold() in f"{case['id']} {case['question']}".casefold()
    ]
    chosen.sort(
        key=lambda case: (case["value"] is None, 0.0 if case["value"] is None else (1 if up else -1) * case["value"])
    )
    names = ("scores", "abouts", "agreement", "versions", "settings", "duplicates")
    return {
        "run": run.plain(), **{name: result.get(name) or {} for name in names}, "by": by, "show": show, "find": wanted,
        "found": len(chosen), "of": len(cases), "cases": chosen,
    }  # fmt: skip


def _cases(result: Mapping[str, Any], by: str) -> list[dict[str, Any]]:
    """The cases of a result, each with its answers, and the mean of one score."""
    answers: dict[str, list[dict[str, Any]]] = {}
    for row in result.get("rows", ()):
        reply = row["reply"]
        answers.setdefault(row["case"], []).append({
            "trial": row["trial"], "answer": reply["text"], "state": reply.get("state", "answered"),
            "error": reply.get("error", ""), "cited": reply.get("cited") or [], "latency_ms": reply.get("latency_ms"),
            "scores": row["scores"],
        })  # fmt: skip
    found = []
    for case in result.get("case_rows", ()):
        own = answers.get(case["id"], [])
        values = [one["scores"][by]["value"] for one in own if "value" in one["scores"].get(by, {})]
        found.append({
            "id": case["id"], "question": case["question"], "language": case.get("language", ""),
            **{name: case.get(name, []) for name in ("expected", "must_contain", "sources", "tags")},
            "answerable": case.get("answerable", True) is not False, "value": fmean(values) if values else None,
            "answers": own,
        })  # fmt: skip
    return found


def _answer_row(case: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as a row, with a column for each score."""
    values = {name: one.get("value") for name, one in answer["scores"].items() if one.get("state") != "absent"}
    return {
        "case": case["id"], "trial": answer["trial"], "question": case["question"], "expected": case["expected"],
        "answer": answer["answer"], "state": answer["state"], "error": answer["error"], **values,
    }  # fmt: skip


def _drill(run: Run, report: Mapping[str, Any]) -> View:
    rows = [{"by": what, **share} for what in GROUPS for share in report.get(f"by_{what}", ())]
    return View("drill.html", {"run": run.plain(), "report": dict(report), "groups": GROUPS}, rows, title=run.target)


# ---------------------------------------------------------------- two runs


async def _compare(request: Request, house: House) -> View:
    first, second = request.query("first"), request.query("second")

    def found() -> View:
        runs = [run.plain() for run in _listed(house, "evaluation") if run.told.get("scores")]
        data: dict[str, Any] = {"runs": runs, "first": first, "second": second, "compared": None}
        if not first or not second:
            return View("compared.html", data)
        data["compared"] = compared = _comparison(house, house.runs.find(first), house.runs.find(second))
        return View("compared.html", data, compared["scores"])

    return await asyncio.to_thread(found)


def _comparison(house: House, first: Run, second: Run) -> dict[str, Any]:
    """Two results case by case, as `penstock eval compare` has it. It takes a moment, once."""
    from penstock.evaluate.compared import compare
    from penstock.evaluate.result import read

    pair = (first.id, second.id)
    with _lock:
        known = _compared.setdefault(house, OrderedDict())
        if found := known.get(pair):
            return found
    for run in (first, second):
        if run.kind != "evaluation" or not run.told.get("scores"):
            raise BadRequest(f"the run '{run.id[:40]}' has no result that could be compared")
    a, b = (read(house.runs.result(run.id), "the run") for run in (first, second))
    found = compare(a, b).plain() | {"abouts": {name: about.plain() for name, about in b.abouts.items()}}
    found["scores"].sort(key=lambda one: ({"worse": 0, "better": 1}.get(one["decision"], 2), one["p_holm"]))
    with _lock:
        known[pair] = found
        while len(known) > COMPARED:
            known.popitem(last=False)
    return found


# ---------------------------------------------------------------- running one


async def _start(request: Request, house: House, form: Mapping[str, str]) -> str:
    """Run an evaluation of the settings in a process of its own, so that whoever asks the server does not wait for it."""
    name = form.get("evaluation", "")
    settings = house.settings.evaluations.get(name)
    if settings is None:
        known = ", ".join(house.settings.evaluations) or "none"
        raise NotFound(f"there is no evaluation '{name[:80]}'", hint=f"known: {known}")
    if not settings.cases:
        raise BadRequest(f"the evaluation '{name}' names no cases", hint=f'cases = "FILE" in [evaluations.{name}]')
    target, by = settings.against or name, request.caller.name

    def begun() -> str:
        run = house.runs.begin("evaluation", target=target, by=by, name=name, alone=True)
        house.audit.record("evaluation.started", actor=by, target=name, run=run)
        return run

    run = await asyncio.to_thread(begun)
    request.work.start(
        partial(_carry_out, house, _command(house.settings.file, target, name, settings, run), run, request.work)
    )
    return f"{PATH}/{run}?told=begun"


def _command(file: Path | None, target: str, name: str, settings: EvaluationSettings, run: str) -> list[str]:
    gated = ["--gate"] if settings.gate or settings.max_gap or settings.baseline else []
    config = ["--config", str(file.resolve())] if file else []
    started = ["eval", "app", target, "--evaluation", name, "--json", *gated]
    followed = ["--run", run, "--parent", str(os.getpid())]
    return [sys.executable, "-m", "penstock", *config, *started, *followed]


def _carry_out(house: House, command: Sequence[str], run: str, work: Work) -> None:
    """Wait for the process that evaluates. It writes down itself how far it is and what came of it."""

    def failed(why: str) -> None:
        told = {"error": why, "hint": "in a terminal, penstock eval app says more"}
        with suppress(PenstockError):  # one of which nothing is heard any more is told from those that run
            house.runs.end(run, "failed", told, only_running=True)

    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        failed(f"no process could be started: {error.strerror}")
        return
    while True:
        try:
            failed(f"its process ended with status {process.wait(LOOK_S)}")
            return
        except subprocess.TimeoutExpired:
            if work.stop.is_set():  # it ends by itself, and what is done stays
                with suppress(PenstockError):
                    house.runs.stop(run)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING_S)
                return


async def _cancel(request: Request, house: House, form: Mapping[str, str]) -> str:
    run = request.path_values["run"]

    def cancelled() -> None:
        stopped = house.runs.stop(run)
        house.audit.record(
            "evaluation.cancelled", actor=request.caller.name, target=stopped.name or stopped.target, run=run
        )

    await asyncio.to_thread(cancelled)
    return f"{PATH}/{run}?told=ending"


async def _remove(request: Request, house: House, form: Mapping[str, str]) -> str:
    run = request.path_values["run"]

    def removed() -> None:
        gone = house.runs.remove(run)
        house.audit.record("evaluation.removed", actor=request.caller.name, target=gone.name or gone.target, run=run)

    await asyncio.to_thread(removed)
    return f"{PATH}?told=result-gone"


def _whole(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) < 7):
        raise BadRequest("'skip' must be a whole number")
    return int(text or 0)


PAGES = [
    Page(PATH, "Evaluations", _list, menu=True),
    Page(f"{PATH}/compare", "Two runs side by side", _compare),
    Page(f"{PATH}/{{run}}", "Evaluation", _one),
]
ACTIONS = [
    Action(PATH, _start),
    Action(f"{PATH}/{{run}}/cancel", _cancel),
    Action(f"{PATH}/{{run}}/remove", _remove),
]
