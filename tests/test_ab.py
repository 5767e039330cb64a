"""Experiments: who gets what, what the bounds promise under constant peeking, and what a file of results has shown."""

import csv
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cli.main import cli
from penstock.errors import BadRequest
from penstock.evaluate.ab import Decision, Guardrail, Plan, decide
from penstock.evaluate.assignment import Experiment, assign
from penstock.evaluate.bandit import Tally, chances, weighted_mean
from penstock.evaluate.effects import SUMS, Arm, effect
from penstock.evaluate.power import Metric, effect_for, power_of, size_for
from penstock.evaluate.replay import Observation, analyse
from penstock.evaluate.rollout import Rollout, next_move, weights_at
from penstock.evaluate.sequential import (
    RULES,
    Always,
    Fixed,
    Planned,
    adjusted,
    conditional_power,
    ever_outside,
    mismatch,
    reached,
    rule_of,
)
from penstock.evaluate.simulation import normal, rate, simulate
from penstock.stats import fits

# ---------------------------------------------------------------- who gets what

names = st.text(max_size=20)
weights = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 10), min_size=2)


@given(names, names, weights)
def test_a_unit_always_gets_the_same_arm_whatever_the_order_of_the_arms(name: str, unit: str, arms: dict[str, float]):
    first = assign(Experiment(name=name, arms=arms), unit)
    again = assign(Experiment(name=name, arms=dict(reversed(arms.items()))), unit)

    assert first == again
    assert first.arm in arms


@given(names, weights, st.floats(1, 50))
@settings(max_examples=60)
def test_when_one_weight_grows_units_move_to_it_and_nowhere_else(name: str, arms: dict[str, float], growth: float):
    grown = next(iter(arms))
    before, after = Experiment(name=name, arms=arms), Experiment(name=name, arms=arms | {grown: arms[grown] * growth})

    for unit in map(str, range(60)):
        was, became = assign(before, unit).arm, assign(after, unit).arm
        assert became in (was, grown)


def test_a_growing_canary_never_moves_anybody_back():
    got: set[str] = set()
    for share in Rollout().shares:
        experiment = Experiment(name="canary", arms=weights_at(share))
        now = {unit for unit in map(str, range(3000)) if assign(experiment, unit).arm == "candidate"}
        assert got <= now
        assert len(now) / 3000 == pytest.approx(share, abs=0.03)
        got = now


@pytest.mark.parametrize(
    "arms", [{"a": 1.0, "b": 1.0}, {"a": 98.0, "b": 1.0, "c": 1.0}, {"a": 0.2, "b": 0.3, "c": 0.5}]
)
def test_units_are_dealt_out_by_weight(arms: dict[str, float]):
    for name in ("one", "two"):
        experiment = Experiment(name=name, arms=arms)
        counts = Counter(assign(experiment, f"user-{n}").arm for n in range(20_000))
        assert fits([counts[arm] for arm in arms], list(arms.values())).p_value > 0.001


def test_two_experiments_deal_independently_of_each_other():
    one, two = (Experiment(name=name, arms={"a": 1, "b": 1}) for name in ("one", "two"))
    counts = Counter((assign(one, str(n)).arm, assign(two, str(n)).arm) for n in range(8000))

    assert fits(list(counts.values()), [1] * 4).p_value > 0.001


def test_holdout_slots_and_names_keep_units_out():
    arms = {"a": 1.0, "b": 1.0}
    one = Experiment(name="one", arms=arms, holdout=0.1, slots=(0, 0.5), excluded=frozenset({"staff"}))
    two = Experiment(name="two", arms=arms, holdout=0.1, slots=(0.5, 1))
    found = [(assign(one, str(n)), assign(two, str(n))) for n in range(5000)]

    assert assign(one, "staff") == ("", "excluded")
    assert all((a.reason == "holdout") == (b.reason == "holdout") for a, b in found)
    assert sum(a.reason == "holdout" for a, _ in found) / 5000 == pytest.approx(0.1, abs=0.02)
    assert not any(a.arm and b.arm for a, b in found)
    assert all(a.arm or b.arm for a, b in found if a.reason != "holdout")


