"""`penstock erase SUBJECT`: a person, or documents, out of the home folder for good."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import click

from penstock.cli import show
from penstock.config import load
from penstock.errors import NotFound
from penstock.storage.files import new_file

__all__ = ["erase"]

SHOWN = 20


@click.command()
@click.argument("subject")
@click.option("--also", multiple=True, metavar="NAME", help="Another name, e-mail or id of theirs; may be repeated.")
@click.option("--documents", is_flag=True, help="Erase the documents that mention them too, from all versions.")
@click.option("--receipt", type=click.Path(path_type=Path), metavar="FILE", help="Where to write the signed receipt.")
@click.option("--dry-run", is_flag=True, help="Show what would be erased, and stop.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@show.json_option
@click.pass_obj
def erase(
    file: str | None,
    subject: str,
    also: tuple[str, ...],
    documents: bool,
    receipt: Path | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase a person, or documents, from the home folder. Stop the server first.

    SUBJECT is a name, an e-mail, an id as programs send it in `user`, or source:PATTERN for documents by their source.
    The receipt holds no name. Backups, and files outside of the home folder, are not touched.

    \b
    Examples:
      penstock erase anna@example.com --also "Anna Berg" --documents --receipt anna.json
      penstock erase 'source:hr/2019/*'
    """
    from penstock.assemble import assemble
    from penstock.erase import PATTERN, Subject, carry_out, plan

    settings = load(file, keys=False)
    if not (settings.home_path / "penstock.db").is_file():
        raise NotFound(f"there is nothing to erase in {settings.home_path}")
    with closing(assemble(settings)) as house:
        found = plan(house, Subject.of(subject, also))
        documents = documents or subject.startswith(PATTERN)
        if not as_json or not yes:
            for one in found.documents[:SHOWN]:
                click.echo(f"  {show.clean(one.collection)}: {show.clean(one.source)}", err=True)
            if len(found.documents) > SHOWN:
                click.echo(f"  … and {len(found.documents) - SHOWN} more", err=True)
        counts = {name: count for name, count in found.counts().items() if count}
        said = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
        if dry_run:
            show.as_json(found.counts()) if as_json else click.echo(f"found: {said}")
            for hint in found.by_name:
                click.echo(f"first: {show.clean(hint)}", err=True)
            return
        if not yes:
            kept = "" if documents or not found.documents else " The documents stay: --documents erases them too."
            click.confirm(f"Erase for good: {said}?{kept}", abort=True, err=True)
        paper = carry_out(house, found, documents=documents)
    text = json.dumps(paper, indent=2)
    if receipt:
        with new_file(receipt) as out:
            out.write(text.encode() + b"\n")
    if as_json or not receipt:
        click.echo(text)
    outside = sorted({one.file for one in found.documents if documents and not one.ours})
    for path in outside[:SHOWN]:
        click.echo(f"delete this file yourself, or the next sync takes it in again: {show.clean(path)}", err=True)
    if paper["scan"]["found"]:
        click.echo(f"still there: {', '.join(paper['scan']['found'])}", err=True)
        raise click.exceptions.Exit(1)
    if paper["left"]["documents"]:
        click.echo(f"{paper['left']['documents']} documents that mention them were left", err=True)
