"""Apps: what each answers from, what guards it, how it does today and over time, and how to ask it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from penstock.assemble import House
from penstock.config import AppSettings, describe, moment
from penstock.errors import NotFound, PenstockError
from penstock.guard.policy import OFF
from penstock.observe.ledger import Asked
from penstock.server.console.evaluations import set_for
from penstock.server.console.home import address_of, hours_of
from penstock.server.console.quality import sides
from penstock.server.console.view import Page, View
from penstock.server.http import Request
from penstock.server.manage import ledger_of
from penstock.stats import wilson

__all__ = ["PAGES"]

PATH = "/console/apps"
DAY_H, WEEK_H = 24, 7 * 24
RECENT_S = 30 * 86_400.0  # how far back it is looked how good the answers are, and whether people were content
MOST = 2_000  # of the latest answers
NOTHING = Asked("", 0, 0, 0, 0, 0, 0, None).plain()


async def _list(request: Request, house: House) -> View:
    def found() -> View:
        today, content = _today(house), _content(house)
        rows = [
            _about(house, name) | {"today": today.get(name, NOTHING), "content": content.get(name)}
            for name in house.settings.apps
        ]
        collections = house.collections(request.caller)
        data = {
            "apps": rows, "day": _day(), "collections": collections, "address": address_of(request), "keyless": _keyless(house),
        }  # fmt: skip
        return View("apps.html", data, [_line(row) for row in rows])

    return await asyncio.to_thread(found)


async def _one(request: Request, house: House) -> View:
    name = request.path_values["app"]
    if name not in house.settings.apps:
        raise NotFound(f"there is no app '{name[:80]}'", hint=f"known: {', '.join(house.settings.apps) or 'none yet'}")

    def found() -> View:
        now, ledger = time.time(), ledger_of(house)
        own = ledger.answers(limit=MOST, app=name, since=now - RECENT_S)
        evaluations = set_for(house, name)
        named = {one["name"] for one in evaluations}
        runs = [
            run.plain() for run in house.runs.latest("evaluation", target=name, limit=MOST) if run.name not in named
        ]
        hours = hours_of(ledger.by_hour(since=now - WEEK_H * 3600, app=name), now, WEEK_H)
        data = {
            **_about(house, name), "today": _today(house).get(name, NOTHING), "content": _content(house).get(name),
            "answers": next(iter(sides(own)), None), "hours": hours, "said": _said(house, name),
            "experiments": _experiments(house, name), "evaluations": evaluations, "runs": runs[:5], "day": _day(), "most": MOST,
            "address": address_of(request), "keyless": _keyless(house),
        }  # fmt: skip
        return View("app.html", data, hours, title=name)

    return await asyncio.to_thread(found)


def _about(house: House, name: str) -> dict[str, Any]:
    """What an app answers from, and what guards it."""
    app = house.settings.apps[name]
    source, prompt, policy = app.documents or name, app.prompt, app.guard
    there = house.has_documents and source in house.library.names()
    with suppress(PenstockError):  # the page says what is set, also where it is not there
        prompt = house.prompt(app.prompt)[0] if app.prompt else ""
    if policy != OFF:
        with suppress(PenstockError):
            policy = f"{policy}@{house.policies[policy].version}"
    version = app.version or (_live(house, source) if there else "")
    return {
        "name": name, "documents": source, "there": there, "version": version, "pinned": bool(app.version),
        "models": list(app.models), "routes": [model for model in app.models if model in house.settings.routes],
        "prompt": prompt, "policy": policy, "keep_text": app.keep_text, "languages": list(app.languages),
        "grounded": bool(app.models) and app.grounded, "bot": app.bot,
    }  # fmt: skip


def _live(house: House, source: str) -> str:
    with suppress(PenstockError):
        return next((version.name for version in house.library[source].versions() if version.live), "")
    return ""


def _said(house: House, name: str) -> dict[str, Any]:
    """What of an app's settings is not as it is by default."""
    usual, said = AppSettings(), house.settings.apps[name]
    return {
        key: value
        for key, value in describe(house.settings)["apps"][name].items()
        if getattr(said, key) != getattr(usual, key)
    }


def _today(house: House) -> dict[str, dict[str, Any]]:
    return {asked.app: asked.plain() for asked in ledger_of(house).apps(since=moment(_day()))}


def _day() -> str:
    """Today, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime())


def _content(house: House) -> dict[str, dict[str, Any]]:
    """Of each app how many of those who said so were content in the last thirty days, with Wilson's interval."""
    counts: dict[str, list[bool]] = {}
    since = time.time() - RECENT_S
    for said in house.opinions(since):
        if said.good is not None and said.at >= since:
            counts.setdefault(said.app, []).append(said.good)
    return {app: _share(good) for app, good in counts.items()}


def _share(good: list[bool]) -> dict[str, Any]:
    found = wilson(sum(good), len(good))
    return {"n": len(good), "share": found.estimate, "between": [found.low, found.high]}


def _experiments(house: House, name: str) -> list[dict[str, Any]]:
    """Those that deal out its callers, or in which it answers."""
    states = {one.name: one.state for one in house.experiments.all()} if house.settings.ab else {}
    return [
        {"name": experiment, "target": one.target, "arms": dict(one.arms), "state": states.get(experiment, "")}
        for experiment, one in house.settings.ab.items()
        if name == one.target or name in one.arms.values()
    ]


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    """An app as a row of a table."""
    flat: Iterable[tuple[str, Any]] = (
        (key, value) for key, value in row.items() if key not in ("today", "content", "app")
    )
    content = row["content"] or {}
    return {**dict(flat), **{key: value for key, value in row["today"].items() if key != "app"}, "content": content.get("share"),
            "opinions": content.get("n", 0)}  # fmt: skip


def _keyless(house: House) -> bool:
    return not house.keys.needed and not house.settings.login.issuer


PAGES = [
    Page(PATH, "Apps", _list, menu=True),
    Page(f"{PATH}/{{app}}", "App", _one),
]
