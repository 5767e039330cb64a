"""A bank of charts over one stream of numbers: it learns what is normal, and says when that has changed.

The charts are cumulative sums of log likelihood ratios (Page 1954) against a mean, a spread or a share that has moved up or down.
What they compare with goes on being learnt while they watch (self-starting: Hawkins 1987), so a short warm-up costs delay and not
false alarms. The one thing to set is how many false alarms are bearable. Memory is constant. Many values at once and one at a time
give the same alarms at the same positions, however a stream is cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike

from penstock.errors import BadRequest
from penstock.observe.baseline import (
    HISTORY,
    Chart,
    Floats,
    Lookup,
    Scale,
    Scores,
    Steps,
    Terms,
    charts_for,
    chosen_terms,
    columns,
    found_period,
    gain_error,
    left_over,
    raised,
    share_charts,
    solved,
)

__all__ = ["EVENTS", "FALSE_ALARMS", "WARM_UP", "Alarm", "ChartBank", "Detector", "numbers"]

FALSE_ALARMS = 0.5  # per EVENTS, at most
EVENTS = 10_000
WARM_UP = 1500  # events
LEAST = 300  # events that a warm-up or a reference must have
LARGEST = 1e150  # its square is a number too; what is larger counts as missing
MOST = 20_000  # events of a reference that are looked at, the last ones
PAGES = 16  # what is normal is learnt anew after each sixteenth of the events it rests on
PAGE = (48, 2048)  # events, at least and at most
NOISE = 1e-3  # of the deviation of a stream, at least: one that repeats itself exactly has none
RAREST = 1e-3  # a regression may foretell no share at all
SINES = 2  # that a period which was given has at least
BLOCK = 64  # phases of a profile that are worked out together, once one of them is needed
RECENT = 1000  # events among which a change is looked for once there is an alarm
FORMAT = 1  # of a saved state


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something has changed."""

    position: int  # of the event at which it was seen, from 0; missing values count
    changed_at: int  # of the first event after the change, as far as can be told
    statistic: Literal["mean", "spread", "share"]
    direction: Literal["up", "down"]
    before: float  # mean, standard deviation or share up to changed_at
    after: float  # the same from there to position


class Detector(Protocol):
    """Watches one stream."""

    def update(self, value: float) -> Alarm | None:
        """Take the next value. What is no finite number is passed over."""
        ...

    def watch(self, values: ArrayLike) -> list[Alarm]:
        """Take many. The alarms are those that `update` would have given."""
        ...


@dataclass(frozen=True, slots=True)
class _Page:
    """What a full page has to teach."""

    events: int
    sums: list[float]
    gram: Floats
    moments: Floats


@dataclass(slots=True)
class _Normal:
    """What is known of a stream."""

    scores: Scores | None  # of the values, or of what could not be foretold of them; None: it is charted as it is
    scale: Scale  # on which they are foretold
    terms: Terms
    share: bool  # events are counted: those above `split`, or in a stream that was constant those that differ from it
    split: float
    constant: bool
    ends: list[float]  # the least and the largest value of the warm-up
    noise: float  # standard deviation of what could not be foretold
    charts: list[Chart]
    widened: float  # of a share: how much more its means vary than those of independent events
    gram: Floats  # of the regression (terms, terms), and its right side (terms,)
    moments: Floats
    centre: float  # of the raw values: their sums are taken from here
    events: int  # in all pages that were closed; with sum and sum of squares of what the charts see
    sums: list[float]
    raw: list[float]  # how many raw values there were up to `recent`; their sum and sum of squares
    # of each chart: running sum, and its lowest
    sum: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    waiting: _Page | None = None
    # the last events before this page, and those of the page that is being filled
    recent: int = 0
    filled: int = 0
    z: Floats = field(default_factory=lambda: np.zeros(0))  # what the charts see
    values: Floats = field(default_factory=lambda: np.zeros(0))
    places: Steps = field(default_factory=lambda: np.zeros(0, np.int64))
    y: Floats = field(default_factory=lambda: np.zeros(0))  # scores behind HISTORY earlier ones
    phases: Steps = field(default_factory=lambda: np.zeros(0, np.int64))
    # made from the above
    totals: Floats = field(default_factory=lambda: np.zeros(0))  # running sums of y
    waves: Floats = field(default_factory=lambda: np.zeros((1, 0)))  # (period, pattern)
    pattern: Floats = field(default_factory=lambda: np.zeros(0))  # what each of them adds
    level: float = 0.0
    profile: Floats = field(default_factory=lambda: np.zeros(0))  # the sum of both by phase
    known: list[bool] = field(default_factory=list)  # of each BLOCK of the profile
    weights: list[float] = field(default_factory=list)
    tilts: Floats = field(default_factory=lambda: np.zeros((0, 1)))
    offsets: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    lookup: Lookup = field(default_factory=lambda: Lookup(None))


