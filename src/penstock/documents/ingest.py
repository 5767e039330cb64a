"""Building a version: what changed is read, split and embedded beside the live version; what did not is taken over.

Nobody sees any of it until the version is finished in one transaction. Interrupted at any moment, a build leaves rows
and files that no version names; the next build clears them, and finds the vectors it had made in the files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from penstock.documents import duplicates, split
from penstock.documents.catalog import Catalog, DocumentRow, PassageRow, SkippedRow, digest, now
from penstock.documents.draft import turned
from penstock.documents.layout import lay_out
from penstock.documents.reading import Skipped
from penstock.documents.segment import Entry, Segment, SegmentFolder, SegmentWriter
from penstock.errors import NotReady, PenstockError, StorageError
from penstock.text.languages import language_of
from penstock.text.sentences import sentences_of
from penstock.text.words import term_ids
from penstock.types import Document, Embedder

if TYPE_CHECKING:
    from penstock.types import Vectors

__all__ = ["Build", "Incoming", "OnlyPassages", "Progress", "Report", "Silent", "build", "turning"]

BATCH = 128  # passages embedded together
SEGMENT = 20_000  # passages written together: what an interrupted build can lose


@dataclass(frozen=True, slots=True)
class Opened:
    """A file or page, fetched: the hash of its content, and the documents in it, read as they are asked for."""

    content: bytes
    fingerprint: str
    documents: Iterable[Document | Skipped]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file or page that is new or seems to have changed. It is opened when it is its turn; None: it did not change."""

    file: str
    fingerprint: str
    open: Callable[[], Opened | None]
    source: str = ""  # its name in citations, where that is another

    @property
    def name(self) -> str:
        return self.source or self.file


@dataclass(slots=True)
class Report:
    """What a build did. Sources are named as in citations."""

    version: int | None = None
    published: bool = False
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    documents: int = 0
    passages: int = 0
    embedded: int = 0
    reused: int = 0
    twins: int = 0
    note: str = ""

    @property
    def differs(self) -> bool:
        return bool(self.added or self.changed or self.moved or self.removed)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"version": f"v{self.version}" if self.version else None}


class Progress(Protocol):
    """Told how a build gets on; drawn by the terminal and the pages."""

    def start(self, files: int) -> None: ...
    def file(self, name: str) -> None: ...
    def page(self, number: int, pages: int) -> None: ...
    def passages(self, done: int) -> None: ...


class Silent:
    """No progress is shown."""

    def start(self, files: int) -> None: ...
    def file(self, name: str) -> None: ...
    def page(self, number: int, pages: int) -> None: ...
    def passages(self, done: int) -> None: ...


@contextmanager
def turning(progress: Progress) -> Iterator[None]:
    """While files are read: their readers tell which page they are at."""
    before = turned.set(progress.page)
    try:
        yield
    finally:
        turned.reset(before)


