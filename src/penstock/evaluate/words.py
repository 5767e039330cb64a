"""Words as ROUGE, METEOR and token F1 compare them, in any script, with or without endings.

Texts in ASCII are cut as the original ROUGE cuts them: lower-cased runs of letters and digits. That rule drops every other letter
("naïve" becomes "na" and "ve", Greek becomes nothing), so elsewhere a word is a run of letters, digits and combining marks
of Unicode, and in scripts without spaces (Chinese, Japanese, Thai, Lao, Burmese, Khmer) every character stands alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from threading import Lock
from typing import Literal

import Stemmer

from penstock.errors import BadRequest
from penstock.evaluate.porter import STEMS
from penstock.text.words import MARKS, SNOWBALL, UNSPACED

__all__ = ["Rules", "ascii_words", "pieces", "stemmed", "words"]

Rules = Literal["unicode", "original"]  # ours for all scripts, or those of the metric's authors, for English

_LETTERS = bytes(  # of ASCII to themselves in lower case, digits too, all else to spaces
    ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else ord(" ") for code in range(256)
)
_WORD = re.compile(rf"[{UNSPACED}][{MARKS}]*|(?:[^\W_{UNSPACED}]|[{MARKS}])+")
_PIECE = re.compile(rf"[{UNSPACED}][{MARKS}]*|[^\s{UNSPACED}]+")


def ascii_words(text: str) -> list[str]:
    """Lower-cased runs of a to z and digits; everything else parts them, and is lost (Lin 2004)."""
    return (text if text.isascii() else text.lower()).encode("ascii", "replace").translate(_LETTERS).decode().split()


def words(text: str) -> list[str]:
    """Lower-cased words in compatibility form (NFKC). The same as `ascii_words` where the text is ASCII."""
    if text.isascii():
        return ascii_words(text)
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def pieces(text: str) -> list[str]:
    """What stands between spaces, punctuation included; characters in scripts without spaces."""
    return text.split() if text.isascii() else _PIECE.findall(text)


def stemmed(words: Sequence[str], language: str) -> list[str]:
    """Words without their endings. English: Porter's stemmer; else Snowball's. Raises BadRequest for other languages."""
    if language == "en":
        return list(map(STEMS.__getitem__, words))
    stemmer, lock = _snowball(language)
    with lock:  # a Snowball stemmer keeps its work in itself
        found: list[str] = stemmer.stemWords(list(words))
    return found


@cache
def _snowball(language: str) -> tuple[Stemmer.Stemmer, Lock]:
    if language not in SNOWBALL:
        raise BadRequest(
            f"no stemmer knows the language {language!r}", hint=f"one of {', '.join(sorted(SNOWBALL))}, or none at all"
        )
    return Stemmer.Stemmer(SNOWBALL[language]), Lock()
