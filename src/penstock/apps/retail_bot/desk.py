"""What can be done at the shop's desk: the actions, with who may, what is read back, and what is refused under which rule. Each is
asked of the shop with the key of its request, by which it is found again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final

from penstock.agents.actions import Action, Context, Found, Level, OwnWords, Several, Text, action
from penstock.errors import BadRequest, NotFound

from . import rules
from .addresses import shown_address
from .planning import original_method
from .rules import Policy
from .shop import Address, Customer, Item, Order, PaymentMethod, Product, Shop

__all__ = ["Desk", "Swap", "item_called", "method_called"]

NOTHING: Final = Decimal("0.00")
LONGEST_SAID: Final = 4_000  # characters of a message that is read
OrderNumber = Annotated[str, "The number of an order of this customer, such as #W2378156.", Text(1, 60)]
Method = Annotated[str, "The id of one of the customer's payment methods.", Text(1, 80)]
VariantId = Annotated[str, Text(1, 80)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """A bought variant, and the one that is to take its place."""

    old: VariantId
    new: VariantId


@dataclass(frozen=True, slots=True, kw_only=True)
class Street:
    """An address, line by line."""

    line1: Annotated[str, "Street and number.", Text(1, 100)]
    line2: Annotated[str, Text(0, 100)] = ""
    city: Annotated[str, Text(1, 100)]
    region: Annotated[str, "State or county; empty where there is none.", Text(0, 100)] = ""
    postcode: Annotated[str, Text(1, 20)]
    country: Annotated[str, Text(1, 60)]

    def address(self) -> Address:
        return Address(self.line1, self.line2, self.city, self.region, self.postcode, self.country)


def method_called(method: PaymentMethod, currency: str) -> str:
    """As a customer knows it: "gift card with 25.00 EUR", "Visa ending in 1234"."""
    if method.kind == "gift_card":
        return f"gift card with {method.balance:.2f} {currency}" if method.balance is not None else "gift card"
    if method.kind == "paypal":
        return "PayPal"
    ending = f" ending in {method.last_four}" if method.last_four else ""
    return f"{method.brand or 'credit card'}{ending}"


@dataclass(slots=True)
class Desk:
    """The shop's desk. changes: how well it has to be known who somebody is before an order of theirs is changed; moves: the same
    for their own address."""

    shop: Shop
    policy: Policy = rules.OURS
    changes: Level = "identified"
    moves: Level = "verified"
    today: Callable[[], date] = date.today
    _actions: tuple[Action, ...] = field(init=False, default=())

    # ---------------------------------------------------------------- what there is

    def customer(self, person: str) -> Customer:
        found = self.shop.customer(person) if person else None
        if found is None:
            raise NotFound("there is no such customer")
        return found

    def order(self, person: str, number: str) -> tuple[Customer, Order]:
        """An order of this customer. Somebody else's is not found, even by whoever knows its number."""
        wanted = number.strip().lstrip("#").casefold()
        for order in self.shop.orders(person) if person else ():
            if order.number.lstrip("#").casefold() == wanted:
                return self.customer(person), order
        raise BadRequest(f"you have no order {number}")

    def products_of(self, order: Order) -> dict[str, Product]:
        found = {item.product: self.shop.product(item.product) for item in order.items}
        return {number: product for number, product in found.items() if product is not None}

    def method(self, customer: Customer, number: str) -> str:
        found = next((one for one in customer.payment_methods if one.id == number), None)
        return method_called(found, self.policy.currency) if found else "another way to pay"

    def own_method(self, customer: Customer, number: str) -> str:
        """As it is read back: "your Visa ending in 1234", "your gift card, which has 25.00 EUR"."""
        found = next((one for one in customer.payment_methods if one.id == number), None)
        if found is None:
            return "another way to pay"
        if found.kind == "gift_card" and found.balance is not None:
            return f"your gift card, which has {self.amount(found.balance)}"
        return f"your {method_called(found, self.policy.currency)}"

    def amount(self, value: Decimal) -> str:
        return f"{value:.2f} {self.policy.currency}"

    # ---------------------------------------------------------------- actions

    def actions(self) -> tuple[Action, ...]:
        """All, in the order in which they are offered."""
        if not self._actions:
            self._actions = (*self._reading(), *self._order_actions(), *self._item_actions(), self._moving())
        return self._actions

    def named(self, name: str) -> Action:
        return next(one for one in self.actions() if one.name == name)

    def _find(self, context: Context, arguments: Any) -> Found | None:
        done = self.shop.done(context.key)
        return None if done is None else Found(done)

    def _reading(self) -> tuple[Action, ...]:
        @action("reads", level="identified")
        def look_at_account(context: Context, said: Annotated[str, Text(1, LONGEST_SAID)]) -> dict[str, Any]:
            """Look at the customer's orders, and plan what they ask for."""
            return {"orders": len(self.shop.orders(context.person.id))}

        @action("reads", level="identified")
        def tell_which(
            context: Context, about: Annotated[str, Text(1, 400)], question: Annotated[str, Text(1, LONGEST_SAID)],
            answer: Annotated[str, Text(1, LONGEST_SAID)],
        ) -> dict[str, Any]:  # fmt: skip
            """Take what the customer says to a question on which thing they mean."""
            return {"answer": answer}

        @action("reads", level="guest")
        def look_at_products(context: Context, said: Annotated[str, Text(1, LONGEST_SAID)]) -> dict[str, Any]:
            """Look up what a product costs, which variants there are, and how many are in stock."""
            return {"said": said}

        @action("reads", level="guest")
        def recommend(context: Context, said: Annotated[str, Text(1, LONGEST_SAID)]) -> dict[str, Any]:
            """Recommend something that is in stock, by what the customer has bought."""
            return {"said": said}

        return look_at_account, tell_which, look_at_products, recommend

    def _order_actions(self) -> tuple[Action, ...]:
        def what_cancelling_does(context: Context, arguments: Any) -> dict[str, Any]:
            customer, order = self.order(context.person.id, arguments.order)
            _refuse(rules.cannot_cancel(order, arguments.reason, policy=self.policy))
            back = [
                f"{self.amount(amount)} to {self.own_method(customer, one)}"
                for one, amount in rules.paid_with(order).items()
            ]
            return {
                "items": OwnWords("; ".join(item_called(item) for item in order.items)),
                "why": OwnWords(_because(arguments.reason)),
                "back": OwnWords(f"{' and '.join(back)}".replace(" to ", " go back to ", 1)),
            }

        @action(
            "writes", facts=what_cancelling_does, find=self._find, level=self.changes, unsaid=("reason",),
            read_back="Cancel the whole order {order} ({items}), {why}? {back}.",
        )  # fmt: skip
        def cancel_order(
            context: Context, order: OrderNumber, reason: Annotated[str, "Why; one of the shop's reasons.", Text(1, 80)]
        ) -> dict[str, Any]:
            """Cancel a pending order, all of it."""
            number = self.order(context.person.id, order)[1].number
            done = self.shop.cancel(context.key, context.person.id, number, reason)
            return {"order": done.number, "status": done.status}

        def where_it_goes(context: Context, arguments: Any) -> dict[str, Any]:
            _, order = self.order(context.person.id, arguments.order)
            _refuse(rules.cannot_change_address(order, arguments.address.address(), policy=self.policy))
            return {"before": shown_address(order.address), "now": shown_address(arguments.address.address())}

        @action(
            "writes", facts=where_it_goes, find=self._find, level=self.changes, unsaid=("address",),
            read_back="Send order {order} to {now} instead of {before}?",
        )  # fmt: skip
        def change_address(context: Context, order: OrderNumber, address: Street) -> dict[str, Any]:
            """Change where a pending order is sent to."""
            number = self.order(context.person.id, order)[1].number
            done = self.shop.change_address(context.key, context.person.id, number, address.address())
            return {"order": done.number, "to": shown_address(done.address)}

        def how_it_is_paid(context: Context, arguments: Any) -> dict[str, Any]:
            customer, order = self.order(context.person.id, arguments.order)
            orders = self.shop.orders(context.person.id)
            _refuse(rules.cannot_change_payment(order, customer, arguments.method, orders=orders, policy=self.policy))
            return {
                "amount": OwnWords(self.amount(order.paid)), "by": OwnWords(self.own_method(customer, arguments.method)),
                "before": OwnWords(self.own_method(customer, original_method(order))),
            }  # fmt: skip

        @action(
            "writes", facts=how_it_is_paid, find=self._find, level=self.changes, unsaid=("method",),
            read_back="Pay order {order} ({amount}) by {by}? What was paid goes back to {before}.",
        )  # fmt: skip
        def change_payment(context: Context, order: OrderNumber, method: Method) -> dict[str, Any]:
            """Change how a pending order is paid."""
            number = self.order(context.person.id, order)[1].number
            done = self.shop.change_payment(context.key, context.person.id, number, method)
            return {"order": done.number, "by": self.method(self.customer(context.person.id), method)}

        return cancel_order, change_address, change_payment

    def _item_actions(self) -> tuple[Action, ...]:
        def what_changes(context: Context, arguments: Any) -> dict[str, Any]:
            customer, order = self.order(context.person.id, arguments.order)
            swaps = _pairs(arguments.changes)
            products, orders = self.products_of(order), self.shop.orders(context.person.id)
            if order.status == "delivered":
                why = rules.cannot_exchange(
                    order,
                    swaps,
                    products,
                    customer,
                    arguments.method,
                    today=self.today(),
                    orders=orders,
                    policy=self.policy,
                )
            else:
                why = rules.cannot_change_items(
                    order, swaps, products, customer, arguments.method, orders=orders, policy=self.policy
                )
            _refuse(why)
            amount = rules.difference(order, swaps, products)
            method = self.own_method(customer, arguments.method)
            if amount > 0:
                money = f"You pay {self.amount(amount)} more, by {method}."
            else:
                money = f"You get back {self.amount(-amount)}, to {method}." if amount else "The price stays the same."
            items = _swaps_said(order, swaps, products, self.policy.currency)
            return {"items": OwnWords("; ".join(items)), "money": OwnWords(money)}

        def swapped(done: Order) -> dict[str, Any]:
            return {"order": done.number, "status": done.status}

        @action(
            "writes",
            facts=what_changes,
            find=self._find,
            level=self.changes,
            unsaid=("changes", "method"),
            read_back="Change order {order}: {items}? {money} The items of an order can be changed once, and it cannot be "
            "cancelled afterwards: is this all of it?",
        )
        def change_items(
            context: Context, order: OrderNumber, changes: Annotated[list[Swap], Several(1, 20)], method: Method
        ) -> dict[str, Any]:
            """Change items of a pending order to other variants of the same products, all of them at once."""
            number = self.order(context.person.id, order)[1].number
            return swapped(self.shop.change_items(context.key, context.person.id, number, _pairs(changes), method))

        @action(
            "writes",
            facts=what_changes,
            find=self._find,
            level=self.changes,
            unsaid=("changes", "method"),
            read_back="Exchange from order {order}: {items}? {money} An order can be exchanged once: is this all of it?",
        )
        def exchange_items(
            context: Context, order: OrderNumber, changes: Annotated[list[Swap], Several(1, 20)], method: Method
        ) -> dict[str, Any]:
            """Exchange items of a delivered order for other variants of the same products, all of them at once."""
            number = self.order(context.person.id, order)[1].number
            return swapped(self.shop.exchange(context.key, context.person.id, number, _pairs(changes), method))

        def what_goes_back(context: Context, arguments: Any) -> dict[str, Any]:
            customer, order = self.order(context.person.id, arguments.order)
            _refuse(
                rules.cannot_give_back(
                    order, arguments.items, customer, arguments.method, today=self.today(), policy=self.policy
                )
            )
            things = [order.items[place] for place in rules.places(order, arguments.items)]
            said = [f"{item_called(one)} ({self.amount(one.price)})" for one in things]
            return {
                "things": OwnWords("; ".join(said)), "amount": OwnWords(self.amount(rules.refund(order, arguments.items))),
                "to": OwnWords(self.own_method(customer, arguments.method)),
            }  # fmt: skip

        @action(
            "writes",
            facts=what_goes_back,
            find=self._find,
            level=self.changes,
            unsaid=("items", "method"),
            read_back="Return from order {order}: {things}? {amount} go to {to}. There can be one return for an order: is "
            "this all of it?",
        )
        def return_items(
            context: Context, order: OrderNumber, items: Annotated[list[VariantId], Several(1, 20)], method: Method
        ) -> dict[str, Any]:
            """Return items of a delivered order, all of them at once."""
            number = self.order(context.person.id, order)[1].number
            done = self.shop.give_back(context.key, context.person.id, number, items, method)
            return {"order": done.number, "status": done.status}

        return change_items, exchange_items, return_items

    def _moving(self) -> Action:
        def where_they_live(context: Context, arguments: Any) -> dict[str, Any]:
            customer = self.customer(context.person.id)
            _refuse(rules.cannot_move(arguments.address.address(), policy=self.policy))
            return {"before": shown_address(customer.address), "now": shown_address(arguments.address.address())}

        @action(
            "writes", facts=where_they_live, find=self._find, level=self.moves, unsaid=("address",), name="move",
            read_back="Change the address of your account from {before} to {now}? Orders that were placed keep theirs.",
        )  # fmt: skip
        def move(context: Context, address: Street) -> dict[str, Any]:
            """Change the customer's own address."""
            return {"now": shown_address(self.shop.move(context.key, context.person.id, address.address()).address)}

        return move


