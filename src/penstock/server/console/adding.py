"""A provider's model: asked one small question before anything of it is kept, written into the settings file, and taken out of it.

Its key is in a file of the home folder that only its owner can read. The settings name that file; no page shows what is in it.
"""

from __future__ import annotations

import asyncio
import re
import time
import tomllib
from collections.abc import Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from penstock import settings_file
from penstock.assemble import House
from penstock.config import ModelSettings, Secret, check_name
from penstock.errors import BadRequest, BadSetting, Conflict, PenstockError, UpstreamTimeout
from penstock.models.addresses import check_host
from penstock.models.client import Url
from penstock.models.providers import PROVIDERS, dialects
from penstock.models.translate import DIALECTS, read
from penstock.storage.files import new_file, storage_errors
from penstock.trace import log
from penstock.types import Dialect, ModelRequest, TextDelta

__all__ = ["add", "asked_for", "lines", "sweep", "take_out", "tried"]

SECRETS = "secrets"  # folder of the home
KEPT_S = 3600.0  # somebody may be adding a model now
QUESTION = "Say hello, in one short sentence."
PATIENCE_S = 25.0
LONGEST_SHOWN = 400


def asked_for(form: Mapping[str, str], house: House) -> tuple[str, ModelSettings]:
    """The model that a form describes, and its name. Raises BadRequest, or Conflict where the name is taken."""
    said = {name: form.get(name, "").strip() for name in ("name", "provider", "model", "base_url", "key")}
    try:
        name = check_name(said["name"], what="a model")
    except BadSetting as error:
        raise BadRequest(error.message, hint=error.hint) from error
    if said["provider"] not in PROVIDERS:
        raise BadRequest("there is no such provider", hint=f"{', '.join(PROVIDERS)}; 'openai' takes any address")
    if len(said["model"]) > 200 or re.search(r"\s", said["model"]) or not said["model"].isprintable():
        raise BadRequest("no model has such a name", hint="write it as the provider does: without spaces")
    key = said["key"]
    if len(key) > 4096 or not re.fullmatch(r"[!-~]*", key):
        raise BadRequest("no key looks like that", hint="copy it once more, without spaces")
    if key.startswith(("env:", "file:")):
        raise BadRequest("write the key itself", hint="env:NAME and file:PATH are for whoever edits penstock.toml")
    if said["base_url"]:
        _check_address(said["base_url"])
    elif not PROVIDERS[said["provider"]].base_url:
        raise BadRequest(
            f"{said['provider']} has no address of its own", hint="its console shows yours; it mostly ends in /v1"
        )
    _check_free(name, house)
    return name, ModelSettings(
        provider=said["provider"], model=said["model"], base_url=said["base_url"], api_key=Secret(key)
    )


def _check_free(name: str, house: House) -> None:
    if name in house.taken():
        raise Conflict(f"something is called '{name}' already", hint="choose another name")


def _check_address(address: str) -> None:
    if len(address) > 1000 or not re.fullmatch(r"https?://[^\s?#@/]+(/[^\s?#@]*)?", address):
        raise BadRequest("this is no address of a server", hint="https://host/v1, without a login and without ?")
    try:
        host = Url.parse(address).host
    except BadSetting as error:
        raise BadRequest(error.message, hint=error.hint) from error
    check_host(host)


async def tried(house: House, name: str, settings: ModelSettings) -> dict[str, Any]:
    """What became of one small call. Nothing of it is kept but that it was made."""
    if settings.model == "*":
        return {
            "ok": False,
            "message": "any model of a provider cannot be tried",
            "hint": "name one of its models for it",
        }
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_S):
            answer = await _answer(house, name, settings)
        found = {"ok": True, "answer": answer, "ms": (time.perf_counter() - began) * 1000}
    except TimeoutError:
        late = UpstreamTimeout(f"{name} did not answer within {PATIENCE_S:.0f} seconds")
        found = {"ok": False, "message": late.message, "hint": "try it once more, or look at the address"}
    except PenstockError as error:
        hint = error.hint
        if hint.startswith("check models."):
            hint = "copy it once more from the provider's page" if settings.api_key else "this provider wants a key"
        found = {"ok": False, "message": error.message, "hint": hint}
    found = {kind: _shown(said, settings) if isinstance(said, str) else said for kind, said in found.items()}
    await asyncio.to_thread(
        house.audit.record, "model.tried", target=name, provider=settings.provider, address=_host(settings),
        answered=bool(found["ok"]),
    )  # fmt: skip
    return found


def _shown(said: str, settings: ModelSettings) -> str:
    """What a provider says, without the key, which some repeat: it is replaced before anything is cut."""
    if settings.api_key:
        said = said.replace(settings.api_key, "…")
    return said[:LONGEST_SHOWN]


