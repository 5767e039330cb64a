"""Secrets in a stream, known while they are being written.

A form is judged by its first `HELD` characters, a value that stands beside its name as well. So nothing that has begun waits
longer than that, and what is found does not depend on where the stream was cut. What goes on is swallowed to its end.
"""

from __future__ import annotations

import math
import re
from collections import deque
from typing import Final, NamedTuple

from penstock.guard.named import BARE, BEHIND, IN_ADDRESS, LONGEST_NAME, REACH, UNSPACED
from penstock.guard.outlet import HELD, Secret
from penstock.guard.secrets import ISSUED, PEM, PEM_BODY, PEM_TEXT, WIDE, Found, Settled, apart, settle
from penstock.guard.values import placeholder

__all__ = ["Watched"]

_BORDER: Final = re.compile(rf"[\s,;{{}}()\[\]<>|\"'`{UNSPACED}]")
_EDGE: Final = re.compile(r"\b", re.ASCII)  # where something issued may begin
_DASHES: Final = re.compile(r"-----(?!-)|---- B")  # they end whatever was being written, and may begin a private key
_DASHES_BEGUN: Final = re.compile(r"-{1,5}$|-{4} $")
_HEADER_BEGUN: Final = re.compile(
    r"-----(?:B(?:E(?:G(?:I(?:N(?: [A-Z0-9 ]{0,40}-{0,4})?)?)?)?)?)?|---- B[A-Z0-9 ]{0,40}-{0,3}"
)
_FOOTER: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}-----|Private-MAC: [0-9a-f]{1,80}")
_FOOTER_TAIL: Final = 80
_PEM_LINE: Final = re.compile(r"[A-Za-z0-9+/=]{8,}(?:(?:[\r\n]|\\+[nrt])+[A-Za-z0-9+/=]*)*")
_GOES_ON: Final = {
    ISSUED: re.compile(r"[^A-Za-z0-9+/=_.\-]"),
    WIDE: re.compile(r"[^A-Za-z0-9+/=_.\-@%]"),
    BARE: re.compile(rf"[\s\"'<>,;)\]}}|(\[{{“”„«»「」`{UNSPACED}]"),
    IN_ADDRESS: re.compile(r"[\s/@\"'<>`]"),
}


class _Read(NamedTuple):
    """What was read of the text."""

    stop: int  # up to where forms are settled
    inside: bool  # whether that is in a word that is being written
    named: int  # up to where names are
    settled: Settled


