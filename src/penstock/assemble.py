"""Settings in, working parts out: the only file that names concrete classes, and where the order of wrapping is written."""

from __future__ import annotations

import os
import shutil
import threading
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from penstock.config import (
    FILE_NAME,
    WIDGET,
    AppSettings,
    BudgetSettings,
    EmbedderSettings,
    ModelSettings,
    ObjectiveSettings,
    PromptSettings,
    RouteSettings,
    Settings,
)
from penstock.conversations import Conversations
from penstock.errors import BadSetting, NotFound, PenstockError
from penstock.gateway import Gateway
from penstock.guard.guard import Guard
from penstock.guard.policy import OFF, Policies
from penstock.jobs.batches import Batches
from penstock.jobs.files import Files
from penstock.keys import Keys, allowed
from penstock.models.balance import Candidate, Order, Weighted, as_listed, cheapest, choosing, fastest, least_busy
from penstock.models.breaker import Guarded
from penstock.models.budgets import Budgets
from penstock.models.cached import Cached
from penstock.models.cascade import CHECKS, Cascade
from penstock.models.client import Clients, Proxies, Timeouts, Url
from penstock.models.fallback import Fallback
from penstock.models.hedged import hedging
from penstock.models.kept import Kept, Scope
from penstock.models.limits import Counters, InMemory
from penstock.models.local import Local
from penstock.models.metered import OUTPUT_TOKENS, Metered
from penstock.models.micro import Batched
from penstock.models.prices import Known, look_up
from penstock.models.providers import PATHS, PROVIDERS, dialects, provider
from penstock.models.pruned import Pruned
from penstock.models.pulls import Pulls
from penstock.models.queued import Queued
from penstock.models.route import Route, little_left
from penstock.models.shelf import Shelf
from penstock.models.single import SingleFlight
from penstock.models.summaries import Summaries
from penstock.models.translate import Translated
from penstock.models.upstream import Upstream
from penstock.models.watch import Watch
from penstock.observe.journal import Journal, Row
from penstock.observe.ledger import Ledger
from penstock.observe.metrics import Metrics
from penstock.observe.texts import Keeping, Texts
from penstock.settings_file import alone, path_of, read_again
from penstock.storage.audit import Audit, Fact
from penstock.storage.database import Database, Tables
from penstock.storage.envelope import Encryption, Envelope, EnvironmentKeys, FileKeys, KeySource
from penstock.trace import log
from penstock.types import (
    Answer,
    Answerer,
    Boundary,
    Caller,
    Embedder,
    Index,
    Model,
    ModelRequest,
    Record,
    Translator,
    Turn,
    Verifier,
    new_id,
)

if TYPE_CHECKING:  # whoever serves no documents does not load what reads them
    from penstock.agents.actions import Action
    from penstock.agents.answering import Answering, People
    from penstock.agents.exchange import Exchange
    from penstock.agents.kept_talks import KeptTalks
    from penstock.agents.mcp_client import Servers
    from penstock.agents.messages import Agent, Limits
    from penstock.agents.requests import ActionRequests
    from penstock.agents.talks import Bot, Talk
    from penstock.answer import Told
    from penstock.documents.collection import Collection
    from penstock.documents.library import Library
    from penstock.documents.printer import Printer
    from penstock.documents.quote import Quotes
    from penstock.evaluate.arms import Arms
    from penstock.evaluate.evaluator import Evaluator
    from penstock.evaluate.kept import Runs
    from penstock.evaluate.live import Experiments
    from penstock.guard.crossing import Crossing
    from penstock.guard.guard import Seen
    from penstock.guard.tools import Confirmations
    from penstock.guard.vault import Vault
    from penstock.language.memory import Memory
    from penstock.language.terms import Glossary
    from penstock.language.voice import Voice
    from penstock.models.shared import Shared
    from penstock.observe.alerts import Alerts, Condition
    from penstock.observe.analytics import Analytics
    from penstock.observe.conventions import Served
    from penstock.observe.energy import Energy
    from penstock.observe.export import Exporter
    from penstock.observe.lookout import Lookout
    from penstock.observe.objectives import Objective
    from penstock.observe.quality import Looking
    from penstock.observe.sealed import Sealed
    from penstock.observe.tally import Opinion, Tally
    from penstock.prompts import Prompt, Prompts, Version
    from penstock.review.room import Review
    from penstock.support.reading import Log
    from penstock.writing import Checks

__all__ = ["SAMPLE", "SEALED", "House", "assemble", "key_source", "samples"]

SAMPLE = "penstock-docs"  # the collection of our own documentation
COUNTERS, METRICS = "journal/counters", "journal/metrics"  # shared by the processes that serve together
SEALED = "journal/sealed"
FEW_TOKENS = 64  # of an answer that only shows that there is one
BOTS_AT_ONCE = 32  # messages that bots answer at the same time; some wait for documents


