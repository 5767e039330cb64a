"""What a model reads in a request, with where it came from, in every dialect; and bodies with some of it replaced."""

import copy
import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import TooLarge
from penstock.guard.bodies import DEEPEST, MOST_PIECES, pieces, replaced
from penstock.models import speak_messages, speak_responses
from penstock.types import Dialect

PICTURE = "data:image/png;base64,iVBORw0KGgo="
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "user", "name": "Ann", "content": "read my mail"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "let me look",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "read_mail", "arguments": '{"id": "x"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "dear Ann"}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "and this?"},
                {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
                {"type": "file", "file": {"filename": "bill.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
            ],
        },
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "send",
                "description": "sends",
                "parameters": {"type": "object", "properties": {"to": {"type": "string", "enum": ["Bo", "Li"]}}},
            },
        }
    ],
}
MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "read my mail"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "let me look", "signature": "c2ln"},
                {"type": "tool_use", "id": "t1", "name": "read_mail", "input": {"id": "x", "more": {"of": ["it"]}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "dear Ann"}]},
                {"type": "tool_result", "tool_use_id": "t1", "content": "dear all"},
                {
                    "type": "document",
                    "title": "Bill",
                    "context": "of May",
                    "source": {"type": "text", "media_type": "text/plain", "data": "40 EUR"},
                },
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "part"}]}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}},
                {
                    "type": "search_result",
                    "title": "Page",
                    "source": "https://a.example",
                    "content": [{"type": "text", "text": "found"}],
                },
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {"type": "text", "text": "and this?"},
            ],
        },
    ],
    "tools": [{"name": "send", "description": "sends", "input_schema": {"type": "object"}}],
}
RESPONSES: dict[str, Any] = {
    "model": "m",
    "instructions": "be brief",
    "input": [
        {"role": "user", "content": "read my mail"},
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "let me look"}]},
        {"type": "function_call", "call_id": "f1", "name": "read_mail", "arguments": '{"id": "x"}'},
        {"type": "function_call_output", "call_id": "f1", "output": "dear Ann"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a mail"}]},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "and this?"}, {"type": "input_image", "image_url": PICTURE}],
        },
        {"type": "custom_tool_call_output", "call_id": "f1", "output": [{"type": "input_text", "text": "more"}]},
    ],
    "tools": [{"type": "function", "name": "send", "description": "sends", "parameters": {}}],
}


def told(body: dict[str, Any], dialect: Dialect) -> list[tuple[str, str, str, str]]:
    return [(p.text, p.origin.kind, p.origin.name, p.surface) for p in pieces(body, dialect)]


# ---------------------------------------------------------------- who said what


def test_every_text_of_a_chat_has_its_origin():
    assert told(CHAT, "chat") == [
        ("be brief", "system", "", "prompt"),
        ("be kind", "system", "", "prompt"),
        ("Ann", "user", "", "prompt"),
        ("read my mail", "user", "", "prompt"),
        ("let me look", "model", "", "output"),
        ('{"id": "x"}', "model", "read_mail", "output"),
        ("dear Ann", "tool", "read_mail", "tool"),
        ("and this?", "user", "", "prompt"),
        ("bill.pdf", "user", "", "prompt"),
        ("sends", "definition", "", "prompt"),
        ("Bo", "definition", "", "prompt"),
        ("Li", "definition", "", "prompt"),
    ]


def test_documents_and_results_among_what_an_anthropic_user_says_are_not_the_users_words():
    assert told(MESSAGES, "messages") == [
        ("be brief", "system", "", "prompt"),
        ("read my mail", "user", "", "prompt"),
        ("let me look", "model", "", "output"),
        ("x", "model", "read_mail", "output"),
        ("it", "model", "read_mail", "output"),
        ("dear Ann", "tool", "read_mail", "tool"),
        ("dear all", "tool", "read_mail", "tool"),
        ("Bill", "document", "Bill", "document"),
        ("of May", "document", "Bill", "document"),
        ("40 EUR", "document", "Bill", "document"),
        ("part", "document", "", "document"),
        ("Page", "document", "https://a.example", "document"),
        ("https://a.example", "document", "https://a.example", "document"),
        ("found", "document", "https://a.example", "document"),
        ("and this?", "user", "", "prompt"),
        ("sends", "definition", "", "prompt"),
    ]


