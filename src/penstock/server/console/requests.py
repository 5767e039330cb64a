"""What was asked: a list to search, and one request as the rooms that it passed through."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.assemble import House
from penstock.config import moment
from penstock.errors import NotFound
from penstock.observe.ledger import FILTERS, plain_request
from penstock.server.console.view import Page, View
from penstock.server.http import Request
from penstock.server.manage import ledger_of

__all__ = ["PAGES"]

AT_ONCE = 50
MOST = 10_000  # as data
PATH = "/console/requests"


async def _list(request: Request, house: House) -> View:
    wanted = {name: value for name in FILTERS if (value := request.query(name).strip())}
    before, since = request.query("before").strip(), request.query("since").strip()
    until, first = (moment(said) if said else 0.0 for said in (before, since))
    guarded, most = request.query("guarded") == "1", MOST if request.query("as") in ("json", "csv") else AT_ONCE

    def found() -> tuple[list[dict[str, Any]], bool]:
        rows = ledger_of(house).requests(
            wanted, limit=most + 1, before=until, since=first, after=request.query("after"), guarded=guarded
        )
        return [_line(plain_request(row)) for row in rows[:most]], len(rows) > most

    plain, there_are_more = await asyncio.to_thread(found)
    more = plain[-1]["id"] if there_are_more else ""
    data = {
        "requests": plain, "wanted": wanted, "guarded": guarded, "since": since, "before": before, "more": more, "filters": FILTERS,
    }  # fmt: skip
    return View("requests.html", data, plain)


def _line(row: dict[str, Any]) -> dict[str, Any]:
    """What a list shows of a request: its row without the rooms."""
    answer = row["answer"] or {}
    kept = {name: value for name, value in row.items() if name not in ("spans", "calls", "answer", "guarded", "parent")}
    return kept | {
        "guarded": len(row["guarded"]), "status_of_answer": answer.get("status", ""), "support": answer.get("support"),
        "faults": answer.get("faults", []),
    }  # fmt: skip


async def _one(request: Request, house: House) -> View:
    name = request.path_values["id"]

    def found() -> list[dict[str, Any]]:
        ledger_of(house)  # with what has ended by now
        rows = house.review.requests.past.find(name)
        if not rows:
            raise NotFound(
                f"there is no request '{name[:80]}'", hint="a request is here about a second after it has ended"
            )
        told = [plain_request(row) for row in rows]
        for one, row in zip(told, rows, strict=True):
            one["words"] = house.texts.read(row.said) if row.said else {}
            one["feedback"] = [opinion.plain() for opinion in house.review.feedback.of([row.id]).get(row.id, ())]
        if any(one["words"] for one in told):
            house.audit.write("journal.read", target=name)
        return told

    told = await asyncio.to_thread(found)
    rows = [{"request": one["id"], **span} for one in told for span in one["spans"]]
    return View("request.html", {"requests": told}, rows, title=name)


PAGES = [
    Page(PATH, "Requests", _list, menu=True),
    Page(f"{PATH}/{{id}}", "Request", _one),
]
