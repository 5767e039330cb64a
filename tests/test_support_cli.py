"""`penstock eval log`, from the terminal: what it prints, writes, resumes, refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from serving import serving

from benchmarks.support_logs import conversations
from penstock.assemble import assemble
from penstock.cli.main import cli
from penstock.config import load
from penstock.conversations import Turn
from penstock.errors import BadRequest, PenstockError
from penstock.review.feedback import About
from penstock.types import ANYBODY, new_id


def run(*arguments: object, ok: bool = True) -> Result:
    result = CliRunner().invoke(cli, ["eval", "log", *map(str, arguments)], catch_exceptions=True)
    if ok and result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def written(path: Path, n: int, **about: object) -> Path:
    some, _ = conversations(n, **about)  # type: ignore[arg-type]
    path.write_text("".join(json.dumps(one.plain()) + "\n" for one in some))
    return path


def test_a_log_is_told_with_intervals_findings_and_what_to_try(tmp_path):
    log = written(tmp_path / "log.jsonl", 80, seed=1, wrong=0.4)

    result = run(
        log,
        "--words",
        "--report",
        tmp_path / "r.html",
        "--report",
        tmp_path / "r.md",
        "--suggestions",
        tmp_path / "try",
    )

    assert result.exit_code == 0
    assert "factual accuracy" in result.stdout
    assert "wrong_fact" in result.stdout
    assert "what to try" in result.stdout
    page = (tmp_path / "r.html").read_text()
    assert "does not show" in page
    assert "<mark>" in page
    assert "<script" not in page
    assert (tmp_path / "r.md").read_text().startswith("### log.jsonl: 80 conversations")
    assert list((tmp_path / "try").glob("*.toml"))


def test_json_has_every_figure_with_its_card(tmp_path):
    log = written(tmp_path / "log.jsonl", 30, seed=1)

    told = json.loads(run(log, "--words", "--json").stdout)

    figure = next(one for one in told["groups"][0]["figures"] if one["metric"] == "accuracy")
    assert set(figure) >= {"value", "n", "units", "low", "high", "interval", "tells", "evidence"}
    assert all(card["method"] and card["does_not_show"] for card in told["metrics"])
    assert told["fields"]["turns"] == "turns"


def test_what_surely_became_worse_ends_a_gate_with_an_error(tmp_path):
    old = written(tmp_path / "old.jsonl", 150, seed=1)
    same = written(tmp_path / "same.jsonl", 150, seed=2)
    worse = written(tmp_path / "worse.jsonl", 150, seed=3, wrong=0.2)

    kept = run(old, "--words", "--out", tmp_path / "old.scored")

    assert kept.exit_code == 0
    assert run(same, "--words", "--against", tmp_path / "old.scored", "--gate").exit_code == 0
    result = run(worse, "--words", "--against", old, "--gate")
    assert result.exit_code == 1
    assert "surely worse than old.jsonl" in result.stdout


def test_a_limit_that_does_not_hold_is_an_error_with_its_reason(tmp_path):
    log = written(tmp_path / "log.jsonl", 40, seed=1, wrong=0.5)

    result = run(log, "--words", "--limit", "accuracy=0.99", "--limit", "csat=1")

    assert result.exit_code == 1
    assert "factual accuracy is" in result.stderr
    assert "its limit is 99.0 %" in result.stderr
    assert "CSAT" not in result.stderr


@pytest.mark.parametrize("more", [["--map", "x"], ["--limit", "niceness=1"], ["--metrics", "niceness"], ["--csat-scale", "five"],
    ["--between", "r1"], ["--drawn", "x"], ["--report", "x.pdf"]])  # fmt: skip
def test_an_option_that_means_nothing_is_refused(tmp_path, more):
    log = written(tmp_path / "log.jsonl", 2, seed=1)

    assert run(log, *more, ok=False).exit_code == 2


def test_it_names_neither_or_both_of_file_and_journal(tmp_path):
    assert run(ok=False).exit_code == 2
    assert run(written(tmp_path / "log.jsonl", 2, seed=1), "--journal", ok=False).exit_code == 2


def test_a_result_is_never_written_over_another_file(tmp_path):
    log = written(tmp_path / "log.jsonl", 5, seed=1)

    with pytest.raises(BadRequest, match="is no result of"):
        run(log, "--words", "--out", log)
    assert log.read_text().count("\n") == 5


def test_going_on_with_other_options_is_refused(tmp_path):
    log = written(tmp_path / "log.jsonl", 5, seed=1)
    run(log, "--words", "--out", tmp_path / "kept")

    with pytest.raises(BadRequest, match="begun with words = True"):
        run(log, "--resume", tmp_path / "kept")


def test_an_interrupt_leaves_a_report_of_what_is_done_and_can_be_gone_on_with(tmp_path):
    log = written(tmp_path / "log.jsonl", 3000, seed=1)
    command = [sys.executable, "-m", "penstock", "eval", "log", str(log), "--words", "--out", str(tmp_path / "kept"), "--report",
        str(tmp_path / "part.md")]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ, text=True)
    until = time.monotonic() + 60
    while (
        not (tmp_path / "kept").exists() or (tmp_path / "kept").stat().st_size < 20_000
    ) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert "NOT FINISHED" in out
    assert "NOT FINISHED" in (tmp_path / "part.md").read_text()
    assert "go on with --resume" in err
    small = written(tmp_path / "log.jsonl", 3000, seed=1)
    told = json.loads(run(small, "--words", "--resume", tmp_path / "kept", "--json", "--metrics", "accuracy").stdout)
    assert told["conversations"] == 3000
    assert told["complete"]


def test_conversations_are_drawn_for_people_and_their_ratings_stand_beside(tmp_path):
    log = written(tmp_path / "log.jsonl", 60, seed=1, wrong=0.3)

    run(log, "--words", "--draw", 20, "--drawn", tmp_path / "drawn.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "drawn.jsonl").read_text().splitlines()]
    assert len(rows) == 20
    assert all(row["answer"] and 0 < row["probability"] <= 1 for row in rows)
    ratings = [{"conversation": row["id"], "rater": who, "resolved": True} for row in rows for who in ("anna", "bert")]
    (tmp_path / "ratings.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ratings))

    result = run(log, "--words", "--human", tmp_path / "ratings.jsonl")

    assert "resolved and people" in result.stdout
    assert "anna, bert on resolved" in result.stdout


def test_drawn_conversations_wait_in_the_review_queue(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text("")
    log = written(tmp_path / "log.jsonl", 40, seed=1)

    result = run(log, "--words", "--draw", 5)

    assert "5 of them new" in result.stderr
    house = assemble(load(None))
    task = house.review.queue.claim("anna", "support")
    assert task is not None
    assert task.content.answer
    house.close()


def test_trends_show_what_was_changed(tmp_path):
    log = written(tmp_path / "log.jsonl", 60, seed=1)
    (tmp_path / "changes.txt").write_text("2026-03-20 the prompt asks for the order\n")

    run(log, "--words", "--changes", tmp_path / "changes.txt", "--report", tmp_path / "r.html")

    page = (tmp_path / "r.html").read_text()
    assert "2026-03-20" in page
    assert "the prompt asks for the order" in page
    assert "<polyline" in page
    (tmp_path / "changes.txt").write_text("soon something\n")
    with pytest.raises(BadRequest, match=r"line 1 of .* has no day"):
        run(log, "--words", "--changes", tmp_path / "changes.txt")


def test_hostile_words_in_a_log_stay_words(tmp_path):
    evil = "</pre><script>alert(1)</script> \x1b[31m # | ` costs 99 EUR"
    rows = [{"id": f"<b>{n}</b>", "release": "<i>r</i>", "intent": "<svg onload=x>", "facts": {"total": "12 EUR"},
             "messages": [{"role": "user", "content": "<img src=x onerror=y>"}, {"role": "assistant",
             "content": evil}]} for n in range(25)]  # fmt: skip
    log = tmp_path / "<log>.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))

    result = run(log, "--words", "--report", tmp_path / "r.html", "--report", tmp_path / "r.md")

    page, told = (tmp_path / "r.html").read_text(), (tmp_path / "r.md").read_text()
    assert not [one for one in ("<script", "<img", "<svg onload", "<b>0") if one in page]
    assert not re.search(r"(?<!\\)<(?:script|img|b|svg)", told)
    assert "\x1b" not in result.stdout


def test_the_conversations_of_a_house_are_a_log(tmp_path, monkeypatch):
    from test_bots import SHOP, Customer

    (tmp_path / "bot.py").write_text(SHOP)
    with serving(tmp_path, '[apps.shop]\nbot = "bot.py"\n') as served:
        customer = Customer(served)
        customer.says("Where is my order?")
        customer.says("#W123")
        house = served.house
        turns = [
            Turn(new_id(), "What does it cost?", {"text": "It is free.", "status": "answer"}, "req-1", time.time())
        ]
        house.conversations.keep(ANYBODY, new_id(), "handbook", turns)
        house.review.feedback.give(About("req-1", "anybody", app="handbook"), "anna", {"csat": 4})

        found = list(house.support_log())

    bot = next(one for one in found if one.app == "shop")
    assert [turn.role for turn in bot.turns] == ["customer", "bot", "customer", "bot"]
    assert "25.99" in bot.turns[3].text
    assert "25.99" in str(bot.turns[3].rows)
    assert bot.turns[3].latency_ms is not None or bot.turns[3].at is not None
    chat = next(one for one in found if one.app == "handbook")
    assert chat.turns[1].text == "It is free."
    assert chat.csat == 4.0


def test_a_house_without_conversations_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text("")

    with pytest.raises(PenstockError, match="no conversation"):
        run("--journal", "--words")


def test_a_gate_that_could_compare_nothing_says_so(tmp_path):
    log = written(tmp_path / "log.jsonl", 4, seed=1)

    result = run(log, "--words", "--against", log, "--gate")

    assert "nothing could be compared with log.jsonl" in result.output


def test_figures_that_cannot_be_told_are_named_with_the_reason(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"id": "1", "messages": [{"role": "user", "content": "Hi"}, {"role": "bot", "content": "Hello."}]}\n'
    )

    result = run(log, "--words")

    assert "could not be told:" in result.stdout
    assert "there is no encoder" in result.stdout


def test_a_no_that_answers_a_question_is_no_failure(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"id": "1", "messages": [{"role": "user", "content": "Are you open on Sundays?"}, '
        '{"role": "assistant", "content": "No, we are closed on Sundays."}]}\n'
    )

    assert "silent_failure" not in run(log, "--words").stdout
