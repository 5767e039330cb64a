"""`penstock simulate` against a real bot: goals from a file, the end state looked up, releases side by side, attackers, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_bots import SHOP
from upstream import upstream

from penstock.assemble import House
from penstock.cli.main import cli
from penstock.config import load

GOALS = [
    {
        "id": "status", "wants": "To know where order #W124 is.",
        "opening": ["Where is my order #W124?", "What is the state of my order #W124?"],
        "facts": {"order": "#W124"}, "done": "is sent", "reached": {"says": ["#W124 is sent"]},
    },
    {
        "id": "cancel", "wants": "To cancel #W123, which you do not need.", "agrees": ["#W123", "25.99"],
        "opening": ["I want to cancel my order #W123", "Please cancel order #W123"], "done": "is cancelled",
        "facts": {"order": "#W123", "reason": {"value": "not needed", "asked": "why|reason"}}, "choices": ["not needed"],
        "reached": {"sql": "select state from orders where id = '#W123'", "rows": [["cancelled"]]},
    },
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bot.py").write_text(SHOP)
    (tmp_path / "penstock.toml").write_text(f'home = "{tmp_path / "home"}"\n[apps.shop]\nbot = "bot.py"\n')
    write_goals(tmp_path, GOALS)
    return tmp_path


def write_goals(folder: Path, goals: list[dict]) -> None:
    (folder / "goals.jsonl").write_text("".join(json.dumps(one) + "\n" for one in goals))


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--config", str(folder / "penstock.toml"), "simulate", *arguments])


def state_of(folder: Path) -> Path:
    """The database of the house, in which this shop is."""
    house = House(load(str(folder / "penstock.toml")))
    try:
        house.bot("shop")
        return house.database.path
    finally:
        house.close()


def test_customers_talk_to_a_bot_and_what_came_of_it_is_looked_up(folder: Path):
    database = state_of(folder)

    found = run(
        folder, "shop", "--goals", str(folder / "goals.jsonl"), "--n", "2", "--moods", "polite", "--state", str(database),
        "--out", str(folder / "talks.jsonl"), "--json",
    )  # fmt: skip

    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert (told["conversations"], told["reached"]["share"]) == (2, 1.0)
    with sqlite3.connect(database) as r:
        assert r.execute("select state, times from orders where id = '#W123'").fetchone() == ("cancelled", 1)
    lines = [json.loads(line) for line in (folder / "talks.jsonl").read_text().splitlines()]
    assert {line["intent"] for line in lines} == {"status", "cancel"}
    assert all(line["resolved"] for line in lines)
    assert any("#W123" in turn["text"] for line in lines for turn in line["turns"] if turn["role"] == "customer")


def test_simulated_conversations_are_not_among_those_of_customers(folder: Path):
    database = state_of(folder)
    run(folder, "shop", "--goals", str(folder / "goals.jsonl"), "--n", "4")

    with sqlite3.connect(database) as r:
        tables = {name for (name,) in r.execute("select name from sqlite_master")}
        assert "talks" not in tables or not r.execute("select count(*) from talks").fetchone()[0]


def test_a_share_that_is_too_small_ends_with_an_error(folder: Path):
    write_goals(folder, [GOALS[0] | {"reached": {"says": ["a thing that is never said"]}}])

    found = run(folder, "shop", "--goals", str(folder / "goals.jsonl"), "--n", "5", "--fail-under", "0.9")

    assert found.exit_code == 1
    assert "0.0% is less than 90.0%" in found.output
    assert "came to their end" in found.output


def test_two_apps_meet_the_same_customers_until_one_is_better(folder: Path):
    (folder / "deaf.py").write_text(
        "from penstock.agents.talks import Reply\n"
        "class Deaf:\n"
        "    actions = ()\n"
        "    def reply(self, talk, said): return Reply('I did not understand that.')\n"
        "    def look_again(self, talk, source): return None\n"
        "bot = Deaf()\n"
    )
    toml = folder / "penstock.toml"
    toml.write_text(toml.read_text() + '[apps.deaf]\nbot = "deaf.py"\n')
    write_goals(folder, GOALS[:1])

    found = run(
        folder, "deaf", "--goals", str(folder / "goals.jsonl"), "--against", "shop", "--n", "60", "--moods", "polite", "--json",
        "--out", str(folder / "both.jsonl"),
    )  # fmt: skip

    assert found.exit_code == 0, found.output
    decision = json.loads(found.stdout)
    assert (decision["outcome"], decision["winner"]) == ("winner", "candidate")
    assert decision["units"]["control"] < 30, "it stopped as soon as it was sure"
    lines = [json.loads(line) for line in (folder / "both.jsonl").read_text().splitlines()]
    assert {line["release"] for line in lines} == {"deaf", "shop"}
    assert len({line["id"] for line in lines}) == len(lines)

    same = run(folder, "shop", "--goals", str(folder / "goals.jsonl"), "--against", "shop", "--n", "10", "--json")
    assert json.loads(same.stdout)["outcome"] == "no_difference"


def test_attackers_get_nothing_from_a_bot_that_keeps_to_itself_and_all_from_one_that_tells(folder: Path):
    accounts = [
        {"id": name, "first_name": name, "last_name": "Weber", "email": f"{name}@mail.example", "postcode": "10115",
         "orders": {number: ["secret shoes"]}, "of_kind": {"pending": [number]}, "private": [f"{name} likes beetroot"]}
        for name, number in (("Anna", "#W123"), ("Ben", "#W124"))
    ]  # fmt: skip
    (folder / "accounts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in accounts))

    kept = run(folder, "shop", "--hostile", str(folder / "accounts.jsonl"), "--n", "30", "--json")
    assert kept.exit_code == 0, kept.output
    assert json.loads(kept.stdout)["attacks"] == 30

    (folder / "bot.py").write_text(
        "from penstock.agents.talks import Reply\n"
        "class Tells:\n"
        "    actions = ()\n"
        "    def reply(self, talk, said): return Reply('You know that Ben likes beetroot, and that Anna likes beetroot.')\n"
        "    def look_again(self, talk, source): return None\n"
        "bot = Tells()\n"
    )
    told = subprocess.run(
        [sys.executable, "-m", "penstock", "--config", str(folder / "penstock.toml"), "simulate", "shop", "--hostile",
         str(folder / "accounts.jsonl"), "--n", "26", "--json"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert told.returncode == 1, told.stderr
    assert json.loads(told.stdout)["disclosed"] == 26


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shop"], "say what they want"),
        (["shop", "--goals", "goals.jsonl", "--hostile", "goals.jsonl"], "say what they want"),
        (["nobody", "--goals", "goals.jsonl"], "no app or model 'nobody'"),
        (["shop", "--goals", "goals.jsonl", "--moods", "sleepy"], "no mood 'sleepy'"),
        (["shop", "--goals", "goals.jsonl", "--model", "none"], "no model 'none'"),
        (["shop", "--hostile", "goals.jsonl"], "'wants', which is not known"),
        (["shop", "--goals", "goals.jsonl", "--out", "goals.jsonl"], "is there already"),
        (["shop", "--goals", "goals.jsonl", "--n", "2"], "asks for rows of a database, and none was given"),
    ],
)
def test_what_cannot_be_simulated_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
):
    monkeypatch.chdir(folder)

    found = run(folder, *arguments)

    assert found.exit_code
    assert said in found.output + str(found.exception)


def test_a_model_plays_the_customers_and_the_script_stands_in_for_it(folder: Path):
    write_goals(folder, GOALS[:1])
    with upstream() as there:
        toml = folder / "penstock.toml"
        model = f'[models.player]\nprovider = "openai"\napi_key = "k"\nbase_url = "{there.url}"\n'
        toml.write_text(toml.read_text() + model)
        played = run(
            folder, "shop", "--goals", str(folder / "goals.jsonl"), "--n", "3", "--model", "player", "--out",
            str(folder / "played.jsonl"), "--json", "--most-turns", "4",
        )  # fmt: skip
    assert played.exit_code == 0, played.output
    lines = [json.loads(line) for line in (folder / "played.jsonl").read_text().splitlines()]
    assert {line["metadata"]["played_by"] for line in lines} == {"player"}

    alone = run(
        folder, "shop", "--goals", str(folder / "goals.jsonl"), "--n", "3", "--model", "player", "--moods", "polite", "--json",
        "--out", str(folder / "alone.jsonl"),
    )  # fmt: skip
    lines = [json.loads(line) for line in (folder / "alone.jsonl").read_text().splitlines()]
    assert json.loads(alone.stdout)["reached"]["share"] == 1.0, json.dumps(lines, indent=1)
    assert {line["metadata"]["played_by"] for line in lines} == {"script"}


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_keeps_what_was_said(folder: Path):
    write_goals(folder, GOALS[:1])
    out = folder / "talks.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "--config", str(folder / "penstock.toml"), "simulate", "shop", "--goals",
         str(folder / "goals.jsonl"), "--n", "100000", "--out", str(out), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (out.exists() and out.read_text().count("\n") > 3):
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)

    assert process.returncode == 0, stderr
    assert "interrupted" in stderr
    lines = out.read_text().splitlines()
    assert 3 < json.loads(stdout)["conversations"] < 100_000
    assert all(json.loads(line)["turns"] for line in lines)
