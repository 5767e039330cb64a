"""Stand-ins for private values: tokens such as PERSON_1A, and look-alikes such as an e-mail address at example.org.

A token is a label, a number that no other value in its scope has, and a letter for one way of writing that value: PERSON_1A
is "Anna Schmidt", PERSON_1B is "Frau Schmidt". It ends by itself, so nothing that stands beside it can become part of it.
This module knows how stand-ins look and which values are the same; `Scope` in `scope.py` knows which stand for what.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple

__all__ = [
    "BEHIND",
    "KEEP_TOKENS",
    "LABELS",
    "LETTERS",
    "LITERAL",
    "Name",
    "Place",
    "Shape",
    "ends_there",
    "fold",
    "label_of",
    "name_of",
    "same",
    "shape_of",
    "spelled",
    "token",
]

KEEP_TOKENS = (
    "Words such as PERSON_1A, EMAIL_2A or DATE_3B stand for private values. Use them as you would use the values, and copy them "
    "exactly as they are written: do not translate, shorten, split or explain them. Tokens with the same number stand for the "
    "same person or thing, whatever their last letter is."
)

LETTERS = "ABCDEFGJKLPQUVWXYZ"  # none that begins an ending: 1st, 2nd, 3rd, 1m, 1h
LITERAL = "LITERAL"  # stands for words of the text that look like a stand-in

_NAMED = {
    "PERSON": "PERSON", "ORGANIZATION": "ORG", "LOCATION": "LOCATION", "ADDRESS": "ADDRESS", "ZIP_CODE": "ADDRESS",
    "STREET_ADDRESS": "ADDRESS", "EMAIL_ADDRESS": "EMAIL", "PHONE_NUMBER": "PHONE", "DATE_OF_BIRTH": "BIRTHDAY",
    "DATE_TIME": "DATE", "CREDIT_CARD": "CARD", "IBAN_CODE": "IBAN", "IP_ADDRESS": "IPADDRESS", "MAC_ADDRESS": "MACADDRESS",
    "CRYPTO": "WALLET", "URL": "URL", "USERNAME": "USERNAME", LITERAL: LITERAL,
}  # fmt: skip
_BY_LAST_WORD = {
    "PASSPORT": "PASSPORT", "ACCOUNT": "ACCOUNT", "BANK": "ACCOUNT", "NUMBER": "IDNUMBER", "ID": "IDNUMBER",
    "LICENSE": "IDNUMBER", "SSN": "IDNUMBER", "NAME": "PERSON", "ADDRESS": "ADDRESS", "BIRTH": "BIRTHDAY", "DATE": "DATE",
    "PHONE": "PHONE", "EMAIL": "EMAIL",
}  # fmt: skip
LABELS = tuple(sorted({*_NAMED.values(), *_BY_LAST_WORD.values(), "SECRET", "VALUE"}))


@lru_cache(maxsize=1024)
def label_of(kind: str) -> str:
    """The label that values of a type have in tokens: short, one word, one of `LABELS`."""
    if kind in _NAMED:
        return _NAMED[kind]
    if kind.startswith("SECRET"):
        return "SECRET"
    if len(words := kind.split("_")) > 1 and re.fullmatch("[A-Z]{2}", words[0]):
        return _BY_LAST_WORD.get(words[-1], "IDNUMBER")  # a country's: UK_NINO, PL_PESEL
    return _BY_LAST_WORD.get(words[-1], "VALUE")


def token(label: str, number: int, letter: str) -> str:
    return f"{label}_{number}{letter}"


# ---------------------------------------------------------------- how tokens look after a model had them


_FOLD = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # full-width ASCII
_FOLD |= {
    code: ord("0") + unicodedata.digit(chr(code))
    for code in range(0x80, sys.maxunicode)
    if unicodedata.category(chr(code)) == "Nd"
}
_FOLD |= dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2015, 0x2212, 0xFE63), ord("-"))
_FOLD |= dict.fromkeys((0xA0, 0x2007, 0x2009, 0x202F, 0x3000), ord(" "))
_FOLD |= dict.fromkeys((0x200C, 0x200D, 0x2060, 0xFEFF, 0xAD), 0x200B)  # what is not seen
_FOLD |= {ord("ı"): ord("i"), ord("İ"): ord("I"), ord("＿"): ord("_"), ord("ſ"): ord("s"), 0x212A: ord("K")}


def fold(text: str) -> str:
    """The text with full-width letters, digits of other scripts, dashes and spaces as in ASCII; each place stays where it is."""
    return text if text.isascii() else text.translate(_FOLD)


_UNDERSCORES = (
    "_", r"\_", r"\\_", "__", "&#95;", "&#x5f;", "&lowbar;", r"\u005f", "%5f", "\u200b_", "_\u200b", "\u200b_\u200b",
    "_**", "**_", "*_", "_*",
)  # fmt: skip
_FIRM = tuple(mark + end for mark in _UNDERSCORES for end in ("", " ", "\n", "\r\n", r"\n", "\n\n"))
_LOOSE = (
    "", " ", "  ", "-", "\n", "\r\n", " \n", "-\n", "-\r\n", "\n\n", r"\n", " - ", "- ", " -", " #", "#", ".", "\u200b",
    r"\-", " _", "**", "*", "~", "/", "=",
)  # fmt: skip
AHEAD = 5  # characters after a place that can tell whether it is one
BEHIND = 6  # and before
_JSON_BEFORE = r"(?<=\\u00[0-9A-Fa-f][0-9A-Fa-f])|(?<=\\[nrt])"  # an escaped "<", an escaped line break
_LATIN_BEFORE = rf"(?:(?<![A-Za-z0-9\u00c0-\u024f])|{_JSON_BEFORE})"  # "update 2A" holds no DATE
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # scripts whose words have no spaces between them
_BEFORE = rf"(?<![^\W{_UNSPACED}])"
_ENDINGS = "s|es|en|ens|e|em|er|n"  # of cases and plurals; and no more, since "2am" and "3rd" are none
_AFTER = rf"(?=(?:['\u2019]?(?:{_ENDINGS}))?(?:[\W_{_UNSPACED}]|\Z))"


class _Tree:
    """Words, letter by letter, as a pattern that tries each letter once."""

    def __init__(self, words: Iterable[str]) -> None:
        self.branches: dict[str, Any] = {}
        self.longest = 0
        for word in words:
            self.longest = max(self.longest, len(word))
            branch = self.branches
            for letter in word:
                branch = branch.setdefault(letter, {})
            branch[""] = {}

    def whole(self) -> str:
        """Matches a word, the longest first."""
        return _whole(self.branches)

    def begun(self, after: str, *, rooted: bool = False) -> str:
        """Matches what a word may begin with at the very end of a text, or a word and then `after`. rooted: also nothing."""
        return _begun(self.branches, after, root=not rooted)


def _whole(branches: dict[str, Any]) -> str:
    ways = [re.escape(letter) + _whole(more) for letter, more in branches.items() if letter]
    if not ways:
        return ""
    if "" in branches:
        return f"(?:{'|'.join(ways)})?"
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


def _begun(branches: dict[str, Any], after: str, *, root: bool) -> str:
    ways = [re.escape(letter) + _begun(more, after, root=False) for letter, more in branches.items() if letter]
    if "" in branches:
        ways.append(after)
    if not root:
        ways.append(r"\Z")
    return f"(?:{'|'.join(ways)})"


_MARKS = _Tree((*_FIRM, *_LOOSE))
_FIRM_SET = frozenset(_FIRM)


class Place(NamedTuple):
    """Where a stand-in may be in a text: text[start:end] with its letter, text[start:bare] without."""

    start: int
    end: int
    bare: int
    label: str  # "" for a look-alike
    number: int
    letter: str  # "" where there is none
    firm: bool  # written as only tokens are
    settled: bool  # whatever follows, it is the same


class Shape:
    """Where tokens of some labels, and some look-alikes, may stand in a folded text, and where one may have begun.

    Both look at each character a bounded number of times. likes: look-alikes, folded and in lower case.
    """

    def __init__(self, labels: Iterable[str], likes: Iterable[str] = ()) -> None:
        self._names, self._likes = _Tree(labels), _Tree(likes)
        self._longest = max(self._names.longest + _MARKS.longest + 9, self._likes.longest)
        name, like = "(?!)", "(?!)"
        if self._names.branches:
            names = self._names.whole()
            name = f"{_LATIN_BEFORE}(?i:{names})|(?:{names})(?=_[1-9])"
        if self._likes.branches:
            like = f"{_BEFORE}(?i:{self._likes.whole()}){_AFTER}"
        self._find = re.compile(f"({name})|{like}").search
        self._like = re.compile(like).match

    @cached_property
    def _begun(self) -> Callable[[str, int], re.Match[str] | None]:
        ways: list[str] = []
        if self._names.branches:
            names, begun = self._names.whole(), self._names.begun("(?!)")
            ways += (begun, f"{_LATIN_BEFORE}(?i:{begun})")
        if self._likes.branches:
            ways.append(f"{_BEFORE}(?i:{self._likes.begun('(?!)')})")
        if self._names.branches:
            ways.append(f"({_LATIN_BEFORE}(?i:{names}))|({names})(?=_)")
        else:
            ways.append("(?!)()()")
        return re.compile("|".join(ways)).search

    def find(self, text: str, at: int) -> Place | None:
        """The first place from a position on. The text is folded."""
        tail = None
        while (found := self._find(text, at)) and found[1] is not None and not (tail := _tail()(text, found.end())):
            if (like := self._like(text, found.start())) is not None:
                found = like
                break
            at = found.start() + 1
        if found is None:
            return None
        if tail is None:
            end = found.end()
            return Place(found.start(), end, end, "", 0, "", firm=True, settled=end + AHEAD <= len(text))
        label, (mark, number, gap, letter), end = found[1], tail.groups(), tail.end()
        firm, bare = mark.lower() in _FIRM_SET, tail.end(2)
        if letter is None:
            settled = bare + 3 <= len(text) or text[bare : bare + 1] not in ("", "\\", "_", "-")
        else:
            settled = (firm and not gap) or end + AHEAD <= len(text)
        if letter is None or (
            gap and not (firm and ends_there(text, end))
        ):  # "PERSON_1_A" is a token, "PERSON_1-Akte" is not
            end, letter = bare, ""
        return Place(found.start(), end, bare, label.upper(), int(number), letter.upper(), firm, settled)

    def begun(self, text: str, at: int) -> int:
        """Where a stand-in may have begun whose end is still to come; the length of the text where none has."""
        at = max(at, len(text) - self._longest)
        while found := self._begun(text, at):
            spaced, bare = found.groups()
            if spaced is None and bare is None:
                return found.start()
            if spaced is not None and _tail_begun()(text, found.end()):
                return found.start()
            if _number_begun(text, found.end()):
                return found.start()
            at = found.start() + 1
        return len(text)


# What stands behind a name is the same for all names. It is compiled once: a pattern with both in it takes twenty milliseconds.
_NUMBER_BEGUN = r"[1-9][0-9]{0,8}\\?[_-]?\Z"
_number_begun = re.compile(rf"_(?:\Z|{_NUMBER_BEGUN})").match


@cache
def _tail() -> Callable[[str, int], re.Match[str] | None]:
    letter = rf"(?:(\\?[_-])?([{LETTERS}{LETTERS.lower()}]))?"
    return re.compile(f"((?i:{_MARKS.whole()}))([1-9][0-9]{{0,8}}){letter}").match


@cache
def _tail_begun() -> Callable[[str, int], re.Match[str] | None]:
    return re.compile(f"(?i:{_MARKS.begun(_NUMBER_BEGUN, rooted=True)})").match


@lru_cache(maxsize=64)
def shape_of(labels: AbstractSet[str], likes: AbstractSet[str]) -> Shape:
    """Made once: it takes milliseconds."""
    return Shape(sorted(labels), sorted(likes))


_ends_there = re.compile(_AFTER).match


def ends_there(text: str, at: int) -> bool:
    """Whether a word could end at this place, but for the ending of a case."""
    return _ends_there(text, at) is not None


# ---------------------------------------------------------------- which values are the same


def same(label: str, value: str) -> str:
    """What all ways of writing one value have in common. Names have a look of their own: `name_of`."""
    folded = " ".join(unicodedata.normalize("NFKC", value).casefold().split())
    if label == LITERAL:
        return value
    if label in ("PHONE", "CARD", "IBAN", "IDNUMBER", "PASSPORT", "ACCOUNT", "MACADDRESS"):
        return "".join(filter(str.isalnum, folded)) or folded
    return value if label in ("SECRET", "WALLET") else folded


class Name(NamedTuple):
    """A person's name, taken apart. words: in lower case, without titles; an initial is one letter."""

    words: tuple[str, ...]
    gender: str  # "f" or "m" where a title says it

    @property
    def initials(self) -> tuple[str, ...]:
        return tuple(word[0] for word in self.words)


