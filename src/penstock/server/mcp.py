"""The Model Context Protocol: search, ask, verify and documents as resources, at `/mcp` and over standard input and output.

The protocol is the official SDK's. Each HTTP request stands alone: there are no sessions, so any worker serves it, and whoever asks
is told from others as on every other route. Each call is journalled, and counts for the limits and budgets of its caller.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, unquote

from penstock import __version__
from penstock.answer import LONGEST_QUESTION
from penstock.assemble import House
from penstock.errors import BadRequest, MissingExtra, NotFound, PenstockError, TooLarge
from penstock.server import openai
from penstock.server.http import Request, Response, Scope
from penstock.server.verify import LONGEST
from penstock.trace import log, place, quiet
from penstock.types import Answer, Caller, Citation, Event, Finished, ModelRequest, Record, Status, TextDelta, new_id

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server

    Context = ServerRequestContext[Any, Any]

__all__ = ["PATH", "Asking", "only_post", "place_in", "serve", "serve_stdio", "server", "uri_of"]

PATH: Final = "/mcp"
SDK: Final = "mcp.server.lowlevel"
SCHEME: Final = "penstock"
LONGEST_DOCUMENT: Final = 1_000_000  # characters of a document that is read whole
PER_PAGE: Final = 200  # documents in one answer to resources/list
MOST_SOURCES: Final = 200
KNOWN: Final = frozenset(
    ("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path")
)
NOT_FOUND: Final = -32002  # a resource is not there, as the protocol has it
LABELS: Final = ["supported", "contradicted", "not_found", "unscored"]

TEXT: Final = {"type": "string"}
NUMBER: Final = {"type": "number"}
COUNT: Final = {"type": "integer"}
NAME: Final = {"type": "string", "minLength": 1, "maxLength": 256}


def _object(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def _list(of: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(of)}


PASSAGE: Final = {
    "text": TEXT, "source": TEXT, "title": TEXT, "page": COUNT, "section": _list(TEXT), "start": COUNT, "end": COUNT,
    "date": TEXT, "uri": TEXT,
}  # fmt: skip
CITATION: Final = {"number": COUNT, "quote": TEXT} | {name: kind for name, kind in PASSAGE.items() if name != "text"}
EVIDENCE: Final = {"source": COUNT, "start": COUNT, "end": COUNT, "text": TEXT}
LABEL: Final = {"type": "string", "enum": LABELS}
SENTENCE: Final = {
    "text": TEXT, "start": COUNT, "end": COUNT, "label": LABEL, "support": NUMBER, "evidence": _list(_object(EVIDENCE)),
}  # fmt: skip

IN: Final[dict[str, dict[str, Any]]] = {
    "search": _object(
        {
            "collection": NAME | {"description": "The name of a collection of documents."},
            "query": {"type": "string", "minLength": 1, "maxLength": LONGEST_QUESTION, "description": "What to look for."},
        },
        k={"type": "integer", "minimum": 1, "maximum": 100, "default": 8, "description": "How many passages."},
    ),
    "ask": _object(
        {
            "app": NAME | {"description": "The name of an app, or of a collection of documents."},
            "question": {"type": "string", "minLength": 1, "maxLength": LONGEST_QUESTION, "description": "A whole question."},
        }
    ),
    "verify": _object(
        {
            "text": {"type": "string", "minLength": 1, "maxLength": LONGEST, "description": "The text to check."},
            "sources": {
                "type": "array", "minItems": 1, "maxItems": MOST_SOURCES, "items": {"type": "string", "maxLength": LONGEST},
                "description": "The texts that it should be in.",
            },
        },
        question={"type": "string", "maxLength": LONGEST_QUESTION, "description": "What the text answers."},
    ),
}  # fmt: skip
OUT: Final[dict[str, dict[str, Any]]] = {
    "search": _object({"passages": _list(_object(PASSAGE | {"score": NUMBER})), "version": TEXT}),
    "ask": _object(
        {
            "answer": TEXT, "status": {"type": "string", "enum": [str(one) for one in Status]}, "confidence": NUMBER,
            "citations": _list(_object(CITATION)), "nearest": _list(_object(CITATION)), "language": TEXT, "written_by": TEXT,
            "waiting": TEXT,
        }
    ),
    "verify": _object({"label": LABEL, "support": NUMBER, "by": TEXT, "sentences": _list(_object(SENTENCE))}),
}  # fmt: skip
ABOUT: Final = {
    "search": "Find the passages of a collection that are nearest to a query, best first, each with its source, page and section.",
    "ask": "Ask an app or a collection. The answer is quoted from documents or checked against them; [1] stands for citation 1. "
    "The statuses `related` and `not_found` mean that the documents do not answer it: do not fill in an answer of your own.",
    "verify": "Check whether what a text says is in its sources, sentence by sentence.",
}  # fmt: skip
for _schema in (*IN.values(), *OUT.values()):
    _schema["additionalProperties"] = False


@dataclass(frozen=True, slots=True)
class Asking:
    """Who is asking, now: a key may have been taken back since a connection began. name: the id of the next call in the journal."""

    house: House
    caller: Callable[[], Caller]
    name: Callable[[], str] = new_id

    def request(self, what: str, *, app: bool = False) -> ModelRequest:
        """One call, for the journal."""
        record = Record(secrets.token_hex(16), id=self.name())
        return ModelRequest(
            dialect="chat" if app else "mcp", model=what if app else f"mcp/{what}", body={}, caller=self.caller(), record=record
        )  # fmt: skip


# ---------------------------------------------------------------- what is done


async def _search(asking: Asking, given: Mapping[str, Any]) -> dict[str, Any]:
    asked = asking.request("search")
    with asking.house.gateway.visit(asked):
        if not given["query"].strip():
            raise BadRequest("'query' is empty")
        collection = asking.house.collection(given["collection"], asked.caller)
        found = await asyncio.to_thread(collection.search, given["query"], caller=asked.caller, k=given.get("k", 8))
    passages = [
        _place(hit.passage, given["collection"]) | {"text": hit.passage.text, "score": round(hit.score, 4)}
        for hit in found.hits
    ]
    return {"passages": passages, "version": found.version}


async def _ask(asking: Asking, given: Mapping[str, Any]) -> dict[str, Any]:
    asked = asking.request(given["app"], app=True)
    body = {"messages": [{"role": "user", "content": given["question"]}]}
    collection, events, _ = openai.answering(asking.house, asked, body)
    answer, text = await _told(events)
    return {
        "answer": text, "status": str(answer.status), "confidence": round(answer.confidence, 4),
        "citations": [_cited(one, n, collection) for n, one in enumerate(answer.citations, 1)],
        "nearest": [_cited(one, n, collection) for n, one in enumerate(answer.nearest, 1)],
        "language": answer.language, "written_by": answer.written_by, "waiting": answer.waiting,
    }  # fmt: skip


async def _told(events: AsyncGenerator[Event, None]) -> tuple[Answer, str]:
    """The answer, and its text with the number of its source after each quote."""
    answer, text = Answer("", Status.NOT_FOUND, 0.0), ""
    async with aclosing(events):
        async for event in events:
            match event:
                case TextDelta(piece, citation):
                    text += piece if citation is None else f"{piece} [{citation + 1}]"
                case Finished(whole):
                    answer = whole
    return answer, text


async def _verify(asking: Asking, given: Mapping[str, Any]) -> dict[str, Any]:
    from penstock.verify.check import plain, verifier

    text, sources = given["text"], given["sources"]
    with asking.house.gateway.visit(asking.request("verify")):
        if len(text) + sum(map(len, sources)) > LONGEST:
            raise TooLarge(f"the text and its sources have more than {LONGEST:,} characters")
        verdict = await asyncio.to_thread(
            lambda: plain(verifier().check(text, sources, question=given.get("question", "")), text, sources)
        )
    sentences = [
        {name: one[name] for name in ("text", "start", "end", "label", "support")}
        | {"evidence": [{name: e[name] for name in ("start", "end", "text")} | {"source": e["context"]} for e in one["sources"]]}
        for one in verdict["citations"]
    ]  # fmt: skip
    return {name: verdict[name] for name in ("label", "support", "by")} | {"sentences": sentences}


TOOLS: Final[dict[str, Callable[[Asking, Mapping[str, Any]], Awaitable[dict[str, Any]]]]] = {
    "search": _search, "ask": _ask, "verify": _verify,
}  # fmt: skip


def _place(one: Any, collection: str) -> dict[str, Any]:
    """Where a passage or a citation stands."""
    values = {name: getattr(one, name) for name in ("source", "title", "page", "start", "end", "date")}
    return values | {"section": list(one.section), "uri": uri_of(collection, one.document_id)}


def _cited(one: Citation, number: int, collection: str) -> dict[str, Any]:
    return _place(one, collection) | {"number": number, "quote": one.quote}


# ---------------------------------------------------------------- documents


def uri_of(collection: str, document: str) -> str:
    """The address of a document as a resource."""
    return f"{SCHEME}://{quote(collection, safe='')}/{quote(document, safe='')}"


def place_in(uri: str) -> tuple[str, str]:
    """The collection and the document of an address. Raises NotFound for another's."""
    found = re.fullmatch(rf"{SCHEME}://([^/?#]+)/([^/?#]+)", uri)
    if not found:
        raise NotFound(
            f"there is no resource '{uri[:100]}'", hint=f"{SCHEME}://COLLECTION/DOCUMENT, as resources/list has it"
        )
    return unquote(found[1], errors="replace"), unquote(found[2], errors="replace")


