"""An experiment looked at after every observation keeps its 5 %, and ends earlier than with the ten looks of O'Brien and Fleming.

    python -m benchmarks.ab [--replicates N]

Simulated: success rates of .80 against .80 and .82, 10,000 units in each arm, units dealt at random, all rules on the same draws.
The rules of others are written here from their papers. Then what the rest promises: intervals and estimates at a stop, other
metrics, adjustment by what is known from before, lost units, guardrails, units that come back, bandits. Needs no data.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import show, versions, write
from penstock.evaluate.ab import Plan
from penstock.evaluate.assignment import Experiment, assign
from penstock.evaluate.bandit import Tally, chances, weighted_mean
from penstock.evaluate.effects import Arm, effect
from penstock.evaluate.replay import Observation, analyse
from penstock.evaluate.sequential import Always, Fixed, Planned, Rule, adjusted, log_evidence
from penstock.evaluate.simulation import Draw, Simulated, normal, rate, side_by_side, simulate
from penstock.stats import clopper_pearson, fits, kolmogorov_smirnov, normal_quantile

Floats = NDArray[np.float64]

UNITS = 10_000


# ---------------------------------------------------------------- the rules of others


@dataclass(frozen=True)
class AtLooks:
    """A rule with so many evenly spaced looks: z must reach constant * (looks / look) ** shape."""

    looks: int
    constant: float
    shape: float = 0.0
    alpha: float = 0.05

    def critical(self, information: Floats) -> Floats:
        place = np.asarray(information) * self.looks
        first_after = np.floor(place) > np.floor(
            np.concatenate([np.zeros_like(place[..., :1]), place[..., :-1]], axis=-1)
        )
        with np.errstate(divide="ignore"):
            return np.where(
                first_after, self.constant * (self.looks / np.maximum(np.floor(place), 1)) ** self.shape, np.inf
            )

    def p_value(self, z: float, information: float) -> float:
        raise NotImplementedError("only simulated here")


@dataclass(frozen=True)
class Mixture:
    """mSPRT (Johari et al. 2022): a normal mixture, tuned to a number of units in each arm."""

    tuned: float
    alpha: float = 0.05

    def critical(self, information: Floats) -> Floats:
        ratio = np.maximum(np.asarray(information), 1e-12) * UNITS / self.tuned
        return np.sqrt((1 + 1 / ratio) * (np.log1p(ratio) - 2 * math.log(self.alpha)))

    def p_value(self, z: float, information: float) -> float:
        raise NotImplementedError("only simulated here")


class Naive(Fixed):
    def critical(self, information: Floats) -> Floats:
        return np.full(np.shape(information), 1.96)


RULES: dict[str, Rule] = {
    "Penstock planned": Planned(),
    "Penstock always": Always(),
    "one look at the end": Fixed(),
    "1.96 after every observation": Naive(),
    "Bonferroni, 100 looks": AtLooks(100, -normal_quantile(0.025 / 100)),
    "O'Brien-Fleming, 10 looks": AtLooks(10, 2.087, 0.5),
    "Pocock, 10 looks": AtLooks(10, 2.555),
    "mSPRT, tuned to 1,000": Mixture(1000),
    "mSPRT, tuned to 4,000": Mixture(4000),
}


def rules(replicates: int) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    runs = [
        side_by_side(rate(0.8, p), list(RULES.values()), units_per_arm=UNITS, replicates=replicates, seed=seed)
        for seed, p in enumerate((0.8, 0.82))
    ]
    for (name, rule), null, real in zip(RULES.items(), *runs, strict=True):
        found[name] = {
            "false_positives": null.decided.estimate, "false_positives_95": list(null.decided[1:3]),
            "mean_stop_without_effect": null.length.estimate,
            "power": real.right.estimate, "power_95": list(real.right[1:3]),
            "mean_stop": real.length.estimate, "mean_stop_95": list(real.length[1:3]),
        }  # fmt: skip
        if isinstance(rule, Planned | Always):
            found[name] |= {"at_the_stop": at_the_stop(real, 0.02, rule)}
        print(name, {key: value for key, value in found[name].items() if "95" not in key}, file=sys.stderr, flush=True)
    began = time.process_time()
    found["Penstock planned"] |= {"more_seeds": more_seeds(replicates)}
    found["Penstock planned"]["cpu_s_of_one_run"] = round((time.process_time() - began) / 3, 1)
    return found


def more_seeds(replicates: int) -> dict[str, Any]:
    """False positives of other seeds too: one run of 10,000 has a standard error of .2 points."""
    wins = [
        int((simulate(rate(0.8, 0.8), Planned(), units_per_arm=UNITS, replicates=replicates, seed=seed).won != 0).sum())
        for seed in (10, 11, 12)
    ]
    pooled = clopper_pearson(sum(wins), 3 * replicates)
    return {"each": [one / replicates for one in wins], "together": pooled.estimate, "together_95": list(pooled[1:3])}


def at_the_stop(found: Simulated, truth: float, rule: Rule) -> dict[str, float]:
    """How often the interval at the stop holds the truth, and how far the estimates are off."""
    half = np.array([float(rule.critical(np.array([t]))[0]) for t in found.information]) * found.error
    held = np.abs(found.difference - truth) <= half
    figures = {
        "interval_held": float(held.mean()), "mean_estimate": float(found.difference.mean()),
        "median_estimate": float(np.median(found.difference)),
    }  # fmt: skip
    if isinstance(rule, Planned):
        fair = np.array(
            [
                adjusted(float(d / e), float(t), rule.width) * float(e) * math.sqrt(t)
                for d, e, t in zip(found.difference, found.error, found.information, strict=True)
            ]
        )
        figures |= {"mean_adjusted": float(fair.mean()), "median_adjusted": float(np.median(fair))}
    return figures


# ---------------------------------------------------------------- other metrics and sizes


def lognormal(rng: np.random.Generator, of_candidate: NDArray[np.bool_]) -> Floats:
    """Skewed as costs are: a tenth of the units has half of the sum."""
    return np.exp(1.5 * rng.standard_normal(of_candidate.shape))


def latencies(rng: np.random.Generator, of_candidate: NDArray[np.bool_]) -> Floats:
    return 0.2 + rng.standard_exponential(of_candidate.shape)


NULLS: dict[str, tuple[Draw, int]] = {
    "rate .50, 500 an arm": (rate(0.5, 0.5), 500),
    "rate .95, 2,000 an arm": (rate(0.95, 0.95), 2000),
    "rate .01, 10,000 an arm": (rate(0.01, 0.01), 10_000),
    "rate .001, 10,000 an arm": (rate(0.001, 0.001), 10_000),
    "normal, 100 an arm": (normal(5, 5, 2), 100),
    "latency, 1,000 an arm": (latencies, 1000),
    "lognormal cost (sigma 1.5), 500 an arm": (lognormal, 500),
    "lognormal cost (sigma 1.5), 5,000 an arm": (lognormal, 5000),
}


def other_metrics(replicates: int) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, (draw, units) in NULLS.items():
        found[name] = {}
        runs = side_by_side(draw, [Planned(), Always()], units_per_arm=units, replicates=replicates, seed=7)
        for rule, run in zip(("planned", "always"), runs, strict=True):
            found[name] |= {rule: run.decided.estimate, f"{rule}_95": list(run.decided[1:3])}
        print(name, found[name], file=sys.stderr, flush=True)
    return found


def with_futility(replicates: int) -> dict[str, float]:
    """What it brings to stop where .02 can hardly be shown any more."""
    null, real = (
        simulate(rate(0.8, p), Planned(), units_per_arm=UNITS, replicates=replicates, minimum_effect=0.02, seed=2)
        for p in (0.8, 0.82)
    )
    return {
        "false_positives": null.decided.estimate, "mean_stop_without_effect": null.length.estimate,
        "power": real.right.estimate, "mean_stop": real.length.estimate,
    }  # fmt: skip


# ---------------------------------------------------------------- what is known from before


def known_before(replicates: int) -> dict[str, dict[str, float]]:
    """Variance taken off, false positives when looked at after every unit, power: 1,000 an arm, effect .12 SD."""
    found = {}
    for rho in (0.0, 0.3, 0.55, 0.7, 0.9):
        rng = np.random.default_rng(3)
        wins = {(use, shift): 0 for use in (False, True) for shift in (0.0, 0.12)}
        cuts = []
        for _ in range(replicates):
            new = rng.random(2000) < 0.5
            x = rng.standard_normal(2000)
            noise = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal(2000)
            for shift in (0.0, 0.12):
                each = Arm.of(noise + shift * new, np.ones(2000), x, n=np.ones(2000))
                control, candidate = (each.each(Among(mine)) for mine in (~new, new))
                for use in (False, True):
                    seen = effect([(control, candidate)], use_before=use)
                    t = np.asarray(seen.weight) / 500
                    t[-1] = 1
                    ready = np.minimum(np.asarray(control.n), np.asarray(candidate.n)) >= 30
                    crossed = (np.abs(seen.difference) >= Planned().critical(t) * seen.error) & ready
                    wins[use, shift] += bool(crossed.any())
            cuts.append(float(np.asarray(seen.variance_cut)[-1]))
        found[f"rho {rho}"] = {
            "variance_cut": float(np.mean(cuts)), "rho_squared": rho**2,
            "false_positives": wins[True, 0.0] / replicates, "false_positives_without": wins[False, 0.0] / replicates,
            "power": wins[True, 0.12] / replicates, "power_without": wins[False, 0.12] / replicates,
        }  # fmt: skip
        print(rho, found[f"rho {rho}"], file=sys.stderr, flush=True)
    return found


@dataclass(frozen=True)
class Among:
    """The sums so far over some of the units."""

    mine: NDArray[np.bool_]

    def __call__(self, values: float | Floats) -> Floats:
        return np.cumsum(np.where(self.mine, values, 0.0))


# ---------------------------------------------------------------- lost units, guardrails, units that come back


def lost_units(replicates: int) -> dict[str, dict[str, float | None]]:
    """Looked at after every tenth of 20,000 units: how often the deal is blamed, and after how many units."""
    found: dict[str, dict[str, float | None]] = {}
    for name, share in (
        ("fair", 0.5),
        ("2 % of one arm lost", 0.98 / 1.98),
        ("5 % lost", 0.95 / 1.95),
        ("10 % lost", 0.9 / 1.9),
    ):
        rng, blamed, after = np.random.default_rng(4), 0, []
        for _ in range(replicates):
            b = np.cumsum(rng.random(2 * UNITS) < share)[9::10].astype(float)
            n = np.arange(10.0, 2 * UNITS + 1, 10)
            over = log_evidence([n - b, b], [0.5, 0.5]) > -math.log(0.01)
            if over.any():
                blamed += 1
                after.append(float(n[over.argmax()]))
        found[name] = {"blamed": blamed / replicates, "after_units": float(np.median(after)) if after else None}
        once = [fits([2 * UNITS * (1 - share), 2 * UNITS * share], [1, 1]).p_value]
        found[name]["chi_squared_p_once_at_the_end"] = once[0]
        print(name, found[name], file=sys.stderr, flush=True)
    return found


def guardrails(replicates: int) -> dict[str, dict[str, float]]:
    """An error rate of .02, watched after every unit, margin 0: how often it stops, in which direction, and how early."""
    rule, found = Always(0.05, tuned=0.1), {}
    for name, worse in (("no harm", 0.02), ("half more errors", 0.03), ("twice as many", 0.04)):
        seen, late = side_by_side(
            rate(0.02, worse), [rule, Planned()], units_per_arm=UNITS, replicates=replicates, seed=5
        )
        found[name] = {
            "stopped_for_harm": seen.right.estimate, "mean_units_per_arm": seen.length.estimate,
            "stopped_by_the_bound_of_the_plan": late.right.estimate, "its_mean_units_per_arm": late.length.estimate,
        }  # fmt: skip
        print(name, found[name], file=sys.stderr, flush=True)
    return found


def coming_back(replicates: int) -> dict[str, Any]:
    """400 people with five rows each on average, in random order, replayed; no effect. Beside, rows taken for units."""
    found: dict[str, Any] = {}
    for rule in ("planned", "always"):
        rng, by_unit, by_row = np.random.default_rng(6), 0, 0
        for _ in range(replicates):
            person, arm = rng.standard_normal(400) / 2, rng.random(400) < 0.5
            who = rng.integers(0, 400, 2000)
            rows = [
                Observation(str(n), "new" if arm[n] else "control", float(person[n] + rng.standard_normal()))
                for n in who
            ]
            plan = Plan(units=190, rule=rule)
            by_unit += analyse(rows, plan, control="control").decisions["new"].outcome == "winner"
            alone = [row._replace(unit=str(n)) for n, row in enumerate(rows)]
            plan = Plan(units=1000, rule=rule)
            by_row += analyse(alone, plan, control="control").decisions["new"].outcome == "winner"
        found[rule] = {
            "units": by_unit / replicates, "units_95": list(clopper_pearson(by_unit, replicates)[1:3]),
            "rows_as_units": by_row / replicates,
        }  # fmt: skip
        print(rule, found[rule], file=sys.stderr, flush=True)
    return found


# ---------------------------------------------------------------- bandits, assignment


def bandit(replicates: int) -> dict[str, dict[str, float]]:
    """Two arms, 4,000 units in batches of 100, floors of .05: what is lost against the better arm, and what is then known of each.

    `coverage` is of the arm that is worse (or, without an effect, of the second); `lost` counts successes in 1,000 units.
    """
    found = {}
    for name, rates in (("no effect", (0.8, 0.8)), (".80 against .85", (0.85, 0.8))):
        rng = np.random.default_rng(8)
        lost, plain, weighted, held, held_plain, told = [], [], [], 0, 0, 0
        for _ in range(replicates):
            sums = np.zeros((2, 2))
            values, mine, chance = [], [], []
            for batch in range(40):
                p = chances([Tally(n, total, total) for n, total in sums], floor=0.05, draws=1000, seed=batch)
                second = rng.random(100) < p[1]
                got = rng.random(100) < np.where(second, rates[1], rates[0])
                for arm in (0, 1):
                    sums[arm] += [(second == arm).sum(), got[second == arm].sum()]
                values.append(got)
                mine.append(second)
                chance.append(np.full(100, p[1]))
            y, of_second, e = np.concatenate(values), np.concatenate(mine), np.concatenate(chance)
            lost.append((max(rates) - y.mean()) * 1000)
            mean = sums[1][1] / sums[1][0]
            half = 1.96 * math.sqrt(mean * (1 - mean) / sums[1][0])
            fair = weighted_mean(y.astype(float), of_second, e)
            other = weighted_mean(y.astype(float), ~of_second, 1 - e)
            plain.append(mean)
            weighted.append(fair.estimate)
            held_plain += abs(mean - rates[1]) <= half
            held += fair.low <= rates[1] <= fair.high
            error = math.hypot(fair.high - fair.low, other.high - other.low) / 2 / 1.96
            told += abs(other.estimate - fair.estimate) > 1.96 * error
        sized = simulate(rate(rates[1], rates[0]), Planned(), units_per_arm=2000, replicates=replicates, seed=9)
        half_lost = (max(rates) - sum(rates) / 2) * 1000 * float(sized.length.estimate) / 2000
        found[name] = {
            "lost": float(np.mean(lost)), "lost_by_the_experiment": half_lost,
            "bias_of_the_plain_mean": float(np.mean(plain)) - rates[1], "coverage_plain": float(held_plain) / replicates,
            "bias_weighted": float(np.mean(weighted)) - rates[1], "coverage_weighted": held / replicates,
            "told_apart": told / replicates, "told_apart_by_the_experiment": float(sized.decided.estimate),
        }  # fmt: skip
        print(name, found[name], file=sys.stderr, flush=True)
    return found


def assignment() -> dict[str, float]:
    """P-values of 1,000 deals of 3,000 units should be even; and what one assignment costs."""
    p_values, began = [], time.process_time()
    for number in range(1000):
        experiment = Experiment(name=f"experiment {number}", arms={"a": 0.7, "b": 0.2, "c": 0.1})
        arms = [assign(experiment, f"user-{n}").arm for n in range(3000)]
        p_values.append(fits([arms.count(arm) for arm in "abc"], [0.7, 0.2, 0.1]).p_value)
    spent = time.process_time() - began
    even = kolmogorov_smirnov(p_values, (np.arange(2000) + 0.5) / 2000)
    return {"evenness_p": even.p_value, "smallest_p_of_1000": min(p_values), "microseconds": spent / 3}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--replicates", type=int, default=10_000)
    replicates = arguments.parse_args().replicates
    fewer = max(100, replicates // 5)
    parts: dict[str, Callable[[], Any]] = {
        "rules": lambda: rules(replicates),
        "futility": lambda: with_futility(max(100, replicates // 2)),
        "no_effect_in_other_metrics": lambda: other_metrics(max(100, replicates // 2)),
        "known_before": lambda: known_before(fewer),
        "lost_units": lambda: lost_units(fewer // 2),
        "guardrails": lambda: guardrails(fewer),
        "units_that_come_back": lambda: coming_back(max(50, fewer * 3 // 20)),
        "bandit": lambda: bandit(fewer // 4),
        "assignment": assignment,
    }
    figures = {name: part() for name, part in parts.items()}
    write(
        "ab",
        claim=__doc__,
        command="python -m benchmarks.ab" + (f" --replicates {replicates}" if replicates != 10_000 else ""),
        figures={"replicates": replicates, "units_per_arm": UNITS, "versions": versions(["numpy"]), **figures},
    )
    show(
        f".80 against .80 and .82, {UNITS:,} an arm, {replicates:,} replicates",
        {"false positives": "false_positives", "power": "power", "mean stop": "mean_stop"},
        figures["rules"],
    )


if __name__ == "__main__":
    main()
