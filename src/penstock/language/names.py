"""What languages are called, in the reader's language. From Unicode CLDR; recipes/language_names.py made the file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

__all__ = ["name_of"]


@cache
def _names() -> dict[str, dict[str, str]]:
    names: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "names.json").read_text("utf-8"))
    return names


def name_of(language: str, reader: str = "en") -> str:
    """The name of a language for a reader of another: "German", "Deutsch". Its code where there is no name."""
    code, theirs = (tag.replace("_", "-").partition("-")[0].lower() for tag in (language, reader))
    names = _names()
    return names.get(theirs, names["en"]).get(code) or names["en"].get(code, language)
