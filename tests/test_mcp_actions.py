"""An app's actions as tools, asked by the official SDK over HTTP and standard input: a person agrees, and no model can."""

import asyncio
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
import jsonschema
import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from serving import Served, serving
from shopping import KEYED, TOML, orders, set_up

from penstock.server.mcp import PATH
from penstock.server.mcp_actions import CALL, OUT

Mode = Literal["legacy", "auto"]
ANNA = {"x-penstock-person": "anna", "x-penstock-level": "verified"}
CANCEL = {"order": "#W123"}


class Asked:
    """A person in front of a client, who says the same to all they are asked."""

    def __init__(self, action: Literal["accept", "decline", "cancel"] = "accept", content: Any = None) -> None:
        self.questions: list[str] = []
        self.answer = types.ElicitResult(action=action, content={"agree": True} if content is None else content)

    async def __call__(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        self.questions.append(params.message)
        return self.answer


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(set_up(tmp_path_factory.mktemp("shop")), KEYED, documents=False) as served:
        served.house.bot("shop")
        yield served


@pytest.fixture
def shop(open_shop: Served) -> Served:
    with open_shop.house.database.write() as w:
        w.execute("update orders set state = 'paid', times = 0")
    return open_shop


@asynccontextmanager
async def client(
    served: Served, key: str, person: Asked | None = None, *, mode: Mode = "auto", app: str = "shop", **headers: str
) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {key}-key-0123456789", **headers}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(
            streamable_http_client(f"{served.url}{PATH}?app={app}", http_client=http),
            mode=mode,
            cache=None,
            elicitation_callback=person,
        ) as made,
    ):
        yield made


def over_http(
    served: Served,
    work: Callable[[Client], Awaitable[Any]],
    key: str = "shopfront",
    person: Asked | None = None,
    **more: Any,
) -> Any:
    async def done() -> Any:
        headers = {} if "headers" in more else ANNA
        options = {name: value for name, value in more.items() if name != "headers"}
        async with client(served, key, person, **headers, **more.get("headers", {}), **options) as made:
            return await work(made)

    return asyncio.run(done())


def call(name: str, arguments: dict[str, Any], **more: Any) -> Callable[[Client], Awaitable[types.CallToolResult]]:
    async def called(made: Client) -> types.CallToolResult:
        return await made.call_tool(name, arguments, **more)

    return called


def fits(result: types.CallToolResult) -> dict[str, Any]:
    jsonschema.validate(result.structured_content, OUT)
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    assert json.loads(block.text) == result.structured_content
    found: dict[str, Any] = result.structured_content
    return found


# ---------------------------------------------------------------- over HTTP


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_an_apps_actions_are_tools_beside_the_others_and_none_can_agree(shop: Served, mode: Mode):
    tools = over_http(shop, lambda made: made.list_tools(), mode=mode).tools

    marks = {tool.name: tool.annotations for tool in tools}
    assert list(marks) == ["search", "ask", "verify", "opening_hours", "look_at_order", "cancel_order"]
    assert marks["look_at_order"].read_only_hint is True
    assert (marks["cancel_order"].read_only_hint, marks["cancel_order"].destructive_hint) == (False, True)
    (cancel,) = [tool for tool in tools if tool.name == "cancel_order"]
    assert "a person has to agree" in cancel.description
    assert not any("confirm" in tool.name or "token" in json.dumps(tool.input_schema) for tool in tools)


def test_without_an_app_there_are_no_actions(shop: Served):
    async def work() -> list[str]:
        headers = {"authorization": "Bearer shopfront-key-0123456789", **ANNA}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            Client(streamable_http_client(shop.url + PATH, http_client=http), cache=None) as made,
        ):
            with pytest.raises(MCPError):
                await made.call_tool("cancel_order", CANCEL)
            return [tool.name for tool in (await made.list_tools()).tools]

    assert asyncio.run(work()) == ["search", "ask", "verify"]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_what_reads_is_done_at_once(shop: Served, mode: Mode):
    told = fits(over_http(shop, call("look_at_order", CANCEL), mode=mode))

    assert (told["state"], told["result"]) == ("done", {"order": "#W123", "state": "paid", "amount": "25.99"})