class OnlyPassages(Silent):
    """For files that have been read already."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner

    def passages(self, done: int) -> None:
        self._inner.passages(done)


class _Read(NamedTuple):
    """A document that was read and has no rows yet."""

    file: str
    fingerprint: str
    content: bytes
    document: Document
    pieces: list[split.Piece]


class _Said(NamedTuple):
    """What a passage says: its text under its headings, since "Yes." under another heading says something else."""

    context: str
    text: str
    terms: list[int]

    @property
    def whole(self) -> str:
        return f"{self.context}\n{self.text}"


def _said(document: Document, piece: split.Piece) -> _Said:
    context = split.context_of(document.title, document.source, piece.section)
    text = document.text[piece.start : piece.end]
    return _Said(context, text, term_ids(f"{context}\n{text}", document.language))


class _Waiting(NamedTuple):
    """A passage that has its row and waits for its vectors."""

    passage: int
    document: int
    key: bytes
    language: str
    context: str
    text: str
    spans: Sequence[tuple[int, int]]
    terms: Sequence[int]
    signature: Sequence[int]


@dataclass(frozen=True, slots=True)
class Build:
    """Everything one build works with."""

    catalog: Catalog
    collection: int
    segments: SegmentFolder
    embedder: Embedder


def build(
    work: Build,
    incoming: Sequence[Incoming],
    *,
    gone: Collection[str] = (),
    progress: Progress | None = None,
    note: str = "",
) -> Report:
    """Build the next version from the live one: `incoming` files replace what they gave before, `gone` files leave.

    Returns a report whose version is finished and not yet published; its `version` is None where nothing differs.
    The caller holds the collection's lock.
    """
    progress = progress or Silent()
    catalog, collection = work.catalog, work.collection
    parent = catalog.live(collection)
    before = catalog.documents(collection, parent) if parent else []
    report = Report()
    number = catalog.begin_version(collection, work.embedder.id, split.VERSION, note)
    try:
        changing = {item.file for item in incoming} | set(gone)
        indexer = _Indexer(work, parent, before, changing, report, progress)
        progress.start(len(incoming))
        for item in incoming:
            progress.file(item.name)
            with turning(progress):
                indexer.read(item)
        indexer.flush()
        leaving = {item.file for item in incoming} - indexer.untouched | set(gone)
        staying = [row for row in before if row.file not in leaving]
        report.unchanged = len(staying)
        _describe(report, [row for row in before if row.file in leaving], indexer.documents.values())
        if not report.differs and parent and catalog.version(collection, parent).embedder == work.embedder.id:
            catalog.abandon_version(collection, number)
            indexer.note_skipped(gone)
            return report
        members = [row.id for row in staying] + list(indexer.documents)
        files, passages = indexer.segments(members)
        catalog.finish_version(collection, number, members=members, segments=files, passages=passages)
        indexer.note_skipped(gone)
        report.version, report.documents, report.passages = number, len(members), passages
        return report
    except BaseException:
        catalog.abandon_version(collection, number)
        raise


class _Indexer:
    """Turns incoming files into rows and segments."""

    def __init__(self, work: Build, parent: int | None, before: list[DocumentRow], changing: Set[str], report: Report,
                 progress: Progress) -> None:  # fmt: skip
        self.work, self.report, self.progress = work, report, progress
        self.documents: dict[int, tuple[str, bytes]] = {}  # new document -> its source, and the hash of its file
        self._parent = parent
        self._old = [work.segments[file] for file in work.catalog.segments(work.collection, parent)] if parent else []
        self._cached = [segment for segment in self._old if segment.embedder == work.embedder.id] + self._others()
        self._writer, self._new = SegmentWriter(work.embedder.id, work.embedder.dim), list[str]()
        self._read: list[_Read] = []
        self._waiting: list[_Waiting] = []
        self._bands: dict[int, int] = {}  # near-duplicate band -> passage that stands for it
        self._texts: dict[int, tuple[str, tuple[str, ...]]] = {}  # of passages: what they say, and who may read it
        self._failed: list[SkippedRow] = []
        self._seen: list[str] = []
        self.untouched: set[str] = set()  # files whose documents stay as they are
        self._files_before = {row.file for row in before}
        self._contents = {row.file: row.content for row in before}
        self._remember_bands({row.id for row in before if row.file not in changing})

    def _remember_bands(self, staying: Set[int]) -> None:
        """Passages of documents that stay can stand for new ones. One that leaves cannot, or an edit would not be indexed."""
        twins = self.work.catalog.twins(self.work.collection, self._parent) if self._parent else []
        standing = {twin.twin for twin in twins if twin.document in staying}
        for segment in self._old:
            rows = zip(segment.signature.tolist(), segment.passage.tolist(), segment.document.tolist(), strict=True)
            for bands, passage, document in rows:
                if document in staying or passage in standing:
                    for band in bands:
                        self._bands.setdefault(band, passage)

    def _others(self) -> list[Segment]:
        """Segments of the collection's other versions, and those that an interrupted build left: their vectors are as good."""
        held = {segment.path.name for segment in self._old}
        found = []
        for name in self.work.segments.names():
            with suppress(StorageError):  # damaged: its vectors are made anew
                if name not in held and (segment := self.work.segments[name]).embedder == self.work.embedder.id:
                    found.append(segment)
        return found

    # ------------------------------------------------------------ reading

    def read(self, item: Incoming) -> None:
        """Read one file; what cannot be read is noted and does not stop the others."""
        self._seen.append(item.file)
        for found in self._documents(item):
            if isinstance(found, Skipped):
                self._skip(item, found)
            else:
                self._read.append(found)
                if sum(len(read.pieces) for read in self._read) >= BATCH:
                    self.flush()

    def _documents(self, item: Incoming) -> Iterator[_Read | Skipped]:
        """What is in a file, cut into passages. Here a file's troubles end: libraries fail in ways of their own."""
        try:
            opened = item.open()
            if opened is None or self._contents.get(item.file) == opened.content:
                if opened:
                    self.work.catalog.touch(self.work.collection, item.file, opened.fingerprint)
                self.untouched.add(item.file)
                return
            for found in opened.documents:
                if isinstance(found, Skipped):
                    yield found
                    continue
                document = _whole_characters(found)
                document = replace(document, language=document.language or language_of(document.text))
                if pieces := split.split(document):
                    yield _Read(item.file, opened.fingerprint, opened.content, document, pieces)
        except (StorageError, NotReady):
            raise  # ours, not the file's
        except PenstockError as error:
            if error.retryable and item.file in self._files_before:
                self.untouched.add(item.file)  # a server that is down for once takes nothing away
            yield Skipped(item.name, error.message, error.hint)
        except Exception as error:
            yield Skipped(item.name, f"'{item.name}' cannot be read: {type(error).__name__}: {error}"[:500])

    def _skip(self, item: Incoming, skipped: Skipped) -> None:
        self.report.skipped.append(skipped)
        self._failed.append(
            SkippedRow(skipped.source, item.file, item.fingerprint, skipped.reason, skipped.hint, now())
        )

    def _store(self) -> None:
        """Give what was read its rows, in one transaction. Passages that say something new then wait for their vectors."""
        passages = [_said(read.document, piece) for read in self._read for piece in read.pieces]
        signatures = iter(duplicates.signatures([said.terms for said in passages]))
        saying, catalog = iter(passages), self.work.catalog
        with catalog.database.write() as w:
            passage, rows = catalog.next_passage(w), list[PassageRow]()
            for file, fingerprint, content, document, pieces in self._read:
                row = catalog.add_document(
                    w, self.work.collection, document,
                    file=file, fingerprint=fingerprint, content=content, passages=len(pieces),
                )  # fmt: skip
                self.documents[row] = document.source, content
                for piece, said, bands in zip(pieces, saying, signatures, strict=False):
                    key = digest(said.context, said.text)
                    twin = self._twin(said.whole, bands, document.access)
                    rows.append(
                        PassageRow(
                            passage, row, piece.start, piece.end, piece.page, piece.section, said.text, key, twin
                        )
                    )
                    if twin is None:
                        self._texts[passage] = said.whole, document.access
                        for band in bands:
                            self._bands.setdefault(band, passage)
                        self._waiting.append(_Waiting(passage, row, key, document.language, said.context, said.text,
                                                      piece.sentences, said.terms, bands))  # fmt: skip
                    else:
                        self.report.twins += 1
                    passage += 1
            catalog.add_passages(w, rows)
        self._read.clear()

    def _twin(self, said: str, bands: Sequence[int], access: tuple[str, ...]) -> int | None:
        """The passage that already says this under such headings, to the same readers, if there is one.

        To other readers it stands for itself: the few words by which they differ must not score for those who may not read them.
        """
        for candidate in dict.fromkeys(self._bands[band] for band in bands if band in self._bands):
            if candidate not in self._texts:
                self._texts[candidate] = self._said_before(candidate)
            words, readers = self._texts[candidate]
            if readers == access and duplicates.same(said, words):
                return candidate
        return None

    def _said_before(self, passage: int) -> tuple[str, tuple[str, ...]]:
        row = self.work.catalog.passages([passage]).get(passage)
        if row is None:
            return "", ()
        document = self.work.catalog.documents_by_id([row.document])[row.document]
        return f"{split.context_of(document.title, document.source, row.section)}\n{row.text}", document.access

    # ------------------------------------------------------------ vectors

    def flush(self) -> None:
        """Store what was read, give its passages their vectors, and put them into the segment, so many at a time."""
        self._store()
        while self._waiting:
            self._embed(self._waiting[:BATCH])
            del self._waiting[:BATCH]
        if len(self._writer) >= SEGMENT:
            self._write_segment()

    def _embed(self, passages: Sequence[_Waiting]) -> None:
        known: dict[int, Vectors] = {}
        for waiting in passages:
            for segment in self._cached:
                row = segment.rows_by_key.get(waiting.key)
                if row is not None and int(segment.sentence_at[row + 1] - segment.sentence_at[row]) == len(
                    waiting.spans
                ):
                    known[waiting.passage] = segment.parts(row)
                    break
        fresh = [waiting for waiting in passages if waiting.passage not in known]
        vectors = self.work.embedder.embed_parts([_embedded(waiting) for waiting in fresh])
        known |= {waiting.passage: rows for waiting, rows in zip(fresh, vectors, strict=True)}
        for w in passages:
            self._writer.add(
                Entry(w.passage, w.document, w.key, w.language, w.terms, known[w.passage], w.spans, w.signature)
            )
        self.report.embedded += len(fresh)
        self.report.reused += len(passages) - len(fresh)
        self.progress.passages(len(passages))

    def _write_segment(self) -> None:
        if len(self._writer):
            self._new.append(self._writer.write(self.work.segments.path, self.work.segments.encryption))
            self._writer = SegmentWriter(self.work.embedder.id, self.work.embedder.dim)

    # ------------------------------------------------------------ segments of the finished version

    def segments(self, members: Sequence[int]) -> tuple[list[str], int]:
        """The version's segment files, few and in order, and how many passages they serve."""
        if self._parent and any(segment.embedder != self.work.embedder.id for segment in self._old):
            self._embed_again(set(members))
        self._write_segment()
        standing = [twin.twin for twin in self.work.catalog.standing(members)]
        kept = [segment for segment in self._old if segment.embedder == self.work.embedder.id]
        new = [self.work.segments[file] for file in self._new]
        return lay_out(self.work.segments, [*kept, *new], members, standing)

    def _embed_again(self, members: Set[int]) -> None:
        """Another embedder than the parent's: what stays gets new vectors, in its own place in the index."""
        catalog = self.work.catalog
        twins: dict[int, list[int]] = {}  # passage that stands for others -> those of them that stay
        for twin in catalog.standing(members):
            twins.setdefault(twin.twin, []).append(twin.passage)
        for segment in self._old:
            if segment.embedder == self.work.embedder.id:
                continue
            slots = list(zip(segment.passage.tolist(), segment.document.tolist(), strict=True))
            speaking = {  # whose words are embedded: its own, or those of one that says the same
                passage: passage if document in members else twins[passage][0]
                for passage, document in slots
                if document in members or passage in twins
            }
            rows = catalog.passages(list(speaking.values()))
            documents = catalog.documents_by_id(sorted({row.document for row in rows.values()}))
            for place, (passage, document) in enumerate(slots):
                if passage not in speaking:
                    continue
                row = rows[speaking[passage]]
                owner = documents[row.document]
                context = split.context_of(owner.title, owner.source, row.section)
                terms = term_ids(f"{context}\n{row.text}", owner.language)
                spans = segment.sentence_span[segment.sentence_at[place] : segment.sentence_at[place + 1]].tolist()
                if row.id != passage:
                    spans = sentences_of(row.text, owner.language)
                self._waiting.append(_Waiting(passage, document, row.key, owner.language, context, row.text, spans, terms,
                                              segment.signature[place].tolist()))  # fmt: skip
                if len(self._waiting) >= BATCH:
                    self.flush()
        self.flush()

    def note_skipped(self, gone: Iterable[str]) -> None:
        """What could not be read this time; what was said of these files before no longer holds."""
        self.work.catalog.set_skipped(self.work.collection, gone={*gone, *self._seen}, found=self._failed)


