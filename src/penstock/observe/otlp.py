"""Rows of the journal as OpenTelemetry's spans: the request, the rooms that it passed through, the calls of models.

Everything is told from the row, after the fact. Ids of spans are made from the request's, so that what is sent twice is the same
span. Words are in it where the row has them and whoever sends asked for them. Needs the extra `otel`.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from penstock.errors import PenstockError
from penstock.observe.conventions import CHOICE, EVALUATION, USER_MESSAGE, Names, Served
from penstock.observe.journal import Row

__all__ = ["Room", "Tracing", "attributes", "calls", "nested", "rooms"]

USD = 10**12  # picodollars
SLACK_MS = 0.003  # times are written down to a microsecond
NO_FAULT = ("ok", "cancelled")  # outcomes that are no error of anybody
SAMPLED, KNOWN, REMOTE = (
    0x01,
    0x100,
    0x200,
)  # flags of a span: it is recorded; where its parent is, is known; it is elsewhere
WORKS = (
    "understand",
    "search",
    "quote",
    "model",
)  # rooms that open no others: what lies within their time is beside them


class Room(NamedTuple):
    """Where a request was for a while. Times in milliseconds since its arrival."""

    name: str
    at_ms: float
    duration_ms: float
    values: Mapping[str, Any]

    @property
    def end_ms(self) -> float:
        return self.at_ms + self.duration_ms


class Asked(NamedTuple):
    """One call of an upstream, with what is known of when it was."""

    room: Room
    values: Mapping[str, Any]  # as the journal has calls


def rooms(row: Row) -> list[Room]:
    """The rooms of a request, in the order in which they were entered."""
    passed = orjson.loads(row.spans) if row.spans else []
    found = [Room(name, at / 1e3, took / 1e3, values) for name, at, took, values in passed]
    return sorted(found, key=lambda room: (room.at_ms, -room.duration_ms))


def nested(entered: Sequence[Room]) -> list[int]:
    """Of each room the number of the one it was entered from, the smallest that holds it in time; -1 where it is none.

    entered: in the order of their beginnings, of two that begin together the longer first.
    """
    parents: list[int] = []
    open_: list[int] = []
    for n, room in enumerate(entered):
        open_ = [k for k in open_ if entered[k].end_ms + SLACK_MS >= room.at_ms]
        holding = [k for k in open_ if entered[k].end_ms + SLACK_MS >= room.end_ms]
        parents.append(min(holding, key=lambda k: (entered[k].duration_ms, -k), default=-1))
        if room.name not in WORKS:
            open_.append(n)
    return parents


def calls(row: Row) -> list[dict[str, Any]]:
    """Every call of an upstream, as `calls` of the journal has them; where there was exactly one, the row has its numbers."""
    if row.calls:
        found: list[dict[str, Any]] = orjson.loads(row.calls)
        return found
    if row.outcome == "lost":
        return []
    return [
        {
            "model": row.model, "outcome": row.outcome, "error": row.error, "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens, "cached_tokens": row.cached_tokens,
            "reasoning_tokens": row.reasoning_tokens, "cost_pico_usd": row.cost_pico_usd, "first_ms": row.first_ms,
            "duration_ms": row.duration_ms,
        }
    ]  # fmt: skip


def _asked(row: Row, entered: Sequence[Room]) -> dict[int, Asked]:
    """The calls of a request by the number of the room that each was made in; those without one count from -1 downwards."""
    free = {n: room for n, room in enumerate(entered) if room.name == "model"}
    found: dict[int, Asked] = {}
    for nr, call in enumerate(calls(row), 1):
        took = call["duration_ms"]
        fits = [n for n, room in free.items() if room.values.get("model") == call["model"]]
        if not fits and row.calls == "":  # `any/deep/thought` is called by `any`
            fits = list(free)
        if fits:
            n = min(fits, key=lambda n: abs(free[n].duration_ms - took)) if row.calls else fits[0]
            found[n] = Asked(free.pop(n), call)
            continue
        began = row.first_ms - call["first_ms"] if row.first_ms and call["first_ms"] else row.duration_ms - took
        found[-nr] = Asked(Room("model", max(0.0, began), took, {}), call)
    return found


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    """Plain values as OTLP has them. Half a character becomes a question mark: UTF-8 has none."""
    return [KeyValue(key=name, value=_any(value)) for name, value in values.items() if value is not None]


def _any(value: Any) -> AnyValue:
    kind = type(value)
    if kind is str:
        return AnyValue(string_value=_text(value))
    if kind is bool:
        return AnyValue(bool_value=value)
    if kind is int and -(2**63) <= value < 2**63:
        return AnyValue(int_value=value)
    if kind in (int, float):
        return AnyValue(double_value=value)
    if kind in (list, tuple):
        return AnyValue(array_value=ArrayValue(values=[_any(one) for one in value]))
    return AnyValue(string_value=_text(str(value)))


def _text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Tracing:
    """How rows become spans."""

    names: Names = Names()
    served: Mapping[str, Served] = field(default_factory=dict)  # by our name for the model
    routes: Mapping[str, str] = field(default_factory=dict)  # dialect -> its path at our door
    words: Callable[[str], Mapping[str, Any]] | None = (
        None  # reads what a row has in `said`; None: no words, no persons
    )
    version: str = ""

    def request(self, rows: Iterable[Row], resource: Resource) -> ExportTraceServiceRequest:
        """What a receiver is sent."""
        spans: list[Span] = []
        for n, row in enumerate(rows, 1):
            spans += self.spans(row)
            if not n % 4:
                time.sleep(0)  # requests in other threads wait for four rows at most, which is under a millisecond
        scope = InstrumentationScope(name="penstock", version=self.version)
        return ExportTraceServiceRequest(
            resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(scope=scope, spans=spans)])]
        )

    def spans(self, row: Row) -> list[Span]:
        """The spans of one request, the request itself first."""
        trace, entered = _trace(row), rooms(row)
        asked, parents = _asked(row, entered), nested(entered)
        root = _span_id(row.id, 0)
        ids = [_span_id(row.id, n) for n in range(1, len(entered) + 1)]
        found = [self._root(row, trace, root)]
        for n, room in enumerate(entered):
            parent = ids[parents[n]] if parents[n] >= 0 else root
            found.append(self._room(row, room, asked.get(n), _Place(trace, ids[n], parent)))
        for n, call in asked.items():
            if n < 0:
                place = _Place(trace, _span_id(row.id, n), root)
                found.append(self._room(row, call.room, call, place))
        return found

    def _root(self, row: Row, trace: bytes, span_id: bytes) -> Span:
        values: dict[str, Any] = {"kind": "app" if row.app else "request", "error": row.error}
        route = self.routes.get(row.dialect, "")
        values |= {"method": "POST", "route": route, "status": row.status or None}
        name = f"POST {route}" if route else row.dialect or "request"
        if row.app:
            values |= {"operation": "app", "agent": row.app}
            name = f"{self.names.operation('app')} {row.app}"
        if row.outcome == "lost":
            values["error"] = "lost"
        answer = orjson.loads(row.answer) if row.answer else {}
        own = {
            "penstock.request.id": row.id, "penstock.outcome": row.outcome, "penstock.model": row.model,
            "penstock.app": row.app or None, "penstock.key": row.key or None, "penstock.team": row.team or None,
            "penstock.cached": bool(row.cached), "penstock.streamed": bool(row.streamed),
            "penstock.first_ms": row.first_ms or None, "penstock.cost_usd": row.cost_pico_usd / USD,
            **_told(answer),
        }  # fmt: skip
        events = [*self._judged(row, answer, values), *_guarded(row)]
        if self.words is not None:
            values["person"] = row.person
            events += self._said(row, values)
        parent = bytes.fromhex(row.parent) if row.parent else b""
        return Span(
            trace_id=trace, span_id=span_id, parent_span_id=parent, name=_text(name), kind=Span.SPAN_KIND_SERVER,
            flags=SAMPLED | KNOWN | (REMOTE if parent else 0), start_time_unix_nano=_nanos(row, 0.0),
            end_time_unix_nano=_nanos(row, row.duration_ms), events=events,
            attributes=attributes(self.names.attributes(values) | own),
            status=_status(row.outcome if row.outcome != "refused" else "ok", values["error"]),
        )  # fmt: skip

    def _judged(self, row: Row, answer: Mapping[str, Any], values: dict[str, Any]) -> Iterator[Span.Event]:
        """Whether an answer is in its sources, as an evaluation."""
        if "support" not in answer:
            return
        by = "CODE" if answer["checked_by"] in ("lexical", "checker") else "LLM"
        values |= {"judged": "groundedness", "judged_score": answer["support"], "judged_by": by}
        if self.names.latest:
            told = {"gen_ai.evaluation.name": "groundedness", "gen_ai.evaluation.score.value": answer["support"]}
            yield Span.Event(name=EVALUATION, time_unix_nano=_nanos(row, row.duration_ms), attributes=attributes(told))

    def _said(self, row: Row, values: dict[str, Any]) -> Iterator[Span.Event]:
        """The words of a question and its answer, where the row has them."""
        said: Mapping[str, Any] = {}
        with suppress(PenstockError):  # the key that they are sealed with is gone
            said = self.words(row.said) if self.words and row.said else {}
        if not said:
            return
        question, answer = str(said.get("question", "")), str(said.get("answer", ""))
        parts = {"user": question, "assistant": answer}
        messages = {
            role: orjson.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}]).decode()
            for role, text in parts.items()
        }
        values |= {
            "input": messages["user"], "output": messages["assistant"], "input_text": question, "output_text": answer,
            "input_type": "text/plain", "output_type": "text/plain",
        }  # fmt: skip
        if self.names.stable:
            for name, at, text in ((USER_MESSAGE, 0.0, question), (CHOICE, row.duration_ms, answer)):
                yield Span.Event(name=name, time_unix_nano=_nanos(row, at), attributes=attributes({"content": text}))

    def _room(self, row: Row, room: Room, asked: Asked | None, place: _Place) -> Span:
        if asked is not None:
            return self._call(row, asked, place)
        values: dict[str, Any] = {"kind": room.name, "operation": room.name}
        own = {f"penstock.{room.name}.{name}": value for name, value in room.values.items()}
        return Span(
            trace_id=place.trace, span_id=place.id, parent_span_id=place.parent, flags=SAMPLED | KNOWN,
            name=_text(self.names.operation(room.name) or room.name), kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=_nanos(row, room.at_ms), end_time_unix_nano=_nanos(row, room.end_ms),
            attributes=attributes(self.names.attributes(values) | {"penstock.room": room.name} | own),
        )  # fmt: skip

    def _call(self, row: Row, asked: Asked, place: _Place) -> Span:
        """A call of a model. An app asks in the dialect of chats, whatever it was asked in."""
        room, call = asked
        dialect = "chat" if row.app else row.dialect
        served = self.served.get(call["model"]) or self.served.get(call["model"].partition("/")[0]) or Served()
        model = served.model if served.model not in ("", "*") else row.model.partition("/")[2] or call["model"]
        given, made = call["input_tokens"], call["output_tokens"]
        fault = call["outcome"] not in NO_FAULT
        streamed = bool(row.streamed) or bool(row.app)
        values = {
            "operation": dialect, "kind": dialect, ("embedder" if dialect == "embeddings" else "model"): model,
            ("embedder_provider" if dialect == "embeddings" else "provider"): served.provider or "_OTHER",
            "address": served.address, "port": served.port or None, "error": call["error"] or None if fault else None,
            "streamed": streamed or None, "first_s": call["first_ms"] / 1000 if streamed and call["first_ms"] else None,
            "input_tokens": given, "output_tokens": made, "total_tokens": given + made,
            "cached_tokens": call.get("cached_tokens") or None,
            "reasoning_tokens": call.get("reasoning_tokens") or None,
            "cost_usd": call["cost_pico_usd"] / USD,
        }  # fmt: skip
        own = {
            "penstock.model": call["model"], "penstock.outcome": call["outcome"],
            "penstock.cost_usd": call["cost_pico_usd"] / USD, "penstock.estimated": call.get("estimated"),
        }  # fmt: skip
        return Span(
            trace_id=place.trace, span_id=place.id, parent_span_id=place.parent, flags=SAMPLED | KNOWN,
            name=_text(f"{self.names.operation(dialect) or dialect} {model}"),
            kind=Span.SPAN_KIND_INTERNAL if served.local else Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=_nanos(row, room.at_ms), end_time_unix_nano=_nanos(row, room.end_ms),
            attributes=attributes(self.names.attributes(values) | own),
            status=_status(call["outcome"], call["error"]),
        )  # fmt: skip


class _Place(NamedTuple):
    """Where a span stands."""

    trace: bytes
    id: bytes
    parent: bytes


def _told(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of an app's answer. No words of it."""
    if not answer:
        return {}
    plain = ("status", "confidence", "language", "citations", "withheld", "conflicts", "support", "checked_by")
    found: dict[str, Any] = {f"penstock.answer.{name}": answer.get(name) for name in plain}
    found |= {f"penstock.claims.{label}": count for label, count in answer.get("claims", {}).items()}
    found |= {f"penstock.version.{name}": version for name, version in answer.get("versions", {}).items() if version}
    if answer.get("faults"):
        found["penstock.answer.faults"] = answer["faults"]
    return found


