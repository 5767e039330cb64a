"""Answers that are told twice: kept ones, and those that several requests listen to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import UpstreamError
from penstock.models.cached import Cached
from penstock.models.kept import Kept, Scope
from penstock.models.single import SingleFlight
from penstock.types import (
    Call,
    Caller,
    Model,
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    Record,
    Stopped,
    TextDelta,
    ToolCallDelta,
    Usage,
    Wire,
)

SCOPE = Scope("m")
HELLO = (TextDelta("Good "), TextDelta("morning."), Stopped(Usage(3, 2)))


@dataclass
class Says:
    """A model that says the same thing each time, one event per turn of the loop, and books one call."""

    events: Sequence[ModelEvent] = HELLO
    error: Exception | None = None
    asked: list[ModelRequest] = field(default_factory=list)
    running: int = 0
    closed: int = 0
    pause_s: float = 0.0

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.asked.append(request)
        self.running += 1
        try:
            for event in self.events:
                await asyncio.sleep(self.pause_s)
                yield event
            if self.error:
                raise self.error
        finally:
            self.running -= 1
            self.closed += 1
            request.record.calls.append(Call("m", "ok", cost_pico_usd=7))


def ask(text: str = "Hello?", **more: Any) -> ModelRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more.pop("body", {})}
    return ModelRequest(dialect="chat", model="m", body=body, record=Record("t"), **more)


async def told(model: Model, request: ModelRequest) -> list[ModelEvent]:
    return [event async for event in model.stream(request)]


def cached(inner: Model, *, most_mb: float = 1, clock: Any = lambda: 0.0, scope: Scope = SCOPE) -> Cached:
    return Cached(inner, Kept(most_mb=most_mb, keep_s=60, clock=clock), scope)


def twice(inner: Says, first: ModelRequest, second: ModelRequest, **more: Any) -> int:
    """How often the model is asked for two requests, one after the other."""

    async def run() -> None:
        model = cached(inner, **more)
        await told(model, first)
        await told(model, second)

    asyncio.run(run())
    return len(inner.asked)


# ---------------------------------------------------------------- the exact cache


def test_the_same_request_is_answered_from_memory_and_costs_nothing():
    async def run() -> None:
        inner = Says()
        model = cached(inner)
        first, again = ask(), ask()

        assert await told(model, first) == await told(model, again) == list(HELLO)
        assert len(inner.asked) == 1
        assert (first.record.cached, again.record.cached) == (False, True)
        assert (len(first.record.calls), len(again.record.calls)) == (1, 0)

    asyncio.run(run())


@pytest.mark.parametrize(
    "other",
    [
        ask("Hello!"),
        ask(stream=True),
        ask(body={"temperature": 0.5}),
        ask(caller=Caller("somebody")),
        ask(caller=Caller(roles=("hr",))),
        ask(caller=Caller(team="sales")),
        ask(headers={"anthropic-beta": "x"}),
        replace(ask(), model="n"),
        replace(ask(), dialect="messages"),
    ],
)
def test_a_request_that_differs_in_anything_that_matters_is_asked(other: ModelRequest):
    assert twice(Says(), ask(), other) == 2


def test_who_asks_on_whose_behalf_does_not_matter():
    other = ask(body={"user": "u-1", "safety_identifier": "s", "metadata": {"a": "b"}})

    assert twice(Says(), ask(), other) == 1


def test_the_order_of_fields_does_not_matter():
    one = ask(body={"temperature": 0.2, "top_p": 1})
    other = replace(one, body=dict(reversed(list(one.body.items()))))

    assert twice(Says(), one, other) == 1


def test_whoever_wants_a_fresh_answer_gets_one():
    assert twice(Says(), ask(), ask(tags=("no-cache",))) == 2
    assert twice(Says(), ask(tags=("no-cache",)), ask()) == 2


def test_a_request_that_continues_what_the_server_remembers_is_never_kept():
    assert twice(Says(), ask(body={"conversation": "c"}), ask(body={"conversation": "c"})) == 2


def test_a_new_policy_or_index_version_forgets_the_old_answers():
    async def run() -> None:
        inner, version = Says(), ["v1"]
        kept = Kept(most_mb=1, keep_s=60)
        await told(Cached(inner, kept, Scope("m", "p1", lambda: version[0])), ask())
        await told(Cached(inner, kept, Scope("m", "p2", lambda: version[0])), ask())
        model = Cached(inner, kept, Scope("m", "p1", lambda: version[0]))
        await told(model, ask())
        assert len(inner.asked) == 2
        version[0] = "v2"
        await told(model, ask())
        assert len(inner.asked) == 3

    asyncio.run(run())


def test_of_two_uploads_with_the_same_fields_each_gets_its_own_answer():
    one = ModelRequest(
        dialect="transcriptions", model="m", body={"language": "en"}, data=b"1", media_type="multipart/x"
    )

    assert twice(Says(), one, replace(one, data=b"2")) == 2
    assert twice(Says(), one, replace(one)) == 1


def test_an_answer_is_forgotten_after_its_time():
    now = iter([0.0, 59.0, 60.0, 60.0])

    async def run() -> int:
        inner = Says()
        model = cached(inner, clock=lambda: next(now))
        for _ in range(3):
            await told(model, ask())
        return len(inner.asked)

    assert asyncio.run(run()) == 2


def test_what_was_not_asked_for_the_longest_goes_first_and_memory_stays_bounded():
    kept = Kept(most_mb=0.01, keep_s=60)
    dropped: list[bytes] = []
    kept.on_drop = dropped.append
    answer = (TextDelta("x" * 1000), Stopped(Usage()))
    for number in range(100):
        kept.put(b"%d" % number, answer)
        assert kept.get(b"0")
        assert kept.bytes <= 0.01 * (1 << 20)

    assert len(dropped) == 100 - len(kept)
    assert b"1" in dropped
    assert b"99" in kept


def test_an_answer_larger_than_the_memory_is_told_and_not_kept():
    assert twice(Says([TextDelta("x" * 2000), Stopped(Usage())]), ask(), ask(), most_mb=0.001) == 2


def wires(*bodies: str) -> list[ModelEvent]:
    return [*(Wire(body.encode(), "text/event-stream") for body in bodies), Stopped(Usage())]


@pytest.mark.parametrize(
    ("events", "calls"),
    [
        ([TextDelta("a"), Stopped(Usage(), "length")], 2),
        ([TextDelta("a"), Stopped(Usage(), "content_filter")], 2),
        ([ToolCallDelta(0, "{}"), Stopped(Usage(), "tool_calls")], 1),
        (wires('data: {"choices":[{"finish_reason":null}]}', 'data: {"choices":[{"finish_reason":"length"}]}'), 2),
        (wires('data: {"choices":[{"finish_reason":"stop"}]}'), 1),
        (wires('{"choices":[{"finish_reason":"stop"},{"finish_reason": "length"}]}'), 2),
        (wires('{"choices":[{"finish_reason":"stop","text":"say \\"finish_reason\\": \\"length\\""}]}'), 1),
        (wires('{"error":{"message":"no"}}'), 2),
    ],
)
def test_only_an_answer_that_came_to_its_own_end_is_kept(events: list[ModelEvent], calls: int):
    assert twice(Says(events), ask(), ask()) == calls


def test_an_answer_that_failed_or_was_left_is_not_kept():
    async def run() -> None:
        inner = Says(HELLO[:1], error=UpstreamError("gone"))
        model = cached(inner)
        for _ in range(2):
            with pytest.raises(UpstreamError):
                await told(model, ask())
        inner.events, inner.error = HELLO, None
        events = model.stream(ask())
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
        assert inner.running == 0
        await told(model, ask())
        assert len(inner.asked) == 4

    asyncio.run(run())


EVENTS = st.lists(
    st.one_of(
        st.builds(TextDelta, st.text()),
        st.builds(ReasoningDelta, st.text()),
        st.builds(ToolCallDelta, st.integers(0, 3), st.text()),
        st.builds(Wire, st.binary()),
    )
)


@given(EVENTS, st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
def test_with_a_cache_every_answer_is_what_it_is_without(events: list[ModelEvent], reason: Any):
    async def run() -> None:
        inner = Says([*events, Stopped(Usage(1, 2), reason)])
        model = cached(inner)
        plain = await told(inner, ask())
        assert await told(model, ask()) == await told(model, ask()) == plain

    asyncio.run(run())


# ---------------------------------------------------------------- one call for many


def test_identical_requests_share_one_call_and_it_is_booked_once():
    async def run() -> None:
        inner = Says()
        model = SingleFlight(inner, Scope("m"))
        requests = [ask() for _ in range(5)]
        answers = await asyncio.gather(*(told(model, request) for request in requests))

        assert all(answer == list(HELLO) for answer in answers)
        assert len(inner.asked) == 1
        assert [len(request.record.calls) for request in requests] == [1, 0, 0, 0, 0]

    asyncio.run(run())


def test_requests_that_differ_or_come_later_or_want_their_own_do_not_share():
    async def run() -> None:
        inner = Says()
        model = SingleFlight(inner, Scope("m"))
        await asyncio.gather(told(model, ask()), told(model, ask("Else?")), told(model, ask(tags=("no-cache",))))
        await told(model, ask())

        assert len(inner.asked) == 4

    asyncio.run(run())


def test_whoever_comes_late_hears_what_was_said_so_far():
    async def run() -> None:
        model = SingleFlight(Says(pause_s=0.01), Scope("m"))
        first = model.stream(ask())
        assert await anext(first) == HELLO[0]
        assert await told(model, ask()) == list(HELLO)
        assert [event async for event in first] == list(HELLO[1:])

    asyncio.run(run())


def test_an_answer_reaches_listeners_as_it_comes():
    async def run() -> None:
        class Waits:
            def __init__(self) -> None:
                self.go = asyncio.Event()

            async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
                yield HELLO[0]
                await self.go.wait()
                yield HELLO[2]

        inner = Waits()
        model = SingleFlight(inner, Scope("m"))
        one, other = model.stream(ask()), model.stream(ask())
        assert await anext(one) == await anext(other) == HELLO[0]
        inner.go.set()
        assert await anext(one) == await anext(other) == HELLO[2]
        await one.aclose()  # type: ignore[attr-defined]
        await other.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())


def test_when_the_first_one_leaves_the_others_hear_the_rest_and_one_of_them_pays():
    async def run() -> None:
        inner = Says(pause_s=0.005)
        model = SingleFlight(inner, Scope("m"))
        requests = [ask(), ask(), ask()]
        first = model.stream(requests[0])
        await anext(first)
        others = [asyncio.create_task(told(model, request)) for request in requests[1:]]
        await asyncio.sleep(0)
        await first.aclose()  # type: ignore[attr-defined]

        assert inner.running == 1
        assert await asyncio.gather(*others) == [list(HELLO)] * 2
        assert [len(request.record.calls) for request in requests] == [0, 1, 0]

    asyncio.run(run())


def test_when_the_last_one_leaves_the_call_ends_at_once_and_they_pay():
    async def run() -> None:
        inner = Says(pause_s=10)
        model = SingleFlight(inner, Scope("m"))
        requests = [ask(), ask()]
        waiting = [asyncio.create_task(told(model, request)) for request in requests]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        assert inner.running == 1
        waiting[1].cancel()
        await asyncio.wait([waiting[1]])

        assert inner.running == 0
        assert len(requests[1].record.calls) == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}
        inner.pause_s = 0
        assert await told(model, ask()) == list(HELLO)

    asyncio.run(run())


def test_an_error_reaches_all_and_the_next_request_tries_again():
    async def run() -> None:
        inner = Says(HELLO[:1], error=UpstreamError("gone"))
        model = SingleFlight(inner, Scope("m"))
        found = await asyncio.gather(*(told(model, ask()) for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in found] == ["gone"] * 3
        with pytest.raises(UpstreamError):
            await told(model, ask())
        assert len(inner.asked) == 2

    asyncio.run(run())


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text(max_size=3), max_size=8),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=6),
)
def test_every_listener_hears_a_beginning_of_the_same_answer_and_no_task_is_left(
    texts: list[str], visits: list[tuple[int, int]]
):
    """visits: when each listener comes and after how many events it leaves, in turns of the loop."""

    async def run() -> None:
        answer = [*(TextDelta(text) for text in texts), Stopped(Usage())]
        inner = Says(answer)
        model = SingleFlight(inner, Scope("m"))

        async def listen(comes: int, leaves_after: int) -> None:
            for _ in range(comes):
                await asyncio.sleep(0)
            heard: list[ModelEvent] = []
            events = model.stream(ask())
            async for event in events:
                heard.append(event)
                if len(heard) > leaves_after:
                    break
            await events.aclose()  # type: ignore[attr-defined]
            assert heard == answer[: leaves_after + 1]

        await asyncio.gather(*(listen(*visit) for visit in visits))
        assert inner.running == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


@pytest.mark.parametrize("turns", range(12))
def test_a_listener_cancelled_at_any_moment_leaves_nothing_running(turns: int):
    async def run() -> None:
        inner = Says()
        model = cached(SingleFlight(inner, Scope("m")))
        request = ask()
        task = asyncio.create_task(told(model, request))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

        assert inner.running == 0
        assert len(request.record.calls) == len(inner.asked)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
