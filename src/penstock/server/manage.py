"""Keys, budgets, spend, requests and models over HTTP, as JSON: for admins, and what concerns them for everybody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_args

from penstock.assemble import House
from penstock.config import BudgetSettings, ModelSettings, iso, moment, typed
from penstock.errors import BadRequest, BadSetting, NotAllowed, NotFound, PenstockError
from penstock.keys import Key
from penstock.models.budgets import limits_of_key
from penstock.models.limits import USD, Limit, window_at
from penstock.models.prices import Rate, look_up
from penstock.models.providers import PROVIDERS, dialects
from penstock.observe.ledger import FILTERS, Ledger, Per, added_up, plain_request
from penstock.server.http import Request, Response, json_response

__all__ = [
    "budget_rows", "budgets", "create_key", "key", "key_rows", "keys", "ledger_of", "me", "model_rows", "models", "only_admins",
    "request_", "requests", "revoke_key", "rotate_key", "spend",
]  # fmt: skip

MOST_SUBJECTS = 200  # of a budget per person: those who used most of it
SINCE = "7d"
DAY_S = 86_400.0


def only_admins(request: Request) -> None:
    if not request.caller.admin:
        raise NotAllowed(
            f"the key '{request.caller.name}' is not an admin's",
            hint="penstock keys create NAME --admin; what concerns this key is at /api/me",
        )


# ---------------------------------------------------------------- keys


@dataclass(frozen=True, slots=True, kw_only=True)
class _NewKey:
    name: str = ""
    team: str = ""
    tenant: str = ""
    roles: tuple[str, ...] = ()
    admin: bool = False
    models: tuple[str, ...] = ()
    expires: str = ""
    budget: BudgetSettings = field(default_factory=BudgetSettings)


async def keys(request: Request, house: House) -> Response:
    """The keys, those of the settings too, with what each spent today and this month (UTC). For admins."""
    only_admins(request)
    return json_response({"keys": await asyncio.to_thread(key_rows, house)})


def key_rows(house: House) -> list[dict[str, Any]]:
    """All keys, those of the settings first, with what each spent today and this month (UTC)."""
    spent = _spent_by_key(house)
    return [_plain(key, spent) for key in (*house.keys.stated(), *house.keys.all())]


async def key(request: Request, house: House) -> Response:
    """One key, with what is used of its limits. For admins."""
    only_admins(request)

    def found() -> dict[str, Any]:
        key = _key(house, request.path_values["name"])
        return _plain(key, _spent_by_key(house)) | {"limits": _standings(house, limits_of_key(key.name, key.budget))}

    return json_response(await asyncio.to_thread(found))


async def create_key(request: Request, house: House) -> Response:
    """Make a key: `{"name": …}`, and as you like `team`, `roles`, `admin`, `models`, `expires`, `budget`. For admins.

    `expires` is a day or a duration (`"30d"`); `budget` has limits as in `[budgets.NAME]`. `secret` is shown this once.
    """
    only_admins(request)
    try:
        asked = typed(_NewKey, await request.json(), "the body")
    except BadSetting as error:
        raise BadRequest(error.message, hint=error.hint) from error
    if not asked.name:
        raise BadRequest("'name' must be a text")
    whose = [name for name in ("key", "team", "app", "model", "per") if getattr(asked.budget, name)]
    if whose:
        raise BadRequest(f"'budget.{whose[0]}' is for [budgets.NAME]: this budget counts what its own key uses")
    expires = moment(asked.expires, ahead=True) if asked.expires else 0.0

    def create() -> tuple[Key, str]:
        made = house.keys.create(
            asked.name, team=asked.team, tenant=asked.tenant, roles=asked.roles, admin=asked.admin, models=asked.models,
            expires=expires, budget=asked.budget,
        )  # fmt: skip
        house.gateway.budgets.use_keys(house.keys.budgets)
        return made

    made, secret = await asyncio.to_thread(create)
    return _told_once({**made.plain(), "secret": secret}, 201)


async def rotate_key(request: Request, house: House) -> Response:
    """Give a key a new `secret`, shown this once; with `?grace=24h` the old one works so long too. For admins."""
    only_admins(request)
    grace = request.query("grace")
    grace_s = moment(grace, ahead=True) - time.time() if grace else 0.0
    rotated, secret = await asyncio.to_thread(house.keys.rotate, request.path_values["name"], grace_s=max(0.0, grace_s))
    return _told_once({**rotated.plain(), "secret": secret})


async def revoke_key(request: Request, house: House) -> Response:
    """Make a key work no more. It stays in the list, and what it spent in the journal. For admins."""
    only_admins(request)
    revoked = await asyncio.to_thread(house.keys.revoke, request.path_values["name"])
    return json_response(revoked.plain())


def _key(house: House, name: str) -> Key:
    stated = {key.name: key for key in house.keys.stated()}
    return stated.get(name) or house.keys.get(name)


def _told_once(value: Any, status: int = 200) -> Response:
    response = json_response(value, status)
    response.headers = (("cache-control", "no-store"),)
    return response


def _plain(key: Key, spent: dict[str, dict[str, float]]) -> dict[str, Any]:
    return key.plain() | {"spent_usd": spent.get(key.name, {"today": 0.0, "month": 0.0})}


# ---------------------------------------------------------------- budgets


async def budgets(request: Request, house: House) -> Response:
    """Each budget and each key that has limits: what is used, held by running calls, and free, as of now. For admins.

    Of a budget `per` person, team or the like, there is one for each; the 200 that used most are shown.
    """
    only_admins(request)
    return json_response({"budgets": await asyncio.to_thread(budget_rows, house)})


def budget_rows(house: House) -> list[dict[str, Any]]:
    """Each owner of limits, with how they stand."""
    known = house.gateway.budgets.known(_subjects(house))
    return [{"owner": owner, "limits": _standings(house, limits)} for owner, limits in known.items()]


def _subjects(house: House) -> dict[str, list[str]]:
    """Whose budgets there are, of each that is `per` something."""
    ledger, now = ledger_of(house), time.time()
    windows = (0, window_at("day", now), window_at("month", now))
    found = {}
    for name, budget in house.settings.budgets.items():
        if budget.per:
            spent = ledger.subjects(name, windows, limit=MOST_SUBJECTS)
            met = sorted(house.gateway.budgets.met(name))
            found[name] = list(dict.fromkeys((*spent, *met)))[:MOST_SUBJECTS]
    return found


def _standings(house: House, limits: Sequence[Limit]) -> list[dict[str, Any]]:
    return [_standing(house, limit) for limit in limits]


def _standing(house: House, limit: Limit) -> dict[str, Any]:
    used, held = house.gateway.counters.standing(limit)

    def amount(number: int) -> float:
        return number / USD if limit.unit == "pico_usd" else number

    return {
        "limit": str(limit),
        "unit": "usd" if limit.unit == "pico_usd" else limit.unit,
        "window": limit.window,
        "most": amount(limit.most),
        "used": amount(used),
        "held": amount(held),
        "free": amount(max(0, limit.most - used - held)),
    }


# ---------------------------------------------------------------- the journal


async def spend(request: Request, house: House) -> Response:
    """Requests, tokens and money `?by=key` (or team, person, app, model, day) `&since=7d` (or 2027-01-31). For admins."""
    only_admins(request)
    asked, since = request.query("by", "key"), moment(request.query("since", SINCE))
    by: Per | None = next((per for per in get_args(Per) if per == asked), None)
    if by is None:
        raise BadRequest(f"'by' is '{asked}'", hint=f"one of {', '.join(get_args(Per))}")
    rows = await asyncio.to_thread(lambda: ledger_of(house).spent(by, since=since))
    total = added_up(rows).plain()
    del total["name"]
    return json_response({"by": by, "since": iso(since), "rows": [row.plain() for row in rows], "total": total})


async def requests(request: Request, house: House) -> Response:
    """The latest requests, without anybody's words: `?limit=20&before=1h`. For admins.

    `key`, `team`, `person`, `app`, `model` and `outcome` choose some of them: `?outcome=failed`.
    """
    only_admins(request)
    limit, before = request.query("limit", "20"), request.query("before")
    if not limit.isascii() or not limit.isdigit() or len(limit) > 6 or not 1 <= int(limit) <= 10_000:
        raise BadRequest("'limit' must be a whole number from 1 to 10000")
    wanted = {name: value for name in FILTERS if (value := request.query(name))}
    until = moment(before) if before else 0.0
    rows = await asyncio.to_thread(lambda: ledger_of(house).requests(wanted, limit=int(limit), before=until))
    return json_response({"requests": [plain_request(row) for row in rows]})


async def request_(request: Request, house: House) -> Response:
    """The requests of one trace, with each upstream that was asked. For admins."""
    only_admins(request)
    trace_id = request.path_values["trace_id"]
    rows = await asyncio.to_thread(lambda: ledger_of(house).request(trace_id))
    if not rows:
        raise NotFound(f"there is no request with the trace id '{trace_id}'", hint="rows are kept for journal.keep")
    return json_response({"requests": [plain_request(row) for row in rows]})


async def me(request: Request, house: House) -> Response:
    """The caller's own key: its rights, what it spent today and this month (UTC), and the budgets it draws on."""
    caller = request.caller

    def found() -> dict[str, Any]:
        own = {"name": caller.name, "admin": caller.admin, "team": caller.team, "roles": caller.roles}
        with suppress(NotFound):
            own = _key(house, caller.name).plain()
        limits = house.gateway.budgets.concerning(caller)
        owners = dict.fromkeys(limit.owner for limit in limits)
        mine = [(owner, [limit for limit in limits if limit.owner == owner]) for owner in owners]
        return {
            **own,
            "spent_usd": _spent_by_key(house, caller.name).get(caller.name, {"today": 0.0, "month": 0.0}),
            "budgets": [{"owner": owner, "limits": _standings(house, of_it)} for owner, of_it in mine],
        }

    return json_response(await asyncio.to_thread(found))


