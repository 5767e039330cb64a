"""The journal: no request waits for it, and no end of a process loses what was spent."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.observe.journal import Booked, Journal, Row
from penstock.storage.database import Database

MakeJournal = Callable[[], Journal]
SPEND = "budget/shop/limit_usd_per_day"


def row(trace_id: str, *, at: float = 1.0, cost: int = 5) -> Row:
    return Row(
        trace_id, trace_id, at, "anna", "", "shop", "", "small", "chat", False, 200, "ok", "", False, 1.0, 2.0, 12, 50, 0, 0,
        cost, "",
    )  # fmt: skip


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeJournal]:
    opened = []

    def journal() -> Journal:
        opened.append(Journal(Database(tmp_path / "penstock.db"), tmp_path / "journal"))
        return opened[-1]

    yield journal
    for one in opened:
        one.close()


def spools(folder: Path) -> list[Path]:
    return sorted((folder / "journal").glob("*.spool"))


def test_rows_and_what_they_spent_arrive_together(make: MakeJournal):
    journal = make()
    journal.hold("t1", [(SPEND, 7, 90)])
    journal.write(row("t1"), [(SPEND, 7, 5)])
    journal.write(row("t2"), [(SPEND, 7, 6)])

    journal.drain()

    assert [found.trace_id for found in journal.requests()] == ["t2", "t1"]
    assert journal.spent() == [(SPEND, 7, 11)]


def test_many_rows_of_any_number_arrive_once_each(make: MakeJournal):
    journal = make()
    for n in range(600):
        journal.write(row(f"t{n}"), [(SPEND, 7, 1)])

    journal.drain()

    assert len(journal.requests(limit=1000)) == 600
    assert journal.spent() == [(SPEND, 7, 600)]


def test_a_closed_journal_leaves_no_file_behind(make: MakeJournal, tmp_path: Path):
    journal = make()
    journal.write(row("t1"), [])

    journal.close()

    assert not spools(tmp_path)


def test_while_the_database_is_locked_rows_wait_and_are_not_lost(
    make: MakeJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("penstock.storage.database.BUSY_S", 0.05)
    journal = make()
    journal.drain()
    journal.spent()
    with sqlite3.connect(tmp_path / "penstock.db", isolation_level=None) as other:
        other.execute("begin exclusive")
        journal.write(row("t1"), [(SPEND, 7, 5)])
        time.sleep(1.5)
        other.execute("rollback")
    other.close()

    journal.drain()

    assert journal.spent() == [(SPEND, 7, 5)]


PROGRAM = """
import sys, time
from pathlib import Path
from penstock.observe import journal
from penstock.observe.journal import Journal
from penstock.storage.database import Database
sys.path.insert(0, sys.argv[2])
from test_journal import SPEND, row
journal.EVERY_S = float(sys.argv[3])
here = Path(sys.argv[1])
j = Journal(Database(here / "penstock.db"), here / "journal")
j.hold("open", [(SPEND, 7, 1000)])
n = 0
while True:
    j.hold(f"t{n}", [(SPEND, 7, 100)])
    j.write(row(f"t{n}"), [(SPEND, 7, 1)])
    n += 1
    print(n, flush=True)
    time.sleep(0.001)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("every_s", ["0.01", "600"])
def test_a_killed_process_loses_nothing_and_what_it_had_open_counts_as_spent(
    tmp_path: Path, make: MakeJournal, every_s: str
):
    tests = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), tests, every_s], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if int(line) == 300:
                process.send_signal(signal.SIGKILL)
                break
        ended = 300 + sum(1 for _ in process.stdout)

    journal = make()
    booked: list[Booked] = journal.recover()
    found = {one.trace_id: one.outcome for one in journal.requests(limit=10_000)}
    spent = {name: used for name, _, used in journal.spent()}[SPEND]

    assert all(found[f"t{n}"] == "ok" for n in range(ended))
    assert found["open"] == "lost"
    complete = sum(outcome == "ok" for outcome in found.values())
    lost = sum(outcome == "lost" for outcome in found.values()) - 1
    assert spent == complete + 1000 + 100 * lost
    assert (SPEND, 7, 1000) in booked
    assert journal.recover() == [], "nothing is booked twice"


def test_a_full_spool_is_followed_by_another(make: MakeJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penstock.observe.journal.SPOOL_BYTES", 8192)
    monkeypatch.setattr("penstock.observe.journal.ROOM", 1024)
    journal = make()
    for n in range(200):
        journal.write(row(f"t{n}"), [(SPEND, 7, 1)])

    journal.drain()

    assert journal.spent() == [(SPEND, 7, 200)]
    assert len(spools(tmp_path)) == 1, "what is in the database needs no file"


def test_rows_that_are_too_old_are_forgotten(tmp_path: Path):
    journal = Journal(Database(tmp_path / "penstock.db"), tmp_path / "journal", keep_s=3600.0)
    journal.write(row("old", at=time.time() - 7200), [])
    journal.write(row("new", at=time.time()), [])
    journal.drain()

    journal._sweep()

    assert [found.trace_id for found in journal.requests()] == ["new"]
    journal.close()
