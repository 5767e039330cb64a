"""Every text that a model reads in the body of a request, with where it came from; and bodies with some of them replaced.

What has the wrong shape is passed over: whoever the body is for will say what is wrong with it. Files, pictures and sound in
base64 are no text here, nor are ids and addresses that a provider fetches from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from penstock.errors import TooLarge
from penstock.guard.provenance import DEFINITION, MODEL, SYSTEM, UNKNOWN, USER, Kind, Origin
from penstock.types import Dialect, Surface

__all__ = ["MOST_PIECES", "Path", "Piece", "beside", "pieces", "replaced"]

Path = tuple[str | int, ...]

MOST_PIECES: Final = 200_000  # a body of 32 MB may hold millions, each larger in memory than in the body
DEEPEST: Final = 64  # levels

_SURFACES: Final[Mapping[Kind, Surface]] = {"document": "document", "tool": "tool", "model": "output"}
_NO_TEXT: Final = frozenset(
    """type id role index status call_id tool_call_id tool_use_id file_id url file_url image_url input_audio audio data
    file_data b64_json signature encrypted_content encrypted_index media_type mime_type cache_control detail format""".split()
)
_OF_SCHEMAS: Final = frozenset("description title definition".split())
_BESIDE: Final = ("user", "safety_identifier", "prompt_cache_key", "metadata", "stop", "stop_sequences")
_SAMPLES: Final = frozenset("enum const default examples input_examples".split())  # all of what is below them is read
_CHAT_ORIGINS: Final[Mapping[Any, Origin]] = {
    "system": SYSTEM, "developer": SYSTEM, "user": USER, "assistant": MODEL, "tool": UNKNOWN, "function": UNKNOWN,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """A text of a body: what stands at the path. Text of the system and of the user is both a prompt; its origin tells."""

    text: str
    surface: Surface
    role: str  # as the body has it; "" where it has none
    path: Path
    origin: Origin


def pieces(body: Mapping[str, Any], dialect: Dialect) -> list[Piece]:
    """All texts, in the order of the conversation; those of tool definitions come last. Empty ones are left out.

    Raises TooLarge for more than MOST_PIECES, or for text more than DEEPEST levels down: nobody may hide behind numbers.
    """
    reader = _Reader(body)
    match dialect:
        case "chat":
            reader.chat()
        case "responses":
            reader.responses()
        case "messages" | "count_tokens":
            reader.messages()
        case "rerank":
            reader.add(USER, ("query",), body.get("query"), role="user")
            reader.documents("documents")
        case _:  # completions, embeddings, images, speech, moderations, transcriptions, translations
            for name in ("instructions", "prompt", "input", "suffix"):
                reader.add(USER, (name,), body.get(name), role="user")
    return reader.found


def beside(body: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """What goes along with the talk, and may name somebody: whose request it is, notes, where the model shall stop."""
    for name in _BESIDE:
        if body.get(name):
            yield from _texts(body[name], (name,), frozenset())


def replaced(body: Mapping[str, Any], texts: Mapping[Path, str]) -> Mapping[str, Any]:
    """The body with other texts at some paths. What is unchanged is shared with the body, which stays as it was."""
    changes: dict[str | int, Any] = {}
    for path, text in texts.items():
        place = changes
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = text
    changed: Mapping[str, Any] = _changed(body, changes)
    return changed


def _changed(value: Any, changes: Any) -> Any:
    if isinstance(changes, str):
        return changes
    if not changes:
        return value
    copy = list(value) if isinstance(value, list) else dict(value)
    for key, change in changes.items():
        copy[key] = _changed(copy[key], change)
    return copy


class _Reader:
    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body
        self.found: list[Piece] = []
        self._names: dict[str, str] = {}  # id of a call -> name of the tool

    def add(
        self, origin: Origin, path: Path, value: Any, *, role: str = "", skipped: frozenset[str] = _NO_TEXT
    ) -> None:
        """All texts of a value."""
        if not value:
            return
        surface = _SURFACES.get(origin.kind, "prompt")
        for place, text in _texts(value, path, skipped):
            if len(self.found) == MOST_PIECES:
                raise TooLarge(f"the body has more than {MOST_PIECES:,} texts")
            self.found.append(Piece(text, surface, role, place, origin))

    def documents(self, name: str) -> None:
        for place, document in enumerate(_list(self.body.get(name))):
            self.add(Origin("document", str(place + 1)), (name, place), document, skipped=frozenset({"id"}))

    def definitions(self, name: str) -> None:
        """What a schema, or a tool, says of itself."""
        for path, text in _described(self.body.get(name), (name,)):
            if len(self.found) == MOST_PIECES:
                raise TooLarge(f"the body has more than {MOST_PIECES:,} texts")
            self.found.append(Piece(text, "prompt", "", path, DEFINITION))

    # ---------------------------------------------------------------- chat

    def chat(self) -> None:
        for place, message in enumerate(_list(self.body.get("messages"))):
            if isinstance(message, dict):
                self._chat_message(message, ("messages", place))
        self.add(MODEL, ("prediction",), _dict(self.body.get("prediction")), role="assistant")
        self.documents("documents")
        for name in ("tools", "functions", "response_format"):
            self.definitions(name)

    def _chat_message(self, message: dict[str, Any], path: Path) -> None:
        role = _str(message.get("role"))
        origin = _CHAT_ORIGINS.get(role, UNKNOWN)
        if origin is UNKNOWN:
            origin = Origin("tool", self._names.get(_str(message.get("tool_call_id")), _str(message.get("name"))))
            skipped = _NO_TEXT | {"name"}
        else:
            self.add(origin, (*path, "name"), _str(message.get("name")), role=role)
            skipped = _NO_TEXT
        for name in ("reasoning_content", "reasoning", "reasoning_details", "content", "refusal"):
            self.add(origin, (*path, name), message.get(name), role=role, skipped=skipped)
        for place, call in enumerate(_list(message.get("tool_calls"))):
            for kind, said in (("function", "arguments"), ("custom", "input")):
                function = _dict(_dict(call).get(kind))
                self._call(_str(_dict(call).get("id")), function, said, (*path, "tool_calls", place, kind), role)
        self._call("", _dict(message.get("function_call")), "arguments", (*path, "function_call"), role)

    def _call(self, call_id: str, function: dict[str, Any], said: str, path: Path, role: str) -> None:
        """A call that the assistant made earlier."""
        name = _str(function.get("name"))
        if call_id and name:
            self._names[call_id] = name
        self.add(Origin("model", name), (*path, said), function.get(said), role=role, skipped=frozenset())

    # ---------------------------------------------------------------- responses

    def responses(self) -> None:
        body = self.body
        self.add(SYSTEM, ("instructions",), body.get("instructions"), role="system")
        variables = _dict(_dict(body.get("prompt")).get("variables"))
        self.add(USER, ("prompt", "variables"), variables, role="user")
        said = body.get("input")
        if isinstance(said, str):
            self.add(USER, ("input",), said, role="user")
        for place, item in enumerate(_list(said)):
            if isinstance(item, dict):
                self._item(item, ("input", place))
        for name in ("tools", "text"):
            self.definitions(name)

    def _item(self, item: dict[str, Any], path: Path) -> None:
        kind, role = _str(item.get("type")) or "message", _str(item.get("role"))
        match kind:
            case "message":
                self.add(_CHAT_ORIGINS.get(role, UNKNOWN), (*path, "content"), item.get("content"), role=role)
            case "function_call":
                self._call(_str(item.get("call_id")), item, "arguments", path, "assistant")
            case "custom_tool_call":
                self._call(_str(item.get("call_id")), item, "input", path, "assistant")
            case "reasoning":
                for name in ("summary", "content"):
                    self.add(MODEL, (*path, name), item.get(name), role="assistant")
            case _:  # what tools gave, the caller's and the provider's, and kinds that are still to come
                name = self._names.get(_str(item.get("call_id")), _str(item.get("name")) or kind.removesuffix("_call"))
                skipped = _NO_TEXT | {"name", "result"} if kind == "image_generation_call" else _NO_TEXT | {"name"}
                self.add(Origin("tool", name), path, item, role="tool", skipped=skipped)

    # ---------------------------------------------------------------- messages

    def messages(self) -> None:
        self.add(SYSTEM, ("system",), self.body.get("system"), role="system")
        for place, message in enumerate(_list(self.body.get("messages"))):
            if not isinstance(message, dict):
                continue
            role, content = _str(message.get("role")), message.get("content")
            path, origin = ("messages", place, "content"), _CHAT_ORIGINS.get(role, UNKNOWN)
            if isinstance(content, str):
                self.add(origin, path, content, role=role)
            for number, block in enumerate(_list(content)):
                self._block(block, (*path, number), origin, role)
        for name in ("tools", "output_config", "output_format"):
            self.definitions(name)

    def _block(self, block: Any, path: Path, origin: Origin, role: str) -> None:
        if not isinstance(block, dict):
            self.add(origin, path, block, role=role)
            return
        kind = _str(block.get("type"))
        if kind == "document":
            title = _str(block.get("title"))
            self._document(block, path, Origin("document", title), role)
        elif kind == "search_result":
            source = Origin("document", _str(block.get("source")) or _str(block.get("title")))
            self.add(source, path, block, role=role)
        elif kind.endswith("tool_use"):
            self._call(_str(block.get("id")), block, "input", path, role)
        elif kind.endswith("tool_result"):
            name = self._names.get(_str(block.get("tool_use_id")), kind.removesuffix("_tool_result"))
            content, tool = block.get("content"), Origin("tool", name)
            if isinstance(content, list):
                for number, inner in enumerate(content):
                    self._result(inner, (*path, "content", number), tool, role)
            else:
                self.add(tool, (*path, "content"), content, role=role)
        else:
            self.add(origin, path, block, role=role)

    def _result(self, block: Any, path: Path, tool: Origin, role: str) -> None:
        if _str(_dict(block).get("type")) == "document":
            self._document(block, path, tool, role)
        else:
            self.add(tool, path, block, role=role)

    def _document(self, block: dict[str, Any], path: Path, origin: Origin, role: str) -> None:
        for name in ("title", "context"):
            self.add(origin, (*path, name), _str(block.get(name)), role=role)
        source = _dict(block.get("source"))
        if source.get("type") == "text":
            self.add(origin, (*path, "source", "data"), _str(source.get("data")), role=role)
        self.add(origin, (*path, "source", "content"), source.get("content"), role=role)


def _texts(value: Any, path: Path, skipped: frozenset[str]) -> Iterator[tuple[Path, str]]:
    """The strings of a value in its order, without those under some keys. Raises TooLarge for what is nested too deeply."""
    if isinstance(value, str):
        if value:
            yield path, value
        return
    levels = [(path, _entries(value))]
    while levels:
        path, entries = levels[-1]
        for key, entry in entries:
            if isinstance(entry, str):
                if entry and key not in skipped:
                    yield (*path, key), entry
            elif isinstance(entry, dict | list) and entry and key not in skipped:
                levels.append(_deeper(path, key, entry))
                break
        else:
            levels.pop()


def _described(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """The strings of a schema that are read as text: what it says of things, and its samples."""
    levels = [(path, _entries(value), "", False)]
    while levels:
        path, entries, above, sample = levels[-1]
        for key, entry in entries:
            name = key if isinstance(key, str) else above
            if isinstance(entry, str):
                if entry and (sample or name in _OF_SCHEMAS or name in _SAMPLES):
                    yield (*path, key), entry
            elif isinstance(entry, dict | list) and entry:
                levels.append((*_deeper(path, key, entry), name, sample or name in _SAMPLES))
                break
        else:
            levels.pop()


def _entries(value: Any) -> Iterator[tuple[str | int, Any]]:
    return iter(value.items() if isinstance(value, dict) else enumerate(_list(value)))


def _deeper(path: Path, key: str | int, entry: Any) -> tuple[Path, Iterator[tuple[str | int, Any]]]:
    if len(path) >= DEEPEST:
        raise TooLarge(f"the body has text more than {DEEPEST} levels down")
    return (*path, key), _entries(entry)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""
