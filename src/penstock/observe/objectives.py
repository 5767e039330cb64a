"""How good is good enough, and how fast is what may go wrong being used up: burn rates over several windows.

An objective says which share of requests must go well over a period. What may go wrong is its budget; a burn rate of 1 uses it up
by the end of the period. The rules are those of table 5-8 of "The Site Reliability Workbook" (Beyer et al. 2018, chapter 5): a
rule fires when the rate is too high over a long window, so that it matters, and over a short one, so that it is happening now.
Nothing here reads a clock or a database.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

from penstock.observe.journal import Row

__all__ = [
    "FEWEST_BAD", "MOST_BAD", "RULES", "TARGETS", "Burn", "Counted", "Kind", "Objective", "Rule", "Severity", "Standing", "judged",
    "least_bad", "rules", "standing", "subject_of",
]  # fmt: skip

Kind = Literal["availability", "latency", "first_piece", "grounded", "refusals", "satisfaction", "cost"]
Severity = Literal["", "ticket", "page"]

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
TARGETS: Mapping[str, float] = {
    "availability": 0.99,
    "latency": 0.95,
    "first_piece": 0.95,
    "grounded": 0.9,
    "refusals": 0.8,
    "satisfaction": 0.8,
    "cost": 0.95,
}
FEWEST_BAD = 5  # in the long window, before any rule fires
CHANCE = 1e-3  # of a window of a service at half the rate that has so many
MOST_BAD = 0.9  # share of bad ones from where on every rule fires, however large the budget
SURE_FROM = 40  # bad ones from where on chance explains nothing: at half the rate it is 5e-5


@dataclass(frozen=True, slots=True)
class Objective:
    """What a share of requests is to be like. app, model: whose requests; both empty: of each app and model by itself."""

    name: str
    kind: Kind
    target: float  # the share, above 0 and below 1
    period_s: float = 30 * DAY_S
    app: str = ""
    model: str = ""
    within_ms: float = 0.0  # latency, first_piece
    most_pico_usd: int = 0  # cost

    @property
    def budget(self) -> float:
        """The share that may go wrong."""
        return 1.0 - self.target

    def concerns(self, app: str, model: str) -> bool:
        return (not self.app or self.app == app) and (not self.model or self.model in (model, subject_of("", model)))


class Rule(NamedTuple):
    """Fires where the budget burns at `rate` over both windows. share: of the period's budget that is gone by then."""

    severity: Severity
    rate: float
    long_s: float
    short_s: float
    share: float


RULES = (  # for a period of 30 days
    Rule("page", 14.4, HOUR_S, 5 * MINUTE_S, 0.02),
    Rule("page", 6.0, 6 * HOUR_S, 30 * MINUTE_S, 0.05),
    Rule("ticket", 1.0, 3 * DAY_S, 6 * HOUR_S, 0.10),
)


@cache
def rules(period_s: float) -> tuple[Rule, ...]:
    """The rules for another period: the same rates and shares of the budget, over windows that are longer or shorter by as much.

    Were the rates scaled instead, a week's ticket would ask for a rate below 1, which harms no objective.
    """
    by = period_s / (30 * DAY_S)

    def scaled(window_s: float) -> float:
        return max(1.0, math.ceil(window_s * by / MINUTE_S - 1e-9)) * MINUTE_S

    return tuple(rule._replace(long_s=scaled(rule.long_s), short_s=scaled(rule.short_s)) for rule in RULES)


class Counted(NamedTuple):
    """Requests of a window that went well and that did not; those that say neither are not counted."""

    good: int = 0
    bad: int = 0

    @property
    def total(self) -> int:
        return self.good + self.bad

    @property
    def bad_share(self) -> float:
        return self.bad / self.total if self.total else 0.0


@cache
def least_bad(n: int, share: float) -> int:
    """How many bad ones of n say more than chance would where the true share is half of this one."""
    mean = n * share / 2
    term = total = math.exp(-mean)
    if not term:
        return SURE_FROM
    count = 0
    while 1.0 - total > CHANCE and count < SURE_FROM - 1:  # P(X > count), of a Poisson distribution
        count += 1
        term *= mean / count
        total += term
    return max(FEWEST_BAD, count + 1)


# ---------------------------------------------------------------- one request


