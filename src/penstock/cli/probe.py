"""`penstock probe …`: has the model behind a name changed?"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import TYPE_CHECKING

import click

from penstock.cli import show
from penstock.config import load

if TYPE_CHECKING:
    from penstock.observe.probes import Run

__all__ = ["probe"]


@click.group()
def probe() -> None:
    """Ask a model the same prompts again and again, and see whether it still answers as it did.

    `[probes.NAME]` says which model, and how often a running server asks. The first five runs are what is normal.

    \b
    Examples:
      penstock probe run house
      penstock probe history house
      penstock probe forget house
    """


@probe.command()
@click.argument("name")
@click.option("--fail-on-change", is_flag=True, help="End with an error where something has changed.")
@show.json_option
@click.pass_obj
def run(file: str | None, name: str, fail_on_change: bool, as_json: bool) -> None:
    """Ask now, and compare with the first runs."""
    from penstock.assemble import assemble
    from penstock.probing import prompts_of, take

    with closing(assemble(load(file, keys=False))) as house:

        async def taken() -> Run:
            try:
                return await take(house, name, tick=tick)
            finally:
                house.clients.close()

        with show.progress(len(prompts_of(house, name)), "prompt", quiet=as_json) as tick:
            found = asyncio.run(taken())
    if as_json:
        show.as_json(found.plain())
    else:
        for change in found.changes:
            click.echo(change.words)
        if not found.changes:
            click.echo("this run is part of what is normal" if found.learning else "nothing has changed")
        if found.failed:
            click.echo(f"{found.failed} prompts were not answered", err=True)
    if fail_on_change and found.changes:
        raise SystemExit(1)


@probe.command()
@click.argument("name")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@show.json_option
@click.pass_obj
def history(file: str | None, name: str, limit: int, as_json: bool) -> None:
    """Show the latest runs."""
    from penstock.assemble import assemble
    from penstock.probing import runs_of

    with closing(assemble(load(file, keys=False))) as house:
        found = runs_of(house).past(name, limit=limit)
    if as_json:
        show.as_json([one.plain() for one in found])
        return
    rows = []
    for one in found:
        means = one.plain()["means"]
        figures = ("" if means[m] is None else f"{means[m]:.3f}" for m in ("alike", "right"))
        said = "; ".join(change.words for change in one.changes) or ("normal" if one.learning else "")
        rows.append((time.strftime("%Y-%m-%d %H:%M", time.gmtime(one.at)), *figures, one.failed or "", said))
    if rows:
        show.table(rows, ("at", "alike", "right", "failed", ""))
    else:
        click.echo(f"'{name}' has not been run yet: penstock probe run {name}")


@probe.command()
@click.argument("name")
@click.pass_obj
def forget(file: str | None, name: str) -> None:
    """Learn what is normal anew, as after a change that you wanted."""
    from penstock.assemble import assemble
    from penstock.probing import runs_of

    with closing(assemble(load(file, keys=False))) as house:
        count = runs_of(house).forget(name)
    click.echo(f"{count} runs are forgotten; the next ones are what is normal")
