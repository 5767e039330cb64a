"""How well and how fast a folder in BEIR's layout is searched: corpus.jsonl, queries.jsonl, qrels.tsv, gzip allowed.

The documents go through the same splitting, index and search as any others, in a library of their own that is thrown
away. A document ranks where its best passage ranks. A query may carry a filter in its metadata.
"""

from __future__ import annotations

import gzip
import io
import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from penstock.documents.catalog import digest
from penstock.documents.draft import Raw
from penstock.documents.golden import measure
from penstock.documents.ingest import Incoming, Opened, Progress
from penstock.documents.library import Library
from penstock.documents.read_text import read_plain
from penstock.errors import BadRequest, Unreadable
from penstock.types import Caller, Document

__all__ = ["as_incoming", "bench", "read_qrels", "read_rows"]

DEPTH = 100
PARTS = ("bm25", "dense", "hybrid")


def bench(folder: Path, library: Library, *, progress: Progress | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the scores of each part with the timings, and the rankings: part -> query -> documents, best first.

    Times are CPU seconds of this process. Raises BadRequest where the folder is not in the layout.
    """
    queries = {row["_id"]: row for row in read_rows(folder, "queries.jsonl")}
    qrels = read_qrels(folder)
    collection = library.create("bench")
    started = time.process_time()
    incoming = [as_incoming(row) for row in read_rows(folder, "corpus.jsonl")]
    report = collection.take(incoming, progress=progress)
    indexed = time.process_time()
    snapshot = collection.snapshot()
    runs: dict[str, dict[str, list[str]]] = {part: {} for part in PARTS}
    for query, row in queries.items():
        view = snapshot.view(Caller(), row["metadata"].get("filter") or {})
        crossed = collection.crossed(row["text"], snapshot, view)
        matches = snapshot.search(row["text"], library.embedder, view, None, crossed).found
        for part, score in (("bm25", "bm25"), ("dense", "dense"), ("hybrid", "score")):
            ranked = sorted((m for m in matches if part != "bm25" or m.bm25 > 0), key=lambda m: -getattr(m, score))
            found: dict[str, None] = {}
            for match in ranked:
                places = snapshot.places(match.passage, match.document, view)
                owners = library.catalog.passages(places)
                found |= dict.fromkeys(snapshot.documents[owners[p].document].source for p in places)
                if len(found) >= DEPTH:
                    break
            runs[part][query] = list(found)[:DEPTH]
    searched = time.process_time()
    judged = [query for query in queries if query in qrels]
    scores: dict[str, Any] = {
        part: {name: round(value, 4) for name, value in measure(qrels, runs[part], judged).items()} for part in PARTS
    }
    scores["timings"] = {
        "documents": report.documents,
        "passages": report.passages,
        "queries": len(queries),
        "index_cpu_s": round(indexed - started, 3),
        "documents_per_cpu_s": round(report.documents / max(indexed - started, 1e-9), 1),
        "query_cpu_ms": round((searched - indexed) / max(len(queries), 1) * 1000, 3),
    }
    return scores, runs


def as_incoming(row: dict[str, Any]) -> Incoming:
    source, text, title = row["_id"], row["text"], row["title"]
    metadata = {k: v for k, v in row["metadata"].items() if isinstance(v, str | int | float | bool)}

    def opened() -> Opened:
        return Opened(digest(title, text), "", _documents(source, text, title, metadata))

    return Incoming(source, "", opened)


def _documents(source: str, text: str, title: str, metadata: dict[str, Any]) -> Iterator[Document]:
    try:
        (document,) = read_plain(Raw(source, (text if text.strip() else title).encode("utf-8", "replace")))
    except Unreadable:
        return
    yield Document(source, document.text, document.blocks, title or source, metadata=metadata)


def read_rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise BadRequest(
            f"{folder} holds no {name}", hint="the layout is corpus.jsonl, queries.jsonl, qrels.tsv; .gz is allowed"
        )
    for n, line in _lines(path):
        if line.strip():
            try:
                row = json.loads(line)
                texts = {name: _stored(row.get(name)) for name in ("text", "title")}
                yield texts | {"_id": _stored(row["_id"]), "metadata": dict(row.get("metadata") or {})}
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise BadRequest(f"{path} line {n} is no row with an _id") from error


def _stored(value: Any) -> str:
    """A value as text that can be stored: half of a surrogate pair becomes a question mark."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file, counted from 1."""
    try:
        with _opened(path) as lines:
            yield from enumerate(lines, 1)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise BadRequest(f"{path} cannot be read: {error}") from error


def read_qrels(folder: Path) -> dict[str, dict[str, float]]:
    """qrels.tsv, or BEIR's qrels/test.tsv: query, document, gain; a heading line is passed over."""
    names = ("qrels.tsv", "qrels.tsv.gz", "qrels/test.tsv", "qrels/test.tsv.gz")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise BadRequest(f"{folder} holds no qrels.tsv")
    qrels: dict[str, dict[str, float]] = {}
    for n, line in _lines(path):
        fields = line.strip().split("\t") if "\t" in line else line.split()
        if len(fields) == 4:  # TREC's layout has an iteration in between
            fields.pop(1)
        try:
            query, document, gain = fields
            qrels.setdefault(query, {})[document] = float(gain)
        except ValueError as error:
            if n > 1 and line.strip():
                raise BadRequest(f"{path} line {n} is not: query, document, gain") from error
    return qrels


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.GzipFile(path), encoding="utf-8")
    return path.open(encoding="utf-8")
