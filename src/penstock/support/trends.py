"""Figures over time, and what was changed when: releases as they appear, and what somebody wrote down."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.errors import BadRequest
from penstock.support.fields import as_time
from penstock.support.figures import figure_of
from penstock.support.metrics import METRICS
from penstock.support.report import Change, Point
from penstock.support.scored import Scored

__all__ = ["SHOWN", "changes_of", "points", "read_changes"]

SHOWN = (
    "accuracy", "hallucination", "relevance", "coherence", "upset", "empathy", "latency_p95", "csat", "unsatisfied_predicted",
    "escalated",
    "resolved", "silent_failure", "recontact_7d",
)  # fmt: skip
DAY_S = 86_400.0
STEPS_DAYS = (1, 7, 28, 91, 364)
MOST_STEPS = 60
MOST_CHANGES = 200


def points(scored: Sequence[Scored]) -> tuple[Point, ...]:
    """Each metric by day, week, four weeks, … so that there are at most sixty steps; none where all is on one day, or has no
    time."""
    timed = [one for one in scored if one.started is not None]
    if not timed:
        return ()
    first, last = min(one.started or 0.0 for one in timed), max(one.started or 0.0 for one in timed)
    days = next((step for step in STEPS_DAYS if (last - first) / DAY_S / step <= MOST_STEPS), 364 * 5)
    step = days * DAY_S
    parts: dict[int, list[Scored]] = {}
    for one in timed:
        parts.setdefault(int((one.started or 0.0) // step), []).append(one)
    if len(parts) < 2:
        return ()
    found = []
    for name in SHOWN:
        figures = [(number, figure_of(METRICS[name], parts[number], until=None)) for number in sorted(parts)]
        if any(figure.value is not None for _, figure in figures):
            found += [Point(number * step, name, one.value, one.low, one.high, one.n) for number, one in figures]
    return tuple(found)


def changes_of(scored: Sequence[Scored], written: Sequence[Change] = ()) -> tuple[Change, ...]:
    """When each release was first seen, and what was written down, the earliest first."""
    seen: dict[str, float] = {}
    for one in scored:
        if one.release and one.started is not None:
            seen[one.release] = min(seen.get(one.release, one.started), one.started)
    named = {change.release for change in written}
    found = [
        Change(at, f"release {release} is first seen", release) for release, at in seen.items() if release not in named
    ]
    return tuple(sorted((*found, *written), key=lambda one: (one.at, one.what))[:MOST_CHANGES])


def read_changes(path: Path) -> tuple[Change, ...]:
    """A file of changes: `2026-05-03 what was changed` a line, JSON Lines or CSV with `at`, `what` and perhaps `release`.

    Raises BadRequest, naming the line of what is none.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"the changes {path} cannot be read as UTF-8 text") from error
    found = []
    for number, row in _rows(text, path):
        at = next((as_time(row[name]) for name in ("at", "date", "time", "day") if row.get(name)), None)
        what = next(
            (str(row[name]).strip() for name in ("what", "change", "text", "note", "title") if row.get(name)), ""
        )
        release = str(row.get("release") or row.get("version") or "").strip()
        if at is None or not (what or release):
            raise BadRequest(
                f"line {number} of {path} has no day and no word of what was changed",
                hint="2026-05-03 the prompt asks for the order",
            )
        found.append(Change(at, what[:500] or f"release {release}", release[:200]))
    return tuple(found)


def _rows(text: str, path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    lines = text.split("\n")
    if text.lstrip()[:1] == "{":
        found: list[tuple[int, Mapping[str, Any]]] = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadRequest(f"line {number} of {path} is not JSON") from error
            if not isinstance(row, dict):
                raise BadRequest(f"line {number} of {path} is no JSON object")
            found.append((number, row))
        return found
    heads = [name.strip().lower() for name in next(csv.reader(lines[:1]), [])]
    if {"what", "change", "text", "note", "release"} & set(heads):
        reader = csv.DictReader(io.StringIO("\n".join([",".join(heads), *lines[1:]])))
        return [(number, row) for number, row in enumerate(reader, 2)]
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            parts = re.match(r"\s*(\S+)\s+(.*)", line)
            found.append((number, {"at": parts[1], "what": parts[2]} if parts else {}))
    return found
