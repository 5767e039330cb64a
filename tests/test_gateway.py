"""A request through the gateway: passed on untouched, counted exactly, and over when its client has left."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import Served, asked, serving
from serving import up as started
from upstream import INPUT_TOKENS, PIECES, TEXT, Turn, Upstream, upstream

from penstock.assemble import House
from penstock.config import load
from penstock.models.client import Client, Url
from penstock.observe.journal import Row

NAMES = ("good", "fail", "busy", "refuse", "locked", "slow", "trickle", "die", "stall", "hang", "garbage")
KEY = "gateway-key-0123456789"
COST = INPUT_TOKENS * 1_000_000 + PIECES * 2_000_000  # picodollars at 1 and 2 dollars a million tokens


def models(up: Upstream) -> str:
    return "".join(
        f'[models.{name}]\nbase_url = "{up.url}"\napi_key = "sk-secret"\ninput_usd_per_million = 1\n'
        "output_usd_per_million = 2\nfirst_byte_s = 5\nidle_s = 1\n"
        for name in NAMES
    )


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream(gone=[Turn(404)], anthropic_error=[Turn(529)]) as running:
        yield running


@pytest.fixture(scope="module")
def gate(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    toml = (
        models(up)
        + f"""
    [models.any]
    base_url = "{up.url}"
    model = "*"
    input_usd_per_million = 0
    """
    )
    with serving(tmp_path_factory.mktemp("gate"), toml, documents=False) as served:
        yield served


@pytest.fixture
def client(gate: Served) -> httpx2.Client:
    return gate.client()


def rows(served: Served, count: int = 1) -> list[Row]:
    journal = served.house.gateway.journal
    journal.drain()
    return journal.requests(limit=count)


def until(true: Callable[[], bool], *, within_s: float = 5.0) -> float:
    """Wait for something to become true. Returns how long it took."""
    began = time.perf_counter()
    while not true():
        assert time.perf_counter() - began < within_s, "it did not happen"
        time.sleep(0.002)
    return time.perf_counter() - began


# ---------------------------------------------------------------- passed on


def test_a_request_and_its_answer_are_passed_on_as_they_are(client: httpx2.Client, up: Upstream):
    sent = asked("good", "Hello", temperature=0.5, unknown_field={"kept": [1, None]}, seed=7)

    answer = client.post("/v1/chat/completions", json=sent)

    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == TEXT
    assert up.seen[-1].body == sent
    assert up.seen[-1].headers["authorization"] == "Bearer sk-secret"


def test_a_stream_is_passed_on_and_ends_as_the_upstream_ended_it(client: httpx2.Client):
    with client.stream("POST", "/v1/chat/completions", json=asked("good", "Hello", stream=True)) as answer:
        lines = [line for line in answer.iter_lines() if line]

    texts = [json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines[:-1]]
    assert "".join(texts) == TEXT
    assert lines[-1] == "data: [DONE]"
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("wanted", [True, False])
def test_usage_in_a_stream_is_for_those_who_asked_for_it(client: httpx2.Client, gate: Served, wanted: bool):
    options = {"stream_options": {"include_usage": True}} if wanted else {}

    with client.stream("POST", "/v1/chat/completions", json=asked("good", "Hello", stream=True, **options)) as answer:
        text = answer.read().decode()

    assert ('"usage"' in text) is wanted
    until(lambda: rows(gate)[0].output_tokens == PIECES)


def test_the_caller_names_any_model_where_the_settings_allow_it(client: httpx2.Client, up: Upstream):
    client.post("/v1/chat/completions", json=asked("any/deep/thought", "Hello"))

    assert up.seen[-1].model == "deep/thought"


def test_every_call_has_a_row_with_tokens_time_and_money(client: httpx2.Client, gate: Served):
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}

    client.post("/v1/chat/completions", json=asked("good", "Hello", user="u1"), headers=headers)

    (row,) = rows(gate)
    assert (row.trace_id, row.model, row.person, row.outcome) == (trace, "good", "u1", "ok")
    assert (row.input_tokens, row.output_tokens, row.cost_pico_usd) == (INPUT_TOKENS, PIECES, COST)
    assert 0 < row.first_ms <= row.duration_ms


def test_the_numbers_are_there_for_prometheus(client: httpx2.Client):
    client.post("/v1/chat/completions", json=asked("good", "Hello"))

    text = client.get("/metrics").text

    assert 'penstock_requests_total{cached="false",model="good",outcome="ok"}' in text
    assert 'penstock_first_piece_seconds_bucket{le="+Inf",model="good"}' in text


# ---------------------------------------------------------------- when the upstream fails


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("fail", 502, "upstream_error"),
        ("busy", 429, "upstream_busy"),
        ("refuse", 400, "told_400"),
        ("locked", 502, "upstream_error"),
        ("garbage", 502, "upstream_error"),
    ],
)
def test_a_failed_call_is_an_error_in_openais_shape(client: httpx2.Client, model: str, status: int, code: str):
    answer = client.post("/v1/chat/completions", json=asked(model, "Hello"))

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert set(error) >= {"message", "type", "param", "code"}
    assert "sk-secret" not in answer.text


def test_a_busy_upstream_says_when_to_come_back(client: httpx2.Client):
    answer = client.post("/v1/chat/completions", json=asked("busy", "Hello"))

    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("model", ["die", "stall", "garbage"])
def test_a_stream_that_breaks_off_ends_in_an_error_and_never_cleanly(client: httpx2.Client, model: str):
    with client.stream("POST", "/v1/chat/completions", json=asked(model, "Hello", stream=True)) as answer:
        text = answer.read().decode()

    assert "[DONE]" not in text
    if answer.status_code == 200:
        assert json.loads(text.rstrip().rpartition("data: ")[2])["error"]["code"].startswith("upstream_")


def chunk(index: int, finish: str | None = None) -> str:
    choice = {"index": index, "delta": {"content": "a"}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


@pytest.mark.parametrize(
    ("said", "n", "is_whole"),
    [
        (chunk(0) + chunk(0, "stop"), 1, True),
        (chunk(0) + 'data: {"choices": [], "usage": {"prompt_tokens": 1}}\n\n', 1, False),
        (chunk(0) + chunk(1, "stop"), 2, False),
        (chunk(0, "stop") + chunk(1, "stop"), 2, True),
        (chunk(0), 1, False),
    ],
)
def test_a_stream_without_its_last_word_is_whole_when_every_answer_has_ended(
    tmp_path: Path, said: str, n: int, is_whole: bool
):
    with upstream(odd=[Turn(body=said.encode())]) as odd:
        toml = f'[models.odd]\nbase_url = "{odd.url}"\n'
        with serving(tmp_path, toml, documents=False) as served:
            body = asked("odd", "Hello", stream=True, n=n)
            with served.client().stream("POST", "/v1/chat/completions", json=body) as answer:
                text = answer.read().decode()

    assert text.endswith("data: [DONE]\n\n") is is_whole
    assert ('"error"' in text) is not is_whole


def test_what_was_streamed_before_the_end_is_paid_for(client: httpx2.Client, gate: Served):
    with client.stream("POST", "/v1/chat/completions", json=asked("die", "Hello", stream=True)) as answer:
        answer.read()

    until(lambda: rows(gate)[0].model == "die")
    (row,) = rows(gate)
    assert (row.outcome, row.output_tokens) == ("failed", 10)
    assert row.cost_pico_usd > 10 * 2_000_000


def test_a_refused_call_costs_nothing(client: httpx2.Client, gate: Served):
    client.post("/v1/chat/completions", json=asked("fail", "Hello"))

    assert rows(gate)[0].cost_pico_usd == 0


# ---------------------------------------------------------------- when the client leaves


@pytest.mark.parametrize(
    ("model", "stream"), [("hang", False), ("hang", True), ("stall", True), ("trickle", True), ("slow", False)]
)
def test_a_client_that_leaves_ends_the_call_within_a_tenth_of_a_second(
    gate: Served, up: Upstream, model: str, stream: bool
):
    aborted, seen = up.aborted, len(up.seen)
    body = json.dumps(asked(model, "Hello", stream=stream)).encode()
    host, port = gate.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        until(lambda: len(up.seen) > seen)
        time.sleep(0.08)

    took_s = until(lambda: up.aborted > aborted)

    assert took_s < 0.1
    until(lambda: rows(gate)[0].outcome == "cancelled")
    assert rows(gate)[0].cost_pico_usd > 0, "the provider has read the question"


def test_a_thousand_streams_at_once_are_all_whole(gate: Served):
    body = json.dumps(asked("trickle", "Hello", stream=True)).encode()
    url = Url.parse(f"{gate.url}/v1/chat/completions")

    async def one(client: Client) -> bool:
        response = await client.request("POST", url, b"", body)
        return (await response.read(limit=1 << 20)).endswith(b"data: [DONE]\n\n")

    async def all_of_them() -> list[bool]:
        client = Client()
        try:
            return await asyncio.gather(*(one(client) for _ in range(1000)))
        finally:
            client.close()

    assert sum(asyncio.run(all_of_them())) == 1000


# ---------------------------------------------------------------- money


def test_a_budget_is_never_passed_by_two_hundred_at_once(up: Upstream, tmp_path: Path):
    toml = (
        models(up)
        + f"""
    [keys.shop]
    key = "{KEY}"
    [budgets.shop]
    key = "shop"
    limit_usd_per_day = 0.01
    """
    )
    with serving(tmp_path, toml, documents=False) as served:
        client = served.client(KEY)

        def one(_: int) -> int:
            return client.post("/v1/chat/completions", json=asked("good", "Hello", max_tokens=PIECES)).status_code

        with ThreadPoolExecutor(50) as pool:
            statuses = list(pool.map(one, range(200)))
        journal = served.house.gateway.journal
        journal.drain()
        spent = {name: used for name, _, used in journal.spent()}

    passed = statuses.count(200)
    assert set(statuses) == {200, 429}
    assert spent["budget/shop/limit_usd_per_day"] == passed * COST
    assert passed * COST <= 0.01 * 10**12
    assert passed > 0.5 * 0.01 * 10**12 / COST, "what is held is given back"


def test_a_request_without_a_limit_of_its_own_is_sent_with_one_when_money_is_short(up: Upstream, tmp_path: Path):
    toml = models(up) + "[budgets.all]\nlimit_usd_per_day = 0.01\n"
    with serving(tmp_path, toml, documents=False) as served:
        served.client().post("/v1/chat/completions", json=asked("good", "Hello"))

    assert up.seen[-1].body["max_completion_tokens"] == 4096


def test_a_model_without_a_price_is_not_used_where_money_is_counted(up: Upstream, tmp_path: Path):
    toml = f'[models.own]\nbase_url = "{up.url}"\n[budgets.all]\nlimit_usd_per_day = 1\n'
    with serving(tmp_path, toml, documents=False) as served:
        answer = served.client().post("/v1/chat/completions", json=asked("own", "Hello"))

    assert answer.status_code == 403
    assert "models.own.input_usd_per_million" in answer.json()["error"]["hint"]


def test_spend_and_limits_outlive_a_restart(up: Upstream, tmp_path: Path):
    toml = models(up) + "[budgets.all]\nlimit_usd = 0.000113\n"
    with serving(tmp_path, toml, documents=False) as served:
        first = served.client().post("/v1/chat/completions", json=asked("good", "Hi", max_tokens=1)).status_code
        spent = rows(served)[0].cost_pico_usd
    with serving(tmp_path, toml, documents=False) as served:
        second = served.client().post("/v1/chat/completions", json=asked("good", "Hi", max_tokens=50))

    assert first == 200
    assert spent == INPUT_TOKENS * 1_000_000 + 2_000_000
    assert second.status_code == 429
    assert second.json()["error"]["code"] == "insufficient_quota"


# ---------------------------------------------------------------- who may


def test_a_key_is_for_the_models_it_names(up: Upstream, tmp_path: Path):
    toml = models(up) + f'[keys.shop]\nkey = "{KEY}"\nmodels = ["go*"]\n'
    with serving(tmp_path, toml, documents=False) as served:
        client = served.client(KEY)
        listed = [row["id"] for row in client.get("/v1/models").json()["data"]]
        allowed = client.post("/v1/chat/completions", json=asked("good", "Hello")).status_code
        refused = client.post("/v1/chat/completions", json=asked("slow", "Hello")).status_code
        nobody = served.client().post("/v1/chat/completions", json=asked("good", "Hello")).status_code

    assert listed == ["good"]
    assert (allowed, refused, nobody) == (200, 403, 401)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"model": 7}',
        b'{"model": "good", "stream": "yes"}',
        b"\xff\xfe",
        b'{"model":' * 5000,
    ],
)
def test_what_cannot_be_understood_is_refused(client: httpx2.Client, body: bytes):
    answer = client.post("/v1/chat/completions", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_model_that_is_not_there_is_not_found_and_others_are_named(client: httpx2.Client):
    answer = client.post("/v1/chat/completions", json=asked("nothing", "Hello"))

    assert answer.status_code == 404
    assert "good" in answer.json()["error"]["hint"]


def test_a_body_of_thirty_two_megabytes_is_passed_on(client: httpx2.Client, up: Upstream):
    text = "x" * (32 << 20)

    answer = client.post("/v1/chat/completions", json=asked("good", text))

    assert answer.status_code == 200
    assert up.seen[-1].body["messages"][0]["content"] == text
    up.seen.clear()


def talk(url: str, *pieces: bytes, pause_s: float = 0.0, wait_s: float = 5.0) -> bytes:
    """Send raw bytes, and read until the server closes, or says nothing for so long."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(wait_s)
        heard = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause_s)
            while data := connection.recv(65_536):
                heard += data
        except (TimeoutError, ConnectionError):
            pass
        return heard


POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "head",
    [
        POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        POST + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"content-length: -1\r\n\r\n",
        POST + b"x y: z\r\n\r\n",
        b"GARBAGE\r\n\r\n",
    ],
)  # fmt: skip
def test_requests_that_could_be_read_in_two_ways_are_refused(gate: Served, up: Upstream, head: bytes):
    seen = len(up.seen)

    heard = talk(gate.url, head, wait_s=2.0)

    assert heard.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403")) or heard == b""
    assert len(up.seen) == seen


def test_a_head_without_end_is_not_collected(gate: Served):
    heard = talk(
        gate.url, b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n", *[b"x: " + b"y" * 16_000 + b"\r\n"] * 10, wait_s=2.0
    )

    assert heard.startswith(b"HTTP/1.1 400") or heard == b""


def test_a_client_that_is_too_slow_is_given_up(up: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penstock.server.connection.HEAD_S", 0.3)
    monkeypatch.setattr("penstock.server.connection.SILENCE_S", 0.3)
    with serving(tmp_path, models(up), documents=False) as served:
        began = time.perf_counter()
        talk(served.url, b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n", *[b"a: b\r\n"] * 3, pause_s=0.2)
        in_head = time.perf_counter() - began
        began = time.perf_counter()
        talk(served.url, b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 99\r\n\r\n{")
        in_body = time.perf_counter() - began

    assert in_head < 2.0
    assert in_body < 2.0


def test_headers_of_the_caller_do_not_reach_the_upstream(client: httpx2.Client, up: Upstream):
    headers: dict[str, Any] = {"cookie": "session=1", "x-forwarded-for": "1.2.3.4", "authorization": "Bearer mine"}

    client.post("/v1/chat/completions", json=asked("good", "Hello"), headers=headers)

    assert up.seen[-1].headers["authorization"] == "Bearer sk-secret"
    assert not {"cookie", "x-forwarded-for"} & set(up.seen[-1].headers)


def test_pipelined_requests_are_answered_in_their_order(gate: Served):
    bodies = [json.dumps(asked(model, "Hello")).encode() for model in ("slow", "good")]
    sent = b"".join(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        for body in bodies
    )

    heard = talk(gate.url, sent, wait_s=1.0)

    assert heard.count(b"HTTP/1.1 200 OK") == 2
    assert heard.index(b'"model": "slow"') < heard.index(b'"model": "good"')


def test_running_requests_are_finished_when_the_server_stops(up: Upstream, tmp_path: Path):
    answers: list[int] = []
    with serving(tmp_path, models(up), documents=False) as served:
        client = served.client()
        thread = threading.Thread(
            target=lambda: answers.append(client.post("/v1/chat/completions", json=asked("slow", "Hello")).status_code)
        )
        thread.start()
        until(lambda: up.running > 0)
        served.server.should_exit = True
        thread.join(10)

    assert answers == [200]


def test_what_a_killed_server_had_running_counts_as_spent_when_it_is_back(up: Upstream, tmp_path: Path):
    toml = models(up) + "[budgets.all]\nlimit_usd_per_day = 1\n"
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "penstock.toml").write_text(toml)
    body = asked("hang", "Hello", max_tokens=100)
    with started(tmp_path) as (process, address):
        with httpx2.Client(base_url=address, timeout=20) as client:
            client.post("/v1/chat/completions", json=asked("good", "Hello"))
        seen = len(up.seen)
        host, port = address.removeprefix("http://").split(":")
        data = json.dumps(body).encode()
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n%b"
                % (len(data), data)
            )
            until(lambda: len(up.seen) > seen)
            process.kill()
            process.wait(10)

    house = House(load(tmp_path / "penstock.toml", environment={}))
    try:
        spent = {name: used for name, _, used in house.gateway.journal.spent()}
        outcomes = sorted(row.outcome for row in house.gateway.journal.requests())
    finally:
        house.close()
    held = len(data) * 1_000_000 + 100 * 2_000_000
    assert spent["budget/all/limit_usd_per_day"] == COST + held
    assert outcomes == ["lost", "ok"]


# ---------------------------------------------------------------- routes, from the settings


def test_a_route_tries_the_next_model_and_books_both(up: Upstream, tmp_path: Path):
    toml = models(up) + '[routes.safe]\nmodels = ["fail", "good"]\nretries = 1\n'
    with serving(tmp_path, toml, documents=False) as served:
        answer = served.client().post("/v1/chat/completions", json=asked("safe", "Hello"))
        (row,) = rows(served)

    assert answer.json()["choices"][0]["message"]["content"] == TEXT
    assert [(call["model"], call["outcome"]) for call in json.loads(row.calls)] == [("fail", "failed"), ("good", "ok")]


def test_a_kept_answer_costs_nothing(up: Upstream, tmp_path: Path):
    toml = models(up) + '[routes.kept]\nmodels = ["good"]\ncache = "exact"\n'
    with serving(tmp_path, toml, documents=False) as served:
        client, seen = served.client(), len(up.seen)
        for _ in range(3):
            answer = client.post("/v1/chat/completions", json=asked("kept", "Hello"))
        found = rows(served, 3)

    assert answer.json()["choices"][0]["message"]["content"] == TEXT
    assert len(up.seen) == seen + 1
    assert [(row.cached, row.cost_pico_usd) for row in found] == [(True, 0), (True, 0), (False, COST)]


def test_identical_requests_at_the_same_time_are_one_call(up: Upstream, tmp_path: Path):
    toml = models(up) + '[routes.one]\nmodels = ["slow"]\nsingle_flight = true\n'
    with serving(tmp_path, toml, documents=False) as served, ThreadPoolExecutor(10) as pool:
        client, seen = served.client(), len(up.seen)
        answers = list(pool.map(lambda _: client.post("/v1/chat/completions", json=asked("one", "Hello")), range(10)))
        spent = sum(row.cost_pico_usd for row in rows(served, 10))

    assert {answer.json()["choices"][0]["message"]["content"] for answer in answers} == {TEXT}
    assert len(up.seen) == seen + 1
    assert spent == COST


def test_a_route_that_prunes_sends_what_its_model_reads(up: Upstream, tmp_path: Path):
    toml = f'[models.small]\nbase_url = "{up.url}"\nmodel = "good"\ncontext_tokens = 500\ninput_usd_per_million = 1\n'
    toml += '[routes.long]\nmodels = ["small"]\nprune = true\n'
    said = ["words " * 40] * 21
    with serving(tmp_path, toml, documents=False) as served:
        answer = served.client().post("/v1/chat/completions", json=asked("long", *said, max_tokens=50))

    assert answer.status_code == 200
    assert 1 <= len(up.seen[-1].body["messages"]) < 10


def test_a_question_in_other_words_gets_the_kept_answer_and_another_question_does_not(up: Upstream, tmp_path: Path):
    toml = models(up) + '[routes.kept]\nmodels = ["good"]\ncache = "semantic"\n'
    questions = ("How do I reset my password?", "How can I reset my password?", "How do I reset my phone?")
    with serving(tmp_path, toml, documents=False) as served:
        client = served.client()
        for question in questions:
            assert client.post("/v1/chat/completions", json=asked("kept", question)).status_code == 200
        cached = [row.cached for row in reversed(rows(served, 3))]

    assert cached == [False, True, False]


# ---------------------------------------------------------------- what callers might try


LONG = "x" * 20_000


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "user", "content": "data:text/plain;base64," + LONG}]},
        {"messages": [{"role": "user", "content": LONG}], "type": "base64"},
        {"messages": [{"role": "user", "content": LONG, "type": "image_url"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.y/z"}}] * 7}]},
    ],
)
def test_a_text_that_passes_for_a_picture_is_held_as_a_text(up: Upstream, tmp_path: Path, more: dict[str, Any]):
    toml = models(up) + "[budgets.all]\nlimit_usd = 0.02\n"
    with serving(tmp_path, toml, documents=False) as served:
        answer = served.client().post("/v1/chat/completions", json={"model": "good", "max_tokens": 1, **more})

    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")


def test_what_a_provider_remembers_or_does_in_the_background_is_not_used_under_a_budget(up: Upstream, tmp_path: Path):
    toml = f'[models.own]\nbase_url = "{up.url}"\ndialects = ["responses"]\ninput_usd_per_million = 1\n'
    toml += "[budgets.all]\nlimit_usd = 1\n"
    with serving(tmp_path, toml, documents=False) as served:
        bodies = [{"background": True}, {"previous_response_id": "resp_1"}]
        client = served.client()
        asked_for = [{"model": "own", "input": "Hello", **body} for body in bodies]
        statuses = [client.post("/v1/responses", json=body).status_code for body in asked_for]

    assert statuses == [400, 400]


def test_an_upstream_cannot_give_money_back(tmp_path: Path):
    body = json.dumps(
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": -(10**9), "total_tokens": 5 - 10**9}}
    ).encode()
    with upstream(odd=[Turn(body=body)]) as up:
        toml = f'[models.odd]\nbase_url = "{up.url}"\noutput_usd_per_million = 2\n[budgets.all]\nlimit_usd = 1\n'
        with serving(tmp_path, toml, documents=False) as served:
            served.client().post("/v1/chat/completions", json=asked("odd", "Hello"))
            cost = rows(served)[0].cost_pico_usd

    assert cost >= 0


def test_names_are_short_and_printable(client: httpx2.Client):
    for more in ({"model": "any/a\x1fb"}, {"model": "any/" + "x" * 300}, {"user": "x" * 300}, {"stream_options": "x"}):
        answer = client.post("/v1/chat/completions", json={**asked("good", "Hello"), **more})
        assert answer.status_code == 400, more

    assert client.get("/metrics").status_code == 200


def test_the_numbers_name_a_provider_and_not_what_callers_make_up(client: httpx2.Client):
    client.post("/v1/chat/completions", json=asked("any/made-up", "Hello"))

    text = client.get("/metrics").text

    assert 'model="any/*"' in text
    assert "made-up" not in text


def test_an_answer_is_kept_for_its_tag_alone(up: Upstream, tmp_path: Path):
    toml = models(up) + '[routes.kept]\nmodels = ["good"]\ncache = "exact"\ntags = {fine = "slow"}\n'
    with serving(tmp_path, toml, documents=False) as served:
        client = served.client()
        client.post("/v1/chat/completions", json=asked("kept", "Hello"))
        answer = client.post("/v1/chat/completions", json=asked("kept", "Hello"), headers={"x-penstock-tags": "fine"})

    assert answer.json()["model"] == "slow"


def test_what_is_nested_too_deeply_is_refused(client: httpx2.Client):
    nested = b"[" * 900 + b"]" * 900

    answer = client.post("/v1/chat/completions", content=b'{"model": "good", "messages": %b, "image": 1}' % nested)

    assert answer.status_code in (200, 400)


def test_a_client_that_reads_nothing_is_given_up(up: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penstock.server.connection.SILENCE_S", 0.5)
    monkeypatch.setattr("penstock.server.connection.HEAD_S", 0.2)
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "' + b"x" * 100_000 + b'"}}]}\n\n'
    with upstream(flood=[Turn(body=event * 400)]) as flooding:
        toml = f'[models.flood]\nbase_url = "{flooding.url}"\n'
        with serving(tmp_path, toml, documents=False) as served:
            body = json.dumps(asked("flood", "Hello", stream=True)).encode()
            host, port = served.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(POST + b"content-length: %d\r\n\r\n%b" % (len(body), body))
                until(lambda: served.house.gateway.metrics.running == 1)

                until(lambda: served.house.gateway.metrics.running == 0, within_s=10)


