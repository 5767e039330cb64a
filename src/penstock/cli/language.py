"""`penstock language`: which language a text is in, and rows of texts with their translations."""

from __future__ import annotations

from contextlib import nullcontext
from typing import BinaryIO

import click

from penstock.cli import show
from penstock.cli.rows import Row, answer_rows, text_of
from penstock.cli.translate import Said, by_option, glossary_option, read_text, tag, translating
from penstock.errors import PenstockError
from penstock.language.described import described, known_languages, language_tag
from penstock.language.names import name_of

__all__ = ["language"]

AT_ONCE = 8  # translations that are waited for


@click.command()
@click.argument("text", required=False)
@click.option(
    "--jsonl", type=click.File("rb"), metavar="FILE", help="Rows with `text`, told in order; - reads standard input."
)
@click.option(
    "--among",
    default="",
    metavar="CODES",
    help="The only languages that it can be, such as `en,de,es`; without it, any.",
)
@click.option("--stretches", is_flag=True, help="Where the language changes within a text, too.")
@click.option(
    "--to", "target", default="", callback=tag, metavar="CODE", help="Translate the rows of --jsonl, such as to `de`."
)
@by_option
@glossary_option
@show.json_option
@click.pass_obj
def language(
    file: str | None, text: str | None, jsonl: BinaryIO | None, among: str, stretches: bool, target: str, by: str,
    glossary: str, as_json: bool,
) -> None:  # fmt: skip
    """Tell which language a TEXT is in. Without TEXT, standard input is read.

    A row of --jsonl comes back with `lang` (ISO 639-1, empty where there is nothing to go by), `confidence` (0 to 1),
    `script` and `sure`; with --stretches with `spans`, [start, end, lang] each; with --to with `translation`. A `lang` that
    a row has is then the one it is translated from. A row that is in the wanted language already stays as it is.

    \b
    Examples:
      penstock language "Wo ist mein Paket?"
      penstock language --jsonl mails.jsonl --among en,de,es > told.jsonl
      penstock language --jsonl mails.jsonl --to en --by deepl > translated.jsonl
    """
    languages = known_languages([code for code in among.replace(",", " ").split() if code])
    if jsonl:
        if text is not None:
            raise click.UsageError("tell the language of a TEXT or of the rows of --jsonl, not both.")
        with translating(file, target, by=by, glossary=glossary) if target else nullcontext() as said:
            answer_rows(
                jsonl, lambda row: _told(row, languages, stretches, said), unit="text", threads=AT_ONCE if said else 1
            )
        return
    if target or by or glossary:
        raise click.UsageError("--to, --by and --glossary go with --jsonl; for one text: penstock translate.")
    words = read_text(text, 'penstock language "…"')
    found = described(words, among=languages, stretches=stretches)
    if as_json:
        show.as_json(found | {"name": name_of(found["lang"]) if found["lang"] else ""})
        return
    click.echo(_line(found))
    for start, end, code in found.get("spans", ()):
        click.echo(f"  {start}-{end}  {code}  {show.clean(' '.join(words[start:end].split()))}")


def _told(row: Row, languages: tuple[str, ...], stretches: bool, said: Said | None) -> Row:
    text = text_of(row, "text")
    found = described(text, among=languages, stretches=stretches)
    if said is None:
        return row | {"text": text} | found
    if given := text_of(row, "lang", needed=False):
        found |= {"lang": language_tag(given), "confidence": 1.0, "sure": True}
    try:
        return row | {"text": text} | found | said(text, found["lang"])
    except PenstockError as error:  # the language is told all the same
        return row | {"text": text} | found | error.body()


def _line(found: Row) -> str:
    if not found["lang"]:
        return "no language can be told: there is nothing to go by"
    code = found["lang"]
    guess = "" if found["sure"] else click.style("unsure, perhaps ", fg="yellow")
    script = f"  {found['script']}" if found["script"] else ""
    return f"{guess}{click.style(name_of(code), bold=True)} ({code})  {found['confidence']:.0%}{script}"
