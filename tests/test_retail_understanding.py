"""What a shop's bot understands, on a catalogue that is no real one: it has to be the same for whichever products a shop has."""

from __future__ import annotations

from decimal import Decimal

import pytest

from penstock.apps.retail_bot.addresses import read_address
from penstock.apps.retail_bot.planning import Plan, chosen_places, plan
from penstock.apps.retail_bot.shop import Address, Customer, Item, Order, Payment, PaymentMethod, Product, Variant
from penstock.apps.retail_bot.understanding import (
    Place,
    clauses,
    mentions,
    methods_said,
    order_numbers,
    reason_said,
    understand,
)
from penstock.apps.retail_bot.variants import choose, options_said, read_target, words


def product(number: str, name: str, *variants: tuple[dict[str, str], str, int]) -> Product:
    made = [
        Variant(f"{number}-{place}", options, Decimal(price), stock)
        for place, (options, price, stock) in enumerate(variants)
    ]
    return Product(number, name, tuple(made))


KITE = product(
    "kite",
    "Stunt Kite",
    ({"colour": "teal", "span": "120 cm", "lines": "2"}, "40.00", 3),
    ({"colour": "teal", "span": "180 cm", "lines": "2"}, "60.00", 2),
    ({"colour": "amber", "span": "120 cm", "lines": "2"}, "38.00", 1),
    ({"colour": "amber", "span": "180 cm", "lines": "4"}, "72.00", 0),
    ({"colour": "plum", "span": "240 cm", "lines": "4"}, "95.00", 5),
)
LANTERN = product(
    "lantern",
    "Camping Lantern",
    ({"brightness": "low", "waterproof": "no", "power": "battery"}, "15.00", 3),
    ({"brightness": "high", "waterproof": "yes", "power": "battery"}, "29.00", 3),
    ({"brightness": "high", "waterproof": "no", "power": "solar"}, "25.00", 3),
    ({"brightness": "medium", "waterproof": "yes", "power": "solar"}, "22.00", 3),
)
JUMPER = product(
    "jumper",
    "Wool Jumper",
    ({"size": "S", "colour": "grey"}, "50.00", 2),
    ({"size": "M", "colour": "grey"}, "50.00", 2),
    ({"size": "L", "colour": "grey"}, "52.00", 1),
    ({"size": "M", "colour": "red"}, "54.00", 2),
)
FLASK = product(
    "flask",
    "Steel Flask",
    ({"capacity": "500ml"}, "12.00", 2),
    ({"capacity": "750ml"}, "14.00", 2),
    ({"capacity": "1000ml"}, "16.00", 2),
)
PRODUCTS = [KITE, LANTERN, JUMPER, FLASK]
HOME = Address("1 Low Road", "", "Bath", "Somerset", "BA1 1AA", "United Kingdom")
AWAY = Address("9 High Street", "Flat 2", "Leeds", "Yorkshire", "LS1 1AA", "United Kingdom")
CARD, GIFT, PAYPAL = (
    PaymentMethod("card", "credit_card", "Visa", "4321"),
    PaymentMethod("gift", "gift_card", balance=Decimal("20.00")),
    PaymentMethod("pal", "paypal"),
)
ANN = Customer("ann", "Ann", "Oak", "ann@example.org", HOME, (CARD, GIFT, PAYPAL))


def item(of: Product, place: int) -> Item:
    variant = of.variants[place]
    return Item(variant.id, of.id, of.name, variant.options, variant.price)


def order(number: str, status: str, *items: Item, address: Address = HOME, method: str = "card") -> Order:
    total = sum((one.price for one in items), Decimal(0))
    return Order(number, "ann", status, items, address, (Payment(total, method),))  # type: ignore[arg-type]


PENDING = order("#A1001", "pending", item(KITE, 0), item(JUMPER, 1))
ALONE = order("#A1002", "pending", item(FLASK, 0), address=AWAY)
THERE = order("#A1003", "delivered", item(LANTERN, 0), item(FLASK, 1), item(KITE, 2))
MORE = order("#A1004", "delivered", item(LANTERN, 1), item(JUMPER, 0), method="pal")
ORDERS = [PENDING, ALONE, THERE, MORE]


def planned(text: str, orders: list[Order] | None = None, **answers: str) -> Plan:
    mine = ORDERS if orders is None else orders
    return plan(understand(text, PRODUCTS, mine), ANN, mine, PRODUCTS, answers)


