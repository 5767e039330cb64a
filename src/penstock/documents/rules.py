"""What holds for documents by their source: tags, access and age, from `[[documents.NAME.rules]]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase

from penstock.config import RuleSettings
from penstock.types import Document

__all__ = ["apply", "stale"]


def apply(document: Document, rules: Sequence[RuleSettings]) -> Document:
    """The document with the tags and the access list its rules give. A rule's access list replaces the document's own."""
    tags, access = dict.fromkeys(document.tags), document.access
    for rule in rules:
        if fnmatchcase(document.source, rule.match):
            tags |= dict.fromkeys(rule.tags)
            access = rule.access or access
    return replace(document, tags=tuple(tags), access=access)


def stale(source: str, written: str, rules: Sequence[RuleSettings]) -> bool:
    """Whether a document of that date is older than the last rule with an age allows. Without a date nothing is stale."""
    ages = [rule.stale_after for rule in rules if rule.stale_after and fnmatchcase(source, rule.match)]
    try:
        day = date.fromisoformat(written[:10])
    except ValueError:
        return False
    return bool(ages) and datetime.now(UTC).date() - day > timedelta(seconds=ages[-1])
