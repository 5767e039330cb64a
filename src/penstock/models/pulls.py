"""Pulls that run beside whoever asked for them: how far each is, for all processes of one home, and how to end one.

A pull that runs holds a lock, and says in a file how far it is. One that was stopped, or whose process ended, goes on where it
stopped when it is begun again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from penstock.errors import Conflict, NotFound, PenstockError
from penstock.models.shelf import Card, Shelf, origin_of
from penstock.storage.files import storage_errors
from penstock.trace import log, place

__all__ = ["Pull", "Pulling", "Pulls"]

TOLD_EVERY_S = 0.3
PATIENCE_S = 1.0  # whoever looks whether a pull runs holds its lock for a moment

State = Literal["running", "stopping", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One pull that has not come to its end."""

    name: str
    source: str  # without what is secret in it
    again: str  # what to pull to go on; "": only who began it knows
    state: State = "running"
    step: str = ""  # what comes now
    done: int = 0  # bytes
    size: int = 0  # 0: nobody knows
    message: str = ""  # why it failed
    hint: str = ""


class Pulls:
    """The pulls onto one shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf, self.folder = shelf, shelf.folder / ".pulls"

    def all(self) -> list[Pull]:
        """Those that run, were stopped or failed, by name. Raises StorageError."""
        if not self.folder.is_dir():
            return []
        with storage_errors(self.folder):
            found = [self._read(path) for path in sorted(self.folder.glob("*.json"))]
        return [pull for pull in found if pull]

    def begin(self, source: str, *, name: str = "") -> Pulling:
        """A pull that is ready to run; nobody else can pull that name until it has. Raises BadRequest, NotFound or Conflict."""
        origin = origin_of(source)
        name = name or origin.name
        self.shelf.check_free(name)
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._beside(name, "lock"), thread_local=False)
        with storage_errors(self.folder):
            try:
                lock.acquire(timeout=PATIENCE_S)
            except Timeout as error:
                raise Conflict(f"'{name}' is being pulled already", hint="the page of the models shows it") from error
        again = "" if source.startswith("http") and source != origin.label else origin.label
        self._beside(name, "stop").unlink(missing_ok=True)
        pulling = Pulling(self, Pull(name=name, source=origin.label, again=again), source, lock)
        pulling.tell()
        return pulling

    def stop(self, name: str) -> None:
        """Ask a pull to end, whichever process it runs in. Raises NotFound."""
        self._known(name)
        with storage_errors(self.folder):
            self._beside(name, "stop").touch()

    def forget(self, name: str) -> None:
        """Delete what a pull that was stopped or failed has left. Raises NotFound, or Conflict while it runs."""
        if self._known(name).state in ("running", "stopping"):
            raise Conflict(f"'{name}' is being pulled", hint="stop it first")
        self.shelf.forget(name)
        with storage_errors(self.folder):
            self._beside(name, "json").unlink(missing_ok=True)

    def _known(self, name: str) -> Pull:
        found = next((pull for pull in self.all() if pull.name == name), None)
        if found is None:
            raise NotFound(f"nothing is pulled under the name '{name[:80]}'", hint="it may have come to its end")
        return found

    def _read(self, path: Path) -> Pull | None:
        try:
            values = json.loads(path.read_bytes())
            pull = Pull(**{one.name: values[one.name] for one in fields(Pull)})
        except (ValueError, KeyError, TypeError, FileNotFoundError):  # gone meanwhile, or nothing of ours
            return None
        if pull.state != "running":
            return pull
        lock = FileLock(path.with_suffix(".lock"), thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return replace(pull, state="stopping") if path.with_suffix(".stop").exists() else pull
        lock.release()
        return replace(pull, state="stopped") if path.exists() else None

    def _beside(self, name: str, ending: str) -> Path:
        return self.folder / f"{name}.{ending}"


class _Stopped(PenstockError):
    """Somebody asked for it, or the server ends."""


class Pulling:
    """One pull, from beginning to end, in a thread of its own."""

    def __init__(self, pulls: Pulls, pull: Pull, source: str, lock: FileLock) -> None:
        self.pull, self._pulls, self._source, self._lock = pull, pulls, source, lock
        self._told = 0.0
        self._ends: Callable[[], bool] = lambda: False

    def run(self, ends: Callable[[], bool], taken_up: Callable[[Card], None]) -> None:
        """Pull, and say how it ended. ends: whether the process does; taken_up: what to do with the model that came."""
        self._ends = ends
        try:
            taken_up(self._pulls.shelf.pull(self._source, name=self.pull.name, progress=self))
            self._file.unlink(missing_ok=True)
        except _Stopped:
            self.tell(state="stopped")
        except PenstockError as error:
            log("pull failed", level="warning", model=self.pull.name, error=error.code)
            self.tell(state="failed", message=error.message, hint=error.hint)
        except Exception as error:  # here a task ends: what nobody expected is recorded, and its words stay inside
            log("pull failed", level="error", model=self.pull.name, error=type(error).__name__, at=place(error))
            self.tell(state="failed", message="something went wrong inside", hint="the server's log says what")
        finally:
            self._stop.unlink(missing_ok=True)
            self._lock.release()

    def give_up(self) -> None:
        """Do not run."""
        self._file.unlink(missing_ok=True)
        self._lock.release()

    # ---------------------------------------------------------------- as the shelf tells how far it is

    def start(self, what: str, size: int, done: int) -> None:
        self.tell(step=what, size=size, done=done)

    def add(self, size: int) -> None:
        self.pull = replace(self.pull, done=self.pull.done + size)
        if self._ends() or self._stop.exists():
            raise _Stopped("the pull was stopped")
        if time.monotonic() - self._told > TOLD_EVERY_S:
            self.tell()

    def tell(self, state: State = "running", **changes: str | int) -> None:
        """Say how it stands. A disk that is full stops the model that comes, and not the telling."""
        self.pull = replace(self.pull, state=state, **changes)  # type: ignore[arg-type]
        self._told = time.monotonic()
        beside = self._file.with_suffix(".new")
        with suppress(OSError):
            beside.write_bytes(json.dumps(asdict(self.pull)).encode())
            os.replace(beside, self._file)

    @property
    def _file(self) -> Path:
        return self._pulls.folder / f"{self.pull.name}.json"

    @property
    def _stop(self) -> Path:
        return self._pulls.folder / f"{self.pull.name}.stop"
