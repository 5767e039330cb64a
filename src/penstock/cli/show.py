"""What several verbs print: answers, tables, reports, progress."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from penstock.types import Answer, Citation, Status

if TYPE_CHECKING:
    from penstock.documents.collection import Collection
    from penstock.documents.ingest import Report

__all__ = [
    "Bar",
    "answer",
    "as_json",
    "clean",
    "json_option",
    "progress",
    "report",
    "role_option",
    "skipped",
    "table",
    "where_option",
]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
where_option = click.option(
    "--where", multiple=True, metavar="NAME=VALUE", help="Only documents whose metadata say so; may be repeated."
)
role_option = click.option("--role", "roles", multiple=True, metavar="ROLE", help="With this right; may be repeated.")

WIDTH = 96
PAGES = 10  # of a long file between two that are told
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """Text from a document without the characters that a terminal obeys instead of showing them."""
    return _OBEYED.sub("\N{REPLACEMENT CHARACTER}", text)


def as_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


@contextmanager
def progress(total: int | None, unit: str, *, quiet: bool) -> Iterator[Callable[..., object]]:
    """A bar where somebody looks at a terminal. What it gives is called with how many more are done, one where it is not said."""
    if quiet or not sys.stderr.isatty():
        yield lambda done=1: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, leave=False, dynamic_ncols=True) as bar:
        yield bar.update


def table(rows: Sequence[Sequence[Any]], heads: Sequence[str]) -> None:
    """Columns as wide as what is in them."""
    cells = [[clean(str(cell)) if cell is not None else "" for cell in row] for row in rows]
    widths = [max(len(row[n]) for row in [list(heads), *cells]) for n in range(len(heads))]
    click.echo(
        click.style("  ".join(head.ljust(width) for head, width in zip(heads, widths, strict=True)).rstrip(), bold=True)
    )
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def answer(found: Answer, question: str) -> None:
    """An answer with its numbered sources."""
    if found.question and found.question != question:
        click.echo(click.style(f"understood as: {clean(found.question)}", dim=True), err=True)
    colour = None if found.status is Status.ANSWER else "red" if found.status is Status.REFUSED else "yellow"
    for line in _numbered(found).split("\n"):
        click.echo(click.style(textwrap.fill(clean(line), WIDTH), fg=colour))
    if found.withheld:
        places = ", ".join(place(citation) for citation in found.withheld)
        click.echo(click.style(f"withheld, since they give orders to the model: {places}", fg="red"), err=True)
    sources = found.citations or found.nearest
    if not sources:
        return
    click.echo("" if found.citations else click.style("\nNearest passages:", dim=True))
    for n, citation in enumerate(sources, 1):
        click.echo(f"  [{n}] {place(citation)}")
        if n - 1 not in found.quoted:
            quote = textwrap.fill(clean(" ".join(citation.quote.split())), WIDTH - 6)
            click.echo(click.style(textwrap.indent(quote, "      "), dim=True))
    confidence = f"confidence {int(found.confidence * 100) / 100:.2f}"  # .498 is not .5
    click.echo(click.style(f"\n{confidence}{_written(found)}", dim=True))


def _numbered(found: Answer) -> str:
    """The text of an answer with the number of its citation behind each quote in it."""
    said, rest = "", found.text
    shown = (*found.quoted, *(n for pair in found.conflicts for n in pair)) if not found.written_by else ()
    places = sorted({(rest.find(found.citations[n].quote), n) for n in shown} - {(-1, n) for n in shown})
    at = 0
    for start, n in places:
        quote = found.citations[n].quote
        if start >= at:
            said += f"{rest[at:start]}{' '.join(quote.split())} [{n + 1}]"
            at = start + len(quote)
    return said + rest[at:]


def _written(found: Answer) -> str:
    """Who wrote an answer, and what became of its check."""
    if not found.written_by:
        return ""
    if found.verdict is None or found.verdict.label == "unscored":
        return f", written by {found.written_by} and not checked"
    wrong = sum(claim.label in ("contradicted", "not_found") for claim in found.verdict.claims)
    copied = ", repeats a protected text" if found.copied else ""
    checked = f", written by {found.written_by} and checked: {len(found.verdict.claims) - wrong} of "
    return f"{checked}{len(found.verdict.claims)} sentences are in the sources{copied}"


def place(citation: Citation) -> str:
    """Where a quote stands, in one line."""
    parts = [click.style(clean(citation.source), fg="cyan")]
    headings = citation.section[citation.section[:1] == (citation.title,) :]
    if headings:
        parts.append(clean(" > ".join(headings)))
    if citation.page:
        parts.append(f"page {citation.page}")
    if citation.date:
        parts.append(citation.date + (click.style(" (stale)", fg="yellow") if citation.stale else ""))
    parts.append(f"characters {citation.start}-{citation.end}")
    if citation.also_in:
        parts.append(clean(f"also in {', '.join(citation.also_in[:3])}" + (" …" if len(citation.also_in) > 3 else "")))
    return " · ".join(parts)


def report(found: Report, *, name: str) -> None:
    """What a build did."""
    for title, sources in (
        ("added", found.added),
        ("changed", found.changed),
        ("moved", found.moved),
        ("removed", found.removed),
    ):
        for source in sources[:20]:
            click.echo(f"  {title:8} {clean(source)}")
        if len(sources) > 20:
            click.echo(f"  {title:8} … and {len(sources) - 20} more")
    for skipped in found.skipped:
        hint = f" ({skipped.hint})" if skipped.hint else ""
        click.echo(click.style(f"  skipped  {clean(skipped.reason)}{hint}", fg="yellow"), err=True)
    if found.version is None:
        click.echo(f"{name}: nothing has changed, {_count(found.unchanged, 'document is', 'documents are')} indexed")
        return
    state = "live" if found.published else "built, not published"
    counts = (
        f"{_count(found.documents, 'document', 'documents')}, {_count(found.passages, 'passage', 'passages')} "
        f"({found.embedded} embedded, {found.reused} reused)"
    )
    click.echo(f"{click.style(f'{name} v{found.version}', bold=True)} is {state}: {counts}")


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def skipped(collection: Collection) -> None:
    """A word on files that could not be read, for whoever wonders why they are not found."""
    if number := len(collection.skipped()):
        some = _count(number, "file", "files")
        click.echo(click.style(f"{some} could not be read: penstock docs list {collection.name}", dim=True), err=True)


class Bar:
    """A progress bar over files on standard error; none where nobody looks."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._bar: Any = None
        self._passages = 0

    def start(self, files: int) -> None:
        if not self._quiet and files > 1:
            from tqdm import tqdm

            self._bar = tqdm(total=files, unit="file", leave=False, dynamic_ncols=True)

    def file(self, name: str) -> None:
        if self._bar is not None:
            self._bar.update(1)
            self._bar.set_description_str(name[-40:])

    def page(self, number: int, pages: int) -> None:
        if self._bar is not None and number % PAGES == 0:
            self._bar.set_postfix_str(f"page {number} of {pages}")

    def passages(self, done: int) -> None:
        self._passages += done
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self._passages} passages")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
