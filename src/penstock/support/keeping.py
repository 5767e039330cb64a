"""Scored conversations in a file, a line each, written as they come: what is there when somebody interrupts can be gone on with,
and is what later logs are held against. Words of customers are in it only as findings have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from penstock.errors import BadRequest
from penstock.storage.files import storage_errors
from penstock.support.scored import Scored

__all__ = ["Kept", "Writer", "is_kept", "read_kept", "writing"]

MARK = "penstock_support"
VERSION = 1
EVERY = 32  # lines between two that are surely on the disk


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file has. about: of the log, and how it was scored. complete: all of the log is in it."""

    scored: tuple[Scored, ...]
    about: Mapping[str, Any]
    complete: bool


class Writer:
    """Appends to a file. A line that could not be written whole is passed over when it is read."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path, self._since = file, path, 0

    def add(self, one: Scored) -> None:
        self._line(one.plain())
        self._since += 1
        if self._since >= EVERY:
            self.flush()

    def end(self, about: Mapping[str, Any]) -> None:
        """All of the log is there."""
        self._line({MARK: VERSION, "complete": True, **about})
        self.flush()

    def flush(self) -> None:
        with storage_errors(self._path):
            self._file.flush()
        self._since = 0

    def _line(self, value: Mapping[str, Any]) -> None:
        with storage_errors(self._path):
            self._file.write(orjson.dumps(value) + b"\n")


@contextmanager
def writing(path: Path, about: Mapping[str, Any], *, further: bool) -> Iterator[Writer]:
    """further: go on behind what is there. Raises BadRequest for a file that is there and is none of ours, StorageError."""
    if path.exists() and path.stat().st_size and not is_kept(path):
        raise BadRequest(f"{path} is there and is no result of `penstock eval log`", hint="name another file for --out")
    with storage_errors(path), path.open("ab" if further else "wb") as file:
        path.chmod(0o600)
        writer = Writer(file, path)
        if further:
            file.write(b"\n")  # a line that broke off ends here
        writer._line({MARK: VERSION, **about})
        try:
            yield writer
        finally:
            writer.flush()


def is_kept(path: Path) -> bool:
    """Whether a file is one of these, by its first line."""
    try:
        with path.open("rb") as file:
            line = file.readline(1 << 20)
        head = orjson.loads(line)
    except (OSError, ValueError):
        return False
    return isinstance(head, dict) and MARK in head


def read_kept(path: Path) -> Kept:
    """Raises BadRequest for what is no such file, naming the line of what is wrong in it."""
    try:
        lines = path.open("rb")
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror or error}") from error
    found: dict[str, Scored] = {}
    about: dict[str, Any] = {}
    complete, broken = False, ""
    with lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if broken:
                complete = False
            try:
                row = orjson.loads(line)
            except ValueError as error:
                broken = f"line {number} of {path} is not JSON: {error}"
                if not found and not about:
                    raise BadRequest(broken, hint="a file that `penstock eval log --out` wrote") from error
                continue
            if not isinstance(row, dict):
                raise BadRequest(f"line {number} of {path} is no result of `penstock eval log`")
            if MARK in row:
                if row[MARK] != VERSION:
                    raise BadRequest(
                        f"{path} is of version {row[MARK]} of these files, and this Penstock reads {VERSION}"
                    )
                about |= {name: value for name, value in row.items() if name not in (MARK, "complete")}
                complete = complete or bool(row.get("complete"))
                continue
            if not about:
                raise BadRequest(f"{path} is no result of `penstock eval log`")
            try:
                one = Scored.read(row)
            except BadRequest as error:
                raise BadRequest(f"line {number} of {path}: {error.message}") from error
            found[one.id] = one
    return Kept(tuple(found.values()), about, complete)
