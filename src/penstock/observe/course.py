"""What the lookout has seen, for people: each measure of an app or a model over time, what was usual, and where something changed.

A step is as long as one of the windows that are looked at, so a point outside of its band is one that an alert may be about.
Nothing is counted here: it reads what the tally has written down, which is at most half a minute old.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from penstock.observe.alerts import Alert
from penstock.observe.counts import FEWEST, HOUR_S, LEARN_H, Observed
from penstock.storage.database import Database, Tables

if TYPE_CHECKING:  # who has not been asked for a day does without numpy
    from penstock.observe.anomalies import Usual

__all__ = ["SPANS", "Course", "Mark", "Point", "courses", "learning", "subjects"]

Unit = Literal["share", "ms", "usd", "count"]
SPANS: Final[Mapping[str, tuple[int, int]]] = {"2d": (1, 48), "2w": (6, 56), "8w": (24, 56)}  # hours of a step, steps
UNITS: Final[Mapping[str, Unit]] = {"cost": "usd", "latency": "ms", "length": "count"}
LOGARITHMS: Final = ("cost", "latency", "length")
MEANS: Final = ("support", "confidence")  # between 0 and 1, and no shares
ORDER: Final = (
    "failures", "refusals", "unsupported", "latency", "cost", "length", "doubtful", "support", "faulty", "confidence",
)  # fmt: skip
STREAMS: Final = {"refused": "refusals"}  # of charts, where they are called otherwise
OBJECTIVES: Final = {
    "availability": "failures", "latency": "latency", "first_piece": "latency", "grounded": "unsupported",
    "refusals": "refusals", "cost": "cost",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """One step. at: Unix time of its beginning; seen: a mean or share; usual, low, high: None where they are not known."""

    at: float
    n: int
    seen: float | None
    usual: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def unusual(self) -> bool:
        """Whether it lies outside of its band, and that says something."""
        if self.seen is None or self.low is None or self.high is None or self.n < FEWEST:
            return False
        return not self.low <= self.seen <= self.high

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "at": self.at, "n": self.n, "seen": self.seen, "usual": self.usual, "low": self.low, "high": self.high,
            "unusual": self.unusual,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mark:
    """Where people were told. before, after: in the measure's unit, where both are known; ended: 0 while it goes on."""

    at: float
    ended: float
    severity: str
    title: str
    direction: str = ""  # up, down
    statistic: str = ""  # mean, share, spread; "" of an objective
    before: float | None = None
    after: float | None = None
    requests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Course:
    """One measure of one subject. hours: with answers in them, of all that is kept; step_h: how many a step has."""

    measure: str
    unit: Unit
    hours: int
    step_h: int
    points: tuple[Point, ...]
    marks: tuple[Mark, ...] = ()

    @property
    def answers(self) -> int:
        return sum(point.n for point in self.points)

    @property
    def latest(self) -> Point | None:
        """The last step with anything in it."""
        return next((point for point in reversed(self.points) if point.n), None)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "measure": self.measure, "unit": self.unit, "hours": self.hours, "step_h": self.step_h, "answers": self.answers,
            "latest": self.latest.plain() if self.latest else None, "points": [point.plain() for point in self.points],
            "marks": [asdict(mark) for mark in self.marks],
        }  # fmt: skip


