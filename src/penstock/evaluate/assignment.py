"""Who gets what in an experiment: the same unit always the same arm, without anything being stored.

Each unit is hashed with each arm, and goes where the hash, weighed, is the best (weighted rendezvous hashing, Schindelhauer and
Schomaker 2005). When the weight of one arm grows, units move to that arm from the others, and nobody moves in any other way: who
has seen the new version keeps seeing it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import Literal, NamedTuple

from penstock.errors import BadRequest

__all__ = ["Assigned", "Experiment", "assign"]

Reason = Literal["assigned", "excluded", "holdout", "elsewhere"]


class Assigned(NamedTuple):
    """An arm, or why there is none: excluded by name, held out of all experiments of a layer, or free for another one."""

    arm: str  # "" where the unit takes no part, and gets what everybody gets
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Arms and their weights, and who takes part.

    Experiments in one layer that take different `slots` of it never share a unit; those in different layers do, independently of
    each other. The holdout of a layer is the same units for all of its experiments: they show what all of them together changed.
    """

    name: str
    arms: Mapping[str, float]  # weights, of any sum
    salt: str = ""  # the name, if it is not set; another one deals anew
    layer: str = "default"
    slots: tuple[float, float] = (0.0, 1.0)  # from and to, as a share of what the holdout leaves
    holdout: float = 0.0  # share of all units
    excluded: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        weights = list(self.arms.values())
        if not weights or not all(math.isfinite(w) and w >= 0 for w in weights) or not sum(weights):
            raise BadRequest(f"the experiment {self.name!r} needs arms with weights, one of them above 0")
        if "" in self.arms:
            raise BadRequest(f"an arm of the experiment {self.name!r} has no name")
        if not 0 <= self.slots[0] < self.slots[1] <= 1 or not 0 <= self.holdout < 1:
            raise BadRequest(f"slots and holdout of the experiment {self.name!r} are shares between 0 and 1")
        object.__setattr__(self, "arms", MappingProxyType(dict(self.arms)))


def assign(experiment: Experiment, unit: str) -> Assigned:
    """The arm of a unit. Takes some microseconds, and gives the same on every machine and in every version."""
    if unit in experiment.excluded:
        return Assigned("", "excluded")
    if experiment.holdout and _uniform("holdout", experiment.layer, unit) < experiment.holdout:
        return Assigned("", "holdout")
    start, end = experiment.slots
    if (start, end) != (0.0, 1.0) and not start <= _uniform("slot", experiment.layer, unit) < end:
        return Assigned("", "elsewhere")
    salt = experiment.salt or experiment.name
    candidates = [
        (_uniform("arm", salt, arm, unit), arm, weight) for arm, weight in experiment.arms.items() if weight > 0
    ]
    _, arm = min((-math.log(place) / weight, arm) for place, arm, weight in candidates)
    return Assigned(arm, "assigned")


def _uniform(*parts: str) -> float:
    """Between 0 and 1, never either, from the parts and their borders."""
    digest = blake2b(digest_size=8)
    for part in parts:
        text = part.encode("utf-8", "surrogatepass")
        digest.update(len(text).to_bytes(8, "big") + text)
    return (int.from_bytes(digest.digest(), "big") >> 11) / 2**53 + 2**-54
