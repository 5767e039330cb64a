"""Batches of requests: how far they are, and ending one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from penstock.assemble import House
from penstock.config import iso
from penstock.errors import NotFound
from penstock.jobs.batches import ENDED, Batch
from penstock.server.console.view import Action, Page, View
from penstock.server.http import Request

__all__ = ["ACTIONS", "PAGES"]

PATH = "/console/jobs"
AT_ONCE = 100


async def _list(request: Request, house: House) -> View:
    found = await asyncio.to_thread(house.batches.latest, limit=AT_ONCE)
    rows = [_row(batch) for batch in found]
    return View("jobs.html", {"batches": rows}, rows)


def _row(batch: Batch) -> dict[str, object]:
    return {
        "id": batch.id, "key": batch.owner, "endpoint": batch.endpoint, "status": batch.status, "total": batch.total,
        "completed": batch.completed, "failed": batch.failed, "created": iso(batch.created), "expires": iso(batch.expires),
        "problems": [problem.message for problem in batch.problems], "ended": batch.status in ENDED,
    }  # fmt: skip


async def _cancel(request: Request, house: House, form: Mapping[str, str]) -> str:
    number = request.path_values["batch"]

    def cancelled() -> None:
        batch = house.batches.find(number)
        if batch is None:
            raise NotFound(f"there is no batch '{number[:80]}'")
        house.batches.cancel(number, batch.owner)

    await asyncio.to_thread(cancelled)
    return f"{PATH}?told=cancelling"


PAGES = [Page(PATH, "Jobs", _list, menu=True)]
ACTIONS = [Action(f"{PATH}/{{batch}}/cancel", _cancel)]
