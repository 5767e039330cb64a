"""What an app can do, over HTTP: who may ask for what, whose requests are whose, and that nothing changes without an agreement."""

import concurrent.futures
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import jsonschema
import pytest
from serving import Served, serving
from shopping import KEYED, Customer, orders, set_up
from test_console import Visitor

ANNA = {"x-penstock-person": "anna", "x-penstock-level": "verified"}


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(set_up(tmp_path_factory.mktemp("shop")), KEYED, documents=False) as served:
        served.house.bot("shop")
        yield served


@pytest.fixture
def shop(open_shop: Served) -> Served:
    """The shop, with its orders as at first."""
    with open_shop.house.database.write() as w:
        w.execute("update orders set state = 'paid', times = 0")
    return open_shop


class Door:
    """A conversation as a program reaches its requests."""

    def __init__(self, served: Served, key: str, conversation: str = "", **headers: str) -> None:
        self.client = served.client(f"{key}-key-0123456789", **headers)
        self.path = f"/api/apps/shop/conversations/{conversation or secrets.token_hex(16)}/requests"

    def ask(self, action: str, key: str = "", **arguments: Any) -> httpx2.Response:
        headers = {"idempotency-key": key} if key else {}
        return self.client.post(self.path, json={"action": action, "arguments": arguments}, headers=headers)

    def do(self, what: str, number: str, **body: Any) -> httpx2.Response:
        return self.client.post(f"{self.path}/{number}/{what}", json=body)

    def listed(self) -> httpx2.Response:
        return self.client.get(self.path)


def acted(served: Served, key: str = "shopfront", **headers: str) -> Door:
    """A program that has logged Anna in itself."""
    return Door(served, key, **{**ANNA, **headers})


def signed_in(served: Served) -> tuple[Customer, Door]:
    """Somebody who signed in to the bot as Anna, and their conversation."""
    customer = Customer(served)
    customer.says("where is my order #W123?")
    customer.says("code-anna")
    return customer, Door(served, "ada", customer.conversation)


