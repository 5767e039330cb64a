"""A little shop for tests of bots: orders in a table, one action that reads and two that write."""

import secrets
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from penstock.agents.actions import Action, Actions, Context, Level, Person, Text, action
from penstock.agents.requests import ActionRequests
from penstock.agents.scripted import Ability, Scripted, Slot
from penstock.agents.sign_in import SignIn
from penstock.agents.talks import Reply, Talk
from penstock.errors import BadRequest
from penstock.storage.database import Database
from penstock.types import Answer

Number = Annotated[str, Text(pattern=r"#W\d{3,7}")]
GUEST = Person()
ROWS = [("#W123", "paid", 2599, 0), ("#W124", "sent", 300, 0), ("#W125", "paid", 1000, 0)]


def order_of(context: Context, number: str) -> tuple[str, Decimal]:
    row = context.rows.execute("select state, cents from orders where id = ?", (number,)).fetchone()
    if row is None:
        raise BadRequest(f"there is no order {number}")
    return row[0], Decimal(row[1]).scaleb(-2)


def actions(level: Level = "guest") -> list[Action]:
    @action("reads", here=True, level=level)
    def look_at_order(context: Context, order: Number) -> dict[str, Any]:
        """Look at the state of an order."""
        state, amount = order_of(context, order)
        return {"state": state, "amount": amount}

    def what_goes_back(context: Context, arguments: Any) -> dict[str, Any]:
        state, amount = order_of(context, arguments.order)
        if state != "paid":
            raise BadRequest(f"{arguments.order} is {state}")
        return {"amount": amount}

    @action(
        "writes", here=True, facts=what_goes_back, level=level,
        read_back="Cancel order {order}, because it is {reason}? {amount} EUR go back to you.",
    )  # fmt: skip
    def cancel_order(context: Context, order: Number, reason: Literal["too late", "not needed"]) -> dict[str, Any]:
        """Cancel an order."""
        context.rows.execute("update orders set state = 'cancelled', times = times + 1 where id = ?", (order,))
        return {"state": "cancelled"}

    @action("writes", here=True, level=level, read_back="Send order {order} to {street}?")
    def change_street(context: Context, order: Number, street: str) -> dict[str, Any]:
        """Send an order to another street."""
        context.rows.execute("update orders set street = ?, moved = moved + 1 where id = ?", (street, order))
        return {}

    return [look_at_order, cancel_order, change_street]


def bot(*, level: Level = "guest", sign_in: SignIn | None = None) -> Scripted:
    look, cancel, move = actions(level)
    number = Slot("What is the number of the order?")
    return Scripted(
        [
            Ability(
                look,
                ["where is my order?", "what is the state of my order", "has my order been sent yet?", "track my parcel"],
                "Order {order} is {state}. It cost {amount} EUR.", {"order": number}, "Where is my order?",
            ),
            Ability(
                cancel,
                ["cancel my order", "I want to cancel order #W12", "stop my order, I do not need it", "I ordered by mistake"],
                "Order {order} is cancelled.", {"order": number, "reason": Slot("Why?")}, "Cancel an order",
            ),
            Ability(
                move,
                ["send my order to another street", "change the address of my order", "I have moved, deliver it elsewhere"],
                "It goes to {street}.", {"order": number, "street": Slot("Which street?")}, "Change the street",
            ),
        ],
        sign_in=sign_in,
    )  # fmt: skip


def filled(database: Database) -> Database:
    with database.write() as w:
        w.execute(
            "create table if not exists orders (id text primary key, state text, cents integer, times integer,"
            " street text default 'Old Road', moved integer default 0)"
        )
        w.executemany("insert or ignore into orders (id, state, cents, times) values (?, ?, ?, ?)", ROWS)
    return database


class Played:
    """A conversation with a bot, without a server."""

    def __init__(self, folder: Path, bot: Scripted, *, person: Person = GUEST, people: bool = True) -> None:
        self.database = filled(Database(folder / "penstock.db"))
        self.requests = ActionRequests(self.database, Actions(bot.actions))
        self.bot, self.people = bot, people
        self.ask: Callable[[str], Answer] | None = None
        self.begin(person)

    def begin(self, person: Person = GUEST) -> None:
        self.talk = Talk(secrets.token_hex(16), "shop", self.requests, person, people=self.people)

    def says(self, text: str) -> Reply:
        self.talk.key, self.talk.ask = secrets.token_hex(8), self.ask
        return self.bot.reply(self.talk, text)

    def all(self, *texts: str) -> Reply:
        for text in texts:
            reply = self.says(text)
        return reply

    def order(self, number: str) -> tuple[str, int]:
        return tuple(self.database.read("select state, times from orders where id = ?", (number,))[0])

    def street(self, number: str) -> str:
        return self.database.read("select street from orders where id = ?", (number,))[0][0]
