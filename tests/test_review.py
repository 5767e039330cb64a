"""What a review found: each of these went wrong once."""

import hashlib
import itertools
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from serving import asked, serving
from serving import up as started
from upstream import upstream

from penstock.errors import BudgetSpent
from penstock.models.limits import Limit, Unit, Want
from penstock.models.shared import SLOTS, Shared
from penstock.observe import journal
from penstock.observe.journal import Journal, Row
from penstock.storage.database import Database


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path):
    (tmp_path / "penstock.toml").write_text('[models.any]\nbase_url = "http://127.0.0.1:9/v1"\n', "utf-8")
    with started(tmp_path, "--workers", "2") as (process, _):
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
        workers = [int(pid) for pid in children.stdout.split()]
        assert len(workers) >= 2
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        ends = time.monotonic() + 10
        while left := [pid for pid in workers if _runs(pid)]:
            assert time.monotonic() < ends, f"still there: {left}"
            time.sleep(0.05)


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_refused_call_hides_no_counter_from_another_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    past, spent, new = _neighbours("tokens", 3)
    one, other = (Shared(tmp_path / "counters", worker=worker, workers=2) for worker in range(2))
    for limit, amount in ((past, 1), (spent, 100)):
        one.hold([Want(limit, amount)])
        one.settle([Want(limit, amount)], [amount])
    monkeypatch.setattr(one, "_is_past", lambda slot: slot == one._slots[past.name][1])  # its day is over
    with pytest.raises(BudgetSpent):
        one.hold([Want(new, 1_000)])
    assert other.free(spent) == 0, "what is spent is spent for every worker"
    assert one.hold([Want(new, 1)])
    assert other.standing(new).held == 1, "the place of the one whose day is over is used again"


def test_new_counters_of_one_call_have_a_place_each(tmp_path: Path):
    first, second = _neighbours("tokens", 2)
    counters = Shared(tmp_path / "counters", worker=0, workers=1)
    counters.hold([Want(first, 30), Want(second, 50)])
    assert (counters.free(first), counters.free(second)) == (70, 50)


def _neighbours(unit: Unit, count: int) -> list[Limit]:
    """Limits whose counters are looked for in the same place."""
    places: dict[int, list[Limit]] = {}
    for n in itertools.count():
        name = f"limit {n}"
        at = hashlib.blake2b(name.encode(), digest_size=16).digest()[:8]
        found = places.setdefault(int.from_bytes(at, "little") % SLOTS, [])
        found.append(Limit(name, unit, "day", 100))
        if len(found) == count:
            return found
    raise AssertionError


# ---------------------------------------------------------------- the journal


def test_spools_that_are_full_are_gone_when_what_they_hold_has_ended(small_spools: Path):
    kept = Journal(Database(small_spools / "penstock.db"), small_spools / "journal")
    before = ""
    for n in range(2_000):  # at every moment some request is on its way
        kept.hold(f"request {n}", [("limit", 0, 100)])
        if before:
            kept.write(_row(before), [("limit", 0, 1)])
        before = f"request {n}"
        if n % 100 == 99:
            kept.drain()
    kept.drain()
    assert len(list((small_spools / "journal").glob("*.spool"))) <= 2
    kept.close()


def test_a_request_that_ends_in_a_later_spool_is_booked_as_it_ended(small_spools: Path):
    killed = Journal(Database(small_spools / "penstock.db"), small_spools / "journal")
    killed._stop = True  # it writes nothing into the database any more
    killed._wake.set()
    killed._thread.join()
    killed.hold("long", [("limit", 0, 100)])
    first = killed._spool
    while killed._spool is first:
        killed.write(_row("other"), [])
    killed.write(_row("long"), [("limit", 0, 7)])
    for spool in (first, killed._spool):
        spool._lock.release()  # as at the end of its process
    after = Journal(Database(small_spools / "penstock.db"), small_spools / "journal")
    after.recover()
    assert after.spent() == [("limit", 0, 7)]
    assert [row.outcome for row in after.requests(id="long")] == ["ok"]
    after.close()


@pytest.fixture
def small_spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(journal, "SPOOL_BYTES", 64 << 10)
    monkeypatch.setattr(journal, "ROOM", 8 << 10)
    return tmp_path


def _row(name: str) -> Row:
    texts = ("key", "", "", "", "model", "chat")
    return Row(name, name, time.time(), *texts, False, 200, "ok", "", False, 0.0, 1.0, 1, 1, 0, 0, 1, "")


def test_a_shared_call_is_booked_once_and_not_again_at_the_next_start(tmp_path: Path):
    with upstream() as up:
        toml = f"""
        [models.good]
        base_url = "{up.url}"
        input_usd_per_million = 1
        output_usd_per_million = 2
        [routes.shared]
        models = ["good"]
        single_flight = true
        [budgets.all]
        limit_usd = 5
        """
        with serving(tmp_path, toml, documents=False) as served:
            assert served.client().post("/v1/chat/completions", json=asked("shared", "Hello")).status_code == 200
            served.house.gateway.journal.drain()
            (row,) = served.house.gateway.journal.requests()
        with serving(tmp_path, toml, documents=False) as served:
            assert [used for _, _, used in served.house.gateway.journal.spent()] == [row.cost_pico_usd]
