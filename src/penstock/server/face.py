"""What the page of one app is told, for visitors of a widget and for callers alike: answers as they may be shown outside, what
somebody thinks of one, and asking a person. Who asks, and how often they may, is found out before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from penstock.assemble import House
from penstock.config import AppSettings, WidgetSettings
from penstock.errors import BadRequest, NotFound, PenstockError, TooLarge
from penstock.guard.policy import OFF, Policy
from penstock.language.phrases import WIDGET as WORDS
from penstock.language.phrases import direction, phrase
from penstock.observe.journal import Row
from penstock.review.content import Content
from penstock.review.feedback import About, said
from penstock.review.replies import Approvals, HandOvers, Outcome
from penstock.server import openai
from penstock.server.http import Request, Response, Stream, event, json_response
from penstock.types import Answer, Caller, Citation, Event, Finished, ModelRequest, Record, Status, TextDelta
from penstock.writing import TOOL

if TYPE_CHECKING:  # whoever serves no documents does not load what reads them
    from penstock.documents.collection import Collection

__all__ = [
    "LARGEST_BODY",
    "LONGEST_ID",
    "Who",
    "ask",
    "ask_person",
    "asks",
    "feedback",
    "looks",
    "reply",
    "told",
]

LARGEST_BODY: Final = 128 << 10
MOST_BEFORE, LONGEST_BEFORE = 20, 8_000  # messages of a conversation, and characters of one
LONGEST_ID: Final = 256
MARKS: Final = ("not_found", "contradicted")
PAGES: Final = ("/widget/", "/app/")


@dataclass(frozen=True, slots=True)
class Who:
    """Who uses the page, and the app that it asks. hold: counts one of `opinions` or `hand_overs`, and raises Limited."""

    app: str
    caller: Caller
    person: str = ""  # a visitor's number; "" of a caller who is known
    why: str = ""  # what people who reply are told of the words that were said before
    hold: Callable[[str], None] = lambda _: None


def asks(request: Request) -> bool:
    """Whether it is a question: whoever leaves before it is answered ends it."""
    return request.method == "POST" and request.path.endswith("/ask") and request.path.startswith(PAGES)


def looks(widget: WidgetSettings, language: str) -> dict[str, str]:
    """Its heading, colours and corner."""
    title = widget.title or phrase("Questions? Ask here.", language)
    return {
        "title": title, "close": phrase("Close", language), "accent": widget.accent, "ink": _ink(widget.accent),
        "position": widget.position,
    }  # fmt: skip


def _ink(accent: str) -> str:
    """White where it can be read on the colour, else black, which then can: one of them has a contrast above 4.5."""
    parts = [int(accent[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return "#ffffff" if 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 4.5 else "#000000"


def told(house: House, widget: WidgetSettings, language: str) -> dict[str, Any]:
    """What the page says at the beginning, its words, and what can be done on it."""
    return {
        **looks(widget, language), "greeting": widget.greeting or phrase("Hello! How can we help?", language),
        "suggestions": widget.suggestions, "bot": bool(house.settings.apps.get(widget.app, AppSettings()).bot),
        "people": house.settings.review.people, "language": language, "direction": direction(language),
        "phrases": {one: phrase(one, language, formality="formal") for one in WORDS},
    }  # fmt: skip


async def ask(request: Request, house: House, who: Who) -> Stream:
    """An answer as server-sent events: `{"question": …, "history": […], "conversation": …, "message": …}`."""
    body = await request.json()
    messages = [*_before(body), {"role": "user", "content": _question(body)}]
    said = {"model": who.app, "messages": messages, "stream": True}
    said |= {name: body[name] for name in ("conversation", "message") if name in body}
    asked = ModelRequest(
        dialect="chat", model=who.app, body=said, stream=True, caller=who.caller,
        record=Record(request.name, who.person, id=request.name),
    )  # fmt: skip
    try:
        source, events, _ = openai.answering(house, asked, asked.body)
        app = house.dealt(asked)
    except PenstockError as error:
        raise _Outside(error) from error
    collection = house.library[source] if source else None  # a bot may have none
    return Stream(_told(events, _Sources(house, collection, _policy(house, app))))


def _policy(house: House, app: str) -> Policy | None:
    """That an app's answers leave under; None where it has none."""
    name = house.settings.apps.get(app, AppSettings()).guard
    return None if name == OFF else house.policies[name]


class _Outside(PenstockError):
    """An error by its kind alone: its words may name models, budgets and addresses."""

    def __init__(self, error: PenstockError) -> None:
        super().__init__("the question was not answered", retry_after_s=error.retry_after_s)
        self.status, self.code = error.status, error.code


def _question(body: dict[str, Any]) -> str:
    question = body.get("question")
    if not isinstance(question, str) or not question.strip():
        raise BadRequest("'question' must be a text")
    return question


