"""Clients of every dialect get along with models of every other: requests, streams, whole answers, errors."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import httpx2
import orjson
import pytest
from anthropic import Anthropic
from anthropic import APIStatusError as AnthropicRefusal
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import APIError, OpenAI
from pydantic import BaseModel

from penstock.errors import (
    BadRequest,
    BudgetSpent,
    NotOffered,
    PenstockError,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from penstock.models import speak_chat, speak_messages, speak_responses
from penstock.models.speak_chat import Call, EventStream, Reasoning, Text, gathered
from penstock.models.translate import DIALECTS, Translated
from penstock.types import (
    Dialect,
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    Stopped,
    TextDelta,
    ToolCallDelta,
    Usage,
    Wire,
)

TALKING: list[Dialect] = ["chat", "messages", "responses"]  # those that carry all events
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def write(dialect: Dialect, events: Sequence[ModelEvent], **body: Any) -> bytes:
    writer = DIALECTS[dialect].Writer("house-model", body=body, id="42", created=1_790_000_000)
    return b"".join(map(writer.feed, events)) + writer.close()


def write_whole(dialect: Dialect, events: Sequence[ModelEvent], **body: Any) -> bytes:
    return DIALECTS[dialect].Writer("house-model", body=body, id="42", created=1_790_000_000).whole(events)


def read(dialect: Dialect, data: bytes, *, cuts: Sequence[int] = ()) -> list[ModelEvent]:
    reader, places = DIALECTS[dialect].Reader(), sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    events = [event for start, end in itertools.pairwise(places) for event in reader.feed(data[start:end])]
    return events + reader.close()


def sse(*events: dict[str, Any] | str, named: bool = False) -> bytes:
    """A recorded stream."""
    pieces = []
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
        name = f"event: {event['type']}\n" if named and isinstance(event, dict) else ""
        pieces.append(f"{name}data: {data}\n\n")
    return "".join(pieces).encode()


def sums(events: Sequence[ModelEvent]) -> tuple[str, str, list[str], list[Call], Stopped]:
    """What an answer says, thinks and calls, in whatever order it comes."""
    blocks, stopped = gathered(events)
    return (
        "".join(block.text for block in blocks if isinstance(block, Text)),
        "".join(block.text for block in blocks if isinstance(block, Reasoning)),
        [block.signature for block in blocks if isinstance(block, Reasoning) and block.signature],
        [block for block in blocks if isinstance(block, Call)],
        stopped,
    )


# ---------------------------------------------------------------- answers, there and back


@st.composite
def answers(draw: st.DrawFn) -> list[ModelEvent]:
    """An answer as any model may give it: texts, reasoning with and without a signature, calls of tools, in pieces."""
    pieces = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3)
    events: list[ModelEvent] = []
    calls = 0
    for kind in draw(st.lists(st.sampled_from(["text", "reasoning", "signed", "redacted", "call"]), max_size=6)):
        match kind:
            case "text":
                events += [TextDelta(piece) for piece in draw(pieces)]
            case "reasoning" | "signed":
                events += [ReasoningDelta(piece) for piece in draw(pieces)]
                if kind == "signed":
                    events.append(ReasoningDelta("", draw(st.text("abcXYZ019+/=", min_size=1))))
            case "redacted":
                if not events or not isinstance(events[-1], ReasoningDelta) or events[-1].signature:
                    events.append(ReasoningDelta("", "redacted:" + draw(st.text("abcXYZ019+/=", min_size=1))))
            case _:
                values = st.text(max_size=8) | st.integers(-(2**53), 2**53) | st.none()
                whole = orjson.dumps(draw(st.dictionaries(st.text(max_size=4), values, max_size=2))).decode()
                half = draw(st.integers(0, len(whole)))
                events.append(
                    ToolCallDelta(calls, whole[:half], f"call_{calls}", draw(st.sampled_from(["find", "put"])))
                )
                if half < len(whole):
                    events.append(ToolCallDelta(calls, whole[half:]))
                calls += 1
    cached, written, fresh = draw(st.tuples(*[st.integers(0, 9_999)] * 3))
    thought, said = draw(st.tuples(*[st.integers(0, 9_999)] * 2))
    usage = Usage(cached + written + fresh, thought + said, cached, written, thought)
    reason = draw(st.sampled_from(["tool_calls" if calls else "stop", "length", "content_filter"]))
    return [*events, Stopped(usage, reason)]


@pytest.mark.parametrize("dialect", TALKING)
@settings(deadline=None)
@given(events=answers(), cuts=st.lists(st.integers(0, 10_000), max_size=20))
def test_a_stream_that_is_written_reads_the_same_wherever_it_is_cut(dialect, events, cuts):
    data = write(dialect, events, stream_options={"include_usage": True})

    assert gathered(read(dialect, data, cuts=cuts)) == gathered(events)


@pytest.mark.parametrize("dialect", TALKING)
@settings(deadline=None)
@given(events=answers())
def test_a_whole_answer_is_the_sum_of_its_stream(dialect, events):
    streamed = read(dialect, write(dialect, events, stream_options={"include_usage": True}))
    whole = DIALECTS[dialect].read_whole(write_whole(dialect, events))

    assert sums(whole) == sums(streamed) == sums(events)
    if dialect != "chat":  # which has one text, and the calls after it
        assert gathered(whole) == gathered(events)


@settings(deadline=None)
@given(texts=st.lists(st.text(min_size=1), max_size=4), cuts=st.lists(st.integers(0, 10_000), max_size=20))
def test_completions_carry_texts(texts, cuts):
    events = [*map(TextDelta, texts), Stopped(Usage(7, 3), "length")]
    data = write("completions", events, stream_options={"include_usage": True})

    assert read("completions", data, cuts=cuts) == events
    assert gathered(DIALECTS["completions"].read_whole(write_whole("completions", events))) == gathered(events)


def test_completions_leave_out_what_they_cannot_say():
    events = [
        ReasoningDelta("Hm."),
        TextDelta("Yes."),
        ToolCallDelta(0, "{}", "a", "find"),
        Stopped(Usage(1, 1), "tool_calls"),
    ]

    assert read("completions", write("completions", events)) == [
        TextDelta("Yes."),
        Stopped(Usage(estimated=True), "stop"),
    ]


@pytest.mark.parametrize("dialect", [*TALKING, "completions"])
def test_a_stream_may_be_cut_at_every_byte(dialect):
    events = [TextDelta("Grüße, 世界 👋"), Stopped(Usage(1, 2), "stop")]
    data = write(dialect, events, stream_options={"include_usage": True})

    assert read(dialect, data, cuts=range(len(data))) == events


@pytest.mark.parametrize("dialect", [*TALKING, "completions"])
def test_an_answer_of_nothing_is_still_an_answer(dialect):
    events = [Stopped(Usage(3, 0), "stop")]

    assert read(dialect, write(dialect, events, stream_options={"include_usage": True})) == events


def test_lines_end_in_every_way_and_comments_are_nothing():
    lines = EventStream()
    data = b"\xef\xbb\xbf: hello\r\n\r\nevent: x\r\ndata: one\r\ndata:two\r\nid: 4\r\n\r\n:\n\ndata:  three\n\ndata"

    found = [event for place in range(len(data)) for event in lines.feed(data[place : place + 1])]

    assert found == [b"one\ntwo", b" three"]
    assert lines.feed(b": {}") == []
    assert lines.close() == [b"{}"]


def test_reading_takes_time_in_proportion(monkeypatch):
    monkeypatch.setattr(speak_chat, "LARGEST_EVENT", 1 << 20)
    lines = EventStream()

    for _ in range(1 << 20):
        lines.feed(b"x")
    with pytest.raises(UpstreamError, match="over 1 MB"):
        lines.feed(b"x")


# ---------------------------------------------------------------- recorded answers


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return {
        "id": "chatcmpl-9",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": choices,
        **more,
    }


OPENAI_TOOLS = sse(
    chunk({"role": "assistant", "content": None, "tool_calls": [
        {"index": 0, "id": "call_a", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    ], "refusal": None}, usage=None),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city"'}}]}, usage=None),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": ':"Graz"}'}}]}, usage=None),
    chunk({"tool_calls": [{"index": 1, "id": "call_b", "type": "function", "function": {"name": "get_time", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}, usage=None),
    chunk({}, "tool_calls", usage=None),
    {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": {
        "prompt_tokens": 120, "completion_tokens": 40, "total_tokens": 160,
        "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 16, "accepted_prediction_tokens": 0},
    }},
    "[DONE]",
)  # fmt: skip

DEEPSEEK = sse(
    chunk({"role": "assistant", "content": None, "reasoning_content": ""}),
    chunk({"content": None, "reasoning_content": "Let me see."}),
    chunk({"content": "Four", "reasoning_content": None}),
    chunk({"content": "."}),
    chunk({"content": ""}, "stop", usage={
        "prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50, "prompt_cache_hit_tokens": 10,
        "prompt_cache_miss_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 12},
    }),
    "[DONE]",
)  # fmt: skip

ANTHROPIC = sse(
    {"type": "message_start", "message": {
        "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {
            "input_tokens": 20, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 50, "output_tokens": 1,
        },
    }},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "They want "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "weather."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQBCg=="}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "I look it up."}},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": {
        "type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {},
    }},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ""}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"city": "Gr'}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": 'az"}'}},
    {"type": "content_block_stop", "index": 2},
    {"type": "content_block_start", "index": 3, "content_block": {
        "type": "tool_use", "id": "toolu_02", "name": "get_time", "input": {},
    }},
    {"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": ""}},
    {"type": "content_block_stop", "index": 3},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {
        "output_tokens": 89, "output_tokens_details": {"thinking_tokens": 12},
    }},
    {"type": "message_stop"},
    named=True,
)  # fmt: skip

RESPONSES = sse(
    {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "status": "in_progress", "output": []}},
    {"type": "response.in_progress", "sequence_number": 1, "response": {"id": "resp_1", "output": []}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"id": "rs_1", "type": "reasoning", "summary": []}},
    {"type": "response.reasoning_summary_part.added", "item_id": "rs_1", "output_index": 0, "summary_index": 0,
     "part": {"type": "summary_text", "text": ""}},
    {"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "output_index": 0, "summary_index": 0,
     "delta": "**Weather**"},
    {"type": "response.reasoning_summary_text.done", "item_id": "rs_1", "output_index": 0, "summary_index": 0,
     "text": "**Weather**"},
    {"type": "response.output_item.done", "output_index": 0, "item": {
        "id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "**Weather**"}],
        "encrypted_content": "gAAAA",
    }},
    {"type": "response.output_item.added", "output_index": 1, "item": {
        "id": "fc_1", "type": "function_call", "status": "in_progress", "arguments": "", "call_id": "call_1",
        "name": "get_weather",
    }},
    {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 1, "delta": '{"city":'},
    {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 1, "delta": '"Graz"}'},
    {"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 1, "arguments": '{"city":"Graz"}'},
    {"type": "response.output_item.done", "output_index": 1, "item": {
        "id": "fc_1", "type": "function_call", "status": "completed", "arguments": '{"city":"Graz"}', "call_id": "call_1",
        "name": "get_weather",
    }},
    {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [], "usage": {
        "input_tokens": 75, "input_tokens_details": {"cached_tokens": 5}, "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 8}, "total_tokens": 105,
    }}},
    named=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "data", "blocks", "stopped"),
    [
        (
            "chat",
            OPENAI_TOOLS,
            [Call("call_a", "get_weather", '{"city":"Graz"}'), Call("call_b", "get_time", "{}")],
            Stopped(Usage(120, 40, 64, 0, 16), "tool_calls"),
        ),
        ("chat", DEEPSEEK, [Reasoning("Let me see.", ""), Text("Four.")], Stopped(Usage(30, 20, 10, 0, 12), "stop")),
        (
            "messages",
            ANTHROPIC,
            [
                Reasoning("They want weather.", "EqQBCg=="),
                Text("I look it up."),
                Call("toolu_01", "get_weather", '{"city": "Graz"}'),
                Call("toolu_02", "get_time", "{}"),
            ],
            Stopped(Usage(100, 89, 50, 30, 12), "tool_calls"),
        ),
        (
            "responses",
            RESPONSES,
            [Reasoning("**Weather**", "openai:rs_1:gAAAA"), Call("call_1", "get_weather", '{"city":"Graz"}')],
            Stopped(Usage(75, 30, 5, 0, 8), "tool_calls"),
        ),
    ],
)
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_recorded_streams_are_read(dialect, data, blocks, stopped, ends):
    data = data.replace(b"\n", ends)

    assert gathered(read(dialect, data, cuts=range(0, len(data), 7))) == (blocks, stopped)


@pytest.mark.parametrize("data", [OPENAI_TOOLS, DEEPSEEK])
def test_a_stream_without_its_last_empty_line_or_done_is_whole_when_it_named_its_reason(data):
    assert read("chat", data.rstrip(b"\n")) == read("chat", data)
    assert read("chat", data.removesuffix(b"data: [DONE]\n\n")) == read("chat", data)


@pytest.mark.parametrize(
    ("dialect", "data"), [("chat", OPENAI_TOOLS), ("messages", ANTHROPIC), ("responses", RESPONSES)]
)
def test_a_stream_that_breaks_off_is_an_error(dialect, data):
    half = data[: data.index(b"\n\n", len(data) // 3) + 2]

    with pytest.raises(UpstreamError, match="broke off"):
        read(dialect, half)
    with pytest.raises(UpstreamError, match="broke off"):
        read(dialect, b"")


def test_parallel_calls_with_one_index_or_none_are_told_apart():
    gemini = sse(
        chunk({"role": "assistant", "tool_calls": [
            {"index": 0, "id": "a", "type": "function", "function": {"name": "find", "arguments": '{"x":1}'}}]}),
        chunk({"tool_calls": [
            {"index": 0, "id": "b", "type": "function", "function": {"name": "find", "arguments": '{"x":2}'}}]}),
        chunk({"tool_calls": [{"id": "c", "type": "function", "function": {"name": "find", "arguments": '{"x"'}}]}),
        chunk({"tool_calls": [{"function": {"arguments": ":3}"}}]}, "tool_calls"),
    )  # fmt: skip

    assert gathered(read("chat", gemini)).blocks == [
        Call(name, "find", f'{{"x":{n}}}') for n, name in enumerate("abc", 1)
    ]


def test_a_call_without_an_id_gets_one():
    whole = {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "find", "arguments": {"x": 1}}}],
    }}]}  # fmt: skip
    (call, _) = speak_chat.read_whole(json.dumps(whole).encode())

    assert isinstance(call, ToolCallDelta)
    assert call.id.startswith("call_")
    assert (call.name, call.arguments) == ("find", '{"x":1}')


def test_mistral_thinks_in_a_list_and_openrouter_says_reasoning_twice():
    mistral = sse(
        chunk({"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]}),
        chunk({"content": [{"type": "text", "text": "Yes."}]}, "stop"),
    )
    openrouter = sse(
        chunk({"content": "", "reasoning": "Hm.", "reasoning_details": [
            {"type": "reasoning.text", "text": "Hm.", "format": "anthropic-claude-v1", "index": 0}]}),
        chunk({"content": "", "reasoning_details": [{"type": "reasoning.text", "signature": "sig", "index": 0}]}),
        chunk({"content": "Yes."}, "stop"),
    )  # fmt: skip

    assert gathered(read("chat", mistral)).blocks == [Reasoning("Hm.", ""), Text("Yes.")]
    assert gathered(read("chat", openrouter)).blocks == [Reasoning("Hm.", "sig"), Text("Yes.")]


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, Usage(9, 2)),
        (  # xAI: reasoning beside the output
            {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 111,
             "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 100}},
            Usage(9, 102, 4, 0, 100),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 61}, Usage(9, 52, 0, 0, 50)),  # Gemini
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None, "cached_tokens": 4}, Usage(9, 2, 4)),
        ({"prompt_tokens": -1, "completion_tokens": "2", "total_tokens": None}, Usage()),
    ],
)  # fmt: skip
def test_every_way_of_counting_is_understood(said, usage):
    assert speak_chat.usage_of(said) == usage


def test_a_call_that_ends_with_a_plain_stop_is_still_run_by_anthropics_clients():
    events = [ToolCallDelta(0, "{}", "a", "find"), Stopped(Usage(1, 1), "stop")]

    assert b'"stop_reason":"tool_use"' in write("messages", events)
    assert json.loads(write_whole("messages", events))["stop_reason"] == "tool_use"


@pytest.mark.parametrize("dialect", ["messages", "responses"])
def test_pieces_of_several_calls_in_turn_are_an_error_where_calls_follow_each_other(dialect):
    with pytest.raises(UpstreamError, match="mixed"):
        write(dialect, [ToolCallDelta(0, "{", "a", "x"), ToolCallDelta(1, "{}", "b", "x"), ToolCallDelta(0, "}")])


def test_arguments_that_are_no_object_reach_anthropics_clients_whole():
    (block,) = json.loads(write_whole("messages", [ToolCallDelta(0, '{"x"', "a", "find")]))["content"]

    assert block["input"] == {"invalid_json": '{"x"'}


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("dialect", "said", "error"),
    [
        ("chat", {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}, UpstreamBusy),
        ("chat", {"error": {"message": "no", "code": 502}}, UpstreamError),
        ("chat", {"error": {"message": "too long", "code": "context_length_exceeded", "param": "messages"}}, UpstreamRefused),
        ("chat", {"error": "boom"}, UpstreamError),
        ("chat", {"error": {"message": "late", "code": "504"}}, UpstreamTimeout),
        ("messages", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, UpstreamBusy),
        ("messages", {"type": "error", "error": {"type": "api_error", "message": "Oops"}}, UpstreamError),
        ("messages", {"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}}, UpstreamRefused),
        ("responses", {"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": None}, UpstreamBusy),
        ("responses", {"type": "response.failed", "response": {
            "status": "failed", "error": {"code": "server_error", "message": "oops"}}}, UpstreamError),
        ("completions", {"error": {"message": "no", "type": "server_error"}}, UpstreamError),
    ],
)  # fmt: skip
def test_an_error_within_a_stream_is_raised_as_what_it_is(dialect, said, error):
    reader = DIALECTS[dialect].Reader()

    with pytest.raises(UpstreamError) as raised:
        reader.feed(sse(said))

    assert type(raised.value) is error


def test_what_an_upstream_says_of_our_key_stays_here():
    error = speak_chat.upstream_error(
        {"error": {"type": "authentication_error", "message": "invalid x-api-key sk-1234"}}
    )

    assert "sk-1234" not in str(error)


@pytest.mark.parametrize("dialect", [*TALKING, "completions"])
def test_our_errors_come_back_as_errors(dialect):
    error = BudgetSpent("key 'a' has spent 5.00 of 5.00 USD", hint="wait until 1 May")

    with pytest.raises(UpstreamBusy, match=r"5\.00 of 5\.00"):
        read(dialect, DIALECTS[dialect].error_stream(error))
    with pytest.raises(UpstreamError):
        DIALECTS[dialect].read_whole(DIALECTS[dialect].error_whole(error))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "stop", "text", "tool_use", "function_call"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                """type choices delta message content text tool_calls function index id name arguments reasoning_details usage
                error content_block response item output summary delta finish_reason stop_reason role input tools tool_choice
                messages system source image_url file url data media_type thinking output_config format reasoning include
                stop prompt metadata user_id response_format json_schema schema parameters reasoning_effort mode tool_use_id
                """.split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
KINDS = st.sampled_from(
    """message_start content_block_start content_block_delta content_block_stop message_delta message_stop error
    response.created response.output_item.added response.output_item.done response.completed response.output_text.delta
    response.function_call_arguments.delta response.failed""".split()
)


@pytest.mark.parametrize("dialect", list(DIALECTS))
@settings(max_examples=300, deadline=None)
@given(bodies=st.lists(st.tuples(KINDS, JSON), max_size=6), noise=st.binary(max_size=20))
def test_malformed_answers_raise_nothing_but_our_errors(dialect, bodies, noise):
    speech, reader = DIALECTS[dialect], DIALECTS[dialect].Reader()
    try:
        for kind, body in bodies:
            event = {"type": kind, **body} if isinstance(body, dict) else body
            for said in reader.feed(b"data: " + orjson.dumps(event) + b"\n\n"):
                assert not isinstance(said, Stopped)
        reader.feed(noise)
        assert isinstance(reader.close()[-1], Stopped)
    except UpstreamError:
        pass
    for body in [noise, *(orjson.dumps(body) for _, body in bodies)]:
        with suppress(UpstreamError):
            assert isinstance(speech.read_whole(body)[-1], Stopped)


# ---------------------------------------------------------------- requests

TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather now.", "parameters": WEATHER}}
PIXEL = "iVBORw0KGgo="
CHAT: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "stream": True,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Use tools.", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": "Hello."},
        {"role": "user", "content": [
            {"type": "text", "text": "How is the weather here?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/map.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "functions.get_weather:0", "type": "function", "function": {
                "name": "get_weather", "arguments": '{"city":"Graz"}'}},
            {"id": "call_2", "type": "function", "function": {"name": "get_weather", "arguments": ""}},
        ]},
        {"role": "tool", "tool_call_id": "functions.get_weather:0", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "no city"}]},
        {"role": "user", "content": "And tomorrow?"},
        {"role": "assistant", "content": ""},
    ],
    "tools": [TOOL],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "stop": "END",
    "user": "u-1",
    "n": 1,
    "logprobs": False,
    "frequency_penalty": 0,
    "seed": 7,
    "stream_options": {"include_usage": True},
    "response_format": {"type": "json_schema", "json_schema": {"name": "w", "strict": True, "schema": WEATHER}},
}  # fmt: skip


def test_a_chat_request_becomes_one_for_anthropic():
    assert speak_messages.from_chat(CHAT, default_max_tokens=1000) == {
        "model": "claude-sonnet-5",
        "stream": True,
        "max_tokens": 1000,
        "temperature": 0.5,
        "system": [
            {"type": "text", "text": "Be brief."},
            {"type": "text", "text": "Use tools.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Hello."},
                {"type": "text", "text": "How is the weather here?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/map.png"}},
                {"type": "document", "title": "a.pdf", "source": {
                    "type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}},
            ]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "functions_get_weather_0", "name": "get_weather", "input": {"city": "Graz"}},
                {"type": "tool_use", "id": "call_2", "name": "get_weather", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "functions_get_weather_0", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "no city"}]},
                {"type": "text", "text": "And tomorrow?"},
            ]},
        ],
        "tools": [{"name": "get_weather", "description": "Weather now.", "input_schema": WEATHER}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "output_config": {"format": {"type": "json_schema", "schema": WEATHER}},
    }  # fmt: skip


CALLED: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi"},
    {
        "role": "assistant",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "a", "content": "done"},
]
THOUGHT = [
    CALLED[0],
    {**CALLED[1], "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": "sig", "index": 0}]},
    CALLED[2],
]


@pytest.mark.parametrize(
    ("model", "more", "made"),
    [
        ("claude-opus-5", {}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ("claude-opus-4-6", {}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ("claude-opus-5", {"tools": [TOOL], "tool_choice": "required"}, {"output_config": {"effort": "high"}}),
        (
            "claude-haiku-4-5-20251001",
            {},
            {"thinking": {"type": "enabled", "budget_tokens": 16_384}},
        ),
        ("claude-sonnet-4-20250514", {"max_tokens": 4000}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", {"max_tokens": 500}, {}),
        ("claude-opus-5", {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ("claude-haiku-4-5", {"messages": CALLED}, {}),  # whose thinking did not come back
        (
            "claude-haiku-4-5",
            {"messages": THOUGHT},
            {"thinking": {"type": "enabled", "budget_tokens": 16_384}},
        ),
    ],
)
def test_an_effort_is_said_as_the_version_of_claude_takes_it(model, more, made):
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": "high", **more}
    asked = speak_messages.from_chat(body, default_max_tokens=64_000)

    assert {name: asked[name] for name in ("thinking", "output_config") if name in asked} == made
    assert asked["max_tokens"] == more.get("max_tokens", 64_000)


@pytest.mark.parametrize(
    ("dialect", "body", "named"),
    [
        ("messages", {"n": 2}, "'n'"),
        ("messages", {"logprobs": True}, "'logprobs'"),
        ("messages", {"logit_bias": {"1": 5}}, "'logit_bias'"),
        ("messages", {"audio": {"voice": "a", "format": "wav"}}, "'audio'"),
        ("messages", {"response_format": {"type": "json_object"}}, "json_object"),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            r"messages\[0\]\.content\[0\]",
        ),
        ("messages", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, r"tools\[0\]"),
        ("responses", {"stop": ["a"]}, "'stop'"),
        ("responses", {"n": 3}, "'n'"),
        ("completions", {}, "completes texts"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(dialect, body, named):
    with pytest.raises(NotOffered, match=named):
        DIALECTS[dialect].from_chat({"messages": [], **body}, default_max_tokens=1)


@pytest.mark.parametrize(
    ("dialect", "body", "named"),
    [
        ("responses", {"previous_response_id": "resp_1"}, "'previous_response_id'"),
        ("responses", {"background": True}, "'background'"),
        ("responses", {"conversation": "conv_1"}, "'conversation'"),
        ("responses", {"tools": [{"type": "web_search"}]}, "web_search"),
        ("responses", {"input": [{"type": "item_reference", "id": "rs_1"}]}, "item_reference"),
        (
            "responses",
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "image itself",
        ),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ("messages", {"container": "c"}, "'container'"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "container_upload"}]}]}, "container_upload"),
        ("completions", {"prompt": [[1, 2]]}, "'prompt'"),
        ("completions", {"prompt": "a", "echo": True}, "'echo'"),
        ("completions", {"prompt": "a", "best_of": 2}, "'best_of'"),
    ],
)
def test_what_chat_cannot_do_is_refused_by_name(dialect, body, named):
    with pytest.raises(NotOffered, match=named):
        DIALECTS[dialect].to_chat(body)


@pytest.mark.parametrize(
    ("dialect", "body", "named"),
    [
        ("messages", {"messages": "hi"}, "'messages'"),
        ("messages", {"messages": [{"role": "robot", "content": "hi"}]}, r"messages\[0\]\.role"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}]},
         "image_url"),
        ("messages", {"tool_choice": "perhaps", "tools": [TOOL]}, "'tool_choice'"),
        ("messages", {"reasoning_effort": "much"}, "'reasoning_effort'"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_named(dialect, body, named):
    with pytest.raises(BadRequest, match=named):
        DIALECTS[dialect].from_chat({"messages": [], **body}, default_max_tokens=1)


CLAUDE_CODE: dict[str, Any] = {
    "model": "house-model",
    "max_tokens": 32_000,
    "stream": True,
    "metadata": {"user_id": "user_" + "a" * 150},
    "system": [{"type": "text", "text": "You are a coding agent.", "cache_control": {"type": "ephemeral"}}],
    "thinking": {"type": "enabled", "budget_tokens": 10_000},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Look at a.png", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "I read it.", "signature": ""},
            {"type": "text", "text": "Reading."},
            {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a.png"}},
            {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {"path": "b.txt"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}]},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no such file", "is_error": True},
            {"type": "text", "text": "Go on.", "cache_control": {"type": "ephemeral"}},
        ]},
    ],
    "tools": [{"name": "Read", "description": "Reads a file.", "input_schema": WEATHER, "cache_control": {"type": "ephemeral"}}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "stop_sequences": ["END"],
}  # fmt: skip


def test_a_coding_agent_of_anthropics_gets_along_with_a_plain_chat_server():
    chat = speak_chat.from_chat(speak_messages.to_chat(CLAUDE_CODE))

    assert len(chat.pop("user")) == 64
    assert chat == {
        "model": "house-model",
        "max_tokens": 32_000,
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "medium",
        "stop": ["END"],
        "messages": [
            {"role": "system", "content": "You are a coding agent."},
            {"role": "user", "content": "Look at a.png"},
            {"role": "assistant", "content": "Reading.", "reasoning_content": "I read it.", "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "Read", "arguments": '{"path":"a.png"}'}},
                {"id": "toolu_2", "type": "function", "function": {"name": "Read", "arguments": '{"path":"b.txt"}'}},
            ]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "The result is shown in the next message."},
            {"role": "tool", "tool_call_id": "toolu_2", "content": "no such file"},
            {"role": "user", "content": [
                {"type": "text", "text": "What the tool showed in its result toolu_1:"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                {"type": "text", "text": "Go on."},
            ]},
        ],
        "tools": [{"type": "function", "function": {"name": "Read", "description": "Reads a file.", "parameters": WEATHER}}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }  # fmt: skip


CODEX: dict[str, Any] = {
    "model": "house-model",
    "instructions": "You are a coding agent.",
    "stream": True,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "abc",
    "reasoning": {"effort": "high", "summary": "auto"},
    "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "w", "schema": WEATHER, "strict": True}},
    "max_output_tokens": 500,
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandboxed."}]},
        {"role": "user", "content": [
            {"type": "input_text", "text": "Fix it."},
            {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Patch."}], "encrypted_content": None},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "On it.", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "shell", "arguments": '{"cmd":"ls"}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "*** Begin"},
        {"type": "function_call_output", "call_id": "c1", "output": "a.py"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "done"}]},
    ],
    "tools": [
        {"type": "function", "name": "shell", "description": "Runs.", "parameters": WEATHER, "strict": False},
        {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": {
            "type": "grammar", "syntax": "lark", "definition": "start: X"}},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "apply_patch"}]},
    "parallel_tool_calls": True,
}  # fmt: skip


def test_a_coding_agent_of_openais_gets_along_with_a_plain_chat_server():
    chat = speak_chat.from_chat(speak_responses.to_chat(CODEX))

    assert chat == {
        "model": "house-model",
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "high",
        "verbosity": "low",
        "max_tokens": 500,
        "response_format": {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER, "strict": True}},
        "messages": [
            {"role": "system", "content": "You are a coding agent."},
            {"role": "system", "content": "Sandboxed."},
            {"role": "user", "content": [
                {"type": "text", "text": "Fix it."},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
            ]},
            {"role": "assistant", "content": "On it.", "reasoning_content": "Patch.", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "shell", "arguments": '{"cmd":"ls"}'}},
                {"id": "c2", "type": "function", "function": {"name": "apply_patch", "arguments": '{"input":"*** Begin"}'}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "a.py"},
            {"role": "tool", "tool_call_id": "c2", "content": "done"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "apply_patch",
            "description": "Patches.\n\nThe input follows this lark grammar:\nstart: X",
            "parameters": {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"],
                           "additionalProperties": False},
        }}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }  # fmt: skip


def test_a_chat_request_becomes_one_for_responses():
    asked = speak_responses.from_chat({**CHAT, "stop": None, "reasoning_effort": "low"})

    assert asked["input"][0] == {"type": "message", "role": "system", "content": "Be brief."}
    assert [item["type"] for item in asked["input"]] == [
        *["message"] * 4, "function_call", "function_call", "function_call_output", "function_call_output", "message",
    ]  # fmt: skip
    assert asked["tools"] == [
        {
            "type": "function",
            "name": "get_weather",
            "description": "Weather now.",
            "parameters": WEATHER,
            "strict": False,
        }
    ]
    assert asked["text"] == {"format": {"type": "json_schema", "name": "w", "strict": True, "schema": WEATHER}}
    assert (asked["tool_choice"], asked["store"], asked["reasoning"]) == ("required", False, {"effort": "low"})


def spoilt(draw: st.DrawFn, value: Any, how: Any) -> Any:
    """A value with something in it replaced, or taken out."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 4)) == 0:
        return draw(how)
    if isinstance(value, list):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], spoilt(draw, value[place], how), *value[place + 1 :]]
    name = draw(st.sampled_from(sorted(value)))
    if draw(st.integers(0, 5)) == 0:
        return {key: entry for key, entry in value.items() if key != name}
    return {**value, name: spoilt(draw, value[name], how)}


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_malformed_requests_raise_nothing_but_our_errors(data):
    dialect, body = data.draw(st.sampled_from([("chat", CHAT), ("messages", CLAUDE_CODE), ("responses", CODEX)]))
    for _ in range(data.draw(st.integers(1, 3))):
        body = spoilt(data.draw, body, JSON)
        body = body if isinstance(body, dict) else {}
    DIALECTS[dialect].Writer("m", body=body, id="1", created=1)
    with suppress(BadRequest):
        chat = DIALECTS[dialect].to_chat(body)
        for other in DIALECTS.values():
            with suppress(BadRequest):
                orjson.dumps(other.from_chat(chat, default_max_tokens=100))


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_recorded_answers_that_are_spoilt_raise_nothing_but_our_errors(data):
    dialect, recorded = data.draw(
        st.sampled_from([("chat", OPENAI_TOOLS), ("chat", DEEPSEEK), ("messages", ANTHROPIC), ("responses", RESPONSES)])
    )
    events = EventStream().feed(recorded)
    place = data.draw(st.integers(0, len(events) - 2))
    events[place] = orjson.dumps(spoilt(data.draw, orjson.loads(events[place]), JSON))
    with suppress(UpstreamError):
        for other in TALKING:
            write(other, read(dialect, b"".join(b"data: " + event + b"\n\n" for event in events)))
    whole = orjson.loads(write_whole(dialect, SAID))
    with suppress(UpstreamError):
        for other in TALKING:
            write_whole(other, DIALECTS[dialect].read_whole(orjson.dumps(spoilt(data.draw, whole, JSON))))


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Chat messages: who is asked answers, and every call has its result."""
    said = st.text("abc äß世👋\n", min_size=1, max_size=12)
    picture = st.just({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}})
    parts = st.lists(st.builds(lambda text: {"type": "text", "text": text}, said) | picture, min_size=1, max_size=3)
    messages: list[dict[str, Any]] = [{"role": "system", "content": draw(said)}] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(parts)})
        calls = [
            {"id": f"call_{turn}_{place}", "type": "function", "function": {
                "name": "find", "arguments": orjson.dumps({"q": draw(said)}).decode()}}
            for place in range(draw(st.integers(0, 2)))
        ]  # fmt: skip
        text = draw(st.none() | said) if calls else draw(said)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if draw(st.booleans()):
            message["reasoning_details"] = [
                {"type": "reasoning.text", "text": draw(said), "signature": "sig", "index": 0}
            ]
        messages.append(message | ({"tool_calls": calls} if calls else {}))
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": draw(said)} for call in calls]
    return messages


def plainly(messages: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What messages mean: a text is a text, alone in a string or in a part."""
    plain: list[tuple[Any, ...]] = []
    for message in messages:
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        thoughts = [(part["text"], part["signature"]) for part in message.get("reasoning_details", ())]
        more = (message.get("tool_calls"), message.get("tool_call_id"), thoughts)
        if plain and plain[-1][0] == message["role"] == "user":
            plain[-1] = (plain[-1][0], [*plain[-1][1], *parts], *plain[-1][2:])
        else:
            plain.append((message["role"], parts, *more))
    return plain


