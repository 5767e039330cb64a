"""Two releases beside each other, and a group beside all others: what surely differs, however often one looks and at however many
metrics.

Each metric's difference is a score test over clusters. Between releases it is one look at two logs, or, where the logs grow and are
looked at again and again, a confidence sequence; over all metrics, false alarms are held down by Benjamini and Hochberg's rule,
in which facts have more weight. Groups of one log are looked at once, and held down by Holm's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from penstock.evaluate.sequential import Always
from penstock.stats import benjamini_hochberg, holm, normal_quantile, normal_tail
from penstock.support.figures import Clusters, Side
from penstock.support.metrics import METRICS, Metric
from penstock.support.report import Moved
from penstock.support.scored import Scored

__all__ = ["FALSE_ALARMS", "PLANNED", "apart", "moved"]

FALSE_ALARMS = (
    0.03  # of all that is told after one look, the share that may be false: a quiet release is looked at often
)
WATCHED_FALSE_ALARMS = 0.05  # the same, where p-values hold at every look, which is strict by itself
PLANNED = 100  # conversations of each release at which the sequence is sharpest
WEIGHTS = {
    "accuracy": 5.0,
    "hallucination": 5.0,
}  # of what may be false, the part that facts get; any other figure gets 1
FEWEST = 30  # clusters on each side, for the normal limit to hold
GROUP_ALPHA = 0.05


class _Test(NamedTuple):
    before: float
    after: float
    low: float | None
    high: float | None
    n_before: int
    n_after: int
    z: float
    information: float


def moved(old: Sequence[Scored], new: Sequence[Scored], *, anytime: bool = False) -> tuple[Moved, ...]:
    """Every metric that both have enough of, those that moved most surely first. anytime: the logs grow, and are looked at again
    and again; without, each pair of logs is looked at once, which finds half as large a change."""
    first, second = Side(old), Side(new)
    tests = {
        name: test
        for name, metric in METRICS.items()
        if metric.alarms and (test := _tested(metric, first, second, FEWEST))
    }
    rule, most = Always(WATCHED_FALSE_ALARMS), WATCHED_FALSE_ALARMS if anytime else FALSE_ALARMS
    p = {
        name: rule.p_value(test.z, test.information) if anytime else 2 * normal_tail(abs(test.z))
        for name, test in tests.items()
    }
    weights = {name: WEIGHTS.get(name, 1.0) for name in p}  # Genovese, Roeder and Wasserman 2006
    mean = sum(weights.values()) / max(len(weights), 1)
    weighted = [min(1.0, one * mean / weights[name]) for name, one in p.items()]
    q = dict(zip(p, benjamini_hochberg(weighted), strict=True)) if p else {}
    found = [_as_moved(name, test, p[name], q[name], q[name] <= most, anytime) for name, test in tests.items()]
    return tuple(sorted(found, key=lambda one: (one.q, one.p, one.metric)))


def apart(
    groups: Mapping[tuple[str, str], Sequence[Scored]], everybody: Sequence[Scored], *, fewest: int
) -> dict[tuple[str, str], tuple[Moved, ...]]:
    """In which figures each group is surely unlike all others: (by, name) -> these. One look, over all groups and metrics."""
    tests: dict[tuple[tuple[str, str], str], _Test] = {}
    side = Side(everybody)
    for key, members in groups.items():
        inside = {one.id for one in members}
        kept = np.array([one.id in inside for one in everybody])
        others, group = side.of(~kept), side.of(kept)
        for name, metric in METRICS.items():
            if metric.alarms and (test := _tested(metric, others, group, fewest)):
                tests[key, name] = test
    p = [2 * normal_tail(abs(test.z)) for test in tests.values()]
    found: dict[tuple[str, str], list[Moved]] = {}
    for ((key, name), test), own, adjusted in zip(tests.items(), p, holm(p) if p else [], strict=True):
        if adjusted <= GROUP_ALPHA:
            one = _as_moved(name, test, own, adjusted, True, False)
            found.setdefault(key, []).append(replace(one, group=f"{key[0]}: {key[1]}"))
    return {key: tuple(sorted(some, key=lambda one: one.q)) for key, some in found.items()}


def _tested(metric: Metric, old: Side, new: Side, fewest: int) -> _Test | None:
    """None where one of them has too little."""
    if metric.name == "contained":
        return None  # the other side of escalation
    if metric.kind == "quantile":
        return _of_quantile(metric, old, new, fewest)
    first, second = old.clusters(metric.name), new.clusters(metric.name)
    if min(len(first.sums), len(second.sums)) < fewest or min(first.n, second.n) <= 0:
        return None
    information = _information(old.conversations(metric.name), new.conversations(metric.name))
    return _test(first, second, information, is_rate=metric.kind == "rate")


def _information(n: int, m: int) -> float:
    """How much is known, as a share of what was planned: of conversations that count, the harmonic mean of both."""
    return 2 * n * m / (n + m) / PLANNED


def _of_quantile(metric: Metric, old: Side, new: Side, fewest: int) -> _Test | None:
    """As the shares of answers that are slower than the quantile of both together; its figures are the quantiles."""
    share = 0.5 if metric.name.endswith("p50") else 0.95
    times = [old.times_ms, new.times_ms]
    if min(map(len, times)) == 0:
        return None
    edge = float(np.quantile(np.concatenate(times), share))
    first, second = old.slower(edge), new.slower(edge)
    if min(len(first.sums), len(second.sums)) < fewest:
        return None
    test = _test(first, second, _information(old.timed(), new.timed()), is_rate=True)
    before, after = (float(np.quantile(one, share)) for one in times)
    return test._replace(before=before, after=after, low=None, high=None)


def _test(first: Clusters, second: Clusters, information: float, *, is_rate: bool) -> _Test:
    before, after = first.value, second.value
    together = (first.sums.sum() + second.sums.sum()) / (first.n + second.n)
    own = first.variance(before) + second.variance(after)
    pooled = first.variance(float(together)) + second.variance(float(together)) if is_rate else own
    apart_by = after - before
    error = math.sqrt(max(pooled, 0.0))
    z = apart_by / error if error > 0 else 0.0
    half = normal_quantile(0.975) * math.sqrt(max(own, 0.0))
    return _Test(before, after, apart_by - half, apart_by + half, round(first.n), round(second.n), z, information)


def _as_moved(name: str, test: _Test, p: float, q: float, sure: bool, anytime: bool) -> Moved:
    return Moved(
        metric=name, before=test.before, after=test.after, difference=test.after - test.before, low=test.low, high=test.high,
        n_before=test.n_before, n_after=test.n_after, p=p, q=float(q), sure=bool(sure), anytime=anytime,
    )  # fmt: skip
