"""Characters that nobody sees, taken out of a stream unless the script or the emoji around them needs them.

A joiner stays between the parts of an emoji and in the scripts that are written with it, a variation selector stays on
what it varies, tags stay in the flags they spell. All others can carry a message past the reader, or turn a line around.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from penstock.guard.trail import Trail

__all__ = ["Visible"]

_SPECIAL: Final = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_ENDS: Final = "\U000e007f"
_FLAGS: Final = re.compile("|".join(  # of the parts of Great Britain, and of the states of the USA and the provinces of Canada
    "".join(chr(0xE0000 + ord(c)) if c.isalpha() else c for c in code).replace("_", "[\U000e0061-\U000e007a]") + _ENDS
    for code in ("gbeng", "gbsct", "gbwls", "us__", "ca__")
))  # fmt: skip
_LONGEST_FLAG: Final = 6  # tags
_TAGGED: Final = re.compile("[\U000e0020-\U000e007e]*")
_JOINING: Final = re.compile(
    "[\u0590-\u08ff\u0900-\u0dff\u0e00-\u109f\u1780-\u18af\u1a00-\u1aaf\u1b00-\u1bff\ua800-\uabff"
    "\ufb1d-\ufdff\ufe70-\ufefc\U00010a00-\U000119ff\U0001e900-\U0001e95f]"
)
_UNSPACED: Final = re.compile("[\u0e00-\u109f\u1780-\u17ff\u1950-\u1aaf\u2e80-\u9fff\ua960-\uabff]")
_EMOJI: Final = re.compile(
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u25a0-\u27bf"
    "\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_VARIED: Final = re.compile("[0-9#*\u2000-\u2bff\u3001-\u303f]|[\u00a9\u00ae]|[\U0001f000-\U0001faff]")
_IDEOGRAPH: Final = re.compile("[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_RIGHT_TO_LEFT: Final = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_MARKS: Final = "\u200e\u200f\u061c"  # they say which way the next sign runs, and turn nothing around
_ISOLATES: Final = "\u2066\u2067\u2068\u2069"


class Visible:
    """A stream with only what can be seen. At most six characters are held back."""

    def __init__(self, note: Callable[[int, int], None]) -> None:
        self.trail = Trail()
        self._note, self._held, self._at = note, "", 0
        self._before = ""  # the last character that left; and the last that is no variation
        self._base = ""
        self._turned = False  # whether a script that runs to the left was seen

    def feed(self, text: str) -> str:
        """What can be seen, as far as that is known."""
        return self._pass(text, final=False)

    def close(self) -> str:
        return self._pass("", final=True)

    def _pass(self, text: str, *, final: bool) -> str:
        text = self._held + text if self._held else text
        first = _SPECIAL.search(text)
        if first is None:
            self._held = ""
            return self._keep(text)
        kept: list[str] = []
        at, size = 0, len(text)
        while first is not None:
            spot = first.start()
            if spot > at:
                kept.append(self._keep(text[at:spot]))
            at = spot
            needed = self._needed(text, spot, final)
            if needed < 0:
                break
            if needed:
                kept.append(self._keep(text[spot : spot + needed]))
                at = spot + needed
            else:
                stop = spot + 1
                if "\U000e0000" <= text[spot] <= "\U000e007f":
                    tags = _TAGGED.match(text, stop)
                    stop = tags.end() if tags else stop
                    self._before = ""  # what goes on after a broken flag is none
                self._note(self._at, self._at + stop - spot)
                self._at += stop - spot
                at = stop
            first = _SPECIAL.search(text, at)
        else:
            kept.append(self._keep(text[at:]))
            at = size
        self._held = text[at:]
        return "".join(kept)

    def _keep(self, text: str) -> str:
        if text:
            self.trail.add(len(text), self._at)
            self._at += len(text)
            last = text[-1]
            if not "\ufe00" <= last <= "\ufe0f":  # those come one at a time
                self._base = last
            self._before = last
            self._turned = self._turned or (not text.isascii() and _RIGHT_TO_LEFT.search(text) is not None)
        return text

    def _needed(self, text: str, at: int, final: bool) -> int:
        """How many characters from here on stay; 0: this one goes; -1: that cannot be told yet."""
        sign, before = text[at], self._before
        following = text[at + 1 : at + 2]
        if sign in _MARKS:
            return 1 if before not in _MARKS or not before else 0
        if sign in _ISOLATES:
            return 1 if self._turned and before not in _ISOLATES else 0
        if "\U000e0000" <= sign <= "\U000e007f":
            if before != "\U0001f3f4":
                return 0
            flag = _FLAGS.match(text, at)
            if flag:
                return flag.end() - at
            tags = _TAGGED.match(text, at)
            open_end = not final and len(text) - at < _LONGEST_FLAG and tags is not None and tags.end() == len(text)
            return -1 if open_end else 0
        if "\ufe00" <= sign <= "\ufe0f":
            if not before or "\ufe00" <= before <= "\ufe0f":
                return 0
            if sign >= "\ufe0e":
                return 1 if _VARIED.match(before) or _IDEOGRAPH.match(before) else 0
            return (
                1
                if _IDEOGRAPH.match(before)
                or "\u2190" <= before <= "\u2bff"
                or "\u1000" <= before <= "\u109f"
                or "\ua840" <= before <= "\ua87f"
                else 0
            )
        if "\U000e0100" <= sign <= "\U000e01ef":
            return 1 if before and _IDEOGRAPH.match(before) else 0
        if "\u180b" <= sign <= "\u180f":
            return 1 if "\u1820" <= before <= "\u18aa" else 0
        if sign in "\u200b\u200c\u200d\u2060":
            if (
                sign == "\u200d"
                and before
                and (_EMOJI.match(before) or (before == "\ufe0f" and self._base and _EMOJI.match(self._base)))
            ):
                if not following and not final:
                    return -1
                return 1 if following and _EMOJI.match(following) else 0
            scripts = _UNSPACED if sign in "\u200b\u2060" else _JOINING
            return 1 if before and scripts.match(before) else 0
        return 0
