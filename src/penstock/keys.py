"""API keys: made, scoped, rotated, expired and revoked. Only their digests are stored; who holds one is known from memory.

Keys stand in the settings (`[keys.NAME]`) or are made with `penstock keys create`. What is changed is recorded in the
audit trail in the same transaction, and reaches a running server within a second. While the database cannot be read the
known keys go on working, and an unknown one is told to try again, not that it is wrong: it may have been made since.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from penstock.config import BudgetSettings, KeySettings, check_name, iso
from penstock.errors import BadRequest, Conflict, NeedsKey, NotFound, NotReady, PenstockError
from penstock.storage.audit import Audit
from penstock.storage.database import Database
from penstock.types import Caller

__all__ = ["Key", "Keys", "allowed"]

PREFIX = "psk-"
RESERVED = ("owner", "console")  # who asks where no key is needed, and with the link that is printed

STEPS = [
    """
    create table keys (
        name text primary key, digest blob not null unique, shown text not null, team text not null, roles text not null,
        admin integer not null, models text not null, budget text not null, created real not null, expires real not null,
        revoked real not null, old_digest blob, old_until real not null
    ) strict
    """,
    "alter table keys add column tenant text not null default ''",
]


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret. Times are Unix times; 0: never."""

    name: str
    shown: str  # its first characters, to recognise it by
    team: str = ""
    roles: tuple[str, ...] = ()
    admin: bool = False
    models: tuple[str, ...] = ()
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    created: float = 0.0
    expires: float = 0.0
    revoked: float = 0.0
    old_until: float = 0.0  # until when the key from before the last rotation works too
    stored: bool = True  # in the database, else in the settings file
    tenant: str = ""

    @property
    def state(self) -> str:
        now = time.time()
        return "revoked" if self.revoked else "expired" if self.expires and self.expires <= now else "active"

    def plain(self) -> dict[str, Any]:
        """As JSON: what lists show."""
        values = asdict(self) | {"budget": _said(self.budget), "state": self.state}
        return values | {name: iso(values[name]) for name in ("created", "expires", "revoked", "old_until")}


