"""Simulated customers and attackers, against a small bot that is written here: it asks, reads back, and can be told to fail."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from penstock.errors import BadRequest, UpstreamError
from penstock.support.goals import MOODS, Fact, Goal, Reached, Visitor, load_goals, visitors
from penstock.support.hostile import FAMILIES, FEWEST, Account, Private, attack, attackers
from penstock.support.simulator import PlayedByModel, Scripted, asked, converse, simulate
from penstock.types import Answer, Message, Status

CANCEL = Goal(
    id="cancel", wants="To cancel order #W12, which you no longer need.", intent="cancel_order",
    opening=("I want to cancel order #W12.", "Please cancel my order #W12", "cancel #W12"),
    facts=(Fact("email", "anna@mail.example", personal=True), Fact("reason", "no longer needed")),
    agrees=("#W12", "no longer needed"), done=r"#W12 is cancelled",
)  # fmt: skip


@dataclass
class SmallBot:
    """Signs in by e-mail, asks for a reason, reads back, cancels. Counts what it was told."""

    cancelled: list[str] = field(default_factory=list)
    known: str = ""
    order: str = ""
    reason: str = ""
    wrong: bool = False
    fails_at: int = 0
    told: int = 0

    def __call__(self, said: str) -> Answer:
        self.told += 1
        if self.told == self.fails_at:
            raise UpstreamError("the bot is away")
        if "#W12" in said:
            self.order = "#W12"
        if "@" in said:
            self.known = said
        if "needed" in said:
            self.reason = "no longer needed"
        if not self.known:
            return _answer("What is your e-mail address?")
        if not self.order:
            return _answer("Which order is it about?")
        if not self.reason:
            return _answer("What is the reason?", "no longer needed", "ordered by mistake")
        if said == "Yes":
            self.cancelled.append(self.order)
            return _answer("Order #W12 is cancelled. Anything else?")
        if said == "No":
            self.order = self.reason = ""
            return _answer("Nothing was changed. What can I do for you?")
        order = "#W13" if self.wrong else self.order
        return _answer(f"Cancel {order}, because it is {self.reason}. Is that right?", "Yes", "No")


def _answer(text: str, *buttons: str, status: Status = Status.ANSWER) -> Answer:
    return Answer(text, status, 1.0, quick_replies=buttons)


def said_by(held: object) -> list[str]:
    return [one.said for one in held.exchanges]  # type: ignore[attr-defined]


# ---------------------------------------------------------------- a customer


def test_a_customer_answers_what_is_asked_agrees_to_what_they_want_and_leaves():
    bot = SmallBot()

    held = converse(Visitor("v", CANCEL, (), 1), bot)

    assert bot.cancelled == ["#W12"]
    assert (held.ended, held.reached) == ("reached", True)
    assert any("anna@mail.example" in said for said in said_by(held))
    assert said_by(held)[-1] == "Yes"


def test_a_customer_does_not_agree_to_what_they_did_not_ask_for():
    bot = SmallBot(wrong=True)

    held = converse(Visitor("v", CANCEL, (), 1), bot)

    assert bot.cancelled == []
    assert (held.ended, held.reached) == ("gave_up", False)


@pytest.mark.parametrize("mood", MOODS)
def test_in_every_mood_a_goal_is_reached_with_a_bot_that_listens(mood):
    for seed in range(20):
        bot = SmallBot()

        held = converse(Visitor("v", CANCEL, (mood,), seed), bot)

        assert held.reached, said_by(held)
        assert bot.cancelled == ["#W12"]


def test_moods_can_be_heard():
    def talk(*moods: str) -> str:
        return "\n".join(
            "\n".join(said_by(converse(Visitor("v", CANCEL, moods, seed), SmallBot()))) for seed in range(8)
        )

    assert "Why do you need that?" in talk("distrustful") or "What do you want that for" in talk("distrustful")
    assert "No" in talk("changes_mind").split("\n")
    assert "I do not understand" in talk("confused") or "Where do I find" in talk("confused")
    assert len(talk("chatty")) > len(talk()) > len(talk("terse"))
    assert "#W12" in talk("typos")
    assert talk("typos").count("cancel") < talk().count("cancel")


def test_the_impatient_leave_a_bot_that_leads_nowhere():
    held = converse(
        Visitor("v", CANCEL, ("impatient",), 3), lambda said: _answer("What is your e-mail?  And the reason?")
    )

    assert held.ended in ("left", "gave_up")
    assert not held.reached
    assert len(held.exchanges) <= 11


def test_a_bot_that_never_understands_is_given_up():
    held = converse(Visitor("v", CANCEL, (), 3), lambda said: _answer("Sorry?"), most_turns=50)

    assert (held.ended, held.reached) == ("gave_up", False)
    assert len(held.exchanges) < 10


def test_who_is_handed_over_stops_talking_to_the_bot():
    held = converse(
        Visitor("v", CANCEL, (), 3), lambda said: _answer("A colleague takes over.", status=Status.HANDED_OVER)
    )

    assert held.ended == "handed_over"
    assert held.handed_over
    assert len(held.exchanges) == 1


def test_the_same_seed_says_the_same():
    def talks(seed: int) -> list[list[str]]:
        people = visitors([CANCEL], 30, seed=seed)
        held = {one.id: said_by(one) for one in simulate(people, lambda visitor: SmallBot(), concurrent=7)}
        return [held[visitor.id] for visitor in people]

    assert talks(4) == talks(4)
    assert talks(4) != talks(5)


def test_a_second_wish_comes_in_the_same_conversation():
    status = Goal(id="status", wants="", opening=("And where is #W13?",), done="on its way")
    heard: list[str] = []
    bot = SmallBot()

    def ask(said: str) -> Answer:
        heard.append(said)
        return _answer("It is on its way.") if "#W13" in said else bot(said)

    held = converse(Visitor("v", replace(CANCEL, then=(status,)), (), 1), ask)

    assert held.reached
    assert heard[-1] == "And where is #W13?"


def test_of_alternatives_a_customer_takes_the_one_that_they_know():
    known = (Fact("name", "Anna Weber"), Fact("postcode", "10115"))

    found = asked(known, "Please tell me your e-mail, or your name and your postcode.")

    assert [fact.value for fact in found] == ["Anna Weber", "10115"]


def test_what_a_bot_raises_ends_the_conversation_and_no_other():
    bots = iter([SmallBot(fails_at=2), SmallBot(), SmallBot()])
    lock = threading.Lock()

    def opens(visitor: Visitor) -> SmallBot:
        with lock:
            return next(bots)

    held = list(simulate(visitors([CANCEL], 3, moods=()), opens, concurrent=2))

    assert Counter(one.ended for one in held) == {"reached": 2, "failed": 1}
    failed = next(one for one in held if one.ended == "failed")
    assert "the bot is away" in failed.exchanges[-1].error
    assert failed.reached is False


def test_many_talk_at_once():
    talking, most, lock = 0, 0, threading.Lock()

    def ask(said: str) -> Answer:
        nonlocal talking, most
        with lock:
            talking += 1
            most = max(most, talking)
        time.sleep(0.01)
        with lock:
            talking -= 1
        return _answer("#W12 is cancelled")

    held = list(simulate(visitors([CANCEL], 60, moods=()), lambda visitor: ask, concurrent=20))

    assert len(held) == 60
    assert 10 < most <= 20


def test_who_stops_listening_ends_the_conversations_that_are_held():
    def slow(said: str) -> Answer:
        time.sleep(0.01)
        return _answer("What is your e-mail?")

    began = time.monotonic()
    running = simulate(visitors([CANCEL], 10_000, moods=()), lambda visitor: slow, concurrent=5)
    first = next(running)
    running.close()

    assert first.exchanges
    assert time.monotonic() - began < 5
    assert not [one for one in threading.enumerate() if one.name.startswith("customer")]


# ---------------------------------------------------------------- goals


def test_whether_a_goal_was_reached_is_looked_up_and_not_believed(tmp_path):
    shop = tmp_path / "shop.db"
    with sqlite3.connect(shop) as w:
        w.execute("create table orders (id text, state text)")
        w.execute("insert into orders values ('#W12', 'pending')")
    check = Reached(sql="select state from orders where id = '#W12'", rows=[["cancelled"]], state=shop)
    goal = replace(CANCEL, reached=check)

    claimed = converse(Visitor("v", goal, (), 1), SmallBot())
    with sqlite3.connect(shop) as w:
        w.execute("update orders set state = 'cancelled'")
    done = converse(Visitor("v", goal, (), 1), SmallBot())

    assert claimed.ended == done.ended == "reached"
    assert (claimed.reached, done.reached) == (False, True)


def test_goals_are_read_from_a_file(tmp_path):
    file = tmp_path / "goals.jsonl"
    row = {
        "id": "cancel", "opening": ["Cancel #W12", "I want to cancel #W12"], "done": "is cancelled", "agrees": ["#W12"],
        "facts": {"email": "anna@mail.example", "reason": {"value": "no longer needed", "asked": "why"}},
        "then": [{"opening": "And where is #W13?", "done": "on its way"}], "reached": {"says": ["cancelled"]},
    }  # fmt: skip
    file.write_text(json.dumps(row) + "\n")

    (goal,) = load_goals(file)

    assert goal.facts == (Fact("email", "anna@mail.example", personal=True), Fact("reason", "no longer needed", "why"))
    assert goal.then[0].opening == ("And where is #W13?",)
    assert isinstance(goal.reached, Reached)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no goals"),
        ("{", "neither JSON Lines nor"),
        ("[1]", "no JSON object"),
        ('{"id": "a"}', "`done` must be"),
        ('{"id": "a", "done": "x"}', "needs an `id` and an `opening`"),
        ('{"id": "a", "done": "(", "opening": "x"}', "no regular expression"),
        ('{"id": "a", "done": "x", "opening": "x", "wnats": ""}', "'wnats', which is not known"),
        ('{"id": "a", "done": "x", "opening": "x", "facts": []}', "`facts` must be an object"),
        ('{"id": "a", "done": "x", "opening": "x", "reached": {"sqll": ""}}', "'sqll', which is not known"),
        ('{"id": "a", "done": "x", "opening": "x"}\n{"id": "a", "done": "x", "opening": "x"}', "two goals"),
    ],
)
def test_goals_that_cannot_be_are_refused_by_name(tmp_path, text, said):
    file = tmp_path / "goals.jsonl"
    file.write_text(text)

    with pytest.raises(BadRequest, match=said.replace("(", r"\(")):
        load_goals(file)


def test_a_query_of_a_goal_cannot_write(tmp_path):
    shop = tmp_path / "shop.db"
    with sqlite3.connect(shop) as w:
        w.execute("create table orders (id text)")
    check = Reached(sql="drop table orders", rows=[], state=shop)

    with pytest.raises(BadRequest, match="the query of a goal failed"):
        converse(Visitor("v", replace(CANCEL, reached=check), (), 1), SmallBot())


def test_every_goal_comes_as_often_as_the_others_and_nobody_is_polite_and_angry():
    goals = [replace(CANCEL, id=name) for name in "abc"]

    people = visitors(goals, 300, seed=2, moody=1.0)

    assert Counter(one.goal.id for one in people) == {"a": 100, "b": 100, "c": 100}
    assert len({one.id for one in people}) == 300
    assert {mood for one in people for mood in one.moods} == set(MOODS)
    assert not any({"polite", "angry"} <= set(one.moods) for one in people)


# ---------------------------------------------------------------- a model plays


def test_a_model_can_play_the_customer():
    told: list[str] = []
    words = iter(["Hi, cancel #W12 please", "anna@mail.example", "no longer needed", "Yes", "[DONE]"])

    def speaks(instructions: str, seen: list[Message]) -> str:
        told.append(instructions)
        return next(words)

    visitor = Visitor("v", CANCEL, ("angry",), 1)
    bot = SmallBot()
    held = converse(visitor, bot, customer=PlayedByModel(visitor, speaks, "small"))

    assert bot.cancelled == ["#W12"]
    assert held.played_by == "small"
    assert "To cancel order #W12" in told[0]
    assert "You are angry." in told[0]


def test_the_script_goes_on_where_the_model_fails():
    words = iter(["Hello, I have a question about #W12"])

    def speaks(instructions: str, seen: list[Message]) -> str:
        try:
            return next(words)
        except StopIteration:
            raise UpstreamError("the model is away") from None

    visitor = Visitor("v", CANCEL, (), 1)
    bot = SmallBot()
    held = converse(visitor, bot, customer=PlayedByModel(visitor, speaks, "small"))

    assert bot.cancelled == ["#W12"]
    assert held.played_by == "script"
    assert held.reached


# ---------------------------------------------------------------- attackers

ANNA = Account(
    id="anna", first_name="Anna", last_name="Weber", email="anna@mail.example", postcode="10115", address="Lindenweg 4",
    orders={"#W12": ("pending", "Ridge tent", "89.00")}, of_kind={"pending": ("#W12",)},
)  # fmt: skip
BEN = Account(
    id="ben", first_name="Ben", last_name="Okafor", email="ben@mail.example", postcode="20095", address="Hafenstraße 12",
    orders={"#W77": ("delivered", "Blue kettle", "31.50", "TRACK-99881")}, of_kind={"delivered": ("#W77",)},
)  # fmt: skip


def test_every_attack_has_at_least_six_messages_and_the_same_seed_says_the_same():
    assert len(FAMILIES) >= 20
    for family in FAMILIES:
        first, second = (attack(family, ANNA, BEN, lambda said, key: _answer("No."), seed=3) for _ in range(2))

        assert len(first.exchanges) >= FEWEST, family
        assert [one.said for one in first.exchanges] == [one.said for one in second.exchanges], family


def test_attackers_sign_in_press_what_they_are_offered_and_send_things_again():
    keys: list[str] = []
    bot = SmallBot()

    def door(said: str, key: str) -> Answer:
        keys.append(key)
        return bot(said)

    attack("sends_everything_again", ANNA, BEN, door, seed=3)
    assert bot.known == ANNA.email
    assert max(Counter(keys).values()) >= 2

    bot.cancelled.clear()
    keys.clear()
    attack("agrees_twice_at_once", ANNA, BEN, door, seed=3)
    assert len(set(keys)) == len(keys)


def test_data_of_others_in_a_reply_are_found():
    private = Private([ANNA, BEN])

    def found(reply: str, said: str = "hello") -> list[str]:
        held = attack("says_yes_to_nothing", ANNA, BEN, lambda text, key: _answer(reply), seed=1)
        held = replace(held, exchanges=(replace(held.exchanges[0], said=said),))
        return [one.value for one in private.disclosed(held, mine=["anna"])]

    assert found("Your order #W12 with the Ridge tent goes to Lindenweg 4, Anna Weber.") == []
    assert found("There is BEN@mail.example, of course.") == ["ben@mail.example"]
    assert found("It went to  hafenstraße 12.") == ["hafenstrasse 12"]
    assert found("Parcel TRACK-99881 is on its way.") == ["track-99881"]
    assert found("You have no order #W77.", said="where is #W77?") == []
    assert found("Order #W77 was delivered.", said="where is #W77?") == ["#w77: delivered"]
    assert found("#W77: 1 Blue kettle", said="where is #W77?") == ["#w77: blue kettle"]
    assert found("There is #W77.") == ["#w77"]


def test_what_anybody_may_hear_is_not_disclosed():
    private = Private([ANNA, replace(BEN, private=("Berlin",))], public=["Berlin"])
    held = attack("says_yes_to_nothing", ANNA, BEN, lambda text, key: _answer("Our shop is in Berlin."), seed=1)

    assert private.disclosed(held, mine=["anna"]) == []


def test_an_attack_takes_two_accounts_and_a_family_that_there_is():
    with pytest.raises(BadRequest, match="two accounts"):
        attackers([ANNA], 5)
    with pytest.raises(BadRequest, match="no family 'bribes'"):
        attackers([ANNA, BEN], 5, families=["bribes"])

    drawn = attackers([ANNA, BEN], 2 * len(FAMILIES), seed=1)
    assert Counter(family for family, *_ in drawn) == dict.fromkeys(FAMILIES, 2)
    assert drawn == attackers([ANNA, BEN], 2 * len(FAMILIES), seed=1)


def test_a_conversation_becomes_a_line_of_a_log():
    held = converse(Visitor("v", CANCEL, ("polite",), 1), SmallBot())

    line = held.logged(release="2026.11", app="shop").plain()

    assert json.loads(json.dumps(line)) == line
    assert (line["id"], line["release"], line["intent"], line["resolved"]) == ("v", "2026.11", "cancel_order", True)
    assert [turn["role"] for turn in line["turns"][:2]] == ["customer", "bot"]


def test_scripted_customers_are_customers():
    customer = Scripted(Visitor("v", CANCEL, (), 1))

    assert customer.say(None) in CANCEL.opening
    assert customer.say(_answer("Order #W12 is cancelled.")) is None
    assert customer.ended == "reached"
