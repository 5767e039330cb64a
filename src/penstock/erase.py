"""Erasing a person, or documents, from a home folder: everything that says who they are, with a signed receipt.

The receipt and the audit trail hold no name: the subject is a digest that whoever knows the name can check.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
import secrets
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from penstock.assemble import House
from penstock.config import iso
from penstock.documents.erasing import erase as erase_documents
from penstock.errors import BadRequest, Conflict, StorageError
from penstock.evaluate.arms import digests_in
from penstock.storage.database import Database
from penstock.storage.files import new_file, storage_errors
from penstock.types import new_id

__all__ = ["Eraser", "Mention", "Plan", "Subject", "carry_out", "check_receipt", "plan"]

Eraser = Callable[[Sequence[str]], int]  # told all names of the subject; returns how many things it removed

SHORTEST = 3  # characters: what is shorter is in every second text
PATTERN = "source:"
PATIENCE_S = 10.0  # for other processes to let go of the database
BINARY = (".arrays", ".hnsw")  # numbers alone, in which a short name stands by chance
LEAST_IN_BINARY = 6  # bytes
NOT_TOUCHED = (
    "backups", "files outside of the home folder", "penstock.toml", "models that were pulled",
    "what providers keep", "what running processes have in memory",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """Whom, or what, to erase: the names of one person, or a pattern of sources."""

    names: tuple[str, ...]
    pattern: str = ""

    @classmethod
    def of(cls, text: str, also: Sequence[str] = ()) -> Subject:
        """A subject as it is typed. Raises BadRequest for what is too short to be told from other words."""
        if text.startswith(PATTERN) and len(text) > len(PATTERN):
            return cls(tuple(also), text.removeprefix(PATTERN))
        names = tuple(dict.fromkeys(" ".join(name.split()) for name in (text, *also)))
        for name in names:
            if len(name) < SHORTEST:
                raise BadRequest(
                    f"'{name}' is too short: it would be found in other words", hint="a full name, an e-mail"
                )
        return cls(names)

    @cached_property
    def _wanted(self) -> re.Pattern[str] | None:
        names = [_plain(name) for name in self.names]
        return re.compile("|".join(map(_bounded, names))) if names else None

    def mentioned_in(self, *texts: str) -> bool:
        """Whether a name stands in one of the texts, as a whole word, in whatever case and spacing."""
        wanted = self._wanted
        return wanted is not None and any(wanted.search(_plain(text)) for text in texts)

    def fits(self, source: str) -> bool:
        """Whether the pattern is of this source."""
        return bool(self.pattern) and fnmatchcase(source, self.pattern)

    @property
    def text(self) -> str:
        return "\n".join([*self.names, *([PATTERN + self.pattern] if self.pattern else [])])


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _bounded(name: str) -> str:
    """A pattern for a whole word; scripts without spaces between words have none to look for."""
    start = r"(?<!\w)" if _has_words(name[0]) else ""
    end = r"(?!\w)" if _has_words(name[-1]) else ""
    return start + re.escape(name) + end


def _has_words(letter: str) -> bool:
    unspaced = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR")
    return bool(re.match(r"\w", letter)) and not unicodedata.name(letter, "").startswith(unspaced)


class Mention(NamedTuple):
    """A document in which the subject stands."""

    collection: str
    document: int
    source: str
    file: str
    ours: bool  # the file is an upload, and goes with it


@dataclass(slots=True)
class Plan:
    """What would be erased, and what would be left. Counts are of rows and files."""

    subject: Subject
    documents: list[Mention] = field(default_factory=list)
    requests: int = 0
    budgets: int = 0
    files: int = 0
    batches: int = 0
    reviews: int = 0
    evaluations: int = 0
    conversations: int = 0
    actions: int = 0
    talks: int = 0
    messages: int = 0
    names: list[str] = field(default_factory=list)  # in the audit trail
    by_name: list[str] = field(default_factory=list)  # what is called so, and has to be renamed or removed by hand

    def counts(self) -> dict[str, int]:
        return {
            "documents": len(self.documents), "requests": self.requests, "budgets": self.budgets, "files": self.files,
            "batches": self.batches, "names": len(self.names),
            **({"reviews": self.reviews} if self.reviews else {}),
            **({"evaluations": self.evaluations} if self.evaluations else {}),
            **({"conversations": self.conversations} if self.conversations else {}),
            **({"actions": self.actions} if self.actions else {}),
            **({"talks": self.talks} if self.talks else {}),
            **({"messages": self.messages} if self.messages else {}),
        }  # fmt: skip


def plan(house: House, subject: Subject) -> Plan:
    """Look everywhere. Nothing is changed."""
    found = Plan(subject, documents=list(_mentions(house, subject)))
    database, mentioned = house.database, subject.mentioned_in
    if house.journal_tables.has("requests"):
        found.requests = len(_journal_rows(house, subject))
        counters = house.journal_tables.read("select counter from spend")
        found.budgets = sum(mentioned(counter) for (counter,) in counters)
    if _is_there(database, "batches"):
        rows = database.read("select id, owner, name from files")
        found.files = sum(mentioned(owner, name) or _is_in(house, id, subject) for id, owner, name in rows)  # noqa: A001
        found.batches = sum(mentioned(*row) for row in database.read("select owner, metadata, problems from batches"))
        found.batches += sum(mentioned(_text(row)) for (row,) in database.read("select result from batch_results"))
    if _is_there(database, "review_items"):
        found.reviews = house.review.store.mentions(mentioned)
    found.evaluations = house.runs.mentions(mentioned)
    if _is_there(database, "conversations"):
        found.conversations = len(house.conversations.mentions(mentioned))
    if _is_there(database, "action_requests"):
        found.actions = len(house.actions().mentions(mentioned))
    if _is_there(database, "talks"):
        found.talks = len(house.talks.mentions(mentioned))
    if _is_there(database, "agent_messages"):
        found.messages = len(house.exchange().mentions(mentioned))
    removed = {f"{one.collection}/{one.source}" for one in found.documents}
    names = house.library.audit.names().values()
    found.names = [name for name in names if mentioned(name) or name in removed]
    for key in house.keys.all():
        if mentioned(key.name, key.team, key.tenant, *key.roles):
            found.by_name.append(
                f"the key '{key.name}': penstock keys revoke {key.name}, then penstock keys remove {key.name}"
            )
    for name in house.library.names():
        places = [place for place in house.library[name].places() if mentioned(place)]
        found.by_name += [f"a place of '{name}': penstock docs remove {place}" for place in places]
        found.by_name += [f"the collection '{name}'"] if mentioned(name) else []
    return found


def _mentions(house: House, subject: Subject) -> Iterator[Mention]:
    if not house.has_documents:
        return
    for name in house.library.names():
        collection = house.library[name]
        catalog = collection.home.catalog
        rows = catalog.every_document(collection.number)
        wanted = {
            row.id
            for row in rows
            if subject.fits(row.source)
            or subject.mentioned_in(row.source, row.file, row.title, json.dumps([row.tags, row.metadata, row.access],
                                    ensure_ascii=False), catalog.text(row.id))
        }  # fmt: skip
        uploads = {row.file for row in rows if row.id in wanted and Path(row.file).parent == collection.uploads}
        for row in rows:
            if row.id in wanted or row.file in uploads:  # an archive goes as a whole
                yield Mention(name, row.id, row.source, row.file, row.file in uploads)


def carry_out(
    house: House, what: Plan, *, documents: bool = True, erasers: Sequence[tuple[str, Eraser]] = ()
) -> dict[str, Any]:
    """Erase, look at every file once more, and return the receipt, which is recorded in the audit trail.

    documents: whether those that mention the subject go. erasers: what else keeps something, by name. Interrupted, it can
    be run again. Raises Conflict while another process holds the database or writes a collection, and where something is
    named after the subject that only a person can rename.
    """
    if what.by_name:
        raise Conflict("something is named after the subject", hint="; ".join(what.by_name))
    subject, database, salt = what.subject, house.database, secrets.token_bytes(16)
    removed = what.documents if documents else []
    digests = [_digest(salt, f"{one.collection}/{one.source}") for one in removed]
    database.read("pragma secure_delete = on")
    by_collection: dict[str, set[int]] = {}
    for one in removed:
        by_collection.setdefault(one.collection, set()).add(one.document)
    if removed:
        house.library.catalog.database.read("pragma secure_delete = on")
    for name, numbers in by_collection.items():
        erase_documents(house.library[name], numbers)
    took_part = _experiments(house, subject)
    _erase_journal(house, subject)
    with database.write() as w:
        _erase_rows(w, subject, house)
    others = (
        *_vault(house, subject),
        *_review(house, subject),
        *_evaluations(house, subject),
        *_talks(house, subject),
        *_actions(house, subject),
        *_bots(house, subject),
        *_agents(house, subject),
        *_past(house, subject),
        *erasers,
    )
    further = {name: eraser(subject.names) for name, eraser in others} | took_part
    counts = what.counts() | {"documents": len(removed)} | further
    receipt: dict[str, Any] = {
        "receipt": new_id(),
        "at": iso(time.time()),
        "subject": {"salt": salt.hex(), "scrypt": _digest(salt, subject.text)},
        "erased": counts,
        "documents": digests,
        "left": {"documents": len(what.documents) - len(removed)},
        "not_touched": list(NOT_TOUCHED),
    }
    audit = house.library.audit
    number, digest = audit.forget(what.names, {"receipt": receipt["receipt"], **counts})
    receipt["audit"] = {"record": number, "hash": digest}
    _compact(database)
    receipt["scan"] = _scanned(house.settings.home_path, subject)
    signature, key = audit.sign(_signed(receipt))
    return receipt | {"key": key.hex(), "signature": signature.hex()}


def check_receipt(receipt: dict[str, Any], subject: Subject | None = None) -> bool:
    """Whether a receipt is as it was signed, and where a subject is given, whether it is theirs."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signature, key = bytes.fromhex(receipt["signature"]), bytes.fromhex(receipt["key"])
        unsigned = {name: value for name, value in receipt.items() if name not in ("key", "signature")}
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _signed(unsigned))
        salt = bytes.fromhex(receipt["subject"]["salt"])
        return subject is None or bool(receipt["subject"]["scrypt"] == _digest(salt, subject.text))
    except (InvalidSignature, ValueError, KeyError, TypeError):
        return False


