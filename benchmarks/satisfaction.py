"""Turns of conversations that people find unsatisfying are told from others better than by TF-IDF learnt from other sources.

    python -m benchmarks.satisfaction DATA [PARALLEL]

DATA is a folder with rated dialogues, a source a file (*.jsonl.gz: `turns`, and `satisfaction` in those of people: a list of
ratings from 1 to 5). A turn is low where their mean is below 3. The dialogues of satisfaction_dialogues.jsonl are added: our
own words and ratings, by the hand that wrote the lists, which have been read since; read that row as optimistic.

- ours: the shipped weights, as a user runs them; and the word lists alone;
- TF-IDF: words and pairs of words of the turn and the assistant's before it, a logistic regression fitted on all other sources;
- a person: one rating, held against the mean of the others (turns with four ratings or more), which says how far people agree.

PARALLEL is a folder with sentences in English and other languages, line by line (deu-eng.deu, deu-eng.eng, …): do the lists of both
languages find the same in a sentence and in its translation? It says that lists mean alike, and not that they are right.

Two intervals: DeLong's, as if turns were independent, and a bootstrap of whole dialogues (300 draws), which is the honest one.
"""

from __future__ import annotations

import gzip
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from benchmarks.measure import show, versions, write
from penstock.observe.satisfaction import Satisfaction, spoken
from penstock.stats import auroc, auroc_test, bootstrap, expected_calibration_error
from penstock.train.satisfaction import spearman

OWN = Path(__file__).parent / "satisfaction_dialogues.jsonl"
DRAWS = 300
CODES = {"deu": "de", "spa": "es", "fra": "fr", "ita": "it", "nld": "nl", "por": "pt"}
Array = np.ndarray[Any, Any]


@dataclass
class Source:
    """Its rated turns, in columns."""

    dialogues: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    ratings: list[list[float]] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    words: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    words_cpu_s: float = 0.0

    @property
    def mean(self) -> Array:
        return np.array([statistics.mean(one) for one in self.ratings])


