"""On collections of other kinds than it was trained on, the confidence tells answers from silence, within its stated error.

    python -m benchmarks.elsewhere DATA [--limit 200]

DATA holds folders in BEIR's layout. Questions are right when one of the first two quotes comes from a document that is judged
to answer; questions of another set stand for what is absent. None of these sets trained anything.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import show, write
from penstock.config import WebSettings
from penstock.documents.bench import as_incoming, read_qrels, read_rows
from penstock.documents.library import Library
from penstock.documents.quote import Quotes
from penstock.encoder import shipped
from recipes.quote import auroc

SETS = ("ecommerce_faq", "pubmedqa", "covid_faq_de", "sciq", "covidqa_longdocs")
COLUMNS = {"questions": "questions", "first quote": "one", "first two": "two", "AUROC absent": "auroc_absent",
           "calibration error": "ece"}  # fmt: skip


def measured(folder: Path, absent: list[str], limit: int) -> dict[str, Any]:
    queries = list(read_rows(folder, "queries.jsonl"))[:limit]
    qrels, quotes = read_qrels(folder), Quotes()
    with tempfile.TemporaryDirectory() as home:
        library = Library(Path(home), lambda: shipped(threads=2), folder=folder, collections={}, web=WebSettings())
        collection = library.create("bench")
        collection.take([as_incoming(row) for row in read_rows(folder, "corpus.jsonl")])

        def asked(question: str) -> tuple[float, list[set[str]]]:
            answer = quotes.quote(question, collection.search(question))
            cited = answer.citations or answer.nearest
            return answer.confidence, [{c.source, *c.also_in} for c in cited]

        present = [(asked(str(row["text"])), set(qrels.get(str(row["_id"]), {}))) for row in queries]
        silent = [asked(question)[0] for question in absent]
        library.close()
    right = [[bool(gold & set().union(*sources[:n])) for (_, sources), gold in present] for n in (1, 2)]
    confidence = np.array([c for (c, _), _ in present] + silent)
    truth = np.array([*right[1], *(False for _ in silent)], float)
    bins = np.minimum((confidence * 10).astype(int), 9)
    ece = sum(
        abs(truth[bins == n].mean() - confidence[bins == n].mean()) * (bins == n).mean() for n in set(bins.tolist())
    )
    return {
        "questions": len(present),
        "one": round(float(np.mean(right[0])), 4),
        "two": round(float(np.mean(right[1])), 4),
        "auroc_absent": auroc(confidence[: len(present)], np.array(silent)),
        "ece": round(float(ece), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=200)
    options = parser.parse_args()
    other = {
        name: [str(row["text"]) for row in read_rows(options.data / name, "queries.jsonl")]
        for name in ("xquad/de", "xquad/en")
    }
    found = {}
    for name in SETS:
        absent = other["xquad/de" if name.endswith("_de") else "xquad/en"][: options.limit * 2 // 3]
        found[name] = measured(options.data / name, absent, options.limit)
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    show("collections of other kinds", COLUMNS, found)
    write("elsewhere", claim=__doc__, command="python -m benchmarks.elsewhere DATA", figures={"sets": found})


if __name__ == "__main__":
    main()
