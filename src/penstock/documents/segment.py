"""A segment: an immutable file with the vectors, sentences and BM25 postings of some passages.

Segments know passages by their number in the catalog and terms by their hash; who may read what, and which passages
are still live, comes from outside as a mask. Scores therefore depend on the passages that are let through and on
nothing else: not on how they are spread over segments, and not on passages that the caller may not read.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.documents.graph import ENDING, Graph, installed, write_graph
from penstock.storage.arrays import open_arrays, write_arrays
from penstock.storage.envelope import Encryption

if TYPE_CHECKING:
    from penstock.types import Vectors

__all__ = ["Entry", "Segment", "SegmentFolder", "SegmentWriter", "merge"]

Mask = NDArray[np.bool_]

LEAST_FOR_GRAPH = 5_000  # passages: below it a look at every vector is as fast


class Entry(NamedTuple):
    """One passage on its way into a segment."""

    passage: int
    document: int
    key: bytes  # 16 bytes: hash of the text that was embedded
    language: str
    terms: Sequence[int]  # term ids in order
    vectors: Vectors  # (1 + sentences, dim): the passage, then its sentences
    spans: Sequence[tuple[int, int]]  # of the sentences, in the passage
    signature: Sequence[int]  # near-duplicate bands


class SegmentWriter:
    """Gathers entries and writes them as one file."""

    def __init__(self, embedder_id: str, dim: int) -> None:
        self._embedder, self._dim = embedder_id, dim
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)

    def write(self, folder: Path, encryption: Encryption | None = None) -> str:
        """Returns the file's name."""
        entries = self._entries
        languages = sorted({entry.language for entry in entries})
        terms, passages, counts = _postings(entry.terms for entry in entries)
        sentences = [entry.vectors[1:] for entry in entries]
        quantised, scale = _quantise(np.concatenate(sentences) if entries else np.zeros((0, self._dim), np.float32))
        arrays: dict[str, NDArray[Any]] = {
            "passage": np.array([entry.passage for entry in entries], np.int64),
            "document": np.array([entry.document for entry in entries], np.int64),
            "key": np.frombuffer(b"".join(entry.key for entry in entries), np.uint8).reshape(-1, 16),
            "language": np.array([languages.index(entry.language) for entry in entries], np.uint16),
            "signature": np.array([entry.signature for entry in entries], np.uint64).reshape(len(entries), -1),
            "length": np.array([len(entry.terms) for entry in entries], np.int32),
            "vectors": np.array([entry.vectors[0] for entry in entries], np.float32).reshape(-1, self._dim),
            "sentence_at": np.cumsum([0] + [len(entry.spans) for entry in entries], dtype=np.int64),
            "sentence_span": np.array([span for entry in entries for span in entry.spans], np.int32).reshape(-1, 2),
            "sentence_vectors": quantised,
            "sentence_scale": scale,
            **_index(terms, passages, counts),
        }
        facts = {"embedder": self._embedder, "dim": self._dim, "languages": languages}
        return write_arrays(folder, arrays, facts, encryption=encryption)