def _signed(receipt: dict[str, Any]) -> bytes:
    return b"penstock erasure 1\n" + orjson.dumps(receipt, option=orjson.OPT_SORT_KEYS)


def _digest(salt: bytes, text: str) -> str:
    """Slow to guess: a name has far less in it than a key."""
    return hashlib.scrypt(text.encode("utf-8", "replace"), salt=salt, n=1 << 14, r=8, p=1, dklen=32).hex()


def _vault(house: House, subject: Subject) -> Iterator[tuple[str, Eraser]]:
    """What the vault keeps of them in place of which models got stand-ins, and the scopes that are called after them."""
    if not _is_there(house.database, "vault_scopes"):
        return

    def erased(names: Sequence[str]) -> int:
        count = 0
        for tenant, scope in house.database.read("select tenant, name from vault_scopes"):
            if subject.mentioned_in(scope):
                count += house.vault.erase(tenant, scope)
        for (tenant,) in house.database.read("select distinct tenant from vault_scopes"):
            count += sum(house.vault.erase_value(tenant, name) for name in names)
        return count

    yield "stand_ins", erased


def _talks(house: House, subject: Subject) -> Iterator[tuple[str, Eraser]]:
    """Their conversations on the chat page, and those of others in which they stand."""
    if _is_there(house.database, "conversations"):
        yield "conversations", lambda _: house.conversations.erase(subject.mentioned_in)


