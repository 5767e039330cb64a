"""Who is asking, and may they: API keys, and the protection of a server that runs on somebody's own machine."""

from __future__ import annotations

import hmac
from urllib.parse import SplitResult, urlsplit

from penstock.config import Settings, is_loopback
from penstock.errors import BadSetting, NeedsKey, NotAllowed
from penstock.server.http import Request
from penstock.types import Caller

__all__ = ["check_binding", "identify"]

OWNER = Caller("owner")


def check_binding(settings: Settings) -> None:
    """Raises BadSetting for an address that others can reach while nobody needs a key."""
    if not is_loopback(settings.server.host) and not settings.keys:
        raise BadSetting(
            f"server.host is {settings.server.host}, which others can reach, and there is no key",
            hint='add [keys.me] with key = "env:PENSTOCK_KEY" and admin = true, or bind 127.0.0.1',
        )


def identify(request: Request, settings: Settings) -> tuple[Caller, bool]:
    """Returns the caller and whether they may change documents. Raises NeedsKey and NotAllowed.

    Without keys the owner of the machine is asking, but only under a name of this machine and only from its own pages:
    another site that the owner visits can reach a local port, and must get nothing from it.
    """
    _check_host(request, settings)
    _check_site(request)
    if not settings.keys:
        return OWNER, True
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    found = None
    for name, key in settings.keys.items():  # every key is compared, so the time taken tells nothing
        if hmac.compare_digest(given.encode("latin-1"), key.key.encode()):
            found = (Caller(name, key.roles), key.admin)
    if found is None:
        raise NeedsKey(
            "this server needs an API key" if not given else "the API key is not known",
            hint="Authorization: Bearer KEY",
        )
    return found


def _check_host(request: Request, settings: Settings) -> None:
    name = request.headers.get("host", "")
    host = _parts(f"//{name}").hostname or ""
    if is_loopback(settings.server.host) and not is_loopback(host) and host not in settings.server.public_hosts:
        raise NotAllowed(
            f"this server does not go by the name '{name}'", hint="server.public_hosts lists further names"
        )


def _check_site(request: Request) -> None:
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise NotAllowed("requests from other sites are not answered")
    origin = request.headers.get("origin")
    if origin and _parts(origin).netloc != request.headers.get("host"):
        raise NotAllowed(f"requests from {origin} are not answered")


def _parts(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # "[::1" and the like are nobody's name
        return urlsplit("")