def _before(body: dict[str, Any]) -> list[dict[str, str]]:
    """What was said before, by the visitor and to them: nobody speaks for the system."""
    history = body.get("history") or []
    if not isinstance(history, list) or len(history) > MOST_BEFORE:
        raise BadRequest(f"'history' must be a list of at most {MOST_BEFORE} messages")
    for row in history:
        if (
            not isinstance(row, dict)
            or row.get("role") not in ("user", "assistant")
            or type(row.get("content")) is not str
        ):
            raise BadRequest("each of 'history' must have a 'role', user or assistant, and a 'content'")
        if len(row["content"]) > LONGEST_BEFORE:
            raise TooLarge(f"a message of 'history' has more than {LONGEST_BEFORE} characters")
    return [{"role": row["role"], "content": row["content"]} for row in history]


# ---------------------------------------------------------------- an answer as visitors get it


async def _told(events: AsyncGenerator[Event, None], sources: _Sources) -> AsyncIterator[bytes]:
    """Pieces of text as they come, then the whole with its sources. The last piece is only told as a part of the whole."""
    told: list[TextDelta] = []
    try:
        async with aclosing(events):
            async for item in events:
                match item:
                    case TextDelta():
                        if told and told[-1].text:
                            yield event({"text": told[-1].text})
                        told.append(item)
                    case Finished(found):
                        yield event({"answer": await asyncio.to_thread(_shown, found, told, sources)})
    except PenstockError as error:
        raise _Outside(error) from error


def _shown(found: Answer, told: Sequence[TextDelta], sources: _Sources) -> dict[str, Any]:
    """An answer without what is nobody's business outside: models, scores, versions, passages that were withheld or that the
    text does not cite."""
    if found.status is Status.NOT_FOUND:
        pieces: list[dict[str, Any]] = [{"text": phrase("Nothing was found about this.", found.language)}]
    elif found.status in (Status.REFUSED, Status.HANDED_OVER):
        pieces = [{"text": found.text}]
    else:
        pieces = _written(found) if found.written_by else _quoted(found, told)
    in_text = {piece["source"] for piece in pieces if "source" in piece}
    is_bot = bool(found.conversation)  # whose citations are chosen for the reply, and need no number in it
    cited = [(n, one) for n, one in enumerate(found.citations, 1) if is_bot or n in in_text]
    nearest = list(enumerate(found.nearest, 1)) if found.status is Status.NOT_FOUND else []
    return {
        "status": found.status.value, "pieces": pieces, "question": found.question, "language": found.language,
        "direction": direction(found.language), "sources": sources.plain(cited, text=found.text),
        "nearest": sources.plain(nearest), "waiting": found.waiting, "conversation": found.conversation,
        "quick_replies": found.quick_replies, "over": found.over,
    }  # fmt: skip


def _quoted(found: Answer, told: Sequence[TextDelta]) -> list[dict[str, Any]]:
    """The text in pieces, each quote with the number of its source. That it is only related is said by a label."""
    pieces: list[dict[str, Any]] = [
        {"text": one.text} if one.citation is None else {"text": one.text, "source": one.citation + 1}
        for one in told
        if one.text
    ]
    opening = pieces[0] if pieces else {}
    only_says_so = found.status is Status.RELATED and "source" not in opening and "\n\n" not in opening.get("text", "")
    return pieces[1:] if only_says_so else pieces


def _written(found: Answer) -> list[dict[str, Any]]:
    """The text in pieces, cut at the numbers that the model wrote and around what is not in the sources."""
    text, claims = found.text, found.verdict.claims if found.verdict else ()
    cited = [(mark.start(), mark.end(), int(mark[1])) for mark in openai.MARK.finditer(text)]
    cited = [one for one in cited if 1 <= one[2] <= len(found.citations)]
    lined = [claim for claim in claims if claim.label in MARKS]
    cuts = {
        0,
        len(text),
        *(at for one in cited for at in one[:2]),
        *(at for one in lined for at in (one.start, one.end)),
    }
    inside = {cut for cut in cuts if any(start < cut < end for start, end, _ in cited)}
    places = sorted(cuts - inside)
    pieces: list[dict[str, Any]] = []
    for start, end in pairwise(places):
        number = next((n for a, _, n in cited if a == start), 0)
        label = next((claim.label for claim in lined if claim.start <= start and end <= claim.end), "")
        if number:
            pieces.append({"text": "", "source": number})
        else:
            pieces.append({"text": text[start:end], **({"mark": label} if label else {})})
    return pieces


