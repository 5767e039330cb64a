"""The conversations of the chat page over HTTP, as JSON. Whoever asks reaches their own alone, and those shared by a link."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from penstock.assemble import House
from penstock.config import iso
from penstock.conversations import Conversations, Turn, checked_id
from penstock.errors import BadRequest, NotAllowed, NotFound
from penstock.server.http import Request, Response, json_response

__all__ = ["change", "conversation", "conversations", "keep", "remove", "rename", "share", "shared", "unshare"]

AT_ONCE, MOST_AT_ONCE = 50, 500
SEARCHES = 2  # at once: they decrypt what they look through

_searching: WeakKeyDictionary[House, asyncio.Semaphore] = WeakKeyDictionary()


def _kept(house: House) -> Conversations:
    """Where they are. Raises NotFound where none are kept."""
    if not house.settings.chat.history:
        raise NotFound("this server keeps no conversations", hint="chat.history = true")
    return house.conversations


def _number(request: Request) -> str:
    """The id in the path. Raises NotFound for what can be none."""
    try:
        return checked_id(request.path_values["conversation"])
    except BadRequest as error:
        raise NotFound("there is no such conversation", hint="its id is 32 hexadecimal digits") from error


async def conversations(request: Request, house: House) -> Response:
    """Your conversations, the latest first: `?find=` words in them, `?limit=`, `?after=` what came as `after` with those before.

    `kept`: whether this server keeps any; `share`: whether they can be shared.
    """
    chat = house.settings.chat
    told: dict[str, Any] = {"kept": chat.history, "share": chat.history and bool(chat.share)}
    if not chat.history:
        return json_response(told | {"conversations": [], "after": ""})
    limit = request.query("limit", str(AT_ONCE))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:7]) <= MOST_AT_ONCE:
        raise BadRequest(f"'limit' must be a whole number from 1 to {MOST_AT_ONCE}")
    words, after = request.query("find")[:1_000], request.query("after")
    async with _searching.setdefault(house, asyncio.Semaphore(SEARCHES)):
        found = await asyncio.to_thread(
            lambda: house.conversations.find(request.caller, words, limit=int(limit[:7]), after=after)
        )
    return json_response(told | {"conversations": [one.plain() for one in found.kept], "after": found.after})


async def keep(request: Request, house: House) -> Response:
    """Keep a conversation: `{"asked": NAME, "turns": [{"id": …, "question": …, "answer": …, "request": …}]}`, and as you like
    `title`. What is there already stays, so the same can be sent again, and further turns later.

    The ids are yours: 32 hexadecimal digits at random. NAME is the app or collection; `answer` is what a chat completion has in
    `penstock`, `request` its `x-request-id`. With `"begins": false` nothing is made where there is none.
    """
    number = _number(request)
    body = await request.json()
    asked, title, turns = body.get("asked"), body.get("title") or "", body.get("turns")
    if not isinstance(asked, str) or not 1 <= len(asked) <= 256:
        raise BadRequest("'asked' must name an app or a collection")
    if asked in house.settings.apps and not house.settings.apps[asked].history:
        raise NotAllowed(f"conversations with '{asked}' are not kept", hint=f"apps.{asked}.history")
    if not isinstance(title, str):
        raise BadRequest("'title' must be a text")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise BadRequest("'turns' must be a list of objects")
    read, begins = [Turn.read(turn) for turn in turns], body.get("begins") is not False
    kept = await asyncio.to_thread(
        lambda: _kept(house).keep(request.caller, number, asked, read, title=title, begins=begins)
    )
    return json_response(kept.plain())


async def conversation(request: Request, house: House) -> Response:
    """One of your conversations, with all that was said in it."""
    number = _number(request)
    found = await asyncio.to_thread(lambda: _kept(house).get(request.caller, number))
    return json_response(found.plain())


async def change(request: Request, house: House) -> Response:
    """Keep an answer anew: `{"answer": …}`. What a person replied may have been added to it."""
    number, turn = _number(request), request.path_values["turn"]
    answer = Turn.read({"id": "0" * 32, "question": "?", "answer": (await request.json()).get("answer")}).answer
    await asyncio.to_thread(lambda: _kept(house).change(request.caller, number, turn, answer))
    return json_response({"changed": turn})


async def rename(request: Request, house: House) -> Response:
    """Give it another title: `{"title": …}`."""
    number = _number(request)
    title = (await request.json()).get("title")
    if not isinstance(title, str):
        raise BadRequest("'title' must be a text")
    found = await asyncio.to_thread(lambda: _kept(house).rename(request.caller, number, title))
    return json_response(found.plain())


async def remove(request: Request, house: House) -> Response:
    """Remove it for good, and end what was shared of it."""
    number = _number(request)
    await asyncio.to_thread(lambda: _kept(house).remove(request.caller, number))
    return json_response({"removed": number})


async def share(request: Request, house: House) -> Response:
    """Make a link to it as it is now, which everybody who may use this server can open.

    `secret` is shown this once; `/?shared=SECRET` opens it on the chat page.
    """
    number, for_s = _number(request), house.settings.chat.share
    if not for_s:
        raise NotAllowed("conversations are not shared here", hint="chat.share says how long a link works")
    made = await asyncio.to_thread(lambda: _kept(house).share(request.caller, number, for_s=for_s))
    house.audit.record("conversation.shared", target=number)
    return json_response({"secret": made.secret, "expires": iso(made.expires)}, 201)


async def unshare(request: Request, house: House) -> Response:
    """End all links to it."""
    number = _number(request)
    await asyncio.to_thread(lambda: _kept(house).unshare(request.caller, number))
    house.audit.record("conversation.unshared", target=number)
    return json_response({"unshared": number})


async def shared(request: Request, house: House) -> Response:
    """A conversation that somebody shared, as it was then, with who had it. Its secret is all that is needed, within a tenant."""
    if not house.settings.chat.share:
        raise NotFound("conversations are not shared here")
    secret = request.path_values["secret"]
    found = await asyncio.to_thread(lambda: _kept(house).shared(request.caller, secret))
    told = {name: value for name, value in found.plain().items() if name not in ("id", "changed")}
    return json_response(told | {"by": found.owner})
