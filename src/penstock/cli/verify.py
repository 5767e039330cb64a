"""`penstock verify`: whether what a text says is in its sources."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from penstock.cli import show
from penstock.cli.rows import Row, answer_rows, text_of
from penstock.errors import BadRequest, Unreadable
from penstock.types import Verdict
from penstock.verify.check import Tier, plain, verifier
from penstock.verify.verifier import Checking, Lexical

__all__ = ["verify"]

COLOURS = {"supported": "green", "contradicted": "red", "not_found": "yellow", "unscored": "magenta"}
WORDS = {"supported": "supported", "contradicted": "contradicted", "not_found": "not found", "unscored": "not judged"}


@click.command()
@click.argument("text", required=False)
@click.option(
    "--source",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A text file that it should be in; may be repeated.",
)
@click.option("--context", "contexts", multiple=True, metavar="TEXT", help="A source itself; may be repeated.")
@click.option("--question", default="", metavar="TEXT", help="What the text answers.")
@click.option(
    "--jsonl",
    type=click.File("rb"),
    metavar="FILE",
    help="Rows with `context` and `response`, checked in order; - reads standard input.",
)
@click.option(
    "--tier",
    default="",
    show_default="the best there is",
    type=click.Choice(["", "checker", "lexical"]),
    help="By the shipped network, or by words alone, which is a hundred times as fast.",
)
@click.option("--lang", "language", default="", metavar="CODE", help="The language of the sources, such as `de`.")
@show.json_option
def verify(
    text: str | None, files: tuple[Path, ...], contexts: tuple[str, ...], question: str, jsonl: BinaryIO | None,
    tier: str, language: str, as_json: bool,
) -> None:  # fmt: skip
    """Check whether what a TEXT says is in its sources, sentence by sentence. Without TEXT, standard input is read.

    A row of --jsonl has `response`, `context` (a text or a list of them) and may have `question`. It comes back with
    `support` (0 to 1), `label` (supported, contradicted, not_found), `spans` that are not supported, and `citations`.

    \b
    Examples:
      penstock verify "Books can be kept for six weeks." --source handbook/returns.md
      penstock verify --jsonl answers.jsonl > checked.jsonl
    """
    if jsonl:
        if text is not None or files or contexts:
            raise click.UsageError("check a TEXT or the rows of --jsonl, not both.")
        chosen = verifier(cast(Tier, tier))
        threads = 1 if tier == "lexical" else min(os.cpu_count() or 1, 8)
        answer_rows(jsonl, lambda row: _checked(chosen, row, question, language), unit="text", threads=threads)
        return
    if not files and not contexts:
        raise click.UsageError("say what it should be in: --source FILE, or --context TEXT.")
    sources = [*(_read(path) for path in files), *contexts]
    said = _text(text)
    verdict = verifier(cast(Tier, tier)).check(said, sources, question=question, language=language)
    if as_json:
        show.as_json(plain(verdict, said, sources))
    else:
        names = [*map(str, files), *(f"context {n}" for n in range(1, len(contexts) + 1))]
        _show(said, verdict, sources, names)


def _checked(tier: Lexical | Checking, row: Row, question: str, language: str) -> Row:
    response = text_of(row, "response")
    sources = _contexts(row.get("context"))
    asked = text_of(row, "question", needed=False) or question
    said = row.get("lang") or language
    verdict = tier.check(response, sources, question=asked, language=said if isinstance(said, str) else "")
    return row | plain(verdict, response, sources)


def _contexts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise BadRequest("a row must have `context`, a text or a list of texts")
    return [one.encode("utf-8", "replace").decode() for one in values]


def _show(text: str, verdict: Verdict, sources: list[str], names: list[str]) -> None:
    """Each sentence with what became of it, what it rests on beneath it."""
    for claim in verdict.claims:
        label = click.style(f"{WORDS[claim.label]} {claim.support:.0%}", fg=COLOURS[claim.label])
        click.echo(f"{_marked(text, claim.start, claim.end, claim.unsupported)}  {label}")
        for reason in claim.why:
            click.echo(click.style(f"  {show.clean(reason)}", dim=True), err=True)
        for evidence in claim.evidence[:1] if claim.label == "supported" else claim.evidence[:2]:
            quote = " ".join(sources[evidence.source][evidence.start : evidence.end].split())
            shown = quote if len(quote) <= 160 else f"{quote[:159]}…"
            where = f"{names[evidence.source]}, {evidence.start}-{evidence.end}"
            click.echo(click.style(f"  {show.clean(where)}: {show.clean(shown)}", dim=True), err=True)
    said = click.style(WORDS[verdict.label], fg=COLOURS[verdict.label], bold=True)
    click.echo(f"{said}  {verdict.support:.0%}", err=True)


def _marked(text: str, start: int, end: int, spans: tuple[tuple[int, int], ...]) -> str:
    """A sentence with what is not supported underlined, where the terminal can."""
    out, at = [], start
    for a, b in spans:
        out += [show.clean(text[at:a]), click.style(show.clean(text[a:b]), underline=True)]
        at = b
    return " ".join("".join([*out, show.clean(text[at:end])]).split())


def _text(given: str | None) -> str:
    if given is not None:
        return given
    if sys.stdin.isatty():
        raise click.UsageError('check something: penstock verify "…" --source FILE')
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path} is not UTF-8 text", hint="penstock docs reads other formats") from error
