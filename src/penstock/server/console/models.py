"""Models: how they are, what they cost, which routes lead to them; and the same question to several of them side by side."""

from __future__ import annotations

import asyncio

from penstock.assemble import House
from penstock.server.console.view import Page, View
from penstock.server.http import Request
from penstock.server.manage import model_rows

__all__ = ["PAGES"]


async def _list(request: Request, house: House) -> View:
    found = await asyncio.to_thread(model_rows, house)
    every = [*house.collections(request.caller), *house.apps(request.caller), *(one["name"] for one in found["routes"])]
    names = list(dict.fromkeys([*(one["name"] for one in found["models"]), *every]))
    return View("models.html", found | {"names": names}, found["models"])


PAGES = [Page("/console/models", "Models", _list, menu=True)]
