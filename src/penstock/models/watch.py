"""What was seen of each upstream: how fast it began to answer, how much runs and waits there, how often it failed.

Told by whoever calls the upstream (`Metered`), read by whoever chooses between several, and shown at /api/models.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from penstock.errors import PenstockError, UpstreamError, UpstreamRefused
from penstock.models.breaker import Breaker
from penstock.types import Call

__all__ = ["Latency", "Watch"]

REMEMBERED = 128  # latencies
ENOUGH = 20  # of them, before anything is said about the slow ones
SORT_EVERY = 8
WEIGHT = 0.1  # of the newest in a running average
HALF_LIFE_S = 60.0  # what was seen long ago is believed less: a model that was slow once is tried again


class Latency:
    """Times until the first event, in seconds."""

    __slots__ = ("_new", "_recent", "_seen_at", "_sorted", "average_s")

    def __init__(self) -> None:
        self.average_s = 0.0  # running average; 0 before the first
        self._recent: deque[float] = deque(maxlen=REMEMBERED)
        self._sorted: list[float] = []
        self._new = 0
        self._seen_at = 0.0

    def add(self, seconds: float, now: float) -> None:
        self.average_s += (seconds - self.average_s) * (WEIGHT if self._recent else 1.0)
        self._recent.append(seconds)
        self._new += 1
        self._seen_at = now

    def add_unanswered(self, seconds: float, now: float) -> None:
        """A call was given up before it was answered. One that was slower than most counts as slow, no more is known.

        Left out, the slow ones that a second model overtakes would be missing, and what is usual would shrink and shrink.
        """
        usual_s = self.percentile(95)
        if usual_s and seconds >= usual_s:
            self.add(usual_s, now)

    def percentile(self, percent: int) -> float:
        """Seconds that so many of the recent calls took at most; 0 while too few were seen to say."""
        if len(self._recent) < ENOUGH:
            return 0.0
        if self._new >= SORT_EVERY or not self._sorted:
            self._sorted, self._new = sorted(self._recent), 0
        return self._sorted[len(self._sorted) * percent // 100]

    def expected_s(self, now: float) -> float:
        """What to expect of the next call. It falls towards 0 while nothing is seen."""
        return float(self.average_s * 0.5 ** (max(0.0, now - self._seen_at) / HALF_LIFE_S))


class Watch:
    """One upstream as it was seen. Times are those of time.perf_counter, in seconds."""

    __slots__ = (
        "_failed_at", "breaker", "calls", "error_rate", "failed", "last_error", "name", "running", "streamed",
        "tokens_per_s", "waiting", "whole",
    )  # fmt: skip

    def __init__(self, name: str, breaker: Breaker | None = None) -> None:
        self.name, self.breaker = name, breaker or Breaker(name)
        self.running = 0  # calls under way
        self.waiting = 0  # requests that wait for their turn
        self.calls, self.failed = 0, 0  # that have ended: with an answer or a failure; failures among them
        self.error_rate = 0.0  # running average
        self.tokens_per_s = 0.0  # of one answer once it has begun; running average
        self.last_error = ""  # code
        self.streamed, self.whole = Latency(), Latency()  # a whole answer arrives when a streamed one ends
        self._failed_at = 0.0

    def latency(self, *, streamed: bool) -> Latency:
        return self.streamed if streamed else self.whole

    def started(self, began: float) -> None:
        self.running += 1
        if not self.breaker.closed:
            self.breaker.started(began)

    def answered(self, began: float, now: float, *, streamed: bool) -> None:
        """The first event has come."""
        (self.streamed if streamed else self.whole).add(now - began, now)
        self.breaker.succeeded(began)

    def ended(self, began: float, call: Call, error: PenstockError | None, *, streamed: bool) -> None:
        self.running -= 1
        now = began + call.duration_ms / 1000
        if call.outcome == "ok":
            self.calls += 1
            self.error_rate -= self.error_rate * WEIGHT
            if not call.first_ms:  # an answer without a word is one too
                self.breaker.succeeded(began)
            took_ms = call.duration_ms - call.first_ms if streamed else call.duration_ms
            if took_ms > 1 and call.usage.output_tokens:
                rate = call.usage.output_tokens * 1000 / took_ms
                self.tokens_per_s += (rate - self.tokens_per_s) * (WEIGHT if self.tokens_per_s else 1.0)
        elif isinstance(error, UpstreamRefused):
            self.breaker.succeeded(began)  # it is at fault with the request, and so it is well
        elif isinstance(error, UpstreamError):
            self.calls += 1
            self.failed += 1
            self.error_rate += (1 - self.error_rate) * WEIGHT
            self.last_error, self._failed_at = error.code, now
            self.breaker.failed(began, error)
        else:
            self.breaker.left(began)
            if not call.first_ms:
                self.latency(streamed=streamed).add_unanswered(call.duration_ms / 1000, now)

    def expected_s(self, *, streamed: bool) -> float:
        """Seconds until the next call begins to answer; longer the more calls fail. 0 where nothing is known yet."""
        now = time.perf_counter()
        failing = self.error_rate * 0.5 ** (max(0.0, now - self._failed_at) / HALF_LIFE_S)
        return float(self.latency(streamed=streamed).expected_s(now) / max(0.05, 1 - failing))

    def report(self) -> dict[str, Any]:
        """As plain values, for people and dashboards."""
        state = "up" if self.breaker.closed else "resting" if self.breaker.resting else "to be tried"
        return {
            "state": state,
            "running": self.running,
            "waiting": self.waiting,
            "calls": self.calls,
            "failed": self.failed,
            "error_rate": round(self.error_rate, 4),
            "last_error": self.last_error,
            "tokens_per_s": round(self.tokens_per_s, 1),
            "first_ms": {
                kind: _milliseconds(found) for kind, found in (("streamed", self.streamed), ("whole", self.whole))
            },
        }


def _milliseconds(latency: Latency) -> dict[str, float]:
    return {
        "average": round(latency.average_s * 1000, 1),
        "p50": round(latency.percentile(50) * 1000, 1),
        "p95": round(latency.percentile(95) * 1000, 1),
    }
