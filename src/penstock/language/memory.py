"""What was translated before, and what people made of it: a correction is what the same text becomes from then on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from penstock.storage.database import Database

__all__ = ["Memory", "Remembered"]

STEPS = [
    """
    create table translations (
        source text not null, target text not null, digest blob not null, original text not null, translation text not null,
        engine text not null, corrected integer not null default 0, at real not null,
        primary key (source, target, digest)) strict, without rowid
    """,
]
MOST_AT_ONCE = 500


class Remembered(NamedTuple):
    """One translation. engine: who made it, or who corrected it."""

    source: str
    target: str
    original: str
    translation: str
    engine: str
    corrected: bool
    at: float


class Memory:
    """The translations of one home folder. Texts that differ in white space alone are the same."""

    def __init__(self, database: Database) -> None:
        self._database, self._migrated = database, False

    def find(self, texts: Sequence[str], *, source: str, target: str, corrected: bool = False) -> dict[str, str]:
        """Text -> its translation, for those that there is one of. corrected: only what a person said."""
        self._migrate()
        digests = {_digest(text): text for text in texts}
        found: dict[str, str] = {}
        keys = list(digests)
        for n in range(0, len(keys), MOST_AT_ONCE):
            some = keys[n : n + MOST_AT_ONCE]
            marks = ", ".join("?" * len(some))
            wanted = f"source = ? and target = ? and corrected >= ? and digest in ({marks})"
            sql = f"select digest, translation from translations where {wanted}"  # noqa: S608
            rows = self._database.read(sql, (source, target, int(corrected), *some))
            found |= {digests[digest]: said for digest, said in rows}
        return found

    def keep(self, translated: Mapping[str, str], *, source: str, target: str, engine: str) -> None:
        """Remember what an engine made of some texts. A correction is not overwritten."""
        self._migrate()
        now = time.time()
        with self._database.write() as w:
            w.executemany(
                "insert into translations values (?, ?, ?, ?, ?, ?, 0, ?) on conflict do update set"
                " translation = excluded.translation, engine = excluded.engine, at = excluded.at where corrected = 0",
                [(source, target, _digest(text), text, said, engine, now) for text, said in translated.items()],
            )

    def correct(self, original: str, translation: str, *, source: str, target: str, by: str) -> None:
        """What a text becomes from now on, whatever an engine says."""
        self._migrate()
        with self._database.write() as w:
            w.execute(
                "insert or replace into translations values (?, ?, ?, ?, ?, ?, 1, ?)",
                (source, target, _digest(original), original, translation, by, time.time()),
            )

    def forget(self, original: str, *, source: str, target: str) -> bool:
        """Whether there was one to forget."""
        self._migrate()
        with self._database.write() as w:
            sql = "delete from translations where source = ? and target = ? and digest = ?"
            return bool(w.execute(sql, (source, target, _digest(original))).rowcount)

    def all(self, *, corrected: bool = False) -> list[Remembered]:
        """Every translation, or every correction, the latest first."""
        self._migrate()
        sql = (
            "select source, target, original, translation, engine, corrected, at from translations where corrected >= ?"
        )
        rows = self._database.read(f"{sql} order by at desc", (int(corrected),))
        return [Remembered(a, b, text, said, engine, bool(c), at) for a, b, text, said, engine, c, at in rows]

    def _migrate(self) -> None:
        if not self._migrated:
            self._database.migrate("translations", STEPS)
            self._migrated = True


def _digest(text: str) -> bytes:
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).digest()[:16]
