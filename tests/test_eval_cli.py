"""`penstock eval`: apps, models and given answers are evaluated as people do it, from the terminal."""

import json
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from serving import HANDBOOK, asked, serving, write
from upstream import PIECES, TEXT, Turn, Upstream, upstream

from penstock.assemble import assemble
from penstock.cli.main import cli
from penstock.config import load
from penstock.errors import BadRequest, NotFound, PenstockError
from penstock.evaluate import cases, result
from penstock.evaluation import CALLER, Evaluation, from_journal
from penstock.observe.ledger import Ledger

CASES = [
    {
        "id": "c1",
        "question": "How long can books be returned?",
        "expected": "within thirty days",
        "sources": ["returns.md"],
    },
    {
        "id": "c2",
        "question": "How long does a parcel to Norway take?",
        "expected": "five days",
        "sources": ["shipping.md"],
    },
    {"id": "c3", "question": "What does the moon weigh?", "answerable": False},
]
APP = """
[documents.handbook]
paths = ["handbook"]
[apps.helper]
documents = "handbook"
guard = "off"
[evaluations.helper]
cases = "cases.jsonl"
gate = {grounded = 0.9, answered = 0.9}
"""


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def said(text: str, *, logprobs: tuple[float, ...] = ()) -> Turn:
    """A streamed answer of one piece."""
    content = [{"token": "x", "logprob": one} for one in logprobs]
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None} | (
        {"logprobs": {"content": content}} if content else {}
    )
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    events = [{"choices": [choice]}, {"choices": [end]}, {"choices": [], "usage": usage}]
    return Turn(body=b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in events) + b"data: [DONE]\n\n")


def models(up: Upstream, *, more: str = "") -> str:
    named = "".join(
        f'[models.{name}]\nbase_url = "{up.url}"\nprovider = "openai"\nmodel = "{name}"\napi_key = "a-key"\n'
        "input_usd_per_million = 1000\noutput_usd_per_million = 2000\n"
        for name in ("plain", "judge", "sure", "slow", "fail")
    )
    return named + more


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream(judge=[said("It is good.\nPOINTS: 4")], sure=[said("yes", logprobs=(-0.5, -1.5))]) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path / "project", {"cases.jsonl": lines(CASES)})


@pytest.fixture
def app(project: Path) -> Path:
    write(project / "handbook", HANDBOOK)
    write(project, {"penstock.toml": APP})
    house = assemble(load(project / "penstock.toml", environment={}))
    house.library["handbook"].sync()
    house.close()
    return project


def penstock(project: Path, *arguments: str) -> Result:
    file = project / "penstock.toml"
    return CliRunner().invoke(cli, [*(["--config", str(file)] if file.exists() else []), "eval", *arguments])


def evaluated(project: Path, toml: str, **more: Any) -> Evaluation:
    write(project, {"penstock.toml": toml})
    settings = load(project / "penstock.toml", environment={})
    return Evaluation(cases=cases.load(project / "cases.jsonl"), settings=settings, scores=("answered",), **more)


# ---------------------------------------------------------------- given answers


def test_given_answers_are_scored_without_settings_and_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = write(tmp_path / "elsewhere", {"penstock.toml": "this is no TOML ["})
    monkeypatch.chdir(folder)
    rows = [
        {"question": "How long?", "answer": "Thirty days.", "expected": "thirty days", "context": "Thirty days.", "lang": "en"},
        {"question": "Wie lange?", "answer": "Immer.", "expected": "dreißig Tage", "context": "Dreißig Tage.", "lang": "de"},
    ]  # fmt: skip
    write(folder, {"a.jsonl": lines(rows)})

    done = CliRunner().invoke(cli, ["eval", "run", "--cases", "a.jsonl", "--judge", "offline", "--json"])

    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert told["scores"]["token_f1"]["mean"] == 0.5
    assert told["scores"]["token_f1"]["gap"] == 1.0
    assert told["scores"]["grounded"]["by_language"]["en"]["mean"] == 1
    assert {"judge", "bleu", "chrf", "rougeL", "meteor", "bertscore", "language", "toxicity"} <= told["scores"].keys()
    assert "latency_ms" not in told["scores"]


