"""What the journal keeps of an app's answer: numbers, names and versions, and nobody's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.types import Answer

__all__ = ["summary"]


def summary(answer: Answer, versions: Mapping[str, str], faults: Sequence[str] = ()) -> dict[str, Any]:
    """JSON. `claims` counts the sentences that were checked by their label, `doubtful` those with words that the sources do not
    have, which may be supported all the same; `faults` names what is wrong with the answer."""
    verdict = answer.verdict
    told: dict[str, Any] = {
        "status": answer.status.value,
        "confidence": round(answer.confidence, 4),
        "language": answer.language,
        "citations": len(answer.citations),
        "quoted": len(answer.quoted),
        "withheld": len(answer.withheld),
        "conflicts": len(answer.conflicts),
        "copied": len(answer.copied),
        "by": answer.written_by,
        "characters": len(answer.text),
        "versions": {"index": answer.version, **versions},
        "faults": list(faults),
    }
    if verdict is not None:
        claims: dict[str, int] = {}
        doubtful = 0
        for claim in verdict.claims:
            claims[claim.label] = claims.get(claim.label, 0) + 1
            doubtful += bool(claim.unsupported)
        told |= {
            "checked_by": verdict.by,
            "support": round(verdict.support, 4),
            "claims": claims,
            "doubtful": doubtful,
        }
    return told
