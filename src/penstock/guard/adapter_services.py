"""Guards of others over HTTP: Bedrock, Azure, Google, Lakera, OpenAI. Each says in which words it is asked and how it answers.

A call is made once. What a service says counts where the service itself says so; a score of its own moves that only where the
settings name a threshold. Offsets come back in code points, whatever the service counts in.
"""

from __future__ import annotations

import base64
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import orjson

from penstock.config import DetectorSettings
from penstock.errors import BadSetting, UpstreamBusy, UpstreamError, UpstreamRefused, UpstreamTimeout
from penstock.guard.adapters import COUNTS, Judgement, apart, counted, our_type
from penstock.types import Finding, Surface

__all__ = ["AzureContentSafety", "Bedrock", "Lakera", "ModelArmor", "OpenAIModeration"]

DENIED, WORD, LINK = "DENIED_TOPIC", "BLOCKED_WORD", "REFUSED_LINK"  # what a service forbids by itself
METADATA = "http://metadata.google.internal"  # what a machine of Google's asks for its own account
TOKEN_SCOPE = "https://www.googleapis.com/auth/cloud-platform"  # noqa: S105
REFUSALS = frozenset({400, 413, 415, 422})  # of one text; all others are about the service
T = TypeVar("T")


class _Service:
    """One server, asked from several threads. Its words never get into an error: it may repeat the text."""

    def __init__(self, settings: DetectorSettings, address: str, headers: Mapping[str, str] | None = None) -> None:
        import httpx2

        address = (settings.base_url or address).rstrip("/")
        try:
            self._client = httpx2.Client(
                base_url=f"{address}/", headers=dict(headers or {}), timeout=settings.timeout_s
            )
        except httpx2.InvalidURL as error:
            raise BadSetting(f"'{address}' is no address: {error}") from error
        self.name = self._client.base_url.host
        weakref.finalize(self, self._client.close)  # when the settings have changed and the last call has come back

    def ask(
        self, method: str, path: str, read: Callable[[Any], T], *, headers: Mapping[str, str] | None = None, **body: Any
    ) -> T:
        """What `read` makes of the answer. Raises UpstreamError; UpstreamRefused where this text alone is to blame."""
        import httpx2

        try:
            response = self._client.request(method, path, headers=dict(headers or {}), **body)
        except httpx2.TimeoutException:
            raise UpstreamTimeout(f"{self.name} did not answer in time") from None
        except httpx2.HTTPError as error:
            raise UpstreamError(f"{self.name} did not answer: {type(error).__name__}") from None
        refusal = f"{self.name} answered {response.status_code}"
        if response.status_code in REFUSALS:
            raise UpstreamRefused(refusal, status=response.status_code)
        if response.status_code == 429:
            raise UpstreamBusy(refusal)
        if not response.is_success:
            raise UpstreamError(refusal)
        try:
            return read(orjson.loads(response.content))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise UpstreamError(f"{self.name} answered something else than its documentation says") from None


def _whole(text: str, type_: str, why: str = "") -> Finding:
    return Finding(type_, 0, len(text), action="block", rule=why)


def _places(text: str, words: str) -> list[tuple[int, int]]:
    """Where the text has these words. Where a service read them but we do not find them, that is anywhere."""
    spans, at = [], text.find(words) if words else -1
    while at >= 0:
        spans.append((at, at + len(words)))
        at = text.find(words, at + len(words))
    return spans or [(0, len(text))]


def _span(text: str, start: int, end: int, words: str) -> tuple[int, int]:
    """A stretch as code points, where a service may count code points, UTF-16 units or bytes: the words tell which."""
    if not words or text[start:end] == words:
        return max(0, min(start, len(text))), max(0, min(end, len(text)))
    for encoding, unit in (("utf-16-le", 2), ("utf-8", 1)):
        encoded = text.encode(encoding)
        before, said = encoded[: start * unit], encoded[start * unit : end * unit]
        if said == words.encode(encoding):
            at = len(before.decode(encoding))
            return at, at + len(words)
    return min(_places(text, words), key=lambda span: abs(span[0] - start))


