"""The console over HTTP: who sees which page, in three forms of the same data; signing in; and forms that nobody can forge."""

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest
from serving import HANDBOOK, KEYS, PAY, WITH_KEYS, Served, asked, evaluated, kept, kept_log, serving, up, write
from shopping import set_up

from penstock.agents.actions import Person
from penstock.evaluate.kept import STATES
from penstock.language.phrases import catalogue
from penstock.observe.faults import FAULTS
from penstock.review.content import Content
from penstock.review.queue import SKIPS
from penstock.server.console import door, view
from penstock.server.console.home import STEPS
from penstock.server.console.view import SPOKEN, _csv
from penstock.server.guard import SURFACES
from penstock.support.report import FindingKind
from penstock.testing import WordEmbedder
from penstock.types import Caller, Status

REVIEWER = "judge-key-0123456789"
SETTINGS = f"""
[documents.handbook]
paths = ["handbook"]
{WITH_KEYS}
[keys.judge]
key = "{REVIEWER}"
roles = ["reviewer"]
[apps.helper]
documents = "handbook"
keep_text = "always"
[objectives.answered]
kind = "availability"
target = 0.99
[budgets.all]
limit_usd_per_month = 5
[apps.clerk]
bot = "bot.py"
"""
ROLES = {"admin": KEYS["boss"], "reviewer": REVIEWER, "anyone": KEYS["clerk"]}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("office")
    write(folder / "handbook", HANDBOOK | PAY | {"=cmd.md": "# <script>alert(1)</script>\n\nA hostile name & title.\n"})
    (folder / "handbook/broken.pdf").write_bytes(b"%PDF-1.7 broken")
    with serving(set_up(folder), SETTINGS, embedder=WordEmbedder()) as served:
        anna = Person("anna", "verified")
        served.house.requests_of("clerk").propose(anna, "talk", "look_at_order", {"order": "#W123"})
        for question in ("How long can books be returned?", "<img src=x onerror=alert(1)>"):
            served.client(KEYS["boss"]).post("/v1/chat/completions", json=asked("helper", question)).raise_for_status()
        served.client(KEYS["boss"]).post(
            "/v1/review/draws", json={"n": 2, "since": "1h"}, timeout=30
        )  # an admin's sample, so that there is something to review
        kept(served.house, evaluated(folder))
        kept_log(served.house, folder)
        yield served


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Served]:
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, '[documents.handbook]\npaths = ["handbook"]', embedder=WordEmbedder()) as served:
        yield served


class Visitor:
    """A browser without a screen: cookies are kept, forms are sent as a page of ours would."""

    def __init__(self, served: Served, key: str = "") -> None:
        self.served, self.client = served, served.client()
        self.client.headers |= {"origin": served.url, "sec-fetch-site": "same-origin"}
        if key:
            assert self.send("/console/sign-in", "/console/sign-in", key=key).status_code == 303

    def get(self, path: str) -> httpx2.Response:
        return self.client.get(path)

    def send(self, page: str, to: str, **values: str) -> httpx2.Response:
        """Send a form that stands on a page."""
        form = re.search(r'name="form" value="(\w+)"', self.client.get(page).text)
        assert form, page
        return self.client.post(to, data={"form": form[1], **values})


def addresses(served: Served) -> dict[str, str]:
    """Each page's path in the registry, and an address that it is at."""
    client = served.client(KEYS["boss"])
    number = client.get("/api/requests").json()["requests"][0]["id"]
    document = client.get("/api/collections/handbook/documents").json()["documents"][0]["id"]
    run, log = (served.house.runs.latest(kind)[0].id for kind in ("evaluation", "support"))
    names = {
        "id": number,
        "name": "handbook",
        "document": document,
        "policy": "default",
        "app": "helper",
        "run": run,
        "log": log,
    }
    of_bots = {"app": "clerk", "id": served.house.requests_of("clerk").latest(limit=1)[0].id}
    return {page.path: page.path.format(**names | (of_bots if "/actions" in page.path else {})) for page in door.PAGES}


