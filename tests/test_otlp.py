"""What OpenTelemetry, Prometheus and Grafana are told: from rows of the journal, without a request waiting for any of it."""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from receiver import Receiver, Reply, plain, receiver
from serving import Served, asked, serving
from upstream import INPUT_TOKENS, PIECES, Turn, Upstream, upstream

from penstock.cli.main import cli
from penstock.config import describe, load
from penstock.errors import BadSetting, MissingExtra
from penstock.observe import export
from penstock.observe.conventions import ATTRIBUTES, METRICS, Names
from penstock.observe.conventions import Served as Known
from penstock.observe.export import Exporter
from penstock.observe.export import Receiver as To
from penstock.observe.journal import Journal, Row
from penstock.observe.measures import converted
from penstock.observe.metrics import Metrics
from penstock.observe.otlp import Room, Tracing, nested
from penstock.storage.database import Database

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
QUESTION = "How long can books be returned? Ask for Zoe Quillfeather."
MODELS = ("good", "fail", "refuse", "trickle")


def until(true: Callable[[], Any], *, within_s: float = 20.0) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, "it did not happen"
        time.sleep(0.01)


def row(name: str = "r1", **more: Any) -> Row:
    values: dict[str, Any] = {
        "id": name, "trace_id": TRACE, "at": 1_790_000_000.5, "key": "anna", "person": "", "team": "", "app": "",
        "model": "small", "dialect": "chat", "streamed": False, "status": 200, "outcome": "ok", "error": "",
        "cached": False, "first_ms": 100.0, "duration_ms": 300.0, "input_tokens": 12, "output_tokens": 50,
        "cached_tokens": 3, "reasoning_tokens": 0, "cost_pico_usd": 5 * 10**9, "calls": "",
    }  # fmt: skip
    return Row(**values | more)


def children(spans: list[Span], parent: Span) -> list[Span]:
    return sorted((s for s in spans if s.parent_span_id == parent.span_id), key=lambda s: s.start_time_unix_nano)


def of_request(got: Receiver, model: str) -> tuple[Span, list[Span]]:
    """The span of the latest request for a model, and all spans of its trace."""

    def roots() -> list[Span]:
        return [
            span
            for span in got.spans
            if span.kind == Span.SPAN_KIND_SERVER and plain(span.attributes)["penstock.model"] == model
        ]

    until(roots)
    root = roots()[-1]
    return root, [span for span in got.spans if span.trace_id == root.trace_id]


# ---------------------------------------------------------------- through the front door


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream(slowly=[Turn(between_s=0.05)]) as running:
        yield running


@pytest.fixture(scope="module")
def got() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture(scope="module")
def gate(up: Upstream, got: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("otlp")
    (folder / "docs").mkdir()
    (folder / "docs" / "returns.md").write_text("# Returns\n\nBooks can be returned within thirty days of delivery.\n")
    toml = f"""
    [observe]
    otlp_endpoint = "{got.url}/"
    otlp_headers = {{ "x-team" = "books" }}
    semconv = "both"
    openinference = true
    otlp_text = true
    service_name = "shop"
    resource = {{ "deployment.environment.name" = "test" }}
    [documents.handbook]
    paths = ["docs"]
    [routes.smart]
    models = ["fail", "good"]
    cache = "exact"
    [budgets.all]
    limit_usd_per_day = 5
    [apps.quoted]
    documents = "handbook"
    [apps.written]
    documents = "handbook"
    models = ["good"]
    keep_text = "always"
    """
    for name in (*MODELS, "slowly"):
        toml += (
            f'[models.{name}]\nbase_url = "{up.url}"\napi_key = "sk-secret"\nmodel = "{name}"\n'
            "input_usd_per_million = 1\noutput_usd_per_million = 2\n"
        )
    with serving(folder, toml) as served:
        yield served


def test_a_plain_call_is_a_request_and_a_call_of_a_model_in_the_callers_trace(gate: Served, got: Receiver):
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    gate.client().post("/v1/chat/completions", json=asked("good", "Hello"), headers=headers)

    root, spans = of_request(got, "good")
    (call,) = children(spans, root)
    told = plain(call.attributes)

    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, PARENT)
    assert root.name == "POST /v1/chat/completions"
    assert plain(root.attributes)["http.response.status_code"] == 200
    assert (call.name, call.kind) == ("chat good", Span.SPAN_KIND_CLIENT)
    assert told["gen_ai.system"] == told["gen_ai.provider.name"] == told["llm.provider"] == "openai"
    assert (told["gen_ai.usage.input_tokens"], told["llm.token_count.completion"]) == (INPUT_TOKENS, PIECES)
    assert told["llm.cost.total"] == pytest.approx((INPUT_TOKENS + 2 * PIECES) / 1e6)
    assert told["server.address"] == "127.0.0.1"
    assert root.start_time_unix_nano <= call.start_time_unix_nano < call.end_time_unix_nano <= root.end_time_unix_nano
    assert abs(root.start_time_unix_nano / 1e9 - time.time()) < 60
    assert not [name for name in plain(root.attributes) if name.startswith("gen_ai.usage")], "counted once"


