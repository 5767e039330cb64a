"""How good it is: objectives and how fast their budgets burn, what fires, and languages and apps side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

from penstock.assemble import House
from penstock.config import moment
from penstock.server.console.home import hours_of
from penstock.server.console.view import Page, View
from penstock.server.http import Request
from penstock.server.manage import ledger_of
from penstock.server.objectives import standings
from penstock.stats import wilson

__all__ = ["PAGES"]

MOST = 2_000  # of the latest answers are compared
WEEK_H = 7 * 24
SUPPORTED, UNSUPPORTED = ("supported",), ("contradicted", "not_found")
Told = tuple[str, float, dict[str, Any]]  # a name to compare by, milliseconds, and what is known of the answer


async def _quality(request: Request, house: House) -> View:
    return await asyncio.to_thread(_measured, house)


def _measured(house: House) -> View:
    now, ledger = time.time(), ledger_of(house)
    answers = ledger.answers(limit=MOST)
    languages = sides((str(answer.get("language") or ""), took, answer) for _, took, answer in answers)
    objectives = standings(house)
    data = {
        "objectives": objectives,
        "firing": [alert.plain() for alert in house.alerts.firing(now=now)],
        "past": [alert.plain() for alert in house.alerts.past(since=moment("7d"), limit=20, now=now)],
        "languages": languages,
        "apps": sides(answers),
        "hours": hours_of(ledger.by_hour(since=now - WEEK_H * 3600), now, WEEK_H),
        "compared": len(answers),
    }
    return View("quality.html", data, objectives or languages)


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
