"""The client that calls model servers, against servers that behave and servers that do not."""

import asyncio
import base64
import functools
import gc
import gzip
import hashlib
import socket
import ssl
import time
import weakref
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import BadRequest, BadSetting, UpstreamError, UpstreamTimeout
from penstock.models.client import Client, Proxies, Response, Timeouts, Url, header_lines

TLS = Path(__file__).parent / "data" / "tls"  # authority.pem signed server.pem, for localhost until 2126
OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
ENDLESS = OK + b"content-length: 1000000000\r\n\r\n"

Run = Callable[[Coroutine[Any, Any, None]], None]
Talk = Callable[["Peer"], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    runner = asyncio.run if request.param == "asyncio" else pytest.importorskip("uvloop").run
    return lambda main: runner(asyncio.wait_for(main, 30))


@dataclass
class Peer:
    """One connection, seen from the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    over: asyncio.Event = field(default_factory=asyncio.Event)  # the client has left, or the talk was done

    async def request(self) -> tuple[bytes, bytes]:
        """Head and body of the next request; IncompleteReadError when the client is gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return head, await self.reader.readexactly(int(length or b"0"))

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)  # one read at the other end

    async def gone(self) -> float:
        """Wait until the client has left; say when."""
        with suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass
        return time.monotonic()


@dataclass
class Server:
    url: Url
    peers: list[Peer] = field(default_factory=list)


