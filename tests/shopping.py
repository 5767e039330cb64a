"""A shop with a bot, whose customers prove who they are by a code: for tests of all doors to its actions."""

from pathlib import Path
from typing import Any

from serving import Served

__all__ = ["BOT", "KEYED", "TOML", "Customer", "orders", "set_up"]

BOT = '''
from decimal import Decimal
from typing import Annotated, Any

from penstock.agents.actions import Context, Person, Text, action
from penstock.agents.scripted import Ability, Scripted, Slot
from penstock.agents.sign_in import Step
from penstock.errors import BadRequest

Number = Annotated[str, Text(pattern=r"#W\\d{3,7}")]


def order_of(context: Context, number: str) -> tuple[str, Decimal]:
    row = context.rows.execute(
        "select state, cents from orders where id = ? and customer = ? and tenant = ?",
        (number, context.person.id, context.person.tenant),
    ).fetchone()
    if row is None:
        raise BadRequest(f"you have no order {number}")
    return row[0], Decimal(row[1]) / 100


@action("reads", here=True, level="guest")
def opening_hours(context: Context) -> dict[str, Any]:
    """When the shop is open."""
    return {"opens": 9, "closes": 18}


@action("reads", here=True, level="identified")
def look_at_order(context: Context, order: Number) -> dict[str, Any]:
    """Look at the state of an order."""
    state, amount = order_of(context, order)
    return {"order": order, "state": state, "amount": amount}


def what_goes_back(context: Context, arguments: Any) -> dict[str, Any]:
    state, amount = order_of(context, arguments.order)
    if state != "paid":
        raise BadRequest(f"{arguments.order} is {state}")
    return {"amount": amount}


@action("writes", here=True, facts=what_goes_back, read_back="Cancel order {order}? {amount} EUR go back to you.")
def cancel_order(context: Context, order: Number) -> dict[str, Any]:
    """Cancel an order."""
    context.rows.execute("update orders set state = 'cancelled', times = times + 1 where id = ?", (order,))
    return {"order": order, "state": "cancelled"}


@action("reads", here=True, level="guest", roles=["staff"])
def all_orders(context: Context) -> dict[str, Any]:
    """How many orders there are."""
    return {"orders": context.rows.execute("select count(*) from orders").fetchone()[0]}


class ByCode:
    """Whoever says "code-anna" is Anna."""

    def begin(self, talk, level, said):
        return Step("What is your code?")

    def go_on(self, talk, said):
        if said.startswith("code-"):
            return Step("Thank you.", Person(said.removeprefix("code-"), "verified", tenant=talk.caller.tenant))
        return Step("What is your code?", heard=False)


def bot(house):
    with house.database.write() as w:
        w.execute(
            "create table if not exists orders"
            " (id text primary key, customer text, tenant text, state text, cents integer, times integer)"
        )
        for row in [
            ("#W123", "anna", "", "paid", 2599, 0), ("#W124", "anna", "", "paid", 300, 0), ("#W900", "bo", "", "paid", 7700, 0),
            ("#W500", "anna", "acme", "paid", 5025, 0),
        ]:
            w.execute("insert or ignore into orders values (?, ?, ?, ?, ?, ?)", row)
    return Scripted(
        [
            Ability(opening_hours, ["when are you open?"], "We are open from {opens} to {closes}."),
            Ability(look_at_order, ["where is my order?", "has my order been sent yet?"], "Order {order} is {state}.",
                    {"order": Slot("Which order?")}, "Where is my order?"),
            Ability(cancel_order, ["cancel my order", "I want to cancel order #W12"], "Order {order} is cancelled.",
                    {"order": Slot("Which order?")}, "Cancel an order"),
            Ability(all_orders, ["how many orders are there in all?"], "There are {orders} orders."),
        ],
        understand=understood, sign_in=ByCode(),
    )


def understood(talk, said, wanted):
    from penstock.agents.scripted import Wanted

    return [Wanted("cancel_order", {})] if "cancel" in said else [Wanted("look_at_order", {})] if "order" in said else []
'''
TOML = '[apps.shop]\nbot = "bot.py"\nact_as = ["backend"]\n'
KEYED = f"""{TOML}
[widgets.front]
app = "shop"
roles = ["backend"]
visitor_per_minute = 0
visits_per_minute = 0
[keys.boss]
key = "boss-key-0123456789"
admin = true
[keys.ada]
key = "ada-key-0123456789"
[keys.eve]
key = "eve-key-0123456789"
[keys.shopfront]
key = "shopfront-key-0123456789"
roles = ["backend"]
[keys.acme]
key = "acme-key-0123456789"
roles = ["backend"]
tenant = "acme"
[keys.clerk]
key = "clerk-key-0123456789"
roles = ["staff"]
[keys.locked]
key = "locked-key-0123456789"
models = ["nothing"]
"""


def set_up(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bot.py").write_text(BOT)
    return folder


def orders(served: Served) -> dict[str, tuple[str, int]]:
    rows = served.house.database.read("select id, state, times from orders")
    return {id_: (state, times) for id_, state, times in rows}


class Customer:
    """Somebody who talks to the bot over HTTP with a key."""

    def __init__(self, served: Served, name: str = "ada") -> None:
        self.client, self.conversation = served.client(f"{name}-key-0123456789"), ""

    def says(self, text: str) -> dict[str, Any]:
        about = {"conversation": self.conversation} if self.conversation else {}
        body = {"model": "shop", "messages": [{"role": "user", "content": text}], **about}
        answer = self.client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()["penstock"]
        self.conversation = told["conversation"]
        return told
