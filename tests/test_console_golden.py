"""Golden questions in the console: added and removed, asked of two versions side by side, and a gate for what is published."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import in_chromium, opening
from serving import HANDBOOK, KEYS, PAY, WITH_KEYS, Served, serving, write
from test_console import Visitor

from penstock.testing import WordEmbedder

PAGE = "/console/documents/handbook"
GOLDEN = f"{PAGE}/golden"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, '[documents.handbook]\npaths = ["handbook"]', embedder=WordEmbedder()) as running:
        yield running


def shown(visitor: Visitor, query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = visitor.get(f"{GOLDEN}?as=json{query}").json()
    return found


def ask(visitor: Visitor, **form: str) -> None:
    assert "told=golden_asking" in visitor.send(GOLDEN, f"{GOLDEN}/ask", **form).headers["location"]
    end = time.monotonic() + 15
    while shown(visitor)["runs"]:
        assert time.monotonic() < end
        time.sleep(0.05)


def add(visitor: Visitor, question: str, source: str = "", contains: str = "") -> None:
    sent = visitor.send(GOLDEN, GOLDEN, question=question, source=source, words=contains)
    assert sent.headers["location"] == f"{GOLDEN}?told=golden_added", sent.text


def test_a_question_is_asked_of_two_versions_side_by_side_and_seen_before_one_goes_live(served: Served, tmp_path: Path):
    visitor = Visitor(served)
    assert "There is no golden question yet" in visitor.get(GOLDEN).text
    add(visitor, "How long can books be returned?", "returns.md", "thirty days")
    add(visitor, "How long do parcels to Japan take?", "shipping.md", "twelve days")
    (tmp_path / "handbook/shipping.md").write_text("# Careers\n\nWe are hiring.\n")
    assert visitor.send(PAGE, f"{PAGE}/sync").headers["location"] == f"{PAGE}?told=worse"
    ask(visitor, beside="v2")

    found = shown(visitor, "&beside=v2")
    assert (found["live"]["version"], found["live"]["asked"], found["live"]["found"]) == ("v1", 2, 2)
    assert (found["beside"]["version"], found["beside"]["asked"], found["beside"]["found"]) == ("v2", 2, 1)
    rows = {one["question"]: (one["live"], one["beside"]) for one in found["questions"]}
    assert rows["How long can books be returned?"] == (1, 1)
    assert rows["How long do parcels to Japan take?"][1] == 0
    page = visitor.get(f"{GOLDEN}?beside=v2").text
    assert "not found" in page
    assert f'href="{PAGE}/documents/{found["questions"][0]["document"]}"' in page
    assert "How long do parcels to Japan take?" in visitor.get(f"{GOLDEN}?as=csv").text

    versions = {one["name"]: one["golden"] for one in visitor.get(f"{PAGE}?as=json").json()["versions"]}
    assert versions == {"v1": {"asked": 2, "found": 2}, "v2": {"asked": 2, "found": 1}}
    assert "Make v2 live? Golden questions: 1 of 2" in visitor.get(PAGE).text
    kinds = [row["kind"] for row in visitor.get("/console/audit?as=json").json()["records"]]
    assert kinds.count("golden.changed") == 2


def test_a_question_that_is_added_later_was_not_asked_yet(served: Served):
    visitor = Visitor(served)
    add(visitor, "How long can books be returned?", "returns.md")
    ask(visitor)
    add(visitor, "When does the shop open?", "h*.txt")
    assert [one["live"] for one in shown(visitor)["questions"]] == [1, None]
    assert shown(visitor)["live"]["asked"] == 1
    number = shown(visitor)["questions"][0]["id"]
    sent = visitor.send(GOLDEN, f"{GOLDEN}/remove", id=number)
    assert sent.headers["location"] == f"{GOLDEN}?told=golden_removed"
    assert [one["question"] for one in shown(visitor)["questions"]] == ["When does the shop open?"]
    assert visitor.send(GOLDEN, f"{GOLDEN}/remove", id=number).status_code == 404


def test_questions_of_the_settings_file_stand_beside_those_that_were_added(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    (tmp_path / "golden.jsonl").write_text(
        json.dumps({"question": "How long can books be returned?", "source": "returns.md"})
    )
    settings = '[documents.handbook]\npaths = ["handbook"]\ngolden = "golden.jsonl"'
    with serving(tmp_path, settings, embedder=WordEmbedder()) as served:
        visitor = Visitor(served)
        add(visitor, "When does the shop open?", "hours.txt")
        assert [one["from"] for one in shown(visitor)["questions"]] == ["file", "console"]
        number = shown(visitor)["questions"][0]["id"]
        assert visitor.send(GOLDEN, f"{GOLDEN}/remove", id=number).status_code == 404
        assert (
            visitor.send(GOLDEN, GOLDEN, question="How long can books be returned?", source="returns.md").status_code
            == 409
        )

        (tmp_path / "golden.jsonl").write_text("nonsense")
        assert "line 1 is no golden question" in visitor.get(GOLDEN).text
        assert [one["from"] for one in shown(visitor)["questions"]] == ["console"]
        assert visitor.send(GOLDEN, f"{GOLDEN}/ask").status_code == 400
        assert visitor.get(PAGE).status_code == 200


def test_what_somebody_may_not_read_is_neither_shown_nor_asked_about(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK | PAY)
    settings = (
        '[documents.handbook]\npaths = ["handbook"]\n[[documents.handbook.rules]]\nmatch = "salaries*"\naccess = ["hr"]\n'
        '[keys.boss]\nkey = "boss-key-0123456789"\nadmin = true\n'
        '[keys.hr]\nkey = "hr-key-0123456789012"\nadmin = true\nroles = ["hr"]\n'
    )
    with serving(tmp_path, settings, embedder=WordEmbedder()) as served:
        boss, hr = Visitor(served, "boss-key-0123456789"), Visitor(served, "hr-key-0123456789012")
        add(hr, "What does the director earn?", "salaries.md", "90,000")
        add(boss, "How long can books be returned?", "returns.md")
        for source in ("salaries.md", "sal*", "*", ""):
            refused = boss.send(GOLDEN, GOLDEN, question="What does she earn?", source=source, words="90,000")
            assert refused.status_code == 403
        assert "salaries.md" not in shown(boss)["sources"]
        assert "salaries" not in boss.get(GOLDEN).text
        assert [one["question"] for one in shown(boss)["questions"]] == ["How long can books be returned?"]
        assert len(shown(hr)["questions"]) == 2


def test_an_open_page_asks_for_no_more_than_how_far_it_is(served: Served):
    assert shown(Visitor(served), "&only=runs") == {"runs": []}
    assert Visitor(served).get(f"{GOLDEN}?only=runs").status_code == 200


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"question": " ", "source": "a"}, 400), ({"question": "Why?"}, 400), ({"question": "Why?", "source": "*"}, 400),
        ({"question": "x" * 5000, "source": "a"}, 400), ({}, 400),
    ],
)  # fmt: skip
def test_what_is_no_golden_question_is_refused(served: Served, form: dict[str, str], status: int):
    visitor = Visitor(served)
    assert visitor.send(GOLDEN, GOLDEN, **form).status_code == status
    assert visitor.send(GOLDEN, f"{GOLDEN}/ask").status_code == 400, "there is none"
    assert shown(visitor)["questions"] == []


def test_what_is_hostile_stays_text_and_a_version_that_is_not_there_is_said(served: Served):
    visitor = Visitor(served)
    add(visitor, "<script>alert(1)</script>", "=cmd|[a-", "🎁 gift")
    page = visitor.get(GOLDEN)
    assert "<script>alert" not in page.text
    assert "not in the live version" in page.text
    assert "'=cmd|[a-" in visitor.get(f"{GOLDEN}?as=csv").text
    ask(visitor)
    assert shown(visitor)["questions"][0]["live"] == 0
    assert visitor.get(f"{GOLDEN}?beside=v77").status_code == 404
    assert visitor.send(GOLDEN, f"{GOLDEN}/ask", beside="v77").status_code == 404


def test_what_goes_wrong_while_they_are_asked_stands_on_the_page(served: Served, monkeypatch: pytest.MonkeyPatch):
    visitor = Visitor(served)
    add(visitor, "How long can books be returned?", "returns.md")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr(type(served.house.library["handbook"]), "evaluate", broken)
    visitor.send(GOLDEN, f"{GOLDEN}/ask")
    end = time.monotonic() + 10
    while not (runs := shown(visitor)["runs"]) or runs[0]["state"] != "failed":
        assert time.monotonic() < end
        time.sleep(0.05)
    page = visitor.get(GOLDEN).text
    assert "something went wrong inside" in page
    assert "secret words" not in page


def test_they_go_with_their_collection_and_are_for_admins(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    with serving(
        tmp_path, f'[documents.handbook]\npaths = ["handbook"]\n{WITH_KEYS}', embedder=WordEmbedder()
    ) as served:
        boss, clerk = Visitor(served, KEYS["boss"]), Visitor(served, KEYS["clerk"])
        add(boss, "What does the director earn?", "salaries.md")
        assert clerk.get(GOLDEN).status_code == 403
        assert clerk.send("/console", f"{GOLDEN}/ask").status_code == 403
        served.house.library.remove("handbook")
        served.house.library.create("handbook")
        assert served.house.library["handbook"].golden_questions() == []


@in_chromium
def test_the_page_shows_by_itself_that_they_were_asked(served: Served):
    expect = pytest.importorskip("playwright.sync_api").expect
    from browsing import browsing

    with browsing() as browser, opening(browser) as opened:
        page = opened(f"{served.url}{PAGE}")
        page.get_by_role("link", name="Golden questions").click()
        page.get_by_role("textbox", name="Question").fill("How long can books be returned?")
        page.get_by_label("The source that must").fill("returns.md")
        page.get_by_role("button", name="Add it").click()
        page.get_by_role("button", name="Ask them all").click()
        expect(page.get_by_role("cell", name="place 1")).to_be_visible()
