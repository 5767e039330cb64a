"""Guards of others beside ours: what each says of a text, in our types and topics, and what happens when it cannot say.

Nothing is imported, loaded or called until a policy that names such a guard meets its first text. Texts never get into a log
line or an error, and what a service answers is not repeated either: it may have the text in it.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

from penstock.config import DetectorSettings
from penstock.errors import UpstreamError, UpstreamRefused
from penstock.trace import log, span
from penstock.types import Action, Detector, Finding, Surface

__all__ = ["UNCHECKED", "Beside", "Judge", "Judgement", "apart", "counted", "our_type", "pieces"]

UNCHECKED = "UNCHECKED"  # the type of a text that a guard could not look at
FAILURES = 3  # in a row, until a guard is left alone
REST_S = 20.0  # how long; then one text tries, and all others when that went well
OVERLAP = 300  # characters that two pieces of a long text share
MOST_PIECES = 100  # of one text; what is longer is not looked at to its end
KEPT, KEEP_S = (
    2000,
    300.0,
)  # a conversation comes again whole with each message: what was said of its texts is remembered
COUNTS = 0.5  # a score counts from here on
LONGEST = {"presidio": 100_000, "llm_guard": 1_200}  # characters at once: of spaCy's patience, of 512 tokens
LONGEST_SENT = 10_000  # characters at once to a service: what Azure takes, and no other takes less
NOISE = frozenset({"DATE_TIME", "URL", "DOMAIN_NAME"})  # taken where the settings ask for them
SURROGATE = re.compile("[\ud800-\udfff]")

TYPES = {  # what others call it -> what we do; where Presidio has a name, that is ours too
    "NAME": "PERSON",
    "PERSON_NAME": "PERSON",
    "EMAIL": "EMAIL_ADDRESS",
    "PHONE": "PHONE_NUMBER",
    "STREET_ADDRESS": "ADDRESS",
    "CREDIT_DEBIT_CARD_NUMBER": "CREDIT_CARD",
    "CREDIT_CARD_NUMBER": "CREDIT_CARD",
    "INTERNATIONAL_BANK_ACCOUNT_NUMBER": "IBAN_CODE",
    "US_SOCIAL_SECURITY_NUMBER": "US_SSN",
    "US_PASSPORT_NUMBER": "US_PASSPORT",
    "US_INDIVIDUAL_TAX_IDENTIFICATION_NUMBER": "US_ITIN",
    "US_INDIVIDUAL_TAXPAYER_IDENTIFICATION_NUMBER": "US_ITIN",
    "US_BANK_ACCOUNT_NUMBER": "US_BANK_NUMBER",
    "US_DRIVERS_LICENSE_NUMBER": "US_DRIVER_LICENSE",
    "UK_NATIONAL_INSURANCE_NUMBER": "UK_NINO",
    "UK_NATIONAL_HEALTH_SERVICE_NUMBER": "UK_NHS",
    "DATE": "DATE_TIME",
    "TIME": "DATE_TIME",
    "ORGANIZATION_NAME": "ORGANIZATION",
    "PASSWORD": "SECRET:password",
    "PIN": "SECRET:pin",
    "AWS_ACCESS_KEY": "SECRET:aws_key",
    "AWS_SECRET_KEY": "SECRET:aws_key",
    "AWS_CREDENTIALS": "SECRET:aws_key",
    "GCP_API_KEY": "SECRET:google_key",
    "GCP_CREDENTIALS": "SECRET:google_key",
    "AZURE_AUTH_TOKEN": "SECRET:azure_key",
    "AUTH_TOKEN": "SECRET:token",
    "JSON_WEB_TOKEN": "SECRET:jwt",
    "ENCRYPTION_KEY": "SECRET:private_key",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What another guard says of a text."""

    findings: tuple[Finding, ...] = ()  # personal data, in the order of the text, none overlapping another
    scores: Mapping[str, float] = field(
        default_factory=dict
    )  # `injection` and our topics, 0 to 1; from 0.5 on they count
    stops: tuple[Finding, ...] = ()  # what it forbids by lists of its own: for these the text goes no further
    missed: str = ""  # why some of the text was not looked at


