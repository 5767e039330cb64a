"""The queue: nobody gets what another has, nobody judges twice, two judge blind, and a third decides where they differ."""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from penstock.errors import BadRequest, Conflict, NotFound, TooLarge
from penstock.review.agreement import by_pair, kappa, pi
from penstock.review.content import Content
from penstock.review.estimating import estimate
from penstock.review.queue import Entry, Given, Queue
from penstock.review.store import Store
from penstock.storage.audit import Audit
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption, Envelope, FileKeys

LABELS = ("correct", "wrong", "unclear")


def opened(home: Path, *, lease_s: float = 900.0, sealed: bool = False) -> Queue:
    database = Database(home / "penstock.db")
    encryption = Encryption(Envelope(database, FileKeys(home / "keys")), "review") if sealed else None
    store = Store(database, encryption)
    return Queue(store, Audit(database), labels=LABELS, failures=("wrong",), unscored=("unclear",), lease_s=lease_s)


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def queue(home: Path, request: pytest.FixtureRequest) -> Iterator[Queue]:
    queue = opened(home, sealed=request.param)
    yield queue
    queue._store.database.close()


def entry(n: int, **more: Any) -> Entry:
    return Entry(origin=f"o{n}", content=Content(f"question {n}", f"answer {n}"), **more)


def test_an_item_is_claimed_judged_and_done(queue: Queue):
    (number,) = queue.add([entry(1)])
    task = queue.claim("anna")

    assert task is not None
    assert (task.id, task.content.answer, task.verdicts) == (number, "answer 1", ())
    assert queue.judge(number, "anna", Given("wrong", "the date", "in May", ("dates",))) == "done"
    item = queue.item(number)
    assert (item.state, item.verdict, item.correction) == ("done", "wrong", "in May")
    assert item.judgements[0].tags == ("dates",)
    assert queue.claim("bo") is None
    record = next(queue._audit.records(kind="review.judged"))
    assert (record.actor, record.target, record.facts) == ("anna", number, {"verdict": "wrong"})


def test_what_one_has_another_does_not_get_until_the_lease_is_over(home: Path):
    queue = opened(home, lease_s=0.2)
    queue.add([entry(1)])
    first = queue.claim("anna")

    assert first is not None
    assert queue.claim("bo") is None
    again = queue.claim("anna")
    assert again is not None
    assert again.id == first.id, "who asks again holds the same"
    time.sleep(0.25)
    taken = queue.claim("bo")
    assert taken is not None
    with pytest.raises(Conflict, match="claim"):
        queue.judge(first.id, "anna", Given("correct"))
    assert queue.judge(first.id, "bo", Given("correct")) == "done"


def test_a_late_verdict_counts_where_nobody_has_come_since(home: Path):
    queue = opened(home, lease_s=0.05)
    queue.add([entry(1)])
    task = queue.claim("anna")
    time.sleep(0.1)

    assert task is not None
    assert queue.judge(task.id, "anna", Given("correct")) == "done"


def test_deadlines_come_first_then_priority_then_whoever_has_waited_longest(queue: Queue):
    queue.add([entry(1), entry(2, priority=0.9), entry(3, deadline=2e9), entry(4, deadline=1.9e9), entry(5)])

    order = []
    while task := queue.claim("anna"):
        order.append(task.content.question[-1])
        queue.judge(task.id, "anna", Given("correct"))

    assert order == ["4", "3", "2", "1", "5"]


def test_two_judge_blind_and_a_third_decides_where_they_differ(queue: Queue):
    (number,) = queue.add([entry(1, reviewers=2)])
    anna, bo = queue.claim("anna"), queue.claim("bo")
    assert anna is not None
    assert bo is not None
    assert anna.id == bo.id
    assert queue.claim("cy") is None, "two are enough for now"

    assert queue.judge(number, "anna", Given("correct", "fine")) == "open"
    again = queue.claim("bo")
    assert again is not None
    assert again.verdicts == (), "the second does not see what the first said"
    assert "fine" not in str(again.plain())
    assert queue.judge(number, "bo", Given("wrong", "no", "In May.")) == "disagreed"
    assert queue.claim("anna") is queue.claim("bo") is None
    cy = queue.claim("cy")
    assert cy is not None
    assert [one["verdict"] for one in cy.verdicts] == ["correct", "wrong"]
    assert "anna" not in str(cy.plain())
    assert queue.judge(number, "cy", Given("wrong")) == "done"

    item = queue.item(number)
    assert (item.verdict, item.correction, len(item.judgements)) == ("wrong", "In May.", 3)
    (pair,) = queue.pairs()
    assert (pair[0].verdict, pair[1].verdict) == ("correct", "wrong"), "the third takes no part in the agreement"


