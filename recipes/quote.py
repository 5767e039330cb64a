"""The two small networks behind quoted answers: `python -m recipes.quote DATA` writes src/penstock/weights/quote.json.

DATA holds reader/ (SQuAD 2.0 and SQuADShifts, CC BY-SA 4.0 and CC BY 4.0) and retrieval/xquad/ (CC BY-SA 4.0).
Questions are asked of the real index, through the real search, three ways: as it is, without the passage that answers
(a near miss), and without the whole article (another topic). The first network learns which sentence holds the answer,
the second whether there is one. With --check nothing is written: each source in turn trains nothing and is measured.

Runs on numpy alone, on one core, in about ten minutes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import string
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.config import WebSettings
from penstock.documents import quote
from penstock.documents.catalog import digest
from penstock.documents.collection import Collection
from penstock.documents.draft import Raw
from penstock.documents.ingest import Incoming, Opened
from penstock.documents.library import Library
from penstock.documents.read_text import read_plain
from penstock.documents.search import Snapshot, View
from penstock.encoder import WEIGHTS, shipped
from penstock.types import Document, Embedder, Found

Floats = NDArray[np.float32]

READER = {
    "squad": ["squad2_devA", "squad2_train_slice"],
    "new_wiki": ["squadshifts_new_wiki"],
    "reddit": ["squadshifts_reddit"],
    "amazon": ["squadshifts_amazon"],
}
LANGUAGES = ("de", "ru", "zh", "ar", "hi", "th", "ro")  # trained on; es, vi, tr, el and en are kept for checking
HELD_OUT = ("es", "vi", "tr", "el", "en")
WEIGHT = {"reddit": 0.1, "amazon": 0.1} | dict.fromkeys(
    LANGUAGES, 0.5
)  # reviews: many others answer the same question, so a "near miss" often is none
PER_SOURCE = 2000
KINDS = ("present", "near", "absent")
PRIOR = {"present": 0.6, "near": 0.2, "absent": 0.2}  # what the probabilities are calibrated for


class Asked(NamedTuple):
    """A question with its answers and where they stand."""

    question: str
    answers: tuple[str, ...]
    source: str
    start: int
    end: int
    topic: int | None


class Example(NamedTuple):
    """A question asked one way: its candidates' features, and which of them hold an answer."""

    kind: str
    x: Floats  # (candidates, features)
    right: NDArray[np.bool_]
    analysed: tuple[quote.Question, Found, list[quote.Candidate]]


# ---------------------------------------------------------------- questions


def squad(folder: Path, names: Iterable[str], *, whole_articles: bool) -> tuple[list[Document], list[Asked]]:
    """Documents and questions of files in SQuAD's format: an article is one document with its title, or each paragraph one."""
    documents: list[Document] = []
    asked: list[Asked] = []
    seen: dict[Any, tuple[str, int]] = {}
    articles = [
        article for name in names for article in json.loads((folder / f"{name}.json").read_text("utf-8"))["data"]
    ]
    for topic, article in enumerate(articles):
        title, text, source = article.get("title", "").replace("_", " "), "", f"{topic}.txt"
        for n, paragraph in enumerate(article["paragraphs"]):
            context = paragraph["context"]
            key = (topic if whole_articles else None, context)
            if key not in seen:
                if whole_articles:
                    text += ("\n\n" if text else "") + context
                    seen[key] = source, len(text) - len(context)
                else:
                    seen[key] = f"{topic}-{n}.txt", 0
                    documents.append(document(f"{topic}-{n}.txt", "", context))
            where, start = seen[key]
            for row in paragraph["qas"]:
                answers = tuple(answer["text"] for answer in row.get("answers") or ())
                if answers:
                    many = topic if len(articles) > 3 else None
                    asked.append(Asked(row["question"].strip(), answers, where, start, start + len(context), many))
        if whole_articles:
            documents.append(document(source, title, text))
    return documents, asked


def xquad(folder: Path) -> tuple[list[Document], list[Asked]]:
    """Documents and questions of one language of XQuAD in BEIR's layout."""
    rows = [json.loads(line) for line in gzip.decompress((folder / "corpus.jsonl.gz").read_bytes()).splitlines()]
    topics = {title: n for n, title in enumerate(sorted({row["title"] for row in rows}))}
    by_id = {row["_id"]: row for row in rows}
    owner = dict(line.split("\t")[:2] for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:])
    asked = []
    for line in gzip.decompress((folder / "queries.jsonl.gz").read_bytes()).splitlines():
        query = json.loads(line)
        row = by_id[owner[query["_id"]]]
        answers = tuple(answer["text"] for answer in query["metadata"]["answers"])
        asked.append(Asked(query["text"], answers, row["_id"] + ".txt", 0, len(row["text"]), topics[row["title"]]))
    return [document(row["_id"] + ".txt", "", row["text"]) for row in rows], asked


