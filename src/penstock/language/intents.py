"""What somebody wants, learnt from a handful of examples for each intent, or that it is none of these.

Two signals: a sentence encoder, in the languages that it knows, and the n-grams of one to five characters, in any language. In
each, a text is held against the mean and against the nearest example of every intent. How likely an answer is right is learnt
by leaving out one example at a time; what a text looks like that belongs to no intent, by leaving out one intent at a time.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from penstock.errors import BadRequest, Unreadable
from penstock.text.languages import identifier
from penstock.types import Embedder

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OTHER", "Example", "Intent", "Intents", "read_examples"]

OTHER = "other"
MOST_EXAMPLES = 5_000
LONGEST = 500  # characters that are looked at: what somebody wants is said soon
SIZES = (1, 2, 3, 4, 5)  # the letters themselves too: Chinese has words of one
NEAREST = 0.5  # what the nearest example counts beside the mean of an intent
ENCODER = 2 / 3  # what the encoder counts beside the n-grams, in a language that it knows
FAMILIAR = 0.6  # familiarity of the examples from which on it does
OUTSIDE = 0.2  # share of texts that are expected to belong to no intent
USUAL = (1.5, 1.5, 0.2)  # what the features say of most sets of examples: measured on three, in thirteen languages
HOLD = 20.0  # how many examples that is worth
SPREAD = 0.12  # by which the features of texts differ in most sets
RARE = 0.1  # share of the examples below which a language that was told is taken for a mistake
TINY = 1e-6
STEPS = 40


class Example(NamedTuple):
    """language: ISO 639-1; "" where it is to be told."""

    text: str
    intent: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a text wants. confidence: the probability that it is so, 0 to 1. language: whose examples decided; "" for all."""

    name: str
    confidence: float
    language: str


class Intents:
    """Learnt from examples when it is first asked in a language; an intent named "other" has examples of what is none.

    A language that has examples of every intent is judged by its own; any other one by all examples. Safe to share between
    threads.
    """

    def __init__(self, examples: Sequence[Example], *, embedder: Embedder | None = None) -> None:
        """Raises BadRequest where nothing can be learnt."""
        if len(examples) > MOST_EXAMPLES:
            raise BadRequest(f"there are {len(examples):,} examples, the limit is {MOST_EXAMPLES:,}")
        self._embedder = embedder
        self._examples = _told(list(dict.fromkeys(examples)))
        self.names = tuple(dict.fromkeys(one.intent for one in examples if one.intent != OTHER))
        if not self.names:
            raise BadRequest("there is no example of an intent", hint='{"text": "…", "intent": "…"}')
        named: dict[str, set[str]] = {}
        for one in self._examples:
            named.setdefault(one.language, set()).add(one.intent)
        self.languages = tuple(sorted(named.keys() - {""}))
        self._whole = {language for language, intents in named.items() if intents >= set(self.names)}
        self._parts: dict[str, _Part] = {}
        self._lock = Lock()

    def of(self, text: str, *, language: str = "") -> Intent:
        """What a text wants. language: ISO 639-1 where it is known. About 5 ms with the shipped encoder."""
        text = _whole(text)
        found = identifier().identify(text, among=self.languages)
        told = _bare(language) or (found.language if found.confidence else "")
        part = told if told in self._whole else ""
        return Intent(*self._part(part).of(text), part)

    def _part(self, language: str) -> _Part:
        with self._lock:
            if language not in self._parts:
                own = [one for one in self._examples if not language or one.language == language]
                self._parts[language] = _Part(own, self.names, self._embedder)
            return self._parts[language]


def _told(examples: Sequence[Example]) -> list[Example]:
    """Each with its language, of those that are said or often told: short texts are easily mistaken for another one's."""
    if any(not one.text.strip() or not one.intent.strip() for one in examples):
        raise BadRequest("an example has an empty text or intent")
    found = Counter(identifier().identify(one.text).language for one in examples if not one.language)
    said = {_bare(one.language) for one in examples}
    among = sorted({*said, *(code for code, count in found.items() if count >= RARE * found.total())} - {""})
    return [
        Example(
            _whole(one.text), one.intent, _bare(one.language) or identifier().identify(one.text, among=among).language
        )
        for one in examples
    ]


