"""What logs call things: which field of a row is which of ours, and how its value is read. Names are told by what is usual, and by
whoever knows better."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from penstock.errors import BadRequest
from penstock.support.conversations import Row, row_of

__all__ = [
    "CONVERSATION",
    "MESSAGE",
    "Names",
    "as_count",
    "as_number",
    "as_rows",
    "as_texts",
    "as_time",
    "as_truth",
    "words_of",
]

MOST_ROWS = 200  # of one field
LONGEST_TEXT = 100_000  # characters

CONVERSATION: dict[str, tuple[str, ...]] = {  # ours -> what logs call it, the surest first
    "id": (
        "conversation_id", "convo_id", "conversationid", "dialogue_id", "dialog_id", "session_id", "sessionid", "thread_id",
        "chat_id", "ticket_id", "case_id", "conversation", "session", "thread", "ticket", "id",
    ),
    "turns": (
        "turns", "messages", "original", "transcript", "dialogue", "dialog", "conversation", "utterances", "history", "chat",
        "log", "events",
    ),
    "release": (
        "release", "version", "bot_version", "app_version", "service_version", "prompt_version", "model_version", "variant", "arm",
        "deployment", "build", "model",
    ),
    "language": ("language", "lang", "locale", "language_code"),
    "intent": ("intent", "topic", "intent_name", "category", "scenario.subflow", "scenario.flow", "subject", "reason", "queue"),
    "customer": (
        "customer", "customer_id", "user_id", "userid", "user", "contact_id", "client_id", "person", "account_id", "member_id",
        "scenario.personal.username", "requester_id", "requester_email", "requester", "customer_email", "user_email",
        "contact_email", "visitor_id",
    ),
    "app": ("app", "application", "bot", "bot_name", "agent_name", "service"),
    "started": ("started", "started_at", "start_time", "created", "created_at", "opened_at", "timestamp", "datetime", "date",
    "time", "at"),
    "csat": ("csat", "csat_score", "rating", "customer_rating", "satisfaction", "satisfaction_score", "stars", "survey",
    "conversation_rating", "satisfaction_rating"),
    "escalated": (
        "escalated", "hand_over", "handed_over", "handover", "handoff", "handed_off", "transferred", "escalation",
        "transferred_to_human",
    ),
    "resolved": ("resolved", "solved", "is_resolved", "success", "goal_reached", "task_success", "resolution"),
    "rows": ("rows", "facts", "account", "records", "database", "customer_data", "account_data", "scenario"),
    "sources": ("sources", "documents", "articles", "contexts", "context", "knowledge", "policy"),
}  # fmt: skip
MESSAGE: dict[str, tuple[str, ...]] = {
    "role": ("role", "speaker", "author_role", "sender_type", "author_type", "sender_role", "part_author_type", "author",
    "sender", "from", "actor", "participant",
    "who"),
    "text": ("text", "content", "message", "body", "utterance", "said", "msg", "value", "parts", "comment",
    "comment_body", "plain_body", "message_text", "message_body", "part_body"),
    "question": ("question", "query", "user_input", "user_message", "prompt", "input", "customer_message"),
    "answer": ("answer", "response", "reply", "bot_response", "output", "completion", "assistant_message", "bot_message"),
    "at": ("at", "timestamp", "created_at", "created", "sent_at", "datetime", "time", "ts", "date"),
    "number": ("turn", "turn_number", "turn_count", "turn_id", "number", "position", "message_number", "seq", "sequence", "step"),
    "latency_ms": ("latency_ms", "duration_ms", "response_ms", "response_time_ms", "latency", "response_time"),
    "latency_s": ("latency_s", "latency_seconds", "response_time_s", "response_seconds", "duration_s"),
    "first_ms": ("first_ms", "ttft_ms", "time_to_first_token_ms"),
    "input_tokens": ("input_tokens", "prompt_tokens", "usage.input_tokens", "usage.prompt_tokens"),
    "output_tokens": (
        "output_tokens", "completion_tokens", "usage.output_tokens", "usage.completion_tokens", "tokens", "total_tokens",
        "usage.total_tokens",
    ),
    "cost_usd": ("cost_usd", "cost", "usd"),
    "rows": ("rows", "facts", "records", "tool_results", "data", "results"),
    "sources": ("sources", "context", "contexts", "retrieved_contexts", "documents", "passages", "citations", "articles"),
    "references": ("references", "reference", "expected", "ground_truth", "ideal", "gold", "reference_answer"),
    "hand_over": ("hand_over", "handover", "handoff", "escalated", "transferred"),
    "request": ("request_id", "message_id", "trace_id", "uuid", "id"),
}  # fmt: skip
_ZONE = re.compile(r"\s+(?=[-+]\d\d:?\d\d$)")  # "10:00:00 +0000"
_SPLIT = re.compile(r"[\s\-]+")
_SPEAKER = re.compile(
    r"^\s*(?:\[[^\]\n]{1,40}\]\s*|\(?\d{1,2}:\d\d(?::\d\d)?\)?\s*[-–]?\s*)?([^\W\d_][\w .'-]{0,39}?)\s*[:：]\s+(.*)$"
)
_TRUE = frozenset(
    {"1", "true", "yes", "y", "t", "ja", "oui", "si", "sí", "x", "resolved", "solved", "escalated", "done"}
)
_FALSE = frozenset({"0", "false", "no", "n", "f", "nein", "non", "unresolved", "open", "none", "-"})
_NUMBER = re.compile(r"\s*([-+]?\d+(?:[.,]\d+)?)\s*(?:/\s*(\d+))?\s*(?:ms|s|stars?|%)?\s*$", re.I)


def _bare(name: str) -> str:
    return _SPLIT.sub("_", name.strip().casefold())


class Names:
    """Which field of a row is which of ours. What was found is kept, to be shown."""

    def __init__(self, known: Mapping[str, Sequence[str]], given: Mapping[str, str]) -> None:
        """given: ours -> the log's, of whoever knows better; that of others is not looked for."""
        self._known = {name: (given[name],) if name in given else tuple(others) for name, others in known.items()}
        self._given = frozenset(given)
        self.found: dict[str, str] = {}
        self._seen: dict[tuple[str, ...], dict[str, str]] = {}

    def of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a row that are ours, by our names."""
        keys = tuple(row)
        places = self._seen.get(keys)
        if places is None:
            places = self._placed(row)
            if len(self._seen) < 1000 and not any("." in place for place in places.values()):
                self._seen[keys] = places
        values = {}
        for name, place in places.items():
            value = row[place] if place in row else _inner(row, place)
            if value is not None and value != "":
                values[name] = value
                self.found.setdefault(name, place)
        return values

    def _placed(self, row: Mapping[str, Any]) -> dict[str, str]:
        bare = {_bare(name): name for name in reversed(list(row)) if isinstance(name, str)}
        found, taken = {}, set[str]()
        for name in self._known:
            for other in self._known[name]:
                place = other if name in self._given and other in row else bare.get(_bare(other), "")
                if not place and "." in other and _inner(row, other) is not None:
                    place = other
                if place and place not in taken and _fits(name, row.get(place), given=name in self._given):
                    found[name] = place
                    if name not in ("rows", "question", "answer"):
                        taken.add(place)
                    break
        return found


def _fits(name: str, value: Any, *, given: bool) -> bool:
    """Whether a value may be what the name says: `conversation` may be an id, or the turns."""
    if given or value is None:
        return True
    match name:
        case "turns":
            return isinstance(value, list) or (isinstance(value, str) and _is_transcript(value))
        case "rows":
            return isinstance(value, Mapping | list) or (isinstance(value, str) and value.lstrip()[:1] in ("{", "["))
        case "text" | "sources" | "references" | "question" | "answer":
            return not isinstance(value, bool)
        case "role":
            return isinstance(value, str | Mapping)
        case "survey" | "scenario":
            return True
    return not isinstance(value, list | Mapping)


def _is_transcript(text: str) -> bool:
    stripped = text.lstrip()
    if stripped[:1] == "[":
        return True
    return any(_SPEAKER.match(line) for line in stripped.split("\n", 3)[:2])


def _inner(row: Mapping[str, Any], path: str) -> Any:
    value: Any = row
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


# ---------------------------------------------------------------- values


def as_time(value: Any) -> float | None:
    """Unix time of a number of seconds, milliseconds, micro- or nanoseconds, or of ISO 8601; without a zone in UTC. None: it is
    none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.match(text) and "/" not in text:
            return as_time(float(text.replace(",", "."))) if text.replace(".", "").replace(",", "").isdigit() else None
        try:
            text = _ZONE.sub("", text.replace(" UTC", "Z"))
            found = datetime.fromisoformat(text.replace("Z", "+00:00") if text.endswith("Z") else text)
        except ValueError:
            return None
        return _stamp(found if found.tzinfo else found.replace(tzinfo=UTC))
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    for most, scale in ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9)):
        if value < most:
            return float(value) / scale
    return None


