"""A shop served by the contract in shop.openapi.yaml: an example for a team that writes its own, and the other side in tests.

    SHOP_TOKEN=… python -m penstock.apps.retail_bot.serve_shop shop.db --port 8090

It believes whoever has the token: who a customer is was found out before. It belongs behind TLS, where nobody else reaches it.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

import orjson

from penstock.agents.actions import plain
from penstock.errors import BadRequest, Conflict, NeedsKey, NotFound, PenstockError, TooLarge
from penstock.trace import log

from .plain import Misfit, read
from .shop import Address, Shop

__all__ = ["serve_shop"]

MOST_BYTES = 65_536
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Served(Shop, Protocol):
    """A shop that tells also what is bought with what."""

    def histories(self) -> Any: ...


class _Asked(NamedTuple):
    method: str
    steps: tuple[str, ...]  # of the path
    headers: dict[str, str]
    body: dict[str, Any]


def serve_shop(shop: Served, token: str) -> App:
    """An ASGI app that answers for this shop to whoever brings the token."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            status, said = 200, await _answer(shop, token, scope, receive)
        except PenstockError as error:
            status = 422 if type(error) is BadRequest else error.status
            said = {"error": {"message": error.message, "hint": error.hint or None}}
        except Exception as error:  # a request ends here: whoever asked is told nothing of our insides
            log("the shop failed", level="error", error=type(error).__name__)
            status, said = 500, {"error": {"message": "the shop failed", "hint": None}}
        data = orjson.dumps(said)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(data)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    return app


async def _answer(shop: Served, token: str, scope: Scope, receive: Receive) -> dict[str, Any]:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    if not hmac.compare_digest(headers.get("authorization", "").encode(), f"Bearer {token}".encode()):
        raise NeedsKey("no token, or not the right one")
    path = bytes(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1")
    steps = tuple(unquote(step) for step in path.strip("/").split("/"))
    asked = _Asked(scope["method"], steps, headers, await _body(receive) if scope["method"] == "POST" else {})
    return await asyncio.to_thread(_answered, shop, asked)


async def _body(receive: Receive) -> dict[str, Any]:
    data = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the body did not come to its end")
        data += message.get("body", b"")
        if len(data) > MOST_BYTES:
            raise TooLarge(f"a body has {MOST_BYTES:,} bytes at most")
        if not message.get("more_body"):
            break
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest("the body is no JSON") from error
    if not isinstance(found, dict):
        raise BadRequest("the body is no JSON object")
    return found


def _answered(shop: Served, asked: _Asked) -> dict[str, Any]:
    match asked.method, asked.steps:
        case "GET", ("products",):
            return {"products": plain(shop.products())}
        case "GET", ("products", number):
            return _found(shop.product(number), "there is no such product")
        case "POST", ("customers", "find"):
            return _found(_find(shop, asked.body), "there is no such customer, or more than one")
        case "GET", ("customers", number):
            return _found(shop.customer(number), "there is no such customer")
        case "GET", ("customers", number, "orders"):
            return {"orders": plain(shop.orders(number))}
        case "GET", ("histories",):
            return {"histories": list(shop.histories())}
        case "GET", ("changes", key):
            result = shop.done(key)
            if result is None:
                raise NotFound("there was no such change")
            return {"result": result}
        case "POST", ("customers", customer, "address"):
            return _object(shop.move(_key(asked), customer, _field(asked, Address, "address")))
        case "POST", ("customers", customer, "orders", order, what):
            return _object(_change(shop, asked, customer, order, what))
    raise NotFound("there is no such path")


def _change(shop: Served, asked: _Asked, customer: str, order: str, what: str) -> Any:
    key = _key(asked)
    match what:
        case "cancel":
            return shop.cancel(key, customer, order, _field(asked, str, "reason"))
        case "items" | "exchange":
            change = shop.change_items if what == "items" else shop.exchange
            return change(key, customer, order, _pairs(asked), _field(asked, str, "method"))
        case "address":
            return shop.change_address(key, customer, order, _field(asked, Address, "address"))
        case "payment":
            return shop.change_payment(key, customer, order, _field(asked, str, "method"))
        case "return":
            return shop.give_back(
                key, customer, order, _field(asked, tuple[str, ...], "variants"), _field(asked, str, "method")
            )
    raise NotFound("there is no such path")


def _find(shop: Served, by: dict[str, Any]) -> Any:
    match by:
        case {"email": str(email)}:
            return shop.by_email(email)
        case {"first_name": str(first), "last_name": str(last), "postcode": str(postcode)}:
            return shop.by_name(first, last, postcode)
    raise BadRequest("somebody is looked for by e-mail, or by first_name, last_name and postcode")


def _key(asked: _Asked) -> str:
    key = asked.headers.get("idempotency-key", "")
    if not key:
        raise BadRequest("a change needs an Idempotency-Key")
    return key


def _field(asked: _Asked, kind: Any, name: str) -> Any:
    try:
        return read(kind, asked.body.get(name), name)
    except Misfit as error:
        raise BadRequest(str(error)) from None


def _pairs(asked: _Asked) -> list[tuple[str, str]]:
    pairs = _field(asked, tuple[tuple[str, ...], ...], "changes")
    if any(len(pair) != 2 for pair in pairs):
        raise BadRequest("changes are pairs of variants")
    return [(before, after) for before, after in pairs]


def _found(value: Any, missing: str) -> dict[str, Any]:
    if value is None:
        raise NotFound(missing)
    return _object(value)


def _object(value: Any) -> dict[str, Any]:
    found = plain(value)
    if not isinstance(found, dict):
        raise Conflict("the shop gave something that is no object")
    return found


def main() -> None:
    import argparse
    import os
    from pathlib import Path

    import uvicorn

    from .demo import demo_shop

    parser = argparse.ArgumentParser(
        prog="python -m penstock.apps.retail_bot.serve_shop", description="Serve the demo shop over HTTP."
    )
    parser.add_argument("database", type=Path, help="a SQLite file; where there is none the demo shop is made")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    said = parser.parse_args()
    token = os.environ.get("SHOP_TOKEN", "")
    if len(token) < 8:
        parser.error("SHOP_TOKEN must be set, to eight characters at least")
    uvicorn.run(serve_shop(demo_shop(said.database), token), host=said.host, port=said.port, access_log=False)


if __name__ == "__main__":
    main()
