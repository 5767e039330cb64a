"""Whether two questions ask the same. It knows English questions; of other languages it accepts only near copies.

A vector says what a question is about, and not what it asks: "from Oslo to Bergen" and "from Bergen to Oslo" are neighbours.
So two questions ask the same when nothing speaks against it and every word finds its like:

- the same kind of question (who, when, how many, whether …), numbers, negations, quantities and comparisons;
- each word of one has its like in the other, and the other way round: the same stem, a known synonym, or a vector near enough;
  names, rare words, and words with a neighbour that means something else, have only themselves;
- in the same order, save for what a preposition carries along: "in 1994" may stand at either end.

How sure that is, is the lower of two: the likeness of the whole, and that of the poorest pair of words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import Stemmer

from penstock.models import question_words as known

if TYPE_CHECKING:
    from penstock.types import Embedder, Vectors

__all__ = ["DEFAULT", "LONGEST_WORDS", "Alike", "Question", "Verdict"]

DEFAULT: Final = 0.75  # how sure is sure enough, measured by benchmarks/semantic_cache.py
LONGEST_WORDS: Final = 64  # a longer text is a document more than a question
SYNONYM: Final = 0.97  # likeness of two words that a table says mean the same
LIGHT: Final = 0.97  # what is left of it for each word that adds little and stands on one side only
FEW: Final = 8  # words that say something, in a question short enough to be built anew
LIKE: Final = 0.80  # least likeness of two words, each by itself

_WORD = re.compile(r"\d+(?:[.,:/]\d+)*(?:st|nd|rd|th|k)?\b|[^\W_]+(?:_[^\W_]+|_)?|[$€£¥₹%&+#]|[,;:?.!]")
_FRONTED = re.compile(r"^((?:in|on|at|during|for|since|by|with|under|within|according to) [^,?.!]{1,60}), ([^,]*)$")
_stems = Stemmer.Stemmer("english")


class Verdict(NamedTuple):
    """How sure it is that two questions ask the same, 0 to 1, and what speaks against it."""

    sure: float
    against: str = ""


class Content(NamedTuple):
    """A word that says something."""

    stem: str
    word: str
    role: str  # the preposition that carries it
    fixed: bool  # has only itself


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it is compared."""

    text: str
    vector: Vectors  # (dim,), unit length
    kind: str
    must: bool  # whether one has to, and not whether one can
    tenses: frozenset[str]
    first_person: str  # who comes first where both I and you occur
    sharp: Counter[str]
    content: tuple[Content, ...]
    grammar: Counter[str]  # all other words but articles
    words: tuple[str, ...]  # all words but articles


