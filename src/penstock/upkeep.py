"""Upkeep of a home folder: is everything in order, and a backup of it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from penstock import encoder
from penstock.agents.sandbox import KINDS, protection
from penstock.assemble import SEALED, assemble, key_source
from penstock.config import Settings, described_keys, is_loopback
from penstock.documents import graph
from penstock.documents.catalog import Catalog
from penstock.documents.graph import ENDING
from penstock.documents.library import Library
from penstock.documents.search import EXACT_UP_TO
from penstock.documents.sources import is_web
from penstock.errors import NotFound, PenstockError, StorageError
from penstock.jobs.files import Files
from penstock.keys import Key, Keys
from penstock.models.providers import PROVIDERS
from penstock.observe.sealed import Sealed
from penstock.storage import backup
from penstock.storage.arrays import verify_arrays
from penstock.storage.database import Database
from penstock.storage.envelope import Envelope

__all__ = ["Check", "back_up", "examine", "missing"]


def back_up(settings: Settings, target: Path) -> int:
    """Write the home folder's state into an archive. Returns its size in bytes."""
    home = settings.home_path
    if not (home / "penstock.db").is_file():
        raise NotFound(f"there is nothing to back up in {home}")

    def files(copy: Path) -> Iterable[str]:
        segments = [f"segments/{number}/{name}" for number, name in Catalog(Database(copy)).all_segment_files()]
        segments += [
            graph for name in segments if (home / (graph := f"{name.removesuffix('.arrays')}{ENDING}")).is_file()
        ]
        uploads = sorted(path.relative_to(home).as_posix() for path in (home / "uploads").rglob("*") if path.is_file())
        kept = [f"files/{name}" for name in Files(Database(copy), home / "files", most_bytes=0).ids()]
        signing = (
            ["audit/key.pem"] if (home / "audit" / "key.pem").is_file() else []
        )  # what is signed goes on being checked
        past = [f"{SEALED}/{part.file}" for part in Sealed(Database(copy), home / SEALED).segments()]
        return [*segments, *uploads, *kept, *signing, *past]

    return backup.back_up(home, target, files)


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    hint: str = ""


def examine(settings: Settings) -> list[Check]:
    """Look at the installation, the encoder, the home folder and every file in it."""
    return [
        *_examine_installation(),
        _examine_tools(),
        _examine_encoder(settings),
        *_examine_home(settings),
        _examine_keys(settings),
        *_examine_seal(settings),
    ]


def missing(settings: Settings) -> list[str]:
    """What the settings name and is not there: folders, golden questions, an embedder."""
    found = []
    for name, collection in settings.documents.items():
        named = [(f"documents.{name}.paths", path) for path in collection.paths if not is_web(path)]
        named += [(f"documents.{name}.golden", collection.golden)] if collection.golden else []
        found += [f"{key}: there is no {path}" for key, path in named if not _at(settings, path).exists()]
    model = settings.embedder.model
    if (
        model != "minilm"
        and not model.startswith(("hub:", "http://", "https://"))
        and not _at(settings, model).is_dir()
    ):
        found.append(f"embedder.model: there is no folder {model}")
    for name, served in settings.models.items():
        kind = PROVIDERS.get(served.provider)
        if kind is None and served.provider != "local":
            found.append(f"models.{name}.provider: there is no provider '{served.provider}'")
        elif kind is not None and not (served.base_url or kind.base_url):
            found.append(f"models.{name}.base_url: {served.provider} has no address of its own")
    if not is_loopback(settings.server.host) and not settings.keys and not _stored_keys(settings):
        found.append(f"server.host: {settings.server.host} can be reached by others, and there is no key")
    return found


def _stored_keys(settings: Settings) -> list[Key]:
    """Those that `penstock keys create` made. An empty home stays empty."""
    if not (settings.home_path / "penstock.db").is_file():
        return []
    database = Database(settings.home_path / "penstock.db")
    try:
        return Keys(database, {}).all()
    finally:
        database.close()


def _at(settings: Settings, path: str) -> Path:
    return settings.folder / Path(path).expanduser()


def _examine_installation() -> Iterator[Check]:
    yield Check(
        "python",
        sys.version_info >= (3, 11),
        platform.python_version(),
        "" if sys.version_info >= (3, 11) else "3.11 or later",
    )
    for extra, module, gain in (
        ("fast", "uvloop", "a faster server"),
        ("ocr", "rapidocr", "text in scans and pictures"),
        ("hnsw", "faiss", "fast search beyond 50,000 passages"),
        ("analytics", "duckdb", "a journal that is sealed into files, and questions about all of it"),
        ("otel", "opentelemetry.proto", "traces and numbers for OpenTelemetry"),
    ):
        there = False
        with suppress(ModuleNotFoundError):  # the package that a module is in
            there = importlib.util.find_spec(module) is not None
        hint = "" if there else f"pip install 'penstock[{extra}]' brings {gain}"
        yield Check(f"extra '{extra}'", True, "installed" if there else "not installed", hint)


