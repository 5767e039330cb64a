"""Turns at one upstream: never more calls than it may have, nobody starves, and whoever leaves leaves no trace."""

import asyncio
import gc
from itertools import zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import Play, Played, asking, run, said

from penstock.errors import Overloaded
from penstock.models.queued import Queued
from penstock.models.watch import Watch
from penstock.types import Model, ModelRequest


def queued(model: Model, *, running: int = 1, waiting: int = 1000, wait_s: float = 10.0) -> tuple[Queued, Watch]:
    watch = Watch("small")
    return Queued(model, watch, most_running=running, most_waiting=waiting, longest_wait_s=wait_s), watch


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


people = st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=30)


@given(people=people)
@settings(max_examples=50, deadline=None)
def test_callers_take_turns_however_many_requests_each_has_and_batch_work_goes_last(people: list[tuple[str, bool]]):
    model = Played()
    turns, _ = queued(model)
    requests = [asking(str(n), caller=name, tags=("batch",) * batch) for n, (name, batch) in enumerate(people)]

    async def main() -> None:
        first = turns.stream(asking())
        await anext(first)
        tasks = []
        for request in requests:
            tasks.append(asyncio.create_task(said(turns, request)))
            await asyncio.sleep(0)
        await first.aclose()  # type: ignore[attr-defined]
        await asyncio.gather(*tasks)

    run(main())

    expected: list[ModelRequest] = []
    for batch in (False, True):
        rows: dict[str, list[ModelRequest]] = {}
        for request in requests:
            if ("batch" in request.tags) == batch:
                rows.setdefault(request.caller.name, []).append(request)
        expected += [request for around in zip_longest(*rows.values()) for request in around if request]
    assert [request.body for request in model.asked[1:]] == [request.body for request in expected]


@given(
    most=st.integers(1, 3),
    leaving=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 4)), max_size=12),
)
@settings(max_examples=50, deadline=None)
def test_whoever_leaves_at_any_moment_leaves_no_trace_and_all_others_have_their_turn(
    most: int, leaving: list[tuple[int, int]]
):
    model = Played(Play(wait_s=0.0, between_s=0.0))
    turns, watch = queued(model, running=most)

    async def main() -> None:
        tasks = [asyncio.create_task(said(turns, asking(caller="abc"[n % 3]))) for n in range(12)]
        for one, ticks in leaving:
            for _ in range(ticks):
                await asyncio.sleep(0)
            tasks[one].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for n, result in enumerate(results):
            if n not in {one for one, _ in leaving}:
                assert result == "hello world"
        assert (watch.waiting, model.running) == (0, 0)
        assert model.most_running <= most
        again = await asyncio.gather(*[said(turns, asking()) for _ in range(most)])
        assert again == ["hello world"] * most
        assert model.most_running <= most

    run(main())


def test_a_full_queue_turns_away_at_once():
    model = Played(Play(wait_s=0.05))
    turns, watch = queued(model, waiting=2)

    async def main() -> None:
        waiting = [asyncio.create_task(said(turns, asking())) for _ in range(3)]
        await settle()
        with pytest.raises(Overloaded, match="small works on 1 requests, and 2 wait already") as refused:
            await said(turns, asking())
        assert refused.value.retryable
        assert await asyncio.gather(*waiting) == ["hello world"] * 3
        assert watch.waiting == 0

    run(main())


@pytest.mark.parametrize(("wait_s", "deadline_s"), [(0.02, 10.0), (10.0, 0.02)])
def test_nobody_waits_longer_than_the_queue_or_their_own_deadline_allows(wait_s: float, deadline_s: float):
    model = Played(Play(wait_s=0.2))
    turns, watch = queued(model, wait_s=wait_s)

    async def main() -> None:
        first = asyncio.create_task(said(turns, asking()))
        await settle()
        with pytest.raises(Overloaded, match=r"no turn came in 0\.0 s"):
            await said(turns, asking(deadline_s=deadline_s))
        assert watch.waiting == 0
        assert await first == "hello world"
        assert await said(turns, asking()) == "hello world"

    run(main())


def test_a_turn_that_comes_while_its_request_is_given_up_goes_to_the_next():
    model = Played()
    turns, _ = queued(model)

    async def main() -> None:
        first = turns.stream(asking())
        await anext(first)
        second = asyncio.create_task(said(turns, asking()))
        third = asyncio.create_task(said(turns, asking()))
        await settle()
        await first.aclose()  # type: ignore[attr-defined]
        second.cancel()  # the turn is its already, and it has not noticed
        await asyncio.gather(second, return_exceptions=True)
        assert second.cancelled()
        assert await third == "hello world"

    run(main())


def test_who_has_left_is_forgotten_at_once_and_not_when_their_turn_would_have_come():
    turns, watch = queued(Played())

    def remembered() -> int:
        gc.collect()
        return sum(type(one) is asyncio.Future for one in gc.get_objects())

    async def leaving() -> None:
        waiting = [asyncio.create_task(said(turns, asking())) for _ in range(50)]
        await settle()
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)

    async def main() -> None:
        first = turns.stream(asking())
        await anext(first)
        await leaving()
        before = remembered()
        await leaving()
        assert watch.waiting == 0
        assert remembered() <= before
        await first.aclose()  # type: ignore[attr-defined]

    run(main())
