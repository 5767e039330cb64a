"""Conversations on the chat page, in a real browser: found again, named, shared, taken along and removed, without a mouse too."""

import importlib.util
import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Open, browsing, in_chromium, opening
from serving import HANDBOOK, KEYS, WITH_KEYS, Served, serving, write

from penstock.testing import WordEmbedder

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
AXE = importlib.util.find_spec("axe_playwright_python")
pytestmark = in_chromium
RETURNS, REFUNDS = "How long can books be returned?", "When do refunds arrive?"
SETTINGS = """
[documents.handbook]
paths = ["handbook"]
questions = ["How fast are parcels to Japan?", "Is the shop open on Sundays?"]
[apps.helper]
documents = "handbook"
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as running:
        yield running


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    with opening(browser) as opened:

        def ready(address: str, **more: Any) -> Any:
            page = opened(address, **more)
            page.locator("#question:focus, #continue:focus, dialog[open]").first.wait_for()
            return page

        yield ready


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Served]:
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, SETTINGS, embedder=WordEmbedder()) as served:
        yield served


def ask(page: Any, question: str) -> Any:
    before = page.locator(".answer").count()
    page.fill("#question", question)
    page.press("#question", "Enter")
    answer = page.locator(".answer").nth(before)
    answer.wait_for()
    playwright.expect(answer).not_to_have_class(re.compile("waiting"))
    return answer


def menu(page: Any, name: str) -> Any:
    page.locator("#talk-menu summary").click()
    return page.locator("#talk-menu").get_by_role("button", name=name)


def test_a_conversation_is_found_again_and_goes_on(shop: Served, open_page: Open):
    page = open_page(shop.url)
    ask(page, RETURNS)
    page.wait_for_url("**/?conversation=*")
    ask(page, REFUNDS)
    page.get_by_role("button", name="New").click()
    playwright.expect(page.locator(".question")).to_have_count(0)
    ask(page, "Is the shop open on Sundays?")
    page.wait_for_url("**/?conversation=*")
    page.reload()
    playwright.expect(page.locator(".question")).to_have_text(["Is the shop open on Sundays?"])

    page.get_by_role("button", name="Conversations").click()
    links = page.locator("#talk-list a")
    playwright.expect(links).to_have_text(["Is the shop open on Sundays?", RETURNS])
    page.get_by_label("Search conversations").fill("FIVE working")
    playwright.expect(links).to_have_text([RETURNS])
    links.first.click()
    playwright.expect(page.locator(".question")).to_have_text([RETURNS, REFUNDS])
    page.locator(".answer").first.locator(".cite").first.click()
    playwright.expect(page.locator("#source mark")).to_contain_text("thirty days")

    ask(page, "And gift cards?")
    page.get_by_label("Search conversations").fill("nonsense")
    playwright.expect(page.locator("#talks-none")).to_have_text("Nothing was found for these words.")
    page.go_back()
    playwright.expect(page.locator(".question")).to_have_text(["Is the shop open on Sundays?"])


def test_without_a_mouse_one_is_found_named_and_removed(shop: Served, open_page: Open):
    page = open_page(shop.url)
    ask(page, RETURNS)
    page.wait_for_url("**/?conversation=*")
    page.locator("#show-talks").focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#find")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#talks")).to_be_hidden()

    page.locator("#talk-menu summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.type("Returns & refunds")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#talk-title")).to_have_text("Returns & refunds")
    playwright.expect(page.locator("#talk-menu summary")).to_be_focused()
    assert page.title() == "Returns & refunds · Penstock"

    remove = menu(page, "Delete")
    remove.focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#remove")).to_have_text("Delete for good?")
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#talk-menu summary")).to_be_focused()
    assert page.locator("#remove").text_content() == "Delete", "it asks anew"
    menu(page, "Delete").click()
    page.locator("#remove").click()
    playwright.expect(page.locator("#question")).to_be_focused()
    assert page.url == f"{shop.url}/"
    assert shop.client().get("/api/conversations").json()["conversations"] == []


def test_a_link_shows_others_what_was_said_and_they_can_go_on(tmp_path: Path, open_page: Open):
    write(tmp_path / "handbook", HANDBOOK)
    toml = f'[documents.handbook]\npaths = ["handbook"]\n{WITH_KEYS}'
    with serving(tmp_path, toml, embedder=WordEmbedder()) as served:

        def signed_in(who: str, path: str = "/") -> Any:
            page = open_page(f"{served.url}{path}")
            page.fill("#key-value", KEYS[who])
            page.press("#key-value", "Enter")
            playwright.expect(page.locator("dialog[open]")).to_have_count(0)
            return page

        boss = signed_in("boss")
        ask(boss, RETURNS)
        boss.wait_for_url("**/?conversation=*")
        menu(boss, "Share").click()
        boss.get_by_role("button", name="Make a link").click()
        link = boss.locator("#sharing input").input_value()
        boss.keyboard.press("Escape")
        ask(boss, "What may nobody else read?")

        clerk = signed_in("clerk", link.removeprefix(served.url))
        playwright.expect(clerk.locator(".question")).to_have_text([RETURNS])
        assert re.match(r"Shared by \W?boss\W? on ", clerk.locator("#talk-by").inner_text())
        assert clerk.locator("#composer").is_hidden()
        assert clerk.locator(".opinion").count() == 0
        clerk.get_by_role("button", name="Continue it yourself").click()
        ask(clerk, REFUNDS)
        clerk.wait_for_url("**/?conversation=*")
        clerk.reload()
        playwright.expect(clerk.locator(".question")).to_have_text([RETURNS, REFUNDS])

        menu(boss, "Share").click()
        boss.get_by_role("button", name="Stop sharing").click()
        playwright.expect(boss.get_by_role("button", name="Stop sharing")).to_have_count(0)
        assert served.client(KEYS["clerk"]).get(f"/api/shared/{link.split('shared=')[1]}").status_code == 404


def test_a_conversation_is_taken_along_as_markdown_and_as_json(shop: Served, open_page: Open):
    page = open_page(shop.url)
    ask(page, RETURNS)
    page.wait_for_url("**/?conversation=*")
    with page.expect_download() as waiting:
        menu(page, "Markdown").click()
    text = Path(waiting.value.path()).read_text("utf-8")
    assert waiting.value.suggested_filename == "How long can books be returned.md"
    assert text.startswith(f"# {RETURNS}\n\n## {RETURNS}\n\nBooks can be returned within thirty days.")
    assert "1. Returns · returns.md" in text
    with page.expect_download() as waiting:
        menu(page, "JSON").click()
    data = json.loads(Path(waiting.value.path()).read_text("utf-8"))
    assert (data["asked"], data["turns"][0]["question"]) == ("handbook", RETURNS)
    assert data["turns"][0]["answer"]["citations"][0]["source"] == "returns.md"


def test_questions_are_offered_until_they_were_asked(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?ask=handbook")
    offered = page.locator("#suggestions button")
    playwright.expect(offered).to_have_text(["How fast are parcels to Japan?", "Is the shop open on Sundays?"])
    offered.first.click()
    further = page.locator("#further button")
    playwright.expect(further).to_have_text(["Is the shop open on Sundays?"])
    further.click()
    playwright.expect(page.locator("#further")).to_be_hidden()
    playwright.expect(page.locator(".question")).to_have_count(2)


def test_an_app_can_be_asked_by_its_name(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?ask=helper")
    playwright.expect(page.locator("#collection")).to_have_value("helper")
    answer = ask(page, RETURNS)
    answer.locator(".cite").first.click()
    playwright.expect(page.locator("#source mark")).to_contain_text("thirty days")
    time.sleep(1.2)
    assert shop.client().get("/api/requests").json()["requests"][0]["app"] == "helper"


def test_what_a_person_replies_is_there_for_whoever_left_and_came_back(tmp_path: Path, open_page: Open):
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, f"{SETTINGS}[review]\npeople = true", embedder=WordEmbedder()) as served:
        page = open_page(served.url, refused=True)  # the journal may not know of the request at once
        answer = ask(page, RETURNS)
        page.wait_for_url("**/?conversation=*")
        answer.get_by_role("button", name="Ask a person").click()
        playwright.expect(answer.locator(".person")).to_contain_text("A person was asked.")
        client = served.client()
        (waiting,) = client.get("/v1/review/hand-overs").json()["hand_overs"]
        page.goto("about:blank")
        reply = {"text": "Of course, by Friday."}
        assert client.post(f"/v1/review/hand-overs/{waiting['id']}", json=reply).status_code == 200
        page.go_back()
        playwright.expect(page.locator(".person .said")).to_have_text("Of course, by Friday.")
        page.reload()
        playwright.expect(page.locator(".person .said")).to_have_text("Of course, by Friday.")
        with served.house.database.write() as w:
            w.execute("delete from review_replies")
        page.reload()
        playwright.expect(page.locator(".person .said")).to_have_text("Of course, by Friday.")


def test_an_answer_that_is_late_is_none_of_the_next_conversation(shop: Served, open_page: Open):
    page = open_page(shop.url)
    page.evaluate(
        """() => { const fetched = window.fetch; window.fetch = async (path, options) => {
          if (String(path).startsWith("/v1/chat")) await new Promise((done) => setTimeout(done, 600));
          return fetched(path, options); }; }"""
    )
    page.fill("#question", RETURNS)
    page.press("#question", "Enter")
    page.get_by_role("button", name="New").click()
    page.wait_for_timeout(1_000)
    assert page.locator(".question").count() == 0
    assert ask(page, REFUNDS).locator(".said").inner_text().startswith("Refunds arrive")
    page.wait_for_url("**/?conversation=*")
    (kept,) = shop.client().get("/api/conversations").json()["conversations"]
    assert (kept["title"], kept["turns"]) == (REFUNDS, 1)


def test_what_cannot_be_kept_is_kept_later_and_once(shop: Served, open_page: Open):
    page = open_page(shop.url, refused=True)
    page.route("**/api/conversations/*", lambda route: route.fulfill(status=503, body="{}"))
    ask(page, RETURNS)
    playwright.expect(page.locator("#unkept")).to_contain_text("This answer was not kept")
    page.get_by_role("button", name="New").click()
    playwright.expect(page.locator("#unkept")).to_be_empty()
    ask(page, RETURNS)
    playwright.expect(page.locator("#unkept")).to_contain_text("This answer was not kept")
    page.unroute("**/api/conversations/*")
    ask(page, REFUNDS)
    playwright.expect(page.locator("#unkept")).to_be_empty()
    page.reload()
    playwright.expect(page.locator(".question")).to_have_text([RETURNS, REFUNDS])


def test_two_pages_with_one_conversation_lose_nothing_and_mix_up_nothing(tmp_path: Path, open_page: Open):
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, f"{SETTINGS}[review]\npeople = true", embedder=WordEmbedder()) as served:
        first = open_page(served.url, refused=True)
        ask(first, RETURNS)
        first.wait_for_url("**/?conversation=*")
        second = open_page(first.url, refused=True)
        playwright.expect(second.locator(".question")).to_have_count(1)
        ask(second, "Is the shop open on Sundays?")
        ask(first, REFUNDS)
        ask(second, "How fast are parcels to Japan?")
        second.locator(".answer").last.get_by_role("button", name="Ask a person").click()
        playwright.expect(second.locator(".person").last).to_contain_text("A person was asked.")
        second.wait_for_timeout(500)
        first.reload()
        told = [RETURNS, "Is the shop open on Sundays?", REFUNDS, "How fast are parcels to Japan?"]
        playwright.expect(first.locator(".question")).to_have_text(told)
        playwright.expect(first.locator(".answer").nth(2).locator(".said").first).to_contain_text("Refunds arrive")
        playwright.expect(first.locator(".person").last).to_contain_text("A person was asked.")


def test_what_is_said_after_it_was_deleted_elsewhere_is_kept_anew(shop: Served, open_page: Open):
    page = open_page(shop.url, refused=True)
    ask(page, RETURNS)
    page.wait_for_url("**/?conversation=*")
    client = shop.client()
    (kept,) = client.get("/api/conversations").json()["conversations"]
    client.delete(f"/api/conversations/{kept['id']}")
    ask(page, REFUNDS)
    page.wait_for_url(lambda address: "conversation=" in address and kept["id"] not in address)
    (new,) = client.get("/api/conversations").json()["conversations"]
    assert (new["title"], new["turns"]) == (REFUNDS, 1)


def test_a_question_is_not_lost_to_a_conversation_that_arrives_late(shop: Served, open_page: Open):
    page = open_page(shop.url)
    ask(page, RETURNS)
    page.wait_for_url("**/?conversation=*")
    page.get_by_role("button", name="New").click()
    page.get_by_role("button", name="Conversations").click()
    page.evaluate(
        """() => { const fetched = window.fetch; window.fetch = async (path, options) => {
          if (/conversations\\/[0-9a-f]{32}$/.test(path) && !options?.method) await new Promise((done) => setTimeout(done, 1500));
          return fetched(path, options); }; }"""
    )
    page.locator("#talk-list a").first.click()
    ask(page, REFUNDS)
    page.wait_for_timeout(1_800)
    playwright.expect(page.locator(".question")).to_have_text([REFUNDS])


def test_a_question_that_failed_can_be_sent_again(shop: Served, open_page: Open):
    page = open_page(shop.url, refused=True)
    page.route("**/v1/chat/completions", lambda route: route.abort())
    ask(page, RETURNS)
    playwright.expect(page.locator("#question")).to_have_value(RETURNS)
    page.unroute("**/v1/chat/completions")
    page.press("#question", "Enter")
    playwright.expect(page.locator(".answer").last.locator(".said")).to_contain_text("thirty days")


def test_a_shared_conversation_asks_nothing_and_is_found_by_going_back(shop: Served, open_page: Open):
    page = open_page(shop.url)
    ask(page, RETURNS)
    page.wait_for_url("**/?conversation=*")
    (kept,) = shop.client().get("/api/conversations").json()["conversations"]
    secret = shop.client().post(f"/api/conversations/{kept['id']}/share").json()["secret"]
    page.goto(f"{shop.url}/?shared={secret}&question=Is+the+shop+open+on+Sundays%3F")
    playwright.expect(page.locator(".question")).to_have_text([RETURNS])
    page.wait_for_timeout(500)
    playwright.expect(page.locator(".question")).to_have_text([RETURNS])
    page.locator("#new").click()
    playwright.expect(page.locator(".question")).to_have_count(0)
    page.go_back()
    playwright.expect(page.locator("#talk-by")).to_contain_text("Shared by")


def test_what_somebody_shares_may_be_of_any_shape_and_runs_nothing(shop: Served, open_page: Open):
    client = shop.client()
    answer = {
        "text": "<img src=x onerror=alert(1)>", "citations": "none", "status": 4, "quoted": [9], "language": ["x"],
        "nearest": [{"quote": "<script>alert(2)</script>"}],
    }  # fmt: skip
    turns = [{"id": uuid.uuid4().hex, "question": "<b>bold</b>", "answer": one} for one in (answer, {"text": "plain"})]
    made = client.put(f"/api/conversations/{uuid.uuid4().hex}", json={"asked": "nothing", "turns": turns}).json()
    secret = client.post(f"/api/conversations/{made['id']}/share").json()["secret"]
    page = open_page(f"{shop.url}/?shared={secret}")
    playwright.expect(page.locator(".question")).to_have_text(["<b>bold</b>", "<b>bold</b>"])
    playwright.expect(page.locator(".answer").first).to_contain_text("<img src=x onerror=alert(1)>")
    playwright.expect(page.locator(".answer").nth(1)).to_contain_text("plain")
    assert page.locator("img[onerror]").count() == 0


def test_where_none_are_kept_the_page_offers_none(tmp_path: Path, open_page: Open):
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, f"{SETTINGS}[chat]\nhistory = false", embedder=WordEmbedder()) as served:
        page = open_page(served.url)
        ask(page, RETURNS)
        assert page.locator("#show-talks").is_hidden()
        page.locator("#talk-menu summary").click()
        offered = [button.inner_text() for button in page.locator("#talk-menu button:visible").all()]
        assert offered == ["Export Markdown", "Export JSON"]
        assert page.url == f"{served.url}/"


@pytest.mark.skipif(not AXE, reason="pages are looked at by axe-core, which is not installed")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_is_read_by_everybody(shop: Served, open_page: Open, width: int, scheme: str):
    assert AXE
    assert AXE.submodule_search_locations
    axe = (Path(AXE.submodule_search_locations[0]) / "axe.min.js").read_text()

    def looked(page: Any) -> list[Any]:
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        return [
            (one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"][:300])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]

    page = open_page(shop.url, width=width, height=844, scheme=scheme)
    assert looked(page) == []
    ask(page, RETURNS)
    page.wait_for_url("**/?conversation=*")
    page.locator("#talk-menu summary").click()
    assert looked(page) == []
    page.locator("#share").click()
    page.get_by_role("button", name="Make a link").click()
    page.locator("#sharing input").wait_for()
    assert looked(page) == []
    page.keyboard.press("Escape")
    page.locator("#show-talks").click()
    page.locator("#talk-list a").wait_for()
    assert looked(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