@pytest.mark.parametrize("by", ["messages", "responses"])
@settings(deadline=None)
@given(
    messages=conversations(),
    choice=st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "get_weather"}}]),
    most=st.integers(1, 9_999),
)
def test_a_request_keeps_its_meaning_there_and_back(by, messages, choice, most):  # fmt: skip
    if by == "responses":
        for detail in [part for message in messages for part in message.get("reasoning_details", ())]:
            detail["signature"] = "openai:rs_1:sealed"
    body = {"model": "m", "messages": messages, "tools": [TOOL], "tool_choice": choice, "max_tokens": most,
            "parallel_tool_calls": False, "temperature": 0.1}  # fmt: skip
    if by == "messages":
        body["user"] = "u-1"

    back = DIALECTS[by].to_chat(DIALECTS[by].from_chat(body, default_max_tokens=5))

    assert plainly(back["messages"]) == plainly(messages)
    for name in body.keys() - {"messages", "tools", "parallel_tool_calls"}:
        assert back[name] == body[name]
    assert back.get("parallel_tool_calls") in (False, None if choice == "none" else False)
    assert back["tools"][0]["function"]["parameters"] == WEATHER


# ---------------------------------------------------------------- the real clients

SAID: list[ModelEvent] = [
    ReasoningDelta("They want "),
    ReasoningDelta("weather."),
    ReasoningDelta("", "EqQBCg=="),
    TextDelta("I look "),
    TextDelta("it up."),
    ToolCallDelta(0, "", "call_1", "get_weather"),
    ToolCallDelta(0, '{"city":'),
    ToolCallDelta(0, '"Graz"}'),
    ToolCallDelta(1, "{}", "call_2", "get_weather"),
    Stopped(Usage(100, 40, 50, 30, 8), "tool_calls"),
]


