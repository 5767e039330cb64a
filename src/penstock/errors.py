"""Every error a caller can meet.

    PenstockError                 500
    ├── BadRequest                400   the request cannot be understood
    │   └── BadSetting            400   penstock.toml or the environment
    ├── NeedsKey                  401   no key, or one that is not known
    ├── NotAllowed                403   a known caller, not allowed to do this
    ├── NotFound                  404   no such document, version, collection, model or path
    ├── Conflict                  409   another writer is at work: try again
    │   └── WorseVersion          409   a new index version answers its golden questions worse
    ├── TooLarge                  413
    ├── Unreadable                422   a file that cannot be read, with the reason
    ├── MissingExtra              501   an optional part is not installed; the message has the command
    ├── UpstreamError             502   a server we call failed: try again
    ├── NotReady                  503   starting, or draining: try again
    └── StorageError              507   disk full, read-only folder, damaged file

A message says what happened, to what, and the limit it met; the hint says what to do next. Over HTTP every refusal
has the shape of `body()`, which OpenAI's clients understand.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "BadRequest",
    "BadSetting",
    "Conflict",
    "MissingExtra",
    "NeedsKey",
    "NotAllowed",
    "NotFound",
    "NotReady",
    "PenstockError",
    "StorageError",
    "TooLarge",
    "Unreadable",
    "UpstreamError",
    "WorseVersion",
]


class PenstockError(Exception):
    """The root: something went wrong that has no class of its own."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def body(self) -> dict[str, Any]:
        """The one JSON shape of a refusal, on every route and with `--json`."""
        return {
            "error": {
                "message": self.message,
                "type": _openai_type(self.status),
                "code": self.code,
                "param": None,
                "hint": self.hint or None,
                "retryable": self.retryable,
            }
        }


def _openai_type(status: int) -> str:
    known = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    return known.get(status, "invalid_request_error" if status < 500 else "server_error")


class BadRequest(PenstockError):
    """The request cannot be understood: a missing field, a wrong type, malformed JSON."""

    status, code = 400, "bad_request"


class BadSetting(BadRequest):
    """A setting is unknown, of the wrong type, or out of its range."""

    code = "bad_setting"


class NeedsKey(PenstockError):
    """No API key was sent, or it is not one of ours."""

    status, code = 401, "needs_key"


class NotAllowed(PenstockError):
    """The caller is known and may not do this."""

    status, code = 403, "not_allowed"


class NotFound(PenstockError):
    """No such document, version, collection, model or path. What a caller may not see is not found either."""

    status, code = 404, "not_found"


class Conflict(PenstockError):
    """Another writer is at work on the same collection."""

    status, code, retryable = 409, "conflict", True


class WorseVersion(Conflict):
    """A new index version answers its golden questions worse than the live one, by more than the tolerance."""

    code, retryable = "worse_version", False


class TooLarge(PenstockError):
    """A body, file or archive is over its limit."""

    status, code = 413, "too_large"


class Unreadable(PenstockError):
    """A file cannot be read: encrypted, truncated, empty, of an unknown kind."""

    status, code = 422, "unreadable"


class MissingExtra(PenstockError):
    """An optional part is not installed."""

    status, code = 501, "missing_extra"

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} is not installed", hint=f"pip install 'penstock[{extra}]'")


class UpstreamError(PenstockError):
    """A server that we call failed or did not answer in time."""

    status, code, retryable = 502, "upstream_error", True


class NotReady(PenstockError):
    """The server is starting or draining."""

    status, code, retryable = 503, "not_ready", True


class StorageError(PenstockError):
    """The disk is full, a folder cannot be written, or a stored file is damaged."""

    status, code = 507, "storage_error"
