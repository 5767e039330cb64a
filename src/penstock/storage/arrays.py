"""A file of named arrays, written once, then memory-mapped by every reader.

Layout: 8 bytes magic, 8 bytes header length, the header as JSON, then the arrays, each at a multiple of 64 bytes. The
file's name holds the SHA-256 of its content, so a file that is there is the file that was meant. With encryption the whole
of it is sealed, and is opened into memory instead of mapped.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penstock.errors import StorageError
from penstock.storage.envelope import Encryption, SealedFile, chunks, is_sealed
from penstock.storage.files import new_file, storage_errors

__all__ = ["open_arrays", "verify_arrays", "write_arrays"]

Array = np.ndarray[Any, np.dtype[Any]]

_MAGIC = b"PNSTK\x01\r\n"
_ALIGN = 64


def write_arrays(
    folder: Path, arrays: Mapping[str, Array], facts: Mapping[str, Any], *, encryption: Encryption | None = None
) -> str:
    """Write a file of arrays and facts (plain JSON values) into the folder. Returns its name."""
    layout, at = {}, 0
    for name, array in arrays.items():
        layout[name] = {"dtype": array.dtype.str, "shape": list(array.shape), "at": at}
        at += -(-array.nbytes // _ALIGN) * _ALIGN
    header = json.dumps({"arrays": layout, "bytes": at, "facts": facts}, sort_keys=True).encode()
    header += b" " * (-(len(header) + 16) % _ALIGN)
    head = _MAGIC + len(header).to_bytes(8, "little") + header
    padded = [
        (np.ascontiguousarray(a).reshape(-1).view(np.uint8).data, b"\0" * (-a.nbytes % _ALIGN)) for a in arrays.values()
    ]
    salt = secrets.token_bytes(16)

    def plain() -> Iterator[bytes | memoryview]:
        yield head
        for data, padding in padded:
            yield data
            yield padding

    def pieces() -> Iterator[bytes | memoryview]:
        """The same each time: the first time for the name, the second for the file."""
        return plain() if encryption is None else chunks(encryption, plain, salt)

    digest = hashlib.sha256()
    for piece in pieces():
        digest.update(piece)
    name = f"{digest.hexdigest()[:32]}.arrays"
    if not (folder / name).exists():  # the same content is the same file
        with new_file(folder / name) as file:
            file.writelines(pieces())
    return name


def open_arrays(path: Path, *, encryption: Encryption | None = None) -> tuple[dict[str, Array], dict[str, Any]]:
    """Map a file: read-only arrays that are read from disk as they are touched, and the facts. A sealed one is read at once.

    Raises StorageError for a file that is not whole, or that cannot be opened. The content itself is checked by `verify_arrays`.
    """
    with storage_errors(path), path.open("rb") as file:
        head = file.read(16)
        sealed = is_sealed(head)
        if not sealed and head[:8] != _MAGIC:
            raise StorageError(f"{path} is damaged", hint="penstock doctor")
        if not sealed:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if sealed:
        if encryption is None:
            raise StorageError(f"{path} is encrypted", hint="switch encryption on, with the keys it was written with")
        mapped = SealedFile(path, encryption).whole()
    header = bytes(mapped[16 : 16 + int.from_bytes(mapped[8:16], "little")])
    try:
        described = json.loads(header)
    except ValueError as error:
        raise StorageError(f"{path} is damaged", hint="penstock doctor") from error
    start = 16 + len(header)
    if len(mapped) != start + described["bytes"]:
        raise StorageError(f"{path} is damaged: it ends early", hint="penstock doctor")
    arrays = {}
    for name, entry in described["arrays"].items():
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(mapped, dtype, count, start + entry["at"]).reshape(shape)
    return arrays, described["facts"]


def verify_arrays(path: Path) -> bool:
    """Whether the content is what the name says. Reads the whole file."""
    with storage_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32] == path.stem
