"""An experiment costs a request some microseconds, and stops a harmful arm after a few dozen people have met it.

    python -m benchmarks.ab_live [--replicates N]

Three parts, without data: what dealing out adds to a request; days of traffic through the real journal and evaluator, with a clock
that is wound by hand; and whether guardrails that count people from their first request on, and again with each later one, keep
their promise when people come back. Every figure in seconds of this machine is CPU time.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import show, versions, write
from penstock.assemble import House
from penstock.config import ABSettings, load
from penstock.evaluate.ab import EARLY
from penstock.evaluate.arms import Arms
from penstock.evaluate.effects import Arm, effect
from penstock.evaluate.evaluator import Evaluator, plan_of
from penstock.evaluate.live import Experiments
from penstock.evaluate.sequential import Always
from penstock.observe.journal import Journal, Row
from penstock.stats import clopper_pearson
from penstock.storage.database import Database
from penstock.types import Caller, ModelRequest, Record

Floats = NDArray[np.float64]

NOW, DAY_S = 1_800_000_000.0, 86_400.0
SECONDS = "us"


# ---------------------------------------------------------------- what a request pays

TOML = """
[models.small]
base_url = "http://127.0.0.1:9/v1"
[models.large]
base_url = "http://127.0.0.1:9/v1"
[models.alone]
base_url = "http://127.0.0.1:9/v1"
"""
EXPERIMENT = '[ab.x]\ntarget = "small"\narms = {{new = "large"}}\nunit = "{unit}"\n'
ROUNDS, REQUESTS = 5, 20_000


def added() -> dict[str, dict[str, float]]:
    """Microseconds that a request spends on being dealt: the best of five rounds, CPU time."""
    found = {}
    for name, unit, target in (
        ("no experiment in the settings", "", "small"), ("a model without one", "person", "alone"),
        ("by person", "person", "small"), ("by request", "request", "small"), ("by conversation", "conversation", "small"),
    ):  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "penstock.toml"
            file.write_text(TOML + (EXPERIMENT.format(unit=unit) if unit else ""), "utf-8")
            house = House(load(file, environment={}))
            house.begin_experiments()
            said = [{"role": "user", "content": "How long do I have to return a book that I bought? " * 8}]
            asked = [
                ModelRequest(
                    dialect="chat",
                    model=target,
                    body={"messages": said},
                    caller=Caller("website"),
                    record=Record("t", f"{n}"),
                )
                for n in range(REQUESTS)
            ]
            assert house.gateway.has(target)  # built before the clock runs
            best = math.inf
            for _ in range(ROUNDS):
                began = time.process_time()
                for request in asked:
                    house.dealt(request)
                best = min(best, (time.process_time() - began) / REQUESTS * 1e6)
            found[name] = {SECONDS: round(best, 3)}
            house.close()
    return found


# ---------------------------------------------------------------- days of traffic

PEOPLE, A_DAY = 20_000, 100_000
LOOK_EVERY_S = 60.0


def day(
    settings: ABSettings, answers: Callable[[random.Random, str, float], dict[str, Any]], *, seed: int, days: int = 1
) -> dict[str, Any]:
    """Requests of people who come back, one day or several, dealt, journalled and looked at every minute until it is decided.

    answers: what becomes of a request, from who answers and how the person is.
    """
    rng, now = random.Random(seed), NOW
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "penstock.db")
        journal = Journal(database, Path(folder) / "journal")
        experiments = Experiments(database, {"x": settings}, clock=lambda: now)
        journal.recover()
        experiments.open()
        arms = Arms(experiments)
        arms.refresh(now=True)
        evaluator = Evaluator(experiments, said=lambda _: {}, clock=lambda: now)
        habits = [rng.gauss(0, 1) for _ in range(PEOPLE)]
        times = sorted(rng.uniform(0, days * DAY_S) for _ in range(A_DAY * days))
        rows = candidate = harmed = 0
        looking = slowest = 0.0
        due = NOW + LOOK_EVERY_S
        ended = ""
        for n, offset in enumerate(times):
            now = NOW + offset
            while now >= due:
                journal.drain()
                began = time.process_time()
                evaluator.look()
                took = time.process_time() - began
                looking, slowest, due = looking + took, max(slowest, took), due + LOOK_EVERY_S
                arms.refresh(now=True)
            if n % 50 == 0 and (ended := _ended(experiments)):
                break
            person = rng.randrange(PEOPLE)
            record = Record("t", f"{person}")
            asked = ModelRequest(dialect="chat", model="small", body={}, caller=Caller("website"), record=record)
            who = arms.deals["small"].deal(asked) or "small" if arms.deals else "small"
            rows, candidate = rows + 1, candidate + (who != "small")
            values = answers(rng, who, habits[person])
            harmed += who != "small" and values.get("outcome") == "failed"
            journal.write(_row(record, now, values), [])
        journal.drain()
        live = experiments.get("x")
        decision = live.decision.get("new", {})
        journal.close()
        database.close()
    return {
        "state": ended or live.state, "hours": round((now - NOW) / 3600, 2), "requests": rows, "to_candidate": candidate,
        "failed_at_candidate": harmed, "units": decision.get("units"), "outcome": decision.get("outcome"),
        "difference": decision.get("difference"), "interval": decision.get("interval"), "mismatch": decision.get("mismatch"),
        "look_s_per_1000_requests": round(looking / max(rows, 1) * 1000, 4), "slowest_look_s": round(slowest, 3),
        "reason": live.reason,
    }  # fmt: skip


def _ended(experiments: Experiments) -> str:
    state = experiments.get("x").state
    return "" if state == "running" else state


def _row(record: Record, at: float, values: dict[str, Any]) -> Row:
    usual: dict[str, Any] = {
        "id": record.id, "trace_id": "t", "at": at, "key": "website", "person": record.person, "team": "", "app": "",
        "model": "small", "dialect": "chat", "streamed": False, "status": 200, "outcome": "ok", "error": "", "cached": False,
        "first_ms": 1.0, "duration_ms": 800.0, "input_tokens": 1, "output_tokens": 1, "cached_tokens": 0, "reasoning_tokens": 0,
        "cost_pico_usd": 10**9, "calls": "", "answer": json.dumps({"versions": record.versions}) if record.versions else "",
    }  # fmt: skip
    return Row(**usual | values)


def served(
    failing: Mapping[str, float], slower: Mapping[str, float]
) -> Callable[[random.Random, str, float], dict[str, Any]]:
    """Answers that fail so often, and take so much longer; people differ in what they ask."""

    def answers(rng: random.Random, who: str, habit: float) -> dict[str, Any]:
        if rng.random() < failing[who] * math.exp(0.5 * habit - 0.125):
            return {"outcome": "failed", "status": 502}
        return {"duration_ms": 800 * slower[who] * math.exp(0.4 * habit + rng.gauss(0, 0.5))}

    return answers


def experiment(**more: Any) -> ABSettings:
    rails = {"latency": 0.1} if more.get("metric", "answered") == "answered" else {"answered": 0.01}
    return ABSettings(**{"target": "small", "arms": {"new": "large"}, "guardrails": rails, **more})


def scenarios() -> Iterator[tuple[str, dict[str, Any]]]:
    same = {"small": 0.03, "large": 0.03}
    even = {"small": 1.0, "large": 1.0}
    steps = (0.01, 0.05, 0.25, 0.5, 1.0)
    yield "no difference", day(experiment(most_units=8000), served(same, even), seed=1)
    yield (
        "a fifth of answers fail",
        day(experiment(metric="latency"), served({"small": 0.03, "large": 0.2}, even), seed=2),
    )
    yield "everything fails", day(experiment(metric="latency"), served({"small": 0.0, "large": 2.0}, even), seed=3)
    yield "half as slow again", day(experiment(), served(same, {"small": 1.0, "large": 1.5}), seed=4)
    yield (
        "a tenth faster (metric)",
        day(experiment(metric="latency", most_units=8000), served(same, {"small": 1.0, "large": 0.9}), seed=5),
    )
    yield (
        "roll-out of a good one, by request",
        day(
            experiment(rollout=steps, units_per_step=500, unit="request", most_units=50_000),
            served(same, even),
            seed=6,
            days=2,
        ),
    )
    yield "roll-out of one that fails 1 in 5, by request", day(
        experiment(rollout=steps, units_per_step=500, unit="request", metric="latency"),
        served({"small": 0.03, "large": 0.2}, even), seed=7,
    )  # fmt: skip


# ---------------------------------------------------------------- guardrails of people who come back

UNITS, VISITS = 600, 5  # people in each arm, and the most requests of each
LOOK_AT = 30  # requests


def guardrails(replicates: int) -> dict[str, dict[str, Any]]:
    """How often a harmless arm is taken for harmful, with a look after every thirty requests; the promise is half of alpha, 2.5 %.

    As the evaluator does it: people count with the mean of their requests so far, and the clock is the planned deviation.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, deviation in (("as it is: by how sure the difference is", None), ("by units, as if none came back", 0.0)):
        for metric, draw in (
            ("answered .95", _shares(0.95)),
            ("answered .98", _shares(0.98)),
            ("latency", _latencies()),
        ):
            kind = metric.partition(" ")[0]
            plan = plan_of(experiment(metric="cost", guardrails={kind: 0.0}, most_units=UNITS))
            rail = plan.guardrails[0]
            used = rail.deviation if deviation is None else deviation
            alarms = _alarms(
                draw, better=rail.better, deviation=used, alpha=rail.alpha, replicates=replicates, seed=len(found)
            )
            interval = clopper_pearson(alarms, replicates)
            found[f"{metric}, {name}"] = {
                "alarms_percent": round(100 * alarms / replicates, 2), "low": round(100 * interval.low, 2),
                "high": round(100 * interval.high, 2),
            }  # fmt: skip
    return found


