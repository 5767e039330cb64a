"""`penstock doctor`: is everything in order, and what to do where it is not."""

from __future__ import annotations

import click

from penstock.cli import show
from penstock.config import load

__all__ = ["doctor"]


@click.command()
@show.json_option
@click.pass_obj
def doctor(file: str | None, as_json: bool) -> None:
    """Check the installation, the settings, the encoder and every stored file. The exit status is 1 where something is wrong."""
    from penstock.upkeep import examine

    checks = examine(load(file, keys=False))
    if as_json:
        show.as_json([{"check": c.name, "ok": c.ok, "found": c.found, "hint": c.hint} for c in checks])
    else:
        for check in checks:
            mark = click.style("ok   ", fg="green") if check.ok else click.style("wrong", fg="red")
            click.echo(f"{mark}  {check.name}: {check.found}")
            if check.hint:
                click.echo(click.style(f"       {check.hint}", fg="cyan" if check.ok else "yellow"))
    if not all(check.ok for check in checks):
        raise click.exceptions.Exit(1)
