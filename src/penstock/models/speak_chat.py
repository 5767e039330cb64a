"""Chat completions: the dialect that most servers speak. The others are translated to it and from it.

What the dialects have in common stands here too: the lines of an event stream, the shape of JSON that nobody has checked
yet, and what an upstream says when it fails in the middle.

On its way from one dialect to another a chat body may carry what only the other end understands: `cache_control` on
parts, messages and tools, `is_error` on a tool's message, and `reasoning_details` (text, signature) on the assistant's.
`from_chat` takes it out for servers that speak nothing but chat.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from penstock.errors import (
    BadRequest,
    NotOffered,
    PenstockError,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from penstock.types import ModelEvent, ReasoningDelta, Stopped, StopReason, TextDelta, ToolCallDelta, Usage, Wire

__all__ = [
    "FOREIGN",
    "Call",
    "EventStream",
    "Gathered",
    "Reader",
    "Reasoning",
    "Text",
    "Writer",
    "check_offered",
    "dicts_in",
    "error_stream",
    "error_whole",
    "from_chat",
    "gathered",
    "items",
    "mapping",
    "narrowed",
    "number",
    "parsed",
    "plain_text",
    "read_whole",
    "text",
    "thoughts_of",
    "to_chat",
    "update_thoughts",
    "upstream_error",
    "usage_body",
    "usage_of",
    "whole_id",
]

PREFIX: Final = "chatcmpl-"
FOREIGN: Final = "openai:"  # opens a signature that is not Anthropic's: "openai:<id>:<encrypted content>"
LARGEST_EVENT: Final = 32 << 20


# ---------------------------------------------------------------- JSON that nobody has checked


def parsed(data: bytes) -> dict[str, Any]:
    """An upstream's JSON object. Raises UpstreamError."""
    try:
        value = orjson.loads(data)
    except ValueError as error:
        raise UpstreamError(f"the upstream sent what is not JSON: {error}") from error
    if type(value) is not dict:
        raise UpstreamError("the upstream sent JSON that is not an object")
    return value


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except ValueError:
        return False
    return True


def mapping(source: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object of that name; an empty one where there is none."""
    value = source.get(name)
    return value if type(value) is dict else {}


def items(source: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects of the list of that name."""
    value = source.get(name)
    return [entry for entry in value if type(entry) is dict] if type(value) is list else []


def text(source: Mapping[str, Any], name: str) -> str:
    value = source.get(name)
    return value if type(value) is str else ""


def number(source: Mapping[str, Any], name: str) -> int:
    """The count of that name; 0 where there is none."""
    value = source.get(name)
    return value if type(value) is int and value >= 0 else 0


def dicts_in(source: Mapping[str, Any], name: str, *, where: str = "") -> list[dict[str, Any]]:
    """The objects of a caller's list; none where it is missing or null. Raises BadRequest."""
    value = source.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise BadRequest(f"'{where}{name}' must be a list of objects")
    return value


def check_offered(body: Mapping[str, Any], harmless: Mapping[str, Sequence[Any]]) -> None:
    """Raise NotOffered, naming the first field that has neither null nor one of its harmless values."""
    for name, values in harmless.items():
        value = body.get(name)
        if value is not None and value not in values:
            raise NotOffered(f"'{name}' is not offered by this model", hint=f"leave '{name}' out, or ask another model")


def whole_id(prefix: str, given: str) -> str:
    """An id as the clients of a dialect know it."""
    return given if given.startswith(prefix) else prefix + given


# ---------------------------------------------------------------- the lines of a stream


class EventStream:
    """Server-sent events out of bytes that may be cut anywhere. Gives the data of each; names and comments are skipped."""

    __slots__ = ("_data", "_data_size", "_first", "_rest", "_rest_size")

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # a line that has not ended
        self._data: list[bytes] = []  # the data of an event that has not ended
        self._rest_size = self._data_size = 0
        self._first = True

    def feed(self, data: bytes) -> list[bytes]:
        """The events that these bytes complete. Raises UpstreamError where one is too large."""
        end = data.rfind(b"\n")
        found: list[bytes] = []
        if end >= 0:
            self._rest.append(data[:end])
            lines = b"".join(self._rest).split(b"\n")
            self._rest, self._rest_size = [], 0
            found = self._events(lines)
            data = data[end + 1 :]
        if data:
            self._rest.append(data)
            self._rest_size += len(data)
        if self._rest_size + self._data_size > LARGEST_EVENT:
            raise UpstreamError(f"one event of the stream is over {LARGEST_EVENT >> 20} MB")
        return found

    def close(self) -> list[bytes]:
        """An event that was cut short of its empty line, as some servers end; nothing where it was cut in the middle."""
        rest, self._rest = b"".join(self._rest), []
        return [event for event in self._events([rest, b""]) if event == b"[DONE]" or _is_json(event)]

    def _events(self, lines: list[bytes]) -> list[bytes]:
        if self._first:
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
            self._first = False
        found, current = [], self._data
        for line in lines:
            if line[-1:] == b"\r":
                line = line[:-1]
            if not line:
                if current:
                    found.append(current[0] if len(current) == 1 else b"\n".join(current))
                    current.clear()
                    self._data_size = 0
            elif line.startswith(b"data:"):
                current.append(line[6:] if line[5:6] == b" " else line[5:])
                self._data_size += len(line)
        return found


_STATUS: Final = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "timeout_error": 504,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
    "server_is_overloaded": 529,
    "slow_down": 529,
}


