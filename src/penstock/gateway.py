"""One request for a model, from the door to the journal.

may this caller use that model → is it within their requests for now → the model, with all that is wrapped around it →
one row in the journal, and the numbers. What is wrapped around a model, and in which order, stands in assemble.py.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any

import orjson

from penstock.errors import NotAllowed, NotFound, PenstockError
from penstock.keys import allowed
from penstock.models.budgets import Budgets
from penstock.models.limits import Counters, Want
from penstock.observe.journal import Booked, Journal, Row
from penstock.observe.metrics import Metrics
from penstock.observe.summary import summary
from penstock.observe.texts import Texts
from penstock.trace import Span, collected, collecting
from penstock.types import Caller, Model, ModelEvent, ModelRequest, Outcome

__all__ = ["Gateway", "Visit"]


class Gateway:
    """The models behind one door."""

    def __init__(
        self, models: Mapping[str, Model], *, budgets: Budgets, counters: Counters, journal: Journal, metrics: Metrics,
        texts: Texts,
    ) -> None:  # fmt: skip
        """texts: keeps what was asked and answered, where an app allows it."""
        self.texts = texts
        self.models, self.budgets, self.counters = models, budgets, counters
        self.journal, self.metrics = journal, metrics

    def names(self, caller: Caller) -> list[str]:
        """The models and routes that a caller may name. `NAME/*` stands for any model of a provider."""
        return sorted(name for name in self.models if allowed(name, caller))

    def has(self, name: str) -> bool:
        """Whether there is such a model, whoever may use it."""
        return self.model(name) is not None

    def model(self, name: str) -> Model | None:
        """The model of that name, whoever may use it."""
        found = self.models.get(name)
        if found is None:
            provider, _, rest = name.partition("/")
            return self.models.get(f"{provider}/*") if rest else None
        return found

    def find(self, name: str, caller: Caller) -> Model:
        """The model of that name. Raises NotFound, or NotAllowed where the key is not for it."""
        model = self.model(name)
        if model is None:
            raise NotFound(f"there is no model '{name}'", hint=f"known: {', '.join(self.names(caller)) or 'none yet'}")
        if caller.models and not allowed(name, caller):
            raise NotAllowed(
                f"the key '{caller.name}' may not use '{name}'", hint=f"it may use {', '.join(caller.models)}"
            )
        return model

    async def stream(self, request: ModelRequest, *, by: str = "") -> AsyncGenerator[ModelEvent, None]:
        """The answer of the model that the request names, or of another in its place; the caller's rights are to the one that is
        named. Raises PenstockError before the first event, or in between."""
        model = self.find(request.model, request.caller)
        if by and by != request.model:
            model = self.models[by]
        with self.visit(request) as visit:
            events = model.stream(request)
            try:
                async for event in events:
                    if not visit.first:
                        visit.first = time.perf_counter()
                    yield event
            finally:
                await events.aclose()

    def visit(self, request: ModelRequest) -> Visit:
        """Pass the door. Raises Limited; what is done within the visit is journalled when it ends."""
        limits = self.budgets.at_door(request.caller, request.record)
        wants = [Want(limit, 1) for limit in limits]
        if wants:
            try:
                self.counters.hold(wants)
            except PenstockError as error:
                with Visit(self, request, ()) as visit:
                    visit.refuse(error)
                raise
        return Visit(self, request, wants)


class Visit:
    """One request between its arrival and its end. Use it in a `with` block."""

    __slots__ = (
        "_arrived", "_gateway", "_known", "_refused", "_request", "_spans", "_started", "_token", "_wants", "first"
    )  # fmt: skip

    def __init__(self, gateway: Gateway, request: ModelRequest, wants: Sequence[Want]) -> None:
        self._gateway, self._request, self._wants = gateway, request, wants
        self._known = request.model in gateway.models  # it may be taken out before the end
        self._arrived, self._started = time.time(), time.perf_counter()
        self._refused: PenstockError | None = None
        self._spans: list[Span] = []
        self.first = 0.0  # when the first piece of the answer went out

    def refuse(self, error: PenstockError) -> None:
        """It was turned away at the door."""
        self._refused = error

    def __enter__(self) -> Visit:
        self._gateway.metrics.running += 1
        self._token = collecting(self._spans.append)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gateway, request, record = self._gateway, self._request, self._request.record
        gateway.metrics.running -= 1
        collected(self._token)
        booked: list[Booked] = record.booked
        if self._wants:
            booked = booked + gateway.counters.settle(
                self._wants, [0 if want.limit.unit == "running" else 1 for want in self._wants]
            )
        outcome, status, code = _ending(self._refused or error)
        now, caller, calls = time.perf_counter(), request.caller, record.calls
        first_ms = (self.first - self._started) * 1000 if self.first else 0.0
        if len(calls) == 1 and calls[0].model == request.model:
            (call,) = calls
            usage, cost, more = call.usage, call.cost_pico_usd, ""
            tokens = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens)
        else:
            usages = [call.usage for call in calls]
            tokens = (
                sum(u.input_tokens for u in usages), sum(u.output_tokens for u in usages),
                sum(u.cached_tokens for u in usages), sum(u.reasoning_tokens for u in usages),
            )  # fmt: skip
            cost, more = (
                sum(call.cost_pico_usd for call in calls),
                orjson.dumps([_plain(call) for call in calls]).decode(),
            )
        row = Row(
            record.id, record.trace_id, self._arrived, caller.name, record.person, caller.team, record.app, request.model,
            request.dialect, request.stream, status, outcome, code, record.cached, first_ms, (now - self._started) * 1000,
            *tokens, cost, more, orjson.dumps(record.guarded).decode() if record.guarded else "",
            *self._rooms(), record.parent,
        )  # fmt: skip
        gateway.journal.write(row, booked)
        label = request.model if self._known or record.app else f"{request.model.partition('/')[0]}/*"
        gateway.metrics.count(row, [(call.model, call.outcome) for call in calls], model=label)

    def _rooms(self) -> tuple[str, str, str]:
        """What is known of an app's answer, the rooms it passed through, and its words where they are kept. Of a plain call, all
        there is to say stands in its row."""
        record, spans = self._request.record, self._spans
        dealt = {name: arm for name, arm in record.versions.items() if name.startswith("ab.")}
        only = orjson.dumps({"versions": dealt}).decode() if dealt else ""  # an experiment counts what failed too
        if not record.app and len(spans) < 2:
            return only, "", ""
        began = self._started
        passed = [(s.name, int((s.started - began) * 1e6), int(s.duration_ms * 1e3), s.values) for s in spans]
        rooms = orjson.dumps(passed).decode()
        if record.answer is None:
            return only, rooms, ""
        told = summary(record.answer, record.versions, record.faults)
        return orjson.dumps(told).decode(), rooms, self._gateway.texts.kept(record, record.faults)


def _ending(error: BaseException | None) -> tuple[Outcome, int, str]:
    match error:
        case None:
            return "ok", 200, ""
        case PenstockError():
            return "refused" if error.status < 500 else "failed", error.status, error.code
        case Exception():
            return "failed", 500, type(error).__name__
    return "cancelled", 499, ""  # the client left: GeneratorExit or CancelledError


def _plain(call: Any) -> dict[str, Any]:
    return {
        "model": call.model,
        "outcome": call.outcome,
        "error": call.error,
        "input_tokens": call.usage.input_tokens,
        "output_tokens": call.usage.output_tokens,
        "estimated": call.usage.estimated,
        "cost_pico_usd": call.cost_pico_usd,
        "first_ms": round(call.first_ms, 3),
        "duration_ms": round(call.duration_ms, 3),
    }
