"""What is not as it usually is at this hour of the week: cost, length, refusals and latency of an app's or a model's answers.

What is usual is a level, which follows the last days, and by how much this hour of the day and of the week lie above or below it.
It is foretold for each hour before the hour begins, so how far foretold and seen lay apart in the past says how far is far: the
limits are wide while little has been seen and narrow later. Three windows are looked at, of an hour, six hours and a day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from penstock.observe.counts import FEWEST, HISTORY_H, LEARN_H, SAMPLES, SLOT_S, SLOTS_AN_HOUR, Observed, Slot
from penstock.stats.distributions import t_quantile

__all__ = ["FALSE_ALARMS_A_YEAR", "FEWEST", "LEARN_H", "Anomaly", "Usual", "band", "unusual"]

Floats = NDArray[np.float64]

FALSE_ALARMS_A_YEAR = 1.0  # of one measure of one subject, at most
WINDOWS_H = (1, 6, 24)  # slots are kept for a day
LOOKS = {1: 5.0, 6: 12.0, 24: 16.0}  # windows that begin every ten minutes are so many independent ones, about
LEVEL_HALF_H = 5 * 24.0  # a change that stays is what is usual after a week or two
AT_MOST = 5.0  # spreads by which an hour may pull at what is usual
SETTLE_H = 24  # the last hours say nothing of what is usual, so that a change does not hide itself
PATTERNS = (  # hours of the day, days of the week, hours of the week: how many, of how many hours, and how strongly drawn to 0
    (24, 1, 1.0),
    (7, 24, 12.0),
    (168, 1, 6.0),
)
UNSEEN_DAY, UNSEEN_WEEK = (
    0.25,
    0.12,
)  # by how much an hour may differ that was never seen: standard deviations of logarithms
UNSEEN_SHARE = 0.1  # as much for shares, which are no logarithms
SPREAD_H = 28 * 24  # hours whose errors say how far is far
FEWEST_ERRORS = 6
CUT = 2.5  # standard errors
CUT_SQUARES = 0.9776  # the mean square of normal errors that are cut there
HOURS_A_YEAR = 365.25 * 24
WEEK_H = 168


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A window that is not as usual. usual, seen: geometric means in the measure's unit; shares for refusals.

    far: how many standard errors they lie apart, and limit: how many it takes.
    """

    measure: str
    subject: str
    hours: int  # of the window
    direction: Literal["up", "down"]
    usual: float
    seen: float
    n: int
    far: float
    limit: float
    samples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Past:
    """Hours with values in them, oldest first: their numbers, counts, means, and what was foretold (nan where nothing was)."""

    hours: NDArray[np.int64]
    n: Floats
    mean: Floats
    expected: Floats
    within: float  # variance of single values around the mean of their hour

    @classmethod
    def of(cls, observed: Observed, *, before: int) -> _Past:
        kept = observed.hours
        hours = np.arange(max(kept.last - HISTORY_H, -1) + 1, min(kept.last + 1, before), dtype=np.int64)
        hours = hours[np.array(kept.n)[hours % HISTORY_H] > 0]
        at = hours % HISTORY_H
        n, total, squares, expected = (
            np.array(one, float)[at] for one in (kept.n, kept.total, kept.squares, kept.expected)
        )
        mean = total / np.maximum(n, 1)
        around = float(np.maximum(squares - total * mean, 0).sum())
        return cls(hours, n, mean, expected, around / max(float((n - 1).sum()), 1.0))


# ---------------------------------------------------------------- what is usual


@dataclass(frozen=True, slots=True)
class Usual:
    """What is known of one measure of one subject when an hour begins.

    expected: of that hour. within: the variance of single values around the mean of their hour. spreads: by window, the variance by
    which means differ beyond chance, and from how many windows that is known. unseen: the standard deviation of what is not known
    yet of this hour of the day and the week. least: the smallest share that is told from none.
    """

    hour: int
    expected: float
    within: float
    spreads: dict[int, tuple[float, int]]
    unseen: float
    least: float

    @classmethod
    def learnt(cls, observed: Observed, hour: int) -> Usual | None:
        """From the hours before it; None while too little was seen. It costs about a millisecond."""
        past = _Past.of(observed, before=hour)
        if len(past.hours) < LEARN_H:
            return None
        spreads = {}
        for hours in WINDOWS_H:
            errors, sampling = _window_errors(past, hours)
            if len(errors) >= FEWEST_ERRORS:
                spreads[hours] = (_spread(errors, sampling), len(errors))
        extra = spreads[1][0] if 1 in spreads else 0.0
        days = int(np.count_nonzero(past.hours % 24 == hour % 24))
        weeks = int(np.count_nonzero(past.hours % WEEK_H == hour % WEEK_H))
        unseen = math.hypot(0.0 if days else UNSEEN_DAY, 0.0 if weeks else UNSEEN_WEEK)
        return cls(hour, _expected(past, hour, extra), past.within, spreads, unseen, 1.0 / (1.0 + float(past.n.sum())))


