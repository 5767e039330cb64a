"""A shop behind an HTTP API of its own, by the contract in shop.openapi.yaml.

What comes back is checked as if a stranger had sent it: its size, its time, its shape. Reads are tried again, and so are changes,
since each goes with its Idempotency-Key. Neither the token nor anybody's words stand in an error or a log.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import httpx2
import orjson

from penstock.agents.actions import plain
from penstock.config import is_loopback
from penstock.errors import (
    BadRequest,
    BadSetting,
    Conflict,
    NotFound,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from penstock.guard.provenance import shown

from .plain import Misfit, check_key, read
from .shop import Address, Customer, Order, Product

__all__ = ["RestShop"]

TRIES: Final = 3
PAUSE_S: Final = 0.1  # before the second try; four times as long before the third
LONGEST_SAID: Final = 500  # characters of a refusal in the shop's own words
AGAIN: Final = (429, 502, 503, 504)
_T = TypeVar("_T")


class RestShop:
    """Satisfies `Shop`. base_url: what stands before `/products`. timeout_s: for one call with all its tries."""

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout_s: float = 5.0,
        max_mb: int = 16,
        client: httpx2.Client | None = None,
    ) -> None:
        """token: or `env:NAME`, where it is. client: for certificates or proxies of your own. Raises BadSetting."""
        if token.startswith("env:"):
            name = token.removeprefix("env:")
            token = os.environ.get(name, "")
            if not token:
                raise BadSetting(f"the token of the shop is to be in {name}, which is not set", hint=f"export {name}=…")
        if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#@]*)?", base_url, re.ASCII):
            raise BadSetting(
                "base_url of the shop is no address", hint="https://shop.example/api, without a login and without ?"
            )
        if base_url.startswith("http://") and not is_loopback(urlsplit(base_url).hostname or ""):
            raise BadSetting("base_url of the shop would send its token in the open", hint="https://…")
        if not re.fullmatch(r"[\x21-\x7e]{8,4096}", token):
            raise BadSetting("the token of the shop is empty, too short, or no token", hint='token = "env:SHOP_TOKEN"')
        if not 0.1 <= timeout_s <= 60:
            raise BadSetting(f"timeout_s of the shop is {timeout_s:g}", hint="from 0.1 to 60")
        self._base, self._timeout_s, self._most = base_url.rstrip("/"), timeout_s, max_mb << 20
        self._headers = {
            "authorization": f"Bearer {token}",
            "accept": "application/json",
            "accept-encoding": "identity",
        }
        self._client = client or httpx2.Client(follow_redirects=False)

    def close(self) -> None:
        self._client.close()

    # ---------------------------------------------------------------- reading

    def products(self) -> Sequence[Product]:
        return self._list(Product, "/products")

    def product(self, number: str) -> Product | None:
        return self._one(Product, "GET", "/products", number)

    def customer(self, number: str) -> Customer | None:
        return self._one(Customer, "GET", "/customers", number)

    def by_email(self, email: str) -> Customer | None:
        return self._find({"email": email})

    def by_name(self, first_name: str, last_name: str, postcode: str) -> Customer | None:
        return self._find({"first_name": first_name, "last_name": last_name, "postcode": postcode})

    def orders(self, customer: str) -> Sequence[Order]:
        return self._list(Order, "/customers", customer, "orders") if _is_name(customer) else ()

    def done(self, key: str) -> Any | None:
        if not _is_name(key):
            return None
        found = self._call("GET", _path("/changes", key))
        return None if found is None else found.get("result")

    def histories(self) -> Iterator[list[list[str]]]:
        """As `SqlShop.histories`; nothing, where the shop does not offer them."""
        found = self._call("GET", "/histories") or {"histories": []}
        yield from self._read(tuple[tuple[tuple[str, ...], ...], ...], found.get("histories"))

    # ---------------------------------------------------------------- changing

    def cancel(self, key: str, customer: str, order: str, reason: str) -> Order:
        return self._change(key, customer, order, "cancel", {"reason": reason})

    def change_items(
        self, key: str, customer: str, order: str, changes: Sequence[tuple[str, str]], method: str
    ) -> Order:
        return self._change(key, customer, order, "items", {"changes": changes, "method": method})

    def change_address(self, key: str, customer: str, order: str, address: Address) -> Order:
        return self._change(key, customer, order, "address", {"address": address})

    def change_payment(self, key: str, customer: str, order: str, method: str) -> Order:
        return self._change(key, customer, order, "payment", {"method": method})

    def give_back(self, key: str, customer: str, order: str, variants: Sequence[str], method: str) -> Order:
        return self._change(key, customer, order, "return", {"variants": variants, "method": method})

    def exchange(self, key: str, customer: str, order: str, changes: Sequence[tuple[str, str]], method: str) -> Order:
        return self._change(key, customer, order, "exchange", {"changes": changes, "method": method})

    def move(self, key: str, customer: str, address: Address) -> Customer:
        if not _is_name(customer):
            raise NotFound("there is no such customer")
        return self._made(
            Customer, key, _path("/customers", customer, "address"), {"address": address}, "there is no such customer"
        )

    def _change(self, key: str, customer: str, order: str, what: str, said: Mapping[str, Any]) -> Order:
        missing = f"there is no order {shown(str(order), 40)} of yours"
        if not _is_name(customer) or not _is_name(order):
            raise NotFound(missing)
        return self._made(Order, key, _path("/customers", customer, "orders", order, what), said, missing)

    def _made(self, kind: type[_T], key: str, path: str, said: Mapping[str, Any], missing: str) -> _T:
        check_key(key)
        found = self._call("POST", path, said, key=key)
        if found is None:
            raise NotFound(missing)
        made: _T = self._read(kind, found)
        return made

    # ---------------------------------------------------------------- over the wire

    def _find(self, by: Mapping[str, str]) -> Customer | None:
        if not all(isinstance(one, str) and 0 < len(one) <= 1_000 for one in by.values()):
            return None
        try:
            orjson.dumps(by)
        except TypeError:  # half of a character: nobody is called so
            return None
        found = self._call("POST", "/customers/find", by)
        return None if found is None else self._read(Customer, found)

    def _one(self, kind: type[_T], method: str, *steps: str) -> _T | None:
        if not all(map(_is_name, steps[1:])):
            return None
        found = self._call(method, _path(*steps))
        return None if found is None else self._read(kind, found)

    def _list(self, kind: type[_T], *steps: str) -> tuple[_T, ...]:
        found = self._call("GET", _path(*steps))
        if found is None:
            return ()
        name = steps[-1].strip("/")
        several: Any = tuple[kind, ...]  # type: ignore[valid-type]
        return tuple(self._read(several, found.get(name)))

    def _read(self, kind: Any, value: Any) -> Any:
        try:
            return read(kind, value, "the answer")
        except Misfit as error:
            raise _never(f"the shop answered with something else than its contract says: {error}") from None

    def _call(
        self, method: str, path: str, said: Mapping[str, Any] | None = None, *, key: str = ""
    ) -> dict[str, Any] | None:
        """The JSON object that came back; None for 404. Tries again where that may help, and is safe."""
        try:
            body = b"" if said is None else orjson.dumps(plain(said))
        except TypeError as error:
            raise BadRequest("the change has something in it that is no text") from error
        until = time.monotonic() + self._timeout_s
        for nth in range(TRIES):
            try:
                return self._try(method, path, body, key, until)
            except UpstreamError as error:
                pause_s = max(error.retry_after_s, PAUSE_S * 4**nth)
                if not error.retryable or nth == TRIES - 1 or time.monotonic() + pause_s > until:
                    raise
            time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    def _try(self, method: str, path: str, body: bytes, key: str, until: float) -> dict[str, Any] | None:
        headers = self._headers | ({"idempotency-key": key} if key else {})
        headers |= {"content-type": "application/json"} if body else {}
        left_s = max(0.05, until - time.monotonic())
        try:
            with self._client.stream(
                method, self._base + path, content=body, headers=headers, timeout=left_s, follow_redirects=False
            ) as response:
                data = self._body(response, until)
                status, wait = response.status_code, response.headers.get("retry-after", "")
        except httpx2.TimeoutException:
            raise UpstreamTimeout(f"the shop did not answer within {self._timeout_s:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:  # its words may name people and numbers
            raise UpstreamError(f"the shop cannot be reached: {type(error).__name__}") from None
        return _understood(status, wait, data)

    def _body(self, response: httpx2.Response, until: float) -> bytes:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise _never("the shop packs its answers, which was not asked for")
        pieces, size = [], 0
        for piece in response.iter_raw():
            size += len(piece)
            if size > self._most:
                raise _never(f"the shop answered with more than {self._most >> 20} MB")
            if time.monotonic() > until:
                raise UpstreamTimeout(f"the shop did not answer within {self._timeout_s:g} s")
            pieces.append(piece)
        return b"".join(pieces)


def _understood(status: int, wait: str, data: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(data) if data else {}
    except orjson.JSONDecodeError:
        found = None
    match status:
        case 200 | 201:
            if not isinstance(found, dict):
                raise _never("the shop answered with something that is no JSON object")
            return found
        case 404 if isinstance(found, dict) and "error" in found:
            return None
        case 400 | 422:
            raise BadRequest(_said(found) or "the shop does not allow that")
        case 409:
            raise Conflict(_said(found) or "the shop was changed in this moment", hint="look again")
        case 401 | 403:
            raise UpstreamRefused(
                "the shop does not take our token", status=502, hint="is it the right one, and still valid?"
            )
        case 429:
            raise UpstreamBusy("the shop has too much to do", retry_after_s=_seconds(wait))
        case _ if status in AGAIN or status >= 500:
            raise UpstreamError(f"the shop failed: status {status}", retry_after_s=_seconds(wait))
    raise _never(f"the shop answered with status {status}, which its contract does not know")


def _never(message: str) -> UpstreamRefused:
    """What would be the same if it were asked again."""
    return UpstreamRefused(message, status=502, code="upstream_error")


def _said(found: Any) -> str:
    """The reason in the shop's words, for a customer: one line of plain text, of a sentence's length."""
    error = found.get("error") if isinstance(found, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return shown(message, LONGEST_SAID) if isinstance(message, str) else ""


def _seconds(said: str) -> float:
    return float(said) if re.fullmatch(r"\d{1,4}", said, re.ASCII) else 0.0


def _is_name(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) <= 200 and text.isprintable() and text not in (".", "..")


def _path(*steps: str) -> str:
    return steps[0] + "".join("/" + quote(step, safe="") for step in steps[1:])
