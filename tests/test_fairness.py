"""Fairness and memorisation: gaps that are there are found, those that are not are not, and secrets that come back are counted."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from upstream import Upstream, upstream

from penstock.cli.main import cli
from penstock.errors import BadRequest
from penstock.evaluate.cases import Case, Reply
from penstock.evaluate.fairness import cases, report, suite
from penstock.evaluate.memorised import judged, made, probes, read

COUNTED = {"en": 264, "de": 240, "es": 156, "fr": 144, "it": 108, "zh": 108}


def test_the_suite_asks_everybody_the_same():
    told = cases()

    assert {language: sum(case.lang == language for case in told.cases) for language in suite()} == COUNTED
    groups: dict[str, set[str]] = {}
    for case in told.cases:
        groups.setdefault(case.group, set()).add(str(case.metadata["group"]))
        assert "{who}" not in case.question
    for template, asked in groups.items():
        language, kind, _ = template.split("/")
        assert asked == set(suite()[language]["groups"][kind])
    assert len({case.id for case in told.cases}) == len(told)


def replies(told: tuple[Case, ...], seed: int, **worse: float) -> list[tuple[Case, Reply | None]]:
    """Answers of some forty words. worse: a group -> how often it is refused."""
    draw, found = random.Random(seed), []
    for case in told:
        refused = draw.random() < worse.get(str(case.metadata["group"]), 0.0)
        text = " ".join(
            draw.choice(("book", "please", "cannot", "return", "thanks", "shop")) for _ in range(draw.randint(30, 50))
        )
        found.append((case, Reply(text="" if refused else text, state="refused" if refused else "answered")))
    return found


def test_a_group_that_is_refused_more_often_is_found():
    found = report("app", replies(cases(["en"], kinds=["origin"]).cases * 1, 1, turkish=0.9))

    shown = [gap for gap in found.gaps if gap.shown]
    assert [(gap.group, gap.measure) for gap in shown] == [("turkish", "answered")]
    assert shown[0].theirs < 0.5 < shown[0].references
    assert shown[0].apart is not None
    assert shown[0].apart.high < 0
    assert found.widest > 0.5


def test_where_all_are_answered_alike_gaps_are_seldom_shown():
    told = cases(["en", "de"]).cases
    shown = sum(any(gap.shown for gap in report("app", replies(told, seed)).gaps) for seed in range(20))
    assert shown <= 4  # at 5 %, more than four of twenty by chance once in five hundred


def test_failures_and_groups_that_were_not_asked_are_left_out():
    told = cases(["en"], kinds=["gender"]).cases
    rows: list[tuple[Case, Reply | None]] = [
        (case, None if case.metadata["group"] == "women" else Reply(text="Yes.")) for case in told
    ]
    rows[2] = (rows[2][0], Reply(state="failed"))

    found = report("app", rows)

    assert {gap.group for gap in found.gaps} == {"nonbinary"}
    assert {gap.n for gap in found.gaps} == {11}


@pytest.mark.parametrize(
    "own", [{"en": {}}, {"en": {"groups": {"a": {}}, "prefixes": {"a": "{who}"}, "requests": ["x"]}}, {"en": 7}]
)
def test_templates_that_are_none_are_refused(own: object):
    with pytest.raises(BadRequest):
        cases(own=own)  # type: ignore[arg-type]


def test_a_language_or_kind_that_is_not_there_is_named():
    with pytest.raises(BadRequest, match="xx"):
        cases(["xx"])
    with pytest.raises(BadRequest, match="no template"):
        cases(["zh"], kinds=["religion"])


# ---------------------------------------------------------------- canaries


def test_canaries_are_written_down_and_read_back():
    told = made(50, seed=3)

    assert read(json.dumps(one.plain()) for one in told) == told
    assert sum(one.planted for one in told) == 25
    assert len({one.secret for one in told}) == 50
    assert all(one.text.startswith(one.before) and one.secret not in one.before for one in told)
    assert made(50) != made(50)


def test_what_comes_back_from_planted_ones_was_memorised():
    told = made(100, seed=4)
    learnt = {one.id for one in told if one.planted and int(one.id[-2:]) < 40}
    said = [
        (
            one.id,
            Reply(text=f"... {one.secret.lower().replace('-', ' ')} ..." if one.id in learnt else "I do not know."),
        )
        for one in told
    ]

    found = judged("m", told, said)

    assert found.learnt
    assert set(found.found) == learnt
    assert (found.planted.estimate, found.others.estimate) == (20 / 50, 0.0)
    assert found.longest == 12
    assert found.planted.low > found.others.high


def test_a_model_that_learnt_nothing_gives_nothing_back():
    told = made(40, seed=5)
    found = judged("m", told, [(one.id, Reply(text="ABCD-EFGH-JKLM")) for one in told])

    assert not found.learnt
    assert found.longest < 6


@pytest.mark.parametrize("line", ["{", "{}", '{"id": "a", "text": "b", "secret": "c", "planted": true}', "[]"])
def test_lines_that_are_no_canaries_are_named(line: str):
    with pytest.raises(BadRequest, match="line 1"):
        read([line])


def test_a_probe_does_not_have_the_secret_in_it():
    told = made(20, seed=6)
    assert all(one.secret not in case.question for one, case in zip(told, probes(told).cases, strict=True))


# ---------------------------------------------------------------- the terminal


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, up: Upstream, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "penstock.toml").write_text(
        f'home = "home"\n[models.m]\nbase_url = "{up.url}"\nmodel = "x"\ninput_usd_per_million = 0\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)


def test_the_terminal_asks_and_says_what_it_found(folder: Path):
    done = run("fairness", "m", "--lang", "it", "--kind", "age", "--out", "f.json", "--json")

    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["asked"] == 36
    assert len(json.loads((folder / "f.json").read_text())["answers"]) == 36
    assert "36 answers; 0 of 6 gaps" in run("fairness", "m", "--lang", "it", "--kind", "age", "--fail-over", "0").output


def test_the_terminal_makes_plants_and_probes(folder: Path):
    assert "10 to be planted" in run("canaries", "make", "c.jsonl", "--count", "20", "--plant", "p.txt").output
    assert len((folder / "p.txt").read_text().splitlines()) == 10
    assert isinstance(CliRunner().invoke(cli, ["canaries", "make", "c.jsonl"]).exception, BadRequest)
    done = run("canaries", "probe", "m", "--canaries", "c.jsonl", "--fail")
    assert done.exit_code == 0, done.output
    assert "planted: 0.0% of 10" in done.output
    assert "no secret came back" in done.output
