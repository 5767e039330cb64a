"""The least that a Python gateway can cost: it passes calls and answers on, and does nothing else.

    python benchmarks/gateway/references.py CLIENT PORT UPSTREAM

Raw ASGI on uvicorn with httptools and uvloop; CLIENT is what calls the upstream: own (a hand-written HTTP/1.1 client),
aiohttp or pyreqwest. Each call is parsed, as a gateway must, and the answer is passed on as it comes. It has no keys, limits,
budgets or retries, and trusts the upstream to behave. It runs in an environment of its own, next to the one of Penstock.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import orjson  # type: ignore[import-not-found, unused-ignore]
import uvicorn

HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-upstream"}
JSON, EVENTS = [(b"content-type", b"application/json")], [(b"content-type", b"text/event-stream")]


class Client(Protocol):
    """Calls the upstream."""

    async def open(self, upstream: str) -> None: ...

    async def whole(self, body: bytes) -> tuple[int, bytes]: ...

    def stream(self, body: bytes) -> AsyncGenerator[bytes, None]: ...


class Aiohttp:
    async def open(self, upstream: str) -> None:
        import aiohttp  # type: ignore[import-not-found, unused-ignore]

        self.url = f"{upstream}/chat/completions"
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )

    async def whole(self, body: bytes) -> tuple[int, bytes]:
        async with self.session.post(self.url, data=body, headers=HEADERS) as answer:
            return answer.status, await answer.read()

    async def stream(self, body: bytes) -> AsyncGenerator[bytes, None]:
        async with self.session.post(self.url, data=body, headers=HEADERS) as answer:
            async for part in answer.content.iter_any():
                yield part


class Pyreqwest:
    async def open(self, upstream: str) -> None:
        from pyreqwest.client import ClientBuilder  # type: ignore[import-not-found, unused-ignore]

        self.url = f"{upstream}/chat/completions"
        self.client = ClientBuilder().no_proxy().http1_only().tcp_nodelay(True).build()

    async def whole(self, body: bytes) -> tuple[int, bytes]:
        answer = await self.client.post(self.url).headers(HEADERS).body_bytes(body).build().send()
        return answer.status, bytes(await answer.bytes())

    async def stream(self, body: bytes) -> AsyncGenerator[bytes, None]:
        asked = self.client.post(self.url).headers(HEADERS).body_bytes(body)
        async with asked.streamed_read_buffer_limit(0).build_streamed() as answer:  # reading ahead holds pieces back
            while part := await answer.body_reader.read_chunk():
                yield bytes(part)


class _Upstream(asyncio.Protocol):
    """One connection, one call at a time; only as much HTTP/1.1 as the mock speaks."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.ask(lambda part: None)

    def ask(self, take: Callable[[bytes | None], None]) -> None:
        """Forget the last answer. take: gets each part of the next one, and None at its end."""
        self.take, self.left, self.status, self.owed, self.over = take, b"", 0, -1, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if not self.over:
            self.over = True
            self.take(None)

    def data_received(self, data: bytes) -> None:
        data = self.left + data if self.left else data
        if not self.status:
            at = data.find(b"\r\n\r\n")
            if at < 0:
                self.left = data
                return
            head, data = data[:at].lower(), data[at + 4 :]
            self.status = int(head[9:12])
            found = head.find(b"content-length:")
            if found >= 0:
                self.owed = int(head[found + 15 :].split(b"\r", 1)[0])
        if self.owed >= 0:
            self.owed -= len(data)
            self.take(data)
            if self.owed <= 0:
                self.over = True
                self.take(None)
            return
        parts, at = [], 0
        while (line := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:line], 16)
            end = line + 2 + size + 2
            if len(data) < end:
                break
            if size == 0:
                self.over = True
                at = end
                break
            parts.append(data[line + 2 : end - 2])
            at = end
        self.left = data[at:]
        if parts:
            self.take(b"".join(parts))
        if self.over:
            self.take(None)


class Own:
    async def open(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.host, self.port = parts.hostname or "", parts.port or 80
        lines = [f"POST {parts.path}/chat/completions HTTP/1.1", f"host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in HEADERS.items()]
        self.head = "\r\n".join([*lines, "content-length: "]).encode()
        self.free: list[_Upstream] = []

    async def connection(self) -> _Upstream:
        while self.free:
            connection = self.free.pop()
            if connection.transport is not None:
                return connection
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Upstream, self.host, self.port))[1]

    async def whole(self, body: bytes) -> tuple[int, bytes]:
        connection = await self.connection()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        parts: list[bytes] = []

        def take(part: bytes | None) -> None:
            if part is not None:
                parts.append(part)
            elif not done.done():
                done.set_result(None)

        connection.ask(take)
        assert connection.transport
        connection.transport.write(self.head + b"%d\r\n\r\n" % len(body) + body)
        await done
        self.free.append(connection)
        return connection.status, b"".join(parts)

    async def stream(self, body: bytes) -> AsyncGenerator[bytes, None]:
        connection = await self.connection()
        parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        connection.ask(parts.put_nowait)
        assert connection.transport
        connection.transport.write(self.head + b"%d\r\n\r\n" % len(body) + body)
        try:
            while (part := await parts.get()) is not None:
                yield part
        finally:
            if connection.over:
                self.free.append(connection)
            elif connection.transport:
                connection.transport.abort()


CLIENTS: dict[str, Callable[[], Client]] = {"own": Own, "aiohttp": Aiohttp, "pyreqwest": Pyreqwest}


def application(client: Client, upstream: str) -> Callable[[Any, Any, Any], Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await client.open(upstream)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        if orjson.loads(body).get("stream"):
            await stream(body, receive, send)
            return
        status, answer = await client.whole(body)
        length = (b"content-length", b"%d" % len(answer))
        await send({"type": "http.response.start", "status": status, "headers": [*JSON, length]})
        await send({"type": "http.response.body", "body": answer})

    async def stream(body: bytes, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
        this = asyncio.current_task()
        assert this
        left = asyncio.ensure_future(receive())  # comes when the client goes; without it the upstream would run on
        left.add_done_callback(lambda task: task.cancelled() or this.cancel())
        parts = client.stream(body)
        try:
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            left.cancel()
            await send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            if not left.done():
                raise
        finally:
            left.cancel()
            with contextlib.suppress(RuntimeError):
                await parts.aclose()

    return app


def main() -> None:
    client, port, upstream = sys.argv[1:]
    uvicorn.run(
        application(CLIENTS[client](), upstream),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        backlog=1024,
    )


if __name__ == "__main__":
    main()
