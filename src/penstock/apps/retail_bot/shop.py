"""A shop as the bot sees it: its nouns, and the promise that an adapter keeps. Orders are found by their customer alone, so that
nobody's order can be read by guessing its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Protocol

__all__ = ["Address", "Customer", "Item", "Order", "Payment", "PaymentMethod", "Product", "Shop", "Status", "Variant"]

Status = Literal[
    "pending",
    "pending (items modified)",
    "processed",
    "delivered",
    "cancelled",
    "return requested",
    "returned",  # what came back has arrived, and its money is on its way
    "exchange requested",
    "exchanged",
]


@dataclass(frozen=True, slots=True)
class Address:
    line1: str
    line2: str
    city: str
    region: str  # state, canton, county; "" where there is none
    postcode: str
    country: str


@dataclass(frozen=True, slots=True)
class PaymentMethod:
    """balance: of a gift card; None for the others."""

    id: str
    kind: Literal["gift_card", "paypal", "credit_card"]
    brand: str = ""
    last_four: str = ""
    balance: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    id: str
    first_name: str
    last_name: str
    email: str
    address: Address
    payment_methods: tuple[PaymentMethod, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """One thing that can be bought. stock: how many there are."""

    id: str
    options: Mapping[str, str]  # colour -> blue, size -> M
    price: Decimal
    stock: int


@dataclass(frozen=True, slots=True)
class Product:
    id: str
    name: str
    variants: tuple[Variant, ...]
    category: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A bought thing. Two of the same variant are two items with the same `variant`."""

    variant: str
    product: str
    name: str
    options: Mapping[str, str]
    price: Decimal


@dataclass(frozen=True, slots=True)
class Payment:
    """amount: what was paid, or, below zero, given back."""

    amount: Decimal
    method: str


@dataclass(frozen=True, slots=True)
class Order:
    number: str
    customer: str
    status: Status
    items: tuple[Item, ...]
    address: Address
    payments: tuple[Payment, ...]
    tracking: tuple[str, ...] = ()
    placed: str = ""  # ISO 8601 day; "" where the shop does not say
    delivered: str = ""  # ISO 8601 day
    notes: Mapping[str, Any] | None = None  # what was done to it, as `Shop` writes it

    @property
    def total(self) -> Decimal:
        """What its items cost."""
        return sum((item.price for item in self.items), Decimal(0))

    @property
    def paid(self) -> Decimal:
        """What was paid for it, less what was given back."""
        return sum((payment.amount for payment in self.payments), Decimal(0))


class Shop(Protocol):
    """A shop's own data. Synchronous; safe to share between threads. Raises PenstockError where it cannot be reached.

    What changes something takes the idempotency key of its request: a second call with the same key changes nothing, and gives
    the first result; with the same key for something else it raises Conflict. It raises BadRequest for what the shop's rules do
    not allow, whoever asks, in one transaction with the change: the rules hold where the data is. It raises NotFound for an order
    that the customer has not, whether or not somebody else has it.

    What was done to an order is in its notes, each with its day:

        cancelled: reason
        changed:   items [[variant, variant], ...], difference, method
        return:    items [variant, ...], amount, method, arrived (a day; "" before)
        exchange:  items [[variant, variant], ...], difference, method, arrived

    Cancelling and changing move money and stock at once. The money of a return or an exchange moves when the parcel arrives; what
    comes in exchange is put aside at once.
    """

    def products(self) -> Sequence[Product]: ...

    def product(self, number: str) -> Product | None: ...

    def customer(self, number: str) -> Customer | None: ...

    def by_email(self, email: str) -> Customer | None:
        """In whatever case it is written."""
        ...

    def by_name(self, first_name: str, last_name: str, postcode: str) -> Customer | None:
        """None where nobody, or more than one, has that name at that postcode. Case, accents and spaces do not matter."""
        ...

    def orders(self, customer: str) -> Sequence[Order]:
        """Of a customer, the newest first; () for one that there is not."""
        ...

    def cancel(self, key: str, customer: str, order: str, reason: str) -> Order: ...

    def change_items(
        self, key: str, customer: str, order: str, changes: Sequence[tuple[str, str]], method: str
    ) -> Order:
        """changes: variant that is in the order -> variant of the same product. method: pays, or is given, the difference."""
        ...

    def change_address(self, key: str, customer: str, order: str, address: Address) -> Order: ...

    def change_payment(self, key: str, customer: str, order: str, method: str) -> Order: ...

    def give_back(self, key: str, customer: str, order: str, variants: Sequence[str], method: str) -> Order:
        """Begin a return. method: the one that was paid with, or a gift card."""
        ...

    def exchange(
        self, key: str, customer: str, order: str, changes: Sequence[tuple[str, str]], method: str
    ) -> Order: ...

    def move(self, key: str, customer: str, address: Address) -> Customer:
        """Change the customer's own address."""
        ...

    def done(self, key: str) -> Any | None:
        """What the change with that key gave, as plain values; None where there was none."""
        ...
