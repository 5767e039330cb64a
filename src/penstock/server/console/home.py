"""The first page: how it goes today, what needs somebody, and how to ask from a program."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from penstock.assemble import SAMPLE, House
from penstock.models.limits import USD
from penstock.observe.ledger import Hour
from penstock.server.admin import questions_of
from penstock.server.console.view import Page, View
from penstock.server.http import Request
from penstock.server.manage import ledger_of

__all__ = ["PAGES", "STEPS", "address_of", "hours_of"]

DAY_H = 24
ENOUGH = 3  # of the first steps
STEPS = (
    "Ask your first question", "Add documents of your own", "See what stops a hostile text",
    "Add a model that writes answers", "Make keys for others",
)  # fmt: skip


async def _home(request: Request, house: House) -> View:
    return await asyncio.to_thread(_seen_by_admins if request.caller.admin else _seen_by_others, request, house)


def _seen_by_others(request: Request, house: House) -> View:
    caller = request.caller
    told = {"caller": caller.name, "models": house.models(caller), "collections": house.collections(caller)}
    return View("account.html", told | {"address": address_of(request)})


def _seen_by_admins(request: Request, house: House) -> View:
    now = time.time()
    hours = hours_of(ledger_of(house).by_hour(since=now - DAY_H * 3600), now)
    review, collections = house.review, house.collections(request.caller)
    data = {
        "hours": hours,
        "day": {
            **{
                name: sum(one[name] for one in hours)
                for name in ("requests", "answered", "refused", "failed", "cached")
            },
            "cost_usd": sum(one["cost_usd"] for one in hours),
        },
        "alerts": [alert.plain() for alert in house.alerts.firing(now=now)],
        "waiting": {
            "items": sum(queue["open"] + queue["disagreed"] for queue in review.queue.status()),
            "approvals": len(review.approvals.pending(limit=10_000)),
            "hand_overs": len(review.hand_overs.pending(limit=10_000)),
        },
        "steps": _steps(house, collections, asked=any(one["requests"] for one in hours)),
        "collections": collections,
        "models": sorted(house.served_models),
        "keyless": not house.keys.needed and not house.settings.login.issuer,
        "address": address_of(request),
    }
    return View("home.html", data, hours)


def _steps(house: House, collections: Sequence[str], *, asked: bool) -> list[dict[str, Any]]:
    """What somebody who has just begun does first; nothing once most of it is done."""
    first = collections[0] if collections else ""
    offered = questions_of(house.library[first]) if first else ()
    question = {"ask": first, "question": offered[0]} if offered else {"ask": first}
    places: tuple[tuple[str, bool], ...] = (
        (f"/?{urlencode(question)}" if first else "/", asked),
        ("/console/documents", any(name != SAMPLE for name in collections)),
        ("/console/guard#try", False),  # nobody writes down what is only tried
        ("/console/models", bool(house.served_models)),
        ("/console/keys", house.keys.needed or bool(house.settings.login.issuer)),
    )
    steps = [{"title": title, "to": to, "done": done} for title, (to, done) in zip(STEPS, places, strict=True)]
    return steps if sum(done for _, done in places) < ENOUGH else []


def hours_of(found: Sequence[Hour], now: float, count: int = DAY_H) -> list[dict[str, Any]]:
    """Every hour up to now, those in which nothing was asked too."""
    known = {hour.at: hour for hour in found}
    last = int(now // 3600) * 3600
    hours = (known.get(last - n * 3600, Hour(last - n * 3600, 0, 0, 0, 0, 0, 0.0, 0)) for n in reversed(range(count)))
    return [
        {name: value for name, value in hour._asdict().items() if name != "cost_pico_usd"}
        | {"cost_usd": hour.cost_pico_usd / USD}
        for hour in hours
    ]


def address_of(request: Request) -> str:
    """The server's own address, as whoever asks has it."""
    host = request.header(b"host").decode("latin-1")
    return f"{request.scope.get('scheme', 'http')}://{host}"


PAGES = [Page("/console", "Overview", _home, who="anyone", menu=True)]