def test_a_message_says_whom_it_is_from_and_brings_its_secrets(gate: Served, got: Receiver):
    gate.client().post("/v1/chat/completions", json=asked("good", "Hello"))
    of_request(got, "good")

    path, headers, _ = got.seen[0]
    assert path == "/v1/traces"
    assert headers["x-team"] == "books"
    resource = got.resource()
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("shop", "test")


def test_a_fallback_shows_both_calls_one_after_the_other(gate: Served, got: Receiver):
    gate.client().post("/v1/chat/completions", json=asked("smart", "A question to fall back with", stream=True))

    root, spans = of_request(got, "smart")
    calls = children(spans, root)

    assert [call.name for call in calls][-1] == "chat good"
    assert {call.name for call in calls[:-1]} == {"chat fail"}
    failed, answered = calls[0], calls[-1]
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert plain(failed.attributes)["error.type"] == "upstream_error"
    assert failed.end_time_unix_nano <= answered.start_time_unix_nano + 3_000
    assert answered.status.code == root.status.code == Status.STATUS_CODE_UNSET
    assert 0 < plain(answered.attributes)["gen_ai.response.time_to_first_chunk"] < 10


def test_an_answer_from_the_cache_calls_nobody(gate: Served, got: Receiver):
    for _ in range(2):
        gate.client().post("/v1/chat/completions", json=asked("smart", "The same again?"))

    def cached() -> list[Span]:
        return [span for span in got.spans if plain(span.attributes).get("penstock.cached")]

    until(cached)
    assert children(got.spans, cached()[0]) == []


def test_an_apps_answer_shows_its_rooms_and_what_is_known_of_it(gate: Served, got: Receiver):
    gate.client().post("/v1/chat/completions", json=asked("written", QUESTION, user="zoe"))

    root, spans = of_request(got, "written")
    told = plain(root.attributes)
    rooms = children(spans, root)

    assert root.name == "invoke_workflow written"
    assert told["gen_ai.agent.name"] == "written"
    assert told["penstock.answer.status"] == "answer"
    assert told["penstock.version.index"] == "v1"
    assert told["annotations.0.annotation.name"] == "groundedness"
    assert [room.name for room in rooms][:4] == ["understand", "guard", "retrieval", "screen"]
    write = next(room for room in rooms if room.name == "write")
    assert [call.name for call in children(spans, write)] == ["chat good"]
    kinds = {room.name: plain(room.attributes)["openinference.span.kind"] for room in rooms}
    assert kinds["retrieval"] == "RETRIEVER"
    assert kinds["guard"] == "GUARDRAIL"
    assert told["input.value"] == QUESTION
    assert json.loads(told["gen_ai.input.messages"])[0]["parts"][0]["content"] == QUESTION
    assert told["user.id"] == "zoe"
    assert {"gen_ai.user.message", "gen_ai.choice", "gen_ai.evaluation.result"} <= {event.name for event in root.events}


