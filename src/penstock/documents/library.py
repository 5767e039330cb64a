"""The library: named collections of documents, each with its versions. This is what the other rooms talk to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from penstock.config import DocumentsSettings, WebSettings, check_name
from penstock.documents.across import Cross
from penstock.documents.catalog import digest
from penstock.documents.collection import Collection
from penstock.documents.home import Home
from penstock.documents.sources import as_text, is_web, resolved
from penstock.errors import NotFound
from penstock.storage.envelope import Encryption
from penstock.types import Embedder

__all__ = ["Library"]


class Library(Home):
    """All collections under one home folder."""

    def __init__(self, path: Path, embedder: Callable[[], Embedder], *, folder: Path,
                 collections: Mapping[str, DocumentsSettings], web: WebSettings,
                 encryption: Encryption | None = None, cross: Cross | None = None) -> None:  # fmt: skip
        """cross: what puts questions in other languages into English; without it they are searched for as they are."""
        super().__init__(
            path, embedder, folder=folder, collections=collections, web=web, encryption=encryption, cross=cross
        )
        self._collections: dict[str, Collection] = {}

    def names(self) -> list[str]:
        """Configured collections, and those made by hand."""
        return sorted({*self.settings, *self.catalog.names()})

    def __getitem__(self, name: str) -> Collection:
        """A collection that is configured or has been made. Raises NotFound."""
        number = self.catalog.collection(name)
        if number is None:
            if name not in self.settings:
                known = ", ".join(self.names()) or "none yet"
                raise NotFound(
                    f"there is no collection '{name}'", hint=f"known: {known}; penstock docs add PATH --to {name}"
                )
            number = self.catalog.create(name, shared=True)
        held = self._collections.get(name)
        if held is None or held.number != number:  # another process may have removed it and made it anew
            held = self._collections[name] = Collection(self, name, number)
        return held

    def create(self, name: str, *, shared: bool = True) -> Collection:
        """The collection of that name, made if it is new. Raises BadSetting for a name that no collection can have.

        One that is not shared is not served to holders of keys: it was made by asking a folder, whatever rules there are.
        """
        check_name(name)
        known = self.catalog.collection(name)
        number = self.catalog.create(name, shared=shared or name in self.settings)
        if known is None:
            self.audit.write("collection.created", target=name, number=number)
        return self[name]

    def shared(self) -> list[str]:
        """The collections that may be served to others."""
        return sorted({*self.settings, *self.catalog.shared()})

    def named_for(self, places: Sequence[str]) -> str:
        """The collection of exactly these places; where there is none, a free name made from the first of them."""
        wanted, names = {place if is_web(place) else resolved(place) for place in places}, self.names()
        for name in names:
            if wanted == {place for place in self[name].places() if place != str(self[name].uploads)}:
                return name
        base = re.sub(r"[^a-zA-Z0-9_.-]+", "-", Path(resolved(places[0])).name).strip("-._")[:40] or "documents"
        return f"{base}-{digest(*map(as_text, sorted(wanted))).hex()[:6]}" if base in names else base

    def remove(self, name: str) -> None:
        """Forget a collection: its versions, documents and uploads."""
        collection = self[name]
        with collection.writing():
            with self.audit.changing("collection.removed", target=name) as w:
                self.catalog.remove_collection(w, collection.number)
            for folder in (collection.uploads, collection.segments.path):
                shutil.rmtree(folder, ignore_errors=True)
        self._collections.pop(name, None)
