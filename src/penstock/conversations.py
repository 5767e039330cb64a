"""The conversations that people had on the chat page, each for whoever had it: kept, found again, shared by a link, removed.

Words are sealed where the settings say so. What is looked through for a word is decrypted row by row, the newest first.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson

from penstock.config import iso
from penstock.errors import BadRequest, Limited, NotFound, TooLarge
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption
from penstock.types import Caller, new_id

__all__ = ["Conversation", "Conversations", "Kept", "Turn"]

STEPS = [
    """
    create table conversations (
        id text primary key, owner text not null, tenant text not null, asked text not null, title text not null,
        created real not null, changed real not null
    ) strict;
    create index conversations_owner on conversations (tenant, owner, changed);
    create index conversations_changed on conversations (changed);
    create table conversation_turns (
        conversation text not null references conversations on delete cascade, number integer not null, said text not null,
        words text not null, request text not null, at real not null, primary key (conversation, number)
    ) strict, without rowid;
    create table conversation_shares (
        digest blob primary key, conversation text not null unique references conversations on delete cascade,
        turns integer not null, created real not null, expires real not null
    ) strict, without rowid
    """,
]
MOST: Final = 10_000  # conversations of one person
MOST_TURNS: Final = 1_000
LONGEST_TURN: Final = 1 << 20  # characters, with all quotes
LONGEST_TITLE: Final = 200
SHORT_TITLE: Final = 80  # of one that nobody named
SWEEP_EVERY_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer, as the chat's wire has it in `penstock`. request: its id in the journal."""

    question: str
    answer: Mapping[str, Any]
    request: str = ""
    at: float = 0.0

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Turn:
        """From plain values. Raises BadRequest and TooLarge."""
        question, answer, request = values.get("question"), values.get("answer"), values.get("request") or ""
        if not isinstance(question, str) or not question.strip():
            raise BadRequest("'question' must be a text")
        if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
            raise BadRequest("'answer' must be an object with 'text', as an answer has it in 'penstock'")
        if not isinstance(request, str) or len(request) > LONGEST_TITLE:
            raise BadRequest("'request' must be the answer's x-request-id")
        if len(question) + len(json.dumps(answer)) > LONGEST_TURN:
            raise TooLarge(f"a question and its answer have more than {LONGEST_TURN:,} characters")
        return cls(question, answer, request)

    def plain(self) -> dict[str, Any]:
        return {"question": self.question, "answer": self.answer, "request": self.request, "at": iso(self.at)}

    @property
    def words(self) -> str:
        return json.dumps({"question": self.question, "answer": self.answer}, ensure_ascii=False)

    @property
    def said(self) -> str:
        """What is looked through for a word."""
        return f"{self.question}\n{self.answer['text']}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A conversation in a list. asked: the app or collection. shared: until when a link to it works; 0: there is none."""

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

    def __init__(self, database: Database, encryption: Encryption | None = None, *, keep_s: float = 0.0) -> None:
        """keep_s: how long after the last turn one is kept; 0: for ever."""
        self._database, self._encryption, self._keep_s = database, encryption, keep_s
        self._migrated, self._swept = False, 0.0

    # ---------------------------------------------------------------- one's own

    def begin(self, caller: Caller, asked: str, turns: Sequence[Turn], *, title: str = "") -> Kept:
        """Keep a new one. Without a title the first question is its title. Raises BadRequest and Limited."""
        if not turns:
            raise BadRequest("a conversation has at least one question with its answer")
        number, now = new_id(), time.time()
        named = _title(title) or _shortened(turns[0].question)
        with self._write() as w:
            mine = "select count(*) from conversations where tenant = ? and owner = ?"
            if w.execute(mine, _whose(caller)).fetchone()[0] >= MOST:
                raise Limited(f"'{caller.name}' has {MOST:,} conversations already", hint="remove some that are old")
            row = (number, caller.name, caller.tenant, asked, self._sealed(named, number), now, now)
            w.execute("insert into conversations values (?, ?, ?, ?, ?, ?, ?)", row)
            self._append(w, number, 0, turns, now)
        return Kept(number, named, asked, now, now, len(turns))

    def add(self, caller: Caller, id: str, turn: Turn) -> Kept:  # noqa: A002
        """One question and answer more. Raises NotFound, and Limited for a conversation without end."""
        now = time.time()
        with self._write() as w:
            self._check_own(w, caller, id)
            (count,) = w.execute("select count(*) from conversation_turns where conversation = ?", (id,)).fetchone()
            if count >= MOST_TURNS:
                raise Limited(f"this conversation has {MOST_TURNS:,} answers already", hint="begin a new one")
            self._append(w, id, count, [turn], now)
            w.execute("update conversations set changed = ? where id = ?", (now, id))
        return self._kept(caller, id)

    def change(self, caller: Caller, id: str, number: int, answer: Mapping[str, Any]) -> None:  # noqa: A002
        """Another answer in place of one, by its number from 0 on. Raises NotFound."""
        with self._write() as w:
            self._check_own(w, caller, id)
            place = (id, number)
            row = w.execute(
                "select words, request from conversation_turns where conversation = ? and number = ?", place
            ).fetchone()
            if row is None:
                raise NotFound(f"this conversation has no answer {number}")
            turn = Turn(orjson.loads(self._opened(row[0], id))["question"], answer, row[1])
            w.execute(
                "update conversation_turns set said = ?, words = ? where conversation = ? and number = ?",
                (self._sealed(turn.said, id), self._sealed(turn.words, id), *place),
            )

    def rename(self, caller: Caller, id: str, title: str) -> Kept:  # noqa: A002
        """Raises NotFound, and BadRequest for a title of nothing."""
        if not _title(title):
            raise BadRequest("'title' must be a text")
        with self._write() as w:
            self._check_own(w, caller, id)
            w.execute("update conversations set title = ? where id = ?", (self._sealed(_title(title), id), id))
        return self._kept(caller, id)

    def remove(self, caller: Caller, id: str) -> None:  # noqa: A002
        """Remove it, and what was shared of it. Raises NotFound."""
        with self._write() as w:
            self._check_own(w, caller, id)
            w.execute("delete from conversations where id = ?", (id,))

    def get(self, caller: Caller, id: str) -> Conversation:  # noqa: A002
        """Raises NotFound."""
        kept = self._kept(caller, id)
        return Conversation(kept, caller.name, self._turns(id, kept.turns))

    def find(self, caller: Caller, words: str = "", *, limit: int = 50, after: str = "") -> tuple[list[Kept], bool]:
        """The caller's own, the latest first, and whether there are more. words: which must all stand in the title or in what
        was said, in whatever case; after: the id of the last one that is known."""
        wanted = words.casefold().split()
        found: list[Kept] = []
        for kept in self._own(caller, after):
            if all(word in kept.title.casefold() for word in wanted) or self._says(kept.id, kept.title, wanted):
                if len(found) == limit:
                    return found, True
                found.append(kept)
        return found, False

    # ---------------------------------------------------------------- shared

    def share(self, caller: Caller, id: str, *, for_s: float) -> tuple[str, float]:  # noqa: A002
        """A new secret that opens the conversation as it is now, and until when (Unix time). An earlier one ends. Raises
        NotFound."""
        secret, now = secrets.token_urlsafe(24), time.time()
        with self._write() as w:
            self._check_own(w, caller, id)
            w.execute("delete from conversation_shares where conversation = ?", (id,))
            w.execute(
                "insert into conversation_shares select ?, ?, count(*), ?, ? from conversation_turns where conversation = ?",
                (_digest(secret), id, now, now + for_s, id),
            )
        return secret, now + for_s

    def unshare(self, caller: Caller, id: str) -> None:  # noqa: A002
        """Raises NotFound."""
        with self._write() as w:
            self._check_own(w, caller, id)
            w.execute("delete from conversation_shares where conversation = ?", (id,))

    def shared(self, caller: Caller, secret: str) -> Conversation:
        """What was shared by this secret, for everybody of the same tenant. Raises NotFound."""
        self._migrate()
        rows = self._database.read(
            "select c.id, owner, asked, title, s.created, s.turns, s.expires from conversation_shares s"
            " join conversations c on c.id = s.conversation where digest = ? and expires > ? and tenant = ?",
            (_digest(secret), time.time(), caller.tenant),
        )
        if not rows:
            raise NotFound("this link leads to no conversation: sharing has ended, or it was removed")
        number, owner, asked, title, at, turns, expires = rows[0]
        kept = Kept(number, self._opened(title, number), asked, at, at, turns, expires)
        return Conversation(kept, owner, self._turns(number, turns))

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
            words = self._database.read("select words from conversation_turns where conversation = ?", (number,))
            texts = [self._opened(title, number), *(self._opened(row[0], number) for row in words)]
            if mentioned(owner, *texts):
                found.append(number)
        return found

    def erase(self, mentioned: Callable[..., bool]) -> int:
        """Remove those. Returns how many."""
        found = self.mentions(mentioned)
        with self._write() as w:
            w.executemany("delete from conversations where id = ?", [(number,) for number in found])
        return len(found)

    # ---------------------------------------------------------------- rows

    def _own(self, caller: Caller, after: str, number: str = "") -> Iterator[Kept]:
        self._migrate()
        rows = self._database.read(
            "select c.id, title, asked, c.created, changed, s.expires,"
            " (select count(*) from conversation_turns t where t.conversation = c.id)"
            " from conversations c left join conversation_shares s on s.conversation = c.id and s.expires > ?"
            " where tenant = ? and owner = ? and (? in ('', c.id)) and"
            " (? = '' or (changed, c.id) < (select changed, id from conversations where id = ?))"
            " order by changed desc, c.id desc",
            (time.time(), *_whose(caller), number, after, after),
        )
        for id_, title, asked, created, changed, shared, turns in rows:
            yield Kept(id_, self._opened(title, id_), asked, created, changed, turns, shared or 0.0)

    def _kept(self, caller: Caller, number: str) -> Kept:
        found = next(self._own(caller, "", number), None) if number else None
        if found is None:
            raise _none(number)
        return found

    def _says(self, number: str, title: str, wanted: Sequence[str]) -> bool:
        rows = self._database.read("select said from conversation_turns where conversation = ?", (number,))
        said = "\n".join([title, *(self._opened(row[0], number) for row in rows)]).casefold()
        return all(word in said for word in wanted)

    def _turns(self, number: str, most: int) -> list[Turn]:
        rows = self._database.read(
            "select words, request, at from conversation_turns where conversation = ? order by number limit ?",
            (number, most),
        )
        opened = ((orjson.loads(self._opened(words, number)), request, at) for words, request, at in rows)
        return [Turn(words["question"], words["answer"], request, at) for words, request, at in opened]

    def _append(self, w: sqlite3.Connection, number: str, first: int, turns: Sequence[Turn], now: float) -> None:
        for n, turn in enumerate(turns, first):
            row = (number, n, self._sealed(turn.said, number), self._sealed(turn.words, number), turn.request, now)
            w.execute("insert into conversation_turns values (?, ?, ?, ?, ?, ?)", row)

    def _check_own(self, w: sqlite3.Connection, caller: Caller, number: str) -> None:
        own = "select 1 from conversations where id = ? and tenant = ? and owner = ?"
        if w.execute(own, (number, *_whose(caller))).fetchone() is None:
            raise _none(number)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        self._migrate()
        with self._database.write() as w:
            if time.time() - self._swept > SWEEP_EVERY_S:
                self._swept = time.time()
                w.execute("delete from conversation_shares where expires <= ?", (self._swept,))
                if self._keep_s:
                    w.execute("delete from conversations where changed < ?", (self._swept - self._keep_s,))
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


def _whose(caller: Caller) -> tuple[str, str]:
    return caller.tenant, caller.name


def _none(number: str) -> NotFound:
    return NotFound(f"there is no conversation '{number[:LONGEST_TITLE]}'")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _title(text: str) -> str:
    return " ".join(text.split())[:LONGEST_TITLE]


def _shortened(text: str) -> str:
    """The beginning of a text, up to the end of a word."""
    title = _title(text)
    if len(title) <= SHORT_TITLE:
        return title
    cut = title[:SHORT_TITLE]
    return f"{cut[: cut.rfind(' ')] if ' ' in cut[40:] else cut}…"
