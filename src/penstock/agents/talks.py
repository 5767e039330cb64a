"""A conversation with somebody, as a bot sees it while it answers one message, and what a bot replies."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from penstock.agents.actions import Action, Person, plain
from penstock.types import ANYBODY, Answer, Caller, Message, Record

if TYPE_CHECKING:
    from penstock.agents.requests import ActionRequests, Request

__all__ = ["REQUESTS", "Bot", "Reply", "Row", "Talk", "row_of"]

REQUESTS = "requests/"  # what the source of a row begins with that is a request for an action


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a business's own data as it was read. What a reply says of it is checked against these values before it leaves.

    source: its name, such as `orders/#W123`, by which the bot reads it again. label: what people call it: "order #W123".
    """

    source: str
    values: Mapping[str, Any]  # names -> texts, numbers, amounts (Decimal), lists of these, as they were read
    label: str = ""
    at: float = 0.0  # Unix time


@dataclass(frozen=True, slots=True)
class Reply:
    """What a bot says to one message."""

    text: str
    quick_replies: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()  # that the text rests on: each number in it stands in one of them
    answer: Answer | None = None  # what the documents said, where the text has it: its citations go with the reply
    hand_over: str = ""  # why a person is to take over; "" where none is. The bot is silent afterwards
    summary: str = ""  # for that person: who, what was wanted, what was done, what is open
    over: bool = False  # the conversation has come to its end
    fixed: tuple[str, ...] = ()  # words of its author, whose numbers need no row: "returns take 30 days"
    then: tuple[tuple[str, Mapping[str, Any]], ...] | None = (
        None  # abilities and arguments, in place of what is to be done
    )


@dataclass(slots=True)
class Talk:
    """One conversation, while one message of it is answered. The engine keeps it, sealed, and gives it to one message at a time.

    state: the bot's own notes, plain JSON. ask: what the app's documents say to a question, with citations; None where the app
    has none. key: the same for every try of this message, and for no other: what begins with it may name a request.
    """

    id: str  # 32 hexadecimal digits
    app: str
    requests: ActionRequests
    person: Person = Person()  # whoever signed in; a guest until then. A bot changes it, no model does
    caller: Caller = ANYBODY
    language: str = ""
    state: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)  # said before, oldest first
    ask: Callable[[str], Answer] | None = None
    key: str = ""
    visitor: str = (
        ""  # who it is among those who come by the same caller, as far as that is told; nobody has checked it
    )
    people: bool = False  # whether there are people who can take over
    handed_over: int = 0  # how often a person was to
    run: Callable[[Coroutine[Any, Any, Any]], Any] | None = (
        None  # has something done where models are asked, and waits for it
    )
    record: Record | None = None  # what the message takes


@runtime_checkable
class Bot(Protocol):
    """Answers one message of a conversation. Synchronous: it is run in a thread, for one message of a conversation at a time."""

    @property
    def actions(self) -> Sequence[Action]:
        """All that it may ever ask for. Names are unique among all apps of a house."""
        ...

    def reply(self, talk: Talk, said: str) -> Reply:
        """What to say. It changes `talk.state` and `talk.person`, and does things by `talk.requests` alone."""
        ...

    def look_again(self, talk: Talk, source: str) -> Row | None:
        """A row by its name as it is now, as far as the person may see it; None where it is gone. Rows that were spoken of are
        looked at again with each message, and a changed one is told of, with the time."""
        ...


def row_of(request: Request) -> Row:
    """A request for an action as a row: what was read back, its arguments, and what came of it."""
    result = request.result if isinstance(request.result, Mapping) else {"result": request.result}
    said = {"read_back": request.read_back, "reason": request.reason}
    values = {**plain(request.arguments), **result, **said}
    return Row(f"{REQUESTS}{request.id}", {name: value for name, value in values.items() if value not in (None, "")})
