"""Finding out who somebody is: what a bot asks before it does what is for people who are known."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from penstock.agents.actions import Level, Person
from penstock.agents.talks import Talk

__all__ = ["SignIn", "Step"]


class Step(NamedTuple):
    """What comes of one message of somebody who signs in."""

    text: str  # the next question, or what is said now
    person: Person | None = None  # who it is, once that is known
    quick_replies: tuple[str, ...] = ()
    over: bool = False  # there are no more tries
    heard: bool = True  # whether what was said answers what was asked


class SignIn(Protocol):
    """Asks somebody who they are, message by message. Its own notes stand in `talk.state["sign_in"]`, plain JSON."""

    def begin(self, talk: Talk, level: Level, said: str) -> Step:
        """The first question. level: how well it has to be known. said: the message that led here, which may answer it already."""
        ...

    def go_on(self, talk: Talk, said: str) -> Step:
        """What comes of an answer. Whoever says something else is asked again: `heard` is false then, and `text` is the question."""
        ...
