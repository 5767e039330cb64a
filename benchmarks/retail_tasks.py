"""Claim: with no language model, the retail bot leaves the database of at least 40 % of the shared retail tasks as it should be.

Customers are played by a script that is made of a task's text alone: who they are, what they want, and what they say when they
are asked. The bot is talked to through the front door. What the database should be in the end comes from a reference that carries
out the expected calls on a fresh copy; the two are compared whole.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
import re
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from penstock.agents.states import Step
from penstock.agents.tries import Tries
from penstock.answer import whole as whole_answer
from penstock.apps.retail_bot.abilities import RetailBot
from penstock.apps.retail_bot.desk import LONGEST_SAID, Desk
from penstock.apps.retail_bot.rules import Policy
from penstock.apps.retail_bot.shop import Address, Customer, Item, Order, Payment, PaymentMethod, Product, Variant
from penstock.apps.retail_bot.sign_in import CustomerSignIn
from penstock.assemble import House
from penstock.config import load
from penstock.errors import BadRequest, NotFound
from penstock.types import Turn

REASONS = ("no longer needed", "ordered by mistake")


# ---------------------------------------------------------------- the database and its tools


class Database:
    """The tasks' database and what their tools do to it, as the policy and the tools of the benchmark have it."""

    def __init__(self, whole: Mapping[str, Any]) -> None:
        self.products: dict[str, Any] = whole["products"]  # nobody changes them
        self.users: dict[str, Any] = copy.deepcopy(whole["users"])
        self.orders: dict[str, Any] = copy.deepcopy(whole["orders"])

    def same_as(self, other: Database) -> bool:
        return self.users == other.users and self.orders == other.orders

    def _order(self, number: str, *states: str) -> dict[str, Any]:
        order: dict[str, Any] | None = self.orders.get(number)
        if order is None:
            raise BadRequest(f"there is no order {number}")
        if order["status"] not in states:
            raise BadRequest(f"order {number} is {order['status']}")
        return order

    def _method(self, user: str, method: str) -> dict[str, Any]:
        found: dict[str, Any] | None = self.users[user]["payment_methods"].get(method)
        if found is None:
            raise BadRequest(f"there is no way to pay {method}")
        return found

    def cancel_pending_order(self, order_id: str, reason: str) -> None:
        order = self._order(order_id, "pending")
        if reason not in REASONS:
            raise BadRequest("that is no reason for which an order can be cancelled")
        refunds = []
        for payment in order["payment_history"]:
            method = self._method(order["user_id"], payment["payment_method_id"])
            refunds.append(
                {"transaction_type": "refund", "amount": payment["amount"], "payment_method_id": method["id"]}
            )
            if method["source"] == "gift_card":
                method["balance"] = round(method["balance"] + payment["amount"], 2)
        order |= {"status": "cancelled", "cancel_reason": reason}
        order["payment_history"] += refunds

    def _difference(
        self, order: Mapping[str, Any], item_ids: Sequence[str], new_item_ids: Sequence[str], method: Mapping[str, Any]
    ) -> float:
        bought = [item["item_id"] for item in order["items"]]
        if (
            not item_ids
            or len(item_ids) != len(new_item_ids)
            or any(item_ids.count(one) > bought.count(one) for one in item_ids)
        ):
            raise BadRequest("these items are not in the order, or not all have a new one")
        difference = 0.0
        for old, new in zip(item_ids, new_item_ids, strict=True):
            item = next(item for item in order["items"] if item["item_id"] == old)
            variant = self.products[item["product_id"]]["variants"].get(new)
            if variant is None or not variant["available"]:
                raise BadRequest(f"{new} is not available")
            difference += variant["price"] - item["price"]
        if method["source"] == "gift_card" and method["balance"] < difference:
            raise BadRequest("the gift card has too little on it")
        return round(difference, 2)

    def exchange_delivered_order_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> None:
        order = self._order(order_id, "delivered")
        method = self._method(order["user_id"], payment_method_id)
        difference = self._difference(order, item_ids, new_item_ids, method)
        order |= {
            "status": "exchange requested", "exchange_items": sorted(item_ids), "exchange_new_items": sorted(new_item_ids),
            "exchange_payment_method_id": payment_method_id, "exchange_price_difference": difference,
        }  # fmt: skip

    def modify_pending_order_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> None:
        order = self._order(order_id, "pending")
        method = self._method(order["user_id"], payment_method_id)
        difference = self._difference(order, item_ids, new_item_ids, method)
        order["payment_history"].append(
            {
                "transaction_type": "payment" if difference > 0 else "refund", "amount": abs(difference),
                "payment_method_id": payment_method_id,
            }
        )  # fmt: skip
        if method["source"] == "gift_card":
            method["balance"] = round(method["balance"] - difference, 2)
        for old, new in zip(item_ids, new_item_ids, strict=True):
            item = next(item for item in order["items"] if item["item_id"] == old)
            variant = self.products[item["product_id"]]["variants"][new]
            item |= {"item_id": new, "price": variant["price"], "options": variant["options"]}
        order["status"] = "pending (item modified)"

    def modify_pending_order_address(
        self, order_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str  # noqa: A002
    ) -> None:  # fmt: skip
        order = self._order(order_id, "pending", "pending (item modified)")
        order["address"] = {
            "address1": address1, "address2": address2, "city": city, "state": state, "country": country, "zip": zip,
        }  # fmt: skip

    def modify_user_address(
        self, user_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str  # noqa: A002
    ) -> None:  # fmt: skip
        self.users[user_id]["address"] = {
            "address1": address1, "address2": address2, "city": city, "state": state, "country": country, "zip": zip,
        }  # fmt: skip

    def modify_pending_order_payment(self, order_id: str, payment_method_id: str) -> None:
        order = self._order(order_id, "pending", "pending (item modified)")
        method = self._method(order["user_id"], payment_method_id)
        if len(order["payment_history"]) != 1 or order["payment_history"][0]["payment_method_id"] == payment_method_id:
            raise BadRequest("the payment cannot be changed")
        old = self._method(order["user_id"], order["payment_history"][0]["payment_method_id"])
        amount = order["payment_history"][0]["amount"]
        if method["source"] == "gift_card" and method["balance"] < amount:
            raise BadRequest("the gift card has too little on it")
        order["payment_history"] += [
            {"transaction_type": "payment", "amount": amount, "payment_method_id": method["id"]},
            {"transaction_type": "refund", "amount": amount, "payment_method_id": old["id"]},
        ]
        if method["source"] == "gift_card":
            method["balance"] = round(method["balance"] - amount, 2)
        if old["source"] == "gift_card":
            old["balance"] = round(old["balance"] + amount, 2)

    def return_delivered_order_items(self, order_id: str, item_ids: list[str], payment_method_id: str) -> None:
        order = self._order(order_id, "delivered")
        method = self._method(order["user_id"], payment_method_id)
        if method["source"] != "gift_card" and payment_method_id != order["payment_history"][0]["payment_method_id"]:
            raise BadRequest("a refund goes to a gift card, or to what was paid with")
        bought = [item["item_id"] for item in order["items"]]
        if not item_ids or any(item_ids.count(one) > bought.count(one) for one in item_ids):
            raise BadRequest("these items are not in the order")
        order |= {
            "status": "return requested",
            "return_items": sorted(item_ids),
            "return_payment_method_id": payment_method_id,
        }