def told(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["message"]
    assert set(error) >= {"message", "type", "code", "hint", "retryable"}
    return error


# ---------------------------------------------------------------- what can be asked for


def test_a_guest_is_offered_what_is_for_guests_and_a_customer_what_is_for_customers(shop: Served):
    client = shop.client("ada-key-0123456789")
    names = [one["name"] for one in client.get("/api/apps/shop/actions").json()["actions"]]
    assert names == ["opening_hours"]

    customer, _ = signed_in(shop)
    found = client.get("/api/apps/shop/actions", params={"conversation": customer.conversation}).json()
    assert found["level"] == "verified"
    by_name = {one["name"]: one for one in found["actions"]}
    assert list(by_name) == ["opening_hours", "look_at_order", "cancel_order"]
    assert by_name["cancel_order"]["confirms"] is True
    jsonschema.validate({"order": "#W123"}, by_name["cancel_order"]["arguments"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"order": "123"}, by_name["cancel_order"]["arguments"])


def test_what_is_for_staff_is_offered_to_keys_with_the_role(shop: Served):
    names = [one["name"] for one in shop.client("clerk-key-0123456789").get("/api/apps/shop/actions").json()["actions"]]
    assert names == ["opening_hours", "all_orders"]


@pytest.mark.parametrize("app", ["nothing", "shop%00", "%2e%2e"])
def test_an_app_that_does_nothing_has_no_actions(shop: Served, app: str):
    assert shop.client("ada-key-0123456789").get(f"/api/apps/{app}/actions").status_code == 404


def test_a_key_for_other_models_finds_no_app(shop: Served):
    told(shop.client("locked-key-0123456789").get("/api/apps/shop/actions"), 404)


# ---------------------------------------------------------------- asked, read back, agreed


def test_a_change_is_made_once_the_person_agreed_to_what_was_read_back(shop: Served):
    door = acted(shop)

    asked = door.ask("cancel_order", order="#W123")
    assert asked.status_code == 202
    assert asked.json()["state"] == "proposed"
    number = asked.json()["id"]
    back = door.do("read-back", number).json()
    assert back["text"] == "Cancel order #W123? 25.99 EUR go back to you."
    assert orders(shop)["#W123"] == ("paid", 0)
    done = door.do("confirm", number, token=back["token"]).json()
    assert (done["state"], done["result"]) == ("done", {"order": "#W123", "state": "cancelled"})
    assert door.do("confirm", number, token=back["token"]).json() == done
    assert orders(shop)["#W123"] == ("cancelled", 1)
    assert [one["state"] for one in door.listed().json()["requests"]] == ["done"]


def test_what_only_reads_is_done_at_once(shop: Served):
    answer = acted(shop).ask("look_at_order", order="#W123")

    assert answer.status_code == 200
    assert answer.json()["result"] == {"order": "#W123", "state": "paid", "amount": "25.99"}


def test_no_list_and_no_request_has_a_token_in_it(shop: Served):
    door = acted(shop)
    number = door.ask("cancel_order", order="#W123").json()["id"]
    back = door.do("read-back", number).json()

    assert back["token"] not in door.listed().text
    assert "token" not in back["request"]


@pytest.mark.parametrize("token", ["", "x", "é" * 20, "x" * 5_000, 5, None, ["x"]])
def test_a_token_that_is_none_changes_nothing(shop: Served, token: Any):
    door = acted(shop)
    number = door.ask("cancel_order", order="#W123").json()["id"]
    door.do("read-back", number)

    assert door.do("confirm", number, token=token).status_code in (400, 403)
    assert orders(shop)["#W123"] == ("paid", 0)


def test_the_token_of_one_request_agrees_to_no_other(shop: Served):
    door = acted(shop)
    first = door.ask("cancel_order", order="#W123").json()["id"]
    token = door.do("read-back", first).json()["token"]
    second = door.ask("cancel_order", order="#W124").json()["id"]

    told(door.do("confirm", second, token=token), 403)
    assert door.do("confirm", first, token=token).json()["state"] == "withdrawn", "the second took its place"
    assert orders(shop)["#W123"] == orders(shop)["#W124"] == ("paid", 0)


def test_what_was_taken_back_cannot_be_agreed_to(shop: Served):
    door = acted(shop)
    number = door.ask("cancel_order", order="#W123").json()["id"]
    token = door.do("read-back", number).json()["token"]

    assert door.do("withdraw", number).json()["state"] == "withdrawn"
    assert door.do("withdraw", number).json()["state"] == "withdrawn"
    assert door.do("confirm", number, token=token).json()["state"] == "withdrawn"
    told(door.do("read-back", number), 409)
    assert orders(shop)["#W123"] == ("paid", 0)


def test_the_same_idempotency_key_is_the_same_request_and_for_something_else_a_conflict(shop: Served):
    door = acted(shop)
    first = door.ask("cancel_order", key="k1", order="#W123").json()

    assert door.ask("cancel_order", key="k1", order="#W123").json()["id"] == first["id"]
    assert told(door.ask("cancel_order", key="k1", order="#W124"), 409)["code"] == "conflict"


def test_twenty_clicks_at_once_cancel_once(shop: Served):
    door = acted(shop)
    number = door.ask("cancel_order", order="#W123").json()["id"]
    token = door.do("read-back", number).json()["token"]

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        states = list(pool.map(lambda _: door.do("confirm", number, token=token).json()["state"], range(20)))
    assert set(states) == {"done"}
    assert orders(shop)["#W123"] == ("cancelled", 1)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"action": 5}, 400),
        ({"action": "cancel_order", "arguments": []}, 400),
        ({"action": "cancel_order", "arguments": {}}, 400),
        ({"action": "cancel_order", "arguments": {"order": "#W123", "confirmed": True}}, 400),
        ({"action": "cancel_order", "arguments": {"order": "x" * 100_000}}, 400),
        ({"action": "confirm", "arguments": {}}, 404),
        ({"action": "all_orders", "arguments": {}}, 404),
    ],
)
def test_what_is_asked_for_wrongly_is_refused_in_the_houses_form(shop: Served, body: dict[str, Any], status: int):
    door = acted(shop)

    told(door.client.post(door.path, json=body), status)
    assert door.listed().json()["requests"] == []


def test_bodies_that_are_no_json_are_refused(shop: Served):
    door = acted(shop)
    for content in (b"", b"{", b"[]", b"\xff"):
        told(door.client.post(door.path, content=content), 400)


# ---------------------------------------------------------------- whose it is


def test_who_signed_in_to_the_bot_is_who_asks_in_that_conversation(shop: Served):
    customer, door = signed_in(shop)
    asked = customer.says("cancel order #W124")
    assert asked["text"].startswith("Cancel order #W124?")

    (waiting,) = [one for one in door.listed().json()["requests"] if one["state"] == "read_back"]
    back = door.do("read-back", waiting["id"]).json()
    assert door.do("confirm", waiting["id"], token=back["token"]).json()["state"] == "done"
    assert orders(shop)["#W124"] == ("cancelled", 1)
    assert door.ask("look_at_order", order="#W900").json()["state"] == "refused"


