"""One text, looked at in every way: what is in it, what a policy does about that, and why.

Numbers and secrets are found by rules, names by a tagger that sees what the rules have taken, orders to the model and harm
by heads. Each part is loaded when it is first needed. Where a policy names guards of others, those look too: of two scores the
higher one holds, and of what they find that is left which ours have not. The latest looks are remembered by a digest of the
text, since passages and conversations come again with each request; of the text itself nothing is kept.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from penstock.config import DetectorSettings
from penstock.guard.policy import CONTEXT, TOPICS, Policy, Ruling
from penstock.types import Action, Decision, Detector, Finding, Surface

if TYPE_CHECKING:
    from penstock.guard.adapters import Beside, Judgement
    from penstock.guard.injection import Injection
    from penstock.guard.moderation import Moderation
    from penstock.guard.names import Names
    from penstock.types import Embedder

__all__ = ["CHANGES", "INJECTION", "Guard", "Seen"]

Others: TypeAlias = "list[tuple[Beside, Judgement]]"  # what guards of others say, in the policy's order

INJECTION = "INJECTION"
STOPS: frozenset[Action] = frozenset({"block", "quarantine"})
CHANGES: frozenset[Action] = frozenset({"mask", "pseudonymise", "redact", "hash"})
LOOKS = 4096  # that are remembered
MOST_FINDINGS = 40  # in one of them: a look at a long table would take the place of hundreds


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

    def __init__(self) -> None:
        self._besides: dict[str, Beside] = {}
        self._making = Lock()
        self._looks = _Looks()

    def look(
        self, text: str, policy: Policy, *, surface: Surface = "prompt", language: str = "", scores: bool = True
    ) -> Seen:
        """What is in a text, and what the policy does about it. Whole texts only: a stream has a gate of its own.

        scores: whether all are wanted. Without them, orders and harm are not looked for where the policy allows them.
        """
        if not text.strip():
            return Seen((), dict.fromkeys(("injection", *TOPICS), 0.0), ())
        key = ("look", surface, language, scores)
        return self._looks.once(key, text, policy, lambda: self._look(text, policy, surface, language, scores=scores))

    def _look(self, text: str, policy: Policy, surface: Surface, language: str, *, scores: bool) -> Seen:
        others = self._others(text, policy, surface, language)
        found = _forbidden(text, policy)
        found += self._private(text, policy, language, others)
        orders, injection = list[tuple[Finding, Ruling]](), 0.0
        if scores or policy.injection(surface).action != "allow":
            orders, injection = self._orders(text, policy, surface, language, others)
        harm, topics = self._harm(text, policy, language, others, scores=scores)
        found = [(f, ruling) for f, ruling in found if not policy.lets(text[f.start : f.end])] + orders + harm
        found += _refused(text, others)
        topics_found = {finding.type for finding, _ in harm}
        return replace(
            _seen(found, {"injection": injection, **topics}),
            helped=any(policy.topic(topic)[1] for topic in topics_found),
            careful=any(policy.careful(topic) for topic in topics_found),
        )

    def harm(self, text: str, policy: Policy, *, language: str = "") -> Seen:
        """What is harmful in a text or on the `block` list, and nothing else: for what a model says."""
        others = self._others(text, policy, "output", language, wanted=lambda other: other.judges)
        found, scores = self._harm(text, policy, language, others, scores=False)
        return _seen(_forbidden(text, policy) + found + _refused(text, others), scores)

    def private(self, text: str, policy: Policy, *, language: str = "") -> Seen:
        """What is private in a text or on the `block` list, and nothing else: for texts whose orders are to be followed."""
        return self._looks.once(("private", language), text, policy, lambda: self._only_private(text, policy, language))

    def _only_private(self, text: str, policy: Policy, language: str) -> Seen:
        others = self._others(text, policy, "prompt", language, wanted=lambda other: other.finds)
        found = _forbidden(text, policy)
        found += self._private(text, policy, language, others)
        return _seen([(f, ruling) for f, ruling in found if not policy.lets(text[f.start : f.end])])

    def _others(
        self,
        text: str,
        policy: Policy,
        surface: Surface,
        language: str,
        *,
        wanted: Callable[[Beside], bool] = lambda other: True,
    ) -> Others:
        """What the guards of others say that the policy names, in its order. They are asked at the same time."""
        named = policy.settings.others
        if not named:
            return []
        asked = [other for name, settings in named.items() if wanted(other := self._beside(name, settings))]
        if len(asked) < 2:
            return [(other, other.look(text, surface, language=language)) for other in asked]
        with ThreadPoolExecutor(len(asked)) as threads:
            said = threads.map(lambda other: other.look(text, surface, language=language), asked)
            return list(zip(asked, said, strict=True))

    def _beside(self, name: str, settings: DetectorSettings) -> Beside:
        """Somebody else's guard as the settings have it now: they may have changed since the last text."""
        from penstock.guard.adapters import Beside

        with self._making:
            beside = self._besides.get(name)
            if beside is None or beside.settings != settings:
                beside = self._besides[name] = Beside(name, settings)
            return beside

    def _private(self, text: str, policy: Policy, language: str, others: Others) -> list[tuple[Finding, Ruling]]:
        """Secrets, then structured personal data, then names: each leaves alone what the ones before have taken. Then what
        others have found beyond that."""
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
        for _, said in others:
            for finding in _beyond(text, said.findings, sorted((f.start, f.end) for f, _ in found)):
                secret = finding.type.startswith("SECRET")
                ruling = policy.secrets() if secret else policy.personal(finding.type)
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
        self, text: str, policy: Policy, surface: Surface, language: str, others: Others
    ) -> tuple[list[tuple[Finding, Ruling]], float]:
        """What gives orders to the model. What a model says itself is no order to it."""
        if surface == "output":
            return [], 0.0
        scored = self.injection.score(text, surface, language=language)
        least, ruling = (
            policy.threshold("documents" if surface in ("document", "tool") else "injection"),
            policy.injection(surface),
        )
        found, highest = list[tuple[Finding, Ruling]](), scored.score
        if scored.score >= least:
            spans = scored.spans or ((0, len(text), scored.score),)
            found += ((Finding(INJECTION, start, end, sure, rule=scored.why), ruling) for start, end, sure in spans)
        for other, said in others:
            score = said.scores.get("injection", 0.0)
            highest = max(highest, score)
            if score >= least:
                found.append((Finding(INJECTION, 0, len(text), score, rule=other.rule), ruling))
        return found, highest

    def _harm(
        self, text: str, policy: Policy, language: str, others: Others, *, scores: bool
    ) -> tuple[list[tuple[Finding, Ruling]], Mapping[str, float]]:
        if not scores and all(policy.topic(topic)[0].action == "allow" for topic in TOPICS):
            return [], {}
        topics = dict(self.moderation.scores(text, language=language))
        why = dict.fromkeys(topics, "what the head for it has learned")
        for other, said in others:
            for topic in topics.keys() & said.scores.keys():
                if said.scores[topic] > topics[topic]:
                    topics[topic], why[topic] = said.scores[topic], other.rule
        found = []
        for topic, score in topics.items():
            if score >= policy.threshold(topic):
                found.append((Finding(topic, 0, len(text), score, rule=why[topic]), policy.topic(topic)[0]))
        return found, topics

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

        return Injection(encoder=lambda: self.encoder)

    @cached_property
    def moderation(self) -> Moderation:
        from penstock.guard.moderation import Moderation

        return Moderation(encoder=lambda: self.encoder)

    @cached_property
    def encoder(self) -> Embedder:
        """The one that both heads ask in doubt."""
        from penstock.encoder import shipped

        return shipped()