class House:
    """The parts of one running Penstock. Each is built when it is first asked for."""

    def __init__(self, settings: Settings, library: Library | None = None, *, worker: int | None = None) -> None:
        """worker: its number, where several processes serve together."""
        self.settings, self.worker = settings, worker
        self.locals: list[Local] = []  # models that run in this process
        self.watches: dict[str, Watch] = {}  # what is seen of each model, from when the gateway was built
        self._reloading = threading.Lock()  # of policies: one after the other
        self._loading = threading.RLock()  # of bots
        self._bots: dict[str, Bot] = {}
        self._requests: dict[str, ActionRequests] = {}  # of bots
        self._exporter: Exporter | None = None  # of traces and numbers, from when the gateway was built
        self._exporting_of: dict[str, Served] = {}  # the models that it knows
        self._around: _Around | None = None  # what all models share, from when the gateway was built
        self._exchanging = threading.Lock()  # one change of the models at a time
        if library is not None:
            self.__dict__["library"] = library

    # ---------------------------------------------------------------- parts

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.home_path / "penstock.db")

    @cached_property
    def audit(self) -> Audit:
        return Audit(self.database)

    def aside(self, folder: Path) -> None:
        """From now on write elsewhere what is stopped and what stands for whom: the requests of a drill are nobody's."""
        from penstock.guard.vault import Vault

        database = Database(folder / "aside.db")
        self.__dict__["audit"] = Audit(database)
        self.__dict__["vault"] = Vault(database, Envelope(database, FileKeys(folder / "keys")))

    @cached_property
    def keys(self) -> Keys:
        return Keys(self.database, self.settings.keys, login=bool(self.settings.login.issuer))

    @cached_property
    def library(self) -> Library:
        from penstock.documents import embedders
        from penstock.documents.library import Library
        from penstock.language.crossing import Dictionaries

        settings = self.settings

        def embedder() -> Embedder:
            return embedders.build(settings.embedder, settings.folder, threads=_threads(settings.embedder))

        encryption = Encryption(self.envelope, "documents") if settings.encryption.content else None
        return Library(
            settings.home_path, embedder, folder=settings.folder, collections=settings.documents, web=settings.web,
            encryption=encryption, cross=Dictionaries,
        )  # fmt: skip

    @cached_property
    def quotes(self) -> Quotes:
        from penstock.documents.quote import Quotes

        return Quotes()

    @cached_property
    def printer(self) -> Printer:
        """Draws pages of PDF files, for servers."""
        from penstock.documents.printer import Printer

        return Printer()

    @cached_property
    def envelope(self) -> Envelope:
        return Envelope(self.database, key_source(self.settings))

    @cached_property
    def vault(self) -> Vault:
        """Stand-ins that stay. Turning them back in an answer is its purpose; a look-up by a person is recorded by whoever
        makes it."""
        from penstock.guard.vault import Vault

        return Vault(self.database, self.envelope)

    @cached_property
    def review(self) -> Review:
        """The human side: feedback, queues, approvals. It is there without documents or models too."""
        from penstock.review.requests import Past
        from penstock.review.room import Review
        from penstock.review.store import Store

        settings = self.settings
        encryption = Encryption(self.envelope, "review") if settings.encryption.content else None
        store = Store(self.database, encryption, keep_s=settings.review.keep)

        def keeps(app: str) -> bool:
            return settings.apps.get(app, AppSettings()).keep_text != "never"

        def tenant_of(key: str) -> str:
            if widget := settings.widgets.get(key.removeprefix(WIDGET)) if key.startswith(WIDGET) else None:
                return widget.tenant
            return next((one.tenant for one in (*self.keys.stated(), *self.keys.all()) if one.name == key), "")

        past = Past(self.journal_tables, lambda: self.sealed, lambda: self.analytics)
        return Review(
            store, self.audit, settings.review, settings.folder, keeps=keeps, read=self.texts.read, tenant_of=tenant_of,
            past=past,
        )  # fmt: skip

    @cached_property
    def conversations(self) -> Conversations:
        encryption = Encryption(self.envelope, "conversations") if self.settings.encryption.content else None

        def since(name: str) -> float:
            return next((key.created for key in self.keys.all() if key.name == name), 0.0)

        return Conversations(self.database, encryption, keep_s=self.settings.chat.keep, since=since)

    def foreign(self) -> Servers:
        """The servers of others whose tools may be used. They belong to the event loop in which they are first asked; close them
        there."""
        from penstock.agents.mcp_client import Pins, Servers

        def look(policy: str, text: str) -> Seen:
            return self.guard.look(text, self.policies[policy], surface="tool")

        return Servers(self.settings.mcp, Pins(self.database), folder=self.settings.folder, look=look)

    def actions(self, actions: Sequence[Action] = ()) -> ActionRequests:
        """The machine that carries out these actions of an app. Requests of all apps are in one place, so no two apps give
        the same name to different actions."""
        from penstock.agents.actions import Actions
        from penstock.agents.requests import ActionRequests

        settings = self.settings.actions
        encryption = Encryption(self.envelope, "actions") if self.settings.encryption.content else None
        return ActionRequests(
            self.database, Actions(actions), encryption, valid_s=settings.agree_within, keep_s=settings.keep
        )

    def exchange(self, agents: Sequence[Agent] = (), *, limits: Limits | None = None) -> Exchange:
        """What carries messages between these agents. Messages of all apps are in one place, so no two apps give one name to
        different agents."""
        from penstock.agents.exchange import Exchange

        encryption = Encryption(self.envelope, "messages") if self.settings.encryption.content else None
        return Exchange(self.database, agents, encryption, limits=limits, keep_s=self.settings.actions.keep)

    @property
    def bots(self) -> list[str]:
        """The apps whose answers are a bot's."""
        return [name for name, app in self.settings.apps.items() if app.bot]

    def bot(self, name: str) -> Bot:
        """The bot of an app, read from its file when it is first asked for. Raises BadSetting, with the place in the file."""
        with self._loading:
            if name not in self._bots:
                self._bots[name] = self._loaded(name)
            return self._bots[name]

    def _loaded(self, name: str) -> Bot:
        from penstock.agents.loading import loaded, parted
        from penstock.agents.scripted import Scripted
        from penstock.agents.talks import Bot

        where, said = f"apps.{name}.bot", self.settings.apps[name].bot
        same = next((one for one in self._bots if self.settings.apps[one].bot == said), "")
        if same:
            return self._bots[same]
        path, of = parted(said)
        bot: Any = loaded(self.settings.folder / Path(path).expanduser(), of, where=where, house=self)
        if not isinstance(bot, Bot):
            hint = "a Scripted, or what has actions, reply and look_again; or a function of the house that gives one"
            raise BadSetting(f"{where}: '{of}' of {path} is no bot, but a {type(bot).__name__}", hint=hint)
        if isinstance(bot, Scripted) and bot.embedder is None:
            bot.embedder = self.embedder
        taken = {action.name: one for one, other in self._bots.items() for action in other.actions}
        if again := next((action.name for action in bot.actions if action.name in taken), ""):
            hint = "requests of all apps are in one place"
            raise BadSetting(f"{where} and apps.{taken[again]}.bot both have an action '{again}'", hint=hint)
        return typing.cast("Bot", bot)

    def requests_of(self, name: str) -> ActionRequests:
        """The machine that carries out what the bot of an app may ask for."""
        bot = self.bot(name)
        with self._loading:
            if name not in self._requests:
                self._requests[name] = self.actions(bot.actions)
            return self._requests[name]

    @cached_property
    def talks(self) -> KeptTalks:
        """The conversations of all bots."""
        from penstock.agents.kept_talks import KeptTalks

        encryption = Encryption(self.envelope, "talks") if self.settings.encryption.content else None

        def since(name: str) -> float:
            return next((key.created for key in self.keys.all() if key.name == name), 0.0)

        return KeptTalks(self.database, encryption, keep_s=self.settings.actions.keep, since=since)

    def support_log(self, *, app: str = "", since: float = 0.0) -> Log:
        """What people and the house's apps said to each other, to be evaluated."""
        from penstock.support.read_house import House as Own
        from penstock.support.reading import Log

        own = Own(self.talks, self.conversations, self.journal_tables, self.review.feedback, self.texts.read)
        return Log(app or "journal", lambda log: own.conversations(app=app, since=since))

    @cached_property
    def embedder(self) -> Embedder:
        """What texts are embedded by, where there may be no documents."""
        if self.has_documents:
            return self.library.embedder
        from penstock.documents import embedders

        settings = self.settings
        return embedders.build(settings.embedder, settings.folder, threads=_threads(settings.embedder))

    @cached_property
    def _threads_of_bots(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(BOTS_AT_ONCE, "bot")

    def _with_models(self, name: str, app: AppSettings) -> Bot:
        """The bot of an app; where the app has models, they find out what somebody wants. Raises BadSetting."""
        bot = self.bot(name)
        if not app.models:
            return bot
        from penstock.agents.modelled import Modelled
        from penstock.agents.scripted import Scripted

        if not isinstance(bot, Scripted):
            raise BadSetting(
                f"apps.{name} has models, and its bot asks none: it is a {type(bot).__name__}",
                hint="models stand before a Scripted",
            )

        def policy(talk: Talk) -> str:
            if not app.prompt:
                return ""
            label, prompt = self.prompt(app.prompt)
            if talk.record is not None:
                talk.record.versions["prompt"] = label
            return prompt.told(talk.language)

        return Modelled(bot, {model: self.beside(name, app, model) for model in app.models}, policy=policy)

    def _answering(self, name: str, app: AppSettings, people: People | None) -> Answering:
        from penstock.agents.answering import Answering

        return Answering(
            name, self._with_models(name, app), self.requests_of(name), self.talks, self._threads_of_bots, self.voice(name, app),
            self.boundary(name), self._from_documents(name, app) if app.documents else None, people,
        )  # fmt: skip

    @cached_property
    def guard(self) -> Guard:
        return Guard()

    @cached_property
    def policies(self) -> Policies:
        return Policies(self.settings.guard)

    def reload_policies(self) -> bool:
        """Take over what the settings file says now of the policies, and of who may read what. Returns whether it differs.

        Raises BadSetting, and then nothing changes.
        """
        file = path_of(self.settings)  # one may have been made since
        if self.settings.file is None and not file.exists():
            return False
        with self._reloading, alone(self.settings):  # what was changed from here is recorded by now
            now = read_again(self.settings, keys=False)
            if guarded := self.policies.use(now.guard):
                self._record_by_hand()
            return bool(self.has_documents and self.library.use_access(now.documents)) or guarded

    def recording_policies(self, target: str, **facts: Fact) -> Callable[[Settings], AbstractContextManager[Any]]:
        """The record of a change of policies, for who changes the settings file. It says to what all of them come."""

        def recording(then: Settings) -> AbstractContextManager[Any]:
            version = Policies(then.guard).version
            return self.audit.changing("policy.changed", target=target, actor="", also=(), policies=version, **facts)

        return recording

    def _record_by_hand(self) -> None:
        """Write down that policies were changed, unless who changed them has, or another process that serves with this one."""
        last, now = self.audit.latest("policy.changed"), self.policies.version
        if last is None or last.get("policies") != now:
            self.audit.write("policy.changed", target="guard", policies=now)

    @cached_property
    def gateway(self) -> Gateway:
        home, settings = self.settings.home_path, self.settings
        keep = settings.journal
        metrics = Metrics() if self.worker is None else Metrics(home / METRICS, worker=self.worker)
        exporter = self._exporter = self._exporting(metrics, self._label)

        def seen(rows: Sequence[Row]) -> None:
            metrics.note(rows, self._label)
            if exporter is not None:
                exporter.seen(rows)

        journal = Journal(
            self.journal_tables, home / "journal", keep_s=keep.keep, keep_text_s=keep.keep_text, seen=seen
        )
        budgets, counters = Budgets({**settings.budgets, **_of_widgets(settings)}), self._counters(journal)
        metrics.others.append(lambda: {("journal_waiting_requests",): journal.waiting()})
        metrics.budgets = partial(_used, budgets, counters)
        around = self._around = _Around(settings, budgets, counters, journal, self.clients)
        candidates, self.locals = _candidates(around, self.served_models)
        self.watches = {name: candidate.watch for name, candidate in candidates.items()}
        every = _alone(self.served_models, candidates) | _routes(around, candidates)
        models = {name: self._shielded(name, model) for name, model in every.items()}
        return Gateway(models, budgets=budgets, counters=counters, journal=journal, metrics=metrics, texts=self.texts)

    def _exporting(self, metrics: Metrics, label: Callable[[Row], str]) -> Exporter | None:
        """What sends traces and numbers to an OpenTelemetry receiver; None where the settings name none. Raises MissingExtra."""
        observe = self.settings.observe
        if not observe.otlp_endpoint:
            return None
        from importlib.metadata import version

        from penstock.observe.conventions import Names
        from penstock.observe.export import Exporter, Receiver

        ours = version("penstock")
        resource = {
            "service.name": observe.service_name or "penstock", "service.version": ours,
            "service.instance.id": new_id(), **observe.resource,
        }  # fmt: skip
        receiver = Receiver(
            endpoint=observe.otlp_endpoint,
            headers=observe.otlp_headers,
            ca_file=str(self.settings.folder / Path(observe.otlp_ca_file).expanduser()) if observe.otlp_ca_file else "",
            metrics=observe.otlp_metrics,
            resource=resource,
        )
        self._exporting_of = _served(self.served_models)
        exporter = Exporter(
            receiver,
            names=Names(observe.semconv, observe.openinference),
            served=self._exporting_of,
            routes={dialect: f"/v1{path}" for dialect, path in PATHS.items()},
            label=label,
            words=self.texts.read if observe.otlp_text else None,
            own=metrics.own,
            version=ours,
        )
        metrics.others.append(exporter.numbers)
        return exporter

    def _label(self, row: Row) -> str:
        """The name that a request is counted under: an app's, a model's or a route's. What callers make up has the provider's."""
        known = row.app or row.model in self._labels or row.model in self.settings.routes
        return row.model if known else f"{row.model.partition('/')[0]}/*"

    @cached_property
    def _labels(self) -> set[str]:
        """The models that there are, and those that were: what was asked of them may still be running."""
        return set(self.served_models)

    @cached_property
    def journal_tables(self) -> Tables:
        """Where the journal is kept: in the home's own file, or where several machines share it."""
        address = self.settings.journal.database
        if not address:
            return self.database
        from penstock.storage.postgres import Postgres

        return Postgres(address)

    @cached_property
    def ledger(self) -> Ledger:
        """The journal, for people."""
        return Ledger(self.journal_tables)

    @cached_property
    def sealed(self) -> Sealed:
        """The journal's past, in files."""
        from penstock.observe.sealed import Sealed

        keep = self.settings.journal
        folder = self.settings.home_path / SEALED
        return Sealed(self.journal_tables, folder, keep_s=keep.keep, hot_s=keep.hot)

    @cached_property
    def analytics(self) -> Analytics:
        """The whole journal as tables."""
        from penstock.observe.analytics import Analytics

        return Analytics(self.journal_tables, self.sealed)

    def energy(self, model: str, output_tokens: int, duration_ms: float) -> Energy:
        """An estimate of what a call of a model took."""
        from penstock.observe.energy import Plant, billions_in, in_a_data_centre, on_this_machine

        said = self.settings.energy
        plant = Plant(said.grams_per_kwh, said.pue, said.watts_per_thread)
        known = self.served_models.get(model) or self.served_models.get(f"{model.partition('/')[0]}/*")
        if known and known.provider == "local":
            return on_this_machine(duration_ms, known.threads or os.cpu_count() or 1, plant)
        billions = known.billions if known else 0.0
        name = known.model if known and known.model not in ("", "*") else model
        return in_a_data_centre(output_tokens, (billions, billions) if billions else billions_in(name), plant)

    @cached_property
    def lookout(self) -> Lookout:
        """Who holds the journal against the objectives and what is usual, and has alerts delivered."""
        from penstock.observe.lookout import Lookout

        alerts, home = self.settings.alerts, self.settings.home_path
        return Lookout(
            self.database, home / "lookout.lock", self.objectives, self.settings.channels, journal=self.journal_tables,
            repeat_s=alerts.repeat, anomalies=alerts.anomalies, opinions=self.opinions,
            beside=[*([self._experimenting] if self.settings.ab else []), self._quality_watched],
        )  # fmt: skip

    # ---------------------------------------------------------------- experiments with those who call

    @cached_property
    def experiments(self) -> Experiments:
        """The experiments of the settings, as they stand."""
        from penstock.evaluate.live import Experiments

        return Experiments(self.journal_tables, self.settings.ab)

    @cached_property
    def runs(self) -> Runs:
        """The evaluations and drills that ran, and what came of them."""
        from penstock.evaluate.kept import Runs

        return Runs(
            self.database, Encryption(self.envelope, "evaluations") if self.settings.encryption.content else None
        )

    @cached_property
    def arms(self) -> Arms:
        """Who answers a request that is part of one."""
        from penstock.evaluate.arms import Arms

        return Arms(self.experiments)

    def begin_experiments(self) -> None:
        """Those that are new begin, and anew those whose settings changed. Raises StorageError or Conflict."""
        if not self.settings.ab:
            return
        for name, changed in self.experiments.open():
            log("experiment", level="warning", name=name, state="running", said="begins anew" if changed else "begins")
            self.audit.record("experiment.started", target=name, changed=changed)
        self.arms.refresh(now=True)

    def dealt(self, asked: ModelRequest) -> str:
        """The model, route, app or collection that answers a request: mostly the one that it names. Whoever may not read all that
        an app's arms answer from takes no part. The rights to what is named are for others to check."""
        if not self.settings.ab:
            return asked.model
        deal = self.arms.deals.get(asked.model)
        if deal is None or asked.dialect not in deal.dialects:
            return asked.model
        if not self.gateway.has(asked.model):
            open_to = self._open_to(asked.caller)
            if not all(self._source(name) in ("", *open_to) for name in deal.settings.arms.values()):
                return asked.model
        return deal.deal(asked) or asked.model

    def _source(self, app: str) -> str:
        settings = self.settings.apps.get(app, AppSettings())
        return settings.documents if settings.bot else settings.documents or app

    def answering(self, asked: ModelRequest) -> tuple[str, str]:
        """The collection that answers a request for an app, and the app. Raises NotFound where the caller may not ask for it."""
        source, name = self.source(asked.model, asked.caller), self.dealt(asked)
        return (source if name == asked.model else self._source(name)), name

    def _quality_watched(self, stop: Callable[[], bool]) -> list[Condition]:
        """A look at what answers are like. Where no app answers, nothing is loaded for it."""
        if not (self.has_documents and self.settings.alerts.changes):
            return []
        return self._quality.look(stop)

    @cached_property
    def _quality(self) -> Looking:
        from penstock.observe.quality import Looking, Quality

        return Looking(self.journal_tables, Quality())

    def _experimenting(self, stop: Callable[[], bool]) -> list[Condition]:
        """A look at the experiments, beside the lookout's own."""
        return self._evaluator.look(stop=stop)

    @cached_property
    def _evaluator(self) -> Evaluator:
        from penstock.evaluate.evaluator import Evaluator, Event

        def told(event: Event) -> None:
            kind: Literal["experiment.moved", "experiment.ended"] = (
                "experiment.moved" if event.kind == "moved" else "experiment.ended"
            )
            self.audit.record(kind, actor="lookout", target=event.name, state=event.state, said=event.said)

        self.begin_experiments()  # where the database could not be written before
        return Evaluator(self.experiments, said=self._satisfied, told=told)

    def _satisfied(self, requests: Sequence[str]) -> dict[str, float]:
        """How content people were with answers, 0 to 1, of those about which somebody said so."""
        found: dict[str, list[float]] = {}
        for start in range(0, len(requests), 500):
            some = requests[start : start + 500]
            marks = ", ".join("?" * len(some))
            for request, thumb, csat in self.review.store.read(
                f"select request, thumb, csat from feedback where request in ({marks})",  # noqa: S608  marks alone
                some,
            ):
                if (good := _content(thumb, csat)) is not None:
                    found.setdefault(request, []).append(float(good))
        return {request: sum(values) / len(values) for request, values in found.items()}

    @cached_property
    def alerts(self) -> Alerts:
        """What is wrong, for whoever wants to see it; the lookout says what is."""
        from penstock.observe.alerts import Alerts, Channel

        known = [Channel(name, channel.severities) for name, channel in self.settings.channels.items()]
        return Alerts(self.database, known)

    @cached_property
    def objectives(self) -> list[Objective]:
        """Those of the settings; where there are none, that requests are answered."""
        from penstock.observe.objectives import TARGETS, Objective

        stated = self.settings.objectives or {"availability": ObjectiveSettings()}
        return [
            Objective(
                name, said.kind, said.target or TARGETS[said.kind], said.period, said.app, said.model, said.within * 1000,
                round(said.most_usd * 1e12),
            )
            for name, said in stated.items()
        ]  # fmt: skip

    def tally(self) -> Tally:
        """How it stands with the objectives, for a look."""
        from penstock.observe.tally import Tally

        return Tally(
            self.database, self.objectives, journal=self.journal_tables, opinions=self.opinions, only_looks=True
        )

    def opinions(self, since: float) -> Iterator[Opinion]:
        """What was said of answers, given or changed since a Unix time."""
        from penstock.observe.tally import Opinion

        rows = self.review.store.read(
            "select at, changed, app, model, request, thumb, csat from feedback where changed >= ?", (since,)
        )
        for at, changed, app, model, request, thumb, csat in rows:
            yield Opinion(at, changed, app, model, request, _content(thumb, csat))

    @cached_property
    def texts(self) -> Texts:
        """The words of questions and answers, of apps that keep any."""
        apps = {
            name: Keeping(app.keep_text, app.keep_text_share)
            for name, app in self.settings.apps.items()
            if app.keep_text != "never"
        }
        encryption = Encryption(self.envelope, "journal") if self.settings.encryption.content else None
        if apps and encryption:
            encryption.prepare()
        return Texts(apps, encryption)

    def _shielded(self, name: str, model: Model) -> Model:
        """A model or route behind its policy, where it has one."""
        crossing = self.crossing(name.removesuffix("/*"))
        if crossing is None:
            return model
        from penstock.boundary import Shielded

        return Shielded(model, crossing)

    def untried(self, name: str, settings: ModelSettings) -> Model:
        """A provider's model by itself: for one question before anything of it is kept. Nothing is counted. Raises BadSetting."""
        upstream = _upstream(name, settings, self.clients)
        wanted = "" if settings.model == "*" else settings.model
        return Translated(upstream, speaks=upstream.dialects, default_max_tokens=FEW_TOKENS, model=wanted)

    def crossing(self, name: str) -> Callable[[ModelRequest], Crossing] | None:
        """The way of a request to a model or route and back; None where it has no policy."""
        policy = self.policy_of(name)
        if policy == OFF:
            return None
        masks = not self._is_local(name)
        return lambda request: self._crossing(policy, name, request.caller, request.record, masks=masks)

    def policy_of(self, name: str) -> str:
        """The policy that a model or route is behind. A route that names none is behind that of its models: nobody gets
        past one by another name. Raises BadSetting where they have several."""
        route = self.settings.routes.get(name)
        if route is None:
            return self.served_models[name].guard
        if route.guard != OFF:
            return route.guard
        found = {self.served_models[model].guard for model in _behind(route) if model in self.served_models} - {OFF}
        if len(found) > 1:
            raise BadSetting(
                f"the models of routes.{name} are behind several policies: {', '.join(sorted(found))}",
                hint=f"name one: routes.{name}.guard",
            )
        return found.pop() if found else OFF

    def boundary(self, app: str) -> Callable[[Turn], Boundary] | None:
        """The way of an app's question to its models and back; None where it has no policy."""
        settings = self.settings.apps.get(app, AppSettings())
        if settings.guard == OFF:
            return None
        masks = self.masks(app)
        return lambda turn: self._crossing(settings.guard, app, turn.caller, turn.record or Record(""), masks=masks)

    def masks(self, app: str) -> bool:
        """Whether personal data of an app's questions are replaced: models inside our walls may see them."""
        models = self.settings.apps.get(app, AppSettings()).models
        return not models or not all(map(self._is_local, models))

    def _crossing(self, policy_name: str, target: str, caller: Caller, record: Record, *, masks: bool) -> Crossing:
        """masks: what runs inside our walls may see personal data."""
        from penstock.guard.crossing import Crossing
        from penstock.guard.masking import Scope

        policy = self.policies[policy_name]
        record.versions["policy"] = f"{policy.name}@{policy.version}"
        whose = {"key": caller.name, "team": caller.team, "tenant": ""}.get(policy.settings.scope)
        tenant = f"tenant/{caller.tenant}" if caller.tenant else f"team/{caller.team}" if caller.team else ""
        scope = Scope() if whose is None else self.vault.scope(tenant, f"{policy.settings.scope}/{whose}")

        def blocked(types: str) -> None:
            with suppress(PenstockError):  # the refusal stands, also where it cannot be written down
                self.audit.record("request.blocked", actor=caller.name, target=target, found=types, request=record.id)

        return Crossing(
            self.guard, policy, scope, record, masks=masks, blocked=blocked, confirmations=self.confirmations
        )

    @cached_property
    def confirmations(self) -> Confirmations | None:
        """How people agree to calls of tools. The key is the same in all processes of one home."""
        from penstock.guard.tools import Confirmations

        if not any(policy.tools for policy in self.settings.guard.values()):
            return None
        return Confirmations(self.envelope.secret("", "confirmations"))

    def _is_local(self, name: str) -> bool:
        if route := self.settings.routes.get(name):
            return all(map(self._is_local, _behind(route)))
        return self.served_models[name].provider == "local"

    @cached_property
    def shelf(self) -> Shelf:
        return Shelf(self.settings.home_path / "models")

    @cached_property
    def pulls(self) -> Pulls:
        files = self.settings.server.pull_from
        return Pulls(self.shelf, files=self.settings.folder / Path(files).expanduser() if files else None)

    @cached_property
    def served_models(self) -> Mapping[str, ModelSettings]:
        """The models of the settings, and those that were pulled, each by its name."""
        return self._pulled() | dict(self.settings.models)

    def _pulled(self) -> dict[str, ModelSettings]:
        taken = {*self.settings.routes, *self.settings.documents, *self.settings.apps}
        return {card.name: ModelSettings(provider="local") for card in self.shelf.cards() if card.name not in taken}

    def reload_models(self) -> bool:
        """Take over which models were pulled or removed, and what the settings file says of models now. Returns whether it differs.

        A model that a route, an app, a translator, a probe or an experiment leans on stays as it is until the server starts
        anew. Raises BadSetting or StorageError, and then nothing changes.
        """
        file = path_of(self.settings)  # one may have been made since
        with self._exchanging:
            own = self.settings.models
            stated = read_again(self.settings, keys=False).models if file.is_file() else own
            kept = _leaned_on(self.settings)
            taken = {*self.settings.routes, *self.settings.documents, *self.settings.apps}
            named = {name: model for name, model in stated.items() if name not in kept | taken}
            named |= {name: model for name, model in own.items() if name in kept}
            before, now = self.served_models, self._pulled() | named
            if now == before:
                return False
            new = {name: model for name, model in now.items() if before.get(name) != model}
            if self._around is not None:
                self._exchange(new, {name for name in before if name not in now} | set(new))
            self.settings = replace(
                self.settings,
                models=named,
                file=self.settings.file or (self.settings.folder / FILE_NAME if file.is_file() else None),
            )
            self._labels.update(now)
            self.__dict__["served_models"] = now
            return True

    def _exchange(self, new: Mapping[str, ModelSettings], gone: set[str]) -> None:
        """Put models into the running gateway in place of others. What is asked meanwhile sees either all of them or none."""
        assert self._around is not None
        candidates, locals_ = _candidates(self._around, new)
        self.__dict__["served_models"] = {**self.served_models, **new}  # their policies stand there
        self._exporting_of.update(_served(new))
        kept = {name: model for name, model in self.gateway.models.items() if name.removesuffix("/*") not in gone}
        added = {name: self._shielded(name, model) for name, model in _alone(new, candidates).items()}
        self.gateway.models = kept | added
        watches = {name: watch for name, watch in self.watches.items() if name not in gone}
        self.watches = watches | {name: candidate.watch for name, candidate in candidates.items()}
        for local in self.locals:
            if local.name in gone:
                local.close()
        self.locals = [*(local for local in self.locals if local.name not in gone), *locals_]

    @cached_property
    def files(self) -> Files:
        most_bytes = self.settings.batches.files_mb << 20
        return Files(self.database, self.settings.home_path / "files", most_bytes=most_bytes)

    @cached_property
    def batches(self) -> Batches:
        return Batches(self.database, self.files)

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
        journal = Journal(self.journal_tables, home / "journal")
        journal.recover()
        (home / COUNTERS).unlink(missing_ok=True)
        shutil.rmtree(home / METRICS, ignore_errors=True)
        counters = [self._shared(worker) for worker in range(self.settings.server.workers)]
        counters[0].book(journal.spent())
        journal.close()
        return counters

    @cached_property
    def clients(self) -> Clients:
        return Clients()

    @property
    def has_documents(self) -> bool:
        """Whether there is anything to ask. A plain gateway never loads the library."""
        if self.settings.documents or "library" in self.__dict__:
            return True
        tables = self.database.read("select 1 from sqlite_master where name = 'collections'")
        return bool(tables and self.database.read("select 1 from collections limit 1"))

    # ---------------------------------------------------------------- what callers may ask

    def collections(self, caller: Caller) -> list[str]:
        """The collections that a caller may ask, by their own name or through an app."""
        apps = {app.documents or name for name, app in self.settings.apps.items() if allowed(name, caller)}
        return [name for name in self._open_to(caller) if name in apps or allowed(name, caller)]

    def _open_to(self, caller: Caller) -> list[str]:
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
        """What answers: each app, and each collection by its own name -> the collection it answers from; "" for a bot that has
        none."""
        names = self._open_to(caller)
        apps = {name: app.documents or name for name, app in self.settings.apps.items()}
        known = {name: name for name in names} | {app: name for app, name in apps.items() if name in names}
        known |= {bot: apps[bot] if apps[bot] in names else "" for bot in self.bots}
        return {name: source for name, source in known.items() if allowed(name, caller)}

    def models(self, caller: Caller) -> list[str]:
        """What a caller may say as `model`."""
        return sorted({*self.apps(caller), *self.gateway.names(caller)})

    def source(self, model: str, caller: Caller) -> str:
        """The collection that an app's name answers from. Raises NotFound with the names there are for the caller."""
        apps = self.apps(caller)
        if model not in apps:
            raise self.unknown(model, caller)
        return apps[model]

    def described_models(self) -> list[dict[str, Any]]:
        """Every model and route with what is known of it: what `penstock models list` shows."""
        rows: list[dict[str, Any]] = []
        cards = {card.name: card for card in self.shelf.cards()}
        for name, model in self.served_models.items():
            wanted = model.model or name
            local = model.provider == "local"
            kind = "" if local else provider(model.provider, where=f"models.{name}.provider").prices
            known = look_up(model, "local" if local else kind, wanted)
            card = cards.get(wanted) if local else None
            rate = known.price.rates[0] if known.price else None
            what = f"{card.size / 1e6:,.0f} MB, {card.licence or 'licence unknown'}" if card else wanted
            rows.append(
                {
                    "name": f"{name}/*" if model.model == "*" else name,
                    "kind": model.provider,
                    "what": what if card or not local else f"{wanted}: not pulled",
                    "input_usd_per_million": rate.input / 1e6 if rate else None,
                    "output_usd_per_million": rate.output / 1e6 if rate else None,
                    "context_tokens": known.context_tokens or (card.context_tokens if card else 0) or None,
                }
            )
        for name, route in self.settings.routes.items():
            about = {"kind": "route", "what": f"{route.choose}: {', '.join(route.models)}"}
            rows.append(
                {"name": name, **about}
                | dict.fromkeys(("input_usd_per_million", "output_usd_per_million", "context_tokens"))
            )
        return rows

    def taken(self) -> set[str]:
        """Every name that callers can say, whoever may, and those that the settings keep for a model."""
        collections = self.library.names() if self.has_documents else []
        settings = self.settings
        return {
            *collections,
            *settings.documents,
            *settings.apps,
            *settings.routes,
            *settings.models,
            *self.served_models,
        }

    def unknown(self, model: str, caller: Caller) -> NotFound:
        """The refusal of a model that is not there, with the names that there are for the caller."""
        known = ", ".join(self.models(caller)) or "none yet: penstock docs add PATH, or [models.NAME] in penstock.toml"
        return NotFound(f"there is no model '{model}'", hint=f"known: {known}")

    def answerer(self, name: str) -> Answerer:
        """Who answers for an app or a collection, people included: what is handed over, or waits for their agreement, is put before
        them."""
        from penstock.people import Looked

        app = self.settings.apps.get(name, AppSettings())
        if app.bot:
            return self._answering(name, app, self._people(name) if self.settings.review.people else None)
        answering = self.alone(name)
        if not (app.hand_over_below or app.approve != "never"):
            return answering
        return Looked(
            answering, self.voice(name, app), partial(self._put_before_people, name, hand_over=True),
            partial(self._put_before_people, name, hand_over=False), app.approve,
        )  # fmt: skip

    def _put_before_people(self, name: str, turn: Turn, answer: Answer, *, hand_over: bool) -> str:
        from penstock.review.content import TOLD_BY_VISITOR, Content

        where = self.review.hand_overs if hand_over else self.review.approvals
        why = "it was too uncertain to be said" if hand_over else "it may not leave before somebody agrees"
        if turn.history and turn.caller.name.startswith(WIDGET):
            why += f"\n{TOLD_BY_VISITOR}"
        content = Content.of(answer, turn.question, history=turn.history, why=why)
        record = turn.record or Record("")
        return where.propose(content, caller=turn.caller, person=record.person, app=name, request=record.id)

    def _people(self, name: str) -> People:
        """The people who take over from the bot of an app."""
        from penstock.review.taking_over import TakingOver

        return TakingOver(self.review.hand_overs, name)

    def alone(self, name: str) -> Answerer:
        """Who answers, with nobody looking on: for evaluations and drills. What a caller may read of it is decided in the search
        itself.

        The sample is written by the first model that was pulled, if one was.
        """
        cards = self.shelf.cards() if name == SAMPLE else []
        pulled = tuple(card.name for card in cards if card.name in self.gateway.models)[:1]
        app = self.settings.apps.get(name, AppSettings(models=pulled))
        return self._answering(name, app, None) if app.bot else self._from_documents(name, app)

    def _from_documents(self, name: str, app: AppSettings) -> Answerer:
        from penstock.answer import Quoted, Written

        checks = self.checks(name, app)
        collection = self.library[app.documents or name]
        index: Index = collection.pinned(app.version) if app.version else collection
        quoted = Quoted(
            index, self.quotes, guard=self.boundary(name), voice=self.voice(name, app),
            limits=checks.limits,
        )  # fmt: skip
        if not app.models:
            return quoted
        told = partial(self._told, app.prompt) if app.prompt else None
        return Written(quoted, {model: self.gateway.models[model] for model in app.models}, checks, told)

    @cached_property
    def prompts(self) -> Prompts:
        from penstock.prompts import Prompts

        return Prompts(self.database)

    def prompt(self, name: str) -> tuple[str, Prompt]:
        """What stands for a prompt in the journal, and the prompt: the version that is live, else its file. Raises NotFound."""
        from penstock.prompts import read_prompt, styled

        settings = self.settings.prompts.get(name, PromptSettings())
        found: Version | None
        if settings.version not in ("live", "draft"):
            found = self.prompts.version(name, int(settings.version.removeprefix("v")))
        else:
            found = self.prompts.live(name) if settings.version == "live" else None
        if found is not None:
            label, prompt = found.label, found.prompt
        elif settings.file:
            prompt = read_prompt(self.settings.folder / Path(settings.file).expanduser())
            label = f"{name}@{prompt.hash}"
        else:
            raise NotFound(f"there is no prompt '{name}'", hint=f'[prompts.{name}] file = "prompts/{name}.toml"')
        if settings.style or settings.shots >= 0:
            prompt = styled(prompt, settings.style or prompt.style, settings.shots if settings.shots >= 0 else None)
            label += f" {prompt.style}-{prompt.shots}"
        return label, prompt

    def _told(self, name: str, turn: Turn) -> Told:
        """What the models of an app are told for one question."""
        from penstock.answer import Told
        from penstock.prompts import MARKER

        label, prompt = self.prompt(name)
        if turn.record is not None:
            turn.record.versions["prompt"] = label
        shown = prompt.shown(turn.standalone, turn.language, self.library.embedder.embed)
        return Told(prompt.told(turn.language, shown), MARKER if prompt.style == "steps" else "")

    # ---------------------------------------------------------------- checks and languages

    def checks(self, name: str, app: AppSettings) -> Checks:
        """What is asked of an app's answers before they leave."""
        from penstock.verify.decide import Limits
        from penstock.writing import Checks

        return Checks(
            verifier=partial(self._verifier, name, app) if app.grounded else None,
            unsupported=app.unsupported,
            least=app.supported_from,
            limits=Limits(app.hedge_below, app.hand_over_below, app.abstain_below),
            protected=app.protected,
        )

    def _verifier(self, name: str, app: AppSettings, turn: Turn) -> Verifier:
        """What checks one answer. Models that judge see what the app's own models would see, and are paid for alike."""
        from penstock.models.translate import read
        from penstock.verify.check import Tier, verifier
        from penstock.verify.evidence import Reader
        from penstock.verify.judge import Ensemble, Judge

        judges: list[Verifier] = []
        for judge in app.judges or ("",):
            if judge in typing.get_args(Tier):
                judges.append(verifier(typing.cast(Tier, judge)))
                continue
            model = self.beside(name, app, judge)
            judges.append(Judge(judge, model, Reader(), read=read, caller=turn.caller, record=turn.record))
        return judges[0] if len(judges) == 1 else Ensemble(judges)

    def beside(self, name: str, app: AppSettings, model: str) -> Model:
        """A model that does something else for an app than answer, behind the app's policy."""
        from penstock.boundary import Shielded

        inner = self.gateway.models[model]
        if app.guard == OFF:
            return inner
        masks = not self._is_local(model)
        return Shielded(inner, lambda r: self._crossing(app.guard, name, r.caller, r.record, masks=masks))

    def voice(self, name: str, app: AppSettings) -> Voice:
        """How an app speaks to people."""
        from penstock.language.voice import Voice

        translator = partial(self.translator, name, app) if app.translators else None
        return Voice(app.languages, app.formality, translator)

    def translator(self, name: str, app: AppSettings, turn: Turn) -> Translator:
        """What translates for an app and whoever asks it, with what is remembered of earlier translations."""
        from penstock.language.translating import Careful, Chain

        engines = [self.engine(each, turn, name, app) for each in app.translators]
        chain = engines[0] if len(engines) == 1 else Chain(engines)
        return Careful(chain, glossary=self.glossary(app.glossary), memory=self.translations)

    def engine(
        self, translator: str, turn: Turn | None = None, name: str = "", app: AppSettings | None = None
    ) -> Translator:
        """One translator of the settings by itself. turn, name, app: whom it works for, where it is a model that is paid for."""
        from penstock.language.engines import SERVICES
        from penstock.language.local import Local as LocalTranslator
        from penstock.language.model import ByModel
        from penstock.models.translate import read

        settings = self.settings.translators[translator]
        if settings.kind == "model":
            model = self.beside(name, app or AppSettings(), settings.model)
            caller, record = (turn.caller, turn.record) if turn else (None, None)
            return ByModel(translator, model, read=read, formality=settings.formality, caller=caller, record=record)
        if translator not in self._engines:
            kind = SERVICES.get(settings.kind)
            self._engines[translator] = (
                kind(translator, settings) if kind else LocalTranslator(translator, settings, self.settings.folder)
            )
        return self._engines[translator]

    @cached_property
    def _engines(self) -> dict[str, Translator]:
        """Services and loaded models, shared by all apps."""
        return {}

    @cached_property
    def translations(self) -> Memory:
        """What was translated before, and what people made of it."""
        from penstock.language.memory import Memory

        return Memory(self.database)

    def glossary(self, name: str) -> Glossary:
        from penstock.language.terms import Glossary

        if not name:
            return Glossary()
        settings = self.settings.glossaries[name]
        terms = {(term, language): said for term, by in settings.terms.items() for language, said in by.items()}
        return Glossary(settings.keep, terms)

    def close(self) -> None:
        parts: dict[str, Any] = self.__dict__
        for model in self.locals:
            model.close()
        if "gateway" in parts:
            self.gateway.journal.close()
        if self._exporter is not None:  # after the last rows have been stored
            self._exporter.close()
        if "printer" in parts:
            self.printer.close()
        if "_threads_of_bots" in parts:
            self._threads_of_bots.shutdown()
        for requests in self._requests.values():
            requests.close()
        if "library" in parts:
            self.library.close()
        if "audit" in parts:
            self.audit.close()
            if self.audit.database is not parts.get("database"):
                self.audit.database.close()
        for name in ("journal_tables", "database"):
            if name in parts:
                parts[name].close()


def assemble(settings: Settings) -> House:
    """Build the house. Nothing is loaded or fetched yet: the encoder comes with the first text to embed."""
    return House(settings)


def _content(thumb: str, csat: int) -> bool | None:
    """Whether somebody was content with an answer; None where they said neither."""
    if thumb == "down" or 0 < csat <= 2:
        return False
    return True if thumb == "up" or csat >= 4 else None


def _behind(route: RouteSettings) -> list[str]:
    """The models that may answer what a route is asked, or read it."""
    return [*route.models, *route.tags.values(), *filter(None, (route.when_budget_low, route.summarise))]


def _leaned_on(settings: Settings) -> set[str]:
    """The models that something else in the settings holds on to, once it runs."""
    named = {model for route in settings.routes.values() for model in _behind(route)}
    named |= {model for app in settings.apps.values() for model in (*app.models, *app.judges)}
    named |= {translator.model for translator in settings.translators.values() if translator.kind == "model"}
    named |= {probe.model.partition("/")[0] for probe in settings.probes.values()}
    named |= {model for ab in settings.ab.values() for model in (ab.target, *ab.arms.values())}
    return named & settings.models.keys()


def samples() -> Path:
    """The project's own documentation: beside the package when installed, in the repository when run from it."""
    here = Path(__file__).parent
    return next(path for path in (here / "samples/docs", here.parents[1] / "docs") if path.is_dir())


# ---------------------------------------------------------------- models


# The order of wrapping, from the caller inwards, and why:
#
#     Shielded     what a policy stops costs nothing, and below it there are stand-ins only, in caches too
#     Similar      the answer to a question that asks the same in other words; around what keeps the answers
#     Cached       an answer that is kept costs nothing, and meets no limit but that of requests
#     SingleFlight who asks what is being answered listens to that answer
#     Route        picks a way by tags and money; nothing is held yet
#     Cascade      a whole cheap answer, then perhaps a strong one: each by a fallback of its own
#     Fallback     one after the other: every try below queues, is refused and is paid for by itself
#     Hedged       two at a time; below it, so that a pair that failed is one try
#     Pruned       for each model by itself, since each reads another length
#     Queued       a turn. Outside of what holds money and of the rest: nobody's budget is held while they wait, and who has
#                  waited for an upstream that failed meanwhile is refused instead of sent there
#     Translated   from the client's dialect into one that the upstream speaks, where it speaks another
#     Guarded      the rest of an upstream that fails; it sees what the upstream did, and no refusals of budgets
#     Metered      money and tokens of one call, and what the watch is told: losers of a hedge are booked like all others
#     Batched      embeddings that were asked for at the same time become one call; each is booked with its share
#     Upstream     HTTP
#
# A model without a route has no more than Guarded, which is one comparison, and Metered. Queued is there where there is a limit.


@dataclass(frozen=True, slots=True)
class _Around:
    """What all models share."""

    settings: Settings
    budgets: Budgets
    counters: Counters
    journal: Journal
    clients: Clients


def _candidates(around: _Around, models: Mapping[str, ModelSettings]) -> tuple[Mapping[str, Candidate], list[Local]]:
    """Every model by its name in the settings, and those of them that run here."""
    found: dict[str, Candidate] = {}
    locals_: list[Local] = []
    for name, model in models.items():
        if model.provider == "local":
            here = _local(name, model, around.settings)
            upstream: Upstream | Local = here
            known = look_up(model, "local", model.model or name)
            locals_.append(here)
        else:
            upstream = _upstream(name, model, around.clients)
            kind = provider(model.provider, where=f"models.{name}.provider")
            known = look_up(model, kind.prices, model.model or name)
        watch = Watch(name)
        metered = Metered(
            Batched(upstream) if model.join_embeddings else upstream,
            watch,
            known=known,
            budgets=around.budgets,
            counters=around.counters,
            holding=around.journal.hold,
            by_name=_by_name(model, name) if model.model == "*" else None,
        )
        ready: Model = Translated(
            Guarded(metered, watch.breaker),
            speaks=frozenset({"chat"}) if isinstance(upstream, Local) else upstream.dialects,
            default_max_tokens=known.max_output_tokens or OUTPUT_TOKENS,
            model="" if model.model == "*" else model.model,
        )
        if model.max_concurrent:
            ready = Queued(
                ready,
                watch,
                most_running=model.max_concurrent,
                most_waiting=model.max_queue,
                longest_wait_s=model.queue_s,
            )
        found[name] = Candidate(name, ready, watch, known)
    return found, locals_


def _by_name(settings: ModelSettings, name: str) -> Callable[[str], Known]:
    """What is known of each model of a provider, where callers say which."""
    prices = provider(settings.provider, where=f"models.{name}.provider").prices

    @lru_cache(maxsize=1024)
    def found(model: str) -> Known:
        return look_up(settings, prices, model)

    return found


def _alone(models: Mapping[str, ModelSettings], candidates: Mapping[str, Candidate]) -> dict[str, Model]:
    """Every model by the name callers say."""
    return {f"{name}/*" if model.model == "*" else name: candidates[name].model for name, model in models.items()}


def _routes(around: _Around, candidates: Mapping[str, Candidate]) -> dict[str, Model]:
    """Every route by the name callers say."""
    routes: dict[str, Model] = {}
    for name, route in around.settings.routes.items():
        fitted = {model: _fitted(candidate, route, candidates) for model, candidate in candidates.items()}
        routes[name] = _remembering(name, route, _route(route, fitted, around.budgets, around.counters))
    return routes


def _remembering(name: str, route: RouteSettings, model: Model) -> Model:
    """A route with what it keeps of its answers. Its documents and policies have no versions of their own yet."""
    scope = Scope(name)
    if route.single_flight:
        model = SingleFlight(model, scope)
    if route.cache == "off":
        return model
    kept = Kept(most_mb=route.cache_mb, keep_s=route.cache_for)
    model = Cached(model, kept, scope)
    if route.cache == "semantic":
        from penstock.models.similar import Similar

        model = Similar(model, kept, scope, _encoder, similarity=route.similarity)
    return model


@cache
def _encoder() -> Embedder:
    """The shipped encoder, loaded once for all routes that need it."""
    from penstock.encoder import shipped

    return shipped()


def _fitted(candidate: Candidate, route: RouteSettings, candidates: Mapping[str, Candidate]) -> Candidate:
    """A model as one route uses it: where the route prunes, it is never sent more than it reads."""
    context = candidate.known.context_tokens
    if not route.prune or not context:
        return candidate
    by = candidates.get(route.summarise)
    summaries = Summaries(by.model, name=by.name) if by else None
    return replace(candidate, model=Pruned(candidate.model, context_tokens=context, summaries=summaries))


def _route(route: RouteSettings, candidates: Mapping[str, Candidate], budgets: Budgets, counters: Counters) -> Route:
    def one_of(*names: str, order: Order = as_listed) -> Fallback:
        choose = choosing([candidates[name] for name in names], order)
        if route.hedge:
            choose = hedging(choose, after_s=route.hedge_after_s)
        return Fallback(choose, retries=route.retries)

    usual: Model
    if route.choose == "cascade":
        cheap, *strong = route.models
        first = Fallback(choosing([candidates[cheap]], as_listed), retries=0)  # the strong model is its second try
        usual = Cascade(first, one_of(*strong), check=CHECKS[route.cascade_check], threshold=route.cascade_threshold)
    else:
        orders: dict[str, Order] = {
            "order": as_listed,
            "weighted": Weighted(route.weights),
            "least_busy": least_busy,
            "fastest": fastest,
            "cheapest": cheapest,
        }
        usual = one_of(*route.models, order=orders[route.choose])
    thrifty = None
    if low := route.when_budget_low:
        thrifty = one_of(low, *(name for name in route.models if name != low))
    return Route(
        usual,
        tagged={tag: one_of(model) for tag, model in route.tags.items()},
        thrifty=thrifty,
        is_low=little_left(budgets, counters, route.budget_low_percent),
        deadline_s=route.deadline_s,
    )


def _of_widgets(settings: Settings) -> dict[str, BudgetSettings]:
    """What may be asked of each widget, and by each of its visitors. No budget of the settings can have a name with a colon."""
    found = {}
    for name, widget in settings.widgets.items():
        key = f"{WIDGET}{name}"
        found[key] = BudgetSettings(key=key, requests_per_day=widget.per_day)
        found[f"visitors:{name}"] = BudgetSettings(
            key=key,
            per="person",
            requests_per_minute=widget.visitor_per_minute,
            requests_per_day=widget.visitor_per_day,
        )
    return found


def _served(models: Mapping[str, ModelSettings]) -> dict[str, Served]:
    """Every model as its provider knows it."""
    from penstock.observe.conventions import Served

    found = {}
    for name, model in models.items():
        address = urlsplit(model.base_url or getattr(PROVIDERS.get(model.provider), "base_url", ""))
        port = address.port or {"http": 80, "https": 443}.get(address.scheme, 0)
        found[name] = Served(model.provider, model.model or name, address.hostname or "", port)
    return found


def _used(budgets: Budgets, counters: Counters) -> Iterator[tuple[str, str, float]]:
    """Of each limit of the budgets that all share: budget, limit, how much of it is used or held."""
    for limits in budgets.known({}).values():
        for limit in limits:
            kind, name, setting = limit.name.split("/", 2)
            if kind == "budget":
                used, held = counters.standing(limit)
                yield name, setting, (used + held) / limit.most


def _local(name: str, settings: ModelSettings, around: Settings) -> Local:
    """A model on the shelf by its name there, or a file of one's own."""
    wanted = settings.model or name
    path = Path(wanted).expanduser()
    if not wanted.endswith(".gguf"):
        path = around.home_path / "models" / wanted / "model.gguf"
    return Local(
        around.folder / path,
        name=name,
        threads=settings.threads,
        context_tokens=settings.context_tokens,
        parallel=settings.parallel,
    )


def _upstream(name: str, settings: ModelSettings, clients: Clients) -> Upstream:
    kind = provider(settings.provider, where=f"models.{name}.provider")
    proxies = Proxies(settings.proxy, settings.proxy)
    address = settings.base_url or kind.base_url
    if not address:
        raise BadSetting(
            f"models.{name}.base_url is empty, and {settings.provider} has no address of its own",
            hint="the provider's console shows it; it mostly ends in /v1",
        )
    if settings.api_version:
        address += f"?api-version={settings.api_version}"
    url = Url.parse(address, proxies=proxies)
    headers = {"user-agent": "penstock", **settings.headers}
    if settings.api_key:
        bearer = kind.key_header == "authorization"
        headers[kind.key_header] = f"Bearer {settings.api_key}" if bearer else settings.api_key
    if settings.provider == "anthropic":
        headers.setdefault("anthropic-version", "2023-06-01")
    return Upstream(
        partial(clients.here, settings.ca_file),
        url,
        name=name,
        model=settings.model or name,
        headers=headers,
        dialects=dialects(settings, f"models.{name}"),
        timeouts=Timeouts(settings.connect_s, settings.first_byte_s, settings.idle_s),
    )


def key_source(settings: Settings) -> KeySource:
    """Where the keys come from that wrap all others."""
    said = settings.encryption.keys
    if said.startswith("env:"):
        return EnvironmentKeys(said.removeprefix("env:"))
    if said != "file":
        raise BadSetting(f"encryption.keys is '{said}'", hint="file, or env:NAME")
    path = settings.encryption.key_file
    return FileKeys(settings.folder / Path(path).expanduser() if path else settings.home_path / "keys")


def _threads(settings: EmbedderSettings) -> int:
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return settings.threads or here or 1
