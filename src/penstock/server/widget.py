"""The chat on pages of other sites: what its button looks like, the page in its frame, and the little that its visitors may do.

A visitor has a token for one widget, and comes in by these routes alone: asks the widget's app, says what they think of an answer
of theirs, asks a person, and reads the reply. Documents are not read here: an answer brings the passages that it quotes.
"""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath
from string import Template
from typing import TYPE_CHECKING, Any, Final

from penstock.assemble import House
from penstock.config import WIDGET, AppSettings, WidgetSettings
from penstock.errors import BadRequest, Limited, NeedsKey, NotAllowed, NotFound, PenstockError, TooLarge
from penstock.guard.policy import OFF, Policy
from penstock.language.phrases import WIDGET as WORDS
from penstock.language.phrases import direction, phrase, spoken
from penstock.models.limits import Limit, Want
from penstock.observe.journal import Row
from penstock.review.content import TOLD_BY_VISITOR, Content
from penstock.review.feedback import About, said
from penstock.review.replies import Approvals, HandOvers, Outcome
from penstock.server import openai, pages
from penstock.server.access import check_host, check_site, identify, place_of
from penstock.server.http import Request, Response, Stream, event, json_response, matched
from penstock.server.visits import AGAIN_S, HEADER, VISIT_S, Visits
from penstock.storage.audit import acting
from penstock.types import Answer, Caller, Citation, Event, Finished, ModelRequest, Record, Status, TextDelta

if TYPE_CHECKING:  # whoever serves no documents does not load what reads them
    from penstock.documents.collection import Collection

__all__ = ["ROUTES", "answer", "asks"]

Route = Callable[[Request, House], Awaitable[Response | Stream]]

LARGEST_BODY: Final = 128 << 10
MOST_BEFORE, LONGEST_BEFORE = 20, 8_000  # messages of a conversation, and characters of one
LONGEST_ID: Final = 256
MARKS: Final = ("not_found", "contradicted")
A_MINUTE: Final = {"visits": 60, "opinions": 30, "hand_overs": 5}  # of one visitor, besides questions
ALL_A_MINUTE: Final = {"opinions": 600, "hand_overs": 60}  # of a widget's visitors together
OF_FRAME: Final = (  # sites that are isolated from others show no frame without these
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "cross-origin"),
)
LOOK_S: Final = 300  # how long browsers may keep how a button looks
TRY: Final = pages.FOLDER / "widget-try.html"


async def answer(request: Request, house: House) -> Response | Stream:
    """What a widget is asked for."""
    check_host(request.header(b"host").decode("latin-1"), house.settings)
    request.max_body_bytes = min(request.max_body_bytes, LARGEST_BODY)
    for method, pattern, route in ROUTES:
        values = matched(pattern, request.path) if method == request.method else None
        if values is not None:
            request.path_values = values
            return await route(request, house)
    raise NotFound(f"there is no {request.method} {request.path}")


def asks(request: Request) -> bool:
    """Whether it is a question: whoever leaves before it is answered ends it."""
    return request.method == "POST" and request.path.startswith("/widget/") and request.path.endswith("/ask")


def _widget(request: Request, house: House) -> tuple[str, WidgetSettings]:
    name = request.path_values["name"]
    found = house.settings.widgets.get(name)
    if found is None:
        raise NotFound("there is no such widget")
    return name, found


# ---------------------------------------------------------------- what sites show


async def look(request: Request, house: House) -> Response:
    """How the button looks, as a JavaScript module, for the sites that may show the widget: `?language=` of their page."""
    name, widget = _widget(request, house)
    origin = request.header(b"origin").decode("latin-1")
    if origin and origin not in widget.origins and place_of(origin) != request.header(b"host").decode("latin-1"):
        raise NotAllowed(f"{origin} may not show the widget '{name}'", hint=f"widgets.{name}.origins lists who may")
    looks = _looks(widget, _language(widget, request.query("language")))
    headers = [("vary", "origin"), ("cache-control", f"public, max-age={LOOK_S}")]
    headers += [
        ("cross-origin-resource-policy", "cross-origin"),
        *([("access-control-allow-origin", origin)] if origin else []),
    ]
    body = f"export default {json.dumps(looks)}".encode()
    return Response(body, 200, "text/javascript; charset=utf-8", tuple(headers))


def _looks(widget: WidgetSettings, language: str) -> dict[str, str]:
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


def _language(widget: WidgetSettings, asked: str) -> str:
    return spoken(widget.language or asked[:35])


async def frame(request: Request, house: House) -> Response:
    """The page in the frame. The sites of the settings may show it, and nobody else."""
    _, widget = _widget(request, house)
    if request.header(b"sec-fetch-dest") not in (b"", b"iframe", b"document"):
        raise NotAllowed("this is a page for a frame")
    return pages.file(request, "widget.html", ("'self'", *widget.origins), OF_FRAME)


