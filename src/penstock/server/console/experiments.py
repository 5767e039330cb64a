"""Experiments with those who call: who gets what, what came of it so far, and what was decided."""

from __future__ import annotations

import asyncio

from penstock.assemble import House
from penstock.server.console.view import Page, View
from penstock.server.http import Request

__all__ = ["PAGES"]


async def _list(request: Request, house: House) -> View:
    return await asyncio.to_thread(_listed, house)


def _listed(house: House) -> View:
    known = house.experiments
    found = [known.plain(one) | {"history": known.history(one.name)} for one in known.all()]
    rows = [
        {"experiment": one["name"], "state": one["state"], "arm": name, "weight": one["weights"].get(name), **arm}
        for one in found
        for name, arm in one["arms"].items()
    ]
    return View("experiments.html", {"experiments": found}, rows)


PAGES = [Page("/console/experiments", "Experiments", _list, menu=True)]
