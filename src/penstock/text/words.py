"""Words as the lexical index sees them: cut, lower-cased, stemmed for their language, accents folded, hashed.

Scripts without spaces are cut into overlapping pairs of characters (as Lucene's CJK analyser does). A term is a 64-bit
hash of its stem: segments hold no strings, and two terms in a million-word vocabulary collide once in 37 million.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import blake2b
from threading import Lock

import Stemmer

from penstock.text.stopwords import STOPWORDS

__all__ = ["MARKS", "UNSPACED", "cut", "query_terms", "term_ids", "term_of"]

SNOWBALL = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian",
    "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch", "no": "norwegian",
    "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil",
    "tr": "turkish", "yi": "yiddish",
}  # fmt: skip

UNKNOWN = "en"  # how text is stemmed whose language is unknown: alike on both sides, so it matches all the same

MARKS = "".join(c for c in map(chr, range(0x0300, 0xFE30)) if unicodedata.category(c)[0] == "M")
UNSPACED = "぀-ヿ㐀-鿿豈-﫿ｦ-ﾟ฀-๿຀-໿က-႟ក-៿\U00020000-\U0002fa1f"  # kana, Han, Thai, Lao, Burmese, Khmer
_WORD = re.compile(rf"[{UNSPACED}]+|(?:(?![{UNSPACED}])[\w{MARKS}])+")
_ASCII_WORD = re.compile(r"\w+")
_ACCENT = re.compile("[̀-ͯ]")


def cut(text: str) -> list[str]:
    """The words of a text in order, lower-cased; runs of unspaced script as pairs of characters."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    words: list[str] = []
    for run in _WORD.findall(unicodedata.normalize("NFKC", text).lower()):
        if run[0] >= "฀" and re.match(f"[{UNSPACED}]", run):
            words += [run] if len(run) < 2 else [run[n : n + 2] for n in range(len(run) - 1)]
        else:
            words.append(run)
    return words


class _Terms(dict[str, int]):
    """word -> term id in one language, 0 for a stop word; filled as words are met."""

    LARGEST = 500_000  # words remembered; a corpus of codes and numbers must not eat the memory

    def __init__(self, language: str) -> None:
        stem = SNOWBALL.get(language or UNKNOWN)
        self._stemmer = Stemmer.Stemmer(stem, 0) if stem else None
        self._stop = _stop(language)
        self._lock = Lock()  # a Snowball stemmer keeps its work in itself

    def __missing__(self, word: str) -> int:
        if word in self._stop:
            term = 0
        else:
            stem = word
            if self._stemmer:
                with self._lock:
                    stem = self._stemmer.stemWord(word)
            if not stem.isascii():
                stem = _ACCENT.sub("", unicodedata.normalize("NFD", stem))
            term = int.from_bytes(blake2b(stem.encode(), digest_size=8).digest(), "little") or 1
        if len(self) < self.LARGEST:
            self[word] = term
        return term


def _stop(language: str) -> frozenset[str]:
    return STOPWORDS.get(language or UNKNOWN, frozenset())


@cache
def _terms(language: str) -> _Terms:
    return _Terms(language)


def term_of(language: str) -> Callable[[str], int]:
    """What makes a term of a lower-cased word in one language; 0 of a stop word."""
    return _terms(language).__getitem__


def term_ids(text: str, language: str) -> list[int]:
    """The text's terms in order, stop words of the language left out."""
    terms = _terms(language)
    return [term for word in cut(text) if (term := terms[word])]


def query_terms(question: str, languages: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """word -> its term in each language that the passages are in. Stop words of the question's language are left out."""
    words = cut(question)
    stop = max(
        (_stop(language) for language in languages),
        key=lambda stop: sum(map(stop.__contains__, words)),
        default=frozenset(),
    )
    found: dict[str, tuple[int, ...]] = {}
    for word in words:
        if word not in stop and (ids := {term: None for language in languages if (term := _terms(language)[word])}):
            found[word] = tuple(ids)
    return found
