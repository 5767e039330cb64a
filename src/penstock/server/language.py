"""Over HTTP: which language texts are in, and their translations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from penstock.assemble import House
from penstock.config import AppSettings
from penstock.errors import BadRequest, NotAllowed
from penstock.keys import allowed
from penstock.server.http import Request, Response, json_response
from penstock.types import ModelRequest, Record, Translator

if TYPE_CHECKING:
    from penstock.language.memory import Memory

__all__ = ["tell"]

LONGEST = 1_000_000  # characters of all texts of one request
LONGEST_CUT = 100_000  # where it is told where the language changes within them: that takes a second
MOST_TEXTS = 10_000


async def tell(request: Request, house: House) -> Response:
    """Tell which language a text is in: `{"text": "…"}`, or several, `{"texts": ["…", "…"]}`. Nothing of it is kept.

    `among` lists the languages that it can be, `stretches` asks where it changes within a text. `to` asks for a translation, by
    the `[translators.NAME]` of `by`, from `from` where that is known. Keys for some models only may use the translators and
    models among them.
    """
    body = await request.json()
    texts, among = body.get("texts", [body.get("text")]), body.get("among", [])
    cut, source, target, by = body.get("stretches", False), body.get("from", ""), body.get("to", ""), body.get("by", "")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest("'text' must be a text, or 'texts' a list of them")
    if not isinstance(among, list) or not all(isinstance(code, str) for code in among) or not isinstance(cut, bool):
        raise BadRequest("'among' must be a list of codes, 'stretches' true or false")
    if not all(isinstance(one, str) for one in (source, target, by)):
        raise BadRequest("'from', 'to' and 'by' must be texts")
    longest = LONGEST_CUT if cut else LONGEST
    if sum(map(len, texts)) > longest or len(texts) > MOST_TEXTS:
        raise BadRequest(
            f"the texts are more than {MOST_TEXTS:,}, or have more than {longest:,} characters",
            hint="send them in several requests",
        )
    from penstock.language.described import described, known_languages  # whoever has no use for it does not load it

    languages = known_languages(among)

    def told() -> list[dict[str, Any]]:
        return [described(text, among=languages, stretches=cut) for text in texts]

    results = await asyncio.to_thread(told)
    if target:
        sources = [source or one["lang"] for one in results]
        translated = await _translated(request, house, texts, sources, target=target, by=by)
        results = [told | said for told, said in zip(results, translated, strict=True)]
    return json_response({"results": results} if "texts" in body else results[0])


async def _translated(
    request: Request, house: House, texts: list[str], sources: list[str], *, target: str, by: str
) -> list[dict[str, Any]]:
    """Their translations. What was translated before and what people corrected counts; callers add nothing to it."""
    from penstock.language.described import Translating, language_tag, the_one
    from penstock.language.terms import Glossary
    from penstock.language.translating import Careful

    for code in {target, *sources} - {""}:
        language_tag(code)
    translators = house.settings.translators
    chosen = the_one(translators if by else [name for name in translators if _may(house, name, request)], by)
    if chosen and not _may(house, chosen, request):
        raise NotAllowed(
            f"the key '{request.caller.name}' may not use '{chosen}'",
            hint=f"it may use {', '.join(request.caller.models)}",
        )
    model = translators[chosen].model if chosen and translators[chosen].kind == "model" else ""
    record = Record(request.name, id=request.name)
    careful = Careful(_engine(house, chosen, request, record), memory=_as_it_is(house))
    asked = ModelRequest(dialect="chat", model=model, body={}, caller=request.caller, record=record)
    with house.gateway.visit(asked) if model else nullcontext():  # one row in the journal, however many texts
        return await Translating(careful, Glossary(), target).said(texts, sources)


def _may(house: House, translator: str, request: Request) -> bool:
    """Whether a caller may use a translator: by its own name, or that of the model that it is."""
    model = house.settings.translators[translator].model
    return allowed(translator, request.caller) or (bool(model) and allowed(model, request.caller))


def _engine(house: House, translator: str, request: Request, record: Record) -> Translator:
    """A translator by itself. A model works for the caller, whose budgets it meets."""
    from penstock.language.described import Nobody
    from penstock.language.model import ByModel
    from penstock.models.translate import read

    if not translator:
        return Nobody()
    settings = house.settings.translators[translator]
    if settings.kind != "model":
        return house.engine(translator)
    model = house.beside("", AppSettings(), settings.model)
    return ByModel(translator, model, read=read, formality=settings.formality, caller=request.caller, record=record)


def _as_it_is(house: House) -> Memory:
    """The memory, to which nothing is added."""
    from penstock.language.memory import Memory

    class AsItIs(Memory):
        def keep(self, translated: Mapping[str, str], *, source: str, target: str, engine: str) -> None: ...

    return AsItIs(house.database)
