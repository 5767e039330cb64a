"""The chat page does what it promises, in a real browser."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from browsing import Open, browsing, in_chromium, opening
from serving import HANDBOOK, KEYS, PAY, WITH_KEYS, Served, serving, write

from penstock import errors
from penstock.errors import (
    BadRequest,
    Blocked,
    BudgetSpent,
    Conflict,
    Limited,
    NeedsKey,
    NotAllowed,
    NotFound,
    NotReady,
    Overloaded,
    PenstockError,
    StorageError,
    TooLarge,
    Unreadable,
    UpstreamBusy,
    UpstreamError,
    UpstreamResting,
    UpstreamTimeout,
)
from penstock.language.phrases import PAGE, catalogue, languages, phrase
from penstock.server import pages
from penstock.testing import WordEmbedder
from penstock.types import Answer, Citation, Claim, Copied, Status, Verdict

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
pytestmark = in_chromium

SCRIPTS = (
    "common.js",
    "parts.js",
    "chat.js",
    "answer.js",
    "source.js",
    "documents.js",
    "conversations.js",
    "opinion.js",
    "bot.js",
)
RETURNS = "How long can books be returned?"
REFUNDS = "When do refunds arrive?"
ABSENT = "Who won the chess championship of 1972?"
DOORS = "# Warehouse\n\n" + "".join(
    f"## Room {n}\n\nDoor {n} opens at {n % 12} o'clock and leads to the shelf with {n * 3} boxes.\n\n"
    for n in range(90)
)
HOSTILE = "# Markup\n\nThe **secret** word is <img src=x onerror=alert(1)> `<script>alert(2)</script>`.\n"
GUIDE = "# Guide\n\nAn earlier version of the index is used again with penstock docs use. PDF files can be read.\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as running:
        yield running


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens a page, and waits until it is ready to be used."""
    with opening(browser) as opened:

        def ready(address: str, **more: Any) -> Any:
            page = opened(address, **more)
            page.locator("#question:focus, #source:focus, dialog[open]").first.wait_for()
            return page

        yield ready


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("shop")
    write(folder / "handbook", HANDBOOK | {"doors.md": DOORS, "markup.md": HOSTILE})
    write(folder / "guide", {"guide.md": GUIDE})
    (folder / "handbook/broken.pdf").write_bytes(b"%PDF-1.7 broken")
    with serving(
        folder, '[documents.handbook]\npaths = ["handbook"]\n[documents.penstock-docs]\npaths = ["guide"]'
    ) as served:
        yield served


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("office")
    write(folder / "handbook", HANDBOOK | PAY)
    with serving(folder, f'[documents.handbook]\npaths = ["handbook"]\n{WITH_KEYS}') as served:
        yield served


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "empty", embedder=WordEmbedder()) as served:
        yield served


def ask(page: Any, question: str) -> Any:
    """Ask by keyboard, and wait for the answer."""
    before = page.locator(".answer").count()
    page.keyboard.type(question)
    page.keyboard.press("Enter")
    answer = page.locator(".answer").nth(before)
    answer.wait_for()
    playwright.expect(answer).not_to_have_class(re.compile("waiting"))
    return answer


def plain(text: str) -> str:
    """A text without the marks around what may run the other way."""
    return re.sub("[\u2068\u2069]", "", text)