def _guarded(row: Row) -> Iterator[Span.Event]:
    """What the guard found, by type and number: never the words that it found it in."""
    for seen in orjson.loads(row.guarded) if row.guarded else ():
        values = {
            "penstock.guard.surface": seen.get("surface"), "penstock.guard.policy": seen.get("policy"),
            "penstock.guard.decision": seen.get("decision"),
            "penstock.guard.types": sorted({finding["type"] for finding in seen.get("findings", ())}),
            "penstock.guard.findings": len(seen.get("findings", ())),
        }  # fmt: skip
        yield Span.Event(name="penstock.guard", time_unix_nano=_nanos(row, 0.0), attributes=attributes(values))


def _status(outcome: str, error: str) -> Status:
    """What a caller did wrong, and that a client has left, is no error of the server."""
    if outcome in NO_FAULT:
        return Status()
    return Status(code=Status.STATUS_CODE_ERROR, message=_text(error))


def _nanos(row: Row, ms: float) -> int:
    return max(0, int(row.at * 1e6) * 1000 + int(ms * 1e6))


def _trace(row: Row) -> bytes:
    if re.fullmatch(r"[0-9a-f]{32}", row.trace_id) and int(row.trace_id, 16):
        return bytes.fromhex(row.trace_id)
    return hashlib.sha256(row.trace_id.encode("utf-8", "replace")).digest()[:16]


def _span_id(request: str, number: int) -> bytes:
    """Of a request and a number in it, always the same. Eight zeros would be no id: that is as good as impossible."""
    return hashlib.blake2b(f"{request}/{number}".encode("utf-8", "replace"), digest_size=8).digest()
