"""The conversations that bots have: kept between two messages, found again by who had them, answered one message at a time.

A message and its reply are written in one transaction with what the bot noted, when the reply is known. Whoever dies before that
leaves the conversation as it was, and the message can be sent again: by its key it is known, and answered once.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from filelock import FileLock, Timeout

from penstock.agents.actions import LEVELS, Person
from penstock.errors import BadRequest, Conflict, Limited, NotFound
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption
from penstock.storage.files import storage_errors
from penstock.types import Caller, Message

__all__ = ["Kept", "KeptTalks", "Said", "Whose", "checked_conversation", "texts_in"]

STEPS = [
    """
    create table talks (
        id text primary key, app text not null, tenant text not null, owner text not null, words text not null,
        turns integer not null, created real not null, changed real not null
    ) strict;
    create index talks_changed on talks (changed);
    create table talk_turns (
        talk text not null references talks on delete cascade, number integer not null, key text not null, words text not null,
        at real not null, primary key (talk, number), unique (talk, key)
    ) strict, without rowid
    """,
]
MOST_TURNS: Final = 1_000
SIGNED_IN_S: Final = 12 * 3600.0  # after which silence nobody knows who comes back to a conversation
REMEMBERED: Final = 40  # messages that a bot is shown
PLACES: Final = 1_024  # files that lock conversations; two that share one wait for each other
WAIT_S: Final = 30.0
LONGEST_KEY: Final = 200
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Whose:
    """Who has a conversation: the name of a key and its tenant, and of widgets' visitors which visit."""

    owner: str
    tenant: str = ""

    @classmethod
    def of(cls, caller: Caller, visitor: str = "") -> Whose:
        name = "owner" if caller.name == "console" else caller.name  # the same person, by the printed link and without
        return cls(f"{name}/{visitor}" if visitor else name, caller.tenant)


@dataclass(frozen=True, slots=True)
class Said:
    """One message and what was replied, as JSON has it. key: by which the same message is known when it comes again."""

    text: str
    reply: Mapping[str, Any]
    key: str = ""
    at: float = 0.0  # Unix time


@dataclass(slots=True)
class Kept:
    """A conversation between two messages."""

    id: str
    app: str
    whose: Whose
    person: Person = Person()
    language: str = ""
    state: dict[str, Any] = field(default_factory=dict)  # of the bot
    rows: list[dict[str, Any]] = field(default_factory=list)  # that were spoken of
    waiting: str = ""  # by which a person's reply can be asked for; "" while the bot answers
    handed_over: int = 0  # how often a person was to take over
    turns: int = 0
    created: float = 0.0
    first: int = 0  # the message with which the bot's memory begins
    before: list[str] = field(default_factory=list)  # who was signed in earlier; whoever is erased is found by it

    def words(self) -> dict[str, Any]:
        person = self.person
        return {
            "person": [person.id, person.level, list(person.roles), person.tenant], "language": self.language,
            "state": self.state, "rows": self.rows, "waiting": self.waiting, "handed_over": self.handed_over,
            "first": self.first, "before": self.before,
        }  # fmt: skip


