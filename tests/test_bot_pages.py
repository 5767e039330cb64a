"""What people see of bots: on the chat page, in the widget and on the page of one app, in a real browser."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Open, browsing, in_chromium, opening
from serving import HANDBOOK, KEYS, WITH_KEYS, Served, serving, write

from penstock.language.phrases import languages, phrase
from penstock.testing import WordEmbedder

playwright = pytest.importorskip("playwright.sync_api", reason="pages are tested with playwright")
expect = playwright.expect
AXE = importlib.util.find_spec("axe_playwright_python")
pytestmark = in_chromium

BOT = '''
"""A shop's bot as small as it can be."""

import time
from dataclasses import replace
from decimal import Decimal

from penstock.agents.talks import Reply, Row

ORDER = Row("orders/#W7", {"status": "on its way", "total": Decimal("12.50")}, label="order #W7", at=time.time())


class Small:
    actions = ()

    def reply(self, talk, said):
        if "order" in said:
            return Reply(
                "Order #W7 is on its way, for 12.50.", ("Cancel it", "Where is <b>it</b>?", "That is all"), rows=(ORDER,)
            )
        if "talk to a person" in said or "Menschen" in said:
            return Reply("I will get somebody for you.", hand_over="they asked", summary="A customer asks for a person.")
        if said.startswith("That is all"):
            return Reply("Goodbye, and thank you!", over=True)
        if "cost" in said:
            return Reply("Two of them:\\n- **mugs**, red\\n- plates\\n\\nWhich?", rows=(ORDER,))
        if "rules" in said and talk.ask:
            found = talk.ask("How long can books be returned?")
            return Reply("These are the rules.", rows=(ORDER,), answer=replace(found, quoted=()))
        if "returned" in said and talk.ask:
            found = talk.ask(said)
            return Reply(found.text, answer=found)
        return Reply(f"You said: {said.rstrip('.?!')}.")

    def look_again(self, talk, source):
        return ORDER