async def _answer(house: House, name: str, settings: ModelSettings) -> str:
    """What a model says to a small question, in the first of the dialects that it speaks."""
    speaks = dialects(settings, f"models.{name}")
    model = house.untried(name, settings)
    if not speaks & DIALECTS.keys():
        kind: Dialect = "embeddings" if "embeddings" in speaks else "rerank"
        body: dict[str, Any] = {"model": name, "input": "hello"}
        if kind == "rerank":
            body = {"model": name, "query": "hello", "documents": ["hello"]}
        async with aclosing(model.stream(ModelRequest(dialect=kind, model=name, body=body))) as events:
            async for _ in events:
                pass
        return kind
    said = {"model": name, "messages": [{"role": "user", "content": QUESTION}]}
    request = ModelRequest(dialect="chat", model=name, body=said)
    async with aclosing(read(model.stream(request), request)) as events:
        return "".join([event.text async for event in events if isinstance(event, TextDelta)]).strip()


def add(house: House, name: str, settings: ModelSettings) -> bool:
    """Write a model into the settings file, and its key into a file of its own. Returns whether it can be asked at once.

    Raises Conflict, BadSetting or StorageError, and then nothing has changed.
    """
    read_before = settings_file.digest(house.settings)
    house.reload_models()
    _check_free(name, house)  # as the file says by now
    file = _secrets(house) / f"{name}-{token_hex(4)}.key"  # nobody else's, whoever adds the same name meanwhile
    table = {"provider": settings.provider, "model": settings.model, "base_url": settings.base_url}
    if settings.api_key:
        with storage_errors(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with new_file(file) as written:  # readable by its owner alone
            written.write(settings.api_key.encode())
        table["api_key"] = f"file:{_as_settings_say(file, house)}"
    given = {key: said for key, said in table.items() if said}
    try:
        settings_file.change(house.settings, {("models", name): given}, expected=read_before)
    except PenstockError:
        file.unlink(missing_ok=True)
        raise
    house.audit.record(
        "model.added", target=name, provider=settings.provider, model=settings.model or name, address=_host(settings)
    )
    house.reload_models()
    return house.served_models.get(name) == settings


def take_out(house: House, name: str) -> bool:
    """Take a model out of the settings file, with its key. Returns whether it is gone at once."""
    if name not in house.settings.models:
        raise BadRequest(f"there is no model '{name[:80]}' in the settings file")
    file = _key_file(house, name)
    settings_file.change(house.settings, {("models", name): None}, expected=settings_file.digest(house.settings))
    if file is not None:
        with suppress(OSError):
            file.unlink(missing_ok=True)
    house.audit.record("model.removed", target=name)
    house.reload_models()
    return name not in house.settings.models


def sweep(house: House) -> None:
    """Delete keys that no settings file in its folder speaks of any more, a while after they were written."""
    folder, file, long_ago = _secrets(house), settings_file.path_of(house.settings), time.time() - KEPT_S
    if not folder.is_dir() or not file.is_file():
        return
    with storage_errors(folder):
        said = b"".join(one.read_bytes() for one in {file, *file.parent.glob("*.toml")})
        for key in folder.glob("*.key"):
            if key.name.encode() not in said and key.stat().st_mtime < long_ago:
                key.unlink(missing_ok=True)
                log("key deleted that no settings name", level="warning", file=key.name)


def lines(name: str, settings: ModelSettings) -> str:
    """What somebody writes into the settings file by hand, where it cannot be changed from here."""
    variable = PROVIDERS[settings.provider].variable or "MODEL_KEY"
    table = {"provider": settings.provider, "model": settings.model, "base_url": settings.base_url}
    table |= {"api_key": f"env:{variable}"} if settings.api_key else {}
    return settings_file.lines({("models", name): {key: said for key, said in table.items() if said}}).strip()


def _host(settings: ModelSettings) -> str:
    return Url.parse(settings.base_url or PROVIDERS[settings.provider].base_url).name


def _secrets(house: House) -> Path:
    return house.settings.home_path / SECRETS


def _key_file(house: House, name: str) -> Path | None:
    """The file with the key of a model, where it is one of ours."""
    try:
        said = tomllib.loads(settings_file.path_of(house.settings).read_text("utf-8-sig"))["models"][name]["api_key"]
        path = (house.settings.folder / said.removeprefix("file:")).resolve()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return path if said.startswith("file:") and path.parent == _secrets(house) else None


def _as_settings_say(file: Path, house: House) -> str:
    folder = house.settings.folder
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()
