"""So many clients at once, each asking again as soon as it has its answer; every answer is looked through.

    python -m benchmarks.gateway.load http://127.0.0.1:9100/v1 [--clients 16] [--seconds 2] [--stream] [--model mock] [--key K]

An answer counts when its status is 200 and it holds what the mock sent: the choices, or at least 50 pieces and [DONE].
Everything else is an error, and so is an answer that never ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

from benchmarks.gateway.mock import PIECES, run_fast

__all__ = ["Door", "Outcome", "load"]

PATIENCE_S = 40.0  # for the last answers, after nobody asks any more
ERRORS_AT_MOST = 200  # then the clients stop asking

QUESTION = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Say in one sentence what a gateway does."},
]
_DUE = re.compile(rb"due=(\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class Door:
    """Where a gateway is asked, and as whom."""

    url: str  # up to /v1
    key: str = "sk-none"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the clients saw. Times of answers that failed are not among them."""

    answers: int
    seconds: float  # from the first question to the last answer
    per_s: float
    p50_ms: float
    p99_ms: float
    first_p50_ms: float  # from the question to the first piece of its answer
    first_p99_ms: float
    pieces: int  # of text, in the streams that came whole
    pieces_per_s: float
    late_p50_ms: float  # each piece against the time it was due, of models that say so
    late_p99_ms: float
    errors: int
    wrong: str  # the first answer that was not one


def load(
    door: Door, *, clients: int, seconds: float, model: str = "mock", stream: bool = False, spread_s: float = 0.0
) -> Outcome:
    """Ask for so many seconds, then wait for what is still owed. spread_s: the time over which the clients arrive."""
    run = _Run(door, clients=clients, seconds=seconds, model=model, stream=stream, spread_s=spread_s)
    run_fast(run.all())
    return run.outcome()


class _Run:
    """One run: what is sent, and what has come of it."""

    def __init__(self, door: Door, *, clients: int, seconds: float, model: str, stream: bool, spread_s: float) -> None:
        parts = urlsplit(door.url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        asked = {"model": model, "messages": QUESTION, "temperature": 0.2, "max_tokens": 64}
        body = json.dumps(asked | ({"stream": True} if stream else {})).encode()
        headers = {
            "Host": f"{self.host}:{self.port}",
            "Content-Type": "application/json",
            "Accept": "*/*",
            "Content-Length": str(len(body)),
            "Authorization": f"Bearer {door.key}",
            **door.headers,
        }
        lines = [f"POST {parts.path.rstrip('/')}/chat/completions HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.request = "\r\n".join([*lines, "", ""]).encode() + body
        self.clients, self.seconds, self.stream, self.spread_s = clients, seconds, stream, spread_s
        self.times: list[float] = []
        self.first_times: list[float] = []
        self.late: list[float] = []
        self.pieces = self.errors = self.waiting = 0
        self.wrong = ""
        self.arrivals: set[asyncio.Task[None]] = set()

    def over(self) -> bool:
        return time.perf_counter() >= self.end or self.errors >= ERRORS_AT_MOST

    async def all(self) -> None:
        self.start = self.last = time.perf_counter()
        self.end = self.start + self.seconds
        for number in range(self.clients):
            self.arrive(after_s=number / self.clients * self.spread_s)
        # looking now and then takes nothing from the clients
        while (self.waiting or self.arrivals) and time.perf_counter() < self.end + PATIENCE_S:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        self.errors += self.waiting

    def arrive(self, *, after_s: float = 0.0) -> None:
        if not self.over():
            task = asyncio.ensure_future(self._arrive(after_s))
            self.arrivals.add(task)
            task.add_done_callback(self.arrivals.discard)

    async def _arrive(self, after_s: float) -> None:
        if after_s:
            await asyncio.sleep(after_s)
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Client(self), self.host, self.port)
        except OSError as error:
            self.failed(f"no connection: {error}")

    def failed(self, what: str) -> None:
        self.errors += 1
        self.wrong = self.wrong or what[:500]

    def outcome(self) -> Outcome:
        seconds = max(self.last - self.start, 1e-9)
        return Outcome(
            answers=len(self.times),
            seconds=seconds,
            per_s=len(self.times) / seconds,
            p50_ms=_quantile_ms(self.times, 0.5),
            p99_ms=_quantile_ms(self.times, 0.99),
            first_p50_ms=_quantile_ms(self.first_times, 0.5),
            first_p99_ms=_quantile_ms(self.first_times, 0.99),
            pieces=self.pieces,
            pieces_per_s=self.pieces / seconds,
            late_p50_ms=_quantile_ms(self.late, 0.5),
            late_p99_ms=_quantile_ms(self.late, 0.99),
            errors=self.errors,
            wrong=self.wrong,
        )


class _Client(asyncio.Protocol):
    """One client on its connection. The parser takes the chunks apart and calls the on_… methods."""

    def __init__(self, run: _Run) -> None:
        self.run = run

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.parser = httptools.HttpResponseParser(self)
        self.asked = False
        self.ask()

    def ask(self) -> None:
        if self.run.over():
            self.transport.close()
            return
        self.parts: list[bytes] = []
        self.unread = b""
        self.first = 0.0
        self.asked = True
        self.run.waiting += 1
        self.began = time.perf_counter()
        self.transport.write(self.run.request)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.run.failed(f"not HTTP: {error}")
            self.asked = False
            self.run.waiting -= 1
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        if not self.first and (not self.run.stream or b"data:" in body):
            self.first = time.perf_counter()
        self.parts.append(body)
        if b"due=" in body or self.unread:
            self.unread = self.note_late(self.unread + body)

    def note_late(self, text: bytes) -> bytes:
        """Compare what is due with the clock, and return the line that is not whole yet."""
        now = time.monotonic()
        until = text.rfind(b"\n") + 1
        self.run.late += [now - float(due) for due in _DUE.findall(text, 0, until)]
        return text[until:]

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        run, body = self.run, b"".join(self.parts)
        if run.stream:
            whole = body.count(b"data: {") + body.count(b"data:{") >= PIECES and b"[DONE]" in body
        else:
            whole = b'"choices"' in body
        status = self.parser.get_status_code()
        self.asked = False
        run.waiting -= 1
        if status == 200 and whole:
            run.times.append(now - self.began)
            run.first_times.append((self.first or now) - self.began)
            run.pieces += PIECES if run.stream else 0
            run.last = now
        else:
            run.failed(f"{status} {body[:400].decode('utf-8', 'replace')}")
        if self.parser.should_keep_alive():
            self.ask()
        else:
            self.transport.close()
            run.arrive()

    def connection_lost(self, error: Exception | None) -> None:
        if self.asked:
            self.run.waiting -= 1
            self.run.failed(f"the connection closed before the answer ended: {error}")
            self.run.arrive()


def _quantile_ms(times: Sequence[float], share: float) -> float:
    if len(times) < 2:
        return times[0] * 1000 if times else float("nan")
    if share == 0.5:
        return statistics.median(times) * 1000
    return sorted(times)[min(len(times) - 1, int(share * len(times)))] * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--model", default="mock")
    parser.add_argument("--key", default="sk-none")
    options = parser.parse_args()
    outcome = load(
        Door(options.url.rstrip("/"), options.key),
        clients=options.clients,
        seconds=options.seconds,
        model=options.model,
        stream=options.stream,
    )
    print(json.dumps(asdict(outcome), indent=1))


if __name__ == "__main__":
    main()
