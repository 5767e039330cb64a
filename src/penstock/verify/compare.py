"""Numbers, units, dates, names and negations of a claim beside those of its sources, by rule.

A rule is sure of little and right about it: where a source says something else in the same place (another date, another unit,
the same words negated), the claim is contradicted whatever a model thinks. A number or a name that is just not there is no more
than a reason to doubt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal, NamedTuple

from penstock.text.quantities import Date, Quantity, agrees, dates, quantities, same
from penstock.verify.lexical import Compared, Said, nearest
from penstock.verify.words import Told

__all__ = ["CONTRADICTED", "Mismatch", "mismatches", "negated", "swapped"]

Kind = Literal["number", "unit", "date", "name", "negation"]

CONTRADICTED = 0.1  # support at most of what a rule found to be otherwise in the sources: it is right nine times in ten
ALIKE = 0.8  # share of the words of both sentences that are the same, from where on only a negation can be what tells them apart
PLACE = 0.5  # share of a claim's words that a sentence has to have for its number to be the one that was meant
AHEAD = 0.3  # how much more of them than any other sentence with such a value
SAME = 0.7  # share of a claim's words that stand in the same order in a sentence of a source that is the same but for a value
LONGEST_SWAP = 4  # words that may have taken the place of others
CAPITALISED = ("de", "lb")  # languages that write every noun with a capital

_NAME = re.compile(r"(?<=[^\s.!?:\"“«(\[] )[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*")
_MAY_COUNT = re.compile(
    r"\d|hundred|thousand|million|(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|teen|ty)\b", re.I
)
_BOUND = re.compile(  # "before 2005" may be true of any year
    r"\b(?:before|after|by|until|since|less|more|fewer|over|under|least|most|up to|within|between)\b", re.I
)
_GOES_ON = re.compile(r"\w|[.,:/-]\d")
_NOT = re.compile(r"\b(?:not|never|no)\b|n['’]t\b", re.I)
_DENIES_NOTHING = re.compile(r"\bor (?:may |might )?not\b|\b(?:nothing|none|nobody) but\b|\bnot only\b", re.I)
_WORD = re.compile(r"[^\W\d]{4,}")
_OPEN_NUMBER = re.compile(r"(?<=\d)(?: ?([.,]) )(?=\d)")
_PIECE = re.compile(r"\d[\d.,:/]*\d|\w+")


class Mismatch(NamedTuple):
    """Something of a claim that its sources do not have, or have otherwise: claim[start:end]."""

    kind: Kind
    start: int
    end: int
    said: str
    instead: str = ""  # what the sources say, where that can be told
    source: int = -1  # which of them
    at: tuple[int, int] = (0, 0)  # where in it

    @property
    def why(self) -> str:
        """What is wrong, in words."""
        if self.kind == "negation":
            return f"the sources say otherwise: '{self.instead}'"
        return f"{self.kind} '{self.said}' is not in the sources" + (
            f", which say '{self.instead}'" if self.instead else ""
        )


@lru_cache(maxsize=256)
def _of_source(text: str) -> tuple[list[Quantity], list[Date]]:
    return quantities(text), dates(text)


@lru_cache(maxsize=256)
def _closed(text: str) -> str:
    """A text without the spaces that stand inside its numbers, as in "1, 600"; "" where there are none."""
    closed = _OPEN_NUMBER.sub(r"\1", text)
    return closed if closed != text else ""


def mismatches(claim: str, sources: Sequence[str], *, asked: str = "", language: str = "en") -> list[Mismatch]:
    """The numbers, units, dates and names of a claim that no source has, nor the question."""
    found = _names(claim, sources, asked) if language not in CAPITALISED else []
    if found:
        days = dates(claim)
        found = [one for one in found if not any(day.start <= one.start < day.end for day in days)]
    if _MAY_COUNT.search(claim):
        found += _counted(claim, sources, asked)
    return sorted(found, key=lambda one: one.start)


def _counted(claim: str, sources: Sequence[str], asked: str) -> list[Mismatch]:
    everywhere = (*sources, *filter(None, map(_closed, sources)), asked)
    all_days = dates(claim)
    days = [date for date in all_days if not _stands(claim[date.start : date.end], everywhere)]
    numbers = [
        number
        for number in quantities(claim)
        if not any(date.start <= number.start < date.end for date in all_days)
        and not _trivial(number, claim)
        and not _stands(claim[number.start : number.end], everywhere)
    ]
    if not days and not numbers:
        return []  # and nothing of the sources had to be taken apart
    there = [(n, *_of_source(source)) for n, source in enumerate(sources)]
    if asked:
        there.append((-1, *_of_source(asked)))
    found = [
        _missing("date", claim, date, ((n, sources[n], other) for n, _, others in there if n >= 0 for other in others))
        for date in days
        if not any(agrees(date, other) for _, _, others in there for other in others)
    ]
    for number in numbers:
        if any(same(number, other) for _, others, _ in there for other in others):
            continue
        all_ = [(n, sources[n], other) for n, others, _ in there if n >= 0 for other in others if other.kind]
        if number.kind and (units := [one for one in all_ if _unit_differs(number, one[2])]):
            found.append(_missing("unit", claim, number, units))
        else:
            alike = [one for one in all_ if one[2].kind == number.kind]
            found.append(_missing("number", claim, number, alike if number.kind else ()))
    return found


def _stands(said: str, texts: Iterable[str]) -> bool:
    """Whether a value stands in a text letter for letter, and not as a part of a longer one."""
    for text in texts:
        at = text.find(said)
        while at >= 0:
            before, after = text[max(0, at - 1) : at], text[at + len(said) : at + len(said) + 2]
            if not (before.isalnum() or before in (".", ",", "-", "$", "€", "£")) and not _GOES_ON.match(after):
                return True
            at = text.find(said, at + 1)
    return False


def _names(claim: str, sources: Sequence[str], asked: str) -> list[Mismatch]:
    """Names of which no word is in a source: written with a capital, and not because a sentence begins."""
    found = []
    for name in _NAME.finditer(claim):
        words = [word for word in re.split(r"[\s'’-]+", name.group()) if len(word) > 2]
        if words and not any(word.lower() in text.lower() for word in words for text in (*sources, asked)):
            found.append(Mismatch("name", *name.span(), name.group()))
    return found


def _trivial(number: Quantity, claim: str) -> bool:
    """One, two and three in letters count things that the sources may list."""
    return number.value in (0.0, 1.0, 2.0, 3.0) and claim[number.start].isalpha()


def _unit_differs(said: Quantity, there: Quantity) -> bool:
    pounds = "pound" in said.unit or "pound" in there.unit  # money or mass
    return said.plain == there.plain and not pounds


def _missing(
    kind: Kind, claim: str, said: Quantity | Date, candidates: Iterable[tuple[int, str, Quantity | Date]]
) -> Mismatch:
    """With what the sources say instead, where exactly one value stands in a sentence that is about the same."""
    text = claim[said.start : said.end]
    missing = Mismatch(kind, said.start, said.end, text)
    bound = _BOUND.findall(claim[max(0, said.start - 24) : said.start])
    if _NOT.search(claim):
        return missing
    alike: dict[str, tuple[float, Mismatch]] = {}
    for number, source, other in candidates:
        at, instead = (other.start, other.end), source[other.start : other.end]
        before = source[max(0, at[0] - 24) : at[0]].lower()
        if bound and bound[-1].lower() not in before:
            continue
        shared = _shared(claim, said, source, at)
        if shared >= PLACE and shared > alike.get(instead, (0.0, missing))[0]:
            alike[instead] = shared, Mismatch(kind, said.start, said.end, text, instead, number, at)
    order = sorted((shared for shared, _ in alike.values()), reverse=True)
    if not order or (len(order) > 1 and order[0] < order[1] + AHEAD):
        return missing
    return max(alike.values(), key=lambda one: one[0])[1]


def _shared(claim: str, said: Quantity | Date, source: str, at: tuple[int, int]) -> float:
    """The share of a claim's words that stand in the sentence of a source around a place."""
    start = max(source.rfind(". ", 0, at[0]), source.rfind("\n", 0, at[0])) + 1
    end = next((n for n in (source.find(". ", at[1]), source.find("\n", at[1])) if n >= 0), len(source))
    around = {word[:5] for word in _WORD.findall(source[start:end].lower())}
    own = {word[:5] for word in _WORD.findall(f"{claim[: said.start]} {claim[said.end :]}".lower())}
    return len(own & around) / len(own) if own else 0.0


