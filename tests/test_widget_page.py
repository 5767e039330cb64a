"""The chat on somebody else's site, in a real browser: a second server is the site."""

import importlib.util
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, Open, browsing, in_chromium, opening
from serving import HANDBOOK, Served, serving, write

from penstock.language.phrases import languages, phrase
from penstock.server import visits
from penstock.testing import WordEmbedder

playwright = pytest.importorskip("playwright.sync_api", reason="pages are tested with playwright")
AXE = importlib.util.find_spec("axe_playwright_python")
pytestmark = in_chromium

RETURNS = "How long can books be returned?"
MARKUP = "# Markup\n\nThe **secret** word is `<script>alert(2)</script>`.\n"
HOSTILE = """
* { display: none !important; opacity: 0 !important; position: static !important; transform: scale(.1) !important; }
html, body { display: block !important; opacity: 1 !important; transform: none !important; filter: blur(0); }
penstock-widget, button, dialog, iframe { all: unset !important; display: none !important; width: 1px !important; }
"""
TARGETS = """[...document.querySelectorAll("button, summary, textarea")]
  .filter((one) => one.checkVisibility() && !one.matches(".cite"))
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([, { width, height }]) => width < 44 || height < 44)
  .map(([one]) => one.outerHTML)"""
TOLD = """() => { window.told = [];
  for (const what of ["open", "close", "answer"])
    addEventListener(`penstock:${what}`, ({ detail }) => told.push([what, detail])); }"""


