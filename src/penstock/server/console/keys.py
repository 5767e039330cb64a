"""Keys and what they may spend."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from penstock.assemble import House
from penstock.config import moment
from penstock.server.console.view import Action, Page, View
from penstock.server.http import Request
from penstock.server.manage import budget_rows, key_rows

__all__ = ["ACTIONS", "PAGES"]

PATH = "/console/keys"


async def _list(request: Request, house: House) -> View:
    return await asyncio.to_thread(_listed, house)


def _listed(house: House, made: Mapping[str, Any] | None = None) -> View:
    rows = key_rows(house)
    data = {"keys": rows, "budgets": budget_rows(house), "needed": house.keys.needed, "made": made}
    return View("keys.html", data, rows)


async def _create(request: Request, house: House, form: Mapping[str, str]) -> View:
    """A new key, whose secret is on the page that answers and nowhere else."""
    said = {name: form.get(name, "").strip() for name in ("name", "team", "roles", "models", "expires")}

    def create() -> View:
        made, secret = house.keys.create(
            said["name"], team=said["team"], roles=_several(said["roles"]), models=_several(said["models"]),
            admin=form.get("admin") == "1", expires=moment(said["expires"], ahead=True) if said["expires"] else 0.0,
        )  # fmt: skip
        house.gateway.budgets.use_keys(house.keys.budgets)
        return _listed(house, {"name": made.name, "secret": secret})

    return await asyncio.to_thread(create)


async def _revoke(request: Request, house: House, form: Mapping[str, str]) -> str:
    await asyncio.to_thread(house.keys.revoke, request.path_values["name"])
    return f"{PATH}?told=revoked"


def _several(said: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in said.split(","))))


PAGES = [Page(PATH, "Keys and budgets", _list, menu=True)]
ACTIONS = [Action(PATH, _create), Action(f"{PATH}/{{name}}/revoke", _revoke)]
