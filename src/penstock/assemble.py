"""Settings in, working parts out: the only file that names concrete classes, and where the order of wrapping is written."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.config import EmbedderSettings, ModelSettings, Settings
from penstock.errors import NotFound
from penstock.gateway import Gateway
from penstock.keys import Keys, allowed
from penstock.models.budgets import Budgets
from penstock.models.client import Client, Proxies, Timeouts, Url
from penstock.models.limits import Counters, InMemory
from penstock.models.metered import Metered
from penstock.models.prices import look_up
from penstock.models.providers import provider
from penstock.models.upstream import Upstream
from penstock.observe.journal import Journal
from penstock.observe.metrics import Metrics
from penstock.storage.database import Database
from penstock.types import Answerer, Caller, Embedder, Model

if TYPE_CHECKING:  # whoever serves no documents does not load what reads them
    from penstock.documents.collection import Collection
    from penstock.documents.library import Library
    from penstock.documents.quote import Quotes
    from penstock.models.shared import Shared

__all__ = ["House", "assemble", "samples"]

COUNTERS, METRICS = "journal/counters", "journal/metrics"  # shared by the processes that serve together


class House:
    """The parts of one running Penstock. Each is built when it is first asked for."""

    def __init__(self, settings: Settings, library: Library | None = None, *, worker: int | None = None) -> None:
        """worker: its number, where several processes serve together."""
        self.settings, self.worker = settings, worker
        if library is not None:
            self.__dict__["library"] = library

    # ---------------------------------------------------------------- parts

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.home_path / "penstock.db")

    @cached_property
    def keys(self) -> Keys:
        return Keys(self.database, self.settings.keys)

    @cached_property
    def library(self) -> Library:
        from penstock.documents import embedders
        from penstock.documents.library import Library

        settings = self.settings

        def embedder() -> Embedder:
            return embedders.build(settings.embedder, settings.folder, threads=_threads(settings.embedder))

        return Library(
            settings.home_path, embedder, folder=settings.folder, collections=settings.documents, web=settings.web
        )

    @cached_property
    def quotes(self) -> Quotes:
        from penstock.documents.quote import Quotes

        return Quotes()

    @cached_property
    def gateway(self) -> Gateway:
        home, settings = self.settings.home_path, self.settings
        journal = Journal(self.database, home / "journal", keep_s=settings.journal.keep)
        budgets, counters = Budgets(settings.budgets), self._counters(journal)
        models = _models(settings, budgets, counters, journal)
        metrics = Metrics() if self.worker is None else Metrics(home / METRICS, worker=self.worker)
        return Gateway(models, budgets=budgets, counters=counters, journal=journal, metrics=metrics)

    def _counters(self, journal: Journal) -> Counters:
        if self.worker is None:
            alone = InMemory()
            journal.recover()
            alone.book(journal.spent())
            return alone
        shared = self._shared(self.worker)
        shared.book(journal.recover())  # a worker that died may have left something
        return shared

    def _shared(self, worker: int) -> Shared:
        from penstock.models.shared import Shared

        return Shared(self.settings.home_path / COUNTERS, worker=worker, workers=self.settings.server.workers)

    def prepare_workers(self) -> list[Shared]:
        """Counters and numbers as several processes share them, from what is in the database; one view for each worker."""
        home = self.settings.home_path
        journal = Journal(self.database, home / "journal")
        journal.recover()
        (home / COUNTERS).unlink(missing_ok=True)
        shutil.rmtree(home / METRICS, ignore_errors=True)
        counters = [self._shared(worker) for worker in range(self.settings.server.workers)]
        counters[0].book(journal.spent())
        journal.close()
        return counters

    @property
    def has_documents(self) -> bool:
        """Whether there is anything to ask. A plain gateway never loads the library."""
        if self.settings.documents or "library" in self.__dict__:
            return True
        tables = self.database.read("select 1 from sqlite_master where name = 'collections'")
        return bool(tables and self.database.read("select 1 from collections limit 1"))

    # ---------------------------------------------------------------- what callers may ask

    def collections(self, caller: Caller) -> list[str]:
        """The collections that let a caller in. Where there are keys, only those that are shared."""
        if not self.has_documents:
            return []
        names = self.library.shared() if self.keys.needed else self.library.names()
        return [name for name in names if self.library.open_to(name, caller)]

    def collection(self, name: str, caller: Caller) -> Collection:
        """A collection that lets the caller in. Raises NotFound for any other, with the names there are for them."""
        known = self.collections(caller)
        if name not in known:
            raise NotFound(f"there is no collection '{name}'", hint=f"known: {', '.join(known) or 'none'}")
        return self.library[name]

    def apps(self, caller: Caller) -> dict[str, str]:
        """What answers from documents: each app, and each collection by its own name -> the collection it answers from."""
        names = self.collections(caller)
        apps = {name: app.documents or name for name, app in self.settings.apps.items()}
        known = {name: name for name in names} | {app: name for app, name in apps.items() if name in names}
        return {name: source for name, source in known.items() if allowed(name, caller)}

    def models(self, caller: Caller) -> list[str]:
        """What a caller may say as `model`."""
        return sorted({*self.apps(caller), *self.gateway.names(caller)})

    def source(self, model: str, caller: Caller) -> str:
        """The collection that a model name answers from. Raises NotFound with the names there are for the caller."""
        apps = self.apps(caller)
        if model not in apps:
            known = ", ".join(self.models(caller)) or "none yet: penstock docs add PATH"
            raise NotFound(f"there is no model '{model}'", hint=f"known: {known}")
        return apps[model]

    def answerer(self, collection: str) -> Answerer:
        """Who answers from a collection. What a caller may read of it is decided in the search itself."""
        from penstock.answer import Quoted

        return Quoted(self.library[collection], self.quotes)

    def close(self) -> None:
        parts: dict[str, Any] = self.__dict__
        if "gateway" in parts:
            self.gateway.journal.close()
        if "library" in parts:
            self.library.close()
        if "database" in parts:
            self.database.close()


def assemble(settings: Settings) -> House:
    """Build the house. Nothing is loaded or fetched yet: the encoder comes with the first text to embed."""
    return House(settings)


def samples() -> Path:
    """The project's own documentation: beside the package when installed, in the repository when run from it."""
    here = Path(__file__).parent
    return next(path for path in (here / "samples/docs", here.parents[1] / "docs") if path.is_dir())