def test_an_experiment_that_cannot_be_is_refused():
    for wrong in ({}, {"a": 0.0}, {"a": -1.0, "b": 2.0}, {"a": math.nan}, {"": 1.0}):
        with pytest.raises(BadRequest):
            Experiment(name="x", arms=wrong)
    with pytest.raises(BadRequest):
        Experiment(name="x", arms={"a": 1}, slots=(0.5, 0.5))


# ---------------------------------------------------------------- bounds


def test_the_bound_of_a_plan_is_that_of_reflected_brownian_motion():
    """2.2414 is where two one-sided reflections of .025 each lie; O'Brien and Fleming's for endlessly many looks."""
    assert ever_outside(2.2414) == pytest.approx(0.05, abs=2e-5)
    assert Planned(0.05).width == pytest.approx(2.2492, abs=1e-3)  # for .049: the rest is kept for a late look
    assert Fixed(0.05).critical(np.array([0.5, 1.0])).tolist() == [math.inf, pytest.approx(1.959964)]


def test_brownian_motion_crosses_as_often_as_the_formulas_say():
    rng = np.random.default_rng(0)
    steps, paths = 2000, 4000
    walk = np.cumsum(rng.normal(0, 1 / math.sqrt(steps), (paths, steps)), 1)
    width = 1.5 + 0.583 / math.sqrt(steps)  # what a walk in steps overshoots (Siegmund 1985)

    assert (np.abs(walk).max(1) >= 1.5).mean() == pytest.approx(ever_outside(width), abs=0.02)
    drifting = walk + np.linspace(1 / steps, 1, steps)
    assert (drifting.max(1) >= 1.5).mean() == pytest.approx(reached(width, 1.0, 1.0), abs=0.02)
    half = drifting[:, steps // 2 :] - drifting[:, [steps // 2 - 1]] + 0.4
    assert (half.max(1) >= 1.5).mean() == pytest.approx(conditional_power(0.4, 0.5, 1.0, width), abs=0.02)


@given(st.floats(0.001, 1.5), st.floats(0.001, 6), st.sampled_from(RULES), st.floats(0.001, 0.2))
def test_a_difference_counts_exactly_when_its_p_value_is_below_alpha(t: float, z: float, name: str, alpha: float):
    rule = rule_of(name, alpha)  # type: ignore[arg-type]
    critical = float(rule.critical(np.array([t]))[0])
    if t > 1 and name == "planned":
        assert critical >= rule.critical(np.array([1.0]))[0] - 1e-9
        return

    kept = 0.98 if name == "planned" else 1.0
    if abs(z - critical) > 1e-6:
        assert (z > critical) == (rule.p_value(z, t) < alpha * kept)


def test_a_late_last_look_costs_little_and_the_more_the_later():
    late = Planned().critical(np.array([1.0, 1.001, 1.05, 1.5, 4.0]))

    assert late[0] == pytest.approx(2.249, abs=1e-3)
    assert np.all(np.diff(late) >= -1e-6)
    assert late[2] < 2.45
    assert late[-1] < 3.3


def test_the_estimate_at_a_stop_is_right_in_the_middle():
    """At a drift of 2.5 the plain estimates of stopped experiments are too large; the adjusted ones have the truth as median."""
    rng, width = np.random.default_rng(1), Planned().width
    t = np.arange(1, 1001) / 1000
    walk = np.cumsum(rng.normal(2.5 / 1000, 1 / math.sqrt(1000), (3000, 1000)), 1)
    crossed = np.abs(walk) >= width
    stop = np.where(crossed.any(1), crossed.argmax(1), 999)
    z = walk[np.arange(3000), stop] / np.sqrt(t[stop])
    plain = z / np.sqrt(t[stop])
    fair = np.array([adjusted(float(a), float(b), width) for a, b in zip(z, t[stop], strict=True)])

    assert np.median(plain) > 2.6
    assert (fair > 2.5).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("rule", "most"), [(Planned(), 0.055), (Always(), 0.03)])