class Site:
    """A customer's site: its pages by path, each with the widget on it."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://localhost:{server.server_port}"
        self.policy, self.pages, self.headers = "", dict[str, str](), dict[str, str]()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = found.pages.get(self.path, "").encode()
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            if found.policy:
                self.send_header("content-security-policy", found.policy)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Site(server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("shop")
    write(
        folder / "handbook",
        HANDBOOK | {"markup.md": MARKUP},
    )
    toml = f"""
    [documents.handbook]
    paths = ["handbook"]
    [review]
    people = true
    [widgets.shop]
    app = "handbook"
    origins = ["{site.url}"]
    title = "Ask the shop"
    suggestions = ["{RETURNS}"]
    visitor_per_minute = 0
    visits_per_minute = 0
    [widgets.other]
    app = "handbook"
    origins = ["https://elsewhere.example"]
    """
    with serving(folder, toml, embedder=WordEmbedder()) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as running:
        yield running


def written(site: Site, shop: Served, *, script: str = "", inside: str = "", head: str = "", lang: str = "en") -> None:
    """The same page at two addresses, with the widget on it."""
    tag = f'<script src="{shop.url}/widget.js" data-widget="shop" {script} defer></script>'
    html = (
        f'<!doctype html><html lang="{lang}"><head><title>Shop</title><link rel="icon" href="data:,">{head}{tag}</head>'
    )
    html += f'<body><main><h1>The shop</h1>{inside}<a href="/next">Next</a></main></body></html>'
    site.pages = {"/": html, "/next": html}


@pytest.fixture
def visit(browser: Any, shop: Served, site: Site) -> Iterator[Open]:
    """Opens a page of the site with the widget on it, and waits for its button."""
    with opening(browser) as opened:

        def ready(
            *, policy: str = "", script: str = "", inside: str = "", head: str = "", lang: str = "en", **more: Any
        ) -> Any:
            written(site, shop, script=script, inside=inside, head=head, lang=lang)
            site.policy = policy
            found = opened(site.url, also=(shop.url,), **more)
            found.locator("penstock-widget").wait_for(state="attached")
            return found

        yield ready
    site.policy = ""


def button(page: Any) -> Any:
    return page.locator("penstock-widget > button")


def frame(page: Any) -> Any:
    return page.frame_locator("iframe")


def opened(page: Any) -> Any:
    """The page in the frame, once it is there."""
    button(page).click()
    inside = frame(page)
    inside.locator("html[data-ready]").wait_for()
    playwright.expect(inside.locator("#question")).to_be_focused()
    return inside


def ask(page: Any, inside: Any, question: str = RETURNS) -> Any:
    before = inside.locator(".answer").count()
    page.keyboard.type(question)
    page.keyboard.press("Enter")
    answer = inside.locator(".answer").nth(before)
    answer.locator(".thumb").first.wait_for()
    return answer


# ---------------------------------------------------------------- asking


def test_whoever_visits_a_site_asks_and_reads_the_source(visit: Open):
    page = visit()
    playwright.expect(button(page)).to_have_accessible_name("Ask the shop")
    inside = opened(page)
    answer = ask(page, inside)

    playwright.expect(answer.locator(".said")).to_contain_text("Books can be returned within thirty days.")
    answer.locator(".cite").click()
    playwright.expect(inside.locator("#source mark")).to_have_text("Books can be returned within thirty days.")
    playwright.expect(inside.locator("#source-text")).to_contain_text("Sale items are final.")
    playwright.expect(inside.get_by_role("dialog", name="Returns")).to_be_focused()


def test_a_keyboard_is_enough(visit: Open):
    page = visit(inside='<a href="#x">Before</a>')
    button(page).focus()
    page.keyboard.press("Enter")
    inside = frame(page)
    playwright.expect(inside.locator("#question")).to_be_focused()
    playwright.expect(button(page)).to_have_attribute("aria-expanded", "true")
    ask(page, inside)
    for _ in range(12):
        page.keyboard.press("Shift+Tab")
        if inside.locator(".cite:focus").count():
            break
    page.keyboard.press("Enter")
    playwright.expect(inside.locator("#source")).to_be_focused()
    page.keyboard.press("Escape")
    playwright.expect(inside.locator(".cite")).to_be_focused()
    page.keyboard.press("Escape")

    playwright.expect(page.locator("penstock-widget > dialog")).to_be_hidden()
    playwright.expect(button(page)).to_be_focused()
    playwright.expect(button(page)).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    playwright.expect(inside.locator("#question")).to_be_focused()
    playwright.expect(inside.locator(".answer")).to_have_count(1)
    button(page).focus()
    page.keyboard.press("Escape")
    playwright.expect(page.locator("penstock-widget > dialog")).to_be_hidden()


def test_an_answer_is_said_once_to_whoever_cannot_see_it(visit: Open):
    page = visit()
    inside = opened(page)
    status = inside.locator("#status")
    status.evaluate(
        """(node) => { window.said = []; new MutationObserver(() => node.textContent && said.push(node.textContent))
          .observe(node, { childList: true }); }"""
    )
    ask(page, inside)
    playwright.expect(status).to_contain_text("Sources: 1")

    assert status.evaluate("() => said") == ["Books can be returned within thirty days. Sources: 1"]


def test_a_question_to_try_is_asked_with_one_press(visit: Open):
    page = visit()
    inside = opened(page)
    inside.get_by_role("button", name=RETURNS).click()

    playwright.expect(inside.locator(".answer .said")).to_contain_text("thirty days")


def test_what_documents_say_is_never_markup(visit: Open):
    page = visit()
    inside = opened(page)
    answer = ask(page, inside, "What is the secret word?")

    playwright.expect(answer.locator(".said code")).to_have_text("<script>alert(2)</script>")
    assert inside.locator("script").count() == 1


def test_the_conversation_survives_a_page_change_until_a_new_one_is_begun(
    browser: Any, shop: Served, site: Site, tmp_path: Path
):
    written(site, shop)
    write(tmp_path / "Default", {"Preferences": '{"profile": {"cookie_controls_mode": 0}}'})  # as most people have it
    usual = browser.browser_type.launch_persistent_context(tmp_path, executable_path=CHROMIUM, args=["--no-sandbox"])
    page = usual.new_page()
    page.goto(site.url)
    ask(page, opened(page))
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**/next")
    inside = opened(page)
    playwright.expect(inside.locator(".question")).to_have_text(RETURNS)
    inside.locator(".cite").click()
    playwright.expect(inside.locator("#source mark")).to_contain_text("thirty days")
    page.keyboard.press("Escape")
    inside.get_by_role("button", name="New").click()
    playwright.expect(inside.locator(".question")).to_have_count(0)
    page.reload()
    playwright.expect(opened(page).locator(".question")).to_have_count(0)
    usual.close()


def test_without_a_place_to_keep_anything_it_lasts_as_long_as_the_page(visit: Open):
    page = visit()
    page.context.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('no'); } })"
    )
    page.reload()
    ask(page, opened(page))
    page.keyboard.press("Escape")

    playwright.expect(opened(page).locator(".question")).to_have_text(RETURNS)


def test_a_visit_that_is_over_goes_on_by_itself(visit: Open, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(visits, "VISIT_S", -5.0)
    page = visit(refused=True)
    inside = opened(page)
    page.on("request", lambda one: monkeypatch.undo() if one.url.endswith("/ask") else None)

    playwright.expect(ask(page, inside).locator(".said")).to_contain_text("thirty days")


def test_an_opinion_and_a_person(visit: Open, shop: Served):
    page = visit(refused=True)
    inside = opened(page)
    answer = ask(page, inside)
    answer.get_by_role("button", name="This did not help").click()
    answer.get_by_role("group", name="How satisfied").get_by_role("button", name="2").click()
    answer.get_by_role("button", name="It is out of date").click()
    playwright.expect(answer.get_by_role("button", name="It is out of date")).to_have_attribute("aria-pressed", "true")
    ((thumb, csat),) = shop.house.review.store.read("select thumb, csat from feedback order by at desc limit 1")
    assert (thumb, csat) == ("down", 2)

    answer.get_by_role("button", name="Ask a person").click()
    answer.get_by_text("A person was asked.").wait_for()
    (waiting,) = shop.house.review.hand_overs.pending()
    shop.house.review.hand_overs.reply(waiting.id, "anna", "You may bring it back until Friday.")
    playwright.expect(answer.get_by_text("You may bring it back until Friday.")).to_be_visible(timeout=15_000)


def test_what_goes_wrong_is_said_in_plain_words(visit: Open, shop: Served):
    page = visit(refused=True)
    inside = opened(page)
    page.route(
        "**/widget/shop/ask", lambda route: route.fulfill(status=429, json={"error": {"code": "rate_limit_exceeded"}})
    )
    page.keyboard.type(RETURNS)
    page.keyboard.press("Enter")
    playwright.expect(inside.locator(".problem")).to_contain_text("Too many requests")
    playwright.expect(inside.locator("#question")).to_have_value(RETURNS)
    page.unroute("**/widget/shop/ask")

    playwright.expect(ask(page, inside, "").locator(".said")).to_contain_text("thirty days")


def test_where_the_first_visit_fails_it_has_its_names_once_one_works(visit: Open):
    page = visit(lang="de", refused=True)
    page.evaluate(TOLD)
    page.route("**/widget/shop/visit", lambda route: route.fulfill(status=503, body=""))
    button(page).click()
    inside = frame(page)
    inside.locator("html[data-ready]").wait_for()
    playwright.expect(inside.locator("#greeting")).to_contain_text("busy")
    playwright.expect(inside.locator("#send")).to_have_text("Ask")
    page.unroute("**/widget/shop/visit")
    inside.locator("#question").fill(RETURNS)
    inside.locator("#question").press("Enter")

    playwright.expect(inside.locator(".answer .said")).to_contain_text("thirty days")
    playwright.expect(inside.locator(".question")).to_have_count(1)
    playwright.expect(inside.locator("#title")).to_have_text("Ask the shop")
    playwright.expect(inside.locator("#greeting")).to_have_text(phrase("Hello! How can we help?", "de"))
    playwright.expect(inside.locator("#send")).to_have_text(phrase("Ask", "de"))
    playwright.expect(inside.locator("#suggestions")).to_be_hidden()
    playwright.expect(inside.locator("#close")).to_be_visible()
    page.evaluate("question => penstock.ask(question)", RETURNS)
    playwright.expect(inside.locator(".thumb.up")).to_have_count(2)


OLD = [
    '{"token": "é", "turns": [{"question": "q", "answer": {"pieces": [{"text": "x"}]}, "opinion": {}, "person": {}}]}',
    '{"token": 3, "turns": [null, 3, {"question": "q"}, {"answer": {"pieces": [{}], "sources": [], "nearest": []}}]}',
    '{"turns": {"0": "x"}}', "[]", "null", "3", "{",
]  # fmt: skip


@pytest.mark.parametrize("kept", OLD)
def test_what_an_older_version_kept_does_no_harm(browser: Any, shop: Served, kept: str):
    with opening(browser) as opened_:
        page = opened_(f"{shop.url}/widget/shop")
        page.evaluate("kept => sessionStorage.setItem('penstock-widget:shop', kept)", kept)
        page.reload()
        playwright.expect(page.locator("#title")).to_have_text("Ask the shop")
        assert page.locator(".question").count() == 0
        page.locator("#question").focus()

        playwright.expect(ask(page, page).locator(".said")).to_contain_text("thirty days")


def test_turns_that_can_be_drawn_stay_beside_one_that_cannot(browser: Any, shop: Served):
    with opening(browser) as opened_:
        page = opened_(f"{shop.url}/widget/shop")
        page.locator("html[data-ready]").wait_for()
        page.locator("#question").focus()
        ask(page, page)
        page.evaluate(
            """() => { const key = "penstock-widget:shop", kept = JSON.parse(sessionStorage.getItem(key));
              kept.turns.unshift({ question: "old" }); sessionStorage.setItem(key, JSON.stringify(kept)); }"""
        )
        page.reload()
        playwright.expect(page.locator(".question")).to_have_text(RETURNS)

        assert "old" not in page.evaluate("sessionStorage.getItem('penstock-widget:shop')")


def test_new_takes_a_question_away_that_is_not_answered(visit: Open):
    page = visit(refused=True)
    inside = opened(page)
    page.route("**/widget/shop/ask", lambda route: None)
    page.keyboard.type("My private question")
    page.keyboard.press("Enter")
    inside.get_by_role("button", name="Stop").wait_for()
    inside.get_by_role("button", name="New").click()
    playwright.expect(inside.locator("#send")).to_have_text("Ask")

    playwright.expect(inside.locator("#question")).to_have_value("")
    playwright.expect(inside.locator(".question")).to_have_count(0)
    page.unroute("**/widget/shop/ask")


# ---------------------------------------------------------------- the site around it


def test_a_site_opens_asks_and_is_told_but_not_what_was_said(visit: Open):
    page = visit()
    page.evaluate(TOLD)
    page.evaluate("question => penstock.ask(question)", RETURNS)
    playwright.expect(frame(page).locator(".answer .said")).to_contain_text("thirty days")
    page.evaluate("penstock.close()")
    page.wait_for_function("told.length === 3")

    assert page.evaluate("told") == [["open", None], ["answer", {"status": "answer"}], ["close", None]]


def test_questions_of_a_site_wait_for_each_other_and_are_told_of_where_too_many_wait(visit: Open):
    page = visit()
    page.evaluate(TOLD)
    page.evaluate("for (let n = 1; n <= 8; n++) penstock.ask(`How long can books be returned? ${n}`)")
    inside = frame(page)
    playwright.expect(inside.locator(".thumb.up")).to_have_count(6)
    page.wait_for_function("told.length === 9")

    assert [one.rpartition(" ")[2] for one in inside.locator(".question").all_text_contents()] == list("123456")
    statuses = [detail["status"] for what, detail in page.evaluate("told") if what == "answer"]
    assert sorted(statuses) == ["answer"] * 6 + ["not_asked"] * 2
    page.evaluate("question => penstock.ask(question)", RETURNS)
    playwright.expect(inside.locator(".thumb.up")).to_have_count(7)


def test_messages_of_others_are_not_listened_to(visit: Open):
    page = visit(inside="<iframe id=third srcdoc='<p>Third</p>'></iframe>")
    button(page).click()
    inside = page.locator("penstock-widget iframe").content_frame
    inside.locator("html[data-ready]").wait_for()
    page.evaluate("postMessage({ penstock: 'close' }, '*')")
    page.locator("#third").content_frame.locator("body").evaluate(
        """(_, question) => { parent.postMessage({ penstock: "close" }, "*");
          const frame = parent.document.querySelector("penstock-widget").shadowRoot.querySelector("iframe");
          frame.contentWindow.postMessage({ penstock: "ask", text: question }, "*"); }""",
        RETURNS,
    )
    page.wait_for_timeout(500)

    playwright.expect(page.locator("penstock-widget > dialog")).to_be_visible()
    assert inside.locator(".question").count() == 0


def test_a_site_cannot_read_the_conversation(visit: Open):
    page = visit()
    ask(page, opened(page))

    assert (
        page.evaluate("document.querySelector('penstock-widget').shadowRoot.querySelector('iframe').contentDocument")
        is None
    )
    assert page.evaluate("JSON.stringify({ ...sessionStorage, ...localStorage })") == "{}"
    assert page.context.cookies() == []


def test_a_site_that_is_not_named_gets_neither_button_nor_frame(browser: Any, shop: Served, site: Site):
    tag = f'<script src="{shop.url}/widget.js" data-widget="other" defer></script>'
    site.pages["/"] = f'<!doctype html><title>x</title>{tag}<iframe id="raw" src="{shop.url}/widget/other"></iframe>'
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(site.url)
    page.wait_for_timeout(500)

    assert page.locator("penstock-widget").count() == 0
    assert page.frames[1].locator("#question").count() == 0
    assert any("frame-ancestors" in text for text in said)
    assert any("does not answer" in text for text in said)
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_sites_styles_change_nothing(visit: Open, width: int):
    plain = visit(width=width)
    places = [button(plain).bounding_box()]
    opened(plain)
    places.append(plain.locator("penstock-widget iframe").bounding_box())
    hostile = visit(head=f"<style>{HOSTILE}</style>", width=width)

    assert button(hostile).bounding_box() == places[0]
    opened(hostile)
    assert hostile.locator("penstock-widget iframe").bounding_box() == places[1]


def test_a_strict_policy_of_a_site_needs_two_words(visit: Open, shop: Served):
    page = visit(policy=f"default-src 'none'; img-src data:; script-src {shop.url}; frame-src {shop.url}")

    playwright.expect(ask(page, opened(page)).locator(".said")).to_contain_text("thirty days")
    assert button(page).bounding_box()["width"] == 56


def test_a_site_that_forbids_to_make_markup_of_text_gets_the_button(visit: Open, shop: Served):
    rules = f"default-src 'none'; img-src data:; script-src {shop.url}; frame-src {shop.url}"
    page = visit(policy=f"{rules}; require-trusted-types-for 'script'; trusted-types 'none'")

    playwright.expect(ask(page, opened(page)).locator(".said")).to_contain_text("thirty days")
    assert button(page).locator("path").bounding_box()["width"] > 10


def test_a_site_that_is_isolated_from_others_gets_the_frame(visit: Open, site: Site):
    site.headers = {"cross-origin-embedder-policy": "require-corp", "cross-origin-opener-policy": "same-origin"}
    try:
        page = visit()
    finally:
        site.headers = {}

    assert page.evaluate("crossOriginIsolated")
    playwright.expect(ask(page, opened(page)).locator(".said")).to_contain_text("thirty days")


def test_on_a_narrow_screen_it_is_the_whole_screen_and_goes_again(visit: Open):
    page = visit(width=390, height=844)
    inside = opened(page)

    assert page.locator("penstock-widget iframe").bounding_box() == {"x": 0, "y": 0, "width": 390, "height": 844}
    assert page.evaluate(
        "document.querySelector('penstock-widget').shadowRoot.querySelector('dialog').matches(':modal')"
    )
    page.set_viewport_size({"width": 844, "height": 600})
    playwright.expect(inside.locator("#question")).to_be_visible()
    assert page.locator("penstock-widget iframe").bounding_box()["width"] < 420
    page.set_viewport_size({"width": 390, "height": 844})
    inside.get_by_role("button", name="Close").click()
    playwright.expect(page.locator("penstock-widget > dialog")).to_be_hidden()
    playwright.expect(button(page)).to_be_focused()


def test_where_the_server_does_not_answer_it_can_be_closed(visit: Open, shop: Served):
    page = visit(width=390, refused=True)
    page.route("**/widget/shop", lambda route: route.fulfill(status=503, body=""))
    button(page).click()
    page.get_by_role("button", name="Close").click()
    playwright.expect(page.locator("penstock-widget > dialog")).to_be_hidden()
    page.unroute("**/widget/shop")

    opened(page)


def test_it_speaks_and_runs_as_the_page_does(visit: Open):
    page = visit(lang="ar", inside="<script>document.documentElement.dir = 'rtl'</script>")
    inside = opened(page)

    assert button(page).bounding_box()["x"] == 20
    playwright.expect(inside.locator("html")).to_have_attribute("dir", "rtl")
    playwright.expect(inside.locator("#send")).to_have_text(phrase("Ask", "ar"))


@pytest.mark.parametrize(
    ("theme", "paper"), [("dark", "rgb(22, 28, 28)"), ("light", "rgb(255, 255, 255)"), ("", "rgb(22, 28, 28)")]
)
def test_it_is_as_dark_as_the_site_says_or_the_system(visit: Open, theme: str, paper: str):
    page = visit(script=f'data-theme="{theme}"', scheme="dark" if not theme or theme == "light" else "light")
    inside = opened(page)

    playwright.expect(inside.locator("#composer")).to_have_css("background-color", paper)


def test_a_site_can_bring_a_button_of_its_own(visit: Open):
    inside = '<button onclick="window.penstock.open()" id="mine">Help</button><p id="penstock">What we have</p>'
    page = visit(script='data-button="off"', inside=inside)
    assert button(page).is_hidden()
    page.locator("#mine").click()
    inside = frame(page)
    playwright.expect(inside.locator("#question")).to_be_focused()
    page.keyboard.press("Escape")

    playwright.expect(page.locator("#mine")).to_be_focused()


# ---------------------------------------------------------------- everybody


@pytest.mark.skipif(not AXE, reason="pages are looked at by axe-core, which is not installed")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_is_whole_for_everybody(visit: Open, width: int, scheme: str):
    assert AXE
    assert AXE.submodule_search_locations
    axe = (Path(AXE.submodule_search_locations[0]) / "axe.min.js").read_text()
    page = visit(width=width, height=844, scheme=scheme, refused=True)

    def looked(target: Any) -> list[Any]:
        target.evaluate(axe)
        found = target.evaluate("axe.run(document, { resultTypes: ['violations'], iframes: false })")
        return [
            (one["id"], one["nodes"][0]["html"][:200])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    assert looked(page) == []
    inside = opened(page)
    ask(page, inside, "Who won the chess championship of 1972?")
    answer = ask(page, inside)
    answer.get_by_role("button", name="This did not help").click()
    answer.get_by_role("group", name="What was wrong").wait_for()
    own = page.frames[1]
    assert looked(page) == []
    assert looked(own) == []
    assert own.evaluate(TARGETS) == []
    answer.locator(".cite").click()
    assert looked(own) == []
    assert own.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_no_language_is_wider_than_a_narrow_screen(browser: Any, shop: Served):
    with opening(browser) as opened_:
        page = opened_(f"{shop.url}/widget/shop", width=320)
        for language in languages():
            page.goto(f"{shop.url}/widget/shop?{language}#language={language}")
            page.locator(f"html[lang={language}][data-ready]").wait_for()

            assert page.evaluate("document.documentElement.scrollWidth") <= 320, language
            assert page.locator(".hint").first.inner_text() == phrase("Automatic assistant", language)
            assert page.evaluate("document.querySelector('header').getBoundingClientRect().height") < 110, language


def test_a_page_pays_little_until_somebody_opens_it(visit: Open):
    page = visit()
    weight = "performance.getEntriesByType('resource').reduce((sum, one) => sum + (one.encodedBodySize || 0), 0)"
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    inside = opened(page)
    ask(page, inside)

    assert page.frames[1].evaluate(weight) < 52_000
    assert {re.sub(r"#.*", "", one).rpartition("/")[2] for one in asked} == {
        "shop", "tokens.css", "widget.css", "widget-page.js", "parts.js", "opinion.js", "bot.js", "visit", "ask",
    }  # fmt: skip


def test_the_page_to_try_it_has_the_widget_on_it(browser: Any, shop: Served):
    with opening(browser) as opened_:
        page = opened_(f"{shop.url}/widget/shop/try")
        inside = opened(page)

        playwright.expect(ask(page, inside).locator(".said")).to_contain_text("thirty days")
