"""Simulated customers of a shop: what they want of its bot, drawn from its own data by a seed, and whether they got it.

Whether a goal was reached is looked up in the shop, and never believed because the bot said so. No order is in two goals, so that
hundreds can talk at once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from penstock.support.goals import Fact, Goal
from penstock.support.hostile import Account
from penstock.support.simulator import Simulated

from . import rules
from .rules import OURS, Policy
from .shop import Address, Customer, Item, Order, PaymentMethod, Product, Shop, Variant

__all__ = ["KINDS", "account", "drawn_goals"]

Codes = Callable[[str], str]  # e-mail address -> the code that was sent there last
MONEY: Final = r"(?<![\d.,]){}(?![\d])"
STATES: Final = {
    "pending": r"pending|not (?:yet )?(?:been )?(?:sent|packed|shipped)|being prepared",
    "pending (items modified)": r"pending|modified",
    "processed": r"processed|on (?:its|the) way|packed|shipped|sent",
    "delivered": r"delivered",
    "cancelled": r"cancell?ed",
    "return requested": r"return",
    "returned": r"returned",
    "exchange requested": r"exchange",
    "exchanged": r"exchanged",
}
STREETS: Final = ("Harbour Lane", "Mill Street", "Orchard Road", "Station Road", "Castle Street", "Bridge Street")
TOWNS: Final = (("Leeds", "LS1 4AP"), ("Bristol", "BS1 5TR"), ("Exeter", "EX4 3SB"), ("York", "YO1 7HH"))


def drawn_goals(
    shop: Shop, customers: Iterable[str], n: int, *, seed: int = 0, today: date, codes: Codes, kinds: Sequence[str] = (),
    policy: Policy = OURS,
) -> list[Goal]:  # fmt: skip
    """So many goals, each kind as often as the others as far as the shop has what it takes. customers: their numbers.

    codes: looks up what was sent to an e-mail address, as its owner would.
    """
    drawn = random.Random(f"goals:{seed}")  # noqa: S311
    people = [one for number in customers if (one := shop.customer(number)) is not None]
    drawn.shuffle(people)
    source = _Source(shop, people, drawn, today, codes, policy)
    makers = {kind: KINDS[kind](source) for kind in kinds or KINDS}
    found: list[Goal] = []
    while makers and len(found) < n:
        for kind in list(makers):
            goal = next(makers[kind], None)
            if goal is None:
                del makers[kind]
            elif len(found) < n:
                found.append(replace(goal, id=f"{kind}-{len(found) + 1}", intent=kind))
    return found


class _Source:
    """What goals are drawn from. Whose order is in a goal is in no other, so that no two conversations move the same money."""

    def __init__(
        self, shop: Shop, people: Sequence[Customer], drawn: random.Random, today: date, codes: Codes, policy: Policy
    ) -> None:  # fmt: skip
        self.shop, self.people, self.drawn, self.today, self.codes, self.policy = (
            shop,
            people,
            drawn,
            today,
            codes,
            policy,
        )
        self.products = {one.id: one for one in shop.products()}
        self.taken: set[str] = set()

    def orders(
        self, *statuses: str, fits: Callable[[Order], bool] = lambda order: True
    ) -> Iterator[tuple[Customer, Order]]:
        """A customer who is in no goal yet, and an order of theirs in one of these states."""
        for customer in self.people:
            if customer.id in self.taken:
                continue
            fitting = [one for one in self.shop.orders(customer.id) if one.status in statuses and fits(one)]
            if fitting:
                self.taken.add(customer.id)
                yield customer, self.drawn.choice(fitting)

    def in_time(self) -> Iterator[tuple[Customer, Order]]:
        """Delivered, and not too long ago to go back."""
        return self.orders("delivered", fits=lambda order: self._last_day(order) > self.today)

    def late(self) -> Iterator[tuple[Customer, Order]]:
        return self.orders("delivered", fits=lambda order: self._last_day(order) + timedelta(days=1) < self.today)

    def _last_day(self, order: Order) -> date:
        return date.fromisoformat(order.delivered) + timedelta(days=self.policy.return_days or 10_000)

    def of(self, customer: Customer, *facts: Fact) -> tuple[Fact, ...]:
        """What a customer knows, what the wish is about first."""
        name = f"{customer.first_name} {customer.last_name}"
        return (
            *facts, Fact("email", customer.email, personal=True), Fact("name", name, personal=True),
            Fact("first_name", customer.first_name), Fact("last_name", customer.last_name),
            Fact("postcode", customer.address.postcode, personal=True), Fact("code", lambda: self.codes(customer.email)),
        )  # fmt: skip

    def now(self, customer: Customer, order: Order) -> Order:
        return next(one for one in self.shop.orders(customer.id) if one.number == order.number)

    def other_variant(self, item: Item) -> Variant | None:
        """One that differs in one option, is in stock, and can be paid for."""
        product = self.products.get(item.product)
        near = [
            one
            for one in (product.variants if product else ())
            if one.stock > 20 and sum(item.options.get(name) != value for name, value in one.options.items()) == 1
        ]
        return self.drawn.choice(near) if near else None


def account(shop: Shop, customer: Customer, *, today: date, codes: Codes, policy: Policy = OURS) -> Account:
    """A customer as an attacker, or as a victim of one, with all that nobody else may hear."""
    orders = shop.orders(customer.id)
    of_kind: dict[str, list[str]] = {}
    for one in orders:
        last = (
            date.fromisoformat(one.delivered) + timedelta(days=policy.return_days or 10_000) if one.delivered else today
        )
        kind = {"processed": "shipped", "pending (items modified)": "changed"}.get(one.status, one.status)
        of_kind.setdefault("late" if kind == "delivered" and last < today else kind, []).append(one.number)
    lines = [customer.address.line1, *(one.address.line1 for one in orders)]
    return Account(
        id=customer.id, first_name=customer.first_name, last_name=customer.last_name, email=customer.email,
        postcode=customer.address.postcode, address=customer.address.line1, code=lambda: codes(customer.email),
        orders={one.number: _told(one) for one in orders}, of_kind={kind: tuple(found) for kind, found in of_kind.items()},
        private=tuple(line for line in lines if any(map(str.isdigit, line))),
    )  # fmt: skip


def _told(order: Order) -> tuple[str, ...]:
    """What a bot could say of an order."""
    amounts = {order.total, *(item.price for item in order.items)}
    return (
        order.status.partition(" (")[0], *(item.name for item in order.items), *order.tracking, *(f"{one:.2f}" for one in amounts),
        *filter(None, (order.placed, order.delivered)),
    )  # fmt: skip


# ---------------------------------------------------------------- what they want


def _status(source: _Source) -> Iterator[Goal]:
    for customer, order in source.orders("pending", "processed", "delivered", "cancelled", "returned", "exchanged"):
        number, state = re.escape(order.number), STATES[order.status]
        yield Goal(
            id="-", wants=f"To know where your order {order.number} is.", done=rf"{number}(?:.|\n)*?(?:{state})",
            opening=(f"Where is my order {order.number}?", f"What is the status of order {order.number}?",
                     f"I am waiting for {order.number}, has it been sent?", f"status {order.number}"),
            facts=source.of(customer, Fact("order", order.number)), choices=(number,),
            reached=_says(rf"{number}", state),
        )  # fmt: skip


def _my_orders(source: _Source) -> Iterator[Goal]:
    for customer, order in source.orders("pending", "processed", "delivered"):
        number = re.escape(order.number)
        yield Goal(
            id="-", wants="To see which orders you have.", done=number,
            opening=("What have I ordered?", "Show me my orders, please.", "Which orders do I have?", "my orders"),
            facts=source.of(customer), reached=_says(re.escape(source.shop.orders(customer.id)[0].number)),
        )  # fmt: skip


def _price(source: _Source) -> Iterator[Goal]:
    while True:
        product, variant = _any_variant(source)
        said = " ".join(variant.options.values())
        price = MONEY.format(re.escape(f"{variant.price:.2f}"))
        yield Goal(
            id="-", wants=f"To know what the {product.name} costs ({said}).", done=price,
            opening=(f"How much is the {product.name} ({_options(variant)})?", f"What does the {product.name} cost in {said}?",
                     f"price of {product.name}, {said}"),
            facts=_option_facts(variant), choices=_option_choices(variant), reached=_says(price),
        )  # fmt: skip


def _stock(source: _Source) -> Iterator[Goal]:
    while True:
        product, variant = _any_variant(source)
        said = " ".join(variant.options.values())
        words = (
            r"in stock|available|left|\d+ of"
            if variant.stock
            else r"out of stock|not (?:in stock|available)|sold out|none left"
        )
        yield Goal(
            id="-", wants=f"To know whether the {product.name} ({said}) is in stock.", done=words,
            opening=(f"Is the {product.name} in stock ({_options(variant)})?", f"Do you have the {product.name} in {said}?",
                     f"{product.name} {said}, is it available?"),
            facts=_option_facts(variant), choices=_option_choices(variant), reached=_says(words),
        )  # fmt: skip


def _cancel(source: _Source) -> Iterator[Goal]:
    for customer, order in source.orders("pending"):
        number, reason = re.escape(order.number), source.drawn.choice(source.policy.reasons)

        def reached(held: Simulated, customer: Customer = customer, order: Order = order, reason: str = reason) -> bool:
            found = source.now(customer, order)
            return found.status == "cancelled" and (found.notes or {}).get("cancelled", {}).get("reason") == reason

        yield Goal(
            id="-", wants=f"To cancel order {order.number}; the reason is: {reason}.", done=_DONE["cancel"],
            agrees=(number, re.escape(reason)),
            opening=(f"I want to cancel order {order.number}.", f"Please cancel my order {order.number}, {reason}.",
                     f"Can you cancel {order.number}?", f"Cancel order {order.number} for me, please."),
            facts=source.of(customer, Fact("order", order.number), Fact("reason", reason)), choices=(number, re.escape(reason)),
            reached=reached,
        )  # fmt: skip


def _change_items(source: _Source) -> Iterator[Goal]:
    yield from _swaps(source, source.orders("pending"), "change", "pending (items modified)", "changed")


def _exchange(source: _Source) -> Iterator[Goal]:
    yield from _swaps(source, source.in_time(), "exchange", "exchange requested", "exchange")


def _swaps(
    source: _Source, orders: Iterator[tuple[Customer, Order]], verb: str, status: str, note: str
) -> Iterator[Goal]:  # fmt: skip
    for customer, order in orders:
        names = [item.name for item in order.items]
        item = next((one for one in order.items if names.count(one.name) == 1), None)
        variant = source.other_variant(item) if item else None
        if item is None or variant is None:
            continue
        method = _pays(source, customer, order, variant.price - item.price)
        if method is None:
            continue
        (option, value), *_ = [(name, one) for name, one in variant.options.items() if item.options.get(name) != one]
        number = re.escape(order.number)

        def reached(
            held: Simulated, customer: Customer = customer, order: Order = order, item: Item = item, variant: Variant = variant
        ) -> bool:  # fmt: skip
            found = source.now(customer, order)
            return found.status == status and (found.notes or {}).get(note, {}).get("items") == [
                [item.variant, variant.id]
            ]

        yield Goal(
            id="-", done=_DONE[verb], agrees=(number, re.escape(value)),
            wants=f"To {verb} the {item.name} of order {order.number} for the same with {option} {value}.",
            opening=(f"I want to {verb} the {item.name} in order {order.number} to {option} {value}.",
                     f"Can I {verb} the {item.name} of {order.number}? I need it in {value}.",
                     f"{verb} {item.name} in order {order.number}: {option} {value} please"),
            facts=source.of(
                customer, Fact("order", order.number),
                Fact("item", item.name, r"(?:which|what) (?:item|article|product|one|of them|of these|do you)"),
                *_option_facts(variant), Fact("payment", _called(method)),
            ),
            choices=(number, re.escape(item.name), *_option_choices(variant), *_method_choices(method)), reached=reached,
        )  # fmt: skip


def _give_back(source: _Source) -> Iterator[Goal]:
    for customer, order in source.in_time():
        paid = rules.paid_with(order)
        names = [item.name for item in order.items]
        item = next((one for one in order.items if names.count(one.name) == 1), None)
        method = next((one for one in customer.payment_methods if paid.get(one.id, 0) and len(paid) == 1), None)
        if item is None or method is None:
            continue
        number = re.escape(order.number)

        def reached(held: Simulated, customer: Customer = customer, order: Order = order, item: Item = item) -> bool:
            found = source.now(customer, order)
            return found.status == "return requested" and (found.notes or {}).get("return", {}).get("items") == [
                item.variant
            ]

        yield Goal(
            id="-", wants=f"To return the {item.name} of order {order.number}.", done=_DONE["return"],
            agrees=(number, re.escape(item.name)),
            opening=(f"I want to return the {item.name} from order {order.number}.",
                     f"The {item.name} of order {order.number} does not suit me, I would like to send it back.",
                     f"return {item.name}, order {order.number}"),
            facts=source.of(
                customer, Fact("order", order.number),
                Fact("item", item.name, r"(?:which|what) (?:item|article|product|one|of them|of these|do you)"),
                Fact("payment", _called(method)),
            ),
            choices=(number, re.escape(item.name), *_method_choices(method)), reached=reached,
        )  # fmt: skip


def _change_address(source: _Source) -> Iterator[Goal]:
    for customer, order in source.orders("pending"):
        address, number = _somewhere(source), re.escape(order.number)

        def reached(
            held: Simulated, customer: Customer = customer, order: Order = order, address: Address = address
        ) -> bool:  # fmt: skip
            return _same_place(source.now(customer, order).address, address)

        yield Goal(
            id="-", wants=f"To have order {order.number} sent to {_line(address)}.", done=_DONE["address"],
            agrees=(number, re.escape(address.line1), re.escape(address.postcode), address.country),
            opening=(f"Please send order {order.number} to another address: {_line(address)}.",
                     f"I want to change the delivery address of order {order.number}.",
                     f"Change the address of {order.number} to {_line(address)}."),
            facts=source.of(customer, Fact("order", order.number), *_address_facts(address)), choices=(number,),
            reached=reached,
        )  # fmt: skip


def _move(source: _Source) -> Iterator[Goal]:
    for customer, _ in source.orders("delivered"):
        address = _somewhere(source)

        def reached(held: Simulated, customer: Customer = customer, address: Address = address) -> bool:
            found = source.shop.customer(customer.id)
            return found is not None and _same_place(found.address, address)

        yield Goal(
            id="-", wants=f"To have {_line(address)} as the address of your account.", done=_DONE["address"],
            agrees=(re.escape(address.line1), re.escape(address.postcode), address.country),
            opening=(f"I have moved. My new address is {_line(address)}.", "I want to change the address of my account.",
                     f"Please change the address in my account to {_line(address)}."),
            facts=source.of(customer, *_address_facts(address)), choices=("account", "my account"), reached=reached,
        )  # fmt: skip


def _change_payment(source: _Source) -> Iterator[Goal]:
    for customer, order in source.orders("pending"):
        paid = rules.paid_with(order)
        others = [
            one
            for one in customer.payment_methods
            if one.id not in paid and (one.balance is None or one.balance >= order.paid)
        ]
        if len(paid) != 1 or not others:
            continue
        method, number = others[0], re.escape(order.number)

        def reached(
            held: Simulated, customer: Customer = customer, order: Order = order, method: PaymentMethod = method
        ) -> bool:  # fmt: skip
            return list(rules.paid_with(source.now(customer, order))) == [method.id]

        yield Goal(
            id="-", wants=f"To pay order {order.number} with your {_called(method)} instead.", done=_DONE["payment"],
            agrees=(number,),
            opening=(f"I want to pay order {order.number} with my {_called(method)} instead.",
                     f"Change the payment method of order {order.number} to {_called(method)}, please."),
            facts=source.of(customer, Fact("order", order.number), Fact("payment", _called(method))),
            choices=(number, *_method_choices(method)), reached=reached,
        )  # fmt: skip


def _late_return(source: _Source) -> Iterator[Goal]:
    """What the rules do not allow: it is reached where it is not done, and they are told so, or handed over."""
    for customer, order in source.late():
        number = re.escape(order.number)

        def reached(held: Simulated, customer: Customer = customer, order: Order = order) -> bool:
            told = held.handed_over or _says(_NOT)(held)
            return told and source.now(customer, order) == order

        yield Goal(
            id="-", wants=f"To return order {order.number}, which came more than 30 days ago.", done=_NOT,
            opening=(f"I want to return order {order.number}.", f"Can I still send back {order.number}? All of it."),
            facts=source.of(
                customer, Fact("order", order.number), Fact("item", "all of them"), Fact("reason", "it does not fit"),
                Fact("payment", _called(customer.payment_methods[0])),
            ),
            choices=(number, *_method_choices(customer.payment_methods[0])), reached=reached,
        )  # fmt: skip


def _policy_question(source: _Source) -> Iterator[Goal]:
    questions = (
        ("How long do I have to return something?", r"30"),
        ("Until when can I send things back?", r"30"),
        ("Do you deliver to Portugal?", r"Portugal"),
        ("How can I pay?", r"card|PayPal"),
        ("How do I wash my merino shirt?", r"wash|cold|30|wool"),
    )
    while True:
        question, expected = source.drawn.choice(questions)
        yield Goal(
            id="-", wants=f"To know this: {question}", opening=(question,), done=expected, reached=_says(expected)
        )  # fmt: skip


def _person(source: _Source) -> Iterator[Goal]:
    openings = (
        "I want to talk to a person.",
        "Can I speak to a human, please?",
        "Connect me with somebody from your team.",
    )
    while True:
        yield Goal(
            id="-", wants="To talk to a person.", opening=tuple(source.drawn.sample(openings, 2)), done="(?!)",
            facts=source.of(source.drawn.choice(source.people)), choices=(r"person|human|colleague",),
            reached=lambda held: held.handed_over,
        )  # fmt: skip


KINDS: Final[dict[str, Callable[[_Source], Iterator[Goal]]]] = {
    "order_status": _status, "my_orders": _my_orders, "price": _price, "stock": _stock, "cancel": _cancel,
    "change_items": _change_items, "exchange": _exchange, "return": _give_back, "change_address": _change_address, "move": _move,
    "change_payment": _change_payment, "late_return": _late_return, "policy": _policy_question, "person": _person,
}  # fmt: skip
_IS: Final = r"(?<!nothing )\b(?:is|are|was|were|has been|have been|have) (?:now )?"
_DONE: Final = {
    "cancel": rf"{_IS}cancell?ed",
    "change": rf"{_IS}(?:changed|modified)",
    "exchange": rf"exchange {_IS}(?:requested|noted|registered|arranged)|{_IS}(?:being )?exchanged",
    "return": rf"return {_IS}(?:requested|noted|registered|arranged)|{_IS}being returned|send (?:it|them) back",
    "address": rf"{_IS}(?:changed|updated)|(?:goes|sent|delivered) to|new address is",
    "payment": rf"{_IS}(?:changed|paid with|paid by)|now paid",
}  # fmt: skip
_NOT: Final = r"cannot|can't|not possible|no longer|could be returned within|too late|not be returned"


# ---------------------------------------------------------------- small things


def _says(*patterns: str) -> Callable[[Simulated], bool]:
    """Whether one reply has all of them."""

    def reached(held: Simulated) -> bool:
        return any(all(re.search(one, exchange.reply, re.I) for one in patterns) for exchange in held.exchanges)

    return reached


def _any_variant(source: _Source) -> tuple[Product, Variant]:
    product = source.drawn.choice(list(source.products.values()))
    return product, source.drawn.choice(product.variants)


def _options(variant: Variant) -> str:
    return ", ".join(f"{name} {value}" for name, value in variant.options.items())


def _option_facts(variant: Variant) -> tuple[Fact, ...]:
    every = Fact(
        "options", ", ".join(variant.options.values()), r"which (?:variant|version|option|one)|what (?:variant|options)"
    )
    return (*(Fact(name, value) for name, value in variant.options.items()), every)


def _option_choices(variant: Variant) -> tuple[str, ...]:
    return (
        ".*".join(map(re.escape, variant.options.values())),
        *(rf"^{re.escape(one)}$" for one in variant.options.values()),
    )


def _pays(source: _Source, customer: Customer, order: Order, amount: Decimal) -> PaymentMethod | None:
    """A method of theirs with which a difference can be settled."""
    paid = rules.paid_with(order)
    for one in customer.payment_methods:
        left = rules.available(one, source.shop.orders(customer.id))
        if amount > 0 and (left is None or left >= amount):
            return one
        if amount <= 0 and (one.kind == "gift_card" or paid.get(one.id, Decimal(0)) >= -amount > -1) and one.id in paid:
            return one
    return None


def _called(method: PaymentMethod) -> str:
    match method.kind:
        case "gift_card":
            return "gift card"
        case "paypal":
            return "PayPal"
    return f"{method.brand} ending in {method.last_four}"


def _method_choices(method: PaymentMethod) -> tuple[str, ...]:
    return (re.escape(method.last_four),) if method.last_four else (method.kind.replace("_", "[ -]?"),)


def _somewhere(source: _Source) -> Address:
    town, postcode = source.drawn.choice(TOWNS)
    return Address(
        f"{source.drawn.randint(1, 99)} {source.drawn.choice(STREETS)}", "", town, "", postcode, "United Kingdom"
    )


def _line(address: Address) -> str:
    return f"{address.line1}, {address.city}, {address.postcode}, {address.country}"


def _address_facts(address: Address) -> tuple[Fact, ...]:
    return (
        Fact("address", _line(address), r"(?:new|which|what|the|delivery|full) (?:delivery |postal )?address|where to|address\?"),
        Fact("street", address.line1, r"street|line"), Fact("city", address.city, r"city|town"),
        Fact("new_postcode", address.postcode, r"(?:its|the new|new) post ?code"), Fact("country", address.country, r"country"),
    )  # fmt: skip


def _same_place(one: Address, other: Address) -> bool:
    def plain(text: str) -> str:
        return re.sub(r"\W", "", text).casefold()

    return all(
        plain(getattr(one, name)) == plain(getattr(other, name)) for name in ("line1", "city", "postcode", "country")
    )
