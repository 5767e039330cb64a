"""Every page of the console takes at most 150 ms of the server, with 10,000 requests in the journal, 2,000 documents and
evaluations of 1,000 cases.

    python -m benchmarks.console

One server, each page in turn, so that all have the same neighbours: wall time from the request to the last byte, and CPU time of
the process, which is the client's too.
"""

from __future__ import annotations

import importlib
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import versions, write
from penstock.observe.journal import COLUMNS, Row
from penstock.server.console import door
from penstock.testing import WordEmbedder
from penstock.types import new_id

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
tests: Any = importlib.import_module("serving")  # a server in this process

REQUESTS, DOCUMENTS, CASES, ROUNDS = 10_000, 2_000, 1_000, 40


def measured() -> dict[str, dict[str, float]]:
    """page -> median and p95 in ms, and its weight in bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "many").mkdir()
        for n in range(DOCUMENTS):
            (folder / f"many/note-{n}.txt").write_text(f"Note {n} says that shelf {n} holds {n * 3} boxes.\n")
        settings = '[documents.many]\npaths = ["many"]\n[objectives.answered]\nkind = "availability"\ntarget = 0.99\n'
        settings += '[apps.many]\ndocuments = "many"\n'
        with tests.serving(folder, settings, embedder=WordEmbedder()) as served:
            client = served.client()
            client.post("/v1/chat/completions", json=tests.asked("many", "What does shelf 7 hold?"))
            time.sleep(1.5)
            (row,) = [Row(*one) for one in served.house.database.read(f"select {', '.join(COLUMNS)} from requests")]
            rows = [row._replace(id=new_id(), trace_id=f"{n:032x}", at=row.at - 30 * n) for n in range(REQUESTS)]
            with served.house.database.write() as w:
                into = f"insert into requests ({', '.join(COLUMNS)}) values ({', '.join('?' * len(COLUMNS))})"
                w.executemany(into, rows)
            _foretold(served.house.lookout.tally)
            document = client.get("/api/collections/many/documents").json()["documents"][0]["id"]
            first, second = (tests.kept(served.house, tests.evaluated(folder, _cases(seed))) for seed in (1, 2))
            named = {
                "id": rows[5].id,
                "name": "many",
                "app": "many",
                "document": document,
                "run": first,
                "policy": "default",
            }
            paths = [page.path.format(**named) for page in door.PAGES]
            paths.append(f"/console/evaluations/compare?first={first}&second={second}")
            paths = [path for path in paths if not path.endswith("/difference")]  # there is one version
            took: dict[str, list[tuple[float, float]]] = {path: [] for path in paths}
            weight: dict[str, int] = {}
            for _ in range(ROUNDS + 1):
                for path in paths:
                    wall, cpu = time.perf_counter(), time.process_time()
                    found = client.get(path)
                    took[path].append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)))
                    assert found.status_code == 200, path
                    weight[path] = len(found.content)
    return {
        path.replace(rows[5].id, "ID").replace(first, "FIRST").replace(second, "SECOND"): {
            "median_ms": round(median(wall for wall, _ in some[1:]), 1),
            "p95_ms": round(sorted(wall for wall, _ in some[1:])[int(0.95 * ROUNDS)], 1),
            "cpu_ms": round(median(cpu for _, cpu in some[1:]), 1),
            "first_ms": round(some[0][0], 1),
            "bytes": weight[path],
        }
        for path, some in took.items()
    }


def _cases(seed: int) -> list[dict[str, Any]]:
    """Questions with answers, some of them wrong."""
    draw = random.Random(seed)
    return [
        {
            "id": f"c{n}",
            "question": f"What does shelf {n} hold?",
            "expected": f"{3 * n} boxes",
            "answer": f"It holds {3 * n + (draw.random() < 0.1)} boxes.",
        }
        for n in range(CASES)
    ]


def _foretold(tally: Any) -> None:
    """What is usual at each hour, as if the lookout had been there all the time, so that there are pictures to be drawn."""
    from penstock.observe.anomalies import Usual

    def seen() -> int:
        observed = tally.observed.get(("latency", "many"))
        return sum(observed.hours.n) if observed else 0

    until = time.monotonic() + 60
    while seen() < REQUESTS and time.monotonic() < until:
        time.sleep(0.2)
    for observed in tally.observed.values():
        last = observed.hours.last
        for hour in range(last - REQUESTS * 30 // 3600 + 1, last + 1):
            if usual := Usual.learnt(observed, hour):
                observed.foretell(hour, usual.expected)
    tally.save()


def main() -> None:
    pages: dict[str, Any] = measured()
    for path, one in pages.items():
        print(path, one)
    write(
        "console",
        claim=__doc__,
        command="python -m benchmarks.console",
        figures={
            "requests": REQUESTS, "documents": DOCUMENTS, "cases": CASES, "pages": pages,
            "gates": {"p95_ms": 150, "bytes": 250_000},
            "versions": versions(["jinja2", "uvicorn"]),
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
