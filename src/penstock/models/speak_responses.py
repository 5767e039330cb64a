"""OpenAI's Responses: a list of items in, a list of items out, and an event for every step on the way."""

from __future__ import annotations

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
    error_whole,
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
    usage_of,
    whole_id,
)
from penstock.types import ModelEvent, ReasoningDelta, Stopped, StopReason, TextDelta, ToolCallDelta, Usage, Wire

__all__ = ["Reader", "Writer", "error_stream", "error_whole", "from_chat", "read_whole", "to_chat", "usage_of"]

PREFIX: Final = "resp_"
ANTHROPIC: Final = "anthropic:"  # opens encrypted content that is a signature of Anthropic's

# What has no counterpart in chat, with the values that ask for nothing. Null never does.
_NOT_IN_CHAT: Final[Mapping[str, Sequence[Any]]] = {
    "previous_response_id": (),
    "conversation": (),
    "background": (False,),
    "prompt": (),
    "top_logprobs": (0,),
    "context_management": ([],),
    "moderation": (),
}
_TAKEN_FROM_RESPONSES: Final = frozenset(
    """input instructions tools tool_choice text reasoning max_output_tokens max_tool_calls metadata include store truncation
    stream_options prompt_cache_key prompt_cache_options prompt_cache_retention service_tier safety_identifier
    client_metadata access_programs image""".split()
)
_NOT_THERE: Final[Mapping[str, Sequence[Any]]] = {
    "n": (1,),
    "stop": ([], ""),
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
}
_TAKEN: Final = frozenset(
    """messages tools tool_choice max_tokens max_completion_tokens response_format reasoning_effort verbosity stream_options
    seed prediction store""".split()
)


# ---------------------------------------------------------------- requests: responses to chat


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request for responses as a chat body. Raises NotOffered or BadRequest, naming the field."""
    check_offered(body, _NOT_IN_CHAT)
    include = body.get("include")
    if isinstance(include, list) and "message.output_text.logprobs" in include:
        raise NotOffered("'include' asks for logprobs, which this model does not offer")
    chat = {n: value for n, value in body.items() if n not in _TAKEN_FROM_RESPONSES and n not in _NOT_IN_CHAT}
    chat["messages"] = _messages(body)
    if (most := body.get("max_output_tokens")) is not None:
        chat["max_tokens"] = most
    if tools := dicts_in(body, "tools"):
        chat["tools"] = [_function(tool, f"tools[{place}]") for place, tool in enumerate(tools)]
        if choice := body.get("tool_choice"):
            chat["tool_choice"] = _chat_choice(choice)
            chat = dict(narrowed(chat))
    elif chat.get("parallel_tool_calls") is not None:
        del chat["parallel_tool_calls"]  # chat servers refuse it where there are no tools
    form = mapping(mapping(body, "text"), "format")
    match form.get("type"):
        case "json_schema":
            schema = {name: form[name] for name in ("name", "description", "schema", "strict") if form.get(name)}
            chat["response_format"] = {"type": "json_schema", "json_schema": schema}
        case "json_object":
            chat["response_format"] = {"type": "json_object"}
    if verbosity := text(mapping(body, "text"), "verbosity"):
        chat["verbosity"] = verbosity
    if effort := mapping(body, "reasoning").get("effort"):
        chat["reasoning_effort"] = effort
    if body.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    return chat


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if instructions := text(body, "instructions"):
        messages.append({"role": "system", "content": instructions})
    said = body.get("input")
    if isinstance(said, str):
        return [*messages, {"role": "user", "content": said}]
    speech = _Speech(messages)
    for place, item in enumerate(dicts_in(body, "input")):
        where = f"input[{place}]"
        match item.get("type", "message"):
            case "message" if item.get("role") == "assistant":
                speech.add_parts(_parts(item.get("content"), where))
            case "message":
                role = item.get("role")
                if role not in ("user", "system", "developer"):
                    raise BadRequest(f"'{where}.role' is {role!r}, and must be user, assistant, system or developer")
                content = item.get("content")
                speech.end()
                said = content if isinstance(content, str) else _parts(content, where)
                messages.append({"role": "user" if role == "user" else "system", "content": said})
            case "function_call":
                speech.add_call(item, text(item, "arguments"))
            case "custom_tool_call":
                speech.add_call(item, orjson.dumps({"input": text(item, "input")}).decode())
            case "function_call_output" | "custom_tool_call_output":
                speech.end()
                output = item.get("output")
                content = output if isinstance(output, str) else _parts(output, f"{where}.output")
                messages.append({"role": "tool", "tool_call_id": text(item, "call_id"), "content": content})
            case "reasoning":
                speech.thoughts.append(_thought(item))
            case other:
                raise NotOffered(f"'{where}' is of the type {other!r}, which this model does not take")
    speech.end()
    return _with_pictures_said_by_users(messages)


class _Speech:
    """What the assistant says, thinks and calls in neighbouring items: one message of a chat."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.messages, self.thoughts = messages, list[Reasoning]()
        self._message: dict[str, Any] | None = None

    def add_parts(self, parts: list[dict[str, Any]]) -> None:
        message = self._begun()
        message["content"] = [*(message["content"] or ()), *parts] or None

    def add_call(self, item: dict[str, Any], arguments: str) -> None:
        function = {"name": text(item, "name"), "arguments": arguments}
        call = {"id": text(item, "call_id"), "type": "function", "function": function}
        self._begun().setdefault("tool_calls", []).append(call)

    def end(self) -> None:
        if self._message is not None:  # reasoning that led to nothing is left out
            update_thoughts(self._message, self.thoughts)
        self._message, self.thoughts = None, []

    def _begun(self) -> dict[str, Any]:
        if self._message is None:
            self._message = {"role": "assistant", "content": None}
            self.messages.append(self._message)
        return self._message


