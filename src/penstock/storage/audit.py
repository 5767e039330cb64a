"""The audit trail: who did what that matters for security, as a chain in which nothing can be changed unseen.

Each record's hash covers the record and the hash before it. Whatever is written together ends with a checkpoint: the
number of records, the hash of the last and the time, signed with Ed25519. A checkpoint covers the one before it too, so
the last signature vouches for all. Checkpoints also stand in a file beside the database, the anchors: a database that was
cut short is found by them, and both by a copy of the anchors that is kept elsewhere.

A record holds nobody's name. It has the digest of the name and of a salt, and a table beside the chain has both, so that
a name can be forgotten: the chain still verifies, and nobody can tell from it who it was.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import orjson
from filelock import FileLock, Timeout

from penstock.errors import PenstockError, StorageError
from penstock.storage.database import Database
from penstock.storage.files import new_file, storage_errors
from penstock.trace import log

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["KINDS", "Audit", "Kind", "Note", "Problem", "Recorded", "Verdict", "acting", "who"]

Kind = Literal[
    "key.created", "key.rotated", "key.revoked", "key.removed",
    "login.succeeded", "login.failed", "login.ended",
    "document.added", "document.changed", "document.removed",
    "version.published", "version.rolled_back", "collection.created", "collection.removed",
    "golden.changed",
    "model.pulled", "model.tried", "model.added", "model.removed",
    "policy.changed", "request.blocked", "vault.read", "journal.read", "subject.erased", "audit.exported", "home.restored",
    "retention.applied", "audit.pruned",
    "review.judged", "review.undone", "review.acted", "review.exported", "reply.decided", "reply.given",
    "experiment.started", "experiment.moved", "experiment.ended",
    "evaluation.started", "evaluation.cancelled", "evaluation.removed", "log.read",
    "conversation.shared", "conversation.unshared", "tool.accepted", "action.confirmed",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
Fact = str | int | float | bool | Sequence[str]

EVERY_S = 0.5  # how long what was recorded is gathered before it is written together
LONGEST_FACT = 200  # characters
ROWS = 5_000  # read at a time
GENESIS = hashlib.sha256(b"penstock audit 1").digest()
SIGNED = b"penstock audit checkpoint 1\n"
NOBODY = "0" * 32  # in place of a name that is empty

STEPS = [
    """
    create table audit (number integer primary key, record text not null, hash blob not null) strict;
    create table audit_checkpoints (
        records integer primary key, at integer not null, head blob not null, key blob not null, digest blob not null,
        signature blob not null
    ) strict;
    create table audit_names (id text primary key, name text not null unique, salt blob not null) strict;
    create table audit_spools (name text primary key) strict
    """,
]

acting: ContextVar[str] = ContextVar(
    "acting", default=""
)  # who is behind what runs now; a server sets it for each request


def who() -> str:
    """The name of whoever acts: the caller of a request, else the user of this machine."""
    return acting.get() or _user()


@cache
def _user() -> str:
    try:
        return f"local:{getpass.getuser()}"
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return "local"


class Recorded(NamedTuple):
    """One record, with its names. at: Unix time in milliseconds. A name that was forgotten is "" and its id is left."""

    number: int
    at: int
    kind: str
    actor: str
    target: str
    facts: dict[str, Any]
    actor_id: str
    target_id: str
    hash: str


class Note(NamedTuple):
    """What is to be recorded."""

    kind: Kind
    target: str
    facts: Mapping[str, Fact]


class Checkpoint(NamedTuple):
    """What was signed: so many records, the last of which has this hash."""

    records: int
    at: int
    head: bytes
    key: bytes  # the public one
    digest: bytes
    signature: bytes

    def line(self) -> bytes:
        """As a line of the anchors."""
        values = {
            "at": self.at, "digest": self.digest.hex(), "head": self.head.hex(),
            "key": self.key.hex(), "records": self.records, "signature": self.signature.hex(),
        }  # fmt: skip
        return orjson.dumps(values) + b"\n"


class Problem(NamedTuple):
    """Something that is not as it was written. number: of the first record that is concerned; None where none is."""

    number: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at the whole chain gave."""

    records: int
    checkpoints: int
    head: str
    key: str  # the public one that signed last
    problems: tuple[Problem, ...] = ()
    pruned: int = 0  # records at the beginning that were taken out after their time

    @property
    def first_bad(self) -> int | None:
        """The number of the first record that is not as it was written, or is missing."""
        return min((problem.number for problem in self.problems if problem.number is not None), default=None)