def test_a_person_whose_client_asks_them_agrees_and_it_is_done_once(shop: Served):
    person = Asked()

    told = fits(over_http(shop, call("cancel_order", CANCEL), person=person))

    assert person.questions == ["Cancel order #W123? 25.99 EUR go back to you."]
    assert (told["state"], told["result"]["state"]) == ("done", "cancelled")
    assert orders(shop)["#W123"] == ("cancelled", 1)


@pytest.mark.parametrize(
    ("person", "state"),
    [
        (Asked("decline"), "withdrawn"),
        (Asked("accept", {"agree": False}), "withdrawn"),
        (Asked("accept", {}), "withdrawn"),
        (Asked("cancel"), "read_back"),
    ],
)
def test_a_person_who_does_not_agree_is_heard(shop: Served, person: Asked, state: str):
    told = fits(over_http(shop, call("cancel_order", CANCEL), person=person))

    assert told["state"] == state
    assert told["next"]
    assert orders(shop)["#W123"] == ("paid", 0)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_where_the_client_cannot_ask_the_result_says_how_a_person_agrees(shop: Served, mode: Mode):
    told = fits(over_http(shop, call("cancel_order", CANCEL), mode=mode))

    assert told["state"] == "proposed"
    assert f"penstock actions confirm {told['id']}" in told["next"]
    assert "Nothing has been done" in told["next"]
    assert orders(shop)["#W123"] == ("paid", 0)


def test_over_http_an_older_client_that_could_ask_has_no_way_to_and_is_told_the_other(shop: Served):
    told = fits(over_http(shop, call("cancel_order", CANCEL), person=Asked(), mode="legacy"))

    assert told["state"] == "proposed"


def test_the_token_reaches_nobody_who_reads_results(shop: Served):
    async def work(made: Client) -> list[str]:
        shown = await made.session.call_tool("cancel_order", CANCEL, allow_input_required=True)
        assert isinstance(shown, types.InputRequiredResult)
        number = shop.house.requests_of("shop").latest(limit=1)[0].id
        assert number not in shown.model_dump_json(), "what travels is sealed"
        return [shown.request_state or ""]

    (state,) = over_http(shop, work, person=Asked())
    assert len(state) > 100


def test_a_hostile_client_gets_nothing_done_by_answers_that_nobody_was_asked_for(shop: Served):
    accept: Any = {"agree": types.ElicitResult(action="accept", content={"agree": True})}

    async def work(made: Client) -> None:
        first = await made.session.call_tool("cancel_order", CANCEL, input_responses=accept, allow_input_required=True)
        assert isinstance(first, types.InputRequiredResult), "an answer without a question is none"
        state = first.request_state or ""
        for wrong in (state[:-4] + "AAAA", "x", "", f"{state}x"):
            with pytest.raises(MCPError):
                await made.session.call_tool("cancel_order", CANCEL, input_responses=accept, request_state=wrong)
        with pytest.raises(MCPError):  # it is for another call
            await made.session.call_tool(
                "cancel_order", {"order": "#W124"}, input_responses=accept, request_state=state
            )
        with pytest.raises(MCPError):
            await made.session.call_tool("look_at_order", CANCEL, input_responses=accept, request_state=state)
        async with client(shop, "eve", Asked()) as eve:
            with pytest.raises(MCPError):  # it is another's
                await eve.session.call_tool("cancel_order", CANCEL, input_responses=accept, request_state=state)
        async with client(shop, "shopfront", Asked(), **{**ANNA, "x-penstock-person": "bo"}) as bo:
            other = await bo.session.call_tool("cancel_order", CANCEL, input_responses=accept, request_state=state)
            assert isinstance(other, types.CallToolResult)
            assert other.is_error, "it is for another person"
        assert orders(shop)["#W123"] == orders(shop)["#W124"] == ("paid", 0)
        done = await made.session.call_tool("cancel_order", CANCEL, input_responses=accept, request_state=state)
        again = await made.session.call_tool("cancel_order", CANCEL, input_responses=accept, request_state=state)
        assert isinstance(done, types.CallToolResult)
        assert isinstance(again, types.CallToolResult)
        assert done.structured_content == again.structured_content

    over_http(shop, work, person=Asked())
    assert orders(shop)["#W123"] == ("cancelled", 1)