def _actions(house: House, subject: Subject) -> Iterator[tuple[str, Eraser]]:
    """What they asked apps to do, and what others asked for in which they stand. What was done stays done."""
    if _is_there(house.database, "action_requests"):
        yield "actions", lambda _: house.actions().erase(subject.mentioned_in)


def _bots(house: House, subject: Subject) -> Iterator[tuple[str, Eraser]]:
    """What they said to bots, and conversations in which they stand."""
    if _is_there(house.database, "talks"):
        yield "talks", lambda _: house.talks.erase(subject.mentioned_in)


def _agents(house: House, subject: Subject) -> Iterator[tuple[str, Eraser]]:
    """Conversations of agents in which they stand."""
    if _is_there(house.database, "agent_messages"):
        yield "messages", lambda _: house.exchange().erase(subject.mentioned_in)


def _past(house: House, subject: Subject) -> Iterator[tuple[str, Eraser]]:
    """The requests that were sealed into files, and the sums of them."""
    if house.journal_tables.has("sealed"):
        yield "sealed_requests", lambda names: house.sealed.erase(subject.mentioned_in)


def _experiments(house: House, subject: Subject) -> dict[str, int]:
    """That they take part in experiments: digests, which whoever knows the name could find while those run. Sums stay."""
    tables = house.journal_tables
    if not tables.has("ab_units"):
        return {}
    digests, persons = set[str](), set(subject.names)
    for person, answer in tables.read("select person, answer from requests where person != ''"):
        if subject.mentioned_in(person):
            persons.add(person)
            digests.update(digests_in(answer))
    return {"experiment_units": house.experiments.forget_units([f"p/{person}" for person in persons], digests)}