def subject_of(app: str, model: str) -> str:
    """Whose counts a request is in: its app's, else its model's; `openai/anything` is of `openai/*`."""
    provider, slash, _ = model.partition("/")
    return app or (f"{provider}/*" if slash else model)


def judged(objective: Objective, row: Row, told: Mapping[str, Any]) -> bool | None:
    """Whether a request went well by an objective; None where it says nothing about it. told: its `answer`, read."""
    match objective.kind:
        case "availability":
            if row.outcome == "refused":  # the caller's own doing, but for an upstream that has no room
                return False if row.error == "upstream_busy" else None
            return None if row.outcome == "cancelled" else row.outcome == "ok"
        case "latency":
            return row.duration_ms <= objective.within_ms if row.outcome == "ok" else None
        case "first_piece":
            return row.first_ms <= objective.within_ms if row.outcome == "ok" and row.first_ms > 0 else None
        case "cost":
            return row.cost_pico_usd <= objective.most_pico_usd if row.outcome == "ok" else None
        case "grounded":
            return _grounded(told)
        case "refusals":
            return _answered(row, told)
    return None  # satisfaction is not in the journal


def _grounded(told: Mapping[str, Any]) -> bool | None:
    claims = told.get("claims")
    if told.get("status") != "answer" or not isinstance(claims, Mapping) or not set(claims) - {"unscored"}:
        return None
    return not (claims.get("contradicted") or claims.get("not_found"))


def _answered(row: Row, told: Mapping[str, Any]) -> bool | None:
    """Whether a question got an answer, and neither a refusal nor passages instead of one."""
    if told.get("status"):
        faults = told.get("faults")
        return told["status"] == "answer" and not (isinstance(faults, list) and "refusal" in faults)
    return False if row.error == "blocked_by_guard" else True if row.outcome == "ok" else None


# ---------------------------------------------------------------- many


@dataclass(frozen=True, slots=True)
class Burn:
    """One rule as it stands. Rates are in budgets per period.

    state: `silent` while nothing was counted in the short window and something in the long one: it cannot be told.
    """

    rule: Rule
    long: Counted
    short: Counted
    long_rate: float
    short_rate: float
    state: Literal["calm", "burning", "silent"]


@dataclass(frozen=True, slots=True)
class Standing:
    """An objective for one subject. budget_left: 1 for all of it, below 0 where more than all was used."""

    objective: Objective
    subject: str
    counted: Counted  # over the period
    budget_left: float
    burns: tuple[Burn, ...] = ()

    @property
    def severity(self) -> Severity:
        """Of the worst rule that fires."""
        firing: list[Severity] = [burn.rule.severity for burn in self.burns if burn.state == "burning"]
        return max(firing, key=("", "ticket", "page").index, default="")

    @property
    def silent(self) -> bool:
        """Whether it cannot be told how it stands: nothing was asked of late."""
        return any(burn.state == "silent" for burn in self.burns)

    @property
    def worst(self) -> Burn | None:
        """The rule that fires, the most urgent first."""
        return next((burn for burn in self.burns if burn.state == "burning"), None)


def standing(objective: Objective, subject: str, counted: Callable[[float], Counted]) -> Standing:
    """counted: the counts of the last so many seconds."""
    whole = counted(objective.period_s)
    left = 1.0 - whole.bad_share / objective.budget
    return Standing(
        objective, subject, whole, left, tuple(_burn(rule, objective.budget, counted) for rule in rules(objective.period_s))
    )  # fmt: skip


def _burn(rule: Rule, budget: float, counted: Callable[[float], Counted]) -> Burn:
    long, short = counted(rule.long_s), counted(rule.short_s)
    share = min(rule.rate * budget, MOST_BAD)  # a budget of 20 % burns five times as fast at most, whatever happens
    state: Literal["calm", "burning", "silent"] = "calm"
    if not short.total:
        state = "silent" if long.total else "calm"
    elif long.bad_share >= share and short.bad_share >= share and _is_no_chance(long, share):
        state = "burning"
    return Burn(rule, long, short, long.bad_share / budget, short.bad_share / budget, state)


def _is_no_chance(long: Counted, share: float) -> bool:
    if long.bad >= SURE_FROM or long.bad < FEWEST_BAD:
        return long.bad >= SURE_FROM
    return long.bad >= least_bad(long.total, share)
