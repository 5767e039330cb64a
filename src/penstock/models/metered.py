"""Money and tokens around one upstream: held before it is called, settled when the call has ended, however it ends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from penstock.errors import NotAllowed, PenstockError
from penstock.models.budgets import Budgets, Limits, Meeting
from penstock.models.estimate import BYTES_PER_TOKEN, WRITING, ceiling, estimate, estimated_input, input_bytes
from penstock.models.limits import Booking, Counters, Want
from penstock.models.prices import FREE, Known
from penstock.models.watch import Watch
from penstock.types import Call, Model, ModelEvent, ModelRequest, Outcome, Stopped, Usage, Wire

__all__ = ["Metered", "estimated_input"]

OUTPUT_TOKENS = 4_096  # assumed of a model of which nobody says more
SHARE = 10  # a request without a limit of its own may hold a tenth of what is left
MOST_TOKENS = {"chat": "max_completion_tokens", "responses": "max_output_tokens"}  # else max_tokens

Holding = Callable[[str, Sequence[Booking]], None]  # trace, what is held


class Metered:
    """One upstream under its budgets. Satisfies `Model`.

    A call holds what it may cost at most: every byte of the input as one token, and `max_tokens` of output. One that does
    not say max_tokens may use the whole output of the model while that is at most a tenth of what is left; from then on it
    is sent with a limit. So what calls hold together is never more than there is, and no call takes more than it holds.
    """

    def __init__(
        self, inner: Model, watch: Watch, *, known: Known, budgets: Budgets, counters: Counters, holding: Holding
    ) -> None:
        """watch: is told what becomes of each call."""
        self._inner, self._watch, self.name, self._known = inner, watch, watch.name, known
        self._price = known.price or FREE
        self._budgets, self._counters, self._holding = budgets, counters, holding
        self._output = known.max_output_tokens or OUTPUT_TOKENS

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        if request.dialect == "count_tokens":  # costs nothing, and says nothing of how fast the model is
            return self._inner.stream(request)
        return self._stream(request)

    async def _stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        meeting = self._budgets.at_call(request.caller, request.record, self.name)
        wants: Sequence[Want] = ()
        if meeting.limits:
            request, wants = self._held(request, meeting)
        started, first, pieces = time.perf_counter(), 0.0, 0
        usage: Usage | None = None
        outcome: Outcome = "cancelled"  # until we know better
        error: PenstockError | None = None
        events = self._inner.stream(request)
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
            await events.aclose()  # type: ignore[attr-defined]
            if usage is None:
                usage = _guess(request, pieces, answered=bool(first) or error is None)
            self._settle(request, wants, usage, outcome, error, started, first)

    def _held(self, request: ModelRequest, meeting: Meeting) -> tuple[ModelRequest, Sequence[Want]]:
        """Hold what the call may take. Returns the request as it is to be sent."""
        limits, money = meeting
        if money and self._known.price is None:
            raise NotAllowed(
                f"the model '{self.name}' has no price, and {money[0].owner} counts money",
                hint=f"set models.{self.name}.input_usd_per_million and output_usd_per_million; 0 where it is your own",
            )
        if request.dialect not in WRITING:
            most = ceiling(request)
            cost = self._price.most(most.input_tokens, most.output_tokens, most)
            return request, self._hold(request, limits, cost, estimated_input(request) + most.output_tokens)
        body = request.body
        size = input_bytes(request)
        expected = size // BYTES_PER_TOKEN + 1
        said = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
        answers = body.get("n") or 1
        output = said if isinstance(said, int) and said > 0 else self._output
        if not isinstance(answers, int) or answers < 1:
            answers = 1
        cost = self._price.most(size, output * answers)
        if money and not said and any(cost * SHARE > self._counters.free(limit) for limit in money):
            output = min(output, OUTPUT_TOKENS)
            cost = self._price.most(size, output * answers)
            name = MOST_TOKENS.get(request.dialect, "max_tokens")
            request = replace(request, body={**body, name: output}, data=b"")
        tokens = expected + (output if said else min(output, OUTPUT_TOKENS)) * answers
        return request, self._hold(request, limits, cost, tokens)

    def _hold(self, request: ModelRequest, limits: Limits, cost: int, tokens: int) -> Sequence[Want]:
        amounts = {"pico_usd": cost, "tokens": tokens, "requests": 1, "running": 1}
        wants = [Want(limit, amounts[limit.unit]) for limit in limits]
        if held := self._counters.hold(wants):
            self._holding(request.record.id, held)
        return wants

    def _settle(
        self,
        request: ModelRequest,
        wants: Sequence[Want],
        usage: Usage,
        outcome: Outcome,
        error: PenstockError | None,
        started: float,
        first: float,
    ) -> None:
        tokens = usage.input_tokens + usage.output_tokens
        cost = self._price.of(usage) if tokens or outcome == "ok" else 0
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
        self._watch.ended(started, call, error, streamed=request.stream)


def _guess(request: ModelRequest, pieces: int, *, answered: bool) -> Usage:
    """What a call took that ended without saying so: nothing where it was refused."""
    return estimate(request, pieces) if answered else Usage(estimated=True)
