"""Support conversations with a known truth, from a seed: a shop, a telephone company and a bank, in English and German.

Each answer says facts of its customer's rows in one of several wordings, with dates and amounts written as people write them,
policy that no row has, and sums that are to be reckoned. `wrong` is the share of answers with facts in which one fact is changed;
which, where and to what is told with the log.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from penstock.support.conversations import Conversation, Row, Spoken

__all__ = ["Injected", "conversations"]

T = TypeVar("T")
EPOCH = datetime(2026, 3, 2, 8, 0, tzinfo=UTC).timestamp()
NAMES = (
    "Anna Bela Chen Dario Elif Femi Greta Hugo Ines Jonas Kofi Lena Mara Nils Olga Piet Rosa Sven Tara Vera Zoe".split()
)
THINGS = "mug lamp backpack kettle notebook headphones bicycle chair blender jacket tent keyboard".split()
GERMAN = dict(
    zip(
        THINGS,
        "Tasse Lampe Rucksack Wasserkocher Notizbuch Kopfhörer Fahrrad Stuhl Mixer Jacke Zelt Tastatur".split(),
        strict=True,
    )
)
MONTHS = "January February March April May June July August September October November December".split()
GERMAN_MONTHS = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()
STATES = {"pending": "ausstehend", "shipped": "verschickt", "delivered": "geliefert", "cancelled": "storniert"}


@dataclass(frozen=True, slots=True)
class Injected:
    """A fact that was changed. field: `total`, `placed`, `status`, `tracking`, `stock`, …"""

    conversation: str
    turn: int
    field: str
    right: str
    said: str


class _Maker:
    def __init__(self, seed: int | str, wrong: float) -> None:
        self.rng, self.wrong = random.Random(seed), wrong
        self.injected: list[Injected] = []

    def pick(self, some: Sequence[T]) -> T:
        return self.rng.choice(some)

    def money(self, value: float, language: str) -> str:
        if language == "de":
            return f"{value:.2f}".replace(".", ",") + self.pick([" €", " Euro", " EUR"])
        return self.pick([f"${value:.2f}", f"{value:.2f} USD", f"${value:,.2f}"])

    def day(self, value: date, language: str) -> str:
        if language == "de":
            return self.pick([f"{value.day}. {GERMAN_MONTHS[value.month - 1]} {value.year}", f"{value:%d.%m.%Y}"])
        month = MONTHS[value.month - 1]
        return self.pick(
            [
                f"{month} {value.day}, {value.year}",
                f"{value.day} {month} {value.year}",
                f"{value:%Y-%m-%d}",
                f"{month} {value.day}",
            ]
        )

    def changed(self, name: str, value: Any) -> Any:
        """Another value of the same kind."""
        match value:
            case float():
                return (
                    round(
                        value + self.pick([-1, 1]) * self.pick([0.5, 3.0, 10.0, 24.0, 100.0]) + self.pick([0.0, 0.11]),
                        2,
                    )
                    if value > 110
                    else round(value + self.pick([2.5, 10.0, 31.4]), 2)
                )
            case date():
                return value + timedelta(days=self.pick([-9, -4, -2, 2, 3, 6, 11, 31]))
            case int():
                return value + self.pick([2, 3, 5, 8])
        if name == "status":
            return self.pick([one for one in STATES if one != value])
        digits = [n for n, letter in enumerate(value) if letter.isdigit()]
        at = self.pick(digits)
        return f"{value[:at]}{(int(value[at]) + self.rng.randint(1, 8)) % 10}{value[at + 1 :]}"

    def said(self, name: str, value: Any, language: str) -> str:
        match value:
            case float():
                return self.money(value, language)
            case date():
                return self.day(value, language)
        if name == "status" and language == "de":
            return STATES[value]
        return str(value)


def conversations(
    n: int, *, seed: int | str = 0, wrong: float = 0.0, release: str = "r1", start: float = EPOCH, days: float = 60.0,
    german: float = 0.15,
    rude: float = 0.15, references: bool = False,
) -> tuple[list[Conversation], list[Injected]]:  # fmt: skip
    """n conversations over so many days, and what was changed in them."""
    maker = _Maker(seed, wrong)
    rng = maker.rng
    found = []
    people = max(3, n // 2)
    for number in range(n):
        language = "de" if rng.random() < german else "en"
        at = start + rng.random() * days * 86_400
        person = rng.randrange(people)
        kind = rng.choice([_order, _order, _stock, _refund, _bill, _balance])
        found.append(_one(maker, kind, f"{release}-{seed}-{number}", language, at, person, release, rude, references))
    return found, maker.injected


def _one(
    maker: _Maker, kind: Callable[[_Maker, str, date], tuple[str, list[Row], list[Any]]], id_: str, language: str, at: float,
    person: int,
    release: str, rude: float, references: bool,
) -> Conversation:  # fmt: skip
    rng = maker.rng
    today = datetime.fromtimestamp(at, UTC).date()
    intent, rows, exchanges = kind(maker, language, today)
    name = NAMES[person % len(NAMES)]
    account = Row(
        f"users/{name.lower()}_{person}",
        {
            "first_name": name,
            "email": f"{name.lower()}{person}@example.com",
            "member_since": str(today - timedelta(days=400)),
        },
    )
    turns: list[Spoken] = []
    clock = at
    upset = rng.random() < rude
    for asked, answer, facts in exchanges:
        clock += rng.uniform(5, 60)
        words = (
            {"en": "This is ridiculous, nobody helps me! ", "de": "Das ist lächerlich, niemand hilft mir! "}[language]
            if upset and turns
            else ""
        )
        turns.append(Spoken(role="customer", text=words + asked, at=clock))
        care = (
            {"en": "I'm sorry about the trouble. ", "de": "Es tut mir leid. "}[language]
            if words and rng.random() < 0.6
            else ""
        )
        greet = (
            {"en": f"Hi {name}, ", "de": f"Hallo {name}, "}[language] if len(turns) == 1 and rng.random() < 0.5 else ""
        )
        latency = rng.lognormvariate(6.5, 0.5)
        right = answer
        values = dict(facts)
        text = {name_: maker.said(name_, value, language) for name_, value in values.items()}
        said = dict(text)
        if values and rng.random() < maker.wrong:
            name_ = rng.choice(sorted(values))
            other = maker.changed(name_, values[name_])
            said[name_] = maker.said(name_, other, language)
            maker.injected.append(Injected(id_, len(turns), name_, text[name_], said[name_]))
        reply = care + greet + answer.format(**said)
        clock += latency / 1000
        turns.append(
            Spoken(
                role="bot", text=reply[:1].upper() + reply[1:], at=clock, latency_ms=latency, input_tokens=rng.randint(300, 900),
                output_tokens=rng.randint(20, 80), rows=tuple(rows) if len(turns) == 1 else (),
                references=(right.format(**text),) if references else (),
            )
        )  # fmt: skip
    ending = rng.random()
    if ending < 0.6 and not upset:
        clock += rng.uniform(5, 30)
        turns.append(
            Spoken(
                role="customer", text={"en": "Great, thanks a lot!", "de": "Super, vielen Dank!"}[language], at=clock
            )
        )
        turns.append(
            Spoken(
                role="bot",
                text={"en": "You're welcome. Have a nice day!", "de": "Gern geschehen. Einen schönen Tag noch!"}[
                    language
                ],
                at=clock + 0.4,
                latency_ms=400.0,
                input_tokens=300,
                output_tokens=9,
            )
        )
    escalated = upset and rng.random() < 0.5
    if escalated:
        turns.append(
            Spoken(
                role="customer",
                text={"en": "I want to talk to a person.", "de": "Ich will mit einem Menschen sprechen."}[language],
                at=clock + 20,
            )
        )
        turns.append(
            Spoken(
                role="bot",
                text={
                    "en": "I am connecting you to a colleague now.",
                    "de": "Ich verbinde Sie jetzt mit einer Kollegin.",
                }[language],
                at=clock + 21,
                hand_over=True,
                latency_ms=500.0,
                input_tokens=300,
                output_tokens=10,
            )
        )
    return Conversation(
        id=id_, turns=tuple(turns), release=release, language=language, intent=intent, customer=f"{name.lower()}_{person}",
        started=at,
        csat=(rng.choice([1.0, 2.0, 2.0, 3.0]) if upset else rng.choice([3.0, 4.0, 5.0, 5.0])) if rng.random() < 0.3 else None,
        rows=(account,),
    )  # fmt: skip


def _order(m: _Maker, language: str, today: date) -> tuple[str, list[Row], list[Any]]:
    number = f"#W{m.rng.randint(1_000_000, 9_999_999)}"
    items: list[dict[str, Any]] = [
        {"name": thing, "price": round(m.rng.uniform(5, 200), 2), "quantity": 1}
        for thing in m.rng.sample(THINGS, m.rng.randint(1, 3))
    ]
    placed = today - timedelta(days=m.rng.randint(2, 20))
    status = m.pick(list(STATES))
    total = round(sum(item["price"] for item in items), 2)
    tracking = f"TRK{m.rng.randint(10**8, 10**9 - 1)}"
    row = Row(
        f"orders/{number}",
        {"status": status, "placed": str(placed), "total": f"{total:.2f}", "items": items, "tracking": tracking},
    )
    first = {"status": status, "placed": placed}
    second: dict[str, Any] = {"total": total}
    third = {"tracking": tracking}
    if language == "de":
        return "track order", [row], [
            (f"Wo ist meine Bestellung {number}?", m.pick(["Ihre Bestellung " + number + " vom {placed} ist {status}.",
             "die Bestellung wurde am {placed} aufgegeben. Der Status ist {status}."]), first),
            ("Was habe ich bezahlt?", m.pick(["Der Gesamtbetrag ist {total}.", "Insgesamt haben Sie {total} bezahlt."]), second),
        ]  # fmt: skip
    exchanges: list[Any] = [
        (m.pick([f"Where is my order {number}?", f"Can you tell me the status of {number}?",
         f"hi, what's going on with order {number}"]),
         m.pick(["your order " + number + " was placed on {placed} and is {status}.",
         "I looked it up: it was placed on {placed}. It is currently {status}.",
         "The order from {placed} is {status}. Deliveries usually take 3 to 5 business days."]), first),
        (m.pick(["And how much did I pay in total?", "What was the total?"]), m.pick(["The total was {total}.",
         "You paid {total} for this order.", "In all it came to {total} for " + str(len(items)) + " items."]), second),
    ]  # fmt: skip
    if m.rng.random() < 0.5:
        exchanges.append(
            (
                m.pick(["How can I track the parcel?", "Is there a tracking number?"]),
                m.pick(
                    ["The tracking number is {tracking}.", "You can follow it with {tracking} on the carrier's site."]
                ),
                third,
            )
        )
    return "track order", [row], exchanges


def _stock(m: _Maker, language: str, today: date) -> tuple[str, list[Row], list[Any]]:
    thing = m.pick(THINGS)
    price, stock = round(m.rng.uniform(10, 300), 2), m.rng.randint(14, 90)
    row = Row(f"products/{m.rng.randint(1000, 9999)}", {"name": thing, "price": price, "stock": stock, "rating": 4.5})
    values = {"price": price, "stock": stock}
    if language == "de":
        return (
            "stock",
            [row],
            [
                (
                    f"Haben Sie den Artikel {GERMAN[thing]} noch?",
                    "Ja, {stock} Stück sind auf Lager, zum Preis von {price}.",
                    values,
                )
            ],
        )
    return "stock", [row], [
        (f"Do you still have the {thing}?", m.pick(["Yes, there are {stock} left in stock, at {price} each.",
         f"The {thing} costs {{price}}. We have {{stock}} in stock."]), values),
        ("How long does shipping take?", "Standard shipping takes 3 to 5 business days and is free over $50.", {}),
    ]  # fmt: skip


def _refund(m: _Maker, language: str, today: date) -> tuple[str, list[Row], list[Any]]:
    number = f"#W{m.rng.randint(1_000_000, 9_999_999)}"
    amount = round(m.rng.uniform(8, 250), 2)
    received = today - timedelta(days=m.rng.randint(1, 9))
    row = Row(
        f"refunds/{m.rng.randint(100, 999)}",
        {
            "order": number,
            "amount": f"-{amount:.2f}",
            "received": str(received),
            "card_last_four": str(m.rng.randint(1000, 9999)),
        },
    )
    values = {"amount": amount, "received": received}
    if language == "de":
        return (
            "refund",
            [row],
            [
                (
                    "Wann kommt meine Rückerstattung?",
                    "Wir haben die Ware am {received} erhalten. Sie bekommen {amount} zurück.",
                    values,
                )
            ],
        )
    return "refund", [row], [
        (m.pick([f"When do I get the refund for {number}?", "My refund has not arrived, why?"]),
         m.pick(["We received the item on {received}. A refund of {amount} is on its way to your card.",
         "A refund of {amount} was started after your return came in on {received}; banks take up to 10 days."]), values),
    ]  # fmt: skip


def _bill(m: _Maker, language: str, today: date) -> tuple[str, list[Row], list[Any]]:
    due = today + timedelta(days=m.rng.randint(3, 25))
    amount, used, limit = (
        round(m.rng.uniform(20, 120), 2),
        round(m.rng.uniform(1, 20), 1),
        float(m.pick([5.0, 15.0, 25.0, 50.0])),
    )
    row = Row(
        f"lines/L{m.rng.randint(1000, 9999)}",
        {
            "status": "active",
            "plan": "Basic",
            "bill": {"amount_due": amount, "due": str(due)},
            "data_used_gb": used,
            "data_limit_gb": limit,
        },
    )
    values = {"amount": amount, "due": due}
    if language == "de":
        return (
            "bill",
            [row],
            [("Wie hoch ist meine Rechnung?", "Ihre Rechnung beträgt {amount} und ist am {due} fällig.", values)],
        )
    return "bill", [row], [
        (m.pick(["How much is my phone bill this month?", "When is my bill due?"]),
         m.pick(["Your bill of {amount} is due on {due}.", "The amount due is {amount}, payable by {due}."]), values),
        ("Is my line still active?", "Yes, your line is active.", {}),
    ]  # fmt: skip


def _balance(m: _Maker, language: str, today: date) -> tuple[str, list[Row], list[Any]]:
    balance = round(m.rng.uniform(50, 9000), 2)
    reference = f"TX{m.rng.randint(10**6, 10**7 - 1)}"
    when, amount = today - timedelta(days=m.rng.randint(1, 6)), round(m.rng.uniform(5, 400), 2)
    rows = [
        Row(f"accounts/{m.rng.randint(10**7, 10**8 - 1)}", {"balance": balance, "currency": "USD"}),
        Row(f"transfers/{reference}", {"amount": amount, "date": str(when), "status": "pending"}),
    ]
    if language == "de":
        return "balance", rows, [("Wie ist mein Kontostand?", "Ihr Guthaben ist {balance}.", {"balance": balance})]
    return "balance", rows, [
        ("What is my account balance?", m.pick(["Your balance is {balance}.", "You have {balance} in your account right now."]),
         {"balance": balance}),
        ("Has my last transfer gone through?", m.pick(["The transfer " + reference + " of {amount} from {when} is still pending.",
         "Not yet: {amount} was sent on {when}, and it is still pending."]), {"amount": amount, "when": when}),
    ]  # fmt: skip


def lines(some: list[Conversation]) -> list[Mapping[str, Any]]:
    """As rows of JSON Lines."""
    return [one.plain() for one in some]
