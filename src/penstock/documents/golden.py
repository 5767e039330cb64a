"""Golden questions: what an index has to find, and how well a version finds it.

In a file of JSON Lines, or written in the console. Each has a `question` and names what answers it: a `source` (a pattern such
as "policies/*.md"), words it `contains`, or both. Its `lang` is told from its words where it is not given: questions in several
languages are scored for each, beside those in English.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path

from penstock.errors import BadRequest
from penstock.text.languages import gap, language_of
from penstock.types import Passage

__all__ = ["DEPTH", "Question", "Scores", "compare", "load", "measure", "score", "too_wide"]

DEPTH = 10  # passages looked at for each question


@dataclass(frozen=True, slots=True)
class Question:
    question: str
    source: str = "*"
    contains: str = ""
    lang: str = ""  # ISO 639-1; "": told from the words

    @property
    def id(self) -> str:
        """The same for the same question with the same answer, in every collection."""
        return blake2b(repr(self).encode("utf-8", "replace"), digest_size=8).hexdigest()

    @property
    def language(self) -> str:
        return self.lang or language_of(self.question) or "en"

    def answered_by(self, passage: Passage) -> bool:
        sources = (passage.source, *passage.also_in)
        words = " ".join(passage.text.split()).casefold()
        return any(fnmatchcase(s, self.source) for s in sources) and " ".join(self.contains.split()).casefold() in words


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over the questions, 0 to 1."""

    questions: int
    recall_at_5: float
    ndcg_at_10: float
    missed: tuple[str, ...] = ()  # questions with nothing right among the first five
    ranks: tuple[int, ...] = ()  # of the first right passage, question by question, from 1; 0: none among the first ten
    by_language: Mapping[str, Scores] = field(default_factory=dict)  # where they are in several, English first

    @property
    def gap(self) -> float:
        """How much lower recall@5 is in the worst language than in English."""
        return gap({language: own.recall_at_5 for language, own in self.by_language.items()})


def load(path: Path) -> list[Question]:
    """Read the questions. Raises BadRequest with the number of a line that is not one."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"the golden questions {path} cannot be read: {error}") from error
    questions = []
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            question = Question(
                str(row["question"]),
                str(row.get("source", "*")),
                str(row.get("contains", "")),
                str(row.get("lang", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadRequest(
                f"{path} line {n} is no golden question", hint='{"question": "…", "source": "…", "contains": "…"}'
            ) from error
        if question.source == "*" and not question.contains:
            raise BadRequest(f"{path} line {n} does not say what answers it", hint='add "source" or "contains"')
        questions.append(question)
    if not questions:
        raise BadRequest(f"{path} holds no questions")
    return questions


def score(questions: Sequence[Question], ranked: Sequence[Sequence[Passage]]) -> Scores:
    """Score the passages found for each question. A question has one answer: the first passage that fits."""
    whole = _score(questions, ranked)
    languages = [question.language for question in questions]
    if len(set(languages)) < 2:
        return whole
    by_language = {}
    for language in sorted(set(languages), key=lambda name: (name != "en", name)):
        own = [n for n, name in enumerate(languages) if name == language]
        by_language[language] = _score([questions[n] for n in own], [ranked[n] for n in own])
    return replace(whole, by_language=by_language)


def _score(questions: Sequence[Question], ranked: Sequence[Sequence[Passage]]) -> Scores:
    recall, ndcg, missed, ranks = 0.0, 0.0, [], []
    for question, passages in zip(questions, ranked, strict=True):
        place = next((n for n, passage in enumerate(passages[:DEPTH]) if question.answered_by(passage)), None)
        found = place is not None and place < 5
        recall += found
        ndcg += 1 / math.log2(place + 2) if place is not None else 0.0
        missed += [] if found else [question.question]
        ranks.append(0 if place is None else place + 1)
    return Scores(len(questions), recall / len(questions), ndcg / len(questions), tuple(missed), tuple(ranks))


def too_wide(scores: Scores, most: float) -> str:
    """Why a version is too uneven between languages, in a sentence; "" when it is not. most: 0 asks nothing."""
    if not most or scores.gap <= most:
        return ""
    worst = min(scores.by_language, key=lambda language: scores.by_language[language].recall_at_5)
    found = scores.by_language[worst].recall_at_5
    return (
        f"recall@5 in '{worst}' is {found:.3f}, {scores.gap:.3f} below the best it is compared with; {most:.3f} may be"
    )


def compare(live: Scores, candidate: Scores, *, tolerance: float) -> str:
    """Why the candidate is worse, in a sentence; "" when it is not, by more than the tolerance."""
    falls = [
        f"{name} fell from {old:.3f} to {new:.3f}"
        for name, old, new in (
            ("recall@5", live.recall_at_5, candidate.recall_at_5),
            ("nDCG@10", live.ndcg_at_10, candidate.ndcg_at_10),
        )
        if new < old - tolerance
    ]
    return f"on {candidate.questions} golden questions " + " and ".join(falls) if falls else ""


def measure(
    qrels: Mapping[str, Mapping[str, float]], run: Mapping[str, Sequence[str]], queries: Iterable[str]
) -> dict[str, float]:
    """Means of nDCG@10, recall@5, @10 and @100, and MRR@10 over the queries, with graded judgements (query -> document -> gain).

    nDCG with linear gains (Järvelin & Kekäläinen 2002, as trec_eval and BEIR compute it).
    """
    totals = dict.fromkeys(("ndcg@10", "recall@5", "recall@10", "recall@100", "mrr@10"), 0.0)
    judged = [query for query in queries if any(gain > 0 for gain in qrels.get(query, {}).values())]
    for query in judged:
        gains = {document: gain for document, gain in qrels[query].items() if gain > 0}
        found = list(run.get(query, ()))
        best = sum(gain / math.log2(n + 2) for n, gain in enumerate(sorted(gains.values(), reverse=True)[:10]))
        totals["ndcg@10"] += sum(gains.get(d, 0) / math.log2(n + 2) for n, d in enumerate(found[:10])) / best
        for depth in (5, 10, 100):
            totals[f"recall@{depth}"] += len(gains.keys() & set(found[:depth])) / len(gains)
        totals["mrr@10"] += next((1 / (n + 1) for n, d in enumerate(found[:10]) if d in gains), 0.0)
    return {name: total / len(judged) if judged else 0.0 for name, total in totals.items()}