def test_every_text_of_responses_has_its_origin():
    assert told(RESPONSES, "responses") == [
        ("be brief", "system", "", "prompt"),
        ("read my mail", "user", "", "prompt"),
        ("let me look", "model", "", "output"),
        ('{"id": "x"}', "model", "read_mail", "output"),
        ("dear Ann", "tool", "read_mail", "tool"),
        ("a mail", "model", "", "output"),
        ("and this?", "user", "", "prompt"),
        ("more", "tool", "read_mail", "tool"),
        ("sends", "definition", "", "prompt"),
    ]


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        ("completions", {"prompt": ["a", "b"], "suffix": "c"}, ["a", "b", "c"]),
        ("completions", {"prompt": [1, 2]}, []),
        ("embeddings", {"input": ["a", "b"]}, ["a", "b"]),
        ("images", {"prompt": "a dog", "size": "1x1"}, ["a dog"]),
        ("speech", {"input": "hello", "instructions": "softly", "voice": "x"}, ["softly", "hello"]),
        ("moderations", {"input": [{"type": "text", "text": "a"}, "b"]}, ["a", "b"]),
        ("transcriptions", {"prompt": "names", "language": "en"}, ["names"]),
        ("rerank", {"query": "q", "documents": ["a", {"title": "t", "text": "b", "id": "7"}]}, ["q", "a", "t", "b"]),
        ("responses", {"input": "hello"}, ["hello"]),
        ("count_tokens", {"system": "s", "messages": [{"role": "user", "content": "u"}]}, ["s", "u"]),
    ],
)
def test_the_texts_of_the_small_dialects(dialect: Dialect, body: dict[str, Any], expected: list[str]):
    assert [piece.text for piece in pieces(body, dialect)] == expected


def test_documents_to_be_ordered_are_documents():
    found = pieces({"query": "q", "documents": ["a", {"text": "b"}]}, "rerank")

    assert [(p.surface, p.origin.kind, p.origin.name) for p in found] == [
        ("prompt", "user", ""),
        ("document", "document", "1"),
        ("document", "document", "2"),
    ]


@pytest.mark.parametrize("role", ["ipython", "", None, 7, "User", "function", "tool"])
def test_a_role_that_nobody_knows_is_not_trusted(role: Any):
    (piece,) = pieces({"messages": [{"role": role, "content": "obey"}]}, "chat")

    assert piece.origin.tainted


def test_what_a_provider_found_for_itself_is_the_result_of_a_tool():
    body = {
        "input": [{"type": "mcp_call", "name": "wiki", "output": "found", "arguments": "{}"}, {"type": "new", "t": "x"}]
    }

    assert {piece.origin.kind for piece in pieces(body, "responses")} == {"tool"}


# ---------------------------------------------------------------- nothing is missed


@pytest.mark.parametrize("dialect", ["messages", "responses"])
def test_no_text_is_lost_when_a_chat_goes_to_another_dialect(dialect: Dialect):
    chat = copy.deepcopy(CHAT)
    for message in chat["messages"]:
        message.pop("name", None)
        message.pop("reasoning_content", None)
    translate = speak_messages.from_chat if dialect == "messages" else speak_responses.from_chat
    there = json.dumps([piece.text for piece in pieces(translate(chat), dialect)])

    for piece in pieces(chat, "chat"):
        said = json.loads(piece.text)["id"] if piece.text.startswith("{") else piece.text
        assert said in there


def _planted(value: Any, mark: str, skipped: frozenset[str]) -> Any:
    """The body with a mark in every string that a model may read."""
    match value:
        case str():
            return f"{mark}{value}"
        case list():
            return [_planted(entry, mark, skipped) for entry in value]
        case dict():
            return {k: entry if k in skipped else _planted(entry, mark, skipped) for k, entry in value.items()}
    return value


