"""Hand-made features of hostile instructions, the same numbers in every language.

Concepts ("override", "instructions", "what came before") are lists of word stems in sixteen languages, and a feature is how
often a concept occurs in a window, or how near two of them stand. So what a head learns from English holds for Turkish.
The text is expected as `normalise` reads it: no accents on Latin letters. Lower case is made here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import re2

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NAMES", "Marks", "concepts_in", "marked"]

CONCEPTS = (
    "override",
    "instructions",
    "before",
    "reveal",
    "secret",
    "persona",
    "fiction",
    "unlimited",
    "mode",
    "policy",
    "refusal",
    "only",
    "new",
    "machine",
    "errand",
    "asking",
    "about",
    "code_word",
)
SHAPES = (
    "turn",
    "delimiter",
    "comment",
    "assign",
    "address",
    "you",
    "first",
    "imperative",
    "question",
    "shout",
    "quotes",
    "digits",
)  # of the writing

# Concepts that say more together: how near the closest two stand.
PAIRS = (
    ("override", "instructions"), ("override", "before"), ("instructions", "before"), ("reveal", "secret"),
    ("reveal", "before"), ("reveal", "instructions"), ("persona", "unlimited"), ("persona", "machine"),
    ("unlimited", "machine"), ("policy", "override"), ("only", "override"), ("new", "instructions"), ("only", "before"),
    ("machine", "override"), ("refusal", "machine"), ("fiction", "unlimited"), ("asking", "instructions"),
    ("about", "override"), ("code_word", "secret"), ("errand", "machine"), ("secret", "only"),
)  # fmt: skip

NAMES: tuple[str, ...] = (
    *CONCEPTS,
    *(f"{first}~{second}" for first, second in PAIRS),
    *SHAPES,
    "capitals", "length", "other_script", "punctuation", "newlines", "longest_run", "long_word", "place", "last", "windows",
    "decoded", "hidden", "concepts",
)  # fmt: skip

_NEAR = 48.0  # characters over which nearness falls to a third


STEMS = Path(__file__).parents[1] / "weights" / "injection" / "concepts.txt"


@cache
def _stems() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for section in STEMS.read_text("utf-8").split("\n[")[1:]:
        name, _, lines = section.partition("]\n")
        found[name] = lines.strip().split("\n")
    return found


@cache
def _pattern(name: str) -> re2._Regexp[str]:
    """A concept's stems as one expression that a DFA runs through, whatever the languages."""
    if name in SHAPES:
        return re2.compile(_stems()[name + ":"][0], _options())
    parts: list[str] = []
    for line in _stems()[name]:
        if line.isascii():
            parts.append(rf"\b(?:{line})")
        else:  # a line may go from one script to the next
            parts += [rf"\b{stem}" if stem.isascii() else stem for stem in _alternatives(line)]
    return re2.compile("|".join(parts), _options())


def _alternatives(line: str) -> list[str]:
    """The alternatives of an expression, apart where they are not in brackets."""
    found, depth, begin = [], 0, 0
    for place, character in enumerate(line):
        depth += (character == "(") - (character == ")")
        if character == "|" and not depth:
            found.append(line[begin:place])
            begin = place + 1
    return [*found, line[begin:]]


@cache
def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = 64 << 20
    options.log_errors = False
    return options


@dataclass(frozen=True, slots=True)
class Marks:
    """Where each concept and shape stands in a text, found once; windows are then cut out of it."""

    text: str  # as it was given
    low: str
    concepts: tuple[NDArray[np.int32], ...]  # (hits, 2): start and end, in the order of CONCEPTS
    shapes: tuple[NDArray[np.int32], ...]  # starts, in the order of the shapes

    def features(
        self, windows: Sequence[tuple[int, int]], *, decoded: bool = False, hidden: int = 0
    ) -> NDArray[np.float32]:
        """float32 (windows, features), each about 0 to 1, named by NAMES."""
        rows = np.zeros((len(windows), len(NAMES)), np.float32)
        total = max(1, len(self.text))
        for row, (start, end) in zip(rows, windows, strict=True):
            inside = [hits[(hits[:, 0] >= start) & (hits[:, 0] < end)] if len(hits) else hits for hits in self.concepts]
            at = len(inside)
            row[:at] = [min(len(hits), 3) / 3 for hits in inside]
            found = int(np.count_nonzero(row[:at]))
            if found > 1:
                for place, (first, second) in enumerate(_PAIR_PLACES):
                    one, other = inside[first], inside[second]
                    if len(one) and len(other):
                        row[at + place] = _nearness(one, other)
            at += len(PAIRS)
            size = max(1, end - start)
            for place, starts in enumerate(self.shapes):
                count = int(np.searchsorted(starts, end) - np.searchsorted(starts, start)) if len(starts) else 0
                row[at + place] = min(1.0, count / _SCALES[place]) if place < _DENSE else min(1.0, 6 * count / size)
            at += len(self.shapes)
            piece = self.text[start:end]
            row[at:] = [
                min(1.0, 3 * sum(map(str.isupper, piece)) / size),
                min(1.0, size / 480),
                _share_beyond_latin(piece),
                min(1.0, 4 * len(_PUNCTUATION.findall(piece)) / size),
                min(1.0, 20 * piece.count("\n") / size),
                min(1.0, max(map(len, _RUNS.findall(piece)), default=0) / 10),
                min(1.0, max(map(len, piece.split()), default=0) / 60),
                start / total,
                float(end >= total - 2),
                min(1.0, total / 4000),
                float(decoded),
                min(1.0, hidden / 20),
                min(1.0, found / 8),
            ]
        return rows


_PAIR_PLACES = tuple((CONCEPTS.index(first), CONCEPTS.index(second)) for first, second in PAIRS)
_SCALES = (2, 3, 1, 3, 2, 4, 4, 4, 2, 2, 6)  # counts that are many, in the order of the shapes but digits
_DENSE = len(_SCALES)
_PUNCTUATION = re.compile(r"[^\w\s]")
_RUNS = re.compile(r"([^\w\s])\1{2,40}")
_BEYOND_LATIN = re.compile(r"[^\x00-\u024f\u1e00-\u1eff\u2000-\u206f]")


def _share_beyond_latin(text: str) -> float:
    return 0.0 if text.isascii() else len(_BEYOND_LATIN.findall(text)) / len(text)


def _nearness(one: NDArray[np.int32], other: NDArray[np.int32]) -> float:
    one, other = one[:12], other[:12]
    gaps = np.maximum(other[None, :, 0] - one[:, None, 1], one[:, None, 0] - other[None, :, 1])
    return float(np.exp(-max(0, int(gaps.min())) / _NEAR))


def marked(text: str) -> Marks:
    """Find the concepts in a text that was normalised; takes a tenth of a millisecond for a kilobyte without any."""
    low = text.lower()
    if len(low) != len(text):  # one capital letter becomes two small ones, in Turkish
        low = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    return Marks(
        text,
        low,
        tuple(concepts_in(low, name) for name in CONCEPTS),
        tuple(concepts_in(low, name)[:, 0] for name in SHAPES),
    )


def concepts_in(low: str, name: str) -> NDArray[np.int32]:
    """Start and end of each hit of a concept or shape, int32 (hits, 2), in a text in lower case."""
    found = [match.span() for match in _pattern(name).finditer(low)]
    return np.array(found, np.int32).reshape(-1, 2)