def steps(text: str, orders: list[Order] | None = None) -> list[tuple[str, dict]]:
    return [(one.action, one.arguments) for one in planned(text, orders).steps]


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two-piece", ["2", "piece"]), ("1.5L", ["1500", "ml"]), ("a 13\" screen", ["a", "13", "inch", "screen"]),
        ("I don't like it", ["i", "do", "not", "like", "it"]), ("Boxes and shelves", ["box", "and", "shelf"]),
        ("Mary's coloured T-shirts", ["mary", "color", "t", "shirt"]), ("extra large", ["xl"]), ("1,000 pieces", ["1000", "piece"]),
        ("", []), ("…!?", []),
    ],
)  # fmt: skip
def test_words_have_one_form_however_they_are_written(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("the teal one", "teal"),
        ("not the teal but the plum one", "plum"),
        ("one that is waterproof", "yes"),
        ("without waterproofing please, not waterproof", "no"),
        ("high brightness", "high"),
        ("a medium sized one", "M"),
        ("size L", "L"),
        ("one litre", "1000ml"),
        ("1 liter", "1000ml"),
        ("750 ml", "750ml"),
    ],
)
def test_options_are_found_by_the_values_that_the_catalogue_has(text, value):
    found = {one.value for of in PRODUCTS for one in options_said(of, words(text)) if not one.negated}

    assert value in found if value else not found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a larger one", "60.00"),
        ("the largest one, I do not care about the rest", "95.00"),
        ("the cheapest", "38.00"),
        ("an amber one", "38.00"),
        ("the most expensive one", "95.00"),
        ("plum, and all other options the same", None),
        ("180 cm", "60.00"),
        ("a span of 200 cm", None),
        ("with 4 lines", "95.00"),
        ("a kite under 39 EUR", "38.00"),
    ],
)
def test_a_new_variant_is_chosen_by_what_is_said_and_keeps_the_rest(text, expected):
    old = KITE.variants[0]
    found = choose(KITE, old.options, old.price, read_target(KITE, text, price=old.price), old_id=old.id)

    assert [str(one.price) for one in found[:1]] == ([expected] if expected else [])


def test_an_amount_of_one_option_is_no_amount_of_another_with_the_same_unit():
    pack = product(
        "pack",
        "Power Pack",
        ({"memory": "8GB", "disk": "256GB"}, "90.00", 1),
        ({"memory": "16GB", "disk": "512GB"}, "99.00", 1),
    )
    target = read_target(pack, "512GB, and actually 16GB")

    assert [one.id for one in choose(pack, pack.variants[0].options, Decimal("90.00"), target, old_id="pack-0")] == [
        "pack-1"
    ]


def test_what_is_out_of_stock_is_never_chosen():
    old = KITE.variants[1]

    assert not choose(KITE, old.options, old.price, read_target(KITE, "amber with 4 lines, 180 cm"), old_id=old.id)


def test_one_size_larger_is_the_next_size_and_not_the_largest():
    old = JUMPER.variants[0]
    found = choose(JUMPER, old.options, old.price, read_target(JUMPER, "a larger size"), old_id=old.id)

    assert [one.options["size"] for one in found] == ["M"]


# ---------------------------------------------------------------- what is wanted


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("I want to cancel order A1002 and return the lantern", ["cancel", "return"]),
        ("Where is my order #A1001?", ["status"]),
        ("Please return the flask. Also change the kite to amber", ["return", "change"]),
        ("How much did I pay for my last order?", ["total"]),
        ("What does the kite cost?", ["price"]),
        ("Connect me to a human", ["person"]),
        ("Deliver order A1001 to 5 Mill Lane, York, YO1 1AA please", ["address"]),
        ("Change my default address to my place in Leeds", ["move"]),
        ("Change the payment method of A1001 to PayPal", ["payment"]),
        ("I do not want to cancel anything", []),
        ("Nice weather today", []),
        ("", []),
    ],
)
def test_a_message_is_taken_apart_into_what_is_wanted(text, kinds):
    assert [wish.kind for wish in understand(text, PRODUCTS, ORDERS)] == kinds


def test_a_condition_stays_with_what_depends_on_it():
    assert clauses("Change it to red. If that is not possible, cancel the order. Thanks") == [
        "Change it to red",
        "If that is not possible, cancel the order",
        "Thanks",
    ]


@pytest.mark.parametrize("text", ["#A1001", "a1001", "order 1001", "order no. 1001!"])
def test_an_order_is_found_by_its_digits(text):
    assert order_numbers(text, ORDERS) == ("#A1001",)


