"""Where in the text that came each character of a text that left came from."""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["Trail"]


class Trail:
    """Stretches of what left, in order, each with the place it came from. Grows only where something was changed."""

    def __init__(self) -> None:
        self._left, self._came = [0], [0]
        self.size = 0

    def add(self, count: int, origin: int) -> None:
        """So many characters left that came from origin on."""
        if self._came[-1] + self.size - self._left[-1] != origin:
            if self._left[-1] == self.size:
                self._came[-1] = origin
            else:
                self._left.append(self.size)
                self._came.append(origin)
        self.size += count

    def origin(self, place: int) -> int:
        """Where the character at this place of what left came from."""
        at = bisect_right(self._left, place) - 1
        return self._came[at] + place - self._left[at]

    def end(self, place: int) -> int:
        """Where a stretch that ends at this place of what left ended."""
        return self.origin(place - 1) + 1 if place else self._came[0]
