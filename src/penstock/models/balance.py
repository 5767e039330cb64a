"""Which of several models a request tries first, second and so on: as listed, by weight, or by what was seen of each."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from penstock.models.estimate import estimated_input
from penstock.models.prices import Known
from penstock.models.watch import Watch
from penstock.types import Dialect, Model, ModelRequest, Usage

__all__ = [
    "Candidate",
    "Choose",
    "Order",
    "Weighted",
    "as_listed",
    "cheapest",
    "choosing",
    "fastest",
    "least_busy",
    "wanted_output",
]

TYPICAL_OUTPUT = 500  # tokens, of a request that does not say how many it wants at most
READ: frozenset[Dialect] = frozenset({"chat", "completions", "responses", "messages", "embeddings"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model that a route may choose, and what is known and was seen of it."""

    name: str
    model: Model
    watch: Watch
    known: Known = Known(None)


Order = Callable[[Sequence[Candidate], ModelRequest], Sequence[Candidate]]
Choose = Callable[[ModelRequest], Sequence[Candidate]]  # best first, never empty


def choosing(candidates: Sequence[Candidate], order: Order) -> Choose:
    """Choose among these: those whose context can hold the request, in an order, and last those that rest.

    Where none can hold it, the one with the largest context says so itself: our count of tokens is an estimate.
    """
    contexts = [candidate.known.context_tokens for candidate in candidates]
    smallest = min((context for context in contexts if context), default=0)

    def choose(request: ModelRequest) -> Sequence[Candidate]:
        able: Sequence[Candidate] = candidates
        if smallest and request.dialect in READ:
            size = estimated_input(request) + wanted_output(request)
            if size > smallest:
                able = [candidate for candidate in candidates if _context(candidate) >= size]
                able = able or [max(candidates, key=_context)]
        ordered = order(able, request)
        if any(not candidate.watch.breaker.closed for candidate in ordered):
            return sorted(ordered, key=lambda candidate: candidate.watch.breaker.resting)
        return ordered

    return choose


def as_listed(candidates: Sequence[Candidate], request: ModelRequest) -> Sequence[Candidate]:
    return candidates


def least_busy(candidates: Sequence[Candidate], request: ModelRequest) -> Sequence[Candidate]:
    """Fewest calls first, those that wait for their turn included; equals in any order."""
    return sorted(candidates, key=lambda one: (one.watch.running + one.watch.waiting, random.random()))  # noqa: S311


def fastest(candidates: Sequence[Candidate], request: ModelRequest) -> Sequence[Candidate]:
    """Shortest time to the first event first, failures counted in. A model of which nothing is known is tried."""
    return sorted(candidates, key=lambda one: one.watch.expected_s(streamed=request.stream))


def cheapest(candidates: Sequence[Candidate], request: ModelRequest) -> Sequence[Candidate]:
    """Lowest price for a request of this size first; last those of which nobody says what they cost."""
    usage = Usage(estimated_input(request), wanted_output(request) or TYPICAL_OUTPUT)
    return sorted(candidates, key=lambda one: one.known.price.of(usage) if one.known.price else math.inf)


class Weighted:
    """Shares that are kept exactly and evenly: at any moment each model has had its share, give or take a call.

    As nginx does it: everybody gains their weight, whoever has most goes first and pays for all.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        """weights: by the model's name; one that is not named has 1. With 0 a model only steps in for others."""
        self._weights = weights
        self._gained: dict[str, float] = {}

    def __call__(self, candidates: Sequence[Candidate], request: ModelRequest) -> Sequence[Candidate]:
        gained, total = self._gained, 0.0
        for candidate in candidates:
            if not candidate.watch.breaker.resting:  # who rests gains nothing, and does not come back with a rush
                weight = self._weights.get(candidate.name, 1.0)
                gained[candidate.name] = gained.get(candidate.name, 0.0) + weight
                total += weight
        ordered = sorted(
            candidates, key=lambda one: (-bool(self._weights.get(one.name, 1.0)), -gained.get(one.name, 0.0))
        )
        for candidate in ordered:
            if not candidate.watch.breaker.resting:
                gained[candidate.name] -= total
                break
        return ordered


def wanted_output(request: ModelRequest) -> int:
    """Tokens that a request wants at most; 0 where it does not say."""
    body = request.body
    said = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
    return said if isinstance(said, int) and said > 0 else 0


def _context(candidate: Candidate) -> float:
    return candidate.known.context_tokens or math.inf  # nobody says: it may well hold it