def _spent_by_key(house: House, key: str | None = None) -> dict[str, dict[str, float]]:
    """USD today and this month, by key."""
    today, ledger = time.strftime("%Y-%m-%d", time.gmtime()), ledger_of(house)
    found: dict[str, dict[str, float]] = {}
    for name, since in (("today", today), ("month", f"{today[:7]}-01")):
        for row in ledger.spent("key", since=moment(since), key=key):
            found.setdefault(row.name, {"today": 0.0, "month": 0.0})[name] = row.cost_pico_usd / USD
    return found


def ledger_of(house: House) -> Ledger:
    """The journal, with what has ended by now."""
    with suppress(PenstockError):  # while the database cannot be written, what it has can be read
        house.gateway.journal.drain()
    return house.ledger


# ---------------------------------------------------------------- models


async def models(request: Request, house: House) -> Response:
    """Each model with its provider, dialects, prices, sizes and health, and each route with its models. For admins."""
    only_admins(request)
    return json_response(await asyncio.to_thread(model_rows, house))


def model_rows(house: House) -> dict[str, Any]:
    """The models, each with its health, and the routes, with how much of the last day their caches answered."""
    watches = house.watches if house.gateway else {}  # they are there once the gateway is
    asked = ledger_of(house).from_cache(since=time.time() - DAY_S)
    return {
        "models": [
            _model(name, model) | {"health": watches[name].report() if name in watches else None}
            for name, model in house.served_models.items()
        ],
        "routes": [
            {
                "name": name,
                "models": route.models,
                "choose": route.choose,
                "cache": route.cache,
                "cache_for_s": route.cache_for,
                "asked": asked.get(name, (0, 0))[0],
                "cached": asked.get(name, (0, 0))[1],
            }
            for name, route in house.settings.routes.items()
        ],
    }


def _model(name: str, settings: ModelSettings) -> dict[str, Any]:
    kind = PROVIDERS.get(settings.provider)
    known = look_up(settings, kind.prices if kind else "", settings.model or name)
    return {
        "name": name,
        "provider": settings.provider,
        "model": settings.model or name,
        "dialects": sorted(dialects(settings, f"models.{name}")) if kind else ["chat"],
        "prices": [_rate(rate) for rate in known.price.rates] if known.price else None,
        "usd_per_call": known.price.per_call / USD if known.price else None,
        "context_tokens": known.context_tokens or None,
        "max_output_tokens": known.max_output_tokens or None,
    }


def _rate(rate: Rate) -> dict[str, float]:
    def per_million(pico: int) -> float:
        return pico / 10**6

    return {
        "from_tokens": rate.above,
        "input_usd_per_million": per_million(rate.input),
        "output_usd_per_million": per_million(rate.output),
        "cached_input_usd_per_million": per_million(rate.cached),
    }
