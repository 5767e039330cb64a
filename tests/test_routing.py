"""Routes: which model a request tries first, what happens when it fails, and what a caller gets to know of it."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import House, Play, Played, asking, candidate, run, said
from serving import asked, serving
from upstream import TEXT, Turn, upstream

from penstock.assemble import assemble
from penstock.config import BudgetSettings, ModelSettings, RouteSettings, Settings, load
from penstock.errors import (
    BadSetting,
    BudgetSpent,
    Limited,
    NotOffered,
    Overloaded,
    PenstockError,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamResting,
    UpstreamTimeout,
)
from penstock.models.balance import Candidate, Order, Weighted, as_listed, cheapest, choosing, fastest, least_busy
from penstock.models.breaker import FAILURES
from penstock.models.budgets import Budgets
from penstock.models.fallback import Fallback
from penstock.models.limits import Want
from penstock.models.prices import Price, Rate
from penstock.models.route import Route, little_left, tags_in
from penstock.types import Call, Caller, ModelRequest, Record, TextDelta, Wire

BROKE = UpstreamError("it broke")


def saying(word: str, **play: object) -> Played:
    return Played(Play((TextDelta(word),), **play))  # type: ignore[arg-type]


def route(*models: Played, retries: int = 2, order: Order = as_listed) -> Fallback:
    named = [candidate(name, model) for name, model in zip("abc", models, strict=False)]
    return Fallback(choosing(named, order), retries=retries)


def answered(model: Fallback | Route, request: ModelRequest | None = None) -> str:
    """The answer, in a loop of its own."""
    answers: list[str] = []

    async def main() -> None:
        answers.append(await said(model, request or asking()))

    run(main())
    return answers[0]


def refused(model: Fallback | Route, request: ModelRequest | None = None) -> PenstockError:
    with pytest.raises(PenstockError) as error:
        answered(model, request)
    return error.value


# ---------------------------------------------------------------- one after the other


@pytest.mark.parametrize(
    "error",
    [
        BROKE,
        UpstreamBusy("busy", retry_after_s=60.0),
        UpstreamTimeout("no word"),
        UpstreamResting("left alone"),
        Overloaded("full"),
        Limited("too fast"),
        BudgetSpent("nothing left"),
        NotOffered("no such thing here"),
    ],
)
def test_what_another_model_may_do_goes_to_the_next_one_at_once(error: PenstockError):
    before = time.perf_counter()

    assert answered(route(Played(Play(error=error)), saying("b"))) == "b"
    assert time.perf_counter() - before < 0.2


@pytest.mark.parametrize("error", [UpstreamRefused("malformed"), UpstreamRefused("against our rules", code="policy")])
def test_what_is_wrong_with_the_request_itself_is_not_tried_elsewhere(error: PenstockError):
    second = saying("b")

    assert refused(route(Played(Play(error=error)), second)) is error
    assert not second.asked


def test_nothing_is_tried_again_once_the_caller_has_seen_a_piece():
    first, second = Played(Play((TextDelta("a"),), then=BROKE)), saying("b")
    model = route(first, second)
    pieces: list[object] = []

    async def main() -> None:
        events = model.stream(asking())
        pieces.append(await anext(events))
        with pytest.raises(UpstreamError):
            await anext(events)

    run(main())
    assert pieces == [TextDelta("a")]
    assert (len(first.asked), len(second.asked)) == (1, 0)


def test_a_model_that_failed_is_asked_again_after_a_pause_behind_the_others():
    first = Played(Play(error=BROKE), Play((TextDelta("a"),)))
    second = Played(Play(error=BROKE))
    before = time.perf_counter()

    assert answered(route(first, second)) == "a"
    assert (len(first.asked), len(second.asked)) == (2, 1)
    assert time.perf_counter() - before >= 0.12


def test_an_upstream_that_says_when_to_come_back_is_not_asked_before():
    asked_s = 0.4
    first = Played(Play(error=UpstreamBusy("busy", retry_after_s=asked_s)), Play((TextDelta("a"),)))
    before = time.perf_counter()

    assert answered(route(first)) == "a"
    assert time.perf_counter() - before >= asked_s


def test_one_that_wants_us_to_come_back_in_an_hour_is_not_waited_for():
    first = Played(Play(error=UpstreamBusy("busy", retry_after_s=3600.0)))

    assert isinstance(refused(route(first)), UpstreamBusy)
    assert len(first.asked) == 1


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_there_are_as_many_further_tries_as_the_settings_say_over_all_models(retries: int):
    models = [Played(Play(error=BROKE)) for _ in range(2)]

    refused(route(*models, retries=retries))

    assert sum(len(model.asked) for model in models) == 1 + retries


def test_a_refusal_of_our_own_costs_no_retry_and_is_not_asked_again():
    full, spent, last = Played(Play(error=Overloaded("full"))), Played(Play(error=BudgetSpent("spent"))), saying("c")

    assert answered(route(full, spent, last, retries=0)) == "c"
    assert (len(full.asked), len(spent.asked)) == (1, 1)


def test_the_last_error_is_raised_and_says_what_came_before():
    error = refused(
        route(
            Played(Play(error=UpstreamError("first broke"))), Played(Play(error=BudgetSpent("nothing left"))), retries=0
        )
    )
    assert isinstance(error, UpstreamError)  # no retry left for the second

    error = refused(
        route(Played(Play(error=Overloaded("full"))), Played(Play(error=BudgetSpent("nothing left", hint="wait"))))
    )
    assert isinstance(error, BudgetSpent)
    assert error.hint == "wait; before that: full"


def test_a_request_that_is_too_long_for_one_model_goes_to_the_next_with_a_larger_context():
    too_long = UpstreamRefused("This model's maximum context length is 8192 tokens", code="context_length_exceeded")
    first, same, larger = Played(Play(error=too_long)), saying("b"), saying("c")
    house = House(Budgets({}))
    model = Fallback(
        choosing(
            [
                house.candidate("a", first, context=8192),
                house.candidate("b", same, context=8192),
                house.candidate("c", larger, context=128_000),
            ],
            as_listed,
        ),
        retries=0,
    )

    assert answered(model) == "c"
    assert not same.asked


def test_the_deadline_holds_over_all_tries():
    model = Route(route(Played(Play(wait_s=10)), saying("b")), deadline_s=0.05)
    before = time.perf_counter()

    assert isinstance(refused(model), UpstreamTimeout)
    assert time.perf_counter() - before < 0.5


def test_an_answer_that_has_begun_may_take_longer_than_the_deadline():
    slow = Played(Play((TextDelta("a"), TextDelta("b")), between_s=0.1))

    assert answered(Route(route(slow), deadline_s=0.05)) == "ab"


@given(
    ticks=st.integers(0, 12),
    plays=st.lists(st.sampled_from([Play(), Play(error=BROKE), Play(wait_s=0.001)]), min_size=1, max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_leaving_at_any_moment_stops_the_call_that_runs(ticks: int, plays: list[Play]):
    models = [Played(play) for play in plays]
    model = route(*models, retries=1)

    async def main() -> None:
        task = asyncio.create_task(said(model, asking()))
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [one.running for one in models] == [0] * len(models)

    run(main())


# ---------------------------------------------------------------- who comes first


def first_of(order: Order, *candidates: Candidate, request: ModelRequest | None = None) -> str:
    return choosing(candidates, order)(request or asking())[0].name


weights = st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any)


@given(weights=weights, calls=st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_weighted_shares_are_kept_at_every_moment(weights: list[int], calls: int):
    named = [candidate(f"model-{n}", Played()) for n in range(len(weights))]
    order = Weighted({one.name: float(weight) for one, weight in zip(named, weights, strict=True)})
    choose = choosing(named, order)

    seen = Counter(choose(asking())[0].name for _ in range(calls))

    for one, weight in zip(named, weights, strict=True):
        assert abs(seen[one.name] - calls * weight / sum(weights)) <= len(named)
        assert weight or not seen[one.name]


def test_the_one_with_the_fewest_calls_and_waiters_comes_first():
    busy, waiting, idle = (candidate(name, Played()) for name in ("busy", "waiting", "idle"))
    busy.watch.running = 2
    waiting.watch.waiting = 1

    assert first_of(least_busy, busy, waiting, idle) == "idle"
    assert {first_of(least_busy, candidate("a", Played()), candidate("b", Played())) for _ in range(50)} == {"a", "b"}


def test_the_one_that_was_seen_to_begin_soonest_comes_first_and_unknown_ones_are_tried():
    slow, quick, unknown = (candidate(name, Played()) for name in ("slow", "quick", "unknown"))
    now = time.perf_counter()
    for one, first_s in ((slow, 0.5), (quick, 0.1)):
        one.watch.streamed.add(first_s, now)

    assert first_of(fastest, slow, quick) == "quick"
    assert first_of(fastest, slow, quick, unknown) == "unknown"


def test_a_quick_model_that_mostly_fails_is_not_the_fastest():
    failing, steady = candidate("failing", Played()), candidate("steady", Played())
    now = time.perf_counter()
    for one in (failing, steady):
        one.watch.streamed.add(0.1, now)
    for n in range(20):
        failing.watch.started(now)
        failing.watch.ended(now, Call("failing", "failed"), BROKE, streamed=True)
        if n % 4 == 3:
            failing.watch.breaker.succeeded(now)

    assert first_of(fastest, failing, steady) == "steady"


def test_the_cheapest_depends_on_how_much_is_read_and_written():
    reads_cheaply = candidate("reads", Played(), price=Price((Rate(0, 1, 100, 1, 1),)))
    writes_cheaply = candidate("writes", Played(), price=Price((Rate(0, 20, 10, 20, 20),)))
    unknown = candidate("unknown", Played(), price=None)

    assert (
        first_of(cheapest, unknown, writes_cheaply, reads_cheaply, request=asking("x" * 40_000, max_tokens=10))
        == "reads"
    )
    assert first_of(cheapest, unknown, reads_cheaply, writes_cheaply, request=asking("x", max_tokens=1000)) == "writes"


def test_a_model_whose_context_cannot_hold_the_request_is_left_out():
    small, large = candidate("small", Played(), context=1000), candidate("large", Played(), context=100_000)

    assert first_of(as_listed, small, large, request=asking("x" * 400)) == "small"
    assert first_of(as_listed, small, large, request=asking("x" * 8000)) == "large"
    assert first_of(as_listed, small, large, request=asking("x", max_tokens=2000)) == "large"
    assert first_of(as_listed, small, large, request=asking("x" * 800_000)) == "large"  # it says so itself


def test_models_that_rest_come_last_whatever_the_order_says():
    resting, well = candidate("resting", Played(Play(error=BROKE))), candidate("well", saying("b"))
    for n in range(FAILURES):
        resting.watch.breaker.failed(float(n), BROKE)

    for order in (as_listed, least_busy, fastest, cheapest, Weighted({"resting": 100.0})):
        assert first_of(order, resting, well) == "well"


# ---------------------------------------------------------------- tags and money


def test_a_tagged_request_is_taken_by_the_model_of_its_tag_and_by_no_other():
    model = Route(
        route(saying("usual")),
        tagged={"private": route(saying("at home")), "code": route(saying("coder"))},
    )

    assert answered(model) == "usual"
    assert answered(model, asking(tags=("code",))) == "coder"
    assert answered(model, asking(tags=("code", "private"))) == "at home"  # the order of the settings decides
    assert answered(model, asking(tags=("unknown",))) == "usual"


def test_a_private_request_does_not_go_elsewhere_when_its_model_fails():
    usual = saying("usual")
    model = Route(route(usual), tagged={"private": route(Played(Play(error=BROKE)), retries=0)})

    assert refused(model, asking(tags=("private",))) is BROKE
    assert not usual.asked


@pytest.mark.parametrize(
    ("header", "body", "tags"),
    [
        ("", {}, ()),
        ("code, batch ,,code", {}, ("code", "batch")),
        ("code", {"metadata": {"tags": "private"}}, ("code", "private")),
        ("", {"metadata": {"tags": ["private"]}}, ()),
        ("", {"metadata": "private"}, ()),
        (",".join(f"tag-{n}" for n in range(100)), {}, tuple(f"tag-{n}" for n in range(20))),
    ],
)
def test_tags_come_with_a_header_and_with_the_metadata(header: str, body: dict[str, object], tags: tuple[str, ...]):
    assert tags_in(header, body) == tags


def test_when_little_of_a_budget_is_left_the_cheaper_model_takes_over_for_that_caller_alone():
    house = House(Budgets({"each": BudgetSettings(limit_usd=1e-6, per="key")}))  # a million picodollars
    usual, thrifty = (
        Fallback(choosing([house.candidate(name, saying(name))], as_listed), retries=0) for name in ("large", "small")
    )
    model = Route(usual, thrifty=thrifty, is_low=little_left(house.budgets, house.counters, 10.0))

    for caller, spent in (("ann", 900_000), ("bob", 900_001)):
        want = Want(house.budgets.at_call(Caller(caller), Record(""), "").money[0], 0)
        house.counters.settle([want], [spent])

    assert answered(model, asking(caller="eve")) == "large"
    assert not little_left(house.budgets, house.counters, 10.0)(asking(caller="ann"))
    assert little_left(house.budgets, house.counters, 10.0)(asking(caller="bob"))
    assert answered(model, asking(caller="bob", max_tokens=1)) == "small"


# ---------------------------------------------------------------- from the settings


def house_settings(
    home: Path, url: str, *models: str, known: dict[str, ModelSettings] | None = None, **route: Any
) -> Settings:
    """Models with the names that the upstream knows what to do for, and the route `best` over them."""
    priced = {n: ModelSettings(base_url=url, input_usd_per_million=1.0, output_usd_per_million=2.0) for n in models}
    return Settings(
        home=str(home), models=priced | (known or {}), routes={"best": RouteSettings(models=models, **route)}
    )


def ask(settings: Settings, *, stream: bool = False, tags: tuple[str, ...] = ()) -> tuple[str, list[Call]]:
    """A route's answer through the whole house, and the calls that it took."""
    house = assemble(settings)
    body = {"model": "best", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    request = ModelRequest(
        dialect="chat",
        model="best",
        body=body,
        data=orjson.dumps(body),
        stream=stream,
        tags=tags,
        record=Record("trace"),
    )
    data = bytearray()

    async def main() -> None:
        async for event in house.gateway.stream(request):
            if isinstance(event, Wire):
                data.extend(event.data)
        house.clients.close()

    try:
        asyncio.run(main())
    finally:
        house.close()
    if not stream:
        return orjson.loads(bytes(data))["choices"][0]["message"]["content"], request.record.calls
    values = [orjson.loads(line[5:]) for line in data.splitlines() if line.startswith(b"data: {")]
    pieces = [choice["delta"].get("content") or "" for value in values for choice in value["choices"]]
    return "".join(pieces), request.record.calls


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choose", ["order", "weighted", "least_busy", "fastest", "cheapest"])
def test_a_route_answers_although_one_of_its_models_fails(home: Path, choose: str, stream: bool):
    with upstream() as up:
        text, calls = ask(house_settings(home, up.url, "fail", "large", choose=choose), stream=stream)

    assert text == TEXT
    assert calls[-1].model == "large"


def test_a_route_hedges_a_model_that_hangs(home: Path):
    with upstream() as up:
        text, calls = ask(house_settings(home, up.url, "hang", "large", hedge=True, hedge_after_s=0.05), stream=True)

        assert text == TEXT
        assert [(call.model, call.outcome) for call in calls] == [("hang", "cancelled"), ("large", "ok")]
        assert up.aborted == 1


def test_a_route_takes_its_tags_from_the_settings(home: Path):
    with upstream() as up:
        _, calls = ask(house_settings(home, up.url, "large", "small", tags={"quick": "small"}), tags=("quick",))

    assert [call.model for call in calls] == ["small"]


@pytest.mark.parametrize("how", ["header", "metadata"])
def test_callers_set_tags_over_http(tmp_path: Path, how: str):
    said: dict[str, Any] = {"headers": {"x-penstock-tags": "quick"}}
    if how == "metadata":
        said = {"extra": {"metadata": {"tags": "quick"}}}
    with upstream() as up:
        toml = "".join(f'[models.{name}]\nbase_url = "{up.url}"\n' for name in ("large", "small"))
        toml += '[routes.best]\nmodels = ["large"]\ntags = { quick = "small" }\n'
        with serving(tmp_path, toml, documents=False) as served:
            body = asked("best", "Hello", **said.get("extra", {}))
            answer = served.client().post("/v1/chat/completions", json=body, headers=said.get("headers"))

        assert answer.status_code == 200
        assert [one.model for one in up.seen] == ["small"]


def test_a_model_with_a_limit_of_concurrent_calls_keeps_it(home: Path):
    with upstream(large=[Turn(wait_s=0.02)]) as up:
        house = assemble(
            Settings(home=str(home), models={"large": ModelSettings(base_url=up.url, max_concurrent=2, max_queue=3)})
        )
        running: list[int] = []

        async def one() -> int:
            try:
                body = {"model": "large", "messages": []}
                request = ModelRequest(
                    dialect="chat", model="large", body=body, data=orjson.dumps(body), record=Record("")
                )
                running.extend([house.watches["large"].running async for _ in house.gateway.stream(request)])
            except Overloaded:
                return 0
            return 1

        async def main() -> None:
            assert sum(await asyncio.gather(*[one() for _ in range(8)])) == 5
            house.clients.close()

        asyncio.run(main())
        house.close()

    assert max(running) <= 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('models = ["any"]', "takes the model's name from the caller"),
        ('models = ["large"]\nchoose = "cascade"', "there is only one model"),
        ('models = ["huge"]', "which is no model"),
        ("models = []", "is empty"),
    ],
)
def test_a_route_that_cannot_work_is_refused_when_the_settings_are_read(tmp_path: Path, text: str, message: str):
    file = tmp_path / "penstock.toml"
    file.write_text(f'[models.large]\n[models.any]\nmodel = "*"\n[routes.best]\n{text}\n')

    with pytest.raises(BadSetting, match=message):
        load(file)
