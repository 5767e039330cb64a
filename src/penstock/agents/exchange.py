"""What carries messages between agents, in the house's database: in order, each handled once, with a log that is only added to.

That a message was handled, and what follows from it, is one transaction. Whoever dies before it leaves the message to be handled
again.
"""

from __future__ import annotations

import dataclasses
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import orjson
from filelock import FileLock, Timeout

from penstock.agents.actions import canonical
from penstock.agents.kept_talks import texts_in
from penstock.agents.messages import Agent, Agents, Limits, Message, Outcome, Send, State, Written
from penstock.errors import BadRequest, Conflict, Limited, NotFound
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption
from penstock.storage.files import storage_errors
from penstock.types import new_id

__all__ = ["Exchange"]

STEPS = [
    """
    create table agent_messages (
        number integer primary key autoincrement, id text not null unique, conversation text not null, key text not null,
        cause text not null, depth integer not null, sender text not null, receiver text not null, kind text not null,
        body text not null, at real not null, unique (conversation, key)
    ) strict;
    create table agent_steps (
        number integer primary key autoincrement, message integer not null references agent_messages on delete cascade,
        state text not null, why text not null, at real not null
    ) strict;
    create index agent_steps_message on agent_steps (message);
    create unique index agent_steps_handled on agent_steps (message) where state = 'handled';
    create table agent_queue (number integer primary key references agent_messages on delete cascade) strict
    """,
]
LONGEST_NAME: Final = 200  # characters of a conversation, a key
PLACES: Final = 1_024  # files that lock conversations; two that share one wait for each other
WAIT_S: Final = 60.0  # how long whoever comes second waits for a conversation
SWEEP_EVERY_S: Final = 60.0
_LOG: Final = """
    select m.id, conversation, cause, depth, sender, receiver, kind, body, m.at, coalesce(s.state, 'waiting'), coalesce(s.why, '')
    from agent_messages m
    left join agent_steps s on s.number = (select max(number) from agent_steps where message = m.number)"""
_OLD: Final = "select conversation from agent_messages group by conversation having max(at) < ?"