# ---------------------------------------------------------------- models


def _models(settings: Settings, budgets: Budgets, counters: Counters, journal: Journal) -> Mapping[str, Model]:
    """Every model and route by the name callers say."""
    models: dict[str, Model] = {}
    for name, model in settings.models.items():
        called = f"{name}/*" if model.model == "*" else name
        kind = provider(model.provider, where=f"models.{name}.provider")
        known = look_up(model, kind.prices, model.model or name)
        upstream = _upstream(name, model)
        models[called] = Metered(
            upstream, name=name, known=known, budgets=budgets, counters=counters, holding=journal.hold
        )
    return models


def _upstream(name: str, settings: ModelSettings) -> Upstream:
    kind = provider(settings.provider, where=f"models.{name}.provider")
    proxies = Proxies(settings.proxy, settings.proxy)
    url = Url.parse(settings.base_url or kind.base_url, proxies=proxies)
    headers = {"user-agent": "penstock", **settings.headers}
    if settings.api_key:
        bearer = kind.key_header == "authorization"
        headers[kind.key_header] = f"Bearer {settings.api_key}" if bearer else settings.api_key
    if settings.provider == "anthropic":
        headers.setdefault("anthropic-version", "2023-06-01")
    return Upstream(
        _Clients(settings.ca_file),
        url,
        name=name,
        model=settings.model or name,
        headers=headers,
        dialects=kind.dialects,
        timeouts=Timeouts(settings.connect_s, settings.first_byte_s, settings.idle_s),
    )


class _Clients:
    """The HTTP client of the running event loop."""

    def __init__(self, ca_file: str) -> None:
        self._ca_file = ca_file
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client

    def __call__(self) -> Client:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._client, self._loop = Client(ca_file=self._ca_file), loop
        return self._client


def _threads(settings: EmbedderSettings) -> int:
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return settings.threads or here or 1