class Judge(Protocol):
    """Says how hostile or harmful a text is, and what personal data it came upon on the way."""

    def judge(self, text: str, surface: Surface, *, language: str = "") -> Judgement:
        """Raises UpstreamError; UpstreamRefused where this text alone is to blame."""
        ...


class Beside:
    """One guard of the settings. Safe to share between threads.

    Building it costs nothing: a library is loaded, a connection opened, with the first text.
    """

    def __init__(self, name: str, settings: DetectorSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.settings, self.rule = name, settings, f"detectors.{name}"
        self._clock, self._lock, self._loading = clock, threading.Lock(), threading.Lock()
        self._guard: Detector | Judge | None = None  # until the first text
        self._failures, self._rests_until = 0, 0.0
        self._kept: OrderedDict[bytes, tuple[float, Judgement]] = OrderedDict()
        self._salt = os.urandom(16)

    @property
    def finds(self) -> bool:
        """Whether it knows of personal data."""
        return self.settings.kind in ("presidio", "bedrock", "model_armor", "lakera")

    @property
    def judges(self) -> bool:
        """Whether it knows of hostile or harmful texts."""
        return self.settings.kind != "presidio"

    def look(self, text: str, surface: Surface, *, language: str = "") -> Judgement:
        """What it says of a text on a surface that it looks at; else nothing. A failure is in `missed`.

        Raises BadSetting and MissingExtra: with those no text can be looked at.
        """
        if surface not in self.settings.surfaces or not text.strip():
            return Judgement()
        key = hashlib.blake2b(
            f"{surface}/{language}/{text}".encode("utf-8", "surrogatepass"), key=self._salt, digest_size=16
        ).digest()
        if kept := self._remembered(key):
            return kept
        said = self._ruled(self._pieced(SURROGATE.sub("\ufffd", text), surface, language))
        if said.missed:
            log("guard.unchecked", level="warning", detector=self.name, surface=surface, why=said.missed)
        else:
            self._remember(key, said)
        return said

    def unchecked(self, text: str, said: Judgement) -> Finding | None:
        """The finding for a text that was not looked at to its end, with what the settings want done about it."""
        if not said.missed:
            return None
        action: Action = "block" if self.settings.on_failure == "block" else "allow"
        return Finding(UNCHECKED, 0, len(text), action=action, rule=f"{self.rule}: {said.missed}")

    def _pieced(self, text: str, surface: Surface, language: str) -> Judgement:
        """A long text piece by piece, each as long as the guard reads."""
        findings: list[Finding] = []
        stops: list[Finding] = []
        scores: dict[str, float] = {}
        missed = ""
        for n, (start, piece) in enumerate(pieces(text, LONGEST.get(self.settings.kind, LONGEST_SENT))):
            said = Judgement(missed=f"longer than {start:,} characters") if n == MOST_PIECES else None
            said = said or self._asked(piece, surface, language)
            findings += (replace(f, start=f.start + start, end=f.end + start) for f in said.findings)
            stops += (replace(f, start=f.start + start, end=f.end + start) for f in said.stops)
            scores |= {topic: max(score, scores.get(topic, 0.0)) for topic, score in said.scores.items()}
            if missed := said.missed:
                break
        return Judgement(tuple(apart(findings)), scores, tuple(dict.fromkeys(stops)), missed)

    def _asked(self, text: str, surface: Surface, language: str) -> Judgement:
        """One call, with what went wrong in its place."""
        guard = self._loaded()
        if not self._may_call():
            return Judgement(missed="it failed several times, and is left alone for now")
        try:
            with span("guard.beside", detector=self.name, surface=surface):
                if self.judges:
                    said = cast(Judge, guard).judge(text, surface, language=language)
                else:
                    said = Judgement(tuple(cast(Detector, guard).find(text, language=language)))
        except UpstreamRefused as refused:  # this text alone: whoever sends some cannot have the guard left alone
            return Judgement(missed=refused.message)
        except UpstreamError as error:
            with self._lock:
                self._failures += 1
                self._rests_until = self._clock() + REST_S
            return Judgement(missed=error.message)
        with self._lock:
            self._failures = 0
        return said

    def _may_call(self) -> bool:
        with self._lock:
            if self._failures < FAILURES:
                return True
            if self._clock() < self._rests_until:
                return False
            self._rests_until = self._clock() + REST_S  # this one text tries
            return True

    def _loaded(self) -> Detector | Judge:
        with self._loading:
            if self._guard is None:
                self._guard = _build(self.settings)
            return self._guard

    def _ruled(self, said: Judgement) -> Judgement:
        """What the settings let through of it, each with who said so."""
        least, types = self.settings.thresholds, self.settings.types
        findings = tuple(
            replace(f, rule=self.rule)
            for f in said.findings
            if f.score >= least.get(f.type, COUNTS) and (f.type in types if types else f.type not in NOISE)
        )
        stops = tuple(replace(f, rule=f"{self.rule}: {f.rule}" if f.rule else self.rule) for f in said.stops)
        return replace(said, findings=findings, stops=stops)

    def _remembered(self, key: bytes) -> Judgement | None:
        with self._lock:
            at, said = self._kept.get(key, (-KEEP_S, None))
            return said if self._clock() - at < KEEP_S else None

    def _remember(self, key: bytes, said: Judgement) -> None:
        with self._lock:
            self._kept[key] = (self._clock(), said)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)


