"""The semantic cache takes at most 0.5 % of near pairs for the same, and knows 60 % of everyday paraphrases; a cosine none.

    python -m benchmarks.semantic_cache [--data DATA]

A near pair is two questions that read alike and ask for something else; a paraphrase asks the same in other words. The
questions beside this file are our own: the rules were made with the first ones in sight, and those in
alike_questions_fresh.jsonl were written when they were done. DATA holds what other people made, at any depth; a set that is
not there is left out:

    paws_qqp/dev_and_test.tsv              words of real questions exchanged (Zhang, Baldridge, He 2019), judged by people
    boolq_perturbed.json                   questions changed by hand so that the answer changes (Gardner et al. 2020)
    drop_contrast_sets_test.json           the same of questions about numbers; two in three hundred are the same in fact
    dev_orig.json, dev_para.json           SQuAD questions and their paraphrases (Gan, Ng 2019), many by a machine
    quora/eval.csv                         pairs that readers of Quora called duplicates: much looser than a cache may be
    banking77/train.csv.gz                 customers' questions: the nearest one with another intent
    */queries.jsonl.gz                     questions of retrieval sets, changed by rule: a word, a number, a negation

None of them is in the shipped code: its rules and lists of words are made by hand.
"""

from __future__ import annotations

import argparse
import ast
import csv
import gzip
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure import show, versions, write
from penstock.encoder import shipped
from penstock.models.alike import DEFAULT, Alike, Question

HERE = Path(__file__).parent
MOST = 2000  # pairs of one kind and set
WRONG = 0.005  # the rate of wrong hits that is allowed


class Pair(NamedTuple):
    one: str
    other: str
    same: bool


def ours(file: Path) -> list[Pair]:
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [Pair(row["ask"], other, kind == "same") for row in rows for kind in ("same", "near") for other in row[kind]]


