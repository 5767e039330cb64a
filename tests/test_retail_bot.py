"""The retail bot by the front door: conversations over HTTP, with a shop in a file whose customers and orders are known."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from serving import Served, serving

from penstock.apps.retail_bot.shop import Address, Customer, Item, Order, Payment, PaymentMethod, Product, Variant
from penstock.apps.retail_bot.sql import SqlShop, fill
from penstock.storage.database import Database

TODAY = date.today()
TOML = """
home = "home"
[apps.shop]
bot = "bot.py"
[review]
people = true
"""
BOT = """
from pathlib import Path

from penstock.agents.sign_in import ToFolder
from penstock.apps.retail_bot.abilities import RetailBot
from penstock.apps.retail_bot.desk import Desk
from penstock.apps.retail_bot.sign_in import CustomerSignIn
from penstock.apps.retail_bot.sql import SqlShop
from penstock.storage.database import Database


def bot(house):
    folder = Path(__file__).parent
    shop = SqlShop(Database(folder / "shop.db"))
    secret = lambda: house.envelope.secret("", "sign-in")
    sign_in = CustomerSignIn.by_mail(shop, house.database, secret, ToFolder(folder / "outbox"))
    return RetailBot(Desk(shop), sign_in, shop.histories)
"""


def product(number: str, name: str, *variants: tuple[dict[str, str], str, int]) -> Product:
    made = [
        Variant(f"{number}{place}", options, Decimal(price), stock)
        for place, (options, price, stock) in enumerate(variants)
    ]
    return Product(number, name, tuple(made), "toys")


KITE = product(
    "K",
    "Stunt Kite",
    ({"colour": "teal"}, "40.00", 3),
    ({"colour": "amber"}, "38.00", 1),
    ({"colour": "plum"}, "55.00", 5),
    ({"colour": "jade"}, "55.00", 0),
)
FLASK = product("F", "Steel Flask", ({"capacity": "500 ml"}, "12.00", 2), ({"capacity": "750 ml"}, "14.00", 2))
LAMP = product("L", "Reading Lamp", ({"colour": "white"}, "21.50", 4), ({"colour": "black"}, "23.00", 4))
HOME = Address("1 Low Road", "", "Bath", "", "BA1 1AA", "United Kingdom")
ANN = Customer(
    "C1",
    "Ann",
    "Oak",
    "ann@example.org",
    HOME,
    (
        PaymentMethod("card", "credit_card", "Visa", "4321"),
        PaymentMethod("gift", "gift_card", balance=Decimal("20.00")),
    ),
)
BEN = Customer(
    "C2",
    "Ben",
    "Elm",
    "ben@example.org",
    Address("7 High Road", "", "Leeds", "", "LS1 1AA", "United Kingdom"),
    (PaymentMethod("ben-card", "credit_card", "Visa", "9999"),),
)


def item(of: Product, place: int) -> Item:
    one = of.variants[place]
    return Item(one.id, of.id, of.name, one.options, one.price)


def order(number: str, customer: Customer, status: str, *items: Item, days: int = 3) -> Order:
    total = sum((one.price for one in items), Decimal(0))
    placed, there = (TODAY - timedelta(days=days + 4)).isoformat(), (TODAY - timedelta(days=days)).isoformat()
    return Order(
        number,
        customer.id,
        status,
        items,
        customer.address,
        (Payment(total, customer.payment_methods[0].id),),  # type: ignore[arg-type]
        () if status == "pending" else (f"TR{number[-3:]}77",),
        placed,
        there if status == "delivered" else "",
    )


ORDERS = [
    order("TH-101", ANN, "pending", item(KITE, 0), item(LAMP, 0)), order("TH-102", ANN, "pending", item(FLASK, 0)),
    order("TH-103", ANN, "delivered", item(LAMP, 1), item(KITE, 1)), order("TH-104", ANN, "delivered", item(FLASK, 1), days=60),
    order("TH-105", ANN, "processed", item(LAMP, 0)),
]  # fmt: skip


@dataclass
class Talking:
    """Somebody who talks to the bot over HTTP."""

    served: Served
    folder: Path
    conversation: str = ""
    quick: tuple[str, ...] = ()
    status: str = ""

    def says(self, text: str) -> str:
        about = {"conversation": self.conversation} if self.conversation else {}
        body = {"model": "shop", "messages": [{"role": "user", "content": text}], **about}
        answer = self.served.client().post("/v1/chat/completions", json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        told = answer.json()["penstock"]
        self.conversation, self.quick, self.status = (
            told["conversation"],
            tuple(told.get("quick_replies", ())),
            told.get("status", ""),
        )
        return str(told["text"])

    def shop(self) -> SqlShop:
        return SqlShop(Database(self.folder / "shop.db"))

    def order(self, number: str) -> Order:
        return next(one for customer in ("C1", "C2") for one in self.shop().orders(customer) if one.number == number)

    def code(self) -> str:
        mails = []
        for _ in range(100):
            mails = sorted((self.folder / "outbox").glob("*.eml"))
            if mails:
                break
            time.sleep(0.05)
        found = re.search(r"\b\d{6}\b", mails[-1].read_text().split("\n\n", 1)[1])
        assert found is not None
        return found[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "bot.py").write_text(BOT)
    with serving(folder, TOML, documents=False) as one:
        yield one, folder


@pytest.fixture
def ann(served: tuple[Served, Path]) -> Talking:
    """Ann, before whom the shop is as it was, and who has not yet said who she is."""
    house, folder = served
    database = Database(folder / "shop.db")
    if database.has("orders"):
        with database.write() as w:
            for table in (
                "payments",
                "order_items",
                "orders",
                "payment_methods",
                "customers",
                "variants",
                "products",
                "done",
            ):
                w.execute(f"delete from {table}")
    fill(database, [KITE, FLASK, LAMP], [(ANN, ORDERS), (BEN, [order("TH-201", BEN, "delivered", item(KITE, 2))])])
    for mail in (folder / "outbox").glob("*"):
        mail.unlink()
    for table in (
        "tries",
        "action_log",
        "action_requests",
    ):  # what Ann asked for in other tests is not counted in this one
        if house.house.database.has(table):
            with house.house.database.write() as w:
                w.execute(f"delete from {table}")
    return Talking(house, folder)


WHO = "I am Ann Oak, my postcode is BA1 1AA"


def test_a_guest_hears_prices_and_stock_and_of_no_order(ann: Talking):
    said = ann.says("What does the kite cost, and which colours are in stock?")

    assert "38.00" in said
    assert "55.00" in said
    assert "3 in stock" in said
    assert "e-mail address" in ann.says("Where is my order?")


@pytest.mark.parametrize("text", ["What does delivery cost?", "How long does a refund take?", "Can orders be changed?"])
def test_a_question_about_the_rules_needs_no_sign_in(ann: Talking, text: str):
    assert "e-mail address" not in ann.says(text)


def test_whoever_signs_in_by_name_and_postcode_hears_of_their_orders(ann: Talking):
    ann.says("Where is my order TH-105?")
    said = ann.says(WHO)

    assert "Thank you, Ann" in said
    assert "TH-105 is processed" in said
    assert "TR10577" in said


def test_who_somebody_is_may_stand_in_the_first_message(ann: Talking):
    said = ann.says(f"{WHO}. Where is order TH-103?")

    assert "Thank you, Ann" in said
    assert "TH-103 is delivered" in said


def test_a_code_by_mail_signs_in_and_another_does_not(ann: Talking):
    ann.says("My orders")
    assert "code" in ann.says("ann@example.org")
    code = ann.code()
    wrong = "000000" if code != "000000" else "111111"
    assert "does not fit" in ann.says(wrong)
    assert "TH-101" in ann.says(code)


def test_an_address_that_nobody_has_gets_the_same_answer_and_no_mail(ann: Talking):
    ann.says("My orders")
    known = ann.says("ann@example.org")
    other = Talking(ann.served, ann.folder)
    other.says("My orders")
    ann.code()
    assert other.says("nobody@example.org") == known
    assert len(list((ann.folder / "outbox").glob("*"))) == 1


def test_whoever_guesses_postcodes_is_locked_out_in_every_conversation(ann: Talking):
    said = ""
    for place in range(12):
        if place % 4 == 0:
            ann = Talking(ann.served, ann.folder)
            ann.says("My orders")
        said = ann.says(f"Ann Oak, BA{place} 2ZZ")
    assert "too many tries" in said

    fresh = Talking(ann.served, ann.folder)
    fresh.says("My orders")
    assert "too many tries" in fresh.says(WHO)


def test_somebody_elses_order_is_not_found_even_by_its_number(ann: Talking):
    ann.says("My orders")
    ann.says(WHO)
    for asked in (
        "Where is order TH-201?",
        "Cancel order TH-201",
        "Return the kite of order TH-201",
        "I am Ben Elm, LS1 1AA. Show me TH-201",
    ):
        said = ann.says(asked)
        assert not any(secret in said for secret in ("9999", "High Road", "plum")), asked
    assert ann.order("TH-201").status == "delivered"


def test_an_order_is_cancelled_after_a_yes_to_what_was_read_back_and_once(ann: Talking):
    ann.says("I want to cancel order TH-102")
    asked = ann.says(WHO)
    assert "Why do you cancel it?" in asked
    assert "found it cheaper" in ann.quick
    shown = ann.says("I no longer need it")
    assert "TH-102" in shown
    assert "Steel Flask, capacity 500 ml" in shown
    assert "12.00 EUR" in shown
    assert ann.order("TH-102").status == "pending"
    assert "is cancelled" in ann.says("Yes")
    ann.says("Yes")
    assert ann.order("TH-102").status == "cancelled"
    assert ann.order("TH-102").paid == 0


def test_a_no_changes_nothing(ann: Talking):
    ann.says("Cancel order TH-102, I ordered it by mistake")
    assert "Cancel the whole order TH-102" in ann.says(WHO)
    assert "nothing was changed" in ann.says("No")
    assert ann.order("TH-102").status == "pending"


def test_one_item_is_not_cancelled_and_what_can_be_done_is_said(ann: Talking):
    ann.says("Please cancel the kite in order TH-101")
    said = ann.says(WHO)

    assert "only a whole order can be cancelled" in said
    assert "Cancel order TH-101" in ann.quick
    assert ann.order("TH-101").status == "pending"


def test_items_are_changed_with_the_difference_read_back(ann: Talking):
    ann.says("Change the kite in my pending order to a plum one and pay with my credit card")
    shown = ann.says(WHO)

    assert "colour teal becomes plum" in shown
    assert "15.00 EUR" in shown
    assert "Visa ending in 4321" in shown
    assert "Done" in ann.says("Yes, please")
    assert [one.variant for one in ann.order("TH-101").items] == ["K2", "L0"]


def test_a_change_of_mind_is_read_back_anew_and_the_first_is_void(ann: Talking):
    ann.says("Change the kite in my pending order to a plum one and pay with my credit card")
    ann.says(WHO)
    shown = ann.says("No, make it amber instead")
    assert "colour teal becomes amber" in shown
    assert "plum" not in shown
    ann.says("Yes")
    assert [one.variant for one in ann.order("TH-101").items] == ["K1", "L0"]


def test_what_is_out_of_stock_is_refused_with_what_there_is(ann: Talking):
    ann.says("Change the kite in order TH-101 to a jade one")
    said = ann.says(WHO)

    assert "no Stunt Kite like that in stock" in said
    assert "plum" in said
    assert ann.order("TH-101").status == "pending"


def test_an_item_goes_back_to_where_it_may_be_paid(ann: Talking):
    ann.says("I want to return the lamp from TH-103")
    asked = ann.says(WHO)
    assert "refund go" in asked
    assert ann.quick == ("Visa ending in 4321", "gift card with 20.00 EUR")
    shown = ann.says("to the gift card")
    assert "23.00 EUR go to" in shown
    assert "gift card" in shown
    ann.says("yes")
    assert ann.order("TH-103").status == "return requested"


def test_what_is_added_to_a_return_is_part_of_it(ann: Talking):
    ann.says("I want to return the lamp from TH-103, refund to the gift card")
    ann.says(WHO)
    shown = ann.says("I also want to return the kite from TH-103")
    assert "Reading Lamp" in shown
    assert "Stunt Kite" in shown
    assert "61.00 EUR" in shown
    ann.says("yes")
    assert len((ann.order("TH-103").notes or {})["return"]["items"]) == 2


def test_after_thirty_days_nothing_goes_back_and_the_rule_is_named(ann: Talking):
    ann.says("I want to return the flask of TH-104 to my gift card")
    said = ann.says(WHO)

    assert "within 30 days" in said
    assert ann.order("TH-104").status == "delivered"


def test_what_is_too_late_is_refused_before_anything_is_asked(ann: Talking):
    ann.says("I want to return order TH-104, all of it")
    said = ann.says(WHO)

    assert "within 30 days" in said
    assert "Where shall" not in said
    assert ann.order("TH-104").status == "delivered"


def test_an_order_is_cancelled_for_the_reason_that_was_named(ann: Talking):
    ann.says("Please cancel order TH-102, found it cheaper.")
    ann.says(WHO)
    ann.says("Yes")

    cancelled = ann.order("TH-102")
    assert cancelled.status == "cancelled"
    assert (cancelled.notes or {})["cancelled"]["reason"] == "found it cheaper"


def test_a_plea_for_help_beside_a_wish_does_not_tell_of_all_orders(ann: Talking):
    ann.says("Could you please help me? Cancel order TH-102, ordered by mistake.")
    said = ann.says(WHO)

    assert "TH-102" in said
    assert "TH-103" not in said


def test_stock_that_changed_is_told_in_the_next_turn(ann: Talking):
    assert "3 in stock" in ann.says("How much is the kite in teal?")
    database = Database(ann.folder / "shop.db")
    with database.write() as w:
        w.execute("update variants set stock = 17 where number = 'K0'")
    database.close()

    assert "17 in stock" in ann.says("How much is the kite in teal?")


def test_what_was_delivered_is_exchanged(ann: Talking):
    ann.says("Exchange the lamp I received for a white one, refund to my credit card")
    shown = ann.says(WHO)

    assert "colour black becomes white" in shown
    assert "get back 1.50 EUR" in shown
    ann.says("yes")
    assert ann.order("TH-103").status == "exchange requested"


def test_an_order_gets_another_address_and_a_half_one_is_asked_for_again(ann: Talking):
    ann.says("Change the delivery address of order TH-102")
    assert "What is the new address?" in ann.says(WHO)
    assert "What is the new address?" in ann.says("5 Mill Lane, York")
    assert "5 Mill Lane, York, YO1 7AB" in ann.says("5 Mill Lane, York, YO1 7AB")
    ann.says("yes")
    assert ann.order("TH-102").address.city == "York"


def test_ones_own_address_is_changed_after_a_code(ann: Talking):
    ann.says("My orders")
    ann.says(WHO)
    assert "code" in ann.says("I want to change my default address to 5 Mill Lane, York, YO1 7AB")
    assert ann.shop().customer("C1").address.city == "Bath"  # type: ignore[union-attr]
    assert "5 Mill Lane" in ann.says(ann.code())
    ann.says("yes")
    assert ann.shop().customer("C1").address.city == "York"  # type: ignore[union-attr]


def test_an_order_is_paid_in_another_way(ann: Talking):
    ann.says("Change the payment method of TH-102 to my gift card")
    shown = ann.says(WHO)

    assert "12.00 EUR" in shown
    assert "gift card" in shown
    ann.says("yes")
    assert any(payment.method == "gift" for payment in ann.order("TH-102").payments)


def test_several_orders_are_worked_through_in_one_conversation(ann: Talking):
    ann.says(
        "Cancel order TH-102, I no longer need it, and return the lamp from TH-103 to the gift card. "
        "Also change the kite in TH-101 to amber, use the gift card."
    )
    said = [ann.says(WHO)]
    for _ in range(6):
        if ann.quick[:1] != ("Yes",):
            break
        said.append(ann.says("Yes"))

    assert ann.order("TH-102").status == "cancelled", said
    assert ann.order("TH-103").status == "return requested", said
    assert [one.variant for one in ann.order("TH-101").items] == ["K1", "L0"], said


def test_a_row_that_changed_is_told_with_the_next_message(ann: Talking):
    ann.says("Where is order TH-102?")
    assert "TH-102 is pending" in ann.says(WHO)
    with Database(ann.folder / "shop.db").write() as w:
        w.execute("update orders set status = 'processed' where number = 'TH-102'")

    said = ann.says("thanks")

    assert re.search(r"As of \d\d:\d\d UTC: order TH-102: status is now processed; it was pending", said)


def test_what_changed_between_reading_back_and_the_yes_is_not_done(ann: Talking):
    ann.says("Cancel order TH-102, I ordered it by mistake")
    ann.says(WHO)
    with Database(ann.folder / "shop.db").write() as w:
        w.execute("update orders set status = 'processed' where number = 'TH-102'")
    ann.says("Yes")

    assert ann.order("TH-102").status == "processed"


def test_who_asks_for_a_person_gets_one_visibly_and_the_bot_is_silent(ann: Talking):
    said = ann.says("Can I talk to a human please?")
    assert "hand this over to a person" in said
    assert ann.status == "handed_over"
    assert "passed on to a person" in ann.says("Where is my order?")


def test_which_of_two_is_asked_and_the_answer_is_taken(ann: Talking):
    ann.says("Return the flask or lamp? I mean: exchange my lamp for a black one")
    ann.says(WHO)
    with Database(ann.folder / "shop.db").write() as w:
        w.execute("update orders set status = 'delivered', delivered = ? where number = 'TH-105'", (TODAY.isoformat(),))
    other = Talking(ann.served, ann.folder)
    other.says("I want to return the lamp to my gift card")
    asked = other.says(WHO)
    assert "Which do you mean?" in asked
    assert "TH-103" in asked
    assert "TH-105" in asked
    shown = other.says("the white one")
    assert "Return from order TH-105" in shown


def test_a_recommendation_is_in_stock_and_says_why(ann: Talking):
    said = ann.says("What would you recommend?")

    assert "in stock" in said
    assert "jade" not in said


@pytest.mark.parametrize(
    "text", ["x" * 3_900, "cancel " * 560, "🪁🪁🪁", "'; drop table orders; --", "return return return", "yes"]
)
def test_odd_messages_get_an_answer_and_change_nothing(ann: Talking, text: str):
    ann.says("My orders")
    ann.says(WHO)
    assert ann.says(text)
    assert {one.number: one.status for one in ann.shop().orders("C1")} == {one.number: one.status for one in ORDERS}


FIVE_RUE = "5 Rue de la Paix, 75002 Paris, France"


def test_a_read_back_is_plain_english_and_quotes_only_what_the_customer_wrote(ann: Talking):
    ann.says("Cancel order TH-101, I no longer need it")
    assert (
        "Cancel the whole order TH-101 (Stunt Kite, colour teal; Reading Lamp, colour white), because it is no longer needed? "
        "61.50 EUR go back to your Visa ending in 4321."
    ) in ann.says(WHO)
    assert 'Send order TH-102 to "5 Rue de la Paix, Paris, 75002, France" instead of' in ann.says(
        f"No, send order TH-102 to {FIVE_RUE} instead"
    )


@pytest.mark.parametrize(
    "keeps",
    [
        "keep it",
        "don't cancel it",
        "Leave it as it is.",
        "I changed my mind about cancelling",
        "actually, keep the order",
    ],
)
def test_who_keeps_an_order_takes_the_cancellation_back(ann: Talking, keeps: str):
    ann.says("Cancel order TH-101, I no longer need it")
    ann.says(WHO)

    assert "nothing was changed" in ann.says(keeps)
    assert "Yes" not in ann.quick
    ann.says("yes")
    assert ann.order("TH-101").status == "pending"


@pytest.mark.parametrize("instead", [f"actually keep it, but send it to {FIVE_RUE}", f"send it to {FIVE_RUE} instead"])
def test_another_address_takes_the_place_of_the_cancellation_of_the_same_order(ann: Talking, instead: str):
    ann.says("Cancel order TH-101, I no longer need it")
    ann.says(WHO)
    said = ann.says(instead)
    assert "Send order TH-101" in said
    assert "Cancel" not in said

    assert "Cancel" not in ann.says("yes")
    assert ann.order("TH-101").status == "pending"
    assert (ann.order("TH-101").address.city, ann.order("TH-101").address.country) == ("Paris", "France")


def test_what_was_taken_back_can_be_asked_for_again(ann: Talking):
    ann.says("Cancel TH-101, by mistake. And return the kite from TH-103 to the gift card")
    ann.says(WHO)
    said = ann.says("keep it, but cancel TH-102")
    assert "TH-101" not in said
    assert "whole order TH-102" in said
    assert "whole order TH-101" in ann.says("no, cancel TH-101 after all")


def test_a_return_in_place_of_an_exchange_is_all_that_is_done(ann: Talking):
    ann.says("could I swap the black lamp for the white one?")
    ann.says(WHO)
    ann.says("card")
    ann.says("wait no, I want to return it instead")
    assert "Return from order TH-103" in ann.says("gift card")

    assert "cannot be done" not in ann.says("yes please")
    assert ann.order("TH-103").status == "return requested"


def test_another_way_to_pay_leaves_what_goes_back_as_it_was_chosen(ann: Talking):
    ann.says("I want to return something")
    ann.says(WHO)
    ann.says(next(one for one in ann.quick if one.startswith("Stunt Kite")))
    ann.says("visa")
    said = ann.says("no, gift card")
    assert "Stunt Kite" in said
    assert "Reading Lamp" not in said
    assert "61.00 EUR" in ann.says("add the lamp too")


def test_many_orders_are_a_line_each_what_is_on_its_way_first(ann: Talking):
    ann.says("Where is my order?")
    said = ann.says(WHO)

    assert max(said.index(f"- {one}") for one in ("TH-105", "TH-102", "TH-101")) < said.index("- TH-103")
    assert "Which one do you mean?" in said
    assert set(ann.quick) == {one.number for one in ORDERS}
    assert "Total 12.00 EUR" in ann.says("TH-102")


def test_buttons_below_an_order_are_what_the_rules_allow_with_it(ann: Talking):
    ann.says("Where is order TH-102?")
    ann.says(WHO)
    assert ann.quick == ("Cancel order TH-102", "Change the address of order TH-102")
    ann.says("TH-103")
    assert ann.quick == ("Return something from order TH-103",)
    ann.says("TH-104")
    assert not any("TH-104" in one for one in ann.quick)
    ann.says("TH-102")
    assert "Why do you cancel it?" in ann.says("cancel it")


def test_what_an_order_cost_is_said_first(ann: Talking):
    ann.says("How much did the last one cost?")
    said = ann.says(WHO)
    assert "Order TH-105 cost 21.50 EUR" in said
    assert "It goes to" not in said


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("Do you have a red kite?", "There is no Stunt Kite in colour red."),
        ("Is the kite in stock in jade?", "The Stunt Kite, colour jade, is out of stock"),
        ("Do you have the flask in capacity 600 ml?", "There is no Steel Flask in capacity 600."),
    ],
)
def test_what_is_not_there_is_said_before_what_is(ann: Talking, asked: str, first: str):
    said = ann.says(asked)
    assert said.startswith(first)
    assert "in stock" in said
    assert "out of stock" not in said.removeprefix(first)


def test_a_product_that_was_told_of_is_called_it(ann: Talking):
    ann.says("Which colours does the kite come in?")
    assert "no Stunt Kite in colour red" in ann.says("do you have it in red?")


def test_it_is_not_asked_after_every_answer_whether_there_is_anything_else(ann: Talking):
    first, second = ann.says("Is the lamp available in black?"), ann.says("What does the flask cost?")
    assert "anything else" in first
    assert "anything else" not in second
    assert ann.says("thanks") == "You are welcome."


def test_a_question_is_not_taken_for_a_name(ann: Talking):
    ann.says("Where is my order?")
    said = ann.says("is it possible to have it gift wrapped")
    assert "And your postcode" not in said
    assert "did not understand" in said


def test_whoever_waits_for_a_parcel_hears_where_it_is(ann: Talking):
    ann.says("THIS IS RIDICULOUS. my parcel TH-105 never arrived!!!")
    assert "TR10577" in ann.says(WHO)
