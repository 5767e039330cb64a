"""Experiments with those who call, over HTTP as JSON. For admins."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.assemble import House
from penstock.server.http import Request, Response, json_response
from penstock.server.manage import only_admins

__all__ = ["experiment", "experiments"]


async def experiments(request: Request, house: House) -> Response:
    """Each experiment as it stands: arms, units, metrics, the decision. For admins."""
    only_admins(request)

    def found() -> list[dict[str, Any]]:
        return [house.experiments.plain(one) for one in house.experiments.all()]

    return json_response({"experiments": await asyncio.to_thread(found)})


async def experiment(request: Request, house: House) -> Response:
    """One experiment as it stands, with what became of it so far. For admins."""
    only_admins(request)
    name = request.path_values["name"]

    def found() -> dict[str, Any]:
        known = house.experiments
        return known.plain(known.get(name)) | {"history": known.history(name)}

    return json_response(await asyncio.to_thread(found))
