"""Who uses a widget: a visitor whom nobody knows, told from others by a signed token that works for that widget and for a while.

Browsers keep cookies from what stands in a page of another site, so the token travels in a header. It is signed with a key that
all processes of one home share. Nothing is stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from penstock.errors import NeedsKey

__all__ = ["AGAIN_S", "HEADER", "PREFIX", "VISIT_S", "Visits"]

HEADER: Final = b"x-penstock-visit"
PREFIX: Final = "pwv-"  # what each token begins with
VISIT_S: Final = 1800.0  # how long a token works
AGAIN_S: Final = 24 * 3600.0  # how long after that it still says who comes back
LONGEST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Visits:
    """Makes tokens, and believes its own. secret: 32 bytes that stay the same."""

    secret: Callable[[], bytes]

    def begin(self, widget: str, visitor: str = "") -> str:
        """A token for a visitor of that widget, or for a new one."""
        said = json.dumps([widget, visitor or secrets.token_urlsafe(12), int(time.time() + VISIT_S)]).encode()
        return f"{PREFIX}{_packed(said)}.{_packed(self._signature(said))}"

    def visitor(self, token: str, widget: str, *, late_s: float = 0.0) -> str:
        """Whose token it is. Raises NeedsKey for one that was forged, is of another widget or over. late_s: how long ago."""
        wrong = NeedsKey("this is no visit of this widget, or it is over", hint="begin one anew")
        said, dot, signature = token.removeprefix(PREFIX).partition(".")
        if not token.startswith(PREFIX) or not dot or len(token) > LONGEST or not token.isascii():
            raise wrong
        try:
            text, given = _unpacked(said), _unpacked(signature)
        except ValueError as error:
            raise wrong from error
        if not hmac.compare_digest(given, self._signature(text)):
            raise wrong
        of, visitor, until = json.loads(text)  # we wrote it ourselves
        if of != widget or time.time() > until + late_s:
            raise wrong
        return str(visitor)

    def _signature(self, text: bytes) -> bytes:
        return hmac.new(self.secret(), text, hashlib.sha256).digest()


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpacked(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
