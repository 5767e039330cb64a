"""`penstock`: the verbs, and what happens to errors. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from penstock import __version__
from penstock.api import one_thread_for_blas
from penstock.errors import PenstockError

__all__ = ["cli", "main"]

VERBS = {
    "up": ("penstock.cli.up", "up"),
    "ask": ("penstock.cli.ask", "ask"),
    "talk": ("penstock.cli.talk", "talk"),
    "docs": ("penstock.cli.docs", "docs"),
    "models": ("penstock.cli.models", "models"),
    "guard": ("penstock.cli.guard", "guard"),
    "verify": ("penstock.cli.verify", "verify"),
    "faults": ("penstock.cli.faults", "faults"),
    "satisfaction": ("penstock.cli.satisfaction", "satisfaction"),
    "language": ("penstock.cli.language", "language"),
    "translate": ("penstock.cli.translate", "translate"),
    "translations": ("penstock.cli.translations", "translations"),
    "intents": ("penstock.cli.intents", "intents"),
    "experiment": ("penstock.cli.experiment", "experiment"),
    "probe": ("penstock.cli.probe", "probe"),
    "prompts": ("penstock.cli.prompts", "prompts"),
    "fairness": ("penstock.cli.fairness", "fairness"),
    "canaries": ("penstock.cli.canaries", "canaries"),
    "redteam": ("penstock.cli.redteam", "redteam"),
    "simulate": ("penstock.cli.simulate", "simulate"),
    "drift": ("penstock.cli.drift", "drift"),
    "eval": ("penstock.cli.eval", "eval_"),
    "ab": ("penstock.cli.ab", "ab"),
    "review": ("penstock.cli.review", "review"),
    "mcp": ("penstock.cli.mcp", "mcp"),
    "vault": ("penstock.cli.vault", "vault"),
    "train": ("penstock.cli.train", "train"),
    "keys": ("penstock.cli.keys", "keys"),
    "spend": ("penstock.cli.spend", "spend"),
    "requests": ("penstock.cli.spend", "requests"),
    "journal": ("penstock.cli.journal", "journal"),
    "objectives": ("penstock.cli.alerts", "objectives"),
    "alerts": ("penstock.cli.alerts", "alerts"),
    "audit": ("penstock.cli.audit", "audit"),
    "erase": ("penstock.cli.erase", "erase"),
    "retain": ("penstock.cli.retain", "retain"),
    "config": ("penstock.cli.config", "config"),
    "doctor": ("penstock.cli.doctor", "doctor"),
    "backup": ("penstock.cli.backup", "backup"),
    "restore": ("penstock.cli.backup", "restore"),
    "completion": ("penstock.cli.completion", "completion"),
}


class Verbs(click.Group):
    """A verb's file is imported when the verb is used, so that each starts as fast as it can."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module, attribute = VERBS[name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BrokenPipeError as error:  # the reader of a pipe had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(0) from error

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib

        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], VERBS, n=1)
            raise click.UsageError(
                f"there is no command '{args[0]}'." + (f" Did you mean '{close[0]}'?" if close else "")
            ) from error


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="penstock")
@click.option(
    "--config", "file", metavar="FILE", help="Settings file; without it, penstock.toml here or in a folder above."
)
@click.pass_context
def cli(context: click.Context, file: str | None) -> None:
    """Ask your documents: answers with exact citations, or an honest "not in your documents"."""
    context.obj = file


def main() -> NoReturn:
    """Run, and turn errors into a message, a hint and an exit status: 1 refused, 2 wrongly called, 130 interrupted."""
    one_thread_for_blas()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter stops nothing
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)  # click hands over the status of what exits early
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except PenstockError as error:
        _show(error)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; nothing half done is kept", err=True)
        sys.exit(130)


def _show(error: PenstockError) -> None:
    from penstock.cli.show import clean

    if "--json" in sys.argv:
        click.echo(json.dumps(error.body(), ensure_ascii=False))
        return
    click.echo(f"{click.style('error:', fg='red', bold=True)} {clean(error.message)}", err=True)
    if error.hint:
        click.echo(f"{click.style('hint:', fg='cyan')}  {clean(error.hint)}", err=True)
