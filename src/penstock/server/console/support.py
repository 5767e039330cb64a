"""Support: how good the conversations in a log were. Evaluating one, following that, its figures with what they do not show, what
is wrong in which conversation, and what to try."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from penstock.assemble import House
from penstock.errors import BadRequest, NotFound, PenstockError
from penstock.evaluate.kept import Run
from penstock.server.console import supporting
from penstock.server.console.view import Action, Page, View
from penstock.server.http import Request
from penstock.server.work import Work
from penstock.storage.files import storage_errors

__all__ = ["ACTIONS", "PAGES"]

PATH = "/console/support"
MOST_RUNS, AT_ONCE = 100, 40
LARGEST_FORM = 64 << 20  # bytes
LOOK_S, ENDING_S = 0.5, 5.0
BY = ("release", "intent", "language")
ENDINGS = ("jsonl", "ndjson", "json", "csv", "tsv", "txt", "gz", "db", "sqlite", "sqlite3")


async def _list(request: Request, house: House) -> View:
    def found() -> View:
        runs = [run.plain() for run in house.runs.latest("support", limit=MOST_RUNS)]
        data = {"runs": runs, "bots": house.bots, "largest_mb": LARGEST_FORM >> 20, "running": any(
            run["state"] == "running" for run in runs
        )}  # fmt: skip
        return View("support.html", data, [_line(run) for run in runs])

    return await asyncio.to_thread(found)


def _line(run: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "target", "by", "state", "began", "conversations", "turns", "findings", "alarms", "seconds")
    figures = {name: one["value"] for name, one in run.get("figures", {}).items()}
    return {name: run.get(name) for name in names} | figures


# ---------------------------------------------------------------- one log


async def _one(request: Request, house: House) -> View:
    def found() -> View:
        run = _run(house, request.path_values["log"])
        result = house.runs.result(run.id)
        if not result:
            return View("support-log.html", {"run": run.plain(), "report": None}, title=run.target)
        everything = request.query("as") in ("json", "csv")
        data = _of_report(result, request, everything=everything)
        if everything:
            house.audit.record("log.read", actor=request.caller.name, target=run.target, run=run.id)
        return View("support-log.html", {"run": run.plain(), **data}, list(_rows(result)), title=run.target)

    return await asyncio.to_thread(found)


def _run(house: House, number: str) -> Run:
    run = house.runs.find(number)
    if run.kind != "support":
        raise NotFound("this run is of no log of conversations", hint=f"it is at /console/evaluations/{run.id}")
    return run


def _of_report(result: Mapping[str, Any], request: Request, *, everything: bool) -> dict[str, Any]:
    """A report as a page of it is asked for: which group, which trend, which findings."""
    groups: Sequence[Mapping[str, Any]] = result["groups"]
    named = {f"{one['by']}:{one['name']}": one for one in groups}
    wanted = request.query("group") or next(iter(named), "")
    if wanted not in named:
        raise BadRequest(f"there is no group '{wanted[:80]}'", hint=", ".join(list(named)[:8]))
    about = {one["name"]: one for one in result["metrics"]}
    trends: dict[str, list[Mapping[str, Any]]] = {}
    for point in result["trends"]:
        trends.setdefault(point["metric"], []).append(point)
    trend = request.query("trend") or next((name for name in ("resolved", *trends) if name in trends), "")
    if trend and trend not in trends:
        raise BadRequest(f"there is no trend of '{trend[:80]}'", hint=", ".join(trends))
    kinds = dict.fromkeys(one["kind"] for one in result["findings"])
    chosen = [one for one in result["findings"] if _fits(one, request)]
    skip = _whole(request.query("skip"))
    shown = {name: value for name, value in result.items() if name not in ("talks", "findings")}
    return {
        "report": shown if not everything else {name: value for name, value in result.items() if name != "talks"},
        "group": wanted, "chosen": named[wanted], "about": about, "named": list(named), "trends": list(trends), "trend": trend,
        "course": _course(trends.get(trend, [])), "kinds": list(kinds), "talks": list(result["talks"]),
        "kind": request.query("kind"), "find": request.query("find").strip(), "found": len(chosen), "skip": skip,
        "at_once": AT_ONCE, "findings": chosen if everything else chosen[skip : skip + AT_ONCE],
        "people": {one["metric"]: one for one in result["agreed"] if one["between"] == "people"},
    }  # fmt: skip


def _fits(finding: Mapping[str, Any], request: Request) -> bool:
    by, _, name = request.query("group").partition(":")
    kind, words = request.query("kind"), request.query("find").strip().casefold()
    return (
        (not kind or finding["kind"] == kind)
        and (by not in BY or finding[by] == name)
        and words in f"{finding['conversation']} {finding['text']} {finding['why']}".casefold()
    )


def _course(points: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """A trend as a picture of 1000 by 100: its line and the band of its interval. None where there is nothing to draw."""
    known = [one for one in points if one["value"] is not None]
    if len(known) < 2:
        return None
    first, last = known[0]["at"], known[-1]["at"]
    ends = [one[name] for one in known for name in ("low", "high", "value") if one[name] is not None]
    low, high = min(ends), max(ends)
    room = (high - low) or abs(high) or 1.0

    def place(at: float, value: float) -> str:
        return f"{1000 * (at - first) / (last - first):.1f},{96 - 92 * (value - low) / room:.1f}"

    band = [one for one in known if one["low"] is not None and one["high"] is not None]
    return {
        "line": " ".join(place(one["at"], one["value"]) for one in known), "low": low, "high": high, "first": first, "last": last,
        "band": " ".join([*(place(one["at"], one["high"]) for one in band), *(place(one["at"], one["low"]) for one in band[::-1])]),
        "points": known,
    }  # fmt: skip


def _rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each figure of each group, as a table."""
    for group in result["groups"]:
        for one in group["figures"]:
            names = ("metric", "value", "low", "high", "n", "units", "interval", "tells")
            yield {"by": group["by"], "group": group["name"], **{name: one[name] for name in names}}


