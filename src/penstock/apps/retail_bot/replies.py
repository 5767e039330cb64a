"""What the bot says of orders, products and rules. Each reply carries the rows that its numbers come from."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from penstock.agents.talks import Reply, Row

from .addresses import shown_address
from .desk import Desk, method_called
from .planning import Note, original_method
from .rules import called
from .shop import Customer, Order, Product, Variant

__all__ = [
    "ARTICLES",
    "account_row",
    "joined",
    "note_text",
    "order_cost",
    "order_line",
    "order_row",
    "order_text",
    "product_row",
    "product_text",
    "variant_text",
]

MOST_VARIANTS: Final = 6  # that are told of one product

# What is asked of the articles, where a rule refuses something: the answer's source is cited.
ARTICLES: Final = {
    "part_of_order": "Can I cancel one item of an order?",
    "not_pending": "Until when can an order be changed or cancelled?",
    "not_delivered": "When can I return something?",
    "not_in_stock": "What can I do when something is out of stock?",
    "method": "Where does my refund go?",
    "lost": "What happens when a parcel is lost?",
}  # fmt: skip


# ---------------------------------------------------------------- rows


def order_row(desk: Desk, customer: Customer, order: Order) -> Row:
    methods = {
        one.id: method_called(one, desk.policy.currency) for one in customer.payment_methods if one.kind != "gift_card"
    }
    values = {
        "number": order.number,
        "status": order.status,
        "items": [called(item) for item in order.items],
        "prices": [item.price for item in order.items],
        "total": order.total,
        "paid": order.paid,
        "address": shown_address(order.address),
        "tracking": list(order.tracking),
        "placed": order.placed,
        "delivered": order.delivered,
        "paid_with": methods.get(original_method(order), "gift card"),
    }
    return Row(f"orders/{order.number}", values, f"order {order.number}", time.time())


def product_row(product: Product, currency: str) -> Row:
    there = [one for one in product.variants if one.stock > 0]
    values = {
        "name": product.name, "variants": len(product.variants), "in stock": len(there),
        "each": [f"{variant_text(one)}: {one.price:.2f} {currency}, {one.stock} in stock" for one in product.variants],
        "from": min((one.price for one in product.variants), default=Decimal(0)),
        "to": max((one.price for one in product.variants), default=Decimal(0)),
    }  # fmt: skip
    return Row(f"products/{product.id}", values, product.name, time.time())


def account_row(desk: Desk, customer: Customer) -> Row:
    values = {
        "name": f"{customer.first_name} {customer.last_name}", "address": shown_address(customer.address), "email": customer.email,
        "ways to pay": [method_called(one, desk.policy.currency) for one in customer.payment_methods],
    }  # fmt: skip
    return Row("account", values, "your account", time.time())


# ---------------------------------------------------------------- texts


def order_text(row: Row, currency: str) -> str:
    values = row.values
    items = "; ".join(
        f"{item}, {price:.2f} {currency}" for item, price in zip(values["items"], values["prices"], strict=True)
    )
    parts = [
        f"Order {values['number']} is {values['status']}: {items}. Total {values['total']:.2f} "
        f"{currency}, paid by {values['paid_with']}."
    ]
    if values["placed"]:
        parts.append(f"Placed on {values['placed']}.")
    if values["delivered"]:
        parts.append(f"Delivered on {values['delivered']}.")
    numbers = ", ".join(values["tracking"])
    parts.append(f"Tracking number: {numbers}." if numbers else "It has no tracking number yet.")
    parts.append(f"It goes to {values['address']}.")
    return " ".join(parts)


def order_cost(row: Row, currency: str) -> str:
    """The total first, then what it is made of."""
    values = row.values
    each = [f"{item}, {price:.2f} {currency}" for item, price in zip(values["items"], values["prices"], strict=True)]
    made_of = "; ".join(each) if len(each) > 1 else values["items"][0] if each else "nothing"
    back = values["total"] - values["paid"]
    given = f" {back:.2f} {currency} of it went back to you." if back > 0 else ""
    cost = f"Order {values['number']} cost {values['total']:.2f} {currency}: {made_of}."
    return f"{cost} It was paid by {values['paid_with']}.{given}"


def order_line(row: Row, currency: str) -> str:
    values = row.values
    day = f", delivered on {values['delivered']}" if values["delivered"] else f", {values['status']}"
    numbers = (
        f", tracking number {', '.join(values['tracking'])}" if values["tracking"] and not values["delivered"] else ""
    )
    return f"- {values['number']}{day}{numbers}: {'; '.join(values['items'])}. {values['total']:.2f} {currency}."


def variant_text(variant: Variant) -> str:
    return ", ".join(f"{name} {value}" for name, value in variant.options.items()) or variant.id


def product_text(product: Product, row: Row, variants: Sequence[Variant], currency: str, first: str = "") -> str:
    """Of a product: how many variants there are, and those that were asked for. first: what is said before."""
    head = (f"{first} " if first else "") + (
        f"{product.name}: {row.values['variants']} variants, {row.values['in stock']} of them in stock, "
        f"from {row.values['from']:.2f} to {row.values['to']:.2f} {currency}."
    )
    lines = [
        f"- {variant_text(one)}: {one.price:.2f} {currency}, {f'{one.stock} in stock' if one.stock else 'out of stock'}"
        for one in variants[:MOST_VARIANTS]
    ]
    return "\n".join([head, *lines])


def note_text(note: Note, desk: Desk, customer: Customer, orders: Iterable[Order]) -> str:
    """What cannot be done, under which rule, and what can."""
    order = next((one for one in orders if one.number == note.order), None)
    names = " and ".join(dict.fromkeys(note.items)) or "that"
    match note.rule:
        case "part_of_order":
            return (
                f"I cannot cancel {names} alone: only a whole order can be cancelled. I can cancel all of order "
                f"{note.order}, or change "
                "an item to another variant of the same product."
            )
        case "not_pending" if order is not None and order.status == "pending (items modified)":
            return (
                f"The items of order {note.order} were changed, and after that it cannot be cancelled, nor they changed again. "
                "Once it was delivered you can return them."
            )
        case "not_pending":
            state = f"order {note.order} is {order.status}" if order else "none of your orders is pending"
            return f"That can be done with pending orders only, and {state}."
        case "not_delivered":
            state = f"order {note.order} is {order.status}" if order else "I find no such delivered order"
            can = (
                " A pending order can be cancelled, or its items changed."
                if order and order.status == "pending"
                else ""
            )
            return f"Only what was delivered can be returned or exchanged, and {state}.{can}"
        case "not_in_stock":
            product = next(
                (one for one in desk.shop.products() if any(variant.id in note.choices for variant in one.variants)),
                None,
            )
            near = [one for one in product.variants if one.id in note.choices][:3] if product else []
            others = "; ".join(f"{variant_text(one)} for {one.price:.2f} {desk.policy.currency}" for one in near)
            return f"There is no {names} like that in stock.{f' Closest are: {others}.' if others else ''}"
        case "method":
            may = [
                method_called(one, desk.policy.currency) for one in customer.payment_methods if one.id in note.choices
            ]
            return (
                f"For order {note.order} that way to pay is not possible: a refund goes to what was paid with, "
                f"or to a gift card. I can take {' or '.join(may) or 'none of yours'}."
            )
        case "lost":
            return (
                f"What is lost cannot be sent back, so I cannot take {names} back or send another one. A person "
                f"can look into a lost parcel."
            )
        case _:
            return "I do not find that among your orders."


def joined(replies: Sequence[Reply]) -> Reply:
    """Several replies as one."""
    rows = {row.source: row for reply in replies for row in reply.rows}
    return Reply(
        "\n\n".join(reply.text for reply in replies if reply.text),
        tuple(one for reply in replies for one in reply.quick_replies)[:6],
        tuple(rows.values()),
        next((reply.answer for reply in replies if reply.answer), None),
        fixed=tuple(one for reply in replies for one in reply.fixed),
    )
