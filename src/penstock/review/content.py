"""The words of an answer that people look at: the question, what was said, and what it rests on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from penstock.errors import BadRequest, TooLarge
from penstock.types import Answer, Message

__all__ = ["TOLD_BY_VISITOR", "Content", "newest"]

TOLD_BY_VISITOR = "The visitor tells what was said before; nobody has checked it."
LONGEST = 200_000  # characters of all words of one item
MOST_PARTS = 200


@dataclass(frozen=True, slots=True)
class Content:
    """What was asked and answered. citations: each with `source`, `document`, `passage` and `quote`, as far as they are known."""

    question: str = ""
    answer: str = ""
    context: tuple[str, ...] = ()  # the passages that the answer was made from
    citations: tuple[Mapping[str, str], ...] = ()
    history: tuple[Mapping[str, str], ...] = ()  # messages before the question, oldest first: `role` and `content`
    suggestion: str = ""  # how somebody would have it instead
    summary: str = ""  # of the conversation, for whoever takes over
    language: str = ""
    why: str = ""  # that a person is to look at it

    @classmethod
    def of(
        cls, answer: Answer, question: str, *, context: Sequence[str] = (), history: Sequence[Message] = (), why: str = "",
        summary: str = "",
    ) -> Content:  # fmt: skip
        """An answer of ours. What came nearest stands for the citations of one that was not given."""
        cited = [
            {"source": c.source, "document": c.document_id, "passage": c.passage_id, "quote": c.quote}
            for c in answer.citations or answer.nearest
        ]
        before = tuple({"role": message.role, "content": message.content} for message in history)
        return cls(
            question,
            answer.text,
            tuple(context),
            tuple(cited),
            before,
            summary=summary,
            language=answer.language,
            why=why,
        )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Content:
        """From plain values, as rows and bodies have them; other fields are passed over. Raises BadRequest or TooLarge."""
        found: dict[str, Any] = {}
        for name in _TEXTS:
            text = values.get(name)
            if not isinstance(text, str | None):
                raise BadRequest(f"'{name}' must be a text")
            found[name] = _whole(text or "")
        context = values.get("context") or []
        context = [context] if isinstance(context, str) else context
        if not isinstance(context, list) or not all(isinstance(text, str) for text in context):
            raise BadRequest("'context' must be a text, or a list of them")
        found["context"] = tuple(map(_whole, context))
        for name in ("citations", "history"):
            rows = values.get(name) or []
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise BadRequest(f"'{name}' must be a list of objects")
            kept = [
                {k: _whole(str(v)) for k, v in row.items() if isinstance(v, str | int) and k in _PARTS} for row in rows
            ]
            found[name] = tuple(kept)
        content = cls(**found)
        if max(len(content.context), len(content.citations), len(content.history)) > MOST_PARTS:
            raise TooLarge(f"an item has more than {MOST_PARTS} passages or messages")
        if (
            len(orjson.dumps(content.plain())) > 4 * LONGEST
            or sum(map(len, (content.question, content.answer))) > LONGEST
        ):
            raise TooLarge(f"the words of an item have more than {LONGEST:,} characters")
        return content

    def plain(self) -> dict[str, Any]:
        """As JSON, without what is empty."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items() if v}

    @property
    def digest(self) -> str:
        """SHA-256 of what was asked and answered, white space aside."""
        said = [" ".join(text.split()) for text in (self.question, self.answer, *self.context)]
        return hashlib.sha256(orjson.dumps(said)).hexdigest()


def newest(history: Sequence[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    """The last messages, as many as one item may hold with room for the rest of it."""
    left, kept = 2 * LONGEST, 0
    for one in reversed(history[-MOST_PARTS // 2 :]):
        left -= len(orjson.dumps(_whole(one["content"])))
        if left < 0:
            break
        kept += 1
    return tuple(history[len(history) - kept :])


def _whole(text: str) -> str:
    """A text without halves of surrogate pairs, which are no characters and cannot be stored."""
    return text.encode("utf-8", "replace").decode()


_TEXTS = tuple(f.name for f in fields(Content) if f.name not in ("context", "citations", "history"))
_PARTS = ("source", "document", "passage", "quote", "role", "content", "document_id", "passage_id", "title")
