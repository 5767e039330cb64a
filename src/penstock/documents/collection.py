"""One collection: asking it, listing it, and changing it by building a version and publishing it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from penstock.config import DocumentsSettings
from penstock.documents import golden, rules, split
from penstock.documents.catalog import DocumentRow, PassageRow, SkippedRow, VersionRow, digest
from penstock.documents.ingest import Build, Incoming, OnlyPassages, Opened, Progress, Report, Silent, build
from penstock.documents.reading import Limits, Skipped, read
from penstock.documents.search import Match, Snapshot, View, may_read
from penstock.documents.segment import SegmentFolder
from penstock.documents.sources import File, as_text, is_web, read_file, resolved, scan
from penstock.errors import BadRequest, Conflict, NotFound, PenstockError, StorageError, Unreadable, WorseVersion
from penstock.storage.files import new_file, storage_errors
from penstock.types import ANYBODY, Caller, Document, Filter, Found, Hit, Passage, Sentence

if TYPE_CHECKING:
    from penstock.documents.library import Library

__all__ = ["Collection", "Difference"]

PATIENCE_S = 60.0  # an upload waits for a refresh to end
ATTEMPTS = 3  # to open a version while others are published and dropped


class _Dropped(Exception):
    """The version was dropped while it was being read."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What one version says and another does not, passage by passage: (source, text)."""

    added: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...]
    same: int