WRITES = frozenset(
    {
        "cancel_pending_order", "exchange_delivered_order_items", "modify_pending_order_items", "modify_pending_order_address",
        "modify_user_address", "modify_pending_order_payment", "return_delivered_order_items",
    }
)  # fmt: skip


def expected_end(whole: Mapping[str, Any], task: Mapping[str, Any]) -> Database:
    """The database after the calls that a task expects. One that is refused changes nothing."""
    database = Database(whole)
    for call in task["evaluation_criteria"].get("actions") or []:
        if call["name"] in WRITES:
            try:
                getattr(database, call["name"])(**call["arguments"])
            except BadRequest:
                continue
    return database


class Tau2Shop:
    """Satisfies `Shop`: the tasks' database behind the bot's adapter. What begins a change counts it, for the duplicates."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.writes: list[tuple[str, str]] = []  # key, tool
        self._done: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._products = tuple(map(_product, database.products.values()))

    def products(self) -> Sequence[Product]:
        return self._products

    def product(self, number: str) -> Product | None:
        return next((one for one in self._products if one.id == number), None)

    def customer(self, number: str) -> Customer | None:
        with self._lock:
            found = self.database.users.get(number)
            return _customer(found) if found else None

    def by_email(self, email: str) -> Customer | None:
        with self._lock:
            return next(
                (_customer(one) for one in self.database.users.values() if one["email"].lower() == email.lower()), None
            )

    def by_name(self, first_name: str, last_name: str, postcode: str) -> Customer | None:
        wanted = (first_name.lower(), last_name.lower(), postcode)
        with self._lock:
            found = [
                one for one in self.database.users.values()
                if (one["name"]["first_name"].lower(), one["name"]["last_name"].lower(), one["address"]["zip"]) == wanted
            ]  # fmt: skip
        return _customer(found[0]) if len(found) == 1 else None

    def orders(self, customer: str) -> Sequence[Order]:
        with self._lock:
            user = self.database.users.get(customer)
            return tuple(_order(self.database.orders[number]) for number in reversed(user["orders"])) if user else ()

    def _once(self, key: str, customer: str, order: str, tool: str, **arguments: Any) -> None:
        with self._lock:
            if key in self._done:
                return
            if order and self.database.orders.get(order, {}).get("user_id") != customer:
                raise NotFound(f"there is no order {order}")
            getattr(self.database, tool)(**arguments)
            self._done[key] = {"order": order} if order else {"customer": customer}
            self.writes.append((key, tool))

    def _mine(self, customer: str, order: str) -> Order:
        return next(one for one in self.orders(customer) if one.number == order)

    def cancel(self, key: str, customer: str, order: str, reason: str) -> Order:
        self._once(key, customer, order, "cancel_pending_order", order_id=order, reason=reason)
        return self._mine(customer, order)

    def change_items(
        self, key: str, customer: str, order: str, changes: Sequence[tuple[str, str]], method: str
    ) -> Order:
        old, new = [one for one, _ in changes], [one for _, one in changes]
        self._once(
            key,
            customer,
            order,
            "modify_pending_order_items",
            order_id=order,
            item_ids=old,
            new_item_ids=new,
            payment_method_id=method,
        )
        return self._mine(customer, order)

    def exchange(self, key: str, customer: str, order: str, changes: Sequence[tuple[str, str]], method: str) -> Order:
        old, new = [one for one, _ in changes], [one for _, one in changes]
        self._once(
            key, customer, order, "exchange_delivered_order_items", order_id=order, item_ids=old, new_item_ids=new,
            payment_method_id=method,
        )  # fmt: skip
        return self._mine(customer, order)

    def change_address(self, key: str, customer: str, order: str, address: Address) -> Order:
        self._once(key, customer, order, "modify_pending_order_address", order_id=order, **_written(address))
        return self._mine(customer, order)

    def change_payment(self, key: str, customer: str, order: str, method: str) -> Order:
        self._once(key, customer, order, "modify_pending_order_payment", order_id=order, payment_method_id=method)
        return self._mine(customer, order)

    def give_back(self, key: str, customer: str, order: str, variants: Sequence[str], method: str) -> Order:
        self._once(
            key,
            customer,
            order,
            "return_delivered_order_items",
            order_id=order,
            item_ids=list(variants),
            payment_method_id=method,
        )
        return self._mine(customer, order)

    def move(self, key: str, customer: str, address: Address) -> Customer:
        self._once(key, customer, "", "modify_user_address", user_id=customer, **_written(address))
        found = self.customer(customer)
        assert found is not None
        return found

    def done(self, key: str) -> Any | None:
        with self._lock:
            return self._done.get(key)


def _written(address: Address) -> dict[str, str]:
    return {
        "address1": address.line1, "address2": address.line2, "city": address.city, "state": address.region,
        "country": address.country, "zip": address.postcode,
    }  # fmt: skip


def _money(amount: float) -> Decimal:
    return Decimal(str(amount)).quantize(Decimal("0.01"))


def _address(row: Mapping[str, str]) -> Address:
    return Address(row["address1"], row["address2"], row["city"], row["state"], row["zip"], row["country"])


def _product(row: Mapping[str, Any]) -> Product:
    variants = [
        Variant(one["item_id"], one["options"], _money(one["price"]), int(one["available"]))
        for one in row["variants"].values()
    ]
    return Product(row["product_id"], row["name"], tuple(variants))


def _customer(row: Mapping[str, Any]) -> Customer:
    methods = [
        PaymentMethod(
            one["id"], one["source"], one.get("brand", ""), one.get("last_four", ""),
            _money(one["balance"]) if "balance" in one else None,
        )
        for one in row["payment_methods"].values()
    ]  # fmt: skip
    name = row["name"]
    return Customer(
        row["user_id"], name["first_name"], name["last_name"], row["email"], _address(row["address"]), tuple(methods)
    )


def _order(row: Mapping[str, Any]) -> Order:
    items = [
        Item(one["item_id"], one["product_id"], one["name"], one["options"], _money(one["price"]))
        for one in row["items"]
    ]
    payments = [
        Payment(_money(one["amount"]) * (1 if one["transaction_type"] == "payment" else -1), one["payment_method_id"])
        for one in row["payment_history"]
    ]
    tracking = tuple(number for one in row["fulfillments"] for number in one["tracking_id"])
    status: Any = "pending (items modified)" if row["status"] == "pending (item modified)" else row["status"]
    return Order(
        row["order_id"], row["user_id"], status, tuple(items), _address(row["address"]), tuple(payments), tracking
    )


# ---------------------------------------------------------------- a customer, made of a task's text


SHOPS: dict[str, Tau2Shop] = {}  # by the folder of the house that serves it
POLICY = Policy(return_days=None, reasons=REASONS, countries=(), refunds_anywhere=True, currency="USD")
MOST_TURNS = 30


def bot(folder: str, house: House) -> RetailBot:
    """The bot over a task's shop. As the benchmark's policy wants it, an e-mail address or a name and postcode is enough."""
    shop = SHOPS[folder]
    sign_in = CustomerSignIn(shop, Tries(house.database, lambda: house.envelope.secret("", "sign-in")), codes=None)
    return RetailBot(Desk(shop, POLICY, changes="identified", moves="identified"), sign_in)


def as_said(text: str) -> str:
    """Instructions to a player in the words of who is played: you want -> I want."""
    for pattern, said in (
        (r"\b[Yy]ou are\b", "I am"), (r"\b[Yy]ou're\b", "I'm"), (r"\b[Yy]ou've\b", "I've"), (r"\b[Yy]ou'd\b", "I'd"),
        (r"\b[Yy]ou'll\b", "I'll"), (r"\b[Yy]ours\b", "mine"), (r"\b[Yy]ourself\b", "myself"), (r"\b[Yy]our\b", "my"),
        (r"\b[Yy]ou\b", "I"), (r"\b[Tt]he agent(?:'s)?\b", "you"),
    ):  # fmt: skip
        text = re.sub(pattern, said, text)
    return text.strip(" .")


def sentences(text: str) -> list[str]:
    return [one.strip() for one in re.split(r"(?<=[.!?])\s+|\n+", text or "") if one.strip(" .")]


_SECRET = re.compile(r"(?:do not|don't|won't) (?:reveal|share|tell|mention)", re.I)
_WHEN_ASKED = re.compile(
    r"^(?:but |and |however,? )*if (?:the )?(?:agent|you are|you're|asked|customer "
    r"service)[^,]*\b(?:ask|propose|suggest|offer|want|confirm|request)",
    re.I,
)
_ABOUT_TALKING = re.compile(
    r"^(?:make sure (?:that )?you (?:mention|say|tell)|you (?:like|prefer) to (?:say|do)|you are (?:a )?(?:polite|brief|rude))",
    re.I,
)


class Player:
    """A customer who reads their instructions and nothing else. They say their reason, introduce themselves when asked, answer a
    question with the sentence of their instructions that has most to do with it, and agree to what is read back, unless the
    instructions say what to do instead."""

    def __init__(self, instructions: Mapping[str, str | None]) -> None:
        reason = instructions.get("reason_for_call") or ""
        reason = re.sub(r"[^.()]*\((?:please )?(?:do not|don't) (?:reveal|share)[^()]*\)[^.]*\.?", "", reason)
        reason = re.sub(r"\([^()]*(?:do not|don't) (?:reveal|share)[^()]*\)", "", reason)
        said = sentences(reason)
        style = sentences(instructions.get("task_instructions") or "")
        more = sentences(instructions.get("unknown_info") or "")
        self.known = as_said(instructions.get("known_info") or "")
        self.reactions = [one for one in (*said, *style, *more) if _WHEN_ASKED.search(one)]
        opening = [one for one in said if one not in self.reactions and not _ABOUT_TALKING.search(one)]
        self.opening = ". ".join(as_said(one) for one in opening)
        asides = [
            one
            for one in style
            if re.search(r"\b(?:want|prefer|if|refund|pay|order|cancel)\b", one, re.I) and one not in self.reactions
        ]
        self.material = [as_said(one) for one in (*said, *asides, *sentences(instructions.get("known_info") or ""))]
        self.wrong_first = re.search(r"say (?:that )?it is (\d{5})", " ".join(style))
        self.used: set[str] = set()
        self.told = 0

    def replies(self, bot_said: str, choices: Sequence[str]) -> str:
        """What they say to that; "" where there is nothing left to say."""
        line = bot_said.lower()
        if not self.told:
            self.told = 1
            return self.opening
        if re.search(r"your postcode|first and last name", line):
            return self._introduction()
        if set(choices) >= {"Yes", "No"}:
            return self._agrees(bot_said)
        if "reason" in line or line.rstrip().endswith("why?") or "why do you cancel" in line:
            return self._reason(choices)
        if re.search(r"way to pay|ways to pay|refund go|be paid\?", line):
            return self._pays(choices)
        if "new address" in line:
            return self._address()
        if re.search(r"which (?:order )?do you mean|which one do you mean", line):
            return self._which(bot_said, choices)
        if re.search(r"shall .* become", line):
            return self._about(bot_said) or ""
        if choices and choices[0].startswith("Cancel order"):
            return self._part(choices)
        return ""

    def _introduction(self) -> str:
        if self.wrong_first and "wrong" not in self.used:
            self.used.add("wrong")
            return re.sub(r"\b\d{5}\b", self.wrong_first[1], self.known)
        return self.known

    def _agrees(self, read_back: str) -> str:
        for one in self.reactions:
            if re.search(r"confirm", one, re.I) and one not in self.used:
                self.used.add(one)
                _, _, then = one.partition(",")
                also = re.search(r"\bbecause (.*)|\b(?:also|instead)\b.*", then)
                return as_said((also[1] or also[0]) if also else then)
        return "Yes"

    def _reason(self, choices: Sequence[str]) -> str:
        whole = " ".join(self.material).lower()
        if re.search(r"mistake|accident", whole):
            return next((one for one in choices if "mistake" in one), "by mistake")
        return next((one for one in choices if "longer" in one), "no longer needed")

    def _pays(self, choices: Sequence[str]) -> str:
        fitting = [
            one
            for one in (*map(as_said, self.reactions), *self.material)
            if re.search(r"pay|refund|card|original|gc\b|payment", one, re.I)
        ]
        fitting = [
            one for one in fitting if re.search(r"paypal|card|original|gc\b", one, re.I) and one not in self.used
        ]
        if fitting:
            self.used.add(fitting[0])
            return fitting[0]
        if "original" not in self.used:
            self.used.add("original")
            return "The original payment method"
        return choices[0] if choices else ""

    def _address(self) -> str:
        fitting = [
            one for one in self.material if re.search(r"\d+ [A-Z]\w+ (?:St|Ave|Road|Drive|Lane|Street|Blvd|Way)", one)
        ]
        if fitting:
            return fitting[0]
        parts = [part for one in self.material for part in re.split(r",\s*and\s+|;\s*|\band\b", one)]
        wanted = {
            word for one in self.material if "address" in one.lower() for word in re.findall(r"[a-z]{4,}", one.lower())
        }
        place = [part for part in parts if re.search(r"\b(?:live|lives|living|home|place|house)\b", part)]
        ranked = sorted(
            place,
            key=lambda part: (
                -len((wanted - {"address", "want", "change", "order"}) & set(re.findall(r"[a-z]{4,}", part.lower())))
            ),
        )
        return ranked[0].strip() if ranked else self.known

    def _about(self, question: str, *, least: int = 1) -> str:
        """The sentence that shares most words with a question, those kept for when they are asked first."""
        asked = set(re.findall(r"[a-z]{4,}", question.lower()))
        best, most = "", least - 1
        for one in (*self.reactions, *self.material):
            if one in self.used:
                continue
            common = len(asked & set(re.findall(r"[a-z]{4,}", one.lower())))
            if common > most:
                best, most = one, common
        if best:
            self.used.add(best)
        if best in self.reactions:
            best = best.partition(",")[2] or best
        return as_said(best)

    def _which(self, question: str, choices: Sequence[str]) -> str:
        reaction = next((one for one in self.reactions if re.search(r"which", one, re.I) and one not in self.used), "")
        if reaction:
            self.used.add(reaction)
            return as_said(reaction.partition(",")[2])
        return self._about(question) or (choices[0] if choices else "")

    def _part(self, choices: Sequence[str]) -> str:
        """An item alone cannot be cancelled: the whole order only where the instructions say so."""
        whole = " ".join(self.material).lower()
        if re.search(r"(?:whole|entire|full) order", whole) and not re.search(
            r"(?:not|never|only)\b[^.]{0,60}(?:whole|entire|order)", whole
        ):
            return choices[0]
        return "Leave it"


# ---------------------------------------------------------------- a task


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one task. breaches: writes that nobody had agreed to, that were made twice, or that broke a rule."""

    task: str
    right: bool
    turns: int
    seconds: list[float]
    breaches: list[str]
    talk: list[tuple[str, str]]


