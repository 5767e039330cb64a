"""Tools of other people's servers, under an allow-list: what they are said to do is pinned, and what they return is data.

A tool is called when the settings name it, somebody has accepted it as it describes itself, and it still describes itself so. A
server that changes a description or a schema, so that a model reads something else than the person who agreed, has that tool
switched off until it is accepted again. What a server says beyond that, such as that a tool only reads, is not believed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from penstock.agents.mcp_wire import Gone, over_http, over_pipes
from penstock.config import McpSettings
from penstock.errors import (
    BadRequest,
    Blocked,
    Conflict,
    MissingExtra,
    NotAllowed,
    NotFound,
    PenstockError,
    TooLarge,
    UpstreamError,
    UpstreamRefused,
    UpstreamResting,
    UpstreamTimeout,
)
from penstock.guard.tools import unfit
from penstock.storage.database import Database
from penstock.trace import log, quiet, span

if TYPE_CHECKING:
    import mcp_types as types
    from mcp import Client

    from penstock.guard.guard import Seen

__all__ = ["WITHHELD", "Offered", "Pin", "Pins", "Result", "Servers", "State", "described", "digest"]

MOST_TOOLS: Final = 1_000  # of one server
MOST_PAGES: Final = 50  # of its list of them
LARGEST_TOOL: Final = 100_000  # bytes of what it says of itself
LARGEST_ARGUMENTS: Final = 1 << 20  # bytes
FIRST_REST_S, LONGEST_REST_S = 0.5, 60.0  # after a server died: twice as long each time
BROKEN: Final = frozenset(
    {-32700, -32000, -32001}
)  # the SDK's codes for what came over the wire broken, late or not at all
WITHHELD: Final = "[withheld: the result gives orders to the model]"
STEPS = [
    """
    create table mcp_tools (
        server text not null, tool text not null, said text not null, at real not null, primary key (server, tool)
    ) strict, without rowid
    """,
]
State = Literal["accepted", "new", "changed", "not allowed", "gone"]


@dataclass(frozen=True, slots=True)
class Pin:
    """A tool as somebody has accepted it. said: all that a model may read of it, as `described` has it. at: Unix time."""

    server: str
    tool: str
    said: str
    at: float

    @property
    def digest(self) -> str:
        return digest(self.said)


class Pins:
    """What was accepted. Raises StorageError or Conflict where the database cannot be read or written."""

    def __init__(self, database: Database) -> None:
        self._database, self._migrated = database, False

    def all(self, server: str) -> dict[str, Pin]:
        self._migrate()
        rows = self._database.read(
            "select server, tool, said, at from mcp_tools where server = ? order by tool", (server,)
        )
        return {row[1]: Pin(*row) for row in rows}

    def accept(self, server: str, tool: str, said: str) -> None:
        self._migrate()
        with self._database.write() as w:
            w.execute("insert or replace into mcp_tools values (?, ?, ?, ?)", (server, tool, said, time.time()))

    def _migrate(self) -> None:
        if not self._migrated:
            self._database.migrate("mcp", STEPS)
            self._migrated = True


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool of a server, and how it stands here. description, schema: as it says now, and where it is accepted as it said then."""

    server: str
    name: str
    state: State
    writes: bool  # what the settings say; what is not marked counts as writing
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""  # all that it says of itself, as `described` has it
    accepted: str = ""  # what was accepted; "" for a new one


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool returned: data, whoever it claims to be from. text: what a model may read; structured: the same as JSON values,
    where the server gave them and nothing had to be cut off or withheld."""

    server: str
    tool: str
    text: str
    structured: Any = None
    failed: bool = False  # the tool says that it could not do it
    cut: bool = False  # there was more than `max_output_kb`
    withheld: bool = False  # it gives orders to the model, and the policy keeps that back


def described(tool: types.Tool) -> str:
    """All that a model may read of a tool, as JSON that is the same for the same words."""
    whole = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    kept = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
    said = {name: whole[name] for name in kept if name in whole}
    return json.dumps(said, sort_keys=True, separators=(",", ":"))  # in ASCII: what cannot be seen is seen here


def digest(said: str) -> str:
    return hashlib.sha256(said.encode()).hexdigest()


@dataclass(slots=True)
class _Link:
    """An open connection. It lives in a task of its own, in which the SDK's scopes begin and end."""

    client: Client
    closing: asyncio.Event
    gone: Gone


