"""Single requests of the sealed journal, found by their name: columns answer questions about many rows, and these files about one.

A file is blocks of rows as compressed JSON, then the sorted hashes of the names that they go by, each with its block. To find one
is a binary search and one block to unpack, so neither a query engine nor a scan is needed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from penstock.errors import StorageError
from penstock.observe.journal import Row
from penstock.storage.files import storage_errors

__all__ = ["find", "join", "rows", "write"]

MAGIC = b"PSTRACE1"
BLOCK = 64  # rows in a block: about 50 KB to unpack
LEVEL = 6
TAIL = struct.Struct("<8sQQQ")  # MAGIC, rows, blocks, names


class _Index(NamedTuple):
    """hashes: sorted, [names]; blocks: of each, [names]; ends: where each block begins and the last ends, [blocks + 1]."""

    rows: int
    hashes: NDArray[np.uint64]
    blocks: NDArray[np.uint32]
    ends: NDArray[np.uint64]


def write(path: Path, wanted: Iterable[Sequence[object]]) -> int:
    """A file of rows in the order of Row. Returns how many. Raises StorageError where the disk has no room."""
    hashes: list[int] = []
    blocks: list[int] = []
    ends, count = [0], 0
    with storage_errors(path), path.open("wb") as file:
        left = iter(wanted)
        for number, some in enumerate(iter(lambda: list(islice(left, BLOCK)), [])):
            ends.append(ends[-1] + file.write(zlib.compress(orjson.dumps([tuple(one) for one in some]), LEVEL)))
            count += len(some)
            names = {_hash(str(name)) for one in some for name in one[:2]}
            hashes += names
            blocks += [number] * len(names)
        _end(file, _Index(count, np.array(hashes, np.uint64), np.array(blocks, np.uint32), np.array(ends, np.uint64)))
    return count


def join(path: Path, parts: Sequence[Path]) -> int:
    """One file of several. Nothing is unpacked. Returns how many rows. Raises StorageError for a part that is no such file."""
    indexes = [_index(part) for part in parts]
    first_block = np.cumsum([0, *(len(index.ends) - 1 for index in indexes)])
    first_byte = np.cumsum([0, *(int(index.ends[-1]) for index in indexes)])
    with storage_errors(path), path.open("wb") as file:
        for part, index in zip(parts, indexes, strict=True):
            with part.open("rb") as old:
                left = int(index.ends[-1])
                while left:
                    left -= file.write(old.read(min(left, 1 << 20)))
        whole = _Index(
            sum(index.rows for index in indexes),
            np.concatenate([index.hashes for index in indexes]),
            np.concatenate([index.blocks + first for index, first in zip(indexes, first_block, strict=False)]),
            np.concatenate(
                [[0], *(index.ends[1:] + np.uint64(first) for index, first in zip(indexes, first_byte, strict=False))]
            ),
        )
        _end(file, whole)
    return whole.rows


def find(path: Path, name: str) -> list[Row]:
    """The requests of that id, or of that trace. Raises StorageError for a file that is not there or is damaged."""
    index, wanted = _index(path), np.uint64(_hash(name))
    first, last = (int(np.searchsorted(index.hashes, wanted, side)) for side in ("left", "right"))
    blocks = sorted({int(block) for block in index.blocks[first:last]})
    return [row for block in blocks for row in _block(path, index, block) if name in row[:2]]


def rows(path: Path) -> Iterator[Row]:
    """All rows, as they were written. Raises as `find` does."""
    index = _index(path)
    for block in range(len(index.ends) - 1):
        yield from _block(path, index, block)


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def _end(file: BinaryIO, index: _Index) -> None:
    order = np.argsort(index.hashes, kind="stable")
    file.write(bytes(-file.tell() % 8))  # so that what follows is mapped as it lies
    file.write(index.hashes[order].astype("<u8").tobytes())
    file.write(index.ends.astype("<u8").tobytes())
    file.write(index.blocks[order].astype("<u4").tobytes())
    file.write(TAIL.pack(MAGIC, index.rows, len(index.ends) - 1, len(index.hashes)))


def _index(path: Path) -> _Index:
    """What the end of a file says, mapped and not read."""
    with storage_errors(path), path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL.size))
        tail = file.read()
        mapped = np.memmap(file, np.uint8, "r").view(np.ndarray) if size else np.zeros(0, np.uint8)
    magic, count, blocks, names = TAIL.unpack(tail) if len(tail) == TAIL.size else (b"", 0, 0, 0)
    start = size - TAIL.size - 8 * (blocks + 1) - 12 * names
    if magic != MAGIC or start < 0 or start % 8:
        raise _damaged(path)
    hashes = mapped[start : start + 8 * names].view("<u8")
    ends = mapped[start + 8 * names :][: 8 * (blocks + 1)].view("<u8")
    return _Index(count, hashes, mapped[-TAIL.size - 4 * names : -TAIL.size].view("<u4"), ends)


def _block(path: Path, index: _Index, block: int) -> list[Row]:
    try:
        first, last = (int(end) for end in index.ends[block : block + 2])
        with storage_errors(path), path.open("rb") as file:
            file.seek(first)
            return [Row(*one) for one in orjson.loads(zlib.decompress(file.read(last - first)))]
    except (zlib.error, ValueError, TypeError, OverflowError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> StorageError:
    return StorageError(f"the sealed journal: {path.name} is damaged", hint="a copy of the home has it whole")