def stored(path: Path) -> Iterator[tuple[list[tuple[str, str]], list[list[float]]]]:
    """Turns, and the ratings of each."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            turns = json.loads(line)["turns"]
            yield [(turn["role"], turn["text"]) for turn in turns], [turn.get("satisfaction") or [] for turn in turns]


def own() -> Iterator[tuple[list[tuple[str, str]], list[list[float]]]]:
    for line in OWN.read_text("utf-8").splitlines():
        row = json.loads(line)
        turns = [(message["role"], message["content"]) for message in row["messages"]]
        yield turns, [[] if rating is None else [rating] for rating in row["ratings"]]


def read(
    dialogues: Iterator[tuple[list[tuple[str, str]], list[list[float]]]], ours: Satisfaction, words: Satisfaction
) -> Source:
    found = Source()
    for number, (turns, ratings) in enumerate(dialogues):
        began = time.process_time()
        by_words = words.of(turns)
        between = time.process_time()
        felt = ours.of(turns)
        found.words_cpu_s += between - began
        found.cpu_s += time.process_time() - between
        for turn, one, other in zip(spoken(turns), felt, by_words, strict=True):
            if ratings[turn.at]:
                found.dialogues.append(number)
                found.texts.append(f"{turn.answered} || {turn.text}")
                found.ratings.append(ratings[turn.at])
                found.ours.append(one.low)
                found.words.append(other.low)
    return found


def tfidf(train: list[Source], test: Source) -> Array:
    vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
    inputs = vectors.fit_transform([text for source in train for text in source.texts])
    low = np.concatenate([source.mean for source in train]) < 3
    model = LogisticRegression(max_iter=2000).fit(inputs, low)
    scores: Array = model.decision_function(vectors.transform(test.texts))
    return scores


def one_person(source: Source) -> float | None:
    """AUROC of one rating, against the mean of the others."""
    draw = random.Random(0)
    scores, truth = [], []
    for ratings in source.ratings:
        if len(ratings) >= 4:
            n = draw.randrange(len(ratings))
            scores.append(-ratings[n])
            truth.append(statistics.mean(ratings[:n] + ratings[n + 1 :]) < 3)
    return round(auroc(scores, truth).estimate, 4) if scores else None


def figures(source: Source, baseline: Array | None) -> dict[str, Any]:
    said, mean = np.array(source.ours), source.mean
    low = mean < 3
    area = auroc(said, low)
    whole = bootstrap(
        np.stack([said, low], 1), lambda rows: auroc(rows[:, 0], rows[:, 1]).estimate, clusters=source.dialogues,
        method="percentile", draws=DRAWS,
    )  # fmt: skip
    found: dict[str, Any] = {
        "turns": len(low),
        "dialogues": len(set(source.dialogues)),
        "low": round(float(low.mean()), 3),
        "auroc": round(area.estimate, 4),
        "delong": [round(area.low, 4), round(area.high, 4)],
        "by_dialogue": [round(whole.low, 4), round(whole.high, 4)],
        "spearman": round(spearman(-said, mean), 4),
        "calibration_error": round(expected_calibration_error(said, low), 4),
        "said_low": round(float(said.mean()), 3),
        "words_auroc": round(auroc(source.words, low).estimate, 4),
        "words_spearman": round(spearman(-np.array(source.words), mean), 4),
        "one_person_auroc": one_person(source),
        "turns_per_cpu_s": round(len(low) / source.cpu_s),
        "words_turns_per_cpu_s": round(len(low) / source.words_cpu_s),
    }
    if baseline is not None:
        test = auroc_test(baseline, said, low)
        found |= {
            "tfidf_auroc": round(auroc(baseline, low).estimate, 4),
            "tfidf_spearman": round(spearman(-baseline, mean), 4),
            "ahead_of_tfidf_p": test.p_value,
        }
    return found


def alike(parallel: Path) -> dict[str, Any]:
    """By language: how the signs in English sentences go together with those in their translations, read as a person's turn."""
    words, found = Satisfaction(encoder=None), {}
    for code, language in CODES.items():
        pairs = [(parallel / f"{code}-eng.{end}").read_text("utf-8").splitlines() for end in ("eng", code)]
        sums = [
            [sum(value for _, value in words.of([("user", line)], language=tongue)[0].why) for line in lines]
            for lines, tongue in zip(pairs, ("en", language), strict=True)
        ]
        found[language] = {
            "sentences": len(sums[0]),
            "correlation": round(float(np.corrcoef(sums[0], sums[1])[0, 1]), 3),
            "mean_en": round(statistics.mean(sums[0]), 3),
            "mean": round(statistics.mean(sums[1]), 3),
        }
    return found


def main() -> None:
    ours, words = Satisfaction(), Satisfaction(encoder=None)
    sources = {
        path.name.removesuffix(".jsonl.gz"): read(stored(path), ours, words)
        for path in sorted(Path(sys.argv[1]).rglob("*.jsonl.gz"))
    }
    found = {}
    for name, source in sources.items():
        others = [other for other in sources.values() if other is not source]
        found[name] = figures(source, tfidf(others, source) if others else None)
    mine = read(own(), ours, words)
    found["own dialogues"] = figures(mine, tfidf(list(sources.values()), mine))
    columns = {"turns": "turns", "low": "low", "AUROC": "auroc", "by dialogue": "by_dialogue", "Spearman": "spearman",
               "calibration": "calibration_error", "words alone": "words_auroc", "TF-IDF": "tfidf_auroc",
               "one person": "one_person_auroc", "turns/CPU-s": "turns_per_cpu_s"}  # fmt: skip
    show("Low satisfaction, per turn", columns, found)
    translated = alike(Path(sys.argv[2])) if len(sys.argv) > 2 else {}
    show("Signs in translations", {"sentences": "sentences", "correlation": "correlation"}, translated)
    write(
        "satisfaction", claim=__doc__, command="python -m benchmarks.satisfaction DATA PARALLEL",
        figures={"sources": found, "translated": translated, "versions": versions(["scikit-learn", "onnxruntime"])},
    )  # fmt: skip


if __name__ == "__main__":
    main()
