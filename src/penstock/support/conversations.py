"""What was said between a customer and a support bot, and all that a log tells about it, whatever log that is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import orjson

from penstock.agents.talks import Row
from penstock.errors import BadRequest

__all__ = ["Conversation", "Role", "Row", "Spoken", "plain_row", "row_of"]

Role = Literal["customer", "bot", "person", "tool", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One turn. None: the log does not say.

    rows: of the business's own data, that it rests on, as they were read. sources: texts that it rests on. references: what a good
    answer in its place would have said. Of a `person`: somebody of the staff.
    """

    role: Role
    text: str
    at: float | None = None  # Unix time
    latency_ms: float | None = None  # from the customer's message to the whole answer
    first_ms: float | None = None  # to its first piece
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    rows: tuple[Row, ...] = ()
    sources: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    hand_over: bool = False  # with this turn the bot gave the conversation to a person
    id: str = ""  # of the request, where there is one

    def plain(self) -> dict[str, Any]:
        """As JSON, without what is as it is by default."""
        kept = _told(self, _SILENT)
        if self.rows:
            kept["rows"] = list(map(plain_row, self.rows))
        return {"role": self.role, "text": self.text, **kept}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One conversation, its turns in order. "" and None: the log does not say."""

    id: str
    turns: tuple[Spoken, ...]
    release: str = ""  # of the bot, its prompt or its model: what is compared
    language: str = ""  # ISO 639-1
    intent: str = ""
    customer: str = ""  # whoever it was, the same in each of their conversations
    app: str = ""
    started: float | None = None  # Unix time
    csat: float | None = None  # 1 to 5, as the customer gave it
    escalated: bool | None = None  # a person took over, or was to
    resolved: bool | None = None  # as somebody wrote it down
    rows: tuple[Row, ...] = ()  # that were known all along, such as the customer's account
    sources: tuple[str, ...] = ()  # documents that all answers rest on
    metadata: Mapping[str, Any] = field(default_factory=dict)  # all else that the log says of it

    @property
    def answers(self) -> tuple[int, ...]:
        """The places of the bot's turns."""
        return tuple(n for n, turn in enumerate(self.turns) if turn.role == "bot")

    @property
    def digest(self) -> str:
        """SHA-256 of all that is known of it."""
        return hashlib.sha256(orjson.dumps(self.plain(), option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()

    def plain(self) -> dict[str, Any]:
        """As JSON, without what is empty: a line of a log, which `penstock eval log` reads."""
        kept = _told(self, _EMPTY)
        if self.rows:
            kept["rows"] = list(map(plain_row, self.rows))
        return {"id": self.id, **kept, "turns": [turn.plain() for turn in self.turns]}


def _told(of: Any, silent: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: getattr(of, name) for name in silent if name != "rows"}
    kept = {name: value for name, value in values.items() if value != silent[name]}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


_SILENT = {
    one.name: getattr(Spoken(role="bot", text=""), one.name)
    for one in fields(Spoken)
    if one.name not in ("role", "text")
}
_EMPTY = {
    one.name: getattr(Conversation(id="", turns=()), one.name)
    for one in fields(Conversation)
    if one.name not in ("id", "turns")
}


def plain_row(row: Row) -> dict[str, Any]:
    """A row as JSON, which `row_of` reads."""
    told = {"source": row.source, "values": dict(row.values)}
    return told | ({"label": row.label} if row.label else {}) | ({"at": row.at} if row.at else {})


def row_of(value: Any) -> Row:
    """A row as a log has it: {source, values}, or the values alone. Raises BadRequest."""
    if not isinstance(value, Mapping):
        raise BadRequest(
            "a row of facts must be an object", hint='{"source": "orders/#W1", "values": {"status": "pending"}}'
        )
    inner = value.get("values")
    if isinstance(inner, Mapping):
        at = value.get("at")
        label = value.get("label")
        return Row(
            str(value.get("source") or ""), dict(inner), label if isinstance(label, str) else "",
            float(at) if isinstance(at, int | float) and not isinstance(at, bool) else 0.0,
        )  # fmt: skip
    known = next((value[name] for name in ("source", "id", "order_id", "number", "key") if value.get(name)), "")
    return Row(str(known), {name: one for name, one in value.items() if name != "source"})
