"""Texts as the checks compare them: words as terms, numbers by their value, negations known as such.

A term is what `text.words` makes of a word in its language, so inflected forms are one. Stop words are all the same term, 0.
Numbers are terms of their value, whether they are written in digits or, in English, in letters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from penstock.text.stopwords import STOPWORDS
from penstock.text.words import MARKS, UNSPACED, term_of

__all__ = ["Told", "Vocabulary", "guessed", "tokens", "told", "vocabulary"]

LARGEST = 300_000  # words remembered for a language

_TOKEN = re.compile(r"\w+(?:['’]\w+|(?:[.,:]\d+)+)?")
_MARKED = re.compile(rf"[\w{MARKS}]+(?:['’]\w+|(?:[.,:]\d+)+)?")  # slower
_END = re.compile(r"[.!?]+[\"'”’)\]]*\s+|[。！？।؟]+|\n+")
_OTHERWISE = re.compile(f"[{UNSPACED}{MARKS}]")
_UNSPACED = re.compile(f"[{UNSPACED}]+")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,3}(?:\.\d{3}){2,}")

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
NUMBERS = {word: str(value) for value, word in enumerate(f"{_SMALL} eighteen nineteen twenty".split())}
NUMBERS |= {"first": "1", "third": "3", "fourth": "4", "fifth": "5", "thirty": "30", "forty": "40", "fifty": "50"}
NUMBERS |= {"hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000"}
del NUMBERS["one"], NUMBERS["zero"]  # words of grammar more often than of counting

NEGATIONS = {
    "ar": "لا لم لن ليس ليست غير بدون دون",
    "ca": "no mai cap sense ni",
    "cs": "ne není nikdy žádný bez nejsou nebyl nebyla",
    "da": "ikke aldrig ingen intet uden",
    "de": "nicht nie niemals kein keine keinen keinem keiner keines ohne weder",
    "el": "δεν μη μην ποτέ κανένας χωρίς",
    "en": "not no never none neither nor without cannot nobody nothing nowhere "
    "hardly barely unable fail failed fails lack lacks refuse refused refuses",
    "es": "no nunca jamás ningún ninguna ninguno sin ni",
    "fi": "ei eivät en emme ette eikä ilman koskaan",
    "fr": "ne pas jamais aucun aucune sans ni rien non",
    "he": "לא אין בלי אף",
    "hi": "नहीं न मत बिना कभी",
    "hu": "nem ne soha nincs nélkül sem",
    "id": "tidak bukan tanpa belum jangan",
    "it": "non mai nessun nessuno nessuna senza né",
    "ja": "ない ませ なし ぬ",
    "ko": "않 없 아니 못",
    "nl": "niet nooit geen zonder noch",
    "no": "ikke aldri ingen uten",
    "pl": "nie nigdy żaden żadna żadne bez ani",
    "pt": "não nunca jamais nenhum nenhuma sem nem",
    "ro": "nu niciodată niciun nicio fără nici",
    "ru": "не нет никогда ни без никто ничего",
    "sv": "inte aldrig ingen inget inga utan",
    "tr": "değil yok hiç asla olmadan",
    "uk": "не ні ніколи без жоден",
    "vi": "không chưa chẳng đừng",
    "zh": "不 没 無 无 未 非",
}
INSIDE = ("ja", "ko", "zh")  # where a negation is a part of what stands between spaces


class Vocabulary(dict[str, int]):
    """Word -> term in one language, filled as words are met; 0 for a stop word."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.numbers: dict[int, str] = {}  # term -> value
        self._term: Callable[[str], int] = term_of(language)
        self._negations = frozenset(NEGATIONS.get(language, NEGATIONS["en"]).split())

    def __missing__(self, word: str) -> int:
        if word[0].isdigit():
            term = self._number(_value(word))
        elif value := NUMBERS.get(word):
            term = self._number(value)
        else:
            stem = word[:-2] if word.endswith(("'s", "’s")) else word
            term = self._term(stem)
        if len(self) < LARGEST:
            self[word] = term
        return term

    def _number(self, value: str) -> int:
        term = self._term(f"#{value}")
        self.numbers[term] = value
        return term

    def negates(self, word: str) -> bool:
        """Whether a word, lower-cased, turns what is said around."""
        if self.language in INSIDE:
            return any(negation in word for negation in self._negations)
        return word in self._negations or word.endswith(("n't", "n’t"))


def _value(word: str) -> str:
    """A number as it is compared: 1,000 and 1.000.000 without their groups, 03 as 3."""
    if _GROUPED.fullmatch(word):
        word = word.replace(",", "").replace(".", "")
    return word.lstrip("0") or "0"


@cache
def vocabulary(language: str) -> Vocabulary:
    return Vocabulary(language)


def tokens(text: str, start: int = 0, end: int = 1 << 40) -> list[str]:
    """The words of a text as they are written. Unspaced scripts as pairs of characters."""
    if text.isascii() or not _OTHERWISE.search(text, start, end):
        return _TOKEN.findall(text, start, end)
    return [part for token in _MARKED.findall(text, start, end) for part in _parts(token)]


def _parts(token: str) -> Iterable[str]:
    at = 0
    for run in _UNSPACED.finditer(token):
        if run.start() > at:
            yield token[at : run.start()]
        word = run.group()
        yield from [word] if len(word) < 2 else (word[n : n + 2] for n in range(len(word) - 1))
        at = run.end()
    if at < len(token):
        yield token[at:]


@cache
def _speakers() -> dict[str, tuple[str, ...]]:
    """Function word -> the languages it is one of."""
    found: dict[str, list[str]] = {}
    for language, words in STOPWORDS.items():
        for word in words:
            found.setdefault(word, []).append(language)
    return {word: tuple(languages) for word, languages in found.items()}


def guessed(words: Sequence[str], *, sample: int = 60) -> str:
    """The language of a text by its first function words, lower-cased; English where there are none. Cheap, and no more than
    a guess: it decides how words are stemmed, on both sides alike."""
    votes: dict[str, int] = {}
    speakers = _speakers()
    for word in words[:sample]:
        for language in speakers.get(word, ()):
            votes[language] = votes.get(language, 0) + 1
    return max(votes, key=lambda language: (votes[language], language == "en")) if votes else "en"


class Told(NamedTuple):
    """A source as claims are compared with it. A sentence here is what stands between marks that end one: good enough to
    compare with, and found fast."""

    text: str  # lower-cased
    words: list[list[str]]  # lower-cased, sentence by sentence
    terms: list[list[int]]
    sets: list[set[int]]
    spans: list[tuple[int, int]]  # of the sentences, in the text
    everything: frozenset[int]
    numbers: frozenset[int]
    size: int  # words
    vocabulary: Vocabulary


@lru_cache(maxsize=512)
def told(text: str, language: str = "") -> Told:
    """A source taken apart. It is kept for the claims that follow: an answer has several sentences."""
    text = text.lower()
    spans, start = list[tuple[int, int]](), 0
    for end in _END.finditer(text):
        spans.append((start, end.start()))
        start = end.end()
    spans.append((start, len(text)))
    words = [tokens(text, *span) for span in spans]
    spans = [span for span, some in zip(spans, words, strict=True) if some]
    words = [some for some in words if some]
    known = vocabulary(language or guessed([word for some in words[:8] for word in some]))
    terms = [list(map(known.__getitem__, some)) for some in words]
    sets = list(map(set, terms))
    everything = frozenset().union(*sets)
    size = sum(map(len, terms))
    return Told(text, words, terms, sets, spans, everything, everything & known.numbers.keys(), size, known)