_FEMALE = frozenset(
    "frau mrs ms miss madame mme mademoiselle mlle señora sra señorita srta signora signorina sigra pani fru hanım mevrouw mevr "
    "senhora госпожа г-жа السيدة श्रीमती 女士 小姐".split()
)
_MALE = frozenset(
    "herr herrn mr mister monsieur señor sr signor signore sig pan herre bey meneer dhr senhor господин г-н السيد श्री 先生".split()
)
_TITLES = frozenset(
    "dr prof doctor doktor docteur dottore dott dottssa ing dipl phd md sir dame rev hon mag don doña dom maître me de het "
    "доктор профессор دكتور الدكتور डॉ さん 様 さま 氏 님 씨 博士 教授 老师".split()
)
_ATTACHED = re.compile("(女士|小姐|先生|さん|さま|様|氏|님|씨|博士|教授|老师)$")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019\-][^\W\d_]+)*")


def name_of(value: str) -> Name:
    """Take a person's name apart: 'Frau Dr. Anna Schmidt', 'Schmidt, Anna' and 'ANNA SCHMIDT' have the same words."""
    words, gender = [], ""
    text = unicodedata.normalize("NFKC", value).casefold().replace("\u2019", "'")
    for word in _WORD.findall(re.sub(r"'s\b", "", text)):
        if (found := _ATTACHED.search(word)) and found.start():
            words.append(word[: found.start()])
            word = found[0]
        if word in _FEMALE:
            gender = "f"
        elif word in _MALE:
            gender = "m"
        elif word not in _TITLES:
            words.append(word)
    return Name(tuple(sorted(set(words))), gender)


def spelled(value: str) -> Iterator[tuple[int, int]]:
    """The words of a name as they are written, titles left out: value[start:end]."""
    for found in _WORD.finditer(value):
        if found[0].casefold() not in _FEMALE | _MALE | _TITLES:
            yield found.span()
