"""The cache that knows a question in other words, and does not take its neighbour for it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.encoder import shipped
from penstock.models.alike import DEFAULT, Alike
from penstock.models.cached import Cached
from penstock.models.kept import Kept, Scope
from penstock.models.similar import Similar
from penstock.types import Caller, Embedder, ModelEvent, ModelRequest, Record, Stopped, TextDelta, Usage

encoder = cache(lambda: shipped(precision="int8"))


@dataclass
class Echo:
    """Says the last message back."""

    asked: list[ModelRequest] = field(default_factory=list)
    reason: Any = "stop"

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.asked.append(request)
        yield TextDelta(str(request.body["messages"][-1]["content"]))
        yield Stopped(Usage(), self.reason)


class House:
    """A semantic cache as it is assembled."""

    def __init__(self, *, most_mb: float = 1, reason: Any = "stop", version: Any = lambda: "", embedder: Any = encoder):
        self.echo = Echo(reason=reason)
        self.kept = Kept(most_mb=most_mb, keep_s=60)
        scope = Scope("m", "p", version)
        self.model = Similar(Cached(self.echo, self.kept, scope), self.kept, scope, embedder)
        self.last = Record("")

    async def ask(self, text: Any, *, before: list[Any] | None = None, **more: Any) -> str:
        messages = [*(before or []), {"role": "user", "content": text}]
        body = {"model": "m", "messages": messages, **more.pop("body", {})}
        self.last = Record("t")
        request = ModelRequest(dialect="chat", model="m", body=body, record=self.last, **more)
        events = [event async for event in self.model.stream(request)]
        assert isinstance(events[-1], Stopped)
        return "".join(event.text for event in events if isinstance(event, TextDelta))


RESET = "How do I reset my password?"
RESET_TOO = "What are the steps to reset my password?"


def test_a_question_in_other_words_gets_the_same_answer_at_no_cost():
    async def run() -> None:
        house = House()
        assert await house.ask(RESET) == RESET
        assert await house.ask(RESET_TOO) == RESET
        assert house.last.cached
        assert len(house.echo.asked) == 1

    asyncio.run(run())


def test_the_very_same_question_is_found_without_reading_it():
    def no_embedder() -> Embedder:
        raise AssertionError("nothing is to be read")

    async def run() -> None:
        house = House()
        await house.ask(RESET)
        house.model = Similar(Cached(house.echo, house.kept, Scope("m", "p")), house.kept, Scope("m", "p"), no_embedder)
        assert await house.ask(RESET) == RESET
        assert house.last.cached

    asyncio.run(run())


@pytest.mark.parametrize(
    "other",
    [
        {"before": [{"role": "system", "content": "Be brief."}]},
        {"body": {"temperature": 0.5}},
        {"body": {"tools": []}},
        {"caller": Caller("somebody")},
        {"stream": True},
        {"tags": ("no-cache",)},
    ],
)
def test_where_anything_else_differs_the_question_is_asked(other: dict[str, Any]):
    async def run() -> None:
        house = House()
        await house.ask(RESET)
        assert await house.ask(RESET_TOO, **other) == RESET_TOO

    asyncio.run(run())


def test_in_a_conversation_all_that_was_said_before_must_be_the_same():
    before = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello! How can I help?"}]

    async def run() -> None:
        house = House()
        await house.ask(RESET, before=before)
        assert await house.ask(RESET_TOO, before=before) == RESET
        assert await house.ask(RESET_TOO, before=before[:1]) == RESET_TOO

    asyncio.run(run())


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": RESET_TOO}, {"type": "image_url", "image_url": {"url": "data:"}}],
        RESET_TOO + " word" * 100,
        "",
    ],
)
def test_what_is_no_plain_question_is_only_answered_from_memory_when_it_is_the_same(content: Any):
    async def run() -> None:
        house = House()
        await house.ask(RESET)
        await house.ask(content)
        assert len(house.echo.asked) == 2
        await house.ask(content)
        assert len(house.echo.asked) == 2

    asyncio.run(run())


def test_a_question_is_forgotten_with_its_answer():
    version = ["1"]

    async def run() -> None:
        house = House(most_mb=0.002, version=lambda: version[0])
        await house.ask(RESET)
        for number in range(20):
            await house.ask(f"What is {number} times {number + 3}?")
        assert await house.ask(RESET_TOO) == RESET_TOO
        assert len(house.model._places) == len(house.kept)
        version[0] = "2"
        assert await house.ask(RESET) == RESET

    asyncio.run(run())


def test_an_answer_that_was_cut_off_is_not_told_again():
    async def run() -> None:
        house = House(reason="length")
        await house.ask(RESET)
        assert await house.ask(RESET_TOO) == RESET_TOO

    asyncio.run(run())


def test_a_plain_gateway_loads_neither_numpy_nor_the_encoder():
    code = (
        "import sys, penstock.models.cached, penstock.models.single, penstock.models.pruned, penstock.models.micro;"
        "assert not {'numpy', 'onnxruntime', 'Stemmer'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from([RESET, RESET_TOO, "How do I reset my username?", "Where is my order?"]), max_size=8))
def test_every_answer_is_one_that_was_given_to_this_question_or_one_like_it(questions: list[str]):
    alike = {RESET: {RESET, RESET_TOO}, RESET_TOO: {RESET, RESET_TOO}}

    async def run() -> None:
        house = House()
        for question in questions:
            assert await house.ask(question) in alike.get(question, {question})

    asyncio.run(run())


# ---------------------------------------------------------------- the judgement


def sure(one: str, other: str) -> float:
    alike = Alike(encoder())
    return alike.compare(alike.read(one), alike.read(other)).sure


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How can I cancel my subscription?", "what's the best way to cancel my subscription"),
        ("Can you tell me how to cancel my subscription?", "How do I cancel my subscription?"),
        ("In what year did Joseph Priestley discover oxygen?", "When did Joseph Priestley discover oxygen?"),
        ("In 1994, how many households had cable service?", "How many households had cable service in 1994?"),
        ("Can I return a book after 30 days?", "Am I allowed to return a book after thirty days?"),
        ("What is the price of express shipping?", "How much does express shipping cost?"),
        ("Do you have any discounts?", "Do you have discounts?"),
        ("Does the warranty cover water damage?", "Is water damage covered by the warranty?"),
        ("What's the difference between gross and net salary?", "What is the difference between net and gross salary?"),
    ],
)
def test_these_ask_the_same(one: str, other: str):
    assert sure(one, other) >= DEFAULT
    assert sure(other, one) >= DEFAULT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How long is the return window of 30 days?", "How long is the return window of 60 days?"),
        ("What are the flights from Oslo to Bergen?", "What are the flights from Bergen to Oslo?"),
        ("Does Anna like Peter?", "Does Peter like Anna?"),
        ("Which employees must attend?", "Which employees must not attend?"),
        ("Who earns more than 5000 euros?", "Who earns less than 5000 euros?"),
        ("What is due before Friday?", "What is due after Friday?"),
        ("Do all parcels get tracked?", "Do some parcels get tracked?"),
        ("How much is a ticket to Norway?", "How much is a ticket to Sweden?"),
        ("When was the bridge built?", "Where was the bridge built?"),
        ("How do I enable notifications?", "How do I disable notifications?"),
        ("How do I turn on notifications?", "How do I turn off notifications?"),
        ("What does it weigh in kilograms?", "What does it weigh in pounds?"),
        ("Can I return it?", "Must I return it?"),
        ("Why was my card declined?", "Was my card declined?"),
        ("Who is the president of France?", "Who was the president of France?"),
        ("How do I make my new phone number admin on my old phone?", "How do I make my old phone number admin on my new phone?"),
        ("What do I gain by doing an MBA after getting a degree?", "What do I gain by getting an MBA after doing a degree?"),
        ("How much does shipping cost?", "How much does standard shipping cost?"),
        ("Wie storniere ich meine Bestellung?", "Wie storniere ich meine Bestellung nicht?"),
        ("¿Cuánto cuesta el envío a Noruega?", "¿Cuánto cuesta el envío a Suecia?"),
    ],
)  # fmt: skip
def test_these_do_not(one: str, other: str):
    assert sure(one, other) < DEFAULT
    assert sure(other, one) < DEFAULT


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=80))
def test_any_text_can_be_read_and_is_like_itself(text: str):
    alike = Alike(encoder())
    question = alike.read(text)

    assert 0 <= alike.compare(question, question).sure <= 1.0001


def test_the_questions_of_the_benchmark_are_well_formed():
    import pathlib

    file = pathlib.Path(__file__).parents[1] / "benchmarks" / "alike_questions.jsonl"
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]

    assert all(len(row["same"]) == 2 and len(row["near"]) == 2 for row in rows)