class KeptTalks:
    """Everybody's, in the house's database. Safe to share between threads; several processes may answer at once."""

    def __init__(
        self, database: Database, encryption: Encryption | None = None, *, keep_s: float = 0.0,
        since: Callable[[str], float] = lambda name: 0.0,
    ) -> None:  # fmt: skip
        """keep_s: how long after its last message one is kept; 0: for ever. since: told a caller's name, the Unix time from which
        on it stands for the same person."""
        self._database, self._encryption, self._keep_s, self._since = database, encryption, keep_s, since
        self._folder = database.path.parent / "talks"
        self.waiting = Counter[str]()  # messages of this process that wait for their conversation
        self._guard = threading.Lock()
        self._migrated = False

    # ---------------------------------------------------------------- one message at a time

    def taken(self, number: str) -> FileLock | None:
        """The conversation, for one message; release it after that. None while another message has it, in whichever process. It
        ends with its process, however that ends."""
        lock = FileLock(self._folder / f"{int(number[:8], 16) % PLACES:04}.lock", thread_local=False)
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return None
        return lock

    # ---------------------------------------------------------------- found, and kept

    def find(self, whose: Whose, app: str, number: str) -> Kept:
        """The conversation as it was left, or a new one by that id. Whoever had signed in and said nothing for half a day is a
        guest again, and the bot remembers nothing of what was said. Raises BadRequest, and NotFound for another's, or another
        app's."""
        checked_conversation(number)
        self._ready()
        rows = self._database.read(
            "select app, tenant, owner, words, turns, created, changed from talks where id = ?", (number,)
        )
        if not rows:
            return Kept(number, app, whose, created=time.time())
        of, tenant, owner, words, turns, created, changed = rows[0]
        mine = (of, owner, tenant) == (app, whose.owner, whose.tenant)
        if not mine or changed < self._oldest or created < self._since(whose.owner.partition("/")[0]):
            raise _none(number)
        kept = self._read(number, app, whose, orjson.loads(self._opened(words, number)), turns, created)
        if kept.person.id and time.time() - changed > SIGNED_IN_S:
            kept.before = [*kept.before, kept.person.id]
            kept.person, kept.state, kept.rows, kept.first = Person(tenant=kept.person.tenant), {}, [], turns
        return kept

    def said(self, kept: Kept, key: str) -> Said | None:
        """The message of that key, where it was answered."""
        rows = self._database.read("select words, at from talk_turns where talk = ? and key = ?", (kept.id, key))
        return self._said(kept.id, key, *rows[0]) if rows else None

    def messages(self, kept: Kept) -> list[Message]:
        """What was said last, oldest first."""
        turns = self.turns(kept, limit=REMEMBERED // 2, first=kept.first)
        return [
            message
            for one in turns
            for message in (Message("user", one.text), Message("assistant", str(one.reply.get("text", ""))))
            if message.content
        ]

    def turns(self, kept: Kept, *, limit: int = MOST_TURNS, first: int = 0) -> list[Said]:
        """Its last messages with their replies, oldest first."""
        rows = self._database.read(
            "select key, words, at from talk_turns where talk = ? and number >= ? order by number desc limit ?",
            (kept.id, first, limit),
        )
        return [self._said(kept.id, *row) for row in reversed(rows)]

    def everything(self, *, app: str = "", since: float = 0.0) -> Iterator[tuple[Kept, list[Said]]]:
        """All that is kept, of an app or of all, that began at or after a Unix time, the oldest first; for whoever evaluates it."""
        self._ready()
        rows = self._database.read(
            "select id, app, tenant, owner, words, turns, created from talks where created >= ? and changed >= ? and (? in ('', "
            "app))"
            " order by created, id",
            (since, self._oldest, app),
        )
        for number, of, tenant, owner, words, turns, created in rows:
            kept = self._read(
                number, of, Whose(owner, tenant), orjson.loads(self._opened(words, number)), turns, created
            )
            yield kept, self.turns(kept)

    def check_room(self, kept: Kept) -> None:
        """Raises Limited where nothing more can be said in it."""
        if kept.turns >= MOST_TURNS:
            raise _full()

    def keep(self, kept: Kept, said: Said) -> None:
        """Write what a message came to: all of it, or nothing. Raises Limited, and Conflict where somebody else went on."""
        self._ready()
        now = time.time()
        if kept.turns > MOST_TURNS:  # a person's reply may come beside the last message
            raise _full()
        words = self._sealed(kept.words(), kept.id)
        turn = self._sealed({"text": said.text, "reply": said.reply}, kept.id)
        with self._database.write(synced=bool(kept.waiting)) as w:  # a bot that fell silent stays so
            self._keep(w, kept, words, now)
            w.execute(
                "insert into talk_turns values (?, ?, ?, ?, ?)",
                (kept.id, kept.turns, said.key or f"#{kept.turns}", turn, now),
            )
        kept.turns += 1

    def _keep(self, w: sqlite3.Connection, kept: Kept, words: str, now: float) -> None:
        if not kept.turns:
            about = (kept.id, kept.app, kept.whose.tenant, kept.whose.owner, words, 1, kept.created, now)
            done = w.execute("insert into talks values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing", about)
        else:
            done = w.execute(
                "update talks set words = ?, turns = turns + 1, changed = ? where id = ? and turns = ?",
                (words, now, kept.id, kept.turns),
            )
        if done.rowcount != 1:  # it was erased, or its lock is on another machine
            raise Conflict("somebody else has gone on with this conversation")

    # ---------------------------------------------------------------- when time is over, or somebody is to be forgotten

    def unchanged_since(self, before: float) -> int:
        """How many nobody has gone on with since a Unix time."""
        self._ready()
        return int(self._database.read("select count(*) from talks where changed < ?", (before,))[0][0])

    def remove_unchanged_since(self, before: float) -> int:
        """Remove those. Returns how many."""
        self._ready()
        with self._database.write() as w:
            return int(w.execute("delete from talks where changed < ?", (before,)).rowcount)

    def mentions(self, mentioned: Callable[..., bool]) -> list[str]:
        """The ids of those of somebody, and of those in which they stand. mentioned: told texts, whether one has the name."""
        self._ready()
        found = []
        for number, owner, words in self._database.read("select id, owner, words from talks"):
            turns = self._database.read("select words from talk_turns where talk = ?", (number,))
            texts = (self._opened(text, number) for (text,) in [(words,), *turns])
            if mentioned(owner, *(text for one in texts for text in texts_in(orjson.loads(one)))):
                found.append(number)
        return found

    def erase(self, mentioned: Callable[..., bool]) -> int:
        """Remove those. Returns how many."""
        found = self.mentions(mentioned)
        with self._database.write() as w:
            w.executemany("delete from talks where id = ?", [(number,) for number in found])
        return len(found)

    # ---------------------------------------------------------------- rows

    @property
    def _oldest(self) -> float:
        return time.time() - self._keep_s if self._keep_s else 0.0

    def _read(self, number: str, app: str, whose: Whose, words: Mapping[str, Any], turns: int, created: float) -> Kept:
        id_, level, roles, tenant = words["person"]
        person = Person(id_, level if level in LEVELS else "guest", tuple(roles), tenant)
        return Kept(
            number, app, whose, person, words["language"], words["state"], words["rows"], words["waiting"],
            words["handed_over"], turns, created, words.get("first", 0), words.get("before", []),
        )  # fmt: skip

    def _said(self, number: str, key: str, words: str, at: float) -> Said:
        said = orjson.loads(self._opened(words, number))
        return Said(said["text"], said["reply"], key, at)

    def _ready(self) -> None:
        with self._guard:
            if not self._migrated:
                self._database.migrate("talks", STEPS)
                if self._encryption:
                    self._encryption.prepare()  # a key is made in a transaction of its own
                self._migrated = True

    def _sealed(self, words: Any, number: str) -> str:
        text = orjson.dumps(words).decode()
        return self._encryption.sealed(text, aad=number.encode()) if self._encryption else text

    def _opened(self, stored: str, number: str) -> str:
        return self._encryption.opened(stored, aad=number.encode()) if self._encryption else stored


def checked_conversation(number: object) -> str:
    """The name of a conversation. Raises BadRequest for what is none."""
    if not isinstance(number, str) or not _ID.fullmatch(number):
        raise BadRequest(
            "'conversation' must be 32 hexadecimal digits", hint="leave it out, and take the one of the first answer"
        )
    return number


def busy() -> Conflict:
    return Conflict("another message of this conversation is being answered", hint="wait for its reply")


def _full() -> Limited:
    return Limited(f"a conversation has at most {MOST_TURNS:,} messages", hint="begin a new one")


def _none(number: str) -> NotFound:
    return NotFound(f"there is no conversation '{number}'")


def texts_in(value: Any) -> Iterator[str]:
    """Every text in plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        inside: Sequence[Any] = list(value.values()) if isinstance(value, dict) else value
        for inner in inside:
            yield from texts_in(inner)
