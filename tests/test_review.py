"""What a review found: each of these went wrong once."""

import hashlib
import itertools
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from serving import up as started

from penstock.errors import BudgetSpent
from penstock.models.limits import Limit, Unit, Want
from penstock.models.shared import SLOTS, Shared


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path):
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