def _going_on(cursor: str | None) -> tuple[str, int]:
    after, slash, collection = (cursor or "0/").partition("/")
    if not slash or not re.fullmatch(r"[0-9]{1,9}", after):
        raise BadRequest("this is no cursor of ours", hint="begin the list anew")
    return collection, int(after)


def _documents(asking: Asking, cursor: str | None) -> tuple[list[tuple[str, Any]], str | None]:
    """The next documents that the caller may read, each with its collection, and where they go on."""
    caller, (begun, after) = asking.caller(), _going_on(cursor)
    found: list[tuple[str, Any]] = []
    for name in sorted(asking.house.collections(caller)):
        if name < begun:
            continue
        try:
            rows = asking.house.collection(name, caller).documents(caller)
        except NotFound:  # nothing of it was published yet, or it has just gone
            continue
        skip = after if name == begun else 0
        room = PER_PAGE - len(found)
        found += [(name, row) for row in rows[skip : skip + room]]
        if len(rows) > skip + room:
            return found, f"{skip + room}/{name}"
    return found, None


async def _read(asking: Asking, uri: str) -> str:
    asked = asking.request("read")
    with asking.house.gateway.visit(asked):
        collection, document = place_in(uri)
        found = asking.house.collection(collection, asked.caller)
        _, text = await asyncio.to_thread(found.document, document, asked.caller)
        if len(text) > LONGEST_DOCUMENT:
            raise TooLarge(
                f"the document has {len(text):,} characters, the limit is {LONGEST_DOCUMENT:,}",
                hint="search in it instead",
            )
    return text


