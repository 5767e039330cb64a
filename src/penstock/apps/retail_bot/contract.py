"""What every `Shop` promises, as tests. Subclass it, say how to make a shop that holds these things, and pytest runs them all:

class TestOurShop(ShopContract):
    def make(self, products, people, today): return OurShop(...)
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from penstock.agents.actions import plain
from penstock.errors import BadRequest, Conflict, NotFound, PenstockError

from .rules import OURS, available
from .shop import (
    Address,
    Customer,
    Item,
    Order,
    Payment,
    PaymentMethod,
    Product,
    Shop,
    Status,
    Variant,
)

__all__ = ["PEOPLE", "PRODUCTS", "TODAY", "ShopContract", "books", "check_books", "play"]

TODAY = date(2026, 5, 31)
HOME = Address("Uferweg 3", "", "Kiel", "Schleswig-Holstein", "24103", "Germany")
ELSEWHERE = Address("Skolgatan 12", "lgh 4", "Umeå", "", "903 25", "Sweden")
Person = tuple[Customer, tuple[Order, ...]]


def _product(number: str, name: str, *variants: tuple[str, str, str, int]) -> Product:
    made = (
        Variant(f"{number}-{one}", {"colour": colour}, Decimal(price), stock) for one, colour, price, stock in variants
    )
    return Product(number, name, tuple(made), "things")


MUG = _product(
    "mug",
    "mug",
    ("1", "red", "10.00", 5),
    ("2", "blue", "12.50", 1),
    ("3", "green", "8.00", 0),
    ("4", "gold", "90.00", 9),
)
LAMP = _product("lamp", "lamp", ("1", "oak", "40.00", 3), ("2", "ash", "40.00", 2), ("3", "elm", "25.00", 4))
PRODUCTS = (LAMP, MUG)
_VARIANTS = {one.id: (product, one) for product in PRODUCTS for one in product.variants}


def _item(variant: str) -> Item:
    product, found = _VARIANTS[variant]
    return Item(variant, product.id, product.name, found.options, found.price)


def _order(
    number: str, customer: str, status: Status, items: str, *paid: tuple[str, str], delivered: str = ""
) -> Order:
    bought = tuple(map(_item, items.split()))
    payments = tuple(Payment(Decimal(amount), method) for method, amount in paid)
    placed = f"2026-05-{10 + int(number[-2:])}"
    tracking = ("T1",) if delivered else ()
    return Order(number, customer, status, bought, HOME, payments, tracking, placed, delivered, None)


ANNA = Customer(
    "anna", "Anna", "Åkerman", "Anna@example.com", HOME,
    (PaymentMethod("anna-card", "credit_card", "Visa", "1234"), PaymentMethod("anna-gift", "gift_card", balance=Decimal("30.00")),
     PaymentMethod("anna-paypal", "paypal")),
)  # fmt: skip
BO = Customer(
    "bo", "Bo", "Lind", "bo@example.org", replace(HOME, postcode="24105"), (PaymentMethod("bo-card", "credit_card"),)
)
TWIN = Customer(
    "bo2", "Bo", "Lind", "bo2@example.org", replace(HOME, postcode="24105"), (PaymentMethod("bo2-card", "credit_card"),)
)
PEOPLE: tuple[Person, ...] = (
    (ANNA, (
        _order("A-01", "anna", "pending", "mug-1 mug-1 lamp-1", ("anna-card", "60.00")),
        _order("A-02", "anna", "pending", "mug-1 lamp-2", ("anna-gift", "20.00"), ("anna-card", "30.00")),
        _order("A-03", "anna", "processed", "mug-1", ("anna-card", "10.00")),
        _order("A-04", "anna", "delivered", "mug-1 mug-1 lamp-1", ("anna-paypal", "60.00"), delivered="2026-05-01"),
        _order("A-05", "anna", "delivered", "mug-1", ("anna-paypal", "10.00"), delivered="2026-04-30"),
        _order("A-06", "anna", "delivered", "mug-1 mug-4", ("anna-gift", "20.00"), ("anna-card", "80.00"), delivered="2026-05-20"),
        _order("A-07", "anna", "delivered", "mug-1", ("anna-card", "10.00"), delivered="2026-05-25"),
    )),
    (BO, (
        _order("B-01", "bo", "pending", "mug-1", ("bo-card", "10.00")),
        _order("B-02", "bo", "pending", "mug-1", ("bo-card", "10.00")),
    )),
    (TWIN, ()),
)  # fmt: skip


@contextmanager
def _refused(kind: type[PenstockError], saying: str = "") -> Iterator[None]:
    came: PenstockError | None = None
    try:
        yield
    except PenstockError as error:
        came = error
    assert isinstance(came, kind), f"{kind.__name__} was expected, and there was {came!r}"
    assert saying in came.message, came.message


class ShopContract(ABC):
    """make: a shop that holds these products and people, whose day is today. Each test makes its own."""

    @abstractmethod
    def make(self, products: Sequence[Product], people: Sequence[Person], today: Callable[[], date]) -> Shop: ...

    def _shop(self) -> Shop:
        return self.make(PRODUCTS, PEOPLE, lambda: TODAY)

    # ---------------------------------------------------------------- reading

    def test_it_tells_what_it_holds(self) -> None:
        shop = self._shop()

        assert tuple(shop.products()) == PRODUCTS
        assert shop.product("mug") == MUG
        assert shop.customer("anna") == ANNA
        assert tuple(shop.orders("anna")) == tuple(reversed(PEOPLE[0][1]))
        assert tuple(shop.orders("bo2")) == ()

    def test_what_there_is_not_is_nothing(self) -> None:
        shop = self._shop()

        for odd in (
            "",
            "nobody",
            "anna' or '1'='1",
            "a\0b",
            "\ud800",
            "x" * 100_000,
            "../anna",
            "%",
            "анна",
            "anna\n",
            ".",
        ):
            assert shop.customer(odd) is None
            assert shop.product(odd) is None
            assert tuple(shop.orders(odd)) == ()
            assert shop.by_email(odd) is None
            assert shop.by_name(odd, odd, odd) is None
            assert shop.done(odd) is None

    def test_people_are_found_as_they_write_themselves(self) -> None:
        shop = self._shop()

        assert shop.by_email(" ANNA@Example.com ") == ANNA
        assert shop.by_name("anna", "akerman", "241 03") == ANNA
        assert shop.by_name("ANNA", "ÅKERMAN", "24103") == ANNA
        assert shop.by_name("Anna", "Åkerman", "24105") is None

    def test_who_is_one_of_two_is_not_found(self) -> None:
        assert self._shop().by_name("Bo", "Lind", "24105") is None

    def test_a_letter_that_looks_alike_is_another_mailbox(self) -> None:
        shop = self._shop()

        assert shop.by_email("Ann\u0430@example.com") is None  # a Cyrillic a
        assert shop.by_email("änna@example.com") is None

    # ---------------------------------------------------------------- cancelling

    def test_a_pending_order_is_cancelled_and_paid_back_as_it_was_paid(self) -> None:
        shop = self._shop()

        order = shop.cancel("k", "anna", "A-02", "no longer needed")

        assert order.status == "cancelled"
        assert order.paid == 0
        assert order.notes == {"cancelled": {"reason": "no longer needed", "day": "2026-05-31"}}
        assert _balance(shop, "anna") == Decimal("50.00")
        assert _stock(shop) == _stock_of(PRODUCTS) + Counter({"mug-1": 1, "lamp-2": 1})
        assert order in shop.orders("anna")

    def test_only_a_pending_order_is_cancelled_for_a_reason_of_the_policy(self) -> None:
        shop = self._shop()

        with _refused(BadRequest, "on its way"):
            shop.cancel("k1", "anna", "A-03", "no longer needed")
        with _refused(BadRequest, "delivered"):
            shop.cancel("k2", "anna", "A-04", "no longer needed")
        with _refused(BadRequest, "reasons"):
            shop.cancel("k3", "anna", "A-01", "because")
        assert books(shop, "anna") == books(self._shop(), "anna")

    # ---------------------------------------------------------------- changing

    def test_items_become_other_variants_once(self) -> None:
        shop = self._shop()

        order = shop.change_items("k", "anna", "A-01", [("mug-1", "mug-2"), ("lamp-1", "lamp-3")], "anna-card")

        assert order.status == "pending (items modified)"
        assert [item.variant for item in order.items] == ["mug-2", "mug-1", "lamp-3"]
        assert order.items[2].options == {"colour": "elm"}
        assert order.payments[-1] == Payment(Decimal("-12.50"), "anna-card")
        assert order.paid == order.total == Decimal("47.50")
        assert _stock(shop)["mug-2"] == 0
        with _refused(BadRequest, "once"):
            shop.change_items("k2", "anna", "A-01", [("mug-1", "mug-4")], "anna-card")
        with _refused(BadRequest, "once"):
            shop.cancel("k3", "anna", "A-01", "no longer needed")

    def test_a_change_that_the_policy_does_not_allow_changes_nothing(self) -> None:
        shop = self._shop()
        wrong: list[tuple[Sequence[tuple[str, str]], str, str]] = [
            ([], "anna-card", "which items"),
            ([("mug-1", "lamp-2")], "anna-card", "another variant"),
            ([("mug-1", "mug-1")], "anna-card", "have already"),
            ([("mug-1", "mug-3")], "anna-card", "out of stock"),
            ([("mug-1", "mug-2"), ("mug-1", "mug-2")], "anna-card", "only 1"),
            ([("mug-1", "mug-4")] * 3, "anna-card", "only 2 times"),
            ([("mug-2", "mug-1")], "anna-card", "no such item"),
            ([("mug-1", "mug-4")], "anna-gift", "30.00 EUR left"),
            ([("mug-1", "mug-4")], "bo-card", "none of your payment methods"),
            ([("lamp-1", "lamp-3")], "anna-paypal", "paid with"),
        ]

        for nth, (changes, method, saying) in enumerate(wrong):
            with _refused(BadRequest, saying):
                shop.change_items(f"k{nth}", "anna", "A-01", changes, method)
            assert shop.done(f"k{nth}") is None
        assert books(shop, "anna") == books(self._shop(), "anna")

    def test_a_gift_card_pays_what_it_holds(self) -> None:
        shop = self._shop()

        shop.change_items("k", "anna", "A-01", [("mug-1", "mug-2")], "anna-gift")
        assert _balance(shop, "anna") == Decimal("27.50")
        shop.change_items("k2", "anna", "A-02", [("lamp-2", "lamp-3")], "anna-gift")
        assert _balance(shop, "anna") == Decimal("42.50")

    def test_an_address_changes_while_the_order_is_pending(self) -> None:
        shop = self._shop()
        shop.change_items("k", "anna", "A-01", [("mug-1", "mug-2")], "anna-card")

        assert shop.change_address("k2", "anna", "A-01", ELSEWHERE).address == ELSEWHERE
        with _refused(BadRequest, "on its way"):
            shop.change_address("k3", "anna", "A-03", ELSEWHERE)
        for odd, saying in (
            (replace(HOME, city=" "), "needs a street"),
            (replace(HOME, line1="a\0"), "letters"),
            (replace(HOME, line2="\ud800"), ""),
            (replace(HOME, line2="x" * 101), "100 characters"),
            (replace(HOME, country="Atlantis"), "do not deliver to Atlantis"),
        ):
            with _refused(BadRequest, saying):
                shop.change_address("k4", "anna", "A-01", odd)
        customer = shop.customer("anna")
        assert customer is not None
        assert customer.address == HOME

    def test_a_payment_moves_as_a_whole(self) -> None:
        shop = self._shop()

        order = shop.change_payment("k", "anna", "A-01", "anna-paypal")

        assert [plain(one) for one in order.payments[1:]] == [
            {"amount": "-60.00", "method": "anna-card"},
            {"amount": "60.00", "method": "anna-paypal"},
        ]
        with _refused(BadRequest, "paid that way already"):
            shop.change_payment("k2", "anna", "A-01", "anna-paypal")
        with _refused(BadRequest, "30.00 EUR left"):
            shop.change_payment("k3", "anna", "A-01", "anna-gift")
        with _refused(BadRequest, "more than one way"):
            shop.change_payment("k4", "anna", "A-02", "anna-paypal")
        assert shop.change_payment("k5", "anna", "A-01", "anna-card").paid == Decimal("60.00")

    # ---------------------------------------------------------------- sending back

    def test_a_return_is_noted_and_money_waits_for_the_parcel(self) -> None:
        shop = self._shop()

        order = shop.give_back("k", "anna", "A-04", ["mug-1", "lamp-1"], "anna-paypal")

        assert order.status == "return requested"
        assert order.notes is not None
        assert order.notes["return"] == {
            "items": ["mug-1", "lamp-1"], "amount": "50.00", "method": "anna-paypal", "arrived": "", "day": "2026-05-31",
        }  # fmt: skip
        assert order.paid == Decimal("60.00")
        assert _stock(shop) == _stock_of(PRODUCTS)
        with _refused(BadRequest, "being returned"):
            shop.give_back("k2", "anna", "A-04", ["mug-1"], "anna-paypal")
        with _refused(BadRequest, "being returned"):
            shop.exchange("k3", "anna", "A-04", [("mug-1", "mug-2")], "anna-paypal")

    def test_the_thirtieth_day_is_in_time_and_the_next_is_not(self) -> None:
        shop = self._shop()

        assert shop.give_back("k", "anna", "A-04", ["mug-1"], "anna-gift").status == "return requested"
        with _refused(BadRequest, "until 2026-05-30"):
            shop.give_back("k2", "anna", "A-05", ["mug-1"], "anna-gift")
        with _refused(BadRequest, "until 2026-05-30"):
            shop.exchange("k3", "anna", "A-05", [("mug-1", "mug-2")], "anna-gift")

    def test_money_goes_back_to_what_paid_or_to_a_gift_card(self) -> None:
        shop = self._shop()

        with _refused(BadRequest, "paid with"):
            shop.give_back("k", "anna", "A-04", ["mug-1"], "anna-card")
        with _refused(BadRequest, "80.00 EUR were paid that way"):
            shop.give_back("k", "anna", "A-06", ["mug-1", "mug-4"], "anna-card")
        with _refused(BadRequest, "none of your"):
            shop.give_back("k", "anna", "A-06", ["mug-1"], "bo-card")
        with _refused(BadRequest, "which items"):
            shop.give_back("k", "anna", "A-06", [], "anna-card")
        with _refused(BadRequest, "only once"):
            shop.give_back("k", "anna", "A-06", ["mug-1", "mug-1"], "anna-card")
        assert shop.give_back("k", "anna", "A-06", ["mug-1", "mug-4"], "anna-gift").status == "return requested"

    def test_an_exchange_puts_the_new_one_aside(self) -> None:
        shop = self._shop()

        order = shop.exchange("k", "anna", "A-04", [("mug-1", "mug-2"), ("lamp-1", "lamp-2")], "anna-gift")

        assert order.status == "exchange requested"
        assert order.notes is not None
        assert order.notes["exchange"]["difference"] == "2.50"
        assert order.items == PEOPLE[0][1][3].items
        assert _stock(shop) == _stock_of(PRODUCTS) - Counter({"mug-2": 1, "lamp-2": 1}) + Counter()
        assert _balance(shop, "anna") == Decimal("30.00")
        with _refused(BadRequest, "out of stock"):
            shop.exchange("k2", "anna", "A-07", [("mug-1", "mug-2")], "anna-card")

    def test_what_an_exchange_will_take_from_a_gift_card_is_not_spent_twice(self) -> None:
        shop = self._shop()
        shop.change_items("k1", "anna", "A-02", [("lamp-2", "lamp-3")], "anna-gift")  # now it holds 45.00
        shop.exchange("k2", "anna", "A-07", [("mug-1", "mug-2")], "anna-gift")

        with _refused(BadRequest, "42.50 EUR left"):
            shop.exchange("k3", "anna", "A-06", [("mug-1", "mug-4")], "anna-gift")

    def test_a_customer_moves_and_orders_stay(self) -> None:
        shop = self._shop()

        assert shop.move("k", "anna", ELSEWHERE).address == ELSEWHERE
        assert shop.by_name("Anna", "Åkerman", "90325") == shop.customer("anna")
        assert shop.by_name("Anna", "Åkerman", "24103") is None
        assert {order.address for order in shop.orders("anna")} == {HOME}
        with _refused(NotFound):
            shop.move("k2", "nobody", HOME)

    # ---------------------------------------------------------------- whoever asks, and however often

    def test_nobody_reaches_the_order_of_another_by_its_number(self) -> None:
        shop = self._shop()
        tries: tuple[Callable[[str], Order], ...] = (
            lambda order: shop.cancel("k", "bo", order, "no longer needed"),
            lambda order: shop.change_items("k", "bo", order, [("mug-1", "mug-2")], "bo-card"),
            lambda order: shop.change_address("k", "bo", order, ELSEWHERE),
            lambda order: shop.change_payment("k", "bo", order, "bo-card"),
            lambda order: shop.give_back("k", "bo", order, ["mug-1"], "bo-card"),
            lambda order: shop.exchange("k", "bo", order, [("mug-1", "mug-2")], "bo-card"),
        )

        for order in ("A-01", "A-99", "' or 1=1 --", "A-01\0", "\ud800", "x" * 10_000, ""):
            for one in tries:
                with _refused(NotFound, "of yours"):
                    one(order)
        for odd in ("anna\0", "ANNA", "anna ", "\ud800", "' or 1=1 --", "", "x" * 10_000):
            with _refused(NotFound):
                shop.cancel("k", odd, "A-01", "no longer needed")
            with _refused(NotFound):
                shop.move("k", odd, ELSEWHERE)
        assert books(shop, "anna") == books(self._shop(), "anna")

    def test_the_same_key_changes_nothing_again_and_gives_the_first_result(self) -> None:
        shop = self._shop()
        changes = [("mug-1", "mug-2")]

        first = shop.change_items("k", "anna", "A-01", changes, "anna-card")
        shop.change_address("k2", "anna", "A-01", ELSEWHERE)
        held = books(shop, "anna")

        assert shop.change_items("k", "anna", "A-01", changes, "anna-card") == first
        assert first.address == HOME
        assert books(shop, "anna") == held
        assert shop.done("k") == plain(first)
        assert shop.done("k3") is None

    def test_a_key_is_for_one_change(self) -> None:
        shop = self._shop()
        shop.cancel("k", "bo", "B-01", "no longer needed")

        with _refused(Conflict, "another change"):
            shop.cancel("k", "bo", "B-01", "ordered by mistake")
        with _refused(Conflict, "another change"):
            shop.cancel("k", "bo", "B-02", "no longer needed")
        with _refused(Conflict, "another change"):
            shop.cancel("k", "anna", "A-01", "no longer needed")
        for odd in ("", "x" * 201, "a\nb", "ä", "\ud800"):
            with _refused(BadRequest, "key"):
                shop.cancel(odd, "bo", "B-02", "no longer needed")

    def test_of_many_who_want_the_last_one_each_gets_it_or_hears_no(self) -> None:
        shop = self._shop()

        def want(nth: int) -> Any:
            who, order = (("anna", "A-01"), ("anna", "A-02"), ("bo", "B-01"), ("bo", "B-02"))[nth % 4]
            return shop.change_items(f"k{nth}", who, order, [("mug-1", "mug-2")], f"{who}-card")

        won = [one for one in _together(want, 8) if isinstance(one, Order)]

        assert len(won) == 1
        assert _stock(shop)["mug-2"] == 0

    def test_the_same_change_from_many_at_once_is_done_once(self) -> None:
        shop = self._shop()

        results = _together(lambda _: shop.cancel("k", "anna", "A-02", "no longer needed"), 8)

        assert {repr(plain(one)) for one in results} == {repr(shop.done("k"))}
        assert _balance(shop, "anna") == Decimal("50.00")

    def test_the_books_hold_after_whatever_was_tried(self) -> None:
        shop = self._shop()
        before = {who.id: books(shop, who.id) for who, _ in PEOPLE}

        done = [came for _, came in play(shop, seed=7, steps=150) if not isinstance(came, str)]

        assert len(done) >= 5
        check_books(shop, before)


# ---------------------------------------------------------------- what is counted


def books(shop: Shop, customer: str) -> dict[str, Any]:
    """All that a shop says of a customer, and its stock, as plain values."""
    return {
        "customer": plain(shop.customer(customer)),
        "orders": plain(shop.orders(customer)),
        "stock": dict(_stock(shop)),
    }


def check_books(shop: Shop, before: dict[str, dict[str, Any]]) -> None:
    """Whether nothing was lost or made between the books before, by customer, and now: things, money, and cards."""
    sold_before, sold_now = Counter[str](), Counter[str]()
    stock = Counter[str]()
    for number, held in before.items():
        customer = shop.customer(number)
        orders = shop.orders(number)
        assert customer is not None
        assert len(orders) == len(held["orders"])
        stock = Counter(held["stock"])
        for order in held["orders"]:
            sold_before.update(_held_for(order))
        for order in orders:
            sold_now.update(_held_for(plain(order)))
            assert order.paid == (0 if order.status == "cancelled" else order.total), order
        for method, was in zip(customer.payment_methods, held["customer"]["payment_methods"], strict=True):
            if method.balance is not None:
                moved = sum(
                    (one.amount for order in orders for one in order.payments if one.method == method.id), Decimal(0)
                )
                moved_before = sum(
                    Decimal(one["amount"])
                    for order in held["orders"]
                    for one in order["payments"]
                    if one["method"] == method.id
                )
                assert method.balance + moved == Decimal(was["balance"]) + moved_before
                assert (available(method, orders) or Decimal(0)) >= 0
    now = _stock(shop)
    assert all(count >= 0 for count in now.values())
    for variant in {*stock, *now}:
        assert now[variant] + sold_now[variant] == stock[variant] + sold_before[variant], variant


def _held_for(order: Any) -> list[str]:
    """The variants that an order keeps from being sold to others."""
    if order["status"] == "cancelled":
        return []
    aside = (
        [after for _, after in order["notes"]["exchange"]["items"]] if order["status"] == "exchange requested" else []
    )
    return [item["variant"] for item in order["items"]] + aside


def play(shop: Shop, *, seed: int, steps: int) -> list[tuple[str, Any]]:
    """Try changes at random, sensible ones and others, and keep what came of each, as plain values."""
    chance = random.Random(seed)  # noqa: S311 - a test
    told: list[tuple[str, Any]] = []
    for nth in range(steps):
        who, orders = chance.choice(PEOPLE[:2])
        order = chance.choice(orders).number if chance.random() < 0.95 else "A-01"
        key = f"k{chance.randrange(nth + 1)}" if chance.random() < 0.1 else f"k{nth}"
        name, change = _some_change(shop, chance, key, who.id, order)
        try:
            told.append((name, plain(change())))
        except PenstockError as error:
            told.append((name, f"{type(error).__name__}: {error.message}"))
    return told


def _some_change(shop: Shop, chance: random.Random, key: str, who: str, order: str) -> tuple[str, Callable[[], Any]]:
    method = chance.choice([f"{who}-card", f"{who}-card", f"{who}-gift", f"{who}-paypal", "bo-card"])
    variants = chance.choices(list(_VARIANTS), k=chance.randint(1, 2))
    near = [one for one in _VARIANTS if one.split("-")[0] == variants[0].split("-")[0]]
    changes = [(variants[0], chance.choice(near))]
    address = replace(chance.choice([HOME, ELSEWHERE]), line2=str(chance.randrange(3)))
    some: dict[str, Callable[[], Any]] = {
        "cancel": lambda: shop.cancel(key, who, order, chance.choice((*OURS.reasons, "because"))),
        "items": lambda: shop.change_items(key, who, order, changes, method),
        "address": lambda: shop.change_address(key, who, order, address),
        "payment": lambda: shop.change_payment(key, who, order, method),
        "return": lambda: shop.give_back(key, who, order, variants, method),
        "exchange": lambda: shop.exchange(key, who, order, changes, method),
        "move": lambda: shop.move(key, who, address),
    }
    name = chance.choices(list(some), weights=(1, 5, 2, 4, 4, 5, 1))[0]
    return name, some[name]


def _together(work: Callable[[int], Any], count: int) -> list[Any]:
    """What came of the same work done at once in threads: results, and errors."""
    ready, results = threading.Barrier(count), [None] * count

    def run(nth: int) -> None:
        ready.wait()
        try:
            results[nth] = work(nth)
        except PenstockError as error:
            results[nth] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=(nth,)) for nth in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return results


def _stock_of(products: Sequence[Product]) -> Counter[str]:
    return Counter({one.id: one.stock for product in products for one in product.variants})


def _stock(shop: Shop) -> Counter[str]:
    return _stock_of(shop.products())


def _balance(shop: Shop, customer: str) -> Decimal | None:
    found = shop.customer(customer)
    assert found is not None
    return next(one.balance for one in found.payment_methods if one.kind == "gift_card")