@asynccontextmanager
async def serving(talk: Talk, *, tls: bool = False, **limits: int) -> AsyncIterator[Server]:
    """A server on loopback that does what `talk` says with each connection, and then closes it."""
    tasks = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        peer = Peer(reader, writer)
        served.peers.append(peer)
        try:
            await talk(peer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            peer.over.set()
            writer.close()

    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(TLS / "server.pem")
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context, **limits)
    port = server.sockets[0].getsockname()[1]
    served = Server(Url.parse(f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"))
    try:
        yield served
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in served.peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def calling(**options: Any) -> AsyncIterator[Client]:
    client = Client(**options)
    try:
        yield client
    finally:
        client.close()
        await asyncio.sleep(0.01)


def always(*pieces: bytes) -> Talk:
    """The same answer to every request."""

    async def talk(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*pieces)

    return talk


def once(*pieces: bytes) -> Talk:
    """One answer, and the connection is closed."""

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)

    return talk


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def whole(response: Response) -> bytes:
    return await response.read(limit=1 << 20)


async def pieces(response: Response) -> AsyncIterator[bytes]:
    while piece := await response.next():
        yield piece


# ---------------------------------------------------------------- requests


def test_a_request_is_written_as_the_standard_has_it(run: Run):
    seen = []

    async def talk(peer: Peer) -> None:
        while True:
            seen.append(await peer.request())
            await peer.send(HELLO)

    async def main() -> None:
        async with serving(talk) as server, calling() as client:
            headers = header_lines([(b"Content-Type", b"application/json"), (b"Host", b"elsewhere"), (b"te", b"x")])
            response = await client.request("POST", server.url.at("/chat/completions"), headers, b"{}")
            assert (response.status, await whole(response)) == (200, b"hello")
            await whole(await client.request("GET", server.url, [(b"x-one", b"1")]))
            port = server.url.port

        post = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept-encoding: identity\r\n"
        assert seen[0] == (post.encode() + b"Content-Type: application/json\r\ncontent-length: 2\r\n\r\n", b"{}")
        get = f"GET /v1 HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept-encoding: identity\r\nx-one: 1\r\n\r\n"
        assert seen[1] == (get.encode(), b"")

    run(main())


@pytest.mark.parametrize(
    "pair",
    [(b"x", b"a\r\nb: c"), (b"x", b"a\nb"), (b"x", b"\0"), (b"x y", b""), (b"", b""), (b"a:b", b""), (b"a\n", b"")],
)
def test_a_header_cannot_break_out_of_its_line(pair: tuple[bytes, bytes]):
    with pytest.raises(BadRequest):
        header_lines([pair])


def test_a_body_of_32_mb_arrives_whole(run: Run):
    body = hashlib.shake_256(b"body").digest(32 << 20)

    async def talk(peer: Peer) -> None:
        _, body = await peer.request()
        digest = hashlib.sha256(body).digest()
        await peer.send(OK + b"content-length: 32\r\n\r\n" + digest)
        await peer.request()
        await peer.send(HELLO)

    async def main() -> None:
        for tls in (False, True):
            async with serving(talk, tls=tls) as server, calling(ca_file=str(TLS / "authority.pem")) as client:
                response = await client.request("POST", server.url, b"", body)
                assert await whole(response) == hashlib.sha256(body).digest()
                assert await whole(await client.request("POST", server.url)) == b"hello"
                assert len(server.peers) == 1

    run(main())


def test_a_refusal_while_a_large_body_is_sent_is_the_answer(run: Run):
    async def talk(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nno!")
        await peer.gone()

    async def main() -> None:
        async with serving(talk) as server, calling() as client:
            for _ in range(2):
                response = await client.request("POST", server.url, b"", bytes(64 << 20))
                assert (response.status, await whole(response)) == (413, b"no!")
            assert len(server.peers) == 2  # a connection with half a request in it is of no use

    run(main())


# ---------------------------------------------------------------- connections


def test_one_connection_carries_one_request_after_the_other(run: Run):
    async def main() -> None:
        async with serving(always(HELLO)) as server, calling() as client:
            for _ in range(5):
                assert await whole(await client.request("POST", server.url, b"", b"{}")) == b"hello"
            other = Url.parse(f"http://127.0.0.1:{server.url.port}/elsewhere?key=1")
            assert await whole(await client.request("GET", other)) == b"hello"
            assert len(server.peers) == 1

    run(main())


@pytest.mark.parametrize("reset", [False, True])
def test_a_kept_connection_that_closes_without_an_answer_is_tried_once_more(run: Run, reset: bool):
    requests = []

    async def talk(peer: Peer) -> None:
        first = len(requests) == 0
        requests.append(await peer.request())
        await peer.send(HELLO)
        if first:
            requests.append(await peer.request())
            if reset:
                peer.writer.transport.abort()
        else:
            await peer.gone()

    async def main() -> None:
        async with serving(talk) as server, calling() as client:
            assert await whole(await client.request("POST", server.url, b"", b"1")) == b"hello"
            assert await whole(await client.request("POST", server.url, b"", b"2")) == b"hello"
            assert [body for _, body in requests] == [b"1", b"2", b"2"]
            assert len(server.peers) == 2

    run(main())


def test_a_new_connection_that_closes_without_an_answer_is_an_error(run: Run):
    async def main() -> None:
        async with serving(once()) as server, calling() as client:
            with pytest.raises(UpstreamError, match=r"127\.0\.0\.1:\d+ closed the connection without an answer"):
                await client.request("POST", server.url, b"", b"{}")
            assert len(server.peers) == 1

    run(main())


def test_a_request_that_was_answered_by_a_byte_is_not_sent_again(run: Run):
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(HELLO)
        await peer.request()
        await peer.send(b"H")

    async def main() -> None:
        async with serving(talk) as server, calling() as client:
            await whole(await client.request("POST", server.url))
            with pytest.raises(UpstreamError, match="closed the connection after 1 bytes of its answer"):
                await client.request("POST", server.url)
            assert len(server.peers) == 1

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"keep-alive: timeout=0\r\ncontent-length: 5\r\n\r\nhello",
        HELLO + b"surplus",
        HELLO + HELLO,
        CHUNKED + b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
    ],
)
def test_a_connection_is_not_used_again_when_something_speaks_against_it(run: Run, answer: bytes):
    async def main() -> None:
        async with serving(always(answer)) as server, calling() as client:
            for _ in range(2):
                assert await whole(await client.request("POST", server.url)) == b"hello"
            assert len(server.peers) == 2
            for peer in server.peers:
                await asyncio.wait_for(peer.over.wait(), 1)

    run(main())


def test_a_connection_on_which_a_server_speaks_unasked_is_dropped(run: Run):
    async def main() -> None:
        async with serving(always(HELLO)) as server, calling() as client:
            await whole(await client.request("POST", server.url))
            await server.peers[0].send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
            await asyncio.sleep(0.02)
            assert await whole(await client.request("POST", server.url)) == b"hello"
            assert len(server.peers) == 2

    run(main())


