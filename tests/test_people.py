"""Answers that wait for a person: none of their words leaves before somebody agreed, and whoever asked gets the reply."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.assemble import House, assemble
from penstock.config import load
from penstock.errors import Limited
from penstock.language.voice import HANDED_OVER, Voice
from penstock.people import Looked
from penstock.server.openai import answering
from penstock.types import (
    Answer,
    Claim,
    Event,
    Finished,
    ModelRequest,
    Record,
    Status,
    TextDelta,
    Turn,
    Verdict,
)

SAID = "Books can be returned within thirty days of delivery."


class Saying:
    def __init__(self, answer: Answer, *pieces: str) -> None:
        self.answer, self.pieces = answer, pieces or (answer.text,)

    async def stream(self, turn: Turn) -> AsyncIterator[Event]:
        for piece in self.pieces:
            yield TextDelta(piece)
        yield Finished(self.answer)


def told(
    answer: Answer, approve: Any = "always", *, record: Record | None = None, full: bool = False
) -> tuple[str, Answer, list[str]]:
    asked: list[str] = []

    def put(what: str) -> Any:
        def propose(turn: Turn, answer: Answer) -> str:
            if full:
                raise Limited("too many wait")
            asked.append(f"{what}: {answer.text}")
            return "id-1"

        return propose

    looked = Looked(Saying(answer, *answer.text.split(" ")), Voice(), put("over"), put("agree"), approve)

    async def run() -> tuple[str, Answer]:
        text = ""
        async for event in looked.stream(Turn("How long?", record=record, language="en")):
            match event:
                case TextDelta(piece):
                    text += piece
                case Finished(found):
                    return text, found
        raise AssertionError("a stream ends with Finished")

    return (*asyncio.run(run()), asked)


def answer(status: Status = Status.ANSWER, label: str = "supported") -> Answer:
    verdict = Verdict("supported", 0.9, (Claim(0, 9, label, 0.9),))  # type: ignore[arg-type]
    return Answer(SAID, status, 0.9, written_by="m", verdict=verdict, language="en")


def test_an_answer_that_waits_is_not_said_and_can_be_asked_for():
    text, found, asked = told(answer())

    assert text == found.text == HANDED_OVER
    assert (found.status, found.waiting, asked) == (Status.HANDED_OVER, "id-1", [f"agree: {SAID}"])
    assert (found.citations, found.verdict) == ((), None)


def test_what_a_policy_lets_pass_streams_as_ever():
    text, found, asked = told(answer(), "faulty")
    assert (text.replace(" ", ""), found.status, asked) == (SAID.replace(" ", ""), Status.ANSWER, [])
    assert told(answer(label="contradicted"), "faulty")[2] == [f"agree: {SAID}"]
    flagged = Record("t", guarded=[{"decision": "review"}])
    assert told(answer(), "faulty", record=flagged)[2] == [f"agree: {SAID}"]


@pytest.mark.parametrize("status", [Status.NOT_FOUND, Status.REFUSED])
def test_where_nothing_was_answered_nobody_has_to_agree(status: Status):
    assert told(answer(status))[2] == []


def test_a_question_that_is_handed_over_is_put_before_people():
    _, found, asked = told(answer(Status.HANDED_OVER), "never")
    assert (found.status, found.waiting, asked) == (Status.HANDED_OVER, "id-1", [f"over: {SAID}"])


def test_where_nobody_can_look_it_does_not_leave_either():
    text, found, _ = told(answer(), full=True)
    assert (text, found.waiting, found.status) == (HANDED_OVER, "", Status.HANDED_OVER)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "returns.md").write_text(f"# Returns\n\n{SAID}\n")
    (tmp_path / "penstock.toml").write_text(
        'home = "home"\n[documents.shop]\npaths = ["docs"]\n'
        '[apps.careful]\ndocuments = "shop"\napprove = "always"\n'
        '[apps.unsure]\ndocuments = "shop"\nhand_over_below = 1.0\n'
    )
    monkeypatch.chdir(tmp_path)
    found = assemble(load(None, keys=False))
    found.library.create("shop", shared=True).add([str(tmp_path / "docs")])
    yield found
    found.close()


def ask(house: House, app: str) -> Answer:
    record = Record("a" * 32)
    asked = ModelRequest(dialect="chat", model=app, body={}, record=record)
    events = answering(
        house, asked, {"messages": [{"role": "user", "content": "How long can books be returned?"}]}
    ).events

    async def run() -> Answer:
        found = None
        async for event in events:
            if isinstance(event, Finished):
                found = event.answer
        assert found is not None
        return found

    return asyncio.run(run())


def test_a_person_agrees_and_the_reply_is_there(house: House):
    found = ask(house, "careful")
    approvals = house.review.approvals

    assert SAID not in found.text
    (waiting,) = approvals.pending()
    assert waiting.content.answer == SAID
    assert waiting.content.citations[0]["quote"] == SAID
    assert approvals.outcome(found.waiting).state == "pending"
    claimed = approvals.claim("anna")
    assert claimed is not None
    approvals.approve(claimed.id, "anna")
    assert approvals.outcome(found.waiting).text == SAID


def test_a_person_takes_over_and_replies(house: House):
    found = ask(house, "unsure")
    over = house.review.hand_overs

    assert found.status is Status.HANDED_OVER
    claimed = over.claim("anna")
    assert claimed is not None
    assert claimed.content.question == "How long can books be returned?"
    assert any(SAID in cited["quote"] for cited in claimed.content.citations)
    over.reply(claimed.id, "anna", "Thirty days, with the receipt.")
    assert over.outcome(found.waiting).text == "Thirty days, with the receipt."


def test_evaluations_and_drills_put_nothing_before_people(house: House):
    async def run() -> None:
        async for _ in house.alone("careful").stream(Turn("How long can books be returned?")):
            pass

    asyncio.run(run())
    assert house.review.approvals.pending() == []
