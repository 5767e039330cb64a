"""How often somebody may try, such as a code: counted in the database, for a person, a conversation and a caller at once.

A try counts before it is looked at, so that a hundred at the same time are a hundred. Who tried is a digest.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from penstock.storage.database import Database

__all__ = ["Limit", "Tries"]

STEPS = [
    """
    create table tries (number integer primary key, who blob not null, mark text not null, at real not null) strict;
    create index tries_who on tries (who, at);
    create index tries_mark on tries (mark);
    create index tries_at on tries (at)
    """,
]
LONGEST_S: Final = 86_400.0  # what is older counts for nobody


class Limit(NamedTuple):
    """So many tries of one who in so many seconds. who: such as `person/anna@example.com`."""

    who: str
    most: int
    per_s: float


class Tries:
    """Safe to share between threads; processes of one home count together."""

    def __init__(self, database: Database, secret: Callable[[], bytes]) -> None:
        """secret: a key that stays the same, so that nobody can tell from the table who tried."""
        self._database, self._secret = database, secret
        self._migrated = False

    def begin(self, limits: Sequence[Limit]) -> str:
        """Count one more try of each. Returns a mark by which it can be forgiven; "" where one has none left, and then nothing is
        counted."""
        now, mark = time.time(), secrets.token_hex(16)
        named = [(self._digest(limit.who), limit) for limit in limits]
        self._ready()
        with self._database.write(synced=False) as w:
            w.execute("delete from tries where at < ? or at > ?", (now - LONGEST_S, now + LONGEST_S))
            for who, limit in named:  # a clock that goes back frees nobody
                sql = "select count(*) from tries where who = ? and at > ?"
                if w.execute(sql, (who, now - limit.per_s)).fetchone()[0] >= limit.most:
                    return ""
            w.executemany("insert into tries (who, mark, at) values (?, ?, ?)", [(who, mark, now) for who, _ in named])
        return mark

    def forgive(self, mark: str) -> None:
        """It was right, and counts for nobody."""
        with self._database.write(synced=False) as w:
            w.execute("delete from tries where mark = ?", (mark,))

    def _digest(self, who: str) -> bytes:
        return hmac.digest(self._secret(), who.encode("utf-8", "replace"), "sha256")[:16]

    def _ready(self) -> None:
        if not self._migrated:
            self._database.migrate("tries", STEPS)
            self._migrated = True