def _bare(language: str) -> str:
    return language.replace("_", "-").partition("-")[0].lower()


class _Signal:
    """How like each other the examples of a part are, by one signal. Those of one intent stand together, those of none last."""

    def __init__(self, alike: NDArray[Any], starts: NDArray[Any], own: int) -> None:
        """alike: cosines, (examples, examples). starts: where each intent begins. own: how many examples have an intent."""
        self._starts, self._own = starts, own
        sums = np.add.reduceat(alike[:, :own], starts, axis=1)  # of each with all examples of an intent
        self._squares = np.maximum(
            np.add.reduceat(sums[:own], starts).diagonal(), TINY
        )  # of the sum of an intent's vectors
        self.left_out = self._left_out(alike, sums)

    def scores(self, row: NDArray[Any]) -> NDArray[Any]:
        """(intents,): a text against each intent. row: its cosines with the examples."""
        mean = np.add.reduceat(row[: self._own], self._starts) / np.sqrt(self._squares)
        return _joined(mean, np.maximum.reduceat(row[: self._own], self._starts))

    def _left_out(self, alike: NDArray[Any], sums: NDArray[Any]) -> NDArray[Any]:
        """(examples, intents): each example against each intent as if it were not one of its; 0 where nothing is left."""
        counts = np.diff(self._starts, append=self._own)
        own = np.zeros_like(sums, bool)
        own[np.arange(self._own), np.repeat(np.arange(len(counts)), counts)] = True
        squares = np.where(own, self._squares - 2 * sums + 1, self._squares)
        mean = np.where(own, sums - 1, sums) / np.sqrt(np.maximum(squares, TINY))
        nearest = np.maximum.reduceat(_apart(alike)[:, : self._own], self._starts, axis=1)
        return np.where(own & (counts < 2), 0.0, _joined(mean, nearest))

    def nobody(self, row: NDArray[Any]) -> float:
        """A text against the nearest example of no intent; 0 without any."""
        return float(row[self._own :].max(initial=0.0))


def _apart(alike: NDArray[Any]) -> NDArray[Any]:
    """Cosines in which nothing is like itself."""
    apart: NDArray[Any] = alike - 2 * np.eye(len(alike), dtype=np.float32)
    return apart


def _joined(mean: NDArray[Any], nearest: NDArray[Any]) -> NDArray[Any]:
    joined: NDArray[Any] = (mean + NEAREST * nearest) / (1 + NEAREST)
    return joined


def _fused(meaning: NDArray[Any], letters: NDArray[Any]) -> NDArray[Any]:
    fused: NDArray[Any] = ENCODER * meaning + (1 - ENCODER) * letters
    return fused