def upstream_error(said: Any) -> UpstreamError:
    """What an upstream says within its answer, as one of our errors. What it says of our key stays here."""
    said = said if type(said) is dict else {"message": said if type(said) is str else ""}
    said = said["error"] if type(said.get("error")) is dict else said
    message = text(said, "message") or "the upstream failed and did not say why"
    code = said.get("code")
    named = code if type(code) is str else ""
    if type(code) is int:
        status = code
    elif named.isascii() and named.isdigit() and len(named) == 3:
        status = int(named)
    else:
        status = _STATUS.get(named) or _STATUS.get(text(said, "type"), 500)
    if status in (401, 403):
        return UpstreamError(f"the upstream refused our key (status {status})")
    if status in (429, 529):
        return UpstreamBusy(message)
    if status in (408, 504):
        return UpstreamTimeout(message)
    if 400 <= status < 500:
        return UpstreamRefused(
            message, status=status, code=named or text(said, "type"), param=text(said, "param") or None
        )
    return UpstreamError(message)


# ---------------------------------------------------------------- a whole answer


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    text: str
    signature: str


@dataclass(frozen=True, slots=True)
class Call:
    id: str
    name: str
    arguments: str

    def input(self) -> dict[str, Any]:
        """The arguments as an object. What a model wrote that is none comes whole, under a name that says so."""
        try:
            value = orjson.loads(self.arguments or "{}")
        except ValueError:
            value = None
        return value if type(value) is dict else {"invalid_json": self.arguments}


class Gathered(NamedTuple):
    """The sum of a stream."""

    blocks: list[Text | Reasoning | Call]  # in the order in which they began
    stopped: Stopped


def gathered(events: Sequence[ModelEvent]) -> Gathered:
    """Put the pieces of an answer together: neighbouring texts are one, and a signature ends its reasoning."""
    blocks: list[tuple[Any, list[str], str]] = []  # what it is, its pieces, its signature
    calls: dict[int, int] = {}
    stopped = Stopped(Usage(estimated=True))
    for event in events:
        match event:
            case TextDelta(piece):
                if piece:
                    if not blocks or blocks[-1][0] is not Text:
                        blocks.append((Text, [], ""))
                    blocks[-1][1].append(piece)
            case ReasoningDelta(piece, signature):
                if not blocks or blocks[-1][0] is not Reasoning or blocks[-1][2]:
                    blocks.append((Reasoning, [], ""))
                kind, pieces, _ = blocks[-1]
                pieces.append(piece)
                blocks[-1] = (kind, pieces, signature)
            case ToolCallDelta(index, arguments):
                if index not in calls:
                    calls[index] = len(blocks)
                    blocks.append((event, [], ""))
                blocks[calls[index]][1].append(arguments)
            case Stopped():
                stopped = event
            case Wire():
                pass  # bytes that nobody has read have no blocks
    return Gathered([_block(kind, "".join(pieces), signature) for kind, pieces, signature in blocks], stopped)


