"""What was asked of an app that does things for people: how each request stands, by whom its steps were made, and one of them."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.agents.states import STATES
from penstock.assemble import House
from penstock.config import iso
from penstock.errors import BadRequest, NotFound
from penstock.server.console.view import Page, View
from penstock.server.http import Request

__all__ = ["PAGES"]

PATH = "/console/apps/{app}/actions"
AT_ONCE = 50
MOST = 10_000  # as data


async def _list(request: Request, house: House) -> View:
    """The requests of an app, with nobody's words in them."""
    app, state = _app(request, house), request.query("state").strip()
    after = request.query("after").strip()
    if state and state not in STATES:
        raise BadRequest(f"'{state[:40]}' is no state", hint=", ".join(STATES))
    if after and not (after.isascii() and after.isdigit() and len(after) < 16):
        raise BadRequest("'after' must be the number of the last one")
    most = MOST if request.query("as") in ("json", "csv") else AT_ONCE

    def found() -> View:
        latest = house.requests_of(app).latest(
            limit=most + 1, before=int(after or 0), state=state, tenant=_tenant(request)
        )
        rows = [one.plain() for one in latest[:most]]
        more = latest[most - 1].number if len(latest) > most else 0
        data = {"app": app, "requests": rows, "state_wanted": state, "states": list(STATES), "more": more}
        return View("actions.html", data, rows, title=app)

    return await asyncio.to_thread(found)


async def _one(request: Request, house: House) -> View:
    """One request, with its steps and its words. That they were read is written down."""
    app, number = _app(request, house), request.path_values["id"]

    def found() -> View:
        requests = house.requests_of(app)
        held, tenant = requests.held(number), _tenant(request)
        if tenant is not None and held.person.tenant != tenant:
            raise NotFound("there is no such request")
        steps = [
            {"step": one.step, "state": one.state, "by": one.by, "at": iso(one.at), "why": one.why}
            for one in requests.steps(held.request.id)
        ]
        house.audit.write("journal.read", target=held.request.id)
        asked: dict[str, Any] = held.request.plain() | {
            "effect": held.request.effect, "person": held.person.id, "level": held.person.level, "conversation": held.conversation,
        }  # fmt: skip
        return View("action.html", {"app": app, "request": asked, "steps": steps}, steps, title=held.request.action)

    return await asyncio.to_thread(found)


def _app(request: Request, house: House) -> str:
    app = request.path_values["app"]
    if app not in house.bots:
        raise NotFound(
            f"there is no app '{app[:80]}' that does anything", hint=f"known: {', '.join(house.bots) or 'none yet'}"
        )
    return app


def _tenant(request: Request) -> str | None:
    """Whoever belongs to a tenant sees what its people asked for; everybody else sees all."""
    return request.caller.tenant or None


PAGES = [
    Page(PATH, "Actions", _list),
    Page(f"{PATH}/{{id}}", "Action", _one),
]
