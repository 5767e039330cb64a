"""An upstream that answers as OpenAI and Anthropic do, and fails in the ways they do; the model's name says which.

    python benchmarks/gateway/mock.py [--port 9100] [--core 1]

It serves /v1/chat/completions, /v1/messages, /v1/embeddings and /v1/models, and at /seen what has reached it, so that a
test can ask whether a call was made, what it carried, and whether it was given up. One process, standard library only;
uvloop makes it about three times faster. MODELS lists the names.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import struct
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, cast

__all__ = ["MODELS", "PIECES", "Behaviour", "run_fast", "serve"]

PIECES = 50  # in a streamed answer
INPUT_TOKENS = 12
DIMENSIONS = 64
TEXT = (
    "Grounded answers cite the passage they rest on, and the gateway only has to move these bytes along without looking at "
    "them more than once. "
)
CREATED = 1_790_000_000


# ---------------------------------------------------------------- what a model's name means


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What becomes of a call."""

    wait_s: float = 0.0  # before the status line
    period_s: float = 0.0  # between the pieces of a stream; 0: one piece in each turn of the event loop
    pieces: int | None = None  # how many are sent before it ends early; a whole answer breaks off halfway
    ending: Literal["finish", "close", "stall"] = "finish"
    instead: Literal["", "fail", "limit", "garbage"] = ""
    stamped: bool = False  # each piece says when it is due, in seconds of the monotonic clock


MODELS = {
    "mock": Behaviour(),
    "mock-5ms": Behaviour(wait_s=0.005, period_s=0.005),
    "mock-200-20": Behaviour(wait_s=0.2, period_s=0.02, stamped=True),
    "mock-slow": Behaviour(wait_s=0.2),
    "mock-die": Behaviour(pieces=10, ending="close"),  # the connection closes and the answer has no end
    "mock-stall": Behaviour(pieces=5, ending="stall"),  # then nothing, and the connection stays open
    "mock-hang": Behaviour(pieces=0, ending="stall"),  # not even a status line
    "mock-garbage": Behaviour(instead="garbage"),  # status 200, and neither JSON nor events
    "mock-fail": Behaviour(instead="fail"),  # status 500
    "mock-429": Behaviour(instead="limit"),  # status 429, try again after a second
}


# ---------------------------------------------------------------- what goes over the wire