@pytest.mark.parametrize(("dialect", "body"), [("chat", CHAT), ("messages", MESSAGES), ("responses", RESPONSES)])
def test_the_texts_are_all_that_is_neither_a_name_nor_a_number_nor_an_encoding(dialect: Dialect, body: dict[str, Any]):
    plain = "type role id name model call_id tool_call_id tool_use_id url image_url file_data detail media_type signature data"
    skipped = frozenset({*plain.split(), "cache_control"})
    said = copy.deepcopy(body)
    for message in said.get("messages", []):
        message.pop("name", None)
    marked = json.dumps(_planted(said, "⌘", skipped), ensure_ascii=False).count("⌘")
    free_text = 1 if dialect == "messages" else 0  # a document's own text stands under `data`
    ids_of_arguments = 1 if dialect == "messages" else 0  # an argument that is called `id` is text

    assert len(pieces(said, dialect)) == marked + free_text + ids_of_arguments


# ---------------------------------------------------------------- replaced


@pytest.mark.parametrize(("dialect", "body"), [("chat", CHAT), ("messages", MESSAGES), ("responses", RESPONSES)])
def test_texts_are_replaced_where_they_stand_and_nowhere_else(dialect: Dialect, body: dict[str, Any]):
    before = copy.deepcopy(body)
    found = pieces(body, dialect)
    changed = replaced(body, {piece.path: f"<{n}>" for n, piece in enumerate(found)})

    assert body == before
    assert [piece.text for piece in pieces(dict(changed), dialect)] == [f"<{n}>" for n in range(len(found))]
    assert replaced(changed, {piece.path: piece.text for piece in found}) == before


def test_what_is_unchanged_is_shared():
    changed = replaced(CHAT, {("messages", 2, "content"): "read [PERSON_1]'s mail"})

    assert changed["messages"][2]["content"] == "read [PERSON_1]'s mail"
    assert changed["tools"] is CHAT["tools"]
    assert changed["messages"][0] is CHAT["messages"][0]
    assert replaced(CHAT, {}) == CHAT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                "role content type text messages input output source system tools name arguments function tool_calls data "
                "title call_id description parameters documents query prompt instructions user assistant".split()
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=40,
)
BODIES = st.dictionaries(
    st.sampled_from(
        "messages input system tools prompt instructions documents query text functions prediction".split()
    ),
    JSON
    | st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "system", "assistant", "tool"]) | JSON, "content": JSON},
            optional={"type": st.sampled_from(["tool_result", "document", "function_call", "search_result"]) | JSON},
        ),
        max_size=4,
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(BODIES, st.sampled_from(get_args(Dialect)))
def test_strange_bodies_are_read_as_far_as_they_go_and_come_back_as_they_were(body: dict[str, Any], dialect: Dialect):
    found = pieces(body, dialect)

    assert len({piece.path for piece in found}) == len(found)
    assert replaced(body, {piece.path: piece.text for piece in found}) == body
    again = pieces(dict(replaced(body, {piece.path: "x" + piece.text for piece in found})), dialect)
    names = {"role", "type", "call_id", "name"}
    if not any(names & set(map(str, piece.path)) for piece in found):
        assert [piece.text for piece in again] == ["x" + piece.text for piece in found]


def test_a_body_of_too_many_texts_is_refused_before_it_fills_the_memory():
    with pytest.raises(TooLarge, match="200,000 texts"):
        pieces({"input": ["a"] * (MOST_PIECES + 1)}, "embeddings")


def test_text_that_hides_in_the_depth_is_refused():
    deep: Any = "obey"
    for _ in range(DEEPEST + 5):
        deep = {"x": deep}

    with pytest.raises(TooLarge, match="levels down"):
        pieces({"messages": [{"role": "user", "content": [{"type": "text", "more": deep}]}]}, "chat")
