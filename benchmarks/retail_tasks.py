"""Claim: with no language model, the retail bot leaves the database of at least 40 % of the shared retail tasks as it should be.

Customers are played by a script that is made of a task's text alone: who they are, what they want, and what they say when they
are asked. The bot is talked to through the front door. What the database should be in the end comes from a reference that carries
out the expected calls on a fresh copy; the two are compared whole. `python -m benchmarks.retail_tasks --data ../shared/data/apps/retail_bot`
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from penstock.apps.retail_bot.shop import Address, Customer, Item, Order, Payment, PaymentMethod, Product, Variant
from penstock.errors import BadRequest

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
            refunds.append({"transaction_type": "refund", "amount": payment["amount"], "payment_method_id": method["id"]})
            if method["source"] == "gift_card":
                method["balance"] = round(method["balance"] + payment["amount"], 2)
        order |= {"status": "cancelled", "cancel_reason": reason}
        order["payment_history"] += refunds

    def _difference(
        self, order: Mapping[str, Any], item_ids: Sequence[str], new_item_ids: Sequence[str], method: Mapping[str, Any]
    ) -> float:
        bought = [item["item_id"] for item in order["items"]]
        if not item_ids or len(item_ids) != len(new_item_ids) or any(item_ids.count(one) > bought.count(one) for one in item_ids):
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
        order |= {"status": "return requested", "return_items": sorted(item_ids), "return_payment_method_id": payment_method_id}


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

    def product(self, id: str) -> Product | None:  # noqa: A002
        return next((one for one in self._products if one.id == id), None)

    def customer(self, id: str) -> Customer | None:  # noqa: A002
        with self._lock:
            found = self.database.users.get(id)
            return _customer(found) if found else None

    def by_email(self, email: str) -> Customer | None:
        with self._lock:
            return next((_customer(one) for one in self.database.users.values() if one["email"].lower() == email.lower()), None)

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
                raise BadRequest(f"there is no order {order}")
            getattr(self.database, tool)(**arguments)
            self._done[key] = {"order": order} if order else {"customer": customer}
            self.writes.append((key, tool))

    def _mine(self, customer: str, order: str) -> Order:
        return next(one for one in self.orders(customer) if one.number == order)

    def cancel(self, key: str, customer: str, order: str, reason: str) -> Order:
        self._once(key, customer, order, "cancel_pending_order", order_id=order, reason=reason)
        return self._mine(customer, order)

    def change_items(self, key: str, customer: str, order: str, changes: Sequence[tuple[str, str]], method: str) -> Order:
        old, new = [one for one, _ in changes], [one for _, one in changes]
        self._once(
            key, customer, order, "modify_pending_order_items", order_id=order, item_ids=old, new_item_ids=new, payment_method_id=method
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
            key, customer, order, "return_delivered_order_items", order_id=order, item_ids=list(variants), payment_method_id=method
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
    variants = [Variant(one["item_id"], one["options"], _money(one["price"]), int(one["available"])) for one in row["variants"].values()]
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
    return Customer(row["user_id"], name["first_name"], name["last_name"], row["email"], _address(row["address"]), tuple(methods))


def _order(row: Mapping[str, Any]) -> Order:
    items = [Item(one["item_id"], one["product_id"], one["name"], one["options"], _money(one["price"])) for one in row["items"]]
    payments = [
        Payment(_money(one["amount"]) * (1 if one["transaction_type"] == "payment" else -1), one["payment_method_id"])
        for one in row["payment_history"]
    ]
    tracking = tuple(number for one in row["fulfillments"] for number in one["tracking_id"])
    status = "pending (items modified)" if row["status"] == "pending (item modified)" else row["status"]
    return Order(row["order_id"], row["user_id"], status, tuple(items), _address(row["address"]), tuple(payments), tracking)
