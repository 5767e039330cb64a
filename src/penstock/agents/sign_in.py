"""Finding out who somebody is: what a bot asks before it does what is for people who are known.

Whoever asks learns nothing of others: what is said is the same for an address that is known and for one that is not, and so is
what is done until it is said. Codes are kept as digests, work for ten minutes, in the conversation that asked for them alone.
"""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from penstock.agents.actions import Level, Person
from penstock.agents.talks import Talk
from penstock.agents.tries import Limit, Tries
from penstock.agents.words import folded
from penstock.config import ChannelSettings
from penstock.errors import PenstockError
from penstock.storage.database import Database
from penstock.storage.files import storage_errors
from penstock.trace import log, place

__all__ = ["ByMail", "EmailCode", "EmailSayings", "Mailer", "SignIn", "Step", "ToFolder", "limits_of"]

STEPS = [
    """
    create table sign_in_codes (
        talk text primary key, who blob not null, proof blob not null, expires real not null
    ) strict, without rowid
    """,
]
VALID_S: Final = 600.0
HOUR_S: Final = 3600.0
WRONG: Final = {
    "person": 10,
    "talk": 5,
    "caller": 200,
}  # wrong codes in an hour; a caller may be a shop with many customers
MAILS: Final = {"person": 5, "talk": 5}  # in an hour
EMAIL: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_CODE: Final = re.compile(r"(?<!\d)(\d{3})[ -]?(\d{3})(?!\d)")
_AGAIN: Final = re.compile(
    r"\b(?:resend|re-send|again|another code|new code|no code|(?:did not|didn't|haven't|have not) (?:get|got|received?|arrived?)"
    r"|noch ?mal|neuer code|otra vez|de nuevo|encore|nouveau code|di nuovo|opnieuw)\b"
)


class Step(NamedTuple):
    """What comes of one message of somebody who signs in."""

    text: str  # the next question, or what is said now
    person: Person | None = None  # who it is, once that is known
    quick_replies: tuple[str, ...] = ()
    over: bool = False  # there are no more tries
    heard: bool = True  # whether what was said answers what was asked


class SignIn(Protocol):
    """Asks somebody who they are, message by message. Its own notes stand in `talk.state["sign_in"]`, plain JSON."""

    def begin(self, talk: Talk, level: Level, said: str) -> Step:
        """The first question. level: how well it has to be known. said: the message that led here, which may answer it already."""
        ...

    def go_on(self, talk: Talk, said: str) -> Step:
        """What comes of an answer. Whoever says something else is asked again: `heard` is false then, `text` is the question."""
        ...


