"""The way to a server of others: a program of this machine, or an address. How much it may send at once is limited on either.

The SDK's own way to a program hands it a part of our environment, and reads a line of any length; this one does neither.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2

from penstock.config import McpSettings
from penstock.errors import NotFound

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

__all__ = ["MOST_BYTES", "Gone", "over_http", "over_pipes"]

MOST_BYTES: Final = 16 << 20  # of one message
TAIL: Final = 4_000  # bytes of what a program wrote to its standard error
CHUNK: Final = 65_536
GRACE_S: Final = 1.0  # for a program to end by itself, and again after it was asked to


class Gone(asyncio.Event):
    """Set when the other side has ended the connection, or had to be left. why: where we know."""

    why = ""


@asynccontextmanager
async def over_pipes(
    settings: McpSettings, folder: Path, gone: Gone, tail: list[str]
) -> AsyncIterator[TransportStreams]:
    """Start the program, and end it and all that it has started afterwards. It sees the variables that are named, and no others.

    tail: gets the last lines that it writes to its standard error. gone: is set when it closes its standard output. Raises NotFound
    for a program that is not there.
    """
    import anyio
    from mcp.shared.message import SessionMessage

    process = await _started(settings, folder)
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    if stdin is None or stdout is None or stderr is None:
        raise AssertionError("all three are pipes")
    given, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, taken = anyio.create_memory_object_stream[SessionMessage](0)

    async def read() -> None:
        import mcp_types as types

        rest = bytearray()
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            async with given:
                while chunk := await stdout.read(CHUNK):
                    rest += chunk
                    if len(rest) > MOST_BYTES:
                        gone.why = f"it sent more than {MOST_BYTES >> 20} MB at once"
                        break
                    if b"\n" not in chunk:
                        continue
                    *lines, left = bytes(rest).split(b"\n")
                    rest = bytearray(left)
                    for line in lines:
                        with suppress(ValueError):  # programs print all sorts of things
                            await given.send(
                                SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
                            )
                gone.set()

    async def write() -> None:
        with suppress(anyio.ClosedResourceError, OSError):
            async with taken:
                async for message in taken:
                    stdin.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                    await stdin.drain()

    async def listen() -> None:
        kept = b""
        while chunk := await stderr.read(CHUNK):
            kept = (kept + chunk)[-TAIL:]
            tail[:] = [line for line in kept.decode("utf-8", "replace").splitlines() if line.strip()]

    tasks = [asyncio.create_task(work()) for work in (read, write, listen)]
    try:
        yield incoming, outgoing
    finally:
        with anyio.CancelScope(shield=True):
            await _ended(process)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for stream in (given, incoming, outgoing, taken):
                stream.close()


async def _started(settings: McpSettings, folder: Path) -> asyncio.subprocess.Process:
    program = _program(settings.command, folder)
    if program is None:
        raise NotFound(
            f"there is no program '{settings.command}'", hint="an absolute path is found wherever we are started"
        )
    environment = {name: str(value) for name, value in settings.env.items()}
    if sys.platform == "win32":
        environment = {"SYSTEMROOT": os.environ.get("SYSTEMROOT", "")} | environment  # nothing starts without it
    pipe = asyncio.subprocess.PIPE
    try:
        return await asyncio.create_subprocess_exec(
            program, *settings.args, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=folder, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise NotFound(f"'{settings.command}' cannot be started: {error.strerror}") from error


def _program(command: str, folder: Path) -> str | None:
    """Where a program is: a path starts from the folder of the settings file, a name is looked for as a terminal does."""
    named = os.path.expanduser(command)
    return shutil.which(str(folder / named) if os.sep in named else named)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Close its standard input, then ask it to end, then end it, and all that it has started."""
    assert process.stdin
    process.stdin.close()
    for sign in (None, "SIGTERM", "SIGKILL"):
        if sign:
            with suppress(ProcessLookupError, PermissionError):
                if sys.platform == "win32":
                    process.kill()
                else:
                    os.killpg(process.pid, getattr(signal, sign))
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE_S)
            break
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what it has left behind
    getattr(process, "_transport").close()  # noqa: B009 - a pipe that a survivor holds is not waited for


@asynccontextmanager
async def over_http(settings: McpSettings, gone: Gone) -> AsyncIterator[TransportStreams]:
    """Ask an address. Redirects to elsewhere are not followed, and a response is limited in what it may hold."""
    from mcp.client.streamable_http import streamable_http_client

    headers = {name: str(value) for name, value in settings.headers.items()} | {"accept-encoding": "identity"}
    timeout = httpx2.Timeout(settings.timeout)
    limited = _Limited(httpx2.AsyncHTTPTransport())
    async with httpx2.AsyncClient(headers=headers, timeout=timeout, transport=limited) as client:
        try:
            async with streamable_http_client(
                settings.url, http_client=client, max_sse_event_size=MOST_BYTES, terminate_on_close=True
            ) as streams:
                yield streams
        finally:
            gone.set()


class _Limited(httpx2.AsyncBaseTransport):
    """Passes responses on, up to so many bytes. Packed ones are refused: nobody knows how large they are."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise httpx2.DecodingError("the response is packed, which was not asked for", request=request)
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            response.stream = _Counted(response.stream, request)  # of a stream each event is counted by itself
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, inner: Any, request: httpx2.Request) -> None:
        self._inner, self._request = inner, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > MOST_BYTES:
                raise httpx2.ReadError(f"more than {MOST_BYTES >> 20} MB at once", request=self._request)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