def test_nobody_judges_an_item_twice(queue: Queue):
    (number,) = queue.add([entry(1, reviewers=2)])
    queue.claim("anna")
    queue.judge(number, "anna", Given("correct"))

    assert queue.claim("anna") is None
    with pytest.raises(Conflict, match="judged this item already"):
        queue.judge(number, "anna", Given("wrong"))


def test_nothing_is_judged_that_is_not_held(queue: Queue):
    (number,) = queue.add([entry(1)])

    with pytest.raises(Conflict, match="not claimed"):
        queue.judge(number, "anna", Given("correct"))
    with pytest.raises(NotFound):
        queue.judge("nowhere", "anna", Given("correct"))
    assert queue.item(number).state == "open"
    assert list(queue._audit.records(kind="review.*")) == []


def test_whoever_skips_never_sees_it_again_and_others_do(queue: Queue):
    (number,) = queue.add([entry(1)])
    queue.claim("anna")
    queue.skip(number, "anna", "not_my_language")

    assert queue.claim("anna") is None
    task = queue.claim("bo")
    assert task is not None
    assert queue.status()[0]["skipped"] == 1
    with pytest.raises(BadRequest, match="no reason"):
        queue.skip(number, "bo", "bored")
    with pytest.raises(Conflict):
        queue.skip(number, "anna", "broken")


def test_what_is_released_comes_again(queue: Queue):
    (number,) = queue.add([entry(1)])
    queue.claim("anna")
    queue.release(number, "anna")

    task = queue.claim("anna")
    assert task is not None
    assert task.id == number


def test_the_last_verdict_can_be_taken_back(queue: Queue):
    queue.add([entry(1), entry(2)])
    for verdict in ("correct", "wrong"):
        task = queue.claim("anna")
        assert task is not None
        queue.judge(task.id, "anna", Given(verdict))

    undone = queue.undo("anna")

    assert undone.content.question == "question 2"
    assert queue.item(undone.id).state == "open"
    assert queue.claim("bo") is None, "who took it back holds it"
    assert queue.judge(undone.id, "anna", Given("correct")) == "done"
    assert [record.kind for record in queue._audit.records(kind="review.*")].count("review.undone") == 1
    with pytest.raises(NotFound):
        queue.undo("nobody")


def test_what_others_went_on_from_cannot_be_taken_back(queue: Queue):
    (number,) = queue.add([entry(1, reviewers=2)])
    for name, verdict in (("anna", "correct"), ("bo", "wrong")):
        queue.claim(name)
        queue.judge(number, name, Given(verdict))
    with pytest.raises(Conflict, match="somebody else has judged"):
        queue.undo("anna")
    queue.claim("cy")
    with pytest.raises(Conflict, match="just now"):
        queue.undo("bo")
    queue.release(number, "cy")
    queue.undo("bo")
    assert queue.judge(number, "bo", Given("correct")) == "done"
    assert queue.item(number).verdict == "correct"


def test_a_third_may_take_back_what_they_decided(queue: Queue):
    (number,) = queue.add([entry(1, reviewers=2)])
    for name, verdict in (("anna", "correct"), ("bo", "wrong"), ("cy", "wrong")):
        queue.claim(name)
        queue.judge(number, name, Given(verdict))

    task = queue.undo("cy")

    assert len(task.verdicts) == 2
    assert queue.item(number).state == "disagreed"
    assert queue.judge(number, "cy", Given("correct")) == "done"
    assert queue.item(number).verdict == "correct"


