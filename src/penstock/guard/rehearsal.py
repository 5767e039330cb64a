"""What another policy would have done with what was asked before: the same words under the one in force and under a draft.

It looks at questions as they are looked at on their way in, and at answers as the output gate does. Passages, tools and what went
to a model are not part of it: of those nothing is kept.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from penstock.guard.crossing import gate_rules, unescaped
from penstock.guard.gate import gated
from penstock.guard.guard import CHANGES, STOPS, Guard
from penstock.guard.policy import Policy
from penstock.types import Action, Decision, Finding, Surface

__all__ = ["Difference", "Past", "Rehearsal", "rehearse"]

Becomes = Literal["newly stopped", "newly let through", "treated otherwise"]
Policies = tuple[Policy | None, Policy | None]  # that one stands behind, and with the draft; None: behind none
MOST_FOUND = 12  # of one request that are told
MOST_TEXT = 100_000  # characters of a text that are looked at


@dataclass(frozen=True, slots=True)
class Past:
    """What was asked before. masks: whether personal data are replaced in what its model gets."""

    id: str
    question: str
    answer: str = ""
    masks: bool = True


class Found(NamedTuple):
    """Something in a text that the two policies treat in different ways. "": the policy does not find it."""

    surface: Surface
    type: str
    words: str
    now: Action | Literal[""]
    then: Action | Literal[""]


@dataclass(frozen=True, slots=True)
class Difference:
    """A request with which the draft would do something else."""

    past: Past
    now: Decision
    then: Decision
    found: tuple[Found, ...]

    @property
    def becomes(self) -> Becomes:
        if (self.now == "block") == (self.then == "block"):
            return "treated otherwise"
        return "newly stopped" if self.then == "block" else "newly let through"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it. now, then: how many requests ended in each decision."""

    looked_at: int
    of: int
    now: Counter[Decision]
    then: Counter[Decision]
    differences: tuple[Difference, ...]


def rehearse(guard: Guard, pasts: Iterable[Past], under: Callable[[Past], Policies], *, within_s: float) -> Rehearsal:
    """Look at each under both policies, as many as there is time for."""
    pasts, until = list(pasts), time.monotonic() + within_s
    looked_at, counts, differences = 0, (Counter[Decision](), Counter[Decision]()), []
    for past in pasts:
        if time.monotonic() > until:
            break
        now, then = under(past)
        before = _looked(guard, past, now)
        after = before if then is now else _looked(guard, past, then)
        decisions = _decision(before.values()), _decision(after.values())
        looked_at += 1
        for count, decision in zip(counts, decisions, strict=True):
            count[decision] += 1
        keys = [key for key in dict.fromkeys([*after, *before]) if before.get(key) != after.get(key)]
        if _asked(before) != _asked(after):  # there is an answer under one of them alone: it says nothing of the other
            keys = [key for key in keys if key[0] == "prompt"]
        found = [Found(*key, before.get(key, ""), after.get(key, "")) for key in keys]
        if found:
            differences.append(Difference(past, *decisions, tuple(found[:MOST_FOUND])))
    return Rehearsal(looked_at, len(pasts), *counts, tuple(differences))


def _looked(guard: Guard, past: Past, policy: Policy | None) -> dict[tuple[Surface, str, str], Action]:
    """What is done with what is found: by where it stands, its type and its words."""
    if policy is None:
        return {}
    question = unescaped(past.question[:MOST_TEXT])
    seen = guard.look(question, policy, surface="prompt", scores=False).findings
    found = _by_words(question, "prompt", seen if past.masks else map(_for_inside, seen))
    if past.answer and _asked(found):
        answer = past.answer[:MOST_TEXT]
        found |= _by_words(answer, "output", gated(answer, gate_rules(policy))[1])
    return found


def _asked(found: Mapping[tuple[Surface, str, str], Action]) -> bool:
    """Whether the question goes on to be answered."""
    return not any(surface == "prompt" and action in STOPS for (surface, _, _), action in found.items())


def _for_inside(finding: Finding) -> Finding:
    """What is private stays as it is for a model inside our walls."""
    private = finding.action in CHANGES and not finding.type.startswith("SECRET")
    return replace(finding, action="allow") if private else finding


def _by_words(text: str, surface: Surface, findings: Iterable[Finding]) -> dict[tuple[Surface, str, str], Action]:
    return {(surface, f.type, text[f.start : f.end]): f.action for f in findings}


def _decision(actions: Iterable[Action]) -> Decision:
    found = set(actions)
    if found & STOPS:
        return "block"
    return "review" if "review" in found else "mask" if found & CHANGES else "allow"
