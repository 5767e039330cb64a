"""The checker: a small network that reads a claim together with evidence, and says in one pass what it thinks of both.

It has the shape of the shipped encoder and shares its table of words; `penstock train checker` made it, and its card
(weights/checker/card.json) says from what. On a question it says whether a passage answers it, and where.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from penstock.encoder import WEIGHTS, Precision, fast_int8
from penstock.errors import StorageError
from penstock.verify.evidence import Reader

if TYPE_CHECKING:
    from penstock.types import Vectors

__all__ = ["Checker", "Pair", "Reading", "packed"]

CLS, SEP = 101, 102
LONGEST = 384  # tokens of a pair
LONGEST_CLAIM, LONGEST_QUESTION = 96, 48


class Pair(NamedTuple):
    """What is read together: pieces of words, as `Reader` numbers them. question: what the claim answers, or nothing."""

    claim: Sequence[int]
    evidence: Sequence[int]
    question: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What the checker makes of a pair."""

    support: Vectors  # float32 (3,): log-probabilities that the evidence supports, leaves open, contradicts the claim
    answers: float  # log-odds that the evidence answers the claim, where that is a question
    unsupported: Vectors  # float32 (claim,): log-odds for each piece of the claim
    starts: Vectors  # float32 (evidence,): where the answer begins, where the claim is a question
    ends: Vectors


def packed(pair: Pair) -> tuple[list[int], slice, slice]:
    """The ids in the order in which they are read, and where the claim and the evidence are."""
    question, claim = list(pair.question[-LONGEST_QUESTION:]), list(pair.claim[:LONGEST_CLAIM])
    before = [CLS, *question, SEP] if question else [CLS]
    room = LONGEST - len(before) - len(claim) - 2
    evidence = list(pair.evidence[:room])
    start = len(before)
    middle = start + len(claim) + 1
    return [*before, *claim, SEP, *evidence, SEP], slice(start, middle - 1), slice(middle, middle + len(evidence))


class Checker:
    """The shipped checker. Safe to share between threads."""

    def __init__(
        self,
        reader: Reader,
        folder: Path = WEIGHTS / "checker",
        *,
        precision: Precision = "auto",
        threads: int = 1,
    ) -> None:
        import onnxruntime  # takes 60 MB and a tenth of a second

        arithmetic = ("int8" if fast_int8() else "float32") if precision == "auto" else precision
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # parallel over pairs, not inside one
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        graph = folder / f"layers.{arithmetic}.onnx"
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
            with np.load(folder / "heads.npz") as heads:
                self._heads: dict[str, Vectors] = {name: heads[name] for name in heads.files}
        except Exception as error:  # the library raises its own bare types
            raise StorageError(f"the checker in {folder} cannot be loaded: {error}") from error
        self._table, self._folder, self._threads = reader.table, folder, max(1, threads)

    @cached_property
    def card(self) -> dict[str, Any]:
        """What it was made from and what was measured of it."""
        loaded: dict[str, Any] = json.loads((self._folder / "card.json").read_text("utf-8"))
        return loaded

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, "checker")

    def read(self, pairs: Sequence[Pair]) -> list[Reading]:
        """What it makes of each pair, in their order. About a millisecond of one core for seven tokens."""
        if self._threads == 1 or len(pairs) < 2:
            return [self._read(pair) for pair in pairs]
        return list(self._pool.map(self._read, pairs))

    def _read(self, pair: Pair) -> Reading:
        ids, claim, evidence = packed(pair)
        embedded = self._table.words(ids) + self._table.positions(len(ids)) + self._heads["first"]
        embedded[evidence] += self._heads["second"]  # segment 1 instead of 0
        feed = {"embedded": embedded[None], "mask": np.ones((1, len(ids)), np.int32)}
        states: Vectors = self._session.run(["states"], feed)[0][0]
        pooled = np.concatenate([states[0], _mean(states[claim]), _mean(states[evidence])])
        starts, ends = self._head("span", states[evidence]).T
        return Reading(
            _log_softmax(self._head("support", pooled)),
            float(self._head("answers", pooled)[0]),
            self._head("unsupported", states[claim])[:, 0],
            starts,
            ends,
        )

    def _head(self, name: str, x: Vectors) -> Vectors:
        found: Vectors = x @ self._heads[f"{name}.w"] + self._heads[f"{name}.b"]
        return found


def _mean(states: Vectors) -> Any:
    return states.mean(0) if len(states) else np.zeros(states.shape[1], np.float32)


def _log_softmax(x: Vectors) -> Any:
    shifted = x - x.max()
    return shifted - np.log(np.exp(shifted).sum())
