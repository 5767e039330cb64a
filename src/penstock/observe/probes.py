"""Has the model behind a name changed? The same prompts are asked again and again, and held against what came back first.

The first runs are the reference. Of each later one is compared, prompt by prompt: how alike its answers are to the first ones
(cosine of their vectors, 1 where the words are the same), how long they are, how long they took, and how many were right where that
can be told. A change is said where a paired permutation test gives a probability below the rate of false alarms that was asked for,
shared out over the measures. Of what was answered, only the first run's words are kept.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import orjson

from penstock.errors import BadRequest
from penstock.stats import paired_permutation
from penstock.storage.database import Tables

__all__ = ["FALSE_ALARMS", "MEASURES", "REFERENCE", "Change", "Prompt", "Reply", "Run", "Runs", "compared", "parsed"]

REFERENCE = 5  # runs that are the reference
FALSE_ALARMS = 0.01  # of a hundred runs one, in all measures together
MEASURES = ("alike", "length", "latency", "right")
FEWEST, MOST = 8, 500  # prompts

STEPS = [
    "create table probe_runs (name text not null, at real not null, digest text not null, run text not null,"
    " primary key (name, at)) strict",
]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One that is asked each time. expected: words that a right answer holds; "": that cannot be told."""

    question: str
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: its words, and milliseconds. "" where it failed."""

    text: str
    duration_ms: float = 0.0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One measure that is not what it was: means over the prompts that both have."""

    measure: str
    before: float
    after: float
    p: float
    n: int

    @property
    def words(self) -> str:
        return (
            f"{self.measure} went from {self.before:.3g} to {self.after:.3g} over {self.n} prompts (p = {self.p:.2g})"
        )


@dataclass(frozen=True, slots=True)
class Run:
    """One run. values: by measure, one for each prompt; None where there is none."""

    name: str
    at: float
    failed: int
    values: Mapping[str, Sequence[float | None]]
    changes: tuple[Change, ...] = ()
    learning: bool = False  # it is one of the reference

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        means = {
            measure: round(fmean(there), 4) if (there := [v for v in values if v is not None]) else None
            for measure, values in self.values.items()
        }
        return {
            "name": self.name, "at": self.at, "failed": self.failed, "learning": self.learning, "means": means,
            "changes": [asdict(one) | {"words": one.words} for one in self.changes],
        }  # fmt: skip


def parsed(rows: Sequence[Mapping[str, Any]]) -> list[Prompt]:
    """Prompts from rows with `question` and maybe `expected`. Raises BadRequest."""
    found = []
    for number, row in enumerate(rows, 1):
        question, expected = row.get("question"), row.get("expected", "")
        if not isinstance(question, str) or not question.strip() or not isinstance(expected, str):
            raise BadRequest(f"prompt {number} must have a text `question`")
        found.append(Prompt(question, expected))
    if not FEWEST <= len(found) <= MOST:
        raise BadRequest(f"a probe has {FEWEST} to {MOST} prompts, not {len(found)}", hint="fewer show nothing")
    return found


def compared(
    values: Mapping[str, Sequence[float | None]], reference: Sequence[Mapping[str, Sequence[float | None]]], *,
    false_alarms: float = FALSE_ALARMS,
) -> tuple[Change, ...]:  # fmt: skip
    """What has changed since the reference runs, measure by measure."""
    found = []
    for measure in MEASURES:
        pairs: list[tuple[float, float]] = []
        runs = (
            reference[1:] if measure == "alike" else reference
        )  # the first is alike to itself, and says nothing of chance
        for n, now in enumerate(values.get(measure, ())):
            there = [value for run in runs if n < len(run[measure]) and (value := run[measure][n]) is not None]
            if now is not None and there:
                pairs.append((fmean(there), now))
        if len(pairs) < FEWEST or all(a == b for a, b in pairs):
            continue
        before, after = [a for a, _ in pairs], [b for _, b in pairs]
        p = paired_permutation(before, after).p_value
        if p < false_alarms / len(MEASURES):
            found.append(Change(measure, fmean(before), fmean(after), p, len(pairs)))
    return tuple(found)