class Keys:
    """The keys of the settings, and those of one database."""

    def __init__(self, database: Database, settings: Mapping[str, KeySettings], *, login: bool = False) -> None:
        """login: whether people log in besides, so that nobody comes in with neither."""
        self._database, self._settings, self._audit = database, settings, Audit(database)
        self._fixed = {
            _digest(key.key): (Caller(name, key.roles, key.admin, key.team, key.models, key.tenant), 0.0)
            for name, key in settings.items()
            if key.key
        }
        self._known: dict[bytes, tuple[Caller, float]] = dict(self._fixed)  # digest -> caller, expiry
        self._budgets: dict[str, BudgetSettings] = {}
        self._login = login
        self._needed, self._sure, self._migrated = bool(self._fixed) or login, False, False
        self._seen = threading.local()  # the database's version: each connection counts by itself

    # ---------------------------------------------------------------- asked on every request

    @property
    def needed(self) -> bool:
        """Whether a request needs a key: as soon as there is one. One that is revoked counts: nothing opens by closing."""
        return self._needed

    @property
    def budgets(self) -> Mapping[str, BudgetSettings]:
        """The limits that keys bring with them, by name."""
        return self._budgets

    def find(self, given: bytes) -> Caller:
        """Who holds this key. Raises NeedsKey, or NotReady while nobody can say."""
        return self.find_digest(hashlib.sha256(given).digest(), given=bool(given))

    def find_digest(self, digest: bytes, *, given: bool = True) -> Caller:
        """The same by the SHA-256 of a key, for what remembers it without knowing it."""
        found = self._known.get(digest)
        if found is not None and (not found[1] or found[1] > time.time()):
            return found[0]
        if found is None and given and not self._sure:
            raise NotReady("the keys cannot be read at the moment", hint="try again shortly")
        problem = (
            "the API key has expired"
            if found
            else "the API key is not known"
            if given
            else "this server needs an API key"
        )
        raise NeedsKey(problem, hint="Authorization: Bearer KEY")

    def holder(self, name: str) -> Caller:
        """Who holds the key of that name now, for work that goes on without a request. Raises NeedsKey where it works no more."""
        for caller, expires in self._known.values():
            if caller.name == name and (not expires or expires > time.time()):
                return caller
        raise NeedsKey(f"the key '{name}' works no more")

    def refresh(self) -> None:
        """Take over what was changed in the database, by whatever process. Raises StorageError or Conflict."""
        try:
            self._migrate()
            version = self._database.read("pragma data_version")[0][0]
            if self._sure and version == getattr(self._seen, "version", None):
                return
            self._reload()
            self._seen.version = version
        except PenstockError:
            self._sure = False
            raise

    def _reload(self) -> None:
        known, budgets, now = dict(self._fixed), {}, time.time()
        rows = self._rows()
        for digest, old_digest, key in rows:
            if key.revoked:
                continue
            caller = Caller(key.name, key.roles, key.admin, key.team, key.models, key.tenant)
            known[digest] = (caller, key.expires)
            if old_digest and key.old_until > now:
                known[old_digest] = (caller, min(key.old_until, key.expires or key.old_until))
            if key.budget != BudgetSettings():
                budgets[key.name] = key.budget
        self._known, self._budgets, self._needed, self._sure = (
            known,
            budgets,
            bool(self._fixed or rows or self._login),
            True,
        )

    # ---------------------------------------------------------------- changed now and then

    def all(self) -> list[Key]:
        """All stored keys, revoked ones too, by name."""
        self._migrate()
        return [key for _, _, key in self._rows()]

    def stated(self) -> list[Key]:
        """The keys of the settings."""
        return [
            Key(name, "", key.team, key.roles, key.admin, key.models, stored=False, tenant=key.tenant)
            for name, key in sorted(self._settings.items())
        ]

    def get(self, name: str) -> Key:
        """A stored key. Raises NotFound."""
        stored = self.all()
        for key in stored:
            if key.name == name:
                return key
        known = ", ".join(key.name for key in stored) or "none yet: penstock keys create NAME"
        hint = "it stands in the settings file; change it there" if name in self._settings else f"known: {known}"
        raise NotFound(f"there is no stored key '{name}'", hint=hint)

    def create(
        self,
        name: str,
        *,
        team: str = "",
        tenant: str = "",
        roles: Sequence[str] = (),
        admin: bool = False,
        models: Sequence[str] = (),
        expires: float = 0.0,
        budget: BudgetSettings | None = None,
    ) -> tuple[Key, str]:
        """Make a key. Returns it with its secret, which is shown this once. Raises Conflict for a name that is taken."""
        check_name(name, what="a key")
        if name in RESERVED:
            raise BadRequest(f"'{name}' cannot name a key: it stands for whoever runs this machine")
        if expires and expires <= time.time():
            raise BadRequest("the key would have expired already")
        taken = _Settled(f"there is a key '{name}' already", hint=f"penstock keys rotate {name}, or another name")
        if name in self._settings:
            raise taken
        secret = _new_secret()
        key = Key(
            name, secret[:8], team, tuple(roles), admin, tuple(models), budget or BudgetSettings(), time.time(), expires,
            tenant=tenant,
        )  # fmt: skip
        self._migrate()
        with self._audit.changing("key.created", target=name, admin=admin, roles=key.roles, models=key.models) as w:
            if found := w.execute("select revoked from keys where name = ?", (name,)).fetchone():
                if found[0]:
                    raise _Settled(f"the key '{name}' is revoked", hint=f"another name, or penstock keys remove {name}")
                raise taken
            w.execute(
                f"insert into keys values ({', '.join('?' * 14)})",  # noqa: S608
                (
                    name, _digest(secret), key.shown, team, json.dumps(key.roles), admin, json.dumps(key.models),
                    json.dumps(_said(key.budget)), key.created, expires, 0.0, None, 0.0, tenant,
                ),
            )  # fmt: skip
        self._reload()
        return key, secret

    def rotate(self, name: str, *, grace_s: float = 0.0) -> tuple[Key, str]:
        """Give a key a new secret. The old one works for `grace_s` seconds more. Raises NotFound or Conflict."""
        key = self.get(name)
        if key.state != "active":
            raise _Settled(f"the key '{name}' is {key.state}", hint="make another: penstock keys create NAME")
        secret, until = _new_secret(), time.time() + grace_s if grace_s else 0.0
        with self._audit.changing("key.rotated", target=name, grace_s=round(grace_s)) as w:
            w.execute(
                "update keys set old_digest = digest, old_until = ?, digest = ?, shown = ? where name = ?",
                (until, _digest(secret), secret[:8], name),
            )
        self._reload()
        return replace(key, shown=secret[:8], old_until=until), secret

    def revoke(self, name: str) -> Key:
        """A revoked key works no more, and stays in the list. Raises NotFound."""
        key = self.get(name)
        now = key.revoked or time.time()
        with self._audit.changing("key.revoked", target=name) as w:
            w.execute("update keys set revoked = ?, old_until = 0 where name = ?", (now, name))
        self._reload()
        return replace(key, revoked=now, old_until=0.0)

    def remove(self, name: str) -> None:
        """Forget a key that works no more; when none is left, nobody needs one. Raises NotFound or Conflict."""
        if self.get(name).state == "active":
            raise _Settled(f"the key '{name}' works", hint=f"first: penstock keys revoke {name}")
        with self._audit.changing("key.removed", target=name) as w:
            w.execute("delete from keys where name = ?", (name,))
        self._reload()

    def _rows(self) -> list[tuple[bytes, bytes | None, Key]]:
        rows = self._database.read(
            "select digest, old_digest, name, shown, team, roles, admin, models, budget, created, expires, revoked, old_until,"
            " tenant from keys order by name"
        )
        return [
            (digest, old, Key(name, shown, team, tuple(json.loads(roles)), bool(admin), tuple(json.loads(models)),
                              BudgetSettings(**json.loads(budget)), created, expires, revoked, until, tenant=tenant))
            for digest, old, name, shown, team, roles, admin, models, budget, created, expires, revoked, until,
                tenant in rows
        ]  # fmt: skip

    def _migrate(self) -> None:
        if not self._migrated:
            self._database.migrate("keys", STEPS)
            self._migrated = True


class _Settled(Conflict):
    """Trying again changes nothing."""

    retryable = False


def allowed(name: str, caller: Caller) -> bool:
    """Whether a caller may use a model, route or app of this name."""
    return not caller.models or any(fnmatch.fnmatchcase(name, pattern) for pattern in caller.models)


def _said(budget: BudgetSettings) -> dict[str, Any]:
    return {name: value for name, value in asdict(budget).items() if value}


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()  # 256 random bits need no slow hash


def _new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)
