"""Feedback and the reviewers' room over HTTP: everybody for what is theirs, reviewers for the rest, nobody for another's."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner, Result
from serving import HANDBOOK, Served, asked, serving, write
from test_manage import refused, until

from penstock import erase, retention
from penstock.cli.main import cli
from penstock.config import load
from penstock.evaluate.cases import load as load_cases
from penstock.review.content import Content
from penstock.review.feedback import REASONS
from penstock.review.requests import risk_of
from penstock.server.app import ROUTES
from penstock.testing import WordEmbedder
from penstock.types import Caller

NAMES = ("boss", "shop", "desk", "rival", "anna", "bo", "cy", "theirs")
KEY = {name: f"{name}-key-0123456789" for name in NAMES}
TOML = f"""
[documents.handbook]
paths = ["handbook"]
[apps.helper]
documents = "handbook"
guard = "off"
keep_text = "always"
[apps.quiet]
documents = "handbook"
guard = "off"
[keys.boss]
key = "{KEY["boss"]}"
admin = true
[keys.shop]
key = "{KEY["shop"]}"
tenant = "acme"
[keys.desk]
key = "{KEY["desk"]}"
tenant = "acme"
[keys.rival]
key = "{KEY["rival"]}"
tenant = "other"
""" + "".join(f'[keys.{name}]\nkey = "{KEY[name]}"\nroles = ["reviewer"]\n' for name in ("anna", "bo", "cy"))
TOML += f'[keys.theirs]\nkey = "{KEY["theirs"]}"\nroles = ["reviewer"]\ntenant = "other"\nmodels = ["helper"]\n'
REVIEW = [(method, path) for method, path, _ in ROUTES if path.startswith("/v1/review")]
OPEN = {("GET", "/v1/review/replies/{reply}"), ("POST", "/v1/review/hand-overs")}  # to whoever asked
QUESTION = "How many days do parcels to Norway take?"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("review")
    write(folder / "handbook", HANDBOOK)
    with serving(folder, TOML, embedder=WordEmbedder()) as served:
        yield served


@pytest.fixture
def of(served: Served) -> dict[str, httpx2.Client]:
    return {name: served.client(KEY[name]) for name in NAMES}


def answered(client: httpx2.Client, app: str = "helper", **more: Any) -> str:
    """The id of a request that was answered."""
    response = client.post("/v1/chat/completions", json=asked(app, QUESTION, **more))
    assert response.status_code == 200, response.text
    return response.headers["x-request-id"]


def say(client: httpx2.Client, request: str, **said: Any) -> httpx2.Response:
    return client.post("/v1/feedback", json={"request": request, **said})


# ---------------------------------------------------------------- feedback


def test_an_opinion_is_given_changed_and_taken_back(of: dict[str, httpx2.Client]):
    request = answered(of["shop"])

    first = say(of["shop"], request, thumb="down", reasons=["outdated", "wrong", "wrong"]).json()
    assert (first["thumb"], first["reasons"], first["csat"], first["app"]) == (
        "down",
        ["wrong", "outdated"],
        None,
        "helper",
    )
    assert say(of["shop"], request, thumb="down").json() == first, "what is said twice is there once"
    second = say(of["shop"], request, text="It is six days now.", correction="Six days.", csat=2).json()
    assert (second["thumb"], second["text"], second["csat"], second["kept_text"]) == (
        "down",
        "It is six days now.",
        2,
        True,
    )
    third = say(of["shop"], request, thumb="up", reasons=None, text=None).json()
    assert (third["thumb"], third["reasons"], third["text"], third["correction"]) == ("up", [], "", "Six days.")
    assert of["shop"].get(f"/v1/feedback/{request}").json()["csat"] == 2
    assert of["shop"].delete(f"/v1/feedback/{request}").json()["withdrawn"] is True
    refused(of["shop"].get(f"/v1/feedback/{request}"), 404, "not_found")


def test_people_behind_one_key_are_told_apart(of: dict[str, httpx2.Client]):
    request = answered(of["shop"], user="p-1")

    say(of["shop"], request, thumb="up")
    say(of["shop"], request, thumb="down", user="p-2")

    assert of["shop"].get(f"/v1/feedback/{request}?user=p-1").json()["thumb"] == "up", (
        "who asked is who says, unless it is said"
    )
    assert of["shop"].get(f"/v1/feedback/{request}?user=p-2").json()["thumb"] == "down"


def test_only_requests_of_ones_own_key_or_tenant_are_spoken_of(of: dict[str, httpx2.Client]):
    request = answered(of["shop"])

    assert say(of["desk"], request, thumb="up").status_code == 200, "of the same tenant"
    assert say(of["boss"], request, thumb="up").status_code == 200
    for other in ("rival", "anna"):
        refused(say(of[other], request, thumb="up"), 404, "not_found")
        refused(of[other].get(f"/v1/feedback/{request}"), 404, "not_found")
        refused(of[other].delete(f"/v1/feedback/{request}?user=shop"), 404, "not_found")
    assert "x-request-id" in refused(say(of["shop"], "0" * 32, thumb="up"), 404, "not_found")["hint"]


def test_an_app_that_keeps_no_words_keeps_none_of_feedback(of: dict[str, httpx2.Client], served: Served):
    request = answered(of["shop"], "quiet")

    told = say(of["shop"], request, thumb="down", text="a secret of mine", correction="another").json()

    assert (told["kept_text"], told["text"], told["correction"], told["thumb"]) == (False, "", "", "down")
    rows = served.house.database.read("select words from feedback where request = ?", (request,))
    assert rows == [("",)]


@pytest.mark.parametrize(
    "said",
    [
        {}, {"thumb": "sideways"}, {"thumb": ["up"]}, {"reasons": "wrong"}, {"reasons": ["because"]}, {"reasons": [1]},
        {"csat": 0}, {"csat": 6}, {"csat": True}, {"csat": "5"}, {"csat": 4.0}, {"text": 5}, {"thumb": "up", "user": 7},
        {"thumb": "up", "user": "a\nb"}, {"thumb": "up", "user": "x" * 257},
    ],
)  # fmt: skip
def test_what_is_no_opinion_is_refused(of: dict[str, httpx2.Client], said: dict[str, Any]):
    request = answered(of["shop"])
    refused(say(of["shop"], request, **said), 400, "bad_request")
    refused(say(of["shop"], request, text="x" * 4_001), 413, "too_large")
    refused(of["shop"].post("/v1/feedback", json={"thumb": "up"}), 400, "bad_request")


def test_one_request_has_no_end_of_opinions(of: dict[str, httpx2.Client], monkeypatch: pytest.MonkeyPatch):
    from penstock.review import feedback

    monkeypatch.setattr(feedback, "MOST_RATERS", 2)
    request = answered(of["shop"])

    statuses = [say(of["shop"], request, thumb="up", user=f"p{n}").status_code for n in range(3)]

    assert statuses == [200, 200, 409]
    assert say(of["shop"], request, thumb="down", user="p0").status_code == 200, "a change is always taken"


def test_reviewers_see_what_was_said(of: dict[str, httpx2.Client]):
    request = answered(of["shop"])
    say(of["shop"], request, thumb="down", csat=1, reasons=["made_up"])

    told = of["anna"].get("/v1/review/feedback?bad=1").json()

    assert request in [one["request"] for one in told["feedback"]]
    assert all(one["thumb"] == "down" or (one["csat"] or 5) <= 2 or one["correction"] for one in told["feedback"])
    helper = next(app for app in told["apps"] if app["name"] == "helper")
    assert helper["down"] >= 1
    assert 1 <= helper["mean_csat"] <= 5


# ---------------------------------------------------------------- who may


@pytest.mark.parametrize(("method", "path"), REVIEW)
def test_the_room_is_for_reviewers(of: dict[str, httpx2.Client], served: Served, method: str, path: str):
    address = path.replace("{item}", "x").replace("{reply}", "x").replace("{draw}", "x")
    body = {"question": "q"} if method == "POST" else None

    refused(served.client().request(method, address, json=body), 401, "needs_key")
    if (method, path) in OPEN:
        assert of["rival"].request(method, address, json=body).status_code in (202, 404)
    else:
        refused(of["rival"].request(method, address, json=body), 403, "not_allowed")
    if not path.endswith("/draws"):
        assert of["bo"].request(method, address, json=body).status_code not in (401, 403)


# ---------------------------------------------------------------- from requests to a rate and a case


def test_requests_are_drawn_judged_and_estimated_and_a_failure_becomes_a_case(
    of: dict[str, httpx2.Client], served: Served
):
    requests = [answered(of["shop"], user="p-9") for _ in range(6)]
    say(of["shop"], requests[0], thumb="down")
    until(lambda: len(served.house.review.requests.seen(since=0.0, app="helper")) >= 6)

    drawn = of["boss"].post("/v1/review/draws", json={"n": 4, "app": "helper", "queue": "week", "double": 1})
    assert drawn.status_code == 201, drawn.text
    refused(of["anna"].post("/v1/review/draws", json={"n": 4}), 403, "not_allowed")
    number = drawn.json()["id"]
    for _ in range(4):
        for name in ("anna", "bo"):
            told = of[name].post("/v1/review/next", json={"queue": "week"}).json()
            assert told["task"]["content"]["question"] == QUESTION
            assert "five days" in told["task"]["content"]["answer"]
            item = told["task"]["id"]
            body = {"verdict": "wrong", "correction": "Six days.", "tags": ["dates"], "note": "since May"}
            done = of[name].post(f"/v1/review/items/{item}/judge", json=body)
            assert done.status_code == 200, done.text
    assert of["anna"].post("/v1/review/next", json={"queue": "week"}).json()["task"] is None

    found = of["anna"].get(f"/v1/review/draws/{number}/estimate").json()
    assert (found["rate"], found["judged"]) == (1.0, 4)
    assert found["interval"][0] > 0.3
    agreed = of["anna"].get("/v1/review/agreement?queue=week").json()
    assert (agreed["all"]["agreed"], agreed["pairs"][0]["name"]) == (1.0, "anna, bo")
    case = of["anna"].post(f"/v1/review/items/{item}/act", json={"action": "case"}).json()
    of["bo"].post(f"/v1/review/items/{item}/act", json={"action": "case"})
    lines = (served.house.settings.folder / "cases.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [case], "done twice, it is there once"
    assert (case["question"], case["expected"], case["tags"]) == (QUESTION, "Six days.", ["dates", "wrong"])
    assert "anna" not in json.dumps(case)
    fix = of["anna"].post(f"/v1/review/items/{item}/act", json={"action": "index_fix", "note": "say six"}).json()
    assert served.house.review.failures.fixes()[0]["id"] == fix["id"]
    assert of["anna"].get(f"/v1/review/items/{item}").json()["verdict"] == "wrong"


def test_complaints_wait_in_a_queue_of_their_own_with_what_was_said(of: dict[str, httpx2.Client], served: Served):
    request = answered(of["shop"])
    say(of["shop"], request, thumb="down", reasons=["wrong"], text="Not true.", correction="Six days.")
    until(lambda: served.house.review.requests.words(request).question)

    made = served.house.review.requests.complaints()

    assert served.house.review.requests.complaints() == []
    item = next(item for item in map(served.house.review.queue.item, made) if item.entry.request == request)
    content = item.entry.content
    assert (content.question, content.suggestion, content.why) == (QUESTION, "Six days.", "down, wrong: Not true.")


def test_verdicts_are_shown_once_the_item_is_done(of: dict[str, httpx2.Client], served: Served):
    from penstock.review.queue import Entry

    (number,) = served.house.review.queue.add([Entry(origin="x", content=Content("q", "a"), queue="one", reviewers=2)])
    of["anna"].post("/v1/review/next", json={"queue": "one"})
    of["anna"].post(f"/v1/review/items/{number}/judge", json={"verdict": "harmful"})

    refused(of["bo"].get(f"/v1/review/items/{number}"), 403, "not_allowed")
    assert "harmful" not in of["bo"].post("/v1/review/next", json={"queue": "one"}).json()["task"]["content"].values()
    undone = of["anna"].post("/v1/review/undo", json={}).json()
    assert undone["task"]["id"] == number
    assert of["anna"].post(f"/v1/review/items/{number}/skip", json={"reason": "cannot_tell"}).json()["skipped"] is True
    refused(of["bo"].post(f"/v1/review/items/{number}/judge", json={"verdict": "fine"}), 400, "bad_request")
    refused(of["cy"].post(f"/v1/review/items/{number}/judge", json={"verdict": "correct"}), 409, "conflict")
    assert of["bo"].post(f"/v1/review/items/{number}/release", json={}).status_code == 200
    queues = {row["queue"]: row for row in of["bo"].get("/v1/review").json()["queues"]}
    assert (queues["one"]["open"], queues["one"]["claimed"], queues["one"]["skipped"]) == (1, 0, 1)


# ---------------------------------------------------------------- approvals and hand-overs


def test_a_proposed_reply_is_approved_and_whoever_asked_is_told(of: dict[str, httpx2.Client], served: Served):
    approvals = served.house.review.approvals
    number = approvals.propose(Content("q", "Five days."), caller=Caller("shop", tenant="acme"), app="helper")

    assert of["shop"].get(f"/v1/review/replies/{number}").json()["state"] == "pending"
    refused(of["rival"].get(f"/v1/review/replies/{number}"), 404, "not_found")
    assert number in [one["id"] for one in of["anna"].get("/v1/review/approvals").json()["approvals"]]
    of["bo"].post(f"/v1/review/replies/{number}/claim", json={})
    refused(of["anna"].post(f"/v1/review/approvals/{number}", json={"decision": "approve"}), 409, "conflict")
    done = of["bo"].post(f"/v1/review/approvals/{number}", json={"decision": "approve", "text": "Six days."}).json()
    assert (done["state"], done["by"]) == ("edited", "bo")
    told = of["desk"].get(f"/v1/review/replies/{number}?wait=5").json()
    assert (told["state"], told["text"]) == ("edited", "Six days.")
    assert "by" not in told, "whoever asked need not know who decided"
    refused(of["bo"].post(f"/v1/review/approvals/{number}", json={"decision": "reject"}), 409, "conflict")
    refused(of["bo"].post(f"/v1/review/approvals/{number}", json={"decision": "maybe"}), 400, "bad_request")


def test_whoever_asks_for_a_person_gets_a_reply_by_its_id(of: dict[str, httpx2.Client]):
    request = answered(of["shop"], user="p-3")
    body = {"question": "And to Japan?", "summary": "asks for times", "request": request,
            "history": [{"role": "user", "content": QUESTION}]}  # fmt: skip
    asked_ = of["shop"].post("/v1/review/hand-overs", json=body)
    assert asked_.status_code == 202, asked_.text
    number = asked_.json()["id"]
    refused(of["rival"].post("/v1/review/hand-overs", json=body), 404, "not_found")
    refused(of["shop"].post("/v1/review/hand-overs", json={"question": " "}), 400, "bad_request")

    waiting = {one["id"]: one for one in of["anna"].get("/v1/review/hand-overs").json()["hand_overs"]}
    assert waiting[number]["content"]["summary"] == "asks for times"
    claimed = of["anna"].post(f"/v1/review/replies/{number}/claim", json={}).json()
    assert claimed["claimed_by"] == "anna"
    of["anna"].post(f"/v1/review/hand-overs/{number}", json={"text": "Twelve days."})
    assert of["shop"].get(f"/v1/review/replies/{number}").json()["text"] == "Twelve days."
    other = of["shop"].post("/v1/review/hand-overs", json={"question": "Hello?"}).json()["id"]
    assert of["bo"].post(f"/v1/review/hand-overs/{other}", json={"close": True}).json()["state"] == "closed"


def test_a_reviewer_of_one_tenant_sees_nothing_of_another(of: dict[str, httpx2.Client], served: Served):
    from penstock.review.queue import Entry

    review, content = served.house.review, Content("q", "a")
    (other,) = review.queue.add([Entry(origin="t1", content=content, queue="two", tenant="acme", app="helper")])
    (quiet,) = review.queue.add([Entry(origin="t2", content=content, queue="two", tenant="other", app="quiet")])
    reply = review.approvals.propose(content, caller=Caller("shop", tenant="acme"), app="helper")
    say(of["shop"], answered(of["shop"]), thumb="down", text="of the shop's")

    theirs = of["theirs"]
    assert theirs.post("/v1/review/next", json={"queue": "two"}).json()["task"] is None
    seen = theirs.get("/v1/review").json()
    assert (seen["queues"], seen["draws"], seen["approvals"], seen["hand_overs"]) == ([], [], 0, 0)
    assert theirs.get("/console/review?as=json").json()["queues"] == []
    for number in (other, quiet):
        refused(theirs.get(f"/v1/review/items/{number}"), 404, "not_found")
        refused(theirs.post(f"/v1/review/items/{number}/act", json={"action": "case"}), 404, "not_found")
    assert reply not in [one["id"] for one in theirs.get("/v1/review/approvals").json()["approvals"]]
    refused(theirs.get(f"/v1/review/replies/{reply}"), 404, "not_found")
    refused(theirs.post(f"/v1/review/replies/{reply}/claim", json={}), 404, "not_found")
    refused(theirs.post(f"/v1/review/approvals/{reply}", json={"decision": "approve"}), 404, "not_found")
    assert theirs.get("/v1/review/feedback").json() == {"feedback": [], "apps": []}
    (mine,) = review.queue.add([Entry(origin="t3", content=content, queue="two", tenant="other", app="helper")])
    (queue,) = theirs.get("/v1/review").json()["queues"]
    assert (queue["queue"], queue["open"]) == ("two", 1)
    assert theirs.post("/v1/review/next", json={"queue": "two"}).json()["task"]["id"] == mine
    assert of["anna"].post("/v1/review/next", json={"queue": "two"}).json()["task"]["id"] == other


# ---------------------------------------------------------------- risks


def test_a_risk_grows_with_what_was_found_and_said():
    wrong = json.dumps([{"findings": [{"type": "UNSUPPORTED:not_found", "score": 0.9}], "decision": "review"}])
    flagged = json.dumps([{"findings": [{"type": "hate"}], "decision": "review"}])
    sure, unsure = (json.dumps({"status": "answer", "confidence": c, "faults": []}) for c in (1.0, 0.2))

    assert 0 < risk_of("") < risk_of(flagged) < risk_of(wrong) < 1
    assert risk_of("", sure) < risk_of("", unsure)
    assert risk_of("", json.dumps({"faults": ["unsupported", "conflict"]})) > risk_of("")


# ---------------------------------------------------------------- erased, and past their time


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def toml(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A home with a person in all that reviewers keep."""
    sealed = "[encryption]\ncontent = true\n" if request.param else ""
    apps = '[apps.helper]\ndocuments = "h"\nkeep_text = "always"\n[documents.h]\n'
    return write(tmp_path / "project", {"penstock.toml": sealed + apps}) / "penstock.toml"


