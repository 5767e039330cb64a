"""Where the room keeps what it keeps: its tables, and people's words, sealed where the settings say so.

Words stand in columns of their own, each value as JSON, so that whoever is erased can be taken out of them while the counts stay.
"""

from __future__ import annotations

import json
import math
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from penstock.storage.database import Database
from penstock.storage.envelope import Encryption

__all__ = ["Sees", "Store"]

Sees = Callable[[str, str], bool]  # whether a reviewer may see what is of this app and tenant

STEPS = [
    """
    create table feedback (
        id text primary key, request text not null, key text not null, rater text not null, person text not null,
        app text not null, model text not null, thumb text not null, reasons text not null, csat integer not null,
        words text not null, at real not null, changed real not null, unique (request, rater)
    ) strict;
    create index feedback_at on feedback (at);
    create table review_draws (
        id text primary key, at real not null, about text not null, items integer not null, drawn integer not null
    ) strict;
    create table review_items (
        id text primary key, queue text not null, origin text not null, request text not null, app text not null,
        tenant text not null, person text not null, stratum text not null, risk real not null, draw text not null,
        probability real not null, cell text not null, cell_size integer not null, priority real not null,
        deadline real not null, wanted integer not null, reviewers integer not null, state text not null,
        verdict text not null, words text not null, created real not null, ended real not null
    ) strict;
    create index review_items_open on review_items (queue, deadline, priority) where state in ('open', 'disagreed');
    create index review_items_draw on review_items (draw);
    create index review_items_origin on review_items (queue, origin);
    create table review_claims (
        item text not null references review_items on delete cascade, reviewer text not null, until real not null,
        primary key (item, reviewer)
    ) strict, without rowid;
    create index review_claims_reviewer on review_claims (reviewer);
    create table review_judgements (
        number integer primary key autoincrement, item text not null references review_items on delete cascade,
        reviewer text not null, verdict text not null, tags text not null, words text not null, at real not null,
        unique (item, reviewer)
    ) strict;
    create index review_judgements_reviewer on review_judgements (reviewer);
    create table review_skips (
        item text not null references review_items on delete cascade, reviewer text not null, reason text not null,
        at real not null, primary key (item, reviewer)
    ) strict, without rowid;
    create table review_actions (
        id text primary key, item text not null references review_items on delete cascade, kind text not null,
        reviewer text not null, state text not null, words text not null, at real not null, ended real not null,
        unique (item, kind)
    ) strict;
    create table review_replies (
        id text primary key, kind text not null, request text not null, key text not null, tenant text not null,
        person text not null, app text not null, state text not null, priority real not null, reviewer text not null,
        until real not null, words text not null, reply text not null, created real not null, expires real not null,
        ended real not null
    ) strict;
    create index review_replies_waiting on review_replies (kind, state, expires)
    """,
]

SWEEP_EVERY_S = 3600.0