def test_models_are_measured_in_each_language(up: Upstream, tmp_path: Path):
    (tmp_path / "penstock.toml").write_text(models(up))
    cases = [
        {"question": "How many are there?", "expected": "T0 t1"},
        {"question": "Wie viele sind es denn heute?", "expected": "T0 t1"},
        {"question": "Warum ist das eigentlich so?", "expected": "weil"},
        {"question": "?", "expected": "porque", "lang": "es"},
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))

    def bench(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "penstock", "models", "bench", "good", "--jsonl", "cases.jsonl", *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    (good,) = json.loads(bench("--json").stdout)
    assert good["by_language"] == {"en": [1, 1], "de": [1, 2], "es": [0, 1]}
    assert good["gap"] == 1.0
    assert "gap to English 100.0%" in bench().stdout
    assert [bench("--gap-over", most).returncode for most in ("0.5", "1")] == [1, 0]


def test_models_are_measured_by_what_they_cost_and_how_often_they_are_right(up: Upstream, tmp_path: Path):
    (tmp_path / "penstock.toml").write_text(
        models(up) + '[routes.thrifty]\nmodels = ["good", "slow"]\nchoose = "cascade"\ncascade_check = "json"\n'
    )
    cases = [
        {"question": "How many?", "expected": "T0  t1"},
        {"question": "Why?", "expected": "because"},
        {"question": "?"},
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    command = [
        sys.executable,
        "-m",
        "penstock",
        "models",
        "bench",
        "good",
        "fail",
        "thrifty",
        "--jsonl",
        "cases.jsonl",
        "--json",
    ]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)

    good, fail, thrifty = json.loads(done.stdout)
    assert (good["requests"], good["right"], good["errors"]) == (3, 2, {})
    assert good["cost_usd"] > 0
    assert fail["errors"] == {"upstream_error": 3}
    assert (thrifty["right"], thrifty["escalated"]) == (2, 3)
