"""The text metrics by name, and what each of them does not show. A report that prints a value prints its note too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from penstock.errors import BadRequest
from penstock.evaluate.bertscore import bertscore
from penstock.evaluate.exact import exact_match, token_f1
from penstock.evaluate.meteor import meteor
from penstock.evaluate.overlap import bleu, chrf
from penstock.evaluate.rouge import rouge
from penstock.evaluate.ter import ter
from penstock.evaluate.text_score import Score

__all__ = ["METRICS", "NOTES", "TextMetric", "text_metric"]

Compare = Callable[[str, Sequence[str]], Score]


@dataclass(frozen=True, slots=True)
class TextMetric:
    """A metric with its usual settings: an answer and its references in, a score out."""

    name: str
    score: Compare
    note: str  # what it does not show
    better: Literal["higher", "lower"] = "higher"
    most: float | None = 1.0  # the end of its scale; None where it has none


NOTES = {
    "exact_match": "Counts a right answer in other words as wrong. Of use where answers are short and written in one way.",
    "token_f1": "Sees words and not their order or meaning: 'not safe' and 'safe' share most of what they say.",
    "bleu": "Made for corpora; for one sentence it is noisy. It asks for the same words in the same order, so a good answer in "
    "other words scores low, and two figures compare only under the same rules for tokens.",
    "chrf": "Compares spelling. It forgives endings and small slips, and with them a wrong digit or a missing 'not'.",
    "chrf++": "Compares spelling and pairs of words. It forgives a wrong digit or a missing 'not' nearly as much as a slip.",
    "ter": "Counts edits to one wording: a right answer in other words costs as much as a wrong one. Lower is better, and long "
    "answers go beyond 1.",
    "rouge1": "Recall and precision of words, in any order: says nothing about whether what is said of them is true.",
    "rouge2": "Shared pairs of words. A faithful summary in its own words scores low, and a copied lead scores high.",
    "rougeL": "The longest common order of words. It rewards length that runs along the reference, and sees no contradiction.",
    "rougeLsum": "As rougeL, line by line: it depends on where lines are broken.",
    "meteor": "Without synonyms here. Mostly recall: long answers that hold all the words do well whatever else they say.",
    "bertscore": "Nearness in meaning of words, not truth: numbers, names and negations hardly move it. Unrelated texts score well "
    "above 0. The shipped encoder reads English; in other scripts than the Latin one, values mean little.",
}


def _rouge(kind: str) -> Compare:
    return lambda answer, references: rouge(answer, references, kinds=(kind,))[kind]


METRICS: dict[str, TextMetric] = {
    metric.name: metric
    for metric in (
        TextMetric("exact_match", exact_match, NOTES["exact_match"]),
        TextMetric("token_f1", token_f1, NOTES["token_f1"]),
        TextMetric("bleu", bleu, NOTES["bleu"]),
        TextMetric("chrf", chrf, NOTES["chrf"]),
        TextMetric("chrf++", partial(chrf, words=2), NOTES["chrf++"]),
        TextMetric("ter", ter, NOTES["ter"], better="lower", most=None),
        *(TextMetric(kind, _rouge(kind), NOTES[kind]) for kind in ("rouge1", "rouge2", "rougeL", "rougeLsum")),
        TextMetric("meteor", meteor, NOTES["meteor"]),
        TextMetric("bertscore", bertscore, NOTES["bertscore"]),
    )
}


def text_metric(name: str) -> TextMetric:
    """The metric of this name. Raises BadRequest where there is none."""
    if name not in METRICS:
        raise BadRequest(f"no text metric is called {name!r}", hint=f"one of {', '.join(METRICS)}")
    return METRICS[name]
