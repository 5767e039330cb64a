"""From scored conversations to figures: each with how sure it is, and by which method.

What comes from one conversation, and from one customer, is not independent: it is drawn together. A rate's interval is Wilson's,
for as many independent trials as the clusters are worth; a mean's is a bootstrap over clusters while there are few of them, and
Student's t with the variation between clusters beyond; a quantile's is that of the ranks around it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.stats import bootstrap, mean_interval, t_quantile, wilson
from penstock.support.metrics import METRICS, Metric
from penstock.support.report import Figure
from penstock.support.returning import survival
from penstock.support.scored import Scored

__all__ = ["Clusters", "Side", "clusters_of", "figure_of", "figures_of", "worth"]

Floats = NDArray[np.float64]

MOST_DRAWN = 1_500  # clusters up to which a mean is bootstrapped
DRAWS = 1_000
EVIDENCE = 5  # findings that a figure links to
_KINDS = {  # metric -> the findings that lower it
    "accuracy": ("wrong_fact", "made_up", "wrong_name"),
    "hallucination": ("made_up", "unsupported", "wrong_fact"),
    "relevance": ("irrelevant",),
    "coherence": ("contradiction", "repetition", "unanswered"),
    "empathy": ("no_empathy",),
    "silent_failure": ("silent_failure",),
    "personalisation": ("wrong_name",),
}


class Clusters(NamedTuple):
    """Of each cluster the sum of a metric and how much it was counted: [clusters]."""

    sums: Floats
    sizes: Floats

    @property
    def value(self) -> float:
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def n(self) -> float:
        return float(self.sizes.sum())

    def variance(self, value: float) -> float:
        """Of the ratio, by linearisation around a value."""
        count = len(self.sums)
        rest = self.sums - value * self.sizes
        return float((rest**2).sum() / self.sizes.sum() ** 2 * count / max(count - 1, 1))


class Side:
    """Conversations as columns, to be counted in one go: all of them, or some (`of`). Clusters are customers where the log says
    who, else conversations."""

    def __init__(self, scored: Sequence[Scored]) -> None:
        self._scored = scored
        numbers: dict[str, int] = {}
        keys = sorted(enumerate(one.customer or f"\0{one.id}" for one in scored), key=lambda pair: pair[1])
        self._cluster = np.zeros(len(scored), np.intp)
        for at, key in keys:
            self._cluster[at] = numbers.setdefault(key, len(numbers))
        self._kept = np.ones(len(scored), bool)
        self._columns: dict[str, tuple[Floats, Floats]] = {}
        self._times: Floats = np.array([time for one in scored for time in one.latencies_ms], np.float64)
        self._of: NDArray[np.intp] = np.repeat(np.arange(len(scored)), [len(one.latencies_ms) for one in scored])

    def of(self, kept: NDArray[np.bool_]) -> Side:
        """Some of them."""
        side = copy(self)
        side._kept = kept
        return side

    def clusters(self, metric: str) -> Clusters:
        if metric not in self._columns:
            pairs = [one.counts.get(metric, (0.0, 0.0)) for one in self._scored]
            there = [metric in one.counts for one in self._scored]
            sums, sizes = np.array(pairs, np.float64).reshape(-1, 2).T
            self._columns[metric] = sums, np.where(there, sizes, np.nan)
        sums, sizes = self._columns[metric]
        return self._together(sums, sizes, self._kept & ~np.isnan(sizes))

    def conversations(self, metric: str) -> int:
        """How many count for a metric."""
        self.clusters(metric)
        return int((self._kept & ~np.isnan(self._columns[metric][1])).sum())

    @property
    def times_ms(self) -> Floats:
        """How long each answer took."""
        return self._times[self._kept[self._of]]

    def slower(self, ms: float) -> Clusters:
        """Answers slower than a time, of all answers: so that two quantiles are compared as shares."""
        n = len(self._scored)
        slow = np.bincount(self._of, self._times > ms, n).astype(np.float64)
        all_ = np.bincount(self._of, minlength=n).astype(np.float64)
        return self._together(slow, all_, self._kept & (all_ > 0))

    def timed(self) -> int:
        """How many have answers of which it is known how long they took."""
        return int((self._kept & (np.bincount(self._of, minlength=len(self._scored)) > 0)).sum())

    def _together(self, sums: Floats, sizes: Floats, kept: NDArray[np.bool_]) -> Clusters:
        which = np.unique(self._cluster[kept], return_inverse=True)[1]
        found = (np.bincount(which, one[kept]).astype(np.float64) for one in (sums, sizes))
        return Clusters(*found)


def clusters_of(metric: str, scored: Sequence[Scored]) -> Clusters:
    """By customer where the log says who, else by conversation."""
    return Side(scored).clusters(metric)


def figures_of(scored: Sequence[Scored], *, until: float | None, only: Sequence[str] = ()) -> tuple[Figure, ...]:
    """Every metric of which anything was counted, or that was asked for. until: Unix time of the log's end."""
    side = Side(scored)
    found = (
        figure_of(metric, scored, until=until, side=side)
        for name, metric in METRICS.items()
        if not only or name in only
    )
    return tuple(one for one in found if one.value is not None or one.unscored)


