"""Of 77 banking intents at least 90 % are found with all examples, 80 % with ten of each; what is none is told at .85 AUROC.

    python -m benchmarks.intents BANKING [--retail TASKS] [--sentences FILE] [--clinc FILE] [--xsid FOLDER]
                                         [--splits N] [--counts N,N]

BANKING is the train part of banking77 (CSV with `text` and `category`); nothing of its test part is looked at. --retail: scripted
tasks of customers of a shop (JSON); --sentences: a sentence a line; both are texts that have nothing to do with a bank. --clinc:
data_full.json of CLINC150; --xsid: the folder with LANGUAGE.valid.conll and LANGUAGE.test.conll. These two were used to choose
the features beside banking77; their figures are optimistic where it comes to what is usual (`USUAL_INSIDE`, `USUAL_RIGHT`).

All through `Intents.of`, with the shipped encoder:

- found: the intent that comes first is right; answered: the one that is given is, so that `other` counts as wrong;
- inside and outside: AUROC of `inside` between texts of known intents and those of a quarter of the intents that was left out
  wholly (held), or texts from elsewhere. One draw of intents says little: they are averaged, and each is written down.
- time on one core: learning without the encoder's share, a whole answer with it.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import show, versions, write
from penstock.encoder import shipped
from penstock.language.intents import OTHER, Example, Intents
from penstock.stats import auroc, expected_calibration_error

LANGUAGES = ("de", "nl", "it", "da", "tr", "id", "ar", "zh", "ja", "en")
Rows = list[tuple[str, str]]


class Remembering:
    """The shipped encoder, each text once: splits share their texts."""

    def __init__(self) -> None:
        self._inner, self._known = shipped(), dict[str, Any]()
        self.id, self.dim = self._inner.id, self._inner.dim
        self.embed_parts, self.count_tokens = self._inner.embed_parts, self._inner.count_tokens

    def embed(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        for text in texts:
            if text not in self._known:
                self._known[text] = self._inner.embed([text])[0]
        return np.stack([self._known[text] for text in texts])

    def familiarity(self, text: str) -> float:
        return self._inner.familiarity(text)


ENCODER = Remembering()


def few(rows: Rows, count: int, draw: random.Random) -> Rows:
    by: dict[str, list[str]] = defaultdict(list)
    for text, intent in rows:
        by[intent].append(text)
    return [
        (text, intent)
        for intent, texts in sorted(by.items())
        for text in draw.sample(texts, min(count or len(texts), len(texts)))
    ]


def held(rows: Rows, count: int, draw: random.Random) -> tuple[Rows, Rows]:
    """What is learnt from, and what is asked. count 0: four fifths of each intent."""
    by: dict[str, list[str]] = defaultdict(list)
    for text, intent in rows:
        by[intent].append(text)
    known: Rows = []
    for intent, texts in sorted(by.items()):
        known += [(text, intent) for text in draw.sample(texts, count or len(texts) * 4 // 5)]
    used = set(known)
    asked = [row for row in rows if row not in used]
    return known, draw.sample(asked, min(1_000, len(asked)))


def judged(known: Rows, asked: Rows, outside: dict[str, list[str]], language: str = "en") -> dict[str, float]:
    ENCODER.embed([text for text, _ in known])
    began = time.process_time()
    learnt = Intents([Example(text, intent, language) for text, intent in known], embedder=ENCODER)
    learnt.learn()
    took = time.process_time() - began
    found = [learnt.of(text, language=language) for text, _ in asked]
    wanted = [intent for _, intent in asked]
    taken = [one for one in zip(found, wanted, strict=True) if one[0].name != OTHER]
    figures = {
        "found": statistics.mean(one.nearest == intent for one, intent in zip(found, wanted, strict=True)),
        "answered": statistics.mean(one.name == intent for one, intent in zip(found, wanted, strict=True)),
        "taken_for_other": 1 - len(taken) / len(found),
        "calibration": expected_calibration_error(
            [one.confidence for one, _ in taken], [one.name == intent for one, intent in taken]
        ),
        "learnt_cpu_s": took,
    }
    for name, texts in outside.items():
        others = [learnt.of(text, language=language) for text in texts]
        labels = [True] * len(found) + [False] * len(others)
        figures[f"auroc_{name}"] = auroc([one.inside for one in (*found, *others)], labels).estimate
        figures[f"auroc_confidence_{name}"] = auroc([sure(one) for one in (*found, *others)], labels).estimate
        figures[f"recognised_{name}"] = statistics.mean(one.name == OTHER for one in others)
    return figures


def sure(intent: Any) -> float:
    """What somebody has who looks at name and confidence alone."""
    return float(1 - intent.confidence if intent.name == OTHER else intent.confidence)


def averaged(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {name: round(statistics.mean(run[name] for run in runs), 4) for name in runs[0]} | {
        "each": [{name: round(value, 4) for name, value in run.items()} for run in runs]
    }


def left_out(rows: Rows, count: int, share: float, seed: int, elsewhere: dict[str, list[str]]) -> dict[str, float]:
    draw = random.Random(seed)
    names = sorted({intent for _, intent in rows})
    gone = set(draw.sample(names, max(1, round(share * len(names)))))
    known, asked = held([row for row in rows if row[1] not in gone], count, draw)
    texts = [text for text, intent in rows if intent in gone]
    return judged(known, asked, {"held": draw.sample(texts, min(1_000, len(texts))), **elsewhere})


def banking(rows: Rows, elsewhere: dict[str, list[str]], counts: Sequence[int], splits: int) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for count in counts:
        name = f"{count or 'all'} examples"
        figures[name] = averaged([judged(*held(rows, count, random.Random(n)), elsewhere) for n in range(splits)])
        figures[f"{name}, a quarter of the intents left out"] = averaged(
            [left_out(rows, count, 0.25, n, elsewhere) for n in range(splits)]
        )
        columns = {
            "found": "found",
            "answered": "answered",
            "outside, held": "auroc_held",
            "calibration": "calibration",
        }
        show(f"banking77, {name}", columns, {key: row for key, row in figures.items() if key.startswith(name)})
    return figures


def clinc(path: Path, counts: Sequence[int], splits: int) -> dict[str, Any]:
    data = json.loads(path.read_text("utf-8"))
    train, test = [tuple(row) for row in data["train"]], [tuple(row) for row in data["test"]]
    nowhere = [text for text, _ in data["oos_test"]]
    figures = {}
    for count in counts:
        runs = []
        for seed in range(splits):
            draw = random.Random(seed)
            gone = set(draw.sample(sorted({intent for _, intent in train}), 38))
            known = few([row for row in train if row[1] not in gone], count, draw)
            asked = [row for row in test if row[1] not in gone]
            outside = {"held": [text for text, intent in test if intent in gone], "elsewhere": nowhere}
            runs.append(judged(known, asked, outside))
        figures[f"{count or 'all'} examples"] = averaged(runs)
    show(
        "CLINC150", {"found": "found", "answered": "answered", "held": "auroc_held", "out": "auroc_elsewhere"}, figures
    )
    return figures


def xsid(folder: Path) -> dict[str, Any]:
    figures = {}
    for language in LANGUAGES:
        pool, test = (_conll(folder / f"{language}.{part}.conll") for part in ("valid", "test"))
        for count in (5, 10):
            runs = []
            for seed in range(3):
                draw = random.Random(seed)
                names = sorted(name for name, n in Counter(intent for _, intent in pool).items() if n >= 5)
                gone = set(draw.sample(names, 3))
                known = few([row for row in pool if row[1] in names and row[1] not in gone], count, draw)
                asked = [row for row in test if row[1] in names and row[1] not in gone]
                runs.append(judged(known, asked, {"held": [text for text, intent in test if intent in gone]}, language))
            figures[f"{language} {count}"] = averaged(runs)
    show("xSID", {"found": "found", "answered": "answered", "held": "auroc_held"}, figures)
    return figures


def _conll(path: Path) -> Rows:
    rows: Rows = []
    for block in path.read_text("utf-8").split("\n\n"):
        text = re.search(r"^# ?text(?:-(?!en)\w+)?\s*[:=]\s*(.*)$", block, re.M)
        intent = re.search(r"^# ?intent\s*[:=]\s*(.*)$", block, re.M)
        if text and intent:
            rows.append((text[1].strip(), intent[1].strip()))
    return rows


def speed(rows: Rows) -> dict[str, float]:
    """Whole answers, with the encoder, after all examples were learnt. CPU time, so that a busy machine does not show."""
    known, asked = held(rows, 0, random.Random(0))
    learnt = Intents([Example(text, intent, "en") for text, intent in known], embedder=ENCODER)
    learnt.learn()
    fresh = shipped()
    for part in learnt._parts.values():
        part._embedder = fresh  # one that has not read these texts
    took = []
    for text, _ in asked[:1_000]:
        began = time.process_time()
        learnt.of(text)
        took.append(1_000 * (time.process_time() - began))
    return {"p50_ms": round(float(np.percentile(took, 50)), 2), "p95_ms": round(float(np.percentile(took, 95)), 2)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("banking", type=Path)
    parser.add_argument("--retail", type=Path)
    parser.add_argument("--sentences", type=Path)
    parser.add_argument("--clinc", type=Path)
    parser.add_argument("--xsid", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--counts", default="10,0,5", help="examples of each intent; 0 for four fifths")
    asked = parser.parse_args()
    with asked.banking.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    elsewhere: dict[str, list[str]] = {}
    if asked.retail:
        tasks = json.loads(asked.retail.read_text("utf-8"))
        elsewhere["retail"] = [task["user_scenario"]["instructions"]["reason_for_call"] for task in tasks]
    if asked.sentences:
        elsewhere["sentences"] = asked.sentences.read_text("utf-8").splitlines()[:300]
    counts = [int(count) for count in asked.counts.split(",")]
    given = {"--retail TASKS": asked.retail, "--sentences FILE": asked.sentences,
             "--clinc FILE": asked.clinc, "--xsid FOLDER": asked.xsid}  # fmt: skip
    command = " ".join(["python -m benchmarks.intents BANKING", *(name for name, path in given.items() if path)])
    command += f" --splits {asked.splits} --counts {asked.counts}"
    found: dict[str, Any] = {"versions": versions(["numpy", "onnxruntime"]), "banking77": {}}

    def keep() -> None:
        write("intents", claim=__doc__, command=command, figures=found)

    for count in counts:  # what is measured is kept, whatever becomes of the rest
        found["banking77"] |= banking(rows, elsewhere, [count], asked.splits)
        keep()
    found["speed"] = speed(rows)
    keep()
    print(json.dumps(found["speed"]))
    if asked.clinc:
        found["clinc150"] = clinc(asked.clinc, counts, max(1, asked.splits // 2))
        keep()
    if asked.xsid:
        found["xsid"] = xsid(asked.xsid)
        keep()


if __name__ == "__main__":
    main()
