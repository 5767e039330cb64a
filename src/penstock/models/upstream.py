"""A model behind HTTP, spoken to in the dialects it knows. What it says is passed on untouched, as it comes."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import orjson

from penstock.errors import (
    NotOffered,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from penstock.models import form, speak_chat, speak_messages
from penstock.models.client import Client, Response, Timeouts, Url, header_lines
from penstock.models.estimate import estimate
from penstock.models.providers import PATHS
from penstock.types import Dialect, ModelEvent, ModelRequest, Stopped, Usage, Wire

__all__ = ["Upstream", "usage_in"]

MOST_TOKENS: Final = 10**9  # that one call can have taken
LARGEST_ANSWER: Final = 256 << 20
LARGEST_REFUSAL: Final = 1 << 20
LARGEST_EVENT: Final = 32 << 20
_USAGE: Final = re.compile(rb'"usage":\s*\{')
_FINISH: Final = re.compile(rb'"finish_reason":\s*"')
_NO_CHOICES: Final = re.compile(rb'"choices":\s*\[\s*\]')
_ENDS: Final[Mapping[Dialect, re.Pattern[bytes]]] = {
    "chat": re.compile(rb"(?:^|\n)data: ?\[DONE\]"),
    "completions": re.compile(rb"(?:^|\n)data: ?\[DONE\]"),
    "messages": re.compile(rb"(?:^|\n)event: ?message_stop"),
    "responses": re.compile(rb"(?:^|\n)event: ?response\.(?:completed|incomplete|failed)"),
    "transcriptions": re.compile(rb"transcript\.text\.done|(?:^|\n)data: ?\[DONE\]"),
    "speech": re.compile(rb"speech\.audio\.done"),
    "images": re.compile(rb"image_generation\.completed"),
}
_WORD_OF_THE_END: Final[Mapping[Dialect, bytes]] = {
    "chat": b"[DONE]", "completions": b"[DONE]", "messages": b"message_stop", "responses": b"response.",
    "transcriptions": b"data:", "speech": b"speech.audio.done", "images": b"image_generation.completed",
}  # fmt: skip
_MAY_BE_TEXT: Final[frozenset[Dialect]] = frozenset({"transcriptions", "translations"})  # or subtitles


class Upstream:
    """One model of one server. Satisfies `Model` for the dialects in `dialects`."""

    def __init__(
        self,
        client: Callable[[], Client],
        url: Url,
        *,
        name: str,
        model: str,
        headers: Mapping[str, str],
        dialects: frozenset[Dialect],
        timeouts: Timeouts,
    ) -> None:
        """client: for the running event loop. model: what the server calls it; "*" takes the caller's name for it."""
        self._client, self.name, self._model, self.dialects = client, name, model, dialects
        self._urls = {dialect: url.at(path) for dialect, path in PATHS.items() if dialect in dialects}
        self._headers = header_lines([(key.encode(), value.encode()) for key, value in headers.items()])
        self._json = self._headers + b"content-type: application/json\r\n"
        self._timeouts = timeouts

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        url = self._urls.get(request.dialect)
        if url is None:
            raise NotOffered(f"the model '{self.name}' does not offer {PATHS[request.dialect]}")
        data, added_usage = self._body(request)
        headers = self._json
        if request.headers or request.media_type != "application/json":
            more = {"content-type": request.media_type, **request.headers}
            headers = self._headers + header_lines([(key.encode(), value.encode()) for key, value in more.items()])
        response = await self._client().request("POST", url, headers, data, timeouts=self._timeouts)
        try:
            if response.status >= 300:
                raise await self._refusal(response)
            streamed = response.header(b"content-type").startswith(b"text/event-stream")
            if request.stream and streamed and request.dialect in _ENDS:
                async for event in self._events(request, response, strip=added_usage):
                    yield event
                return
            media_type = response.header(b"content-type").decode("latin-1") or "application/json"
            if request.dialect == "speech":
                while piece := await response.next():
                    yield Wire(piece, media_type)
                yield Stopped(estimate(request, 0))
                return
            body = await response.read(limit=LARGEST_ANSWER)
            usage = self._usage_of_whole(request, body)
            yield Wire(body, media_type)
            yield Stopped(usage)
        finally:
            response.close()

    def _body(self, request: ModelRequest) -> tuple[bytes, bool]:
        """The bytes to send, and whether we ask for usage that the caller did not ask for."""
        model = self._model if self._model != "*" else request.model.partition("/")[2]
        if request.media_type != "application/json":
            same = request.body.get("model") == model
            return request.data if same else form.with_model(request.data, request.media_type, model), False
        body, changed, added = request.body, not request.data, False
        if body.get("model") != model:
            body, changed = {**body, "model": model}, True
        if request.stream and request.dialect in ("chat", "completions"):
            options = body.get("stream_options") or {}
            if not options.get("include_usage"):
                body, changed, added = {**body, "stream_options": {**options, "include_usage": True}}, True, True
        return (orjson.dumps(body) if changed else request.data), added

    async def _events(
        self, request: ModelRequest, response: Response, *, strip: bool
    ) -> AsyncGenerator[ModelEvent, None]:
        """Whole events as they come. Raises UpstreamError where the stream ends before it has said that it ends."""
        tail, usage, ended, pieces, last = b"", None, False, 0, b""
        word, pattern = _WORD_OF_THE_END[request.dialect], _ENDS[request.dialect]
        asked, finished, before = request.body.get("n"), 0, b""
        answers = asked if type(asked) is int else 1
        while data := await response.next():
            if tail or not data.endswith(b"\n\n"):
                tail += data
                if len(tail) > LARGEST_EVENT:
                    raise UpstreamError(f"{self.name}: one event of the stream is over {LARGEST_EVENT >> 20} MB")
                cut = max(tail.rfind(b"\n\n") + 2, tail.rfind(b"\r\n\r\n") + 4)
                if cut < 4:
                    continue
                data, tail = tail[:cut], tail[cut:]
            pieces += 1
            if b'"usage"' in data and _USAGE.search(data):
                data, usage = _with_usage(data, usage, request.dialect, strip=strip)
            if word in data and pattern.search(data):
                ended = True
            if answers != 1:
                finished += len(_FINISH.findall(data))
            if data:
                before, last = last, data
                yield Wire(data, "text/event-stream")
        if not ended:
            whole = _finished(before, last) if answers == 1 else finished >= answers
            if request.dialect not in ("chat", "completions") or not whole:
                raise UpstreamError(f"{self.name}: the stream broke off")
            yield Wire(tail + b"\n\ndata: [DONE]\n\n" if tail else b"data: [DONE]\n\n", "text/event-stream")
        yield Stopped(usage or estimate(request, pieces))

    def _usage_of_whole(self, request: ModelRequest, body: bytes) -> Usage:
        """Raises UpstreamError for a body that is not JSON where it should be."""
        try:
            value = orjson.loads(body)
        except ValueError as error:
            if request.dialect not in _MAY_BE_TEXT:
                raise UpstreamError(f"{self.name} sent something that is not JSON") from error
            return estimate(request, len(body) // 4)
        said = value if type(value) is dict else {}
        usage = usage_in(said.get("usage"), request.dialect) or _heard(said) or estimate(request, len(body) // 4)
        match request.dialect:
            case "images" if isinstance(made := said.get("data"), list):
                return replace(usage, units=len(made))
            case "rerank" if searches := _searches(said):
                return replace(usage, units=searches)
        return usage

    async def _refusal(self, response: Response) -> UpstreamError:
        """An error answer as one of ours. The words of a 401 or 403 stay here: they may repeat our key."""
        status = response.status
        said: Any = {}
        with suppress(UpstreamError, ValueError):
            value = orjson.loads(await response.read(limit=LARGEST_REFUSAL))
            value = value[0] if isinstance(value, list) and value else value  # as Gemini does
            said = value.get("error", value) if isinstance(value, dict) else {}
        said = said if isinstance(said, dict) else {"message": said}
        words = said.get("message") or said.get("detail")
        message = f"{self.name}: {words}" if isinstance(words, str) else f"{self.name} answered with status {status}"
        wait_s = _seconds(response.header(b"retry-after"))
        if status in (401, 403):
            return UpstreamError(
                f"{self.name} refused our key (status {status})",
                hint=f"check models.{self.name}.api_key",
                retry_after_s=0.0,
            )
        if status == 429 or status == 529:
            return UpstreamBusy(message, retry_after_s=wait_s)
        if status in (408, 504):
            return UpstreamTimeout(message)
        if 400 <= status < 500:
            code, param = said.get("code") or said.get("type"), said.get("param")
            return UpstreamRefused(
                message,
                status=status,
                code=code if isinstance(code, str) else "",
                param=param if isinstance(param, str) else None,
            )
        return UpstreamError(message, retry_after_s=wait_s)


def usage_in(value: Any, dialect: Dialect) -> Usage | None:
    """Tokens as a provider counted them; None where it did not."""
    if type(value) is not dict:
        return None
    if dialect == "messages":
        return _sane(speak_messages.usage_of(value))
    if dialect in ("chat", "responses", "completions"):
        given, made = value.get("prompt_tokens"), value.get("completion_tokens")
        if len(value) == 3 and type(given) is int and type(made) is int and value.get("total_tokens") == given + made:
            return _sane(Usage(given, made))  # as most servers have it
        return _sane(speak_chat.usage_of(value))
    if value.get("type") == "duration":
        return Usage(seconds=_measure(value.get("seconds")))
    given = _number(value, "prompt_tokens") or _number(value, "input_tokens") or _number(value, "total_tokens")
    heard = min(given, _number(value.get("input_token_details"), "audio_tokens"))
    return Usage(given, _number(value, "completion_tokens") or _number(value, "output_tokens"), audio_tokens=heard)


def _sane(usage: Usage) -> Usage:
    """What an upstream says, within what can be: it must neither give money back nor spend a year's at once."""
    if 0 <= usage.input_tokens <= MOST_TOKENS and 0 <= usage.output_tokens <= MOST_TOKENS:
        return usage
    given, made = (min(max(n, 0), MOST_TOKENS) for n in (usage.input_tokens, usage.output_tokens))
    return Usage(given, made, estimated=True)


def _number(source: Any, name: str) -> int:
    found = source.get(name) if type(source) is dict else 0
    return found if type(found) is int and found >= 0 else 0


def _measure(value: Any) -> float:
    return float(value) if type(value) in (int, float) and 0 <= value < 1e9 else 0.0


def _heard(said: Mapping[str, Any]) -> Usage | None:
    """The length that a transcription with every detail names."""
    seconds = _measure(said.get("duration"))
    return Usage(seconds=seconds) if seconds else None


def _searches(said: Mapping[str, Any]) -> int:
    """What Cohere bills a rerank by."""
    meta = said.get("meta")
    return _number(meta.get("billed_units"), "search_units") if isinstance(meta, dict) else 0


def _with_usage(data: bytes, usage: Usage | None, dialect: Dialect, *, strip: bool) -> tuple[bytes, Usage | None]:
    """Read usage from events. strip: take out the event that has nothing else, since nobody asked for it."""
    kept = []
    for event in data.split(b"\n\n"):
        if b'"usage"' in event and _USAGE.search(event):
            lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
            with suppress(ValueError):
                value = orjson.loads(b"\n".join(lines))
                inner = value.get("response") or value.get("message") or value
                found = usage_in(inner.get("usage"), dialect) if isinstance(inner, dict) else None
                usage = _joined(usage, found) if found else usage
                if found and strip and value.get("choices") == []:
                    continue
        kept.append(event)
    return b"\n\n".join(kept), usage


def _joined(before: Usage | None, now: Usage) -> Usage:
    """Anthropic says the input first and the output last; others say all of it, last time best."""
    if before is None:
        return now
    if now.input_tokens:
        return now
    return Usage(
        before.input_tokens, now.output_tokens, before.cached_tokens, before.cache_write_tokens, now.reasoning_tokens
    )


def _finished(before: bytes, last: bytes) -> bool:
    """Whether a chat stream without [DONE] came to its end: some servers leave it out, and send usage last."""
    if _FINISH.search(last):
        return True
    return _NO_CHOICES.search(last) is not None and _FINISH.search(before) is not None


def _seconds(value: bytes) -> float:
    try:
        return min(max(float(value), 0.0), 3600.0)
    except ValueError:
        return 0.0
