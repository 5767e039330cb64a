"""The conversations that people had on the chat page, each for whoever had it: kept, found again, shared by a link, removed.

Whoever keeps one names it and its turns, so that the same can be sent again and is there once. Words are sealed where the settings
say so. What is looked through for a word is decrypted row by row, the newest first.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from penstock.config import iso
from penstock.errors import BadRequest, Limited, NotFound, TooLarge
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption
from penstock.types import Caller

__all__ = ["Conversation", "Conversations", "Found", "Kept", "Shared", "Turn", "checked_id"]

STEPS = [
    """
    create table conversations (
        id text primary key, owner text not null, tenant text not null, asked text not null, title text not null,
        size integer not null, created real not null, changed real not null
    ) strict;
    create index conversations_owner on conversations (tenant, owner, changed);
    create index conversations_changed on conversations (changed);
    create table conversation_turns (
        conversation text not null references conversations on delete cascade, number integer not null, id text not null,
        said text not null, words text not null, request text not null, at real not null,
        primary key (conversation, number), unique (conversation, id)
    ) strict, without rowid;
    create table conversation_shares (
        digest blob primary key, conversation text not null references conversations on delete cascade,
        words text not null, created real not null, expires real not null
    ) strict, without rowid;
    create index conversation_shares_of on conversation_shares (conversation)
    """,
]
MOST: Final = 10_000  # conversations of one person
MOST_TURNS: Final = 1_000
MOST_LINKS: Final = 20  # to one conversation
LONGEST_TURN: Final = 1 << 20  # characters, with all quotes
MOST_KEPT: Final = 500 << 20  # characters of all that one person keeps
LONGEST_TITLE: Final = 200
SHORT_TITLE: Final = 80  # of one that nobody named
OWNERS: Final = {"console": "owner"}  # the same person, with the link that is printed at the start and without
_ID = re.compile(r"[0-9a-f]{32}")
_CURSOR = re.compile(r"(\d{1,12}(?:\.\d{1,9})?),([0-9a-f]{32})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer, as the chat's wire has it in `penstock`. id: as whoever keeps it names it, 32 hexadecimal digits;
    request: its id in the journal."""

    id: str
    question: str
    answer: Mapping[str, Any]
    request: str = ""
    at: float = 0.0

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Turn:
        """From plain values. Raises BadRequest and TooLarge."""
        number, question, request = values.get("id"), values.get("question"), values.get("request") or ""
        answer = values.get("answer")
        if not isinstance(question, str) or not question.strip():
            raise BadRequest("'question' must be a text")
        if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
            raise BadRequest("'answer' must be an object with 'text', as an answer has it in 'penstock'")
        if not isinstance(request, str) or len(request) > LONGEST_TITLE:
            raise BadRequest("'request' must be the answer's x-request-id")
        turn = cls(checked_id(number), question, answer, request)
        if len(turn.words) > LONGEST_TURN:
            raise TooLarge(f"a question and its answer have more than {LONGEST_TURN:,} characters")
        return turn

    def plain(self) -> dict[str, Any]:
        return {
            "id": self.id, "question": self.question, "answer": self.answer, "request": self.request, "at": iso(self.at),
        }  # fmt: skip

    @property
    def words(self) -> str:
        return json.dumps({"question": self.question, "answer": self.answer}, ensure_ascii=False)

    @property
    def said(self) -> str:
        """What is looked through for a word."""
        return "\n".join(filter(None, (self.question, self.answer["text"], _text(self.answer.get("reply")))))


@dataclass(frozen=True, slots=True)
class Kept:
    """A conversation in a list. asked: the app or collection. shared: until when the last link to it works; 0: there is none."""

    id: str
    title: str
    asked: str
    created: float
    changed: float
    turns: int
    shared: float = 0.0

    def plain(self) -> dict[str, Any]:
        return {
            "id": self.id, "title": self.title, "asked": self.asked, "created": iso(self.created), "changed": iso(self.changed),
            "turns": self.turns, "shared": iso(self.shared) if self.shared else None,
        }  # fmt: skip


class Found(NamedTuple):
    """Some conversations, and the cursor behind the last of them; "" where there are no more."""

    kept: list[Kept]
    after: str


class Shared(NamedTuple):
    """A new link: its secret, and until when it works (Unix time)."""

    secret: str
    expires: float


@dataclass(frozen=True, slots=True)
class Conversation:
    """A whole one. owner: who had it."""

    kept: Kept
    owner: str
    turns: Sequence[Turn]

    def plain(self) -> dict[str, Any]:
        return self.kept.plain() | {"turns": [turn.plain() for turn in self.turns]}


