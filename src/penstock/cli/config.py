"""`penstock config show|check|dashboard`: the settings as they were understood, and what others are set up with."""

from __future__ import annotations

from typing import Any

import click

from penstock.cli import show
from penstock.config import describe, load

__all__ = ["config"]


@click.group()
def config() -> None:
    """Show and check the settings."""


@config.command("show")
@show.json_option
@click.pass_obj
def show_(file: str | None, as_json: bool) -> None:
    """Print every setting with its value: the file, with the environment on top. Secrets are hidden."""
    settings = load(file)
    if as_json:
        show.as_json(describe(settings))
        return
    click.echo(click.style(f"# {settings.file or 'no penstock.toml: these are the defaults'}", dim=True))
    for name, value in _flat(describe(settings), ""):
        click.echo(f"{name} = {value!r}")


@config.command()
@show.json_option
@click.pass_obj
def check(file: str | None, as_json: bool) -> None:
    """Check the settings file, and whether what it names is there; the exit status says whether it is right."""
    from penstock.upkeep import missing

    settings = load(file)
    problems = missing(settings)
    if as_json:
        show.as_json({"ok": not problems, "file": str(settings.file) if settings.file else None, "problems": problems})
    else:
        for problem in problems:
            click.echo(click.style(problem, fg="yellow"))
        verdict = "right" if not problems else "not right"
        click.echo(f"{settings.file or 'no penstock.toml, the defaults'}: {verdict}")
    if problems:
        raise click.exceptions.Exit(1)


@config.command()
def dashboard() -> None:
    """Print a dashboard for Grafana, which reads what Prometheus has scraped from /metrics.

    \b
        penstock config dashboard > penstock.json
    """
    from importlib.resources import files

    click.echo(files("penstock.observe").joinpath("dashboard.json").read_text("utf-8"), nl=False)


def _flat(values: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return rows