def _loudest(scores: Iterable[tuple[str, float]]) -> dict[str, float]:
    loudest: dict[str, float] = {}
    for topic, score in scores:
        if topic:
            loudest[topic] = max(score, loudest.get(topic, 0.0))
    return loudest


def _list(tree: Any, *path: str) -> list[Any]:
    """A list further down, or none where a part of the way is missing."""
    for name in path:
        tree = (tree or {}).get(name)
    return list(tree or ())


# ---------------------------------------------------------------- Amazon Bedrock


class Bedrock(_Service):
    """A guardrail by `ApplyGuardrail`, with a key for Bedrock. Satisfies `Judge`.

    It answers with words and not with places: they count wherever the text has them.
    """

    topics: Mapping[str, str] = {
        "HATE": "hate",
        "INSULTS": "harassment",
        "SEXUAL": "sexual",
        "VIOLENCE": "violence",
        "MISCONDUCT": "illegal",
        "PROMPT_ATTACK": "injection",
    }
    sure: Mapping[str, float] = {"LOW": 0.5, "MEDIUM": 0.75, "HIGH": 1.0}

    def __init__(self, settings: DetectorSettings) -> None:
        headers = {"authorization": f"Bearer {settings.api_key}"}
        super().__init__(settings, f"https://bedrock-runtime.{settings.region}.amazonaws.com", headers)
        self._path = f"guardrail/{quote(settings.id, safe='')}/version/{quote(settings.version, safe='')}/apply"
        self._thresholds = settings.thresholds

    def judge(self, text: str, surface: Surface, *, language: str = "") -> Judgement:
        """Raises UpstreamError."""
        body = {"source": "OUTPUT" if surface == "output" else "INPUT", "content": [{"text": {"text": text}}]}
        return self.ask("POST", self._path, lambda answer: self._read(text, answer), json=body)

    def _read(self, text: str, answer: Any) -> Judgement:
        findings: list[Finding] = []
        stops: list[Finding] = []
        scores: list[tuple[str, float]] = []
        for one in _list(answer, "assessments"):
            for found in filter(_detected, _list(one, "contentPolicy", "filters")):
                topic, sure = self.topics.get(found["type"], ""), self.sure.get(found.get("confidence", ""), 1.0)
                scores.append((topic, counted(sure, self._thresholds.get(topic, COUNTS))))
            for found in filter(_detected, _list(one, "sensitiveInformationPolicy", "piiEntities")):
                findings += (Finding(our_type(found["type"]), *span) for span in _places(text, found["match"]))
            for found in filter(_detected, _list(one, "sensitiveInformationPolicy", "regexes")):
                type_ = our_type(found.get("name") or "")
                findings += (Finding(type_, *span) for span in _places(text, found["match"]))
            for found in filter(_detected, _list(one, "wordPolicy", "customWords")):
                stops += (Finding(WORD, *span, action="block") for span in _places(text, found["match"]))
            if any(map(_detected, _list(one, "wordPolicy", "managedWordLists"))):
                scores.append(("toxicity", 1.0))
            denied = filter(_detected, _list(one, "topicPolicy", "topics"))
            stops += (_whole(text, DENIED, found.get("name", "")) for found in denied)
        unknown = any(not topic for topic, _ in scores) or not (findings or stops or scores)
        if answer["action"] == "GUARDRAIL_INTERVENED" and unknown:  # for a reason that has no name here
            stops.append(_whole(text, DENIED))
        return Judgement(tuple(apart(findings)), _loudest(scores), tuple(stops))


def _detected(found: Mapping[str, Any]) -> bool:
    return bool(found.get("detected", found.get("action") not in (None, "NONE")))


# ---------------------------------------------------------------- Azure AI Content Safety


