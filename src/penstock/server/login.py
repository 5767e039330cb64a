"""Logging in with an OpenID Connect provider: browsers with the authorization code flow and PKCE, programs with tokens.

It stands around the app and says who is asking; what they may is decided where it is for keys. What is known of a login under
way is sealed into a cookie of the browser that began it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode

from filelock import FileLock

from penstock.assemble import House
from penstock.config import LoginSettings
from penstock.errors import BadRequest, NeedsKey, NotAllowed, PenstockError, UpstreamError
from penstock.server.access import CALLER, check_host
from penstock.server.http import Receive, Scope, Send
from penstock.server.sessions import Browser, Sessions
from penstock.storage.files import new_file
from penstock.trace import log
from penstock.types import Caller

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

__all__ = ["Login", "Provider", "Tokens"]

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Claims = Mapping[str, Any]

BEGIN, BACK, END = "/login", "/login/callback", "/logout"
UNDER_WAY_S: Final = 600.0  # from the beginning of a login to its end
SKEW_S: Final = 60.0  # between the provider's clock and ours
FRESH_S: Final = 600.0  # the provider's keys are asked for again
STALE_S: Final = 24 * 3600.0  # and are worth nothing any more, should it not answer for so long
AGAIN_S: Final = 5.0  # between two requests for a key that is not known
TIMEOUT_S: Final = 10.0
LONGEST_TOKEN, LONGEST_ANSWER, MOST_KNOWN = 16_384, 1 << 20, 4_096
LONGEST_NAME, MOST_ROLES = 200, 500


# ---------------------------------------------------------------- tokens


class BadToken(NeedsKey):
    """A token that is not to be believed. The message says what is wrong with it, and repeats nothing of it."""


@dataclass
class Provider:
    """What a provider says of itself: its addresses and keys. They are asked for when they are needed, and kept."""

    issuer: str
    _facts: dict[str, Any] = field(default_factory=dict)
    _keys: list[dict[str, Any]] = field(default_factory=list)
    _asked: float = float("-inf")  # for keys, on the monotonic clock
    _answered: float = float("-inf")
    _lock: asyncio.Lock | None = None

    async def facts(self) -> dict[str, Any]:
        """Its addresses. Raises UpstreamError."""
        if not self._facts:
            found = await _fetched(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self.issuer:
                raise UpstreamError("the provider calls itself by another name than login.issuer")
            self._facts = found
        return self._facts

    async def address(self, name: str) -> str:
        address = (await self.facts()).get(name)
        if not isinstance(address, str) or not address:
            raise UpstreamError(f"the provider names no {name}")
        if address.startswith("http://") and not self.issuer.startswith("http://"):
            raise UpstreamError(f"the provider's {name} is not https")
        return address

    async def key(self, kid: str | None, algorithm: str) -> dict[str, Any]:
        """The key that a token says it was signed with. Raises BadToken, or UpstreamError while nobody can say."""
        now = time.monotonic()
        if now - self._answered > FRESH_S and now - self._asked > AGAIN_S:
            await self._ask()
        found = self._find(kid, algorithm)
        if found is None and time.monotonic() - self._asked > AGAIN_S:
            await self._ask()  # a new one, perhaps
            found = self._find(kid, algorithm)
        if found is None:
            if not self._keys:
                raise UpstreamError("the login provider's keys cannot be read", hint="try again shortly")
            raise BadToken("the token was signed with a key that the provider does not have")
        return found

    async def _ask(self) -> None:
        if self._lock is None:
            self._lock = asyncio.Lock()
        before = self._asked
        async with self._lock:
            if self._asked != before:
                return  # another request asked meanwhile
            self._asked = time.monotonic()
            try:
                found = await _fetched(await self.address("jwks_uri"))
                keys = found.get("keys")
                if not isinstance(keys, list):
                    raise UpstreamError("the provider's keys are no list")
                self._keys, self._answered = [key for key in keys if isinstance(key, dict)], time.monotonic()
            except UpstreamError as error:
                if time.monotonic() - self._answered > STALE_S:
                    self._keys = []
                log("login provider not reached", level="warning", error=error.message)

    def _find(self, kid: str | None, algorithm: str) -> dict[str, Any] | None:
        fitting = [key for key in self._keys if _fits(key, algorithm) and (kid is None or key.get("kid") == kid)]
        return fitting[0] if len(fitting) == 1 or (fitting and kid is not None) else None


KINDS: Final = {"RS256": ("RSA", None), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Whether a key is meant for that algorithm: a key of another kind would let its bytes be read as something else."""
    kind, curve = KINDS[algorithm]
    return (
        key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
    )


