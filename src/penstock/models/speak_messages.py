"""Anthropic's Messages: system apart from the turns, content in blocks, tool results among what the user says."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from penstock.errors import BadRequest, NotOffered, PenstockError, UpstreamError
from penstock.models.speak_chat import (
    FOREIGN,
    Call,
    EventStream,
    Reasoning,
    Text,
    check_offered,
    dicts_in,
    gathered,
    items,
    mapping,
    narrowed,
    number,
    parsed,
    plain_text,
    text,
    thoughts_of,
    update_thoughts,
    upstream_error,
    whole_id,
)
from penstock.types import ModelEvent, ReasoningDelta, Stopped, StopReason, TextDelta, ToolCallDelta, Usage, Wire

__all__ = ["Reader", "Writer", "error_stream", "error_whole", "from_chat", "read_whole", "to_chat", "usage_of"]

PREFIX: Final = "msg_"
REDACTED: Final = "redacted:"  # opens the signature of reasoning whose text the provider keeps to itself
DEFAULT_MAX_TOKENS: Final = 4_096
LONGEST_USER: Final = 64  # characters that OpenAI takes as `user`

# What has no counterpart, with the values that ask for nothing. Null never does.
_NOT_THERE: Final[Mapping[str, Sequence[Any]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "functions": ([],),
    "function_call": ("auto", "none"),
    "audio": (),
    "modalities": (["text"],),
    "web_search_options": (),
    "moderation": (),
}
# Translated below, or a hint whose absence changes no answer.
_TAKEN: Final = frozenset(
    """messages tools tool_choice parallel_tool_calls max_tokens max_completion_tokens stop response_format reasoning_effort
    user safety_identifier metadata stream_options seed store service_tier prediction verbosity prompt_cache_key
    prompt_cache_options prompt_cache_retention""".split()
)
_NOT_IN_CHAT: Final[Mapping[str, Sequence[Any]]] = {
    "container": (),
    "mcp_servers": ([],),
    "inference_geo": (),
    "user_profile_id": (),
}
_TAKEN_FROM_MESSAGES: Final = frozenset(
    """messages system tools tool_choice max_tokens stop_sequences metadata thinking output_config output_format betas
    service_tier context_management cache_control diagnostics speed container mcp_servers inference_geo
    user_profile_id""".split()
)

_BUDGETS: Final = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768, "max": 32_768}
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
# Claude up to 4.5 thinks within a budget of tokens; since then it takes `adaptive` and an effort.
_THINKS_IN_BUDGET: Final = re.compile(r"claude-(?:[0-3]\b|[a-z]+-4(?:[-.@:][0-5]\b|[-@:]20|$))")


# ---------------------------------------------------------------- requests: chat to messages


def from_chat(body: Mapping[str, Any], *, default_max_tokens: int = DEFAULT_MAX_TOKENS) -> dict[str, Any]:
    """A chat body as Anthropic takes it. Raises NotOffered or BadRequest, naming the field."""
    check_offered(body, _NOT_THERE)
    body = narrowed(body)
    system, turns = _turns(dicts_in(body, "messages"))
    asked = {name: value for name, value in body.items() if name not in _TAKEN and name not in _NOT_THERE}
    asked["messages"] = turns
    if system:
        asked["system"] = system
    given_max = body.get("max_completion_tokens") or body.get("max_tokens")
    asked["max_tokens"] = given_max if given_max is not None else default_max_tokens
    if stop := body.get("stop"):
        asked["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if tools := dicts_in(body, "tools"):
        asked["tools"] = [_tool(tool, f"tools[{place}]") for place, tool in enumerate(tools)]
        if choice := _tool_choice(body):
            asked["tool_choice"] = choice
    person = body.get("user") or body.get("safety_identifier")
    if isinstance(person, str):
        asked["metadata"] = {"user_id": person}
    config: dict[str, Any] = {}
    if form := _output_format(body.get("response_format")):
        config["format"] = form
    if effort := body.get("reasoning_effort"):
        _update_thinking(asked, config, effort)
    if config:
        asked["output_config"] = {**mapping(body, "output_config"), **config}
    return asked


def _turns(messages: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system's blocks, and the turns: neighbours of the same role are one, tool results come first in theirs."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        match message.get("role"):
            case "system" | "developer":
                system += _blocks(message, where)
                continue
            case "user":
                role, blocks = "user", _blocks(message, where)
            case "tool":
                role, blocks = "user", [_tool_result(message, where)]
            case "assistant":
                role, blocks = "assistant", _assistant(message, where)
            case other:
                raise BadRequest(f"'{where}.role' is {other!r}, and must be system, developer, user, assistant or tool")
        if not blocks:
            continue  # an empty message says nothing, and Anthropic refuses it
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return system, turns


def _assistant(message: dict[str, Any], where: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for thought in thoughts_of(message):
        if thought.signature.startswith(REDACTED):
            blocks.append({"type": "redacted_thinking", "data": thought.signature.removeprefix(REDACTED)})
        elif thought.signature and not thought.signature.startswith(FOREIGN):  # Anthropic takes none but its own
            blocks.append({"type": "thinking", "thinking": thought.text, "signature": thought.signature})
    blocks += _blocks(message, where)
    if refusal := text(message, "refusal"):
        blocks.append({"type": "text", "text": refusal})
    if message.get("function_call"):
        raise NotOffered(f"'{where}.function_call' is not offered by this model", hint="use 'tool_calls'")
    for place, call in enumerate(dicts_in(message, "tool_calls", where=f"{where}.")):
        if call.get("type", "function") != "function":
            raise NotOffered(
                f"'{where}.tool_calls[{place}].type' is {call['type']!r}, and this model knows functions only"
            )
        function = mapping(call, "function")
        asked = Call(text(call, "id"), text(function, "name"), text(function, "arguments"))
        block = {"type": "tool_use", "id": _tool_id(asked.id), "name": asked.name, "input": asked.input()}
        blocks.append(_kept(block, call))
    return blocks


def _tool_result(message: dict[str, Any], where: str) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _tool_id(text(message, "tool_call_id"))}
    content = message.get("content")
    blocks = [] if isinstance(content, str) else _blocks({"content": content}, where)
    if isinstance(content, str):
        result["content"] = content
    elif blocks:
        result["content"] = blocks
    if message.get("is_error"):
        result["is_error"] = True
    return _kept(result, message)


def _tool_id(given: str) -> str:
    """An id that Anthropic takes; the same for a call and its result. Some models make ids like `functions.find:0`."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", given)


