"""Answers without a language model: the best sentences, verbatim, or an honest "not in your documents".

Every sentence of the best passages is described by a dozen numbers (how much of the question it holds, how near it is
in meaning, where it stands); a small network, trained on questions whose answers are known, orders them. A second one
looks at the best of them and says how likely it is that they answer the question. Both come with the package as
weights/quote.json; recipes/quote.py made them and says from what.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from penstock.documents.followup import REFUSAL
from penstock.documents.search import crossed_terms
from penstock.encoder import WEIGHTS
from penstock.text.words import query_terms, term_ids
from penstock.types import Answer, Citation, Crossed, Found, Hit, Sentence, Status

if TYPE_CHECKING:
    from penstock.types import Vectors

__all__ = ["Candidate", "Quotes", "candidates", "confidence_features", "features"]

LIMIT = 3
PASSAGES = 8  # whose sentences are looked at
K1, B, MEAN_LENGTH = 1.2, 0.75, 20.0  # BM25 of a sentence; 20 terms are an ordinary one
CROSSED_LOG_ODDS = (
    0.3  # a question put into English word by word is answered oftener than its coverage tells: see benchmarks.crossing
)
ASKING = ("?", "？", "؟")
_BULLET = re.compile(r"[-*+•‣·]|\d[.)]")
LONGEST_LIST = 800  # characters that are quoted after "for the following reasons:"
RELATED = "Your documents do not answer this outright. Possibly related:"


class Candidate(NamedTuple):
    """A sentence that may be quoted, and what is known of it."""

    hit: Hit
    sentence: Sentence
    place: int  # among the sentences of its passage
    rank: int  # of its passage
    ids: tuple[int, ...]  # its terms in order
    terms: frozenset[int]  # and those of a question that it answers
    bm25: float
    covered: float  # share of the question's idf that occurs in it


@dataclass(frozen=True, slots=True)
class Question:
    """A question's words as terms, each with its weight."""

    terms: dict[int, float]  # term id -> idf of its word
    pairs: frozenset[tuple[int, int]]  # terms of neighbouring words
    words: tuple[tuple[tuple[int, ...], float], ...]  # (term ids, idf) of each word
    total: float

    def covered(self, terms: frozenset[int]) -> float:
        held = sum(idf for ids, idf in self.words if not terms.isdisjoint(ids))
        return held / self.total if self.total else 0.0


def analyse(question: str, found: Found) -> Question:
    if found.crossed:
        return _crossed(found.crossed, found)
    words = tuple((ids, found.terms.get(word, 0.0)) for word, ids in query_terms(question, found.languages).items())
    pairs = frozenset((a, b) for (one, _), (other, _) in pairwise(words) for a in one for b in other)
    return Question({term: idf for ids, idf in words for term in ids}, pairs, words, sum(idf for _, idf in words))


def _crossed(crossed: Crossed, found: Found) -> Question:
    """A word stands as any of those that it may stand for, and weighs as much as the likeliest of them."""
    terms, words = dict[int, float](), list[tuple[tuple[int, ...], float]]()
    for likeliest, some in zip(crossed.asked, crossed.words, strict=True):
        weights = {
            term: found.terms.get(word, 0.0) for word, _ in some for term in crossed_terms(word, found.languages)
        }
        terms |= {one: max(terms.get(one, 0.0), weight) for one, weight in weights.items()}
        words.append((tuple(weights), found.terms.get(likeliest, 0.0)))
    pairs = frozenset((a, b) for (one, _), (other, _) in pairwise(words) for a in one for b in other)
    return Question(terms, pairs, tuple(words), sum(idf for _, idf in words))


def candidates(question: Question, found: Found) -> list[Candidate]:
    """The sentences of the best passages. A question in a document, or over a passage, is never an answer: it speaks for the
    sentence after it."""
    chosen: list[Candidate] = []
    for rank, hit in enumerate(found.hits[:PASSAGES]):
        asked = _heading(hit, rank, question)
        for place, sentence in enumerate(hit.sentences):
            text = hit.passage.text[sentence.start : sentence.end]
            ids = term_ids(text, hit.passage.language)
            terms = frozenset(ids)
            candidate = Candidate(
                hit, sentence, place, rank, tuple(ids), terms, _bm25(question, ids), question.covered(terms)
            )
            if asked:
                candidate = _answering(asked, candidate, question)
            if text.rstrip("\"')»”").endswith(ASKING) and place + 1 < len(hit.sentences):
                asked = candidate
                continue
            asked = None
            chosen.append(candidate)
    return chosen


def _heading(hit: Hit, rank: int, question: Question) -> Candidate | None:
    """The heading over a passage, where it is a question, as in a list of frequent ones."""
    heading = hit.passage.section[-1] if hit.passage.section else hit.passage.title
    if not heading.rstrip().endswith(ASKING):
        return None
    ids = term_ids(heading, hit.passage.language)
    terms, sentence = frozenset(ids), Sentence(0, 0, hit.parts["dense"])
    return Candidate(hit, sentence, 0, rank, tuple(ids), terms, _bm25(question, ids), question.covered(terms))


