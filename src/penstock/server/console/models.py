"""Models: how they are, what they cost, which routes lead to them; pulling one to this machine, adding one of a provider; and the
same question to several of them side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from penstock import settings_file
from penstock.assemble import House
from penstock.config import ModelSettings
from penstock.errors import BadRequest, Conflict, PenstockError
from penstock.models.local import is_installed
from penstock.models.providers import PROVIDERS
from penstock.models.shelf import PACKAGES, Card
from penstock.server.console import adding
from penstock.server.console.view import Action, Page, View
from penstock.server.http import Request
from penstock.server.manage import model_rows

__all__ = ["ACTIONS", "PAGES"]

PATH = "/console/models"
LONGEST_SOURCE = 2000


async def _list(request: Request, house: House) -> View:
    return await _listed(request, house)


async def _listed(request: Request, house: House, *, said: Mapping[str, str] | None = None, tried: Any = None) -> View:
    """said: what is in the form of a provider's model; tried: what became of a call of it."""

    def listed() -> View:
        found = model_rows(house)
        cards, pulls = {card.name: card for card in house.shelf.cards()}, house.pulls.all()
        models = [one | _kept(house, one["name"], cards) for one in found["models"]]
        every = [
            *house.collections(request.caller),
            *house.apps(request.caller),
            *(one["name"] for one in found["routes"]),
        ]
        names = list(dict.fromkeys([*(one["name"] for one in models), *every]))
        begun = {*cards, *(pull.name for pull in pulls)}
        offers = [
            {"name": name, "bytes": one.size, "licence": one.licence}
            for name, one in PACKAGES.items()
            if name not in begun and _free(house, name)
        ]
        data = {
            "models": models, "routes": found["routes"], "names": names, "pulls": [asdict(pull) for pull in pulls],
            "offers": offers, "can_run": is_installed(), "providers": sorted(PROVIDERS), "said": dict(said or {}), "tried": tried,
            "files": bool(house.settings.server.pull_from), "unwritable": settings_file.problem(house.settings),
        }  # fmt: skip
        return View("models.html", data, models)

    return await asyncio.to_thread(listed)


def _kept(house: House, name: str, cards: Mapping[str, Card]) -> dict[str, object]:
    """Where a model is from: the settings, or this machine's disk."""
    card = None if name in house.settings.models else cards.get(name)
    return {
        "from": "disk" if card else "settings",
        "bytes": card.size if card else None,
        "licence": card.licence if card else "",
    }


def _free(house: House, name: str) -> bool:
    """Whether a model of that name can be pulled: nothing else has it, or the settings wait for the file."""
    one = house.settings.models.get(name)
    return _runs(name, one) == name if one else name not in house.taken()


def _runs(name: str, one: ModelSettings) -> str:
    """The model of this disk that one of the settings runs; "" where it runs none."""
    return (one.model or name) if one.provider == "local" else ""


async def _pull(request: Request, house: House, form: Mapping[str, str]) -> str:
    """Begin to pull a model, or go on. What comes of it stands on the page."""
    source, name = form.get("source", "").strip(), form.get("name", "").strip()
    if not source or len(source) > LONGEST_SOURCE:
        raise BadRequest(
            "say which model", hint=f"{', '.join(PACKAGES)}, hub:owner/name/file.gguf, or an https address"
        )

    def begin() -> None:
        pulling = house.pulls.begin(source, name=name)

        def taken_up(card: Card) -> None:
            house.audit.record("model.pulled", target=card.name, source=card.source, sha256=card.sha256)
            house.reload_models()

        try:
            if not _free(house, pulling.pull.name):
                raise Conflict(f"something is called '{pulling.pull.name}' already", hint="give the model another name")
            request.work.start(partial(pulling.run, request.work.stop.is_set, taken_up))
        except BaseException:
            pulling.give_up()
            raise

    await asyncio.to_thread(begin)
    return f"{PATH}?told=pulling"


async def _stop(request: Request, house: House, form: Mapping[str, str]) -> str:
    await asyncio.to_thread(house.pulls.stop, request.path_values["name"])
    return f"{PATH}?told=stopping"


async def _forget(request: Request, house: House, form: Mapping[str, str]) -> str:
    await asyncio.to_thread(house.pulls.forget, request.path_values["name"])
    return f"{PATH}?told=forgotten"


async def _delete(request: Request, house: House, form: Mapping[str, str]) -> str:
    """Delete a model from the disk."""
    name = request.path_values["name"]

    def delete() -> None:
        used = [other for other, one in house.settings.models.items() if _runs(other, one) == name]
        if used:
            raise Conflict(f"models.{used[0]} in the settings runs it", hint="remove that model first")
        house.shelf.remove(name)
        house.audit.record("model.removed", target=name)
        house.reload_models()

    await asyncio.to_thread(delete)
    return f"{PATH}?told=deleted"


async def _add(request: Request, house: House, form: Mapping[str, str]) -> View | str:
    """Try a provider's model, or write it into the settings file."""
    if form.get("do") != "try":
        name, settings = await asyncio.to_thread(adding.asked_for, form, house)
        at_once = await asyncio.to_thread(adding.add, house, name, settings)
        return f"{PATH}?told={'added' if at_once else 'added_later'}"
    said = {key: value for key, value in form.items() if key in ("name", "provider", "model", "base_url")}
    try:
        name, settings = await asyncio.to_thread(adding.asked_for, form, house)
        tried = await adding.tried(house, name, settings)
        by_hand = tried["ok"] and settings_file.problem(house.settings)
        tried["lines"] = adding.lines(name, settings) if by_hand else ""
    except PenstockError as error:
        tried = {"ok": False, "message": error.message, "hint": error.hint}
    return await _listed(request, house, said=said, tried=tried)


async def _take_out(request: Request, house: House, form: Mapping[str, str]) -> str:
    """Take a model out of the settings file."""
    at_once = await asyncio.to_thread(adding.take_out, house, request.path_values["name"])
    return f"{PATH}?told={'taken_out' if at_once else 'taken_out_later'}"


PAGES = [Page(PATH, "Models", _list, menu=True)]
ACTIONS = [
    Action(f"{PATH}/pull", _pull),
    Action(f"{PATH}/{{name}}/stop", _stop),
    Action(f"{PATH}/{{name}}/forget", _forget),
    Action(f"{PATH}/{{name}}/delete", _delete),
    Action(PATH, _add),
    Action(f"{PATH}/{{name}}/remove", _take_out),
]