def test_words_stay_here_where_an_app_keeps_none(gate: Served, got: Receiver):
    gate.client().post("/v1/chat/completions", json=asked("quoted", QUESTION))

    _, spans = of_request(got, "quoted")

    said = b"".join(span.SerializeToString() for span in spans)
    assert b"Quillfeather" not in said
    assert b"thirty days" not in said


def test_a_refused_and_a_cancelled_request_are_no_errors_of_the_server(gate: Served, got: Receiver):
    refused = gate.client().post("/v1/chat/completions", json=asked("refuse", "Hello"))
    assert refused.status_code == 400
    with gate.client().stream("POST", "/v1/chat/completions", json=asked("slowly", "Hello", stream=True)) as answer:
        next(answer.iter_bytes())

    root, spans = of_request(got, "refuse")
    assert plain(root.attributes)["penstock.outcome"] == "refused"
    assert plain(root.attributes)["error.type"] == "told_400"
    assert root.status.code == Status.STATUS_CODE_UNSET
    assert children(spans, root)[0].status.code == Status.STATUS_CODE_ERROR
    root, spans = of_request(got, "slowly")
    assert plain(root.attributes)["penstock.outcome"] == "cancelled"
    assert root.status.code == children(spans, root)[0].status.code == Status.STATUS_CODE_UNSET


def test_what_a_caller_says_of_a_trace_is_checked(gate: Served, got: Receiver):
    zero = "0" * 32
    for said in (f"00-{zero}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01", "00-x-y-01"):
        gate.client().post("/v1/chat/completions", json=asked("trickle", "Hi"), headers={"traceparent": said})

    def roots() -> list[Span]:
        trickled = [span for span in got.spans if plain(span.attributes).get("penstock.model") == "trickle"]
        return [span for span in trickled if span.kind == Span.SPAN_KIND_SERVER]

    until(lambda: len(roots()) == 4)
    assert {root.parent_span_id for root in roots()} == {b""}
    assert len({root.trace_id.hex() for root in roots()} - {zero, TRACE}) == 4


def test_the_dashboard_asks_for_what_metrics_has(gate: Served, got: Receiver):
    client = gate.client()
    client.post("/v1/chat/completions", json=asked("good", "Hello"))
    client.post("/v1/chat/completions", json=asked("written", QUESTION))
    client.post("/v1/chat/completions", json=asked("smart", "Hello"))
    until(lambda: 'penstock_claims_total{app="written"' in client.get("/metrics").text)
    text = client.get("/metrics").text
    series: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(penstock_\w+?)(?:\{(.*)\})? [\d.e+-]+$", text, re.M):
        series.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))

    board = json.loads(CliRunner().invoke(cli, ["config", "dashboard"]).output)
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    questions = [target["expr"] for panel in panels for target in panel["targets"]]

    assert len(questions) > 25
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for question in questions:
        asked_for = re.findall(r"(penstock_\w+)(?:\{([^}]*)\})?", question)
        assert asked_for, question
        by = {label for labels in re.findall(r"by \(([\w, ]+)\)", question) for label in labels.split(", ")}
        for name, matchers in asked_for:
            assert name in series, question
            assert set(re.findall(r'(\w+)(?:=~|!=|!~|=)"', matchers)) | by <= series[name], question
    taken = {
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }
    assert len(taken) == sum(p["gridPos"]["w"] * p["gridPos"]["h"] for p in panels), "panels lie beside each other"
    assert 'penstock_budget_used_ratio{budget="all",limit="limit_usd_per_day"}' in text


# ---------------------------------------------------------------- from rows to spans


Interval = tuple[int, int]


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[Interval, int]]:
    """Intervals that lie within each other, and of each the number of the one around it: in the order of their beginnings."""
    found: list[tuple[Interval, int]] = []

    def grow(start: int, end: int, parent: int, depth: int) -> None:
        at = start
        for _ in range(draw(st.integers(0, 3)) if depth < 4 else 0):
            begin = at + draw(st.integers(1, 20)) * 10
            stop = begin + draw(st.integers(5, 400)) * 10
            if stop >= end:
                return
            found.append(((begin, stop), parent))
            grow(begin, stop, len(found) - 1, depth + 1)
            at = stop

    grow(0, 30_000, -1, 0)
    return found


