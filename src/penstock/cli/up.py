"""`penstock up`: index what there is, and serve it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import click

from penstock.assemble import SAMPLE
from penstock.cli import show
from penstock.config import FILE_NAME, Settings, load
from penstock.errors import PenstockError

if TYPE_CHECKING:
    from penstock.assemble import House

__all__ = ["up"]

SAMPLE_QUESTIONS = ("How do I go back to an earlier version of the index?", "What is the capital of France?")


class Example(NamedTuple):
    """Of a request that is shown to whoever starts the server."""

    model: str
    question: str


@click.command()
@click.argument("places", nargs=-1)
@click.option("--host", help="Address to bind, instead of the one in the settings.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="Port, instead of the one in the settings; the next free one is taken.",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), help="Processes that serve, instead of the number in the settings."
)
@click.option("--demo", is_flag=True, help="Index Penstock's own documentation and ask it two questions first.")
@click.option(
    "--serve/--no-serve", default=True, help="Start the server, or stop when everything is indexed.", show_default=True
)
@click.pass_obj
def up(
    file: str | None,
    places: tuple[str, ...],
    host: str | None,
    port: int | None,
    workers: int | None,
    demo: bool,
    serve: bool,
) -> None:
    """Index your documents and serve them on this machine.

    PLACES are files, folders or web pages; without any, the collections in the settings. With nothing at all,
    Penstock's own documentation is indexed, so that there is something to ask. A single folder that has a penstock.toml
    of its own, as `penstock new` makes them, is served with these settings.
    """
    from penstock.assemble import assemble
    from penstock.documents.sources import existing
    from penstock.server.access import check_binding

    existing(places)  # before anything is made for them
    if own := _own_settings(file, places):
        click.echo(f"serving {own}", err=True)
        file, places = str(own.expanduser()), ()
    settings = _with_address(load(file), host, port, workers)
    house = assemble(settings)
    if house.database.path.exists():
        house.keys.refresh()
    check_binding(settings, house.keys)
    names = _index(house, places, demo=demo)
    if demo or names == [SAMPLE]:
        _demonstrate(house)
    if serve:
        _serve(house, names)


def _own_settings(file: str | None, places: Sequence[str]) -> Path | None:
    """The settings file in the one folder that is served, where nobody named another."""
    from penstock.documents.sources import is_web, resolved

    if file or os.environ.get("PENSTOCK_CONFIG") or len(places) != 1 or is_web(places[0]):
        return None
    return Path(places[0]) / FILE_NAME if Path(resolved(places[0]), FILE_NAME).is_file() else None


def _with_address(settings: Settings, host: str | None, port: int | None, workers: int | None) -> Settings:
    server = settings.server
    server = replace(
        server,
        host=host or server.host,
        port=server.port if port is None else port,
        workers=workers or server.workers,
    )
    return replace(settings, server=server)


def _index(house: House, places: Sequence[str], *, demo: bool) -> list[str]:
    """Bring every collection up to date. Returns the names of those that can be asked."""
    from penstock.assemble import samples

    if not (places or demo or house.has_documents) and (house.settings.models or house.bots):
        return []  # a plain gateway, or bots without documents
    library = house.library
    chosen = library.named_for(places) if places else ""
    if chosen:
        library.create(chosen)
    if demo or not library.names():
        library.create(SAMPLE)
    for name in library.names():
        collection = library[name]
        added = places if name == chosen else [str(samples())] if name == SAMPLE else []
        try:
            with show.Bar() as bar:
                report = collection.add(added, progress=bar) if added else collection.sync(progress=bar)
        except PenstockError as error:  # the version that is live goes on answering
            click.echo(click.style(f"{name}: {error.message}", fg="yellow"), err=True)
            continue
        show.report(report, name=name)
    return library.names()


def _demonstrate(house: House) -> None:
    import asyncio

    from penstock.answer import whole
    from penstock.types import Turn

    for question in SAMPLE_QUESTIONS:
        click.echo(f"\n{click.style('?', fg='cyan')} {click.style(question, bold=True)}")
        show.answer(asyncio.run(whole(house.answerer(SAMPLE).stream(Turn(question)))), question)


def _serve(house: House, names: Sequence[str]) -> None:
    from penstock.server.run import free_socket, serve

    server = house.settings.server
    listener = free_socket(server.host, server.port, shared=server.workers > 1)
    port = listener.getsockname()[1]
    if server.port not in (0, port):
        click.echo(click.style(f"\nport {server.port} is taken, using {port}", fg="yellow"), err=True)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104  what a browser can open
    shown = f"[{host}]" if ":" in host else host
    address = f"{'https' if server.tls_cert else 'http'}://{shown}:{port}"
    bots = house.bots  # first: whoever has one came for it
    known = [*bots, *names, *house.settings.routes, *house.served_models]
    model = SAMPLE if SAMPLE in names else known[0] if known else "NAME"
    asked = house.settings.apps[model].questions if model in bots else SAMPLE_QUESTIONS[:1] if model == SAMPLE else ()
    example = Example(model, asked[0] if asked else "Hello" if model in bots else "…")
    widgets = [f"/widget/{name}/try" for name in house.settings.widgets]
    welcome = _welcome(address, example, keys=house.keys.needed, console=_console(house), widgets=widgets, bots=bots)

    def started() -> None:
        click.echo(welcome)

    if server.workers > 1:
        from penstock.server.workers import listeners, serve_many

        serve_many(house, listeners(listener, server.workers), started=started)
    else:
        serve(house, listener, started=started)


def _console(house: House) -> str:
    """The path of the console, with what signs in whoever sees it here, once. In a log that many read it is not written down."""
    from penstock.config import is_loopback
    from penstock.server.sessions import ONCE_S, Sessions

    server = house.settings.server
    reachable = not is_loopback(server.host) or server.public_hosts or house.settings.login.address
    if reachable and not sys.stdout.isatty():
        return "/console"
    try:
        return f"/console/sign-in?once={Sessions(house).once(for_s=ONCE_S)}"
    except PenstockError:  # without a database a key signs in too
        return "/console"


def _welcome(
    address: str, example: Example, *, keys: bool, console: str, widgets: Sequence[str], bots: Sequence[str]
) -> str:
    key = "YOUR-KEY" if keys else "none"
    header = ' -H "authorization: Bearer YOUR-KEY"' if keys else ""
    once = " (this link signs you in, once)" if "once=" in console else ""
    tries = "".join(f"\nA widget to try: {_link(address + path)}" for path in widgets)
    chats = "".join(
        f"\nThe chat with {name}: {_link(f'{address}/?ask={quote(name)}')}\nOn a phone: {_link(f'{address}/app/{quote(name)}')}"
        for name in bots
    )
    model, message = example.model, json.dumps({"role": "user", "content": example.question}, ensure_ascii=False)
    body = f'{{"model": "{model}", "messages": [{message}]}}'
    return f"""
{click.style("Penstock is up:", bold=True)} {_link(address)}
Its console{once}: {_link(address + console)}{chats}{tries}

  curl {address}/v1/chat/completions{header} -H "content-type: application/json" \\
    -d {shlex.quote(body)}

  from openai import OpenAI
  client = OpenAI(base_url="{address}/v1", api_key="{key}")
  print(client.chat.completions.create(model="{model}", messages=[{message}]).choices[0].message.content)

Ctrl-C stops."""


def _link(address: str) -> str:
    return click.style(address, fg="cyan", underline=True)
