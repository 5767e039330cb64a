"""Two models at once where the first is slow: whoever begins to answer first is heard, the other is stopped.

A few slow calls make the slow answers of a service; asking again after the time that 95 of 100 calls take costs at most
one call in twenty more. Each call is metered by itself: what the one that was stopped had taken is booked too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from penstock.errors import PenstockError
from penstock.models.balance import Candidate, Choose
from penstock.models.fallback import Started, after, begin, may_pass_elsewhere
from penstock.models.prices import Known
from penstock.types import Model, ModelEvent, ModelRequest

__all__ = ["Hedged", "hedging"]

Delay = Callable[
    [ModelRequest], float
]  # seconds; 0: nobody knows yet, and so the second is asked only where the first fails


class Hedged:
    """Asks the second model when the first has not begun to answer after a while, or has failed. Satisfies `Model`."""

    def __init__(self, first: Model, second: Model, *, after_s: Delay) -> None:
        self._first, self._second, self._after_s = first, second, after_s

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        racers = [asyncio.create_task(begin(self._first.stream(request)))]
        try:
            winner = await self._race(request, racers)
            await _stop([racer for racer in racers if racer is not winner])
            events, event = winner.result()
            yield event
            async for event in events:
                yield event
        finally:
            await _stop(racers)

    async def _race(self, request: ModelRequest, racers: list[asyncio.Task[Started]]) -> asyncio.Task[Started]:
        """The first that has begun to answer. Adds the second model to the racers when it is its turn."""
        problems: list[PenstockError] = []
        running = set(racers)
        timeout_s: float | None = self._after_s(request) or None
        while running:
            done, running = await asyncio.wait(running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            for racer in [racer for racer in racers if racer in done]:
                problem = racer.exception()
                if problem is None:
                    return racer
                if not isinstance(problem, PenstockError) or not may_pass_elsewhere(problem):
                    raise problem
                problems.append(problem)
            if len(racers) == 1:
                racers.append(asyncio.create_task(begin(self._second.stream(request))))
                running = {*running, racers[1]}
            timeout_s = None
        raise after(problems[-1], problems[:-1])


def hedging(choose: Choose, *, after_s: float = 0.0) -> Choose:
    """The same choice, with its first two models as one that hedges. after_s: 0 takes what was seen of the first."""

    def chosen(request: ModelRequest) -> Sequence[Candidate]:
        candidates = choose(request)
        if len(candidates) < 2:
            return candidates
        first, second, *others = candidates

        def delay(request: ModelRequest) -> float:
            return after_s or first.watch.latency(streamed=request.stream).percentile(95)

        contexts = (first.known.context_tokens, second.known.context_tokens)
        both = Candidate(
            f"{first.name} or {second.name}",
            Hedged(first.model, second.model, after_s=delay),
            first.watch,
            Known(None, max(contexts) if all(contexts) else 0),
        )
        return [both, *others]

    return chosen


async def _stop(racers: Sequence[asyncio.Task[Started]]) -> None:
    """End these, whether they wait for their first event or have it. Their work upstream ends with them."""
    for racer in racers:
        racer.cancel()
    await asyncio.gather(*racers, return_exceptions=True)
    for racer in racers:
        if not racer.cancelled() and racer.exception() is None:
            await racer.result().events.aclose()
