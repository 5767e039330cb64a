"""Who watches the experiments in production: counts, decides, gives more or less, and ends them. It may look as often as it likes.

The first outcome other than `continue` is final: the winner, or else the control, gets everybody, and nothing is asked again. A
roll-out goes on from step to step beside it until it is done, or something got worse. Any number of processes may look; each change
is made in a transaction that sees the state that it was decided on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from penstock.config import ABSettings, moment
from penstock.evaluate.ab import Decision, Guardrail, Plan, Stage, decide
from penstock.evaluate.bandit import Tally, chances
from penstock.evaluate.counting import Counting, Said, arm_of, runs_on
from penstock.evaluate.live import BY_HAND, CONTROL, Experiments, Live, State
from penstock.evaluate.outcomes import BETTER, DEVIATION
from penstock.evaluate.rollout import Rollout, next_move, weights_at
from penstock.observe.alerts import Condition
from penstock.trace import log

__all__ = ["Evaluator", "Event", "plan_of"]

BANDIT_EVERY_S = 3600.0
BANDIT_FLOOR = 0.05
TOLD_S = 86_400.0  # how long an end is told of
CHANGED = 0.01  # a bandit's weights that differ by less stay as they are
FINAL = ("winner", "no_difference", "harm", "invalid")

Sums = Sequence[tuple[Mapping[str, float], Mapping[str, Any]]]  # (weights, sums) of each stage


@dataclass(frozen=True, slots=True)
class Event:
    """What was done about an experiment, for the audit trail."""

    kind: Literal["moved", "ended"]
    name: str
    state: State
    said: str


def plan_of(settings: ABSettings, *, candidates: int = 1) -> Plan:
    """What was agreed, for one of several candidates, which share alpha."""
    rails = tuple(
        Guardrail(
            name=name, better=BETTER[name], margin=margin,
            deviation=DEVIATION[name] if settings.unit != "request" and runs_on(settings, name) else 0.0,
        )
        for name, margin in settings.guardrails.items()
    )  # fmt: skip
    return Plan(
        units=settings.most_units, rule=settings.rule, alpha=0.05 / candidates, better=BETTER[settings.metric],
        minimum_effect=settings.least_effect, guardrails=rails,
    )  # fmt: skip


class Evaluator:
    """Looks at all experiments of the settings. told: is handed what was done, once it is."""

    def __init__(
        self, experiments: Experiments, *, said: Said, told: Callable[[Event], object] = lambda event: None,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._experiments, self._told, self._clock = experiments, told, clock
        self.counting = Counting(experiments, said=said)
        self._looked: dict[str, tuple[int, int]] = {}  # experiment -> the state of its sums that was looked at last

    def look(self, *, stop: Callable[[], bool] = lambda: False) -> list[Condition]:
        """Once. Returns what people should know of. Raises StorageError or Conflict."""
        if not self._experiments.settings:
            return []
        now = self._clock()
        self.counting.look_back(stop=stop)
        self.counting.follow(stop=stop)
        self.counting.complete(now, stop=stop)
        for name, live in self.counting.running().items():
            settings = self._experiments.settings[name]
            seen, moved = self._seen(live)
            over = bool(settings.until) and now > moment(settings.until, ahead=True)
            due = settings.bandit and now - moved >= BANDIT_EVERY_S
            if not stop() and (over or due or self._looked.get(name) != seen):
                self._decide(live, settings, now, over=over, due=due)
                self._looked[name] = seen
        return [
            c for live in self._experiments.all() if live.name in self._experiments.settings for c in _told(live, now)
        ]

    # ---------------------------------------------------------------- one experiment

    def _decide(self, live: Live, settings: ABSettings, now: float, *, over: bool, due: bool) -> None:
        """Say how it stands, and do what follows from it."""
        stages = self._experiments.sums(live)
        decisions = dict(_decided(settings, live, stages))
        change = _change(settings, live, decisions, stages, over=over, due=due)
        after = replace(
            live, decision={**live.decision, **{arm: one.plain() for arm, one in decisions.items()}}, **change.to
        )
        if change.to.get("state"):
            after = replace(after, ended=now, reason=change.said)
        elif change.said:
            after = replace(after, stage=live.stage + 1)
        with self._experiments.tables.write() as w:
            here = self._experiments.one(w, live.name)
            if here is None or (here.state, here.definition, here.stage) != (live.state, live.definition, live.stage):
                return  # somebody else was first
            after = replace(after, before_row=here.before_row, before_mean=here.before_mean)
            if after.state != "running":
                self._experiments.end(w, after)
            else:
                self._experiments.save(w, after)
                if change.said:
                    self._experiments.open_stage(w, after, now)
                    self._experiments.note(w, live.name, now, "moved", change.said)
        if change.said:
            log("experiment", level="warning", name=live.name, state=after.state, said=change.said)
            self._told(Event("moved" if after.state == "running" else "ended", live.name, after.state, change.said))

    def _seen(self, live: Live) -> tuple[tuple[int, int], float]:
        """What tells this state of the sums from others, and since when the weights are the same."""
        ((changes, moved),) = self._experiments.tables.read(
            "select sum(changes), max(started) from ab_stages where name = ? and stage >= ?",
            (live.name, live.first_stage),
        )
        return (live.stage, int(changes or 0)), float(moved or live.started)


# ---------------------------------------------------------------- what is known


def _decided(settings: ABSettings, live: Live, stages: Sums) -> Iterator[tuple[str, Decision]]:
    """Each candidate that gets units against the control. What was once decided of a metric is kept; guardrails go on."""
    plan = plan_of(settings, candidates=len(settings.arms))
    assigned = [
        ([float(sums.get(arm, {}).get("units", 0)) for arm in weights], list(weights.values()))
        for weights, sums in stages
    ]
    for arm in settings.arms:
        metric = _pairs(stages, arm, settings.metric)
        rails = {name: _pairs(stages, arm, name) for name in settings.guardrails}
        if not live.weights.get(arm) or not (metric or any(rails.values())):
            continue
        found = decide(plan, metric or [(arm_of(None), arm_of(None))], guardrails=rails, assigned=assigned)
        before = live.decision.get(arm)
        if before and before["outcome"] in FINAL and found.outcome not in ("harm", "invalid"):
            found = replace(
                found, outcome=before["outcome"], winner=before["winner"] or "", reason=before["reason"],
                adjusted=math.nan if before["adjusted"] is None else before["adjusted"],
            )  # fmt: skip
        yield arm, found


def _pairs(stages: Sums, arm: str, metric: str) -> list[Stage]:
    """(control, candidate) of each stage in which both were seen."""
    found = []
    for _, sums in stages:
        pair = arm_of(sums.get(CONTROL, {}).get(metric)), arm_of(sums.get(arm, {}).get(metric))
        if pair[0].n and pair[1].n:
            found.append(pair)
    return found


# ---------------------------------------------------------------- what follows


class _Change(NamedTuple):
    """What is different from now on; said: in words, "" where nothing is."""

    said: str = ""
    to: Mapping[str, Any] = {}


def _change(
    settings: ABSettings, live: Live, decisions: Mapping[str, Decision], stages: Sums, *, over: bool, due: bool
) -> _Change:
    if lost := [one for one in decisions.values() if one.outcome == "invalid"]:
        return _ended("stopped", CONTROL, lost[0].reason)
    found = _stepped(settings, live, decisions, stages) if settings.rollout else _compared(settings, live, decisions)
    if not found.said and over:
        found = _ended("stopped", CONTROL, f"its last day, {settings.until}, is over, and nothing was sure")
    if not found.said and due:
        found = _earning(settings, live, stages)
    return found


def _ended(state: State, winner: str, said: str) -> _Change:
    return _Change(said, {"state": state, "winner": winner})


def _stepped(settings: ABSettings, live: Live, decisions: Mapping[str, Decision], stages: Sums) -> _Change:
    """A roll-out. Where nothing can be compared yet it waits."""
    (arm,) = settings.arms
    rollout = Rollout(shares=settings.rollout, units_per_step=settings.units_per_step)
    units = stages[-1][1].get(arm, {}).get("units", 0) if stages else 0
    if arm not in decisions:
        return _Change()
    move = next_move(rollout, live.step, decisions[arm], units)
    match move.kind:
        case "roll_back":
            return _ended("rolled_back", CONTROL, move.reason)
        case "done":
            return _ended("won", arm, move.reason)
        case "advance":
            weights = weights_at(move.share, control=CONTROL, candidate=arm)
            return _Change(move.reason, {"weights": weights, "step": live.step + 1})
    return _Change()


def _compared(settings: ABSettings, live: Live, decisions: Mapping[str, Decision]) -> _Change:
    """The best of those that are better gets everybody. Who is surely not goes, and the others go on."""
    several = len(settings.arms) > 1

    def words(arm: str) -> str:
        return f"{arm}: {decisions[arm].reason}" if several else decisions[arm].reason

    better = [arm for arm, one in decisions.items() if one.winner == "candidate"]
    if better:
        sign = 1 if BETTER[settings.metric] == "higher" else -1
        best = max(better, key=lambda arm: sign * decisions[arm].difference)
        return _ended("won", best, words(best))
    out = [arm for arm, one in decisions.items() if one.outcome in FINAL]
    if not out:
        return _Change()
    said = "; ".join(map(words, out))
    left = {arm: weight for arm, weight in live.weights.items() if arm not in out}
    if set(left) - {CONTROL}:
        return _Change(said, {"weights": {arm: weight / sum(left.values()) for arm, weight in left.items()}})
    worse = any(decisions[arm].outcome == "harm" or decisions[arm].winner == "control" for arm in out)
    return _ended("rolled_back" if worse else "stopped", CONTROL, said)


def _earning(settings: ABSettings, live: Live, stages: Sums) -> _Change:
    """A bandit's weights: how likely each arm is the best, by all that is known."""
    arms = list(live.weights)
    totals = [sum((arm_of(sums.get(arm, {}).get(settings.metric)) for _, sums in stages), arm_of(None)) for arm in arms]
    higher, is_rate = BETTER[settings.metric] == "higher", settings.metric not in ("latency", "cost")
    tallies = []
    for one in totals:
        n, y, yy = float(one.n), float(one.y), float(one.yy)
        if is_rate:
            tallies.append(Tally(n, min(max(y if higher else n - y, 0.0), n)))
        else:
            tallies.append(Tally(n, y if higher else -y, yy))
    found = dict(
        zip(
            arms, chances(tallies, kind="rate" if is_rate else "mean", floor=BANDIT_FLOOR, seed=live.stage), strict=True
        )
    )
    if max(abs(found[arm] - live.weights[arm]) for arm in arms) < CHANGED:
        return _Change()
    return _Change(", ".join(f"{arm} {share:.0%}" for arm, share in found.items()), {"weights": found})


def _told(live: Live, now: float) -> Iterator[Condition]:
    """That one has ended by itself. Everybody has the right answer by then, so nobody is called out of bed."""
    if live.state == "running" or live.reason.startswith(BY_HAND) or not 0 <= now - live.ended < TOLD_S:
        return
    what = {"won": f"'{live.winner}' won and gets everybody", "rolled_back": "rolled back: everybody gets the control"}
    title = f"experiment {live.name}: {what.get(live.state, 'over: everybody gets the control')}"
    facts = {"state": live.state, "winner": live.winner, "said": [live.reason], "decisions": dict(live.decision)}
    yield Condition(f"ab/{live.name}", "ticket", title, facts)
