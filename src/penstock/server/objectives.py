"""How it stands with the objectives, and the alerts, over HTTP as JSON. For admins."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from penstock.assemble import House
from penstock.config import moment
from penstock.errors import BadRequest, PenstockError
from penstock.observe.lookout import plain
from penstock.observe.tally import Tally
from penstock.server.http import Request, Response, json_response
from penstock.server.manage import only_admins

__all__ = ["alerts", "end_silence", "objectives", "silence", "standings"]

_tallies: WeakKeyDictionary[House, Tally] = WeakKeyDictionary()  # what was counted for the last look is counted on
_looking = threading.Lock()


async def objectives(request: Request, house: House) -> Response:
    """Each objective for each app and model: what was reached, what is left of its budget, and how fast it burns. For admins."""
    only_admins(request)
    return json_response({"objectives": await asyncio.to_thread(standings, house)})


def standings(house: House) -> list[dict[str, Any]]:
    """How it stands with each objective for each app and model, as JSON."""
    with suppress(PenstockError):  # while the database cannot be written, what it has can be read
        house.gateway.journal.drain()
    now = time.time()
    with _looking:
        tally = _tallies.get(house)
        if tally is None:
            tally = _tallies[house] = house.tally()
        tally.follow(now)
        return [
            plain(one) | {"requests": tally.samples(one.objective.name, one.subject)} for one in tally.standings(now)
        ]


async def alerts(request: Request, house: House) -> Response:
    """What is wrong now and what was, `?since=7d&limit=100`; the channels, and the silences that hold. For admins."""
    only_admins(request)
    since, limit = moment(request.query("since", "7d")), request.query("limit", "100")
    if not limit.isascii() or not limit.isdigit() or len(limit) > 6 or not 1 <= int(limit) <= 10_000:
        raise BadRequest("'limit' must be a whole number from 1 to 10000")

    def found() -> dict[str, Any]:
        now, known = time.time(), house.alerts
        return {
            "firing": [alert.plain() for alert in known.firing(now=now)],
            "past": [alert.plain() for alert in known.past(since=since, limit=int(limit), now=now)],
            "channels": known.standing(),
            "silences": [silence.plain() for silence in known.silences(now=now)],
        }

    return json_response(await asyncio.to_thread(found))


async def silence(request: Request, house: House) -> Response:
    """Tell nobody of some alerts for a while: `{"pattern": "objective/*/handbook", "for": "2h", "reason": …}`. For admins."""
    only_admins(request)
    body = await request.json()
    pattern, lasting, reason = (body.get(name, "") for name in ("pattern", "for", "reason"))
    if not all(isinstance(value, str) for value in (pattern, lasting, reason)):
        raise BadRequest("'pattern', 'for' and 'reason' must be texts")
    until = moment(lasting or "1h", ahead=True)

    def made() -> dict[str, Any]:
        return house.alerts.silence(
            pattern, until=until, now=time.time(), by=request.caller.name, reason=reason
        ).plain()  # fmt: skip

    return json_response(await asyncio.to_thread(made), 201)


async def end_silence(request: Request, house: House) -> Response:
    """End a silence before its time. For admins."""
    only_admins(request)
    number = request.path_values["silence"]
    await asyncio.to_thread(lambda: house.alerts.end_silence(number, now=time.time()))
    return json_response({"id": number, "ended": True})
