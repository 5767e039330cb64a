"""One collection and all that changes it: a version is built beside the live one, checked, and published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from penstock.documents import golden
from penstock.documents.catalog import DocumentRow, VersionRow, digest
from penstock.documents.ingest import Build, Incoming, OnlyPassages, Progress, Report, Silent, build, turning
from penstock.documents.places import Places
from penstock.documents.published import Published
from penstock.documents.sources import as_text, existing, is_web, resolved, scan
from penstock.errors import BadRequest, Conflict, NotFound, Unreadable, WorseVersion
from penstock.storage.audit import Kind, Note
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

    def add(self, places: Sequence[str], *, progress: Progress | None = None, publish: bool = True) -> Report:
        """Take in files, folders and web pages, now and at every sync."""
        wanted = existing(places)
        for place in wanted:
            if is_web(place) and "@" in place.split("/")[2]:
                raise BadRequest(
                    "an address with a password in it would be shown with every quote", hint="leave it out"
                )
            if place != as_text(place):
                raise BadRequest(f"the name {as_text(place)} is no text", hint="rename it, or add the folder above it")
        with self.writing():
            known = self.places()
            for place in wanted:
                if place not in known:
                    self.home.catalog.add_place(self.number, place)
            return self._sync(progress, publish=publish, note=f"added {', '.join(Path(p).name or p for p in wanted)}")

    def sync(self, *, progress: Progress | None = None, publish: bool = True, pages: bool = True) -> Report:
        """Look at every place again: what was added, changed, moved or deleted makes the next version.

        What was at a place that cannot be looked at stays. pages: whether web pages are asked for too.
        """
        with self.writing():
            return self._sync(progress, publish=publish, note="sync", pages=pages)

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
                item = self._look().file(next(scan(path, everything=True)))
                told.file(item.name)
                with turning(told):
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
        names = {what} if is_web(what) else {what, resolved(what), str(self.uploads / what)}
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
            if "!/" in what:
                raise BadRequest(f"'{what}' is inside {path.name}", hint=f"remove {path.name} as a whole")
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
        live = self.home.catalog.live(self.number) or 0
        kind: Kind = "version.rolled_back" if version.number < live else "version.published"
        with self.home.audit.changing(kind, target=self.name, version=version.number, before=live) as w:
            self.home.catalog.publish(w, self.number, version.number)
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

    def unchanged(self, row: DocumentRow) -> Callable[[bytes], bool] | None:
        """Tells from the digest of a document's file whether it is as it was indexed; None where nobody can."""
        return self._look().unchanged(row)

    def _look(self) -> Places:
        return Places(self.home, self.settings, self.uploads)

    def _sync(self, progress: Progress | None, *, publish: bool, note: str, pages: bool = True) -> Report:
        catalog, look = self.home.catalog, self._look()
        known = {row.file: row.fingerprint for row in catalog.skipped(self.number)}
        known |= {row.file: row.fingerprint for row in catalog.documents(self.number, catalog.live(self.number))}
        found = {item.file: item for item in look.found(self.places(), known, pages=pages)}
        incoming = [item for item in found.values() if known.get(item.file) != item.fingerprint]
        gone = [file for file in known if file not in found and not look.kept(file)]
        report = self._build(incoming, gone, progress, publish, note)
        report.skipped += look.missed.values() if pages else ()
        return report

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
        with self.home.audit.changing(
            "version.published", target=self.name, also=self._notes(report), version=report.version
        ) as w:
            catalog.publish(w, self.number, report.version)
        report.published = True
        catalog.keep_versions(self.number, self.settings.keep_versions)
        self.segments.keep_only(catalog.segment_files(self.number))
        return report

    def _notes(self, report: Report) -> Iterator[Note]:
        """What the audit trail says of each document."""
        changes: tuple[tuple[Kind, Sequence[str]], ...] = (
            ("document.added", report.added),
            ("document.changed", (*report.changed, *report.moved)),
            ("document.removed", report.removed),
        )
        for kind, sources in changes:
            for source in sources:
                yield Note(kind, f"{self.name}/{source}", {"version": report.version or 0})

    def _check_golden(self, report: Report) -> None:
        """Refuse a version that answers the golden questions worse than the live one. Raises WorseVersion."""
        catalog, candidate = self.home.catalog, report.version
        questions = self.golden_questions() if candidate is not None else []
        if not questions or candidate is None:
            return
        scores, asked = self.ask_golden(questions, candidate), digest(repr(questions)).hex()
        report.note = golden.too_wide(scores, self.settings.golden_gap)
        if report.note:
            self._refuse(report, candidate)
        live = catalog.live(self.number)
        if live is None:
            return
        before = catalog.golden(self.number, live, asked)  # one of another embedder cannot be asked any more
        if catalog.version(self.number, live).embedder == self.home.embedder.id:
            now = self.ask_golden(questions, live)
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
            self._refuse(report, candidate)

    def _refuse(self, report: Report, candidate: int) -> None:
        """Raises WorseVersion."""
        self.home.catalog.refuse_version(self.number, candidate, report.note)
        live = self.home.catalog.live(self.number)
        compare = f"penstock docs diff v{live} v{candidate}; " if live else ""
        raise WorseVersion(
            f"v{candidate} of '{self.name}' was not published: {report.note}",
            hint=f"{compare}penstock docs use v{candidate} publishes it all the same",
        )

    # ------------------------------------------------------------ golden questions

    def golden_questions(self) -> list[golden.Question]:
        """The golden questions: those of the file that the settings name, and those that were added. Raises BadRequest."""
        stated = golden.load(self._look().golden_file) if self.settings.golden else []
        return list(dict.fromkeys([*stated, *self.added_golden()]))

    def added_golden(self) -> list[golden.Question]:
        """Those that stand in no file."""
        return [golden.Question(*said) for said in self.home.catalog.questions(self.number).values()]

    def golden_ranks(self) -> dict[int, dict[str, int]]:
        """By the number of a version and the id of a question: where its answer stood, from 1; 0 for nowhere."""
        return self.home.catalog.golden_ranks(self.number)

    def add_golden(self, question: golden.Question) -> None:
        """From now on a new version must answer it as well as the live one. Raises BadRequest, or Conflict where it is there."""
        if not question.question.strip():
            raise BadRequest("the question is empty")
        if question.source == "*" and not question.contains.strip():
            raise BadRequest(
                "nothing says what answers the question", hint="name a source, words that it holds, or both"
            )
        if question in self.golden_questions():
            raise Conflict("this golden question is there already")
        said = (question.question, question.source, question.contains, question.lang)
        with self.home.audit.changing("golden.changed", target=self.name, added=1) as w:
            self.home.catalog.add_question(w, self.number, question.id, said)

    def remove_golden(self, name: str) -> None:
        """Forget one that was added, by its id. Raises NotFound."""
        if name not in self.home.catalog.questions(self.number):
            raise NotFound("there is no such question among those that were added", hint="a file has its own")
        with self.home.audit.changing("golden.changed", target=self.name, removed=1) as w:
            self.home.catalog.remove_question(w, self.number, name)

    def ask_golden(
        self, questions: Sequence[golden.Question], number: int, *, asked: Callable[[int], None] = lambda done: None
    ) -> golden.Scores:
        """How a version answers the golden questions, which is kept with it. asked: told how many it was asked."""
        scores = self.evaluate(questions, number, asked=asked)
        ranks = {question.id: rank for question, rank in zip(questions, scores.ranks, strict=True)}
        about = digest(repr(list(questions))).hex()
        self.home.catalog.set_golden(self.number, number, about, scores.recall_at_5, scores.ndcg_at_10, ranks)
        return scores

    def evaluate(
        self,
        questions: Sequence[golden.Question],
        number: int | None = None,
        *,
        asked: Callable[[int], None] = lambda done: None,
    ) -> golden.Scores:
        """Recall and nDCG of a version on golden questions, with every right and no filter."""
        snapshot = self.snapshot(number)
        view = snapshot.everything()
        ranked = []
        for done, question in enumerate(questions):
            asked(done)
            ranked.append(self.found(question.question, snapshot, view, k=golden.DEPTH).hits)
        return golden.score(questions, [[hit.passage for hit in hits] for hits in ranked])


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
    if len(clean.encode()) <= 200:
        return clean
    ending = Path(clean).suffix[:12]
    return f"{clean[:40]}-{digest(clean).hex()[:8]}{ending}"
