"""What somebody wants, learnt from a handful of examples for each intent or from thousands, or that it is none of these.

Two signals: a sentence encoder, in the languages that it knows, and the n-grams of one to five characters, in any language. A
regularised multinomial regression weighs them, and the nearest example of an intent is added to that. How likely an answer is
right, and what a text looks like that belongs to no intent, is learnt by leaving out a fifth of the examples and of the intents
at a time.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from penstock.errors import BadRequest, StorageError, Unreadable
from penstock.storage.arrays import open_arrays, write_arrays
from penstock.storage.envelope import Encryption
from penstock.text.languages import identifier
from penstock.trace import log
from penstock.types import Embedder

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OTHER", "Example", "Intent", "Intents", "read_examples"]

OTHER = "other"
MOST_EXAMPLES = 20_000
MOST_INTENTS = 500
LONGEST = 500  # characters that are looked at: what somebody wants is said soon
SIZES = (1, 2, 3, 4, 5)  # the letters themselves too: Chinese has words of one
ENCODER = 2 / 3  # what the encoder counts beside the n-grams where the nearest example is looked for
MEANING = 2.0  # length of the encoder's vectors where those of the n-grams have the length 1
HOLDS = 0.03  # what the squares of the weights cost
NEAREST = 8.0  # what the nearest example of an intent adds to its score
LANDMARKS = 1_500  # examples against whose n-grams a text is held; beyond, the encoder needs them no longer
FAMILIAR = 0.6  # familiarity of the examples from which on the encoder knows their language
OUTSIDE = 0.2  # share of texts that are expected to belong to no intent
FOLDS = 5
USUAL_INSIDE = (
    0.6,
    0.9,
    0.4,
    2.3,
)  # what the features say in most sets of examples, and the bias: measured on four sets,
USUAL_RIGHT = (0.0, 1.5, 0.0, 2.5)  # in twelve languages
HOLD = 20.0  # how many examples that is worth
SPREAD = (1.3, 1.4, 0.16)  # by which the features of texts differ in most sets
RARE = 0.1  # share of the examples below which a language that was told is taken for a mistake
TINY = 1e-6
STEPS = 60
REMEMBERED = 8  # steps from which the curve is known
FORM: Final = "1"  # of what is kept: another one for each change in what is learnt
MOST_KEPT = 8


class Example(NamedTuple):
    """language: ISO 639-1; "" where it is to be told."""

    text: str
    intent: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a text wants. confidence: the probability that it is so, 0 to 1. language: whose examples decided; "" for all.

    nearest: the intent that comes first, also where the text is taken for another one. inside: the probability that the text
    belongs to any intent at all.
    """

    name: str
    confidence: float
    language: str
    nearest: str = ""
    inside: float = 1.0


class Intents:
    """Learnt from examples when it is first asked in a language; an intent named "other" has examples of what is none.

    A language that has examples of every intent is judged by its own; any other one by all examples. Safe to share between
    threads.
    """

    def __init__(
        self, examples: Sequence[Example], *, embedder: Embedder | None = None, keep: Path | None = None,
        encryption: Encryption | None = None,
    ) -> None:  # fmt: skip
        """keep: a folder for what was learnt, so that the same examples are learnt once; vectors of the examples lie in it, and no
        texts. Raises BadRequest where nothing can be learnt."""
        if len(examples) > MOST_EXAMPLES:
            raise BadRequest(f"there are {len(examples):,} examples, the limit is {MOST_EXAMPLES:,}")
        self._embedder, self._keep, self._encryption = embedder, keep, encryption
        self._examples = _told(list(dict.fromkeys(examples)))
        self.names = tuple(dict.fromkeys(one.intent for one in examples if one.intent != OTHER))
        if not self.names:
            raise BadRequest("there is no example of an intent", hint='{"text": "…", "intent": "…"}')
        if len(self.names) > MOST_INTENTS:
            raise BadRequest(f"there are {len(self.names):,} intents, the limit is {MOST_INTENTS:,}")
        named: dict[str, set[str]] = {}
        for one in self._examples:
            named.setdefault(one.language, set()).add(one.intent)
        self.languages = tuple(sorted(named.keys() - {""}))
        self._whole = {language for language, intents in named.items() if intents >= set(self.names)}
        self._parts: dict[str, _Part] = {}
        self._lock = Lock()

    def learn(self) -> None:
        """Learn now what would be learnt when it is first asked: seconds for ten thousand examples, and the encoder's minute."""
        for language in sorted(self._whole) or [""]:
            self._part(language)

    def of(self, text: str, *, language: str = "") -> Intent:
        """What a text wants. language: ISO 639-1 where it is known. About 6 ms with the shipped encoder."""
        text = _whole(text)
        found = identifier().identify(text, among=self.languages)
        told = _bare(language) or (found.language if found.confidence else "")
        part = told if told in self._whole else ""
        nearest, inside, right = self._part(part).of(text)
        if inside < 0.5:
            return Intent(OTHER, 1 - inside, part, nearest, inside)
        return Intent(nearest, inside * right, part, nearest, inside)

    def _part(self, language: str) -> _Part:
        with self._lock:
            if language not in self._parts:
                own = [one for one in self._examples if not language or one.language == language]
                self._parts[language] = _Part(own, self.names, self._embedder, self._kept)
            return self._parts[language]

    def _kept(self, key: str, learnt: Callable[[], _Learnt]) -> _Learnt:
        """What was learnt before, or is learnt now and kept. What cannot be read or written is no reason not to learn."""
        if self._keep is None:
            return learnt()
        folder = self._keep / key
        for file in folder.glob("*.arrays"):
            with suppress(StorageError, KeyError, ValueError, TypeError):
                arrays, _ = open_arrays(file, encryption=self._encryption)
                return _Learnt.of_arrays(arrays)
        found = learnt()
        try:
            write_arrays(folder, found.arrays(), {}, encryption=self._encryption)
            others = sorted(self._keep.iterdir(), key=lambda path: path.stat().st_mtime)
            for old in others[:-MOST_KEPT]:
                shutil.rmtree(old, ignore_errors=True)
        except (StorageError, OSError) as error:
            log("intents_not_kept", level="warning", reason=str(error))
        return found


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


