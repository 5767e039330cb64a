"""Envelope encryption: data keys for each tenant and purpose, each wrapped by a key-encryption key from elsewhere.

What is sealed names its data key, so after a rotation old data is read as before and new data has the new key. Destroying
a data key makes everything sealed with it unreadable, in one step ("crypto-shredding"). AES-256-GCM throughout.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from penstock.errors import BadSetting, StorageError
from penstock.storage.database import Database
from penstock.storage.files import explain, storage_errors, sync_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = [
    "REMEMBERED_S",
    "SEALED",
    "TEXT_MARK",
    "Encryption",
    "Envelope",
    "EnvironmentKeys",
    "FileKeys",
    "KeySource",
    "KmsKeys",
    "SealedFile",
    "chunks",
    "is_sealed",
]

STEPS = [
    """
    create table data_keys (
        id blob primary key, tenant text not null, purpose text not null, source text not null, wrapped blob not null,
        current integer not null, fixed integer not null, created real not null, destroyed real not null) strict;
    create unique index data_keys_current on data_keys (tenant, purpose) where current
    """,
]

KEY, NONCE, TAG, ID = 32, 12, 16, 8  # bytes
SEALED = b"\x01"  # what is sealed begins with it
REMEMBERED_S = 1.0  # a key that another process destroyed opens things for so long yet
CHUNK = 1 << 16
TEXT_MARK = "\x00sealed:"  # before a sealed text; what was written before encryption was switched on has none
FILE_MARK = b"PNSTKSEA"


# ---------------------------------------------------------------- key-encryption keys


class KeySource(Protocol):
    """Wraps data keys with a key-encryption key that never leaves it. Raises StorageError when it cannot."""

    def create(self) -> None:
        """Make a key where there is none. It is called only while nothing is wrapped yet."""
        ...

    @property
    def current(self) -> str:
        """The name of the key that wraps now."""
        ...

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Wrap with the current key. context: who and what for; needed again to unwrap."""
        ...

    def unwrap(self, name: str, wrapped: bytes, context: bytes) -> bytes: ...


class _LocalKeys:
    """Key-encryption keys by name; the last one wraps."""

    def _keys(self) -> Mapping[str, bytes]:
        raise NotImplementedError

    def _missing(self, name: str) -> StorageError:
        raise NotImplementedError

    def create(self) -> None:
        """Whoever sets the key makes it."""

    @property
    def current(self) -> str:
        return list(self._keys())[-1]

    def wrap(self, key: bytes, context: bytes) -> bytes:
        return _seal(_cipher(self._keys()[self.current]), key, context)

    def unwrap(self, name: str, wrapped: bytes, context: bytes) -> bytes:
        keys = self._keys()
        if name not in keys:
            raise self._missing(name)
        return _open(_cipher(keys[name]), wrapped, context, f"the data key wrapped by '{name}'")