@pytest.mark.parametrize("keep_alive_s", [0.1, 30.0])
def test_idle_connections_are_closed_in_time(run: Run, keep_alive_s: float):
    promised = b"" if keep_alive_s < 1 else b"keep-alive: timeout=1, max=100\r\n"  # leaves 0.8 s

    async def main() -> None:
        answer = OK + promised + b"content-length: 5\r\n\r\nhello"
        async with serving(always(answer)) as server, calling(keep_alive_s=keep_alive_s) as client:
            responses = await asyncio.gather(*(client.request("POST", server.url) for _ in range(3)))
            for response in responses:
                await whole(response)
            await asyncio.sleep(0.15 if keep_alive_s < 1 else 0.9)
            assert await whole(await client.request("POST", server.url)) == b"hello"
            assert len(server.peers) == 4
            await asyncio.wait_for(server.peers[0].over.wait(), 1)

    run(main())


def test_500_requests_at_once(run: Run):
    async def talk(peer: Peer) -> None:
        while True:
            _, body = await peer.request()
            await asyncio.sleep(0.05)
            await peer.send(CHUNKED, b"%x\r\n%b\r\n" % (len(body), body), b"0\r\n\r\n")

    async def main() -> None:
        async with serving(talk, backlog=1000) as server, calling() as client:

            async def one(number: int) -> None:
                body = b"request %d" % number
                assert await whole(await client.request("POST", server.url, b"", body)) == body

            for _ in range(2):
                await asyncio.gather(*(one(number) for number in range(500)))
            assert 500 <= len(server.peers) <= 744  # 256 of the first were kept
            assert len(client.connections) <= 256

    run(main())


def test_closing_the_client_ends_what_runs(run: Run):
    async def main() -> None:
        async with serving(silent) as server, calling() as client:
            asking = asyncio.create_task(client.request("POST", server.url))
            await asyncio.sleep(0.05)
            client.close()
            with pytest.raises(UpstreamError, match="closed with its client"):
                await asking
            with pytest.raises(UpstreamError, match="closed with its client"):
                await client.request("POST", server.url)
            assert not client.connections

    run(main())


# ---------------------------------------------------------------- answers

BODY = b"data: one\n\n" + bytes(range(256)) + b"\r\n0\r\n\r\n"
FRAMED = [
    CHUNKED + b"%x\r\n%b\r\n" % (len(BODY), BODY) + b"0\r\n\r\n",
    CHUNKED
    + b"".join(b"%X;ext=1\r\n%b\r\n" % (len(BODY[i : i + 7]), BODY[i : i + 7]) for i in range(0, len(BODY), 7))
    + b"0\r\n\r\n",
    CHUNKED + b"0a\r\n%b\r\n%x\r\n%b\r\n" % (BODY[:10], len(BODY) - 10, BODY[10:]) + b"0\r\nx-sum: 1\r\ny: 2\r\n\r\n",
    OK + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
    OK + b"upgrade: h2,h2c\r\nconnection: Upgrade, Keep-Alive\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    + OK
    + b"content-length: %d\r\n\r\n" % len(BODY)
    + BODY,
]


@pytest.mark.parametrize("answer", FRAMED)
def test_an_answer_is_the_same_wherever_it_is_split(run: Run, answer: bytes):
    async def main() -> None:
        splits: list[list[bytes]] = [[answer[at : at + 1] for at in range(len(answer))]]
        splits += [[answer[:at], answer[at:]] for at in range(1, len(answer))]
        left = iter(splits)

        async def talk(peer: Peer) -> None:
            while True:
                await peer.request()
                await peer.send(*next(left))

        async with serving(talk) as server, calling() as client:
            for number, _ in enumerate(splits):
                response = await client.request("POST", server.url)
                assert response.status == 200
                read = b"".join([piece async for piece in pieces(response)]) if number % 2 else await whole(response)
                assert read == BODY
            assert len(server.peers) == 1

    run(main())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    coding=st.sampled_from(["", "gzip", "deflate", "raw"]),
)
def test_what_is_sent_in_chunks_is_what_is_read(chunks: list[bytes], cuts: list[int], coding: str):
    body = b"".join(chunks)
    packer = {
        "gzip": zlib.compressobj(wbits=31),
        "deflate": zlib.compressobj(),
        "raw": zlib.compressobj(wbits=-15),
    }.get(coding)
    sent = (
        [packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH) for chunk in chunks] + [packer.flush()]
        if packer
        else chunks
    )
    head = f"content-encoding: {coding.replace('raw', 'deflate')}\r\n".encode() if packer else b""
    answer = OK + head + b"transfer-encoding: chunked\r\n\r\n"
    answer += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in sent if chunk) + b"0\r\n\r\n"
    ends = sorted({min(cut, len(answer)) for cut in cuts} | {0, len(answer)})

    async def main() -> None:
        parts = [answer[a:b] for a, b in pairwise(ends)]
        async with serving(always(*parts)) as server, calling() as client:
            response = await client.request("POST", server.url)
            assert b"".join([piece async for piece in pieces(response)]) == body
            assert not response.header(b"content-encoding")
            assert await whole(await client.request("POST", server.url)) == body
            assert len(server.peers) == 1

    asyncio.run(main())


