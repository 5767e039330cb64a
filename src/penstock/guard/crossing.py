"""One request on its way over the model's boundary, and its answer on the way back.

Inside our walls the words are as they were written. What a model is given has stand-ins for personal data, one scope for all
texts of a request, so that the same person has the same stand-in in the question and in the sources. On the way back they
are turned into the words again, and then the output gate looks at what leaves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from penstock.errors import Blocked
from penstock.guard.gate import Gate, GateRules
from penstock.guard.guard import CHANGES, INJECTION, Guard, Seen
from penstock.guard.masking import KEEP_TOKENS, Restoring, Scope, masked, restored, restored_json
from penstock.guard.policy import Policy
from penstock.guard.tools import CallGate, Confirmations
from penstock.types import Dialect, Finding, ModelEvent, ModelRequest, Record, Stopped, Surface, ToolCallDelta

__all__ = ["WITHHELD", "Calling", "Crossing", "Leaving", "gate_rules", "lookalikes", "unescaped"]

CONFIRM = "confirm:"  # what a tag of a request begins with that brings a person's agreement

WITHHELD = "[withheld: this text gave orders to the model]"
_ESCAPED: Final = re.compile(r"(?<!\\)(\\{1,2})u[0-9a-fA-F]{4}(?:\1u[0-9a-fA-F]{4})*")  # two: JSON in a string of JSON
_UNIT: Final = re.compile(r"u([0-9a-fA-F]{4})")
SMALL = 40  # characters of a text on average, where somebody may have cut up one
MOST_KEPT = 200  # characters of what was found, where a policy keeps them


class Crossing:
    """Satisfies `Boundary`. For one request, in one thread at a time."""

    def __init__(
        self,
        guard: Guard,
        policy: Policy,
        scope: Scope,
        record: Record,
        *,
        masks: bool = True,
        confirmations: Confirmations | None = None,
        blocked: Callable[[str], None] = lambda types: None,
    ) -> None:
        """masks: whether personal data are replaced; a model that runs inside our walls may see them. confirmations: how a
        person agrees to a call of a tool; without them nobody can. blocked: told the types for which something is stopped."""
        self._confirmations, self._blocked = confirmations, blocked
        self._guard, self._policy, self._scope, self._record, self._masks = guard, policy, scope, record, masks
        self._seen: dict[tuple[str, Surface], Seen] = {}
        self._protected: list[str] = []
        self._replaced = False
        self.careful = False

    @property
    def advice(self) -> str:
        """What the model should be told of the stand-ins in its texts; "" where there are none."""
        return KEEP_TOKENS if self._replaced else ""

    def enter(self, text: str, surface: Surface) -> str:
        """What a model is given in place of a text. Raises Blocked where the policy stops it."""
        plain = unescaped(text)
        seen = self._look(plain, surface)
        blocking = [finding for finding in seen.findings if finding.action == "block"]
        if blocking:
            raise self._refusal(blocking, seen)
        if any(finding.action == "quarantine" for finding in seen.findings):
            return WITHHELD
        changed = self._masked(plain, seen.changes)
        return text if changed == plain else changed

    def heard(self, texts: Sequence[str]) -> None:
        """Look at what a model hears in one go as one text. Raises Blocked where only together they are what is stopped."""
        small = sum(map(len, texts)) < SMALL * len(texts)  # words may be cut in two
        for between in (" ", "") if small else (" ",):
            whole = unescaped(between.join(texts))
            seen = self._done(self._guard.look(whole, self._policy, surface="prompt", scores=False))
            blocking = [finding for finding in seen.findings if finding.action == "block"]
            if blocking:
                self._note(whole, "prompt", replace(seen, findings=tuple(blocking)))
                raise self._refusal(blocking, seen)

    def told(self, text: str, *, own: bool = False) -> str:
        """What a model is given in place of a text whose orders are to be followed: nothing but its words is looked at.

        own: it was the model's, or goes along with the talk. Then what the policy stops is masked instead.
        Raises Blocked.
        """
        plain = unescaped(text)
        seen = self._done(self._guard.private(plain, self._policy))
        self._note(plain, "prompt", seen)
        if seen.stops and not own:
            raise self._refusal(seen.stops, seen)
        changed = self._masked(plain, (*seen.changes, *(replace(stop, action="mask") for stop in seen.stops)))
        return text if changed == plain else changed

    def withholds(self, text: str) -> bool:
        """Whether a passage gives orders to the model, so that it is kept away from it."""
        return any(stop.type == INJECTION for stop in self._look(unescaped(text), "document").stops)

    def protect(self, text: str) -> None:
        """Instructions that no answer may repeat."""
        self._protected.append(text)

    def restored(self, text: str, *, json: bool) -> str:
        """A text that is no answer of a model, or JSON, with the words in it again."""
        return (restored_json if json else restored)(text, self._scope)

    def leaving(self) -> Leaving:
        """The way back of one stream of text."""
        return Leaving(self._scope, gate_rules(self._policy), self._protected, self._note_output)

    def with_tools(self, body: Mapping[str, Any], dialect: Dialect) -> Mapping[str, Any]:
        """The body with results of tools reduced to what the rules let through. Raises Blocked for tools that may not be called:
        a provider may run them by itself, past every gate."""
        rules = self._policy.tools
        if rules is None:
            return body
        if unlisted := rules.unlisted(body):
            self._blocked("TOOL_CALL")
            raise Blocked(f"the policy '{self._policy.name}' has no rule for these tools: {', '.join(unlisted)[:200]}")
        return rules.reduced(body, dialect)

    def calling(self, request: ModelRequest) -> Calling:
        """The way back of the calls of tools that answer a request."""
        return Calling(self._scope, self._policy, request, self._confirmations, self._note_output)

    def judge(self, text: str) -> None:
        """Look at a whole answer for harm. Raises Blocked where the policy stops it and the answer has not left yet."""
        seen = self._guard.harm(text, self._policy)
        self._note(text, "output", seen)
        if seen.stops:
            raise self._refusal(seen.stops, seen)

    def _refusal(self, findings: Sequence[Finding], seen: Seen) -> Blocked:
        """The words are never repeated; what was found is."""
        types = ", ".join(dict.fromkeys(finding.type for finding in findings))
        self._blocked(types)
        if seen.helped:
            return Blocked(self._policy.settings.help_line, said=self._policy.settings.help_line)
        return Blocked(
            f"the guard stopped this: {types}",
            hint=f"policy '{self._policy.name}'; penstock guard explain says which rule acted and why",
        )

    def _look(self, text: str, surface: Surface) -> Seen:
        seen = self._seen.get((text, surface))
        if seen is None:
            seen = self._done(self._guard.look(text, self._policy, surface=surface, scores=False))
            self._seen[text, surface] = seen
            self.careful = self.careful or seen.careful
            self._note(text, surface, seen)
        return seen

    def _done(self, seen: Seen) -> Seen:
        """What was seen, with what is done about it here: what is private stays as it is for a model inside our walls."""
        if self._masks:
            return seen
        findings = (
            replace(f, action="allow") if f.action in CHANGES and not f.type.startswith("SECRET") else f
            for f in seen.findings
        )
        return replace(seen, findings=tuple(findings))

    def _masked(self, text: str, changes: Sequence[Finding]) -> str:
        changed = masked(
            text, changes, self._scope, lookalike=lookalikes(self._policy, changes)
        )  # escapes what looks like one
        self._replaced = self._replaced or changed.text != text
        return changed.text

    def _note(self, text: str, surface: Surface, seen: Seen) -> None:
        if seen.findings:
            self._record.guarded.append(
                _event(text, surface, seen.findings, self._policy) | {"decision": seen.decision}
            )

    def _note_output(self, text: str, findings: Iterable[Finding]) -> None:
        found = tuple(findings)
        if found:
            self._record.guarded.append(_event(text, "output", found, self._policy) | {"decision": "mask"})


class Leaving:
    """Text on its way out. Satisfies `Leaving` of types.py."""

    def __init__(
        self, scope: Scope, rules: GateRules, protected: Sequence[str], note: Callable[[str, Iterable[Finding]], None]
    ) -> None:
        self._restoring, self._gate, self._note = Restoring(scope), Gate(rules, protected=protected), note

    @property
    def stopped(self) -> bool:
        """Whether nothing more may leave."""
        return self._gate.blocked is not None

    def restored(self, text: str, *, last: bool = False) -> str:
        """A text of the model in the words of these walls. It may not leave yet."""
        return self._restoring.feed(text) + (self._restoring.close() if last else "")

    def gated(self, words: str, *, last: bool = False) -> str:
        """What of such words may leave by now. At the last of them, what the gate did goes to the journal."""
        passed = self._gate.feed(words)
        if last:
            passed += self._gate.close()
            self._note("", self._gate.findings)
        return passed

    def feed(self, text: str) -> str:
        """What may leave by now of a text of the model."""
        return self.gated(self.restored(text))

    def close(self) -> str:
        """What was held back."""
        return self.gated(self.restored("", last=True), last=True)


class Calling:
    """Calls of tools on their way out: stand-ins turned back, and held until the policy's rules let them pass."""

    def __init__(
        self,
        scope: Scope,
        policy: Policy,
        request: ModelRequest,
        confirmations: Confirmations | None,
        note: Callable[[str, Iterable[Finding]], None],
    ) -> None:
        self._scope, self._note = scope, note
        self._restoring: dict[int, Restoring] = {}
        tokens = [tag.removeprefix(CONFIRM) for tag in request.tags if tag.startswith(CONFIRM)]
        self._gate = None if policy.tools is None else CallGate(
            policy.tools, request.body, request.dialect,
            confirmations=confirmations, scope=request.caller.name, tokens=tokens,
        )  # fmt: skip

    def feed(self, event: ToolCallDelta | Stopped) -> list[ModelEvent]:
        """What may leave by now: pieces of calls as they come, or whole calls where there are rules for them."""
        events: list[ModelEvent] = []
        if isinstance(event, Stopped):
            events += [ToolCallDelta(n, rest) for n, piece in self._restoring.items() if (rest := piece.close())]
            events.append(event)
        else:
            piece = self._restoring.setdefault(event.index, Restoring(self._scope, json=True))
            events.append(replace(event, arguments=piece.feed(event.arguments)))
        if self._gate is None:
            return events
        passed = [passed for event in events for passed in self._gate.feed(event)]
        if isinstance(event, Stopped):
            self._note("", self._gate.findings)
        return passed


