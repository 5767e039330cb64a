"""A page as data: what it shows, in which template, and its rows as a table. HTML, JSON and CSV are made of the same."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from typing import Any, Literal
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from penstock.assemble import House
from penstock.errors import NotAllowed, PenstockError
from penstock.language.names import name_of
from penstock.language.phrases import direction, phrase
from penstock.server.console.plots import plotted
from penstock.server.http import Request, Response, json_response
from penstock.types import Caller

__all__ = ["Action", "Page", "View", "allowed", "html", "language_of", "refused", "shown"]

Who = Literal["anyone", "reviewer", "admin"]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = (
    ("content-security-policy", POLICY),
    ("cache-control", "no-store"),
    ("referrer-policy", "same-origin"),  # without it browsers do not say that a form is sent from here
)
SPOKEN = ("en", "de", "es", "fr", "ar", "zh")  # languages that all of the console is in
GROUPS = {  # signs between the thousands, and before decimals, where they are not English ones
    "de": (".", ","), "es": (".", ","), "fr": ("\u202f", ","), "ar": (",", "."), "zh": (",", "."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows. data: everything, as JSON has it; rows: what of it is a table, as CSV has it."""

    template: str
    data: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] = ()
    title: str = ""  # in place of the page's own: the name of what is shown
    status: int = 200


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the console. who: may see it; menu: whether it stands in the menu; title: an English phrase."""

    path: str
    title: str
    show: Callable[[Request, House], Awaitable[View]]
    who: Who = "admin"
    menu: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """What a form does. do: returns where to go on, with what was done as `?told=`, or the page that shows it. most: bytes of a
    form with files, which are in the request's `files`."""

    path: str
    do: Callable[[Request, House, Mapping[str, str]], Awaitable[View | str]]
    who: Who = "admin"
    most: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody is in the console, and who they are, for the frame around every page."""

    page: Page | None
    menu: Sequence[Page]
    caller: Caller
    language: str
    form: str  # what forms send back, so that no other site can send them
    told: str = ""  # what was just done
    here: str = ""  # the address, without what was just done
    signed_in: bool = False  # by a session, which can be ended
    query: Mapping[str, str] = field(default_factory=dict)


def allowed(page: Page | Action, caller: Caller, house: House) -> bool:
    """Whether a page, or what a form does, is for the caller."""
    if page.who == "anyone" or caller.admin:
        return True
    return page.who == "reviewer" and house.settings.review.role in caller.roles


async def shown(page: Page, request: Request, house: House, place: Place) -> Response:
    """A page as the address asks for it: `?as=json`, `?as=csv`, or HTML."""
    if not allowed(page, request.caller, house):
        raise NotAllowed(f"'{request.caller.name}' may not see this page", hint="penstock keys create NAME --admin")
    view = await page.show(request, house)
    match request.query("as"):
        case "json":
            found = await asyncio.to_thread(json_response, dict(view.data))
            found.headers = HEADERS
            return found
        case "csv":
            name = page.path.removeprefix("/console/").split("/")[0] or "penstock"
            headers = (("content-disposition", f'attachment; filename="{name}.csv"'), *HEADERS)
            text = await asyncio.to_thread(_csv, view.rows)
            return Response(text.encode("utf-8-sig"), 200, "text/csv; charset=utf-8", headers)
    return await asyncio.to_thread(html, view, place)


def html(view: View, place: Place, *, status: int = 200) -> Response:
    """A view in the frame of the console. w: a word of the data, such as `not_found`, in the reader's language."""
    t = _speaking(place.language)
    title = view.title or (t(place.page.title) if place.page else "Penstock")
    frame = {
        "data": view.data, "place": place, "title": title, "t": t, "w": lambda code: t(str(code).replace("_", " ")),
        "language": place.language, "direction": direction(place.language), "has_rows": bool(view.rows),
        "spoken": [(code, name_of(code, code)) for code in SPOKEN],
    }  # fmt: skip
    text = _environment().get_template(view.template).render({**view.data, **frame})
    return Response(text.encode(), status, "text/html; charset=utf-8", HEADERS)