async def try_(request: Request, house: House) -> Response:
    """A page with the widget on it, and the lines that put it on another. For admins."""
    try:
        request.caller = identify(request, house.settings, house.keys, visiting=True)
    except NeedsKey:
        return Response(b"", 303, "text/plain", (("location", "/console/sign-in"), ("cache-control", "no-store")))
    if not request.caller.admin:
        raise NotAllowed(f"the key '{request.caller.name}' may not see this", hint="an admin's may")
    name, widget = _widget(request, house)
    scheme = request.headers.get("x-forwarded-proto", request.scope.get("scheme", "http"))
    values = {
        "name": name,
        "address": f"{scheme}://{request.headers.get('host', 'localhost')}",
        "origins": ", ".join(widget.origins) or f"nobody yet: list them in widgets.{name}.origins",
    }
    text = Template(TRY.read_text("utf-8")).substitute({key: html.escape(value) for key, value in values.items()})
    allowed = f"{pages.policy()}; frame-src 'self'"
    headers = (("content-security-policy", allowed), ("cache-control", "no-store"))
    return Response(text.encode(), 200, "text/html; charset=utf-8", headers)


# ---------------------------------------------------------------- visitors


async def visit(request: Request, house: House) -> Response:
    """Begin a visit, or go on with one: a token for the widget, and what its page says. `{"language": …}` of the site's page."""
    check_site(request, house.settings)
    name, widget = _widget(request, house)
    body, token, visits = await request.json(), _token(request), _visits(house)
    asked = body.get("language")
    if not isinstance(asked, str | None):
        raise BadRequest("'language' must be a text")

    def begun() -> str:
        visitor = ""
        with suppress(NeedsKey):
            visitor = visits.visitor(token, name, late_s=AGAIN_S)
        if visitor:  # whoever is there already goes on, however many others come
            _count(house, name, "visits", visitor)
        else:
            _hold(house, {f"widget/{name}/visits_per_minute": widget.visits_per_minute})
        return visits.begin(name, visitor)

    language = _language(widget, asked or "")
    told = {
        "token": await asyncio.to_thread(begun), "expires_in": VISIT_S, **_looks(widget, language),
        "greeting": widget.greeting or phrase("Hello! How can we help?", language), "suggestions": widget.suggestions,
        "origins": widget.origins, "people": house.settings.review.people, "language": language,
        "direction": direction(language), "phrases": {one: phrase(one, language, formality="formal") for one in WORDS},
    }  # fmt: skip
    return json_response(told)


def _visits(house: House) -> Visits:
    return Visits(lambda: house.envelope.secret("", "widgets"))


def _token(request: Request) -> str:
    return request.header(HEADER).decode("latin-1")


async def _visitor(request: Request, house: House) -> tuple[WidgetSettings, str]:
    """The widget and who visits it, who becomes the caller. Raises NotAllowed and NeedsKey."""
    check_site(request, house.settings)
    name, widget = _widget(request, house)
    visitor = await asyncio.to_thread(_visits(house).visitor, _token(request), name)
    request.caller = Caller(f"{WIDGET}{name}", widget.roles, models=(widget.app,), tenant=widget.tenant)
    acting.set(request.caller.name)
    return widget, visitor


def _count(house: House, name: str, what: str, visitor: str) -> None:
    """One more of what a visitor may do so many times a minute, and all visitors together. Raises Limited."""
    _hold(
        house,
        {
            f"widget/{name}/{visitor}/{what}_per_minute": A_MINUTE[what],
            f"widget/{name}/{what}_per_minute": ALL_A_MINUTE.get(what, 0),
        },
    )


def _hold(house: House, limits: Mapping[str, int]) -> None:
    wants = [Want(Limit(name, "requests", "minute", most), 1) for name, most in limits.items() if most]
    try:
        house.gateway.counters.hold(wants)
    except Limited as error:  # what the limits are called is nobody's business outside
        wait_s = error.retry_after_s
        hint = f"try again in {wait_s:.0f} s" if wait_s >= 1 else "try again in a second"
        raise Limited("too many requests in a short time", hint=hint, retry_after_s=wait_s) from error


