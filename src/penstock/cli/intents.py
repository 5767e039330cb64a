"""`penstock intents`: what texts want, learnt from a file of examples."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import click

from penstock.cli import show
from penstock.cli.rows import Row, answer_rows, text_of
from penstock.cli.translate import read_text, tag
from penstock.config import load
from penstock.language.intents import OTHER, Example, Intent, Intents, read_examples

__all__ = ["intents"]

MANY = 500  # examples from which on it takes long enough to keep what was learnt


@click.command()
@click.argument("examples", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("text", required=False)
@click.option(
    "--jsonl",
    type=click.File("rb"),
    metavar="FILE",
    help="Rows with `text`, answered in order; - reads standard input.",
)
@click.option(
    "--lang", "language", default="", callback=tag, metavar="CODE", help="The language of the texts; without it, told."
)
@show.json_option
def intents(examples: Path, text: str | None, jsonl: BinaryIO | None, language: str, as_json: bool) -> None:
    """Say what a TEXT wants, by a file of EXAMPLES for each intent. Without TEXT, standard input is read.

    EXAMPLES is JSON Lines with `text`, `intent` and perhaps `lang`, or TOML with a list of texts for each intent, in a table
    for each language. Five to ten for each are a good beginning. Examples of the intent `other` say what is none.

    A row of --jsonl comes back with `intent`, which may be `other`, `confidence` (0 to 1) and `lang`, the language whose
    examples decided; `nearest` is the intent that comes first, also where it is `other`, and `inside` the probability that the
    text belongs to any. What is learnt from 500 examples or more is kept in the home folder, unless content is encrypted.

    \b
    Examples:
      penstock intents intents.toml "Where is my parcel?"
      penstock intents intents.toml --jsonl mails.jsonl > sorted.jsonl
    """
    if jsonl and text is not None:
        raise click.UsageError("say what a TEXT wants or the rows of --jsonl, not both.")
    known = read_examples(examples)
    words = "" if jsonl else read_text(text, 'penstock intents EXAMPLES "…"')
    from penstock.encoder import shipped

    learnt = Intents(known, embedder=shipped(), keep=_folder(known))
    if jsonl:
        answer_rows(jsonl, lambda row: _answered(learnt, row, language), unit="text")
        return
    found = learnt.of(words, language=language)
    if as_json:
        show.as_json(_said(found))
        return
    colour = "yellow" if found.name == OTHER else None
    click.echo(f"{click.style(show.clean(found.name), bold=True, fg=colour)}  {found.confidence:.0%}")


def _answered(learnt: Intents, row: Row, language: str) -> Row:
    text = text_of(row, "text")
    found = learnt.of(text, language=text_of(row, "lang", needed=False) or language)
    return row | {"text": text} | _said(found)


def _said(found: Intent) -> Row:
    return {
        "intent": found.name,
        "confidence": round(found.confidence, 4),
        "lang": found.language,
        "nearest": found.nearest,
        "inside": round(found.inside, 4),
    }


def _folder(known: list[Example]) -> Path | None:
    settings = load(keys=False) if len(known) >= MANY else None
    return settings.home_path / "intents" if settings and not settings.encryption.content else None
