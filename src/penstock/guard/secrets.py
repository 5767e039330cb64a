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
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from penstock.guard.issued import beginnings, begun, issued
from penstock.guard.named import LONGEST_NAME, Status, read, words
from penstock.guard.values import placeholder
from penstock.types import Finding

__all__ = ["ISSUED", "PEM", "PEM_BODY", "PEM_TEXT", "WIDE", "Found", "Secrets", "apart", "settle"]

LONGEST_KEY: Final = 20_000  # characters of a private key in PEM


# ---------------------------------------------------------------- private keys

PEM: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d: |---- BEGIN SSH2 ENCRYPTED "
    r"PRIVATE KEY ----"
)
PEM_BODY: Final = re.compile(
    r"(?:\s|\\+[nrt]|[\"'+,>|]|(?:Proc-Type|DEK-Info|Version|Comment|Encryption|Public-Lines|Private-Lines|"
    r"Private-MAC)[^\n]{0,120}(?:\n|\\n))*"
)
PEM_TEXT: Final = re.compile(r"[A-Za-z0-9+/=]{24,}|[A-Za-z0-9+/=]{4,}(?:\s|\\n)+[A-Za-z0-9+/=]{16,}")
_PEM_ALL: Final = re.compile(r"(?:[A-Za-z0-9+/=\s\"',:.()>|-]|\\+[nrt])*")


def _private_keys(text: str) -> list[tuple[int, int, str]]:
    found = []
    at, last_end = 0, None
    while (header := PEM.search(text, at)) is not None:
        body = PEM_BODY.match(text, header.end(), header.end() + 400)
        inside = body.end() if body else header.end()
        at = header.end()
        if PEM_TEXT.match(text, inside, inside + 120) is None or placeholder(text[inside : inside + 40]):
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


class Found(NamedTuple):
    """A secret, text[start:end]."""

    start: int
    end: int
    kind: str
    score: float
    rest: str = ""  # how it goes on, where only its beginning was looked at: ISSUED, or as in `named`


ISSUED, WIDE = "issued", "wide"
_WIDE: Final = frozenset(("teams_webhook", "twitter_token"))  # with signs in them that are in no other form


class Settled(NamedTuple):
    """What is certain of a stretch: the secrets in it, and what must wait."""

    found: list[Found]
    waiting: list[tuple[int, int]]  # names whose value has not come yet
    hold: int  # from here on a value is being written
    past: int  # before here no form begins any more


def _spots(text: str, start: int, end: int, seen: int, most: int) -> Iterator[int]:
    """Where in text[start:end] something issued may begin."""
    if not most:
        yield from (begin.start() for begin in beginnings().finditer(text, start, seen))
        return
    at = start
    while (begin := beginnings().search(text, at, seen)) and begin.start() < end:
        yield begin.start()
        at = begin.start() + 1


def settle(
    text: str,
    start: int,
    end: int,
    names: Sequence[tuple[int, int]],
    *,
    final: bool,
    fresh: tuple[int, int] | None = None,
    most: int = 0,
) -> Settled:
    """What text[start:end] holds, where text[:start] was settled before. names: those that waited then, by start and end.

    What is found does not depend on where a text was cut: end must stand where no issued form goes on, or, where no more
    than so many characters of a secret are looked at as most says, so far before the end of the text. fresh: the names that
    end in there are read.
    """
    seen = len(text) if most else end
    found: list[Found] = []
    past = start
    for spot in _spots(text, start, end, seen, most):
        if spot < past:
            continue
        limit = min(seen, spot + most) if most else seen
        form = issued(text, spot, limit)
        if form is None and most == limit - spot and (kind := begun(text, spot, limit)):
            form = (kind, limit, 0.95)
        if form is not None:
            past = form[1]
            if form[0]:
                rest = "" if most != limit - spot or form[1] != limit else WIDE if form[0] in _WIDE else ISSUED
                found.append(Found(spot, form[1], form[0], form[2], rest))
    waiting, hold = [], seen
    after, until = fresh or (start, end)
    spots = ((m.start(), m.end()) for m in words().finditer(text, max(0, after - LONGEST_NAME), seen))
    for name in (*names, *(name for name in spots if after < name[1] <= until)):  # a name may have been cut
        parsed = read(text, name[0], name[1], seen, final, most)
        if parsed.status == Status.FOUND:
            found.append(Found(parsed.start, parsed.end, parsed.kind, parsed.score, parsed.rest))
        elif parsed.status == Status.WAITING:
            waiting.append(name)
        elif parsed.status == Status.OPEN:
            waiting.append(name)
            hold = min(hold, parsed.start)
    return Settled(found, waiting, hold, past)


class Secrets:
    """Finds secrets in whole texts. In linear time, and safe to share between threads."""

    def find(self, text: str, *, language: str = "") -> list[Finding]:
        """Findings are typed "SECRET:github_token" and so on, and cover the value alone, of a private key all of it."""
        plain = text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if len(plain) != len(text):  # lone surrogates that do not pair
            plain = "".join("?" if "\ud800" <= c <= "\udfff" else c for c in text)
        found = [Found(a, b, kind, 1.0) for a, b, kind in _private_keys(plain)]
        found += settle(plain, 0, len(plain), [], final=True).found
        found += _manifest(plain)
        return [
            Finding(f"SECRET:{kind}", start, end, score, rule=f"secrets: {kind.replace('_', ' ')}")
            for start, end, kind, score, _ in apart(found)
        ]


_MANIFEST: Final = re.compile(r"^kind:[ \t]*Secret[ \t]*$", re.MULTILINE)
_ENTRY: Final = re.compile(r"^[ \t]+[\w.-]{1,80}:[ \t]*[\"']?([A-Za-z0-9+/]{8,}={0,2})[\"']?[ \t]*$", re.MULTILINE)


def _manifest(text: str) -> list[Found]:
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
            found.append(Found(*entry.span(1), "kubernetes_secret", 0.9))
    return found


def apart(found: Sequence[Found]) -> list[Found]:
    """In order, and of those that overlap the surest; the longer of two that are as sure."""
    kept: list[Found] = []
    for item in sorted(found, key=lambda f: (-f[3], f[0] - f[1], f[0])):
        where = bisect_left(kept, item[0], key=lambda k: k[1] - 1 if k[1] > k[0] else k[1])
        if where < len(kept) and kept[where][0] < item[1]:
            continue
        kept.insert(where, item)
    return kept
