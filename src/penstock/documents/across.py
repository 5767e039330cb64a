"""Questions in another language than the passages: when a question is one, and what of the index helps to put it into English.

How a question is put into English is nothing that is known here: that comes in as a `Crosser`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property

from penstock.documents.catalog import Catalog
from penstock.documents.search import ENGLISH, Snapshot, View
from penstock.text.languages import identifier
from penstock.text.stopwords import STOPWORDS
from penstock.text.words import cut
from penstock.types import Crossed, Crosser

__all__ = ["Across", "Cross"]

Cross = Callable[[Callable[[], Sequence[str]]], Crosser]  # from the words of an index

READ_AS_ENGLISH = frozenset((ENGLISH, ""))  # what is in no language that can be told is stemmed as English is
MOST_READ = 20_000  # passages whose words are looked at; evenly spread where there are more
_WORD = re.compile(r"[^\W\d_]{3,30}")


class Across:
    """Over one snapshot. Its words are read when the first question needs them: a second for 10 MB of text."""

    def __init__(self, snapshot: Snapshot, catalog: Catalog, cross: Cross) -> None:
        self.snapshot, self._catalog, self._cross = snapshot, catalog, cross

    def crossed(self, question: str, view: View) -> Crossed | None:
        """The question in English, where it is in a language that the view has no passages in, or few beside the English ones;
        None where it stays as it is."""
        if not view.count or READ_AS_ENGLISH.isdisjoint(view.languages):
            return None
        told = identifier().identify(question)
        if not told.language or told.language in set(view.languages) - view.rare | READ_AS_ENGLISH:
            return None

        def held(word: str) -> bool:
            return self.snapshot.holds(word, view)

        words = cut(question)
        if not told.sure and any(map(held, words)):
            return None  # too short to tell: it is in the language of the passages where it has a word of theirs
        own, english = STOPWORDS.get(told.language, frozenset()), STOPWORDS[ENGLISH]
        if sum(map(english.__contains__, words)) > sum(map(own.__contains__, words)):
            return None  # English about something with a foreign name
        return self._crosser.cross(question, told.language, held)

    @cached_property
    def _crosser(self) -> Crosser:
        return self._cross(self._words)

    def _words(self) -> Sequence[str]:
        """What words the passages in English have, in order."""
        snapshot = self.snapshot
        documents = {number for number, row in snapshot.documents.items() if row.language in READ_AS_ENGLISH}
        english = [row for row, document in enumerate(snapshot.document.tolist()) if document in documents]
        some = english[:: max(1, -(-len(english) // MOST_READ))]
        rows = self._catalog.passages(snapshot.passage[some].tolist())
        found = {word for row in rows.values() for word in cut(row.text) if _WORD.fullmatch(word)}
        return sorted(found - STOPWORDS[ENGLISH])
