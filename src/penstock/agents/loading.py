"""A file with a bot, read as a module of its folder, so that it may import what lies beside it: `from .shop import Shop`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
import traceback
import types
from pathlib import Path
from typing import Any, Final

from penstock import errors
from penstock.errors import BadSetting, PenstockError

__all__ = ["loaded", "parted"]

OURS: Final = Path(errors.__file__).parent


def parted(said: str) -> tuple[str, str]:
    """The path and the name of `bot.py:name`."""
    path, colon, name = said.rpartition(":")
    return (path, name) if colon and name.isidentifier() else (said, "bot")


def loaded(path: Path, name: str, *, where: str, house: Any) -> Any:
    """What has that name in a file; a function there is told the house, and gives it. Raises BadSetting, with the place in the
    file, for what cannot be read. where: the setting."""
    if not path.is_file():
        raise BadSetting(f"{where}: there is no file {path}")
    if path.suffix != ".py":
        raise BadSetting(f"{where}: {path} is no Python file", hint="bot.py, or bot.py:name")
    if not path.stem.isidentifier():
        raise BadSetting(
            f"{where}: {path.name} cannot be imported", hint="letters, digits and _ make a name, such as my_bot.py"
        )
    try:
        module = importlib.import_module(_name_of(path.resolve()))
        found = getattr(module, name, None)
        if inspect.isfunction(found):
            found = found(house)
    except PenstockError as error:
        raise BadSetting(f"{where}: {_at(error, path)}: {error.message}", hint=error.hint) from error
    except (Exception, SystemExit) as error:  # other people's code: whatever it raises is told with its place
        raise BadSetting(f"{where}: {_at(error, path)}: {_told(error)}") from error
    if found is None:
        raise BadSetting(f"{where}: {path} has no '{name}'", hint=f'bot = "{path.name}:its_name"')
    return found


def _name_of(path: Path) -> str:
    """The name by which a file is imported: its own, where it belongs to our package; else in a package that stands for its
    folder."""
    if path.is_relative_to(OURS):
        return ".".join(("penstock", *path.relative_to(OURS).with_suffix("").parts))
    package = f"penstock_bot_{hashlib.sha256(str(path.parent).encode()).hexdigest()[:12]}"
    if package not in sys.modules:
        first = path.parent / "__init__.py"
        if first.is_file():
            spec = importlib.util.spec_from_file_location(package, first, submodule_search_locations=[str(path.parent)])
            assert spec is not None, "a file of Python has a loader"
            assert spec.loader is not None, "a file of Python has a loader"
            module = importlib.util.module_from_spec(spec)
            sys.modules[package] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[package]
                raise
        else:
            module = types.ModuleType(package)
            module.__path__ = [str(path.parent)]
            module.__spec__ = importlib.machinery.ModuleSpec(package, None, is_package=True)
            sys.modules[package] = module
    return f"{package}.{path.stem}"


def _at(error: BaseException, path: Path) -> str:
    """Where an error came from: the last line that is in the folder of the file."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [
        one
        for one in traceback.extract_tb(error.__traceback__)
        if Path(one.filename).is_relative_to(path.resolve().parent)
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else str(path)


def _told(error: BaseException) -> str:
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {said}"
