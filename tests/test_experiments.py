"""Experiments: variants laid over the settings, and decisions that the numbers bear out."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Ran
from upstream import Upstream, upstream

from penstock.cli.main import cli
from penstock.config import load
from penstock.errors import BadRequest
from penstock.evaluate.cases import Case, Cases, Reply
from penstock.evaluate.decision import Correct, Cost, Decision, decide
from penstock.evaluate.result import Result
from penstock.evaluate.run import Row
from penstock.evaluate.scored import About, Scored, unscored
from penstock.evaluate.scorers import scorers
from penstock.experiments import NOW, read, styles

ABOUT = About(name="right", what="", note="", needs="", passes=True)
CASES = Cases(tuple(Case(id=f"c{n}", question=f"What is number {n}?") for n in range(200)), name="test")


def result(right: Sequence[float], cost: Callable[[int], float] = lambda n: 0.0, repeats: int = 1) -> Result:
    rows = [
        Row(case, 0, Reply(text="x", latency_ms=100.0 + n, cost_usd=cost(n)), {"right": Scored(value)})
        for n, (case, value) in enumerate(zip(CASES.cases, right, strict=False))
    ]
    cases = Cases(CASES.cases[: len(rows)], name="test")
    return Result(cases, rows, {"right": ABOUT}, "app", repeats)


def shares(p: float, seed: int, n: int = 200) -> list[float]:
    draw = random.Random(seed)
    return [float(draw.random() < p) for _ in range(n)]


RIGHT = Correct.parse("right")


def test_a_variant_that_is_surely_better_wins():
    base = shares(0.5, 1)
    better = [max(one, float(n % 4 == 0)) for n, one in enumerate(base)]

    found = decide({NOW: result(base), "better": result(better)}, baseline=NOW, correct=RIGHT)

    assert (found.winner, found.why) == ("better", "better")
    _, other = found.verdicts
    assert other.difference is not None
    assert 0 < other.difference.low < other.difference.estimate < other.difference.high
    assert "Ship better" in found.words
    assert "**better**" in found.markdown()


def test_one_that_is_as_good_and_cheaper_wins_and_its_cost_breaks_even():
    base = shares(0.5, 1)
    found = decide(
        {NOW: result(base, lambda n: 0.010), "tuned": result(base, lambda n: 0.004)}, baseline=NOW, correct=RIGHT,
        costs={"tuned": Cost(once_usd=300.0)},
    )  # fmt: skip

    assert (found.winner, found.why) == ("tuned", "cheaper")
    tuned = found.verdicts[1]
    assert tuned.breaks_even_at == 50_000  # 300 / 0.006
    assert tuned.per_correct_usd is not None
    assert tuned.per_correct_usd.estimate == pytest.approx(0.004 * len(base) / sum(base))


def test_what_is_paid_by_the_month_counts_by_the_answers_of_a_month():
    base = shares(0.5, 1)
    both = {NOW: result(base, lambda n: 0.010), "own": result(base, lambda n: 0.0)}

    def even(month_answers: float, **cost: float) -> float | None:
        costs = {"own": Cost(**cost)}
        return (
            decide(both, baseline=NOW, correct=RIGHT, costs=costs, month_answers=month_answers)
            .verdicts[1]
            .breaks_even_at
        )

    assert even(0, month_usd=500.0) == 50_000  # in each month
    assert even(100_000, month_usd=500.0, once_usd=100.0) == 20_000  # 100 / (.01 - .005)
    assert even(10_000, month_usd=500.0, once_usd=100.0) is None  # it never does


def test_without_a_sure_difference_the_baseline_stays_and_it_says_what_would_show_one():
    found = decide({NOW: result(shares(0.5, 1)), "same": result(shares(0.52, 2))}, baseline=NOW, correct=RIGHT)

    assert (found.winner, found.why) == (NOW, "kept")
    assert found.needed is not None
    assert found.needed > 1000
    assert f"{found.needed:,} cases" in found.words


def test_one_that_is_surely_worse_is_said_to_be():
    base = shares(0.8, 1)
    found = decide({NOW: result(base), "worse": result([0.0] * 200)}, baseline=NOW, correct=RIGHT)

    assert found.winner == NOW
    assert "surely worse" in found.words


def test_many_variants_that_are_all_the_same_seldom_win():
    """Each looks at the same cases; Holm pays for looking at ten."""
    wins = 0
    for seed in range(60):
        draws = {f"v{n}": result(shares(0.5, 1000 * seed + n, 80)) for n in range(10)}
        wins += (
            decide({NOW: result(shares(0.5, 1000 * seed + 99, 80)), **draws}, baseline=NOW, correct=RIGHT).why
            == "better"
        )
    assert wins <= 7  # one in twenty, and so many more by chance once in a thousand


def test_what_was_not_scored_is_not_correct():
    rows = result([1.0] * 20)
    for row in rows.rows[:10]:
        row.scores["right"] = unscored("it refused")

    found = decide({NOW: rows, "all": result([1.0] * 20)}, baseline=NOW, correct=RIGHT)
    assert found.verdicts[0].correct is not None
    assert found.verdicts[0].correct.estimate == 0.5
    assert found.winner == "all"


@pytest.mark.parametrize(
    ("rule", "value", "fits"),
    [
        ("token_f1 >= 0.6", 0.6, True),
        ("token_f1>=0.6", 0.59, False),
        ("toxicity <= 0.2", 0.2, True),
        ("toxicity <= 0.2", 0.21, False),
        ("contains", 1.0, True),
        ("contains", 0.5, False),
    ],
)
def test_a_rule_says_what_is_correct(rule: str, value: float, fits: bool):
    assert Correct.parse(rule).of(value) is fits
    assert Correct.parse(str(Correct.parse(rule))) == Correct.parse(rule)


@pytest.mark.parametrize("rule", ["", "a b", "token_f1 > 0.5", "token_f1 >= x", ">= 1"])
def test_what_is_no_rule_is_refused(rule: str):
    with pytest.raises(BadRequest):
        Correct.parse(rule)


# ---------------------------------------------------------------- files


def test_variants_are_laid_over_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text(
        '[models.a]\nmodel = "x"\n[apps.help]\ndocuments = "d"\nmodels = ["a"]\n[documents.d]\npaths = []\n'
    )

    plain = load(None, keys=False)
    over = load(None, keys=False, over={"apps": {"help": {"models": ["a", "b"]}}, "models": {"b": {"model": "y"}}})

    assert (plain.apps["help"].models, plain.apps["help"].documents) == (("a",), "d")
    assert (over.apps["help"].models, over.apps["help"].documents) == (("a", "b"), "d")
    assert over.models["b"].model == "y"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cases"),
        ('cases = "c"\nagainst = "a"\n', "no variant"),
        ('cases = "c"\nagainst = "a"\nvariant = 1\n[variants.x]\n', "did you mean 'variants'"),
        ('cases = "c"\nagainst = "a"\nrepeats = 0\n[variants.x]\n', "repeats"),
        ('cases = "c"\nagainst = "a"\nbaseline = "y"\n[variants.x]\n', "no variant"),
        ('cases = "c"\nagainst = "a"\n[variants.x]\n[costs.y]\nonce_usd = 1\n', "of no variant"),
        ('cases = "c"\nagainst = "a"\n[variants.x]\n[costs.x]\nprice = 1\n', "once_usd"),
        ('cases = "c"\nagainst = "a"\n[variants."../x"]\n', "cannot name"),
        ("cases = [", "cannot be read"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused_by_name(tmp_path: Path, text: str, said: str):
    (tmp_path / "e.toml").write_text(text)
    with pytest.raises(BadRequest) as caught:
        read(tmp_path / "e.toml")
    assert said in f"{caught.value.message} {caught.value.hint}"


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, up: Upstream, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "penstock.toml").write_text(
        'home = "home"\n'
        + "".join(
            f'[models.{name}]\nbase_url = "{up.url}"\nmodel = "tokens-3"\ninput_usd_per_million = {usd}\n'
            f"output_usd_per_million = {usd}\n"
            for name, usd in (("good", 1), ("dear", 100))
        )
        + '[routes.ask]\nmodels = ["dear"]\n'
    )
    rows = [{"id": f"c{n}", "question": f"How many is {n}?", "expected": "T0 T1 T2"} for n in range(12)]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "e.toml").write_text(
        'cases = "cases.jsonl"\nagainst = "ask"\ncorrect = "token_f1 >= 0.1"\nmargin = 0.3\nscores = ["token_f1", "cost_usd"]\n'
        '[variants.cheap.routes.ask]\nmodels = ["good"]\n[costs.cheap]\nonce_usd = 5\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Ran:
    return CliRunner().invoke(cli, ["experiment", *arguments], catch_exceptions=False)


def test_an_experiment_is_run_decided_and_goes_on_where_it_stopped(folder: Path):
    done = run("run", "e.toml")

    assert done.exit_code == 0, done.output
    assert "Ship cheap" in done.output
    record: dict[str, Any] = json.loads((folder / "e" / "decision.json").read_text())
    assert (record["winner"], record["why"]) == ("cheap", "cheaper")
    assert record["variants"][1]["breaks_even_at"] > 0
    assert "**cheap**" in (folder / "e" / "decision.md").read_text()
    before = (folder / "e" / "cheap.json").stat().st_size
    again = run("run", "e.toml", "--json")
    assert json.loads(again.output)["winner"] == "cheap"
    assert abs((folder / "e" / "cheap.json").stat().st_size - before) < 200  # nothing was asked again
    assert run("show", "e").output == (folder / "e" / "decision.md").read_text()


def test_a_prompt_is_compared_in_four_ways_of_telling_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text('[prompts.p]\nfile = "p.toml"\n[apps.help]\nprompt = "p"\n')
    settings = load(None, keys=False)

    found = styles("p", settings, cases=tmp_path / "c", against="help", correct=RIGHT)

    assert list(found.variants) == ["zero", "one", "few", "steps"]
    told = load(None, keys=False, over=found.variants["one"]).prompts["p"]
    assert (told.style, told.shots, told.file) == ("few", 1, "p.toml")
    with pytest.raises(BadRequest):
        styles("other", settings, cases=tmp_path / "c", against="help", correct=RIGHT)


def test_the_names_that_rules_use_are_scores():
    known = {one.about.name for one in scorers()}
    assert {"token_f1", "contains", "toxicity", "grounded"} <= known


def test_a_decision_is_plain_json():
    found = decide({NOW: result(shares(0.5, 1)), "v": result(shares(0.7, 2))}, baseline=NOW, correct=RIGHT)
    assert isinstance(found, Decision)
    assert json.loads(json.dumps(found.plain())) == found.plain()
