"""What holds for documents by their source: tags, access and age, from `[[documents.NAME.rules]]`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase

from penstock.config import RuleSettings
from penstock.documents.draft import Skipped
from penstock.types import Document

__all__ = ["apply", "expired", "readers", "stale"]


def apply(document: Document, rules: Sequence[RuleSettings], prefix: str = "") -> Document | Skipped:
    """The document with the tags and the access list its rules give, or that they no longer keep it.

    A rule's access list replaces the document's own.

    prefix: what the document's source has before its path in its place; rules are written for the path.
    """
    if expired(document.source, document.date, rules):
        return Skipped(document.source, f"its date is {document.date}: older than its rule keeps documents")
    names = {document.source, document.source.removeprefix(prefix)}
    tags, access = dict.fromkeys(document.tags), document.access
    for rule in rules:
        if any(fnmatchcase(name, rule.match) for name in names):
            tags |= dict.fromkeys(rule.tags)
            access = rule.access or access
    return replace(document, tags=tuple(tags), access=access)


def readers(names: Collection[str], rules: Sequence[RuleSettings]) -> tuple[str, ...]:
    """Who may read what goes by any of these names, as far as rules say; the last one that says it wins."""
    lists = [rule.access for rule in rules if rule.access and any(fnmatchcase(name, rule.match) for name in names)]
    return lists[-1] if lists else ()


def stale(source: str, written: str, rules: Sequence[RuleSettings]) -> bool:
    """Whether a document of that date is older than the last rule with an age allows. Without a date nothing is stale."""
    return _older(source, written, [(rule.match, rule.stale_after) for rule in rules])


def expired(source: str, written: str, rules: Sequence[RuleSettings]) -> bool:
    """Whether a document of that date is older than the last rule that says so keeps it. Without a date it is kept."""
    return _older(source, written, [(rule.match, rule.keep) for rule in rules])


def _older(source: str, written: str, ages: Sequence[tuple[str, float]]) -> bool:
    names = {source, source.partition("/")[2]}  # the first folder may have been put before it
    allowed = [age for match, age in ages if age and any(fnmatchcase(name, match) for name in names)]
    try:
        day = date.fromisoformat(written[:10])
    except ValueError:
        return False
    return bool(allowed) and datetime.now(UTC).date() - day > timedelta(seconds=allowed[-1])
