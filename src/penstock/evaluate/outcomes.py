"""What a request shows of an experiment's metrics: from its row in the journal, and nobody's words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from penstock.observe.journal import Row
from penstock.observe.objectives import Objective, judged

__all__ = ["BETTER", "DEVIATION", "outcome", "shown", "shown_change"]

BETTER: Final[Mapping[str, Literal["higher", "lower"]]] = {
    "answered": "higher", "grounded": "higher", "satisfied": "higher", "refused": "lower", "faulty": "lower",
    "latency": "lower", "cost": "lower",
}  # fmt: skip

# Of a unit's value, about. It is the clock by which guardrails of units that come back are read: were it twice as large or half,
# their promise would be the same, and they would be sharpest a little later or earlier.
DEVIATION: Final[Mapping[str, float]] = {
    "answered": 0.3, "grounded": 0.3, "refused": 0.3, "faulty": 0.3, "latency": 0.7,
}  # fmt: skip

_GROUNDED = Objective("", "grounded", 0.5)


def outcome(metric: str, row: Row, told: Mapping[str, Any]) -> float | None:
    """A request's value; None where it says nothing. told: its `answer`, read.

    Shares are 0 or 1, latency is the natural logarithm of seconds, cost is in USD. Whoever left before the end got no answer. What
    was the caller's own doing, such as a bad request or a spent budget, says nothing. What people said is not in the journal.
    """
    match metric:
        case "answered":
            return _answered(row, told)
        case "refused":
            if row.error == "blocked_by_guard":
                return 1.0
            return None if row.outcome != "ok" else float(told.get("status") == "refused" or "refusal" in _faults(told))
        case "grounded":
            good = judged(_GROUNDED, row, told)
            return None if good is None else float(good)
        case "faulty":
            if row.outcome != "ok" or not told.get("status"):
                return None
            return float(any(fault not in ("ungrounded", "refusal") for fault in _faults(told)))
        case "latency":
            return math.log(max(row.duration_ms, 0.01) / 1000) if row.outcome == "ok" else None
        case "cost":
            return row.cost_pico_usd / 1e12 if row.outcome == "ok" else None
    return None


def _answered(row: Row, told: Mapping[str, Any]) -> float | None:
    if row.outcome == "refused":
        return 0.0 if row.error in ("blocked_by_guard", "upstream_busy") else None
    if row.outcome != "ok":
        return 0.0
    return float(told.get("status", "answer") == "answer" and "refusal" not in _faults(told))


def _faults(told: Mapping[str, Any]) -> list[Any]:
    faults = told.get("faults")
    return faults if isinstance(faults, list) else []


# ---------------------------------------------------------------- for people


def shown(metric: str, value: float | None) -> str:
    """A mean."""
    if value is None or not math.isfinite(value):
        return "-"
    match metric:
        case "latency":
            return f"{math.exp(min(value, 50.0)):.3g} s"
        case "cost":
            return f"{value:.3g} USD"
    return f"{value:.2%}"


def shown_change(metric: str, value: float | None) -> str:
    """A difference of means: of latency by how much it is longer, of shares in points of percent."""
    if value is None or not math.isfinite(value):
        return "-"
    match metric:
        case "latency":
            return f"{math.expm1(min(value, 50.0)):+.1%}"
        case "cost":
            return f"{value:+.3g} USD"
    return f"{value * 100:+.2f} points"
