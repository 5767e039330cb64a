"""What is set, without secrets; the audit trail; and all that pages are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from typing import Any, get_args, get_type_hints

from penstock.assemble import House
from penstock.config import GuardSettings, Settings, describe, iso, moment
from penstock.server.console.view import Page, View
from penstock.server.http import Request

__all__ = ["PAGES"]

AT_ONCE = 100


async def _settings(request: Request, house: House) -> View:
    usual, kinds = describe(Settings()), get_type_hints(Settings)
    policies = {name: house.policies[name].settings for name in house.policies.names()}  # they may have changed since
    guard = {name: said for name, said in policies.items() if name in house.settings.guard or said != GuardSettings()}
    tables = [
        {"table": name, "values": changed}
        for name, values in describe(replace(house.settings, guard=guard)).items()
        if (changed := _changed(values, usual[name], get_args(kinds[name])))
    ]
    return View("settings.html", {"file": str(house.settings.file or ""), "tables": tables}, tables)


def _changed(values: Any, usual: Any, named: Sequence[Any]) -> Any:
    """What differs from the defaults. named: the types of names and of what is called by them, in a table of tables."""
    if not isinstance(values, dict):
        return values if values != usual else None
    if named and is_dataclass(named[-1]):
        return {name: _changed(one, _usual(named[-1]), ()) for name, one in values.items()}
    return {name: value for name, value in values.items() if value != usual.get(name)}


def _usual(kind: Any) -> dict[str, Any]:
    try:
        return describe(kind())
    except TypeError:  # something of it has no default
        return {}


async def _audit(request: Request, house: House) -> View:
    kind, actor, since = (request.query(name).strip() for name in ("kind", "actor", "since"))

    def found() -> list[dict[str, Any]]:
        records = house.audit.records(
            kind=kind, actor=actor, since=moment(since) if since else 0.0, limit=AT_ONCE, newest=True
        )
        return [
            {"number": one.number, "at": iso(one.at / 1000), "kind": one.kind, "actor": one.actor or one.actor_id,
             "target": one.target or one.target_id, "facts": one.facts}
            for one in records
        ]  # fmt: skip

    rows = await asyncio.to_thread(found)
    return View("audit.html", {"records": rows, "kind": kind, "actor": actor, "since": since}, rows)


async def _components(request: Request, house: House) -> View:
    return View("components.html", {})


PAGES = [
    Page("/console/audit", "Audit trail", _audit, menu=True),
    Page("/console/settings", "Settings", _settings, menu=True),
    Page("/console/components", "What pages are made of", _components),
]
