"""Translation services over HTTP: DeepL, LibreTranslate, Google, AWS, and Apertium's server. Many texts in one call where they can.

Their words never get into an error: they may repeat the text.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson

from penstock.config import TranslatorSettings
from penstock.errors import BadSetting, NotOffered, UpstreamBusy, UpstreamError, UpstreamRefused, UpstreamTimeout
from penstock.language.apertium import Pairs, Service

__all__ = ["AWS", "SERVICES", "Apertium", "DeepL", "Google", "LibreTranslate"]

MOST_TEXTS = 50  # in one call
MOST_CHARACTERS = 25_000
T = TypeVar("T")


class _Http:
    """One server, asked from several threads."""

    address = ""

    def __init__(
        self, name: str, settings: TranslatorSettings, *, address: str = "", headers: Mapping[str, str] | None = None
    ):
        import httpx2

        self.name, self._settings = name, settings
        base = (settings.base_url or address or self.address).rstrip("/")
        if not base:
            raise BadSetting(f"translators.{name}.base_url is empty", hint="the address of the server")
        try:
            self._client = httpx2.Client(base_url=f"{base}/", headers=dict(headers or {}), timeout=settings.timeout_s)
        except httpx2.InvalidURL as error:
            raise BadSetting(f"'{base}' is no address: {error}") from error
        weakref.finalize(self, self._client.close)

    async def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        return await asyncio.to_thread(self._translated, list(texts), source, target)

    def _translated(self, texts: list[str], source: str, target: str) -> list[str]:
        said: list[str] = []
        for some in _parts(texts):
            answered = self.some(some, source, target)
            if len(answered) != len(some) or not all(isinstance(one, str) for one in answered):
                raise UpstreamError(f"{self.name} answered something else than its documentation says")
            said += answered
        return said

    def some(self, texts: list[str], source: str, target: str) -> list[str]:
        """What the server makes of so many texts."""
        raise NotImplementedError

    def ask(self, method: str, path: str, read: Callable[[Any], T], **body: Any) -> T:
        """What `read` makes of the answer. Raises UpstreamError, NotOffered where the server does not know the languages."""
        import httpx2

        try:
            response = self._client.request(method, path, **body)
        except httpx2.TimeoutException:
            raise UpstreamTimeout(f"{self.name} did not answer in time") from None
        except httpx2.HTTPError as error:
            raise UpstreamError(f"{self.name} did not answer: {type(error).__name__}") from None
        refusal = f"{self.name} answered {response.status_code}"
        if response.status_code in (429, 456):
            raise UpstreamBusy(refusal)
        if response.status_code == 400:
            raise NotOffered(f"{self.name} does not translate between these languages", hint=refusal)
        if response.status_code in (401, 403, 404, 413):
            raise UpstreamRefused(refusal, status=response.status_code)
        if not response.is_success:
            raise UpstreamError(refusal)
        try:
            return read(orjson.loads(response.content))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise UpstreamError(f"{self.name} answered something else than its documentation says") from None


def _parts(texts: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = []
    size = 0
    for text in texts:
        if not parts or len(parts[-1]) == MOST_TEXTS or size + len(text) > MOST_CHARACTERS:
            parts.append([])
            size = 0
        parts[-1].append(text)
        size += len(text)
    return parts


class DeepL(_Http):
    """DeepL's API, version 2."""

    targets: Mapping[str, str] = {"en": "EN-US", "pt": "PT-PT", "zh": "ZH-HANS"}

    def __init__(self, name: str, settings: TranslatorSettings) -> None:
        free = settings.api_key.endswith(":fx")
        super().__init__(
            name, settings, address="https://api-free.deepl.com" if free else "https://api.deepl.com",
            headers={"authorization": f"DeepL-Auth-Key {settings.api_key}"},
        )  # fmt: skip

    def some(self, texts: list[str], source: str, target: str) -> list[str]:
        body: dict[str, Any] = {
            "text": texts,
            "source_lang": source.partition("-")[0].upper(),
            "target_lang": self.targets.get(target, target.upper()),
        }
        if self._settings.formality:
            body["formality"] = {"formal": "prefer_more", "informal": "prefer_less"}[self._settings.formality]
        return self.ask("POST", "v2/translate", lambda a: [one["text"] for one in a["translations"]], json=body)


