"""Beyond 50,000 passages a graph finds the neighbours that a look at every vector finds, in a fraction of the time.

    python -m benchmarks.large [--passages 100000]

Vectors in clusters, as passages on many topics have; one thread. Needs the extra `hnsw`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import show, versions, write
from penstock.documents.graph import Graph, write_graph

DIMENSIONS, QUESTIONS, NEIGHBOURS = 384, 200, 100


def clustered(count: int, random: np.random.Generator) -> Any:
    """Unit rows around centres, as spread as MiniLM's are: about .5 cosine within a topic."""
    centres = random.normal(size=(count // 100, DIMENSIONS)).astype(np.float32)
    rows = centres[random.integers(0, len(centres), count)] + random.normal(size=(count, DIMENSIONS)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    count = parser.parse_args().passages
    random = np.random.default_rng(7)
    vectors = clustered(count + QUESTIONS, random)
    vectors, questions = vectors[:count], vectors[count:]
    half = random.random(count) < 0.5
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "vectors.hnsw"
        started = time.process_time()
        write_graph(vectors, path)
        built = time.process_time() - started
        graph, size = Graph(path), path.stat().st_size / 1e6

        def exact(question: Any) -> Any:
            scores = vectors @ question
            return np.argpartition(scores, -NEIGHBOURS)[-NEIGHBOURS:]

        ways: dict[str, Callable[[Any], Any]] = {
            "every vector": exact,
            "graph": lambda q: graph.nearest(q, NEIGHBOURS, None),
            "graph, half of the passages in view": lambda q: graph.nearest(q, NEIGHBOURS, half),
        }
        rows = {
            way: measured(search, questions, vectors, half if "half" in way else None) for way, search in ways.items()
        }
    show(f"{count:,} passages", {"CPU-ms": "cpu_ms", f"recall@{NEIGHBOURS}": "recall"}, rows)
    figures = {"passages": count, "build_cpu_s": round(built, 1), "graph_mb": round(size, 1), "ways": rows}
    print(f"\nbuilt in {built:.0f} CPU-s, {size:.0f} MB")
    write("large", claim=__doc__, command="python -m benchmarks.large",
          figures={"versions": versions(("numpy", "faiss-cpu")), **figures})  # fmt: skip


def measured(search: Callable[[Any], Any], questions: Any, vectors: Any, mask: Any) -> dict[str, float]:
    times, shares = [], []
    for question in questions:
        started = time.process_time()
        found = search(question)
        times.append((time.process_time() - started) * 1000)
        scores = vectors @ question
        if mask is not None:
            scores[~mask] = -2
        shares.append(len(set(found.tolist()) & set(np.argsort(-scores)[:NEIGHBOURS].tolist())) / NEIGHBOURS)
    return {"cpu_ms": round(statistics.median(times), 2), "recall": round(statistics.fmean(shares), 4)}


if __name__ == "__main__":
    main()