def _build(settings: DetectorSettings) -> Detector | Judge:
    """Raises MissingExtra and BadSetting."""
    from penstock.guard import adapter_libraries, adapter_services

    guards: dict[str, Callable[[DetectorSettings], Detector | Judge]] = {
        "presidio": adapter_libraries.Presidio,
        "llm_guard": adapter_libraries.LlmGuard,
        "bedrock": adapter_services.Bedrock,
        "azure_content_safety": adapter_services.AzureContentSafety,
        "model_armor": adapter_services.ModelArmor,
        "lakera": adapter_services.Lakera,
        "openai_moderation": adapter_services.OpenAIModeration,
    }
    return guards[settings.kind](settings)


def our_type(name: str) -> str:
    """What we call a type of personal data that others call `name`."""
    name = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_") or "PERSONAL_DATA"
    return TYPES.get(name, name)


def counted(score: float, at: float) -> float:
    """A score moved so that what lies at `at` lies at 0.5, where ours count."""
    score = min(max(score, 0.0), 1.0)
    if score < at:
        return COUNTS * score / at
    return 1.0 if at >= 1 else COUNTS + (1 - COUNTS) * (score - at) / (1 - at)


def pieces(text: str, longest: int) -> Iterator[tuple[int, str]]:
    """A text in pieces of at most `longest` characters that overlap a little, each with where it starts."""
    start = 0
    while True:
        yield start, text[start : start + longest]
        if start + longest >= len(text):
            return
        start += longest - min(OVERLAP, longest // 4)


def apart(findings: Iterable[Finding]) -> list[Finding]:
    """Those of them that overlap none of the others, the longest first, then the surest; in the order of the text."""
    kept: list[Finding] = []  # in the order of the text
    starts: list[int] = []
    for finding in sorted(findings, key=lambda f: (f.start - f.end, -f.score, f.start)):
        at = bisect(starts, finding.start)
        before, after = kept[at - 1 : at] if at else [], kept[at : at + 1]
        if finding.end > finding.start and not (
            (before and before[0].end > finding.start) or (after and after[0].start < finding.end)
        ):
            kept.insert(at, finding)
            starts.insert(at, finding.start)
    return kept
