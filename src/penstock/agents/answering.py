"""A bot's reply from the door and back: one message of a conversation at a time, what it says checked before it leaves.

The bot runs in a thread. Before it is asked, rows that were spoken of are looked at again, and what has changed is told first.
What it says is held against the rows, the quotes and the read-backs that it rests on, as they are at that moment. A person who
took over is told what the customer writes, and the bot is silent.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from filelock import FileLock

from penstock.agents.actions import Person, plain
from penstock.agents.kept_talks import LONGEST_KEY, WAIT_S, Kept, KeptTalks, Said, Whose, busy, checked_conversation
from penstock.agents.numbers import Founded, stands
from penstock.agents.talks import REQUESTS, Bot, Reply, Row, Talk, row_of
from penstock.agents.words import is_back
from penstock.answer import LONGEST_QUESTION, whole
from penstock.config import iso
from penstock.errors import BadRequest, Blocked, Conflict, Limited, NotFound, NotReady, PenstockError
from penstock.language.voice import STOPPED, Voice
from penstock.trace import log, place, span
from penstock.types import Answer, Answerer, Boundary, Citation, Event, Finished, Message, Status, TextDelta, Turn
from penstock.verify.rows import as_text
from penstock.writing import TOOL

if TYPE_CHECKING:
    from penstock.agents.requests import ActionRequests

__all__ = ["Answering", "Outcome", "People", "across"]

LOOK_EVERY_S: Final = 0.02
MOST_WAITING: Final = 8  # messages of one conversation that wait in one process
MOST_HANDED_OVER: Final = 10  # times that people are asked for in one conversation
MOST_ROWS: Final = 12  # that are looked at again with each message
ROW: Final = 0.9  # confidence in what a row says

PASSED_ON = "Your message was passed on to a person, who will reply."
BACK = "Back to the assistant"
A_PERSON = "A person, please"
NOBODY_REPLIED = "Nobody could reply in time, so I am here again."
PERSON_ENDED = "The person has ended this, so I am here again."
NOBODY_THERE = "I cannot reach a person now."
HELD_BACK = "I am not sure of a figure in my answer, so I do not give it."
ASK_PERSON = "Shall I hand this over to a person?"
NOW_IS = "As of {time}: {label}: {field} is now {now}; it was {before}."
NOW_GONE = "As of {time}: {label} is not there any more."
FAILED = "Something went wrong with this message. Please try again."


class Outcome(Protocol):
    """How it stands with a question that people have: `state` is pending, replied, closed or expired."""

    @property
    def state(self) -> str: ...

    @property
    def text(self) -> str: ...


class People(Protocol):
    """The people who take over."""

    def take_over(self, turn: Turn, said: Sequence[Message], why: str, summary: str) -> str:
        """Put a conversation before them. Returns the id by which it waits. Raises PenstockError where nobody could look."""
        ...

    def tell(self, number: str, said: str) -> None:
        """What the customer says while they wait. Raises Conflict where it is over."""
        ...

    def outcome(self, number: str) -> Outcome:
        """Raises NotFound."""
        ...

    def give_back(self, number: str) -> None:
        """The customer does not wait any more."""
        ...


@dataclass
class Answering:
    """An app whose answers are a bot's. Satisfies `Answerer`.

    threads: where bots run; they may wait there for documents, whose answers need other threads. documents: what answers
    questions beside the bot. people: None where nobody takes over.
    """

    app: str
    bot: Bot
    requests: ActionRequests
    talks: KeptTalks
    threads: Executor
    voice: Voice = field(default_factory=Voice)
    guard: Callable[[Turn], Boundary] | None = None
    documents: Answerer | None = None
    people: People | None = None

    async def stream(self, turn: Turn) -> AsyncIterator[Event]:
        """Raises BadRequest, TooLarge, NotFound for somebody else's conversation, Conflict and Limited where too much is said at
        once in one."""
        check_message(turn)
        if not turn.conversation:
            turn = replace(turn, conversation=secrets.token_hex(16))
        if self.guard is not None:
            turn = replace(turn, boundary=self.guard(turn))
            try:
                await asyncio.to_thread(turn.boundary.enter, turn.question, "prompt")  # type: ignore[union-attr]
            except Blocked as error:
                answer = _stopped(error, turn, self.voice)
                yield TextDelta(answer.text)
                yield Finished(answer)
                return
        loop = asyncio.get_running_loop()
        lock = await self._taken(checked_conversation(turn.conversation))
        try:
            with span("bot"):
                context = contextvars.copy_context()
                work = loop.run_in_executor(self.threads, context.run, self._answered, turn, loop, lock)
        except BaseException:
            lock.release()
            raise
        answer = await asyncio.shield(work)  # whoever leaves finds the reply when they come back
        for piece in _pieces(answer):
            yield piece
        yield Finished(answer)

    async def _taken(self, number: str) -> FileLock:
        """The conversation, for this message. Whoever waits holds no thread."""
        waiting = self.talks.waiting
        if waiting[number] >= MOST_WAITING:
            raise Limited(
                "too many messages of this conversation wait already", hint="wait for a reply", retry_after_s=1.0
            )
        until = time.monotonic() + WAIT_S
        waiting[number] += 1
        try:
            while (lock := self.talks.taken(number)) is None:
                if time.monotonic() > until:
                    raise busy()
                await asyncio.sleep(LOOK_EVERY_S)
            return lock
        finally:
            waiting[number] -= 1
            if not waiting[number]:
                del waiting[number]

    # ---------------------------------------------------------------- in a thread

    def _answered(self, turn: Turn, loop: asyncio.AbstractEventLoop, lock: FileLock) -> Answer:
        try:
            kept = self.talks.find(Whose.of(turn.caller, _visitor(turn)), self.app, turn.conversation)
            key = f"={turn.message}" if turn.message else ""
            if known := self.talks.said(kept, key) if key else None:
                if known.text != turn.question:
                    raise Conflict("another message was sent with this key", hint="take a new key for each message")
                return _read(known.reply)
            self.talks.check_room(kept)  # before anything is done of which nothing could be written
            if not kept.turns:
                kept.person = Person(tenant=turn.caller.tenant)
            messages = self.talks.messages(kept)
            kept.language = turn.language or self.voice.language_of(turn.question, messages)
            answer = self._replied(turn, kept, key, messages, loop)
            self.talks.keep(kept, Said(turn.question, _plain(answer), key))
            return answer
        finally:
            lock.release()

    def _replied(
        self, turn: Turn, kept: Kept, key: str, messages: list[Message], loop: asyncio.AbstractEventLoop
    ) -> Answer:  # fmt: skip
        opening = ""
        if kept.waiting:
            opening, answer = self._with_person(turn, kept, messages)
            if answer is not None:
                return answer
        talk = self._talk(turn, kept, key, messages, loop)
        notices = self._changes(talk, kept)
        reply = self._checked(turn, talk, kept)
        kept.state, kept.person = talk.state, talk.person
        text = "\n\n".join(filter(None, [opening, *notices, reply.text]))
        return self._finished(turn, kept, replace(reply, text=text), messages)

    def _talk(self, turn: Turn, kept: Kept, key: str, messages: list[Message], loop: asyncio.AbstractEventLoop) -> Talk:
        named = hashlib.sha256(f"{kept.id}/{key or f'{kept.turns}/{turn.question}'}".encode()).hexdigest()[:32]
        return Talk(
            kept.id, self.app, self.requests, kept.person, turn.caller, kept.language, kept.state, messages,
            self._asking(turn, kept.language, messages, loop), named, _visitor(turn), self.people is not None, kept.handed_over,
            across(loop), turn.record,
        )  # fmt: skip

    def _asking(
        self, turn: Turn, language: str, messages: Sequence[Message], loop: asyncio.AbstractEventLoop
    ) -> Callable[[str], Answer] | None:
        """What the documents say, asked from a thread of a bot."""
        documents = self.documents
        if documents is None:
            return None

        answers: dict[str, Answer] = {}  # a bot may look whether they know before it decides

        def ask(question: str) -> Answer:
            if question in answers:
                return answers[question]
            asked = Turn(question, turn.caller, tuple(messages[-8:]), turn.where, language=language, record=turn.record)
            found: Answer = across(loop)(whole(documents.stream(asked)))
            answers[question] = found
            return found

        return ask

    # ---------------------------------------------------------------- what is said is so

    def _checked(self, turn: Turn, talk: Talk, kept: Kept) -> Reply:
        """What the bot says, if each number in it is founded in what it rests on as that is now. Where a row has changed meanwhile
        it is asked once more. What cannot be said is not said, and the conversation is as it was before."""
        before, person = copy.deepcopy(talk.state), talk.person
        done = self._done(talk) if kept.rows else set()
        for last in (False, True):
            reply = self._asked(talk, turn.question)
            rows, same = self._looked_again(talk, reply.rows)
            missing = self._missing(turn, talk, reply, rows)
            if same and not missing:
                self._remember(talk, kept, replace(reply, rows=rows), done)
                return replace(reply, rows=rows)
            if same or last:
                log("a reply was held back", level="warning", app=self.app, numbers=len(missing), changed=not same)
                break
            talk.state, talk.person = copy.deepcopy(before), person
        talk.state, talk.person = before, person
        if turn.record is not None:
            turn.record.faults = (*turn.record.faults, "ungrounded")
        text = [self._say(HELD_BACK, talk), *([self._say(ASK_PERSON, talk)] if self.people else [])]
        return Reply(" ".join(text), (self._say(A_PERSON, talk),) if self.people else ())

    def _asked(self, talk: Talk, said: str) -> Reply:
        """The bot's reply. What it raises for a reason is told; what nobody expected is recorded, and its words stay inside."""
        before, person = copy.deepcopy(talk.state), talk.person
        try:
            return self.bot.reply(talk, said)
        except PenstockError:
            raise
        except Exception as error:
            log("a bot failed", level="error", app=self.app, error=type(error).__name__, at=place(error))
            talk.state, talk.person = before, person
            return Reply(self._say(FAILED, talk), (self._say(A_PERSON, talk),) if self.people else ())

    def _looked_again(self, talk: Talk, rows: Sequence[Row]) -> tuple[tuple[Row, ...], bool]:
        """Rows as they are now, and whether they are as they were read."""
        found, same = [], True
        for row in rows:
            now = self._look(talk, row.source)
            if now is None or plain(now.values) != plain(row.values):
                same = False
            if now is not None:
                found.append(replace(now, label=now.label or row.label, at=now.at or time.time()))
        return tuple(found), same

    def _look(self, talk: Talk, source: str) -> Row | None:
        if not source.startswith(REQUESTS):
            return self.bot.look_again(talk, source)
        try:
            return row_of(talk.requests.get(talk.person, talk.id, source.removeprefix(REQUESTS)))
        except NotFound:
            return None

    def _missing(self, turn: Turn, talk: Talk, reply: Reply, rows: Sequence[Row]) -> list[str]:
        """The numbers of a reply that stand nowhere."""
        answer = reply.answer
        quotes = (
            [f"{one.quote} {one.title} {one.date}" for one in (*answer.citations, *answer.nearest)] if answer else []
        )
        echoes = [turn.question, *(message.content for message in talk.messages if message.role == "user")]
        return Founded(rows, [*quotes, *reply.fixed], echoes).missing(reply.text)

    def _done(self, talk: Talk) -> set[str]:
        found = talk.requests.of(talk.person, talk.id)
        return {one.id for one in found if one.effect == "writes" and one.state == "done"}

    # ---------------------------------------------------------------- rows that were spoken of

    def _changes(self, talk: Talk, kept: Kept) -> list[str]:
        """What is to be told of rows that are others by now, and those as they are."""
        told: list[str] = []
        left: list[dict[str, Any]] = []
        now_at = time.time()
        clock = time.strftime("%H:%M UTC", time.gmtime(now_at))
        for row in kept.rows:
            now = self._look(talk, row["source"])
            if now is None:
                told.append(self._say(NOW_GONE, talk, time=clock, label=row["label"] or row["source"]))
                continue
            values = plain(now.values)
            for name in row["said"]:
                if values.get(name) != row["values"].get(name):
                    facts = {"now": _spoken(values.get(name)), "before": _spoken(row["values"].get(name))}
                    label = row["label"] or row["source"]
                    told.append(self._say(NOW_IS, talk, time=clock, label=label, field=name.replace("_", " "), **facts))
            left.append({**row, "values": values, "at": now_at})
        kept.rows = left
        return told

    def _remember(self, talk: Talk, kept: Kept, reply: Reply, done: set[str]) -> None:
        """Keep the rows of which something was said. What the conversation itself changed is no news."""
        rows = {row["source"]: row for row in kept.rows}
        if kept.rows and self._done(talk) - done:
            for source, row in list(rows.items()):
                now = self._look(talk, source)
                if now is None:
                    del rows[source]
                else:
                    rows[source] = {**row, "values": plain(now.values), "at": time.time()}
        for one in reply.rows:
            if one.source.startswith(REQUESTS):
                continue
            said = _said_of(one, reply.text)
            before = rows.pop(one.source, None)
            names = list(dict.fromkeys([*(before["said"] if before else ()), *said]))
            if names:
                rows[one.source] = {
                    "source": one.source, "label": one.label, "values": plain(one.values), "at": one.at, "said": names,
                }  # fmt: skip
        kept.rows = list(rows.values())[-MOST_ROWS:]

    # ---------------------------------------------------------------- people

    def _with_person(self, turn: Turn, kept: Kept, messages: list[Message]) -> tuple[str, Answer | None]:
        """While a person has it: the answer to a message that is passed on. What opens the bot's reply where it is the bot's
        turn again, because the customer said so, or the person is done."""
        number, people = kept.waiting, self.people
        state, text = "closed", ""
        if people is not None:
            try:
                found = people.outcome(number)
                state, text = found.state, found.text
                if state == "pending" and is_back(turn.question):
                    people.give_back(number)
                    kept.waiting = ""
                    return "", None
                if state == "pending":
                    people.tell(number, turn.question)
                    said = self._say(PASSED_ON, kept)
                    return "", self._answer(turn, kept, Reply(said, (self._say(BACK, kept),)), Status.HANDED_OVER)
            except NotFound:
                state = "closed"
            except Conflict:
                found = people.outcome(number)
                state, text = found.state, found.text
        kept.waiting = ""
        if state == "replied":
            self.talks.keep(kept, Said("", {"text": text}))
            messages.append(Message("assistant", text))
            return "", None
        return self._say(NOBODY_REPLIED if state == "expired" else PERSON_ENDED, kept), None

    def _finished(self, turn: Turn, kept: Kept, reply: Reply, messages: Sequence[Message]) -> Answer:
        """The answer, behind the policy, and before people where they are to take over."""
        if not reply.hand_over:
            return self._answer(turn, kept, reply, reply.answer.status if reply.answer else Status.ANSWER)
        if self.people is None or kept.handed_over >= MOST_HANDED_OVER:
            return self._answer(
                turn, kept, replace(reply, text=self._say(NOBODY_THERE, kept), quick_replies=()), Status.ANSWER
            )
        try:
            kept.waiting = self.people.take_over(
                replace(turn, language=kept.language), messages, reply.hand_over, reply.summary
            )
        except PenstockError as error:  # the queue is full, or the disk: nobody would look
            log("nobody can take over", level="error", app=self.app, error=error.code)
            return self._answer(
                turn, kept, replace(reply, text=self._say(NOBODY_THERE, kept), quick_replies=()), Status.ANSWER
            )
        kept.handed_over += 1
        quick = reply.quick_replies or (self._say(BACK, kept),)
        return self._answer(turn, kept, replace(reply, quick_replies=quick), Status.HANDED_OVER)

    def _answer(self, turn: Turn, kept: Kept, reply: Reply, status: Status) -> Answer:
        text, boundary = reply.text, turn.boundary
        if boundary is not None:
            text = boundary.leaving().gated(text, last=True)
        rows = [
            _cited(n, row, reply.text)
            for n, row in enumerate(r for r in reply.rows if not r.source.startswith(REQUESTS))
        ]
        rows = [one for one in rows if one.quote]
        told = reply.answer or Answer("", status, 1.0)
        by = len(rows)
        return replace(
            told, text=text, status=status, citations=(*rows, *told.citations),
            quoted=(*range(by), *(n + by for n in told.quoted)), conflicts=tuple((a + by, b + by) for a, b in told.conflicts),
            question=turn.question, language=kept.language, waiting=kept.waiting, conversation=kept.id,
            quick_replies=reply.quick_replies, over=reply.over,
        )  # fmt: skip

    def _say(self, english: str, talk: Talk | Kept, **values: object) -> str:
        return self.voice.say(english, talk.language, **values)