def subjects(database: Database, *, now: float, hours: int) -> list[tuple[str, int]]:
    """The apps and models with answers in the last hours, and how many, most first."""
    if not database.has("tally_measures"):
        return []
    rows = database.read(
        "select subject, sum(n) from tally_measures where measure in ('latency', 'refusals') and step_s = ? and number > ?"
        " group by measure, subject",
        (HOUR_S, int(now // HOUR_S) - hours),
    )
    found: dict[str, int] = {}
    for subject, n in rows:
        found[subject] = max(found.get(subject, 0), int(n))
    return sorted(found.items(), key=lambda one: (-one[1], one[0]))


def courses(database: Database, subject: str, span: str, *, now: float, alerts: Iterable[Alert] = ()) -> list[Course]:
    """Every measure of an app or model that has values, first those with marks. span: of SPANS."""
    step_h, steps = SPANS[span]
    marks: dict[str, list[Mark]] = {}
    first = (int(now // HOUR_S) // step_h - steps + 1) * step_h * HOUR_S
    for alert in alerts:
        if (found := _mark(alert, subject)) and (found[1].ended or now) >= first:
            marks.setdefault(found[0], []).append(found[1])
    told = []
    for measure in ORDER:
        observed = _observed(database, measure, subject)
        if not len(observed.hours):
            continue
        points = _points(measure, observed, int(now // HOUR_S), step_h, steps)
        if any(point.n for point in points):
            known = sorted(marks.get(measure, ()), key=lambda mark: mark.at)
            unit = UNITS.get(measure, "share")
            told.append(Course(measure, unit, len(observed.hours), step_h, tuple(points), tuple(known)))
    return sorted(told, key=lambda course: not course.marks)


def learning(tables: Tables, subject: str) -> int:
    """How many more answers it takes until changes of an app's answers are seen; 0 where they are, or where it was not asked."""
    if not tables.has("quality_charts"):
        return 0
    states = tables.read("select state from quality_charts where subject = ?", (subject,))
    left = [
        state["settings"]["warm_up"] - len(state["learning"])
        for state in map(orjson.loads, (row[0] for row in states))
        if not state["normal"]
    ]
    return max(left, default=0)


def _observed(database: Database, measure: str, subject: str) -> Observed:
    observed = Observed()
    for number, n, total, squares, expected in database.read(
        "select number, n, total, squares, expected from tally_measures where measure = ? and subject = ? and step_s = ?"
        " order by number",
        (measure, subject, HOUR_S),
    ):
        observed.hours.add(number, n, total, squares)
        if expected is not None:
            observed.hours.foretell(number, expected)
    return observed


def _points(measure: str, observed: Observed, hour: int, step_h: int, steps: int) -> list[Point]:
    usual: Usual | None = None
    if len(observed.hours) >= LEARN_H:
        from penstock.observe.anomalies import Usual

        usual = Usual.learnt(observed, hour)
    found = []
    for number in range(hour // step_h - steps + 1, hour // step_h + 1):
        hours = [observed.hours.of(number * step_h + one) for one in range(step_h)]
        found.append(_point(measure, hours, number * step_h * HOUR_S, usual, step_h))
    return found


def _point(
    measure: str, hours: Sequence[tuple[int, float, float, float | None]], at: float, usual: Usual | None, step_h: int
) -> Point:
    n, total = sum(one[0] for one in hours), sum(one[1] for one in hours)
    foretold = [(one[0], one[3]) for one in hours if one[0] and one[3] is not None]
    known = sum(count for count, _ in foretold)
    to_unit = math.exp if measure in LOGARITHMS else float
    seen = to_unit(total / n) if n else None
    if usual is None or not known or 2 * known < n:  # most of it was not foretold
        return Point(at, n, seen)
    from penstock.observe.anomalies import band

    expected = sum(count * value for count, value in foretold) / known
    ends = band(usual, step_h, n, expected, is_share=measure not in (*LOGARITHMS, *MEANS))
    if ends is None:
        return Point(at, n, seen)
    low, high = ends if measure in LOGARITHMS else (max(ends[0], 0.0), min(ends[1], 1.0))
    middle = expected if measure in LOGARITHMS else min(max(expected, 0.0), 1.0)
    return Point(at, n, seen, to_unit(middle), to_unit(low), to_unit(high))


def _mark(alert: Alert, subject: str) -> tuple[str, Mark] | None:
    """The measure that an alert is about, and where it stands; None where it is about something else, or nothing that is drawn."""
    facts, kind = alert.facts, alert.key.partition("/")[0]
    if facts.get("subject") != subject:
        return None
    severity = alert.worst if alert.ended else alert.severity
    mark = Mark(float(facts.get("at") or alert.started), alert.ended, severity, alert.title, requests=alert.samples)
    if kind == "objective":
        return (OBJECTIVES[facts["kind"]], mark) if facts["kind"] in OBJECTIVES else None
    if kind == "anomaly":
        told = replace(mark, statistic="mean", direction=facts["direction"], before=facts["usual"], after=facts["seen"])
        return facts["measure"], told
    if kind == "quality":
        names = ("statistic", "direction", "before", "after")
        return STREAMS.get(facts["stream"], facts["stream"]), replace(mark, **{name: facts[name] for name in names})
    return None