def test_a_question_that_was_put_before_is_void_once_another_is_asked(shop: Served):
    accept: Any = {"agree": types.ElicitResult(action="accept", content={"agree": True})}

    async def work(made: Client) -> str:
        first = await made.session.call_tool("cancel_order", CANCEL, allow_input_required=True)
        await made.session.call_tool("cancel_order", {"order": "#W124"}, allow_input_required=True)
        assert isinstance(first, types.InputRequiredResult)
        late = await made.session.call_tool(
            "cancel_order", CANCEL, input_responses=accept, request_state=first.request_state
        )
        assert isinstance(late, types.CallToolResult)
        return str(fits(late)["state"])

    assert over_http(shop, work, person=Asked()) == "withdrawn"
    assert orders(shop)["#W123"] == orders(shop)["#W124"] == ("paid", 0)


def test_the_same_call_twice_is_one_request_where_the_client_names_it(shop: Served):
    async def work(made: Client) -> list[str]:
        meta: Any = {CALL: "toolu_1"}
        found = [fits(await made.call_tool("cancel_order", CANCEL, meta=meta))["id"] for _ in range(3)]
        other = await made.call_tool("cancel_order", {"order": "#W124"}, meta=meta)
        assert other.is_error, "the same name for something else"
        return found

    assert len(set(over_http(shop, work))) == 1


def test_a_call_that_does_not_fit_is_an_error_that_the_model_can_read(shop: Served):
    async def work(made: Client) -> None:
        for name, arguments in (
            ("cancel_order", {}),
            ("cancel_order", {"order": "123"}),
            ("cancel_order", {"order": "#W123", "agree": True}),
            ("cancel_order", {"order": "#W900"}),
            ("look_at_order", {"order": "#W900"}),
            ("all_orders", {}),
            ("confirm", {"id": "x"}),
            ("penstock actions confirm", {}),
        ):
            result = await made.call_tool(name, arguments)
            assert result.is_error, name
            (block,) = result.content
            assert isinstance(block, types.TextContent)
            assert "77.00" not in block.text

    over_http(shop, work, person=Asked())
    assert {state for state, _ in orders(shop).values()} == {"paid"}


def test_a_key_acts_for_nobody_unless_the_settings_say_so(shop: Served):
    async def names(made: Client) -> list[str]:
        return [tool.name for tool in (await made.list_tools()).tools][3:]

    assert over_http(shop, names, "ada", headers={}) == ["opening_hours"]
    assert over_http(shop, names, "clerk", headers={}) == ["opening_hours", "all_orders"]
    for key in ("ada", "boss", "clerk", "eve"):
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        accepts = {"accept": "application/json, text/event-stream"}
        answer = shop.client(f"{key}-key-0123456789", **ANNA, **accepts).post(f"{PATH}?app=shop", json=body)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "not_allowed"


def test_another_tenants_orders_are_not_there(shop: Served):
    told = over_http(shop, call("look_at_order", CANCEL), "acme")
    assert told.is_error
    assert "you have no order #W123" in told.content[0].text
    assert fits(over_http(shop, call("look_at_order", {"order": "#W500"}), "acme"))["result"]["amount"] == "50.25"


def test_an_app_that_does_nothing_is_not_served(shop: Served):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = shop.client("ada-key-0123456789").post(f"{PATH}?app=nothing", json=body)
    assert answer.status_code == 404


