"""An app or a model of the settings before simulated customers and attackers: whom they talk to, and who plays them.

Their conversations are kept in a folder of their own and deleted with it, people are not called, and nothing is journalled as asked
by a customer. What the bot changes for them is changed: give it a shop to play with, and not the real one.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, TypeVar

from penstock.agents.answering import Answering
from penstock.agents.kept_talks import KeptTalks
from penstock.answer import whole
from penstock.assemble import House
from penstock.errors import NotFound, NotReady
from penstock.models.kept import FRESH
from penstock.models.translate import read
from penstock.storage.database import Database
from penstock.support.goals import Visitor
from penstock.support.hostile import Door
from penstock.support.simulator import Ask, Customer, PlayedByModel, Scripted
from penstock.types import Answer, Answerer, Caller, Message, ModelRequest, Record, Status, TextDelta, Turn

__all__ = ["CALLER", "Line", "Nobody"]

CALLER = "simulate"  # the name that is booked and that bots are told
LONGEST_WORDS = 400  # tokens of what a customer says
PATIENCE_S = 120.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Waiting:
    state: str = "pending"
    text: str = ""


class Nobody:
    """Takes over every conversation that is handed over, and says nothing. Satisfies `People`."""

    def take_over(self, turn: Turn, said: Sequence[Message], why: str, summary: str) -> str:
        return secrets.token_hex(16)

    def tell(self, number: str, said: str) -> None:
        return None

    def outcome(self, number: str) -> _Waiting:
        return _Waiting()

    def give_back(self, number: str) -> None:
        return None


class Line:
    """What simulated customers talk through: many threads at once, each in a conversation of its own. Use it in a `with` block."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._folder = TemporaryDirectory(prefix="penstock-simulate-")
        house.aside(Path(self._folder.name))
        self._talks = Database(Path(self._folder.name) / "talks.db")
        self._answerers: dict[str, Answerer] = {}
        self._guard = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulate", daemon=True)
        self._thread.start()

    def to(self, name: str) -> _To:
        """Whoever answers by that name: an app, a collection, a model or a route. Raises NotFound."""
        house = self._house
        apps = {*house.settings.apps, *(house.library.names() if house.has_documents else ())}
        if name in apps:
            return _To(self, name)
        if house.gateway.has(name):
            return _To(self, name, is_model=True)
        known = ", ".join(sorted({*apps, *house.gateway.models})) or "none yet"
        raise NotFound(f"there is no app or model '{name}'", hint=f"known: {known}")

    def customer(self, visitor: Visitor, model: str = "") -> Customer:
        """A customer by the script, or played by a model. Raises NotFound for a model that there is not."""
        if not model:
            return Scripted(visitor)
        if not self._house.gateway.has(model):
            known = ", ".join(self._house.gateway.models) or "none"
            raise NotFound(f"there is no model '{model}' that could play customers", hint=f"known: {known}")

        def speaks(instructions: str, seen: Sequence[Message]) -> str:
            messages = [
                {"role": "system", "content": instructions},
                *({"role": one.role, "content": one.content} for one in seen),
            ]
            return self.waited(self._written(model, messages, max_tokens=LONGEST_WORDS))

        return PlayedByModel(visitor, speaks, model)

    def waited(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of it, in the loop of this line. Raises what it raises, and NotReady where the line was closed."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)
        except TimeoutError as error:
            raise NotReady(f"no reply came within {PATIENCE_S:.0f} seconds") from error
        except CancelledError as error:
            raise NotReady("the conversations were ended") from error

    async def _written(self, model: str, messages: Sequence[dict[str, str]], *, max_tokens: int = 0) -> str:
        body: dict[str, Any] = {"model": model, "messages": list(messages), "stream": True}
        if max_tokens:
            body["max_tokens"] = max_tokens
        request = ModelRequest(
            dialect="chat", model=model, body=body, stream=True, caller=Caller(CALLER), tags=(FRESH,), record=Record(CALLER)
        )  # fmt: skip
        async with aclosing(read(self._house.gateway.stream(request), request)) as events:
            return "".join([event.text async for event in events if isinstance(event, TextDelta)]).strip()

    def _answerer(self, app: str) -> Answerer:
        with self._guard:
            if app not in self._answerers:
                found = self._house.alone(app)
                if isinstance(found, Answering):
                    found = replace(found, talks=KeptTalks(self._talks), people=Nobody())
                self._answerers[app] = found
            return self._answerers[app]

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._ended(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._talks.close()
        self._folder.cleanup()

    async def _ended(self) -> None:
        """The connections to models are closed in their own loop, and what is still asked there is given up."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._house.clients.close()
        await asyncio.sleep(0)

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        self.close()


@dataclass(frozen=True)
class _To:
    """One app, or one model, at the other end."""

    line: Line
    name: str
    is_model: bool = False

    def opens(self, visitor: Visitor) -> Ask:
        """A conversation with it."""
        door, number = self.door(), iter(range(1 << 30))
        return lambda said: door(said, f"{next(number)}")

    def door(self) -> Door:
        """A conversation in which messages have keys."""
        conversation = secrets.token_hex(16)
        history: list[Message] = []
        if self.is_model:
            return lambda said, key: self._modelled(said, history)
        answerer = self.line._answerer(self.name)
        keeps = isinstance(answerer, Answering)

        def said_to(said: str, key: str) -> Answer:
            turn = Turn(
                said, Caller(CALLER), () if keeps else tuple(history), record=Record(CALLER),
                conversation=conversation if keeps else "", message=key if keeps else "",
            )  # fmt: skip
            found = self.line.waited(whole(answerer.stream(turn)))
            history.extend((Message("user", said), Message("assistant", found.text)))
            return found

        return said_to

    def _modelled(self, said: str, history: list[Message]) -> Answer:
        history.append(Message("user", said))
        text = self.line.waited(
            self.line._written(self.name, [{"role": one.role, "content": one.content} for one in history])
        )  # fmt: skip
        history.append(Message("assistant", text))
        return Answer(text, Status.ANSWER, 0.0)
