"""An audit record costs at most 50 µs of CPU time on its way into the signed chain; 100,000 a second are verified.

    python -m benchmarks.audit

Three ways to write: one by one through the spool, as blocked requests are; with a change in one transaction, as keys are;
and the spool's own share, which is what a request waits for. Wall time is given beside it, since the disk's is no CPU time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import show, versions, write
from penstock.storage.audit import Audit
from penstock.storage.database import Database

RECORDS, CHANGES, ROUNDS = 100_000, 200, 5


def timed(run: Callable[[], object], count: int) -> dict[str, float]:
    """µs of CPU time and of wall time, each for one of so many."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return {
        "cpu_us": (time.process_time() - cpu) / count * 1e6,
        "wall_us": (time.perf_counter() - wall) / count * 1e6,
    }


def measured(folder: Path) -> dict[str, dict[str, float]]:
    audit = Audit(Database(folder / "penstock.db"))
    audit.write("policy.changed", target="default")  # the key and the tables are there

    def record() -> None:
        for n in range(RECORDS):
            audit.record("request.blocked", actor=f"key {n % 50}", target="chat", rule="injection", score=0.93)

    def change() -> None:
        for n in range(CHANGES):
            with audit.changing("key.created", target=f"key {n}"):
                pass

    cpu, wall = time.process_time(), time.perf_counter()
    acknowledged = timed(record, RECORDS)
    audit.drain()
    chained = {
        "cpu_us": (time.process_time() - cpu) / RECORDS * 1e6,
        "wall_us": (time.perf_counter() - wall) / RECORDS * 1e6,
    }
    changed = timed(change, CHANGES)
    problems: list[object] = []
    verified = timed(lambda: problems.extend(audit.verify().problems), RECORDS + CHANGES + 1)
    assert not problems
    audit.close()
    audit.database.close()
    return {
        "recorded, until it is acknowledged": acknowledged,
        "recorded, until it is in the signed chain": chained,
        "with a change, in its transaction, signed and anchored": changed,
        "verified": verified,
    }


def main() -> None:
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            rounds.append(measured(Path(name)))
    figures = {
        what: {key: round(statistics.median(one[what][key] for one in rounds), 2) for key in ("cpu_us", "wall_us")}
        for what in rounds[0]
    }
    show("Audit, each", {"CPU µs": "cpu_us", "wall µs": "wall_us"}, figures)
    write(
        "audit",
        claim=__doc__,
        command="python -m benchmarks.audit",
        figures={
            "versions": versions(["cryptography", "orjson"]),
            "conditions": f"median of {ROUNDS} rounds, {RECORDS} records and {CHANGES} changes each, temporary folder",
            "each": figures,
            "verified_per_second": round(1e6 / figures["verified"]["cpu_us"]),
        },
    )


if __name__ == "__main__":
    main()
