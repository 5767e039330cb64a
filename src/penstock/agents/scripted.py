"""A bot without a model: what somebody wants is told by examples, what is missing is asked for, and a change is read back first.

What is wanted stands on an agenda, and is worked through one by one. Each message is read beside what was asked last: it may answer
that, change what is wanted, want something else, or ask a question that the documents answer; then the open question is put again.
"""

from __future__ import annotations

import dataclasses
import re
import threading
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from penstock.agents.actions import Action, Person, plain
from penstock.agents.requests import CHANGED, Request
from penstock.agents.sign_in import SignIn, Step
from penstock.agents.slots import Finder, Heard, Several, Slot, choices_of, finder, is_free_text
from penstock.agents.talks import REQUESTS, Reply, Row, Talk, row_of
from penstock.agents.words import (
    agreement,
    asks_something,
    begins_with_no,
    folded,
    is_back,
    is_bye,
    is_greeting,
    is_thanks,
    means_instead,
    means_too,
    never_mind,
    points_back,
    taken_back,
    wants_person,
)
from penstock.errors import (
    BadArguments,
    BadRequest,
    BadSetting,
    Conflict,
    Limited,
    NotAllowed,
    NotFound,
    PenstockError,
    TooLarge,
)
from penstock.language.intents import OTHER, Example, Intents
from penstock.trace import log
from penstock.types import Answer, Embedder, Status

if TYPE_CHECKING:
    from penstock.agents.requests import ActionRequests

__all__ = ["Ability", "Heard", "Sayings", "Scripted", "Several", "Slot", "Understand", "Wanted"]

SURE: Final = 0.5  # probability from where on an intent is taken for what is wanted
SURE_BESIDE: Final = 0.7  # the same while something else is open
SURE_IN_WORDS: Final = 0.85  # the same while any text may be the answer to what is open
PERHAPS: Final = 0.1  # from where on somebody is asked whether it is that
MOST_WANTED: Final = 8
MOST_MISSES: Final = 2  # before a person is called
MOST_BUTTONS: Final = 6
LOOKS: Final = "look/"  # what the source of a row begins with that is what an action reads
_PARTS: Final = re.compile(
    r"(?<=[.!?;])\s+|\s*\b(?:and also|and then|and after that|also|plus|sowie|und auch|y tambien|et aussi|e anche)\b\s*",
    re.I,
)
_CODE: Final = re.compile(r"#?\b[\w-]*\d[\w-]*")
_OTHERS: Final = (
    "hello", "how are you?", "thanks a lot", "what is the weather like?", "tell me a joke", "who won the match yesterday?",
    "are you a robot?", "what can you do?", "I am not sure", "that is nice", "no idea", "let me think about it",
)  # fmt: skip


class Wanted(NamedTuple):
    """One thing that somebody wants, as far as it was understood. arguments: by name, those that are known."""

    ability: str  # the name of its action
    arguments: Mapping[str, Any]


Understand = Callable[[Talk, str, "Wanted | None"], list[Wanted]]


@dataclass(frozen=True, slots=True)
class Ability:
    """An action and how people talk about it. examples: how they ask for it. says: what is told of it once it is done, as a text
    with {names} of arguments and of the result, or made of the request."""

    action: Action
    examples: Sequence[str]
    says: str | Callable[[Talk, Request], Reply]
    slots: Mapping[str, Slot] = field(default_factory=dict)
    label: str = ""  # on a button
    offered: bool = True  # whether it has a button, and is told of when somebody asks what there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Sayings:
    """What a bot says around what its abilities say. Give others for another voice, or another language."""

    greeting: str = "Hello! How can I help?"
    can_do: str = "I can help you with this: {abilities}."
    asks_too: str = "You can also ask me a question."
    perhaps: str = "I am not sure that this answers it:"
    not_understood: str = "I did not understand that."
    mean: str = "Do you mean this: {ability}?"
    anything_else: str = "Is there anything else?"
    welcome: str = "You are welcome."
    bye: str = "Goodbye, and thank you!"
    yes: str = "Yes"
    no: str = "No"
    unclear: str = "I need a clear yes or no for this."
    dropped: str = "All right, nothing was changed."
    nothing_open: str = "There is nothing to take back."
    noted: str = "I will come to that afterwards."
    which: str = "Which one do you mean? {choices}"
    wrong: str = "That does not fit: {why}."
    refused: str = "That cannot be done: {why}."
    failed: str = "That did not work, and nothing was changed."
    unknown: str = (
        "I do not know yet whether it was done. Please do not try again; write to me in a minute, and I will look."
    )
    expired: str = "That took too long, so I ask once more."
    changed: str = "Something has changed since I asked, so I ask once more."
    too_often: str = "That was asked for too often. Please try again later."
    busy: str = "Something else is being changed for you at the moment. Please try again in a minute."
    cannot: str = "I cannot do that for you."
    signed_in: str = "Thank you."
    not_known: str = "I cannot do that here, because I do not know who you are."
    no_more_tries: str = "I cannot sign you in now."
    hand_over: str = "I hand this over to a person, who can read what we said. I am silent from now on."
    person: str = "A person, please"
    back: str = "Back to the assistant"
    no_person: str = "There is nobody who could take over."
    here_again: str = "I am here again."