# ---------------------------------------------------------------- small things


def across(loop: asyncio.AbstractEventLoop) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """What a thread has done in a loop, and waits for. Raises NotReady where the loop ends meanwhile."""

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, loop)
        while True:
            try:
                return future.result(1.0)
            except NotYet:
                if future.done():  # it raised that itself
                    raise
                if not loop.is_running():
                    future.cancel()
                    raise NotReady("the server is stopping") from None

    return run


def check_message(turn: Turn) -> None:
    """Raises BadRequest for a message that is none."""
    if not turn.question.strip():
        raise BadRequest("the message is empty")
    if len(turn.question) > LONGEST_QUESTION:
        raise BadRequest(f"the message has {len(turn.question):,} characters, the limit is {LONGEST_QUESTION:,}")
    if len(turn.message) > LONGEST_KEY or (turn.message and not turn.message.isprintable()):
        raise BadRequest(f"the key of a message has at most {LONGEST_KEY} characters, all of which can be seen")


def _visitor(turn: Turn) -> str:
    """Who it is among those who come by one caller, where the caller is a widget: its visit. What others say is their word."""
    from penstock.config import WIDGET

    return turn.record.person if turn.record is not None and turn.caller.name.startswith(WIDGET) else ""


def _stopped(error: Blocked, turn: Turn, voice: Voice) -> Answer:
    language = turn.language or voice.language_of(turn.question)
    text = voice.say(error.said or STOPPED, language)
    return Answer(text, Status.REFUSED, 0.0, question=turn.question, language=language, conversation=turn.conversation)


