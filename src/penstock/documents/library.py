"""The library: named collections of documents, each with its versions. This is what the other rooms talk to."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from penstock.config import DocumentsSettings, WebSettings, check_name
from penstock.documents.catalog import Catalog
from penstock.documents.collection import Collection
from penstock.errors import NotFound
from penstock.storage.database import Database
from penstock.types import Caller, Embedder

__all__ = ["Library"]


class Library:
    """All collections under one home folder. Opening it reads nothing but the catalog's tables."""

    def __init__(self, home: Path, embedder: Callable[[], Embedder], *, folder: Path, collections: Mapping[str, DocumentsSettings],
                 web: WebSettings) -> None:  # fmt: skip
        self.home, self.folder, self.web = home, folder, web
        self.settings = collections
        self.catalog = Catalog(Database(home / "penstock.db"))
        self._embedder, self._loaded, self._lock = embedder, cast(Embedder | None, None), threading.Lock()
        self._collections: dict[str, Collection] = {}

    @property
    def embedder(self) -> Embedder:
        """Loaded when it is first asked for, and once."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._embedder()
            return self._loaded

    def names(self) -> list[str]:
        """Configured collections, and those made by hand."""
        return sorted({*self.settings, *self.catalog.names()})

    def open_to(self, name: str, caller: Caller) -> bool:
        """Whether a collection lets this caller in at all."""
        access = self.settings[name].access if name in self.settings else ()
        return not access or not caller.rights.isdisjoint(access)

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

    def close(self) -> None:
        self.catalog.database.close()
