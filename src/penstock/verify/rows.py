"""Rows that a tool or a database returned, as text that a check can read: each row a line, each value after its name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.errors import BadRequest

__all__ = ["are_rows", "as_text"]

DEEPEST = 6


def are_rows(context: Any) -> bool:
    """Whether a context is rows, or a list of them, and not text."""
    return isinstance(context, Mapping) or (
        isinstance(context, list) and bool(context) and all(isinstance(one, Mapping) for one in context)
    )


def as_text(value: Any) -> str:
    """JSON as lines: `order: 4711; total: 12.50 EUR`. A text stays as it is; one that is JSON is read.

    Names of fields stand before their values, `shipped_at` as "shipped at", so that numbers are compared with the words they
    belong to. Raises BadRequest for what is no JSON value.
    """
    if isinstance(value, str):
        stripped = value.strip()
        if stripped[:1] in ("{", "["):
            try:
                return "\n".join(_lines(json.loads(stripped)))
            except (ValueError, RecursionError):
                return value
        return value
    return "\n".join(_lines(value))


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{'; '.join(_fields(value, ''))}."] if value else []
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [line for item in value for line in _lines(item)]
    return [_plain(value)]


def _fields(row: Mapping[str, Any], around: str, depth: int = 0) -> list[str]:
    found = []
    for name, value in row.items():
        label = f"{around}{str(name).replace('_', ' ').strip()}"
        if isinstance(value, Mapping) and depth < DEEPEST:
            found += _fields(value, f"{label} ", depth + 1)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            rows = [item for item in value if isinstance(item, Mapping)]
            plain = [_plain(item) for item in value if not isinstance(item, Mapping | list)]
            found += [f"{label}: {', '.join(plain)}"] if plain else []
            found += [f"{label}: {', '.join(_fields(item, '', depth + 1))}" for item in rows if depth < DEEPEST]
        else:
            found.append(f"{label}: {_plain(value)}")
    return found


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | str):
        return str(value)
    raise BadRequest(f"a {type(value).__name__} is no value of JSON")
