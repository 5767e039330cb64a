"""Cases: what is asked, what a good answer holds, and, where a row brings one, the answer that was given.

A file is JSON Lines, a JSON list, or CSV with a line of names, in UTF-8, UTF-16 or Latin-1. A set of cases has a digest that
depends on what the cases say, and neither on the order of rows nor on that of their fields: two results with the same digest
answered the same cases. Answers that rows bring are no part of it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from penstock.errors import BadRequest, TooLarge
from penstock.text.languages import language_of
from penstock.types import Message

__all__ = ["Case", "Cases", "Reply", "State", "load", "parsed", "rows_of"]

State = Literal["answered", "abstained", "refused", "failed"]

LONGEST = 2_000_000  # characters of one text
MOST = 200_000  # cases
NAMES = {  # field -> what files call it
    "id": ("id", "case_id"),
    "question": ("question", "query", "input", "prompt", "user_input"),
    "messages": ("messages", "history"),
    "expected": ("expected", "reference", "references", "ground_truth"),
    "not_expected": ("not_expected",),
    "must_contain": ("must_contain", "contains"),  # golden questions of an index are cases too
    "must_not_contain": ("must_not_contain",),
    "sources": ("sources", "source", "relevant", "relevant_ids"),
    "context": ("context", "contexts", "retrieved_contexts"),
    "lang": ("lang", "language"),
    "group": ("group", "cluster"),
    "tags": ("tags", "tag"),
    "answerable": ("answerable",),
    "form": ("format", "form"),
    "answer": ("answer", "response", "output", "prediction"),
    "status": ("status",),
    "cited": ("cited", "citations"),
    "retrieved": ("retrieved", "retrieved_ids"),
    "latency_ms": ("latency_ms",),
    "first_ms": ("first_ms",),
    "cost_usd": ("cost_usd",),
    "input_tokens": ("input_tokens",),
    "output_tokens": ("output_tokens",),
    "logprobs": ("logprobs",),
    "human": ("human",),
    "points": ("human_points",),
}
_FIELD = {name: own for own, names in NAMES.items() for name in names}
_TEXT_LISTS = ("expected", "not_expected", "must_contain", "must_not_contain", "context")
_NAME_LISTS = ("sources", "tags", "cited", "retrieved")
_NUMBERS = ("latency_ms", "first_ms", "cost_usd")
_COUNTS = ("input_tokens", "output_tokens")
FORMS = ("json", "keys", "regex", "one_of", "most_words", "most_characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to be asked. Texts in `expected` are alternatives: an answer is held against the one that suits it best."""

    id: str
    question: str
    messages: tuple[Message, ...] = ()  # the conversation before the question, oldest first
    expected: tuple[str, ...] = ()
    not_expected: tuple[str, ...] = ()  # answers that were found wrong before
    must_contain: tuple[str, ...] = ()
    must_not_contain: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # what should be found and cited: names of documents or passages, `*` allowed
    context: tuple[str, ...] = ()  # texts that a given answer rests on
    lang: str = ""  # ISO 639-1; "": told from the words of the question
    group: str = ""  # cases that are not independent of each other share one; "": it stands alone
    tags: tuple[str, ...] = ()
    answerable: bool = True  # where not, the right answer is that there is none
    form: Mapping[str, Any] = field(default_factory=dict)  # FORMS
    metadata: Mapping[str, Any] = field(default_factory=dict)  # all other fields of the row

    @property
    def language(self) -> str:
        return self.lang or language_of(self.question) or "en"

    @property
    def cluster(self) -> str:
        """What it is drawn with."""
        return f"group:{self.group}" if self.group else f"case:{self.id}"

    @property
    def digest(self) -> str:
        """SHA-256 of what it says. Its id and metadata are no part of it, and neither is what some answer rests on."""
        left_out = ("id", "context", "metadata")
        said = {name: value for name, value in self.plain().items() if name not in left_out}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def plain(self) -> dict[str, Any]:
        """As JSON, without what is empty; `parsed` reads it."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        said["messages"] = [{"role": m.role, "content": m.content} for m in self.messages]
        said["answerable"] = None if self.answerable else False
        said["format"] = dict(said.pop("form"))
        metadata = said.pop("metadata")
        kept = {n: list(v) if isinstance(v, tuple) else v for n, v in said.items() if v not in ((), [], "", {}, None)}
        return kept | ({"metadata": dict(metadata)} if metadata else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What was said to a case. None: nobody counted. An abstention says that it has no answer, a refusal that it will not."""

    text: str = ""
    state: State = "answered"
    error: str = ""  # code of what failed or refused
    context: tuple[str, ...] = ()  # texts that it rests on
    cited: tuple[str, ...] | None = None  # names of what it cites
    retrieved: tuple[str, ...] | None = None  # names of what was found for it, best first
    latency_ms: float | None = None
    first_ms: float | None = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    logprobs: tuple[float, ...] | None = None  # natural logarithms, of each token of the answer
    human: float | None = None  # how good people found it, 0 to 1
    cached: bool = False
    by: str = ""  # the model that wrote it
    versions: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON, without what is as it is by default."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        kept = {n: list(v) if isinstance(v, tuple) else v for n, v in said.items() if v != _SILENT[n]}
        return {"text": self.text, **kept} | ({"versions": dict(self.versions)} if self.versions else {})

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Reply:
        """What `plain` wrote. Raises BadRequest."""
        known = {one.name for one in fields(cls)}
        lists = ("context", "cited", "retrieved", "logprobs")
        try:
            given: dict[str, Any] = {
                n: tuple(v) if n in lists and v is not None else v for n, v in values.items() if n in known
            }
            reply = cls(**given)
        except TypeError as error:
            raise BadRequest(f"this is no reply: {error}") from error
        if not isinstance(reply.text, str) or reply.state not in get_args(State):
            raise BadRequest("a reply has a text, and a state that is known")
        for name in (*_NUMBERS, *_COUNTS, "human"):
            if (value := getattr(reply, name)) is not None:
                _number(name, value)
        for name in ("context", "cited", "retrieved"):
            if not all(isinstance(one, str) for one in getattr(reply, name) or ()):
                raise BadRequest(f"`{name}` of a reply must be texts")
        return reply