def active(page: Any) -> str:
    return plain(page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.id"))


# ---------------------------------------------------------------- asking


def test_a_question_is_asked_and_answered_without_a_mouse(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    answer = ask(page, RETURNS)

    assert answer.locator(".said").inner_text().startswith("Books can be returned within thirty days.")
    assert answer.locator(".cite").first.inner_text() == "1"
    assert answer.locator(".citations").first.inner_text().startswith("1\nReturns")
    assert page.locator("#welcome").is_hidden()
    assert active(page) == "question"


def test_a_citation_opens_its_source_at_the_words_that_were_quoted(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    answer = ask(page, "When does door 77 open?")
    answer.locator(".cite").first.click()
    marked = page.locator("#source-text mark")
    marked.wait_for()
    box, around = marked.bounding_box(), page.locator("#source-text").bounding_box()

    assert marked.inner_text().startswith("Door 77 opens at 5 o'clock")
    assert page.locator("#source-title").inner_text() == "Warehouse"
    assert "doors.md · Room 77" in page.locator("#source-where").inner_text()
    assert around["y"] <= box["y"]
    assert box["y"] + box["height"] <= around["y"] + around["height"]
    assert page.evaluate("document.querySelector('#source-text').scrollTop") > 0


def test_the_marked_words_are_the_quoted_ones_behind_an_emoji(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    ask(page, REFUNDS).locator(".citations button").first.click()

    assert page.locator("#source-text mark").inner_text() == "Refunds arrive after five working days."


@pytest.mark.parametrize("width", [390, 1280])
def test_escape_closes_the_source_and_goes_back_to_the_citation(shop: Served, open_page: Open, width: int):
    page = open_page(f"{shop.url}/?collection=handbook", width=width)
    cite = ask(page, RETURNS).locator(".cite").first
    cite.focus()
    page.keyboard.press("Enter")
    page.locator("#source-text mark").wait_for()
    page.keyboard.press("Escape")

    assert page.locator("#source").is_hidden()
    assert active(page) == plain(cite.get_attribute("aria-label")) == "Source 1: Returns"


def test_what_is_not_there_is_shown_as_refused(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    answer = ask(page, ABSENT)
    answer.locator(".more > summary").click()

    assert "refused" in answer.get_attribute("class")
    assert answer.locator(".said").inner_text() == "Not in your documents."
    assert answer.locator(".cite").count() == 0
    assert answer.locator(".more > summary").inner_text() == "Nearest passages (3)"
    assert answer.locator(".citations button").count() == 3


def test_a_follow_up_question_shows_how_it_was_understood(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    ask(page, "How long do parcels to Norway take?")
    answer = ask(page, "And to Japan?")

    assert "Japan" in page.locator(".understood").inner_text()
    assert "twelve days" in answer.inner_text()


def test_a_suggestion_is_asked_with_one_press(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=penstock-docs")
    page.get_by_role("button", name="earlier version").click()

    playwright.expect(page.locator(".question")).to_contain_text("earlier version")
    playwright.expect(page.locator(".answer .said")).to_contain_text("penstock docs use")


def test_another_collection_starts_another_conversation(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    ask(page, RETURNS)
    page.get_by_label("Collection to ask").select_option("penstock-docs")

    assert page.locator(".answer").count() == 0
    assert page.locator("#welcome").is_visible()


def test_a_new_conversation_begins_with_the_question(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    ask(page, RETURNS)
    page.get_by_role("button", name="New").click()

    assert page.locator(".answer").count() == 0
    assert active(page) == "question"


def test_the_address_of_a_citation_opens_the_page_at_it(shop: Served, open_page: Open):
    body = {"model": "handbook", "messages": [{"role": "user", "content": REFUNDS}]}
    answer = shop.client().post("/v1/chat/completions", json=body).json()
    page = open_page(answer["penstock"]["citations"][0]["url"])

    assert page.locator("#source-text mark").inner_text() == "Refunds arrive after five working days."
    assert page.locator("#collection").input_value() == "handbook"


def test_markup_in_documents_and_questions_stays_text(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    answer = ask(page, "What is the secret word? <img src=x onerror=alert(3)>")
    answer.locator(".citations button").first.click()
    page.locator("#source-text mark").wait_for()

    assert "<script>alert(2)</script>" in answer.inner_text()
    assert "<img src=x onerror=alert(1)>" in page.locator("#source-text").inner_text()
    assert answer.locator("strong").inner_text() == "secret"
    assert page.locator("main img, main script").count() == 0


def test_what_people_think_of_an_answer_is_kept_changed_and_taken_back(open_page: Open, shop: Served):
    page = open_page(f"{shop.url}/?collection=handbook")
    answer = ask(page, RETURNS)
    helped = answer.get_by_role("button", name="This helped")
    not_helped = answer.get_by_role("button", name="This did not help")

    def said(act: Callable[[], object]) -> dict[str, Any]:
        with page.expect_response("**/v1/feedback") as found:
            act()
        request = found.value.request.post_data_json["request"]
        page.locator(".opinion .hint, .opinion .wrong").first.wait_for(state="attached")
        return shop.client().get(f"/v1/feedback/{request}").json()

    assert said(helped.click)["thumb"] == "up"
    assert helped.get_attribute("aria-pressed") == "true"
    assert answer.locator(".opinion .hint").inner_text() == "Thank you. It is noted."
    assert answer.locator(".why").count() == 0
    assert said(answer.get_by_role("button", name="4", exact=True).click)["csat"] == 4
    assert answer.get_by_role("button", name="4", exact=True).get_attribute("aria-pressed") == "true"
    assert said(answer.get_by_role("button", name="2", exact=True).click)["csat"] == 2
    assert said(answer.get_by_role("button", name="2", exact=True).click)["csat"] is None
    assert said(answer.get_by_role("button", name="5", exact=True).click)["thumb"] == "up"

    other = said(not_helped.click)
    assert (other["thumb"], other["csat"]) == ("down", None), "who changes their mind is asked anew"
    assert (helped.get_attribute("aria-pressed"), not_helped.get_attribute("aria-pressed")) == ("false", "true")
    answer.get_by_label("What would have been right?").fill("Three.")
    assert said(answer.get_by_role("button", name="It is out of date").click)["reasons"] == ["outdated"]
    assert said(answer.get_by_role("button", name="It is wrong").click)["reasons"] == ["wrong", "outdated"]
    assert answer.get_by_label("What would have been right?").input_value() == "Three.", "what was typed is still there"
    assert said(answer.get_by_role("button", name="1", exact=True).click)["csat"] == 1
    kept = said(answer.get_by_role("button", name="Send").click)
    assert (kept["thumb"], kept["reasons"], kept["csat"]) == ("down", ["wrong", "outdated"], 1)

    page.select_option("#language", "de")
    answer = page.locator(".answer").last
    assert answer.get_by_role("button", name="Das hat nicht geholfen").get_attribute("aria-pressed") == "true"
    page.select_option("#language", "en")
    taken = said(page.locator(".answer").last.get_by_role("button", name="This did not help").click)
    assert (taken["thumb"], taken["reasons"]) == (None, [])
    assert page.locator(".why").count() == 0


def test_a_person_is_asked_and_their_reply_appears_in_the_conversation(tmp_path: Path, open_page: Open):
    write(tmp_path / "handbook", HANDBOOK)
    with serving(
        tmp_path, '[documents.handbook]\npaths = ["handbook"]\n[review]\npeople = true', embedder=WordEmbedder()
    ) as served:
        page = open_page(f"{served.url}/?collection=handbook")
        answer = ask(page, RETURNS)
        answer.get_by_role("button", name="Ask a person").click()
        playwright.expect(answer.locator(".person")).to_have_text("A person was asked. The reply will appear here.")
        (waiting,) = served.house.review.hand_overs.pending()
        assert waiting.content.question == RETURNS
        assert waiting.request, "the reviewer finds the request that it is about"
        served.house.review.hand_overs.reply(waiting.id, "hanna", "Come by, <b>any</b> day.")
        playwright.expect(page.locator(".answer .person .said")).to_have_text("Come by, <b>any</b> day.")
        page.select_option("#language", "de")
        playwright.expect(page.locator(".answer .person")).to_contain_text("Ein Mensch antwortet:")

        page.focus("#question")
        other = ask(page, ABSENT)
        other.get_by_role("button", name="Einen Menschen fragen").click()
        playwright.expect(other.locator(".person .hint")).to_be_visible()
        (waiting,) = served.house.review.hand_overs.pending()
        served.house.review.hand_overs.close(waiting.id, "hanna", reason="spam")
        playwright.expect(page.locator(".answer .person").last).to_contain_text("Niemand hat geantwortet.")


def test_two_clicks_lead_from_an_answer_to_the_rooms_that_it_passed_through(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    answer = ask(page, RETURNS)
    page.wait_for_timeout(1500)  # after which the journal has it
    answer.get_by_text("Why this answer?").click()
    answer.get_by_role("link", name="Each step of it").click()
    assert page.get_by_role("rowheader", name="search").is_visible()


def test_whoever_may_change_things_finds_the_console(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    page.get_by_role("link", name="Console").click()
    page.wait_for_url("**/console")
    assert page.get_by_role("heading", name="Overview").is_visible()


def test_waiting_can_be_stopped(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    page.route("**/v1/chat/completions", lambda route: None)
    page.keyboard.type(RETURNS)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop").click()

    page.get_by_text("Stopped.").first.wait_for()
    assert page.get_by_role("button", name="Ask").is_visible()


# ---------------------------------------------------------------- what goes wrong

WRONG = "Something went wrong. If it happens again, whoever runs this server can help."
BUSY = "This server is busy at the moment. Try again in a minute."
NO_MODEL = "The model does not answer at the moment. Try again in a minute."
CHAT = "**/v1/chat/completions"
NO_SERVER = "The server does not answer. Is it still running?"
SAID: dict[type[PenstockError], str] = {
    BadRequest: "The question is empty or too long.",
    Blocked: "This question was stopped by a rule of this service.",
    NeedsKey: "This is not allowed. Whoever runs this server can allow it.",
    NotAllowed: "This is not allowed. Whoever runs this server can allow it.",
    NotFound: "This was not found. It may have been removed.",
    Conflict: BUSY,
    TooLarge: "This is too large.",
    Unreadable: "This file cannot be used.",
    Limited: "Too many requests in a short time. Try again a little later.",
    BudgetSpent: "The budget for this is used up.",
    UpstreamError: NO_MODEL,
    UpstreamBusy: NO_MODEL,
    UpstreamTimeout: NO_MODEL,
    UpstreamResting: NO_MODEL,
    NotReady: BUSY,
    Overloaded: BUSY,
}


def answered(page: Any, pattern: str, body: str, *, status: int = 200, times: int | None = None) -> None:
    """From now on the page gets this answer there."""
    page.unroute(pattern)
    kind = "text/event-stream" if body.startswith("data:") else "application/json"
    page.route(pattern, lambda route: route.fulfill(status=status, body=body, content_type=kind), times=times)


def refuse(page: Any, error: PenstockError, *, late: bool = False) -> Any:
    """Ask, and be refused: at once with a status, or late, as the last piece of a stream."""
    body = json.dumps(error.body())
    begun = json.dumps({"choices": [{"delta": {"content": "Books can"}}]})
    if late:
        answered(page, CHAT, f"data: {begun}\n\ndata: {body}\n\n")
    else:
        answered(page, CHAT, body, status=error.status)
    page.locator("#question").focus()
    return ask(page, "Why?")


def unfolded(problem: Any) -> list[str]:
    problem.locator("summary").click()
    return [plain(line) for line in problem.locator("details p").all_inner_texts()]


@pytest.mark.parametrize("language", ["en", "de", "ar"])
def test_every_refusal_is_told_in_the_readers_language(shop: Served, open_page: Open, language: str):
    page = open_page(f"{shop.url}/?collection=handbook&lang={language}", refused=True)
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PenstockError)]
    for kind in kinds if language == "de" else (Limited, UpstreamError, Overloaded):
        if kind is errors.MissingExtra:  # it is made of other words
            continue
        error = kind("the bucket is at 7 of 7", hint="raise limits.seven")
        said = phrase(SAID.get(kind, WRONG), language, formality="formal")
        label = phrase("Details", language)
        late = kind in (UpstreamError, NeedsKey)  # a key that is missing from the beginning is asked for

        answer = refuse(page, error, late=late)
        assert re.split(r"\n+", answer.inner_text()) == [said, label], kind
        playwright.expect(page.get_by_role("status")).to_have_text(said)
        status = phrase("The server answered {status}.", language, status=error.status)
        assert unfolded(answer) == [*([] if late else [status]), "the bucket is at 7 of 7 — raise limits.seven"]
        words = answer.locator("details p").last
        assert (words.get_attribute("lang"), words.get_attribute("dir")) == ("en", "ltr")
        page.locator("#new").click()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (429, "<h1>Too many</h1>", "Too many requests in a short time. Try again a little later."),
        (413, "", "This is too large."),
        (502, "<h1>Bad Gateway</h1>", NO_SERVER),
        (503, "null", BUSY),
        (500, '{"error": null}', WRONG),
        (418, '{"error": "constructor"}', WRONG),
        (400, '{"error": {"code": "constructor", "message": ["no"]}}', WRONG),
    ],
)
def test_what_stands_between_may_refuse_in_its_own_way(
    shop: Served, open_page: Open, status: int, body: str, said: str
):
    page = open_page(f"{shop.url}/?collection=handbook", refused=True)
    answered(page, CHAT, body, status=status)
    answer = ask(page, "Why?")

    assert answer.locator(".problem").inner_text() == said
    assert unfolded(answer)[0] == f"The server answered {status}."


def test_a_stream_that_is_not_one_and_one_that_ends_early_say_so(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook&lang=de", refused=True)
    for body, said in (("data: {\n\n", WRONG), ("", "The answer ended early.")):
        answered(page, CHAT, body)

        assert ask(page, "Why?").locator(".problem").inner_text() == phrase(said, "de")
    page.unroute(CHAT)
    page.route(CHAT, lambda route: route.abort())

    assert ask(page, "Why?").inner_text() == phrase(NO_SERVER, "de")

    page.evaluate(
        """() => { window.fetch = async () => new Response(new ReadableStream({
          pull(stream) { stream.error(new TypeError("network error")); } })); }"""
    )
    answer = ask(page, "Why?")

    assert answer.locator(".problem").inner_text() == phrase("The answer ended early.", "de")
    assert unfolded(answer) == ["network error"]


def test_what_went_wrong_is_said_anew_in_another_language(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook", refused=True)
    answer = refuse(page, Overloaded("9 wait already"))
    page.get_by_label("Language").select_option("fr")
    page.get_by_label("Langue").wait_for()

    assert answer.locator(".problem").inner_text() == phrase(BUSY, "fr", formality="formal")
    assert answer.locator("summary").inner_text() == "Détails"


def test_a_page_that_gets_no_collections_says_why_and_offers_nothing(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?lang=de", refused=True)
    answered(page, "**/api/collections", json.dumps(StorageError("the disk is full").body()), status=507)
    page.reload()
    welcome = page.locator("#welcome-text")
    welcome.locator(".problem").wait_for()

    assert welcome.locator(".problem").inner_text() == phrase(WRONG, "de")
    page.get_by_label("Sprache").select_option("it")
    page.get_by_label("Lingua").wait_for()
    assert welcome.locator(".problem").inner_text() == phrase(WRONG, "it")
    assert unfolded(welcome)[1] == "the disk is full"


def test_a_source_that_is_gone_says_so_and_what_the_server_said(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook&lang=ar", refused=True)
    cite = ask(page, RETURNS).locator(".cite").first
    answered(page, "**/documents/*", json.dumps(NotFound("there is no document 'd7'").body()), status=404)
    cite.click()
    problem = page.locator("#source-where .wrong")
    problem.wait_for()

    assert problem.locator(".problem").inner_text() == phrase(SAID[NotFound], "ar")
    assert unfolded(problem)[1] == "there is no document 'd7'"
    page.keyboard.press("Escape")
    assert page.locator("#source").is_hidden()


# ---------------------------------------------------------------- what an answer says of itself

SMALL = Citation("small.md", "Parcels take five days.", 0, 23, "d1", "p1", title="Small", date="2025-02-01")
LARGE = Citation("large.md", "Parcels take\nnine days.", 0, 23, "d2", "p2", title="Large", date="2026-03-01")


def told(page: Any, text: str, **more: Any) -> Any:
    """Ask, and be given this answer."""
    answer = Answer(text, more.pop("status", Status.ANSWER), 0.7, more.pop("citations", (SMALL, LARGE)), **more)
    body = "".join(
        f"data: {json.dumps(event)}\n\n"
        for event in ({"choices": [{"delta": {"content": text}}]}, {"choices": [], "penstock": asdict(answer)})
    )
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=200, body=f"{body}data: [DONE]\n\n", content_type="text/event-stream"),
    )
    page.locator("#question").focus()
    return ask(page, "How long do parcels take?")


def test_what_the_sources_do_not_say_is_underlined_and_says_so(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    true, false, unknown = "🎁 Parcels take five days", "Parcels take nine days", "A bird brings them"
    text = f"{true} [1]. {false} [1] [the sources say otherwise]. {unknown} [not in the sources]."
    spans = [
        Claim(text.index(said), text.index(said) + len(said), label, 0.5)
        for said, label in ((true, "supported"), (false, "contradicted"), (unknown, "not_found"))
    ]
    answer = told(page, text, written_by="small-model", verdict=Verdict("contradicted", 0.1, tuple(spans)))
    lines = [
        answer.locator(f".{label}").evaluate("(node) => getComputedStyle(node).textDecorationStyle")
        for label in ("contradicted", "not_found")
    ]

    assert answer.locator(".contradicted").inner_text() == false
    assert answer.locator(".not_found").inner_text() == unknown
    assert len({*lines, "solid"}) == 3  # not by the colour alone
    assert answer.locator(".said .cite").all_inner_texts() == ["1", "1"]
    assert "[not in the sources]" in answer.locator(".said").inner_text()
    assert "written by small-model, checked against the sources" in plain(answer.locator(".foot").inner_text())
    answer.get_by_text("Why this answer?").click()
    assert [plain(one.inner_text()) for one in answer.locator(".because li").all()] == [
        f"in the sources {true}", f"the sources say otherwise {false}", f"not in the sources {unknown}",
    ]  # fmt: skip


@pytest.mark.parametrize("verdict", [None, Verdict("unscored", 0.0)])
def test_an_answer_that_nobody_checked_says_so(shop: Served, open_page: Open, verdict: Verdict | None):
    page = open_page(f"{shop.url}/?collection=handbook")
    answer = told(page, "Parcels take five days [1].", written_by="small-model", verdict=verdict)

    assert "written by small-model, not checked" in plain(answer.locator(".foot").inner_text())


def test_what_is_copied_from_a_source_is_underlined_and_the_line_explained(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    text = "They say that parcels take five days [1], always."
    wrong = Claim(0, len(text), "not_found", 0.1)
    copied = Copied(14, 38, 0, 0.9)  # it ends within the brackets
    answer = told(page, text, written_by="small-model", verdict=Verdict("not_found", 0.1, (wrong,)), copied=(copied,))

    assert answer.locator(".said .copied").inner_text() == "parcels take five days "
    assert answer.locator(".said .copied.not_found").count() == 1
    assert answer.locator(".said .cite").inner_text() == "1"
    assert answer.locator(".foot .copied").inner_text() == "nearly word for word from a source"


def test_sources_that_disagree_stand_on_lines_of_their_own(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    text = f"The sources disagree:\n\nLarge of 2026-03-01: {LARGE.quote}\n\nSmall of 2025-02-01: {SMALL.quote}"
    answer = told(page, text, quoted=(0,), conflicts=((0, 1),))

    assert answer.locator(".said").inner_text().split("\n\n") == [
        "The sources disagree:",
        "Large of 2026-03-01: Parcels take nine days.2",
        "Small of 2025-02-01: Parcels take five days.1",
    ]
    assert answer.locator(".citations .n").all_inner_texts() == ["2", "1"]


def test_a_written_answer_numbers_the_sources_that_disagree_with_it(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    text = f"{SMALL.quote} [1]\n\nThe sources disagree:\n\nLarge: “{LARGE.quote}”\n\nSmall: “{SMALL.quote}”"
    answer = told(page, text, written_by="small-model", conflicts=((1, 0),))

    assert answer.locator(".said .cite").all_inner_texts() == ["1", "2", "1"]
    assert answer.locator(".quote").first.inner_text() == "“Parcels take nine days.”2"


def test_a_number_stands_at_the_quote_and_not_at_the_translation_before_it(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    text = f"Translated: {SMALL.quote}\n\nIn the original: {SMALL.quote}"
    answer = told(page, text, quoted=(0,), status=Status.RELATED)

    assert answer.locator(".said").inner_text() == f"Translated: {SMALL.quote}\n\nIn the original: {SMALL.quote}1"
    assert answer.locator(".label").inner_text() == "Possibly related"


def test_a_quote_that_was_masked_on_its_way_out_keeps_its_number(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    answer = told(page, "Parcels take [NUMBER] days.", quoted=(0,))

    assert answer.locator(".said").inner_text() == "Parcels take [NUMBER] days.1"


def test_an_answer_that_is_handed_over_is_shown_as_refused(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    text = "This answer is uncertain. A person will look at it."
    answer = told(page, text, status=Status.HANDED_OVER, citations=(), nearest=(SMALL,))

    assert "refused" in answer.get_attribute("class")
    assert answer.locator(".said").inner_text() == text
    assert answer.locator(".foot").count() == 0


def test_an_answer_runs_as_its_language_does_whatever_the_page_speaks(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook&lang=de")
    said = told(page, "ليس في مستنداتك.", status=Status.NOT_FOUND, citations=(), language="ar").locator(".said")

    assert (said.get_attribute("lang"), said.get_attribute("dir")) == ("ar", "rtl")
    assert said.evaluate("(node) => getComputedStyle(node.closest('article')).direction") == "ltr"


# ---------------------------------------------------------------- the reader's language


def spoken(page: Any) -> tuple[str, str, str]:
    said = page.evaluate(
        "[document.documentElement.lang, document.documentElement.dir, document.querySelector('.welcome h2').innerText]"
    )
    return (said[0], said[1], said[2])


@pytest.mark.parametrize(
    ("locale", "language", "direction"),
    [
        ("de-DE", "de", "ltr"),
        ("ar", "ar", "rtl"),
        ("nb-NO", "no", "ltr"),
        ("en-GB", "en", "ltr"),
        ("eu-ES", "en", "ltr"),
    ],
)
def test_the_page_speaks_the_language_of_the_browser(
    shop: Served, open_page: Open, locale: str, language: str, direction: str
):
    page = open_page(f"{shop.url}/?collection=handbook", locale=locale)

    assert spoken(page) == (language, direction, phrase("Ask your documents", language, formality="formal"))
    assert page.locator("#send").inner_text() == phrase("Ask", language)
    assert page.evaluate("localStorage.length") == 0


def test_the_address_can_name_a_language(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook&lang=pt-BR", locale="de-DE")

    assert spoken(page)[0] == "pt"


def test_what_runs_from_right_to_left_is_laid_out_so(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook", locale="ar")
    answer = ask(page, RETURNS)
    answer.locator(".cite").first.click()
    page.locator("#source-text mark").wait_for()

    def left(selector: str) -> float:
        return float(page.locator(selector).first.bounding_box()["x"])

    assert left("#send") < left("#question")
    assert left("#show-documents") < left("#collection")
    assert left("#source") < left("#scroll")
    assert page.locator(".said").evaluate("(node) => getComputedStyle(node).direction") == "ltr"  # it is English


def test_a_chosen_language_is_kept_and_the_conversation_with_it(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook&lang=de")
    answer = ask(page, RETURNS)
    page.get_by_label("Sprache").select_option(label="Français")
    page.get_by_label("Langue").wait_for()

    assert page.locator(".question").inner_text() == RETURNS
    assert answer.locator(".said").inner_text().startswith("Books can be returned within thirty days.")
    assert answer.locator(".foot").inner_text().startswith("fiable à")

    page.reload()
    page.locator("#question:focus").wait_for()

    assert spoken(page)[0] == page.locator("#language").input_value() == "fr"


def test_words_that_cannot_be_had_are_english(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    page.route("**/static/phrases/de.json", lambda route: route.fulfill(status=200, body="<html>"))
    page.get_by_label("Language").select_option("de")
    page.locator("#language").evaluate("(node) => new Promise((done) => setTimeout(done, 200))")

    assert spoken(page) == ("en", "ltr", "Ask your documents")


READABLE = """() => {
  const words = [];
  const theirs = "bdi, .question, .said > :not(.wrong), .wrong [lang=en], .n, .words, .badge, #source-title, #source-text, " +
    "#suggestions, #status, h1, option";
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode());) {
    const inside = text.parentElement;
    if (!inside.closest(theirs) && !inside.matches(".said")) words.push(text.data);
  }
  for (const name of ["aria-label", "title", "placeholder"])
    for (const node of document.querySelectorAll(`[${name}]`)) words.push(node.getAttribute(name));
  return words;
}"""


def test_everything_that_the_page_says_is_said_in_the_readers_language(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    marked = {english: f"«{english}»" for english in PAGE}
    page.route(
        "**/static/phrases/de.json",
        lambda route: route.fulfill(json={"language": "de", "direction": "ltr", "phrases": marked}),
    )
    page.get_by_label("Language").select_option("de")
    page.get_by_text("«Ask your documents»").wait_for()
    said = []
    for _ in shown_in_full(page):
        said += page.evaluate(READABLE)
    page.keyboard.press("Escape")
    told(page, f"{SMALL.quote} And more.", quoted=(0,), copied=(Copied(0, 9, 0, 1.0),), withheld=(LARGE,))
    said += page.evaluate(READABLE)
    told(
        page, "Five [1].", written_by="small-model", verdict=Verdict("not_found", 0.1, (Claim(0, 4, "not_found", 0.1),))
    )
    said += page.evaluate(READABLE)
    unfolded(refuse(page, Overloaded("9 wait already"), late=True))
    said += page.evaluate(READABLE)

    assert [words for words in said if not re.fullmatch(r"[\s·()\d]*(«.*»)?[\s·()\d]*", words)] == []
    assert len({words for words in said if "«" in words}) > 40


def test_a_german_reads_nothing_in_english(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook", locale="de-DE")
    said = set()
    for _ in shown_in_full(page):
        said |= {plain(words).strip() for words in page.evaluate(READABLE)}
    german = catalogue("de")
    english = [said for said in PAGE if said not in {german.get((form, said)) for form in ("", "formal")}]
    still = [re.sub(r"\\{\w+\\}", ".+", re.escape(one)) for one in english]

    assert [words for words in said if any(re.fullmatch(one, words) for one in still)] == []


def test_no_language_is_wider_than_a_narrow_screen(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook", width=320)
    text = "Parcels take five days [1]."
    told(page, text, written_by="small-model", verdict=Verdict("supported", 0.9), copied=(Copied(0, 7, 0, 1.0),))
    refuse(page, PenstockError("no"), late=True)
    for language in languages():
        page.locator("#language").select_option(language)
        page.locator(f"html[lang={language}]").wait_for()
        page.evaluate("new Promise((done) => requestAnimationFrame(done))")

        assert page.evaluate("document.documentElement.scrollWidth") <= 320, language
        assert page.evaluate(WIDER) == [], language


@pytest.mark.parametrize("language", languages()[1:])
def test_every_language_has_every_phrase_of_the_page(language: str):
    known = catalogue(language)
    for english in PAGE:
        said = [words for (_, key), words in known.items() if key == english]

        assert said, english
        assert ("", english) in known or {("formal", english), ("informal", english)} <= set(known), english
        assert {tuple(sorted(re.findall(r"\{\w+\}", words))) for words in (english, *said)} == {
            tuple(sorted(re.findall(r"\{\w+\}", english)))
        }


def test_the_phrases_of_the_page_are_those_that_it_says():
    markup = (pages.FOLDER / "chat.html").read_text("utf-8")
    script = "".join((pages.FOLDER / name).read_text("utf-8") for name in SCRIPTS)

    assert [english for english in PAGE if f'"{english}"' not in script and english not in markup] == []
    assert set(re.findall(r'\bt\("([^"]+)"', script)) <= set(PAGE)


def test_words_are_served_to_everybody_and_asked_for_once(office: Served):
    client = office.client()
    offered, german = client.get("/static/phrases.json"), client.get("/static/phrases/de.json")
    again = client.get("/static/phrases/de.json", headers={"if-none-match": german.headers["etag"]})

    assert {"language": "ar", "direction": "rtl", "name": "العربية"} in offered.json()
    assert {one["language"] for one in offered.json()} == set(languages())
    assert german.json()["phrases"]["Your question"] == "Ihre Frage"
    assert list(german.json()["phrases"]) == list(dict.fromkeys(PAGE))
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/static/phrases/xx.json").status_code == 401  # like any other address that is none


# ---------------------------------------------------------------- documents


def test_an_empty_page_says_how_to_begin(empty: Served, open_page: Open):
    page = open_page(empty.url)
    assert page.locator("#welcome-text").inner_text().startswith("There is nothing to ask yet.")
    assert page.locator("#collection").is_hidden()

    page.get_by_role("button", name="Add documents").click()

    assert page.locator("#drop").is_visible()
    assert page.locator("#document-list").inner_text() == "Nothing is indexed yet."


def test_a_chosen_file_is_added_with_its_progress_and_can_be_asked(empty: Served, open_page: Open):
    page = open_page(empty.url)
    page.get_by_role("button", name="Documents", exact=True).click()
    page.evaluate(
        """window.said = [];
        new MutationObserver((all) => all.forEach((one) => one.addedNodes.forEach((node) => said.push(node.textContent))))
          .observe(document.querySelector("#uploads"), { childList: true, subtree: true });"""
    )
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="choose them").click()
    chooser.value.set_files(
        {"name": "peru.txt", "mimeType": "text/plain", "buffer": b"Parcels to Peru take twenty days."}
    )
    page.get_by_text("ready to be asked · Passages: 1", exact=True).wait_for()
    page.get_by_role("button", name="peru.txt").wait_for()
    said = page.evaluate("window.said")
    page.keyboard.press("Escape")
    page.locator("#question").focus()

    assert "sending" in said[0]
    assert said[1:] == ["reading", "indexing · Passages: 1", "ready to be asked · Passages: 1", *said[4:]]
    assert "Parcels to Peru take twenty days." in ask(page, "How long do parcels to Peru take?").inner_text()
    assert page.locator("#count").inner_text() == "1"


def test_files_are_dropped_anywhere_on_the_page(empty: Served, open_page: Open):
    page = open_page(empty.url)
    dropped = page.evaluate_handle(
        """() => { const dropped = new DataTransfer();
        for (const name of ["peru.txt", "chile.txt"]) dropped.items.add(new File([`Parcels in ${name} take days.`], name));
        return dropped; }"""
    )
    page.dispatch_event("main", "dragenter", {"dataTransfer": dropped})
    assert page.locator("#dropping").is_visible()
    page.dispatch_event("main", "drop", {"dataTransfer": dropped})
    page.dispatch_event("main", "drop", {"dataTransfer": dropped})  # impatient
    playwright.expect(page.locator("#document-list button")).to_have_count(2)
    page.get_by_text("already indexed").nth(1).wait_for()

    assert page.locator("#dropping").is_hidden()
    assert page.locator("#document-list .title").all_inner_texts() == ["chile.txt", "peru.txt"]


def test_a_file_that_cannot_be_read_says_why(empty: Served, open_page: Open):
    page = open_page(empty.url)
    page.get_by_role("button", name="Documents", exact=True).click()
    page.locator("#files").set_input_files(
        {"name": "scan.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 no"}
    )

    row = page.locator("#uploads li")
    row.locator(".problem").wait_for()
    assert row.locator("strong").inner_text() == "scan.pdf"
    assert row.locator(".problem").inner_text() == "This file cannot be used."
    assert "'scan.pdf'" in unfolded(row)[0]


@pytest.mark.parametrize("language", ["de", "ar"])
def test_a_refused_upload_says_why_and_the_next_one_is_taken(empty: Served, open_page: Open, language: str):
    page = open_page(f"{empty.url}/?lang={language}", refused=True)
    page.locator("#show-documents").click()
    refusals = [(413, json.dumps(TooLarge("the body is over 100 MB").body())), (413, "<h1>nginx</h1>"), (200, '{"st')]
    said = [phrase(SAID[TooLarge], language)] * 2 + [phrase(WRONG, language)]
    for n, (status, body) in enumerate(refusals, 1):
        answered(page, "**/documents?name=*", body, status=status, times=1)
        page.locator("#files").set_input_files({"name": "big.txt", "mimeType": "text/plain", "buffer": b"Big."})
        playwright.expect(page.locator("#uploads .problem")).to_have_count(n)
    page.locator("#files").set_input_files({"name": "peru.txt", "mimeType": "text/plain", "buffer": b"To Peru: 9."})
    page.get_by_role("button", name="peru.txt").wait_for()

    assert page.locator("#uploads .problem").all_inner_texts() == said
    assert unfolded(page.locator("#uploads li").first)[1] == "the body is over 100 MB"


def test_documents_are_listed_and_can_be_read(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    page.get_by_role("button", name="Documents", exact=False).click()
    page.locator(".failed").wait_for()
    assert "broken.pdf" in page.locator(".failed").inner_text()
    assert page.locator(".failed .problem").inner_text() == "This file cannot be used."
    assert unfolded(page.locator(".failed"))

    page.get_by_role("button", name="Shipping").click()
    page.locator("#source-text").get_by_text("Parcels to Norway").wait_for()

    assert page.locator("#documents").is_hidden()
    assert page.locator("#source-where").inner_text().startswith("shipping.md")


# ---------------------------------------------------------------- keys


def test_a_server_with_keys_asks_for_one(office: Served, open_page: Open):
    page = open_page(office.url)
    assert page.get_by_role("dialog").get_by_role("heading").inner_text() == "This server needs a key"
    page.keyboard.press("Escape")
    page.keyboard.type("some-other-key-0123456789\n")
    problem = page.locator("#key-problem")
    problem.get_by_text("This key is not accepted.").wait_for()
    assert unfolded(problem) == ["the API key is not known"]
    page.locator("#key-value").focus()
    page.keyboard.type(f"{KEYS['boss']}\n")
    page.locator("#question:focus").wait_for()

    assert page.locator("#key").is_hidden()
    assert "90,000" in ask(page, "What does the director earn?").inner_text()


def test_who_may_not_change_documents_is_not_offered_to(office: Served, open_page: Open):
    page = open_page(office.url)
    page.keyboard.type(f"{KEYS['clerk']}\n")
    page.locator("#question:focus").wait_for()
    answer = ask(page, "What does the director earn?").inner_text()
    page.get_by_role("button", name="Documents", exact=False).click()
    page.get_by_role("button", name="Returns").wait_for()

    assert "90,000" not in answer
    assert page.locator("#drop").is_hidden()
    assert "Salaries" not in page.locator("#document-list").inner_text()


def test_a_key_is_kept_for_the_tab_and_no_longer(office: Served, open_page: Open):
    page = open_page(office.url)
    page.keyboard.type(f"{KEYS['clerk']}\n")
    page.locator("#question:focus").wait_for()
    page.reload()
    page.locator("#question:focus").wait_for()

    assert page.locator("#key").is_hidden()
    assert page.evaluate("localStorage.length") == 0
    assert open_page(office.url).locator("#key").is_visible()


# ---------------------------------------------------------------- for every eye and hand


def shown_in_full(page: Any) -> Iterator[str]:
    """Walk the page through its states, with a name for each."""
    yield "welcome"
    ask(page, RETURNS)
    answer = ask(page, ABSENT)
    answer.locator(".more > summary").click()
    yield "answers"
    page.locator(".cite").first.click()
    page.locator("#source-text mark").wait_for()
    yield "source"
    page.keyboard.press("Escape")
    page.locator("#show-documents").click()
    page.locator(".failed").wait_for()
    yield "documents"


WIDER = """() => [...document.body.querySelectorAll("*")].filter((node) => {
  const box = node.getBoundingClientRect();
  return node.checkVisibility() && !node.closest(".unseen, .skip") && (box.right > innerWidth + 1 || box.left < -1);
}).map((node) => node.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("width", [320, 390, 860, 1920])
def test_nothing_is_wider_than_the_screen(shop: Served, open_page: Open, width: int):
    page = open_page(f"{shop.url}/?collection=handbook", width=width)
    for state in shown_in_full(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= width, state
        assert page.evaluate(WIDER) == [], state


CONTROLS = {
    "button",
    "textbox",
    "combobox",
    "link",
    "meter",
    "progressbar",
    "searchbox",
    "checkbox",
    "dialog",
    "DisclosureTriangle",
}


def test_every_control_has_a_name_to_be_read_out(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    tree = page.context.new_cdp_session(page)
    for state in shown_in_full(page):
        nodes = [node for node in tree.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
        controls = [node for node in nodes if node["role"]["value"] in CONTROLS]
        assert controls, state
        assert [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")] == [], state


CONTRAST = """() => {
  const light = (colour) => colour.slice(0, 3).map((c) => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [.2126, .7152, .0722][n], 0);
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const behind = (node) => { for (; node; node = node.parentElement) {
    const colour = numbers(getComputedStyle(node).backgroundColor); if (colour[3] !== 0) return colour; } return [255, 255, 255]; };
  const low = [];
  const texts = document.createTreeWalker(document.querySelector("dialog[open]") || document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode());) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility() || node.closest(".unseen, .skip, option, script")) continue;
    const [a, b] = [light(numbers(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    if ((a + .05) / (b + .05) < 4.5) low.push(`${text.data.trim().slice(0, 40)}: ${((a + .05) / (b + .05)).toFixed(2)}`);
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_what_is_behind_it(shop: Served, open_page: Open, scheme: str):
    page = open_page(f"{shop.url}/?collection=handbook", scheme=scheme)
    for state in shown_in_full(page):
        assert page.evaluate(CONTRAST) == [], state
    page.keyboard.press("Escape")
    unfolded(refuse(page, Overloaded("9 wait already"), late=True))
    assert page.evaluate(CONTRAST) == []
    red, *_ = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")

    assert (red < 60) is (scheme == "dark")


def test_answers_are_announced_to_those_who_listen(shop: Served, open_page: Open):
    page = open_page(f"{shop.url}/?collection=handbook")
    ask(page, RETURNS)

    playwright.expect(page.get_by_role("status")).to_contain_text("thirty days")
