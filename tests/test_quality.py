"""Whether an app's answers are what they were: changes are noticed, peace is kept, and nothing is counted twice."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from penstock.observe.journal import Journal, Row
from penstock.observe.quality import STREAMS, Looking, Quality, measured
from penstock.storage.database import Database
from penstock.types import new_id

BEGAN = 1_795_000_000.0


def row(n: int, draw: random.Random, *, bad: float = 0.03, slower: float = 1.0, app: str = "help") -> Row:
    wrong = draw.random() < bad
    told = {
        "status": "answer", "confidence": round(draw.betavariate(6, 2), 4), "characters": int(draw.lognormvariate(5.5, 0.6)),
        "faults": ["ungrounded"] if wrong else [], "support": draw.betavariate(1.2, 4) if wrong else draw.betavariate(9, 1.5),
        "doubtful": int(wrong), "claims": {"supported": 3 - wrong, "not_found": int(wrong)},
    }  # fmt: skip
    return Row(new_id(), "t", BEGAN + n * 60, "k", "p", "", app, app, "chat", True, 200, "ok", "", False, 5.0,
               draw.lognormvariate(6, 0.5) * slower, 100, 10, 0, 0, 10**9, "", "", json.dumps(told))  # fmt: skip


def test_what_is_known_of_an_answer_is_watched_and_nothing_else():
    draw = random.Random(0)
    one = row(0, draw)
    assert set(measured(one, json.loads(one.answer))) <= set(STREAMS)
    assert measured(one._replace(outcome="failed"), {}) == {}
    assert "unsupported" not in measured(one, {"status": "answer"})


@pytest.mark.parametrize(
    ("change", "streams"), [({"bad": 0.2}, {"unsupported", "doubtful", "support"}), ({"slower": 1.6}, {"latency"})]
)
def test_a_change_is_noticed_and_named(change: dict[str, float], streams: set[str]):
    draw, quality, found = random.Random(1), Quality(), []
    for n in range(2600):
        found += [(n, one) for one in quality.take(row(n, draw, **(change if n >= 2000 else {})))]

    assert found
    first, one = found[0]
    assert 2000 <= first < 2250
    assert one.stream in streams
    assert one.subject == "help"
    assert one.direction in one.words
    assert 1 <= len(one.requests) <= 5


def test_where_nothing_changes_peace_is_kept():
    draw, quality = random.Random(2), Quality()
    assert sum(len(quality.take(row(n, draw))) for n in range(6000)) <= 1


def test_apps_are_learnt_by_themselves_and_there_is_a_limit_to_how_many():
    draw, quality = random.Random(3), Quality()
    for n in range(200):
        quality.take(row(n, draw, app=f"app{n}"))
    assert len(quality.learning()) == 50


def write(database: Database, folder: Path, rows: list[Row]) -> None:
    journal = Journal(database, folder / "journal")
    for one in rows:
        journal.write(one, [])
    journal.close()


def test_it_goes_on_where_it_stopped_and_counts_nothing_twice(tmp_path: Path):
    database = Database(tmp_path / "p.db")
    draw = random.Random(4)
    rows = [row(n, draw, bad=0.03 if n < 1500 else 0.3) for n in range(2000)]
    clock: list[float] = [BEGAN]

    def look(upto: int, watch: Looking | None = None) -> tuple[Looking, list[Any]]:
        watch = watch or Looking(database, Quality(), clock=lambda: clock[0])
        clock[0] = BEGAN + upto * 60
        return watch, watch.look()

    write(database, tmp_path, rows[:1000])
    _, said = look(1000)
    assert said == []
    write(database, tmp_path, rows[1000:1700])
    _, said = look(1700)  # another process takes over
    whole = Quality()
    wanted = [change for one in rows[:1700] for change in whole.take(one)]
    assert wanted
    assert {one.key for one in said} == {f"quality/help/{change.stream}" for change in wanted}
    assert sorted(one["words"] for one in Quality.changes(database)) == sorted(change.words for change in wanted)
    clock[0] += 7 * 3600
    again = Looking(database, Quality(), clock=lambda: clock[0])
    assert again.look() == []  # people were told long enough


def test_rows_that_have_left_the_database_begin_it_anew(tmp_path: Path):
    database = Database(tmp_path / "p.db")
    draw = random.Random(5)
    watch = Looking(database, Quality(), clock=lambda: BEGAN)
    assert watch.look() == []  # there is no journal yet
    write(database, tmp_path, [row(n, draw) for n in range(400)])
    watch.look()
    with database.write() as w:
        w.execute("delete from requests")
    write(database, tmp_path, [row(n, draw) for n in range(400, 500)])
    watch.look()

    assert watch.quality.learning().get("help", 0) <= 100