# ---------------------------------------------------------------- one conversation


async def _talk(request: Request, house: House) -> View:
    def found() -> View:
        run = _run(house, request.path_values["log"])
        result = house.runs.result(run.id)
        wanted = request.query("conversation") or next(iter(result.get("talks", ())), "")
        talk = result.get("talks", {}).get(wanted)
        if talk is None:
            raise NotFound(
                f"the words of the conversation '{wanted[:80]}' are not kept",
                hint=f"of each log {supporting.MOST_TALKS} are, those with findings first",
            )
        findings = [one for one in result["findings"] if one["conversation"] == wanted]
        house.audit.record("log.read", actor=request.caller.name, target=run.target, run=run.id, conversation=wanted)
        turns = [
            {**turn, "number": n, "pieces": _pieces(turn["text"], own), "findings": own}
            for n, turn in enumerate(talk["turns"])
            for own in [[one for one in findings if one["turn"] == n]]
        ]
        data = {"run": run.plain(), "conversation": wanted, "talk": talk | {"turns": turns}, "findings": findings}
        rows = [{"turn": turn["number"], "role": turn["role"], "text": turn["text"]} for turn in turns]
        return View("support-talk.html", data, rows, title=wanted)

    return await asyncio.to_thread(found)


def _pieces(text: str, findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A turn in pieces, those that a finding is about marked. Claims that overlap are marked as one."""
    spans: list[list[int]] = []
    for start, end in sorted(
        (one["start"], min(one["end"], len(text))) for one in findings if one["end"] > one["start"]
    ):
        if spans and start <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([start, end])
    pieces, at = [], 0
    for start, end in spans:
        pieces += [{"text": text[at:start], "marked": False}, {"text": text[start:end], "marked": True}]
        at = end
    return [one for one in [*pieces, {"text": text[at:], "marked": False}] if one["text"]]


# ---------------------------------------------------------------- evaluating one


async def _start(request: Request, house: House, form: Mapping[str, str]) -> str:
    """Evaluate a log that was sent, or the conversations of this house's bots, in a process of its own."""
    app, files, by = form.get("app", ""), request.files, request.caller.name
    if "log" in files and app:
        raise BadRequest("choose a file, or the conversations of a bot, and not both")
    if "log" not in files and app not in house.bots:
        hint = "choose a file" if not house.bots else f"choose a file, or one of {', '.join(house.bots)}"
        raise BadRequest("there is no log to evaluate", hint=hint)
    name = _named(files["log"][0]) if "log" in files else app

    def begun() -> tuple[str, Path]:
        run = house.runs.begin("support", target=name, by=by, alone=True)
        folder = house.settings.home_path / "support" / run
        try:
            with storage_errors(folder):
                folder.mkdir(parents=True, mode=0o700)
                for field, (file, content) in files.items():
                    if field in supporting.FILES:
                        path = folder / f"{field}.{_ending(file)}"
                        path.touch(0o600)
                        path.write_bytes(content)
        except PenstockError as error:
            shutil.rmtree(folder, ignore_errors=True)
            house.runs.end(run, "failed", {"error": error.message, "hint": error.hint})
            raise
        house.audit.record("evaluation.started", actor=by, target=name, run=run)
        return run, folder

    run, folder = await asyncio.to_thread(begun)
    command = supporting.command(house.settings.file, run, folder, {"app": app, "name": name})
    request.work.start(partial(_carry_out, house, command, run, folder, request.work))
    return f"{PATH}/{run}?told=begun"


def _named(file: str) -> str:
    """What a log is called: as its file was."""
    said = re.split(r"[\\/]", file)[-1]
    return "".join(one for one in said if one.isprintable())[:80] or "log"


def _ending(file: str) -> str:
    """The end of a file's name, where it is one that says how to read it."""
    ends = [one.lower() for one in file.split(".")[-2:]] if file.count(".") else []
    return ".".join(one for one in ends if one in ENDINGS) or "log"


def _carry_out(house: House, command: Sequence[str], run: str, folder: Path, work: Work) -> None:
    """Wait for the process that evaluates. It writes down itself how far it is and what came of it."""

    def failed(why: str) -> None:
        told = {"error": why, "hint": "in a terminal, penstock eval log says more"}
        with suppress(PenstockError):
            house.runs.end(run, "failed", told, only_running=True)

    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        failed(f"no process could be started: {error.strerror}")
        shutil.rmtree(folder, ignore_errors=True)
        return
    while True:
        try:
            failed(f"its process ended with status {process.wait(LOOK_S)}")
            break
        except subprocess.TimeoutExpired:
            if work.stop.is_set():  # it ends by itself, and what is done stays
                with suppress(PenstockError):
                    house.runs.stop(run)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING_S)
                return
    shutil.rmtree(folder, ignore_errors=True)  # where it was killed


