"""From what is wrong most to what may be tried: for each intent and reason an experiment, with settings and cases from the log."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from penstock.support.report import Finding, Suggestion
from penstock.support.scored import Scored

__all__ = ["suggestions"]

FEWEST = 3  # conversations with the same thing wrong
MOST = 8
MOST_CASES = 50


class _Remedy(NamedTuple):
    """What may be tried against a kind of finding. settings: of a variant, for {app}; correct: what the experiment decides by."""

    metric: str
    title: str
    why: str
    variant: str
    settings: str
    correct: str


_REMEDIES: dict[str, _Remedy] = {
    "wrong_fact": _Remedy(
        "accuracy", "have what is not in its sources rewritten before it leaves",
        "Answers say other values than the rows that they were given.",
        "rewritten", 'grounded = true\nunsupported = "rewrite"', "contains >= 1",
    ),
    "made_up": _Remedy(
        "hallucination", "leave out what is in no source",
        "Answers say values that nothing they were given has.",
        "without", 'grounded = true\nunsupported = "drop"', "grounded >= 0.9",
    ),
    "unsupported": _Remedy(
        "hallucination", "replace what is in no source by what the source says",
        "Answers have sentences that are in none of their texts.",
        "quoted", 'grounded = true\nunsupported = "quote"', "grounded >= 0.9",
    ),
    "unanswered": _Remedy(
        "coherence", "hand over sooner where the bot is not sure",
        "Questions are left without an answer, or answered by not having understood. Documents about them may be missing as well.",
        "sooner", "hand_over_below = 0.4", "answered >= 1",
    ),
    "irrelevant": _Remedy(
        "relevance", "hand over where it is hardly sure that it answers the question",
        "Answers are about something else than the question.",
        "sure", "abstain_below = 0.4", "judge >= 0.75",
    ),
    "repetition": _Remedy(
        "coherence", "hand over instead of saying the same again", "Answers repeat earlier ones to another message.", "sooner",
        "hand_over_below = 0.4", "answered >= 1",
    ),
    "silent_failure": _Remedy(
        "silent_failure", "offer a person sooner", "Conversations end without a person and without what was wanted.", "person",
        "hand_over_below = 0.5", "answered >= 1",
    ),
    "no_empathy": _Remedy(
        "empathy", "tell the model to acknowledge what went wrong first", "Upset customers get no word of understanding.", "warmer",
        'prompt = "{app}-warmer"   # a copy of its prompt, with: "When a customer is upset, say in one sentence that you see why."',
        "judge >= 0.75",
    ),
    "contradiction": _Remedy(
        "coherence", "have each sentence looked for in the sources", "Answers contradict earlier ones of the same conversation.",
        "checked", 'grounded = true\nunsupported = "rewrite"', "grounded >= 0.9",
    ),
}  # fmt: skip


def suggestions(scored: Sequence[Scored], *, app: str = "APP") -> tuple[Suggestion, ...]:
    """For what is wrong most often: intent and reason by how many conversations have it, those with the highest share first."""
    members: dict[str, int] = {}
    wrong: dict[tuple[str, str], dict[str, list[Finding]]] = {}
    for one in scored:
        members[one.intent] = members.get(one.intent, 0) + 1
        for finding in one.findings:
            if finding.kind in _REMEDIES:
                wrong.setdefault((one.intent, finding.kind), {}).setdefault(one.id, []).append(finding)
    order = sorted(wrong.items(), key=lambda entry: (-(len(entry[1]) ** 2) / members[entry[0][0]], entry[0]))
    found: list[Suggestion] = []
    for (intent, kind), by_conversation in order:
        if len(by_conversation) < FEWEST or len(found) >= MOST:
            continue
        findings = [some[0] for _, some in sorted(by_conversation.items())]
        found.append(_suggestion(intent, kind, findings, members[intent], app))
    return tuple(found)


def _suggestion(intent: str, kind: str, findings: Sequence[Finding], of: int, app: str) -> Suggestion:
    remedy = _REMEDIES[kind]
    name = _file_name(f"{intent or 'all'}-{kind}")
    cases = _cases(findings, kind)
    correct = remedy.correct if remedy.correct != "contains >= 1" or '"must_contain"' in cases else "grounded >= 0.9"
    settings = (
        f'cases = "{name}.jsonl"\nagainst = "{app}"\ncorrect = "{correct}"\n\n[variants.{remedy.variant}.apps.{app}]\n'
        f"{remedy.settings.replace('{app}', app)}\n"
    )
    about = f"for '{intent}' " if intent else ""
    return Suggestion(
        title=f"try {about}to {remedy.title}", why=f"{remedy.why} Seen in {len(findings)} of {of} conversations.",
        metric=remedy.metric,
        intent=intent, settings=settings, cases=cases, findings=tuple(one.id for one in findings[:MOST_CASES]),
    )  # fmt: skip


def _cases(findings: Sequence[Finding], kind: str) -> str:
    """The questions before what went wrong, once each; where a row says what is right, an answer has to contain that."""
    lines: dict[str, str] = {}
    for one in findings:
        if not one.asked or len(lines) >= MOST_CASES or one.asked in lines:
            continue
        case: dict[str, object] = {"id": one.id, "question": one.asked, "tags": [kind]}
        if one.language:
            case["lang"] = one.language
        right = next((evidence.value for evidence in one.against if evidence.value and evidence.field), "")
        if kind == "wrong_fact" and right:
            case["must_contain"] = [right]
        lines[one.asked] = json.dumps(case, ensure_ascii=False)
    return "".join(f"{line}\n" for line in lines.values())


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "all"
