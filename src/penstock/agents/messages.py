"""Messages between agents, each of a type, and what comes of one: for whoever delivers them, and for whoever checks it again.

An agent is a name, and a function for each type of message that it takes. A function is told one message and returns those that
follow from it. It knows nothing of models: an agent that asks one is handed what it asks. Where messages are kept, and in which
order they come, is in `exchange`.
"""

from __future__ import annotations

import contextvars
import dataclasses
import inspect
import threading
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any, Final, Literal, NamedTuple

import orjson

from penstock.agents.actions import NAME, canonical, plain, reader
from penstock.errors import BadRequest, BadSetting, NotFound, PenstockError, TooLarge
from penstock.trace import log, place

__all__ = [
    "Agent",
    "Agents",
    "Limits",
    "Message",
    "Outcome",
    "Replayed",
    "Send",
    "State",
    "Written",
    "read_lines",
    "replay",
]

_NOTHING: Final = object()
State = Literal["waiting", "handled", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Limits:
    """So that agents do not talk for ever. Whoever handles a message that leads beyond a limit is stopped there."""

    messages: int = 200  # of one conversation
    depth: int = 50  # messages of which each led to the next
    body_bytes: int = 16_384  # of one message, as JSON
    handling_s: float = 30.0  # what takes longer is left alone, and nothing comes of it

    def __post_init__(self) -> None:
        if not all(value > 0 for value in dataclasses.astuple(self)):
            raise BadSetting("limits of messages must be more than 0")


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the log has it."""

    id: str
    conversation: str
    cause: str  # the id of the message that led to it; "" for one from outside
    depth: int  # how many led to it
    sender: str  # "" for outside
    receiver: str
    kind: str  # the name of the type of its body
    body: Mapping[str, Any]  # as JSON has it
    at: float  # Unix time at which it was sent
    state: State = "waiting"
    why: str = ""  # it failed, or was stopped


@dataclass(frozen=True, slots=True)
class Send:
    """What a handler returns for each message that is to be sent."""

    to: str
    body: Any  # of a type that the receiver handles


Handler = Callable[[Message, Any], Send | Iterable[Send] | None]  # told the message, and its body in its type


@dataclass(frozen=True, slots=True)
class Agent:
    """A name, and a handler for each type of message. The types are frozen dataclasses with slots, of values as actions have
    them. A handler depends on what it is told alone, or a replay differs; what else it needs is handed to it beforehand."""

    name: str
    handlers: Mapping[type, Handler]

    def __post_init__(self) -> None:
        """Raises BadSetting for an agent that could not keep its promises."""
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            hint = "small letters, digits and _"
            raise BadSetting(f"'{str(self.name)[:64]}' cannot be the name of an agent", hint=hint)
        for kind, handler in self.handlers.items():
            slotted = dataclasses.is_dataclass(kind) and "__slots__" in kind.__dict__
            if not slotted or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
                raise BadSetting(f"{self.name}: {kind!r} is no message", hint="@dataclass(frozen=True, slots=True)")
            if inspect.iscoroutinefunction(handler):
                raise BadSetting(f"{self.name}: what handles {kind.__name__} is async", hint="write a plain function")
        if len({kind.__name__ for kind in self.handlers}) < len(self.handlers):
            raise BadSetting(f"{self.name} handles two types of one name")


class Written(NamedTuple):
    """A message that fits its receiver."""

    receiver: str
    kind: str
    body: Mapping[str, Any]


class Outcome(NamedTuple):
    """What comes of a message."""

    state: State
    written: tuple[Written, ...] = ()
    why: str = ""


class Agents:
    """Those who can write to each other."""

    def __init__(self, agents: Sequence[Agent], limits: Limits) -> None:
        self.limits = limits
        self._known = {one.name: {kind.__name__: handler for kind, handler in one.handlers.items()} for one in agents}
        self._readers = {
            (one.name, kind.__name__): reader(kind, largest=limits.body_bytes)
            for one in agents
            for kind in one.handlers
        }
        if len(self._known) < len(agents):
            raise BadSetting("two agents have one name")

    @property
    def names(self) -> list[str]:
        return list(self._known)

    def written(self, send: Send) -> Written:
        """What is sent, as it goes over the wire: read as the receiver reads it. Raises NotFound, BadRequest and TooLarge."""
        kind = type(send.body).__name__
        if not isinstance(send.to, str) or send.to not in self._known:
            hint = f"there are {', '.join(self._known) or 'none'}"
            raise NotFound(f"there is no agent '{str(send.to)[:64]}'", hint=hint)
        if kind not in self._known[send.to]:
            hint = f"it takes {', '.join(self._known[send.to]) or 'nothing'}"
            raise BadRequest(f"'{send.to}' takes no {kind[:64]}", hint=hint)
        try:
            body = plain(self._readers[send.to, kind](plain(send.body)))
        except TooLarge:
            raise TooLarge(f"a {kind} of more than {self.limits.body_bytes:,} bytes") from None
        except (TypeError, ValueError, RecursionError) as error:
            raise BadRequest(f"this {kind} cannot be written as JSON: {type(error).__name__}") from error
        return Written(send.to, kind, body)

    def outcome(self, message: Message) -> Outcome:
        """Have it handled, in a thread that is left alone when it takes too long: nothing can end a function from outside."""
        ended: list[Outcome] = []
        run = contextvars.copy_context().run
        thread = threading.Thread(target=lambda: ended.append(run(self._handled, message)), daemon=True)
        thread.start()
        thread.join(min(self.limits.handling_s, threading.TIMEOUT_MAX))
        if ended:
            return ended[0]
        return Outcome("stopped", why=f"it took more than {self.limits.handling_s:g} s")

    def _handled(self, message: Message) -> Outcome:
        try:
            handler = self._known.get(message.receiver, {}).get(message.kind)
            if handler is None:
                raise NotFound(f"there is no agent '{message.receiver}' that takes a {message.kind}")
            returned = handler(message, self._readers[message.receiver, message.kind](message.body))
            sends = (returned,) if isinstance(returned, Send) else returned or ()
            written = tuple(map(self._checked, islice(sends, self.limits.messages + 1)))
            return Outcome("handled", written)
        except TooLarge as error:
            return Outcome("stopped", why=error.message)
        except BaseException as error:
            name = type(error).__name__  # its words may be somebody's
            log("an agent failed", level="error", agent=message.receiver, error=name, place=place(error))
            return Outcome("failed", why=error.message if isinstance(error, PenstockError) else name)

    def _checked(self, send: Any) -> Written:
        if not isinstance(send, Send):
            raise BadRequest(f"a handler returned a {type(send).__name__}, which is no Send")
        return self.written(send)


# ---------------------------------------------------------------- run again


@dataclass(frozen=True, slots=True)
class Replayed:
    """Whether the same comes of a message as is recorded. agrees: None where it waits, or met a limit: nothing can be compared."""

    message: Message
    agrees: bool | None
    difference: str = ""  # the first one: where it is, what is recorded, what comes out now


def replay(messages: Iterable[Message], agents: Sequence[Agent], *, limits: Limits | None = None) -> list[Replayed]:
    """Have recorded messages handled again, and compare what comes of each. Nothing is delivered, nothing is recorded.

    limits: those of the exchange. How many messages there were, and how deep, is not looked at again. Raises BadSetting."""
    known, recorded = Agents(agents, limits or Limits()), list(messages)
    led_to: dict[str, list[Written]] = {}
    for one in recorded:
        led_to.setdefault(one.cause, []).append(Written(one.receiver, one.kind, one.body))
    return [_replayed(one, led_to.get(one.id, []), known) for one in recorded]


def _replayed(message: Message, recorded: Sequence[Written], agents: Agents) -> Replayed:
    if message.state in ("waiting", "stopped"):
        return Replayed(message, None)
    outcome = agents.outcome(message)
    if outcome.state != message.state:
        because = f": {outcome.why}" if outcome.why else ""
        return Replayed(message, False, f"it is recorded as {message.state}, and is {outcome.state} now{because}")
    was, now = ([one._asdict() for one in written] for written in (recorded, outcome.written))
    difference = _difference(was, now, "messages")
    return Replayed(message, not difference, difference)


def _difference(was: Any, now: Any, at: str) -> str:
    """Where two plain values first differ, and how; "" where they do not."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        names = dict.fromkeys((*was, *now))
        inside = (_difference(was.get(one, _NOTHING), now.get(one, _NOTHING), f"{at}.{one}") for one in names)
    elif isinstance(was, Sequence) and isinstance(now, Sequence) and not isinstance(was, str):
        pairs = enumerate(zip_longest(was, now, fillvalue=_NOTHING), 1)
        inside = (_difference(one, other, f"{at}[{number}]") for number, (one, other) in pairs)
    else:
        said = f"{at}: {_shown(was)} is recorded, and {_shown(now)} comes out"
        return "" if was == now and type(was) is type(now) else said
    return next(filter(None, inside), "")


def _shown(value: Any) -> str:
    return "nothing" if value is _NOTHING else canonical(value).decode()


def read_lines(lines: Iterable[str]) -> list[Message]:
    """Messages that were written as JSON Lines. Raises BadRequest, with the number of the line."""
    hints, read = typing.get_type_hints(Message), []
    kinds = {name: hint if isinstance(hint, type) else str for name, hint in hints.items()} | {"body": dict}
    for number, line in enumerate(lines, 1):
        try:
            written: Any = orjson.loads(line)
            one = Message(**written)
        except (TypeError, ValueError):
            raise BadRequest(f"line {number} is no message of a log") from None
        wrong = [name for name, kind in kinds.items() if not isinstance(getattr(one, name), kind)]
        if wrong or one.state not in typing.get_args(State):
            raise BadRequest(f"line {number} is no message of a log: '{(wrong or ['state'])[0]}' does not fit")
        read.append(one)
    return read
