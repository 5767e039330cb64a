"""Backup and restore: the catalog and every file it names, in one archive, made while others read and write.

The last entry of the archive lists the others with their SHA-256, so a cut or damaged one is known as such.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

from penstock.errors import BadRequest, Conflict, StorageError
from penstock.storage.database import Database
from penstock.storage.files import new_file, storage_errors

__all__ = ["back_up", "restore"]

DATABASE, FACTS, FORMAT = "penstock.db", "backup.json", 1


def back_up(home: Path, target: Path, files: Callable[[Path], Iterable[str]]) -> int:
    """Write the home folder's state into a .tar file. Returns its size in bytes.

    files: given a copy of the catalog, the files beneath the home folder that it names. They are immutable, and the
    copy is consistent, so nothing has to stand still. A file that a newer state has dropped meanwhile is a Conflict.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-backup-") as temporary:
        copy = Path(temporary) / DATABASE
        with closing(Database(home / DATABASE)) as database:
            database.copy_to(copy)
        with new_file(target) as out, tarfile.open(fileobj=out, mode="w", dereference=True) as archive:
            digests = {DATABASE: _add(archive, copy, DATABASE)}
            for name in files(copy):
                try:
                    digests[name] = _add(archive, home / name, name)
                except FileNotFoundError as error:
                    raise Conflict(f"{name} was replaced while the backup ran", hint="run it again") from error
            made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            facts = json.dumps({"format": FORMAT, "made": made, "files": digests}).encode()
            entry = tarfile.TarInfo(FACTS)
            entry.size = len(facts)
            archive.addfile(entry, io.BytesIO(facts))
    return target.stat().st_size


def _add(archive: tarfile.TarFile, path: Path, name: str) -> str:
    """Add one file. Returns its SHA-256. Raises StorageError for an array file that is not what its name says."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if path.suffix == ".arrays" and not digest.startswith(path.stem):
            raise StorageError(f"{path} is damaged, and a backup of it would be", hint="penstock doctor")
        file.seek(0)
        archive.addfile(archive.gettarinfo(arcname=name, fileobj=file), file)
    return digest


def restore(source: Path, home: Path, *, replace: bool) -> None:
    """Unpack a backup into a home folder, after checking every file in it.

    An existing home is kept beside as `<home>.before-restore`, with a number where that is taken. Raises BadRequest for
    what is no backup, StorageError for a damaged one, Conflict where there is a home already and `replace` was not asked for.
    """
    if not source.is_file():
        raise BadRequest(f"there is no file {source}")
    if home.exists() and not home.is_dir():
        raise Conflict(f"{home} is a file, and no home folder")
    inhabited = home.exists() and any(home.iterdir())
    if inhabited and not replace:
        raise Conflict(f"{home} is not empty", hint="penstock restore --replace keeps it beside the restored one")
    with storage_errors(home):
        home.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{home.name}.restore-", dir=home.parent))
    try:
        _unpack(source, fresh)
        with storage_errors(home):
            if inhabited:
                os.replace(home, _free(home.with_name(f"{home.name}.before-restore")))
            elif home.exists():
                home.rmdir()
            os.replace(fresh, home)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _free(path: Path) -> Path:
    """The path, or the first one with a number that nothing has."""
    numbered = (path.with_name(f"{path.name}-{n}") for n in itertools.count(2))
    return next(p for p in itertools.chain([path], numbered) if not p.exists())


def _unpack(source: Path, folder: Path) -> None:
    try:
        with tarfile.open(source, mode="r:") as archive:
            for entry in archive:
                path = PurePosixPath(entry.name)
                if not entry.isfile() or entry.issparse() or path.is_absolute() or ".." in path.parts:
                    raise BadRequest(f"{source} holds '{entry.name}', which no backup does")
                with storage_errors(folder):
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    archive.extract(entry, folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise BadRequest(f"{source} is not a complete backup: {error}") from error
    except OSError as error:
        raise BadRequest(f"{source} cannot be read: {error.strerror}") from error
    facts = _facts(source, folder)
    (folder / FACTS).unlink()
    for name, expected in facts["files"].items():
        file = folder / PurePosixPath(name)
        if not file.is_file() or _digest(file) != expected:
            raise StorageError(f"{name} in {source} is damaged")
    unknown = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - facts["files"].keys()
    if unknown:
        raise BadRequest(f"{source} holds '{min(unknown)}', which its list of files does not")


def _digest(path: Path) -> str:
    with storage_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _facts(source: Path, folder: Path) -> dict[str, Any]:
    """What the archive says of itself: its format, and each file with its SHA-256."""
    if not (folder / DATABASE).is_file():
        raise BadRequest(f"{source} is no backup of Penstock")
    if not (folder / FACTS).is_file():
        raise BadRequest(f"{source} is not a complete backup: its list of files is missing")
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
        newer = facts["format"] > FORMAT
        facts["files"].items()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadRequest(f"{source} has a damaged list of files") from error
    if newer:
        raise BadRequest(f"{source} was made by a newer Penstock", hint="pip install --upgrade penstock")
    return facts