class Collection:
    """One collection. `search` satisfies `Index`; everything that changes it builds a version and publishes it."""

    def __init__(self, library: Library, name: str, number: int) -> None:
        self.library, self.name, self.number = library, name, number
        self.settings = library.settings.get(name, DocumentsSettings())
        self.segments = SegmentFolder(library.home / "segments" / str(number))
        self._snapshot: Snapshot | None = None

    # ------------------------------------------------------------ asking

    def search(self, question: str, *, caller: Caller = ANYBODY, k: int = 8, where: Filter | None = None) -> Found:
        """Find the passages that may answer a question. Raises NotFound while nothing has been published."""
        for _ in range(ATTEMPTS):
            snapshot = self.snapshot()
            if not self.library.open_to(self.name, caller):
                return Found((), f"v{snapshot.number}")
            with suppress(_Dropped):
                return self.found(question, snapshot, snapshot.view(caller, where or {}), k=k)
        raise Conflict(f"'{self.name}' is changing faster than it can be read", hint="raise keep_versions")

    def found(self, question: str, snapshot: Snapshot, view: View, *, k: int) -> Found:
        """Search one version through one view."""
        matches = snapshot.search(question, self.library.embedder, view, k)
        return Found(
            hits=tuple(self._hits(snapshot, view, matches.found)),
            version=f"v{snapshot.number}",
            terms=matches.terms,
            languages=matches.languages,
            dense_weight=matches.dense_weight,
            searched=matches.searched,
            spread=matches.spread,
        )

    def snapshot(self, number: int | None = None) -> Snapshot:
        """A version, opened; the live one by default. A version that was published meanwhile is taken at once."""
        catalog = self.library.catalog
        for _ in range(ATTEMPTS):
            with catalog.database.snapshot():  # one state for all reads
                wanted = number or catalog.live(self.number)
                if wanted is None:
                    hint = f"penstock docs add PATH --to {self.name}"
                    raise NotFound(f"nothing is indexed in '{self.name}' yet", hint=hint)
                held = self._snapshot
                if held and held.number == wanted:
                    return held
                rows = {row.id: row for row in catalog.documents(self.number, wanted)}
                files, twins = catalog.segments(self.number, wanted), catalog.twins(self.number, wanted)
            try:
                segments = [self.segments[file] for file in files]
            except StorageError:
                if wanted in {version.number for version in self.versions()}:
                    raise
                continue  # it was replaced and cleared away meanwhile
            self._check_embedder(wanted, {segment.embedder for segment in segments})
            opened = Snapshot(wanted, segments, rows, twins)
            if number is None:
                self._snapshot = opened
            return opened
        raise Conflict(f"'{self.name}' is changing faster than it can be read", hint="raise keep_versions")

    def _check_embedder(self, number: int, embedders: set[str]) -> None:
        """Vectors of two models have nothing to say to each other. Raises Conflict."""
        ours = self.library.embedder.id
        if other := embedders - {ours}:
            raise Conflict(
                f"v{number} of '{self.name}' was embedded by {', '.join(other)}, and the settings name {ours}",
                hint=f"penstock docs sync {self.name} embeds it anew; or set [embedder] back",
            )

    def _hits(self, snapshot: Snapshot, view: View, found: Sequence[Match]) -> Iterator[Hit]:
        places = [snapshot.places(match.passage, match.document, view) for match in found]
        rows = self.library.catalog.passages([passage for some in places for passage in some])
        for match, some in zip(found, places, strict=True):
            if not rows.keys() >= set(some):
                raise _Dropped
            row, *others = (rows[passage] for passage in some)
            document = snapshot.documents[row.document]
            spans = match.sentences
            if row.id != match.passage:  # shown at a place that says it in nearly the same words
                own = split.sentences_of(row.text, document.language)
                similar = [s for *_, s in match.sentences] or [match.dense]
                spans = tuple((a, b, similar[min(n, len(similar) - 1)]) for n, (a, b) in enumerate(own))
            parts = {
                "bm25": match.bm25,
                "dense": match.dense,
                "bm25_share": match.bm25_share,
                "dense_share": match.dense_share,
            }
            sources = dict.fromkeys(snapshot.documents[other.document].source for other in others)
            sources.pop(document.source, None)
            yield Hit(
                self._passage(row, document, tuple(sources)),
                match.score,
                parts,
                tuple(Sentence(*span) for span in spans),
            )

    def _passage(self, row: PassageRow, document: DocumentRow, also_in: tuple[str, ...] = ()) -> Passage:
        return Passage(
            id=str(row.id),
            document_id=str(document.id),
            source=document.source,
            text=row.text,
            start=row.start,
            end=row.end,
            title=document.title,
            section=row.section,
            page=row.page,
            language=document.language,
            date=document.date,
            stale=rules.stale(document.source, document.date, self.settings.rules),
            tags=document.tags,
            metadata=document.metadata,
            access=document.access,
            also_in=also_in,
        )

    def document(self, document_id: str, caller: Caller = ANYBODY) -> tuple[DocumentRow, str]:
        """A document that the caller may read, and its text. Raises NotFound for one that does not exist or is not theirs."""
        missing = NotFound(f"there is no document '{document_id}' in '{self.name}'")
        if not re.fullmatch(r"\d{1,18}", document_id, re.ASCII) or not self.library.open_to(self.name, caller):
            raise missing
        row = self.library.catalog.document(self.number, int(document_id))
        if not may_read(row, caller.rights):
            raise missing
        return row, self.library.catalog.text(row.id)

    # ------------------------------------------------------------ listing

    def documents(self, caller: Caller | None = None) -> list[DocumentRow]:
        """The live version's documents, by source; only those a caller may read where one is given."""
        rows = self.library.catalog.documents(self.number, self.library.catalog.live(self.number))
        if caller is None:
            return rows
        return [row for row in rows if self.library.open_to(self.name, caller) and may_read(row, caller.rights)]

    def skipped(self) -> list[SkippedRow]:
        """The files that could not be read, each with its reason."""
        return self.library.catalog.skipped(self.number)

    def versions(self) -> list[VersionRow]:
        return self.library.catalog.versions(self.number)

    def version(self, name: str) -> VersionRow:
        """A version by name: "v3" or "3", "live", "previous", "newest"."""
        catalog = self.library.catalog
        known = {
            "live": catalog.live(self.number),
            "previous": catalog.previous(self.number),
            "newest": max((v.number for v in self.versions()), default=None),
        }
        given = re.fullmatch(r"[vV]?(\d{1,9})", name, re.ASCII)
        number = int(given[1]) if given else known.get(name)
        if number is None:
            raise NotFound(f"there is no version '{name}' of '{self.name}'", hint=f"penstock docs versions {self.name}")
        return catalog.version(self.number, number)

    def difference(self, one: str, other: str) -> Difference:
        """What `other` says beyond `one`, and the other way round."""
        texts = []
        for name in (one, other):
            rows = {row.id: row for row in self.library.catalog.documents(self.number, self.version(name).number)}
            passages = self.library.catalog.passages_of(list(rows))
            texts.append({(rows[p.document].source, p.text) for p in passages})
        return Difference(
            tuple(sorted(texts[1] - texts[0])), tuple(sorted(texts[0] - texts[1])), len(texts[0] & texts[1])
        )

    # ------------------------------------------------------------ changing

    @property
    def uploads(self) -> Path:
        return self.library.home / "uploads" / self.name

    def places(self) -> list[str]:
        """Where the documents come from: configured, added by hand, uploaded."""
        configured = [
            p if is_web(p) else str((self.library.folder / Path(p).expanduser()).resolve()) for p in self.settings.paths
        ]
        uploads = [str(self.uploads)] if self.uploads.is_dir() else []
        return list(dict.fromkeys([*configured, *self.library.catalog.places(self.number), *uploads]))

    def add(self, places: Iterable[str], *, progress: Progress | None = None, publish: bool = True) -> Report:
        """Take in files, folders and web pages, now and at every sync."""
        wanted = [place if is_web(place) else resolved(place) for place in places]
        for place in wanted:
            if not is_web(place) and not Path(place).exists():
                raise NotFound(f"there is no file or folder {place}")
            if place != as_text(place):
                raise BadRequest(f"the name {as_text(place)} is no text", hint="rename it, or add the folder above it")
        with self.writing():
            for place in wanted:
                self.library.catalog.add_place(self.number, place)
            return self._sync(progress, publish=publish, note=f"added {', '.join(Path(p).name or p for p in wanted)}")

    def sync(self, *, progress: Progress | None = None, publish: bool = True) -> Report:
        """Look at every place again: what was added, changed, moved or deleted makes the next version."""
        with self.writing():
            return self._sync(progress, publish=publish, note="sync")

    def take(self, incoming: Sequence[Incoming], *, progress: Progress | None = None) -> Report:
        """Take in documents that come from a program and not from a place; a sync does not know them and drops them."""
        with self.writing():
            return self._build(incoming, (), progress, True, "taken in")

    def put(self, name: str, data: bytes, *, progress: Progress | None = None) -> Report:
        """Take in one uploaded file. It is kept, and can be asked about when this returns.

        Raises Unreadable or TooLarge when it gives no document, and whatever else stops the build; then everything is as
        it was. Waits a while for another writer.
        """
        path, told = self.uploads / _upload_name(name), progress or Silent()
        with self.writing(patience_s=PATIENCE_S):
            with storage_errors(path):
                before = path.read_bytes() if path.is_file() else None
            try:
                with new_file(path) as written:
                    written.write(data)
                item = self._incoming(next(scan(path)), self._limits())
                told.file(item.name)
                opened = item.open()
                found = list(opened.documents) if opened else []
                if opened is None or not any(isinstance(one, Document) for one in found):
                    raise Unreadable(f"'{item.name}' holds nothing that can be read")
                taken = replace(opened, documents=found)
                read_already = replace(item, open=lambda: taken)
                return self._build([read_already], (), OnlyPassages(told), True, f"uploaded {path.name}")
            except BaseException:
                _put_back(path, before)
                raise

    def remove(self, what: str) -> Report:
        """Remove a place, or a document by its source: what a place still holds would come back at the next sync, so only
        uploads can be removed one by one. Raises NotFound, and BadRequest for a file that its folder still holds."""
        names = {what, what if is_web(what) else resolved(what)}
        with self.writing():
            for place in names:
                if self.library.catalog.remove_place(self.number, place):
                    return self._sync(None, publish=True, note=f"removed {what}")
            rows = [row for row in self.documents() if row.source == what or row.file in names]
            if not rows:
                raise NotFound(
                    f"'{what}' is neither a place nor a document of '{self.name}'", hint="penstock docs list"
                )
            path = Path(rows[0].file)
            if path.parent != self.uploads:
                raise BadRequest(
                    f"'{what}' belongs to a folder and would come back",
                    hint="delete the file and run: penstock docs sync",
                )
            path.unlink(missing_ok=True)
            return self._build([], [rows[0].file], None, True, f"removed {what}")

    def use(self, name: str) -> VersionRow:
        """Make a version live: forward, or back. One row changes; whoever is reading goes on with what they hold."""
        version = self.version(name)
        if version.state != "building":
            self._check_embedder(version.number, {version.embedder})
        self.library.catalog.publish(self.number, version.number)
        return self.library.catalog.version(self.number, version.number)

    @contextmanager
    def writing(self, *, patience_s: float = 0.0) -> Iterator[None]:
        """One writer at a time, across threads and processes. Raises Conflict when there is another for longer than that."""
        lock = self.library.home / "locks" / f"{self.name}.lock"
        with storage_errors(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            holder = FileLock(lock, thread_local=False)
            try:
                holder.acquire(timeout=patience_s)
            except Timeout as error:
                raise Conflict(
                    f"another process is indexing '{self.name}'", hint="wait for it to finish, then try again"
                ) from error
        try:
            yield
        finally:
            holder.release()

    def _limits(self) -> Limits:
        return Limits(max_file_mb=self.settings.max_file_mb, ocr=self.settings.ocr)

    def _sync(self, progress: Progress | None, *, publish: bool, note: str) -> Report:
        catalog = self.library.catalog
        known = {row.file: row.fingerprint for row in catalog.skipped(self.number)}
        known |= {row.file: row.fingerprint for row in catalog.documents(self.number, catalog.live(self.number))}
        failed: list[Skipped] = []
        found = {item.file: item for item in self._found(known, failed)}
        incoming = [item for item in found.values() if known.get(item.file) != item.fingerprint]
        gone = [file for file in known if file not in found and not (failed and is_web(file))]
        report = self._build(incoming, gone, progress, publish, note)
        report.skipped += failed
        return report

    def _found(self, known: Mapping[str, str], failed: list[Skipped]) -> Iterator[Incoming]:
        """Every file and page at every place. A sitemap that cannot be had is noted in `failed`, and its pages stay."""
        limits, way, names, seen = self._limits(), self._way, set[str](), set[Path]()
        for place in self.places():
            if is_web(place):
                from penstock.documents import web  # the HTTP client takes a tenth of a second: only who fetches pays

                try:
                    sent = {file: fp.removeprefix(f"{way} ") for file, fp in known.items() if fp.startswith(way)}
                    for page in web.pages(place, self.library.web, limits, self.settings.rules, sent):
                        yield _read_in(page, way)
                except PenstockError as error:
                    failed.append(Skipped(place, error.message, error.hint))
                continue
            try:
                files = list(scan(Path(place), include=self.settings.include, exclude=self.settings.exclude))
            except NotFound:
                continue  # the place is gone, and so is what it held
            clash = any(file.source in names for file in files)  # two folders with files of one name
            for file in files:
                if file.path not in seen:
                    source = f"{Path(place).name}/{file.source}" if clash else file.source
                    names.add(source)
                    seen.add(file.path)
                    yield self._incoming(replace(file, source=source), limits)

    def _incoming(self, file: File, limits: Limits) -> Incoming:
        def opened() -> Opened:
            raw, fingerprint = read_file(file, limits)
            documents = (rules.apply(d, self.settings.rules) if isinstance(d, Document) else d for d in read(raw))
            return Opened(digest(raw.data), fingerprint, documents)

        return _read_in(Incoming(as_text(str(file.path)), file.fingerprint, opened, file.source), self._way)

    @cached_property
    def _way(self) -> str:
        """Stands for how files are read and split: when it changes, every file counts as changed."""
        ways = (split.VERSION, repr(self.settings.rules), repr(self._limits()), str(find_spec("rapidocr") is not None))
        return digest(*ways).hex()[:8]

    def _build(
        self, incoming: Sequence[Incoming], gone: Sequence[str], progress: Progress | None, publish: bool, note: str
    ) -> Report:
        library, catalog = self.library, self.library.catalog
        work = Build(catalog, self.number, self.segments, library.embedder)
        report = build(work, incoming, gone=gone, progress=progress, note=note)
        if report.version is None:
            self.segments.keep_only(catalog.segment_files(self.number))
        if report.version is None or not publish:
            return report
        self._check_golden(report)
        catalog.publish(self.number, report.version)
        report.published = True
        catalog.keep_versions(self.number, self.settings.keep_versions)
        self.segments.keep_only(catalog.segment_files(self.number))
        return report

    def _check_golden(self, report: Report) -> None:
        """Refuse a version that answers the golden questions worse than the live one. Raises WorseVersion."""
        catalog, candidate = self.library.catalog, report.version
        if not self.settings.golden or candidate is None:
            return
        questions = golden.load((self.library.folder / Path(self.settings.golden).expanduser()).resolve())
        scores, asked = self.evaluate(questions, candidate), digest(repr(questions)).hex()
        catalog.set_golden(self.number, candidate, asked, scores.recall_at_5, scores.ndcg_at_10)
        live = catalog.live(self.number)
        if live is None:
            return
        before = catalog.golden(self.number, live, asked)  # one of another embedder cannot be asked any more
        if catalog.version(self.number, live).embedder == self.library.embedder.id:
            now = self.evaluate(questions, live)
            before = now.recall_at_5, now.ndcg_at_10
        if before is None:
            report.note = (
                f"v{live} has another embedder and was never asked the golden questions: nothing to compare with"
            )
            return
        report.note = golden.compare(
            golden.Scores(len(questions), *before), scores, tolerance=self.settings.golden_tolerance
        )
        if report.note:
            catalog.refuse_version(self.number, candidate, report.note)
            raise WorseVersion(
                f"v{candidate} of '{self.name}' was not published: {report.note}",
                hint=f"penstock docs diff v{live} v{candidate}; penstock docs use v{candidate} publishes it all the same",
            )

    def evaluate(self, questions: Sequence[golden.Question], number: int | None = None) -> golden.Scores:
        """Recall and nDCG of a version on golden questions, with every right and no filter."""
        snapshot = self.snapshot(number)
        view = snapshot.everything()
        ranked = [self.found(q.question, snapshot, view, k=golden.DEPTH).hits for q in questions]
        return golden.score(questions, [[hit.passage for hit in hits] for hits in ranked])


def _read_in(item: Incoming, way: str) -> Incoming:
    """A file whose fingerprint and hash tell the way it is read as well as what is in it."""

    def opened() -> Opened | None:
        found = item.open()
        return found and replace(found, fingerprint=f"{way} {found.fingerprint}", content=digest(found.content, way))

    return replace(item, fingerprint=f"{way} {item.fingerprint}", open=opened)


def _put_back(path: Path, before: bytes | None) -> None:
    """Undo an upload that came to nothing."""
    if before is None:
        path.unlink(missing_ok=True)
    else:
        with new_file(path) as written:
            written.write(before)


def _upload_name(name: str) -> str:
    """The last part of whatever a client called its file, safe to use as a name."""
    base = name.replace("\\", "/").rpartition("/")[2]
    clean = "".join(c if c.isprintable() and c not in '<>:"|?*' else "_" for c in base).strip(". ")
    if not clean:
        raise BadRequest(f"'{name}' is no file name")
    return clean if len(clean.encode()) <= 200 else clean[-60:]