class ChartBank:
    """Charts for mean and spread, or for the share of ones, of one stream. Satisfies `Detector`."""

    def __init__(
        self, *, false_alarms: float = FALSE_ALARMS, period: int = 0, warm_up: int = WARM_UP, reference: ArrayLike | None = None
    ) -> None:  # fmt: skip
        """false_alarms: per 10,000 events, at most. period: events of a day or a week, where there is one; short ones are found.

        reference: events from a time when all was well, up to where the stream begins; they replace the first warm-up. Raises
        BadRequest for a rate outside of 0 to 1,000, or for fewer than 300 events to learn from.
        """
        if not 0 < false_alarms <= 1000:
            raise BadRequest(f"false alarms per 10,000 events must be above 0 and at most 1,000, not {false_alarms}")
        if warm_up < LEAST or period < 0:
            raise BadRequest(f"a warm-up has at least {LEAST} events, and a period is positive")
        self.false_alarms, self.period = false_alarms, period
        self.warm_up = max(warm_up, period + HISTORY)
        self.seen = self.missing = 0  # events; and those of them that were no finite numbers
        self._learning: list[float] = []
        self._positions: list[int] = []
        self._normal: _Normal | None = None
        if reference is not None:
            values = numbers(reference)
            places = np.flatnonzero(np.abs(values) <= LARGEST)[-max(MOST, period + HISTORY) :]
            least = max(LEAST, period + HISTORY if period else 0)
            if len(places) < least:
                raise BadRequest(f"a reference has at least {least} numbers, not {len(places)}")
            self._learning, self._positions = values[places].tolist(), (places - len(values)).tolist()
            self._learn()

    @property
    def left_to_learn(self) -> int:
        """Events until the warm-up ends; 0 while the charts watch."""
        return 0 if self._normal else self.warm_up - len(self._learning)

    # ---------------------------------------------------------------- kept

    def plain(self) -> dict[str, Any]:
        """The state as JSON: a bank made of it goes on as this one would, to the last bit."""
        return {
            "format": FORMAT,
            "settings": {"false_alarms": self.false_alarms, "period": self.period, "warm_up": self.warm_up},
            "seen": self.seen,
            "missing": self.missing,
            "learning": self._learning,
            "positions": self._positions,
            "normal": _as_plain(self._normal) if self._normal else None,
        }

    @classmethod
    def of_plain(cls, state: Mapping[str, Any]) -> ChartBank:
        """Raises BadRequest for what `plain` has not made."""
        try:
            if state["format"] != FORMAT:
                raise BadRequest(f"the state of charts has format {state['format']}, this version reads {FORMAT}")
            bank = cls(**{name: state["settings"][name] for name in ("false_alarms", "period", "warm_up")})
            bank.warm_up = state["settings"]["warm_up"]
            bank.seen, bank.missing = int(state["seen"]), int(state["missing"])
            bank._learning = [float(value) for value in state["learning"]]
            bank._positions = [int(position) for position in state["positions"]]
            if state["normal"]:
                normal = bank._normal = _of_plain(state["normal"])
                _prepare(normal)
                bank._settle(normal)
                bank._make_room(normal)
        except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError, np.linalg.LinAlgError) as error:
            raise BadRequest("the state of charts is damaged") from error
        return bank

    # ---------------------------------------------------------------- one value

    def update(self, value: float) -> Alarm | None:
        position, value = self.seen, float(value)
        self.seen += 1
        if not abs(value) <= LARGEST:
            self.missing += 1
            return None
        normal = self._normal
        if normal is None:
            self._learning.append(value)
            self._positions.append(position)
            if len(self._learning) == self.warm_up:
                self._learn()
            return None
        z, expected = self._charted(normal, value, position)
        at = normal.recent + normal.filled
        normal.z[at], normal.values[at], normal.places[at] = z, value, position
        offsets = (
            normal.offsets if expected is None else _share_costs(np.array([expected]), normal.tilts)[:, 0].tolist()
        )
        normal.filled += 1
        square, rung = z * z, -1
        for n, chart in enumerate(normal.charts):
            total = normal.sum[n] + (chart.tilt * (square if chart.spread else z) - offsets[n])
            normal.sum[n] = total
            if total < normal.low[n]:
                normal.low[n] = total
            elif rung < 0 and total - normal.low[n] > normal.limits[n]:
                rung = n
        if rung >= 0:
            return self._alarm(normal, rung)
        if at + 1 == len(normal.z):
            self._turn_page(normal)
        return None

    def _charted(self, normal: _Normal, value: float, position: int) -> tuple[float, float | None]:
        """What the charts see of a value; and the share that was expected, where that varies."""
        if normal.share:
            y = float(value != normal.split if normal.constant else value > normal.split)
            if not normal.terms.any:
                return y, None
        elif not normal.terms.any:
            return normal.lookup.of(value), None
        else:
            y = normal.scale.one(value)
        at, terms = HISTORY + normal.filled, normal.terms
        phase = position % terms.period if terms.period else 0
        foretold: float = _by_phase(normal, [phase // BLOCK]).item(phase)
        for lag in range(1, terms.lags + 1):
            foretold += normal.weights[lag - 1] * normal.y.item(at - lag)
        for weight, width in zip(normal.weights[terms.lags :], terms.means, strict=True):
            foretold += weight * ((normal.totals.item(at) - normal.totals.item(at - width)) / width)
        normal.y[at], normal.phases[normal.filled] = y, phase
        normal.totals[at + 1] = normal.totals.item(at) + y
        if normal.share:
            return y, foretold
        left = y - foretold
        return normal.lookup.of(left) if normal.scores else left / normal.noise, None

    # ---------------------------------------------------------------- many values

    def watch(self, values: ArrayLike) -> list[Alarm]:
        """Take many. Raises BadRequest for what is no row of numbers."""
        row = numbers(values)
        places = np.flatnonzero(np.abs(row) <= LARGEST)
        kept, positions, at, alarms = row[places], places + self.seen, 0, []
        end = self.seen + len(row)
        self.missing += len(row) - len(kept)
        while at < len(kept):
            normal = self._normal
            if normal is None:
                stop = at + self.warm_up - len(self._learning)
                self._learning += kept[at:stop].tolist()
                self._positions += positions[at:stop].tolist()
                at = min(stop, len(kept))
                if len(self._learning) == self.warm_up:
                    self._learn()
                continue
            stop = at + len(normal.z) - normal.recent - normal.filled
            taken, alarm = self._advance(normal, kept[at:stop], positions[at:stop])
            at += taken
            if alarm:
                alarms.append(alarm)
            elif normal.recent + normal.filled == len(normal.z):
                self._turn_page(normal)
        self.seen = end
        return alarms

    def _advance(self, normal: _Normal, values: Floats, positions: Steps) -> tuple[int, Alarm | None]:
        """As far as the page goes, or to the first alarm: how many values that took."""
        n, at = len(values), normal.recent + normal.filled
        z, expected = self._all_charted(normal, values, positions)
        normal.z[at : at + n], normal.values[at : at + n], normal.places[at : at + n] = z, values, positions
        seen = np.stack([z * z if chart.spread else z for chart in normal.charts])
        costs = np.array(normal.offsets)[:, None] if expected is None else _share_costs(expected, normal.tilts)
        gains = normal.tilts * seen - costs
        gains[:, 0] += normal.sum
        sums = np.add.accumulate(gains, axis=1)
        low = np.minimum.accumulate(sums, axis=1)
        np.minimum(low, np.array(normal.low)[:, None], out=low)
        over = sums - low > np.array(normal.limits)[:, None]
        hits = np.flatnonzero(over.any(axis=0))
        stop = int(hits[0]) + 1 if len(hits) else n
        normal.sum, normal.low = sums[:, stop - 1].tolist(), low[:, stop - 1].tolist()
        normal.filled += stop
        if not len(hits):
            return stop, None
        rung = int(np.argmax(over[:, stop - 1]))
        return stop, self._alarm(normal, rung)

    def _all_charted(self, normal: _Normal, values: Floats, positions: Steps) -> tuple[Floats, Floats | None]:
        if normal.share:
            y = _counted(values, normal.split, constant=normal.constant)
            if not normal.terms.any:
                return y, None
        elif not normal.terms.any and normal.scores:
            return normal.scores.of(values), None
        else:
            y = normal.scale.of(values)
        at, terms, n = HISTORY + normal.filled, normal.terms, len(values)
        phases = positions % terms.period if terms.period else np.zeros(n, np.int64)
        normal.y[at : at + n] = y
        normal.phases[normal.filled : normal.filled + n] = phases
        normal.totals[at : at + n + 1] = np.add.accumulate(np.concatenate([normal.totals[at : at + 1], y]))
        foretold = _by_phase(normal, np.flatnonzero(np.bincount(phases // BLOCK)).tolist())[phases]
        for lag in range(1, terms.lags + 1):
            foretold = foretold + normal.weights[lag - 1] * normal.y[at - lag : at - lag + n]
        for weight, width in zip(normal.weights[terms.lags :], terms.means, strict=True):
            means = (normal.totals[at : at + n] - normal.totals[at - width : at - width + n]) / width
            foretold = foretold + weight * means
        if normal.share:
            return y, foretold
        left = y - foretold
        return normal.scores.of(left) if normal.scores else left / normal.noise, None

    # ---------------------------------------------------------------- learning

    def _learn(self) -> None:
        raw, positions = np.array(self._learning), np.array(self._positions, np.int64)
        self._learning, self._positions = [], []
        scores, scale, period = Scores.learnt(raw), Scale.learnt(raw), self.period
        distinct = len(scores.values)
        share, split, constant = distinct <= 2, float(scores.values.mean()), distinct == 1
        y = _counted(raw, split, constant=constant) if share else scale.of(raw)
        if not period and not constant:
            period = found_period(y)
        phases = positions % max(period, 1)
        terms = Terms() if constant else chosen_terms(y, phases, period, least=SINES if self.period else 0)
        gram, moments, noise, kept = np.zeros((0, 0)), np.zeros(0), 1.0, None
        waves = terms.waves()[phases[HISTORY:]] if terms.any else np.zeros((len(y), 0))
        z = left = y
        if terms.any:
            table, target = columns(y, waves, terms), y[HISTORY:]
            gram, moments = table.T @ table, table.T @ target
            left = target - table @ solved(gram, moments)
            noise = max(float(left.std()), NOISE)
            kept = Scores.learnt(left) if distinct > len(raw) / 2 else None
            z = target if share else kept.of(left) if kept else left / noise
        elif not share:
            kept = scores
            z = scores.of(raw)
        centre = float(np.median(raw))
        away = raw - centre
        normal = self._normal = _Normal(
            kept, scale, terms, share, split, constant, scores.values[[0, -1]].tolist(), noise,
            [] if share else charts_for(z, self.false_alarms / EVENTS, waves), left_over(left) if share else 1.0,
            gram, moments, centre, len(z), [float(z.sum()), float((z * z).sum())],
            [float(len(raw)), float(away.sum()), float((away * away).sum())],
            y=y if terms.any else np.zeros(0),
        )  # fmt: skip
        _prepare(normal)
        self._settle(normal)
        count = len(normal.charts)
        normal.sum, normal.low = [0.0] * count, [0.0] * count
        self._open_page(normal)

    def _turn_page(self, normal: _Normal) -> None:
        """Learn from the page before the one that is full now, which may hold the beginning of a change; and open the next."""
        normal.sum = [total - low for total, low in zip(normal.sum, normal.low, strict=True)]
        normal.low = [0.0] * len(normal.low)
        z = normal.z[normal.recent :]
        full = _Page(normal.filled, [float(z.sum()), float((z * z).sum())], np.zeros((0, 0)), np.zeros(0))
        if normal.terms.any:
            table = columns(normal.y, normal.waves[normal.phases], normal.terms)
            full = replace(full, gram=table.T @ table, moments=table.T @ normal.y[HISTORY:])
        if learnt := normal.waiting:
            normal.events += learnt.events
            normal.sums = [a + b for a, b in zip(normal.sums, learnt.sums, strict=True)]
            normal.gram, normal.moments = normal.gram + learnt.gram, normal.moments + learnt.moments
            self._settle(normal)
        normal.waiting = full
        self._open_page(normal)

    def _settle(self, normal: _Normal) -> None:
        """What follows from the sums: what is foretold, what an event costs a chart, limits."""
        mean, square = normal.sums[0] / normal.events, normal.sums[1] / normal.events
        if normal.share:
            mean = square = (normal.sums[0] + 0.5) / (normal.events + 1)  # what never happened may happen yet
            normal.charts = share_charts(mean, self.false_alarms / EVENTS, widened=normal.widened)
        normal.tilts = np.array([[chart.tilt] for chart in normal.charts])
        normal.offsets = [chart.tilt * (square if chart.spread else mean) + chart.cost for chart in normal.charts]
        error = 0.0
        if normal.terms.any:
            answer, fixed = solved(normal.gram, normal.moments), 1 + normal.terms.pattern
            normal.level, normal.pattern, normal.weights = float(answer[0]), answer[1:fixed], answer[fixed:].tolist()
            normal.known = [False] * len(normal.known)
            error = gain_error(normal.gram, answer, fixed, noise=normal.noise)
        normal.limits = raised(normal.charts, normal.events, normal.terms, error=error)

    def _open_page(self, normal: _Normal) -> None:
        old = max(len(normal.z) - RECENT, 0)
        normal.raw = _added(normal.raw, normal.values[:old] - normal.centre)
        normal.z, normal.values, normal.places = normal.z[old:], normal.values[old:], normal.places[old:]
        normal.recent, normal.filled = len(normal.z), 0
        normal.y, normal.phases = normal.y[-HISTORY:], np.zeros(0, np.int64)
        self._make_room(normal)

    def _make_room(self, normal: _Normal) -> None:
        """For the rest of a page."""
        room = min(max(normal.events // (PAGES * (1 + normal.terms.pattern)), PAGE[0]), PAGE[1])
        missing = room - normal.filled
        normal.z, normal.values = (np.concatenate([row, np.zeros(missing)]) for row in (normal.z, normal.values))
        normal.places = np.concatenate([normal.places, np.zeros(missing, np.int64)])
        if normal.terms.any:
            normal.y = np.concatenate([normal.y, np.zeros(missing)])
            normal.phases = np.concatenate([normal.phases, np.zeros(missing, np.int64)])
            normal.totals = np.concatenate([[0.0], np.add.accumulate(normal.y)])

    # ---------------------------------------------------------------- alarms

    def _alarm(self, normal: _Normal, rung: int) -> Alarm:
        """What a chart has to say; and everything is learnt anew from the next event on.

        The change is where the likelihood says it is, among the last events.
        """
        self._normal = None
        chart, upto = normal.charts[rung], normal.recent + normal.filled
        seen, values = normal.z[:upto], normal.values[:upto] - normal.centre
        usual = (normal.sums[1 if chart.spread else 0] + (0.5 if normal.share else 0.0)) / (normal.events + 1)
        deviation = math.sqrt(max(normal.sums[1] / normal.events - usual * usual, 1e-300))
        n = np.arange(upto, 0, -1)
        means = np.cumsum((seen * seen if chart.spread else seen)[::-1])[::-1] / n
        gains = n * _surprise(means, usual, deviation, chart.statistic)
        change = int(np.argmax(np.where((means - usual) * chart.tilt > 0, gains, -1.0)))
        sums = [_added(normal.raw, values[:change]), _added([0.0, 0.0, 0.0], values[change:])]
        ends = (
            _moment(sums[0], normal.centre, spread=chart.spread),
            _moment(sums[1], normal.centre, spread=chart.spread),
        )
        if normal.share and not normal.constant:
            ends = (self._as_share(normal, ends[0]), self._as_share(normal, ends[1]))
        up = ends[1] > ends[0] if normal.constant else chart.tilt > 0
        places = normal.places
        return Alarm(
            int(places[upto - 1]),
            int(places[change]),
            "mean" if normal.constant else chart.statistic,
            "up" if up else "down",
            *ends,
        )

    def _as_share(self, normal: _Normal, mean: float) -> float:
        low, high = normal.ends
        return (mean - low) / (high - low)


def _prepare(normal: _Normal) -> None:
    """What follows from what was learnt at first, and stays."""
    normal.waves, normal.lookup = normal.terms.waves(), Lookup(normal.scores)
    normal.profile = np.zeros(len(normal.waves))
    normal.known = [False] * -(-len(normal.waves) // BLOCK)


def _by_phase(normal: _Normal, blocks: list[int]) -> Floats:
    """What the time of the period foretells, by phase, right in these blocks."""
    for block in blocks:
        if not normal.known[block]:
            some = slice(block * BLOCK, (block + 1) * BLOCK)
            normal.profile[some] = normal.level + normal.waves[some] @ normal.pattern
            normal.known[block] = True
    return normal.profile


def _surprise(means: Floats, usual: float, deviation: float, statistic: str) -> Floats:
    """What one event of such a mean says against the usual one, nats: of normal scores, their squares, or zeros and ones."""
    found: Floats
    match statistic:
        case "spread":
            ratio = np.maximum(means / usual, 1e-12)
            found = (ratio - 1 - np.log(ratio)) / 2
        case "share":
            means = np.minimum(np.maximum(means, 1e-12), 1 - 1e-12)
            found = means * np.log(means / usual) + (1 - means) * np.log((1 - means) / (1 - usual))
        case _:
            found = ((means - usual) / deviation) ** 2 / 2
    return found


def _added(sums: list[float], away: Floats) -> list[float]:
    return [sums[0] + len(away), sums[1] + float(away.sum()), sums[2] + float((away * away).sum())]


def _moment(sums: list[float], centre: float, *, spread: bool) -> float:
    count, total, squares = sums
    mean = total / max(count, 1.0)
    return math.sqrt(max(squares / max(count, 1.0) - mean * mean, 0.0)) if spread else centre + mean


KEPT = (
    "share",
    "split",
    "constant",
    "ends",
    "noise",
    "widened",
    "centre",
    "events",
    "sums",
    "raw",
    "recent",
    "sum",
    "low",
    "filled",
)


def _as_plain(normal: _Normal) -> dict[str, Any]:
    n, history = normal.filled, HISTORY if normal.terms.any else 0
    upto = normal.recent + n
    return {name: getattr(normal, name) for name in KEPT} | {
        "scores": [row.tolist() for row in astuple(normal.scores)] if normal.scores else None,
        "scale": list(astuple(normal.scale)),
        "terms": list(astuple(normal.terms)),
        "charts": [list(astuple(chart)) for chart in normal.charts],
        "gram": normal.gram.tolist(),
        "moments": normal.moments.tolist(),
        "waiting": _page_as_plain(normal.waiting) if normal.waiting else None,
        "z": normal.z[:upto].tolist(),
        "values": normal.values[:upto].tolist(),
        "places": normal.places[:upto].tolist(),
        "y": normal.y[: history + n].tolist() if history else [],
        "phases": normal.phases[:n].tolist() if history else [],
    }


def _page_as_plain(page: _Page) -> list[Any]:
    return [page.events, page.sums, page.gram.tolist(), page.moments.tolist()]


def _page_of_plain(plain: list[Any]) -> _Page:
    events, sums, gram, moments = plain
    return _Page(events, sums, _square(gram), np.array(moments, float))


def _square(rows: list[list[float]]) -> Floats:
    return np.array(rows, float).reshape(len(rows), len(rows))


def _of_plain(plain: Mapping[str, Any]) -> _Normal:
    period, harmonics, lags, means, *more = plain["terms"]
    terms = Terms(
        period, harmonics, lags, tuple(means), tuple((first, end) for first, end in (more[0] if more else ()))
    )
    return _Normal(
        **{name: plain[name] for name in KEPT},
        moments=np.array(plain["moments"], float),
        z=np.array(plain["z"], float),
        values=np.array(plain["values"], float),
        places=np.array(plain["places"], np.int64),
        y=np.array(plain["y"], float),
        scores=Scores(*(np.array(row, float) for row in plain["scores"])) if plain["scores"] else None,
        scale=Scale(*plain["scale"]),
        terms=terms,
        charts=[Chart(*chart) for chart in plain["charts"]],
        gram=_square(plain["gram"]),
        waiting=_page_of_plain(plain["waiting"]) if plain["waiting"] else None,
        phases=np.array(plain["phases"], np.int64),
    )


def _counted(values: Floats, split: float, *, constant: bool) -> Floats:
    return (values != split if constant else values > split).astype(float)


def _share_costs(expected: Floats, tilts: Floats) -> Floats:
    """(charts, n): what an event costs each chart where so large a share is expected. tilts: (charts, 1)."""
    costs: Floats = np.log1p(np.minimum(np.maximum(expected, RAREST), 1 - RAREST) * np.expm1(tilts))
    return costs


def numbers(values: ArrayLike) -> Floats:
    """A row of numbers; what is missing is NaN. Raises BadRequest for anything else."""
    try:
        row = np.asarray(values, float)
    except (TypeError, ValueError) as error:
        raise BadRequest("a stream is a row of numbers") from error
    if row.ndim != 1:
        raise BadRequest(f"a stream is one row of numbers, not {row.ndim} dimensions")
    return row
