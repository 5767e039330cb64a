"""Counts of good and bad by the minute and the hour, and sums of measures by ten minutes and the hour: numbers in rings.

A ring has room for as long as anybody looks back and takes the same memory however much is asked. What was added since it was last
written down is marked.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from dataclasses import dataclass

from penstock.observe.objectives import Counted, rules

__all__ = [
    "DAY_S",
    "FEWEST",
    "HISTORY_H",
    "HOUR_S",
    "LEARN_H",
    "MINUTE_S",
    "SAMPLES",
    "SLOTS_AN_HOUR",
    "SLOT_S",
    "Counts",
    "Hours",
    "Observed",
    "Slot",
]

MINUTE_S, SLOT_S, HOUR_S, DAY_S = 60, 600, 3600, 86_400
BY_MINUTES_S = DAY_S  # windows up to so long are added up from minutes, longer ones from hours
SAMPLES = 5  # ids of requests that an alert names
HISTORY_H = 8 * 7 * 24  # hours of a measure that are kept
LEARN_H = 24  # hours with values in them before it is known what is usual
FEWEST = 20  # values in a window that is called unusual
SLOTS, SLOTS_AN_HOUR = DAY_S // SLOT_S + 1, HOUR_S // SLOT_S


# ---------------------------------------------------------------- good and bad


class _Ring:
    """Counts of the last `size` steps of a clock. Steps are numbered from the beginning of Unix time."""

    __slots__ = ("bad", "good", "last", "size")

    def __init__(self, size: int) -> None:
        self.size, self.last = size, -1
        self.good, self.bad = array("q", bytes(8 * size)), array("q", bytes(8 * size))

    def add(self, number: int, good: int, bad: int) -> None:
        if number > self.last:
            self._empty(max(self.last, number - self.size) + 1, number)
            self.last = number
        if number > self.last - self.size:
            self.good[number % self.size] += good
            self.bad[number % self.size] += bad

    def _empty(self, first: int, last: int) -> None:
        a, b = first % self.size, last % self.size + 1
        for start, end in ((a, b),) if a < b else ((a, self.size), (0, b)):
            self.good[start:end] = self.bad[start:end] = array("q", bytes(8 * (end - start)))

    def of(self, number: int) -> Counted:
        held = self.last - self.size < number <= self.last
        return Counted(self.good[number % self.size], self.bad[number % self.size]) if held else Counted()

    def between(self, first: int, last: int) -> Counted:
        """Counts of the steps from first to last, both included."""
        first, last = max(first, self.last - self.size + 1, 0), min(last, self.last)
        if first > last:
            return Counted()
        a, b = first % self.size, last % self.size + 1
        if a < b:
            return Counted(sum(self.good[a:b]), sum(self.bad[a:b]))
        return Counted(sum(self.good[a:]) + sum(self.good[:b]), sum(self.bad[a:]) + sum(self.bad[:b]))


class Counts:
    """One objective for one subject."""

    __slots__ = ("dirty", "hours", "last_bad", "minutes", "samples")

    def __init__(self, period_s: float) -> None:
        longest = max(min(rule.long_s, BY_MINUTES_S) for rule in rules(period_s))
        self.minutes = _Ring(int(longest // MINUTE_S) + 2)
        self.hours = _Ring(int(period_s // HOUR_S) + 2)
        self.samples: deque[str] = deque(maxlen=SAMPLES)  # ids of the last bad ones
        self.last_bad = -math.inf
        self.dirty: tuple[set[int], set[int]] = (
            set(),
            set(),
        )  # minutes and hours that differ from what is written down

    def add(self, at: float, good: bool, request: str = "") -> None:
        minute = int(at) // MINUTE_S
        self.minutes.add(minute, good, not good)
        self.hours.add(minute // 60, good, not good)
        self.dirty[0].add(minute)
        self.dirty[1].add(minute // 60)
        if not good:
            self.last_bad = max(self.last_bad, at)
            if request:
                self.samples.append(request)

    def counted(self, window_s: float, *, now: float) -> Counted:
        """The counts of a window that ends now. It is whole minutes or hours and the one that is running."""
        step, ring = (MINUTE_S, self.minutes) if window_s <= BY_MINUTES_S else (HOUR_S, self.hours)
        last = int(now // step)
        return ring.between(last - math.ceil(window_s / step) + 1, last)


# ---------------------------------------------------------------- means


@dataclass(slots=True)
class Slot:
    """Values of a stretch of time: how many, their sum, the sum of their squares; and the ids of the most extreme ones."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    highest: tuple[float, str] = (-math.inf, "")
    lowest: tuple[float, str] = (math.inf, "")

    def add(self, value: float, request: str) -> None:
        self.n += 1
        self.total += value
        self.squares += value * value
        if value > self.highest[0]:
            self.highest = (value, request)
        if value < self.lowest[0]:
            self.lowest = (value, request)


