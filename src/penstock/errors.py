"""Every error a caller can meet.

    PenstockError                 500
    ├── BadRequest                400   the request cannot be understood
    │   ├── BadSetting            400   penstock.toml or the environment
    │   ├── BadArguments          400   the arguments of an action; it says what is wrong with each
    │   ├── NotOffered            400   the model that was asked does not offer this
    │   └── Blocked               400   the guard stopped a request or an answer; it says by which rule
    ├── NeedsKey                  401   no key, or one that is not known
    ├── NotAllowed                403   a known caller, not allowed to do this
    ├── NotFound                  404   no such document, version, collection, model or path
    ├── Conflict                  409   another writer is at work: try again
    │   └── WorseVersion          409   a new index version answers its golden questions worse
    ├── TooLarge                  413
    ├── Unreadable                422   a file that cannot be read, with the reason
    ├── Limited                   429   too many requests or tokens for now: try again after `retry_after_s`
    │   └── BudgetSpent           429   no money or tokens left in this day or month
    ├── MissingExtra              501   an optional part is not installed; the message has the command
    ├── ToolFailed                500   a tool in a process of its own failed, in its own words
    │   └── ToolStopped           500   it met one of its limits; it says which
    ├── UpstreamError             502   a server we call failed: try again
    │   ├── UpstreamRefused       4xx   it refused the request itself, in its own words
    │   ├── UpstreamBusy          429   it has too much to do: try again after `retry_after_s`
    │   ├── UpstreamTimeout       504   it did not answer in time: try again
    │   └── UpstreamResting       503   it failed and is left alone for now: try again after `retry_after_s`
    ├── Untranslated              502   no translation that keeps what has to stay, or a text too long for one
    ├── NotReady                  503   starting, or draining: try again
    │   └── Overloaded            503   too many requests wait already: try again
    └── StorageError              507   disk full, read-only folder, damaged file

A message says what happened, to what, and the limit it met; the hint says what to do next. Over HTTP every refusal
has the shape of `body()`, which OpenAI's clients understand.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

__all__ = [
    "BadArguments",
    "BadRequest",
    "BadSetting",
    "Blocked",
    "BudgetSpent",
    "Conflict",
    "Limited",
    "MissingExtra",
    "NeedsKey",
    "NotAllowed",
    "NotFound",
    "NotOffered",
    "NotReady",
    "Overloaded",
    "PenstockError",
    "StorageError",
    "TooLarge",
    "ToolFailed",
    "ToolStopped",
    "Unreadable",
    "Untranslated",
    "UpstreamBusy",
    "UpstreamError",
    "UpstreamRefused",
    "UpstreamResting",
    "UpstreamTimeout",
    "WorseVersion",
]


class PenstockError(Exception):
    """The root: something went wrong that has no class of its own."""

    status: int = 500
    code: str = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after_s = retry_after_s  # when it may be worth while; 0: nobody knows

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


class BadArguments(BadRequest):
    """The arguments of an action do not fit it. problems: place -> what is wrong there; {} where nothing could be read."""

    code = "bad_arguments"

    def __init__(self, message: str, *, problems: Mapping[str, str] = MappingProxyType({}), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class NotOffered(BadRequest):
    """The model that was asked, or its provider, does not offer what the request wants."""

    code = "not_offered"


class Blocked(BadRequest):
    """The guard stopped a request, or an answer on its way. The message names the rule, and never repeats the words.

    said: what the policy has to say to the person who asked; "" where it has nothing.
    """

    code = "blocked_by_guard"

    def __init__(self, message: str, *, hint: str = "", said: str = "") -> None:
        super().__init__(message, hint=hint)
        self.said = said


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


class Limited(PenstockError):
    """Too many requests, tokens or running calls for now."""

    status, code, retryable = 429, "rate_limit_exceeded", True


class BudgetSpent(Limited):
    """The money or the tokens of a day, a month or a key are spent, or held by calls that are running."""

    code, retryable = "insufficient_quota", False


class MissingExtra(PenstockError):
    """An optional part is not installed."""

    status, code = 501, "missing_extra"

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} is not installed", hint=f"pip install 'penstock[{extra}]'")


class ToolFailed(PenstockError):
    """A tool in a process of its own failed, or gave nothing that can be read."""

    code = "tool_failed"


class ToolStopped(ToolFailed):
    """A tool in a process of its own met a limit and was ended. limit: its name, or `cancelled`."""

    code = "tool_stopped"

    def __init__(self, message: str, *, limit: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.limit = limit


class UpstreamError(PenstockError):
    """A server that we call failed or did not answer in time."""

    status, code, retryable = 502, "upstream_error", True


class UpstreamRefused(UpstreamError):
    """An upstream refused the request itself: it is malformed, too long, or against its rules. Its status and words."""

    retryable = False

    def __init__(
        self, message: str, *, status: int = 400, code: str = "", param: str | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code or "upstream_refused"
        self.param = param

    def body(self) -> dict[str, Any]:
        body = super().body()
        body["error"]["param"] = self.param
        return body


class UpstreamBusy(UpstreamError):
    """An upstream has too much to do, or our rate there is used up."""

    status, code = 429, "upstream_busy"


class UpstreamTimeout(UpstreamError):
    """An upstream did not answer in time."""

    status, code = 504, "upstream_timeout"


class UpstreamResting(UpstreamError):
    """An upstream failed several times in a row, or asked for a pause. It was not called."""

    status, code = 503, "upstream_resting"


class Untranslated(PenstockError):
    """A text that cannot be translated as it has to be."""

    status, code = 502, "untranslated"


class NotReady(PenstockError):
    """The server is starting or draining."""

    status, code, retryable = 503, "not_ready", True


class Overloaded(NotReady):
    """Too many requests wait for the same model already."""

    code = "overloaded"


class StorageError(PenstockError):
    """The disk is full, a folder cannot be written, or a stored file is damaged."""

    status, code = 507, "storage_error"