class Watched:
    """The secrets of one stream. They are put to `secrets` in order."""

    def __init__(self, secrets: deque[Secret]) -> None:
        self.sure = 0  # up to here in the stream it is known what is a secret
        self._secrets = secrets
        self._text, self._at = "", 0  # what is still of use, and where in the stream it begins
        self._settled = self._past = self._named = 0  # places in the stream: up to where words were read, forms, names,
        self._dashes = 0  # and dashes;
        self._limited = False  # whether there are some at the end that keep from leaving what is sure
        self._value = 0  # where a value began that is not yet whole; up to where the text was read, where there is none
        self._waiting: list[tuple[int, int]] = []
        self._found: list[Found] = []  # not yet sure, by places in the stream
        self._open: Secret | None = None  # one that goes on,
        self._rest = ""  # and how; "" for a private key

    def feed(self, text: str, *, final: bool = False) -> None:
        """Read on. final: nothing comes after this."""
        self._text += (
            text if text.isascii() else "".join(c if not "\ud800" <= c <= "\udfff" else "\ufffd" for c in text)
        )
        while self._step(final):
            pass
        if final:
            self.sure = self._at + len(self._text)

    def _step(self, final: bool) -> bool:
        """Settle what can be. Whether there may be more to do."""
        if self._open is not None:
            return self._goes_on(self._open, final)
        text, base = self._text, self._at
        end = len(text)
        dashes = _DASHES.search(text, max(0, self._dashes - base))
        if dashes is not None and dashes.end() == end and not final:
            dashes = None
        known = self._settled - base
        if dashes is not None:
            end = max(known, dashes.start())
            begun = None
        else:
            begun = None if final else _DASHES_BEGUN.search(text, max(0, end - 5))
            self._dashes = max(self._dashes, base + end - 5)
        whole = final or dashes is not None
        long = end - min(known, self._value - base) >= HELD
        if whole or long or self._limited or _border(text, known, end) > known:
            limit = dashes.start() if dashes else begun.start() if begun else end
            longer = self._settle(end, limit, whole=whole, beyond=dashes.start() + 5 if dashes else end)
            if longer is not None:
                return self._begun(longer)
        if dashes is not None:
            return self._after_dashes(dashes.start(), final)
        self._forget()
        return False

    def _settle(self, end: int, limit: int, *, whole: bool, beyond: int) -> Found | None:
        """Settle what is certain of the text up to here, or up to where a secret goes on that is longer; that one.

        Nothing leaves beyond limit. beyond: up to here the text was known before it was known that all ends here.
        """
        read = self._read(beyond, whole=False, all_of_it=True) if beyond > end else self._read(end, whole=whole)
        base = self._at
        longer = min((found for found in read.settled.found if found.rest), key=lambda found: found.end, default=None)
        if longer is not None and (longer.end < max(end, beyond) or whole):
            end = longer.end
            read = self._read(end, whole=False, all_of_it=True)
        elif beyond > end:
            read = self._read(end, whole=whole)
        settled = read.settled
        self._settled, self._past = base + read.stop, max(self._past, base + settled.past)
        self._named = max(self._named, base + read.named)
        self._waiting = [(a + base, b + base) for a, b in settled.waiting if end - b <= REACH + 200]
        self._found += [f._replace(start=f.start + base, end=f.end + base) for f in settled.found]
        if longer in settled.found:
            self._value = base + end
            return longer._replace(start=longer.start + base, end=longer.end + base)
        self._value = base + settled.hold
        hold = read.stop
        if read.inside:
            edge = _EDGE.search(self._text, hold, end)
            hold = edge.start() if edge else end
        hold = min(hold, settled.hold)
        self._limited = limit < hold
        self._release(base + min(hold, limit))
        return None

    def _read(self, end: int, *, whole: bool, all_of_it: bool = False) -> _Read:
        """all_of_it: the word, too, that is being written."""
        text, base = self._text, self._at
        known = self._settled - base
        border = end if whole else _border(text, known, end)
        stop = max(border, end - HELD + 1)
        seen = named = border
        if all_of_it or stop > border or end - (self._value - base) >= HELD:
            seen, named = end, max(border, end - LONGEST_NAME)
        waiting = [(a - base, b - base) for a, b in self._waiting]
        start, fresh = max(known, self._past - base), (self._named - base, named)
        return _Read(
            stop, stop > border, named, settle(text[:seen], start, stop, waiting, final=whole, fresh=fresh, most=HELD)
        )

    def _release(self, hold: int) -> None:
        """Nothing that begins before here is still to be found."""
        ready = [found for found in self._found if found.start < hold]
        for found in apart(ready):
            if found.end > self.sure:
                self._secrets.append(Secret(max(found.start, self.sure), found.end, found.kind, found.score))
                self.sure = found.end
        self._found = [found for found in self._found if found.start >= hold]
        self.sure = max(self.sure, hold)

    def _begun(self, longer: Found) -> bool:
        """A secret goes on that is longer than what is looked at of it."""
        kept = apart([found for found in self._found if found.start < longer.end])
        if longer in kept:
            self._found = [found for found in kept if found.start < longer.start]
            self._release(longer.start)
            self._go_on(Secret(max(longer.start, self.sure), math.inf, longer.kind, longer.score), longer.rest)
            self.sure = self._settled = self._past = self._named = longer.end
            self._waiting = []
        else:
            self._release(longer.end)
        return True

    def _go_on(self, secret: Secret, rest: str) -> None:
        self._secrets.append(secret)
        self._open, self._rest, self._found = secret, rest, []

    def _goes_on(self, secret: Secret, final: bool) -> bool:
        """Swallow the rest of a secret."""
        text, base = self._text, self._at
        start = self.sure - base
        if not self._rest:
            found = _FOOTER.search(text, max(0, start))
            stop = found.end() if found else len(text) if final else max(start, len(text) - _FOOTER_TAIL)
        else:
            ends = _GOES_ON.get(self._rest) or re.compile(rf"[{re.escape(self._rest)}\n]")
            found = ends.search(text, start)
            stop = found.start() if found else len(text)
            while stop > start and text[stop - 1] in ".:" and self._rest in (ISSUED, WIDE, BARE):
                stop -= 1  # the end of a sentence
        self.sure = self._settled = self._past = self._named = self._value = self._dashes = base + stop
        if found or final:
            secret.end = self.sure
            self._open = None
        self._forget()
        return self._open is None

    def _after_dashes(self, start: int, final: bool) -> bool:
        """At dashes before which all is settled: a private key follows, or only dots, or nothing of that kind."""
        text, limit = self._text, start + HELD
        header = PEM.match(text, start)
        if header is None:
            begun = _HEADER_BEGUN.match(text, start)
            if begun is not None and begun.end() == len(text) and not final:
                return False
            self._dashes = self._at + start + 1
            return True
        if len(text) < limit and not final:
            return False
        body = PEM_BODY.match(text, header.end(), limit)
        inside = body.end() if body else header.end()
        beyond = text[inside:limit]
        if beyond:
            known = PEM_TEXT.match(beyond) or (len(text) >= limit and _PEM_LINE.fullmatch(beyond))
            key = known and not placeholder(beyond[:40])
        else:
            key = len(text) >= limit
        if key:
            self._go_on(Secret(self.sure, math.inf, "private_key", 1.0), "")
            self._waiting = []
        else:
            self._dashes = self._at + start + 1
            self._release(self._at + header.end())
        return True

    def _forget(self) -> None:
        oldest = min([self.sure, self._named, *(a for a, _ in self._waiting)]) - BEHIND - 80
        if oldest - self._at > 1024:
            self._text, self._at = self._text[oldest - self._at :], oldest


def _border(text: str, start: int, end: int) -> int:
    """Up to where no word is being written."""
    at = end
    while at > start:
        if _BORDER.match(text, at - 1):
            return at
        at -= 1
    return start
