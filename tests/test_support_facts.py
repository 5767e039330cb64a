"""What answers say of a customer's rows, held against them claim by claim."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.support_logs import conversations
from penstock.errors import BadRequest
from penstock.support.conversations import Conversation, Row, Spoken
from penstock.support.data import read_data
from penstock.support.facts import Given
from penstock.support.scoring import Scorer

ORDER = Row(
    "orders/#W2378156",
    {
        "status": "pending", "total": Decimal("129.50"), "placed": "2026-05-03", "tracking": "TRK99887766",
        "items": [{"name": "Mug", "price": "29.50", "quantity": 1}, {"name": "Lamp", "price": "100.00", "quantity": 1}],
    },
)  # fmt: skip
ANNA = Row("users/anna", {"first_name": "Anna", "email": "anna@example.com"})
MUG = Row("products/17", {"name": "Mug", "stock": 37, "price": 29.5})
NOW = datetime(2026, 5, 10, 12, tzinfo=UTC).timestamp()


def said(text: str, *rows: Row, asked: str = "", texts: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    """(kind, outcome, what was said) of each claim."""
    given_ = Given()
    given_.add_rows(rows or (ORDER, ANNA, MUG))
    given_.add_texts(texts)
    if asked:
        given_.add_said(asked)
    return [(one.kind, one.outcome, one.said) for one in given_.check(text, at=NOW)]


def wrong(text: str, *rows: Row, **more: str) -> list[str]:
    return [one for _, outcome, one in said(text, *rows, **more) if outcome in ("contradicted", "not_found")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "Hi Anna, your order #W2378156 is pending. It was placed on May 3, 2026 and the total is €129.50.",
        "It was placed on the 3rd of May.",
        "Two items, 29.50 and 100 EUR, which is 129.50 EUR together.",
        "The lamp is 70.50 EUR more than the mug.",
        "We have 37 mugs in stock. They cost 29.50 each.",
        "Deine Bestellung wurde am 3. Mai 2026 aufgegeben und kostet 129,50 €. Sie ist noch ausstehend.",
        "Once it is delivered, you can return it. It is not shipped yet.",
        "Your order was placed 7 days ago.",
        "Call us at 14:30, or write to anna@example.com.",
        "Was it bought in the last 90 days?",
        "Shipping is free over $50 and usually takes 3 to 5 business days.",
    ],
)
def test_what_the_rows_say_is_right_however_it_is_written(text):
    assert wrong(text) == []


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("The total is €139.50.", "€139.50"),
        ("It was placed on May 5, 2026.", "May 5, 2026"),
        ("Your order #W2378156 is already delivered.", "delivered"),
        ("You can follow it with TRK99887767.", "TRK99887767"),
        ("We have 39 mugs in stock.", "39"),
        ("It is out of stock.", "out of stock"),
        ("Hallo Bert, die Bestellung ist geliefert.", "geliefert"),
        ("Hello Bert, it is pending.", "Bert"),
        ("Der Gesamtbetrag ist 128,50 €.", "128,50 €"),
        ("I sent it to bert@example.com.", "bert@example.com"),
    ],
)
def test_a_value_that_the_rows_have_otherwise_is_found(text, claim):
    assert claim in wrong(text)


def test_a_wrong_claim_names_the_row_and_the_field_that_it_contradicts():
    given_ = Given()
    given_.add_rows([ORDER])
    (claim,) = [one for one in given_.check("The total was $139.50.") if one.outcome == "contradicted"]

    assert (claim.row, claim.field, claim.instead) == ("orders/#W2378156", "total", "129.50")
    assert claim.why == "says $139.50, and total of orders/#W2378156 is 129.50"


def test_what_the_customer_said_is_no_claim_of_the_bot():
    assert said("You mean order #W999, of 80 euros?", asked="My order #W999 was 80 euros") == [
        ("code", "unchecked", "#W999"),
        ("amount", "unchecked", "80 euros"),
    ]


def test_without_anything_given_nothing_is_called_wrong():
    assert {outcome for _, outcome, _ in said("It costs 12 EUR and comes on 3 May 2026.", Row("", {}))} == {"unchecked"}


def test_a_row_that_changed_counts_as_it_is_now():
    given_ = Given()
    given_.add_rows([Row("orders/#W1", {"total": "129.50"})])
    given_.add_rows([Row("orders/#W1", {"total": "99.50"})])

    (stale,) = given_.check("The total is 129.50 EUR.")
    both = given_.check("The total went from 129.50 EUR to 99.50 EUR.")

    assert (stale.outcome, stale.instead) == ("contradicted", "99.50")
    assert [one.outcome for one in both] == ["supported", "supported"]


def test_a_number_of_a_text_that_the_answer_rests_on_is_supported_and_another_is_not():
    texts = ("Returns are free within 30 days.",)

    assert said("You have 30 days.", Row("", {}), texts=texts)[0][1] == "supported"
    assert said("You have 60 days.", Row("", {}), texts=texts)[0][1] == "not_found"


def test_the_order_that_is_named_is_the_one_that_counts():
    rows = (
        Row("orders/#W111", {"status": "shipped", "total": "10.00"}),
        Row("orders/#W222", {"status": "pending", "total": "20.00"}),
    )

    assert wrong("Order #W222 is pending and its total is 20.00 EUR.", *rows) == []
    assert wrong("The total of order #W222 is 30.00 EUR.", *rows) == ["30.00 EUR"]


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(max_size=200),
    value=st.text(max_size=30) | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_whatever_is_said_of_whatever_row_a_claim_stands_where_it_says(text, value):
    given_ = Given()
    given_.add_rows([Row("orders/#W1", {"total": value, "status": "pending"})])

    for one in given_.check(text, at=NOW):
        assert text[one.start : one.end].strip() == one.said.strip()


# ---------------------------------------------------------------- known truth


def test_changed_facts_are_found_and_nothing_else_is_called_wrong():
    some, injected = conversations(250, seed=21, wrong=0.5, german=0.3)

    scored = Scorer().score(some)

    places = {(one.conversation, one.turn) for one in injected}
    found = {
        (one.conversation, one.turn)
        for each in scored
        for one in each.findings
        if one.kind in ("wrong_fact", "made_up", "wrong_name")
    }
    assert len(places) > 100
    assert len(found & places) >= 0.95 * len(places)
    assert len(found - places) <= 0.01 * sum(one.answers for one in scored)


# ---------------------------------------------------------------- an export


DATA = {
    "users": {"anna_1": {"name": {"first_name": "Anna"}, "orders": ["#W1000001"]}, "bert_2": {"name": {"first_name": "Bert"},
    "orders": ["#W2000002"]}},
    "orders": {
        "#W1000001": {"order_id": "#W1000001", "user_id": "anna_1", "status": "pending", "total": 20.5, "color": "blue"},
        "#W2000002": {"order_id": "#W2000002", "user_id": "bert_2", "status": "delivered", "total": 99.0, "color": "red"},
    },
}  # fmt: skip


def chat(*answers: str, customer: str = "anna_1", asked: str = "Where is my order #W1000001?") -> Conversation:
    turns = [Spoken(role="customer", text=asked), *(Spoken(role="bot", text=text) for text in answers)]
    return Conversation(id="c", turns=tuple(turns), customer=customer)


def kinds(conversation: Conversation, path: Path) -> list[str]:
    (scored,) = Scorer(data=read_data(path)).score([conversation])
    return [f"{one.kind}: {one.said}" for one in scored.findings if one.kind in ("wrong_fact", "made_up")]


def test_facts_are_checked_against_an_export_by_the_codes_and_the_customer_of_a_conversation(tmp_path):
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(DATA))

    assert kinds(chat("It is pending, and the total is $20.50."), path) == []
    assert kinds(chat("It is delivered, and the total is $21.50."), path) == [
        "wrong_fact: delivered",
        "wrong_fact: $21.50",
    ]
    assert kinds(chat("Your red jacket is pending."), path) == ["wrong_fact: red"]


def test_another_customers_row_makes_no_claim_right(tmp_path):
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(DATA))

    assert kinds(chat("The total is $99.00.", asked="I am anna_1. What about #W1000001 and #W2000002?"), path) == [
        "wrong_fact: $99.00"
    ]


def test_an_export_may_be_sqlite_or_a_table(tmp_path):
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.execute("create table orders (order_id text, user_id text, status text, total real)")
        database.execute("insert into orders values ('#W1000001', 'anna_1', 'pending', 20.5)")
        database.commit()
    (tmp_path / "orders.csv").write_text("order_id,user_id,status,total\n#W1000001,anna_1,pending,20.5\n")

    for name in ("shop.db", "orders.csv"):
        assert kinds(chat("The total is $21.50."), tmp_path / name) == ["wrong_fact: $21.50"]


def test_an_export_that_is_none_says_so(tmp_path):
    (tmp_path / "x.json").write_text("{")
    (tmp_path / "e.json").write_text("[]")

    with pytest.raises(BadRequest, match="is not JSON"):
        read_data(tmp_path / "x.json")
    with pytest.raises(BadRequest, match="there is no row"):
        read_data(tmp_path / "e.json")
    with pytest.raises(BadRequest, match="cannot be read"):
        read_data(tmp_path / "none.json")


def test_a_round_number_is_no_near_one_unless_it_is_said_to_be_about():
    given = Given()
    given.add_rows([Row("bookings/BK-17383", {"nights": 9, "price": 96.20})])

    (wrong,) = given.check("You stay for 10 nights.")
    assert (wrong.outcome, wrong.instead) == ("contradicted", "9")
    (dear,) = given.check("The price is $100.")
    assert dear.outcome == "contradicted"
    (about,) = given.check("You stay for about 10 nights.")
    assert about.outcome == "supported"


def test_a_count_is_held_against_its_field_in_other_languages():
    given = Given()
    given.add_rows([Row("bookings/BK-1", {"nights": 8})])

    for text in ("Son 9 noches.", "Cela fait 9 nuits.", "Het zijn 9 nachten.", "Es sind 9 Nächte."):
        assert [one.outcome for one in given.check(text)] == ["contradicted"], text
