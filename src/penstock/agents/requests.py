"""Requests for actions, and the machine that carries them out: a model can ask for one, and only the person can agree to it.

What changes something runs when exactly these arguments were read back to the person, in this conversation, and the person then
agreed, with a token that no model is shown. Each step is a row of a log that is only added to, in the transaction that makes it,
so that after a crash it is known how far it went. An effect in the house's own database is part of that transaction. After an
effect elsewhere is asked by its key before anything is done again.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from filelock import FileLock, Timeout

from penstock.agents.actions import Action, Actions, Context, Effect, Found, Person, canonical, plain
from penstock.agents.states import NEXT, OVER, By, State, Step, replay
from penstock.config import iso
from penstock.errors import BadRequest, BadSetting, Conflict, Limited, NotAllowed, NotFound, PenstockError, StorageError
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption
from penstock.storage.files import storage_errors
from penstock.trace import log, place
from penstock.types import new_id

__all__ = ["ActionRequests", "Held", "Logged", "ReadBack", "Request"]

STEPS = [
    """
    create table action_requests (
        number integer primary key autoincrement, id text not null unique, tenant text not null, person text not null,
        conversation text not null, key text not null, action text not null, effect text not null, confirms integer not null,
        state text not null, digest text not null, words text not null, outcome text not null, proof blob not null,
        owner text not null, begun real not null, expires real not null, created real not null, changed real not null,
        steps integer not null, unique (tenant, person, conversation, key)
    ) strict;
    create index action_requests_rate on action_requests (tenant, action, person, created);
    create index action_requests_state on action_requests (state);
    create index action_requests_changed on action_requests (changed);
    create table action_log (
        number integer primary key autoincrement, request text not null, step integer not null, state text not null,
        by text not null, at real not null, digest text not null, why text not null, unique (request, step)
    ) strict
    """,
]
VALID_S: Final = 600.0  # how long a person has to agree
SLACK_S: Final = 60.0  # how far the clock may go back before what was read back counts as expired
WAIT_S: Final = 10.0  # how long whoever comes second waits for the result of the first
SWEEP_EVERY_S: Final = 60.0
LARGEST_RESULT: Final = 1 << 18  # bytes as JSON
LONGEST_NAME: Final = 200  # characters of the id of a person, a conversation, a key
LONGEST_REASON: Final = 1_000
FAILED: Final = "it failed, and nothing was changed"
UNKNOWN: Final = "it is not known yet whether it was done"
CHANGED: Final = "it is not any more as it was read back"
FULL: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it stands. It has nothing in it that a model may not see."""

    id: str
    action: str
    effect: Effect
    state: State
    arguments: Mapping[str, Any]  # as JSON has them
    read_back: str  # what the person is asked; "" where they need not agree
    result: Any
    reason: str  # why it was not done, or is not known to be
    expires: float  # Unix time until when the person can agree; 0 where they need not
    created: float

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    def plain(self) -> dict[str, Any]:
        """As JSON, which a model may be told."""
        return {
            "id": self.id, "action": self.action, "state": self.state, "arguments": self.arguments,
            "read_back": self.read_back or None, "result": self.result, "reason": self.reason or None,
            "expires": iso(self.expires) if self.expires else None,
        }  # fmt: skip


class ReadBack(NamedTuple):
    """What a person is shown, and the token with which they agree. It goes to their screen, and never into a prompt."""

    request: Request
    text: str
    token: str


class Logged(NamedTuple):
    """A request as a list has it, with nobody's words in it."""

    number: int  # in the order in which they were asked for
    id: str
    action: str
    effect: Effect
    state: State
    created: float  # Unix time
    changed: float
    by: tuple[By, ...]  # who made its steps, in their order

    def plain(self) -> dict[str, Any]:
        return {
            "id": self.id, "action": self.action, "effect": self.effect, "state": self.state, "created": iso(self.created),
            "changed": iso(self.changed), "asked_by": self.by[0] if self.by else "", "agreed": "person" in self.by[1:],
        }  # fmt: skip


class Held(NamedTuple):
    """A request, and whose it is."""

    person: Person
    conversation: str
    request: Request


class _Row(NamedTuple):
    id: str
    tenant: str
    person: str
    conversation: str
    action: str
    effect: Effect
    confirms: int
    state: State
    digest: str
    words: str
    outcome: str
    proof: bytes
    owner: str
    begun: float  # Unix time at which it was last proposed, read back or started
    expires: float
    created: float
    steps: int


class _Look(NamedTuple):
    """What was seen before something is done. ends: the state in which it ends because of that; None where it may go on."""

    facts: Mapping[str, Any]
    said: str
    ends: State | None = None
    reason: str = ""


