"""What a support evaluation found, as values: figures with their intervals, what is wrong and where, what changed, what to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from penstock.config import iso
from penstock.support.metrics import METRICS, Metric

__all__ = [
    "FEWEST",
    "Agreed",
    "Change",
    "Evidence",
    "Figure",
    "Finding",
    "Group",
    "Moved",
    "Point",
    "Report",
    "Suggestion",
]

FEWEST = 20  # conversations, or customers, below which a figure tells nothing

FindingKind = Literal[
    "wrong_fact", "made_up", "unsupported", "contradiction", "repetition", "unanswered", "irrelevant", "no_empathy", "wrong_name",
    "silent_failure",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evidence:
    """The row, or the text, that something was held against."""

    source: str  # name of the row: "orders/#W1"; "turn 3" for something said before
    field: str = ""  # of the row
    value: str = ""  # what stands there


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, and where it stands. said, text, asked: "" where words are not kept."""

    kind: FindingKind
    conversation: str
    turn: int  # its place in the conversation, from 0
    why: str
    start: int = 0  # text[start:end] of the turn is the failing claim
    end: int = 0
    said: str = ""  # the claim
    text: str = ""  # the sentence it stands in
    asked: str = ""  # what the customer had said before it
    against: tuple[Evidence, ...] = ()
    intent: str = ""
    release: str = ""
    language: str = ""

    @property
    def id(self) -> str:
        return f"{self.conversation}/{self.turn}/{self.kind}/{self.start}"

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"id": self.id} | asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One metric of one group. None: nothing to count. low, high: the 95 % interval."""

    metric: str
    value: float | None
    n: int  # of what the metric counts
    units: int  # conversations, or customers, that these come from: what is drawn
    low: float | None = None
    high: float | None = None
    interval: str = ""  # by which method
    unscored: tuple[tuple[str, int], ...] = ()  # why something was not counted, and how often
    evidence: tuple[str, ...] = ()  # ids of findings that lower it, a few

    @property
    def about(self) -> Metric:
        return METRICS[self.metric]

    @property
    def tells(self) -> bool:
        """Whether there is enough behind it to say anything."""
        return self.value is not None and self.units >= FEWEST

    @property
    def does_not_show(self) -> str:
        return self.about.does_not_show

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "metric": self.metric, "value": self.value, "n": self.n, "units": self.units, "low": self.low, "high": self.high,
            "interval": self.interval, "tells": self.tells, "unscored": dict(self.unscored), "evidence": list(self.evidence),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """Conversations that have something in common: all, of a release, an intent, a language."""

    by: Literal["all", "release", "intent", "language"]
    name: str
    conversations: int
    turns: int
    figures: tuple[Figure, ...]
    apart: tuple[Moved, ...] = ()  # figures in which it is surely unlike all others, over all groups (Holm)

    def figure(self, metric: str) -> Figure | None:
        return next((one for one in self.figures if one.metric == metric), None)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "by": self.by, "name": self.name, "conversations": self.conversations, "turns": self.turns,
            "figures": [one.plain() for one in self.figures], "apart": [one.plain() for one in self.apart],
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A metric here and there: of two releases, or of a group and all others.

    p: may be looked at as often as one likes, where `anytime`. q: the same, over all metrics that were looked at. sure: q is small
    enough to be told.
    """

    metric: str
    before: float
    after: float
    difference: float
    low: float | None  # None for a quantile, which is compared by the share of slower answers
    high: float | None
    n_before: int
    n_after: int
    p: float
    q: float
    sure: bool
    anytime: bool = False
    group: str = ""  # "intent: refund"; "" for all

    @property
    def worse(self) -> bool:
        better = METRICS[self.metric].better
        return (better == "higher" and self.difference < 0) or (better == "lower" and self.difference > 0)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"worse": self.worse}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was changed, for the trends. at: Unix time."""

    at: float
    what: str
    release: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """A metric in one stretch of time. at: Unix time of its beginning."""

    at: float
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """How far a metric and people agree, or people with each other (`between` two raters). None: it cannot be told."""

    metric: str
    between: str  # "people" for a metric beside them; "anna, bert" for two of them
    n: int
    kappa: float | None  # weighted, for ordered values
    kappa_low: float | None
    kappa_high: float | None
    spearman: float | None = None
    spearman_low: float | None = None
    spearman_high: float | None = None
    human: float | None = None  # mean of theirs
    automatic: float | None = None  # mean of ours, on the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What to try. settings: a file for `penstock experiment run`, TOML; cases: JSON Lines that it is tried on, from the log."""

    title: str
    why: str
    metric: str
    intent: str = ""
    settings: str = ""
    cases: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it. groups: `all` first, then releases, intents, languages, each by size."""

    name: str  # of the log
    conversations: int
    turns: int
    began: float | None  # Unix time of the first conversation
    ended: float | None
    groups: tuple[Group, ...]
    findings: tuple[Finding, ...]
    moved: tuple[Moved, ...] = ()  # against an earlier log
    against: str = ""  # the name of that
    trends: tuple[Point, ...] = ()
    changes: tuple[Change, ...] = ()
    agreed: tuple[Agreed, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    notes: tuple[str, ...] = ()  # what was passed over, and why
    fields: Mapping[str, str] = field(default_factory=dict)  # ours -> as the log calls them
    complete: bool = True  # not where it was interrupted
    seconds: float = 0.0
    texts_kept: bool = True

    @property
    def all(self) -> Group:
        return self.groups[0]

    @property
    def alarms(self) -> tuple[Moved, ...]:
        """What surely became worse."""
        return tuple(one for one in self.moved if one.sure and one.worse)

    def of(self, by: str) -> tuple[Group, ...]:
        return tuple(one for one in self.groups if one.by == by)

    def plain(self) -> dict[str, Any]:
        """As JSON, with the card of each metric."""
        used = {figure.metric for group in self.groups for figure in group.figures}
        return {
            "name": self.name, "complete": self.complete, "conversations": self.conversations, "turns": self.turns,
            "began": _iso(self.began), "ended": _iso(self.ended), "seconds": round(self.seconds, 3), "fields": dict(self.fields),
            "notes": list(self.notes), "metrics": [one.plain() for name, one in METRICS.items() if name in used],
            "groups": [one.plain() for one in self.groups], "findings": [one.plain() for one in self.findings],
            "against": self.against, "moved": [one.plain() for one in self.moved], "alarms": [one.plain() for one in self.alarms],
            "trends": [asdict(one) for one in self.trends], "changes": [asdict(one) for one in self.changes],
            "agreed": [asdict(one) for one in self.agreed], "suggestions": [asdict(one) for one in self.suggestions],
        }  # fmt: skip


def _iso(at: float | None) -> str | None:
    return None if at is None else iso(at)