def _evaluations(house: House, subject: Subject) -> Iterator[tuple[str, Eraser]]:
    """Evaluations whose cases or answers say their name."""
    if _is_there(house.database, "evaluation_runs"):
        yield "evaluations", lambda _: house.runs.erase(subject.mentioned_in)


def _review(house: House, subject: Subject) -> Iterator[tuple[str, Eraser]]:
    """Their feedback, and what reviewers read and said of them. What they judged themselves stays, without their name."""
    if _is_there(house.database, "review_items"):
        yield "reviews", lambda _: house.review.store.erase(subject.mentioned_in)


# ---------------------------------------------------------------- rows

_REQUEST = "person, key, team, app, model, error, calls, guarded, answer, spans"


def _journal_rows(house: House, subject: Subject) -> list[tuple[str, dict[str, str]]]:
    """(id, columns as they are to be) of the requests that mention them. Of those that are theirs, nothing is left but numbers."""
    names = ("said", *_REQUEST.split(", "))
    found = []
    for number, *texts in house.journal_tables.read(f"select id, {', '.join(names)} from requests"):  # noqa: S608
        row = dict(zip(names, texts, strict=True))
        own = ("guarded", "calls", "error", "said") if subject.mentioned_in(row["person"]) else ()
        left = {
            name: ""
            if name in own or subject.mentioned_in(_said(house, text) if name == "said" else _text(text))
            else text
            for name, text in row.items()
        }
        if left != row:
            found.append((number, left))
    return found


def _erase_journal(house: House, subject: Subject) -> None:
    """Also where several machines share it. What was spent stays in the sums; nobody's budget is what is left of it."""
    tables = house.journal_tables
    if not tables.has("requests"):
        return
    rows = _journal_rows(house, subject)
    counters = [
        counter for (counter,) in tables.read("select distinct counter from spend") if subject.mentioned_in(counter)
    ]
    with tables.write() as w:
        for number, left in rows:
            to = ", ".join(f"{name} = ?" for name in left)
            w.execute(f"update requests set {to} where id = ?", (*left.values(), number))  # noqa: S608
        w.executemany("delete from spend where counter = ?", [(counter,) for counter in counters])


def _said(house: House, said: str) -> str:
    """The words that a row of the journal keeps; what cannot be opened any more says nothing."""
    with suppress(StorageError):
        return _text(house.texts.opened(said))
    return ""


def _erase_rows(w: sqlite3.Connection, subject: Subject, house: House) -> None:
    """Empty what says who it was. What was spent stays in the sums; nobody's budget is what is left of it."""
    w.create_function("mentioned", 1, lambda text: subject.mentioned_in(_text(text)), deterministic=True)
    tables = {name for (name,) in w.execute("select name from sqlite_master where type = 'table'")}
    if "batches" in tables:
        batches = [
            batch for (batch,) in w.execute("select id from batches where mentioned(owner) or mentioned(metadata)")
        ]
        w.executemany("delete from batch_results where batch = ?", [(batch,) for batch in batches])
        w.executemany("delete from batches where id = ?", [(batch,) for batch in batches])
        w.execute("delete from batch_results where mentioned(result)")
        w.execute("update batches set problems = '[]' where mentioned(problems)")
        for file, owner, name in w.execute("select id, owner, name from files").fetchall():
            _erase_file(w, house, file, subject, whole=subject.mentioned_in(owner, name))
    if "sessions" in tables:
        w.execute("delete from sessions where mentioned(name)")
    if "versions" in tables:
        w.execute("update versions set note = '' where mentioned(note)")
        w.execute("delete from skipped where mentioned(source) or mentioned(file) or mentioned(reason)")


