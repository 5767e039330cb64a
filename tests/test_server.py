"""The HTTP server answers, refuses, changes and stops as promised; asked over a real socket."""

import base64
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from serving import HANDBOOK, KEYS, PAY, WITH_KEYS, Served, asked, chunks, serving, shipped, up, write

from penstock.assemble import House
from penstock.config import WebSettings, load
from penstock.documents.library import Library
from penstock.errors import BadSetting
from penstock.server.access import check_binding
from penstock.server.app import ROUTES
from penstock.testing import WordEmbedder

RETURNS = "How long can books be returned?"
ABSENT = "Who won the chess championship of 1972?"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without keys, with a handbook and an app that answers from it."""
    folder = tmp_path_factory.mktemp("shop")
    write(folder / "handbook", HANDBOOK)
    toml = (
        '[documents.handbook]\npaths = ["handbook"]\n[apps.support]\ndocuments = "handbook"\n[server]\nmax_body_mb = 1'
    )
    with serving(folder, toml) as served:
        yield served


@pytest.fixture(scope="module")
def client(shop: Served) -> httpx2.Client:
    return shop.client()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with keys, where only the boss may read the salaries."""
    folder = tmp_path_factory.mktemp("office")
    write(folder / "handbook", HANDBOOK | PAY)
    with serving(folder, f'[documents.handbook]\npaths = ["handbook"]\n{WITH_KEYS}') as served:
        yield served


@pytest.fixture(scope="module")
def boss(office: Served) -> httpx2.Client:
    return office.client(KEYS["boss"])


@pytest.fixture(scope="module")
def clerk(office: Served) -> httpx2.Client:
    return office.client(KEYS["clerk"])


@pytest.fixture
def collection(request: pytest.FixtureRequest) -> str:
    """A collection name of the test's own on a shared server."""
    return f"c-{blake2b(request.node.name.encode(), digest_size=6).hexdigest()}"


def ask(client: httpx2.Client, *said: str, model: str = "handbook", **more: Any) -> dict[str, Any]:
    response = client.post("/v1/chat/completions", json=asked(model, *said, **more))
    assert response.status_code == 200, response.text
    return dict(response.json())


def content(completion: dict[str, Any]) -> str:
    return str(completion["choices"][0]["message"]["content"])


def put(client: httpx2.Client, collection: str, name: str, data: str | bytes, **headers: str) -> httpx2.Response:
    path = f"/api/collections/{collection}/documents"
    return client.post(path, params={"name": name}, content=data, headers=headers)


def sources(client: httpx2.Client, collection: str) -> list[str]:
    return [row["source"] for row in client.get(f"/api/collections/{collection}/documents").json()["documents"]]