def test_somebody_elses_number_is_no_order():
    assert order_numbers("#A9999", ORDERS) == ()


# ---------------------------------------------------------------- what is planned


def test_an_order_is_cancelled_by_its_only_item():
    assert steps("Cancel the flask I just ordered, I no longer need it") == [
        ("cancel_order", {"order": "#A1002", "reason": "no longer needed"}),
    ]


def test_one_item_of_an_order_is_not_cancelled_and_the_rule_is_named():
    found = planned("Cancel the kite from my pending order")

    assert not found.steps
    assert [(note.rule, note.order) for note in found.notes] == [("part_of_order", "#A1001")]


def test_where_one_item_cannot_go_what_else_was_wanted_is_done():
    assert steps(
        "Remove the kite from my pending order, I ordered it by mistake. If that is not possible, cancel the whole order."
    ) == [
        ("cancel_order", {"order": "#A1001", "reason": "ordered by mistake"}),
    ]
    assert not steps("Remove the kite from my pending order. If that is not possible, do nothing.")


def test_changes_of_one_order_are_one_step():
    assert steps("Change the kite to amber and the jumper to size L in order A1001, pay with PayPal") == [
        ("change_items", {"order": "#A1001", "changes": [("kite-0", "kite-2"), ("jumper-1", "jumper-2")], "method": "pal"}),
    ]  # fmt: skip


def test_a_change_of_mind_within_a_message_is_the_later_one():
    found = steps("Change the kite in A1001 to plum. Actually change the kite to amber")

    assert found[0][1]["changes"] == [("kite-0", "kite-2")]


@pytest.mark.parametrize("later", ["No, plum instead.", "Actually make it plum.", "I would rather have the plum one."])
def test_a_change_of_mind_about_a_value_leaves_the_later_one(later):
    found = steps(f"Change the kite in A1001 to amber.\n{later}")

    assert found[0][1]["changes"] == [("kite-0", "kite-4")]


@pytest.mark.parametrize(
    "text",
    [
        "I want to send the flask back",
        "Give back the flask please",
        "I'd like a refund for the flask",
        "can I return my flask?",
    ],
)
def test_a_return_has_many_words(text):
    assert [(name, arguments["items"]) for name, arguments in steps(text)] == [("return_items", ["flask-1"])]


def test_what_was_delivered_is_exchanged_and_what_is_pending_is_changed():
    assert [name for name, _ in steps("Swap the kite I received for a teal one")] == ["exchange_items"]
    assert [name for name, _ in steps("Change the kite in my pending order to amber")] == ["change_items"]


def test_items_go_back_from_several_orders_each_in_one_step():
    assert steps("Return both lanterns and the flask I received, refund to the gift card") == [
        ("return_items", {"order": "#A1003", "items": ["lantern-0", "flask-1"], "method": "gift"}),
        ("return_items", {"order": "#A1004", "items": ["lantern-1"], "method": "gift"}),
    ]


def test_everything_but_some_things_goes_back():
    found = steps("Return everything in order A1003 except the flask")

    assert found[0][1]["items"] == ["lantern-0", "kite-2"]


def test_the_dearer_of_two_is_meant_when_it_is_said():
    found = steps("I have two lanterns. I want to return the more expensive one")

    assert [arguments["items"] for _, arguments in found] == [["lantern-1"]]


def test_of_two_it_is_asked_which_and_the_answer_is_taken():
    asked = planned("I want to return the lantern")
    (question,) = asked.questions
    wishes = understand("I want to return the lantern", PRODUCTS, ORDERS)

    assert {one.order.number for one in question.places} == {"#A1003", "#A1004"}
    assert not asked.steps
    for answer in ("the one in A1004", "the waterproof one", "the bright one with high brightness"):
        found = plan(wishes, ANN, ORDERS, PRODUCTS, {question.about: answer})
        assert [one.arguments["items"] for one in found.steps] == [["lantern-1"]], answer


def test_a_refund_goes_where_it_may_or_what_else_was_said_is_done():
    assert "method" not in steps("Return the lantern of A1004, refund to my credit card")[0][1]
    found = steps(
        "Return the lantern of A1004 and refund to my credit card. If that is not possible, refund to the gift card"
    )
    assert found[0][1]["method"] == "gift"


def test_what_is_pending_cannot_be_returned_and_the_rule_is_named():
    found = planned("I want to return the jumper of order A1001")

    assert not found.steps
    assert found.notes[0].rule == "not_delivered"


