"""Phrases that attacks, ordinary requests and documents are put together from: a file for each language, a line for each."""

from __future__ import annotations

from pathlib import Path

__all__ = ["phrases"]


def phrases(name: str) -> dict[str, tuple[str, ...]]:
    """The sections of one file. A line in quotes keeps its spaces; a backslash and n is a line break."""
    found: dict[str, tuple[str, ...]] = {}
    for section in (Path(__file__).parent / f"{name}.txt").read_text("utf-8").split("\n[")[1:]:
        title, _, lines = section.partition("]\n")
        found[title] = tuple(_line(line) for line in lines.rstrip("\n").split("\n"))
    return found


def _line(line: str) -> str:
    if len(line) > 1 and line[0] == line[-1] == '"':
        line = line[1:-1]
    if "\\" not in line:
        return line
    return line.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\")
