"""The cheap model first: its answer goes out where it passes the check, and not a byte of it where it does not."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from played import Play, Played, asking, run, wire

from penstock.errors import UpstreamError, UpstreamRefused
from penstock.models.cascade import CHECKS, Cascade
from penstock.types import ModelEvent, ModelRequest, Stopped, TextDelta, ToolCallDelta, Wire

SCHEMA = {
    "type": "object",
    "required": ["city", "people"],
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}, "rivers": {"items": {"type": "string"}}},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}


def cascade(check: str, cheap: Played, *, threshold: float = 0.8) -> tuple[Cascade, Played]:
    strong = Played(Play((TextDelta("strong"),)))
    return Cascade(cheap, strong, check=CHECKS[check], threshold=threshold), strong


def events_of(model: Cascade, request: ModelRequest) -> list[ModelEvent]:
    found: list[ModelEvent] = []

    async def main() -> None:
        found.extend([event async for event in model.stream(request)])

    run(main())
    return found


def text_of(model: Cascade, request: ModelRequest) -> str:
    """What was answered, as text: the stand-ins send either values or bytes."""
    text = ""
    for event in events_of(model, request):
        if isinstance(event, TextDelta):
            text += event.text
        elif isinstance(event, Wire):
            text += event.data.decode()
    return text


def whole(content: str, chances: Sequence[float] | None = None) -> Wire:
    """A chat answer as an upstream sends it, with the probability of each token."""
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    if chances is not None:
        choice["logprobs"] = {"content": [{"token": "x", "logprob": math.log(chance)} for chance in chances]}
    return wire(orjson.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}))


def streamed(pieces: Sequence[tuple[str, float]]) -> list[Wire]:
    found = []
    for text, chance in pieces:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        choice["logprobs"] = {"content": [{"token": text, "logprob": math.log(chance)}]}
        found.append(wire(b"data: " + orjson.dumps({"id": "1", "choices": [choice]}) + b"\n\n", stream=True))
    end = {"id": "1", "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]}
    return [*found, wire(b"data: " + orjson.dumps(end) + b"\n\ndata: [DONE]\n\n", stream=True)]


# ---------------------------------------------------------------- sure of its own words


@pytest.mark.parametrize(("chances", "passes"), [((0.9, 0.95), True), ((0.9, 0.3), False), ((), False), (None, False)])
def test_an_answer_goes_out_where_its_tokens_were_probable_enough(chances: tuple[float, ...] | None, passes: bool):
    model, strong = cascade("confident", Played(Play([whole("Bergen", chances)])))
    request = asking(stream=False)

    text = text_of(model, request)

    assert ("Bergen" in text) == passes
    assert (text == "strong") == (not passes) == bool(strong.asked)
    assert request.record.escalated == (not passes)


def test_probabilities_are_asked_for_and_taken_out_again_for_who_did_not_want_them():
    cheap = Played(Play(streamed([("Ber", 0.9), ("gen", 0.99)])))
    model, _ = cascade("confident", cheap)

    text = text_of(model, asking())

    assert cheap.asked[0].body["logprobs"] is True
    assert cheap.asked[0].data == b""
    assert "logprobs" not in text
    assert [
        orjson.loads(line[6:])["choices"][0]["delta"] for line in text.splitlines() if line.startswith("data: {")
    ] == [
        {"content": "Ber"},
        {"content": "gen"},
        {},
    ]
    assert text.endswith("data: [DONE]\n\n")


def test_who_asked_for_probabilities_gets_the_answer_as_it_came():
    events = streamed([("Bergen", 0.99)])
    model, _ = cascade("confident", Played(Play(events)))

    assert events_of(model, asking(logprobs=True))[:-1] == events


# ---------------------------------------------------------------- valid JSON


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ('{"city": "Bergen", "people": 290000}', True),
        ('{"city": "Bergen", "people": 290000, "rivers": ["Storelva"], "more": null}', True),
        ('{"city": "Bergen"}', False),
        ('{"city": "Bergen", "people": "many"}', False),
        ('{"city": "Bergen", "people": 1, "rivers": [1]}', False),
        ('{"city": "Bergen", "people": true}', False),
        ("[]", False),
        ("```json\n{}\n```", False),
        ("Bergen", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("as_wire", [True, False])
def test_json_passes_where_it_parses_and_has_what_the_schema_requires(answer: str, passes: bool, as_wire: bool):
    event = whole(answer) if as_wire else TextDelta(answer)
    model, strong = cascade("json", Played(Play([event])))

    text_of(model, asking(stream=False, response_format=FORMAT))

    assert bool(strong.asked) == (not passes)


def test_the_schema_is_found_in_other_dialects_too():
    request = asking(stream=False)
    body = {"model": "m", "input": "hi", "text": {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA}}}
    asked = ModelRequest(dialect="responses", model="m", body=body, record=request.record)

    for answer, passes in (('{"city": "Bergen", "people": 1}', True), ('{"city": 5}', False)):
        model, strong = cascade("json", Played(Play([TextDelta(answer)])))
        text_of(model, asked)
        assert bool(strong.asked) == (not passes)


def test_calls_of_tools_pass_where_their_arguments_are_json():
    for arguments, passes in (('{"city": "Bergen"}', True), ('{"city": ', False)):
        model, strong = cascade("json", Played(Play([ToolCallDelta(0, arguments, "1", "look_up")])))
        events_of(model, asking())
        assert bool(strong.asked) == (not passes)


# ---------------------------------------------------------------- two of one mind


@pytest.mark.parametrize(
    ("first", "second", "passes"),
    [
        ("It is Bergen.", "it is  bergen", True),
        ("It costs 50 kroner.", "It costs 51 kroner.", False),
        ("It is Bergen.", "I would say Oslo, perhaps.", False),
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}', True),
        ('{"a": 1}', '{"a": 2}', False),
        ("Это Берген", "это берген!", True),
    ],
)
def test_two_answers_that_say_the_same_pass(first: str, second: str, passes: bool):
    cheap = Played(*[Play([TextDelta(text)], wait_s=0.002) for text in (first, second)])
    model, strong = cascade("agree", cheap)

    text = text_of(model, asking())

    assert bool(strong.asked) == (not passes)
    assert text == (first if passes else "strong")


def test_the_second_sample_is_drawn_with_chance_and_both_at_the_same_time():
    cheap = Played(Play([TextDelta("Bergen")], wait_s=0.01))
    model, _ = cascade("agree", cheap)

    text_of(model, asking(temperature=0, seed=7))

    assert cheap.most_running == 2
    assert [(one.body["temperature"], one.body.get("seed")) for one in cheap.asked] == [(0, 7), (1.0, None)]


# ---------------------------------------------------------------- whatever happens


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("error", [UpstreamError("it broke"), UpstreamRefused("no logprobs here")])
def test_a_cheap_model_that_fails_is_replaced_by_the_strong_one(check: str, error: UpstreamError):
    model, _ = cascade(check, Played(Play(error=error)))

    assert text_of(model, asking()) == "strong"


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_of_an_answer_that_breaks_off_goes_out(check: str):
    model, _ = cascade(check, Played(Play([TextDelta("Ber")], then=UpstreamError("it broke off"))))

    assert text_of(model, asking()) == "strong"


@pytest.mark.parametrize("check", CHECKS)
def test_several_answers_at_once_are_left_to_the_strong_model(check: str):
    cheap = Played()
    model, _ = cascade(check, cheap)
    request = asking(n=2)

    assert text_of(model, request) == "strong"
    assert not cheap.asked
    assert not request.record.escalated


@given(check=st.sampled_from(sorted(CHECKS)), ticks=st.integers(0, 10))
def test_leaving_at_any_moment_leaves_nothing_running(check: str, ticks: int):
    cheap = Played(Play([TextDelta("{}")], wait_s=0.001))
    model, strong = cascade(check, cheap)

    async def main() -> None:
        async def listen() -> None:
            events = model.stream(asking())
            try:
                async for _ in events:
                    pass
            finally:
                await events.aclose()  # type: ignore[attr-defined]

        task = asyncio.create_task(listen())
        for _ in range(ticks):
            await asyncio.sleep(0.0002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert cheap.running == strong.running == 0

    run(main())


@given(st.lists(st.tuples(st.text(max_size=5), st.floats(0.01, 1.0)), min_size=1, max_size=6))
def test_a_streamed_answer_is_as_sure_as_the_same_answer_whole(pieces: list[tuple[str, float]]):
    sure = []
    for events, stream in (
        ([whole("".join(text for text, _ in pieces), [chance for _, chance in pieces])], False),
        (streamed(pieces), True),
    ):

        async def main(events: Sequence[Wire] = events, stream: bool = stream) -> None:
            checked = await CHECKS["confident"](Played(Play(events)), asking(stream=stream))
            sure.append(checked.sure)
            assert isinstance(checked.events[-1], Stopped)

        run(main())

    assert sure[0] == pytest.approx(sure[1])