def refused(error: PenstockError, place: Place) -> Response:
    """An error as a page."""
    told = {"code": error.code, "message": error.message, "hint": error.hint, "status": error.status}
    return html(View("refused.html", told), place, status=error.status)


def language_of(request: Request, chosen: str) -> str:
    """The first language that was asked for and that the console speaks: by the address, the one chosen before, the browser."""
    accepted = [part.split(";")[0].strip() for part in request.headers.get("accept-language", "").split(",")]
    for tag in filter(None, (request.query("lang"), chosen, *accepted)):
        base = tag.lower().split("-")[0]
        if base in SPOKEN:
            return base
    return "en"


def _speaking(language: str) -> Callable[..., str]:
    def t(english: str, /, **values: object) -> str:
        return phrase(english, language, formality="formal", **values)

    return t


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table that a spreadsheet opens: a value that it would take for a formula is set apart with an apostrophe."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows([[_cell(row.get(name)) for name in names] for row in rows])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


# ---------------------------------------------------------------- in templates


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("penstock.server.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {
        "number": _number, "usd": _usd, "ms": _ms, "when": _when, "percent": _percent, "nice": _nice,
        "amount": _amount, "stamp": _stamp, "score": _score, "coded": _coded,
    }  # fmt: skip
    made.globals |= {"link": _link, "asset": _asset, "plotted": plotted}
    return made


@cache
def _asset(name: str) -> str:
    """The address of one of our files, which changes when the file does."""
    from penstock.server.pages import FOLDER

    return f"/static/{name}?{blake2b((FOLDER / name).read_bytes(), digest_size=6).hexdigest()}"


def _link(path: str, /, **values: object) -> str:
    """A path with what is asked of it, leaving out what is empty."""
    kept = {name: value for name, value in values.items() if value not in ("", None)}
    return f"{path}?{urlencode(kept)}" if kept else path


@pass_context
def _number(context: Context, value: float, digits: int = 0) -> str:
    """A number as the reader's language writes it."""
    thousands, decimal = GROUPS.get(context["language"], (",", "."))
    return f"{value:,.{digits}f}".translate({ord(","): thousands, ord("."): decimal})


@pass_context
def _usd(context: Context, value: float) -> str:
    digits = 2 if value >= 1 or not value else 4 if value >= 0.01 else 6
    return f"{_number(context, value, digits)} USD"


@pass_context
def _ms(context: Context, value: float) -> str:
    return (
        f"{_number(context, value / 1e3, 1)} s"
        if value >= 10_000
        else f"{_number(context, value, 0 if value >= 10 else 1)} ms"
    )


@pass_context
def _percent(context: Context, value: float, digits: int = 1) -> str:
    return f"{_number(context, 100 * value, digits)} %"


@pass_context
def _amount(context: Context, value: float | None, unit: str) -> str:
    """A value in its unit: share, ms, usd, count."""
    if value is None:
        return "–"
    match unit:
        case "share":
            return _percent(context, value)
        case "ms":
            return _ms(context, value)
        case "usd":
            return _usd(context, value)
    return _number(context, value, 0 if value >= 100 else 1)


@pass_context
def _score(context: Context, value: float | None, about: Mapping[str, Any]) -> str:
    """A value of a score, as `About.plain` says it is read; without that, three digits."""
    if value is None:
        return "–"
    unit, size = about.get("unit", ""), abs(value)
    if unit in ("USD", "ms"):
        said = _amount(context, size, unit.lower())
    else:
        said = _number(context, size, 3 if about.get("high", 1) is not None else 0 if size >= 100 else 1)
    return said if value >= 0 else f"−{said}"


def _stamp(value: float) -> str:
    """A Unix time as filters of requests take it."""
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _when(value: str | float | None) -> Markup | str:
    """A time: in UTC as it is sent, in the reader's own zone where scripts run."""
    if not value:
        return "–"
    moment = datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value, UTC)
    moment = moment.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def _coded(text: str) -> Markup:
    """A text with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  it is escaped


def _nice(value: Any) -> str:
    """A value of a span or of the settings, short."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_nice(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_nice, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
