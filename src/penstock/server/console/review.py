"""The reviewers' room: queues, the item in hand, replies that wait for a yes, and questions that wait for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from penstock.assemble import House
from penstock.errors import BadRequest
from penstock.review.queue import SKIPS, Given
from penstock.server.console.view import Action, Page, View
from penstock.server.http import Request
from penstock.server.review import check_seen, only_reviewers, sees_of

__all__ = ["ACTIONS", "PAGES"]

PATH = "/console/review"
AT_ONCE = 50


async def _list(request: Request, house: House) -> View:
    sees = sees_of(request)

    def found() -> View:
        review = house.review
        queues = review.queue.status(sees=sees)
        data = {
            "queues": queues,
            "approvals": [one.plain() for one in review.approvals.pending(limit=AT_ONCE, sees=sees)],
            "hand_overs": [one.plain() for one in review.hand_overs.pending(limit=AT_ONCE, sees=sees)],
            "draws": [draw._asdict() for draw in review.requests.draws()] if request.caller.admin else [],
        }
        return View("review.html", data, queues)

    return await asyncio.to_thread(found)


async def _work(request: Request, house: House) -> View:
    """The next item, which is held for its reviewer for a while; the one that they hold already, where there is one."""
    reviewer, queue = only_reviewers(request, house), request.query("queue")
    task = await asyncio.to_thread(lambda: house.review.queue.claim(reviewer, queue, sees=sees_of(request)))
    data = {"task": task.plain() if task else None, "queue": queue, "labels": house.review.queue.labels, "skips": SKIPS}
    return View("item.html", data, title=queue)


async def _judge(request: Request, house: House, form: Mapping[str, str]) -> str:
    reviewer, item = only_reviewers(request, house), request.path_values["item"]
    given = Given(form.get("verdict", ""), form.get("note", "").strip(), form.get("correction", "").strip())
    await asyncio.to_thread(lambda: house.review.queue.judge(item, reviewer, given))
    return _next(form, "judged")


async def _skip(request: Request, house: House, form: Mapping[str, str]) -> str:
    reviewer, item, reason = only_reviewers(request, house), request.path_values["item"], form.get("reason", "")
    await asyncio.to_thread(lambda: house.review.queue.skip(item, reviewer, reason))
    return _next(form, "skipped")


async def _undo(request: Request, house: House, form: Mapping[str, str]) -> str:
    """Take the last verdict back: its item is in hand again, and the one that was goes back to the queue."""
    reviewer, queue, item = only_reviewers(request, house), house.review.queue, form.get("item", "")

    def undone() -> None:
        queue.undo(reviewer)
        if item:
            queue.release(item, reviewer)

    await asyncio.to_thread(undone)
    return _next(form, "undone")


async def _decide(request: Request, house: House, form: Mapping[str, str]) -> str:
    """A proposed reply leaves as it is or as it was changed, or does not leave."""
    reviewer, reply, approvals = only_reviewers(request, house), request.path_values["reply"], house.review.approvals
    decision, text = form.get("decision", ""), form.get("text", "").strip()
    if decision not in ("approve", "reject"):
        raise BadRequest("the decision is to approve, or to reject")

    if decision == "approve" and not text:
        raise BadRequest("an empty reply cannot be sent", hint="reject it, with a reason")

    def decided() -> None:
        check_seen(request, approvals, reply)
        if decision == "approve":
            proposed = next((one.content.answer for one in approvals.pending(limit=10_000) if one.id == reply), "")
            approvals.approve(reply, reviewer, text="" if text == proposed.replace("\r\n", "\n").strip() else text)
        else:
            approvals.reject(reply, reviewer, reason=form.get("reason", "").strip())

    await asyncio.to_thread(decided)
    return f"{PATH}?told=decided"


async def _answer(request: Request, house: House, form: Mapping[str, str]) -> str:
    reviewer, reply, hand_overs = only_reviewers(request, house), request.path_values["reply"], house.review.hand_overs
    text = form.get("text", "").strip()

    def ended() -> None:
        check_seen(request, hand_overs, reply)
        if text:
            hand_overs.reply(reply, reviewer, text)
        else:
            hand_overs.close(reply, reviewer, reason=form.get("reason", "").strip())

    await asyncio.to_thread(ended)
    return f"{PATH}?told=answered"


def _next(form: Mapping[str, Any], told: str) -> str:
    return f"{PATH}/work?{urlencode({'queue': form.get('queue', ''), 'told': told})}"


PAGES = [
    Page(PATH, "Review", _list, who="reviewer", menu=True),
    Page(f"{PATH}/work", "Review", _work, who="reviewer"),
]
ACTIONS = [
    Action(f"{PATH}/items/{{item}}/judge", _judge, who="reviewer"),
    Action(f"{PATH}/items/{{item}}/skip", _skip, who="reviewer"),
    Action(f"{PATH}/undo", _undo, who="reviewer"),
    Action(f"{PATH}/approvals/{{reply}}", _decide, who="reviewer"),
    Action(f"{PATH}/hand-overs/{{reply}}", _answer, who="reviewer"),
]
