"""Money, tokens and requests are counted exactly: by many at the same time, over processes, and over the end of a process."""

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config import BudgetSettings
from penstock.errors import BudgetSpent, Limited
from penstock.models import limits
from penstock.models.budgets import Budgets
from penstock.models.limits import USD, InMemory, Limit, Want, window_at
from penstock.models.shared import Shared
from penstock.types import Caller, Record

DAY = Limit("shop/usd", "pico_usd", "day", 5 * USD, "budget 'shop'")
MINUTE = Limit("shop/requests", "requests", "minute", 60, "budget 'shop'")
AT_ONCE = Limit("shop/running", "running", "now", 2, "budget 'shop'")

MakeCounters = Callable[[], InMemory]


@pytest.fixture(params=["in memory", "shared"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> MakeCounters:
    """Counters of each kind, and with each call anew."""
    made = []

    def counters() -> InMemory:
        if request.param == "in memory":
            return InMemory()
        if sys.platform == "win32":
            pytest.skip("several processes need Linux or macOS")
        made.append(Shared(tmp_path / f"{len(made)}.counters", worker=0, workers=2))
        return made[-1]

    return counters


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.mono_ns = 1_795_000_000.0, 10**12
        monkeypatch.setattr(limits.time, "time", lambda: self.now_s)
        monkeypatch.setattr(limits.time, "monotonic_ns", lambda: self.mono_ns)

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.mono_ns += round(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_what_is_held_counts_until_it_is_settled(make: MakeCounters):
    counters = make()
    counters.hold([Want(DAY, 3 * USD)])

    with pytest.raises(BudgetSpent) as refused:
        counters.hold([Want(DAY, 3 * USD)])
    counters.settle([Want(DAY, 3 * USD)], [1 * USD])

    assert refused.value.retryable, "the rest is only held, and may be given back"
    assert counters.free(DAY) == 4 * USD


def test_a_spent_budget_says_what_it_is_and_when_it_ends(make: MakeCounters):
    counters = make()
    counters.settle([Want(DAY, 0)], [5 * USD])

    with pytest.raises(BudgetSpent) as refused:
        counters.hold([Want(DAY, 1)])

    assert "budget 'shop' allows 5.00 USD per day and has spent 5.00 USD" in refused.value.message
    assert "midnight UTC" in refused.value.hint
    assert not refused.value.retryable


def test_all_limits_of_a_request_are_held_or_none(make: MakeCounters):
    counters = make()
    counters.hold([Want(AT_ONCE, 2)])

    with pytest.raises(Limited):
        counters.hold([Want(DAY, USD), Want(AT_ONCE, 1)])

    assert counters.free(DAY) == 5 * USD


def test_a_minute_leaks_evenly_and_says_how_long_to_wait(make: MakeCounters, clock: Clock):
    counters = make()
    counters.hold([Want(MINUTE, 60)])

    with pytest.raises(Limited) as refused:
        counters.hold([Want(MINUTE, 2)])
    clock.pass_s(2.0)
    counters.hold([Want(MINUTE, 2)])

    assert refused.value.retry_after_s == pytest.approx(2.0)
    with pytest.raises(Limited):
        counters.hold([Want(MINUTE, 1)])


def test_a_request_that_can_never_fit_is_told_so(make: MakeCounters):
    with pytest.raises(Limited, match="this request alone may take 61"):
        make().hold([Want(MINUTE, 61)])


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 3)), max_size=60))
@settings(deadline=None, max_examples=60)
def test_no_minute_lets_more_through_than_its_limit_and_what_leaked(steps: list[tuple[float, int]]):
    with pytest.MonkeyPatch.context() as patch:
        clock, counters, let_through, passed = Clock(patch), InMemory(), 0, 0.0
        for wait_s, amount in steps:
            clock.pass_s(wait_s)
            passed += wait_s
            try:
                counters.hold([Want(MINUTE, amount)])
                let_through += amount
            except Limited:
                pass

    assert let_through <= 60 + passed + 1e-6


def test_a_new_day_has_its_own_money_and_keeps_what_is_held(make: MakeCounters, clock: Clock):
    counters = make()
    counters.settle([Want(DAY, 0)], [4 * USD])
    counters.hold([Want(DAY, 1 * USD)])

    clock.pass_s(86_400)

    assert counters.free(DAY) == 4 * USD


def test_a_clock_that_is_set_back_gives_nothing_away(make: MakeCounters, clock: Clock):
    counters = make()
    clock.pass_s(86_400)
    counters.settle([Want(DAY, 0)], [5 * USD])

    clock.now_s -= 3 * 86_400

    with pytest.raises(BudgetSpent):
        counters.hold([Want(DAY, 1)])


def test_what_was_spent_before_the_start_counts(make: MakeCounters):
    today, counters = window_at("day", time.time()), make()

    counters.book([("shop/usd", today, 2 * USD), ("other/limit_usd_per_day", today, USD), ("shop/usd", today - 1, USD)])

    assert counters.free(DAY) == 3 * USD


