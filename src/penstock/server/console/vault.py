"""What a stand-in stands for: looked up by an admin, for a reason, and written down."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from hashlib import blake2b
from itertools import takewhile
from typing import Any

import orjson

from penstock.assemble import House
from penstock.errors import BadRequest, Limited, NotFound, PenstockError
from penstock.server.console.view import Action, Page, View
from penstock.server.http import Request
from penstock.types import Caller

__all__ = ["ACTIONS", "PAGES"]

PATH = "/console/guard/vault"
A_MINUTE = 10  # look-ups of one person
SCOPES = 500  # that can be chosen from
LONGEST = 200  # characters of a stand-in, and of a reason

_looking = threading.Lock()  # so that look-ups at the same time are counted one after the other


async def _show(request: Request, house: House) -> View:
    return await asyncio.to_thread(_shown, house, request.caller)


def _scopes(house: House, caller: Caller) -> list[tuple[str, str]]:
    """(tenant, name) of those that somebody may look into: who belongs to a tenant, into its own."""
    return house.vault.latest(SCOPES, tenant=f"tenant/{caller.tenant}" if caller.tenant else "")


def _shown(house: House, caller: Caller, problem: PenstockError | None = None, **more: Any) -> View:
    scopes = [
        {"tenant": tenant, "scope": name, "code": orjson.dumps([tenant, name]).decode()}
        for tenant, name in _scopes(house, caller)
    ]
    data = {
        "scopes": scopes, "a_minute": A_MINUTE, "longest": LONGEST, "most": SCOPES,
        "chosen": "", "token": "", "reason": "", "found": None,
        "problem": {"message": problem.message, "hint": problem.hint} if problem else None, **more,
    }  # fmt: skip
    rows = [{"tenant": one["tenant"], "scope": one["scope"]} for one in scopes]
    return View("vault.html", data, rows, status=problem.status if problem else 200)


async def _look_up(request: Request, house: House, form: Mapping[str, str]) -> View:
    """The value is on the page that answers and nowhere else."""
    chosen, token, reason = (form.get(name, "").strip() for name in ("scope", "token", "reason"))

    def looked() -> View:
        try:
            value = _value(house, chosen, token=token, reason=reason, caller=request.caller)
        except PenstockError as error:
            return _shown(house, request.caller, error, chosen=chosen, token=token, reason=reason)
        return _shown(house, request.caller, chosen=chosen, token=token, reason=reason, found=value)

    return await asyncio.to_thread(looked)


def _value(house: House, chosen: str, *, token: str, reason: str, caller: Caller) -> str:
    """What a stand-in stands for. That it was asked for is written down before anybody sees it."""
    if not token or len(token) > LONGEST:
        raise BadRequest(f"a stand-in has 1 to {LONGEST} characters", hint="such as PERSON_1A")
    if len(reason) < 3 or len(reason) > LONGEST:
        raise BadRequest(
            f"a look-up needs a reason of 3 to {LONGEST} characters", hint="a ticket, a request for information"
        )
    tenant, scope = next((one for one in _scopes(house, caller) if orjson.dumps(one).decode() == chosen), ("", ""))
    if not scope:
        raise NotFound("there is no such scope", hint="choose one of those there are")
    with _looking:
        since = (time.time() - 60) * 1000
        latest = takewhile(lambda record: record.at >= since, house.audit.records(newest=True))
        if sum(record.kind == "vault.read" and record.actor == caller.name for record in latest) >= A_MINUTE:
            raise Limited(
                f"'{caller.name}' has looked up {A_MINUTE} stand-ins in the last minute", hint="wait a minute"
            )
        value = house.vault.scope(tenant, scope).value(token)
        digest = blake2b(f"{tenant}\0{scope}\0{token}".encode("utf-8", "replace"), digest_size=8).hexdigest()
        target = f"{tenant}/{scope}"
        house.audit.write("vault.read", target=target, token=digest, reason=reason, found=value is not None)
    if value is None:
        raise NotFound("the scope has no such stand-in", hint="that you asked is written down too")
    return value


PAGES = [Page(PATH, "Look up a stand-in", _show)]
ACTIONS = [Action(PATH, _look_up)]