def test_nobody_wins_where_nothing_differs_however_often_one_looks(rule: Planned | Always, most: float):
    found = simulate(rate(0.8, 0.8), rule, units_per_arm=500, replicates=4000, seed=3)

    assert found.decided.estimate <= most + 0.007  # two standard errors of the simulation
    assert found.stopped.max() <= 1000


def test_an_effect_is_found_as_often_and_as_early_as_the_formulas_say():
    metric = Metric(0.5)
    sized = power_of(metric, 0.08, 800)
    found = simulate(rate(0.5, 0.58), Planned(), units_per_arm=800, replicates=2000, seed=4)

    assert found.right.estimate == pytest.approx(sized.power, abs=0.03)
    assert found.length.estimate == pytest.approx(sized.mean_units, rel=0.04)
    assert found.wrong.estimate < 0.005


def test_futility_ends_experiments_early_and_costs_little_power():
    of_none = simulate(rate(0.5, 0.5), Planned(), units_per_arm=800, replicates=500, minimum_effect=0.08, seed=5)
    of_some = simulate(rate(0.5, 0.58), Planned(), units_per_arm=800, replicates=1000, minimum_effect=0.08, seed=5)

    assert of_none.length.estimate < 700
    assert of_none.decided.low < 0.05
    assert of_some.right.estimate > power_of(Metric(0.5), 0.08, 800).power - 0.05


def test_looking_all_the_time_without_paying_for_it_is_caught_by_the_simulation():
    class Naive(Fixed):
        def critical(self, information: np.ndarray) -> np.ndarray:
            return np.full(np.shape(information), 1.96)

    found = simulate(normal(0, 0, 1), Naive(), units_per_arm=500, replicates=1000, seed=6)

    assert found.decided.estimate > 0.25


# ---------------------------------------------------------------- effects


def arms_of(control: np.ndarray, candidate: np.ndarray) -> tuple[Arm, Arm]:
    return Arm.over(control), Arm.over(candidate)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30), st.lists(st.floats(-50, 50), min_size=2, max_size=30))
def test_the_difference_and_its_error_are_those_of_welch(control: list[float], candidate: list[float]):
    a, b = np.array(control), np.array(candidate)
    found = effect([arms_of(a, b)])
    error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))

    assert float(found.difference) == pytest.approx(b.mean() - a.mean(), abs=1e-9)
    if error > 1e-3:
        assert float(found.error) == pytest.approx(error, rel=1e-6)


@given(
    st.lists(st.tuples(st.floats(-9, 9), st.integers(1, 5), st.floats(-9, 9)), min_size=1, max_size=12),
    st.integers(0, 11),
)
def test_sums_add_up_whoever_gathered_them(units: list[tuple[float, int, float]], cut: int):
    def of(part: list[tuple[float, int, float]]) -> Arm:
        total = Arm()
        for y, d, x in part:
            total = total + Arm.of(y, d, x)
        return total

    whole, parts = of(units), of(units[:cut]) + of(units[cut:])
    columns = [np.array(column, float) for column in zip(*units, strict=True)]

    for other in (parts, Arm.over(*columns)):
        for name in SUMS:
            assert float(getattr(other, name)) == pytest.approx(float(getattr(whole, name)), abs=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.55, 0.8])
def test_what_is_known_from_before_takes_its_square_off_the_variance(rho: float):
    rng = np.random.default_rng(2)
    sides, plain = [], []
    for shift in (0.0, 0.1):
        x = rng.normal(size=20_000)
        y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=20_000) + shift
        sides.append(Arm.over(y, x=x))
        plain.append(Arm.over(y))
    found = effect([(sides[0], sides[1])])

    assert float(found.variance_cut) == pytest.approx(rho**2, abs=0.015)
    assert float(found.error) <= float(effect([(plain[0], plain[1])]).error) * 1.0001
    assert float(found.difference) == pytest.approx(0.1, abs=0.035)