def _examine_tools() -> Check:
    """What holds for tools that are run in a sandbox. A system that gives less is no fault."""
    held = protection()
    lacks = [KINDS[name] for name, holds in held.items() if not holds]
    cut = "the network is cut" if held["network"] else "the network is not cut here"
    return Check("sandbox", True, f"{cut}; {len(held) - len(lacks)} of {len(held)} protections hold", _without(lacks))


def _without(lacks: list[str]) -> str:
    return f"tools run without: {'; '.join(lacks)}" if lacks else ""


def _examine_encoder(settings: Settings) -> Check:
    if settings.embedder.model != "minilm":
        return Check("encoder", True, settings.embedder.model)
    for name, expected in encoder.card()["sha256"].items():
        path = encoder.WEIGHTS / "minilm" / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            hint = "pip install --force-reinstall penstock"
            return Check("encoder", False, f"{name} is not the file that was shipped", hint)
    arithmetic = "int8" if encoder.fast_int8() else "float32"
    return Check("encoder", True, f"all-MiniLM-L6-v2, {arithmetic} on this processor")


def _examine_home(settings: Settings) -> Iterator[Check]:
    home = settings.home_path
    yield Check("settings", True, str(settings.file or "no penstock.toml, the defaults"))
    if not (home / "penstock.db").is_file():
        yield Check("home", True, f"{home} is empty", "penstock docs add PATH")
        return
    free = shutil.disk_usage(home).free
    yield Check(
        "home",
        os.access(home, os.W_OK),
        f"{home}, {free / 1e9:.1f} GB free",
        "" if os.access(home, os.W_OK) else "it cannot be written",
    )
    try:
        house = assemble(settings)
    except StorageError as error:
        yield Check("catalog", False, error.message, error.hint)
        return
    try:
        yield from _examine_library(house.library, home)
    finally:
        house.close()


def _examine_keys(settings: Settings) -> Check:
    try:
        stored = _stored_keys(settings)
    except PenstockError as error:
        return Check("keys", False, error.message, error.hint)
    states = Counter("active" if key.state == "active" else "revoked or expired" for key in stored)
    stated = described_keys(settings)
    counts = [f"{len(stated)} in the settings"] if stated else []
    counts += [f"{count} stored, {state}" for state, count in sorted(states.items())]
    if counts:
        return Check("keys", True, "; ".join(counts))
    if is_loopback(settings.server.host):
        return Check("keys", True, "none, and none is needed on this machine alone")
    return Check(
        "keys", False, f"none, and {settings.server.host} can be reached by others", "penstock keys create NAME"
    )


def _examine_seal(settings: Settings) -> Iterator[Check]:
    """Whether what is sealed can be opened. Where nothing is, there is nothing to say."""
    if not (settings.home_path / "penstock.db").is_file():
        return
    database = Database(settings.home_path / "penstock.db")
    try:
        tables = database.read("select 1 from sqlite_master where name = 'data_keys'")
        rows = database.read("select tenant, purpose, id from data_keys where destroyed = 0") if tables else []
        for tenant, purpose, name in rows:
            Envelope(database, key_source(settings)).key(tenant, purpose, name)
        if rows:
            yield Check("encryption", True, f"{len(rows)} keys can be opened")
    except PenstockError as error:
        yield Check("encryption", False, error.message, error.hint or "put the key file back")
    finally:
        database.close()


def _examine_library(library: Library, home: Path) -> Iterator[Check]:
    restore = "penstock restore FILE"
    problem = library.catalog.database.read("pragma quick_check")[0][0]
    yield Check("catalog", problem == "ok", problem, "" if problem == "ok" else restore)
    files = [f"{number}/{name}" for number, name in library.catalog.all_segment_files()]
    damaged = [name for name in files if not _whole(home / "segments" / name)]
    yield Check(
        "segments", not damaged, f"damaged: {', '.join(damaged)}" if damaged else "whole", restore if damaged else ""
    )
    for name in library.names():
        live = next((v for v in library[name].versions() if v.live), None)
        skipped = len(library[name].skipped())
        found = f"{live.name}, {live.documents} documents" if live else "nothing published"
        hint = f"{skipped} files could not be read: penstock docs list {name}" if skipped else ""
        if live and live.passages > EXACT_UP_TO and not graph.installed():
            hint = f"{live.passages} passages: pip install 'penstock[hnsw]' makes search faster"
        yield Check(f"collection '{name}'", True, found, hint)


def _whole(path: Path) -> bool:
    try:
        return verify_arrays(path)
    except StorageError:
        return False
