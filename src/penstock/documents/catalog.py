"""The catalog: collections, documents, passages and versions, in SQLite. All the SQL of this part is here.

A version is a number within its collection. A document belongs to the versions from `first` up to, not including,
`past`; rows never change once written and no number is given twice, so a version reads the same for as long as it is
kept, and who holds one that was dropped misses rows but never reads others.

With encryption what documents say is sealed: texts, passages, titles, headings, tags, metadata, why a file was skipped, and the
hashes of all that. What a search is narrowed by stays readable: sources, file names, languages, dates, access lists, sizes.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from penstock.errors import NotFound, StorageError
from penstock.storage.database import Database
from penstock.storage.envelope import SEALED, TEXT_MARK, Encryption
from penstock.types import Document, Metadata

__all__ = ["Catalog", "DocumentRow", "PassageRow", "SkippedRow", "TwinRow", "VersionRow", "digest", "now"]

MIGRATIONS = [
    """
    create table collections (
        id integer primary key autoincrement, name text not null unique, live integer, created text not null,
        shared integer not null default 0) strict;
    create table places (
        collection integer not null references collections on delete cascade, path text not null,
        primary key (collection, path)) strict;
    create table texts (hash blob primary key, body blob not null) strict;
    create table documents (
        id integer primary key autoincrement, collection integer not null references collections on delete cascade,
        source text not null, file text not null, fingerprint text not null, content blob not null,
        text_hash blob not null, title text not null, media_type text not null, language text not null,
        date text not null, tags text not null, metadata text not null, access text not null,
        characters integer not null, passages integer not null, added text not null) strict;
    create index documents_by_source on documents (collection, source);
    create index documents_by_text on documents (text_hash);
    create table passages (
        id integer primary key autoincrement, document integer not null references documents on delete cascade,
        start integer not null, stop integer not null, page integer not null, section text not null,
        text text not null, key blob not null, twin integer) strict;
    create index passages_by_document on passages (document);
    create index passages_by_twin on passages (twin) where twin is not null;
    create table versions (
        id integer primary key, collection integer not null references collections on delete cascade,
        number integer not null, parent integer, state text not null, embedder text not null, splitter text not null,
        created text not null, published text, documents integer not null default 0,
        passages integer not null default 0, note text not null default '', golden text, unique (collection, number)) strict;
    create table memberships (
        document integer not null references documents on delete cascade, first integer not null, past integer,
        primary key (document, first)) strict;
    create table version_segments (
        version integer not null references versions on delete cascade, place integer not null,
        file text not null, primary key (version, place)) strict;
    create table skipped (
        collection integer not null references collections on delete cascade, source text not null, file text not null,
        fingerprint text not null, reason text not null, hint text not null, seen text not null,
        primary key (collection, source)) strict;
    create table publications (
        id integer primary key, collection integer not null references collections on delete cascade,
        number integer not null, at text not null) strict
    """,
    """
    create table golden (
        collection integer not null references collections on delete cascade, id text not null, body text not null,
        added text not null, primary key (collection, id)) strict
    """,
]


@dataclass(frozen=True, slots=True)
class DocumentRow:
    id: int
    source: str
    file: str  # the file or address it was read from; the same for all documents of one archive
    fingerprint: str  # what changes when the file does, without reading it
    content: bytes  # hash of the file
    title: str
    media_type: str
    language: str
    date: str
    tags: tuple[str, ...]
    metadata: Metadata
    access: tuple[str, ...]
    characters: int
    passages: int
    added: str
    ruled: tuple[str, ...] = ()  # whom the rules let in as they are now, where that is not what `access` says


@dataclass(frozen=True, slots=True)
class PassageRow:
    id: int
    document: int
    start: int
    end: int
    page: int
    section: tuple[str, ...]
    text: str
    key: bytes  # hash of what was embedded
    twin: int | None  # the passage that stands for this one in the index, because it says the same


@dataclass(frozen=True, slots=True)
class TwinRow:
    passage: int
    twin: int
    document: int


@dataclass(frozen=True, slots=True)
class VersionRow:
    """state: building, ready, refused (worse than the live one). `live` and `label` are for showing."""

    number: int
    parent: int | None
    state: str
    embedder: str
    splitter: str
    created: str
    published: str | None
    documents: int
    passages: int
    note: str
    live: bool

    @property
    def name(self) -> str:
        return f"v{self.number}"


@dataclass(frozen=True, slots=True)
class SkippedRow:
    source: str
    file: str
    fingerprint: str
    reason: str
    hint: str
    seen: str


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def digest(*parts: str | bytes) -> bytes:
    """16 bytes that stand for the content."""
    hashed = blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hashed.update(len(data).to_bytes(8, "little"))
        hashed.update(data)
    return hashed.digest()


class Catalog:
    """Typed access to the tables. Methods that take a connection are steps of a caller's transaction."""

    def __init__(self, database: Database, encryption: Encryption | None = None) -> None:
        self.database, self.encryption = database, encryption
        database.migrate("documents", MIGRATIONS)

    # ------------------------------------------------------------ collections

    def collection(self, name: str) -> int | None:
        rows = self.database.read("select id from collections where name = ?", (name,))
        return int(rows[0][0]) if rows else None

    def create(self, name: str, *, shared: bool) -> int:
        """Make a collection, or share one that is there. One that is not shared is for the person at this machine."""
        with self.database.write() as w:
            w.execute("insert or ignore into collections (name, created) values (?, ?)", (name, now()))
            if shared:
                w.execute("update collections set shared = 1 where name = ?", (name,))
            return int(w.execute("select id from collections where name = ?", (name,)).fetchone()[0])

    def shared(self) -> set[str]:
        return {name for (name,) in self.database.read("select name from collections where shared")}

    def names(self) -> list[str]:
        return [name for (name,) in self.database.read("select name from collections order by name")]

    def remove_collection(self, w: sqlite3.Connection, collection: int) -> None:
        w.execute("delete from collections where id = ?", (collection,))
        _drop_texts(w)

    def places(self, collection: int) -> list[str]:
        rows = self.database.read("select path from places where collection = ? order by rowid", (collection,))
        return [path for (path,) in rows]

    def add_place(self, collection: int, path: str) -> None:
        with self.database.write() as w:
            w.execute("insert or ignore into places values (?, ?)", (collection, path))

    def remove_place(self, collection: int, path: str) -> bool:
        with self.database.write() as w:
            return w.execute("delete from places where collection = ? and path = ?", (collection, path)).rowcount > 0

    # ------------------------------------------------------------ versions

    def live(self, collection: int) -> int | None:
        rows = self.database.read("select live from collections where id = ?", (collection,))
        return rows[0][0] if rows else None

    def versions(self, collection: int) -> list[VersionRow]:
        rows = self.database.read(
            "select number, parent, state, embedder, splitter, v.created, published, documents, passages, note, number is live "
            "from versions v join collections c on c.id = v.collection where c.id = ? order by number",
            (collection,),
        )
        return [_version_row(row) for row in rows]

    def version(self, collection: int, number: int) -> VersionRow:
        for version in self.versions(collection):
            if version.number == number:
                return version
        raise NotFound(f"there is no version v{number}", hint="penstock docs versions")

    def begin_version(self, collection: int, embedder: str, splitter: str, note: str) -> int:
        """Start building. What an interrupted build left behind is cleared first. Returns the number."""
        if self.encryption:
            self.encryption.prepare()
        with self.database.write() as w:
            unfinished = w.execute("select id from versions where collection = ? and state = 'building'", (collection,))
            for (version,) in unfinished.fetchall():
                w.execute("delete from versions where id = ?", (version,))
            _drop_unused(w, collection)
            last = w.execute("select max(number) from versions where collection = ?", (collection,)).fetchone()[0] or 0
            number = int(last) + 1  # the newest version is always kept, so no number comes twice
            row = w.execute("select live from collections where id = ?", (collection,)).fetchone()
            if row is None:
                raise NotFound("the collection was removed meanwhile")
            live = row[0]
            w.execute(
                "insert into versions (collection, number, parent, state, embedder, splitter, created, note) "
                "values (?, ?, ?, 'building', ?, ?, ?, ?)",
                (collection, number, live, embedder, splitter, now(), note),
            )
            return number

    def finish_version(
        self,
        collection: int,
        number: int,
        *,
        members: Iterable[int],
        segments: Sequence[str],
        passages: int,
        state: str = "ready",
    ) -> None:
        """Make a built version readable, in one step: its documents and its segments."""
        wanted = set(members)
        with self.database.write() as w:
            rows = w.execute(
                "select document from memberships m join documents d on d.id = document where collection = ? and past is null",
                (collection,),
            )
            current = {document for (document,) in rows}
            w.executemany(
                "update memberships set past = ? where document = ? and past is null",
                [(number, d) for d in current - wanted],
            )
            w.executemany(
                "insert into memberships (document, first) values (?, ?)", [(d, number) for d in wanted - current]
            )
            version = w.execute(
                "select id from versions where collection = ? and number = ?", (collection, number)
            ).fetchone()[0]
            w.executemany(
                "insert into version_segments values (?, ?, ?)",
                [(version, place, file) for place, file in enumerate(segments)],
            )
            w.execute(
                "update versions set state = ?, documents = ?, passages = ? where id = ?",
                (state, len(wanted), passages, version),
            )

    def abandon_version(self, collection: int, number: int) -> None:
        with self.database.write() as w:
            w.execute("delete from versions where collection = ? and number = ?", (collection, number))
            _drop_unused(w, collection)

    def refuse_version(self, collection: int, number: int, note: str) -> None:
        """Keep a version for looking at, unpublished. Only the last one that was refused is kept."""
        with self.database.write() as w:
            w.execute(
                "delete from versions where collection = ? and state = 'refused' and number != "
                "(select live from collections where id = versions.collection)",
                (collection,),
            )
            _drop_unused(w, collection)
            w.execute(
                "update versions set state = 'refused', note = ? where collection = ? and number = ?",
                (note, collection, number),
            )

    def set_golden(
        self, collection: int, number: int, asked: str, recall_at_5: float, ndcg_at_10: float, ranks: Mapping[str, int]
    ) -> None:
        """Keep how a version answered some golden questions. asked: stands for the questions; ranks: by the id of each."""
        with self.database.write() as w:
            w.execute(
                "update versions set golden = ? where collection = ? and number = ?",
                (_json([asked, recall_at_5, ndcg_at_10, dict(ranks)]), collection, number),
            )

    def golden(self, collection: int, number: int, asked: str) -> tuple[float, float] | None:
        """(recall@5, nDCG@10) that a version had on these questions, if it was asked them."""
        rows = self.database.read(
            "select golden from versions where collection = ? and number = ?", (collection, number)
        )
        if not rows or not rows[0][0]:
            return None
        known, recall, ndcg, *_ = json.loads(rows[0][0])
        return (recall, ndcg) if known == asked else None

    def golden_ranks(self, collection: int) -> dict[int, dict[str, int]]:
        """Of each version that was asked golden questions, where the first right passage stood, by the id of the question."""
        rows = self.database.read(
            "select number, golden from versions where collection = ? and golden is not null", (collection,)
        )
        return {number: ranks for number, said in rows for ranks in json.loads(said)[3:4]}

    def questions(self, collection: int) -> dict[str, list[str]]:
        """The golden questions that were added, by id, the earliest first: question, source, contains, lang."""
        rows = self.database.read("select id, body from golden where collection = ? order by rowid", (collection,))
        return {
            name: json.loads(self._key().opened(body, aad=name.encode()) if body.startswith(TEXT_MARK) else body)
            for name, body in rows
        }

    def add_question(self, w: sqlite3.Connection, collection: int, name: str, said: Sequence[str]) -> None:
        body = _json(list(said))
        if self.encryption:
            body = self.encryption.sealed(body, aad=name.encode())
        w.execute("insert or ignore into golden values (?, ?, ?, ?)", (collection, name, body, now()))

    def remove_question(self, w: sqlite3.Connection, collection: int, name: str) -> None:
        w.execute("delete from golden where collection = ? and id = ?", (collection, name))

    def publish(self, w: sqlite3.Connection, collection: int, number: int) -> None:
        """Make a version the live one. This single row is the switch."""
        found = w.execute(
            "select state from versions where collection = ? and number = ?", (collection, number)
        ).fetchone()
        if not found or found[0] == "building":
            raise NotFound(f"there is no finished version v{number}", hint="penstock docs versions")
        w.execute("update collections set live = ? where id = ?", (number, collection))
        w.execute("update versions set published = ? where collection = ? and number = ?", (now(), collection, number))
        w.execute("insert into publications (collection, number, at) values (?, ?, ?)", (collection, number, now()))

    def previous(self, collection: int) -> int | None:
        """The version that was live before the present one and is still kept."""
        rows = self.database.read(
            "select p.number from publications p join collections c on c.id = p.collection "
            "join versions v on v.collection = p.collection and v.number = p.number "
            "where c.id = ? and p.number is not c.live order by p.id desc limit 1",
            (collection,),
        )
        return rows[0][0] if rows else None

    def keep_versions(self, collection: int, keep: int) -> None:
        """Drop the oldest versions beyond `keep`; the live one and the newest always stay."""
        with self.database.write() as w:
            live = w.execute("select live from collections where id = ?", (collection,)).fetchone()[0]
            rows = w.execute(
                "select number from versions where collection = ? and state != 'building' order by number desc",
                (collection,),
            )
            numbers = [number for (number,) in rows]
            for number in numbers[max(keep, 1) :]:
                if number != live:
                    w.execute("delete from versions where collection = ? and number = ?", (collection, number))
            _drop_unused(w, collection)

    def segments(self, collection: int, number: int) -> list[str]:
        """The files of a version, in order."""
        rows = self.database.read(
            "select file from version_segments s join versions v on v.id = s.version "
            "where v.collection = ? and v.number = ? order by place",
            (collection, number),
        )
        return [file for (file,) in rows]

    def segment_files(self, collection: int) -> set[str]:
        """Every file that some kept version of a collection reads."""
        rows = self.database.read(
            "select distinct file from version_segments s join versions v on v.id = s.version where collection = ?",
            (collection,),
        )
        return {file for (file,) in rows}

    def all_segment_files(self) -> list[tuple[int, str]]:
        """(collection, file) of every file that some kept version reads."""
        return self.database.read(
            "select distinct collection, file from version_segments s join versions v on v.id = s.version order by 1, 2"
        )

    # ------------------------------------------------------------ documents and passages

    def add_document(self, w: sqlite3.Connection, collection: int, document: Document, *, file: str, fingerprint: str,
                     content: bytes, passages: int) -> int:  # fmt: skip
        """Returns the new row's id. It is seen by nobody until a finished version holds it."""
        text_hash, body = digest(document.text), zlib.compress(document.text.encode(), 3)
        title, tags, metadata = document.title, _json(document.tags), _json(dict(document.metadata))
        if self.encryption:
            text_hash = self.encryption.digest(text_hash)
            body = self.encryption.seal(body, aad=text_hash)
            metadata = self.encryption.sealed(
                _json([title, tags, metadata, content.hex()]), aad=document.source.encode()
            )
            title, tags, content = "", "[]", b""
        w.execute("insert or ignore into texts values (?, ?)", (text_hash, body))
        cursor = w.execute(
            "insert into documents (collection, source, file, fingerprint, content, text_hash, title, media_type, language, date, "
            "tags, metadata, access, characters, passages, added) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                collection, document.source, file, fingerprint, content, text_hash, title, document.media_type,
                document.language, document.date, tags, metadata, _json(document.access),
                len(document.text), passages, now(),
            ),
        )  # fmt: skip
        return int(cursor.lastrowid or 0)

    def next_passage(self, w: sqlite3.Connection) -> int:
        """The number that the next passage gets; nobody else can take it before this transaction ends."""
        row = w.execute("select seq from sqlite_sequence where name = 'passages'").fetchone()
        return int(row[0]) + 1 if row else 1

    def add_passages(self, w: sqlite3.Connection, passages: Iterable[PassageRow]) -> None:
        w.executemany(
            "insert into passages (id, document, start, stop, page, section, text, key, twin) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            map(self._passage_values, passages),
        )

    def touch(self, collection: int, file: str, fingerprint: str) -> None:
        """A file was written again with the same content."""
        with self.database.write() as w:
            w.execute(
                "update documents set fingerprint = ? where collection = ? and file = ?",
                (fingerprint, collection, file),
            )

    def documents(self, collection: int, number: int | None) -> list[DocumentRow]:
        """The documents of a version, by source."""
        rows = self.database.read(
            f"select {_DOCUMENT} from documents d join memberships m on m.document = d.id "  # noqa: S608  constant columns
            "where collection = ? and first <= ? and (past is null or past > ?) order by source",
            (collection, number, number),
        )
        return [self._document_row(row) for row in rows]

    def document(self, collection: int, document: int) -> DocumentRow | None:
        """A document of the live version."""
        rows = self.database.read(
            f"select {_DOCUMENT} from documents d join collections c on c.id = d.collection "  # noqa: S608  constant columns
            "join memberships m on m.document = d.id where c.id = ? and d.id = ? "
            "and first <= live and (past is null or past > live)",
            (collection, document),
        )
        return self._document_row(rows[0]) if rows else None

    def documents_by_id(self, ids: Sequence[int]) -> dict[int, DocumentRow]:
        found: dict[int, DocumentRow] = {}
        for some in _batches(ids):
            marks = ",".join("?" * len(some))
            rows = self.database.read(f"select {_DOCUMENT} from documents d where id in ({marks})", some)  # noqa: S608
            found |= {row[0]: self._document_row(row) for row in rows}
        return found

    def text(self, document: int) -> str:
        rows = self.database.read(
            "select body, hash from texts t join documents d on d.text_hash = t.hash where d.id = ?", (document,)
        )
        if not rows:
            raise NotFound(f"there is no document {document}")
        body, text_hash = rows[0]
        if body[:1] == SEALED:  # what zlib writes begins otherwise
            body = self._key().open(body, aad=text_hash)
        return zlib.decompress(body).decode()

    def passages(self, ids: Sequence[int]) -> dict[int, PassageRow]:
        return {row.id: row for row in self._passages("id", ids)}

    def passages_of(self, documents: Sequence[int]) -> list[PassageRow]:
        return self._passages("document", documents)

    def twins(self, collection: int, number: int) -> list[TwinRow]:
        """The passages of a version that others stand for in the index."""
        rows = self.database.read(
            "select p.id, p.twin, p.document from passages p join documents d on d.id = p.document "
            "join memberships m on m.document = d.id where p.twin is not null and collection = ? "
            "and first <= ? and (past is null or past > ?) order by p.id",
            (collection, number, number),
        )
        return [TwinRow(*row) for row in rows]

    def standing(self, documents: Collection[int]) -> list[TwinRow]:
        """The passages of some documents that others stand for in the index."""
        found: list[TwinRow] = []
        for some in _batches(sorted(documents)):
            marks = ",".join("?" * len(some))
            sql = (
                f"select id, twin, document from passages where twin is not null and document in ({marks}) order by id"  # noqa: S608
            )
            found += [TwinRow(*row) for row in self.database.read(sql, some)]
        return found

    def twins_of(self, passages: Collection[int]) -> list[TwinRow]:
        """The passages that some passages stand for in the index, of all versions."""
        found: list[TwinRow] = []
        for some in _batches(sorted(passages)):
            marks = ",".join("?" * len(some))
            sql = f"select id, twin, document from passages where twin in ({marks}) order by id"  # noqa: S608
            found += [TwinRow(*row) for row in self.database.read(sql, some)]
        return found

    def every_document(self, collection: int) -> list[DocumentRow]:
        """The documents of all versions, finished or not."""
        sql = f"select {_DOCUMENT} from documents d where collection = ? order by id"  # noqa: S608  constant columns
        rows = self.database.read(sql, (collection,))
        return [self._document_row(row) for row in rows]

    def erase(
        self,
        collection: int,
        documents: Collection[int],
        *,
        files: Mapping[str, str],
        held: Collection[str],
        added: str,
        heirs: Mapping[int, int],
    ) -> None:
        """Take documents out of all versions, in one step.

        files: segment file -> what it is without them, or "". Versions that read one of `held` read `added` from now on.
        heirs: passage that goes -> the one that stands in its place.
        """
        with self.database.write() as w:
            versions = w.execute(
                "select s.version, s.file from version_segments s join versions v on v.id = s.version where v.collection = ?",
                (collection,),
            ).fetchall()
            for version in {version for version, file in versions if file in held}:
                w.execute(
                    "insert into version_segments select ?1, max(place) + 1, ?2 from version_segments where version = ?1",
                    (version, added),
                )
            for version, file in versions:
                if file in files:
                    w.execute(
                        "update version_segments set file = ? where version = ? and file = ?",
                        (files[file], version, file),
                    )
            w.execute("delete from version_segments where file = ''")
            for passage, heir in heirs.items():
                w.execute("update passages set twin = ? where twin = ?", (heir, passage))
                w.execute("update passages set twin = null where id = ?", (heir,))
            for some in _batches(sorted(documents)):
                marks = ",".join("?" * len(some))
                w.execute(
                    f"delete from skipped where collection = ? and file in (select file from documents where id in ({marks}))",  # noqa: S608
                    (collection, *some),
                )
                w.execute(f"delete from documents where id in ({marks})", some)  # noqa: S608
            w.execute(
                "update versions set documents = (select count(*) from memberships m join documents d on d.id = m.document "
                "where d.collection = versions.collection and first <= number and (past is null or past > number)) "
                "where collection = ?",
                (collection,),
            )
            _drop_texts(w)

    def set_passages(self, collection: int, number: int, passages: int) -> None:
        """How many passages a version serves."""
        with self.database.write() as w:
            w.execute(
                "update versions set passages = ? where collection = ? and number = ?", (passages, collection, number)
            )

    def _passages(self, column: str, ids: Sequence[int]) -> list[PassageRow]:
        found: list[PassageRow] = []
        for some in _batches(ids):
            marks = ",".join("?" * len(some))
            rows = self.database.read(f"select {_PASSAGE} from passages where {column} in ({marks}) order by id", some)  # noqa: S608
            found += [self._passage_row(row) for row in rows]
        return found

    # ------------------------------------------------------------ what could not be read

    def skipped(self, collection: int) -> list[SkippedRow]:
        sql = "select source, file, fingerprint, reason, hint, seen from skipped where collection = ? order by source"
        return [self._skipped_row(row) for row in self.database.read(sql, (collection,))]

    def set_skipped(self, collection: int, *, gone: Iterable[str], found: Iterable[SkippedRow]) -> None:
        """Forget what was said of some files, and note what is so now."""
        if self.encryption:
            self.encryption.prepare()
        with self.database.write() as w:
            w.executemany(
                "delete from skipped where collection = ? and file = ?", [(collection, file) for file in gone]
            )
            w.executemany(
                "insert or replace into skipped values (?, ?, ?, ?, ?, ?, ?)",
                [(collection, s.source, s.file, s.fingerprint, *self._reason(s), s.seen) for s in found],
            )

    # ------------------------------------------------------------ sealed and opened

    def _key(self) -> Encryption:
        """Raises StorageError where something is sealed, and the settings say nothing of encryption."""
        if self.encryption is None:
            raise StorageError(
                "the documents are encrypted", hint="switch encryption on, with the keys they were written with"
            )
        return self.encryption

    def _document_row(self, row: Sequence[Any]) -> DocumentRow:
        content, title, tags, metadata = row[4], row[5], row[9], row[10]
        if metadata.startswith(TEXT_MARK):  # otherwise it is JSON
            opened = self._key().opened(metadata, aad=row[1].encode())
            title, tags, metadata, content = json.loads(opened)
            content = bytes.fromhex(content)
        access = tuple(json.loads(row[11]))
        given = [*row[:4], content, title, *row[6:9], tuple(json.loads(tags)), json.loads(metadata), access, *row[12:]]
        return DocumentRow(*given)

    def _passage_values(self, p: PassageRow) -> tuple[Any, ...]:
        section, text, key = _section(p.section), p.text, p.key
        if self.encryption:
            text = self.encryption.sealed(_json([section, text, key.hex()]), aad=b"passage %d" % p.id)
            section, key = SEALED_SECTION, b""
        return p.id, p.document, p.start, p.end, p.page, section, text, key, p.twin

    def _passage_row(self, row: Sequence[Any]) -> PassageRow:
        section, text, key = row[5:8]
        if section == SEALED_SECTION:  # otherwise it is JSON
            section, text, key = json.loads(self._key().opened(text, aad=b"passage %d" % row[0]))
            key = bytes.fromhex(key)
        return PassageRow(*[*row[:5], tuple(json.loads(section)), text, key, row[8]])

    def _reason(self, skipped: SkippedRow) -> tuple[str, str]:
        if self.encryption is None:
            return skipped.reason, skipped.hint
        sealed = self.encryption.sealed(_json([skipped.reason, skipped.hint]), aad=skipped.source.encode())
        return sealed, ""

    def _skipped_row(self, row: Sequence[Any]) -> SkippedRow:
        source, file, fingerprint, reason, hint, seen = row
        if reason.startswith(TEXT_MARK):
            reason, hint = json.loads(self._key().opened(reason, aad=source.encode()))
        return SkippedRow(source, file, fingerprint, reason, hint, seen)