@pytest.mark.parametrize(
    ("given_", "error"),
    [
        (Given("fine"), BadRequest),
        (Given("wrong", "x" * 4_001), TooLarge),
        (Given("wrong", correction="x" * 20_001), TooLarge),
        (Given("wrong", tags=("a,b",)), BadRequest),
        (Given("wrong", tags=("",)), BadRequest),
    ],
)
def test_a_verdict_that_is_none_is_refused(queue: Queue, given_: Given, error: type[Exception]):
    (number,) = queue.add([entry(1)])
    queue.claim("anna")
    with pytest.raises(error):
        queue.judge(number, "anna", given_)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 300])
def test_a_reviewer_has_a_name(queue: Queue, name: str):
    with pytest.raises(BadRequest):
        queue.claim(name)


def test_the_same_origin_is_there_once_in_each_queue(queue: Queue):
    assert len(queue.add([entry(1), entry(1), entry(2)])) == 2
    assert queue.add([entry(1)]) == []
    assert len(queue.add([entry(1, queue="other"), entry(1, draw="d", probability=0.5)])) == 2


def test_a_share_is_judged_by_two(queue: Queue):
    queue.add([entry(n) for n in range(200)], double=0.25, seed=3)

    two = sum(item.entry.reviewers == 2 for item in queue.items())
    assert 30 <= two <= 70


def test_a_sample_is_estimated_from_what_was_judged_so_far(queue: Queue):
    queue.add([entry(n, draw="d", probability=0.1, cell="c", cell_size=40) for n in range(4)])
    for verdict in ("wrong", "correct", "unclear"):
        task = queue.claim("anna")
        assert task is not None
        queue.judge(task.id, "anna", Given(verdict))

    found = estimate(queue.judged("d"))

    assert (found.all.judged, found.all.wrong, found.all.unscored, found.all.pending) == (2, 1, 1, 1)
    assert found.all.items == 40
    with pytest.raises(NotFound):
        queue.judged("nowhere")


def test_words_are_sealed_where_the_home_is(home: Path):
    queue = opened(home, sealed=True)
    (number,) = queue.add([entry(1)])
    queue.claim("anna")
    queue.judge(number, "anna", Given("wrong", "a note of mine"))
    queue._store.database.close()

    data = b"".join(path.read_bytes() for path in home.glob("penstock.db*"))
    assert b"question 1" not in data
    assert b"a note of mine" not in data


# ---------------------------------------------------------------- with many at once


class Reviewing(RuleBasedStateMachine):
    """Whatever reviewers do in whatever order, an item never has more verdicts than it wants, nor two of one reviewer."""

    folder = Path()
    count = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).count += 1
        self.queue = opened(self.folder / str(type(self).count))
        self.queue.add([entry(n, reviewers=1 + n % 2) for n in range(4)])
        self.held: dict[str, str] = {}

    reviewers = st.sampled_from(["anna", "bo", "cy", "di"])

    @rule(who=reviewers)
    def claims(self, who: str) -> None:
        task = self.queue.claim(who)
        if task is not None:
            assert bool(task.verdicts) == (self.queue.item(task.id).state == "disagreed")
            self.held[who] = task.id

    @precondition(lambda self: self.held)
    @rule(who=reviewers, verdict=st.sampled_from(LABELS))
    def judges(self, who: str, verdict: str) -> None:
        if who in self.held:
            self.queue.judge(self.held.pop(who), who, Given(verdict))

    @rule(who=reviewers)
    def undoes(self, who: str) -> None:
        if who not in self.held:
            try:
                self.held[who] = self.queue.undo(who).id
            except (Conflict, NotFound):
                return

    @rule(who=reviewers)
    def skips(self, who: str) -> None:
        if who in self.held:
            self.queue.skip(self.held.pop(who), who, "broken")

    @invariant()
    def holds(self) -> None:
        for item in self.queue.items():
            names = [one.reviewer for one in item.judgements]
            assert len(names) == len(set(names))
            said = [one.verdict for one in item.judgements]
            assert len(said) <= item.entry.reviewers + 1
            if item.state == "done":
                assert item.verdict == said[-1]
                assert len(said) == 3 or len(set(said)) == 1
            if item.state == "disagreed":
                assert len(said) == 2
                assert len(set(said)) == 2

    def teardown(self) -> None:
        self.queue._store.database.close()