class Exchange:
    """What carries messages between agents, in the house's database. Several processes may deliver at once: each conversation is
    handled by one of them at a time. Messages to agents of other exchanges are left to those."""

    def __init__(
        self, database: Database, agents: Sequence[Agent], encryption: Encryption | None = None, *, limits: Limits | None = None,
        keep_s: float = 0.0,
    ) -> None:  # fmt: skip
        """keep_s: how long a conversation is kept after its last message; 0: for ever. Raises BadSetting."""
        self._database, self._encryption, self._keep_s = database, encryption, keep_s
        self._agents = Agents(agents, limits or Limits())
        self._folder = database.path.parent / "messages"
        self._migrated, self._swept = False, 0.0

    def send(self, conversation: str, to: str, body: Any, *, key: str = "") -> Message:
        """Put a message from outside into the log; `run` delivers it. key: the same for every try of one message of this
        conversation, which is then sent once. Raises NotFound, BadRequest, TooLarge, Limited where a conversation has come to its
        limit, and Conflict for a key that was used for something else."""
        for name, text in (("conversation", conversation), ("key", key or "-")):
            if not isinstance(text, str) or not 1 <= len(text) <= LONGEST_NAME or not text.isprintable():
                raise BadRequest(f"'{name}' must be a text of 1 to {LONGEST_NAME} characters, all of which can be seen")
        written, limit = self._agents.written(Send(to, body)), self._agents.limits.messages
        self._ready()
        key = f"outside/{key or new_id()}"
        with self._database.write() as w:
            self._sweep(w)
            again = w.execute(f"{_LOG} where conversation = ? and key = ?", (conversation, key)).fetchone()
            if again:
                sent = self._message(again)
                if written != Written(sent.receiver, sent.kind, sent.body):
                    raise Conflict("this key was used for something else", hint="take a new key for each message")
                return sent
            if _count(w, conversation) >= limit:
                raise Limited(f"a conversation has at most {limit:,} messages", hint="begin a new one")
            return self._put(w, Message(new_id(), conversation, "", 0, "", *written, time.time()), key)

    def run(self, conversation: str = "") -> list[Message]:
        """Deliver what waits and what follows from it, of one conversation or of all. Returns what was handled, as it ended. One
        that failed or was stopped ends none of the others. Raises Conflict while others deliver that conversation for long."""
        self._ready()
        busy = [_utf8(conversation)] if conversation else self._waiting()
        ended: list[Message] = []
        for wait_s in (0.0, WAIT_S):  # first those that nobody else is at
            talks, busy = busy, []
            for talk in talks:
                with self._alone(talk, wait_s=wait_s) as mine:
                    if mine:
                        ended += self._delivered(talk)
                    else:
                        busy.append(talk)
        if busy:
            raise Conflict("another process delivers this conversation", hint="try again later")
        return ended

    def retry(self, id: str) -> None:  # noqa: A002
        """Have a message that failed, or was stopped, delivered again with the next `run`. Raises NotFound, and Conflict."""
        self._ready()
        with self._database.write() as w:
            row = w.execute(f"{_LOG} where m.id = ?", (_utf8(id),)).fetchone()
            if row is None:
                raise NotFound("there is no such message")
            if row[-2] not in ("failed", "stopped"):
                raise Conflict(f"it is {row[-2]}")
            self._step(w, id, "waiting", "")
            w.execute("insert into agent_queue select number from agent_messages where id = ?", (id,))

    def messages(self, conversation: str) -> list[Message]:
        """All of a conversation, in the order in which they were sent: what `replay` and `lines` are told."""
        self._ready()
        rows = self._database.read(f"{_LOG} where conversation = ? order by m.number", (_utf8(conversation),))
        return list(map(self._message, rows))

    def lines(self, conversation: str) -> Iterator[str]:
        """The same as JSON Lines, which `read_lines` reads."""
        return (f"{canonical(one).decode()}\n" for one in self.messages(conversation))

    @property
    def _ours(self) -> str:
        """SQL for what is to be delivered to our agents; their names are its values."""
        names = ", ".join("?" * len(self._agents.names))
        return f"m.number in (select number from agent_queue) and receiver in ({names})"  # noqa: S608

    def _waiting(self) -> list[str]:
        """The conversations in which something is to be delivered to our agents, the one that waits longest first."""
        oldest_first = f"where {self._ours} group by conversation order by min(m.number)"
        rows = self._database.read(f"select conversation from agent_messages m {oldest_first}", self._agents.names)  # noqa: S608
        return [talk for (talk,) in rows]

    def _delivered(self, conversation: str) -> list[Message]:
        ended: list[Message] = []
        first = f"{_LOG} where {self._ours} and conversation = ? order by m.number limit 1"
        while rows := self._database.read(first, (*self._agents.names, conversation)):
            message = self._message(rows[0])
            ended += self._recorded(message, self._agents.outcome(message))
        return ended

    def _recorded(self, message: Message, outcome: Outcome) -> list[Message]:
        """What came of it, in one transaction. Nothing, where it was erased meanwhile."""
        with self._database.write() as w:
            mine = "delete from agent_queue where number = (select number from agent_messages where id = ?)"
            if w.execute(mine, (message.id,)).rowcount != 1:
                return []
            outcome = self._within(w, message, outcome)
            self._step(w, message.id, outcome.state, outcome.why)
            led_by = (message.conversation, message.id, message.depth + 1, message.receiver)
            for number, one in enumerate(outcome.written):
                self._put(w, Message(new_id(), *led_by, *one, time.time()), f"{message.id}/{number}")
        return [dataclasses.replace(message, state=outcome.state, why=outcome.why)]

    def _within(self, w: Any, message: Message, outcome: Outcome) -> Outcome:
        """It as it is, or stopped, where what follows would go beyond a limit of the conversation."""
        limits, more = self._agents.limits, len(outcome.written)
        if more and message.depth >= limits.depth:
            return Outcome("stopped", why=f"{limits.depth:,} messages led to each other")
        if more and _count(w, message.conversation) + more > limits.messages:
            return Outcome("stopped", why=f"a conversation has at most {limits.messages:,} messages")
        return outcome

    @contextmanager
    def _alone(self, conversation: str, *, wait_s: float) -> Iterator[bool]:
        """Whether nobody else has the conversation for now. The lock ends with its process, however that ends."""
        at = zlib.crc32(conversation.encode()) % PLACES
        lock = FileLock(self._folder / f"{at:04}.lock", thread_local=False)
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=wait_s)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    # ---------------------------------------------------------------- when time is over, or somebody is to be forgotten

    def unchanged_since(self, before: float) -> int:
        """How many conversations had no message since a Unix time."""
        self._ready()
        return len(self._database.read(_OLD, (before,)))

    def remove_unchanged_since(self, before: float) -> int:
        """Remove those, whole. Returns how many."""
        self._ready()
        with self._database.write() as w:
            return _removed(w, [one for (one,) in w.execute(_OLD, (before,)).fetchall()])

    def mentions(self, mentioned: Callable[..., bool]) -> list[str]:
        """The conversations in which somebody stands. mentioned: told texts, whether one has the name."""
        self._ready()
        found = []
        for (talk,) in self._database.read("select distinct conversation from agent_messages"):
            keys = self._database.read("select key from agent_messages where conversation = ?", (talk,))
            texts = [text for one in self.messages(talk) for text in (one.why, *texts_in(one.body))]
            if mentioned(talk, *(key for (key,) in keys), *texts):
                found.append(talk)
        return found

    def erase(self, mentioned: Callable[..., bool]) -> int:
        """Remove those, whole, since the rest of one could not be replayed. Returns how many."""
        found = self.mentions(mentioned)
        with self._database.write() as w:
            return _removed(w, found)

    # ---------------------------------------------------------------- rows

    def _put(self, w: Any, message: Message, key: str) -> Message:
        one, body = message, self._sealed(canonical(message.body).decode(), message.id)
        row = (one.id, one.conversation, key, one.cause, one.depth, one.sender, one.receiver, one.kind, body, one.at)
        put = w.execute(
            "insert into agent_messages (id, conversation, key, cause, depth, sender, receiver, kind, body, at)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        w.execute("insert into agent_queue values (?)", (put.lastrowid,))
        return message

    def _step(self, w: Any, id: str, state: State, why: str) -> None:  # noqa: A002
        w.execute(
            "insert into agent_steps (message, state, why, at) select number, ?, ?, ? from agent_messages where id = ?",
            (state, self._sealed(why, id), time.time(), id),
        )

    def _message(self, row: Sequence[Any]) -> Message:
        id_, *about, body, at, state, why = row
        return Message(id_, *about, orjson.loads(self._opened(body, id_)), at, state, self._opened(why, id_))  # type: ignore[call-arg]

    def _ready(self) -> None:
        if not self._migrated:
            self._database.migrate("messages", STEPS)
            self._migrated = True
        if self._encryption:
            self._encryption.prepare()  # a key is made in a transaction of its own

    def _sealed(self, text: str, id: str) -> str:  # noqa: A002
        return self._encryption.sealed(text, aad=id.encode()) if self._encryption and text else text

    def _opened(self, stored: str, id: str) -> str:  # noqa: A002
        return self._encryption.opened(stored, aad=id.encode()) if self._encryption and stored else stored

    def _sweep(self, w: Any) -> None:
        now = time.time()
        if self._keep_s and not 0 <= now - self._swept < SWEEP_EVERY_S:
            self._swept = now
            _removed(w, [one for (one,) in w.execute(_OLD, (now - self._keep_s,)).fetchall()])


def _utf8(text: str) -> str:
    return str(text).encode("utf-8", "replace").decode()  # half of a surrogate pair is no character


def _count(w: Any, conversation: str) -> int:
    return int(w.execute("select count(*) from agent_messages where conversation = ?", (conversation,)).fetchone()[0])


def _removed(w: Any, conversations: Sequence[str]) -> int:
    w.executemany("delete from agent_messages where conversation = ?", [(one,) for one in conversations])
    return len(conversations)
