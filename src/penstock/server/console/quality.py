"""How good it is: objectives and how fast their budgets burn, what fires, what is not as usual, languages and apps side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from penstock.assemble import House
from penstock.config import iso, moment
from penstock.errors import BadRequest, NotFound
from penstock.models.limits import USD
from penstock.observe.alerts import Alert
from penstock.observe.counts import FEWEST, LEARN_H
from penstock.observe.course import SPANS, Course, courses, learning, subjects
from penstock.observe.ledger import Ledger
from penstock.server.console.home import hours_of
from penstock.server.console.view import Page, View
from penstock.server.http import Request
from penstock.server.manage import ledger_of
from penstock.server.objectives import standings
from penstock.stats import wilson

__all__ = ["PAGES"]

MOST = 2_000  # of the latest answers are compared
MOST_ALERTS = 500
WEEK_H = 7 * 24
MONTH_D, DAY_S = 30, 86_400
SHORT, LONG = "2d", "2w"
SUPPORTED, UNSUPPORTED = ("supported",), ("contradicted", "not_found")
Told = tuple[str, float, dict[str, Any]]  # a name to compare by, milliseconds, and what is known of the answer


async def _quality(request: Request, house: House) -> View:
    return await asyncio.to_thread(_measured, house, request.query("of"), request.query("span"))


def _measured(house: House, of: str, span: str) -> View:
    now, ledger, week = time.time(), ledger_of(house), moment("7d")
    answers = ledger.answers(limit=MOST)
    languages = sides((str(answer.get("language") or ""), took, answer) for _, took, answer in answers)
    objectives = standings(house)
    firing, past = house.alerts.firing(now=now), house.alerts.past(since=now - 56 * DAY_S, limit=MOST_ALERTS, now=now)
    watched = _watched(house, of, span, [*firing, *past], now)
    data = {
        "objectives": objectives,
        "firing": [alert.plain() for alert in firing],
        "past": [alert.plain() for alert in past if alert.ended > week][:20],
        "watched": watched,
        "languages": languages,
        "apps": sides(answers),
        "hours": hours_of(ledger.by_hour(since=now - WEEK_H * 3600), now, WEEK_H),
        "days": _days(ledger, now),
        "compared": len(answers),
    }
    return View("quality.html", data, _points(watched) if of else objectives or languages)


# ---------------------------------------------------------------- what is watched


def _watched(house: House, of: str, span: str, alerts: Sequence[Alert], now: float) -> dict[str, Any]:
    """The measures of one app or model over time: of the one that is asked for, of the last with an alert, or of the busiest."""
    known = subjects(house.database, now=now, hours=SPANS["8w"][0] * SPANS["8w"][1])
    names = [name for name, _ in known]
    if of and of not in names:
        raise NotFound(f"nothing was counted of '{of[:80]}'", hint=f"known: {', '.join(names[:20]) or 'nothing yet'}")
    if span and span not in SPANS:
        raise BadRequest(f"the span is '{span[:40]}'", hint=", ".join(SPANS))
    told = [str(alert.facts.get("subject")) for alert in alerts]
    chosen = of or next((name for name in told if name in names), "") or (names[0] if names else "")
    found: list[Course] = []
    where = _requests_of(house, chosen)
    if chosen:
        found = courses(house.database, chosen, span or LONG, now=now, alerts=alerts)
        if not span and all(course.hours <= 48 for course in found):
            span = SHORT
            found = courses(house.database, chosen, span, now=now, alerts=alerts)
    return {
        "of": chosen, "span": span or LONG, "spans": list(SPANS), "names": names, "needed": LEARN_H,
        "fewest": FEWEST, "requests": where,
        "courses": [course.plain() for course in found],
        "left": learning(house.journal_tables, chosen) if chosen else 0,
    }  # fmt: skip


def _requests_of(house: House, subject: str) -> str:
    """The address of an app's or a model's requests; "" where they have no name of their own."""
    if "/" in subject or subject.startswith("("):
        return ""
    is_app = subject in house.settings.apps or (house.has_documents and subject in house.library.names())
    return f"/console/requests?{urlencode({'app' if is_app else 'model': subject})}"


def _points(watched: dict[str, Any]) -> list[dict[str, Any]]:
    """All that is drawn, as one table."""
    return [
        {"subject": watched["of"], "measure": course["measure"], **point, "at": iso(point["at"])}
        for course in watched["courses"]
        for point in course["points"]
        if point["n"]
    ]


def _days(ledger: Ledger, now: float) -> list[dict[str, Any]]:
    """What each of the last thirty days cost."""
    today = int(now // DAY_S) * DAY_S
    known = {row.name: row for row in ledger.spent("day", since=today - (MONTH_D - 1) * DAY_S)}
    days = [today - n * DAY_S for n in reversed(range(MONTH_D))]
    rows = [(day, known.get(time.strftime("%Y-%m-%d", time.gmtime(day)))) for day in days]
    return [{"at": day, "cost_usd": row.cost_pico_usd / USD if row else 0.0} for day, row in rows]


# ---------------------------------------------------------------- side by side


def sides(answers: Iterable[Told]) -> list[dict[str, Any]]:
    """Answers side by side, by their names: how many were not given and how much of them is in the sources, with intervals of
    Wilson (1927)."""
    found: dict[str, list[Told]] = {}
    for told in answers:
        found.setdefault(told[0] or "–", []).append(told)
    return sorted((_side(name, some) for name, some in found.items()), key=lambda side: -side["answers"])


def _side(name: str, some: Sequence[Told]) -> dict[str, Any]:
    refused = sum(answer.get("status") in ("not_found", "refused") for *_, answer in some)
    claims = [answer.get("claims") or {} for *_, answer in some]
    good = sum(one.get(label, 0) for one in claims for label in SUPPORTED)
    bad = sum(one.get(label, 0) for one in claims for label in UNSUPPORTED)
    times = sorted(took for _, took, _ in some)
    return {
        "name": name, "answers": len(some), "refused": refused, "refused_between": wilson(refused, len(some))[1:3],
        "sentences": good + bad, "grounded": good / (good + bad) if good + bad else None,
        "grounded_between": wilson(good, good + bad)[1:3] if good + bad else None, "p50_ms": times[len(times) // 2],
    }  # fmt: skip


PAGES = [Page("/console/quality", "Quality", _quality, menu=True)]
