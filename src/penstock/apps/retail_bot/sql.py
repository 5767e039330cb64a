"""A shop in a SQL database: SQLite by default, PostgreSQL with the extra `postgres`.

The statements stand at the top of `SqlShop`, each with the columns it gives or takes, in that order. A team whose tables look
different writes a subclass with statements of its own, and nothing else. Money is whole cents; lists and options are JSON.

Whatever is changed is changed under a condition, on the state, the stock or the balance that was seen, so that it is right also
beside programs that write to the same tables and know nothing of us.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Any, TypeVar

import orjson

from penstock.agents.actions import canonical, plain
from penstock.errors import BadRequest, Conflict, NotFound
from penstock.guard.provenance import shown
from penstock.storage.database import Tables

from . import rules
from .plain import check_key, read
from .rules import OURS, Policy
from .shop import (
    Address,
    Customer,
    Item,
    Order,
    Payment,
    PaymentMethod,
    Product,
    Status,
    Variant,
)

__all__ = ["SCHEMA", "SqlShop", "fill"]

SCHEMA = [
    """
    create table products (number text primary key, name text not null, category text not null) strict;
    create table variants (
        number text primary key, product text not null references products, options text not null,
        cents integer not null check (cents >= 0), stock integer not null check (stock >= 0)
    ) strict;
    create index variants_product on variants (product);
    create table customers (
        number text primary key, first_name text not null, last_name text not null, email text not null,
        line1 text not null, line2 text not null, city text not null, region text not null, postcode text not null,
        country text not null, email_key text not null, name_key text not null
    ) strict;
    create unique index customers_email on customers (email_key);
    create index customers_name on customers (name_key);
    create table payment_methods (
        number text primary key, customer text not null references customers, kind text not null, brand text not null,
        last_four text not null, cents integer check (cents >= 0)
    ) strict;
    create index payment_methods_customer on payment_methods (customer);
    create table orders (
        number text primary key, customer text not null references customers, status text not null, placed text not null,
        delivered text not null, line1 text not null, line2 text not null, city text not null, region text not null,
        postcode text not null, country text not null, tracking text not null, notes text not null
    ) strict;
    create index orders_customer on orders (customer);
    create table order_items (
        order_number text not null references orders, position integer not null, variant text not null, product text not null,
        name text not null, options text not null, cents integer not null, primary key (order_number, position)
    ) strict;
    create table payments (
        order_number text not null references orders, position integer not null, method text not null, cents integer not null,
        primary key (order_number, position)
    ) strict;
    create table done (key text primary key, request text not null, result text not null, day text not null) strict
    """,
]
BATCH = 2_000  # customers that are written at once
_T = TypeVar("_T")


class SqlShop:
    """Satisfies `Shop`. today: the day that the rules count with. What it is given to read or write with is `Tables`, which is
    `penstock.storage.database.Database` for a file and `penstock.storage.postgres.Postgres` for a server."""

    # What is read. Each comment: what a `?` stands for -> the columns.
    # -> product, name, category, variant, options, cents, stock
    PRODUCTS = """
        select p.number, p.name, p.category, v.number, v.options, v.cents, v.stock
        from products p join variants v on v.product = p.number
    """
    PRODUCT = PRODUCTS + " where p.number = ?"
    # number -> number, first name, last name, e-mail, the six lines of the address
    CUSTOMER = """
        select number, first_name, last_name, email, line1, line2, city, region, postcode, country
        from customers where number = ?
    """
    # e-mail as `_email_key` writes it -> number
    BY_EMAIL = "select number from customers where email_key = ?"
    # first name, last name and postcode as `_name_key` writes them -> number
    BY_NAME = "select number from customers where name_key = ? limit 2"
    # customer -> number, kind, brand, last four digits, cents of a gift card or null
    METHODS = "select number, kind, brand, last_four, cents from payment_methods where customer = ?"
    # customer -> number, status, placed, delivered, the six lines of the address, tracking, notes
    ORDERS = """
        select number, status, placed, delivered, line1, line2, city, region, postcode, country, tracking, notes
        from orders where customer = ?
    """
    # customer -> order, place among its items, variant, product, name, options, cents
    ITEMS = """
        select i.order_number, i.position, i.variant, i.product, i.name, i.options, i.cents
        from order_items i join orders o on o.number = i.order_number where o.customer = ?
    """
    # customer -> order, place among its payments, method, cents
    PAYMENTS = """
        select p.order_number, p.position, p.method, p.cents
        from payments p join orders o on o.number = p.order_number where o.customer = ?
    """
    # -> customer, order, status, placed, notes; and order, variant, product. For recommendations: they name nobody
    ALL_ORDERS = "select customer, number, status, placed, notes from orders"
    ALL_ITEMS = "select order_number, variant, product from order_items"

    # What is written. Each must change one row, or what was seen is not so any more.
    # new status, notes, order, customer, status that was seen
    SET_STATUS = "update orders set status = ?, notes = ? where number = ? and customer = ? and status = ?"
    # the six lines, order, customer, status that was seen
    SET_ADDRESS = """
        update orders set line1 = ?, line2 = ?, city = ?, region = ?, postcode = ?, country = ?
        where number = ? and customer = ? and status = ?
    """
    # variant, options, cents, order, place, variant that was seen
    SET_ITEM = """
        update order_items set variant = ?, options = ?, cents = ? where order_number = ? and position = ? and variant = ?
    """
    # order, place, method, cents
    PAY = "insert into payments (order_number, position, method, cents) values (?, ?, ?, ?)"
    # cents more or less, gift card, customer, the same cents
    SET_BALANCE = """
        update payment_methods set cents = cents + ? where number = ? and customer = ? and kind = 'gift_card' and cents + ? >= 0
    """
    # how many more or less, variant, the same number
    SET_STOCK = "update variants set stock = stock + ? where number = ? and stock + ? >= 0"
    # the six lines, name and postcode as above, customer
    SET_HOME = """
        update customers set line1 = ?, line2 = ?, city = ?, region = ?, postcode = ?, country = ?, name_key = ? where number = ?
    """

    # What was done. It needs a table of its own, as in `SCHEMA`.
    DONE = "select request, result from done where key = ?"
    REMEMBER = "insert into done (key, request, result, day) values (?, ?, ?, ?)"
    FORGET = "delete from done where day < ?"

    def __init__(self, tables: Tables, *, today: Callable[[], date] = date.today, policy: Policy = OURS) -> None:
        self._tables, self._today, self._policy = tables, today, policy
        self._seen: tuple[list[Any], tuple[Product, ...]] = ([], ())  # rows of the catalogue, and what was made of them

    def close(self) -> None:
        self._tables.close()

    # ---------------------------------------------------------------- reading

    def products(self) -> Sequence[Product]:
        """The catalogue, read anew each time. Where its rows are the same as before, so is what is given."""
        rows = self._tables.read(self.PRODUCTS)
        seen, made = self._seen
        if rows != seen:
            made = _products(rows)
            self._seen = rows, made
        return made

    def product(self, number: str) -> Product | None:
        if not _storable(number):
            return None
        return next(iter(_products(self._tables.read(self.PRODUCT, (number,)))), None)

    def customer(self, number: str) -> Customer | None:
        if not _storable(number):
            return None
        with self._tables.snapshot() as r:
            return self._customer(r, number)

    def by_email(self, email: str) -> Customer | None:
        key = _email_key(email) if _storable(email) else ""
        found = self._tables.read(self.BY_EMAIL, (key,)) if key else []
        return self.customer(found[0][0]) if len(found) == 1 else None

    def by_name(self, first_name: str, last_name: str, postcode: str) -> Customer | None:
        if not all(map(_storable, (first_name, last_name, postcode))):
            return None
        found = self._tables.read(self.BY_NAME, (_name_key(first_name, last_name, postcode),))
        return self.customer(found[0][0]) if len(found) == 1 else None

    def orders(self, customer: str) -> Sequence[Order]:
        if not _storable(customer):
            return ()
        with self._tables.snapshot() as r:
            return self._orders(r, customer)

    def done(self, key: str) -> Any | None:
        found = self._tables.read(self.DONE, (key,)) if _storable(key) else []
        return orjson.loads(found[0][1]) if found else None

    def forget(self, before: date) -> int:
        """Drop what is kept for those who ask twice, from before a day. It has addresses in it. How many there were."""
        with self._tables.write() as w:
            return int(w.execute(self.FORGET, (before.isoformat(),)).rowcount)

    def histories(self) -> Iterator[list[list[str]]]:
        """Of each customer what they bought and kept, order by order, the oldest first, as numbers of products."""
        with self._tables.snapshot() as r:
            orders = _rows(r, self.ALL_ORDERS)
            items: dict[str, list[tuple[str, str]]] = {}
            for order, variant, product in _rows(r, self.ALL_ITEMS):
                items.setdefault(order, []).append((variant, product))
        people: dict[str, list[tuple[str, str, list[str]]]] = {}
        for customer, number, status, placed, notes in orders:
            if status != "cancelled":
                gone = Counter(orjson.loads(notes).get("return", {}).get("items", ()) if notes else ())
                kept = []
                for variant, product in items.get(number, ()):
                    if gone[variant]:
                        gone[variant] -= 1
                    else:
                        kept.append(product)
                people.setdefault(customer, []).append((placed, number, kept))
        for _, baskets in sorted(people.items()):
            yield [kept for _, _, kept in sorted(baskets) if kept]

    # ---------------------------------------------------------------- changing

    def cancel(self, key: str, customer: str, order: str, reason: str) -> Order:
        def make(change: _Change) -> None:
            change.check(rules.cannot_cancel(change.order, reason, policy=self._policy))
            change.note("cancelled", "cancelled", {"reason": reason})
            change.give_back(item.variant for item in change.order.items)
            for method, amount in rules.paid_with(change.order).items():
                change.pay(method, -amount)

        return self._order_once(key, ("cancel", customer, order, reason), make)

    def change_items(
        self, key: str, customer: str, order: str, changes: Sequence[tuple[str, str]], method: str
    ) -> Order:
        def make(change: _Change) -> None:
            products = change.products()
            change.check(rules.cannot_change_items(change.order, changes, products, change.customer, method, orders=change.orders,
                                                   policy=self._policy))  # fmt: skip
            amount = rules.difference(change.order, changes, products)
            said = {"items": changes, "difference": amount, "method": method}
            change.note("pending (items modified)", "changed", said)
            change.give_back(before for before, _ in changes)
            change.take(after for _, after in changes)
            change.swap(changes, products)
            if amount:
                change.pay(method, amount)

        return self._order_once(key, ("change items", customer, order, changes, method), make)

    def change_address(self, key: str, customer: str, order: str, address: Address) -> Order:
        def make(change: _Change) -> None:
            change.check(rules.cannot_change_address(change.order, address, policy=self._policy))
            change.one(self.SET_ADDRESS, (*_lines(address), order, customer, change.order.status))

        return self._order_once(key, ("change address", customer, order, address), make)

    def change_payment(self, key: str, customer: str, order: str, method: str) -> Order:
        def make(change: _Change) -> None:
            why = rules.cannot_change_payment(
                change.order, change.customer, method, orders=change.orders, policy=self._policy
            )
            change.check(why)
            for before, amount in rules.paid_with(change.order).items():
                change.pay(before, -amount)
                change.pay(method, amount)

        return self._order_once(key, ("change payment", customer, order, method), make)

    def give_back(self, key: str, customer: str, order: str, variants: Sequence[str], method: str) -> Order:
        def make(change: _Change) -> None:
            change.check(rules.cannot_give_back(change.order, variants, change.customer, method, today=self._today(),
                                                policy=self._policy))  # fmt: skip
            said = {"items": variants, "amount": rules.refund(change.order, variants), "method": method, "arrived": ""}
            change.note("return requested", "return", said)

        return self._order_once(key, ("return", customer, order, variants, method), make)

    def exchange(self, key: str, customer: str, order: str, changes: Sequence[tuple[str, str]], method: str) -> Order:
        def make(change: _Change) -> None:
            products = change.products()
            change.check(rules.cannot_exchange(change.order, changes, products, change.customer, method, today=self._today(),
                                               orders=change.orders, policy=self._policy))  # fmt: skip
            amount = rules.difference(change.order, changes, products)
            said = {"items": changes, "difference": amount, "method": method, "arrived": ""}
            change.note("exchange requested", "exchange", said)
            change.take(after for _, after in changes)

        return self._order_once(key, ("exchange", customer, order, changes, method), make)

    def move(self, key: str, customer: str, address: Address) -> Customer:
        if not _storable(customer):
            raise NotFound("there is no such customer")

        def make(w: Any) -> Customer:
            found = self._customer(w, customer)
            if found is None:
                raise NotFound("there is no such customer")
            if why := rules.cannot_move(address, policy=self._policy):
                raise BadRequest(why)
            name = _name_key(found.first_name, found.last_name, address.postcode)
            w.execute(self.SET_HOME, (*_lines(address), name, customer))
            return replace(found, address=address)

        return self._once(key, ("move", customer, address), Customer, make)

    def _order_once(self, key: str, request: tuple[Any, ...], make: Callable[[_Change], None]) -> Order:
        _, customer, order, *_ = request
        if not _storable(customer) or not _storable(order):
            raise _not_theirs(order)

        def made(w: Any) -> Order:
            change = _Change(self, w, customer=customer, order=order, day=self._today().isoformat())
            make(change)
            return change.now()

        return self._once(key, request, Order, made)

    def _once(self, key: str, request: tuple[Any, ...], kind: type[_T], make: Callable[[Any], _T]) -> _T:
        """One change in one transaction, with its result under its key."""
        check_key(key)
        try:
            digest = hashlib.sha256(canonical(request)).hexdigest()
        except TypeError as error:  # half of a character, which nothing that is stored has in it
            raise BadRequest("the change has something in it that is no text") from error
        with self._tables.write() as w:
            before = _rows(w, self.DONE, (key,))
            if before:
                if before[0][0] != digest:
                    raise Conflict("this key was used for another change", hint="every change has a key of its own")
                return read(kind, orjson.loads(before[0][1]))
            result = make(w)
            w.execute(self.REMEMBER, (key, digest, orjson.dumps(plain(result)).decode(), self._today().isoformat()))
        return result

    # ---------------------------------------------------------------- rows

    def _customer(self, r: Any, number: str) -> Customer | None:
        rows = _rows(r, self.CUSTOMER, (number,))
        if not rows:
            return None
        found, first, last, email, *lines = rows[0]
        methods = [
            PaymentMethod(one, kind, brand, last_four, None if cents is None else _amount(cents))
            for one, kind, brand, last_four, cents in sorted(_rows(r, self.METHODS, (number,)))
        ]
        return Customer(found, first, last, email, Address(*lines), tuple(methods))

    def _orders(self, r: Any, customer: str) -> tuple[Order, ...]:
        items: dict[str, list[Item]] = {}
        for order, _, variant, product, name, options, cents in sorted(_rows(r, self.ITEMS, (customer,))):
            items.setdefault(order, []).append(Item(variant, product, name, orjson.loads(options), _amount(cents)))
        payments: dict[str, list[Payment]] = {}
        for order, _, method, cents in sorted(_rows(r, self.PAYMENTS, (customer,))):
            payments.setdefault(order, []).append(Payment(_amount(cents), method))
        found = [
            Order(number, customer, status, tuple(items.get(number, ())), Address(*rest[:6]), tuple(payments.get(number, ())),
                  tuple(orjson.loads(rest[6])), placed, delivered, orjson.loads(rest[7]) or None)
            for number, status, placed, delivered, *rest in _rows(r, self.ORDERS, (customer,))
        ]  # fmt: skip
        return tuple(sorted(found, key=lambda one: (one.placed, one.number), reverse=True))


class _Change:
    """A change of one order, inside its transaction: what was seen before it, and what is done to it."""

    def __init__(self, shop: SqlShop, w: Any, *, customer: str, order: str, day: str) -> None:
        self._shop, self._w, self._day = shop, w, day
        found = shop._customer(w, customer)
        self.orders = shop._orders(w, customer) if found else ()
        seen = next((one for one in self.orders if one.number == order), None)
        if found is None or seen is None:
            raise _not_theirs(order)
        self.customer, self.order, self._next = found, seen, len(seen.payments)

    def check(self, why: str | None) -> None:
        if why:
            raise BadRequest(why)

    def products(self) -> dict[str, Product]:
        numbers = sorted({item.product for item in self.order.items})
        return {one: product for one in numbers for product in _products(_rows(self._w, self._shop.PRODUCT, (one,)))}

    def one(self, sql: str, values: Sequence[Any]) -> None:
        """Change one row. Where there is none any more that fits, another program was there first."""
        if self._w.execute(sql, values).rowcount != 1:
            raise Conflict(
                f"order {self.order.number}, or what it needs, was changed in this moment", hint="look again"
            )

    def note(self, status: Status, name: str, said: Mapping[str, Any]) -> None:
        notes = {**(self.order.notes or {}), name: {**said, "day": self._day}}
        words = orjson.dumps(plain(notes)).decode()
        self.one(self._shop.SET_STATUS, (status, words, self.order.number, self.customer.id, self.order.status))

    def take(self, variants: Iterable[str]) -> None:
        for variant, count in sorted(Counter(variants).items()):
            self.one(self._shop.SET_STOCK, (-count, variant, -count))

    def give_back(self, variants: Iterable[str]) -> None:
        for variant, count in sorted(Counter(variants).items()):
            self._w.execute(self._shop.SET_STOCK, (count, variant, count))  # nothing, where it is sold no longer

    def pay(self, method: str, amount: Decimal) -> None:
        self.one(self._shop.PAY, (self.order.number, self._next, method, _cents(amount)))
        self._next += 1
        if any(one.id == method and one.balance is not None for one in self.customer.payment_methods):
            self.one(self._shop.SET_BALANCE, (-_cents(amount), method, self.customer.id, -_cents(amount)))

    def swap(self, changes: Sequence[tuple[str, str]], products: Mapping[str, Product]) -> None:
        variants = {one.id: one for product in products.values() for one in product.variants}
        for place, (before, after) in zip(rules.places(self.order, [one for one, _ in changes]), changes, strict=True):
            new = variants[after]
            options = orjson.dumps(dict(new.options)).decode()
            self.one(self._shop.SET_ITEM, (after, options, _cents(new.price), self.order.number, place, before))

    def now(self) -> Order:
        """The order as it is after the change."""
        orders = self._shop._orders(self._w, self.customer.id)
        return next(one for one in orders if one.number == self.order.number)


def _not_theirs(order: object) -> NotFound:
    return NotFound(f"there is no order {shown(str(order), 40)} of yours")


def fill(tables: Tables, products: Iterable[Product], people: Iterable[tuple[Customer, Sequence[Order]]]) -> None:
    """Make the tables of `SCHEMA`, and put a whole shop into them, in one transaction. Raises Conflict where there is one."""
    tables.migrate("shop", SCHEMA)
    with tables.write() as w:
        if w.execute("select 1 from products limit 1").fetchall():
            raise Conflict("there is a shop in this database already")
        for product in products:
            w.execute("insert into products values (?, ?, ?)", (product.id, product.name, product.category))
            rows = [
                (one.id, product.id, orjson.dumps(dict(one.options)).decode(), _cents(one.price), one.stock)
                for one in product.variants
            ]
            w.executemany("insert into variants values (?, ?, ?, ?, ?)", rows)
        waiting = iter(people)
        while some := list(islice(waiting, BATCH)):
            for sql, rows in _inserts(some):
                w.executemany(sql, rows)


def _inserts(people: Sequence[tuple[Customer, Sequence[Order]]]) -> Iterator[tuple[str, list[Any]]]:
    orders = [order for _, theirs in people for order in theirs]
    yield "insert into customers values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [
        (one.id, one.first_name, one.last_name, one.email, *_lines(one.address), _email_key(one.email),
         _name_key(one.first_name, one.last_name, one.address.postcode))
        for one, _ in people
    ]  # fmt: skip
    yield (
        "insert into payment_methods values (?, ?, ?, ?, ?, ?)",
        [
            (way.id, one.id, way.kind, way.brand, way.last_four, None if way.balance is None else _cents(way.balance))
            for one, _ in people
            for way in one.payment_methods
        ],
    )
    yield "insert into orders values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [
        (one.number, one.customer, one.status, one.placed, one.delivered, *_lines(one.address),
         orjson.dumps(one.tracking).decode(), orjson.dumps(plain(one.notes or {})).decode())
        for one in orders
    ]  # fmt: skip
    yield "insert into order_items values (?, ?, ?, ?, ?, ?, ?)", [
        (one.number, place, item.variant, item.product, item.name, orjson.dumps(dict(item.options)).decode(), _cents(item.price))
        for one in orders
        for place, item in enumerate(one.items)
    ]  # fmt: skip
    yield (
        "insert into payments values (?, ?, ?, ?)",
        [
            (one.number, place, paid.method, _cents(paid.amount))
            for one in orders
            for place, paid in enumerate(one.payments)
        ],
    )


def _rows(r: Any, sql: str, values: Sequence[Any] = ()) -> list[Any]:
    return list(r.execute(sql, values).fetchall())


def _products(rows: Iterable[Any]) -> tuple[Product, ...]:
    found: dict[str, tuple[str, str, list[Variant]]] = {}
    for number, name, category, variant, options, cents, stock in sorted(rows):
        found.setdefault(number, (name, category, []))[2].append(
            Variant(variant, orjson.loads(options), _amount(cents), stock)
        )
    return tuple(
        Product(number, name, tuple(variants), category) for number, (name, category, variants) in found.items()
    )


def _lines(address: Address) -> tuple[str, ...]:
    return (address.line1, address.line2, address.city, address.region, address.postcode, address.country)


def _amount(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


def _cents(amount: Decimal) -> int:
    cents = amount.scaleb(2)
    if cents != int(cents):
        raise BadRequest(f"{amount} is no amount of whole cents")
    return int(cents)


# ---------------------------------------------------------------- texts


def _storable(text: Any) -> bool:
    """Whether it can be what is looked for: whole characters without NUL, and not without end."""
    return isinstance(text, str) and len(text) <= 1_000 and "\0" not in text and not _HALF.search(text)


def _folded(text: str) -> str:
    """How it is looked up: without case, accents and outer spaces."""
    plain_letters = unicodedata.normalize("NFKD", text.strip().casefold()).translate(_LETTERS)
    return "".join(one for one in plain_letters if not unicodedata.combining(one))


def _email_key(text: str) -> str:
    """Case does not matter in ASCII. Beyond it nothing is alike that is not the same: a letter that only looks like another is
    somebody else's mailbox."""
    stripped = text.strip()
    return stripped.lower() if stripped.isascii() else stripped


def _name_key(first_name: str, last_name: str, postcode: str) -> str:
    names = [" ".join(_WORD.findall(_folded(name))) for name in (first_name, last_name)]
    return "/".join((*names, "".join(_WORD.findall(_folded(postcode)))))


_HALF = re.compile("[\ud800-\udfff]")
_WORD = re.compile(r"\w+")
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ı": "i"})
