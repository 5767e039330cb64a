"""What people thought of the same conversations: how far our figures agree with them, and they with each other; and which
conversations they should look at next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from penstock.errors import BadRequest
from penstock.evaluate.cases import rows_of
from penstock.review.sampling import Drawn, Item, draw, plan
from penstock.stats import cohen_kappa, normal_quantile
from penstock.stats.comparing import ranks
from penstock.support.fields import as_count, as_number, as_truth
from penstock.support.metrics import METRICS
from penstock.support.report import Agreed
from penstock.support.scored import Scored

__all__ = ["Rating", "agreed", "drawn", "read_ratings"]

FEWEST = 3  # items of which there is any figure
MOST_LABELS = 11  # of a scale, for a kappa
_CALLED = {  # what people call a metric in their files
    "accurate": "accuracy", "correct": "accuracy", "factual": "accuracy", "factual_accuracy": "accuracy",
    "hallucinated": "hallucination",
    "relevant": "relevance", "coherent": "coherence", "empathetic": "empathy", "empathic": "empathy", "solved": "resolved",
    "satisfied": "satisfaction", "csat": "satisfaction", "rating": "satisfaction", "score": "satisfaction",
    "personalised": "personalisation",
    "personalization": "personalisation", "escalation": "escalated", "upset_turns": "upset", "unsatisfied": "unsatisfied_predicted",
}  # fmt: skip
_TURNED = {"satisfaction": "unsatisfied_predicted"}  # the more of the one, the less of the other
_NO_VALUES = frozenset(
    {
        "conversation",
        "conversation_id",
        "convo_id",
        "id",
        "turn",
        "at",
        "rater",
        "reviewer",
        "by",
        "metric",
        "value",
        "note",
        "comment",
    }
)


@dataclass(frozen=True, slots=True)
class Rating:
    """What one person says of a conversation, or of a turn of it. turn: -1 for all of it."""

    conversation: str
    turn: int
    rater: str
    metric: str
    value: float


def read_ratings(path: Path) -> tuple[Rating, ...]:
    """JSON Lines or CSV: a row has `conversation`, perhaps `turn` and `rater`, and either `metric` and `value`, or a column for
    each metric. Raises BadRequest, naming the line of what is wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"the ratings {path} cannot be read: {error.strerror or error}") from error
    found: dict[tuple[str, int, str, str], Rating] = {}
    for line, row in _rated_rows(data, path):
        own = {str(name).strip().lower(): value for name, value in row.items()}
        conversation = next(
            (
                str(own[name])
                for name in ("conversation", "conversation_id", "convo_id", "id")
                if own.get(name) not in (None, "")
            ),
            "",
        )
        if not conversation:
            raise BadRequest(
                f"line {line} of {path} names no conversation", hint="conversation,turn,rater,metric,value"
            )
        rater = next((str(own[name]) for name in ("rater", "reviewer", "by") if own.get(name)), "people")
        turn = as_count(own.get("turn", own.get("at")))
        pairs = (
            {str(own["metric"]): own.get("value")}
            if own.get("metric")
            else {n: v for n, v in own.items() if n not in _NO_VALUES}
        )
        for name, value in pairs.items():
            if value in (None, ""):
                continue
            metric = _CALLED.get(name.replace(" ", "_"), name.replace(" ", "_"))
            number = _value(value)
            if metric not in METRICS and metric not in _TURNED:
                if own.get("metric"):
                    raise BadRequest(
                        f"line {line} of {path} rates '{name}'", hint=f"one of {', '.join((*METRICS, *_TURNED))}"
                    )
                continue
            if number is None:
                raise BadRequest(
                    f"line {line} of {path}: '{str(value)[:40]}' is no rating", hint="a number, or yes and no"
                )
            one = Rating(conversation, -1 if turn is None else turn, rater, metric, number)
            found[one.conversation, one.turn, one.rater, one.metric] = one
    if not found:
        raise BadRequest(f"there is no rating in {path}", hint="conversation,turn,rater,metric,value")
    return tuple(found.values())


def _rated_rows(data: bytes, path: Path) -> Sequence[tuple[int, Mapping[str, object]]]:
    import csv
    import io

    if path.suffix.lower() in (".csv", ".tsv"):
        try:
            text = data.decode("utf-8-sig")
            first = text.split("\n", 1)[0]
            reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t|", key=first.count))
            return [(n, {k: v for k, v in row.items() if k}) for n, row in enumerate(reader, 2)]
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadRequest(f"the ratings {path} cannot be read as a table: {error}") from error
    try:
        return list(rows_of(data, ".jsonl"))
    except BadRequest as error:
        raise BadRequest(f"{path}: {error.message}", hint=error.hint) from error


def _value(value: object) -> float | None:
    truth = as_truth(value) if not isinstance(value, int | float) or isinstance(value, bool) else None
    if truth is not None and not (isinstance(value, str) and value.strip() in ("0", "1")):
        return float(truth)
    return as_number(value)