def _shares(mean: float) -> Callable[[np.random.Generator, int], tuple[Floats, Callable[[Floats], Floats]]]:
    def draw(rng: np.random.Generator, replicates: int) -> tuple[Floats, Callable[[Floats], Floats]]:
        persons = rng.beta(mean * 4, (1 - mean) * 4, (2 * UNITS, replicates))
        return persons, lambda mine: (rng.random(mine.shape) < mine).astype(float)

    return draw


def _latencies() -> Callable[[np.random.Generator, int], tuple[Floats, Callable[[Floats], Floats]]]:
    def draw(rng: np.random.Generator, replicates: int) -> tuple[Floats, Callable[[Floats], Floats]]:
        persons = rng.normal(0, 0.4, (2 * UNITS, replicates))
        return persons, lambda mine: mine + rng.normal(0, 0.5, mine.shape)

    return draw


def _alarms(
    draw: Callable[[np.random.Generator, int], tuple[Floats, Callable[[Floats], Floats]]], *, better: str, deviation: float,
    alpha: float, replicates: int, seed: int,
) -> int:  # fmt: skip
    """Replicates side by side, in which people come at the same times and are others."""
    rng = np.random.default_rng(seed)
    persons, drawn = draw(rng, replicates)
    order = rng.permutation(np.repeat(np.arange(2 * UNITS), VISITS))
    seen = np.zeros(2 * UNITS)
    totals = np.zeros((2 * UNITS, replicates))
    zeros = Arm(*(np.zeros(replicates) for _ in range(10)))
    arms, rule, harmed = [zeros, zeros], Always(alpha, tuned=EARLY), np.zeros(replicates, bool)
    for n, person in enumerate(order, 1):
        side = int(person % 2)
        was = Arm.of(totals[person] / seen[person], np.ones(replicates)) if seen[person] else zeros
        totals[person] += drawn(persons[person])
        seen[person] += 1
        arms[side] = arms[side] - was + Arm.of(totals[person] / seen[person], np.ones(replicates))
        if n % LOOK_AT or min(float(np.min(arm.n)) for arm in arms) < 30:
            continue
        stands = effect([(arms[0], arms[1])])
        error = np.asarray(stands.error, float)
        information = np.asarray(stands.weight, float) / (UNITS / 2)
        if deviation:
            information = np.where(np.isfinite(error), 2 * deviation**2 / UNITS / error**2, 0.0)
        half = rule.critical(np.maximum(information, 1e-12)) * error
        worst = np.asarray(stands.difference) + half if better == "higher" else -(np.asarray(stands.difference) - half)
        harmed |= np.isfinite(error) & (worst < 0)
    return int(harmed.sum())


# ---------------------------------------------------------------- all of it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2000, help="experiments for each figure of the guardrails")
    replicates = parser.parse_args().replicates
    pays = added()
    show("Added to a request, microseconds of CPU", {"us": SECONDS}, pays)
    days = dict(scenarios())
    columns = {
        "ends as": "state", "after h": "hours", "requests": "requests", "to the candidate": "to_candidate",
        "failed there": "failed_at_candidate", "CPU s per 1,000": "look_s_per_1000_requests", "slowest look s": "slowest_look_s",
    }  # fmt: skip
    show(f"{A_DAY:,} requests a day of {PEOPLE:,} people, looked at every minute", columns, days)
    alarms = guardrails(replicates)
    show("A harmless arm, taken for harmful", {"%": "alarms_percent", "from": "low", "to": "high"}, alarms)
    figures = {
        "versions": versions(["penstock", "numpy"]), "replicates": replicates, "added_us": pays, "days": days,
        "harmless_taken_for_harmful": alarms,
    }  # fmt: skip
    write("ab_live", claim=__doc__, command="python -m benchmarks.ab_live", figures=figures)


if __name__ == "__main__":
    main()
