"""What was done to a shop, held against what was asked for and what its rules allow: each fault that is put in is found."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from penstock.apps.retail_bot.audit import Books, problems, unagreed
from penstock.apps.retail_bot.demo import demo_shop
from penstock.apps.retail_bot.rules import available, paid_with
from penstock.apps.retail_bot.simulated import KINDS, account, drawn_goals
from penstock.apps.retail_bot.sql import SqlShop
from penstock.storage.database import Database
from penstock.support.simulator import Exchange, Simulated

TODAY = date(2026, 11, 30)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[SqlShop]:
    made = demo_shop(tmp_path / "shop.db", today=lambda: TODAY, customers=300)
    yield made
    made.close()


def customers(shop: SqlShop) -> list[str]:
    return [number for (number,) in shop._tables.read("select number from customers order by number")]


def one(shop: SqlShop, status: str) -> tuple[str, str]:
    """A customer and an order of theirs."""
    found = shop._tables.read(
        "select customer, number from orders where status = ? and (delivered = '' or delivered > '2026-11-15') order by number",
        (status,),
    )
    return tuple(found[0])  # type: ignore[return-value]


def test_what_the_rules_allow_is_no_problem(shop: SqlShop):
    before = Books.of(shop._tables)
    customer, order = one(shop, "pending")
    shop.cancel("k1", customer, order, "no longer needed")
    customer, order = one(shop, "delivered")
    found = next(x for x in shop.orders(customer) if x.number == order)
    if len(paid_with(found)) == 1:
        shop.give_back("k2", customer, order, [found.items[0].variant], next(iter(paid_with(found))))
    swapped = 0
    for customer, order in shop._tables.read("select customer, number from orders where status = 'pending'"):
        found = next(x for x in shop.orders(customer) if x.number == order)
        item, person = found.items[0], shop.customer(customer)
        assert person is not None
        product = shop.product(item.product)
        assert product is not None
        other = next((x for x in product.variants if x.stock and x.id != item.variant and x.price >= item.price), None)
        card = next((x.id for x in person.payment_methods if available(x, ()) is None), None)
        if other and card:
            shop.change_items(f"k{order}", customer, order, [(item.variant, other.id)], card)
            swapped += 1
    after = Books.of(shop._tables)

    assert swapped > 5
    assert len(after.done - before.done) >= swapped + 1
    assert problems(before, after, today=TODAY) == []


@pytest.mark.parametrize(
    ("sql", "kind", "why"),
    [
        ("update orders set status = 'cancelled' where status = 'processed'", "rule", "from processed to cancelled"),
        ("update orders set status = 'cancelled' where status = 'pending'", "money", "not all went back"),
        ("update orders set line1 = '1 Elsewhere' where status = 'delivered'", "rule", "address was changed while"),
        ("update orders set country = 'Brazil' where status = 'pending'", "rule", "in Brazil"),
        ("update order_items set cents = 1 where position = 0", "rule", "items were changed"),
        ("update payment_methods set cents = cents + 100 where kind = 'gift_card'", "money", "were expected"),
        ("update variants set stock = stock + 1 where number = 'P001-01'", "stock", "moved by 1, not 0"),
        ("update customers set email = 'x@x.x', email_key = 'x' where number = 'C000001'", "rule", "e-mail"),
        (
            "insert into payments select number, 90, 'paypal-999999', 5 from orders where status = 'pending'",
            "money", "not the customer's",
        ),
        (
            "update orders set status = 'return requested',"
            " notes = '{\"return\": {\"items\": [], \"amount\": \"0\", \"method\": \"\"}}'"
            " where status = 'delivered' and delivered < '2026-10-01'",
            "rule", "the last day was",
        ),
    ],
)  # fmt: skip
def test_each_breach_that_is_put_into_a_shop_is_found(shop: SqlShop, sql: str, kind: str, why: str):
    before = Books.of(shop._tables)
    with shop._tables.write() as w:
        assert w.execute(sql).rowcount

    found = problems(before, Books.of(shop._tables), today=TODAY)

    assert any(one.kind == kind and why in one.why for one in found), found[:5]


def requested(house: Database, number: str, states: list[tuple[str, str]], read_back: str = "Cancel it?") -> None:
    from penstock.agents.requests import STEPS

    house.migrate("actions", STEPS)
    with house.write() as w:
        w.execute(
            "insert into action_requests (id, tenant, person, conversation, key, action, effect, confirms, state, digest, words,"
            " outcome, proof, owner, begun, expires, created, changed, steps)"
            " values (?, '', 'p', 'c', ?, 'cancel_order', 'writes', 1, ?, 'd', json_object('read_back', ?), '', x'', '', 0, 0,"
            " 0, 0, 0)",
            (number, number, states[-1][0], read_back),
        )
        for step, (state, by) in enumerate(states):
            w.execute("insert into action_log (request, step, state, by, at, digest, why) values (?, ?, ?, ?, 0, '', '')",
                      (number, step, state, by))  # fmt: skip


def talked(*exchanges: tuple[str, str]) -> Simulated:
    return Simulated(
        id="c", goal="", wants="", intent="", language="en", moods=(), seed=0, ended="reached", reached=True,
        exchanges=tuple(Exchange(said, reply) for said, reply in exchanges),
    )  # fmt: skip


GOOD = [
    ("proposed", "assistant"),
    ("read_back", "house"),
    ("confirmed", "person"),
    ("running", "house"),
    ("done", "house"),
]


def test_a_change_that_nobody_agreed_to_is_found(shop: SqlShop, tmp_path: Path):
    before, house = Books.of(shop._tables), Database(tmp_path / "house.db")
    customer, order = one(shop, "pending")
    shop.cancel("r1", customer, order, "no longer needed")
    after = Books.of(shop._tables)
    agreed = talked(("cancel", "Cancel it?"), ("Yes", "Done."))

    requested(house, "r1", GOOD)
    assert unagreed(before, after, house, {"c": agreed}) == []
    assert unagreed(before, after, house, {"c": talked(("cancel", "Cancel it?"), ("No", "Done."))})
    assert unagreed(before, after, house, {"c": talked(("Yes", "Done."))})

    requested(house, "r2", GOOD)
    kinds = {one.kind for one in unagreed(before, after, house, {"c": agreed})}
    assert kinds == {"unagreed", "twice"}, "the shop has one change, and two are said to be done"
    house.close()


def test_a_change_without_a_request_or_without_its_steps_is_found(shop: SqlShop, tmp_path: Path):
    before, house = Books.of(shop._tables), Database(tmp_path / "house.db")
    customer, order = one(shop, "pending")
    shop.cancel("r1", customer, order, "no longer needed")
    after = Books.of(shop._tables)
    requested(house, "other", [("proposed", "assistant")])
    assert [one.why for one in unagreed(before, after, house, {})] == [
        "the shop has a change that no request stands for"
    ]

    requested(house, "r1", [("proposed", "assistant"), ("running", "house"), ("done", "house")])
    assert [one.kind for one in unagreed(before, after, house, {})] == ["unagreed"]
    house.close()


def test_goals_are_drawn_from_the_shop_of_every_kind_and_no_order_is_in_two(shop: SqlShop):
    goals = drawn_goals(shop, customers(shop), 60, seed=3, today=TODAY, codes=lambda email: "123456")

    assert {goal.intent for goal in goals} == set(KINDS)
    numbers = [fact.value for goal in goals for fact in goal.facts if fact.name == "order"]
    assert len(numbers) == len(set(numbers)) > 10
    again = drawn_goals(shop, customers(shop), 60, seed=3, today=TODAY, codes=lambda email: "123456")
    assert [goal.opening for goal in goals] == [goal.opening for goal in again]
    for goal in goals:
        if goal.intent in ("cancel", "return", "exchange", "change_items", "change_address", "change_payment", "move"):
            assert goal.reached is not None
            assert not goal.reached(talked(("hi", "It is done, all of it."))), (
                f"{goal.intent} is looked up, and not believed"
            )


def test_an_account_says_what_nobody_else_may_hear(shop: SqlShop):
    person = shop.customer("C000001")
    assert person is not None

    found = account(shop, person, today=TODAY, codes=lambda email: "123456")

    assert found.email == person.email
    assert set(found.orders) == {one.number for one in shop.orders("C000001")}
    assert sum(map(len, found.of_kind.values())) == len(found.orders)
    assert any(fact.name == "code" and fact.said == "123456" for fact in found.facts())
