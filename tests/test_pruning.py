"""Long conversations and long texts: what is left out, what stays, and where a summary comes from."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import UpstreamError
from penstock.models.estimate import size_of
from penstock.models.pruned import Pruned
from penstock.models.summaries import Summaries, Summary, summarise
from penstock.types import Dialect, ModelEvent, ModelRequest, Stopped, TextDelta, Usage

Message = dict[str, Any]


class Reader:
    """A model that remembers what it was sent, and counts a token for each `bytes_per_token` bytes."""

    def __init__(self, bytes_per_token: float = 4.0) -> None:
        self.sent: list[ModelRequest] = []
        self._bytes_per_token = bytes_per_token

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.sent.append(request)
        yield TextDelta("ok")
        yield Stopped(Usage(int(size_of(request.body) / self._bytes_per_token), 1))


class Clerk:
    """A model that sums up: the first words of what it was given."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked: list[str] = []
        self._fails = fails

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        if self._fails:
            raise UpstreamError("the clerk is ill")
        text = request.body["messages"][-1]["content"]
        self.asked.append(text)
        yield TextDelta("about " + " ".join(text.split()[:4]))
        yield Stopped(Usage(10, 5))


def sent(model: Pruned, inner: Reader, messages: list[Message], dialect: Dialect = "chat", **more: Any) -> Any:
    body = {"model": "m", "messages": messages, "max_tokens": 50, **more}

    async def go() -> None:
        async for _ in model.stream(ModelRequest(dialect=dialect, model="m", body=body, data=orjson.dumps(body))):
            pass

    asyncio.run(go())
    return inner.sent[-1].body


def talk(turns: int, size: int = 200) -> list[Message]:
    """A conversation of so many questions and answers, and a last question."""
    said: list[Message] = [{"role": "system", "content": "Be brief."}]
    for n in range(turns):
        said += [
            {"role": "user", "content": f"q{n} " + "x" * size},
            {"role": "assistant", "content": f"a{n} " + "y" * size},
        ]
    return [*said, {"role": "user", "content": "the last question"}]


def test_a_conversation_that_fits_is_sent_as_it_is():
    inner = Reader()
    messages = talk(2)

    assert sent(Pruned(inner, context_tokens=4096), inner, messages)["messages"] == messages


def test_the_oldest_turns_go_and_the_rest_fits():
    inner = Reader()

    body = sent(Pruned(inner, context_tokens=600), inner, talk(20))

    texts = [message["content"] for message in body["messages"]]
    assert texts[0] == "Be brief."
    assert texts[-1] == "the last question"
    assert not any(text.startswith("q0 ") for text in texts)
    assert any(text.startswith("a19 ") for text in texts)
    assert size_of(body) / 4 <= 600 - 50


def test_what_is_left_begins_with_a_question():
    inner = Reader()

    kept = sent(Pruned(inner, context_tokens=600), inner, talk(20)[1:])["messages"]

    assert kept[0]["role"] == "user"
    assert [message["role"] for message in kept[:4]] == ["user", "assistant", "user", "assistant"]


def test_the_cut_moves_seldom_while_a_conversation_grows():
    inner = Reader()
    model = Pruned(inner, context_tokens=2000)

    firsts = [sent(model, inner, talk(turns))["messages"][1]["content"] for turns in range(30, 50)]

    assert len(set(firsts)) < 8


def test_what_is_pinned_stays_and_the_pin_is_not_sent():
    inner = Reader()
    messages = talk(20)
    messages[1]["penstock"] = {"pinned": True}

    body = sent(Pruned(inner, context_tokens=600), inner, messages)

    assert body["messages"][1]["content"].startswith("q0 ")
    assert all("penstock" not in message for message in body["messages"])