class AzureContentSafety(_Service):
    """Harmful topics, block lists, and Prompt Shields for what goes to a model. Satisfies `Judge`.

    A severity is from 0 to 7, and 4 is where it counts.
    """

    topics: Mapping[str, str] = {"Hate": "hate", "SelfHarm": "self_harm", "Sexual": "sexual", "Violence": "violence"}

    def __init__(self, settings: DetectorSettings) -> None:
        super().__init__(settings, "", {"ocp-apim-subscription-key": settings.api_key})
        self._lists, self._thresholds = list(settings.lists), settings.thresholds

    def judge(self, text: str, surface: Surface, *, language: str = "") -> Judgement:
        """Raises UpstreamError."""
        body: dict[str, Any] = {"text": text, "categories": list(self.topics), "outputType": "EightSeverityLevels"}
        if self._lists:
            body |= {"blocklistNames": self._lists, "haltOnBlocklistHit": False}
        said = self._ask("text:analyze", lambda answer: self._read(text, answer), body)
        if surface == "output":  # what a model says is no order to it
            return said
        asked = {"userPrompt": text} if surface == "prompt" else {"documents": [text]}
        attacked = self._ask("text:shieldPrompt", _attacked, asked)
        return Judgement(scores={**said.scores, "injection": float(attacked)}, stops=said.stops)

    def _ask(self, verb: str, read: Callable[[Any], T], body: Mapping[str, Any]) -> T:
        path = f"contentsafety/{verb}?api-version=2024-09-01"
        return self.ask("POST", path, read, json=body)

    def _read(self, text: str, answer: Any) -> Judgement:
        scores = []
        for found in answer["categoriesAnalysis"]:
            topic = self.topics.get(found["category"], "")
            scores.append((topic, counted((found.get("severity") or 0) / 8, self._thresholds.get(topic, COUNTS))))
        stops = (
            Finding(WORD, *span, action="block", rule=found.get("blocklistName", ""))
            for found in _list(answer, "blocklistsMatch")
            for span in _places(text, found.get("blocklistItemText", ""))
        )
        return Judgement(scores=_loudest(scores), stops=tuple(stops))


def _attacked(answer: Any) -> bool:
    said = [one for one in (answer.get("userPromptAnalysis"), *_list(answer, "documentsAnalysis")) if one]
    return any([one["attackDetected"] is True for one in said] or [answer["userPromptAnalysis"]["attackDetected"]])


# ---------------------------------------------------------------- Google Model Armor


