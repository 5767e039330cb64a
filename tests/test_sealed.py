"""The journal's past in files: nothing lost, nothing twice, whatever stops it; and questions about all of it."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from penstock.cli.main import cli
from penstock.errors import BadRequest, Conflict, MissingExtra
from penstock.observe.analytics import Analytics
from penstock.observe.journal import Journal, Row
from penstock.observe.ledger import Ledger
from penstock.observe.sealed import DAY_S, HOUR_S, Sealed
from penstock.review.requests import Past
from penstock.storage.database import Database
from penstock.types import new_id

pytest.importorskip("duckdb")

NOW = 1_795_000_000.0 // DAY_S * DAY_S + 10 * HOUR_S  # ten in the morning
ROOMS = [["understand", 100, 1500, {}], ["search", 2000, 30250, {"hits": 8}], ["model", 33000, 400000, {"model": "m"}]]


def row(at: float, n: int = 0, **more: Any) -> Row:
    told = {
        "answer": json.dumps({"status": "answer", "claims": {"supported": 2, "not_found": n % 2}}),
        "spans": json.dumps(ROOMS, separators=(",", ":")),
        "app": ("help", "shop")[n % 2],
        "person": f"person-{n % 3}",
        "outcome": ("ok", "ok", "ok", "failed")[n % 4],
        "cost": 1_000_000 * n,
    } | more
    return Row(new_id(), f"{n:032x}", at, "key", told["person"], "team", told["app"], "m", "chat", bool(n % 2), 200,
               told["outcome"], "", False, 5.0, float(10 + n), 100, 20, 0, 0, told["cost"], "", "", told["answer"],
               told["spans"], told.get("said", ""))  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def opened(home: Path, **keep: float) -> tuple[Database, Sealed]:
    database = Database(home / "penstock.db")
    return database, Sealed(database, home / "journal" / "sealed", **keep)


def write(database: Database, home: Path, rows: list[Row]) -> None:
    journal = Journal(database, home / "journal")
    for one in rows:
        journal.write(one, [])
    journal.close()


def told(analytics: Analytics) -> Counter[str]:
    return Counter(name for (name,) in analytics.sql("select id from requests")[1])


def test_hours_that_are_over_are_sealed_and_nothing_is_lost_or_twice(home: Path):
    database, sealed = opened(home)
    rows = [row(NOW - age * 600, n) for n, age in enumerate(range(40))]
    write(database, home, rows)
    analytics = Analytics(database, sealed)
    wanted = Counter(one.id for one in rows)
    assert told(analytics) == wanted  # before anything is sealed

    over = sum(one.at < NOW for one in rows)
    assert sealed.run(NOW) == over == 39
    assert told(analytics) == wanted
    write(database, home, late := [row(NOW - 5 * HOUR_S, 99)])  # one that took long
    assert (sealed.run(NOW), sealed.run(NOW)) == (1, 0)
    assert told(analytics) == wanted + Counter(one.id for one in late)
    assert analytics.sql("select count(*) from spans")[1] == [((len(rows) + 1) * (len(ROOMS) + 1),)]


def test_days_that_are_over_become_one_file_each(home: Path):
    database, sealed = opened(home)
    for hour in range(-40, 0, 5):
        write(database, home, [row(NOW + hour * HOUR_S + n, n) for n in range(3)])
        sealed.run(NOW + (hour + 1) * HOUR_S)
    before = told(Analytics(database, sealed))
    sealed.run(NOW)

    by_day = Counter(
        int(part.first // DAY_S) for part in sealed.segments("requests") if part.last < NOW // DAY_S * DAY_S
    )
    assert set(by_day.values()) == {1}
    assert told(Analytics(database, sealed)) == before
    sealed.run(NOW)
    files = {path.name for path in sealed.folder.iterdir() if path.name != "lock"}
    assert files == {part.file for part in sealed.segments()}


def test_what_has_left_the_database_is_still_known(home: Path):
    database, sealed = opened(home, hot_s=DAY_S)
    rows = [row(NOW - n * HOUR_S, n, said="{}" if n == 70 else "") for n in range(72)]
    write(database, home, rows)
    ledger = Ledger(database)
    before = {by: ledger.spent(by, since=0.0) for by in ("key", "person", "app", "model", "day")}

    sealed.run(NOW)

    left = database.read("select count(*) from requests")[0][0]
    assert left == 25 + 1  # one day, and the row with words
    assert {by: ledger.spent(by, since=0.0) for by in before} == before
    assert ledger.request(rows[50].id) == []
    for one in (rows[26], rows[50], rows[71]):
        assert sealed.find(one.id) == sealed.find(one.trace_id) == [one]
    assert sealed.find(rows[70].id) == [rows[70]._replace(said="")]
    assert sealed.find("nobody") == []


def test_what_is_past_its_time_is_gone(home: Path):
    database, sealed = opened(home, keep_s=2 * DAY_S, hot_s=HOUR_S)
    write(database, home, [row(NOW - n * DAY_S, n) for n in range(6)])
    for age in range(6, -1, -1):
        sealed.run(NOW - age * DAY_S + 1)
    sealed.run(NOW)

    ages = {round((NOW - part.first) / DAY_S) for part in sealed.segments()}
    assert max(ages) <= 2
    assert database.read("select count(*) from hours where hour < ?", (int((NOW - 2 * DAY_S) // HOUR_S),)) == [(0,)]


def test_a_series_says_what_happened(home: Path):
    database, sealed = opened(home)
    draw = random.Random(7)
    rows = [row(NOW - draw.random() * 4 * HOUR_S, n) for n in range(300)]
    write(database, home, rows)
    sealed.run(NOW - HOUR_S)

    series = Analytics(database, sealed).series(since=NOW - 4 * HOUR_S, until=NOW, step_s=HOUR_S, app="shop")

    own = [one for one in rows if one.app == "shop"]
    assert sum(moment.requests for moment in series) == len(own)
    assert sum(moment.failed for moment in series) == sum(one.outcome == "failed" for one in own)
    assert sum(moment.supported for moment in series) == 2 * len(own)
    assert sum(moment.unsupported for moment in series) == len(own)
    assert sum(moment.cost_usd for moment in series) == pytest.approx(sum(one.cost_pico_usd for one in own) / 1e12)
    assert [moment.at for moment in series] == [NOW - hour * HOUR_S for hour in (4, 3, 2, 1)]
    rooms = Analytics(database, sealed).rooms(since=NOW - 4 * HOUR_S, until=NOW + 60, step_s=DAY_S)
    assert {room.name: room.p50_ms for room in rooms}["search"] == 30.25


def test_an_empty_journal_answers_too(home: Path):
    database, sealed = opened(home)
    write(database, home, [])
    Journal(database, home / "journal").drain()
    database.read("select 1")
    analytics = Analytics(database, sealed)
    journal = Journal(database, home / "journal")
    journal.recover()
    journal.close()

    assert analytics.series(since=0, until=60) == []
    assert analytics.sql("select count(*) from requests")[1] == [(0,)]
    assert sealed.run(NOW) == 0
    with pytest.raises(BadRequest):
        analytics.sql("select nothing")
    with pytest.raises(BadRequest):
        analytics.series(since=0, until=1e9, step_s=1)


def test_two_do_not_seal_at_the_same_time(home: Path):
    database, sealed = opened(home)
    with sealed._alone(), pytest.raises(Conflict):
        Sealed(database, sealed.folder).run(NOW)


def test_whoever_is_erased_is_in_no_file_any_more(home: Path):
    database, sealed = opened(home, hot_s=HOUR_S)
    rows = [row(NOW - 5 * HOUR_S - n, n) for n in range(30)]
    write(database, home, rows)
    sealed.run(NOW)
    spent = Ledger(database).spent("model", since=0.0)

    assert sealed.erase(lambda text: text == "person-1") >= 10

    persons = Analytics(database, sealed).sql("select person, count(*) from requests group by 1")[1]
    assert dict(persons) == {"person-0": 10, "person-2": 10, "": 10}
    assert Ledger(database).spent("model", since=0.0) == spent
    assert {one.name for one in Ledger(database).spent("person", since=0.0)} == {"person-0", "person-2", ""}
    assert all(b"person-1" not in path.read_bytes() for path in sealed.folder.glob("*.parquet"))
    assert Counter(sealed.find(one.id)[0].person for one in rows) == Counter(dict(persons))
    assert {sealed.find(one.id)[0].answer for one in rows if one.person == "person-1"} == {""}


def test_of_a_trace_that_is_half_sealed_all_is_found(home: Path):
    database, sealed = opened(home, hot_s=HOUR_S)
    trace = [row(NOW - n * HOUR_S, 7) for n in range(4)]
    write(database, home, trace)
    sealed.run(NOW)
    past = Past(database, lambda: sealed, lambda: Analytics(database, sealed))
    assert len(Ledger(database).request(trace[0].trace_id)) < 4
    assert past.find(trace[0].trace_id) == sorted(trace, key=lambda one: one.at)


def test_whoever_reads_while_somebody_is_erased_is_told_no_nonsense(home: Path):
    database, sealed = opened(home, hot_s=HOUR_S)
    rows = [row(NOW - 5 * HOUR_S - n, n) for n in range(30)]
    write(database, home, rows)
    sealed.run(NOW)
    wrong: list[Exception] = []
    stop = threading.Event()

    def read() -> None:
        reader = Sealed(Database(home / "penstock.db"), sealed.folder)
        while not stop.is_set():
            try:
                assert [one.id for one in reader.find(rows[4].id)] == [rows[4].id]
            except Conflict:
                continue
            except Exception as error:
                wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for one in readers:
        one.start()
    for name in ("person-0", "person-1", "person-2", "nobody") * 3:
        sealed.erase(lambda text, name=name: text == name)
    stop.set()
    for one in readers:
        one.join()
    assert not wrong


KILLED = """
import sys, time
from pathlib import Path
from penstock.observe.sealed import Sealed
from penstock.storage.database import Database