def test_a_variant_that_is_not_there_is_a_note_with_what_is_nearest():
    found = planned("Change the kite in A1001 to an amber one with 4 lines")

    assert not found.steps
    assert found.notes[0].rule == "not_in_stock"
    assert "kite-4" in found.notes[0].choices


def test_preferences_are_tried_in_their_order():
    found = steps("Change the kite in A1001 to a span of 200 cm. If 200 cm is not possible, I want 180 cm")

    assert found[0][1]["changes"] == [("kite-0", "kite-1")]


def test_the_same_as_another_is_that_variant():
    found = steps("Change the flask in my pending order to the same one as I already received")

    assert found[0][1]["changes"] == [("flask-0", "flask-1")]


def test_addresses_come_before_items_which_come_before_nothing_else():
    found = steps("Change the kite in A1001 to amber, and change the address of A1001 to my place in Leeds")

    assert [name for name, _ in found] == ["change_address", "change_items"]
    assert found[0][1]["address"]["line1"] == "9 High Street"


# ---------------------------------------------------------------- methods, reasons, addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PayPal please", ["paypal"]),
        ("to the gift card, otherwise the credit card", ["gift_card", "credit_card"]),
        ("the original payment method", ["original"]),
        ("the card ending in 4321", ["4321"]),
        ("not PayPal", []),
        ("hello", []),
        ("GC", ["gift_card"]),
    ],
)
def test_ways_to_pay_are_named_in_their_order(text, expected):
    assert methods_said(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I ordered it by mistake", "ordered by mistake"),
        ("I don't need it anymore", "no longer needed"),
        ("it is ugly", ""),
        ("", ""),
    ],
)
def test_reasons_are_known_by_their_words(text, expected):
    assert reason_said(text) == expected


@pytest.mark.parametrize(
    ("text", "city", "postcode", "country"),
    [
        ("5 Mill Lane, York, YO1 7AB", "York", "YO1 7AB", "United Kingdom"),
        ("Lindenstraße 5, 10115 Berlin, Germany", "Berlin", "10115", "Germany"),
        ("12 rue de la Paix, 75002 Paris, France", "Paris", "75002", "France"),
        ("1234 Elm St, Springfield, IL, 62701", "Springfield", "62701", "United Kingdom"),
        ("445 Maple Drive, Suite 394, Fort Worth, Texas, 76165", "Fort Worth", "76165", "United Kingdom"),
    ],
)
def test_addresses_are_read_as_their_countries_write_them(text, city, postcode, country):
    found = read_address(text, ANN, ORDERS)

    assert found is not None
    assert (found.city, found.postcode, found.country) == (city, postcode, country)


def test_an_address_without_a_postcode_is_asked_for_again_and_never_made_up():
    assert read_address("5 Mill Lane, York", ANN, ORDERS, HOME) is None


@pytest.mark.parametrize(
    ("text", "line1", "line2", "city"),
    [
        ("5 Mill Lane, York, 54321", "5 Mill Lane", "", "York"),
        ("Flat 7 instead", "1 Low Road", "Flat 7", "Bath"),
        ("my place in Leeds", "9 High Street", "Flat 2", "Leeds"),
        ("to my default address", "1 Low Road", "", "Bath"),
        ("9 High Street", "9 High Street", "Flat 2", "Leeds"),
    ],
)
def test_addresses_are_whole_or_named_or_a_part_that_changes(text, line1, line2, city):
    found = read_address(text, ANN, ORDERS, HOME)

    assert found is not None
    assert (found.line1, found.line2, found.city) == (line1, line2, city)


def test_no_address_is_made_up():
    assert read_address("somewhere nice", ANN, ORDERS, HOME) is None


def test_an_answer_that_names_nothing_chooses_nothing():
    places = [Place(one, thing, at) for one in ORDERS for at, thing in enumerate(one.items)]

    assert chosen_places("hmm", places, PRODUCTS) == []


@pytest.mark.parametrize(
    "text", ["x" * 20_000, "return " * 2_000, "((((((((", "if if if if, then if", "\ud800", "🪁 " * 500, "#A1001" * 300]
)
def test_odd_messages_are_read_without_a_fault_and_without_a_long_time(text):
    planned(text)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("What can I do when something is damaged?", False),
        ("How much is the can?", True),
        ("Is the watering can in stock?", True),
    ],
)
def test_a_watering_can_is_not_in_every_question_with_can(said: str, named: bool):
    can = Product("W", "Spout watering can", (Variant("W1", {"capacity": "5 l"}, Decimal("26.90"), 20),), "Garden")

    assert bool(mentions(words(said), [can])) is named
