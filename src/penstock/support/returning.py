"""Who comes back: for the same within so many days, and for anything at all. What a log is too short to tell is not counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from penstock.stats import normal_quantile, wilson
from penstock.support.report import Figure
from penstock.support.scored import Scored

__all__ = ["ends", "survival", "with_returns"]

DAY_S = 86_400.0
WINDOWS = {"recontact_7d": 7, "recontact_30d": 30}


def ends(scored: Sequence[Scored]) -> float | None:
    """Unix time of the last thing that a log knows of."""
    return max((one.ended for one in scored if one.ended is not None), default=None)


def with_returns(scored: Sequence[Scored], *, until: float | None = None) -> list[Scored]:
    """The conversations, each with whether its customer came back for the same. One that failed silently by that is marked too.

    until: when the log was closed; without, its last conversation. Conversations without a customer, an intent or a time are as
    they were: nothing is known of them.
    """
    closed = until if until is not None else ends(scored)
    later: dict[tuple[str, str], list[float]] = {}
    for one in scored:
        if one.customer and one.intent and one.started is not None:
            later.setdefault((one.customer, one.intent), []).append(one.started)
    for some in later.values():
        some.sort()
    found = []
    for one in scored:
        if closed is None or not one.customer or not one.intent or one.started is None:
            found.append(one)
            continue
        over = one.ended if one.ended is not None else one.started
        after = next((at for at in later[one.customer, one.intent] if at > one.started), None)
        counts = dict(one.counts)
        for name, days in WINDOWS.items():
            back = after is not None and after - over <= days * DAY_S
            if over + days * DAY_S <= closed:
                counts[name] = (float(back), 1.0)
        week = after is not None and after - over <= 7 * DAY_S
        if week and not one.escalated and "silent_failure" in counts:
            counts["silent_failure"] = (1.0, 1.0)
        found.append(replace(one, counts=counts))
    return found


def survival(metric: str, scored: Sequence[Scored], *, days: int, until: float | None) -> Figure:
    """The share of customers who came back within so many days of their first conversation (Kaplan and Meier 1958; the interval by
    Greenwood's variance on the log-log scale)."""
    times: dict[str, list[float]] = {}
    for one in scored:
        if one.customer and one.started is not None:
            times.setdefault(one.customer, []).append(one.started)
    closed = until if until is not None else ends(scored)
    if not times or closed is None:
        return Figure(metric=metric, value=None, n=0, units=0)
    events: list[tuple[float, bool]] = []  # (days until it is known, whether they came back)
    for some in times.values():
        some.sort()
        back = next((at for at in some[1:] if at > some[0]), None)
        events.append(
            ((back - some[0]) / DAY_S, True) if back is not None else (max(0.0, closed - some[0]) / DAY_S, False)
        )
    if max(time for time, _ in events) < days:
        why = f"the log is shorter than {days} days"
        return Figure(metric=metric, value=None, n=0, units=0, unscored=((why, len(times)),))
    stays, spread, left = 1.0, 0.0, len(events)
    for time, came in sorted(events, key=lambda one: (one[0], not one[1])):
        if time > days:
            break
        if came:
            stays *= 1 - 1 / left
            spread += 1 / (left * (left - 1)) if left > 1 else math.inf
        left -= 1
    low, high = _ends(stays, spread)
    method = "Kaplan-Meier, Greenwood"
    if low is None:  # all, or nobody: as a share of those who were followed all the time
        followed = max(left, 1)
        plain = wilson((1 - stays) * followed, followed)
        low, high, method = plain.low, plain.high, f"Wilson, of the {followed:,} who were followed all the time"
    return Figure(
        metric=metric, value=1 - stays, n=len(times), units=len(times), low=low, high=high, interval=method,
    )  # fmt: skip


def _ends(stays: float, spread: float) -> tuple[float | None, float | None]:
    if not 0 < stays < 1 or not math.isfinite(spread):
        return None, None
    half = normal_quantile(0.975) * math.sqrt(spread) / abs(math.log(stays))
    log = math.log(-math.log(stays))
    lower, upper = math.exp(-math.exp(log + half)), math.exp(-math.exp(log - half))
    return 1 - upper, 1 - lower