def test_every_page_and_both_of_its_twins_are_for_those_whom_it_is_for(office: Served):
    visitors = {role: Visitor(office, key) for role, key in ROLES.items()}
    nobody = Visitor(office)
    ranks = {"anyone": ("admin", "reviewer", "anyone"), "reviewer": ("admin", "reviewer"), "admin": ("admin",)}
    paths = addresses(office)
    assert len(paths) >= 16
    for page in door.PAGES:
        path = paths[page.path]
        for role, visitor in visitors.items():
            for form, kind in (("", "text/html"), ("json", "application/json"), ("csv", "text/csv")):
                found = visitor.get(f"{path}?from=live&to=live&as={form}")
                wanted = 200 if role in ranks[page.who] else 403
                assert found.status_code == wanted, (path, role, form, found.text[:600])
                assert found.headers["content-type"].startswith(kind if wanted == 200 else "text/html")
                assert "frame-ancestors 'none'" in found.headers["content-security-policy"]
                assert found.headers["cache-control"] == "no-store"
        sent_away = nobody.get(path)
        assert (sent_away.status_code, sent_away.headers["location"][:21]) == (303, "/console/sign-in?back")
        assert nobody.get(f"{path}?as=json").status_code == 401


def test_every_form_is_for_those_whom_it_is_for_and_for_no_other_site(office: Served):
    values = {
        "name": "x",
        "version": "v1",
        "item": "i",
        "reply": "r",
        "batch": "b",
        "policy": "default",
        "run": "x",
        "log": "x",
    }
    clerk, boss = Visitor(office, KEYS["clerk"]), Visitor(office, KEYS["boss"])
    for action in door.ACTIONS:
        path = action.path.format(**values)
        assert clerk.send("/console", path).status_code == 403, path
        assert boss.client.post(path, data={"form": "guessed"}).status_code == 403, path
        foreign = boss.client.post(
            path, headers={"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
        )
        assert foreign.status_code == 403, path


def test_a_link_that_stands_elsewhere_opens_a_page_and_nothing_else_comes_from_there(home: Served):
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert home.client(**followed).get("/console/requests").status_code == 200
    assert home.client(**followed).get("/api/requests").status_code == 403
    assert home.client(**followed | {"sec-fetch-dest": "iframe"}).get("/console/requests").status_code == 403
    assert home.client(**followed).post("/console/keys", data={"name": "x"}).status_code == 403


def test_a_key_signs_in_until_it_is_signed_out_or_revoked(office: Served):
    boss, wrong = Visitor(office, KEYS["boss"]), Visitor(office)
    refused = wrong.send("/console/sign-in", "/console/sign-in", key="no-such-key")
    assert refused.status_code == 401
    assert "the API key is not known" in refused.text
    assert wrong.get("/console").status_code == 303

    made = boss.send("/console/keys", "/console/keys", name="guest", team="door", roles="sales, desk", expires="1d")
    secret = re.findall(r"<code[^>]*>([\w-]{30,})</code>", made.text)[0]
    guest = Visitor(office, secret)
    assert "guest" in guest.get("/console").text
    assert secret not in boss.get("/console/keys").text
    assert boss.send("/console/keys", "/console/keys/guest/revoke").headers["location"].endswith("told=revoked")
    assert guest.get("/console").status_code == 303

    assert boss.send("/console", "/console/sign-out").status_code == 303
    assert boss.get("/console").status_code == 303
    kinds = [row["kind"] for row in Visitor(office, KEYS["boss"]).get("/console/audit?as=json").json()["records"]]
    assert {"login.succeeded", "login.failed", "login.ended", "key.created", "key.revoked"} <= set(kinds)


@pytest.mark.parametrize(
    "back", ["https://evil.example", "//evil.example", "/console\\..", "/consolex", "/v1/models", "/console/a\r\nx: y"]
)
def test_nobody_is_sent_to_another_site(office: Served, back: str):
    visitor = Visitor(office)
    assert (
        visitor.send("/console/sign-in", "/console/sign-in", key=KEYS["boss"], back=back).headers["location"]
        == "/console"
    )


def test_a_session_ends_with_the_key_that_began_it_and_not_with_its_name(home: Served):
    owner = Visitor(home)
    secrets = [
        re.findall(
            r"<code[^>]*>([\w-]{30,})</code>", owner.send("/console/keys", "/console/keys", name="boss", admin="1").text
        )[0]
    ]
    boss = Visitor(home, secrets[0])
    assert boss.get("/console/keys").status_code == 200
    rotated = home.client(secrets[0]).post("/api/keys/boss/rotate").json()["secret"]
    assert boss.get("/console/keys").status_code == 303, "the key was rotated"

    again = Visitor(home, rotated)
    home.house.keys.revoke("boss")
    home.house.keys.remove("boss")
    home.house.keys.create("boss", admin=True)
    home.house.keys.refresh()
    assert again.get("/console/keys").status_code == 303, "another key of the same name"


@pytest.mark.parametrize("odd", ['x={"b":1}', 'x="unclosed', "greet=grüß", "a(b)=1", ";;=;", "penstock-session"])
def test_cookies_of_others_on_the_same_host_do_no_harm(office: Served, odd: str):
    visitor = Visitor(office, KEYS["boss"])
    own = "; ".join(f"{name}={value}" for name, value in visitor.client.cookies.items())
    visitor.client.cookies.clear()
    others = [(name, value) for name, value in visitor.client.headers.raw if name != b"cookie"]
    visitor.client.headers = httpx2.Headers([*others, (b"cookie", f"{odd}; {own}".encode("latin-1"))])
    assert visitor.get("/console/keys").status_code == 200
    assert visitor.send("/console", "/console/language", language="de").status_code == 303


def test_a_reply_leaves_as_it_was_proposed_or_as_it_was_changed_and_never_empty(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, '[documents.handbook]\npaths = ["handbook"]', embedder=WordEmbedder()) as served:
        approvals, visitor = served.house.review.approvals, Visitor(served)

        def proposed() -> str:
            return approvals.propose(Content("May I?", "Line one.\nLine two."), caller=Caller("helper"), app="helper")

        same, other, never = proposed(), proposed(), proposed()
        page = "/console/review"
        assert (
            visitor.send(
                page, f"{page}/approvals/{same}", decision="approve", text="Line one.\r\nLine two."
            ).status_code
            == 303
        )
        assert (approvals.outcome(same).state, approvals.outcome(same).text) == ("approved", "Line one.\nLine two.")
        visitor.send(page, f"{page}/approvals/{other}", decision="approve", text="Line one.\r\nLine 2.")
        assert (approvals.outcome(other).state, approvals.outcome(other).text) == ("edited", "Line one.\nLine 2.")
        assert visitor.send(page, f"{page}/approvals/{never}", decision="approve", text=" ").status_code == 400
        assert visitor.send(page, f"{page}/approvals/{never}", decision="reject", reason="No.").status_code == 303
        assert approvals.outcome(never).state == "rejected"


def test_odd_questions_names_and_days_break_no_page(home: Served):
    visitor = Visitor(home)
    for path in (
        "/console?path=x&as=",
        "/console/requests?path=1&t=3&title=4&data=5&limit=-1",
        "/console/audit?kind=*",
    ):
        assert visitor.get(path).status_code == 200, path
    for name in ("bücher", "a日本"):
        to = visitor.send("/console/documents", "/console/documents", name=name).headers["location"]
        assert visitor.get(to).status_code == 200
    late = visitor.send("/console/keys", "/console/keys", name="late", expires="9999-12-31T23:59:59-14:00")
    assert late.status_code == 400
    assert visitor.get("/console/keys").status_code == 200


def test_failed_sign_ins_neither_fill_the_trail_nor_send_much(office: Served):
    visitor, boss = Visitor(office), Visitor(office, KEYS["boss"])
    failed = "/console/audit?kind=login.failed&as=json"
    visitor.send("/console/sign-in", "/console/sign-in", key="x")
    before = len(boss.get(failed).json()["records"])
    for _ in range(20):
        visitor.send("/console/sign-in", "/console/sign-in", key="x")
    assert len(boss.get(failed).json()["records"]) == before
    assert visitor.send("/console/sign-in", "/console/sign-in", key="x" * 20_000).status_code == 413


def test_the_link_of_the_terminal_signs_in_once(tmp_path: Path):
    write(
        tmp_path,
        {
            "penstock.toml": f'[keys.boss]\nkey = "{KEYS["boss"]}"\nadmin = true\n[models.m]\nprovider = "openai"\napi_key = "k"\n'
        },
    )
    with up(tmp_path) as (process, address):
        assert process.stdout
        line = next(line for line in process.stdout if "once=" in line)
        link = re.sub(r"\x1b\[[\d;]*m", "", line).split()[-1]
        with httpx2.Client(base_url=address) as client:
            found = client.get(link)
            assert (found.status_code, found.headers["location"]) == (303, "/console")
            assert client.get("/console/keys").status_code == 200
            assert client.get("/api/keys").json()["keys"][0]["name"] == "boss"
            assert client.post("/api/keys", json={"name": "x"}).status_code == 403, "no page of ours sent this"
        with httpx2.Client(base_url=address) as other:
            assert other.get(link).status_code == 401
            assert other.get("/console/keys").status_code == 303


def test_without_keys_whoever_is_at_the_machine_is_the_owner_and_the_first_key_changes_that(home: Served):
    owner = Visitor(home)
    assert "owner" in owner.get("/console").text
    made = owner.send("/console/keys", "/console/keys", name="first", admin="1")
    assert made.status_code == 200
    assert Visitor(home).get("/console").status_code == 303


def test_hostile_names_and_questions_stay_text(office: Served):
    boss = Visitor(office, KEYS["boss"])
    for path in [*addresses(office).values(), "/console/requests?app=<script>alert(2)</script>"]:
        page = boss.get(path).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in boss.get("/console/documents/handbook").text


def test_a_spreadsheet_takes_nothing_for_a_formula(office: Served):
    text = Visitor(office, KEYS["boss"]).get("/console/documents/handbook?as=csv").content.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["state"] for row in rows} == {"indexed", "skipped"}
    assert "'=cmd.md" in {row["source"] for row in rows}
    assert _csv([{"a": "+1", "b": [1, {"c": 2}]}]).splitlines()[1] == '\'+1,"[1, {""c"": 2}]"'


