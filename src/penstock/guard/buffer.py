"""What was read of a stream and has not left yet, with the place in the stream of each of its characters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from penstock.guard.outlet import HELD

__all__ = ["Buffer", "Note", "Put"]

LONGEST_LABEL: Final = 1000

_Stretch = tuple[int, int, int]  # the step is 0 for what was put there
Note = Callable[[str, int, int, str], None]
Put = Callable[[str, int, bool], None]


class Buffer:
    """Characters that wait. note is told of each thing taken out: its kind, the stretch of the stream, and why."""

    def __init__(self, put: Put, note: Note) -> None:
        self._put, self._note = put, note
        self._text = ""
        # from which place in _text on: where in the stream it stands, and how far it moves there with each character
        self._origins: list[_Stretch] = [(0, 0, 1)]
        self._line = ""  # what left of the line that is being written, its beginning and
        self._tail = ""  # its end
        self._last = ""
        self._label: str | None = None  # what left since a bracket was opened, where that matters

    @property
    def _window(self) -> str:
        """As much as decides. What comes after it does not change what is done with it."""
        return self._text[:HELD]

    def _all(self, final: bool) -> bool:
        """Whether the window will not grow any more."""
        return final or len(self._text) >= HELD

    def _origin(self, place: int) -> int:
        for start, origin, step in reversed(self._origins):
            if start <= place:
                return origin + (place - start) * step
        return place

    def _drop(self, count: int) -> None:
        """Forget so many characters."""
        self._text, origins = self._text[count:], self._origins
        if len(origins) == 1:
            _, origin, step = origins[0]
            origins[0] = (0, origin + count * step, step)
            return
        first = self._stretch(count)
        self._origins = [first, *((start - count, origin, step) for start, origin, step in origins if start > count)]

    def _stretch(self, place: int) -> _Stretch:
        """What stands from here on, up to the next jump."""
        step = next(step for start, _, step in reversed(self._origins) if start <= place)
        return (0, self._origin(place), step)

    def _emit(self, text: str, origin: int, *, still: bool = False) -> None:
        if not text:
            return
        self._put(text, origin, still)
        self._last = text[-1]
        if self._label is not None:
            self._label = self._label + text if len(self._label) < LONGEST_LABEL else None
        cut = text.rfind("\n")
        if cut >= 0:
            self._line = text[cut + 1 :][:200]
            self._tail = self._line
        else:
            if len(self._line) < 200:
                self._line += text[: 200 - len(self._line)]
            self._tail = (self._tail + text)[-120:]

    def _pass(self, count: int) -> None:
        """Let so many characters leave as they are."""
        if len(self._origins) == 1:
            _, origin, step = self._origins[0]
            self._emit(self._text[:count], origin, still=not step)
            self._drop(count)
            return
        at = 0
        for stop in [start for start, _, _ in self._origins if 0 < start < count] + [count]:
            _, origin, step = self._stretch(at)
            self._emit(self._text[at:stop], origin, still=not step)
            at = stop
        self._drop(count)

    def _insert(self, text: str) -> None:
        """Let something leave here that is not of the stream."""
        self._emit(text, self._origin(0), still=True)

    def _replace(self, count: int, kept: str, kept_at: int, kind: str, why: str) -> bool:
        """Put something in place of the next characters, to be read again. kept_at: where it stood among them; "
        "-1: nowhere."""
        start, end = self._origin(0), self._origin(count - 1) + 1
        self._note(kind, min(start, end), max(start, end), why)
        inside = (self._origin(kept_at), 1) if kept_at >= 0 else (start, 0)
        self._drop(count)
        self._restore(kept, *inside)
        return True

    def _restore(self, kept: str, origin: int, step: int) -> None:
        """Put something before what waits, apart from what has left."""
        joins = kept.startswith("]") or (kept.startswith("[") and self._last in "(\"'")
        if self._last and not self._last.isspace() and not joins:
            self._emit(" ", origin, still=True)
        self._push(kept, origin, step)

    def _push(self, kept: str, origin: int, step: int) -> None:
        if kept:
            later = [(place + len(kept), *more) for place, *more in self._origins]
            self._origins = [(0, origin, step), *later]  # type: ignore[list-item]
            self._text = kept + self._text
