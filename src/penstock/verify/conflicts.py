"""Sources that disagree: two sentences of different documents that say the same, but for a number, a date, or a not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

from penstock.text.quantities import agrees, dates, quantities
from penstock.types import Citation
from penstock.verify import lexical
from penstock.verify.compare import negated
from penstock.verify.words import told

__all__ = ["conflicts", "disagree"]

ALIKE = 0.7  # share of the words of both sentences, numbers left out, that both have
FEWEST = 2  # words that both have
MAY_NEGATE = frozenset("can cannot not no never don doesn isn aren won do does are is t".split())

_WORD = re.compile(r"[^\W\d_]+")


def conflicts(citations: Sequence[Citation], language: str = "") -> list[tuple[int, int]]:
    """Pairs of citations that disagree, the newer of the two first; a source without a date counts as older."""
    found = []
    for one, other in combinations(range(len(citations)), 2):
        a, b = citations[one], citations[other]
        if a.document_id != b.document_id and disagree(a.quote, b.quote, language):
            found.append((one, other) if a.date >= b.date else (other, one))
    return found


def disagree(one: str, other: str, language: str = "") -> bool:
    """Whether two sentences cannot both be right, as far as rules can tell: they are the same but for a value or a negation."""
    own, theirs = _words(one), _words(other)
    if len(own & theirs) < FEWEST or len(own & theirs) < ALIKE * len(own | theirs):
        return False
    return _values_differ(one, other) or _negates(one, other, language) or _negates(other, one, language)


def _words(text: str) -> set[str]:
    """The words of a sentence as far as they are no part of a value."""
    plain = list(text)
    for start, end in [(q.start, q.end) for q in quantities(text)] + [(d.start, d.end) for d in dates(text)]:
        plain[start:end] = " " * (end - start)
    return {word.lower()[:6] for word in _WORD.findall("".join(plain)) if word.lower() not in MAY_NEGATE}


def _values_differ(one: str, other: str) -> bool:
    days, their_days = dates(one), dates(other)
    if len(days) == len(their_days) and any(not agrees(a, b) for a, b in zip(days, their_days, strict=True)):
        return True
    numbers, their_numbers = (
        [q for q in quantities(text) if not any(d.start <= q.start < d.end for d in dates(text))]
        for text in (one, other)
    )
    return len(numbers) == len(their_numbers) and any(
        a.kind == b.kind and a.value != b.value for a, b in zip(numbers, their_numbers, strict=True)
    )


def _negates(claim: str, source: str, language: str) -> bool:
    known = told(source, language)
    said = lexical.said(claim, known)
    return bool(negated(claim, said, lexical.compared(said, known, frozenset()), known, source))
