"""Hybrid search finds more than BM25 or vectors alone, with one setting for all collections: nDCG@10 on public sets.

    python -m benchmarks.retrieval DATA [--only NAME ...] [--card]

DATA holds folders in BEIR's layout, at any depth. Nothing of Penstock is tuned here: what is measured is what
`penstock docs bench FOLDER` prints. --card writes the dense scores into the card of the shipped encoder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import show, versions, write
from penstock.config import WebSettings
from penstock.documents.bench import PARTS, bench
from penstock.documents.library import Library
from penstock.encoder import WEIGHTS, shipped

GATE = ("cranfield", "xquad/en", "pubmedqa", "ecommerce_faq")  # their mean is held to .82
SLACK = 0.005  # hybrid may fall this far below the better part, on no set further


def sets(data: Path) -> Iterator[tuple[str, Path]]:
    for corpus in sorted(data.rglob("corpus.jsonl*")):
        yield corpus.parent.relative_to(data).as_posix(), corpus.parent


def measured(folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        library = Library(
            Path(home), lambda: shipped(precision="int8"), folder=folder, collections={}, web=WebSettings()
        )
        scores, _ = bench(folder, library)
        library.close()
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", help="names of the sets to measure")
    parser.add_argument("--card", action="store_true", help="write the dense scores into the encoder's card")
    chosen = parser.parse_args()

    found = {}
    for name, folder in sets(chosen.data):
        if not chosen.only or name in chosen.only:
            found[name] = measured(folder)
            print(f"{name}: {found[name]['hybrid']['ndcg@10']}", file=sys.stderr, flush=True)
    rows = {
        name: {part: scores[part]["ndcg@10"] for part in PARTS}
        | {"recall": scores["hybrid"]["recall@5"], "mrr": scores["hybrid"]["mrr@10"]}
        | {"margin": round(scores["hybrid"]["ndcg@10"] - max(scores[p]["ndcg@10"] for p in ("bm25", "dense")), 4)}
        | {"documents": scores["timings"]["documents"], "queries": scores["timings"]["queries"]}
        for name, scores in found.items()
    }
    columns = {"documents": "documents", "queries": "queries", "BM25": "bm25", "dense": "dense", "hybrid": "hybrid",
               "hybrid - best": "margin", "recall@5": "recall", "MRR@10": "mrr"}  # fmt: skip
    show("nDCG@10", columns, rows)
    figures: dict[str, Any] = {"sets": found, "worst_margin": min(row["margin"] for row in rows.values())}
    print(f"\nworst margin to the better part: {figures['worst_margin']:+.4f} (allowed: -{SLACK})")
    if set(GATE) <= rows.keys():
        figures["mean_of_four"] = round(statistics.fmean(rows[name]["hybrid"] for name in GATE), 4)
        print(f"mean of {', '.join(GATE)}: {figures['mean_of_four']}")
    packages = versions(("penstock", "numpy", "onnxruntime", "tokenizers", "PyStemmer"))
    if not chosen.only:
        write(
            "retrieval",
            claim=__doc__,
            command="python -m benchmarks.retrieval DATA",
            figures={"packages": packages, **figures},
        )
    if chosen.card:
        path = WEIGHTS / "minilm" / "card.json"
        card = json.loads(path.read_text("utf-8"))
        card["quality"] |= {name: {"dense_ndcg@10": scores["dense"]["ndcg@10"]} for name, scores in found.items()}
        path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