def _with_pictures_said_by_users(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages in which tools say nothing but text, as chat wants it: what they show, the user says after them."""
    made: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for message in messages:
        if shown and message["role"] != "tool":
            made.append({"role": "user", "content": shown})
            shown = []
        content = message["content"]
        if message["role"] == "tool" and not isinstance(content, str) and plain_text(content) is None:
            pictures = [part for part in content if part["type"] != "text"]
            said = plain_text([part for part in content if part["type"] == "text"])
            message = {**message, "content": said or "The result is shown in the next message."}
            shown += [
                {"type": "text", "text": f"What the tool showed in its result {message['tool_call_id']}:"},
                *pictures,
            ]
        made.append(message)
    return [*made, {"role": "user", "content": shown}] if shown else made


def _thought(item: Mapping[str, Any]) -> Reasoning:
    parts = items(item, "summary") or items(item, "content")
    said = "\n\n".join(text(part, "text") for part in parts)
    sealed = text(item, "encrypted_content")
    if not sealed:
        return Reasoning(said, "")
    return Reasoning(said, _signature(text(item, "id"), sealed))


def _signature(item_id: str, sealed: str) -> str:
    return sealed.removeprefix(ANTHROPIC) if sealed.startswith(ANTHROPIC) else f"{FOREIGN}{item_id}:{sealed}"


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    parts = dicts_in({"content": content}, "content", where=f"{where}.")
    return [_part(part, f"{where}.content[{place}]") for place, part in enumerate(parts)]


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    match part.get("type"):
        case "input_text" | "output_text" | "text" | "summary_text":
            return {"type": "text", "text": text(part, "text")}
        case "refusal":
            return {"type": "text", "text": text(part, "refusal")}
        case "input_image" if text(part, "image_url"):
            image = {"url": text(part, "image_url")}
            if (detail := text(part, "detail")) in ("low", "high"):
                image["detail"] = detail
            return {"type": "image_url", "image_url": image}
        case "input_file" if text(part, "file_data"):
            return {
                "type": "file",
                "file": {"filename": text(part, "filename") or "document.pdf", "file_data": text(part, "file_data")},
            }
        case "input_audio":
            return {"type": "input_audio", "input_audio": mapping(part, "input_audio")}
        case "input_image" | "input_file" as kind:
            raise NotOffered(f"'{where}' must have the {kind[6:]} itself: this model cannot fetch it by id or address")
        case other:
            raise NotOffered(f"'{where}' is of the type {other!r}, which this model does not take")


def _function(tool: dict[str, Any], where: str) -> dict[str, Any]:
    function: dict[str, Any] = {"name": text(tool, "name")}
    description = text(tool, "description")
    match tool.get("type"):
        case "function":
            function["parameters"] = tool.get("parameters") or {"type": "object", "properties": {}}
            if tool.get("strict") is not None:
                function["strict"] = tool["strict"]
        case "custom":  # free text: the one argument of a function
            form = mapping(tool, "format")
            if form.get("type") == "grammar":
                description += f"\n\nThe input follows this {text(form, 'syntax')} grammar:\n{text(form, 'definition')}"
            function["parameters"] = {
                "type": "object",
                "properties": {"input": {"type": "string"}},
                "required": ["input"],
                "additionalProperties": False,
            }
        case other:
            raise NotOffered(
                f"'{where}.type' is {other!r}: this model runs no tools by itself", hint="leave the tool out"
            )
    if description:
        function["description"] = description
    return {"type": "function", "function": function}


def _chat_choice(choice: Any) -> Any:
    match choice:
        case "auto" | "none" | "required" | {"type": "allowed_tools"}:
            return choice
        case {"type": "function" | "custom", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
    raise NotOffered(f"'tool_choice' is {choice!r}, which this model does not offer")


# ---------------------------------------------------------------- requests: chat to responses


def from_chat(body: Mapping[str, Any], *, default_max_tokens: int = 0) -> dict[str, Any]:
    """A chat body as a request for responses. Raises NotOffered or BadRequest, naming the field."""
    check_offered(body, _NOT_THERE)
    body = narrowed(body)
    asked = {name: value for name, value in body.items() if name not in _TAKEN and name not in _NOT_THERE}
    asked["input"] = [
        item
        for place, message in enumerate(dicts_in(body, "messages"))
        for item in _items(message, f"messages[{place}]")
    ]
    asked["store"] = bool(body.get("store"))
    if (most := body.get("max_completion_tokens") or body.get("max_tokens")) is not None:
        asked["max_output_tokens"] = most
    if tools := dicts_in(body, "tools"):
        asked["tools"] = [_tool(tool, f"tools[{place}]") for place, tool in enumerate(tools)]
        match body.get("tool_choice"):
            case None:
                pass
            case {"type": "function", "function": {"name": name}}:
                asked["tool_choice"] = {"type": "function", "name": name}
            case choice:
                asked["tool_choice"] = choice
    said: dict[str, Any] = {}
    match body.get("response_format"):
        case {"type": "json_schema", "json_schema": dict(schema)}:
            said["format"] = {"type": "json_schema", **schema}
        case {"type": "json_object"}:
            said["format"] = {"type": "json_object"}
    if verbosity := body.get("verbosity"):
        said["verbosity"] = verbosity
    if said:
        asked["text"] = said
    if effort := body.get("reasoning_effort"):
        asked["reasoning"] = {"effort": effort}
        if not asked["store"]:
            asked["include"] = ["reasoning.encrypted_content"]
    return asked


def _items(message: dict[str, Any], where: str) -> list[dict[str, Any]]:
    role, content = message.get("role"), message.get("content")
    match role:
        case "user" | "system" | "developer":
            said = content if isinstance(content, str) else _input_parts(message, where)
            return [{"type": "message", "role": role, "content": said}]
        case "tool":
            output = content if isinstance(content, str) else _input_parts(message, where)
            return [{"type": "function_call_output", "call_id": text(message, "tool_call_id"), "output": output}]
        case "assistant":
            return _said_items(message, where)
    raise BadRequest(f"'{where}.role' is {role!r}, and must be system, developer, user, assistant or tool")


def _said_items(message: dict[str, Any], where: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for thought in thoughts_of(message):
        if thought.signature.startswith(FOREIGN):  # OpenAI takes none but its own
            item_id, _, sealed = thought.signature.removeprefix(FOREIGN).partition(":")
            summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
            made.append({"type": "reasoning", "id": item_id, "summary": summary, "encrypted_content": sealed})
    content = message.get("content")
    if not isinstance(content, str):
        parts = dicts_in(message, "content", where=f"{where}.")
        content = "".join(text(part, "text") or text(part, "refusal") for part in parts)
    if content := content or text(message, "refusal"):
        made.append({"type": "message", "role": "assistant", "content": content})
    for place, call in enumerate(dicts_in(message, "tool_calls", where=f"{where}.")):
        if call.get("type", "function") != "function":
            raise NotOffered(f"'{where}.tool_calls[{place}].type' is {call['type']!r}, and must be function")
        function = mapping(call, "function")
        made.append(
            {
                "type": "function_call",
                "call_id": text(call, "id"),
                "name": text(function, "name"),
                "arguments": text(function, "arguments"),
            }
        )
    return made


def _input_parts(message: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    parts = dicts_in(message, "content", where=f"{where}.")
    return [_input_part(part, f"{where}.content[{place}]") for place, part in enumerate(parts)]


def _input_part(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    match part.get("type"):
        case "text":
            return {"type": "input_text", "text": text(part, "text")}
        case "image_url":
            image = part.get("image_url")
            url = image if isinstance(image, str) else text(mapping(part, "image_url"), "url")
            detail = text(mapping(part, "image_url"), "detail") or "auto"
            return {"type": "input_image", "image_url": url, "detail": detail}
        case "file":
            return {"type": "input_file", **mapping(part, "file")}
        case "input_audio":
            return {"type": "input_audio", "input_audio": mapping(part, "input_audio")}
        case other:
            raise NotOffered(f"'{where}' is of the type {other!r}, which this model does not take")


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    match tool:
        case {"type": "function", "function": dict(function)}:
            schema = function.get("parameters") or {"type": "object", "properties": {}}
            made = {"type": "function", "name": text(function, "name"), "parameters": schema}
            if description := text(function, "description"):
                made["description"] = description
            return {**made, "strict": bool(function.get("strict"))}
        case {"type": "custom", "custom": dict(custom)}:
            return {"type": "custom", **custom}
    raise NotOffered(f"'{where}.type' is {tool.get('type')!r}, and must be function")


# ---------------------------------------------------------------- what comes back


class Reader:
    """A stream of responses, as events. What OpenAI's own tools do in between is skipped."""

    def __init__(self) -> None:
        self._stream = EventStream()
        self._calls: dict[int, tuple[int, bool]] = {}  # output index -> our index, whether arguments came
        self._said = False
        self._usage: Usage | None = None
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
        events.append(Stopped(self._usage or Usage(estimated=True), self._reason))
        return events

    def _read(self, data: bytes, events: list[ModelEvent]) -> None:
        if self._done or data == b"[DONE]":  # which some servers add
            return
        event = parsed(data)
        place, piece = number(event, "output_index"), text(event, "delta")
        match event.get("type"):
            case "response.output_text.delta" | "response.refusal.delta":
                if piece:
                    events.append(TextDelta(piece))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                if piece:
                    events.append(ReasoningDelta(piece))
            case "response.reasoning_summary_part.added":
                if number(event, "summary_index"):
                    events.append(ReasoningDelta("\n\n"))
            case "response.function_call_arguments.delta":
                if piece and place in self._calls:
                    events.append(ToolCallDelta(self._arguments_of(place), piece))
            case "response.output_item.added":
                item = mapping(event, "item")
                if item.get("type") == "function_call":
                    self._begin(place, item, events)
            case "response.output_item.done":
                self._end(place, mapping(event, "item"), events)
            case "response.completed" | "response.incomplete":
                self._finish(mapping(event, "response"), events)
            case "response.failed":
                raise upstream_error(mapping(event, "response").get("error"))
            case "error":
                raise upstream_error(event)

    def _begin(self, place: int, item: Mapping[str, Any], events: list[ModelEvent]) -> None:
        index = len(self._calls)
        self._calls[place] = (index, False)
        events.append(ToolCallDelta(index, "", text(item, "call_id"), text(item, "name")))

    def _arguments_of(self, place: int) -> int:
        index, _ = self._calls[place]
        self._calls[place] = (index, True)
        return index

    def _end(self, place: int, item: Mapping[str, Any], events: list[ModelEvent]) -> None:
        match item.get("type"):
            case "function_call":
                if place not in self._calls:
                    self._begin(place, item, events)
                if not self._calls[place][1]:
                    events.append(ToolCallDelta(self._arguments_of(place), text(item, "arguments") or "{}"))
            case "reasoning":
                if sealed := text(item, "encrypted_content"):
                    events.append(ReasoningDelta("", _signature(text(item, "id"), sealed)))

    def _finish(self, response: Mapping[str, Any], events: list[ModelEvent]) -> None:
        self._done = True
        if usage := mapping(response, "usage"):
            self._usage = usage_of(usage)
        called = bool(self._calls) or any(item.get("type") == "function_call" for item in items(response, "output"))
        self._reason = _reason(response, called=called)


def read_whole(body: bytes) -> list[ModelEvent]:
    """A whole body as events. Raises UpstreamError."""
    answer = parsed(body)
    if answer.get("error"):
        raise upstream_error(answer["error"])
    if "output" not in answer or answer.get("status") in ("failed", "cancelled", "queued", "in_progress"):
        raise UpstreamError("the upstream's answer has no output")
    events: list[ModelEvent] = []
    calls = 0
    for item in items(answer, "output"):
        match item.get("type"):
            case "message":
                said = [text(part, "text") or text(part, "refusal") for part in items(item, "content")]
                events += [TextDelta(piece) for piece in said if piece]
            case "reasoning":
                thought = _thought(item)
                if thought.text or thought.signature:
                    events.append(ReasoningDelta(thought.text, thought.signature))
            case "function_call":
                events.append(
                    ToolCallDelta(calls, text(item, "arguments") or "{}", text(item, "call_id"), text(item, "name"))
                )
                calls += 1
    usage = mapping(answer, "usage")
    events.append(Stopped(usage_of(usage) if usage else Usage(estimated=True), _reason(answer, called=calls > 0)))
    return events


def _reason(response: Mapping[str, Any], *, called: bool) -> StopReason:
    if response.get("status") == "incomplete":
        why = text(mapping(response, "incomplete_details"), "reason")
        return "content_filter" if why == "content_filter" else "length"
    return "tool_calls" if called else "stop"


# ---------------------------------------------------------------- what goes out


class Writer:
    """Events as a stream of responses, or as a whole one."""

    def __init__(self, model: str, *, body: Mapping[str, Any], id: str, created: int) -> None:  # noqa: A002
        """body: the client's request, most of which a response says again."""
        self._id = whole_id(PREFIX, id)
        self._response: dict[str, Any] = {
            "id": self._id,
            "object": "response",
            "created_at": created,
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "model": model,
            "output": [],
            "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None, **mapping(body, "reasoning")},
            "store": False,
            "temperature": body.get("temperature"),
            "text": {"format": {"type": "text"}, **mapping(body, "text")},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": body.get("top_p"),
            "truncation": "disabled",
            "usage": None,
            "user": body.get("user"),
            "metadata": body.get("metadata") or {},
        }
        self._custom = {text(tool, "name") for tool in items(body, "tools") if tool.get("type") == "custom"}
        self._number = -1  # of the last event
        self._output: list[dict[str, Any]] = []  # the items that have ended
        self._item: dict[str, Any] = {}  # the open one
        self._pieces: list[str] = []  # of the open item
        self._call = -1  # the call that the open item is of
        self._place = b""  # of the open item, as its deltas say it

    def feed(self, event: ModelEvent) -> bytes:
        """Raises UpstreamError for a piece of a call that has ended: pieces of several calls cannot be mixed here."""
        match event:
            case TextDelta(piece):
                if not piece:
                    return b""
                said = self._turn_to("message")
                self._pieces.append(piece)
                return said + self._delta(b"response.output_text.delta", piece, b',"content_index":0,"logprobs":[]')
            case ReasoningDelta(piece, signature):
                if not piece and not signature:
                    return b""
                said = self._turn_to("reasoning")
                if piece:
                    self._pieces.append(piece)
                    said += self._delta(b"response.reasoning_summary_text.delta", piece, b',"summary_index":0')
                return said + self._end(signature) if signature else said
            case ToolCallDelta():
                return self._call_piece(event)
            case Stopped():
                begin = b"" if self._number >= 0 else self._start()
                said = begin + self._end()
                self._response = _ended(self._response, self._output, event)
                return said + self._event(f"response.{self._response['status']}", {"response": self._response})
            case Wire(data):
                return data

    def close(self) -> bytes:
        return b""

    def whole(self, events: Sequence[ModelEvent]) -> bytes:
        blocks, stopped = gathered(events)
        output = [self._whole_item(block, place) for place, block in enumerate(blocks)]
        return orjson.dumps(_ended(self._response, output, stopped))

    def _call_piece(self, piece: ToolCallDelta) -> bytes:
        said = b""
        if self._item.get("type") not in ("function_call", "custom_tool_call") or piece.index != self._call:
            if not piece.id and not piece.name:
                raise UpstreamError("the model mixed the pieces of several tool calls")
            self._call = piece.index
            said = self._end() + self._begin(_call_item(piece.id, piece.name, "", custom=piece.name in self._custom))
        if not piece.arguments:
            return said
        self._pieces.append(piece.arguments)
        if self._item["type"] == "custom_tool_call":
            return said  # its text is known when the JSON around it is whole
        return said + self._delta(b"response.function_call_arguments.delta", piece.arguments)

    def _turn_to(self, kind: str) -> bytes:
        if self._item.get("type") == kind:
            return b""
        if kind == "reasoning":
            return self._end() + self._begin({"type": "reasoning", "summary": []})
        return self._end() + self._begin(
            {"type": "message", "status": "in_progress", "content": [], "role": "assistant"}
        )

    def _begin(self, item: dict[str, Any]) -> bytes:
        said = b"" if self._number >= 0 else self._start()
        place = len(self._output)
        self._item = {"id": self._item_id(item["type"], place), **item}
        self._place = b',"item_id":%b,"output_index":%d' % (orjson.dumps(self._item["id"]), place)
        said += self._event("response.output_item.added", {"output_index": place, "item": self._item})
        here = {"item_id": self._item["id"], "output_index": place}
        match item["type"]:
            case "message":
                said += self._event(
                    "response.content_part.added", {**here, "content_index": 0, "part": _output_text("")}
                )
            case "reasoning":
                part = {"type": "summary_text", "text": ""}
                said += self._event("response.reasoning_summary_part.added", {**here, "summary_index": 0, "part": part})
        return said

    def _end(self, signature: str = "") -> bytes:
        """Close the open item, if there is one."""
        if not self._item:
            return b""
        place, whole, item = len(self._output), "".join(self._pieces), self._item
        here = {"item_id": item["id"], "output_index": place}
        said = b""
        match item["type"]:
            case "message":
                part = _output_text(whole)
                here["content_index"] = 0
                said += self._event("response.output_text.done", {**here, "text": whole, "logprobs": []})
                said += self._event("response.content_part.done", {**here, "part": part})
                item = {**item, "status": "completed", "content": [part]}
            case "reasoning":
                here["summary_index"] = 0
                part = {"type": "summary_text", "text": whole}
                said += self._event("response.reasoning_summary_text.done", {**here, "text": whole})
                said += self._event("response.reasoning_summary_part.done", {**here, "part": part})
                item = {**item, **_reasoned(whole, signature)}
            case "function_call":
                done = {**here, "name": item["name"], "arguments": whole}
                said += self._event("response.function_call_arguments.done", done)
                item = {**item, "status": "completed", "arguments": whole}
            case "custom_tool_call":
                item = {**item, "status": "completed", "input": _free_text(whole)}
                said += self._event("response.custom_tool_call_input.delta", {**here, "delta": item["input"]})
                said += self._event("response.custom_tool_call_input.done", {**here, "input": item["input"]})
        said += self._event("response.output_item.done", {"output_index": place, "item": item})
        self._output.append(item)
        self._item, self._pieces = {}, []
        return said

    def _start(self) -> bytes:
        begun = {"response": self._response}
        return self._event("response.created", begun) + self._event("response.in_progress", begun)

    def _event(self, name: str, value: Mapping[str, Any]) -> bytes:
        self._number += 1
        data = orjson.dumps({"type": name, "sequence_number": self._number, **value})
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)

    def _delta(self, name: bytes, piece: str, more: bytes = b"") -> bytes:
        self._number += 1
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d%b%b,"delta":%b}\n\n' % (
            name, name, self._number, self._place, more, orjson.dumps(piece)
        )  # fmt: skip

    def _item_id(self, kind: str, place: int) -> str:
        prefix = {"message": "msg", "reasoning": "rs", "custom_tool_call": "ctc"}.get(kind, "fc")
        return f"{prefix}_{self._id.removeprefix(PREFIX)}_{place}"

    def _whole_item(self, block: Text | Reasoning | Call, place: int) -> dict[str, Any]:
        item: dict[str, Any]
        match block:
            case Text(said):
                item = {"type": "message", "status": "completed", "content": [_output_text(said)], "role": "assistant"}
            case Reasoning(said, signature):
                item = {"type": "reasoning", **_reasoned(said, signature)}
            case Call(call_id, name, arguments):
                item = _call_item(call_id, name, arguments, custom=name in self._custom)
                item["status"] = "completed"
        return {"id": self._item_id(item["type"], place), **item}


