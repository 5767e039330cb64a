"""A file of named arrays, written once, then memory-mapped by every reader.

Layout: 8 bytes magic, 8 bytes header length, the header as JSON, then the arrays, each at a multiple of 64 bytes. The
file's name holds the SHA-256 of its content, so a file that is there is the file that was meant.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penstock.errors import StorageError
from penstock.storage.files import new_file, storage_errors

__all__ = ["open_arrays", "verify_arrays", "write_arrays"]

Array = np.ndarray[Any, np.dtype[Any]]

_MAGIC = b"PNSTK\x01\r\n"
_ALIGN = 64


def write_arrays(folder: Path, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> str:
    """Write a file of arrays and facts (plain JSON values) into the folder. Returns its name."""
    layout, at = {}, 0
    for name, array in arrays.items():
        layout[name] = {"dtype": array.dtype.str, "shape": list(array.shape), "at": at}
        at += -(-array.nbytes // _ALIGN) * _ALIGN
    header = json.dumps({"arrays": layout, "bytes": at, "facts": facts}, sort_keys=True).encode()
    header += b" " * (-(len(header) + 16) % _ALIGN)
    head = _MAGIC + len(header).to_bytes(8, "little") + header
    digest = hashlib.sha256(head)
    padded = [
        (np.ascontiguousarray(a).reshape(-1).view(np.uint8).data, b"\0" * (-a.nbytes % _ALIGN)) for a in arrays.values()
    ]
    for data, padding in padded:
        digest.update(data)
        digest.update(padding)
    name = f"{digest.hexdigest()[:32]}.arrays"
    if not (folder / name).exists():  # the same content is the same file
        with new_file(folder / name) as file:
            file.write(head)
            for data, padding in padded:
                file.write(data)
                file.write(padding)
    return name


def open_arrays(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Map a file: read-only arrays that are read from disk as they are touched, and the facts.

    Raises StorageError for a file that is not whole. The content itself is checked by `verify_arrays`.
    """
    with storage_errors(path), path.open("rb") as file:
        head = file.read(16)
        header = file.read(int.from_bytes(head[8:], "little")) if head[:8] == _MAGIC else b""
        try:
            described = json.loads(header)
        except ValueError as error:
            raise StorageError(f"{path} is damaged", hint="penstock doctor") from error
        start = 16 + len(header)
        if path.stat().st_size != start + described["bytes"]:
            raise StorageError(f"{path} is damaged: it ends early", hint="penstock doctor")
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
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
