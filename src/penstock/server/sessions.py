"""Who is logged in with a browser: a cookie holds a random number, the database the rest, so that logging out ends it everywhere.

A session stands for whom the login provider named, or for a key, and ends with it: when it is revoked, rotated or replaced. A link
that works once begins one for whoever started the server.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final, cast
from urllib.parse import parse_qs

from penstock.assemble import House
from penstock.config import Settings
from penstock.errors import NeedsKey, NotAllowed, PenstockError
from penstock.server.access import CALLER, place_of
from penstock.server.http import Receive, Scope, Send
from penstock.types import Caller

__all__ = ["ONCE_S", "Browser", "Sessions", "SignedIn"]

STEPS = [
    """
    create table sessions (
        digest blob primary key, name text not null, caller text not null, expires real not null
    ) strict, without rowid
    """,
]
ONCE_S: Final = 3600.0  # how long a link waits to be opened
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
KEYS: Final = (b"authorization", b"x-api-key", b"api-key")
OWNER: Final = "console"  # the name of whoever started the server and opened its link
ONCE: Final = "once"  # in place of a caller: a link that was not opened yet


class Sessions:
    """Who is logged in. Raises StorageError or Conflict where the database cannot be read or written."""

    def __init__(self, house: House) -> None:
        self._database, self._keys, self._migrated = house.database, house.keys, False

    def begin(self, caller: Caller, *, for_s: float) -> str:
        """The secret of a new session of somebody whom a provider named."""
        return self._kept(caller.name, [caller.name, caller.roles, caller.admin, caller.tenant], for_s)

    def begin_with_key(self, key: str, *, for_s: float) -> tuple[str, Caller]:
        """The secret of a new session of whoever holds a key. It ends with the key. Raises NeedsKey for none of ours."""
        given = key.strip().encode("utf-8", "replace")
        caller = self._keys.find(given)
        return self._kept(caller.name, {"key": hashlib.sha256(given).hexdigest()}, for_s), caller

    def once(self, *, for_s: float) -> str:
        """A secret that `redeem` takes once: for whoever starts the server, and sees what it prints."""
        return self._kept(ONCE, ONCE, for_s)

    def redeem(self, secret: str, *, for_s: float) -> str:
        """The secret of the owner's session. Raises NeedsKey for a link that was opened before, or is too old."""
        self._migrate()
        with self._database.write() as w:
            found = w.execute(
                "delete from sessions where digest = ? and caller = ? and expires > ? returning name",
                (_digest(secret), json.dumps(ONCE), time.time()),
            ).fetchone()
        if not found:
            raise NeedsKey(
                "this link was opened before, or is too old", hint="penstock up prints a new one; a key works too"
            )
        return self.begin(Caller(OWNER, admin=True), for_s=for_s)

    def find(self, secret: str) -> Caller | None:
        self._migrate()
        rows = self._database.read(
            "select caller from sessions where digest = ? and expires > ?", (_digest(secret), time.time())
        )
        kept: object = json.loads(rows[0][0]) if rows else ONCE
        if isinstance(kept, str):
            return None
        if isinstance(kept, dict):
            try:
                return self._keys.find_digest(bytes.fromhex(kept["key"]))
            except NeedsKey:  # it was revoked, rotated or replaced, or has expired
                return None
        name, roles, admin, tenant = cast(tuple[str, list[str], bool, str], kept)
        return Caller(name, tuple(roles), admin, tenant=tenant)

    def end(self, secret: str) -> str:
        """Returns who was logged in, or ""."""
        self._migrate()
        with self._database.write() as w:
            found = w.execute("delete from sessions where digest = ? returning name", (_digest(secret),)).fetchone()
        return str(found[0]) if found else ""

    def _kept(self, name: str, caller: object, for_s: float) -> str:
        self._migrate()
        secret = secrets.token_urlsafe(32)
        with self._database.write() as w:
            w.execute("delete from sessions where expires < ?", (time.time(),))
            w.execute(
                "insert into sessions values (?, ?, ?, ?)",
                (_digest(secret), name, json.dumps(caller), time.time() + for_s),
            )
        return secret

    def _migrate(self) -> None:
        if not self._migrated:
            self._database.migrate("login", STEPS)
            self._migrated = True


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


class Browser:
    """One request of a browser, as far as logging in looks at it."""

    def __init__(self, scope: Scope, settings: Settings) -> None:
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        self.method = str(scope["method"])
        own = f"{scope.get('scheme', 'http')}://{self.header(b'host') or 'localhost'}"
        self.address = (settings.login.address or own).rstrip("/")
        self._secure = self.address.startswith("https://")

    def header(self, name: bytes) -> str:
        return self._headers.get(name, b"").decode("latin-1")

    def query(self, name: str) -> str:
        return str(self._query.get(name, [""])[-1])

    @property
    def own(self) -> bool:
        """Whether the browser says that it comes from our own pages."""
        origin = place_of(self.header(b"origin"))
        return self.header(b"sec-fetch-site") == "same-origin" or (
            bool(origin) and origin in (self.header(b"host"), place_of(self.address))
        )

    def cookie(self, name: str) -> str:
        """Its value; "" where there is none. What other programs of the same host put beside it may be of any form."""
        for part in self.header(b"cookie").split(";"):
            known, _, value = part.strip().partition("=")
            if known == self._named(name) and value:
                return value.strip('"')
        return ""

    def baked(self, name: str, value: str, *, for_s: float) -> str:
        """A cookie that no script reads and no other site sends along."""
        secure = "; Secure" if self._secure else ""
        return f"{self._named(name)}={value}; Path=/; Max-Age={int(for_s)}; HttpOnly; SameSite=Lax{secure}"

    def _named(self, name: str) -> str:
        return f"__Host-penstock-{name}" if self._secure else f"penstock-{name}"


class SignedIn:
    """An ASGI app around ours: says who is asking, where a browser's session does and nothing else has."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], house: House) -> None:
        self._app, self._settings, self._sessions = app, house.settings, Sessions(house)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and CALLER not in scope and _has_only_cookies(scope):
            browser = Browser(scope, self._settings)
            try:
                secret = browser.cookie("session")
                found = await asyncio.to_thread(self._sessions.find, secret) if secret else None
                if found is not None and browser.method not in SAFE and not browser.own:
                    raise NotAllowed("a browser's request must come from our own pages")
                if found is not None:
                    scope[CALLER] = found
            except PenstockError as error:  # it is told where callers are told who they are
                scope[CALLER] = error
        await self._app(scope, receive, send)


def _has_only_cookies(scope: Scope) -> bool:
    found = False
    for name, _ in scope["headers"]:
        if name in KEYS:
            return False
        found = found or name == b"cookie"
    return found