@given(trees())
def test_rooms_stand_in_the_room_that_they_were_entered_from(tree: list[tuple[Interval, int]]):
    entered = [Room("write", start / 10, (end - start) / 10, {}) for (start, end), _ in tree]

    assert nested(entered) == [parent for _, parent in tree]


def test_two_models_that_are_asked_at_once_stand_beside_each_other():
    spans = [
        ["write", 0, 90_000, {}],
        ["model", 1_000, 80_000, {"model": "a"}],
        ["model", 5_000, 20_000, {"model": "b"}],
    ]
    calls = [
        {"model": name, "outcome": outcome, "error": "", "input_tokens": 1, "output_tokens": 1, "estimated": False,
         "cost_pico_usd": 0, "first_ms": 1.0, "duration_ms": took}
        for name, outcome, took in (("b", "ok", 20.0), ("a", "cancelled", 80.0))
    ]  # fmt: skip
    found = Tracing().spans(row(app="desk", model="desk", spans=json.dumps(spans), calls=json.dumps(calls)))

    root, write, a, b = found
    assert write.parent_span_id == root.span_id
    assert a.parent_span_id == b.parent_span_id == write.span_id
    assert [plain(s.attributes)["penstock.outcome"] for s in (a, b)] == ["cancelled", "ok"]


@pytest.mark.parametrize("more", [
    {"trace_id": "not hexadecimal"}, {"trace_id": "0" * 32}, {"trace_id": "\ud800"}, {"outcome": "lost", "dialect": ""},
    {"model": "any/deep/thought", "calls": json.dumps([{"model": "any", "outcome": "ok", "error": "", "input_tokens": 1,
     "output_tokens": 2**70, "cost_pico_usd": 0, "first_ms": 0, "duration_ms": 900.0}])},
    {"at": 0.0, "duration_ms": 0.0, "calls": "[]"}, {"model": "\udfff", "key": "\0"},
])  # fmt: skip
def test_whatever_a_row_holds_its_spans_are_valid(more: dict[str, Any]):
    spans = Tracing(Names("both", True)).spans(row(**more))

    for span in spans:
        again = Span.FromString(span.SerializeToString())
        assert len(again.trace_id) == 16
        assert len(again.span_id) == 8
        assert any(again.trace_id)
        assert 0 <= again.start_time_unix_nano <= again.end_time_unix_nano
        assert again.name


def test_the_same_row_is_the_same_spans_when_it_is_sent_twice():
    assert Tracing().spans(row()) == Tracing().spans(row())
    assert Tracing().spans(row("r1"))[0].span_id != Tracing().spans(row("r2"))[0].span_id


def test_the_words_that_a_guard_found_are_not_sent():
    seen = {"surface": "prompt", "policy": "strict@1", "decision": "block",
            "findings": [{"type": "INJECTION", "text": "ignore everything", "start": 0, "end": 17}]}  # fmt: skip
    root, *_ = Tracing().spans(row(guarded=json.dumps([seen])))

    (event,) = root.events
    assert plain(event.attributes)["penstock.guard.types"] == ["INJECTION"]
    assert b"ignore" not in root.SerializeToString()


# ---------------------------------------------------------------- names


def test_each_convention_has_names_of_its_own():
    served = {"small": Known("xai", "grok-4", "api.x.ai", 443)}

    def call(names: Names) -> dict[str, Any]:
        return plain(Tracing(names, served).spans(row())[1].attributes)

    old, new, both = call(Names("stable")), call(Names("latest")), call(Names("both", True))
    assert old["gen_ai.system"] == "xai"
    assert "gen_ai.provider.name" not in old
    assert new["gen_ai.provider.name"] == "x_ai"
    assert new["gen_ai.usage.cache_read.input_tokens"] == 3
    assert "gen_ai.system" not in new
    assert old.items() | new.items() <= both.items()
    assert both["llm.model_name"] == "grok-4"
    assert not [name for name in old | new if name.startswith(("llm.", "openinference."))]