home, now = Path(sys.argv[1]), float(sys.argv[2])
sealed = Sealed(Database(home / "penstock.db"), home / "journal" / "sealed", hot_s=3600.0)
print("ready", flush=True)
sealed.run(now)
"""


def test_whenever_it_is_killed_nothing_is_lost_or_twice(home: Path):
    database, sealed = opened(home)
    rows: list[Row] = []
    draw = random.Random(3)
    for turn in range(6):
        fresh = [row(NOW - (60 - turn) * HOUR_S + n, n) for n in range(400)]
        write(database, home, fresh)
        rows += fresh
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(home), str(NOW + turn)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(draw.random() * 0.15)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert told(Analytics(database, sealed)) == Counter(one.id for one in rows)
    sealed.run(NOW + 100)

    assert all(sealed.find(one.id) == [one] for one in rows[:: len(rows) // 50])
    assert told(Analytics(database, sealed)) == Counter(one.id for one in rows)
    assert sum(one.requests for one in Ledger(database).spent("key", since=0.0)) == len(rows)


def test_without_duckdb_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch):
    database, sealed = opened(home)
    write(database, home, [row(NOW - 2 * HOUR_S)])
    monkeypatch.setitem(sys.modules, "duckdb", None)

    with pytest.raises(MissingExtra, match="DuckDB"):
        sealed.run(NOW)
    assert database.read("select count(*) from requests where sealed = 0") == [(1,)]


def test_the_terminal_asks_and_writes_files(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home)
    (home / "penstock.toml").write_text('home = "home"\n')
    database = Database(home / "home" / "penstock.db")
    write(database, home / "home", [row(time.time() - 2 * HOUR_S, n) for n in range(5)])
    database.close()

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["journal", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert "5 requests sealed" in run("seal")
    assert json.loads(run("sql", "select app, count(*) as n from requests group by 1 order by 1", "--json")) == [
        {"app": "help", "n": 3}, {"app": "shop", "n": 2},
    ]  # fmt: skip
    assert "unanswered" in run("stats", "--since", "3h")
    assert "search" in run("stats", "--rooms", "--since", "3h")
    for name, count in (("a.csv", 5), ("a.parquet", 5), ("a.jsonl", 5)):
        assert f"{count} rows" in run("export", name)
    assert len((home / "a.jsonl").read_text().splitlines()) == 5
    assert sorted(path.name for path in home.iterdir() if path.name.startswith((".a", "a"))) == [
        "a.csv",
        "a.jsonl",
        "a.parquet",
    ]