def _kept(block: dict[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    if (control := source.get("cache_control")) is not None:
        block["cache_control"] = control
    return block


def _blocks(message: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The content of a chat message as blocks; empty texts are left out, since Anthropic refuses them."""
    content = message.get("content")
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [_kept({"type": "text", "text": content}, message)]
    blocks = []
    for place, part in enumerate(dicts_in(message, "content", where=f"{where}.")):
        block = _block(part, f"{where}.content[{place}]")
        if block is not None:
            blocks.append(_kept(block, part))
    if blocks and "cache_control" in message:
        _kept(blocks[-1], message)
    return blocks


def _block(part: dict[str, Any], where: str) -> dict[str, Any] | None:
    match part.get("type"):
        case "text":
            return {"type": "text", "text": part["text"]} if text(part, "text") else None
        case "refusal":
            return {"type": "text", "text": part["refusal"]} if text(part, "refusal") else None
        case "image_url":
            image = part.get("image_url")
            url = image if isinstance(image, str) else text(mapping(part, "image_url"), "url")
            if url.startswith(("https://", "http://")):
                return {"type": "image", "source": {"type": "url", "url": url}}
            media_type, data = _data_url(url, f"{where}.image_url.url")
            return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
        case "file":
            file = mapping(part, "file")
            if not text(file, "file_data"):
                raise NotOffered(f"'{where}.file' must have 'file_data': this model cannot fetch a file by its id")
            media_type, data = _data_url(file["file_data"], f"{where}.file.file_data")
            if media_type != "application/pdf":
                raise NotOffered(f"'{where}.file' is {media_type}, and this model reads application/pdf only")
            block: dict[str, Any] = {
                "type": "document",
                "source": {"type": "base64", "media_type": media_type, "data": data},
            }
            if name := text(file, "filename"):
                block["title"] = name
            return block
        case other:
            raise NotOffered(f"'{where}' is of the type {other!r}, which this model does not take")


def _data_url(url: str, where: str) -> tuple[str, str]:
    """Media type and base64 text of a data URL. Raises BadRequest."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise BadRequest(f"'{where}' must be an https URL, or a data URL in base64")
    return head[5:].partition(";")[0], data


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise NotOffered(f"'{where}.type' is {tool.get('type')!r}, and this model knows functions only")
    function = mapping(tool, "function")
    schema = mapping(function, "parameters") or {"type": "object", "properties": {}}
    made: dict[str, Any] = {"name": text(function, "name"), "input_schema": {"type": "object", **schema}}
    if description := text(function, "description"):
        made["description"] = description
    if function.get("strict"):
        made["strict"] = True
    return _kept(_kept(made, function), tool)


def _tool_choice(body: Mapping[str, Any]) -> dict[str, Any] | None:
    match body.get("tool_choice"):
        case None | "auto":
            choice = {"type": "auto"}
        case "required":
            choice = {"type": "any"}
        case "none":
            return {"type": "none"}
        case {"type": "function", "function": {"name": str(name)}}:
            choice = {"type": "tool", "name": name}
        case other:
            raise BadRequest(f"'tool_choice' is {other!r}, and must be auto, none, required or a function")
    if body.get("parallel_tool_calls") is False:
        return {**choice, "disable_parallel_tool_use": True}
    return choice if body.get("tool_choice") is not None else None


def _output_format(wanted: Any) -> dict[str, Any] | None:
    match wanted:
        case None | {"type": "text"}:
            return None
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"type": "json_schema", "schema": schema}
        case {"type": "json_object"}:
            raise NotOffered(
                "'response_format' is json_object, and this model needs a schema", hint="use json_schema with a schema"
            )
    raise BadRequest("'response_format' must be of the type text, json_object, or json_schema with a schema")


def _update_thinking(asked: dict[str, Any], config: dict[str, Any], effort: Any) -> None:
    """The effort as this model takes it. Thinking is left out where Anthropic refuses it: before a tool that must be used,
    in an answer too short for it, and after a call of a tool whose own thinking the client did not send back."""
    if effort == "none":
        if "thinking" not in asked:
            asked["thinking"] = {"type": "disabled"}
        return
    if not isinstance(effort, str) or effort not in _EFFORTS:
        raise BadRequest(f"'reasoning_effort' is {effort!r}, and must be one of none, {', '.join(_EFFORTS)}")
    forced = mapping(asked, "tool_choice").get("type") in ("any", "tool")
    if not _THINKS_IN_BUDGET.search(text(asked, "model")):
        config["effort"] = _EFFORTS[effort]
        if not forced and "thinking" not in asked:
            asked["thinking"] = {"type": "adaptive"}
        return
    most = asked["max_tokens"]
    budget = min(_BUDGETS[effort], most // 2) if isinstance(most, int) else 0
    if forced or budget < 1_024 or "thinking" in asked or _calls_without_thought(asked["messages"]):
        return
    asked["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _calls_without_thought(turns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last turn of the assistant calls a tool and does not begin with the thinking before it."""
    last = next((turn["content"] for turn in reversed(turns) if turn["role"] == "assistant"), ())
    kinds = [block["type"] for block in last]
    return "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")


# ---------------------------------------------------------------- requests: messages to chat


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request for Anthropic as a chat body. Raises NotOffered or BadRequest, naming the field."""
    check_offered(body, _NOT_IN_CHAT)
    chat = {name: value for name, value in body.items() if name not in _TAKEN_FROM_MESSAGES}
    messages: list[dict[str, Any]] = []
    if system := _parts(body.get("system"), "system"):
        messages.append({"role": "system", "content": system})
    for place, turn in enumerate(dicts_in(body, "messages")):
        _update_messages(messages, turn, f"messages[{place}]")
    chat["messages"] = messages
    if (most := body.get("max_tokens")) is not None:
        chat["max_tokens"] = most
    if stop := body.get("stop_sequences"):
        chat["stop"] = stop
    if tools := dicts_in(body, "tools"):
        chat["tools"] = [_function(tool, f"tools[{place}]") for place, tool in enumerate(tools)]
        _update_choice(chat, mapping(body, "tool_choice"))
    if person := text(mapping(body, "metadata"), "user_id"):
        chat["user"] = person if len(person) <= LONGEST_USER else hashlib.sha256(person.encode()).hexdigest()
    if body.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    config = mapping(body, "output_config")
    if form := mapping(config, "format") or mapping(body, "output_format"):
        chat["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": form.get("schema"), "strict": True},
        }
    if effort := _effort(mapping(body, "thinking"), config):
        chat["reasoning_effort"] = effort
    return chat


def _update_messages(messages: list[dict[str, Any]], turn: dict[str, Any], where: str) -> None:
    role, content = turn.get("role"), turn.get("content")
    if role not in ("user", "assistant", "system"):
        raise BadRequest(f"'{where}.role' is {role!r}, and must be user or assistant")
    if isinstance(content, str):
        messages.append({"role": role, "content": content})
        return
    blocks = dicts_in(turn, "content", where=f"{where}.")
    if role == "assistant":
        messages.append(_assistant_message(blocks, where))
        return
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for place, block in enumerate(blocks):
        if block.get("type") == "tool_result":
            message, pictures = _tool_message(block, f"{where}.content[{place}]")
            results.append(message)
            parts += pictures
        else:
            parts += _part(block, f"{where}.content[{place}]")
    messages += results
    if parts or not results:
        messages.append({"role": role, "content": parts})


def _assistant_message(blocks: Sequence[dict[str, Any]], where: str) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[Reasoning] = []
    for place, block in enumerate(blocks):
        match block.get("type"):
            case "thinking":
                thoughts.append(Reasoning(text(block, "thinking"), text(block, "signature")))
            case "redacted_thinking":
                thoughts.append(Reasoning("", REDACTED + text(block, "data")))
            case "tool_use":
                given = block.get("input")
                if not isinstance(given, dict):
                    raise BadRequest(f"'{where}.content[{place}].input' must be an object")
                function = {"name": text(block, "name"), "arguments": orjson.dumps(given).decode()}
                calls.append(_kept({"id": text(block, "id"), "type": "function", "function": function}, block))
            case _:
                parts += _part(block, f"{where}.content[{place}]")
    message: dict[str, Any] = {"role": "assistant", "content": parts or None}
    if calls:
        message["tool_calls"] = calls
    update_thoughts(message, thoughts)
    return message


def _tool_message(block: dict[str, Any], where: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A tool's message, and the pictures of its result: in chat they are said by the user, right after it."""
    call_id = text(block, "tool_use_id")
    parts = _parts(block.get("content"), where)
    pictures: list[dict[str, Any]] = []
    if not isinstance(parts, str):
        shown = [part for part in parts if part["type"] != "text"]
        parts = [part for part in parts if part["type"] == "text"]
        if shown:
            pictures = [{"type": "text", "text": f"What the tool showed in its result {call_id}:"}, *shown]
            parts = parts or "The result is shown in the next message."
    message: dict[str, Any] = {"role": "tool", "tool_call_id": call_id, "content": parts or ""}
    if block.get("is_error"):
        message["is_error"] = True
    return _kept(message, block), pictures


def _parts(content: Any, where: str) -> str | list[dict[str, Any]]:
    """Content that may be a string, or blocks, as parts of a chat message."""
    if isinstance(content, str):
        return content
    blocks = dicts_in({"content": content}, "content", where=f"{where}.")
    return [part for place, block in enumerate(blocks) for part in _part(block, f"{where}.content[{place}]")]


def _part(block: dict[str, Any], where: str) -> list[dict[str, Any]]:
    source = mapping(block, "source")
    match block.get("type"), source.get("type"):
        case "text", _:
            return [_kept({"type": "text", "text": text(block, "text")}, block)]
        case "image", "url":
            return [_kept({"type": "image_url", "image_url": {"url": text(source, "url")}}, block)]
        case "image", "base64":
            url = f"data:{text(source, 'media_type')};base64,{text(source, 'data')}"
            return [_kept({"type": "image_url", "image_url": {"url": url}}, block)]
        case "document", "base64":
            url = f"data:{text(source, 'media_type')};base64,{text(source, 'data')}"
            file = {"filename": text(block, "title") or "document.pdf", "file_data": url}
            return [_kept({"type": "file", "file": file}, block)]
        case "document", "text":
            title = text(block, "title")
            said = f"{title}\n\n{text(source, 'data')}" if title else text(source, "data")
            return [_kept({"type": "text", "text": said}, block)]
        case "document", "content":
            inner = _parts(source.get("content"), f"{where}.source")
            return [{"type": "text", "text": inner}] if isinstance(inner, str) else inner
        case "search_result", _:
            inner = _parts(block.get("content"), where)
            said = inner if isinstance(inner, str) else plain_text(inner) or ""
            head = "\n".join(line for line in (text(block, "title"), text(block, "source")) if line)
            return [_kept({"type": "text", "text": f"{head}\n\n{said}"}, block)]
        case kind, None:
            raise NotOffered(f"'{where}' is of the type {kind!r}, which this model does not take")
        case kind, of:
            raise NotOffered(f"'{where}' is a {kind} from {of!r}, which this model does not take")


def _function(tool: dict[str, Any], where: str) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):
        raise NotOffered(
            f"'{where}.type' is {tool['type']!r}: this model runs no tools by itself", hint="leave the tool out"
        )
    function: dict[str, Any] = {"name": text(tool, "name")}
    if description := text(tool, "description"):
        function["description"] = description
    function["parameters"] = tool.get("input_schema") or {"type": "object", "properties": {}}
    if tool.get("strict"):
        function["strict"] = True
    return _kept({"type": "function", "function": function}, tool)


def _update_choice(chat: dict[str, Any], choice: Mapping[str, Any]) -> None:
    match choice:
        case {"type": "auto"}:
            chat["tool_choice"] = "auto"
        case {"type": "any"}:
            chat["tool_choice"] = "required"
        case {"type": "none"}:
            chat["tool_choice"] = "none"
        case {"type": "tool", "name": name}:
            chat["tool_choice"] = {"type": "function", "function": {"name": name}}
        case {"type": other}:
            raise BadRequest(f"'tool_choice.type' is {other!r}, and must be auto, any, tool or none")
    if choice.get("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False


def _effort(thinking: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """How much to reason. Where thinking is off nothing is said: few servers know a word for that."""
    if effort := text(config, "effort"):
        return "" if thinking.get("type") == "disabled" else effort
    if thinking.get("type") != "enabled":
        return ""
    budget = number(thinking, "budget_tokens")
    return "low" if budget < 4_096 else "medium" if budget < 12_288 else "high"


# ---------------------------------------------------------------- what comes back


def usage_of(value: Mapping[str, Any]) -> Usage:
    """Tokens as Anthropic counts them: what its cache took or gave stands beside the input, here it is part of it."""
    read, written = number(value, "cache_read_input_tokens"), number(value, "cache_creation_input_tokens")
    made = number(value, "output_tokens")
    thought = number(mapping(value, "output_tokens_details"), "thinking_tokens")
    return Usage(number(value, "input_tokens") + read + written, made, read, written, min(thought, made))


_REASONS: Final[Mapping[str, StopReason]] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_THEIR_REASONS: Final[Mapping[StopReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


class Reader:
    """A stream of Messages, as events. What Anthropic's own tools do in between is skipped."""

    def __init__(self) -> None:
        self._stream = EventStream()
        self._count = 0  # calls so far
        self._call: tuple[int, int, dict[str, Any]] | None = (
            None  # its block, our index, its input; none once some came
        )
        self._calls: dict[int, int] = {}  # block -> our index
        self._usage: dict[str, Any] = {}
        self._reason: StopReason = "stop"
        self._done = False

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
        if not self._done:
            raise UpstreamError("the stream broke off")
        events.append(Stopped(usage_of(self._usage) if self._usage else Usage(estimated=True), self._reason))
        return events

    def _read(self, data: bytes, events: list[ModelEvent]) -> None:
        if self._done:
            return
        event = parsed(data)
        match event.get("type"):
            case "content_block_delta":
                self._say(number(event, "index"), mapping(event, "delta"), events)
            case "content_block_start":
                self._begin(number(event, "index"), mapping(event, "content_block"), events)
            case "content_block_stop":
                if self._call and self._call[0] == number(event, "index"):
                    _, index, given = self._call
                    events.append(ToolCallDelta(index, orjson.dumps(given).decode()))
                    self._call = None
            case "message_start":
                self._update_usage(mapping(mapping(event, "message"), "usage"))
            case "message_delta":
                self._update_usage(mapping(event, "usage"))
                if reason := text(mapping(event, "delta"), "stop_reason"):
                    self._reason = _REASONS.get(reason, "stop")
            case "message_stop":
                self._done = True
            case "error":
                raise upstream_error(event)

    def _update_usage(self, usage: Mapping[str, Any]) -> None:
        """Later counts replace earlier ones, where there are any."""
        self._usage |= {name: value for name, value in usage.items() if value is not None}

    def _begin(self, place: int, block: Mapping[str, Any], events: list[ModelEvent]) -> None:
        match block.get("type"):
            case "text":
                if said := text(block, "text"):
                    events.append(TextDelta(said))
            case "thinking":
                if text(block, "thinking") or text(block, "signature"):
                    events.append(ReasoningDelta(text(block, "thinking"), text(block, "signature")))
            case "redacted_thinking":
                events.append(ReasoningDelta("", REDACTED + text(block, "data")))
            case "tool_use":
                self._calls[place] = self._count
                self._call = (place, self._count, mapping(block, "input"))
                events.append(ToolCallDelta(self._count, "", text(block, "id"), text(block, "name")))
                self._count += 1

    def _say(self, place: int, delta: Mapping[str, Any], events: list[ModelEvent]) -> None:
        match delta.get("type"):
            case "text_delta":
                if said := text(delta, "text"):
                    events.append(TextDelta(said))
            case "thinking_delta":
                if said := text(delta, "thinking"):
                    events.append(ReasoningDelta(said))
            case "signature_delta":
                if signature := text(delta, "signature"):
                    events.append(ReasoningDelta("", signature))
            case "input_json_delta":
                index, arguments = self._calls.get(place), text(delta, "partial_json")
                if arguments and index is not None:
                    if self._call and self._call[0] == place:
                        self._call = None
                    events.append(ToolCallDelta(index, arguments))


def read_whole(body: bytes) -> list[ModelEvent]:
    """A whole body as events. Raises UpstreamError."""
    answer = parsed(body)
    if answer.get("type") == "error" or "content" not in answer:
        raise upstream_error(answer)
    events: list[ModelEvent] = []
    reader = Reader()
    for place, block in enumerate(items(answer, "content")):
        reader._begin(place, block, events)
        if block.get("type") == "tool_use":
            arguments = orjson.dumps(mapping(block, "input")).decode()
            events[-1] = ToolCallDelta(reader._count - 1, arguments, text(block, "id"), text(block, "name"))
    usage = mapping(answer, "usage")
    reason = _REASONS.get(text(answer, "stop_reason"), "stop")
    events.append(Stopped(usage_of(usage) if usage else Usage(estimated=True), reason))
    return events


# ---------------------------------------------------------------- what goes out


class Writer:
    """Events as a stream of Messages, or as a whole one."""

    def __init__(self, model: str, *, body: Mapping[str, Any], id: str, created: int) -> None:  # noqa: A002
        self._message: dict[str, Any] = {
            "id": whole_id(PREFIX, id),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        self._index = -1  # of the last block that was begun
        self._open = ""  # its kind, while it is open
        self._call = -1  # the call that the open block is of
        self._called = False
        self._begun = False

    def feed(self, event: ModelEvent) -> bytes:
        """Raises UpstreamError for a piece of a call that has ended: pieces of several calls cannot be mixed here."""
        match event:
            case TextDelta(piece):
                if not piece:
                    return b""
                return self._turn_to("text", {"type": "text", "text": ""}) + self._delta(b'"text_delta","text":', piece)
            case ReasoningDelta(piece, signature):
                return self._think(piece, signature)
            case ToolCallDelta(index, arguments, call_id, name):
                said = b""
                if self._open != "tool_use" or index != self._call:
                    if not call_id and not name:
                        raise UpstreamError("the model mixed the pieces of several tool calls")
                    self._call, self._called = index, True
                    said = self._stop() + self._begin("tool_use", {"id": call_id, "name": name, "input": {}})
                return said + self._delta(b'"input_json_delta","partial_json":', arguments) if arguments else said
            case Stopped(usage, reason):
                delta = {"stop_reason": _their_reason(reason, called=self._called), "stop_sequence": None}
                last = {"type": "message_delta", "delta": delta, "usage": _usage_body(usage)}
                begin = b"" if self._begun else self._start()
                return (
                    begin
                    + self._stop()
                    + _event("message_delta", last)
                    + _event("message_stop", {"type": "message_stop"})
                )
            case Wire(data):
                return data

    def close(self) -> bytes:
        return b""

    def whole(self, events: Sequence[ModelEvent]) -> bytes:
        blocks, stopped = gathered(events)
        called = any(isinstance(block, Call) for block in blocks)
        return orjson.dumps(
            {
                **self._message,
                "content": [_whole_block(block) for block in blocks],
                "stop_reason": _their_reason(stopped.reason, called=called),
                "usage": _usage_body(stopped.usage),
            }
        )

    def _think(self, piece: str, signature: str) -> bytes:
        if signature.startswith(REDACTED) and not piece:
            block = {"data": signature.removeprefix(REDACTED)}
            return self._stop() + self._begin("redacted_thinking", block) + self._stop()
        if not piece and not signature:
            return b""
        said = self._turn_to("thinking", {"thinking": "", "signature": ""})
        if piece:
            said += self._delta(b'"thinking_delta","thinking":', piece)
        if signature:  # it ends its block
            said += self._delta(b'"signature_delta","signature":', signature) + self._stop()
        return said

    def _turn_to(self, kind: str, block: dict[str, Any]) -> bytes:
        return b"" if self._open == kind else self._stop() + self._begin(kind, block)

    def _begin(self, kind: str, block: dict[str, Any]) -> bytes:
        self._index += 1
        self._open = kind
        start = {"type": "content_block_start", "index": self._index, "content_block": {"type": kind, **block}}
        return (b"" if self._begun else self._start()) + _event("content_block_start", start)

    def _start(self) -> bytes:
        self._begun = True
        return _event("message_start", {"type": "message_start", "message": self._message})

    def _stop(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return _event("content_block_stop", {"type": "content_block_stop", "index": self._index})

    def _delta(self, kind: bytes, piece: str) -> bytes:
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b%b}}\n\n'
            % (self._index, kind, orjson.dumps(piece))
        )


def _event(name: str, value: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(value))


def _their_reason(reason: StopReason, *, called: bool) -> str:
    """Some servers end a call of a tool with a plain stop; Anthropic's clients would not run it."""
    return _THEIR_REASONS["tool_calls" if called and reason == "stop" else reason]


def _whole_block(block: Text | Reasoning | Call) -> dict[str, Any]:
    match block:
        case Text(said):
            return {"type": "text", "text": said}
        case Reasoning("", signature) if signature.startswith(REDACTED):
            return {"type": "redacted_thinking", "data": signature.removeprefix(REDACTED)}
        case Reasoning(said, signature):
            return {"type": "thinking", "thinking": said, "signature": signature}
        case Call(call_id, name):
            return {"type": "tool_use", "id": call_id, "name": name, "input": block.input()}


def _usage_body(usage: Usage) -> dict[str, Any]:
    beside = usage.cached_tokens + usage.cache_write_tokens
    return {
        "input_tokens": max(usage.input_tokens - beside, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


_ERRORS: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_stream(error: PenstockError) -> bytes:
    return b"event: error\ndata: " + error_whole(error) + b"\n\n"


def error_whole(error: PenstockError) -> bytes:
    kind = _ERRORS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    said = {"type": kind, "message": error.message, "code": error.code, "hint": error.hint or None}
    return orjson.dumps({"type": "error", "error": said, "request_id": None})