def serving(data: bytes, *, status: int = 200, whole: bool = False) -> httpx2.Client:
    def answer(request: httpx2.Request) -> httpx2.Response:
        kind = "application/json" if whole else "text/event-stream"
        return httpx2.Response(status, headers={"content-type": kind}, content=data)

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def openai_client(data: bytes, **more: Any) -> OpenAI:
    return OpenAI(api_key="sk-1", base_url="http://gateway/v1", http_client=serving(data, **more), max_retries=0)


def anthropic_client(data: bytes, **more: Any) -> Anthropic:
    return Anthropic(api_key="sk-1", base_url="http://gateway", http_client=serving(data, **more), max_retries=0)


OPENAIS, ANTHROPICS = openai_client(b""), anthropic_client(b"")
HELLO: Any = [{"role": "user", "content": "Hello"}]


def test_openais_client_reads_our_chat_stream():
    client = openai_client(write("chat", SAID, stream_options={"include_usage": True}))

    with client.chat.completions.stream(model="m", messages=HELLO, stream_options={"include_usage": True}) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()

    message = final.choices[0].message
    assert "content.delta" in kinds
    assert kinds.count("tool_calls.function.arguments.done") == 2
    assert message.content == "I look it up."
    assert message.tool_calls
    assert [(call.id, call.function.arguments) for call in message.tool_calls] == [
        ("call_1", '{"city":"Graz"}'),
        ("call_2", "{}"),
    ]
    assert message.model_extra
    assert message.model_extra["reasoning_content"] == "They want weather."
    assert message.model_extra["reasoning_details"][0]["signature"] == "EqQBCg=="
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.usage
    assert (final.usage.prompt_tokens, final.usage.total_tokens) == (100, 140)
    assert final.id == "chatcmpl-42"


