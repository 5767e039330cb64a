"""Feedback for whoever asks, and the reviewers' room over HTTP, as JSON.

Whoever asked may say what they think of an answer, and see what became of what waits for a person. Everything else is for
reviewers: those with the role of `review.role`, and admins. Who reviews is who calls; nobody can name another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast, get_args

from penstock.assemble import House
from penstock.config import moment
from penstock.errors import BadRequest, NotAllowed, NotFound, PenstockError
from penstock.keys import allowed
from penstock.observe.journal import Row
from penstock.review.agreement import by_pair, pi
from penstock.review.content import Content
from penstock.review.feedback import LONGEST_CORRECTION, LONGEST_TEXT, REASONS, About, said
from penstock.review.queue import Given, Item
from penstock.review.replies import Approvals, HandOvers, Outcome, Waiting
from penstock.review.requests import By
from penstock.review.store import Sees
from penstock.server.http import Request, Response, json_response

__all__ = [
    "act", "agreement", "approvals", "asked_for", "check_seen", "claim_reply", "decide", "draw", "end_hand_over", "estimate",
    "feedback", "give_feedback", "hand_over", "hand_overs", "item", "judge", "latest_feedback", "next_", "only_reviewers",
    "release", "reply", "sees_of", "skip", "status", "undo", "withdraw_feedback",
]  # fmt: skip

T = TypeVar("T")
LONGEST_ID = 256


def only_reviewers(request: Request, house: House) -> str:
    """The name of the reviewer. Raises NotAllowed."""
    role, caller = house.settings.review.role, request.caller
    if not caller.admin and role not in caller.roles:
        raise NotAllowed(
            f"the key '{caller.name}' is not a reviewer's", hint=f"penstock keys create NAME --role {role}"
        )
    return caller.name


def sees_of(request: Request) -> Sees | None:
    """What a reviewer may see: where their key is held to a tenant, or to some apps, only what is of those. None: all."""
    caller = request.caller
    if caller.admin or not (caller.tenant or caller.models):
        return None
    return lambda app, tenant: (not caller.tenant or tenant == caller.tenant) and allowed(app, caller)


def _seen(request: Request, house: House, number: str) -> Item:
    """An item that the reviewer may see. Raises NotFound."""
    found, sees = house.review.queue.item(number), sees_of(request)
    if sees is not None and not sees(found.entry.app, found.entry.tenant):
        raise NotFound(f"there is no item '{number[:LONGEST_ID]}'")
    return found


async def _thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


def _text(body: dict[str, Any], name: str, *, needed: bool = False) -> str:
    value = body.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value):
        raise BadRequest(f"'{name}' must be a text")
    return value


def _number(request: Request, name: str, default: int, most: int) -> int:
    said_ = request.query(name, str(default))
    if not said_.isascii() or not said_.isdigit() or not 1 <= int(said_[:7]) <= most:
        raise BadRequest(f"'{name}' must be a whole number from 1 to {most}")
    return int(said_[:7])


# ---------------------------------------------------------------- feedback


async def give_feedback(request: Request, house: House) -> Response:
    """Say what you think of an answer: `{"request": ID, "thumb": "up" or "down", "reasons": […], "csat": 1 to 5, …}`.

    ID is the answer's `x-request-id`. `text` and `correction` are kept where the app keeps words. What is left out stays as it is,
    and null takes it back, so it can be sent again and changed. `user` tells the people behind one key apart.
    """
    body = await request.json()
    number, user = _text(body, "request", needed=True), _text(body, "user")
    changes = said(body)

    def given() -> dict[str, Any]:
        row = _own(house, request, number)
        about = About(row.id, row.key, row.person, row.app, row.model)
        opinion = house.review.feedback.give(about, user or row.person or request.caller.name, changes)
        return opinion.plain() | {"kept_text": house.review.feedback.keeps(row.app)}

    return json_response(await _thread(given))


async def asked_for(request: Request, house: House) -> Response:
    """What an opinion can have: the reasons there are, and how long texts may be, for pages that ask for one; and whether there are
    `people` who can be asked."""
    limits = {"text": LONGEST_TEXT, "correction": LONGEST_CORRECTION}
    told = {"thumb": ["up", "down"], "reasons": REASONS, "csat": [1, 5], "longest": limits}
    return json_response(told | {"people": house.settings.review.people})


async def feedback(request: Request, house: House) -> Response:
    """What you said of a request: `?user=` where you said it for somebody."""
    number = request.path_values["request"]

    def found() -> dict[str, Any]:
        row = _own(house, request, number)
        rater = request.query("user") or row.person or request.caller.name
        opinion = house.review.feedback.find(row.id, rater)
        if opinion is None:
            raise NotFound(f"nothing was said of the request '{number[:LONGEST_ID]}'")
        return opinion.plain()

    return json_response(await _thread(found))


async def withdraw_feedback(request: Request, house: House) -> Response:
    """Take back all that you said of a request: `?user=` where you said it for somebody."""
    number = request.path_values["request"]

    def withdrawn() -> None:
        row = _own(house, request, number)
        house.review.feedback.withdraw(row.id, request.query("user") or row.person or request.caller.name)

    await _thread(withdrawn)
    return json_response({"request": number, "withdrawn": True})


async def latest_feedback(request: Request, house: House) -> Response:
    """The latest opinions and counts by app: `?since=7d&limit=100&bad=1` for complaints alone. For reviewers."""
    only_reviewers(request, house)
    since, limit, bad = (
        moment(request.query("since", "7d")),
        _number(request, "limit", 100, 10_000),
        request.query("bad"),
    )

    def found() -> dict[str, Any]:
        opinions = house.review.feedback.latest(since=since, bad=bad not in ("", "0"), limit=100_000)
        apps = house.review.feedback.satisfaction(since=since)
        if (sees := sees_of(request)) is not None:
            tenants = {key: house.review.tenant_of(key) for key in {one.about.key for one in opinions}}
            opinions = [one for one in opinions if sees(one.about.app, tenants[one.about.key])]
            apps = []  # which add up what others said
        opinions = opinions[:limit]
        return {"feedback": [one.plain() for one in opinions], "apps": [app._asdict() for app in apps]}

    return json_response(await _thread(found))


def _own(house: House, request: Request, number: str) -> Row:
    """The request of that id, where it is the caller's, or of a key of their tenant. Raises NotFound, for others' too."""
    with suppress(PenstockError):  # while the database cannot be written, what it has can be read
        house.gateway.journal.drain()
    rows = house.review.requests.past.find(number) if len(number) <= LONGEST_ID else []
    own = [row for row in rows if _is_own(house, request, row.key)]
    exact = [row for row in own if row.id == number] or (own if len(own) == 1 else [])
    if not exact:
        hint = "it is the x-request-id of an answer, and known here about a second after the answer has ended"
        raise NotFound(f"there is no request '{number[:LONGEST_ID]}' of yours", hint=hint)
    return exact[0]


def _is_own(house: House, request: Request, key: str, tenant: str | None = None) -> bool:
    caller = request.caller
    if caller.admin or key == caller.name:
        return True
    if not caller.tenant:
        return False
    return caller.tenant == (house.review.tenant_of(key) if tenant is None else tenant)


# ---------------------------------------------------------------- the queue


async def status(request: Request, house: House) -> Response:
    """Each queue with what is open, claimed, done and overdue, and the samples that were drawn. For reviewers: what they
    may see of it."""
    only_reviewers(request, house)
    sees = sees_of(request)

    def found() -> dict[str, Any]:
        review = house.review
        return {
            "queues": review.queue.status(sees=sees),
            "draws": [draw._asdict() for draw in review.requests.draws()] if sees is None else [],
            "approvals": len(review.approvals.pending(limit=10_000, sees=sees)),
            "hand_overs": len(review.hand_overs.pending(limit=10_000, sees=sees)),
            "labels": review.queue.labels,
        }

    return json_response(await _thread(found))


async def draw(request: Request, house: House) -> Response:
    """Draw requests of the journal into a queue: `{"n": 100, "since": "7d", "app": …, "by": "app", "double": 0.1}`. For admins."""
    if not request.caller.admin:
        raise NotAllowed(f"the key '{request.caller.name}' may not draw samples", hint="an admin's may")
    body = await request.json()
    n, double = body.get("n"), body.get("double", 0)
    if type(n) is not int or not 1 <= n <= 100_000:
        raise BadRequest("'n' must be a whole number from 1 to 100000")
    if not isinstance(double, int | float) or isinstance(double, bool) or not 0 <= double <= 1:
        raise BadRequest("'double' must be a number from 0 to 1")
    since, app, by = moment(_text(body, "since") or "7d"), _text(body, "app"), _text(body, "by") or "app"
    if by not in get_args(By):
        raise BadRequest(f"'by' is '{by[:40]}'", hint=f"one of {', '.join(filter(None, get_args(By)))}")
    queue = _text(body, "queue") or "answers"

    def drawn() -> dict[str, Any]:
        with suppress(PenstockError):
            house.gateway.journal.drain()
        return house.review.requests.draw(
            n, since=since, app=app, by=cast(By, by), queue=queue, double=double
        )._asdict()

    return json_response(await _thread(drawn), 201)


async def next_(request: Request, house: House) -> Response:
    """Claim the next item, or get the one you hold: `{"queue": …}`. `task` is null where nothing is left. For reviewers."""
    reviewer = only_reviewers(request, house)
    queue = _text(await request.json(), "queue")
    task = await _thread(lambda: house.review.queue.claim(reviewer, queue, sees=sees_of(request)))
    return json_response({"task": task.plain() if task else None, "labels": house.review.queue.labels})


async def judge(request: Request, house: House) -> Response:
    """Say what the item you hold is: `{"verdict": "wrong", "note": …, "correction": …, "tags": […]}`. For reviewers."""
    reviewer = only_reviewers(request, house)
    await _thread(lambda: _seen(request, house, request.path_values["item"]))
    body = await request.json()
    tags = body.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise BadRequest("'tags' must be a list of texts")
    given = Given(_text(body, "verdict", needed=True), _text(body, "note"), _text(body, "correction"), tuple(tags))
    state = await _thread(lambda: house.review.queue.judge(request.path_values["item"], reviewer, given))
    return json_response({"id": request.path_values["item"], "state": state})


async def skip(request: Request, house: House) -> Response:
    """Give the item back and never see it again: `{"reason": "cannot_tell"}`. For reviewers."""
    reviewer = only_reviewers(request, house)
    await _thread(lambda: _seen(request, house, request.path_values["item"]))
    reason = _text(await request.json(), "reason", needed=True)
    await _thread(lambda: house.review.queue.skip(request.path_values["item"], reviewer, reason))
    return json_response({"id": request.path_values["item"], "skipped": True})


async def release(request: Request, house: House) -> Response:
    """Give the item back, to see it again later. For reviewers."""
    reviewer = only_reviewers(request, house)
    await _thread(lambda: _seen(request, house, request.path_values["item"]))
    await _thread(lambda: house.review.queue.release(request.path_values["item"], reviewer))
    return json_response({"id": request.path_values["item"], "released": True})


async def undo(request: Request, house: House) -> Response:
    """Take back your last verdict, and hold the item again. For reviewers."""
    reviewer = only_reviewers(request, house)
    task = await _thread(lambda: house.review.queue.undo(reviewer))
    return json_response({"task": task.plain()})


async def item(request: Request, house: House) -> Response:
    """One item with all verdicts and who gave them, once it is done; before that for admins alone. For reviewers."""
    only_reviewers(request, house)
    found = await _thread(lambda: _seen(request, house, request.path_values["item"]))
    if found.state != "done" and not request.caller.admin:
        raise NotAllowed("the item is still being judged", hint="its verdicts are shown once it is done")
    return json_response(found.plain())


async def act(request: Request, house: House) -> Response:
    """Make a case, or something to mend, of a confirmed failure: `{"action": "case" or "index_fix", "note": …}`. For reviewers."""
    reviewer = only_reviewers(request, house)
    number, failures = request.path_values["item"], house.review.failures
    await _thread(lambda: _seen(request, house, number))
    body = await request.json()
    action, note = _text(body, "action", needed=True), _text(body, "note")
    works: dict[str, Callable[[], dict[str, Any]]] = {
        "case": lambda: failures.add_case(number, reviewer),
        "index_fix": lambda: failures.add_fix(number, reviewer, note=note),
    }
    if action not in works:
        raise BadRequest(f"'{action[:40]}' is no action", hint="case, or index_fix")
    return json_response(await _thread(works[action]), 201)


async def estimate(request: Request, house: House) -> Response:
    """How often answers are wrong, from a sample that was drawn and judged as far as it is. For reviewers."""
    only_reviewers(request, house)
    number = request.path_values["draw"]

    def found() -> dict[str, Any]:
        from penstock.review.estimating import estimate as estimated  # a plain gateway never loads numpy

        return estimated(house.review.queue.judged(number)).plain()

    return json_response(await _thread(found))


async def agreement(request: Request, house: House) -> Response:
    """How far those agree who judged the same items: `?queue=`. For reviewers."""
    only_reviewers(request, house)

    def found() -> dict[str, Any]:
        pairs = house.review.queue.pairs(queue=request.query("queue"))
        whole = pi([(one.verdict, other.verdict) for one, other in pairs])
        named = [((one.reviewer, one.verdict), (other.reviewer, other.verdict)) for one, other in pairs]
        return {"all": whole.plain(), "pairs": [each.plain() for each in by_pair(named)]}

    return json_response(await _thread(found))


# ---------------------------------------------------------------- replies that wait for a person


async def reply(request: Request, house: House) -> Response:
    """How it stands with what waits for a person: `?wait=20` waits so many seconds for it. For whoever asked, and reviewers."""
    number, wait = request.path_values["reply"], request.query("wait", "0")
    if not wait.isascii() or not wait.isdigit():
        raise BadRequest("'wait' must be a whole number of seconds")

    def looked() -> tuple[Approvals | HandOvers, bool]:
        room = _room(house, number)
        key, tenant, app = room.belongs_to(number)
        sees = sees_of(request)
        is_reviewer = request.caller.admin or house.settings.review.role in request.caller.roles
        reviews = is_reviewer and (sees is None or sees(app, tenant))
        if not reviews and not _is_own(house, request, key, tenant):
            raise NotFound(f"nothing waits by the id '{number[:LONGEST_ID]}'")
        return room, reviews

    room, reviews = await _thread(looked)
    found = await room.wait(number, timeout_s=float(wait[:4]))
    return json_response(found.plain(named=reviews))


def check_seen(request: Request, room: Approvals | HandOvers, number: str) -> None:
    """Raises NotFound for what the reviewer may not see."""
    _, tenant, app = room.belongs_to(number)
    sees = sees_of(request)
    if sees is not None and not sees(app, tenant):
        raise NotFound(f"nothing waits by the id '{number[:LONGEST_ID]}'")


def _room(house: House, number: str) -> Approvals | HandOvers:
    try:
        house.review.approvals.belongs_to(number)
    except NotFound:
        return house.review.hand_overs
    return house.review.approvals


async def approvals(request: Request, house: House) -> Response:
    """The proposed replies that wait, the most urgent first. For reviewers."""
    only_reviewers(request, house)
    limit = _number(request, "limit", 100, 1_000)
    found = await _thread(lambda: house.review.approvals.pending(limit=limit, sees=sees_of(request)))
    return json_response({"approvals": [one.plain() for one in found]})


async def decide(request: Request, house: House) -> Response:
    """Decide on a proposed reply: `{"decision": "approve", "text": …}`, where a text replaces it, or `reject` with a `reason`.

    For reviewers.
    """
    reviewer = only_reviewers(request, house)
    number = request.path_values["reply"]
    await _thread(lambda: check_seen(request, house.review.approvals, number))
    body = await request.json()
    decision, text, reason = _text(body, "decision", needed=True), _text(body, "text"), _text(body, "reason")
    works: dict[str, Callable[[], Outcome]] = {
        "approve": lambda: house.review.approvals.approve(number, reviewer, text=text),
        "reject": lambda: house.review.approvals.reject(number, reviewer, reason=reason),
    }
    if decision not in works:
        raise BadRequest(f"'{decision[:40]}' is no decision", hint="approve, or reject")
    return json_response((await _thread(works[decision])).plain(named=True))


async def hand_over(request: Request, house: House) -> Response:
    """Ask for a person: `{"question": …, "summary": …, "history": […], "request": ID, "user": …}`. The reply comes by the `id`."""
    body = await request.json()
    content, number, person = Content.read(body), _text(body, "request"), _text(body, "user")
    if not content.question.strip():
        raise BadRequest("'question' must be a text")
    if len(person) > LONGEST_ID or len(number) > LONGEST_ID:
        raise BadRequest(f"'user' and 'request' have at most {LONGEST_ID} characters")

    def proposed() -> dict[str, Any]:
        row = _own(house, request, number) if number else None
        hand_overs = house.review.hand_overs
        made = hand_overs.propose(
            content, caller=request.caller, person=person or (row.person if row else ""), app=row.app if row else "",
            request=row.id if row else "",
        )  # fmt: skip
        return hand_overs.outcome(made).plain()

    return json_response(await _thread(proposed), 202)


async def hand_overs(request: Request, house: House) -> Response:
    """The questions that wait for a person, the most urgent first. For reviewers."""
    only_reviewers(request, house)
    limit = _number(request, "limit", 100, 1_000)
    found = await _thread(lambda: house.review.hand_overs.pending(limit=limit, sees=sees_of(request)))
    return json_response({"hand_overs": [one.plain() for one in found]})


async def claim_reply(request: Request, house: House) -> Response:
    """Take what waits for yourself for a while, so that nobody else works on it. For reviewers."""
    reviewer = only_reviewers(request, house)
    number = request.path_values["reply"]

    def claimed() -> Waiting | None:
        room = _room(house, number)
        check_seen(request, room, number)
        return room.claim(reviewer, number)

    found = await _thread(claimed)
    return json_response(found.plain() if found else None)


async def end_hand_over(request: Request, house: House) -> Response:
    """Answer a question that was handed over, `{"text": …}`, or close it without: `{"close": true, "reason": …}`. For reviewers."""
    reviewer = only_reviewers(request, house)
    body, number = await request.json(), request.path_values["reply"]
    text, reason = _text(body, "text"), _text(body, "reason")

    def ended() -> Outcome:
        hand_overs = house.review.hand_overs
        check_seen(request, hand_overs, number)
        if body.get("close") is True and not text:
            return hand_overs.close(number, reviewer, reason=reason)
        return hand_overs.reply(number, reviewer, text)

    return json_response((await _thread(ended)).plain(named=True))
