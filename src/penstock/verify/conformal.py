"""Thresholds with a promise: "at most 5 % of the sentences that are let through are unsupported", and what that costs.

Sentences whose truth is known are scored; the threshold is the lowest at which the share of unsupported ones among those that
reach it stays below the limit, with one more of them counted than there are. For sentences from where these come from, the
expected share then stays below it too (Jin and Candès 2023, "Selection by prediction with conformal p-values").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from penstock.errors import BadRequest

__all__ = ["Promise", "promise"]

FEWEST = 30  # sentences below which nothing can be promised


class Promise(NamedTuple):
    """A threshold on the support of a sentence, and what it gives."""

    threshold: float  # above 1: no threshold keeps the promise
    most_unsupported: float  # that was asked for
    unsupported: float  # share among the sentences that reach it
    coverage: float  # share of all sentences that reach it
    kept: float  # share of the supported ones
    sentences: int


def promise(support: Sequence[float], supported: Sequence[bool], most_unsupported: float) -> Promise:
    """The lowest threshold at which at most this share of the sentences that reach it is unsupported.

    support: scores, 0 to 1; supported: the truth. Raises BadRequest for fewer than 30 sentences, or a share outside of 0 to 1.
    """
    if len(support) != len(supported) or len(support) < FEWEST:
        raise BadRequest(f"a promise needs at least {FEWEST} sentences whose truth is known, not {len(support)}")
    if not 0 < most_unsupported < 1:
        raise BadRequest(f"the share must be between 0 and 1, not {most_unsupported}")
    order = sorted(zip(support, supported, strict=True), key=lambda one: -one[0])
    best, wrong, reached = 0, 0, 0
    for place, (score, right) in enumerate(order, 1):
        wrong += not right
        last_of_equals = place == len(order) or order[place][0] < score
        if last_of_equals and (wrong + 1) / place <= most_unsupported:
            best, reached = place, wrong
    if not best:
        return Promise(math.inf, most_unsupported, 0.0, 0.0, 0.0, len(order))
    truly = sum(supported) or 1
    return Promise(
        order[best - 1][0], most_unsupported, reached / best, best / len(order), (best - reached) / truly, len(order)
    )