async def ask(request: Request, house: House) -> Stream:
    """An answer of the widget's app as server-sent events: `{"question": …, "history": […]}`."""
    widget, visitor = await _visitor(request, house)
    body = await request.json()
    messages = [*_before(body), {"role": "user", "content": _question(body)}]
    more: dict[str, Any] = {name: body[name] for name in ("conversation", "message") if name in body}
    asked = ModelRequest(
        dialect="chat", model=widget.app, body={"model": widget.app, "messages": messages, "stream": True, **more}, stream=True,
        caller=request.caller, record=Record(request.name, visitor, id=request.name),
    )  # fmt: skip
    try:
        source, events, _ = openai.answering(house, asked, asked.body)
        app = house.dealt(asked)
    except PenstockError as error:
        raise _Outside(error) from error
    collection = house.library[source] if source else None
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
    cited = [(n, one) for n, one in enumerate(found.citations, 1) if n in in_text]
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
    """The passages of one collection, as far as a policy lets them out. collection: None for a bot that has none."""

    house: House
    collection: Collection | None
    policy: Policy | None

    def plain(self, cited: Sequence[tuple[int, Citation]], *, text: str = "") -> list[dict[str, Any]]:
        """As JSON, by their numbers. text: of the answer; a quote that stands in it was looked at as a part of it."""
        if self.collection is None:
            return []
        around = self.collection.around([one for _, one in cited])
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
        }  # fmt: skip


# ---------------------------------------------------------------- opinions and people


async def feedback(request: Request, house: House) -> Response:
    """What a visitor thinks of an answer of theirs: `{"request": ID, "thumb": …, "reasons": […], "csat": 1 to 5}`."""
    name, (_, visitor) = request.path_values["name"], await _visitor(request, house)
    body = await request.json()
    changes = said({name: body[name] for name in ("thumb", "reasons", "csat") if name in body})

    def given() -> None:
        _count(house, name, "opinions", visitor)
        row = _own(house, request.caller, visitor, body.get("request"))
        house.review.feedback.give(About(row.id, row.key, row.person, row.app, row.model), visitor, changes)

    await asyncio.to_thread(given)
    return json_response({"noted": True})


async def ask_person(request: Request, house: House) -> Response:
    """Ask for a person about an answer: `{"request": ID, "question": …, "history": […]}`. Asked again, it is the same one.

    What was said before is the visitor's word, and called that. Of the request itself the journal's words are put beside it,
    where they are kept.
    """
    name, (widget, visitor) = request.path_values["name"], await _visitor(request, house)
    if not house.settings.review.people:
        raise NotFound("nobody replies here", hint="review.people = true")
    body = await request.json()
    question = _question(body)
    if len(question) > LONGEST_BEFORE:
        raise TooLarge(f"the question has more than {LONGEST_BEFORE} characters")
    content = Content.read({"question": question, "history": _before(body), "why": TOLD_BY_VISITOR})

    def proposed() -> Outcome:
        _count(house, name, "hand_overs", visitor)
        row, hand_overs = _own(house, request.caller, visitor, body.get("request")), house.review.hand_overs
        number = hand_overs.waiting_for(row.id)
        if not number:
            number = hand_overs.propose(
                replace(content, summary=_journalled(house, row.id)),
                caller=request.caller, person=visitor, app=widget.app, request=row.id,
            )  # fmt: skip
        return hand_overs.outcome(number)

    return json_response(_reply(await asyncio.to_thread(proposed)), 202)


def _journalled(house: House, request: str) -> str:
    """What was asked and answered as the journal has it; "" where it keeps no words."""
    kept: Mapping[str, Any] = {}
    with suppress(PenstockError):
        kept = house.texts.read(house.review.requests.past.said(request))
    return f"In the journal: “{kept['question']}” – “{kept['answer']}”" if kept else ""


async def reply(request: Request, house: House) -> Response:
    """How it stands with what a visitor waits for."""
    _, visitor = await _visitor(request, house)
    number = request.path_values["reply"]

    def found() -> Outcome:
        rooms: tuple[HandOvers, Approvals] = house.review.hand_overs, house.review.approvals
        for room in rooms:
            if len(number) <= LONGEST_ID and room.is_of(number, key=request.caller.name, person=visitor):
                return room.outcome(number)
        raise NotFound("nothing of yours waits by this id")

    return json_response(_reply(await asyncio.to_thread(found)))


def _reply(found: Outcome) -> dict[str, Any]:
    """What a visitor is told: neither who replied nor why nobody did."""
    return {"id": found.id, "state": found.state, "text": found.text}


def _own(house: House, caller: Caller, visitor: str, number: Any) -> Row:
    """The request of that id, where it is the visitor's. Raises BadRequest, or NotFound, for others' too."""
    if not isinstance(number, str) or not number:
        raise BadRequest("'request' must be the id of an answer")
    mine = (caller.name, visitor, number)

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


ROUTES: list[tuple[str, str, Route]] = [
    ("GET", "/widget/{name}", frame),
    ("GET", "/widget/{name}/look.js", look),
    ("GET", "/widget/{name}/try", try_),
    ("POST", "/widget/{name}/visit", visit),
    ("POST", "/widget/{name}/ask", ask),
    ("POST", "/widget/{name}/feedback", feedback),
    ("POST", "/widget/{name}/people", ask_person),
    ("GET", "/widget/{name}/people/{reply}", reply),
]
