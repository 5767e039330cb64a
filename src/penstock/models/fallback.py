"""One model after the other, until one begins to answer. Nothing is tried again once a caller has seen a part of an answer."""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

from penstock.errors import (
    Limited,
    NotOffered,
    NotReady,
    PenstockError,
    UpstreamError,
    UpstreamRefused,
    UpstreamResting,
    UpstreamTimeout,
)
from penstock.models.balance import Candidate, Choose
from penstock.types import ModelEvent, ModelRequest

__all__ = ["Fallback", "Started", "after", "begin", "may_pass_elsewhere"]

FIRST_PAUSE_S = 0.25  # before a model is asked again; doubles each time
LONGEST_PAUSE_S = 20.0  # a model that asks for more is not asked again for this request
_TOO_LONG: Final = re.compile(
    r"context.?(length|window|size)|prompt is too long|input is too long|maximum number of tokens|too many tokens", re.I
)


class Fallback:
    """Tries the chosen models in turn. Satisfies `Model`.

    A model that failed is asked again after a pause, behind the others, as long as there are `retries` left. Who refuses
    without having been called (a budget, a full queue, a rest) costs no retry, and is not asked again.
    """

    def __init__(self, choose: Choose, *, retries: int) -> None:
        self._choose, self._retries = choose, retries

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        events, first = await self._begin(request)
        try:
            yield first
            async for event in events:
                yield event
        finally:
            await events.aclose()

    async def _begin(self, request: ModelRequest) -> Started:
        waiting = [_Waiting(candidate) for candidate in self._choose(request)]
        retries, earlier = self._retries, list[PenstockError]()
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  (one for all: who failed first is asked again first)
        while True:
            here = min(waiting, key=lambda one: one.not_before)  # of equals the first
            waiting.remove(here)
            if (wait_s := here.not_before - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            try:
                return await begin(here.candidate.model.stream(request), deadline=request.deadline)
            except PenstockError as error:
                problem = after(error, earlier)
            if not may_pass_elsewhere(problem) or time.monotonic() >= request.deadline:
                raise problem
            if isinstance(problem, UpstreamRefused):  # too long for this one
                waiting = [one for one in waiting if one.context > here.context or one.context == math.inf]
            elif _was_called(problem):
                if retries == 0:
                    raise problem
                retries -= 1
                wait_s = max(here.pause_s * jitter, problem.retry_after_s)
                not_before = time.monotonic() + wait_s
                if wait_s <= LONGEST_PAUSE_S and not_before < request.deadline:
                    waiting.append(_Waiting(here.candidate, not_before, here.pause_s * 2))
            if not waiting:
                raise problem
            earlier.append(problem)


class _Waiting(NamedTuple):
    """A model that may still be asked."""

    candidate: Candidate
    not_before: float = 0.0  # on the monotonic clock
    pause_s: float = FIRST_PAUSE_S  # until it is asked once more, should it fail

    @property
    def context(self) -> float:
        return self.candidate.known.context_tokens or math.inf  # nobody says: it may well be longer


class Started(NamedTuple):
    """A stream that has begun."""

    events: AsyncGenerator[ModelEvent, None]  # the rest
    first: ModelEvent


async def begin(events: AsyncGenerator[ModelEvent, None], *, deadline: float = math.inf) -> Started:
    """Wait for the first event. Whatever goes wrong, the stream is closed. deadline: on the monotonic clock."""
    try:
        if deadline == math.inf:
            return Started(events, await anext(events))
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return Started(events, await anext(events))
        except TimeoutError:
            raise UpstreamTimeout("no model began to answer in time", hint="raise deadline_s of the route") from None
    except StopAsyncIteration:
        raise UpstreamError("a model ended without a word") from None
    except BaseException:
        await events.aclose()
        raise


def may_pass_elsewhere(error: PenstockError) -> bool:
    """Whether the same request may well pass with another model."""
    if isinstance(error, UpstreamRefused):
        return _TOO_LONG.search(f"{error.code} {error.message}") is not None
    return isinstance(error, UpstreamError | Limited | NotReady | NotOffered)


def after(error: PenstockError, earlier: list[PenstockError]) -> PenstockError:
    """The same error, which also says what went wrong before it."""
    if earlier:
        said = "; ".join(dict.fromkeys(problem.message[:200] for problem in earlier))
        error.hint = f"{error.hint}; before that: {said}" if error.hint else f"before that: {said}"
    return error


def _was_called(error: PenstockError) -> bool:
    return isinstance(error, UpstreamError) and not isinstance(error, UpstreamResting)