def play(whole: Mapping[str, Any], task: Mapping[str, Any], folder: Path) -> Result:
    """One task from its first word to the last, by the front door of a house of its own."""
    database = Database(whole)
    shop = Tau2Shop(database)
    SHOPS[str(folder)] = shop
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "penstock.toml").write_text('home = "home"\n[apps.tasks]\nbot = "bot.py"\n')
    (folder / "bot.py").write_text(
        f"from benchmarks.retail_tasks import bot as made\n\n\ndef bot(house):\n    return made({str(folder)!r}, house)\n"
    )
    house = House(load(folder / "penstock.toml"))
    try:
        turns, seconds = asyncio.run(_talk(house, Player(task["user_scenario"]["instructions"])))
        log = house.requests_of("tasks").steps()
        breaches = _breaches(shop, log)
    finally:
        house.close()
        SHOPS.pop(str(folder), None)
    return Result(str(task["id"]), database.same_as(expected_end(whole, task)), len(turns), seconds, breaches, turns)


async def _talk(house: House, player: Player) -> tuple[list[tuple[str, str]], list[float]]:
    answerer = house.answerer("tasks")
    conversation, said = secrets.token_hex(16), player.replies("", ())
    turns: list[tuple[str, str]] = []
    seconds: list[float] = []
    while said and len(turns) < MOST_TURNS:
        started = time.perf_counter()
        answer = await whole_answer(answerer.stream(Turn(said[:LONGEST_SAID], conversation=conversation)))
        seconds.append(time.perf_counter() - started)
        turns.append((said, answer.text))
        if answer.over:
            break
        said = player.replies(answer.text, answer.quick_replies)
    return turns, seconds