def _stamp(found: datetime) -> float | None:
    try:
        return found.timestamp()
    except (OverflowError, ValueError):
        return None


def as_number(value: Any) -> float | None:
    """A finite number, of "4", "4,5", "4/5" too. None: it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) and abs(value) < 1e15 else None
    if isinstance(value, str) and (found := _NUMBER.match(value)):
        return float(found[1].replace(",", "."))
    return None


def as_count(value: Any) -> int | None:
    """A whole number from 0 on. None: it is none."""
    number = as_number(value)
    return int(number) if number is not None and 0 <= number < 1e12 and number == int(number) else None


def as_truth(value: Any) -> bool | None:
    """Yes or no, in the words of most exports. None: neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return bool(value) if value in (0, 1) else None
    if isinstance(value, str):
        text = value.strip().casefold()
        return True if text in _TRUE else False if text in _FALSE else None
    return None


def as_texts(value: Any) -> tuple[str, ...]:
    """Texts of a text, of a list of them, or of objects that have one."""
    if isinstance(value, str):
        if value.lstrip()[:1] == "[":
            try:
                return as_texts(orjson.loads(value))
            except ValueError:
                pass
        return (whole(value),) if value.strip() else ()
    if isinstance(value, Mapping):
        for name in ("text", "content", "page_content", "quote", "snippet", "passage", "body"):
            if isinstance(value.get(name), str) and value[name].strip():
                return (whole(value[name]),)
        return ()
    if isinstance(value, list):
        return tuple(text for one in value[:MOST_ROWS] for text in as_texts(one) if not isinstance(one, list))
    return ()