def test_no_order_of_steps_breaks_an_item(tmp_path: Path):
    import hypothesis

    Reviewing.folder = tmp_path
    settings = hypothesis.settings(max_examples=12, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(Reviewing, settings=settings)


def _work(home: str, name: str, seed: int) -> None:
    """A reviewer in a process of their own, who now and then leaves without a word."""
    queue, chance = opened(Path(home), lease_s=0.5), random.Random(seed)
    ends = time.monotonic() + 40
    while time.monotonic() < ends:
        task = queue.claim(name)
        if task is None:
            if all(item.state == "done" for item in queue.items()):
                return
            time.sleep(0.02)
            continue
        if chance.random() < 0.1:
            time.sleep(0.6)  # too late
        try:
            queue.judge(task.id, name, Given(chance.choice(["correct", "wrong"])))
        except Conflict:
            continue


def test_processes_that_are_killed_lose_nothing_and_nothing_is_judged_twice(home: Path):
    queue = opened(home)
    queue.add([entry(n, reviewers=1 + n % 2) for n in range(30)])
    queue._store.database.close()
    context = multiprocessing.get_context("spawn")
    people = [context.Process(target=_work, args=(str(home), f"r{n}", n)) for n in range(5)]
    for process in people:
        process.start()
    time.sleep(2.0)
    for process in people[:2]:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    for process in people:
        process.join(60)

    queue = opened(home)
    items = queue.items()
    assert all(item.state == "done" for item in items)
    for item in items:
        names = Counter(one.reviewer for one in item.judgements)
        assert max(names.values()) == 1
        assert len(item.judgements) in ((1,) if item.entry.reviewers == 1 else (2, 3))
    recorded = Counter(record.target for record in queue._audit.records(kind="review.judged"))
    assert recorded == {item.id: len(item.judgements) for item in items}
    assert queue._audit.verify().problems == ()
    queue._store.database.close()


# ---------------------------------------------------------------- how far people agree

VERDICTS = st.sampled_from(["a", "b", "c"])


def test_kappa_is_cohens():
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15

    found = kappa(pairs)

    assert found.coefficient == pytest.approx(0.4)  # the textbook's example
    assert found.agreed == pytest.approx(0.7)
    assert found.low < 0.4 < found.high
    assert found.confusions == (("no", "yes", 10), ("yes", "no", 5))


@given(st.lists(st.tuples(VERDICTS, VERDICTS), min_size=3, max_size=60))
def test_kappa_is_that_of_scikit_learn_and_its_interval_is_around_it(pairs: list[tuple[str, str]]):
    metrics = pytest.importorskip("sklearn.metrics")
    found = kappa(pairs)
    one, other = zip(*pairs, strict=True)
    if len({*one, *other}) == 1:
        assert np.isnan(found.coefficient)
        return
    assert found.coefficient == pytest.approx(metrics.cohen_kappa_score(one, other), abs=1e-9)
    if not np.isnan(found.low):
        assert -1 <= found.low <= found.coefficient + 1e-9
        assert found.coefficient <= found.high + 1e-6


@given(st.lists(st.tuples(VERDICTS, VERDICTS), min_size=1, max_size=40))
def test_pi_does_not_care_who_came_first(pairs: list[tuple[str, str]]):
    def number(value: float) -> float:
        return -9.0 if np.isnan(value) else value

    assert number(pi(pairs).coefficient) == pytest.approx(number(pi([(b, a) for a, b in pairs]).coefficient))


def test_full_agreement_on_few_items_is_no_certainty():
    few = kappa([("a", "a"), ("b", "b")] * 3)
    many = kappa([("a", "a"), ("b", "b")] * 100)

    assert few.coefficient == many.coefficient == 1
    assert few.low < many.low < 1
    assert many.low > 0.95
    assert kappa([("a", "a")] * 9).plain()["coefficient"] is None


def test_pairs_of_reviewers_are_told_apart():
    judged = [(("anna", "a"), ("bo", "a")), (("bo", "b"), ("anna", "b")), (("bo", "a"), ("cy", "b"))]

    assert [(one.name, one.items) for one in by_pair(judged)] == [("anna, bo", 2), ("bo, cy", 1)]
    with pytest.raises(BadRequest, match="no item was judged by two"):
        pi([])
