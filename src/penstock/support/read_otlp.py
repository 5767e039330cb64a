"""Traces as conversations: spans of OpenTelemetry's conventions for generative AI and of OpenInference, from OTLP in JSON or
protobuf.

Spans of one conversation are those with the same `gen_ai.conversation.id` or `session.id`, else of one trace. In a trace the
outermost span with words is a turn of a customer and the bot's answer to it; tokens and costs are summed over the calls of models
beneath; what tools and retrievers gave are the rows and texts that the answer rests on.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from penstock.errors import BadRequest, Unreadable
from penstock.support.fields import words_of

__all__ = ["conversation_of", "of_json", "of_protobuf", "turns_of"]

Span = dict[str, Any]  # trace, id, parent, name, start, end (Unix seconds), values, resource, events, failed

CONVERSATION = (
    "gen_ai.conversation.id",
    "session.id",
    "langfuse.session.id",
    "penstock.conversation",
    "thread.id",
    "conversation.id",
)
RELEASE = ("penstock.release", "langfuse.release", "app.version", "release")
OF_RESOURCE = ("service.version", "deployment.release", "penstock.release")
CUSTOMER = ("user.id", "enduser.id", "langfuse.user.id", "gen_ai.user.id")
SOME_TOKENS = (
    ("input_tokens", ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")),
    ("output_tokens", ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")),
)
COST = ("llm.cost.total", "gen_ai.usage.cost", "penstock.cost_usd")
FIRST = ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token")  # seconds
_INDEXED = re.compile(
    r"^(llm\.input_messages|llm\.output_messages|gen_ai\.prompt|gen_ai\.completion)\.(\d+)\.(?:message\.)?(role|content)$"
)
_DOCUMENT = re.compile(r"^retrieval\.documents\.(\d+)\.document\.content$")
_TOOLS = ("TOOL",)
_RETRIEVERS = ("RETRIEVER", "RERANKER")


# ---------------------------------------------------------------- from the wire


def of_json(row: Mapping[str, Any]) -> list[Span]:
    """The spans of one request to a receiver, as its JSON has them. Raises BadRequest."""
    found: list[Span] = []
    for resource in _list(row, "resourceSpans", "resource_spans"):
        own = _attributes(_list(_object(resource, "resource"), "attributes"))
        for scope in _list(resource, "scopeSpans", "scope_spans", "instrumentationLibrarySpans"):
            found += [_span(one, own) for one in _list(scope, "spans")]
    return found


def _span(one: Mapping[str, Any], resource: Mapping[str, Any]) -> Span:
    def either(camel: str, snake: str) -> Any:
        return one.get(camel, one.get(snake))

    start, end = (
        _nanos(either("startTimeUnixNano", "start_time_unix_nano")),
        _nanos(either("endTimeUnixNano", "end_time_unix_nano")),
    )
    events = [
        {"name": str(event.get("name") or ""), "at": _nanos(event.get("timeUnixNano", event.get("time_unix_nano"))),
         "values": _attributes(_list(event, "attributes"))}
        for event in _list(one, "events")
    ]  # fmt: skip
    status = one.get("status") or {}
    return {
        "trace": _hex(either("traceId", "trace_id")), "id": _hex(either("spanId", "span_id")),
        "parent": _hex(either("parentSpanId", "parent_span_id")), "name": str(one.get("name") or ""), "start": start, "end": end,
        "values": _attributes(_list(one, "attributes")), "resource": dict(resource), "events": events,
        "failed": status.get("code") in (2, "STATUS_CODE_ERROR") if isinstance(status, Mapping) else False,
    }  # fmt: skip


def _object(of: Any, name: str) -> Mapping[str, Any]:
    value = of.get(name) if isinstance(of, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _list(of: Any, *names: str) -> list[Mapping[str, Any]]:
    for name in names:
        value = of.get(name) if isinstance(of, Mapping) else None
        if isinstance(value, list):
            if not all(isinstance(one, Mapping) for one in value):
                raise BadRequest(f"'{name}' of the trace is no list of objects")
            return value
    return []


def _hex(value: Any) -> str:
    """An id; JSON has it in hexadecimal, and some write it in base64, as protobuf's own JSON does."""
    text = str(value or "")
    if len(text) in (12, 24) and not re.fullmatch("[0-9a-fA-F]+", text):
        try:
            return base64.b64decode(text, validate=True).hex()
        except (binascii.Error, ValueError):
            return text
    return text.lower()


def _nanos(value: Any) -> float:
    try:
        return int(value or 0) / 1e9
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest("a span has a time that is none") from error


