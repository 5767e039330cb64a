"""Hostile instructions: how likely a text is one, or holds one, and where.

Three heads, never one. The prompt head reads windows of some sixty words and takes the worst. The document head, for
documents and tool results, reads sentences and cells and asks which of them does not belong with the rest. The head for
harmful requests is another question altogether, and is asked apart. Each begins with characters and hand-made traits; only
where these are unsure is the shared encoder asked. A score is a signal, not a boundary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from penstock.encoder import WEIGHTS, shipped
from penstock.errors import StorageError
from penstock.guard.ngrams import hashed
from penstock.guard.normalise import Normalised, View, normalised
from penstock.guard.traits import NAMES, marked
from penstock.types import Surface

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock.types import Embedder

    Floats = NDArray[np.float32]

__all__ = ["Injection", "Piece", "Scored", "pieces", "relative", "segments", "windows"]

BITS = 17
WINDOW, STRIDE = 60, 45  # words
MOST_EMBEDDED = 24  # windows or segments of one text that the encoder is asked about, the likeliest first
LONGEST = 2000  # characters of a window that characters and encoder look at
FAMILIAR = 0.55  # the encoder reads English: it is not asked about text it reads worse than this

# Letters in scripts without spaces count one by one, the rest in words, of at most twelve characters each.
_UNIT = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[\uac00-\ud7af]{1,2}|[^\s\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{1,12}"
)
_CUT = re.compile(
    r"(?<=[.!?])[\"')\]]{0,2}\s+(?=[^\sa-z])|(?<=[。!?！？।])|\n+|\t+|\s*\|\s*|\s{3,}|<!--|-->|(?<=[}\]])\s*,\s*"
    r"|(?<=['\"]),\s*(?=['\"{])|(?<=['\"]):\s*(?=['\"\d\[{])|<[^<>\n]{1,80}>"
)


class Scored(NamedTuple):
    """0.5 is the threshold that Penstock ships, on every surface. Spans are of the original text, each with a score."""

    score: float
    spans: tuple[tuple[int, int, float], ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """A window or segment as the heads see it."""

    text: str
    start: int  # in its view
    end: int
    view: View
    buckets: NDArray[np.int64]
    values: Floats
    traits: Floats


def windows(text: str) -> list[tuple[int, int]]:
    """Stretches of sixty words, each beginning forty-five after the one before."""
    units = [match.span() for match in _UNIT.finditer(text)]
    if not units:
        return []
    found = []
    for first in range(0, max(1, len(units) - (WINDOW - STRIDE)), STRIDE):
        inside = units[first : first + WINDOW]
        found.append((inside[0][0], inside[-1][1]))
    return found


def segments(text: str) -> list[tuple[int, int]]:
    """Sentences, table cells, lines and values of JSON; a long one is cut into windows."""
    found, begin = [], 0
    for match in _CUT.finditer(text):
        found.append((begin, match.start()))
        begin = match.end()
    found.append((begin, len(text)))
    kept: list[tuple[int, int]] = []
    for start, end in found:
        stretch = text[start:end]
        inner = stretch.strip(" \t\r\n'\",:;{}[]")
        if not any(map(str.isalnum, inner[:200])):
            continue
        start += stretch.index(inner[0])
        if len(inner) > 480:
            kept += [(start + first, start + last) for first, last in windows(inner)]
        else:
            kept.append((start, start + len(inner)))
    return kept


def pieces(read: Normalised, *, of_documents: bool) -> list[Piece]:
    """All that the heads look at: segments of the plain view of a document, windows of whatever else."""
    found = []
    for view in read.views:
        cuts = segments(view.text) if of_documents and not view.how else windows(view.text)
        if not cuts:
            continue
        marks = marked(view.text)
        hidden = read.hidden if not view.how else 0
        rows = marks.features(cuts, decoded=bool(view.how), hidden=hidden)
        for (start, end), row in zip(cuts, rows, strict=True):
            piece = view.text[start : min(end, start + LONGEST)]
            buckets, values = hashed(piece, bits=BITS)
            found.append(Piece(piece, start, end, view, buckets, values, row))
    return found


RELATIVE = ("alike_rest", "alike_before", "alike_after", "longer", "count", "place", "alone", "tabular")
_FOLD = 5  # bits that are left out where two segments are compared


def relative(found: Sequence[Piece], text: str) -> Floats:
    """float32 (segments, traits and RELATIVE): how each segment of one text differs from the others."""
    rows = np.stack([piece.traits for piece in found])
    count = len(found)
    dense = np.zeros((count, 1 << (BITS - _FOLD)), np.float32) if count <= 400 else None
    alike = np.zeros((count, 3), np.float32)
    if dense is not None:
        for row, piece in zip(dense, found, strict=True):
            np.add.at(row, piece.buckets >> _FOLD, piece.values)
        rest = dense.sum(0)[None] - dense
        lengths = np.linalg.norm(rest, axis=1)
        own = np.maximum(np.linalg.norm(dense, axis=1), 1e-6)
        alike[:, 0] = np.einsum("ij,ij->i", dense, rest) / np.maximum(lengths * own, 1e-6)
        if count > 1:
            beside = np.einsum("ij,ij->i", dense[1:], dense[:-1]) / (own[1:] * own[:-1])
            alike[1:, 1], alike[:-1, 2] = beside, beside
    sizes = np.array([piece.end - piece.start for piece in found], np.float32)
    tabular = float(text.count("|") + text.count("\t") + text.count('":') + text.count("':") > count / 2)
    others = (rows.sum(0)[None] - rows) / max(1, count - 1)
    return np.hstack(
        [
            rows - others,
            alike,
            np.tanh(np.log(sizes / sizes.mean()))[:, None],
            np.full((count, 1), min(1.0, count / 40), np.float32),
            (np.arange(count, dtype=np.float32) / max(1, count - 1))[:, None],
            np.full((count, 1), float(count == 1), np.float32),
            np.full((count, 1), tabular, np.float32),
        ]
    ).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Net:
    """Perceptrons with one hidden layer, several side by side: (members, inputs, hidden), (members, hidden)."""

    mean: Floats
    scale: Floats
    first: Floats
    first_bias: Floats
    second: Floats
    second_bias: Floats

    def __call__(self, rows: Floats) -> Floats:
        """Logits, float32 (members, rows)."""
        inputs = np.clip((rows - self.mean) * self.scale, -6, 6)
        hidden = np.maximum(np.einsum("ri,mih->mrh", inputs, self.first) + self.first_bias[:, None], 0)
        logits: Floats = np.einsum("mrh,mh->mr", hidden, self.second) + self.second_bias[:, None]
        return logits.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Head:
    """Characters and traits first; the encoder only between `low` and `high`."""

    traits: Net
    encoder: Net
    cheap: Floats  # (members, 3): of the characters' logit, of the traits', and a bias
    full: Floats  # (members, 4): and of the encoder's
    low: float
    high: float

    def first(self, characters: Floats, rows: Floats) -> Floats:
        """(rows,), from (members, rows) of characters and (rows, traits)."""
        traits = self.traits(rows)
        w = self.cheap
        logits: Floats = (w[:, :1] * characters + w[:, 1:2] * traits + w[:, 2:]).mean(0)
        return logits

    def second(self, characters: Floats, rows: Floats, vectors: Floats) -> Floats:
        """The same, where the encoder was asked; vectors: (rows, dim)."""
        w = self.full
        parts = (characters, self.traits(rows), self.encoder(np.hstack([vectors, rows])))
        logits: Floats = (sum(w[:, i : i + 1] * part for i, part in enumerate(parts)) + w[:, 3:]).mean(0)
        return logits


class Injection:
    """The three heads. Weights are read when the first text comes, the encoder when the first window is unsure."""

    def __init__(
        self, weights: Path = WEIGHTS / "injection" / "heads.npz", *, encoder: Callable[[], Embedder] | None = shipped
    ) -> None:
        self._file, self._open = weights, encoder
        self.asked = 0  # windows the encoder was asked about
        self.seen = 0  # of so many

    def score(self, text: str, surface: Surface, *, language: str = "") -> Scored:
        """How likely a text is hostile (a prompt), or holds what is (a document, a tool's result)."""
        of_documents = surface in ("document", "tool")
        read = normalised(text)
        found = pieces(read, of_documents=of_documents)
        if not found:
            return Scored(0.0)
        plain = [piece for piece in found if of_documents and not piece.view.how]
        other = [piece for piece in found if not (of_documents and not piece.view.how)]
        scored: list[tuple[float, Piece]] = []
        if plain:
            rows = np.hstack([np.stack([piece.traits for piece in plain]), relative(plain, read.plain.text)])
            scored += zip(
                self._logits(plain, rows, "document", language) - self._threshold(surface), plain, strict=True
            )
        if other:
            rows = np.stack([piece.traits for piece in other])
            logits = self._logits(other, rows, "prompt", language) - self._thresholds(other)
            scored += zip(logits.tolist(), other, strict=True)
        return self._result(scored)

    def harmful(self, text: str) -> float:
        """How likely a text asks for something harmful, whoever it tells to do so."""
        found = pieces(normalised(text), of_documents=False)
        if not found:
            return 0.0
        rows = np.stack([piece.traits for piece in found])
        return _share(float((self._logits(found, rows, "harmful", "") - self._threshold("harmful")).max()))

    # ---------------------------------------------------------------- inside

    @cached_property
    def _loaded(self) -> dict[str, NDArray[np.generic]]:
        try:
            with np.load(self._file) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError) as error:
            raise StorageError(
                f"the heads for hostile instructions in {self._file} cannot be loaded: {error}"
            ) from error

    @cached_property
    def _heads(self) -> dict[str, Head]:
        return {name: _head(self._loaded, name) for name in ("prompt", "document", "harmful")}

    @cached_property
    def _encoder(self) -> Embedder | None:
        return self._open() if self._open else None

    def _threshold(self, name: str) -> float:
        return float(self._loaded[f"threshold.{'prompt' if name == 'output' else name}"])

    def _thresholds(self, found: Sequence[Piece]) -> Floats:
        """Of windows of a prompt. The encoder never speaks for other languages, so their logits are nearer to zero."""
        names = [
            "prompt.script" if p.traits[_SCRIPT] > 0.3 else "prompt" if _english(p.text) else "prompt.latin"
            for p in found
        ]
        return np.array([self._threshold(name) for name in names], np.float32)

    def _characters(self, found: Sequence[Piece], name: str) -> Floats:
        weights, columns = self._loaded["characters.weights"], COLUMNS[name]
        scale, bias = (self._loaded[f"characters.{part}"][columns].astype(np.float32) for part in ("scale", "bias"))
        sums = [piece.values @ weights[piece.buckets][:, columns].astype(np.float32) for piece in found]
        logits: Floats = (np.stack(sums) * scale + bias).T
        return logits

    def _logits(self, found: Sequence[Piece], rows: Floats, name: str, language: str) -> Floats:
        head = self._heads[name]
        characters = self._characters(found, name)
        logits = head.first(characters, rows)
        self.seen += len(found)
        unsure = [int(i) for i in np.argsort(-logits, kind="stable") if head.low < logits[i] < head.high][
            :MOST_EMBEDDED
        ]
        if not unsure or (language and language != "en") or self._encoder is None:
            return logits
        unsure = [i for i in unsure if self._encoder.familiarity(found[i].text) >= FAMILIAR]
        if unsure:
            self.asked += len(unsure)
            vectors = self._encoder.embed([found[i].text for i in unsure])
            logits[unsure] = head.second(characters[:, unsure], rows[unsure], vectors)
        return logits

    def _result(self, scored: list[tuple[float, Piece]]) -> Scored:
        worst, at = max(scored, key=lambda pair: pair[0])
        placed = sorted(
            (*piece.view.span(piece.start, piece.end), _share(logit)) for logit, piece in scored if logit > 0
        )
        spans: list[tuple[int, int, float]] = []
        for start, end, score in placed:
            if spans and start <= spans[-1][1] + 3:  # they touch, or overlap
                start, last, best = spans.pop()
                end, score = max(end, last), max(score, best)
            spans.append((start, end, score))
        return Scored(_share(worst), tuple(spans), _why(at))


