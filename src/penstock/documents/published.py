"""A collection as it is asked and listed: its live version, its documents, and what each version says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.config import DocumentsSettings, RuleSettings
from penstock.documents import rules
from penstock.documents.across import Across
from penstock.documents.catalog import DocumentRow, PassageRow, SkippedRow, VersionRow
from penstock.documents.home import Home
from penstock.documents.search import Match, Snapshot, View, may_read
from penstock.documents.segment import SegmentFolder
from penstock.errors import Conflict, NotFound, StorageError
from penstock.text.sentences import sentences_of
from penstock.types import ANYBODY, Caller, Citation, Crossed, Filter, Found, Hit, Passage, Sentence

__all__ = ["Difference", "Published"]

ATTEMPTS = 3  # to open a version while others are published and dropped


class _Dropped(Exception):
    """The version was dropped while it was being read."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What one version says and another does not, passage by passage: (source, text)."""

    added: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...]
    same: int


class Published:
    """The side of a collection that only reads. Satisfies `Index`."""

    def __init__(self, home: Home, name: str, number: int) -> None:
        self.home, self.name, self.number = home, name, number
        self.segments = SegmentFolder(home.path / "segments" / str(number), home.encryption)
        self._snapshot: Snapshot | None = None
        self._ruled: Sequence[RuleSettings] = ()  # the rules it was opened under
        self._across: Across | None = None  # of the snapshot that was asked last in another language

    @property
    def settings(self) -> DocumentsSettings:
        """As they are now: who may read what can change while a server runs."""
        return self.home.settings.get(self.name, DocumentsSettings())

    # ------------------------------------------------------------ asking

    def search(self, question: str, *, caller: Caller = ANYBODY, k: int = 8, where: Filter | None = None) -> Found:
        """Find the passages that may answer a question. Raises NotFound while nothing has been published."""
        for _ in range(ATTEMPTS):
            snapshot = self.snapshot()
            if not self.home.open_to(self.name, caller):
                return Found((), f"v{snapshot.number}")
            with suppress(_Dropped):
                return self.found(question, snapshot, snapshot.view(caller, where or {}), k=k)
            self.forget()  # what it was opened for is not there any more: dropped, or erased
        raise Conflict(f"'{self.name}' is changing faster than it can be read", hint="raise keep_versions")

    def pinned(self, version: str) -> Pinned:
        """One version of it by name, whatever is live. Raises NotFound."""
        return Pinned(self, self.version(version).number)

    def found(self, question: str, snapshot: Snapshot, view: View, *, k: int) -> Found:
        """Search one version through one view."""
        crossed = self.crossed(question, snapshot, view)
        matches = snapshot.search(question, self.home.embedder, view, k, crossed)
        return Found(
            hits=tuple(self._hits(snapshot, view, matches.found)),
            version=f"v{snapshot.number}",
            terms=matches.terms,
            languages=matches.languages,
            dense_weight=matches.dense_weight,
            searched=matches.searched,
            spread=matches.spread,
            crossed=crossed,
        )

    def crossed(self, question: str, snapshot: Snapshot, view: View) -> Crossed | None:
        """The question in English, where it is in a language that no passage is in."""
        if self.home.cross is None:
            return None
        held = self._across
        if held is None or held.snapshot is not snapshot:
            held = self._across = Across(snapshot, self.home.catalog, self.home.cross)
        return held.crossed(question, view)

    def snapshot(self, number: int | None = None) -> Snapshot:
        """A version, opened; the live one by default. A version that was published meanwhile is taken at once."""
        catalog, ruled = self.home.catalog, self.settings.rules
        for _ in range(ATTEMPTS):
            with catalog.database.snapshot():  # one state for all reads
                wanted = number or catalog.live(self.number)
                if wanted is None:
                    hint = f"penstock docs add PATH --to {self.name}"
                    raise NotFound(f"nothing is indexed in '{self.name}' yet", hint=hint)
                held = self._snapshot
                if held and held.number == wanted and self._ruled == ruled:
                    return held
                rows = {row.id: row for row in self._under_rules(catalog.documents(self.number, wanted))}
                files, twins = catalog.segments(self.number, wanted), catalog.twins(self.number, wanted)
            try:
                segments = [self.segments[file] for file in files]
            except StorageError:
                if catalog.segments(self.number, wanted) == files:
                    raise
                continue  # it was replaced and cleared away meanwhile, or something was erased in it
            self._check_embedder(wanted, {segment.embedder for segment in segments})
            opened = Snapshot(wanted, segments, rows, twins)
            if number is None:
                self._snapshot, self._ruled, self._across = opened, ruled, None
                self.segments.hold(files)
            return opened
        raise Conflict(f"'{self.name}' is changing faster than it can be read", hint="raise keep_versions")

    def forget(self) -> None:
        """Open the live version anew with the next question."""
        self._snapshot = self._across = None

    def _check_embedder(self, number: int, embedders: set[str]) -> None:
        """Vectors of two models have nothing to say to each other. Raises Conflict."""
        ours = self.home.embedder.id
        if other := embedders - {ours}:
            raise Conflict(
                f"v{number} of '{self.name}' was embedded by {', '.join(other)}, and the settings name {ours}",
                hint=f"penstock docs sync {self.name} embeds it anew; or set [embedder] back",
            )

    def _hits(self, snapshot: Snapshot, view: View, found: Sequence[Match]) -> Iterator[Hit]:
        places = [snapshot.places(match.passage, match.document, view) for match in found]
        standing = [match.passage for match in found]
        rows = self.home.catalog.passages([*standing, *(passage for some in places for passage in some)])
        for match, some in zip(found, places, strict=True):
            if not rows.keys() >= set(some):
                raise _Dropped
            row, *others = (rows[passage] for passage in some)
            assert view.documents is None or row.document in view.documents, "only what the caller may read is shown"
            stands = rows.get(match.passage)
            document = snapshot.documents[row.document]
            spans = match.sentences
            if stands is None or row.text != stands.text:  # shown at a place that says it in nearly the same words
                own = sentences_of(row.text, document.language)
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
        """A document of the live version that the caller may read, and its text. Raises NotFound for any other."""
        missing = NotFound(
            f"there is no document '{document_id}' in '{self.name}'", hint="it may have changed: ask again"
        )
        if not re.fullmatch(r"\d{1,18}", document_id, re.ASCII) or not self.home.open_to(self.name, caller):
            raise missing
        row = self.home.catalog.document(self.number, int(document_id))
        if row is None or not may_read(next(self._under_rules([row])), caller.rights):
            raise missing
        return row, self.home.catalog.text(row.id)

    def around(self, citations: Sequence[Citation]) -> list[tuple[str, str]]:
        """What stands before and after each quote in its passage, for whoever was given the citations by a search of theirs."""
        rows = self.home.catalog.passages([int(one.passage_id) for one in citations if one.passage_id.isdigit()])
        found = []
        for one in citations:
            row = rows.get(int(one.passage_id)) if one.passage_id.isdigit() else None
            start, end = (one.start - row.start, one.end - row.start) if row else (0, 0)
            stands = row is not None and row.text[start:end] == one.quote
            found.append((row.text[:start], row.text[end:]) if row is not None and stands else ("", ""))
        return found

    # ------------------------------------------------------------ listing

    def documents(self, caller: Caller | None = None) -> list[DocumentRow]:
        """The live version's documents, by source; only those a caller may read where one is given."""
        rows = self.home.catalog.documents(self.number, self.home.catalog.live(self.number))
        if caller is None:
            return rows
        return self._readable(rows, caller)

    def _readable(self, rows: Sequence[DocumentRow], caller: Caller) -> list[DocumentRow]:
        if not self.home.open_to(self.name, caller):
            return []
        return [row for row in self._under_rules(rows) if may_read(row, caller.rights)]

    def _under_rules(self, rows: Sequence[DocumentRow]) -> Iterator[DocumentRow]:
        """Each document with whom the rules let in as they are now: they may have changed since it was read."""
        ruled = [rule for rule in self.settings.rules if rule.access]
        places = [] if not ruled else [*self.settings.paths, *self.home.catalog.places(self.number)]
        prefixes = {f"{Path(place).name}/" for place in places}  # which may have been put before the path
        for row in rows:
            names = {row.source, *(row.source.removeprefix(prefix) for prefix in prefixes)}
            readers = rules.readers(names, ruled) if ruled else ()
            yield replace(row, ruled=readers) if readers and readers != row.access else row

    def skipped(self) -> list[SkippedRow]:
        """The files that could not be read, each with its reason."""
        return self.home.catalog.skipped(self.number)

    def versions(self, caller: Caller | None = None) -> list[VersionRow]:
        """The versions that are kept. With a caller they count only what that one may read, and have no notes."""
        catalog = self.home.catalog
        rows = catalog.versions(self.number)
        if caller is None:
            return rows
        readable = [self._readable(catalog.documents(self.number, row.number), caller) for row in rows]
        return [
            replace(row, documents=len(seen), passages=sum(one.passages for one in seen), note="")
            for row, seen in zip(rows, readable, strict=True)
        ]

    def version(self, name: str) -> VersionRow:
        """A version by name: "v3" or "3", "live", "previous", "newest"."""
        catalog = self.home.catalog
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
            rows = {row.id: row for row in self.home.catalog.documents(self.number, self.version(name).number)}
            passages = self.home.catalog.passages_of(list(rows))
            texts.append({(rows[p.document].source, p.text) for p in passages})
        return Difference(
            tuple(sorted(texts[1] - texts[0])), tuple(sorted(texts[0] - texts[1])), len(texts[0] & texts[1])
        )


class Pinned:
    """One version of a collection, whatever is live: for an app that stays with it, or an experiment. Satisfies `Index`."""

    def __init__(self, of: Published, number: int) -> None:
        self._of, self._number = of, number
        self._opened: Snapshot | None = None

    def search(self, question: str, *, caller: Caller = ANYBODY, k: int = 8, where: Filter | None = None) -> Found:
        """As the collection finds. Raises NotFound where the version is not there any more."""
        for _ in range(ATTEMPTS):
            if self._opened is None:
                self._of.version(f"v{self._number}")
                self._opened = self._of.snapshot(self._number)
            if not self._of.home.open_to(self._of.name, caller):
                return Found((), f"v{self._number}")
            with suppress(_Dropped):
                return self._of.found(question, self._opened, self._opened.view(caller, where or {}), k=k)
            self._opened = None
        raise Conflict(f"v{self._number} of '{self._of.name}' is being cleared away", hint="raise keep_versions")