def as_rows(value: Any) -> tuple[Row, ...]:
    """Rows of a list of objects, of one, or of a table of them by name. Raises BadRequest for what is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadRequest(
                "the facts are neither an object nor a list of them", hint='[{"source": "orders/#W1", "values": {…}}]'
            ) from error
    if isinstance(value, Mapping):
        inner = {str(name): one for name, one in value.items() if isinstance(one, Mapping)}
        if inner and not isinstance(value.get("values"), Mapping) and "source" not in value:
            plain = {str(name): one for name, one in value.items() if not isinstance(one, Mapping)}
            rows = [Row(name, dict(one)) for name, one in inner.items()]
            return (*rows, *([Row("", plain)] if plain else ()))[:MOST_ROWS]
        return (row_of(value),)
    if isinstance(value, list):
        return tuple(row_of(one) for one in value[:MOST_ROWS] if isinstance(one, Mapping))
    raise BadRequest(
        "the facts are neither an object nor a list of them", hint='[{"source": "orders/#W1", "values": {…}}]'
    )


def words_of(content: Any) -> str:
    """The words of a message's content: a text, or parts of which some are texts."""
    match content:
        case str():
            return whole(content)
        case list():
            return " ".join(filter(None, map(words_of, content)))
        case Mapping():
            for name in ("text", "content", "value", "parts"):
                if name in content:
                    return words_of(content[name])
        case int() | float():
            return str(content)
    return ""


def whole(text: str) -> str:
    """Without half surrogate pairs, and not without end."""
    cut = text[:LONGEST_TEXT]
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode()


def of_transcript(text: str) -> Iterator[dict[str, Any]]:
    """Turns of `Customer: …` and `Agent: …`, a line each; a line without a speaker goes on."""
    turn: dict[str, Any] | None = None
    for line in text.split("\n"):
        if found := _SPEAKER.match(line):
            if turn:
                yield turn
            turn = {"role": found[1], "text": found[2].strip()}
        elif turn and line.strip():
            turn["text"] += f"\n{line.strip()}"
    if turn:
        yield turn
