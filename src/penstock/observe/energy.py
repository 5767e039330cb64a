"""An estimate of the energy and carbon that answers take, with its method stated: nobody measures it for somebody else's model.

A model in a data centre, as EcoLogits 0.4 (2024) fits the LLM-Perf leaderboard: a GPU takes 8.91e-5 Wh for each token that is made
and each billion active parameters, and 1.43e-3 Wh besides; its share of a server draws 1 kW / 8 for 8.02e-4 s for each token and
billion, and 22.3 ms besides; times 1.2 for the building (PUE). Weights are taken to have 4 bits on GPUs of 80 GB. A model on this
machine: the time it took, times threads, times 8 W for each. What is not in it: making the hardware, training, reading the
question, networks, and search. The figures are right within a factor of three at best, so both ends are given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from penstock.observe.journal import Row

__all__ = [
    "GRAMS_PER_KWH",
    "NOTHING",
    "Energy",
    "Estimate",
    "Plant",
    "billions_in",
    "in_a_data_centre",
    "of_request",
    "on_this_machine",
]

GRAMS_PER_KWH = 480.0  # CO2 equivalent of the world's electricity, 2023 (Ember, Global Electricity Review 2024)
FACTOR = 3.0  # between the estimate and either end
UNKNOWN_BILLIONS = (8.0, 40.0, 400.0)  # active parameters of a model of which nothing is known: low, likely, high

_TOKEN_WH, _TOKEN_FIXED_WH = 8.91e-5, 1.43e-3  # for each billion active parameters, and besides
_TOKEN_S, _TOKEN_FIXED_S = 8.02e-4, 2.23e-2
_SERVER_W, _SERVER_GPUS, _GPU_GB, _BITS, _ROOM = 1000.0, 8, 80.0, 4, 1.2

_EXPERTS = re.compile(r"(?i)(\d+)x(\d+(?:\.\d+)?)b\b")
_ACTIVE = re.compile(r"(?i)(?<![\w.])(\d+(?:\.\d+)?)b[-_]a(\d+(?:\.\d+)?)b\b")
_BILLIONS = re.compile(r"(?i)(?<![\w.])(\d+(?:\.\d+)?)(b|m)\b")


@dataclass(frozen=True, slots=True)
class Plant:
    """Where the electricity comes from, and where it goes."""

    grams_per_kwh: float = GRAMS_PER_KWH
    pue: float = 1.2  # power usage effectiveness of the building
    watts_per_thread: float = 8.0


@dataclass(frozen=True, slots=True)
class Energy:
    """Watt hours and grams of CO2 equivalent: the estimate, and between which it probably is."""

    wh: float
    low_wh: float
    high_wh: float
    grams: float

    def __add__(self, other: Energy) -> Energy:
        return Energy(
            self.wh + other.wh, self.low_wh + other.low_wh, self.high_wh + other.high_wh, self.grams + other.grams
        )


NOTHING = Energy(0.0, 0.0, 0.0, 0.0)
Estimate = Callable[[str, int, float], Energy]  # (name of a model, tokens made, duration in ms)


def of_request(row: Row, estimate: Estimate) -> Energy:
    """Of all the models that one request asked. Nothing for an answer that was kept, or that no model wrote."""
    if row.calls:
        calls = orjson.loads(row.calls)
        return sum((estimate(call["model"], call["output_tokens"], call["duration_ms"]) for call in calls), NOTHING)
    return estimate(row.model, row.output_tokens, row.duration_ms) if row.output_tokens and not row.cached else NOTHING


def billions_in(name: str) -> tuple[float, float] | None:
    """(all, active) billions of parameters that a model's name says: `qwen3-30b-a3b`, `mixtral-8x7b`, `smollm2-135m`. None where it
    says nothing."""
    if found := _ACTIVE.search(name):
        return float(found[1]), float(found[2])
    if found := _EXPERTS.search(name):
        experts, size = int(found[1]), float(found[2])
        return (
            experts * size * 0.84,
            size * 1.8,
        )  # as in Mixtral 8x7B: what is shared is there once, and two of eight run
    if found := _BILLIONS.search(name):
        size = float(found[1]) / (1000 if found[2].lower() == "m" else 1)
        return size, size
    return None


def in_a_data_centre(output_tokens: int, billions: tuple[float, float] | None, plant: Plant = Plant()) -> Energy:
    """Of so many tokens made by a model with (all, active) billions of parameters; None: of whose size nothing is known."""
    if billions is None:
        low, likely, high = (_wh(output_tokens, size, size, plant) for size in UNKNOWN_BILLIONS)
        return Energy(likely, low / FACTOR, high * FACTOR, likely / 1000 * plant.grams_per_kwh)
    return _within(_wh(output_tokens, *billions, plant), plant)


def on_this_machine(duration_ms: float, threads: int, plant: Plant = Plant()) -> Energy:
    """Of a model that ran here for so long."""
    return _within(duration_ms / 3_600_000 * threads * plant.watts_per_thread, plant)


def _within(wh: float, plant: Plant) -> Energy:
    return Energy(wh, wh / FACTOR, wh * FACTOR, wh / 1000 * plant.grams_per_kwh)


def _wh(tokens: int, billions: float, active: float, plant: Plant) -> float:
    gpus = max(1, math.ceil(_ROOM * billions * _BITS / 8 / _GPU_GB))
    gpu = tokens * (_TOKEN_WH * active + _TOKEN_FIXED_WH)
    seconds = tokens * (_TOKEN_S * active + _TOKEN_FIXED_S)
    server = _SERVER_W * seconds / 3600 * gpus / _SERVER_GPUS
    return plant.pue * (gpu * gpus + server)