class Hours:
    """Values of the last eight weeks by the hour, and what was foretold of an hour when it began (nan where nothing was)."""

    __slots__ = ("expected", "last", "n", "squares", "total")

    def __init__(self) -> None:
        self.last = -1
        self.n = array("q", bytes(8 * HISTORY_H))
        self.total, self.squares = array("d", self.n), array("d", self.n)
        self.expected = array("d", [math.nan]) * HISTORY_H

    def add(self, hour: int, n: int, total: float, squares: float) -> None:
        if (at := self._place(hour)) is not None:
            self.n[at] += n
            self.total[at] += total
            self.squares[at] += squares

    def foretell(self, hour: int, expected: float) -> None:
        if (at := self._place(hour)) is not None:
            self.expected[at] = expected

    def foretold(self, hour: int) -> float | None:
        """None where nothing was foretold."""
        held = self.last - HISTORY_H < hour <= self.last and not math.isnan(self.expected[hour % HISTORY_H])
        return self.expected[hour % HISTORY_H] if held else None

    def of(self, hour: int) -> tuple[int, float, float, float | None]:
        """How many values, their sum, the sum of their squares, and what was foretold."""
        if not self.last - HISTORY_H < hour <= self.last:
            return 0, 0.0, 0.0, None
        at = hour % HISTORY_H
        return self.n[at], self.total[at], self.squares[at], self.foretold(hour)

    def __len__(self) -> int:
        """In how many there are values."""
        return HISTORY_H - self.n.count(0)

    def _place(self, hour: int) -> int | None:
        if hour > self.last:
            for other in range(max(self.last, hour - HISTORY_H) + 1, hour + 1):
                at = other % HISTORY_H
                self.n[at], self.total[at], self.squares[at], self.expected[at] = 0, 0.0, 0.0, math.nan
            self.last = hour
        return hour % HISTORY_H if hour > self.last - HISTORY_H else None


class Observed:
    """One measure of one subject: slots of ten minutes for a day, and hours for eight weeks. Values are logarithms, or 0 and 1."""

    __slots__ = ("dirty", "hours", "slots")

    def __init__(self) -> None:
        self.slots: dict[int, Slot] = {}
        self.hours = Hours()
        self.dirty: tuple[set[int], set[int]] = (set(), set())  # slots and hours that differ from what is written down

    def add(self, at: float, value: float, request: str = "") -> None:
        number = int(at) // SLOT_S
        slot = self.slots.get(number)
        if slot is None:
            slot = self.slots[number] = Slot()
            if len(self.slots) > SLOTS + 24:
                for old in sorted(self.slots)[:-SLOTS]:
                    del self.slots[old]
        slot.add(value, request)
        self.hours.add(number // SLOTS_AN_HOUR, 1, value, value * value)
        self.dirty[0].add(number)
        self.dirty[1].add(number // SLOTS_AN_HOUR)

    def foretell(self, hour: int, expected: float) -> None:
        self.hours.foretell(hour, expected)
        self.dirty[1].add(hour)