class ModelArmor(_Service):
    """A template of Model Armor. Satisfies `Judge`. Personal data have places where the template inspects, and none where it
    replaces them: then all of the text counts as such."""

    topics: Mapping[str, str] = {
        "hate_speech": "hate",
        "harassment": "harassment",
        "sexually_explicit": "sexual",
        "dangerous": "illegal",
    }
    sure: Mapping[str, float] = {"LOW_AND_ABOVE": 0.5, "MEDIUM_AND_ABOVE": 0.75, "HIGH": 1.0}
    likely: Mapping[str, float] = {"VERY_UNLIKELY": 0.1, "UNLIKELY": 0.3, "POSSIBLE": 0.5, "LIKELY": 0.75}

    def __init__(self, settings: DetectorSettings) -> None:
        location = settings.id.split("/")[3]
        super().__init__(settings, f"https://modelarmor.{location}.rep.googleapis.com")
        self._template, self._thresholds = settings.id, settings.thresholds
        self._key = settings.api_key
        self._account = None if settings.api_key else _GoogleAccount(settings)

    def judge(self, text: str, surface: Surface, *, language: str = "") -> Judgement:
        """Raises UpstreamError, and BadSetting where the account's file is none."""
        verb, name = ("sanitizeUserPrompt", "userPromptData")
        if surface == "output":
            verb, name = ("sanitizeModelResponse", "modelResponseData")
        headers = {"authorization": f"Bearer {self._account.token() if self._account else self._key}"}
        path = f"v1/{self._template}:{verb}"
        return self.ask(
            "POST", path, lambda answer: self._read(text, answer), headers=headers, json={name: {"text": text}}
        )

    def _read(self, text: str, answer: Any) -> Judgement:
        result = answer["sanitizationResult"]
        named: Mapping[str, Any] = result.get("filterResults") or {}
        filters: dict[str, Any] = {name: next(iter(said.values()), {}) for name, said in named.items()}
        findings: list[Finding] = []
        stops: list[Finding] = []
        scores: list[tuple[str, float]] = []
        for name, found in (filters.get("rai", {}).get("raiFilterTypeResults") or {}).items():
            scores.append(self._score(self.topics.get(name, ""), found))
        scores.append(self._score("injection", filters.get("pi_and_jailbreak", {})))
        if _matched(filters.get("csam", {})):
            scores.append(("sexual", 1.0))
        for found in _list(filters.get("malicious_uris"), "maliciousUriMatchedItems"):
            stops += (Finding(LINK, *span, action="block") for span in _places(text, found.get("uri", "")))
        inspected = filters.get("sdp", {})
        findings += (self._finding(text, found) for found in _list(inspected, "inspectResult", "findings"))
        findings += (
            Finding(our_type(type_), 0, len(text)) for type_ in _list(inspected, "deidentifyResult", "infoTypes")
        )
        counting = [topic for topic, score in scores if score]
        if result["filterMatchState"] == "MATCH_FOUND" and ("" in counting or not (findings or stops or counting)):
            stops.append(_whole(text, DENIED))  # for a reason that has no name here
        missed = "" if result["invocationResult"] == "SUCCESS" else f"{self.name} left filters out"
        return Judgement(tuple(apart(findings)), _loudest(scores), tuple(stops), missed)

    def _score(self, topic: str, found: Mapping[str, Any]) -> tuple[str, float]:
        sure = self.sure.get(found.get("confidenceLevel", ""), 1.0) if _matched(found) else 0.0
        return topic, counted(sure, self._thresholds.get(topic, COUNTS))

    def _finding(self, text: str, found: Mapping[str, Any]) -> Finding:
        type_, likely = our_type(found["infoType"]), self.likely.get(found.get("likelihood", ""), 1.0)
        where = found.get("location") or {}
        start, end = (int((where.get("codepointRange") or {}).get(side) or 0) for side in ("start", "end"))
        if not end and (places := where.get("byteRange")):
            said = text.encode()[: int(places["end"])]
            start, end = (
                len(said[: int(places.get("start") or 0)].decode(errors="ignore")),
                len(said.decode(errors="ignore")),
            )
        start, end = (start, min(end, len(text))) if start < min(end, len(text)) else (0, len(text))
        return Finding(type_, start, end, likely)


def _matched(found: Mapping[str, Any]) -> bool:
    return found.get("matchState") == "MATCH_FOUND"