class _Part:
    """The examples of one language, or all of them."""

    def __init__(self, examples: Sequence[Example], names: Sequence[str], embedder: Embedder | None) -> None:
        numbers = {name: n for n, name in enumerate(names)}
        sorted_ = sorted(examples, key=lambda one: numbers.get(one.intent, len(names)))
        of = np.array([numbers[one.intent] for one in sorted_ if one.intent in numbers])
        texts = [one.text[:LONGEST] for one in sorted_]
        starts = np.searchsorted(of, np.arange(len(names)))
        self._names = names
        self._grams = _Grams(texts)
        letters = np.stack([self._grams.against(text) for text in texts])
        self._letters = _Signal(letters, starts, len(of))
        scores, alike, self._embedder = self._letters.left_out, letters, None
        if embedder is not None and np.mean([embedder.familiarity(text) for text in texts]) >= FAMILIAR:
            self._embedder, self._vectors = embedder, embedder.embed(texts)
            meaning = self._vectors @ self._vectors.T
            self._meaning = _Signal(meaning, starts, len(of))
            scores = _fused(self._meaning.left_out, scores)
            alike = _fused(meaning, letters)
        self._fit(scores, alike, of)

    def _fit(self, scores: NDArray[Any], alike: NDArray[Any], of: NDArray[Any]) -> None:
        """How sure an answer is, from examples that were left out. scores: (examples, intents), alike: (examples, examples)."""
        count = len(of)
        nobody = _apart(alike)[:, count:].max(1, initial=0.0)
        features = _features(scores, nobody)
        without = scores[:count].copy()
        without[np.arange(count), of] = 0.0  # as if their own intent were not there
        kept = np.bincount(of)[of] > 1  # the only example of an intent says nothing of it when it is left out
        outside = np.concatenate([_features(without, nobody[:count]), features[count:]])
        self._inside = _Chance.fitted(features[:count][kept], outside, share=1 - OUTSIDE)
        right = scores[:count].argmax(1) == of
        self._right = _Chance.fitted(features[:count][kept & right], features[:count][kept & ~right])

    def of(self, text: str) -> tuple[str, float]:
        """The intent of a text, or other, and how likely that is."""
        text = text[:LONGEST]
        row = self._grams.against(text)
        scores = self._letters.scores(row)
        if self._embedder is not None:
            meaning = self._vectors @ self._embedder.embed([text])[0]
            scores, row = _fused(self._meaning.scores(meaning), scores), _fused(meaning, row)
        features = _features(scores[None], np.array([self._letters.nobody(row)]))
        inside, right = self._inside.of(features), self._right.of(features)
        if inside < 0.5:
            return OTHER, 1 - inside
        return self._names[int(scores.argmax())], inside * right


def _features(scores: NDArray[Any], nobody: NDArray[Any]) -> NDArray[Any]:
    """(texts, 3) of scores (texts, intents): the best one, how far it is before the second, and before what is none."""
    best = scores.max(1)
    second = np.partition(scores, -2, 1)[:, -2] if scores.shape[1] > 1 else np.zeros_like(best)
    return np.stack([best, best - second, best - nobody], 1)


@dataclass(frozen=True, slots=True)
class _Chance:
    """A probability from features, by logistic regression that holds on to what is usual while it has seen little."""

    middle: NDArray[Any]
    spread: NDArray[Any]
    weights: NDArray[Any]  # the last one is the bias

    @classmethod
    def fitted(cls, yes: NDArray[Any], no: NDArray[Any], *, share: float = 0.0) -> _Chance:
        """From features (texts, 3) of either kind. share: how often it is yes; 0: as often as in these."""
        rows = np.concatenate([yes, no]) if len(yes) + len(no) else np.zeros((1, 3))
        known = yes if len(yes) else rows
        middle = known.mean(0)
        spread = np.sqrt((len(known) * known.var(0) + HOLD * SPREAD**2) / (len(known) + HOLD))
        usual = np.array([*USUAL, math.log(share / (1 - share)) + 1 if share else 1.0])
        if not len(yes) + len(no):
            return cls(middle, spread, usual)
        design = np.hstack([(rows - middle) / spread, np.ones((len(rows), 1))])
        wanted = np.repeat([1.0, 0.0], [len(yes), len(no)])
        importance = np.ones(len(rows))
        if share and len(yes) and len(no):
            importance = np.where(wanted == 1, 1.0, len(yes) * (1 - share) / share / len(no))
        weights = usual.copy()
        for _ in range(STEPS):  # Newton's
            chance = _logistic(design @ weights)
            slope = design.T @ (importance * (chance - wanted)) + HOLD * (weights - usual)
            curve = (design * (importance * chance * (1 - chance))[:, None]).T @ design + HOLD * np.eye(len(usual))
            step = np.linalg.solve(curve, slope)
            weights = weights - step / max(1.0, np.abs(step).max())  # a long one overshoots
        return cls(middle, spread, weights)

    def of(self, features: NDArray[Any]) -> float:
        scaled = (features[0] - self.middle) / self.spread
        return float(_logistic(scaled @ self.weights[:-1] + self.weights[-1]))