bot = Small()
'''
TOML = """
[documents.handbook]
paths = ["handbook"]
[apps.helper]
bot = "bot.py"
documents = "handbook"
[apps.plain]
documents = "handbook"
[review]
people = true
"""
WIDGET = """
[widgets.shop]
app = "helper"
title = "The shop"
visitor_per_minute = 0
visits_per_minute = 0
"""
PAGES = ["/?ask=helper", "/widget/shop", "/app/helper"]
NOTICE = "A person takes over. The assistant is silent until they reply."
TALK = "Talk to a person"
BACK = "Back to the assistant"
TARGETS = """[...document.querySelectorAll("button, summary, textarea, input")]
  .filter((one) => one.checkVisibility() && !one.matches(".cite"))
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([, { width, height }]) => width < 44 || height < 44)
  .map(([one]) => one.outerHTML)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as running:
        yield running


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("shop")
    write(folder / "handbook", HANDBOOK)
    write(folder, {"bot.py": BOT})
    with serving(folder, TOML + WIDGET, embedder=WordEmbedder()) as served:
        yield served


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    with opening(browser) as opened:

        def ready(address: str, **more: Any) -> Any:
            page = opened(address, **more)
            page.locator("html[data-ready]").wait_for()
            return page

        yield ready


def say(page: Any, text: str) -> Any:
    """Say something, and wait until the page has shown what came of it."""
    before = page.locator("#turns > li").count()
    page.locator("#question").fill(text)
    page.locator("#question").press("Enter")
    return shown(page, before)


def shown(page: Any, before: int) -> Any:
    turn = page.locator("#turns > li").nth(before)
    turn.wait_for()
    expect(page.locator("#turns .waiting")).to_have_count(0)
    expect(page.locator("#send")).to_have_text(re.compile("^(Send|Senden|Ask|Fragen)$"))
    return turn


def button(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def waiting(shop: Served) -> Any:
    """The newest question that waits for a person."""
    return max(shop.house.review.hand_overs.pending(), key=lambda one: one.created)


# ---------------------------------------------------------------- replies to press


@pytest.mark.parametrize("path", PAGES)
def test_replies_are_pressed_once_and_then_they_are_gone(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    say(page, "Where is my order")
    quick = page.get_by_role("list", name="Quick replies")
    expect(quick.get_by_role("button")).to_have_text(["Cancel it", "Where is <b>it</b>?", "That is all"])
    before = page.locator("#turns > li").count()
    quick.get_by_role("button", name="Cancel it").click()
    turn = shown(page, before)

    expect(turn.locator(".question")).to_have_text("Cancel it")
    expect(turn.locator(".said")).to_have_text("You said: Cancel it.")
    expect(quick).to_have_count(0)


@pytest.mark.parametrize("path", PAGES)
def test_there_is_one_set_of_replies_and_what_is_typed_takes_it_away(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    say(page, "Where is my order")
    say(page, "Where is my other order")
    expect(page.locator(".quick")).to_have_count(1)
    say(page, "Something else")

    expect(page.locator(".quick")).to_have_count(0)


@pytest.mark.parametrize("path", PAGES)
def test_replies_are_reached_and_pressed_by_keyboard_and_said_to_whoever_cannot_see(
    shop: Served, open_page: Open, path: str
):
    page = open_page(shop.url + path)
    say(page, "Where is my order")
    expect(page.locator("#status")).to_contain_text("Quick replies: Cancel it, Where is <b>it</b>?, That is all")
    for _ in range(8):
        page.keyboard.press("Shift+Tab")
        if (
            page.locator(".quick button:focus").count()
            and page.evaluate("document.activeElement.textContent") == "Cancel it"
        ):
            break
    page.keyboard.press("Enter")
    shown(page, 1)

    expect(page.locator(".question").last).to_have_text("Cancel it")
    expect(page.locator("#question")).to_be_focused()


@pytest.mark.parametrize("path", PAGES[1:])
def test_a_page_that_is_loaded_anew_goes_on_where_it_was(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    sent: list[Any] = []
    page.on("request", lambda one: sent.append(one.post_data_json) if one.url.endswith("/ask") else None)
    say(page, "Where is my order")
    page.reload()
    page.get_by_role("list", name="Quick replies").get_by_role("button", name="Cancel it").click()
    shown(page, 1)
    button(page, "New").click()
    expect(page.locator("#turns > li")).to_have_count(0)
    expect(page.locator(".quick")).to_have_count(0)
    say(page, "Hello")

    first, second, third = (one["conversation"] for one in sent)
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first == second
    assert third != first


def test_a_kept_conversation_goes_on_with_the_bot_that_remembers_it(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?ask=helper")
    sent: list[Any] = []
    page.on("request", lambda one: sent.append(one.post_data_json) if one.url.endswith("/completions") else None)
    say(page, "Where is my order")
    page.wait_for_url("**conversation=*")
    page.reload()
    page.get_by_role("list", name="Quick replies").get_by_role("button", name="Cancel it").click()
    shown(page, 1)

    assert len({one["conversation"] for one in sent}) == 1
    assert [len(one["messages"]) for one in sent] == [1, 1]


@pytest.mark.parametrize("path", PAGES)
def test_a_message_that_failed_is_known_again_when_it_is_sent_again(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path, refused=True)
    where = "**/v1/chat/completions" if "ask=" in path else "**/ask"
    sent: list[Any] = []
    page.route(where, lambda route: (sent.append(route.request.post_data_json), route.abort()))
    page.locator("#question").fill("Cancel my order")
    page.locator("#question").press("Enter")
    page.locator("#turns .problem").wait_for()
    page.unroute(where)
    page.on(
        "request",
        lambda one: (
            sent.append(one.post_data_json) if one.method == "POST" and "message" in (one.post_data or "") else None
        ),
    )
    expect(page.locator("#question")).to_have_value("Cancel my order")
    page.locator("#question").press("Enter")
    expect(page.locator(".answer .said").last).to_contain_text("#W7")
    say(page, "Cancel my order")

    keys = [one["message"] for one in sent if "message" in one]
    assert keys[0] == keys[1] != keys[2]


# ---------------------------------------------------------------- people


@pytest.mark.parametrize("path", PAGES)
def test_a_person_can_be_asked_for_from_the_first_moment(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    expect(button(page, TALK)).to_be_visible()
    button(page, TALK).click()
    turn = shown(page, 0)

    expect(turn.locator(".question")).to_have_text("I would like to talk to a person.")
    expect(turn.locator(".said")).to_have_text("I will get somebody for you.")
    expect(page.locator(".handed")).to_have_text(NOTICE)
    expect(page.locator("#status")).to_contain_text(NOTICE)
    expect(button(page, TALK)).to_have_count(0)
    button(page, BACK).click()
    shown(page, 1)
    expect(button(page, TALK)).to_be_visible()


@pytest.mark.parametrize("path", PAGES)
def test_while_a_person_has_it_no_assistant_is_seen_and_their_reply_is(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    button(page, TALK).click()
    shown(page, 0)
    turn = say(page, "My parcel is wet")
    expect(turn.locator(".answer")).to_have_count(0)
    expect(turn).to_contain_text("Sent to the person.")
    again = say(page, "And torn")
    expect(again.locator(".answer")).to_have_count(0)
    expect(page.locator(".handed")).to_have_text(NOTICE)
    page.reload()
    page.locator("html[data-ready]").wait_for()
    expect(page.locator(".handed")).to_have_text(NOTICE)
    expect(page.locator("#turns .answer")).to_have_count(1)
    found = waiting(shop)
    assert "My parcel is wet" in str(found.content.plain())
    shop.house.review.hand_overs.reply(found.id, "anna", "A new one is on its way.")
    last = page.locator("#turns > li").last
    expect(last.get_by_text("A new one is on its way.")).to_be_visible(timeout=25_000)
    expect(page.locator("#turns").get_by_text("A new one is on its way.")).to_have_count(1)
    expect(page.locator(".handed")).to_have_count(0)
    back = say(page, "Thanks")

    expect(back.locator(".said")).to_have_text("You said: Thanks.")


@pytest.mark.parametrize("path", PAGES)
def test_whoever_goes_back_to_the_assistant_is_answered_by_it(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    button(page, TALK).click()
    shown(page, 0)
    number = waiting(shop).id
    button(page, BACK).click()
    shown(page, 1)
    turn = say(page, "Hello")

    expect(turn.locator(".said")).to_have_text("You said: Hello.")
    expect(page.locator(".handed")).to_have_count(0)
    assert shop.house.review.hand_overs.outcome(number).state == "closed"
    page.wait_for_timeout(5_500)
    expect(page.get_by_text("Nobody replied.")).to_have_count(0)


def test_the_wish_and_the_way_back_are_understood_in_every_language_of_the_pages():
    from penstock.agents.words import is_back, wants_person

    for language in languages():
        assert is_back(phrase("Back to the assistant", language)), language
        assert wants_person(phrase("I would like to talk to a person.", language)), language


# ---------------------------------------------------------------- the end, and what it rests on


@pytest.mark.parametrize("path", PAGES)
def test_at_the_end_people_say_how_it_was_and_may_say_why(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    turn = say(page, "That is all")
    rated = turn.get_by_role("group", name="How was this conversation")
    expect(turn.locator(".thumb")).to_have_count(0)
    rated.get_by_role("button", name="4").click()
    expect(rated.get_by_role("button", name="4")).to_have_attribute("aria-pressed", "true")
    assert shop.house.review.store.read("select csat from feedback order by changed desc limit 1") == [(4,)]
    turn.get_by_label("A word about it (optional)").fill("Quick!")
    turn.get_by_role("button", name="Send").click()

    expect(turn.get_by_text("Thank you. It is noted.")).to_be_visible()
    expect(rated).to_have_count(0)
    assert shop.house.review.store.read("select csat from feedback order by changed desc limit 1") == [(4,)]


@pytest.mark.parametrize("path", PAGES)
def test_an_opinion_that_cannot_be_given_says_so_and_can_be_given_again(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path, refused=True)
    turn = say(page, "That is all")
    page.route("**/feedback", lambda route: route.fulfill(status=503, body="{}"))
    turn.get_by_role("button", name="5").click()
    expect(turn.get_by_text("busy at the moment").first).to_be_visible()
    page.unroute("**/feedback")
    turn.get_by_role("button", name="5").click()

    expect(turn.get_by_label("A word about it (optional)")).to_be_visible()


@pytest.mark.parametrize("path", PAGES)
def test_rows_are_shown_with_their_time_and_open_nothing(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    turn = say(page, "Where is my order")
    rows = turn.locator(".rows")
    expect(rows.locator("summary")).to_have_text(re.compile(r"From our data, as of .*\d\d?:\d\d"))
    rows.locator("summary").click()

    expect(rows.locator("li")).to_contain_text("order #W7")
    expect(rows.locator("li")).to_contain_text("12.50")
    expect(rows.locator("button")).to_have_count(0)
    expect(turn.locator(".cite, .citations button, .sources button")).to_have_count(0)


@pytest.mark.parametrize("path", PAGES)
def test_what_documents_say_is_cited_as_ever(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    turn = say(page, "How long can books be returned?")
    expect(turn.locator(".said")).to_contain_text("thirty days")
    turn.locator(".cite").first.click()

    expect(page.locator("#source mark")).to_contain_text("thirty days")


@pytest.mark.parametrize("path", PAGES)
def test_sources_are_counted_without_the_rows(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    turn = say(page, "What are the rules?")
    turn.get_by_text("Sources", exact=False).first.click()

    expect(turn.locator(".n, .number").first).to_have_text("1")
    expect(turn.locator(".cite")).to_have_count(0)


@pytest.mark.parametrize("path", PAGES)
def test_lines_of_a_reply_that_begin_with_a_dash_are_a_list(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    said = say(page, "What does it cost?").locator(".said")

    assert said.locator("ul > li").all_inner_texts() == ["mugs, red", "plates"]
    assert re.sub(r"\n+", "\n", said.inner_text()) == "Two of them:\nmugs, red\nplates\nWhich?"


@pytest.mark.parametrize("path", PAGES)
def test_a_bot_is_written_to_and_not_only_asked(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path, locale="de-DE")

    expect(page.get_by_role("textbox", name="Nachricht schreiben …")).to_have_attribute(
        "placeholder", "Nachricht schreiben …"
    )
    expect(page.locator("#send")).to_have_text("Senden")


@pytest.mark.parametrize("path", ["/?ask=plain", "/?ask=handbook", "/app/plain", "/app/handbook"])
def test_what_is_no_bot_has_nothing_of_it(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path)
    turn = say(page, "How long can books be returned?")

    expect(turn.locator(".thumb").first).to_be_visible()
    expect(page.locator("#bar")).to_be_hidden()


# ---------------------------------------------------------------- the page of one app


@pytest.mark.parametrize(("width", "height"), [(320, 568), (390, 844), (1280, 800)])
def test_the_page_of_an_app_is_the_whole_screen_of_a_phone(shop: Served, open_page: Open, width: int, height: int):
    page = open_page(f"{shop.url}/app/helper", width=width, height=height)
    say(page, "Where is my order")
    box = page.locator("#composer").bounding_box()

    assert box["y"] + box["height"] == height
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(TARGETS) == []
    expect(button(page, TALK)).to_be_in_viewport()
    expect(button(page, "Cancel it")).to_be_in_viewport()
    expect(page.locator("#close")).to_be_hidden()
    page.set_viewport_size({"width": width, "height": height // 2})  # a keyboard
    expect(page.locator("#question")).to_be_in_viewport()
    expect(button(page, TALK)).to_be_in_viewport()


@pytest.mark.parametrize("path", PAGES)
def test_few_replies_are_all_seen_at_once_on_a_phone(shop: Served, open_page: Open, path: str):
    page = open_page(shop.url + path, width=390, height=844)
    say(page, "Where is my order")

    assert page.locator(".quick").evaluate(
        "one => one.scrollWidth <= one.clientWidth && one.scrollHeight <= one.clientHeight"
    )


def test_many_long_replies_are_a_row_that_scrolls(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/app/helper", width=320, height=568)
    say(page, "Where is my order")
    row = page.locator(".quick").bounding_box()

    assert row["height"] < 60
    assert page.evaluate(
        "(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)(document.querySelector('.quick'))"
    )
    button(page, "That is all").focus()
    expect(button(page, "That is all")).to_be_in_viewport(ratio=0.9)


def test_no_language_breaks_the_page_of_an_app(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/app/helper", width=320, height=568)
    for language in languages():
        page.goto(f"{shop.url}/app/helper?lang={language}")
        page.locator(f"html[lang={language}][data-ready]").wait_for()
        talk = button(page, phrase(TALK, language))

        expect(talk).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, language
        if language in ("ar", "fa", "he", "ur"):
            assert page.evaluate("document.documentElement.dir") == "rtl"


def test_it_needs_a_key_where_the_chat_page_does_and_visitors_are_led_to_the_widget(tmp_path: Path, open_page: Open):
    write(tmp_path / "handbook", HANDBOOK)
    write(tmp_path, {"bot.py": BOT})
    toml = TOML + WITH_KEYS + WIDGET.replace('app = "helper"', 'app = "plain"')
    with serving(tmp_path, toml, embedder=WordEmbedder()) as served:
        page = open_page(f"{served.url}/app/helper", refused=True, locale="de-DE")
        page.get_by_label("API").fill("no-such-key-0123456789")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text(phrase("This key is not accepted.", "de", formality="formal"))
        page.get_by_label("API").fill(KEYS["clerk"])
        page.keyboard.press("Enter")
        expect(page.locator("#title")).to_have_text("Helper")
        expect(say(page, "Hallo").locator(".said")).to_have_text("You said: Hallo.")

        assert served.client().get("/app/plain").headers["location"] == "/widget/shop"
        assert served.client().post("/app/plain/visit", json={}).status_code == 401
        assert served.client(KEYS["clerk"]).get("/app/plain").status_code == 200
        assert served.client(KEYS["clerk"]).post("/app/none/visit", json={}).status_code == 404
        own = served.client(KEYS["boss"]).post("/app/helper/ask", json={"question": "Hello"})
        number = own.headers["x-request-id"]
        said = {"request": number, "csat": 1}
        assert served.client(KEYS["clerk"]).post("/app/helper/feedback", json=said).status_code == 404
        assert served.client(KEYS["boss"]).post("/app/helper/feedback", json=said).status_code == 200


def test_no_other_site_frames_the_page_of_an_app_or_asks_by_it(shop: Served):
    page = shop.client().get("/app/helper")
    foreign = shop.client(origin="https://evil.example", **{"sec-fetch-site": "cross-site"})

    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert foreign.post("/app/helper/ask", json={"question": "Hello"}).status_code == 403
    assert shop.client(host="evil.example").get("/app/helper").status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"question": " "},
        {"question": 3},
        {"question": "x", "history": "y"},
        {"question": "x", "conversation": "short"},
        {"question": "x", "conversation": 3},
    ],
)
def test_what_cannot_be_understood_is_refused(shop: Served, body: dict[str, Any]):
    assert shop.client().post("/app/helper/ask", json=body).status_code == 400


# ---------------------------------------------------------------- everybody


@pytest.mark.skipif(not AXE, reason="pages are looked at by axe-core, which is not installed")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("path", PAGES)
def test_it_is_whole_for_everybody(shop: Served, open_page: Open, path: str, width: int, scheme: str):
    assert AXE
    assert AXE.submodule_search_locations
    axe = (Path(AXE.submodule_search_locations[0]) / "axe.min.js").read_text()
    page = open_page(shop.url + path, width=width, height=844, scheme=scheme)

    def looked() -> list[Any]:
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [
            (one["id"], one["nodes"][0]["html"][:200])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    assert looked() == []
    say(page, "Where is my order").locator(".rows summary").click()
    assert looked() == []
    button(page, TALK).click()
    shown(page, 1)
    say(page, "Hello?")
    assert looked() == []
    button(page, BACK).click()
    shown(page, 3)
    say(page, "That is all").get_by_role("button", name="5").click()
    page.get_by_label("A word about it (optional)").wait_for()
    assert looked() == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