def _packed(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _answer(body: bytes, *, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    """A whole HTTP answer."""
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: req-mock\r\n%b\r\n"
    return head % (status, len(body), more) + body


def _framed(text: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(text), text)


HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\nx-request-id: req-mock\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
LAST = b"0\r\n\r\n"
PLACE = b"0000000000.000000"  # where the time goes in a piece that says when it is due; always as long as this


@dataclass(frozen=True, slots=True)
class Wire:
    """The ready-made answers of one protocol."""

    whole: bytes
    pieces: tuple[bytes, ...]
    stamped: tuple[bytes, ...]
    end: bytes
    end_with_usage: bytes
    instead: dict[str, bytes]
    garbage: tuple[bytes, ...]


def _openai() -> Wire:
    usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": PIECES, "total_tokens": INPUT_TOKENS + PIECES}
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    whole = {
        "id": "chatcmpl-mock0001",
        "object": "chat.completion",
        "created": CREATED,
        "model": "mock",
        "choices": [choice],
        "usage": usage,
        "system_fingerprint": "fp_mock",
    }

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        head = {"id": "chatcmpl-mock0001", "object": "chat.completion.chunk", "created": CREATED, "model": "mock"}
        return _framed(b"data: %b\n\n" % _packed({**head, "choices": choices, **more}))

    def piece(number: int, text: str) -> bytes:
        delta = {"role": "assistant", "content": text} if number == 0 else {"content": text}
        return event([{"index": 0, "delta": delta, "finish_reason": None}])

    def error(message: str, kind: str, code: str) -> bytes:
        return _packed({"error": {"message": message, "type": kind, "param": None, "code": code}})

    finish = event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    done = _framed(b"data: [DONE]\n\n") + LAST
    return Wire(
        whole=_answer(_packed(whole)),
        pieces=tuple(piece(number, f"t{number} ") for number in range(PIECES)),
        stamped=tuple(piece(number, f"t{number} due={PLACE.decode()} ") for number in range(PIECES)),
        end=finish + done,
        end_with_usage=finish + event([], usage=usage) + done,
        instead=_refusals(
            fail=error("the mock fails", "server_error", "internal_error"),
            limit=error("the mock's limit is reached", "rate_limit_exceeded", "rate_limit_exceeded"),
            garbage=b'{"id":"chatcmpl-mock0001","choices":[{"index":0,"message":{"role":"assist',
        ),
        garbage=(
            piece(0, "t0 "),
            _framed(b'data: {"id":"chatcmpl-mock0001","choices":[{"index":0,"delta"\n\n'),
            _framed(b"<html>502 Bad Gateway</html>\n\n"),
            _framed(b"data: \xff\xfe\x00\n\n"),
            _framed(b"data: [DONE]\n\n") + LAST,
        ),
    )


def _anthropic() -> Wire:
    head = {"id": "msg_mock0001", "type": "message", "role": "assistant", "model": "mock"}
    whole = {
        **head,
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": PIECES},
    }

    def event(kind: str, **fields: Any) -> bytes:
        return _framed(b"event: %b\ndata: %b\n\n" % (kind.encode(), _packed({"type": kind, **fields})))

    def piece(number: int, text: str) -> bytes:
        delta = event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
        return opening + delta if number == 0 else delta

    def error(kind: str, message: str) -> bytes:
        return _packed({"type": "error", "error": {"type": kind, "message": message}})

    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": 1}
    started: dict[str, Any] = {**head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    opening = event("message_start", message=started)
    opening += event("content_block_start", index=0, content_block={"type": "text", "text": ""}) + event("ping")
    end = event("content_block_stop", index=0)
    end += event(
        "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": PIECES}
    )
    end += event("message_stop") + LAST
    return Wire(
        whole=_answer(_packed(whole)),
        pieces=tuple(piece(number, f"t{number} ") for number in range(PIECES)),
        stamped=tuple(piece(number, f"t{number} due={PLACE.decode()} ") for number in range(PIECES)),
        end=end,
        end_with_usage=end,
        instead=_refusals(
            fail=error("api_error", "the mock fails"),
            limit=error("rate_limit_error", "the mock's limit is reached"),
            garbage=b'{"id":"msg_mock0001","type":"message","content":[{"type":"te',
        ),
        garbage=(
            piece(0, "t0 "),
            _framed(b'event: content_block_delta\ndata: {"type":"content_block_delta","index"\n\n'),
            _framed(b"<html>502 Bad Gateway</html>\n\n"),
            event("message_stop") + LAST,
        ),
    )


def _refusals(*, fail: bytes, limit: bytes, garbage: bytes) -> dict[str, bytes]:
    return {
        "fail": _answer(fail, status=b"500 Internal Server Error"),
        "limit": _answer(limit, status=b"429 Too Many Requests", more=b"retry-after: 1\r\n"),
        "garbage": _answer(garbage),
    }


def _embeddings(body: bytes) -> bytes:
    asked = json.loads(body)
    texts = asked.get("input", "")
    # one text, or one text as token numbers; otherwise a list of either
    count = len(texts) if isinstance(texts, list) and texts and not isinstance(texts[0], int) else 1
    vector: list[float] | str = [0.01] * DIMENSIONS
    if asked.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *[0.01] * DIMENSIONS)).decode()
    data = [{"object": "embedding", "index": number, "embedding": vector} for number in range(count)]
    usage = {"prompt_tokens": 5 * count, "total_tokens": 5 * count}
    return _answer(_packed({"object": "list", "model": asked.get("model"), "data": data, "usage": usage}))


CHAT, MESSAGES = _openai(), _anthropic()
MODEL_LIST = _answer(
    _packed(
        {
            "object": "list",
            "data": [{"id": name, "object": "model", "created": CREATED, "owned_by": "mock"} for name in MODELS],
        }
    )
)
HEALTHY = _answer(b"{}")  # some gateways call nobody who does not say so
UNKNOWN = _answer(
    _packed({"error": {"message": "no such address", "type": "invalid_request_error", "code": None}}),
    status=b"404 Not Found",
)

_MODEL = re.compile(rb'"model"\s*:\s*"([^"]*)"')  # never inside a string, where the quotes are escaped
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_LENGTH = re.compile(rb"content-length:\s*(\d+)")


# ---------------------------------------------------------------- one connection


@dataclass(slots=True)
class Seen:
    """What has reached the mock so far."""

    calls: Counter[str] = field(default_factory=Counter)  # by model
    connections: int = 0  # open now
    answering: int = 0  # answers that have been begun and are still owed
    given_up: int = 0  # answers that the other side did not wait for
    head: bytes = b""  # of the last call
    body: bytes = b""

    def answer(self) -> bytes:
        figures = {"calls": self.calls, "connections": self.connections, "answering": self.answering}
        last = {"head": self.head.decode("latin-1"), "body": self.body.decode("utf-8", "replace")}
        return _answer(_packed({**figures, "given_up": self.given_up, "last": last}))


