"""The shape that all text metrics give, and what they ask of the texts they are given.

A metric compares one answer with one or more references, or a list of answers with a list of references each. Its value is 0
to 1 where more is better, whatever scale its authors print it on; `percent` is the scale of sacrebleu. The edit rate alone is
better where it is lower, and has no upper end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from types import MappingProxyType
from typing import NamedTuple

from penstock.errors import BadRequest

__all__ = ["Score", "best", "checked", "checked_pairs", "harmonic", "mean"]


class Score(NamedTuple):
    """What a metric says. precision and recall: None where a metric has none."""

    value: float
    precision: float | None = None
    recall: float | None = None
    detail: Mapping[str, float] = MappingProxyType({})  # what else went into it: counts, lengths, penalties

    @property
    def percent(self) -> float:
        return 100 * self.value


def harmonic(precision: float, recall: float) -> float:
    """F1; 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def best(scores: Sequence[Score]) -> Score:
    """The score against the reference that is nearest: the highest value, and the first of equals."""
    return scores[0] if len(scores) == 1 else max(scores, key=lambda score: score.value)


def checked(answer: str, references: str | Sequence[str]) -> Sequence[str]:
    """The references, also where one was given bare. Raises BadRequest where there is none, or where something is not text."""
    if isinstance(references, str):
        references = (references,)
    if not references:
        raise BadRequest("there is no reference to compare with", hint="give at least one; it may be empty")
    if not isinstance(answer, str) or not all(isinstance(reference, str) for reference in references):
        raise BadRequest("an answer and its references have to be text")
    return references


def checked_pairs(answers: Sequence[str], references: Sequence[str | Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    """Each answer with its references; their number may differ from answer to answer. Raises BadRequest, with the row."""
    if isinstance(answers, str) or isinstance(references, str):
        raise BadRequest("a corpus is a list of answers and a list of their references, not one text")
    if len(answers) != len(references) or not answers:
        raise BadRequest(
            f"{len(answers)} answers and references for {len(references)} cannot be compared",
            hint="give one entry of references, a text or a list of texts, for each answer, and at least one answer",
        )
    pairs = []
    for row, (answer, own) in enumerate(zip(answers, references, strict=True), 1):
        try:
            pairs.append((answer, checked(answer, own)))
        except BadRequest as error:
            raise BadRequest(f"row {row}: {error.message}", hint=error.hint) from None
    return pairs


def mean(
    score: Callable[[str, Sequence[str]], Score], answers: Sequence[str], references: Sequence[str | Sequence[str]]
) -> Score:
    """The mean of a metric over answers that are each scored by themselves: value, precision and recall."""
    scores = [score(answer, own) for answer, own in checked_pairs(answers, references)]
    if any(one.precision is None for one in scores):
        return Score(fmean(one.value for one in scores))
    return Score(
        fmean(one.value for one in scores),
        fmean(one.precision or 0.0 for one in scores),
        fmean(one.recall or 0.0 for one in scores),
    )