class Scripted:
    """Satisfies `Bot`. Safe to share between threads: what it knows of a conversation is in the conversation."""

    def __init__(
        self, abilities: Sequence[Ability], *, understand: Understand | None = None,
        look: Callable[[Talk, str], Row | None] | None = None, sign_in: SignIn | None = None, embedder: Embedder | None = None,
        sayings: Sayings = Sayings(),
    ) -> None:  # fmt: skip
        """understand: what somebody wants, of the talk, the message and what is being worked on; without, by the examples. Of
        what is being worked on it gives the arguments that are others now, None for one that is to be asked anew. look: reads a
        row again by its source. sign_in: how somebody shows who they are. embedder: what the examples are read by; whoever
        serves the bot hands one in where there is none.

        Raises BadSetting for abilities that could not be talked about."""
        self.abilities = {one.action.name: one for one in abilities}
        self.sign_in, self.sayings, self.embedder = sign_in, sayings, embedder
        self._understand, self._look = understand, look
        self._lock = threading.Lock()
        self._intents: Intents | None = None
        self._slots = {name: _slots(one) for name, one in self.abilities.items()}
        if not abilities or len(self.abilities) < len(abilities):
            raise BadSetting("a bot has at least one ability, and no two with the same action")
        if understand is None and (silent := [name for name, one in self.abilities.items() if not one.examples]):
            raise BadSetting(f"nobody can ask for {', '.join(silent)}", hint="examples: how people ask for it")

    @property
    def actions(self) -> Sequence[Action]:
        return [one.action for one in self.abilities.values()]

    def reply(self, talk: Talk, said: str) -> Reply:
        return _Turn(self, talk, said).reply()

    def look_again(self, talk: Talk, source: str) -> Row | None:
        if not source.startswith(LOOKS):
            return self._look(talk, source) if self._look else None
        name, _, arguments = source.removeprefix(LOOKS).partition("/")
        ability = self.abilities.get(name)
        if ability is None:
            return None
        try:
            result = talk.requests.look(talk.person, talk.id, name, arguments)
        except PenstockError:
            return None
        return _looked(ability, orjson.loads(arguments), result)

    def warm(self) -> None:
        """Learn the examples and the phrases, so that the first question is as fast as the second."""
        wants_person("hello")
        is_back("hello")
        if self._understand is None:
            self.intents.of("hello")

    @property
    def intents(self) -> Intents:
        with self._lock:
            if self._intents is None:
                examples = [
                    Example(_without_codes(text), name)
                    for name, one in self.abilities.items()
                    for text in [*one.examples, *filter(None, [one.label])]
                ]
                self._intents = Intents(
                    [*examples, *(Example(text, OTHER) for text in _OTHERS)], embedder=self.embedder
                )
            return self._intents

    def understood(
        self, talk: Talk, said: str, current: Wanted | None, *, least: float = SURE
    ) -> list[tuple[Wanted, str]]:
        """What somebody wants, each with the part of the message that it is about. least: probability from where on."""
        if self._understand is not None:
            return [(one, said) for one in self._understand(talk, said, current) if one.ability in self.abilities][
                :MOST_WANTED
            ]
        parts = [part.strip(" ,") for part in _PARTS.split(said)[:MOST_WANTED] if part.strip(" ,")]
        found: dict[str, str] = {}
        for part in parts if len(parts) > 1 else ():
            if name := self._intent(part, least):
                found[name] = f"{found[name]} {part}" if name in found else part
        if len(found) < 2:  # all of it is about the one
            name = self._intent(said, least) or next(iter(found), "")
            found = {name: said} if name else {}
        return [(Wanted(name, {}), part) for name, part in found.items()]

    def _intent(self, text: str, least: float) -> str:
        intent = self.intents.of(_without_codes(text))
        return intent.name if intent.name != OTHER and intent.confidence >= least else ""

    def perhaps(self, said: str) -> str:
        """The ability that somebody may mean; "" for none."""
        if self._understand is not None:
            return ""
        return self._intent(said, PERHAPS)


def _without_codes(text: str) -> str:
    """A text without numbers and codes, which say nothing of what is wanted."""
    return " ".join(_CODE.sub(" ", text).split()) or text


class _Argument(NamedTuple):
    """How one argument of an ability is learnt. free: whether any text is a value."""

    name: str
    slot: Slot
    find: Finder
    needed: bool
    free: bool
    choices: tuple[str, ...]