def test_another_keys_conversation_is_not_there(shop: Served):
    customer, own = signed_in(shop)
    customer.says("cancel order #W124")
    number = own.listed().json()["requests"][-1]["id"]
    token = own.do("read-back", number).json()["token"]

    for key in ("eve", "clerk", "boss", "acme"):
        eve = Door(shop, key, customer.conversation)
        told(eve.listed(), 404)
        told(eve.ask("cancel_order", order="#W124"), 404)
        told(eve.do("read-back", number), 404)
        told(eve.do("confirm", number, token=token), 404)
        told(eve.do("withdraw", number), 404)
        path = "/api/apps/shop/actions"
        told(eve.client.get(path, params={"conversation": customer.conversation}), 404)
    assert orders(shop)["#W124"] == ("paid", 0)


@pytest.mark.parametrize("conversation", ["f" * 32, "x", "F" * 32, "%2e%2e", "a" * 500])
def test_a_conversation_in_which_nothing_was_said_is_not_there(shop: Served, conversation: str):
    told(Door(shop, "ada", conversation).listed(), 404)


@pytest.mark.parametrize("key", ["ada", "boss", "clerk"])
def test_a_key_that_may_not_act_for_people_is_refused_when_it_names_one(shop: Served, key: str):
    error = told(Door(shop, key, **ANNA).ask("look_at_order", order="#W123"), 403)

    assert "act_as" in error["hint"]
    told(Door(shop, key, **{"x-penstock-level": "verified"}).listed(), 403)


@pytest.mark.parametrize(
    "headers",
    [{"x-penstock-level": "verified"}, {**ANNA, "x-penstock-level": "root"}, {**ANNA, "x-penstock-person": "a" * 300}],
)
def test_a_person_that_is_none_is_refused(shop: Served, headers: dict[str, str]):
    told(Door(shop, "shopfront", **headers).listed(), 400)


def test_a_program_acts_for_people_of_its_own_tenant_alone(shop: Served):
    acme = acted(shop, "acme")

    assert acme.ask("look_at_order", order="#W123").json()["state"] == "refused"
    assert acme.ask("look_at_order", order="#W500").json()["result"]["amount"] == "50.25"
    assert acted(shop).ask("look_at_order", order="#W500").json()["state"] == "refused"


def test_what_a_program_asks_for_one_person_is_not_there_for_another(shop: Served):
    door = acted(shop)
    number = door.ask("cancel_order", order="#W123").json()["id"]
    token = door.do("read-back", number).json()["token"]
    other = Door(shop, "shopfront", door.path.split("/")[5], **{**ANNA, "x-penstock-person": "bo"})

    assert other.listed().json()["requests"] == []
    told(other.do("confirm", number, token=token), 404)
    assert orders(shop)["#W123"] == ("paid", 0)


def test_an_identified_person_is_not_offered_what_is_for_verified_ones(shop: Served):
    door = acted(shop, **{"x-penstock-level": "identified"})

    assert door.ask("look_at_order", order="#W123").status_code == 200
    told(door.ask("cancel_order", order="#W123"), 403)


def test_nobody_without_a_key_reaches_anything(shop: Served):
    client = shop.client()

    told(client.get("/api/apps/shop/actions"), 401)
    told(client.post(f"/api/apps/shop/conversations/{'a' * 32}/requests", json={"action": "opening_hours"}), 401)


# ---------------------------------------------------------------- visitors of a widget


class Guest:
    """Somebody with the widget open, who talks to the bot."""

    def __init__(self, served: Served) -> None:
        self.client = served.client(origin=served.url, **{"sec-fetch-site": "same-origin"})
        visit = self.client.post("/widget/front/visit", json={}).raise_for_status().json()
        self.client.headers["x-penstock-visit"] = visit["token"]
        self.conversation = secrets.token_hex(16)

    def says(self, text: str) -> str:
        body = {"question": text, "conversation": self.conversation}
        answer = self.client.post("/widget/front/ask", json=body).raise_for_status()
        last = [line.removeprefix("data: ") for line in answer.text.splitlines() if line][-1]
        return "".join(piece.get("text", "") for piece in json.loads(last)["answer"]["pieces"])

    def get(self, conversation: str = "", **headers: str) -> httpx2.Response:
        path = f"/widget/front/conversations/{conversation or self.conversation}/requests"
        return self.client.get(path, headers=headers)

    def post(self, what: str, number: str, **body: Any) -> httpx2.Response:
        return self.client.post(f"/widget/front/conversations/{self.conversation}/requests/{number}/{what}", json=body)


