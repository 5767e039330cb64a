"""Requests of the journal as items to review: a sample of all of them, and those that somebody complained about.

A risk is made of what the journal has of every request: what the guard and the checks found, and what people said.
It need not be right. It decides how often an answer is looked at, never what is said of all answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import orjson

from penstock.config import iso
from penstock.errors import BadRequest, NotFound, StorageError
from penstock.observe.journal import Row
from penstock.observe.ledger import Ledger
from penstock.review.content import Content
from penstock.review.feedback import Feedback, Opinion
from penstock.review.queue import Entry, Queue
from penstock.review.store import Store
from penstock.storage.database import Tables
from penstock.types import new_id

if TYPE_CHECKING:  # whoever has no files of the past loads nothing that reads them
    from penstock.observe.analytics import Analytics
    from penstock.observe.sealed import Sealed

__all__ = ["By", "Draw", "Past", "Requests", "Seen", "risk_of"]

By = Literal["", "app", "model", "team", "dialect"]

USUAL, FLAGGED, COMPLAINED, PRAISED = 0.05, 0.3, 0.8, 0.02  # how likely an answer is wrong of which no more is known
MOST_OPINIONS = 5_000_000
GENERATING = ("chat", "completions", "responses", "messages")  # what has an answer to look at


class Seen(NamedTuple):
    """One answered request."""

    id: str
    key: str
    person: str
    app: str
    model: str
    stratum: str
    risk: float


class Draw(NamedTuple):
    """A sample that was drawn. items: that it was drawn from."""

    id: str
    at: float
    about: str
    items: int
    drawn: int


class Past:
    """The journal's requests, those that have left its database for files too: without them a sample would be of what is left."""

    def __init__(self, tables: Tables, sealed: Callable[[], Sealed], analytics: Callable[[], Analytics]) -> None:
        self._tables, self._sealed, self._analytics = tables, sealed, analytics

    def answered(self, *, since: float, until: float) -> Sequence[Sequence[Any]]:
        """(id, key, person, app, model, team, dialect, guarded, answer) of each request that was answered, in the order of time.

        Raises MissingExtra where some have left for files, and DuckDB, which reads those, is not there.
        """
        if not self._tables.has("requests"):
            return []
        marks = ", ".join("?" * len(GENERATING))
        asked = "select id, key, person, app, model, team, dialect, guarded, answer from requests"
        where = f"outcome = 'ok' and dialect in ({marks})"
        if self._tables.has("sealed") and self._sealed().segments("requests", since=since, until=until):
            times = "time >= make_timestamp(?::bigint) and time < make_timestamp(?::bigint) order by time, id"
            values = (*GENERATING, int(since * 1e6), int(until * 1e6))
            with self._analytics().opened(since=since, until=until) as db:
                return db.execute(f"{asked} where {where} and {times}", values).fetchall()
        times = "at >= ? and at < ? order by at, id"
        return self._tables.read(f"{asked} where {where} and {times}", (*GENERATING, since, until))

    def said(self, request: str) -> str:
        """The words of a request as they are stored; "" where none were kept. Rows with words stay in the database."""
        rows = (
            self._tables.read("select said from requests where id = ?", (request,))
            if self._tables.has("requests")
            else ()
        )
        return str(rows[0][0]) if rows else ""

    def find(self, name: str) -> list[Row]:
        """The requests of that id, or of that trace."""
        found = Ledger(self._tables).request(name)
        known = {row.id for row in found}
        old = self._sealed().find(name) if self._tables.has("sealed") else []
        return sorted([*found, *(row for row in old if row.id not in known)], key=lambda row: row.at)


