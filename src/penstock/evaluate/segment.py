"""Tokens as BLEU and TER count them. A score means little without its rules for tokens, so these are the published ones.

- `13a`: of NIST's mteval-v13a, WMT's default; knows ASCII punctuation alone.
- `intl`: of mteval-v14; all punctuation and symbols of Unicode.
- `zh`: Chinese characters apart, the rest as in 13a.
- `char`: every character. `none`: what stands between spaces.
- `tercom`: of the first TER program.

The rules look at a character and its neighbours, and spaces end what they see. So a text is cut at its spaces first, and each
chunk's tokens are remembered; only its first and last chunk may depend on having no space beside them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal, get_args

from penstock.errors import BadRequest

__all__ = ["Tokens", "tercom", "tokenized"]

Tokens = Literal["13a", "intl", "zh", "char", "none"]

MOST = 200_000  # chunks remembered for each set of rules
LONGEST = 40  # characters of a chunk that is remembered

_POSSESSIVE = re.compile(r"'s(?=[{-~\[-` -&(-+:-@/])")  # before a space, and what gets one around it
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_APART = {ord(char): f" {char} " for char in '!"#$%&()*+/:;<=>?@[\\]^_`{|}~'}  # the signs of ASCII, but for ' , - .
_NOT_AFTER_DIGIT = re.compile(r"([^0-9])([.,])")
_NOT_BEFORE_DIGIT = re.compile(r"([.,])([^0-9])")
_DASH = re.compile(r"([0-9])-")

# Han, kana's neighbours, full-width forms. U+2001 to U+2A6D (quotes, dashes, arrows, mathematics) are meant for the rare
# characters from U+20000 on, which thereby stay together; every published score has it so
_CHINESE = re.compile(
    "([\u2001-\u2a6d\u2e80-\u2eff\u2f00-\u2fdf\u2ff0-\u303f\u3100-\u312f\u31a0-\u31bf\u31c0-\u31ef\u3200-\u4db5\u4e00-\u9fbb"
    "\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef])"
)


class _Chunks(dict[str, tuple[str, ...]]):
    """chunk -> its tokens, with spaces on both sides; filled as chunks are met."""

    def __init__(self, rules: Callable[[str], str]) -> None:
        self.rules = rules

    def __missing__(self, chunk: str) -> tuple[str, ...]:
        found = tuple(self.rules(f" {chunk} ").split())
        if len(self) < MOST and len(chunk) <= LONGEST:
            self[chunk] = found
        return found

    def of(self, chunks: list[str]) -> list[str]:
        """Tokens of chunks that all have a space before and after them."""
        tokens: list[str] = []
        for chunk in chunks:
            if chunk.isalnum():  # no rule touches letters and digits
                tokens.append(chunk)
            else:
                tokens += self[chunk]
        return tokens

    def of_line(self, line: str) -> list[str]:
        """Tokens of a line as it is, without spaces around it."""
        chunks = line.split()
        if not chunks:
            return []
        first = "" if line.startswith(chunks[0]) else " "
        last = "" if line.endswith(chunks[-1]) else " "
        if len(chunks) == 1:
            return self.rules(f"{first}{chunks[0]}{last}").split()
        return [
            *self.rules(f"{first}{chunks[0]} ").split(),
            *self.of(chunks[1:-1]),
            *self.rules(f" {chunks[-1]}{last}").split(),
        ]


def _western(text: str) -> str:
    text = text.translate(_APART)
    if "." in text or "," in text:
        text = _NOT_AFTER_DIGIT.sub(r"\1 \2 ", text)
        text = _NOT_BEFORE_DIGIT.sub(r" \1 \2", text)
    return _DASH.sub(r"\1 - ", text) if "-" in text else text


def _international(text: str) -> str:
    text = _paired(text, lambda one, two: _kind(one) != "N" and _kind(two) == "P", "{} {} ")
    text = _paired(text, lambda one, two: _kind(one) == "P" and _kind(two) != "N", " {} {}")
    return "".join(f" {char} " if _kind(char) == "S" else char for char in text)


def _paired(text: str, fits: Callable[[str, str], bool], form: str) -> str:
    """Neighbours that fit, written in a form; what was taken into one pair begins no other."""
    parts, at = [], 0
    while at < len(text):
        pair = text[at : at + 2]
        if len(pair) == 2 and fits(*pair):
            parts.append(form.format(*pair))
            at += 2
        else:
            parts.append(pair[0])
            at += 1
    return "".join(parts)


def _kind(char: str) -> str:
    """L, M, N, P, S, Z or C. Places kept for emoji count as symbols before this Python knows what stands there."""
    kind = unicodedata.category(char)
    return "S" if kind == "Cn" and "\U0001f000" <= char <= "\U0001faff" else kind[0]


_western_chunks = _Chunks(_western)
_international_chunks = _Chunks(_international)


def _13a(text: str) -> list[str]:
    text = text.replace("<skipped>", "").replace("-\n", "")
    if "&" in text:
        text = _unescaped(text)
    return _western_chunks.of(text.split())


def _unescaped(text: str) -> str:
    for entity, char in _ENTITIES:
        text = text.replace(entity, char)
    return text


_RULES: dict[str, Callable[[str], list[str]]] = {
    "13a": _13a,
    "intl": _international_chunks.of_line,
    "zh": lambda text: _western_chunks.of_line(_CHINESE.sub(r" \1 ", text.strip())),
    "char": lambda text: list("".join(text.split())),
    "none": str.split,
}


def tokenized(text: str, tokens: Tokens, *, lowercase: bool = False) -> list[str]:
    """The tokens of a text. Raises BadRequest for rules of another name."""
    rules = _RULES.get(tokens)
    if rules is None:
        raise BadRequest(f"no rules for tokens are called {tokens!r}", hint=f"one of {', '.join(get_args(Tokens))}")
    return rules((text.lower() if lowercase else text).rstrip())


# ---------------------------------------------------------------- TER

_PUNCTUATION = re.compile(r'[.,?:;!"()]')
_ASIAN = re.compile("([\u3400-\u4dbf\u4e00-\u9fff\u2e80-\u2eff\u31c0-\u31ef\u3300-\u33ff\uf900-\ufaff\ufe30-\ufe4f])")
_ASIAN_MORE = re.compile("([\u3200-\u3f22])")  # meant to end at U+32FF, and published so
_ASIAN_PUNCTUATION = re.compile("([\u3001\u3002\u3008-\u3011\u3014-\u301f\uff61-\uff65\u30fb])")
_FULL_WIDTH = re.compile("([\uff01\uff02\uff08\uff09\uff0c\uff0e\uff1a\uff1b\uff1f])")


def tercom(
    text: str, *, normalized: bool = False, no_punct: bool = False, asian: bool = False, case_sensitive: bool = False
) -> list[str]:
    """The tokens of TER. asian: cut Chinese and Japanese too where it normalizes, and drop its punctuation under no_punct."""
    text = text.rstrip()
    if not case_sensitive:
        text = text.lower()
    if normalized:
        text = _unescaped(text.replace("\n-", "").replace("\n", " "))
        text = _western(_POSSESSIVE.sub(" 's", f" {text} "))
        if (
            asian
        ):  # runs of kana stay together: the published rules for them ask for the start of a line, where a space is
            for rule in (_ASIAN, _ASIAN_MORE, _ASIAN_PUNCTUATION, _FULL_WIDTH):
                text = rule.sub(r" \1 ", text)
    if no_punct:
        text = _PUNCTUATION.sub("", text)
        if asian:
            text = _FULL_WIDTH.sub("", _ASIAN_PUNCTUATION.sub("", text))
    return text.split()