@dataclass
class Tokens:
    """Reads a provider's tokens, and believes those that are signed, in time, and meant for us."""

    provider: Provider
    _known: OrderedDict[bytes, tuple[Claims, float]] = field(default_factory=OrderedDict)

    async def claims(self, token: str, *, audience: str) -> Claims:
        """What a token says. Raises BadToken, or UpstreamError while nobody can say."""
        if len(token) > LONGEST_TOKEN:
            raise BadToken("the token is too long")
        digest = hashlib.sha256(f"{audience}\n{token}".encode("utf-8", "replace")).digest()
        held = self._known.get(digest)
        if held is not None and held[1] > time.monotonic():
            _check_times(held[0])
            return held[0]
        header, claims, signed, signature = _parsed(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in KINDS:
            raise BadToken("the token's algorithm is not one of RS256, ES256, EdDSA")
        if "crit" in header:
            raise BadToken("the token wants something of us that we do not know")
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise BadToken("the token's header is malformed")
        key = await self.provider.key(kid, algorithm)
        await asyncio.to_thread(_verify, algorithm, key, signed, signature)
        if claims.get("iss") != self.provider.issuer:
            raise BadToken("the token is from another provider")
        meant = claims.get("aud")
        if audience not in (meant if isinstance(meant, list) else [meant]):
            raise BadToken("the token is meant for somebody else")
        _check_times(claims)
        self._known[digest] = claims, time.monotonic() + FRESH_S  # then its key is looked at again
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return claims


def _parsed(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    parts = token.split(".")
    if len(parts) != 3:
        raise BadToken("the token is malformed")
    try:
        header, claims = (json.loads(_unpacked(part), parse_constant=_refuse) for part in parts[:2])
        signature = _unpacked(parts[2])
    except (ValueError, RecursionError) as error:
        raise BadToken("the token is malformed") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise BadToken("the token is malformed")
    return header, claims, f"{parts[0]}.{parts[1]}".encode("ascii"), signature


def _refuse(constant: str) -> None:
    """Python reads NaN and Infinity, and a time that is neither before nor after another never passes."""
    raise ValueError(constant)


def _unpacked(text: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text, re.ASCII):
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _verify(algorithm: str, key: Mapping[str, Any], signed: bytes, signature: bytes) -> None:
    """Raises BadToken for a signature that is not of this key."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    def number(name: str) -> int:
        return int.from_bytes(_unpacked(key[name]), "big")

    try:
        match algorithm:
            case "RS256":
                if number("n").bit_length() < 2048:
                    raise BadToken("the provider's key is too short")
                public = rsa.RSAPublicNumbers(number("e"), number("n")).public_key()
                public.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            case "ES256":
                if len(signature) != 64:
                    raise BadToken("the token's signature is wrong")
                r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
                point = ec.EllipticCurvePublicNumbers(number("x"), number("y"), ec.SECP256R1()).public_key()
                point.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
            case _:
                ed25519.Ed25519PublicKey.from_public_bytes(_unpacked(key["x"])).verify(signature, signed)
    except InvalidSignature as error:
        raise BadToken("the token's signature is wrong") from error
    except (ValueError, TypeError, KeyError, UnsupportedAlgorithm) as error:
        raise BadToken("the provider's key cannot be used") from error


def _check_times(claims: Claims) -> None:
    now = time.time()
    ends, begins = claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(ends, int | float) or not isinstance(begins, int | float) or bool in (type(ends), type(begins)):
        raise BadToken("the token does not say until when it is good")
    if now > ends + SKEW_S:
        raise BadToken("the token has expired")
    if now < begins - SKEW_S:
        raise BadToken("the token is not good yet")


def caller_of(claims: Claims, settings: LoginSettings) -> Caller:
    """Who a token speaks of. Raises BadToken.

    Their name is the e-mail where the provider has verified it, else `oidc:` and the subject: neither can be the name of a
    key, nor be chosen to look like a role.
    """
    subject, email = claims.get("sub"), claims.get("email")
    if not isinstance(subject, str) or not subject:
        raise BadToken("the token names nobody")
    verified = (
        isinstance(email, str) and claims.get("email_verified") is True and re.fullmatch(r"[^@\s:]+@[^@\s:]+", email)
    )
    name = str(email).lower() if verified else f"oidc:{subject}"
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise BadToken("the token's name is no name")
    found = _at(claims, settings.roles_claim)
    given = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    roles = tuple(role for role in given[:MOST_ROLES] if isinstance(role, str) and role and role.isprintable())
    tenant = _at(claims, settings.tenant_claim)
    return Caller(
        name,
        roles,
        admin=bool(settings.admin_role) and settings.admin_role in roles,
        tenant=tenant if isinstance(tenant, str) and tenant.isprintable() else "",
    )


def _at(claims: Claims, name: str) -> Any:
    """A claim by its name, or by the way to it: `realm_access.roles`."""
    if not name or name in claims:
        return claims.get(name)
    value: Any = claims
    for step in name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


async def _fetched(
    address: str, form: Mapping[str, str] | None = None, *, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A JSON object from the provider; where there is a form it is posted. Raises UpstreamError."""
    import httpx2

    try:
        async with httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client:
            asked = client.build_request(
                "POST" if form else "GET", address, data=dict(form or {}), headers=dict(headers or {})
            )
            answer = await client.send(asked, stream=True)
            body = b""
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > LONGEST_ANSWER:
                    raise UpstreamError("the login provider says more than it should")
            await answer.aclose()
    except httpx2.HTTPError as error:
        raise UpstreamError(f"the login provider cannot be reached: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise UpstreamError(f"the login provider answered {answer.status_code}")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamError("the login provider's answer is no JSON") from error
    if not isinstance(found, dict):
        raise UpstreamError("the login provider's answer is no JSON object")
    return found


# ---------------------------------------------------------------- browsers


class _Sealed:
    """Small values that a browser keeps for us and cannot read or change."""

    def __init__(self, path: Path) -> None:
        self._path, self._bytes = path, b""

    def seal(self, value: Any) -> str:
        nonce = os.urandom(12)
        return _packed(nonce + self._cipher().encrypt(nonce, json.dumps(value).encode(), b"login"))

    def open(self, text: str) -> Any:
        """Raises ValueError for what is not ours."""
        from cryptography.exceptions import InvalidTag

        data = _unpacked(text)
        try:
            return json.loads(self._cipher().decrypt(data[:12], data[12:], b"login"))
        except (InvalidTag, ValueError) as error:
            raise ValueError("not ours") from error

    def _cipher(self) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if not self._bytes:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._path}.lock"):
                if not self._path.exists():
                    with new_file(self._path) as out:  # which nobody but its owner may read
                        out.write(os.urandom(32))
                self._bytes = self._path.read_bytes()
        return AESGCM(self._bytes)


# ---------------------------------------------------------------- around the app


class Login:
    """An ASGI app around ours: three routes of its own, and for every other request whoever is asking."""

    def __init__(self, app: App, house: House) -> None:
        self._app, self._house, self._settings = app, house, house.settings.login
        self._provider = Provider(self._settings.issuer)
        self._tokens = Tokens(self._provider)
        self._sessions = Sessions(house)
        self._sealed = _Sealed(house.settings.home_path / "login" / "key")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = Browser(scope, self._house.settings)
        route = {BEGIN: self._begin, BACK: self._back, END: self._end}.get(scope["path"])
        if route is None:
            try:
                if (found := await self._who(visit)) is not None:
                    scope[CALLER] = found
            except PenstockError as error:  # it is told where callers are told who they are
                scope[CALLER] = error
            await self._app(scope, receive, send)
            return
        try:
            check_host(visit.header(b"host"), self._house.settings)
            await route(visit, send)
        except PenstockError as error:
            await _say(send, error.status, f"{error.message}\n{error.hint}\n")

    async def _who(self, visit: Browser) -> Caller | None:
        """The caller, where a token says who it is; None where a key or a session is to say so."""
        authorization = visit.header(b"authorization")
        if authorization[:7].lower() == "bearer " and authorization[7:].strip().count(".") == 2:
            audience = self._settings.audience or self._settings.client_id
            return caller_of(await self._tokens.claims(authorization[7:].strip(), audience=audience), self._settings)
        return None

    async def _begin(self, visit: Browser, send: Send) -> None:
        """To the provider."""
        back = visit.query("back")
        back = back if re.fullmatch(r"/(?![/\\])[\x21-\x7e]{0,1000}", back) and "\\" not in back else "/"
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        under_way = {
            "state": state,
            "nonce": nonce,
            "verifier": verifier,
            "back": back,
            "until": time.time() + UNDER_WAY_S,
        }
        address = await self._provider.address("authorization_endpoint")
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": visit.address + BACK,
            "scope": " ".join(self._settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": _packed(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        sealed = await asyncio.to_thread(self._sealed.seal, under_way)
        to = f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"
        await _redirect(send, to, visit.baked("login", sealed, for_s=UNDER_WAY_S))

    async def _back(self, visit: Browser, send: Send) -> None:
        """From the provider, with a code or an error."""
        try:
            under_way = await asyncio.to_thread(self._sealed.open, visit.cookie("login"))
        except ValueError as error:
            raise BadRequest(
                "no login is under way in this browser", hint=f"begin at {visit.address}{BEGIN}"
            ) from error
        if not secrets.compare_digest(visit.query("state").encode(), under_way["state"].encode()):
            raise BadRequest("this is the end of another login", hint=f"begin at {visit.address}{BEGIN}")
        try:
            if under_way["until"] < time.time():
                raise NeedsKey("the login took too long", hint=f"begin at {visit.address}{BEGIN}")
            if refused := visit.query("error"):
                code = refused if re.fullmatch(r"[a-z_]{1,40}", refused) else "error"
                raise NeedsKey(f"the provider refused the login: {code}")
            caller = await self._exchanged(visit, under_way)
        except PenstockError as error:
            self._house.audit.record("login.failed", actor="unknown", reason=error.code)
            raise
        secret = await asyncio.to_thread(self._sessions.begin, caller, for_s=self._settings.session)
        self._house.audit.record("login.succeeded", actor=caller.name, target=caller.name, admin=caller.admin)
        baked = [visit.baked("session", secret, for_s=self._settings.session), visit.baked("login", "", for_s=0)]
        await _redirect(send, under_way["back"], *baked)

    async def _exchanged(self, visit: Browser, under_way: Mapping[str, Any]) -> Caller:
        """Whoever the code speaks of."""
        code = visit.query("code")
        if not code:
            raise BadRequest("the provider sent no code")
        settings = self._settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": visit.address + BACK,
            "client_id": settings.client_id,
            "code_verifier": under_way["verifier"],
        }
        basic = "client_secret_post" not in (await self._provider.facts()).get(
            "token_endpoint_auth_methods_supported", ["client_secret_basic"]
        )
        headers = {"accept": "application/json"}
        if settings.client_secret and basic:
            pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif settings.client_secret:
            form["client_secret"] = settings.client_secret
        found = await _fetched(await self._provider.address("token_endpoint"), form, headers=headers)
        token = found.get("id_token")
        if not isinstance(token, str):
            raise BadToken("the provider sent no id_token")
        claims = await self._tokens.claims(token, audience=settings.client_id)
        if not secrets.compare_digest(str(claims.get("nonce")).encode("utf-8", "replace"), under_way["nonce"].encode()):
            raise BadToken("the token is of another login")
        if isinstance(claims.get("aud"), list) and len(claims["aud"]) > 1 and claims.get("azp") != settings.client_id:
            raise BadToken("the token was given to somebody else")
        return caller_of(claims, settings)

    async def _end(self, visit: Browser, send: Send) -> None:
        if visit.header(b"sec-fetch-site") not in ("", "same-origin", "none"):
            raise NotAllowed("requests from other sites are not answered")
        if secret := visit.cookie("session"):
            name = await asyncio.to_thread(self._sessions.end, secret)
            if name:
                self._house.audit.record("login.ended", actor=name, target=name)
        await _redirect(send, "/", visit.baked("session", "", for_s=0))


async def _redirect(send: Send, to: str, *cookies: str) -> None:
    await _say(send, 303, "", ("location", to), *(("set-cookie", cookie) for cookie in cookies))


async def _say(send: Send, status: int, text: str, *headers: tuple[str, str]) -> None:
    body = text.strip().encode("utf-8", "replace")
    found = (
        ("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store"), ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"), ("content-length", str(len(body))), *headers,
    )  # fmt: skip
    encoded = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in found]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