# ---------------------------------------------------------------- one language


@dataclass(frozen=True, slots=True)
class _Learnt:
    """All that takes time to learn. Arrays of no columns stand for a signal that is not used."""

    vectors: NDArray[Any]  # (examples, dim), unit rows
    corner: NDArray[Any]  # (landmarks, landmarks): turns cosines with the landmarks into coordinates
    weights: NDArray[Any]  # (dim + landmarks, classes)
    inside: _Chance
    right: _Chance

    def arrays(self) -> dict[str, NDArray[Any]]:
        chances = {"inside": self.inside.array(), "right": self.right.array()}
        return {"vectors": self.vectors, "corner": self.corner, "weights": self.weights, **chances}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> _Learnt:
        inside, right = (_Chance.of_array(arrays[name]) for name in ("inside", "right"))
        return cls(arrays["vectors"], arrays["corner"], arrays["weights"], inside, right)


class _Seen(NamedTuple):
    """Some texts as they are judged."""

    vectors: NDArray[Any]  # (texts, dim)
    letters: NDArray[Any]  # (texts, landmarks): cosines of n-grams


class _Part:
    """The examples of one language, or all of them. Those of one intent stand together, those of none last."""

    def __init__(
        self, examples: Sequence[Example], names: Sequence[str], embedder: Embedder | None,
        kept: Callable[[str, Callable[[], _Learnt]], _Learnt],
    ) -> None:  # fmt: skip
        self._names = sorted(names)  # so that nothing depends on the order of the examples
        numbers = {name: n for n, name in enumerate(self._names)}
        keyed = sorted((numbers.get(one.intent, len(names)), one.text[:LONGEST]) for one in examples)
        self._of, self._texts = np.array([number for number, _ in keyed]), [text for _, text in keyed]
        self._own, self._classes = len(names), int(self._of[-1]) + 1 if self._of[-1] == len(names) else len(names)
        some = self._texts[:: max(1, len(self._texts) // 1_000)]
        knows = embedder is not None and np.mean([embedder.familiarity(text) for text in some]) >= FAMILIAR
        self._embedder = embedder if knows else None
        lettered = min(len(keyed), LANDMARKS) if not knows or len(keyed) <= LANDMARKS else 0
        self._marks = np.linspace(0, len(keyed) - 1, lettered).astype(int)
        self._grams = _Grams([self._texts[n] for n in self._marks])
        self._anchors = self._of if knows else self._of[self._marks]  # classes of the examples that can be the nearest
        parts = [FORM, self._embedder.id if self._embedder else "", *map(str, self._names)]
        told = json.dumps([parts, keyed]).encode()
        self._learnt = kept(hashlib.sha256(told).hexdigest()[:32], self._learn)

    def of(self, text: str) -> tuple[str, float, float]:
        """The intent that comes first, how likely the text belongs to any, and how likely, if so, it is that one."""
        learnt = self._learnt
        seen = self._see([text[:LONGEST]])
        near = _nearest(self._alike(seen, learnt.vectors), self._anchors, self._classes)
        scores = _coordinates(seen, learnt.corner) @ learnt.weights + NEAREST * near
        features, best = _features(scores, near, self._own)
        return self._names[int(best[0])], float(learnt.inside.of(features)[0]), float(learnt.right.of(features)[0])

    def _see(self, texts: Sequence[str]) -> _Seen:
        vectors = self._embedder.embed(texts) if self._embedder else np.zeros((len(texts), 0), np.float32)
        return _Seen(vectors, np.stack([self._grams.against(text) for text in texts]))

    def _alike(self, seen: _Seen, vectors: NDArray[Any]) -> NDArray[Any]:
        """(texts, anchors): how near each example is."""
        if self._embedder is None:
            return seen.letters
        alike: NDArray[Any] = seen.vectors @ vectors.T
        return ENCODER * alike + (1 - ENCODER) * seen.letters if len(self._marks) else alike

    def _learn(self) -> _Learnt:
        seen = self._see(self._texts)
        inner = seen.letters[self._marks] + 1e-3 * np.eye(len(self._marks))  # so that two equal texts do no harm
        corner = np.linalg.inv(np.linalg.cholesky(inner)).T.astype(np.float32)
        rows = _coordinates(seen, corner)
        weights = _fitted(rows, self._of, self._classes)
        inside, outside, right = self._left_out(seen, rows)
        return _Learnt(
            seen.vectors, corner, weights, _Chance.fitted(inside, outside, usual=USUAL_INSIDE, share=1 - OUTSIDE),
            _Chance.fitted(inside[right], inside[~right], usual=USUAL_RIGHT),
        )  # fmt: skip

    def _left_out(self, seen: _Seen, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The features of examples of which nothing was learnt: while their intent was there, while it was not; and whether the
        intent that came first was theirs."""
        place = np.arange(len(self._of)) - np.searchsorted(self._of, self._of)
        turn = (place + self._of) % FOLDS
        inside, outside, right = [np.zeros((0, 3))], [np.zeros((0, 3))], [np.zeros(0, bool)]
        for fold in range(FOLDS):
            gone = (self._of % FOLDS == fold) & (self._of < self._own)
            train = ~gone & (turn != fold)
            left, numbers = np.unique(self._of[train], return_inverse=True)
            own = int((left < self._own).sum())
            if not own or len(left) < min(2, self._classes):
                continue
            weights = _fitted(rows[train], numbers, len(left))
            anchored = train if self._embedder else train[self._marks]
            anchors = np.searchsorted(left, self._anchors[anchored])
            asked = np.flatnonzero(~train)
            for start in range(0, len(asked), 1_000):  # a row with a number for each example is long
                some = asked[start : start + 1_000]
                theirs = _Seen(seen.vectors[some], seen.letters[some])
                near = _nearest(self._alike(theirs, seen.vectors)[:, anchored], anchors, len(left))
                features, best = _features(rows[some] @ weights + NEAREST * near, near, own)
                known = np.isin(self._of[some], left[:own])
                inside.append(features[known])
                outside.append(features[~known])
                right.append(left[best[known]] == self._of[some][known])
        return np.concatenate(inside), np.concatenate(outside), np.concatenate(right)


def _coordinates(seen: _Seen, corner: NDArray[Any]) -> NDArray[Any]:
    return np.hstack([MEANING * seen.vectors, seen.letters @ corner]).astype(np.float32)


def _nearest(alike: NDArray[Any], anchors: NDArray[Any], classes: int) -> NDArray[Any]:
    """(texts, classes) of (texts, anchors): the nearest of each class, 0 for one without. anchors: their classes, in order."""
    present, starts = np.unique(anchors, return_index=True)
    nearest = np.zeros((len(alike), classes), np.float32)
    if len(present):
        nearest[:, present] = np.maximum.reduceat(alike, starts, axis=1)
    return nearest


def _features(scores: NDArray[Any], near: NDArray[Any], own: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(texts, 3): the best score of an intent, how far it is before all others together, and how near its nearest example is;
    and which intent that is. own: how many classes are intents."""
    best = scores[:, :own].argmax(1)
    each = np.arange(len(scores))
    others = scores.copy()
    others[each, best] = -np.inf
    most = np.maximum(others.max(1), -30.0)
    together = most + np.log(np.maximum(np.exp(others - most[:, None]).sum(1), TINY))
    ahead = np.clip(scores[each, best] - together, -12, 12)
    return np.stack([scores[each, best], ahead, near[each, best]], 1), best


# ---------------------------------------------------------------- what is learnt


def _fitted(rows: NDArray[Any], of: NDArray[Any], classes: int) -> NDArray[Any]:
    """Weights (features, classes) of a multinomial regression, by the method of L-BFGS."""
    each = np.arange(len(rows))

    def slope(weights: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        scores = rows @ weights
        scores -= scores.max(1, keepdims=True)
        chances = np.exp(scores)
        totals = chances.sum(1, keepdims=True)
        loss = float(np.log(totals).sum() - scores[each, of].sum())
        chances /= totals
        chances[each, of] -= 1
        return loss + HOLDS / 2 * float(np.vdot(weights, weights)), rows.T @ chances + HOLDS * weights

    weights: NDArray[Any] = np.zeros((rows.shape[1], classes), np.float32)
    loss, down = slope(weights)
    steps: list[tuple[NDArray[Any], NDArray[Any]]] = []  # how far the weights went, and by how much the slope changed
    for _ in range(STEPS):
        way = _newton(down, steps)
        length, gain = 1.0, float(np.vdot(down, way))
        while True:
            moved = weights - length * way
            now, then = slope(moved)
            if now <= loss - 1e-4 * length * gain or length < 1e-4:
                break
            length /= 2
        step, bend = moved - weights, then - down
        if np.vdot(step, bend) > 1e-12:
            steps = [*steps, (step, bend)][-REMEMBERED:]
        done = abs(loss - now) <= 1e-5 * abs(loss)
        weights, loss, down = moved, now, then
        if done:
            break
    return weights


def _newton(slope: NDArray[Any], steps: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[Any]:
    """The way down, as the last steps let one guess the curve (Nocedal 1980)."""
    way, shares = slope.copy(), []
    for step, bend in reversed(steps):
        shares.append(float(np.vdot(step, way) / np.vdot(bend, step)))
        way -= shares[-1] * bend
    if steps:
        step, bend = steps[-1]
        way *= np.vdot(step, bend) / np.vdot(bend, bend)
    else:
        way /= max(1.0, math.sqrt(float(np.abs(slope).sum())))
    for (step, bend), share in zip(steps, reversed(shares), strict=True):
        way += step * (share - float(np.vdot(bend, way) / np.vdot(bend, step)))
    return way


@dataclass(frozen=True, slots=True)
class _Chance:
    """A probability from features, by logistic regression that holds on to what is usual while it has seen little."""

    middle: NDArray[Any]
    spread: NDArray[Any]
    weights: NDArray[Any]  # the last one is the bias

    @classmethod
    def fitted(cls, yes: NDArray[Any], no: NDArray[Any], *, usual: Sequence[float], share: float = 0.0) -> _Chance:
        """From features (texts, 3) of either kind. share: how often it is yes; 0: as often as in these."""
        rows = np.concatenate([yes, no]) if len(yes) + len(no) else np.zeros((1, 3))
        known = yes if len(yes) else rows
        middle = known.mean(0)
        spread = np.sqrt((len(known) * known.var(0) + HOLD * np.square(SPREAD)) / (len(known) + HOLD))
        weights = start = np.array(usual)
        if not len(yes) + len(no):
            return cls(middle, spread, weights)
        design = np.hstack([(rows - middle) / spread, np.ones((len(rows), 1))])
        wanted = np.repeat([1.0, 0.0], [len(yes), len(no)])
        importance = np.ones(len(rows))
        if share and len(yes) and len(no):
            importance = np.where(wanted == 1, 1.0, len(yes) * (1 - share) / share / len(no))
        for _ in range(STEPS):  # Newton's
            chance = _logistic(design @ weights)
            slope = design.T @ (importance * (chance - wanted)) + HOLD * (weights - start)
            curve = (design * (importance * chance * (1 - chance))[:, None]).T @ design + HOLD * np.eye(len(start))
            step = np.linalg.solve(curve, slope)
            weights = weights - step / max(1.0, np.abs(step).max())  # a long one overshoots
        return cls(middle, spread, weights)

    def of(self, features: NDArray[Any]) -> NDArray[Any]:
        """(texts,) of features (texts, 3)."""
        chances: NDArray[Any] = _logistic((features - self.middle) / self.spread @ self.weights[:-1] + self.weights[-1])
        return chances

    def array(self) -> NDArray[Any]:
        return np.concatenate([self.middle, self.spread, self.weights])

    @classmethod
    def of_array(cls, array: NDArray[Any]) -> _Chance:
        return cls(array[:3], array[3:6], array[6:])


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
