"""What a stream of numbers is like while nothing happens, learnt from its first events.

A value becomes its normal score, the quantile of the normal distribution at its rank among the events of the warm-up, so that
latencies with heavy tails, counts and mixtures all end up on one scale. What can be foretold is then taken away: a daily or weekly
profile as a sum of sines and of hours that stand out as a whole, and what the last events say about the next, by a regression whose
terms are chosen by the criterion of Schwarz (1978). What is left is white, or the charts are told by how much it is not.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HISTORY",
    "Chart",
    "Floats",
    "Lookup",
    "Scale",
    "Scores",
    "Steps",
    "Terms",
    "charts_for",
    "chosen_terms",
    "columns",
    "found_period",
    "gain_error",
    "left_over",
    "raised",
    "share_charts",
    "solved",
    "threshold",
]

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]

HISTORY = 128  # events that may foretell the next
LAGS = 3
MEANS = (8, 32, 128)  # of so many last events
HARMONICS = (0, 1, 2, 3, 4, 6, 8, 12, 16)
STRETCHES = 3  # of a period, at most, that stand out as a whole
STRETCH_TERMS = 4  # that each costs: where it begins and where it ends were looked for
SHORTEST = 48  # of them are in a period
GRID = 288  # places in a period where one is looked for first
FAR_OUT = 6.0  # distances from the middle to a quartile
CYCLES = 12  # that must be seen before an unknown period is believed: fewer do not tell 300 from 301
RESERVE = 0.42  # of the false alarms allowed is spent; the rest is for what a warm-up gets wrong
SHARE_RESERVE = 0.7  # where the values are 0 and 1 there is less to get wrong
OVERSHOOT = 1.166  # standard deviations by which a boundary is overshot (Siegmund 1985)
EXACT = 0.5  # of the doubt about what was learnt, where the likelihood is exact
SURE = 2.33  # standard errors beyond which dependence that is left over is believed


# ---------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class Scores:
    """Normal scores of values by their rank in a sample. Equal values share the middle of their ranks."""

    values: Floats  # distinct, ascending
    at: Floats  # the score of each
    between: Floats  # of what lies before the first, after the first, ...

    @classmethod
    def learnt(cls, sample: Floats) -> Scores:
        values, counts = np.unique(sample, return_counts=True)
        normal, n = NormalDist(), len(sample)
        upto = np.concatenate([[0], np.cumsum(counts)])
        at = [normal.inv_cdf((a + b) / (2 * n)) for a, b in pairwise(upto.tolist())]
        between = [normal.inv_cdf(min(max(c / n, 0.5 / (n + 1)), 1 - 0.5 / (n + 1))) for c in upto]
        return cls(values, np.array(at), np.array(between))

    def of(self, values: Floats) -> Floats:
        place = np.searchsorted(self.values, values)
        same = self.values[np.minimum(place, len(self.values) - 1)] == values
        scores: Floats = np.where(same, self.at[np.minimum(place, len(self.at) - 1)], self.between[place])
        return scores


class Lookup:
    """`Scores` for one value at a time: the same numbers, found faster. Without any, a value is its own."""

    __slots__ = ("_at", "_between", "_values")

    def __init__(self, scores: Scores | None) -> None:
        rows = (scores.values, scores.at, scores.between) if scores else (np.zeros(0),) * 3
        self._values, self._at, self._between = (row.tolist() for row in rows)

    def of(self, value: float) -> float:
        if not self._at:
            return value
        place = bisect_left(self._values, value)
        found: float = (
            self._at[place] if place < len(self._values) and self._values[place] == value else self._between[place]
        )
        return found


@dataclass(frozen=True, slots=True)
class Scale:
    """Values as they are, or their logarithms, without what lies far out: what a regression can work with."""

    logarithm: bool
    low: float
    high: float
    middle: float  # becomes 0
    width: float  # becomes 1

    @classmethod
    def learnt(cls, sample: Floats) -> Scale:
        """Logarithms where all values are positive and less skewed by them."""
        logarithm = bool(sample.min() > 0) and _skew(np.log(sample)) < _skew(sample)
        taken = np.log(sample) if logarithm else sample
        first, middle, third = np.quantile(taken, (0.25, 0.5, 0.75)).tolist()
        low, high = float(taken.min()), float(taken.max())
        if first < third:
            low, high = middle - FAR_OUT * (middle - first), middle + FAR_OUT * (third - middle)
        return cls(logarithm, low, high, middle, float(np.clip(taken, low, high).std()) or 1.0)

    def of(self, values: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            taken = np.where(values > 0, np.log(values), self.low) if self.logarithm else values
        clipped: Floats = np.minimum(np.maximum(taken, self.low), self.high)
        return (clipped - self.middle) / self.width

    def one(self, value: float) -> float:
        if self.logarithm:
            value = float(np.log(np.array([value]))[0]) if value > 0 else self.low  # numpy's, to the last bit
        return (min(max(value, self.low), self.high) - self.middle) / self.width


def _skew(values: Floats) -> float:
    first, middle, third = np.quantile(values, (0.05, 0.5, 0.95))
    return float(abs(first + third - 2 * middle) / max(third - first, 1e-300))


# ---------------------------------------------------------------- what can be foretold


@dataclass(frozen=True, slots=True)
class Terms:
    """What foretells the next score: the pattern of a period, the last scores, the means of the last 8, 32 and 128."""

    period: int = 0  # events; 0: none
    harmonics: int = 0
    lags: int = 0
    means: tuple[int, ...] = ()
    stretches: tuple[tuple[int, int], ...] = ()  # of the period, first phase and the one after the last, that stand out

    @property
    def any(self) -> bool:
        return bool(self.pattern or self.lags or self.means)

    @property
    def pattern(self) -> int:
        """How many terms belong to the period."""
        return 2 * self.harmonics + len(self.stretches)

    def waves(self) -> Floats:
        """The terms of each phase, (period, pattern)."""
        phases = np.arange(max(self.period, 1))
        table = np.empty((len(phases), self.pattern))
        for k in range(1, self.harmonics + 1):
            angle = 2 * np.pi * k * phases / len(phases)
            table[:, 2 * k - 2], table[:, 2 * k - 1] = np.sin(angle), np.cos(angle)
        for n, (first, end) in enumerate(self.stretches, 2 * self.harmonics):
            table[:, n] = (phases - first) % len(phases) < (end - first) % len(phases)
        return table


def columns(scores: Floats, waves: Floats, terms: Terms) -> Floats:
    """The regressors, (n, 1 + terms), of n scores that stand behind HISTORY earlier ones. waves: those of their phases."""
    n, at = len(waves), 1 + terms.pattern
    table = np.empty((n, at + terms.lags + len(terms.means)))
    table[:, 0], table[:, 1:at] = 1.0, waves
    for lag in range(1, terms.lags + 1):
        table[:, at + lag - 1] = scores[HISTORY - lag : HISTORY - lag + n]
    if terms.means:
        sums = np.concatenate([[0.0], np.cumsum(scores)])
        for place, w in enumerate(terms.means, at + terms.lags):
            table[:, place] = (sums[HISTORY : HISTORY + n] - sums[HISTORY - w : HISTORY - w + n]) / w
    return table


def chosen_terms(scores: Floats, phases: Steps, period: int, *, least: int = 0) -> Terms:
    """The terms with the lowest criterion of Schwarz. scores: (n,), phases: (n,) of the same events; least: of the harmonics."""
    most = min(max(HARMONICS), (period - 1) // 2) if period else 0
    target = scores[HISTORY:]
    stretches = found_stretches(target, phases[HISTORY:], period) if period else ()
    full = Terms(period, most, LAGS, MEANS, stretches)
    table = columns(scores, full.waves()[phases[HISTORY:]], full)
    gram, moments, total, n = table.T @ table, table.T @ target, float(target @ target) or 1.0, len(target)
    gram.flat[:: len(gram) + 1] += 1e-9 * n
    best, lowest, first, past = Terms(period), math.inf, 1 + 2 * most, 1 + full.pattern
    own, own_moments = gram[past:, past:], moments[past:]
    recent = list(product(range(LAGS + 1), range(len(MEANS) + 1)))
    kept = np.array(
        [[k < lags for k in range(LAGS)] + [k < means for k in range(len(MEANS))] for lags, means in recent]
    )
    both, without = kept[:, :, None] & kept[:, None, :], ~kept[:, :, None] & np.eye(len(own), dtype=bool)
    for harmonics, some in product(
        [k for k in HARMONICS if min(least, most) <= k <= most], range(len(stretches) + 1)
    ):  # of each pattern all that the last events may add, by the complement of Schur
        base = [*range(1 + 2 * harmonics), *range(first, first + some)]
        beside, aims = gram[base, past:], moments[base]
        answer = np.linalg.solve(gram[np.ix_(base, base)], np.column_stack([beside, aims]))
        inner, moved = own - beside.T @ answer[:, :-1], own_moments - beside.T @ answer[:, -1]
        wanted = np.where(kept, moved, 0.0)[:, :, None]
        gained = (wanted * np.linalg.solve(np.where(both, inner, without), wanted)).sum((1, 2))
        left = np.maximum((total - float(aims @ answer[:, -1]) - gained) / total, 1e-12)
        worths = n * np.log(left) + (len(base) + some * (STRETCH_TERMS - 1) + kept.sum(1)) * math.log(n)
        if (worth := float(worths.min())) < lowest - 1e-9:
            lags, means = recent[int(worths.argmin())]
            best, lowest = Terms(period, harmonics, lags, MEANS[:means], stretches[:some]), worth
    return best


def found_stretches(scores: Floats, phases: Steps, period: int) -> tuple[tuple[int, int], ...]:
    """Stretches of a period that differ most from the rest, one after the other: office hours, a nightly job."""
    left, found = scores - scores.mean(), []
    there: Steps = np.concatenate([[0], np.cumsum(np.bincount(phases, minlength=period))])
    grid: Steps = np.unique(np.linspace(0, period, min(period, GRID) + 1).astype(np.int64))
    step = int(np.diff(grid).max())
    for _ in range(STRETCHES):
        sums: Floats = np.concatenate([[0.0], np.cumsum(np.bincount(phases, left, period))])
        near = [
            np.arange(max(0, at - step), min(period, at + step) + 1) for at in _most_different(sums, there, grid, grid)
        ]
        first, end = _most_different(sums, there, *near)
        if not first < end or (first, end) == (0, period):
            break
        inside = (phases >= first) & (phases < end)
        left = left - np.where(inside, left[inside].mean(), left[~inside].mean())
        found.append((first, end % period))
    return tuple(found)


def _most_different(sums: Floats, there: Steps, firsts: Steps, ends: Steps) -> tuple[int, int]:
    """From where to where the mean differs most from that of the rest. sums, there: of values up to each phase, (period + 1,)."""
    n, every = there[ends][None, :] - there[firsts][:, None], int(there[-1])
    enough = np.minimum(n, every - n) >= max(every // SHORTEST, 1)
    gains = (sums[ends][None, :] - sums[firsts][:, None]) ** 2 / np.where(enough, n * (every - n) / every, np.inf)
    first, end = divmod(int(np.argmax(gains)), len(ends))
    return int(firsts[first]), int(ends[end])


def found_period(scores: Floats) -> int:
    """The period of a repeating pattern, in events; 0 where none stands out. At least twelve of its cycles must be there."""
    n = len(scores)
    power = np.abs(np.fft.rfft(scores - scores.mean())) ** 2
    wide = 12
    padded = np.pad(power[1:], wide, mode="reflect")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * wide + 1), axis=1) / math.log(2)
    ratio = power[1:] / np.maximum(around, 1e-12)
    ratio[: CYCLES - 1] = 0
    peak = int(np.argmax(ratio)) + 1
    if ratio[peak - 1] < math.log(n / 2) + 8:  # under noise a ratio passes x with probability exp(-x)
        return 0
    near = range(max(4, math.floor(n / (peak + 1))), min(n // CYCLES, math.ceil(n / (peak - 1))) + 1)
    if not near:
        return 0
    steps = np.arange(n)

    def explained(period: int) -> float:
        sums = np.bincount(steps % period, scores, period)
        counts = np.bincount(steps % period, minlength=period)
        return float((sums**2 / counts).sum()) - period * float(scores.var())  # a longer one explains more by chance

    return max(near, key=explained)


# ---------------------------------------------------------------- charts


@dataclass(frozen=True, slots=True)
class Chart:
    """A cumulative sum of log likelihood ratios between the stream as it was, and the same tilted by exp(tilt * score)."""

    statistic: Literal["mean", "spread", "share"]
    tilt: float  # its sign says which way
    cost: float  # log of the mean of exp(tilt * (score - mean)): what the sum loses with every event
    limit: float  # nats, where what is usual is known exactly
    length: float  # events that it takes to see the change it is made for

    @property
    def spread(self) -> bool:
        return self.statistic == "spread"


def threshold(rate: float, information: float, overshoot: float) -> float:
    """The limit at which a sum of log likelihood ratios gives a false alarm at this rate per event (Siegmund 1985, 2.57).

    information: mean gain per event under the tilted distribution; overshoot: of both of its ends, nats.
    """
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        if (math.expm1(middle) - middle) / information * rate < 1:
            low = middle
        else:
            high = middle
    return max(high - overshoot, 0.5)


def tilted(scores: Floats, target: float) -> tuple[float, float, float]:
    """(tilt, cost, information) at which the mean of centred scores becomes the target."""
    ends = (0.0, 1.0) if target > 0 else (-1.0, 0.0)

    def shape(tilt: float) -> tuple[float, float]:
        weights = np.exp(tilt * scores - (top := float((tilt * scores).max())))
        return math.log(float(weights.mean())) + top, float(scores @ weights / weights.sum())

    outer = 1 if target > 0 else 0
    while abs(shape(ends[outer])[1]) < abs(target) and abs(ends[outer]) < 64:
        ends = (ends[0], ends[1] * 2) if target > 0 else (ends[0] * 2, ends[1])
    low, high = ends
    for _ in range(50):
        middle = (low + high) / 2
        if shape(middle)[1] < target:
            low = middle
        else:
            high = middle
    tilt = (low + high) / 2
    cost, mean = shape(tilt)
    return tilt, cost, tilt * mean - cost


SLOW, FAST = 0.3, 1.0  # shifts of the mean, in standard deviations, that the charts are made for
WIDER, NARROWER = 1.5, 0.6  # times the mean square
PLAN: tuple[tuple[Literal["mean", "spread"], float, float], ...] = (
    ("mean", SLOW, 0.34), ("mean", -SLOW, 0.34), ("mean", FAST, 0.04), ("mean", -FAST, 0.04),
    ("spread", WIDER, 0.16), ("spread", NARROWER, 0.08),
)  # fmt: skip


def charts_for(scores: Floats, false_alarms: float, waves: Floats) -> list[Chart]:
    """The charts of a stream with such scores. false_alarms: per event, of all charts together; waves: (n, pattern) of each."""
    squares = scores**2
    both = float(scores.std() * squares.std())
    alike = abs(float(np.cov(scores, squares, bias=True)[0, 1])) / both if both > 0 else 1.0
    plan = [one for one in PLAN if one[0] == "mean" or alike < 0.8]
    spent, bursts = sum(part for *_, part in plan), burstiness(squares, waves)
    charts = []
    for statistic, change, part in plan:
        values = squares if statistic == "spread" else scores
        centred, deviation = values - values.mean(), float(values.std())
        target = change * deviation if statistic == "mean" else (change - 1) * float(values.mean())
        bound = float(centred.max() if target > 0 else -centred.min())
        target = math.copysign(min(abs(target), 0.6 * bound), target)
        tilt, cost, information = tilted(centred / deviation, target / deviation) if deviation else (1.0, 0.0, 0.0)
        tilt, information = tilt / (deviation or 1.0), max(information, 1e-9)
        limit = threshold(RESERVE * false_alarms * part / spent, information, OVERSHOOT * abs(tilt) * deviation)
        widened = left_over(values) * (1 + limit * bursts / 2)
        charts.append(Chart(statistic, tilt, cost, limit * widened, limit / information))
    return charts


def burstiness(squares: Floats, waves: Floats, *, length: int = 64) -> float:
    """The variance of the local mean square, relative, beyond what chance makes of it: how much the noise comes in bursts.

    waves: (n, pattern), of a period that the noise may follow too.
    """
    level, variance, n = float(squares.mean()), float(squares.var()), len(squares)
    if not level or not variance:
        return 0.0
    found = (left_over(squares, lengths=(length,)) - 1) * variance / length
    if many := waves.shape[1]:
        table = np.concatenate([np.ones((n, 1)), waves], axis=1)
        explained = float((table @ np.linalg.lstsq(table, squares, rcond=None)[0]).var())
        if n * explained / variance > many + SURE * math.sqrt(2 * many):
            found = max(found, explained)
    return found / level**2


def left_over(values: Floats, *, lengths: Sequence[int] = (8, 16, 32, 64, 128)) -> float:
    """By how much means of neighbours vary more than those of strangers would, at least 1; 1 where chance explains it."""
    centred = values - values.mean()
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    variance, most = float(centred.var()), 1.0
    for length in lengths:
        if len(values) < 8 * length or not variance:
            break
        ratio = float(((sums[length:] - sums[:-length]) ** 2).mean()) / (variance * length)
        pieces = len(values) / length
        if ratio > 1 + SURE * math.sqrt(4 / 3 / pieces):
            most = max(most, ratio * (1 + 2 / pieces))
    return most


SHARE_PLAN = ((2.0, 0.75), (0.5, 0.18), (6.0, 0.07))  # times the odds of the rarer one, part of the false alarms


def share_charts(share: float, false_alarms: float, *, widened: float) -> list[Chart]:
    """The charts of a stream of zeros and ones with this share of ones, by their exact likelihood.

    widened: how much more the means of neighbours vary than those of strangers.
    """
    charts = []
    for odds, part in SHARE_PLAN:
        factor = odds if share <= 0.5 else 1 / odds
        tilt, spread_out = math.log(factor), math.log1p(share * (factor - 1))
        changed = share * factor / (1 + share * (factor - 1))
        information = changed * tilt - spread_out
        step = max(abs(tilt - spread_out), abs(spread_out))  # half of the rarer one's is overshot
        limit = threshold(SHARE_RESERVE * false_alarms * part, information, step / 2)
        charts.append(Chart("share", tilt, spread_out - tilt * share, limit * widened, EXACT * limit / information))
    return charts


def solved(gram: Floats, moments: Floats) -> Floats:
    """The regression's answer, with a trace of ridge for terms that say the same."""
    ridged = gram.copy()
    ridged.flat[:: len(gram) + 1] += 1e-9 * gram[0, 0]
    answer: Floats = np.linalg.solve(ridged, moments).astype(np.float64, copy=False)
    return answer


def raised(charts: Sequence[Chart], events: int, terms: Terms, *, error: float) -> list[float]:
    """The limits of charts whose usual values were learnt from so many events.

    error: relative, of the sum of what is foretold from the last events.
    """
    told = 1 + terms.harmonics + len(terms.stretches)  # each number of a profile rests on fewer events
    return [c.limit * (1 + told * c.length / events) * (1 + error) ** 2 for c in charts]


def gain_error(gram: Floats, answer: Floats, fixed: int, *, noise: float) -> float:
    """One standard error of 1 - sum(weights of the last events), relative: sums of residuals vary with its square. At most 1.

    fixed: how many terms stand before the weights; noise: standard deviation of the residuals.
    """
    if len(answer) == fixed:
        return 0.0
    ones = np.zeros(len(answer))
    ones[fixed:] = 1.0
    error = noise * math.sqrt(max(float(ones @ solved(gram, ones)), 0.0))
    return min(error / max(1 - float(answer[fixed:].sum()), 0.01), 1.0)
