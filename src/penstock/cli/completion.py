"""`penstock completion`: the lines a shell needs to complete verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell, as in: eval "$(penstock completion bash)"."""
    from penstock.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None, "click knows the three shells of the choice"
    click.echo(found(cli, {}, "penstock", "_PENSTOCK_COMPLETE").source())
