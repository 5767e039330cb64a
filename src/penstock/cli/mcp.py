"""`penstock mcp …`: the Model Context Protocol, both ways."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli import show
from penstock.config import Settings, load
from penstock.errors import BadRequest, NotFound, PenstockError
from penstock.storage.audit import who
from penstock.types import Caller, new_id

if TYPE_CHECKING:
    from penstock.agents.mcp_client import Offered, Servers
    from penstock.assemble import House
    from penstock.server.mcp_actions import AppTools

__all__ = ["mcp"]

T = TypeVar("T")
KEY = "PENSTOCK_KEY"  # the variable with the key of whoever asks over standard input
COLOURS = {"accepted": "green", "new": "yellow", "changed": "red", "gone": "red", "not allowed": "white"}
server_argument = click.argument("server")


@click.group(invoke_without_command=True)
@click.option(
    "--print-config",
    "printed",
    is_flag=False,
    flag_value="stdio",
    type=click.Choice(["stdio", "http"]),
    metavar="[stdio|http]",
    help="Print the lines for a client's settings (JSON), for this program or for a running server, and end.",
)
@click.pass_context
def mcp(context: click.Context, printed: str | None) -> None:
    """Serve a Model Context Protocol client over standard input and output: search, ask, verify, documents.

    Whoever holds the key in PENSTOCK_KEY is asking; without that, the owner of this machine. A running server offers the same
    at /mcp. The other verbs use servers of others, which [mcp.NAME] in the settings name.

    \b
    Examples:
      penstock mcp --print-config
      penstock mcp serve --app shop
      penstock mcp list
      penstock mcp call files read_file '{"path": "notes.txt"}'
    """
    if context.invoked_subcommand:
        return
    if printed:
        show.as_json({"mcpServers": {"penstock": _entry(load(context.obj, keys=False), printed)}})
        return
    _serve(context.obj)


def _entry(settings: Settings, kind: str) -> dict[str, Any]:
    if kind == "http":
        server = settings.server
        host = f"[{server.host}]" if ":" in server.host else server.host
        address = f"{'https' if server.tls_cert else 'http'}://{host}:{server.port}/mcp"
        return {"type": "http", "url": address, "headers": {"Authorization": "Bearer YOUR-KEY"}}
    program = shutil.which("penstock")
    command, start = (program, []) if program else (sys.executable, ["-m", "penstock"])
    if settings.file:
        return {"command": command, "args": [*start, "--config", str(settings.file), "mcp"]}
    return {"command": command, "args": [*start, "mcp"], "env": {"PENSTOCK_HOME": str(settings.home_path)}}


@mcp.command()
@click.option("--app", required=True, metavar="NAME", help="Whose actions are tools too.")
@click.option("--person", default="", metavar="ID", help="For whom they are asked for; without it, for a guest.")
@click.option(
    "--level",
    default="",
    metavar="LEVEL",
    help="How well it is known who that is: identified (the default) or verified.",
)
@click.pass_obj
def serve(file: str | None, app: str, person: str, level: str) -> None:
    """Serve a client as `penstock mcp` does, with the actions of an app beside.

    What changes something is put before the person by the client, where it can do that (elicitation); else it waits until they
    agree with `penstock actions confirm ID`. Whoever writes this line says for whom it is: no model does.
    """
    _serve(file, app, person=person, level=level)


def _serve(file: str | None, app: str = "", *, person: str = "", level: str = "") -> None:
    from penstock.assemble import assemble
    from penstock.server.mcp import Asking, serve_stdio

    key = os.environ.get(KEY, "")
    house = assemble(load(file, keys=bool(key)))
    try:
        caller = _holder(house, key) if key else _owner
        caller()  # a wrong key is told at once
        tools = _tools(house, app, caller, person=person, level=level, own=not key) if app else None
        if sys.stdin.isatty():
            click.echo("a client is expected on standard input: penstock mcp --print-config", err=True)
        asyncio.run(_until_told(serve_stdio(Asking(house, caller, app=tools)), house))
    finally:
        house.close()


def _tools(
    house: House, app: str, caller: Callable[[], Caller], *, person: str, level: str, own: bool
) -> AppTools:  # fmt: skip
    """An app's actions for this one client. own: whether the owner of this machine has started it, who may say for whom."""
    from dataclasses import replace

    from penstock.server.acting import Acting, acting
    from penstock.server.mcp_actions import PREFIX, AppTools

    conversation = f"{PREFIX}{new_id()}"

    def found() -> Acting:
        return replace(acting(house, app, caller(), person=person, level=level, trusted=own), conversation=conversation)

    found()  # what is wrong is told at once
    return AppTools(house, found, keyed=True)


