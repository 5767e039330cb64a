"""The wire of the models: OpenAI's and Anthropic's routes, whole and streamed. Untouched bytes are passed on as they came."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson

from penstock.assemble import House
from penstock.errors import BadRequest, NotOffered, PenstockError
from penstock.keys import allowed
from penstock.models import form
from penstock.models.estimate import estimated_input
from penstock.models.route import tags_in
from penstock.models.translate import DIALECTS, Writing
from penstock.server import openai
from penstock.server.http import Request, Response, Stream
from penstock.types import Dialect, ModelEvent, ModelRequest, Record, Wire

__all__ = ["NO_SPAN", "count_tokens", "generating", "parsed", "refusal"]

PASSED_ON = (b"anthropic-beta", b"anthropic-version", b"openai-beta", b"idempotency-key")
LONGEST_NAME = 256  # characters
MOST_ITEMS = 20_000  # messages, or texts to embed
FORMS: frozenset[Dialect] = frozenset({"transcriptions", "translations"})
TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
NO_SPAN = f"{1:016x}"  # of a batch, which has a trace, and no span that anybody was sent
Route = Callable[[Request, House], Awaitable[Response | Stream]]
ABOUT: dict[Dialect, str] = {
    "chat": "OpenAI's chat completions, of any model, route, app or collection; `stream`, tools, pictures and the rest pass.",
    "completions": "OpenAI's completions of a prompt, as it was before chat.",
    "responses": "OpenAI's responses. What keeps a conversation on the provider's side needs a provider that speaks them.",
    "messages": "Anthropic's messages, of any model, route, app or collection. Errors have Anthropic's shape.",
    "embeddings": "Vectors of texts, of a model or of the embedder in use.",
    "images": "Pictures from a text.",
    "speech": "A text, spoken: audio as it comes.",
    "transcriptions": "A recording, as a form, written down.",
    "translations": "A recording, as a form, written down in English.",
    "moderations": "What a provider finds wrong with a text.",
    "rerank": "Documents in the order in which they fit a question, as Cohere and Jina have it.",
}


def generating(dialect: Dialect) -> Route:
    """The route that takes requests in a dialect."""

    async def route(request: Request, house: House) -> Response | Stream:
        data = await request.body()
        if dialect in FORMS:  # a large one takes its time
            asked = await asyncio.to_thread(_form, dialect, data, request)
        else:
            asked = _asked(dialect, parsed(data), data, request)
        if not house.gateway.has(asked.model):
            if dialect == "chat":
                return await openai.chat(request, house, asked)
            if dialect == "embeddings":
                if not allowed(asked.model, asked.caller):
                    raise house.unknown(asked.model, asked.caller)
                with house.gateway.visit(asked):
                    return await openai.embeddings(request, house, asked.body)
            if dialect not in DIALECTS:
                raise house.unknown(asked.model, asked.caller)
            own = ("conversation", "message") if asked.model in house.bots else ()
            body = DIALECTS[dialect].to_chat({name: value for name, value in asked.body.items() if name not in own})
            answered = openai.answering(house, asked, body)
            events: AsyncGenerator[ModelEvent, None] = openai.told(answered.events)
            headers = answered.headers
        else:
            events, headers = house.gateway.stream(asked, by=house.dealt(asked)), ()
        if asked.stream:
            return Stream(_pieces(events, asked), error=_breaking_off(dialect), headers=headers)
        if dialect == "speech":
            return await _sound(events)
        return replace(await _whole(events, asked), headers=headers)

    route.__doc__ = ABOUT.get(dialect)
    return route


async def count_tokens(request: Request, house: House) -> Response:
    """How many tokens a message has: as its provider counts them, or estimated where that does not. Either costs nothing."""
    data = await request.body()
    asked = _asked("count_tokens", parsed(data), data, request)
    model = house.gateway.find(asked.model, asked.caller) if house.gateway.has(asked.model) else None
    if model is None and asked.model not in house.apps(asked.caller):
        raise house.unknown(asked.model, asked.caller)
    with house.gateway.visit(asked):
        if model is not None:
            with suppress(NotOffered):
                return await _whole(model.stream(asked), asked)
        said = {name: asked.body[name] for name in ("system", "messages", "tools") if name in asked.body}
        tokens = estimated_input(replace(asked, body=said, data=b""))
        return Response(orjson.dumps({"input_tokens": tokens}), headers=(("x-penstock-estimated", "true"),))


def refusal(path: str, error: PenstockError) -> bytes:
    """An error in the shape that the clients of a path understand."""
    if path.startswith("/v1/messages"):
        return DIALECTS["messages"].error_whole(error)
    return orjson.dumps(error.body())


def _breaking_off(dialect: Dialect) -> Callable[[PenstockError], bytes]:
    """How a stream of a dialect says that it ends before its time."""
    return DIALECTS[dialect].error_stream if dialect in DIALECTS else DIALECTS["chat"].error_stream


def parsed(data: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises BadRequest."""
    try:
        body = orjson.loads(data)
    except ValueError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from error
    if type(body) is not dict:
        raise BadRequest("the body must be a JSON object")
    return body


