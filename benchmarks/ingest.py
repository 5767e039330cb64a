"""With embedding, a folder of mixed files costs Penstock less than half the CPU time of LlamaIndex and Haystack.

Documents per CPU-second: the same files, chunks of about the same length, one process and one thread each, in turn.
Starting (imports, models, a first file of each kind) is reported by itself.

    python -m benchmarks.ingest --peers PEERS_PYTHON --model MODEL_FOLDER

Three parts: without embedding (vectors cost nothing); the same without slides, because LlamaIndex's reader of slides
spends most of its time collecting garbage; and with embedding, by all-MiniLM-L6-v2: Penstock with the encoder it ships,
the others with sentence-transformers on torch. The peers keep their index in memory and Penstock writes its own to disk,
so what it costs the peers to save theirs is reported beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, System, commit, in_turn, medians, show, write
from benchmarks.mixed_folder import SHARES, write_folder

CHUNKS = {"penstock": 0, "llamaindex": 160, "haystack": 78}  # each in its own unit; see `conditions`
CONDITIONS = {
    "threads": 1,
    "penstock": "its own passages: at most 1,600 characters, whole blocks, one section; near-duplicates found; on disk",
    "llamaindex": "SimpleDirectoryReader with its default readers and HTMLTagReader for HTML; SentenceSplitter of 160 "
    "tokens with its metadata, no overlap; VectorStoreIndex in memory; no word index",
    "haystack": "MultiFileConverter, text for what it does not know; DocumentSplitter of 78 words, no overlap; "
    "InMemoryDocumentStore with its BM25 statistics; JSON is skipped: it wants one field that holds the text",
    "not measured": "start_cpu_s: imports, loading the model, and a folder with one file of each kind, before the clock starts",
}
COLUMNS = {
    "documents": "documents", "chunks": "chunks", "characters": "characters", "documents / CPU-s": "documents_per_cpu_s",
    "characters / CPU-s": "characters_per_cpu_s", "saved: documents / CPU-s": "saved_documents_per_cpu_s",
    "start CPU-s": "start_cpu_s", "peak MB": "peak_mb",
}  # fmt: skip


def rates(row: Row) -> None:
    """Add what a row's figures come to per CPU-second."""
    row["documents_per_cpu_s"] = round(row["documents"] / row["cpu_s"], 2)
    row["characters_per_cpu_s"] = round(row["characters"] / row["cpu_s"])
    row["saved_documents_per_cpu_s"] = round(row["documents"] / (row["cpu_s"] + row["save_cpu_s"]), 2)


def part(title: str, systems: list[System], rounds: int) -> dict[str, Any]:
    """Measure, print, and return every round, the medians, and how many times faster Penstock is."""
    rows = in_turn(systems, rounds, finish=rates)
    packages: dict[str, str] = {}
    for row in rows:
        packages |= row.pop("versions")
    middle = medians(rows)
    show(title, COLUMNS, middle)
    ours = middle["penstock"]
    ratios = {
        name: {
            kind: round(ours[f"{kind}_per_cpu_s"] / figures[f"{kind}_per_cpu_s"], 2)
            for kind in ("documents", "characters", "saved_documents")
        }
        for name, figures in middle.items()
        if name != "penstock"
    }
    print("\ntimes faster:", ratios, flush=True)
    return {"median": middle, "times_faster": ratios, "rounds": rows, "versions": dict(sorted(packages.items()))}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", required=True, metavar="PYTHON", help="of the peers' environment")
    parser.add_argument("--model", required=True, metavar="FOLDER", help="all-MiniLM-L6-v2 for sentence-transformers")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--embedded-files", type=int, default=200, help="the first so many of them, with embedding")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--embedded-rounds", type=int, default=3)
    options = parser.parse_args()
    started_from = commit()
    pythons = {"penstock": sys.executable, "llamaindex": options.peers, "haystack": options.peers}
    with tempfile.TemporaryDirectory() as temporary:
        warm, mixed, plain, sample = (Path(temporary) / name for name in ("warm", "mixed", "plain", "sample"))
        write_folder(warm, seed=options.seed + 1, of_kinds=list(SHARES))
        write_folder(mixed, files=options.files, seed=options.seed)
        for path in write_folder(plain, files=options.files, seed=options.seed):
            if path.suffix == ".pptx":
                path.unlink()
        write_folder(sample, files=options.embedded_files, seed=options.seed)

        def systems(folder: Path, *more: str) -> list[System]:
            return [
                System(
                    name,
                    python,
                    (
                        "benchmarks.ingest_system",
                        name,
                        str(folder),
                        "--warm",
                        str(warm),
                        "--chunk",
                        str(CHUNKS[name]),
                        *more,
                    ),
                )
                for name, python in pythons.items()
            ]

        figures: dict[str, Any] = {
            "without_embedding": part(
                f"{options.files} files, without embedding", systems(mixed), options.rounds
            ),
            "without_embedding_and_slides": part(
                "The same without slides, without embedding", systems(plain), options.rounds
            ),
            "with_embedding": part(
                f"{options.embedded_files} files, with embedding",
                systems(sample, "--model", options.model),
                options.embedded_rounds,
            ),
        }  # fmt: skip
    command = (
        f"python -m benchmarks.ingest --peers PEERS_PYTHON --model MODEL_FOLDER --files {options.files} "
        f"--embedded-files {options.embedded_files} --seed {options.seed} --rounds {options.rounds} "
        f"--embedded-rounds {options.embedded_rounds}"
    )
    figures = {"conditions": CONDITIONS, **figures}
    print(write("ingest", claim=__doc__, command=command, figures=figures, commit_measured=started_from))


if __name__ == "__main__":
    main()