def test_a_limit_that_does_not_hold_ends_with_an_error_and_the_reason(project: Path):
    rows = [{"question": f"{n}?", "answer": "x" if n else "y", "expected": "x"} for n in range(4)]
    write(project, {"a.jsonl": lines(rows)})
    file = str(project / "a.jsonl")

    good = penstock(project, "run", "--cases", file, "--limit", "exact=0.7")
    bad = penstock(project, "run", "--cases", file, "--limit", "exact=0.8", "--report", str(project / "j.xml"))

    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert "exact is 0.75 over 4 cases, and must be at least 0.8" in bad.stderr
    assert ET.parse(project / "j.xml").getroot().attrib["failures"] == "1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run",), "say which cases"),
        (("run", "--cases", "cases.jsonl"), "no row has an answer"),
        (("run", "--cases", "a.jsonl", "--repeats", "2"), "not asked for again"),
        (("run", "--cases", "a.jsonl", "--scores", "token_f2"), "did you mean 'token_f1'?"),
        (("run", "--cases", "a.jsonl", "--limit", "exact"), "no NAME=NUMBER"),
        (("run", "--cases", "a.jsonl", "--limit", "judge=0.5"), "a limit is for 'judge'"),
        (("run", "--cases", "a.jsonl", "--report", "x.pdf"), "should end in"),
        (("run", "--cases", "a.jsonl", "--against", "nobody"), "there is no app or model 'nobody'"),
        (("run", "--cases", "a.jsonl", "--judge", "nobody"), "there is no model 'nobody' that could judge"),
        (("app", "nobody", "--gate"), "no limits are set for 'nobody'"),
        (("app", "helper"), "say which cases"),
        (("compare", "a.jsonl", "a.jsonl"), "no result of an evaluation"),
        (("cases",), "check a FILE"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_a_reason(
    project: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
):
    write(project, {"a.jsonl": lines([{"question": "a?", "answer": "b", "expected": "b"}])})
    monkeypatch.chdir(project)

    done = CliRunner().invoke(cli, ["eval", *arguments])

    told = f"{done.output} {done.exception}"
    assert done.exit_code != 0
    assert said in told
    assert isinstance(done.exception, PenstockError | SystemExit)


# ---------------------------------------------------------------- an app


def test_an_app_is_asked_and_held_against_its_limits(app: Path):
    reports = [f for kind in ("html", "md", "xml", "json") for f in ("--report", str(app / f"r.{kind}"))]

    done = penstock(app, "app", "helper", "--gate", "--repeats", "2", "--out", str(app / "r.json"), *reports)

    found = result.load(app / "r.json")
    scores = {one.about.name: one for one in found.summaries()}
    assert done.exit_code == 0, done.output
    assert "holds  grounded is 1" in done.stdout
    assert scores["answered"].all.mean == 1  # the third has no answer, and that is said
    assert scores["grounded"].all.n == 2
    assert scores["recall_at_5"].all.mean == 1
    assert scores["citation_precision"].all.mean == 1
    assert scores["answered"].pass_hat_k is not None
    assert found.versions["index"] == "v1"
    assert found.rows[0].reply is not None
    assert found.rows[0].reply.retrieved is not None
    assert found.rows[0].reply.retrieved[0] == "returns.md"
    assert "thirty days" in found.rows[0].reply.context[0]
    assert all((app / f"r.{kind}").stat().st_size > 500 for kind in ("html", "md", "xml", "json"))


def test_an_app_below_a_limit_does_not_pass(app: Path):
    done = penstock(app, "app", "helper", "--gate", "--limit", "exact=0.9")

    assert done.exit_code == 1
    assert "FAILS  exact is 0" in done.stderr
    assert penstock(app, "app", "helper").exit_code == 0  # nobody asked for the gate


def test_a_version_that_lost_answers_fails_against_its_baseline(app: Path):
    many = [
        {**CASES[n % 2], "id": f"c{n}", "group": "", "question": f"{CASES[n % 2]['question']}{' ' * n}"}
        for n in range(8)
    ]
    write(app, {"cases.jsonl": lines(many)})
    before = penstock(app, "app", "helper", "--scores", "answered", "--out", str(app / "before.json"))
    write(
        app / "handbook", {"returns.md": "# Returns\n\nNothing to say.\n", "shipping.md": "# Shipping\n\nNor here.\n"}
    )
    house = assemble(load(app / "penstock.toml", environment={}))
    house.library["handbook"].sync()
    house.close()

    after = penstock(
        app,
        "app",
        "helper",
        "--scores",
        "answered",
        "--baseline",
        str(app / "before.json"),
        "--out",
        str(app / "after.json"),
    )
    compared = penstock(
        app, "compare", str(app / "before.json"), str(app / "after.json"), "--fail", "--report", str(app / "c.md")
    )

    assert before.exit_code == 0
    assert after.exit_code == 1
    assert "answered: worse by" in after.stderr
    assert compared.exit_code == 1
    assert "❌ worse" in (app / "c.md").read_text("utf-8")


def test_only_what_the_roles_of_whoever_asks_may_read_is_found(app: Path):
    write(app / "handbook", {"salaries.md": "# Salaries\n\nThe director earns 90,000 a year.\n"})
    write(app, {"penstock.toml": APP + '[[documents.handbook.rules]]\nmatch = "salaries*"\naccess = ["hr"]\n'})
    write(
        app,
        {"cases.jsonl": lines([{"question": "What does the director earn?", "sources": "salaries.md", "lang": "en"}])},
    )
    house = assemble(load(app / "penstock.toml", environment={}))
    house.library["handbook"].sync()
    house.close()

    anybody = json.loads(penstock(app, "app", "helper", "--json").stdout)
    clerk = json.loads(penstock(app, "app", "helper", "--role", "hr", "--json").stdout)

    assert anybody["scores"]["recall_at_5"]["mean"] == 0
    assert clerk["scores"]["recall_at_5"]["mean"] == 1


# ---------------------------------------------------------------- models


def test_a_model_is_asked_past_the_cache_of_its_route_and_what_it_costs_is_booked(project: Path, up: Upstream):
    route = '[routes.kept]\nmodels = ["plain"]\ncache = "exact"\nsingle_flight = true\n'

    evaluation = evaluated(project, models(up, more=route), against="kept", repeats=3)
    evaluation.run()

    rows = evaluation.result.rows
    assert evaluation.settings is not None
    house = assemble(evaluation.settings)
    try:
        booked = Ledger(house.database).spent("key", since=0)
        apps = Ledger(house.database).spent("app", since=0)
    finally:
        house.close()
    assert up.calls["plain"] == 9
    assert {row.reply.text for row in rows if row.reply} == {TEXT}
    assert not any(row.reply.cached for row in rows if row.reply)
    assert [(row.reply.input_tokens, row.reply.output_tokens) for row in rows if row.reply][:1] == [(12, PIECES)]
    assert evaluation.result.cost_usd == pytest.approx(9 * (12 * 0.001 + PIECES * 0.002))
    assert [(one.name, one.requests) for one in booked] == [(CALLER, 9)]
    assert sum(one.cost_pico_usd for one in booked) / 1e12 == pytest.approx(evaluation.result.cost_usd)
    assert [one.name for one in apps] == [""]


def test_what_an_app_has_written_comes_with_all_that_it_rests_on_and_what_it_cost(app: Path, up: Upstream):
    route = '[routes.kept]\nmodels = ["sure"]\ncache = "exact"\nsingle_flight = true\n'
    toml = APP.replace('guard = "off"', 'guard = "off"\nmodels = ["kept"]\ngrounded = false') + models(up, more=route)

    evaluation = evaluated(app, toml, against="helper", repeats=3, concurrent=8)
    evaluation.run()

    first = evaluation.result.rows[0].reply
    assert up.calls["sure"] == 6  # the documents are silent on the third question, and nobody is asked
    assert first is not None
    assert (first.text, first.by, first.state) == ("yes", "kept", "answered")
    assert (first.cost_usd, first.output_tokens) == (pytest.approx(10 * 0.001 + 5 * 0.002), 5)
    assert first.cited == ("returns.md",)
    assert first.retrieved is not None
    assert first.retrieved[0] == "returns.md"
    assert "Sale items are final" in " ".join(first.context)


def test_a_model_that_fails_is_no_reason_to_stop(project: Path, up: Upstream, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penstock.evaluate.run.RETRIES", 0)

    evaluation = evaluated(project, models(up), against="fail")
    evaluation.run()

    (answered,) = evaluation.result.summaries()
    assert {row.reply.state for row in evaluation.result.rows if row.reply} == {"failed"}
    assert answered.all.mean == 0  # the one without an answer too: nobody said that there is none


def test_a_model_judges_and_its_cost_is_told_apart(project: Path, up: Upstream):
    evaluation = evaluated(project, models(up), against="plain", judge="judge")
    evaluation.run()

    judge = next(one for one in evaluation.result.summaries() if one.about.name == "judge")
    assert judge.all.mean == (0.75 + 0.75 + 0) / 3  # it answered what has no answer
    assert up.calls["judge"] == 4
    assert evaluation.result.judge_cost_usd == pytest.approx(4 * (10 * 0.001 + 5 * 0.002))
    assert evaluation.result.agreements()[0]["with"] == "itself"


def test_a_model_that_tells_the_probabilities_of_its_tokens_has_a_perplexity(project: Path, up: Upstream):
    write(project, {"penstock.toml": models(up)})

    done = penstock(
        project, "run", "--cases", str(project / "cases.jsonl"), "--against", "sure", "--logprobs", "--json"
    )

    assert json.loads(done.stdout)["scores"]["perplexity"]["mean"] == pytest.approx(2.718282)
    assert up.seen[-1].body["logprobs"] is True


def test_a_run_that_breaks_off_is_written_down_and_goes_on_later(project: Path, up: Upstream):
    write(project, {"penstock.toml": models(up, more="[budgets.all]\nlimit_usd = 8.6\n")})
    arguments = (
        "run",
        "--cases",
        str(project / "cases.jsonl"),
        "--against",
        "plain",
        "--scores",
        "answered",
        "--concurrent",
        "1",
    )
    part, whole = str(project / "part.json"), str(project / "whole.json")

    broken = penstock(project, *arguments, "--repeats", "3", "--out", part)
    done_before = result.load(Path(part)).asked
    write(project, {"penstock.toml": models(up)})
    resumed = penstock(project, *arguments, "--repeats", "3", "--resume", part, "--out", whole)
    more = penstock(project, *arguments, "--scores", "language", "--repeats", "3", "--resume", whole, "--json")
    other = penstock(project, *arguments, "--repeats", "3", "--seed", "1", "--resume", part, "--judge", "offline")

    assert broken.exit_code == 1
    assert f"broken off: {done_before} of 9 answers are in {part}" in broken.stderr
    assert 0 < done_before < 9
    assert resumed.exit_code == 0
    assert result.load(Path(whole)).complete
    assert up.calls["plain"] == 9
    assert set(json.loads(more.stdout)["abouts"]) == {"answered", "language"}
    assert "other settings" in str(other.exception)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has another Ctrl-C")
def test_an_interrupt_leaves_what_was_done(project: Path, up: Upstream):
    write(project, {"penstock.toml": models(up), "many.jsonl": lines([{"question": f"{n}?"} for n in range(40)])})
    command = [
        sys.executable,
        "-m",
        "penstock",
        "eval",
        "run",
        "--cases",
        "many.jsonl",
        "--against",
        "slow",
        "--scores",
        "answered",
    ]
    process = subprocess.Popen(
        [*command, "--concurrent", "1"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while up.calls["slow"] < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)

    assert process.returncode == 130, told
    left = result.load(project / "evaluation.partial.json")
    assert "go on with --resume evaluation.partial.json" in told
    assert 2 <= left.asked < 40
    assert not left.complete


# ---------------------------------------------------------------- cases


def test_a_file_of_cases_is_checked(project: Path):
    done = penstock(project, "cases", str(project / "cases.jsonl"), "--json")

    told = json.loads(done.stdout)
    assert (told["cases"], told["languages"], told["with"]) == (3, {"en": 3}, {"expected": 2, "sources": 2})
    assert told["digest"] == cases.load(project / "cases.jsonl").digest


def test_cases_come_from_the_journal_of_an_app_that_keeps_its_words(tmp_path: Path):
    folder = tmp_path / "project"
    write(folder / "handbook", HANDBOOK)
    toml = APP.replace('guard = "off"', 'guard = "off"\nkeep_text = "always"')
    with serving(folder, toml) as served:
        client = served.client()
        for question in (
            "How long can books be returned?",
            "how long can books  be returned?",
            "What does the moon weigh?",
        ):
            assert client.post("/v1/chat/completions", json=asked("helper", question)).status_code == 200

    done = penstock(folder, "cases", "--from-journal", "helper", "--out", str(folder / "asked.jsonl"))
    found = cases.load(folder / "asked.jsonl")
    scored = penstock(folder, "run", "--cases", str(folder / "asked.jsonl"), "--json")

    house = assemble(load(folder / "penstock.toml", environment={}))
    try:
        kinds = [record.kind for record in house.audit.records()]
    finally:
        house.close()
    assert done.exit_code == 0, done.output
    assert [case.question for case in found.cases] == ["how long can books  be returned?", "What does the moon weigh?"]
    assert {reply.state for replies in found.given.values() for reply in replies} == {"answered", "abstained"}
    assert json.loads(scored.stdout)["scores"]["language"]["n"] == 2
    assert "journal.read" in kinds
    again = penstock(folder, "cases", "--from-journal", "helper", "--out", str(folder / "asked.jsonl"))
    assert "is there already" in str(again.exception)


def test_an_app_that_keeps_no_words_has_no_cases(app: Path):
    settings = load(app / "penstock.toml", environment={})

    with pytest.raises(BadRequest, match="keeps no words"):
        from_journal(settings, "helper", since=0)
    with pytest.raises(NotFound):
        from_journal(settings, "nobody", since=0)


def test_scores_are_listed_with_what_they_do_not_show():
    done = CliRunner().invoke(cli, ["eval", "scores"])

    assert "token_f1" in done.stdout
    assert "judge" in done.stdout
    assert "Counts words, and knows neither paraphrase nor reasons" in done.stdout