class _Owner:
    """This process, as others know it: while it holds its lock, what it runs is not taken for interrupted."""

    def __init__(self, folder: Path) -> None:
        self.name, self.process = f"{time.time_ns()}-{secrets.token_hex(4)}", os.getpid()
        self._lock = FileLock(folder / f"{self.name}.lock", thread_local=False)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()

    def close(self) -> None:
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)


_NOBODY_KNOWS: Final = object()
_TALK: Final = "tenant = ? and person = ? and conversation = ?"
_OLD: Final = "changed < ? and state in ('done', 'refused', 'failed', 'expired', 'withdrawn')"
_COLUMNS: Final = ", ".join(_Row._fields)


class ActionRequests:
    """All requests of a house, in its database. Several processes may work on it at once."""

    def __init__(
        self, database: Database, actions: Actions, encryption: Encryption | None = None, *, valid_s: float = VALID_S,
        keep_s: float = 0.0,
    ) -> None:  # fmt: skip
        """valid_s: how long a person has to agree. keep_s: how long a request is kept once it is over; 0: for ever."""
        self._database, self._actions, self._encryption = database, actions, encryption
        self._valid_s, self._keep_s = valid_s, keep_s
        self._folder = database.path.parent / "actions"
        self._migrated, self._swept = False, 0.0
        self._guard = threading.Lock()
        self._owner: _Owner | None = None
        self._active = Counter[str]()  # requests that threads of this process are at

    # ---------------------------------------------------------------- what a model may call

    def propose(
        self, person: Person, conversation: str, action: str, arguments: Mapping[str, Any] | str | bytes, *, key: str = "",
        by: By = "assistant",
    ) -> Request:  # fmt: skip
        """Ask for an action. What needs no agreement is done; what does waits to be read back, in place of what waited before.

        key: the same for every try of one call, such as the id of a model's call of a tool: the first result is given again.
        Raises NotFound, NotAllowed, BadArguments, TooLarge and Limited, and Conflict for a key that was used for something
        else, or while something else is being changed in this conversation. Then nothing was asked for.
        """
        found = self._actions.allowed(action, person)
        read = found.read(arguments)
        for name, text in (("conversation", conversation), ("person", person.id), ("key", key)):
            _check_name(name, text, empty=name != "conversation")
        self._ready()
        number = new_id()
        key = key or number
        context = Context(person, conversation, number)
        if found.effect == "writes":
            self._resolve_in(person, conversation)
        looked: _Look | None = None
        if found.facts and not found.here and not self._by_key(self._database.read, person, conversation, key):
            looked = self._look(found, context, read)  # it may take long, so it comes before the transaction
        only_asked = found.effect == "reads" or found.confirms  # nothing is changed by it yet
        with self._at(number):
            with self._database.write(synced=not only_asked) as w:
                self._sweep(w)
                if row := self._by_key(_rows(w), person, conversation, key):
                    self._check_same(row, found, read)
                else:
                    self._check_rate(w, found, person, conversation)
                    if found.effect == "writes":
                        self._check_order(w, person, conversation)
                    looked = looked or self._look(found, context, read, w)
                    row = self._begin(w, found, context, read, looked, key=key, by=by)
                    if not row.confirms and row.state == "proposed":
                        row = self._start(w, found, context, read, row)
            if row.id == number and row.state == "running":
                self._carry_out(found, context, read, row)
        if row.id != number and row.state == "running":
            self._resolved(row)
        return self._settled(row.id)

    def look(self, person: Person, conversation: str, action: str, arguments: Mapping[str, Any] | str | bytes) -> Any:
        """What an action that only reads gives now, without a request for it. Raises what `propose` raises, and what it does
        where it refuses; BadRequest for one that writes, or needs an agreement."""
        found = self._actions.allowed(action, person)
        if found.effect != "reads" or found.confirms:
            raise BadRequest(f"'{action}' does more than read")
        read = found.read(arguments)
        context = Context(person, conversation, new_id())
        if not found.here:
            return plain(found.run(context, read))
        with self._database.snapshot() as r, _only(r, "reads"):
            return plain(found.run(Context(person, conversation, context.key, r), read))

    def withdraw(self, person: Person, conversation: str, id: str, *, by: By = "person") -> Request:  # noqa: A002
        """Nothing is to come of it. Raises NotFound, and Conflict for what runs, or has ended otherwise."""
        self._ready()
        with self._database.write() as w:
            self._sweep(w)
            row = self._own(_rows(w), person, conversation, id)
            if row.state in ("proposed", "read_back"):
                self._step(w, row, "withdrawn", by)
            elif row.state != "withdrawn":
                raise _not_waiting(row)
        return self._request(id)

    def get(self, person: Person, conversation: str, id: str) -> Request:  # noqa: A002
        """How one stands. Raises NotFound."""
        self._ready()
        return self._shown(self._own(self._database.read, person, conversation, id))

    def of(self, person: Person, conversation: str) -> list[Request]:
        """All of a conversation, in the order in which they were asked for."""
        self._ready()
        rows = self._select(self._database.read, f"{_TALK} order by number", _talk(person, conversation))
        return [self._shown(row) for row in rows]

    # ---------------------------------------------------------------- what the person does, where no model has a hand in it

    def waiting(self, person: Person, conversation: str) -> Request | None:
        """The one that waits for the person to agree, or to be read back to them."""
        return next((one for one in self.of(person, conversation) if one.state in ("proposed", "read_back")), None)

    def read_back(self, person: Person, conversation: str, id: str) -> ReadBack:  # noqa: A002
        """What is to be shown to the person now, and the token with which they agree to it. An earlier token is void.

        Whoever draws the screen calls this. Raises NotFound, NotAllowed, and Conflict for what does not wait.
        """
        self._ready()
        token, now = secrets.token_urlsafe(32), time.time()
        with self._database.write(synced=False) as w:
            self._sweep(w)
            row = self._own(_rows(w), person, conversation, id)
            if row.state not in ("proposed", "read_back") or not row.confirms or self._is_due(row, now):
                raise _not_waiting(row)
            self._actions.allowed(row.action, person)
            self._step(w, row, "read_back", "house", proof=_proof(token, row), begun=now, expires=now + self._valid_s)
        request = self._request(id)
        return ReadBack(request, request.read_back, token)

    def confirm(self, person: Person, conversation: str, id: str, token: str) -> Request:  # noqa: A002
        """The person agrees to what was read back to them: it is done, once. With the same token again the result is given again.

        It is refused where the facts are others by now, and expired where it took too long. Raises NotFound, NotAllowed for a
        token that is not for this, and Conflict while something else is being changed in this conversation.
        """
        self._ready()
        self._resolve_in(person, conversation)
        row = self._own(self._database.read, person, conversation, id)
        _check_token(token, row)
        if row.state in OVER or row.state == "running":
            return self._settled(id)
        action = self._actions.allowed(row.action, person)
        context = Context(person, conversation, id)
        outside = None if action.here else self._looked_again(action, context, row)
        with self._at(id):
            with self._database.write() as w:
                row = self._own(_rows(w), person, conversation, id)
                _check_token(token, row)
                if mine := row.state == "read_back":
                    row = self._agreed(w, action, context, row, outside)
            if mine and row.state == "running":
                self._carry_out(action, context, self._arguments(action, row), row)
        return self._settled(id)

    def _agreed(
        self, w: sqlite3.Connection, action: Action, context: Context, row: _Row, outside: _Look | None
    ) -> _Row:  # fmt: skip
        """What comes of it in the transaction in which somebody agrees."""
        if self._is_due(row, time.time()):
            return self._step(w, row, "expired", "house")
        self._check_order(w, context.person, context.conversation)
        looked = outside or self._looked_again(action, context, row, w)
        row = self._step(w, row, "confirmed", "person")
        if looked.ends:
            return self._step(w, row, looked.ends, "house", why="facts", reason=looked.reason)
        return self._start(w, action, context, self._arguments(action, row), row)

    # ---------------------------------------------------------------- carried out

    def _start(self, w: sqlite3.Connection, action: Action, context: Context, arguments: Any, row: _Row) -> _Row:
        """Run it now where it belongs into this transaction; else say that it runs, for `_carry_out` to do."""
        if not action.here or action.effect == "reads":
            return self._step(w, row, "running", "house", owner=self._me().name, begun=time.time())
        row = self._step(w, row, "running", "house", begun=time.time())
        w.execute("savepoint action_effect")
        try:
            with _only(w, "writes"):
                result = action.run(Context(context.person, context.conversation, context.key, w), arguments)
            kept = _kept(result)
        except Exception as error:
            state, reason = _ended_by(error, action)
            w.execute("rollback to action_effect")
            row = self._step(w, row, state, "house", reason=reason)
        else:
            row = self._step(w, row, "done", "house", result=kept)
        w.execute("release action_effect")
        return row

    def _carry_out(self, action: Action, context: Context, arguments: Any, row: _Row) -> None:
        """Run what `row` says is running, and record what came of it. It stays running where nobody can say."""
        try:
            if action.here:
                with self._database.snapshot() as r, _only(r, "reads"):
                    result = action.run(Context(context.person, context.conversation, context.key, r), arguments)
            else:
                result = action.run(context, arguments)
            kept = _kept(result) if action.effect == "reads" else _kept_anyway(result, action)
        except Exception as error:
            state, reason = _ended_by(error, action)
            if action.effect == "writes":
                found = self._find(action, context, arguments)
                if isinstance(found, Found):
                    self._end(row, "done", result=_kept_anyway(found.result, action), why="found")
                    return
                if found is _NOBODY_KNOWS or state == "failed":
                    return  # the effect may still come about: `resolve` asks again
            self._end(row, state, reason=reason)
        else:
            self._end(row, "done", result=kept)

    def _find(self, action: Action, context: Context, arguments: Any) -> Any:
        """Found, None where the effect is not there, or that nobody knows."""
        try:
            return action.find(context, arguments) if action.find else None
        except Exception as error:
            log("an action could not be looked for", level="warning", action=action.name, error=type(error).__name__)
            return _NOBODY_KNOWS

    def _end(self, row: _Row, state: State, *, result: Any = None, reason: str = "", why: str = "") -> None:
        with self._database.write(synced=row.effect == "writes") as w:
            now = self._select(_rows(w), "id = ?", (row.id,))
            if now and now[0].steps == row.steps:  # it may have been erased, or its end be known already
                self._step(w, now[0], state, "house", result=result, reason=reason, why=why)

    # ---------------------------------------------------------------- after a crash

    def resolve(self) -> int:
        """Find out what became of what was running when its process ended, or when nobody could say. Returns how many are known
        now. An effect that is not there once it had time to come about is made, as long as the agreement to it is fresh. Call it
        now and then; whoever goes on in a conversation has it called for that one."""
        self._ready()
        return sum(self._resolved(row) for row in self._select(self._database.read, "state = 'running'", ()))

    def _resolve_in(self, person: Person, conversation: str) -> None:
        for row in self._select(self._database.read, f"{_TALK} and state = 'running'", _talk(person, conversation)):
            self._resolved(row)

    def _resolved(self, row: _Row) -> bool:
        """Whether it is known by now what became of something that runs. What another is at, or another app knows, is left."""
        me = self._me()
        if self._is_worked_on(row):
            return False
        words = self._words(row)
        person = Person(row.person, words["level"], tuple(words["roles"]), row.tenant)
        try:
            action = self._actions.allowed(row.action, person)
            arguments = action.read(words["arguments"])
        except PenstockError:
            return False
        with self._guard:
            if row.id in self._active:
                return False
            self._active[row.id] += 1
        try:
            with self._database.write() as w:
                now = self._select(_rows(w), "id = ?", (row.id,))
                if not now or now[0].steps != row.steps:
                    return False
                if row.owner != me.name:
                    row = self._step(w, row, "running", "house", why="taken over", owner=me.name)
            return self._asked_for(row, action, Context(person, row.conversation, row.id), arguments)
        except Conflict:  # it was erased meanwhile
            return False
        finally:
            self._leave(row.id)

    def _asked_for(self, row: _Row, action: Action, context: Context, arguments: Any) -> bool:
        found = self._find(action, context, arguments)
        if isinstance(found, Found):
            self._end(row, "done", result=_kept_anyway(found.result, action), why="found")
            return True
        now = time.time()
        if found is _NOBODY_KNOWS:
            return False
        if action.effect == "writes" and now - row.begun < action.settles_s:
            if row.begun > now:  # the clock went back: the time to settle begins anew
                with self._database.write() as w:
                    self._step(w, row, "running", "house", why="clock", begun=now)
            return False
        until = row.expires if row.confirms else row.created + self._valid_s
        looked = self._looked_again(action, context, row)
        if now > until + action.settles_s or looked.ends:
            reason = looked.reason or "it was interrupted before it was done, and nothing was changed"
            self._end(row, looked.ends or "failed", reason=reason, why="interrupted")
            return True
        with self._database.write() as w:
            row = self._step(w, row, "running", "house", why="not found", begun=now)
        self._carry_out(action, context, arguments, row)
        return self._request(row.id).is_over

    def _is_worked_on(self, row: _Row) -> bool:
        """Whether a thread of this process, or another process, is at it."""
        return row.id in self._active or (row.owner != self._me().name and self._is_alive(row.owner))

    def _is_alive(self, owner: str) -> bool:
        """Whether the process that said it runs something is still there. A lock ends with its process, however that ends."""
        lock = FileLock(self._folder / f"{owner}.lock", thread_local=False)
        with storage_errors(self._folder):
            if not owner or not Path(lock.lock_file).exists():
                return False
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return True
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)
        return False

    def _me(self) -> _Owner:
        with self._guard:
            if self._owner is None or self._owner.process != os.getpid():  # a fork is a process of its own
                self._owner = _Owner(self._folder)
            return self._owner

    @contextmanager
    def _at(self, number: str) -> Iterator[None]:
        """While this process is at it, it does not take it for interrupted."""
        with self._guard:
            self._active[number] += 1
        try:
            yield
        finally:
            self._leave(number)

    def _leave(self, number: str) -> None:
        with self._guard:
            self._active[number] -= 1
            if not self._active[number]:
                del self._active[number]

    def close(self) -> None:
        """Let others take over what this process may have left. The database stays open."""
        with self._guard:
            if self._owner is not None:
                self._owner.close()
                self._owner = None

    # ---------------------------------------------------------------- the log

    def steps(self, id: str = "") -> list[Step]:  # noqa: A002
        """The log, of one request or of all, in the order in which things happened. It has nobody's words in it."""
        self._ready()
        rows = self._database.read(
            "select number, request, step, state, by, at, digest, why from action_log where ? in ('', request) order by number",
            (id,),
        )
        return [Step(*row) for row in rows]

    def latest(self, *, limit: int, before: int = 0, state: str = "", tenant: str | None = None) -> list[Logged]:
        """The latest requests for these actions, the newest first. before: the number of the last one that is known already.
        tenant: only of that one; None: of all."""
        self._ready()
        names = [one.name for one in self._actions]
        marks = ", ".join("?" * len(names))
        rows = self._database.read(
            "select number, id, action, effect, state, created, changed, confirms, begun, expires from action_requests"  # noqa: S608
            f" where action in ({marks}) and (? = 0 or number < ?) and (? or tenant = ?) order by number desc"
            " limit ?",
            (*names, before, before, tenant is None, tenant or "", limit if not state else -1),
        )
        found: list[Logged] = []
        for number, id_, action, effect, now, created, changed, *due in rows:
            stands: State = "expired" if _is_late(now, *due) else now
            if state in ("", stands):
                steps = self._database.read("select by from action_log where request = ? order by step", (id_,))
                found.append(
                    Logged(number, id_, action, effect, stands, created, changed, tuple(by for (by,) in steps))
                )
            if len(found) == limit:
                break
        return found

    def held(self, id: str) -> Held:  # noqa: A002
        """A request for one of these actions, and whose it is, for people who look after the app. Raises NotFound."""
        self._ready()
        rows = self._select(self._database.read, "id = ?", (_utf8(id),))
        if not rows or not any(one.name == rows[0].action for one in self._actions):
            raise NotFound("there is no such request")
        row, words = rows[0], self._words(rows[0])
        return Held(
            Person(row.person, words["level"], tuple(words["roles"]), row.tenant), row.conversation, self._shown(row)
        )

    def check(self) -> list[str]:
        """What of the requests is not as the log says; nothing, where all is well."""
        self._ready()
        with self._database.snapshot() as r:
            steps = r.execute(
                "select number, request, step, state, by, at, digest, why from action_log order by number"
            )
            try:
                logged = replay(Step(*row) for row in steps.fetchall())
            except StorageError as error:
                return [error.message]
            stored = dict(r.execute("select id, state from action_requests").fetchall())
        return [
            f"{id_} is {stored.get(id_, 'gone')}, and the log says {logged.get(id_, 'nothing')}"
            for id_ in sorted(logged.keys() | stored.keys())
            if stored.get(id_) != logged.get(id_)
        ]

    # ---------------------------------------------------------------- when time is over, or somebody is to be forgotten

    def made_before(self, before: float) -> int:
        """How many are over, and have not changed since a Unix time."""
        self._ready()
        return int(self._database.read(f"select count(*) from action_requests where {_OLD}", (before,))[0][0])  # noqa: S608

    def remove_made_before(self, before: float) -> int:
        """Remove those, and their steps. Returns how many."""
        self._ready()
        with self._database.write() as w:
            return _removed_before(w, before)

    def mentions(self, mentioned: Callable[..., bool]) -> list[str]:
        """The ids of those of somebody, and of those in which they stand. mentioned: told texts, whether one has the name."""
        self._ready()
        found = []
        for row in self._select(self._database.read, "true", ()):
            texts = [self._opened(row.words, row.id), self._opened(row.outcome, row.id)]
            if mentioned(row.person, row.conversation, *texts):
                found.append(row.id)
        return found

    def erase(self, mentioned: Callable[..., bool]) -> int:
        """Remove those, and their steps. Returns how many."""
        found = [(number,) for number in self.mentions(mentioned)]
        with self._database.write() as w:
            w.executemany("delete from action_requests where id = ?", found)
            w.executemany("delete from action_log where request = ?", found)
        return len(found)

    # ---------------------------------------------------------------- what is looked at before

    def _look(self, action: Action, context: Context, arguments: Any, w: sqlite3.Connection | None = None) -> _Look:
        """What the person has to know, or why it cannot be done."""
        try:
            if action.facts is None:
                facts: Any = {}
            elif action.here and w is not None:
                with _only(w, "reads"):
                    facts = action.facts(Context(context.person, context.conversation, context.key, w), arguments)
            else:
                facts = action.facts(context, arguments)
            said = action.says(arguments, facts) if action.confirms else ""
            known = plain(facts)
            canonical(known)
        except Exception as error:
            state, reason = _ended_by(error, action)
            return _Look({}, "", state, reason)
        return _Look(known, said)

    def _looked_again(
        self, action: Action, context: Context, row: _Row, w: sqlite3.Connection | None = None
    ) -> _Look:  # fmt: skip
        """The same at the time at which it is to be done. It ends where it is not what the person was told."""
        try:
            arguments = self._arguments(action, row)
        except PenstockError:
            return _Look({}, "", "refused", CHANGED)
        looked = self._look(action, context, arguments, w)
        if not looked.ends and self._digest(action.name, arguments, looked) != row.digest:
            return _Look({}, "", "refused", CHANGED)
        return looked

    def _check_rate(self, w: sqlite3.Connection, action: Action, person: Person, conversation: str) -> None:
        now, rate = time.time(), action.rate
        (count,) = w.execute(
            "select count(*) from action_requests where tenant = ? and action = ? and person = ? and created > ? and created <= ?"
            " and (person <> '' or conversation = ?)",
            (person.tenant, action.name, person.id, now - rate.per_s, now + rate.per_s, conversation),
        ).fetchone()
        if count >= rate.most:
            raise Limited(
                f"'{action.name}' was asked for {count:,} times in {rate.per_s:g} s, the limit is {rate.most:,}",
                retry_after_s=rate.per_s,
            )

    def _check_order(self, w: sqlite3.Connection, person: Person, conversation: str) -> None:
        """One change at a time in a conversation, so that they happen in the order in which they were agreed to."""
        running = f"{_TALK} and state = 'running' and effect = 'writes'"
        if self._select(_rows(w), running, _talk(person, conversation)):
            hint = "wait for it to end; it is looked at again each time that somebody asks"
            raise Conflict("something else is being changed in this conversation", hint=hint)

    def _check_same(self, row: _Row, action: Action, arguments: Any) -> None:
        if row.action != action.name or canonical(self._words(row)["arguments"]) != canonical(arguments):
            raise Conflict("this key was used for something else", hint="take a new key for each call")

    # ---------------------------------------------------------------- rows

    def _begin(
        self, w: sqlite3.Connection, action: Action, context: Context, arguments: Any, looked: _Look, *, key: str, by: By
    ) -> _Row:  # fmt: skip
        person, now = context.person, time.time()
        if action.confirms and not looked.ends:
            waits = f"{_TALK} and confirms and state in ('proposed', 'read_back')"
            for other in self._select(_rows(w), waits, _talk(person, context.conversation)):
                self._step(w, other, "withdrawn", by, why="replaced")
        words = {
            "arguments": plain(arguments), "facts": looked.facts, "read_back": looked.said,
            "level": person.level, "roles": list(person.roles),
        }  # fmt: skip
        sealed = self._sealed(words, context.key)
        digest = self._digest(action.name, arguments, looked)
        expires = now + self._valid_s if action.confirms else 0.0
        row = _Row(
            context.key, person.tenant, person.id, context.conversation, action.name, action.effect, int(action.confirms),
            "proposed", digest, sealed, "", b"", "", now, expires, now, 1,
        )  # fmt: skip
        w.execute(
            f"insert into action_requests ({_COLUMNS}, key, changed) values ({', '.join('?' * (len(row) + 2))})",  # noqa: S608
            (*row, key, now),
        )
        self._log(w, row, by, now, "confirm" if row.confirms else "free")
        return self._step(w, row, looked.ends, "house", reason=looked.reason) if looked.ends else row

    def _step(
        self, w: sqlite3.Connection, row: _Row, state: State, by: By, *, why: str = "", result: Any = None, reason: str = "",
        proof: bytes | None = None, owner: str | None = None, begun: float | None = None, expires: float | None = None,
    ) -> _Row:  # fmt: skip
        """Go on to a state, in the table and in the log. Whoever has an older row of it changes nothing, and gets a Conflict."""
        if state not in NEXT[row.state]:
            raise Conflict(f"it is {row.state}, and cannot become {state}")
        now = time.time()
        outcome = (
            self._sealed({"result": result, "reason": _utf8(reason[:LONGEST_REASON])}, row.id) if state in OVER else ""
        )
        changed = row._replace(
            state=state, outcome=outcome, steps=row.steps + 1,
            proof=row.proof if proof is None else proof,
            owner=row.owner if owner is None else owner,
            begun=row.begun if begun is None else begun,
            expires=row.expires if expires is None else expires,
        )  # fmt: skip
        done = w.execute(
            "update action_requests set state = ?, outcome = ?, steps = ?, proof = ?, owner = ?, begun = ?, expires = ?,"
            " changed = ? where id = ? and steps = ?",
            (
                state, outcome, changed.steps, changed.proof, changed.owner, changed.begun, changed.expires, now, row.id,
                row.steps,
            ),
        )  # fmt: skip
        if done.rowcount != 1:
            raise Conflict("somebody else has gone on with it")
        self._log(w, changed, by, now, why)
        return changed

    def _log(self, w: sqlite3.Connection, row: _Row, by: By, now: float, why: str) -> None:
        w.execute(
            "insert into action_log (request, step, state, by, at, digest, why) values (?, ?, ?, ?, ?, ?, ?)",
            (row.id, row.steps - 1, row.state, by, now, row.digest, why),
        )

    def _select(self, read: Callable[..., Any], where: str, values: Sequence[Any]) -> list[_Row]:
        return [_Row(*row) for row in read(f"select {_COLUMNS} from action_requests where {where}", values)]  # noqa: S608

    def _by_key(self, read: Callable[..., Any], person: Person, conversation: str, key: str) -> _Row | None:
        rows = self._select(read, f"{_TALK} and key = ?", (*_talk(person, conversation), key))
        return rows[0] if rows else None

    def _own(self, read: Callable[..., Any], person: Person, conversation: str, id: str) -> _Row:  # noqa: A002
        if not (rows := self._select(read, f"id = ? and {_TALK}", (_utf8(id), *_talk(person, conversation)))):
            raise NotFound("there is no such request in this conversation")
        return rows[0]

    def _is_due(self, row: _Row, now: float) -> bool:
        """Whether it is too late to agree. A clock that went back far makes no time for it: it counts as too late, too."""
        return _is_late(row.state, row.confirms, row.begun, row.expires, now)

    def _settled(self, id: str) -> Request:  # noqa: A002
        """It as it stands; what another process or thread is at, when that has ended, or after a while."""
        until = time.monotonic() + WAIT_S
        while True:
            rows = self._select(self._database.read, "id = ?", (id,))
            if not rows:
                raise NotFound("there is no such request in this conversation")
            (row,) = rows
            if row.state != "running" or not self._is_worked_on(row) or time.monotonic() > until:
                return self._shown(row)
            time.sleep(0.02)

    def _request(self, id: str) -> Request:  # noqa: A002
        return self._shown(self._select(self._database.read, "id = ?", (id,))[0])

    def _shown(self, row: _Row) -> Request:
        words, outcome = self._words(row), orjson.loads(self._opened(row.outcome, row.id) or "{}")
        state: State = "expired" if self._is_due(row, time.time()) else row.state
        reason = outcome.get("reason", "") or (UNKNOWN if state == "running" else "")
        return Request(
            row.id, row.action, row.effect, state, words["arguments"], words["read_back"], outcome.get("result"), reason,
            row.expires, row.created,
        )  # fmt: skip

    def _words(self, row: _Row) -> dict[str, Any]:
        words: dict[str, Any] = orjson.loads(self._opened(row.words, row.id))
        return words

    def _arguments(self, action: Action, row: _Row) -> Any:
        return action.read(self._words(row)["arguments"])

    def _digest(self, name: str, arguments: Any, looked: _Look) -> str:
        whole = canonical([name, arguments, looked.facts, looked.said])
        found = self._encryption.digest(whole) if self._encryption else hashlib.sha256(whole).digest()[:16]
        return found.hex()

    def _sealed(self, words: Any, number: str) -> str:
        text = orjson.dumps(words).decode()
        return self._encryption.sealed(text, aad=number.encode()) if self._encryption else text

    def _opened(self, stored: str, number: str) -> str:
        return self._encryption.opened(stored, aad=number.encode()) if self._encryption and stored else stored

    def _ready(self) -> None:
        if not self._migrated:
            self._database.migrate("actions", STEPS)
            self._migrated = True
        if self._encryption:
            self._encryption.prepare()  # a key is made in a transaction of its own

    def _sweep(self, w: sqlite3.Connection) -> None:
        """Say of what has expired that it has, and remove what is past its time."""
        now = time.time()
        if 0 <= now - self._swept < SWEEP_EVERY_S:
            return
        self._swept = now
        for row in self._select(_rows(w), "state in ('proposed', 'read_back') and confirms", ()):
            if self._is_due(row, now):
                self._step(w, row, "expired", "house")
        if self._keep_s:
            _removed_before(w, now - self._keep_s)


