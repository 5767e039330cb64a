"""Which of many answers people should look at, so that a few judgements say how often all of them are wrong.

Every item has a known chance to be drawn, and it is written down with the item. Each stratum is cut into bands of like risk;
the bands where more can go wrong get more of the budget (Neyman 1934, with risks that are trusted in part), and within a band
every item has the same chance. So risky answers are seen more often, and the estimate is still unbiased: nothing depends on
the risks being right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from penstock.errors import BadRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Cell", "Drawn", "Item", "Plan", "draw", "plan"]

TRUST = 0.7  # in a risk, against the mean risk of all: so one that says nothing costs little
LEAST_SHARE = 1 / 3  # of the mean chance that every item has, so that no judgement weighs more than three
PER_BAND = 10  # judgements that a further band should get
MOST_BANDS = 6
FEWEST = 2  # judgements of a cell: of one alone nobody can say how sure it is
OTHERS = "(small strata)"  # which are drawn together
MOST_ITEMS = 5_000_000


@dataclass(frozen=True, slots=True)
class Item:
    """Something that may be reviewed. risk: 0 to 1, how likely it is wrong, as far as anybody can tell beforehand."""

    id: str
    stratum: str = ""
    risk: float = 0.5


@dataclass(frozen=True, slots=True)
class Cell:
    """Items of which every one has the same chance: a band of risk within a stratum."""

    name: str
    members: tuple[int, ...]  # places in the list of items
    take: int

    @property
    def probability(self) -> float:
        return self.take / len(self.members)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a budget is spread over all items. It depends on nothing that is drawn."""

    cells: tuple[Cell, ...]

    @property
    def take(self) -> int:
        return sum(cell.take for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One item of a sample, with what the estimate needs to know of how it came into it."""

    item: Item
    probability: float
    cell: str
    cell_size: int  # items in the cell, drawn or not


def plan(items: Sequence[Item], n: int) -> Plan:
    """Spread n judgements over the items. Raises BadRequest for no items, no budget, or a risk that is none.

    Strata that would get fewer than two judgements are drawn together; what is drawn of them still says which it is from.
    """
    _check(items, n)
    risks = np.array([item.risk for item in items], dtype=np.float64)
    sizes = _sizes(risks)
    strata = _strata(items, sizes, n)
    share = n / sizes.sum()
    groups: list[tuple[str, NDArray[np.int64]]] = []
    for name, places in strata.items():
        members = np.array(places)
        bands = _bands(risks[members], sizes[members], expected=float(sizes[members].sum() * share))
        groups += [(f"{name}/{number + 1}", members[bands == number]) for number in range(int(bands.max()) + 1)]
    takes = _allocated([len(members) for _, members in groups], [float(sizes[m].sum()) for _, m in groups], n)
    cells = (Cell(name, tuple(members.tolist()), take) for (name, members), take in zip(groups, takes, strict=True))
    return Plan(tuple(cells))


def draw(items: Sequence[Item], planned: Plan, *, seed: int) -> list[Drawn]:
    """Draw by a plan, in an order that is random too, so that whoever stops early has a sample all the same.

    The same seed gives the same sample with the same version of numpy.
    """
    chance = np.random.Generator(np.random.PCG64(seed))
    drawn = [
        Drawn(items[place], cell.probability, cell.name, len(cell.members))
        for cell in planned.cells
        for place in _some(chance, cell)
    ]
    return [drawn[place] for place in chance.permutation(len(drawn))]


def _some(chance: np.random.Generator, cell: Cell) -> list[int]:
    picked = chance.choice(len(cell.members), size=cell.take, replace=False, shuffle=False)
    return [cell.members[place] for place in sorted(picked.tolist())]


def _check(items: Sequence[Item], n: int) -> None:
    if not items:
        raise BadRequest("there is nothing to draw from")
    if len(items) > MOST_ITEMS:
        raise BadRequest(f"there are more than {MOST_ITEMS:,} items", hint="draw from a part of them")
    if n < 1:
        raise BadRequest(f"a sample of {n} is none", hint="draw at least 1")
    for place, item in enumerate(items, 1):
        if not 0 <= item.risk <= 1:  # NaN is neither
            raise BadRequest(f"item {place} ('{item.id[:40]}') has the risk {item.risk}", hint="from 0 to 1")


def _sizes(risks: Floats) -> Floats:
    """How much of the budget each item calls for: the spread of what may be found, around the mean of all."""
    mean = float(risks.mean())
    risky = TRUST * risks + (1 - TRUST) * mean
    spread = np.sqrt(risky * (1 - mean) ** 2 + (1 - risky) * mean**2)
    floor = LEAST_SHARE * float(spread.mean())
    return np.maximum(spread, floor) if floor > 0 else np.ones_like(risks)


def _strata(items: Sequence[Item], sizes: Floats, n: int) -> dict[str, list[int]]:
    """Places of the items by stratum, those together that are too small to be drawn by themselves."""
    found: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        found.setdefault(item.stratum, []).append(place)
    share = n / float(sizes.sum())
    small = [name for name, places in found.items() if sizes[places].sum() * share < FEWEST]
    if len(small) > 1:
        together = [place for name in small for place in found.pop(name)]
        found[f"{OTHERS}'" if OTHERS in found else OTHERS] = together
    return found


def _bands(risks: Floats, sizes: Floats, *, expected: float) -> NDArray[np.int64]:
    """The band of each item, 0 the least risky. Cut where each band calls for as much of the budget; ties stay together."""
    wanted = max(1, min(MOST_BANDS, int(expected / PER_BAND)))
    order = np.argsort(risks, kind="stable")
    before = np.cumsum(sizes[order]) - sizes[order] / 2
    bands = np.minimum((before / sizes.sum() * wanted).astype(np.int64), wanted - 1)
    ordered = risks[order]
    for place in range(1, len(order)):
        if ordered[place] == ordered[place - 1]:
            bands[place] = bands[place - 1]
    _, bands = np.unique(bands, return_inverse=True)
    found = np.empty(len(order), dtype=np.int64)
    found[order] = bands
    return found


def _allocated(counts: Sequence[int], wanted: Sequence[float], n: int) -> list[int]:
    """Whole numbers in proportion to what is wanted, two at least where there are as many, n altogether, none above its count."""
    n = min(n, sum(counts))
    least = FEWEST if sum(min(FEWEST, count) for count in counts) <= n else 1
    takes = [min(least, count) for count in counts] if len(counts) <= n else [0] * len(counts)
    while (left := n - sum(takes)) > 0:
        room = [place for place, count in enumerate(counts) if takes[place] < count]
        total = sum(wanted[place] for place in room)
        goals = {place: wanted[place] / total * n for place in room}
        short = {place: max(0.0, goal - takes[place]) for place, goal in goals.items()}
        scale = left / (sum(short.values()) or 1.0)
        parts = {place: min(counts[place] - takes[place], gap * min(1.0, scale)) for place, gap in short.items()}
        for place, part in parts.items():
            takes[place] += math.floor(part)
        if all(part < 1 for part in parts.values()):  # single ones are left: to whom most of one is owed
            for place in sorted(parts, key=lambda place: (-parts[place], place))[: n - sum(takes)]:
                takes[place] += 1
    return takes
