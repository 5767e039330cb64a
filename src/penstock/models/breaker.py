"""Rest for an upstream that fails: left alone for a while, then asked once, and by everybody only when that went well."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable

from penstock.errors import UpstreamBusy, UpstreamError, UpstreamResting
from penstock.types import Model, ModelEvent, ModelRequest

__all__ = ["Breaker", "Guarded"]

FAILURES = 5  # in a row, until an upstream is given a rest
FIRST_REST_S = 1.0  # twice as long each time that the one call after it fails too
LONGEST_REST_S = 60.0  # also where the upstream asks for more: limits are sometimes lifted early
LONGEST_ASKED_S = 5.0  # that one refusal can ask for: it may have been about one large request


class Breaker:
    """Whether one upstream may be called now. It is told what became of each call; a call is known by when it began."""

    __slots__ = ("_clock", "_failures", "_name", "_probe", "_rests", "_until", "_why")

    def __init__(self, name: str, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._name, self._clock = name, clock
        self._failures = 0  # in a row
        self._rests = 0  # in a row
        self._until = 0.0  # when the rest ends; 0: there is none
        self._probe = 0.0  # when the one call after a rest began; 0: it has not
        self._why: UpstreamError | None = None

    @property
    def closed(self) -> bool:
        """Whether all is well."""
        return not self._until

    @property
    def resting(self) -> bool:
        """Whether a call would be refused now."""
        return bool(self._until) and (bool(self._probe) or self._clock() < self._until)

    def refusal(self) -> UpstreamBusy | UpstreamResting | None:
        """Why a call is not to be made now; None where it may be. One that has too much to do is busy, for clients too."""
        if not self.resting:
            return None
        left_s = max(self._until - self._clock(), 0.1)
        kind = UpstreamBusy if isinstance(self._why, UpstreamBusy) else UpstreamResting
        return kind(
            f"{self._name} is left alone for now; it last failed with: {self._why.message if self._why else ''}",
            hint=f"try again in {left_s:.1f} s",
            retry_after_s=left_s,
        )

    def started(self, began: float) -> None:
        """A call has begun. The first one after a rest decides."""
        if self._until and not self._probe:
            self._probe = began

    def succeeded(self, began: float) -> None:
        """A call was answered. One that began before the rest says nothing about how things are now."""
        if not self._until:
            self._failures = 0
        elif began == self._probe:
            self._failures, self._rests, self._until, self._probe, self._why = 0, 0, 0.0, 0.0, None

    def failed(self, began: float, error: UpstreamError) -> None:
        """A call failed, and the upstream is to blame."""
        self._failures += 1
        asked_s = min(error.retry_after_s, LONGEST_REST_S if self._failures >= FAILURES else LONGEST_ASKED_S)
        if self._until and began != self._probe:  # it began before the rest
            self._until = max(self._until, self._clock() + asked_s)
            return
        if self._failures < FAILURES and not self._until and not asked_s:
            return
        rest_s = asked_s
        if self._failures >= FAILURES or not asked_s:
            rest_s = max(asked_s, min(FIRST_REST_S * 2**self._rests, LONGEST_REST_S))
            self._rests = min(self._rests + 1, 16)
        self._until, self._probe, self._why = self._clock() + rest_s, 0.0, error

    def left(self, began: float) -> None:
        """A call was given up by whoever asked: nobody knows how it would have ended."""
        if began == self._probe:
            self._probe = 0.0


class Guarded:
    """A model that is not called while it rests. Satisfies `Model`; costs next to nothing while all is well."""

    def __init__(self, inner: Model, breaker: Breaker) -> None:
        self._inner, self._breaker = inner, breaker

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if not self._breaker.closed and (refusal := self._breaker.refusal()):
            return _refused(refusal)
        return self._inner.stream(request)


async def _refused(error: UpstreamError) -> AsyncGenerator[ModelEvent, None]:
    raise error
    yield  # a generator, so that it is raised where other errors are