def test_a_chat_stream_names_its_usage_only_to_those_who_ask():
    client = openai_client(write("chat", SAID))

    chunks = list(client.chat.completions.create(model="m", messages=HELLO, stream=True))

    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_openais_client_reads_our_whole_chat():
    completion = openai_client(write_whole("chat", SAID), whole=True).chat.completions.create(model="m", messages=HELLO)

    assert completion.choices[0].message.content == "I look it up."
    assert completion.usage
    assert completion.usage.prompt_tokens_details
    assert completion.usage.prompt_tokens_details.cached_tokens == 50


def test_openais_client_reads_our_completions():
    events = [TextDelta("Once "), TextDelta("more."), Stopped(Usage(2, 3), "length")]

    client = openai_client(write("completions", events))
    pieces = list(client.completions.create(model="m", prompt="a", stream=True))
    whole = openai_client(write_whole("completions", events), whole=True).completions.create(model="m", prompt="a")

    assert "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text == "Once more."
    assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason == "length"


def test_openais_client_reads_our_responses_stream():
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}]
    client = openai_client(write("responses", SAID, tools=tools, reasoning={"effort": "low"}))

    with client.responses.stream(model="m", input="Hello", tools=tools) as stream:
        events: list[Any] = list(stream)
        final = stream.get_final_response()

    assert [event.type for event in events if not event.type.endswith(".delta")] == [
        "response.created", "response.in_progress",
        "response.output_item.added", "response.reasoning_summary_part.added", "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done", "response.output_item.done",
        "response.output_item.added", "response.content_part.added", "response.output_text.done",
        "response.content_part.done", "response.output_item.done",
        "response.output_item.added", "response.function_call_arguments.done", "response.output_item.done",
        "response.output_item.added", "response.function_call_arguments.done", "response.output_item.done",
        "response.completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text == "I look it up."
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    call: Any = final.output[2]
    assert (call.call_id, call.arguments, call.parsed_arguments) == ("call_1", '{"city":"Graz"}', {"city": "Graz"})
    assert final.usage
    assert (final.usage.input_tokens, final.usage.input_tokens_details.cache_write_tokens) == (100, 30)
    assert final.status == "completed"


def test_openais_client_reads_our_whole_response():
    response = openai_client(write_whole("responses", SAID), whole=True).responses.create(model="m", input="Hello")

    assert response.output_text == "I look it up."
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "function_call"]


