"""What an evaluation gave: every answer with its scores, and what can be said of them together, each figure with its interval.

A case counts once, however often it was asked: its value is the mean of its trials. Cases of one group are drawn together. What was
not scored is counted beside, and where `held` is asked for it counts as the worst there is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, Final, Literal

import orjson

from penstock.errors import BadRequest
from penstock.evaluate.cases import Case, Cases, Reply, parsed
from penstock.evaluate.judged import agreements
from penstock.evaluate.run import Row
from penstock.evaluate.scored import About, Scored
from penstock.stats import Interval, beta_quantile, bootstrap, mean_interval, pass_at_k, pass_hat_k, t_quantile, wilson
from penstock.storage.files import new_file
from penstock.text.languages import gap

__all__ = ["Part", "Result", "Summary", "case_values", "effective", "interval", "load", "read", "save", "share_end"]

FORMAT: Final = 1
DRAWS: Final = 2_000
By = Literal["wilson", "korn-graubard", "bootstrap", "t", ""]
FEW: Final = 10  # clusters below which the bootstrap is too short, and Student's t takes its place


@dataclass(frozen=True, slots=True)
class Part:
    """A score over some cases. low and high: 95 %; None where one case, or one group, tells nothing of others."""

    n: int  # cases with a value
    unscored: int  # answers without one
    mean: float
    low: float | None = None
    high: float | None = None
    held: float | None = None  # the mean with what was not scored as the worst there is; None where that has no end
    by: By = ""

    def plain(self) -> dict[str, Any]:
        """As JSON; no mean where there are no cases."""
        numbers = {
            "mean": _r(self.mean) if self.n else None,
            "low": _r(self.low),
            "high": _r(self.high),
            "held": _r(self.held),
        }
        return {"n": self.n, "unscored": self.unscored, **numbers, "by": self.by}


@dataclass(frozen=True, slots=True)
class Summary:
    """One score over all cases."""

    about: About
    all: Part
    by_language: Mapping[str, Part] = field(default_factory=dict)  # English first
    by_tag: Mapping[str, Part] = field(default_factory=dict)
    within: float | None = None  # standard deviation within a case, mean over cases that were asked several times
    median: float | None = None  # of answers, for figures without an upper end
    p95: float | None = None
    k: int = 1
    pass_at_k: Part | None = None  # at least one of k trials passes
    pass_hat_k: Part | None = None  # all k of them pass

    @property
    def gap(self) -> float | None:
        """How much worse the worst language is than English, with what was not scored as the worst there is; None for one
        language, and for figures without an end."""
        means = self._held_by_language()
        return gap(means) if len(means) > 1 else None

    @property
    def worst_language(self) -> str:
        """The one that `gap` is about; "" where there is none."""
        means = self._held_by_language()
        return min(means, key=lambda language: means[language]) if self.gap else ""

    def _held_by_language(self) -> dict[str, float]:
        """Of each language, with the sign that makes more better."""
        sign = 1 if self.about.higher_is_better else -1
        if not math.isfinite(self.about.high):
            return {}
        return {name: sign * part.held for name, part in self.by_language.items() if part.held is not None}

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        said = {**self.all.plain(), "gap": _r(self.gap)}
        said |= {"by_language": {name: part.plain() for name, part in self.by_language.items()}}
        said |= {"by_tag": {name: part.plain() for name, part in self.by_tag.items()}} if self.by_tag else {}
        if self.median is not None:
            said |= {"median": _r(self.median), "p95": _r(self.p95)}
        if self.within is not None:
            said["within"] = _r(self.within)
        for name, one in (("pass_at_k", self.pass_at_k), ("pass_hat_k", self.pass_hat_k)):
            if one is not None:
                said |= {"k": self.k, name: {"value": _r(one.mean), "low": _r(one.low), "high": _r(one.high)}}
        return said


def _r(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


@dataclass(slots=True)
class Result:
    """One evaluation. versions: of the index, the policy, the prompt and the models, as far as they are known."""

    cases: Cases
    rows: list[Row]
    abouts: dict[str, About]
    target: str = ""  # whom the cases were put to; "": the rows brought their answers
    repeats: int = 1
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    began: str = ""  # ISO 8601
    seconds: float = 0.0
    judge_cost_usd: float = 0.0
    _summed: tuple[int, list[Summary]] = field(default=(-1, []), repr=False, compare=False)

    @property
    def complete(self) -> bool:
        """Whether all was asked and scored."""
        return all(row.reply is not None and row.scores.keys() >= self.abouts.keys() for row in self.rows)

    @property
    def asked(self) -> int:
        return sum(row.reply is not None for row in self.rows)

    @property
    def cost_usd(self) -> float:
        """What the answers cost, without the judge."""
        return sum(row.reply.cost_usd or 0.0 for row in self.rows if row.reply)

    def summaries(self) -> list[Summary]:
        """Every score that some case asks for. Remembered until more is scored."""
        done = sum(len(row.scores) for row in self.rows)
        if self._summed[0] != done:
            found = [_summary(self, about) for about in self.abouts.values()]
            self._summed = done, [one for one in found if one.all.n or one.all.unscored]
        return self._summed[1]

    def agreements(self) -> list[dict[str, Any]]:
        """How far the judge agrees with itself and with people; empty without a judge."""
        judged = [(row.reply, row.scores["judge"]) for row in self.rows if row.reply and "judge" in row.scores]
        return [one.plain() for one in agreements(judged)]

    def plain(self) -> dict[str, Any]:
        """As JSON: everything."""
        return {
            "format": FORMAT, "kind": "evaluation", "target": self.target,
            "cases": {"name": self.cases.name, "digest": self.cases.digest, "n": len(self.cases)},
            "complete": self.complete, "asked": self.asked, "planned": len(self.rows), "repeats": self.repeats,
            "seed": self.seed, "settings": self.settings, "versions": self.versions, "began": self.began,
            "seconds": round(self.seconds, 2), "cost_usd": round(self.cost_usd, 8),
            "judge_cost_usd": round(self.judge_cost_usd, 8),
            "scores": {one.about.name: one.plain() for one in self.summaries()},
            "agreement": self.agreements(),
            "abouts": {name: about.plain() for name, about in self.abouts.items()},
            "duplicates": [list(pair) for pair in self.cases.duplicates],
            "case_rows": [case.plain() | {"digest": case.digest} for case in self.cases.cases],
            "rows": [_plain_row(row) for row in self.rows if row.reply is not None],
        }  # fmt: skip


def _plain_row(row: Row) -> dict[str, Any]:
    assert row.reply is not None
    scores = {name: one.plain() for name, one in row.scores.items()}
    return {"case": row.case.id, "trial": row.trial, "reply": row.reply.plain(), "scores": scores}


# ---------------------------------------------------------------- together


def case_values(rows: Iterable[Row], name: str) -> dict[str, float]:
    """The mean of a score over the trials of each case that has one, by the case's id."""
    values: dict[str, list[float]] = {}
    for row in rows:
        one = row.scores.get(name)
        if one is not None and one.state == "scored":
            values.setdefault(row.case.id, []).append(one.value)
    return {id_: fmean(each) for id_, each in values.items()}


