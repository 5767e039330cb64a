"""Logs as conversations, one by one: JSON Lines, a JSON list, CSV, OpenTelemetry's traces in JSON or protobuf, plain or with gzip.

A row is a whole conversation, or a message of one. Conversations are read one after the other; messages are first laid out by their
conversation, in a database that is in memory while it is small and in an unnamed temporary file beyond, so that their order in the
file does not matter. What cannot be read is passed over, counted, and told by its line.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

import orjson

from penstock.errors import BadRequest, TooLarge, Unreadable
from penstock.observe.satisfaction import ASSISTANTS, PASSED_OVER
from penstock.support import fields as named
from penstock.support.conversations import Conversation, Role, Row, Spoken, plain_row
from penstock.support.fields import CONVERSATION, MESSAGE, Names

__all__ = ["FORMATS", "Format", "Log", "Problems", "open_log"]

Format = Literal["", "jsonl", "csv", "otlp"]
FORMATS: tuple[str, ...] = ("jsonl", "csv", "otlp")

LONGEST_LINE = 32 << 20  # characters
LARGEST_WHOLE = 512 << 20  # bytes of a file that has to be read at once: one JSON object, or protobuf
MOST_TURNS = 2_000
MOST_SPANS = 20_000  # of one conversation
SHOWN = 5
HEAD = 8192
AT_ONCE = 1 << 20
PACKED = 1 << 16

STAFF = frozenset(
    {
        "human_agent",
        "staff",
        "operator",
        "representative",
        "employee",
        "supervisor",
        "advisor",
        "human agent",
        "rep",
        "admin",
        "teammate",
    }
)
CUSTOMERS = frozenset(
    {
        "user",
        "customer",
        "human",
        "client",
        "consumer",
        "visitor",
        "contact",
        "end_user",
        "caller",
        "usuario",
        "kunde",
        "end-user",
        "requester",
        "lead",
    }
)
BOTS = ASSISTANTS | {
    "chatbot",
    "virtual_assistant",
    "virtual agent",
    "virtual_agent",
    "va",
    "system_bot",
    "llm",
    "ai_agent",
}
TOOLS = frozenset({"tool", "function", "action", "tool_result", "api"})


@dataclass
class Problems:
    """What was passed over, and why. Only the first of each kind are told by line."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)  # what was read otherwise than it stands there

    def add(self, line: int, why: str) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(f"line {line}: {why}" if line else why)

    def note(self, what: str) -> None:
        if len(self.notes) < 100 or what in self.notes:
            self.notes[what] += 1

    def told(self) -> list[str]:
        """For people."""
        found = [f"{what} ({count:,} times)" if count > 1 else what for what, count in sorted(self.notes.items())]
        if self.count:
            rest = self.count - len(self.first)
            more = f"; and {rest:,} more" if rest else ""
            found.append(
                f"{self.count:,} {'row was' if self.count == 1 else 'rows were'} passed over: {'; '.join(self.first)}{more}"
            )
        return found


@dataclass
class Log:
    """A log whose conversations come out one by one, once. What it tells of itself is complete when they have."""

    name: str
    source: Callable[[Log], Iterator[Conversation]]
    problems: Problems = field(default_factory=Problems)
    names: Names = field(default_factory=lambda: Names(CONVERSATION, {}))
    messages: Names = field(default_factory=lambda: Names(MESSAGE, {}))
    csat_scale: tuple[float, float] = (1.0, 5.0)

    def __iter__(self) -> Iterator[Conversation]:
        return self.source(self)

    @property
    def fields(self) -> dict[str, str]:
        """Ours -> as the log calls them."""
        return self.names.found | {f"turns.{name}": other for name, other in self.messages.found.items()}