COLUMNS = {"prompt": [0, 1], "document": [2, 3], "harmful": [4]}  # of the characters' weights


def _head(arrays: dict[str, NDArray[np.generic]], name: str) -> Head:
    def net(part: str) -> Net:
        names = ("mean", "scale", "first", "first_bias", "second", "second_bias")
        return Net(*(arrays[f"{name}.{part}.{field}"].astype(np.float32) for field in names))

    return Head(
        net("traits"),
        net("encoder"),
        arrays[f"{name}.cheap"].astype(np.float32),
        arrays[f"{name}.full"].astype(np.float32),
        float(arrays[f"{name}.low"]),
        float(arrays[f"{name}.high"]),
    )


def _share(logit: float) -> float:
    return float(1 / (1 + np.exp(-max(-30.0, min(30.0, logit)))))


_SCRIPT = NAMES.index("other_script")
_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = frozenset(
    "the and to are you your what how this that with for it not my can be have by if about from write please does should which "
    "i we they he she but would could has had their our any there when where who why than then into".split()
)


def _english(text: str) -> bool:
    """Whether a window has English function words. Code and bare nouns count as English; it is where most is known."""
    words = _WORD.findall(text.lower())
    return len(words) < 3 or sum(word in _ENGLISH for word in words) >= 0.1 * len(words)


_TELLING = NAMES[: NAMES.index("length")]


def _why(piece: Piece) -> str:
    """The traits that stand out in the window that decided, for people."""
    strongest = sorted(zip(piece.traits, _TELLING, strict=False), key=lambda pair: -pair[0])
    named = [name.replace("~", " near ") for value, name in strongest if value > 0.3][:4]
    return ", ".join([*piece.view.how, *named])
