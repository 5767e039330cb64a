"""What waits for reviewers, and what they said: one item, one reviewer at a time, each reviewer once.

Whoever claims an item has it for the time of a lease; a reviewer who leaves frees it. An item that two people are to judge is
judged blind: neither sees what the other said. Where they differ, a third decides, who sees both verdicts and no names. Every
step is one transaction, so however many processes ask at the same time, no item is handed out twice.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from penstock.config import iso
from penstock.errors import BadRequest, Conflict, NotFound, TooLarge
from penstock.review.content import Content
from penstock.review.store import Sees, Store
from penstock.storage.audit import Audit
from penstock.types import new_id

if TYPE_CHECKING:  # whoever estimates nothing does not load numpy
    from penstock.review.estimating import Judged

__all__ = ["SKIPS", "Entry", "Given", "Item", "Judgement", "Queue", "Task"]

State = Literal["open", "disagreed", "done"]

SKIPS: Final = ("cannot_tell", "not_my_language", "conflict_of_interest", "broken", "no_time")
ADJUDICATED = 3  # judgements of an item on which two differ
LONGEST_NOTE, LONGEST_CORRECTION, LONGEST_NAME, MOST_TAGS = 4_000, 20_000, 256, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An item to be reviewed. origin: its id where it comes from; one origin stands in a queue once, drawn ones by draw."""

    origin: str
    content: Content = Content()
    queue: str = "answers"
    request: str = ""
    app: str = ""
    tenant: str = ""
    person: str = ""
    stratum: str = ""
    risk: float = 0.0
    draw: str = ""  # the sample it was drawn with; "" where it was not drawn
    probability: float = 0.0
    cell: str = ""
    cell_size: int = 0
    priority: float = 0.0  # higher first, where deadlines are alike
    deadline: float = 0.0  # Unix time; 0: none, and so after those that have one
    reviewers: int = 1


