"""Whether people write about other things than they did: vectors of texts in, alarms out. This file never sees a text.

A window of the last texts is held against a reference by the maximum mean discrepancy (Gretton et al. 2012). Its kernel weighs
directions by the covariance of both sides together, shrunk: the statistic of Hotelling, on which the best linear classifier of the
two sides is built too. How surprising it is is found by permutation, so it holds for any encoder. A stream is looked at again and
again; each look spends its share of the false alarms that are allowed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penstock.errors import BadRequest
from penstock.observe.charts import EVENTS, FALSE_ALARMS
from penstock.stats.comparing import ranks

__all__ = ["Difference", "TextAlarm", "TextWatch", "compare", "told_apart"]

Rows = NDArray[np.float32]

SHRINK = 2.0  # mean variances that are added to the variance of every direction
REFERENCE = 600  # texts, at most
WARM_UP = 300
WINDOWS = (100, 300)  # texts
EVERY = 50  # texts between looks
FIRST_TRIES = 199  # permutations after which a look ends that promises nothing
MOST_TRIES = 9_999
SHUFFLED = 20  # times that a classifier is made from sides that mean nothing
BATCH = 500  # permutations at a time
BLOCK = 10  # texts that are moved together where neighbours are alike
SHOWN = 5  # texts that are most unlike what was there before
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Difference:
    """What tells two sets of texts apart."""

    statistic: float  # squared distance of the two means
    surprise: float  # the same in standard deviations of its permutations
    p: float
    direction: Rows  # (dim,), from the reference to the window


@dataclass(frozen=True, slots=True)
class TextAlarm:
    """What is written has changed."""

    position: int  # of the text at which it was seen, from 0
    changed_at: int  # of the first text after the change, as far as can be told
    window: int  # texts that were held against the reference
    p: float
    surprise: float
    told_apart: float  # AUROC of a classifier between reference and window, 0.5: not at all
    newest: tuple[int, ...]  # positions of the texts that are most unlike the reference


def compare(
    reference: ArrayLike, window: ArrayLike, *, level: float = 0.05, block: int = 1, seed: int = 0
) -> Difference:
    """Hold a window against a reference. Rows are vectors of texts, (n, dim) and (m, dim).

    level: the probability that matters: well above it the permutations end early (Besag and Clifford 1991). block: neighbours that
    are permuted together. Raises BadRequest for fewer than 20 rows, other dimensions, or numbers that are none.
    """
    a, b = _rows(reference), _rows(window)
    if min(len(a), len(b)) < 20 or a.shape[1] != b.shape[1]:
        raise BadRequest(f"20 vectors of one length are needed on both sides, not {a.shape} and {b.shape}")
    weighed, kernel = _kernel(a, b)
    np.fill_diagonal(kernel, 0)
    sides = np.concatenate([np.full(len(a), -1 / len(a)), np.full(len(b), 1 / len(b))]).astype(np.float32)
    found = float(sides @ kernel @ sides)
    draw, tries, reached, values = np.random.default_rng(seed), 0, 0, []
    wanted = min(MOST_TRIES, max(FIRST_TRIES, math.ceil(4 / level)))
    while tries < wanted and not (tries >= FIRST_TRIES and reached > 4 * level * tries + 4):
        count = min(BATCH if tries else FIRST_TRIES, wanted - tries)
        shuffled = np.stack([sides[_shuffled(len(sides), block, draw)] for _ in range(count)])
        drawn = ((shuffled @ kernel) * shuffled).sum(1)
        reached += int((drawn >= found).sum())
        tries += count
        values.append(drawn)
    chance = np.concatenate(values)
    direction = weighed @ sides
    spread = float(chance.std()) or 1.0
    return Difference(found, (found - float(chance.mean())) / spread, (1 + reached) / (1 + tries), direction)


def _shuffled(n: int, block: int, draw: np.random.Generator) -> NDArray[np.int64]:
    if block == 1:
        return draw.permutation(n)
    turned = np.roll(np.arange(n), int(draw.integers(n)))
    pieces = [turned[at : at + block] for at in range(0, n, block)]
    return np.concatenate([pieces[at] for at in draw.permutation(len(pieces))])


def told_apart(reference: ArrayLike, window: ArrayLike, *, seed: int = 0) -> float:
    """How well a linear classifier tells the two: AUROC, 0.5 for not at all (but for chance) and 1 for always.

    What it reaches on the texts it was made from is set against what it reaches where the sides are shuffled. That is cautious:
    small differences look smaller than they are.
    """
    a, b = _rows(reference), _rows(window)
    _, kernel = _kernel(a, b)
    sides = np.repeat([-1 / len(a), 1 / len(b)], [len(a), len(b)]).astype(np.float32)
    draw = np.random.default_rng(seed)
    shuffled = [draw.permutation(sides) for _ in range(SHUFFLED)]
    found, *chance = (_auroc(kernel @ one, one > 0) for one in (sides, *shuffled))
    usual = min(statistics.fmean(chance), 0.999)
    return min(max(1 - (1 - found) / (1 - usual) / 2, 0.0), 1.0)


def _auroc(scores: Rows, positive: NDArray[np.bool_]) -> float:
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks(scores)[positive].sum() - n * (n + 1) / 2) / (n * m))


def _kernel(a: Rows, b: Rows) -> tuple[Rows, Rows]:
    """(weighed rows (dim, n + m), kernel (n + m, n + m)) of both sides, centred."""
    both = np.concatenate([a, b])
    both = both - both.mean(0)
    covariance = both.T @ both / len(both)
    ridge = SHRINK * float(np.trace(covariance)) / len(covariance) + 1e-12  # all texts may be the same one
    weighed = np.linalg.solve(covariance + np.float32(ridge) * np.eye(len(covariance), dtype=np.float32), both.T)
    return weighed, both @ weighed


class TextWatch:
    """Watches a stream of texts by their vectors. Memory is that of some 900 vectors."""

    def __init__(
        self, *, false_alarms: float = FALSE_ALARMS, reference: ArrayLike | None = None, warm_up: int = WARM_UP, seed: int = 0
    ) -> None:  # fmt: skip
        """false_alarms: per 10,000 texts, at most. reference: vectors (n, dim) from a time when all was well, which replace the
        first warm-up; otherwise the first 300 texts are one, and it grows to 600 while nothing happens."""
        least = EVENTS / EVERY * len(WINDOWS) / MOST_TRIES
        if not least <= false_alarms <= 100:
            raise BadRequest(f"false alarms per 10,000 texts must be between {least:.2f} and 100, not {false_alarms}")
        if warm_up < 50:
            raise BadRequest(f"a warm-up has at least 50 texts, not {warm_up}")
        self.false_alarms, self.warm_up, self.seen, self._seed = false_alarms, warm_up, 0, seed
        self._given = 0  # texts of a reference, which stand before the first
        self._rows: Rows = np.zeros((0, 0), np.float32)  # since the last alarm: the reference, then the last texts
        self._kept: list[int] = []  # their positions
        if reference is not None:
            rows = _rows(reference)[-REFERENCE:]
            if len(rows) < 50:
                raise BadRequest(f"a reference has at least 50 texts, not {len(rows)}")
            self._rows, self._kept, self._given = rows, list(range(-len(rows), 0)), len(rows)

    @property
    def left_to_learn(self) -> int:
        """Texts until the first look."""
        known = self._given or self.warm_up
        return max(known + (WINDOWS[0] if not self._given else EVERY) - len(self._rows), 0)

    def watch(self, vectors: ArrayLike) -> list[TextAlarm]:
        """Take vectors, (n, dim). However a stream is cut, the alarms are the same."""
        rows, alarms = _rows(vectors), []
        if len(rows) and len(self._rows) and rows.shape[1] != self._rows.shape[1]:
            raise BadRequest(f"the vectors have {rows.shape[1]} dimensions, those before them {self._rows.shape[1]}")
        at = 0
        while at < len(rows):
            taken = min(EVERY - self.seen % EVERY, len(rows) - at)
            piece = rows[at : at + taken]
            self._rows = np.concatenate([self._rows, piece]) if len(self._rows) else piece
            self._kept += range(self.seen, self.seen + taken)
            self.seen += taken
            at += taken
            if self.seen % EVERY == 0 and (alarm := self._look()):
                alarms.append(alarm)
                self._rows, self._kept, self._given = self._rows[:0], [], 0
            self._forget()
        return alarms

    def _forget(self) -> None:
        """What is neither reference nor window."""
        head = self._given or min(REFERENCE, len(self._rows))
        extra = len(self._rows) - head - WINDOWS[-1]
        if extra > 0:
            self._rows = np.concatenate([self._rows[:head], self._rows[head + extra :]])
            del self._kept[head : head + extra]

    def _look(self) -> TextAlarm | None:
        least = self._given or self.warm_up
        level = self.false_alarms / EVENTS * EVERY / len(WINDOWS)
        block = BLOCK if neighbours_alike(self._rows[:least]) else 1
        for width in WINDOWS:
            size = min(width, len(self._rows) - self._given) if self._given else width
            if size < EVERY or len(self._rows) < least + size:
                continue
            before = self._rows[: min(self._given or REFERENCE, len(self._rows) - size)]
            found = compare(before, self._rows[-size:], level=level, block=block, seed=self._seed + self.seen)
            if found.p <= level:
                return self._alarm(found, before, size)
        return None

    def _alarm(self, found: Difference, before: Rows, size: int) -> TextAlarm:
        along = self._rows @ found.direction
        sums = np.cumsum(along - along.mean())
        n = np.arange(1, len(along))
        weight = np.abs(sums[:-1]) / np.sqrt(n * (len(along) - n))
        edge = max(least_of(before), 1)
        change = edge + int(np.argmax(weight[edge - 1 :])) if len(weight) >= edge else len(along) - size
        newest = np.argsort(-along[-size:], kind="stable")[:SHOWN]
        positions = self._kept[-size:]
        return TextAlarm(
            self.seen - 1, max(self._kept[change], 0), size, found.p, found.surprise,
            told_apart(before, self._rows[-size:], seed=self._seed), tuple(positions[at] for at in newest.tolist()),
        )  # fmt: skip

    def plain(self) -> dict[str, Any]:
        """The state as JSON."""
        return {
            "format": FORMAT,
            "settings": {"false_alarms": self.false_alarms, "warm_up": self.warm_up, "seed": self._seed},
            "seen": self.seen,
            "given": self._given,
            "kept": self._kept,
            "rows": self._rows.tolist(),
        }

    @classmethod
    def of_plain(cls, state: Mapping[str, Any]) -> TextWatch:
        """Raises BadRequest for what `plain` has not made."""
        try:
            if state["format"] != FORMAT:
                raise BadRequest(f"the state has format {state['format']}, this version reads {FORMAT}")
            watch = cls(**{name: state["settings"][name] for name in ("false_alarms", "warm_up", "seed")})
            watch.seen, watch._given = int(state["seen"]), int(state["given"])
            watch._kept = [int(place) for place in state["kept"]]
            watch._rows = _rows(state["rows"]) if state["rows"] else watch._rows
        except (KeyError, TypeError, ValueError) as error:
            raise BadRequest("the state is damaged") from error
        if len(watch._kept) != len(watch._rows):
            raise BadRequest("the state is damaged")
        return watch


def least_of(before: Rows) -> int:
    """Texts that certainly are of the reference: half of it."""
    return len(before) // 2


def neighbours_alike(rows: Rows) -> bool:
    """Whether a text is more like the one before it than like others, as in conversations; chance does it once in a thousand."""
    if len(rows) < 50:
        return False
    centred = rows - rows.mean(0)
    likeness = (centred[1:] * centred[:-1]).sum(1)
    kernel = centred @ centred.T
    strangers = (float(kernel.sum()) - float(np.trace(kernel))) / (len(rows) * (len(rows) - 1))
    spread = float(likeness.std()) / math.sqrt(len(likeness))
    return spread > 0 and (float(likeness.mean()) - strangers) / spread > 3.1


def _rows(vectors: ArrayLike) -> Rows:
    try:
        rows = np.asarray(vectors, np.float32)
    except (TypeError, ValueError) as error:
        raise BadRequest("vectors of texts are rows of numbers of one length") from error
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise BadRequest(f"vectors of texts are finite rows (n, dim), not {rows.shape}")
    return rows
