"""The way into the console: which page, who is asking, signing in and out, and what forms send."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Final
from urllib.parse import parse_qs, quote, urlencode
from weakref import WeakKeyDictionary

from penstock.assemble import House
from penstock.errors import BadRequest, NeedsKey, NotAllowed, NotFound, PenstockError, TooLarge
from penstock.models import form as multipart
from penstock.server.access import identify
from penstock.server.console import (
    actions,
    apps,
    documents,
    evaluations,
    experiments,
    golden,
    guard,
    home,
    jobs,
    keys,
    models,
    policies,
    quality,
    requests,
    review,
    settings,
    support,
    vault,
)
from penstock.server.console.view import SPOKEN, Action, Page, Place, View, allowed, html, language_of, refused, shown
from penstock.server.http import Request, Response, matched
from penstock.server.sessions import Browser, Sessions
from penstock.trace import log
from penstock.trace import place as where
from penstock.types import Caller

__all__ = ["PAGES", "answer"]

Form = Mapping[str, str]

START: Final = "/console"
SIGN_IN, SIGN_OUT, LANGUAGE = f"{START}/sign-in", f"{START}/sign-out", f"{START}/language"
SESSION_S: Final = 12 * 3600.0
CHOICE_S: Final = 365 * 86_400.0  # how long a language that was chosen is remembered
LONGEST_FORM: Final = 1 << 20  # bytes, of those who are signed in
LONGEST_KEY: Final = 8 << 10
FAILURES_EVERY_S: Final = 60.0  # a sign-in that failed is recorded at most so often
PAGES: list[Page] = [
    page
    for part in (
        home,
        apps,
        actions,
        documents,
        golden,
        requests,
        quality,
        evaluations,
        support,
        review,
        experiments,
        guard,
        policies,
        vault,
        models,
        jobs,
        keys,
        settings,
    )
    for page in part.PAGES
]
ACTIONS: list[Action] = [
    action
    for part in (documents, golden, evaluations, support, review, guard, policies, vault, models, jobs, keys)
    for action in part.ACTIONS
]
TOLD = {  # what was done, by the code that an address carries
    "revoked": "The key was revoked.",
    "synced": "What had changed is published.",
    "unchanged": "Nothing had changed.",
    "worse": "The new version finds fewer golden questions than the live one, so it did not go live. It stands below.",
    "live": "The version is live.",
    "removed": "The document was removed.",
    "golden_added": "The question is added.",
    "golden_removed": "The question is removed.",
    "golden_asking": "The questions are being asked.",
    "golden_asked": "The questions were asked.",
    "judged": "The verdict is noted.",
    "skipped": "The item is left to others.",
    "undone": "The verdict was taken back.",
    "decided": "The decision is noted.",
    "answered": "The question is closed.",
    "cancelling": "The job ends once what is on its way is there.",
    "pulling": "The model is on its way.",
    "pulled": "The model is here and can be asked.",
    "here": "The model is here.",
    "stopping": "It stops, and can go on later.",
    "forgotten": "What was left of it is deleted.",
    "deleted": "The model is deleted.",
    "added": "The model is in the settings and can be asked.",
    "added_later": "The model is in the settings. It can be asked once the server is started anew: penstock up",
    "taken_out": "The model is taken out of the settings, with its key.",
    "taken_out_later": "The model is taken out of the settings. It is there until the server is started anew: penstock up",
    "begun": "The evaluation has begun.",
    "ending": "It ends in a moment; what is done stays.",
    "result-gone": "The result was removed.",
    "out": "You are signed out.",
    "policy": "The policy is saved, and in force.",
    "policy-gone": "The policy was removed.",
    "policy-undone": "The last change was taken back.",
}


_failures: WeakKeyDictionary[House, float] = WeakKeyDictionary()  # when a sign-in that failed was last recorded


async def answer(request: Request, house: House) -> Response:
    """A page of the console, or what a form of it asked for."""
    browser = Browser(request.scope, house.settings)
    form_cookie = browser.cookie("form") or secrets.token_urlsafe(16)
    language = language_of(request, browser.cookie("language"))
    place = Place(None, (), Caller(), language, _token(form_cookie), signed_in=bool(browser.cookie("session")))
    try:
        response = await _answered(request, house, browser, place)
    except PenstockError as error:
        response = refused(error, _placed(place, None, request, house))
    except Exception as error:  # here a request ends: what nobody expected is recorded, and its words stay inside
        log("console failed", level="error", path=request.path, error=type(error).__name__, at=where(error))
        told = PenstockError("something went wrong inside", hint="the server's log says what")
        response = refused(told, _placed(place, None, request, house))
    if not browser.cookie("form") and response.content_type.startswith("text/html"):
        response.headers = (*response.headers, ("set-cookie", browser.baked("form", form_cookie, for_s=SESSION_S)))
    return response


async def _answered(request: Request, house: House, browser: Browser, place: Place) -> Response:
    path = request.path.rstrip("/")
    if request.method == "POST" and path == SIGN_IN:
        return await _sign_in(request, house, browser, place)
    if request.method == "GET" and path == SIGN_IN:
        if once := request.query("once"):
            return await _once(once, house, browser)
        return html(_sign_in_view(request, house), place)
    try:
        request.caller = identify(request, house.settings, house.keys, visiting=True)
    except NeedsKey:
        if request.method != "GET" or request.query("as"):
            raise
        return _to(f"{SIGN_IN}?{urlencode({'back': _here(request)})}")
    if request.method == "POST":
        return await _act(path, request, house, browser, place)
    for page in PAGES:
        values = matched(page.path, path)
        if values is not None and request.method in ("GET", "HEAD"):
            request.path_values = values
            return await shown(page, request, house, _placed(place, page, request, house))
    raise NotFound(f"there is no page {request.path}", hint="the menu has all there are")


async def _act(path: str, request: Request, house: House, browser: Browser, place: Place) -> Response:
    """Do what a form asks for, and go back to a page, so that nothing is done again by loading it anew."""
    action, values = next(
        ((one, found) for one in ACTIONS if (found := matched(one.path, path)) is not None), (None, None)
    )
    if action and action.most > LONGEST_FORM and not allowed(action, request.caller, house):
        raise NotAllowed(f"'{request.caller.name}' may not do this", hint="penstock keys create NAME --admin")
    form = await _form(request, browser, place, most=max(LONGEST_FORM, action.most if action else 0))
    if path == SIGN_OUT:
        if secret := browser.cookie("session"):
            name = await asyncio.to_thread(Sessions(house).end, secret)
            if name:
                house.audit.record("login.ended", actor=name, target=name)
        return _to(f"{SIGN_IN}?told=out", ("set-cookie", browser.baked("session", "", for_s=0)))
    if path == LANGUAGE:
        chosen = form.get("language", "")
        if chosen not in SPOKEN:
            raise BadRequest("there is no such language", hint=", ".join(SPOKEN))
        return _to(_inside(form.get("back", "")), ("set-cookie", browser.baked("language", chosen, for_s=CHOICE_S)))
    if action is not None and values is not None:
        request.path_values = values
        if not allowed(action, request.caller, house):
            raise NotAllowed(f"'{request.caller.name}' may not do this", hint="penstock keys create NAME --admin")
        done = await action.do(request, house, form)
        if isinstance(done, View):
            page = next(page for page in PAGES if matched(page.path, path) is not None)
            return html(done, _placed(place, page, request, house), status=done.status)
        return _to(done)
    raise NotFound(f"there is nothing to do at {request.path}")


async def _form(request: Request, browser: Browser, place: Place, *, most: int = LONGEST_FORM) -> Form:
    """What a form of ours sent, with lines that end as ours do. Raises NotAllowed where it may be somebody else's."""
    if not browser.own:
        raise NotAllowed("forms are only taken from our own pages")
    request.max_body_bytes = most
    try:
        body = await request.body()
    except TooLarge as error:
        raise TooLarge("the form is too long") from error
    found: dict[str, str] = {}
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        for part in multipart.read(body, content_type):
            if part.filename is None:
                found[part.name] = part.data.decode("utf-8", "replace").replace("\r\n", "\n")
            elif part.filename and part.data:  # a field for files in which none was chosen has neither
                request.files[part.name] = (part.filename, part.data)
    else:
        for name, values in parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True).items():
            found[name] = values[-1].replace("\r\n", "\n")
    if not secrets.compare_digest(found.get("form", "").encode(), place.form.encode()) or not browser.cookie("form"):
        raise NotAllowed("this form is of an earlier visit", hint="go back, load the page anew, and send it again")
    return found


