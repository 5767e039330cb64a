"""How a task stands that one of several processes works on: it holds a lock, and says in a file how far it is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from penstock.storage.files import storage_errors

__all__ = ["Told"]

EVERY_S = 0.3
PATIENCE_S = 1.0  # whoever looks whether a task runs holds its lock for a moment


class Told:
    """One task of a name. Its `state` is `running`, `stopping`, `stopped`, or what it ended with."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._file = folder, folder / f"{name}.json"
        self._stop, self._lock = folder / f"{name}.stop", FileLock(folder / f"{name}.lock", thread_local=False)
        self._at = 0.0

    def begin(self, values: Mapping[str, Any]) -> bool:
        """Whether it may run now: nobody else does. Whoever begins ends it. Raises StorageError."""
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=PATIENCE_S)
            except Timeout:
                return False
        try:
            with storage_errors(self._stop):
                self._stop.unlink(missing_ok=True)
        except BaseException:
            self._lock.release()
            raise
        self.tell(values, now=True)
        return True

    def tell(self, values: Mapping[str, Any], *, now: bool = False) -> None:
        """Say how far it is. What comes too soon after the last time is left out; where the disk is full nothing is said."""
        if not now and time.monotonic() - self._at < EVERY_S:
            return
        self._at = time.monotonic()
        self._write({**values, "state": "running"})

    def end(self, values: Mapping[str, Any] | None = None) -> None:
        """It has ended: with something that stays until the next time, or with nothing to say."""
        if values is not None:
            self._write(values)
        with suppress(OSError):  # what stays is taken for a task that was stopped
            if values is None:
                self._file.unlink(missing_ok=True)
            self._stop.unlink(missing_ok=True)
        self._lock.release()

    def ask_to_stop(self) -> None:
        """Ask it to end, in whichever process it runs. Raises StorageError."""
        with storage_errors(self._stop):
            self._stop.touch()

    @property
    def asked_to_stop(self) -> bool:
        return self._stop.exists()

    def read(self) -> dict[str, Any] | None:
        """What it has said last, with its state; None where there is nothing. One whose process is gone was stopped."""
        try:
            values: dict[str, Any] = json.loads(self._file.read_bytes())
            state = values["state"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if state != "running":
            return values
        looking = FileLock(self._lock.lock_file, thread_local=False)
        try:
            looking.acquire(timeout=0)
        except Timeout:
            return {**values, "state": "stopping"} if self.asked_to_stop else values
        looking.release()
        return {**values, "state": "stopped"} if self._file.exists() else None

    def _write(self, values: Mapping[str, Any]) -> None:
        beside = self._file.with_suffix(".new")
        with suppress(OSError):
            beside.write_bytes(json.dumps(dict(values)).encode())
            os.replace(beside, self._file)
