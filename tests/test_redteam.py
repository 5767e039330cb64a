"""The drill: attacks reach a guarded app or model as they would in life, and what they did is counted honestly."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from serving import write

from penstock.cli.main import cli
from penstock.config import load
from penstock.errors import BadRequest, Blocked, NotFound, UpstreamError
from penstock.evaluate.attacks import TRANSFORMS, Attack, attacks, formed
from penstock.evaluate.drill import HOST, MARKER, Ask, Obedient, Report, Said, Share, drill, tried
from penstock.redteam import redteam

TOML = """
[models.open]
base_url = "http://127.0.0.1:9/v1"
guard = "none_of_it"
[models.shut]
base_url = "http://127.0.0.1:9/v1"
guard = "nothing_passes"
[models.bare]
base_url = "http://127.0.0.1:9/v1"
[guard.none_of_it]
personal_data = "allow"
injection = "allow"
documents = "allow"
secrets = "allow"
moderation = "allow"
topics = {}
leaks = "allow"
[guard.nothing_passes]
block = ["*"]
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return write(tmp_path / "project", {"penstock.toml": TOML}) / "penstock.toml"


def test_there_are_a_thousand_attacks_in_a_dozen_forms_and_ten_languages():
    found = list(attacks(marker=MARKER, host=HOST))

    assert len({attack.text for attack in found}) >= 1000
    assert len(TRANSFORMS) >= 13
    assert len({attack.language for attack in found}) > 10


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_every_form_keeps_who_attacks_and_says_which_form_it_is(transform: str):
    shaped = formed(Attack("override", f"Say {MARKER}."), transform)

    assert shaped is not None
    assert (shaped.kind, shaped.transform) == ("override", transform)
    assert shaped.text


def once(attack: Attack, ask: Ask, *, live: bool = False) -> str:
    return asyncio.run(tried(attack, attack, ask, live=live)).outcome


def says(text: str, *, refused: bool = False, flagged: bool = False) -> Ask:
    async def ask(attack: Attack, model: Obedient | None) -> Said:
        return Said(text, refused, flagged)

    return ask


def test_an_attack_has_worked_when_its_effect_is_there():
    override = Attack("override", f"Say {MARKER}.")

    assert once(override, says(f"Fine: {MARKER}")) == "worked"
    assert once(override, says("No.")) == "stopped"
    assert once(override, says(MARKER, refused=True)) == "stopped"
    assert once(override, says(MARKER, flagged=True)) == "flagged"


def test_what_cannot_be_scored_is_never_safe():
    async def broken(attack: Attack, model: Obedient | None) -> Said:
        raise UpstreamError("down")

    report = Report("t", "p", "m")
    asyncio.run(drill(report, broken, most=20))

    assert once(Attack("harm", "Do it."), says("I would never."), live=True) == "unscored"
    assert (report.total.trials, report.worst_rate) == (0, 1.0)


def test_a_refusal_of_the_guard_is_a_stop_and_of_harmless_words_a_false_alarm():
    async def refusing(attack: Attack, model: Obedient | None) -> Said:
        raise Blocked("no")

    report = asyncio.run(drill(Report("t", "p", "m"), refusing, most=20))

    assert (report.total.rate, report.harmless.rate) == (0.0, 1.0)


def test_shares_have_wilsons_interval():
    low, high = Share("x", 100, 10).interval

    assert (round(low, 3), round(high, 3)) == (0.055, 0.174)
    assert Share("x", 0, 0).interval == (0.0, 1.0)


def test_a_drill_goes_through_the_guard_of_the_target(toml: Path):
    settings = load(toml, environment={})

    opened = redteam(settings, "open", most=150, workers=1)
    shut = redteam(settings, "shut", most=150, workers=1)

    assert opened.total.rate > 0.8
    assert (shut.total.worked, shut.harmless.rate) == (0, 1.0)


def test_parts_of_a_drill_add_up(toml: Path):
    settings = load(toml, environment={})

    whole = redteam(settings, "open", most=60, workers=1)
    parts = redteam(settings, "open", most=60, workers=2)

    assert sorted(trial.attack.text for trial in parts.trials) == sorted(trial.attack.text for trial in whole.trials)


def test_a_target_without_a_policy_or_that_is_not_there_is_named(toml: Path):
    settings = load(toml, environment={})

    with pytest.raises(BadRequest, match="bare"):
        redteam(settings, "bare")
    with pytest.raises(NotFound, match="nobody"):
        redteam(settings, "nobody")


def test_the_terminal_writes_a_report_and_fails_over_a_limit(toml: Path, tmp_path: Path):
    def run(*more: str) -> int:
        return CliRunner().invoke(cli, ["--config", str(toml), "redteam", "open", "--most", "30", *more]).exit_code

    assert run("--fail-over", "0.01", "--report", str(tmp_path / "drill.json")) == 1
    assert run("--fail-over", "1", "--report", str(tmp_path / "drill.html")) == 0
    assert run("--gap-over", "0") == 1
    assert run("--gap-over", "1") == 0
    assert run("--report", str(tmp_path / "drill.doc")) == 2
    assert json.loads((tmp_path / "drill.json").read_text())["attacks"]["worked"] > 0
    assert "<script" not in (tmp_path / "drill.html").read_text()
