"""One text, looked at in every way: what is in it, what a policy does about that, and why.

Numbers and secrets are found by rules, names by a tagger that sees what the rules have taken, orders to the model and harm
by heads. Each part is loaded when it is first needed. Nothing here is remembered from one text to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from penstock.guard.policy import CONTEXT, TOPICS, Policy, Ruling
from penstock.types import Action, Decision, Detector, Finding, Surface

if TYPE_CHECKING:
    from penstock.guard.injection import Injection
    from penstock.guard.moderation import Moderation
    from penstock.guard.names import Names

__all__ = ["INJECTION", "Guard", "Seen"]

INJECTION = "INJECTION"
STOPS: frozenset[Action] = frozenset({"block", "quarantine"})
CHANGES: frozenset[Action] = frozenset({"mask", "pseudonymise", "redact", "hash"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What is in a text and what a policy says about it. Nothing has been changed yet."""

    findings: tuple[Finding, ...]  # in the order of the text, each with its action
    scores: Mapping[str, float]  # 0 to 1; 0.5 is where one counts, unless the policy says otherwise
    reasons: tuple[str, ...]  # one line for each finding: what it rests on, and the setting that decided
    helped: bool = False  # whoever wrote it may need help, and the policy has a line to turn to
    careful: bool = False  # ask the model with a low temperature

    @property
    def decision(self) -> Decision:
        actions = {finding.action for finding in self.findings}
        if actions & STOPS:
            return "block"
        if "review" in actions:
            return "review"
        return "mask" if actions & CHANGES else "allow"

    @property
    def stops(self) -> tuple[Finding, ...]:
        """The findings for which the text goes no further."""
        return tuple(finding for finding in self.findings if finding.action in STOPS)

    @property
    def changes(self) -> tuple[Finding, ...]:
        """The findings whose words are replaced. None overlaps another."""
        return tuple(finding for finding in self.findings if finding.action in CHANGES)


class Guard:
    """The detectors of one process, which all policies share. Safe to use from several threads."""

    def look(self, text: str, policy: Policy, *, surface: Surface = "prompt", language: str = "") -> Seen:
        """What is in a text, and what the policy does about it. Whole texts only: a stream has a gate of its own."""
        if not text.strip():
            return Seen((), dict.fromkeys(("injection", *TOPICS), 0.0), ())
        found = [(finding, Ruling("block", finding.rule)) for finding in policy.forbidden(text)]
        found += self._private(text, policy, language)
        orders, injection = self._orders(text, policy, surface, language)
        harm, topics = self._harm(text, policy, language)
        found = [(f, ruling) for f, ruling in found if not policy.lets(text[f.start : f.end])] + orders + harm
        topics_found = {finding.type for finding, _ in harm}
        return replace(
            _seen(found, {"injection": injection, **topics}),
            helped=any(policy.topic(topic)[1] for topic in topics_found),
            careful=any(policy.careful(topic) for topic in topics_found),
        )

    def harm(self, text: str, policy: Policy, *, language: str = "") -> Seen:
        """What is harmful in a text, and nothing else: for what a model says."""
        found, scores = self._harm(text, policy, language)
        return _seen(found, scores)

    def private(self, text: str, policy: Policy, *, language: str = "") -> Seen:
        """What is private in a text, and nothing else: for texts whose orders are to be followed."""
        found = [
            (f, ruling) for f, ruling in self._private(text, policy, language) if not policy.lets(text[f.start : f.end])
        ]
        return _seen(found)

    def _private(self, text: str, policy: Policy, language: str) -> list[tuple[Finding, Ruling]]:
        """Secrets, then structured personal data, then names: each leaves alone what the ones before have taken."""
        found: list[tuple[Finding, Ruling]] = []
        parts: list[tuple[Callable[[], Iterable[Finding]], Callable[[Finding], Ruling]]] = [
            (lambda: self.secrets.find(text, language=language), lambda finding: policy.secrets()),
            (lambda: self.personal.find(text, language=language), lambda finding: policy.personal(finding.type)),
            (lambda: self._names(text, policy, language, found), lambda finding: policy.personal(finding.type)),
        ]
        for find, rule in parts:
            taken = sorted((f.start, f.end) for f, _ in found)
            for finding in _apart(find(), taken):
                ruling = rule(finding)
                if finding.type not in CONTEXT or ruling.action != "allow":
                    found.append((finding, ruling))
        return found

    def _names(
        self, text: str, policy: Policy, language: str, found: list[tuple[Finding, Ruling]]
    ) -> Iterable[Finding]:
        taken = [(finding.start, finding.end) for finding, _ in found]
        least = policy.threshold("names")
        return (f for f in self.names.find(text, language=language, taken=taken) if f.score >= least)

    def _orders(
        self, text: str, policy: Policy, surface: Surface, language: str
    ) -> tuple[list[tuple[Finding, Ruling]], float]:
        """What gives orders to the model. What a model says itself is no order to it."""
        if surface == "output":
            return [], 0.0
        scored = self.injection.score(text, surface, language=language)
        if scored.score < policy.threshold("documents" if surface in ("document", "tool") else "injection"):
            return [], scored.score
        ruling = policy.injection(surface)
        spans = scored.spans or ((0, len(text), scored.score),)
        return [
            (Finding(INJECTION, start, end, sure, rule=scored.why), ruling) for start, end, sure in spans
        ], scored.score

    def _harm(
        self, text: str, policy: Policy, language: str
    ) -> tuple[list[tuple[Finding, Ruling]], Mapping[str, float]]:
        scores = self.moderation.scores(text, language=language)
        found = []
        for topic, score in scores.items():
            if score >= policy.threshold(topic):
                finding = Finding(topic, 0, len(text), score, rule="what the head for it has learned")
                found.append((finding, policy.topic(topic)[0]))
        return found, scores

    # ---------------------------------------------------------------- the parts, each loaded with its first text

    @cached_property
    def secrets(self) -> Detector:
        from penstock.guard.secrets import Secrets

        return Secrets()

    @cached_property
    def personal(self) -> Detector:
        from penstock.guard.personal import Personal

        return Personal()

    @cached_property
    def names(self) -> Names:
        from penstock.guard.names import Names

        return Names()

    @cached_property
    def injection(self) -> Injection:
        from penstock.guard.injection import Injection

        return Injection()

    @cached_property
    def moderation(self) -> Moderation:
        from penstock.guard.moderation import Moderation

        return Moderation()


def _seen(found: list[tuple[Finding, Ruling]], scores: Mapping[str, float] | None = None) -> Seen:
    found = sorted(found, key=lambda pair: (pair[0].start, pair[0].end))
    findings = tuple(replace(finding, action=ruling.action) for finding, ruling in found)
    return Seen(findings, scores or {}, tuple(_reason(finding, ruling) for finding, ruling in found))


def _apart(findings: Iterable[Finding], taken: list[tuple[int, int]]) -> list[Finding]:
    """The findings that overlap none of these spans, which are sorted. In linear time."""
    apart, at = [], 0
    for finding in findings:
        while at < len(taken) and taken[at][1] <= finding.start:
            at += 1
        if at == len(taken) or taken[at][0] >= finding.end:
            apart.append(finding)
    return apart


def _reason(finding: Finding, ruling: Ruling) -> str:
    rule = f"{finding.rule}, " if finding.rule else ""
    return f"{finding.type} at {finding.start}-{finding.end}: {rule}{finding.score:.2f}; {ruling.because} -> {ruling.action}"