def paws(file: Path) -> Iterator[Pair]:
    for row in csv.DictReader(file.read_text("utf-8").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        yield Pair(_untokenised(row["sentence1"]), _untokenised(row["sentence2"]), row["label"] == "1")


def _untokenised(text: str) -> str:
    text = ast.literal_eval(text).decode() if text.startswith(("b'", 'b"')) else text
    text = re.sub(r" (n't|'s|'m|'re|'ve|'ll|'d)\b", r"\1", text)
    return re.sub(r" ([?,.!;:)])", r"\1", text).replace("( ", "(").replace("`` ", '"').replace(" ''", '"')


def boolq(file: Path) -> Iterator[Pair]:
    for row in json.loads(file.read_text("utf-8"))["data"][1:]:
        for changed in row["perturbed_questions"]:
            yield Pair(row["question"], changed["perturbed_q"], same=False)


def drop(file: Path) -> Iterator[Pair]:
    for passage in json.loads(file.read_text("utf-8")).values():
        for row in passage["qa_pairs"]:
            if row.get("original_question"):
                yield Pair(row["original_question"], row["question"], same=False)


def squad(file: Path) -> Iterator[Pair]:
    def questions(file: Path) -> list[str]:
        data = json.loads(file.read_text("utf-8"))["data"]
        return [row["question"] for article in data for passage in article["paragraphs"] for row in passage["qas"]]

    for one, other in zip(questions(file.with_name("dev_orig.json")), questions(file), strict=True):
        yield Pair(one, other, same=True)


def quora(file: Path) -> Iterator[Pair]:
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield Pair(row["question1"], row["question2"], row["is_duplicate"] == "1")


def banking(file: Path) -> Iterator[Pair]:
    """Each of some questions with the nearest one, by the shipped encoder, that another intent was noted for."""
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        rows = [(row["text"].strip(), row["category"]) for row in csv.DictReader(lines)]
    chosen = random.Random(7).sample(rows, min(MOST, len(rows)))
    vectors = shipped(precision="int8").embed([text for text, _ in chosen])
    intents = np.array([intent for _, intent in chosen])
    cosines = vectors @ vectors.T
    cosines[intents[:, None] == intents[None]] = -1
    for n, nearest in enumerate(cosines.argmax(1)):
        yield Pair(chosen[n][0], chosen[nearest][0], same=False)


def changed(file: Path) -> Iterator[Pair]:
    """Near pairs made by rule from real questions."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        questions = [json.loads(line)["text"] for line in lines]
    chance = random.Random(7)
    for question in chance.sample(questions, min(MOST // 8, len(questions))):
        other = chance.choice(questions)
        for change in (_other_number, _other_word, _negated):
            near = change(question, other, chance)
            if near and near != question:
                yield Pair(question, near, same=False)


def _other_number(question: str, other: str, chance: random.Random) -> str:
    found = re.search(r"\d+", question)
    return (
        question[: found.start()] + str(int(found[0]) + chance.randint(1, 9)) + question[found.end() :] if found else ""
    )


def _other_word(question: str, other: str, chance: random.Random) -> str:
    """One long word in place of another: such words are mostly nouns, verbs and names."""
    words = re.findall(r"\b[^\W\d_]{5,}\b", question)[1:]
    others = [
        word for word in re.findall(r"\b[^\W\d_]{5,}\b", other)[1:] if word[:5].casefold() not in question.casefold()
    ]
    if not words or not others:
        return ""
    return re.sub(rf"\b{chance.choice(words)}\b", chance.choice(others), question, count=1)


def _negated(question: str, other: str, chance: random.Random) -> str:
    if re.search(r"\bnot?\b|n't\b", question):
        return ""
    return re.sub(r"\b(is|are|was|were|does|do|did|can|will|should)( \w+)\b", r"\1\2 not", question, count=1)


SETS: dict[str, tuple[str, Callable[[Path], Iterator[Pair]]]] = {
    "PAWS-QQP": ("dev_and_test.tsv", paws),
    "BoolQ, changed": ("boolq_perturbed.json", boolq),
    "DROP, changed": ("drop_contrast_sets_test.json", drop),
    "SQuAD, paraphrased": ("dev_para.json", squad),
    "Quora duplicates": ("quora/eval.csv", quora),
    "BANKING77, neighbours": ("banking77/train.csv.gz", banking),
    "XQuAD, changed": ("xquad/en/queries.jsonl.gz", changed),
    "PolicyQA, changed": ("policyqa/queries.jsonl.gz", changed),
    "PubMedQA, changed": ("pubmedqa/queries.jsonl.gz", changed),
    "COVID-QA, changed": ("covidqa_longdocs/queries.jsonl.gz", changed),
}


def pairs(data: Path | None) -> Iterator[tuple[str, list[Pair]]]:
    yield "ours, seen", ours(HERE / "alike_questions.jsonl")
    yield "ours, fresh", ours(HERE / "alike_questions_fresh.jsonl")
    for name, (pattern, read) in SETS.items():
        file = next(iter(sorted(data.rglob(pattern))), None) if data else None
        if file:
            found = [pair for pair in read(file) if _plain(pair.one) != _plain(pair.other)]
            yield name, [pair for same in (True, False) for pair in [p for p in found if p.same is same][:MOST]]


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the sets of other people")
    parser.add_argument("--wrong", action="store_true", help="print the near pairs that were taken for the same")
    chosen = parser.parse_args()
    alike = Alike(shipped(precision="int8"))
    read: dict[str, Question] = {}
    scores: dict[str, list[tuple[bool, float, float]]] = {}
    reading = comparing = 0.0
    for name, found in pairs(chosen.data):
        started = time.process_time()
        for text in (text for pair in found for text in pair[:2]):
            if text not in read:
                read[text] = alike.read(text)
        reading += time.process_time() - started
        started = time.process_time()
        scores[name] = []
        for pair in found:
            one, other = read[pair.one], read[pair.other]
            sure = alike.compare(one, other).sure
            scores[name].append((pair.same, sure, float(one.vector @ other.vector)))
            if chosen.wrong and not pair.same and sure >= DEFAULT:
                print(f"{name}: {pair.one} | {pair.other}")
        comparing += time.process_time() - started

    near = np.array([cosine for rows in scores.values() for same, _, cosine in rows if not same])
    allowed = float(np.quantile(near, 1 - WRONG))  # of a cosine alone, with as few wrong hits
    rows: dict[str, dict[str, Any]] = {}
    for name, found_scores in scores.items():
        row: dict[str, Any] = {}
        for label, kind in (("paraphrases", True), ("near", False)):
            its = [(sure, cosine) for same, sure, cosine in found_scores if same is kind]
            if its:
                row[label] = len(its)
                row["hits" if kind else "wrong"] = round(sum(sure >= DEFAULT for sure, _ in its) / len(its), 4)
                row["hits_cosine" if kind else "wrong_cosine"] = round(sum(c > allowed for _, c in its) / len(its), 4)
        rows[name] = row
    columns = {"near pairs": "near", "wrong hits": "wrong", "by cosine": "wrong_cosine",
               "paraphrases": "paraphrases", "hits": "hits", "hits by cosine": "hits_cosine"}  # fmt: skip
    show(f"semantic cache at {DEFAULT}, cosine at {allowed:.4f}", columns, rows)
    count = len(near)
    wrong = sum(sure >= DEFAULT for found_scores in scores.values() for same, sure, _ in found_scores if not same)
    compared = sum(map(len, scores.values()))
    figures = {
        "threshold": DEFAULT,
        "cosine_threshold": round(allowed, 4),
        "near_pairs": count,
        "wrong": round(wrong / count, 5),
        "sets": rows,
        "cpu_ms_to_read_a_question": round(1000 * reading / len(read), 3),
        "cpu_ms_to_compare_two": round(1000 * comparing / compared, 3),
    }
    print(f"\nnear pairs: {wrong} of {count} wrong ({wrong / count:.2%}). CPU-ms: {figures['cpu_ms_to_read_a_question']} to read "
          f"a question, {figures['cpu_ms_to_compare_two']} to compare two")  # fmt: skip
    packages = versions(("penstock", "numpy", "onnxruntime", "tokenizers", "PyStemmer"))
    write(
        "semantic_cache",
        claim=__doc__,
        command="python -m benchmarks.semantic_cache --data DATA",
        figures={"packages": packages, **figures},
    )


if __name__ == "__main__":
    main()
