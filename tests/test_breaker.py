"""An upstream that fails is left alone for a while, then asked once; what was seen of it says how well it is."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from played import Play, Played, asking, candidate, run, said

from penstock.errors import NotOffered, UpstreamBusy, UpstreamError, UpstreamRefused, UpstreamResting
from penstock.models.breaker import FAILURES, FIRST_REST_S, LONGEST_ASKED_S, LONGEST_REST_S, Breaker
from penstock.models.watch import ENOUGH, Latency, Watch
from penstock.types import Call, Usage

FAILED = UpstreamError("it broke")


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def failing(breaker: Breaker, clock: Clock, times: int = FAILURES) -> None:
    for _ in range(times):
        clock.now += 0.001
        breaker.failed(clock.now, FAILED)


def rested(clock: Clock) -> Breaker:
    """A breaker whose first rest has just ended."""
    breaker = Breaker("large", clock=clock)
    failing(breaker, clock)
    clock.now += FIRST_REST_S
    return breaker


@given(outcomes=st.lists(st.booleans(), max_size=60))
def test_an_upstream_rests_after_five_failures_in_a_row_and_not_before(outcomes: list[bool]):
    clock = Clock()
    breaker, in_a_row = Breaker("large", clock=clock), 0

    for well in outcomes:
        clock.now += 1.0
        if well:
            breaker.succeeded(clock.now)
        else:
            breaker.failed(clock.now, FAILED)
        in_a_row = 0 if well else in_a_row + 1
        if in_a_row == FAILURES:
            break

    assert breaker.resting == (in_a_row == FAILURES)


def test_while_it_rests_nobody_calls_it_and_the_refusal_says_why_and_for_how_long():
    model = Played(Play(error=FAILED))
    tried = candidate("large", model)

    async def main() -> None:
        for _ in range(FAILURES):
            with pytest.raises(UpstreamError, match="it broke"):
                await said(tried.model, asking())
        with pytest.raises(UpstreamResting, match="left alone for now; it last failed with: it broke") as refused:
            await said(tried.model, asking())
        assert refused.value.retryable
        assert 0 < refused.value.retry_after_s <= FIRST_REST_S
        assert len(model.asked) == FAILURES

    run(main())


def test_after_the_rest_one_call_is_let_through_and_decides_for_all():
    clock = Clock()
    breaker = rested(clock)

    assert breaker.refusal() is None
    breaker.started(clock.now)
    assert isinstance(breaker.refusal(), UpstreamResting)
    breaker.succeeded(clock.now)

    assert breaker.closed


def test_each_rest_is_twice_as_long_as_the_one_before_and_none_is_longer_than_a_minute():
    clock = Clock()
    breaker = Breaker("large", clock=clock)
    failing(breaker, clock)
    rests = []

    for _ in range(8):
        refusal = breaker.refusal()
        assert refusal is not None
        rests.append(round(refusal.retry_after_s, 6))
        clock.now += refusal.retry_after_s + 0.001
        breaker.started(clock.now)
        breaker.failed(clock.now, FAILED)

    assert rests == [1, 2, 4, 8, 16, 32, LONGEST_REST_S, LONGEST_REST_S]


def test_a_trial_that_is_given_up_lets_the_next_one_try():
    clock = Clock()
    breaker = rested(clock)

    breaker.started(clock.now)
    breaker.left(clock.now)

    assert breaker.refusal() is None
    assert not breaker.closed


def test_calls_that_began_before_the_rest_do_not_end_it():
    clock = Clock()
    breaker = Breaker("large", clock=clock)
    before = clock.now
    failing(breaker, clock)

    breaker.succeeded(before)

    assert breaker.resting


@pytest.mark.parametrize(
    ("before", "asked_s", "rest_s"),
    [
        (0, 2.0, 2.0),
        (0, 3600.0, LONGEST_ASKED_S),
        (FAILURES - 1, 7.0, 7.0),
        (FAILURES - 1, 3600.0, LONGEST_REST_S),
    ],
)
def test_an_upstream_that_asks_for_a_pause_gets_it_at_once_and_a_long_one_when_it_insists(
    before: int, asked_s: float, rest_s: float
):
    clock = Clock()
    breaker = Breaker("large", clock=clock)
    failing(breaker, clock, before)

    breaker.failed(clock.now, UpstreamBusy("slow down", retry_after_s=asked_s))

    refusal = breaker.refusal()
    assert refusal is not None
    assert refusal.retry_after_s == pytest.approx(rest_s)


@pytest.mark.parametrize("error", [UpstreamRefused("your request is malformed"), NotOffered("no speech here")])
def test_requests_that_are_wrong_themselves_do_not_give_an_upstream_a_rest(error: Exception):
    model = Played(Play(error=error))
    tried = candidate("large", model)

    async def main() -> None:
        for _ in range(3 * FAILURES):
            with pytest.raises(type(error)):
                await said(tried.model, asking())
        assert len(model.asked) == 3 * FAILURES
        assert tried.watch.error_rate == 0

    run(main())


def test_a_trial_that_is_cancelled_does_not_block_the_upstream_for_ever():
    model = Played(*[Play(error=FAILED)] * FAILURES, Play(wait_s=10), Play())
    tried = candidate("large", model)

    async def main() -> None:
        for _ in range(FAILURES):
            with pytest.raises(UpstreamError):
                await said(tried.model, asking())
        await asyncio.sleep(FIRST_REST_S)
        trial = asyncio.create_task(said(tried.model, asking()))
        await asyncio.sleep(0.01)
        with pytest.raises(UpstreamResting):
            await said(tried.model, asking())
        trial.cancel()
        await asyncio.gather(trial, return_exceptions=True)
        assert await said(tried.model, asking()) == "hello world"
        assert tried.watch.breaker.closed

    run(main())


# ---------------------------------------------------------------- what was seen


@given(seconds=st.lists(st.floats(0.001, 100), min_size=ENOUGH, max_size=300))
def test_percentiles_are_those_of_the_recent_calls(seconds: list[float]):
    latency = Latency()
    for n, value in enumerate(seconds):
        latency.add(value, float(n))
    latency.percentile(50)

    recent = sorted(seconds[-128:])

    assert recent[0] <= latency.percentile(50) <= latency.percentile(95) <= recent[-1]
    assert latency.percentile(95) == recent[len(recent) * 95 // 100]


def test_nothing_is_said_about_slow_calls_before_enough_were_seen():
    latency = Latency()
    for n in range(ENOUGH - 1):
        latency.add(1.0, float(n))

    assert latency.percentile(95) == 0.0


def test_calls_that_were_given_up_while_slow_do_not_make_an_upstream_look_faster():
    latency = Latency()
    for n in range(1, 101):
        latency.add(n / 100, 0.0)
    usual_s = latency.percentile(95)

    for _ in range(500):
        latency.add_unanswered(usual_s + 0.5, 0.0)
        latency.add_unanswered(0.001, 0.0)  # a caller who left at once tells nothing

    assert latency.percentile(95) == usual_s


def test_a_watch_counts_what_runs_fails_and_how_fast_tokens_come():
    watch = Watch("large")
    ok = Call("large", "ok", Usage(10, 100), 0, first_ms=200.0, duration_ms=1200.0)

    watch.started(1.0)
    assert watch.running == 1
    watch.answered(1.0, 1.2, streamed=True)
    watch.ended(1.0, ok, None, streamed=True)
    watch.started(3.0)
    watch.ended(3.0, Call("large", "failed", error="upstream_error"), FAILED, streamed=True)

    report = watch.report()
    assert (report["running"], report["calls"], report["failed"], report["state"]) == (0, 2, 1, "up")
    assert report["tokens_per_s"] == 100.0
    assert report["first_ms"]["streamed"]["average"] == 200.0
    assert report["last_error"] == "upstream_error"
