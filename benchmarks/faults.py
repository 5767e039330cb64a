"""What is wrong with an answer is named rightly nineteen times in twenty.

    python -m benchmarks.faults DATA

DATA holds retrieval/xquad. For each fault there are answers that have it and as many or more that do not:

- truncated: the first sentences of passages, whole, and cut within a word or between two, in eleven languages;
- wrong language: the same, said to be in their own language or in another;
- off topic: the sentence of a passage that is nearest to a question about it, and the nearest one of another passage;
- repeating: passages, and passages of which a stretch comes three times, as a model writes that has lost its way;
- refusal, wrong format: texts written for this by the hand that wrote the rules (faults_texts.jsonl): read these as optimistic.

Ungrounded and toxic are the checks of other parts, which are measured there (verify.json, moderation.json). Precision is given for
as many answers with the fault as without, and for one in twenty, which is more like life.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.measure import show, write
from penstock import encoder
from penstock.observe.faults import UNRELATED, faults_of
from penstock.stats import wilson
from penstock.text.sentences import sentences_of

LANGUAGES = "ar de el en es hi ro ru tr vi zh".split()
TEXTS = Path(__file__).parent / "faults_texts.jsonl"
EACH = 100
Labelled = tuple[bool, bool]  # (it has the fault, it was named)


def passages(data: Path, language: str) -> list[str]:
    with gzip.open(data / "retrieval" / "xquad" / language / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def questions(data: Path) -> list[tuple[str, int]]:
    """English questions with the number of their passage."""
    folder = data / "retrieval" / "xquad" / "en"
    with gzip.open(folder / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        asked = {str(row["_id"]): row["text"] for row in map(json.loads, lines)}
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        numbers = {str(json.loads(line)["_id"]): n for n, line in enumerate(lines)}
    found = []
    for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
        query, document, *_ = line.split("\t")
        found.append((asked[query], numbers[document]))
    return found


def beginnings(text: str, language: str, count: int) -> str:
    spans = sentences_of(text.replace("\n", " "), language)[:count]
    return text[spans[0][0] : spans[-1][1]] if spans else text


def truncated(data: Path, draw: random.Random) -> Iterable[Labelled]:
    for language in LANGUAGES:
        for text in draw.sample(passages(data, language), EACH):
            whole = beginnings(text, language, draw.randint(1, 3))
            yield False, "truncated" in faults_of(whole)
            cut = whole[: draw.randint(len(whole) // 3, max(len(whole) // 3, len(whole) - 8))]
            if not re.search(r"[.!?।。؟;:]\W*$", cut):
                yield True, "truncated" in faults_of(cut)


def wrong_language(data: Path, draw: random.Random) -> Iterable[Labelled]:
    for language in LANGUAGES:
        for text in draw.sample(passages(data, language), EACH):
            said = beginnings(text, language, draw.randint(1, 2))
            yield False, "wrong_language" in faults_of(said, language=language)
            other = draw.choice([one for one in LANGUAGES if one != language])
            yield True, "wrong_language" in faults_of(said, language=other)


def repeating(data: Path, draw: random.Random) -> Iterable[Labelled]:
    for text in passages(data, "en"):
        yield False, "repeating" in faults_of(text)
        words = text.split()
        at = draw.randrange(max(1, len(words) - 12))
        stretch = " ".join(words[at : at + draw.randint(8, 12)])
        yield True, "repeating" in faults_of(f"{' '.join(words[:at])} {' '.join([stretch] * 3)}")


def off_topic(data: Path, draw: random.Random) -> Iterable[Labelled]:
    """An answer about another passage is the sentence there that is nearest to the question: the hardest there is."""
    shipped = encoder.shipped(threads=1)
    texts = passages(data, "en")
    cut = [[text[a:b] for a, b in sentences_of(text, "en")] for text in texts]
    vectors = [shipped.embed(each) for each in cut]
    for question, n in draw.sample(questions(data), 300):
        asked = shipped.embed([question])[0]
        other = draw.choice([m for m in range(len(texts)) if m != n])
        yield False, float((vectors[n] @ asked).max()) < UNRELATED
        yield True, float((vectors[other] @ asked).max()) < UNRELATED


def written() -> dict[str, list[Labelled]]:
    rows = [json.loads(line) for line in TEXTS.read_text("utf-8").splitlines()]
    refusals = [row for row in rows if row["kind"] in ("refusal", "answer")]
    forms = [row for row in rows if "json" in row["kind"]]
    return {
        "refusal": [(row["kind"] == "refusal", "refusal" in faults_of(row["text"])) for row in refusals],
        "wrong format": [
            (row["kind"] == "no json", "wrong_format" in faults_of(row["text"], form="json")) for row in forms
        ],
    }


def counted(rows: Iterable[Labelled]) -> dict[str, Any]:
    rows = list(rows)
    bad, good = [named for has, named in rows if has], [named for has, named in rows if not has]
    recall, false = wilson(sum(bad), len(bad)), wilson(sum(good), len(good))

    def precision(share: float, alarms: float) -> float:
        named = share * recall.estimate + (1 - share) * alarms
        return share * recall.estimate / named if named else 1.0

    return {
        "with": len(bad), "without": len(good), "recall": round(recall.estimate, 3), "false": round(false.estimate, 4),
        "precision": round(precision(0.5, false.estimate), 3), "precision_at_least": round(precision(0.5, false.high), 3),
        "precision_of_one_in_twenty": round(precision(0.05, false.estimate), 3),
    }  # fmt: skip


def main() -> None:
    data, draw = Path(sys.argv[1]), random.Random(0)
    figures = {
        "truncated": counted(truncated(data, draw)),
        "wrong language": counted(wrong_language(data, draw)),
        "off topic": counted(off_topic(data, draw)),
        "repeating": counted(repeating(data, draw)),
        **{name: counted(rows) for name, rows in written().items()},
    }
    columns = {"with": "with", "without": "without", "recall": "recall", "named wrongly": "false", "precision": "precision",
               "at least": "precision_at_least", "of 1 in 20": "precision_of_one_in_twenty"}  # fmt: skip
    show("Faults", columns, figures)
    write("faults", claim=__doc__, command="python -m benchmarks.faults DATA", figures={"faults": figures})


if __name__ == "__main__":
    main()
