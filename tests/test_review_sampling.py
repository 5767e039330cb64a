"""Samples for review: every item's chance is known, the estimate is unbiased, and the interval holds what it promises."""

import csv
import itertools
import json
import math
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cli.main import cli
from penstock.errors import BadRequest
from penstock.review.estimating import Judged, estimate
from penstock.review.sampling import OTHERS, Item, Plan, draw, plan

RISKS = st.floats(0, 1)
ITEMS = st.lists(st.tuples(st.sampled_from("abcdef"), RISKS), min_size=1, max_size=120).map(
    lambda rows: [Item(str(n), stratum, risk) for n, (stratum, risk) in enumerate(rows)]
)


def population(n: int, rate: float, *, seed: int = 0, strata: int = 4) -> tuple[list[Item], list[bool]]:
    """Items with risks that say something, and which of them are wrong."""
    chance = random.Random(seed)
    items, wrong = [], []
    for number in range(n):
        risk = min(1.0, chance.expovariate(1 / rate))
        items.append(Item(str(number), f"s{min(strata - 1, int(chance.expovariate(1)))}", risk))
        wrong.append(chance.random() < risk)
    return items, wrong


@given(ITEMS, st.integers(1, 150))
def test_a_plan_spends_the_budget_and_gives_every_item_a_chance(items: list[Item], n: int):
    planned = plan(items, n)

    assert planned.take == min(n, len(items))
    places = [place for cell in planned.cells for place in cell.members]
    assert sorted(places) == list(range(len(items)))
    assert all(0 <= cell.take <= len(cell.members) for cell in planned.cells)
    if n >= len(planned.cells):
        assert all(cell.take >= 1 for cell in planned.cells)


@given(ITEMS, st.integers(1, 150), st.integers(0, 2**31))
def test_a_draw_is_of_the_plan_without_repeats_and_the_same_for_the_same_seed(items: list[Item], n: int, seed: int):
    planned = plan(items, n)
    drawn = draw(items, planned, seed=seed)

    assert len({one.item.id for one in drawn}) == len(drawn) == planned.take
    assert drawn == draw(items, planned, seed=seed)
    for cell in planned.cells:
        mine = [one for one in drawn if one.cell == cell.name]
        assert len(mine) == cell.take
        assert all(one.probability == cell.probability and one.cell_size == len(cell.members) for one in mine)


def test_with_any_budget_no_cell_is_left_without_a_chance():
    items = [Item(str(n), str(n), 0.1) for n in range(40)]
    for n in range(1, 45):
        assert all(cell.take >= 1 for cell in plan(items, n).cells)


def every_sample(planned: Plan) -> list[list[int]]:
    """The places of every sample that a plan can give, all equally likely."""
    choices = [itertools.combinations(cell.members, cell.take) for cell in planned.cells]
    return [[place for part in parts for place in part] for parts in itertools.product(*choices)]


@pytest.mark.parametrize("seed", range(4))
def test_the_estimate_is_exactly_unbiased_over_every_sample_there_is(seed: int):
    chance = random.Random(seed)
    items = [Item(str(n), chance.choice("ab"), chance.random() ** 3) for n in range(10)]
    wrong = [chance.random() < 0.4 for _ in items]
    planned = plan(items, 5)
    cells = {place: cell for cell in planned.cells for place in cell.members}

    rates = []
    for sample in every_sample(planned):
        rows = [
            Judged(cells[p].probability, wrong[p], items[p].stratum, cells[p].name, len(cells[p].members))
            for p in sample
        ]
        rates.append(estimate(rows).all.rate)

    assert np.mean(rates) == pytest.approx(float(Fraction(sum(wrong), len(wrong))), abs=1e-12)


def test_risky_items_are_drawn_more_often_and_none_weighs_more_than_three_times_the_mean():
    items, _ = population(5_000, 0.05)
    drawn = draw(items, plan(items, 250), seed=1)

    chances = sorted((one.item.risk, one.probability) for one in drawn)
    assert np.mean([p for _, p in chances[-50:]]) > 2 * np.mean([p for _, p in chances[:50]])
    assert min(p for _, p in chances) > 250 / 5_000 / 3 * 0.8