SEALED_SECTION = "sealed"
_DOCUMENT = (
    "d.id, d.source, d.file, d.fingerprint, d.content, d.title, d.media_type, d.language, d.date, d.tags, d.metadata, d.access, "
    "d.characters, d.passages, d.added"
)
_PASSAGE = "id, document, start, stop, page, section, text, key, twin"


def _version_row(row: Sequence[Any]) -> VersionRow:
    return VersionRow(*[*row[:-1], bool(row[-1])])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@lru_cache(maxsize=256)  # neighbours stand under the same headings
def _section(section: tuple[str, ...]) -> str:
    return _json(section)


def _batches(ids: Sequence[int], size: int = 900) -> Iterable[list[int]]:
    return (list(map(int, ids[n : n + size])) for n in range(0, len(ids), size))


def _drop_unused(w: sqlite3.Connection, collection: int) -> None:
    """Forget documents that no version holds, with their passages and texts."""
    w.execute(
        "delete from documents where collection = ?1 and not exists (select 1 from memberships m join versions v "
        "on v.collection = ?1 and v.state != 'building' and m.first <= v.number and (m.past is null or m.past > v.number) "
        "where m.document = documents.id)",
        (collection,),
    )
    _drop_texts(w)


def _drop_texts(w: sqlite3.Connection) -> None:
    w.execute("delete from texts where not exists (select 1 from documents where text_hash = texts.hash)")