class _GoogleAccount(_Service):
    """Tokens of a service account: from the file with its key, or from the machine that this runs on."""

    def __init__(self, settings: DetectorSettings) -> None:
        self._file, self._key = settings.credentials, dict[str, str]()
        self._lock, self._said, self._until = threading.Lock(), "", 0.0
        if self._file:
            try:
                self._key = orjson.loads(Path(self._file).read_bytes())
                address = self._key["token_uri"]
                self._signed()
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise BadSetting(f"{self._file} is no key of a service account: {type(error).__name__}") from None
        own = DetectorSettings(timeout_s=settings.timeout_s)
        super().__init__(own, address if self._file else METADATA)

    def token(self) -> str:
        """A token that is good for another minute at least. Raises UpstreamError."""
        with self._lock:
            if time.monotonic() > self._until:
                asked = time.monotonic()
                self._said, good_s = self._fetched()
                self._until = asked + good_s - 60
            return self._said

    def _fetched(self) -> tuple[str, float]:
        def read(answer: Any) -> tuple[str, float]:
            return str(answer["access_token"]), float(answer["expires_in"])

        if not self._file:
            path = "computeMetadata/v1/instance/service-accounts/default/token"
            return self.ask("GET", path, read, headers={"metadata-flavor": "Google"})
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": self._signed()}
        try:
            return self.ask("POST", self._key["token_uri"], read, data=form)
        except UpstreamRefused as refused:  # it is about the account, and not about the text
            raise UpstreamError(f"{refused.message}: it gave no token") from None

    def _signed(self) -> str:
        """Who we are, signed with the account's key."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        now = int(time.time())
        claims = {
            "iss": self._key["client_email"], "scope": TOKEN_SCOPE, "aud": self._key["token_uri"], "iat": now, "exp": now + 3600,
        }  # fmt: skip
        header = {"alg": "RS256", "typ": "JWT", "kid": self._key.get("private_key_id", "")}
        said = b".".join(_base64(orjson.dumps(part)) for part in (header, claims))
        key = load_pem_private_key(self._key["private_key"].encode(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("another kind of key")
        return (said + b"." + _base64(key.sign(said, padding.PKCS1v15(), hashes.SHA256()))).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


# ---------------------------------------------------------------- Lakera Guard


class Lakera(_Service):
    """Lakera Guard, `/v2/guard`: the policy of a project there decides. Satisfies `Judge`."""

    topics: Mapping[str, str] = {
        "prompt_attack": "injection",
        "hate": "hate",
        "sexual": "sexual",
        "violence": "violence",
        "crime": "illegal",
        "weapons": "illegal",
        "profanity": "toxicity",
        "self_harm": "self_harm",
    }

    def __init__(self, settings: DetectorSettings) -> None:
        headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        super().__init__(settings, "https://api.lakera.ai", headers)
        self._project = {"project_id": settings.id} if settings.id else {}

    def judge(self, text: str, surface: Surface, *, language: str = "") -> Judgement:
        """Raises UpstreamError."""
        message = {"role": "assistant" if surface == "output" else "user", "content": text}
        body = {"messages": [message], "breakdown": True, "payload": True, **self._project}
        return self.ask("POST", "v2/guard", lambda answer: self._read(text, answer), json=body)

    def _read(self, text: str, answer: Any) -> Judgement:
        findings: list[Finding] = []
        stops: list[Finding] = []
        scores: list[tuple[str, float]] = []
        for found in _list(answer, "payload"):
            group, _, kind = found["detector_type"].partition("/")
            if group == "pii":
                start, end = _span(text, found["start"], found["end"], found.get("text") or "")
                findings.append(Finding(our_type(kind), start, end))
        located = {finding.type for finding in findings}
        for found in _list(answer, "breakdown"):
            group, _, kind = found["detector_type"].partition("/")
            if found.get("detected") is not True:
                continue
            if group == "pii":  # where it does not say the place, that is anywhere
                findings += (Finding(type_, 0, len(text)) for type_ in {our_type(kind)} - located)
            elif topic := self.topics.get(kind.replace("-", "_") if group == "moderated_content" else group):
                scores.append((topic, 1.0))
            else:
                stops.append(_whole(text, LINK if group == "unknown_links" else DENIED))
        if answer["flagged"] and not (findings or scores or stops):
            stops.append(_whole(text, DENIED))
        return Judgement(tuple(apart(findings)), _loudest(scores), tuple(stops))


# ---------------------------------------------------------------- OpenAI


class OpenAIModeration(_Service):
    """OpenAI's moderation, or a server that speaks as it does. Satisfies `Judge`."""

    topics: Mapping[str, str] = {
        "hate": "hate",
        "harassment": "harassment",
        "violence": "violence",
        "sexual": "sexual",
        "self-harm": "self_harm",
        "illicit": "illegal",
    }

    def __init__(self, settings: DetectorSettings) -> None:
        headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        super().__init__(settings, "https://api.openai.com/v1", headers)
        self._model, self._thresholds = settings.id or "omni-moderation-latest", settings.thresholds

    def judge(self, text: str, surface: Surface, *, language: str = "") -> Judgement:
        """Raises UpstreamError."""
        body = {"model": self._model, "input": text}
        return self.ask("POST", "moderations", self._read, json=body)

    def _read(self, answer: Any) -> Judgement:
        scores: list[tuple[str, float]] = []
        (result,) = answer["results"]
        for name, raw in result["category_scores"].items():
            topic = self.topics.get(name.partition("/")[0], "")
            if topic in self._thresholds:
                scores.append((topic, counted(raw, self._thresholds[topic])))
            else:  # where a category counts is OpenAI's to say, and not the same for all
                scores.append((topic, max(COUNTS, raw) if result["categories"][name] else min(raw, COUNTS - 0.01)))
        return Judgement(scores=_loudest(scores))
