"""`penstock audit …`: who did what that matters for security, and whether the trail is whole."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from penstock import __version__
from penstock.cli import show
from penstock.cli.spend import cut, past
from penstock.config import iso, load
from penstock.errors import NotFound
from penstock.storage.audit import KINDS, Audit, Recorded
from penstock.storage.database import Database

__all__ = ["audit"]

EVER = "100000h"


def _audit(file: str | None) -> Audit:
    """The trail of the home that the settings name. Raises NotFound: an empty home stays empty."""
    path = load(file, keys=False).home_path / "penstock.db"
    if not path.is_file():
        raise NotFound(f"there is nothing recorded in {path.parent}", hint="it begins with the first key or document")
    database = Database(path)
    found = Audit(database)
    context = click.get_current_context()
    context.call_on_close(database.close)
    context.call_on_close(found.close)
    return found


@click.group()
def audit() -> None:
    """See who did what: keys, logins, documents, policies. Nothing can be changed in it unseen.

    \b
    Examples:
      penstock audit list --kind 'key.*' --since 30d
      penstock audit verify --anchors /mnt/elsewhere/anchors.jsonl
      penstock audit export > audit.jsonl
    """


kind_option = click.option("--kind", default="", metavar="KIND", help=f"Only these: {', '.join(KINDS)}, or 'key.*'.")
actor_option = click.option("--actor", default="", metavar="NAME", help="Only what this one did.")
since_option = click.option(
    "--since", default=EVER, callback=past, metavar="TIME", help="From when on: 7d, 12h, 2027-01-31; else all."
)


@audit.command("list")
@kind_option
@actor_option
@since_option
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="Most records to show.")
@show.json_option
@click.pass_obj
def list_(file: str | None, kind: str, actor: str, since: float, limit: int, as_json: bool) -> None:
    """Show the latest records, newest first. Times are in UTC."""
    found = list(_audit(file).records(kind=kind, actor=actor, since=since, limit=limit, newest=True))
    if as_json:
        show.as_json([_plain(record) for record in found])
    elif not found:
        click.echo("no such record")
    else:
        rows = [
            (
                record.number, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(record.at / 1000)), record.kind,
                cut(_name(record.actor, record.actor_id), 24), cut(_name(record.target, record.target_id), 32),
                cut(", ".join(f"{name} {value}" for name, value in record.facts.items()), 40),
            )
            for record in found
        ]  # fmt: skip
        show.table(rows, ("number", "at", "what", "who", "to what", "facts"))


@audit.command()
@click.option(
    "--anchors",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A copy of audit/anchors.jsonl that was kept elsewhere; it must agree.",
)
@show.json_option
@click.pass_obj
def verify(file: str | None, anchors: Path | None, as_json: bool) -> None:
    """Look at every record, hash, signature and anchor. Ends with status 1 where anything is not as it was written."""
    verdict = _audit(file).verify(anchors=anchors)
    if as_json:
        problems = [problem._asdict() for problem in verdict.problems]
        show.as_json(
            {
                "ok": not problems, "records": verdict.records, "checkpoints": verdict.checkpoints, "head": verdict.head,
                "key": verdict.key, "first_bad": verdict.first_bad, "pruned": verdict.pruned, "problems": problems,
            }
        )  # fmt: skip
    elif not verdict.problems:
        click.echo(f"{verdict.records} records and {verdict.checkpoints} signatures are as they were written")
        if verdict.pruned:
            click.echo(f"records 1 to {verdict.pruned} were taken out after their time", err=True)
        click.echo(click.style(f"last hash {verdict.head}\nsigned by {verdict.key}", dim=True), err=True)
    else:
        if verdict.first_bad is not None:
            click.echo(click.style(f"the audit trail was changed, from record {verdict.first_bad} on", fg="red"))
        else:
            click.echo(click.style("something beside the records was changed", fg="red"))
        for problem in verdict.problems:
            click.echo(f"  {show.clean(problem.text)}")
    if verdict.problems:
        raise click.exceptions.Exit(1)


@audit.command()
@kind_option
@since_option
@click.pass_obj
def export(file: str | None, kind: str, since: float) -> None:
    """Print the records as events of OCSF, one JSON object a line. That it was done is recorded too."""
    from penstock.storage.ocsf import event

    trail, count = _audit(file), 0
    for record in trail.records(kind=kind, since=since):
        click.echo(json.dumps(event(record, product_version=__version__), ensure_ascii=False))
        count += 1
    trail.write("audit.exported", records=count)


def _name(name: str, id: str) -> str:  # noqa: A002
    return name or (f"(erased {id[:8]})" if id.strip("0") else "")


def _plain(record: Recorded) -> dict[str, Any]:
    return record._asdict() | {"at": iso(record.at / 1000, timespec="milliseconds")}
