"""Money and tokens around one upstream: held before it is called, settled when the call has ended, however it ends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from penstock.errors import NotAllowed, PenstockError
from penstock.models.budgets import Budgets, Meeting
from penstock.models.limits import Booking, Counters, Want
from penstock.models.prices import FREE, Known
from penstock.types import Call, Model, ModelEvent, ModelRequest, Outcome, Stopped, Usage, Wire

__all__ = ["Metered", "estimated_input"]

OUTPUT_TOKENS = 4_096  # assumed of a model of which nobody says more
SHARE = 10  # a request without a limit of its own may hold a tenth of what is left
BYTES_PER_TOKEN = 4  # on average, over languages; a token is never less than one byte
TOKENS_PER_PICTURE = 3_000
MOST_TOKENS = {"chat": "max_completion_tokens", "responses": "max_output_tokens"}  # else max_tokens

Holding = Callable[[str, Sequence[Booking]], None]  # trace, what is held


class Metered:
    """One upstream under its budgets. Satisfies `Model`.

    A call holds what it may cost at most: every byte of the input as one token, and `max_tokens` of output. One that does
    not say max_tokens may use the whole output of the model while that is at most a tenth of what is left; from then on it
    is sent with a limit. So what calls hold together is never more than there is, and no call takes more than it holds.
    """

    def __init__(
        self, inner: Model, *, name: str, known: Known, budgets: Budgets, counters: Counters, holding: Holding
    ) -> None:
        self._inner, self.name, self._known = inner, name, known
        self._price = known.price or FREE
        self._budgets, self._counters, self._holding = budgets, counters, holding
        self._output = known.max_output_tokens or OUTPUT_TOKENS

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        meeting = self._budgets.at_call(request.caller, request.record, self.name)
        wants: Sequence[Want] = ()
        if meeting.limits:
            request, wants = self._held(request, meeting)
        started, first, pieces = time.perf_counter(), 0.0, 0
        usage: Usage | None = None
        outcome: Outcome = "cancelled"  # until we know better
        error = ""
        events = self._inner.stream(request)
        try:
            async for event in events:
                kind = type(event)
                if kind is Stopped:
                    usage = event.usage  # type: ignore[union-attr]
                else:
                    if not first:
                        first = time.perf_counter()
                    pieces += event.data.count(b"data:") if kind is Wire else 1  # type: ignore[union-attr]
                yield event
            outcome = "ok"
        except PenstockError as problem:
            outcome, error = "failed", problem.code
            raise
        finally:
            await events.aclose()  # type: ignore[attr-defined]
            if usage is None:
                usage = _guess(request, pieces, answered=bool(first) or not error)
            self._settle(request, wants, usage, outcome, error, started, first)

    def _held(self, request: ModelRequest, meeting: Meeting) -> tuple[ModelRequest, Sequence[Want]]:
        """Hold what the call may take. Returns the request as it is to be sent."""
        limits, money = meeting
        if money and self._known.price is None:
            raise NotAllowed(
                f"the model '{self.name}' has no price, and {money[0].owner} counts money",
                hint=f"set models.{self.name}.input_usd_per_million and output_usd_per_million; 0 where it is your own",
            )
        body = request.body
        size = _input_bytes(request)
        expected = size // BYTES_PER_TOKEN + 1
        said = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
        answers = body.get("n") or 1
        output = said if isinstance(said, int) and said > 0 else self._output
        if not isinstance(answers, int) or answers < 1:
            answers = 1
        if request.dialect == "embeddings":
            said, output = 1, 0
        cost = self._price.most(size, output * answers)
        if money and not said and any(cost * SHARE > self._counters.free(limit) for limit in money):
            output = min(output, OUTPUT_TOKENS)
            cost = self._price.most(size, output * answers)
            name = MOST_TOKENS.get(request.dialect, "max_tokens")
            request = replace(request, body={**body, name: output}, data=b"")
        tokens = expected + (output if said else min(output, OUTPUT_TOKENS)) * answers
        amounts = {"pico_usd": cost, "tokens": tokens, "requests": 1, "running": 1}
        wants = [Want(limit, amounts[limit.unit]) for limit in limits]
        self._counters.hold(wants)
        self._holding(
            request.record.trace_id, [(w.limit.name, 0, w.amount) for w in wants if w.limit.unit == "pico_usd"]
        )
        return request, wants

    def _settle(
        self,
        request: ModelRequest,
        wants: Sequence[Want],
        usage: Usage,
        outcome: Outcome,
        error: str,
        started: float,
        first: float,
    ) -> None:
        tokens = usage.input_tokens + usage.output_tokens
        cost = self._price.of(usage) if tokens or outcome == "ok" else 0
        if wants:
            amounts = {"pico_usd": cost, "tokens": tokens, "requests": 1, "running": 0}
            request.record.booked += self._counters.settle(wants, [amounts[want.limit.unit] for want in wants])
        now = time.perf_counter()
        request.record.calls.append(
            Call(
                self.name,
                outcome,
                usage,
                cost,
                (first - started) * 1000 if first else 0.0,
                (now - started) * 1000,
                error,
            )
        )


def estimated_input(request: ModelRequest) -> int:
    """Tokens that the input takes, estimated from its size in bytes."""
    return _input_bytes(request) // BYTES_PER_TOKEN + 1


def _guess(request: ModelRequest, pieces: int, *, answered: bool) -> Usage:
    """What a call took that ended without saying so: nothing where it was refused."""
    if not answered:
        return Usage(estimated=True)
    return Usage(estimated_input(request), pieces, estimated=True)


def _input_bytes(request: ModelRequest) -> int:
    """Bytes of the input that a model reads as text. A picture counts as so many tokens, not as its encoding."""
    data = request.data
    if data and b";base64," not in data and b'"base64"' not in data:
        return len(data)
    return _size(request.body)


def _size(value: Any) -> int:
    match value:
        case str():
            if value.startswith("data:") and ";base64," in value[:100]:
                return TOKENS_PER_PICTURE
            return len(value.encode(errors="surrogatepass"))
        case Mapping():
            if value.get("type") == "base64":
                return TOKENS_PER_PICTURE
            return sum(len(key) + _size(entry) for key, entry in value.items())
        case list() | tuple():
            return sum(map(_size, value))
    return 8