def test_a_mean_over_rows_of_the_same_units_has_an_interval_that_holds():
    """Forty people with ten answers each: rows taken for independent say 'different' far too often, units do not."""
    rng, wrong = np.random.default_rng(3), {"rows": 0, "units": 0}
    for _ in range(400):
        arms, rows = [], []
        for _ in range(2):
            sizes = rng.integers(1, 20, 60)
            person = rng.normal(size=60)
            values = [person[n] + rng.normal(size=size) for n, size in enumerate(sizes)]
            arms.append(Arm.over(np.array([v.sum() for v in values]), sizes.astype(float)))
            rows.append(Arm.over(np.concatenate(values)))
        for name, (a, b) in (("units", arms), ("rows", rows)):
            found = effect([(a, b)])
            wrong[name] += abs(float(found.difference)) > 1.96 * float(found.error)

    assert wrong["units"] <= 36  # 9 % of 400, where 5 % are due
    assert wrong["rows"] > 100


def test_a_trend_during_a_growing_canary_is_no_effect():
    """Both arms get better with time, and the candidate gets its units late: thrown together it would look better."""
    rng = np.random.default_rng(4)
    stages = []
    for level, control, candidate in ((0.5, 9000, 100), (0.6, 5000, 5000), (0.7, 1000, 9000)):
        stages.append(
            arms_of(rng.binomial(1, level, control).astype(float), rng.binomial(1, level, candidate).astype(float))
        )
    together = effect([(stages[0][0] + stages[1][0] + stages[2][0], stages[0][1] + stages[1][1] + stages[2][1])])
    found = effect(stages)

    assert float(together.difference) / float(together.error) > 10
    assert abs(float(found.difference) / float(found.error)) < 3


# ---------------------------------------------------------------- units that got lost


def test_lost_units_are_noticed_and_a_fair_deal_is_not_blamed_however_often_one_looks():
    rng, blamed = np.random.default_rng(5), 0
    for _ in range(300):
        heads = np.cumsum(rng.random(3000) < 0.5)
        looks = range(9, 3000, 30)
        blamed += any(mismatch([([float(n + 1 - heads[n]), float(heads[n])], [1, 1])]) < 0.01 for n in looks)

    assert blamed <= 8
    assert mismatch([([5200, 4800], [1, 1])]) < 0.01
    assert mismatch([([5000, 5000], [1, 1]), ([900, 100], [9, 1])]) == 1
    assert mismatch([([10, 1], [1, 0])]) == 0


# ---------------------------------------------------------------- decisions

PLAN = Plan(units=1000, minimum_effect=0.05)


def of_rate(units: int, successes: int) -> Arm:
    return Arm.over(np.r_[np.ones(successes), np.zeros(units - successes)])


def decided(plan: Plan, control: tuple[int, int], candidate: tuple[int, int], **more: object) -> Decision:
    return decide(plan, [(of_rate(*control), of_rate(*candidate))], **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("control", "candidate", "outcome", "winner"),
    [
        ((20, 5), (20, 20), "continue", ""),  # too few to say
        ((300, 240), (300, 250), "continue", ""),
        ((600, 400), (600, 500), "winner", "candidate"),
        ((600, 500), (600, 400), "winner", "control"),
        ((700, 560), (700, 561), "no_difference", ""),  # hardly to be shown any more
        ((1000, 800), (1000, 815), "no_difference", ""),
        ((1000, 700), (1000, 780), "winner", "candidate"),
    ],
)
def test_an_experiment_goes_on_until_something_is_sure(
    control: tuple[int, int], candidate: tuple[int, int], outcome: str, winner: str
):
    found = decided(PLAN, control, candidate)

    assert (found.outcome, found.winner) == (outcome, winner)
    assert found.interval[0] <= found.difference <= found.interval[1]
    assert (found.winner != "") == (found.interval[0] > 0 or found.interval[1] < 0)
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["reason"] == found.reason