class LibreTranslate(_Http):
    """A server of LibreTranslate, or one that speaks like it."""

    def some(self, texts: list[str], source: str, target: str) -> list[str]:
        body = {"q": texts, "source": source, "target": target, "format": "text"}
        if self._settings.api_key:
            body["api_key"] = self._settings.api_key
        return self.ask("POST", "translate", lambda answer: list(answer["translatedText"]), json=body)


class Google(_Http):
    """Cloud Translation, basic edition (v2), with an API key."""

    address = "https://translation.googleapis.com"

    def some(self, texts: list[str], source: str, target: str) -> list[str]:
        body = {"q": texts, "source": source, "target": target, "format": "text"}
        return self.ask(
            "POST", "language/translate/v2", lambda a: [one["translatedText"] for one in a["data"]["translations"]],
            json=body, headers={"x-goog-api-key": self._settings.api_key},
        )  # fmt: skip


class AWS(_Http):
    """Amazon Translate: a call for each text, signed with version 4 of AWS's signatures. api_key is "ID:SECRET"."""

    service, operation = "translate", "AWSShineFrontendService_20170701.TranslateText"

    def __init__(self, name: str, settings: TranslatorSettings) -> None:
        if ":" not in settings.api_key or not settings.region:
            raise BadSetting(f"translators.{name} needs a region, and an api_key as ID:SECRET")
        super().__init__(name, settings, address=f"https://translate.{settings.region}.amazonaws.com")

    def some(self, texts: list[str], source: str, target: str) -> list[str]:
        return [self._one(text, source, target) for text in texts]

    def _one(self, text: str, source: str, target: str) -> str:
        body: dict[str, Any] = {"Text": text, "SourceLanguageCode": source, "TargetLanguageCode": target}
        if self._settings.formality:
            body["Settings"] = {"Formality": self._settings.formality.upper()}
        data = orjson.dumps(body)
        return self.ask(
            "POST",
            "",
            lambda answer: str(answer["TranslatedText"]),
            content=data,
            headers=self._signed(data, time.time()),
        )

    def _signed(self, data: bytes, at: float) -> dict[str, str]:
        """The headers of a request, signed: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""
        identity, _, secret = self._settings.api_key.partition(":")
        moment = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "host": urlsplit(str(self._client.base_url)).netloc,
            "x-amz-date": moment,
            "x-amz-target": self.operation,
        }
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(data).hexdigest()}"
        scope = f"{moment[:8]}/{self._settings.region}/{self.service}/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        key = f"AWS4{secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}".encode(), "sha256").hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={identity}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers


class Apertium(_Http):
    """Apertium's server (APy): one that runs somewhere, or the program of that name on this machine, started once and kept.

    Where there is no direct pair of languages, the way over one or two others is taken.
    """

    def __init__(self, name: str, settings: TranslatorSettings) -> None:
        self._service = None if settings.base_url else Service(settings.folder)
        super().__init__(name, settings, address=self._service.address if self._service else "")
        self._lock = threading.Lock()

    @cached_property
    def _pairs(self) -> Pairs:
        listed = self.ask("GET", "listPairs", lambda answer: answer["responseData"])
        return Pairs([(one["sourceLanguage"], one["targetLanguage"]) for one in listed])

    def some(self, texts: list[str], source: str, target: str) -> list[str]:
        with self._lock:  # the service starts once
            if self._service is not None:
                self._service.start()
            way = self._pairs.way(source, target)
        if not way:
            raise NotOffered(
                f"{self.name} has no way from {source} to {target}", hint="apt install a pair of Apertium's"
            )
        for one, other in way:
            texts = [self._step(text, one, other) for text in texts]
        return texts

    def _step(self, text: str, one: str, other: str) -> str:
        form = {"langpair": f"{one}|{other}", "q": text, "markUnknown": "no"}
        return self.ask("POST", "translate", lambda answer: str(answer["responseData"]["translatedText"]), data=form)

    def close(self) -> None:
        """End the program, if it was started."""
        if self._service is not None:
            self._service.close()


SERVICES: Mapping[str, type[AWS | Apertium | DeepL | Google | LibreTranslate]] = {
    "apertium": Apertium, "aws": AWS, "deepl": DeepL, "google": Google, "libretranslate": LibreTranslate,
}  # fmt: skip