def figure_of(metric: Metric, scored: Sequence[Scored], *, until: float | None, side: Side | None = None) -> Figure:
    """side: the same conversations, where they are columns already."""
    unscored = Counter[str]()
    for one in scored:
        if metric.name in one.unscored:
            why, count = one.unscored[metric.name]
            unscored[why] += count
    told = tuple(unscored.most_common(3))
    if metric.kind == "quantile":
        return _quantile(metric, side or Side(scored), 0.5 if metric.name.endswith("p50") else 0.95)
    if metric.kind == "survival":
        return survival(metric.name, scored, days=7 if metric.name.endswith("7d") else 30, until=until)
    clusters = (side or Side(scored)).clusters(metric.name)
    kinds = _KINDS.get(metric.name, ())
    evidence = tuple(finding.id for one in scored if kinds for finding in one.findings if finding.kind in kinds)[
        :EVIDENCE
    ]
    if not len(clusters.sums) or clusters.n <= 0:
        return Figure(metric=metric.name, value=None, n=0, units=0, unscored=told)
    value, units = clusters.value, len(clusters.sums)
    low, high, interval = _rate(clusters) if metric.kind == "rate" else _mean(clusters)
    return Figure(
        metric=metric.name, value=value, n=round(clusters.n), units=units, low=low, high=high, interval=interval, unscored=told,
        evidence=evidence,
    )  # fmt: skip


def worth(clusters: Clusters) -> float:
    """How many independent trials the clusters of a rate are worth: no more than there are, and where all agree, their number."""
    value, n, units = clusters.value, clusters.n, len(clusters.sums)
    plain = value * (1 - value) / n
    if plain <= 0 or units < 2:
        return float(min(n, units))
    return float(min(n, max(1.0, n * plain / max(clusters.variance(value), plain))))


def _rate(clusters: Clusters) -> tuple[float, float, str]:
    effective = worth(clusters)
    value = min(max(clusters.value, 0.0), 1.0)
    found = wilson(value * effective, effective)
    alone = abs(effective - clusters.n) < 0.5
    return found.low, found.high, "Wilson" if alone else f"Wilson, worth {effective:,.0f} independent"


def _mean(clusters: Clusters) -> tuple[float | None, float | None, str]:
    units = len(clusters.sums)
    if units < 2:
        return None, None, "none, of one"
    whole = clusters.sizes == np.floor(clusters.sizes)
    if units <= MOST_DRAWN and whole.all() and (clusters.sizes > 0).all():
        means = clusters.sums / clusters.sizes
        values = np.repeat(means, clusters.sizes.astype(int))
        labels = np.repeat(np.arange(units), clusters.sizes.astype(int)).tolist()
        if np.ptp(means) > 0 and len(values) <= 20 * MOST_DRAWN:
            found = bootstrap(values, clusters=labels, draws=DRAWS)
            return found.low, found.high, "bootstrap over customers or conversations (BCa)"
    if (clusters.sizes > 0).all() and (clusters.sizes == 1).all():
        plain = mean_interval(clusters.sums)
        return plain.low, plain.high, "Student's t"
    half = t_quantile(0.975, units - 1) * math.sqrt(clusters.variance(clusters.value))
    return clusters.value - half, clusters.value + half, "Student's t, by clusters"


def _quantile(metric: Metric, side: Side, share: float) -> Figure:
    times = np.sort(side.times_ms)
    if not len(times):
        return Figure(metric=metric.name, value=None, n=0, units=0)
    value = float(np.quantile(times, share))
    slower = side.slower(value)
    effective = worth(slower) if len(slower.sums) > 1 else 1.0
    half = 1.96 * math.sqrt(share * (1 - share) / max(effective, 1.0))
    low, high = np.quantile(times, [max(0.0, share - half), min(1.0, share + half)])
    enough = effective * min(share, 1 - share) >= 5
    return Figure(
        metric=metric.name, value=value, n=len(times), units=len(slower.sums), low=float(low), high=float(high) if enough else None,
        interval="order statistics" if enough else "order statistics; too few for the upper end",
    )  # fmt: skip
