"""The words of questions and answers, kept only where an app says so: all of them, a share, or those of answers with a fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from zlib import crc32

import orjson

from penstock.storage.envelope import Encryption
from penstock.types import Record

__all__ = ["Keeping", "Texts"]


@dataclass(frozen=True, slots=True)
class Keeping:
    """What one app keeps. share: of the requests that qualify, chosen by their id, so that every process chooses the same."""

    what: Literal["never", "faulty", "always"] = "never"
    share: float = 1.0


class Texts:
    """Keeps words, and gives them back."""

    def __init__(self, apps: Mapping[str, Keeping], encryption: Encryption | None = None) -> None:
        self._apps, self._encryption = apps, encryption

    def kept(self, record: Record, faults: Sequence[str]) -> str:
        """The words of a request as a column of text; "" where they are not kept."""
        keeping = self._apps.get(record.app)
        if keeping is None or keeping.what == "never" or record.answer is None:
            return ""
        if keeping.what == "faulty" and not faults:
            return ""
        if crc32(record.id.encode()) / 2**32 >= keeping.share:
            return ""
        words = {"question": record.question, "answer": record.answer.text}
        plain: dict[str, Any] = {name: text.encode("utf-8", "replace").decode() for name, text in words.items()}
        if cited := record.answer.citations or record.answer.nearest:
            plain["citations"] = [
                {"source": one.source, "document": one.document_id, "passage": one.passage_id} for one in cited
            ]
        said = orjson.dumps(plain).decode()
        return self._encryption.sealed(said) if self._encryption else said

    def opened(self, said: str) -> str:
        """What was kept, as JSON. Raises StorageError where the key is gone."""
        return self._encryption.opened(said) if self._encryption else said

    def read(self, said: str) -> dict[str, Any]:
        """`question`, `answer` and `citations`; empty where nothing was kept. Raises StorageError where the key is gone."""
        words: dict[str, Any] = orjson.loads(self.opened(said)) if said else {}
        return words
