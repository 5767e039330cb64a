"""The same answer to a question that asks the same in other words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from penstock.models.alike import DEFAULT, LONGEST_WORDS, Alike, Question
from penstock.models.kept import Kept, Scope
from penstock.types import Embedder, Model, ModelEvent, ModelRequest

__all__ = ["Similar"]

DIALECTS: Final = frozenset({"chat", "messages"})
CANDIDATES: Final = 8  # of the nearest questions, compared word for word
NEAR: Final = 0.6  # cosine, below which no question is looked at
MOST: Final = 8192  # questions, of 3 kB or so; then the oldest goes


class Similar:
    """Tells the answer of a question that was asked before in other words. Satisfies `Model`.

    It stands around a `Cached` with the same `kept` and `scope`, which keeps the answers, and remembers which question led
    to which of them. Only the last message is compared by meaning: all before it, and every other field, must be equal.
    similarity: how sure it must be that two questions ask the same, 0 to 1; 0 takes the measured default.
    """

    def __init__(
        self, inner: Model, kept: Kept, scope: Scope, embedder: Callable[[], Embedder], *, similarity: float = 0.0
    ) -> None:
        """embedder: called for the first question that is read, in a thread."""
        self._inner, self._kept, self._scope = inner, kept, scope
        self._make = embedder
        self._alike: Alike | None = None
        self._enough = similarity or DEFAULT
        self._shelves: dict[bytes, _Shelf] = {}
        self._places: dict[bytes, bytes] = {}  # key of an answer -> where its question is
        kept.on_drop = self._forget

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        asked = _asked(request)
        key = self._scope.key(request) if asked else None
        place = question = None
        if asked and key and self._kept.get(key) is None:
            place = self._scope.key(request, instead={"messages": asked.before})
        if asked and key and place:
            question = await asyncio.to_thread(self._read, asked.text)
            found = await self._find(place, question)
            if found is not None:
                request.record.cached = True
                for event in found:
                    yield event
                return
        events = self._inner.stream(request)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()
        if key and place and question and key in self._kept:
            self._remember(key, place, question)

    async def _find(self, place: bytes, question: Question) -> tuple[ModelEvent, ...] | None:
        """The answer of the question that is surest to ask the same."""
        shelf = self._shelves.get(place)
        near = shelf.near(question) if shelf else []
        if not near:
            return None
        key = await asyncio.to_thread(self._surest, question, near)
        return self._kept.get(key) if key else None

    def _read(self, text: str) -> Question:
        if self._alike is None:
            self._alike = Alike(self._make())
        return self._alike.read(text)

    def _surest(self, question: Question, near: Sequence[tuple[bytes, Question]]) -> bytes | None:
        assert self._alike is not None
        sure, key = max(
            ((self._alike.compare(question, other).sure, key) for key, other in near), key=lambda pair: pair[0]
        )
        return key if sure >= self._enough else None

    def _remember(self, key: bytes, place: bytes, question: Question) -> None:
        self._forget(key)
        self._shelves.setdefault(place, _Shelf()).add(key, question)
        self._places[key] = place
        if len(self._places) > MOST:
            self._forget(next(iter(self._places)))

    def _forget(self, key: bytes) -> None:
        place = self._places.pop(key, None)
        if place is not None and self._shelves[place].remove(key):
            del self._shelves[place]


class _Asked(NamedTuple):
    text: str  # of the last message
    before: list[Any]  # all messages, the last one without its text


def _asked(request: ModelRequest) -> _Asked | None:
    """What the last message asks; None where it is no plain question of a user."""
    messages = request.body.get("messages")
    if request.dialect not in DIALECTS or not isinstance(messages, list) or not messages:
        return None
    last = messages[-1]
    if not isinstance(last, Mapping) or last.get("role") != "user":
        return None
    text = _text(last.get("content"))
    if not text.strip() or len(text.split()) > LONGEST_WORDS:
        return None
    return _Asked(text, [*messages[:-1], {**last, "content": None}])


def _text(content: Any) -> str:
    """The text of a message that has nothing else."""
    match content:
        case str():
            return content
        case [{"type": "text", "text": str(text)}]:
            return text
    return ""


class _Shelf:
    """Questions that may be compared with each other, and the keys of their answers."""

    def __init__(self) -> None:
        self._questions: dict[bytes, Question] = {}
        self._matrix: np.ndarray[Any, np.dtype[np.float32]] | None = None

    def add(self, key: bytes, question: Question) -> None:
        self._questions[key] = question
        self._matrix = None

    def remove(self, key: bytes) -> bool:
        """Take a question away. Returns whether it was the last."""
        self._questions.pop(key, None)
        self._matrix = None
        return not self._questions

    def near(self, question: Question) -> list[tuple[bytes, Question]]:
        """The questions whose vectors are nearest, nearest first."""
        if self._matrix is None:
            self._matrix = np.stack([other.vector for other in self._questions.values()])
        cosines = self._matrix @ question.vector
        best = [n for n in np.argsort(-cosines)[:CANDIDATES] if cosines[n] >= NEAR]
        keys = list(self._questions)
        return [(keys[n], self._questions[keys[n]]) for n in best]
