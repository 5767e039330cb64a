"""Money and tokens around one upstream: held before it is called, settled when the call has ended, however it ends."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from penstock.errors import BadRequest, NotAllowed, PenstockError
from penstock.models.budgets import Budgets, Limits, Meeting
from penstock.models.estimate import BYTES_PER_TOKEN, WRITING, ceiling, estimate, estimated_input, input_bytes
from penstock.models.limits import Booking, Counters, Want
from penstock.models.prices import FREE, Known
from penstock.models.watch import Watch
from penstock.trace import passed
from penstock.types import Call, Dialect, Model, ModelEvent, ModelRequest, Outcome, Stopped, Usage, Wire

__all__ = ["Metered", "estimated_input"]

OUTPUT_TOKENS = 4_096  # assumed of a model of which nobody says more
USUAL_TOKENS_PER_S = 30.0  # of a model that nobody has heard yet
SHARE = 10  # a request without a limit of its own may hold a tenth of what is left
# what a request says of the length of its answer; the first is how we say it
LIMITS: Mapping[Dialect, tuple[str, ...]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
    "completions": ("max_tokens",),
}

Holding = Callable[[str, Sequence[Booking]], None]  # request, what is held


class Metered:
    """One upstream under its budgets. Satisfies `Model`.

    A call holds what it may cost at most: every byte of the input as one token, and `max_tokens` of output. One that does
    not say max_tokens may use all that the model reads and writes while that is at most a tenth of what is left; from then
    on it is sent with a limit. So what calls hold together is never more than there is, and no call takes more than it holds.
    """

    def __init__(
        self,
        inner: Model,
        watch: Watch,
        *,
        known: Known,
        budgets: Budgets,
        counters: Counters,
        holding: Holding,
        by_name: Callable[[str], Known] | None = None,
    ) -> None:
        """watch: is told what becomes of each call. by_name: for a model whose name callers say, what is known of that."""
        self._inner, self._watch, self.name, self._known = inner, watch, watch.name, known
        self._budgets, self._counters, self._holding = budgets, counters, holding
        self._by_name = by_name

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if request.dialect == "count_tokens":  # costs nothing, and says nothing of how fast the model is
            return self._inner.stream(request)
        return self._stream(request)

    async def _stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        meeting = self._budgets.at_call(request.caller, request.record, self.name)
        wants: Sequence[Want] = ()
        known = self._known if self._by_name is None else self._by_name(request.model.partition("/")[2])
        sent = request
        if meeting.limits:
            sent, wants = self._held(request, meeting, known)
        started, first, pieces = time.perf_counter(), 0.0, 0
        usage: Usage | None = None
        outcome: Outcome = "cancelled"  # until we know better
        error: PenstockError | None = None
        events = self._inner.stream(sent)
        self._watch.started(started)
        try:
            async for event in events:
                kind = type(event)
                if kind is Stopped:
                    usage = event.usage  # type: ignore[union-attr]
                else:
                    if not first:
                        first = time.perf_counter()
                        self._watch.answered(started, first, streamed=request.stream)
                    pieces += event.data.count(b"data:") if kind is Wire else 1  # type: ignore[union-attr]
                yield event
            outcome = "ok"
        except PenstockError as problem:
            outcome, error = "failed", problem
            raise
        finally:
            await events.aclose()
            if usage is None:
                if not request.stream and error is None and request.dialect in WRITING:  # nobody saw how far it was
                    speed = self._watch.tokens_per_s or USUAL_TOKENS_PER_S
                    pieces = min(int((time.perf_counter() - started) * speed), OUTPUT_TOKENS)
                usage = _guess(request, pieces, answered=bool(first) or error is None)
            self._settle(request, wants, known, usage, outcome, error, started, first)

    def _held(self, request: ModelRequest, meeting: Meeting, known: Known) -> tuple[ModelRequest, Sequence[Want]]:
        """Hold what the call may take. Returns the request as it is to be sent."""
        limits, money, exact = meeting
        price = known.price or FREE
        if money and known.price is None:
            raise NotAllowed(
                f"the model '{self.name}' has no price, and {money[0].owner} counts money",
                hint=f"set models.{self.name}.input_usd_per_million and output_usd_per_million; 0 where it is your own",
            )
        if request.dialect not in WRITING:
            most = ceiling(request)
            cost = price.most(most.input_tokens, most.output_tokens, most)
            return request, self._hold(
                request, limits, cost, most.input_tokens + most.output_tokens, estimated_input(request)
            )
        body = request.body
        size, answers, said = input_bytes(request), _answers(body), _said(request)
        if exact and request.dialect == "responses":
            size = _with_memory(body, size, known)
        output = said or known.max_output_tokens or known.context_tokens
        cost, tokens = price.most(size, output * answers), size + output * answers
        if exact and not said:
            amounts = {"pico_usd": cost, "tokens": tokens, "requests": 0, "running": 0}
            if not output or any(amounts[limit.unit] * SHARE > self._counters.free(limit) for limit in exact):
                output = min(output or OUTPUT_TOKENS, OUTPUT_TOKENS)
                cost, tokens = price.most(size, output * answers), size + output * answers
                request = replace(request, body={**body, LIMITS[request.dialect][0]: output}, data=b"")
        likely = size // BYTES_PER_TOKEN + 1 + (said or min(output or OUTPUT_TOKENS, OUTPUT_TOKENS)) * answers
        return request, self._hold(request, limits, cost, tokens, likely)

    def _hold(self, request: ModelRequest, limits: Limits, cost: int, tokens: int, likely: int) -> Sequence[Want]:
        """tokens: at most; likely: as rates count them, which would stand still if they counted what hardly ever happens."""
        amounts = {"pico_usd": cost, "tokens": tokens, "requests": 1, "running": 1}
        rates = amounts | {"tokens": likely}
        wants = [Want(limit, (rates if limit.window == "minute" else amounts)[limit.unit]) for limit in limits]
        if held := self._counters.hold(wants):
            self._holding(request.record.id, held)
        return wants

    def _settle(
        self,
        request: ModelRequest,
        wants: Sequence[Want],
        known: Known,
        usage: Usage,
        outcome: Outcome,
        error: PenstockError | None,
        started: float,
        first: float,
    ) -> None:
        tokens = usage.input_tokens + usage.output_tokens
        cost = (known.price or FREE).of(usage) if tokens or outcome == "ok" else 0
        if wants:
            amounts = {"pico_usd": cost, "tokens": tokens, "requests": 1, "running": 0}
            request.record.booked += self._counters.settle(wants, [amounts[want.limit.unit] for want in wants])
        now = time.perf_counter()
        call = Call(
            self.name,
            outcome,
            usage,
            cost,
            (first - started) * 1000 if first else 0.0,
            (now - started) * 1000,
            error.code if error else "",
        )
        request.record.calls.append(call)
        passed("model", started, call.duration_ms, model=self.name, outcome=outcome, tokens=tokens)
        self._watch.ended(started, call, error, streamed=request.stream)


def _said(request: ModelRequest) -> int:
    """The longest answer that the request asks for, in tokens; 0 where it does not say. Raises BadRequest."""
    most = 0
    for name in LIMITS[request.dialect]:
        value = request.body.get(name)
        if value is not None:
            if type(value) is not int or value < 1:
                raise BadRequest(f"'{name}' must be a whole number from 1")
            most = max(most, value)
    return most


def _answers(body: Mapping[str, Any]) -> int:
    """How many answers are made. Raises BadRequest."""
    most = 1
    for name in ("n", "best_of"):
        value = body.get(name)
        if value is not None:
            if type(value) is not int or value < 1:
                raise BadRequest(f"'{name}' must be a whole number from 1")
            most = max(most, value)
    prompts = body.get("prompt")
    return most * max(1, len(prompts)) if isinstance(prompts, list) and not _is_tokens(prompts) else most


def _with_memory(body: Mapping[str, Any], size: int, known: Known) -> int:
    """The input of a response that goes on from what its provider remembers: all that fits. Raises BadRequest."""
    if body.get("background"):
        raise BadRequest("'background' cannot be used under a budget: what it takes is told to nobody here")
    if not any(body.get(name) for name in ("previous_response_id", "conversation", "prompt")):
        return size
    if not known.context_tokens:
        raise BadRequest(
            "what the provider remembers cannot be used under a budget", hint="set the model's context_tokens"
        )
    return max(size, known.context_tokens)


def _is_tokens(prompt: list[Any]) -> bool:
    return bool(prompt) and isinstance(prompt[0], int)


def _guess(request: ModelRequest, pieces: int, *, answered: bool) -> Usage:
    """What a call took that ended without saying so: nothing where it was refused."""
    return estimate(request, pieces) if answered else Usage(estimated=True)
