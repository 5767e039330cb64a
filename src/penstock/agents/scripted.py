"""A bot without a model: what somebody wants is told by examples, what is missing is asked for, and a change is read back first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock.agents.actions import Action
from penstock.agents.requests import Request
from penstock.agents.talks import Reply, Talk

__all__ = ["Ability", "Heard", "Scripted", "Several", "Slot", "Wanted"]


class Wanted(NamedTuple):
    """One thing that somebody wants, as far as it was understood. arguments: by name, those that are known."""

    ability: str  # the name of its action
    arguments: Mapping[str, Any]


class Heard(NamedTuple):
    """What a finder of an argument looks at."""

    text: str  # the message, or the part of it that this is about
    talk: Talk
    known: Mapping[str, Any]  # arguments that are known already
    asked: bool  # whether the person was asked for this argument, and the text is what they said to it


class Several(NamedTuple):
    """What a finder gives where more than one value fits: each with how people call it. The person is asked which."""

    values: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """How one argument of an action is learnt.

    ask: the question, with {names} of what is known. find: the value in what was said, None for none, `Several` where more than
    one fits; without, by the argument's type: a pattern, a choice, a number, an amount, a day. choices: quick replies.
    usual: a value where nothing was said, so that nobody is asked; None for none.
    """

    ask: str
    find: Callable[[Heard], Any] | None = None
    choices: Sequence[str] | Callable[[Heard], Sequence[str]] = ()
    usual: Callable[[Heard], Any] | None = None


@dataclass(frozen=True, slots=True)
class Ability:
    """An action and how people talk about it. examples: how they ask for it. says: what is told of it once it is done, as a text
    with {names} of arguments and of the result, or made of the request."""

    action: Action
    examples: Sequence[str]
    says: str | Callable[[Talk, Request], Reply]
    slots: Mapping[str, Slot] = field(default_factory=dict)
    label: str = ""  # on a button


class Scripted:
    """Satisfies `Bot`. To be written: see the brief."""