# ---------------------------------------------------------------- signing in


def _sign_in_view(request: Request, house: House, problem: PenstockError | None = None) -> View:
    back = _inside(request.query("back"))
    provider = f"/login?{urlencode({'back': back})}" if house.settings.login.issuer else ""
    told = {"problem": problem.message if problem else "", "back": back, "provider": provider}
    return View("sign-in.html", told | {"told": TOLD.get(request.query("told"), "")})


async def _sign_in(request: Request, house: House, browser: Browser, place: Place) -> Response:
    form = await _form(request, browser, place, most=LONGEST_KEY)
    try:
        started = Sessions(house).begin_with_key
        secret, caller = await asyncio.to_thread(lambda: started(form.get("key", ""), for_s=SESSION_S))
    except NeedsKey as error:
        if time.monotonic() - _failures.get(house, -FAILURES_EVERY_S) >= FAILURES_EVERY_S:  # nobody fills the trail
            _failures[house] = time.monotonic()
            house.audit.record("login.failed", actor="unknown", reason=error.code)
        return html(_sign_in_view(request, house, error), place, status=error.status)
    house.audit.record("login.succeeded", actor=caller.name, target=caller.name, admin=caller.admin)
    return _to(_inside(form.get("back", "")), ("set-cookie", browser.baked("session", secret, for_s=SESSION_S)))