class Judgement(NamedTuple):
    """What one reviewer said."""

    reviewer: str
    verdict: str
    note: str
    correction: str
    tags: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Item:
    """An item as it stands. verdict: once it is done."""

    id: str
    entry: Entry
    state: State
    verdict: str
    judgements: tuple[Judgement, ...]
    created: float
    ended: float

    @property
    def correction(self) -> str:
        """How it should have been, by whoever said so last and agrees with the verdict."""
        agreeing = [one.correction for one in self.judgements if one.correction and one.verdict == self.verdict]
        return agreeing[-1] if agreeing else ""

    def plain(self) -> dict[str, Any]:
        """As JSON, with everybody's verdicts: not for those who are still to judge it."""
        return {
            "id": self.id, "queue": self.entry.queue, "origin": self.entry.origin, "request": self.entry.request,
            "app": self.entry.app, "stratum": self.entry.stratum, "risk": self.entry.risk, "draw": self.entry.draw,
            "state": self.state, "verdict": self.verdict or None, "reviewers": self.entry.reviewers,
            "created": iso(self.created), "ended": iso(self.ended), "content": self.entry.content.plain(),
            "judgements": [one._asdict() | {"at": iso(one.at), "tags": list(one.tags)} for one in self.judgements],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Task:
    """An item as whoever claimed it sees it. verdicts: only for a third who is to decide between two."""

    id: str
    queue: str
    content: Content
    until: float  # the lease; Unix time
    deadline: float = 0.0
    verdicts: tuple[Mapping[str, str], ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id, "queue": self.queue, "content": self.content.plain(), "until": iso(self.until),
            "deadline": iso(self.deadline), "adjudicates": bool(self.verdicts), "verdicts": list(self.verdicts),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Given:
    """A verdict on its way in."""

    verdict: str
    note: str = ""
    correction: str = ""
    tags: tuple[str, ...] = field(default=())

    def check(self, labels: Sequence[str]) -> None:
        """Raises BadRequest or TooLarge."""
        if self.verdict not in labels:
            raise BadRequest(f"'{self.verdict[:40]}' is no verdict", hint=f"one of {', '.join(labels)}")
        for name, text, longest in (
            ("note", self.note, LONGEST_NOTE),
            ("correction", self.correction, LONGEST_CORRECTION),
        ):
            if len(text) > longest:
                raise TooLarge(f"the {name} has {len(text):,} characters, the limit is {longest:,}")
        if len(self.tags) > MOST_TAGS or any(
            not 0 < len(tag) <= 64 or "," in tag or not tag.isprintable() for tag in self.tags
        ):
            raise BadRequest(f"at most {MOST_TAGS} tags, of 1 to 64 printable characters without commas")


_COLUMNS = (
    "id, queue, origin, request, app, tenant, person, stratum, risk, draw, probability, cell, cell_size, priority, deadline,"
    " wanted, reviewers, state, verdict, words, created, ended"
)
_FREE = """
    select id from review_items as item where state in ('open', 'disagreed') and (:queue = '' or queue = :queue)
      and visible(app, tenant)
      and not exists (select 1 from review_judgements where item = item.id and reviewer = :reviewer)
      and not exists (select 1 from review_skips where item = item.id and reviewer = :reviewer)
      and (select count(*) from review_judgements where item = item.id)
        + (select count(*) from review_claims where item = item.id and until > :now) < wanted
    order by iif(deadline > 0, deadline, 1e18), priority desc, rowid limit 1
"""


class Queue:
    """All queues of one home. labels: the verdicts there are; failures: those of them that are errors."""

    def __init__(
        self, store: Store, audit: Audit, *, labels: Sequence[str], failures: Sequence[str], unscored: Sequence[str],
        lease_s: float,
    ) -> None:  # fmt: skip
        self._store, self._audit, self._lease_s = store, audit, lease_s
        self.labels, self.failures, self.unscored = tuple(labels), tuple(failures), tuple(unscored)

    # ---------------------------------------------------------------- filled

    def add(self, entries: Iterable[Entry], *, double: float = 0.0, seed: int = 0) -> list[str]:
        """Put items into their queues, but for those whose origin is there already. Returns the ids of the new ones.

        double: share of them, drawn by chance, that two people judge, besides those that say so themselves.
        """
        chance, made, rows = random.Random(seed), list[str](), list[tuple[Any, ...]]()  # noqa: S311  a sample, no secret
        for entry in entries:
            number = new_id()
            reviewers = 2 if chance.random() < double or entry.reviewers > 1 else 1
            words = self._store.sealed(entry.content.plain(), of=number)
            rows.append(
                (
                    number, entry.queue, entry.origin, entry.request, entry.app, entry.tenant, entry.person, entry.stratum,
                    entry.risk, entry.draw, entry.probability, entry.cell, entry.cell_size, entry.priority, entry.deadline,
                    reviewers, reviewers, "open", "", words, time.time(), 0.0,
                )
            )  # fmt: skip
        there = "select 1 from review_items where queue = ? and origin = ? and draw = ?"
        with self._store.write() as w:  # a sample is in its queue whole, or not at all
            for row in rows:
                if not w.execute(there, (row[1], row[2], row[9])).fetchone():
                    w.execute(f"insert into review_items ({_COLUMNS}) values ({', '.join('?' * len(row))})", row)  # noqa: S608
                    made.append(row[0])
        return made

    # ---------------------------------------------------------------- worked off

    def claim(self, reviewer: str, queue: str = "", *, sees: Sees | None = None) -> Task | None:
        """The next item for a reviewer, or the one they hold already, for the time of a lease. None where nothing is left for them.

        The earliest deadline comes first, then the highest priority, then who has waited longest. sees: what they may see;
        without it all.
        """
        _check_reviewer(reviewer)
        now = time.time()
        free_one = _FREE if sees else _FREE.replace("and visible(app, tenant)", "")
        with self._store.write() as w:
            if sees:
                w.create_function("visible", 2, sees)
            w.execute("delete from review_claims where until <= ?", (now,))
            held = w.execute(
                "select item from review_claims join review_items on id = item where reviewer = ? and (? = '' or queue = ?)",
                (reviewer, queue, queue),
            ).fetchone()
            free = held or w.execute(free_one, {"queue": queue, "reviewer": reviewer, "now": now}).fetchone()
            if free is None:
                return None
            until = now + self._lease_s
            w.execute("insert or replace into review_claims values (?, ?, ?)", (free[0], reviewer, until))
        return self._task(free[0], until)

    def held(self, reviewer: str) -> str:
        """The id of the item that a reviewer holds. Raises Conflict where there is none, or more than one."""
        rows = self._store.read("select item from review_claims where reviewer = ?", (reviewer,))
        if len(rows) != 1:
            raise Conflict(
                f"'{reviewer}' holds {len(rows) or 'no'} item{'s' if rows else ''}",
                hint="penstock review next" if not rows else "--item ID says which",
            )
        return str(rows[0][0])

    def last(self, reviewer: str) -> str:
        """The id of the item that a reviewer judged last. Raises NotFound where they judged none."""
        rows = self._store.read(
            "select item from review_judgements where reviewer = ? order by number desc limit 1", (reviewer,)
        )
        if not rows:
            raise NotFound(f"'{reviewer}' has judged nothing")
        return str(rows[0][0])

    def judge(self, id: str, reviewer: str, given: Given) -> State:  # noqa: A002  as it is called everywhere
        """Say what an item is. Returns its state after. Raises Conflict for who does not hold it any more, or has judged it."""
        given.check(self.labels)
        _check_reviewer(reviewer)
        kept = {name: text for name, text in (("note", given.note), ("correction", given.correction)) if text}
        words, now = self._store.sealed(kept, of=id), time.time()
        self._store.migrate()
        with self._audit.changing("review.judged", actor=reviewer, target=id, verdict=given.verdict) as w:
            state, wanted, verdicts = _standing(w, id)
            if any(one == reviewer for one, _ in verdicts):
                raise Conflict(f"'{reviewer}' has judged this item already", hint="penstock review undo")
            if state == "done":
                raise Conflict("the item is done", hint="penstock review next")
            claims = "select count(*) from review_claims where item = ? and until > ? and reviewer != ?"
            (others,) = w.execute(claims, (id, now, reviewer)).fetchone()
            mine = w.execute("select 1 from review_claims where item = ? and reviewer = ?", (id, reviewer)).fetchone()
            if not mine:
                raise Conflict("the item is not claimed, or the claim ran out", hint="penstock review next")
            if len(verdicts) + others >= wanted:
                raise Conflict("the claim ran out, and others have the item now", hint="penstock review next")
            w.execute("delete from review_claims where item = ? and reviewer = ?", (id, reviewer))
            w.execute(
                "insert into review_judgements (item, reviewer, verdict, tags, words, at) values (?, ?, ?, ?, ?, ?)",
                (id, reviewer, given.verdict, ",".join(given.tags), words, now),
            )
            return _settle(w, id, state, wanted, [*(verdict for _, verdict in verdicts), given.verdict], now)

    def skip(self, id: str, reviewer: str, reason: str) -> None:  # noqa: A002
        """Give an item back, and never see it again. It waits for others."""
        if reason not in SKIPS:
            raise BadRequest(f"'{reason[:40]}' is no reason to skip", hint=f"one of {', '.join(SKIPS)}")
        _check_reviewer(reviewer)
        with self._store.write() as w:
            if not w.execute("delete from review_claims where item = ? and reviewer = ?", (id, reviewer)).rowcount:
                raise Conflict("the item is not claimed, or the claim ran out", hint="penstock review next")
            w.execute("insert or replace into review_skips values (?, ?, ?, ?)", (id, reviewer, reason, time.time()))

    def release(self, id: str, reviewer: str) -> None:  # noqa: A002
        """Give an item back, to see it again later."""
        with self._store.write() as w:
            w.execute("delete from review_claims where item = ? and reviewer = ?", (id, reviewer))

    def undo(self, reviewer: str) -> Task:
        """Take back a reviewer's last verdict, and hold the item again.

        Raises NotFound where there is none, and Conflict where others have gone on from it.
        """
        rows = self._store.read(
            "select item, number from review_judgements where reviewer = ? order by number desc limit 1", (reviewer,)
        )
        if not rows:
            raise NotFound(f"'{reviewer}' has judged nothing")
        ((id, number),) = rows  # noqa: A001
        until = time.time() + self._lease_s
        with self._audit.changing("review.undone", actor=reviewer, target=id) as w:
            if w.execute("select 1 from review_judgements where item = ? and number > ?", (id, number)).fetchone():
                raise Conflict("somebody else has judged the item since")
            if w.execute("select 1 from review_actions where item = ?", (id,)).fetchone():
                raise Conflict("the verdict was acted upon already")
            state, wanted, verdicts = _standing(w, id)
            busy = "select 1 from review_claims where item = ? and reviewer != ? and until > ?"
            if state == "disagreed" and w.execute(busy, (id, reviewer, time.time())).fetchone():
                raise Conflict("somebody is deciding about the item just now")
            w.execute("delete from review_judgements where number = ?", (number,))
            adjudicated = state == "done" and len(verdicts) == ADJUDICATED
            before = (
                ("disagreed", ADJUDICATED) if adjudicated else ("open", wanted - 1 if state == "disagreed" else wanted)
            )
            w.execute(
                "update review_items set state = ?, wanted = ?, verdict = '', ended = 0 where id = ?", (*before, id)
            )
            w.execute("insert or replace into review_claims values (?, ?, ?)", (id, reviewer, until))
        return self._task(id, until)

    # ---------------------------------------------------------------- looked at

    def _task(self, id: str, until: float) -> Task:  # noqa: A002
        item = self.item(id)
        verdicts = tuple(
            {"verdict": one.verdict, "note": one.note, "correction": one.correction}
            for one in (item.judgements if item.state == "disagreed" else ())
        )
        return Task(id, item.entry.queue, item.entry.content, until, item.entry.deadline, verdicts)

    def item(self, id: str) -> Item:  # noqa: A002
        """One item with all that was said of it. Raises NotFound."""
        rows = self._store.read(f"select {_COLUMNS} from review_items where id = ?", (id,))  # noqa: S608
        if not rows:
            raise NotFound(f"there is no item '{id}'")
        return self._item(rows[0])

    def items(
        self, *, queue: str = "", state: State | Literal[""] = "", verdicts: Sequence[str] = (), draw: str = "",
        limit: int = 1_000_000,
    ) -> list[Item]:  # fmt: skip
        """Items in the order in which they came. verdicts: only those that are done, with one of these."""
        rows = self._store.read(
            f"select {_COLUMNS} from review_items where (?1 = '' or queue = ?1) and (?2 = '' or state = ?2)"  # noqa: S608
            " and (?3 = '' or draw = ?3) order by created, id",
            (queue, state, draw),
        )
        found = [row for row in rows if not verdicts or (row[17] == "done" and row[18] in verdicts)]
        return [self._item(row) for row in found[:limit]]

    def status(self, *, sees: Sees | None = None) -> list[dict[str, Any]]:
        """Counts by queue: open, claimed, disagreed, done, overdue, skipped by somebody. sees: what of it a reviewer may see."""
        now = time.time()
        rows = self._store.read(
            "select queue, app, tenant, sum(state = 'open'), sum(state = 'disagreed'), sum(state = 'done'),"
            " sum(state != 'done' and deadline > 0 and deadline < ?1),"
            " sum(exists (select 1 from review_claims where item = id and until > ?1)),"
            " sum(state != 'done' and exists (select 1 from review_skips where item = id))"
            " from review_items group by queue, app, tenant order by queue",
            (now,),
        )
        found: dict[str, dict[str, Any]] = {}
        for queue, app, tenant, *counts in rows:
            if sees is None or sees(app, tenant):
                told = found.setdefault(queue, {"queue": queue})
                for name, count in zip(
                    ("open", "disagreed", "done", "overdue", "claimed", "skipped"), counts, strict=True
                ):
                    told[name] = told.get(name, 0) + count
        return list(found.values())

    def pairs(self, *, queue: str = "") -> list[tuple[Judgement, Judgement]]:
        """The first two verdicts of every item that two people judged blind, without their words."""
        rows = self._store.read(
            "select item, reviewer, said.verdict, at from review_judgements as said join review_items on id = item"
            " where reviewers >= 2 and (? = '' or queue = ?) order by number",
            (queue, queue),
        )
        by_item: dict[str, list[Judgement]] = {}
        for item, reviewer, verdict, at in rows:
            by_item.setdefault(item, []).append(Judgement(reviewer, verdict, "", "", (), at))
        return [(found[0], found[1]) for found in by_item.values() if len(found) >= 2]

    def judged(self, draw: str) -> list[Judged]:
        """What was said of a sample, for the estimate. What is not done yet is pending."""
        from penstock.review.estimating import Judged

        rows = self._store.read(
            "select probability, state, verdict, stratum, cell, cell_size from review_items where draw = ? order by id",
            (draw,),
        )
        if not rows:
            raise NotFound(f"there is no sample '{draw}'", hint="penstock review queue list")
        return [
            Judged(p, self.is_wrong(verdict) if state == "done" else None, stratum, cell, size, pending=state != "done")
            for p, state, verdict, stratum, cell, size in rows
        ]

    def is_wrong(self, verdict: str) -> bool | None:
        """Whether a verdict is one of a failure; None for one that says nothing of it."""
        return None if verdict in self.unscored else verdict in self.failures

    def _item(self, row: Sequence[Any]) -> Item:
        (
            number, queue, origin, request, app, tenant, person, stratum, risk, draw, probability, cell, cell_size, priority,
            deadline, _, reviewers, state, verdict, words, created, ended,
        ) = row  # fmt: skip
        content = Content.read(self._store.opened(words, of=number))
        judged = self._store.read(
            "select reviewer, verdict, words, tags, at from review_judgements where item = ? order by number", (number,)
        )
        opened = [
            (who, said, self._store.opened(sealed, of=number), tags, at) for who, said, sealed, tags, at in judged
        ]
        entry = Entry(
            origin=origin, content=content, queue=queue, request=request, app=app, tenant=tenant, person=person, stratum=stratum,
            risk=risk, draw=draw, probability=probability, cell=cell, cell_size=cell_size, priority=priority, deadline=deadline,
            reviewers=reviewers,
        )  # fmt: skip
        judgements = tuple(
            Judgement(
                who, said, told.get("note", ""), told.get("correction", ""), tuple(filter(None, tags.split(","))), at
            )
            for who, said, told, tags, at in opened
        )
        return Item(number, entry, state, verdict, judgements, created, ended)


def _check_reviewer(reviewer: str) -> None:
    if not reviewer or len(reviewer) > LONGEST_NAME or not reviewer.isprintable():
        raise BadRequest(f"a reviewer has a name: 1 to {LONGEST_NAME} printable characters")


def _standing(w: sqlite3.Connection, id: str) -> tuple[State, int, list[tuple[str, str]]]:  # noqa: A002
    """The state of an item, how many judgements it wants, and who said what of it."""
    row = w.execute("select state, wanted from review_items where id = ?", (id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no item '{id}'")
    verdicts = w.execute(
        "select reviewer, verdict from review_judgements where item = ? order by number", (id,)
    ).fetchall()
    return row[0], row[1], verdicts


def _settle(w: sqlite3.Connection, id: str, state: State, wanted: int, verdicts: Sequence[str], now: float) -> State:  # noqa: A002
    """What becomes of an item with one more verdict."""
    if len(verdicts) < wanted:
        return state
    if state == "open" and len(set(verdicts)) > 1:
        w.execute("update review_items set state = 'disagreed', wanted = ? where id = ?", (ADJUDICATED, id))
        return "disagreed"
    w.execute("update review_items set state = 'done', verdict = ?, ended = ? where id = ?", (verdicts[-1], now, id))
    return "done"
