"""A bot by the front door: over HTTP, whole and streamed, by the widget, from files that are wrong, with people behind it."""

import json
from pathlib import Path

import pytest
from serving import Served, serving

from penstock.assemble import House
from penstock.config import load
from penstock.errors import BadSetting

SHOP = '''
from decimal import Decimal
from typing import Annotated, Any, Literal

from penstock.agents.actions import Context, Text, action
from penstock.agents.scripted import Ability, Scripted, Slot
from penstock.errors import BadRequest

Number = Annotated[str, Text(pattern=r"#W\\d{3,7}")]


def order_of(context: Context, number: str) -> tuple[str, Decimal]:
    row = context.rows.execute("select state, cents from orders where id = ?", (number,)).fetchone()
    if row is None:
        raise BadRequest(f"there is no order {number}")
    return row[0], Decimal(row[1]).scaleb(-2)


@action("reads", here=True, level="guest")
def look_at_order(context: Context, order: Number) -> dict[str, Any]:
    """Look at the state of an order."""
    state, amount = order_of(context, order)
    return {"state": state, "amount": amount}


def what_goes_back(context: Context, arguments: Any) -> dict[str, Any]:
    state, amount = order_of(context, arguments.order)
    if state != "paid":
        raise BadRequest(f"{arguments.order} is {state}")
    return {"amount": amount}


@action("writes", here=True, facts=what_goes_back, level="guest",
        read_back="Cancel order {order}, because it is {reason}? {amount} EUR go back to you.")
def cancel_order(context: Context, order: Number, reason: Literal["too late", "not needed"]) -> dict[str, Any]:
    """Cancel an order."""
    context.rows.execute("update orders set state = 'cancelled', times = times + 1 where id = ?", (order,))
    return {"state": "cancelled"}


def bot(house):
    with house.database.write() as w:
        w.execute("create table if not exists orders (id text primary key, state text, cents integer, times integer)")
        for row in [("#W123", "paid", 2599, 0), ("#W124", "sent", 300, 0), ("#W125", "paid", 1000, 0)]:
            w.execute("insert or ignore into orders values (?, ?, ?, ?)", row)
    return Scripted([
        Ability(
            look_at_order, ["where is my order?", "what is the state of my order", "has my order been sent yet?", "track my parcel"],
            "Order {order} is {state}. It cost {amount} EUR.", {"order": Slot("What is the number of the order?")}, "Where is my order?",
        ),
        Ability(
            cancel_order, ["cancel my order", "I want to cancel order #W12", "stop my order, I do not need it", "I ordered by mistake"],
            "Order {order} is cancelled.", {"order": Slot("Which order?"), "reason": Slot("Why?")}, "Cancel an order",
        ),
    ])
'''
TOML = '[apps.shop]\nbot = "bot.py"\n'


class Customer:
    """Somebody who talks to a bot over HTTP."""

    def __init__(self, served: Served, app: str = "shop", key: str = "") -> None:
        self.client, self.app, self.conversation = served.client(key), app, ""

    def says(self, text: str, **more: object) -> dict:
        about = {"conversation": self.conversation} if self.conversation else {}
        body = {"model": self.app, "messages": [{"role": "user", "content": text}], **about, **more}
        answer = self.client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        told = answer.json()["penstock"]
        self.conversation = told["conversation"]
        return told


def orders(served: Served) -> dict[str, tuple[str, int]]:
    return {id_: (state, times) for id_, state, times in served.house.database.read("select id, state, times from orders")}


@pytest.fixture
def shop(tmp_path: Path):
    (tmp_path / "bot.py").write_text(SHOP)
    with serving(tmp_path, TOML, documents=False) as served:
        yield served


def test_a_customer_cancels_an_order_over_http(shop: Served):
    anna = Customer(shop)

    assert anna.says("hello")["quick_replies"] == ["Where is my order?", "Cancel an order"]
    asked = anna.says("I want to cancel #W123")
    assert asked["quick_replies"] == ["too late", "not needed"]
    shown = anna.says("not needed")
    assert "25.99 EUR go back" in shown["text"]
    assert orders(shop)["#W123"] == ("paid", 0)
    assert "#W123 is cancelled" in anna.says("Yes")["text"]
    assert orders(shop)["#W123"] == ("cancelled", 1)
    anna.says("yes")
    assert orders(shop)["#W123"] == ("cancelled", 1)
    assert anna.says("that's all, thanks")["over"]


def test_the_answer_is_streamed_as_it_is_whole(shop: Served):
    body = {"model": "shop", "messages": [{"role": "user", "content": "where is order #W124?"}], "stream": True}
    lines = shop.client().post("/v1/chat/completions", json=body).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    told = next(chunk["penstock"] for chunk in chunks if "penstock" in chunk)

    assert text == told["text"]
    assert text.startswith("Order #W124 is sent. It cost 3.00 EUR.")
    assert told["citations"][0]["quote"] == "order: #W124; state: sent; amount: 3.00."
    assert told["citations"][0]["date"].startswith("20")
    assert len(told["conversation"]) == 32


def test_the_same_message_sent_again_is_the_same_reply_and_does_nothing_twice(shop: Served):
    anna = Customer(shop)
    anna.says("I want to cancel #W123, it is not needed")
    first = anna.says("yes", message="m2")
    again = anna.says("yes", message="m2")

    assert first == again
    assert orders(shop)["#W123"] == ("cancelled", 1)
    body = {"model": "shop", "messages": [{"role": "user", "content": "no"}], "conversation": anna.conversation, "message": "m2"}
    assert anna.client.post("/v1/chat/completions", json=body).status_code == 409


def test_a_changed_row_is_told_first_with_its_time(shop: Served):
    anna = Customer(shop)
    anna.says("where is order #W125?")
    with shop.house.database.write() as w:
        w.execute("update orders set cents = 1250 where id = '#W125'")
    told = anna.says("thanks")

    assert told["text"].startswith("As of ")
    assert "amount is now 12.50; it was 10.00" in told["text"].split("\n")[0]
    assert "now" not in anna.says("thanks")["text"]


def test_what_the_conversation_changed_itself_is_no_news(shop: Served):
    anna = Customer(shop)
    anna.says("where is order #W123?")
    anna.says("cancel order #W123, it is not needed")
    anna.says("yes")

    assert "As of" not in anna.says("thanks")["text"]


def test_a_message_is_text_of_a_reasonable_length(shop: Served):
    post = shop.client().post

    for text in ("x" * 1_000_000, "", "   "):
        answer = post("/v1/chat/completions", json={"model": "shop", "messages": [{"role": "user", "content": text}]})
        assert answer.status_code == 400, text[:10]
    for wrong in ("abc", "G" * 32, 7, ["a"], {"id": 3}):
        body = {"model": "shop", "messages": [{"role": "user", "content": "hi"}], "conversation": wrong}
        assert post("/v1/chat/completions", json=body).status_code == 400, wrong


def test_other_dialects_hold_the_same_conversation(shop: Served):
    client = shop.client()
    number = "a" * 32
    said = client.post("/v1/responses", json={"model": "shop", "input": "where is order #W124?", "conversation": number})
    assert "#W124 is sent" in json.dumps(said.json())
    assert said.headers["x-penstock-conversation"] == number
    said = client.post(
        "/v1/messages",
        json={"model": "shop", "max_tokens": 100, "messages": [{"role": "user", "content": "please cancel it"}], "conversation": number},
    )
    assert said.json()["content"][0]["text"] == "Why?"