def judged(items: list[Item], wrong: list[bool], n: int, seed: int) -> list[Judged]:
    return [
        Judged(one.probability, wrong[int(one.item.id)], one.item.stratum, one.cell, one.cell_size)
        for one in draw(items, plan(items, n), seed=seed)
    ]


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.4])
def test_the_interval_holds_the_true_rate_about_as_often_as_it_says(rate: float):
    items, wrong = population(3_000, rate, seed=3)
    planned, truth = plan(items, 150), sum(wrong) / len(wrong)
    cells = [(np.array([wrong[p] for p in cell.members]), cell) for cell in planned.cells]
    chance = np.random.default_rng(5)

    held, rates = 0, []
    for _ in range(400):
        rows = [
            Judged(cell.probability, bool(said), "", cell.name, len(cell.members))
            for found, cell in cells
            for said in chance.choice(found, cell.take, replace=False)
        ]
        one = estimate(rows).all
        held += one.low <= truth <= one.high
        rates.append(one.rate)

    assert 0.92 <= held / 400 <= 0.99
    assert abs(np.mean(rates) - truth) < 4 * np.std(rates) / math.sqrt(400)


def test_a_sample_by_risk_says_more_than_one_of_the_same_size_by_chance():
    items, wrong = population(4_000, 0.05, seed=2)
    flat = [Item(item.id, "", 0.5) for item in items]
    truth = sum(wrong) / len(wrong)

    def error(those: list[Item]) -> float:
        return float(np.mean([(estimate(judged(those, wrong, 200, seed)).all.rate - truth) ** 2 for seed in range(60)]))

    assert error(items) < 0.9 * error(flat)


def test_who_judged_everything_is_sure():
    items, wrong = population(60, 0.3)
    found = estimate(judged(items, wrong, 60, 1))

    assert found.all.low == pytest.approx(found.all.rate) == pytest.approx(found.all.high)
    assert found.all.rate == pytest.approx(sum(wrong) / 60)


def test_no_error_among_a_few_is_no_proof_of_none():
    rows = [Judged(0.01, False, "", "c", 2_000) for _ in range(20)]
    found = estimate(rows).all

    assert (found.rate, found.low) == (0.0, 0.0)
    assert 0.1 < found.high < 0.25  # Wilson's is .16
    assert estimate([Judged(0.01, True, "", "c", 2_000) for _ in range(20)]).all.low == pytest.approx(1 - found.high)


def test_one_cell_gives_wilsons_interval():
    rows = [Judged(1e-9, n < 12) for n in range(100)]
    found = estimate(rows).all

    z, n, p = 1.959963984540054, 100, 0.12
    middle, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n),
    )
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_rows_drawn_one_by_one_with_any_chance_are_estimated_too():
    chance = random.Random(4)
    items, wrong = population(6_000, 0.08, seed=6)
    held = 0
    for _ in range(100):
        rows = []
        for item, bad in zip(items, wrong, strict=True):
            probability = round(0.01 + 0.1 * item.risk, 2)
            if chance.random() < probability:
                rows.append(Judged(probability, bad))
        found = estimate(rows).all
        held += found.low <= sum(wrong) / len(wrong) <= found.high
    assert held >= 88


def test_what_nobody_could_judge_is_counted_apart_and_shown_at_its_worst():
    rows = [Judged(0.1, wrong, "s", "c", 40) for wrong in (True, False, False, None)]
    found = estimate(rows)

    assert (found.all.judged, found.all.wrong, found.all.unscored) == (3, 1, 1)
    assert found.all.rate == pytest.approx(1 / 3)
    assert found.worst == pytest.approx(1 / 2)
    assert found.covered == 1
    assert estimate([*rows, Judged(0.1, None, "s", "c", 40, pending=True)]).worst == pytest.approx(1 / 2)
    with pytest.raises(BadRequest, match="nothing was judged"):
        estimate([Judged(0.5, None)])


def test_a_cell_that_nobody_judged_is_left_out_and_said():
    found = estimate([Judged(0.5, True, "a", "a/1", 20), Judged(0.1, None, "b", "b/1", 60)])

    assert found.covered == pytest.approx(0.25)
    assert found.all.items == pytest.approx(80)
    assert math.isnan(found.strata[1].rate)
    assert found.plain()["strata"][1]["rate"] is None


def test_strata_that_are_drawn_together_have_rates_of_their_own():
    items = [Item(f"{s}{n}", s, 0.2) for s in ("big", "tiny", "wee") for n in range(400 if s == "big" else 4)]
    planned = plan(items, 30)
    rows = [Judged(one.probability, one.item.stratum == "tiny", one.item.stratum, one.cell, one.cell_size)
            for one in draw(items, planned, seed=2)]  # fmt: skip
    found = {rate.name: rate for rate in estimate(rows).strata}

    assert any(cell.name.startswith(OTHERS) for cell in planned.cells)
    assert found["big"].rate == 0
    assert "tiny" not in found or found["tiny"].rate == 1


@pytest.mark.parametrize("risk", [-0.1, 1.1, math.nan, math.inf])
def test_a_risk_that_is_none_is_refused_with_its_item(risk: float):
    with pytest.raises(BadRequest, match="item 2"):
        plan([Item("a"), Item("b", risk=risk)], 1)