def test_a_response_that_was_cut_short_is_incomplete():
    events = [TextDelta("Once"), Stopped(Usage(1, 1), "length")]

    stream = openai_client(write("responses", events)).responses.create(model="m", input="Hello", stream=True)
    *_, last = stream

    assert last.type == "response.incomplete"
    assert last.response.incomplete_details
    assert last.response.incomplete_details.reason == "max_output_tokens"


def test_a_tool_of_free_text_gets_free_text():
    tools: Any = [{"type": "custom", "name": "apply_patch"}]
    events = [
        ToolCallDelta(0, '{"input": "*** Be', "c1", "apply_patch"),
        ToolCallDelta(0, 'gin\\n"}'),
        Stopped(Usage(), "tool_calls"),
    ]
    client = openai_client(write("responses", events, tools=tools))

    stream = list(client.responses.create(model="m", input="Hello", tools=tools, stream=True))
    whole = openai_client(write_whole("responses", events, tools=tools), whole=True).responses.create(
        model="m", input="a"
    )

    last: Any = stream[-1]
    done = [event for event in stream if event.type == "response.custom_tool_call_input.done"]
    assert last.response.output[0].input == whole.output[0].input == done[0].input == "*** Begin\n"  # type: ignore[union-attr]
    assert last.response.output[0].type == "custom_tool_call"


