"""`penstock verify`: whether what a text says is in its sources."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from penstock.cli import show
from penstock.cli.rows import Row, answer_rows, parsed_rows, text_of
from penstock.errors import BadRequest, Unreadable
from penstock.types import Verdict
from penstock.verify.check import Tier, plain, verifier
from penstock.verify.conformal import promise
from penstock.verify.rows import are_rows, as_text, strict
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
    help="By the shipped network, or by words alone, which is some twenty times as fast.",
)
@click.option(
    "--promise",
    "promised",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Find the limit that lets at most this share of unsupported rows pass.",
)
@click.option("--lang", "language", default="", metavar="CODE", help="The language of the sources, such as `de`.")
@show.json_option
def verify(
    text: str | None, files: tuple[Path, ...], contexts: tuple[str, ...], question: str, jsonl: BinaryIO | None,
    tier: str, language: str, promised: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Check whether what a TEXT says is in its sources, sentence by sentence. Without TEXT, standard input is read.

    A row of --jsonl has `response`, `context` (a text or a list of them) and may have `question`. It comes back with
    `support` (0 to 1), `label` (supported, contradicted, not_found), `spans` that are not supported, and `citations`.
    Objects in `context` are rows that a tool or a database returned: every number in the response must be in them.

    With --promise 0.05, rows that also have `supported` (true or false, as people judged) give the limit from where on at most
    5 % of what passes is unsupported, and what share passes: it goes into `supported_from` of an app.

    \b
    Examples:
      penstock verify "Books can be kept for six weeks." --source handbook/returns.md
      penstock verify --jsonl answers.jsonl > checked.jsonl
      penstock verify --jsonl judged.jsonl --promise 0.05
    """
    if promised is not None and not jsonl:
        raise click.UsageError("--promise needs --jsonl with rows that people judged.")
    if jsonl:
        if text is not None or files or contexts:
            raise click.UsageError("check a TEXT or the rows of --jsonl, not both.")
        chosen = verifier(cast(Tier, tier))
        if promised is not None:
            _promise(chosen, jsonl, promised, as_json)
            return
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
    known = said if isinstance(said, str) else ""
    verdict = tier.check(response, sources, question=asked, language=known)
    if are_rows(row.get("context")):
        verdict = strict(verdict, response, sources, question=asked, language=known)
    return row | plain(verdict, response, sources)


def _promise(tier: Lexical | Checking, rows: BinaryIO, share: float, as_json: bool) -> None:
    """The limit that keeps a promise, from rows whose truth is known, and what keeping it costs."""
    support, truth = [], []
    for number, row in parsed_rows(rows):
        if not isinstance(row.get("supported"), bool):
            raise BadRequest(f"line {number} has no `supported`, true or false")
        verdict = tier.check(
            text_of(row, "response"), _contexts(row.get("context")), question=text_of(row, "question", needed=False)
        )
        support.append(verdict.support)
        truth.append(row["supported"])
    found = promise(support, truth, share)
    if as_json:
        show.as_json({**found._asdict(), "threshold": found.threshold if found.coverage else None})
    elif not found.coverage:
        click.echo(f"no limit keeps that promise on these {found.sentences} rows")
    else:
        click.echo(f"supported_from = {found.threshold:.4f}")
        click.echo(
            f"of {found.sentences} rows {found.coverage:.1%} pass, {found.unsupported:.1%} of them unsupported; "
            f"{found.kept:.1%} of the supported ones are kept", err=True,
        )  # fmt: skip


def _contexts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, str | dict) for one in values):
        raise BadRequest("a row must have `context`, a text or a list of texts, or rows as objects")
    return [as_text(one).encode("utf-8", "replace").decode() for one in values]


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
