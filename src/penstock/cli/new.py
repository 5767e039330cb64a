"""`penstock new`: a reference application as a folder of your own."""

from __future__ import annotations

import ast
import difflib
import os
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from penstock.config import FILE_NAME
from penstock.errors import BadRequest, Conflict, NotFound, StorageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["applications", "copy", "new"]

APPS: Final = Path(__file__).parents[1] / "apps"
LEFT_OUT: Final = shutil.ignore_patterns(
    "__pycache__", "*.py[co]", ".penstock", ".*_cache"
)  # what running it leaves behind


def _names(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name, help=said) for name, said in applications().items() if name.startswith(begun)]


@click.command()
@click.argument("app", required=False, shell_complete=_names)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def new(app: str | None, folder: Path | None) -> None:
    """Begin an application of your own as a copy of one that comes with Penstock.

    Without APP, those that there are. With it, its code, settings and documents are copied to FOLDER (apps/APP without one),
    where they are yours to change. A folder that is there already is never written to.

    \b
    Examples:
      penstock new
      penstock new retail_bot
      penstock new retail_bot our_shop
    """
    if app is None:
        known = applications()
        width = max(map(len, known), default=0)
        for name, said in known.items():
            click.echo(f"{name:<{width}}  {said}")
        return
    target = folder or Path("apps") / app
    copy(app, target)
    click.echo(f"{target} is yours: a copy of {app}.\n\n  {click.style(f'penstock up {_quoted(target)}', bold=True)}\n")
    if questions := _questions(target):
        click.echo("Then ask it:\n" + "\n".join(f"  {question}" for question in questions))


def applications() -> dict[str, str]:
    """The applications that come with Penstock, each with the sentence that it says of itself."""
    return {folder.parent.name: _described(folder) for folder in sorted(APPS.glob("*/__init__.py"))}


def _described(module: Path) -> str:
    """Nothing of an application is imported to list it."""
    said = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
    return " ".join(said.partition("\n\n")[0].split())


def copy(app: str, target: Path) -> None:
    """Copy an application to a folder that is not there yet, whole or not at all. Raises NotFound, Conflict and StorageError."""
    known = applications()
    if app not in known:
        close = difflib.get_close_matches(app, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"
        raise NotFound(f"no application '{app[:64]}' comes with Penstock", hint=hint)
    source = APPS / app
    if os.path.lexists(target):
        raise Conflict(
            f"'{target}' is there already, and is not written over", hint=f"name another: penstock new {app} FOLDER"
        )
    beside: Path | None = None
    try:
        if target.absolute().resolve().is_relative_to(APPS):
            raise BadRequest(f"'{target}' is inside of Penstock itself", hint="name a folder of your own")
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        beside.chmod(0o755)  # others may read it, as any folder that somebody makes
        shutil.copytree(source, beside, ignore=LEFT_OUT, copy_function=shutil.copyfile, dirs_exist_ok=True)
        beside.rename(target)  # one that was made meanwhile and has something in it stays
    except (OSError, ValueError) as error:
        if os.path.lexists(target):
            raise Conflict(f"'{target}' was made by somebody else meanwhile", hint="name another folder") from error
        raise StorageError(
            f"'{target}' cannot be made: {getattr(error, 'strerror', None) or error}",
            hint="name a folder that you may write to",
        ) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)


def _questions(folder: Path) -> list[str]:
    """Those that its page offers."""
    try:
        apps = tomllib.loads((folder / FILE_NAME).read_text("utf-8")).get("apps", {})
    except (OSError, tomllib.TOMLDecodeError):
        return []
    return [question for app in apps.values() for question in app.get("questions", ())][:3]


def _quoted(path: Path) -> str:
    """A path as a shell takes it."""
    import shlex

    return shlex.quote(str(path))