def _breaches(shop: Tau2Shop, log: Sequence[Step]) -> list[str]:
    """Every write of the shop belongs to a request that was read back and confirmed, and to one alone."""
    found = []
    agreed = Counter(step.request for step in log if step.state == "confirmed" and step.by == "person")
    ran = {step.request for step in log if step.state == "done"}
    writes = len(shop.writes)
    if writes != len({key for key, _ in shop.writes}):
        found.append("a change was made twice")
    if writes > sum(agreed[one] for one in ran):
        found.append("a change was made without agreement")
    if any(count > 1 for count in agreed.values()):
        found.append("one request was agreed to twice")
    return found


# ---------------------------------------------------------------- all of them


GATE = 0.4
SEED = 8  # by which the half is drawn on which the bot was developed


def halves(count: int) -> tuple[set[int], set[int]]:
    """Places of the tasks that were read while the bot was written, and of those of which only the figure was looked at."""
    places = list(range(count))
    random.Random(SEED).shuffle(places)
    return set(places[: count // 2]), set(places[count // 2 :])


def figures(results: Sequence[Result]) -> dict[str, Any]:
    right = sum(one.right for one in results)
    seconds = sorted(
        second for one in results for second in one.seconds[1:]
    )  # the first loads what every process loads once
    return {
        "tasks": len(results), "right": right, "share": round(right / len(results), 3) if results else 0.0,
        "breaches": sum(len(one.breaches) for one in results), "messages": sum(one.turns for one in results),
        "p50_s": round(seconds[len(seconds) // 2], 3) if seconds else 0.0,
        "p95_s": round(seconds[int(len(seconds) * 0.95)], 3) if seconds else 0.0,
    }  # fmt: skip


def main() -> None:
    import argparse
    import tempfile

    from benchmarks import measure

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with tau2_retail_db.json and the tasks")
    parser.add_argument("--tasks", default="tau2_retail_tasks_dev.json", help="file of tasks in that folder")
    parser.add_argument("--talks", type=Path, help="where the conversations are written to")
    asked = parser.parse_args()
    whole = json.loads((asked.data / "tau2_retail_db.json").read_text("utf-8"))
    tasks = json.loads((asked.data / asked.tasks).read_text("utf-8"))
    started = measure.commit()
    results: dict[int, Result] = {}
    with tempfile.TemporaryDirectory() as folder:
        for place, task in enumerate(tasks):
            results[place] = play(whole, task, Path(folder) / str(place))
            print(
                f"{place + 1} of {len(tasks)}: {sum(one.right for one in results.values())} right",
                file=sys.stderr,
                flush=True,
            )
    if asked.talks:
        asked.talks.write_text(json.dumps({one.task: one.talk for one in results.values()}, indent=1), "utf-8")
    found: dict[str, Any] = {"all": figures(list(results.values()))}
    if asked.tasks == "tau2_retail_tasks_dev.json":
        read, unread = halves(len(tasks))
        found["developed on"] = figures([one for place, one in results.items() if place in read])
        found["not looked at"] = figures([one for place, one in results.items() if place in unread])
    found["wrong"] = sorted((one.task for one in results.values() if not one.right), key=int)
    print(json.dumps(found, indent=1))
    command = f"python -m benchmarks.retail_tasks --data DATA --tasks {asked.tasks}"
    measure.write("retail_tasks", claim=__doc__, command=command, figures=found, commit_measured=started)
    bad = found["all"]["share"] < GATE or found["all"]["breaches"]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    from benchmarks.retail_tasks import (
        main as run,
    )  # the module that the bots' files import, and not this one beside it

    run()
