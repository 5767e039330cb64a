"""The console's page of evaluations: what is set and what came of it, running one there, ending it, and two runs side by side."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from browsing import browsing, in_chromium, opening
from click.testing import CliRunner
from serving import HANDBOOK, Served, evaluated, kept, serving, up, write
from test_console import Visitor
from upstream import upstream

from penstock.assemble import House
from penstock.cli.main import cli
from penstock.config import load
from penstock.erase import Subject, carry_out, plan
from penstock.errors import Conflict, NotFound
from penstock.evaluate import kept as keeping
from penstock.evaluate.kept import Runs
from penstock.server.console import evaluations
from penstock.storage.database import Database


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Served]:
    """A gateway whose model takes its time."""
    with upstream() as there:
        model = f'[models.slow]\nprovider = "openai"\napi_key = "k"\nbase_url = "{there.url}"\n'
        settings = (
            f'{model}[evaluations.slow]\ncases = "cases.jsonl"\nscores = ["answered"]\ngate = {{answered = 0.5}}\n'
        )
        settings += '[evaluations.broken]\nagainst = "slow"\ncases = "nowhere.jsonl"\n'
        write(tmp_path, {"cases.jsonl": "".join(json.dumps({"question": f"What is {n}?"}) + "\n" for n in range(60))})
        with serving(tmp_path, settings, documents=False) as served:
            yield served


def over(visitor: Visitor, path: str) -> dict[str, Any]:
    until = time.monotonic() + 60
    while (run := visitor.get(f"{path}?as=json").json()["run"])["state"] == "running":
        assert time.monotonic() < until
        time.sleep(0.2)
    return run


def test_an_evaluation_is_run_from_the_page_followed_and_held_against_its_limits(shop: Served):
    visitor = Visitor(shop)
    assert "Nothing ran yet" in visitor.get("/console/evaluations").text
    there = visitor.send("/console/evaluations", "/console/evaluations", evaluation="slow").headers["location"]
    assert there.endswith("?told=begun")
    page = visitor.get(there).text
    assert "The evaluation has begun." in page
    assert "It is running" in page
    second = visitor.send("/console/evaluations", "/console/evaluations", evaluation="slow")
    assert second.status_code == 409, "one at a time"

    path = there.partition("?")[0]
    run = over(visitor, path)
    assert (run["state"], run["passed"], run["n"], run["by"], run["done"]) == ("done", True, 60, "owner", 120)
    assert "holds" in visitor.get(path).text
    lines = visitor.get(f"{path}?as=csv").text.splitlines()
    assert (lines[0].lstrip("\ufeff"), len(lines)) == ("case,trial,question,expected,answer,state,error,answered", 61)
    (listed,) = visitor.get("/console/evaluations?as=json").json()["runs"]
    assert listed["scores"]["answered"]["mean"] == 1.0
    kinds = [one["kind"] for one in visitor.get("/console/audit?kind=evaluation.*&as=json").json()["records"]]
    assert kinds == ["evaluation.started"]
    link = re.search(r'href="(/console/requests\?key=evaluate[^"]+)"', visitor.get(path).text)
    assert link
    own = visitor.get(f"{link[1].replace('&amp;', '&')}&as=json").json()["requests"]
    assert len(own) == 60
    assert all(one["key"] == "evaluate" for one in visitor.get("/console/requests?as=json").json()["requests"])


def test_a_run_is_ended_and_what_is_done_stays(shop: Served, tmp_path: Path):
    visitor = Visitor(shop)
    there = (
        visitor.send("/console/evaluations", "/console/evaluations", evaluation="slow")
        .headers["location"]
        .partition("?")[0]
    )
    until = time.monotonic() + 30
    while not visitor.get(f"{there}?as=json").json()["run"]["done"]:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert visitor.send(there, f"{there}/remove").status_code == 409, "it runs"
    assert visitor.send(there, f"{there}/cancel").headers["location"].endswith("told=ending")
    run = over(visitor, there)
    assert run["state"] == "unfinished"
    assert 0 < run["asked"] < 60
    assert not (tmp_path / "evaluation.partial.json").exists()
    assert visitor.send(there, f"{there}/cancel").status_code == 409, "it has ended"
    assert visitor.send(there, f"{there}/remove").headers["location"].endswith("told=result-gone")
    assert visitor.get(there).status_code == 404


def test_what_cannot_be_run_says_why(shop: Served):
    visitor = Visitor(shop)
    assert visitor.send("/console/evaluations", "/console/evaluations", evaluation="none").status_code == 404
    there = (
        visitor.send("/console/evaluations", "/console/evaluations", evaluation="broken")
        .headers["location"]
        .partition("?")[0]
    )
    run = over(visitor, there)
    assert run["state"] == "failed"
    assert "nowhere.jsonl" in run["error"]
    assert "nowhere.jsonl" in visitor.get(there).text


def test_the_terminal_keeps_what_it_runs_for_the_console(shop: Served, tmp_path: Path):
    command = [
        "--config",
        str(tmp_path / "penstock.toml"),
        "eval",
        "app",
        "slow",
        "--evaluation",
        "slow",
        "--scores",
        "answered",
        "--json",
    ]
    assert CliRunner().invoke(cli, command).exit_code == 0
    (run,) = Visitor(shop).get("/console/evaluations?as=json").json()["runs"]
    assert (run["name"], run["state"], run["passed"]) == ("slow", "done", None)
    assert run["by"].startswith("local:")
    assert CliRunner().invoke(cli, [*command[:4], "nobody", "--cases", str(tmp_path / "cases.jsonl")]).exit_code == 1
    assert len(Visitor(shop).get("/console/evaluations?as=json").json()["runs"]) == 1, (
        "what failed at once is said there"
    )


def test_cases_are_found_the_worst_first_and_stay_text(tmp_path: Path):
    with serving(tmp_path, documents=False) as served:
        visitor = Visitor(served)
        path = f"/console/evaluations/{kept(served.house, evaluated(tmp_path))}"
        data = visitor.get(f"{path}?as=json").json()
        assert [case["id"] for case in data["cases"]] == ["poor", "good", "none"]
        assert data["by"] == "token_f1"
        shown = {show: visitor.get(f"{path}?show={show}&as=json").json() for show in ("below", "unscored", "failed")}
        assert {show: [case["id"] for case in one["cases"]] for show, one in shown.items()} == {
            "below": ["poor"], "unscored": ["none"], "failed": ["none"],
        }  # fmt: skip
        assert [case["id"] for case in visitor.get(f"{path}?find=EXPRESS&as=json").json()["cases"]] == ["poor"]
        page = visitor.get(path).text
        assert "&lt;b&gt;express" in page
        assert "<b>express" not in page
        assert "'=SUM(1)" in visitor.get(f"{path}?as=csv").text
        assert "No case fits." in visitor.get(f"{path}?find=zzz").text
        for odd in ("by=bleu", "show=odd", "skip=-1"):
            assert visitor.get(f"{path}?{odd}").status_code == 400, odd


def test_two_runs_are_compared_case_by_case(tmp_path: Path):
    before = [
        {"id": str(n), "question": f"What is {n}?", "expected": "thirty days", "answer": "no idea"} for n in range(20)
    ]
    after = [row | {"answer": "thirty days"} for row in before]
    with serving(tmp_path, documents=False) as served:
        visitor, runs = Visitor(served), served.house.runs
        assert "There are no two runs yet" in visitor.get("/console/evaluations/compare").text
        first, second = kept(served.house, evaluated(tmp_path, before)), kept(served.house, evaluated(tmp_path, after))
        address = f"/console/evaluations/compare?first={first}&second={second}"
        found = visitor.get(f"{address}&as=json").json()["compared"]
        assert (found["scores"][0]["score"], found["scores"][0]["decision"]) == ("token_f1", "better")
        page = visitor.get(address).text
        assert "Better by token_f1" in page
        assert f"first={first}" in visitor.get("/console/evaluations").text
        assert visitor.get(f"/console/evaluations/compare?first={first}&second=none").status_code == 404
        empty = runs.begin("evaluation", target="helper", by="somebody")
        assert visitor.get(f"/console/evaluations/compare?first={first}&second={empty}").status_code == 400


def test_many_can_compare_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evaluations, "COMPARED", 1)
    with serving(tmp_path, documents=False) as served:
        runs = [kept(served.house, evaluated(tmp_path)) for _ in range(4)]
        pairs = [(first, second) for first in runs for second in runs if first != second] * 4
        client = served.client()

        def compared(pair: tuple[str, str]) -> int:
            return client.get(f"/console/evaluations/compare?first={pair[0]}&second={pair[1]}").status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(compared, pairs)) == {200}


def test_a_drill_is_kept_and_shown_with_the_attacks_that_worked(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    settings = '[documents.handbook]\npaths = ["handbook"]\n[apps.helper]\ndocuments = "handbook"\n'
    with serving(tmp_path, settings) as served:
        command = ["--config", str(tmp_path / "penstock.toml"), "redteam", "helper", "--most", "40", "--json"]
        assert CliRunner().invoke(cli, command).exit_code == 0
        visitor = Visitor(served)
        (drill,) = visitor.get("/console/evaluations?as=json").json()["drills"]
        assert drill["attacks"]["trials"] + drill["attacks"]["unscored"] >= 40
        page = visitor.get(f"/console/evaluations/{drill['id']}").text
        assert "Drill: helper" in page
        assert "By language" in page
        assert visitor.get(f"/console/evaluations/{drill['id']}?as=csv").text.startswith("\ufeffby,name,trials,worked")


def test_a_process_that_died_is_told_from_one_that_runs(tmp_path: Path):
    clock = [1000.0]
    runs = Runs(Database(tmp_path / "a.db"), clock=lambda: clock[0])
    run = runs.begin("evaluation", target="a", by="x", alone=True)
    with pytest.raises(Conflict):
        runs.begin("evaluation", target="b", by="x", alone=True)
    clock[0] += keeping.LOST_S + 1
    assert runs.find(run).state == "lost"
    assert runs.begin("evaluation", target="b", by="x", alone=True)
    with pytest.raises(NotFound):
        runs.find("none")


def test_a_run_whose_process_died_can_be_ended_so_that_another_begins(tmp_path: Path):
    clock = [1000.0]
    runs = Runs(Database(tmp_path / "a.db"), clock=lambda: clock[0])
    run = runs.begin("evaluation", target="a", by="x", alone=True)
    clock[0] += keeping.QUIET_S
    assert runs.find(run).state == "running", "it may still begin"
    runs.stop(run)
    assert runs.find(run).state == "lost"
    assert runs.begin("evaluation", target="b", by="x", alone=True)
    assert not runs.go_on(run, 1, 2), "were it alive, it would end"
    runs.end(run, "unfinished", {"asked": 1})
    assert runs.find(run).state == "unfinished"


@pytest.mark.parametrize("why", ["cancelled", "killed"])
def test_a_run_whose_model_hangs_ends_at_once_when_asked_to_or_when_the_server_is_gone(tmp_path: Path, why: str):
    with upstream() as there:
        settings = f'[models.hang]\nprovider = "openai"\napi_key = "k"\nbase_url = "{there.url}"\n'
        settings += '[evaluations.hang]\ncases = "cases.jsonl"\nscores = ["answered"]\n'
        write(tmp_path, {"penstock.toml": settings, "cases.jsonl": '{"question": "What is one?"}\n'})
        house = House(load(tmp_path / "penstock.toml", environment={}))
        runs = house.runs
        with up(tmp_path) as (process, address):
            visitor = Visitor(Served(house, None, address))  # type: ignore[arg-type]
            path = visitor.send("/console/evaluations", "/console/evaluations", evaluation="hang").headers["location"]
            path = path.partition("?")[0]
            run = path.rpartition("/")[2]
            until = time.monotonic() + 60
            while not any(one.model == "hang" for one in there.seen):
                assert time.monotonic() < until
                time.sleep(0.1)
            if why == "cancelled":
                visitor.send(path, f"{path}/cancel")
            else:
                process.kill()
                process.wait()
            visitor.client.close()
            until = time.monotonic() + 8
            while runs.find(run).state == "running":
                assert time.monotonic() < until
                time.sleep(0.1)
            assert runs.find(run).state == "unfinished"
        house.close()


def test_the_latest_runs_of_each_evaluation_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keeping, "KEPT", 3)
    clock = [1000.0]
    runs = Runs(Database(tmp_path / "a.db"), clock=lambda: clock[0])
    for name in ("a", "b", "a", "a", "a", "a"):
        clock[0] += 1
        runs.end(runs.begin("evaluation", target="t", by="x", name=name), "done", {}, {"x": name})
    assert [run.name for run in runs.latest()] == ["a", "a", "a", "b"]


def test_an_evaluation_that_ran_long_ago_is_not_lost_among_those_that_run_often(tmp_path: Path):
    settings = (
        '[evaluations.quiet]\nagainst = "a"\ncases = "c.jsonl"\n[evaluations.busy]\nagainst = "b"\ncases = "c.jsonl"\n'
    )
    with serving(tmp_path, settings, documents=False) as served:
        runs, visitor = served.house.runs, Visitor(served)
        first = runs.begin("evaluation", target="a", by="x", name="quiet")
        runs.end(first, "done", {})
        for n in range(240):
            runs.begin("evaluation" if n % 12 else "drill", target="b", by="x", name="busy" if n % 12 else "")
        assert [run.id for run in runs.latest("evaluation", target="a")] == [first]
        assert len(runs.latest("drill")) == 20
        page = visitor.get("/console/evaluations?as=json").json()
        assert {one["name"]: one["last"]["id"] for one in page["set"]}["quiet"] == first
        assert first in [run["id"] for run in page["runs"]]


def test_results_are_sealed_where_content_is_and_go_with_the_person(tmp_path: Path):
    write(tmp_path, {"penstock.toml": "[encryption]\ncontent = true\n"})
    house = House(load(tmp_path / "penstock.toml", environment={}))
    run = kept(house, evaluated(tmp_path))
    ((stored,),) = house.database.read("select result from evaluation_runs")
    assert "Eve Adams" not in stored
    assert house.runs.result(run)["case_rows"][2]["question"] == "Who is Eve Adams?"
    eve = Subject.of("Eve Adams")
    found = plan(house, eve)
    assert found.counts()["evaluations"] == 1
    assert carry_out(house, found)["erased"]["evaluations"] == 1
    assert house.runs.latest() == []
    house.close()


@in_chromium
def test_no_figure_of_a_result_is_cut_off_on_a_phone(tmp_path: Path):
    wide = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"
    with serving(tmp_path, documents=False) as served, browsing() as browser, opening(browser) as open_page:
        run = kept(served.house, evaluated(tmp_path))
        for language in ("en", "ar", "de"):
            page = open_page(f"{served.url}/console/evaluations/{run}", width=390, locale=language)
            assert page.locator("html").get_attribute("lang") == language
            assert page.locator(".figures dd").evaluate_all(wide) == [], language


@in_chromium
def test_a_run_is_watched_until_it_is_over(shop: Served):
    with browsing() as browser, opening(browser) as open_page:
        page = open_page(f"{shop.url}/console/evaluations")
        page.get_by_role("button", name="Run slow").click()
        page.get_by_role("heading", name="It is running").wait_for()
        page.get_by_role("heading", name="Scores").wait_for(timeout=60_000)
        assert re.fullmatch(r".*/console/evaluations/\w+", page.url)
