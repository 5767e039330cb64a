"""Probes: a model that has changed is noticed, and one that has not is left in peace."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from upstream import Upstream, upstream

from penstock.cli.main import cli
from penstock.errors import BadRequest, NotFound
from penstock.observe.probes import REFERENCE, Prompt, Reply, Runs, parsed
from penstock.probing import shipped
from penstock.storage.database import Database

PROMPTS = [Prompt(f"question {n}", f"answer {n}" if n % 2 else "") for n in range(20)]


def embed(texts: Sequence[str]) -> Any:
    vectors = np.array([[text.count(letter) + 0.1 for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(Database(tmp_path / "p.db"), embed)


def replies(seed: int, *, other: float = 0.0, slower: float = 1.0, wrong: float = 0.0) -> list[Reply]:
    """Answers with a little chance in their words. other: the share that says something else."""
    draw, found = random.Random(seed), []
    for n in range(len(PROMPTS)):
        text = f"answer {n} is given here {draw.choice(['now', 'today', 'thus'])}"
        text = "zzz qqq xxx" if draw.random() < other else text
        text = text.replace("answer", "nothing") if draw.random() < wrong else text
        found.append(Reply(text, 100 * draw.lognormvariate(0, 0.2) * slower))
    return found


def taught(runs: Runs) -> None:
    for n in range(REFERENCE):
        run = runs.add("m", PROMPTS, replies(n), at=float(n + 1))
        assert run.learning
        assert run.changes == ()


@pytest.mark.parametrize(
    ("change", "measure"), [({"other": 0.6}, "alike"), ({"slower": 1.5}, "latency"), ({"wrong": 0.9}, "right")]
)
def test_a_change_is_noticed(runs: Runs, change: dict[str, float], measure: str):
    taught(runs)
    run = runs.add("m", PROMPTS, replies(99, **change), at=100.0)

    assert measure in {one.measure for one in run.changes}
    assert measure in run.changes[0].words or len(run.changes) > 1


def test_one_that_has_not_changed_is_left_in_peace(runs: Runs):
    taught(runs)
    said = sum(bool(runs.add("m", PROMPTS, replies(1000 + n), at=100.0 + n).changes) for n in range(60))
    assert said <= 4  # one in a hundred is the rate; more than four of sixty come by chance once in a thousand


def test_what_failed_is_counted_and_not_compared(runs: Runs):
    taught(runs)
    found = replies(5)
    found[:15] = [Reply("", failed=True)] * 15

    run = runs.add("m", PROMPTS, found, at=100.0)
    assert (run.failed, run.changes) == (15, ())


def test_other_prompts_are_learnt_anew_and_runs_can_be_forgotten(runs: Runs):
    taught(runs)
    assert runs.add("m", PROMPTS[:10], replies(1)[:10], at=50.0).learning
    assert len(runs.past("m")) == REFERENCE + 1
    assert runs.forget("m") == REFERENCE + 1
    assert runs.past("m") == []
    with pytest.raises(BadRequest):
        runs.add("m", PROMPTS, replies(1)[:3])


@pytest.mark.parametrize(
    "rows", [[], [{"question": "x"}] * 7, [{"question": ""}] * 9, [{"question": "x", "expected": 7}] * 9]
)
def test_what_are_no_prompts_is_refused(rows: list[dict[str, Any]]):
    with pytest.raises(BadRequest):
        parsed(rows)


def test_the_shipped_prompts_are_some():
    assert len(shipped()) == 40
    assert sum(bool(one.expected) for one in shipped()) >= 20


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, up: Upstream, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [{"question": f"What is {n} plus {n}?", "expected": "T0"} for n in range(10)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "penstock.toml").write_text(
        f'home = "home"\n[models.m]\nbase_url = "{up.url}"\nmodel = "x"\ninput_usd_per_million = 0\n'
        '[probes.p]\nmodel = "m"\nprompts = "prompts.jsonl"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["probe", *arguments])


def test_the_terminal_asks_compares_and_forgets(folder: Path):
    for _ in range(REFERENCE):
        assert "part of what is normal" in run("run", "p").output
    told = json.loads(run("run", "p", "--json").output)
    assert (told["learning"], told["means"]["alike"], told["means"]["right"]) == (False, 1.0, 1.0)
    assert "normal" in run("history", "p").output
    assert f"{REFERENCE + 1} runs" in run("forget", "p").output
    assert isinstance(run("run", "other").exception, NotFound)
