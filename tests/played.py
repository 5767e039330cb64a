"""Models for tests that play what they are told, in this process: how long they wait, what they say, how they fail."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.config import BudgetSettings
from penstock.errors import PenstockError
from penstock.models.balance import Candidate
from penstock.models.breaker import Breaker, Guarded
from penstock.models.budgets import Budgets
from penstock.models.limits import InMemory
from penstock.models.metered import Metered
from penstock.models.prices import Known, Price, Rate
from penstock.models.watch import Watch
from penstock.types import Caller, Model, ModelEvent, ModelRequest, Record, Stopped, TextDelta, Usage, Wire

__all__ = ["House", "Play", "Played", "asking", "candidate", "run", "said", "wire"]

PRICE = Price((Rate(0, 10, 100, 10, 10),))  # picodollars per token


@dataclass(frozen=True)
class Play:
    """What becomes of one call."""

    events: Sequence[ModelEvent] = (TextDelta("hello "), TextDelta("world"))
    wait_s: float = 0.0  # before the first event, or the error
    between_s: float = 0.0  # before each further one
    error: PenstockError | None = None  # instead of the events
    then: PenstockError | None = None  # after them, instead of an end
    usage: Usage = Usage(10, 2)


class Played:
    """Plays one after the other, and the last one again and again. Satisfies `Model`."""

    def __init__(self, *plays: Play) -> None:
        self.plays = plays or (Play(),)
        self.asked: list[ModelRequest] = []
        self.running = self.most_running = 0

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        play = self.plays[min(len(self.asked), len(self.plays) - 1)]
        self.asked.append(request)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await asyncio.sleep(play.wait_s)
            if play.error:
                raise play.error
            for n, event in enumerate(play.events):
                if n:
                    await asyncio.sleep(play.between_s)
                yield event
            if play.then:
                raise play.then
            yield Stopped(play.usage)
        finally:
            self.running -= 1


@dataclass
class House:
    """Real counting around played models."""

    budgets: Budgets = field(default_factory=lambda: Budgets({"all": BudgetSettings(limit_usd=1.0)}))
    counters: InMemory = field(default_factory=InMemory)

    def candidate(self, name: str, model: Model, *, context: int = 0, price: Price | None = PRICE) -> Candidate:
        watch = Watch(name, Breaker(name))
        known = Known(price, context)
        metered = Metered(
            model, watch, known=known, budgets=self.budgets, counters=self.counters, holding=lambda trace, held: None
        )
        return Candidate(name, Guarded(metered, watch.breaker), watch, known)

    def taken(self, caller: str = "ann") -> int:
        """Picodollars that are spent, or held by calls that are running."""
        (limit,) = self.budgets.at_call(Caller(caller), Record(""), "").money
        return limit.most - self.counters.free(limit)


def candidate(name: str, model: Model, *, context: int = 0, price: Price | None = PRICE) -> Candidate:
    """A model as the settings would have it, without a budget."""
    return House(Budgets({})).candidate(name, model, context=context, price=price)


def asking(
    content: str = "hi",
    *,
    caller: str = "ann",
    tags: tuple[str, ...] = (),
    stream: bool = True,
    deadline_s: float = float("inf"),
    **body: Any,
) -> ModelRequest:
    body = {"model": "route", "messages": [{"role": "user", "content": content}], **body}
    return ModelRequest(
        dialect="chat", model="route", body=body, stream=stream, caller=Caller(caller), tags=tags,
        deadline=time.monotonic() + deadline_s, record=Record("trace"),
    )  # fmt: skip


def wire(data: bytes, *, stream: bool = False) -> Wire:
    return Wire(data, "text/event-stream" if stream else "application/json")


async def said(model: Model, request: ModelRequest) -> str:
    """The whole text of an answer."""
    events = model.stream(request)
    try:
        return "".join([event.text async for event in events if isinstance(event, TextDelta)])
    finally:
        await events.aclose()  # type: ignore[attr-defined]


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, within 20 s. No task may be left behind."""

    async def checked() -> None:
        async with asyncio.timeout(20):
            await main
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left running: {left}"

    asyncio.run(checked())
