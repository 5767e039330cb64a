"""Hybrid search over one version: BM25 and dense, fused by min-max over the candidates of both.

Everything is scored within a mask of the passages that are live, that the caller may read, and that the filter lets
through: frequencies, lengths, minima and maxima too. A caller's result is the one an index with only those passages gives.

- BM25 (Robertson & Zaragoza 2009) with k1 = 1.2, b = 0.75.
- Dense: the cosine of the question to the passage or to its best sentence, whichever is higher.
- Fused: w x dense + (1 - w) x bm25, each scaled to 0..1 over the candidates; w falls from 0.5 to 0.15 as the embedder
  knows fewer of the question's words whole, as it does in a language it was not trained on.
- A question that was put into English counts each of its words once, by the best of the words that it may stand for.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.documents.catalog import DocumentRow, TwinRow
from penstock.documents.segment import Mask, Segment
from penstock.errors import BadRequest
from penstock.text.words import query_terms, term_of
from penstock.types import Caller, Crossed, Embedder, Filter

if TYPE_CHECKING:
    from penstock.types import Vectors

__all__ = ["ENGLISH", "Match", "Matches", "Snapshot", "View", "crossed_terms", "matches_filter", "may_read"]

K1, B = 1.2, 0.75
CANDIDATES = 100  # of each kind
DENSE_WEIGHT, STRANGE_WEIGHT = 0.5, 0.15  # for text that the embedder reads well, and not at all
ENGLISH = "en"  # what a question is put into
RARE = 0.2  # share of the documents
CROSSED_WEIGHT = 0.4  # for a question that was put into English word by word
WELL, NOT_AT_ALL = 0.6, 0.2  # familiarity
MOST_VIEWS = 256
EXACT_UP_TO = 50_000  # passages in view; beyond, graphs are walked where there are any
SAMPLE = 4_096  # passages that stand for all when a graph is walked
SENTENCE_HANDICAP = 0.03  # a sentence must beat its passage by this much: short texts score higher by chance

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]
OUT_OF_VIEW = -2.0  # below any cosine


class Match(NamedTuple):
    """One found passage, by its number in the catalog, with everything that was scored."""

    passage: int
    document: int
    score: float
    bm25: float
    dense: float
    bm25_share: float
    dense_share: float
    sentences: tuple[tuple[int, int, float], ...]  # start, end, similarity


@dataclass(frozen=True, slots=True)
class Matches:
    found: tuple[Match, ...]
    terms: Mapping[str, float]  # word of the question -> inverse document frequency
    languages: tuple[str, ...]  # of the passages
    dense_weight: float
    searched: int
    spread: float


@dataclass(frozen=True)
class View:
    """What one kind of caller sees of a snapshot through one filter."""

    mask: Mask | None  # over all rows; None: everything
    documents: frozenset[int] | None  # None: all of the version's
    count: int
    mean_length: float
    sample: Rows  # evenly spread rows that stand for all
    languages: tuple[str, ...]  # of its documents
    rare: frozenset[str] = frozenset()  # those that few of them are in: it may be that they were only taken for it


class Meant(NamedTuple):
    """How near passages are to a question in meaning."""

    best: Rows  # the nearest
    spread: float  # how far the nearest stands out, in standard deviations of all
    scores: Callable[[Rows], Scores]  # cosine of any rows


class Snapshot:
    """One version, opened: it reads the same however long it is held.

    Rows are numbered through all segments. A passage stands in the index once, for itself and for its twins: the places
    that say the same. It is seen when one of its places is, and shown at the first of them.
    """

    def __init__(
        self, number: int, segments: Sequence[Segment], documents: Mapping[int, DocumentRow], twins: Sequence[TwinRow]
    ) -> None:
        self.number, self.segments, self.documents = number, segments, documents
        self._starts = np.cumsum([0, *map(len, segments)])
        self.passage = _joined([segment.passage for segment in segments], np.int64)
        self.document = _joined([segment.document for segment in segments], np.int64)
        self.length = _joined([segment.length for segment in segments], np.int32)
        self._twins: dict[int, list[TwinRow]] = {}
        for twin in twins:
            self._twins.setdefault(twin.twin, []).append(twin)
        self._views: dict[Any, View] = {}
        self._lock = threading.Lock()

    # ------------------------------------------------------------ who sees what

    @cached_property
    def _named(self) -> frozenset[str]:
        """Everybody whom some access list lets in."""
        return frozenset(name for row in self.documents.values() for name in (*row.access, *row.ruled))

    def view(self, caller: Caller, where: Filter) -> View:
        """The mask for a caller and a filter; kept, because the same few come again and again."""
        rights = caller.rights & self._named if self._named else None  # callers who differ in nothing else share a view
        key = (rights, tuple(sorted((name, _as_text(value)) for name, value in where.items())))
        with self._lock:
            held = self._views.get(key)
        if held is None:
            allowed = None
            if rights is not None or where:
                rows = [row for row in self.documents.values() if may_read(row, rights)]
                _check_fields(where, rows)
                allowed = frozenset(row.id for row in rows if matches_filter(row, where))
            held = self._view(allowed)
            with self._lock:
                while len(self._views) >= MOST_VIEWS:
                    self._views.pop(next(iter(self._views)))
                self._views[key] = held
        return held

    def everything(self) -> View:
        """Every passage, whoever may read it: for measuring a version, not for answering."""
        return self._view(None)

    def without(self, dropped: Mask) -> View:
        """Everything but the rows that are set: for measuring what is answered when the answer is gone."""
        return self._masked(~dropped, None)

    def _view(self, allowed: frozenset[int] | None) -> View:
        seen = frozenset(self.documents) if allowed is None else allowed
        standing = [slot for slot, twins in self._twins.items() if any(twin.document in seen for twin in twins)]
        return self._masked(np.isin(self.document, list(seen)) | np.isin(self.passage, standing), allowed)

    def _masked(self, mask: Mask, allowed: frozenset[int] | None) -> View:
        count = int(mask.sum())
        mean_length = float(self.length[mask].mean()) if count else 1.0
        rows = np.flatnonzero(mask)
        sample = rows[:: max(1, len(rows) // SAMPLE)]
        seen = self.documents.values() if allowed is None else (self.documents[document] for document in allowed)
        counts = Counter(row.language for row in seen)
        rare = frozenset(language for language, some in counts.items() if some < RARE * counts.total())
        return View(
            None if count == len(mask) else mask, allowed, count, mean_length, sample, tuple(sorted(counts)), rare
        )

    def places(self, passage: int, document: int, view: View) -> list[int]:
        """The passages, by number, that say what this one says and that the view lets through; itself first."""
        seen = self.documents if view.documents is None else view.documents
        twins = [twin.passage for twin in self._twins.get(passage, ()) if twin.document in seen]
        return [passage, *twins] if document in seen else twins

    # ------------------------------------------------------------ searching

    def search(
        self, question: str, embedder: Embedder, view: View, k: int | None, crossed: Crossed | None = None
    ) -> Matches:
        """The best k passages of the view; all that were looked at, for None. crossed: the question in English, where that is
        what is searched for."""
        if not view.count:
            return Matches((), {}, view.languages, 0.0, 0, 0.0)
        if crossed:
            return self._searched(crossed, embedder.embed([" ".join(crossed.asked)])[0], view, k)
        vector = embedder.embed([question])[0]
        bm25, terms = self._bm25(query_terms(question, view.languages), view)
        meant = self._dense(vector, view)
        familiar = (embedder.familiarity(question) - NOT_AT_ALL) / (WELL - NOT_AT_ALL)
        weight = STRANGE_WEIGHT + (DENSE_WEIGHT - STRANGE_WEIGHT) * min(max(familiar, 0.0), 1.0)
        if not bm25.any():
            weight = 1.0  # no word of the question occurs: meaning is all there is
        found = tuple(self._fuse(bm25, meant, vector, weight, k))
        return Matches(found, terms, view.languages, weight, view.count, meant.spread)

    def _searched(self, crossed: Crossed, vector: Vectors, view: View, k: int | None) -> Matches:
        """Of each word the best of what it may stand for counts, by its weight. The weights count in the frequencies too."""
        scores, frequencies = np.zeros(len(self.passage), np.float32), dict[str, float]()
        for alternatives in crossed.words:
            best = np.zeros_like(scores)
            for word, likely in alternatives:
                idf, hits = self._weighed(crossed_terms(word, view.languages), view)
                frequencies[word] = max(frequencies.get(word, 0.0), likely * idf)
                for rows, values in hits:
                    best[rows] = np.maximum(best[rows], likely * values)
            scores += best
        meant, weight = self._dense(vector, view), CROSSED_WEIGHT if scores.any() else 1.0
        found = tuple(self._fuse(scores, meant, vector, weight, k))
        return Matches(found, frequencies, view.languages, weight, view.count, meant.spread)

    def holds(self, word: str, view: View) -> bool:
        """Whether a lower-cased word, stop words aside, stands in some passage of the view, in this form or another."""
        terms = crossed_terms(word, view.languages)
        return any(len(rows) for term in terms for rows, _ in self._postings(term, view.mask))

    def _dense(self, vector: Vectors, view: View) -> Meant:
        """The nearest passages of the view by meaning: among all of them, or along the graphs where there are very many."""
        if view.count > EXACT_UP_TO and any(segment.graph for segment in self.segments):
            return self._walked(vector, view)
        scores = _joined([segment.vectors @ vector for segment in self.segments], np.float32)
        seen = scores if view.mask is None else scores[view.mask]
        spread = _spread(float(seen.max()), seen)
        if view.mask is not None:
            scores[~view.mask] = OUT_OF_VIEW
        return Meant(_best(scores, OUT_OF_VIEW), spread, lambda rows: scores[rows])

    def _walked(self, vector: Vectors, view: View) -> Meant:
        nearest = []
        for a, b, segment in zip(self._starts, self._starts[1:], self.segments, strict=False):
            mask = None if view.mask is None else view.mask[a:b]
            if segment.graph:
                nearest.append(segment.graph.nearest(vector, CANDIDATES, mask) + a)
            else:
                scores = segment.vectors @ vector
                if mask is not None:
                    scores[~mask] = OUT_OF_VIEW
                nearest.append(_best(scores, OUT_OF_VIEW) + a)
        rows = np.concatenate(nearest)
        scores = self._cosines(rows, vector)
        best = rows[np.argsort(-scores, kind="stable")[:CANDIDATES]]
        spread = _spread(float(scores.max(initial=OUT_OF_VIEW)), self._cosines(view.sample, vector))
        return Meant(best, spread, lambda rows: self._cosines(rows, vector))

    def _cosines(self, rows: Rows, vector: Vectors) -> Scores:
        """The cosine of some passages to the question."""
        scores = np.empty(len(rows), np.float32)
        for a, b, segment in zip(self._starts, self._starts[1:], self.segments, strict=False):
            inside = (rows >= a) & (rows < b)
            scores[inside] = segment.vectors[rows[inside] - a] @ vector
        return scores

    def _bm25(self, words: Mapping[str, tuple[int, ...]], view: View) -> tuple[Scores, dict[str, float]]:
        """The score of every row, and the inverse document frequency of every word."""
        scores, frequencies = np.zeros(len(self.passage), np.float32), {}
        for word, ids in words.items():
            frequencies[word], hits = self._weighed(ids, view)
            for rows, values in hits:
                scores[rows] += values
        return scores, frequencies

    def _weighed(self, ids: tuple[int, ...], view: View) -> tuple[float, Iterator[tuple[Any, Any]]]:
        """The inverse document frequency of a word that stands as any of some terms; (rows, scores) where it does."""
        hits = [hit for term in ids for hit in self._postings(term, view.mask)]
        df = sum(len(rows) for rows, _ in hits)
        idf = math.log(1 + max(view.count - df + 0.5, 0.5) / (df + 0.5))

        def scored() -> Iterator[tuple[Any, Any]]:
            for rows, counts in hits:
                norm = K1 * (1 - B) + K1 * B / view.mean_length * self.length[rows]
                yield rows, idf * (K1 + 1) * counts / (counts + norm)

        return idf, scored()

    def _postings(self, term: int, mask: Mask | None) -> Iterator[tuple[Any, Any]]:
        """(rows, counts) of the passages in view that hold the term, segment by segment."""
        for start, segment in zip(self._starts, self.segments, strict=False):
            rows, counts = segment.postings(term)
            if len(rows):
                rows = rows + start
                yield (rows, counts) if mask is None else (rows[mask[rows]], counts[mask[rows]])

    def _fuse(self, bm25: Scores, meant: Meant, vector: Vectors, weight: float, k: int | None) -> Iterator[Match]:
        """The best k of the candidates of both kinds; of equals the passage that came first."""
        rows = np.union1d(_best(bm25, 0.0), meant.best)
        by_segment = [rows[(rows >= a) & (rows < b)] - a for a, b in pairwise(self._starts)]
        nearest = [s.nearest_sentences(some, vector) for s, some in zip(self.segments, by_segment, strict=True)]
        meaning = np.maximum(meant.scores(rows), _joined(nearest, np.float32) - SENTENCE_HANDICAP)
        bm25_share, dense_share = _unit_range(bm25[rows]), _unit_range(meaning)
        fused = weight * dense_share + (1 - weight) * bm25_share
        for n in np.lexsort((self.passage[rows], -fused))[:k]:
            row = int(rows[n])
            at = bisect_right(self._starts, row) - 1
            yield Match(
                passage=int(self.passage[row]),
                document=int(self.document[row]),
                score=float(fused[n]),
                bm25=float(bm25[row]),
                dense=float(meaning[n]),
                bm25_share=float(bm25_share[n]),
                dense_share=float(dense_share[n]),
                sentences=self.segments[at].sentences(row - int(self._starts[at]), vector),
            )


def crossed_terms(word: str, languages: Sequence[str]) -> tuple[int, ...]:
    """The terms of a word of a question that was put into English: in English, and in whatever else the passages are in."""
    return tuple({term: None for language in (ENGLISH, *languages) if (term := term_of(language)(word))})


def _joined(parts: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def _spread(best: float, scores: Scores) -> float:
    return float((best - scores.mean()) / (scores.std() + 1e-6))


def _best(scores: Scores, least: float) -> Rows:
    """The rows with the highest scores above `least`."""
    rows = np.argpartition(scores, -CANDIDATES)[-CANDIDATES:] if len(scores) > CANDIDATES else np.arange(len(scores))
    return rows[scores[rows] > least]


def _unit_range(values: Scores) -> Scores:
    """Scaled to 0..1. What are all alike are all 1, or all 0 where they are nothing."""
    low, high = float(values.min(initial=math.inf)), float(values.max(initial=-math.inf))
    return (values - low) / (high - low) if high > low else np.full_like(values, float(high > 0))


def _as_text(value: Any) -> tuple[str, ...]:
    """Values as a filter compares them: 1, 1.0 and True are equal to Python and not to it."""
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)


def may_read(row: DocumentRow, rights: frozenset[str] | None) -> bool:
    """An empty access list lets everybody in; None stands for a caller who needs no rights."""
    return rights is None or all(not names or not rights.isdisjoint(names) for names in (row.access, row.ruled))


FILTERS = ("source", "title", "language", "tag", "media_type", "since", "until")


def matches_filter(row: DocumentRow, where: Filter) -> bool:
    """Whether a document fits every condition. A list means any of its values.

    `source` and `title` take patterns ("hr/*"); `tag`, `language` and `media_type` are compared; `since` and `until`
    bound the date; every other name is looked up in the document's own metadata.
    """
    return all(
        any(_fits(row, name, value) for value in (wanted if isinstance(wanted, list | tuple) else [wanted]))
        for name, wanted in where.items()
    )


def _check_fields(where: Filter, rows: Sequence[DocumentRow]) -> None:
    """A name that no document has is more likely mistyped than meant. Raises BadRequest with those there are."""
    known = {*FILTERS, *(name for row in rows for name in row.metadata)}
    for name in where:
        if rows and name not in known:
            raise BadRequest(f"no document has a field '{name}'", hint=f"known: {', '.join(sorted(known))}")


def _fits(row: DocumentRow, name: str, value: Any) -> bool:
    match name:
        case "source" | "title":
            return fnmatchcase(getattr(row, name), str(value))
        case "language" | "media_type":
            return bool(getattr(row, name) == value)
        case "tag":
            return value in row.tags
        case "since" | "until":
            try:
                limit = date.fromisoformat(str(value)).isoformat()
            except ValueError as error:
                raise BadRequest(f"'{name}' must be a date as in 2026-11-20, not {value!r}") from error
            return bool(row.date) and (row.date[:10] >= limit if name == "since" else row.date[:10] <= limit)
    return name in row.metadata and str(row.metadata[name]) == str(value)
