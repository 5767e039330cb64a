"""Who asks for the actions of an app, and for which person: the front doors to the machine share this.

A key stands for the program that holds it, not for a customer. So whoever comes with one reaches the conversations that it began,
with the person who signed in there; and asks as a guest elsewhere. A key whose role is in the app's `act_as` is believed when it
names a person: it belongs to a program that has logged them in itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from penstock.agents.actions import LEVELS, Actions, Level, Person
from penstock.agents.kept_talks import Whose
from penstock.agents.requests import ActionRequests
from penstock.assemble import House
from penstock.errors import BadRequest, NotAllowed, NotFound
from penstock.keys import allowed
from penstock.server.http import Request
from penstock.types import Caller

__all__ = ["LEVEL", "PERSON", "Acting", "acting", "for_client", "in_conversation", "of_request"]

PERSON, LEVEL = "x-penstock-person", "x-penstock-level"  # headers of keys that may act for people
LONGEST_NAME: Final = 200
_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Acting:
    """The actions of one app, for one person, in one conversation."""

    app: str
    actions: Actions
    requests: ActionRequests
    person: Person
    conversation: str = ""  # as the machine has it; "" where only the actions are asked for


def acting(
    house: House, app: str, caller: Caller, *, person: str = "", level: str = "", trusted: bool = False
) -> Acting:  # fmt: skip
    """An app's actions for a caller, or for the person whom they name. Raises NotFound, NotAllowed and BadRequest.

    trusted: they own this machine, so that they may name anybody.
    """
    if app not in house.bots or not allowed(app, caller):
        known = ", ".join(name for name in house.bots if allowed(name, caller))
        raise NotFound(f"there is no app '{app[:80]}' that does anything", hint=f"known: {known or 'none yet'}")
    who = _named(house, app, caller, person, level, trusted=trusted)
    return Acting(app, Actions(house.bot(app).actions), house.requests_of(app), who)


def _named(house: House, app: str, caller: Caller, person: str, level: str, *, trusted: bool) -> Person:
    """The person whom a caller names, where it may; a guest where it names nobody. Raises NotAllowed and BadRequest."""
    if not person and not level:
        return Person(roles=caller.roles, tenant=caller.tenant)
    may = set(house.settings.apps[app].act_as)
    if not trusted and not may & set(caller.roles):
        raise NotAllowed(
            f"'{caller.name}' may not act for others in '{app}'",
            hint=f"apps.{app}.act_as names the roles whose keys may",
        )
    if not person or len(person) > LONGEST_NAME or not person.isprintable():
        raise BadRequest(f"'{PERSON}' must be the id of a person, up to {LONGEST_NAME} characters")
    if (level or "identified") not in LEVELS[1:]:
        raise BadRequest(f"'{LEVEL}' must be one of {', '.join(LEVELS[1:])}")
    return Person(person, _level(level), tenant=caller.tenant)


def _level(said: str) -> Level:
    return "verified" if said == "verified" else "identified"


def of_request(request: Request, house: House) -> Acting:
    """The same for a request over HTTP, which names the app in its path and may name a person in its headers."""
    headers, app = request.headers, request.path_values["app"]
    return acting(house, app, request.caller, person=headers.get(PERSON, ""), level=headers.get(LEVEL, ""))


def in_conversation(house: House, found: Acting, caller: Caller, number: str, *, visitor: str = "") -> Acting:
    """The same in a conversation. Raises NotFound for one that is not this caller's, or in which nothing was said yet.

    Whoever names a person has conversations of their own with them, which no bot answers in.
    """
    if not _ID.fullmatch(number):
        raise NotFound("there is no such conversation", hint="its id is 32 hexadecimal digits")
    if found.person.id:
        return replace(found, conversation=f"http/{caller.name}/{number}")
    kept = house.talks.find(Whose.of(caller, visitor), found.app, number)
    if not kept.turns:
        raise NotFound("there is no such conversation", hint="it begins with its first message")
    return replace(found, person=kept.person, conversation=kept.id)


def for_client(house: House, app: str, request: Request) -> Acting:
    """The same for a client of the Model Context Protocol over HTTP. All that one key does for one person is one conversation."""
    headers, caller = request.headers, request.caller
    found = acting(house, app, caller, person=headers.get(PERSON, ""), level=headers.get(LEVEL, ""))
    return replace(found, conversation=f"mcp/{caller.name}")
