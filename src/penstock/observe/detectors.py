"""The detectors that others use, behind the same protocol as the charts: to compare with, or because somebody knows them.

Each gives false alarms at a rate of its own, which depends on the stream: from none to thousands in 10,000 events. None of them
sees a change of spread, or knows that neighbours are alike. After an alarm a detector begins anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from numpy.typing import ArrayLike

from penstock.observe.charts import LARGEST, Alarm, numbers

__all__ = ["ADWIN", "DDM", "EDDM", "PageHinkley"]


class _OneByOne:
    """What they share: positions, missing values, and the mean before an alarm and after."""

    def __init__(self) -> None:
        self.seen = self.missing = 0

    def update(self, value: float) -> Alarm | None:
        position, value = self.seen, float(value)
        self.seen += 1
        if not abs(value) <= LARGEST:
            self.missing += 1
            return None
        found = self._take(value, position)
        if found:
            self._begin()
        return found

    def watch(self, values: ArrayLike) -> list[Alarm]:
        return [alarm for value in numbers(values).tolist() if (alarm := self.update(value))]

    def _take(self, value: float, position: int) -> Alarm | None:
        raise NotImplementedError

    def _begin(self) -> None:
        raise NotImplementedError


def _alarm(position: int, changed_at: int, before: float, after: float, *, share: bool) -> Alarm:
    statistic = "share" if share else "mean"
    return Alarm(position, changed_at, statistic, "up" if after > before else "down", before, after)  # type: ignore[arg-type]


class DDM(_OneByOne):
    """Errors, 1 or 0, become more frequent than they were at best, by three standard deviations (Gama et al. 2004)."""

    def __init__(self, *, warm_up: int = 30, deviations: float = 3.0) -> None:
        super().__init__()
        self.warm_up, self.deviations = warm_up, deviations
        self._begin()

    def _begin(self) -> None:
        self._n, self._errors = 0, 0.0
        self._best = math.inf
        self._least = self._deviation = 0.0
        self._best_at, self._at_best = 0, (0, 0.0)

    def _take(self, value: float, position: int) -> Alarm | None:
        self._n += 1
        self._errors += value
        share = self._errors / self._n
        deviation = math.sqrt(max(share * (1 - share), 0.0) / self._n)
        if self._n <= self.warm_up:
            return None
        if share + deviation <= self._best:
            self._best, self._least, self._deviation = share + deviation, share, deviation
            self._best_at, self._at_best = position, (self._n, self._errors)
        if share + deviation <= self._least + self.deviations * self._deviation:
            return None
        n, errors = self._n - self._at_best[0], self._errors - self._at_best[1]
        return _alarm(position, self._best_at + 1, self._least, errors / max(n, 1), share=True)


class EDDM(_OneByOne):
    """Errors, 1 or 0, come closer together than they were at best (Baena-García et al. 2006)."""

    def __init__(self, *, warm_up: int = 30, limit: float = 0.9) -> None:
        super().__init__()
        self.warm_up, self.limit = warm_up, limit
        self._begin()

    def _begin(self) -> None:
        self._n = self._errors = self._last = 0
        self._mean = self._squares = 0.0
        self._best = -1.0
        self._best_at, self._at_best = 0, (0, 0)

    def _take(self, value: float, position: int) -> Alarm | None:
        self._n += 1
        if value != 1:
            return None
        self._errors += 1
        distance = self._n - self._last
        self._last = self._n
        away = distance - self._mean
        self._mean += away / self._errors
        self._squares += away * (distance - self._mean)
        if self._n <= self.warm_up:
            return None
        spread = self._mean + 2 * math.sqrt(self._squares / (self._errors - 1) if self._errors > 1 else 0.0)
        if spread > self._best:
            self._best = spread
            self._best_at, self._at_best = position, (self._n, self._errors)
            return None
        if self._errors <= self.warm_up or spread / self._best >= self.limit:
            return None
        n, errors = self._at_best
        return _alarm(position, self._best_at + 1, errors / n, (self._errors - errors) / (self._n - n), share=True)


class PageHinkley(_OneByOne):
    """The sum of what a stream is above or below its own mean (Page 1954). Its limit has the unit of the stream."""

    def __init__(
        self, *, warm_up: int = 30, allowance: float = 0.005, limit: float = 50.0, forgetting: float = 0.9999
    ) -> None:
        super().__init__()
        self.warm_up, self.allowance, self.limit, self.forgetting = warm_up, allowance, limit, forgetting
        self._begin()

    def _begin(self) -> None:
        self._n, self._mean, self._up, self._down = 0, 0.0, 0.0, 0.0
        self._lowest, self._highest = math.inf, -1.0
        self._ends = [(0, 0, 0.0), (0, 0, 0.0)]  # position, events and mean where each sum turned

    def _take(self, value: float, position: int) -> Alarm | None:
        self._n += 1
        self._mean += (value - self._mean) / self._n
        away = value - self._mean
        self._up = self.forgetting * self._up + away - self.allowance
        self._down = self.forgetting * self._down + away + self.allowance
        if self._up < self._lowest:
            self._lowest, self._ends[0] = self._up, (position, self._n, self._mean)
        if self._down > self._highest:
            self._highest, self._ends[1] = self._down, (position, self._n, self._mean)
        up, down = self._up - self._lowest > self.limit, self._highest - self._down > self.limit
        if self._n < self.warm_up or not (up or down):
            return None
        at, n, before = self._ends[0 if up else 1]
        after = (self._mean * self._n - before * n) / max(self._n - n, 1)
        return _alarm(position, at + 1, before, after, share=False)


@dataclass(slots=True)
class _Row:
    """Buckets of one size, the oldest first."""

    sums: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)  # sums of squares about their means


class ADWIN(_OneByOne):
    """A window that is as long as its mean stays the same (Bifet and Gavaldà 2007), in buckets of sizes 1, 2, 4, ..."""

    def __init__(
        self, *, delta: float = 0.002, every: int = 32, buckets: int = 5, least: int = 5, warm_up: int = 10
    ) -> None:
        """delta: how easily a window is cut; every: events between looks; least: events on either side of a cut."""
        super().__init__()
        self.delta, self.every, self.buckets, self.least, self.warm_up = delta, every, buckets, least, warm_up
        self._begin()

    def _begin(self) -> None:
        self._rows = [_Row()]
        self._n, self._ticks, self._total, self._spread = 0, 0, 0.0, 0.0

    def _take(self, value: float, position: int) -> Alarm | None:
        self._n += 1
        self._rows[0].sums.append(value)
        self._rows[0].spreads.append(0.0)
        if self._n > 1:
            self._spread += (self._n - 1) * (value - self._total / (self._n - 1)) ** 2 / self._n
        self._total += value
        self._merge()
        self._ticks += 1
        if self._ticks % self.every or self._n <= self.warm_up:
            return None
        return self._cut(position)

    def _merge(self) -> None:
        size = 1
        for n, row in enumerate(self._rows):
            if len(row.sums) <= self.buckets:
                return
            if n + 1 == len(self._rows):
                self._rows.append(_Row())
            (a, b), (c, d) = row.sums[:2], row.spreads[:2]
            del row.sums[:2], row.spreads[:2]
            self._rows[n + 1].sums.append(a + b)
            self._rows[n + 1].spreads.append(c + d + size * (a / size - b / size) ** 2 / 2)
            size *= 2

    def _cut(self, position: int) -> Alarm | None:
        n0, n1, sum0, sum1 = 0, self._n, 0.0, self._total
        variance, doubt = self._spread / self._n, math.log(2 * math.log(self._n) / self.delta)
        for level in range(len(self._rows) - 1, -1, -1):
            for total in self._rows[level].sums:
                n0, n1, sum0, sum1 = n0 + (1 << level), n1 - (1 << level), sum0 + total, sum1 - total
                if n1 < self.least:
                    return None
                if n0 < self.least:
                    continue
                size = 1 / (n0 - self.least + 1) + 1 / (n1 - self.least + 1)
                limit = math.sqrt(2 * size * variance * doubt) + 2 / 3 * doubt * size
                if abs(sum0 / n0 - sum1 / n1) > limit:
                    return _alarm(position, position - n1 + 1, sum0 / n0, sum1 / n1, share=False)
        return None
