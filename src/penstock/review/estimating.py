"""How often all answers are wrong, from those that people judged, with an interval that holds what it promises.

The rate is that of Horvitz and Thompson (1952), with the known sizes of the cells: each judgement stands for as many answers
as its chance says. The interval is Wilson's (1927) idea for such a sample: a rate is in it when the rate that was found is no
further away than what that rate itself would let one expect. How far that is depends on where the errors sit; each cell's share
of them is taken from what was found there, drawn towards the mean by a few judgements' worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.errors import BadRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Estimate", "Judged", "Rate", "estimate"]

DRAWN_BY = 3.0  # judgements' worth by which a cell's share is drawn towards the mean
STEPS = 60  # halvings: past what a float can tell apart
FURTHEST = 60.0  # log-odds


@dataclass(frozen=True, slots=True)
class Judged:
    """One drawn item and what a person said of it. wrong: None where nobody could say, or where it is pending."""

    probability: float
    wrong: bool | None
    stratum: str = ""
    cell: str = ""  # "": items of one stratum with the same chance are a cell, and its size is estimated
    cell_size: int = 0  # 0: not known
    pending: bool = False  # nobody has looked at it yet


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of items that are wrong, with its interval. items: how many it speaks of, as counted or estimated."""

    name: str
    judged: int
    wrong: int
    unscored: int  # looked at, and nobody could say
    pending: int  # drawn, and not looked at yet
    items: float
    rate: float
    low: float
    high: float

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name, "judged": self.judged, "wrong": self.wrong, "unscored": self.unscored,
            "pending": self.pending, "items": round(self.items, 1),
            "rate": None if math.isnan(self.rate) else round(self.rate, 6),
            "interval": [round(self.low, 6), round(self.high, 6)],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """The rate of all, and of each stratum."""

    all: Rate
    strata: tuple[Rate, ...]
    confidence: float
    worst: float  # the rate if all that nobody could judge were wrong
    covered: float  # share of the items in cells of which at least one was judged

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            **self.all.plain(), "confidence": self.confidence, "worst": round(self.worst, 6),
            "covered": round(self.covered, 6), "strata": [rate.plain() for rate in self.strata],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Cells:
    """What was found in each cell, as arrays of one length."""

    sizes: Floats  # items
    rates: Floats  # share that is wrong
    counts: Floats  # judgements, as many as equal ones would be worth
    fractions: Floats  # of the items that were judged
    uncertain: Floats  # 1 where the size itself is estimated

    @property
    def weights(self) -> Floats:
        shares: Floats = self.sizes / self.sizes.sum()
        return shares


def estimate(rows: Sequence[Judged], *, confidence: float = 0.95) -> Estimate:
    """The rate of wrong items, with its interval, of all and by stratum. What nobody could judge counts as neither, and is shown.

    Raises BadRequest where nothing was judged, or a probability is not in (0, 1].
    """
    if not 0.5 <= confidence < 1:
        raise BadRequest(f"an interval of {confidence:g} is none", hint="from 0.5 to below 1, such as 0.95")
    for place, row in enumerate(rows, 1):
        if not 0 < row.probability <= 1:
            raise BadRequest(f"row {place} has the probability {row.probability}", hint="above 0, and 1 at most")
    if all(row.wrong is None for row in rows):
        raise BadRequest("nothing was judged yet", hint="a row needs a verdict")
    whole, covered = _rate("all", rows, confidence)
    cells = {row.cell for row in rows}
    strata = sorted({row.stratum for row in rows})
    by_stratum = []
    for name in strata if len(strata) > 1 else ():
        part = [row for row in rows if row.stratum == name]
        mixed = {row.cell for row in part} & {row.cell for row in rows if row.stratum != name} & cells
        own = [_of_stratum(row, mixed) for row in part]
        if any(row.wrong is not None for row in own):
            by_stratum.append(_rate(name, own, confidence)[0])
        else:
            unscored, items = sum(not row.pending for row in own), sum(1 / row.probability for row in own)
            by_stratum.append(Rate(name, 0, 0, unscored, len(own) - unscored, items, math.nan, 0.0, 1.0))
    worst, _ = _cells([_as_wrong(row) for row in rows])
    return Estimate(whole, tuple(by_stratum), confidence, float(worst.weights @ worst.rates), covered)