class Runs:
    """The runs of one home. embed: texts -> float (n, dim), unit rows."""

    def __init__(self, tables: Tables, embed: Callable[[Sequence[str]], Any]) -> None:
        self._tables, self._embed = tables, embed

    def add(
        self, name: str, prompts: Sequence[Prompt], replies: Sequence[Reply], *, at: float = 0.0,
        false_alarms: float = FALSE_ALARMS,
    ) -> Run:  # fmt: skip
        """A run that has ended: measured, compared and written down. With other prompts, a reference is learnt anew."""
        if len(prompts) != len(replies):
            raise BadRequest("each prompt has one reply")
        at, digest = at or time.time(), _digest(prompts)
        earlier = self._read(name, digest)
        first = earlier[0][1]["texts"] if earlier else [reply.text for reply in replies]
        values = _measured(prompts, replies, first, self._embed)
        learning = len(earlier) < REFERENCE
        reference = [run["values"] for _, run in earlier[:REFERENCE]]
        changes = () if learning else compared(values, reference, false_alarms=false_alarms)
        run = Run(name, at, sum(reply.failed for reply in replies), values, changes, learning)
        kept = {
            "values": values,
            "failed": run.failed,
            "changes": [asdict(one) for one in changes],
            "learning": learning,
        }
        kept |= {"texts": [reply.text for reply in replies]} if not earlier else {}
        with self._tables.write() as w:
            w.execute("insert into probe_runs values (?, ?, ?, ?)", (name, at, digest, orjson.dumps(kept).decode()))
        return run

    def past(self, name: str, *, limit: int = 50) -> list[Run]:
        """The latest runs first."""
        self._tables.migrate("probes", STEPS)
        rows = self._tables.read(
            "select at, run from probe_runs where name = ? order by at desc limit ?", (name, limit)
        )
        return [_run(name, at, orjson.loads(text)) for at, text in rows]

    def forget(self, name: str) -> int:
        """Learn what is normal anew, as after a change that was wanted. Returns how many runs that forgets."""
        self._tables.migrate("probes", STEPS)
        with self._tables.write() as w:
            return int(w.execute("delete from probe_runs where name = ?", (name,)).rowcount)

    def _read(self, name: str, digest: str) -> list[tuple[float, dict[str, Any]]]:
        self._tables.migrate("probes", STEPS)
        asked = "select at, run from probe_runs where name = ? and digest = ? order by at limit ?"
        return [(at, orjson.loads(text)) for at, text in self._tables.read(asked, (name, digest, REFERENCE))]


def _run(name: str, at: float, kept: Mapping[str, Any]) -> Run:
    changes = tuple(Change(**one) for one in kept["changes"])
    return Run(name, at, kept["failed"], kept["values"], changes, kept["learning"])


def _digest(prompts: Sequence[Prompt]) -> str:
    said = orjson.dumps([(one.question, one.expected) for one in prompts])
    return hashlib.sha256(said).hexdigest()[:16]


def _measured(
    prompts: Sequence[Prompt], replies: Sequence[Reply], first: Sequence[str], embed: Callable[[Sequence[str]], Any]
) -> dict[str, list[float | None]]:
    there = [n for n, reply in enumerate(replies) if not reply.failed and reply.text.strip() and first[n].strip()]
    alike: list[float | None] = [None] * len(replies)
    other = [n for n in there if replies[n].text != first[n]]
    if other:
        vectors = embed([*(replies[n].text for n in other), *(first[n] for n in other)])
        near = (vectors[: len(other)] * vectors[len(other) :]).sum(1)
        for n, value in zip(other, near, strict=True):
            alike[n] = round(float(value), 4)
    for n in there:
        alike[n] = 1.0 if replies[n].text == first[n] else alike[n]
    return {
        "alike": alike,
        "length": [None if reply.failed else round(math.log1p(len(reply.text)), 4) for reply in replies],
        "latency": [None if reply.failed else round(math.log(max(reply.duration_ms, 0.1)), 4) for reply in replies],
        "right": [
            float(_plain(prompt.expected) in _plain(reply.text)) if prompt.expected and not reply.failed else None
            for prompt, reply in zip(prompts, replies, strict=True)
        ],
    }


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