class _Looks:
    """The latest looks, each by a digest of its text, by what was looked for and by the policy as it was then."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Seen] = OrderedDict()
        self._secret = os.urandom(16)  # without it, a digest does not say whether somebody has sent a certain text
        self._lock = Lock()

    def once(self, key: tuple[object, ...], text: str, policy: Policy, look: Callable[[], Seen]) -> Seen:
        """What was seen of this text before, or else what is seen now. Guards of others are asked each time."""
        if policy.settings.others:
            return look()
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._secret).digest()
        key = (*key, policy.name, policy.version, digest)
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return kept
        seen = look()
        if len(seen.findings) <= MOST_FINDINGS:
            with self._lock:
                self._kept[key] = seen
                if len(self._kept) > LOOKS:
                    self._kept.popitem(last=False)
        return seen


def _forbidden(text: str, policy: Policy) -> list[tuple[Finding, Ruling]]:
    """What the policy's list says that no text may have."""
    return [(finding, Ruling("block", finding.rule)) for finding in policy.forbidden(text)]


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


def _beyond(text: str, findings: Iterable[Finding], taken: list[tuple[int, int]]) -> list[Finding]:
    """What these findings have outside of these spans: both are in the order of the text. What no letter or digit is in is
    left out. In linear time."""
    beyond, at = [], 0
    for finding in findings:
        while at < len(taken) and taken[at][1] <= finding.start:
            at += 1
        start, n = finding.start, at
        gaps = []
        while n < len(taken) and taken[n][0] < finding.end:
            gaps.append((start, taken[n][0]))
            start = max(start, taken[n][1])
            n += 1
        for begin, end in (*gaps, (start, finding.end)):
            words = text[begin:end]
            if any(map(str.isalnum, words)):
                begin += len(words) - len(words.lstrip())
                beyond.append(replace(finding, start=begin, end=begin + len(words.strip())))
    return beyond


def _refused(text: str, others: Others) -> list[tuple[Finding, Ruling]]:
    """What others forbid by lists of their own, and what they could not look at."""
    refused = []
    for other, said in others:
        refused += [(finding, Ruling("block", other.rule)) for finding in said.stops]
        if unchecked := other.unchecked(text, said):
            because = f'{other.rule}.on_failure = "{other.settings.on_failure}"'
            refused.append((unchecked, Ruling(unchecked.action, because)))
    return refused


def _reason(finding: Finding, ruling: Ruling) -> str:
    rule = f"{finding.rule}, " if finding.rule else ""
    return f"{finding.type} at {finding.start}-{finding.end}: {rule}{finding.score:.2f}; {ruling.because} -> {ruling.action}"