@dataclass(frozen=True, slots=True)
class _Sources:
    """The passages of one collection, and rows of a business's own data, as far as a policy lets them out."""

    house: House
    collection: Collection | None
    policy: Policy | None

    def plain(self, cited: Sequence[tuple[int, Citation]], *, text: str = "") -> list[dict[str, Any]]:
        """As JSON, by their numbers. text: of the answer; a quote that stands in it was looked at as a part of it."""
        around = self.collection.around([one for _, one in cited]) if self.collection else [("", "")] * len(cited)
        return [
            self._one(n, one, *words, said=one.quote in text) for (n, one), words in zip(cited, around, strict=True)
        ]

    def _one(self, number: int, one: Citation, before: str, after: str, *, said: bool) -> dict[str, Any]:
        quote = one.quote
        if self.policy is not None:
            from penstock.guard.quoted import shown

            before, quote, after = shown(before, quote, after, guard=self.house.guard, policy=self.policy, said=said)
        return {
            "number": number, "title": one.title or PurePosixPath(one.source).name or one.source,
            "url": one.source if one.source.startswith(("https://", "http://")) else "",
            "section": [heading for place, heading in enumerate(one.section) if place or heading != one.title],
            "page": one.page, "date": one.date, "stale": one.stale, "before": before, "quote": quote, "after": after,
            "row": one.passage_id.startswith(TOOL),
        }  # fmt: skip


# ---------------------------------------------------------------- opinions and people


async def feedback(request: Request, house: House, who: Who) -> Response:
    """What somebody thinks of an answer of theirs: `{"request": ID, "thumb": …, "reasons": […], "csat": 1 to 5, "text": …}`."""
    body = await request.json()
    changes = said({name: body[name] for name in ("thumb", "reasons", "csat", "text") if name in body})

    def given() -> None:
        who.hold("opinions")
        row = _own(house, who, body.get("request"))
        about = About(row.id, row.key, row.person, row.app, row.model)
        house.review.feedback.give(about, who.person or who.caller.name, changes)

    await asyncio.to_thread(given)
    return json_response({"noted": True})


async def ask_person(request: Request, house: House, who: Who) -> Response:
    """Ask for a person about an answer: `{"request": ID, "question": …, "history": […]}`. Asked again, it is the same one.

    What was said before is the word of whoever asks. Of the request itself the journal's words are put beside it, where they are
    kept.
    """
    if not house.settings.review.people:
        raise NotFound("nobody replies here", hint="review.people = true")
    body = await request.json()
    question = _question(body)
    if len(question) > LONGEST_BEFORE:
        raise TooLarge(f"the question has more than {LONGEST_BEFORE} characters")
    content = Content.read({"question": question, "history": _before(body), "why": who.why})

    def proposed() -> Outcome:
        who.hold("hand_overs")
        row, hand_overs = _own(house, who, body.get("request")), house.review.hand_overs
        number = hand_overs.waiting_for(row.id)
        if not number:
            number = hand_overs.propose(
                replace(content, summary=_journalled(house, row.id)),
                caller=who.caller, person=who.person, app=who.app, request=row.id,
            )  # fmt: skip
        return hand_overs.outcome(number)

    return json_response(_reply(await asyncio.to_thread(proposed)), 202)


def _journalled(house: House, request: str) -> str:
    """What was asked and answered as the journal has it; "" where it keeps no words."""
    kept: Mapping[str, Any] = {}
    with suppress(PenstockError):
        kept = house.texts.read(house.review.requests.past.said(request))
    return f"In the journal: “{kept['question']}” – “{kept['answer']}”" if kept else ""


async def reply(request: Request, house: House, who: Who) -> Response:
    """How it stands with what somebody waits for."""
    number = request.path_values["reply"]

    def found() -> Outcome:
        rooms: tuple[HandOvers, Approvals] = house.review.hand_overs, house.review.approvals
        for room in rooms:
            if len(number) <= LONGEST_ID and room.is_of(number, key=who.caller.name, person=who.person):
                return room.outcome(number)
        raise NotFound("nothing of yours waits by this id")

    return json_response(_reply(await asyncio.to_thread(found)))


def _reply(found: Outcome) -> dict[str, Any]:
    """What whoever waits is told: neither who replied nor why nobody did."""
    return {"id": found.id, "state": found.state, "text": found.text}


def _own(house: House, who: Who, number: Any) -> Row:
    """The request of that id, where it is theirs. Raises BadRequest, or NotFound, for others' too."""
    if not isinstance(number, str) or not number:
        raise BadRequest("'request' must be the id of an answer")
    mine = (who.caller.name, who.person, number)

    def found() -> list[Row]:
        rows = house.review.requests.past.find(number) if len(number) <= LONGEST_ID else []
        return [row for row in rows if (row.key, row.person, row.id) == mine]

    own = found()
    if not own and house.gateway.journal.waiting():
        with suppress(PenstockError):  # while the database cannot be written, what it has can be read
            house.gateway.journal.drain()
        own = found()
    if not own:
        raise NotFound(
            "there is no such request of yours", hint="it is known about a second after the answer has ended"
        )
    return own[0]