async def _until_told(serving: Coroutine[Any, Any, None], house: House) -> None:
    """Serve until standard input is closed, or somebody ends us."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows ends us without asking
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sign, told.set)
    task, waiting = asyncio.create_task(serving), asyncio.create_task(told.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if told.is_set():
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)  # what runs is journalled as cancelled
        house.close()
        os._exit(0)  # a thread waits for standard input, and nothing ends it
    waiting.cancel()
    await task


def _owner() -> Caller:
    return Caller("owner")


def _holder(house: House, key: str) -> Callable[[], Caller]:
    """Who holds the key now: it may be taken back while the client goes on."""

    def found() -> Caller:
        with suppress(PenstockError):  # without the database, those that are known go on working
            house.keys.refresh()
            house.gateway.budgets.use_keys(house.keys.budgets)
        return house.keys.find(key.strip().encode())

    return found


# ---------------------------------------------------------------- servers of others


@mcp.command("list")
@click.argument("server", required=False)
@show.json_option
@click.pass_obj
def list_(file: str | None, server: str | None, as_json: bool) -> None:
    """List the tools of a SERVER, or of all that the settings name, and how they stand.

    `new`: in the allow-list, and nobody has accepted it. `changed`: it describes itself differently than when it was accepted, and
    is not called until somebody accepts it again. `gone`: the server has it no more.
    """

    async def listed(servers: Servers, house: House) -> list[Offered | PenstockError]:
        found: list[Offered | PenstockError] = []
        for name in [server] if server else list(house.settings.mcp):
            try:
                found += await servers.list_tools(name)
            except PenstockError as error:
                if server:
                    raise
                found.append(error)  # the others can be listed all the same
        return found

    rows = _with(file, listed)
    tools = [row for row in rows if not isinstance(row, PenstockError)]
    failed = [row for row in rows if isinstance(row, PenstockError)]
    if as_json:
        show.as_json(
            [{name: value for name, value in asdict(row).items() if name not in ("said", "accepted")} for row in tools]
        )
    elif not rows:
        click.echo("no servers yet: [mcp.NAME] in penstock.toml, with command or url", err=True)
    else:
        cells = [
            (
                row.server,
                row.name,
                row.state,
                "writes" if row.writes else "reads",
                " ".join(row.description.split())[:60],
            )
            for row in tools
        ]
        show.table(cells, ("server", "tool", "state", "marked", "says of itself"))
    for error in failed:
        click.echo(click.style(show.clean(str(error)), fg="yellow"), err=True)


@mcp.command()
@server_argument
@click.argument("tools", nargs=-1, metavar="[TOOL]...")
@click.option("--yes", is_flag=True, help="Do not ask: for scripts, of servers that somebody has read elsewhere.")
@click.option("--anyway", is_flag=True, help="Also a tool whose description gives orders to the model.")
@click.pass_obj
def accept(file: str | None, server: str, tools: tuple[str, ...], yes: bool, anyway: bool) -> None:
    """Accept what TOOLs of a SERVER say of themselves; without TOOL, all in its allow-list that are new or have changed."""

    async def accepted(servers: Servers, house: House) -> int:
        found = {row.name: row for row in await servers.list_tools(server)}
        wanted = [row for row in found.values() if row.state in ("new", "changed")]
        if tools:
            missing = next((tool for tool in tools if tool not in found), None)
            if missing is not None:
                raise NotFound(f"'{server}' has no tool '{missing}'", hint=f"it has {', '.join(found) or 'none'}")
            wanted = [found[tool] for tool in dict.fromkeys(tools) if found[tool].state != "accepted"]
        taken = 0
        for row in wanted:
            _show(row)
            if not yes and not click.confirm(f"Accept '{show.clean(row.name)}' of '{server}'?", err=True):
                continue
            await servers.accept(server, row.name, said=row.said, anyway=anyway)
            house.audit.write("tool.accepted", actor=who(), target=f"{server}/{row.name}", again=bool(row.accepted))
            taken += 1
        return taken

    count = _with(file, accepted)
    click.echo(f"{count} accepted" if count else "nothing was accepted")


def _show(row: Offered) -> None:
    """What a tool says of itself, and what has changed of it."""
    click.echo(f"{click.style(show.clean(row.name), bold=True)}: {row.state}")
    new, old = json.loads(row.said or "{}"), json.loads(row.accepted or "{}")
    for name in dict.fromkeys((*old, *new)):
        if old and old.get(name) != new.get(name):
            click.echo(click.style(f"  - {name}: {json.dumps(old.get(name))}", fg="red"))
            click.echo(click.style(f"  + {name}: {json.dumps(new.get(name))}", fg="green"))
        elif not old:
            click.echo(f"  {name}: {json.dumps(new[name])}")


@mcp.command()
@server_argument
@click.argument("tool")
@click.argument("arguments", default="{}", metavar="[JSON]")
@show.json_option
@click.pass_obj
def call(file: str | None, server: str, tool: str, arguments: str, as_json: bool) -> None:
    """Call a TOOL of a SERVER with the arguments in JSON; - reads them from standard input."""
    text = sys.stdin.read() if arguments == "-" else arguments
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the arguments are not valid JSON: {error}") from error
    if not isinstance(given, dict):
        raise BadRequest("the arguments must be a JSON object", hint='\'{"path": "notes.txt"}\'')

    async def called(servers: Servers, house: House) -> Any:
        return await servers.call(server, tool, given)

    result = _with(file, called)
    if as_json:
        show.as_json(asdict(result))
    else:
        click.echo(show.clean(result.text))
    if result.failed or result.withheld:
        click.get_current_context().exit(1)


def _with(file: str | None, work: Callable[[Servers, House], Awaitable[T]]) -> T:
    from penstock.assemble import assemble

    house = assemble(load(file, keys=False))

    async def done() -> T:
        servers = house.foreign()
        try:
            return await work(servers, house)
        finally:
            await servers.close()

    try:
        return asyncio.run(done())
    finally:
        house.close()
