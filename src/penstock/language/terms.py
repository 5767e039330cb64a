"""What a translation must not change: numbers, dates, codes, addresses, and the terms of a glossary."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from penstock.text.quantities import agrees, dates, quantities, same

__all__ = ["Glossary", "Lost", "Marked", "kept_apart", "lost", "marked"]

_VERBATIM = re.compile(
    r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|`[^`\n]+`|\{\w*\}|%\(\w+\)s"  # addresses, code, gaps
    r"|\b(?=[\w/-]*\d)(?=[\w/-]*[A-Z])[A-Z0-9]+(?:[-/][A-Z0-9]+)*\b"  # codes: SKU-4711, B2B, EN-60950
    r"|#\d+\b|\bv?\d+(?:\.\d+){2,}\b"
)
_MARK = re.compile(r"\[\[\s*(\d{1,3})\s*\]\]")


class Lost(NamedTuple):
    """Something of the original that a translation does not have."""

    kind: str  # "term", "verbatim", "number", "date"
    text: str


class Marked(NamedTuple):
    """A text with [[0]], [[1]] … in place of what must stay, and what that is."""

    text: str
    held: tuple[str, ...]


@dataclass(frozen=True)
class Glossary:
    """Terms that stay as they are, and terms that have one translation: (term, language) -> translation."""

    keep: tuple[str, ...] = ()
    terms: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @cached_property
    def _keep(self) -> re.Pattern[str] | None:
        words = sorted(filter(None, self.keep), key=len, reverse=True)
        return re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words)) if words else None

    def found(self, text: str) -> list[tuple[int, int]]:
        """Where terms stand that stay as they are."""
        return [match.span() for match in self._keep.finditer(text)] if self._keep else []

    def wanted(self, text: str, target: str) -> list[tuple[str, str]]:
        """(term, translation) of the terms in a text that have one in a language."""
        known = {term: said for (term, language), said in self.terms.items() if language == target.partition("-")[0]}
        return [(t, said) for t, said in known.items() if re.search(rf"(?<!\w){re.escape(t)}(?!\w)", text, re.I)]


def kept_apart(text: str, glossary: Glossary) -> list[tuple[int, int]]:
    """(start, end) of what must stand in a translation word for word, in order and apart from each other."""
    spans = sorted([match.span() for match in _VERBATIM.finditer(text)] + glossary.found(text))
    found: list[tuple[int, int]] = []
    for start, end in spans:
        if not found or start >= found[-1][1]:
            found.append((start, end))
        elif end > found[-1][1]:
            found[-1] = (found[-1][0], end)
    return found


def lost(original: str, translation: str, glossary: Glossary, target: str) -> list[Lost]:
    """What of the original the translation does not have. Numbers and dates may be written as the language writes them."""
    missing = [
        Lost("verbatim", original[a:b]) for a, b in kept_apart(original, glossary) if original[a:b] not in translation
    ]
    missing += [
        Lost("term", term)
        for term, said in glossary.wanted(original, target)
        if said.lower() not in translation.lower()
    ]
    apart = kept_apart(original, glossary)
    theirs, days = quantities(translation), dates(translation)
    own_days = [date for date in dates(original) if not _within(date.start, apart)]
    for date in own_days:
        if not any(agrees(date, other) for other in days) and original[date.start : date.end] not in translation:
            missing.append(Lost("date", original[date.start : date.end]))
    for number in quantities(original):
        said = original[number.start : number.end]
        if _within(number.start, apart) or any(d.start <= number.start < d.end for d in own_days) or said.isalpha():
            continue
        bare = re.sub(r"[^\d.,]", "", said).strip(".,")
        if not any(same(number, other) or same(other, number) for other in theirs) and bare not in translation:
            missing.append(Lost("number", said))
    return missing


def _within(place: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in spans)


def marked(text: str, glossary: Glossary, *, days: bool = False) -> Marked:
    """The text with marks in place of what must stay: what is verbatim, and numbers; days: whole dates too."""
    spans = kept_apart(text, glossary)
    if days:
        spans += [(date.start, date.end) for date in dates(text) if not _within(date.start, spans)]
    numbers = [(m.start(), m.end()) for m in re.finditer(r"\d[\d.,:/]*\d|\d", text) if not _within(m.start(), spans)]
    parts, held, at = list[str](), list[str](), 0
    for start, end in sorted([*spans, *numbers]):
        if start < at:
            continue
        parts += [text[at:start], f"[[{len(held)}]]"]
        held.append(text[start:end])
        at = end
    return Marked("".join([*parts, text[at:]]), tuple(held))


def restored(text: str, held: Sequence[str]) -> tuple[str, bool]:
    """A translation with what was held in the places of its marks, and whether every mark stood in it exactly once."""
    seen: list[int] = []

    def back(found: re.Match[str]) -> str:
        number = int(found[1])
        seen.append(number)
        return held[number] if number < len(held) else ""

    return _MARK.sub(back, text), sorted(seen) == list(range(len(held)))