class Mailer(Protocol):
    """Sends one mail. Raises PenstockError where it could not."""

    def send(self, to: str, subject: str, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ByMail:
    """By a mail server: `ChannelSettings(kind="email", host="mail.example.com", sender="shop@example.com", …)`."""

    server: ChannelSettings

    def send(self, to: str, subject: str, text: str) -> None:
        from penstock.observe.deliver import mail

        mail(self.server, to, subject, text)


@dataclass(frozen=True, slots=True)
class ToFolder:
    """For trying it out: mails are files in a folder, and go nowhere."""

    folder: Path

    def send(self, to: str, subject: str, text: str) -> None:
        message = EmailMessage()
        message["To"], message["Subject"] = to, subject
        message.set_content(text)
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{time.time_ns()}.eml").write_bytes(bytes(message))


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailSayings:
    """What is said meanwhile. No word of it depends on whether an address is known."""

    ask: str = "Before I can do that I need to know who you are. What is your e-mail address?"
    sent: str = "If there is an account with this address, a code is on its way to it. What is the code? It works for ten minutes."
    wrong: str = "That code does not fit, or it is too old. What is the code? Say “again” for a new one."
    locked: str = "There were too many tries. For your safety nobody can sign in here for a while."
    done: str = "Thank you, you are signed in."
    subject: str = "Your code"
    mail: str = (
        "Your code is {code}. It works for ten minutes, in the conversation that you have now.\n\nNot you? Ignore it."
    )
    again: str = "Send a new code"


def limits_of(talk: Talk, who: str, most: dict[str, int], *, per_s: float = HOUR_S, what: str = "") -> list[Limit]:
    """Limits for one try of a person in a conversation of a caller. who: whom somebody says to be, known or not."""
    names = {"person": who, "talk": talk.id, "caller": f"{talk.caller.tenant}/{talk.caller.name}/{talk.visitor}"}
    return [Limit(f"{what}{kind}/{names[kind]}", count, per_s) for kind, count in most.items()]


class EmailCode:
    """Satisfies `SignIn`: a code by mail. Whoever has it is verified."""

    def __init__(
        self, database: Database, secret: Callable[[], bytes], known: Callable[[str], Person | None], mailer: Mailer, *,
        sayings: EmailSayings = EmailSayings(),
    ) -> None:  # fmt: skip
        """secret: 32 bytes that stay the same, such as `lambda: house.envelope.secret("", "sign-in")`. known: whose address it is,
        in small letters; it is looked up after the reply, so how long that takes tells nobody anything."""
        self._database, self._secret, self._known, self._mailer, self._sayings = (
            database,
            secret,
            known,
            mailer,
            sayings,
        )
        self._tries = Tries(database, secret)
        self._migrated = False

    def begin(self, talk: Talk, level: Level, said: str) -> Step:
        talk.state["sign_in"] = {}
        return self._addressed(talk, said) or Step(self._sayings.ask)

    def go_on(self, talk: Talk, said: str) -> Step:
        email = str(talk.state.get("sign_in", {}).get("email", ""))
        if step := self._addressed(talk, said):
            return step
        if not email:
            return Step(self._sayings.ask, heard=False)
        if code := _CODE.search(said):
            return self._tried(talk, email, code[1] + code[2])
        if _AGAIN.search(folded(said)) or said.strip() == self._sayings.again:
            return self._sent(talk, email)
        return Step(self._sayings.sent, quick_replies=(self._sayings.again,), heard=False)

    def _addressed(self, talk: Talk, said: str) -> Step | None:
        """A code for the address in a message, where there is one."""
        found = EMAIL.search(said[:4_000])
        return self._sent(talk, found[0].rstrip(".").casefold()) if found else None

    def _sent(self, talk: Talk, email: str) -> Step:
        self._ready()
        talk.state["sign_in"] = {"email": email}
        code = f"{secrets.randbelow(1_000_000):06}"
        if self._tries.begin(limits_of(talk, email, MAILS, what="mail/")):
            with self._database.write() as w:
                w.execute("delete from sign_in_codes where expires < ?", (time.time(),))
                row = (talk.id, self._digest(f"who/{email}"), self._proof(talk, email, code), time.time() + VALID_S)
                w.execute("insert or replace into sign_in_codes values (?, ?, ?, ?)", row)
            threading.Thread(target=self._mailed, args=(email, code), daemon=True).start()
        return Step(self._sayings.sent, quick_replies=(self._sayings.again,))

    def _mailed(self, email: str, code: str) -> None:
        """Beside the reply, which says the same for everybody."""
        try:
            if self._known(email) is not None:
                self._mailer.send(email, self._sayings.subject, self._sayings.mail.format(code=code))
        except PenstockError as error:
            log("a code was not sent", level="error", error=error.code)
        except Exception as error:  # a background task ends here
            log("a code was not sent", level="error", error=type(error).__name__, at=place(error))

    def _tried(self, talk: Talk, email: str, code: str) -> Step:
        self._ready()
        mark = self._tries.begin(limits_of(talk, email, WRONG, what="code/"))
        if not mark:
            return Step(self._sayings.locked, over=True)
        sql = "select proof from sign_in_codes where talk = ? and who = ? and expires > ? and expires <= ?"
        now = time.time()
        rows = self._database.read(sql, (talk.id, self._digest(f"who/{email}"), now, now + VALID_S))
        kept = bytes(rows[0][0]) if rows else secrets.token_bytes(32)
        fits = hmac.compare_digest(kept, self._proof(talk, email, code))
        person = self._known(email) if fits else None
        if person is None:
            return Step(self._sayings.wrong, quick_replies=(self._sayings.again,))
        with self._database.write() as w:
            if w.execute("delete from sign_in_codes where talk = ? and proof = ?", (talk.id, kept)).rowcount != 1:
                return Step(self._sayings.wrong, quick_replies=(self._sayings.again,))  # it was used meanwhile
        self._tries.forgive(mark)
        return Step(self._sayings.done, person)

    def _proof(self, talk: Talk, email: str, code: str) -> bytes:
        return self._digest(f"code/{talk.id}/{email}/{code}")

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._secret(), text.encode("utf-8", "replace"), "sha256")

    def _ready(self) -> None:
        if not self._migrated:
            self._database.migrate("sign_in", STEPS)
            self._migrated = True
