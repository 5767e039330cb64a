"""The states of a request for an action, which may follow on which, and the states that a log of steps leads to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple, get_args

from penstock.errors import StorageError

__all__ = ["NEXT", "OVER", "STATES", "By", "State", "Step", "replay"]

State = Literal["proposed", "read_back", "confirmed", "running", "done", "refused", "failed", "expired", "withdrawn"]
By = Literal["assistant", "person", "house"]  # who asked for a step; the house: time, a crash, or an answer that came

STATES: Final[tuple[State, ...]] = get_args(State)
OVER: Final[frozenset[State]] = frozenset({"done", "refused", "failed", "expired", "withdrawn"})
NEXT: Final[Mapping[State | None, frozenset[State]]] = {
    None: frozenset({"proposed"}),
    "proposed": frozenset({"read_back", "running", "refused", "failed", "expired", "withdrawn"}),
    "read_back": frozenset({"read_back", "confirmed", "refused", "failed", "expired", "withdrawn"}),
    "confirmed": frozenset({"running", "refused", "failed"}),
    "running": frozenset({"running", "done", "refused", "failed"}),
    **dict.fromkeys(OVER, frozenset()),
}


class Step(NamedTuple):
    """One row of the log. digest: of what was asked for and read back; what a person agreed to has the one they agreed to."""

    number: int  # in the whole log, in the order in which things happened
    request: str
    step: int  # of this request, from 0 on
    state: State
    by: By
    at: float  # Unix time
    digest: str
    why: str  # of the first step whether a person has to agree, "confirm" or "free"; of others a word for the reason, or ""


def replay(steps: Iterable[Step]) -> dict[str, State]:
    """The state of each request after these steps, which come in their order.

    Raises StorageError at the first that cannot have happened: one that is missing, that follows on nothing, or an action that
    runs and was not agreed to by a person, in just this form.
    """
    last: dict[str, Step] = {}
    free: set[str] = set()
    for step in steps:
        before = last.get(step.request)
        if step.step != (before.step + 1 if before else 0):
            raise StorageError(f"step {step.number}: a step of {step.request} is missing before it")
        if step.state not in NEXT[before.state if before else None]:
            raise StorageError(f"step {step.number}: {step.state} after {before.state if before else 'nothing'}")
        if before is None and step.why == "free":
            free.add(step.request)
        if before and step.digest != before.digest:
            raise StorageError(f"step {step.number}: what was asked for has changed")
        if step.state == "confirmed" and step.by != "person":
            raise StorageError(f"step {step.number}: confirmed by the {step.by}")
        if step.state == "running" and before and before.state == "proposed" and step.request not in free:
            raise StorageError(f"step {step.number}: it runs, and nobody agreed")
        last[step.request] = step
    return {request: step.state for request, step in last.items()}