def refused(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The error of a refusal, whose shape is the same on every route."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    (error,) = response.json().values()
    assert list(error) == ["message", "type", "code", "param", "hint", "retryable"]
    assert error["code"] == code
    assert error["type"] == kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    assert error["message"]
    assert error["param"] is None
    assert error["hint"] is None or error["hint"]
    assert error["retryable"] is (status in (409, 502, 503))
    return dict(error)


def eventually(true: Callable[[], bool]) -> None:
    """Wait until something holds; a test that waits for ever fails."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")


# ---------------------------------------------------------------- asking


CALLED = {"id": "1", "type": "function", "function": {"name": "get_loan", "arguments": "{}"}}
LOAN = '{"book": "The Hobbit", "due": "2027-01-09", "renewals_left": 2}'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/chat/completions",
            {
                "messages": [
                    {"role": "user", "content": "When is my book due?"},
                    {"role": "assistant", "content": None, "tool_calls": [CALLED]},
                    {"role": "tool", "tool_call_id": "1", "content": LOAN},
                ]
            },
        ),
        (
            "/v1/messages",
            {
                "max_tokens": 99,
                "messages": [
                    {"role": "user", "content": "When is my book due?"},
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "1", "name": "get_loan", "input": {}}],
                    },
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": LOAN}]},
                ],
            },
        ),
        (
            "/v1/responses",
            {
                "input": [
                    {"role": "user", "content": "When is my book due?"},
                    {"type": "function_call", "call_id": "1", "name": "get_loan", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "1", "output": LOAN},
                ]
            },
        ),
    ],
)
def test_rows_that_a_tool_returned_are_sources(client: httpx2.Client, path: str, body: dict[str, Any]):
    response = client.post(path, json={"model": "handbook", **body})

    assert response.status_code == 200, response.text
    assert "book: The Hobbit; due: 2027-01-09; renewals left: 2." in response.text
    if path.endswith("completions"):
        source = response.json()["penstock"]["citations"][0]
        assert (source["source"], source["url"]) == ("get_loan", "")


def test_an_answer_is_a_chat_completion_with_citations(client: httpx2.Client):
    completion = ask(client, RETURNS)

    assert completion["object"] == "chat.completion"
    assert completion["id"].startswith("chatcmpl-")
    assert completion["model"] == "handbook"
    (choice,) = completion["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert "Books can be returned within thirty days. [1]" in choice["message"]["content"]
    assert completion["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert completion["penstock"]["status"] == "answer"
    assert completion["penstock"]["version"] == "v1"


@pytest.mark.parametrize("question", [RETURNS, "Can gift cards be returned?", "When do refunds arrive?"])
def test_a_quote_is_exactly_what_the_document_says_there(client: httpx2.Client, question: str):
    for citation in ask(client, question)["penstock"]["citations"]:
        document = client.get(f"/api/collections/handbook/documents/{citation['document_id']}").json()

        assert document["text"][citation["start"] : citation["end"]] == citation["quote"]
        assert document["source"] == citation["source"]


def test_an_annotation_covers_its_quote_and_links_to_the_source(client: httpx2.Client):
    completion = ask(client, RETURNS)
    annotations = completion["choices"][0]["message"]["annotations"]
    cited = completion["penstock"]["citations"]

    assert annotations
    for annotation, n in zip(annotations, completion["penstock"]["quoted"], strict=True):
        place = annotation["url_citation"]
        assert annotation["type"] == "url_citation"
        assert content(completion)[place["start_index"] : place["end_index"]] == cited[n]["quote"]
        assert place["title"] == cited[n]["title"]
        assert place["url"] == cited[n]["url"]
        assert client.get(place["url"]).status_code == 200


@pytest.mark.parametrize("question", [RETURNS, ABSENT, "When is the shop in Bergen open?"])
def test_a_streamed_answer_is_the_whole_one_in_pieces(client: httpx2.Client, question: str):
    with client.stream("POST", "/v1/chat/completions", json=asked("handbook", question, stream=True)) as response:
        assert response.headers["content-type"] == "text/event-stream"
        streamed = chunks(response.iter_lines())
    whole = ask(client, question)

    assert {chunk["object"] for chunk in streamed} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in streamed}) == 1
    assert streamed[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in streamed) == content(whole)
    assert [chunk["choices"][0]["finish_reason"] for chunk in streamed[:-1]] == [None] * (len(streamed) - 1)
    assert streamed[-1]["choices"][0]["finish_reason"] == "stop"
    assert streamed[-1]["choices"][0]["delta"]["annotations"] == whole["choices"][0]["message"]["annotations"]
    assert streamed[-1]["penstock"] == whole["penstock"]


def test_usage_comes_last_in_a_stream_where_it_is_asked_for(client: httpx2.Client):
    body = asked("handbook", RETURNS, stream=True, stream_options={"include_usage": True})
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        last = chunks(response.iter_lines())[-1]

    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 0


def test_a_follow_up_question_is_understood_from_the_conversation(client: httpx2.Client):
    first = ask(client, "How long do parcels to Norway take?")
    second = ask(client, "How long do parcels to Norway take?", content(first), "And to Japan?")

    assert "Japan" in second["penstock"]["question"]
    assert "twelve days" in content(second)


def test_what_is_not_in_the_documents_is_not_answered(client: httpx2.Client):
    refusal = ask(client, ABSENT)

    assert content(refusal) == "Not in your documents."
    assert refusal["choices"][0]["message"]["annotations"] == []
    assert refusal["penstock"]["status"] == "not_found"
    assert refusal["penstock"]["citations"] == []


def test_a_question_may_come_in_parts_and_under_instructions(client: httpx2.Client):
    parts = [{"type": "text", "text": "How long can"}, {"type": "text", "text": "books be returned?"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    response = client.post("/v1/chat/completions", json={"model": "handbook", "messages": messages})

    assert "thirty days" in content(response.json())


def test_an_app_answers_from_its_documents(client: httpx2.Client):
    assert content(ask(client, RETURNS, model="support")) == content(ask(client, RETURNS))


def test_a_filter_narrows_what_is_answered_from(client: httpx2.Client):
    narrowed = ask(client, RETURNS, where={"source": "shipping.md"})

    cited = narrowed["penstock"]["citations"] + narrowed["penstock"]["nearest"]
    assert {citation["source"] for citation in cited} == {"shipping.md"}


def test_apps_and_collections_are_listed_as_models(client: httpx2.Client):
    listed = client.get("/v1/models").json()

    assert listed["object"] == "list"
    assert {"handbook", "support"} <= {model["id"] for model in listed["data"]}
    assert all(model.keys() == {"id", "object", "created", "owned_by"} for model in listed["data"])


def test_a_search_returns_passages_with_their_scores(client: httpx2.Client):
    found = client.post("/api/collections/handbook/search", json={"query": "parcels to Norway", "k": 2}).json()

    assert len(found["hits"]) == 2
    assert found["hits"][0]["passage"]["source"] == "shipping.md"
    assert found["hits"][0]["parts"].keys() == {"bm25", "dense", "bm25_share", "dense_share"}


def test_fifty_questions_at_once_are_all_answered(client: httpx2.Client):
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: content(ask(client, RETURNS)), range(50)))

    assert len(set(answers)) == 1


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(shop: Served, client: httpx2.Client):
    body = json.dumps(asked("handbook", RETURNS, stream=True)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    for sent in [head + body] * 10 + [head + body[:9], head]:
        with socket.create_connection(("127.0.0.1", httpx2.URL(shop.url).port)) as leaving:
            leaving.sendall(sent)
            if len(sent) == len(head + body):
                leaving.recv(20)

    assert "thirty days" in content(ask(client, RETURNS))


# ---------------------------------------------------------------- embeddings


def embedded(client: httpx2.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/embeddings", json={"model": "minilm", **body})
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_embeddings_are_the_encoders_own(client: httpx2.Client):
    texts = ["Books can be returned.", "Parcels to Norway"]
    answer = embedded(client, input=texts)

    assert [row["index"] for row in answer["data"]] == [0, 1]
    assert np.allclose([row["embedding"] for row in answer["data"]], shipped().embed(texts), atol=1e-3)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


def test_embeddings_come_in_base64_where_asked(client: httpx2.Client):
    (as_text,) = embedded(client, input="books", encoding_format="base64")["data"]
    (as_numbers,) = embedded(client, input="books", dimensions=384)["data"]

    assert np.frombuffer(base64.b64decode(as_text["embedding"]), "<f4").tolist() == as_numbers["embedding"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": []},
        {"input": [1, 2]},
        {"input": None},
        {"input": {"text": "books"}},
        {"input": ["books"] * 2049},
        {"input": "books", "dimensions": 256},
        {"input": "books", "encoding_format": "hex"},
        {"input": "\ud800"},
    ],
)
def test_what_cannot_be_embedded_is_refused(client: httpx2.Client, wrong: dict[str, Any]):
    response = client.post("/v1/embeddings", content=json.dumps({"model": "minilm", **wrong}))

    refused(response, 400, "bad_request")


def test_another_embedding_model_is_not_found(client: httpx2.Client):
    response = client.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "books"})

    assert "minilm" in refused(response, 404, "not_found")["hint"]


@pytest.mark.parametrize("model", [None, ["minilm"], 7, ""])
def test_a_request_must_name_its_model(client: httpx2.Client, model: Any):
    response = client.post("/v1/embeddings", json={"model": model, "input": "books"})

    refused(response, 400, "bad_request")


# ---------------------------------------------------------------- refusals


def filled(pattern: str) -> str:
    """A path for a route, naming nothing there is."""
    return pattern.replace("{name}", "nowhere").replace("{document}", "0").replace("{version}", "v9")


OPENAIS = [(method, pattern) for method, pattern, _ in ROUTES if not pattern.startswith("/v1/messages")]


@pytest.mark.parametrize(("method", "pattern"), OPENAIS)
def test_every_route_refuses_in_one_shape(
    client: httpx2.Client, office: Served, clerk: httpx2.Client, method: str, pattern: str
):
    path = filled(pattern)
    refused(client.request(method, path, headers={"origin": "https://elsewhere.example"}), 403, "not_allowed")
    refused(office.client().request(method, path), 401, "needs_key")
    refused(client.request("PATCH", path), 404, "not_found")
    if "{" in pattern and not path.endswith("/documents"):
        refused(client.request(method, path, json={"query": "books"}), 404, "not_found")
    if method == "POST" and path.endswith(("/v1/chat/completions", "/v1/embeddings", "/api/collections", "/search")):
        refused(client.request(method, path, content=b"{"), 400, "bad_request")


@pytest.mark.parametrize(
    "path", ["/nowhere", "/v1", "/v1/models/", "/api/collections//documents", "/static/../app.py", "/%2e%2e/etc/passwd"]
)
def test_a_path_that_is_not_there_is_not_found(client: httpx2.Client, path: str):
    refused(client.get(path), 404, "not_found")


def test_a_wrong_method_is_told_the_right_ones(client: httpx2.Client):
    error = refused(client.put("/api/collections/handbook/documents"), 404, "not_found")

    assert error["hint"] == "this path takes DELETE, GET, POST"


def test_an_unknown_model_is_told_the_known_ones(client: httpx2.Client):
    error = refused(client.post("/v1/chat/completions", json=asked("handbok", RETURNS)), 404, "not_found")

    assert "handbok" in error["message"]
    assert "handbook" in error["hint"]
    assert "support" in error["hint"]


DEEP = b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
ASKED = asked("handbook", RETURNS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe{}",
        b'{"model": "handbook", "messages": [{"role": "user", "content": "\xe9"}]}',
        DEEP,
        b'{"model": ' + b"9" * 5000 + b"}",
    ],
    ids=range(9),
)
def test_a_body_that_is_no_json_object_is_refused(client: httpx2.Client, body: bytes):
    refused(client.post("/v1/chat/completions", content=body), 400, "bad_request")


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": None},
        {"model": 7},
        {"model": ["handbook"]},
        {"messages": None},
        {"messages": []},
        {"messages": "text"},
        {"messages": [None]},
        {"messages": [["user", "text"]]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": " "}]},
        {"messages": [{"role": "user", "content": 7}]},
        {"messages": [{"role": "user", "content": {"text": "books"}}]},
        {"messages": [{"role": "wizard", "content": "books"}]},
        {"messages": [{"role": ["user"], "content": "books"}]},
        {"messages": [{"role": "assistant", "content": "books"}]},
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": "{}"}]},
        {"messages": [{"role": "user", "content": "books"}, {"role": "tool", "content": 7}]},
        {"messages": [{"role": "assistant", "content": "books", "tool_calls": 7}]},
        {"messages": [{"role": "user", "content": ["books"]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        {"messages": [{"role": "user", "content": "x" * 4001}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"model": "\udfff"},
        {"n": 2},
        {"n": "one"},
        {"stream": "yes"},
        {"stream": True, "stream_options": ["include_usage"]},
        {"where": ["where"]},
        {"where": "books"},
        {"where": {"source": {"deep": 1}}},
        {"where": {"since": "yesterday"}},
        {"where": {"colour": "red"}},
    ],
    ids=lambda wrong: ascii(wrong)[:60],
)
def test_a_question_of_the_wrong_kind_is_refused(client: httpx2.Client, wrong: dict[str, Any]):
    body = json.dumps(ASKED | wrong)

    refused(client.post("/v1/chat/completions", content=body), 400, "bad_request")


def test_what_other_servers_understand_is_passed_over(client: httpx2.Client):
    usual = {"temperature": 0, "n": None, "stream": None, "stream_options": None, "tools": [], "max_tokens": 5}

    assert "thirty days" in content(ask(client, RETURNS, **usual))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"query": " "},
        {"query": 7},
        {"query": "books", "k": 0},
        {"query": "books", "k": 101},
        {"query": "books", "k": "many"},
        {"query": "books", "k": True},
        {"query": "books", "where": "here"},
        {"query": "\ud800"},
    ],
    ids=ascii,
)
def test_a_search_of_the_wrong_kind_is_refused(client: httpx2.Client, wrong: dict[str, Any]):
    refused(client.post("/api/collections/handbook/search", content=json.dumps(wrong)), 400, "bad_request")


def sent(served: Served, data: bytes) -> bytes:
    """What comes back for bytes that no client would send."""
    answer = b""
    with socket.create_connection(("127.0.0.1", httpx2.URL(served.url).port), timeout=30) as connection:
        connection.sendall(data)
        while not answer.endswith(b"}}") and (piece := connection.recv(65_536)):
            answer += piece
    return answer


def test_a_body_that_says_it_is_too_large_is_not_read(shop: Served):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n"
    answer = sent(shop, head + b"{")

    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":"too_large"' in answer


def test_a_body_in_pieces_is_refused_when_it_grows_too_large(shop: Served):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = sent(shop, head + b"100001\r\n" + b" " * 0x100001 + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":"too_large"' in answer


def test_an_upload_of_just_the_limit_is_taken(client: httpx2.Client, collection: str):
    text = "Parcels to Peru take twenty days.\n" + "\n" * (1 << 20)

    assert put(client, collection, "peru.txt", text[: 1 << 20]).status_code == 201
    refused(put(client, collection, "peru.txt", text[: (1 << 20) + 1]), 413, "too_large")


@pytest.mark.parametrize("line", ["GET /\xe9 HTTP/1.1", "GET / HTTP/9", "nonsense", "GET  HTTP/1.1"])
def test_what_is_no_request_does_no_harm(shop: Served, client: httpx2.Client, line: str):
    answer = sent(shop, f"{line}\r\nhost: localhost\r\n\r\n".encode("latin-1"))

    assert re.match(rb"HTTP/1.1 4\d\d", answer)
    assert client.get("/healthz").status_code == 200


# ---------------------------------------------------------------- who may


def test_a_server_with_keys_needs_one(office: Served):
    nobody, stranger = office.client(), office.client("some-other-key-0123456789")

    refused(nobody.get("/v1/models"), 401, "needs_key")
    refused(stranger.get("/v1/models"), 401, "needs_key")
    refused(nobody.get("/v1/models", headers=[(b"x-api-key", "ключ".encode())]), 401, "needs_key")


@pytest.mark.parametrize("headers", [{"authorization": f"bearer {KEYS['boss']}"}, {"x-api-key": KEYS["boss"]}])
def test_a_key_may_come_in_either_header(office: Served, headers: dict[str, str]):
    assert office.client(**headers).get("/v1/models").status_code == 200


def test_the_page_needs_no_key(office: Served):
    nobody = office.client()

    assert nobody.get("/").status_code == nobody.get("/static/chat.js").status_code == 200
    assert nobody.get("/healthz").status_code == nobody.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/collections"),
        ("POST", "/api/collections/handbook/documents?name=x.txt"),
        ("DELETE", "/api/collections/handbook/documents?source=hours.txt"),
        ("POST", "/api/collections/handbook/sync"),
        ("POST", "/api/collections/handbook/versions/v1/use"),
        ("GET", "/api/collections/handbook/diff?from=v1&to=v1"),
    ],
)
def test_only_an_admins_key_changes_documents(clerk: httpx2.Client, method: str, path: str):
    assert "clerk" in refused(clerk.request(method, path, content=b"x"), 403, "not_allowed")["message"]


def test_a_document_is_found_only_by_those_who_may_read_it(boss: httpx2.Client, clerk: httpx2.Client):
    question = {"query": "What does the director earn?", "k": 20}
    theirs, ours = (c.post("/api/collections/handbook/search", json=question).json() for c in (clerk, boss))

    assert "salaries.md" not in {hit["passage"]["source"] for hit in theirs["hits"]}
    assert ours["hits"][0]["passage"]["source"] == "salaries.md"
    assert ours["searched"] > theirs["searched"]


def test_a_document_is_quoted_only_to_those_who_may_read_it(boss: httpx2.Client, clerk: httpx2.Client):
    theirs, ours = (ask(c, "What does the director earn?") for c in (clerk, boss))

    assert "90,000" in content(ours)
    assert "90,000" not in json.dumps(theirs)


def test_a_document_is_listed_and_shown_only_to_those_who_may_read_it(boss: httpx2.Client, clerk: httpx2.Client):
    (row,) = [
        row
        for row in boss.get("/api/collections/handbook/documents").json()["documents"]
        if row["source"] == "salaries.md"
    ]

    assert "salaries.md" not in sources(clerk, "handbook")
    assert "90,000" in boss.get(f"/api/collections/handbook/documents/{row['id']}").json()["text"]
    refused(clerk.get(f"/api/collections/handbook/documents/{row['id']}"), 404, "not_found")


def test_what_is_counted_is_what_one_may_read(boss: httpx2.Client, clerk: httpx2.Client):
    (theirs,), (ours,) = (c.get("/api/collections").json()["collections"] for c in (clerk, boss))

    assert theirs["documents"] == ours["documents"] - 1
    assert theirs["passages"] < ours["passages"]


def test_the_names_of_files_do_not_leak_through_notes(boss: httpx2.Client, clerk: httpx2.Client):
    assert put(boss, "handbook", "salaries-2027.md", "The director earns 95,000 a year.").status_code == 201

    assert "salaries-2027" in boss.get("/api/collections/handbook/versions").text
    assert "salaries-2027" not in clerk.get("/api/collections/handbook/versions").text


def test_files_that_could_not_be_read_are_shown_to_admins_only(boss: httpx2.Client, clerk: httpx2.Client):
    assert clerk.get("/api/collections/handbook/documents").json()["skipped"] == []
    assert clerk.get("/api/collections").json()["admin"] is False


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8080"},
        {"host": "localhost.evil.example"},
        {"host": "[::1"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:1"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_another_site_gets_nothing_from_a_server_without_keys(client: httpx2.Client, headers: dict[str, str]):
    refused(client.get("/api/collections", headers=headers), 403, "not_allowed")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:9", "[::1]:8080", "127.1.2.3"])
def test_a_server_goes_by_the_names_of_this_machine(client: httpx2.Client, host: str):
    headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}

    assert client.get("/api/collections", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com"])
def test_a_server_that_others_can_reach_needs_a_key(tmp_path: Path, host: str):
    (tmp_path / "penstock.toml").write_text(f'[server]\nhost = "{host}"')
    settings = load(tmp_path / "penstock.toml", environment={})

    with pytest.raises(BadSetting, match="no key"):
        check_binding(settings, House(settings).keys)


# ---------------------------------------------------------------- changing documents


def test_an_upload_can_be_asked_at_once(client: httpx2.Client, collection: str):
    response = put(client, collection, "peru.txt", "Parcels to Peru take twenty days.")

    assert response.status_code == 201
    assert response.json()["added"] == ["peru.txt"]
    assert response.json()["version"] == "v1"
    assert "twenty days" in content(ask(client, "How long do parcels to Peru take?", model=collection))


def test_the_same_upload_again_changes_nothing(client: httpx2.Client, collection: str):
    put(client, collection, "peru.txt", "Parcels to Peru take twenty days.")
    again = put(client, collection, "peru.txt", "Parcels to Peru take twenty days.")

    assert again.status_code == 200
    assert again.json()["version"] is None


def test_an_upload_tells_how_it_gets_on(client: httpx2.Client, collection: str):
    response = put(client, collection, "peru.txt", "Parcels to Peru take twenty days.", accept="application/x-ndjson")
    steps = [json.loads(line) for line in response.text.splitlines()]

    assert response.headers["content-type"] == "application/x-ndjson"
    assert [step["step"] for step in steps] == ["reading", "indexing", "done"]
    assert sum(step.get("passages", 0) for step in steps[:-1]) == steps[-1]["passages"] == 1
    assert steps[-1]["version"] == "v1"


@pytest.mark.parametrize(
    ("name", "data"),
    [("scan.pdf", b"%PDF-1.7 truncated"), ("sheet.xlsx", b"PK\x03\x04no"), ("picture.xyz", b"\x00\x01\x02\xff" * 50)],
)
def test_an_upload_that_cannot_be_read_says_why_and_is_not_kept(
    shop: Served, client: httpx2.Client, collection: str, name: str, data: bytes
):
    error = refused(put(client, collection, name, data), 422, "unreadable")
    lines = put(client, collection, name, data, accept="application/x-ndjson").text.splitlines()

    assert name in error["message"]
    assert json.loads(lines[-1])["error"] == error
    assert not (shop.house.library.path / "uploads" / collection / name).exists()
    assert sources(client, collection) == []


def test_an_upload_without_a_name_or_without_content_is_refused(client: httpx2.Client, collection: str):
    path = f"/api/collections/{collection}/documents"

    refused(client.post(path, content=b"text"), 400, "bad_request")
    refused(put(client, collection, "peru.txt", b""), 422, "unreadable")
    refused(client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../escaped.txt", "escaped.txt"),
        ("/etc/escaped.txt", "escaped.txt"),
        ("..\\..\\escaped.txt", "escaped.txt"),
        ("C:\\escaped.txt", "escaped.txt"),
        ("esc\0aped.txt", "esc_aped.txt"),
        ("line\nfeed.txt", "line_feed.txt"),
        ("Größe 数量 🎁.txt", "Größe 数量 🎁.txt"),
        (".hidden.txt", "hidden.txt"),
        ("x" * 500 + ".txt", "x" * 40 + "-7d7fd050.txt"),
    ],
)
def test_an_upload_stays_in_its_folder_whatever_it_is_called(
    shop: Served, client: httpx2.Client, collection: str, name: str, kept: str
):
    response = put(client, collection, name, "Parcels to Peru take twenty days.")

    assert response.json()["added"] == [kept]
    assert [path.name for path in (shop.house.library.path / "uploads" / collection).iterdir()] == [kept]


@pytest.mark.parametrize("name", ["..", "/", "...", " ", "x/"])
def test_what_is_no_file_name_is_refused(client: httpx2.Client, collection: str, name: str):
    refused(put(client, collection, name, "text"), 400, "bad_request")


@pytest.mark.parametrize("name", ["..", "../../escaped", "a/b", "a%2Fb", "", "x" * 65, "-x", "a b", "\0"])
def test_what_cannot_name_a_collection_is_refused(shop: Served, client: httpx2.Client, name: str):
    before = client.get("/api/collections").json()
    encoded = "".join(f"%{byte:02x}" for byte in name.encode())
    twice = encoded.replace("%", "%25")

    refused(client.post("/api/collections", json={"name": name}), 400, "bad_setting")
    for path in (encoded, twice):
        response = client.post(f"/api/collections/{path}/documents?name=x.txt", content=b"text")
        assert response.status_code in (400, 404)
    assert client.get("/api/collections").json() == before


def test_a_collection_is_made_by_name(client: httpx2.Client):
    made = client.post("/api/collections", json={"name": "Größen-2026"})
    listed = client.get("/api/collections").json()["collections"]

    assert made.status_code == 201
    assert [row["version"] for row in listed if row["name"] == "Größen-2026"] == [None]
    assert put(client, "Gr%C3%B6%C3%9Fen-2026", "a.txt", "Parcels to Peru take twenty days.").status_code == 201


def test_a_collection_without_a_version_says_so(client: httpx2.Client, collection: str):
    client.post("/api/collections", json={"name": collection})
    response = client.post("/v1/chat/completions", json=asked(collection, RETURNS, stream=True))

    assert "nothing is indexed" in refused(response, 404, "not_found")["message"]


def test_a_document_can_be_deleted(client: httpx2.Client, collection: str):
    put(client, collection, "peru.txt", "Parcels to Peru take twenty days.")
    put(client, collection, "chile.txt", "Parcels to Chile take thirty days.")
    report = client.delete(f"/api/collections/{collection}/documents", params={"source": "peru.txt"}).json()

    assert report["removed"] == ["peru.txt"]
    assert sources(client, collection) == ["chile.txt"]


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("nowhere.txt", 404, "not_found"),
        ("~nobody-of-that-name/x", 404, "not_found"),
        ("nul\0", 404, "not_found"),
        ("", 400, "bad_request"),
        ("hours.txt", 400, "bad_request"),
    ],
    ids=ascii,
)
def test_what_cannot_be_deleted_says_why(client: httpx2.Client, source: str, status: int, code: str):
    refused(client.delete("/api/collections/handbook/documents", params={"source": source}), status, code)


def test_a_sync_takes_in_what_changed(shop: Served, client: httpx2.Client):
    write(shop.house.settings.folder / "handbook", {"peru.txt": "Parcels to Peru take twenty days."})
    report = client.post("/api/collections/handbook/sync").json()
    (shop.house.settings.folder / "handbook/peru.txt").unlink()
    back = client.post("/api/collections/handbook/sync").json()

    assert (report["added"], back["removed"]) == (["peru.txt"], ["peru.txt"])


def test_versions_are_listed_compared_and_gone_back_to(client: httpx2.Client, collection: str):
    put(client, collection, "peru.txt", "Parcels to Peru take twenty days.")
    put(client, collection, "peru.txt", "Parcels to Peru take forty days.")
    question = "How long do parcels to Peru take?"
    newer = content(ask(client, question, model=collection))
    changed = client.get(f"/api/collections/{collection}/diff", params={"from": "v1", "to": "v2"}).json()
    used = client.post(f"/api/collections/{collection}/versions/v1/use").json()
    listed = client.get(f"/api/collections/{collection}/versions").json()["versions"]

    assert "forty" in newer
    assert changed["added"] == [{"source": "peru.txt", "text": "Parcels to Peru take forty days."}]
    assert changed["removed"] == [{"source": "peru.txt", "text": "Parcels to Peru take twenty days."}]
    assert used["name"] == "v1"
    assert {row["name"]: row["live"] for row in listed} == {"v1": True, "v2": False}
    assert "twenty" in content(ask(client, question, model=collection))


@pytest.mark.parametrize("version", ["v99", "latest", "-1", "v", "9" * 30])
def test_a_version_that_is_not_there_is_not_found(client: httpx2.Client, version: str):
    refused(client.post(f"/api/collections/handbook/versions/{version}/use"), 404, "not_found")
    refused(client.get("/api/collections/handbook/diff", params={"from": version}), 404, "not_found")


@pytest.mark.parametrize("document", ["0", "-1", "text", "9" * 30, "..", "1%00"])
def test_a_document_that_is_not_there_is_not_found(client: httpx2.Client, document: str):
    refused(client.get(f"/api/collections/handbook/documents/{document}"), 404, "not_found")


# ---------------------------------------------------------------- while things happen


class Held(WordEmbedder):
    """A stand-in that stops in the middle of indexing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go = threading.Event(), threading.Event()

    def embed_parts(self, items: Sequence[tuple[str, Sequence[tuple[int, int]]]]) -> list[np.ndarray]:
        if any("Peru" in text for text, _ in items):
            self.reached.set()
            assert self.go.wait(60)
        return super().embed_parts(items)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Served, Held]]:
    embedder = Held()
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, '[documents.handbook]\npaths = ["handbook"]', embedder=embedder) as served:
        try:
            yield served, embedder
        finally:
            embedder.go.set()


