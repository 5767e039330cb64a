"""What strangers may see of a source beside an answer: the quote, and the words around it.

An answer's text went through the output gate; so does this. Personal data that a policy turns into stand-ins come back in
answers, so they stay. What it masks for good, or stops, comes back in none, and is masked here too.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.guard.crossing import gate_rules
from penstock.guard.gate import gated
from penstock.guard.guard import CHANGES, Guard
from penstock.guard.policy import Policy
from penstock.types import Finding

__all__ = ["shown"]

GONE = CHANGES - {"pseudonymise"} | {"block"}


def shown(before: str, quote: str, after: str, *, guard: Guard, policy: Policy, said: bool) -> tuple[str, str, str]:
    """The three as they may be shown. said: the quote stands in the text of the answer as it is, so that it stays like that."""
    whole = before + quote + after
    hidden = [f for f in guard.private(whole, policy).findings if f.action in GONE]
    rules = gate_rules(policy)
    start, end = len(before), len(before) + len(quote)

    def out(text: str) -> str:
        return gated(text, rules)[0]

    return (
        out(_masked(whole, 0, start, hidden)),
        out(quote if said else _masked(whole, start, end, hidden)),
        out(_masked(whole, end, len(whole), hidden)),
    )


def _masked(text: str, start: int, end: int, hidden: Sequence[Finding]) -> str:
    """A stretch of the text, with what lies in it of the findings masked."""
    pieces, at = [], start
    for found in sorted(hidden, key=lambda one: one.start):
        if found.end > at and found.start < end:
            pieces += [text[at : max(at, found.start)], f"[{found.type.partition(':')[0]}]"]
            at = min(end, found.end)
    return "".join([*pieces, text[at:end]])
