"""The library: named collections of documents, each with its versions. This is what the other rooms talk to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.config import DocumentsSettings, WebSettings, check_name
from penstock.documents.collection import Collection
from penstock.documents.home import Home
from penstock.errors import NotFound
from penstock.types import Embedder

__all__ = ["Library"]


class Library(Home):
    """All collections under one home folder."""

    def __init__(self, path: Path, embedder: Callable[[], Embedder], *, folder: Path,
                 collections: Mapping[str, DocumentsSettings], web: WebSettings) -> None:  # fmt: skip
        super().__init__(path, embedder, folder=folder, collections=collections, web=web)
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
            number = self.catalog.create(name)
        held = self._collections.get(name)
        if held is None or held.number != number:  # another process may have removed it and made it anew
            held = self._collections[name] = Collection(self, name, number)
        return held

    def create(self, name: str) -> Collection:
        """The collection of that name, made if it is new. Raises BadSetting for a name that no collection can have."""
        check_name(name)
        self.catalog.create(name)
        return self[name]

    def remove(self, name: str) -> None:
        """Forget a collection: its versions, documents and uploads."""
        collection = self[name]
        with collection.writing():
            self.catalog.remove_collection(collection.number)
            for folder in (collection.uploads, collection.segments.path):
                shutil.rmtree(folder, ignore_errors=True)
        self._collections.pop(name, None)
