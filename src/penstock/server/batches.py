"""OpenAI's wire of batches, and how a line of one is asked: by the route that a client would have called."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from penstock.assemble import House
from penstock.errors import BadRequest
from penstock.jobs.batches import Batch
from penstock.jobs.runner import Runner
from penstock.models.providers import PATHS
from penstock.models.queued import BATCH
from penstock.server.access import OWNER
from penstock.server.files import listed, page
from penstock.server.generate import NO_SPAN, generating
from penstock.server.http import Request, Response, json_response
from penstock.server.work import Work
from penstock.types import Caller, Dialect

__all__ = ["cancel", "create", "get", "list_", "runner"]

DIALECTS: tuple[Dialect, ...] = ("chat", "embeddings", "completions", "responses", "moderations")
ENDPOINTS = {f"/v1{PATHS[dialect]}": generating(dialect) for dialect in DIALECTS}
UNITS_S = {"h": 3600, "d": 86_400}
LONGEST_WINDOW_S = 30 * 86_400
MOST_METADATA = 16
TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


async def create(request: Request, house: House) -> Response:
    """Begin a batch: `input_file_id`, `endpoint`, `completion_window` (`24h`, or up to `30d`), and `metadata`."""
    body = await request.json()
    endpoint, input_id, window = body.get("endpoint"), body.get("input_file_id"), body.get("completion_window", "24h")
    if endpoint not in ENDPOINTS:
        raise BadRequest("'endpoint' cannot be asked in batches", hint=f"one of {', '.join(ENDPOINTS)}")
    if not isinstance(input_id, str):
        raise BadRequest("'input_file_id' must be the id of a file", hint="POST /v1/files with purpose=batch")
    parts = re.fullmatch(r"(\d{1,3})([hd])", window) if isinstance(window, str) else None
    window_s = int(parts[1]) * UNITS_S[parts[2]] if parts else 0
    if not 0 < window_s <= LONGEST_WINDOW_S:
        raise BadRequest("'completion_window' must be 24h, or another number of hours or days up to 30d")
    begin = partial(
        house.batches.create, request.caller.name, endpoint=endpoint, input_id=input_id, window=window,
        window_s=window_s, metadata=_metadata(body.get("metadata")), keep_s=_keep_s(body.get("output_expires_after")),
    )  # fmt: skip
    batch = await asyncio.to_thread(begin)
    return json_response(_plain(batch))


async def list_(request: Request, house: House) -> Response:
    """The caller's batches, the latest first: `?limit=`, `?after=`."""
    limit, after = page(request, usual=20, most=100)
    rows, more = await asyncio.to_thread(partial(house.batches.list, request.caller.name, after=after, limit=limit))
    return json_response(listed([_plain(batch) for batch in rows], more=more))


async def get(request: Request, house: House) -> Response:
    """How far one of the caller's batches is."""
    batch = await asyncio.to_thread(house.batches.get, request.path_values["batch"], request.caller.name)
    return json_response(_plain(batch))


async def cancel(request: Request, house: House) -> Response:
    """Ask for the end of a batch. What has come of it by then is in its files."""
    batch = await asyncio.to_thread(house.batches.cancel, request.path_values["batch"], request.caller.name)
    return json_response(_plain(batch))


def runner(house: House, work: Work) -> Runner:
    """What runs the batches of a house, in the running event loop."""

    async def ask(caller: Caller, endpoint: str, body: Mapping[str, Any], trace_id: str) -> bytes:
        data = orjson.dumps(body)
        headers = [(b"host", b"localhost"), (b"traceparent", f"00-{trace_id}-{NO_SPAN}-01".encode())]
        scope = {"method": "POST", "path": endpoint, "scheme": "http", "query_string": b"", "headers": headers}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": data}

        request = Request(scope, receive, len(data), work, caller, tags=(BATCH,))
        response = await ENDPOINTS[endpoint](request, house)
        if not isinstance(response, Response):
            raise BadRequest("a batch has no streams", hint="leave out 'stream'")
        return response.body

    def holder(name: str) -> Caller:
        return house.keys.holder(name) if house.keys.needed else OWNER

    return Runner(
        house.batches, house.files, ask, holder,
        concurrent=house.settings.batches.concurrent, lock=house.settings.home_path / "batches.lock",
    )  # fmt: skip


def _metadata(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    fits = isinstance(value, dict) and len(value) <= MOST_METADATA
    if not fits or not all(
        isinstance(said, str) and len(name) <= 64 and len(said) <= 512 for name, said in value.items()
    ):
        raise BadRequest(f"'metadata' must be an object of at most {MOST_METADATA} short texts")
    return dict(value)


def _keep_s(value: Any) -> float:
    if value is None:
        return 0.0
    seconds = value.get("seconds") if isinstance(value, dict) else None
    if type(seconds) is not int or not 3600 <= seconds <= LONGEST_WINDOW_S:
        raise BadRequest("'output_expires_after.seconds' must be from 3600 to 2592000")
    return float(seconds)


def _plain(batch: Batch) -> dict[str, Any]:
    problems = [
        {"code": one.code, "message": one.message, "line": one.line, "param": one.param} for one in batch.problems
    ]
    times = {f"{name}_at": int(batch.times[f"{name}_at"]) if f"{name}_at" in batch.times else None for name in TIMES}
    return {
        "id": batch.id, "object": "batch", "endpoint": batch.endpoint, "input_file_id": batch.input_id,
        "completion_window": batch.window, "status": batch.status, "created_at": int(batch.created),
        "expires_at": int(batch.expires), **times,
        "errors": {"object": "list", "data": problems} if problems else None,
        "output_file_id": batch.output_id or None, "error_file_id": batch.errors_id or None,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": batch.metadata or None,
    }  # fmt: skip
