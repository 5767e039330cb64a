"""Replies that wait for a person: proposed ones that may not leave before somebody agrees, and questions handed over to people.

Both are the same thing at different times: somebody waits, a person claims it for the time of a lease, and says what is to be
said. It ends once: whoever is second is told so. What nobody decided by its time expires, and an expired reply never leaves.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from penstock.config import iso
from penstock.errors import BadRequest, Conflict, Limited, NotFound, TooLarge
from penstock.review.content import Content, newest
from penstock.review.store import Sees, Store
from penstock.storage.audit import Audit, Kind
from penstock.types import ANYBODY, Caller, new_id

__all__ = ["Approvals", "HandOvers", "Outcome", "Waiting"]

State = Literal["pending", "approved", "edited", "rejected", "replied", "closed", "expired"]

LONGEST_REPLY, LONGEST_REASON = 50_000, 4_000  # characters
LOOK_EVERY_S: Final = 0.25  # while somebody waits
LONGEST_WAIT_S: Final = 60.0
DELIVERED_S: Final = 86_400.0  # how long a reply can be fetched where words are not kept
SWEEP_EVERY_S: Final = 60.0
MOST_WAITING: Final = 1_000  # of one key
MOST_OF_ONE: Final = 20  # of one person who comes with that key, such as a visitor of a widget
MOST_BEFORE: Final = 100  # messages that are shown to whoever replies
GIVEN_BACK: Final = "the customer went back to the bot"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it stands with something that waits. text: what may be said now; "" while nothing may."""

    id: str
    state: State
    text: str = ""
    reason: str = ""  # of a rejection, in the words of whoever rejected it
    by: str = ""
    at: float = 0.0  # Unix time of the end
    expires: float = 0.0

    @property
    def is_over(self) -> bool:
        return self.state != "pending"

    def plain(self, *, named: bool = False) -> dict[str, Any]:
        """As JSON. named: with who decided."""
        return {
            "id": self.id, "state": self.state, "text": self.text or None, "reason": self.reason or None,
            **({"by": self.by or None} if named else {}), "at": iso(self.at), "expires": iso(self.expires),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that waits, as a reviewer sees it. claimed_by: who has it now."""

    id: str
    content: Content
    app: str
    request: str
    priority: float
    created: float
    expires: float
    claimed_by: str = ""
    until: float = 0.0

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id, "app": self.app, "request": self.request, "priority": self.priority, "content": self.content.plain(),
            "created": iso(self.created), "expires": iso(self.expires), "claimed_by": self.claimed_by or None,
            "until": iso(self.until) if self.claimed_by else None,
        }  # fmt: skip


class _Replies:
    """What both have in common. keeps: whether an app keeps people's words, so that they stay once it is over."""

    kind = ""

    def __init__(
        self, store: Store, audit: Audit, *, keeps: Callable[[str], bool], lease_s: float, expires_s: float
    ) -> None:
        self._store, self._audit, self._keeps = store, audit, keeps
        self._lease_s, self._expires_s = lease_s, expires_s
        self._swept = 0.0

    def propose(
        self, content: Content, *, caller: Caller = ANYBODY, person: str = "", app: str = "", request: str = "",
        priority: float = 0.0, expires_s: float | None = None,
    ) -> str:  # fmt: skip
        """Let something wait for a person. Returns its id, by which the outcome can be asked for. expires_s: from now."""
        self._sweep()
        number, now = new_id(), time.time()
        expires = now + (self._expires_s if expires_s is None else expires_s)
        content = Content.read(content.plain())  # what reviewers could not open would hide all that waits beside it
        words = self._store.sealed(content.plain(), of=number)
        with self._store.write() as w:
            waiting = "select count(*) from review_replies where kind = ? and key = ? and state = 'pending'"
            if w.execute(waiting, (self.kind, caller.name)).fetchone()[0] >= MOST_WAITING:
                raise Limited(f"{MOST_WAITING:,} of the key '{caller.name}' wait for a person already")
            if (
                person
                and w.execute(f"{waiting} and person = ?", (self.kind, caller.name, person)).fetchone()[0]
                >= MOST_OF_ONE
            ):
                raise Limited(f"{MOST_OF_ONE} of one person wait already", hint="wait for a reply")
            w.execute(
                "insert into review_replies values (?, ?, ?, ?, ?, ?, ?, 'pending', ?, '', 0.0, ?, '', ?, ?, 0.0)",
                (
                    number, self.kind, request, caller.name, caller.tenant, person, app, priority, words, now, expires,
                ),
            )  # fmt: skip
        return number

    def outcome(self, id: str) -> Outcome:  # noqa: A002  as it is called everywhere
        """How it stands. Raises NotFound."""
        rows = self._store.read(
            "select state, reply, reviewer, ended, expires from review_replies where id = ? and kind = ?",
            (id, self.kind),
        )
        if not rows:
            raise NotFound(f"nothing waits by the id '{id}'")
        state, sealed, by, ended, expires = rows[0]
        if state == "pending" and expires <= time.time():
            return Outcome(id, "expired", at=expires, expires=expires)
        reply = self._store.opened(sealed, of=id)
        by = by if state != "pending" else ""
        return Outcome(id, state, reply.get("text", ""), reply.get("reason", ""), by, ended, expires)

    async def wait(self, id: str, *, timeout_s: float) -> Outcome:  # noqa: A002
        """The outcome, as soon as it is over, or as it stands after so long; a minute at most."""
        until = time.monotonic() + min(timeout_s, LONGEST_WAIT_S)
        while True:
            found = await asyncio.to_thread(self.outcome, id)
            left = until - time.monotonic()
            if found.is_over or left <= 0:
                return found
            await asyncio.sleep(min(LOOK_EVERY_S, left))

    def belongs_to(self, id: str) -> tuple[str, str, str]:  # noqa: A002
        """The key and the tenant that it was asked with, and the app. Raises NotFound."""
        rows = self._store.read(
            "select key, tenant, app from review_replies where id = ? and kind = ?", (id, self.kind)
        )
        if not rows:
            raise NotFound(f"nothing waits by the id '{id}'")
        return rows[0][0], rows[0][1], rows[0][2]

    def is_of(self, id: str, *, key: str, person: str) -> bool:  # noqa: A002
        """Whether it was asked with that key, for that person."""
        rows = self._store.read("select key, person from review_replies where id = ? and kind = ?", (id, self.kind))
        return [tuple(row) for row in rows] == [(key, person)]

    def waiting_for(self, request: str) -> str:
        """The id by which something of a request waits; "" where nothing does."""
        rows = self._store.read(
            "select id from review_replies where request = ? and kind = ? and state = 'pending' and expires > ?",
            (request, self.kind, time.time()),
        )
        return str(rows[0][0]) if rows else ""

    def pending(self, *, limit: int = 100, sees: Sees | None = None) -> list[Waiting]:
        """What waits: the highest priority first, then what expires first. sees: what of it a reviewer may see."""
        rows = self._store.read(
            "select id, words, app, request, priority, created, expires, reviewer, until, tenant from review_replies"
            " where kind = ? and state = 'pending' and expires > ? order by priority desc, expires, id",
            (self.kind, time.time()),
        )
        return [self._waiting(row[:-1]) for row in rows if sees is None or sees(row[2], row[-1])][:limit]

    def claim(self, reviewer: str, id: str = "") -> Waiting | None:  # noqa: A002
        """Take one, or the next, for the time of a lease. None where nothing waits. Raises Conflict where another has that one."""
        now = time.time()
        until = now + self._lease_s
        free = "kind = ? and state = 'pending' and expires > ? and (reviewer in ('', ?) or until <= ?)"
        with self._store.write() as w:
            found = w.execute(
                f"select id from review_replies where {free} and (? = '' or id = ?)"  # noqa: S608
                " order by reviewer = ? and until > ? desc, priority desc, expires, id limit 1",
                (self.kind, now, reviewer, now, id, id, reviewer, now),
            ).fetchone()
            if found:
                w.execute("update review_replies set reviewer = ?, until = ? where id = ?", (reviewer, until, found[0]))
        if found is None:
            if id:
                state = self.outcome(id).state
                raise Conflict("somebody else has it" if state == "pending" else f"it is {state} already")
            return None
        rows = self._store.read(
            "select id, words, app, request, priority, created, expires, reviewer, until from review_replies where id = ?",
            found,
        )
        return self._waiting(rows[0])

    def release(self, id: str, reviewer: str) -> None:  # noqa: A002
        """Give it back to whoever comes next."""
        with self._store.write() as w:
            w.execute(
                "update review_replies set reviewer = '', until = 0 where id = ? and reviewer = ? and state = 'pending'",
                (id, reviewer),
            )

    def _end(self, id: str, reviewer: str, state: State, reply: dict[str, str], record: Kind) -> Outcome:  # noqa: A002
        """End it, once. Raises NotFound, or Conflict where it is over, or another has it."""
        if not reviewer:
            raise BadRequest("whoever decides has a name")
        sealed, now = self._store.sealed({k: v for k, v in reply.items() if v}, of=id), time.time()
        self._store.migrate()
        with self._audit.changing(record, actor=reviewer, target=id, decision=state) as w:
            app = self._check_mine(w, id, reviewer, now)
            kept = "words" if self._keeps(app) else "''"
            w.execute(
                f"update review_replies set state = ?, reply = ?, reviewer = ?, ended = ?, words = {kept} where id = ?",  # noqa: S608
                (state, sealed, reviewer, now, id),
            )
        return self.outcome(id)

    def _check_mine(self, w: sqlite3.Connection, id: str, reviewer: str, now: float) -> str:  # noqa: A002
        """The app that it is of. Raises where it cannot be ended by this reviewer."""
        row = w.execute(
            "select state, reviewer, until, expires, app from review_replies where id = ? and kind = ?", (id, self.kind)
        ).fetchone()
        if row is None:
            raise NotFound(f"nothing waits by the id '{id}'")
        state, holder, until, expires, app = row
        if state != "pending" or expires <= now:
            raise Conflict(f"it is {state if state != 'pending' else 'expired'} already")
        if holder not in ("", reviewer) and until > now:
            raise Conflict("somebody else has it")
        return str(app)

    def _waiting(self, row: Sequence[Any]) -> Waiting:
        number, words, app, request, priority, created, expires, reviewer, until = row
        held = until > time.time()
        content = Content.read(self._store.opened(words, of=number))
        return Waiting(number, content, app, request, priority, created, expires, reviewer if held else "", until)

    def _sweep(self) -> None:
        """Say of what has expired that it has, and forget words that may not be kept and were delivered."""
        now = time.time()
        if now - self._swept < SWEEP_EVERY_S:
            return
        self._swept = now
        with self._store.write() as w:
            w.execute(
                "update review_replies set state = 'expired', ended = expires, reviewer = ''"
                " where state = 'pending' and expires <= ?",
                (now,),
            )
            for (app,) in w.execute("select distinct app from review_replies").fetchall():
                if not self._keeps(app):
                    w.execute("update review_replies set words = '' where app = ? and state = 'expired'", (app,))
                    w.execute(
                        "update review_replies set reply = '' where app = ? and ended > 0 and ended < ?",
                        (app, now - DELIVERED_S),
                    )


class Approvals(_Replies):
    """Proposed replies of which a policy wants that a person agrees first. `propose`, then `outcome` or `wait`."""

    kind = "approval"

    def approve(self, id: str, reviewer: str, *, text: str = "") -> Outcome:  # noqa: A002
        """Agree to what was proposed, or, with a text that differs, to that one instead: it is `edited` then."""
        if len(text) > LONGEST_REPLY:
            raise TooLarge(f"the text has {len(text):,} characters, the limit is {LONGEST_REPLY:,}")
        rows = self._store.read("select words from review_replies where id = ? and kind = ?", (id, self.kind))
        if not rows:
            raise NotFound(f"nothing waits by the id '{id}'")
        proposed = self._store.opened(rows[0][0], of=id).get("answer", "")
        edited = bool(text.strip()) and text != proposed
        return self._end(id, reviewer, "edited" if edited else "approved", {"text": text or proposed}, "reply.decided")

    def reject(self, id: str, reviewer: str, *, reason: str = "") -> Outcome:  # noqa: A002
        """Refuse it: nothing of it leaves."""
        if len(reason) > LONGEST_REASON:
            raise TooLarge(f"the reason has {len(reason):,} characters, the limit is {LONGEST_REASON:,}")
        return self._end(id, reviewer, "rejected", {"reason": reason}, "reply.decided")


class HandOvers(_Replies):
    """Questions that people answer: proposed with what is known: `why` a person is needed, and a `summary`."""

    kind = "hand_over"

    def reply(self, id: str, reviewer: str, text: str) -> Outcome:  # noqa: A002
        """Answer it."""
        if not text.strip():
            raise BadRequest("a reply must have a text")
        if len(text) > LONGEST_REPLY:
            raise TooLarge(f"the text has {len(text):,} characters, the limit is {LONGEST_REPLY:,}")
        return self._end(id, reviewer, "replied", {"text": text}, "reply.given")

    def add(self, id: str, said: str) -> None:  # noqa: A002
        """What the customer says while they wait goes to the end of what was said before. Raises NotFound, and Conflict where it
        is over."""
        rows = self._store.read("select words from review_replies where id = ? and kind = ?", (id, self.kind))
        if not rows:
            raise NotFound(f"nothing waits by the id '{id}'")
        content = Content.read(self._store.opened(rows[0][0], of=id))
        asked = [{"role": "user", "content": content.question}] if content.question else []
        history = newest(
            (*content.history, *asked)[-MOST_BEFORE:]
        )  # more than reviewers can open would hide the rest from them
        words = self._store.sealed(replace(content, question=said, history=history).plain(), of=id)
        with self._store.write() as w:
            done = w.execute(
                "update review_replies set words = ? where id = ? and kind = ? and state = 'pending' and expires > ?",
                (words, id, self.kind, time.time()),
            )
            if done.rowcount != 1:
                raise Conflict("it is over already")

    def give_back(self, id: str) -> None:  # noqa: A002
        """The customer does not wait any more. What is over stays as it ended."""
        now = time.time()
        sealed = self._store.sealed({"reason": GIVEN_BACK}, of=id)
        kept = "words" if self._keeps(self.belongs_to(id)[2]) else "''"
        with self._store.write() as w:
            w.execute(
                f"update review_replies set state = 'closed', reply = ?, reviewer = '', ended = ?, words = {kept}"  # noqa: S608
                " where id = ? and kind = ? and state = 'pending'",
                (sealed, now, id, self.kind),
            )

    def close(self, id: str, reviewer: str, *, reason: str = "") -> Outcome:  # noqa: A002
        """End it without an answer here: it was answered elsewhere, or needs none."""
        if len(reason) > LONGEST_REASON:
            raise TooLarge(f"the reason has {len(reason):,} characters, the limit is {LONGEST_REASON:,}")
        return self._end(id, reviewer, "closed", {"reason": reason}, "reply.given")
