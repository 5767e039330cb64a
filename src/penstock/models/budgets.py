"""Which limits a request meets: those of every budget that fits its key, team, app and model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from penstock.config import BudgetSettings
from penstock.models.limits import USD, Limit, Unit, Window
from penstock.types import Caller, Record

__all__ = ["Budgets", "Meeting", "limits_of_key"]

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
    exact: Limits  # money, and tokens but for those of a minute: no call may take more of them than it holds


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
            money = tuple(limit for limit in limits if limit.unit == "pico_usd")
            tokens = tuple(limit for limit in limits if limit.unit == "tokens" and limit.window != "minute")
            found = Meeting(limits, money, money + tokens)
            self._calls = _remember(self._calls, place, found)
        return found

    def concerning(self, caller: Caller) -> Limits:
        """The limits that some request of a caller may meet, those for each person left out."""
        models = {"", *(budget.model for budget in self._budgets.values())}
        apps = {"", *(budget.app for budget in self._budgets.values())}
        found = [self._meeting(caller.name, caller.team, "", app, model) for app in apps for model in models]
        return tuple(dict.fromkeys(limit for limits in found for limit in limits))

    def known(self, subjects: Mapping[str, Iterable[str]]) -> dict[str, Limits]:
        """Owner -> its limits: of each budget and each key that has some.

        A budget `per` person, team or the like is one budget for each. subjects: budget -> those whose to look at.
        """
        found: list[Limit] = []
        for name, budget in self._budgets.items():
            if not budget.per:
                found += _limits(budget, f"budget/{name}", f"budget '{name}'")
            for subject in subjects.get(name, ()) if budget.per else ():
                found += _limits(budget, f"budget/{name}/{subject}", f"budget '{name}/{subject}'")
        for key, budget in self._of_keys.items():
            found += limits_of_key(key, budget)
        owners: dict[str, Limits] = {}
        for limit in found:
            owners[limit.owner] = (*owners.get(limit.owner, ()), limit)
        return owners

    def met(self, name: str) -> set[str]:
        """Whose budgets of a budget `per` something were met since the start."""
        met = (*list(self._doors.values()), *(meeting.limits for meeting in list(self._calls.values())))
        prefix = f"budget/{name}/"
        names = {limit.name.removeprefix(prefix) for limits in met for limit in limits if limit.name.startswith(prefix)}
        return {subject for subject, slash, _ in (name.rpartition("/") for name in names) if slash}

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
            found += limits_of_key(key, self._of_keys[key])
        return tuple(found)


def limits_of_key(name: str, budget: BudgetSettings) -> list[Limit]:
    """The limits that a key brings with it."""
    return _limits(budget, f"key/{name}", f"key '{name}'")


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
