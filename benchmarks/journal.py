"""The journal takes 20,000 spans a second, costs a request 15 µs, loses nothing at kill -9, and seals a span into 70 bytes.

    python -m benchmarks.journal

Requests are those of an app whose answer passed eight rooms and was checked. Written: until the spool has them, which is when a
request is acknowledged, and until they are in SQLite. Killed: fifty processes that acknowledge as fast as they can. Sealed: 1.25
million requests, ten million spans, over four days, then one-minute series over all of them, and single traces.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson

from benchmarks.measure import versions, write
from penstock.gateway import Visit
from penstock.models.budgets import Budgets
from penstock.observe.analytics import Analytics
from penstock.observe.journal import COLUMNS, Journal, Row
from penstock.observe.ledger import Ledger
from penstock.observe.metrics import Metrics
from penstock.observe.sealed import Sealed
from penstock.observe.texts import Texts
from penstock.storage.database import Database
from penstock.trace import Span
from penstock.types import Answer, Citation, Claim, ModelRequest, Record, Status, Verdict, new_id

REQUESTS, ROUNDS, KILLS = 20_000, 5, 50
SEALED_REQUESTS, DAYS = 1_250_000, 4
ROOMS = ("understand", "guard", "search", "screen", "quote", "write", "model")  # and the request itself

CHILD = """
import sys
from pathlib import Path
from benchmarks.journal import row
from penstock.observe.journal import Journal
from penstock.storage.database import Database

home = Path(sys.argv[1])
journal = Journal(Database(home / "penstock.db"), home / "journal")
print("ready", flush=True)
while True:
    one = row(0.0)
    journal.write(one, [("budget/a/b/limit_usd", 0, 1)])
    sys.stdout.write(one.id + "\\n")
    sys.stdout.flush()
"""


def rooms(draw: random.Random) -> list[tuple[str, int, int, dict[str, Any]]]:
    at = 0.1
    told: list[tuple[str, int, int, dict[str, Any]]] = []
    said: dict[str, dict[str, Any]] = {
        "search": {"hits": 8}, "screen": {"withheld": 0}, "quote": {"status": "answer", "confidence": round(draw.random(), 4)},
        "write": {"model": "house", "input_tokens": draw.randrange(3000), "output_tokens": draw.randrange(400)},
        "model": {"model": "house", "outcome": "ok", "tokens": draw.randrange(3400)},
    }  # fmt: skip
    for name, usual in zip(ROOMS, (0.4, 1.8, 9.0, 0.3, 1.1, 700.0, 690.0), strict=True):
        took = usual * draw.lognormvariate(0, 0.4)
        told.append((name, int(at * 1e3), int(took * 1e3), said.get(name, {})))
        at += took if name != "write" else 1.0
    return told


ANSWER = {
    "status": "answer", "confidence": 0.8312, "language": "en", "citations": 3, "quoted": 0, "withheld": 0, "conflicts": 0,
    "copied": 0, "by": "house", "characters": 412, "versions": {"index": "v12", "policy": "default@20f82cdf"}, "faults": [],
    "checked_by": "checker", "support": 0.91, "claims": {"supported": 4},
}  # fmt: skip
DRAW = random.Random(0)
TOLD = [orjson.dumps(rooms(DRAW)).decode() for _ in range(5000)]


def row(at: float) -> Row:
    return Row(
        new_id(), f"{DRAW.getrandbits(128):032x}", at or time.time(), "key-1", f"p{DRAW.randrange(5000)}", "support", "help",
        "help", "chat", True, 200, "ok", "", False, 120.5, 812.25, 2211, 188, 0, 0, 4_112_000_000, "", "",
        orjson.dumps(ANSWER | {"confidence": round(DRAW.random(), 4)}).decode(), DRAW.choice(TOLD),
    )  # fmt: skip


def written() -> dict[str, float]:
    """Spans a second, until acknowledged and until stored, in wall and in CPU time."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        journal = Journal(Database(home / "penstock.db"), home / "journal")
        journal.recover()
        rows = [row(0.0) for _ in range(REQUESTS)]
        wall, cpu = time.perf_counter(), time.process_time()
        for one in rows:
            journal.write(one, ())
        acknowledged = time.perf_counter() - wall
        journal.drain()
        stored, took = time.perf_counter() - wall, time.process_time() - cpu
        journal.close()
    spans = REQUESTS * (len(ROOMS) + 1)
    return {
        "acknowledged": spans / acknowledged, "stored": spans / stored, "stored_per_cpu_second": spans / took,
    }  # fmt: skip


