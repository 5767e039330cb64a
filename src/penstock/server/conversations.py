"""The conversations of the chat page over HTTP, as JSON. Whoever asks reaches their own alone, and those shared by a link."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.assemble import House
from penstock.config import iso
from penstock.conversations import Conversations, Turn
from penstock.errors import BadRequest, NotAllowed, NotFound
from penstock.server.http import Request, Response, json_response

__all__ = ["add", "begin", "change", "conversation", "conversations", "remove", "rename", "share", "shared", "unshare"]

AT_ONCE, MOST_AT_ONCE = 50, 500


def _kept(house: House) -> Conversations:
    """Where they are. Raises NotFound where none are kept."""
    if not house.settings.chat.history:
        raise NotFound("this server keeps no conversations", hint="chat.history = true")
    return house.conversations


async def conversations(request: Request, house: House) -> Response:
    """Your conversations, the latest first: `?find=` words in them, `?limit=`, `?after=` the id of the last one that you have.

    `kept`: whether this server keeps any; `share`: whether they can be shared.
    """
    chat = house.settings.chat
    told: dict[str, Any] = {"kept": chat.history, "share": chat.history and bool(chat.share)}
    if not chat.history:
        return json_response(told | {"conversations": [], "more": False})
    limit = request.query("limit", str(AT_ONCE))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:7]) <= MOST_AT_ONCE:
        raise BadRequest(f"'limit' must be a whole number from 1 to {MOST_AT_ONCE}")
    words, after = request.query("find")[:1_000], request.query("after")
    found, more = await asyncio.to_thread(
        lambda: house.conversations.find(request.caller, words, limit=int(limit[:7]), after=after)
    )
    return json_response(told | {"conversations": [one.plain() for one in found], "more": more})


async def begin(request: Request, house: House) -> Response:
    """Keep a conversation: `{"asked": NAME, "turns": [{"question": …, "answer": …, "request": …}]}`, and as you like `title`.

    NAME is the app or collection; `answer` is what a chat completion has in `penstock`, `request` its `x-request-id`.
    """
    body = await request.json()
    asked, title, turns = body.get("asked"), body.get("title") or "", body.get("turns")
    if not isinstance(asked, str) or not 1 <= len(asked) <= 256:
        raise BadRequest("'asked' must name an app or a collection")
    if not isinstance(title, str):
        raise BadRequest("'title' must be a text")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise BadRequest("'turns' must be a list of objects")
    read = [Turn.read(turn) for turn in turns]
    begun = await asyncio.to_thread(lambda: _kept(house).begin(request.caller, asked, read, title=title))
    return json_response(begun.plain(), 201)


async def conversation(request: Request, house: House) -> Response:
    """One of your conversations, with all that was said in it."""
    number = request.path_values["conversation"]
    found = await asyncio.to_thread(lambda: _kept(house).get(request.caller, number))
    return json_response(found.plain())


async def add(request: Request, house: House) -> Response:
    """Keep one more `{"question": …, "answer": …, "request": …}`."""
    turn, number = Turn.read(await request.json()), request.path_values["conversation"]
    found = await asyncio.to_thread(lambda: _kept(house).add(request.caller, number, turn))
    return json_response(found.plain(), 201)


async def change(request: Request, house: House) -> Response:
    """Keep an answer anew, by its place from 0 on: `{"answer": …}`. What a person replied may have been added to it."""
    number, place = request.path_values["conversation"], request.path_values["turn"]
    answer = Turn.read({"question": "?", "answer": (await request.json()).get("answer")}).answer
    if not place.isascii() or not place.isdigit():
        raise NotFound(f"there is no answer '{place[:20]}'")
    await asyncio.to_thread(lambda: _kept(house).change(request.caller, number, int(place[:7]), answer))
    return json_response({"changed": int(place[:7])})


async def rename(request: Request, house: House) -> Response:
    """Give it another title: `{"title": …}`."""
    title, number = (await request.json()).get("title"), request.path_values["conversation"]
    if not isinstance(title, str):
        raise BadRequest("'title' must be a text")
    found = await asyncio.to_thread(lambda: _kept(house).rename(request.caller, number, title))
    return json_response(found.plain())


async def remove(request: Request, house: House) -> Response:
    """Remove it for good, and end what was shared of it."""
    number = request.path_values["conversation"]
    await asyncio.to_thread(lambda: _kept(house).remove(request.caller, number))
    return json_response({"removed": number})


async def share(request: Request, house: House) -> Response:
    """Make a link to it as it is now, which everybody who may use this server can open. A link from before ends.

    `secret` is shown this once; `/?shared=SECRET` opens it on the chat page.
    """
    number, for_s = request.path_values["conversation"], house.settings.chat.share
    if not for_s:
        raise NotAllowed("conversations are not shared here", hint="chat.share says how long a link works")
    secret, expires = await asyncio.to_thread(lambda: _kept(house).share(request.caller, number, for_s=for_s))
    house.audit.record("conversation.shared", target=number)
    return json_response({"secret": secret, "expires": iso(expires)}, 201)


async def unshare(request: Request, house: House) -> Response:
    """End the link to it."""
    number = request.path_values["conversation"]
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
    for turn in told["turns"]:
        turn["request"] = ""  # what is said of it, and its rooms, are not the reader's
    return json_response(told | {"by": found.owner})
