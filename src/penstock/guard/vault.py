"""The vault: scopes that stay, so that a person has the same stand-in today and tomorrow, for one tenant and no other.

Values are sealed with keys of their tenant and scope, and found again by keyed hashes: nothing in the database says what a
token stands for, nor that two scopes know the same person. Erasing a tenant or a scope destroys its keys.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, NamedTuple

from penstock.errors import StorageError
from penstock.guard.pseudonyms import LETTERS, fold, name_of, same
from penstock.guard.scope import PERSON, Entry, Scope, Words
from penstock.storage.database import Database
from penstock.storage.envelope import REMEMBERED_S, Envelope

__all__ = ["Lookup", "Vault"]

STEPS = [
    """
    create table vault_scopes (
        id integer primary key autoincrement, tenant text not null, name text not null, last integer not null default 0,
        labels text not null default '', unique (tenant, name)) strict;
    create table vault_values (
        scope integer not null references vault_scopes on delete cascade, number integer not null, letter text not null,
        exact blob not null, alike blob not null, sealed blob not null, primary key (scope, number, letter)) strict,
        without rowid;
    create unique index vault_exact on vault_values (scope, exact);
    create index vault_alike on vault_values (scope, alike);
    create table vault_likes (
        scope integer not null references vault_scopes on delete cascade, hash blob not null, number integer not null,
        letter text not null, primary key (scope, hash)) strict, without rowid;
    create index vault_likes_by_number on vault_likes (scope, number);
    create table vault_words (
        scope integer not null references vault_scopes on delete cascade, hash blob not null, number integer not null,
        kind integer not null, primary key (scope, hash, number, kind)) strict, without rowid;
    create index vault_words_by_number on vault_words (scope, number)
    """,
    """
    alter table vault_scopes add column used real not null default 0;
    update vault_scopes set used = strftime('%s', 'now')
    """,
]

WORD, INITIAL, GENDER = range(3)
HOUR_S = 3600.0  # how exactly it is known when a scope was last used
BATCH = 1_000  # rows that are sealed anew in one transaction


class Lookup(NamedTuple):
    """That somebody asked what a token stands for. The value itself is not in it."""

    tenant: str
    scope: str
    token: str


class Vault:
    """All tenants' scopes in one database. seen: told of each look-up; what it raises reaches who asked."""

    def __init__(self, database: Database, keys: Envelope, *, seen: Callable[[Lookup], None] | None = None) -> None:
        self.database, self.keys, self._seen = database, keys, seen
        self._migrated = False

    def scope(self, tenant: str, name: str, *, whole: bool = False) -> Scope:
        """A scope that stays. It is made when it is first asked for.

        Texts get back the values whose stand-ins this object has handed out: those of one request, whoever else shares the
        scope. whole: all there are, for somebody who may see them. `Scope.value` answers for any token in both.
        """
        self._migrate()
        now, sql = time.time(), "select id, used from vault_scopes where tenant = ? and name = ?"
        rows = self.database.read(sql, (tenant, name))
        if not rows or rows[0][1] < now - HOUR_S:
            with self.database.write() as w:
                w.execute(
                    "insert into vault_scopes (tenant, name, used) values (?1, ?2, ?3)"
                    " on conflict (tenant, name) do update set used = ?3",
                    (tenant, name, now),
                )
                rows = w.execute(sql, (tenant, name)).fetchall()
        stored = _Stored(self.database, self.keys, tenant, name, int(rows[0][0]))
        seen = self._seen
        told = None if seen is None else lambda token: seen(Lookup(tenant, name, token))
        return Scope(stored, secret=self._secret(tenant), seen=told, whole=whole)

    def passing(self, tenant: str) -> Scope:
        """A scope in memory, for one request; its hashes are those of the tenant."""
        return Scope(secret=self._secret(tenant))

    def scopes(self, tenant: str) -> list[str]:
        """The names of a tenant's scopes."""
        self._migrate()
        return [
            name
            for (name,) in self.database.read("select name from vault_scopes where tenant = ? order by name", (tenant,))
        ]

    def latest(self, limit: int, *, tenant: str = "") -> list[tuple[str, str]]:
        """(tenant, name) of the scopes that were asked for last, latest first. tenant: the only one whose scopes are given."""
        self._migrate()
        return self.database.read(
            "select tenant, name from vault_scopes where ?2 in ('', tenant) order by used desc, id desc limit ?1",
            (limit, tenant),
        )

    def unused(self, since: float) -> list[tuple[str, str]]:
        """(tenant, name) of the scopes that nobody has asked for since a Unix time."""
        self._migrate()
        return self.database.read("select tenant, name from vault_scopes where used < ?", (since,))

    def erase(self, tenant: str, scope: str | None = None) -> int:
        """Forget a tenant, or one of its scopes: its keys are destroyed first, then its rows. Returns how many values there were.

        Without its key nothing of it can be read again, from a copy of the database neither.
        """
        self._migrate()
        rows = self.database.read(
            "select id from vault_scopes where tenant = ?1 and (?2 is null or name = ?2)", (tenant, scope)
        )
        if scope is None:
            self.keys.destroy(tenant, beneath="vault ")
        for (number,) in rows:
            self.keys.destroy(tenant, beneath=f"vault {number} ")
        count = 0
        self._overwrite()
        with self.database.write() as w:
            for (number,) in rows:
                count += w.execute("select count(*) from vault_values where scope = ?", (number,)).fetchone()[0]
                w.execute("delete from vault_scopes where id = ?", (number,))
        self._empty_log()
        return count

    def erase_value(self, tenant: str, value: str) -> int:
        """Forget a value in all of a tenant's scopes, in every way it was written. Returns how many rows were deleted.

        A person's name takes the other ways of writing that person with it; one that could be several persons takes none but
        itself. Deleted rows are overwritten in the database. A copy that was made before still has them.
        """
        self._migrate()
        rows = self.database.read("select id, name, labels from vault_scopes where tenant = ?", (tenant,))
        count = 0
        self._overwrite()
        for number, name, labels in rows:
            stored = _Stored(self.database, self.keys, tenant, name, int(number))
            words = name_of(value).words
            alike = [stored.key("same", label, same(label, value)) for label in labels.split()]
            if words:
                alike.append(stored.key("same", PERSON, "\0".join(words)))
            with self.database.write() as w:
                for key in alike:
                    count += stored.forget(w, key)
        self._empty_log()
        return count

    def rotate(self, tenant: str | None = None) -> int:
        """Seal all values anew, with new keys, and destroy the old ones. Returns how many values.

        Tokens stay as they are. It can be broken off and run again. What compares values stays the same until it is erased.
        """
        self._migrate()
        rows = self.database.read(
            "select id, tenant, name from vault_scopes where ?1 is null or tenant = ?1", (tenant,)
        )
        scopes = [_Stored(self.database, self.keys, owner, name, int(number)) for number, owner, name in rows]
        for stored in scopes:
            self.keys.rotate(stored.tenant, purpose=stored.purpose)
        time.sleep(REMEMBERED_S)  # until nobody seals with the old keys any more
        return sum(stored.reseal() for stored in scopes)

    def _secret(self, tenant: str) -> bytes:
        return self.keys.secret(tenant, "vault hashes")

    def _overwrite(self) -> None:
        self.database.read("pragma secure_delete = on")

    def _empty_log(self) -> None:
        self.database.read("pragma wal_checkpoint(truncate)")

    def _migrate(self) -> None:
        if not self._migrated:
            self.database.migrate("vault", STEPS)
            self._migrated = True


