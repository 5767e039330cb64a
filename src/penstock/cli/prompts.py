"""`penstock prompts …`: what apps' models are told, in versions."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli import show
from penstock.config import Settings, load
from penstock.errors import NotFound
from penstock.prompts import Prompt, Prompts, Version, read_prompt
from penstock.storage.database import Database

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["prompts"]

DRAFT = "draft"


@contextmanager
def _open(file: str | None) -> Iterator[tuple[Settings, Prompts]]:
    settings = load(file, keys=False)
    settings.home_path.mkdir(parents=True, exist_ok=True)
    with closing(Database(settings.home_path / "penstock.db")) as database:
        yield settings, Prompts(database)


def _draft(settings: Settings, name: str) -> Prompt:
    """The prompt in its file. Raises NotFound where the settings name none."""
    said = settings.prompts.get(name)
    if said is None or not said.file:
        known = ", ".join(n for n, p in settings.prompts.items() if p.file) or "none yet"
        raise NotFound(
            f"there is no file for the prompt '{name}'",
            hint=f'[prompts.{name}] file = "prompts/{name}.toml"; known: {known}',
        )
    return read_prompt(settings.folder / Path(said.file).expanduser())


def _one(settings: Settings, library: Prompts, name: str, which: str) -> tuple[str, Prompt]:
    """A version by its number, `live`, or `draft`: the file."""
    if which == DRAFT:
        return DRAFT, _draft(settings, name)
    if which == "live":
        if live := library.live(name):
            return live.label, live.prompt
        return DRAFT, _draft(settings, name)
    number = which.removeprefix("v")
    if not number.isascii() or not number.isdigit():
        raise click.UsageError(f"'{which}' is no version: v1, v2, …, live or draft.")
    found = library.version(name, int(number))
    return found.label, found.prompt


def _names(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in load(None, keys=False).prompts if name.startswith(begun)]


name_argument = click.argument("name", shell_complete=_names)


@click.group()
def prompts() -> None:
    """Keep what apps' models are told in versions: publish, compare, roll back.

    A prompt is a TOML file that `[prompts.NAME]` names, and `prompt = "NAME"` in an app uses it: the version that was published
    last, or the file as it is before the first.

    \b
    Examples:
      penstock prompts publish support --note "shorter answers"
      penstock prompts diff support
      penstock prompts rollback support
    """


@prompts.command("list")
@show.json_option
@click.pass_obj
def list_(file: str | None, as_json: bool) -> None:
    """Show every prompt with its live version, and whether its file differs."""
    with _open(file) as (settings, library):
        rows: list[dict[str, Any]] = []
        for name in sorted({*settings.prompts, *library.names()}):
            live, said = library.live(name), settings.prompts.get(name)
            draft = _draft(settings, name) if said and said.file else None
            state = (
                ""
                if draft is None
                else "the file is live"
                if live and live.prompt.hash == draft.hash
                else "the file differs"
            )
            apps = [app for app, its in settings.apps.items() if its.prompt == name]
            rows.append({
                "name": name, "live": live.label.rpartition("@")[2] if live else "", "versions": len(library.versions(name)),
                "file": said.file if said else "", "state": state, "apps": apps,
            })  # fmt: skip
    if as_json:
        show.as_json(rows)
    elif not rows:
        click.echo('there is no prompt yet: [prompts.NAME] file = "prompts/NAME.toml" in penstock.toml')
    else:
        show.table(
            [(r["name"], r["live"] or "none", r["versions"], r["state"], ", ".join(r["apps"])) for r in rows],
            ("prompt", "live", "versions", "", "apps"),
        )


@prompts.command()
@name_argument
@show.json_option
@click.pass_obj
def versions(file: str | None, name: str, as_json: bool) -> None:
    """Show the versions of a prompt, the newest first."""
    with _open(file) as (_, library):
        found = library.versions(name)[::-1]
    if as_json:
        show.as_json([_plain(one) for one in found])
    elif not found:
        click.echo(f"'{name}' has no version yet: penstock prompts publish {name}")
    else:
        show.table(
            [(f"v{one.number}", "live" if one.live else "", _time(one.at), one.prompt.hash, one.note) for one in found],
            ("version", "", "published", "hash", "note"),
        )


@prompts.command("show")
@name_argument
@click.argument("version", default="live")
@click.option("--language", default="", metavar="CODE", help="As it is told in a language.")
@show.json_option
@click.pass_obj
def show_(file: str | None, name: str, version: str, language: str, as_json: bool) -> None:
    """Show a version of a prompt: v1, v2, …, live or draft, which is the file."""
    with _open(file) as (settings, library):
        label, prompt = _one(settings, library, name, version)
    if as_json:
        import json

        show.as_json({"name": name, "version": label, "hash": prompt.hash, **json.loads(prompt.body())})
    elif language:
        click.echo(prompt.told(language))
    else:
        click.echo(click.style(f"{name} {label.rpartition('@')[2]}, {prompt.hash}", dim=True), err=True)
        click.echo("\n".join(prompt.lines()))


@prompts.command()
@name_argument
@click.argument("old", default="live")
@click.argument("new", default=DRAFT)
@click.pass_obj
def diff(file: str | None, name: str, old: str, new: str) -> None:
    """Compare two versions of a prompt line by line; without them, the live one with the file. Ends with 1 where they differ."""
    with _open(file) as (settings, library):
        (before, a), (after, b) = _one(settings, library, name, old), _one(settings, library, name, new)
    lines = list(difflib.unified_diff(a.lines(), b.lines(), before, after, lineterm="", n=2))
    for line in lines:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[0])
        click.echo(click.style(line, fg=colour))
    if lines:
        raise SystemExit(1)
    click.echo("they are the same", err=True)


@prompts.command()
@name_argument
@click.option("--note", default="", help="Why, for whoever reads the list.")
@show.json_option
@click.pass_obj
def publish(file: str | None, name: str, note: str, as_json: bool) -> None:
    """Make a version of a prompt's file and make it live. Running servers use it with the next question."""
    with _open(file) as (settings, library):
        before = library.live(name)
        found = library.publish(name, _draft(settings, name), note=note)
    if as_json:
        show.as_json(_plain(found))
    elif before and before.number == found.number:
        click.echo(f"{found.label} says the same and is live")
    else:
        click.echo(f"{found.label} is live" + (f"; {before.label} was" if before else ""))


@prompts.command()
@name_argument
@click.argument("version", default="")
@show.json_option
@click.pass_obj
def rollback(file: str | None, name: str, version: str, as_json: bool) -> None:
    """Make an earlier version live: the one before, or the one you name."""
    number = version.removeprefix("v")
    if number and not (number.isascii() and number.isdigit()):
        raise click.UsageError(f"'{version}' is no version: v1, v2, …")
    with _open(file) as (_, library):
        found = library.roll_back(name, int(number or 0))
    if as_json:
        show.as_json(_plain(found))
    else:
        click.echo(f"{found.label} is live")


def _plain(one: Version) -> dict[str, object]:
    return {
        "name": one.name, "version": f"v{one.number}", "live": one.live, "at": one.at, "note": one.note, "hash": one.prompt.hash,
    }  # fmt: skip


def _time(unix: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix))
