"""Limits that a result is held against, for pipelines: it passes, or it does not and says why.

A limit is held against the mean over the cases, in which an answer that could not be scored has the worst value there is. It may be
asked that this be sure: then the end of the one-sided 95 % interval is held against it, and not the mean. A baseline is an earlier
result: the gate fails where some score of it is lost, by more than chance would have it over all scores together.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from penstock.errors import BadRequest
from penstock.evaluate.compared import compare
from penstock.evaluate.result import Result, Summary, effective, share_end
from penstock.evaluate.scored import About
from penstock.stats import beta_cdf, t_quantile, t_tail

__all__ = ["Gate", "Held", "held"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a result must be. limits: score -> the least mean, or the most where lower is better."""

    limits: Mapping[str, float] = field(default_factory=dict)
    sure: bool = False  # the one-sided interval must be on the right side of the limit, and not only the mean
    max_gap: float | None = (
        None  # between English and any other language, of the scores in limits; of all pass/fail ones without
    )
    baseline: Result | None = None  # of the scores in limits; of all without


@dataclass(frozen=True, slots=True)
class Held:
    """One thing that was asked, and whether it holds."""

    name: str  # "token_f1", "gap of token_f1", "baseline of token_f1"
    holds: bool
    words: str  # for people

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, "holds": self.holds, "words": self.words}


def held(result: Result, gate: Gate) -> list[Held]:
    """Each thing that a gate asks. Raises BadRequest for a score that the result does not have."""
    summaries = {one.about.name: one for one in result.summaries()}
    found = []
    for name, limit in gate.limits.items():
        if name not in result.abouts:
            close = difflib.get_close_matches(name, result.abouts, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(result.abouts)}"
            raise BadRequest(f"a limit is for '{name}', which was not scored", hint=hint)
        found.append(_limit(result, summaries.get(name), result.abouts[name], limit, sure=gate.sure))
    if gate.max_gap is not None:
        named = [summaries[name] for name in gate.limits if name in summaries]
        found += _gaps(named or [one for one in summaries.values() if one.about.passes], gate.max_gap)
    if gate.baseline is not None:
        found += _losses(gate.baseline, result, tuple(gate.limits))
    if not result.complete:
        found.append(Held("complete", False, f"only {result.asked} of {len(result.rows)} answers are there"))
    return found


def _limit(result: Result, summary: Summary | None, about: About, limit: float, *, sure: bool) -> Held:
    name = about.name
    if summary is None:
        return Held(name, False, f"{name}: no case asks for it, so nothing holds the limit {limit:g}")
    if not summary.all.n:
        return Held(name, False, f"{name}: none of {summary.all.unscored} answers could be scored")
    values, clusters = _values(result, about)
    mean = fmean(values)
    sign = 1 if about.higher_is_better else -1
    chance, low = _one_sided(values, clusters, limit, about)
    counted = (
        f", {summary.all.unscored} of them counted as the worst"
        if summary.all.unscored and math.isfinite(about.worst)
        else ""
    )
    over = f"{'at least' if sign > 0 else 'at most'} {limit:g}"
    side = "above" if sign > 0 else "below"
    bound = (
        "" if low is None else f" (one-sided 95 %: {side} {min(max(low, about.low), about.high):.4g}, p = {chance:.2g})"
    )
    told = f"{name} is {mean:.4g} over {len(values)} cases{counted}"
    if sign * mean < sign * limit:
        return Held(name, False, f"{told}, and must be {over}")
    if sure and (low is None or sign * low < sign * limit):
        return Held(name, False, f"{told}, which is not surely {over}{bound}")
    doubt = "" if chance < 0.05 else ", though not surely"
    return Held(name, True, f"{told}, which is {over}{doubt}{bound}")


def _values(result: Result, about: About) -> tuple[list[float], list[str]]:
    """The mean of each case with what could not be scored as the worst, where there is one, and its cluster."""
    values: dict[str, list[float]] = {}
    clusters: dict[str, str] = {}
    for row in result.rows:
        one = row.scores.get(about.name)
        if one is None or one.state == "absent" or (one.state == "unscored" and not math.isfinite(about.worst)):
            continue
        values.setdefault(row.case.id, []).append(one.value if one.state == "scored" else about.worst)
        clusters[row.case.id] = row.case.cluster
    return [fmean(each) for each in values.values()], list(clusters.values())


def _one_sided(
    values: Sequence[float], clusters: Sequence[str], limit: float, about: About
) -> tuple[float, float | None]:
    """(how often a mean that only just holds the limit would give as much, the end of the one-sided 95 % interval); None of fewer
    than two clusters. Exact for shares, else by Student's t over clusters; where nothing varies, what so many that are alike tell
    of a share."""
    sign = 1 if about.higher_is_better else -1
    mean = fmean(values)
    groups: dict[str, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    many = len(groups)
    if many < 2:
        return 1.0, None
    if (about.low, about.high) == (0.0, 1.0) and set(values) <= {0.0, 1.0}:
        good, least = (mean, limit) if sign > 0 else (1 - mean, 1 - limit)
        worth = effective(values, clusters)
        low = share_end(good, worth, 0.05)
        as_much = beta_cdf(min(max(least, 0.0), 1.0), good * worth, worth - good * worth + 1) if good > 0 else 1.0
        return as_much, low if sign > 0 else 1 - low
    size = len(values) / many
    error = stdev(sum(value - mean for value in each) / size for each in groups.values()) / math.sqrt(many)
    if error > 0:
        return t_tail(sign * (mean - limit) / error, many - 1), mean - sign * t_quantile(0.95, many - 1) * error
    if not math.isfinite(about.high) or sign * mean < sign * limit:
        return float(sign * mean < sign * limit), mean
    share = 0.05 ** (1 / many)
    worst, room = about.worst, about.high - about.low
    return (abs(limit - worst) / room) ** many, worst + (mean - worst) * share


def _gaps(summaries: Sequence[Summary], most: float) -> list[Held]:
    found = []
    for one in summaries:
        if one.gap is None:
            continue
        worst = one.worst_language
        if not worst:
            found.append(
                Held(f"gap of {one.about.name}", True, f"{one.about.name} is as good in every language as in English")
            )
            continue
        part, english = one.by_language[worst], one.by_language.get("en")
        beside = f"{english.held:.3f} in English" if english and english.held is not None else "the best"
        words = f"{one.about.name} is {part.held:.3f} in '{worst}' beside {beside}: a gap of {one.gap:.3f}"
        if one.gap > most:
            words += f", and {most:g} may be"
        found.append(Held(f"gap of {one.about.name}", one.gap <= most, words))
    return found


def _losses(baseline: Result, result: Result, names: Sequence[str]) -> list[Held]:
    compared = compare(baseline, result, scores=names, seed=result.seed)
    found = [
        Held(f"baseline of {one.about.name}", one.decision != "worse", one.words)
        for one in compared.differences
        if names or not one.about.of_measured
    ]
    left = len(baseline.cases) - compared.shared
    if left:
        found.append(Held("baseline", True, f"{left} cases of the baseline are not among those that were asked"))
    return found
