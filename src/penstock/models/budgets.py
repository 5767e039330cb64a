"""Which limits a request meets: those of every budget that fits its key, team, app and model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from penstock.config import BudgetSettings
from penstock.models.limits import USD, Limit, Unit, Window
from penstock.types import Caller, Record

__all__ = ["Budgets", "Meeting"]

T = TypeVar("T")
MOST_REMEMBERED = 100_000  # combinations of key, person, app and model

# field of the settings -> unit, window
_LIMITS: dict[str, tuple[Unit, Window]] = {
    "limit_usd_per_day": ("pico_usd", "day"),
    "limit_usd_per_month": ("pico_usd", "month"),
    "limit_usd": ("pico_usd", "ever"),
    "limit_tokens_per_day": ("tokens", "day"),
    "tokens_per_minute": ("tokens", "minute"),
    "requests_per_minute": ("requests", "minute"),
    "requests_per_day": ("requests", "day"),
    "concurrent": ("running", "now"),
}

Limits = tuple[Limit, ...]


class Meeting(NamedTuple):
    """The limits that a call meets, and those of them that count money."""

    limits: Limits
    money: Limits


class Budgets:
    """The budgets of the settings, and those that keys bring with them."""

    def __init__(self, budgets: Mapping[str, BudgetSettings]) -> None:
        self._budgets = budgets
        self._of_keys: Mapping[str, BudgetSettings] = {}
        self._doors: dict[tuple[str, ...], Limits] = {}
        self._calls: dict[tuple[str, ...], Meeting] = {}

    def use_keys(self, budgets: Mapping[str, BudgetSettings]) -> None:
        """Take over the limits that stored keys have, by the key's name."""
        if budgets != self._of_keys:
            self._of_keys = budgets
            self._doors, self._calls = {}, {}

    def at_door(self, caller: Caller, record: Record) -> Limits:
        """What a request meets once, before anything is done for it: requests and what is running."""
        place = (caller.name, caller.team, record.person, record.app)
        found = self._doors.get(place)
        if found is None:
            found = tuple(limit for limit in self._meeting(*place, "") if limit.unit in ("requests", "running"))
            self._doors = _remember(self._doors, place, found)
        return found

    def at_call(self, caller: Caller, record: Record, model: str) -> Meeting:
        """What each call of an upstream meets: money and tokens; where a budget is for a model, all of it."""
        place = (caller.name, caller.team, record.person, record.app, model)
        found = self._calls.get(place)
        if found is None:
            door = self._meeting(*place[:4], "")
            limits = tuple(
                limit for limit in self._meeting(*place) if limit.unit in ("pico_usd", "tokens") or limit not in door
            )
            found = Meeting(limits, tuple(limit for limit in limits if limit.unit == "pico_usd"))
            self._calls = _remember(self._calls, place, found)
        return found

    def _meeting(self, key: str, team: str, person: str, app: str, model: str) -> Limits:
        """The limits that hold here. Without a model, those for all models."""
        who = {"key": key, "team": team, "person": person, "app": app, "model": model}
        found = []
        for name, budget in self._budgets.items():
            wanted = {"key": budget.key, "team": budget.team, "app": budget.app, "model": budget.model}
            if any(value and value != who[field] for field, value in wanted.items()):
                continue
            if budget.per and not who[budget.per]:
                continue  # a budget per person, and the request names none
            subject = f"{name}/{who[budget.per]}" if budget.per else name
            found += _limits(budget, f"budget/{subject}", f"budget '{subject}'")
        if key in self._of_keys:
            found += _limits(self._of_keys[key], f"key/{key}", f"key '{key}'")
        return tuple(found)


def _limits(budget: BudgetSettings, name: str, owner: str) -> list[Limit]:
    found = []
    for setting, (unit, window) in _LIMITS.items():
        if amount := getattr(budget, setting):
            most = round(amount * USD) if unit == "pico_usd" else amount
            found.append(Limit(f"{name}/{setting}", unit, window, most, owner))
    return found


def _remember(known: dict[tuple[str, ...], T], place: tuple[str, ...], found: T) -> dict[tuple[str, ...], T]:
    if len(known) >= MOST_REMEMBERED:
        known = {}  # persons are named by callers, who could name one after the other
    known[place] = found
    return known
