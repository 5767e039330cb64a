"""What went wrong at the guard once, and must not again: requests, answers, folders and drills as people meet them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from penstock.boundary import Shielded
from penstock.config import GuardSettings
from penstock.guard.crossing import Crossing
from penstock.guard.guard import Guard
from penstock.guard.masking import Scope
from penstock.guard.policy import Policy
from penstock.types import (
    Dialect,
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    Record,
    Stopped,
    TextDelta,
    ToolCallDelta,
    Usage,
)

guard = Guard()  # its parts are loaded once
MAIL = "anna.schmidt@example.com"


def policy(**settings: Any) -> Policy:
    return Policy("strict", GuardSettings(**settings))


# ---------------------------------------------------------------- an answer on its way out


class Saying:
    """A model that says what it is told to. Satisfies `Model`."""

    def __init__(self, *events: ModelEvent) -> None:
        self._events = events
        self.asked: list[ModelRequest] = []

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        self.asked.append(request)
        for event in self._events:
            yield event
        yield Stopped(Usage(1, 1), "tool_calls")


def answer(model: Saying, body: dict[str, Any], ruled: Policy, *, dialect: Dialect = "chat") -> list[ModelEvent]:
    record = Record("t")
    request = ModelRequest(dialect=dialect, model="m", body=body, stream=True, record=record)

    async def heard() -> list[ModelEvent]:
        shielded = Shielded(model, lambda request: Crossing(guard, ruled, Scope(), record))
        return [event async for event in shielded.stream(request)]

    return asyncio.run(heard())


def asking(text: str = "What is the weather?", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def kinds(events: Sequence[ModelEvent]) -> list[tuple[type[ModelEvent], str]]:
    """The answer's parts in their order, each whole."""
    parts: list[tuple[type[ModelEvent], str]] = []
    for event in events:
        match event:
            case TextDelta(words) | ReasoningDelta(words) | ToolCallDelta(_, words):
                before = parts.pop()[1] if parts and parts[-1][0] is type(event) else ""
                parts.append((type(event), before + words))
    return parts


def test_no_call_of_a_tool_overtakes_the_last_word_before_it():
    model = Saying(
        TextDelta("I will look at the weather in Bergen"), ToolCallDelta(0, '{"city": "Bergen"}', "c1", "weather")
    )

    found = kinds(answer(model, asking(), policy()))

    assert found == [
        (TextDelta, "I will look at the weather in Bergen"),
        (ToolCallDelta, '{"city": "Bergen"}'),
    ]


def test_a_signed_thought_stays_whole():
    model = Saying(
        ReasoningDelta("Somebody asks for the weather in Bergen"),
        ReasoningDelta("", "signed"),
        TextDelta("Rain in Bergen"),
        ReasoningDelta("And now the call for Bergen"),
        ReasoningDelta("", "signed too"),
        ToolCallDelta(0, "{}", "c1", "weather"),
    )

    events = answer(model, asking(), policy())

    assert kinds(events) == [
        (ReasoningDelta, "Somebody asks for the weather in Bergen"),
        (TextDelta, "Rain in Bergen"),
        (ReasoningDelta, "And now the call for Bergen"),
        (ToolCallDelta, "{}"),
    ]
    assert [event.signature for event in events if isinstance(event, ReasoningDelta) and event.signature] == [
        "signed",
        "signed too",
    ]


def test_thoughts_without_a_signature_end_where_the_answer_begins():
    model = Saying(ReasoningDelta("The weather in Ber"), ReasoningDelta("gen"), TextDelta("Rain in Bergen"))

    assert kinds(answer(model, asking(), policy())) == [
        (ReasoningDelta, "The weather in Bergen"),
        (TextDelta, "Rain in Bergen"),
    ]