def _refuse(why: str | None) -> None:
    if why:
        raise BadRequest(why.rstrip("."))


def _pairs(changes: Sequence[Swap]) -> list[tuple[str, str]]:
    return [(one.old, one.new) for one in changes]


def item_called(item: Item) -> str:
    """As it stands in a sentence: "Ridge tent, colour green, size 2 persons"."""
    return ", ".join([item.name, *(f"{name} {value}" for name, value in item.options.items())])


def _because(reason: str) -> str:
    """The reason of a cancellation, one of the shop's own, as the end of a sentence."""
    for beginning, said in (
        ("no longer", "because it is"),
        ("ordered", "because it was"),
        ("takes", "because it"),
        ("found", "because you"),
    ):
        if reason.startswith(beginning):
            return f"{said} {reason}"
    return f"for the reason '{reason}'"


def _swaps_said(
    order: Order, swaps: Sequence[tuple[str, str]], products: Mapping[str, Product], currency: str
) -> list[str]:
    """What becomes what, with all that is different."""
    said = []
    for (_, new), place in zip(swaps, rules.places(order, [old for old, _ in swaps]), strict=True):
        item = order.items[place]
        variant = next(one for one in products[item.product].variants if one.id == new)
        differs = [
            f"{name} {item.options.get(name, 'none')} becomes {value}"
            for name, value in variant.options.items()
            if item.options.get(name) != value
        ]
        what = " and ".join(differs) or "the same again"
        price = f"{variant.price:.2f} {currency}"
        prices = price if variant.price == item.price else f"{price} instead of {item.price:.2f} {currency}"
        stays = [f"{name} {value}" for name, value in item.options.items() if variant.options.get(name) == value]
        said.append(f"{', '.join([item.name, *stays])}: {what} ({prices})")
    return said