class _Stored:
    """The entries of a scope that stays: satisfies `Rows`. Keys are keyed hashes, and the key of those dies with the scope."""

    def __init__(self, database: Database, keys: Envelope, tenant: str, name: str, number: int) -> None:
        self._database, self._keys, self.tenant, self._name, self._id = database, keys, tenant, name, number
        self.purpose = f"vault {number} values"
        self._local = threading.local()  # the connection of a transaction, while one runs in this thread

    def key(self, *parts: str) -> bytes:
        secret = self._keys.secret(self.tenant, f"vault {self._id} hashes")
        return hmac.digest(secret, "\0".join(parts).encode("utf-8", "surrogatepass"), "sha256")[:16]

    @contextmanager
    def writing(self) -> Iterator[None]:
        self.key("")  # the keys are made first: that is a transaction of its own
        self._seal("", 0, "")
        with self._database.write() as w:
            if not w.execute("select 1 from vault_scopes where id = ?", (self._id,)).fetchone():
                raise StorageError(f"the scope '{self._name}' was erased", hint="open it again: it is a new one then")
            self._local.w = w
            try:
                yield
            finally:
                self._local.w = None

    def exact(self, key: Hashable) -> tuple[int, str] | None:
        found: tuple[int, str] | None = self._one(
            "select number, letter from vault_values where scope = ? and exact = ?", key
        )
        return found

    def entry(self, number: int, letter: str) -> Entry | None:
        found = self._one(
            "select sealed from vault_values where scope = ? and number = ? and letter = ?", number, letter
        )
        if found is None:
            return None
        label, value, like, names = json.loads(self._open(found[0], number, letter))
        return Entry(number, letter, label, value, like, names)

    def liked(self, key: Hashable) -> tuple[int, str] | None:
        found: tuple[int, str] | None = self._one(
            "select number, letter from vault_likes where scope = ? and hash = ?", key
        )
        return found

    def numbers(self, key: Hashable) -> Sequence[int]:
        sql = "select distinct number from vault_values where scope = ? and alike = ? order by number desc limit 3"
        return [number for (number,) in self._read(sql, key)]

    def letters(self, number: int) -> int:
        """How many are given out; one that was erased is not given out again."""
        found = self._one("select max(letter) from vault_values where scope = ? and number = ?", number)
        return LETTERS.index(found[0]) + 1 if found and found[0] else 0

    def sharing(self, word: Hashable, limit: int) -> Sequence[int]:
        sql = "select number from vault_words where scope = ? and hash = ? and kind = 0 limit ?"
        return [number for (number,) in self._read(sql, word, limit)]

    def words(self, numbers: Iterable[int]) -> dict[int, Words]:
        found: dict[int, Words] = {}
        for number in numbers:
            kinds: tuple[set[Hashable], ...] = (set(), set(), set())
            for word, kind in self._read("select hash, kind from vault_words where scope = ? and number = ?", number):
                kinds[kind].add(word)
            found[number] = Words(*kinds)
        return found

    def next_number(self) -> int:
        found = self._one("update vault_scopes set last = last + 1 where id = ? returning last")
        assert found is not None, "writing has looked that the scope is there"
        return int(found[0])

    def add(self, entry: Entry, exact: Hashable, alike: Hashable) -> None:
        self._read(
            "insert into vault_values (scope, number, letter, exact, alike, sealed) values (?, ?, ?, ?, ?, ?)",
            entry.number, entry.letter, exact, alike, self._sealed(entry),
        )  # fmt: skip
        if entry.label not in self.labels():
            self._read("update vault_scopes set labels = trim(labels || ' ' || ?2) where id = ?1", entry.label)

    def add_words(self, number: int, words: Words) -> None:
        for kind, some in enumerate(words):
            for word in some:
                self._read(
                    "insert or ignore into vault_words (scope, hash, number, kind) values (?, ?, ?, ?)",
                    word,
                    number,
                    kind,
                )

    def set_like(self, entry: Entry, key: Hashable) -> None:
        self._reset(entry)
        keys = [key, *(self.key("like", fold(word).lower()) for word in entry.names.values())]
        for one in keys:
            self._read(
                "insert or ignore into vault_likes (scope, hash, number, letter) values (?, ?, ?, ?)",
                one, entry.number, entry.letter,
            )  # fmt: skip
        first = self.entry(entry.number, LETTERS[0]) if entry.names and entry.letter != LETTERS[0] else None
        if first and first.names != entry.names:
            self._reset(Entry(first.number, first.letter, first.label, first.value, first.like, entry.names))

    def labels(self) -> AbstractSet[str]:
        found = self._one("select labels from vault_scopes where id = ?")
        return frozenset(found[0].split()) if found else frozenset()

    # ------------------------------------------------------------ kept

    def forget(self, w: sqlite3.Connection, alike: Hashable) -> int:
        """Delete a value in every way it was written. Returns how many there were."""
        numbers = w.execute("select distinct number from vault_values where scope = ? and alike = ?", (self._id, alike))
        count = 0
        for (number,) in numbers.fetchall():
            for table in ("vault_words", "vault_likes"):
                w.execute(f"delete from {table} where scope = ? and number = ?", (self._id, number))  # noqa: S608
            count += w.execute("delete from vault_values where scope = ? and number = ?", (self._id, number)).rowcount
        return count

    def reseal(self) -> int:
        """Seal with the present key whatever another one sealed, then destroy the others. Returns how many values there are."""
        at, count = (0, ""), 0
        while True:
            with self._database.write() as w:
                rows = w.execute(
                    "select number, letter, sealed from vault_values where scope = ? and (number, letter) > (?, ?)"
                    " order by number, letter limit ?",
                    (self._id, *at, BATCH),
                ).fetchall()
                for number, letter, sealed in rows:
                    fresh = self._seal(self._open(sealed, number, letter).decode(), number, letter)
                    w.execute(
                        "update vault_values set sealed = ? where scope = ? and number = ? and letter = ?",
                        (fresh, self._id, number, letter),
                    )
            if not rows:
                break
            count, at = count + len(rows), rows[-1][:2]
        self._keys.destroy(self.tenant, purpose=self.purpose, old=True)
        return count

    def _sealed(self, entry: Entry) -> bytes:
        said = json.dumps([entry.label, entry.value, entry.like, dict(entry.names)])
        return self._seal(said, entry.number, entry.letter)

    def _seal(self, said: str, number: int, letter: str) -> bytes:
        return self._keys.seal(
            said.encode(), tenant=self.tenant, purpose=self.purpose, aad=f"{number}{letter}".encode()
        )

    def _open(self, sealed: bytes, number: int, letter: str) -> bytes:
        return self._keys.open(sealed, tenant=self.tenant, purpose=self.purpose, aad=f"{number}{letter}".encode())

    def _reset(self, entry: Entry) -> None:
        self._read(
            "update vault_values set sealed = ?4 where scope = ?1 and number = ?2 and letter = ?3",
            entry.number, entry.letter, self._sealed(entry),
        )  # fmt: skip

    def _read(self, sql: str, *values: object) -> list[Any]:
        """Within the transaction of this thread, where one runs."""
        w: sqlite3.Connection | None = getattr(self._local, "w", None)
        if w is None:
            return self._database.read(sql, (self._id, *values))
        return w.execute(sql, (self._id, *values)).fetchall()

    def _one(self, sql: str, *values: object) -> Any:
        rows = self._read(sql, *values)
        return rows[0] if rows else None