def _block(kind: Any, whole: str, signature: str) -> Text | Reasoning | Call:
    if kind is Text:
        return Text(whole)
    return Reasoning(whole, signature) if kind is Reasoning else Call(kind.id, kind.name, whole)


# ---------------------------------------------------------------- requests


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    return dict(body)


def from_chat(body: Mapping[str, Any], *, default_max_tokens: int = 0) -> dict[str, Any]:
    """A body on its way between dialects as every chat server takes it: without what only other dialects know.

    Content that is nothing but text becomes one string, since small servers take nothing else.
    """
    chat = dict(body)
    chat["messages"] = [_bare_message(message) for message in dicts_in(body, "messages")]
    if body.get("tools") is not None:
        chat["tools"] = [_without(tool, _BETWEEN) for tool in dicts_in(body, "tools")]
    return chat


_BETWEEN: Final = ("cache_control", "reasoning_details", "is_error")


def _bare_message(message: dict[str, Any]) -> dict[str, Any]:
    bare, content = _without(message, _BETWEEN), message.get("content")
    if isinstance(content, list):
        parts = dicts_in(message, "content", where="messages.")
        said = plain_text(parts)
        bare["content"] = said if said is not None else [_without(part, _BETWEEN) for part in parts]
    return bare


def _without(source: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    if source.keys().isdisjoint(names):
        return source
    return {name: value for name, value in source.items() if name not in names}


def plain_text(parts: Sequence[Mapping[str, Any]]) -> str | None:
    """The text of parts that are nothing but text, else None."""
    if all(part.get("type") == "text" and isinstance(part.get("text"), str) for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return None


def narrowed(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """A body whose choice of `allowed_tools` is made: it has only those tools, and a plain `tool_choice`."""
    choice = body.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return body
    allowed = mapping(choice, "allowed_tools") or choice
    names = {_tool_name(tool) for tool in dicts_in(allowed, "tools", where="tool_choice.")}
    tools = [tool for tool in dicts_in(body, "tools") if _tool_name(tool) in names]
    return {**body, "tools": tools, "tool_choice": allowed.get("mode") or "auto"}


def _tool_name(tool: Mapping[str, Any]) -> str:
    return text(mapping(tool, text(tool, "type")), "name") or text(tool, "name")


def thoughts_of(message: Mapping[str, Any]) -> Iterator[Reasoning]:
    """The reasoning that an assistant's message carries, block by block."""
    details = [part for part in items(message, "reasoning_details") if part.get("type") == "reasoning.text"]
    for part in details:
        yield Reasoning(text(part, "text"), text(part, "signature"))
    if not details and (thought := text(message, "reasoning_content") or text(message, "reasoning")):
        yield Reasoning(thought, "")


def update_thoughts(message: dict[str, Any], thoughts: Sequence[Reasoning]) -> None:
    """Put reasoning into an assistant's message: with its signatures, if it has any, block by block."""
    if any(thought.signature for thought in thoughts):
        message["reasoning_details"] = [
            _detail(thought.text, thought.signature, index) for index, thought in enumerate(thoughts)
        ]
    elif thought := "".join(thought.text for thought in thoughts):
        message["reasoning_content"] = thought


# ---------------------------------------------------------------- what comes back


def usage_of(value: Mapping[str, Any]) -> Usage:
    """Tokens as OpenAI and those who follow it count them, in chat and in responses.

    xAI and Gemini leave reasoning out of the output and count it only in the total: it is put back.
    """
    given = number(value, "prompt_tokens") or number(value, "input_tokens")
    made = number(value, "completion_tokens") or number(value, "output_tokens")
    given_of = mapping(value, "prompt_tokens_details") or mapping(value, "input_tokens_details")
    made_of = mapping(value, "completion_tokens_details") or mapping(value, "output_tokens_details")
    read = (
        number(given_of, "cached_tokens") or number(value, "prompt_cache_hit_tokens") or number(value, "cached_tokens")
    )
    reasoning = number(made_of, "reasoning_tokens") or number(value, "reasoning_tokens")
    beside = number(value, "total_tokens") - given - made
    if beside > 0 and (beside == reasoning or not (reasoning or given_of)):
        made, reasoning = made + beside, beside
    return Usage(given, made, min(read, given), number(given_of, "cache_write_tokens"), min(reasoning, made))


_REASONS: Final[Mapping[str, StopReason]] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


_PLAIN: Final = frozenset({"role", "content"})


class Reader:
    """A stream of chat completions, as events. Of several answers the first is read."""

    def __init__(self) -> None:
        self._stream = EventStream()
        self._calls: dict[int, tuple[int, str]] = {}  # where the upstream puts it -> our index, id
        self._count = 0  # calls so far
        self._usage: Usage | None = None
        self._reason: StopReason | None = None
        self._done = False
        self._thought = False  # the reasoning comes as text: what `reasoning_details` say is the same again

    def feed(self, data: bytes) -> list[ModelEvent]:
        """The events in these bytes. Raises UpstreamError, also where the upstream says that it failed."""
        events: list[ModelEvent] = []
        for event in self._stream.feed(data):
            self._read(event, events)
        return events

    def close(self) -> list[ModelEvent]:
        """The last events. Raises UpstreamError where the stream never came to its end."""
        events: list[ModelEvent] = []
        for event in self._stream.close():
            self._read(event, events)
        if not self._done and self._reason is None:
            raise UpstreamError("the stream broke off")
        events.append(self.stopped())
        return events

    def stopped(self) -> Stopped:
        """The last event, as far as it is known."""
        return Stopped(self._usage or Usage(estimated=True), self._reason or "stop")

    def _read(self, data: bytes, events: list[ModelEvent]) -> None:
        if self._done:
            return
        if data == b"[DONE]":
            self._done = True
            return
        self.take(parsed(data), "delta", events)

    def take(self, chunk: dict[str, Any], message: str, events: list[ModelEvent]) -> None:
        """Read one chunk, or a whole answer. message: where a choice has what was said, "delta" or "message"."""
        if error := chunk.get("error"):
            raise upstream_error(error)
        for choice in items(chunk, "choices"):
            if number(choice, "index"):
                continue
            self._say(mapping(choice, message), events)
            if reason := text(choice, "finish_reason"):
                if reason in ("error", "insufficient_system_resource"):
                    raise UpstreamError(f"the upstream gave up in the middle of its answer: {reason}")
                self._reason = _REASONS.get(reason, "stop")
            if usage := mapping(choice, "usage"):  # where Moonshot has it
                self._usage = usage_of(usage)
        if usage := mapping(chunk, "usage") or mapping(mapping(chunk, "x_groq"), "usage"):
            self._usage = usage_of(usage)

    def _say(self, delta: dict[str, Any], events: list[ModelEvent]) -> None:
        content = delta.get("content")
        if type(content) is str and delta.keys() <= _PLAIN:  # nearly always
            if content:
                events.append(TextDelta(content))
            return
        if thought := text(delta, "reasoning_content") or text(delta, "reasoning"):
            self._thought = True
            events.append(ReasoningDelta(thought))
        for detail in items(delta, "reasoning_details"):
            if detail.get("type") == "reasoning.text":
                piece = "" if self._thought else text(detail, "text")
                if piece or text(detail, "signature"):
                    events.append(ReasoningDelta(piece, text(detail, "signature")))
        if type(content) is str:
            if content:
                events.append(TextDelta(content))
        elif type(content) is list:  # as Mistral does where it reasons
            for part in items(delta, "content"):
                events += [
                    ReasoningDelta(text(thought, "text"))
                    for thought in items(part, "thinking")
                    if text(thought, "text")
                ]
                if part.get("type") == "text" and (said := text(part, "text")):
                    events.append(TextDelta(said))
        if refusal := text(delta, "refusal"):
            events.append(TextDelta(refusal))
        events += [self._call(call) for call in items(delta, "tool_calls")]

    def _call(self, piece: dict[str, Any]) -> ToolCallDelta:
        """A piece of a call. Some servers leave out the index, or give each of several calls the same."""
        function = mapping(piece, "function")
        arguments = function.get("arguments")
        if type(arguments) is dict:
            arguments = orjson.dumps(arguments).decode()
        arguments = arguments if type(arguments) is str else ""
        call_id, name = text(piece, "id"), text(function, "name")
        place = piece.get("index")
        if type(place) is not int:
            place = -self._count - 1 if call_id or name or not self._count else -self._count
        known = self._calls.get(place)
        if known and not (call_id and name and call_id != known[1]):
            return ToolCallDelta(known[0], arguments)
        index = self._count
        call_id = call_id or f"call_{secrets.token_hex(12)}"
        self._calls[place] = (index, call_id)
        self._count += 1
        return ToolCallDelta(index, arguments, call_id, name)


def read_whole(body: bytes) -> list[ModelEvent]:
    """A whole body as events. Raises UpstreamError."""
    answer = parsed(body)
    events: list[ModelEvent] = []
    reader = Reader()
    for choice in items(answer, "choices"):
        message = mapping(choice, "message")
        signed = [part for part in items(message, "reasoning_details") if text(part, "signature")]
        if signed:  # they have the text as well, block by block
            message.pop("reasoning_content", None)
            message.pop("reasoning", None)
    reader.take(answer, "message", events)
    if not items(answer, "choices"):
        raise UpstreamError("the upstream's answer has no choices")
    events.append(reader.stopped())
    return events


# ---------------------------------------------------------------- what goes out


class Writer:
    """Events as a stream of chat completions, or as a whole one."""

    def __init__(self, model: str, *, body: Mapping[str, Any], id: str, created: int) -> None:  # noqa: A002
        """body: the client's request, which says whether it wants usage."""
        self._head = {
            "id": whole_id(PREFIX, id),
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        options = body.get("stream_options")
        self._wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self._before = b"data: " + orjson.dumps(self._head)[:-1] + b',"choices":[{"index":0,"delta":'
        usage = b',"usage":null' if self._wants_usage else b""
        self._after = b',"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"
        self._last = b',"logprobs":null,"finish_reason":"%s"}]' + usage + b"}\n\n"
        self._begun = False
        self._thoughts = 0
        self._thought: list[str] = []  # the reasoning since the last signature

    def feed(self, event: ModelEvent) -> bytes:
        match event:
            case TextDelta(piece):
                return self._chunk({"content": piece}) if piece else b""
            case ReasoningDelta(piece, signature):
                self._thought.append(piece)
                delta: dict[str, Any] = {"reasoning_content": piece} if piece else {}
                if signature:
                    delta["reasoning_details"] = [_detail("".join(self._thought), signature, self._thoughts)]
                    self._thoughts += 1
                    self._thought.clear()
                return self._chunk(delta) if delta else b""
            case ToolCallDelta(index, arguments, call_id, name):
                call: dict[str, Any] = {"index": index}
                if call_id or name:
                    call |= {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
                else:
                    call["function"] = {"arguments": arguments}
                return self._chunk({"tool_calls": [call]})
            case Stopped(usage, reason):
                delta = {} if self._begun else {"role": "assistant", "content": ""}
                last = self._before + orjson.dumps(delta) + self._last % reason.encode()
                if self._wants_usage:
                    last += (
                        b"data: " + orjson.dumps({**self._head, "choices": [], "usage": usage_body(usage)}) + b"\n\n"
                    )
                return last
            case Wire(data):
                return data

    def close(self) -> bytes:
        return b"data: [DONE]\n\n"

    def whole(self, events: Sequence[ModelEvent]) -> bytes:
        blocks, stopped = gathered(events)
        said = "".join(block.text for block in blocks if isinstance(block, Text))
        calls = [block for block in blocks if isinstance(block, Call)]
        thoughts = [block for block in blocks if isinstance(block, Reasoning)]
        message: dict[str, Any] = {"role": "assistant", "content": said or (None if calls else ""), "refusal": None}
        update_thoughts(message, thoughts)
        if thought := "".join(block.text for block in thoughts):
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": stopped.reason}
        usage = usage_body(stopped.usage)
        return orjson.dumps({**self._head, "object": "chat.completion", "choices": [choice], "usage": usage})

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        if not self._begun:
            self._begun = True
            delta = {"role": "assistant", **delta}
        return self._before + orjson.dumps(delta) + self._after


def _detail(thought: str, signature: str, index: int) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": thought, "signature": signature or None, "index": index}


def usage_body(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def error_stream(error: PenstockError) -> bytes:
    """An error in the middle of a stream. No [DONE] follows it."""
    return b"data: " + error_whole(error) + b"\n\n"


def error_whole(error: PenstockError) -> bytes:
    return orjson.dumps(error.body())
