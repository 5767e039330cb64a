"""How sure an answer is as a whole, and what follows: it is said, said with reserve, not said, or handed over to a person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from penstock.types import Claim

__all__ = ["Decided", "Limits", "confidence", "decided"]

Decided = Literal["answer", "hedge", "abstain", "hand_over"]
DISAGREE = 0.6  # what is left of the confidence where the sources disagree


@dataclass(frozen=True, slots=True)
class Limits:
    """Below which confidence an answer is no longer said just like that. 0 turns a limit off."""

    hedge: float = 0.0
    hand_over: float = 0.0
    abstain: float = 0.0

    @property
    def hold(self) -> bool:
        """Whether all of an answer must be known before any of it may leave."""
        return self.abstain > 0 or self.hand_over > 0 or self.hedge > 0


def confidence(found: float, claims: Sequence[Claim], *, disagree: bool = False) -> float:
    """The probability that an answer is right and in its sources, 0 to 1.

    found: that the passages answer the question, as the quotes are sure of it, which takes in how far the best passage stands
    above the others and how many of the question's words it has. claims: the sentences that were said; their supports are
    averaged as logarithms, so that one bad sentence weighs.
    """
    supports = [max(claim.support, 0.01) for claim in claims if claim.label != "unscored"]
    support = math.exp(sum(map(math.log, supports)) / len(supports)) if supports else 1.0
    return round(found * support * (DISAGREE if disagree else 1.0), 4)


def decided(confidence: float, limits: Limits) -> Decided:
    """The gravest that applies."""
    if confidence < limits.abstain:
        return "abstain"
    if confidence < limits.hand_over:
        return "hand_over"
    return "hedge" if confidence < limits.hedge else "answer"