def test_while_an_upload_is_indexed_the_version_before_it_answers(held: tuple[Served, Held]):
    served, embedder = held
    client = served.client()
    question = {"query": "How long do parcels to Peru take?"}
    with ThreadPoolExecutor(2) as pool:
        uploading = pool.submit(put, client, "handbook", "peru.txt", "Parcels to Peru take twenty days.")
        assert embedder.reached.wait(30)
        during = client.post("/api/collections/handbook/search", json=question).json()
        waiting = pool.submit(put, client, "handbook", "chile.txt", "Parcels to Chile take thirty days.")
        embedder.go.set()
        first, second = uploading.result(30).json(), waiting.result(30).json()
    after = client.post("/api/collections/handbook/search", json=question).json()

    assert during["version"] == "v1"
    assert (first["version"], second["version"], after["version"]) == ("v2", "v3", "v3")
    assert after["hits"][0]["passage"]["source"] == "peru.txt"


def test_progress_is_told_while_the_work_goes_on(held: tuple[Served, Held]):
    served, embedder = held
    path, headers = "/api/collections/handbook/documents?name=peru.txt", {"accept": "application/x-ndjson"}
    with served.client().stream(
        "POST", path, content=b"Parcels to Peru take twenty days.", headers=headers
    ) as response:
        lines = response.iter_lines()
        first = json.loads(next(lines))
        embedder.go.set()
        last = json.loads(list(lines)[-1])

    assert first == {"step": "reading"}
    assert last["step"] == "done"