class Conversations:
    """Everybody's, in one database. A caller reaches their own; others a shared one, by its secret and within their tenant."""

    def __init__(
        self, database: Database, encryption: Encryption | None = None, *, keep_s: float = 0.0,
        since: Callable[[str], float] = lambda name: 0.0,
    ) -> None:  # fmt: skip
        """keep_s: how long after the last turn one is kept; 0: for ever. since: told a caller's name, the Unix time from which
        on it stands for the same person: what is older was somebody else's of that name."""
        self._database, self._encryption, self._keep_s, self._since = database, encryption, keep_s, since
        self._migrated = False

    # ---------------------------------------------------------------- one's own

    def keep(
        self, caller: Caller, number: str, asked: str, turns: Sequence[Turn], *, title: str = "", begins: bool = True
    ) -> Kept:
        """Keep a conversation, and these turns in it; those that are there already stay as they are.

        begins: whether there may be none yet; it is made then. Without a title the first question is its title. Raises
        BadRequest, Limited, and NotFound where there is none, or it is somebody else's.
        """
        if not turns:
            raise BadRequest("a conversation has at least one question with its answer")
        checked_id(number)
        now, size = time.time(), sum(len(turn.words) for turn in turns)
        with self._write() as w:
            count, total = w.execute(
                "select count(*), coalesce(sum(size), 0) from conversations where tenant = ? and owner = ?",
                _whose(caller),
            ).fetchone()
            if total + size > MOST_KEPT:
                raise Limited(f"'{caller.name}' keeps too much already", hint="delete conversations that are old")
            if w.execute("select 1 from conversations where id = ?", (number,)).fetchone() is None and begins:
                if count >= MOST:
                    raise Limited(
                        f"'{caller.name}' has {MOST:,} conversations already", hint="delete some that are old"
                    )
                named = self._sealed(_title(title) or _shortened(turns[0].question), number)
                about = (number, _whose(caller)[1], caller.tenant, asked, named, 0, now, now)
                w.execute("insert into conversations values (?, ?, ?, ?, ?, ?, ?, ?)", about)
            self._check_own(w, caller, number)
            known = {id_ for (id_,) in w.execute("select id from conversation_turns where conversation = ?", (number,))}
            new = [turn for turn in {turn.id: turn for turn in turns}.values() if turn.id not in known]
            if len(known) + len(new) > MOST_TURNS:
                raise Limited(f"a conversation has at most {MOST_TURNS:,} answers", hint="begin a new one")
            for n, turn in enumerate(new, len(known)):
                sealed = (self._sealed(turn.said, number), self._sealed(turn.words, number))
                row = (number, n, turn.id, *sealed, turn.request, now)
                w.execute("insert into conversation_turns values (?, ?, ?, ?, ?, ?, ?)", row)
            if new:
                grown = sum(len(turn.words) for turn in new)
                w.execute("update conversations set changed = ?, size = size + ? where id = ?", (now, grown, number))
        return self._kept(caller, number)

    def everything(self, *, asked: str = "", since: float = 0.0) -> Iterator[Conversation]:
        """Everybody's, with an app or with all, that began at or after a Unix time, the oldest first; for whoever evaluates
        them."""
        self._migrate()
        rows = self._database.read(
            "select id, owner, tenant, asked, title, created, changed from conversations where created >= ? and changed >= ?"
            " and (? in ('', asked)) order by created, id",
            (since, self._oldest, asked),
        )
        for number, owner, _, about, title, created, changed in rows:
            turns = self._turns(number)
            yield Conversation(
                Kept(number, self._opened(title, number), about, created, changed, len(turns)), owner, turns
            )

    def change(self, caller: Caller, number: str, turn: str, answer: Mapping[str, Any]) -> None:
        """Another answer in place of one. Raises NotFound."""
        with self._write() as w:
            self._check_own(w, caller, number)
            row = w.execute(
                "select words, request from conversation_turns where conversation = ? and id = ?", (number, turn)
            ).fetchone()
            if row is None:
                raise NotFound(f"this conversation has no answer '{turn[:LONGEST_TITLE]}'")
            new = Turn(turn, orjson.loads(self._opened(row[0], number))["question"], answer, row[1])
            w.execute(
                "update conversation_turns set said = ?, words = ? where conversation = ? and id = ?",
                (self._sealed(new.said, number), self._sealed(new.words, number), number, turn),
            )

    def rename(self, caller: Caller, number: str, title: str) -> Kept:
        """Raises NotFound, and BadRequest for a title of nothing."""
        if not _title(title):
            raise BadRequest("'title' must be a text")
        with self._write() as w:
            self._check_own(w, caller, number)
            w.execute("update conversations set title = ? where id = ?", (self._sealed(_title(title), number), number))
        return self._kept(caller, number)

    def remove(self, caller: Caller, number: str) -> None:
        """Remove it, and what was shared of it. Raises NotFound."""
        self._database.read("pragma secure_delete = on")  # nothing is left of it in the pages that are freed
        with self._write() as w:
            self._check_own(w, caller, number)
            w.execute("delete from conversations where id = ?", (number,))

    def get(self, caller: Caller, number: str) -> Conversation:
        """Raises NotFound."""
        return Conversation(self._kept(caller, number), caller.name, self._turns(number))

    def find(self, caller: Caller, words: str = "", *, limit: int = 50, after: str = "") -> Found:
        """The caller's own, the latest first. words: which must all stand in the title or in what was said, in whatever case;
        after: the cursor of what is known. Raises BadRequest for a cursor of nobody's."""
        wanted = _folded(words).split()
        found: list[Kept] = []
        for kept in self._own(caller, after, most=-1 if wanted else limit + 1):
            if self._says(kept, wanted):
                if len(found) == limit:
                    return Found(found, f"{found[-1].changed!r},{found[-1].id}")
                found.append(kept)
        return Found(found, "")

    # ---------------------------------------------------------------- shared

    def share(self, caller: Caller, number: str, *, for_s: float) -> Shared:
        """A new link to the conversation as it is now. Raises NotFound."""
        secret, now = secrets.token_urlsafe(24), time.time()
        whole = self.get(caller, number)
        turns = [turn.plain() | {"request": "", "answer": _without(turn.answer, "waiting")} for turn in whole.turns]
        words = self._sealed(json.dumps({"title": whole.kept.title, "turns": turns}, ensure_ascii=False), number)
        with self._write() as w:
            self._check_own(w, caller, number)
            w.execute(
                "insert into conversation_shares values (?, ?, ?, ?, ?)",
                (_digest(secret), number, words, now, now + for_s),
            )
            w.execute(
                "delete from conversation_shares where expires <= ? or digest in (select digest from conversation_shares"
                " where conversation = ? order by created desc limit -1 offset ?)",
                (now, number, MOST_LINKS),
            )
        return Shared(secret, now + for_s)

    def unshare(self, caller: Caller, number: str) -> None:
        """End all links to it. Raises NotFound."""
        with self._write() as w:
            self._check_own(w, caller, number)
            w.execute("delete from conversation_shares where conversation = ?", (number,))

    def shared(self, caller: Caller, secret: str) -> Conversation:
        """What was shared by this secret, as it was then, for everybody of the same tenant. Raises NotFound."""
        self._migrate()
        rows = self._database.read(
            "select c.id, owner, asked, words, s.created, s.expires from conversation_shares s"
            " join conversations c on c.id = s.conversation where digest = ? and expires > ? and tenant = ? and changed >= ?",
            (_digest(secret), time.time(), caller.tenant, self._oldest),
        )
        if not rows:
            raise NotFound("this link leads to no conversation: sharing has ended, or it was removed")
        number, owner, asked, words, at, expires = rows[0]
        said = orjson.loads(self._opened(words, number))
        turns = [Turn(one["id"], one["question"], one["answer"]) for one in said["turns"]]
        return Conversation(Kept(number, said["title"], asked, at, at, len(turns), expires), owner, turns)

    # ---------------------------------------------------------------- when time is over, or somebody is to be forgotten

    def unchanged_since(self, before: float) -> int:
        """How many nobody has gone on with since a Unix time."""
        self._migrate()
        return int(self._database.read("select count(*) from conversations where changed < ?", (before,))[0][0])

    def remove_unchanged_since(self, before: float) -> int:
        """Remove those. Returns how many."""
        with self._write() as w:
            return int(w.execute("delete from conversations where changed < ?", (before,)).rowcount)

    def mentions(self, mentioned: Callable[..., bool]) -> list[str]:
        """The ids of those of somebody, and of those in which they stand. mentioned: told texts, whether one has the name."""
        self._migrate()
        found = []
        for number, owner, title in self._database.read("select id, owner, title from conversations"):
            words = self._database.read(
                "select words from conversation_turns where conversation = ?1 union all"
                " select words from conversation_shares where conversation = ?1",
                (number,),
            )
            texts = (text for row in words for text in _texts(orjson.loads(self._opened(row[0], number))))
            if mentioned(owner, self._opened(title, number), *texts):
                found.append(number)
        return found

    def erase(self, mentioned: Callable[..., bool]) -> int:
        """Remove those. Returns how many."""
        found = self.mentions(mentioned)
        with self._write() as w:
            w.executemany("delete from conversations where id = ?", [(number,) for number in found])
        return len(found)

    # ---------------------------------------------------------------- rows

    @property
    def _oldest(self) -> float:
        """Unix time: what nobody has gone on with since is past its time."""
        return time.time() - self._keep_s if self._keep_s else 0.0

    def _own(self, caller: Caller, after: str = "", *, number: str = "", most: int = -1) -> Iterator[Kept]:
        self._migrate()
        cursor = _CURSOR.fullmatch(after)
        if after and not cursor:
            raise BadRequest("'after' must be what came with the conversations before")
        behind = (float(cursor[1]), cursor[2]) if cursor else (1e12, "")
        rows = self._database.read(
            "select c.id, title, asked, c.created, changed,"
            " (select max(expires) from conversation_shares s where s.conversation = c.id and expires > ?),"
            " (select count(*) from conversation_turns t where t.conversation = c.id)"
            " from conversations c where tenant = ? and owner = ? and (? in ('', c.id)) and changed >= ? and c.created >= ?"
            " and (changed, c.id) < (?, ?) order by changed desc, c.id desc limit ?",
            (time.time(), *_whose(caller), number, self._oldest, self._since(caller.name), *behind, most),
        )
        for id_, title, asked, created, changed, shared, turns in rows:
            yield Kept(id_, self._opened(title, id_), asked, created, changed, turns, shared or 0.0)

    def _kept(self, caller: Caller, number: str) -> Kept:
        found = next(self._own(caller, number=number), None) if number else None
        if found is None:
            raise _none(number)
        return found

    def _says(self, kept: Kept, wanted: Sequence[str]) -> bool:
        title = _folded(kept.title)
        if all(word in title for word in wanted):
            return True
        rows = self._database.read("select said from conversation_turns where conversation = ?", (kept.id,))
        said = "\n".join([title, *(_folded(self._opened(row[0], kept.id)) for row in rows)])
        return all(word in said for word in wanted)

    def _turns(self, number: str) -> list[Turn]:
        rows = self._database.read(
            "select id, words, request, at from conversation_turns where conversation = ? order by number", (number,)
        )
        opened = ((id_, orjson.loads(self._opened(words, number)), request, at) for id_, words, request, at in rows)
        return [Turn(id_, words["question"], words["answer"], request, at) for id_, words, request, at in opened]

    def _check_own(self, w: sqlite3.Connection, caller: Caller, number: str) -> None:
        own = "select 1 from conversations where id = ? and tenant = ? and owner = ? and changed >= ? and created >= ?"
        if w.execute(own, (number, *_whose(caller), self._oldest, self._since(caller.name))).fetchone() is None:
            raise _none(number)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        self._migrate()
        with self._database.write() as w:
            yield w

    def _migrate(self) -> None:
        if not self._migrated:
            self._database.migrate("conversations", STEPS)
            if self._encryption:
                self._encryption.prepare()  # a key is made in a transaction of its own
            self._migrated = True

    def _sealed(self, text: str, number: str) -> str:
        whole = text.encode("utf-8", "replace").decode()  # half of a surrogate pair is no character
        return self._encryption.sealed(whole, aad=number.encode()) if self._encryption else whole

    def _opened(self, stored: str, number: str) -> str:
        return self._encryption.opened(stored, aad=number.encode()) if self._encryption else stored


def checked_id(number: object) -> str:
    """The name that somebody gives a conversation or a turn. Raises BadRequest for what is none."""
    if not isinstance(number, str) or not _ID.fullmatch(number):
        raise BadRequest("'id' must be 32 hexadecimal digits, chosen at random")
    return number


def _whose(caller: Caller) -> tuple[str, str]:
    return caller.tenant, OWNERS.get(caller.name, caller.name)


def _none(number: str) -> NotFound:
    return NotFound(f"there is no conversation '{number[:LONGEST_TITLE]}'")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _without(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != name}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> Iterator[str]:
    """Every text in plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _folded(text: str) -> str:
    """A text as it is looked through: in one form of each letter, without case and without accents."""
    spread = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in spread if not unicodedata.combining(letter))


def _title(text: str) -> str:
    return " ".join(text.split())[:LONGEST_TITLE]


def _shortened(text: str) -> str:
    """The beginning of a text, up to the end of a word."""
    title = _title(text)
    if len(title) <= SHORT_TITLE:
        return title
    cut = title[:SHORT_TITLE]
    return f"{cut[: cut.rfind(' ')] if ' ' in cut[40:] else cut}…"
