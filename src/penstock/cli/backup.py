"""`penstock backup` and `penstock restore`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from penstock.cli import show
from penstock.config import load

__all__ = ["backup", "restore"]


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@show.json_option
@click.pass_obj
def backup(file: str | None, target: Path, as_json: bool) -> None:
    """Write everything indexed into one .tar file. The server may go on running."""
    from penstock.upkeep import back_up

    size = back_up(load(file, keys=False), target)
    show.as_json({"file": str(target), "bytes": size}) if as_json else click.echo(f"{target}: {size / 1e6:.1f} MB")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Put it in the place of what is there, which is kept beside.")
@show.json_option
@click.pass_obj
def restore(file: str | None, source: Path, replace: bool, as_json: bool) -> None:
    """Restore a backup into the home folder. Stop the server first."""
    from penstock.storage.audit import Audit
    from penstock.storage.backup import restore as unpack
    from penstock.storage.database import Database

    home = load(file, keys=False).home_path
    unpack(source, home, replace=replace)
    with closing(Database(home / "penstock.db")) as database, closing(Audit(database)) as audit:
        audit.write("home.restored", target=source.name)
    show.as_json({"home": str(home)}) if as_json else click.echo(f"{home} is restored from {source}")
