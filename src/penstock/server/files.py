"""OpenAI's wire of files: what batches are made from, and what comes of them. A key sees its own files."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any
from urllib.parse import quote

from penstock.assemble import House
from penstock.errors import BadRequest
from penstock.jobs.files import Kept
from penstock.models import form
from penstock.server.http import Request, Response, json_response

__all__ = ["content", "create", "delete", "get", "list_", "page"]

PURPOSES = ("batch",)
MOST_LISTED = 10_000
LONGEST_NAME = 255


async def create(request: Request, house: House) -> Response:
    """Keep a file: a form with `file` and `purpose`, which is `batch`. `expires_after[seconds]` says for how long."""
    data, content_type = await request.body(), request.header(b"content-type").decode("latin-1")
    parts = await asyncio.to_thread(form.read, data, content_type)
    fields = form.fields(parts)
    file = next((part for part in parts if part.name == "file" and part.filename is not None), None)
    if file is None:
        raise BadRequest("'file' must be a file")
    if fields.get("purpose") not in PURPOSES:
        raise BadRequest("'purpose' must be batch", hint="files are kept for batches only")
    name = (file.filename or "file")[:LONGEST_NAME]
    seconds = fields.get("expires_after[seconds]", "0")
    if not isinstance(seconds, str) or not seconds.isdecimal() or len(seconds) > 9:
        raise BadRequest("'expires_after[seconds]' must be a number of seconds")
    expires = time.time() + int(seconds) if int(seconds) else 0.0
    add = partial(house.files.add, request.caller.name, name, file.data, purpose="batch", expires=expires)
    return json_response(_plain(await asyncio.to_thread(add)))


async def list_(request: Request, house: House) -> Response:
    """The caller's files, the latest first: `?purpose=`, `?limit=`, `?after=`, `?order=asc`."""
    limit, after = page(request, usual=MOST_LISTED, most=MOST_LISTED)
    newest = request.query("order", "desc") != "asc"
    list_files = partial(
        house.files.list, request.caller.name, purpose=request.query("purpose"), after=after, limit=limit, newest=newest
    )
    found = await asyncio.to_thread(list_files)
    return json_response(listed([_plain(file) for file in found.rows], more=found.more))


async def get(request: Request, house: House) -> Response:
    """One of the caller's files, without what is in it."""
    return json_response(_plain(await _found(request, house)))


async def content(request: Request, house: House) -> Response:
    """What is in it."""
    file = await _found(request, house)
    data = await asyncio.to_thread(house.files.read, file)
    disposition = f"attachment; filename*=UTF-8''{quote(file.name)}"
    return Response(data, 200, "application/octet-stream", (("content-disposition", disposition),))


async def delete(request: Request, house: House) -> Response:
    """Forget a file. One that a batch still reads stays."""
    name = request.path_values["file"]
    await asyncio.to_thread(house.files.delete, name, request.caller.name)
    return json_response({"id": name, "object": "file", "deleted": True})


def page(request: Request, *, usual: int, most: int) -> tuple[int, str]:
    """How many rows of a list are asked for, and after which one. Raises BadRequest."""
    said = request.query("limit", str(usual))
    if not said.isdecimal() or len(said) > 9 or not 1 <= int(said) <= most:
        raise BadRequest(f"'limit' must be from 1 to {most}")
    return int(said), request.query("after")


def listed(rows: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """A list as OpenAI's clients page through it."""
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    return {"object": "list", "data": rows, "first_id": first, "last_id": last, "has_more": more}


async def _found(request: Request, house: House) -> Kept:
    return await asyncio.to_thread(house.files.get, request.path_values["file"], request.caller.name)


def _plain(file: Kept) -> dict[str, Any]:
    return {
        "id": file.id, "object": "file", "bytes": file.bytes, "created_at": int(file.created), "filename": file.name,
        "purpose": file.purpose, "status": "processed", "expires_at": int(file.expires) or None,
    }  # fmt: skip