class _Entry(NamedTuple):
    at: int
    kind: str
    actor: str
    target: str
    facts: dict[str, Any]


class Audit:
    """The chain of one home folder, which several processes may write."""

    def __init__(self, database: Database) -> None:
        self.database, self.folder = database, database.path.parent / "audit"
        self._guard, self._draining, self._wake = threading.Lock(), threading.Lock(), threading.Event()
        self._spool: _Spool | None = None
        self._full: deque[_Spool] = deque()
        self._stored: list[str] = []  # spools that are in the chain, and not there any more
        self._owner: _Owner | None = None
        self._thread: threading.Thread | None = None
        self._stop, self._migrated, self._warned = False, False, False

    # ---------------------------------------------------------------- written

    @contextmanager
    def changing(
        self, kind: Kind, *, actor: str = "", target: str = "", also: Iterable[Note] = (), **facts: Fact
    ) -> Iterator[sqlite3.Connection]:
        """A transaction that ends with a record, and others: what is changed in it is recorded, or it is not changed."""
        with self._writing([_entry(*note, actor) for note in (Note(kind, target, facts), *also)]) as w:
            yield w

    def write(self, kind: Kind, *, actor: str = "", target: str = "", **facts: Fact) -> None:
        """Record what has happened, durably. Raises StorageError or Conflict."""
        with self._writing([_entry(kind, target, facts, actor)]):
            pass

    @contextmanager
    def _writing(self, entries: Sequence[_Entry]) -> Iterator[sqlite3.Connection]:
        self._migrate()
        with self.database.write() as w:
            yield w
            self._append(w, entries)
        self._anchor()

    def record(self, kind: Kind, *, actor: str = "", target: str = "", **facts: Fact) -> None:
        """Record what has happened. facts: numbers and codes, nobody's words.

        When this returns the record survives the process being killed: it is in a file. It is in the chain, and safe
        from a power cut, a moment later. Raises StorageError where the file cannot be written.
        """
        entry = _entry(kind, target, facts, actor)
        with self._guard:
            if self._spool is None:
                self._begin()
            assert self._spool is not None
            self._spool.add(entry)
        self._wake.set()

    def _begin(self) -> None:
        if self._owner is None:
            self._owner = _Owner(self.folder / "spool")
        self._spool = self._owner.spool()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="audit")
            self._thread.start()

    def drain(self) -> None:
        """Put what was recorded into the chain. Raises StorageError or Conflict, and then it goes on waiting."""
        with self._draining:
            with self._guard:
                if self._spool is not None:
                    self._full.append(self._spool)
                    self._spool = None
            while self._full:
                self._store(self._full[0].entries, self._full[0].path.name)
                self._stored.append(self._full.popleft().remove())

    def recover(self) -> int:
        """Put into the chain what processes recorded that were killed. Returns how many records."""
        count = 0
        for path in sorted((self.folder / "spool").glob("*.spool")):
            owner = path.name.partition(".")[0]
            with suppress(Timeout), FileLock(path.with_name(f"{owner}.lock"), timeout=0):
                if path.exists():
                    entries = _left_behind(path)
                    self._migrate()
                    if not self.database.read("select 1 from audit_spools where name = ?", (path.name,)):
                        self._store(entries, path.name)
                        count += len(entries)
                    path.unlink(missing_ok=True)
        return count

    def _store(self, entries: Sequence[_Entry], spool: str) -> None:
        self._migrate()
        gone, self._stored = self._stored, []
        with self.database.write() as w:
            w.execute("insert into audit_spools values (?)", (spool,))
            w.executemany("delete from audit_spools where name = ?", [(name,) for name in gone])
            self._append(w, entries)
        self._anchor()

    def close(self) -> None:
        """Write what waits. What cannot be written stays in its file for the next process."""
        self._stop = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5.0)
        with suppress(PenstockError):
            self.drain()
        if self._owner is not None:
            self._owner.close()

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait()
            self._wake.clear()
            if not self._stop:
                time.sleep(EVERY_S)
            try:
                self.drain()
                self._warned = False
            except Exception as error:  # a background task ends here: the records go on waiting
                if not self._warned:
                    log("audit waits", level="error", error=type(error).__name__)
                self._warned = True
                self._wake.set()

    def _migrate(self) -> None:
        if not self._migrated:
            self.database.migrate("audit", STEPS)
            self._migrated = True

    def _append(self, w: sqlite3.Connection, entries: Sequence[_Entry]) -> None:
        if not entries:
            return
        number, head = w.execute("select number, hash from audit order by number desc limit 1").fetchone() or (
            0,
            GENESIS,
        )
        last = _last_checkpoint(w)
        if last and last.records > number:  # records are missing: what comes does not fill the hole
            number, head = last.records, last.head
        rows, names = [], dict[str, str]()
        for entry in entries:
            for name in (entry.actor, entry.target):
                if name not in names:
                    names[name] = _name_id(w, name)
            record = orjson.dumps(
                {
                    "actor": names[entry.actor], "at": entry.at, "facts": entry.facts, "kind": entry.kind,
                    "target": names[entry.target],
                },
                option=orjson.OPT_SORT_KEYS,
            )  # fmt: skip
            head = hashlib.sha256(head + record).digest()
            number += 1
            rows.append((number, record.decode(), head))
        w.executemany("insert into audit values (?, ?, ?)", rows)
        w.execute("insert into audit_checkpoints values (?, ?, ?, ?, ?, ?)", self._signed(last, number, head))

    def _signed(self, last: Checkpoint | None, count: int, head: bytes) -> Checkpoint:
        private = self._key
        public = private.public_key().public_bytes_raw()
        unsigned = Checkpoint(count, time.time_ns() // 1_000_000, head, public, b"", b"")
        digest = _digest(last, unsigned)
        return unsigned._replace(digest=digest, signature=private.sign(SIGNED + digest))

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        """The key that signs, made where there is none."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        path = self.folder / "key.pem"
        with storage_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "key.lock"):
            if not path.exists():
                made = Ed25519PrivateKey.generate()
                with new_file(path) as out:  # which nobody but its owner may read
                    out.write(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return _private_key(path)

    def _anchor(self) -> None:
        """Bring the anchors up to the database. What cannot be written now is written with the next record."""
        path = self.folder / "anchors.jsonl"
        try:
            with storage_errors(path), FileLock(self.folder / "anchors.lock", timeout=10), path.open("ab+") as file:
                rows = self.database.read(
                    "select * from audit_checkpoints where records > ? order by records", (_last_anchored(file),)
                )
                file.write(b"".join(Checkpoint(*row).line() for row in rows))
        except (PenstockError, Timeout) as error:
            log("audit anchors wait", level="warning", error=type(error).__name__)

    # ---------------------------------------------------------------- read

    def records(
        self, *, kind: str = "", actor: str = "", since: float = 0.0, limit: int | None = None, newest: bool = False
    ) -> Iterator[Recorded]:
        """The records in order. kind: may end in `*`. since: Unix time in seconds. Raises StorageError for a damaged one."""
        self._catch_up()
        names = dict(self.database.read("select id, name from audit_names"))
        wanted = next((id for id, name in names.items() if name == actor), "") if actor else ""  # noqa: A001
        given = 0
        for number, record, digest in self.rows(newest=newest):
            try:
                said = orjson.loads(record)
                found = Recorded(
                    number, said["at"], said["kind"], names.get(said["actor"], ""), names.get(said["target"], ""),
                    said["facts"], said["actor"], said["target"], digest.hex(),
                )  # fmt: skip
            except (ValueError, KeyError, TypeError) as error:
                raise StorageError(f"audit record {number} is damaged", hint="penstock audit verify") from error
            fits = not kind or found.kind == kind or (kind[-1] == "*" and found.kind.startswith(kind[:-1]))
            if fits and found.at >= since * 1000 and (not actor or found.actor_id == wanted):
                yield found
                given += 1
                if given == limit:
                    return

    def latest(self, kind: Kind) -> dict[str, Any] | None:
        """The facts of the latest record of a kind."""
        self._migrate()
        rows = self.database.read(
            "select cast(record as blob) from audit where record like ? order by number desc limit 1",
            (f'%"kind":"{kind}"%',),
        )
        found: dict[str, Any] | None = orjson.loads(rows[0][0])["facts"] if rows else None
        return found

    def rows(self, *, newest: bool = False) -> Iterator[tuple[int, bytes, bytes]]:
        """(number, record, hash) of all, so many at a time: a long chain is not held in memory, and no reader blocks."""
        order, past, at = ("desc", "<", 1 << 62) if newest else ("asc", ">", -(1 << 62))
        while True:
            rows = self.database.read(
                f"select number, cast(record as blob), hash from audit where number {past} ? order by number {order} limit ?",  # noqa: S608
                (at, ROWS),
            )
            yield from rows
            if len(rows) < ROWS:
                return
            at = rows[-1][0]

    def _catch_up(self) -> None:
        """Take in what waits, here and of processes that were killed. While that cannot be, what is there is read."""
        self._migrate()
        with suppress(PenstockError):
            self.drain()
            self.recover()

    def forget(self, names: Sequence[str], facts: Mapping[str, Fact]) -> tuple[int, str]:
        """Forget some names, and record that they were erased, in one transaction. Returns that record's number and hash."""
        self._catch_up()
        with self.database.write() as w:
            sql = "delete from audit_names where name = ? returning id"
            gone = [found for name in names for (found,) in w.execute(sql, (name,))]
            actor = who()
            self._append(
                w, [_entry("subject.erased", "", {**facts, "names": gone}, "erased" if actor in names else actor)]
            )
            number, digest = w.execute("select number, hash from audit order by number desc limit 1").fetchone()
        self._anchor()
        return number, digest.hex()

    def prune(self, before: float) -> int:
        """Take out the records from before a Unix time, as far as the last checkpoint in that time, and record it.

        Checkpoints and anchors stay, so what is left still verifies. Names that no record is about any more are forgotten.
        Returns how many records.
        """
        if not (last := self.prunable(before)):
            return 0
        with self.database.write() as w:
            (head,) = w.execute("select hash from audit where number = ?", (last,)).fetchone() or (b"",)
            if not head:  # another process has done it
                return 0
            self._append(w, [_entry("audit.pruned", "", {"records": last, "head": head.hex()}, "")])
            count = w.execute("delete from audit where number <= ?", (last,)).rowcount
            left = {name for (record,) in w.execute("select record from audit") for name in _ids(record.encode())}
            gone = [(name,) for (name,) in w.execute("select id from audit_names") if name.encode() not in left]
            w.executemany("delete from audit_names where id = ?", gone)
        self._anchor()
        return int(count)

    def prunable(self, before: float) -> int:
        """The number of the last record that `prune` would take out; 0 where it would take none."""
        self._catch_up()
        rows = self.database.read(
            "select max(c.records) from audit_checkpoints c join audit a on a.number = c.records"
            " where c.at < ? and c.records < (select max(number) from audit)",
            (before * 1000,),
        )
        return int(rows[0][0] or 0)

    def names(self) -> dict[str, str]:
        """All names by their id."""
        self._catch_up()
        return dict(self.database.read("select id, name from audit_names"))

    def sign(self, data: bytes) -> tuple[bytes, bytes]:
        """(signature, public key) of some other paper, such as a receipt."""
        return self._key.sign(data), self._key.public_key().public_bytes_raw()

    # ---------------------------------------------------------------- verified

    def verify(self, *, anchors: Path | None = None) -> Verdict:
        """Look at everything: each record, hash, name, checkpoint and anchor.

        anchors: a copy that was kept elsewhere, which must agree too. Raises StorageError where nothing can be read.
        """
        self._catch_up()
        return _Look(self, anchors).verdict()


@dataclass
class _Look:
    """One look at the whole of it."""

    audit: Audit
    copy: Path | None
    problems: list[Problem] = field(default_factory=list)
    pruned: int = 0

    def verdict(self) -> Verdict:
        database = self.audit.database
        with database.snapshot():  # one state for all that is read
            checkpoints = [
                Checkpoint(*row) for row in database.read("select * from audit_checkpoints order by records")
            ]
            known = self._names()
            count, head = self._chain(checkpoints, known)
        self._signatures(checkpoints)
        own = self.audit.folder / "anchors.jsonl"
        self._anchors(own, checkpoints, mine=True)
        if self.copy is not None:
            self._anchors(self.copy, checkpoints, mine=False)
        key = checkpoints[-1].key.hex() if checkpoints else ""
        return Verdict(
            count,
            len(checkpoints),
            head.hex(),
            key,
            tuple(sorted(self.problems, key=lambda problem: (problem.number is None, problem.number or 0))),
            self.pruned,
        )

    def _names(self) -> set[bytes]:
        """The ids of all names. One that does not fit its id was put in place of another."""
        sql = "select cast(id as blob), cast(name as blob), salt from audit_names"
        known = set[bytes]()
        for found, name, salt in self.audit.database.read(sql):
            if _id_of(name, salt).encode() != found:
                text = f"a name was changed: {found.decode('ascii', 'replace')} stands for another than it did"
                self.problems.append(Problem(None, text))
            known.add(found)
        return known

    def _chain(self, checkpoints: Sequence[Checkpoint], known: set[bytes]) -> tuple[int, bytes]:
        """Walk the records up to the first that is wrong. Returns how many there are, and the last hash that was right."""
        heads = {checkpoint.records: checkpoint.head for checkpoint in checkpoints}
        sha256, used, forgotten = hashlib.sha256, set[bytes](), set[bytes]()
        number, head = self._beginning(heads)
        signed, problem = number, None
        self.pruned = number
        for at, record, digest in self.audit.rows():
            number += 1
            if at != number:
                problem = Problem(
                    min(at, number), f"record {number if at > number else at} is {'missing' if at > number else 'new'}"
                )
                break
            head = sha256(head + record).digest()
            if head != digest:
                problem = Problem(number, f"record {number} is not as it was written")
                break
            if number in heads:
                if heads[number] != head:
                    which = (
                        f"record {number}" if number == signed + 1 else f"one of the records {signed + 1} to {number}"
                    )
                    problem = Problem(signed + 1, f"{which} is not the one that was signed")
                    break
                signed = number
            used.update(_ids(record))
            if b'"kind":"subject.erased"' in record:
                forgotten |= _forgotten(record)
        last = checkpoints[-1].records if checkpoints else 0
        if problem is None and number < last:
            problem = Problem(number + 1, f"records {number + 1} to {last} are missing at the end")
        elif problem is None and number > signed:
            problem = Problem(signed + 1, f"record {signed + 1} and what follows it were never signed")
        elif problem is None and (lost := used - known - forgotten - {NOBODY.encode()}):
            problem = Problem(None, f"{len(lost)} names were taken out, and no record says that they were erased")
        if problem is not None:
            self.problems.append(problem)
        return self.audit.database.read("select count(*) from audit")[0][0], head

    def _beginning(self, heads: Mapping[int, bytes]) -> tuple[int, bytes]:
        """Where the chain begins: at its first record, or at a checkpoint of which a record says that those before it were
        taken out. That record is in the chain, and signed: nobody else can have written it."""
        rows = self.audit.database.read("select min(number) from audit")
        before = (rows[0][0] or 1) - 1
        for (record,) in self.audit.database.read(
            """select cast(record as blob) from audit where record like '%"kind":"audit.pruned"%'"""
        ):
            facts = orjson.loads(record)["facts"]
            if before and facts.get("records") == before and heads.get(before, b"").hex() == facts.get("head"):
                return before, heads[before]
        return 0, GENESIS

    def _signatures(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Each digest covers the checkpoint before, so the last signature of a key is worth those before it."""
        before: Checkpoint | None = None
        for n, checkpoint in enumerate(checkpoints):
            first = before.records + 1 if before else 1
            if checkpoint.digest != _digest(before, checkpoint):
                self.problems.append(Problem(first, f"the checkpoint at record {checkpoint.records} was changed"))
                return
            if before and before.key != checkpoint.key:
                self.problems.append(Problem(first, f"another key signs from record {first} on"))
            last_of_key = n + 1 == len(checkpoints) or checkpoints[n + 1].key != checkpoint.key
            if last_of_key and not _signed_by(checkpoint):
                text = f"the signature at record {checkpoint.records} is wrong"
                self.problems.append(Problem(first, text))
            before = checkpoint
        if before is None:
            return
        path = self.audit.folder / "key.pem"
        if not path.is_file():
            self.problems.append(
                Problem(None, f"{path} is missing: nobody can tell whether it was this key that signed")
            )
        elif _public_key(path) != before.key:
            self.problems.append(Problem(before.records, f"the last checkpoint was not signed with {path}"))

    def _anchors(self, path: Path, checkpoints: Sequence[Checkpoint], *, mine: bool) -> None:
        """The anchors must say what the database says. Ours may lack the last: a process may have been killed there."""
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}") from error
        if not mine and not lines:
            self.problems.append(Problem(None, f"{path} has no anchors"))
        expected = {checkpoint.records: checkpoint for checkpoint in checkpoints}
        seen = []
        for n, line in enumerate(lines, 1):
            anchored = _anchored(line)
            if anchored is None:
                self.problems.append(Problem(None, f"line {n} of {path} is damaged"))
            elif anchored not in expected:
                first = max((records for records in expected if records < anchored), default=0) + 1
                text = f"{path} knows a checkpoint at record {anchored}, which the database does not have"
                self.problems.append(Problem(first, text))
                return
            elif expected[anchored].line() != line:
                first = max((records for records in expected if records < anchored), default=0) + 1
                self.problems.append(Problem(first, f"line {n} of {path} says otherwise than the database"))
            seen.append(anchored)
        if not mine:
            return
        wanted = [checkpoint.records for checkpoint in checkpoints]
        if seen not in (wanted, wanted[:-1]) and not any(str(path) in problem.text for problem in self.problems):
            self.problems.append(Problem(None, f"{path} was cut: it has {len(seen)} of {len(wanted)} checkpoints"))


def _ids(record: bytes) -> tuple[bytes, bytes]:
    """Of the actor and the target: the first and the last of a record's values, which are in the order of their names."""
    return record[10:42], record[-34:-2]


def _forgotten(record: bytes) -> set[bytes]:
    said = orjson.loads(record)
    return {id.encode() for id in said["facts"].get("names", ())} if said["kind"] == "subject.erased" else set()  # noqa: A001


def _entry(kind: Kind, target: str, facts: Mapping[str, Fact], actor: str) -> _Entry:
    plain = {name: _plain(value) for name, value in facts.items()}
    return _Entry(time.time_ns() // 1_000_000, kind, _text(actor or who()), _text(target), plain)


def _plain(value: Fact) -> Any:
    if isinstance(value, str):
        return _text(value)[:LONGEST_FACT]
    if isinstance(value, bool | int | float):
        return value
    return [_text(one)[:LONGEST_FACT] for one in value]


def _text(value: str) -> str:
    """Half of a surrogate pair cannot be written down."""
    return value.encode("utf-8", "replace").decode()


def _name_id(w: sqlite3.Connection, name: str) -> str:
    """What stands for a name in the chain."""
    if not name:
        return NOBODY
    if found := w.execute("select id from audit_names where name = ?", (name,)).fetchone():
        return str(found[0])
    salt = secrets.token_bytes(16)
    made = _id_of(name.encode(), salt)
    w.execute("insert into audit_names values (?, ?, ?)", (made, name, salt))
    return made


def _id_of(name: bytes, salt: bytes) -> str:
    return hashlib.sha256(salt + name).hexdigest()[:32]


def _last_checkpoint(w: sqlite3.Connection) -> Checkpoint | None:
    row = w.execute("select * from audit_checkpoints order by records desc limit 1").fetchone()
    return Checkpoint(*row) if row else None


def _digest(before: Checkpoint | None, this: Checkpoint) -> bytes:
    hashed = hashlib.sha256(before.digest + before.signature if before else b"")
    hashed.update(b"%d\n%d\n" % (this.records, this.at))
    hashed.update(this.head + this.key)
    return hashed.digest()


def _signed_by(checkpoint: Checkpoint) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(checkpoint.key).verify(checkpoint.signature, SIGNED + checkpoint.digest)
    except (InvalidSignature, ValueError):
        return False
    return True


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with storage_errors(path):
        pem = path.read_bytes()
    try:
        found = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise StorageError(f"{path} is no private key", hint="put back the one that was there") from error
    if not isinstance(found, Ed25519PrivateKey):
        raise StorageError(f"{path} is not an Ed25519 key", hint="put back the one that was there")
    return found


def _public_key(path: Path) -> bytes | None:
    try:
        return _private_key(path).public_key().public_bytes_raw()
    except StorageError:
        return None


def _anchored(line: bytes) -> int | None:
    try:
        count = orjson.loads(line)["records"]
    except (ValueError, KeyError, TypeError):
        return None
    return count if type(count) is int and line.endswith(b"\n") else None


def _last_anchored(file: Any) -> int:
    """The count of the last whole line; one that a power cut left half written is taken away."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - (1 << 14)))
    tail = file.read()
    if tail and not tail.endswith(b"\n"):
        whole = tail.rfind(b"\n") + 1
        file.truncate(end - len(tail) + whole)
        tail = tail[:whole]
    counts = [count for line in tail.splitlines(keepends=True) if (count := _anchored(line)) is not None]
    return counts[-1] if counts else 0


# ---------------------------------------------------------------- until it is in the chain


class _Owner:
    """A process that writes spools: while it holds its lock, nobody else takes them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._name, self._count = folder, f"{time.time_ns()}-{secrets.token_hex(4)}", 0
        self._lock = FileLock(folder / f"{self._name}.lock", thread_local=False)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()

    def spool(self) -> _Spool:
        self._count += 1
        return _Spool(self._folder / f"{self._name}.{self._count}.spool")

    def close(self) -> None:
        self._lock.release()
        if not list(self._folder.glob(f"{self._name}.*.spool")):
            (self._folder / f"{self._name}.lock").unlink(missing_ok=True)


class _Spool:
    """Records on their way: a file of lines. All of it enters the chain in one transaction, which names it."""

    def __init__(self, path: Path) -> None:
        self.path, self.entries = path, list[_Entry]()
        with storage_errors(path):
            self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        self._size = 0

    def add(self, entry: _Entry) -> None:
        line = orjson.dumps(tuple(entry)) + b"\n"
        with storage_errors(self.path):
            written = os.write(self._file, line)
            if written < len(line):  # the disk is full: nothing of it stays
                os.ftruncate(self._file, self._size)
                raise StorageError(f"the disk is full: {self.path} was not written", hint="free some space")
        self._size += written
        self.entries.append(entry)

    def remove(self) -> str:
        os.close(self._file)
        self.path.unlink(missing_ok=True)
        return self.path.name


def _left_behind(path: Path) -> list[_Entry]:
    entries = []
    for line in path.read_bytes().splitlines():
        with suppress(ValueError, TypeError):  # the last line may be half of one
            entries.append(_Entry(*orjson.loads(line)))
    return entries