def interval(
    values: Sequence[float], clusters: Sequence[str], *, low: float, high: float, seed: int = 0, once: bool = False
) -> tuple[Interval | None, By]:
    """Of a mean, 95 %, and how it was found; none of fewer than two clusters.

    Shares of cases that were asked once: Wilson's where all are independent, else Clopper and Pearson's with as many cases as the
    groups are worth (Korn and Graubard 1998). All other means: ten clusters or more are drawn with replacement (BCa), and fewer are
    left to Student's t. once: whether each value is of one trial.
    """
    many = len(set(clusters))
    if many < 2:
        return None, ""
    if once and (low, high) == (0.0, 1.0) and set(values) <= {0.0, 1.0}:
        if many == len(values):
            return wilson(sum(values), len(values)), "wilson"
        share, worth = fmean(values), effective(values, clusters)
        ends = share_end(share, worth, 0.025), 1 - share_end(1 - share, worth, 0.025)
        return Interval(share, *ends), "korn-graubard"
    if many >= FEW and len(set(values)) > 1:
        return bootstrap(values, clusters=clusters, draws=DRAWS, seed=seed), "bootstrap"
    if len(set(values)) == 1 and math.isfinite(high):  # nothing varies: what so many that are alike leave open
        share, value = 0.025 ** (1 / many), values[0]
        return Interval(value, low + (value - low) * share, high - (high - value) * share), "t"
    found = mean_interval(values, clusters=clusters)
    return found._replace(low=max(low, found.low), high=min(high, found.high)), "t"


