"""Embeddings of several callers in one call: a server that is given many texts at once does more in the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

import orjson

from penstock.errors import UpstreamBusy, UpstreamError, UpstreamTimeout
from penstock.types import Model, ModelEvent, ModelRequest, Record, Stopped, Usage, Wire

__all__ = ["Batched"]

OF_EACH: Final = frozenset({"input", "user", "metadata"})  # what may differ between requests that share a call

Key = tuple[asyncio.AbstractEventLoop, bytes]


class Batched:
    """Joins requests for embeddings that come at nearly the same time, and gives each its own part. Satisfies `Model`.

    It stands inside of what counts money: each request says its own share of the tokens. A request waits `wait_s` for
    others, or for one of the `at_once` calls that run; no call has more than `most` texts, save that of one request. Where
    a joined call is refused, each of its requests is tried by itself, so that one bad text fails nobody else.
    """

    def __init__(self, inner: Model, *, most: int = 64, wait_s: float = 0.003, at_once: int = 1) -> None:
        self.inner, self.most, self.wait_s, self.at_once = inner, most, wait_s, at_once
        self._lines: dict[Key, _Line] = {}

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        texts = _texts(request)
        if texts is None:
            events = self.inner.stream(request)
            try:
                async for event in events:
                    yield event
            finally:
                await events.aclose()
            return
        key = (asyncio.get_running_loop(), _kind(request))
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(self)
        place = _Place(request, texts)
        line.join(place)
        try:
            for event in await place.answer:
                yield event
        finally:
            await line.leave(place)
            if line.idle and self._lines.get(key) is line:
                del self._lines[key]


class _Place:
    """One request that waits for its part."""

    def __init__(self, request: ModelRequest, texts: Sequence[str]) -> None:
        self.request, self.texts = request, texts
        self.answer: asyncio.Future[Sequence[ModelEvent]] = asyncio.get_running_loop().create_future()
        self.call: _Call | None = None

    def give(self, events: Sequence[ModelEvent]) -> None:
        if not self.answer.done():
            self.answer.set_result(events)

    def refuse(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _Line:
    """Requests for the same model with the same options: those that wait, and the calls that run."""

    def __init__(self, shared: Batched) -> None:
        self._shared = shared
        self._waiting: deque[_Place] = deque()
        self._calls: set[_Call] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._calls

    def join(self, place: _Place) -> None:
        self._waiting.append(place)
        if len(self._calls) >= self._shared.at_once:
            return  # the next call takes it along
        if sum(len(p.texts) for p in self._waiting) >= self._shared.most:
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._shared.wait_s, self._start)

    async def leave(self, place: _Place) -> None:
        """Its caller has what they wanted, or is gone. A call that nobody waits for ends at once."""
        if place.call is None:
            if place in self._waiting:
                self._waiting.remove(place)
            if not self._waiting and self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        place.answer.cancel()
        if all(other.answer.done() for other in place.call.places):
            place.call.task.cancel()
            await asyncio.wait([place.call.task])

    def _start(self) -> None:
        """Begin a call with those who have waited the longest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and len(self._calls) < self._shared.at_once:
            chosen, texts = [self._waiting.popleft()], 0
            texts = len(chosen[0].texts)
            while self._waiting and texts + len(self._waiting[0].texts) <= self._shared.most:
                texts += len(self._waiting[0].texts)
                chosen.append(self._waiting.popleft())
            call = _Call(self._shared.inner, chosen)
            self._calls.add(call)
            call.task.add_done_callback(lambda _, call=call: self._ended(call))  # type: ignore[misc]

    def _ended(self, call: _Call) -> None:
        self._calls.discard(call)
        self._start()


class _Call:
    """One call for several requests."""

    def __init__(self, inner: Model, places: Sequence[_Place]) -> None:
        self._inner, self.places = inner, places
        for place in places:
            place.call = self
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._answer(self.places)
        except UpstreamError as error:
            if len(self.places) == 1 or isinstance(error, UpstreamBusy | UpstreamTimeout):
                self._refuse(error)
                return
            for place in self.places:  # one of them may be to blame
                if not place.answer.done():
                    await self._alone(place)
        except Exception as error:  # a background task ends here: all who wait raise it
            self._refuse(error)
        finally:
            self._refuse(UpstreamError("the call that several requests shared was given up"))

    async def _alone(self, place: _Place) -> None:
        try:
            await self._answer([place])
        except Exception as error:  # whoever waits raises it
            place.refuse(error)

    def _refuse(self, error: BaseException) -> None:
        for place in self.places:
            place.refuse(error)

    async def _answer(self, places: Sequence[_Place]) -> None:
        if len(places) == 1:
            async with aclosing(self._inner.stream(places[0].request)) as events:
                places[0].give([event async for event in events])
            return
        first = places[0].request
        body = {**first.body, "input": [text for place in places for text in place.texts]}
        joined = replace(
            first,
            body=body,
            data=b"",
            record=Record(first.record.trace_id),
            deadline=max(place.request.deadline for place in places),
        )
        data, usage = b"", Usage()
        async with aclosing(self._inner.stream(joined)) as events:
            async for event in events:
                if isinstance(event, Wire):
                    data += event.data
                elif isinstance(event, Stopped):
                    usage = event.usage
        for place, part in zip(places, _parts(data, usage, [place.texts for place in places]), strict=True):
            place.give(part)


def _texts(request: ModelRequest) -> Sequence[str] | None:
    """The texts to embed; None for what cannot be joined."""
    given = request.body.get("input")
    if request.dialect != "embeddings" or request.media_type != "application/json":
        return None
    if isinstance(given, str):
        return [given]
    return given if isinstance(given, list) and given and all(isinstance(text, str) for text in given) else None


def _kind(request: ModelRequest) -> bytes:
    same = {key: value for key, value in request.body.items() if key not in OF_EACH}
    parts = (request.model, dict(request.headers), same)
    return sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).digest()


def _parts(data: bytes, usage: Usage, texts: Sequence[Sequence[str]]) -> list[list[ModelEvent]]:
    """Each request's part of an answer. Raises UpstreamError where the answer is not one vector for each text."""
    try:
        answer: dict[str, Any] = orjson.loads(data)
        rows = {item["index"]: item for item in answer["data"]}
        ordered = [rows[n] for n in range(sum(map(len, texts)))]
    except (ValueError, KeyError, TypeError) as error:
        raise UpstreamError("the server did not give one vector for each text") from error
    shares = _shares(usage.input_tokens, [sum(len(text.encode(errors="replace")) + 1 for text in its) for its in texts])
    parts: list[list[ModelEvent]] = []
    start = 0
    for its, share in zip(texts, shares, strict=True):
        own = [{**row, "index": n} for n, row in enumerate(ordered[start : start + len(its)])]
        start += len(its)
        body = {**answer, "data": own}
        if isinstance(answer.get("usage"), dict):
            body["usage"] = {"prompt_tokens": share, "total_tokens": share}
        parts.append([Wire(orjson.dumps(body)), Stopped(Usage(share, estimated=usage.estimated))])
    return parts


def _shares(total: int, weights: Sequence[int]) -> list[int]:
    """A whole number in whole parts by weight, which add up to it."""
    shares, before, passed = [], 0, 0
    for weight in weights:
        passed += weight
        upto = total * passed // sum(weights)
        shares.append(upto - before)
        before = upto
    return shares
