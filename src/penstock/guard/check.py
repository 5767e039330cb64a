"""One text checked by itself, for whoever uses the guard alone: `penstock guard`, `POST /v1/guard`, Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from penstock.guard.crossing import gate_rules, lookalikes
from penstock.guard.gate import gated
from penstock.guard.guard import Guard
from penstock.guard.masking import Scope, masked
from penstock.guard.policy import Policy
from penstock.types import Decision, Finding, Surface

__all__ = ["Verdict", "check"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says of one text."""

    decision: Decision
    findings: tuple[Finding, ...]  # in the order of the text
    scores: Mapping[str, float]  # injection and the harmful topics, 0 to 1
    masked: str  # the text after all that is done to it
    reasons: tuple[str, ...]  # for each finding, what it rests on and the setting that decided

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        findings = [asdict(finding) | {"score": round(finding.score, 4)} for finding in self.findings]
        scores = {name: round(score, 4) for name, score in self.scores.items()}
        return {"decision": self.decision, "findings": findings, "scores": scores, "masked": self.masked}


def check(guard: Guard, text: str, policy: Policy, *, surface: Surface = "prompt", language: str = "") -> Verdict:
    """Look at a text, and do with it what the policy says. Stand-ins are the same within this one text."""
    seen = guard.look(text, policy, surface=surface, language=language)
    changed = masked(text, seen.changes, Scope(), lookalike=lookalikes(policy, seen.changes)).text
    if surface != "output":
        return Verdict(seen.decision, seen.findings, seen.scores, changed, seen.reasons)
    rules = gate_rules(policy)
    left, gate = gated(text, rules)
    own = tuple(finding for finding in gate if not finding.type.startswith("SECRET"))
    changed = left if changed == text else gated(changed, rules)[0]
    findings = tuple(sorted((*seen.findings, *own), key=lambda finding: (finding.start, finding.end)))
    reasons = (*seen.reasons, *(f"{f.type} at {f.start}-{f.end}: {f.rule} -> {f.action}" for f in own))
    decision = replace(seen, findings=findings).decision
    return Verdict(decision, findings, seen.scores, changed, reasons)