class Requests:
    """The journal's requests for one home's reviewers."""

    def __init__(
        self, store: Store, queue: Queue, feedback: Feedback, past: Past, *, read: Callable[[str], Mapping[str, Any]],
        tenant_of: Callable[[str], str],
    ) -> None:  # fmt: skip
        """read: the words that the journal kept of a request, as its column `said` has them. tenant_of: of a key, by its name."""
        self._store, self._queue, self._feedback, self.past = store, queue, feedback, past
        self._read, self._tenant_of = read, tenant_of

    def seen(self, *, since: float, until: float = 0.0, app: str = "", by: By = "app") -> list[Seen]:
        """The requests that were answered in a time, each with its stratum and risk. Raises BadRequest for an unknown `by`."""
        if by not in get_args(By):
            raise BadRequest(f"requests have no '{by[:40]}'", hint="app, model, team, dialect")
        rows = self.past.answered(since=since, until=until or time.time() + 1)
        rows = [row for row in rows if not app or row[3] == app]
        said = self._feedback.of([row[0] for row in rows]) if self._feedback.latest(limit=1) else {}
        found = []
        for number, key, person, in_app, model, team, dialect, guarded, answer in rows:
            stratum = {"": "", "app": in_app or model, "model": model, "team": team, "dialect": dialect}[by]
            risk = risk_of(guarded or "", answer or "", said.get(number, ()))
            found.append(Seen(number, key, person, in_app, model, stratum, risk))
        return found

    def draw(
        self, n: int, *, since: float, until: float = 0.0, app: str = "", by: By = "app", queue: str = "answers",
        double: float = 0.0, deadline: float = 0.0, seed: int | None = None,
    ) -> Draw:  # fmt: skip
        """Draw n requests of a time and put them into a queue, in the random order in which they were drawn.

        Raises NotFound where there were none. seed: without one it is the clock's; the draw keeps what it needs either way.
        """
        from penstock.review.sampling import Item, draw, plan  # a plain gateway never loads numpy

        seen = self.seen(since=since, until=until, app=app, by=by)
        if not seen:
            raise NotFound(
                "no request was answered in that time", hint="an answer is known here a second after it has ended"
            )
        items = [Item(one.id, one.stratum, one.risk) for one in seen]
        by_id = {one.id: one for one in seen}
        tenants = {key: self._tenant_of(key) for key in {one.key for one in seen}}
        number = new_id()
        chosen = time.time_ns() if seed is None else seed
        drawn = draw(items, plan(items, n), seed=chosen)
        entries = [
            Entry(
                origin=one.item.id, content=self.words(one.item.id), queue=queue, request=one.item.id,
                app=by_id[one.item.id].app, tenant=tenants[by_id[one.item.id].key], person=by_id[one.item.id].person,
                stratum=one.item.stratum, risk=one.item.risk, draw=number, probability=one.probability, cell=one.cell,
                cell_size=one.cell_size, deadline=deadline,
            )
            for one in drawn
        ]  # fmt: skip
        about = f"{app or 'all'}, {iso(since)} to {iso(until or time.time())}"
        made = Draw(number, time.time(), about, len(items), len(entries))
        self._queue.add(entries, double=double, seed=chosen)
        with self._store.write() as w:  # last: what was interrupted is no sample
            w.execute("insert into review_draws values (?, ?, ?, ?, ?)", made)
        return made

    def draws(self) -> list[Draw]:
        """The samples that were drawn, the latest first."""
        return [Draw(*row) for row in self._store.read("select * from review_draws order by at desc")]

    def words(self, request: str) -> Content:
        """What the journal kept of a request's words; empty where it kept none, or their key was destroyed."""
        with suppress(StorageError):
            return Content.read(self._read(self.past.said(request)))
        return Content()

    def complaints(self, *, since: float = 0.0, queue: str = "complaints", deadline: float = 0.0) -> list[str]:
        """Put the answers that somebody complained about into a queue, each once. Returns the ids of the new items.

        They are no sample: no rate can be told from them.
        """
        entries = []
        for opinion in self._feedback.latest(since=since, bad=True, limit=MOST_OPINIONS):
            about = opinion.about
            why = ", ".join(
                filter(None, (opinion.thumb, *opinion.reasons, f"{opinion.csat} of 5" if opinion.csat else ""))
            )
            words = self.words(about.request).plain()
            words |= {"suggestion": opinion.correction, "why": f"{why}: {opinion.text}" if opinion.text else why}
            entries.append(
                Entry(
                    origin=about.request, content=Content.read(words), queue=queue, request=about.request, app=about.app,
                    tenant=self._tenant_of(about.key), person=about.person, risk=COMPLAINED, priority=COMPLAINED,
                    deadline=deadline,
                )
            )  # fmt: skip
        return self._queue.add(entries)


def risk_of(guarded: str, answer: str = "", opinions: Sequence[Opinion] = ()) -> float:
    """How likely an answer is wrong, 0 to 1: each thing that was found or said takes its part of what is left.

    guarded, answer: JSON, as the journal's columns of these names have it.
    """
    told = orjson.loads(answer) if answer else {}
    right = 1 - USUAL
    if told.get("status") == "answer":
        right *= 0.5 + 0.5 * min(1.0, max(0.0, float(told.get("confidence", 1))))
    right *= (1 - FLAGGED) ** len(told.get("faults", ()))
    for one in orjson.loads(guarded) if guarded else ():
        unsupported = [f for f in one.get("findings", ()) if str(f.get("type", "")).startswith("UNSUPPORTED")]
        for finding in unsupported:
            right *= 1 - 0.8 * min(1.0, max(0.0, float(finding.get("score", 0))))
        if not unsupported and one.get("decision") in ("review", "block"):
            right *= 1 - FLAGGED
    if any(opinion.is_bad for opinion in opinions):
        right *= 1 - COMPLAINED
    elif any(opinion.thumb == "up" for opinion in opinions):
        right = max(right, 1 - PRAISED)
    return round(min(1.0, max(0.0, 1 - right)), 6)