class FileKeys(_LocalKeys):
    """Key-encryption keys in a file that only its owner may read. It is made when it is first needed.

    A line holds a name and 32 bytes in base64; the last line wraps. Keep a copy elsewhere than the data: without this file
    nothing can be opened again, and once something is sealed, a file that is missing is an error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._held: dict[str, bytes] = {}
        self._stamp = (0, 0)

    def create(self) -> None:
        if not self.path.exists():
            self._write(_new_line()[1], new=True)

    def rotate(self) -> str:
        """Add a key, which wraps from now on. Returns its name. `Envelope.rewrap` takes the data keys over to it."""
        self._keys()
        with self._lock, storage_errors(self.path):
            lines = self.path.read_text("ascii")
            name, line = _new_line()
            self._write(lines + line, new=False)
        return name

    def _keys(self) -> Mapping[str, bytes]:
        with self._lock:
            try:
                stamp = (status := self.path.stat()).st_mtime_ns, status.st_size
            except FileNotFoundError:
                hint = "put the file back from where you keep the copy; nothing can be opened without it"
                raise StorageError(f"the key file {self.path} is missing", hint=hint) from None
            except OSError as error:
                raise explain(error, self.path) from error
            if stamp != self._stamp:
                try:
                    self._held = _parsed(self.path.read_text("ascii").split("\n"), str(self.path))
                except (OSError, UnicodeDecodeError, BadSetting) as error:
                    raise StorageError(
                        f"the key file {self.path} cannot be read: {error}", hint="put its copy back"
                    ) from error
                self._stamp = stamp
            return self._held

    def _missing(self, name: str) -> StorageError:
        hint = "the file was replaced by another one; put the old line back"
        return StorageError(f"the key file {self.path} has no key '{name}'", hint=hint)

    def _write(self, lines: str, *, new: bool) -> None:
        """The whole file at once, for its owner alone. Where another process was first with a new one, that one counts."""
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}.part")
            try:
                with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(lines)
                    file.flush()
                    os.fsync(file.fileno())
                if not new:
                    os.replace(temporary, self.path)
                else:
                    with suppress(FileExistsError):
                        os.link(temporary, self.path)
                sync_folder(self.path.parent)
            finally:
                temporary.unlink(missing_ok=True)


class EnvironmentKeys(_LocalKeys):
    """Key-encryption keys in an environment variable: `NAME:BASE64`, several with commas between them; the last one wraps."""

    def __init__(self, variable: str = "PENSTOCK_ENCRYPTION_KEY") -> None:
        self.variable = variable

    def _keys(self) -> Mapping[str, bytes]:
        value = os.environ.get(self.variable, "")
        try:
            return _parsed(value.replace(":", " ").split(","), self.variable)
        except BadSetting as error:
            hint = f"export {self.variable}=main:$(openssl rand -base64 32)"
            raise StorageError(f"the key in {self.variable} cannot be used: {error.message}", hint=hint) from error

    def _missing(self, name: str) -> StorageError:
        return StorageError(f"{self.variable} has no key '{name}'", hint="keep old keys in it, before the current one")


class KmsKeys:
    """A key-encryption key that stays in a key management service: two calls, yours, to wrap and to unwrap 32 bytes.

    Each is given the key and a context, which services take as additional authenticated data. What they raise becomes a
    StorageError.
    """

    def __init__(
        self, name: str, *, wrap: Callable[[bytes, bytes], bytes], unwrap: Callable[[bytes, bytes], bytes]
    ) -> None:
        self._name, self._wrap, self._unwrap = name, wrap, unwrap

    def create(self) -> None:
        """Keys are made where they are managed."""

    @property
    def current(self) -> str:
        return self._name

    def wrap(self, key: bytes, context: bytes) -> bytes:
        return self._asked(self._wrap, key, context)

    def unwrap(self, name: str, wrapped: bytes, context: bytes) -> bytes:
        return self._asked(self._unwrap, wrapped, context)

    def _asked(self, call: Callable[[bytes, bytes], bytes], data: bytes, context: bytes) -> bytes:
        try:
            return call(data, context)
        except Exception as error:  # whatever a provider's library raises ends here
            hint = "check its credentials and that the key is enabled"
            raise StorageError(f"the key service refused '{self._name}': {error}", hint=hint) from error


def _new_line() -> tuple[str, str]:
    name = f"k{time.strftime('%Y%m%d', time.gmtime())}-{secrets.token_hex(3)}"
    return name, f"{name} {base64.b64encode(secrets.token_bytes(KEY)).decode()}\n"


def _parsed(lines: Iterable[str], where: str) -> dict[str, bytes]:
    keys = {}
    for line in filter(None, map(str.strip, lines)):
        name, _, encoded = line.rpartition(" ")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadSetting("a key is not base64") from error
        if len(key) != KEY:
            raise BadSetting(f"a key has {len(key)} bytes, and {KEY} are needed")
        keys[name.strip() or "main"] = key
    if not keys:
        raise BadSetting(f"there is no key in {where}")
    return keys


# ---------------------------------------------------------------- data keys


@dataclass(frozen=True, slots=True)
class _DataKey:
    id: bytes
    secret: bytes = field(repr=False)
    until: float  # monotonic: when the database is asked about it again


class Envelope:
    """Data keys for each tenant and purpose, kept wrapped in a database. A key seals at most 2**32 things: rotate before."""

    def __init__(self, database: Database, source: KeySource) -> None:
        self.database, self.source = database, source
        self._lock = threading.Lock()
        self._by_id: dict[tuple[str, str, bytes], _DataKey] = {}
        self._current: dict[tuple[str, str], _DataKey] = {}
        self._unwrapped: dict[bytes, bytes] = {}  # wrapped -> key, so that a key service is asked once
        self._migrated = False

    def seal(self, data: bytes, *, tenant: str, purpose: str, aad: bytes = b"") -> bytes:
        """Encrypt with the current data key, which is made where there is none. aad: what must be the same when it is opened."""
        key = self._now(tenant, purpose)
        return SEALED + key.id + _seal(_cipher(key.secret), data, _context(tenant, purpose, aad))

    def open(self, sealed: bytes, *, tenant: str, purpose: str, aad: bytes = b"") -> bytes:
        """Raises StorageError for what was altered, sealed for another tenant or purpose, or whose key was destroyed."""
        what = f"something sealed for '{purpose}'"
        if len(sealed) < 1 + ID + NONCE + TAG or sealed[:1] != SEALED:
            raise StorageError(f"{what} is damaged", hint="restore a backup: penstock restore FILE")
        key = self._named(tenant, purpose, sealed[1 : 1 + ID])
        return _open(_cipher(key.secret), sealed[1 + ID :], _context(tenant, purpose, aad), what)

    def stale(self, sealed: bytes, *, tenant: str, purpose: str) -> bool:
        """Whether it was sealed before the last rotation."""
        return sealed[1 : 1 + ID] != self._now(tenant, purpose).id

    def secret(self, tenant: str, purpose: str) -> bytes:
        """32 bytes that stay the same until they are destroyed: for comparing without storing what is compared."""
        return self._now(tenant, purpose, fixed=True).secret

    def key(self, tenant: str, purpose: str, name: bytes | None = None) -> tuple[bytes, bytes]:
        """A data key and its name, for who seals by themselves, as files do: the current one, or the one of that name."""
        found = self._now(tenant, purpose) if name is None else self._named(tenant, purpose, name)
        return found.id, found.secret

    def used(self, purpose: str) -> bool:
        """Whether anything was ever sealed for it that can still be opened."""
        self._migrate()
        return bool(
            self.database.read("select 1 from data_keys where purpose = ? and not destroyed limit 1", (purpose,))
        )

    # ------------------------------------------------------------ rotated and destroyed

    def rotate(self, tenant: str | None = None, *, purpose: str | None = None) -> int:
        """Give every tenant and purpose, or those named, a new data key. Returns how many. What is sealed stays readable."""
        self._migrate()
        with self.database.write() as w:
            rows = w.execute(
                "select tenant, purpose from data_keys where current and not fixed"
                " and (?1 is null or tenant = ?1) and (?2 is null or purpose = ?2)",
                (tenant, purpose),
            ).fetchall()
            for owner, use in rows:
                w.execute("update data_keys set current = 0 where tenant = ? and purpose = ? and current", (owner, use))
                self._insert(w, owner, use, fixed=False)
        self._forget()
        return len(rows)

    def rewrap(self) -> int:
        """Wrap every data key that an older key-encryption key holds with the current one. Returns how many there were."""
        self._migrate()
        rows = self.database.read(
            "select id, tenant, purpose, source, wrapped from data_keys where source != ? and not destroyed",
            (self.source.current,),
        )
        for name, tenant, purpose, source, wrapped in rows:
            context = _context(tenant, purpose, name)
            fresh = self.source.wrap(self.source.unwrap(source, wrapped, context), context)
            with self.database.write() as w:
                w.execute(
                    "update data_keys set wrapped = ?, source = ? where id = ? and not destroyed",
                    (fresh, self.source.current, name),
                )
        self._scrub()
        return len(rows)

    def destroy(self, tenant: str, *, purpose: str | None = None, beneath: str | None = None, old: bool = False) -> int:
        """Destroy a tenant's data keys: all, those for one purpose, or those whose purpose begins so. Returns how many.

        old: only those that a rotation has replaced; seal anew before what they sealed.

        Nothing sealed with them can be opened again, here at once and in other processes within a second. Backups of the
        database still hold them, wrapped.
        """
        self._migrate()
        self.database.read("pragma secure_delete = on")  # freed pages are overwritten
        with self.database.write() as w:
            count = w.execute(
                "update data_keys set wrapped = x'', current = 0, destroyed = ?1 where tenant = ?2 and not destroyed"
                " and (?3 is null or purpose = ?3) and (?4 is null or substr(purpose, 1, length(?4)) = ?4)"
                " and not (?5 and current)",
                (time.time(), tenant, purpose, beneath, old),
            ).rowcount
        self._forget()
        self._scrub()
        return count

    def _scrub(self) -> None:
        """Empty the write-ahead log, which holds pages as they were. A reader in the way leaves that to the next time."""
        self.database.read("pragma wal_checkpoint(truncate)")

    # ------------------------------------------------------------ found

    def _now(self, tenant: str, purpose: str, *, fixed: bool = False) -> _DataKey:
        held = self._current.get((tenant, purpose))
        if held is not None and held.until > time.monotonic():
            return held
        self._migrate()
        sql = "select id, source, wrapped, fixed from data_keys where tenant = ? and purpose = ? and current"
        rows = self.database.read(sql, (tenant, purpose))
        if not rows:
            with self.database.write() as w:
                rows = w.execute(sql, (tenant, purpose)).fetchall()  # another process may have been first
                if not rows:
                    self._insert(w, tenant, purpose, fixed=fixed)
                    rows = w.execute(sql, (tenant, purpose)).fetchall()
        name, source, wrapped, _ = rows[0]
        key = self._current[tenant, purpose] = self._unwrap(tenant, purpose, name, source, wrapped)
        return key

    def _named(self, tenant: str, purpose: str, name: bytes) -> _DataKey:
        held = self._by_id.get((tenant, purpose, name))
        if held is not None and held.until > time.monotonic():
            return held
        self._migrate()
        rows = self.database.read(
            "select tenant, purpose, source, wrapped, destroyed from data_keys where id = ?", (name,)
        )
        if not rows:
            raise StorageError("its data key is not in this database", hint="restore the backup that belongs to it")
        owner, use, source, wrapped, destroyed = rows[0]
        if (owner, use) != (tenant, purpose):
            raise StorageError(f"it was sealed for someone else, or for another purpose than '{purpose}'")
        if destroyed:
            when = time.strftime("%Y-%m-%d", time.gmtime(destroyed))
            raise StorageError(f"it was erased: its data key was destroyed on {when}")
        key = self._by_id[tenant, purpose, name] = self._unwrap(tenant, purpose, name, source, wrapped)
        return key

    def _unwrap(self, tenant: str, purpose: str, name: bytes, source: str, wrapped: bytes) -> _DataKey:
        secret = self._unwrapped.get(wrapped)
        if secret is None:
            secret = self.source.unwrap(source, wrapped, _context(tenant, purpose, name))
            if len(secret) != KEY:
                raise StorageError(f"the key '{source}' unwrapped {len(secret)} bytes, and {KEY} were wrapped")
            if len(self._unwrapped) > 10_000:
                self._forget()
            self._unwrapped[wrapped] = secret
        return _DataKey(name, secret, time.monotonic() + REMEMBERED_S)

    def _insert(self, w: sqlite3.Connection, tenant: str, purpose: str, *, fixed: bool) -> None:
        if not w.execute("select 1 from data_keys where not destroyed limit 1").fetchone():
            self.source.create()
        name, secret = secrets.token_bytes(ID), secrets.token_bytes(KEY)
        wrapped = self.source.wrap(secret, _context(tenant, purpose, name))
        w.execute(
            "insert into data_keys values (?, ?, ?, ?, ?, 1, ?, ?, 0)",
            (name, tenant, purpose, self.source.current, wrapped, fixed, time.time()),
        )

    def _forget(self) -> None:
        with self._lock:
            self._by_id, self._current, self._unwrapped = {}, {}, {}
        _cipher.cache_clear()

    def _migrate(self) -> None:
        if not self._migrated:
            self.database.migrate("envelope", STEPS)
            self._migrated = True


def _context(tenant: str, purpose: str, more: bytes) -> bytes:
    parts = [part.encode("utf-8", "surrogatepass") for part in (tenant, purpose)]
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts) + more


@lru_cache(maxsize=1024)
def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _seal(cipher: AESGCM, data: bytes, context: bytes) -> bytes:
    nonce = os.urandom(NONCE)
    return nonce + cipher.encrypt(nonce, data, context)


def _open(cipher: AESGCM, sealed: bytes, context: bytes, what: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(sealed[:NONCE], sealed[NONCE:], context)
    except (InvalidTag, ValueError) as error:
        hint = "the key is another one, or the data was altered: put the right key back, or restore a backup"
        raise StorageError(f"{what} cannot be opened", hint=hint) from error


# ---------------------------------------------------------------- columns


@dataclass(frozen=True)
class Encryption:
    """What a part needs to keep its content sealed: the envelope, for whom, and what for."""

    envelope: Envelope
    purpose: str
    tenant: str = ""

    def prepare(self) -> None:
        """See that there are keys. A key is made in a transaction of its own, so this comes before one."""
        self.envelope.key(self.tenant, self.purpose)
        self.digest(b"")

    def seal(self, data: bytes, *, aad: bytes = b"") -> bytes:
        return self.envelope.seal(data, tenant=self.tenant, purpose=self.purpose, aad=aad)

    def open(self, sealed: bytes, *, aad: bytes = b"") -> bytes:
        return self.envelope.open(sealed, tenant=self.tenant, purpose=self.purpose, aad=aad)

    def sealed(self, text: str, *, aad: bytes = b"") -> str:
        """A text for a column of text: a third longer than it was, and 70 characters."""
        data = self.seal(text.encode("utf-8", "surrogatepass"), aad=aad)
        return TEXT_MARK + base64.b64encode(data).decode("ascii")

    def opened(self, text: str, *, aad: bytes = b"") -> str:
        """The text that was sealed; one from before encryption was switched on is given back as it is."""
        if not text.startswith(TEXT_MARK):
            return text
        try:
            data = base64.b64decode(text[len(TEXT_MARK) :], validate=True)
        except ValueError as error:
            raise StorageError(f"something sealed for '{self.purpose}' is damaged") from error
        return self.open(data, aad=aad).decode("utf-8", "surrogatepass")

    def digest(self, data: bytes) -> bytes:
        """16 bytes that stand for the content, and say nothing about it to who has no key."""
        return hmac.digest(self.envelope.secret(self.tenant, f"{self.purpose} digests"), data, "sha256")[:16]


# ---------------------------------------------------------------- files


def chunks(encryption: Encryption, data: Callable[[], Iterable[bytes | memoryview]], salt: bytes) -> Iterator[bytes]:
    """A file as sealed pieces: a header, then chunks of 64 KiB, each opened by itself, none movable, the last marked as such.

    The same salt gives the same bytes, so a file can be hashed in one pass and written in the next. Take 16 new random
    bytes for each file.
    """
    name, secret = encryption.envelope.key(encryption.tenant, encryption.purpose)
    head = FILE_MARK + SEALED + name + salt
    yield head
    cipher = _cipher(_file_key(secret, salt))
    place, held = 0, bytearray()
    for piece in data():
        view = memoryview(piece)
        while len(view):
            if len(held) == CHUNK:  # more follows
                yield cipher.encrypt(_nonce(place, last=False), bytes(held), head)
                place, held = place + 1, bytearray()
            room = CHUNK - len(held)
            held += view[:room]
            view = view[room:]
    yield cipher.encrypt(_nonce(place, last=True), bytes(held), head)


class SealedFile:
    """A file made by `chunks`, read by place. Raises StorageError for one that is damaged or cut."""

    _HEAD = len(FILE_MARK) + 1 + ID + 16

    def __init__(self, path: Path, encryption: Encryption) -> None:
        with storage_errors(path):
            self.path, total = path, path.stat().st_size
            with path.open("rb") as file:
                self._head = file.read(self._HEAD)
        if not is_sealed(self._head) or total < self._HEAD + TAG:
            raise StorageError(f"{path} is damaged", hint="penstock doctor")
        name, salt = self._head[len(FILE_MARK) + 1 : -16], self._head[-16:]
        _, secret = encryption.envelope.key(encryption.tenant, encryption.purpose, name)
        self._cipher = _cipher(_file_key(secret, salt))
        body = total - self._HEAD
        self.count = max(1, -(-body // (CHUNK + TAG)))
        self.size = body - self.count * TAG  # in bytes, of what was sealed
        if self.size < 0:
            raise StorageError(f"{path} is damaged: it ends early", hint="penstock doctor")

    def chunk(self, place: int) -> bytes:
        with storage_errors(self.path), self.path.open("rb") as file:
            return self._chunk(file, place)

    def read(self, start: int, size: int) -> bytes:
        """Any stretch; only the chunks it lies in are opened."""
        stop = min(start + size, self.size)
        if start >= stop:
            return b""
        first = start // CHUNK
        with storage_errors(self.path), self.path.open("rb") as file:
            pieces = [self._chunk(file, place) for place in range(first, -(-stop // CHUNK))]
        return b"".join(pieces)[start - first * CHUNK : stop - first * CHUNK]

    def whole(self) -> memoryview:
        """Everything, opened into memory."""
        opened = bytearray(self.size)
        with storage_errors(self.path), self.path.open("rb") as file:
            for place in range(self.count):
                piece = self._chunk(file, place)
                opened[place * CHUNK : place * CHUNK + len(piece)] = piece
        return memoryview(opened).toreadonly()

    def _chunk(self, file: IO[bytes], place: int) -> bytes:
        from cryptography.exceptions import InvalidTag

        file.seek(self._HEAD + place * (CHUNK + TAG))
        sealed = file.read(CHUNK + TAG)
        try:
            return self._cipher.decrypt(_nonce(place, last=place == self.count - 1), sealed, self._head)
        except (InvalidTag, ValueError) as error:
            raise StorageError(f"{self.path} is damaged at its chunk {place}", hint="penstock doctor") from error


def is_sealed(head: bytes) -> bool:
    """Whether a file that begins so was made by `chunks`."""
    return head.startswith(FILE_MARK + SEALED)


def _file_key(secret: bytes, salt: bytes) -> bytes:
    return hmac.digest(secret, b"penstock file" + salt, hashlib.sha256)


def _nonce(place: int, *, last: bool) -> bytes:
    return place.to_bytes(NONCE - 1, "big") + (b"\x01" if last else b"\x00")
