"""Changes values in `penstock.toml` and leaves everything else as the person wrote it, byte for byte.

A change is made against the text that the caller has read, is checked by `config.load` before anything is written, appears in one
step, and can be undone. It knows how TOML is laid out, and nothing of what the settings mean: tomlkit, which knows it too, puts new
keys below the comment of the next table, and takes that comment away with the table above.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, time
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from penstock.config import FILE_NAME, Settings, load
from penstock.errors import BadSetting, Conflict, NotFound, PenstockError, StorageError
from penstock.storage.files import new_file, storage_errors

__all__ = [
    "Key",
    "Written",
    "alone",
    "change",
    "digest",
    "lines",
    "path_of",
    "previewed",
    "problem",
    "read_again",
    "undo",
    "undoable",
]

Key = tuple[str | int, ...]  # ("guard", "default", "secrets"); a number counts the tables of a [[list]]
# of what the settings will be; the file is replaced within it
Recording = Callable[[Settings], AbstractContextManager[Any]]

FOLDER = "settings"  # of the home: earlier texts, and the lock
KEPT = 20  # earlier texts
LOCK_S = 10.0
WIDTH = 100  # a longer list is written one entry a line
MARK = "\ufeff"  # that some editors put before a text


@dataclass(frozen=True, slots=True)
class Written:
    """What a change has done. keys: the settings that are other than before; none where nothing had to be written."""

    digest: str
    file: Path
    keys: tuple[str, ...] = ()


def path_of(settings: Settings) -> Path:
    """The file that settings are read from; where there is none, the one that would be."""
    return Path(os.path.realpath(settings.file or settings.folder / FILE_NAME))


def read_again(settings: Settings, *, keys: bool = True) -> Settings:
    """What the file says by now. Raises BadSetting."""
    path = path_of(settings)
    said = _bytes(path)
    if said is None:
        raise BadSetting(f"there is no settings file {path}")
    return _loaded(settings, _decoded(said, path), keys=keys)


def digest(settings: Settings) -> str:
    """What the file says now, as a short code, for `expected`; "" where there is no file. Raises BadSetting."""
    return _digest(_bytes(path_of(settings)))


def problem(settings: Settings) -> str:
    """Why the file cannot be changed from here, as far as can be told before; "" where nothing speaks against it."""
    path = path_of(settings)
    try:
        found = path.stat()
    except FileNotFoundError:
        return "" if os.access(path.parent, os.W_OK) else f"the folder {path.parent} is read-only"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if not stat.S_IMODE(found.st_mode) & 0o222 or not os.access(path, os.W_OK):
        return f"{path} is read-only"
    if os.name == "posix" and os.geteuid() not in (0, found.st_uid):  # a new one would be somebody else's
        return f"{path} belongs to somebody else"
    return "" if os.access(path.parent, os.W_OK) else f"the folder {path.parent} is read-only"


def change(
    settings: Settings,
    values: Mapping[Key, Any],
    *,
    expected: str,
    environment: Mapping[str, str] | None = None,
    recording: Recording = nullcontext,
) -> Written:
    """Set values of the file, and make it where there is none. None takes a value or a table out; a mapping is a whole table.

    expected: the `digest` of what the caller has read. Raises Conflict where the file says something else by now, BadSetting
    where the settings would not be right, and StorageError where it cannot be written; what `recording` raises goes on. Then
    nothing has changed.
    """
    path = path_of(settings)
    with alone(settings) as folder:
        before = _expected(path, expected)
        text = _decoded(before or b"", path)
        new = _changed(text, values, path)
        keys = _differing(text, new, path)
        if new == text and before is not None:
            return Written(expected, path)
        made = _loaded(settings, new, environment)
        after = new.encode()
        _keep(folder, before or b"", _digest(after))
        _replace(path, before, after, recording(made))
    return Written(_digest(after), path, keys)


def previewed(
    settings: Settings, values: Mapping[Key, Any], *, environment: Mapping[str, str] | None = None
) -> Settings:
    """The settings as `change` would make them. Nothing is written. Raises BadSetting."""
    path = path_of(settings)
    return _loaded(settings, _changed(_decoded(_bytes(path) or b"", path), values, path), environment)


def undoable(settings: Settings) -> tuple[str, ...]:
    """The settings that `undo` would change; none where the file is not as a change from here left it."""
    path = path_of(settings)
    now = _bytes(path)
    kept = _before(settings.home_path / FOLDER, _digest(now))
    if not kept:
        return ()
    with storage_errors(kept[0]):
        return _differing(_decoded(now or b"", path), _decoded(kept[0].read_bytes(), path), path)


def undo(
    settings: Settings,
    *,
    expected: str,
    environment: Mapping[str, str] | None = None,
    recording: Recording = nullcontext,
) -> Written:
    """Take back the change that made the file what it is. Raises as `change` does, and NotFound where none from here did."""
    path = path_of(settings)
    with alone(settings) as folder:
        now = _expected(path, expected)
        kept = _before(folder, expected)
        if not kept:
            raise NotFound(f"no change from here made {path} what it is", hint="change it by hand")
        with storage_errors(kept[0]):
            before = kept[0].read_bytes()
        old, new = _decoded(now or b"", path), _decoded(before, path)
        made = _loaded(settings, new, environment)
        _replace(path, now, before, recording(made))
        for one in kept:
            one.unlink(missing_ok=True)
    return Written(_digest(before), path, _differing(old, new, path))


def lines(values: Mapping[Key, Any]) -> str:
    """Values as lines of TOML, for somebody who writes them into the file by hand."""
    return _changed("", {key: value for key, value in values.items() if value is not None}, Path(FILE_NAME))


# ---------------------------------------------------------------- the file, and the texts before


def _loaded(
    settings: Settings, text: str, environment: Mapping[str, str] | None = None, *, keys: bool = True
) -> Settings:
    """The settings as a text says them. Relative paths start where they do now: where the file is a link, beside the link."""
    named = settings.file or settings.folder / FILE_NAME
    return load(named, environment=environment, keys=keys, text=text)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from error


def _expected(path: Path, expected: str) -> bytes | None:
    """What the file says, where that is what the caller has read."""
    said = _bytes(path)
    if _digest(said) != expected:
        raise Conflict(f"{path} was changed in the meantime", hint="look at it anew, and change it again")
    return said


def _digest(said: bytes | None) -> str:
    return "" if said is None else hashlib.sha256(said).hexdigest()[:32]


def _decoded(said: bytes, path: Path) -> str:
    try:
        return said.decode()
    except UnicodeDecodeError as error:
        raise BadSetting(f"{path} is not in UTF-8: byte {error.start}", hint="save it as UTF-8") from error


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text.removeprefix(MARK))
    except (ValueError, RecursionError) as error:
        raise BadSetting(f"{path} is not valid TOML: {error}") from error


@contextmanager
def alone(settings: Settings) -> Iterator[Path]:
    """The folder of earlier texts, while nobody else changes the file from here. Raises Conflict where somebody does."""
    folder = settings.home_path / FOLDER
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(folder / "lock")
    with storage_errors(folder):
        try:
            lock.acquire(timeout=LOCK_S)
        except Timeout as error:
            raise Conflict("somebody else is changing the settings", hint="try again") from error
    try:
        yield folder
    finally:
        lock.release()


def _keep(folder: Path, text: bytes, after: str) -> None:
    """Keep a text, by number and by what follows on it. The oldest ones go."""
    kept = _kept(folder)
    number = int(kept[-1].name.partition("-")[0]) + 1 if kept else 1
    with new_file(folder / f"{number:06}-{after}.toml") as file:  # readable by its owner alone
        file.write(text)
    with storage_errors(folder):
        for old in kept[: max(0, len(kept) + 1 - KEPT)]:
            old.unlink(missing_ok=True)


def _kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*-*.toml"))


def _before(folder: Path, now: str) -> list[Path]:
    """The text that was there before the present one, and what was kept since for changes that came to nothing."""
    kept = _kept(folder)
    found = [n for n, one in enumerate(kept) if one.stem.partition("-")[2] == now]
    return kept[found[-1] :] if found else []


def _replace(path: Path, before: bytes | None, after: bytes, recording: AbstractContextManager[Any]) -> None:
    """Replace the file within a record of it: where the one cannot be made, the other is as it was."""
    try:
        with recording:
            _write(path, after)
    except BaseException:
        if _bytes(path) == after != before:
            if before is None:
                path.unlink()
            else:
                _write(path, before)
        raise


def _write(path: Path, said: bytes) -> None:
    """Replace the file in one step by one of the same owner and mode."""
    try:
        was = path.stat()
    except OSError:
        was = None
    if was and not stat.S_IMODE(was.st_mode) & 0o222:
        raise _unwritable(path, "it is read-only")
    try:
        with new_file(path) as file:
            if was and os.name == "posix":
                with storage_errors(path):
                    if (was.st_uid, was.st_gid) != (os.geteuid(), os.fstat(file.fileno()).st_gid):
                        os.fchown(file.fileno(), was.st_uid, was.st_gid)
                    os.fchmod(file.fileno(), stat.S_IMODE(was.st_mode))
            file.write(said)
    except StorageError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY):
            raise _unwritable(path, cause.strerror or "") from error
        raise


def _unwritable(path: Path, why: str) -> StorageError:
    return StorageError(f"{path} cannot be changed from here: {why}", hint="write the lines into it by hand")


# ---------------------------------------------------------------- a text with other values


class _Statement(NamedTuple):
    """A `[header]` or `key = value` of a text, with the lines it takes. value: from where to where, in the text."""

    key: Key
    table: Key  # the table that it stands in; of a header, the one it opens
    start: int
    end: int
    value: tuple[int, int] | None = None


_NAME = r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_NAMES = rf"[ \t]*(?P<names>{_NAME}(?:[ \t]*\.[ \t]*{_NAME})*)[ \t]*"
_NOTHING = re.compile(r"[ \t]*(#[^\n]*)?\r?(?:\n|\Z)")
_HEADER = re.compile(rf"[ \t]*(?P<open>\[\[?){_NAMES}\]\]?[^\n]*(?:\n|\Z)")
_ASSIGNED = re.compile(rf"{_NAMES}=[ \t]*")
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\[\s\S])*?"""(?!")' r"|'''[\s\S]*?'''(?!')" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'|#[^\n]*|[\s\S]"
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def _statements(text: str) -> list[_Statement]:
    """Everything of a valid text but blank lines and comments."""
    found: list[_Statement] = []
    table: Key = ()
    counts: dict[Key, int] = {}
    at = len(MARK) if text.startswith(MARK) else 0
    while at < len(text):
        if nothing := _NOTHING.match(text, at):
            at = nothing.end()
        elif header := _HEADER.match(text, at):
            *above, last = _names(header["names"])
            table = ()
            for name in above:
                table = _within((*table, name), counts)
            table = (*table, last)
            if header["open"] == "[[":
                counts[table] = counts.get(table, 0) + 1
            table = _within(table, counts)
            found.append(_Statement(table, table, at, header.end()))
            at = header.end()
        elif assigned := _ASSIGNED.match(text, at):
            last_of_value, end = _value_end(text, assigned.end())
            key = (*table, *_names(assigned["names"]))
            found.append(_Statement(key, table, at, end, (assigned.end(), last_of_value)))
            at = end
        else:
            raise ValueError("a line that is neither a table nor a value")
    return found


def _within(key: Key, counts: Mapping[Key, int]) -> Key:
    return (*key, counts[key] - 1) if key in counts else key


def _names(text: str) -> tuple[str, ...]:
    """The parts of a dotted key."""
    inner: Any = tomllib.loads(f"{text} = 0")
    found: list[str] = []
    while isinstance(inner, dict):
        [(name, inner)] = inner.items()
        found.append(name)
    return tuple(found)


def _value_end(text: str, at: int) -> tuple[int, int]:
    """Where a value ends that begins there, and where its last line does."""
    depth, last = 0, at
    while token := _TOKEN.match(text, at):
        said = token[0]
        if said == "\n" and not depth:
            return last, token.end()
        depth += (said in "[{") - (said in "]}")
        at = token.end()
        if not said.isspace() and (said[0] != "#" or depth):
            last = at
    return last, at


def _changed(text: str, values: Mapping[Key, Any], path: Path) -> str:
    """The text with other values. Raises BadSetting where it is laid out in a way that this cannot change."""
    wanted = deepcopy(_parsed(text, path))
    new = text
    try:
        for key, value in values.items():
            _update(wanted, key, value)
            new = _with(new, key, value)
        if _filled(tomllib.loads(new.removeprefix(MARK))) == _filled(wanted):
            return new
    except PenstockError:
        raise
    except (ValueError, KeyError, IndexError, TypeError):
        pass
    names = ", ".join(".".join(map(str, key)) for key in values)
    raise BadSetting(
        f"{path} is laid out in a way in which {names} cannot be changed from here", hint="change it by hand"
    )


def _with(text: str, key: Key, value: Any) -> str:
    old = _found(tomllib.loads(text.removeprefix(MARK)), key)
    if value is None:
        return text if old is None else _without(text, key)
    if isinstance(value, Mapping) and isinstance(old, Mapping):
        for name in [name for name in old if name not in value]:
            text = _with(text, (*key, name), None)
        for name, inner in value.items():
            text = _with(text, (*key, name), inner)
        return text
    if type(value) is type(old) and value == old:
        return text
    if isinstance(value, list | tuple) and isinstance(old, list) and list(value) == old:
        return text
    if isinstance(value, Mapping) and len(key) < 3:
        if old is not None:
            text = _without(text, key)
        if len(key) > 1 or not any(isinstance(inner, Mapping) for inner in value.values()):
            text = _with_table(text, key)
        for name, inner in value.items():
            text = _with(text, (*key, name), inner)
        return text
    return _with_value(text, key, value)


def _with_value(text: str, key: Key, value: Any) -> str:
    """With a value in its place, in the table that it belongs to, or in a new one."""
    statements = _statements(text)
    for one in statements:
        if one.value and one.key == key[: len(one.key)]:
            if one.key != key:  # it is within an inline table
                whole = deepcopy(_found(tomllib.loads(text.removeprefix(MARK)), one.key))
                _update(whole, key[len(one.key) :], value)
                value = whole
            return _respelled(text, *one.value, value)
    if any(one.key[: len(key)] == key for one in statements):  # a table stands there
        text = _without(text, key)
        statements = _statements(text)
    while len(key) > 3 and not any(one.key[: len(key) - 1] == key[:-1] for one in statements):
        key, value = key[:-1], {str(key[-1]): value}
    table = key[:-1]
    here = [one for one in statements if one.table == table]
    if not table or here:
        return _with_line(text, here[-1] if here else None, _line(key[len(table) :], value, text), statements)
    inside = [one for one in statements if one.value and one.key[: len(table)] == table and len(one.table) < len(table)]
    if inside:  # the table is made by keys with dots in them
        return _with_line(text, inside[-1], _line(key[len(inside[-1].table) :], value, text), statements)
    return _with_value(_with_table(text, table), key, value)


def _respelled(text: str, start: int, end: int, value: Any) -> str:
    """With another value in the place of one. Of a list with comments only the entries are changed that are other ones."""
    said = text[start:end]
    if not _comments(said):
        return text[:start] + _spelled(value, text) + text[end:]
    old = tomllib.loads(f"list = {said}")["list"]
    if not isinstance(old, list) or not isinstance(value, list | tuple):
        raise ValueError("comments would be lost")
    for at, to, new in sorted(_edits(said, old, value, _newline(text)), reverse=True):
        said = said[:at] + new + said[to:]
    return text[:start] + said + text[end:]


def _comments(text: str) -> bool:
    return any(token[0].startswith("#") for token in _TOKEN.finditer(text))


def _edits(said: str, old: Sequence[Any], new: Sequence[Any], newline: str) -> Iterator[tuple[int, int, str]]:
    """What makes one list of the other: from where to where, and what stands there then."""
    entries = _entries(said)
    before, after = [repr(one) for one in old], [repr(one) for one in new]
    for _, from_, to, from_new, to_new in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        both = min(to - from_, to_new - from_new)
        for n in range(both):
            if before[from_ + n] != after[from_new + n]:
                at, end, _ = entries[from_ + n]
                if _comments(said[at:end]):
                    raise ValueError("comments would be lost")
                yield at, end, _spelled(new[from_new + n])
        for one in entries[from_ + both : to]:
            yield from _taken_out(said, one)
        if more := [_spelled(one) for one in new[from_new + both : to_new]]:
            yield from _more(said, entries, from_ + both, more, newline)


def _more(
    said: str, entries: Sequence[tuple[int, int, int]], place: int, more: Sequence[str], newline: str
) -> Iterator[tuple[int, int, str]]:
    """Entries that are put before a place: each on a line of its own where those above are."""
    if not entries:
        at = said.rindex("\n") + 1
        yield at, at, "".join(f"  {one},{newline}" for one in more)
    elif not place:
        at = entries[0][0]
        between = newline + _indent(said, at) if _begins_line(said, at) else " "
        yield at, at, "".join(f"{one},{between}" for one in more)
    else:
        at, end, comma = entries[place - 1]
        behind = (comma or end - 1) + 1
        rest = _NOTHING.match(said, behind)
        if rest and rest.end() < len(said):
            if not comma:
                yield end, end, ","
            indent = _indent(said, at) or "  "
            yield rest.end(), rest.end(), "".join(f"{indent}{one},{newline}" for one in more)
        else:
            yield behind, behind, "".join(f" {one}," if comma else f", {one}" for one in more)


def _taken_out(said: str, entry: tuple[int, int, int]) -> Iterator[tuple[int, int, str]]:
    """Without an entry and its comma. Of a line of its own all goes, and what is said behind it."""
    at, end, comma = entry
    behind = (comma or end - 1) + 1
    rest = _NOTHING.match(said, behind)
    if said[end:comma].strip():  # there is a comment before the comma
        yield at, end, ""
        yield comma, behind, ""
    elif _begins_line(said, at) and rest and "\n" in rest[0]:
        yield said.rindex("\n", 0, at) + 1, rest.end(), ""
    else:
        yield at, behind, ""


def _begins_line(said: str, at: int) -> bool:
    return not said[said.rfind("\n", 0, at) + 1 : at].strip(" \t")


def _indent(said: str, at: int) -> str:
    line = said[said.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _entries(said: str) -> list[tuple[int, int, int]]:
    """From where to where each entry of a list goes, and where its comma is; 0 where it has none."""
    found: list[tuple[int, int, int]] = []
    start = end = depth = 0
    for token in _TOKEN.finditer(said, 1, len(said) - 1):
        if token[0] == "," and not depth:
            found.append((start, end, token.start()))
            start = 0
        elif not token[0].isspace() and token[0][0] != "#":
            depth += (token[0] in "[{") - (token[0] in "]}")
            start, end = start or token.start(), token.end()
    return [*found, (start, end, 0)] if start else found


def _with_line(text: str, above: _Statement | None, line: str, statements: Sequence[_Statement]) -> str:
    """With a line after a statement; without one, before the first table."""
    if above:
        start = text[above.start : above.end]
        indent = start[: len(start) - len(start.lstrip(" \t"))] if above.value else ""
        return _put(text, above.end, indent + line)
    first = _block(text, statements[0].start, len(MARK) if text.startswith(MARK) else 0) if statements else len(text)
    return _put(text, first, line + (_newline(text) if statements else ""))


def _with_table(text: str, table: Key) -> str:
    """With a new table behind those of its kind, or at the end."""
    statements, newline = _statements(text), _newline(text)
    if any(one.key == table and not one.value for one in statements):
        return text
    if any(one.value and one.key == table[: len(one.key)] for one in statements):  # what is above it is an inline table
        return _with_value(text, table, {})
    header = f"[{'.'.join(_name(str(name)) for name in table)}]{newline}"
    last = max((n for n, one in enumerate(statements) if one.table[:1] == table[:1]), default=len(statements) - 1)
    if last + 1 >= len(statements):
        return _put(text, len(text), ("" if _stands_apart(text, len(text)) else newline) + header)
    at = _block(text, statements[last + 1].start, statements[last].end)
    return _put(text, at, ("" if _stands_apart(text, at) else newline) + header + newline)


def _without(text: str, key: Key) -> str:
    """Without a value, or without a table and those in it. Comments between tables stay."""
    statements = _statements(text)
    for one in statements:
        if one.value and len(one.key) < len(key) and one.key == key[: len(one.key)]:
            whole = deepcopy(_found(tomllib.loads(text.removeprefix(MARK)), one.key))
            _update(whole, key[len(one.key) :], None)
            return _respelled(text, *one.value, whole)
    for n in reversed(range(len(statements))):
        one = statements[n]
        if one.key[: len(key)] != key:
            continue
        end, below = one.end, statements[n + 1 : n + 2]
        if one.table[: len(key)] == key and below and below[0].table == one.table:
            end = below[0].start  # comments within the table
        if not one.value and _stands_apart(text, one.start) and (empty := re.match(r"\r?\n", text[end:])):
            end += empty.end()  # of two empty lines that would meet one is enough
        text = text[: one.start] + text[end:]
    return text


def _block(text: str, at: int, least: int) -> int:
    """Where the comments begin that stand directly above a line, below the last line of something else."""
    while at > least:
        before = text.rfind("\n", least, at - 1) + 1 or least
        if not text[before:at].lstrip(" \t" + MARK).startswith("#"):
            break
        at = before
    return at


def _stands_apart(text: str, at: int) -> bool:
    """Whether nothing, or an empty line, stands above a place."""
    return not text[:at].removeprefix(MARK) or text[:at].endswith(("\n\n", "\n\r\n"))


def _put(text: str, at: int, more: str) -> str:
    begun = at and text[:at] != MARK and not text[:at].endswith("\n")
    return text[:at] + (_newline(text) if begun else "") + more + text[at:]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line(names: Key, value: Any, text: str) -> str:
    return f"{'.'.join(_name(str(name)) for name in names)} = {_spelled(value, text)}{_newline(text)}"


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _quoted(said: str) -> str:
    return json.dumps(said, ensure_ascii=False).replace("\x7f", "\\u007f")


def _spelled(value: Any, text: str = "") -> str:
    """A value in TOML. Raises BadSetting for what TOML cannot say."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            if any("\ud800" <= sign <= "\udfff" for sign in value):
                raise BadSetting("a value has characters that are none")
            return _quoted(value)
        case float() if not math.isfinite(value):
            raise BadSetting(f"{value} is no number for a setting")
        case int() | float():
            return repr(value)
        case Mapping():
            inner = ", ".join(f"{_name(name)} = {_spelled(one)}" for name, one in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            said = [_spelled(one) for one in value]
            short = f"[{', '.join(said)}]"
            if len(short) <= WIDTH:
                return short
            newline = _newline(text)
            return f"[{newline}{''.join(f'  {one},{newline}' for one in said)}]"
        case date() | time():
            return value.isoformat()
    raise BadSetting(f"a {type(value).__name__} is no value for a setting")


# ---------------------------------------------------------------- a tree of plain values


def _found(tree: Any, key: Key) -> Any:
    """What stands at a key; None where nothing does."""
    for name in key:
        try:
            tree = tree[name]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _update(tree: Any, key: Key, value: Any) -> None:
    *above, last = key
    for name in above:
        if isinstance(name, str) and isinstance(tree, dict):
            if not isinstance(tree.get(name), dict | list):
                if value is None:
                    return
                tree[name] = {}
        elif not (isinstance(name, int) and isinstance(tree, list)):
            raise KeyError(name)
        tree = tree[name]
    if value is not None:
        tree[last] = _plain(value)
    elif isinstance(tree, dict):
        tree.pop(last, None)
    else:
        del tree[last]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _filled(tree: Any) -> Any:
    """Without empty tables, which stand for nothing."""
    if not isinstance(tree, dict):
        return tree
    kept = {name: _filled(inner) for name, inner in tree.items()}
    return {name: inner for name, inner in kept.items() if inner != {}}


def _differing(old: str, new: str, path: Path) -> tuple[str, ...]:
    """The settings in which two texts differ."""
    return tuple(".".join(map(str, key)) for key in _changes(_parsed(old, path), _parsed(new, path)))


def _changes(old: Any, new: Any, above: Key = ()) -> list[Key]:
    """The keys at which two trees differ."""
    if old is None and new:
        old = {} if isinstance(new, dict) else None
    if new is None and old:
        new = {} if isinstance(old, dict) else None
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [] if old == new and type(old) is type(new) else [above]
    names = dict.fromkeys([*old, *new])
    return [key for name in names for key in _changes(old.get(name), new.get(name), (*above, name))]
