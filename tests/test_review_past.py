"""A sample of requests is of all of them, also of those that have left the database for files."""

import json
from pathlib import Path

import pytest
from test_sealed import NOW, opened, row, write

from penstock.observe.analytics import Analytics
from penstock.observe.sealed import DAY_S
from penstock.review.content import Content
from penstock.review.feedback import About, Feedback
from penstock.review.queue import Queue
from penstock.review.requests import Past, Requests
from penstock.review.store import Store
from penstock.storage.audit import Audit
from penstock.storage.database import Database


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def room(database: Database, past: Past) -> Requests:
    store = Store(database)
    queue = Queue(store, Audit(database), labels=("correct", "wrong"), failures=("wrong",), unscored=(), lease_s=900.0)
    feedback = Feedback(store, keeps=lambda app: True)
    return Requests(
        store,
        queue,
        feedback,
        past,
        read=lambda said: json.loads(said) if said else {},
        tenant_of={"key": "acme"}.__getitem__,
    )


def test_those_that_have_left_are_drawn_too_and_none_twice(home: Path):
    database, sealed = opened(home, hot_s=3 * DAY_S)
    words = json.dumps({"question": "How long?", "answer": "Thirty days."})
    rows = [row(NOW - n * 0.2 * DAY_S, n, said=words if n % 5 == 0 else "") for n in range(60)]
    write(database, home, rows)
    past = Past(database, lambda: sealed, lambda: Analytics(database, sealed))
    before = past.answered(since=NOW - 30 * DAY_S, until=NOW + 1)

    sealed.run(NOW)

    assert len(database.read("select 1 from requests where at < ?", (NOW - 3 * DAY_S,))) < 10, "most have left"
    after = past.answered(since=NOW - 30 * DAY_S, until=NOW + 1)
    assert [tuple(one) for one in after] == [tuple(one) for one in before]
    assert len(after) == sum(one.outcome == "ok" for one in rows)
    assert [one[0] for one in past.answered(since=NOW - 2 * DAY_S, until=NOW - DAY_S)] == [
        one.id for one in reversed(rows) if one.outcome == "ok" and NOW - 2 * DAY_S <= one.at < NOW - DAY_S
    ]
    requests = room(database, past)
    draw = requests.draw(20, since=NOW - 30 * DAY_S, until=NOW + 1, by="model", seed=4)
    assert (draw.items, draw.drawn) == (len(after), 20)
    items = requests._queue.items(draw=draw.id)
    assert {item.entry.tenant for item in items} == {"acme"}
    kept = {one.id for one in rows if one.said}
    for item in items:
        assert item.entry.content == (Content("How long?", "Thirty days.") if item.entry.request in kept else Content())
    (found,) = past.find(rows[-1].id)
    assert found.key == "key"
    database.close()


def test_strata_and_risks_are_those_of_the_requests(home: Path):
    database, sealed = opened(home)
    flagged = json.dumps({"status": "answer", "confidence": 0.2, "faults": ["conflict"]})
    rows = [row(NOW - n, n, outcome="ok", answer=flagged if n == 3 else "") for n in range(8)]
    write(database, home, rows)
    requests = room(database, Past(database, lambda: sealed, lambda: Analytics(database, sealed)))
    requests._feedback.give(About(rows[5].id, "key"), "p", {"thumb": "down"})

    seen = {one.id: one for one in requests.seen(since=NOW - 60, until=NOW + 1)}

    assert {one.stratum for one in seen.values()} == {"help", "shop"}
    usual = seen[rows[0].id].risk
    assert seen[rows[3].id].risk > usual
    assert seen[rows[5].id].risk > seen[rows[3].id].risk
    assert {one.app for one in requests.seen(since=NOW - 60, until=NOW + 1, app="help")} == {"help"}
    assert {one.stratum for one in requests.seen(since=NOW - 60, until=NOW + 1, by="")} == {""}
    database.close()


def test_an_empty_home_has_nothing_to_draw(home: Path):
    from penstock.errors import BadRequest, NotFound

    database, sealed = opened(home)
    requests = room(database, Past(database, lambda: sealed, lambda: Analytics(database, sealed)))

    assert requests.seen(since=0.0) == []
    assert requests.words("x") == Content()
    with pytest.raises(NotFound, match="no request was answered"):
        requests.draw(5, since=0.0)
    with pytest.raises(BadRequest, match="no 'colour'"):
        requests.seen(since=0.0, by="colour")  # type: ignore[arg-type]
    database.close()
