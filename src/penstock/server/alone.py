"""One app on a page of its own, made for phones first: for whoever may ask it on the chat page. Where an app is public by a widget,
whoever is nobody here is led to that."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from penstock.assemble import House
from penstock.config import WidgetSettings
from penstock.errors import BadRequest, NeedsKey
from penstock.language.phrases import spoken
from penstock.server import face, pages
from penstock.server.access import check_host, identify
from penstock.server.admin import questions_of
from penstock.server.face import Who
from penstock.server.http import Request, Response, Stream, json_response
from penstock.server.visits import VISIT_S

__all__ = ["PATH", "ask", "ask_person", "feedback", "page", "reply", "visit"]

PATH = "/app/{name}"


async def page(request: Request, house: House) -> Response:
    """The chat with one app alone, for phones first. The page holds nobody's data and needs no key."""
    name = request.path_values["name"]
    check_host(request.header(b"host").decode("latin-1"), house.settings)
    public = next((one for one, widget in house.settings.widgets.items() if widget.app == name), "")
    if public:
        try:
            identify(request, house.settings, house.keys, visiting=True)
        except NeedsKey:
            return Response(
                b"", 303, "text/plain", (("location", f"/widget/{quote(public)}"), ("cache-control", "no-store"))
            )
    return pages.file(request, "widget.html", ())


def _who(request: Request, house: House) -> Who:
    """Raises NotFound where the caller may not ask the app, or there is none."""
    name = request.path_values["name"]
    request.max_body_bytes = min(request.max_body_bytes, face.LARGEST_BODY)
    if name not in house.apps(request.caller):
        raise house.unknown(name, request.caller)
    return Who(name, request.caller)


async def visit(request: Request, house: House) -> Response:
    """What the page of an app says, in the language of `{"language": …}`. It looks as a widget of that app, if there is one."""
    who = _who(request, house)
    asked = (await request.json()).get("language")
    if not isinstance(asked, str | None):
        raise BadRequest("'language' must be a text")
    widget = next(
        (one for one in house.settings.widgets.values() if one.app == who.app),
        WidgetSettings(app=who.app, title=_title(who.app)),
    )
    if not widget.suggestions:
        widget = replace(widget, suggestions=_questions(house, who.app))
    language = spoken(widget.language or (asked or "")[:35])
    return json_response({"expires_in": VISIT_S, "origins": []} | face.told(house, widget, language))


def _title(name: str) -> str:
    """A name of the settings as people would write it: Retail bot, of retail_bot."""
    words = name.replace("_", " ").replace("-", " ").strip() or name
    return words[0].upper() + words[1:]


def _questions(house: House, name: str) -> tuple[str, ...]:
    if name in house.settings.apps:
        return house.settings.apps[name].questions
    return tuple(questions_of(house.library[name]))


async def ask(request: Request, house: House) -> Stream:
    """An answer of the app as the page shows it, as server-sent events: `{"question": …, "history": […], "conversation": …}`."""
    return await face.ask(request, house, _who(request, house))


async def feedback(request: Request, house: House) -> Response:
    """What you think of an answer that you got there: `{"request": ID, "thumb": …, "reasons": […], "csat": 1 to 5, "text": …}`."""
    return await face.feedback(request, house, _who(request, house))


async def ask_person(request: Request, house: House) -> Response:
    """Ask for a person about such an answer: `{"request": ID, "question": …, "history": […]}`. Asked again, it is the same one."""
    return await face.ask_person(request, house, _who(request, house))


async def reply(request: Request, house: House) -> Response:
    """How it stands with what you wait for there."""
    return await face.reply(request, house, _who(request, house))
