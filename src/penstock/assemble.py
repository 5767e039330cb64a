"""Settings in, working parts out: the only file that names concrete classes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from penstock.answer import Quoted
from penstock.config import EmbedderSettings, Settings
from penstock.documents import embedders
from penstock.documents.collection import Collection
from penstock.documents.library import Library
from penstock.documents.quote import Quotes
from penstock.errors import NotFound
from penstock.types import Answerer, Caller, Embedder

__all__ = ["House", "assemble", "samples"]


@dataclass(frozen=True, slots=True)
class House:
    """The parts of one running Penstock."""

    settings: Settings
    library: Library
    quotes: Quotes = field(default_factory=Quotes)

    def collections(self, caller: Caller) -> list[str]:
        """The collections that let a caller in. Where there are keys, only those that are shared."""
        names = self.library.shared() if self.settings.keys else self.library.names()
        return [name for name in names if self.library.open_to(name, caller)]

    def collection(self, name: str, caller: Caller) -> Collection:
        """A collection that lets the caller in. Raises NotFound for any other, with the names there are for them."""
        known = self.collections(caller)
        if name not in known:
            raise NotFound(f"there is no collection '{name}'", hint=f"known: {', '.join(known) or 'none'}")
        return self.library[name]

    def models(self, caller: Caller) -> dict[str, str]:
        """What a caller may say as `model`: each app, and each collection by its own name -> the collection it answers from."""
        names = self.collections(caller)
        apps = {name: app.documents or name for name, app in self.settings.apps.items()}
        return {name: name for name in names} | {app: name for app, name in apps.items() if name in names}

    def source(self, model: str, caller: Caller) -> str:
        """The collection that a model name answers from. Raises NotFound with the names there are for the caller."""
        models = self.models(caller)
        if model not in models:
            known = ", ".join(sorted(models)) or "none yet: penstock docs add PATH"
            raise NotFound(f"there is no model '{model}'", hint=f"known: {known}")
        return models[model]

    def answerer(self, collection: str) -> Answerer:
        """Who answers from a collection. What a caller may read of it is decided in the search itself."""
        return Quoted(self.library[collection], self.quotes)

    def close(self) -> None:
        self.library.close()


def assemble(settings: Settings) -> House:
    """Build the house. Nothing is loaded or fetched yet: the encoder comes with the first text to embed."""

    def embedder() -> Embedder:
        return embedders.build(settings.embedder, settings.folder, threads=_threads(settings.embedder))

    library = Library(
        settings.home_path, embedder, folder=settings.folder, collections=settings.documents, web=settings.web
    )
    return House(settings, library)


def samples() -> Path:
    """The project's own documentation: beside the package when installed, in the repository when run from it."""
    here = Path(__file__).parent
    return next(path for path in (here / "samples/docs", here.parents[1] / "docs") if path.is_dir())


def _threads(settings: EmbedderSettings) -> int:
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return settings.threads or here or 1