class Store:
    """The tables of the room in one database. Its parts share it."""

    def __init__(self, database: Database, encryption: Encryption | None = None, *, keep_s: float = 0.0) -> None:
        """keep_s: how long rows are kept; 0: for ever."""
        self.database, self._encryption, self._keep_s = database, encryption, keep_s
        self._migrated, self._swept = False, -math.inf

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        self.migrate()
        return self.database.read(sql, values)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction. What is sealed in it is sealed before, since a key is made in a transaction of its own."""
        self.migrate()
        with self.database.write() as w:
            self._sweep(w)
            yield w

    def sealed(self, words: Any, *, of: str) -> str:
        """Words as they are stored; "" for none. of: the id of their row, to which they belong for good."""
        if not words:
            return ""
        said = json.dumps(words, ensure_ascii=False, separators=(",", ":"))
        text = said.encode("utf-8", "replace").decode()  # half of a surrogate pair is no character
        return self._encryption.sealed(text, aad=of.encode()) if self._encryption else text

    def opened(self, stored: str, *, of: str) -> Any:
        """The words that were stored; an empty dict for none. Raises StorageError where their key was destroyed."""
        if not stored:
            return {}
        return orjson.loads(self._encryption.opened(stored, aad=of.encode()) if self._encryption else stored)

    def migrate(self) -> None:
        if not self._migrated:
            self.database.migrate("review", STEPS)
            self._migrated = True
        if self._encryption:
            self._encryption.prepare()

    # ---------------------------------------------------------------- when somebody is to be forgotten

    def mentions(self, mentioned: Callable[..., bool]) -> int:
        """In how many rows somebody stands. mentioned: told texts, whether one of them has the name."""
        found = 0
        for rows in self._rows().values():
            found += sum(mentioned(*names, *_texts(words)) for _, names, words in rows)
        return found

    def erase(self, mentioned: Callable[..., bool]) -> int:
        """Take somebody out of all rows: their feedback goes, what speaks of them loses its words, what they judged their name.

        Verdicts and counts stay. Returns how many rows were changed.
        """
        stand_in, changed = f"erased-{secrets.token_hex(4)}", 0
        found = self._rows()
        with self.write() as w:
            for table, rows in found.items():
                for key, names, words in rows:
                    if mentioned(*names, *_texts(words)):
                        changed += 1
                        self._erase_row(w, table, key, mentioned, by_name=mentioned(*names), stand_in=stand_in)
            for table in ("review_claims", "review_skips"):
                for (name,) in w.execute(f"select distinct reviewer from {table}").fetchall():  # noqa: S608  our own names
                    if mentioned(name):
                        w.execute(f"update {table} set reviewer = ? where reviewer = ?", (stand_in, name))  # noqa: S608
            for draw, about in w.execute("select id, about from review_draws").fetchall():
                if mentioned(about):
                    w.execute("update review_draws set about = '' where id = ?", (draw,))
        return changed

    def _rows(self) -> dict[str, list[tuple[Any, list[str], list[Any]]]]:
        """(key, names in it, words in it) of every row in which anybody may stand."""
        found: dict[str, list[tuple[Any, list[str], list[Any]]]] = {}
        for table, (key, of, names, words) in _WHERE.items():
            columns = f"{key}, {of}, {', '.join((*names, *words))}"
            found[table] = [
                (row[0], [str(name) for name in row[2 : 2 + len(names)]],
                 [self.opened(value, of=row[1]) for value in row[2 + len(names) :]])
                for row in self.read(f"select {columns} from {table}")  # noqa: S608  our own names
            ]  # fmt: skip
        return found

    def _erase_row(
        self,
        w: sqlite3.Connection,
        table: str,
        key: Any,
        mentioned: Callable[..., bool],
        *,
        by_name: bool,
        stand_in: str,
    ) -> None:
        name_of_key, _, names, words = _WHERE[table]
        if by_name and table == "feedback":
            w.execute(f"delete from {table} where {name_of_key} = ?", (key,))  # noqa: S608
            return
        for column in words:
            w.execute(f"update {table} set {column} = '' where {name_of_key} = ?", (key,))  # noqa: S608
        for column in names:
            (value,) = w.execute(f"select {column} from {table} where {name_of_key} = ?", (key,)).fetchone()  # noqa: S608
            if mentioned(str(value)):
                new = stand_in if column == "reviewer" else ""
                w.execute(f"update {table} set {column} = ? where {name_of_key} = ?", (new, key))  # noqa: S608

    # ---------------------------------------------------------------- when its time is over

    def made_before(self, moment: float) -> int:
        """How many rows are older than a Unix time, whether anybody looked at them or not."""
        return sum(int(self.read(f"select count(*) from {old}", (moment,))[0][0]) for old in _OLD)  # noqa: S608

    def remove_made_before(self, moment: float) -> int:
        """Remove those, and what hangs on them. Returns how many."""
        with self.write() as w:
            return _remove(w, moment)

    def _sweep(self, w: sqlite3.Connection) -> None:
        """Remove what is past its time, once an hour."""
        if self._keep_s and time.monotonic() - self._swept > SWEEP_EVERY_S:
            self._swept = time.monotonic()
            _remove(w, time.time() - self._keep_s)


def _remove(w: sqlite3.Connection, moment: float) -> int:
    return sum(w.execute(f"delete from {old}", (moment,)).rowcount for old in _OLD)  # noqa: S608


_WHERE: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {  # table -> key, what seals, names, words
    "feedback": ("id", "id", ("rater", "person", "key"), ("words",)),
    "review_items": ("id", "id", ("person", "origin", "stratum"), ("words",)),
    "review_judgements": ("number", "item", ("reviewer", "tags"), ("words",)),
    "review_actions": ("id", "id", ("reviewer",), ("words",)),
    "review_replies": ("id", "id", ("reviewer", "person", "key"), ("words", "reply")),
}
_OLD = (
    "feedback where changed < ?",
    "review_items where created < ?",
    "review_draws where at < ? and id not in (select draw from review_items)",
    "review_replies where created < ?",
)


def _texts(words: Sequence[Any]) -> Iterator[str]:
    """All texts in some values, however deep."""
    for value in words:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from _texts([*value.keys(), *value.values()])
        elif isinstance(value, list):
            yield from _texts(value)
