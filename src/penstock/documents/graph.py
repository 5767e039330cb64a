"""An HNSW graph over one segment's vectors (Malkov & Yashunin 2018), through faiss (extra `hnsw`).

It finds near neighbours among many passages without looking at each. It is a file beside its segment, made from it and
from nothing else: a segment without one is searched exactly.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from penstock.errors import StorageError
from penstock.storage.files import new_file

if TYPE_CHECKING:
    from penstock.types import Vectors

__all__ = ["ENDING", "Graph", "installed", "write_graph"]

ENDING = ".hnsw"
LINKS = 32  # of each passage, on each level
BUILD_EFFORT, EFFORT = 120, 256  # candidates held while building, and while searching


@cache
def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    faiss.omp_set_num_threads(1)  # a search is one thread's work; others would only wait for it
    return faiss


def installed() -> bool:
    return _faiss() is not None


def write_graph(vectors: Vectors, path: Path) -> None:
    """Build a graph over unit rows (n, dim), kept as one byte for each number, and write it. Takes a minute for 100,000."""
    faiss = _faiss()
    index = faiss.IndexHNSWSQ(vectors.shape[1], faiss.ScalarQuantizer.QT_8bit, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD_EFFORT
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    try:
        rows = np.ascontiguousarray(vectors)
        index.train(rows)
        index.add(rows)
    finally:
        faiss.omp_set_num_threads(1)
    with new_file(path) as file:
        file.write(faiss.serialize_index(index).data)


class Graph:
    """An opened graph, mapped from its file."""

    def __init__(self, path: Path) -> None:
        faiss = _faiss()
        try:
            self._index = faiss.read_index(str(path), getattr(faiss, "IO_FLAG_MMAP_IFC", 0))
        except RuntimeError as error:
            raise StorageError(f"{path} is damaged", hint="delete it: it is made anew by the next change") from error

    def nearest(self, question: Vectors, k: int, mask: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """The k rows nearest to a unit vector (dim,), as far as the graph leads to them; only rows that the mask lets through.

        The fewer it lets through, the more of the graph is walked.
        """
        faiss, effort, selector = _faiss(), max(EFFORT, 2 * k), None
        if mask is not None:
            effort = int(effort / max(mask.mean(), 0.01))
            selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        parameters = faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
        _, rows = self._index.search(question[None], min(k, self._index.ntotal), params=parameters)
        found: NDArray[np.int64] = rows[0][rows[0] >= 0]
        return found