def _attributes(pairs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {str(pair.get("key")): _value(pair.get("value")) for pair in pairs}


def _value(value: Any, depth: int = 0) -> Any:
    if not isinstance(value, Mapping) or depth > 20:
        return value
    for kind, one in value.items():
        match kind.replace("_", "").lower():
            case "stringvalue" | "boolvalue" | "doublevalue":
                return one
            case "intvalue":
                return int(one) if isinstance(one, int | str) and str(one).lstrip("-").isdigit() else None
            case "arrayvalue":
                inner = one.get("values", []) if isinstance(one, Mapping) else []
                return [_value(each, depth + 1) for each in inner if isinstance(inner, list)]
            case "kvlistvalue":
                return {str(each.get("key")): _value(each.get("value"), depth + 1) for each in _list(one, "values")}
    return None


def of_protobuf(data: bytes) -> Iterator[list[Span]]:
    """The spans of each request in a file: one request, or several, each behind its length. Raises Unreadable."""
    try:
        from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError as error:
        raise Unreadable(
            "the log may be OTLP in protobuf, and that is not installed", hint="pip install 'penstock[otel]'"
        ) from error
    parts = _framed(data) or [data]
    for part in parts:
        request = ExportTraceServiceRequest()
        try:
            request.ParseFromString(part)
        except DecodeError as error:
            raise Unreadable(
                "the log is neither text nor traces in protobuf", hint="JSON Lines, CSV, or OTLP in JSON or protobuf"
            ) from error
        if not request.resource_spans:
            raise Unreadable(
                "the log is neither text nor traces in protobuf", hint="JSON Lines, CSV, or OTLP in JSON or protobuf"
            )
        yield of_json(MessageToDict(request))


def _framed(data: bytes) -> list[bytes]:
    """Messages behind their lengths, four bytes each, as the collector writes files; [] where it is none."""
    found, at = [], 0
    while at + 4 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        if not size or at + 4 + size > len(data):
            return []
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found if at == len(data) else []


# ---------------------------------------------------------------- turns


def conversation_of(span: Mapping[str, Any]) -> str:
    """The conversation that a span says it belongs to, else its trace. A trace of which only some spans say so stays together where
    the outermost does."""
    return (
        str(_first(span["values"], CONVERSATION) or _first(span["resource"], CONVERSATION) or "")
        or f"trace {span['trace']}"
    )


def turns_of(spans: Sequence[Span]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(what they say of the conversation, its turns), by our names."""
    told: dict[str, Any] = {}
    turns: list[dict[str, Any]] = []
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span["trace"], []).append(span)
        for name, value in (
            ("customer", _first(span["values"], CUSTOMER)),
            ("release", _first(span["values"], RELEASE) or _first(span["resource"], OF_RESOURCE)),
            ("app", span["values"].get("gen_ai.agent.name") or span["resource"].get("service.name")),
            ("language", span["values"].get("penstock.answer.language")),
            ("csat", _first(span["values"], ("csat", "penstock.csat", "user.feedback.score"))),
            ("intent", _first(span["values"], ("intent", "penstock.intent"))),
        ):
            if value not in (None, ""):
                told.setdefault(name, value)
    for trace in sorted(traces.values(), key=lambda some: (min(one["start"] for one in some), some[0]["trace"])):
        turns += _of_trace(trace)
    return told, turns


def _of_trace(spans: Sequence[Span]) -> Iterator[dict[str, Any]]:
    """The outermost spans with words, in their order, each as what was asked and what was answered."""
    by_id = {span["id"]: span for span in spans}
    speaking = {
        span["id"]: said for span in spans if _kind(span) not in (*_TOOLS, *_RETRIEVERS) and any(said := _said(span))
    }

    def above(span: Span) -> Iterator[Span]:
        seen = set[str]()
        while (parent := span["parent"]) in by_id and parent not in seen:
            seen.add(parent)
            span = by_id[parent]
            yield span

    outer = [by_id[id_] for id_ in speaking if not any(one["id"] in speaking for one in above(by_id[id_]))]
    for span in sorted(outer, key=lambda one: (one["start"], one["id"])):
        question, answer = speaking[span["id"]]
        beneath = [one for one in spans if one is span or any(up is span for up in above(one))]
        if len(outer) == 1:
            beneath = list(spans)
        if question:
            yield {"role": "customer", "text": question, "at": span["start"]}
        if answer:
            yield {
                "role": "bot",
                "text": answer,
                "at": span["end"],
                "request": span["id"],
                **_counted(span, beneath),
                **_given(beneath),
            }


def _kind(span: Span) -> str:
    values = span["values"]
    kind = str(values.get("openinference.span.kind") or "").upper()
    operation = str(values.get("gen_ai.operation.name") or "")
    return kind or {"execute_tool": "TOOL", "retrieval": "RETRIEVER", "embeddings": "EMBEDDING"}.get(operation, "")


def _counted(span: Span, beneath: Sequence[Span]) -> dict[str, Any]:
    """Time, tokens and cost: of the span itself where it has them, else of all beneath it."""
    found: dict[str, Any] = {"latency_ms": max(0.0, 1000 * (span["end"] - span["start"]))} if span["end"] else {}
    for name, keys in SOME_TOKENS:
        own = _first(span["values"], keys)
        some = [value for one in beneath if isinstance(value := _first(one["values"], keys), int | float)]
        if own is not None or some:
            found[name] = own if own is not None else sum(some)
    costs = [value for one in beneath if isinstance(value := _first(one["values"], COST), int | float)]
    own_cost = _first(span["values"], COST)
    if costs:
        found["cost_usd"] = own_cost if isinstance(own_cost, int | float) else sum(costs)
    firsts = [1000 * value for one in beneath if isinstance(value := _first(one["values"], FIRST), int | float)]
    return found | ({"first_ms": min(firsts)} if firsts else {})


def _given(beneath: Sequence[Span]) -> dict[str, Any]:
    """What tools returned, and what was retrieved."""
    rows: list[Any] = []
    sources: list[str] = []
    for span in beneath:
        values, kind = span["values"], _kind(span)
        if kind in _TOOLS:
            result = _first(values, ("gen_ai.tool.call.result", "tool.result", "output.value"))
            read = _read(result)
            if isinstance(read, Mapping):
                rows.append(read)
            elif isinstance(read, list):
                rows += [one for one in read if isinstance(one, Mapping)]
            elif isinstance(result, str) and result.strip():
                sources.append(result)
        if kind in _RETRIEVERS:
            documents = {int(found[1]): value for name, value in values.items() if (found := _DOCUMENT.match(name))}
            sources += [str(documents[n]) for n in sorted(documents)]
            if not documents:
                read = _read(values.get("gen_ai.retrieval.documents"))
                sources += [text for one in read if (text := words_of(one))] if isinstance(read, list) else []
    return ({"rows": rows} if rows else {}) | ({"sources": sources} if sources else {})


def _said(span: Span) -> tuple[str, str]:
    """(what a customer asked last, what was answered), as far as the span has words."""
    values = span["values"]
    indexed: dict[str, dict[int, dict[str, Any]]] = {}
    for name, value in values.items():
        if found := _INDEXED.match(name):
            indexed.setdefault(found[1], {}).setdefault(int(found[2]), {})[found[3]] = value
    asked = _last(_messages(values.get("gen_ai.input.messages")), ("user", "human")) or _last(
        _ordered(indexed, "llm.input_messages", "gen_ai.prompt"), ("user", "human")
    )
    answered = _last(_messages(values.get("gen_ai.output.messages")), ()) or _last(
        _ordered(indexed, "llm.output_messages", "gen_ai.completion"), ()
    )
    for event in span["events"]:
        text = words_of(_read(event["values"].get("content", event["values"].get("gen_ai.event.content"))))
        message = _read(event["values"].get("message"))
        text = text or words_of(message if isinstance(message, Mapping | list) else "")
        if event["name"] == "gen_ai.user.message":
            asked = text or asked
        elif event["name"] in ("gen_ai.choice", "gen_ai.assistant.message") and event["name"] == "gen_ai.choice":
            answered = text or answered
    if not asked:
        asked = _plainly(values.get("input.value"), ("user", "human"))
    if not answered:
        answered = _plainly(values.get("output.value"), ())
    return asked, answered


def _plainly(value: Any, roles: Sequence[str]) -> str:
    """The words of an input or an output, which may be JSON with messages, or with a field that says it."""
    read = _read(value)
    if isinstance(read, str):
        return read.strip()
    if isinstance(read, Mapping):
        for name in ("messages", "choices"):
            if isinstance(read.get(name), list):
                return _last([one.get("message", one) for one in read[name] if isinstance(one, Mapping)], roles)
        for name in ("question", "query", "input", "answer", "output", "response", "text", "content", "message"):
            if isinstance(read.get(name), str):
                return str(read[name]).strip()
    if isinstance(read, list):
        return _last([one for one in read if isinstance(one, Mapping)], roles)
    return ""


def _messages(value: Any) -> list[Mapping[str, Any]]:
    read = _read(value)
    return [one for one in read if isinstance(one, Mapping)] if isinstance(read, list) else []


def _ordered(indexed: Mapping[str, Mapping[int, Mapping[str, Any]]], *names: str) -> list[Mapping[str, Any]]:
    for name in names:
        if some := indexed.get(name):
            return [some[n] for n in sorted(some)]
    return []


def _last(messages: Sequence[Mapping[str, Any]], roles: Sequence[str]) -> str:
    """The words of the last message of one of the roles; of any with words, where none is asked for."""
    for message in reversed(messages):
        if not roles or str(message.get("role") or "").lower() in roles:
            text = words_of(message.get("parts", message.get("content"))).strip()
            if text:
                return text
    return ""


def _read(value: Any) -> Any:
    """JSON that stands in a text, as what it says; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return orjson.loads(value)
        except ValueError:
            return value
    return value


def _first(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((values[name] for name in names if values.get(name) not in (None, "")), None)