def test_anthropics_client_reads_our_stream():
    client = anthropic_client(write("messages", SAID))

    with client.messages.stream(model="m", max_tokens=100, messages=HELLO) as stream:
        events: list[Any] = list(stream)
        final = stream.get_final_message()

    raw = [
        event.type
        for event in events
        if event.type not in ("text", "input_json", "thinking", "signature", "content_block_delta")
    ]
    assert raw == [
        "message_start", *["content_block_start", "content_block_stop"] * 4, "message_delta", "message_stop",
    ]  # fmt: skip
    assert [block.type for block in final.content] == ["thinking", "text", "tool_use", "tool_use"]
    thinking, said, call, other = final.content
    assert (thinking.thinking, thinking.signature) == ("They want weather.", "EqQBCg==")  # type: ignore[union-attr]
    assert said.text == "I look it up."  # type: ignore[union-attr]
    assert (call.id, call.input, other.input) == ("call_1", {"city": "Graz"}, {})  # type: ignore[union-attr]
    assert (final.stop_reason, final.id, final.model) == ("tool_use", "msg_42", "house-model")
    usage = final.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (20, 50, 30)
    assert usage.output_tokens == 40


def test_anthropics_client_reads_our_whole_message():
    message = anthropic_client(write_whole("messages", SAID), whole=True).messages.create(
        model="m", max_tokens=100, messages=HELLO
    )

    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert message.stop_reason == "tool_use"
    assert message.usage.input_tokens == 20