def unescaped(text: str) -> str:
    r"""The text with its letters in place of JSON's escapes: `J\u00fcrgen`, as programs write results of tools, is Jürgen.

    What JSON must escape stays as it is, so that JSON stays JSON.
    """
    return _ESCAPED.sub(_letters, text) if "\\u" in text else text


def _letters(found: re.Match[str]) -> str:
    letters = bytes.fromhex("".join(_UNIT.findall(found[0]))).decode("utf-16-be", "surrogatepass")
    return "".join(
        letter if letter.isprintable() and letter not in '"\\' else _escaped(letter, found[1]) for letter in letters
    )


def _escaped(letter: str, before: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"{before}u{units[at : at + 4]}" for at in range(0, len(units), 4))


def lookalikes(policy: Policy, findings: Sequence[Finding]) -> frozenset[str]:
    """The types whose stand-ins are made-up values of the same form."""
    return frozenset(f.type for f in findings) if policy.settings.stand_ins == "look_alikes" else frozenset()


def gate_rules(policy: Policy) -> GateRules:
    """What the output gate does under a policy."""
    settings = policy.settings
    return GateRules(allowed_hosts=settings.allowed_hosts, links=settings.links, leaks=settings.leaks)


def _event(text: str, surface: Surface, findings: Sequence[Finding], policy: Policy) -> dict[str, Any]:
    """What the journal keeps: everything a reviewer needs, and the words only where the policy keeps them."""
    rows = []
    for f in findings:
        row: dict[str, Any] = {
            "type": f.type, "start": f.start, "end": f.end, "score": round(f.score, 3), "action": f.action, "rule": f.rule,
        }  # fmt: skip
        if policy.settings.keep_text and text:
            row["text"] = text[f.start : f.end][:MOST_KEPT] if f.action in ("review", "quarantine", "block") else ""
        rows.append(row)
    return {"surface": surface, "policy": f"{policy.name}@{policy.version}", "findings": rows}
