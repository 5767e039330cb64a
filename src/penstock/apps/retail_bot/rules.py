"""The written policy (policy.md) as code: whether the shop allows a change, and if not, why, in a sentence for the customer.

Nothing is read or written here: an adapter asks inside the transaction that makes the change, and whoever words a question asks
before. Whether an order is the customer's is not asked here: that is the adapter's to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from decimal import Decimal

from .shop import Address, Customer, Item, Order, PaymentMethod, Product, Variant

__all__ = [
    "OURS",
    "Policy",
    "available",
    "called",
    "cannot_begin",
    "cannot_cancel",
    "cannot_change_address",
    "cannot_change_items",
    "cannot_change_payment",
    "cannot_exchange",
    "cannot_give_back",
    "cannot_move",
    "difference",
    "paid_with",
    "places",
    "refund",
]

PENDING = ("pending", "pending (items modified)")
LONGEST = 100  # characters of a line of an address
MOST = 50  # items in one change
Changes = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Policy:
    """What differs from shop to shop. return_days: after delivery; None for no limit. countries: where to it delivers; () for
    everywhere. refunds_anywhere: whether a difference may go to a method that the order was not paid with."""

    return_days: int | None = 30
    reasons: tuple[str, ...] = ("no longer needed", "ordered by mistake", "takes too long", "found it cheaper")
    countries: tuple[str, ...] = (
        "Austria", "Belgium", "Denmark", "Finland", "France", "Germany", "Ireland", "Italy", "Netherlands", "Poland",
        "Portugal", "Spain", "Sweden", "Switzerland", "United Kingdom",
    )  # fmt: skip
    refunds_anywhere: bool = False
    currency: str = "EUR"


OURS = Policy()


def cannot_cancel(order: Order, reason: str, *, policy: Policy = OURS) -> str | None:
    if order.status != "pending":
        return f"Order {order.number} cannot be cancelled: {_state(order)}."
    if reason not in policy.reasons:
        return f"An order can be cancelled for one of these reasons: {', '.join(policy.reasons)}."
    return None


def cannot_change_items(
    order: Order, changes: Changes, products: Mapping[str, Product], customer: Customer, method: str,
    *, orders: Iterable[Order] = (), policy: Policy = OURS,
) -> str | None:  # fmt: skip
    """products: by number, those of the order at least. orders: all of the customer's, for what their gift card has promised."""
    if order.status != "pending":
        return f"The items of order {order.number} cannot be changed: {_state(order)}."
    return _cannot_swap(order, changes, products) or _cannot_settle(
        order, difference(order, changes, products), customer, method, orders, policy
    )


def cannot_change_address(order: Order, address: Address, *, policy: Policy = OURS) -> str | None:
    if order.status not in PENDING:
        return f"The address of order {order.number} cannot be changed: {_state(order)}."
    return cannot_move(address, policy=policy)


def cannot_change_payment(
    order: Order, customer: Customer, method: str, *, orders: Iterable[Order] = (), policy: Policy = OURS
) -> str | None:
    if order.status not in PENDING:
        return f"The payment of order {order.number} cannot be changed: {_state(order)}."
    paid = paid_with(order)
    if len(paid) != 1:
        return f"Order {order.number} was paid in more than one way, so its payment stays as it is."
    if _method(customer, method) is None:
        return "That is none of your payment methods."
    if method in paid:
        return f"Order {order.number} is paid that way already."
    return _cannot_pay(customer, method, order.paid, orders, policy)


def cannot_begin(order: Order, action: str, *, today: date, policy: Policy = OURS) -> str | None:
    """What is against a change whatever it is in detail, so that nobody is asked for details first. action: its name."""
    match action:
        case "return_items":
            return _cannot_send_back(order, "returned", today, policy)
        case "exchange_items":
            return _cannot_send_back(order, "exchanged", today, policy)
        case _:
            return None


def cannot_give_back(
    order: Order, variants: Sequence[str], customer: Customer, method: str, *, today: date, policy: Policy = OURS
) -> str | None:
    """A return. A shop that does not say when an order was delivered has no days to count."""
    if why := _cannot_send_back(order, "returned", today, policy):
        return why
    if not 0 < len(variants) <= MOST:
        return f"Say which items of order {order.number} you want to return."
    if missing := Counter(variants) - Counter(item.variant for item in order.items):
        return _not_in(order, next(iter(missing)))
    return _cannot_refund(order, refund(order, variants), customer, method, policy)


def cannot_exchange(
    order: Order, changes: Changes, products: Mapping[str, Product], customer: Customer, method: str,
    *, today: date, orders: Iterable[Order] = (), policy: Policy = OURS,
) -> str | None:  # fmt: skip
    """As `cannot_change_items`, for what was delivered."""
    return (
        _cannot_send_back(order, "exchanged", today, policy)
        or _cannot_swap(order, changes, products)
        or _cannot_settle(order, difference(order, changes, products), customer, method, orders, policy)
    )


def cannot_move(address: Address, *, policy: Policy = OURS) -> str | None:
    for one in fields(address):
        line = getattr(address, one.name)
        if not isinstance(line, str) or not line.isprintable():
            return "An address is made of letters, digits and signs."
        if len(line) > LONGEST:
            return f"A line of an address has no more than {LONGEST} characters."
    if not all(line.strip() for line in (address.line1, address.city, address.postcode, address.country)):
        return "An address needs a street, a city, a postcode and a country."
    if policy.countries and address.country not in policy.countries:
        return f"We do not deliver to {address.country}. We deliver to {', '.join(policy.countries)}."
    return None


# ---------------------------------------------------------------- money