def _said_of(row: Row, text: str) -> list[str]:
    """The names of the values of a row that stand in a text."""
    values = plain(row.values)
    return [name for name, value in values.items() if not isinstance(value, dict | list) and stands(value, text)]


def _cited(number: int, row: Row, text: str) -> Citation:
    """What was said of a row, as a citation. The rest of the row is nobody's business."""
    values = plain(row.values)
    quote = as_text({name: values[name] for name in _said_of(row, text)}).strip()
    return Citation(
        row.source, quote, 0, len(quote), f"{TOOL}{row.source}", f"{TOOL}{number}", title=row.label, date=iso(row.at) or "",
        confidence=ROW,
    )  # fmt: skip


def _spoken(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(_spoken, value))
    return str(value)


def _pieces(answer: Answer) -> list[TextDelta]:
    """The text in pieces, each quote of a document with its citation."""
    pieces: list[TextDelta] = []
    text, at = answer.text, 0
    if not answer.written_by:
        for n in answer.quoted:
            quote = answer.citations[n].quote
            start = -1 if answer.citations[n].passage_id.startswith(TOOL) or not quote else text.find(quote, at)
            if start >= 0:
                if start > at:
                    pieces.append(TextDelta(text[at:start]))
                pieces.append(TextDelta(quote, citation=n))
                at = start + len(quote)
    if at < len(text):
        pieces.append(TextDelta(text[at:]))
    return pieces


_KEPT: Final = (
    "text", "status", "confidence", "citations", "quoted", "question", "language", "written_by", "waiting", "conversation",
    "quick_replies", "over",
)  # fmt: skip


def _plain(answer: Answer) -> dict[str, Any]:
    """An answer as it is kept, for whoever sends the same message again."""
    values = asdict(replace(answer, verdict=None))
    return {name: values[name] for name in _KEPT}


def _read(values: Mapping[str, Any]) -> Answer:
    names = [one.name for one in fields(Citation)]
    rows: list[list[Any]] = [
        [tuple(one[name]) if isinstance(one[name], list) else one[name] for name in names]
        for one in values["citations"]
    ]
    citations = tuple(Citation(*row) for row in rows)
    return Answer(
        values["text"], Status(values["status"]), values["confidence"], citations, tuple(values["quoted"]),
        question=values["question"], language=values["language"], written_by=values["written_by"], waiting=values["waiting"],
        conversation=values["conversation"], quick_replies=tuple(values["quick_replies"]), over=values["over"],
    )  # fmt: skip