@dataclass(slots=True)
class _Standing:
    """How it goes with one server."""

    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    link: _Link | None = None
    failures: int = 0  # in a row
    rests_until: float = 0.0  # on the monotonic clock

    def fail(self) -> None:
        self.failures += 1
        self.rests_until = time.monotonic() + min(FIRST_REST_S * 2 ** (self.failures - 1), LONGEST_REST_S)


class Servers:
    """The servers of others that the settings name. Use it within one event loop, and close it there.

    look: what the guard sees in a text by a policy of that name, as the result of a tool.
    """

    def __init__(
        self, settings: Mapping[str, McpSettings], pins: Pins, *, folder: Path, look: Callable[[str, str], Seen]
    ) -> None:  # fmt: skip
        self._settings, self._pins, self._folder, self._look = settings, pins, folder, look
        self._standing: dict[str, _Standing] = {}
        self._keeping: set[asyncio.Task[None]] = set()  # one for each connection that is open, or is being closed

    async def list_tools(self, server: str) -> list[Offered]:
        """Every tool that a server has now, and those that were accepted and are gone, by name.

        Raises NotFound, UpstreamError and its kinds."""
        settings = self._of(server)
        async with self._within(server, settings):
            _, found = await self._listed(server, settings)
        pins = await asyncio.to_thread(self._pins.all, server)
        names = {tool.name for tool in found}
        rows = [self._offered(server, settings, tool, found, pins.get(tool.name)) for tool in found]
        gone = [_pinned(server, settings, pin, "gone") for name, pin in pins.items() if name not in names]
        return sorted([*{row.name: row for row in rows}.values(), *gone], key=lambda row: row.name)

    async def offered(self, server: str) -> list[Offered]:
        """The tools that may be called now, in the words that were accepted: what a model may be told of them."""
        return [one for one in await self.list_tools(server) if one.state == "accepted"]

    async def accept(self, server: str, tool: str, *, said: str, anyway: bool = False) -> None:
        """Pin a tool as it describes itself in `said`, which somebody has read.

        Raises NotAllowed for one that the settings do not name, Conflict where it says something else by now, and Blocked for a
        description that gives orders to the model, unless it is to be taken anyway."""
        settings = self._of(server)
        now = {one.name: one for one in await self.list_tools(server)}.get(tool)
        if now is None or now.state == "gone":
            raise NotFound(f"'{server}' has no tool '{tool[:100]}'")
        if now.state == "not allowed":
            raise NotAllowed(f"mcp.{server}.tools does not name '{tool[:100]}'", hint="add it there first")
        if now.said != said:
            raise Conflict(f"'{tool}' of '{server}' has changed while it was read", hint="look at it again")
        if not anyway and settings.guard != "off":
            words = "\n".join(_texts(json.loads(said)))
            if (await asyncio.to_thread(self._look, settings.guard, words)).stops:
                raise Blocked(
                    f"what '{tool}' of '{server}' says of itself gives orders to the model",
                    hint="--anyway takes it all the same",
                )
        await asyncio.to_thread(self._pins.accept, server, tool, said)

    async def call(self, server: str, tool: str, arguments: Mapping[str, Any]) -> Result:
        """Call a tool, once: what has gone wrong may have been done all the same, and is never tried again here.

        Raises NotFound, NotAllowed for a tool that is not in the allow-list or not accepted, Conflict for one that has changed,
        BadRequest for arguments that its schema does not allow, UpstreamError and its kinds."""
        settings = self._of(server)
        if tool not in settings.tools:
            allowed = ", ".join(settings.tools) or "none"
            raise NotAllowed(f"mcp.{server}.tools does not name '{tool[:100]}'", hint=f"it may call: {allowed}")
        accept = f"penstock mcp accept {server} {tool}"
        pin = (await asyncio.to_thread(self._pins.all, server)).get(tool)
        if pin is None:
            raise NotAllowed(f"nobody has accepted '{tool}' of '{server}' yet", hint=accept)
        _check_arguments(arguments, json.loads(pin.said).get("inputSchema"))
        with span("mcp", server=server):
            async with self._within(server, settings):
                link, found = await self._listed(server, settings)
                said = {described(one) for one in found if one.name == tool}
                if not said:
                    raise NotFound(f"'{server}' has no tool '{tool}' any more")
                if said != {pin.said}:
                    log("mcp.changed", level="warning", server=server)
                    raise Conflict(
                        f"'{tool}' of '{server}' describes itself differently than when it was accepted", hint=accept
                    )
                answer = await self._called(server, link, tool, arguments)
            self._standing_of(server).failures = 0
            return await self._read(server, tool, settings, answer)

    async def close(self) -> None:
        """End all connections, and the programs that were started for them."""
        for standing in self._standing.values():
            if standing.link:
                standing.link.closing.set()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        self._standing.clear()

    # ------------------------------------------------------------ what a server says

    def _of(self, server: str) -> McpSettings:
        if server not in self._settings:
            known = ", ".join(self._settings) or "none: add [mcp.NAME]"
            raise NotFound(f"there is no server '{server[:100]}' in the settings", hint=f"known: {known}")
        return self._settings[server]

    def _standing_of(self, server: str) -> _Standing:
        return self._standing.setdefault(server, _Standing())

    def _offered(
        self, server: str, settings: McpSettings, tool: types.Tool, found: Sequence[types.Tool], pin: Pin | None
    ) -> Offered:
        said = described(tool)
        if tool.name in settings.tools and pin is not None:
            if {described(one) for one in found if one.name == tool.name} == {pin.said}:  # a name may stand twice
                return _pinned(server, settings, pin, "accepted")
            state: State = "changed"
        else:
            state = "new" if tool.name in settings.tools else "not allowed"
        return Offered(
            server, tool.name, state, tool.name not in settings.reads, tool.description or "", tool.input_schema, said,
            pin.said if pin else "",
        )  # fmt: skip

    async def _listed(self, server: str, settings: McpSettings) -> tuple[_Link, list[types.Tool]]:
        """The tools as they are described now. A connection that has ended unseen is opened anew, once."""
        standing = self._standing_of(server)
        for again in (True, False):
            fresh = standing.link is None or standing.link.gone.is_set()
            link = await self._open(server, settings, standing)
            try:
                async with asyncio.timeout(settings.timeout / 2):  # who does not even answer this does not live
                    return link, await self._tools(server, link)
            except PenstockError:
                raise
            except Exception as error:  # the SDK's, of many kinds
                self._drop(standing, link)
                if fresh or not again or isinstance(error, TimeoutError):
                    standing.fail()
                    if isinstance(error, TimeoutError):
                        raise
                    raise self._failed(server, error, hint=link.gone.why) from error
        raise AssertionError

    async def _tools(self, server: str, link: _Link) -> list[types.Tool]:
        found: list[types.Tool] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await link.client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if len(found) > MOST_TOOLS:
                break
            if any(len(described(tool)) > LARGEST_TOOL for tool in page.tools):
                raise TooLarge(f"a tool of '{server}' says more than {LARGEST_TOOL:,} bytes of itself")
            if cursor is None:
                return found
        raise TooLarge(
            f"the list of tools of '{server}' does not end", hint=f"at most {MOST_TOOLS} on {MOST_PAGES} pages"
        )

    async def _called(self, server: str, link: _Link, tool: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
        """One call. Its result is not held against the schema that the server names for it: that would be a program of theirs."""
        import mcp_types as types
        from mcp import MCPError
        from pydantic import TypeAdapter

        kinds: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(
            types.CallToolResult | types.InputRequiredResult
        )
        asked = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=dict(arguments)))
        try:
            answer = await link.client.session.send_request(asked, kinds)
        except Exception as error:
            if link.gone.is_set():
                standing = self._standing_of(server)
                self._drop(standing, link)
                standing.fail()
                why = link.gone.why or "it has ended while it was asked"
                raise UpstreamError(f"'{server}': {why}; what was asked may have been done") from error
            if not isinstance(error, MCPError) or error.code in BROKEN:
                raise UpstreamError(
                    f"'{server}' gave no answer that can be read; what was asked may have been done"
                ) from error
            said = types.TextContent(type="text", text=error.message)  # its words are data too
            return types.CallToolResult(content=[said], is_error=True)
        if not isinstance(answer, types.CallToolResult):
            raise UpstreamRefused(f"'{tool}' of '{server}' asks back, and nobody answers it here")
        return answer

    async def _read(self, server: str, tool: str, settings: McpSettings, answer: types.CallToolResult) -> Result:
        text = "\n".join(_words(answer))
        structured = answer.structured_content
        if structured is not None and not text:
            text = json.dumps(structured, ensure_ascii=False)
        most = settings.max_output_kb << 10
        text, cut = _cut(text, most)
        if structured is not None and (cut or len(json.dumps(structured)) > most):
            structured, cut = None, True
        failed = bool(answer.is_error)
        if settings.guard != "off":
            words = text if structured is None else "\n".join((text, *_texts(structured)))
            if (await asyncio.to_thread(self._look, settings.guard, words)).stops:
                return Result(server, tool, WITHHELD, failed=failed, cut=cut, withheld=True)
        return Result(server, tool, text, structured, failed, cut)

    # ------------------------------------------------------------ connections

    @asynccontextmanager
    async def _within(self, server: str, settings: McpSettings) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(settings.timeout):
                yield
        except TimeoutError as error:
            raise UpstreamTimeout(
                f"'{server}' did not answer within {settings.timeout:g} s",
                hint=f"mcp.{server}.timeout says how long to wait",
            ) from error

    async def _open(self, server: str, settings: McpSettings, standing: _Standing) -> _Link:
        """The connection to a server. Raises UpstreamResting where it died a moment ago, UpstreamError where there is none."""
        async with standing.opening:
            if standing.link and standing.link.gone.is_set():
                self._drop(standing, standing.link)
            if standing.link:
                return standing.link
            rest = standing.rests_until - time.monotonic()
            if rest > 0:
                raise UpstreamResting(f"'{server}' has failed, and is left alone for {rest:.1f} s", retry_after_s=rest)
            try:
                standing.link = await self._begun(server, settings)
            except (PenstockError, asyncio.CancelledError):  # nobody waits longer for one that hangs
                standing.fail()
                raise
            return standing.link

    async def _begun(self, server: str, settings: McpSettings) -> _Link:
        try:
            import mcp_types as types
            from mcp import Client
        except ImportError as error:
            raise MissingExtra("the Model Context Protocol", extra="mcp") from error
        quiet("mcp")
        ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        closing, gone = asyncio.Event(), Gone()
        tail: list[str] = []
        wire = over_http(settings, gone) if settings.url else over_pipes(settings, self._folder, gone, tail)

        async def keep() -> None:
            try:
                about = types.Implementation(name="penstock", version=version("penstock"))
                async with Client(wire, cache=None, client_info=about) as client:
                    if not ready.done():
                        ready.set_result(client)
                    ends = [asyncio.create_task(event.wait()) for event in (closing, gone)]
                    try:
                        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for end in ends:
                            end.cancel()
            except BaseException as error:  # it is told to whoever waits, and a task ends here
                if not ready.done():
                    ready.set_exception(_cause(error))
                elif not isinstance(error, Exception | asyncio.CancelledError):
                    raise
            finally:
                gone.set()

        task = asyncio.create_task(keep())
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)
        try:
            client = await asyncio.shield(ready)
        except asyncio.CancelledError:  # whoever waited has had enough
            closing.set()
            task.cancel()
            ready.add_done_callback(lambda done: done.cancelled() or done.exception())
            with suppress(asyncio.CancelledError):
                await asyncio.shield(asyncio.gather(task, return_exceptions=True))
            raise
        except PenstockError:
            raise
        except Exception as error:
            said = self._harmless(server, _short(tail[-1])) if tail else ""
            raise self._failed(server, error, hint=f"it says: {said}" if said else "") from error
        return _Link(client, closing, gone)

    def _drop(self, standing: _Standing, link: _Link) -> None:
        link.closing.set()
        if standing.link is link:
            standing.link = None

    def _failed(self, server: str, error: BaseException, *, hint: str = "") -> PenstockError:
        """Somebody else's error as ours."""
        found = _cause(error)
        if isinstance(found, PenstockError):
            return found
        code = getattr(found, "code", None)
        words = self._harmless(server, _short(str(getattr(found, "message", "")) or str(found))) or type(found).__name__
        if isinstance(code, int) and -32_603 <= code <= -32_600:  # it was understood, and not liked
            return UpstreamRefused(f"'{server}' refused: {words}", status=502, hint=hint)
        return UpstreamError(f"'{server}' cannot be used: {words}", hint=hint)

    def _harmless(self, server: str, words: str) -> str:
        """Words of a server in an error of ours, which a model may come to read; "" where they give orders."""
        policy = self._settings[server].guard
        return "" if policy != "off" and self._look(policy, words).stops else words


