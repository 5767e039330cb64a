"""Bilingual dictionaries: the words of a language, cut and stemmed, and what they may be in English.

weights/bilingual was made by the recipe `train.bilingual` from what free software says in many languages. A dictionary is
read when its language is first asked in; it knows nothing of documents.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import Stemmer

from penstock.language.sounds import folded
from penstock.text.words import MARKS, SNOWBALL

__all__ = ["FOLDER", "SNOWBALLS", "Dictionary", "dictionary", "languages", "pieces", "stemmed", "words_of", "written"]

FOLDER = Path(__file__).parent.parent / "weights" / "bilingual"
SNOWBALLS = SNOWBALL | {"cs": "czech", "fa": "persian", "pl": "polish"}
STEPS = 15  # a weight is kept as one of so many

_HAN = "぀-ヿ㐀-鿿豈-﫿ｦ-ﾟ"
_WORD = re.compile(rf"[{_HAN}]+|(?:(?![{_HAN}])[\w{MARKS}])+(?:['’](?:(?![{_HAN}])[\w{MARKS}])+)*")
_RUN = re.compile("[぀-ゟ]+|[゠-ヿｦ-ﾟ]+|[㐀-鿿豈-﫿]+")
_UNSPACED = re.compile(f"[{_HAN}]")
_APOSTROPHE = re.compile("['’]")
_SAME: dict[str, Any] = {
    "ar": str.maketrans("إأآٱىةیک", "اااايهيك", "ـ" + "".join(map(chr, range(0x064B, 0x0653)))),
    "fa": str.maketrans("إأآٱىةیک", "اااايهيك", "ـ\u200c" + "".join(map(chr, range(0x064B, 0x0653)))),
    "hi": str.maketrans("ँ", "ं", "\u093c\u200c\u200d"),
    "ro": str.maketrans("şţ", "șț"),
    "ru": str.maketrans("ё", "е"),
}
_JOINED = {"ar": ("وال", "بال", "كال", "فال", "لل", "ال")}  # what Arabic writes before a noun, with the article


def words_of(text: str, language: str) -> list[str]:
    """The words of a text in order, lower-cased, in one way of writing them; runs of an unspaced script whole."""
    text = unicodedata.normalize("NFKC", text).lower().replace("i̇", "i")
    if language == "hi":
        text = unicodedata.normalize("NFD", text)  # the dot below becomes a mark of its own
    if same := _SAME.get(language):
        text = text.translate(same)
    found: list[str] = []
    for word in _WORD.findall(text):
        if not word.isascii() and any(c.isdigit() and not c.isascii() for c in word):
            word = "".join(str(unicodedata.digit(c, c)) for c in word)  # ٣ is 3
        first, *rest = _APOSTROPHE.split(word)
        found += [first] if language == "tr" else [first, *rest]  # İstanbul'da; l'empire
    return found


def pieces(run: str) -> list[str]:
    """A run of an unspaced script where its letters change: kanji, katakana, hiragana."""
    return _RUN.findall(run)


@cache
def _stemmer(language: str) -> Any:
    name = SNOWBALLS.get(language)
    return Stemmer.Stemmer(name, 0) if name else None


def stemmed(word: str, language: str) -> str:
    """A word as dictionaries have it: without its ending, and without accents."""
    for joined in _JOINED.get(language, ()):
        if word.startswith(joined) and len(word) - len(joined) >= 3:
            word = word[len(joined) :]
            break
    stemmer = _stemmer(language)
    return folded(stemmer.stemWord(word) if stemmer else word)


class Dictionary:
    """Of one language: stem -> what it may be in English, likeliest first, each with a weight up to 1. About 4 MB in memory."""

    def __init__(self, language: str, stems: Sequence[str], counts: Any, english: Any, weights: Any) -> None:
        """counts: how many pairs each stem has; english, weights: of all pairs, the number of a word and a step from 1 to STEPS."""
        self.language, self.longest = language, max(map(len, stems), default=0)
        self._places = {stem: n for n, stem in enumerate(stems)}
        self._starts, self._english, self._weights = np.cumsum([0, *counts.tolist()]), english, weights

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, stem: str) -> bool:
        return stem in self._places

    def __getitem__(self, stem: str) -> list[tuple[str, float]]:
        place = self._places.get(stem)
        if place is None:
            return []
        some = slice(int(self._starts[place]), int(self._starts[place + 1]))
        words = _english()
        pairs = zip(self._english[some].tolist(), self._weights[some].tolist(), strict=True)
        return [(words[n], steps / STEPS) for n, steps in pairs]

    def cut(self, text: str) -> list[str]:
        """The words of a text; a run of an unspaced script in as few words as the dictionary has for it."""
        found: list[str] = []
        for word in words_of(text, self.language):
            found += self._fewest(word) if _UNSPACED.match(word) else [word]
        return found

    def _fewest(self, run: str) -> list[str]:
        size = len(run)
        cost, back = [0.0] + [float("inf")] * size, [0] * (size + 1)
        for start in range(size):
            for end in range(start + 1, min(size, start + self.longest) + 1):
                known = run[start:end] in self._places
                if not known and end > start + 1:
                    continue
                price = cost[start] + (1.0 if known else 1.5)
                if price <= cost[end]:
                    cost[end], back[end] = price, start
        found, end = [], size
        while end:
            found.append(run[back[end] : end])
            end = back[end]
        return found[::-1]


@cache
def languages() -> frozenset[str]:
    """Those there is a dictionary of."""
    return frozenset(path.stem for path in FOLDER.glob("*.npz"))


@cache
def _english() -> list[str]:
    return (FOLDER / "english.txt").read_text("utf-8").split("\n")


@cache
def dictionary(language: str) -> Dictionary:
    """The shipped one of a language. Raises FileNotFoundError where there is none."""
    with np.load(FOLDER / f"{language}.npz") as held:
        stems = bytes(held["stems"]).decode().split("\n")
        return Dictionary(language, stems, held["counts"], held["english"], held["weights"])


def written(folder: Path, dictionaries: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]]) -> dict[str, int]:
    """Write dictionaries as `dictionary` reads them. Returns the size of each file in bytes."""
    counts: dict[str, int] = {}
    for entries in dictionaries.values():
        for said in entries.values():
            for word, _ in said:
                counts[word] = counts.get(word, 0) + 1
    english = sorted(counts, key=lambda word: (-counts[word], word))
    place = {word: n for n, word in enumerate(english)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "english.txt").write_text("\n".join(english), "utf-8")
    for language, entries in dictionaries.items():
        stems = sorted(entries)
        rows = [pair for stem in stems for pair in entries[stem]]
        np.savez_compressed(
            folder / f"{language}.npz",
            stems=np.frombuffer("\n".join(stems).encode(), np.uint8),
            counts=np.array([len(entries[stem]) for stem in stems], np.uint8),
            english=np.array([place[word] for word, _ in rows], np.uint16),
            weights=np.array([max(1, round(weight * STEPS)) for _, weight in rows], np.uint8),
        )
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.suffix in (".npz", ".txt")}


def card() -> dict[str, Any]:
    """Where the dictionaries come from, their licences and hashes, and what was measured of them."""
    loaded: dict[str, Any] = json.loads((FOLDER / "card.json").read_text("utf-8"))
    return loaded
