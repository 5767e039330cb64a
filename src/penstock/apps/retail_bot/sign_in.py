"""How a customer shows who they are: a code sent to their e-mail address, or their name and postcode. Whoever guesses is locked out,
and nobody learns whether an address or a name is known."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from penstock.agents.actions import LEVELS, Level, Person
from penstock.agents.sign_in import Step
from penstock.agents.talks import Talk
from penstock.apps.retail_bot.shop import Customer, Shop
from penstock.errors import PenstockError
from penstock.storage.database import Tables
from penstock.trace import log

__all__ = ["CustomerSignIn", "Mail"]

TABLES: Final = [
    "create table retail_tries (who text primary key, tries integer not null, since real not null) strict",
]
MOST_TRIES: Final = 5
LOCKED_S: Final = 900.0
CODE_S: Final = 600.0
NAMES_COUNTED: Final = 3
MOST_PAIRS: Final = 12  # first and last names that a message is tried with
_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_POSTCODE: Final = re.compile(r"\b(?=[A-Za-z0-9 -]*\d)(?:[A-Za-z]{1,2}\d[A-Za-z0-9]?\s?\d[A-Za-z]{2}|\d{3}\s\d{2}|\d{2}-\d{3}|\d{4}\s?[A-Z]{2}|\d{4,6}(?:-\d{3,4})?)\b")
_NO_NAMES: Final = frozenset(
    "i im am is my name the a an and in zip zipcode code postcode postal live living at of with you to want would like return order "
    "exchange cancel please hello hi hey thanks it its for me from number call called this residing by".split()
)
ASK: Final = "Please tell me the e-mail address of your account, or your first and last name and your postcode."
ASK_AGAIN: Final = "I could not find an account with that. Please check it, and tell me your e-mail address, or your first and last name and your postcode."
LOCKED: Final = "There were too many tries. Please try again in a quarter of an hour, or ask for a person."
SENT: Final = "If there is an account with that address, I have sent a code of six digits to it. What is the code?"
SENT_KNOWN: Final = "For this I need to be sure that it is you. I have sent a code of six digits to the e-mail address of your account. What is the code?"
WRONG_CODE: Final = "That is not the code. Please look again."
NOT_SENT: Final = "I cannot send a code at the moment. Please try again later, or ask for a person."
NEW_CODE: Final = "Send a new code"


class Mail(Protocol):
    def send(self, to: str, subject: str, text: str) -> None:
        """Raises PenstockError where it could not be sent."""
        ...


@dataclass(slots=True)
class CustomerSignIn:
    """Satisfies `SignIn`. mail: what sends codes; None where an e-mail address alone will do, as behind a shop's own login.
    tables: where tries are counted, over all conversations and processes."""

    shop: Shop
    tables: Tables
    mail: Mail | None = None
    shop_name: str = "the shop"

    def __post_init__(self) -> None:
        self.tables.migrate("retail_bot_sign_in", TABLES)

    def begin(self, talk: Talk, level: Level, said: str) -> Step:
        notes: dict[str, Any] = {"level": level, "said": []}
        talk.state["sign_in"] = notes
        if self._is_locked(_visitor(talk)):
            return Step(LOCKED, over=True)
        if talk.person.id and self.mail is not None:
            customer = self.shop.customer(talk.person.id)
            if customer is not None:
                return self._send(talk, notes, customer, SENT_KNOWN)
        if _EMAIL.search(said) or _POSTCODE.search(said):
            return self._tried(talk, notes, said, first=True)
        return Step(ASK)

    def go_on(self, talk: Talk, said: str) -> Step:
        notes: dict[str, Any] = talk.state.setdefault("sign_in", {"level": "identified", "said": []})
        if self._is_locked(_visitor(talk)):
            return Step(LOCKED, over=True)
        if "code" in notes:
            return self._code(talk, notes, said)
        return self._tried(talk, notes, said, first=False)

    # ---------------------------------------------------------------- name and postcode, or e-mail

    def _tried(self, talk: Talk, notes: dict[str, Any], said: str, *, first: bool) -> Step:
        email = _EMAIL.search(said)
        if email:
            customer = self._by_emails(_EMAIL.findall(said)[:3])
            if self.mail is not None:
                return self._send(talk, notes, customer, SENT)
            if customer is not None:
                return self._known(talk, customer, "verified")
            return self._failed(talk)
        notes["said"] = [*notes["said"], said][-3:]
        whole = ". ".join(notes["said"])
        posts = _POSTCODE.findall(said) or _POSTCODE.findall(whole)
        pairs = list(_pairs(whole))
        if not posts or not pairs:
            if first or posts or pairs:
                return Step("And your postcode?" if pairs and not posts and not first else "And your first and last name?" if posts and not pairs else ASK, heard=bool(posts or pairs))
            return Step(ASK, heard=False)
        if notes["level"] == "verified" and self.mail is not None:
            return Step("For this I need your e-mail address, so that I can send you a code.")
        names = [f"name {_digest(f'{name} {last}'.casefold())}" for name, last in pairs[:NAMES_COUNTED]]
        if any(self._is_locked(name) for name in names):
            return Step(LOCKED, over=True)
        for name, last in pairs:
            for post in posts[:2]:
                if (customer := self.shop.by_name(name, last, post)) is not None:
                    return self._known(talk, customer, "identified" if self.mail is not None else "verified")
        for name in names:  # of one name nobody tries all postcodes, in however many conversations
            self._count(name)
        return self._failed(talk)

    def _by_emails(self, emails: Iterable[str]) -> Customer | None:
        return next((found for one in emails if (found := self.shop.by_email(one)) is not None), None)

    def _known(self, talk: Talk, customer: Customer, level: Level) -> Step:
        self._forget(_visitor(talk))
        wanted = talk.state["sign_in"].get("level", "identified")
        if LEVELS.index(level) < LEVELS.index(wanted):
            return self._send(talk, talk.state["sign_in"], customer, SENT_KNOWN)
        return Step(f"Thank you, {customer.first_name}.", Person(customer.id, level, tenant=talk.person.tenant))

    def _failed(self, talk: Talk) -> Step:
        talk.state["sign_in"]["said"] = []
        if self._count(_visitor(talk)) >= MOST_TRIES:
            return Step(LOCKED, over=True)
        return Step(ASK_AGAIN)

    # ---------------------------------------------------------------- a code

    def _send(self, talk: Talk, notes: dict[str, Any], customer: Customer | None, text: str) -> Step:
        """What is said is the same whether or not there is such an account."""
        assert self.mail is not None, "codes are sent where there is mail"
        code = f"{secrets.randbelow(1_000_000):06d}"
        to = customer.id if customer is not None else ""
        if to and self._count(f"mail {to}") > MOST_TRIES * 2:
            return Step(LOCKED, over=True)
        salt = secrets.token_hex(8)
        notes.update(code=_digest(f"{salt} {code}"), salt=salt, customer=to, until=time.time() + CODE_S)
        if customer is not None:
            try:
                self.mail.send(
                    customer.email, f"Your code for {self.shop_name}",
                    f"Your code is {code}. It holds for ten minutes. Nobody of {self.shop_name} will ask you for it by phone.\n",
                )  # fmt: skip
            except PenstockError as error:
                log("a code was not sent", level="error", error=error.code)
                notes.pop("code")
                return Step(NOT_SENT)
        return Step(text, quick_replies=(NEW_CODE,))

    def _code(self, talk: Talk, notes: dict[str, Any], said: str) -> Step:
        email = _EMAIL.search(said)
        if email and not talk.person.id:
            notes.pop("code")
            return self._tried(talk, notes, said, first=False)
        if NEW_CODE.casefold() in said.casefold():
            customer = self.shop.customer(notes["customer"]) if notes["customer"] else None
            if self._count(_visitor(talk)) >= MOST_TRIES:
                return Step(LOCKED, over=True)
            return self._send(talk, notes, customer, SENT)
        given = re.search(r"(?<!\d)\d{3}[ -]?\d{3}(?!\d)", said)
        if given is None:
            if _POSTCODE.search(said) and not talk.person.id and notes["level"] != "verified":
                notes.pop("code")
                return self._tried(talk, notes, said, first=False)
            return Step(WRONG_CODE if re.search(r"\d", said) else SENT, quick_replies=(NEW_CODE,), heard=False)
        code = re.sub(r"\D", "", given[0])
        right = secrets.compare_digest(_digest(f"{notes['salt']} {code}"), notes["code"]) and time.time() < notes["until"]
        customer = self.shop.customer(notes["customer"]) if right and notes["customer"] else None
        if customer is None or (talk.person.id and customer.id != talk.person.id):
            tries = max(self._count(_visitor(talk)), self._count(f"code {notes['customer']}") if notes["customer"] else 0)
            return Step(LOCKED, over=True) if tries >= MOST_TRIES else Step(WRONG_CODE, quick_replies=(NEW_CODE,))
        self._forget(_visitor(talk), f"code {customer.id}", f"mail {customer.id}")
        return Step(f"Thank you, {customer.first_name}.", Person(customer.id, "verified", tenant=talk.person.tenant))

    # ---------------------------------------------------------------- lock-out

    def _is_locked(self, who: str) -> bool:
        rows = self.tables.read("select tries, since from retail_tries where who = ?", (who,))
        return bool(rows) and rows[0][0] >= MOST_TRIES and time.time() < rows[0][1] + LOCKED_S

    def _count(self, who: str) -> int:
        now = time.time()
        with self.tables.write() as w:
            w.execute("delete from retail_tries where since < ?", (now - LOCKED_S,))
            w.execute(
                "insert into retail_tries (who, tries, since) values (?, 1, ?) on conflict (who) do update set tries = retail_tries.tries + 1,"
                " since = excluded.since",
                (who, now),
            )
            return int(w.execute("select tries from retail_tries where who = ?", (who,)).fetchone()[0])

    def _forget(self, *who: str) -> None:
        with self.tables.write() as w:
            for one in who:
                w.execute("delete from retail_tries where who = ?", (one,))


def _visitor(talk: Talk) -> str:
    """Whoever tries: by the visitor that the widget tells, else by the conversation."""
    return f"visitor {talk.caller.name}/{talk.visitor}" if talk.visitor else f"talk {talk.id}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    """Words beside each other that may be a first and a last name, those that begin large first."""
    found = [word for word in re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+|[,.]", _EMAIL.sub(" ", text))]
    pairs = [
        (one, other) for one, other in zip(found, found[1:], strict=False)
        if one[0].isalpha() and other[0].isalpha() and not {one.casefold(), other.casefold()} & _NO_NAMES
    ]  # fmt: skip
    pairs.sort(key=lambda pair: -(pair[0][0].isupper() + pair[1][0].isupper()))
    return list(dict.fromkeys(pairs))[:MOST_PAIRS]