def test_a_visitor_agrees_by_a_button_to_what_the_bot_asked(shop: Served):
    guest = Guest(shop)
    guest.says("cancel order #W123")
    assert guest.says("code-anna").endswith("Cancel order #W123? 25.99 EUR go back to you.")

    (waiting,) = guest.get().json()["requests"]
    token = guest.post("read-back", waiting["id"]).json()["token"]
    assert guest.post("confirm", waiting["id"], token=token).json()["state"] == "done"
    assert orders(shop)["#W123"] == ("cancelled", 1)


def test_a_visitor_reaches_neither_others_conversations_nor_people_by_naming_them(shop: Served):
    guest, eve = Guest(shop), Guest(shop)
    guest.says("cancel order #W123")
    guest.says("code-anna")
    (waiting,) = guest.get().json()["requests"]
    token = guest.post("read-back", waiting["id"]).json()["token"]

    told(eve.get(guest.conversation), 404)
    told(eve.get(guest.conversation, **ANNA), 404)
    told(eve.get("f" * 32, **ANNA), 404)
    eve.conversation = guest.conversation
    told(eve.post("confirm", waiting["id"], token=token), 404)
    told(shop.client().get(f"/widget/front/conversations/{guest.conversation}/requests"), 401)
    assert orders(shop)["#W123"] == ("paid", 0)


# ---------------------------------------------------------------- in the console


def test_the_console_lists_what_was_asked_for_without_words_and_writes_down_who_read_them(shop: Served):
    door = acted(shop)
    door.ask("look_at_order", order="#W123")
    number = door.ask("cancel_order", order="#W123").json()["id"]
    door.do("confirm", number, token=door.do("read-back", number).json()["token"])
    boss = Visitor(shop, "boss-key-0123456789")

    listed = boss.get("/console/apps/shop/actions")
    assert listed.status_code == 200
    assert "#W123" not in listed.text
    assert "anna" not in listed.text
    rows = boss.get("/console/apps/shop/actions?as=json").json()["requests"][:2]
    assert [(one["action"], one["state"], one["asked_by"], one["agreed"]) for one in rows] == [
        ("cancel_order", "done", "person", True),
        ("look_at_order", "done", "person", False),
    ]
    assert boss.get("/console/apps/shop/actions?as=csv").text.count("\n") > 2
    assert {one["state"] for one in boss.get("/console/apps/shop/actions?as=json&state=done").json()["requests"]} == {
        "done"
    }
    assert boss.get("/console/apps/shop/actions?as=json&state=expired").json()["requests"] == []
    assert boss.get("/console/apps/shop/actions?state=nonsense").status_code == 400

    one = boss.get(f"/console/apps/shop/actions/{number}")
    assert "Cancel order #W123? 25.99 EUR go back to you." in one.text
    steps = boss.get(f"/console/apps/shop/actions/{number}?as=json").json()["steps"]
    assert [(step["state"], step["by"]) for step in steps] == [
        ("proposed", "person"), ("read_back", "house"), ("confirmed", "person"), ("running", "house"), ("done", "house"),
    ]  # fmt: skip
    until = time.monotonic() + 10
    while time.monotonic() < until and not (read := _read(shop)):
        time.sleep(0.05)
    assert number in read
    assert boss.get("/console/apps/shop").text.count("/console/apps/shop/actions") == 1


def _read(served: Served) -> set[str]:
    return {one.target for one in served.house.audit.records() if one.kind == "journal.read"}


def test_only_admins_see_what_was_asked_for_and_those_of_a_tenant_only_its_own(shop: Served):
    number = acted(shop).ask("look_at_order", order="#W123").json()["id"]
    ada = Visitor(shop, "ada-key-0123456789")

    assert ada.get("/console/apps/shop/actions").status_code == 403
    key = shop.house.keys.create("acmes", admin=True, tenant="acme")[1]
    shop.house.keys.refresh()
    theirs = Visitor(shop, key)
    own = acted(shop, "acme").ask("look_at_order", order="#W500").json()["id"]
    listed = {one["id"] for one in theirs.get("/console/apps/shop/actions?as=json").json()["requests"]}
    assert own in listed
    assert number not in listed
    assert theirs.get(f"/console/apps/shop/actions/{number}").status_code == 404


@pytest.mark.parametrize("language", ["en", "de", "es", "fr", "ar", "zh"])
def test_the_pages_are_there_in_every_language(shop: Served, language: str):
    door = acted(shop)
    number = door.ask("cancel_order", order="#W123").json()["id"]
    boss = Visitor(shop, "boss-key-0123456789")

    assert boss.get(f"/console/apps/shop/actions?lang={language}").status_code == 200
    assert boss.get(f"/console/apps/shop/actions/{number}?lang={language}").status_code == 200
