"""Publishing a version and rolling one back take at most 50 ms, and no reader ever sees half of each: 10,000 reads under load.

    python -m benchmarks.publish

Two processes read while a third publishes back and forth, syncs, and drops old versions. Every document says which generation
it belongs to; a read that sees two is torn.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import show, write
from penstock.config import DocumentsSettings, WebSettings
from penstock.documents.collection import Collection
from penstock.documents.library import Library
from penstock.testing import WordEmbedder

FILES, READS, SWITCHES, BACK_AND_FORTH = 2_000, 10_000, 300, 50


def opened(home: Path) -> Collection:
    settings = {"notes": DocumentsSettings(keep_versions=2)}
    return Library(home, WordEmbedder, folder=home, collections=settings, web=WebSettings())["notes"]


def write_generation(folder: Path, generation: int, files: int = FILES) -> None:
    for n in range(files):
        (folder / f"{n}.txt").write_text(f"Note {n} of shelf {n % 97} belongs to generation {generation}.")


def read(home: Path, reads: int) -> dict[str, int]:
    collection, torn, versions = opened(home), 0, set()
    for n in range(reads):
        found = collection.search(f"Which generation does a note of shelf {n % 97} belong to?", k=20)
        generations = {hit.passage.text.rsplit(" ", 1)[1] for hit in found.hits}
        torn += len(generations) != 1 or len(found.hits) != 20
        versions.add(found.version)
    return {"reads": reads, "torn": torn, "versions": len(versions)}


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(read(Path(sys.argv[1]), int(sys.argv[2]))))
        return
    with tempfile.TemporaryDirectory() as name:
        home, folder = Path(name) / "home", Path(name) / "folder"
        folder.mkdir()
        home.mkdir()
        write_generation(folder, 1)
        writer = opened(home)
        writer.add([str(folder)])
        write_generation(folder, 2)
        writer.sync()
        switch = _switches(writer)
        figures: dict[str, Any] = {"documents": FILES, **switch, **_under_load(writer, home, folder)}
    show("publish", {name: name for name in figures}, {"penstock": figures})
    write("publish", claim=__doc__, command="python -m benchmarks.publish", figures={"figures": figures})


def _switches(writer: Collection) -> dict[str, float]:
    """Each switch is durable (synced to disk) when it returns; the first answer after it opens the version."""
    writer.search("warm")
    wall, cpu, first = [], [], []
    for n in range(SWITCHES):
        started, used = time.perf_counter(), time.process_time()
        writer.use("v1" if n % 2 else "v2")
        wall.append((time.perf_counter() - started) * 1000)
        cpu.append((time.process_time() - used) * 1000)
        started = time.perf_counter()
        writer.search("Which generation?")
        first.append((time.perf_counter() - started) * 1000)
    return {
        "switch ms": round(statistics.median(wall), 2),
        "switch p95 ms": round(statistics.quantiles(wall, n=20)[-1], 2),
        "switch CPU-ms": round(statistics.median(cpu), 2),
        "first answer after it ms": round(statistics.median(first), 2),
    }


def _under_load(writer: Collection, home: Path, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.publish", str(home), str(READS // 2)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    published = 0
    while any(reader.poll() is None for reader in readers):
        write_generation(folder, published + 3)
        writer.sync()
        for name in ("previous", "newest") * BACK_AND_FORTH:
            writer.use(name)
        published += 1 + 2 * BACK_AND_FORTH
    rows = [json.loads(reader.communicate()[0]) for reader in readers]
    return {
        "reads": sum(row["reads"] for row in rows),
        "torn": sum(row["torn"] for row in rows),
        "switches meanwhile": published,
        "versions that were read": max(row["versions"] for row in rows),
    }


if __name__ == "__main__":
    main()
