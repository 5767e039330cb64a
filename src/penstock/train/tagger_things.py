"""Things that look like names when they stand in a row: colours, cheeses, teams, programs, dishes, in sixteen languages.

They come from tagger_sentences/things.txt, and hundreds of them in each language from the names of emoji (the package emoji)
and of languages, countries, currencies and cities (CLDR, in the package Babel).
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Things", "things_of"]

FILE = Path(__file__).parent / "tagger_sentences" / "things.txt"
LONGEST = 26  # characters of a thing


@dataclass(frozen=True, slots=True)
class Things:
    """One language's: groups of things of one kind, words that are names as well, and what stands around them."""

    groups: list[list[str]]
    ambiguous: list[str]
    labels: list[str]  # before a list of things
    people: list[str]  # before a list of people
    sentences: list[str]  # {x} is a thing, or several
    places: list[list[str]] = field(default_factory=list)

    def words(self) -> list[str]:
        return [thing for group in [*self.groups, self.ambiguous] for thing in group]


def things_of(language: str, wheels: Sequence[Path] = ()) -> Things:
    """wheels: the files of emoji and Babel, where they are there."""
    parts: dict[str, list[str]] = {}
    part: list[str] = []
    for line in FILE.read_text("utf-8").splitlines():
        if line.startswith("["):
            part = parts.setdefault(line.strip("[]"), [])
        elif line:
            part.append(line)
    own = {
        name: "|".join(parts[f"{language} {name}"]).split("|")
        for name in ("ambiguous", "labels", "people", "sentences")
    }
    groups = [line.split("|") for line in parts["everywhere"]]
    places: list[list[str]] = []
    for file in wheels:
        if file.name.lower().startswith("emoji-"):
            groups += [_emoji(file, language)] * 20
        elif file.name.lower().startswith("babel-"):
            data = _cldr(file, language)
            groups += [_short(data[name]) for name in ("languages", "currency_names")] * 3
            cities = [zone["city"] for zone in data["time_zones"].values() if "city" in zone]
            places += [_short(data["territories"]), [city for city in cities if isinstance(city, str)]]
    return Things([group for group in groups if group], **own, places=[group for group in places if group])


def _short(found: dict[Any, Any]) -> list[str]:
    return [text for text in found.values() if isinstance(text, str) and 1 < len(text) <= LONGEST and "(" not in text]


def _emoji(wheel: Path, language: str) -> list[str]:
    """Names of pictures, without flags, skins and what is put together."""
    with zipfile.ZipFile(wheel) as archive:
        file = f"emoji/unicode_codes/emoji_{language}.json" if language != "en" else "emoji/unicode_codes/emoji.json"
        if file not in archive.namelist():
            return []
        rows = json.loads(archive.read(file))
    found = []
    for picture, value in rows.items():
        name = value["en"] if isinstance(value, dict) else value
        text = name.strip(":").replace("_", " ")
        alone = len(picture.rstrip("\ufe0f")) == 1 and not re.search(r"\d", text)
        if alone and len(text) <= LONGEST and text.count(" ") < 3:
            found.append(text)
    return sorted(set(found))


class _Plain(pickle.Unpickler):
    """Reads Babel's tables, which are dicts of strings, and makes nothing of what else they name."""

    def find_class(self, module: str, name: str) -> Any:
        return _Nothing


class _Nothing:
    def __init__(self, *given: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _cldr(wheel: Path, language: str) -> dict[str, dict[Any, Any]]:
    with zipfile.ZipFile(wheel) as archive:
        found: dict[str, dict[Any, Any]] = _Plain(io.BytesIO(archive.read(f"babel/locale-data/{language}.dat"))).load()
    return found