# ---------------------------------------------------------------- small things


def _pinned(server: str, settings: McpSettings, pin: Pin, state: State) -> Offered:
    """A tool in the words that were accepted."""
    said = json.loads(pin.said)
    return Offered(
        server, pin.tool, state, pin.tool not in settings.reads, said.get("description", ""), said.get("inputSchema", {}), pin.said,
        pin.said,
    )  # fmt: skip


def _check_arguments(arguments: Mapping[str, Any], schema: Any) -> None:
    try:
        size = len(json.dumps(arguments, allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest("the arguments are not plain JSON") from error
    if size > LARGEST_ARGUMENTS:
        raise TooLarge(f"the arguments have {size:,} bytes, the limit is {LARGEST_ARGUMENTS:,}")
    if wrong := unfit(arguments, schema):
        raise BadRequest(wrong)


def _words(answer: types.CallToolResult) -> Iterator[str]:
    """What a model may read of a result. Nothing is fetched, and what is no text is named."""
    for block in answer.content:
        match block.type:
            case "text":
                yield block.text
            case "resource":
                yield getattr(block.resource, "text", "[left out: a file]")
            case "resource_link":
                yield f"[a link: {block.uri}]"
            case kind:
                yield f"[left out: {kind}]"


def _texts(value: Any) -> Iterator[str]:
    """Every text within JSON values, names too."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            stack += [*one.values(), *one]
        elif isinstance(one, list | tuple):
            stack += one


def _cut(text: str, most: int) -> tuple[str, bool]:
    """A text of at most so many bytes, and whether there was more of it."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return data.decode(), False
    return f"{data[:most].decode('utf-8', 'ignore')}\n[cut off: {most:,} of {len(data):,} bytes]", True


def _short(words: str) -> str:
    """Somebody else's words in a message of ours: one line, without what a terminal obeys."""
    line = " ".join(words.split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)[:300]


def _cause(error: BaseException) -> BaseException:
    """The one error within groups of them."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else ConnectionError("it ended at once")
