"""Passwords, keys and tokens in a text: by the form of what is issued, or by the name that stands beside a value.

What is issued with a prefix is known by it. Everything else needs a name next to it (`api_key =`, "Das Passwort lautet") and
a value that looks made by chance. Hashes, ids, placeholders, references to a setting and the examples of vendors'
documentation are none. Nothing is asked of any server: whether a key still works is not known here.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_left
from collections.abc import Callable
from typing import Final, NamedTuple

from penstock.guard.issued import beginnings, issued
from penstock.guard.named import BEHIND, LONGEST_NAME, REACH, UNSPACED, Status, read, words
from penstock.guard.values import placeholder
from penstock.types import Finding

__all__ = ["Masked", "Secrets"]

LONGEST_KEY: Final = 20_000  # characters of a private key in PEM


# ---------------------------------------------------------------- private keys

_PEM: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d: |---- BEGIN SSH2 ENCRYPTED "
    r"PRIVATE KEY ----"
)
_PEM_BODY: Final = re.compile(
    r"(?:\s|\\+[nrt]|[\"'+,>|]|(?:Proc-Type|DEK-Info|Version|Comment|Encryption|Public-Lines|Private-Lines|"
    r"Private-MAC)[^\n]{0,120}(?:\n|\\n))*"
)
_PEM_TEXT: Final = re.compile(r"[A-Za-z0-9+/=]{24,}|[A-Za-z0-9+/=]{4,}(?:\s|\\n)+[A-Za-z0-9+/=]{16,}")
_PEM_ALL: Final = re.compile(r"(?:[A-Za-z0-9+/=\s\"',:.()>|-]|\\+[nrt])*")


def _private_keys(text: str) -> list[tuple[int, int, str]]:
    found = []
    at, last_end = 0, None
    while (header := _PEM.search(text, at)) is not None:
        body = _PEM_BODY.match(text, header.end(), header.end() + 400)
        inside = body.end() if body else header.end()
        at = header.end()
        if _PEM_TEXT.match(text, inside, inside + 120) is None or placeholder(text[inside : inside + 40]):
            continue
        if last_end is None or last_end[0] < header.end():
            close = re.compile(r"-----END [A-Z0-9 ]{0,40}-----|Private-MAC: [0-9a-f]{1,80}").search(text, header.end())
            last_end = (close.start(), close.end()) if close else (len(text) + 1, len(text))
        if last_end[0] <= header.end() + LONGEST_KEY:
            at = last_end[1]
        else:
            rest = _PEM_ALL.match(text, inside, inside + LONGEST_KEY)
            at = rest.end() if rest else inside
        found.append((header.start(), at, "private_key"))
    return found


# ---------------------------------------------------------------- the whole


class Settled(NamedTuple):
    """What is certain of a stretch: the secrets in it, as (start, end, kind, score), and what must wait."""

    found: list[tuple[int, int, str, float]]
    waiting: list[tuple[int, int]]  # names whose value has not come yet
    hold: int  # from here on a value is being written


def settle(text: str, start: int, end: int, names: list[tuple[int, int]], *, final: bool) -> Settled:
    """What text[start:end] holds, where text[:start] was settled before. names: those that waited then, by start and end.

    end must stand where no issued form goes on. What is found does not depend on where a text was cut.
    """
    found = []
    at = start
    for begin in beginnings().finditer(text, start, end):
        spot = begin.start()
        if spot < at:
            continue
        form = issued(text, spot, end)
        if form is not None:
            at = form[1]
            if form[0]:
                found.append((spot, form[1], form[0], form[2]))
    waiting, hold = [], end
    fresh = ((m.start(), m.end()) for m in words().finditer(text, max(0, start - LONGEST_NAME), end))
    for name in (*names, *(name for name in fresh if name[1] > start)):  # a name in a script without spaces may be cut
        parsed = read(text, name[0], name[1], end, final)
        if parsed.status == Status.FOUND:
            found.append((parsed.start, parsed.end, parsed.kind, parsed.score))
        elif parsed.status == Status.WAITING:
            waiting.append(name)
        elif parsed.status == Status.OPEN:
            waiting.append(name)
            hold = min(hold, parsed.start)
    return Settled(found, waiting, hold)


class Secrets:
    """Finds secrets in whole texts. In linear time, and safe to share between threads."""

    def find(self, text: str, *, language: str = "") -> list[Finding]:
        """Findings are typed "SECRET:github_token" and so on, and cover the value alone, of a private key all of it."""
        plain = text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if len(plain) != len(text):  # lone surrogates that do not pair
            plain = "".join("?" if "\ud800" <= c <= "\udfff" else c for c in text)
        found = [(a, b, kind, 1.0) for a, b, kind in _private_keys(plain)]
        found += settle(plain, 0, len(plain), [], final=True).found
        found += _manifest(plain)
        return [
            Finding(f"SECRET:{kind}", start, end, score, rule=f"secrets: {kind.replace('_', ' ')}")
            for start, end, kind, score in apart(found)
        ]


_MANIFEST: Final = re.compile(r"^kind:[ \t]*Secret[ \t]*$", re.MULTILINE)
_ENTRY: Final = re.compile(r"^[ \t]+[\w.-]{1,80}:[ \t]*[\"']?([A-Za-z0-9+/]{8,}={0,2})[\"']?[ \t]*$", re.MULTILINE)


def _manifest(text: str) -> list[tuple[int, int, str, float]]:
    """The values of a Kubernetes Secret, which are base64 under names of any kind."""
    if _MANIFEST.search(text) is None:
        return []
    data = re.search(r"^data:[ \t]*$", text, re.MULTILINE)
    if data is None:
        return []
    stop = re.compile(r"^\S", re.MULTILINE).search(text, data.end())
    found = []
    for entry in _ENTRY.finditer(text, data.end(), stop.start() if stop else len(text)):
        try:
            plain = base64.b64decode(entry[1], validate=True).decode()
        except (ValueError, binascii.Error):
            continue
        if len(plain) >= 4 and not placeholder(plain) and plain.isprintable():
            found.append((*entry.span(1), "kubernetes_secret", 0.9))
    return found


def apart(found: list[tuple[int, int, str, float]]) -> list[tuple[int, int, str, float]]:
    """In order, and of those that overlap the surest; the longer of two that are as sure."""
    kept: list[tuple[int, int, str, float]] = []
    for item in sorted(found, key=lambda f: (-f[3], f[0] - f[1], f[0])):
        where = bisect_left(kept, item[0], key=lambda k: k[1] - 1 if k[1] > k[0] else k[1])
        if where < len(kept) and kept[where][0] < item[1]:
            continue
        kept.insert(where, item)
    return kept


# ---------------------------------------------------------------- in a stream

MASK: Final = "[SECRET]"
LONGEST_WORD: Final = 1024
_BORDER: Final = re.compile(rf"[\s,;{{}}()\[\]<>|\"'`{UNSPACED}]")
_HEADER: Final = re.compile(
    r"-{1,5}(?:B(?:E(?:G(?:I(?:N(?: [A-Z0-9 ]{0,44}-{0,5})?)?)?)?)?)?$|P(?:u(?:T(?:T(?:Y(?:-[A-Za-z-]{0,16}\d?:? "
    r"?)?)?)?)?)?$"
)
_GOES_ON: Final = re.compile(r"[^A-Za-z0-9+/=_.\-]")
_FOOTER: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}-----|Private-MAC: [0-9a-f]{1,80}")
_FOOTER_TAIL: Final = 80


class Masked:
    """A stream with [SECRET] in place of secrets. Held back: the word that is being written, and a value not yet "
    "whole."""

    def __init__(self, note: Callable[[str, int, int, float], None]) -> None:
        self._note = note
        self._text, self._at = "", 0  # what is still of use, and where in the stream it begins
        self._settled = 0  # places in the stream: up to where it was read,
        self._left = 0  # and up to where it has left
        self._open = 0  # where a value began that is not yet whole; up to where it was read, where there is none
        self._waiting: list[tuple[int, int]] = []
        self._found: list[tuple[int, int, str, float]] = []  # not yet left
        self._masked = False  # whether a mask was the last to leave
        self._key = -1  # where a private key began whose end has not come
        self._going_on = False  # whether a secret longer than is kept goes on

    def feed(self, text: str) -> str:
        """What may leave by now."""
        return self._pass(text, final=False)

    def close(self) -> str:
        return self._pass("", final=True)

    def _pass(self, text: str, *, final: bool) -> str:
        self._text += (
            text if text.isascii() else "".join(c if not "\ud800" <= c <= "\udfff" else "\ufffd" for c in text)
        )
        out: list[str] = []
        while self._step(final, out):
            pass
        return "".join(out)

    def _step(self, final: bool, out: list[str]) -> bool:
        """Settle what can be. Whether there may be more to do."""
        if self._going_on:
            beyond = _GOES_ON.search(self._text, self._left - self._at)
            self._left = self._settled = self._at + (beyond.start() if beyond else len(self._text))
            self._going_on = beyond is None
            self._forget()
            if beyond is None:
                return False
        if self._key >= 0:
            return self._private(final, out)
        text, base = self._text, self._at
        end = len(text)
        known = self._settled - base
        headers = _PEM.finditer(text, max(0, known - 60))
        header = next((found for found in headers if found.start() >= self._left - base), None)
        partial = None if final or header else _HEADER.search(text, max(0, len(text) - 70))
        key = header or partial  # a private key begins here, or may
        if key is not None:
            end = max(known, key.start())
        stop = end if final or header is not None else _border(text, known, end)
        longer = False
        if header is None and not final:
            piece = _first_long(text, known, stop)
            if piece >= 0:
                stop, longer = piece, True
            elif stop == known and end - known >= LONGEST_WORD:
                stop, longer = known + LONGEST_WORD, True
        elif (piece := _first_long(text, known, stop)) >= 0:
            stop, longer = piece, True
        hold = stop
        if stop > known or (self._waiting and stop == end and (final or header is not None)):
            settled = settle(
                text[:stop],
                known,
                stop,
                [(a - base, b - base) for a, b in self._waiting],
                final=(final or header is not None) and stop == end,
            )
            self._settled = base + stop
            self._waiting = [(a + base, b + base) for a, b in settled.waiting if stop - b <= REACH + 200]
            self._found += [(a + base, b + base, kind, score) for a, b, kind, score in settled.found]
            self._open = base + settled.hold
            if longer:
                self._shorten(stop, out)
        self._release(min(base + max(hold, 0), max(self._open, self._left)), out)
        if header is not None and self._left == base + header.start():
            return self._begun(header, final, out)
        self._forget()
        return longer

    def _shorten(self, stop: int, out: list[str]) -> None:
        """A secret that reaches the end of all that is kept goes on: it is masked, and so is the rest of it."""
        for a, b, kind, score in self._found:
            if b >= self._at + stop and a >= self._left:
                self._release(a, out)
                self._found = [(a, b, kind, score)]
                self._release(b, out)
                self._going_on = True
                return

    def _begun(self, header: re.Match[str], final: bool, out: list[str]) -> bool:
        """At the first line of a private key: one follows, or only dots."""
        text = self._text
        body = _PEM_BODY.match(text, header.end(), header.end() + 400)
        inside = body.end() if body else header.end()
        if len(text) - inside < 120 and not final and "-----END" not in text[inside:]:
            return False
        if _PEM_TEXT.match(text, inside, inside + 120) and not placeholder(text[inside : inside + 40]):
            self._key = self._left
            return True
        self._settled = max(self._settled, self._at + header.start())
        self._plain(header.end() - header.start(), out)
        self._settled = self._left
        return True

    def _private(self, final: bool, out: list[str]) -> bool:
        text = self._text
        start = self._key - self._at
        footer = _FOOTER.search(text, max(start, 0))
        if footer is None:
            if final:
                self._mask(self._key, self._at + len(text), "private_key", 1.0, out)
                self._text, self._at, self._left, self._key = "", self._at + len(text), self._at + len(text), -1
                return False
            keep = max(0, len(text) - _FOOTER_TAIL)
            if keep > start >= 0 or start < 0:
                self._text, self._at = text[keep:], self._at + keep
            return False
        stop = self._at + footer.end()
        self._mask(self._key, stop, "private_key", 1.0, out)
        self._left = self._settled = stop
        self._key = -1
        self._waiting = []
        self._forget()
        return True

    def _release(self, hold: int, out: list[str]) -> None:
        ready = [item for item in self._found if item[0] < hold]
        for start, end, kind, score in apart(ready):
            if end <= self._left:
                continue
            self._plain(max(0, start - self._left), out)
            self._mask(max(start, self._left), end, kind, score, out)
            self._left = end
        self._found = [item for item in self._found if item[0] >= hold]
        if hold > self._left:
            self._plain(hold - self._left, out)

    def _plain(self, count: int, out: list[str]) -> None:
        if count <= 0:
            return
        begin = self._left - self._at
        piece = self._text[begin : begin + count]
        if self._masked and piece[0] in "([:":
            out.append(" ")  # a mask is no part of a link
        out.append(piece)
        self._masked = False
        self._left += count

    def _mask(self, start: int, end: int, kind: str, score: float, out: list[str]) -> None:
        self._note(kind, start, end, score)
        out.append(MASK)
        self._masked = True

    def _forget(self) -> None:
        oldest = min([self._left, *(a for a, _ in self._waiting)]) - BEHIND - 60
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


_LONG: Final = re.compile(rf"[^\s,;{{}}()\[\]<>|\"'`{UNSPACED}]{{{LONGEST_WORD}}}")


def _first_long(text: str, start: int, end: int) -> int:
    """Where to cut the first word that is longer than what is kept; -1 where none is."""
    found = _LONG.search(text, start, end)
    return found.end() if found else -1