# ---------------------------------------------------------------- small things


def _rows(w: sqlite3.Connection) -> Callable[..., list[Any]]:
    return lambda sql, values: w.execute(sql, values).fetchall()


def _removed_before(w: sqlite3.Connection, before: float) -> int:
    w.execute(
        f"delete from action_log where request in (select id from action_requests where {_OLD})",  # noqa: S608
        (before,),
    )
    return int(w.execute(f"delete from action_requests where {_OLD}", (before,)).rowcount)  # noqa: S608


def _talk(person: Person, conversation: str) -> tuple[str, str, str]:
    return _utf8(person.tenant), _utf8(person.id), _utf8(conversation)


def _utf8(text: Any) -> str:
    return str(text).encode("utf-8", "replace").decode()  # half of a surrogate pair is no character


def _check_name(name: str, text: Any, *, empty: bool) -> None:
    fits = isinstance(text, str) and len(text) <= LONGEST_NAME and (text or empty) and text.isprintable()
    if not fits:
        raise BadRequest(f"'{name}' must be a text of 1 to {LONGEST_NAME} characters, all of which can be seen")


def _proof(token: str, row: _Row) -> bytes:
    """What is kept in place of a token: it fits this request of this person in this conversation, as it is now, and no other."""
    bound = canonical([token, row.id, row.tenant, row.person, row.conversation, row.action, row.digest])
    return hashlib.sha256(bound).digest()