def test_a_body_without_a_length_ends_with_its_connection(run: Run):
    async def main() -> None:
        async with serving(once(OK + b"\r\n", b"hel", b"lo")) as server, calling() as client:
            assert await whole(await client.request("POST", server.url)) == b"hello"
            response = await client.request("POST", server.url)
            assert b"".join([piece async for piece in pieces(response)]) == b"hello"

    run(main())


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("POST", b"HTTP/1.1 204 No Content\r\ncontent-encoding: gzip\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"),
        ("HEAD", OK + b"content-length: 7\r\ncontent-encoding: gzip\r\n\r\n"),
        ("HEAD", CHUNKED),
        ("POST", OK + b"content-length: 0\r\n\r\n"),
        ("POST", OK + b"content-length: 0\r\ncontent-encoding: gzip\r\n\r\n"),
    ],
)
def test_some_answers_have_no_body(run: Run, method: str, answer: bytes):
    async def main() -> None:
        async with serving(always(answer)) as server, calling() as client:
            for _ in range(2):
                response = await client.request(method, server.url)
                assert await response.next() == b""
                assert await whole(response) == b""
            assert len(server.peers) == 1

    run(main())


def test_pieces_are_given_as_they_come(run: Run):
    go_on = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"3\r\none\r\n")
        await go_on.wait()
        await peer.send(b"3\r\ntwo\r\n")
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    async def main() -> None:
        async with serving(talk) as server, calling() as client:
            response = await client.request("POST", server.url)
            assert await response.next() == b"one"
            go_on.set()
            assert await response.next() == b"two"
            assert await response.next() == b""
            assert await response.next() == b""

    run(main())


@pytest.mark.parametrize(
    ("answer", "arrived"),
    [
        (CHUNKED + b"5\r\nhello\r\n", b"hello"),
        (CHUNKED + b"5\r\nhel", b"hel"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", b"hello"),
        (OK + b"content-length: 6\r\n\r\nhello", b"hello"),
        (OK + b"content-encoding: gzip\r\n\r\n" + gzip.compress(b"hello", mtime=0)[:-4], b"hello"),
    ],
)
def test_an_answer_that_breaks_off_is_an_error_after_what_arrived(run: Run, answer: bytes, arrived: bytes):
    async def main() -> None:
        async with serving(once(answer)) as server, calling() as client:
            response = await client.request("POST", server.url)
            got = await response.next()
            broken = r"127\.0\.0\.1:\d+ (closed the connection after \d+ bytes|.*breaks off)"
            with pytest.raises(UpstreamError, match=broken):
                got += await response.next()
            assert got == arrived
            with pytest.raises(UpstreamError):
                await whole(await client.request("POST", server.url))
            assert not client.connections

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 999 High\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"content-length: +5\r\n\r\nhello",
        OK + b"content-length: 99999999999999999999999\r\n\r\nhello",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: identity\r\n\r\nhello",
        OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"x: a\r\n folded\r\ncontent-length: 0\r\n\r\n",
        OK + b"content-length : 5\r\n\r\nhello",
        OK + b"no colon\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"x: a\0b\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
        CHUNKED + b"-1\r\nhello\r\n",
        CHUNKED + b"ffffffffffffffffff\r\nhello\r\n",
        CHUNKED + b"5\r\nhelloX0\r\n\r\n",
        OK + b"content-encoding: br\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"content-encoding: gzip\r\n\r\n" + gzip.compress(b"hello", mtime=0) + b"surplus",
        OK + b"x: " + b"a" * 70_000 + b"\r\ncontent-length: 0\r\n\r\n",
        OK + b"x: y\r\n" * 20_000 + b"content-length: 0\r\n\r\n",
        OK + b"x" * 300_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
        CHUNKED + b"5\r\nhello\r\n0\r\n" + b"x: y\r\n" * 100_000,
        CHUNKED + b"5\r\nhello\r\n0\r\nx: " + b"y" * 600_000,
        CHUNKED + b"5;" + b"y" * 600_000,
    ],
)
def test_what_is_not_clearly_http_is_refused(run: Run, answer: bytes):
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.gone()

    async def main() -> None:
        async with serving(talk) as server, calling() as client:
            with pytest.raises(UpstreamError, match=r"127\.0\.0\.1:\d+ (sent|answered|does not say)") as caught:
                await whole(await client.request("POST", server.url))
            assert not isinstance(caught.value, UpstreamTimeout)
            assert not client.connections
            await asyncio.wait_for(server.peers[0].over.wait(), 1)

    run(main())


