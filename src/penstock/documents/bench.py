"""How well and how fast a folder in BEIR's layout is searched: corpus.jsonl, queries.jsonl, qrels.tsv, gzip allowed.

The documents go through the same splitting, index and search as any others, in a library of their own that is thrown
away. A document ranks where its best passage ranks. A query may carry a filter in its metadata.
"""

from __future__ import annotations

import gzip
import io
import json
import time
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

__all__ = ["bench"]

DEPTH = 100
PARTS = ("bm25", "dense", "hybrid")


def bench(folder: Path, library: Library, *, progress: Progress | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the scores of each part with the timings, and the rankings: part -> query -> documents, best first.

    Times are CPU seconds of this process. Raises BadRequest where the folder is not in the layout.
    """
    queries = {str(row["_id"]): row for row in _rows(folder, "queries.jsonl")}
    qrels = _qrels(folder)
    collection = library.create("bench")
    started = time.process_time()
    incoming = [_incoming(row) for row in _rows(folder, "corpus.jsonl")]
    report = collection.take(incoming, progress=progress)
    indexed = time.process_time()
    snapshot = collection.snapshot()
    runs: dict[str, dict[str, list[str]]] = {part: {} for part in PARTS}
    for query, row in queries.items():
        view = snapshot.view(Caller(), (row.get("metadata") or {}).get("filter") or {})
        matches = snapshot.search(str(row["text"]), library.embedder, view, None).found
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


def _incoming(row: dict[str, Any]) -> Incoming:
    source, text, title = str(row["_id"]), str(row.get("text") or ""), str(row.get("title") or "")
    metadata = {k: v for k, v in (row.get("metadata") or {}).items() if isinstance(v, str | int | float | bool)}

    def opened() -> Opened:
        return Opened(digest(title, text), "", _documents(source, text, title, metadata))

    return Incoming(source, "", opened)


def _documents(source: str, text: str, title: str, metadata: dict[str, Any]) -> Iterator[Document]:
    try:
        (document,) = read_plain(Raw(source, (text if text.strip() else title).encode("utf-8", "replace")))
    except Unreadable:
        return
    yield Document(source, document.text, document.blocks, title or source, metadata=metadata)


def _rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise BadRequest(
            f"{folder} holds no {name}", hint="the layout is corpus.jsonl, queries.jsonl, qrels.tsv; .gz is allowed"
        )
    with _opened(path) as lines:
        for n, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                    row["_id"]
                except (ValueError, KeyError, TypeError) as error:
                    raise BadRequest(f"{path} line {n} is no row with an _id") from error
                yield row


def _qrels(folder: Path) -> dict[str, dict[str, float]]:
    """qrels.tsv, or BEIR's qrels/test.tsv: query, document, gain; a heading line is passed over."""
    names = ("qrels.tsv", "qrels.tsv.gz", "qrels/test.tsv", "qrels/test.tsv.gz")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise BadRequest(f"{folder} holds no qrels.tsv")
    qrels: dict[str, dict[str, float]] = {}
    with _opened(path) as lines:
        for n, line in enumerate(lines):
            fields = line.split()
            if len(fields) == 4:  # TREC's layout has an iteration in between
                fields.pop(1)
            try:
                query, document, gain = fields
                qrels.setdefault(query, {})[document] = float(gain)
            except ValueError as error:
                if n and fields:
                    raise BadRequest(f"{path} line {n + 1} is not: query, document, gain") from error
    return qrels


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.GzipFile(path), encoding="utf-8")
    return path.open(encoding="utf-8")
