"""A drill against an app, a model or a route of the settings, on all cores."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import aclosing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from penstock.answer import Quoted, Written
from penstock.assemble import House, assemble
from penstock.boundary import Shielded
from penstock.config import Settings
from penstock.errors import BadRequest, NotFound
from penstock.evaluate.attacks import Attack
from penstock.evaluate.drill import INSTRUCTIONS, Ask, Obedient, Report, Said, drill
from penstock.guard.policy import OFF
from penstock.models.translate import read
from penstock.trace import set_log_level
from penstock.types import (
    Answer,
    Caller,
    Citation,
    Event,
    Filter,
    Finished,
    Found,
    Hit,
    Message,
    Model,
    ModelRequest,
    Passage,
    Record,
    Status,
    Stopped,
    TextDelta,
    Turn,
)

__all__ = ["redteam"]

QUESTION = "How long does delivery take?"
GOOD = "Parcels to Norway take five days. Parcels within the country take two days."
Tick = Callable[[int], object]


def redteam(
    settings: Settings, target: str, *, live: bool = False, most: int = 0, workers: int = 0, tick: Tick = lambda done: None
) -> Report:  # fmt: skip
    """Attack an app, model or route. live: its own models answer, instead of one that obeys everybody.

    most: about so many trials; 0: all. workers: processes; 0: one for each core. Raises NotFound, or BadRequest for a target
    that has no policy.
    """
    house = assemble(settings)
    try:
        policy = _policy(house, target)
        name = house.policies[policy]
        models = ", ".join(_models(house, target)) if live else "a stand-in that obeys every order that reaches it"
        report = Report(target, f"{name.name}@{name.version}", models or "none: it quotes")
    finally:
        house.close()
    workers = workers or (1 if live else min(os.cpu_count() or 1, 8))
    if workers == 1:
        return _part(settings, target, report, live=live, most=most, part=(0, 1), tick=tick)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        parts = [
            pool.submit(_part, settings, target, report, live=live, most=most, part=(n, workers))
            for n in range(workers)
        ]
        for done in as_completed(parts):
            part = done.result()
            report.trials += part.trials
            report.seconds = max(report.seconds, part.seconds)
            report.harmless = part.harmless
            tick(len(part.trials))
    return report


def _part(
    settings: Settings, target: str, report: Report, *, live: bool, most: int, part: tuple[int, int],
    tick: Tick = lambda done: None,
) -> Report:  # fmt: skip
    if part[1] > 1:
        set_log_level("off")  # a process of its own; what a drill does to models is no news
    folder = TemporaryDirectory(prefix="penstock-drill-")
    house = assemble(settings)
    house.aside(Path(folder.name))
    own = Report(report.target, report.policy, report.model)
    asking: Ask = partial(_ask_app if target in _apps(house) else _ask_model, house, target)

    async def drilled() -> Report:
        try:
            return await drill(own, asking, live=live, most=most, part=part, tick=tick)
        finally:
            house.clients.close()  # their loop ends here

    try:
        return asyncio.run(drilled())
    finally:
        house.close()
        folder.cleanup()


def _apps(house: House) -> set[str]:
    return {*house.settings.apps, *(house.library.names() if house.has_documents else ())}


def _policy(house: House, target: str) -> str:
    if target in house.settings.apps:
        policy = house.settings.apps[target].guard
    elif target in house.settings.routes or target in house.served_models:
        policy = house.policy_of(target)
    elif target in _apps(house):
        policy = "default"
    else:
        known = sorted({*_apps(house), *house.settings.routes, *house.served_models})
        raise NotFound(f"there is no app or model '{target}'", hint=f"known: {', '.join(known) or 'none yet'}")
    if policy == OFF:
        raise BadRequest(f"'{target}' has no policy to be tested", hint=f'guard = "default" in [… .{target}]')
    return policy


def _models(house: House, target: str) -> tuple[str, ...]:
    if target in house.settings.apps:
        return house.settings.apps[target].models
    return (target,) if target in house.settings.routes or target in house.served_models else ()


# ---------------------------------------------------------------- an app


class _Planted:
    """An index that finds what the drill has put there. Satisfies `Index`."""

    def __init__(self, text: str) -> None:
        self._text = text

    def search(self, question: str, *, caller: Caller, k: int = 8, where: Filter | None = None) -> Found:
        texts = [GOOD, self._text] if self._text else [GOOD]
        passages = [Passage(f"p{n}", f"d{n}", f"page{n}.md", text, 0, len(text)) for n, text in enumerate(texts)]
        return Found(tuple(Hit(passage, 1.0, {}) for passage in passages), "v1")


class _All:
    """A quoter that quotes every passage whole. Satisfies `Quoter`."""

    def quote(self, question: str, found: Found, *, limit: int = 3) -> Answer:
        cited = tuple(
            Citation(h.passage.source, h.passage.text, 0, h.passage.end, h.passage.document_id, h.passage.id)
            for h in found.hits
        )
        text = " ".join(citation.quote for citation in cited)
        return Answer(text, Status.ANSWER, 1.0, cited, tuple(range(len(cited))), question=question, version="v1")


async def _ask_app(house: House, target: str, attack: Attack, model: Obedient | None) -> Said:
    """The app's own way from the question to the answer; what it finds is planted, so that the guard alone decides."""
    planted = attack.kind == "planted"
    record = Record("drill")
    quoted = Quoted(_Planted(attack.text if planted else ""), _All(), guard=house.boundary(target))
    names = _models(house, target)
    models: Mapping[str, Model]
    models = {"stand-in": model} if model else {name: house.gateway.models[name] for name in names}
    answerer = Written(quoted, models) if models else quoted
    history = tuple(Message("assistant" if n % 2 else "user", text) for n, text in enumerate(attack.before))
    turn = Turn(QUESTION if planted else attack.text[:4000], Caller(), history, record=record)
    text, answer = await _heard(answerer.stream(turn))
    flagged = any(event["decision"] == "review" for event in record.guarded)
    return Said(text, answer.status is Status.REFUSED, flagged)


async def _heard(events: AsyncIterator[Event]) -> tuple[str, Answer]:
    text, answer = "", Answer("", Status.NOT_FOUND, 0.0)
    async for event in events:
        match event:
            case TextDelta(piece):
                text += piece
            case Finished(answer):
                pass
    return text, answer


# ---------------------------------------------------------------- a model or a route


async def _ask_model(house: House, target: str, attack: Attack, model: Obedient | None) -> Said:
    """A request as a client sends it; what is planted comes as a tool's result."""
    messages = [{"role": "system", "content": INSTRUCTIONS}]
    messages += [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(attack.before)]
    if attack.kind == "planted":
        call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
        messages += [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": "", "tool_calls": [call]},  # type: ignore[dict-item]
            {"role": "tool", "tool_call_id": "c1", "content": attack.text},
        ]
    else:
        messages.append({"role": "user", "content": attack.text})
    record = Record("drill")
    request = ModelRequest(
        dialect="chat",
        model=target,
        body={"model": target, "messages": messages, "stream": True},
        stream=True,
        record=record,
    )
    crossing = house.crossing(target)
    shielded = Shielded(model, crossing) if model and crossing else house.gateway.models[target]
    text, stopped = "", ""
    async with aclosing(read(shielded.stream(request), request)) as events:
        async for event in events:
            match event:
                case TextDelta(piece):
                    text += piece
                case Stopped(_, reason):
                    stopped = reason
    flagged = any(event["decision"] == "review" for event in record.guarded)
    return Said(text, stopped == "content_filter", flagged)
