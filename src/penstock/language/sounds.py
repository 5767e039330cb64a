"""Words that are alike in sound: names and loan words, whatever letters they are written in.

A word is spelt in Latin letters, spellings of one sound become one, and what is left is compared by its runs of two and three
letters, with its vowels and without. Nothing here knows a language.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Sounds", "folded", "latin", "names_in", "sound"]

_ROWS = (Path(__file__).parent / "letters.txt").read_text("utf-8").splitlines()
_SPELT = {
    letter: said
    for row in _ROWS
    if not row.startswith("#")
    for letters, said in zip(row.split()[::2], row.split()[1::2], strict=True)
    for letter in letters
}
_ONE_SOUND = [
    (re.compile(pattern), said)
    for pattern, said in (
        ("dj", "j"), ("ph", "f"), ("t?s?ch|sh", "s"), ("th", "t"), (r"gh\b", "g"), ("ck|kh", "k"), ("x", "ks"), ("c(?=[eiy])", "s"),
        ("[cq]", "k"), ("w", "v"), ("y", "i"), ("z", "s"), ("j", "g"), ("(?<=[a-z])h", ""), (r"(.)\1+", r"\1"),
    )
]  # fmt: skip
_NAMES = re.compile(f"[{''.join(c for c in _SPELT if c >= '㐀')}]{{3,}}")
_MARK = re.compile("[\u0300-\u036f]")


def folded(word: str) -> str:
    """A word without its accents."""
    return word if word.isascii() else _MARK.sub("", unicodedata.normalize("NFD", word))


def latin(word: str) -> str:
    """A lower-cased word in Latin letters. What has no letter there stays."""
    if word.isascii():
        return word
    word = folded(word) if word[0] < "\u3000" else word  # the marks of kana are part of them
    return "".join(
        _hangul(c) if "가" <= c <= "힣" else _SPELT.get(c, c)
        for c in word
        if c in _SPELT or unicodedata.category(c)[0] != "M"
    )


_FIRST = "g k n d t r m b p s s . j j ch k t p h".split()
_VOWELS = "a e ia ie o e io ie o oa oe oi io u uo ue ui iu u ui i".split()
_LAST = ". k k k n n n t l k m l l l p l m p p t t ng t t k t p t".split()


def _hangul(syllable: str) -> str:
    number = ord(syllable) - ord("가")
    return f"{_FIRST[number // 588]}{_VOWELS[number % 588 // 28]}{_LAST[number % 28]}".replace(".", "")


def names_in(text: str) -> list[str]:
    """The stretches of a Chinese text that may be names from elsewhere, by their characters."""
    return _NAMES.findall(text)


@lru_cache(50_000)
def sound(word: str) -> str:
    """How a lower-cased word in Latin letters sounds, roughly."""
    for pattern, said in _ONE_SOUND:
        word = pattern.sub(said, word)
    return word


def _grams(word: str) -> set[str]:
    said = sound(word)
    bare = re.sub("[aeiou]", "", said[1:])
    bare = ("a" if said[:1] in "aeiou" else said[:1]) + bare  # a word begins with some vowel, or with a consonant
    found = set()
    for mark, text in (("v", f"_{said}_"), ("c", f"_{bare}_")):
        for size in (2, 3):
            found |= {mark + text[n : n + size] for n in range(len(text) - size + 1)}
    return found


class Sounds:
    """Words of an index, to be found by how they sound. About 25 µs and 450 bytes for each word to build, 0.1 ms or more to ask."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        places: dict[str, list[int]] = defaultdict(list)
        self._size = np.zeros(len(words), np.float32)
        for n, word in enumerate(words):
            grams = _grams(word)
            self._size[n] = len(grams)
            for gram in grams:
                places[gram].append(n)
        self._places: dict[str, Any] = {gram: np.array(some, np.int32) for gram, some in places.items()}

    def like(self, word: str, least: float) -> list[tuple[str, float]]:
        """(word, likeness from `least` to 1) of the words that sound like one in Latin letters, best first."""
        grams = _grams(word)
        shared = np.zeros(len(self.words), np.float32)
        for gram in grams:
            if (some := self._places.get(gram)) is not None:
                shared[some] += 1
        alike = 2 * shared / (self._size + len(grams))  # Dice's coefficient
        near = np.flatnonzero(alike >= least)
        best = near[np.argsort(-alike[near], kind="stable")]
        return [(self.words[n], float(alike[n])) for n in best]
