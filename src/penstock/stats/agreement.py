"""How far people, or a judge and people, agree beyond what chance would give: Cohen's kappa and Krippendorff's alpha."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from penstock.errors import BadRequest
from penstock.stats.distributions import normal_quantile
from penstock.stats.intervals import Floats, Interval

__all__ = ["cohen_kappa", "krippendorff_alpha"]

Weights = Literal["none", "linear", "quadratic"]
Metric = Literal["nominal", "ordinal", "interval", "ratio"]


def cohen_kappa(
    first: Sequence[Any], second: Sequence[Any], *, weights: Weights = "none", order: Sequence[Any] = (),
    level: float = 0.95,
) -> Interval:  # fmt: skip
    """Of two raters over the same items (Cohen 1960), weighted for ordered labels (1968); interval by Fleiss et al. (1969).

    order: the labels from low to high, for weights; without it they are sorted. Two raters who use one and the same label
    throughout have nothing to disagree about: 1, with an interval that says that nothing is known (-1 to 1).
    """
    if len(first) != len(second) or not len(first):
        raise BadRequest(f"kappa needs two labels for each item, not {len(first)} and {len(second)} labels")
    labels = list(order) or _sorted({*first, *second})
    places = {label: n for n, label in enumerate(labels)}
    if unknown := {*first, *second} - set(places):
        raise BadRequest(f"the label {next(iter(unknown))!r} is not among those of `order`")
    k, n = len(labels), len(first)
    table = np.zeros((k, k))
    np.add.at(table, ([places[label] for label in first], [places[label] for label in second]), 1 / n)
    apart = np.abs(np.subtract.outer(np.arange(k), np.arange(k))) / max(k - 1, 1)
    credit = {"none": (apart == 0).astype(float), "linear": 1 - apart, "quadratic": 1 - apart**2}[weights]
    rows, columns = table.sum(1), table.sum(0)
    seen, by_chance = float((credit * table).sum()), float((credit * np.outer(rows, columns)).sum())
    if 1 - by_chance < 1e-12:
        return Interval(1.0, -1.0, 1.0, level)
    kappa = (seen - by_chance) / (1 - by_chance)
    expected = (credit @ columns)[:, None] + (rows @ credit)[None, :]
    spread = float((table * (credit - expected * (1 - kappa)) ** 2).sum()) - (kappa - by_chance * (1 - kappa)) ** 2
    half = normal_quantile(0.5 + level / 2) * math.sqrt(max(spread, 0.0) / n) / (1 - by_chance)
    return Interval(kappa, max(-1.0, kappa - half), min(1.0, kappa + half), level)


def krippendorff_alpha(
    ratings: Sequence[Sequence[Any]],
    *,
    metric: Metric = "nominal",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Of any number of raters, who may leave items out (Krippendorff 2018, chapter 12); interval by drawing items anew.

    ratings: one list per item, of what each rater said, None where one said nothing. `ordinal` takes labels in sorted order;
    `interval` and `ratio` take numbers. Raises BadRequest where no item has two ratings.
    """
    items = [[label for label in item if label is not None and label == label] for item in ratings]
    items = [item for item in items if len(item) > 1]
    if not items:
        raise BadRequest("alpha needs at least one item with two ratings")
    labels = _sorted({label for item in items for label in item})
    places = {label: n for n, label in enumerate(labels)}
    counts = np.zeros((len(items), len(labels)))
    for n, item in enumerate(items):
        for label in item:
            counts[n, places[label]] += 1
    totals = counts.sum(0)
    distances = _distances(metric, labels, totals)
    sizes = counts.sum(1)
    within = np.einsum("nk,kl,nl->n", counts, distances, counts) / (sizes - 1)  # disagreement within each item

    def alpha(weights: Floats) -> Floats:
        """For each row of how often each item was drawn."""
        pooled = weights @ counts
        pairs = weights @ sizes
        expected = np.einsum("bk,kl,bl->b", pooled, distances, pooled) / (pairs - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(expected > 0, 1 - (weights @ within) / expected, 1.0)

    estimate = float(alpha(np.ones((1, len(items))))[0])
    if len(items) < 2 or len(labels) < 2:
        return Interval(estimate, -1.0, 1.0, level)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(items), np.full(len(items), 1 / len(items)), draws).astype(float)
    low, high = np.quantile(alpha(drawn), [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), level)


def _distances(metric: Metric, labels: Sequence[Any], totals: Floats) -> Floats:
    """Squared distances between labels."""
    k = len(labels)
    if metric == "nominal":
        return 1.0 - np.eye(k)
    if metric == "ordinal":  # how many ratings lie between two, half of the ends counted
        middles = np.cumsum(totals) - totals / 2
        return np.square(np.subtract.outer(middles, middles))
    try:
        values = np.array([float(label) for label in labels])
    except (TypeError, ValueError) as error:
        raise BadRequest(f"the metric {metric!r} is for numbers") from error
    apart: Floats = np.subtract.outer(values, values)
    if metric == "ratio":
        both = np.add.outer(values, values)
        apart = np.divide(apart, both, out=np.zeros((k, k)), where=both != 0)
    return np.square(apart)


def _sorted(labels: set[Any]) -> list[Any]:
    try:
        return sorted(labels)
    except TypeError:  # of several types: in any order that is the same each time
        return sorted(labels, key=lambda label: (type(label).__name__, str(label)))