def _of_stratum(row: Judged, mixed: set[str]) -> Judged:
    """A row of a cell that several strata share says nothing of how large its own part of it is."""
    return replace(row, cell="", cell_size=0) if row.cell in mixed else row


def _as_wrong(row: Judged) -> Judged:
    return replace(row, wrong=True) if row.wrong is None and not row.pending else row


def _rate(name: str, rows: Sequence[Judged], confidence: float) -> tuple[Rate, float]:
    cells, covered = _cells(rows)
    rate = float(cells.weights @ cells.rates)
    low, high = interval(cells, confidence)
    scored = [row for row in rows if row.wrong is not None]
    wrong = sum(bool(row.wrong) for row in scored)
    total = float(cells.sizes.sum()) / covered
    pending = sum(row.pending for row in rows)
    return Rate(name, len(scored), wrong, len(rows) - len(scored) - pending, pending, total, rate, low, high), covered


def _cells(rows: Sequence[Judged]) -> tuple[_Cells, float]:
    """The cells of which something was judged, and which share of all items is in them."""
    groups: dict[tuple[str, ...], list[Judged]] = {}
    for row in rows:
        key = ("cell", row.cell) if row.cell else ("stratum", row.stratum, f"{row.probability:.3g}")
        groups.setdefault(key, []).append(row)
    found: list[tuple[float, float, float, float, float]] = []
    missed = 0.0
    for group in groups.values():
        estimated = sum(1 / row.probability for row in group)
        size = float(max((row.cell_size for row in group), default=0))
        known = size >= len(group)
        size = size if known else estimated
        scored = [row for row in group if row.wrong is not None]
        if not scored:
            missed += size
            continue
        weights = [1 / row.probability for row in scored]
        total = sum(weights)
        share = sum(w for w, row in zip(weights, scored, strict=True) if row.wrong) / total
        worth = total**2 / sum(w * w for w in weights)
        found.append((size, share, worth, min(1.0, len(scored) / size), 0.0 if known else 1.0))
    columns = np.array(found, dtype=np.float64).T
    cells = _Cells(*columns)
    sizes = float(cells.sizes.sum())
    return cells, sizes / (sizes + missed)


def interval(cells: _Cells, confidence: float) -> tuple[float, float]:
    """From where to where the rate of all may lie."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    weights = cells.weights
    rate = float(weights @ cells.rates)
    counts = float(cells.counts.sum())
    mean = (rate * counts + 0.5) / (counts + 1)
    drawn = (cells.rates * cells.counts + DRAWN_BY * mean) / (cells.counts + DRAWN_BY)
    odds = np.log(drawn / (1 - drawn))
    spread = weights**2 * (1 - cells.fractions) / cells.counts

    def beyond(shift: float, side: int) -> float:
        """Above 0 where the rate that this shift of all cells stands for is too far from the one that was found."""
        shares = 1 / (1 + np.exp(-np.clip(odds + shift, -FURTHEST, FURTHEST)))
        supposed = float(weights @ shares)
        variance = spread * (shares * (1 - shares) + cells.uncertain * (shares - supposed) ** 2)
        return side * (supposed - rate) - z * math.sqrt(float(variance.sum()))

    low = (
        0.0
        if rate <= 0
        else _crossing(lambda shift: beyond(-shift, -1), lambda shift: _supposed(odds, weights, -shift))
    )
    high = (
        1.0 if rate >= 1 else _crossing(lambda shift: beyond(shift, 1), lambda shift: _supposed(odds, weights, shift))
    )
    seen, total = float(cells.fractions @ (weights * cells.rates)), float(cells.fractions @ weights)
    return max(low, seen) if rate > 0 else 0.0, min(high, seen + 1 - total)


def _supposed(odds: Floats, weights: Floats, shift: float) -> float:
    return float(weights @ (1 / (1 + np.exp(-np.clip(odds + shift, -FURTHEST, FURTHEST)))))


def _crossing(beyond: Callable[[float], float], supposed: Callable[[float], float]) -> float:
    """The rate at which `beyond` becomes positive, between the shifts at which it surely is not and surely is."""
    inside, outside = -FURTHEST, FURTHEST
    for _ in range(STEPS):
        middle = (inside + outside) / 2
        if beyond(middle) > 0:
            outside = middle
        else:
            inside = middle
    return supposed(inside)