def effective(values: Sequence[float], clusters: Sequence[str]) -> float:
    """How many independent cases a share over groups is worth (Korn and Graubard 1998): all of them where each stands alone, and no
    more than there are groups where all are alike."""
    share, n = fmean(values), len(values)
    rest: dict[str, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        rest[cluster] = rest.get(cluster, 0.0) + value - share
    many = len(rest)
    if many == n:
        return n
    variance = sum(each * each for each in rest.values()) * many / (many - 1) / n**2
    if variance <= 0 or not 0 < share < 1:
        return many
    fewer = t_quantile(0.975, n - 1) / t_quantile(0.975, many - 1)
    return min(n, share * (1 - share) / variance * fewer**2)


def share_end(share: float, n: float, tail: float) -> float:
    """The lower end of a share of n cases, exact (Clopper and Pearson 1934)."""
    return beta_quantile(tail, share * n, n - share * n + 1) if share > 0 else 0.0


def _summary(result: Result, about: About) -> Summary:
    rows = [row for row in result.rows if row.scores.get(about.name, _NONE).state != "absent"]
    whole = _part(rows, about, result.seed)
    languages: dict[str, list[Row]] = {}
    tags: dict[str, list[Row]] = {}
    for row in rows:
        languages.setdefault(row.case.language, []).append(row)
        for tag in row.case.tags:
            tags.setdefault(tag, []).append(row)
    ordered = sorted(languages, key=lambda name: (name != "en", name))
    trials = _trials(rows, about.name)
    several = [values for values in trials.values() if len(values) > 1]
    measured = sorted(value for values in trials.values() for value in values) if math.isinf(about.high) else []
    at_k, hat_k, k = _passes(rows, about, result.seed)
    return Summary(
        about,
        whole,
        {name: _part(languages[name], about, result.seed) for name in ordered},
        {name: _part(tags[name], about, result.seed) for name in sorted(tags)},
        within=fmean(map(pstdev, several)) if several else None,
        median=measured[len(measured) // 2] if measured else None,
        p95=measured[min(len(measured) - 1, int(0.95 * len(measured)))] if measured else None,
        k=k,
        pass_at_k=at_k,
        pass_hat_k=hat_k,
    )


_NONE = Scored(state="absent")


def _trials(rows: Iterable[Row], name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.scores[name].state == "scored":
            found.setdefault(row.case.id, []).append(row.scores[name].value)
    return found


def _part(rows: Sequence[Row], about: About, seed: int) -> Part:
    trials = _trials(rows, about.name)
    clusters = {row.case.id: row.case.cluster for row in rows}
    unscored = sum(row.scores[about.name].state == "unscored" for row in rows)
    if not trials:
        return Part(0, unscored, 0.0, held=_held(rows, about))
    values = [fmean(each) for each in trials.values()]
    once = all(len(each) == 1 for each in trials.values())
    found, by = interval(
        values, [clusters[id_] for id_ in trials], low=about.low, high=about.high, seed=seed, once=once
    )
    low, high = (found.low, found.high) if found else (None, None)
    return Part(len(values), unscored, fmean(values), low, high, _held(rows, about), by)


def _held(rows: Sequence[Row], about: About) -> float | None:
    """The mean of case means in which an answer without a score has the worst."""
    values: dict[str, list[float]] = {}
    for row in rows:
        one = row.scores[about.name]
        values.setdefault(row.case.id, []).append(one.value if one.state == "scored" else about.worst)
    mean = fmean(fmean(each) for each in values.values()) if values else math.inf
    return mean if math.isfinite(mean) else None


def _passes(rows: Sequence[Row], about: About, seed: int) -> tuple[Part | None, Part | None, int]:
    """pass@k and pass^k, where every case was asked at least twice. What has no score has not passed."""
    counts: dict[str, list[int]] = {}
    clusters = {row.case.id: row.case.cluster for row in rows}
    for row in rows:
        one = row.scores[about.name]
        counts.setdefault(row.case.id, []).append(one.state == "scored" and one.value == 1.0)
    k = min(map(len, counts.values()), default=0)
    if not about.passes or k < 2:
        return None, None, 1
    found = []
    for estimate in (pass_at_k, pass_hat_k):
        chances = [estimate([len(each)], [sum(each)], k).estimate for each in counts.values()]
        ends, by = interval(chances, [clusters[id_] for id_ in counts], low=0.0, high=1.0, seed=seed)
        low, high = (ends.low, ends.high) if ends else (None, None)
        found.append(Part(len(chances), 0, fmean(chances), low, high, by=by))
    return found[0], found[1], k


# ---------------------------------------------------------------- files


def save(result: Result, path: Path) -> None:
    """Write a result whole, or not at all."""
    with new_file(path) as out:
        out.write(json.dumps(result.plain(), ensure_ascii=False, indent=1).encode("utf-8", "replace"))


def load(path: Path) -> Result:
    """Read what `save` wrote. Raises BadRequest for anything else."""
    try:
        values = orjson.loads(path.read_bytes())
    except OSError as error:
        raise BadRequest(f"the result {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BadRequest(f"the result {path} is damaged: it is not JSON") from error
    return read(values, str(path))


def read(values: Any, name: str) -> Result:
    """A result from what `Result.plain` made. name: what it is called where it is none. Raises BadRequest."""
    if not isinstance(values, dict) or values.get("kind") != "evaluation":
        raise BadRequest(f"{name} is no result of an evaluation", hint="penstock eval run … --out FILE")
    if values.get("format") != FORMAT:
        raise BadRequest(f"{name} is in format {values.get('format')}, and this version reads {FORMAT}")
    try:
        return _read(values)
    except BadRequest as error:
        raise BadRequest(f"the result {name} is damaged: {error.message}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadRequest(f"the result {name} is damaged: {type(error).__name__} {error}") from error


def _read(values: Mapping[str, Any]) -> Result:
    digests = [row.pop("digest") for row in values["case_rows"]]
    found = parsed(enumerate(values["case_rows"], 1))
    if [case.digest for case in found.cases] != digests:
        raise BadRequest("its cases are not those that were asked")
    cases = Cases(found.cases, {}, found.duplicates, str(values["cases"]["name"]))
    by_id: dict[str, Case] = {case.id: case for case in cases.cases}
    repeats = int(values["repeats"])
    rows: list[Row] = []
    for row in values["rows"]:
        scores = {str(name): Scored.read(one) for name, one in row["scores"].items()}
        rows.append(Row(by_id[row["case"]], int(row["trial"]), Reply.read(row["reply"]), scores))
    if values["target"]:  # what was not asked yet is there too, in its place
        known = {(row.case.id, row.trial): row for row in rows}
        rows = [known.get((c.id, trial)) or Row(c, trial) for trial in range(repeats) for c in cases.cases]
    return Result(
        cases=cases, rows=rows, abouts={name: About.read(name, one) for name, one in values["abouts"].items()},
        target=str(values["target"]), repeats=repeats, seed=int(values["seed"]), settings=dict(values["settings"]),
        versions=dict(values["versions"]), began=str(values["began"]), seconds=float(values["seconds"]),
        judge_cost_usd=float(values["judge_cost_usd"]),
    )  # fmt: skip
