"""Words as the lexical index sees them: cut, lower-cased, stemmed for their language, accents folded, hashed.

Scripts without spaces are cut into overlapping pairs of characters (as Lucene's CJK analyser does). A term is a 64-bit
hash of its stem: segments hold no strings, and two terms in a million-word vocabulary collide once in 37 million.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from threading import Lock
from typing import Any

import Stemmer
import whatlang

from penstock.text.stopwords import STOPWORDS

__all__ = ["cut", "language_of", "query_terms", "term_ids"]

SNOWBALL = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian",
    "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch", "no": "norwegian",
    "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil",
    "tr": "turkish", "yi": "yiddish",
}  # fmt: skip

ISO_639_1 = {
    "afr": "af", "ara": "ar", "aze": "az", "bel": "be", "ben": "bn", "bul": "bg", "cat": "ca", "ces": "cs", "cmn": "zh",
    "dan": "da", "deu": "de", "ell": "el", "eng": "en", "epo": "eo", "est": "et", "fin": "fi", "fra": "fr", "guj": "gu",
    "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy", "ind": "id", "ita": "it", "jav": "jv", "jpn": "ja",
    "kan": "kn", "kat": "ka", "khm": "km", "kor": "ko", "lat": "la", "lav": "lv", "lit": "lt", "mal": "ml", "mar": "mr",
    "mkd": "mk", "mya": "my", "nep": "ne", "nld": "nl", "nob": "no", "ori": "or", "pan": "pa", "pes": "fa", "pol": "pl",
    "por": "pt", "ron": "ro", "rus": "ru", "sin": "si", "slk": "sk", "slv": "sl", "sna": "sn", "spa": "es", "srp": "sr",
    "swe": "sv", "tam": "ta", "tel": "te", "tgl": "tl", "tha": "th", "tuk": "tk", "tur": "tr", "ukr": "uk", "urd": "ur",
    "uzb": "uz", "vie": "vi", "yid": "yi", "zul": "zu",
}  # fmt: skip

UNKNOWN = "en"  # how text is stemmed whose language is unknown: alike on both sides, so it matches all the same

_MARKS = "".join(c for c in map(chr, range(0x0300, 0xFE30)) if unicodedata.category(c)[0] == "M")
_UNSPACED = "぀-ヿ㐀-鿿豈-﫿ｦ-ﾟ฀-๿຀-໿က-႟ក-៿\U00020000-\U0002fa1f"  # kana, Han, Thai, Lao, Burmese, Khmer
_WORD = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])[\w{_MARKS}])+")
_ASCII_WORD = re.compile(r"\w+")
_ACCENT = re.compile("[̀-ͯ]")


def cut(text: str) -> list[str]:
    """The words of a text in order, lower-cased; runs of unspaced script as pairs of characters."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    words: list[str] = []
    for run in _WORD.findall(unicodedata.normalize("NFKC", text).lower()):
        if run[0] >= "฀" and re.match(f"[{_UNSPACED}]", run):
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


def language_of(text: str, *, sample: int = 2000) -> str:
    """The language of a text, ISO 639-1 where there is a code, or "" when there is too little to tell.

    Longer texts by the trigrams of whatlang; a sentence or two, too short for those, by their function words.
    """
    text = text[:sample]
    try:
        found: Any = whatlang.detect(text)
    except ValueError:  # no letters
        return ""
    guess = ISO_639_1.get(found.lang, str(found.lang))
    if found.is_reliable:
        return guess
    words = cut(text)
    votes: dict[str, float] = {language: sum(word in stop for word in words) for language, stop in STOPWORDS.items()}
    votes[guess] = votes.get(guess, 0) + 0.5  # of equals the trigrams' choice
    best = max(votes, key=lambda language: votes[language])
    return best if votes[best] >= max(1.5, 0.2 * len(words)) else ""
