"""Our own server for the Model Context Protocol, asked by the official SDK, over HTTP and over standard input and output."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Literal

import foreign
import httpx2
import hypothesis.strategies as st
import jsonschema
import mcp_types as types
import pytest
from hypothesis import given
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from serving import HANDBOOK, KEYS, PAY, WITH_KEYS, Served, serving, write

from penstock.errors import NotFound
from penstock.server.mcp import IN, OUT, PATH, place_in, uri_of

DOCUMENTS = '[documents.handbook]\npaths = ["handbook"]\n'
LIMITED = f"""{DOCUMENTS}
[keys.guest]
key = "guest-key-0123456789"
models = ["nothing"]
[budgets.clerk]
key = "clerk"
requests_per_minute = 3
"""
MODES: list[Literal["legacy", "auto"]] = ["legacy", "auto"]
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("open")
    write(folder / "handbook", HANDBOOK)
    with serving(folder, DOCUMENTS) as served:
        yield served


@pytest.fixture(scope="module")
def keyed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("keyed")
    write(folder / "handbook", HANDBOOK | PAY)
    with serving(folder, LIMITED + WITH_KEYS) as served:
        yield served


@asynccontextmanager
async def client(served: Served, key: str = "", *, mode: Literal["legacy", "auto"] = "auto") -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(served.url + PATH, http_client=http), mode=mode, cache=None) as made,
    ):
        yield made


def with_client(served: Served, work: Callable[[Client], Awaitable[Any]], key: str = "", **more: Any) -> Any:
    async def done() -> Any:
        async with client(served, key, **more) as made:
            return await work(made)

    return asyncio.run(done())


def journal(served: Served, count: int) -> list[dict[str, Any]]:
    """The last requests, as soon as there are so many: they are written down a moment later."""
    http, until = served.client(KEYS["boss"] if served.house.keys.needed else ""), time.monotonic() + 30
    rows: list[dict[str, Any]] = []
    while len(rows) < count and time.monotonic() < until:
        time.sleep(0.05)
        rows = http.get("/api/requests").json()["requests"]
    return rows


def refused(result: types.CallToolResult) -> dict[str, Any]:
    assert result.is_error
    assert result.structured_content is None
    assert result.meta is not None
    found: dict[str, Any] = result.meta["penstock/error"]
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    assert found["message"] in block.text
    assert "Traceback" not in block.text
    return found


def fits(result: types.CallToolResult, tool: str) -> dict[str, Any]:
    assert not result.is_error
    jsonschema.validate(result.structured_content, OUT[tool])
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    assert json.loads(block.text) == result.structured_content
    value: dict[str, Any] = result.structured_content
    return value


# ---------------------------------------------------------------- what can be done


@pytest.mark.parametrize("mode", MODES)
def test_each_tool_answers_as_its_schema_says(open_server: Served, mode: Literal["legacy", "auto"]):
    async def work(made: Client) -> None:
        tools = (await made.list_tools()).tools
        assert {tool.name: tool.output_schema for tool in tools} == OUT
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
        assert made.instructions
        assert "handbook" in made.instructions
        found = fits(await made.call_tool("search", {"collection": "handbook", "query": "Norway", "k": 2}), "search")
        assert found["passages"][0]["source"] == "shipping.md"
        assert found["passages"][0]["section"] == ["Shipping", "Norway"]
        asked = fits(
            await made.call_tool("ask", {"app": "handbook", "question": "How long can I return books?"}), "ask"
        )
        assert asked["status"] == "answer"
        assert asked["answer"] == "Books can be returned within thirty days. [1]"
        text = (await made.read_resource(asked["citations"][0]["uri"])).contents[0]
        assert isinstance(text, types.TextResourceContents)
        cited = asked["citations"][0]
        assert text.text[cited["start"] : cited["end"]] == cited["quote"]
        said = {"text": "Parcels take five days. They are red.", "sources": ["Parcels take five days."]}
        checked = fits(await made.call_tool("verify", said), "verify")
        assert checked["sentences"][0]["label"] == "supported"
        assert checked["sentences"][1]["label"] != "supported"

    with_client(open_server, work, mode=mode)


def test_an_answer_that_is_not_in_the_documents_says_so(open_server: Served):
    result = with_client(
        open_server, lambda made: made.call_tool("ask", {"app": "handbook", "question": "Who won the match?"})
    )

    assert fits(result, "ask")["status"] == "not_found"


def test_all_documents_are_listed_page_by_page_and_can_be_read(open_server: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penstock.server.mcp.PER_PAGE", 2)

    async def work(made: Client) -> dict[str, str]:
        found, cursor, pages = dict[str, str](), None, 0
        while pages == 0 or cursor:
            page = await made.list_resources(cursor=cursor)
            for one in page.resources:
                (text,) = (await made.read_resource(one.uri)).contents
                assert isinstance(text, types.TextResourceContents)
                found[one.name] = text.text
            cursor, pages = page.next_cursor, pages + 1
        assert pages == 2
        assert (await made.list_resource_templates()).resource_templates[
            0
        ].uri_template == "penstock://{collection}/{document}"
        return found

    assert with_client(open_server, work) == HANDBOOK


names = st.text(st.characters(codec="utf-8", exclude_characters="/?#"), min_size=1, max_size=30)


@given(names, st.integers(0, 10**17))
def test_an_address_leads_back_to_its_document(collection: str, document: int):
    assert place_in(uri_of(collection, str(document))) == (collection, str(document))


@given(st.text())
def test_any_address_has_a_document_or_is_refused(uri: str):
    try:
        collection, document = place_in(uri)
    except NotFound:
        return
    assert collection
    assert document


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("search", {"collection": "nope", "query": "x"}, "there is no collection 'nope'"),
        ("search", {"collection": "handbook"}, "'query' is missing"),
        ("search", {"collection": "handbook", "query": "  "}, "'query' is empty"),
        ("search", {"collection": "handbook", "query": "x", "k": 0}, "'k' does not fit: minimum is 1"),
        ("search", {"collection": "handbook", "query": "x", "k": "8"}, "'k' does not fit: type is integer"),
        ("search", {"collection": "handbook", "query": "x" * 5000}, "'query' does not fit: maxLength is 4000"),
        ("search", {"collection": ["handbook"], "query": "x"}, "'collection' does not fit"),
        ("ask", {"app": "nope", "question": "x"}, "there is no model 'nope'"),
        ("ask", {"app": "handbook", "question": "x", "admin": True}, "arguments that this tool does not take"),
        ("verify", {"text": "x", "sources": []}, "'sources' does not fit"),
        ("verify", {"text": "x" * 600_000, "sources": ["y" * 600_000]}, "more than 1,000,000 characters"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_hint_and_never_a_traceback(
    open_server: Served, mode: Literal["legacy", "auto"], tool: str, arguments: dict[str, Any], message: str
):
    result = with_client(open_server, lambda made: made.call_tool(tool, arguments), mode=mode)

    assert message in refused(result)["message"]


def test_what_is_not_there_is_an_error_of_the_protocol(open_server: Served):
    async def work(made: Client) -> None:
        with pytest.raises(MCPError, match="there is no tool 'delete_everything'"):
            await made.call_tool("delete_everything", {})
        for uri in ("penstock://handbook/99", "penstock://nope/1", "file:///etc/passwd", "penstock://handbook/../1"):
            with pytest.raises(MCPError) as error:
                await made.read_resource(uri)
            assert error.value.code == -32002
        with pytest.raises(MCPError, match="no cursor of ours"):
            await made.list_resources(cursor="x")

    with_client(open_server, work)


def test_what_breaks_inside_stays_inside(open_server: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(open_server.house), "collection", lambda *_: 1 / 0)

    result = with_client(open_server, lambda made: made.call_tool("search", {"collection": "handbook", "query": "x"}))

    assert refused(result) == {
        "message": "something went wrong inside", "hint": "the server's log says what", "code": "internal_error",
        "type": "server_error", "param": None, "retryable": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"1", b'"x"', b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b'{"jsonrpc": "2.0", "id": 1}',
        b'{"jsonrpc": "2.0", "method": "tools/call", "id": {"a": 1}}', b'{"jsonrpc": "2.0", "method": "no/such", "id": 1}',
        b'{"jsonrpc": "2.0", "method": "tools/call", "id": 1, "params": {"name": 5}}',
        b'[{"jsonrpc": "2.0", "method": "tools/list", "id": 1}]',
        b'{"jsonrpc":"2.0","method":"tools/call","id":1,"params":{"name":"ask","arguments":{"app":"handbook","question":"\\ud800"}}}',
        b'{"jsonrpc":"2.0","method":"tools/call","id":1,"params":{"name":"search","arguments":{"collection":"\\u0000","query":"x"}}}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", ["", "2025-06-18", "2026-07-28", "nonsense"])
def test_anything_may_be_sent_and_the_server_goes_on(open_server: Served, body: bytes, version: str):
    http = open_server.client()

    headers = HEADERS | ({"mcp-protocol-version": version} if version else {})
    answer = http.post(PATH, content=body, headers=headers)

    assert answer.status_code < 500
    assert b"Traceback" not in answer.content
    assert http.get("/readyz").status_code == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path):
    with serving(tmp_path, "[server]\nmax_body_mb = 1\n", documents=False) as served:
        assert served.client().post(PATH, content=b"x" * (2 << 20), headers=HEADERS).status_code == 413


def test_without_the_extra_everybody_is_told_what_to_install(place: Path):
    program = (
        "import sys; sys.modules['mcp'] = sys.modules['mcp_types'] = None; from penstock.cli.main import main; main()"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, "mcp"], cwd=place, text=True, capture_output=True, input="", check=False
    )

    assert told.returncode == 1
    assert told.stderr.splitlines()[-1] == "hint:  pip install 'penstock[mcp]'"


def test_streams_and_sessions_there_are_none_of(open_server: Served):
    http = open_server.client()

    assert http.get(PATH, headers={"accept": "text/event-stream"}).status_code == 405
    assert http.delete(PATH).headers["allow"] == "POST"


# ---------------------------------------------------------------- who is asking

HELLO = {"jsonrpc": "2.0", "method": "tools/list", "id": 1}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"x-penstock-visit": "pwv-x"},
    ],
)
def test_pages_of_other_sites_get_nothing(open_server: Served, headers: dict[str, str]):
    answer = open_server.client().post(PATH, json=HELLO, headers=HEADERS | headers)

    assert answer.status_code == 403


def test_without_a_key_nobody_is_answered_where_keys_are_needed(keyed_server: Served):
    http = keyed_server.client()

    assert http.post(PATH, json=HELLO, headers=HEADERS).status_code == 401
    assert (
        http.post(PATH, json=HELLO, headers=HEADERS | {"authorization": "Bearer wrong-key-0123456789"}).status_code
        == 401
    )


def test_each_caller_finds_and_reads_what_they_may(keyed_server: Served):
    async def reached(made: Client) -> tuple[set[str], set[str], list[str]]:
        found = fits(
            await made.call_tool(
                "search", {"collection": "handbook", "query": "What does the director earn?", "k": 20}
            ),
            "search",
        )
        resources = (await made.list_resources()).resources
        return (
            {one["source"] for one in found["passages"]},
            {one.name for one in resources},
            [str(one.uri) for one in resources],
        )

    boss, listed, uris = with_client(keyed_server, reached, KEYS["boss"])
    assert "salaries.md" in boss & listed
    clerk, fewer, his = with_client(keyed_server, reached, KEYS["clerk"])
    assert "salaries.md" not in clerk | fewer
    (secret,) = set(uris) - set(his)

    async def read(made: Client) -> None:
        with pytest.raises(MCPError) as error:
            await made.read_resource(secret)
        assert error.value.code == -32002
        assert "90,000" not in str(error.value)

    with_client(keyed_server, read, KEYS["clerk"])


def test_a_key_for_other_apps_finds_nothing_here(keyed_server: Served):
    async def work(made: Client) -> None:
        assert made.instructions == "Answers from documents, with their sources. To ask: none yet. To search: none yet."
        assert (await made.list_resources()).resources == []
        assert refused(await made.call_tool("ask", {"app": "handbook", "question": "x"}))["code"] == "not_found"
        assert refused(await made.call_tool("search", {"collection": "handbook", "query": "x"}))["code"] == "not_found"

    with_client(keyed_server, work, "guest-key-0123456789")


def test_calls_count_for_the_limits_of_their_key_and_a_refusal_says_when_to_come_back(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, LIMITED + WITH_KEYS) as served:

        async def work(made: Client) -> list[types.CallToolResult]:
            return [await made.call_tool("search", {"collection": "handbook", "query": "x"}) for _ in range(5)]

        results = with_client(served, work, KEYS["clerk"])
        rows = journal(served, 5)

    assert [result.is_error for result in results] == [False, False, False, True, True]
    assert refused(results[-1])["type"] == "rate_limit_error"
    assert [row["status"] for row in rows] == [429, 429, 200, 200, 200]
    assert {(row["key"], row["model"], row["dialect"]) for row in rows} == {("clerk", "mcp/search", "mcp")}


def test_calls_are_journalled_by_the_id_that_the_client_is_given(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, DOCUMENTS) as served:
        arguments = {"app": "handbook", "question": "How long can I return books?"}
        body = {"jsonrpc": "2.0", "method": "tools/call", "id": 1, "params": {"name": "ask", "arguments": arguments}}
        answer = served.client().post(PATH, json=body, headers=HEADERS)
        (row,) = journal(served, 1)

    assert row["id"] == answer.headers["x-request-id"]
    assert (row["app"], row["model"], row["key"]) == ("handbook", "handbook", "owner")
    assert row["answer"]["status"] == "answer"


def test_many_at_once_each_get_their_own_answer(open_server: Served):
    places = ["Norway", "Japan", "Bergen"]

    async def one(n: int) -> bool:
        async with client(open_server, mode=MODES[n % 2]) as made:
            asked = [
                made.call_tool("search", {"collection": "handbook", "query": places[(n + m) % 3], "k": 1})
                for m in range(4)
            ]
            found = [fits(result, "search")["passages"][0]["text"] for result in await asyncio.gather(*asked)]
            return all(places[(n + m) % 3] in text for m, text in enumerate(found))

    async def work() -> list[bool]:
        return await asyncio.gather(*(one(n) for n in range(12)))

    assert all(asyncio.run(work()))


@pytest.mark.parametrize("mode", MODES)
def test_whoever_leaves_ends_what_was_done_for_them(
    tmp_path: Path, mode: Literal["legacy", "auto"], monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path / "handbook", HANDBOOK)
    begun = threading.Event()
    with serving(tmp_path, DOCUMENTS) as served:

        async def slow(*_: Any) -> AsyncIterator[Any]:
            begun.set()
            await asyncio.sleep(600)
            yield

        class Slow:
            stream = slow

        monkeypatch.setattr(type(served.house), "answerer", lambda *_: Slow())

        async def work(made: Client) -> None:
            task = asyncio.create_task(made.call_tool("ask", {"app": "handbook", "question": "x"}))
            await asyncio.to_thread(begun.wait, 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        with_client(served, work, mode=mode)
        rows = journal(served, 1)

    assert [row["outcome"] for row in rows] == ["cancelled"]


# ---------------------------------------------------------------- over standard input and output


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "office"
    write(folder / "handbook", HANDBOOK | PAY)
    (folder / "penstock.toml").write_text(DOCUMENTS + WITH_KEYS, "utf-8")
    subprocess.run(
        [sys.executable, "-m", "penstock", "docs", "sync"],
        cwd=folder,
        env=dict(os.environ),
        check=True,
        capture_output=True,
    )
    return folder


def piped(place: Path, *, key: str = "", file: str = "penstock.toml") -> StdioServerParameters:
    environment = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    if key:
        environment["PENSTOCK_KEY"] = key
    arguments = ["-m", "penstock", "--config", str(place / file), "mcp"]
    return StdioServerParameters(command=sys.executable, args=arguments, env=environment, cwd=place)


def test_over_standard_input_the_owner_asks_and_a_key_asks_for_its_holder(place: Path):
    async def sources(key: str) -> set[str]:
        async with Client(piped(place, key=key), cache=None) as made:
            asked = {"collection": "handbook", "query": "What does the director earn?", "k": 20}
            return {one["source"] for one in fits(await made.call_tool("search", asked), "search")["passages"]}

    async def work() -> None:
        assert "salaries.md" in await sources(KEYS["boss"])
        assert "salaries.md" not in await sources(KEYS["clerk"])
        assert "salaries.md" not in await sources("")

    asyncio.run(work())
    with closing(sqlite3.connect(place / ".penstock" / "penstock.db")) as database:
        rows = database.execute("select key, model from requests order by at").fetchall()
    assert rows == [("boss", "mcp/search"), ("clerk", "mcp/search"), ("owner", "mcp/search")]


def test_over_standard_input_many_calls_are_made_at_once(place: Path):
    async def work() -> None:
        async with Client(piped(place), cache=None, mode="legacy") as made:
            asked = [
                made.call_tool("ask", {"app": "handbook", "question": "How long can I return books?"})
                for _ in range(10)
            ]
            answers = [fits(result, "ask")["answer"] for result in await asyncio.gather(*asked)]
            assert answers == ["Books can be returned within thirty days. [1]"] * 10
            assert refused(await made.call_tool("ask", {"app": "nope", "question": "x"}))["hint"]

    asyncio.run(work())


def terminal(place: Path, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock", *arguments], cwd=place, env=os.environ | environment, input=given, text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_wrong_key_is_told_at_once(place: Path):
    told = terminal(place, "mcp", PENSTOCK_KEY="wrong-key-0123456789")

    assert told.returncode == 1
    assert "error:" in told.stderr
    assert told.stdout == ""


def test_nonsense_on_standard_input_is_answered_or_passed_over(place: Path):
    told = terminal(place, "mcp", given='nonsense\n{"jsonrpc": "2.0"}\n\n[]\n' + "x" * 100_000 + "\n")

    assert told.returncode == 0
    assert told.stderr == ""
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in told.stdout.splitlines())


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_whoever_ends_the_program_loses_nothing_of_the_journal(place: Path, sign: signal.Signals):
    ask = {"name": "search", "arguments": {"collection": "handbook", "query": "Norway"}}
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    said = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": ask},
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "penstock", "mcp"], cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin
        assert server.stdout
        server.stdin.write("".join(json.dumps({"jsonrpc": "2.0"} | line) + "\n" for line in said))
        server.stdin.flush()
        answers = [json.loads(server.stdout.readline()) for _ in range(2)]
        server.send_signal(sign)
        ended = server.wait(10)

    assert ended == 0
    assert answers[1]["result"]["isError"] is False
    with closing(sqlite3.connect(place / ".penstock" / "penstock.db")) as database:
        assert database.execute("select model, outcome from requests").fetchall() == [("mcp/search", "ok")]


def test_the_lines_for_clients_start_this_program_wherever_they_are(place: Path, tmp_path: Path):
    printed = json.loads(terminal(place, "mcp", "--print-config").stdout)["mcpServers"]["penstock"]
    remote = json.loads(terminal(place, "mcp", "--print-config", "http").stdout)["mcpServers"]["penstock"]

    async def work() -> list[str]:
        server = StdioServerParameters(**printed, cwd=tmp_path) if "env" in printed else StdioServerParameters(
            **printed, env={name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}, cwd=tmp_path
        )  # fmt: skip
        async with Client(server, cache=None) as made:
            return [tool.name for tool in (await made.list_tools()).tools]

    assert asyncio.run(work()) == list(IN)
    assert remote == {
        "type": "http",
        "url": "http://127.0.0.1:8080/mcp",
        "headers": {"Authorization": "Bearer YOUR-KEY"},
    }


# ---------------------------------------------------------------- servers of others, on the terminal


def test_a_tool_is_listed_accepted_called_and_when_it_changes_refused(place: Path):
    (place / "foreign").mkdir()
    settings = {
        "command": sys.executable,
        "args": [foreign.__file__],
        "tools": ["lookup", "fails"],
        "reads": ["lookup"],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    environment = f"env = {{ FOREIGN_FOLDER = {json.dumps(str(place / 'foreign'))} }}"
    with (place / "penstock.toml").open("a", encoding="utf-8") as file:
        file.write("\n".join(["\n[mcp.other]", *lines, environment, ""]))

    listed = {row["name"]: row for row in json.loads(terminal(place, "mcp", "list", "--json").stdout)}
    assert (listed["lookup"]["state"], listed["bomb"]["state"]) == ("new", "not allowed")
    early = terminal(place, "mcp", "call", "other", "lookup", '{"text": "x"}')
    assert "hint:  penstock mcp accept other lookup" in early.stderr
    assert terminal(place, "mcp", "accept", "other", "lookup", given="n\n").stdout.endswith("nothing was accepted\n")
    accepted = terminal(place, "mcp", "accept", "other", "--yes")
    assert accepted.stdout.endswith("2 accepted\n")
    assert '"Looks something up."' in accepted.stdout
    assert terminal(place, "mcp", "call", "other", "lookup", "-", given='{"text": "grüße"}').stdout == "grüße\n"
    failed = terminal(place, "mcp", "call", "other", "fails", '{"text": ""}')
    assert (failed.returncode, failed.stdout) == (1, "no such row\n")
    assert "not valid JSON" in terminal(place, "mcp", "call", "other", "lookup", "{").stderr
    (place / "foreign" / "description").write_text("Looks up secrets.", "utf-8")
    changed = terminal(place, "mcp", "call", "other", "lookup", '{"text": "x"}')
    assert (changed.returncode, "describes itself differently" in changed.stderr) == (1, True)
    assert '+ description: "Looks up secrets."' in terminal(place, "mcp", "accept", "other", "--yes").stdout
    kinds = terminal(place, "audit", "list", "--kind", "tool.*", "--json").stdout
    assert kinds.count("tool.accepted") == 3