def _answering(asked: Candidate, candidate: Candidate, question: Question) -> Candidate:
    terms = asked.terms | candidate.terms
    similarity = max(asked.sentence.similarity, candidate.sentence.similarity)
    sentence = Sentence(candidate.sentence.start, candidate.sentence.end, similarity)
    bm25 = max(asked.bm25, candidate.bm25)
    return candidate._replace(sentence=sentence, terms=terms, bm25=bm25, covered=question.covered(terms))


def _bm25(question: Question, ids: list[int]) -> float:
    norm = K1 * (1 - B + B * len(ids) / MEAN_LENGTH)
    counts = Counter(term for term in ids if term in question.terms)
    return sum(question.terms[term] * count * (K1 + 1) / (count + norm) for term, count in counts.items())


FEATURES = (
    "bm25", "covered", "similarity", "passage_similarity", "passage_score", "rank", "log_length", "place",
    "covered_before", "covered_after", "new_words", "similarity_z", "bm25_z", "passage_z", "passage_covered",
    "dense_weight",
)  # fmt: skip


def features(question: Question, found: Found, chosen: list[Candidate]) -> Vectors:
    """float32 (candidates, FEATURES): what the ranking network sees. z: in standard deviations among the candidates."""
    passages: dict[int, frozenset[int]] = {}
    for c in chosen:
        passages[c.rank] = passages.get(c.rank, frozenset()) | c.terms
    covered = {rank: question.covered(terms) for rank, terms in passages.items()}
    before, after = [0.0] * len(chosen), [0.0] * len(chosen)
    for n, (one, other) in enumerate(pairwise(chosen)):
        if one.rank == other.rank:
            before[n + 1], after[n] = one.covered, other.covered
    similarity = np.array([c.sentence.similarity for c in chosen])
    bm25 = np.array([c.bm25 for c in chosen])
    score = np.array([c.hit.score for c in chosen])
    columns = [
        bm25,
        [c.covered for c in chosen],
        similarity,
        [c.hit.parts["dense"] for c in chosen],
        score,
        [c.rank for c in chosen],
        [math.log1p(c.sentence.end - c.sentence.start) for c in chosen],
        [min(c.place, 20) for c in chosen],
        before,
        after,
        [math.log1p(len(c.terms - question.terms.keys())) for c in chosen],
        _z(similarity),
        _z(bm25),
        _z(score),
        [covered[c.rank] for c in chosen],
        [found.dense_weight] * len(chosen),
    ]
    return np.array(columns, np.float32).T


CONFIDENCE_FEATURES = (
    "bm25_share", "best_similarity", "passage_covered", "sentence_covered", "pair_covered", "rarest_covered", "top_score",
    "score_margin", "spread", "log_words", "dense_weight", "top_probability", "pairs", "mean_similarity", "covered_gap",
)  # fmt: skip


def confidence_features(
    question: Question, found: Found, chosen: list[Candidate], order: list[int], probability: Vectors
) -> Vectors:
    """float32 (CONFIDENCE_FEATURES,): what the second network sees of the question and the best sentences."""
    best = chosen[order[0]]
    near = [c.terms for c in chosen if c.rank == best.rank]
    passage = frozenset().union(*near)
    pair = frozenset().union(*(chosen[n].terms for n in order[:2]))
    rarest = sorted(question.words, key=lambda word: -word[1])[:2]
    scores = [hit.score for hit in found.hits]
    values = [
        max(hit.parts["bm25"] for hit in found.hits) / (question.total * (K1 + 1)) if question.total else 0.0,
        max(c.sentence.similarity for c in chosen),
        max(
            question.covered(frozenset().union(*(c.terms for c in chosen if c.rank == rank)))
            for rank in range(min(3, len(found.hits)))
        ),
        best.covered,
        question.covered(pair),
        sum(not passage.isdisjoint(ids) for ids, _ in rarest) / len(rarest) if rarest else 0.0,
        scores[0],
        scores[0] - scores[1] if len(scores) > 1 else 1.0,
        found.spread,
        math.log1p(len(question.words)),
        found.dense_weight,
        float(probability[order[0]]),
        sum(pair in question.pairs for pair in pairwise(best.ids)) / max(len(question.pairs), 1),
        float(np.mean(sorted((c.sentence.similarity for c in chosen), reverse=True)[:5])),
        question.covered(passage) - best.covered,
    ]
    return np.array(values, np.float32)


def _z(values: Any) -> Any:
    return (values - values.mean()) / (values.std() + 1e-6)


@dataclass(frozen=True)
class Network:
    """One hidden layer: tanh(x' W1 + b1) W2 + b2, with x' the input in standard deviations."""

    mean: Vectors
    scale: Vectors
    w1: Vectors
    b1: Vectors
    w2: Vectors
    b2: Vectors

    @classmethod
    def load(cls, values: dict[str, Any]) -> Network:
        arrays: dict[str, Any] = {name: np.array(value, np.float32) for name, value in values.items()}
        return cls(**arrays)

    def __call__(self, x: Vectors) -> Any:
        return np.tanh((x - self.mean) / self.scale @ self.w1 + self.b1) @ self.w2 + self.b2