class Alike:
    """Compares questions with the vectors of one embedder. Safe to share between threads."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vector = lru_cache(maxsize=1 << 13)(lambda word: embedder.embed([word])[0])
        self._rare = lru_cache(maxsize=1 << 13)(lambda word: embedder.familiarity(word) < 1.0)

    def read(self, text: str) -> Question:
        """Take a question apart. It takes one embedding: a millisecond or two with the shipped encoder."""
        return self.parse(text, self._embedder.embed([text])[0])

    def parse(self, text: str, vector: Vectors) -> Question:
        plain = unicodedata.normalize("NFKC", text).replace("’", "'").replace("`", "'").replace('"', " ").strip()
        names = _names(plain)
        plain = re.sub(r"\bU\.?S\.?(?=\W|$)", "us_", plain).casefold()
        for pattern, by in known.SPELLED_OUT:
            plain = pattern.sub(by, plain)
        plain = _FRONTED.sub(r"\2 \1", known.POLITE.sub("", plain).rstrip(" ?"))
        plain = re.sub(r"\b(\w+) (and|or) (\w+)\b", _in_order, plain)
        kind, rest = _kind(plain)
        words = [known.IRREGULAR.get(word, word) for word in _WORD.findall(rest)]
        everything = _WORD.findall(plain)
        return Question(
            text=text,
            vector=vector,
            kind=kind,
            must=kind == "whether" and any(known.MODAL.get(word) == "must" for word in everything),
            tenses=frozenset(
                tense for tense, its in (("past", known.PAST), ("present", known.PRESENT)) if its & set(everything)
            ),
            first_person=_first_person(plain),
            sharp=Counter(
                known.SHARP[word] for word in words if word in known.SHARP and (kind, word) != ("how long", "last")
            ),
            content=self._content(words, kind, names),
            words=tuple(w for w in everything if w not in ("a", "an", "the", "which", "any") and w.isalnum()),
            grammar=Counter(
                w for w in everything if w in known.GRAMMAR and w not in ("a", "an", "the", "which", "any")
            ),
        )

    def compare(self, one: Question, other: Question) -> Verdict:
        """How sure it is that they ask the same."""
        if one.kind != other.kind and frozenset((one.kind, other.kind)) not in known.KINDS_ALIKE:
            return Verdict(0.0, f"kind: {one.kind}, {other.kind}")
        if one.must != other.must:
            return Verdict(0.0, "must")
        if one.tenses and other.tenses and not one.tenses & other.tenses:
            return Verdict(0.0, "tense")
        if one.first_person and other.first_person and one.first_person != other.first_person:
            return Verdict(0.0, "person")
        if one.sharp != other.sharp:
            return Verdict(0.0, f"words: {', '.join(sorted((one.sharp - other.sharp) + (other.sharp - one.sharp)))}")
        whole = float(one.vector @ other.vector)
        pairs, left = self._pairs(one.content, other.content)
        heavy = [word for word in left if word.word not in known.LIGHT and word.stem not in _LIGHT]
        if heavy or ({*left} & {*one.content} and {*left} & {*other.content}):
            return Verdict(0.0, f"alone: {', '.join(word.word for word in heavy or left)}")
        moved = (one.grammar - other.grammar) + (other.grammar - one.grammar)
        rebuilt = moved.total() > 1 and len(one.content) <= FEW
        if turned := _turned(pairs, rebuilt=rebuilt):
            return Verdict(0.0, f"order: {turned}")
        same_words = sorted(one.words) == sorted(other.words)
        if same_words and one.words != other.words and all(pair.at == pair.to for pair in pairs):
            return Verdict(0.0, "order of the small words")
        poorest = min((pair.likeness for pair in pairs), default=0.0)
        return Verdict(min(whole, poorest) * LIGHT ** len(left))

    def _content(self, words: Sequence[str], kind: str, names: frozenset[str]) -> tuple[Content, ...]:
        found, role = [], ""
        for word in words:
            if word in known.PREPOSITIONS:
                role = known.ROLES_ALIKE.get(word, word)
            elif word in known.BREAKS:
                role = ""
            if word in known.SHARP and not (kind == "how long" and word == "last"):
                found.append(Content(known.SHARP[word], word, role, fixed=True))
                continue
            if word in known.GRAMMAR or word in ",;:?.!":
                continue
            number = _number(word)
            stem = number or known.CURRENCY.get(word) or _stems.stemWord(word)
            if kind == "how much" and known.SYNONYMS.get(word) == "price":
                continue
            if kind == "how long" and word in ("take", "last"):
                continue
            fixed = bool(
                number or any(c.isdigit() for c in word) or word in known.APART or stem in _APART or word in known.CURRENCY
                or word in names or self._rare(word)
            )  # fmt: skip
            found.append(Content(stem, word, role, fixed))
        return tuple(found)

    def _pairs(self, one: Sequence[Content], other: Sequence[Content]) -> tuple[list[_Pair], list[Content]]:
        """The likest words first, each once; and those that are left over. A word said twice may meet the same one twice."""
        pairs: list[_Pair] = []
        ones, others = dict(enumerate(one)), dict(enumerate(other))
        for likeness in (_by_stem, _by_table, self._by_vector):  # the cheap ways first
            scored = [
                _Pair(like, n, m, a, b)
                for n, a in ones.items()
                for m, b in others.items()
                if (like := likeness(a, b)) >= LIKE
            ]
            scored.sort(key=lambda pair: (-pair.likeness, abs(pair.at - pair.to)))
            for pair in scored:
                if pair.at in ones and pair.to in others:
                    pairs.append(pair)
                    del ones[pair.at], others[pair.to]
        said = {word.stem for pair in pairs for word in (pair.one, pair.other)}
        return pairs, [
            word for word in (*ones.values(), *others.values()) if word.stem not in said or word.stem[0].isdigit()
        ]

    def _by_vector(self, one: Content, other: Content) -> float:
        return 0.0 if one.fixed or other.fixed else float(self._vector(one.word) @ self._vector(other.word))


def _by_stem(one: Content, other: Content) -> float:
    return float(one.stem == other.stem)


def _by_table(one: Content, other: Content) -> float:
    group = known.SYNONYMS.get(one.word) or _SYNONYMS.get(one.stem)
    return SYNONYM if group and group == (known.SYNONYMS.get(other.word) or _SYNONYMS.get(other.stem)) else 0.0


_SYNONYMS: Final = {_stems.stemWord(word): group for word, group in known.SYNONYMS.items()}
_APART: Final = frozenset(map(_stems.stemWord, known.APART))
_LIGHT: Final = frozenset(map(_stems.stemWord, known.LIGHT))


class _Pair(NamedTuple):
    likeness: float
    at: int  # place in one
    to: int  # place in the other
    one: Content
    other: Content


def _kind(plain: str) -> tuple[str, str]:
    """What kind of question it is, and the rest of it. Whichever frame comes first decides."""
    best: tuple[int, int, str, str] | None = None
    for rank, (kind, pattern) in enumerate(known.FRAMES):
        found = pattern.search(plain)
        if found and (best is None or (found.start(), rank) < best[:2]):
            best = (found.start(), rank, kind, f"{plain[: found.start()]} ? {plain[found.end() :]}")
    return (best[2], best[3]) if best else ("", plain)


def _names(text: str) -> frozenset[str]:
    """Words that are written like names: with a capital inside a sentence."""
    words = re.findall(r"[^\W_]+", text)
    capitals = [word for word in words if word[0].isupper()]
    if len(capitals) * 2 > len(words) + 2:  # a headline, or somebody shouts
        return frozenset()
    inside = re.findall(r"(?<![.?!])(?<!^)\s[\"'(]?([^\W\d_][^\W_]*)", text)
    return frozenset(word.casefold() for word in inside if word[0].isupper() and word != "I")


def _number(word: str) -> str:
    """A number in one way of writing; empty where it is none."""
    if word in known.NUMBERS:
        return known.NUMBERS[word]
    if not word[0].isdigit():
        return ""
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", word)
    if plain.endswith("k"):
        return plain[:-1] + "000"
    plain = re.sub(r"(?:st|nd|rd|th)$", "", plain)
    return re.sub(r"\.0+$", "", plain)


def _first_person(plain: str) -> str:
    found = re.findall(r"\b(?:(i|me|my|mine)|(you|your|yours))\b", plain)
    if len({bool(i) for i, _ in found}) < 2:
        return ""
    return "i" if found[0][0] else "you"


def _turned(pairs: Sequence[_Pair], *, rebuilt: bool) -> str:
    """Two words that stand the other way round where nothing says that they may: that is what makes two near questions.

    A preposition may carry a word elsewhere, a superlative may follow what it speaks of, and a sentence that was built
    anew (rebuilt) may have its words in another order, save for names and their kind.
    """
    superlatives = sum(pair.one.word.endswith("est") for pair in pairs)
    for number, pair in enumerate(pairs):
        if (
            "from" in (pair.one.role, pair.other.role)
            and pair.one.role != pair.other.role
            and pair.one.role
            and pair.other.role
        ):
            return pair.one.word
        for second in pairs[:number]:
            if (pair.at - second.at) * (pair.to - second.to) >= 0:
                continue
            carried = any(p.one.role and p.one.role == p.other.role for p in (pair, second))
            if carried and pair.one.role != second.one.role:
                continue
            if superlatives == 1 and (pair.one.word.endswith("est") or second.one.word.endswith("est")):
                continue
            if rebuilt and not (pair.one.fixed and second.one.fixed):
                continue
            return f"{pair.one.word}, {second.one.word}"
    return ""


def _in_order(found: re.Match[str]) -> str:
    """Two words with "and" between them, in alphabetical order."""
    first, second = sorted((found[1], found[3]))
    return f"{first} {found[2]} {second}"
