"""The chat on pages of other sites: what its button looks like, the page in its frame, and the little that its visitors may do.

A visitor has a token for one widget, and comes in by these routes alone: asks the widget's app, says what they think of an answer
of theirs, asks a person, and reads the reply. Documents are not read here: an answer brings the passages that it quotes.
"""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from string import Template
from typing import Final

from penstock.assemble import House
from penstock.config import WIDGET, WidgetSettings
from penstock.errors import BadRequest, Limited, NeedsKey, NotAllowed, NotFound
from penstock.language.phrases import spoken
from penstock.models.limits import Limit, Want
from penstock.review.content import TOLD_BY_VISITOR
from penstock.server import actions, face, pages
from penstock.server.access import check_host, check_site, identify, place_of
from penstock.server.face import Who
from penstock.server.http import Request, Response, Stream, json_response, matched
from penstock.server.visits import AGAIN_S, HEADER, VISIT_S, Visits
from penstock.storage.audit import acting
from penstock.types import Caller

__all__ = ["ROUTES", "answer"]

Route = Callable[[Request, House], Awaitable[Response | Stream]]

A_MINUTE: Final = {"visits": 60, "opinions": 30, "hand_overs": 5, "agreements": 30}  # of one visitor, besides questions
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
    request.max_body_bytes = min(request.max_body_bytes, face.LARGEST_BODY)
    for method, pattern, route in ROUTES:
        values = matched(pattern, request.path) if method == request.method else None
        if values is not None:
            request.path_values = values
            return await route(request, house)
    raise NotFound(f"there is no {request.method} {request.path}")


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
    looks = face.looks(widget, _language(widget, request.query("language")))
    headers = [("vary", "origin"), ("cache-control", f"public, max-age={LOOK_S}")]
    headers += [
        ("cross-origin-resource-policy", "cross-origin"),
        *([("access-control-allow-origin", origin)] if origin else []),
    ]
    body = f"export default {json.dumps(looks)}".encode()
    return Response(body, 200, "text/javascript; charset=utf-8", tuple(headers))


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
    begun_as = {"token": await asyncio.to_thread(begun), "expires_in": VISIT_S, "origins": widget.origins}
    return json_response(begun_as | face.told(house, widget, language))


def _visits(house: House) -> Visits:
    return Visits(lambda: house.envelope.secret("", "widgets"))


def _token(request: Request) -> str:
    return request.header(HEADER).decode("latin-1")


async def _visitor(request: Request, house: House) -> Who:
    """Who visits the widget; the widget becomes the caller. Raises NotAllowed and NeedsKey."""
    check_site(request, house.settings)
    name, widget = _widget(request, house)
    visitor = await asyncio.to_thread(_visits(house).visitor, _token(request), name)
    request.caller = Caller(f"{WIDGET}{name}", widget.roles, models=(widget.app,), tenant=widget.tenant)
    acting.set(request.caller.name)

    def hold(what: str) -> None:
        _count(house, name, what, visitor)

    return Who(widget.app, request.caller, visitor, TOLD_BY_VISITOR, hold)


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
    """An answer of the widget's app as server-sent events: `{"question": …, "history": […], "conversation": …}`."""
    return await face.ask(request, house, await _visitor(request, house))


async def feedback(request: Request, house: House) -> Response:
    """What a visitor thinks of an answer of theirs: `{"request": ID, "thumb": …, "reasons": […], "csat": 1 to 5, "text": …}`."""
    return await face.feedback(request, house, await _visitor(request, house))


async def ask_person(request: Request, house: House) -> Response:
    """Ask for a person about an answer: `{"request": ID, "question": …, "history": […]}`. Asked again, it is the same one."""
    return await face.ask_person(request, house, await _visitor(request, house))


async def reply(request: Request, house: House) -> Response:
    """How it stands with what a visitor waits for."""
    return await face.reply(request, house, await _visitor(request, house))


# ---------------------------------------------------------------- what a bot asks a visitor


async def requests(request: Request, house: House) -> Response | Stream:
    """What was asked for in a conversation of the visitor's with a bot, and how it stands."""
    return await _in_conversation(request, house, actions.requests)


async def read_back(request: Request, house: House) -> Response | Stream:
    """What the visitor is asked now, and the token with which they agree."""
    return await _in_conversation(request, house, actions.read_back)


async def confirm(request: Request, house: House) -> Response | Stream:
    """The visitor agrees: `{"token": …}`."""
    return await _in_conversation(request, house, actions.confirm)


async def withdraw(request: Request, house: House) -> Response | Stream:
    """Nothing is to come of it."""
    return await _in_conversation(request, house, actions.withdraw)


async def _in_conversation(request: Request, house: House, route: Route) -> Response | Stream:
    who = await _visitor(request, house)
    await asyncio.to_thread(who.hold, "agreements")
    actions.for_visitor(request, who.app, who.person)
    return await route(request, house)


ROUTES: list[tuple[str, str, Route]] = [
    ("GET", "/widget/{name}", frame),
    ("GET", "/widget/{name}/look.js", look),
    ("GET", "/widget/{name}/try", try_),
    ("POST", "/widget/{name}/visit", visit),
    ("POST", "/widget/{name}/ask", ask),
    ("POST", "/widget/{name}/feedback", feedback),
    ("POST", "/widget/{name}/people", ask_person),
    ("GET", "/widget/{name}/people/{reply}", reply),
    ("GET", "/widget/{name}/conversations/{conversation}/requests", requests),
    ("POST", "/widget/{name}/conversations/{conversation}/requests/{request}/read-back", read_back),
    ("POST", "/widget/{name}/conversations/{conversation}/requests/{request}/confirm", confirm),
    ("POST", "/widget/{name}/conversations/{conversation}/requests/{request}/withdraw", withdraw),
]
