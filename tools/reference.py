"""docs/reference from the code: `python -m tools.reference` writes it, `--check` fails when it is not what is there."""

from __future__ import annotations

import inspect
import json
import sys
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click

import penstock
from penstock import config, errors
from penstock.cli.main import cli
from penstock.server import alone, widget
from penstock.server.app import ROUTES

OUT = Path(__file__).parent.parent / "docs" / "reference"
NOTE = "<!-- Written by `make docs` from the code. Changes belong there. -->\n\n"
WIDTH = 96


def command_line() -> str:
    return "# The command line\n\n" + "\n".join(_commands(cli, None, "penstock"))


def _commands(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)
    yield f"## `{context.command_path}`\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            below = command.get_command(context, verb)
            if below and not below.hidden:
                yield from _commands(below, context, verb)


def settings() -> str:
    """Every table of penstock.toml, with the type, default and meaning of each key."""
    lines = [
        "# Settings\n",
        "`penstock.toml` is looked for in the current folder and the folders above it; `--config FILE` or `PENSTOCK_CONFIG`",
        "names another. Without one, the defaults hold. Durations are written `90s`, `15m`, `1h`, `7d`. A secret is written",
        "`env:NAME` and read from that variable, or `file:PATH` and read from that file, which is looked for from the folder of",
        "`penstock.toml`. An unknown key is refused, with the nearest known one.\n",
    ]
    hints = typing.get_type_hints(config.Settings)
    lines += ["## At the top\n", *_table(config.Settings)]
    for section in fields(config.Settings):
        kind: Any = hints[section.name]
        named = typing.get_args(kind)
        if is_dataclass(kind):
            lines += [f"## `[{section.name}]`\n", *_table(typing.cast(type, kind))]
        elif named and isinstance(named[1], type) and is_dataclass(named[1]):
            lines += [f"## `[{section.name}.NAME]`\n", f"{inspect.getdoc(named[1])}\n", *_table(named[1])]
    lines += [
        "## `[[documents.NAME.rules]]`\n",
        f"{inspect.getdoc(config.RuleSettings)}\n",
        *_table(config.RuleSettings),
    ]
    lines += [
        "## Variables\n",
        "Each overrides the file; a list is written with commas.\n",
        "| variable | setting |",
        "|---|---|",
    ]
    for name, (owner, key) in sorted(config.variables().items()):
        lines.append(f"| `{name}` | `{f'{owner}.' if owner else ''}{key}` |")
    return "\n".join(lines) + "\n"


def _table(kind: type) -> list[str]:
    rows = [f"| `{n}` | {t} | `{_toml(d, t)}` | {_cell(h)} |" for n, t, d, h in config.defaults_of(kind)]
    return ["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _toml(value: Any, kind: str) -> str:
    if kind == "duration":
        return f"{value:g}s"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def refusals() -> str:
    """Every error with its HTTP status, its code and whether to try again."""
    lines = [
        "# Errors\n",
        "Every refusal has one shape, on every route and wherever `--json` is given. OpenAI's clients understand it.\n",
        "```json",
        json.dumps(errors.NotFound("there is no model 'x'", hint="known: handbook").body(), indent=2),
        "```\n",
        "| class | status | code | try again | when |",
        "|---|---|---|---|---|",
    ]
    for name in errors.__all__:
        kind = getattr(errors, name)
        again = "yes" if kind.retryable else "no"
        lines.append(f"| `{name}` | {kind.status} | `{kind.code}` | {again} | {_cell(_flat(kind))} |")
    return "\n".join(lines) + "\n"


def routes() -> str:
    """Every HTTP route with what it does."""
    lines = [
        "# HTTP routes\n",
        "Bodies and answers are JSON unless it says otherwise. [Errors](errors.md) have one shape. Where the settings name",
        "keys, every route but the health checks and the page itself needs one: `Authorization: Bearer KEY`.\n",
        "| method | path | what |",
        "|---|---|---|",
        "| GET | `/healthz` | Whether the process lives. |",
        "| GET | `/readyz` | Whether it takes requests: 503 while starting and draining. |",
        "| GET | `/` | The chat page. |",
        f"| GET | `{alone.PATH}` | {_cell(_flat(alone.page))} |",
    ]
    for method, path, route in ROUTES:
        lines.append(f"| {method} | `{path}` | {_cell(_flat(route))} |")
    lines += [
        "\n## Widgets\n",
        "What [a chat on other sites](../guides/widget.md) is made of. No key opens these: visitors have a token,",
        "`x-penstock-visit`, which opens nothing else.\n",
        "| method | path | what |",
        "|---|---|---|",
        "| GET | `/widget.js` | The file that other sites load. |",
    ]
    for method, path, route in widget.ROUTES:
        lines.append(f"| {method} | `{path}` | {_cell(_flat(route))} |")
    return "\n".join(lines) + "\n"


def python() -> str:
    """The names that `from penstock import …` offers."""
    lines = ["# Python\n"]
    for name in penstock.__all__:
        thing = getattr(penstock, name)
        if not inspect.isclass(thing):
            continue
        lines += [f"## `{name}`\n", f"{inspect.getdoc(thing)}\n"]
        if is_dataclass(thing):
            lines += ["```python", *_fields(thing), "```\n"]
        for member, function in vars(thing).items():
            about = _flat_member(function)
            if not member.startswith("_") and about:
                lines += [f"### `{name}.{member}{_signature(function)}`\n", f"{about}\n"]
    return "\n".join(lines)


def _fields(kind: type) -> list[str]:
    """The lines of a dataclass that declare its fields, with what they say beside them."""
    lines = inspect.getsource(kind).splitlines()
    names = {field.name for field in fields(typing.cast(Any, kind))}
    return [line.strip() for line in lines if line.strip().partition(":")[0] in names and line.startswith("    ")]


def _flat(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


def _flat_member(function: Any) -> str:
    inner = function.fget if isinstance(function, property) else getattr(function, "__func__", function)
    return inspect.getdoc(inner) or "" if inspect.isfunction(inner) else ""


def _signature(function: Any) -> str:
    if isinstance(function, property):
        return ""
    signature = inspect.signature(getattr(function, "__func__", function))
    shown = [p for n, p in signature.parameters.items() if n not in ("self", "cls")]
    return str(signature.replace(parameters=shown)).replace("'", "")


PAGES = {
    "command-line.md": command_line,
    "settings.md": settings,
    "errors.md": refusals,
    "http.md": routes,
    "python.md": python,
}


def main() -> None:
    differs = []
    for name, page in PAGES.items():
        path, text = OUT / name, NOTE + page()
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        if "--check" in sys.argv:
            differs.append(name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        print(f"wrote docs/reference/{name}")
    if differs:
        sys.exit(f"docs/reference is not what the code says ({', '.join(differs)}): run make docs")


if __name__ == "__main__":
    main()
