"""What may leave: the last look at an answer, while it is being written.

Four readers: what nobody sees is taken out first; then what must not be told, pictures and links and tags, and secrets are
looked for side by side, and what all three are sure of leaves. None waits for more than so many characters (`HELD`). No model
is asked; the same text always ends the same way, wherever it was cut. Personal data are not looked for here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from penstock.guard.invisible import Visible
from penstock.guard.leaks import Leaks
from penstock.guard.links import Addresses
from penstock.guard.markup import Markup
from penstock.guard.outlet import Outlet
from penstock.guard.watched import Watched
from penstock.types import Finding

__all__ = ["Gate", "GateRules", "gated"]

On = Literal["remove", "allow", "block"]

PIECE: Final = 2048  # characters that are looked at in one go


def rule(default: Any, said: str) -> Any:
    return field(default=default, metadata={"help": said})


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """What an answer may have in it. `block` ends it at the first of its kind, `remove` takes that out."""

    allowed_hosts: tuple[str, ...] = rule((), "Hosts that pictures may come from; `*.example.com` is all below it.")
    images: On = rule("remove", "What happens to pictures, and all else that loads by itself, from other hosts.")
    links: Literal["any", "allowed_hosts", "allow"] = rule(
        "any", "Which links may stay: `any` that carries no data away, those to allowed hosts, or all."
    )
    html: On = rule("remove", "What happens to tags that run, ask or draw something.")
    secrets: On = rule("remove", "What happens to passwords, keys and tokens; `remove` puts [SECRET] in their place.")
    invisible: On = rule("remove", "What happens to characters that nobody sees and no script needs.")
    leaks: Literal["allow", "block"] = rule("block", "What happens to an answer that repeats the instructions.")


class Gate:
    """One answer on its way out. What `feed` and `close` return, put together, may be shown; nothing else may."""

    def __init__(self, rules: GateRules, *, protected: Sequence[str] = (), canaries: Sequence[str] = ()) -> None:
        """protected: texts that must not be told, such as the instructions. canaries: words that must never appear."""
        self.findings: list[Finding] = []
        self.blocked: Finding | None = None
        self._rules = rules
        self._last_unseen = -1  # among the findings
        watched = rules.leaks != "allow"
        self._visible = Visible(self._unseen) if rules.invisible != "allow" else None
        self._leaks = Leaks(protected if watched else (), canaries if watched else ())
        addresses = Addresses(
            rules.allowed_hosts,
            links="any" if rules.links == "allow" else rules.links,
            told=self._leaks.tells,
        )
        self._outlet = Outlet(self._secret)
        self._markup = Markup(
            self._outlet.put,
            self._marked,
            addresses,
            images=rules.images,
            links=rules.links != "allow",
            html=rules.html,
        )
        self._secrets = Watched(self._outlet.secrets) if rules.secrets != "allow" else None
        self._seen = 0  # characters that the readers side by side have been given

    def feed(self, text: str) -> str:
        """What may leave by now."""
        out = []
        for at in range(0, len(text), PIECE):
            if self.blocked is not None:
                break
            out.append(self._through(text[at : at + PIECE], last=False))
        return "".join(out)

    def close(self) -> str:
        """The rest. Nothing comes after it."""
        return self._through("", last=True) if self.blocked is None else ""

    def _through(self, text: str, *, last: bool) -> str:
        if self._visible is not None:
            text = self._visible.feed(text) + (self._visible.close() if last else "")
        if self.blocked is not None:
            return ""
        self._leaks.feed(text)
        told = self._leaks.told
        if told is not None:
            text = text[: told.end - self._seen]  # nobody reads on
        elif last:
            self._leaks.close()
        last = last and told is None
        self._seen += len(text)
        if self._secrets is not None:
            self._secrets.feed(text, final=last)
        self._markup.feed(text)
        if last:
            self._markup.close()
        sure = min(self._leaks.sure, self._secrets.sure if self._secrets else self._leaks.sure)
        text = self._outlet.upto(math.inf if last else sure)
        if told is not None and self.blocked is None:
            start, end = self._original(told.start, told.end)
            self.findings = [finding for finding in self.findings if finding.start < end]
            self._note(Finding(told.kind, start, end, 1.0, "block", f"gate: {told.rule}"), "block")
        return text if self.blocked is None or told is not None else ""

    def _original(self, start: int, end: int) -> tuple[int, int]:
        if self._visible is None:
            return start, end
        trail = self._visible.trail
        return trail.origin(start), max(trail.end(end), trail.origin(start))

    def _unseen(self, start: int, end: int) -> None:
        last = self._last_unseen
        if 0 <= last < len(self.findings) and self.findings[last].end == start:
            self.findings[last] = replace(self.findings[last], end=end)
            return
        self._last_unseen = len(self.findings)
        found = Finding("INVISIBLE_TEXT", start, end, 1.0, "redact", "gate: nobody sees it")
        self._note(found, self._rules.invisible)

    def _marked(self, kind: str, start: int, end: int, why: str) -> None:
        on = {"IMAGE": self._rules.images, "LINK": "remove", "HTML": self._rules.html}[kind]
        name = {"IMAGE": "EXFILTRATION:image", "LINK": "EXFILTRATION:link", "HTML": "UNSAFE_HTML"}[kind]
        self._note(Finding(name, *self._original(start, end), 1.0, "redact", f"gate: {why}"), on)

    def _secret(self, kind: str, start: int, end: int, score: float) -> None:
        found = Finding(
            f"SECRET:{kind}", *self._original(start, end), score, "mask", f"secrets: {kind.replace('_', ' ')}"
        )
        self._note(found, self._rules.secrets)

    def _note(self, finding: Finding, on: str) -> None:
        if on == "block":
            finding = replace(finding, action="block")
            if self.blocked is None:
                self.blocked = finding
        self.findings.append(finding)


def gated(
    text: str, rules: GateRules, *, protected: Sequence[str] = (), canaries: Sequence[str] = ()
) -> tuple[str, list[Finding]]:
    """What of a whole text may leave, and what was found in it, in the order of the text."""
    gate = Gate(rules, protected=protected, canaries=canaries)
    out = gate.feed(text)
    out += gate.close()
    return out, sorted(gate.findings, key=lambda finding: (finding.start, finding.end))