def _check_token(token: str, row: _Row) -> None:
    fits = isinstance(token, str) and len(token) <= LONGEST_NAME and token.isascii()
    if not fits or not row.proof or not hmac.compare_digest(_proof(token, row), row.proof):
        hint = "read it back to the person, and send the token that comes with it once they have agreed"
        raise NotAllowed("this confirmation is not for this request", hint=hint)


def _is_late(state: State, confirms: int, begun: float, expires: float, now: float = 0.0) -> bool:
    if state not in ("proposed", "read_back") or not confirms:
        return False
    return not begun - SLACK_S <= (now or time.time()) < expires


def _not_waiting(row: _Row) -> Conflict:
    return Conflict(f"it is {row.state} already" if row.state not in ("proposed", "read_back") else "it has expired")


def _ended_by(error: Exception, action: Action) -> tuple[State, str]:
    """What an error of an action means for its request, and what a person may be told. Raises what is no matter of the action."""
    if isinstance(error, StorageError) or (isinstance(error, sqlite3.Error) and _code(error) in FULL):
        raise error
    if isinstance(error, PenstockError) and error.status < 500 and not isinstance(error, BadSetting):
        return "refused", error.message
    log("an action failed", level="error", action=action.name, error=type(error).__name__, place=place(error))
    return "failed", FAILED


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _kept(result: Any) -> Any:
    """A result as JSON has it. Raises TypeError and ValueError for what is none, or too large."""
    kept = plain(result)
    if (size := len(canonical(kept))) > LARGEST_RESULT:
        raise ValueError(f"a result of {size:,} bytes, the limit is {LARGEST_RESULT:,}")
    return kept


def _kept_anyway(result: Any, action: Action) -> Any:
    """The same of what was done and cannot be undone: without a result where there is none that can be kept."""
    try:
        return _kept(result)
    except (TypeError, ValueError, RecursionError) as error:
        log("a result could not be kept", level="error", action=action.name, error=type(error).__name__)
        return None


_READ: Final = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_TRANSACTION: Final = {
    sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA,
}  # fmt: skip
_OURS: Final = {"action_requests", "action_log"}


@contextmanager
def _only(connection: sqlite3.Connection, effect: Effect) -> Iterator[None]:
    """While an action has the connection, it reads; or writes too, but neither ends the transaction nor says what it did."""

    def judge(code: int, first: str | None, second: str | None, *_: Any) -> int:
        if code in _READ:
            return sqlite3.SQLITE_OK
        forbidden = effect == "reads" or code in _TRANSACTION or first in _OURS or second in _OURS
        return sqlite3.SQLITE_DENY if forbidden else sqlite3.SQLITE_OK

    connection.set_authorizer(judge)
    try:
        yield
    finally:
        connection.set_authorizer(None)