def agreed(scored: Sequence[Scored], ratings: Sequence[Rating]) -> tuple[Agreed, ...]:
    """For each metric that people rated: ours beside the mean of theirs, and every two of them beside each other."""
    by_id = {one.id: one for one in scored}
    found: list[Agreed] = []
    for metric in dict.fromkeys(one.metric for one in ratings):
        items: dict[tuple[str, int], dict[str, float]] = {}
        for one in ratings:
            if one.metric == metric:
                items.setdefault((one.conversation, one.turn), {})[one.rater] = one.value
        ours = _TURNED.get(metric, metric)
        pairs = []
        for (conversation, turn), theirs in items.items():
            value = _automatic(by_id.get(conversation), ours, turn)
            if value is not None:
                pairs.append((float(np.mean(list(theirs.values()))), 1 - value if metric in _TURNED else value))
        values = sorted({value for theirs in items.values() for value in theirs.values()})
        found.append(_beside(ours, "people", pairs, values))
        raters = sorted({rater for theirs in items.values() for rater in theirs})
        for first, second in combinations(raters, 2):
            both = [
                (theirs[first], theirs[second]) for theirs in items.values() if first in theirs and second in theirs
            ]
            if both:
                found.append(_beside(ours, f"{first}, {second}", both, values, stretched=False))
    return tuple(found)


def _automatic(scored: Scored | None, metric: str, turn: int) -> float | None:
    if scored is None:
        return None
    if turn >= 0:
        return scored.values.get(metric, {}).get(turn)
    pair = scored.counts.get(metric)
    return pair[0] / pair[1] if pair is not None and pair[1] else None


def _beside(
    metric: str, between: str, pairs: Sequence[tuple[float, float]], values: Sequence[float], *, stretched: bool = True
) -> Agreed:
    """stretched: ours, from 0 to 1, on people's scale."""
    n = len(pairs)
    theirs, ours = [one for one, _ in pairs], [one for _, one in pairs]
    low, high = _scale(values)
    human = float(np.mean(theirs)) if n else None
    if stretched and METRICS[metric].unit == "share":
        ours = [low + (high - low) * one for one in ours]
    automatic = float(np.mean(ours)) if n else None
    if n < FEWEST:
        return Agreed(
            metric=metric,
            between=between,
            n=n,
            kappa=None,
            kappa_low=None,
            kappa_high=None,
            human=human,
            automatic=automatic,
        )
    labels = (
        [low + step for step in range(int(high - low) + 1)]
        if high - low <= MOST_LABELS and float(high - low).is_integer()
        else []
    )
    kappa = None
    if labels:
        nearest = [
            [min(labels, key=lambda label: (abs(label - one), label)) for one in some] for some in (theirs, ours)
        ]
        if len({*nearest[0], *nearest[1]}) > 1:
            kappa = cohen_kappa(*nearest, weights="quadratic", order=labels)
    rho = _spearman(theirs, ours)
    half = normal_quantile(0.975) * 1.06 / math.sqrt(n - 3) if n > 3 else math.inf  # Fieller, Hartley and Pearson 1957
    ends = (
        (math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half))
        if rho is not None and abs(rho) < 1 and n > 3
        else (None, None)
    )
    return Agreed(
        metric=metric, between=between, n=n, kappa=kappa.estimate if kappa else None, kappa_low=kappa.low if kappa else None,
        kappa_high=kappa.high if kappa else None, spearman=rho, spearman_low=ends[0], spearman_high=ends[1], human=human,
        automatic=automatic,
    )  # fmt: skip


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the scale that people used: no or yes, 1 to 5, or what was seen."""
    low, high = min(values), max(values)
    for ends in ((0.0, 1.0), (1.0, 3.0), (1.0, 5.0), (0.0, 5.0), (1.0, 7.0), (0.0, 10.0), (0.0, 100.0)):
        if ends[0] <= low and high <= ends[1]:
            return ends
    return low, high


def _spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    a, b = ranks(one), ranks(other)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def drawn(scored: Sequence[Scored], n: int, *, seed: int = 0) -> list[Drawn]:
    """Conversations for people to look at: more of those where something may be wrong, from every intent, each with the chance
    that it had. Raises BadRequest for none."""
    items = [Item(one.id, one.intent, _risk(one)) for one in sorted(scored, key=lambda one: one.id)]
    return draw(items, plan(items, min(n, len(items))), seed=seed)


def _risk(one: Scored) -> float:
    """How likely something is wrong, as far as our figures tell; most is learnt where they are of two minds."""
    strong = sum(
        finding.kind in ("wrong_fact", "made_up", "contradiction", "silent_failure", "unsupported")
        for finding in one.findings
    )
    weak = len(one.findings) - strong
    upset = one.upset if one.upset is not None else 0.3
    return min(0.95, max(0.05, 0.1 + 0.3 * min(strong, 2) + 0.1 * min(weak, 3) + 0.3 * upset - 0.2 * one.resolved))
