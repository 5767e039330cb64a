"""Pulls that run beside whoever asked for them: how far each is, for all processes of one home, and how to end one.

One that was stopped, or whose process ended, goes on where it stopped when it is begun again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from penstock.errors import Conflict, NotFound, PenstockError
from penstock.models.shelf import PACKAGES, Card, Shelf, origin_of
from penstock.storage.files import storage_errors
from penstock.storage.told import Told
from penstock.trace import log, place

__all__ = ["Pull", "Pulling", "Pulls"]

AT_ONCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One pull that has not come to its end."""

    name: str
    source: str  # without what is secret in it
    again: str  # what to pull to go on; "": only who began it knows
    state: str = "running"  # stopping, stopped, failed
    step: str = ""  # what comes now
    done: int = 0  # bytes
    size: int = 0  # 0: nobody knows
    message: str = ""  # why it failed
    hint: str = ""


class Pulls:
    """The pulls onto one shelf."""

    def __init__(self, shelf: Shelf, *, files: Path | None = None) -> None:
        """files: a folder of GGUF files that may be pulled too. Of any other file it is not even told whether it is there."""
        self.shelf, self.folder, self._files = shelf, shelf.folder / ".pulls", files

    def all(self) -> list[Pull]:
        """Those that run, were stopped or failed, by name. Raises StorageError."""
        with storage_errors(self.folder):
            names = sorted(path.stem for path in self.folder.glob("*.json"))
        found = []
        for name in names:
            with suppress(TypeError):  # nothing of ours
                found += [Pull(**values) for values in [Told(self.folder, name).read()] if values]
        return found

    def begin(self, source: str, *, name: str = "") -> Pulling:
        """A pull that is ready to run; nobody else can pull that name until it has. Raises BadRequest, NotFound or Conflict."""
        source = self._allowed(source)
        origin = origin_of(source)
        name = name or origin.name
        self.shelf.check_free(name)
        again = "" if source.startswith("http") and source != origin.label else origin.label
        pull, told = Pull(name=name, source=origin.label, again=again), Told(self.folder, name)
        before = told.read()
        if not told.begin(asdict(pull)):
            raise Conflict(f"'{name}' is being pulled already", hint="the page of the models shows it")
        pulling = Pulling(self.shelf, pull, source, told, before)
        try:
            running = sum(one.state in ("running", "stopping") for one in self.all())
            if running > AT_ONCE:
                raise Conflict(f"{AT_ONCE} models are being pulled already", hint="wait for one of them, or stop it")
        except PenstockError:
            pulling.give_up()
            raise
        return pulling

    def _allowed(self, source: str) -> str:
        """The source, where it may be pulled from here; of a file its path. Raises NotFound."""
        if source in PACKAGES or source.startswith(("hub:", "https://", "http://")):
            return source
        hint = f"{', '.join(PACKAGES)}, hub:owner/name/file.gguf, or an https address"
        if self._files is None:
            hint += "; a file of the server is pulled in its terminal, or here from the folder server.pull_from"
        else:
            hint += f", or a file of {self._files}"
            with suppress(OSError, RuntimeError, ValueError):  # what can be no path is none
                path, folder = (self._files / source).resolve(), self._files.resolve()
                if path.is_relative_to(folder) and path.is_file():
                    return str(path)
        raise NotFound(f"there is no model '{source[:200]}' that can be pulled from here", hint=hint)

    def stop(self, name: str) -> None:
        """Ask a pull to end, whichever process it runs in. Raises NotFound."""
        self._known(name)
        Told(self.folder, name).ask_to_stop()

    def forget(self, name: str) -> None:
        """Delete what a pull that was stopped or failed has left. Raises NotFound, or Conflict while it runs."""
        told = Told(self.folder, name)
        if self._known(name).state in ("running", "stopping") or not told.begin({}):
            raise Conflict(f"'{name}' is being pulled", hint="stop it first")
        try:
            self.shelf.forget(name)
        finally:
            told.end()

    def _known(self, name: str) -> Pull:
        found = next((pull for pull in self.all() if pull.name == name), None)
        if found is None:
            raise NotFound(f"nothing is pulled under the name '{name[:80]}'", hint="it may have come to its end")
        return found


class _Stopped(PenstockError):
    """Somebody asked for it, or the server ends."""


class Pulling:
    """One pull, from beginning to end, in a thread of its own."""

    def __init__(self, shelf: Shelf, pull: Pull, source: str, told: Told, before: Mapping[str, Any] | None) -> None:
        """before: what was said of an earlier pull of that name."""
        self.pull, self._shelf, self._source, self._told, self._before = pull, shelf, source, told, before
        self._ends: Callable[[], bool] = lambda: False

    def run(self, ends: Callable[[], bool], taken_up: Callable[[Card], None]) -> None:
        """Pull, and say how it ended. ends: whether the process does; taken_up: what to do with the model that came."""
        self._ends = ends
        ended: Pull | None = None
        card: Card | None = None
        try:
            card = self._shelf.pull(self._source, name=self.pull.name, progress=self)
        except _Stopped:
            ended = replace(self.pull, state="stopped")
        except PenstockError as error:
            if self._to_end:  # it failed before it could hear that
                ended = replace(self.pull, state="stopped")
            else:
                log("pull failed", level="warning", model=self.pull.name, error=error.code)
                ended = replace(self.pull, state="failed", message=error.message, hint=error.hint)
        except Exception as error:  # here a task ends: what nobody expected is recorded, and its words stay inside
            log("pull failed", level="error", model=self.pull.name, error=type(error).__name__, at=place(error))
            ended = replace(
                self.pull, state="failed", message="something went wrong inside", hint="see the server's log"
            )
        finally:
            if card is not None:  # whatever becomes of it now, it is here
                self._take_up(card, taken_up)
            self._told.end(asdict(ended) if ended else None)

    def _take_up(self, card: Card, taken_up: Callable[[Card], None]) -> None:
        try:
            taken_up(card)
        except Exception as error:  # here a task ends: what nobody expected is recorded, and its words stay inside
            kind = error.code if isinstance(error, PenstockError) else type(error).__name__
            log("model not taken up", level="error", model=card.name, error=kind, at=place(error))

    def give_up(self) -> None:
        """Do not run: what was said before of that name stands again."""
        self._told.end(self._before)

    @property
    def _to_end(self) -> bool:
        return self._ends() or self._told.asked_to_stop

    # ---------------------------------------------------------------- as the shelf tells how far it is

    def start(self, what: str, size: int, done: int) -> None:
        self.pull = replace(self.pull, step=what, size=size, done=done)
        self._told.tell(asdict(self.pull), now=True)

    def add(self, size: int) -> None:
        self.pull = replace(self.pull, done=self.pull.done + size)
        if self._to_end:
            raise _Stopped("the pull was stopped")
        self._told.tell(asdict(self.pull))
