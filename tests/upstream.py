"""A provider of models for tests: a small server in a thread that answers as OpenAI and Anthropic do, or fails as it is told.

    with upstream() as up:
        ...                                     # base_url = up.url
        assert up.seen[-1].body["model"] == "large"

The model's name says what becomes of a call: TURNS lists some, `upstream(moody=[Turn(500), Turn()])` adds others. Of several
turns each call takes the next, and the last one stays. Any other name is answered: 12 tokens in, 50 out, or max_tokens.
"""

import asyncio
import base64
import json
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

__all__ = ["INPUT_TOKENS", "PIECES", "TEXT", "Seen", "Turn", "Upstream", "upstream"]

INPUT_TOKENS, PIECES = 12, 50
TEXT = "".join(f"t{n} " for n in range(PIECES))  # the whole answer: the sum of what is streamed


@dataclass(frozen=True)
class Turn:
    """What becomes of one call."""

    status: int = 200
    wait_s: float = 0.0  # before the status line
    between_s: float = 0.0  # between two pieces of a stream
    pieces: int | None = None  # so many are sent, and then comes `then`; of a whole answer, that share of its bytes
    then: Literal["close", "hang"] = "close"
    body: bytes = b""  # instead of an answer, streamed or not
    headers: Mapping[str, str] = field(default_factory=dict)


TURNS = {
    "fail": (Turn(500),),
    "busy": (Turn(429, headers={"retry-after": "1"}),),
    "refuse": (Turn(400),),
    "locked": (Turn(401),),
    "slow": (Turn(wait_s=0.3),),
    "trickle": (Turn(between_s=0.02),),  # a second for a whole answer
    "die": (Turn(pieces=10),),
    "stall": (Turn(pieces=5, then="hang"),),
    "hang": (Turn(pieces=0, then="hang"),),  # not even a status line
    "garbage": (Turn(body=b"<html>502 Bad Gateway</html>\n\n"),),
    "once": (Turn(500), Turn()),  # fails the first time
}


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]  # names in lower case
    data: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.data)

    @property
    def model(self) -> str:
        try:
            return str(self.body["model"])
        except (ValueError, KeyError, TypeError):  # a form, or nothing
            return ""


@dataclass
class Upstream:
    """The server, and what has reached it."""

    turns: dict[str, Sequence[Turn]]
    url: str = ""  # with /v1, as settings have it
    seen: list[Seen] = field(default_factory=list)
    aborted: int = 0  # answers that the other side did not wait for
    running: int = 0  # answers that are owed now
    calls: Counter[str] = field(default_factory=Counter)  # by model

    def next_turn(self, model: str) -> Turn:
        turns = self.turns.get(model, (Turn(),))
        turn = turns[min(self.calls[model], len(turns) - 1)]
        self.calls[model] += 1
        return turn


