"""HTTP/1.1 to the servers we call: one write per request, and pieces of the answer passed on as they come.

It knows connections, framing and time, and nothing of models. Everything that goes wrong is an UpstreamError that names
the server. It sends no request twice, but for one case: a kept connection that its server closed without a byte in answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import re
import socket
import ssl
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Final, TypeVar, cast
from urllib.parse import SplitResult, unquote, urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from penstock.errors import BadRequest, BadSetting, UpstreamError, UpstreamTimeout
from penstock.models.addresses import NoServer, check_peer, is_number

__all__ = ["Client", "Clients", "Proxies", "Response", "Timeouts", "Url", "header_lines"]

KEEP_ALIVE_S: Final = 15.0
MOST_IDLE: Final = 256  # kept connections of one origin; active ones are not limited here
MOST_UNREAD: Final = 256 << 10  # bytes of a body: with more, the server is made to wait
LARGEST_HEAD: Final = 64 << 10
LARGEST_INFLATED: Final = 8 << 20  # what one read of a compressed body may become
_ONE_WRITE: Final = 64 << 10  # a larger body is handed to the socket bit by bit, and not copied
_STEP: Final = 256 << 10
_NEVER: Final = float("inf")
_MOST_ADDRESSES: Final = 4  # of one name, that are tried in turn
_OURS: Final = frozenset(
    b"accept-encoding connection content-length expect host keep-alive proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)
_LOOKED_AT: Final = frozenset([b"content-encoding", b"content-length", b"keep-alive", b"transfer-encoding"])
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_VALUE: Final = re.compile(rb"[\x00\r\n]")
_P = TypeVar("_P", bound=asyncio.BaseProtocol)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for a server, in seconds."""

    connect_s: float = 10.0  # name, connection, proxy and TLS
    first_byte_s: float = 600.0  # from the request being sent to the head of the answer
    idle_s: float = 120.0  # the longest silence of the server within a body


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies between us and the servers, as HTTP_PROXY, HTTPS_PROXY and NO_PROXY name them."""

    http: str = ""
    https: str = ""
    no: str = ""  # names, .domains, addresses and networks that are reached directly; "*" is all

    def between(self, scheme: str, host: str, port: int) -> str:
        """The proxy for a server; "" is none."""
        proxy = self.https if scheme == "https" else self.http
        return "" if any(_covers(entry.strip().lower(), host, port) for entry in self.no.split(",")) else proxy


def _covers(entry: str, host: str, port: int) -> bool:
    if entry in ("*", host, f"{host}:{port}", f"[{host}]", f"[{host}]:{port}"):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    name = entry.lstrip("*.")
    return name != "" and (host == name or host.endswith(f".{name}"))


@dataclass(frozen=True, slots=True)
class Url:
    """Where requests go. Made once, when a model is configured: what every request says is put together here."""

    scheme: str
    host: str  # in ASCII; an IPv6 address without its brackets
    port: int
    path: str = "/"
    query: str = field(default="", repr=False)  # may hold a key, as the proxy's address may hold a password
    proxy: str = field(default="", repr=False)
    origin: str = field(init=False, repr=False)  # urls of one origin share their connections
    start: bytes = field(init=False, repr=False)  # what a head says between its method and the caller's headers
    peer: tuple[str, int] = field(init=False, repr=False)  # where to connect
    login: str = field(init=False, repr=False)  # a header line for the proxy

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port != (443 if self.scheme == "https" else 80):
            host = f"{host}:{self.port}"
        target = self.path + (f"?{self.query}" if self.query else "")
        if not re.fullmatch(r"/[!-~]*", target):
            raise BadSetting(f"'{target}' is no path for {host}: it may hold ASCII without blanks only")
        login, peer = "", (self.host, self.port)
        if self.proxy:
            parts = _split(self.proxy if "://" in self.proxy else f"http://{self.proxy}", "proxy")
            if parts.scheme != "http":
                raise BadSetting(f"a proxy is spoken to over http://, not {parts.scheme}://")
            peer = (_ascii(parts), parts.port or 80)
            if parts.username is not None:
                pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
                login = f"proxy-authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
            if self.scheme == "http":
                target = f"http://{host}{target}"
        ours = f"host: {host}\r\naccept-encoding: identity\r\n" + (login if self.scheme == "http" else "")
        object.__setattr__(self, "origin", f"{self.scheme}://{self.host}:{self.port} {self.proxy}")
        object.__setattr__(self, "start", f" {target} HTTP/1.1\r\n{ours}".encode("ascii"))
        object.__setattr__(self, "peer", peer)
        object.__setattr__(self, "login", login)

    @classmethod
    def parse(cls, text: str, *, proxies: Proxies | None = None) -> Url:
        """Read an http or https address, with or without a path. Raises BadSetting."""
        parts = _split(text, "address")
        if parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.fragment:
            raise BadSetting(f"an address is http://… or https://…, without a login and without #: '{_plain(parts)}'")
        host, port = _ascii(parts), parts.port or (443 if parts.scheme == "https" else 80)
        proxy = proxies.between(parts.scheme, host, port) if proxies else ""
        return cls(parts.scheme, host, port, parts.path or "/", parts.query, proxy)

    def at(self, path: str) -> Url:
        """The same server, further down: `Url.parse("https://host/v1").at("/chat/completions")`. The query stays."""
        return replace(self, path=f"{self.path.rstrip('/')}/{path.lstrip('/')}")

    def __str__(self) -> str:
        """For messages: without the query, which may hold a key."""
        return f"{self.scheme}://{self.name}{self.path}"

    @property
    def name(self) -> str:
        """The server, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _split(text: str, what: str) -> SplitResult:
    try:
        parts = urlsplit(text.strip())
        known = parts.port is None or parts.port > 0  # reading the port checks it
    except ValueError as error:
        raise BadSetting(f"this is no {what}: {error}") from error
    if not parts.hostname or not known:
        raise BadSetting(f"this {what} names no server: '{_plain(parts)}'")
    return parts


