"""What waits for a person: nothing leaves before somebody agrees, it ends once, and what nobody decides expires."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import BadRequest, Conflict, Limited, NotFound, TooLarge
from penstock.review import replies
from penstock.review.content import Content
from penstock.review.replies import Approvals, HandOvers
from penstock.review.store import Store
from penstock.storage.audit import Audit
from penstock.storage.database import Database
from penstock.types import Answer, Caller, Citation, Message, Status

PROPOSED = Content(
    "How long may I return books?", "Within thirty days.", ("Books can be returned within thirty days.",)
)


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    database = Database(home / "penstock.db")
    yield database
    database.close()


@pytest.fixture
def approvals(database: Database) -> Approvals:
    return made(database, Approvals)


@pytest.fixture
def hand_overs(database: Database) -> HandOvers:
    return made(database, HandOvers)


def made(
    database: Database, kind: type, *, keeps: bool = True, lease_s: float = 900.0, expires_s: float = 900.0
) -> Any:
    return kind(Store(database), Audit(database), keeps=lambda app: keeps, lease_s=lease_s, expires_s=expires_s)


def test_nothing_of_a_proposed_reply_is_told_before_somebody_agrees(approvals: Approvals):
    number = approvals.propose(PROPOSED, caller=Caller("shop"), app="support", request="r1")

    before = approvals.outcome(number)
    assert (before.state, before.text, before.by, before.is_over) == ("pending", "", "", False)
    assert "thirty" not in str(before.plain(named=True))
    (waiting,) = approvals.pending()
    assert (waiting.content, waiting.app, waiting.request) == (PROPOSED, "support", "r1")

    after = approvals.approve(number, "anna")

    assert (after.state, after.text, after.by, after.is_over) == ("approved", "Within thirty days.", "anna", True)
    assert approvals.pending() == []
    record = next(approvals._audit.records(kind="reply.decided"))
    assert (record.actor, record.target, record.facts) == ("anna", number, {"decision": "approved"})


def test_another_text_may_leave_instead(approvals: Approvals):
    number = approvals.propose(PROPOSED)

    outcome = approvals.approve(number, "anna", text="Within 30 days, with the receipt.")

    assert (outcome.state, outcome.text) == ("edited", "Within 30 days, with the receipt.")
    assert approvals.approve(approvals.propose(PROPOSED), "anna", text=PROPOSED.answer).state == "approved"


def test_what_is_rejected_never_leaves(approvals: Approvals):
    number = approvals.propose(PROPOSED)

    outcome = approvals.reject(number, "anna", reason="sale items are final")

    assert (outcome.state, outcome.text, outcome.reason) == ("rejected", "", "sale items are final")
    with pytest.raises(Conflict, match="rejected already"):
        approvals.approve(number, "bo")
    assert approvals.outcome(number).text == ""


def test_what_nobody_decides_expires_and_cannot_be_approved_then(database: Database):
    approvals = made(database, Approvals, expires_s=0.05)
    number = approvals.propose(PROPOSED)
    time.sleep(0.1)

    assert approvals.outcome(number).state == "expired"
    assert approvals.pending() == []
    with pytest.raises(Conflict, match="expired already"):
        approvals.approve(number, "anna")
    assert approvals.outcome(number).text == ""
    later = made(database, Approvals)
    later.propose(PROPOSED)  # which tidies up
    assert database.read("select state from review_replies where id = ?", (number,)) == [("expired",)]


def test_of_many_who_decide_at_once_one_does(approvals: Approvals):
    number, done, late = approvals.propose(PROPOSED), [], []

    def decide(name: str) -> None:
        try:
            done.append(approvals.approve(number, name, text=f"as {name} says"))
        except Conflict as error:
            late.append(error)

    threads = [threading.Thread(target=decide, args=(f"r{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(done), len(late)) == (1, 7)
    assert approvals.outcome(number).text == f"as {approvals.outcome(number).by} says"


def test_what_one_has_claimed_another_cannot_decide(database: Database):
    approvals = made(database, Approvals, lease_s=0.2)
    number = approvals.propose(PROPOSED)
    claimed = approvals.claim("anna", number)

    assert claimed is not None
    assert (claimed.claimed_by, approvals.pending()[0].claimed_by) == ("anna", "anna")
    for refused in (lambda: approvals.approve(number, "bo"), lambda: approvals.claim("bo", number)):
        with pytest.raises(Conflict, match="somebody else has it"):
            refused()
    assert approvals.claim("bo") is None
    time.sleep(0.25)
    assert approvals.pending()[0].claimed_by == ""
    assert approvals.approve(number, "bo").by == "bo"


def test_whoever_waits_is_told_as_soon_as_it_is_over(approvals: Approvals):
    async def both() -> tuple[str, float]:
        number = approvals.propose(PROPOSED)
        began = time.monotonic()
        waiting = asyncio.create_task(approvals.wait(number, timeout_s=20))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(approvals.approve, number, "anna")
        return (await waiting).state, time.monotonic() - began

    state, took = asyncio.run(both())

    assert state == "approved"
    assert took < 10
    assert asyncio.run(approvals.wait(approvals.propose(PROPOSED), timeout_s=0)).state == "pending"


def test_words_that_may_not_be_kept_go_when_it_is_decided(database: Database, monkeypatch: pytest.MonkeyPatch):
    approvals = made(database, Approvals, keeps=False)
    number = approvals.propose(PROPOSED)
    assert approvals.pending()[0].content == PROPOSED, "whoever is to agree reads it"

    approvals.approve(number, "anna")

    assert database.read("select words from review_replies") == [("",)]
    assert approvals.outcome(number).text == "Within thirty days.", "whoever asked can fetch it"
    monkeypatch.setattr(replies, "DELIVERED_S", -1.0)
    monkeypatch.setattr(approvals, "_swept", -1e9)
    approvals.propose(PROPOSED)
    assert approvals.outcome(number).text == ""
    assert approvals.outcome(number).state == "approved"


def test_a_question_is_handed_over_claimed_and_answered(hand_overs: HandOvers):
    citation = Citation("returns.md", "Sale items are final.", 0, 21, "d1", "p1")
    said = Answer("A person will look at it.", Status.HANDED_OVER, 0.3, nearest=(citation,), language="en")
    content = Content.of(
        said, "May I return a map?", history=[Message("user", "Hi")], why="confidence .3", summary="a map"
    )
    number = hand_overs.propose(content, caller=Caller("shop", tenant="acme"), person="p-1", priority=1)
    hand_overs.propose(Content("another"), priority=0)

    taken = hand_overs.claim("anna")

    assert taken is not None
    assert taken.id == number, "the more urgent one"
    assert (taken.content.summary, taken.content.why) == ("a map", "confidence .3")
    assert taken.content.citations[0] == {
        "source": "returns.md", "document": "d1", "passage": "p1", "quote": "Sale items are final."
    }  # fmt: skip
    assert hand_overs.belongs_to(number) == ("shop", "acme", "")
    other = hand_overs.claim("bo")
    assert other is not None
    assert other.id != number
    assert hand_overs.reply(number, "anna", "Yes, within thirty days.").state == "replied"
    assert hand_overs.close(other.id, "bo", reason="answered by telephone").state == "closed"
    assert [record.facts["decision"] for record in hand_overs._audit.records(kind="reply.given")] == [
        "replied",
        "closed",
    ]


def test_what_is_released_is_free_again(hand_overs: HandOvers):
    number = hand_overs.propose(Content("q"))
    hand_overs.claim("anna", number)
    hand_overs.release(number, "anna")

    taken = hand_overs.claim("bo", number)
    assert taken is not None


def test_the_two_kinds_do_not_see_each_other(approvals: Approvals, hand_overs: HandOvers):
    number = approvals.propose(PROPOSED)

    for wrong in (lambda: hand_overs.outcome(number), lambda: hand_overs.reply(number, "anna", "x")):
        with pytest.raises(NotFound):
            wrong()
    assert hand_overs.pending() == []


def test_bad_calls_are_refused(approvals: Approvals, hand_overs: HandOvers, monkeypatch: pytest.MonkeyPatch):
    number, other = approvals.propose(PROPOSED), hand_overs.propose(Content("q"))
    for call, error in (
        (lambda: approvals.approve(number, "anna", text="x" * 50_001), TooLarge),
        (lambda: approvals.reject(number, "anna", reason="x" * 4_001), TooLarge),
        (lambda: approvals.approve(number, ""), BadRequest),
        (lambda: approvals.approve("nowhere", "anna"), NotFound),
        (lambda: approvals.outcome("nowhere"), NotFound),
        (lambda: hand_overs.reply(other, "anna", "  "), BadRequest),
        (lambda: hand_overs.claim("anna", "nowhere"), NotFound),
    ):
        with pytest.raises(error):
            call()
    assert approvals.outcome(number).state == hand_overs.outcome(other).state == "pending"
    monkeypatch.setattr(replies, "MOST_WAITING", 1)
    with pytest.raises(Limited):
        approvals.propose(PROPOSED)