def filled(toml: Path) -> Any:
    from penstock.assemble import assemble
    from penstock.review.feedback import About
    from penstock.review.queue import Entry, Given

    house = assemble(load(toml, environment={}))
    review = house.review
    review.feedback.give(About("r1", "shop", "p-471108", "helper"), "p-471108", {"thumb": "down", "text": "mine"})
    review.feedback.give(About("r2", "shop", "p-2", "helper"), "p-2", {"csat": 5, "text": "Anna Zwirnbach was kind"})
    words = Content("Where is Anna Zwirnbach?", "In Bergen.")
    mine, other = review.queue.add(
        [Entry(origin="o1", content=words, person="p-2"), Entry(origin="o2", content=Content("q", "a"))]
    )
    for reviewer in ("anna.zwirnbach@example.com",):
        while task := review.queue.claim(reviewer):
            review.queue.judge(task.id, reviewer, Given("wrong", "Anna Zwirnbach knows"))
    review.failures.add_fix(mine, "bo", note="ask Anna Zwirnbach")
    review.hand_overs.propose(Content("Is Anna Zwirnbach there?"), app="helper", person="p-471108")
    done = review.approvals.propose(Content("q", "a"), app="helper")
    review.approvals.approve(done, "bo", text="Call Anna Zwirnbach.")
    return house, mine, other