@dataclass(frozen=True)
class Segment:
    """A segment file, mapped. Arrays are as written; n passages, m sentences."""

    path: Path
    passage: NDArray[np.int64]  # (n,)
    document: NDArray[np.int64]
    key: NDArray[np.uint8]  # (n, 16)
    language: NDArray[np.uint16]
    signature: NDArray[np.uint64]  # (n, bands)
    length: NDArray[np.int32]  # terms in each passage
    vectors: NDArray[np.float32]  # (n, dim)
    sentence_at: NDArray[np.int64]  # (n + 1,): the sentences of passage i are at[i]:at[i + 1]
    sentence_span: NDArray[np.int32]  # (m, 2)
    sentence_vectors: NDArray[np.int8]  # (m, dim)
    sentence_scale: NDArray[np.float32]  # (m,)
    term: NDArray[np.uint64]  # (t,) sorted
    term_at: NDArray[np.int64]  # (t + 1,): the postings of term i are at[i]:at[i + 1]
    posting_passage: NDArray[np.int32]
    posting_count: NDArray[np.uint16]
    embedder: str
    languages: tuple[str, ...]
    encryption: Encryption | None = None  # with what anything that is made from it is sealed

    @classmethod
    def open(cls, path: Path, encryption: Encryption | None = None) -> Segment:
        arrays, facts = open_arrays(path, encryption=encryption)
        arrays.pop("dim", None)
        languages = tuple(facts["languages"])
        return cls(path, embedder=facts["embedder"], languages=languages, encryption=encryption, **arrays)

    def __len__(self) -> int:
        return len(self.passage)

    @cached_property
    def graph(self) -> Graph | None:
        """For finding neighbours among many; None where there is none, and every vector is looked at."""
        path = self.path.with_suffix(ENDING)
        return Graph(path) if installed() and path.is_file() else None

    @cached_property
    def rows_by_key(self) -> dict[bytes, int]:
        """Content hash -> a row that holds its vectors: the embedding cache."""
        joined = self.key.tobytes()
        return {joined[16 * row : 16 * row + 16]: row for row in range(len(self))}

    def postings(self, term: int) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """(rows, counts) of the passages that hold the term."""
        at = int(np.searchsorted(self.term, np.uint64(term)))
        if at == len(self.term) or int(self.term[at]) != term:
            return self.posting_passage[:0], self.posting_count[:0]
        inside = slice(int(self.term_at[at]), int(self.term_at[at + 1]))
        return self.posting_passage[inside], self.posting_count[inside]

    def nearest_sentences(self, rows: NDArray[np.int64], question: Vectors) -> NDArray[np.float32]:
        """For each row the highest similarity of one of its sentences to the question; -1 where it has none."""
        first = self.sentence_at[rows]
        counts = self.sentence_at[rows + 1] - first
        starts = np.cumsum(counts) - counts
        inside = np.arange(counts.sum()) + np.repeat(first - starts, counts)
        similar = self.sentence_vectors[inside].astype(np.float32) @ question * self.sentence_scale[inside]
        nearest = np.full(len(rows), -1.0, np.float32)
        full = counts > 0
        if full.any():
            nearest[full] = np.maximum.reduceat(similar, starts[full])
        return nearest

    def sentences(self, row: int, question: Vectors) -> tuple[tuple[int, int, float], ...]:
        """The sentences of one passage: start and end in it, and similarity to the question."""
        inside = slice(int(self.sentence_at[row]), int(self.sentence_at[row + 1]))
        similar = self.sentence_vectors[inside].astype(np.float32) @ question * self.sentence_scale[inside]
        return tuple((a, b, s) for (a, b), s in zip(self.sentence_span[inside].tolist(), similar.tolist(), strict=True))

    def parts(self, row: int) -> Vectors:
        """(1 + sentences, dim): what was embedded of one passage, the sentences as far as int8 keeps them."""
        inside = slice(int(self.sentence_at[row]), int(self.sentence_at[row + 1]))
        sentences = self.sentence_vectors[inside].astype(np.float32) * self.sentence_scale[inside, None]
        return np.concatenate([self.vectors[row][None], sentences])


class SegmentFolder:
    """The segment files of one collection, each opened once. Whoever writes or clears holds the collection's lock."""

    def __init__(self, path: Path, encryption: Encryption | None = None) -> None:
        self.path, self.encryption = path, encryption
        self._open: dict[str, Segment] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Segment:
        """Raises StorageError for a file that is not there or not whole."""
        with self._lock:
            if name not in self._open:
                self._open[name] = Segment.open(self.path / name, self.encryption)
            return self._open[name]

    def hold(self, names: Iterable[str]) -> None:
        """Let go of every other segment: files that were deleted elsewhere take up room for as long as they are mapped."""
        with self._lock:
            self._open = {name: self._open[name] for name in names if name in self._open}

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.glob("*.arrays"))

    def add_graphs(self, names: Iterable[str]) -> None:
        """Give every large segment a graph, where the extra is installed. A graph is not sealed, so encrypted ones have none."""
        if self.encryption is not None:
            return
        for segment in map(self.__getitem__, names):
            path = segment.path.with_suffix(ENDING)
            if installed() and len(segment) >= LEAST_FOR_GRAPH and not path.is_file():
                write_graph(segment.vectors, path)

    def keep_only(self, named: Set[str]) -> None:
        """Delete every other file, and what was never finished. Whoever has one mapped keeps reading it."""
        with self._lock:
            for path in self.path.glob("*.arrays"):
                if path.name not in named:
                    self._open.pop(path.name, None)
                    for file in (path, path.with_suffix(ENDING)):
                        with suppress(OSError):  # Windows refuses while it is mapped: the next time will do
                            file.unlink(missing_ok=True)
            for path in self.path.glob(".*.part"):
                path.unlink(missing_ok=True)


