"""Names, addresses, organisations, places and dates of birth, which no pattern describes: a small tagger that we train.

A text is cut into words, and where a script has no spaces into characters. Each has a handful of hashed features (the
word, how it begins and ends, its shape, whether it is a known name); their vectors are added, five small convolutions look
at the neighbourhood, and the best sequence of labels is taken. It never sees more than some thirty words at once.
What rules have found before stands in for itself as one token, and is never part of a finding.
"""

from __future__ import annotations

import json
import re
import threading
import unicodedata
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from penstock.errors import StorageError
from penstock.guard.gazetteers import COMMON, GIVEN, SURNAME, Gazetteer
from penstock.types import Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Names", "shipped"]

WEIGHTS = Path(__file__).parent.parent / "weights" / "names"
TYPES = ("PERSON", "ADDRESS", "ORGANIZATION", "LOCATION", "DATE_OF_BIRTH")
LABELS = ("O", *(f"{place}-{kind}" for kind in TYPES for place in "BI"))

ONE_WORD = "PERSON, one word"  # alone it is as often something else; its threshold is higher
UNHEARD = "PERSON, one word unheard or ordinary"  # no known name, or a known word as well: "Amber"; higher still
SURE = 0.99  # that a token is part of nothing
SLICE, AROUND = 100_000, 2_000  # characters that are read at once, and what is read again to either side
WINDOW, MARGIN = 2048, 48  # tokens; the convolutions see 36 to each side

# ---------------------------------------------------------------- words

