"""Taking documents out of every version of a collection for good: rows, texts, vectors, postings and uploaded files.

A version reads the same for as long as it is kept; this is the one thing that breaks that promise, and it is meant to.
"""

from __future__ import annotations

from collections.abc import Set
from contextlib import suppress
from pathlib import Path

import numpy as np

from penstock.documents import duplicates, split
from penstock.documents.collection import PATIENCE_S, Collection
from penstock.documents.segment import Entry, SegmentWriter, merge
from penstock.errors import Conflict, StorageError
from penstock.text.sentences import sentences_of
from penstock.text.words import term_ids

__all__ = ["erase"]


def erase(collection: Collection, documents: Set[int]) -> None:
    """Take documents, by number, out of all versions. Uploaded files of theirs go too; files elsewhere are not ours.

    Where one of them stood in the index for others that say the same, one of those takes its place. Raises Conflict while
    another writer is at work, and where that place was embedded by another model than the present one.
    """
    catalog, folder = collection.home.catalog, collection.segments
    with collection.writing(patience_s=PATIENCE_S):
        rows = catalog.documents_by_id(sorted(documents))
        gone = {row.id for row in catalog.passages_of(sorted(documents))}
        heirs: dict[int, int] = {}  # passage that goes -> the one that stands in its place
        for twin in catalog.twins_of(gone):
            if twin.document not in documents:
                heirs.setdefault(twin.twin, twin.passage)
        files, held = dict[str, str](), set[str]()  # old file -> new one; old files with a place that is inherited
        for name in sorted(catalog.segment_files(collection.number)):
            segment = folder[name]
            dead = np.isin(segment.document, list(documents)) | np.isin(segment.passage, list(gone))
            if not dead.any():
                continue
            files[name] = merge([(segment, ~dead)], folder.path) if not dead.all() else ""
            if np.isin(segment.passage, list(heirs)).any():
                held.add(name)
                if segment.embedder != collection.home.embedder.id:
                    raise Conflict(
                        f"a version of '{collection.name}' was embedded by {segment.embedder}",
                        hint=f"penstock docs sync {collection.name}, and keep_versions = 1 for a moment",
                    )
        added = _write(collection, list(heirs.values())) if heirs else ""
        catalog.erase(collection.number, documents, files=files, held=held, added=added, heirs=heirs)
        folder.keep_only(catalog.segment_files(collection.number))
        collection.forget()
        for version in collection.versions():
            if version.state != "building" and version.embedder == collection.home.embedder.id:
                count = collection.snapshot(version.number).everything().count
                catalog.set_passages(collection.number, version.number, count)
        for file in {row.file for row in rows.values()}:
            path = Path(file)
            if path.parent == collection.uploads:
                with suppress(FileNotFoundError):
                    try:
                        path.unlink()
                    except OSError as error:
                        raise StorageError(f"{path} cannot be deleted: {error.strerror}") from error


def _write(collection: Collection, passages: list[int]) -> str:
    """A segment of passages that stand for themselves from now on. Returns its name."""
    catalog, embedder = collection.home.catalog, collection.home.embedder
    rows = [catalog.passages(passages)[passage] for passage in passages]
    owners = catalog.documents_by_id(sorted({row.document for row in rows}))
    writer = SegmentWriter(embedder.id, embedder.dim)
    for row in rows:
        owner = owners[row.document]
        context = split.context_of(owner.title, owner.source, row.section)
        whole = f"{context}\n{row.text}" if context else row.text
        terms, spans = term_ids(f"{context}\n{row.text}", owner.language), sentences_of(row.text, owner.language)
        shift = len(whole) - len(row.text)
        (vectors,) = embedder.embed_parts([(whole, [(a + shift, b + shift) for a, b in spans])])
        (signature,) = duplicates.signatures([terms])
        writer.add(Entry(row.id, row.document, row.key, owner.language, terms, vectors, spans, signature))
    return writer.write(collection.segments.path, collection.segments.encryption)