def test_progress_is_told_by_how_sure_the_difference_is_where_a_deviation_was_planned():
    rng = np.random.default_rng(10)
    stages = [arms_of(rng.normal(0, 1, 300), rng.normal(0, 1, 300))]

    by_units = decide(Plan(units=600), stages)
    surer = decide(Plan(units=600, deviation=2.0), stages)

    assert by_units.information == pytest.approx(0.5)
    assert surer.information == pytest.approx(2.0, rel=0.15)  # half of the units with a fourth of the variance
    assert surer.outcome == "no_difference"


def test_what_is_better_lower_is_won_by_the_lower():
    assert decided(Plan(units=1000, better="lower"), (600, 400), (600, 500)).winner == "control"


def test_a_guardrail_stops_for_harm_before_anybody_wins():
    plan = Plan(units=1000, guardrails=(Guardrail(name="errors", better="lower", margin=0.02),))
    hurt = decided(plan, (600, 400), (600, 500), guardrails={"errors": [(of_rate(600, 12), of_rate(600, 90))]})
    fine = decided(plan, (600, 400), (600, 500), guardrails={"errors": [(of_rate(600, 50), of_rate(600, 50))]})
    unknown = decided(plan, (600, 400), (600, 500))

    assert (hurt.outcome, hurt.guardrails[0].status) == ("harm", "harmed")
    assert "errors" in hurt.reason
    assert (fine.outcome, fine.guardrails[0].status) == ("winner", "open")
    assert "errors" in fine.reason
    assert unknown.guardrails[0].status == "open"


def test_a_guardrail_is_safe_once_it_is_surely_within_its_margin():
    plan = Plan(units=1000, guardrails=(Guardrail(name="errors", better="lower", margin=0.1),))
    found = decided(plan, (900, 700), (900, 705), guardrails={"errors": [(of_rate(900, 90), of_rate(900, 90))]})

    assert found.guardrails[0].status == "safe"


def test_nothing_is_believed_where_units_got_lost():
    found = decided(PLAN, (600, 400), (600, 500), assigned=[((5200, 4600), (1, 1))])

    assert (found.outcome, found.winner) == ("invalid", "")


def test_nothing_is_said_of_values_without_any_variation():
    found = decide(Plan(units=100), [(Arm.over(np.full(80, 3.0)), Arm.over(np.full(80, 3.0)))])

    assert found.outcome == "continue"
    assert found.plain()["interval"] == [None, None]


def test_a_rare_outcome_needs_to_have_been_seen():
    assert decided(Plan(units=500), (500, 0), (500, 8)).outcome == "continue"


# ---------------------------------------------------------------- roll-outs


def test_a_canary_grows_step_by_step_and_goes_back_by_itself():
    rollout = Rollout(units_per_step=300)
    good = decided(PLAN, (300, 240), (300, 250))
    plan = Plan(units=1000, guardrails=(Guardrail(name="errors", better="lower"),))
    bad = decided(plan, (600, 400), (600, 400), guardrails={"errors": [(of_rate(600, 12), of_rate(600, 90))]})

    assert next_move(rollout, 0, good, 10)[:2] == ("hold", 0.01)
    assert next_move(rollout, 0, good, 300)[:2] == ("advance", 0.05)
    assert next_move(rollout, 1, bad, 5)[:2] == ("roll_back", 0.0)
    assert next_move(rollout, 4, good, 0)[:2] == ("done", 1.0)
    assert next_move(rollout, 3, decided(PLAN, (600, 500), (600, 400)), 0).kind == "roll_back"
    patient = Rollout(units_per_step=1, wait_for_safe=True)
    assert next_move(patient, 0, decided(plan, (300, 240), (300, 250)), 300).kind == "hold"


def test_a_rollout_that_shrinks_is_refused():
    for shares in ((), (0.5, 0.1), (0.0, 1.0), (0.5, 1.5)):
        with pytest.raises(BadRequest):
            Rollout(shares=shares)