@settings(max_examples=100, deadline=None)
@given(
    answer=st.sampled_from(FRAMED),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 4), st.binary(max_size=4)), max_size=4),
)
def test_whatever_a_server_sends_is_an_answer_or_an_error(answer: bytes, edits: list[tuple[int, int, bytes]]):
    for at, length, new in edits:
        answer = answer[:at] + new + answer[at + length :]

    async def main() -> None:
        async with serving(once(answer)) as server, calling() as client:
            with suppress(UpstreamError):
                await whole(await client.request("POST", server.url, timeouts=Timeouts(5, 5, 5)))
            await asyncio.wait_for(server.peers[0].over.wait(), 1)

    asyncio.run(asyncio.wait_for(main(), 4))


def test_a_head_just_below_the_limit_is_read(run: Run):
    answer = OK + b"x: " + b"a" * 65_000 + b"\r\ncontent-length: 200000\r\n\r\n" + bytes(200_000)

    async def main() -> None:
        async with serving(always(answer)) as server, calling() as client:
            response = await client.request("POST", server.url)
            assert len(response.header(b"x")) == 65_000
            assert await whole(response) == bytes(200_000)

    run(main())


def test_a_body_over_the_limit_is_refused(run: Run):
    async def main() -> None:
        for answer in (HELLO, CHUNKED + b"5\r\nhello\r\n", OK + b"content-length: 500\r\n\r\nhello"):
            async with serving(always(answer)) as server, calling() as client:
                response = await client.request("POST", server.url)
                with pytest.raises(UpstreamError, match="longer than the limit of 4 bytes"):
                    await response.read(limit=4)
        async with serving(always(HELLO)) as server, calling() as client:
            assert await (await client.request("POST", server.url)).read(limit=5) == b"hello"

    run(main())


def test_a_body_that_becomes_enormous_is_refused(run: Run):
    bomb = gzip.compress(bytes(100 << 20))
    answer = OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb) + bomb

    async def main() -> None:
        async with serving(always(answer)) as server, calling() as client:
            response = await client.request("POST", server.url)
            with pytest.raises(UpstreamError, match=r"becomes larger than it may"):
                await response.read(limit=1 << 30)

    run(main())


def test_an_answer_is_forgotten_when_it_is_let_go(run: Run):
    async def main() -> None:
        async with serving(always(HELLO)) as server, calling() as client:
            gc.collect()
            gc.disable()  # a large body should not have to wait for it
            try:
                response = await client.request("POST", server.url)
                await whole(response)
                known = weakref.ref(response)
                del response
                assert known() is None
            finally:
                gc.enable()

    run(main())


# ---------------------------------------------------------------- time