async def _cancel(request: Request, house: House, form: Mapping[str, str]) -> str:
    def cancelled() -> str:
        run = _run(house, request.path_values["log"])
        house.runs.stop(run.id)
        house.audit.record("evaluation.cancelled", actor=request.caller.name, target=run.target, run=run.id)
        return run.id

    return f"{PATH}/{await asyncio.to_thread(cancelled)}?told=ending"


async def _remove(request: Request, house: House, form: Mapping[str, str]) -> str:
    def removed() -> None:
        run = _run(house, request.path_values["log"])
        house.runs.remove(run.id)
        house.audit.record("evaluation.removed", actor=request.caller.name, target=run.target, run=run.id)

    await asyncio.to_thread(removed)
    return f"{PATH}?told=result-gone"


def _whole(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) < 7):
        raise BadRequest("'skip' must be a whole number")
    return int(text or 0)


PAGES = [
    Page(PATH, "Support", _list, menu=True),
    Page(f"{PATH}/{{log}}", "Conversations of a log", _one),
    Page(f"{PATH}/{{log}}/talk", "Conversation", _talk),
]
ACTIONS = [
    Action(PATH, _start, most=LARGEST_FORM),
    Action(f"{PATH}/{{log}}/cancel", _cancel),
    Action(f"{PATH}/{{log}}/remove", _remove),
]
