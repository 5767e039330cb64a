"""The console's page of support: a log is sent and evaluated in a process of its own, its figures, what is wrong in which turn."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import SHOP_LOG, Served, kept_log, serving
from test_bots import SHOP
from test_console import Visitor

LOG = "".join(json.dumps(row) + "\n" for row in SHOP_LOG)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, documents=False) as served:
        yield served


def send(visitor: Visitor, files: dict[str, tuple[str, bytes]], **values: str) -> Any:
    form = re.search(r'name="form" value="(\w+)"', visitor.get("/console/support").text)
    assert form
    return visitor.client.post("/console/support", data={"form": form[1], **values}, files=files)


def over(visitor: Visitor, path: str) -> dict[str, Any]:
    until = time.monotonic() + 120
    while (data := visitor.get(f"{path}?as=json").json())["run"]["state"] == "running":
        assert time.monotonic() < until
        time.sleep(0.3)
    return data


def test_a_log_is_sent_evaluated_and_told_with_what_is_wrong_in_it(house: Served, tmp_path: Path):
    visitor = Visitor(house)
    assert "No log was evaluated yet" in visitor.get("/console/support").text

    sent = send(visitor, {"log": ("may.jsonl", LOG.encode()), "changes": ("changes.txt", b"2026-05-09 a new prompt\n")})
    assert sent.status_code == 303, sent.text
    path = sent.headers["location"].partition("?")[0]
    data = over(visitor, path)

    assert data["run"]["state"] == "done", data["run"]
    report = data["report"]
    assert report["conversations"] == 60
    assert {group["by"] for group in report["groups"]} == {"all", "release", "intent", "language"}
    wrong = [one for one in data["findings"] if one["kind"] == "made_up"]
    assert len(wrong) == 12
    assert any(change["what"] == "a new prompt" for change in report["changes"])
    page = visitor.get(path).text
    assert "factual accuracy" in page
    assert "Words are not checked against rows" in page, "each figure says what it does not show"
    assert "a new prompt" in page
    assert "<b>Thanks" not in page
    assert not list((tmp_path / "home").glob("support/*")), "what was sent is gone"
    (listed,) = visitor.get("/console/support?as=json").json()["runs"]
    assert listed["findings"] == len(data["findings"])
    kinds = [one["kind"] for one in visitor.get("/console/audit?as=json").json()["records"]]
    assert {"evaluation.started", "log.read"} <= set(kinds)


def test_from_a_finding_to_the_claim_in_its_conversation(house: Served, tmp_path: Path):
    visitor, run = Visitor(house), kept_log(house.house, tmp_path)
    path = f"/console/support/{run}"
    link = re.search(rf'href="({path}/talk\?conversation=[^"#]+)#turn-1"', visitor.get(f"{path}?kind=made_up").text)
    assert link

    page = visitor.get(link[1]).text

    assert re.search(r"<mark>[^<]*99\.00[^<]*</mark>", page)
    assert "&lt;b&gt;Thanks" in page
    assert [row.split(",")[1] for row in visitor.get(f"{link[1]}&as=csv").text.splitlines()[1:]] == [
        "customer",
        "bot",
    ] * 2
    assert visitor.get(f"{path}/talk?conversation=none").status_code == 404


def test_figures_stand_beside_people_and_are_exported(house: Served, tmp_path: Path):
    visitor, run = Visitor(house), kept_log(house.house, tmp_path)
    path = f"/console/support/{run}"

    page, data = visitor.get(path).text, visitor.get(f"{path}?as=json").json()

    assert "Figures beside people" in page
    assert data["people"]["resolved"]["n"] == 40
    assert data["people"]["resolved"]["kappa"] is not None
    rows = visitor.get(f"{path}?as=csv").text.lstrip("\ufeff").splitlines()
    assert rows[0] == "by,group,metric,value,low,high,n,units,interval,tells"
    assert any(row.startswith("release,2026.5,accuracy,") for row in rows)
    group = visitor.get(f"{path}?group=intent:refund&as=json").json()
    assert group["chosen"]["conversations"] == 30
    assert all(one["intent"] == "refund" for one in group["findings"])
    for odd in ("group=intent:none", "trend=none", "skip=-1"):
        assert visitor.get(f"{path}?{odd}").status_code == 400, odd


def test_a_suggestion_becomes_the_settings_of_an_experiment(house: Served, tmp_path: Path):
    visitor, run = Visitor(house), kept_log(house.house, tmp_path)

    data = visitor.get(f"/console/support/{run}?as=json").json()
    page = visitor.get(f"/console/support/{run}").text

    assert data["report"]["suggestions"]
    assert "Make an experiment of it" in page
    assert "penstock experiment run" in page
    assert data["report"]["suggestions"][0]["settings"].splitlines()[0] in page.replace("&#34;", '"')


@pytest.mark.parametrize(
    ("files", "values", "said"),
    [
        ({}, {}, "there is no log to evaluate"),
        ({"log": ("empty.jsonl", b"")}, {}, "there is no log to evaluate"),
        ({}, {"app": "nobody"}, "there is no log to evaluate"),
        ({"log": ("a.jsonl", b"{}")}, {"app": "shop"}, "not both"),
    ],
)
def test_a_form_without_a_log_is_refused(house: Served, files: dict[str, Any], values: dict[str, str], said: str):
    found = send(Visitor(house), files or {"nothing": ("", b"")}, **values)

    assert found.status_code == 400
    assert said in found.text


def test_what_is_no_log_ends_with_what_is_wrong_with_it(house: Served, tmp_path: Path):
    visitor = Visitor(house)

    sent = send(visitor, {"log": ("../../evil.jsonl", b"\x00\x01 not a log at all")})
    data = over(visitor, sent.headers["location"].partition("?")[0])

    assert data["run"]["state"] == "failed"
    assert data["run"]["error"]
    assert data["run"]["target"] == "evil.jsonl"
    assert not list((tmp_path / "home").glob("support/*"))
    assert not list(tmp_path.rglob("evil*"))


def test_the_conversations_of_a_bot_of_this_server_are_evaluated(tmp_path: Path):
    (tmp_path / "bot.py").write_text(SHOP)
    with serving(tmp_path, '[apps.shop]\nbot = "bot.py"\n', documents=False) as served:
        visitor = Visitor(served)
        for _ in range(3):
            said = {"model": "shop", "messages": [{"role": "user", "content": "Where is my order #W124?"}]}
            assert served.client().post("/v1/chat/completions", json=said).status_code == 200
        assert "<option>shop</option>" in visitor.get("/console/support").text

        sent = send(visitor, {"nothing": ("", b"")}, app="shop")
        data = over(visitor, sent.headers["location"].partition("?")[0])

    assert data["run"]["state"] == "done", data["run"]
    assert data["report"]["conversations"] == 3


def test_a_run_is_ended_and_removed_and_is_not_one_of_evaluations(house: Served, tmp_path: Path):
    visitor, run = Visitor(house), kept_log(house.house, tmp_path)
    path = f"/console/support/{run}"
    evaluation = house.house.runs.begin("evaluation", target="helper", by="somebody")

    assert visitor.get(f"/console/evaluations/{run}").status_code == 404
    assert visitor.get(f"/console/support/{evaluation}").status_code == 404
    assert visitor.send("/console/support", f"{path}/cancel").status_code == 409, "it has ended"
    assert visitor.get("/console/evaluations").status_code == 200
    assert visitor.send("/console/support", f"{path}/remove").headers["location"].endswith("told=result-gone")
    assert visitor.get(path).status_code == 404
