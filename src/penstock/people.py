"""Answers that wait for a person: those that a policy lets nobody read before somebody agreed, and questions handed over.

The reader is told that a person will look at it, and the answer's `waiting` is the id by which the reply can be asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal, cast

from penstock.errors import PenstockError
from penstock.language.voice import HANDED_OVER, Voice
from penstock.observe.faults import faults
from penstock.trace import log
from penstock.types import Answer, Answerer, Event, Finished, Status, TextDelta, Turn

__all__ = ["Approve", "Looked"]

Approve = Literal["never", "faulty", "always"]
Propose = Callable[[Turn, Answer], str]  # returns the id by which it waits


@dataclass(frozen=True, slots=True)
class Looked:
    """An app's answers, of which people look at some before anybody else does. Satisfies `Answerer`.

    approve: which of them; `faulty` are those with a fault, and those that the guard marked for review. None of such an answer
    leaves before it is whole. Where it cannot be put before people, it does not leave either.
    """

    inner: Answerer
    voice: Voice
    hand_over: Propose
    approval: Propose
    approve: Approve = "never"

    async def stream(self, turn: Turn) -> AsyncIterator[Event]:
        held: list[Event] = []
        async with aclosing(cast(AsyncGenerator[Event, None], self.inner.stream(turn))) as events:
            async for event in events:
                if isinstance(event, Finished):
                    async for last in self._ended(turn, event.answer, held):
                        yield last
                elif self.approve == "never":
                    yield event
                else:
                    held.append(event)

    async def _ended(self, turn: Turn, answer: Answer, held: list[Event]) -> AsyncIterator[Event]:
        if answer.status is Status.HANDED_OVER:
            for event in held:
                yield event
            yield Finished(replace(answer, waiting=await self._put(self.hand_over, turn, answer)))
            return
        if not held or not self._waits(turn, answer):
            for event in held:
                yield event
            yield Finished(answer)
            return
        waiting = await self._put(self.approval, turn, answer)
        text = self.voice.say(HANDED_OVER, answer.language or turn.language)
        yield TextDelta(text)
        yield Finished(
            replace(
                answer, text=text, status=Status.HANDED_OVER, waiting=waiting, citations=(), quoted=(), nearest=(), conflicts=(),
                copied=(), verdict=None,
            )
        )  # fmt: skip

    def _waits(self, turn: Turn, answer: Answer) -> bool:
        if answer.status not in (Status.ANSWER, Status.RELATED):
            return False  # nothing is said that anybody could have said wrongly
        flagged = any(event["decision"] == "review" for event in turn.record.guarded) if turn.record else False
        return self.approve == "always" or flagged or bool(faults(answer))

    async def _put(self, where: Propose, turn: Turn, answer: Answer) -> str:
        try:
            return await asyncio.to_thread(where, turn, answer)
        except PenstockError as error:  # the queue is full, or the disk: nobody will look, and nothing leaves
            log("nobody can look at an answer", level="error", error=error.code)
            return ""