def test_requests_are_found_by_what_they_were_and_one_shows_its_rooms_and_words(office: Served):
    boss = Visitor(office, KEYS["boss"])
    every = boss.get("/console/requests?as=json").json()["requests"]
    assert [one["app"] for one in every] == ["helper", "helper"]
    assert boss.get("/console/requests?as=json&outcome=failed").json()["requests"] == []
    assert len(boss.get("/console/requests?as=csv").text.splitlines()) == 3
    assert "No request fits." in boss.get("/console/requests?outcome=failed").text
    one = boss.get(f"/console/requests/{every[-1]['id']}?as=json").json()["requests"][0]
    assert one["words"]["question"] == "How long can books be returned?"
    assert {"search", "quote"} <= {span["name"] for span in one["spans"]}
    assert boss.get("/console/requests/no-such").status_code == 404
    read = boss.get("/console/audit?kind=journal.read&as=json").json()["records"]
    assert every[-1]["id"] in {record["target"] for record in read}, "whoever reads words is written down"


def test_collections_are_made_synced_compared_and_rolled_back(home: Served, tmp_path: Path):
    visitor = Visitor(home)
    (tmp_path / "handbook/hours.txt").write_text("The shop in Bergen opens at ten.\n")
    page = "/console/documents/handbook"
    assert visitor.send(page, f"{page}/sync").headers["location"] == f"{page}?told=synced"
    assert "What had changed is published." in visitor.get(f"{page}?told=synced").text
    changes = visitor.get(f"{page}/difference?from=v1&to=v2&as=json").json()["changes"]
    assert {(one["change"], one["source"]) for one in changes} == {("added", "hours.txt"), ("removed", "hours.txt")}
    assert visitor.send(page, f"{page}/versions/v1/use").headers["location"] == f"{page}?told=live"
    live = [one["name"] for one in visitor.get(f"{page}?as=json").json()["versions"] if one["live"]]
    assert live == ["v1"]
    assert visitor.send(page, f"{page}/remove", source="hours.txt").status_code == 400, "it would come back"
    assert visitor.send("/console/documents", "/console/documents", name="new").headers["location"].endswith("/new")
    assert "Nothing is indexed yet" in visitor.get("/console/documents/new").text