@given(events=answers())
@settings(max_examples=10, deadline=None)
def test_the_real_clients_read_whatever_is_said(events):
    said, _, _, calls, stopped = sums(events)
    answer = {"/v1/messages": "messages", "/v1/chat/completions": "chat", "/v1/responses": "responses"}
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(
            200, headers={"content-type": "text/event-stream"}, content=write(answer[request.url.path], events)
        )
    )
    anthropic, openai = (
        ANTHROPICS.with_options(http_client=httpx2.Client(transport=transport)),
        OPENAIS.with_options(http_client=httpx2.Client(transport=transport)),
    )
    with anthropic.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream:
        message = stream.get_final_message()
    with openai.chat.completions.stream(model="m", messages=HELLO) as chat:
        chat.until_done()
        choice = chat.current_completion_snapshot.choices[0]
    *_, last = openai.responses.create(model="m", input="a", stream=True)
    response: Any = last

    assert "".join(block.text for block in message.content if block.type == "text") == said
    assert [block.input for block in message.content if block.type == "tool_use"] == [call.input() for call in calls]
    assert (choice.message.content or "") == said
    assert [call.function.arguments for call in choice.message.tool_calls or ()] == [call.arguments for call in calls]
    assert response.response.output_text == said
    assert message.usage.output_tokens == response.response.usage.output_tokens == stopped.usage.output_tokens


def test_the_real_clients_raise_our_errors_in_the_middle_of_a_stream():
    error = UpstreamError("the upstream went away")

    half = write("chat", SAID[:4]).removesuffix(b"data: [DONE]\n\n") + speak_chat.error_stream(error)
    with pytest.raises(APIError, match="went away"):
        list(openai_client(half).chat.completions.create(model="m", messages=HELLO, stream=True))

    half = write("responses", SAID[:4]) + speak_responses.error_stream(error)
    with pytest.raises(APIError, match="went away"):
        list(openai_client(half).responses.create(model="m", input="a", stream=True))

    half = write("messages", SAID[:4]) + speak_messages.error_stream(error)
    with pytest.raises(AnthropicRefusal, match="went away"):
        list(anthropic_client(half).messages.create(model="m", max_tokens=9, messages=HELLO, stream=True))


