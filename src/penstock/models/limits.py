"""Counting what may be used: money, tokens, requests and running calls, exactly.

What a call may take at most is held before it begins and settled when it has ended, so that calls that run at the same
time cannot pass a limit together. The numbers live in memory; `shared.py` keeps the same numbers for several processes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from penstock.errors import BudgetSpent, Limited

__all__ = ["Booking", "Counters", "InMemory", "Limit", "Standing", "Unit", "Want", "Window", "window_at"]

Booking = tuple[str, int, int]  # counter, window, amount
Unit = Literal["pico_usd", "tokens", "requests", "running"]
Window = Literal["minute", "day", "month", "ever", "now"]

DAY_S = 86_400
MINUTE_NS = 60_000_000_000
USD = 10**12  # picodollars
MOST_COUNTERS = 50_000  # before those that have passed are looked for


@dataclass(frozen=True, slots=True)
class Limit:
    """One number that may not be passed: `most` of a unit within a window.

    A minute is a bucket that leaks evenly; days and months are those of UTC; `now` counts what is running.
    """

    name: str  # of the counter: two limits with one name count together
    unit: Unit
    window: Window
    most: int
    owner: str = ""  # as people call it: "budget 'support'"

    def __str__(self) -> str:
        per = {"minute": " per minute", "day": " per day", "month": " per month", "ever": "", "now": " at a time"}
        amount = usd(self.most) if self.unit == "pico_usd" else f"{self.most:,} {_plural(self.unit)}"
        return amount + per[self.window]


class Want(NamedTuple):
    """How much of a limit a request holds."""

    limit: Limit
    amount: int


class Standing(NamedTuple):
    """What is booked in the current window of a limit, and what running calls hold of it."""

    used: int
    held: int


class Counters(Protocol):
    """Where the numbers are. Between machines, another one of these is shared."""

    def hold(self, wants: Sequence[Want]) -> list[Booking]:
        """Hold all of it, or nothing. Raises Limited or BudgetSpent, naming the limit that was met.

        Returns what would be booked if all of it were used.
        """
        ...

    def settle(self, wants: Sequence[Want], amounts: Sequence[int]) -> list[Booking]:
        """Give back what was held, and book what it really was. Returns what was booked."""
        ...

    def free(self, limit: Limit) -> int:
        """How much could be held now."""
        ...

    def standing(self, limit: Limit) -> Standing:
        """How a limit stands now."""
        ...

    def book(self, rows: Iterable[Booking]) -> None:
        """Add what was used before the start, or by a process that is gone."""
        ...


def window_at(window: Window, now_s: float) -> int:
    """The number of the window that a moment (Unix time) lies in."""
    if window == "day":
        return int(now_s // DAY_S)
    if window == "month":
        moment = time.gmtime(now_s)
        return moment.tm_year * 12 + moment.tm_mon
    return 0


class Counter:
    """One counter as it stands."""

    __slots__ = ("at_ns", "held", "used", "window")

    def __init__(self, window: int = 0, used: int = 0, held: int = 0, at_ns: int = 0) -> None:
        self.window, self.used, self.held = window, used, held
        self.at_ns = at_ns  # of the monotonic clock: when a bucket was last looked at

    def update_to(self, limit: Limit, now_s: float, now_ns: int) -> None:
        """Let a bucket leak, and begin a new day or month. A clock that is set back gives nothing away."""
        window = limit.window
        if window == "minute":
            if not self.used:
                self.at_ns = now_ns
            elif (leaked := limit.most * (now_ns - self.at_ns) // MINUTE_NS) > 0:
                if leaked >= self.used:
                    self.used, self.at_ns = 0, now_ns
                else:  # what has not leaked as a whole unit stays for the next look
                    self.used -= leaked
                    self.at_ns += leaked * MINUTE_NS // limit.most
        elif (window == "day" or window == "month") and (current := _cached_window(window, now_s)) > self.window:
            self.window, self.used = current, 0


class InMemory:
    """Counters of one process. Satisfies `Counters`."""

    def __init__(self) -> None:
        self._counters: dict[str, Counter] = {}
        self._left = 0  # after the last clearing out
        self._lock = threading.Lock()

    def hold(self, wants: Sequence[Want]) -> list[Booking]:
        now_s, now_ns = time.time(), time.monotonic_ns()
        held_now, counters = [], []
        with self._lock:
            for limit, amount in wants:
                counter = self._counter(limit.name)
                counter.update_to(limit, now_s, now_ns)
                if counter.used + counter.held + amount > limit.most:
                    raise _refusal(limit, counter, amount)
                counters.append(counter)
            for counter, (limit, amount) in zip(counters, wants, strict=True):
                if limit.window == "minute":
                    counter.used += amount
                else:
                    counter.held += amount
                    if limit.window != "now":
                        held_now.append((limit.name, counter.window, amount))
        return held_now

    def settle(self, wants: Sequence[Want], amounts: Sequence[int]) -> list[Booking]:
        now_s, now_ns = time.time(), time.monotonic_ns()
        booked = []
        with self._lock:
            for (limit, held), amount in zip(wants, amounts, strict=True):
                counter = self._counter(limit.name)
                counter.update_to(limit, now_s, now_ns)
                if limit.window == "minute":
                    counter.used = max(0, counter.used + amount - held)
                    continue
                counter.used += amount
                counter.held -= held
                if amount and limit.window != "now":
                    booked.append((limit.name, counter.window, amount))
        return booked

    def free(self, limit: Limit) -> int:
        with self._lock:
            counter = self._counter(limit.name)
            counter.update_to(limit, time.time(), time.monotonic_ns())
            return limit.most - counter.used - counter.held

    def standing(self, limit: Limit) -> Standing:
        with self._lock:
            counter = self._counter(limit.name)
            counter.update_to(limit, time.time(), time.monotonic_ns())
            return Standing(counter.used, counter.held)

    def book(self, rows: Iterable[Booking]) -> None:
        with self._lock:
            for name, window, used in rows:
                counter = self._counter(name)
                if window > counter.window:
                    counter.window, counter.used = window, 0
                if window == counter.window:
                    counter.used += used

    def _counter(self, name: str) -> Counter:
        found = self._counters.get(name)
        if found is None:
            if len(self._counters) >= MOST_COUNTERS and len(self._counters) >= 2 * self._left:
                self._forget_what_has_passed()
            found = self._counters[name] = Counter()
        return found

    def _forget_what_has_passed(self) -> None:
        """Callers name persons, and could name one after the other."""
        today, this_month = window_at("day", time.time()), window_at("month", time.time())
        recently = time.monotonic_ns() - 2 * MINUTE_NS
        for name, counter in list(self._counters.items()):
            window = "minute" if name.endswith("_per_minute") else "day" if name.endswith("_per_day") else "month"
            passed = {
                "minute": counter.at_ns < recently,
                "day": counter.window < today,
                "month": 0 < counter.window < this_month,
            }
            if not counter.held and (passed[window] or not counter.used):
                del self._counters[name]
        self._left = len(self._counters)


_months: dict[int, int] = {}  # day -> month: working it out takes longer than all the rest


def _cached_window(window: Window, now_s: float) -> int:
    day = int(now_s // DAY_S)
    if window == "day":
        return day
    if day not in _months:
        _months[day] = window_at("month", now_s)
    return _months[day]


def _refusal(limit: Limit, counter: Counter, amount: int) -> Limited:
    owner = limit.owner or "the limit"
    if limit.window == "now":
        return Limited(f"{owner} allows {limit} and they are all in use", hint="try again shortly", retry_after_s=1.0)
    if limit.window == "minute":
        if amount > limit.most:
            return Limited(
                f"{owner} allows {limit}, and this request alone may take {amount:,}",
                hint="ask for less, or lower max_tokens",
            )
        wait_s = (counter.used + amount - limit.most) * 60 / limit.most
        return Limited(f"{owner} allows {limit}", hint=f"try again in {wait_s:.1f} s", retry_after_s=wait_s)
    spent, wants = (usd(n) if limit.unit == "pico_usd" else f"{n:,}" for n in (counter.used, amount))
    if counter.used + amount <= limit.most:  # calls that are running hold the rest, and may well give some of it back
        return _WaitForOthers(
            f"{owner} allows {limit}; {spent} are spent, calls that are running hold the rest, and this one may take {wants}",
            hint="try again when they have ended, or lower max_tokens",
            retry_after_s=1.0,
        )
    ends = {"day": "until midnight UTC", "month": "until next month"}.get(limit.window, "for a higher limit")
    return BudgetSpent(
        f"{owner} allows {limit} and has spent {spent}; this call may take {wants}",
        hint=f"wait {ends}, or lower max_tokens",
    )


class _WaitForOthers(BudgetSpent):
    """The budget is held by calls that are running."""

    retryable = True


def usd(pico_usd: int) -> str:
    """Picodollars as people read money: cents, and what is less than a cent in full."""
    amount = pico_usd / USD
    return f"{amount:,.2f} USD" if amount >= 0.1 or not pico_usd else f"{amount:.6f} USD"


def _plural(unit: str) -> str:
    return {"running": "requests"}.get(unit, unit)
