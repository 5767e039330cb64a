"""`penstock translations …`: what was translated before, what people made of it, and taking it to another home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO, NamedTuple

import click

from penstock.cli import show
from penstock.cli.translate import tag
from penstock.config import load
from penstock.errors import BadRequest, NotFound
from penstock.language.described import language_tag
from penstock.language.memory import Memory, Remembered
from penstock.storage.audit import who
from penstock.storage.database import Database

__all__ = ["translations"]


@contextmanager
def _open(file: str | None) -> Iterator[Memory]:
    """The translations of the home that the settings name."""
    home = load(file, keys=False).home_path
    home.mkdir(parents=True, exist_ok=True)
    with closing(Database(home / "penstock.db")) as database:
        yield Memory(database)


source_option = click.option(
    "--from", "source", required=True, callback=tag, metavar="CODE", help="The language of the original."
)
target_option = click.option(
    "--to", "target", required=True, callback=tag, metavar="CODE", help="The language of the translation."
)
corrections_option = click.option("--corrections", is_flag=True, help="Only what people corrected.")


@click.group()
def translations() -> None:
    """See what was translated, correct it, take it elsewhere.

    A text that was translated once is not asked again. What somebody corrected is what it becomes from then on, whatever an
    engine says.

    \b
    Examples:
      penstock translations correct "return label" "Rücksendeetikett" --from en --to de
      penstock translations export --corrections > corrections.jsonl
    """


@translations.command("list")
@corrections_option
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Most translations to show.")
@show.json_option
@click.pass_obj
def list_(file: str | None, corrections: bool, limit: int, as_json: bool) -> None:
    """List what is remembered, the latest first."""
    with _open(file) as memory:
        found = memory.all(corrected=corrections)[:limit]
    if as_json:
        show.as_json([_plain(one) for one in found])
        return
    if not found:
        click.echo("nothing was corrected" if corrections else "nothing was translated")
        return
    rows = [
        (one.source, one.target, _short(one.original), _short(one.translation), one.engine + " *" * one.corrected)
        for one in found
    ]
    show.table(rows, ("from", "to", "original", "translation", "by"))
    if any(one.corrected for one in found):
        click.echo(click.style("* corrected", dim=True), err=True)


@translations.command()
@click.argument("original")
@click.argument("translation")
@source_option
@target_option
@click.pass_obj
def correct(file: str | None, original: str, translation: str, source: str, target: str) -> None:
    """Say what an ORIGINAL becomes from now on: the TRANSLATION."""
    if not original.strip() or not translation.strip():
        raise click.UsageError("neither the original nor its translation can be empty.")
    with _open(file) as memory:
        memory.correct(_whole(original), _whole(translation), source=source, target=target, by=who())


@translations.command()
@click.argument("original")
@source_option
@target_option
@click.pass_obj
def forget(file: str | None, original: str, source: str, target: str) -> None:
    """Forget what an ORIGINAL became: it is translated anew."""
    with _open(file) as memory:
        if not memory.forget(_whole(original), source=source, target=target):
            raise NotFound(f"there is no such translation from {source} to {target}", hint="penstock translations list")


@translations.command("export")
@click.argument("to", type=click.File("w", encoding="utf-8", atomic=True), default="-", metavar="[FILE]")
@corrections_option
@click.pass_obj
def export(file: str | None, to: Any, corrections: bool) -> None:
    """Write what is remembered as JSON Lines, for another home or to undo what comes."""
    with _open(file) as memory:
        for one in memory.all(corrected=corrections):
            click.echo(json.dumps(_plain(one), ensure_ascii=False), to)


@translations.command("import")
@click.argument("rows", type=click.File("rb"), metavar="FILE")
@click.pass_obj
def import_(file: str | None, rows: BinaryIO) -> None:
    """Remember the translations of a FILE that was exported; - reads standard input.

    Corrections in it replace what is there, other translations do not replace corrections. A file with a row that is none
    changes nothing.
    """
    read = [_read(number, line) for number, line in enumerate(rows, 1) if line.strip()]
    made: dict[tuple[str, str, str], dict[str, str]] = {}
    with _open(file) as memory:
        for one in reversed(read):  # the latest comes first in a file, and last here
            if one.corrected:
                memory.correct(one.original, one.translation, source=one.source, target=one.target, by=one.engine)
            else:
                made.setdefault((one.source, one.target, one.engine), {})[one.original] = one.translation
        for (source, target, engine), translated in made.items():
            memory.keep(translated, source=source, target=target, engine=engine)
    corrected = sum(one.corrected for one in read)
    click.echo(f"{len(read)} translations, {corrected} of them corrected", err=True)


class _Row(NamedTuple):
    """One line of a file, checked."""

    source: str
    target: str
    original: str
    translation: str
    engine: str
    corrected: bool


def _plain(one: Remembered) -> dict[str, Any]:
    return {
        "from": one.source,
        "to": one.target,
        "original": one.original,
        "translation": one.translation,
        "by": one.engine,
        "corrected": one.corrected,
        "at": datetime.fromtimestamp(one.at, UTC).isoformat(timespec="seconds"),
    }


def _read(number: int, line: bytes) -> _Row:
    """Raises BadRequest with the number of the line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"line {number} is not JSON", hint="penstock translations export writes such files") from error
    names = ("from", "to", "original", "translation")
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) and row[name].strip() for name in names):
        raise BadRequest(f"line {number} must have the texts {', '.join(names)}")
    by, corrected = row.get("by", "import"), row.get("corrected", False)
    if not isinstance(by, str) or not isinstance(corrected, bool):
        raise BadRequest(f"line {number}: `by` must be a text, `corrected` true or false")
    source, target, *texts = (_whole(row[name]) for name in names)
    return _Row(language_tag(source), language_tag(target), texts[0], texts[1], _whole(by), corrected)


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair is no character


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:39]}…"