def test_batches_of_all_keys_are_seen_and_ended(home: Served):
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": asked("handbook", "When?")}
    client, visitor = home.client(), Visitor(home)
    file = client.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", json.dumps(line).encode())}
    ).json()
    body = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = client.post("/v1/batches", json=body).json()["id"]
    (seen,) = visitor.get("/console/jobs?as=json").json()["batches"]
    assert (seen["id"], seen["key"]) == (batch, "owner")
    deadline = time.monotonic() + 20
    while not visitor.get("/console/jobs?as=json").json()["batches"][0]["ended"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert visitor.get("/console/jobs?as=json").json()["batches"][0]["completed"] == 1
    assert visitor.send("/console/jobs", f"/console/jobs/{batch}/cancel").status_code == 400, "it has ended"
    assert visitor.send("/console/jobs", "/console/jobs/none/cancel").status_code == 404


def test_a_text_is_tried_with_the_guard(office: Served):
    found = Visitor(office, KEYS["boss"]).send(
        "/console/guard", "/console/guard", text="My card is 4111 1111 1111 1111.", surface="prompt", policy="default"
    )
    assert found.status_code == 200
    assert "CREDIT_CARD" in found.text
    assert "What goes on:" in found.text
    assert Visitor(office, KEYS["boss"]).send("/console/guard", "/console/guard", text=" ").status_code == 400


def test_a_reviewer_works_through_a_queue_with_forms_alone(office: Served):
    judge = Visitor(office, REVIEWER)
    queue = judge.get("/console/review?as=json").json()["queues"][0]
    assert queue["open"] >= 1
    work = f"/console/review/work?queue={queue['queue']}"
    first = judge.get(f"{work}&as=json").json()
    item, label = first["task"]["id"], first["labels"][0]
    done = judge.send(work, f"/console/review/items/{item}/judge", verdict=label, queue=queue["queue"])
    assert done.headers["location"] == f"{work}&told=judged"
    taken_back = judge.send(work, "/console/review/undo", queue=queue["queue"])
    assert taken_back.headers["location"] == f"{work}&told=undone"
    assert judge.get(f"{work}&as=json").json()["task"]["id"] == item
    assert judge.send(work, f"/console/review/items/{item}/judge", verdict="nonsense").status_code == 400
    assert judge.send(work, f"/console/review/items/{item}/skip", reason="cannot_tell").status_code == 303


def test_settings_are_shown_without_their_secrets(office: Served, tmp_path: Path):
    found = Visitor(office, KEYS["boss"]).get("/console/settings")
    assert not any(key in found.text for key in ROLES.values())
    assert "handbook" in found.text
    with serving(
        tmp_path, '[models.m]\nbase_url = "https://h/v1?key=LEAK1"\nheaders = {"x-key" = "LEAK2"}\n', documents=False
    ) as gateway:
        assert "LEAK" not in Visitor(gateway).get("/console/settings").text
        assert "LEAK" not in Visitor(gateway).get("/console/settings?as=json").text
    tables: dict[str, Any] = {
        table["table"]: table["values"]
        for table in Visitor(office, KEYS["boss"]).get("/console/settings?as=json").json()["tables"]
    }
    assert tables["objectives"]["answered"]["target"] == 0.99
    assert "server" not in tables, "what has its default is left out"


def test_what_is_not_there_and_what_is_too_much_is_refused_with_a_page(office: Served):
    boss = Visitor(office, KEYS["boss"])
    for path, status in (
        ("/console/nothing", 404),
        ("/console/requests?before=yesterdayish", 400),
        ("/console/documents/none", 404),
    ):
        found = boss.get(path)
        assert (found.status_code, found.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert "Back to the overview" in found.text
    form = re.search(r'name="form" value="(\w+)"', boss.get("/console/guard").text)
    assert form
    assert boss.client.post("/console/guard", data={"form": form[1], "text": "x" * 1_100_000}).status_code == 413
    long = boss.client.post("/console/guard", data={"form": form[1], "text": "سلام " * 4_000})
    assert long.status_code == 200, "24,000 bytes that become 120,000 on their way"


def test_the_page_speaks_the_language_that_was_chosen(office: Served):
    boss = Visitor(office, KEYS["boss"])
    assert '<html lang="en"' in boss.get("/console").text
    boss.client.headers["accept-language"] = "de-AT,de;q=0.9"
    assert '<html lang="de"' in boss.get("/console").text
    assert '<html lang="ar" dir="rtl"' in boss.get("/console?lang=ar").text
    assert '<html lang="de"' in boss.get("/console?lang=it").text, "Italian is not all there"
    chosen = boss.send("/console", "/console/language", language="fr", back="/console/keys")
    assert chosen.headers["location"] == "/console/keys"
    assert '<html lang="fr"' in boss.get("/console").text


@pytest.mark.parametrize("language", SPOKEN[1:])
def test_every_word_of_the_console_is_in_each_of_its_languages(language: str):
    texts = [path.read_text() for path in (Path(view.__file__).parent / "templates").glob("*.html")]
    said = {found for text in texts for found in re.findall(r'\bt\("((?:[^"\\]|\\.)*)"', text)}
    said |= {page.title for page in door.PAGES} | set(door.TOLD.values()) | set(STEPS)
    said |= {
        code.replace("_", " ")
        for code in (
            *SKIPS,
            *FAULTS,
            *SURFACES,
            *(status.value for status in Status),
            *STATES,
            *get_args(FindingKind),
            "ok",
            "refused",
            "failed",
        )
    }
    known = catalogue(language)
    assert len(said) > 250
    assert not [one for one in said if not (known.get(("", one)) or known.get(("formal", one)))]


def test_whoever_begins_is_told_the_first_steps_until_most_are_done(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    toml = '[documents.handbook]\npaths = ["handbook"]\nquestions = ["How long can books be returned?"]'
    with serving(tmp_path, toml, embedder=WordEmbedder()) as served:
        visitor = Visitor(served)

        def steps() -> dict[str, bool]:
            return {step["title"]: step["done"] for step in visitor.get("/console?as=json").json()["steps"]}

        assert list(steps()) == list(STEPS)
        assert [title for title, done in steps().items() if done] == ["Add documents of your own"]
        link = re.search(r'href="(/\?ask=handbook&amp;question=[^"]+)"', visitor.get("/console").text)
        assert link
        assert visitor.get(link[1].replace("&amp;", "&")).status_code == 200
        served.client().post("/v1/chat/completions", json=asked("handbook", "When do refunds arrive?"))
        assert steps()["Ask your first question"]
        visitor.send("/console/keys", "/console/keys", name="boss", admin="1")
        served.house.keys.refresh()
        boss = Visitor(served, served.house.keys.create("other", admin=True)[1])
        assert boss.get("/console?as=json").json()["steps"] == []


def test_pages_are_light(office: Served):
    boss = Visitor(office, KEYS["boss"])
    for path in addresses(office).values():
        weight = len(boss.get(path).content)
        assert weight < 100_000, path


def test_the_json_of_the_overview_adds_up(office: Served):
    found = Visitor(office, KEYS["boss"]).get("/console?as=json").json()
    assert len(found["hours"]) == 24
    assert found["day"]["requests"] == sum(hour["requests"] for hour in found["hours"]) == 2
    Visitor(office, REVIEWER).get("/console/review/work?queue=answers")
    after = Visitor(office, KEYS["boss"]).get("/console?as=json").json()["waiting"]
    assert after == found["waiting"], "what is in somebody's hand waits once"
    assert json.dumps(found)