def open_log(
    path: Path, *, mapping: Mapping[str, str] | None = None, kind: Format = "", csat_scale: tuple[float, float] = (1.0, 5.0)
) -> Log:  # fmt: skip
    """A file as a log. mapping: our field -> as the log calls it. kind: "" to tell by what is in it.

    Raises BadRequest or Unreadable, now or while it is read, where nothing in it is a conversation.
    """
    given = dict(mapping or {})
    if unknown := sorted(set(given) - {*CONVERSATION, *MESSAGE}):
        known = ", ".join(dict.fromkeys((*CONVERSATION, *MESSAGE)))
        raise BadRequest(f"there is no field '{unknown[0]}'", hint=f"one of {known}")
    if kind and kind not in FORMATS:
        raise BadRequest(f"there is no format '{kind}'", hint=f"one of {', '.join(FORMATS)}")
    low, high = csat_scale
    if not low < high:
        raise BadRequest(
            f"a scale of CSAT goes from low to high, not from {low:g} to {high:g}", hint="--csat-scale 1-5"
        )
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise BadRequest(f"the log {path} cannot be read: {error.strerror or error}") from error
    if path.is_file() and not size:
        raise BadRequest(
            f"{path} is empty",
            hint='{"id": "1", "messages": [{"role": "user", "content": "…"}]}, one conversation a line',
        )
    of_conversations = {name: other for name, other in given.items() if name in CONVERSATION}
    of_messages = {name: other for name, other in given.items() if name in MESSAGE and name not in ("rows", "sources")}
    of_messages |= {name: given[name] for name in ("rows", "sources") if name in given}
    return Log(
        path.name, lambda log: _conversations(path, log, kind), names=Names(CONVERSATION, of_conversations),
        messages=Names(MESSAGE, of_messages), csat_scale=csat_scale,
    )  # fmt: skip


def _conversations(path: Path, log: Log, kind: Format) -> Iterator[Conversation]:
    count = 0
    try:
        with path.open("rb") as raw, closing(_Laid(log)) as laid:
            stream = _plain(raw, log)
            for one in _read(stream, path, log, kind, laid):
                count += 1
                yield one
            for one in laid:
                count += 1
                yield one
    except OSError as error:
        if not count:
            raise Unreadable(f"{path} cannot be read to its end: {error}") from error
        log.problems.add(0, f"the file breaks off: {error}")
    if not count:
        why = log.problems.first[0] if log.problems.first else "there is no row in it"
        raise BadRequest(
            f"no conversation could be read from {path}: {why}",
            hint="one conversation a line, as {\"messages\": [{\"role\", \"content\"}]}; or one message a row, with a "
                 "conversation, "
            "a role and a text. --map text=COLUMN names what is called otherwise",
        )  # fmt: skip


def _plain(raw: BinaryIO, log: Log) -> BinaryIO:
    head = raw.read(2)
    raw.seek(0)
    return io.BufferedReader(_Unpacked(raw, log), AT_ONCE) if head == b"\x1f\x8b" else raw


class _Unpacked(io.RawIOBase):
    """What is in a file of gzip, as far as it goes: where that breaks off, the log is told, and what was there is there."""

    def __init__(self, raw: BinaryIO, log: Log) -> None:
        self._raw, self._log, self._packed, self._over = raw, log, b"", False
        self._inflating = zlib.decompressobj(31)

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._over:
            if self._inflating.eof:  # another part may follow
                self._packed = self._inflating.unused_data or self._raw.read(PACKED)
                self._inflating, self._over = zlib.decompressobj(31), not self._packed
                continue
            packed = self._packed or self._raw.read(PACKED)
            if not packed:
                self._breaks_off("it is cut")
                break
            try:
                data = self._inflating.decompress(packed, len(into))
            except zlib.error as error:
                self._breaks_off(str(error))
                break
            self._packed = self._inflating.unconsumed_tail
            if data:
                into[: len(data)] = data
                return len(data)
        return 0

    def _breaks_off(self, why: str) -> None:
        self._over = True
        self._log.problems.add(0, f"the file breaks off: {why}")


def _read(stream: BinaryIO, path: Path, log: Log, kind: Format, laid: _Laid) -> Iterator[Conversation]:
    buffered = cast(io.BufferedReader, stream)
    head = buffered.peek(HEAD)[:HEAD]
    encoding = _encoding(head)
    suffixes = [one.lower() for one in path.suffixes if one.lower() != ".gz"]
    if not encoding or (kind == "otlp" and head.lstrip()[:1] not in (b"{", b"[")):
        from penstock.support.read_otlp import of_protobuf

        for n, spans in enumerate(of_protobuf(_whole(buffered, path)), 1):
            laid.add_spans(spans, n)
        return
    text = io.TextIOWrapper(buffered, encoding, errors="replace", newline="")
    first = head.decode(encoding, "replace").lstrip("\ufeff \t\r\n")[:1]
    try:
        if kind == "csv" or (not kind and (suffixes[-1:] in ([".csv"], [".tsv"]) or first not in ("{", "["))):
            rows = _table(text, log)
        else:
            rows = _listed(text, log) if first == "[" else _lines(text, path, log)
        yield from _rows(rows, log, laid)
    finally:
        text.detach()  # whoever opened the file closes it


