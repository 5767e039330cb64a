"""What is wrong with an answer, told from the answer alone: it cost nothing to find out, and it is written down for every one."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.types import Answer, Status

__all__ = ["FAULTS", "faults"]

FAULTS = ("ungrounded", "refusal", "off_topic", "toxic", "wrong_language", "wrong_format", "truncated")


def faults(answer: Answer) -> Iterator[str]:
    """Names of FAULTS that hold for an answer."""
    claims = answer.verdict.claims if answer.verdict else ()
    if any(claim.label in ("contradicted", "not_found") for claim in claims):
        yield "ungrounded"
    if answer.status is Status.REFUSED:
        yield "refusal"
