"""Addresses that are longer than what is held back: they leave in steps, each judged with all that went before it.

What was refused is swallowed as it comes; where a part of it has left, that part is closed and stays by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from penstock.guard.buffer import Buffer, Note, Put
from penstock.guard.links import TOO_LONG, Addresses
from penstock.guard.outlet import HELD

__all__ = [
    "DEEPEST",
    "LINK",
    "MARKED",
    "NESTED",
    "Address",
    "How",
    "Written",
    "in_parentheses",
    "marked_off",
    "trimmed",
]

LINK: Final = "[LINK]"
DEEPEST: Final = 8  # brackets in brackets
LONGEST: Final = 4096  # characters of an address

How = Literal["link", "pointed", "auto", "word", "bare", "value", "source", "tag", '"', "'"]

MARKED: Final = "an address with markup in it"

NESTED: Final = re.compile(r"<|!\[|\]\(")
_POINTED: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,31}:(?:(?!!\[|\]\()[^\s<>\"'`])*")  # it is no tag
_FENCES: Final = re.compile("```|~~~")
_SCANNED: Final = re.compile(r"\\.|[()\s]", re.DOTALL)
_BODY: Final = re.compile(r"[^\s<>\"'`|\\]*")
_SIGNS: Final = re.compile(r"!\[|\]\(|\]\[|\]:|\*\*|__")
_TRAILING: Final = ".,;:!?'\"*_~"
_ENDS: Final[dict[str, re.Pattern[str]]] = {
    "pointed": re.compile(r"[<>\n]"),
    "auto": re.compile(r"[\s<>]"),
    "word": re.compile(r"\s"),
    "bare": re.compile(r"[\s<>\"'`|\\]"),
    "value": re.compile(r"[\s>]"),
    "source": re.compile(r"[\s\"']"),
    "tag": re.compile(r">|\n[ \t]*\n"),
    '"': re.compile('"'),
    "'": re.compile("'"),
}
_CLOSE: Final = {"link": ")", "pointed": ">)", "auto": ">", "value": " ", '"': '"', "'": "'"}
_ENDS_LOST: Final = _ENDS | {sign: re.compile(rf"[{sign}<>]|\n[ \t]*\n") for sign in "\"'"}
_INCLUDED: Final = {
    "pointed": ">",
    "auto": ">",
    "tag": ">",
    '"': '"',
    "'": "'",
}  # where it ends with this, that goes too
_UNSURE: Final = re.compile(r"(?:\n[ \t]*|\\)$")
_GAP: Final = r"[ \t]*\n?[ \t]*"
_CLOSED: Final = re.compile(rf"{_GAP}(?:(?:\"[^\"]*\"|'[^']*'|\([^()]*\)){_GAP})?\)")
_CLOSING: Final = re.compile(rf"{_GAP}(?:\"[^\"]*|'[^']*|\([^()]*|(?:\"[^\"]*\"|'[^']*'|\([^()]*\)){_GAP})?")
_BLANK_LINE: Final = re.compile(r"\n[ \t]*\n")
_FOLLOWED: Final = re.compile(rf"{_GAP}[)\"'(]")
_BLANKS: Final = re.compile(_GAP)


@dataclass(slots=True)
class Address:
    """One that goes on."""

    how: How  # what it stands in, and so what ends it
    kind: str  # of what is found if it is refused
    loads: bool
    before: str  # what is read before it
    said: str  # what of it has left
    depth: int  # parentheses that are open in it
    label: str | None  # where it is a definition
    closing: str  # what ends it where it is refused


@dataclass(slots=True)
class _Lost:
    """What is swallowed until it ends."""

    how: How
    depth: int
    start: int
    kept: tuple[str, int, int]  # what comes in its place, where that stands in the stream, and how far it moves there
    kind: str
    why: str
    ended: bool = False


class End(NamedTuple):
    at: int  # -1 where it is not reached
    depth: int


def in_parentheses(text: str, depth: int = 0, at: int = 0) -> End:
    """Where a destination ends that begins in parentheses."""
    for found in _SCANNED.finditer(text, at):
        if found[0] == "(":
            depth += 1
            if depth > DEEPEST:
                return End(found.start(), depth)
        elif found[0] == ")":
            if depth == 0:
                return End(found.start(), depth)
            depth -= 1
        elif len(found[0]) == 1:
            return End(found.start(), depth)
    return End(-1, depth)


def marked_off(address: str) -> str:
    """An address as it stands in a text, up to where Markdown goes on."""
    found = _SIGNS.search(address, 8)
    address = address[: found.start()] if found else address
    bracket = address.find("]")
    return address[:bracket] if bracket >= 0 and "[" not in address[:bracket] else address


def trimmed(address: str) -> str:
    """The same without what only follows it."""
    address = marked_off(address)
    while address and (address[-1] in _TRAILING or (address[-1] == ")" and address.count("(") < address.count(")"))):
        address = address[:-1]
    return address


class Written(Buffer):
    """A buffer that knows how to let an address leave while it is being written."""

    def __init__(self, put: Put, note: Note, addresses: Addresses) -> None:
        super().__init__(put, note)
        self._addresses = addresses
        self._address: Address | None = None
        self._lost: _Lost | None = None
        self._trusted = True  # whether a fence means code; no longer once one was met or left in a doubtful way
        self._loose = (
            False  # whether backticks stand before, in the same paragraph, of which it is not known what they mean
        )
        self._after = False  # whether the destination of a picture has left, but not what closes it

    def _begin(
        self,
        how: How,
        head: int,
        *,
        kind: str = "LINK",
        loads: bool = False,
        before: str = "",
        label: str | None = None,
        closing: str = "",
    ) -> str:
        """The window is full with an address after so many characters: let the beginning leave, or say why not."""
        address = self._window[head:]
        if self._is_marked(how, address):
            return MARKED
        cut, why = self._addresses.leaving(before + address, len(before), loads=loads)
        if why:
            return why
        said = address[: cut - len(before)]
        depth = in_parentheses(said).depth if how == "link" else 0
        self._let(head + len(said))
        closing = closing or _CLOSE.get(how, "")
        self._address = Address(how, kind, loads, before, said, depth, label, closing)
        return ""

    def _written(self, final: bool) -> bool:
        """One step of an address of which a part has left."""
        it = self._address
        assert it is not None
        text = self._window
        end = self._end(it, text)
        if end < 0 and not self._all(final):
            return False
        if end < 0 and len(text) < HELD:
            end = len(text)
        whole = it.before + it.said + (text if end < 0 else text[:end])
        if self._is_marked(it.how, whole):
            return self._refuse(it, MARKED)
        if end < 0:
            left = len(it.before) + len(it.said)
            cut, why = self._addresses.leaving(whole, left, loads=it.loads)
            if why or len(whole) > LONGEST:
                return self._refuse(it, why or TOO_LONG)
            it.depth = in_parentheses(text[: cut - left], it.depth).depth if it.how == "link" else 0
            it.said += text[: cut - left]
            self._let(cut - left)
            return True
        if it.how == "bare":
            whole = trimmed(whole)
            end = max(0, len(whole) - len(it.before) - len(it.said))
        why = self._addresses.against_each(whole, loads=it.loads)
        if why:
            return self._refuse(it, why)
        self._let(end)
        self._address = None
        if it.how in "\"'" and self._text[:1] == "\n":
            self._value_ends(it.how, it.kind)
        self._after = it.loads and it.how in ("link", "pointed") and it.label is None
        if self._after and it.how == "pointed" and self._text[:1] == ">":
            self._pass(1)
        if it.label is not None:
            self._defined(it.label, whole)
        return True

    def _let(self, count: int) -> None:
        """Let so many characters leave that are not read any further."""
        self._loose = self._loose or "`" in self._text[:count]
        self._trusted = self._trusted and not _FENCES.search(self._text, 0, count)
        self._pass(count)

    @staticmethod
    def _is_marked(how: How, address: str) -> bool:
        """Whether an address may be something else, too, that is more than an address."""
        if how == "pointed":
            return _POINTED.fullmatch(address) is None
        return how != "bare" and NESTED.search(address) is not None

    def _end(self, it: Address, text: str) -> int:
        if it.how == "link":
            escapes = (len(it.said) - len(it.said.rstrip("\\"))) % 2  # the next character
            return in_parentheses(text, it.depth, escapes).at
        if it.how == "bare":
            body = _BODY.match(text)
            end = body.end() if body else 0
            whole = it.before + it.said + text[:end]
            left = len(it.before) + len(it.said)
            sign = _SIGNS.search(whole, max(8, left - 1))
            ends = [end] if end < len(text) else []
            ends += [max(0, sign.start() - left)] if sign else []
            bracket = whole.find("]", left)
            ends += [bracket - left] if bracket >= 0 and "[" not in whole[:bracket] else []
            return min(ends, default=-1)
        found = _ENDS[it.how].search(text)
        if it.how in "\"'":  # a value ends before a blank line, whatever the renderer thinks
            before = it.said[len(it.said.rstrip(" \t\n")) :]
            blank = _BLANK_LINE.search(before + text)
            if blank and (found is None or blank.end() - 1 - len(before) < found.start()):
                return max(0, blank.end() - 1 - len(before))
        return found.start() if found else -1

    def _refuse(self, it: Address, why: str) -> bool:
        """Close an address where it stands, and swallow the rest."""
        start = self._origin(0)
        self._insert(it.closing + ")" * it.depth)
        self._address = None
        if it.label is not None:
            self._defined(it.label, "")
        kept = LINK if it.how in ("link", "pointed", "auto", "word", "bare") and not it.loads else ""
        how: How = "auto" if it.label is not None else it.how
        if it.how == "source":
            how = '"' if it.closing == '"' else "'"
        self._lost = _Lost(how, it.depth, start, (kept, start, 0), it.kind, why)
        return True

    def _lose(self, count: int, how: How, kept: str, kept_at: int, kind: str, why: str) -> bool:
        """Swallow what begins with so many characters and goes on. kept_at: where its place is taken from; -1: nowhere."""
        start = self._origin(0)
        place = (kept, self._origin(kept_at), 1) if kept_at >= 0 else (kept, start, 0)
        self._drop(count)
        self._lost = _Lost(how, 0, start, place, kind, why)
        return True

    def _losing(self, final: bool) -> bool:
        """Swallow up to the end, and what closes it; then what comes in its place is read."""
        lost = self._lost
        assert lost is not None
        text = self._text
        if not lost.ended:
            if lost.how == "link":
                end, lost.depth = in_parentheses(text, lost.depth)
            else:
                found = _ENDS_LOST[lost.how].search(text)
                end = found.start() if found else -1
            if end < 0 and not final:
                unsure = _UNSURE.search(text)
                self._drop(unsure.start() if unsure else len(text))
                return False
            end = len(text) if end < 0 else end
            end += text[end : end + 1] == _INCLUDED.get(lost.how, "no")
            self._drop(end)
            lost.ended, text = True, self._text
        if lost.how in ("link", "pointed"):
            window = text[:HELD]
            if not self._all(final) and not _CLOSED.match(window) and _CLOSING.fullmatch(window):
                return False
            closed = _CLOSED.match(window)
            self._drop(closed.end() if closed else 0)
        end = self._origin(0)
        self._note(lost.kind, min(lost.start, end), max(lost.start, end), lost.why)
        self._lost = None
        kept, origin, step = lost.kept
        self._restore(kept, origin, step)
        return bool(self._text)

    def _closing(self, final: bool) -> bool:
        """After the destination of a picture: it is closed here, whatever else a renderer may take for a part of it."""
        text = self._window
        if not _FOLLOWED.match(text):
            if _BLANKS.fullmatch(text) and not self._all(final):
                return False
            start = self._origin(0)
            self._note("IMAGE", start, start, "its address goes on after a space")
            self._insert(")")
        self._after = False
        return True

    def _value_ends(self, quote: str, kind: str) -> bool:
        """At a blank line in a value: it ends there, whatever the renderer thinks."""
        start = self._origin(0)
        self._note(kind, start, start, "a value that goes on after a blank line")
        self._insert(quote)
        return True

    def _defined(self, label: str, address: str) -> None:
        """A definition was read. address: "" where it was refused."""