def _asked(dialect: Dialect, body: dict[str, Any], data: bytes, request: Request) -> ModelRequest:
    model, streamed = body.get("model"), body.get("stream") or False
    if not isinstance(model, str) or not model:
        raise BadRequest("'model' must name a model")
    if len(model) > LONGEST_NAME or not model.isprintable():
        raise BadRequest(f"'model' is no name: at most {LONGEST_NAME} printable characters")
    for name in ("messages", "input", "prompt"):
        said = body.get(name)
        if isinstance(said, list) and len(said) > MOST_ITEMS:  # a million take seconds to look through
            raise BadRequest(f"'{name}' has {len(said)} entries, the limit is {MOST_ITEMS}")
    if not isinstance(streamed, bool):
        raise BadRequest("'stream' must be true or false")
    if not isinstance(body.get("stream_options"), dict | None):
        raise BadRequest("'stream_options' must be an object")
    if dialect == "speech" and body.get("stream_format") == "sse":
        streamed = True
    person = body.get("safety_identifier") or body.get("user") or ""
    if isinstance(person, str) and len(person) > LONGEST_NAME:
        raise BadRequest(f"'user' is longer than {LONGEST_NAME} characters", hint="a name or a hash of one")
    trace_id, parent = _traced(request)
    record = Record(trace_id or request.name, person if isinstance(person, str) else "", parent=parent, id=request.name)
    headers = {name.decode(): value.decode("latin-1") for name in PASSED_ON if (value := request.header(name))}
    return ModelRequest(
        dialect=dialect, model=model, body=body, data=data, headers=headers, stream=streamed, caller=request.caller,
        tags=request.tags + tags_in(request.header(b"x-penstock-tags").decode("latin-1"), body), record=record,
    )  # fmt: skip


def _form(dialect: Dialect, data: bytes, request: Request) -> ModelRequest:
    """A request that came as a form: its plain fields are the body, and it is passed on as we have read it."""
    parts = form.read(data, request.header(b"content-type").decode("latin-1"))
    if [part.name for part in parts].count("model") != 1:
        raise BadRequest("'model' must name a model, once")
    body = form.fields(parts)
    said = body.get("stream") or "false"
    body["stream"] = said if isinstance(said, list) else {"true": True, "false": False}.get(said, said)
    data, media_type = form.write(parts)
    return replace(_asked(dialect, body, data, request), media_type=media_type)


def _traced(request: Request) -> tuple[str, str]:
    """The caller's trace and the span in it, as W3C's header has them; two empty texts where it sent none that is valid."""
    said = request.header(b"traceparent")
    found = TRACEPARENT.fullmatch(said) if said else None
    if found is None:
        return "", ""
    trace_id, parent = found[1].decode(), found[2].decode()
    return trace_id, "" if parent == NO_SPAN else parent


async def _pieces(events: AsyncGenerator[ModelEvent, None], asked: ModelRequest) -> AsyncIterator[bytes]:
    """The bytes of a stream: as they came, or written in the client's dialect where they come as values."""
    writer: Writing | None = None
    passed = False
    try:
        async for event in events:
            if type(event) is Wire:
                passed = True
                yield event.data
                continue
            if writer is None and not passed:
                writer = _writer(asked)
            if writer is not None and (data := writer.feed(event)):
                yield data
        if writer is not None and (data := writer.close()):
            yield data
    finally:
        await events.aclose()


async def _whole(events: AsyncGenerator[ModelEvent, None], asked: ModelRequest) -> Response:
    pieces: list[bytes] = []
    said: list[ModelEvent] = []
    media_type = "application/json"
    try:
        async for event in events:
            if type(event) is Wire:
                pieces.append(event.data)
                media_type = event.media_type
            else:
                said.append(event)
    finally:
        await events.aclose()
    if pieces:
        return Response(b"".join(pieces) if len(pieces) > 1 else pieces[0], 200, media_type)
    return Response(_writer(asked).whole(said))


async def _sound(events: AsyncGenerator[ModelEvent, None]) -> Stream:
    """Bytes of the kind that the first ones have, passed on as they come. An error among them breaks the connection off."""
    first = await anext(events)
    wire = first if type(first) is Wire else Wire(b"")

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield wire.data
            async for event in events:
                if type(event) is Wire:
                    yield event.data
        finally:
            await events.aclose()

    return Stream(pieces(), wire.media_type, error=_cut_off)


def _cut_off(error: PenstockError) -> bytes:
    raise error


def _writer(asked: ModelRequest) -> Writing:
    make = DIALECTS[asked.dialect].Writer
    return make(asked.model, body=asked.body, id=asked.record.trace_id, created=int(time.time()))