_SILENT = {name: getattr(Reply(), name) for name in (one.name for one in fields(Reply))}  # what an empty reply has


@dataclass(frozen=True, slots=True)
class Cases:
    """A set of cases, in the order of the file, and the answers that its rows bring."""

    cases: tuple[Case, ...]
    given: Mapping[str, tuple[Reply, ...]] = field(
        default_factory=dict
    )  # by the id of the case, in the order of the file
    duplicates: tuple[tuple[str, str], ...] = ()  # ids of cases that ask the same and are in no group together
    name: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over all cases with their ids, whatever their order."""
        each = sorted([case.id, case.digest] for case in self.cases)
        return hashlib.sha256(json.dumps(each).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.cases)


def load(path: Path) -> Cases:
    """Read a file. Raises BadRequest, naming the line of what is wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"the cases {path} cannot be read: {error.strerror or error}") from error
    try:
        found = parsed(rows_of(data, path.suffix.lower()))
    except BadRequest as error:
        raise BadRequest(f"{path}: {error.message}", hint=error.hint) from error
    return replace(found, name=path.name)


# ---------------------------------------------------------------- files


def rows_of(data: bytes, suffix: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of its line, row). suffix: ".csv" and ".tsv" are tables; of other files the first character says what they are.

    A column that stands twice is a list. A cell that begins with [ or { is JSON. Raises BadRequest.
    """
    text = _decoded(data)
    if suffix in (".csv", ".tsv") or (suffix not in (".jsonl", ".json", ".ndjson") and text.lstrip()[:1] not in "[{"):
        yield from _table(text)
        return
    if text.lstrip()[:1] == "[":
        listed = _json(text, 1)
        for n, row in enumerate(listed, 1):
            yield n, _object(row, n)
        return
    for n, line in enumerate(text.split("\n"), 1):  # splitlines would cut at characters that may stand in a text
        if line.strip():
            yield n, _object(_json(line, n), n)


def _decoded(data: bytes) -> str:
    """By its byte order mark, else UTF-16 where every other byte is 0, else UTF-8, else Windows' Latin-1."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    head = data[:2000]
    odd, even = head[1::2].count(0), head[::2].count(0)
    if max(odd, even) * 2.5 > len(head) / 2 and len(head) > 3:
        return data.decode("utf-16-le" if odd > even else "utf-16-be", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _json(text: str, line: int) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"line {line} is not JSON: {error}") from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number that can be counted")


def _object(row: Any, line: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BadRequest(f"line {line} is no JSON object")
    return row


def _table(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    if "\x00" in text:
        raise BadRequest("the file is neither text nor a table")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    longest = csv.field_size_limit(LONGEST)
    try:
        heads = [name.strip() for name in next(reader, [])]
        if not any(_FIELD.get(name.lower()) in ("question", "messages", "answer") for name in heads):
            raise BadRequest("the first line of a table names its columns", hint="question,answer,expected")
        heads = [name.lower() if name.lower() in _FIELD else name for name in heads]
        for cells in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(heads):
                raise BadRequest(f"line {line} has {len(cells)} cells, and there are {len(heads)} columns")
            row: dict[str, Any] = {}
            for name, cell in zip(heads, cells, strict=False):
                if name and cell != "":
                    value = _json(cell, line) if cell[:1] in ("[", "{") and _FIELD.get(name) in _LISTED else cell
                    row[name] = [*_listed(row[name]), value] if name in row else value
            yield line, row
    except csv.Error as error:
        raise BadRequest(f"line {reader.line_num} of the table cannot be read: {error}") from error
    finally:
        csv.field_size_limit(longest)


_LISTED = (*_TEXT_LISTS, *_NAME_LISTS, "messages", "form", "logprobs")


def _delimiter(text: str) -> str:
    """The one of four that stands most often in the first line, outside of quotes."""
    first = text.lstrip("\ufeff\n\r").split("\n", 1)[0]
    bare = "".join(part for n, part in enumerate(first.split('"')) if n % 2 == 0)
    return max(",;\t|", key=bare.count)


# ---------------------------------------------------------------- rows as cases


def parsed(rows: Iterable[tuple[int, Mapping[str, Any]]]) -> Cases:
    """Rows as cases. Rows with the same id and the same case are several answers to it. Raises BadRequest, naming the line.

    A row without an id has one that is made of what it says.
    """
    cases: dict[str, Case] = {}
    lines: dict[str, int] = {}
    digests: dict[str, str] = {}
    given: dict[str, list[Reply]] = {}
    again: list[tuple[str, str]] = []
    for line, row in rows:
        try:
            case, reply = _case(row)
        except BadRequest as error:
            raise BadRequest(f"line {line}: {error.message}", hint=error.hint) from error
        digest = case.digest
        case = case if case.id else replace(case, id=digest[:12])
        if case.id in cases and digests[case.id] != digest:
            raise BadRequest(
                f"lines {lines[case.id]} and {line} have the same id '{case.id}' and say different things",
                hint="give each case an id of its own, or leave ids out",
            )
        if case.id in cases and reply is None:
            again.append((case.id, case.id))
        if case.id not in cases:
            cases[case.id], lines[case.id], digests[case.id] = case, line, digest
        if reply is not None:
            given.setdefault(case.id, []).append(reply)
        if len(cases) > MOST:
            raise TooLarge(f"there are more than {MOST:,} cases")
    if not cases:
        raise BadRequest("there are no cases", hint='{"question": "…", "expected": "…"}, one a line')
    found = tuple(cases.values())
    return Cases(found, {id_: tuple(replies) for id_, replies in given.items()}, (*again, *_asked_twice(found)))


def _asked_twice(cases: Sequence[Case]) -> tuple[tuple[str, str], ...]:
    seen: dict[tuple[Any, ...], Case] = {}
    found = []
    for case in cases:
        first = seen.setdefault((" ".join(case.question.casefold().split()), case.messages), case)
        if first is not case and (not case.group or case.group != first.group):
            found.append((first.id, case.id))
    return tuple(found)


def _case(row: Mapping[str, Any]) -> tuple[Case, Reply | None]:
    values, metadata = _fields(row)
    messages = _messages(values.pop("messages", None))
    question = values.pop("question", "")
    if not question and messages and messages[-1].role == "user":
        *before, last = messages
        messages, question = tuple(before), last.content
    if not question.strip():
        raise BadRequest("the row asks nothing", hint='"question", or "messages" that end with the user\'s')
    own = {one.name for one in fields(Case)}
    case = Case(
        question=question, messages=messages, metadata=metadata, id=values.pop("id", ""),
        **{name: value for name, value in values.items() if name in own and value is not None},
    )  # fmt: skip
    answer = values.get("answer")
    if answer is None and "status" not in values:
        return case, None
    state = values.get("status", "answered")
    if state not in get_args(State):
        raise BadRequest(f"the status {state!r} is not known", hint=", ".join(get_args(State)))
    measured: dict[str, Any] = {
        name: values.get(name) for name in (*_NUMBERS, *_COUNTS, "cited", "retrieved", "logprobs")
    }
    human = values.get("human", (values["points"] - 1) / 4 if "points" in values else None)
    return case, Reply(text=answer or "", state=state, context=case.context, human=human, **measured)


def _fields(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values by our names for them, each checked, and all others."""
    values: dict[str, Any] = {}
    called: dict[str, str] = {}
    other: dict[str, Any] = {}
    for name, value in row.items():
        own = _FIELD.get(name)
        if own is None:
            other[name] = value
            continue
        if value is None:
            continue
        if own in called:
            raise BadRequest(f"`{called[own]}` and `{name}` are two names of the same")
        called[own] = name
        values[own] = _checked(own, name, value)
    if isinstance(kept := other.get("metadata"), dict):
        other = {**kept, **{name: value for name, value in other.items() if name != "metadata"}}
    return values, other


def _checked(own: str, name: str, value: Any) -> Any:
    if own in _TEXT_LISTS:
        return tuple(_text(name, _words_of(one)) for one in _listed(value))
    if own in _NAME_LISTS:
        listed = value.split(";") if isinstance(value, str) else _listed(value)
        named = [_text(name, _name_of(one)).strip() for one in listed]
        return tuple(one for one in named if one)
    if own in _NUMBERS or own in _COUNTS:
        number = _number(name, value)
        return round(number) if own in _COUNTS else number
    if own == "logprobs":
        return tuple(_number(name, one, most=1e-6) for one in _listed(value))
    if own == "answerable":
        return _yes(name, value)
    if own == "form":
        return _form(value)
    if own == "messages":
        return value
    if own in ("human", "points"):
        return _human(value) if own == "human" else _points(value)
    if own == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(name, value)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _words_of(value: Any) -> Any:
    """A text, or that of a passage as others write one."""
    if isinstance(value, dict):
        return next((value[name] for name in ("text", "quote", "content", "page_content") if name in value), value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _name_of(value: Any) -> Any:
    if isinstance(value, dict):
        return next((value[name] for name in ("source", "id", "document", "passage") if name in value), value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"`{name}` must be text")
    if len(value) > LONGEST:
        raise BadRequest(f"`{name}` has more than {LONGEST:,} characters")
    return value.encode("utf-8", "replace").decode()  # half of a surrogate pair is no character


def _number(name: str, value: Any, *, most: float = math.inf) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number > most or (most == math.inf and number < 0):
        raise BadRequest(f"`{name}` must be a number{', 0 or less' if most < 1 else ', 0 or more'}, not {value!r}")
    return number


def _yes(name: str, value: Any) -> bool:
    known = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
    found = value if isinstance(value, bool) else known.get(str(value).strip().lower())
    if found is None:
        raise BadRequest(f"`{name}` must be true or false, not {value!r}")
    return found


def _human(value: Any) -> float:
    """true or false, or a share."""
    if isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("true", "false", "yes", "no")):
        return float(_yes("human", value))
    number = _number("human", value)
    if number > 1:
        raise BadRequest(
            "`human` must be true or false, or from 0 to 1", hint="one to five points go into `human_points`"
        )
    return number


def _points(value: Any) -> float:
    number = _number("human_points", value)
    if not 1 <= number <= 5:
        raise BadRequest(f"`human_points` must be from 1 to 5, not {value!r}")
    return number


def _form(value: Any) -> Mapping[str, Any]:
    """What an answer has to look like. A bare "json" is {"json": true}; another bare text is a regular expression."""
    if isinstance(value, str):
        value = {"json": True} if value == "json" else {"regex": value}
    if not isinstance(value, dict) or not value or set(value) - set(FORMS):
        raise BadRequest(f"`format` must be an object with some of {', '.join(FORMS)}")
    for name in ("keys", "one_of"):
        if name in value and not (isinstance(value[name], list) and all(isinstance(one, str) for one in value[name])):
            raise BadRequest(f"`format.{name}` must be a list of texts")
    for name in ("most_words", "most_characters"):
        if name in value:
            _number(f"format.{name}", value[name])
    if "regex" in value:
        import re2

        try:
            re2.compile(_text("format.regex", value["regex"]))
        except re2.error as error:
            raise BadRequest(f"`format.regex` is no expression of RE2: {error}") from error
    return value


def _messages(value: Any) -> tuple[Message, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadRequest("`messages` must be a list")
    found = []
    for one in value:
        role, content = (one.get("role"), one.get("content")) if isinstance(one, dict) else (None, None)
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise BadRequest("a message has a `role` (system, user or assistant) and a `content` that is text")
        found.append(Message(role, _text("content", content)))
    return tuple(found)