def document(source: str, title: str, text: str) -> Document:
    (read,) = read_plain(Raw(source, text.encode()))
    return Document(source, read.text, read.blocks, title or source)


_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normal(text: str) -> str:
    """SQuAD's own normalisation: lower case, without punctuation and articles."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


# ---------------------------------------------------------------- examples


def examples(
    documents: list[Document], asked: list[Asked], embedder: Embedder, random: np.random.Generator
) -> Iterator[Example]:
    """Ask a sample of the questions in every way their source allows."""
    with tempfile.TemporaryDirectory() as temporary:
        library = Library(Path(temporary), lambda: embedder, folder=Path(temporary), collections={}, web=WebSettings())
        collection = library.create("reader")
        collection.take([incoming(d) for d in documents])
        snapshot = collection.snapshot()
        places = [place(snapshot, library, passage) for passage in snapshot.passage.tolist()]
        topic_of = {one.source: one.topic for one in asked}
        for n in random.permutation(len(asked))[:PER_SOURCE]:
            one = asked[n]
            for kind in KINDS:
                if kind == "absent" and one.topic is None:
                    continue
                view = snapshot.everything()
                if kind != "present":
                    view = snapshot.without(np.array([dropped(one, kind, row, topic_of) for row in places]))
                yield example(collection, snapshot, view, one, kind)
        library.close()


def incoming(item: Document) -> Incoming:
    return Incoming(item.source, "", lambda: Opened(digest(item.source, item.text), "", [item]))


def place(snapshot: Snapshot, library: Library, passage: int) -> tuple[str, int, int]:
    row = library.catalog.passages([passage])[passage]
    return snapshot.documents[row.document].source, row.start, row.end


def dropped(one: Asked, kind: str, row: tuple[str, int, int], topic_of: dict[str, int | None]) -> bool:
    source, start, end = row
    if kind == "absent":
        return topic_of.get(source) == one.topic
    return source == one.source and start < one.end and end > one.start


def example(collection: Collection, snapshot: Snapshot, view: View, one: Asked, kind: str) -> Example:
    found = collection.found(one.question, snapshot, view, k=8)
    asked = quote.analyse(one.question, found)
    chosen = quote.candidates(asked, found)
    answers = [text for text in map(normal, one.answers) if text]
    texts = [normal(c.hit.passage.text[c.sentence.start : c.sentence.end]) for c in chosen]
    right = np.array([kind == "present" and any(a in text for a in answers) for text in texts], bool)
    x = quote.features(asked, found, chosen) if chosen else np.zeros((0, len(quote.FEATURES)), np.float32)
    return Example(kind, x, right, (asked, found, chosen))


# ---------------------------------------------------------------- networks, in numpy


@dataclass
class Trained:
    """tanh((x - mean) / scale @ w1 + b1) @ w2 + b2, with Adam's moments (Kingma & Ba 2015, decoupled decay)."""

    parameters: dict[str, NDArray[np.float64]]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    moments: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)
    steps: int = 0

    @classmethod
    def new(cls, x: Floats, hidden: int, random: np.random.Generator) -> Trained:
        w1 = random.normal(0, 1 / np.sqrt(x.shape[1]), (x.shape[1], hidden))
        parameters = {
            "w1": w1,
            "b1": np.zeros(hidden),
            "w2": random.normal(0, 1 / np.sqrt(hidden), hidden),
            "b2": np.zeros(1),
        }
        return cls(parameters, x.mean(0).astype(float), x.std(0).astype(float) + 1e-3)

    def score(self, x: Floats) -> NDArray[np.float64]:
        p = self.parameters
        scores: NDArray[np.float64] = np.tanh((x - self.mean) / self.scale @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"][0]
        return scores

    def step(self, x: Floats, gradient: NDArray[np.float64], *, rate: float, decay: float) -> None:
        """Move against the gradient of the loss with respect to the scores of x."""
        p, z = self.parameters, (x - self.mean) / self.scale
        hidden = np.tanh(z @ p["w1"] + p["b1"])
        inner = gradient[:, None] * p["w2"] * (1 - hidden**2)
        gradients = {"w1": z.T @ inner, "b1": inner.sum(0), "w2": hidden.T @ gradient, "b2": np.array([gradient.sum()])}
        self.steps += 1
        for name, g in gradients.items():
            first, second = self.moments.setdefault(name, [np.zeros_like(p[name]), np.zeros_like(p[name])])
            first += 0.1 * (g - first)
            second += 0.001 * (g * g - second)
            step = (first / (1 - 0.9**self.steps)) / (np.sqrt(second / (1 - 0.999**self.steps)) + 1e-8)
            p[name] -= rate * (step + decay * p[name])

    def values(self) -> dict[str, Any]:
        rounded = {name: np.round(value, 5).tolist() for name, value in self.parameters.items()}
        return {
            "mean": np.round(self.mean, 5).tolist(),
            "scale": np.round(self.scale, 5).tolist(),
            **rounded,
            "b2": rounded["b2"][0],
        }


def train_ranking(rows: list[tuple[Example, float]], random: np.random.Generator) -> Trained:
    """Softmax over a question's candidates; the loss is the weight that falls on sentences without an answer."""
    rows = [(e, weight) for e, weight in rows if e.kind == "present" and e.right.any()]
    network = Trained.new(np.concatenate([e.x for e, _ in rows]), 24, random)
    for epoch in range(40):
        for batch in np.array_split(random.permutation(len(rows)), max(1, len(rows) // 256)):
            picked = [rows[n] for n in batch]
            x = np.concatenate([e.x for e, _ in picked])
            scores, gradient, at = network.score(x), np.zeros(len(x)), 0
            for e, weight in picked:
                part = slice(at, at + len(e.x))
                share = softmax(scores[part])
                wanted = share * e.right / max(float((share * e.right).sum()), 1e-9)
                gradient[part] = weight * (share - wanted) / len(picked)
                at += len(e.x)
            network.step(x, gradient, rate=0.007 * (1 - epoch / 45), decay=0.001)
    return network


def train_confidence(rows: list[tuple[Example, float]], ranking: Trained, random: np.random.Generator) -> Trained:
    """Logistic loss: is the answer among what was searched?"""
    rows = [(e, weight) for e, weight in rows if len(e.x)]
    x = np.stack([confidence_x(e, ranking) for e, _ in rows])
    y = np.array([e.kind == "present" for e, _ in rows], float)
    weights = np.array([weight * (1.0 if e.kind == "present" else 0.6) for e, weight in rows])
    network = Trained.new(x, 16, random)
    for epoch in range(30):
        for batch in np.array_split(random.permutation(len(x)), max(1, len(x) // 256)):
            probability = 1 / (1 + np.exp(-network.score(x[batch])))
            gradient = (probability - y[batch]) * weights[batch] / len(batch)
            network.step(x[batch], gradient, rate=0.01 * (1 - epoch / 35), decay=0.1)
    return network


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.exp(scores - scores.max())
    shares /= shares.sum()
    return shares


def confidence_x(e: Example, ranking: Trained) -> Floats:
    scores = ranking.score(e.x)
    order = np.argsort(-scores, kind="stable").tolist()
    return quote.confidence_features(*e.analysed, order, softmax(scores).astype(np.float32))


# ---------------------------------------------------------------- measuring


def held(e: Example, ranking: Trained) -> list[bool]:
    """Whether one, two, three sentences hold an answer."""
    order = np.argsort(-ranking.score(e.x), kind="stable") if len(e.x) else np.zeros(0, np.int64)
    return [bool(e.right[order[:n]].any()) if len(e.x) else False for n in (1, 2, 3)]


def auroc(positive: Any, negative: Any) -> float | None:
    """Area under the ROC curve: how often a positive scores above a negative, ties counting half."""
    _, inverse, counts = np.unique(np.concatenate([positive, negative]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n, m = len(positive), len(negative)
    return round(float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m)), 4) if n and m else None


def isotonic(
    scores: NDArray[np.float64], right: NDArray[np.float64], weights: NDArray[np.float64], knots: int = 24
) -> dict[str, list[float]]:
    """A rising line through (score, share of right answers): pool adjacent violators over equal parts of the scores."""
    order = np.argsort(scores)
    blocks: list[list[float]] = []  # [weight, weight x right, weight x score]
    for part in np.array_split(order, knots):
        w = weights[part]
        blocks.append([w.sum(), (w * right[part]).sum(), (w * scores[part]).sum()])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][0] >= blocks[-1][1] / blocks[-1][0]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return {
        "score": [round(b[2] / b[0], 4) for b in blocks],
        "probability": [round(min(max(b[1] / b[0], 0.005), 0.995), 4) for b in blocks],
    }


def measure(rows: list[Example], ranking: Trained, confidence: Trained) -> dict[str, float | None]:
    present = [held(e, ranking) for e in rows if e.kind == "present"]
    scores = {kind: np.array([score(e, ranking, confidence) for e in rows if e.kind == kind]) for kind in KINDS}
    shares = np.mean(present, 0)
    return {
        "one": round(float(shares[0]), 4),
        "two": round(float(shares[1]), 4),
        "three": round(float(shares[2]), 4),
        "auroc_absent": auroc(scores["present"], scores["absent"]),
        "auroc_near": auroc(scores["present"], scores["near"]),
    }


def score(e: Example, ranking: Trained, confidence: Trained) -> float:
    return float(confidence.score(confidence_x(e, ranking)[None])[0]) if len(e.x) else -9.0


def calibrate(folds: list[tuple[list[Example], Trained, Trained]]) -> tuple[dict[str, list[float]], float]:
    """Knots from score to probability that two sentences hold an answer, from rows that trained nothing, and the
    expected calibration error in ten bins (Guo et al. 2017), measured on the other half of those rows."""
    scores, right, weights = [], [], []
    for rows, ranking, confidence in folds:
        counts = {kind: sum(e.kind == kind for e in rows) for kind in KINDS}
        for e in rows:
            scores.append(score(e, ranking, confidence))
            right.append(float(held(e, ranking)[1]))
            weights.append(PRIOR[e.kind] / counts[e.kind])
    s, r, w = np.array(scores), np.array(right), np.array(weights)
    half = np.random.default_rng(3).random(len(s)) < 0.5
    knots = isotonic(s[half], r[half], w[half])
    probability = np.interp(s[~half], knots["score"], knots["probability"])
    r, w = r[~half], w[~half]
    bins = np.minimum((probability * 10).astype(int), 9)
    parts = [
        (w[bins == n].sum(), abs(np.average(r[bins == n] - probability[bins == n], weights=w[bins == n])))
        for n in set(bins)
    ]
    return isotonic(s, np.array(right), np.array(weights)), float(sum(a * b for a, b in parts) / w.sum())


# ---------------------------------------------------------------- the recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; measure every source without training on it"
    )
    options = parser.parse_args()
    embedder, random = shipped(threads=2), np.random.default_rng(1)
    rows: dict[str, list[Example]] = {}
    for name, files in READER.items():
        rows[name] = list(
            examples(*squad(options.data / "reader", files, whole_articles=name == "squad"), embedder, random)
        )
        print(name, len(rows[name]), file=sys.stderr)
    for language in LANGUAGES + HELD_OUT:
        rows[language] = list(examples(*xquad(options.data / "retrieval/xquad" / language), embedder, random))
        print(language, len(rows[language]), file=sys.stderr)

    def weighted(left_out: str = "") -> list[tuple[Example, float]]:
        names = [name for name in (*READER, *LANGUAGES) if name != left_out]
        return [(e, WEIGHT.get(name, 1.0)) for name in names for e in rows[name]]

    measured: dict[str, Any] = {}
    folds = []
    for name in (*READER, *LANGUAGES):
        ranking = train_ranking(weighted(name), random)
        confidence = train_confidence(weighted(name), ranking, random)
        measured[name] = measure(rows[name], ranking, confidence)
        if name in ("squad", "new_wiki", *LANGUAGES):
            folds.append((rows[name], ranking, confidence))
        print(name, measured[name], flush=True)
    ranking = train_ranking(weighted(), random)
    confidence = train_confidence(weighted(), ranking, random)
    for language in HELD_OUT:
        measured[language] = measure(rows[language], ranking, confidence)
        print(language, measured[language], flush=True)
    knots, error = calibrate(folds)
    print("expected calibration error", round(error, 4))
    if options.check:
        return
    weights = {
        "card": {
            "what": "ranks sentences, and says how likely they answer",
            "recipe": "recipes/quote.py",
            "data": "SQuAD 2.0 (CC BY-SA 4.0), SQuADShifts (CC BY 4.0), XQuAD (CC BY-SA 4.0)",
            "licence": "Apache-2.0 for the numbers; no text of the data is in them",
            "measured_without_training_on_the_source": measured,
            "expected_calibration_error": round(error, 4),
            "calibrated_for": PRIOR,
            "encoder": embedder.id,
        },
        "thresholds": {"related": 0.2, "answer": 0.5, "second": 0.2},
        "calibration": knots,
        "ranking": ranking.values(),
        "confidence": confidence.values(),
    }
    (WEIGHTS / "quote.json").write_text(json.dumps(weights, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
