"""Collections: what is in them, what could not be read, their versions, and what a version would change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from urllib.parse import quote

from penstock.assemble import House
from penstock.errors import NotFound, WorseVersion
from penstock.server.admin import collection_rows, document_row, skipped_row
from penstock.server.console.golden import standing
from penstock.server.console.view import Action, Page, View
from penstock.server.http import Request
from penstock.server.work import Stoppable

__all__ = ["ACTIONS", "PAGES"]

PATH = "/console/documents"
AT_ONCE = 100


async def _list(request: Request, house: House) -> View:
    rows = await asyncio.to_thread(collection_rows, house, request.caller) if house.has_documents else []
    return View("documents.html", {"collections": rows}, rows)


async def _one(request: Request, house: House) -> View:
    name, wanted = request.path_values["name"], request.query("find").strip()
    collection = house.collection(name, request.caller)

    def fits(*names: str) -> bool:
        return wanted.casefold() in " ".join(names).casefold()

    def found() -> View:
        skipped = [row for row in collection.skipped() if fits(row.source)]
        rows = [row for row in collection.documents(request.caller) if fits(row.source, row.title)]
        count, most = len(skipped) + len(rows), len(rows) if request.query("as") in ("json", "csv") else AT_ONCE
        shown = [*map(skipped_row, skipped), *(document_row(row) for row in rows[:most])]
        golden = standing(collection)
        versions = [asdict(row) | {"name": row.name, "golden": golden.get(row.number)} for row in collection.versions()]
        data = {
            "name": name, "find": wanted, "documents": shown, "found": count, "skipped": len(skipped),
            "versions": list(reversed(versions)),
            "places": collection.places(), "live": next((one for one in versions if one["live"]), None),
        }  # fmt: skip
        return View("collection.html", data, shown, title=name)

    return await asyncio.to_thread(found)


async def _difference(request: Request, house: House) -> View:
    """What one version says beyond another."""
    name = request.path_values["name"]
    before, after = request.query("from", "previous"), request.query("to", "live")
    collection = house.collection(name, request.caller)
    found = await asyncio.to_thread(collection.difference, before, after)
    rows = [
        {"change": change, "source": source, "text": text}
        for change, some in (("added", found.added), ("removed", found.removed))
        for source, text in some
    ]
    shown = rows if request.query("as") == "json" else rows[:AT_ONCE]
    data = {"name": name, "before": before, "after": after, "same": found.same, "found": len(rows), "changes": shown}
    return View("difference.html", data, rows, title=name)


async def _document(request: Request, house: House) -> View:
    """One document as it was read."""
    name = request.path_values["name"]
    collection = house.collection(name, request.caller)
    row, text = await asyncio.to_thread(collection.document, request.path_values["document"], request.caller)
    data = {
        "name": name, "source": row.source, "text": text, "date": row.date, "language": row.language, "added": row.added,
        "passages": row.passages, "characters": row.characters, "tags": list(row.tags), "access": list(row.access),
    }  # fmt: skip
    return View("document.html", data, title=row.title or row.source)


async def _create(request: Request, house: House, form: Mapping[str, str]) -> str:
    name = form.get("name", "").strip()
    await asyncio.to_thread(house.library.create, name)
    return f"{PATH}/{quote(name)}"


async def _sync(request: Request, house: House, form: Mapping[str, str]) -> str:
    collection = house.collection(request.path_values["name"], request.caller)
    try:
        report = await request.work.run(lambda: collection.sync(progress=Stoppable(request.work)))
        told = "synced" if report.published else "unchanged"
    except WorseVersion:
        told = "worse"
    return f"{PATH}/{quote(request.path_values['name'])}?told={told}"


async def _use(request: Request, house: House, form: Mapping[str, str]) -> str:
    collection = house.collection(request.path_values["name"], request.caller)
    await asyncio.to_thread(collection.use, request.path_values["version"])
    return f"{PATH}/{quote(request.path_values['name'])}?told=live"


async def _remove(request: Request, house: House, form: Mapping[str, str]) -> str:
    collection, source = house.collection(request.path_values["name"], request.caller), form.get("source", "")
    if not source:
        raise NotFound("the form names no document")
    await request.work.run(lambda: collection.remove(source))
    return f"{PATH}/{quote(request.path_values['name'])}?told=removed"


PAGES = [
    Page(PATH, "Documents", _list, menu=True),
    Page(f"{PATH}/{{name}}", "Collection", _one),
    Page(f"{PATH}/{{name}}/difference", "Difference", _difference),
    Page(f"{PATH}/{{name}}/documents/{{document}}", "Document", _document),
]
ACTIONS = [
    Action(PATH, _create),
    Action(f"{PATH}/{{name}}/sync", _sync),
    Action(f"{PATH}/{{name}}/versions/{{version}}/use", _use),
    Action(f"{PATH}/{{name}}/remove", _remove),
]
