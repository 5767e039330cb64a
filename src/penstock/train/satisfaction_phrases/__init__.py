"""What people and assistants say to each other, by act, and what about: the words of the generated dialogues."""

from __future__ import annotations

from pathlib import Path

__all__ = ["domains", "said"]

_HERE = Path(__file__).parent


def said() -> dict[str, tuple[str, ...]]:
    """Lines by section: `user.ask.tasks`, `system.offer`."""
    return _sections("said")


def domains() -> dict[str, dict[str, tuple[str, ...]]]:
    """What fills the slots of a line, by `family.domain`."""
    found = {}
    for title, lines in _sections("domains").items():
        named = (line.partition(": ") for line in lines)
        found[title] = {name: tuple(part.strip() for part in values.split(", ")) for name, _, values in named}
    return found


def _sections(name: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for section in (_HERE / f"{name}.txt").read_text("utf-8").split("\n[")[1:]:
        title, _, lines = section.partition("]\n")
        found[title] = tuple(line for line in lines.split("\n") if line.strip())
    return found
