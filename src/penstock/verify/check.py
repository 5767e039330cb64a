"""One text checked by itself, for whoever uses this part alone: `penstock verify`, `POST /v1/verify`, Python."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from penstock.types import Verdict

if TYPE_CHECKING:
    from penstock.verify.verifier import Checking, Lexical

__all__ = ["Tier", "plain", "verifier"]

Tier = Literal["", "lexical", "checker"]


def verifier(tier: Tier = "", *, threads: int = 1) -> Lexical | Checking:
    """A shipped check of texts against their sources; "" is the best there is. The first call with "checker" loads the network,
    which takes a tenth of a second and 40 MB; "lexical" compares words alone."""
    from penstock.verify.verifier import Lexical, models

    chosen = tier or ("checker" if "checker" in models() else "lexical")
    return Lexical() if chosen == "lexical" else _checking(threads)


@cache
def _checking(threads: int) -> Checking:
    from penstock.verify.checker import Checker
    from penstock.verify.evidence import Reader
    from penstock.verify.verifier import Checking

    reader = Reader()
    return Checking(Checker(reader, threads=threads), reader)


def plain(verdict: Verdict, text: str, sources: Sequence[str]) -> dict[str, Any]:
    """A verdict as JSON: `support`, `label`, `spans` that are not supported, `citations` sentence by sentence, best first."""
    spans = [list(span) for claim in verdict.claims for span in claim.unsupported]
    citations = [
        {
            "start": claim.start, "end": claim.end, "label": claim.label, "support": claim.support, "why": list(claim.why),
            "text": text[claim.start : claim.end],
            "sources": [
                {"context": e.source, "start": e.start, "end": e.end, "text": sources[e.source][e.start : e.end]}
                for e in claim.evidence
            ],
        }
        for claim in verdict.claims
    ]  # fmt: skip
    return {
        "support": verdict.support, "label": verdict.label, "spans": spans, "citations": citations, "by": verdict.by,
    }  # fmt: skip
