"""Intents that nobody named: first questions that are near each other, each group called by the question in its middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from penstock.support.scored import Scored

__all__ = ["with_intents"]

FEWEST = 20  # conversations with a first question, below which none are looked for
PER_GROUP = 25
MOST_GROUPS = 12
MOST_FITTED = 20_000
STEPS = 30
MERGED = 0.8  # nearness of two middles that are one group
NAMED = 48  # characters of a name
OUTSIDE = 0.25  # nearness below which a question is in no group
OTHER = "other"

Floats = NDArray[np.float32]


def with_intents(scored: Sequence[Scored]) -> list[Scored]:
    """The conversations, each with the group of its first question where the log names no intent. Their order does not matter."""
    asked = [one for one in scored if one.vector and not one.intent]
    if len(asked) < FEWEST:
        return list(scored)
    order = sorted(asked, key=lambda one: sha256(one.id.encode()).digest())[:MOST_FITTED]
    vectors = _unit(np.array([one.vector for one in order], np.float32))
    middles = _merged(_fitted(vectors, min(MOST_GROUPS, max(2, len(order) // PER_GROUP))))
    nearest = (vectors @ middles.T).argmax(1)
    names: list[str] = []
    for n in range(len(middles)):
        own = [(float(vectors[k] @ middles[n]), len(order[k].question), k) for k in np.flatnonzero(nearest == n)]
        best = max(own, key=lambda one: (round(one[0], 2), -one[1], one[2]))[2] if own else -1
        names.append(_name(order[best].question if best >= 0 else "", n, names))
    found = {}
    for start in range(0, len(asked), 4096):
        some = asked[start : start + 4096]
        near = _unit(np.array([one.vector for one in some], np.float32)) @ middles.T
        for one, row in zip(some, near, strict=True):
            found[one.id] = names[int(row.argmax())] if float(row.max()) >= OUTSIDE else OTHER
    return [_with(one, found[one.id]) if one.id in found and one.vector and not one.intent else one for one in scored]


def _with(one: Scored, intent: str) -> Scored:
    return replace(one, intent=intent, findings=tuple(replace(finding, intent=intent) for finding in one.findings))


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return unit


def _fitted(vectors: Floats, count: int) -> Floats:
    """Middles by k-means on the sphere, begun with the texts that are furthest from those taken before."""
    middles = [_unit(vectors.mean(0, keepdims=True))[0]]
    taken = [int((vectors @ middles[0]).argmax())]
    near = vectors @ vectors[taken[0]]
    while len(taken) < count:
        taken.append(int(near.argmin()))
        near = np.maximum(near, vectors @ vectors[taken[-1]])
    found: Floats = vectors[taken].copy()
    for _ in range(STEPS):
        which = (vectors @ found.T).argmax(1)
        sums = np.zeros_like(found)
        np.add.at(sums, which, vectors)
        fresh: Floats = np.where(np.linalg.norm(sums, axis=1, keepdims=True) > 0, _unit(sums), found).astype(np.float32)
        if np.allclose(fresh, found, atol=1e-5):
            break
        found = fresh
    return found


def _merged(middles: Floats) -> Floats:
    kept: list[Floats] = []
    for middle in middles:
        if not any(float(middle @ other) >= MERGED for other in kept):
            kept.append(middle)
    return np.array(kept, np.float32)


def _name(question: str, number: int, others: Sequence[str]) -> str:
    text = " ".join(question.split())
    if not text:
        return f"group {number + 1}"
    name = text if len(text) <= NAMED else f"{text[:NAMED].rsplit(' ', 1)[0]}…"
    return name if name not in others else f"{name} ({number + 1})"