def merge(parts: Sequence[tuple[Segment, Mask]], folder: Path) -> str:
    """Write the live passages of several segments as one file, in their order. Returns its name."""
    languages = sorted({language for segment, _ in parts for language in segment.languages})
    terms, passages, counts, offset = [], [], [], 0
    kept: dict[str, list[NDArray[Any]]] = {
        name: [] for name in (*_PER_PASSAGE, *_PER_SENTENCE, "language", "sentence_count")
    }
    for segment, live in parts:
        rows = np.flatnonzero(live)
        place = np.cumsum(live, dtype=np.int64) - 1 + offset  # old row -> new row
        alive = live[segment.posting_passage]
        terms.append(np.repeat(segment.term, np.diff(segment.term_at))[alive])
        passages.append(place[segment.posting_passage[alive]].astype(np.int32))
        counts.append(segment.posting_count[alive])
        sentence_counts = np.diff(segment.sentence_at)
        for name in _PER_PASSAGE:
            kept[name].append(getattr(segment, name)[rows])
        for name in _PER_SENTENCE:
            kept[name].append(getattr(segment, name)[np.repeat(live, sentence_counts)])
        translate = np.array([languages.index(language) for language in segment.languages] or [0], np.uint16)
        kept["language"].append(translate[segment.language[rows]])
        kept["sentence_count"].append(sentence_counts[rows])
        offset += len(rows)
    joined = {name: np.concatenate(pieces) for name, pieces in kept.items()}
    joined["sentence_at"] = np.concatenate([[0], np.cumsum(joined.pop("sentence_count"))]).astype(np.int64)
    all_terms = np.concatenate(terms)
    order = np.argsort(all_terms, kind="stable")
    arrays = {**joined, **_index(all_terms[order], np.concatenate(passages)[order], np.concatenate(counts)[order])}
    first = parts[0][0]
    facts = {"embedder": first.embedder, "dim": int(first.vectors.shape[1]), "languages": languages}
    return write_arrays(folder, arrays, facts, encryption=first.encryption)


_PER_PASSAGE = ("passage", "document", "key", "signature", "length", "vectors")
_PER_SENTENCE = ("sentence_span", "sentence_vectors", "sentence_scale")


def _postings(texts: Iterable[Sequence[int]]) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.uint16]]:
    """(term, passage, count) of every term in every passage, ordered by term, then passage."""
    terms: list[int] = []
    counts: list[int] = []
    sizes: list[int] = []
    for text in texts:
        counted = Counter(text)
        terms += counted.keys()
        counts += counted.values()
        sizes.append(len(counted))
    term = np.array(terms, np.uint64)
    order = np.argsort(term, kind="stable")
    passage = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return term[order], passage[order], np.minimum(np.array(counts, np.int64), 65_535).astype(np.uint16)[order]


def _index(
    terms: NDArray[np.uint64], passages: NDArray[np.int32], counts: NDArray[np.uint16]
) -> dict[str, NDArray[Any]]:
    unique, first = np.unique(terms, return_index=True)
    return {
        "term": unique,
        "term_at": np.append(first, len(terms)).astype(np.int64),
        "posting_passage": passages,
        "posting_count": counts,
    }


def _quantise(vectors: Vectors) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rows as int8 with one scale each. The vectors are used up."""
    scale = np.maximum(np.maximum(vectors.max(1, initial=0), -vectors.min(1, initial=0)), 1e-9).astype(np.float32) / 127
    vectors /= scale[:, None]
    return np.rint(vectors, out=vectors).astype(np.int8), scale
