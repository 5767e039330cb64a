"""How a customer shows who they are: a code sent to their e-mail address, or their name and postcode. Tries are counted over all
conversations, and nobody learns whether an address or a name is known."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from penstock.agents.actions import LEVELS, Level, Person
from penstock.agents.sign_in import EMAIL, EmailCode, Mailer, Step, limits_of
from penstock.agents.talks import Talk
from penstock.agents.tries import Tries
from penstock.storage.database import Database

from .shop import Customer, Shop

__all__ = ["CustomerSignIn", "introduces"]

WRONG: Final = {"person": 10, "talk": 5, "caller": 200}  # names and postcodes that fit nobody, in an hour
MOST_PAIRS: Final = 12  # first and last names that a message is tried with
MOST_KEPT: Final = 3  # messages in which a name and a postcode may be said
_POSTCODE: Final = re.compile(
    r"\b(?:[A-Za-z]{1,2}\d[A-Za-z0-9]?\s?\d[A-Za-z]{2}|\d{3}\s\d{2}|\d{2}-\d{3}|\d{4}-\d{3}|"
    r"\d{4}\s?[A-Z]{2}|[A-Z]\d{2}\s?[A-Z\d]{4}|\d{4,6}(?:-\d{4})?)\b"
)
_NO_NAMES: Final = frozenset(
    [
        "i",
        "im",
        "am",
        "is",
        "my",
        "name",
        "the",
        "a",
        "an",
        "and",
        "in",
        "zip",
        "zipcode",
        "code",
        "postcode",
        "postal",
        "live",
        "living",
        "at",
        "of",
        "with",
        "you",
        "to",
        "want",
        "would",
        "like",
        "return",
        "order",
        "exchange",
        "cancel",
        "please",
        "hello",
        "hi",
        "hey",
        "thanks",
        "it",
        "its",
        "for",
        "me",
        "from",
        "number",
        "call",
        "called",
        "this",
        "residing",
        "by",
    ]
)
_NO_POSTCODE: Final = re.compile(
    r"#\w+|\b[A-Z]{2}-?\d{5,}\b|\bending in \d{4}\b|\b(?:address|moved|sent? to|goes? to)\b.*", re.I | re.S
)
_INTRODUCES: Final = re.compile(r"\b(?:name|i am|i'm|this is)\b", re.I)
ASK: Final = "Please tell me the e-mail address of your account, or your first and last name and your postcode."
NOT_FOUND: Final = (
    "I could not find an account with that. Please check it, and tell me your e-mail address, or "
    "your first and last name and your postcode."
)
LOCKED: Final = "There were too many tries. For your safety nobody can sign in here for a while; a person can help you."
NEEDS_CODE: Final = "For this I need to be sure that it is you, so I send a code to the e-mail address of your account."
OTHER: Final = "This conversation is with the customer who signed in first. Please begin another one."


@dataclass(slots=True)
class CustomerSignIn:
    """Satisfies `SignIn`. codes: None where an e-mail address alone will do, as behind a shop's own login."""

    shop: Shop
    tries: Tries
    codes: EmailCode | None

    @classmethod
    def by_mail(cls, shop: Shop, database: Database, secret: Callable[[], bytes], mailer: Mailer) -> CustomerSignIn:
        """With codes that are sent. secret: 32 bytes that stay the same."""

        def known(email: str) -> Person | None:
            customer = shop.by_email(email)
            if (
                customer is None or customer.email.strip().casefold() != email
            ):  # a shop may take letters for alike that are not
                return None  # the same mailbox, and the code goes to the address that was said
            return Person(customer.id, "verified")

        return cls(shop, Tries(database, secret), EmailCode(database, secret, known, mailer))

    def begin(self, talk: Talk, level: Level, said: str) -> Step:
        talk.state["sign_in"] = {}
        customer = self.shop.customer(talk.person.id) if talk.person.id else None
        if customer is not None and self.codes is not None:
            step = self.codes.begin(talk, level, customer.email)
            return step._replace(text=f"{NEEDS_CODE} {step.text}")
        plain = _NO_POSTCODE.sub(" ", said)
        if EMAIL.search(said) or (_POSTCODE.search(plain) and (len(plain) < 80 or _INTRODUCES.search(plain))):
            return self._heard(talk, said, level)._replace(heard=True)
        talk.state["sign_in"] = {"level": level}
        return Step(ASK)

    def go_on(self, talk: Talk, said: str) -> Step:
        notes: dict[str, Any] = talk.state.setdefault("sign_in", {})
        if (
            self.codes is not None
            and notes.get("email")
            and not (_POSTCODE.search(said) and list(_pairs(said)) and not talk.person.id)
        ):
            return self._checked(talk, self.codes.go_on(talk, said))
        return self._heard(talk, said, notes.get("level", "identified"))

    def _heard(self, talk: Talk, said: str, level: Level) -> Step:
        if EMAIL.search(said):
            if self.codes is not None:
                return self._checked(talk, self.codes.begin(talk, level, said))
            return self._by(talk, [one.rstrip(".") for one in EMAIL.findall(said)][:MOST_KEPT])
        notes: dict[str, Any] = talk.state["sign_in"]
        kept = [*notes.get("said", ()), said[:500]][-MOST_KEPT:]
        talk.state["sign_in"] = {"level": level, "said": kept}
        whole = ". ".join(kept)
        posts, pairs = _POSTCODE.findall(said) or _POSTCODE.findall(whole), _pairs(whole)
        if posts and pairs:
            return self._named(talk, pairs, posts[:2], level)
        if posts:
            return Step("And your first and last name?")
        return Step("And your postcode?", heard=len(said) < 80) if pairs and len(said) < 80 else Step(ASK, heard=False)

    def _by(self, talk: Talk, emails: Sequence[str]) -> Step:
        marks = self._begun(talk, [email.casefold() for email in emails], "email/")
        for email in emails:
            if marks.get(email.casefold()) and (customer := self.shop.by_email(email)) is not None:
                self._forgive(marks)
                return self._known(talk, customer, "verified")
        return Step(NOT_FOUND) if marks.get(emails[0].casefold()) else Step(LOCKED, over=True)

    def _named(self, talk: Talk, pairs: Sequence[tuple[str, str]], posts: Sequence[str], level: Level) -> Step:
        """Of one name nobody tries all postcodes, in however many conversations, whatever other names stand beside it."""
        marks = self._begun(talk, [_alike(*pair) for pair in pairs], "name/")
        for first, last in pairs:
            for post in posts if marks.get(_alike(first, last)) else ():
                if (customer := self.shop.by_name(first, last, post)) is not None:
                    self._forgive(marks)
                    enough: Level = "identified" if self.codes is not None else "verified"
                    if LEVELS.index(enough) >= LEVELS.index(level) or self.codes is None:
                        return self._known(talk, customer, enough)
                    talk.person = Person(customer.id, enough, tenant=talk.person.tenant)
                    return self.begin(talk, level, "")
        if not marks.get(_alike(*pairs[0])):
            return Step(LOCKED, over=True)
        talk.state["sign_in"] = {"level": level}
        return Step(NOT_FOUND)

    def _begun(self, talk: Talk, people: Sequence[str], what: str) -> dict[str, str]:
        """Count a try of the conversation and its caller, by "", and one of each whom the message may name. The mark of each; ""
        for somebody of whom there are no more tries, nothing at all where there are none here."""
        here = self.tries.begin(
            [one for kind, one in zip(WRONG, limits_of(talk, "", WRONG, what=what), strict=True) if kind != "person"]
        )
        if not here:
            return {}
        person = {"person": WRONG["person"]}
        return {"": here} | {
            one: self.tries.begin(limits_of(talk, one, person, what=what)) for one in dict.fromkeys(people)
        }

    def _forgive(self, marks: dict[str, str]) -> None:
        for mark in filter(None, marks.values()):
            self.tries.forgive(mark)

    def _known(self, talk: Talk, customer: Customer, level: Level) -> Step:
        return self._checked(talk, Step(f"Thank you, {customer.first_name}.", Person(customer.id, level)))

    def _checked(self, talk: Talk, step: Step) -> Step:
        """A conversation is with one customer."""
        if step.person is None:
            return step
        if talk.person.id and step.person.id != talk.person.id:
            return Step(OTHER, over=True)
        return step._replace(person=Person(step.person.id, step.person.level, tenant=talk.person.tenant))


def _alike(first: str, last: str) -> str:
    """Two names as one, by which tries are counted: whatever a shop takes for the same name is the same here."""
    letters = unicodedata.normalize("NFKD", f"{first}/{last}".casefold())
    return "".join(one for one in letters if one.isalpha() or one == "/")


def introduces(said: str) -> bool:
    """Whether somebody says who they are, and no more than that."""
    return len(said) < 120 and bool(EMAIL.search(said) or (_POSTCODE.search(said) and _pairs(said)))


def _pairs(text: str) -> list[tuple[str, str]]:
    """Words beside each other that may be a first and a last name, those that begin large first."""
    found = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+|[,.]", EMAIL.sub(" ", text))
    pairs = [
        (one, other) for one, other in itertools.pairwise(found)
        if one[0].isalpha() and other[0].isalpha() and not {one.casefold(), other.casefold()} & _NO_NAMES
    ]  # fmt: skip
    pairs.sort(key=lambda pair: -(pair[0][0].isupper() + pair[1][0].isupper()))
    return list(dict.fromkeys(pairs))[:MOST_PAIRS]