# ---------------------------------------------------------------- bandits


def test_a_bandit_prefers_what_worked_and_keeps_a_floor():
    found = chances([Tally(100, 90, 90), Tally(100, 50, 50), Tally(0, 0, 0)], floor=0.1)

    assert sum(found) == pytest.approx(1)
    assert found[0] > found[2] > found[1] == pytest.approx(0.1, abs=0.01)
    means = chances([Tally(50, 500, 5100), Tally(50, 400, 3300)], kind="mean", floor=0.05)
    assert means[0] > 0.9
    with pytest.raises(BadRequest):
        chances([Tally(), Tally()], floor=0.6)
    with pytest.raises(BadRequest):
        chances([Tally(3, 5, 5)])


def test_the_weighted_mean_of_a_bandits_arm_is_without_the_bias_of_the_plain_one():
    rng = np.random.default_rng(8)
    plain, weighted, held = [], [], 0
    for _ in range(150):
        sums, values, mine, chance = np.zeros((2, 2)), [], [], []
        for batch in range(20):
            p = chances([Tally(*sums[a], sums[a][1]) for a in (0, 1)], floor=0.1, draws=200, seed=batch)
            arms = (rng.random(20) < p[1]).astype(int)
            got = (rng.random(20) < 0.5).astype(float)
            for a in (0, 1):
                sums[a] += [(arms == a).sum(), got[arms == a].sum()]
            values += got.tolist()
            mine += (arms == 1).tolist()
            chance += [p[1]] * 20
        if any(mine):
            found = weighted_mean(values, mine, chance)
            plain.append(sums[1][1] / sums[1][0])
            weighted.append(found.estimate)
            held += found.low <= 0.5 <= found.high

    assert np.mean(plain) < 0.49
    assert abs(np.mean(weighted) - 0.5) < 2.5 * np.std(weighted) / math.sqrt(len(weighted))
    assert held / len(plain) > 0.88


# ---------------------------------------------------------------- power


def test_an_experiment_of_the_size_it_takes_has_the_power_it_was_asked_for():
    metric = Metric(0.8)
    single, planned = (size_for(metric, 0.02, rule=rule) for rule in ("fixed", "planned"))  # type: ignore[arg-type]

    assert single.units == 8081
    assert single.units < planned.units < 1.08 * single.units
    assert planned.mean_units < 0.75 * single.units
    assert planned.power == pytest.approx(0.9, abs=1e-3)
    assert effect_for(metric, planned.units) == pytest.approx(0.02, abs=1e-4)
    assert size_for(Metric(0, 2.0, 0.6), 0.1).units == pytest.approx(size_for(Metric(0, 2.0), 0.1).units * 0.64, abs=1)


@pytest.mark.parametrize("wrong", [Metric(0.9, None), Metric(0.5, -1.0), Metric(0.5, None, 1.0)])
def test_a_metric_that_cannot_be_is_refused(wrong: Metric):
    with pytest.raises(BadRequest):
        size_for(wrong, 0.2)


# ---------------------------------------------------------------- files of results


def results(units: int, effect_: float, *, seed: int = 0, per_unit: int = 1) -> list[Observation]:
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(units):
        new = rng.random() < 0.5
        person = rng.normal()
        for _ in range(per_unit):
            value = person + rng.normal() + effect_ * new
            rows.append(
                Observation(f"u{n}", "new" if new else "control", float(value), float(person + rng.normal() / 2))
            )
    return rows


def test_a_replay_stops_where_somebody_who_looked_all_the_time_would_have():
    found = analyse(results(4000, 0.3), Plan(units=2000), control="control", weights={"control": 1, "new": 1})
    one = found.decisions["new"]

    assert (one.outcome, one.winner) == ("winner", "candidate")
    assert found.stopped_after["new"] < 2500
    assert sum(one.units) == found.stopped_after["new"]
    assert one.interval[0] <= 0.3 <= one.interval[1]
    assert one.variance_cut > 0.3
    assert one.adjusted < one.difference