def difference(order: Order, changes: Changes, products: Mapping[str, Product]) -> Decimal:
    """What is to be paid for the changes; below zero, what is given back. For changes that are allowed."""
    new = {variant.id: variant.price for product in products.values() for variant in product.variants}
    return sum((new[after] for _, after in changes), Decimal(0)) - refund(order, [before for before, _ in changes])


def refund(order: Order, variants: Sequence[str]) -> Decimal:
    """What was paid for these of an order's items."""
    return sum((order.items[place].price for place in places(order, variants)), Decimal(0))


def places(order: Order, variants: Sequence[str]) -> list[int]:
    """Which items of an order are meant: of several with the same variant, the first ones."""
    left: dict[str, list[int]] = {}
    for place, item in enumerate(order.items):
        left.setdefault(item.variant, []).append(place)
    return [left[variant].pop(0) for variant in variants]


def paid_with(order: Order) -> dict[str, Decimal]:
    """Payment method -> what it paid, less what it was given back. Only those that are above zero."""
    paid: dict[str, Decimal] = {}
    for payment in order.payments:
        paid[payment.method] = paid.get(payment.method, Decimal(0)) + payment.amount
    return {method: amount for method, amount in paid.items() if amount > 0}


def available(method: PaymentMethod, orders: Iterable[Order]) -> Decimal | None:
    """Of a gift card's balance, what no exchange that is under way will take. None for another method."""
    if method.balance is None:
        return None
    promised = Decimal(0)
    for order in orders:
        exchange = (order.notes or {}).get("exchange") if order.status == "exchange requested" else None
        if exchange and exchange["method"] == method.id:
            promised += max(Decimal(exchange["difference"]), Decimal(0))
    return method.balance - promised


def _cannot_settle(
    order: Order, amount: Decimal, customer: Customer, method: str, orders: Iterable[Order], policy: Policy
) -> str | None:
    if _method(customer, method) is None:
        return "That is none of your payment methods."
    if amount > 0:
        return _cannot_pay(customer, method, amount, orders, policy)
    if amount == 0 or policy.refunds_anywhere:
        return None
    return _cannot_refund(order, -amount, customer, method, policy)


def _cannot_pay(
    customer: Customer, method: str, amount: Decimal, orders: Iterable[Order], policy: Policy
) -> str | None:
    found = _method(customer, method)
    left = None if found is None else available(found, orders)
    if left is not None and left < amount:
        return f"The gift card has {left:.2f} {policy.currency} left to spend, and {amount:.2f} {policy.currency} are needed."
    return None


def _cannot_refund(order: Order, amount: Decimal, customer: Customer, method: str, policy: Policy) -> str | None:
    found, paid = _method(customer, method), paid_with(order)
    if found is None:
        return "That is none of your payment methods."
    if found.kind == "gift_card":
        return None
    if method not in paid:
        return "Money goes back to what the order was paid with, or to a gift card of yours."
    if paid[method] < amount:
        most = f"{paid[method]:.2f} {policy.currency} were paid that way, and no more goes back there"
        return f"{most}; a gift card can take {amount:.2f} {policy.currency}."
    return None


def _method(customer: Customer, number: str) -> PaymentMethod | None:
    return next((one for one in customer.payment_methods if one.id == number), None)


# ---------------------------------------------------------------- things


def called(thing: Item | tuple[Product, Variant]) -> str:
    """As a customer knows it: "Ridge tent (colour green, size 2 persons)"."""
    name, options = (thing.name, thing.options) if isinstance(thing, Item) else (thing[0].name, thing[1].options)
    said = ", ".join(f"{option} {value}" for option, value in options.items())
    return f"{name} ({said})" if said else name


def _cannot_send_back(order: Order, done: str, today: date, policy: Policy) -> str | None:
    if order.status != "delivered":
        return f"Order {order.number} cannot be {done}: {_state(order)}."
    if order.delivered and policy.return_days is not None:
        last = date.fromisoformat(order.delivered) + timedelta(days=policy.return_days)
        if today > last:
            days = f"within {policy.return_days} days of its delivery"
            return f"Order {order.number} could be {done} {days}, until {last.isoformat()}."
    return None


def _cannot_swap(order: Order, changes: Changes, products: Mapping[str, Product]) -> str | None:
    if not 0 < len(changes) <= MOST:
        return f"Say which items of order {order.number} are to become what."
    if missing := Counter(before for before, _ in changes) - Counter(item.variant for item in order.items):
        return _not_in(order, next(iter(missing)))
    bought = {item.variant: item for item in order.items}
    wanted = Counter(after for _, after in changes)
    for before, after in changes:
        item = bought[before]
        product = products.get(item.product)
        variant = next((one for one in product.variants if one.id == after), None) if product else None
        if before == after:
            return f"{called(item)} is what you have already."
        if product is None or variant is None:
            return f"{item.name} can only become another variant of {item.name}."
        if variant.stock < wanted[after]:
            left = f"only {variant.stock} of it are left" if variant.stock else "it is out of stock"
            return f"{called((product, variant))} cannot be had: {left}."
    return None


def _not_in(order: Order, variant: str) -> str:
    item = next((item for item in order.items if item.variant == variant), None)
    if item is None:
        return f"Order {order.number} has no such item."
    count = sum(one.variant == variant for one in order.items)
    return f"Order {order.number} has {called(item)} only {'once' if count == 1 else f'{count} times'}."


def _state(order: Order) -> str:
    match order.status:
        case "pending":
            return "it is not delivered yet"
        case "pending (items modified)":
            return "its items were changed once, which is final"
        case "processed":
            return "it is on its way to you"
        case "delivered":
            return "it is delivered"
        case "cancelled":
            return "it is cancelled"
        case "return requested" | "returned":
            return "it is being returned" if order.status == "return requested" else "it was returned"
        case "exchange requested" | "exchanged":
            return "it is being exchanged" if order.status == "exchange requested" else "it was exchanged"
