"""Requests in and responses out, in the few shapes this server needs. Everything that crosses the wire is checked here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from penstock.errors import BadRequest, PenstockError, TooLarge
from penstock.server.connection import CYCLE, write_whole
from penstock.server.work import Work
from penstock.types import Caller, new_id

__all__ = ["Request", "Response", "Stream", "conditions", "event", "json_response", "matched"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class Request:
    """One request. The body is read once, when a route asks for it."""

    scope: Scope
    receive: Receive
    max_body_bytes: int
    work: Work
    caller: Caller = Caller()
    gone: bool = False  # the client has left
    name: str = field(default_factory=new_id)  # which its row in the journal has too, and its answer in x-request-id
    tags: tuple[str, ...] = ()
    path_values: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[str, bytes]] = field(
        default_factory=dict
    )  # of a form: field -> name of the file, what is in it
    _headers: dict[str, str] = field(default_factory=dict)
    _raw: dict[bytes, bytes] | None = None

    @property
    def id(self) -> bytes:
        return self.name.encode()

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case; of a repeated one the last counts."""
        if not self._headers:
            self._headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.scope["headers"]
            }
        return self._headers

    def header(self, name: bytes) -> bytes:
        """The value of the last header of a name, given in lower case; b"" where there is none."""
        if self._raw is None:
            self._raw = dict(self.scope["headers"])
        return self._raw.get(name, b"")

    def query(self, name: str, default: str = "") -> str:
        found = parse_qs(self.scope["query_string"].decode("latin-1"), keep_blank_values=True).get(name)
        return found[-1] if found else default

    async def body(self) -> bytes:
        """Raises TooLarge as soon as the limit is passed, BadRequest when the client stalls or leaves."""
        limit = self.max_body_bytes
        if int(self.header(b"content-length") or 0) > limit:
            raise _too_large(limit)
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise BadRequest("the client left, or stopped, before the body was complete")
            piece = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            if not message.get("more_body"):
                return b"".join((*pieces, piece)) if pieces else piece
            pieces.append(piece)

    async def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises BadRequest."""
        body = await self.body()
        try:
            value = json.loads(body)
            if b"\\u" in body:  # half of a surrogate pair is no character: it can be neither stored nor sent back
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not valid JSON: {error}") from error
        if not isinstance(value, dict):
            raise BadRequest("the body must be a JSON object")
        return value


@dataclass(slots=True)
class Response:
    """A whole response."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    async def send(self, request: Request, send: Send) -> None:
        if CYCLE in request.scope:
            lines = _lines(self.content_type) + b"x-request-id: %b\r\n" % request.id
            if self.headers:
                lines += b"".join([b"%b: %b\r\n" % header for header in _encoded(self.headers)])
            if write_whole(request.scope[CYCLE], self.status, lines, self.body):
                return
        head = [*_head(self.content_type), (b"x-request-id", request.id), (b"content-length", b"%d" % len(self.body))]
        if self.headers:
            head += _encoded(self.headers)
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        await send({"type": "http.response.body", "body": self.body})


@dataclass(slots=True)
class Stream:
    """A response in pieces. An error before the first piece is an ordinary refusal; a later one is the last piece."""

    pieces: AsyncIterator[bytes]
    content_type: str = "text/event-stream"
    error: Callable[[PenstockError], bytes] = lambda error: event(error.body())
    headers: tuple[tuple[str, str], ...] = ()

    async def send(self, request: Request, send: Send) -> None:
        first = await anext(self.pieces, b"")  # a refusal from here keeps its status
        head = [*_head(self.content_type), (b"x-request-id", request.id), (b"cache-control", b"no-cache")]
        head.append((b"x-accel-buffering", b"no"))
        head += _encoded(self.headers)
        await send({"type": "http.response.start", "status": 200, "headers": head})
        try:
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for piece in self.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except PenstockError as error:
            await send({"type": "http.response.body", "body": self.error(error), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is over {limit >> 20} MB", hint="raise server.max_body_mb")


def conditions(value: Any, name: str) -> dict[str, Any]:
    """A filter that travelled as JSON: names and values, or lists of values that any of them may fit."""
    plain = isinstance(value, dict) and all(
        isinstance(one, str | int | float)
        for wanted in value.values()
        for one in (wanted if isinstance(wanted, list) else [wanted])
    )
    if not plain:
        raise BadRequest(f"'{name}' must be an object of names and values")
    return dict(value)


def json_response(value: Any, status: int = 200, *, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), status, headers=headers)


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def matched(pattern: str, path: str) -> dict[str, str] | None:
    """The values in a path that fits a pattern such as "/api/collections/{name}/documents", or None.

    A last "{name*}" takes all that is left, slashes too.
    """
    wanted, given = pattern.split("/"), path.split("/")
    if pattern.endswith("*}"):
        wanted[-1] = wanted[-1].replace("*", "")
        given = path.split("/", len(wanted) - 1)
    if len(wanted) != len(given):
        return None
    values = {}
    for want, have in zip(wanted, given, strict=True):
        if want.startswith("{"):
            if not have:
                return None
            values[want[1:-1]] = have
        elif want != have:
            return None
    return values


@lru_cache(maxsize=256)
def _head(content_type: str) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"content-type", content_type.encode("latin-1", "replace")),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )


@lru_cache(maxsize=256)
def _lines(content_type: str) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in _head(content_type))


def _encoded(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