@given(st.integers(1, 12), st.integers(150, 2000))
@settings(max_examples=60, deadline=None)
def test_a_tool_and_its_result_are_never_parted(calls: int, context: int):
    inner = Reader()
    messages: list[Message] = []
    for n in range(calls):
        call = {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages += [
            {"role": "user", "content": "x" * 100},
            {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": f"d{n}"}]},
            {"role": "tool", "tool_call_id": f"c{n}", "content": "z" * 80},
            {"role": "tool", "tool_call_id": f"d{n}", "content": "z" * 80},
        ]
    messages.append({"role": "user", "content": "and now?"})

    kept = sent(Pruned(inner, context_tokens=context), inner, messages)["messages"]

    called = [call["id"] for message in kept for call in message.get("tool_calls") or []]
    answered = [message["tool_call_id"] for message in kept if message["role"] == "tool"]
    assert called == answered
    assert kept[-1] == messages[-1]


def test_anthropics_tools_stay_together_too():
    inner = Reader()
    messages: list[Message] = []
    for n in range(10):
        messages += [
            {"role": "user", "content": "x" * 100},
            {"role": "assistant", "content": [{"type": "tool_use", "id": f"c{n}", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"c{n}", "content": "z" * 80}]},
        ]
    messages.append({"role": "user", "content": "and now?"})

    kept = sent(Pruned(inner, context_tokens=300), inner, messages, "messages")["messages"]

    blocks = [block for message in kept if isinstance(message["content"], list) for block in message["content"]]
    assert [b["id"] for b in blocks if b["type"] == "tool_use"] == [
        b["tool_use_id"] for b in blocks if b["type"] == "tool_result"
    ]
    assert len(kept) < len(messages)


def test_a_question_that_is_too_long_by_itself_is_left_to_the_provider():
    inner = Reader()
    messages = [{"role": "user", "content": "x" * 10_000}]

    assert sent(Pruned(inner, context_tokens=200), inner, messages)["messages"] == messages


def test_the_size_of_a_token_is_learned_from_the_provider():
    inner = Reader(bytes_per_token=2.0)
    model = Pruned(inner, context_tokens=1000)
    for _ in range(40):
        sent(model, inner, talk(3))

    body = sent(model, inner, talk(20))

    assert size_of(body) / 2 <= 1000


# ---------------------------------------------------------------- summaries


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_a_summary_stands_in_for_what_was_left_out(dialect: Dialect):
    inner, clerk = Reader(), Clerk()
    messages = talk(20) if dialect == "chat" else talk(20)[1:]
    model = Pruned(inner, context_tokens=800, summaries=Summaries(clerk, name="clerk"))

    body = sent(model, inner, messages, dialect, **({} if dialect == "chat" else {"system": "Be brief."}))

    said = body["system"] if dialect == "messages" else body["messages"][1]["content"]
    assert "made by clerk" in said
    assert "about user: q0" in said
    first = next(n for n, message in enumerate(messages) if message["content"].startswith("q0"))
    assert f"[{first}:0-" in said
    assert size_of(body) / 4 <= 800


def test_a_growing_conversation_pays_for_what_is_new():
    inner, clerk = Reader(), Clerk()
    model = Pruned(inner, context_tokens=800, summaries=Summaries(clerk, name="clerk"))
    messages = talk(40)
    sent(model, inner, messages)
    asked = len(clerk.asked)

    sent(model, inner, messages)

    assert asked > 0
    assert len(clerk.asked) == asked


def test_where_no_summary_can_be_made_the_conversation_goes_on_without():
    inner = Reader()
    model = Pruned(inner, context_tokens=600, summaries=Summaries(Clerk(fails=True), name="clerk"))

    body = sent(model, inner, talk(20))

    assert body["messages"][-1]["content"] == "the last question"
    assert not any("Summary" in message["content"] for message in body["messages"])


@given(st.text(alphabet="ab .\n", max_size=3000), st.integers(100, 900))
@settings(max_examples=50, deadline=None)
def test_every_stretch_of_a_text_is_linked_once_and_in_order(text: str, piece: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.models.summaries.PIECE", piece)
        found: Summary = asyncio.run(summarise(text, Clerk(), most_characters=60))

    at = 0
    for span in found.spans:
        assert (span.text, span.start) == (0, at)
        assert str(span) in found.text
        at = span.end
    assert at == len(text)


def test_a_long_text_is_summed_up_level_by_level():
    clerk = Clerk()
    text = "\n\n".join(f"Paragraph {n} speaks of {n}. " + "word " * 300 for n in range(60))

    found = asyncio.run(summarise(text, clerk, most_characters=200))

    assert len(clerk.asked) > 10
    assert len(found.spans) < 10
    assert found.spans[-1].end == len(text)
