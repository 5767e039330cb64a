"""What is at the places of one collection: files, folders, uploads and web pages, each as something that can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from penstock.config import DocumentsSettings
from penstock.documents import rules, split
from penstock.documents.catalog import DocumentRow, digest
from penstock.documents.home import Home
from penstock.documents.ingest import Incoming, Opened
from penstock.documents.reading import Limits, Skipped, read
from penstock.documents.sources import File, as_text, is_web, read_file, scan
from penstock.errors import NotFound, PenstockError
from penstock.types import Document

__all__ = ["Places"]


@dataclass
class Places:
    """One look at the places. `missed`: those that could not be looked at, why, so that what was there stays."""

    home: Home
    settings: DocumentsSettings
    uploads: Path
    missed: dict[str, Skipped] = field(default_factory=dict)

    def found(self, places: Sequence[str], known: Mapping[str, str], *, pages: bool) -> Iterator[Incoming]:
        """Every file and page. known: file or address -> its fingerprint. pages: whether servers are asked."""
        names, seen = set[str](), set[Path]()
        web_places = [place for place in places if is_web(place)]
        for place in places:
            if is_web(place):
                continue
            try:
                files = list(self._files(Path(place)))
            except NotFound as error:
                self.missed[place] = Skipped(place, error.message, "penstock docs remove, if it is gone for good")
                continue
            clash = any(file.source in names for file in files)  # two folders with files of one name
            prefix = f"{Path(place).name}/" if clash else ""
            for file in files:
                if file.path not in seen:
                    names.add(prefix + file.source)
                    seen.add(file.path)
                    yield self.file(replace(file, source=prefix + file.source), prefix=prefix)
        if web_places and pages:
            yield from self._pages(web_places, known)
        elif web_places:
            self.missed |= {place: Skipped(place, "not asked this time") for place in web_places}

    def kept(self, file: str) -> bool:
        """Whether a file that was not found may be there all the same, because its place could not be looked at."""
        if is_web(file):
            return any(is_web(place) for place in self.missed)
        return any(not is_web(place) and Path(file).is_relative_to(place) for place in self.missed)

    def _files(self, place: Path) -> Iterator[File]:
        uploaded = place == self.uploads
        include, exclude = ([], []) if uploaded else (self.settings.include, self.settings.exclude)
        for file in scan(place, include=include, exclude=exclude, everything=uploaded):
            ours = not uploaded and self.home.owns(file.path)  # other people's uploads among them
            if not ours and file.path != self.golden_file:
                yield file

    def _pages(self, places: Sequence[str], known: Mapping[str, str]) -> Iterator[Incoming]:
        from penstock.documents import web  # the HTTP client takes a tenth of a second: only who fetches pays

        fetcher = web.Fetcher(self.home.web)
        sent = {url: fp.removeprefix(way) for url, fp in known.items() if fp.startswith(way := self._way(url))}
        for place in places:
            try:
                for page in web.pages(place, fetcher, self.limits, self.settings.rules, sent):
                    yield self._read_in(page)
            except PenstockError as error:
                self.missed[place] = Skipped(place, error.message, error.hint)

    def file(self, file: File, *, prefix: str = "") -> Incoming:
        """A file as something to be read. prefix: what was put before its path to tell it from one of the same name."""

        def opened() -> Opened:
            raw, fingerprint = read_file(file, self.limits)
            ruled = self.settings.rules
            documents = (rules.apply(d, ruled, prefix) if isinstance(d, Document) else d for d in read(raw))
            return Opened(digest(raw.data), fingerprint, documents)

        return self._read_in(Incoming(as_text(str(file.path)), file.fingerprint, opened, file.source), prefix)

    def _read_in(self, item: Incoming, prefix: str = "") -> Incoming:
        """A file whose fingerprint and hash tell the way it is read as well as what is in it."""
        way = self._way(item.name)

        def opened() -> Opened | None:
            found = item.open()
            if found is None:
                return None
            content = digest(found.content, self._reading, prefix)
            return replace(found, fingerprint=way + found.fingerprint, content=content)

        return replace(item, fingerprint=way + item.fingerprint, open=opened)

    def unchanged(self, row: DocumentRow) -> Callable[[bytes], bool] | None:
        """Tells from the digest of a file whether it is the one that a document was read from. None where that cannot be told:
        files are read in another way since, or this one was never read from a place."""
        if not row.fingerprint.startswith(self._way(row.source)):
            return None
        prefixes = "", f"{row.source.partition('/')[0]}/"
        known = row.content
        return lambda found: any(digest(found, self._reading, prefix) == known for prefix in prefixes)

    def _way(self, name: str) -> str:
        """Stands for how a file is named, read and split: when that changes, the file counts as changed."""
        return f"{digest(self._reading, name).hex()[:8]} "

    @cached_property
    def _reading(self) -> bytes:
        ocr = str(find_spec("rapidocr") is not None)
        return digest(split.VERSION, repr(self.settings.rules), repr(self.limits), ocr)

    @cached_property
    def limits(self) -> Limits:
        return Limits(max_file_mb=self.settings.max_file_mb, ocr=self.settings.ocr)

    @cached_property
    def golden_file(self) -> Path:
        """It is no document, wherever it is: it would answer its own questions."""
        return (self.home.folder / Path(self.settings.golden).expanduser()).resolve()
