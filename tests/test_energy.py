"""The estimate of energy: what it reckons, by hand, and what is known of a model by its name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.observe.energy import NOTHING, Energy, Plant, billions_in, in_a_data_centre, of_request, on_this_machine
from penstock.observe.ledger import _standing_for


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llama-3.1-8b-instruct", (8.0, 8.0)),
        ("smollm2-135m", (0.135, 0.135)),
        ("qwen3-30b-a3b", (30.0, 3.0)),
        ("Qwen3-235B-A22B", (235.0, 22.0)),
        ("mixtral-8x7b", (47.04, 12.6)),
        ("gemma-2-2.5b", (2.5, 2.5)),
        ("gpt-5-mini", None),
        ("claude-opus-4", None),
        ("4bit-model", None),
    ],
)
def test_a_name_may_say_how_large_a_model_is(name: str, billions: tuple[float, float] | None):
    assert billions_in(name) == (pytest.approx(billions) if billions else None)


def test_a_model_in_a_data_centre_by_hand():
    energy = in_a_data_centre(100, (8.0, 8.0), Plant(grams_per_kwh=500.0, pue=1.0))

    gpu = 100 * (8.91e-5 * 8 + 1.43e-3)
    server = 1000 / 8 * 100 * (8.02e-4 * 8 + 2.23e-2) / 3600
    assert energy.wh == pytest.approx(gpu + server)
    assert (energy.low_wh, energy.high_wh) == (pytest.approx(energy.wh / 3), pytest.approx(energy.wh * 3))
    assert energy.grams == pytest.approx(energy.wh / 1000 * 500)


def test_a_model_on_this_machine_takes_its_threads_time():
    assert on_this_machine(3_600_000, 2, Plant(watts_per_thread=10.0)).wh == pytest.approx(20.0)


def test_of_a_model_nobody_knows_the_ends_are_far_apart():
    unknown, known = in_a_data_centre(100, None), in_a_data_centre(100, (8.0, 8.0))

    assert unknown.high_wh / unknown.low_wh > 10 * known.high_wh / known.low_wh


@given(tokens=st.integers(0, 10**6), billions=st.floats(0.01, 2000))
def test_more_tokens_and_more_parameters_never_take_less(tokens: int, billions: float):
    one = in_a_data_centre(tokens, (billions, billions))

    assert one.low_wh <= one.wh <= one.high_wh
    assert in_a_data_centre(tokens + 1, (billions, billions)).wh >= one.wh
    assert in_a_data_centre(tokens, (billions * 2, billions * 2)).wh >= one.wh


def test_a_request_takes_what_all_its_calls_took():
    def each(model: str, tokens: int, duration_ms: float) -> Energy:
        return Energy(float(tokens), 0.0, 0.0, duration_ms)

    calls = json.dumps(
        [{"model": "a", "output_tokens": 3, "duration_ms": 5.0}, {"model": "b", "output_tokens": 4, "duration_ms": 7.0}]
    )
    assert of_request(_standing_for("route", calls, 20.0, 7), each) == Energy(7.0, 0.0, 0.0, 12.0)
    assert of_request(_standing_for("a", "", 5.0, 3), each) == Energy(3.0, 0.0, 0.0, 5.0)
    assert of_request(_standing_for("a", "", 5.0, 0), each) == NOTHING