@contextmanager
def upstream(**turns: Sequence[Turn]) -> Iterator[Upstream]:
    """A running upstream. turns: model -> what becomes of its calls, one after the other."""
    up = Upstream({**TURNS, **turns})
    started, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        server = await loop.create_server(lambda: _Connection(up), "127.0.0.1", 0)
        up.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        started.set()
        await over.wait()
        server.close()
        owed = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in owed:
            task.cancel()
        await asyncio.gather(*owed, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield up
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


# ---------------------------------------------------------------- one connection


class _Connection(asyncio.Protocol):
    """Reads requests and answers each before the next."""

    def __init__(self, up: Upstream) -> None:
        self._up, self._left = up, b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._task and not self._task.done():
            self._up.aborted += 1
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._left += data
        head, gap, rest = self._left.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if not gap or (body := _body(headers, rest)) is None:
            return
        self._left = b""
        seen = Seen(first.split()[1], headers, body)
        self._up.seen.append(seen)
        self._task = asyncio.ensure_future(self._answer(seen))

    async def _answer(self, seen: Seen) -> None:
        turn = self._up.next_turn(seen.model)
        self._up.running += 1
        try:
            await asyncio.sleep(turn.wait_s)
            await _answered(seen, turn, self._transport.write)
            if turn.pieces is not None:
                if turn.then == "hang":
                    await asyncio.sleep(3600)
                self._transport.close()
        finally:
            self._up.running -= 1


def _body(headers: Mapping[str, str], rest: bytes) -> bytes | None:
    """The body, or None while a part of it is missing."""
    if headers.get("transfer-encoding") != "chunked":
        size = int(headers.get("content-length", 0))
        return rest if len(rest) >= size else None
    if not rest.endswith(b"0\r\n\r\n"):
        return None
    body = b""
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        length = int(line, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    return body


async def _answered(seen: Seen, turn: Turn, write: Callable[[bytes], None]) -> None:
    messages = seen.path.partition("?")[0].endswith("/messages")
    if turn.status != 200:
        write(_whole(turn.body or _error(turn.status, messages=messages), turn.status, turn.headers))
        return
    if turn.pieces == 0:
        return
    asked = json.loads(seen.data) if seen.data[:1] == b"{" else {}
    if asked.get("stream"):
        await _streamed(asked, turn, write, _message_events if messages else _chat_events)
        return
    data = _whole(turn.body or json.dumps(_plain(seen.path, asked)).encode(), 200, turn.headers)
    write(data if turn.pieces is None else data[: len(data) * turn.pieces // PIECES])


async def _streamed(
    asked: Mapping[str, Any],
    turn: Turn,
    write: Callable[[bytes], None],
    events: Callable[[Mapping[str, Any]], tuple[list[bytes], bytes]],
) -> None:
    pieces, end = events(asked)
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    write((head + "".join(f"{name}: {value}\r\n" for name, value in turn.headers.items()) + "\r\n").encode())
    if turn.body:
        pieces, end = [turn.body], b""
    for piece in pieces[: turn.pieces]:
        write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await asyncio.sleep(turn.between_s)
    if turn.pieces is None:
        write((b"%x\r\n%b\r\n" % (len(end), end) if end else b"") + b"0\r\n\r\n")


# ---------------------------------------------------------------- what is said


def _whole(body: bytes, status: int, headers: Mapping[str, str]) -> bytes:
    lines = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    return (head + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n").encode() + body


def _error(status: int, *, messages: bool) -> bytes:
    if messages:
        return json.dumps({"type": "error", "error": {"type": "api_error", "message": "as it was told to"}}).encode()
    error = {"message": "as it was told to", "type": "server_error", "param": None, "code": f"told_{status}"}
    return json.dumps({"error": error}).encode()


def _made(asked: Mapping[str, Any]) -> int:
    """How many tokens the answer has."""
    return min(asked.get("max_completion_tokens") or asked.get("max_tokens") or PIECES, PIECES)


def _usage(made: int) -> dict[str, int]:
    return {"prompt_tokens": INPUT_TOKENS, "completion_tokens": made, "total_tokens": INPUT_TOKENS + made}


def _plain(path: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A whole answer."""
    made, model = _made(asked), asked.get("model")
    text = "".join(f"t{n} " for n in range(made))
    stopped = "stop" if made == PIECES else "length"
    match path.partition("?")[0].rpartition("/")[2]:
        case "messages":
            return {
                "id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_sequence": None,
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn" if made == PIECES else "max_tokens",
                "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": made},
            }  # fmt: skip
        case "embeddings":
            texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
            vector: Any = [0.5, 0.5, 0.5, 0.5]
            if asked.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack("<4f", *vector)).decode()
            data = [{"object": "embedding", "index": n, "embedding": vector} for n in range(len(texts))]
            usage = {"prompt_tokens": INPUT_TOKENS, "total_tokens": INPUT_TOKENS}
            return {"object": "list", "model": model, "data": data, "usage": usage}
        case "completions" if not path.partition("?")[0].endswith("/chat/completions"):
            choice = {"index": 0, "text": text, "finish_reason": stopped, "logprobs": None}
            return {
                "id": "cmpl-1", "object": "text_completion", "created": 1, "model": model, "choices": [choice],
                "usage": _usage(made),
            }  # fmt: skip
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": stopped, "logprobs": None}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice],
        "usage": _usage(made),
    }  # fmt: skip


def _chat_events(asked: Mapping[str, Any]) -> tuple[list[bytes], bytes]:
    """The pieces of a stream, and how it ends. Usage comes only where it is asked for, as with OpenAI."""
    made = _made(asked)
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": asked.get("model")}

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + json.dumps({**head, "choices": choices, **more}).encode() + b"\n\n"

    def piece(n: int) -> bytes:
        delta = {"content": f"t{n} "} if n else {"role": "assistant", "content": "t0 "}
        return event([{"index": 0, "delta": delta, "finish_reason": None}])

    end = event([{"index": 0, "delta": {}, "finish_reason": "stop" if made == PIECES else "length"}])
    if (asked.get("stream_options") or {}).get("include_usage"):
        end += event([], usage=_usage(made))
    return [piece(n) for n in range(made)], end + b"data: [DONE]\n\n"


def _message_events(asked: Mapping[str, Any]) -> tuple[list[bytes], bytes]:
    made = _made(asked)

    def event(kind: str, **values: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **values})}\n\n".encode()

    def piece(n: int) -> bytes:
        return event("content_block_delta", index=0, delta={"type": "text_delta", "text": f"t{n} "})

    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": asked.get("model"), "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1},
    }  # fmt: skip
    begin = event("message_start", message=message)
    begin += event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    delta = {"stop_reason": "end_turn" if made == PIECES else "max_tokens", "stop_sequence": None}
    end = event("content_block_stop", index=0)
    end += event("message_delta", delta=delta, usage={"output_tokens": made}) + event("message_stop")
    return [begin + piece(0), *(piece(n) for n in range(1, made))], end