_ALONE = (  # scripts that write without spaces, or in syllables: each character is a token
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u309f\u30f5\u30f6\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
_KANA = "\u30a1-\u30f4\u30fc\u31f0-\u31ff\uff66-\uff9f"
_MARKS = "".join(chr(c) for c in range(0x300, 0xE00) if unicodedata.category(chr(c)) in ("Mn", "Mc")) + "\u200c\u200d"
_LETTER = rf"[^\W\d_{_ALONE}{_KANA}]"
_TOKEN = re.compile(
    rf"([{_ALONE}]+)|{_LETTER}+(?:[{_MARKS}]+{_LETTER}*)*|\d+|[{_KANA}]+|_+|([^\w\s])\2*|\S",
)
_SPACE = re.compile(r"\s+")
_IS_ALONE = re.compile(f"[{_ALONE}]")

LONGEST = 40  # characters of a word that are looked at


class Tokens(NamedTuple):
    """The tokens of a text: where each begins and ends, and its features, (tokens, FEATURES) numbers of rows."""

    starts: list[int]
    ends: list[int]
    features: NDArray[np.uint16]


# ---------------------------------------------------------------- features

BITS = 15
FEATURES = 24
_CONTEXT = 2  # of them, which are not the word's own: the space before it, and whether a rule has found it
_OWN = FEATURES - _CONTEXT


@lru_cache(100_000)  # about ten megabytes at most, and most pieces of words come again
def row(feature: str) -> int:
    """The row of the table that a feature is hashed into, 1 to 2**BITS - 1. Row 0 is no feature."""
    value = zlib.crc32(feature.encode("utf-8", "surrogatepass")) * 0x9E3779B1 & 0xFFFFFFFF
    return (value >> (32 - BITS)) or 1


def _packed(features: list[str], size: int) -> bytes:
    rows = [row(feature) for feature in features[:size]]
    return np.array(rows + [0] * (size - len(rows)), np.uint16).tobytes()


def _shape(word: str) -> str:
    shape = ""
    for character in word[:LONGEST]:
        kind = "X" if character.isupper() else "x" if character.islower() else "9" if character.isdigit() else "c"
        if not shape.endswith(kind):
            shape += kind
    return shape[:6]


_SCRIPTS = ("LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI", "GREEK", "HEBREW", "CJK", "HIRAGANA", "KATAKANA", "HANGUL")


@lru_cache(10_000)
def _script(character: str) -> str:
    if character < "\u0250":
        return "LATIN"
    name = unicodedata.name(character, "")
    return next((script for script in _SCRIPTS if name.startswith(script)), "other")


class Features:
    """From a text to rows of the table. Keeps what it has worked out for words; safe to share between threads."""

    def __init__(self, gazetteer: Gazetteer) -> None:
        self._gazetteer = gazetteer
        self._kinds = lru_cache(50_000)(gazetteer.kinds)
        self._known: dict[str, bytes] = {}
        self._spaces = {
            kind: _packed([f"space {kind}"], 1) for kind in ("none", "one", "many", "line", "lines", "start")
        }
        self._free = _packed([], 1)

    def tokens(self, text: str, taken: Sequence[tuple[int, int]] = ()) -> Tokens:
        """The tokens of a text. taken: spans in order, none overlapping another; each is one token, whatever is in it."""
        starts: list[int] = []
        ends: list[int] = []
        parts: list[bytes] = []
        alone = self._alone(text, taken) if _IS_ALONE.search(text) else None
        at = 0
        for start, end in taken:
            self._add_words(text, at, start, alone, starts, ends, parts)
            parts += (self._taken(text[start:end]), self._space(text, ends[-1] if ends else 0, start), _TAKEN)
            starts.append(start)
            ends.append(end)
            at = end
        self._add_words(text, at, len(text), alone, starts, ends, parts)
        features = np.frombuffer(b"".join(parts), np.uint16).reshape(-1, FEATURES)
        return Tokens(starts, ends, features)

    def _add_words(
        self,
        text: str,
        start: int,
        end: int,
        alone: NDArray[np.uint16] | None,
        starts: list[int],
        ends: list[int],
        parts: list[bytes],
    ) -> None:
        known, free = self._known, self._free
        before = ends[-1] if ends else 0
        for found in _TOKEN.finditer(text, start, end):
            first, last = found.span()
            space = self._space(text, before, first)
            before = last
            if found.lastindex == 1 and alone is not None:
                alone[first, _OWN:] = np.frombuffer(space + free, np.uint16)
                starts.extend(range(first, last))
                ends.extend(range(first + 1, last + 1))
                parts.append(alone[first:last].tobytes())
                continue
            word = text[first : min(last, first + LONGEST)]
            own = known.get(word)
            if own is None:
                own = self._work_out(word)
            starts.append(first)
            ends.append(last)
            parts += (own, space, free)

    def is_name(self, word: str) -> bool:
        """Whether a word is known as a name, and not as an ordinary word."""
        kinds = self._kinds(word.lower())
        return bool(kinds & (GIVEN | SURNAME)) and not kinds & COMMON

    def _work_out(self, word: str) -> bytes:
        own = _packed(self._of_word(word), _OWN)
        if len(self._known) > 50_000:  # about ten megabytes
            self._known.clear()
        self._known[word] = own
        return own

    def _space(self, text: str, end: int, start: int) -> bytes:
        if not end and not text[:start].strip():
            return self._spaces["start"]
        if start == end:
            return self._spaces["none"]
        gap = text[end:start] if start - end < 50 else text[end : end + 50]
        lines = gap.count("\n")
        return self._spaces["lines" if lines > 1 else "line" if lines else "one" if start - end == 1 else "many"]

    def _taken(self, covered: str) -> bytes:
        return _packed(["taken", f"taken {'@' in covered} {_shape(covered[:12])}"], _OWN)

    def _of_word(self, word: str) -> list[str]:
        lower = word.lower()
        first = word[0]
        if first.isdigit():
            return [f"w {len(word)} digits", f"w {lower}", f"p {lower[:2]}", f"l {min(len(word), 9)}", "shape 9"]
        if not first.isalpha():
            return [f"w {lower[:4]}", f"w1 {first}", f"l {min(len(word), 4)}"]
        kinds = self._kinds(lower)
        features = [f"w {lower}", f"shape {_shape(word)}", f"l {min(len(word), 12)} {_script(first)}"]
        features.append(f"kinds {kinds}" if kinds else "unknown")
        if kinds:
            features.append(f"kinds {kinds} {_shape(word)}")
        features += [f"p {lower[:size]}" for size in (1, 2, 3)]
        features += [f"s {lower[-size:]}" for size in (1, 2, 3, 4)]
        padded = f"^{lower[:16]}$"
        return features + [f"t {padded[i : i + 3]}" for i in range(0, len(padded) - 2)]

    def _alone(self, text: str, taken: Sequence[tuple[int, int]]) -> NDArray[np.uint16]:
        """Features (characters, FEATURES) of each character as one that stands alone, all at once: with its neighbours it
        is the words that it may be part of. What is taken is blank to them."""
        codes = np.full(len(text) + 4, ord(" "), np.uint32)
        codes[2:-2] = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        for start, end in taken:
            codes[start + 2 : end + 2] = ord(" ")
        features = np.zeros((len(text), FEATURES), np.uint16)
        for at in range(0, len(text), 8192):  # what is made on the way is a hundred bytes for a character
            self._fill(features[at : at + 8192], codes[at : at + 8192 + 4])
        return features

    def _fill(self, features: NDArray[np.uint16], codes: NDArray[np.uint32]) -> None:
        """codes: of the characters, of two before and of two after."""
        size = len(features)
        two_before, before, this, after, two_after = (codes[i : i + size] for i in range(5))
        scripts = np.searchsorted(_SCRIPT_STARTS, codes, "right").astype(np.uint32)
        around = scripts[1:-3], scripts[2:-2], scripts[3:-1]
        one, two, three = self._kinds_of_parts(codes)
        columns = (
            _rows(0, this), _rows(1, around[1]), _rows(2, before, this), _rows(3, this, after),
            _rows(4, before, this, after), _rows(5, two_before, before, this), _rows(6, this, after, two_after),
            _rows(7, before), _rows(8, two_before, before), _rows(9, after), _rows(10, after, two_after),
            _rows(11, *around),
        )  # fmt: skip
        parts = (one[2:-2], two[2:-1], two[1:-2], three[2:], three[1:-1], three[:-2])  # from this, before, two before
        for place, column in enumerate(columns):
            features[:, place] = column
        for place, kinds in enumerate(parts, len(columns)):
            features[:, place] = np.where(kinds > 0, _rows(place, kinds), 0)
        features[:, _OWN] = np.frombuffer(self._spaces["none"], np.uint16)

    def _kinds_of_parts(self, codes: NDArray[np.uint32]) -> list[NDArray[np.uint32]]:
        """What the table knows of the one, two and three characters that begin at each place. It knows words by the sum that
        zlib.crc32 makes of their UTF-8; here every character has three bytes, or no part with it is known."""
        state = np.full(len(codes), 0xFFFFFFFF, np.uint32)
        wide = (codes >= 0x800) & (codes < 0x10000)
        bytes_of = (0xE0 | (codes >> 12) & 15), (0x80 | (codes >> 6) & 63), (0x80 | codes & 63)
        found: list[NDArray[np.uint32]] = []
        good = np.ones(len(codes), bool)
        for size in range(3):
            count = len(codes) - size
            state, good = state[:count], good[:count] & wide[size:]
            for each in bytes_of:
                state = _SUMS[(state ^ each[size:]) & np.uint32(255)] ^ (state >> np.uint32(8))
            kinds = self._gazetteer.kinds_of_hashes(state ^ np.uint32(0xFFFFFFFF)).astype(np.uint32)
            found.append(np.where(good, kinds, 0))
        return found


def _sums() -> NDArray[np.uint32]:
    """The table of CRC-32: what a byte does to the sum."""
    values: NDArray[np.uint32] = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = (values >> np.uint32(1)) ^ np.where(values & np.uint32(1), np.uint32(0xEDB88320), np.uint32(0))
    return values


_SUMS = _sums()
_SCRIPT_STARTS = np.array(  # where another script begins, roughly: digits, letters, kana, hangul, ideographs apart
    [
        0x30, 0x3A, 0x250, 0x370, 0x400, 0x530, 0x590, 0x600, 0x780, 0x900, 0x980, 0xE00, 0x1000, 0x1100, 0x1200, 0x1780,
        0x1800, 0x2000, 0x3005, 0x3008, 0x3041, 0x30A0, 0x3100, 0x3130, 0x3190, 0x3400, 0xA000, 0xAC00, 0xD7A4, 0xF900,
        0xFB00, 0xFF10, 0xFF1A, 0xFF66, 0xFFA0, 0x20000,
    ],
    np.uint32,
)  # fmt: skip


def _rows(column: int, *parts: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Rows of the table, as `row`, for numbers instead of words."""
    value = np.full(len(parts[0]), (column + 1) * 0x9E3779B1 & 0xFFFFFFFF, np.uint32)
    for part in parts:
        value = (value ^ part) * np.uint32(0x85EBCA6B)
        value ^= value >> 15
    value *= np.uint32(0xC2B2AE35)
    found: NDArray[np.uint32] = np.maximum(value >> (32 - BITS), 1)
    return found


_TAKEN = _packed(["taken here"], 1)

# ---------------------------------------------------------------- labels


def labels_of(chances: NDArray[np.float32]) -> list[int]:
    """A label for each token. Where for several words nothing else has a chance, they are no part of anything."""
    labels = [0] * len(chances)
    lively = np.flatnonzero(chances[:, 0] < SURE)
    if not len(lively):
        return labels
    breaks = np.flatnonzero(np.diff(lively) > 2)
    for first, last in zip([0, *(breaks + 1)], [*breaks, len(lively) - 1], strict=True):
        start, end = int(lively[first]), int(lively[last]) + 1
        labels[start:end] = decoded(np.log(np.maximum(chances[start:end], 1e-9)))
    return labels


def decoded(scores: NDArray[np.float32]) -> list[int]:
    """The best sequence of labels for log-probabilities (tokens, labels): an I only after its own B or I."""
    count, labels = scores.shape
    if not count:
        return []
    best = scores[0].astype(np.float64)
    best[2::2] = -np.inf  # nothing begins inside
    back = np.empty((count, labels), np.int64)
    inside = np.arange(2, labels, 2)
    for at in range(1, count):
        top = int(best.argmax())
        back[at] = top
        following = best[top] + scores[at]
        begun = best[1::2] >= best[2::2]
        own = np.where(begun, inside - 1, inside)
        back[at, 2::2] = own
        following[2::2] = best[own] + scores[at, 2::2]
        best = following
    path = [int(best.argmax())]
    for at in range(count - 1, 0, -1):
        path.append(int(back[at, path[-1]]))
    return path[::-1]


def _one(kind: str, before: str, between: str) -> bool:
    """Whether two findings of a type with no more than this between them are one: "Mrs." and a name, a street and its town."""
    if kind == "PERSON":
        return between == " " or (between == ". " and len(before) < 5)
    return kind == "ADDRESS" and len(between) < 4 and not between.strip(" ,;/-\n")


class _Span(NamedTuple):
    kind: int
    first: int  # token
    last: int  # one beyond
    score: float


def _spans(labels: Sequence[int], chances: NDArray[np.float32]) -> list[_Span]:
    """Runs of one type; the score is the mean chance of that type over its tokens."""
    found: list[_Span] = []
    at = 0
    while at < len(labels):
        label = labels[at]
        if not label:
            at += 1
            continue
        kind, first = (label - 1) // 2, at
        at += 1
        while at < len(labels) and labels[at] == 2 * kind + 2:
            at += 1
        score = float(chances[first:at, 2 * kind + 1 : 2 * kind + 3].sum(1).mean())
        found.append(_Span(kind, first, at, score))
    return found


# ---------------------------------------------------------------- the detector


class Names:
    """Finds PERSON, ADDRESS, ORGANIZATION, LOCATION and DATE_OF_BIRTH. Safe to share between threads.

    Loads its weights when it is first asked. Time and memory grow with the length of the text and nothing else.
    """

    def __init__(self, folder: Path = WEIGHTS) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._loaded: tuple[Features, Any, dict[str, float]] | None = None

    def find(self, text: str, *, language: str = "", taken: Sequence[tuple[int, int]] = ()) -> list[Finding]:
        """Findings in the order of the text. taken: spans that a rule has found already; no finding overlaps one."""
        if not text or text.isspace():
            return []
        found: list[Finding] = []
        blocked = _apart(taken, len(text))
        ends = [end for _, end in blocked]
        for start in range(0, len(text), SLICE):
            first, last = max(start - AROUND, 0), min(start + SLICE + AROUND, len(text))
            near = blocked[bisect_right(ends, first) : bisect_left(blocked, (last, 0))]
            inside = [(max(a, first) - first, min(b, last) - first) for a, b in near]
            for finding in self._read(text[first:last], inside):
                at = finding.start + first
                if start <= at < start + SLICE and (not found or at >= found[-1].end):
                    found.append(replace(finding, start=at, end=finding.end + first, score=round(finding.score, 3)))
        return found

    def _read(self, text: str, taken: Sequence[tuple[int, int]]) -> list[Finding]:
        features, session, thresholds = self._load()
        tokens = features.tokens(text, taken)
        if not tokens.starts:
            return []
        chances = self._chances(session, tokens.features)
        found: list[Finding] = []
        for span in _spans(labels_of(chances), chances):
            kind = TYPES[span.kind]
            start, end = tokens.starts[span.first], tokens.ends[span.last - 1]
            before = text[found[-1].start : found[-1].end] if found and found[-1].type == kind else ""
            if before and _one(kind, before, text[found[-1].end : start]):
                last = found.pop()
                found.append(Finding(kind, last.start, end, min(last.score, span.score), rule="names"))
                continue
            asked = kind
            if kind == "PERSON" and span.last - span.first == 1:
                asked = ONE_WORD if features.is_name(text[start:end]) else UNHEARD
            if span.score >= thresholds[asked]:
                found.append(Finding(kind, start, end, span.score, rule="names"))
        return found

    def _chances(self, session: Any, features: NDArray[np.uint16]) -> NDArray[np.float32]:
        if len(features) <= WINDOW:
            return _run(session, features)
        found = np.empty(
            (len(features), len(LABELS)), np.float32
        )  # first: kept between windows, pieces would scatter the heap
        for start in range(0, len(features), WINDOW):
            first, last = max(start - MARGIN, 0), start + WINDOW
            found[start:last] = _run(session, features[first : last + MARGIN])[start - first : last - first]
        return found

    def _load(self) -> tuple[Features, Any, dict[str, float]]:
        if self._loaded:
            return self._loaded
        with self._lock:
            if not self._loaded:
                import onnxruntime  # takes 60 MB and a tenth of a second: only who looks for names pays for it

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = options.inter_op_num_threads = 1
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                options.log_severity_level = 3
                options.enable_cpu_mem_arena = False
                try:
                    card = json.loads((self._folder / "card.json").read_text("utf-8"))
                    gazetteer = Gazetteer.load(self._folder / "words.bin")
                    graph = str(self._folder / "tagger.onnx")
                    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
                except Exception as error:  # the library raises its own bare types
                    raise StorageError(f"the tagger in {self._folder} cannot be loaded: {error}") from error
                self._loaded = Features(gazetteer), session, card["thresholds"]
        return self._loaded


def _apart(spans: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Spans inside a text of that length, in order, with those that overlap made one."""
    apart: list[tuple[int, int]] = []
    for start, end in sorted((max(start, 0), min(end, length)) for start, end in spans):
        if end <= start:
            continue
        if apart and start < apart[-1][1]:
            apart[-1] = apart[-1][0], max(end, apart[-1][1])
        else:
            apart.append((start, end))
    return apart


def _run(session: Any, features: NDArray[np.uint16]) -> NDArray[np.float32]:
    chances: NDArray[np.float32] = session.run(["chances"], {"features": features.astype(np.int64)})[0]
    return chances


def shipped() -> Names:
    """The tagger that comes with Penstock."""
    return Names()
