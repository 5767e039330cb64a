"""Logs of support conversations as people have them: in many shapes, with their own names for things, and damaged."""

import csv
import gzip
import io
import json
import random
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.support_logs import conversations
from penstock.errors import BadRequest, PenstockError, TooLarge, Unreadable
from penstock.support import reading
from penstock.support.conversations import Conversation, Row, Spoken
from penstock.support.reading import Log, open_log

CHAT = {
    "id": "c1",
    "release": "r2",
    "customer": "anna",
    "messages": [
        {"role": "system", "content": "You are the bot of a shop."},
        {"role": "user", "content": "Where is my order #W123?", "timestamp": "2026-05-03T10:00:00Z"},
        {"role": "tool", "content": '{"order": {"number": "#W123", "status": "pending"}}'},
        {"role": "assistant", "content": [{"type": "text", "text": "It is pending."}], "usage": {"prompt_tokens": 90,
         "completion_tokens": 5}},
    ],
    "csat": "4/5",
}  # fmt: skip


def written(folder: Path, text: str | bytes, name: str = "log.jsonl") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(path: Path, **options: Any) -> tuple[list[Conversation], Log]:
    log = open_log(path, **options)
    return list(log), log


def table(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


# ---------------------------------------------------------------- shapes


def test_messages_as_chat_models_have_them_are_a_conversation(tmp_path):
    (found,), log = read(written(tmp_path, lines(CHAT)))

    assert (found.id, found.release, found.customer, found.csat) == ("c1", "r2", "anna", 4.0)
    assert [turn.role for turn in found.turns] == ["system", "customer", "tool", "bot"]
    assert found.turns[3].text == "It is pending."
    assert found.turns[3].input_tokens == 90
    assert found.started == 1777802400.0
    assert log.fields["turns"] == "messages"
    assert log.fields["turns.text"] == "content"


def test_what_a_tool_returned_as_json_is_what_the_next_answer_rests_on(tmp_path):
    (found,), _ = read(written(tmp_path, lines(CHAT)))

    assert found.turns[3].rows == (Row("order", {"number": "#W123", "status": "pending"}),)


def test_a_row_for_each_message_is_put_together_whatever_the_order_of_the_rows(tmp_path):
    rows = [
        {"ticket": f"t{n}", "sender": who, "body": f"{who} {k}", "sent_at": f"2026-05-0{n + 1}T10:0{k}:00",
         "csat": n + 3 if k == 3 else ""}
        for n in range(3)
        for k, who in enumerate(["customer", "bot", "customer", "agent"])
    ]  # fmt: skip
    shuffled = random.Random(4).sample(rows, len(rows))

    first, log = read(written(tmp_path, table(rows), "a.csv"))
    second, _ = read(written(tmp_path, table(shuffled), "b.csv"))

    assert first == second
    assert [one.id for one in first] == ["t0", "t1", "t2"]
    assert first[1].csat == 4.0
    assert [turn.role for turn in first[0].turns] == ["customer", "bot", "customer", "person"]
    assert log.fields["id"] == "ticket"
    assert log.fields["turns.at"] == "sent_at"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_table_is_read_with_whatever_stands_between_its_cells(tmp_path, delimiter):
    rows = [
        {"conversation_id": "1", "role": "user", "text": "Hi, a question"},
        {"conversation_id": "1", "role": "bot", "text": "Yes; ask"},
    ]

    (found,), _ = read(written(tmp_path, table(rows, delimiter), "log.csv"))

    assert [turn.text for turn in found.turns] == ["Hi, a question", "Yes; ask"]


def test_a_transcript_in_one_cell_is_taken_apart(tmp_path):
    rows = [
        {"id": "7", "transcript": "Customer: Where is it?\nStill waiting.\nAgent: It is on its way.", "rating": "5"}
    ]

    (found,), _ = read(written(tmp_path, table(rows), "log.csv"))

    assert [(turn.role, turn.text) for turn in found.turns] == [
        ("customer", "Where is it?\nStill waiting."),
        ("bot", "It is on its way."),
    ]


def test_questions_with_their_answers_are_conversations_of_one_question(tmp_path):
    rows = [{"question": "Is it open?", "answer": "Until six.", "latency_ms": 300, "reference": "Until 18:00."}]

    (found,), _ = read(written(tmp_path, lines(*rows)))

    assert [turn.role for turn in found.turns] == ["customer", "bot"]
    assert (found.turns[1].latency_ms, found.turns[1].references) == (300.0, ("Until 18:00.",))


def test_dialogues_of_pairs_in_a_json_list_are_read_with_their_scenario(tmp_path):
    dialogue = {
        "convo_id": 3592,
        "scenario": {
            "personal": {"username": "cm", "customer_name": "crystal"},
            "order": {"order_id": "334"},
            "subflow": "return_size",
        },
        "original": [
            ["agent", "Hi!"],
            ["customer", "I need to return it."],
            ["action", "Account pulled up."],
            ["agent", "Sure."],
        ],
        "delexed": [{"speaker": "agent", "text": "hi"}],
    }

    (found,), _ = read(written(tmp_path, json.dumps([dialogue], indent=1), "dialogues.json"))

    assert (found.id, found.intent, found.customer) == ("3592", "return_size", "cm")
    assert [turn.role for turn in found.turns] == ["bot", "customer", "tool", "bot"]
    assert {row.source for row in found.rows} == {"personal", "order", ""}


def test_conversations_in_an_object_are_found(tmp_path):
    whole = {"train": [CHAT], "test": [CHAT | {"id": "c2"}], "version": 3}

    found, _ = read(written(tmp_path, json.dumps(whole, indent=2), "all.json"))

    assert [one.id for one in found] == ["c1", "c2"]


def test_own_names_are_mapped(tmp_path):
    rows = [
        {"vorgang": "1", "wer": "kunde", "wortlaut": "Wo ist es?"},
        {"vorgang": "1", "wer": "bot", "wortlaut": "Unterwegs."},
    ]

    (found,), log = read(written(tmp_path, lines(*rows)), mapping={"id": "vorgang", "role": "wer", "text": "wortlaut"})

    assert [turn.role for turn in found.turns] == ["customer", "bot"]
    assert log.fields["turns.text"] == "wortlaut"


def test_a_log_may_be_packed_and_in_other_encodings(tmp_path):
    packed, _ = read(written(tmp_path, gzip.compress(lines(CHAT).encode()), "log.jsonl.gz"))
    wide, _ = read(written(tmp_path, lines(CHAT).encode("utf-16"), "wide.jsonl"))
    latin, _ = read(written(tmp_path, "id,role,text\n1,user,Größe?\n1,bot,Ja\n".encode("cp1252"), "log.csv"))

    assert packed == wide
    assert latin[0].turns[0].text == "Größe?"


# ---------------------------------------------------------------- traces


def attribute(key: str, value: Any) -> dict[str, Any]:
    kind = {str: "stringValue", int: "intValue", float: "doubleValue"}[type(value)]
    return {"key": key, "value": {kind: str(value) if kind == "intValue" else value}}


def span(number: int, parent: str, start: int, values: dict[str, Any], trace: str = "a" * 32) -> dict[str, Any]:
    return {
        "traceId": trace, "spanId": f"{number:016x}", "parentSpanId": parent, "name": "x",
        "startTimeUnixNano": str(start * 10**9), "endTimeUnixNano": str((start + 2) * 10**9),
        "attributes": [attribute(key, value) for key, value in values.items()],
    }  # fmt: skip


def request(*spans: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": [attribute("service.version", "r7"), attribute("service.name", "shop")]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}


def messages(role: str, text: str) -> str:
    return json.dumps([{"role": "system", "parts": []}, {"role": role, "parts": [{"type": "text", "content": text}]}])


GENAI = request(
    span(1, "", 1_777_000_000, {"gen_ai.conversation.id": "k1", "user.id": "anna", "gen_ai.operation.name": "invoke_agent",
                               "gen_ai.input.messages": messages("user", "Where is it?"),
                               "gen_ai.output.messages": messages("assistant", "It is pending.")}),
    span(2, f"{1:016x}", 1_777_000_000, {"gen_ai.conversation.id": "k1", "gen_ai.operation.name": "chat",
    "gen_ai.usage.input_tokens": 50,
                                        "gen_ai.usage.output_tokens": 7, "gen_ai.output.messages": messages("assistant",
                                        "calls a tool")}),
    span(3, f"{1:016x}", 1_777_000_000, {"gen_ai.conversation.id": "k1", "gen_ai.operation.name": "execute_tool",
                                        "gen_ai.tool.call.result": '{"source": "orders/#1", "values": {"status": "pending"}}'}),
    span(4, "", 1_777_000_100, {"gen_ai.conversation.id": "k1", "gen_ai.input.messages": messages("user", "Thanks"),
                               "gen_ai.output.messages": messages("assistant", "You're welcome.")}, trace="b" * 32),
)  # fmt: skip
OPENINFERENCE = request(
    span(1, "", 1_777_000_000, {"openinference.span.kind": "CHAIN", "session.id": "s1", "input.value": "Is it in stock?",
    "output.value": "There are 7."}),
    span(2, f"{1:016x}", 1_777_000_001, {"openinference.span.kind": "RETRIEVER", "session.id": "s1",
    "retrieval.documents.0.document.content": "Stock: 7"}),
    span(3, f"{1:016x}", 1_777_000_001, {"openinference.span.kind": "LLM", "session.id": "s1", "llm.token_count.prompt": 40,
    "llm.token_count.completion": 4,
                                        "llm.output_messages.0.message.role": "assistant",
                                        "llm.output_messages.0.message.content": "There are 7."}),
)  # fmt: skip


def test_traces_of_the_conventions_for_generative_ai_are_conversations(tmp_path):
    (found,), _ = read(written(tmp_path, lines(GENAI)))

    assert (found.id, found.customer, found.release, found.app) == ("k1", "anna", "r7", "shop")
    assert [turn.text for turn in found.turns] == ["Where is it?", "It is pending.", "Thanks", "You're welcome."]
    answer = found.turns[1]
    assert (answer.latency_ms, answer.input_tokens, answer.output_tokens) == (2000.0, 50, 7)
    assert answer.rows == (Row("orders/#1", {"status": "pending"}),)


def test_traces_of_openinference_are_conversations_with_what_was_retrieved(tmp_path):
    (found,), _ = read(written(tmp_path, lines(OPENINFERENCE)))

    assert [(turn.role, turn.text) for turn in found.turns] == [
        ("customer", "Is it in stock?"),
        ("bot", "There are 7."),
    ]
    assert found.turns[1].sources == ("Stock: 7",)
    assert found.turns[1].input_tokens == 40


@pytest.mark.parametrize("framed", [False, True])
def test_traces_in_protobuf_say_the_same_as_in_json(tmp_path, framed):
    json_format = pytest.importorskip("google.protobuf.json_format")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    def packed(row: dict[str, Any]) -> bytes:
        import base64

        spans = [dict(one) for one in row["resourceSpans"][0]["scopeSpans"][0]["spans"]]
        for one in spans:
            for name in ("traceId", "spanId", "parentSpanId"):
                one[name] = base64.b64encode(bytes.fromhex(one[name])).decode()
        whole = {"resourceSpans": [{"resource": row["resourceSpans"][0]["resource"], "scopeSpans": [{"spans": spans}]}]}
        return json_format.ParseDict(whole, ExportTraceServiceRequest()).SerializeToString()

    data = packed(GENAI)
    if framed:
        data = b"".join(struct.pack(">I", len(part)) + part for part in (packed(GENAI), packed(OPENINFERENCE)))
    found, _ = read(written(tmp_path, data, "traces.bin"))

    expected, _ = read(written(tmp_path, lines(GENAI, *([OPENINFERENCE] if framed else [])), "t.jsonl"))
    assert found == expected


# ---------------------------------------------------------------- what is wrong is told


def test_an_empty_file_says_what_would_be_one(tmp_path):
    with pytest.raises(BadRequest, match="is empty") as told:
        read(written(tmp_path, ""))

    assert "messages" in told.value.hint


def test_what_cannot_be_read_is_passed_over_and_told_by_its_line(tmp_path):
    text = (
        lines(CHAT)
        + '{"id": "broken", "messages": [{"role"\n'
        + lines({"id": "c3", "messages": [{"role": "martian", "content": "?"}]}, CHAT | {"id": "c4"}, [1])
    )

    found, log = read(written(tmp_path, text))

    assert [one.id for one in found] == ["c1", "c4"]
    (told,) = log.problems.told()
    assert "line 2: is not JSON" in told
    assert "line 3: turn 0 is of 'martian'" in told
    assert "line 5: is no JSON object" in told


def test_a_log_that_breaks_off_gives_what_is_there(tmp_path):
    whole = gzip.compress(
        lines(*[CHAT | {"id": f"c{n}", "note": f"{random.Random(n).random()}"} for n in range(3000)]).encode()
    )

    found, log = read(written(tmp_path, whole[: len(whole) // 2], "cut.jsonl.gz"))
    listed, list_log = read(written(tmp_path, json.dumps([CHAT, CHAT | {"id": "c2"}])[:-9], "cut.json"))

    assert found
    assert any("breaks off" in one for one in log.problems.told())
    assert [one.id for one in listed] == ["c1"]
    assert any("breaks off" in one for one in list_log.problems.told())


def test_a_line_without_an_end_is_passed_over_and_never_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_LINE", 2000)
    text = lines(CHAT) + '{"id": "' + "x" * 50_000 + '"}\n' + lines(CHAT | {"id": "c3"})

    found, log = read(written(tmp_path, text))

    assert [one.id for one in found] == ["c1", "c3"]
    assert "line 2: the line is longer" in log.problems.told()[0]


def test_a_file_that_is_no_log_says_so(tmp_path):
    with pytest.raises(Unreadable, match="neither text nor traces"):
        read(written(tmp_path, bytes(range(256)) * 64, "picture.png"))
    with pytest.raises(BadRequest, match="have no text that somebody said") as told:
        read(written(tmp_path, "height,width\n3,4\n", "numbers.csv"))

    assert "--map text=COLUMN" in told.value.hint


def test_messages_that_name_no_conversation_ask_for_the_column(tmp_path):
    with pytest.raises(BadRequest, match="does not say which conversation"):
        read(written(tmp_path, lines({"role": "user", "text": "Hi"}, {"role": "bot", "text": "Hello"})))


def test_a_mapping_to_nothing_that_we_know_is_refused(tmp_path):
    with pytest.raises(BadRequest, match="there is no field 'speeker'"):
        read(written(tmp_path, lines(CHAT)), mapping={"speeker": "who"})


def test_a_rating_outside_of_its_scale_is_left_out_and_told(tmp_path):
    nine = lines(CHAT | {"csat": 9})

    (strange,), log = read(written(tmp_path, nine))
    (stretched,), _ = read(written(tmp_path, nine), csat_scale=(0.0, 10.0))

    assert strange.csat is None
    assert "CSAT" in log.problems.told()[0]
    assert stretched.csat == pytest.approx(4.6)


def test_the_same_conversation_twice_counts_once_and_two_of_one_id_count_both(tmp_path):
    other = CHAT | {"messages": CHAT["messages"][:2]}

    found, log = read(written(tmp_path, lines(CHAT, CHAT, other)))

    assert len(found) == 2
    assert len({one.id for one in found}) == 2
    assert len(log.problems.told()) == 2


def test_a_file_that_has_to_be_read_at_once_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST_WHOLE", 1000)

    with pytest.raises(TooLarge, match="larger than 0 MB"):
        read(written(tmp_path, json.dumps({"all": [CHAT] * 10}, indent=1), "all.json"))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=400), head=st.sampled_from([b"", b"{", b"[", b'{"messages": [', b"id,role,text\n",
    b'{"resourceSpans": [', b"\x1f\x8b"]), name=st.sampled_from(["x.jsonl", "x.csv", "x.json", "x.gz"]))  # fmt: skip
def test_whatever_bytes_come_the_answer_is_a_log_or_an_error_of_ours(tmp_path, data, head, name):
    path = written(tmp_path, head + data, name)

    found: list[Conversation] = []
    with suppress(PenstockError):
        found, _ = read(path)

    assert all(isinstance(one, Conversation) and one.turns for one in found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "text", "id", "at", "rows",
    "x"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(row=st.dictionaries(st.sampled_from(["id", "messages", "turns", "csat", "started", "rows", "customer", "role", "text",
    "resourceSpans", "scenario"]), JSON))  # fmt: skip
def test_a_row_of_any_json_is_read_or_told(tmp_path, row):
    found, log = read(written(tmp_path, lines(row, CHAT | {"id": "good-one"})))

    assert "good-one" in {one.id for one in found}
    assert len(found) + log.problems.count >= 1


# ---------------------------------------------------------------- streaming


def test_a_conversation_is_written_and_read_as_the_same(tmp_path):
    some, _ = conversations(40, seed=3, references=True)

    found, log = read(written(tmp_path, lines(*[one.plain() for one in some])))

    assert [one.digest for one in found] == [one.digest for one in some]
    assert not log.problems.told()


def test_a_log_gives_its_first_conversation_before_it_is_read_to_its_end(tmp_path):
    path = written(tmp_path, lines(*[CHAT | {"id": f"c{n}"} for n in range(20_000)]))

    log = open_log(path)
    first = next(iter(log))

    assert first.id == "c0"
    assert log.names.found  # and yet nothing of the rest has been looked at
    assert Spoken(role="bot", text="It is pending.").text == first.turns[3].text


def test_an_export_as_zendesk_makes_it_is_read(tmp_path):
    path = tmp_path / "tickets.csv"
    path.write_text(
        "Ticket ID,Requester email,Author role,Comment,Created at,Satisfaction score\n"
        "7,a@x.example,end-user,Where is my order?,2026-05-01 10:00:00 +0000,good\n"
        "7,a@x.example,bot,It is on its way.,2026-05-01 10:00:02 +0000,good\n"
        "7,a@x.example,admin,Let me look.,2026-05-01 10:05:00 UTC,good\n"
    )

    (one,) = open_log(path)

    assert [turn.role for turn in one.turns] == ["customer", "bot", "person"]
    assert (one.customer, one.csat) == ("a@x.example", 5.0)
    assert one.turns[2].at == one.turns[0].at + 300