def test_each_wait_has_its_limit(run: Run):
    async def upload(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(10)

    async def drip(peer: Peer) -> None:
        await peer.request()
        for letter in ENDLESS:
            await peer.send(bytes([letter]))
            await asyncio.sleep(0.02)

    async def mute(peer: Peer) -> None:
        await asyncio.sleep(10)

    brief = Timeouts(connect_s=0.1, first_byte_s=0.2, idle_s=0.15)

    async def main() -> None:
        async with calling() as client:
            for talk, body, took, words in (
                (silent, b"", 0.2, "did not answer within 0.2 s"),
                (drip, b"", 0.2, "did not answer within 0.2 s"),
                (upload, bytes(64 << 20), 0.15, "took nothing of the request for 0.15 s"),
                (always(ENDLESS + b"hello"), b"", 0.15, "fell silent for 0.15 s, after 52 bytes"),
                (always(CHUNKED), b"", 0.15, "fell silent for 0.15 s"),
            ):
                async with serving(talk, limit=1024) as server:
                    began = time.monotonic()
                    with pytest.raises(UpstreamTimeout, match=words):
                        await whole(await client.request("POST", server.url, b"", body, timeouts=brief))
                    assert took - 0.01 < time.monotonic() - began < took + 1
            async with serving(mute) as server:
                url = Url.parse(f"https://127.0.0.1:{server.url.port}")
                for address in (url, Url.parse(f"https://localhost:{server.url.port}")):
                    with pytest.raises(UpstreamTimeout, match=r"no connection to \S+:\d+ within 0\.1 s"):
                        await client.request("POST", address, timeouts=brief)
            assert not client.connections

    run(main())


def test_a_slow_stream_lives_as_long_as_it_speaks(run: Run):
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(10):
            await asyncio.sleep(0.05)
            await peer.send(b"1\r\nx\r\n")
        await peer.send(b"0\r\n\r\n")

    async def main() -> None:
        async with serving(talk) as server, calling(keep_alive_s=0.01) as client:
            response = await client.request("POST", server.url, timeouts=Timeouts(idle_s=0.2, first_byte_s=0.2))
            assert await whole(response) == b"x" * 10

    run(main())


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("where", ["head", "next", "read", "upload"])
def test_a_cancelled_task_closes_its_connection_at_once(run: Run, where: str, tls: bool):
    async def talk(peer: Peer) -> None:
        await (peer.reader.readuntil(b"\r\n\r\n") if where == "upload" else peer.request())
        begun.set()
        if where in ("next", "read"):
            await peer.send(ENDLESS + b"hello")
        if where == "upload":
            await asyncio.sleep(0.15)
        left.set_result(await peer.gone())

    async def ask(client: Client, url: Url) -> None:
        response = await client.request("POST", url, b"", bytes(64 << 20) if where == "upload" else b"{}")
        if where == "read":
            await response.read(limit=1 << 30)
        else:
            while await response.next():
                pass

    async def main() -> None:
        nonlocal left, begun
        left, begun = asyncio.get_running_loop().create_future(), asyncio.Event()
        async with serving(talk, tls=tls) as server, calling(ca_file=str(TLS / "authority.pem")) as client:
            task = asyncio.create_task(ask(client, server.url))
            await begun.wait()
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not client.connections
            await left  # else the peer would wait for ever

    left: asyncio.Future[float]
    begun: asyncio.Event
    run(main())


def test_a_task_that_is_cancelled_while_it_connects_leaves_nothing(run: Run):
    async def mute(peer: Peer) -> None:
        left.set_result(await peer.gone())

    async def main() -> None:
        nonlocal left
        left = asyncio.get_running_loop().create_future()
        async with serving(mute) as server, calling() as client:
            task = asyncio.create_task(client.request("POST", Url.parse(f"https://127.0.0.1:{server.url.port}")))
            await asyncio.sleep(0.1)
            cancelled = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await left - cancelled < 0.1
            assert not client.connections

    left: asyncio.Future[float]
    run(main())


def test_a_shorter_limit_holds_on_a_connection_that_had_a_longer_one(run: Run):
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(HELLO)
        await silent(peer)

    async def main() -> None:
        async with serving(talk) as server, calling() as client:
            await whole(await client.request("POST", server.url))
            began = time.monotonic()
            with pytest.raises(UpstreamTimeout):
                await client.request("POST", server.url, timeouts=Timeouts(first_byte_s=0.1))
            assert time.monotonic() - began < 1
            assert len(server.peers) == 1

    run(main())


def test_an_answer_that_is_closed_early_closes_its_connection(run: Run):
    async def main() -> None:
        async with serving(always(ENDLESS + b"hello")) as server, calling() as client:
            response = await client.request("POST", server.url)
            response.close()
            assert not client.connections
            await asyncio.wait_for(server.peers[0].over.wait(), 1)
            with pytest.raises(UpstreamError, match="closed before its end"):
                await response.next()

    run(main())


@pytest.mark.parametrize("tls", [False, True])
def test_a_server_waits_for_a_slow_reader(run: Run, tls: bool):
    size = 64 << 20
    sent = 0

    async def talk(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(OK + b"content-length: %d\r\n\r\n" % size)
        while sent < size:
            await peer.send(bytes(1 << 18))
            sent += 1 << 18
        await peer.gone()

    async def main() -> None:
        async with serving(talk, tls=tls) as server, calling(ca_file=str(TLS / "authority.pem")) as client:
            response = await client.request("POST", server.url, timeouts=Timeouts(idle_s=0.2))
            await asyncio.sleep(0.5)  # longer than idle_s: it is us who are silent
            assert sent < size // 2  # what the sockets of both sides hold
            read = 0
            while piece := await response.next():
                assert len(piece) <= 1 << 20
                read += len(piece)
            assert read == size
            assert len(client.connections) == 1

    run(main())


# ---------------------------------------------------------------- reaching a server


def test_tls_is_verified(run: Run):
    async def main() -> None:
        async with serving(always(HELLO), tls=True) as server:
            async with calling(ca_file=str(TLS / "authority.pem")) as client:
                for _ in range(2):
                    assert await whole(await client.request("POST", server.url)) == b"hello"
                assert len(server.peers) == 1
            async with calling() as client:
                with pytest.raises(UpstreamError, match=r"the certificate of 127\.0\.0\.1:\d+ is not valid"):
                    await client.request("POST", server.url)
                with pytest.raises(UpstreamError, match=r"closed the connection|sent something that is not HTTP"):
                    await client.request("POST", Url.parse(f"http://127.0.0.1:{server.url.port}"))
        async with serving(lambda peer: peer.send(HELLO)) as server, calling() as client:
            with pytest.raises(UpstreamError, match=r"no TLS with 127\.0\.0\.1:\d+|no connection to"):
                await client.request("POST", Url.parse(f"https://127.0.0.1:{server.url.port}"))

    run(main())


def test_a_file_of_authorities_must_be_one(tmp_path: Path):
    async def main() -> None:
        for content in (None, "nothing of the kind"):
            if content:
                (tmp_path / "ca.pem").write_text(content)
            async with calling(ca_file=str(tmp_path / "ca.pem")) as client:
                with pytest.raises(BadSetting, match="ca_file"):
                    await client.request("GET", Url.parse("https://127.0.0.1:9"))

    asyncio.run(main())


def test_a_server_that_is_not_there(run: Run):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    async def main() -> None:
        async with calling() as client:
            with pytest.raises(UpstreamError, match=f"127.0.0.1:{port} refused the connection"):
                await client.request("POST", Url.parse(f"http://127.0.0.1:{port}"))

    run(main())


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    async def main() -> None:
        async with calling() as client:
            with pytest.raises(UpstreamError, match=r"no address is known for nowhere\.example: Name or service"):
                await client.request("POST", Url.parse("http://nowhere.example"))

    asyncio.run(main())


def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch):
    async def main() -> None:
        async with serving(always(HELLO)) as server, calling() as client:
            port = server.url.port
            both = [(socket.AF_INET6, 1, 6, "", ("::1", port, 0, 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", port))]
            known = socket.getaddrinfo

            def lookup(host: str, *rest: Any, **options: Any) -> Any:
                return both if host == "two.example" else known(host, *rest, **options)

            monkeypatch.setattr(socket, "getaddrinfo", lookup)
            url = Url.parse(f"http://two.example:{port}")
            assert await whole(await client.request("POST", url)) == b"hello"

    asyncio.run(main())


async def relay(peer: Peer, port: int, heads: list[bytes]) -> None:
    """A proxy for CONNECT, and for requests in absolute form."""
    head = await peer.reader.readuntil(b"\r\n\r\n")
    heads.append(head)
    if not head.startswith(b"CONNECT "):
        await peer.send(HELLO)
        await peer.gone()
        return
    if b"proxy-authorization: Basic " + base64.b64encode("us@r:pä ss".encode()) not in head:
        await peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()
        return
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
        sink.close()

    await peer.send(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")
    try:
        await asyncio.gather(copy(peer.reader, writer), copy(reader, peer.writer))
    finally:
        writer.close()


def test_https_goes_through_a_proxy_unseen(run: Run):
    async def main() -> None:
        heads: list[bytes] = []
        async with (
            serving(always(HELLO), tls=True) as server,
            serving(functools.partial(relay, port=server.url.port, heads=heads)) as proxy,
            calling(ca_file=str(TLS / "authority.pem")) as client,
        ):
            proxies = Proxies(https=f"http://us%40r:p%C3%A4%20ss@127.0.0.1:{proxy.url.port}")
            url = Url.parse("https://localhost:8443/v1", proxies=proxies)
            for _ in range(2):
                assert await whole(await client.request("POST", url, b"", b"{}")) == b"hello"
            assert len(heads) == 1
            assert heads[0].startswith(b"CONNECT localhost:8443 HTTP/1.1\r\nhost: localhost:8443\r\n")

            with pytest.raises(UpstreamError, match=r"certificate of other\.example:443 is not valid.*mismatch"):
                await client.request("POST", Url.parse("https://other.example", proxies=proxies))
            stranger = Proxies(https=f"127.0.0.1:{proxy.url.port}")
            words = r"proxy 127\.0\.0\.1:\d+ did not connect to localhost:443: 'HTTP/1.1 407"
            with pytest.raises(UpstreamError, match=words):
                await client.request("POST", Url.parse("https://localhost", proxies=stranger))
            await asyncio.wait_for(proxy.peers[-1].over.wait(), 1)

    run(main())


def test_a_proxy_that_says_more_than_yes_is_not_trusted(run: Run):
    async def talk(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n")
        await peer.gone()

    async def main() -> None:
        async with serving(talk) as proxy, calling() as client:
            proxies = Proxies(https=f"127.0.0.1:{proxy.url.port}")
            with pytest.raises(UpstreamError, match="did not connect to localhost:443"):
                await client.request("POST", Url.parse("https://localhost", proxies=proxies))
            await asyncio.wait_for(proxy.peers[0].over.wait(), 1)

    run(main())


def test_http_goes_through_a_proxy_in_absolute_form(run: Run):
    async def main() -> None:
        heads: list[bytes] = []
        async with serving(functools.partial(relay, port=0, heads=heads)) as proxy, calling() as client:
            proxies = Proxies(http=f"http://user:word@127.0.0.1:{proxy.url.port}", no="localhost,.internal")
            url = Url.parse("http://models.example/v1?x=1", proxies=proxies).at("chat")
            assert await whole(await client.request("POST", url)) == b"hello"

        assert heads[0].startswith(b"POST http://models.example/v1/chat?x=1 HTTP/1.1\r\nhost: models.example\r\n")
        assert b"\r\nproxy-authorization: Basic dXNlcjp3b3Jk\r\n" in heads[0]

    run(main())


@pytest.mark.parametrize(
    ("no", "host", "direct"),
    [
        ("", "a.example", False),
        ("*", "a.example", True),
        ("a.example", "a.example", True),
        (" .example , other", "a.example", True),
        ("*.example", "a.example", True),
        ("example", "a.example", True),
        ("ample", "a.example", False),
        ("a.example:443", "a.example", True),
        ("a.example:80", "a.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("::1", "[::1]", True),
        ("fd00::/8", "[fd12::1]", True),
        ("10.0.0.0/8,,", "a.example", False),
    ],
)
def test_some_servers_are_reached_without_the_proxy(no: str, host: str, direct: bool):
    url = Url.parse(f"https://{host}", proxies=Proxies(https="http://proxy.example:3128", no=no))

    assert (url.proxy == "") == direct
    assert url.peer == ((host.strip("[]"), 443) if direct else ("proxy.example", 3128))


def test_an_address_is_read_once():
    url = Url.parse("HTTPS://Bücher.Example:8443/v1/?api-version=2").at("/chat/completions")

    assert str(url) == "https://xn--bcher-kva.example:8443/v1/chat/completions"
    assert url.start.startswith(b" /v1/chat/completions?api-version=2 HTTP/1.1\r\nhost: xn--bcher-kva.example:8443\r\n")
    assert url.origin == Url.parse("https://xn--bcher-kva.example:8443").origin
    assert Url.parse("http://[::1]").at("x").start.startswith(b" /x HTTP/1.1\r\nhost: [::1]\r\n")


@pytest.mark.parametrize(
    "text",
    ["", "models.example", "ftp://a", "http://", "http://a:0", "http://a:99999", "http://a:b", "http://user:secret@a", "http://a/#b",
     "http://a b", "http://a/b c", "http://a/ü", "http://a..b", "http://[::1", "http:///x"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(BadSetting) as caught:
        Url.parse(text)

    assert "secret" not in str(caught.value)


def test_a_proxy_is_spoken_to_over_http():
    with pytest.raises(BadSetting, match="socks5"):
        Url.parse("https://a.example", proxies=Proxies(https="socks5://user:secret@proxy.example"))