def test_vectors_have_a_kind_of_their_own():
    told = plain(Tracing(Names("latest", True)).spans(row(dialect="embeddings"))[1].attributes)

    assert told["openinference.span.kind"] == "EMBEDDING"
    assert told["embedding.model_name"] == "small"
    assert "llm.provider" not in told


def test_names_are_spelled_as_names():
    for table in (ATTRIBUTES, METRICS):
        for said in table.values():
            assert any(said)
            assert all(re.fullmatch(r"([a-z0-9_]+(\.[a-z0-9_]+)+)?", name) for name in said)


# ---------------------------------------------------------------- sending


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "EVERY_S", 0.02)
    monkeypatch.setattr(export, "PAUSE_S", 0.05)


@pytest.fixture
def make(quick: None) -> Iterator[Callable[..., Exporter]]:
    made: list[Exporter] = []

    def exporter(url: str, **more: Any) -> Exporter:
        names = more.pop("names", Names())
        to = To(endpoint=url, resource={"service.name": "test"}, **more)
        made.append(Exporter(to, names=names, served={}, routes={}, label=lambda row: row.model))
        return made[-1]

    yield exporter
    for one in made:
        one.close(within_s=0.5)


def numbers(exporter: Exporter) -> dict[str, float]:
    return {"/".join(key): value for key, value in exporter.numbers().items()}


def test_many_rows_go_in_few_messages(make: Callable[..., Exporter]):
    with receiver() as got:
        exporter = make(got.url, metrics=False)
        exporter.seen([row(f"r{n}") for n in range(1000)])
        exporter.close()

    assert {span.span_id for span in got.spans} == {
        span.span_id for n in range(1000) for span in Tracing().spans(row(f"r{n}"))
    }
    assert len(got.traces) < 10
    assert numbers(exporter)["exported_requests"] == 1000


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_receiver_is_asked_again(make: Callable[..., Exporter], status: int):
    with receiver(Reply(status), Reply(status), Reply()) as got:
        exporter = make(got.url, metrics=False)
        exporter.seen([row()])
        until(lambda: got.spans)
        exporter.close()

    assert len(got.seen) == 3
    assert numbers(exporter) | {"exported_requests": 1.0, "export_failures": 2.0} == numbers(exporter)


def test_a_receiver_says_when_to_come_again(make: Callable[..., Exporter]):
    with receiver(Reply(429, headers={"retry-after": "1"}), Reply()) as got:
        exporter = make(got.url, metrics=False)
        exporter.seen([row()])
        until(lambda: got.spans)

    (_, _, first), (_, _, second) = got.seen
    assert second - first >= 0.95


@pytest.mark.parametrize("status", [400, 401, 404, 413, 302])
def test_what_a_receiver_refuses_is_not_sent_again(
    make: Callable[..., Exporter], status: int, capsys: pytest.CaptureFixture[str]
):
    with receiver(Reply(status), Reply()) as got:
        exporter = make(got.url, metrics=False)
        exporter.seen([row("a"), row("b")])
        until(lambda: numbers(exporter)["export_lost_requests/refused"])
        exporter.seen([row("c")])
        until(lambda: got.spans)

    assert len(got.seen) == 2
    assert numbers(exporter)["export_lost_requests/refused"] == 2
    assert f"status {status}" in capsys.readouterr().err


def test_what_a_receiver_threw_away_is_counted_and_not_sent_again(make: Callable[..., Exporter]):
    with receiver(Reply(rejected=1)) as got:
        exporter = make(got.url, metrics=False)
        exporter.seen([row()])
        until(lambda: numbers(exporter)["export_rejected_spans"])
        exporter.close()

    assert len(got.seen) == 1


