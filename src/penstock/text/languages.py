"""Which language a text is in, and which script: short texts too, among all languages or those that somebody lists.

Scripts that one language writes decide by themselves. Within the others, a linear model over the words and their n-grams of
one to four characters (as in fastText, Joulin et al. 2017); evidence grows with the square root of how many there are.
weights/languages was made by the recipe `train.languages`. Names, numbers and code do not decide.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from penstock.text.words import MARKS

__all__ = [
    "SCRIPTS",
    "SURE",
    "WORD",
    "Identified",
    "Identifier",
    "Stretch",
    "gap",
    "grams",
    "identifier",
    "language_of",
    "script_of",
]

FOLDER = Path(__file__).parent.parent / "weights" / "languages"
SURE = 0.5  # probability below which a guess is no more than that
SAMPLE = 2_000  # characters that are looked at
MOST_WORDS = 100_000  # whose n-grams are remembered
MOST_PARTS = 64  # lists of languages whose weights are
ENOUGH = 2  # other words beside which a word with a capital within a sentence does not count: it may be a name
SWITCH = 4.0  # what a change of language within a text has to be worth, in log-odds
FEWEST = 2  # words of a stretch in another language

SCRIPTS = {  # script: (the languages that are written in it, its letters)
    "Latin": ("", "A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿⱠ-ⱿꜢ-ꟿ"),
    "Cyrillic": ("", "Ѐ-ԯᲀ-ᲈꙀ-ꚟ"),
    "Arabic": ("", "ؠ-يٮ-ۓەۮۯۺ-ۿݐ-ݿࢠ-ࣉﭐ-ﷻﹰ-ﻼ"),
    "Devanagari": ("", "ऄ-हऽॐ\u0958-\u0961ॲ-ॿ"),
    "Hebrew": ("he", "א-תװ-ײ"),
    "Bengali": ("bn", "অ-হৎ\u09dc-\u09e1"),
    "Greek": ("el", "Ͱ-Ͽἀ-῿"),
    "Han": ("zh", "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"),
    "Kana": ("ja", "ぁ-ゖァ-ヺｦ-ﾝ"),
    "Hangul": ("ko", "가-힣ᄀ-ᇿㄱ-ㆎ"),
    "Thai": ("th", "ก-ะาำเ-ๆ"),
    "Lao": ("lo", "ກ-ະາຳເ-ໄ"),
    "Georgian": ("ka", "Ⴀ-ჿᲐ-Ჿ"),
    "Armenian": ("hy", "Ա-Ֆա-և"),
    "Ethiopic": ("am", "ሀ-ፚ"),
    "Tamil": ("ta", "அ-ஹ"),
    "Telugu": ("te", "అ-హ"),
    "Kannada": ("kn", "ಅ-ಹ"),
    "Malayalam": ("ml", "അ-ഹ"),
    "Gujarati": ("gu", "અ-હ"),
    "Gurmukhi": ("pa", "ਅ-ਹ"),
    "Oriya": ("or", "ଅ-ହ"),
    "Sinhala": ("si", "අ-ෆ"),
    "Khmer": ("km", "ក-ឳ"),
    "Myanmar": ("my", "က-ဪ"),
    "Tibetan": ("bo", "ཀ-ཬ"),
}
_LETTERS = {script: re.compile(f"[{letters}]") for script, (_, letters) in SCRIPTS.items()}
WORD = re.compile(rf"(?:[^\W\d_][{MARKS}]*)+(?:['’ʼ](?:[^\W\d_][{MARKS}]*)+)*")
_ASCII_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
_NO_WORDS = re.compile(
    r"```.*?```|`[^`\n]*`|<[^>\n]{1,200}>|https?://\S+|www\.\S+|[\w.+-]+@[\w-]+\.\w[\w.]*|\b\w*[_\d]\w*\b|\b\w+\.\w{2,4}\b|[#@]\w+",
    re.S,
)
_MAY_BE_CODE = re.compile(r"[`<@_\d#]|\w\.\w|://")
UNSPACED = ("zh", "ja", "th", "lo", "km", "my", "bo")
_CASED = ("Latin", "Cyrillic", "Greek", "Armenian")


@dataclass(frozen=True, slots=True)
class Identified:
    """A guess. language: ISO 639-1, or "" where there is nothing to go by. sure: whether it is more than a guess."""

    language: str
    confidence: float  # probability, 0 to 1
    script: str

    @property
    def sure(self) -> bool:
        return self.confidence >= SURE


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a text in one language: text[start:end]."""

    start: int
    end: int
    language: str


def grams(word: str) -> list[str]:
    """What a lower-cased word is looked at by: itself, its letters, and its runs of two to four characters, borders included."""
    padded = f"_{word}_"
    size = len(padded)
    found = ["=" + word, *set(word)]
    found += [padded[n : n + 2] for n in range(size - 1)]
    found += [padded[n : n + 3] for n in range(size - 2)]
    found += [padded[n : n + 4] for n in range(size - 3)]
    return found


