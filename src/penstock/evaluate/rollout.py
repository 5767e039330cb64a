"""A new version, a few people first: larger shares step by step, and back to none by itself where a guardrail is hurt.

The guardrails are those of the plan, over all steps so far, each step compared within itself; their bounds hold at every look, so
that a step may be left as soon as its units have come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from penstock.errors import BadRequest
from penstock.evaluate.ab import Decision

__all__ = ["Move", "Rollout", "next_move", "weights_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The shares that a candidate gets, one after the other, and how many of its units each step waits for."""

    shares: tuple[float, ...] = (0.01, 0.05, 0.25, 0.5, 1.0)
    units_per_step: int = 500  # of the candidate
    wait_for_safe: bool = (
        False  # whether every guardrail must have been shown to stay within its margin before more is given
    )

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise BadRequest("a roll-out has shares above 0 and up to 1")
        if any(later <= earlier for earlier, later in pairwise(self.shares)):
            raise BadRequest("the shares of a roll-out grow", hint="such as .01, .05, .25, .5, 1")
        if self.units_per_step < 1:
            raise BadRequest(f"a step waits for at least one unit, not {self.units_per_step}")


class Move(NamedTuple):
    """What to do with the share of the candidate."""

    kind: Literal["hold", "advance", "roll_back", "done"]
    share: float  # from now on
    reason: str


def weights_at(share: float, *, control: str = "control", candidate: str = "candidate") -> Mapping[str, float]:
    """Weights for `Experiment`: growing shares only ever move units to the candidate."""
    return {control: 1 - share, candidate: share}


def next_move(rollout: Rollout, step: int, decision: Decision, units_in_step: int) -> Move:
    """What follows from how the experiment stands. step: counted from 0; units_in_step: of the candidate, since it began.

    Harm, a lost candidate and units that came to the wrong arms roll back at once. At a share of 1 there is no control any more, so
    nothing is compared: then it is done.
    """
    if not 0 <= step < len(rollout.shares):
        raise BadRequest(f"the roll-out has {len(rollout.shares)} steps, and no step {step}")
    share = rollout.shares[step]
    if decision.outcome in ("harm", "invalid"):
        return Move("roll_back", 0.0, decision.reason)
    if decision.winner == "control":
        return Move("roll_back", 0.0, decision.reason)
    if share == 1:
        return Move("done", 1.0, "everybody has it")
    if units_in_step < rollout.units_per_step:
        return Move("hold", share, f"{units_in_step:,} of {rollout.units_per_step:,} units have come at {share:.0%}")
    unsure = _unsure(decision) if rollout.wait_for_safe else ()
    if unsure:
        return Move("hold", share, f"{', '.join(unsure)} not yet shown to stay within the margin")
    if step == len(rollout.shares) - 1:
        return Move("done", share, f"{share:.0%} was the last step")
    larger = rollout.shares[step + 1]
    return Move("advance", larger, f"nothing got worse at {share:.0%}: on to {larger:.0%}")


def _unsure(decision: Decision) -> Sequence[str]:
    return [one.name for one in decision.guardrails if one.status != "safe"]
