"""Near-copies: stretches of a text that repeat a protected passage, word for word or with a few words changed.

Runs of five words are looked for in the passages; runs that lie close together make one stretch ("winnowing" without the
sampling: Schleimer, Wilkerson and Aiken 2003).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from penstock.text.words import UNSPACED

__all__ = ["Copy", "copies"]

RUN = 5  # words
GAP = 6  # words between two runs that still make one stretch
LEAST = 14  # words of a stretch, below which a text may well say the same by itself
SHARE = 0.6  # of a stretch's words that must stand in such runs

_WORD = re.compile(r"\w+(?:['’]\w+)?")
_UNSPACED = re.compile(f"[{UNSPACED}]")


class Copy(NamedTuple):
    """text[start:end] repeats passage number `passage`."""

    start: int
    end: int
    passage: int
    share: float  # of its words that are the passage's


def copies(text: str, passages: Sequence[str]) -> list[Copy]:
    """The stretches of a text that repeat a passage, in the order of the text; of several passages the one it repeats most."""
    own = _words(text)
    if len(own) < LEAST:
        return []
    found = []
    for number, passage in enumerate(passages):
        theirs = [word for word, _, _ in _words(passage)]
        runs = {tuple(theirs[n : n + RUN]) for n in range(len(theirs) - RUN + 1)}
        hits = [n for n in range(len(own) - RUN + 1) if tuple(word for word, _, _ in own[n : n + RUN]) in runs]
        found += [Copy(own[a][1], own[b - 1][2], number, share) for a, b, share in _stretches(hits)]
    kept: list[Copy] = []
    for copy in sorted(found, key=lambda one: one.start - one.end):
        if all(copy.end <= other.start or copy.start >= other.end for other in kept):
            kept.append(copy)
    return sorted(kept)


def _stretches(hits: Sequence[int]) -> list[tuple[int, int, float]]:
    """(first word, the one after the last, share of words in runs) of the stretches that are long and dense enough."""
    groups: list[list[int]] = []
    for hit in hits:
        if groups and hit - groups[-1][-1] <= RUN + GAP:
            groups[-1].append(hit)
        else:
            groups.append([hit])
    found = []
    for group in groups:
        start, end = group[0], group[-1] + RUN
        share = len({n for hit in group for n in range(hit, hit + RUN)}) / (end - start)
        if end - start >= LEAST and share >= SHARE:
            found.append((start, end, round(share, 3)))
    return found


def _words(text: str) -> list[tuple[str, int, int]]:
    """(word in lower case, start, end); of scripts without spaces each character."""
    found = []
    for word in _WORD.finditer(text):
        if _UNSPACED.search(word.group()):
            found += [(letter, word.start() + n, word.start() + n + 1) for n, letter in enumerate(word.group())]
        else:
            found.append((word.group().lower(), *word.span()))
    return found
