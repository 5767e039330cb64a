"""`penstock translate`: a text in another language, by a translator of the settings."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from penstock.cli import show
from penstock.config import load
from penstock.language.described import Nobody, Translating, described, language_tag, named, the_one
from penstock.language.names import name_of
from penstock.language.terms import Glossary

__all__ = ["by_option", "glossary_option", "read_text", "tag", "translate", "translating"]

Said = Callable[[str, str], dict[str, Any]]
LOST = {"term": "the term", "verbatim": "what must stay word for word", "number": "the number", "date": "the date"}


def tag(context: click.Context, option: click.Parameter, value: str) -> str:
    """A code of a language, as an option."""
    return language_tag(value) if value else ""


by_option = click.option(
    "--by", default="", metavar="NAME", help="A `[translators.NAME]`; without it, the only one there is."
)
glossary_option = click.option(
    "--glossary", default="", metavar="NAME", help="Terms that stay as they are: a `[glossaries.NAME]`."
)


@click.command()
@click.argument("text", required=False)
@click.option("--to", "target", required=True, callback=tag, metavar="CODE", help="The language wanted, such as `de`.")
@click.option(
    "--from", "source", default="", callback=tag, metavar="CODE", help="The language of the text; without it, told."
)
@by_option
@glossary_option
@show.json_option
@click.pass_obj
def translate(
    file: str | None, text: str | None, target: str, source: str, by: str, glossary: str, as_json: bool
) -> None:
    """Translate a TEXT. Without TEXT, standard input is read.

    Numbers, dates, codes, addresses and the terms of a glossary stay; where one does not, a warning says so. What was
    translated before, or corrected by somebody, is not asked again: see `penstock translations`.

    \b
    Examples:
      penstock translate "Where is my parcel?" --to de
      penstock translate "Wo ist mein Paket?" --from de --to es --by deepl < letter.txt
    """
    words = read_text(text, 'penstock translate "…" --to de')
    source = source or described(words)["lang"]
    with translating(file, target, by=by, glossary=glossary) as said:
        found = said(words, source)
    if as_json:
        show.as_json({"from": source, "to": target, **found})
        return
    click.echo(show.clean(found["translation"]))
    if source.partition("-")[0] == target.partition("-")[0]:
        click.echo(click.style(f"it is in {name_of(target)} already", dim=True), err=True)
    for one in found.get("lost", ()):
        click.echo(click.style(f"not kept: {LOST[one['kind']]} {show.clean(one['text'])}", fg="yellow"), err=True)


@contextmanager
def translating(file: str | None, target: str, *, by: str, glossary: str) -> Iterator[Said]:
    """What translates a text from a language, on one event loop for all threads that ask it. Raises what `the_one` raises."""
    from penstock.assemble import assemble
    from penstock.language.translating import Careful

    settings = load(file, keys=False)
    chosen = the_one(settings.translators, by)
    if glossary:
        named("glossaries", settings.glossaries, glossary)
    house = assemble(settings)
    try:
        terms: Glossary = house.glossary(glossary)
        engine = house.engine(chosen) if chosen else Nobody()
        careful = Careful(engine, glossary=terms, memory=house.translations)
        asked = Translating(careful, terms, target)
        with _loop(house.clients.close) as loop:

            def said(text: str, source: str) -> dict[str, Any]:
                return asyncio.run_coroutine_threadsafe(asked.said([text], [source]), loop).result()[0]

            yield said
    finally:
        house.close()


@contextmanager
def _loop(ended: Callable[[], None]) -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own. ended: called on it at last."""

    async def end() -> None:
        ended()
        await loop.shutdown_default_executor()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="translating", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def read_text(given: str | None, example: str) -> str:
    """The text of the command line, or standard input. Half of a surrogate pair is no character."""
    if given is not None:
        return given.encode("utf-8", "replace").decode()
    if sys.stdin.isatty():
        raise click.UsageError(f"say a text: {example}")
    return sys.stdin.buffer.read().decode("utf-8", "replace")
