"""How long what is kept is kept: what is past its time goes, and the audit trail says how much."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from penstock.assemble import House
from penstock.documents.rules import expired

__all__ = ["Due", "enforce", "has_rules", "look"]


@dataclass(frozen=True, slots=True)
class Due:
    """One thing that is kept for a time. count: how many rows, documents or files of it are past that."""

    what: str
    setting: str  # where its time is said
    count: int


class _Rule(NamedTuple):
    what: str
    setting: str
    due: Callable[[], int]
    remove: Callable[[], int]


def has_rules(house: House) -> bool:
    """Whether the settings limit how long anything is kept, besides the journal, reviews, requests for actions and messages of
    agents, which see to that themselves."""
    settings = house.settings
    ruled = any(rule.keep for documents in settings.documents.values() for rule in documents.rules)
    talks = bool(settings.actions.keep and house.bots)
    return bool(
        ruled or talks or settings.audit.keep or settings.batches.keep or settings.vault.keep or settings.chat.keep
    )


def look(house: House) -> list[Due]:
    """What is past its time. Nothing is changed."""
    return [Due(rule.what, rule.setting, rule.due()) for rule in _rules(house)]


def enforce(house: House) -> list[Due]:
    """Remove what is past its time, and record how much of what. Interrupted, it goes on with the next call.

    Raises Conflict while another process writes a collection.
    """
    done = []
    for rule in _rules(house):
        count = rule.remove() if rule.due() else 0
        if count and rule.what != "audit trail":  # which records that itself
            house.audit.write("retention.applied", target=rule.what, count=count)
        done.append(Due(rule.what, rule.setting, count))
    return done


def _rules(house: House) -> Iterator[_Rule]:
    settings, now = house.settings, time.time()
    for name, documents in settings.documents.items():
        if any(rule.keep for rule in documents.rules):
            yield _documents(house, name)
    if settings.journal.keep and house.journal_tables.has("requests"):
        yield _journal(house, now - settings.journal.keep)
    if settings.batches.keep and _is_there(house, "files"):
        before = now - settings.batches.keep
        yield _Rule(
            "files and batches", "batches.keep",
            lambda: house.files.made_before(before), lambda: house.files.remove_made_before(before),
        )  # fmt: skip
    if settings.vault.keep and _is_there(house, "vault_scopes"):
        yield _vault(house, now - settings.vault.keep)
    if settings.review.keep and _is_there(house, "review_items"):
        store, past = house.review.store, now - settings.review.keep
        yield _Rule(
            "feedback and reviews", "review.keep",
            lambda: store.made_before(past), lambda: store.remove_made_before(past),
        )  # fmt: skip
    if settings.chat.keep and _is_there(house, "conversations"):
        talks, until = house.conversations, now - settings.chat.keep
        yield _Rule(
            "conversations", "chat.keep",
            lambda: talks.unchanged_since(until), lambda: talks.remove_unchanged_since(until),
        )  # fmt: skip
    if settings.actions.keep and _is_there(house, "action_requests"):
        requests, last = house.actions(), now - settings.actions.keep
        yield _Rule(
            "requests for actions", "actions.keep",
            lambda: requests.made_before(last), lambda: requests.remove_made_before(last),
        )  # fmt: skip
    if settings.actions.keep and _is_there(house, "talks"):
        kept, gone = house.talks, now - settings.actions.keep
        yield _Rule(
            "conversations with bots", "actions.keep",
            lambda: kept.unchanged_since(gone), lambda: kept.remove_unchanged_since(gone),
        )  # fmt: skip
    if settings.actions.keep and _is_there(house, "agent_messages"):
        exchange, old = house.exchange(), now - settings.actions.keep
        yield _Rule(
            "conversations of agents", "actions.keep",
            lambda: exchange.unchanged_since(old), lambda: exchange.remove_unchanged_since(old),
        )  # fmt: skip
    if settings.audit.keep and _is_there(house, "audit"):
        audit, since = house.audit, now - settings.audit.keep
        yield _Rule("audit trail", "audit.keep", lambda: audit.prunable(since), lambda: audit.prune(since))


def _is_there(house: House, table: str) -> bool:
    return bool(house.database.read("select 1 from sqlite_master where type = 'table' and name = ?", (table,)))


def _documents(house: House, name: str) -> _Rule:
    collection = house.library[name]

    def past() -> set[int]:
        rows = collection.home.catalog.every_document(collection.number)
        return {row.id for row in rows if expired(row.source, row.date, collection.settings.rules)}

    def remove() -> int:
        from penstock.documents.erasing import erase  # a plain gateway never loads numpy

        documents = past()
        erase(collection, documents)
        return len(documents)

    return _Rule(f"documents of '{name}'", f"documents.{name}.rules", lambda: len(past()), remove)


def _journal(house: House, before: float) -> _Rule:
    def due() -> int:
        return int(house.journal_tables.read("select count(*) from requests where at < ?", (before,))[0][0])

    def remove() -> int:
        with house.journal_tables.write() as w:
            return int(w.execute("delete from requests where at < ?", (before,)).rowcount)

    return _Rule("journal", "journal.keep", due, remove)


def _vault(house: House, before: float) -> _Rule:
    def remove() -> int:
        scopes = house.vault.unused(before)
        for tenant, scope in scopes:
            house.vault.erase(tenant, scope)
        return len(scopes)

    return _Rule("vault", "vault.keep", lambda: len(house.vault.unused(before)), remove)
