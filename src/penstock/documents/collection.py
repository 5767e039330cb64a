"""One collection and all that changes it: a version is built beside the live one, checked, and published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from penstock.documents import golden, rules, split
from penstock.documents.catalog import VersionRow, digest
from penstock.documents.ingest import Build, Incoming, OnlyPassages, Opened, Progress, Report, Silent, build
from penstock.documents.published import Published
from penstock.documents.reading import Limits, Skipped, read
from penstock.documents.sources import File, as_text, is_web, read_file, resolved, scan
from penstock.errors import BadRequest, Conflict, NotFound, PenstockError, Unreadable, WorseVersion
from penstock.storage.files import new_file, storage_errors
from penstock.types import Document

__all__ = ["Collection"]

PATIENCE_S = 60.0  # an upload waits for a refresh to end


class Collection(Published):
    """Asked and listed as `Published` says. What changes it holds its lock, so there is one writer at a time."""

    # ------------------------------------------------------------ changing

    @property
    def uploads(self) -> Path:
        return self.home.path / "uploads" / self.name

    def places(self) -> list[str]:
        """Where the documents come from: configured, added by hand, uploaded."""
        uploads = [str(self.uploads)] if self.uploads.is_dir() else []
        return list(dict.fromkeys([*self._configured(), *self.home.catalog.places(self.number), *uploads]))

    def _configured(self) -> list[str]:
        paths = self.settings.paths
        return [p if is_web(p) else str((self.home.folder / Path(p).expanduser()).resolve()) for p in paths]

    def add(self, places: Iterable[str], *, progress: Progress | None = None, publish: bool = True) -> Report:
        """Take in files, folders and web pages, now and at every sync."""
        wanted = [place if is_web(place) else resolved(place) for place in places]
        for place in wanted:
            if not is_web(place) and not Path(place).exists():
                raise NotFound(f"there is no file or folder {place}")
            if place != as_text(place):
                raise BadRequest(f"the name {as_text(place)} is no text", hint="rename it, or add the folder above it")
        with self.writing():
            known = self.places()
            for place in wanted:
                if place not in known:
                    self.home.catalog.add_place(self.number, place)
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
                if self.home.catalog.remove_place(self.number, place):
                    return self._sync(None, publish=True, note=f"removed {what}")
            rows = [row for row in self.documents() if row.source == what or row.file in names]
            if not names.isdisjoint(self._configured()):
                raise BadRequest(
                    f"'{what}' is in penstock.toml", hint=f"take it out of [documents.{self.name}], then sync"
                )
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
        self.home.catalog.publish(self.number, version.number)
        return self.home.catalog.version(self.number, version.number)

    @contextmanager
    def writing(self, *, patience_s: float = 0.0) -> Iterator[None]:
        """One writer at a time, across threads and processes. Raises Conflict when there is another for longer than that."""
        lock = self.home.path / "locks" / f"{self.name}.lock"
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
        catalog = self.home.catalog
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
        limits, way, names, seen, golden_file = self._limits(), self._way, set[str](), set[Path](), self._golden_file()
        for place in self.places():
            if is_web(place):
                from penstock.documents import web  # the HTTP client takes a tenth of a second: only who fetches pays

                try:
                    sent = {file: fp.removeprefix(f"{way} ") for file, fp in known.items() if fp.startswith(way)}
                    for page in web.pages(place, self.home.web, limits, self.settings.rules, sent):
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
                if file.path not in seen and file.path != golden_file:
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
        library, catalog = self.home, self.home.catalog
        work = Build(catalog, self.number, self.segments, library.embedder)
        report = build(work, incoming, gone=gone, progress=progress, note=note)
        if report.version is None:
            self.segments.keep_only(catalog.segment_files(self.number))
            if live := catalog.live(self.number):
                row = catalog.version(self.number, live)
                report.documents, report.passages = row.documents, row.passages
        if report.version is None or not publish:
            return report
        self._check_golden(report)
        catalog.publish(self.number, report.version)
        report.published = True
        catalog.keep_versions(self.number, self.settings.keep_versions)
        self.segments.keep_only(catalog.segment_files(self.number))
        return report

    def _golden_file(self) -> Path:
        """It is no document, wherever it is: it would answer its own questions."""
        return (self.home.folder / Path(self.settings.golden).expanduser()).resolve()

    def _check_golden(self, report: Report) -> None:
        """Refuse a version that answers the golden questions worse than the live one. Raises WorseVersion."""
        catalog, candidate = self.home.catalog, report.version
        if not self.settings.golden or candidate is None:
            return
        questions = golden.load(self._golden_file())
        scores, asked = self.evaluate(questions, candidate), digest(repr(questions)).hex()
        catalog.set_golden(self.number, candidate, asked, scores.recall_at_5, scores.ndcg_at_10)
        live = catalog.live(self.number)
        if live is None:
            return
        before = catalog.golden(self.number, live, asked)  # one of another embedder cannot be asked any more
        if catalog.version(self.number, live).embedder == self.home.embedder.id:
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
