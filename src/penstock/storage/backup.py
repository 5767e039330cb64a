"""Backup and restore: the catalog and every file it names, in one archive, made while others read and write."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from penstock.errors import BadRequest, Conflict, StorageError
from penstock.storage.arrays import verify_arrays
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
        Database(home / DATABASE).copy_to(copy)
        with new_file(target) as out, tarfile.open(fileobj=out, mode="w") as archive:
            facts = json.dumps({"format": FORMAT, "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}).encode()
            entry = tarfile.TarInfo(FACTS)
            entry.size = len(facts)
            archive.addfile(entry, io.BytesIO(facts))
            archive.add(copy, DATABASE)
            for name in files(copy):
                try:
                    archive.add(home / name, name)
                except FileNotFoundError as error:
                    raise Conflict(f"{name} was replaced while the backup ran", hint="run it again") from error
    return target.stat().st_size


def restore(source: Path, home: Path, *, replace: bool) -> None:
    """Unpack a backup into a home folder, after checking every file in it.

    An existing home is kept beside as `<home>.before-restore`. Raises BadRequest for what is no backup, StorageError
    for a damaged one, Conflict where there is a home already and `replace` was not asked for.
    """
    if home.exists() and any(home.iterdir()) and not replace:
        raise Conflict(f"{home} is not empty", hint="penstock restore --replace keeps it beside the restored one")
    with storage_errors(home):
        home.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{home.name}.restore-", dir=home.parent))
    try:
        _unpack(source, fresh)
        with storage_errors(home):
            if home.exists():
                before = home.with_name(f"{home.name}.before-restore")
                shutil.rmtree(before, ignore_errors=True)
                os.replace(home, before)
            os.replace(fresh, home)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _unpack(source: Path, folder: Path) -> None:
    try:
        with tarfile.open(source, mode="r:") as archive:
            for entry in archive:
                path = PurePosixPath(entry.name)
                if not entry.isfile() or path.is_absolute() or ".." in path.parts:
                    raise BadRequest(f"{source} holds '{entry.name}', which no backup does")
                with storage_errors(folder):
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    archive.extract(entry, folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise BadRequest(f"{source} is not a complete backup: {error}") from error
    except FileNotFoundError as error:
        raise BadRequest(f"there is no file {source}") from error
    if not (folder / FACTS).is_file() or not (folder / DATABASE).is_file():
        raise BadRequest(f"{source} is no backup of Penstock")
    if json.loads((folder / FACTS).read_text("utf-8"))["format"] > FORMAT:
        raise BadRequest(f"{source} was made by a newer Penstock", hint="pip install --upgrade penstock")
    for file in folder.glob("segments/*/*.arrays"):
        if not verify_arrays(file):
            raise StorageError(f"{file.name} in {source} is damaged")
    (folder / FACTS).unlink()
