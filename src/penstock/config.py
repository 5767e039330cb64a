"""Every setting, typed, with its unit in its name and its default: `penstock.toml`, then the environment on top.

An unknown key is refused by name, with the nearest known one. With no file at all, everything works on a laptop.
`env:NAME` in place of a secret reads it from the environment, `file:PATH` from a file. Durations are written "90s", "15m", "1h",
"7d".
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
import time
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from datetime import UTC, date, datetime
from datetime import time as clock
from pathlib import Path
from typing import Any, Literal, NamedTuple, NewType, TypeVar, get_args, get_origin
from urllib.parse import unquote, urlsplit

from penstock.errors import BadRequest, BadSetting

__all__ = [
    "WIDGET",
    "ABSettings",
    "AlertSettings",
    "AppSettings",
    "AuditSettings",
    "BatchSettings",
    "BudgetSettings",
    "ChannelSettings",
    "ChatSettings",
    "DetectorSettings",
    "DocumentsSettings",
    "EmbedderSettings",
    "EncryptionSettings",
    "EnergySettings",
    "EvaluationSettings",
    "GlossarySettings",
    "GuardSettings",
    "JournalSettings",
    "KeySettings",
    "LogSettings",
    "LoginSettings",
    "McpSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "ObserveSettings",
    "ProbeSettings",
    "PromptSettings",
    "ReviewSettings",
    "RouteSettings",
    "RuleSettings",
    "Seconds",
    "ServerSettings",
    "Settings",
    "TranslatorSettings",
    "VaultSettings",
    "WebSettings",
    "WidgetSettings",
    "check_name",
    "described_keys",
    "is_loopback",
    "iso",
    "load",
    "moment",
    "secret_files",
    "typed",
]

FILE_NAME = "penstock.toml"
WIDGET = "widget:"  # what the names of callers begin with who use a chat on another site
LONGEST_S = 36_500 * 86_400.0  # a century: what lies beyond overflows a date
Seconds = NewType("Seconds", float)
Secret = NewType("Secret", str)
T = TypeVar("T")


def setting(default: Any, text: str) -> Any:
    """A field with its help text, which the settings reference is generated from."""
    kind = "default_factory" if callable(default) else "default"
    return field(**{kind: default}, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the HTTP server listens."""

    host: str = setting("127.0.0.1", "Address to bind. Any address but loopback needs at least one key.")
    port: int = setting(8080, "Port; when it is taken, `penstock up` uses the next free one and says so.")
    public_hosts: tuple[str, ...] = setting((), "Further names that a server bound to this machine answers to.")
    max_body_mb: int = setting(100, "Largest request body, uploads included.")
    workers: int = setting(1, "Processes that serve; limits and budgets hold over all of them.")
    drain_s: float = setting(20.0, "How long running requests may take to finish after SIGTERM.")
    pull_from: str = setting(
        "",
        "Folder from which admins may pull GGUF files in the console; empty: from none. The terminal takes any path.",
    )
    tls_cert: str = setting("", "File with the server's certificate and those that signed it (PEM): serves HTTPS.")
    tls_key: str = setting("", "File with its private key; empty: it is in the file of the certificate.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Log lines: JSON on standard error, without anybody's words."""

    level: Literal["debug", "info", "warning", "error", "off"] = setting("warning", "Lowest level that is written.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    """The model that turns text into vectors. Changing it builds the next version anew, beside the live one."""

    model: str = setting(
        "minilm", "`minilm` (shipped), a folder with model.onnx and tokenizer.json, `hub:owner/name`, or a `/v1` URL."
    )
    name: str = setting("", "Model name sent to a `/v1` URL.")
    api_key: Secret = setting("", "Key for a `/v1` URL; write `env:NAME`.")
    precision: Literal["auto", "int8", "float32"] = setting(
        "auto", "Arithmetic of the shipped model; `auto` takes int8 where the processor has fast int8."
    )
    threads: int = setting(0, "Threads for indexing; 0 takes one per core.")
    timeout_s: float = setting(30.0, "Longest wait for a `/v1` URL.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """How web pages are fetched."""

    delay_s: float = setting(1.0, "Pause between two requests to one host; robots.txt may ask for more.")
    max_pages: int = setting(500, "Most pages taken from one sitemap.")
    max_page_mb: int = setting(20, "Largest page.")
    timeout_s: float = setting(20.0, "Longest wait for one page.")
    user_agent: str = setting("penstock", "Name sent to servers and looked up in robots.txt.")
    allow_private: bool = setting(False, "Fetch from private and loopback addresses too.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """What holds for the documents whose source matches a pattern. Of several that match, the last one that says a thing wins."""

    match: str = setting("*", "Pattern for the source, as in `hr/**`.")
    access: tuple[str, ...] = setting((), "Roles and persons who may read them; empty: everybody.")
    tags: tuple[str, ...] = setting((), "Tags added to them.")
    stale_after: Seconds = setting(Seconds(0.0), "Age after which a citation is marked stale; 0: never.")
    keep: Seconds = setting(
        Seconds(0.0), "Age after which they are taken out of every version, and not taken in again; 0: never."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsSettings:
    """One collection of documents: `[documents.NAME]`."""

    paths: tuple[str, ...] = setting((), "Files, folders, web pages and sitemaps.")
    include: tuple[str, ...] = setting((), "Patterns of the files to take from folders; empty: all that can be read.")
    exclude: tuple[str, ...] = setting((), "Patterns of the files and folders to leave out.")
    refresh: Seconds = setting(Seconds(0.0), "How often a running server looks for changes; 0: only when asked.")
    questions: tuple[str, ...] = setting((), "Questions that the chat page offers as buttons.")
    golden: str = setting("", "File of questions (JSON Lines) that a new version must answer as well as the live one.")
    golden_tolerance: float = setting(0.01, "How much recall@5 or nDCG@10 may fall before a version is refused.")
    golden_gap: float = setting(
        0.0, "How much lower recall@5 may be in any language of the questions than in English; 0: as it comes."
    )
    keep_versions: int = setting(5, "Versions kept for rolling back.")
    access: tuple[str, ...] = setting((), "Roles and persons who may read the collection; empty: everybody.")
    rules: tuple[RuleSettings, ...] = setting((), "`[[documents.NAME.rules]]`: access, tags, staleness by pattern.")
    max_file_mb: int = setting(100, "Largest file, and largest content of one archive.")
    ocr: bool = setting(True, "Read scanned pages where the `ocr` extra is installed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """One model: `[models.NAME]`. Callers say `model = "NAME"`, or `"NAME/anything"` where `model = "*"`."""

    provider: str = setting(
        "openai", "Who serves it: `openai` for any OpenAI-compatible server, or a name from the guide."
    )
    model: str = setting("", "Its name there; `*` takes the name from the caller. Empty: the same as here.")
    base_url: str = setting("", "Address of the server, `/v1` included; empty: the provider's own.")
    api_key: Secret = setting("", "Key of the provider; write `env:NAME`, or `file:PATH`.")
    headers: Mapping[str, Secret] = setting(
        dict, "Further headers that the provider wants; write `env:NAME` for a secret."
    )
    billions: float = setting(
        0.0, "Its active parameters in billions, for the estimate of energy; 0: as its name says, if it does."
    )
    api_version: str = setting("", "`api-version` of Azure.")
    dialects: tuple[str, ...] = setting(
        (),
        "What the server speaks, such as `chat`, `responses`, `messages`, `embeddings`; empty: as its provider does.",
    )
    proxy: str = setting("", "HTTP proxy to reach it through, `http://user:password@host:port`.")
    ca_file: str = setting("", "Certificates to trust instead of the system's.")
    connect_s: float = setting(10.0, "Longest wait for a connection.")
    first_byte_s: float = setting(120.0, "Longest wait for the beginning of an answer.")
    idle_s: float = setting(60.0, "Longest silence within an answer.")
    max_concurrent: int = setting(
        0, "Most calls at the same time; more wait their turn, fairly between keys. 0: no limit."
    )
    queue_s: float = setting(30.0, "Longest wait for a turn.")
    max_queue: int = setting(1000, "Most requests that wait; more are turned away at once.")
    input_usd_per_million: float | None = setting(None, "Price of input tokens; without it, that of the price data.")
    output_usd_per_million: float | None = setting(None, "Price of output tokens.")
    cached_input_usd_per_million: float | None = setting(None, "Price of input tokens that the provider had cached.")
    usd_per_call: float | None = setting(None, "Price of one call, of each picture, or of each search of a rerank.")
    usd_per_minute: float | None = setting(None, "Price of a minute of audio: transcriptions.")
    usd_per_million_characters: float | None = setting(None, "Price of text that is spoken: speech.")
    context_tokens: int = setting(0, "Longest input and output together; 0: as the price data says, if it does.")
    max_output_tokens: int = setting(0, "Longest output; 0: as the price data says, else 4096.")
    join_embeddings: bool = setting(
        False, "Requests for embeddings that arrive within three milliseconds become one call."
    )
    threads: int = setting(0, "Threads of a local model; 0 takes every core but one.")
    parallel: int = setting(4, "Requests that a local model works on at the same time.")
    guard: str = setting("off", "Its policy: a `[guard.NAME]`, `default`, or `off`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """Several models behind one name: `[routes.NAME]`. Callers say `model = "NAME"`."""

    models: tuple[str, ...] = setting((), "The models, in the order in which they are tried.")
    choose: Literal["order", "weighted", "least_busy", "fastest", "cheapest", "cascade"] = setting(
        "order",
        "Which model comes first: as listed, by weight, or by what was seen of each. `cascade` tries the cheap one first.",
    )
    weights: Mapping[str, float] = setting(dict, "Shares for `weighted`, by model; one that is not named has 1.")
    retries: int = setting(2, "Further tries after an error that may pass, over all models.")
    deadline_s: float = setting(0.0, "Longest time for the beginning of an answer, all tries together; 0: no limit.")
    hedge: bool = setting(
        False, "Ask a second model when the first is slower than it usually is, and take whoever is first."
    )
    hedge_after_s: float = setting(0.0, "When to ask the second; 0: after the 95th percentile of what was seen.")
    tags: Mapping[str, str] = setting(dict, "Tag of a request -> the model that takes it.")
    when_budget_low: str = setting("", "The model that takes over when little of a budget is left.")
    budget_low_percent: float = setting(10.0, "How much of a budget is little.")
    cascade_check: Literal["confident", "json", "agree"] = setting(
        "confident",
        "What the cheap answer must pass: its own token probabilities, valid JSON, or agreement of two tries.",
    )
    cascade_threshold: float = setting(0.8, "How sure the cheap answer must be.")
    cache: Literal["off", "exact", "semantic"] = setting("off", "Give the same answer to the same question again.")
    cache_for: Seconds = setting(Seconds(3600.0), "How long an answer is kept.")
    cache_mb: int = setting(64, "Memory for kept answers.")
    similarity: float = setting(0.0, "How alike two questions must be for `semantic`; 0: the measured default.")
    single_flight: bool = setting(False, "Identical requests that run at the same time share one call.")
    prune: bool = setting(False, "Leave out the oldest messages where a conversation is longer than the model reads.")
    summarise: str = setting("", "The model that sums up what `prune` leaves out.")
    guard: str = setting("off", "Its policy: a `[guard.NAME]`, `default`, or `off`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """What may be used: `[budgets.NAME]`. It counts the requests that fit every one of key, team, app and model."""

    key: str = setting("", "Only requests with this key.")
    team: str = setting("", "Only requests of this team.")
    app: str = setting("", "Only requests for this app.")
    model: str = setting("", "Only calls of this model.")
    per: Literal["", "key", "person", "team", "app", "model"] = setting(
        "",
        "One such budget for each; `person` is the request's `user` or `safety_identifier`. Empty: one for all together.",
    )
    limit_usd_per_day: float = setting(0.0, "Money in one day, UTC; 0: no limit.")
    limit_usd_per_month: float = setting(0.0, "Money in one calendar month, UTC.")
    limit_usd: float = setting(0.0, "Money altogether.")
    limit_tokens_per_day: int = setting(0, "Tokens in one day, input and output.")
    requests_per_minute: int = setting(0, "Requests in a minute.")
    requests_per_day: int = setting(0, "Requests in one day.")
    tokens_per_minute: int = setting(0, "Tokens in a minute, input and output.")
    concurrent: int = setting(0, "Requests that run at the same time.")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """Batches: many requests that are in no hurry, and the files that callers keep for them."""

    concurrent: int = setting(16, "Most requests of batches that run at the same time.")
    files_mb: int = setting(2048, "Most that one key may keep in files.")
    keep: Seconds = setting(
        Seconds(0.0), "How long files and ended batches are kept; 0: for ever, or as the caller said."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """The journal: one row per request, without anybody's words where an app does not say otherwise."""

    keep: Seconds = setting(Seconds(90 * 86_400.0), "How long rows are kept; 0: for ever.")
    database: Secret = setting(
        "",
        "Address of a PostgreSQL that several machines share, `postgresql://…`, better as `env:NAME`; empty: the home's own file. "
        "Needs the extra `postgres`.",
    )
    hot: Seconds = setting(
        Seconds(3 * 86_400.0),
        "How long they stay in the database once they are sealed into files, which needs the extra `analytics`; 0: always.",
    )
    keep_text: Seconds = setting(
        Seconds(30 * 86_400.0),
        "How long questions and answers are kept, of apps that keep any; 0: as long as their rows.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveSettings:
    """Traces and numbers for an OpenTelemetry receiver. What is left empty is taken from OpenTelemetry's own variables."""

    otlp_endpoint: str = setting(
        "", "Address of a receiver of OTLP over HTTP, `http://127.0.0.1:4318`; empty: nothing is sent."
    )
    otlp_headers: Mapping[str, Secret] = setting(dict, "Headers that it wants; write `env:NAME` for a secret.")
    otlp_ca_file: str = setting("", "Certificates to trust instead of the system's.")
    otlp_metrics: bool = setting(True, "Send numbers too, once a minute.")
    otlp_text: bool = setting(
        False, "Send questions and answers, of apps that keep them (`keep_text`), and the person whom callers name."
    )
    semconv: Literal["stable", "latest", "both"] = setting(
        "stable",
        "Names of OpenTelemetry's GenAI conventions: those of 1.36, which most receivers read, the latest, or both.",
    )
    openinference: bool = setting(False, "Add the names of OpenInference, which Phoenix reads.")
    service_name: str = setting("", "What traces and numbers are from; empty: `penstock`.")
    resource: Mapping[str, str] = setting(dict, 'More of the same, such as `"deployment.environment.name" = "prod"`.')


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergySettings:
    """What the estimate of energy and carbon reckons with."""

    grams_per_kwh: float = setting(480.0, "CO2 equivalent of the electricity; the default is the world's of 2023.")
    pue: float = setting(1.2, "What the building takes besides, for each watt of its machines.")
    watts_per_thread: float = setting(8.0, "What one thread of a model on this machine draws.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """The audit trail."""

    keep: Seconds = setting(Seconds(0.0), "How long records are kept; what is left still verifies. 0: for ever.")


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSettings:
    """Stand-ins that stay."""

    keep: Seconds = setting(Seconds(0.0), "How long a scope is kept that nobody uses; 0: for ever.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """The chat page."""

    history: bool = setting(
        True, "Keep people's conversations, so that they find them again. Each sees their own alone."
    )
    keep: Seconds = setting(
        Seconds(180 * 86_400.0), "How long after its last answer a conversation is kept; 0: for ever."
    )
    share: Seconds = setting(
        Seconds(30 * 86_400.0), "How long a link to a shared conversation works; 0: none can be shared."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSettings:
    """What apps do for people, and what is kept of it."""

    agree_within: Seconds = setting(Seconds(600.0), "How long a person has to agree to what was read back to them.")
    keep: Seconds = setting(
        Seconds(180 * 86_400.0), "How long a request for an action is kept once it is over, with its log; 0: for ever."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSettings:
    """What people say of answers, and how they look at them."""

    role: str = setting("reviewer", "Who has this role may review; admins always may.")
    labels: tuple[str, ...] = setting(
        ("correct", "wrong", "incomplete", "harmful", "unclear"), "The verdicts that a reviewer can give."
    )
    failures: tuple[str, ...] = setting(
        ("wrong", "incomplete", "harmful"), "Those of them that are errors; the others are none."
    )
    unscored: tuple[str, ...] = setting(("unclear",), "Those that say neither: they are counted by themselves.")
    lease: Seconds = setting(Seconds(900.0), "How long whoever claimed an item has it for themselves.")
    approve_within: Seconds = setting(Seconds(3600.0), "When a proposed reply expires that nobody has decided on.")
    reply_within: Seconds = setting(Seconds(86_400.0), "When a question expires that was handed over.")
    people: bool = setting(False, "There are people who reply: the chat page offers to ask one.")
    cases: str = setting("cases.jsonl", "File that confirmed failures go to as cases, relative to the settings file.")
    keep: Seconds = setting(
        Seconds(180 * 86_400.0), "How long feedback and reviews are kept, with the words in them; 0: for ever."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSettings:
    """How good is good enough: `[objectives.NAME]`. Without any there is one, the availability of each app and model.

    `grounded`, `refusals` and `first_piece` concern answers that can be told to be so; `satisfaction` what people say of them.
    """

    kind: Literal["availability", "latency", "first_piece", "grounded", "refusals", "satisfaction", "cost"] = setting(
        "availability",
        "What is counted as good: answered; in time; begun in time; supported; no refusal; liked; cheap.",
    )
    app: str = setting("", "Only requests for this app.")
    model: str = setting("", "Only requests for this model or route. Neither: each app and model by itself.")
    target: float = setting(
        0.0,
        "The share that is to be good, below 1; 0: 0.99 for availability, 0.95 for latency, first piece and cost, 0.9 for "
        "grounded, 0.8 for refusals and satisfaction.",
    )
    within: Seconds = setting(
        Seconds(0.0), "Time that an answer, or its first piece, may take: `latency`, `first_piece`."
    )
    most_usd: float = setting(0.0, "What an answer may cost: `cost`.")
    period: Seconds = setting(Seconds(30 * 86_400.0), "Over what time the target is to be reached: a week to 90 days.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """Somebody who is told of alerts: `[channels.NAME]`."""

    kind: Literal["webhook", "slack", "email"] = setting("webhook", "How: JSON to an address, Slack, or mail.")
    url: Secret = setting("", "Address of the webhook, or Slack's incoming webhook; write `env:NAME`.")
    secret: Secret = setting("", "For `webhook`: signs each message (HMAC-SHA256); write `env:NAME`.")
    host: str = setting("", "For `email`: the mail server.")
    port: int = setting(0, "Its port; 0: 587, 465 for `tls`, 25 for `off`.")
    tls: Literal["starttls", "tls", "off"] = setting("starttls", "How the connection to it is kept secret.")
    user: str = setting("", "The name to log in to it with; empty: without.")
    password: Secret = setting("", "The password; write `env:NAME`.")
    sender: str = setting("", "For `email`: the address that it comes from.")
    to: tuple[str, ...] = setting((), "For `email`: the addresses that it goes to.")
    severities: tuple[Literal["page", "ticket"], ...] = setting(
        ("page", "ticket"), "What it is told of: `page` wants somebody now, `ticket` in the next days."
    )
    ca_file: str = setting("", "Certificates to trust instead of the system's.")
    timeout_s: float = setting(10.0, "Longest wait for it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """When people are told. Whom, say `[channels.NAME]`; without one, alerts are shown and sent to nobody."""

    repeat: Seconds = setting(Seconds(4 * 3600.0), "How often an alert that goes on is told again.")
    anomalies: bool = setting(
        True, "Also where cost, length, refusals or latency are not as usual at this hour of the week."
    )
    changes: bool = setting(True, "Whether a change in what an app's answers are like is an alert.")


OnPersonal = Literal["allow", "mask", "pseudonymise", "redact", "hash", "block"]
OnTopic = Literal["allow", "careful", "review", "help", "block"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSettings:
    """Somebody else's guard beside ours: `[detectors.NAME]`. Policies name it in `detectors`; without that it does nothing."""

    kind: Literal[
        "",
        "presidio",
        "llm_guard",
        "bedrock",
        "azure_content_safety",
        "model_armor",
        "lakera",
        "openai_moderation",
    ] = setting("", "Which guard it is.")
    base_url: str = setting("", "Address of the service; empty: its own, where it has one for all.")
    api_key: Secret = setting("", "Key of the service; write `env:NAME`.")
    credentials: str = setting(
        "", "File with a service account's key, for `model_armor`; empty: the machine's own account."
    )
    id: str = setting(
        "",
        "What was set up there: a guardrail of `bedrock`, a template of `model_armor`, a project of `lakera`, a model.",
    )
    version: str = setting("DRAFT", "Version of the guardrail, for `bedrock`.")
    region: str = setting("", "Region of the guardrail, for `bedrock`.")
    lists: tuple[str, ...] = setting((), "Block lists to compare with, for `azure_content_safety`.")
    models: Mapping[str, str] = setting(
        dict,
        "`presidio`: language -> spaCy model, or `blank`. `llm_guard`: scanner -> folder of its model, or nothing.",
    )
    types: tuple[str, ...] = setting(
        (), "Types of personal data to take from it; empty: all but dates, hosts and links."
    )
    thresholds: Mapping[str, float] = setting(
        dict,
        "Topic, `injection` or type -> from where on its own score counts, 0 to 1; else as the guard itself decides.",
    )
    surfaces: tuple[Literal["prompt", "document", "tool", "output"], ...] = setting(
        ("prompt", "document", "tool", "output"), "The texts it looks at."
    )
    timeout_s: float = setting(5.0, "Longest wait for a service.")
    on_failure: Literal["block", "pass"] = setting("block", "What happens to a text that it could not look at.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """What may pass: `[guard.NAME]`. Apps, routes and models name their policy; apps that name none have `default`."""

    personal_data: OnPersonal = setting(
        "pseudonymise", "What a model gets instead of names, addresses, numbers: a stand-in, turned back in its answer."
    )
    types: Mapping[str, OnPersonal] = setting(dict, "Type of personal data -> what is done about it instead.")
    stand_ins: Literal["tokens", "look_alikes"] = setting(
        "tokens", "What `pseudonymise` puts in: `PERSON_1A`, or a made-up value of the same form."
    )
    scope: Literal["request", "key", "team", "tenant"] = setting(
        "request", "Within what a person keeps the same stand-in; all but `request` are kept in the vault."
    )
    injection: Literal["allow", "review", "block"] = setting(
        "block", "What happens to a prompt that gives orders to the model."
    )
    documents: Literal["allow", "quarantine", "block"] = setting(
        "quarantine", "What happens to a passage or a tool's result that gives orders to the model."
    )
    secrets: Literal["allow", "mask", "block"] = setting("mask", "What happens to passwords, keys and tokens.")
    moderation: OnTopic = setting(
        "review",
        "What happens to harmful topics: `careful` lowers the temperature, `help` refuses with a line to turn to.",
    )
    topics: Mapping[str, OnTopic] = setting(
        lambda: {"self_harm": "help"},
        "Topic -> what happens instead: hate, harassment, violence, sexual, self_harm, illegal, toxicity.",
    )
    help_line: str = setting(
        "If you are in danger or thinking of hurting yourself, please call your local emergency number or a crisis line "
        "(findahelpline.com lists them for each country).",
        "What somebody reads whose message a topic with `help` refuses.",
    )
    sensitivity: Mapping[str, float] = setting(
        dict,
        "Score -> from where on it counts: `injection`, `documents`, `names`, or a topic; else 0.5, and 0.8 to refuse a topic.",
    )
    allow: tuple[str, ...] = setting((), "Words and values that are never found; `*` stands for anything.")
    block: tuple[str, ...] = setting((), "Words and values that no text may have; `*` stands for anything.")
    allowed_hosts: tuple[str, ...] = setting(
        (), "Hosts that answers may link to and show pictures from; `*.example.com`."
    )
    links: Literal["any", "allowed_hosts"] = setting("any", "Which links an answer may have.")
    leaks: Literal["allow", "block"] = setting(
        "block", "What happens to an answer that repeats the system's instructions."
    )
    tools: Mapping[str, Any] = setting(
        dict,
        "Tools that a model may call, by name: `[guard.NAME.tools.TOOL]`; as soon as there is one, no others may be called.",
    )
    other_tools: Literal["refuse", "guess"] = setting(
        "refuse", "What happens to calls of other tools; `guess` tells from their names what they do."
    )
    keep_text: bool = setting(False, "Keep what was found in the journal, for reviewers; masked where it is masked.")
    detectors: tuple[str, ...] = setting(
        (), "Guards of others that look too: the names of `[detectors.NAME]`, in order."
    )
    others: Mapping[str, DetectorSettings] = field(
        default_factory=dict, metadata={"internal": True}
    )  # what those names stand for


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionSettings:
    """What is stored can be sealed with AES-256-GCM. The vault always is."""

    content: bool = setting(
        False, "Seal the texts and vectors of documents. Read when documents are indexed: sync anew after."
    )
    keys: str = setting(
        "file", "Where the keys come from that wrap all others: `file`, or `env:NAME` with `NAME:BASE64` in it."
    )
    key_file: str = setting("", "That file; empty: `keys` in the home folder. Keep it elsewhere, and keep a copy.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatorSettings:
    """Something that translates: `[translators.NAME]`. Apps name it; without that it does nothing."""

    kind: Literal["model", "local", "apertium", "deepl", "libretranslate", "google", "aws"] = setting(
        "model", "What it is: a `model` of the settings, a `local` folder for CTranslate2, a server or a service."
    )
    model: str = setting("", "For `model`: its name. For `local`: a folder, or `hub:owner/name`.")
    source: str = setting("", "For `local`: the language it translates from, where it knows one pair.")
    target: str = setting("", "For `local`: the language it translates to, where it knows one pair.")
    base_url: str = setting(
        "", "Address of the server; empty: the service's own, or Apertium as a program of this machine."
    )
    api_key: Secret = setting("", "Key of the service, for `aws` `ID:SECRET`; write `env:NAME`.")
    region: str = setting("", "Region, for `aws`.")
    folder: str = setting("", "For `apertium` on this machine: the folder of its pairs; empty: where Debian puts them.")
    formality: Literal["", "formal", "informal"] = setting("", "How readers are addressed, where it can be told.")
    threads: int = setting(0, "Threads of a local one; 0 takes every core but one.")
    timeout_s: float = setting(30.0, "Longest wait for a server.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GlossarySettings:
    """Terms of a glossary: `[glossaries.NAME]`."""

    keep: tuple[str, ...] = setting((), "Terms that stay as they are, such as product names.")
    terms: Mapping[str, Mapping[str, str]] = setting(
        dict, 'Term -> its translations by language: `[glossaries.NAME.terms."return label"]` with `de = "…"`.'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """The same prompts, asked again and again, to see whether a model has changed: `[probes.NAME]`."""

    model: str = setting("", "The model or route that is asked.")
    prompts: str = setting(
        "", "JSON Lines with `question` and maybe `expected`, relative to the settings file; empty: shipped ones."
    )
    every: Seconds = setting(Seconds(0.0), "How often a running server asks; 0: only `penstock probe run` does.")
    max_tokens: int = setting(128, "Longest answer.")
    false_alarms: float = setting(0.01, "Of how many runs in which nothing has changed one may say so, 0 to 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSettings:
    """What an app's models are told: `[prompts.NAME]`. `penstock prompts publish` makes a version of it."""

    file: str = setting(
        "", "The prompt, a TOML file, relative to the settings file; empty: only versions that were published."
    )
    version: str = setting("live", "Which is used: `live`, `draft` for the file as it is, or a version such as `v3`.")
    style: Literal["", "zero", "few", "steps"] = setting("", "How it is told, in place of what it says itself.")
    shots: int = setting(-1, "How many examples are shown, in place of what it says itself; -1: as it says.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """One app: `[apps.NAME]`. Callers say `model = "NAME"`."""

    documents: str = setting("", "The collection it answers from.")
    bot: str = setting(
        "",
        "A file with a bot that answers, such as `bot.py`, or `bot.py:name` where it is not called `bot`; questions beside what "
        "it does are answered from `documents`, where the app has some.",
    )
    questions: tuple[str, ...] = setting((), "Questions that the chat page offers as buttons.")
    models: tuple[str, ...] = setting(
        (), "Models or routes that write its answers, in this order; none: they are quoted."
    )
    version: str = setting(
        "", "The version of the collection it answers from, such as `v3`; empty: the one that is live."
    )
    prompt: str = setting("", "What its models are told besides the rules for sources: a `[prompts.NAME]`.")
    guard: str = setting("default", "Its policy: a `[guard.NAME]`, or `off`.")
    languages: tuple[str, ...] = setting(
        (), "The languages that it is asked in, the first where it cannot be told; empty: all."
    )
    translators: tuple[str, ...] = setting(
        (), "What translates for it, in this order: the names of `[translators.NAME]`."
    )
    glossary: str = setting("", "Terms that its translations keep: a `[glossaries.NAME]`.")
    formality: Literal["", "formal", "informal"] = setting("", "How it addresses readers: Sie or du, usted or tú.")
    grounded: bool = setting(
        True, "Whether each sentence that a model writes is looked for in the sources before it leaves."
    )
    unsupported: Literal["mark", "rewrite", "quote", "drop"] = setting(
        "mark",
        "What becomes of a sentence that is not in them: it is marked, rewritten once, replaced by what the source says, or left "
        "out. What is still unsupported after rewriting is replaced.",
    )
    judges: tuple[str, ...] = setting(
        (),
        "What checks: models or routes, `checker` or `lexical`; several vote. Empty: the best that comes with Penstock.",
    )
    supported_from: float = setting(
        0.0,
        "Support that a sentence must have, 0 to 1, as `penstock verify --promise` prints it; 0: the check's own limit.",
    )
    hedge_below: float = setting(0.0, "Confidence below which an answer says that it may not be the whole one.")
    hand_over_below: float = setting(
        0.0, "Confidence below which an answer is not said, and a person is to look at it."
    )
    abstain_below: float = setting(0.0, "Confidence below which it is not said at all.")
    protected: tuple[str, ...] = setting(
        ("protected",), "Tags of documents that no model may repeat at length: where it does, that is marked."
    )
    approve: Literal["never", "faulty", "always"] = setting(
        "never",
        "Which answers leave only when a person has agreed: none, those with a fault or marked by the guard, or all.",
    )
    keep_text: Literal["never", "faulty", "always"] = setting(
        "never", "Whether the journal keeps questions and answers themselves: none, those with a fault, or all."
    )
    keep_text_share: float = setting(1.0, "The share of those that is kept, 0 to 1.")
    history: bool = setting(True, "Whether people find their conversations with it again, where `chat.history` is on.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """One evaluation, for `penstock eval app APP`: `[evaluations.NAME]`."""

    cases: str = setting("", "File of cases: JSON Lines or CSV.")
    against: str = setting("", "The app, collection, model or route that is asked; empty: the one with its own name.")
    scores: tuple[str, ...] = setting(
        (), "Names of scores, as `penstock eval scores` lists them; empty: all that the cases allow."
    )
    repeats: int = setting(1, "How often each case is asked, past all caches.")
    concurrent: int = setting(4, "Cases that are asked at the same time.")
    judge: str = setting("", "A model or route that grades answers, or `offline`; empty: none.")
    judge_samples: int = setting(1, "How often the judge is asked in each order; the median counts.")
    gate: Mapping[str, float] = setting(
        dict, "Score and the least mean it must have, or the most where lower is better: `{token_f1 = 0.6}`."
    )
    sure: bool = setting(
        False, "Whether the one-sided 95 % interval must hold the limits of `gate`, and not only the mean."
    )
    max_gap: float = setting(
        0.0, "How much worse than English no language may be in the scores of `gate`; 0: it is not asked."
    )
    baseline: str = setting("", "File of an earlier result, none of whose scores may be lost.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ABSettings:
    """An experiment with those who call: `[ab.NAME]`. They name its target, and some get the answer of another in its place."""

    target: str = setting("", "What callers name: an app, a collection, a model or a route.")
    arms: Mapping[str, str] = setting(
        dict,
        "Name of an arm -> what answers in it, of the same kind and behind the same policy. `control` is the target.",
    )
    weights: Mapping[str, float] = setting(dict, "How units are dealt out to `control` and the arms; without: evenly.")
    unit: Literal["person", "key", "conversation", "request"] = setting(
        "person",
        "What is dealt an arm and keeps it: the `user` of a request, or its key where it names none; the key; a conversation; each "
        "request by itself.",
    )
    metric: Literal["answered", "grounded", "satisfied", "refused", "faulty", "latency", "cost"] = setting(
        "answered", "What is to get better."
    )
    guardrails: Mapping[str, float] = setting(
        dict,
        "Metrics that stop it where they surely got worse by more than this: shares as 0.02, latency as a part of it, cost in USD.",
    )
    rule: Literal["planned", "always"] = setting(
        "planned", "How looks are paid for: up to `most_units`, or without an end."
    )
    most_units: int = setting(10_000, "Units planned for each arm; for `always` the number at which it is sharpest.")
    least_effect: float = setting(0.0, "A smaller difference does not matter, in the unit of the metric; 0: any does.")
    window: Seconds = setting(
        Seconds(1800.0), "How long a unit is watched from its first request on; then its value is final."
    )
    until: str = setting("", "The last day, such as `2027-01-31` (UTC); empty: until it is decided.")
    rollout: tuple[float, ...] = setting(
        (), "Shares for the one arm, step by step, such as `[0.01, 0.05, 0.25, 0.5, 1]`; instead of weights."
    )
    units_per_step: int = setting(500, "Units of the arm that each step of a roll-out waits for.")
    bandit: bool = setting(False, "Give more to what has worked so far, hour by hour: earns more, and tells less.")
    holdout: float = setting(0.0, "Share of units that no experiment touches, the same for all of them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """One API key: `[keys.NAME]`. As soon as there is one, here or made by `penstock keys create`, every request needs a key."""

    key: Secret = setting("", "The key itself; write `env:NAME`.")
    roles: tuple[str, ...] = setting((), "Roles of whoever holds it, for access lists.")
    admin: bool = setting(False, "May change documents and versions, keys and budgets.")
    team: str = setting("", "The team it belongs to, for budgets.")
    tenant: str = setting("", "The tenant it belongs to, for access lists: `tenant:NAME`.")
    models: tuple[str, ...] = setting(
        (), "The only models, routes and apps it may use, `*` at the end allowed; empty: all."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginSettings:
    """Logging in with an OpenID Connect provider, besides keys: browsers at `/login`, programs with its tokens."""

    issuer: str = setting("", "Address of the provider, as its tokens have it in `iss`; empty: keys alone.")
    client_id: str = setting("", "What the provider calls this server.")
    client_secret: Secret = setting("", "Its secret there, where it has one; write `env:NAME`.")
    audience: str = setting("", "What `aud` of programs' tokens must have; empty: `client_id`.")
    address: str = setting("", "How browsers reach this server, `https://ask.example.com`; empty: as they say.")
    scopes: tuple[str, ...] = setting(("openid", "email"), "What a browser's login asks the provider for.")
    roles_claim: str = setting("roles", "Where a token has its roles, as in `realm_access.roles`.")
    tenant_claim: str = setting("", "Where a token has its tenant; empty: nowhere.")
    admin_role: str = setting("", "Who has this role is an admin; empty: nobody who logs in.")
    session: Seconds = setting(Seconds(8 * 3600.0), "How long a browser stays logged in.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WidgetSettings:
    """A chat on pages of other sites: `[widgets.NAME]`. Whoever uses it is the caller `widget:NAME`, and may ask its app alone."""

    app: str = setting("", "The app or collection that it asks.")
    origins: tuple[str, ...] = setting(
        (),
        "The sites that may show it, as `https://shop.example`: scheme, host, and port where it is unusual. Empty: none.",
    )
    title: str = setting("", "Its heading, and the name of its button; empty: a phrase in the visitor's language.")
    greeting: str = setting("", "What it says first; empty: a phrase in the visitor's language.")
    suggestions: tuple[str, ...] = setting((), "Questions that are asked with one press.")
    accent: str = setting("#0b6b6f", "Its colour, `#rrggbb`; text on it is black or white, whichever can be read.")
    position: Literal["end", "start"] = setting(
        "end", "Its corner below: `end` is the right one, and the left where a page runs from right to left."
    )
    language: str = setting("", "The language of its words, such as `de`; empty: that of the page that it stands on.")
    roles: tuple[str, ...] = setting((), "Roles of its visitors, for access lists.")
    tenant: str = setting("", "The tenant they belong to, for access lists: `tenant:NAME`.")
    visitor_per_minute: int = setting(10, "Most questions of one visitor in a minute; 0: no limit.")
    visitor_per_day: int = setting(200, "Most questions of one visitor in a day; 0: no limit.")
    per_day: int = setting(10_000, "Most questions of all visitors together in a day; 0: no limit.")
    visits_per_minute: int = setting(120, "Most new visitors in a minute; 0: no limit.")


@dataclass(frozen=True, slots=True, kw_only=True)
class McpSettings:
    """A server of others that speaks the Model Context Protocol: `[mcp.NAME]`. Only those of its tools that `tools` names are used,
    as somebody has accepted them."""

    command: str = setting("", "The program to start, which speaks over its standard input and output.")
    args: tuple[str, ...] = setting((), "Its arguments.")
    env: Mapping[str, Secret] = setting(dict, "Its environment, all of it; `env:NAME` takes a variable of ours.")
    url: str = setting("", "In place of a program: the address of a server that speaks streamable HTTP.")
    headers: Mapping[str, Secret] = setting(dict, "Headers that go with each request; write `env:NAME` for a secret.")
    tools: tuple[str, ...] = setting((), "The tools that may be called; empty: none.")
    reads: tuple[str, ...] = setting((), "Those of them that change nothing. All others count as writing.")
    writes: tuple[str, ...] = setting((), "Those of them that change something, for whoever reads the settings.")
    timeout: Seconds = setting(Seconds(30.0), "Longest wait for a call, its start included.")
    max_output_kb: int = setting(256, "Longest result; what is longer is cut off, with a mark.")
    guard: str = setting(
        "default", "The policy by which results are looked at for orders to the model; `off`: they are not."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole tree."""

    home: str = setting(".penstock", "Folder for the index and the catalog, relative to the settings file.")
    server: ServerSettings = setting(ServerSettings, "")
    log: LogSettings = setting(LogSettings, "")
    embedder: EmbedderSettings = setting(EmbedderSettings, "")
    web: WebSettings = setting(WebSettings, "")
    documents: Mapping[str, DocumentsSettings] = setting(dict, "")
    models: Mapping[str, ModelSettings] = setting(dict, "")
    routes: Mapping[str, RouteSettings] = setting(dict, "")
    apps: Mapping[str, AppSettings] = setting(dict, "")
    evaluations: Mapping[str, EvaluationSettings] = setting(dict, "")
    ab: Mapping[str, ABSettings] = setting(dict, "")
    translators: Mapping[str, TranslatorSettings] = setting(dict, "")
    glossaries: Mapping[str, GlossarySettings] = setting(dict, "")
    prompts: Mapping[str, PromptSettings] = setting(dict, "")
    probes: Mapping[str, ProbeSettings] = setting(dict, "")
    guard: Mapping[str, GuardSettings] = setting(dict, "")
    detectors: Mapping[str, DetectorSettings] = setting(dict, "")
    encryption: EncryptionSettings = setting(EncryptionSettings, "")
    budgets: Mapping[str, BudgetSettings] = setting(dict, "")
    batches: BatchSettings = setting(BatchSettings, "")
    journal: JournalSettings = setting(JournalSettings, "")
    observe: ObserveSettings = setting(ObserveSettings, "")
    audit: AuditSettings = setting(AuditSettings, "")
    energy: EnergySettings = setting(EnergySettings, "")
    vault: VaultSettings = setting(VaultSettings, "")
    chat: ChatSettings = setting(ChatSettings, "")
    actions: ActionSettings = setting(ActionSettings, "")
    review: ReviewSettings = setting(ReviewSettings, "")
    objectives: Mapping[str, ObjectiveSettings] = setting(dict, "")
    alerts: AlertSettings = setting(AlertSettings, "")
    channels: Mapping[str, ChannelSettings] = setting(dict, "")
    keys: Mapping[str, KeySettings] = setting(dict, "")
    login: LoginSettings = setting(LoginSettings, "")
    widgets: Mapping[str, WidgetSettings] = setting(dict, "")
    mcp: Mapping[str, McpSettings] = setting(dict, "")
    folder: Path = field(default_factory=Path.cwd, metadata={"internal": True})  # that relative paths start from
    file: Path | None = field(default=None, metadata={"internal": True})

    @property
    def home_path(self) -> Path:
        return (self.folder / Path(self.home).expanduser()).resolve()


def load(
    file: str | Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    keys: bool = True,
    over: Mapping[str, Any] | None = None,
    text: str | None = None,
) -> Settings:
    """Read the settings. Raises BadSetting, naming the key and the file or variable that holds it.

    Without `file`: PENSTOCK_CONFIG, else penstock.toml in this folder or the nearest one above it, else defaults.
    keys: whether API keys are read too; who serves nothing needs none of their secrets. over: tables that are laid over those of
    the file, as an experiment's variants are. text: what `file` would say, for one that is not written yet.
    """
    environment = os.environ if environment is None else environment
    if text is None:
        path = _find(file or environment.get("PENSTOCK_CONFIG") or None)
        tree = _read(path) if path else {}
    else:
        path = Path(file or FILE_NAME).absolute()  # not through a link: relative paths start beside it
        tree = _parsed(text.removeprefix("\ufeff"), path)
    if not keys:
        tree.pop("keys", None)
    if over:
        tree = _laid_over(tree, over)
    where = path.name if path else "settings"
    folder = path.parent if path else _here()
    settings = _build(Settings, tree, where, "", _Outside(environment, folder))
    settings = replace(settings, folder=folder, file=path)
    return _check(_with_open_telemetry(_with_environment(settings, environment), environment))


def _laid_over(tree: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are joined; anything else takes the place of what was there."""
    both = {
        name: _laid_over(tree[name], value)
        if isinstance(value, Mapping) and isinstance(tree.get(name), Mapping)
        else value
        for name, value in over.items()
    }
    return {**tree, **both}


def secret_files(file: Path) -> list[Path]:
    """The files that a settings file names in place of secrets. Raises BadSetting."""
    said = [text.removeprefix("file:") for text in _texts(_read(file)) if text.startswith("file:")]
    return [file.parent / _path(path, file.name) for path in said]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _texts(inner)


def described_keys(settings: Settings) -> dict[str, KeySettings]:
    """The keys that the settings file names, without their secrets: who only lists them needs none."""
    tables = _read(settings.file).get("keys", {}) if settings.file else {}
    if isinstance(tables, Mapping):
        tables = {n: {**table, "key": ""} if isinstance(table, Mapping) else table for n, table in tables.items()}
    found: dict[str, KeySettings] = _value(Mapping[str, KeySettings], tables, FILE_NAME, "keys", _Outside({}))
    return found


def typed(kind: type[T], values: Any, where: str) -> T:
    """Plain values as a dataclass, checked as settings are. Raises BadSetting, naming the one that is wrong."""
    return _build(kind, values, where, "", _Outside({}))


def moment(text: str, *, ahead: bool = False) -> float:
    """A Unix time as people write it: so long ago ("30d"), or ahead; a day in UTC ("2027-01-31"); or what `iso` writes.

    Of a day it is the beginning, and ahead the end. Raises BadRequest.
    """

    def wrong(expected: str) -> BadRequest:
        return BadRequest(f"'{text}' is no time", hint="a day such as 2027-01-31, or a duration such as 12h or 30d")

    try:
        if "T" in text:
            at = datetime.fromisoformat(text)
        else:
            at = datetime.combine(date.fromisoformat(text), clock(23, 59, 59) if ahead else clock())
        if at.year < 1970:
            raise wrong("")
        found = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        seconds = _duration(text, wrong)
        found = time.time() + seconds if ahead else time.time() - seconds
    try:
        datetime.fromtimestamp(found, UTC)  # what is stored can be shown
    except (ValueError, OverflowError, OSError) as error:
        raise wrong("that is further away than the calendar goes") from error
    return found


def iso(unix: float, *, timespec: str = "seconds") -> str | None:
    """A Unix time as ISO 8601 in UTC; None for 0, which stands for never."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec=timespec) if unix else None


def _find(file: str | Path | None) -> Path | None:
    if file:
        path = _path(str(file), "the settings file").resolve()
        if not path.is_file():
            raise BadSetting(f"there is no settings file {path}")
        return path
    here = _here()
    return next((folder / FILE_NAME for folder in (here, *here.parents) if (folder / FILE_NAME).is_file()), None)


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise BadSetting("the current folder is gone", hint="cd into one that exists") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadSetting(f"{path} is not in UTF-8: byte {error.start}", hint="save it as UTF-8") from error
    return _parsed(text, path)


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib lets int's own ValueError through
        raise BadSetting(f"{path} is not valid TOML: {error}") from error


def _path(text: str, name: str) -> Path:
    """A path as a person writes it. Raises BadSetting for what can be none."""
    if not text or "\0" in text:
        raise BadSetting(f"{name} is {text!r}, which is no path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise BadSetting(f"{name} is {text!r}, and there is no such user") from error


def _check(settings: Settings) -> Settings:
    _path(settings.home, "home")  # an empty one would be the folder of the settings file itself
    if settings.server.port > 65_535:
        raise BadSetting(f"server.port is {settings.server.port}, the highest port is 65535")
    if settings.server.tls_key and not settings.server.tls_cert:
        raise BadSetting("server.tls_key is set, and server.tls_cert is not", hint='tls_cert = "server.pem"')
    _check_login(settings.login)
    _check_review(settings.review)
    _check_objectives(settings)
    settings = _with_channels(settings)
    _check_observe(settings.observe)
    if not 1 <= settings.server.workers <= 64:
        raise BadSetting(f"server.workers is {settings.server.workers}", hint="from 1 to 64")
    if not 1 <= settings.batches.concurrent <= 1000:
        raise BadSetting(f"batches.concurrent is {settings.batches.concurrent}", hint="from 1 to 1000")
    for name, collection in settings.documents.items():
        for path in collection.paths:
            _path(path, f"documents.{name}.paths")
    for name, app in settings.apps.items():
        if name in settings.documents and app.documents not in ("", name):
            raise BadSetting(f"apps.{name} has the name of a collection and answers from another", hint="rename it")
        if app.documents and app.documents not in settings.documents:
            raise BadSetting(
                f"apps.{name}.documents names '{app.documents}', which is no collection",
                hint=_nearest(app.documents, list(settings.documents)) or f"add [documents.{app.documents}]",
            )
        _check_app(name, app, settings)
    for name, evaluation in settings.evaluations.items():
        _check_evaluation(name, evaluation, settings)
    for name, probe in settings.probes.items():
        known = {one: model for one, model in settings.models.items() if "/" not in probe.model or model.model == "*"}
        if probe.model and probe.model.partition("/")[0] not in known and probe.model not in settings.routes:
            raise _no_model(f"probes.{name}.model", probe.model, settings)
    _check_models(settings)
    _check_guard(settings)
    _check_ab(settings)
    for name, widget in settings.widgets.items():
        _check_widget(name, widget, settings)
    for name, server in settings.mcp.items():
        _check_mcp(name, server, settings)
    settings = _with_detectors(settings)
    for name, key in settings.keys.items():
        if name.startswith(WIDGET):
            raise BadSetting(
                f"'{name}' cannot name a key: '{WIDGET}' begins the names of widgets' visitors", hint="rename it"
            )
        if len(key.key) < 16:
            raise BadSetting(f"keys.{name}.key is shorter than 16 characters", hint="openssl rand -hex 24")
    for name, collection in settings.documents.items():
        check_name(name)
        if collection.keep_versions < 1:
            raise BadSetting(
                f"documents.{name}.keep_versions is 0, and the live version is always kept", hint="1 or more"
            )
    return settings


def _check_app(name: str, app: AppSettings, settings: Settings) -> None:
    models = {*settings.models, *settings.routes}
    for model in app.models:
        if model not in models:
            raise _no_model(f"apps.{name}.models", model, settings)
    for judge in app.judges:
        if judge not in models and judge not in ("checker", "lexical"):
            raise _no_model(f"apps.{name}.judges", judge, settings)
    for limit in ("supported_from", "hedge_below", "hand_over_below", "abstain_below"):
        if not 0 <= getattr(app, limit) <= 1:
            raise BadSetting(f"apps.{name}.{limit} is {getattr(app, limit)}", hint="from 0 to 1")
    for translator in app.translators:
        if translator not in settings.translators:
            hint = _nearest(translator, list(settings.translators)) or f"add [translators.{translator}]"
            raise BadSetting(f"apps.{name}.translators names '{translator}', which is none", hint=hint)
    if app.prompt and app.prompt not in settings.prompts:
        hint = _nearest(app.prompt, list(settings.prompts)) or f"add [prompts.{app.prompt}]"
        raise BadSetting(f"apps.{name}.prompt names '{app.prompt}', which is none", hint=hint)
    if app.bot:
        _path(app.bot, f"apps.{name}.bot")
        if app.approve != "never" or app.hand_over_below:
            one = "approve" if app.approve != "never" else "hand_over_below"
            raise BadSetting(
                f"apps.{name} has a bot and {one}",
                hint="what a bot changes is agreed to by the customer, and it calls people",
            )
        if app.version and not app.documents:
            raise BadSetting(f"apps.{name}.version is set, and the bot has no documents", hint='documents = "NAME"')
    if app.glossary and app.glossary not in settings.glossaries:
        hint = _nearest(app.glossary, list(settings.glossaries)) or f"add [glossaries.{app.glossary}]"
        raise BadSetting(f"apps.{name}.glossary names '{app.glossary}', which is none", hint=hint)
    for language in app.languages:
        if not re.fullmatch(r"[a-z]{2,3}", language):
            raise BadSetting(f"apps.{name}.languages has {language!r}", hint='codes of ISO 639-1, such as "de"')


def _check_evaluation(name: str, evaluation: EvaluationSettings, settings: Settings) -> None:
    for file in ("cases", "baseline"):
        if path := getattr(evaluation, file):
            _path(path, f"evaluations.{name}.{file}")
    for key in ("repeats", "concurrent", "judge_samples"):
        if not 1 <= getattr(evaluation, key) <= (25 if key == "judge_samples" else 1000):
            raise BadSetting(f"evaluations.{name}.{key} is {getattr(evaluation, key)}", hint="1 or more")
    if evaluation.judge not in ("", "offline", *settings.models, *settings.routes):
        raise _no_model(f"evaluations.{name}.judge", evaluation.judge, settings)


def _check_login(login: LoginSettings) -> None:
    if not login.issuer:
        if login.client_id:
            raise BadSetting("login.client_id is set, and login.issuer is not", hint='issuer = "https://…"')
        return
    for name in ("issuer", "address"):
        address = getattr(login, name)
        secure = re.fullmatch(r"https://[^\s?#]+|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/[^\s?#]*)?", address)
        if address and not secure:
            raise BadSetting(f"login.{name} is {address!r}", hint="an address that begins with https://")
    if not login.client_id:
        raise BadSetting("login.client_id is empty", hint="the provider names it where this server is registered")
    if "openid" not in login.scopes:
        raise BadSetting("login.scopes has no 'openid'", hint='scopes = ["openid", "email"]')
    if login.session <= 0:
        raise BadSetting("login.session is 0", hint='session = "8h"')


def _check_review(review: ReviewSettings) -> None:
    _path(review.cases, "review.cases")
    if len(set(review.labels)) < 2:
        raise BadSetting("review.labels has fewer than two verdicts", hint='labels = ["correct", "wrong"]')
    for label in review.labels:
        if not re.fullmatch(r"\w[\w -]{0,39}", label):
            raise BadSetting(f"review.labels has {label!r}", hint="1 to 40 letters, digits, '-', '_' and spaces")
    for key in ("failures", "unscored"):
        for label in getattr(review, key):
            if label not in review.labels:
                raise BadSetting(
                    f"review.{key} names '{label}', which is no verdict", hint=_nearest(label, list(review.labels))
                )
    if both := set(review.failures) & set(review.unscored):
        raise BadSetting(f"'{min(both)}' is in review.failures and in review.unscored", hint="take it out of one")
    if not 1 <= review.lease <= 86_400:
        raise BadSetting(f"review.lease is {review.lease:g} s", hint='from one second to a day: lease = "15m"')


def _check_objectives(settings: Settings) -> None:
    models = [*settings.models, *settings.routes]
    for name, objective in settings.objectives.items():
        where = f"objectives.{check_name(name, what='an objective')}"
        if not 0 <= objective.target < 1:
            raise BadSetting(
                f"{where}.target is {objective.target:g}", hint="a share below 1, such as 0.99: 1 has no room at all"
            )
        if objective.kind in ("latency", "first_piece") and not objective.within:
            raise BadSetting(f"{where}.within is missing, and {objective.kind} needs it", hint='within = "2s"')
        if objective.kind == "cost" and not objective.most_usd:
            raise BadSetting(f"{where}.most_usd is missing, and cost needs it", hint="most_usd = 0.01")
        if not 7 * 86_400 <= objective.period <= 90 * 86_400:
            raise BadSetting(f"{where}.period is {objective.period:g} s", hint='a week to 90 days: period = "30d"')
        if objective.app and objective.app not in {*settings.apps, *settings.documents}:
            hint = _nearest(objective.app, [*settings.apps, *settings.documents])
            raise BadSetting(f"{where}.app names '{objective.app}', which is no app", hint=hint)
        if objective.model and objective.model.partition("/")[0] not in models:
            raise _no_model(f"{where}.model", objective.model, settings)
    if settings.alerts.repeat < 60:
        raise BadSetting(f"alerts.repeat is {settings.alerts.repeat:g} s", hint='a minute or more: repeat = "4h"')


def _with_channels(settings: Settings) -> Settings:
    channels = {name: _check_channel(name, channel, settings) for name, channel in settings.channels.items()}
    return replace(settings, channels=channels)


def _check_channel(name: str, channel: ChannelSettings, settings: Settings) -> ChannelSettings:
    where = f"channels.{check_name(name, what='a channel')}"
    for key in ("host", "sender", "to") if channel.kind == "email" else ("url",):
        if not getattr(channel, key):
            raise BadSetting(f"{where}.{key} is missing, and {channel.kind} needs it")
    if channel.kind != "email" and not re.fullmatch(r"https?://[^\s]+", channel.url, re.ASCII):
        raise BadSetting(f"{where}.url is no address", hint="https://…")
    for address in (channel.sender, *channel.to) if channel.kind == "email" else ():
        if not re.fullmatch(r"[^\s@<>,;\x00-\x1f]+@[^\s@<>,;\x00-\x1f]+", address, re.ASCII):
            raise BadSetting(f"{where} has {address!r}, which is no mail address", hint="name@example.com")
    if channel.password and channel.tls == "off" and not is_loopback(channel.host):
        raise BadSetting(f"{where} would send its password in the open", hint='tls = "starttls"')
    if not 0 < channel.timeout_s <= 60:
        raise BadSetting(f"{where}.timeout_s is {channel.timeout_s:g}", hint="from 0.1 to 60")
    if channel.port > 65_535:
        raise BadSetting(f"{where}.port is {channel.port}, the highest port is 65535")
    if not channel.ca_file:
        return channel
    return replace(channel, ca_file=str(settings.folder / _path(channel.ca_file, f"{where}.ca_file")))


def _check_models(settings: Settings) -> None:
    taken: dict[str, str] = {}
    for kind in ("documents", "models", "routes"):
        for name in getattr(settings, kind):
            if name in taken:
                raise BadSetting(f"{kind}.{name} has the name of {taken[name]}.{name}", hint="rename one of them")
            taken[name] = kind
    for name in settings.apps:
        if taken.get(name) in ("models", "routes"):
            raise BadSetting(f"apps.{name} has the name of {taken[name]}.{name}", hint="rename one of them")
    for name in (*settings.models, *settings.routes, *settings.budgets):
        check_name(name)
    for name, translator in settings.translators.items():
        check_name(name)
        if translator.kind == "model" and translator.model not in {*settings.models, *settings.routes}:
            raise _no_model(f"translators.{name}.model", translator.model, settings)
        if translator.kind == "local" and not translator.model:
            raise BadSetting(f"translators.{name}.model is empty", hint="a folder, or hub:owner/name")
    for name, route in settings.routes.items():
        if not route.models:
            raise BadSetting(f"routes.{name}.models is empty", hint='models = ["…", "…"]')
        if route.choose == "cascade" and len(route.models) < 2:
            raise BadSetting(
                f"routes.{name}.choose is 'cascade', and there is only one model",
                hint="the cheap one first, then the strong",
            )
        named = {"models": route.models, "weights": tuple(route.weights), "tags": tuple(route.tags.values())}
        named |= {"when_budget_low": (route.when_budget_low,), "summarise": (route.summarise,)}
        for key, models in named.items():
            for model in filter(None, models):
                if model not in settings.models:
                    raise _no_model(f"routes.{name}.{key}", model, settings)
                if settings.models[model].model == "*":
                    raise BadSetting(
                        f"routes.{name}.{key} names '{model}', which takes the model's name from the caller",
                        hint=f"add a [models.…] with a model of its own, and name that instead of '{model}'",
                    )
    for name, budget in settings.budgets.items():
        for key, known in (("app", settings.apps), ("model", settings.models)):
            if (wanted := getattr(budget, key)) and wanted not in known:
                raise BadSetting(
                    f"budgets.{name}.{key} names '{wanted}', and there is none", hint=_nearest(wanted, list(known))
                )


AB_METRICS = ("answered", "grounded", "satisfied", "refused", "faulty", "latency", "cost")


def _check_ab(settings: Settings) -> None:
    targets: dict[str, str] = {}
    for name, ab in settings.ab.items():
        where = f"ab.{check_name(name, what='an experiment')}"
        kind = _check_ab_arms(where, ab, settings)
        if ab.target in targets:
            raise BadSetting(f"{where}.target is that of ab.{targets[ab.target]} too", hint="one after the other")
        targets[ab.target] = name
        if set(ab.weights) - {"control", *ab.arms}:
            raise BadSetting(
                f"{where}.weights names '{min(set(ab.weights) - {'control', *ab.arms})}', which is no arm",
                hint=f"known here: control, {', '.join(sorted(ab.arms))}",
            )
        if min(ab.weights.get(arm, 1.0) for arm in ("control", *ab.arms)) <= 0:
            raise BadSetting(f"{where}.weights has one of 0", hint="weights are above 0; leave the arm out instead")
        for key in (ab.metric, *ab.guardrails):
            if key not in AB_METRICS:
                raise BadSetting(f"{where}.guardrails has no '{key}'", hint=_nearest(key, list(AB_METRICS)))
            if key in ("grounded", "faulty") and kind == "model":
                raise BadSetting(f"{where}: '{key}' is known of apps' answers only", hint="answered, latency, cost")
        if ab.metric in ab.guardrails:
            raise BadSetting(f"{where}.guardrails has '{ab.metric}', which is the metric", hint="leave it out")
        if not 2 <= ab.most_units <= 10**9 or not 1 <= ab.units_per_step <= 10**9:
            raise BadSetting(f"{where}: most_units is {ab.most_units}, units_per_step {ab.units_per_step}", hint="more")
        if not 1 <= ab.window <= 30 * 86_400:
            raise BadSetting(f"{where}.window is {ab.window:g} s", hint='a second to 30 days: window = "30m"')
        if not 0 <= ab.holdout <= 0.5:
            raise BadSetting(f"{where}.holdout is {ab.holdout:g}", hint="a share up to 0.5, such as 0.02")
        if ab.until and not re.fullmatch(r"\d{4}-\d\d-\d\d", ab.until):
            raise BadSetting(f"{where}.until is {ab.until!r}", hint="a day such as 2027-01-31")
        if ab.until:
            try:
                moment(ab.until, ahead=True)
            except BadRequest as error:
                raise BadSetting(f"{where}.until is {ab.until!r}", hint="a day such as 2027-01-31") from error
        _check_ab_rollout(where, ab)
    for name, ab in settings.ab.items():
        for arm, answers in ab.arms.items():
            if answers in targets:
                raise BadSetting(
                    f"ab.{name}.arms.{arm} names '{answers}', which is the target of ab.{targets[answers]}",
                    hint="an arm answers by itself: name what takes part in no experiment",
                )


def _check_ab_rollout(where: str, ab: ABSettings) -> None:
    if not ab.rollout:
        if ab.bandit and len(ab.arms) > 19:
            raise BadSetting(f"{where} is a bandit with {len(ab.arms)} arms", hint="19 at most: each keeps a twentieth")
        return
    if len(ab.arms) != 1:
        raise BadSetting(f"{where}.rollout is for one arm, and there are {len(ab.arms)}", hint="roll out the winner")
    if ab.bandit or ab.weights:
        raise BadSetting(f"{where} has a rollout, and {'bandit' if ab.bandit else 'weights'}", hint="leave one out")
    grows = all(0 < share <= 1 for share in ab.rollout) and sorted(set(ab.rollout)) == list(ab.rollout)
    if not grows:
        raise BadSetting(f"{where}.rollout must grow, from above 0 up to 1", hint="[0.01, 0.05, 0.25, 0.5, 1]")


def _check_ab_arms(where: str, ab: ABSettings, settings: Settings) -> Literal["app", "model"]:
    """What kind of thing the experiment is about. Nobody gets past a policy, or past people's approval, by being dealt an arm."""
    apps, models = {*settings.apps, *settings.documents}, {*settings.models, *settings.routes}
    if ab.target not in apps | models:
        hint = _nearest(ab.target, sorted(apps | models)) if ab.target else 'target = "…"'
        raise BadSetting(f"{where}.target names '{ab.target}', and there is no such app, model or route", hint=hint)
    kind: Literal["app", "model"] = "app" if ab.target in apps else "model"
    if not ab.arms:
        raise BadSetting(f"{where}.arms is empty", hint='arms = { new = "…" }')
    for arm, answers in ab.arms.items():
        if arm in ("control", "holdout") or not re.fullmatch(r"[a-zA-Z0-9][\w.-]{0,63}", arm):
            raise BadSetting(f"{where}.arms has '{arm}'", hint="letters, digits, '-', '_', '.'; not control or holdout")
        known = apps if kind == "app" else models
        if answers not in known:
            hint = _nearest(answers, sorted(known))
            raise BadSetting(f"{where}.arms.{arm} names '{answers}', which is no {kind}", hint=hint)
        if answers == ab.target:
            raise BadSetting(f"{where}.arms.{arm} is the target itself", hint="that is the arm `control`")
        for name in (ab.target, answers):
            if name in settings.models and settings.models[name].model == "*":
                raise BadSetting(f"{where} names '{name}', which takes the model's name from the caller")
        if _kept_back(ab.target, settings) != _kept_back(answers, settings):
            raise BadSetting(
                f"{where}.arms.{arm}: '{answers}' is behind another policy than '{ab.target}', or other approval",
                hint="give both the same guard, and apps the same approve",
            )
    return kind


def _kept_back(name: str, settings: Settings) -> tuple[frozenset[str], str]:
    """The policies in front of what has this name, and whether people look at it before it leaves."""
    if name in settings.apps or name in settings.documents:
        app = settings.apps.get(name, AppSettings())
        return frozenset({app.guard}), app.approve
    if model := settings.models.get(name):
        return frozenset({model.guard}), ""
    route = settings.routes[name]
    if route.guard != "off":
        return frozenset({route.guard}), ""
    behind = {*route.models, *route.tags.values(), route.when_budget_low, route.summarise} & set(settings.models)
    return frozenset({settings.models[model].guard for model in behind} - {"off"}) or frozenset({"off"}), ""


PERSONAL = (
    "EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "CRYPTO", "MAC_ADDRESS", "US_PASSPORT",
    "DATE_OF_BIRTH", "US_SSN", "UK_NINO", "DE_TAX_ID", "FR_NIR", "ES_NIF", "IT_FISCAL_CODE", "NL_BSN", "BR_CPF", "PL_PESEL",
    "SE_PERSONNUMMER", "IN_AADHAAR", "KR_RRN", "CN_ID", "URL", "PERSON", "ADDRESS", "ORGANIZATION", "LOCATION",
)  # fmt: skip
TOPICS = ("hate", "harassment", "violence", "sexual", "self_harm", "illegal", "toxicity")


def _check_guard(settings: Settings) -> None:
    known = ["default", "off", *(name for name in settings.guard if name != "default")]
    for kind in ("apps", "routes", "models"):
        for name, owner in getattr(settings, kind).items():
            if owner.guard not in known:
                raise BadSetting(
                    f"{kind}.{name}.guard names '{owner.guard}', and there is no such policy",
                    hint=_nearest(owner.guard, known),
                )
    for name, policy in settings.guard.items():
        check_name(name, what="a policy")
        if name == "off":
            raise BadSetting("guard.off cannot be a policy: the name stands for having none", hint="rename it")
        scores = ("injection", "documents", "names", *TOPICS)
        for key, values, allowed in (("topics", policy.topics, TOPICS), ("sensitivity", policy.sensitivity, scores)):
            for entry in values:
                if entry not in allowed:
                    raise BadSetting(f"guard.{name}.{key} has no '{entry}'", hint=_nearest(entry, list(allowed)))
        for entry in policy.types if not policy.detectors else ():  # other guards bring types of their own
            if entry not in PERSONAL:
                raise BadSetting(f"guard.{name}.types has no '{entry}'", hint=_nearest(entry, list(PERSONAL)))
        for entry, value in policy.sensitivity.items():
            if value > 1:
                raise BadSetting(f"guard.{name}.sensitivity.{entry} is {value:g}", hint="from 0 to 1")


_SERVICES = {  # kind -> what it cannot do without
    "bedrock": ("api_key", "id"),
    "azure_content_safety": ("api_key", "base_url"),
    "model_armor": ("id",),
}


def _with_detectors(settings: Settings) -> Settings:
    """The settings with what each policy's detectors stand for, so that a policy is whole by itself."""
    detectors = {name: _check_detector(name, detector, settings) for name, detector in settings.detectors.items()}
    policies = {}
    for name, policy in settings.guard.items():
        for wanted in policy.detectors:
            if wanted not in detectors:
                raise BadSetting(
                    f"guard.{name}.detectors names '{wanted}', and there is none",
                    hint=_nearest(wanted, list(detectors)) or f"add [detectors.{wanted}]",
                )
        policies[name] = replace(policy, others={wanted: detectors[wanted] for wanted in policy.detectors})
    return replace(settings, guard=policies)


def _check_detector(name: str, detector: DetectorSettings, settings: Settings) -> DetectorSettings:
    check_name(name, what="a detector")
    where = f"detectors.{name}"
    if not detector.kind:
        raise BadSetting(f"{where}.kind is empty", hint="presidio, llm_guard, bedrock, …: which guard it is")
    missing = [key for key in _SERVICES.get(detector.kind, ()) if not getattr(detector, key)]
    if detector.kind in ("lakera", "openai_moderation") and not detector.base_url and not detector.api_key:
        missing.append("api_key")  # a server of one's own may want none
    if detector.kind == "bedrock" and not detector.base_url and not re.fullmatch(r"[a-z0-9-]+", detector.region):
        missing.append("region")
    if missing:
        raise BadSetting(f"{where}.{missing[0]} is missing, and {detector.kind} needs it")
    if detector.kind == "model_armor" and not re.fullmatch(
        r"projects/[\w:.-]+/locations/[a-z0-9-]+/templates/[\w-]+", detector.id, re.ASCII
    ):
        raise BadSetting(
            f"{where}.id is {detector.id!r}", hint="projects/PROJECT/locations/LOCATION/templates/TEMPLATE"
        )
    if detector.base_url and not re.fullmatch(r"https?://[^\s?#@]+", detector.base_url):
        raise BadSetting(f"{where}.base_url is no address", hint="https://…, without a login and without ?")
    if not detector.api_key.isascii() or not detector.api_key.isprintable():
        raise BadSetting(f"{where}.api_key holds characters that no key can have")
    if not 0 < detector.timeout_s <= 300:
        raise BadSetting(f"{where}.timeout_s is {detector.timeout_s:g}", hint="from 0.1 to 300")
    for entry, value in detector.thresholds.items():
        if value > 1:
            raise BadSetting(f"{where}.thresholds.{entry} is {value:g}", hint="from 0 to 1")
    if not detector.credentials:
        return detector
    path = _path(detector.credentials, f"{where}.credentials")
    return replace(detector, credentials=str(settings.folder / path))


def _check_observe(observe: ObserveSettings) -> None:
    if not observe.otlp_endpoint:
        return
    if not re.fullmatch(r"https?://[^\s?#@/]+(/[^\s?#@]*)?", observe.otlp_endpoint):
        raise BadSetting(
            "observe.otlp_endpoint is no address of OTLP over HTTP",
            hint="http://127.0.0.1:4318, without a login and without ?",
        )
    for name, value in observe.otlp_headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise BadSetting(f"observe.otlp_headers has {name!r}, which can be no header")
        if not value.isascii() or not value.isprintable():
            raise BadSetting(f"observe.otlp_headers.{name} holds characters that no header can have")


def _check_widget(name: str, widget: WidgetSettings, settings: Settings) -> None:
    where = f"widgets.{check_name(name, what='a widget')}"
    if not name.isascii():
        raise BadSetting(
            f"'{name}' cannot name a widget", hint="it stands in addresses: letters of ASCII, digits, '-', '_'"
        )
    apps = [*settings.apps, *settings.documents]
    if widget.app not in apps:
        hint = _nearest(widget.app, apps) if widget.app else 'app = "…", an app or a collection'
        raise BadSetting(f"{where}.app names '{widget.app}', which is no app or collection", hint=hint)
    for origin in widget.origins:
        if not re.fullmatch(r"https?://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?", origin):
            hint = "https://shop.example, as browsers send it: in small letters, without a path, * or / at the end"
            raise BadSetting(f"{where}.origins has {origin!r}, which is no origin", hint=hint)
        if origin.endswith({"https": ":443", "http": ":80"}[origin.partition(":")[0]]):
            hint = f"browsers leave the usual port out: {origin.rpartition(':')[0]}"
            raise BadSetting(f"{where}.origins has {origin!r}", hint=hint)
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", widget.accent):
        raise BadSetting(f"{where}.accent is {widget.accent!r}", hint="a colour such as #0b6b6f")
    if widget.language and not re.fullmatch(r"[a-z]{2,3}", widget.language):
        raise BadSetting(f"{where}.language is {widget.language!r}", hint='a code of ISO 639-1, such as "de"')
    for key, longest, texts in (
        ("title", 60, (widget.title,)), ("greeting", 500, (widget.greeting,)), ("suggestions", 120, widget.suggestions),
    ):  # fmt: skip
        for text in texts:
            if len(text) > longest or (key == "suggestions" and not text.strip()):
                raise BadSetting(f"{where}.{key} has a text of {len(text)} characters", hint=f"at most {longest}")
    if len(widget.suggestions) > 8:
        raise BadSetting(f"{where}.suggestions has {len(widget.suggestions)} questions", hint="8 at most")


def _check_mcp(name: str, server: McpSettings, settings: Settings) -> None:
    where = f"mcp.{check_name(name, what='a server')}"
    if bool(server.command) == bool(server.url):
        raise BadSetting(
            f"{where} needs either a command or a url", hint='command = "…" with args, or url = "https://…/mcp"'
        )
    if server.url and not re.fullmatch(r"https?://[^\s/@?#]+[^\s@#]*", server.url, re.ASCII):
        raise BadSetting(f"{where}.url is no address", hint="https://…/mcp, with secrets in `headers`")
    try:
        host = urlsplit(server.url).hostname or ""
    except ValueError as error:
        raise BadSetting(f"{where}.url is no address: {error}") from error
    if server.headers and server.url.startswith("http://") and not is_loopback(host):
        raise BadSetting(f"{where} would send its headers in the open", hint="https://…")
    for key, only in (("args", "command"), ("env", "command"), ("headers", "url")):
        if getattr(server, key) and not getattr(server, only):
            raise BadSetting(f"{where}.{key} is set, and {only} is not")
    texts = (server.command, *server.args, *server.env, *server.env.values(), *server.headers, *server.headers.values())
    if any(letter in text for text in texts for letter in "\0\r\n"):
        raise BadSetting(f"{where} has a text with a line break or a zero in it")
    for key in ("reads", "writes"):
        for tool in getattr(server, key):
            if tool not in server.tools:
                hint = _nearest(tool, list(server.tools)) or f'tools = ["{tool}"]'
                raise BadSetting(f"{where}.{key} has '{tool}', which is not in tools", hint=hint)
    if both := set(server.reads) & set(server.writes):
        raise BadSetting(f"{where} has '{min(both)}' in reads and in writes")
    if not 0.1 <= server.timeout <= 3600:
        raise BadSetting(f"{where}.timeout is {server.timeout:g} s", hint="from 0.1 to 3600")
    if not 1 <= server.max_output_kb <= 10_240:
        raise BadSetting(f"{where}.max_output_kb is {server.max_output_kb}", hint="from 1 to 10240")
    known = ["off", "default", *settings.guard]
    if server.guard not in known:
        raise BadSetting(
            f"{where}.guard names '{server.guard}', and there is no such policy", hint=_nearest(server.guard, known)
        )


def _no_model(where: str, name: str, settings: Settings) -> BadSetting:
    known = [*settings.models, *settings.routes]
    return BadSetting(
        f"{where} names '{name}', which is no model", hint=_nearest(name, known) or f"add [models.{name}]"
    )


def check_name(name: str, *, what: str = "a collection") -> str:
    """The name, where it can be that of a collection or the like: it becomes part of paths. Raises BadSetting."""
    if not re.fullmatch(r"[a-zA-Z0-9][\w.-]{0,63}", name):
        raise BadSetting(f"'{name}' cannot name {what}", hint="letters, digits, '-', '_' and '.'")
    return name


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


# ---------------------------------------------------------------- from plain values to the tree


class _Outside(NamedTuple):
    """Where secrets are that the settings only name. folder: that relative paths start from; None: no file is read."""

    environment: Mapping[str, str]
    folder: Path | None = None


def _build(kind: type[T], values: Any, where: str, prefix: str, outside: _Outside) -> T:
    if not isinstance(values, Mapping):
        raise BadSetting(f"{where}: '{prefix.rstrip('.')}' must be a table")
    known = {f.name: f for f in fields(kind) if not f.metadata.get("internal")}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    arguments = {}
    for key, value in values.items():
        if key not in known:
            raise BadSetting(f"{where}: unknown key '{prefix}{key}'", hint=_nearest(key, list(known)))
        arguments[key] = _value(hints[key], value, where, prefix + key, outside)
    return kind(**arguments)


def _value(kind: Any, value: Any, where: str, key: str, outside: _Outside) -> Any:
    """Turn a value as TOML or the environment spells it into the type the field has."""

    def wrong(expected: str) -> BadSetting:
        return BadSetting(f"{where}: '{key}' must be {expected}, not {value!r}")

    if isinstance(kind, types.UnionType):  # a number or nothing
        kind = next(member for member in get_args(kind) if member is not type(None))
    origin = get_origin(kind)
    if kind is Any:  # whoever reads it checks it
        return value
    if is_dataclass(kind):
        return _build(typing.cast(type, kind), value, where, key + ".", outside)
    if kind is Seconds:
        return Seconds(_duration(value, wrong))
    if kind is Secret:
        if not isinstance(value, str):
            raise BadSetting(f"{where}: '{key}' must be a string")  # whatever it is, it is not repeated
        return Secret(_secret(value, where, key, outside))
    if origin is Literal:
        if value not in get_args(kind):
            raise wrong("one of " + ", ".join(map(str, get_args(kind))))
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise wrong("a list")
        return tuple(_value(get_args(kind)[0], item, where, f"{key}[{n}]", outside) for n, item in enumerate(value))
    if origin in (Mapping, typing.get_origin(Mapping[str, str])):
        if not isinstance(value, Mapping):
            raise wrong("a table")
        item = get_args(kind)[1]
        return {name: _value(item, entry, where, f"{key}.{name}", outside) for name, entry in value.items()}
    if kind in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < 1e15:
            raise wrong("a number, zero or more")  # neither nan nor inf
        if kind is float or isinstance(value, int):
            return kind(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise wrong(
            {"str": "a string", "int": "a whole number", "float": "a number", "bool": "true or false"}[kind.__name__]
        )
    return value


_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(value: Any, wrong: Any) -> float:
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(min(value, 2 * LONGEST_S))
    elif isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value.strip(), re.ASCII)):
        seconds = float(match[1]) * _UNITS_S[match[2]]
    if not 0 <= seconds <= LONGEST_S:
        raise wrong('a duration such as "90s", "15m", "1h" or "7d", of a century at most')
    return seconds


def _secret(value: str, where: str, key: str, outside: _Outside) -> str:
    kind, _, name = value.partition(":")
    if kind == "file" and outside.folder is not None:
        return _secret_file(outside.folder / _path(name, f"{where}: '{key}'"), f"{where}: '{key}'")
    if kind != "env":
        return value
    found = outside.environment.get(name)
    if not found:
        raise BadSetting(f"{where}: '{key}' reads the variable {name}, which is not set", hint=f"export {name}=…")
    return found


def _secret_file(path: Path, where: str) -> str:
    try:
        said = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise BadSetting(f"{where} reads the file {path}: {why}") from error
    if not said:
        raise BadSetting(f"{where} reads the file {path}, which is empty")
    return said


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(sorted(known))}" if known else ""


# ---------------------------------------------------------------- the environment, read in one place


def variables() -> dict[str, tuple[str, str]]:
    """Every variable that overrides a setting -> (section, field): PENSTOCK_SERVER_PORT -> ("server", "port")."""
    names = {"PENSTOCK_HOME": ("", "home")}
    hints = typing.get_type_hints(Settings)
    for section in fields(Settings):
        if is_dataclass(hints[section.name]):
            for inner in fields(typing.cast(type, hints[section.name])):
                names[f"PENSTOCK_{section.name}_{inner.name}".upper()] = (section.name, inner.name)
    return names


def _with_environment(settings: Settings, environment: Mapping[str, str]) -> Settings:
    known = variables()
    sections = {section.upper() for section, _ in known.values() if section}
    for name in sorted(n for n in environment if n.startswith("PENSTOCK_") and environment[n]):
        if name not in known:
            mistyped = name != "PENSTOCK_CONFIG" and difflib.get_close_matches(name, known, n=1, cutoff=0.9)
            if name.removeprefix("PENSTOCK_").split("_")[0] in sections or mistyped:
                raise BadSetting(f"unknown variable {name}", hint=_nearest(name, list(known)))
            continue
        section, inner = known[name]
        owner = getattr(settings, section) if section else settings
        kind = typing.get_type_hints(type(owner))[inner]
        value = _value(
            kind, _spelled(kind, environment[name]), "environment", name, _Outside(environment, settings.folder)
        )
        changed: Any = replace(owner, **{inner: value})
        tree: dict[str, Any] = {section: changed}
        settings = replace(settings, **tree) if section else changed
    return settings


def _with_open_telemetry(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """What the settings leave open, from the variables that OpenTelemetry has for all programs."""
    told = {name: environment.get(f"OTEL_{name}", "") for name in (
        "EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_HEADERS", "EXPORTER_OTLP_CERTIFICATE", "SERVICE_NAME", "RESOURCE_ATTRIBUTES",
    )}  # fmt: skip
    observe = settings.observe
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return replace(settings, observe=replace(observe, otlp_endpoint=""))
    semconv = observe.semconv
    if semconv == "stable" and "gen_ai_latest_experimental" in _listed(
        environment.get("OTEL_SEMCONV_STABILITY_OPT_IN")
    ):
        semconv = "latest"
    headers = observe.otlp_headers
    if not observe.otlp_endpoint:  # the secrets of one receiver are not for another
        headers = {name: Secret(value) for name, value in _pairs(told["EXPORTER_OTLP_HEADERS"]).items()} | dict(headers)
    resource = _pairs(told["RESOURCE_ATTRIBUTES"])
    named = resource.pop("service.name", "")
    filled = replace(
        observe,
        otlp_endpoint=observe.otlp_endpoint or told["EXPORTER_OTLP_ENDPOINT"],
        otlp_headers=headers,
        otlp_ca_file=observe.otlp_ca_file or told["EXPORTER_OTLP_CERTIFICATE"],
        service_name=observe.service_name or told["SERVICE_NAME"] or named,
        semconv=semconv,
        resource={**resource, **observe.resource},
    )
    return replace(settings, observe=filled)


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _pairs(text: str) -> dict[str, str]:
    """`name=value,name=value` with percent signs for what is no plain character, as OpenTelemetry writes it."""
    entries = (part.partition("=") for part in _listed(text))
    return {unquote(name).strip(): unquote(value).strip() for name, equals, value in entries if equals and name.strip()}


def _spelled(kind: Any, text: str) -> Any:
    """A variable is always text; read it as its field's type would be written in TOML."""
    if kind in (int, float):
        number = re.fullmatch(r"-?\d{1,300}(\.\d+)?", text.strip(), re.ASCII)
        return text if number is None else float(text) if number[1] else int(text)
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def describe(settings: Settings) -> dict[str, Any]:
    """The tree as plain values, secrets hidden: what `config show` prints."""

    def plain(value: Any, kind: Any = None) -> Any:
        if kind is Secret:
            return "(set)" if value else ""
        if is_dataclass(value) and not isinstance(value, type):
            hints = typing.get_type_hints(type(value))
            return {
                f.name: plain(getattr(value, f.name), hints[f.name])
                for f in fields(value)
                if not f.metadata.get("internal")
            }
        if isinstance(value, Mapping):
            item_kind = get_args(kind)[1] if get_args(kind) else None
            return {name: plain(item, item_kind) for name, item in value.items()}
        if isinstance(value, str):
            value = re.sub(r"(?<=://)[^/@\s]+@", "(set)@", value)  # an address may carry a password, or a key
            return re.sub(r"(?<=\?)\S+", "(set)", value) if "://" in value else value
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return typing.cast(dict[str, Any], plain(settings))


def defaults_of(kind: type) -> list[tuple[str, str, Any, str]]:
    """(name, type, default, help) of each setting in a section, for the generated reference."""
    rows = []
    hints = typing.get_type_hints(kind)
    for f in fields(kind):
        if f.metadata.get("internal") or not f.metadata.get("help"):
            continue
        default = f.default if f.default is not MISSING else f.default_factory() if callable(f.default_factory) else ""
        rows.append((f.name, _spell_type(hints[f.name]), default, f.metadata["help"]))
    return rows


def _spell_type(kind: Any) -> str:
    if isinstance(kind, types.UnionType):
        kind = get_args(kind)[0]
    if kind in (Seconds, Secret):
        return "duration" if kind is Seconds else "secret"
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return "list"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(kind, "table")