def _logistic(value: Any) -> Any:
    return 1 / (1 + np.exp(-np.clip(value, -30, 30)))


class _Grams:
    """The n-grams of some texts, weighted by how rare they are among them, and which texts have them."""

    def __init__(self, texts: Sequence[str]) -> None:
        counted = [_grams(text) for text in texts]
        spread = Counter(gram for counts in counted for gram in counts)
        self._size = len(texts)
        self._rare = {gram: math.log((1 + self._size) / (1 + count)) + 1 for gram, count in spread.items()}
        self._rarest = math.log((1 + self._size) / 2) + 1
        found: dict[str, tuple[list[int], list[float]]] = {gram: ([], []) for gram in spread}
        for n, counts in enumerate(counted):
            for gram, weight in self._weighted(counts).items():
                places, values = found[gram]
                places.append(n)
                values.append(weight)
        self._found = {
            gram: (np.array(places, np.int64), np.array(values, np.float32)) for gram, (places, values) in found.items()
        }

    def against(self, text: str) -> NDArray[Any]:
        """(texts,): cosines with a text."""
        found = [(*self._found[gram], weight) for gram, weight in self._weighted(_grams(text)).items()]
        if not found:
            return np.zeros(self._size, np.float32)
        places = np.concatenate([places for places, _, _ in found])
        values = np.concatenate([values * weight for _, values, weight in found])
        return np.bincount(places, values, self._size).astype(np.float32)

    def _weighted(self, counts: Mapping[str, int]) -> dict[str, float]:
        """The known n-grams of a text. With those that are not known, as rare as any, it has the length 1."""
        weights = {gram: (1 + math.log(count)) * self._rare.get(gram, self._rarest) for gram, count in counts.items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {gram: weight / length for gram, weight in weights.items() if gram in self._rare}


def _grams(text: str) -> Counter[str]:
    padded = f" {' '.join(text.lower().split())} "
    return Counter(padded[n : n + size] for size in SIZES for n in range(len(padded) - size + 1))


# ---------------------------------------------------------------- files of examples


def read_examples(path: Path) -> list[Example]:
    """The examples of a file: JSON Lines with `text`, `intent` and perhaps `lang`, or TOML with a list for each intent, in a table
    for each language where there are several. Raises Unreadable for what is no such file, BadRequest for what is no example.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path} cannot be read as UTF-8 text", hint="JSON Lines, or TOML") from error
    if path.suffix.lower() == ".toml":
        return _from_toml(text, path)
    return [_from_json(line, f"line {n} of {path}") for n, line in enumerate(text.split("\n"), 1) if line.strip()]


def _from_json(line: str, where: str) -> Example:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{where} is not JSON", hint='{"text": "…", "intent": "…"}') from error
    if not isinstance(row, dict):
        raise BadRequest(f"{where} must be a JSON object")
    text, intent, language = row.get("text"), row.get("intent"), row.get("lang") or ""
    if not isinstance(text, str) or not isinstance(intent, str) or not isinstance(language, str):
        raise BadRequest(f"{where} must have the texts `text` and `intent`, and may have `lang`")
    if not text.strip() or not intent.strip():
        raise BadRequest(f"{where} has an empty `text` or `intent`")
    return Example(_whole(text), _whole(intent.strip()), language)


def _from_toml(text: str, path: Path) -> list[Example]:
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Unreadable(f"{path} is not TOML: {error}") from error
    found: list[Example] = []
    for name, value in tree.items():
        tables = {name: value} if isinstance(value, dict) else {"": {name: value}}
        for language, intents in tables.items():
            for intent, texts in intents.items():
                if not isinstance(texts, list) or not all(isinstance(one, str) and one.strip() for one in texts):
                    raise BadRequest(f"'{intent}' in {path} must be a list of texts", hint='track = ["Where is it?"]')
                found += [Example(one, intent, language) for one in texts]
    return found


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair is no character
