"""The check of texts against their sources, by itself over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.assemble import House
from penstock.errors import BadRequest
from penstock.server.http import Request, Response, json_response
from penstock.verify.rows import are_rows, as_text, strict

__all__ = ["check_text"]

LONGEST = 1_000_000  # characters of a text and its sources together
TIERS = ("", "checker", "lexical")


async def check_text(request: Request, house: House) -> Response:
    """Check a text against its sources: `{"response": "…", "context": "…" or ["…"], "question": "…"}`. Nothing of it is kept.

    Objects in `context` are rows of a tool or a database, of which every number of the text has to be. `tier` is `checker` or
    `lexical`, `lang` the language of the sources.
    """
    body: dict[str, Any] = await request.json()
    response, question, language = body.get("response"), body.get("question", ""), body.get("lang", "")
    context, tier = body.get("context"), body.get("tier", "")
    given: list[Any] = context if isinstance(context, list) else [context]
    if not all(isinstance(one, str | dict) for one in given):
        raise BadRequest("'context' must be a text, an object, or a list of them")
    sources = [as_text(one) for one in given]
    if not isinstance(response, str) or not all(isinstance(text, str) for text in (question, language)):
        raise BadRequest("'response' must be a text, and so must 'question' and 'lang'")
    if tier not in TIERS:
        raise BadRequest("'tier' must be 'checker' or 'lexical'")
    if len(response) + sum(map(len, sources)) > LONGEST:
        raise BadRequest(f"the text and its sources have more than {LONGEST:,} characters")
    from penstock.verify.check import plain, verifier  # whoever has no use for it does not load it

    def checked() -> dict[str, Any]:
        verdict = verifier(tier).check(response, sources, question=question, language=language)
        if are_rows(context):
            verdict = strict(verdict, response, sources, question=question, language=language)
        return plain(verdict, response, sources)

    return json_response(await asyncio.to_thread(checked))
