"""Where documents come from: files and folders. (Web pages and sitemaps are in web.py.)

A file is known by its path and a fingerprint of size and time; only when that changed is it read again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from penstock.documents.reading import Limits, Raw, reads
from penstock.errors import Conflict, NotFound, StorageError, TooLarge, Unreadable

__all__ = ["File", "as_text", "existing", "is_web", "read_file", "resolved", "scan"]

NEVER = frozenset(
    ".git .hg .svn node_modules __pycache__ .venv venv .penstock .tox .mypy_cache .idea .DS_Store".split()
)
ATTEMPTS = 3  # at a file that changes while it is read


@dataclass(frozen=True, slots=True)
class File:
    """A file as a scan saw it."""

    path: Path
    source: str  # the name it has in citations
    fingerprint: str
    modified: str  # ISO 8601 date
    size: int


def is_web(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def scan(
    place: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = (), everything: bool = False
) -> Iterator[File]:
    """The files at a path, in order, named by where they are in it.

    Hidden files, caches and, unless `everything` is asked for, what is of no readable kind are passed over. Links are
    followed as long as they stay inside the folder, each folder once. Raises NotFound where there is nothing, or nothing
    that may be listed.
    """
    try:
        root = place.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise NotFound(f"there is no file or folder {place}") from error
    if root.is_file():
        yield _file(root, root.name)
        return
    seen: set[tuple[int, int]] = set()
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise NotFound(f"{place} cannot be looked into: {error.strerror}") from error
            continue  # a folder that may not be listed hides its files, as it does from every other program
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        below = []
        for entry in entries:
            path = Path(entry.path)
            name = path.relative_to(root).as_posix()
            if entry.name in NEVER or entry.name.startswith(".") or _any(exclude, name):
                continue
            try:
                if entry.is_symlink() and not path.resolve(strict=True).is_relative_to(root):
                    continue
                if entry.is_dir():
                    below.append(path)
                elif entry.is_file() and (
                    everything or (_any(include, name) if include else reads(entry.name) or not path.suffix)
                ):
                    yield _file(path, name)
            except (OSError, RuntimeError):
                continue  # gone again, or a link to nowhere
        folders += reversed(below)


def _any(patterns: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) or fnmatchcase(PurePosixPath(name).name, pattern) for pattern in patterns)


def resolved(place: str) -> str:
    """The full path of a file or folder; what can be no path stays as it is, and is found nowhere."""
    try:
        return str(Path(place).expanduser().resolve())
    except (ValueError, RuntimeError, OSError):  # a null character, a user that is none, links in a circle
        return place


def existing(places: Sequence[str]) -> list[str]:
    """Full paths and addresses. Raises NotFound for a file or folder that is not there, before anything is made for it."""
    for place in places:
        if not is_web(place) and not (place and os.path.exists(resolved(place))):
            raise NotFound(f"there is no file or folder '{place}'")
    return [place if is_web(place) else resolved(place) for place in places]


def as_text(name: str) -> str:
    """A file's name, which may be any bytes, as text that can be stored and shown."""
    return name.encode("utf-8", "backslashreplace").decode()


def _file(path: Path, source: str) -> File:
    status = path.stat()
    try:
        modified = datetime.fromtimestamp(status.st_mtime, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        modified = ""  # a clock that was set to another age
    return File(path, as_text(source), f"{status.st_size}:{status.st_mtime_ns}", modified, status.st_size)


def read_file(file: File, limits: Limits) -> tuple[Raw, str]:
    """Read a file whole. Returns it and the fingerprint of what was read.

    Raises Unreadable when it cannot be opened, Conflict when it keeps changing, TooLarge before reading anything.
    """
    for _ in range(ATTEMPTS):
        try:
            before = _file(file.path, file.source)
            if before.size > limits.max_bytes:
                raise TooLarge(
                    f"'{file.source}' is {before.size >> 20} MB, the limit is {limits.max_file_mb} MB",
                    hint="raise max_file_mb for this collection",
                )
            data = file.path.read_bytes()
            after = _file(file.path, file.source)
        except OSError as error:
            raise Unreadable(f"'{file.source}' cannot be opened: {error.strerror}") from error
        except MemoryError as error:
            raise StorageError(f"'{file.source}' does not fit into memory") from error
        if before.fingerprint == after.fingerprint:
            return Raw(file.source, data, limits, modified=after.modified), after.fingerprint
    raise Conflict(f"'{file.source}' keeps changing while it is read", hint="penstock docs sync, once it is finished")