def test_a_replay_of_one_look_is_the_plain_comparison():
    rows = results(500, 0.1)
    values = {arm: np.array([r.value for r in rows if r.arm == arm]) for arm in ("control", "new")}
    found = analyse(rows, Plan(units=1, rule="fixed"), control="control", use_before=False).decisions["new"]

    assert found.difference == pytest.approx(values["new"].mean() - values["control"].mean())
    error = math.sqrt(sum(v.var(ddof=1) / len(v) for v in values.values()))
    assert found.interval[1] - found.difference == pytest.approx(1.959964 * error)
    assert found.means == pytest.approx((values["control"].mean(), values["new"].mean()))


def test_values_far_from_zero_lose_nothing():
    rows = results(2000, 0.3)
    far = [row._replace(value=(row.value or 0) + 1.7e9) for row in rows]
    near, moved = (analyse(some, Plan(units=1000), control="control") for some in (rows, far))

    assert moved.decisions["new"].difference == pytest.approx(near.decisions["new"].difference, rel=1e-4)
    assert moved.stopped_after == near.stopped_after


def test_rows_of_one_unit_are_one_unit():
    found = analyse(results(200, 0.0, per_unit=5), Plan(units=10_000), control="control").decisions["new"]

    assert sum(found.units) == 200


def test_what_cannot_be_used_is_left_out_and_counted():
    rows = [*results(300, 0.0), Observation("u1", "new", 1.0), Observation("u1", "control", 1.0),
            Observation("w", "new", None), Observation("u2", "new", 1.0, stage="later")]  # fmt: skip
    found = analyse(rows, Plan(units=1000), control="control")

    assert (found.in_two_arms, found.without_value, found.in_later_stages) == (1, 1, 1)


def test_lost_units_make_an_experiment_invalid_even_after_somebody_won():
    rows = [row for n, row in enumerate(results(6000, 0.5)) if n < 1500 or row.arm == "control" or n % 3]
    found = analyse(rows, Plan(units=3000), control="control", weights={"control": 1, "new": 1})

    assert found.decisions["new"].outcome == "invalid"


def test_candidates_share_alpha():
    rows = results(600, 0.0)
    rows = [row._replace(arm=f"new-{n % 2}") if row.arm == "new" else row for n, row in enumerate(rows)]

    found = analyse(rows, Plan(units=1000), control="control")

    assert found.alpha == pytest.approx(0.025)
    assert set(found.decisions) == {"new-0", "new-1"}


