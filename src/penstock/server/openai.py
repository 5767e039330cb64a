"""OpenAI's wire: models, chat completions (whole and streamed), embeddings. An app is a model name."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, NamedTuple
from urllib.parse import urlencode

from penstock.assemble import House
from penstock.errors import BadRequest, NotFound
from penstock.observe.faults import faults
from penstock.server.http import Request, Response, Stream, conditions, event, json_response
from penstock.trace import span
from penstock.types import (
    Answer,
    Citation,
    Event,
    Finished,
    Message,
    ModelEvent,
    ModelRequest,
    Returned,
    Status,
    Stopped,
    TextDelta,
    Turn,
)
from penstock.writing import TOOL

__all__ = ["MARK", "Answered", "answering", "chat", "embeddings", "model", "models", "told"]

MOST_TEXTS, MOST_CHARACTERS = 2048, 4_000_000
CONVERSATION = "x-penstock-conversation"
MARK = re.compile(r"\[(\d{1,3})\]")  # the number of a source, as models write it


async def models(request: Request, house: House) -> Response:
    """The models, routes, apps and collections that the caller may name, as OpenAI lists models."""
    rows = [_model(name) for name in house.models(request.caller)]
    return json_response({"object": "list", "data": rows})


async def model(request: Request, house: House) -> Response:
    """One of them, by its name, which may have slashes in it."""
    name = request.path_values["model"]
    if house.gateway.has(name):
        house.gateway.find(name, request.caller)
    elif name not in house.apps(request.caller):
        raise house.unknown(name, request.caller)
    return json_response(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(time.time()), "owned_by": "penstock"}


async def chat(request: Request, house: House, asked: ModelRequest) -> Response | Stream:
    """An answer to the last message, whole or with `"stream": true` as server-sent events, as OpenAI's chat completions.

    Citations come as `annotations` and whole in the field `penstock`. `where` limits the documents.
    """
    options = asked.body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise BadRequest("'stream_options' must be an object")
    source, events, _ = answered = answering(house, asked, asked.body)
    head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": asked.model}
    link = _Link(request, source)
    if asked.stream:
        chunks = _chunks(events, head, link, include_usage=bool(options.get("include_usage")))
        return Stream(chunks, headers=answered.headers)
    told = _Told(link)
    async for item in events:
        told.take(item)
    answer = told.answer
    message = {"role": "assistant", "content": told.text, "refusal": None, "annotations": told.annotations}
    choice = {"index": 0, "message": message, "finish_reason": _finish(answer), "logprobs": None}
    return json_response(
        {
            **head, "object": "chat.completion", "choices": [choice], "usage": _usage(answer),
            "penstock": plain(answer, link),
        },
        headers=answered.headers,
    )  # fmt: skip


def _finish(answer: Answer) -> str:
    return "content_filter" if answer.status is Status.REFUSED else "stop"


class Answered(NamedTuple):
    """source: the collection that an app answers from. conversation: that a bot's answer belongs to; "" where it is no bot's."""

    source: str
    events: AsyncGenerator[Event, None]
    conversation: str = ""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """For dialects whose answers have no place for the conversation."""
        return ((CONVERSATION, self.conversation),) if self.conversation else ()


def answering(house: House, asked: ModelRequest, body: Mapping[str, Any]) -> Answered:
    """An app's answer to the last message of a chat body, which is journalled.

    Raises BadRequest and NotFound.
    """
    if body.get("n") not in (None, 1):
        raise BadRequest("'n' must be 1: an answer from documents has one wording")
    *history, question = _messages(asked_for := _up_to_question(body.get("messages")))
    if question.role != "user":
        raise BadRequest("the last message must be the user's, or what tools returned for it")
    returned = _returned(body["messages"][len(asked_for) :])
    source, app = house.answering(asked)
    asked.record.app, asked.record.question = asked.model, question.content
    where = conditions(body.get("where") or {}, "where")
    conversation = (_conversation(asked) or secrets.token_hex(16)) if app in house.bots else ""
    turn = Turn(
        question.content, asked.caller, tuple(history), where, returned, record=asked.record, conversation=conversation,
        message=_key(asked) if conversation else "",
    )  # fmt: skip
    return Answered(source, _visited(house, asked, house.answerer(app).stream(turn)), conversation)


def _conversation(asked: ModelRequest) -> str:
    """The conversation that a message belongs to: `conversation`, or `{"id": …}` as OpenAI's responses have it."""
    said = asked.body.get("conversation")
    said = said.get("id") if isinstance(said, dict) else said
    if not isinstance(said, str | None):
        raise BadRequest("'conversation' must be 32 hexadecimal digits")
    return said or ""


