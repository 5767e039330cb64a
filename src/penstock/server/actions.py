"""What an app can do, over HTTP: its actions, the requests for them in a conversation, and the agreement of the person.

A program that shows a button calls `read-back` and `confirm`. Neither belongs among the tools of a model: the token is for the
screen. What is asked for here is recorded as asked for by the person.
"""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.agents.actions import Action
from penstock.agents.requests import Request as Asked
from penstock.assemble import House
from penstock.config import iso
from penstock.errors import BadRequest
from penstock.server.acting import Acting, acting, in_conversation, of_request
from penstock.server.http import Request, Response, json_response

__all__ = ["actions", "confirm", "described", "for_visitor", "propose", "read_back", "requests", "withdraw"]

KEY = "idempotency-key"


async def actions(request: Request, house: House) -> Response:
    """What the caller may ask an app for, each with a JSON Schema of its arguments: `?conversation=ID` as whoever signed in there.

    A key whose role is in `apps.NAME.act_as` names a person in the headers `x-penstock-person` and `x-penstock-level` (identified
    or verified), here and below; every other key that does is refused.
    """

    def found() -> Response:
        who = of_request(request, house)
        if number := request.query("conversation"):
            who = in_conversation(house, who, request.caller, number)
        rows = [described(one) for one in who.actions.of(who.person)]
        return json_response({"app": who.app, "level": who.person.level, "actions": rows})

    return await asyncio.to_thread(found)


def described(action: Action) -> dict[str, Any]:
    """An action, for whoever may ask for it."""
    tool = action.tool()["function"]
    return {
        "name": action.name, "description": action.description, "effect": action.effect, "confirms": action.confirms,
        "level": action.level, "arguments": tool["parameters"],
    }  # fmt: skip


async def requests(request: Request, house: House) -> Response:
    """All that was asked for in a conversation, in its order, with how each stands. None has a token in it."""

    def found() -> Response:
        who = _who(request, house)
        rows = [_plain(one) for one in who.requests.of(who.person, who.conversation)]
        return json_response({"app": who.app, "requests": rows})

    return await asyncio.to_thread(found)


async def propose(request: Request, house: House) -> Response:
    """Ask for an action: `{"action": NAME, "arguments": {…}}`. What only reads is done at once (`done`, with its result); what
    needs an agreement waits (`proposed`), in place of what waited before.

    `Idempotency-Key`: the same for every try; the first result is given again. The same key for something else is a conflict.
    """
    body = await request.json()
    action, arguments = body.get("action"), body.get("arguments", {})
    key = request.headers.get(KEY, "")

    def asked() -> Response:
        who = _who(request, house)
        if not isinstance(action, str) or not action:
            raise BadRequest("'action' must name an action")
        if not isinstance(arguments, dict):
            raise BadRequest("'arguments' must be an object")
        found = who.requests.propose(who.person, who.conversation, action, arguments, key=key, by="person")
        return json_response(_plain(found), 200 if found.is_over else 202)

    return await asyncio.to_thread(asked)


async def read_back(request: Request, house: House) -> Response:
    """What the person is asked now, for their screen, and the token with which they agree. An earlier token is void."""

    def shown() -> Response:
        who, number = _who(request, house), request.path_values["request"]
        back = who.requests.read_back(who.person, who.conversation, number)
        return json_response({"request": _plain(back.request), "text": back.text, "token": back.token})

    return await asyncio.to_thread(shown)


async def confirm(request: Request, house: House) -> Response:
    """The person agrees: `{"token": …}`, as `read-back` gave it. It is done, once; with the same token the result comes again."""
    token = (await request.json()).get("token")

    def confirmed() -> Response:
        who, number = _who(request, house), request.path_values["request"]
        if not isinstance(token, str) or not token:
            raise BadRequest("'token' must be the one that came with what was read back")
        return json_response(_plain(who.requests.confirm(who.person, who.conversation, number, token)))

    return await asyncio.to_thread(confirmed)


async def withdraw(request: Request, house: House) -> Response:
    """Nothing is to come of it. What runs, or is over, cannot be taken back."""

    def withdrawn() -> Response:
        who, number = _who(request, house), request.path_values["request"]
        return json_response(_plain(who.requests.withdraw(who.person, who.conversation, number)))

    return await asyncio.to_thread(withdrawn)


def _who(request: Request, house: House) -> Acting:
    values = request.path_values
    if visitor := values.get("visitor", ""):  # of a widget, who names nobody; no route takes one from an address
        found = acting(house, values["app"], request.caller)
        return in_conversation(house, found, request.caller, values["conversation"], visitor=visitor)
    return in_conversation(house, of_request(request, house), request.caller, values["conversation"])


def for_visitor(request: Request, app: str, visitor: str) -> None:
    """From now on a request of a widget's visitor is one for its app."""
    request.path_values |= {"app": app, "visitor": visitor}


def _plain(asked: Asked) -> dict[str, Any]:
    return asked.plain() | {"effect": asked.effect, "created": iso(asked.created)}