class _Letters(dict[str, str]):
    """Letter -> its script, "" for none; filled as letters are met."""

    def __missing__(self, letter: str) -> str:
        self[letter] = next((script for script, letters in _LETTERS.items() if letters.match(letter)), "")
        return self[letter]


_script_of_letter = _Letters()


def script_of(text: str) -> str:
    """The script that most letters of a text are in; "" without any. A text with some kana is in Kana: so is Japanese written."""
    if text.isascii():
        return "Latin" if _LETTERS["Latin"].search(text) else ""
    counts: dict[str, int] = {}
    for letter, count in Counter(text).items():
        if script := _script_of_letter[letter]:
            counts[script] = counts.get(script, 0) + count
    kana, han = counts.get("Kana", 0), counts.get("Han", 0)
    if kana and kana * 20 >= han:
        counts["Kana"], counts["Han"] = kana + han, 0
    return max(counts, key=lambda script: counts[script]) if counts else ""


class Identifier:
    """The shipped model. Safe to share between threads."""

    def __init__(self, folder: Path = FOLDER) -> None:
        with np.load(folder / "model.npz") as files:
            arrays: dict[str, Any] = {name: files[name] for name in files.files}
        self.languages: tuple[str, ...] = tuple(json.loads(str(arrays["languages"])))
        self.scripts: tuple[str, ...] = tuple(json.loads(str(arrays["scripts"])))  # that each of them is written in
        names = bytes(arrays["grams"]).decode().split("\n")
        self._known = {gram: n for n, gram in enumerate(names)}
        self._rows: Any = arrays["rows"] * np.float32(arrays["scale"])  # float32 (grams, dim)
        self._weights, self._bias = arrays["weights"].astype(np.float32), arrays["bias"].astype(np.float32)
        self._sharpness = float(arrays["sharpness"])
        self._vectors: Any = arrays["vectors"].astype(np.float32)
        self._counts = arrays["counts"]
        self._frequent = bytes(arrays["words"]).decode().split("\n")
        self._memory = self._begun()
        self._lock = Lock()
        self._parts: dict[tuple[str, tuple[str, ...]], _Part] = {}

    def identify(self, text: str, *, among: Sequence[str] = ()) -> Identified:
        """The language of a text, among some or all. About 20 µs for a sentence."""
        text = text[:SAMPLE]
        script = script_of(text)
        if not script:
            return Identified(among[0] if len(among) == 1 else "", 1.0 if len(among) == 1 else 0.0, "")
        part = self._part(script, tuple(among))
        if not part.languages:
            language = SCRIPTS[script][0]
            known = bool(language) and (not among or language in among)
            return Identified(language if known or not among else among[0], 1.0 if known else 0.0, script)
        odds = self._odds(_words(text, script), part)
        if odds is None:
            return Identified(part.languages[0] if among else "", 1 / len(part.languages) if among else 0.0, script)
        most = max(odds)
        chance = 1.0 / sum([math.exp(one - most) for one in odds])
        return Identified(part.languages[odds.index(most)], chance, script)

    def stretches(self, text: str, *, among: Sequence[str] = ()) -> list[Stretch]:
        """A text cut where its language changes: the likeliest course of languages over its words (Viterbi), in which each
        change has a price. Single words of another language do not count."""
        words = [(m.start(), m.end(), m.group()) for m in WORD.finditer(text)]
        if not words:
            return []
        names = sorted(
            {*(among or self.languages), *({language for language, _ in SCRIPTS.values() if language} - {""})}
        )
        place = {name: n for n, name in enumerate(names)}
        course = np.zeros((len(words), len(names)), np.float32)
        for n, (_, _, word) in enumerate(words):
            course[n] = self._of_word(word, place)
        best, back = course[0], []
        for row in course[1:]:
            stay, change = best, best.max() - SWITCH
            back.append(np.where(stay >= change, np.arange(len(names)), int(best.argmax())))
            best = np.maximum(stay, change) + row
        at = int(best.argmax())
        path = [at]
        for came in reversed(back):
            at = int(came[at])
            path.append(at)
        path.reverse()
        return _joined([(start, end, names[n]) for (start, end, _), n in zip(words, path, strict=True)])

    def _of_word(self, word: str, place: dict[str, int]) -> Any:
        """Log-probability of a word in each language; what is in no script of a language is far away."""
        found = np.full(len(place), -12.0, np.float32)
        script = script_of(word)
        part = self._part(script, tuple(place))
        if not part.languages:
            if (own := SCRIPTS.get(script, ("", ""))[0]) in place:
                found[place[own]] = 0.0
            return found
        odds = self._odds([word.lower()], part)
        if odds is None:
            return np.zeros(len(place), np.float32)
        most = max(odds)
        total = most + math.log(sum(math.exp(one - most) for one in odds))
        logs = [one - total for one in odds]
        for language, value in zip(part.languages, logs, strict=True):
            found[place[language]] = max(value, -6.0)
        return found

    def _part(self, script: str, among: tuple[str, ...]) -> _Part:
        """The weights of the languages of a script, of all or those that are listed."""
        found = self._parts.get((script, among))
        if found is None:
            pairs = enumerate(zip(self.languages, self.scripts, strict=True))
            wanted = [n for n, (language, own) in pairs if own == script and (not among or language in among)]
            weights = self._weights[wanted] * self._sharpness
            found = _Part([self.languages[n] for n in wanted], weights, self._bias[wanted] * self._sharpness)
            if len(self._parts) < MOST_PARTS:
                self._parts[script, among] = found
        return found

    def _odds(self, words: Sequence[str], part: _Part) -> list[float] | None:
        """Log-odds of the languages; None where no n-gram of the words is known."""
        memory, rows, count = self._memory, list[int](), 0
        seen = memory.seen
        for word in words:
            row, known = seen.get(word) or self._learnt(word, memory)
            rows.append(row)
            count += known
        if not count:
            return None
        total = memory.vectors.take(rows, 0).sum(0)
        odds: list[float] = (part.weights @ (total * (count**-0.5)) + part.bias).tolist()
        return odds

    def _learnt(self, word: str, memory: _Memory) -> tuple[int, int]:
        """A word that was not seen yet. Where too many were, the next text begins with a new memory."""
        found = [row for gram in grams(word[:40]) if (row := self._known.get(gram)) is not None]
        vector = self._rows.take(found, 0).sum(0)
        with self._lock:
            row = len(memory.seen)
            if row == len(memory.vectors):
                memory.vectors = np.concatenate([memory.vectors, np.zeros_like(memory.vectors)])
            memory.vectors[row] = vector
            memory.seen[word] = row, len(found)
            if row >= MOST_WORDS and memory is self._memory:
                self._memory = self._begun()
        return row, len(found)

    def _begun(self) -> _Memory:
        """The frequent words alone, which come with the model."""
        counts = self._counts.tolist()
        return _Memory(dict(zip(self._frequent, enumerate(counts), strict=True)), self._vectors)