@given(
    most=st.integers(1, 10_000),
    calls=st.lists(st.tuples(st.integers(1, 500), st.floats(0, 1), st.booleans()), min_size=1, max_size=200),
)
@settings(deadline=None, max_examples=50)
def test_a_budget_holds_exactly_under_two_hundred_concurrent_requests(most: int, calls: list[tuple[int, float, bool]]):
    counters, limit = InMemory(), Limit("b", "pico_usd", "ever", most)
    spent = 0
    most_at_once = 0

    async def one(holds: int, share: float, fails: bool) -> None:
        nonlocal spent, most_at_once
        want = [Want(limit, holds)]
        try:
            counters.hold(want)
        except BudgetSpent:
            return
        most_at_once = max(most_at_once, most - counters.free(limit))
        await asyncio.sleep(0)
        used = 0 if fails else int(holds * share)
        counters.settle(want, [used])
        spent += used

    async def all_of_them() -> None:
        await asyncio.gather(*(one(*call) for call in calls))

    asyncio.run(all_of_them())

    assert spent <= most
    assert most_at_once <= most
    assert counters.free(limit) == most - spent


# ---------------------------------------------------------------- which limits a request meets


def names(budgets: Budgets, caller: Caller, record: Record, model: str = "small") -> set[str]:
    found = (*budgets.at_door(caller, record), *budgets.at_call(caller, record, model).limits)
    assert len(found) == len(set(found)), "no limit is met twice"
    return {limit.name for limit in found}


def test_a_budget_counts_the_requests_that_fit_all_it_names():
    budgets = Budgets({"b": BudgetSettings(team="support", app="help", limit_usd_per_day=1, requests_per_minute=5)})

    fits = names(budgets, Caller("anna", team="support"), Record("t", app="help"))

    assert fits == {"budget/b/limit_usd_per_day", "budget/b/requests_per_minute"}
    assert not names(budgets, Caller("anna", team="sales"), Record("t", app="help"))
    assert not names(budgets, Caller("anna", team="support"), Record("t"))


@pytest.mark.parametrize(
    ("per", "subject"), [("key", "anna"), ("team", "support"), ("person", "u1"), ("app", "help"), ("model", "small")]
)
def test_a_budget_for_each_counts_them_apart(per: str, subject: str):
    budgets = Budgets({"b": BudgetSettings(per=per, limit_usd_per_day=1, requests_per_minute=5)})  # type: ignore[arg-type]

    found = names(budgets, Caller("anna", team="support"), Record("t", person="u1", app="help"))

    assert found == {f"budget/b/{subject}/limit_usd_per_day", f"budget/b/{subject}/requests_per_minute"}


def test_a_budget_per_person_leaves_requests_alone_that_name_nobody():
    budgets = Budgets({"b": BudgetSettings(per="person", limit_usd_per_day=1)})

    assert not names(budgets, Caller("anna"), Record("t"))


def test_a_key_brings_its_own_limits():
    budgets = Budgets({})
    budgets.use_keys({"anna": BudgetSettings(limit_usd=1)})

    assert names(budgets, Caller("anna"), Record("t")) == {"key/anna/limit_usd"}
    assert not names(budgets, Caller("ben"), Record("t"))


# ---------------------------------------------------------------- several processes


def hold_and_stay(path: Path, worker: int, ready: object, go_on: object) -> None:
    counters = Shared(path, worker=worker, workers=2)
    counters.hold([Want(DAY, 2 * USD)])
    ready.set()  # type: ignore[attr-defined]
    go_on.wait(60)  # type: ignore[attr-defined]


def spend_often(path: Path, worker: int) -> None:
    counters = Shared(path, worker=worker, workers=2)
    for _ in range(400):
        try:
            counters.hold([Want(DAY, USD // 100)])
        except BudgetSpent:
            continue
        counters.settle([Want(DAY, USD // 100)], [USD // 100])


@pytest.mark.skipif(sys.platform == "win32", reason="several processes need Linux or macOS")
def test_two_processes_never_spend_more_than_there_is(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    here = Shared(tmp_path / "counters", worker=0, workers=2)
    processes = [context.Process(target=spend_often, args=(tmp_path / "counters", n)) for n in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)

    assert here.free(DAY) == 0, "800 times a cent was asked for, and 500 are there"


@pytest.mark.skipif(sys.platform == "win32", reason="several processes need Linux or macOS")
def test_what_a_killed_process_held_is_given_back(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    ready, go_on = context.Event(), context.Event()
    here = Shared(tmp_path / "counters", worker=0, workers=2)
    process = context.Process(target=hold_and_stay, args=(tmp_path / "counters", 1, ready, go_on))
    process.start()
    assert ready.wait(60)
    while_it_lives = here.free(DAY)
    process.kill()
    process.join(60)

    Shared(tmp_path / "counters", worker=1, workers=2).forget()

    assert (while_it_lives, here.free(DAY)) == (3 * USD, 5 * USD)


@pytest.mark.skipif(sys.platform == "win32", reason="several processes need Linux or macOS")
def test_a_full_table_gives_the_place_of_what_has_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penstock.models.shared.SLOTS", 4)
    clock = Clock(monkeypatch)
    counters = Shared(tmp_path / "counters", worker=0, workers=1)
    for day in range(6):
        for name in ("a", "b"):
            counters.settle([Want(Limit(f"{name}{day}", "tokens", "day", 10), 0)], [3])
        clock.pass_s(86_400)

    today = Limit("a-today", "tokens", "day", 10)

    assert counters.free(today) == 10
