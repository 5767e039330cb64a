"""What a scorer promises, and what it says of one answer: a value, or why there is none.

What could not be scored is a state of its own. It has no value, enters no mean, and wherever a limit is held it counts as the worst
there is.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from penstock.errors import BadRequest
from penstock.evaluate.cases import Case, Reply

__all__ = ["ABSENT", "About", "Scored", "Scorer", "no_answer", "unanswered", "unscored"]

How = Literal["scored", "unscored", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a score is. low and high: what is possible; high is inf where there is no end."""

    name: str  # as settings say it
    what: str  # one line for people
    note: str  # what it does not show, in a sentence
    needs: str  # what a case or its answer must have
    higher_is_better: bool = True
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    passes: bool = False  # whether the value is 0 or 1
    of_measured: bool = False  # a figure of the request, such as its time; also of answers that were no good

    @property
    def worst(self) -> float:
        """The value that nothing is worse than; inf for what costs without end."""
        return self.low if self.higher_is_better else self.high

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "what": self.what, "note": self.note, "needs": self.needs, "higher_is_better": self.higher_is_better,
            "low": self.low, "high": self.high if math.isfinite(self.high) else None, "unit": self.unit,
            "passes": self.passes,
        }  # fmt: skip

    @classmethod
    def read(cls, name: str, values: Mapping[str, Any]) -> About:
        """What `plain` wrote."""
        high = values.get("high")
        return cls(
            name=name, what=str(values.get("what", "")), note=str(values.get("note", "")),
            needs=str(values.get("needs", "")), higher_is_better=bool(values.get("higher_is_better", True)),
            low=float(values.get("low") or 0.0), high=math.inf if high is None else float(high),
            unit=str(values.get("unit", "")), passes=bool(values.get("passes")),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scored:
    """What one scorer says of one answer. absent: the case does not ask for this score at all."""

    value: float = 0.0
    state: How = "scored"
    why: str = ""  # it is not scored, or what is wrong, for people
    detail: Mapping[str, Any] = field(default_factory=dict)  # what went into it, as JSON

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise BadRequest("a score is a finite number", hint="what cannot be scored is `unscored`, with the reason")

    def plain(self) -> dict[str, Any]:
        """As JSON. Only what is scored has a value."""
        said: dict[str, Any] = {"value": self.value} if self.state == "scored" else {"state": self.state}
        said |= {"why": self.why} if self.why else {}
        return said | ({"detail": dict(self.detail)} if self.detail else {})

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Scored:
        """What `plain` wrote. Raises BadRequest."""
        state = values.get("state", "scored")
        value = values.get("value", 0.0)
        if (
            state not in get_args(How)
            or not isinstance(value, int | float)
            or ("value" not in values and state == "scored")
        ):
            raise BadRequest("a score has a `value`, or a `state` that says why not")
        return cls(float(value), state, str(values.get("why", "")), dict(values.get("detail") or {}))


ABSENT = Scored(state="absent")


def unscored(why: str) -> Scored:
    """No value, and the reason."""
    return Scored(state="unscored", why=why)


def no_answer(reply: Reply) -> str:
    """What became of a request without an answer."""
    return f"{reply.state}: {reply.error}" if reply.error else reply.state


def unanswered(case: Case, reply: Reply) -> Scored:
    """An answer that is none has no quality; where none is right, none is asked for."""
    if not case.answerable and reply.state in ("abstained", "refused"):
        return ABSENT
    return unscored(no_answer(reply))


class Scorer(Protocol):
    """Says how good one answer is, by one measure."""

    @property
    def about(self) -> About: ...

    def score(self, case: Case, reply: Reply) -> Scored | Awaitable[Scored]:
        """The same answer has the same score, whatever else is scored. What is awaited runs in the loop; all else in threads,
        several at a time."""
        ...