def _expected(past: _Past, hour: int, extra: float) -> float:
    sampling = past.within / past.n
    room = AT_MOST * np.sqrt(sampling + extra)
    y = np.where(np.isnan(past.expected), past.mean, np.clip(past.mean, past.expected - room, past.expected + room))
    weight = 1.0 / (sampling + max(extra, past.within / 400) + 1e-12)  # an hour of thousands is not all there is
    age = hour - past.hours
    recent = weight * 0.5 ** (age / LEVEL_HALF_H) * ((age > SETTLE_H) | (past.hours[0] > hour - 3 * SETTLE_H))
    level = float(np.average(y, weights=recent))
    left, found = y - level, 0.0
    for period, step, shrink in PATTERNS:
        phase = past.hours // step % period
        effects = _effects(phase, left, weight, period, shrink, near=0.5 if step == 1 else 0.0)
        left = left - effects[phase]
        found += float(effects[hour // step % period])
    return level + float(np.average(left, weights=recent)) + found


def _effects(
    phase: NDArray[np.int64], left: Floats, weight: Floats, period: int, shrink: float, *, near: float
) -> Floats:
    """By how much each phase lies above the level, drawn towards 0 where it was seen seldom. near: what its neighbours count."""
    scaled = weight / np.mean(weight)
    total, seen = np.bincount(phase, scaled * left, period), np.bincount(phase, scaled, period)
    total = total + near * (np.roll(total, 1) + np.roll(total, -1))
    seen = seen + near * (np.roll(seen, 1) + np.roll(seen, -1))
    effects: Floats = total / (seen + shrink)
    return effects


def _window_errors(past: _Past, hours: int) -> tuple[Floats, Floats]:
    """Errors of earlier windows of that length, each half over the next, and the variance that chance gives them.

    The last one is left out: it is what they are to be compared with.
    """
    end = int(past.hours[-1]) - hours
    fresh = (past.hours > end - SPREAD_H) & (past.hours <= end) & ~np.isnan(past.expected)
    at, n = past.hours[fresh], past.n[fresh]
    errors = (past.mean - past.expected)[fresh]
    if hours == 1 or not len(at):
        return errors, past.within / n
    first, size = int(at[0]), int(at[-1] - at[0]) + 1
    counts, sums = np.zeros(size), np.zeros(size)
    counts[at - first], sums[at - first] = n, n * errors
    counts, sums = (np.concatenate([[0.0], np.cumsum(one)]) for one in (counts, sums))
    ends = np.arange(size, hours - 1, -(hours // 2))
    n_of, sum_of = counts[ends] - counts[ends - hours], sums[ends] - sums[ends - hours]
    some = n_of > 0
    return sum_of[some] / n_of[some], past.within / n_of[some]


def _spread(errors: Floats, sampling: Floats) -> float:
    """The variance that errors have beyond what chance gives them. Those of more than CUT standard errors count as so many."""
    square = errors**2
    low, high = 0.0, float(square.max()) / CUT_SQUARES + 1e-12
    for _ in range(25):
        middle = (low + high) / 2
        if np.minimum(square / (sampling + middle + 1e-300), CUT**2).mean() > CUT_SQUARES:
            low = middle
        else:
            high = middle
    return high


# ---------------------------------------------------------------- what is not


def unusual(
    measure: str, subject: str, observed: Observed, usual: Usual, now: float, *, eased: float = 1.0
) -> Anomaly | None:
    """The shortest window up to now in which a measure is not as usual and still is not; None where all is.

    eased: of the limit, for one that was unusual before, so that it does not come and go.
    """
    slot, last = int(now // SLOT_S), None
    for hours in WINDOWS_H:
        window, (spread, known) = _window(observed, slot, hours), usual.spreads.get(hours, (0.0, 0))
        if window is None or not known:
            continue
        seen, expected = window
        mean = seen.total / seen.n
        off, far = _far(usual, seen, expected, spread, is_share=measure == "refusals")
        last = off if last is None else last
        limit = _limit(hours, _freedom(hours, known)) * eased
        if seen.n < FEWEST or abs(far) <= limit or last * off <= 0 or abs(last) < abs(off) / 3:
            continue
        to_unit = (lambda value: max(value, 0.0)) if measure == "refusals" else math.exp
        return Anomaly(
            measure, subject, hours, "up" if far > 0 else "down", to_unit(expected), to_unit(mean), seen.n, abs(far), limit,
            _samples(observed, slot, hours, up=far > 0),
        )  # fmt: skip
    return None


def band(usual: Usual, hours: int, n: int, expected: float, *, is_share: bool) -> tuple[float, float] | None:
    """Between what the mean of n values of a window may lie, where so much is expected of it: beyond, it is not as usual. None
    while it is not known how far windows of that length stray."""
    spread, known = usual.spreads.get(hours, (0.0, 0))
    if not known:
        return None
    limit = _limit(hours, _freedom(hours, known))
    if not is_share:
        off = limit * math.sqrt(usual.within / n + spread + 1e-18)
        return expected - off, expected + off
    share = min(max(expected, usual.least), 1 - usual.least)
    low, high = (
        math.sin(min(max(_root(share) + side * limit / (2 * math.sqrt(n)), 0.0), math.pi / 2)) ** 2 for side in (-1, 1)
    )
    beyond = limit * limit * spread
    return share - math.sqrt((share - low) ** 2 + beyond), share + math.sqrt((high - share) ** 2 + beyond)


def _freedom(hours: int, known: int) -> int:
    """What so many errors are worth: longer windows overlap by half."""
    return known if hours == 1 else max(known // 2, 3)


def _far(usual: Usual, seen: Slot, expected: float, spread: float, *, is_share: bool) -> tuple[float, float]:
    """How far what was seen lies from what was foretold: by itself, and in standard errors."""
    mean, beyond = seen.total / seen.n, spread + (usual.unseen * (UNSEEN_SHARE if is_share else 1.0)) ** 2
    if not is_share:
        return mean - expected, (mean - expected) / math.sqrt(usual.within / seen.n + beyond + 1e-18)
    share = min(max(expected, usual.least), 1 - usual.least)
    stable = _root((seen.total + 0.375) / (seen.n + 0.75)) - _root(
        share
    )  # small counts are skewed, on this scale less so
    off, chance = mean - share, 2 * math.sqrt(seen.n) * stable
    if not off or off * chance <= 0:
        return off, 0.0
    return off, off / math.sqrt((off / chance) ** 2 + beyond)


def _window(observed: Observed, slot: int, hours: int) -> tuple[Slot, float] | None:
    """What was seen in the last hours, and what was foretold of those who happened to ask then."""
    seen, foretold = Slot(), 0.0
    for number in range(slot - hours * SLOTS_AN_HOUR + 1, slot + 1):
        one, expected = observed.slots.get(number), observed.hours.foretold(number // SLOTS_AN_HOUR)
        if one is not None and expected is not None:
            seen.n, seen.total = seen.n + one.n, seen.total + one.total
            foretold += one.n * expected
    return (seen, foretold / seen.n) if seen.n else None


@cache
def _limit(hours: int, freedom: int) -> float:
    """Standard errors that are too many, so that one measure has FALSE_ALARMS_A_YEAR, shared out over windows and directions."""
    tail = FALSE_ALARMS_A_YEAR / len(WINDOWS_H) / 2 / (HOURS_A_YEAR / hours * LOOKS[hours])
    return t_quantile(1 - tail, freedom)


def _root(share: float) -> float:
    return math.asin(math.sqrt(min(max(share, 0.0), 1.0)))


def _samples(observed: Observed, slot: int, hours: int, *, up: bool) -> tuple[str, ...]:
    """Ids of the requests that stand out most in the window, one for each ten minutes."""
    slots = [observed.slots.get(number) for number in range(slot - hours * SLOTS_AN_HOUR + 1, slot + 1)]
    extremes = [one.highest if up else one.lowest for one in slots if one is not None]
    named = sorted((one for one in extremes if one[1]), key=lambda one: one[0], reverse=up)
    return tuple(request for _, request in named[:SAMPLES])