def _key(asked: ModelRequest) -> str:
    """By which the same message is known when it comes again: the header `idempotency-key`, or `message`."""
    said = asked.headers.get("idempotency-key") or asked.body.get("message") or ""
    if not isinstance(said, str):
        raise BadRequest("'message' must be a text by which this message is known when it is sent again")
    return said


async def _visited(house: House, asked: ModelRequest, events: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    with house.gateway.visit(asked) as visit:
        async for event in events:
            visit.first = visit.first or time.perf_counter()
            if isinstance(event, Finished):
                with span("faults"):
                    asked.record.answer = event.answer
                    asked.record.faults = (*asked.record.faults, *faults(event.answer))
            yield event


async def told(events: AsyncGenerator[Event, None]) -> AsyncGenerator[ModelEvent, None]:
    """An app's answer as a model's events: its text with the numbers of its sources, for dialects without citations."""
    async with aclosing(events):
        async for event in events:
            match event:
                case TextDelta(text, citation):
                    yield TextDelta(text if citation is None else f"{text} [{citation + 1}]")
                case Finished(answer):
                    yield Stopped(answer.usage)


def _usage(answer: Answer) -> dict[str, int]:
    """Tokens of the model that wrote the answer. A quote takes none."""
    given, made = answer.usage.input_tokens, answer.usage.output_tokens
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


async def embeddings(request: Request, house: House, body: Mapping[str, Any]) -> Response:
    """Vectors of the embedder in use, as OpenAI's embeddings."""
    import numpy as np

    embedder = house.library.embedder
    known = (embedder.id, embedder.id.partition("@")[0])
    if body.get("model") not in known:
        raise NotFound(f"there is no embedding model {body.get('model')!r}", hint=f"known: {known[1]}")
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest("'input' must be a text or a list of texts")
    if len(texts) > MOST_TEXTS:
        raise BadRequest(f"'input' holds {len(texts)} texts, the limit is {MOST_TEXTS}")
    if sum(map(len, texts)) > MOST_CHARACTERS:
        raise BadRequest(f"'input' holds more than {MOST_CHARACTERS} characters")
    if body.get("dimensions") not in (None, embedder.dim):
        raise BadRequest(f"'dimensions' must be {embedder.dim} with this model")
    encoded = body.get("encoding_format", "float")
    if encoded not in ("float", "base64"):
        raise BadRequest("'encoding_format' must be float or base64")
    vectors = await asyncio.to_thread(embedder.embed, texts)
    tokens = await asyncio.to_thread(embedder.count_tokens, texts)
    as_text = encoded == "base64"
    rows = [
        {
            "object": "embedding",
            "index": n,
            "embedding": base64.b64encode(np.ascontiguousarray(v, "<f4").tobytes()).decode() if as_text else v.tolist(),
        }
        for n, v in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_response({"object": "list", "model": known[1], "data": rows, "usage": usage})


# ---------------------------------------------------------------- in


def _up_to_question(rows: Any) -> Any:
    """The messages without those after the last one of the user, where these are calls of tools and what they returned."""
    if not isinstance(rows, list):
        return rows
    end = len(rows)
    while (
        end
        and isinstance(rows[end - 1], dict)
        and (rows[end - 1].get("role") == "tool" or rows[end - 1].get("tool_calls"))
    ):
        end -= 1
    return rows[:end] or rows


def _returned(rows: list[Any]) -> tuple[Returned, ...]:
    """What tools returned, each by the name that it was called by."""
    names = {
        call.get("id"): call["function"].get("name")
        for row in rows
        for call in (row.get("tool_calls") or () if isinstance(row.get("tool_calls"), list | None) else ())
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
    }
    return tuple(
        Returned(_tool_name(names.get(row.get("tool_call_id")) or row.get("name")), _message(row, n).content)
        for n, row in enumerate(rows)
        if row.get("role") == "tool"
    )


def _tool_name(value: Any) -> str:
    return value if isinstance(value, str) and value else "tool"


def _messages(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise BadRequest("'messages' must be a list with at least one message")
    return [_message(row, n) for n, row in enumerate(value)]


def _message(row: Any, n: int) -> Message:
    role = row.get("role") if isinstance(row, dict) else None
    content = row.get("content") if isinstance(row, dict) else None
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise BadRequest(f"'messages[{n}].role' must be system, user or assistant")
    if isinstance(content, list):
        parts = [
            part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content
        ]
        if any(not isinstance(part, str) for part in parts):
            raise BadRequest(
                f"'messages[{n}].content' holds something else than text", hint="documents answer text questions only"
            )
        content = "\n".join(part for part in parts if part)
    if not isinstance(content, str | None):
        raise BadRequest(f"'messages[{n}].content' must be text")
    return Message(role if role in ("user", "assistant") else "system", content or "")


# ---------------------------------------------------------------- out


class _Link:
    """Deep links into the source panel."""

    def __init__(self, request: Request, collection: str) -> None:
        scheme = request.headers.get("x-forwarded-proto", request.scope.get("scheme", "http"))
        self._base, self._collection = f"{scheme}://{request.headers.get('host', 'localhost')}/", collection

    def __call__(self, citation: Citation) -> str:
        if citation.passage_id.startswith(TOOL):
            return ""  # a row has no page
        values = {
            "collection": self._collection,
            "document": citation.document_id,
            "start": citation.start,
            "end": citation.end,
        }
        return f"{self._base}?{urlencode(values)}"


def plain(answer: Answer, link: _Link) -> dict[str, Any]:
    """An answer as JSON: what goes into the `penstock` field."""
    values = asdict(answer)
    for name in ("citations", "nearest", "withheld"):
        values[name] = [{**asdict(citation), "url": link(citation)} for citation in getattr(answer, name)]
    return values


class _Told:
    """An answer as far as it was told: its text with [1] after each quote, and OpenAI's annotations, characters of that text."""

    def __init__(self, link: _Link) -> None:
        self._link, self._quotes = link, list[tuple[int, int, int]]()
        self.text = ""
        self.answer = Answer("", Status.NOT_FOUND, 0.0)  # the stream ends with the real one

    def take(self, event: Event) -> str:
        """One event. Returns what it adds to the text."""
        match event:
            case TextDelta(text, None):
                self.text += text
                return text
            case TextDelta(text, n) if n is not None:
                start = len(self.text) + len(text) - len(text.lstrip())
                self._quotes.append((n, start, len(self.text) + len(text)))
                marked = f"{text} [{n + 1}]"
                self.text += marked
                return marked
            case Finished(answer):
                self.answer = answer
        return ""

    @property
    def annotations(self) -> list[dict[str, Any]]:
        citations = self.answer.citations
        if self.answer.written_by:
            marks = [(int(mark[1]) - 1, mark) for mark in MARK.finditer(self.text)]
            places = [(n, mark.start(), mark.end()) for n, mark in marks if 0 <= n < len(citations)]
        else:
            places = self._quotes
        return [_annotation(citations[n], start, end, self._link) for n, start, end in places]


def _annotation(citation: Citation, start: int, end: int, link: _Link) -> dict[str, Any]:
    place = {"start_index": start, "end_index": end}
    return {
        "type": "url_citation",
        "url_citation": {**place, "url": link(citation), "title": citation.title or citation.source},
    }


async def _chunks(
    events: AsyncIterator[Event], head: dict[str, Any], link: _Link, *, include_usage: bool
) -> AsyncIterator[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return event({**head, "object": "chat.completion.chunk", "choices": [choice], **more})

    told, first = _Told(link), True
    async for item in events:
        if text := told.take(item):
            if first:
                yield chunk({"role": "assistant", "content": ""})
                first = False
            yield chunk({"content": text})
    answer = told.answer
    yield chunk({"annotations": told.annotations}, _finish(answer), penstock=plain(answer, link))
    if include_usage:
        yield event({**head, "object": "chat.completion.chunk", "choices": [], "usage": _usage(answer)})
    yield b"data: [DONE]\n\n"