class Quotes:
    """Answers from found passages in their own words. Satisfies `Quoter`."""

    def __init__(self, weights: dict[str, Any] | None = None) -> None:
        self._given = weights

    @cached_property
    def _weights(self) -> dict[str, Any]:
        loaded: dict[str, Any] = self._given or json.loads((WEIGHTS / "quote.json").read_text("utf-8"))
        return loaded

    @cached_property
    def _ranking(self) -> Network:
        return Network.load(self._weights["ranking"])

    @cached_property
    def _confidence(self) -> Network:
        return Network.load(self._weights["confidence"])

    def quote(self, question: str, found: Found, *, limit: int = LIMIT) -> Answer:
        """The best sentences with where they stand, or what came nearest where nothing answers."""
        asked = analyse(question, found)
        chosen = candidates(asked, found)
        if not chosen:
            return Answer(
                REFUSAL, Status.NOT_FOUND, 0.0, question=question, version=found.version
            )  # nothing to look at
        score = self._ranking(features(asked, found, chosen))
        probability = np.exp(score - score.max())
        probability /= probability.sum()
        order = np.argsort(-score, kind="stable").tolist()
        x = confidence_features(asked, found, chosen, order, probability)
        confidence = _calibrated(float(self._confidence(x[None])[0]), self._weights["calibration"])
        if found.crossed:
            confidence = _likelier(confidence, CROSSED_LOG_ODDS)
        best, cited = list[int](), list[Citation]()
        for n in _different(order, chosen):
            citation = _citation(chosen[n], confidence * float(probability[n] / probability[order[0]]))
            if not any(_inside(citation, one) for one in cited):
                best.append(n)
                cited.append(citation)
            if len(cited) == limit:
                break
        limits = self._weights["thresholds"]
        answer = Answer("", Status.ANSWER, round(confidence, 4), tuple(cited), question=question, version=found.version)
        if confidence < limits["related"]:
            return replace(answer, text=REFUSAL, status=Status.NOT_FOUND, citations=(), nearest=answer.citations)
        if confidence < limits["answer"]:
            return replace(answer, text=f"{RELATED} {cited[0].quote}", status=Status.RELATED, quoted=(0,))
        second = len(cited) > 1 and probability[best[1]] > limits["second"]
        quoted = _reading_order(cited[: 2 if second else 1])
        return replace(answer, text=" ".join(cited[n].quote for n in quoted), quoted=quoted)


def _inside(one: Citation, other: Citation) -> bool:
    return one.document_id == other.document_id and other.start <= one.start and one.end <= other.end


def _different(order: list[int], chosen: list[Candidate]) -> list[int]:
    """Without sentences that say word for word what a better one said."""
    said: dict[tuple[int, ...], int] = {}
    for n in order:
        said.setdefault(chosen[n].ids, n)
    return list(said.values())


def _reading_order(cited: list[Citation]) -> tuple[int, ...]:
    """Best first; two from one document in the order they have there."""
    order = range(len(cited))
    if len({c.document_id for c in cited}) == 1:
        return tuple(sorted(order, key=lambda n: cited[n].start))
    return tuple(order)


def _with_list(candidate: Candidate) -> Sentence:
    """The sentence, and the lines after it where it ends in a colon: what it announces belongs to it."""
    text, sentence = candidate.hit.passage.text, candidate.sentence
    if not text[sentence.start : sentence.end].endswith((":", "：")):
        return sentence
    end = sentence.end
    for following in candidate.hit.sentences:
        if following.start < end:
            continue
        gap, item = text[end : following.start], text[following.start : following.end]
        listed = end == sentence.end or "\n\n" not in gap or _BULLET.search(gap) or not item.endswith(".")
        if "\n" not in gap or "`" in gap or not listed or following.end - sentence.start > LONGEST_LIST:
            break
        end = following.end
    return Sentence(sentence.start, end, sentence.similarity)


def _citation(candidate: Candidate, confidence: float) -> Citation:
    passage, sentence = candidate.hit.passage, _with_list(candidate)
    return Citation(
        source=passage.source,
        quote=passage.text[sentence.start : sentence.end],
        start=passage.start + sentence.start,
        end=passage.start + sentence.end,
        document_id=passage.document_id,
        passage_id=passage.id,
        title=passage.title,
        section=passage.section,
        page=passage.page,
        date=passage.date,
        stale=passage.stale,
        confidence=round(confidence, 4),
        also_in=passage.also_in,
    )


def _calibrated(score: float, knots: dict[str, list[float]]) -> float:
    """A score as a probability: straight lines between points measured on questions that trained nothing."""
    return float(np.interp(score, knots["score"], knots["probability"]))


def _likelier(probability: float, log_odds: float) -> float:
    odds = probability * math.exp(log_odds)
    return odds / (1 - probability + odds)