def negated(claim: str, said: Said, compared: Compared, source: Told, sources: str) -> list[Mismatch]:
    """One where the sentence of the source that is nearest says the same with a negation more, or one less.

    claim, sources: what `said` and `source` were made of. `at` is a place in sources.
    """
    known = source.vocabulary
    for n in nearest(compared, 1):
        negations = sum(map(known.negates, said.words)), sum(map(known.negates, source.words[n]))
        if sorted(negations) != [0, 1]:
            continue
        turned = {known[word] for word in (*said.words, *source.words[n]) if known.negates(word)} | {0}
        own, theirs = set(said.content) - turned, source.sets[n] - turned
        if len(own) >= 2 and len(own & theirs) >= ALIKE * len(own | theirs):
            at = source.spans[n]
            if _DENIES_NOTHING.search(claim) or _DENIES_NOTHING.search(sources[slice(*at)]):
                continue
            return [Mismatch("negation", 0, len(claim), claim, sources[slice(*at)].strip(), 0, at)]
    return []


def swapped(rules: list[Mismatch], claim: str, compared: Compared, source: Told, sources: str) -> list[Mismatch]:
    """The rules, with what the source says instead where its nearest sentence is the same but for a number, a date or a name."""
    if not any(not rule.instead and rule.kind != "negation" for rule in rules):
        return rules
    for n in nearest(compared, 1):
        start, end = source.spans[n]
        own, theirs = list(_PIECE.finditer(claim)), list(_PIECE.finditer(sources, start, end))
        a_words, b_words = ([piece.group().lower() for piece in pieces] for pieces in (own, theirs))
        matcher = SequenceMatcher(None, a_words, b_words, autojunk=False)
        if len(own) < 6 or sum(block.size for block in matcher.get_matching_blocks()) < SAME * len(own):
            return rules
        places = []
        for tag, a, b, c, d in matcher.get_opcodes():
            if tag == "replace" and b - a <= LONGEST_SWAP and d - c <= LONGEST_SWAP:
                places.append((own[a].start(), own[b - 1].end(), theirs[c].start(), theirs[d - 1].end()))
        return [_with_place(rule, places, sources) for rule in rules]
    return rules


def _with_place(rule: Mismatch, places: Sequence[tuple[int, int, int, int]], sources: str) -> Mismatch:
    for start, end, there, until in places:
        instead = sources[there:until]
        if rule.instead or rule.kind == "negation" or not (start < rule.end and rule.start < end):
            continue
        match rule.kind:
            case "name":
                alike = re.search("[A-Z]", instead) is not None
            case "date":
                alike = bool(dates(instead))
            case _:
                alike = bool(quantities(instead))
        if alike:
            return rule._replace(instead=instead, source=0, at=(there, until))
    return rule
