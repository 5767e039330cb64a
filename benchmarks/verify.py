"""A claim that is not in its sources is told from one that is, in sources never learnt from.

    python -m benchmarks.verify DATA [--tier lexical] [--tier checker] [--most N]

DATA holds verify/grounding and verify/nli (gzipped JSON Lines). AUROC, balanced accuracy and the checker's gain over the words are
those of the card: each set is judged by a regression that was fitted without it. Here the shipped weights are run as a user runs
them: spans, citations, calibration over all texts together, promises, and cost. WiCE and the sets of nli/ have taught the checker;
FaithBench, HealthVer, QAGS and CLIFF have taught nothing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from benchmarks.measure import show, versions, write
from penstock.encoder import WEIGHTS
from penstock.stats import expected_calibration_error
from penstock.train.checker_rows import fold_of, read_rows
from penstock.train.checker_support import HELD, ONLY_MEASURED, TEXTS
from penstock.verify.check import Tier, verifier
from penstock.verify.conformal import promise
from penstock.verify.verifier import Checking, Lexical, models

LENGTH_TELLS = "halueval_qa"  # where the longer answer is the wrong one
SEED = 3
CONTEXT_TOKENS = 400  # of the texts whose cost is measured


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def f1(found: set[int], gold: set[int]) -> float:
    hit = len(found & gold)
    return 2 * hit / (len(found) + len(gold)) if found or gold else 1.0


def characters(spans: Sequence[Sequence[int]], text: str) -> set[int]:
    return {n for start, end, *_ in spans for n in range(start, end) if not text[n].isspace()}


def spans_of(tier: Lexical | Checking, path: Path) -> dict[str, float]:
    """Character F1 of the unsupported spans over the texts that have some: of ours, and of marking every character."""
    ours, all_, micro = [], [], [0, 0, 0]
    for row in rows_of(path):
        gold_spans = [
            s for s in row["spans"] if not str(s[2] if len(s) > 2 else "").startswith(("Benign", "Consistent"))
        ]
        gold = characters(gold_spans, row["response"])
        if not gold:
            continue
        verdict = tier.check(row["response"], [row["context"]], question=row.get("question") or "")
        found = characters([span for claim in verdict.claims for span in claim.unsupported], row["response"])
        whole = characters([(0, len(row["response"]))], row["response"])
        ours.append(f1(found, gold))
        all_.append(f1(whole, gold))
        for n, value in enumerate((len(found & gold), len(found), len(gold))):
            micro[n] += value
    hit, said, there = micro
    return {
        "texts": len(ours), "character_f1": statistics.mean(ours), "everything_marked": statistics.mean(all_),
        "pooled_character_f1": 2 * hit / (said + there) if said + there else 0.0,
    }  # fmt: skip


def citations_of(tier: Lexical | Checking, path: Path, k: int = 3) -> dict[str, float]:
    """Recall of the gold lines of evidence among the first k that are cited, against the gold set that is met best."""
    recalls = []
    for row in rows_of(path):
        sets = [set(one) for one in row["meta"].get("supporting_sentences") or [] if one]
        if not sets:
            continue
        verdict = tier.check(row["response"], row["meta"]["evidence"])
        cited = list(dict.fromkeys(e.source for claim in verdict.claims for e in claim.evidence))[:k]
        recalls.append(max(len(gold & set(cited)) / len(gold) for gold in sets))
    return {"claims": len(recalls), f"recall_at_{k}": statistics.mean(recalls)}


def calibration_of(tier: Lexical | Checking, data: Path, most: int) -> dict[str, Any]:
    """The error of the probabilities over texts that taught nothing, known sources and unseen ones; and promises on both."""
    by_set = defaultdict(list)
    for folder in ("grounding", "nli"):
        for row in read_rows(data / "verify" / folder):
            if row.source == LENGTH_TELLS:
                continue
            if row.source in ONLY_MEASURED or (row.source in TEXTS and fold_of(row.context) < HELD):
                by_set[row.source].append(row)
    draw = random.Random(SEED)
    said: dict[str, tuple[list[float], list[bool]]] = {"known": ([], []), "unseen": ([], [])}
    for name, rows in sorted(by_set.items()):
        kind = "unseen" if name in ONLY_MEASURED else "known"
        for row in draw.sample(rows, min(most, len(rows))):
            verdict = tier.check(row.response, [row.context], question=row.question)
            said[kind][0].append(verdict.support)
            said[kind][1].append(row.supported)
    found: dict[str, Any] = {}
    for kind, (support, truth) in said.items():
        found[kind] = {"texts": len(truth), "calibration_error": expected_calibration_error(support, truth)}
        found[kind]["promises"] = _promises(support, truth)
    return found


def _promises(support: Sequence[float], truth: Sequence[bool]) -> list[dict[str, float]]:
    """A limit is found on one half and tried on the other, forty times over: the share of unsupported ones that was let through."""
    rows, found = list(zip(support, truth, strict=True)), []
    for most in (0.05, 0.1, 0.2):
        shares, coverage, draw = [], [], random.Random(SEED)
        for _ in range(40):
            draw.shuffle(rows)
            half = len(rows) // 2
            kept = promise([s for s, _ in rows[:half]], [t for _, t in rows[:half]], most)
            passed = [t for s, t in rows[half:] if s >= kept.threshold]
            coverage.append(len(passed) / (len(rows) - half))
            if passed:
                shares.append(1 - sum(passed) / len(passed))
        found.append(
            {
                "promised": most,
                "unsupported": statistics.mean(shares) if shares else 0.0,
                "passed": statistics.mean(coverage),
            }
        )
    return found


def cost_of(tier: Lexical | Checking, data: Path, *, texts: int) -> dict[str, float]:
    """CPU and wall time of single texts, one thread, contexts of about 400 tokens, answers of three sentences."""
    passages = [
        row.context for row in read_rows(data / "verify" / "grounding") if len(row.context) > 4 * CONTEXT_TOKENS
    ]
    draw = random.Random(SEED)
    cases = []
    for passage in draw.sample(passages, min(texts, len(passages))):
        context = passage[: 4 * CONTEXT_TOKENS]
        sentences = [line for line in context.replace("\n", " ").split(". ") if len(line.split()) > 5][:3]
        cases.append((". ".join(sentences) + ".", context))
    for text, context in cases[:5]:
        tier.check(text, [context])
    wall, cpu = [], time.process_time()
    for text, context in cases:
        began = time.perf_counter()
        tier.check(text, [context + " "])  # not one that is remembered
        wall.append((time.perf_counter() - began) * 1000)
    spent = (time.process_time() - cpu) / len(cases) * 1000
    wall.sort()
    return {
        "texts": len(cases), "cpu_ms": spent, "p50_ms": wall[len(wall) // 2], "p95_ms": wall[int(len(wall) * 0.95)],
        "per_cpu_second": 1000 / spent,
    }  # fmt: skip


def rows_per_second(tier: Lexical | Checking, data: Path, most: int) -> float:
    """Rows of all grounding sets, as `penstock verify --jsonl` meets them, for each second of CPU time."""
    rows = list(read_rows(data / "verify" / "grounding"))
    draw = random.Random(SEED)
    some = draw.sample(rows, min(most, len(rows)))
    began = time.process_time()
    for row in some:
        tier.check(row.response, [row.context], question=row.question)
    return len(some) / (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tier", action="append", choices=["lexical", "checker"])
    parser.add_argument("--most", type=int, default=150, help="texts of each set, for calibration")
    given = parser.parse_args()
    card = json.loads((WEIGHTS / "checker" / "card.json").read_text("utf-8"))
    grounding = given.data / "verify" / "grounding"
    figures: dict[str, Any] = {"versions": versions(["onnxruntime", "numpy", "tokenizers"]), "tiers": {}}
    for name in given.tier or list(models()):
        tier = verifier(cast(Tier, name))
        measure: dict[str, Callable[[], Any]] = {
            "faithbench spans": lambda tier=tier: spans_of(tier, grounding / "faithbench.jsonl.gz"),  # type: ignore[misc]
            "wice spans": lambda tier=tier: spans_of(tier, grounding / "wice_tokens.jsonl.gz"),  # type: ignore[misc]
            "citations": lambda tier=tier: citations_of(tier, grounding / "wice_claim.jsonl.gz"),  # type: ignore[misc]
            "calibration": lambda tier=tier: calibration_of(tier, given.data, given.most),  # type: ignore[misc]
            "cost": lambda tier=tier: cost_of(tier, given.data, texts=200),  # type: ignore[misc]
        }
        found = {key: work() for key, work in measure.items()}
        found["rows_per_cpu_second"] = rows_per_second(tier, given.data, 3000 if name == "lexical" else 200)
        found["quality"] = card["quality, each set left out of the regression"].get(name, {})
        figures["tiers"][name] = found
        print(json.dumps(found, indent=1))
    figures["gain"] = card["gain over the words alone, same texts"]
    table = {
        name: {
            "auroc": statistics.mean(one["auroc"] for one in found["quality"].values()),
            "balanced": statistics.mean(one["balanced_accuracy"] for one in found["quality"].values()),
            "spans": found["faithbench spans"]["character_f1"],
            "citations": found["citations"]["recall_at_3"],
            "known": found["calibration"]["known"]["calibration_error"],
            "unseen": found["calibration"]["unseen"]["calibration_error"],
            "ms": found["cost"]["cpu_ms"],
        }
        for name, found in figures["tiers"].items()
    }
    columns = {
        "AUROC": "auroc", "balanced accuracy": "balanced", "FaithBench spans F1": "spans", "citations recall@3": "citations",
        "calibration error, known": "known", "unseen": "unseen", "CPU ms": "ms",
    }  # fmt: skip
    show("Is it in the sources?", columns, table)
    print(write("verify", claim=__doc__, command="python -m benchmarks.verify DATA", figures=figures))


if __name__ == "__main__":
    main()