def _embedded(waiting: _Waiting) -> tuple[str, Sequence[tuple[int, int]]]:
    """What the embedder reads: the passage under its headings, and where its sentences are in that."""
    if not waiting.context:
        return waiting.text, waiting.spans
    shift = len(waiting.context) + 1
    return f"{waiting.context}\n{waiting.text}", [(a + shift, b + shift) for a, b in waiting.spans]


def _describe(report: Report, left: list[DocumentRow], new: Iterable[tuple[str, bytes]]) -> None:
    """Fill in what was added, changed, moved and removed, by source: a file that left and came back elsewhere was moved."""
    old, arrived = {row.source: row.content for row in left}, dict(new)
    gone: dict[bytes, list[str]] = {}
    for source, content in sorted(old.items()):
        if source not in arrived:
            gone.setdefault(content, []).append(source)
    for source, content in sorted(arrived.items()):
        if source in old:
            report.changed.append(source)
        elif gone.get(content):
            report.moved.append(f"{gone[content].pop(0)} -> {source}")
        else:
            report.added.append(source)
    report.removed = sorted(source for sources in gone.values() for source in sources)


def _whole_characters(document: Document) -> Document:
    """Half of a surrogate pair, as some JSON holds, cannot be stored: it becomes a question mark, and offsets stay."""

    def clean(value: Any) -> Any:
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value

    return replace(
        document,
        text=clean(document.text),
        title=clean(document.title),
        source=clean(document.source),
        date=clean(document.date),
        tags=tuple(map(clean, document.tags)),
        metadata={clean(name): clean(value) for name, value in document.metadata.items()},
    )