def test_the_real_clients_raise_our_refusals():
    error = BudgetSpent("the key has spent 5.00 of 5.00 USD")

    with pytest.raises(APIError, match=r"5\.00 of 5\.00"):
        openai_client(speak_chat.error_whole(error), status=429, whole=True).chat.completions.create(
            model="m", messages=HELLO
        )
    with pytest.raises(AnthropicRefusal, match=r"5\.00 of 5\.00") as raised:
        anthropic_client(speak_messages.error_whole(error), status=429, whole=True).messages.create(
            model="m", max_tokens=9, messages=HELLO
        )
    assert raised.value.type == "rate_limit_error"


class City(BaseModel):
    city: str


def test_a_parsed_answer_passes_through_responses():
    client = openai_client(write("responses", [TextDelta('{"city":"Graz"}'), Stopped(Usage(1, 1))]))

    with client.responses.stream(model="m", input="Where?", text_format=City) as stream:
        assert stream.get_final_response().output_parsed == City(city="Graz")


# ---------------------------------------------------------------- a model, translated


class Recorded:
    """A model that says what was recorded, and remembers what it was asked."""

    def __init__(self, *events: ModelEvent | PenstockError) -> None:
        self.events, self.asked, self.closed = events, list[ModelRequest](), False

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.asked.append(request)
        try:
            for event in self.events:
                if isinstance(event, PenstockError):
                    raise event
                yield event
        finally:
            self.closed = True


def ask(model: Translated, dialect: Dialect, body: dict[str, Any], **more: Any) -> list[ModelEvent]:
    async def collect() -> list[ModelEvent]:
        request = ModelRequest(
            dialect=dialect, model="house-model", body=body, data=b"{}", stream=bool(body.get("stream")), **more
        )
        return [event async for event in model.stream(request)]

    return asyncio.run(collect())


def test_the_same_dialect_passes_through_untouched():
    inner = Recorded(Wire(b"{}"), Stopped(Usage(1, 1)))
    model = Translated(inner, speaks=frozenset({"messages", "embeddings"}), default_max_tokens=9)
    request = ModelRequest(dialect="embeddings", model="m", body={})

    assert ask(model, "messages", {}) == [Wire(b"{}"), Stopped(Usage(1, 1))]
    assert inner.asked[0].data == b"{}"
    assert type(model.stream(request)) is type(inner.stream(request))


def test_a_chat_client_streams_from_anthropic():
    half = len(ANTHROPIC) // 2
    inner = Recorded(
        Wire(ANTHROPIC[:half], "text/event-stream"),
        Wire(ANTHROPIC[half:], "text/event-stream"),
        Stopped(Usage(100, 89, 50, 30)),
    )
    model = Translated(inner, speaks=frozenset({"messages"}), default_max_tokens=77, model="claude-sonnet-5")

    events = ask(
        model, "chat", {"model": "a", "messages": HELLO, "stream": True}, headers={"openai-beta": "x", "a": "b"}
    )

    (asked,) = inner.asked
    assert (asked.dialect, asked.data, asked.stream, dict(asked.headers)) == ("messages", b"", True, {"a": "b"})
    assert (asked.body["max_tokens"], asked.body["model"]) == (77, "claude-sonnet-5")
    assert gathered(events) == gathered(read("messages", ANTHROPIC))
    assert [event for event in events if isinstance(event, Stopped | Wire)] == [events[-1]]
    completion = openai_client(write("chat", events)).chat.completions.stream(model="m", messages=HELLO)
    with completion as stream:
        final = stream.get_final_completion()
    assert [call.function.arguments for call in final.choices[0].message.tool_calls or ()] == ['{"city": "Graz"}', "{}"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_whole_answer_is_read_even_where_a_stream_was_asked_for(stream):
    inner = Recorded(Wire(write_whole("chat", SAID)), Stopped(Usage(5, 5), "stop"))
    model = Translated(inner, speaks=frozenset({"chat", "responses"}), default_max_tokens=9)

    events = ask(model, "messages", {"messages": HELLO, "max_tokens": 5, "stream": stream})

    assert sums(events) == sums(SAID)
    assert inner.asked[0].body["max_completion_tokens"] == 5


def test_usage_that_the_answer_does_not_name_comes_from_whoever_sent_it():
    inner = Recorded(Wire(write("chat", SAID), "text/event-stream"), Stopped(Usage(5, 6, estimated=True), "stop"))
    model = Translated(inner, speaks=frozenset({"chat"}), default_max_tokens=9)

    *_, last = ask(model, "responses", {"input": "a", "stream": True})

    assert last == Stopped(Usage(5, 6, estimated=True), "tool_calls")


def test_typed_events_go_on_as_they_are():
    inner = Recorded(*SAID)
    model = Translated(inner, speaks=frozenset({"chat"}), default_max_tokens=9)

    assert ask(model, "completions", {"prompt": "a"}) == SAID
    assert inner.asked[0].body["messages"] == [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("dialect", "speaks"), [("images", {"chat"}), ("chat", {"embeddings"}), ("chat", {"completions"})]
)
def test_what_a_model_cannot_do_is_not_offered(dialect, speaks):
    inner = Recorded()
    model = Translated(inner, speaks=frozenset(speaks), default_max_tokens=9)

    with pytest.raises(NotOffered):
        ask(model, dialect, {"messages": HELLO})
    assert not inner.asked


def test_errors_of_the_inner_model_and_of_its_bytes_come_out():
    speaks: frozenset[Dialect] = frozenset({"chat"})

    with pytest.raises(UpstreamTimeout):
        ask(
            Translated(Recorded(UpstreamTimeout("late")), speaks=speaks, default_max_tokens=9),
            "responses",
            {"input": "a"},
        )
    broken = Recorded(Wire(OPENAI_TOOLS[:500], "text/event-stream"), Stopped(Usage()))
    with pytest.raises(UpstreamError, match="broke off"):
        ask(Translated(broken, speaks=speaks, default_max_tokens=9), "responses", {"input": "a", "stream": True})


def test_closing_ours_closes_theirs_at_once():
    inner = Recorded(*SAID)
    model = Translated(inner, speaks=frozenset({"chat"}), default_max_tokens=9)

    async def leave() -> bool:
        events: Any = model.stream(ModelRequest(dialect="messages", model="m", body={"messages": HELLO}, stream=True))
        async with aclosing(events):
            await anext(events)
        return inner.closed

    assert asyncio.run(leave())
