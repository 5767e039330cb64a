"""Hybrid search over one version: BM25 and dense, fused by min-max over the candidates of both.

Everything is scored within a mask of the passages that are live, that the caller may read, and that the filter lets
through: frequencies, lengths, minima and maxima too. A caller's result is the one an index with only those passages gives.

- BM25 (Robertson & Zaragoza 2009) with k1 = 1.2, b = 0.75.
- Dense: the cosine of the question to the passage or to its best sentence, whichever is higher.
- Fused: w x dense + (1 - w) x bm25, each scaled to 0..1 over the candidates; w falls from 0.5 to 0.15 as the embedder
  knows fewer of the question's words whole, as it does in a language it was not trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.documents.catalog import DocumentRow, TwinRow
from penstock.documents.segment import Mask, Segment
from penstock.documents.words import query_terms
from penstock.errors import BadRequest
from penstock.types import Caller, Embedder, Metadata

if TYPE_CHECKING:
    from penstock.types import Vectors

__all__ = ["Match", "Matches", "Snapshot", "View", "matches_filter", "may_read"]

K1, B = 1.2, 0.75
CANDIDATES = 50  # of each kind
DENSE_WEIGHT, STRANGE_WEIGHT = 0.5, 0.15  # for text that the embedder reads well, and not at all
WELL, NOT_AT_ALL = 0.6, 0.2  # familiarity
MOST_VIEWS = 256
SENTENCE_HANDICAP = 0.03  # a sentence must beat its passage by this much: short texts score higher by chance

Scores = NDArray[np.float32]


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

    masks: tuple[Mask | None, ...]  # per segment; None: all of it
    documents: frozenset[int] | None  # None: all of the version's
    count: int
    mean_length: float


class Snapshot:
    """One version, opened: it reads the same however long it is held.

    A passage stands in the index once, for itself and for its twins: the places that say the same. It is seen when one of
    its places is, and shown at the first of them.
    """

    def __init__(
        self, number: int, segments: Sequence[Segment], documents: Mapping[int, DocumentRow], twins: Sequence[TwinRow]
    ) -> None:
        self.number, self.segments, self.documents = number, segments, documents
        self.languages = tuple(sorted({language for segment in segments for language in segment.languages}))
        self.twins: dict[int, list[TwinRow]] = {}
        for twin in twins:
            self.twins.setdefault(twin.twin, []).append(twin)
        self._views: dict[Any, View] = {}

    @cached_property
    def _guarded(self) -> bool:
        return any(row.access for row in self.documents.values())

    def view(self, caller: Caller, where: Metadata) -> View:
        """Masks for a caller and a filter; kept, because the same few come again and again."""
        rights = caller.rights if self._guarded else None
        key = (rights, tuple(sorted((name, _frozen(value)) for name, value in where.items())))
        if key not in self._views:
            if len(self._views) >= MOST_VIEWS:
                self._views.pop(next(iter(self._views)))
            allowed = None
            if rights is not None or where:
                rows = self.documents.values()
                allowed = frozenset(r.id for r in rows if may_read(r, rights) and matches_filter(r, where))
            self._views[key] = self._view(allowed)
        return self._views[key]

    def everything(self) -> View:
        """Every passage, whoever may read it: for measuring a version, not for answering."""
        return self._view(None)

    def _view(self, allowed: frozenset[int] | None) -> View:
        seen = frozenset(self.documents) if allowed is None else allowed
        standing = [slot for slot, twins in self.twins.items() if any(twin.document in seen for twin in twins)]
        masks = [np.isin(s.document, list(seen)) | np.isin(s.passage, standing) for s in self.segments]
        count = sum(int(mask.sum()) for mask in masks)
        total = sum(int(s.length[mask].sum()) for s, mask in zip(self.segments, masks, strict=True))
        return View(tuple(None if m.all() else m for m in masks), allowed, count, total / count if count else 1.0)

    def places(self, passage: int, document: int, view: View) -> list[int]:
        """The passages, by number, that say what this one says and that the view lets through; itself first."""
        seen = self.documents if view.documents is None else view.documents
        twins = [twin.passage for twin in self.twins.get(passage, ()) if twin.document in seen]
        return [passage, *twins] if document in seen else twins

    def search(self, question: str, embedder: Embedder, view: View, k: int | None) -> Matches:
        """The best k passages of the view; all that were looked at, for None."""
        words = query_terms(question, self.languages)
        if not view.count:
            return Matches((), {}, self.languages, 0.0, 0, 0.0)
        vector = embedder.embed([question])[0]
        lexical, terms = self._bm25(words, view)
        dense = [_masked(s.vectors @ vector, m) for s, m in zip(self.segments, view.masks, strict=True)]
        spread = _spread(dense)
        familiar = (embedder.familiarity(question) - NOT_AT_ALL) / (WELL - NOT_AT_ALL)
        weight = STRANGE_WEIGHT + (DENSE_WEIGHT - STRANGE_WEIGHT) * min(max(familiar, 0.0), 1.0)
        if not terms or not any(scores.any() for scores in lexical):
            weight = 1.0  # no word of the question occurs: meaning is all there is
        found = self._fuse(_candidates(lexical, dense), lexical, dense, vector, weight, k)
        return Matches(tuple(found), terms, self.languages, weight, view.count, spread)

    def _bm25(self, words: Mapping[str, tuple[int, ...]], view: View) -> tuple[list[Scores], dict[str, float]]:
        scores = [np.zeros(len(segment), np.float32) for segment in self.segments]
        frequencies: dict[str, float] = {}
        for word, ids in words.items():
            hits, df = [], 0
            for n, (segment, mask) in enumerate(zip(self.segments, view.masks, strict=True)):
                for term in ids:
                    rows, counts = segment.postings(term)
                    if mask is not None and len(rows):
                        seen = mask[rows]
                        rows, counts = rows[seen], counts[seen]
                    df += len(rows)
                    hits.append((n, rows, counts))
            idf = math.log(1 + (view.count - df + 0.5) / (df + 0.5)) if df <= view.count else 0.0
            frequencies[word] = idf
            for n, rows, counts in hits:
                if len(rows):
                    tf = counts.astype(np.float32)
                    norm = (K1 * (1 - B) + K1 * B / view.mean_length * self.segments[n].length[rows]).astype(np.float32)
                    scores[n][rows] += np.float32(idf * (K1 + 1)) * tf / (tf + norm)
        return scores, frequencies

    def _fuse(self, candidates: list[NDArray[np.int64]], lexical: list[Scores], dense: list[Scores], vector: Vectors,
              weight: float, k: int) -> list[Match]:  # fmt: skip
        where = np.concatenate([np.full(len(rows), n) for n, rows in enumerate(candidates)])
        rows = np.concatenate(candidates)
        bm25 = np.concatenate([lexical[n][some] for n, some in enumerate(candidates)])
        whole = np.concatenate([dense[n][some] for n, some in enumerate(candidates)])
        similar = [segment.sentences(some, vector) for segment, some in zip(self.segments, candidates, strict=True)]
        best = np.concatenate([_best(values, counts) for values, counts in similar])
        meaning = np.maximum(whole, best - SENTENCE_HANDICAP)
        shares = _unit_range(bm25), _unit_range(meaning)
        fused = weight * shares[1] + (1 - weight) * shares[0]
        passages = np.concatenate([s.passage[some] for s, some in zip(self.segments, candidates, strict=True)])
        order = np.lexsort((passages, -fused))[:k]  # ties go to the passage that came first
        found = []
        for place in order:
            n, row = int(where[place]), int(rows[place])
            segment = self.segments[n]
            at = int(np.searchsorted(candidates[n], row))
            values, counts = similar[n]
            first = int(counts[:at].sum())
            spans = segment.sentence_span[segment.sentence_at[row] : segment.sentence_at[row + 1]].tolist()
            scored = values[first : first + int(counts[at])].tolist()
            scores = (float(array[place]) for array in (fused, bm25, meaning, *shares))
            sentences = tuple((a, b, similarity) for (a, b), similarity in zip(spans, scored, strict=True))
            found.append(Match(int(segment.passage[row]), int(segment.document[row]), *scores, sentences=sentences))
        return found


def _candidates(lexical: list[Scores], dense: list[Scores]) -> list[NDArray[np.int64]]:
    """For each segment the rows, in order, that are among the best of either kind."""
    chosen: list[list[NDArray[np.int64]]] = [[] for _ in dense]
    for scores, least in ((lexical, 0.0), (dense, -1.5)):
        best = [
            np.argpartition(-s, CANDIDATES)[:CANDIDATES] if len(s) > CANDIDATES else np.arange(len(s)) for s in scores
        ]
        best = [rows[s[rows] > least] for rows, s in zip(best, scores, strict=True)]
        values = np.concatenate([s[rows] for rows, s in zip(best, scores, strict=True)])
        bar = np.partition(values, -CANDIDATES)[-CANDIDATES] if len(values) > CANDIDATES else -np.inf
        for n, (rows, s) in enumerate(zip(best, scores, strict=True)):
            chosen[n].append(rows[s[rows] >= bar])
    return [np.unique(np.concatenate(rows)).astype(np.int64) for rows in chosen]


def _masked(scores: Scores, mask: Mask | None) -> Scores:
    if mask is not None:
        scores[~mask] = -2.0  # below any cosine
    return scores


def _best(values: Scores, counts: NDArray[np.int64]) -> Scores:
    """The highest value of each run of `counts`; -1 for an empty run."""
    best = np.full(len(counts), -1.0, np.float32)
    full = counts > 0
    if full.any():
        best[full] = np.maximum.reduceat(values, (np.cumsum(counts) - counts)[full])
    return best


def _unit_range(values: Scores) -> Scores:
    if not len(values):
        return values
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.ones_like(values) * (high > 0)


def _spread(dense: list[Scores]) -> float:
    seen = np.concatenate([scores[scores > -1.5] for scores in dense])
    return float((seen.max() - seen.mean()) / (seen.std() + 1e-6)) if len(seen) > 1 else 0.0


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def may_read(row: DocumentRow, rights: frozenset[str] | None) -> bool:
    """An empty access list lets everybody in; None stands for a caller who needs no rights."""
    return rights is None or not row.access or not rights.isdisjoint(row.access)


FILTERS = ("source", "title", "language", "tag", "media_type", "since", "until")


def matches_filter(row: DocumentRow, where: Metadata) -> bool:
    """Whether a document fits every condition. A list means any of its values.

    `source` and `title` take patterns ("hr/*"); `tag`, `language` and `media_type` are compared; `since` and `until`
    bound the date; every other name is looked up in the document's own metadata.
    """
    return all(
        any(_fits(row, name, value) for value in (wanted if isinstance(wanted, list | tuple) else [wanted]))
        for name, wanted in where.items()
    )


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