async def _once(secret: str, house: House, browser: Browser) -> Response:
    new = await asyncio.to_thread(lambda: Sessions(house).redeem(secret, for_s=SESSION_S))
    house.audit.record("login.succeeded", actor="console", target="console", admin=True)
    return _to(START, ("set-cookie", browser.baked("session", new, for_s=SESSION_S)))


# ---------------------------------------------------------------- small things


def _placed(place: Place, page: Page | None, request: Request, house: House) -> Place:
    menu = [one for one in PAGES if one.menu and allowed(one, request.caller, house)]
    query = {name: values[-1] for name, values in parse_qs(request.scope["query_string"].decode("latin-1")).items()}
    told = TOLD.get(query.pop("told", ""), "")
    query.pop("as", None)
    here = f"{quote(request.path)}?{urlencode(query)}" if query else quote(request.path)
    return replace(place, page=page, menu=menu, caller=request.caller, told=told, here=here, query=query)


def _token(cookie: str) -> str:
    return blake2b(cookie.encode("utf-8", "replace"), key=b"penstock form", digest_size=16).hexdigest()


def _here(request: Request) -> str:
    query = request.scope["query_string"].decode("latin-1")
    return f"{quote(request.path)}?{query}" if query else quote(request.path)


def _inside(back: str) -> str:
    """A place of the console, or its start: nobody is sent to another site."""
    return (
        back
        if re.fullmatch(r"/console(/[\x21-\x5b\x5d-\x7e]{0,1000}|\?[\x21-\x5b\x5d-\x7e]{0,1000})?", back)
        else START
    )


def _to(where: str, *headers: tuple[str, str]) -> Response:
    return Response(b"", 303, "text/plain", (("location", where), ("cache-control", "no-store"), *headers))
