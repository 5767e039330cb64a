"""The wire of the models: OpenAI's and Anthropic's routes, whole and streamed. Untouched bytes are passed on as they came."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from penstock.assemble import House
from penstock.errors import BadRequest, PenstockError
from penstock.server import openai
from penstock.server.http import Request, Response, Stream
from penstock.types import Dialect, ModelEvent, ModelRequest, Record, Wire

__all__ = ["generating", "refusal"]

PASSED_ON = (b"anthropic-beta", b"anthropic-version", b"openai-beta", b"idempotency-key")
Route = Callable[[Request, House], Awaitable[Response | Stream]]


def generating(dialect: Dialect) -> Route:
    """The route that takes requests in a dialect."""

    async def route(request: Request, house: House) -> Response | Stream:
        data = await request.body()
        asked = _asked(dialect, data, request)
        if not house.gateway.has(asked.model):
            if dialect == "chat":
                return await openai.chat(request, house, asked.body)
            if dialect == "embeddings":
                return await openai.embeddings(request, house, asked.body)
        events = house.gateway.stream(asked)
        if asked.stream:
            return Stream(_pieces(events))
        return await _whole(events, asked)

    return route


def refusal(path: str, error: PenstockError) -> bytes:
    """An error in the shape that the clients of a path understand."""
    return orjson.dumps(error.body())


def parsed(data: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises BadRequest."""
    try:
        body = orjson.loads(data)
    except ValueError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from error
    if type(body) is not dict:
        raise BadRequest("the body must be a JSON object")
    return body


def _asked(dialect: Dialect, data: bytes, request: Request) -> ModelRequest:
    body = parsed(data)
    model, streamed = body.get("model"), body.get("stream") or False
    if not isinstance(model, str) or not model:
        raise BadRequest("'model' must name a model")
    if not isinstance(streamed, bool):
        raise BadRequest("'stream' must be true or false")
    person = body.get("safety_identifier") or body.get("user") or ""
    record = Record(_trace_id(request), person if isinstance(person, str) else "")
    headers = {name.decode(): value.decode("latin-1") for name in PASSED_ON if (value := request.header(name))}
    return ModelRequest(
        dialect=dialect, model=model, body=body, data=data, headers=headers, stream=streamed, caller=request.caller,
        record=record,
    )  # fmt: skip


def _trace_id(request: Request) -> str:
    """The caller's W3C trace id, or one that begins with the time, as those of UUID version 7 do: an index likes that."""
    parent = request.header(b"traceparent")
    if len(parent) == 55 and parent[2:3] == b"-" and parent[35:36] == b"-":
        return parent[3:35].decode("latin-1")
    return f"{int(time.time() * 1000) << 80 | random.getrandbits(80):032x}"


async def _pieces(events: AsyncIterator[ModelEvent]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            if type(event) is Wire:
                yield event.data
    finally:
        await events.aclose()  # type: ignore[attr-defined]


async def _whole(events: AsyncIterator[ModelEvent], asked: ModelRequest) -> Response:
    body, media_type = b"", "application/json"
    try:
        async for event in events:
            if type(event) is Wire:
                body, media_type = body + event.data if body else event.data, event.media_type
    finally:
        await events.aclose()  # type: ignore[attr-defined]
    return Response(body, 200, media_type)
