"""Rows that a tool or a database returned, as text that a check can read: each row a line, each value after its name.

Beside rows a sentence may not say a number, a date or a name that none of them has, however well the rest of it fits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from penstock.errors import BadRequest
from penstock.types import Claim, Verdict, Verifier
from penstock.verify.claims import blanked
from penstock.verify.compare import CONTRADICTED, mismatches
from penstock.verify.held import overall

__all__ = ["Strict", "are_rows", "as_text", "strict"]

DEEPEST = 6


def are_rows(context: Any) -> bool:
    """Whether a context is rows, or a list of them, and not text."""
    return isinstance(context, Mapping) or (
        isinstance(context, list) and bool(context) and all(isinstance(one, Mapping) for one in context)
    )


def as_text(value: Any) -> str:
    """JSON as lines: `order: 4711; total: 12.50 EUR`. A text stays as it is; one that is JSON is read.

    Names of fields stand before their values, `shipped_at` as "shipped at", so that numbers are compared with the words they
    belong to. Raises BadRequest for what is no JSON value.
    """
    if isinstance(value, str):
        stripped = value.strip()
        if stripped[:1] in ("{", "["):
            try:
                return "\n".join(_lines(json.loads(stripped)))
            except (ValueError, RecursionError):
                return value
        return value
    return "\n".join(_lines(value))


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{'; '.join(_fields(value, ''))}."] if value else []
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [line for item in value for line in _lines(item)]
    return [_plain(value)]


def _fields(row: Mapping[str, Any], around: str, depth: int = 0) -> list[str]:
    found = []
    for name, value in row.items():
        label = f"{around}{str(name).replace('_', ' ').strip()}"
        if isinstance(value, Mapping) and depth < DEEPEST:
            found += _fields(value, f"{label} ", depth + 1)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            rows = [item for item in value if isinstance(item, Mapping)]
            plain = [_plain(item) for item in value if not isinstance(item, Mapping | list)]
            found += [f"{label}: {', '.join(plain)}"] if plain else []
            found += [f"{label}: {', '.join(_fields(item, '', depth + 1))}" for item in rows if depth < DEEPEST]
        else:
            found.append(f"{label}: {_plain(value)}")
    return found


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | str):
        return str(value)
    raise BadRequest(f"a {type(value).__name__} is no value of JSON")


class Strict:
    """A check whose sources are rows, or have rows among them. Satisfies `Verifier`."""

    def __init__(self, inner: Verifier) -> None:
        self._inner = inner

    async def verify(self, text: str, sources: Sequence[str], *, question: str = "", language: str = "") -> Verdict:
        verdict = await self._inner.verify(text, sources, question=question, language=language)
        return strict(verdict, text, sources, question=question, language=language)


def strict(verdict: Verdict, text: str, sources: Sequence[str], *, question: str = "", language: str = "") -> Verdict:
    """What a check said, less what the rows do not have. A sentence that could not be scored, since it is in another language than
    its sources, is still held to their numbers and dates."""
    plain = blanked(text)
    claims = tuple(_held_to(claim, plain, sources, question, language) for claim in verdict.claims)
    if claims == verdict.claims:
        return verdict
    found = overall(claims, verdict.by)
    return replace(found, support=found.support if verdict.label == "unscored" else min(found.support, verdict.support))


def _held_to(claim: Claim, text: str, sources: Sequence[str], question: str, language: str) -> Claim:
    said = text[claim.start : claim.end]
    missing = [
        one
        for one in mismatches(said, sources, asked=question, language=language)
        if one.kind != "name" or claim.label != "unscored"  # names may be spelt otherwise in another language
    ]
    if not missing:
        return claim
    spans = {*claim.unsupported, *((claim.start + one.start, claim.start + one.end) for one in missing)}
    return replace(
        claim,
        label="contradicted" if any(one.instead for one in missing) else "not_found",
        support=min(claim.support, CONTRADICTED),
        unsupported=tuple(sorted(spans - {(claim.start, claim.end)})),
        why=tuple(dict.fromkeys((*claim.why, *(one.why for one in missing)))),
    )