class _Connection(asyncio.Protocol):
    """Reads calls and answers each, one after another. Does not expect the next before it has answered the last."""

    __slots__ = ("_left", "_loop", "_owed", "_seen", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, seen: Seen) -> None:
        self._loop, self._seen = loop, seen
        self._left = b""
        self._owed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._seen.connections += 1

    def connection_lost(self, error: Exception | None) -> None:
        self._seen.connections -= 1
        if self._owed:
            self._owed = False
            self._seen.answering -= 1
            self._seen.given_up += 1

    def data_received(self, data: bytes) -> None:
        left = self._left + data if self._left else data
        while left:
            at = left.find(b"\r\n\r\n") + 4
            if at < 4:
                break
            head = left[:at]
            low = head.lower()
            if found := _LENGTH.search(low):
                until = at + int(found[1])
                if len(left) < until:
                    break
                body = left[at:until]
            elif b"transfer-encoding: chunked" in low:
                whole = _joined(left, at)
                if whole is None:
                    break
                body, until = whole
            else:
                body, until = b"", at
            left = left[until:]
            self._answer(head, body)
        self._left = left

    def _answer(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path.endswith(b"/chat/completions"):
            self._begin(CHAT, head, body)
        elif path.endswith(b"/messages"):
            self._begin(MESSAGES, head, body)
        elif path.endswith(b"/embeddings"):
            self._begin(CHAT, head, body, whole=_embeddings(body))
        elif path.endswith(b"/models"):
            self._transport.write(MODEL_LIST)
        elif path == b"/health":
            self._transport.write(HEALTHY)
        elif path == b"/seen":
            self._transport.write(self._seen.answer())
        else:
            self._transport.write(UNKNOWN)

    def _begin(self, wire: Wire, head: bytes, body: bytes, *, whole: bytes | None = None) -> None:
        seen = self._seen
        found = _MODEL.search(body)
        model = found[1].decode() if found else "mock"
        seen.calls[model] += 1
        seen.head, seen.body = head, body
        seen.answering += 1
        self._owed = True
        behaviour = MODELS.get(model) or MODELS["mock"]
        if whole is None and _STREAM.search(body) and behaviour.instead in ("", "garbage"):
            end = wire.end_with_usage if _USAGE.search(body) else wire.end
            begin: Callable[[], None] = lambda: self._stream(wire, behaviour, end)  # noqa: E731
        else:
            text = wire.instead[behaviour.instead] if behaviour.instead else whole or wire.whole
            begin = lambda: self._whole(text, behaviour)  # noqa: E731
        if behaviour.wait_s:
            self._loop.call_later(behaviour.wait_s, begin)
        else:
            begin()

    def _whole(self, text: bytes, behaviour: Behaviour) -> None:
        if self._transport.is_closing():
            return
        if behaviour.pieces is None:
            self._transport.write(text)
            self._settle()
            return
        if behaviour.pieces:
            self._transport.write(text[: -len(text) // 3])
        self._break_off(behaviour)

    def _stream(self, wire: Wire, behaviour: Behaviour, end: bytes) -> None:
        if self._transport.is_closing():
            return
        if behaviour.instead == "garbage":
            self._transport.write(HEAD + b"".join(wire.garbage))
            self._settle()
        elif behaviour.pieces == 0:
            self._break_off(behaviour)
        else:
            self._transport.write(HEAD)
            pieces = wire.stamped if behaviour.stamped else wire.pieces
            self._piece(0, pieces, behaviour, end, time.monotonic())

    def _piece(self, number: int, pieces: tuple[bytes, ...], behaviour: Behaviour, end: bytes, due: float) -> None:
        transport = self._transport
        if transport.is_closing():
            return
        piece = pieces[number]
        transport.write(piece.replace(PLACE, b"%017.6f" % due) if behaviour.stamped else piece)
        number += 1
        if number == behaviour.pieces:
            self._break_off(behaviour)
        elif number == PIECES:
            transport.write(end)
            self._settle()
        elif behaviour.period_s:
            due += behaviour.period_s
            wait_s = max(0.0, due - time.monotonic())
            self._loop.call_later(wait_s, self._piece, number, pieces, behaviour, end, due)
        else:
            self._loop.call_soon(self._piece, number, pieces, behaviour, end, due)

    def _break_off(self, behaviour: Behaviour) -> None:
        if behaviour.ending == "close":
            self._settle()
            self._transport.close()

    def _settle(self) -> None:
        self._owed = False
        self._seen.answering -= 1


def _joined(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The chunked body that begins at `at`, and where it ends; None while a part is missing."""
    parts: list[bytes] = []
    while (line := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line].split(b";")[0], 16)
        at = line + 2 + size + 2
        if len(data) < at:
            return None
        if size == 0:
            return b"".join(parts), at
        parts.append(data[line + 2 : at - 2])
    return None


# ---------------------------------------------------------------- the process


async def serve(port: int = 0) -> asyncio.Server:
    """Listen on this machine; port 0 takes a free one, which the server's first socket names."""
    loop, seen = asyncio.get_running_loop(), Seen()
    return await loop.create_server(lambda: _Connection(loop, seen), "127.0.0.1", port, backlog=1024)


def run_fast(work: Coroutine[Any, Any, None]) -> None:
    """asyncio.run, on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


async def _forever(port: int) -> None:
    server = await serve(port)
    print(f"mock upstream is up: http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=9100, help="0 takes a free one")
    parser.add_argument("--core", type=int, help="stay on this processor core")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    run_fast(_forever(options.port))


if __name__ == "__main__":
    main()
