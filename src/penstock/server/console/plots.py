"""Where lines, bands and marks stand in a picture of 1000 by 100, which is stretched to the width that there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

__all__ = ["Plot", "plotted"]

WIDE, HIGH, EDGE = 1000.0, 100.0, 4.0
DOT = 0.01  # a line so long is a dot, by its round ends


class Plot(NamedTuple):
    """line, usual: paths; band: polygons; dots: (x, y) of what lies outside; marks: (x, width); low, high: values at the edges."""

    line: str
    usual: str
    band: list[str]
    dots: list[tuple[float, float]]
    marks: list[tuple[float, float]]
    low: float
    high: float


def plotted(points: Sequence[Mapping[str, Any]], marks: Sequence[Mapping[str, Any]], step_h: int) -> Plot:
    """A row of steps, each with `at`, `seen`, `usual`, `low`, `high`, `unusual`; marks: with `at` and `ended`.

    Where little was asked bands are wide: they are cut off, so that what was seen can be seen.
    """
    values = [point[name] for point in points for name in ("seen", "usual") if point[name] is not None]
    values += [
        median(ends)
        for name in ("low", "high")
        if (ends := [point[name] for point in points if point[name] is not None])
    ]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = (high - low) or abs(high) or 1.0
    width = WIDE / len(points)

    def across(n: int) -> float:
        return round((n + 0.5) * width, 1)

    def up(value: float) -> float:
        return round(min(max(HIGH - EDGE - (HIGH - 2 * EDGE) * (value - low) / room, 0.0), HIGH), 2)

    seen = [None if point["seen"] is None else (across(n), up(point["seen"])) for n, point in enumerate(points)]
    usual = [None if point["usual"] is None else (across(n), up(point["usual"])) for n, point in enumerate(points)]
    bands = []
    for stretch in _stretches([None if point["low"] is None else n for n, point in enumerate(points)]):
        ends = [(across(n), up(points[n]["high"])) for n in stretch] + [
            (across(n), up(points[n]["low"])) for n in reversed(stretch)
        ]
        if len(stretch) == 1:  # one step by itself is as wide as it lasts
            half, ((x, top), (_, bottom)) = width / 2, ends
            ends = [(x - half, top), (x + half, top), (x + half, bottom), (x - half, bottom)]
        bands.append(" ".join(f"{x:g},{y:g}" for x, y in ends))
    first, length = points[0]["at"], len(points) * step_h * 3600
    drawn = []
    for mark in marks:
        begin = min(max((mark["at"] - first) / length, 0.0), 1.0)
        end = min(max(((mark["ended"] or first + length) - first) / length, begin), 1.0)
        drawn.append((round(begin * WIDE, 1), round((end - begin) * WIDE, 1)))
    dots = [where for where, point in zip(seen, points, strict=True) if where and point["unusual"]]
    return Plot(_path(seen), _path(usual), bands, dots, drawn, low, low + room)


def _path(places: Sequence[tuple[float, float] | None]) -> str:
    return "".join(
        f"M{stretch[0][0]:g} {stretch[0][1]:g}" + ("".join(f"L{x:g} {y:g}" for x, y in stretch[1:]) or f"h{DOT}")
        for stretch in _stretches(places)
    )


def _stretches(values: Sequence[Any]) -> list[list[Any]]:
    """What follows each other without a gap."""
    found: list[list[Any]] = [[]]
    for value in values:
        if value is not None:
            found[-1].append(value)
        elif found[-1]:
            found.append([])
    return [stretch for stretch in found if stretch]
