"""What is written down of a request: the rooms it passed through, what is known of its answer, and words where they are kept."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock import Penstock
from penstock.assemble import House, assemble
from penstock.cli.main import cli
from penstock.config import load
from penstock.erase import Subject, carry_out, plan
from penstock.observe.journal import Journal, Row
from penstock.observe.ledger import Ledger, plain_request
from penstock.observe.texts import Keeping, Texts
from penstock.server.openai import answering
from penstock.types import Answer, Caller, Finished, ModelRequest, Record, Status

QUESTION = "My name is Zoe Quillfeather. How long can books be returned?"
APPS = """
[documents.handbook]
paths = ["docs"]

[apps.never]
documents = "handbook"

[apps.always]
documents = "handbook"
keep_text = "always"

[apps.faulty]
documents = "handbook"
keep_text = "faulty"
"""


@pytest.fixture(params=["", "[encryption]\ncontent = true\n"], ids=["plain", "sealed"])
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[House]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "returns.md").write_text(
        "# Returns\n\nBooks can be returned within thirty days of delivery.\n"
    )
    (tmp_path / "penstock.toml").write_text(f'home = "home"\n{request.param}{APPS}')
    monkeypatch.chdir(tmp_path)
    house = assemble(load(None, keys=False))
    house.library.create("handbook", shared=True).add([str(tmp_path / "docs")])
    yield house
    house.close()


def ask(house: House, app: str, *, person: str = "") -> Row:
    record = Record("a" * 32, person)
    asked = ModelRequest(dialect="chat", model=app, body={}, caller=Caller(), record=record)
    events = answering(house, asked, {"messages": [{"role": "user", "content": QUESTION}]}).events

    async def told() -> Answer:
        async for event in events:
            if isinstance(event, Finished):
                return event.answer
        raise AssertionError("a stream ends with Finished")

    async def whole() -> None:
        answer = await told()
        assert answer.status is Status.ANSWER
        await events.aclose()

    asyncio.run(whole())
    house.gateway.journal.drain()
    rows = Ledger(house.database).request(record.id)
    return rows[0]


def test_the_rooms_of_an_answer_are_written_down_without_its_words(house: House):
    row = ask(house, "never")
    told = plain_request(row)

    assert [span["name"] for span in told["spans"]] == ["understand", "guard", "search", "screen", "quote", "faults"]
    starts = [span["at_ms"] for span in told["spans"]]
    assert starts == sorted(starts)
    assert all(0 <= span["at_ms"] + span["duration_ms"] <= row.duration_ms + 1 for span in told["spans"])
    assert told["answer"]["status"] == "answer"
    assert told["answer"]["versions"]["index"] == "v1"
    assert told["answer"]["versions"]["policy"].startswith("default@")
    assert "returned" not in row.spans + row.answer + row.guarded
    assert row.said == ""


def test_words_are_kept_where_an_app_says_so(house: House):
    assert house.texts.read(ask(house, "faulty").said) == {}
    row = ask(house, "always")

    words = house.texts.read(row.said)
    assert words["question"] == QUESTION
    assert "thirty days" in words["answer"]
    sealed = house.settings.encryption.content
    assert ("Quillfeather" in row.said) is not sealed


def test_reading_words_is_written_down(house: House):
    row = ask(house, "always")

    def run(*more: str) -> str:
        return CliRunner().invoke(cli, ["requests", row.trace_id, *more], catch_exceptions=False).output

    assert "Quillfeather" not in run()
    assert "understand" in run()
    assert QUESTION in run("--words")
    assert json.loads(run("--json"))[0]["said"] is True
    assert [record.target for record in house.audit.records(kind="journal.read")] == [row.trace_id]


def test_words_are_erased_with_whom_they_are_about(house: House):
    row = ask(house, "always")
    house.gateway.journal.close()

    found = plan(house, Subject.of("Zoe Quillfeather"))
    assert found.requests == 1
    carry_out(house, found)

    (left,) = Ledger(house.database).request(row.id)
    assert left.said == ""
    assert left.spans


def test_words_go_before_their_rows_do(tmp_path: Path):
    from penstock.storage.database import Database

    database = Database(tmp_path / "p.db")
    journal = Journal(database, tmp_path / "journal", keep_s=3600, keep_text_s=60)
    now = time.time()
    for n, age in enumerate((0, 600, 7200)):
        texts = ("", "", "", "m", "chat")
        row = Row(
            f"r{n}", f"t{n}", now - age, "", *texts, False, 200, "ok", "", False, 1.0, 2.0, 3, 4, 0, 0, 5, "", said="{}"
        )
        journal.write(row, [])
    journal.drain()
    journal._swept = float("-inf")
    journal._sweep()
    journal.close()

    assert [(row.id, row.said) for row in Ledger(database).requests()] == [("r0", "{}"), ("r1", "")]


def test_a_share_is_chosen_by_the_request_alone():
    texts = Texts({"a": Keeping("always", 0.25)})
    kept = 0
    for n in range(2000):
        record = Record("t", app="a", id=f"{n:032x}", question="q", answer=Answer("x", Status.ANSWER, 1.0))
        assert texts.kept(record, []) == texts.kept(record, [])
        kept += bool(texts.kept(record, []))

    assert 420 < kept < 580


def test_half_a_character_does_not_keep_a_row_from_being_written():
    record = Record("t", app="a", question="\ud800?", answer=Answer("\udfff", Status.ANSWER, 1.0))

    assert json.loads(Texts({"a": Keeping("always")}).kept(record, [])) == {"question": "??", "answer": "?"}


def test_a_home_without_apps_asks_as_before(tmp_path: Path):
    (tmp_path / "a.md").write_text("# Hours\n\nThe shop opens at nine.\n")
    with Penstock.open(tmp_path / "a.md") as shop:
        assert "nine" in shop.ask("When does the shop open?").text