def _slots(ability: Ability) -> list[_Argument]:
    """Raises BadSetting, naming what is missing."""
    kind = ability.action.arguments
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = [one for one in dataclasses.fields(kind) if one.init]
    name = ability.action.name
    if unknown := ability.slots.keys() - {one.name for one in fields}:
        raise BadSetting(f"'{name}' has a slot for {', '.join(sorted(unknown))}, which is no argument of it")
    found = []
    for one in fields:
        needed = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        slot = ability.slots.get(one.name, Slot(f"What is the {one.name.replace('_', ' ')}?"))
        find = slot.find or finder(hints[one.name])
        if find is None:
            if needed and slot.usual is None:
                raise BadSetting(
                    f"nobody can say the {one.name} of '{name}' in a sentence", hint="give its slot a `find`"
                )
            find = _nothing
        free = slot.find is None and is_free_text(hints[one.name])
        found.append(_Argument(one.name, slot, find, needed, free, choices_of(hints[one.name])))
    return found


def _nothing(heard: Heard) -> Any:
    return None


# ---------------------------------------------------------------- one message


class _Turn:
    """One message on its way to a reply. The notes of the bot, in `talk.state`:

    agenda: what is wanted, the first is worked on: ability, arguments, heard (where they are looked for), carry (arguments of what
    was done before). open: what was asked last: kind, text, quick, and by kind: name and choices of a slot, request and token of a
    read-back. signing: the level somebody signs in for. offered: whether it was asked last if there is anything else. dropped: what
    was taken back, the newest last. misses, done, unknown: what was not understood, was done, is not known.
    """

    def __init__(self, bot: Scripted, talk: Talk, said: str) -> None:
        self.bot, self.talk, self.said, self.sayings = bot, talk, said.strip(), bot.sayings
        self.state = talk.state
        self.agenda: list[dict[str, Any]] = self.state.setdefault("agenda", [])
        self.parts: list[str] = []
        self.rows: list[Row] = []
        self.fixed: list[str] = []
        self.quick: tuple[str, ...] = ()
        self.answer: Answer | None = None
        self.asked: Answer | None = None  # what the documents say to the message, once they were asked
        self.over = False
        self.handing = ""  # why a person is to take over
        self.then: tuple[tuple[str, Mapping[str, Any]], ...] | None = None  # what takes the place of the agenda
        self.asked_for = 0  # requests of this message

    @property
    def opened(self) -> dict[str, Any]:
        found: dict[str, Any] = self.state.get("open") or {}
        return found

    @opened.setter
    def opened(self, value: dict[str, Any]) -> None:
        self.state["open"] = value

    @property
    def requests(self) -> ActionRequests:
        return self.talk.requests

    # ---------------------------------------------------------------- what was said

    def reply(self) -> Reply:
        self.tell_known()
        self.check_open()
        if not self.said:
            return self.ended()
        if wants_person(self.said):
            return self.to_person("the customer asked for a person")
        if is_back(self.said):
            self.parts.append(self.sayings.here_again)
            return self.ended()
        if self.state.get("signing"):
            self.signing()
        else:
            self.heard()
        return self.ended()

    def heard(self) -> None:
        """Read the message beside what was asked last, and do what comes of it."""
        said, kind = self.said, self.opened.get("kind", "")
        if kind == "mean":
            meant, self.opened = self.opened, {}
            if agreement(said) == "yes":
                self.agenda.insert(
                    0, {"ability": meant["ability"], "arguments": {}, "heard": meant["heard"], "carry": {}}
                )
                return None
            if agreement(said) == "no":
                return self.missed()
        if kind == "confirm":
            match agreement(said, self.opened["text"]):
                case "yes":
                    return self.confirmed()
                case "no":
                    return self.dropped()
        if never_mind(said) and self.agenda:
            return self.dropped()
        if self.agenda and (rest := taken_back(said, self.open_words())) is not None:
            self.dropped()
            if not rest:
                return None
            self.said, said, kind = rest, rest, ""
        if kind == "slot" and self.filled(free=False):
            return None
        if kind == "slot" and not self.argument().free and agreement(said) == "no":
            return self.dropped()
        if is_bye(said):
            return self.said_bye()
        any_text = kind == "slot" and self.argument().free  # "great" may be what was asked for
        if is_greeting(said) and not any_text:
            return self.greeted()
        if is_thanks(said) and kind != "confirm" and not any_text:
            self.parts.append(self.sayings.welcome if not self.agenda else "")
            return None
        current, question = self.current(), asks_something(said) or said.endswith("?")
        words = any_text and not question
        least = SURE_IN_WORDS if words else SURE_BESIDE if current else SURE
        wants = self.bot.understood(self.talk, said, current, least=least)
        if words and all(one.ability == self.agenda[0]["ability"] and not one.arguments for one, _ in wants):
            self.filled(free=True)
            return None
        if asks_something(said) and all(self.is_general(*one) for one in wants) and self.from_documents():
            return None
        if self.taken(wants) or (current and not wants and self.changed(self.agenda[0], said)):
            return None
        if kind == "confirm" and begins_with_no(said):
            return self.dropped()
        if self.from_documents() or (kind == "slot" and self.filled(free=True)):
            return None
        if question and not self.agenda and self.from_documents(related=True):
            return None
        return self.missed()

    def open_words(self) -> str:
        """What is worked on, in words."""
        ability = self.bot.abilities[self.agenda[0]["ability"]]
        return f"{_label(ability)} {ability.action.name} {self.opened.get('text', '')}"

    def current(self) -> Wanted | None:
        return Wanted(self.agenda[0]["ability"], dict(self.agenda[0]["arguments"])) if self.agenda else None

    def is_general(self, wanted: Wanted, part: str) -> bool:
        """Whether it may as well be a question about the rules: something would be changed, and nothing is said of what."""
        ability = self.bot.abilities[wanted.ability]
        if ability.action.effect == "reads" or wanted.arguments:
            return False
        return not self.values(wanted.ability, part, {})

    def taken(self, wants: Sequence[tuple[Wanted, str]]) -> bool:
        """Put what is wanted on the agenda. Returns whether there was anything."""
        new: list[dict[str, Any]] = []
        taken, instead = False, means_instead(self.said) or begins_with_no(self.said)
        for wanted, part in wants:
            current = self.agenda[0] if self.agenda else None
            if current and current["ability"] == wanted.ability:
                self.merged(current, wanted, part)
                taken = True
            else:
                before = current or self.state.get("last")
                carry = dict(before["arguments"]) if before and (points_back(part) or (current and instead)) else {}
                known = {name: plain(value) for name, value in wanted.arguments.items() if value is not None}
                new.append({"ability": wanted.ability, "arguments": known, "heard": part, "carry": carry})
        if not new:
            return taken
        if not self.agenda:
            self.agenda.extend(new)
        elif all(self.bot.abilities[one["ability"]].action.effect == "reads" for one in new):
            self.withdrawn()  # it is told at once, and then what is open is put again
            self.agenda[:0] = new
        elif instead:
            self.withdrawn()
            self.agenda[:1] = new
        elif means_too(self.said):
            self.agenda.extend(new)
            self.parts.append(self.sayings.noted)
        else:
            self.withdrawn()
            self.agenda[:0] = new
        del self.agenda[MOST_WANTED:]
        return True

    def merged(self, item: dict[str, Any], wanted: Wanted, part: str) -> None:
        """What is being worked on, with what was said of it now."""
        given = dict(wanted.arguments) or self.values(item["ability"], part, item["arguments"])
        changes = {name: value if value is None else plain(value) for name, value in given.items()}
        changes = {name: value for name, value in changes.items() if item["arguments"].get(name) != value}
        if not changes:
            return
        self.withdrawn()
        for name, value in changes.items():
            item["arguments"].pop(name, None)
            item["carry"].pop(name, None)
            if value is not None:
                item["arguments"][name] = value
        if None in changes.values():
            item["heard"] = ""  # where it would be found again

    def changed(self, item: dict[str, Any], said: str) -> bool:
        """Another value for an argument of what is being worked on."""
        known = item["arguments"]
        found = self.values(item["ability"], said, known)
        found = {name: value for name, value in found.items() if known.get(name) != value}
        if not found:
            return False
        self.merged(item, Wanted(item["ability"], found), said)
        return True

    def values(self, ability: str, text: str, known: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that stand in a text."""
        found: dict[str, Any] = {}
        for one in self.bot._slots[ability]:
            others = {name: value for name, value in {**known, **found}.items() if name != one.name}
            value = one.find(Heard(text, self.talk, others, False))
            if value is not None and not isinstance(value, Several):
                found[one.name] = plain(value)
        return found

    def argument(self) -> _Argument:
        """What is asked for."""
        return next(one for one in self.bot._slots[self.agenda[0]["ability"]] if one.name == self.opened["name"])

    def filled(self, *, free: bool) -> bool:
        """Take the message for what was asked. free: whether any text may be it. Returns whether it was."""
        opened, item = self.opened, self.agenda[0]
        one = self.argument()
        if chosen := _chosen(self.said, opened.get("values") or []):
            item["arguments"][one.name] = chosen[0]
            self.opened = {}
            return True
        if one.free is not free:
            return False
        value = one.find(Heard(self.said, self.talk, dict(item["arguments"]), True))
        if value is None:
            return False
        self.opened = {}
        if isinstance(value, Several):
            self.ask_which(one, value)
        else:
            item["arguments"][one.name] = plain(value)
            others = {
                name: value
                for name, value in self.values(item["ability"], self.said, item["arguments"]).items()
                if name not in item["arguments"]
            }
            item["arguments"].update(others)
        return True

    def from_documents(self, *, related: bool = False) -> bool:
        """Answer a question from the documents, where they do. related: also with what is near to it, said to be no more."""
        if self.talk.ask is None or len(self.said) < 3:
            return False
        if self.asked is None:
            try:
                self.asked = self.talk.ask(self.said)
            except PenstockError as error:
                log("documents were not asked", level="warning", error=error.code)
                return False
        answer = self.asked
        if answer.status is not Status.ANSWER and not (related and answer.status is Status.RELATED):
            return False
        self.answer = answer
        self.state["misses"] = 0
        if answer.status is Status.ANSWER:
            self.parts.append(answer.text)
            return True
        quotes = " ".join(answer.citations[n].quote for n in answer.quoted or range(len(answer.citations[:1])))
        self.parts.append(f"{self.sayings.perhaps} {quotes}")
        self.quick = (self.sayings.person,) if self.talk.people else ()
        return True

    # ---------------------------------------------------------------- small talk

    def greeted(self) -> None:
        if self.agenda:
            return
        self.parts += [self.sayings.greeting, self.offer()]
        self.quick = self.buttons()

    def said_bye(self) -> None:
        if self.agenda:
            self.withdrawn()
            self.agenda.clear()
            self.opened = {}
            self.parts.append(self.sayings.dropped)
        self.parts.append(self.sayings.bye)
        self.over = True

    def missed(self) -> None:
        """Nobody knows what was meant."""
        if not self.agenda and (agreement(self.said) == "yes" or never_mind(self.said)):
            self.parts.append("" if agreement(self.said) == "yes" else self.sayings.nothing_open)
            return
        if not self.agenda and (name := self.bot.perhaps(self.said)):
            text = self.sayings.mean.format(ability=_label(self.bot.abilities[name]))
            self.fixed.append(text)
            self.opened = {
                "kind": "mean", "ability": name, "heard": self.said, "text": text, "quick": [self.sayings.yes, self.sayings.no],
            }  # fmt: skip
            return
        misses = self.state["misses"] = int(self.state.get("misses", 0)) + 1
        if self.opened.get("kind") == "confirm":
            self.parts.append(self.sayings.unclear)
        else:
            self.parts.append(self.sayings.not_understood)
            if not self.agenda:
                self.parts.append(self.offer())
        if misses >= MOST_MISSES and self.talk.people and not self.talk.handed_over:
            self.handing = f"it was not understood {MOST_MISSES} times in a row"
        self.quick = self.buttons(person=misses >= MOST_MISSES or not self.agenda)

    def offer(self) -> str:
        names = ", ".join(_label(one) for one in self.bot.abilities.values() if one.offered)
        self.fixed.append(names)
        also = f" {self.sayings.asks_too}" if self.talk.ask else ""
        return self.sayings.can_do.format(abilities=names) + also

    def buttons(self, *, person: bool = True) -> tuple[str, ...]:
        labels = [_label(one) for one in self.bot.abilities.values() if one.offered]
        last = [self.sayings.person] if person and self.talk.people else []
        return (*labels[: MOST_BUTTONS - len(last)], *last)

    # ---------------------------------------------------------------- what is done

    def ended(self) -> Reply:
        """Go on with the agenda, and say what there is to say."""
        if self.handing:
            return self.to_person(self.handing)
        if not self.over:
            self.work()
        if self.handing:
            return self.to_person(self.handing)
        if self.opened:
            self.put()
            self.quick = self.quick if self.quick and not self.opened["quick"] else tuple(self.opened["quick"])
            self.state["offered"] = False
        elif (
            not self.over and not self.quick and not self.answer and not (self.state.get("offered") and any(self.parts))
        ):
            self.parts.append(self.sayings.anything_else)
            self.quick = self.buttons()
            self.state["offered"] = True  # and not again until something else was talked of
        text = "\n\n".join(part for part in self.parts if part)
        return Reply(
            text,
            self.quick,
            tuple(self.rows),
            self.answer,
            over=self.over,
            fixed=tuple(self.fixed + self.words_of_author()),
        )

    def put(self) -> None:
        """Ask what is open, for the first time or again."""
        opened = self.opened
        self.parts.append(opened["text"])
        if opened["kind"] != "confirm":
            self.fixed.append(opened["text"])
        elif all(row.source != f"{REQUESTS}{opened['request']}" for row in self.rows):
            self.rows.append(row_of(self.requests.get(self.talk.person, self.talk.id, opened["request"])))

    def check_open(self) -> None:
        """What is open and cannot be answered any more is asked for anew: the bot is another one since, or the request is gone, as
        somebody was erased or is somebody else now."""
        known = [item for item in self.agenda if item["ability"] in self.bot.abilities]
        if len(known) < len(self.agenda):
            self.agenda[:], self.opened = known, {}
        if self.opened.get("kind") == "slot":
            names = [one.name for one in self.bot._slots[self.agenda[0]["ability"]]] if self.agenda else []
            self.opened = self.opened if self.opened["name"] in names else {}
        if self.bot.sign_in is None and self.state.pop("signing", None):
            self.opened = {}
        if self.opened.get("kind") == "confirm":
            try:
                self.requests.get(self.talk.person, self.talk.id, self.opened["request"])
            except NotFound:
                self.opened = {}

    def words_of_author(self) -> list[str]:
        asks = [one.slot.ask for slots in self.bot._slots.values() for one in slots]
        return [*asks, *dataclasses.astuple(self.sayings)]

    def work(self) -> None:
        """Do what can be done, until something has to be asked."""
        while self.agenda and not self.opened and not self.state.get("signing"):
            item = self.agenda[0]
            ability = self.bot.abilities.get(item["ability"])
            if ability is None:  # the bot was changed since
                self.agenda.pop(0)
                continue
            try:
                ability.action.check_allowed(self.talk.person)
                if not self.complete(item):
                    return
                self.proposed(ability, item)
            except NotAllowed:
                if item.get("signed", 0) > 1:  # whoever signs them in does not get them as far as is needed
                    self.finish(self.sayings.not_known)
                    continue
                item["signed"] = item.get("signed", 0) + 1
                self.begin_signing(ability)  # the message may have said who they are
            except NotFound:
                self.finish(self.sayings.cannot)
            except BadArguments as error:
                self.put_right(item, error)
            except (Conflict, Limited) as error:
                self.finish(self.sayings.too_often if isinstance(error, Limited) else self.sayings.busy)
            except (BadRequest, TooLarge) as error:
                self.finish(self.sayings.refused.format(why=error.message))

    def finish(self, text: str) -> None:
        """The first thing of the agenda is over."""
        self.parts.append(text)
        self.agenda.pop(0)
        self.opened = {}

    def complete(self, item: dict[str, Any]) -> bool:
        """Whether all arguments are known; the person is asked for the first that is not."""
        arguments: dict[str, Any] = item["arguments"]
        for one in self.bot._slots[item["ability"]]:
            if one.name in arguments:
                continue
            heard = Heard(item["heard"], self.talk, dict(arguments), False)
            value = one.find(heard) if item["heard"] else None
            if value is None and one.name in item["carry"]:
                value = item["carry"][one.name]
            if value is None and one.slot.usual is not None:
                value = one.slot.usual(heard)
            if isinstance(value, Several):
                self.ask_which(one, value)
                return False
            if value is not None:
                arguments[one.name] = plain(value)
            elif one.needed:
                self.ask(one, heard)
                return False
        return True

    def ask(self, one: _Argument, heard: Heard) -> None:
        known = {name: _words(value) for name, value in heard.known.items()}
        choices = one.slot.choices(heard) if callable(one.slot.choices) else one.slot.choices
        text = one.slot.ask.format_map(_Known(known))
        self.opened = {"kind": "slot", "name": one.name, "text": text, "quick": list(choices or one.choices)}

    def ask_which(self, one: _Argument, several: Several) -> None:
        labels = [label for label, _ in several.values]
        text = self.sayings.which.format(choices="; ".join(labels))
        self.fixed.append(text)
        values = [[label, plain(value)] for label, value in several.values]
        self.opened = {"kind": "slot", "name": one.name, "text": text, "quick": labels[:MOST_BUTTONS], "values": values}

    def put_right(self, item: dict[str, Any], error: BadArguments) -> None:
        """An argument that the action does not take is asked for anew; what nobody was asked for ends it."""
        names = {place.split(".")[0].split("[")[0] for place in error.problems}
        wrong = [one for one in self.bot._slots[item["ability"]] if one.name in names]
        if not wrong or item.get("tries", 0) >= MOST_WANTED:
            self.finish(self.sayings.refused.format(why=error.message))
            return
        item["tries"] = item.get("tries", 0) + 1
        item["heard"], item["carry"] = "", {}
        for one in wrong:
            item["arguments"].pop(one.name, None)
        why = f"{wrong[0].name.replace('_', ' ')} {error.problems.get(wrong[0].name, '')}".strip()
        self.parts.append(self.sayings.wrong.format(why=why))
        self.fixed.append(why)
        self.ask(wrong[0], Heard("", self.talk, dict(item["arguments"]), True))

    def proposed(self, ability: Ability, item: dict[str, Any]) -> None:
        """Ask for the action: it is done, or read back to the person."""
        self.asked_for += 1
        key = f"{self.talk.key}.{self.asked_for}" if self.talk.key else ""
        name = ability.action.name
        request = self.requests.propose(self.talk.person, self.talk.id, name, item["arguments"], key=key)
        if request.state not in ("proposed", "read_back"):
            self.told(ability, item, request)
            return
        shown = self.requests.read_back(self.talk.person, self.talk.id, request.id)
        self.rows.append(row_of(shown.request))
        self.opened = {
            "kind": "confirm", "request": request.id, "token": shown.token, "text": shown.text,
            "quick": [self.sayings.yes, self.sayings.no],
        }  # fmt: skip

    def confirmed(self) -> None:
        """The person agreed to what was read back last."""
        opened, item = self.opened, self.agenda[0]
        ability = self.bot.abilities[item["ability"]]
        self.opened, self.state["misses"] = {}, 0
        try:
            request = self.requests.confirm(self.talk.person, self.talk.id, opened["request"], opened["token"])
        except (NotFound, NotAllowed, Conflict):
            self.parts.append(self.sayings.changed)
            return
        if request.state == "expired":
            self.parts.append(self.sayings.expired)
        elif request.state == "refused" and request.reason == CHANGED:
            self.parts.append(self.sayings.changed)
        else:
            self.told(ability, item, request)

    def told(self, ability: Ability, item: dict[str, Any], request: Request) -> None:
        """Say what came of a request, which is over, or is not known to be."""
        self.state["misses"] = 0
        self.state["last"] = {"ability": item["ability"], "arguments": dict(item["arguments"])}
        match request.state:
            case "done":
                self.done(ability, request)
                if ability.action.effect == "writes":
                    self.state["done"] = [*self.state.get("done", []), request.read_back or _label(ability)][-10:]
                self.agenda.pop(0)
                if self.then is not None:
                    new = [
                        {"ability": name, "arguments": plain(given), "heard": "", "carry": {}}
                        for name, given in self.then
                    ]
                    self.agenda[:], self.then = new, None
            case "refused":
                self.rows.append(row_of(request))
                self.finish(self.sayings.refused.format(why=request.reason.rstrip(".")))
            case "running":
                self.state["unknown"] = [*self.state.get("unknown", []), [item["ability"], request.id]][-10:]
                self.finish(self.sayings.unknown)
            case _:
                self.finish(self.sayings.failed)
        self.opened = {}

    def done(self, ability: Ability, request: Request) -> None:
        """What the ability says of what was done, or read."""
        if callable(ability.says):
            reply = ability.says(self.talk, request)
            self.parts.append(reply.text)
            self.rows += reply.rows
            self.fixed += reply.fixed
            self.answer = reply.answer or self.answer
            self.then = reply.then if reply.then is not None else self.then
            self.quick, self.over = reply.quick_replies or self.quick, reply.over or self.over
            if reply.hand_over:
                self.handing = reply.hand_over
            return
        reads = ability.action.effect == "reads"
        row = _looked(ability, request.arguments, request.result) if reads else row_of(request)
        self.rows.append(row)
        self.fixed.append(re.sub(r"\{\w*\}", " ", ability.says))
        self.parts.append(ability.says.format_map(_Known({name: _words(value) for name, value in row.values.items()})))

    def tell_known(self) -> None:
        """What became of what was not known."""
        left = []
        for name, number in self.state.get("unknown", []):
            try:
                request = self.requests.get(self.talk.person, self.talk.id, number)
            except NotFound:
                continue
            ability = self.bot.abilities.get(name)
            if not request.is_over or ability is None:
                left.append([name, number])
            elif request.state == "done":
                self.done(ability, request)
            else:
                self.parts.append(self.sayings.failed)
        self.state["unknown"] = left

    # ---------------------------------------------------------------- taken back

    def withdrawn(self) -> None:
        """What was read back is void."""
        opened, self.opened = self.opened, {}
        if opened.get("kind") == "confirm":
            with suppress(NotFound, Conflict):  # it ended otherwise, and no token of it is left
                self.requests.withdraw(self.talk.person, self.talk.id, opened["request"])

    def dropped(self) -> None:
        """The person does not want it any more."""
        self.state["misses"] = 0
        self.withdrawn()
        for item in self.agenda[:1]:
            one = {"ability": item["ability"], "arguments": dict(item["arguments"])}
            self.state["dropped"] = [*self.state.get("dropped", []), one][-MOST_WANTED:]
        del self.agenda[:1]
        self.parts.append(self.sayings.dropped)

    # ---------------------------------------------------------------- who it is

    def begin_signing(self, ability: Ability) -> None:
        if self.bot.sign_in is None:
            self.finish(self.sayings.not_known)
            return
        self.state["signing"] = ability.action.level
        self.stepped(self.bot.sign_in.begin(self.talk, ability.action.level, self.said))

    def signing(self) -> None:
        """The message of somebody who signs in."""
        assert self.bot.sign_in is not None, "somebody signs in where there is a way to"
        if never_mind(self.said) or is_bye(self.said):
            self.state.pop("signing", None)
            self.state.pop("sign_in", None)
            self.opened = {}
            self.said_bye() if is_bye(self.said) else self.dropped()
            return
        if self.asks_as_guest():
            self.state.pop("signing", None)
            self.state.pop("sign_in", None)
            self.agenda.clear()
            self.opened = {}
            self.heard()
            return
        if asks_something(self.said) and not self.bot.understood(self.talk, self.said, None) and self.from_documents():
            return  # who they are is asked again beneath the answer
        if _is_question(self.said):
            if not self.from_documents(related=True):
                self.parts.append(self.sayings.not_understood)
            return
        step = self.bot.sign_in.go_on(self.talk, self.said)
        if not step.heard and not self.from_documents():
            self.state["misses"] = int(self.state.get("misses", 0)) + 1
            if self.state["misses"] > MOST_MISSES and self.talk.people and not self.talk.handed_over:
                self.handing = "somebody could not sign in"
        self.stepped(step)

    def asks_as_guest(self) -> bool:
        """Whether somebody who is asked who they are wants something for which nobody has to know."""
        if not (asks_something(self.said) or self.said.endswith("?")):
            return False
        wants = self.bot.understood(self.talk, self.said, None)
        actions = [self.bot.abilities[one.ability].action for one, _ in wants]
        return bool(actions) and all(one.level == "guest" and one.effect == "reads" for one in actions)

    def stepped(self, step: Step) -> None:
        self.fixed.append(step.text)
        if step.person is not None:
            self.talk.person = step.person
            self.state.pop("signing", None)
            self.state.pop("sign_in", None)
            self.state["misses"] = 0
            self.opened = {}
            self.parts.append(step.text or self.sayings.signed_in)
        elif step.over:
            self.state.pop("signing", None)
            self.state.pop("sign_in", None)
            self.agenda.clear()
            self.opened = {}
            self.parts.append(step.text or self.sayings.no_more_tries)
            self.quick = self.buttons()
        else:
            self.opened = {"kind": "sign_in", "text": step.text, "quick": list(step.quick_replies)}

    # ---------------------------------------------------------------- a person

    def to_person(self, why: str) -> Reply:
        if not self.talk.people:
            self.handing = ""
            self.parts.append(self.sayings.no_person)
            self.quick = self.buttons()
            return self.ended()
        summary = self.summary()
        if self.opened.get("kind") == "confirm":
            self.withdrawn()  # the person may do it themselves; it is read back anew
        understood = not self.state.get("misses")
        self.state["misses"] = 0
        parts = [*(self.parts if understood else []), self.sayings.hand_over]
        return Reply(
            "\n\n".join(part for part in parts if part), (self.sayings.back,), tuple(self.rows), self.answer, why, summary,
            fixed=tuple(self.fixed + self.words_of_author()),
        )  # fmt: skip

    def summary(self) -> str:
        """For whoever takes over: who it is, what they want, what was done and what is open."""
        person: Person = self.talk.person
        lines = [f"Who: {person.id} ({person.level})" if person.id else "Who: a guest, who has not signed in"]
        for item in self.agenda:
            known = ", ".join(f"{name} {_words(value)}" for name, value in item["arguments"].items())
            lines.append(f"Wants: {_label(self.bot.abilities[item['ability']])}{f' ({known})' if known else ''}")
        lines += [f"Done: {one}" for one in self.state.get("done", [])]
        lines += [f"Not known whether it was done: {name}" for name, _ in self.state.get("unknown", [])]
        if self.opened:
            lines.append(f"Open: {self.opened['text']}")
        return "\n".join(lines)


# ---------------------------------------------------------------- words


class _Known(dict[str, str]):
    """Names that are not known leave nothing in a text."""

    def __missing__(self, name: str) -> str:
        return ""


def _is_question(text: str) -> bool:
    """Whether a text is a question, and not what somebody says of who they are: "Will Smith" begins as one."""
    asks = asks_something(text) and (text.endswith("?") or len(text.split()) > 4)
    return asks and not re.search(r"[@\d]", text)


def _label(ability: Ability) -> str:
    return ability.label or ability.action.description.rstrip(".") or ability.examples[0]


def _words(value: Any) -> str:
    """A value as it stands in a sentence."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return f"{value:f}"
        case Mapping():
            return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
        case list() | tuple():
            return ", ".join(map(_words, value))
    return str(value)


def _looked(ability: Ability, arguments: Mapping[str, Any], result: Any) -> Row:
    """What an action read, as a row that can be read again by its name."""
    values = dict(result) if isinstance(result, Mapping) else {"result": result}
    written = orjson.dumps(plain(arguments), option=orjson.OPT_SORT_KEYS).decode()
    label = " ".join(str(value) for value in arguments.values() if isinstance(value, str | int)) or _label(ability)
    return Row(f"{LOOKS}{ability.action.name}/{written}", {**arguments, **values}, label)


def _chosen(said: str, values: Sequence[Sequence[Any]]) -> list[Any]:
    """The value of which somebody said the name, or enough of it to tell it from the others; in a list, where there is one."""
    wanted = folded(said).strip(" .!")
    names = [(folded(str(label)), value) for label, value in values]
    exact = [value for name, value in names if name == wanted]
    if exact:
        return exact[:1]
    words = set(re.findall(r"[\w#.]+", wanted))
    fits = [(len(words & set(re.findall(r"[\w#.]+", name))), value) for name, value in names]
    best = max((count for count, _ in fits), default=0)
    ordinal = {"first": 0, "1": 0, "second": 1, "2": 1, "third": 2, "3": 2, "last": -1}
    leading = [value for count, value in fits if count == best]
    if best and len(leading) == 1:
        return leading
    places = [ordinal[word] for word in words if word in ordinal]
    return [values[places[0]][1]] if values and len(places) == 1 and places[0] < len(values) else []
