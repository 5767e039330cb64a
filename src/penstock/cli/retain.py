"""`penstock retain`: what is past its time goes now."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, astuple

import click

from penstock.cli import show
from penstock.config import load
from penstock.errors import NotFound

__all__ = ["retain"]


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what is past its time, and change nothing.")
@show.json_option
@click.pass_obj
def retain(file: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove what has been kept for longer than the settings say. A running server does it every hour.

    The settings are `keep` of the documents' rules, of the journal, of batches, of the vault and of the audit trail.

    \b
    Examples:
      penstock retain --dry-run
      penstock retain --json
    """
    from penstock.assemble import assemble
    from penstock.retention import enforce, look

    settings = load(file, keys=False)
    if not (settings.home_path / "penstock.db").is_file():
        raise NotFound(f"there is nothing kept in {settings.home_path}")
    with closing(assemble(settings)) as house:
        found = look(house) if dry_run else enforce(house)
    if as_json:
        show.as_json([asdict(due) for due in found])
    elif not found:
        click.echo("everything is kept for ever: no setting says otherwise")
    else:
        show.table([astuple(due) for due in found], ("what", "as set in", "past its time" if dry_run else "removed"))