def test_bad_calls_are_refused():
    with pytest.raises(BadRequest, match="nothing to draw"):
        plan([], 5)
    with pytest.raises(BadRequest, match="a sample of 0"):
        plan([Item("a")], 0)
    with pytest.raises(BadRequest, match="row 1"):
        estimate([Judged(0.0, True)])
    with pytest.raises(BadRequest, match="an interval"):
        estimate([Judged(0.5, True)], confidence=1.0)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.01, 0.2, 0.5, 1.0]), st.sampled_from([True, False, None])), min_size=1, max_size=60
    )
)
def test_an_interval_is_around_its_rate_whatever_was_judged(rows: list[tuple[float, bool | None]]):
    if all(wrong is None for _, wrong in rows):
        return
    found = estimate([Judged(probability, wrong) for probability, wrong in rows])

    assert 0 <= found.all.low <= found.all.rate + 1e-9
    assert found.all.rate <= found.all.high + 1e-9 <= 1 + 2e-9
    assert found.worst >= found.all.rate - 0.999


# ---------------------------------------------------------------- in the terminal


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(cli, ["review", *arguments], input=text)


def jsonl(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_a_file_is_sampled_and_estimated(tmp_path: Path):
    items, wrong = population(400, 0.2)
    rows = [{"id": item.id, "stratum": item.stratum, "risk": item.risk, "text": "Grüße"} for item in items]
    done = run(
        "sample", jsonl(tmp_path / "all.jsonl", rows), "-n", "60", "--seed", "7", "--out", str(tmp_path / "s.jsonl")
    )

    assert done.exit_code == 0, done.output
    sample = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text("utf-8").splitlines()]
    assert len(sample) == 60
    assert all(row["text"] == "Grüße" and 0 < row["probability"] <= 1 for row in sample)
    for row in sample:
        row["verdict"] = "wrong" if wrong[int(row["id"])] else "correct"
    found = json.loads(run("estimate", jsonl(tmp_path / "judged.jsonl", sample), "--json").output)
    assert found["interval"][0] <= sum(wrong) / 400 <= found["interval"][1]
    assert {one["name"] for one in found["strata"]} == {item.stratum for item in items}
    told = run("estimate", str(tmp_path / "judged.jsonl"), "--fail-over", "0.01")
    assert told.exit_code == 1
    assert "% interval" in told.output


def test_a_csv_goes_out_for_a_spreadsheet_and_comes_back(tmp_path: Path):
    (tmp_path / "all.csv").write_text("id,risk,question\n" + "".join(f"{n},{n / 40},Q {n}\n" for n in range(40)))
    assert run("sample", str(tmp_path / "all.csv"), "-n", "10", "--out", str(tmp_path / "s.csv")).exit_code == 0
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "judged.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"verdict": v} for row, v in zip(rows, ["TRUE", "no", "", *["0"] * 7], strict=True))

    found = json.loads(run("estimate", str(tmp_path / "judged.csv"), "--json").output)

    assert (found["judged"], found["wrong"], found["unscored"], found["pending"]) == (9, 1, 0, 1)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('{"id": "a"}\n{"id": "a"}\n', "line 2 has the id 'a'"),
        ('{"id": "a"}\n{"no": 1}\n', "line 2 has no id"),
        ('{"id": "a", "risk": "high"}\n', "line 1 has the risk"),
        ('{"id": "a", "risk": NaN}\n', "line 1 has the risk"),
        ('{"id": "a", "risk": true}\n', "line 1 has the risk"),
        ('{"id": "a", "cell": 1}\n', "line 1 has a field 'cell'"),
        ("\n[1]\n", "line 2 is no JSON object"),
        ('{"id": \n', "line 1"),
        ("", "nothing to draw"),
    ],
)
def test_rows_that_cannot_be_sampled_are_named(lines: str, says: str):
    done = run("sample", "-", "-n", "2", text=lines)

    assert isinstance(done.exception, BadRequest)
    assert says in str(done.exception)


def test_rows_that_cannot_be_estimated_are_named(tmp_path: Path):
    for row, says in (
        ({"verdict": "wrong"}, "line 1 has no `probability`"),
        ({"probability": 0.5, "verdict": "wrnog"}, "line 1 has the verdict 'wrnog'"),
        ({"probability": "x", "verdict": True}, "line 1 has no `probability`"),
        ({"probability": 0.5}, "nothing was judged"),
    ):
        done = run("estimate", jsonl(tmp_path / "rows.jsonl", [row]))
        assert isinstance(done.exception, BadRequest)
        assert says in str(done.exception)
    (tmp_path / "bad.csv").write_bytes(b"id,probability\n\xff\xfe,1\n")
    assert "no CSV" in str(run("estimate", str(tmp_path / "bad.csv")).exception)