def test_whoever_is_erased_is_in_nothing_that_reviewers_keep(toml: Path):
    house, mine, other = filled(toml)
    subject = erase.Subject.of("anna.zwirnbach@example.com", ["Anna Zwirnbach", "p-471108"])
    plan = erase.plan(house, subject)
    assert plan.counts()["reviews"] >= 7

    receipt = erase.carry_out(house, plan)

    assert receipt["erased"]["reviews"] == plan.counts()["reviews"]
    assert receipt["scan"]["found"] == []
    assert house.review.store.mentions(subject.mentioned_in) == 0
    opinions = house.review.feedback.latest()
    assert [(one.rater, one.csat, one.text) for one in opinions] == [("p-2", 5, "")]
    items = {item.id: item for item in house.review.queue.items()}
    assert items[mine].entry.content == Content()
    assert items[other].entry.content == Content("q", "a")
    names = {one.reviewer for item in items.values() for one in item.judgements}
    assert len(names) == 1, "their verdicts stay those of one reviewer"
    assert next(iter(names)).startswith("erased-")
    assert {item.verdict for item in items.values()} == {"wrong"}
    house.close()


def test_feedback_and_reviews_go_after_their_time(toml: Path):
    house, _, _ = filled(toml)
    with house.database.write() as w:
        w.execute("update feedback set changed = changed - 200 * 86400 where request = 'r1'")
        w.execute("update review_items set created = created - 200 * 86400")
        w.execute("update review_replies set created = created - 200 * 86400 where kind = 'approval'")

    found = {due.setting: due.count for due in retention.look(house)}
    assert found["review.keep"] == 4
    retention.enforce(house)

    assert [one.about.request for one in house.review.feedback.latest()] == ["r2"]
    assert house.database.read("select count(*) from review_judgements") == [(0,)]
    assert len(house.review.hand_overs.pending()) == 1
    house.close()


