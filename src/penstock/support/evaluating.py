"""A log in, a report out. Conversations are scored as they come, and what was scored so far makes a report at any time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

from penstock.support.comparing import FEWEST as COMPARED
from penstock.support.comparing import apart, moved
from penstock.support.conversations import Conversation
from penstock.support.figures import figures_of
from penstock.support.grouping import with_intents
from penstock.support.human import Rating, agreed
from penstock.support.keeping import Writer
from penstock.support.report import FEWEST, Change, Finding, Group, Report
from penstock.support.returning import ends, with_returns
from penstock.support.scored import Scored
from penstock.support.scoring import Scorer
from penstock.support.suggesting import suggestions
from penstock.support.trends import changes_of, points

__all__ = ["Evaluation", "report_of"]

AT_ONCE = 16  # conversations whose texts are embedded together
MOST_GROUPS = 30  # of a kind
MOST_FINDINGS = 1_000
BY: tuple[Literal["release", "intent", "language"], ...] = ("release", "intent", "language")
_ORDER = (
    "wrong_fact", "made_up", "wrong_name", "unsupported", "contradiction", "unanswered", "silent_failure", "irrelevant",
    "repetition",
    "no_empathy",
)  # fmt: skip


@dataclass
class Evaluation:
    """One evaluation while it runs. known: what was scored before, which is not scored again."""

    scorer: Scorer
    known: Mapping[str, Scored] = field(default_factory=dict)
    writer: Writer | None = None
    complete: bool = False
    seconds: float = 0.0
    scored: list[Scored] = field(default_factory=list)

    def run(self, log: Iterable[Conversation], tick: Callable[[int], object] = lambda turns: None) -> None:
        """Score all of a log. What was scored so far stays in `scored`, also where this is interrupted."""
        began = time.perf_counter()
        try:
            for some in _batches(log):
                fresh = [one for one in some if one.id not in self.known]
                for one in self.scorer.score(fresh) if fresh else ():
                    self.scored.append(one)
                    if self.writer is not None:
                        self.writer.add(one)
                self.scored += [self.known[one.id] for one in some if one.id in self.known]
                tick(sum(len(one.turns) for one in some))
            self.complete = True
        finally:
            self.seconds += time.perf_counter() - began


def _batches(log: Iterable[Conversation]) -> Iterator[list[Conversation]]:
    left = iter(log)
    while some := list(islice(left, AT_ONCE)):
        yield some


def report_of(
    scored: Sequence[Scored], *, name: str, app: str = "APP", against: Sequence[Scored] = (), against_name: str = "",
    between: tuple[str, str] | None = None,
    watched: bool = False,
    ratings: Sequence[Rating] = (), changes: Sequence[Change] = (), notes: Sequence[str] = (), fields: Mapping[str,
    str] | None = None,
    metrics: Sequence[str] = (), until: float | None = None, complete: bool = True, seconds: float = 0.0, texts_kept: bool = True,
) -> Report:  # fmt: skip
    """The report. against: an earlier log, scored the same way. between: two releases of this log, the earlier first; without
    either, the two releases that were seen last are compared. watched: it is looked at
    again and again while the logs grow. until: when the log was closed, Unix time. metrics: only these."""
    everybody = sorted(with_returns(with_intents(scored), until=until), key=lambda one: one.id)
    closed = until if until is not None else ends(everybody)
    groups = _groups(everybody, closed, metrics)
    old, new, versus = _compared(everybody, against, against_name, between)
    found = moved(old, new, anytime=watched) if old and new else ()
    told = list(notes)
    if between is not None and not (old and new):
        missing = next((one for one in between if not any(each.release == one for each in everybody)), between[0])
        told.append(f"there is no release '{missing}' in the log, so nothing is compared")
    if versus and not found:
        told.append(
            f"nothing could be compared with {versus}: a figure needs {COMPARED} customers, or conversations, on each side"
        )
    findings = _findings(everybody)
    if len(findings) > MOST_FINDINGS:
        told.append(f"{len(findings):,} findings; the first {MOST_FINDINGS:,} are listed, the gravest kinds first")
    times = [one.started for one in everybody if one.started is not None]
    return Report(
        name=name, conversations=len(everybody), turns=sum(one.turns for one in everybody), began=min(times, default=None),
        ended=closed,
        groups=groups, findings=tuple(findings[:MOST_FINDINGS]),
        moved=tuple(one for one in found if not metrics or one.metric in metrics),
        against=versus if found else "", trends=points(everybody), changes=changes_of(everybody, changes),
        agreed=agreed(everybody, ratings) if ratings else (), suggestions=suggestions(everybody, app=app), notes=tuple(told),
        fields=dict(fields or {}), complete=complete, seconds=seconds, texts_kept=texts_kept,
    )  # fmt: skip


def _groups(everybody: Sequence[Scored], closed: float | None, metrics: Sequence[str]) -> tuple[Group, ...]:
    parts: dict[tuple[str, str], list[Scored]] = {}
    for by in BY:
        named: dict[str, list[Scored]] = {}
        for one in everybody:
            if value := str(getattr(one, by)):
                named.setdefault(value, []).append(one)
        for value, members in sorted(named.items(), key=lambda entry: (-len(entry[1]), entry[0]))[:MOST_GROUPS]:
            parts[by, value] = members
    tested = {key: members for key, members in parts.items() if FEWEST <= len(members) < len(everybody)}
    unlike = apart(tested, everybody, fewest=FEWEST) if tested else {}
    found = [_group("all", "all", everybody, closed, metrics)]
    for (kind, value), members in parts.items():
        group = _group(kind, value, members, closed, metrics)
        found.append(replace(group, apart=unlike.get((kind, value), ())))
    return tuple(found)


def _group(by: str, name: str, members: Sequence[Scored], closed: float | None, metrics: Sequence[str]) -> Group:
    kind: Literal["all", "release", "intent", "language"] = by  # type: ignore[assignment]  # of BY, or all
    return Group(
        kind, name, len(members), sum(one.turns for one in members), figures_of(members, until=closed, only=metrics)
    )


def _compared(
    everybody: Sequence[Scored], against: Sequence[Scored], against_name: str, between: tuple[str, str] | None
) -> tuple[Sequence[Scored], Sequence[Scored], str]:
    """(the earlier ones, the later ones, what they are called); nothing where there is nothing to compare."""
    if against:
        closed = ends(against)
        return sorted(with_returns(against, until=closed), key=lambda one: one.id), everybody, against_name
    if between is None:
        first: dict[str, tuple[float, str]] = {}
        for one in everybody:
            if one.release and one.started is not None:
                first[one.release] = min(first.get(one.release, (one.started, one.release)), (one.started, one.release))
        order = [release for _, release in sorted(first.values())]
        if len(order) < 2:
            return (), (), ""
        between = (order[-2], order[-1])
    old = [one for one in everybody if one.release == between[0]]
    new = [one for one in everybody if one.release == between[1]]
    return old, new, f"release {between[0]}"


def _findings(everybody: Sequence[Scored]) -> list[Finding]:
    rank = {kind: n for n, kind in enumerate(_ORDER)}
    found = [finding for one in everybody for finding in one.findings]
    return sorted(found, key=lambda one: (rank.get(one.kind, len(rank)), one.conversation, one.turn, one.start))
