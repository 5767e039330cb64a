"""The guard by itself over HTTP, its policies, and what it found in requests."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, cast, get_args

from penstock.assemble import House
from penstock.errors import BadRequest, PenstockError
from penstock.observe.ledger import plain_request
from penstock.server.http import Request, Response, json_response
from penstock.server.manage import only_admins
from penstock.types import Surface

__all__ = ["check_text", "events", "policies"]

LONGEST = 1_000_000  # characters of all texts of one request
SURFACES = get_args(Surface)


async def check_text(request: Request, house: House) -> Response:
    """Check a text: `{"text": "…"}`, or several, `{"texts": ["…", "…"]}`. Nothing of it is kept.

    `surface` says where they come from (prompt, document, tool, output), `lang` their language, `policy` a `[guard.NAME]`.
    """
    body = await request.json()
    texts = body.get("texts", [body.get("text")])
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest("'text' must be a text, or 'texts' a list of them")
    if sum(map(len, texts)) > LONGEST:
        raise BadRequest(f"the texts have more than {LONGEST:,} characters", hint="send them in several requests")
    surface, language, name = body.get("surface", "prompt"), body.get("lang", ""), body.get("policy", "default")
    if surface not in SURFACES:
        raise BadRequest(f"'surface' must be one of {', '.join(SURFACES)}")
    if not isinstance(language, str) or not isinstance(name, str):
        raise BadRequest("'lang' and 'policy' must be texts")
    policy = house.policies[name]
    from penstock.guard.check import check  # whoever has no use for the guard does not load it

    def checked() -> list[dict[str, Any]]:
        found = (check(house.guard, text, policy, surface=cast(Surface, surface), language=language) for text in texts)
        return [verdict.plain() | {"reasons": verdict.reasons} for verdict in found]

    results = await asyncio.to_thread(checked)
    about = {"policy": f"{policy.name}@{policy.version}"}
    return json_response({**results[0], **about} if "texts" not in body else {"results": results, **about})


async def policies(request: Request, house: House) -> Response:
    """The policies by name, each with its version. For admins."""
    only_admins(request)
    return json_response(
        {"policies": [{"name": n, "version": house.policies[n].version} for n in house.policies.names()]}
    )


async def events(request: Request, house: House) -> Response:
    """The latest requests in which the guard found something: `?limit=20`. For admins."""
    only_admins(request)
    limit = request.query("limit", "20")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:7]) <= 10_000:
        raise BadRequest("'limit' must be a whole number from 1 to 10000")

    def found() -> list[dict[str, Any]]:
        with suppress(PenstockError):
            house.gateway.journal.drain()
        return [plain_request(row) for row in house.ledger.requests(limit=int(limit), guarded=True)]

    return json_response({"requests": await asyncio.to_thread(found)})
