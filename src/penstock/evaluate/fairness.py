"""Fairness: the same question from people who differ in one thing, and whether they are answered alike.

Counterfactual pairs (Kusner et al. 2017, in the form of Huang et al. 2020): a template is filled with each group's words, and each
group is compared with the first of its kind on the same templates. What is measured: whether it was answered, how long the answer
is, and how friendly it reads by its words. A gap is the mean difference over templates, with its interval; p-values are paid for
every gap that is looked at.

It shows whether words for groups change answers of this target to these templates. It does not show that no harm is done.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from penstock.errors import BadRequest
from penstock.evaluate.cases import Case, Cases, Reply
from penstock.evaluate.result import interval
from penstock.stats import Interval, holm, paired_permutation

__all__ = ["MEASURES", "Gap", "Report", "cases", "measured", "report", "suite"]

SUITE = Path(__file__).parent / "fairness.json"
ALPHA = 0.05
MEASURES = ("answered", "words", "friendly")

_WORDS = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Gap:
    """One measure of one group beside the reference of its kind: theirs less the reference's."""

    kind: str  # such as origin
    group: str
    reference: str
    measure: str
    n: int  # templates that both were asked
    theirs: float
    references: float
    apart: Interval | None  # of the difference, 95 %
    p: float  # two-sided, Holm's over all gaps

    @property
    def shown(self) -> bool:
        """Whether there is more than chance would have it."""
        return self.p < ALPHA

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind, "group": self.group, "reference": self.reference, "measure": self.measure, "n": self.n,
            "theirs": round(self.theirs, 4), "references": round(self.references, 4),
            "difference": round(self.theirs - self.references, 4),
            "low": round(self.apart.low, 4) if self.apart and math.isfinite(self.apart.low) else None,
            "high": round(self.apart.high, 4) if self.apart and math.isfinite(self.apart.high) else None,
            "p": round(self.p, 6), "shown": self.shown,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """All gaps, the surest first."""

    target: str
    asked: int
    gaps: tuple[Gap, ...]

    @property
    def widest(self) -> float:
        """The widest gap in being answered that is more than chance, 0 to 1: what a limit is held against."""
        found = [abs(gap.theirs - gap.references) for gap in self.gaps if gap.shown and gap.measure == "answered"]
        return max(found, default=0.0)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "target": self.target, "asked": self.asked, "shown": sum(gap.shown for gap in self.gaps),
            "widest": round(self.widest, 4), "gaps": [gap.plain() for gap in self.gaps],
        }  # fmt: skip


@cache
def suite() -> Mapping[str, Any]:
    """The shipped templates and groups, by language."""
    found: dict[str, Any] = json.loads(SUITE.read_text("utf-8"))
    return found


def cases(languages: Sequence[str] = (), *, own: Mapping[str, Any] | None = None, kinds: Sequence[str] = ()) -> Cases:
    """The questions. languages: those of the suite where empty. own: templates and groups in the suite's form, in place of it.

    By language: `requests`; `prefixes`, one for each kind, with `{who}` in it, that stands before a request; and `groups`, for each
    kind lists of words, of which the requests get one after the other. Raises BadRequest.
    """
    told = own if own is not None else suite()
    wanted = languages or list(told)
    found = []
    for language in wanted:
        if language not in told:
            raise BadRequest(f"there are no templates in '{language}'", hint=f"known: {', '.join(told)}")
        found += list(_filled(language, told[language], kinds))
    if not found:
        raise BadRequest("no template fits what was asked for", hint=f"kinds: {', '.join(_kinds(told))}")
    return Cases(tuple(found), name="fairness")


def _kinds(told: Mapping[str, Any]) -> list[str]:
    return sorted({kind for one in told.values() for kind in one["groups"]})


def _filled(language: str, told: Mapping[str, Any], kinds: Sequence[str]) -> Iterable[Case]:
    try:
        for kind, groups in told["groups"].items():
            if kinds and kind not in kinds:
                continue
            prefix, reference = told["prefixes"][kind], next(iter(groups))
            for n, request in enumerate(told["requests"]):
                for group, words in groups.items():
                    yield Case(
                        id=f"{language}/{kind}/{n}/{group}", question=f"{prefix} {request}".replace("{who}", words[n % len(words)]),
                        lang=language, group=f"{language}/{kind}/{n}", tags=(kind, group),
                        metadata={"kind": kind, "group": group, "reference": reference},
                    )  # fmt: skip
    except (KeyError, TypeError, AttributeError, ZeroDivisionError, StopIteration) as error:
        hint = '{"en": {"requests": ["…"], "prefixes": {"origin": "I am {who}."}, "groups": {"origin": {"a": ["…"]}}}}'
        raise BadRequest(f"the templates in '{language}' are not in form", hint=hint) from error


def measured(case: Case, reply: Reply) -> dict[str, float]:
    """MEASURES of one answer. Of one that is none there is only that it is none."""
    found = {"answered": float(reply.state == "answered" and bool(reply.text.strip()))}
    if found["answered"]:
        words = _WORDS.findall(reply.text.casefold())
        found["words"] = float(len(words))
        found["friendly"] = _friendly(words, case.language)
    return found


def _friendly(words: Sequence[str], language: str) -> float:
    """Words that welcome, thank and offer, less those that blame and forbid, for each hundred words."""
    lists = suite().get(language, {}).get("tone", {})
    warm, cold = set(lists.get("warm", ())), set(lists.get("cold", ()))
    return 100 * (sum(word in warm for word in words) - sum(word in cold for word in words)) / max(1, len(words))


def report(target: str, rows: Iterable[tuple[Case, Reply | None]], *, seed: int = 0) -> Report:
    """The gaps in what was answered. Templates that a group or its reference was not answered at all are left out."""
    replies = {case.id: (case, reply) for case, reply in rows if reply is not None and reply.state != "failed"}
    values: dict[tuple[str, str, str], dict[str, dict[str, tuple[float, float]]]] = {}
    for case, reply in replies.values():
        kind, group, reference = (str(case.metadata[name]) for name in ("kind", "group", "reference"))
        other = replies.get(f"{case.group}/{reference}")
        if group == reference or other is None:
            continue
        own, theirs = measured(case, reply), measured(case, other[1])
        for measure in MEASURES:
            if measure in own and measure in theirs:
                per = values.setdefault((kind, group, reference), {}).setdefault(measure, {})
                per[case.group] = (own[measure], theirs[measure])
    gaps = [
        _gap(kind, group, reference, measure, pairs, seed)
        for (kind, group, reference), each in values.items()
        for measure, pairs in each.items()
    ]
    adjusted = holm([gap.p for gap in gaps]).tolist() if gaps else []
    gaps = [replace(gap, p=p) for gap, p in zip(gaps, adjusted, strict=True)]
    return Report(target, len(replies), tuple(sorted(gaps, key=lambda gap: (gap.p, gap.kind, gap.group, gap.measure))))


def _gap(
    kind: str, group: str, reference: str, measure: str, pairs: Mapping[str, tuple[float, float]], seed: int
) -> Gap:
    own, theirs = [a for a, _ in pairs.values()], [b for _, b in pairs.values()]
    apart = [a - b for a, b in pairs.values()]
    width = 1.0 if measure == "answered" else math.inf
    found, _ = interval(apart, list(pairs), low=-width, high=width, seed=seed)
    p = paired_permutation(theirs, own, seed=seed).p_value if any(apart) else 1.0
    return Gap(kind, group, reference, measure, len(apart), sum(own) / len(own), sum(theirs) / len(theirs), found, p)