def _encoding(head: bytes) -> str:
    """Of text; "" for what is none."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return name
    odd, even = head[1::2].count(0), head[::2].count(0)
    if len(head) > 3 and max(odd, even) * 2.5 > len(head) / 2:
        return "utf-16-le" if odd > even else "utf-16-be"
    control = sum(byte < 9 or 13 < byte < 32 for byte in head)
    if control > len(head) * 0.02:
        return ""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _whole(stream: BinaryIO, path: Path) -> bytes:
    data = stream.read(LARGEST_WHOLE + 1)
    if len(data) > LARGEST_WHOLE:
        raise TooLarge(
            f"{path} has to be read at once and is larger than {LARGEST_WHOLE >> 20} MB",
            hint="split it, or use JSON Lines",
        )
    return data


# ---------------------------------------------------------------- rows of files

Rows = Iterator[tuple[int, dict[str, Any]]]  # (number of its line, row)


def _lines(text: io.TextIOWrapper, path: Path, log: Log) -> Rows:
    """JSON Lines; where no line is JSON by itself, one object that has a list of rows in it."""
    began: list[str] = []
    good, number = False, 0
    while line := text.readline(LONGEST_LINE):
        number += 1
        if len(line) >= LONGEST_LINE and not line.endswith("\n"):
            log.problems.add(number, f"the line is longer than {LONGEST_LINE >> 20} million characters")
            while (rest := text.readline(LONGEST_LINE)) and not rest.endswith("\n"):
                pass
            continue
        if not line.strip():
            continue
        row, why = _json(line)
        if why and not good:
            began.append(line)
            if sum(map(len, began)) > LARGEST_WHOLE:
                raise TooLarge(f"{path} is one JSON object larger than {LARGEST_WHOLE >> 20} MB", hint="use JSON Lines")
        elif why:
            log.problems.add(number, why)
        elif not good and began and not isinstance(row, dict):
            began.append(line)
        elif not isinstance(row, dict):
            log.problems.add(number, "is no JSON object")
        else:
            for earlier, lost in enumerate(began if not good else (), 1):
                log.problems.add(earlier, _json(lost)[1])
            good = True
            if not began:
                yield from _unwrapped(number, row)
            else:
                yield number, row
    if not good and began:
        whole, why = _json("".join(began))
        if why:
            for n, lost in enumerate(began, 1):
                log.problems.add(n, _json(lost)[1] or why)
            return
        yield from _unwrapped(1, whole)


def _unwrapped(line: int, whole: Any) -> Rows:
    """The rows of an object that is none itself: {"conversations": [...]}, {"train": [...], "test": [...]}."""
    if isinstance(whole, dict) and not _is_row(whole):
        lists = [
            one for one in whole.values() if isinstance(one, list) and one and all(isinstance(row, dict) for row in one)
        ]
        if lists:
            n = 0
            for one in lists:
                for row in one:
                    n += 1
                    yield n, row
            return
    if isinstance(whole, list):
        for n, row in enumerate(whole, 1):
            if isinstance(row, dict):
                yield n, row
        return
    if isinstance(whole, dict):
        yield line, whole


def _is_row(row: Mapping[str, Any]) -> bool:
    names = {str(name).casefold() for name in row}
    return bool(
        names
        & {
            *CONVERSATION["turns"],
            *MESSAGE["text"],
            *MESSAGE["question"],
            "resourcespans",
            "resource_spans",
            "scopespans",
        }
    )


def _json(text: str) -> tuple[Any, str]:
    """(value, why it is none)"""
    try:
        return orjson.loads(text), ""
    except ValueError:
        pass
    try:
        return json.loads(text, parse_constant=_no_number), ""
    except (ValueError, RecursionError) as error:
        return None, f"is not JSON: {error}"


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number that can be counted")


def _listed(text: io.TextIOWrapper, log: Log) -> Rows:
    """The objects of a JSON list, one by one, however long the list is."""
    decoder = json.JSONDecoder(parse_constant=_no_number)
    buffer, number, at = text.read(AT_ONCE).lstrip("\ufeff"), 0, 0
    at = buffer.find("[") + 1
    while True:
        while at < len(buffer) and buffer[at] in " \t\r\n,":
            at += 1
        if at < len(buffer) and buffer[at] == "]":
            return
        try:
            if at >= len(buffer):
                raise ValueError("more is to come")
            row, at = decoder.raw_decode(buffer, at)
        except (ValueError, RecursionError) as error:
            more = text.read(max(AT_ONCE, len(buffer) - at)) if not isinstance(error, RecursionError) else ""
            if not more or len(buffer) - at > LONGEST_LINE:
                log.problems.add(0, f"after entry {number} the list is not JSON, or breaks off: {error}")
                return
            buffer, at = buffer[at:] + more, 0
            continue
        number += 1
        if isinstance(row, dict):
            yield number, row
        else:
            log.problems.add(0, f"entry {number} is no JSON object")
        if at > AT_ONCE:
            buffer, at = buffer[at:], 0


def _table(text: io.TextIOWrapper, log: Log) -> Rows:
    longest = csv.field_size_limit(LONGEST_LINE)
    try:
        first = text.readline(LONGEST_LINE).lstrip("\ufeff")
        bare = "".join(part for n, part in enumerate(first.split('"')) if n % 2 == 0)
        delimiter = max(",;\t|", key=bare.count)
        heads = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        if not any(heads):
            raise BadRequest("there is no row in it", hint="a line with the names of the columns, and a message a line")
        if not _has_words(heads, log):
            raise BadRequest(
                f"the columns {', '.join(heads[:8])[:200]} have no text that somebody said",
                hint="--map text=COLUMN, and --map role=COLUMN, --map id=COLUMN for messages of conversations",
            )
        reader = csv.reader(text, delimiter=delimiter)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                log.problems.add(reader.line_num + 1, f"cannot be read as a table: {error}")
                continue
            line = reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(heads):
                log.problems.add(line, f"has {len(cells)} cells, and there are {len(heads)} columns")
                continue
            yield line, {name: cell for name, cell in zip(heads, cells, strict=False) if name and cell != ""}
    finally:
        csv.field_size_limit(longest)


def _has_words(heads: Sequence[str], log: Log) -> bool:
    row = dict.fromkeys(heads, "Customer: words")
    return bool({"text", "question", "answer"} & log.messages._placed(row).keys()) or "turns" in log.names._placed(row)


# ---------------------------------------------------------------- rows as conversations


def _rows(rows: Rows, log: Log, laid: _Laid) -> Iterator[Conversation]:
    """Those that are whole conversations at once; messages and spans are laid out."""
    seen: dict[bytes, bytes] = {}
    for line, row in rows:
        try:
            if spans := _spans(row):
                laid.add_spans(spans, line)
                continue
            of_whole = log.names.of(row)
            if "turns" not in of_whole:
                laid.add(*_message(row, of_whole, line, log), line)
                continue
            turns = _turns(of_whole["turns"], log)
            told = of_whole | {"id": str(of_whole.get("id") or "")}
            found = _assembled(told, turns, line, log)
        except BadRequest as error:
            log.problems.add(line, error.message)
            continue
        key, digest = (
            hashlib.sha1(found.id.encode(), usedforsecurity=False).digest()[:10],
            bytes.fromhex(found.digest[:16]),
        )
        known = seen.setdefault(key, digest)
        if known is not digest:
            if known == digest:
                log.problems.note("a conversation stands in the log twice and is counted once")
                continue
            log.problems.note("two conversations have the same id and say different things; both are counted")
            found = replace(found, id=f"{found.id}#{found.digest[:6]}")
        yield found


def _spans(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "resourceSpans" in row or "resource_spans" in row:
        from penstock.support.read_otlp import of_json

        return of_json(row)
    return []


def _turns(value: Any, log: Log) -> list[dict[str, Any]]:
    """The turns of a conversation by our names. Raises BadRequest."""
    if isinstance(value, str):
        if value.lstrip()[:1] == "[":
            value, why = _json(value)
            if why:
                raise BadRequest(f"the turns are not JSON: {why}")
        else:
            value = list(named.of_transcript(value))
    if not isinstance(value, list):
        raise BadRequest("the turns are no list")
    found: list[dict[str, Any]] = []
    for n, one in enumerate(value):
        match one:
            case Mapping():
                found += _turn(one, log)
            case [str() as role, str() as text]:
                found.append({"role": role, "text": named.whole(text)})
            case str():
                spoken = list(named.of_transcript(one))
                found += spoken or [{"role": "customer" if n % 2 == 0 else "bot", "text": named.whole(one)}]
            case _:
                raise BadRequest(f"turn {n} is neither an object, nor a pair of speaker and text")
        if len(found) > MOST_TURNS:
            log.problems.note(f"a conversation has more than {MOST_TURNS:,} turns; the others are left out")
            break
    return found[:MOST_TURNS]


def _turn(row: Mapping[str, Any], log: Log) -> list[dict[str, Any]]:
    """One message, or a question and its answer, by our names."""
    values = log.messages.of(row)
    role = values.get("role")
    if isinstance(role, Mapping):
        role = next((role[name] for name in ("role", "type", "name") if isinstance(role.get(name), str)), "")
        values["role"] = role
    text = values.pop("text", None)
    if text is None and ("question" in values or "answer" in values) and not role:
        question, answer = values.pop("question", None), values.pop("answer", None)
        found = []
        if question is not None:
            found.append(
                {"role": "customer", "text": named.words_of(question)} | {n: values[n] for n in ("at",) if n in values}
            )
        if answer is not None:
            found.append(values | {"role": "bot", "text": named.words_of(answer)})
        return found
    if (
        isinstance(text, list)
        and text
        and all(isinstance(one, Mapping) and one.get("type") == "tool_result" for one in text)
    ):
        values["role"] = "tool"
    values.pop("question", None)
    values.pop("answer", None)
    return [values | {"text": named.words_of(text)}]


def _message(
    row: Mapping[str, Any], of_whole: dict[str, Any], line: int, log: Log
) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """(conversation, what the row says of it, the turns in it). Raises BadRequest."""
    turns = _turn(row, log)
    if not any(turn["text"] or turn.get("rows") for turn in turns) and not any(turn.get("role") for turn in turns):
        raise BadRequest("the row has neither turns nor a text")
    id_ = str(of_whole.get("id") or "")
    if not id_:
        if len(turns) == 1 and turns[0].get("role"):
            raise BadRequest("the row does not say which conversation it belongs to", hint="--map id=COLUMN")
        id_ = hashlib.sha256(orjson.dumps([line, dict(row)], default=str)).hexdigest()[:12]
    if len(turns) == 1 and not turns[0].get("role"):
        turns[0]["role"] = "customer"
    if "rows" in of_whole and len(turns) and "rows" in turns[-1]:
        of_whole = {name: value for name, value in of_whole.items() if name != "rows"}
    if "sources" in of_whole and "sources" in turns[-1]:
        of_whole = {name: value for name, value in of_whole.items() if name != "sources"}
    if "escalated" in of_whole and turns[-1].get("hand_over") is not None:
        of_whole = {name: value for name, value in of_whole.items() if name != "escalated"}
    return id_, of_whole, turns


def _roles(turns: Sequence[Mapping[str, Any]], log: Log) -> list[Role]:
    """Who speaks, by what a log calls them. Raises BadRequest for names that nobody could know.

    Where nobody is the bot by name, whoever is called an agent is; and where nobody is the customer, the `person` is.
    """
    said = [str(turn.get("role") or "").strip().casefold() for turn in turns]
    there = set(said)
    bots = (BOTS - {"agent"}) & there
    found: list[Role] = []
    for n, name in enumerate(said):
        if name in get_args(Role) and name != "person":
            found.append(cast(Role, name))
        elif name in CUSTOMERS:
            found.append("customer")
        elif name == "person":
            found.append("person" if there & (CUSTOMERS | {"customer"}) else "customer")
        elif name == "agent":
            found.append("person" if bots else "bot")
        elif name in BOTS:
            found.append("bot")
        elif name in STAFF:
            found.append("person" if bots | (there & {"agent"}) else "bot")
        elif name in TOOLS:
            found.append("tool")
        elif name in PASSED_OVER:
            found.append("system")
        else:
            raise BadRequest(
                f"turn {n} is of '{name[:40]}'", hint="roles are customer, bot, person (of the staff), tool and system"
            )
    if "bot" not in found and "system" in found and "customer" in found:
        first = found.index("customer")
        if "system" in found[first:]:  # with some, the assistant is called the system
            found = ["bot" if role == "system" and n > first else role for n, role in enumerate(found)]
    return found


def _assembled(told: Mapping[str, Any], turns: Sequence[Mapping[str, Any]], line: int, log: Log) -> Conversation:
    """A conversation of what a log says of it, by our names. Raises BadRequest."""
    if not turns:
        raise BadRequest("the conversation has no turns")
    roles = _roles(turns, log)
    spoken: list[Spoken] = []
    rows: list[Row] = []  # that tools gave since the last answer
    for role, turn in zip(roles, turns, strict=True):
        one = _spoken(role, turn, log)
        if role == "tool":
            rows += _returned(one)
        elif role == "bot" and rows:
            one = replace(one, rows=(*rows, *one.rows))
            rows = []
        spoken.append(one)
    if not any(one.text.strip() for one in spoken if one.role in ("customer", "bot")):
        raise BadRequest("nobody says anything in it")
    started = named.as_time(told.get("started"))
    if "started" in told and started is None:
        log.problems.note("a time cannot be read and is left out")
    if started is None:
        started = min((one.at for one in spoken if one.at is not None), default=None)
    csat = _csat(told.get("csat"), log)
    own_rows = named.as_rows(told["rows"]) if told.get("rows") else ()
    found = Conversation(
        id="x", turns=tuple(spoken), release=_name(told.get("release")), language=_language(told.get("language")),
        intent=_name(told.get("intent")), customer=_name(told.get("customer")), app=_name(told.get("app")), started=started,
        csat=csat,
        escalated=named.as_truth(told.get("escalated")), resolved=named.as_truth(told.get("resolved")), rows=own_rows,
        sources=named.as_texts(told.get("sources")),
    )  # fmt: skip
    return replace(found, id=_name(told.get("id")) or found.digest[:12])


def _spoken(role: Role, turn: Mapping[str, Any], log: Log) -> Spoken:
    latency = named.as_number(turn.get("latency_ms"))
    if latency is None and (seconds := named.as_number(turn.get("latency_s"))) is not None:
        latency = 1000 * seconds
    first, cost = named.as_number(turn.get("first_ms")), named.as_number(turn.get("cost_usd"))
    rows = named.as_rows(turn["rows"]) if turn.get("rows") else ()
    return Spoken(
        role=role, text=str(turn.get("text") or ""), at=named.as_time(turn.get("at")),
        latency_ms=latency if latency is not None and latency >= 0 else None, first_ms=first,
        input_tokens=named.as_count(turn.get("input_tokens")), output_tokens=named.as_count(turn.get("output_tokens")),
        cost_usd=cost, rows=rows, sources=named.as_texts(turn.get("sources")), references=named.as_texts(turn.get("references")),
        hand_over=bool(named.as_truth(turn.get("hand_over"))), id=_name(turn.get("request")),
    )  # fmt: skip


def _returned(turn: Spoken) -> Sequence[Row]:
    """The rows that a tool gave, where what it gave is JSON."""
    text = turn.text.strip()
    if text[:1] in ("{", "["):
        value, why = _json(text)
        if not why:
            with suppress(BadRequest):
                return (*turn.rows, *named.as_rows(value))
    return turn.rows


def _csat(value: Any, log: Log) -> float | None:
    if isinstance(value, Mapping):
        value = next((value[name] for name in ("score", "rating", "csat", "value") if name in value), None)
    low, high = log.csat_scale
    number = named.as_number(value)
    if number is None and isinstance(value, str):  # as Zendesk has it
        number = {"good": high, "bad": low}.get(value.strip().casefold())
    if number is None:
        return None
    if not low <= number <= high:
        log.problems.note(f"a CSAT is not between {low:g} and {high:g} and is left out: see --csat-scale")
        return None
    return 1 + 4 * (number - low) / (high - low)


def _name(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (
        named.whole(str(value)).strip()[:200]
        if isinstance(value, str | int | float) and not isinstance(value, bool)
        else ""
    )


def _language(value: Any) -> str:
    code = _name(value).replace("_", "-").partition("-")[0].lower()
    return code if 2 <= len(code) <= 3 and code.isalpha() else ""


# ---------------------------------------------------------------- messages by conversation


class _Laid:
    """Messages and spans of conversations that lie anywhere in a file, put together."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._database = sqlite3.connect("")  # in memory while it is small, else in a file without a name
        self._database.execute("create table parts (conversation text, place real, line integer, kind text, part blob)")
        self._some = False

    def add(self, conversation: str, told: Mapping[str, Any], turns: Sequence[Mapping[str, Any]], line: int) -> None:
        first = turns[0]
        number = named.as_number(first.get("number"))
        place = number if number is not None else named.as_time(first.get("at"))
        part = orjson.dumps([dict(told), [dict(turn) for turn in turns]], default=str)
        self._insert(conversation, place, line, "message", part)

    def add_spans(self, spans: Iterable[Mapping[str, Any]], line: int) -> None:
        from penstock.support.read_otlp import conversation_of

        for span in spans:
            self._insert(conversation_of(span), span["start"], line, "span", orjson.dumps(span, default=str))

    def _insert(self, conversation: str, place: float | None, line: int, kind: str, part: bytes) -> None:
        self._some = True
        self._database.execute("insert into parts values (?, ?, ?, ?, ?)", (conversation, place, line, kind, part))

    def __iter__(self) -> Iterator[Conversation]:
        if not self._some:
            return
        self._database.execute("create index by_conversation on parts (conversation, place, line)")
        conversation, parts, line = None, list[tuple[str, Any]](), 0
        apart, together = self._database.execute(
            "select count(distinct conversation), count(*) from parts where kind = 'message'"
        ).fetchone()
        if apart > 1 and apart == together and "role" in self._log.messages.found:
            self._log.problems.note(
                "every message is in a conversation of its own: if that is wrong, --map id=COLUMN names the right one"
            )
        order = (
            "select conversation, line, kind, part from parts order by conversation, place is null, place, line, part"
        )
        for name, at, kind, part in self._database.execute(order):
            if conversation is not None and name != conversation:
                yield from self._joined(conversation, parts, line)
                parts = []
            if not parts:
                conversation, line = name, at
            if len(parts) < MOST_SPANS:
                parts.append((kind, orjson.loads(part)))
        if conversation is not None:
            yield from self._joined(conversation, parts, line)

    def _joined(self, conversation: str, parts: Sequence[tuple[str, Any]], line: int) -> Iterator[Conversation]:
        told: dict[str, Any] = {"id": conversation}
        turns: list[dict[str, Any]] = []
        if parts[0][0] == "span":
            from penstock.support.read_otlp import turns_of

            found, turns = turns_of([part for _, part in parts])
            told |= found
        else:
            known = list[Any]()
            for _, (values, some) in parts:
                for name, value in values.items():
                    if name == "rows":
                        known += [plain_row(row) for row in named.as_rows(value)]
                    elif name == "started":
                        times = [named.as_time(one) for one in (told.get("started"), value)]
                        told["started"] = min((one for one in times if one is not None), default=value)
                    elif name in ("csat", "escalated", "resolved") or name not in told:
                        told[name] = value  # of what is said at the end of a conversation, the last is right
                turns += some
            if known:
                told["rows"] = [one for n, one in enumerate(known) if one not in known[:n]][:200]
        if len(turns) > MOST_TURNS:
            self._log.problems.note(f"a conversation has more than {MOST_TURNS:,} turns; the others are left out")
        try:
            yield _assembled(told, turns[:MOST_TURNS], line, self._log)
        except BadRequest as error:
            self._log.problems.add(line, error.message)

    def close(self) -> None:
        self._database.close()