def _ended(response: Mapping[str, Any], output: Sequence[dict[str, Any]], stopped: Stopped) -> dict[str, Any]:
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(stopped.reason)
    return {
        **response,
        "status": "incomplete" if why else "completed",
        "incomplete_details": {"reason": why} if why else None,
        "output": output,
        "usage": _usage_body(stopped.usage),
    }


def _output_text(said: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": said}


def _reasoned(said: str, signature: str) -> dict[str, Any]:
    item: dict[str, Any] = {"summary": [{"type": "summary_text", "text": said}] if said else []}
    if signature.startswith(FOREIGN):
        item["encrypted_content"] = signature.removeprefix(FOREIGN).partition(":")[2]
    elif signature:
        item["encrypted_content"] = ANTHROPIC + signature
    return item


def _call_item(call_id: str, name: str, arguments: str, *, custom: bool) -> dict[str, Any]:
    if custom:
        return {
            "type": "custom_tool_call", "status": "in_progress", "call_id": call_id, "name": name,
            "input": _free_text(arguments) if arguments else "",
        }  # fmt: skip
    return {"type": "function_call", "status": "in_progress", "arguments": arguments, "call_id": call_id, "name": name}


def _free_text(arguments: str) -> str:
    """The text that a custom tool gets: the one argument of the function that stood for it."""
    said = Call("", "", arguments).input().get("input")
    return said if isinstance(said, str) else arguments


def _usage_body(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def error_stream(error: PenstockError) -> bytes:
    """An error in the middle of a stream, as an `error` event: its fields, and the same as OpenAI's servers nest them."""
    body = error.body()
    said = body["error"]
    event = {
        "type": "error", "sequence_number": 0, "code": said["code"], "message": said["message"], "param": said["param"],
        **body,
    }  # fmt: skip
    return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"
