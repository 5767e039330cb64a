"""A probe of a model or a route: its prompts asked now, past every cache, and what came back compared with how it used to be."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import Any

from penstock.assemble import House
from penstock.config import ProbeSettings
from penstock.errors import BadRequest, NotFound, PenstockError
from penstock.models.kept import FRESH
from penstock.models.translate import read
from penstock.observe.probes import Prompt, Reply, Run, Runs, parsed
from penstock.types import Caller, Model, ModelRequest, Record, TextDelta

__all__ = ["prompts_of", "runs_of", "take"]

CALLER = "probe"  # the key that probes are booked on
AT_ONCE = 4


@cache
def shipped() -> list[Prompt]:
    """Forty prompts that a model answers in a word or a sentence, half of them with an answer that can be told to be right."""
    lines = (Path(__file__).parent / "observe" / "probe_prompts.jsonl").read_text("utf-8").splitlines()
    return parsed([json.loads(line) for line in lines])


def prompts_of(house: House, name: str) -> list[Prompt]:
    """The prompts of a probe. Raises NotFound for one that the settings do not name, and BadRequest for what are no prompts."""
    settings = _settings(house, name)
    if not settings.prompts:
        return shipped()
    path = house.settings.folder / Path(settings.prompts).expanduser()
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise BadRequest(f"the prompts {path} cannot be read: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise BadRequest(f"{path}: each line must be an object with `question`")
    return parsed(rows)


def runs_of(house: House) -> Runs:
    """What was seen so far."""

    def embed(texts: Sequence[str]) -> Any:
        from penstock import encoder

        return encoder.shipped(threads=1).embed(texts)

    return Runs(house.database, embed)


async def take(house: House, name: str, *, tick: Callable[[], object] = lambda: None) -> Run:
    """Ask now. What fails is counted and not compared. Raises NotFound or BadRequest."""
    settings, prompts = _settings(house, name), prompts_of(house, name)
    model = house.gateway.model(settings.model)
    if model is None:
        raise NotFound(
            f"probes.{name}.model: there is no model '{settings.model}'",
            hint=f"known: {', '.join(house.gateway.models)}",
        )
    places = asyncio.Semaphore(AT_ONCE)

    async def asked(prompt: Prompt) -> Reply:
        async with places:
            reply = await _reply(house, model, settings, prompt)
        tick()
        return reply

    replies = await asyncio.gather(*map(asked, prompts))
    return await asyncio.to_thread(runs_of(house).add, name, prompts, replies, false_alarms=settings.false_alarms)


async def _reply(house: House, model: Model, settings: ProbeSettings, prompt: Prompt) -> Reply:
    body = {
        "model": settings.model, "messages": [{"role": "user", "content": prompt.question}], "max_tokens": settings.max_tokens,
        "temperature": 0, "stream": True,
    }  # fmt: skip
    request = ModelRequest(
        dialect="chat",
        model=settings.model,
        body=body,
        stream=True,
        caller=Caller(CALLER),
        tags=(FRESH,),
        record=Record(CALLER),
    )
    said, began = "", time.perf_counter()
    try:
        with house.gateway.visit(request):
            async with aclosing(read(model.stream(request), request)) as events:
                async for event in events:
                    said += event.text if isinstance(event, TextDelta) else ""
    except PenstockError:
        return Reply("", failed=True)
    return Reply(said, (time.perf_counter() - began) * 1000)


def _settings(house: House, name: str) -> ProbeSettings:
    found = house.settings.probes.get(name)
    if found is None:
        known = ", ".join(house.settings.probes) or "none yet"
        raise NotFound(f"there is no probe '{name}'", hint=f'[probes.{name}] model = "…"; known: {known}')
    return found
