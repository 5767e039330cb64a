"""Mail addresses, and addresses of the network with a user's password in them. Found from each "@", a few steps to both sides."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from penstock.types import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["mails"]

_USER_INFO: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.\-]{1,20}+://[^\s/@:<>\"']{0,99}+:[^\s/@<>\"']{1,99}+@[^\s<>\"'`]++"
)
_LOCAL: Final = re.compile(r"(?:[^\W_]|[_.!#$%&'*+/=?^`{|}~\-\u0300-\u036f\u0900-\u0dff])++")  # read backwards
_DOMAIN: Final = re.compile(r"(?:[^\W_]|[.\-\u0300-\u036f\u0900-\u0dff\uff0e\u3002]){1,253}+")
_RUN_ON: Final = re.compile(r"[\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af]")
_QUOTED: Final = re.compile(r'"[^"\s]{1,40}(?: [^"\s]{1,40})?"$')
_AT_NUMBER: Final = re.compile(r"\[(?:IPv6:)?[0-9A-Fa-f:.]{3,45}\]")
_FILE_ENDINGS: Final = frozenset(
    "png jpg jpeg gif svg webp css js ts tsx jsx json xml html htm py java rb go rs cpp h txt log yml yaml toml ini lock zip gz tar"
    " exe dll conf cfg service timer socket local_ map md5 webm".split()
)


def mails(plain: str) -> list[Finding]:
    """What has an "@" in it and is somebody's. `plain` has ASCII digits, dots and at signs only."""
    found: list[Finding] = []
    taken: list[tuple[int, int]] = []
    for match in _USER_INFO.finditer(plain) if "://" in plain else ():
        end = match.start() + len(match[0].rstrip(".,;:!?)]}"))
        taken.append((match.start(), end))
        found.append(Finding("URL", *taken[-1], 0.95, rule="an address with a user's name and password in it"))
    done, at = 0, plain.find("@")
    while at >= 0:
        span = None if _within(taken, at) else _mail(plain, at, done)
        if span is not None:
            found.append(Finding("EMAIL_ADDRESS", *span, 1.0, rule="a mail address"))
            done = span[1]
        at = plain.find("@", max(at + 1, done))
    return found


def _mail(plain: str, at: int, done: int) -> tuple[int, int] | None:
    behind = plain[max(done, at - 65) : at]
    local = _LOCAL.match(behind[::-1])
    if local is None:
        quoted = _QUOTED.search(behind) if behind.endswith('"') else None
        if quoted is None:
            return None
        name, start = quoted[0], at - len(quoted[0])
    else:
        if local.end() > 64:
            return None
        name = behind[len(behind) - local.end() :]
        start = at - local.end()
        cut = _run_on(name)
        cut += len(name[cut:]) - len(name[cut:].lstrip(".'`/=&?#{}|*!$%^~-"))
        if "=" in name[cut:]:  # to=jo@example.com
            cut += name[cut:].rindex("=") + 1
        if "/" in name[cut:]:  # a path, as in npm's @scope/name@1.2
            cut += name[cut:].rindex("/") + 1
        name, start = name[cut:], start + cut
        if not name or name.endswith(".") or ".." in name:
            return None
    domain = _DOMAIN.match(plain, at + 1)
    if domain is None:
        number = _AT_NUMBER.match(plain, at + 1)
        return (start, number.end()) if number else None
    host = domain[0].replace("\u3002", ".").rstrip(".-")
    parts = host.split(".")
    for index in range(1, len(parts)):
        if "" in (parts[index], parts[index - 1]):
            parts = parts[:index]
            break
    last = parts[-1]
    if len(parts) > 1 and last[:1].isascii() and (more := _RUN_ON.search(last)):  # "…@example.com으로"
        parts[-1] = last = last[: more.start()].rstrip("-")
    while len(parts) > 1 and not _is_top(last):
        parts.pop()
        last = parts[-1]
    if len(parts) < 2 or any(len(part) > 63 or part.startswith("-") or part.endswith("-") for part in parts):
        return None
    host = ".".join(parts)
    end = at + 1 + len(host)
    if (name == "git" and plain[end : end + 1] in (":", "/")) or last.lower() in _FILE_ENDINGS:
        return None
    return start, end


def _within(spans: Sequence[tuple[int, int]], at: int) -> bool:
    index = bisect_right(spans, (at, 1 << 62)) - 1
    return index >= 0 and spans[index][0] <= at < spans[index][1]


def _run_on(name: str) -> int:
    """Where a local part begins that follows its sentence without a space: "邮箱是zhang" -> 3."""
    if name.isascii() or not name[-1:].isascii():
        return 0
    last = 0
    for match in _RUN_ON.finditer(name):
        last = match.end()
    return last


def _is_top(label: str) -> bool:
    """Whether a name may be a top-level domain: letters alone, or an encoded one."""
    if label[:4].lower() == "xn--":
        return len(label) > 4
    return len(label) >= 2 and not any(letter.isdigit() or letter == "-" for letter in label)