# ---------------------------------------------------------------- the protocol


def server(asking: Asking) -> Server[Any]:
    """The SDK's server around one caller. Raises MissingExtra."""
    try:
        import mcp_types as types
        from mcp.server.lowlevel import Server
        from mcp.shared.exceptions import MCPError
    except ImportError as error:
        raise MissingExtra("the Model Context Protocol", extra="mcp") from error
    quiet("mcp")

    def told(error: PenstockError, code: int) -> MCPError:
        return MCPError(code, str(error), error.body()["error"])

    async def list_tools(_: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        mark = types.ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=name, description=ABOUT[name], input_schema=IN[name], output_schema=OUT[name], annotations=mark
                )
                for name in TOOLS
            ]
        )

    async def call_tool(_: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool, given = TOOLS.get(params.name), params.arguments or {}
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool '{params.name[:100]}': {', '.join(TOOLS)}")
        try:
            _check(given, IN[params.name])
            value = await tool(asking, given)
        except Exception as error:  # here a call ends: the model reads what was wrong, and never our insides
            refused = _refused(error, params.name)
            text = types.TextContent(type="text", text=str(refused))
            return types.CallToolResult(
                content=[text], is_error=True, _meta={"penstock/error": refused.body()["error"]}
            )
        text = types.TextContent(type="text", text=json.dumps(value, ensure_ascii=False))
        return types.CallToolResult(content=[text], structured_content=value)

    async def list_resources(_: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        try:
            found, after = await asyncio.to_thread(_documents, asking, params.cursor if params else None)
        except Exception as error:  # as above
            raise told(_refused(error, "resources/list"), types.INVALID_PARAMS) from None
        rows = [
            types.Resource(
                uri=uri_of(name, str(row.id)), name=row.source, title=row.title or row.source, mime_type="text/plain",
                description=f"A document of {name}.",
            )
            for name, row in found
        ]  # fmt: skip
        return types.ListResourcesResult(resources=rows, next_cursor=after)

    async def list_templates(_: Context, params: Any) -> types.ListResourceTemplatesResult:
        shape = types.ResourceTemplate(
            uri_template=f"{SCHEME}://{{collection}}/{{document}}", name="document", mime_type="text/plain",
            description="The text of a document that a passage or a citation names in `uri`.",
        )  # fmt: skip
        return types.ListResourceTemplatesResult(resource_templates=[shape])

    async def read(_: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(params.uri)
        try:
            text = await _read(asking, uri)
        except Exception as error:  # as above
            refused = _refused(error, "resources/read")
            raise told(refused, NOT_FOUND if isinstance(refused, NotFound) else types.INVALID_PARAMS) from None
        return types.ReadResourceResult(
            contents=[types.TextResourceContents(uri=uri, mime_type="text/plain", text=text)]
        )

    return Server(
        "penstock", version=__version__, title="Penstock", instructions=_instructions(asking), on_list_tools=list_tools,
        on_call_tool=call_tool, on_list_resources=list_resources, on_list_resource_templates=list_templates,
        on_read_resource=read, get_tool_input_schema=IN.get,
    )  # fmt: skip


def _instructions(asking: Asking) -> str:
    caller = asking.caller()
    names = ", ".join(sorted(asking.house.apps(caller))) or "none yet"
    collections = ", ".join(sorted(asking.house.collections(caller))) or "none yet"
    return f"Answers from documents, with their sources. To ask: {names}. To search: {collections}."


def _check(given: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Raises BadRequest for arguments that the schema does not allow, without repeating what may be long."""
    from jsonschema import Draft202012Validator

    wrong = next(iter(Draft202012Validator(schema).iter_errors(given)), None)
    if wrong is None:
        try:
            json.dumps(given, ensure_ascii=False).encode()
        except ValueError:
            raise BadRequest("a text holds half a character, which can be neither stored nor sent back") from None
        return
    name = ".".join(str(step) for step in wrong.absolute_path)
    about = f"'{name}' does not fit" if name else "the arguments do not fit"
    match wrong.validator:
        case "required":
            missing = [key for key in wrong.validator_value if key not in cast(Mapping[str, Any], wrong.instance)]
            raise BadRequest(f"'{missing[0]}' is missing")
        case "additionalProperties":
            raise BadRequest(
                "there are arguments that this tool does not take", hint=f"it takes {', '.join(schema['properties'])}"
            )
    raise BadRequest(f"{about}: {wrong.validator} is {wrong.validator_value}")


def _refused(error: Exception, what: str) -> PenstockError:
    if isinstance(error, PenstockError):
        return error
    log("mcp failed", level="error", what=what, error=type(error).__name__, at=place(error))
    return PenstockError("something went wrong inside", hint="the server's log says what")


# ---------------------------------------------------------------- its two doors


async def serve(request: Request, house: House) -> Response:
    """The Model Context Protocol (streamable HTTP): tools `search`, `ask` and `verify`, and documents as resources."""
    body = await request.body()
    caller, names = request.caller, iter((request.name,))
    asking = Asking(house, lambda: caller, lambda: next(names, None) or new_id())
    if SDK not in sys.modules:  # it takes half a second, in which others are served
        with suppress(ImportError):
            await asyncio.to_thread(import_module, SDK)
    made = server(asking)
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    manager = StreamableHTTPSessionManager(
        made, json_response=True, stateless=True, max_request_body_size=max(len(body), 1)
    )
    given = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Mapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if given:
            return given.pop()
        await asyncio.Event().wait()  # whoever leaves ends the whole request
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    async with manager.run():
        await manager.handle_request(_plain(request.scope), receive, send)
    start = next(one for one in sent if one["type"] == "http.response.start")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    kind = headers.pop("content-type", "application/json")
    headers.pop("content-length", None)
    whole = b"".join(one.get("body", b"") for one in sent if one["type"] == "http.response.body")
    return Response(whole, start["status"], kind, tuple(headers.items()))


async def only_post(request: Request, house: House) -> Response:
    """Always 405: each request stands alone, so there is no stream to listen to and no session to end."""
    return Response(b"", 405, headers=(("allow", "POST"),))


def _plain(scope: Scope) -> dict[str, Any]:
    """What the SDK may see of a request: neither keys nor cookies, nor our own entries."""
    hidden = (b"authorization", b"x-api-key", b"api-key", b"cookie")
    headers = [(name.lower(), value) for name, value in scope["headers"]]
    known = frozenset(scope) & KNOWN
    kept = {name: scope[name] for name in known}
    return kept | {"headers": [(name, value) for name, value in headers if name not in hidden]}


async def serve_stdio(asking: Asking) -> None:
    """Serve whoever started this process, until they close its standard input."""
    made = server(asking)
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (incoming, outgoing):
        await made.run(incoming, outgoing, made.create_initialization_options())
