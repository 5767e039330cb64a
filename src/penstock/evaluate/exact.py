"""Is it the same answer, and how many of its words: exact match and token F1, as SQuAD counts them.

Before they are compared, texts lose case, punctuation, the articles of English and extra spaces (Rajpurkar et al. 2016). The
original rules know ASCII punctuation and words between spaces. Ours know the punctuation of all scripts, and take every character
as a word of its own where a script has no spaces (as MLQA does, Lewis et al. 2020). On ASCII texts both are the same.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence

from penstock.evaluate.counts import shared
from penstock.evaluate.text_score import Score, best, checked, harmonic
from penstock.evaluate.words import Rules, pieces

__all__ = ["exact_match", "normalised", "token_f1"]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_ASCII = str.maketrans("", "", string.punctuation)


class _Punctuation(dict[int, int | None]):
    """For str.translate: nothing in place of punctuation of any script, and of the signs that SQuAD counts as such."""

    def __missing__(self, code: int) -> int | None:
        char = chr(code)
        found = None if char in string.punctuation or unicodedata.category(char)[0] == "P" else code
        self[code] = found
        return found


_EVERYWHERE = _Punctuation()


def normalised(text: str, *, language: str = "en", rules: Rules = "unicode") -> str:
    """A text without what does not count. language: articles are left out in English only, and by the original rules always."""
    if rules == "original" or text.isascii():
        text = text.lower().translate(_ASCII)
    else:
        text = unicodedata.normalize("NFKC", text).lower().translate(_EVERYWHERE)
    if rules == "original" or language == "en":
        text = _ARTICLES.sub(" ", text)
    return " ".join(text.split())


def exact_match(
    answer: str, references: str | Sequence[str], *, language: str = "en", rules: Rules = "unicode"
) -> Score:
    """1 where the answer is one of the references, but for what does not count; else 0."""
    own = normalised(answer, language=language, rules=rules)
    same = any(
        own == normalised(reference, language=language, rules=rules) for reference in checked(answer, references)
    )
    return Score(float(same))


def token_f1(answer: str, references: str | Sequence[str], *, language: str = "en", rules: Rules = "unicode") -> Score:
    """F1 of the words that an answer shares with the reference that suits it best. Two texts without words are equal: 1."""

    def tokens(text: str) -> list[str]:
        text = normalised(text, language=language, rules=rules)
        return text.split() if rules == "original" else pieces(text)

    own = tokens(answer)
    return best([_f1(own, tokens(reference)) for reference in checked(answer, references)])


def _f1(own: list[str], wanted: list[str]) -> Score:
    if not own or not wanted:
        same = float(own == wanted)
        return Score(same, same, same)
    hits = shared(own, wanted)
    precision, recall = hits / len(own), hits / len(wanted)
    return Score(harmonic(precision, recall), precision, recall)