def _plain(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # no login, no query


def _ascii(parts: SplitResult) -> str:
    host = parts.hostname or ""
    try:
        host = host if ":" in host else host.encode("idna").decode()
    except UnicodeError as error:
        raise BadSetting(f"'{host}' is no name of a server: {error}") from error
    if not re.fullmatch(r"[\w.:%-]+", host, re.ASCII):
        raise BadSetting(f"'{host}' is no name of a server")
    return host


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write headers as a request has them, once for many requests where they stay the same.

    What the client writes itself, and what concerns one connection only, is left out. Raises BadRequest for a name or a
    value that would break out of its line.
    """
    lines = []
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or _BAD_VALUE.search(value):
            raise BadRequest(
                f"header {name[:100]!r} cannot be sent: it has a line break or a character that names do not have"
            )
        if name.lower() not in _OURS:
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


class _Unanswered(UpstreamError):
    """The server closed the connection without a byte in answer."""


class Response:
    """An answer whose head has come. Read it to its end, or close it: only a complete one leaves its connection for others.

    One task at a time may read. A task that is cancelled while it reads closes the answer.
    """

    def __init__(self, connection: _Connection) -> None:
        self.status = 0  # while no head came
        self.headers: list[tuple[bytes, bytes]] = []  # names in lower case
        self._connection: _Connection | None = connection  # until the end
        self._name = connection.name
        self._pieces: list[bytes] = []
        self._unread = 0  # bytes in pieces
        self._room = MOST_UNREAD
        self._gathering = False  # somebody waits for the whole body, and for nothing before
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def header(self, name: bytes) -> bytes:
        """The value of the first header of a name, given in lower case; b"" where there is none."""
        for known, value in self.headers:
            if known == name:
                return value
        return b""

    async def next(self) -> bytes:
        """Give what has come of the body since the last call, or the next that comes; b"" at its end.

        Raises UpstreamError when the connection broke before the body was complete, after what had come until then.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._connection is None:
                return b""
            await self._wait()
        return self._take()

    async def read(self, *, limit: int) -> bytes:
        """Give the rest of the body at once. Raises UpstreamError when it is longer than `limit` bytes, or broke off."""
        self._room, self._gathering = limit, True
        if self._connection is not None:
            self._connection.resume()
        while self._connection is not None and self._unread <= limit:
            await self._wait()
        if self._unread > limit:
            self.close()
            self._error = UpstreamError(f"{self._name} sent an answer that is longer than the limit of {limit:,} bytes")
        if self._error is not None:
            raise self._error
        return self._take()

    def close(self) -> None:
        """Give the answer up. An answer that is not complete takes its connection with it, at once."""
        self._take()
        if self._connection is not None:
            self._connection.fail(UpstreamError(f"the answer of {self._name} was closed before its end"))

    def _take(self) -> bytes:
        pieces, self._pieces, self._unread = self._pieces, [], 0
        if self._connection is not None:
            self._connection.resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _wait(self) -> None:
        """Until something happens, which may be nothing of interest."""
        if self._waiter is not None:
            raise RuntimeError("another task reads this answer already")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = None

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Answer(Response):
    """A response while it is read off the wire: what the parser calls, and what it must not let pass."""

    def __init__(self, connection: _Connection, *, headless: bool) -> None:
        super().__init__(connection)
        self.complete = False
        self.heard = 0  # bytes
        self.keep_s = (
            connection.keep_alive_s
        )  # for how long the connection is good when the answer is complete; 0: not at all
        self.until_close = False
        self._heard_before = 0  # when it was last of use: at the end of the head, and at a piece of the body
        self._headless = headless  # the request was HEAD
        self._lines: list[tuple[bytes, bytes]] = []
        self._coding = b""
        self._inflate: zlib._Decompress | None = None
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self.heard += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self.complete:
                self.keep_s = 0.0  # what follows an answer is not ours to read
            elif isinstance(error.__context__, UpstreamError):
                raise error.__context__ from None
            else:
                raise UpstreamError(f"{self._name} sent something that is not HTTP/1.1: {error}") from error
        if self.heard - self._heard_before > LARGEST_HEAD and not self.complete:
            raise UpstreamError(f"{self._name} sent more than {LARGEST_HEAD:,} bytes of headers")

    def end(self) -> None:
        """The body is complete: its framing says so, or the connection of one that has none was closed."""
        if self._inflate is not None and not self._inflate.eof:
            raise UpstreamError(f"{self._name} sent a compressed answer that breaks off")
        self.complete = True

    def release(self) -> None:
        """Nothing more comes, for better or worse."""
        self._connection = None
        del self._parser  # it holds us as we hold it
        self.wake()

    def on_message_begin(self) -> None:
        if self.complete:
            self.keep_s = 0.0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        status, headers = self._parser.get_status_code(), self._lines
        self._lines = []  # of the next head, or of the trailers, which nobody reads
        if 100 <= status < 200 and status != 101:
            return
        if not 200 <= status < 600:
            raise UpstreamError(f"{self._name} answered with status {status}")
        if self.heard > LARGEST_HEAD and sum(len(name) + len(value) + 4 for name, value in headers) > LARGEST_HEAD:
            raise UpstreamError(f"{self._name} sent more than {LARGEST_HEAD:,} bytes of headers")
        framed = False
        for name, value in headers:
            if name not in _LOOKED_AT:
                continue
            if name == b"keep-alive":
                if promised := re.search(rb"timeout=(\d{1,6})", value):
                    self.keep_s = min(self.keep_s, 0.8 * int(promised[1]))  # it began to count before us
            elif name == b"content-encoding":
                self._coding = value.strip().lower()
            elif framed or (name == b"transfer-encoding" and value.strip().lower() != b"chunked"):
                raise UpstreamError(
                    f"{self._name} does not say clearly where its answer ends: {name.decode()}, {value[:100]!r}"
                )
            else:
                framed = True
        bodiless = self._headless or status in (204, 304)
        self.until_close = not framed and not bodiless
        self.complete = self._headless
        if not self._parser.should_keep_alive():
            self.keep_s = 0.0
        if bodiless or self._coding == b"identity":
            self._coding = b""
        elif self._coding in (b"gzip", b"x-gzip", b"deflate"):
            headers = [pair for pair in headers if pair[0] not in (b"content-encoding", b"content-length")]
        elif self._coding:
            raise UpstreamError(
                f"{self._name} sent content-encoding {self._coding[:100]!r}, which it was not asked for"
            )
        self._heard_before = self.heard
        self.headers, self.status = headers, status

    def on_body(self, data: bytes) -> None:
        if self.complete:  # of a HEAD, or of a second answer
            self.keep_s = 0.0
            return
        self._heard_before = self.heard
        piece = self._inflated(data) if self._coding else data
        if piece:
            self._pieces.append(piece)
            self._unread += len(piece)

    def on_message_complete(self) -> None:
        if self.status and not self.complete:  # and not the end of a 1xx
            self.end()

    def _inflated(self, data: bytes) -> bytes:
        if self._inflate is None:
            raw = self._coding == b"deflate" and data[0] & 15 != 8  # as some servers understand deflate
            self._inflate = zlib.decompressobj(-15 if raw else 47)
        try:
            piece = self._inflate.decompress(data, LARGEST_INFLATED + 1)
        except zlib.error as error:
            raise UpstreamError(f"{self._name} sent a damaged compressed answer: {error}") from error
        if len(piece) > LARGEST_INFLATED or self._inflate.unused_data:
            raise UpstreamError(
                f"{self._name} sent a compressed answer that becomes larger than it may, or goes on after its end"
            )
        return piece


class _Connection(asyncio.Protocol):
    """One connection to a server, or to a proxy. It carries one answer at a time, or waits in the client's pool."""

    def __init__(self, client: Client, url: Url, loop: asyncio.AbstractEventLoop) -> None:
        self.name = url.name
        self.origin = url.origin
        self.keep_alive_s = client.keep_alive_s
        self.deadline = _NEVER  # of the loop's clock: for the head, for the next piece, or in the pool
        self._client = client
        self._loop = loop
        self._transport: asyncio.Transport | None = None  # while it is open
        self._answer: _Answer | None = None
        self._timeouts = Timeouts()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER  # never after a deadline that may come up
        self._timer_step = _NEVER
        self._paused = False  # we read no more until the body is fetched
        self._clogged = False  # the transport asked us to write no more
        self._sending = False  # a large body

    async def ask(self, head: bytes, body: bytes, timeouts: Timeouts, *, headless: bool) -> Response:
        """Send a request, and return when the head of its answer has come."""
        transport, now = self._transport, self._loop.time()
        if transport is None:
            raise _Unanswered(f"{self.name} closed the connection without an answer")
        self._client.connections.add(self)  # not when it was made: uvloop does not tell when one is given up while made
        answer = self._answer = _Answer(self, headless=headless)
        self._timeouts = timeouts
        self._timer_step = min(timeouts.first_byte_s, timeouts.idle_s, self.keep_alive_s)
        self.deadline = now + timeouts.first_byte_s
        if self._timer_at > now + self._timer_step:
            self._set_timer(now)
        if len(body) <= _ONE_WRITE:
            transport.write(head + body)
        else:
            await self._send(transport, answer, head, body)
        while not answer.status:
            if answer._error is not None:
                raise answer._error
            await answer._wait()
        return answer

    async def _send(self, transport: asyncio.Transport, answer: Response, head: bytes, body: bytes) -> None:
        """Write a large body as fast as it is taken. An early answer, which will be a refusal, ends it."""
        self._sending = True
        transport.write(head)
        view = memoryview(body)
        for start in range(0, len(view), _STEP):
            transport.write(view[start : start + _STEP])
            self.deadline = self._loop.time() + self._timeouts.idle_s
            while self._clogged and not answer.status and answer._error is None:
                await answer._wait()
            if answer.status or answer._error is not None:
                return
        self._sending = False
        self.deadline = self._loop.time() + self._timeouts.first_byte_s

    def alive(self) -> bool:
        return self.deadline > self._loop.time() and self._transport is not None and not self._transport.is_closing()

    def resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self.deadline = self._loop.time() + self._timeouts.idle_s
            self._transport.resume_reading()

    def fail(self, error: UpstreamError) -> None:
        """End the answer with an error, and the connection with it."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer._error = error
            answer.release()
        self.drop()

    def drop(self) -> None:
        self._client.forget(self)
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    # -- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        with contextlib.suppress(OSError, AttributeError):  # routers forget connections that are silent for minutes
            known = transport.get_extra_info("socket")
            known.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            known.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:  # nobody asked
            self.drop()
            return
        headed = answer.status
        try:
            answer.feed(data)
        except UpstreamError as error:
            self.fail(error)
            return
        if answer.complete:
            self._finish(answer)
            return
        if answer.status:
            self.deadline = self._loop.time() + self._timeouts.idle_s
        if answer._unread > answer._room:
            if not answer._gathering and not self._paused and self._transport is not None:
                self._paused, self.deadline = True, _NEVER
                self._transport.pause_reading()
            answer.wake()
        elif not answer._gathering or not headed:
            answer.wake()

    def eof_received(self) -> None:
        answer = self._answer
        if answer is None or not answer.until_close:
            self._lost("")
            return
        try:
            answer.end()
        except UpstreamError as error:
            self.fail(error)
        else:
            self._finish(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._lost(f": {error}" if error else "")

    def pause_writing(self) -> None:
        self._clogged = True

    def resume_writing(self) -> None:
        self._clogged = False
        if self._answer is not None:
            self._answer.wake()

    # -- how it ends

    def _finish(self, answer: _Answer) -> None:
        """The answer is complete: the connection goes to the pool, if nothing speaks against it."""
        self.resume()
        self._answer = None
        if answer.keep_s > 0 and not self._sending:
            self.deadline = self._loop.time() + answer.keep_s
            self._client.keep(self)
        else:
            self.drop()
        answer.release()

    def _lost(self, reason: str) -> None:
        if self._answer is None:
            self.drop()
        elif self._answer.heard:
            self.fail(
                UpstreamError(
                    f"{self.name} closed the connection after {self._answer.heard:,} bytes of its answer{reason}"
                )
            )
        else:
            self.fail(_Unanswered(f"{self.name} closed the connection without an answer{reason}"))

    def _set_timer(self, now: float) -> None:
        """One timer serves many deadlines: when it is due it looks for the next one, instead of being set for each."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = min(self.deadline, now + self._timer_step)
        self._timer = self._loop.call_at(self._timer_at, self._look)

    def _look(self) -> None:
        self._timer, self._timer_at = None, _NEVER
        now, answer = self._loop.time(), self._answer
        if now < self.deadline:
            self._set_timer(now)
        elif answer is None:
            self.drop()
        elif answer.status:
            heard = f"after {answer.heard:,} bytes of its answer"
            self.fail(UpstreamTimeout(f"{self.name} fell silent for {self._timeouts.idle_s:g} s, {heard}"))
        elif self._sending:
            self.fail(UpstreamTimeout(f"{self.name} took nothing of the request for {self._timeouts.idle_s:g} s"))
        else:
            self.fail(UpstreamTimeout(f"{self.name} did not answer within {self._timeouts.first_byte_s:g} s"))


class _Tunnel(asyncio.Protocol):
    """The first words with a proxy, until it has connected us."""

    def __init__(self, url: Url, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[bytes] = loop.create_future()
        self._url = url
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        lines = f"CONNECT {self._url.name} HTTP/1.1\r\nhost: {self._url.name}\r\n{self._url.login}\r\n"
        cast("asyncio.Transport", transport).write(lines.encode("ascii"))

    def data_received(self, data: bytes) -> None:
        self._head += data
        if not self.answer.done() and (b"\r\n\r\n" in self._head or len(self._head) > LARGEST_HEAD):
            self.answer.set_result(self._head)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_result(self._head)


async def _open(
    make: Callable[[], _P], url: Url, timeouts: Timeouts, context: ssl.SSLContext | None
) -> tuple[asyncio.Transport, _P]:
    """Connect with the first of a name's addresses that answers, each in its share of the time.

    So a network without IPv6 costs some seconds at worst. Both loops have ways of their own: uvloop's leaves all of the
    time to the first address, and asyncio's may leave a socket open when its task is cancelled.
    """
    loop, (host, port) = asyncio.get_running_loop(), url.peer
    if is_number(url.host):  # which a proxy would be told
        check_peer(url.host, url.host)
    addresses = [host]
    if not is_number(host):
        families: dict[int, list[str]] = {}
        for family, _, _, _, place in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            families.setdefault(family, []).append(str(place[0]))
        by_turns = [address for several in zip_longest(*families.values()) for address in several if address]
        addresses = by_turns[:_MOST_ADDRESSES]
    for number, address in enumerate(addresses, 1):
        check_peer(address, host)
        share_s = timeouts.connect_s / len(addresses) if number < len(addresses) else None
        try:
            async with asyncio.timeout(share_s):
                return await loop.create_connection(
                    make, address, port, ssl=context, server_hostname=url.host if context else None
                )
        except OSError as error:  # as are TimeoutError and SSLError
            if number == len(addresses) or isinstance(error, ssl.SSLError):
                raise
    raise socket.gaierror(socket.EAI_NONAME, "it has none")


class Client:
    """Calls servers over HTTP/1.1 and keeps their connections. One per event loop, which need not run yet.

    ca_file: certificates of authorities to trust, besides those of the system.
    """

    def __init__(self, *, keep_alive_s: float = KEEP_ALIVE_S, ca_file: str = "") -> None:
        self.keep_alive_s = keep_alive_s
        self.connections: set[_Connection] = set()
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[str, dict[_Connection, None]] = {}
        self._closed = False

    async def request(
        self,
        method: str,
        url: Url,
        headers: bytes | Iterable[tuple[bytes, bytes]] = b"",
        body: bytes = b"",
        *,
        timeouts: Timeouts = Timeouts(),
    ) -> Response:
        """Send a request, and return when the head of its answer has come, whatever its status. Raises UpstreamError.

        headers: pairs, or what `header_lines` made of them. A task that is cancelled here closes the connection at once.
        """
        lines = headers if isinstance(headers, bytes) else header_lines(headers)
        length = b"content-length: %d\r\n\r\n" % len(body) if body or method not in ("GET", "HEAD") else b"\r\n"
        head = b"".join((method.encode("ascii"), url.start, lines, length))
        connection = self._kept(url.origin)
        if connection is not None:
            try:
                return await connection.ask(head, body, timeouts, headless=method == "HEAD")
            except _Unanswered:
                pass  # it was closed as it waited, and the request was not seen
        connection = await self._connect(url, timeouts)
        return await connection.ask(head, body, timeouts, headless=method == "HEAD")

    def close(self) -> None:
        """Close every connection at once, those of running answers too."""
        self._closed = True
        for connection in list(self.connections):
            connection.fail(UpstreamError(f"the connection to {connection.name} was closed with its client"))

    # -- what connections call

    def keep(self, connection: _Connection) -> None:
        idle = self._idle.setdefault(connection.origin, {})
        if len(idle) < MOST_IDLE and not self._closed:
            idle[connection] = None
        else:
            connection.drop()

    def forget(self, connection: _Connection) -> None:
        self.connections.discard(connection)
        self._idle.get(connection.origin, {}).pop(connection, None)

    # -- where connections come from

    def _kept(self, origin: str) -> _Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection, _ = idle.popitem()  # the last one in: the others may grow old and be closed
            if connection.alive():
                return connection
            connection.drop()
        return None

    async def _connect(self, url: Url, timeouts: Timeouts) -> _Connection:
        tunnel = url.proxy and url.scheme == "https"
        try:
            async with asyncio.timeout(timeouts.connect_s):
                connection = await (self._through(url, timeouts) if tunnel else self._straight(url, timeouts))
        except TimeoutError as error:
            raise UpstreamTimeout(f"no connection to {url.name} within {timeouts.connect_s:g} s") from error
        except ssl.SSLCertVerificationError as error:
            hint = "is the authority that signed it known here, as ca_file?"
            raise UpstreamError(
                f"the certificate of {url.name} is not valid: {error.verify_message}", hint=hint
            ) from error
        except ssl.SSLError as error:
            raise UpstreamError(f"no TLS with {url.name}: {error.reason or error}") from error
        except socket.gaierror as error:
            raise UpstreamError(f"no address is known for {url.peer[0]}: {error.strerror}") from error
        except ConnectionRefusedError as error:
            raise UpstreamError(f"{url.peer[0]}:{url.peer[1]} refused the connection") from error
        except OSError as error:
            raise UpstreamError(f"no connection to {url.name}: {error.strerror or error}") from error
        except NoServer as error:  # it is the settings that ask for it, and no caller
            raise UpstreamError(error.message, hint=error.hint) from error
        if self._closed:
            connection.drop()
            raise UpstreamError(f"the connection to {url.name} was closed with its client")
        return connection

    async def _straight(self, url: Url, timeouts: Timeouts) -> _Connection:
        loop, context = asyncio.get_running_loop(), self._context() if url.scheme == "https" else None
        _, connection = await _open(lambda: _Connection(self, url, loop), url, timeouts, context)
        return connection

    async def _through(self, url: Url, timeouts: Timeouts) -> _Connection:
        """Have a proxy connect us with a server, and speak TLS through it."""
        loop, context = asyncio.get_running_loop(), self._context()
        transport, tunnel = await _open(lambda: _Tunnel(url, loop), url, timeouts, None)
        try:
            head = await tunnel.answer
            if not re.match(rb"HTTP/1\.\d 2\d\d[ \r]", head) or not head.endswith(b"\r\n\r\n"):
                words = head.partition(b"\r\n")[0][:100].decode("ascii", "replace")
                raise UpstreamError(f"the proxy {url.peer[0]}:{url.peer[1]} did not connect to {url.name}: '{words}'")
            connection = _Connection(self, url, loop)
            secured = await loop.start_tls(transport, connection, context, server_hostname=url.host)
        except BaseException:
            transport.abort()
            raise
        connection.connection_made(cast("asyncio.BaseTransport", secured))
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            context = ssl.create_default_context()
            context.set_alpn_protocols(["http/1.1"])
            if self._ca_file:
                try:
                    context.load_verify_locations(self._ca_file)
                except OSError as error:
                    raise BadSetting(f"ca_file '{self._ca_file}' cannot be read: {error.strerror or error}") from error
            self._tls = context
        return self._tls


class Clients:
    """The clients of the event loops that call upstreams: one for each loop and set of certificates, made when it is needed."""

    def __init__(self) -> None:
        self._clients: dict[tuple[asyncio.AbstractEventLoop, str], Client] = {}

    def here(self, ca_file: str = "") -> Client:
        """The client of the running loop."""
        place = (asyncio.get_running_loop(), ca_file)
        found = self._clients.get(place)
        if found is None:
            found = self._clients[place] = Client(ca_file=ca_file)
        return found

    def close(self) -> None:
        """Close the connections of the running loop. Whoever ends a loop calls it before."""
        loop = asyncio.get_running_loop()
        for place in [place for place in self._clients if place[0] is loop]:
            self._clients.pop(place).close()