def test_the_room_tidies_up_by_itself(toml: Path):
    house, _, _ = filled(toml)
    with house.database.write() as w:
        w.execute("update review_items set created = created - 200 * 86400")
    house.review.store._swept = time.monotonic() - 4_000

    house.review.queue.claim("bo")

    assert house.review.queue.items() == []
    house.close()


# ---------------------------------------------------------------- in the terminal


def run(toml: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(cli, ["--config", str(toml), "review", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_the_terminal_goes_the_whole_way(toml: Path, tmp_path: Path):
    rows = [
        {"id": f"a{n}", "question": f"Question {n}?", "answer": f"Answer {n}.", "risk": n / 12, "language": "en"}
        for n in range(12)
    ]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(toml, "sample", str(tmp_path / "all.jsonl"), "-n", "6", "--out", str(tmp_path / "sample.jsonl"))
    added = json.loads(run(toml, "queue", "add", str(tmp_path / "sample.jsonl"), "--double", "1", "--json").output)
    assert (len(added["added"]), added["there_already"]) == (6, 0)
    assert "answers" in run(toml, "queue", "list").output
    for n in range(6):
        for name in ("anna", "bo"):
            run(toml, "next", "--as", name)
            verdict = "correct" if n % 2 else "wrong"
            correction = ("--correction", f"Better {n}.") if verdict == "wrong" else ()
            said = run(toml, "judge", verdict, "--as", name, *correction).output
        assert "done" in said
    assert "nothing waits" in run(toml, "next", "--as", "anna").output
    found = json.loads(run(toml, "estimate", "--draw", added["draw"], "--json").output)
    assert (found["judged"], found["wrong"]) == (6, 3)
    assert found["items"] == 12
    assert "1.00" in run(toml, "agreement").output
    pairs, tuning, cases = (tmp_path / f"{kind}.jsonl" for kind in ("preference", "sft", "cases"))
    for kind, path, count in (("preference", pairs, 3), ("sft", tuning, 6), ("cases", cases, 3)):
        run(toml, "export", "--as", kind, str(path))
        assert len(path.read_text().splitlines()) == count
    read = load_cases(cases)
    assert [case.expected for case in read.cases] == [(f"Better {n}.",) for n in (0, 2, 4)]
    assert all(case.not_expected[0].startswith("Answer") and case.tags == ("wrong",) for case in read.cases)
    pair = json.loads(pairs.read_text().splitlines()[0])
    assert pair["chosen"][0]["content"].startswith("Better")
    assert pair["rejected"][0]["content"].startswith("Answer")
    assert pair["prompt"][0]["content"].startswith("Question")
    assert (len(pair["origin"]["hash"]), pair["origin"]["reviewers"]) == (64, 2)
    first = pairs.read_bytes()
    run(toml, "export", "--as", "preference", str(pairs))
    assert pairs.read_bytes() == first
    item = pair["origin"]["item"]
    run(toml, "act", "case", "--item", item, "--to", str(tmp_path / "mine.jsonl"), "--tag", "slow")
    assert json.loads((tmp_path / "mine.jsonl").read_text())["tags"] == ["slow", "wrong"]
    run(toml, "act", "index_fix", "--item", item, "--note", "mend it")
    failed = json.loads(run(toml, "items", "--failed", "--json").output)
    assert (len(failed), failed[0]["verdict"]) == (3, "wrong")
    assert "Question" in run(toml, "items").output
    fixes = json.loads(run(toml, "fixes", "--json").output)
    run(toml, "fixes", "--done", fixes[0]["id"])
    assert json.loads(run(toml, "fixes", "--json").output) == []
    assert "bo" in run(toml, "show", item).output
    trail = CliRunner().invoke(cli, ["--config", str(toml), "audit", "list", "--kind", "review.*", "--json"]).output
    kinds = [record["kind"] for record in json.loads(trail)]
    assert (kinds.count("review.judged"), kinds.count("review.exported"), kinds.count("review.acted")) == (12, 4, 2)


def test_replies_and_feedback_in_the_terminal(toml: Path):
    house, _, _ = filled(toml)
    number = house.review.approvals.propose(Content("How long?", "Five days."), app="helper")
    (question,) = house.review.hand_overs.pending()
    house.close()

    assert "Five days." in run(toml, "waiting").output
    assert run(toml, "approve", number, "--text", "Six days.", "--as", "anna").output == "edited\n"
    assert "Is Anna" in run(toml, "waiting", "--hand-overs").output
    assert "Is Anna Zwirnbach there?" in run(toml, "take", "--as", "anna").output
    assert json.loads(run(toml, "answer", question.id, "No.", "--as", "anna", "--json").output)["state"] == "replied"
    assert "nobody waits" in run(toml, "take").output
    told = run(toml, "feedback").output
    assert "down" in told
    assert json.loads(run(toml, "queue", "complaints", "--json").output)["added"]


def test_a_bad_row_for_the_queue_is_named(toml: Path, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    for row, says in (
        ({"id": 1}, "line 1: the row has neither"),
        ({"question": 5}, "line 1: 'question' must be a text"),
        ({"question": "q", "risk": "x"}, "line 1: `risk` must be a number"),
        ({"question": "q", "context": [1]}, "line 1: 'context' must be"),
        ({"question": "x" * 200_001}, "line 1: the words of an item have more"),
        ({"question": "q", "probability": float("nan")}, "line 1: `risk` and `probability`"),
    ):
        path.write_text(json.dumps(row) + "\n")
        done = CliRunner().invoke(cli, ["--config", str(toml), "review", "queue", "add", str(path)])
        assert says in str(done.exception)


def test_halves_of_characters_do_not_stop_the_queue(toml: Path, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"id": "\\ud800", "question": "\\ud800?", "context": ["\\udfff"], "history": [{"role": "\\udfff"}]}\n'
    )

    run(toml, "queue", "add", str(path))

    assert json.loads(run(toml, "next", "--as", "anna", "--json").output)["content"]["question"] == "??"
    run(toml, "judge", "wrong", "--note", "\udcff", "--as", "anna")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/feedback", {"request": {"a": 1}, "thumb": "up"}),
        ("/v1/feedback", {"request": "x" * 100_000, "thumb": "up"}),
        ("/v1/review/draws", {"n": True}),
        ("/v1/review/draws", {"n": 5, "by": ["app"]}),
        ("/v1/review/draws", {"n": 5, "double": "all"}),
        ("/v1/review/draws", {"n": 5, "since": "yesterday"}),
        ("/v1/review/next", {"queue": 5}),
        ("/v1/review/items/x/judge", {"verdict": "wrong", "tags": "dates"}),
        ("/v1/review/items/x/judge", {"verdict": ["wrong"]}),
        ("/v1/review/items/x/act", {"action": "delete"}),
        ("/v1/review/hand-overs", {"question": "q", "history": "yesterday"}),
        ("/v1/review/hand-overs", {"question": "q", "context": [1]}),
        ("/v1/review/hand-overs", {"question": "q", "user": "x" * 300}),
        ("/v1/review/next", []),
    ],
)
def test_bodies_that_make_no_sense_are_refused(of: dict[str, httpx2.Client], path: str, body: Any):
    response = of["boss"].post(path, json=body)

    assert response.status_code in (400, 404), response.text
    assert response.json()["error"]["message"]


def test_pages_are_told_what_they_can_ask_for(of: dict[str, httpx2.Client]):
    told = of["shop"].get("/v1/feedback").json()

    assert (told["reasons"], told["longest"]["text"]) == (list(REASONS), 4_000)


def test_every_reason_is_a_word():
    assert len(set(REASONS)) == len(REASONS)
    assert all(reason.isidentifier() for reason in REASONS)