def on_the_way() -> dict[str, float]:
    """µs of CPU that a request spends on its record, with its eight spans and an answer of four checked sentences."""

    class Nowhere:
        def write(self, row: Row, booked: object) -> None:
            spool.end(row, ())
            if spool.size > 7 << 20:
                spool.size = 0

    with tempfile.TemporaryDirectory() as name:
        from penstock.observe.journal import _Spool

        spool = _Spool(Path(name))
        gateway: Any = SimpleNamespace(
            journal=Nowhere(),
            metrics=Metrics(),
            texts=Texts({}),
            models={"help": None},
            counters=None,
            budgets=Budgets({}),
        )
        claims = tuple(Claim(n * 60, n * 60 + 55, "supported", 0.9) for n in range(4))
        cited = tuple(Citation("a.md", "q", 0, 1, "d", f"p{n}") for n in range(3))
        answer = Answer(
            "x" * 400,
            Status.ANSWER,
            0.83,
            cited,
            written_by="house",
            verdict=Verdict("supported", 0.9, claims, "checker"),
        )
        passed = [
            Span(name, values, took / 1e3, time.perf_counter()) for name, _, took, values in rooms(random.Random(1))
        ]

        def one(*, spans: bool) -> None:
            request = ModelRequest(
                dialect="chat", model="help", body={}, record=Record("t" * 32, app="help" if spans else "")
            )
            with Visit(gateway, request, ()) as visit:
                if spans:
                    request.record.answer = answer
                    visit._spans.extend(passed)

        found = {}
        for what, spans in (("plain_call", False), ("answer_of_an_app", True)):
            rounds = []
            for _ in range(ROUNDS):
                began = time.process_time()
                for _ in range(5000):
                    one(spans=spans)
                rounds.append((time.process_time() - began) / 5000 * 1e6)
            found[what] = statistics.median(rounds)
        spool.close(empty=True)
    return found


def killed() -> dict[str, int]:
    """Fifty processes, each killed at a moment nobody chose. Acknowledged and not in the database afterwards: lost."""
    acknowledged = lost = twice = 0
    draw = random.Random(11)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for _ in range(KILLS):
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD, name],
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": "."},
            )
            assert child.stdout is not None
            child.stdout.readline()
            said: list[str] = []
            until = time.monotonic() + 0.05 + draw.random() * 0.5
            while time.monotonic() < until:
                said.append(child.stdout.readline())
            os.kill(child.pid, signal.SIGKILL)
            said += child.stdout.readlines()
            child.wait()
            ids = [line.strip() for line in said if line.endswith("\n")]
            database = Database(home / "penstock.db")
            journal = Journal(database, home / "journal")
            journal.recover()
            journal.close()
            there = [name for (name,) in database.read("select id from requests")]
            acknowledged += len(ids)
            lost += len(set(ids) - set(there))
            twice += len(there) - len(set(there))
            database.close()
    return {"processes": KILLS, "acknowledged": acknowledged, "lost": lost, "twice": twice}


def sealed() -> dict[str, float]:
    """Ten million spans in files, and what questions about them take."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        database = Database(home / "penstock.db")
        Journal(database, home / "journal").recover()
        now = time.time() // 86_400 * 86_400
        keeping = Sealed(database, home / "sealed", hot_s=3600.0)
        into = f"insert into requests ({', '.join(COLUMNS)}) values ({', '.join('?' * len(COLUMNS))})"
        took, names = 0.0, []
        for n in range(25):
            count = SEALED_REQUESTS // 25
            span_s = DAYS * 86_400 / 25
            start = now - (25 - n) * span_s
            rows = [row(start + m * span_s / count) for m in range(count)]
            names += [rows[0].id, rows[-1].trace_id]
            with database.write() as w:
                w.executemany(into, rows)
            began = time.process_time()
            keeping.run(start + span_s + 1)
            took += time.process_time() - began
        began = time.process_time()
        keeping.run(now + 7200)
        joined = time.process_time() - began
        parts = keeping.segments()
        spans = sum(part.rows for part in parts if part.kind == "spans")
        figures: dict[str, float] = {
            "spans": spans,
            "bytes_per_span": sum(part.bytes for part in parts if part.kind == "spans") / spans,
            "bytes_per_span_with_its_share_of_the_request": sum(part.bytes for part in parts) / spans,
            "seal_spans_per_cpu_second": spans / took, "join_cpu_s": joined,
        }  # fmt: skip
        analytics = Analytics(database, keeping, threads=2)
        asked: dict[str, Any] = {"since": now - DAYS * 86_400, "until": now, "step_s": 60.0}
        figures["series_of_requests_s"] = _median(lambda: analytics.series(**asked))
        figures["series_of_spans_s"] = _median(
            lambda: analytics.sql(
                "select time_bucket(interval 1 minute, time), count(*), avg(duration_us) from spans group by 1"
            )
        )
        figures["series_of_rooms_with_quantiles_s"] = _median(lambda: analytics.rooms(**asked))
        figures["sealed_trace_ms"] = 1e3 * _median(lambda: keeping.find(random.choice(names)), times=200)
        fresh = [row(0.0) for _ in range(50_000)]
        with database.write() as w:
            w.executemany(into, fresh)
        ledger = Ledger(database)
        figures["hot_trace_ms"] = 1e3 * _median(lambda: ledger.request(random.choice(fresh).trace_id), times=200)
    return figures


def _median(run: Any, times: int = 7) -> float:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def main() -> None:
    rounds = [written() for _ in range(ROUNDS)]
    figures: dict[str, Any] = {
        "written_spans_per_s": {key: round(statistics.median(one[key] for one in rounds)) for key in rounds[0]},
        "cpu_us_on_the_way": {key: round(value, 1) for key, value in on_the_way().items()},
        "killed": killed(),
        "sealed": {key: round(value, 3) for key, value in sealed().items()},
    }
    for what, values in figures.items():
        print(what, values)
    gates = {
        "written_spans_per_s": 20_000, "cpu_us_on_the_way": 15, "lost": 0, "bytes_per_span": 70, "trace_ms": 5,
        "series_of_10_million_s": 1,
    }  # fmt: skip
    write(
        "journal",
        claim=__doc__,
        command="python -m benchmarks.journal",
        figures={"figures": figures, "gates": gates, "versions": versions(["numpy", "orjson", "duckdb"])},
    )


if __name__ == "__main__":
    main()
