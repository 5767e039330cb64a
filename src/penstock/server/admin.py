"""Collections, documents and versions over HTTP, as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from penstock.answer import LONGEST_QUESTION
from penstock.assemble import SAMPLE, House
from penstock.errors import BadRequest, NotAllowed, Unreadable
from penstock.server.http import Request, Response, Stream, conditions, json_response
from penstock.server.work import Stoppable, Work
from penstock.types import Caller

if TYPE_CHECKING:  # whoever serves no documents does not load what reads them
    from penstock.documents.catalog import DocumentRow, SkippedRow
    from penstock.documents.collection import Collection
    from penstock.documents.ingest import Report
    from penstock.documents.printed import Printed

__all__ = [
    "collection_rows", "collections", "create_collection", "delete_document", "difference", "document", "document_row",
    "documents", "metrics", "printed", "questions_of", "search", "skipped_row", "sync", "upload", "use_version", "versions",
]  # fmt: skip


QUESTIONS = (  # to try the sample with
    "How do I go back to an earlier version of the index?", "Which file formats can be read?", "Who may read a document?",
    "What is the capital of France?",
)  # fmt: skip


def _may_change(request: Request) -> None:
    if not request.caller.admin:
        raise NotAllowed(
            f"the key '{request.caller.name}' may not change documents", hint="admin = true in [keys.NAME]"
        )


async def metrics(request: Request, house: House) -> Response:
    """Numbers for Prometheus. For admins."""
    if not request.caller.admin:
        raise NotAllowed(f"the key '{request.caller.name}' may not read metrics", hint="admin = true in [keys.NAME]")
    body = await asyncio.to_thread(house.gateway.metrics.text)
    return Response(body, content_type="text/plain; version=0.0.4; charset=utf-8")


async def collections(request: Request, house: House) -> Response:
    """The collections that let the caller in, with what they may read of each, and the apps that answer from them."""
    rows = await asyncio.to_thread(collection_rows, house, request.caller)
    apps = [
        {
            "name": name,
            "documents": source,
            "questions": house.settings.apps[name].questions,
            "history": house.settings.apps[name].history,
            "bot": bool(house.settings.apps[name].bot),
        }
        for name, source in house.apps(request.caller).items()
        if name in house.settings.apps
    ]
    return json_response({"collections": rows, "apps": apps, "admin": request.caller.admin})


def collection_rows(house: House, caller: Caller) -> list[dict[str, Any]]:
    """Each collection that lets the caller in."""
    rows = []
    for name in house.collections(caller):
        collection = house.library[name]
        readable = collection.documents(caller)
        live = next((v for v in collection.versions() if v.live), None)
        rows.append(
            {
                "name": name,
                "version": live.name if live else None,
                "documents": len(readable),
                "passages": sum(row.passages for row in readable),
                "published": live.published if live else None,
                "skipped": len(collection.skipped()) if caller.admin else None,
                "questions": questions_of(collection),
            }
        )
    return rows


def questions_of(collection: Collection) -> Sequence[str]:
    """Questions that the chat page offers."""
    return collection.settings.questions or (QUESTIONS if collection.name == SAMPLE else ())


async def create_collection(request: Request, house: House) -> Response:
    """Make a collection: `{"name": …}`. One that is there already stays as it is. For admins."""
    _may_change(request)
    name = (await request.json()).get("name")
    if not isinstance(name, str):
        raise BadRequest("'name' must be a text")
    await asyncio.to_thread(house.library.create, name)
    return json_response({"name": name}, 201)


async def documents(request: Request, house: House) -> Response:
    """The documents that the caller may read, and for admins the files that could not be read, with their reasons."""
    collection = house.collection(request.path_values["name"], request.caller)

    def listed() -> dict[str, Any]:
        rows = [document_row(row) for row in collection.documents(request.caller)]
        return {"documents": rows, "skipped": [*map(skipped_row, collection.skipped())] if request.caller.admin else []}

    return json_response(await asyncio.to_thread(listed))


def document_row(row: DocumentRow) -> dict[str, Any]:
    """A document as JSON, without the paths and hashes of this machine."""
    inside = ("file", "fingerprint", "content", "ruled")
    values = {one.name: getattr(row, one.name) for one in fields(row) if one.name not in inside}
    return values | {"id": str(row.id), "state": "indexed"}


def skipped_row(row: SkippedRow) -> dict[str, Any]:
    """A file that could not be read as JSON."""
    return {"source": row.source, "reason": row.reason, "hint": row.hint, "seen": row.seen, "state": "skipped"}


async def document(request: Request, house: House) -> Response:
    """One document with its text."""
    collection = house.collection(request.path_values["name"], request.caller)
    row, text = await asyncio.to_thread(collection.document, request.path_values["document"], request.caller)
    return json_response(document_row(row) | {"text": text})


async def printed(request: Request, house: House) -> Response:
    """A page of a PDF as it is printed, as PNG: `?start=` and `?end=` are the characters of the document that are marked in it.

    The header `x-penstock-marked` says how far down the first mark is, from 0 to 1.
    """
    collection, page = house.collection(request.path_values["name"], request.caller), request.path_values["page"]
    start, end = request.query("start", "0"), request.query("end", "0")
    for name, said in (("page", page), ("start", start), ("end", end)):
        if not said.isascii() or not said.isdigit() or len(said) > 9:
            raise BadRequest(f"'{name}' must be a whole number")

    def drawn() -> Printed:
        row, text = collection.document(request.path_values["document"], request.caller)
        return house.printer.page(
            row, text, int(page), start=int(start), end=int(end), unchanged=collection.unchanged(row)
        )

    found = await asyncio.to_thread(drawn)
    marked = (("x-penstock-marked", f"{found.marked:.4f}"),) if found.marked is not None else ()
    return Response(found.png, content_type="image/png", headers=(("cache-control", "private, max-age=300"), *marked))


async def upload(request: Request, house: House) -> Response | Stream:
    """Add a file: the body is the file, `?name=` says what it is called. For admins.

    With `accept: application/x-ndjson` progress is streamed, one JSON object a line.
    """
    _may_change(request)
    name = request.query("name")
    if not name:
        raise BadRequest("the address must say ?name=FILE")
    data = await request.body()
    if not data:
        raise Unreadable(f"'{name}' is empty")
    collection = await asyncio.to_thread(house.library.create, request.path_values["name"])
    if request.headers.get("accept") == "application/x-ndjson":
        return Stream(
            _progress(collection, name, data, request.work),
            "application/x-ndjson",
            error=lambda error: _line(error.body()),
        )
    report = await request.work.run(lambda: collection.put(name, data, progress=Stoppable(request.work)))
    return json_response(report.plain(), 201 if report.published else 200)


async def _progress(collection: Collection, name: str, data: bytes, work: Work) -> AsyncIterator[bytes]:
    loop, steps = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()

    class Told(Stoppable):
        """Passes progress from the indexing thread to this response."""

        def told(self, **values: Any) -> None:
            super().told()
            loop.call_soon_threadsafe(steps.put_nowait, values)

    async def putting() -> Report:
        try:
            return await work.run(lambda: collection.put(name, data, progress=Told(work)))
        finally:
            steps.put_nowait(None)

    task = asyncio.create_task(putting())
    while (step := await steps.get()) is not None:
        yield _line(step)
    yield _line({"step": "done", **(await task).plain()})


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


async def delete_document(request: Request, house: House) -> Response:
    """Remove an upload or a place: `?source=NAME`. For admins."""
    _may_change(request)
    source = request.query("source")
    if not source:
        raise BadRequest("the address must say ?source=NAME")
    collection = house.collection(request.path_values["name"], request.caller)
    report = await request.work.run(lambda: collection.remove(source))
    return json_response(report.plain())


async def sync(request: Request, house: House) -> Response:
    """Look at every place again and publish what changed. For admins."""
    _may_change(request)
    collection = house.collection(request.path_values["name"], request.caller)
    report = await request.work.run(lambda: collection.sync(progress=Stoppable(request.work)))
    return json_response(report.plain())


async def search(request: Request, house: House) -> Response:
    """The nearest passages with their scores: `{"query": …, "k": 8, "where": {…}}`."""
    body = await request.json()
    question, k, where = body.get("query"), body.get("k", 8), conditions(body.get("where") or {}, "where")
    if not isinstance(question, str) or not question.strip():
        raise BadRequest("'query' must be a text")
    if len(question) > LONGEST_QUESTION:
        raise BadRequest(f"'query' has {len(question)} characters, the limit is {LONGEST_QUESTION}")
    if type(k) is not int or not 1 <= k <= 100:
        raise BadRequest("'k' must be a whole number from 1 to 100")
    collection = house.collection(request.path_values["name"], request.caller)
    found = await asyncio.to_thread(collection.search, question, caller=request.caller, k=k, where=where)
    return json_response(asdict(found))


async def versions(request: Request, house: House) -> Response:
    """The versions that are kept, each with what the caller may read of it."""
    seen_by = None if request.caller.admin else request.caller
    rows = await asyncio.to_thread(house.collection(request.path_values["name"], request.caller).versions, seen_by)
    return json_response({"versions": [asdict(row) | {"name": row.name} for row in rows]})


async def use_version(request: Request, house: House) -> Response:
    """Make a version live, by name; `previous` rolls back. For admins."""
    _may_change(request)
    collection = house.collection(request.path_values["name"], request.caller)
    row = await asyncio.to_thread(collection.use, request.path_values["version"])
    return json_response(asdict(row) | {"name": row.name})


async def difference(request: Request, house: House) -> Response:
    """What version `?to=live` says beyond version `?from=previous`, and the other way round. For admins."""
    _may_change(request)  # it shows passages whatever their access list
    collection = house.collection(request.path_values["name"], request.caller)
    found = await asyncio.to_thread(
        collection.difference, request.query("from", "previous"), request.query("to", "live")
    )
    return json_response(
        {
            "same": found.same,
            "added": [{"source": source, "text": text} for source, text in found.added],
            "removed": [{"source": source, "text": text} for source, text in found.removed],
        }
    )