# ---------------------------------------------------------------- over standard input


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (set_up(tmp_path) / "penstock.toml").write_text(TOML)
    return tmp_path


def piped(place: Path, *more: str) -> StdioServerParameters:
    environment = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    person = more or ("--person", "anna", "--level", "verified")
    arguments = ["-m", "penstock", "--config", str(place / "penstock.toml"), "mcp", "serve", "--app", "shop", *person]
    return StdioServerParameters(command=sys.executable, args=arguments, env=environment, cwd=place)


def terminal(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock", "--config", str(place / "penstock.toml"), *arguments]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def at_a_terminal(place: Path, said: str, *arguments: str) -> str:
    """What a program shows to somebody who sits at a terminal and types that."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "penstock", "--config", str(place / "penstock.toml"), *arguments]
    process = subprocess.Popen(command, cwd=place, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    os.close(theirs)
    time.sleep(0.1)
    os.write(ours, said.encode())
    out, _ = process.communicate(timeout=120)
    os.close(ours)
    return out.decode()


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_over_standard_input_the_person_is_asked_by_clients_old_and_new(place: Path, mode: Mode):
    person = Asked()

    async def work() -> dict[str, Any]:
        async with Client(piped(place), mode=mode, cache=None, elicitation_callback=person) as made:
            found = fits(await made.call_tool("cancel_order", CANCEL))
            again = fits(await made.call_tool("look_at_order", CANCEL))
            assert again["result"]["state"] == "cancelled"
            return found

    assert asyncio.run(work())["state"] == "done"
    assert person.questions == ["Cancel order #W123? 25.99 EUR go back to you."]


def test_a_person_agrees_at_the_terminal_and_no_program_in_their_place(place: Path):
    async def work() -> dict[str, Any]:
        async with Client(piped(place), cache=None) as made:
            return fits(await made.call_tool("cancel_order", CANCEL))

    asked = asyncio.run(work())
    assert asked["state"] == "proposed"
    refused = terminal(place, "actions", "confirm", asked["id"])
    assert refused.returncode != 0
    assert "only a person at a terminal" in refused.stderr

    shown = at_a_terminal(place, "y\n", "actions", "confirm", asked["id"])
    assert "Cancel order #W123? 25.99 EUR go back to you." in shown
    assert "done" in shown
    rows = json.loads(terminal(place, "actions", "list", "shop", "--json").stdout)
    assert [(row["action"], row["state"], row["agreed"]) for row in rows] == [("cancel_order", "done", True)]
    steps = json.loads(terminal(place, "actions", "show", asked["id"], "--json").stdout)["steps"]
    assert [step["state"] for step in steps][-1] == "done"
    assert "action.confirmed" in terminal(place, "audit", "list").stdout


def test_a_person_who_says_no_at_the_terminal_takes_it_back(place: Path):
    async def work() -> str:
        async with Client(piped(place), cache=None) as made:
            return str(fits(await made.call_tool("cancel_order", CANCEL))["id"])

    number = asyncio.run(work())
    assert "taken back" in at_a_terminal(place, "n\n", "actions", "confirm", number)
    assert "withdrawn" in terminal(place, "actions", "list", "shop").stdout
    assert terminal(place, "actions", "confirm", "nonsense").returncode != 0


def test_a_guest_over_standard_input_has_what_is_for_guests(place: Path):
    async def work() -> list[str]:
        async with Client(piped(place, "--person", ""), cache=None) as made:
            return [tool.name for tool in (await made.list_tools()).tools][3:]

    assert asyncio.run(work()) == ["opening_hours"]


@pytest.mark.parametrize("more", [("--app", "nothing"), ("--app", "shop", "--level", "root"), ()])
def test_what_cannot_be_served_is_told_at_the_start(place: Path, more: tuple[str, ...]):
    ended = terminal(place, "mcp", "serve", *more)
    assert ended.returncode != 0
    assert ended.stderr
    assert "Traceback" not in ended.stderr