def test_while_a_receiver_is_gone_the_oldest_is_lost_and_the_newest_arrives(
    make: Callable[..., Exporter], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(export, "MOST_WAITING", 50)
    with receiver() as gone:
        port = int(gone.url.rpartition(":")[2])
    exporter = make(gone.url, metrics=False)
    for n in range(200):
        exporter.seen([row(f"r{n}")])
    until(lambda: numbers(exporter)["export_failures"] > 1)
    with receiver(port=port) as back:
        until(lambda: back.spans)
        exporter.close()

    arrived = {plain(span.attributes).get("penstock.request.id") for span in back.spans} - {None}
    assert arrived == {f"r{n}" for n in range(150, 200)}
    assert numbers(exporter)["export_lost_requests/full"] == 150
    logged = [line for line in capsys.readouterr().err.splitlines() if "telemetry not sent" in line]
    assert 1 <= len(logged) <= 3, "it is no news each time"


@pytest.mark.parametrize(
    "reply", [Reply(wait_s=60), Reply(trickle_s=0.05), Reply(503)], ids=["slow", "trickle", "busy"]
)
def test_the_end_does_not_wait_for_a_receiver_that_does_not_answer(make: Callable[..., Exporter], reply: Reply):
    with receiver(reply) as got:
        exporter = make(got.url)
        exporter.seen([row(f"r{n}") for n in range(600)])
        until(lambda: got.seen)
        began = time.monotonic()
        exporter.close(within_s=0.5)

    assert time.monotonic() - began < 5
    taken = numbers(exporter)
    assert taken["exported_requests"] + taken["export_lost_requests/closed"] >= 600 - 256
    assert taken["export_waiting_requests"] == 0
    assert len(got.seen) < 6, "whoever is busy is not asked again and again at the end"


def test_numbers_are_sums_since_the_start(make: Callable[..., Exporter], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export, "METRICS_EVERY_S", 0.1)
    with receiver() as got:
        exporter = make(got.url, names=Names("both"))
        exporter.seen([row(f"r{n}", streamed=True) for n in range(3)])
        until(lambda: got.numbers)
        exporter.seen(
            [row("late", outcome="failed", error="upstream_error", status=502, input_tokens=0, output_tokens=0)]
        )

        def calls() -> int:
            points = got.metrics["gen_ai.client.inference.duration"].histogram.data_points
            return sum(point.count for point in points)

        until(lambda: calls() == 4)
        found = got.metrics

    old, new = found["gen_ai.client.operation.duration"], found["gen_ai.client.inference.duration"]
    assert old.histogram == new.histogram
    errors = {plain(point.attributes).get("error.type"): point for point in new.histogram.data_points}
    assert errors[None].count == 3
    assert errors["upstream_error"].count == 1
    assert errors[None].sum == pytest.approx(0.9)
    (tokens,) = found["gen_ai.client.inference.usage.output_tokens"].sum.data_points
    assert tokens.as_int == 150
    by_type = {
        plain(point.attributes)["gen_ai.token.type"]: point.sum
        for point in found["gen_ai.client.token.usage"].histogram.data_points
    }
    assert by_type == {"input": 36, "output": 150}
    (first,) = found["gen_ai.client.inference.time_to_first_chunk"].histogram.data_points
    assert first.count == 3
    assert first.bucket_counts[first.explicit_bounds[:].index(0.16)] == 3


def test_our_own_numbers_have_the_same_values_as_in_prometheus():
    metrics = Metrics()
    took = (5.0, 30.0, 30.0, 700.0, 1e6)
    for n, ms in enumerate(took):
        metrics.count(row(f"r{n}", duration_ms=ms, first_ms=0.0), [("small", "ok")], model="small")

    found = {metric.name: metric for metric in converted(metrics.own(), 1, 2)}

    (point,) = found["penstock_request_duration_seconds"].histogram.data_points
    assert point.count == len(took)
    assert point.sum == pytest.approx(sum(took) / 1000)
    counted = dict(zip([*point.explicit_bounds, "more"], point.bucket_counts, strict=True))
    assert {bound: count for bound, count in counted.items() if count} == {0.01: 1, 0.05: 2, 1: 1, "more": 1}
    (requests,) = found["penstock_requests"].sum.data_points
    assert requests.as_double == 5
    assert plain(requests.attributes) == {"model": "small", "outcome": "ok", "cached": "false"}
    assert found["penstock_requests"].sum.is_monotonic
    assert found["penstock_running_requests"].WhichOneof("data") == "gauge"


def test_a_receiver_that_takes_no_numbers_is_not_sent_any_more(
    make: Callable[..., Exporter], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, "METRICS_EVERY_S", 0.05)
    with receiver(Reply(), Reply(404), Reply()) as got:
        exporter = make(got.url)
        exporter.seen([row()])
        until(lambda: len(got.seen) == 2)
        time.sleep(0.3)
        exporter.seen([row("again")])
        until(lambda: len(got.traces) == 2)

    assert [path for path, *_ in got.seen] == ["/v1/traces", "/v1/metrics", "/v1/traces"]


def test_a_row_that_cannot_be_read_costs_only_its_message(make: Callable[..., Exporter]):
    with receiver() as got:
        exporter = make(got.url, metrics=False)
        with pytest.raises(ValueError, match=r"JSON|unexpected"):
            exporter.seen([row(calls="{not JSON")])
        until(lambda: numbers(exporter)["export_lost_requests/refused"])
        exporter.seen([row("good")])
        until(lambda: got.spans)


# ---------------------------------------------------------------- the journal in between


def test_rows_are_shown_once_they_are_stored_and_an_onlooker_cannot_stop_them(tmp_path: Path):
    shown: list[str] = []

    def seen(rows: Any) -> None:
        shown.extend(found.id for found in rows)
        raise RuntimeError("the onlooker is broken")

    journal = Journal(Database(tmp_path / "p.db"), tmp_path / "journal", seen=seen)
    for n in range(5):
        journal.write(row(f"r{n}"), [])
    journal.close()

    assert shown == [f"r{n}" for n in range(5)]
    assert len(Journal(Database(tmp_path / "p.db"), tmp_path / "j2").requests()) == 5


PROGRAM = """
import sys, time
from pathlib import Path
from penstock.assemble import House
from penstock.config import load
from penstock.observe import journal
journal.EVERY_S = float(sys.argv[3])
sys.path.insert(0, sys.argv[2])
from test_otlp import row
house = House(load(Path(sys.argv[1]) / "penstock.toml", environment={}))
for n in range(100):
    house.gateway.journal.write(row(f"r{n}"), [])
print("written", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_what_a_killed_process_had_not_stored_the_next_one_sends(tmp_path: Path):
    from penstock.assemble import House

    with receiver() as got:
        (tmp_path / "penstock.toml").write_text(f'[observe]\notlp_endpoint = "{got.url}"\n')
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(Path(__file__).parent), "600"]
        with Popen(command, stdout=PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "written\n"
            process.send_signal(signal.SIGKILL)
        assert not got.spans

        house = House(load(tmp_path / "penstock.toml", environment={}))
        assert house.gateway
        house.close()

    roots = {plain(span.attributes).get("penstock.request.id") for span in got.spans} - {None}
    assert roots == {f"r{n}" for n in range(100)}


def test_a_server_is_as_fast_and_as_right_while_its_receiver_hangs(tmp_path: Path):
    with upstream() as up, receiver(Reply(wait_s=60)) as got:
        toml = f'[observe]\notlp_endpoint = "{got.url}"\n[models.good]\nbase_url = "{up.url}"\n'
        with serving(tmp_path, toml, documents=False) as served:
            client = served.client()
            for _ in range(50):
                assert client.post("/v1/chat/completions", json=asked("good", "Hi")).status_code == 200
            until(lambda: got.seen)
            assert client.post("/v1/chat/completions", json=asked("good", "Hi")).status_code == 200
            assert "penstock_export_waiting_requests" in client.get("/metrics").text
            assert not any(thread.name == "otlp" and not thread.daemon for thread in threading.enumerate())
            began = time.monotonic()
    assert time.monotonic() - began < 20


# ---------------------------------------------------------------- settings


def settings(tmp_path: Path, toml: str = "", **environment: str) -> Any:
    (tmp_path / "penstock.toml").write_text(toml)
    return load(tmp_path / "penstock.toml", environment=environment)


def test_opentelemetrys_own_variables_fill_what_the_settings_leave_open(tmp_path: Path):
    told = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc,x-a=1",
        "OTEL_SERVICE_NAME": "desk",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,deployment.environment.name=prod",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http, gen_ai_latest_experimental",
    }
    found = settings(tmp_path, **told).observe

    assert found.otlp_endpoint == "http://collector:4318"
    assert found.otlp_headers == {"authorization": "Bearer abc", "x-a": "1"}
    assert (found.service_name, found.semconv) == ("desk", "latest")
    assert found.resource == {"deployment.environment.name": "prod"}
    ours = settings(tmp_path, '[observe]\notlp_endpoint = "http://here:4318"\nservice_name = "us"', **told).observe
    assert (ours.otlp_endpoint, ours.service_name, ours.otlp_headers) == ("http://here:4318", "us", {})
    assert settings(tmp_path, **told, OTEL_SDK_DISABLED="true").observe.otlp_endpoint == ""


def test_the_secrets_of_a_receiver_are_read_from_the_environment_and_not_shown(tmp_path: Path):
    toml = '[observe]\notlp_endpoint = "http://h:4318"\notlp_headers = { authorization = "env:OTLP_SECRET" }\n'
    found = settings(tmp_path, toml, OTLP_SECRET="Bearer abc")

    assert found.observe.otlp_headers == {"authorization": "Bearer abc"}
    assert "abc" not in json.dumps(describe(found))
    with pytest.raises(BadSetting, match="OTLP_SECRET"):
        settings(tmp_path, toml)


@pytest.mark.parametrize("toml", [
    'otlp_endpoint = "localhost:4317"', 'otlp_endpoint = "http://user:secret@host"', 'otlp_endpoint = "grpc://host:4317"',
    'otlp_endpoint = "http://h"\notlp_headers = { "a b" = "c" }', 'otlp_endpoint = "http://h"\notlp_headers = { a = "é" }',
    'semconv = "newest"',
])  # fmt: skip
def test_an_address_that_is_none_is_refused(tmp_path: Path, toml: str):
    with pytest.raises(BadSetting) as refused:
        settings(tmp_path, f"[observe]\n{toml}\n")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("endpoint", "address"), [
    ("http://h:4318", "http://h:4318/v1/traces"), ("http://h:4318/", "http://h:4318/v1/traces"),
    ("https://h/api/otel/v1/traces", "https://h/api/otel/v1/traces"), ("https://h/api/otel/", "https://h/api/otel/v1/traces"),
])  # fmt: skip
def test_an_address_is_completed(endpoint: str, address: str):
    assert To(endpoint=endpoint).address("traces") == address


def test_a_missing_extra_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from penstock.assemble import House

    for name in [name for name in sys.modules if name.startswith(("opentelemetry.proto", "penstock.observe.otlp"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "penstock.observe.measures", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.proto", None)
    house = House(settings(tmp_path, '[observe]\notlp_endpoint = "http://127.0.0.1:1"\n'))

    with pytest.raises(MissingExtra) as missing:
        assert house.gateway
    house.close()
    assert "penstock[otel]" in str(missing.value.hint)


def test_nothing_is_loaded_and_nothing_sent_without_an_address(tmp_path: Path):
    code = (
        "import sys\nfrom penstock.assemble import House\nfrom penstock.config import load\n"
        "house = House(load(sys.argv[1], environment={}))\nhouse.gateway\nhouse.close()\n"
        "assert not [name for name in sys.modules if 'opentelemetry' in name or 'observe.export' in name]\n"
    )
    (tmp_path / "penstock.toml").write_text("")
    with Popen([sys.executable, "-c", code, str(tmp_path / "penstock.toml")]) as process:
        assert process.wait(60) == 0


def test_reading_metrics_needs_no_receiver(tmp_path: Path):
    with serving(tmp_path, "", documents=False) as served:
        text = httpx2.get(f"{served.url}/metrics").text

    assert "penstock_journal_waiting_requests 0.0" in text
    assert 'penstock_export_lost_requests_total{reason="full"} 0.0' in text
