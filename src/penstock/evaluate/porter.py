"""Porter's stemmer for English as ROUGE and METEOR are mostly run: with the additions that NLTK made to it.

The algorithm is that of Porter (1980), "An algorithm for suffix stripping". PyStemmer has it as its author left it; NLTK's, which
the usual ROUGE stems with, goes its own way in these points, and scores differ with it:

- a dozen irregular words ("dying" and "die", "skies" and "sky"), and words of one or two letters are left alone;
- "dies" and "died" keep their e, where "flies" and "cried" end in i;
- y becomes i after a consonant that is not the first letter, also where no vowel stands before it ("fly"), and "enjoy" stays;
- e stays after a vowel and a consonant alone ("ate"), -alli falls before the other endings of its step, -bli and -fulli
  are endings too, and -logi is one where what stands before its l has a measure.
"""

from __future__ import annotations

__all__ = ["ROUGE_STEMS", "STEMS", "stem"]

MOST = 200_000  # words remembered; a text of codes must not eat the memory
LONGEST = 60  # letters of a word that is remembered

_IRREGULAR = {
    "sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news", "innings": "inning",
    "inning": "inning", "outings": "outing", "outing": "outing", "cannings": "canning", "canning": "canning",
    "howe": "howe", "proceed": "proceed", "exceed": "exceed", "succeed": "succeed",
}  # fmt: skip

# in each step the first ending that fits decides, whether or not what is left is long enough
_STEP_2 = [
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"),
    ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"),
    ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"),
    ("iviti", "ive"), ("biliti", "ble"), ("fulli", "ful"), ("logi", "log"),
]  # fmt: skip
_STEP_3 = [("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")]
_STEP_4 = tuple("al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize".split())
_ENDINGS_2, _ENDINGS_3 = (tuple(ending for ending, _ in step) for step in (_STEP_2, _STEP_3))


class _Stems(dict[str, str]):
    """word -> its stem; filled as words are met. longer_than: words of up to so many letters are left as they are."""

    def __init__(self, *, longer_than: int) -> None:
        self.longer_than = longer_than

    def __missing__(self, word: str) -> str:
        found = word if len(word) <= self.longer_than else _IRREGULAR.get(word) or _stem(word)
        if len(self) < MOST and len(word) <= LONGEST:
            self[word] = found
        return found


STEMS = _Stems(longer_than=2)
ROUGE_STEMS = _Stems(longer_than=3)  # ROUGE leaves "his" and "was" alone


def stem(word: str) -> str:
    """A lower-cased word without its endings. Words of other languages come out somehow, and the same each time."""
    return STEMS[word]


def _stem(word: str) -> str:
    word = _without_y(_without_past(_without_plural(word)))
    if word.endswith(_ENDINGS_2):
        word = _step_2(word)
    if word.endswith(_ENDINGS_3):
        word = next(_replaced(word, ending, instead, 1) for ending, instead in _STEP_3 if word.endswith(ending))
    if word.endswith(_STEP_4):
        ending = next(ending for ending in _STEP_4 if word.endswith(ending))
        if ending != "ion" or word[:-3].endswith(("s", "t")):
            word = _replaced(word, ending, "", 2)
    if word.endswith("e"):
        rest = _shape(word[:-1])
        if rest.count("vc") > 1 or (rest.count("vc") == 1 and not _short(word[:-1], rest)):
            word = word[:-1]
    if word.endswith("ll") and _shape(word[:-1]).count("vc") > 1:
        word = word[:-1]
    return word


class _Kinds(dict[int, str]):
    """For str.translate: v for vowels, c for all else."""

    def __missing__(self, code: int) -> str:
        return "c"


_KINDS = _Kinds({code: "v" if chr(code) in "aeiou" else "c" for code in range(128)})


def _shape(word: str) -> str:
    """c for each consonant, v for each vowel; y is a vowel after a consonant. Porter's measure is how often "vc" stands in it."""
    if "y" not in word:
        return word.translate(_KINDS)
    shape, before = [], "v"
    for letter in word:
        before = "v" if letter in "aeiou" or (letter == "y" and before == "c") else "c"
        shape.append(before)
    return "".join(shape)


def _short(word: str, shape: str) -> bool:
    """Whether it ends in consonant, vowel, consonant, the last not w, x or y; or is a vowel and a consonant."""
    return (shape.endswith("cvc") and word[-1] not in "wxy") or shape == "vc"


def _replaced(word: str, ending: str, instead: str, measure: int) -> str:
    rest = word[: -len(ending)]
    return rest + instead if _shape(rest).count("vc") >= measure else word


def _without_plural(word: str) -> str:
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _without_past(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return _replaced(word, "eed", "ee", 1)
    rest = word[:-2] if word.endswith("ed") else word[:-3] if word.endswith("ing") else ""
    if not rest or "v" not in (shape := _shape(rest)):
        return word
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if len(rest) > 1 and rest[-1] == rest[-2] and shape[-1] == "c":
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if shape.count("vc") == 1 and _short(rest, shape) else rest


def _without_y(word: str) -> str:
    if word.endswith("y") and len(word) > 2 and _shape(word[:-1])[-1] == "c":
        return word[:-1] + "i"
    return word


def _step_2(word: str) -> str:
    if word.endswith("alli") and _shape(word[:-4]).count("vc"):
        return _step_2(word[:-2])
    for ending, instead in _STEP_2:
        if word.endswith(ending):
            if ending == "logi":  # its l counts with what stands before it: "geologi" and "theologi" are long enough
                return word[:-1] if _shape(word[:-3]).count("vc") else word
            return _replaced(word, ending, instead, 1)
    return word