def test_watching_units_that_come_back_does_not_raise_false_alarms():
    """People come in at random and come back; each look sees them with what they have said so far."""
    rng, alarms = np.random.default_rng(9), 0
    for _ in range(80):
        people = rng.normal(size=100)
        arms = rng.random(100) < 0.5
        who = rng.integers(0, 100, 300)
        rows = [Observation(str(n), "new" if arms[n] else "control", float(people[n] + rng.normal())) for n in who]
        alarms += analyse(rows, Plan(units=50), control="control").decisions["new"].outcome == "winner"

    assert alarms <= 9  # of 80, where 4 are promised


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    def go(*arguments: object) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["ab", *map(str, arguments)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return 1, str(done.exception)
        return done.exit_code, done.output

    return go


def written(path: Path, rows: list[Observation]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text(
            "\n".join(json.dumps({"unit": r.unit, "arm": r.arm, "value": r.value, "before": r.before}) for r in rows)
        )
        return path
    with path.open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["unit", "arm", "value", "before", "time"])
        table.writerows([r.unit, r.arm, r.value, r.before, n] for n, r in enumerate(rows))
    return path


def test_the_terminal_reads_csv_and_json_lines_alike(run: Callable[..., tuple[int, str]], tmp_path: Path):
    rows = results(1500, 0.3)
    found = []
    for name in ("r.csv", "r.jsonl"):
        code, printed = run(
            "analyse", written(tmp_path / name, rows), "--per-arm", 1000, "--weights", "control=1,new=1", "--json"
        )
        assert code == 0
        found.append(json.loads(printed)["candidates"]["new"])

    assert found[0] == found[1]
    assert found[0]["winner"] == "candidate"
    assert run("analyse", tmp_path / "r.csv", "--per-arm", 1000)[1].startswith("winner: new: the candidate is better")


def test_the_order_of_time_counts_and_not_that_of_the_file(run: Callable[..., tuple[int, str]], tmp_path: Path):
    path = written(tmp_path / "r.csv", results(800, 0.3))
    head, *lines = path.read_text().splitlines()
    straight = run("analyse", path, "--per-arm", 500, "--json")
    path.write_text("\n".join([head, *reversed(lines)]))

    assert run("analyse", path, "--per-arm", 500, "--json") == straight


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows"),
        ("unit,arm,value\n", "no rows"),
        ("unit,arm,value\n1,control,1\n2,new,nan\n", "line 3"),
        ("unit,arm,value\n1,control,1\n2,new,1e400\n", "line 3"),
        ("unit,arm,value\n1,control,1\n,new,1\n", "line 3 has no `unit`"),
        ("unit,arm,value\n1,control,1\n2,new\n", "line 3"),
        ("unit,arm,score\n1,control,1\n2,new,2\n", "no column 'value'"),
        ("unit,arm,value\n1,control,1\n2,control,1\n", "one arm only"),
        ("unit,arm,value\n1,a,1\n2,b,1\n", "'control'"),
        ("unit,arm,value,time\n1,control,1,noon\n", "line 2: `time`"),
        ('unit,arm,value\n1,control,"1\n', "not CSV"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_by_its_line(
    run: Callable[..., tuple[int, str]], tmp_path: Path, text: str, said: str
):
    path = tmp_path / "r.csv"
    path.write_text(text)

    code, printed = run("analyse", path, "--per-arm", 100)

    assert code == 1
    assert said in printed


def test_bytes_that_are_no_text_are_refused(run: Callable[..., tuple[int, str]], tmp_path: Path):
    (tmp_path / "r.csv").write_bytes(b"unit,arm,value\n\xff\xfe,control,1\n")
    (tmp_path / "r.jsonl").write_bytes(b'{"unit": 1, "arm": "control", "value": 1}\n\xff\n')

    assert "UTF-8" in run("analyse", tmp_path / "r.csv", "--per-arm", 100)[1]
    assert "line 2" in run("analyse", tmp_path / "r.jsonl", "--per-arm", 100)[1]


def test_the_terminal_plans_and_simulates(run: Callable[..., tuple[int, str]]):
    code, printed = run("power", "--baseline", 0.8, "--effect", 0.02, "--json")
    planned = json.loads(printed)["planned"]
    assert (code, planned["units"]) == (0, size_for(Metric(0.8), 0.02).units)
    code, printed = run(
        "simulate", "--baseline", 0.5, "--effect", -0.1, "--per-arm", 400, "--replicates", 200, "--json"
    )
    assert code == 0
    assert json.loads(printed)["power"]["estimate"] > 0.5
    assert run("power", "--baseline", 0.8)[0] == 2
    assert run("power", "--baseline", 0.8, "--effect", 0.3)[0] == 1
    assert run("analyse", __file__)[0] == 2


def test_an_arm_that_always_fails_is_seen_beside_one_that_never_does():
    pairs = [(Arm.of(1.0, n=float(n)), Arm.of(0.0, n=float(n))) for n in (10, 40)]
    few, many = (
        decide(Plan(units=1000, guardrails=(Guardrail(name="answered"),)), [pair], guardrails={"answered": [pair]})
        for pair in pairs
    )

    assert few.outcome == "continue"
    assert many.outcome == "harm"
    assert decide(Plan(units=1000), [(pairs[1][0], pairs[1][0])]).outcome == "continue"
