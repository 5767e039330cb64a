"""A home folder: the catalog, the embedder and the settings that all collections in it share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from penstock.config import DocumentsSettings, WebSettings
from penstock.documents.across import Cross
from penstock.documents.catalog import Catalog
from penstock.storage.audit import Audit
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption
from penstock.types import Caller, Embedder

__all__ = ["Home"]

OWN = ("segments", "uploads", "locks", "golden", "models", "secrets", "settings")  # folders of the home


class Home:
    """Opening it reads nothing but the catalog's tables. folder: where relative paths in the settings start."""

    def __init__(self, path: Path, embedder: Callable[[], Embedder], *, folder: Path,
                 collections: Mapping[str, DocumentsSettings], web: WebSettings,
                 encryption: Encryption | None = None, cross: Cross | None = None) -> None:  # fmt: skip
        self.path, self.folder, self.settings, self.web = path, folder, collections, web
        self.encryption, self.cross = encryption, cross
        self.catalog = Catalog(Database(path / "penstock.db"), encryption)
        self.audit = Audit(self.catalog.database)
        self._embedder, self._loaded, self._lock = embedder, cast(Embedder | None, None), threading.Lock()

    @property
    def embedder(self) -> Embedder:
        """Loaded when it is first asked for, and once."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._embedder()
            return self._loaded

    def use_access(self, collections: Mapping[str, DocumentsSettings]) -> bool:
        """Take over who may read what, from settings that have changed. Returns whether they differ.

        It holds from the next question on. A rule that closes a document closes it at once, in every version; what a rule
        opens, or what had its list from another rule, is open after the next sync.
        """
        changed = {
            name: replace(held, access=new.access, rules=new.rules)
            for name, held in self.settings.items()
            if (new := collections.get(name)) and (new.access, new.rules) != (held.access, held.rules)
        }
        self.settings = {**self.settings, **changed}
        for name in changed:
            self.audit.write("policy.changed", target=f"documents.{name}")
        return bool(changed)

    def open_to(self, name: str, caller: Caller) -> bool:
        """Whether a collection lets this caller in at all."""
        access = self.settings[name].access if name in self.settings else ()
        return not access or not caller.rights.isdisjoint(access)

    def owns(self, path: Path) -> bool:
        """Whether a file is Penstock's own: the catalog, the index, uploads, models, keys of providers."""
        kept = path.relative_to(self.path).parts[0] if path.is_relative_to(self.path) and path != self.path else ""
        return kept in OWN or kept.startswith("penstock.db")

    def close(self) -> None:
        if self._loaded is not None and hasattr(self._loaded, "close"):
            self._loaded.close()
        self.catalog.database.close()
