"""Two models at once: the first to answer is heard, the other is stopped and paid for, and nothing stays behind."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import House, Play, Played, asking, run, said

from penstock.errors import BudgetSpent, PenstockError, UpstreamBusy, UpstreamError, UpstreamRefused
from penstock.models.balance import Candidate, as_listed, choosing
from penstock.models.fallback import Fallback
from penstock.models.hedged import Hedged, hedging
from penstock.models.metered import estimated_input
from penstock.models.queued import Queued
from penstock.types import TextDelta

STEP_S = 0.02  # between moments that are to differ


def text(word: str, **play: object) -> Play:
    return Play((TextDelta(word), TextDelta(word)), **play)  # type: ignore[arg-type]


def hedged(first: Played, second: Played, *, after_s: float = STEP_S) -> tuple[Hedged, House]:
    house = House()
    models = house.candidate("first", first).model, house.candidate("second", second).model
    return Hedged(*models, after_s=lambda request: after_s), house


def test_a_first_model_that_answers_in_time_is_asked_alone():
    first, second = Played(text("a")), Played(text("b"))
    model, _ = hedged(first, second)

    async def main() -> None:
        assert await said(model, asking()) == "aa"
        assert not second.asked

    run(main())


def test_the_second_answers_where_the_first_is_slow_and_the_first_is_stopped_before_the_answer_goes_on():
    first, second = Played(text("a", wait_s=10)), Played(text("b", between_s=STEP_S))
    model, _ = hedged(first, second)

    async def main() -> None:
        events = model.stream(asking())
        assert await anext(events) == TextDelta("b")
        assert (first.running, second.running) == (0, 1)
        await events.aclose()  # type: ignore[attr-defined]

    run(main())


def test_what_the_loser_took_is_booked():
    first, second = Played(text("a", wait_s=10)), Played(text("b"))
    model, house = hedged(first, second)
    request = asking()

    async def main() -> None:
        assert await said(model, request) == "bb"

    run(main())
    lost, won = request.record.calls
    assert (lost.model, lost.outcome, lost.usage.estimated) == ("first", "cancelled", True)
    assert lost.usage.input_tokens == estimated_input(request)
    assert (won.model, won.outcome) == ("second", "ok")
    assert house.taken() == lost.cost_pico_usd + won.cost_pico_usd > 0


def test_the_second_starts_at_once_when_the_first_fails():
    first, second = Played(Play(error=UpstreamError("it broke"))), Played(text("b"))
    model, _ = hedged(first, second, after_s=60.0)

    async def main() -> None:
        assert await said(model, asking()) == "bb"

    run(main())


def test_a_second_that_fails_does_not_stop_the_first():
    first, second = Played(text("a", wait_s=3 * STEP_S)), Played(Play(error=BudgetSpent("nothing left")))
    model, _ = hedged(first, second)

    async def main() -> None:
        assert await said(model, asking()) == "aa"
        assert second.asked

    run(main())


def test_where_both_fail_the_error_names_both():
    first = Played(Play(error=UpstreamError("first broke")))
    second = Played(Play(error=UpstreamBusy("second is busy", retry_after_s=3.0)))
    model, _ = hedged(first, second)

    async def main() -> None:
        with pytest.raises(UpstreamBusy, match="second is busy") as failed:
            await said(model, asking())
        assert "first broke" in failed.value.hint

    run(main())


def test_a_request_that_is_wrong_itself_is_not_asked_twice():
    first, second = Played(Play(error=UpstreamRefused("malformed"))), Played()
    model, _ = hedged(first, second)

    async def main() -> None:
        with pytest.raises(UpstreamRefused):
            await said(model, asking())
        assert not second.asked

    run(main())


moments = st.integers(0, 3)
errors = st.none() | st.sampled_from([UpstreamError("it broke"), UpstreamRefused("malformed")])


@given(first=st.tuples(moments, errors), second=st.tuples(moments, errors), cut=st.none() | moments)
@settings(max_examples=60, deadline=None)
def test_there_is_one_winner_at_most_and_every_call_is_stopped_and_booked(
    first: tuple[int, PenstockError | None], second: tuple[int, PenstockError | None], cut: int | None
):
    step_s = 0.004
    one, other = (
        Played(text(word, wait_s=wait * step_s, error=error))
        for word, (wait, error) in zip("ab", (first, second), strict=True)
    )
    model, house = hedged(one, other, after_s=1.5 * step_s)
    request = asking()

    async def main() -> None:
        task = asyncio.create_task(said(model, request))
        if cut is not None:
            await asyncio.sleep(cut * step_s)
            task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        assert result in ("aa", "bb") or isinstance(result, PenstockError | asyncio.CancelledError)
        assert one.running == other.running == 0
        won = [call for call in request.record.calls if call.outcome == "ok"]
        assert len(won) == (result in ("aa", "bb"))
        assert len(request.record.calls) == len(one.asked) + len(other.asked)
        assert house.taken() == sum(call.cost_pico_usd for call in request.record.calls)

    run(main())


@pytest.mark.parametrize("ticks", range(14))
def test_closing_at_any_moment_stops_both_within_milliseconds(ticks: int):
    first, second = Played(text("a", wait_s=10)), Played(text("b", wait_s=10))
    model, house = hedged(first, second, after_s=0.001)
    request = asking()

    async def main() -> None:
        task = asyncio.create_task(said(model, request))
        for _ in range(ticks):
            await asyncio.sleep(0.0003)
        task.cancel()
        before = time.perf_counter()
        await asyncio.gather(task, return_exceptions=True)
        assert time.perf_counter() - before < 0.05
        assert first.running == second.running == 0
        assert house.taken() == sum(call.cost_pico_usd for call in request.record.calls)

    run(main())


def test_the_second_is_asked_after_the_time_that_most_calls_of_the_first_take():
    house = House()
    slow = Played(*[text("a", wait_s=0.01)] * 20, text("a", wait_s=10))
    first, second = house.candidate("first", slow), house.candidate("second", Played(text("b")))
    model = Fallback(hedging(choosing([first, second], as_listed)), retries=0)

    async def main() -> None:
        for _ in range(20):
            assert await said(model, asking()) == "aa"
        began = time.perf_counter()
        assert await said(model, asking()) == "bb"
        assert 0.01 <= time.perf_counter() - began < 1.0

    run(main())


def test_a_third_model_answers_where_both_fail():
    house = House()
    broken = [house.candidate(name, Played(Play(error=UpstreamError(f"{name} broke")))) for name in ("a", "b")]
    model = Fallback(
        hedging(choosing([*broken, house.candidate("c", Played(text("c")))], as_listed), after_s=STEP_S), retries=1
    )

    async def main() -> None:
        assert await said(model, asking()) == "cc"

    run(main())


@given(ticks=st.integers(0, 40), requests=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_a_whole_route_that_is_cancelled_at_any_moment_gives_everything_back(ticks: int, requests: int):
    house = House()
    played = [
        Played(text("a", wait_s=0.003, between_s=0.001), Play(error=UpstreamError("it broke"))),
        Played(text("b", wait_s=0.002, between_s=0.001)),
    ]
    candidates = []
    for n, model in enumerate(played):
        one = house.candidate(f"model-{n}", model)
        queue = Queued(one.model, one.watch, most_running=1, most_waiting=10, longest_wait_s=5.0)
        candidates.append(Candidate(one.name, queue, one.watch, one.known))
    route = Fallback(hedging(choosing(candidates, as_listed), after_s=0.001), retries=1)
    asked = [asking(caller=f"caller-{n}") for n in range(requests)]

    async def main() -> None:
        tasks = [asyncio.create_task(said(route, request)) for request in asked]
        for _ in range(ticks):
            await asyncio.sleep(0.0002)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [one.watch.running + one.watch.waiting for one in candidates] == [0, 0]
        assert [one.running for one in played] == [0, 0]
        assert house.taken() == sum(call.cost_pico_usd for request in asked for call in request.record.calls)
        assert await said(route, asking()) in ("aa", "bb")

    run(main())