def _erase_file(w: sqlite3.Connection, house: House, file: str, subject: Subject, *, whole: bool) -> None:
    """Take the lines that mention the subject out of a file that somebody keeps, or all of it."""
    path = house.files.path(file)
    with suppress(FileNotFoundError):
        lines = path.read_bytes().splitlines(keepends=True)
        left = [] if whole else [line for line in lines if not subject.mentioned_in(_text(line))]
        if len(left) == len(lines) and not whole:
            return
        if left:
            with new_file(path) as out:
                out.writelines(left)
            w.execute("update files set bytes = ? where id = ?", (sum(map(len, left)), file))
            return
        with storage_errors(path):
            path.unlink()
    w.execute("delete from files where id = ?", (file,))


def _is_in(house: House, file: str, subject: Subject) -> bool:
    with suppress(OSError):
        return any(subject.mentioned_in(_text(line)) for line in house.files.path(file).read_bytes().splitlines())
    return False


def _text(value: Any) -> str:
    """A value as text, with what JSON writes as \\u… read."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    if "\\u" in text:
        with suppress(ValueError):
            text = f"{text}\n{json.dumps(json.loads(text), ensure_ascii=False)}"
    return text


def _is_there(database: Database, table: str) -> bool:
    return bool(database.read("select 1 from sqlite_master where name = ?", (table,)))


# ---------------------------------------------------------------- what is left


def _compact(database: Database) -> None:
    """Write the database anew, without the pages that were freed, and empty its log. Raises Conflict."""
    until = time.monotonic() + PATIENCE_S
    database.read("vacuum")
    while database.read("pragma wal_checkpoint(truncate)")[0][0]:
        if time.monotonic() > until:
            raise Conflict("another process is reading the database", hint="stop the server, then run it again")
        time.sleep(0.1)


def _scanned(home: Path, subject: Subject) -> dict[str, Any]:
    """Look for every name in every file and its name, byte by byte."""
    wanted, long_ones = (
        _needles(subject.names),
        _needles([n for n in subject.names if len(n.encode()) >= LEAST_IN_BINARY]),
    )
    files = size = 0
    found = []
    for path in sorted(home.rglob("*")):
        within = path.relative_to(home)
        if within.parts[0] == "models":
            continue
        if subject.mentioned_in(path.name):
            found.append(_scrubbed(within, subject))
        if not path.is_file() or not (length := path.stat().st_size):
            continue
        files, size = files + 1, size + length
        pattern = long_ones if path.suffix in BINARY else wanted
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if pattern is not None and pattern.search(content):
                found.append(_scrubbed(within, subject))
    return {"files": files, "bytes": size, "found": found}


def _scrubbed(path: Path, subject: Subject) -> str:
    return "…/" + path.suffix if subject.mentioned_in(path.as_posix(), path.name) else path.as_posix()


def _needles(names: Sequence[str]) -> re.Pattern[bytes] | None:
    """The names as bytes: in three encodings, four spellings of case, and as JSON and addresses write them."""
    spelled = {
        way
        for name in names
        for form in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
        for way in (form, form.lower(), form.upper(), form.title(), json.dumps(form)[1:-1], quote(form))
    }
    wanted = set[bytes]()
    for way in spelled:
        plain = re.escape(way.encode("utf-8", "replace"))
        start = rb"(?<![A-Za-z0-9_])" if way[0].isalnum() and way[0].isascii() else b""
        end = rb"(?![A-Za-z0-9_])" if way[-1].isalnum() and way[-1].isascii() else b""
        wanted.add(start + plain + end)
        wanted |= {re.escape(way.encode(encoding, "replace")) for encoding in ("utf-16-le", "utf-16-be")}
    return re.compile(b"|".join(sorted(wanted, reverse=True))) if wanted else None