def test_an_upload_goes_on_when_its_client_leaves(held: tuple[Served, Held]):
    served, embedder = held
    head = b"POST /api/collections/handbook/documents?name=peru.txt HTTP/1.1\r\nhost: localhost\r\n"
    with socket.create_connection(("127.0.0.1", httpx2.URL(served.url).port)) as leaving:
        leaving.sendall(
            head + b"content-length: 33\r\naccept: application/x-ndjson\r\n\r\n" + b"Parcels to Peru take twenty days."
        )
        assert embedder.reached.wait(30)
    embedder.go.set()

    eventually(lambda: "peru.txt" in sources(served.client(), "handbook"))


def test_a_version_that_another_process_publishes_is_served_at_once(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    embedder = WordEmbedder()
    with serving(tmp_path, '[documents.handbook]\npaths = ["handbook"]', embedder=embedder) as served:
        client, question = served.client(), {"query": "How long do parcels to Peru take?"}
        before = client.post("/api/collections/handbook/search", json=question).json()
        other = Library(
            served.house.library.path,
            WordEmbedder,
            folder=tmp_path,
            collections=served.house.library.settings,
            web=WebSettings(),
        )
        other["handbook"].put("peru.txt", b"Parcels to Peru take twenty days.")
        other.create("notes").put("chile.txt", b"Parcels to Chile take thirty days.")
        other.close()
        after = client.post("/api/collections/handbook/search", json=question).json()
        models = {model["id"] for model in client.get("/v1/models").json()["data"]}

    assert (before["version"], after["version"]) == ("v1", "v2")
    assert after["hits"][0]["passage"]["source"] == "peru.txt"
    assert models == {"handbook", "notes"}


def test_a_folder_is_looked_at_again_as_often_as_the_settings_say(tmp_path: Path):
    folder = write(tmp_path / "handbook", HANDBOOK)
    toml = '[documents.handbook]\npaths = ["handbook"]\nrefresh = "0.1s"'
    with serving(tmp_path, toml, embedder=WordEmbedder()) as served:
        client = served.client()
        write(folder, {"peru.txt": "Parcels to Peru take twenty days."})
        eventually(lambda: "peru.txt" in sources(client, "handbook"))
        (folder / "hours.txt").unlink()
        eventually(lambda: "hours.txt" not in sources(client, "handbook"))


def test_questions_are_answered_however_many_folders_are_being_looked_at(tmp_path: Path):
    names = [f"c{n}" for n in range(12)]
    toml = "".join(f'[documents.{name}]\npaths = ["{name}"]\nrefresh = "0.1s"\n' for name in names)
    for name in names:
        write(tmp_path / name, {"hours.txt": HANDBOOK["hours.txt"]})
    embedder = Held()
    with serving(tmp_path, toml, embedder=embedder) as served:
        for name in names:
            write(tmp_path / name, {"peru.txt": f"Parcels to Peru take {len(name)} days."})
        assert embedder.reached.wait(30)
        found = [served.client().post(f"/api/collections/{name}/search", json={"query": "hours"}) for name in names]
        embedder.go.set()

    assert [response.json()["version"] for response in found] == ["v1"] * 12


class Broken(WordEmbedder):
    """A stand-in that fails as no part should, with the question in its message."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if any("chess" in text for text in texts):
            raise ValueError(f"cannot embed {texts}")
        return super().embed(texts)


def test_what_nobody_expected_is_recorded_without_anybodys_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, '[documents.handbook]\npaths = ["handbook"]', embedder=Broken()) as served:
        response = served.client().post("/v1/chat/completions", json=asked("handbook", ABSENT))
        still = served.client().post("/api/collections/handbook/search", json={"query": "parcels"})
    logged = json.loads(capsys.readouterr().err)

    assert "chess" not in json.dumps(refused(response, 500, "internal_error"))
    assert still.status_code == 200
    assert logged["error"] == "ValueError"
    assert logged["at"].startswith("test_server.py:")
    assert "chess" not in json.dumps(logged)


# ---------------------------------------------------------------- pages


def test_the_page_may_load_and_reach_nothing_but_its_own_server(client: httpx2.Client):
    page = client.get("/")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.findall(r"<script(?![^>]*src=)|\son\w+=|style=|https?://", page.text)


@pytest.mark.parametrize("path", ["/", "/static/chat.css", "/v1/models", "/healthz", "/nowhere"])
def test_every_response_keeps_browsers_from_guessing(client: httpx2.Client, path: str):
    headers = client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("chat.js", "text/javascript"),
        ("chat.css", "text/css"),
        ("chat.html", "text/html"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_a_file_of_the_page_is_sent_once_and_then_only_confirmed(client: httpx2.Client, path: str, kind: str):
    first = client.get(f"/static/{path}")
    again = client.get(f"/static/{path}", headers={"if-none-match": first.headers["etag"]})
    head = client.head(f"/static/{path}")

    assert first.headers["content-type"].startswith(kind)
    assert (again.status_code, again.content) == (304, b"")
    assert (head.status_code, head.content) == (200, b"")


# ---------------------------------------------------------------- starting and stopping


def test_a_server_is_ready_when_it_can_answer(client: httpx2.Client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


class Slow(WordEmbedder):
    """A stand-in that takes its time to begin."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        assert self.go.wait(60)
        return super().embed(texts)


def test_a_server_that_is_starting_says_so(tmp_path: Path):
    embedder = Slow()
    with serving(tmp_path, embedder=embedder, wait=False) as served:
        client = served.client()
        early = [client.get("/readyz"), client.get("/v1/models")]
        alive, page = client.get("/healthz"), client.get("/console/requests")
        embedder.go.set()
        eventually(lambda: client.get("/readyz").status_code == 200)

    assert [refused(response, 503, "not_ready")["retryable"] for response in early] == [True, True]
    assert alive.status_code == 200
    assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert 'http-equiv="refresh"' in page.text


def test_a_server_that_is_stopping_finishes_what_runs_and_takes_nothing_new(held: tuple[Served, Held]):
    served, embedder = held
    path, headers = "/api/collections/handbook/documents?name=peru.txt", {"accept": "application/x-ndjson"}
    with served.client().stream(
        "POST", path, content=b"Parcels to Peru take twenty days.", headers=headers
    ) as response:
        lines = response.iter_lines()
        next(lines)
        served.server.handle_exit(signal.SIGTERM, None)
        late = [served.client().get("/readyz"), served.client().get("/v1/models")]
        alive = served.client().get("/healthz")
        embedder.go.set()
        last = json.loads(list(lines)[-1])

    assert last["step"] == "done"
    assert [refused(response, 503, "not_ready")["retryable"] for response in late] == [True, True]
    assert alive.status_code == 200


def test_a_server_that_may_not_wait_gives_up_what_is_being_indexed(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    embedder, toml = Held(), '[server]\ndrain_s = 0\n[documents.handbook]\npaths = ["handbook"]'
    with ThreadPoolExecutor(1) as pool, serving(tmp_path, toml, embedder=embedder) as served:
        uploading = pool.submit(put, served.client(), "handbook", "peru.txt", "Parcels to Peru take twenty days.")
        assert embedder.reached.wait(30)
        served.server.handle_exit(signal.SIGTERM, None)
        error = refused(uploading.result(30), 503, "not_ready")
        embedder.go.set()
    library = Library(tmp_path / ".penstock", WordEmbedder, folder=tmp_path, collections={}, web=WebSettings())
    documents = {row.source for row in library["handbook"].documents()}
    library.close()

    assert "stopping" in error["message"]
    assert documents == HANDBOOK.keys()


def test_a_stopped_process_finishes_its_stream_and_exits_with_success(tmp_path: Path):
    text = "".join(f"Parcels to town {n} take {n % 40} days by the route of {n * 7}.\n\n" for n in range(1500))
    write(tmp_path / "handbook", HANDBOOK)
    with up(tmp_path, "handbook") as (process, address):
        (model,) = httpx2.get(f"{address}/v1/models").json()["data"]
        path, headers = (
            f"{address}/api/collections/{model['id']}/documents?name=towns.txt",
            {"accept": "application/x-ndjson"},
        )
        with httpx2.stream("POST", path, content=text, headers=headers, timeout=60) as response:
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            last = json.loads(list(lines)[-1])

        assert process.wait(60) == 0
        assert last["step"] == "done"
        assert last["version"] == "v2"


def test_a_process_that_may_not_wait_ends_in_the_middle_of_a_build_and_harms_nothing(tmp_path: Path):
    text = "".join(f"Parcels to town {n} take {n % 40} days by the route of {n * 7}.\n\n" for n in range(30_000))
    write(tmp_path / "handbook", HANDBOOK)
    with up(tmp_path, "handbook", PENSTOCK_SERVER_DRAIN_S="0") as (process, address):
        (model,) = httpx2.get(f"{address}/v1/models").json()["data"]
        path, headers = (
            f"{address}/api/collections/{model['id']}/documents?name=t.txt",
            {"accept": "application/x-ndjson"},
        )
        with httpx2.stream("POST", path, content=text, headers=headers, timeout=60) as response:
            next(response.iter_lines())
            process.terminate()
            assert process.wait(60) == 0
    library = Library(tmp_path / ".penstock", WordEmbedder, folder=tmp_path, collections={}, web=WebSettings())
    documents = {row.source for row in library[model["id"]].documents()}
    library.close()
    checked = subprocess.run(
        [sys.executable, "-m", "penstock", "doctor"], cwd=tmp_path, capture_output=True, timeout=60
    )

    assert documents == HANDBOOK.keys()
    assert checked.returncode == 0


def test_a_port_that_is_taken_is_left_alone_and_the_next_one_named(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with up(tmp_path, "handbook", "--port", str(port)) as (process, address):
            assert httpx2.get(f"{address}/readyz").status_code == 200
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)

    assert f"port {port} is taken, using {httpx2.URL(address).port}" in said
    assert process.returncode == 0


def test_the_log_tells_what_happened_and_nobodys_words(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    with up(tmp_path, "handbook", PENSTOCK_LOG_LEVEL="debug") as (process, address):
        with httpx2.Client(base_url=address) as client:
            (model,) = client.get("/v1/models").json()["data"]
            ask(client, RETURNS, model=model["id"])
            ask(client, ABSENT, model=model["id"], stream=False)
            client.post(f"/api/collections/{model['id']}/search?q=chess", json={"query": RETURNS})
            client.post("/v1/chat/completions", content=b'{"books": "returned')
            put(client, model["id"], "secret-plan.txt", "Parcels to Peru take twenty days.")
            with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
                connection.sendall(b"books returned\r\n\r\n")
                connection.recv(100)
        process.terminate()
        _, said = process.communicate(timeout=60)

    lines = [json.loads(line) for line in said.splitlines()]
    assert {"time", "level", "event", "method", "path", "status", "duration_ms", "caller"} == lines[0].keys()
    assert [line["status"] for line in lines] == [200, 200, 200, 200, 400, 201]
    assert not re.search("books|returned|thirty|chess|parcels|peru|twenty|secret", said, re.I)


def test_a_server_that_cannot_load_its_encoder_does_not_start(tmp_path: Path):
    (tmp_path / "penstock.toml").write_text('[embedder]\nmodel = "nowhere"\n[documents.handbook]\npaths = ["handbook"]')
    write(tmp_path / "handbook", HANDBOOK)
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "up", "--port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 1
    assert "error: embedder.model is 'nowhere', which is no folder" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_process_that_others_could_reach_does_not_start_without_a_key(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", "up", "--host", "0.0.0.0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 1
    assert "there is no key" in ended.stderr
    assert not (tmp_path / ".penstock").exists()
