"""The toxicity head orders tweets of a set it was not trained on no worse than alt-profanity-check does: AUROC.

    python -m benchmarks.moderation DATA [--peer PYTHON] [--ordinary FOLDER]

DATA holds *.jsonl files with `text` and `label` (1 is harm), and perhaps `category`, `lang` and `source`; each source is a set
of its own. What counts is the largest of the seven scores, and beside it the head that the set is about, where its name says
one. --peer is a Python in which alt-profanity-check is installed; it scores the same rows. --ordinary is a folder with all that
the recipe reads, for false alarms: on the texts the thresholds were set with, so not on unseen ones. Times are CPU time on
one thread, medians per kilobyte.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import show, versions, write
from penstock.guard.moderation import HEADS, Moderation

LONGEST = 6000  # characters of a row that are scored
PEER = """
import json, sys
from profanity_check import predict_prob
texts = json.load(sys.stdin)
print(json.dumps([float(p) for p in predict_prob(texts)]))
"""


def sets(data: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows per source; a source in several languages is one set for each."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted(data.rglob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            each = json.loads(line)
            if "text" in each and each.get("label") in (0, 1):
                source, language = each.get("source", file.stem), each.get("lang", "")
                found[f"{source}/{language}" if language else source].append(each)
    return found


def auroc(scores: Sequence[float], labels: Sequence[int]) -> float | None:
    """The share of pairs in which the harmful text scores higher; ties count half."""
    values, y = np.array(scores), np.array(labels)
    if y.min() == y.max():
        return None
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = int(y.sum())
    area = (ranks[y == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(y) - positive))
    return round(float(area), 4)


def measured(rows: list[dict[str, Any]], moderation: Moderation, peer: str) -> dict[str, Any]:
    texts, labels = [each["text"][:LONGEST] for each in rows], [each["label"] for each in rows]
    moderation.seen = moderation.asked = 0
    scores, per_kilobyte = [], []
    for text in texts:
        began = time.process_time()
        scores.append(moderation.scores(text))
        if len(text) >= 200:
            per_kilobyte.append((time.process_time() - began) * 1e3 / (len(text.encode("utf-8", "replace")) / 1024))
    worst = [max(each.values()) for each in scores]
    found: dict[str, Any] = {"rows": len(rows), "harmful": sum(labels), "auroc": auroc(worst, labels)}
    found |= {f"auroc_{head}": auroc([each[head] for each in scores], labels) for head in HEADS}
    found["caught"] = share(score >= 0.5 for score, label in zip(worst, labels, strict=True) if label)
    found["alarms"] = share(score >= 0.5 for score, label in zip(worst, labels, strict=True) if not label)
    found["to_encoder"] = round(moderation.asked / max(1, moderation.seen), 4)
    if per_kilobyte:
        found["ms_per_kb"] = round(statistics.median(per_kilobyte), 3)
    if peer:
        done = subprocess.run([peer, "-c", PEER], input=json.dumps(texts), capture_output=True, text=True, check=True)
        found["peer_auroc"] = auroc(json.loads(done.stdout), labels)
    return found


def share(hits: Any) -> float | None:
    found = [bool(hit) for hit in hits]
    return round(sum(found) / len(found), 4) if found else None


def alarms(folder: Path, moderation: Moderation) -> dict[str, Any]:
    """False alarms per head, the share of windows that go to the encoder, and CPU time, on ordinary texts."""
    from penstock.train.moderation import ordinary_rows

    texts = [each.text for each in ordinary_rows(folder)][::3]
    moderation.seen = moderation.asked = 0
    over, times = np.zeros(len(HEADS)), []
    for text in texts:
        began = time.process_time()
        over += [score >= 0.5 for score in moderation.scores(text).values()]
        times.append((time.process_time() - began) * 1e3 / max(0.2, len(text.encode()) / 1024))
    found = {head: round(float(each) / len(texts), 4) for head, each in zip(HEADS, over, strict=True)}
    sent = round(moderation.asked / moderation.seen, 4)
    milliseconds = {"p50_ms_per_kb": float(np.median(times)), "p99_ms_per_kb": float(np.quantile(times, 0.99))}
    return {"texts": len(texts), "to_encoder": sent, **found, **milliseconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", default="", help="a Python with alt-profanity-check")
    parser.add_argument("--ordinary", type=Path)
    chosen = parser.parse_args()

    moderation = Moderation()
    moderation.scores("I will kill you")  # loads the weights and the encoder
    figures = {}
    for name, rows in sets(chosen.data).items():
        figures[name] = measured(rows, moderation, chosen.peer)
        print(f"{name}: {figures[name]['auroc']}", file=sys.stderr, flush=True)
    columns = {"AUROC": "auroc", "hate": "auroc_hate", "toxicity": "auroc_toxicity", "illegal": "auroc_illegal"}
    columns |= {
        "caught": "caught",
        "alarms": "alarms",
        "encoder": "to_encoder",
        "ms/KB": "ms_per_kb",
        "peer": "peer_auroc",
    }
    show("Moderation", columns, figures)
    ordinary = alarms(chosen.ordinary, moderation) if chosen.ordinary else {}
    print(json.dumps(ordinary))
    command = "python -m benchmarks.moderation DATA"
    file = write(
        "moderation",
        claim=__doc__,
        command=command,
        figures={
            "ordinary_note": "texts that the thresholds were set with",
            "versions": versions(("numpy", "onnxruntime", "tokenizers")),
            "sets": figures,
            "ordinary": ordinary,
        },
    )
    print(file)


if __name__ == "__main__":
    main()
