"""Who is asking, and may they: API keys, and the protection of a server that runs on somebody's own machine."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from penstock.config import Settings, is_loopback
from penstock.errors import BadSetting, NeedsKey, NotAllowed, PenstockError
from penstock.keys import Keys
from penstock.server.http import Request
from penstock.server.visits import HEADER, PREFIX
from penstock.storage.audit import acting
from penstock.types import Caller

__all__ = ["CALLER", "check_binding", "check_host", "check_site", "identify", "place_of"]

CALLER = "penstock.caller"  # key of the scope: whoever logged in, or the error that they are told
OWNER = Caller("owner", admin=True)
OF_VISITORS = PREFIX.encode()


def check_binding(settings: Settings, keys: Keys) -> None:
    """Raises BadSetting for an address that others can reach while nobody needs a key."""
    if not is_loopback(settings.server.host) and not keys.needed and not settings.login.issuer:
        raise BadSetting(
            f"server.host is {settings.server.host}, which others can reach, and there is no key",
            hint='penstock keys create me --admin, or [keys.me] with key = "env:PENSTOCK_KEY" and admin = true, or bind 127.0.0.1',
        )


def identify(request: Request, settings: Settings, keys: Keys, *, visiting: bool = False) -> Caller:
    """Returns the caller. Raises NeedsKey and NotAllowed. visiting: a page may be opened by following a link elsewhere.

    Without keys the owner of the machine is asking, but only under a name of this machine and only from its own pages:
    another site that the owner visits can reach a local port, and must get nothing from it.
    """
    check_site(request, settings, visiting=visiting)
    given = _given(request)
    if given.startswith(OF_VISITORS) or request.header(HEADER):  # also where nobody needs a key
        raise NotAllowed("a visitor of a widget may ask, and nothing else")
    if CALLER in request.scope:
        found = request.scope[CALLER]
        if isinstance(found, PenstockError):
            raise found
        caller: Caller = found
    elif settings.login.issuer and not given:
        raise NeedsKey(
            "this server needs a login, or an API key", hint="in a browser: /login; Authorization: Bearer TOKEN"
        )
    elif keys.needed:
        caller = keys.find(given)
    else:
        _check_keyless(settings.server.host)
        caller = OWNER
    acting.set(caller.name)
    return caller


def check_site(request: Request, settings: Settings, *, visiting: bool = False) -> None:
    """Raises NotAllowed for a request that another site has a browser make, and for a name that is not of this machine."""
    host = request.header(b"host")
    check_host(host.decode("latin-1"), settings)
    if origin := request.header(b"origin"):
        _check_origin(origin.decode("latin-1"), host.decode("latin-1"))
    if (
        (site := request.header(b"sec-fetch-site"))
        and site not in (b"same-origin", b"none")
        and not (visiting and request.method == "GET" and request.header(b"sec-fetch-dest") == b"document")
    ):  # what a link opens is shown to whoever followed it, and not to the page that it stands on
        raise NotAllowed("requests from other sites are not answered")


def check_host(host: str, settings: Settings) -> None:
    """Raises NotAllowed for a name that is not of this machine, where it serves this machine alone."""
    _check_host(host, settings.server.host, settings.server.public_hosts)


def _given(request: Request) -> bytes:
    authorization = request.header(b"authorization")
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return request.header(b"x-api-key") or request.header(b"api-key")  # as Anthropic's and Azure's clients send it


@lru_cache(maxsize=16)
def _check_keyless(bound: str) -> None:
    if not is_loopback(bound):  # the last key was removed while the server runs
        raise NeedsKey("this server needs an API key, and there is none", hint="penstock keys create NAME --admin")


@lru_cache(maxsize=1024)
def _check_host(name: str, bound: str, public: tuple[str, ...]) -> None:
    host = _parts(f"//{name}").hostname or ""
    if is_loopback(bound) and not is_loopback(host) and host not in public:
        raise NotAllowed(
            f"this server does not go by the name '{name}'", hint="server.public_hosts lists further names"
        )


def _check_origin(origin: str, host: str) -> None:
    if place_of(origin) != host:
        raise NotAllowed(f"requests from {origin} are not answered")


def place_of(address: str) -> str:
    """The host and port of an address; "" of what is none."""
    return _parts(address).netloc


def _parts(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # "[::1" and the like are nobody's name
        return urlsplit("")
