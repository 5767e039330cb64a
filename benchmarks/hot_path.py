"""Hybrid search over 10,000 passages takes at most 2 ms of CPU time without embedding, a whole quoted answer at most 15 ms.

    python -m benchmarks.hot_path [--passages 10000]

One thread. Over HTTP the times are wall times of one client after another, and of eight at once, on whatever else the machine
is doing; the load is written down with them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.measure import show, write
from benchmarks.mixed_folder import DOMAINS, Writer, as_markdown
from benchmarks.mixed_folder import article as written
from penstock import Caller, Penstock
from penstock.config import Settings
from penstock.types import Embedder

ROUNDS, QUESTIONS = 7, 100
ASKED = ("how often is the {thing} inspected?", "who may open the {thing} in {place}?", "what happens if the {thing} fails?",
         "where do I find the {thing}?", "{thing} {place}", "can the {person} drain the {thing} alone?")  # fmt: skip


class Remembered:
    """The question's vector, made before the clock starts."""

    def __init__(self, inner: Embedder) -> None:
        self.inner, self.id, self.dim = inner, inner.id, inner.dim
        self.vectors: dict[str, Any] = {}
        self.familiarity = inner.familiarity

    def embed(self, texts: Sequence[str]) -> Any:
        return self.vectors[texts[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--passages", type=int, default=10_000)
    passages = parser.parse_args().passages
    with tempfile.TemporaryDirectory() as name:
        folder, home = Path(name) / "folder", Path(name) / "home"
        questions = write_folder(folder, passages)
        settings = Settings(home=str(home))
        with Penstock.open(folder, name="bench", settings=settings) as p:
            found = p.documents.versions()[-1].passages
            figures: dict[str, Any] = {"passages": found, **in_process(p, questions)}
        figures |= over_http(home, questions)
    show("hot path", {name: name for name in figures}, {"penstock": figures})
    write(
        "hot_path",
        claim=__doc__,
        command="python -m benchmarks.hot_path",
        figures={"figures": figures, "rounds": ROUNDS},
    )


def write_folder(folder: Path, passages: int) -> list[str]:
    """Articles until there are about so many passages, and questions about them."""
    folder.mkdir()
    chance, count = random.Random(7), 0
    questions = []
    while count < passages:
        domain = chance.choice(list(DOMAINS))
        text = as_markdown(written(Writer(DOMAINS[domain], chance), domain, 4000))
        (folder / f"{count}.md").write_text(text)
        count += max(1, len(text) // 420)
        about = DOMAINS[domain]
        questions.append(chance.choice(ASKED).format(
            thing=chance.choice(about.things), place=chance.choice(about.places), person=chance.choice(about.people)))  # fmt: skip
    return questions[:QUESTIONS]


def in_process(p: Penstock, questions: list[str]) -> dict[str, float]:
    collection, caller = p.documents, Caller("ann", ("clerk",))
    embedder = collection.home.embedder
    remembered = Remembered(embedder)
    remembered.vectors = {question: embedder.embed([question]) for question in questions}
    snapshot = collection.snapshot()
    view, narrow = snapshot.view(caller, {}), snapshot.view(caller, {"source": ["1*"]})
    return {
        "search CPU-ms": _cpu_ms(lambda q: snapshot.search(q, remembered, view, 8), questions),  # type: ignore[arg-type]
        "filtered search CPU-ms": _cpu_ms(lambda q: snapshot.search(q, remembered, narrow, 8), questions),  # type: ignore[arg-type]
        "embedding a question CPU-ms": _cpu_ms(lambda q: embedder.embed([q]), questions),
        "whole answer CPU-ms": _cpu_ms(lambda q: p.ask(q, caller=caller), questions),
    }


def _cpu_ms(work: Callable[[str], Any], questions: list[str]) -> float:
    """Median over rounds of the mean CPU time per question."""
    for question in questions:
        work(question)
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for question in questions:
            work(question)
        rounds.append((time.process_time() - started) / len(questions) * 1000)
    return round(statistics.median(rounds), 3)


def over_http(home: Path, questions: list[str]) -> dict[str, Any]:
    environment = os.environ | {"PENSTOCK_HOME": str(home)}
    command = [sys.executable, "-m", "penstock", "up", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=home.parent)
    assert process.stdout
    try:
        address = next(found[1] for line in process.stdout if (found := re.search(r"is up: (http://\S+)", line)))

        def ask(question: str) -> float:
            body = json.dumps({"model": "bench", "messages": [{"role": "user", "content": question}]}).encode()
            request = urllib.request.Request(
                f"{address}/v1/chat/completions", body, {"content-type": "application/json"}
            )
            started = time.perf_counter()
            urllib.request.urlopen(request).read()
            return (time.perf_counter() - started) * 1000

        for question in questions:
            ask(question)
        before = _process_cpu(process.pid)
        alone = [ask(question) for _ in range(ROUNDS) for question in questions]
        server = (_process_cpu(process.pid) - before) / len(alone) * 1000
        with ThreadPoolExecutor(8) as pool:
            eight = list(pool.map(ask, questions * ROUNDS))
    finally:
        process.terminate()
        process.stdout.read()
        process.wait(30)
    return {
        "server CPU-ms per answer": round(server, 2),
        "p50 ms": round(statistics.median(alone), 1),
        "p95 ms": round(statistics.quantiles(alone, n=20)[-1], 1),
        "p95 ms, eight at once": round(statistics.quantiles(eight, n=20)[-1], 1),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _process_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
