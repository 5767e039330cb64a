"""The last door: what pictures, links and tags left of an answer, with the secrets out of it, as far as all are sure.

The readers look at one stream side by side, each with a line up to which it is sure. What lies before all the lines leaves,
so that what they hold back overlaps and does not add up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["HELD", "MASK", "Outlet", "Secret"]

HELD: Final = 58  # characters that a reader holds back at most; with the six of `Visible` no more than 64
MASK: Final = "[SECRET]"


@dataclass(slots=True)
class Secret:
    """A stretch of the stream that must not leave."""

    start: int
    end: float  # infinite while it goes on
    kind: str
    score: float
    seen: bool = False  # whether it would have left,
    noted: bool = False  # and was told of


class Outlet:
    """What may leave of one stream, in order. note is told of each secret that would have left: kind, stretch, score."""

    def __init__(self, note: Callable[[str, int, int, float], None]) -> None:
        self.secrets: deque[Secret] = deque()  # in order, none over another
        self._note = note
        self._pieces: deque[tuple[str, int, bool]] = deque()  # as they were put
        self._masked = False  # whether a mask was the last to leave

    def put(self, text: str, origin: int, still: bool) -> None:
        """The next characters that Markup lets pass. still: they are not of the stream, but were put there."""
        self._pieces.append((text, origin, still))

    def upto(self, line: float) -> str:
        """What may leave where all are sure up to here."""
        out: list[str] = []
        pieces, secrets = self._pieces, self.secrets
        if secrets:
            self._tell(secrets[0])
        elif not self._masked and pieces and pieces[-1][1] + len(pieces[-1][0]) <= line:  # as it is nearly always
            out = [piece[0] for piece in pieces]
            pieces.clear()
            return "".join(out)
        while pieces and pieces[0][1] < line:
            text, origin, still = pieces[0]
            while secrets and secrets[0].end <= origin:
                secrets.popleft()
            stop, hidden = line, False
            if secrets and not still:
                hidden = secrets[0].start <= origin
                stop = min(line, secrets[0].end if hidden else secrets[0].start)
            count = len(text) if still or stop - origin >= len(text) else int(stop - origin)
            if not hidden:
                if self._masked and text[0] in "([:":
                    out.append(" ")  # a mask is no part of a link
                out.append(text[:count])
                self._masked = False
            elif not secrets[0].seen:
                secrets[0].seen = self._masked = True
                self._tell(secrets[0])
                out.append(MASK)
            if count == len(text):
                pieces.popleft()
            else:
                pieces[0] = (text[count:], origin + count, False)
        return "".join(out)

    def _tell(self, secret: Secret) -> None:
        if secret.seen and not secret.noted and secret.end < math.inf:
            secret.noted = True
            self._note(secret.kind, secret.start, int(secret.end), secret.score)
