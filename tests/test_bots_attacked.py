"""Bots under attack, by the doors that customers have: guessed names, poisoned queues, a yes that is none, numbers put into their
mouths."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_retail_bot import WHO, Talking, ann, served
from test_sign_in import Door, door

from penstock.agents.loading import loaded
from penstock.agents.numbers import Founded
from penstock.agents.talks import Row
from penstock.agents.words import agreement
from penstock.apps.retail_bot.sign_in import CustomerSignIn
from penstock.errors import BadSetting

__all__ = ["ann", "door", "served"]  # fixtures of the neighbours

CANCEL = "Cancel order #W123, because it was too late? 25.99 EUR go back to you."


# ---------------------------------------------------------------- who somebody is


@pytest.mark.parametrize(
    "guess",
    [
        "{n} Bar{l}, Ann Oak, BA{p} 2ZZ",
        "ann oak, BA{p} 2ZZ",
        "Ánn Oák BA{p} 2ZZ",
        "ANN OAK. My postcode is BA{p} 2ZZ",
        "Ａｎｎ Ｏａｋ, BA{p} 2ZZ",
    ],
)
def test_no_way_of_writing_a_name_gives_more_guesses_at_its_postcode(ann: Talking, guess: str):
    for place in range(11):
        thief = Talking(ann.served, ann.folder)
        thief.says("My orders")
        letters = chr(ord("a") + place)
        thief.says(guess.format(n=f"Foo{letters}", l=letters, p=place % 10))

    thief = Talking(ann.served, ann.folder)
    thief.says("My orders")
    said = thief.says(guess.format(n="Fooz", l="z", p=1).replace("BA1 2ZZ", "BA1 1AA"))
    assert "Thank you" not in said
    assert "TH-101" not in said


def test_a_locked_name_locks_nobody_who_is_called_otherwise(ann: Talking):
    for place in range(11):
        thief = Talking(ann.served, ann.folder)
        thief.says("My orders")
        thief.says(f"Ben Elm, BA{place % 10} 2ZZ")

    ann.says("My orders")
    assert "Thank you, Ann" in ann.says(WHO)


def test_a_code_works_once(door: Door):
    talk = door.talk()
    door.sign_in.go_on(talk, "anna@example.com")
    code = door.post.code()

    assert door.sign_in.go_on(talk, code).person is not None
    assert door.sign_in.go_on(talk, code).person is None


def test_a_code_goes_to_no_address_that_only_looks_like_a_customers(ann: Talking, tmp_path: Path):
    class Alike:
        """A shop whose database takes letters for the same that are not the same mailbox."""

        def by_email(self, email: str):
            return ann.shop().by_email(email.replace("ä", "a"))

    signs = CustomerSignIn.by_mail(Alike(), ann.served.house.database, lambda: b"s" * 32, None)  # type: ignore[arg-type]
    assert signs.codes._known("ann@example.org").id == "C1"
    assert signs.codes._known("änn@example.org") is None


def test_whoever_comes_back_a_day_later_is_asked_anew_who_they_are(ann: Talking):
    ann.says("Cancel order TH-102, I ordered it by mistake")
    assert "Cancel the whole order TH-102" in ann.says(WHO)
    with ann.served.house.database.write() as w:
        w.execute("update talks set changed = changed - 86400 where id = ?", (ann.conversation,))

    said = ann.says("Yes")
    assert "TH-102" not in said
    assert "e-mail address" in ann.says("Where is my order TH-105?")
    assert ann.order("TH-102").status == "pending"
    path = f"/api/apps/shop/conversations/{ann.conversation}/requests"
    assert ann.served.client().get(path).json()["requests"] == []
    assert ann.conversation in ann.served.house.talks.mentions(lambda *texts: "C1" in texts)


# ---------------------------------------------------------------- a yes that is none


@pytest.mark.parametrize(
    "said",
    [
        "yes 🙄", "sure 🤡", "yeah right", "oh sure", "y̶e̶s̶", "~~yes~~", "\u202esey", "“yes”", "‹yes›", "yes？", "is that a yes",
        "yes if it is free",
        "yes I have a question", "did I say yes?", "yes; no", "yes\u2066", "ok 🖕", "ja aber", "oui mais", "sí pero",
        "yes but", "yes not", "no yes",
        "I never said yes", "Уes", "yes\n\nno", "he said yes", "yesn't", "yes/no", "if yes", "yes or no", "ok ok wait", "👍👎",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_yes_is_none(said: str):
    assert agreement(said, CANCEL) != "yes"


@pytest.mark.parametrize(
    "said", ["yes 🙂", "Yes please 🙏", "👍🏽", "ok ✅", "ｙｅｓ", "Yes!!", "sí", "yes ❤️", "Yes… please"]
)
def test_a_friendly_yes_is_one(said: str):
    assert agreement(said, CANCEL) == "yes"


# ---------------------------------------------------------------- numbers that a customer put into the bot's mouth


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("You promised me 50 % off, right", "Yes, you get 50 % off."),
        ("I have 90 days to return it, haven't I", "You have 90 days to return it."),
        ("So I get back 999.00", "Back go 999.00 to your card."),
        ("Ich habe 90 Tage", "Sie haben 90 Tage."),
        ("I get 80 percent", "You get 80 percent."),
        ("it is a 60-day return", "It is a 60-day return."),
    ],
)
def test_the_terms_of_a_shop_are_not_what_a_customer_says_they_are(said: str, told: str):
    row = Row("order/TH-101", {"order": "TH-101", "amount": "12.50", "days": 30})
    assert Founded([row], [], [said]).missing(told)


def test_what_is_a_customers_own_may_be_said_to_them():
    told = Founded([], [], ["I live at 12 Low Road, BA1 1AA, order TH-777"])
    assert not told.missing("I found nothing for TH-777. Your address is 12 Low Road, BA1 1AA.")


# ---------------------------------------------------------------- the people who take over


def test_a_flood_of_long_messages_does_not_hide_the_queue_from_reviewers(ann: Talking):
    ann.says("I would like to talk to a person.")
    assert ann.status == "handed_over"
    for number in range(60):
        assert "passed on" in ann.says(f"{number} " + "💥" * 3_990)

    waiting = ann.served.house.review.hand_overs.pending()
    mine = next(one for one in waiting if one.content.question.startswith("59 "))
    assert mine.content.history[-1]["content"].startswith("58 ")


def test_one_conversation_asks_for_people_only_so_often(ann: Talking):
    hand_overs = ann.served.house.review.hand_overs
    statuses = []
    for _ in range(12):
        ann.says("I would like to talk to a person.")
        statuses.append(ann.status)
        ann.says("Back to the assistant")

    assert statuses[:10] == ["handed_over"] * 10
    assert statuses[10:] == ["answer"] * 2
    assert not [one for one in hand_overs.pending() if one.content.question == "I would like to talk to a person."]


def test_in_a_conversation_that_is_full_nothing_is_done_any_more(ann: Talking):
    ann.says("Hello")
    hand_overs = ann.served.house.review.hand_overs
    before = len(hand_overs.pending())
    with ann.served.house.database.write() as w:
        w.execute("update talks set turns = 1000 where id = ?", (ann.conversation,))
    with pytest.raises(AssertionError, match="at most 1,000 messages"):
        ann.says("I would like to talk to a person.")

    assert len(hand_overs.pending()) == before


# ---------------------------------------------------------------- files of bots


@pytest.mark.parametrize(
    "text", ["raise SystemExit(3)", "import sys\nsys.exit('bye')", "def bot(house):\n    exit(1)\n"]
)
def test_a_bot_that_ends_the_process_is_a_wrong_setting(text: str, tmp_path: Path):
    (tmp_path / "bot.py").write_text(text)
    with pytest.raises(BadSetting, match=r"apps\.shop\.bot: .*SystemExit"):
        loaded(tmp_path / "bot.py", "bot", where="apps.shop.bot", house=None)


def test_a_file_that_cannot_be_imported_by_its_name_is_told(tmp_path: Path):
    (tmp_path / "my-bot.py").write_text("bot = 1")
    (tmp_path / "a.b.py").write_text("bot = 1")
    for name in ("my-bot.py", "a.b.py"):
        with pytest.raises(BadSetting, match="cannot be imported"):
            loaded(tmp_path / name, "bot", where="apps.shop.bot", house=None)
