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
    return row[0], Decimal(row[1]) / 100


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