@dataclass
class _Memory:
    """Words that were seen: word -> its row in the vectors, and how many n-grams of it are known."""

    seen: dict[str, tuple[int, int]]
    vectors: Any  # float32 (at least as many, dim): the sums of the vectors of their n-grams


class _Part(NamedTuple):
    languages: list[str]
    weights: Any  # float32 (languages, dim)
    bias: Any


def _words(text: str, script: str) -> list[str]:
    """The words of a text, lower-cased. Those that may be names are left out where there are enough others."""
    if _MAY_BE_CODE.search(text):
        text = _NO_WORDS.sub(" ", text)
    if text.isascii():
        words = _ASCII_WORD.findall(text)
    else:
        words = WORD.findall(unicodedata.normalize("NFC", text))
    if script not in _CASED:
        return words
    plain = [word for word in words if word[0].islower()]
    if len(plain) >= ENOUGH:
        return [words[0].lower(), *plain] if not words[0][0].islower() else plain
    return [word.lower() for word in words]


def _joined(words: Sequence[tuple[int, int, str]]) -> list[Stretch]:
    """Words as stretches; two characters of an unspaced script count as one. What is too short for one goes with the stretch
    before it, or else with the one after."""
    runs: list[list[Any]] = []
    for start, end, language in words:
        size = (end - start + 1) // 2 if language in UNSPACED else 1
        if runs and runs[-1][2] == language:
            runs[-1][1], runs[-1][3] = end, runs[-1][3] + size
        else:
            runs.append([start, end, language, size])
    kept: list[list[Any]] = []
    for run in runs:
        if kept and (run[3] < FEWEST or run[2] == kept[-1][2]):
            kept[-1][1] = run[1]
        elif kept and len(kept) == 1 and kept[0][3] < FEWEST:
            kept[0] = [kept[0][0], run[1], run[2], run[3]]
        else:
            kept.append(run)
    return [Stretch(start, end, language) for start, end, language, _ in kept]


@cache
def identifier() -> Identifier:
    """The shipped one, loaded once: a tenth of a second and 12 MB."""
    return Identifier()


def language_of(text: str) -> str:
    """The language of a text, or "" where that cannot be told."""
    found = identifier().identify(text)
    return found.language if found.sure else ""


def gap(scores: Mapping[str, float]) -> float:
    """How much lower the worst language scores than English, or than the best one where none is English. 0 for one language."""
    return max(0.0, scores.get("en", max(scores.values())) - min(scores.values())) if scores else 0.0
