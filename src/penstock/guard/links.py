"""Where an address leads once all disguise is off it, and whether an answer may have it.

An address is read the way a browser reads it: entities and escapes resolved, tabs and line breaks gone, backslashes
turned, the user's part before an @ told from the host, the host in its one ASCII form. Nothing is fetched or looked up.

An address that goes on leaves in steps. What leaves is always one that might have been the whole: where the rest is
refused and the address ends there, no more was given away than by allowing the shorter one.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

from penstock.guard.values import looks_random

__all__ = ["TOO_LONG", "Addresses", "Target", "resolved"]

LONGEST_VALUE: Final = 64  # characters of one value in the query of a host that is not allowed
LONGEST_PART: Final = 120  # of one segment of its path, decoded
LONGEST_QUERY: Final = 200
NESTED: Final = 4  # addresses inside addresses
TOO_LONG: Final = "too long to be judged"
MOST_VALUES: Final = 64  # in one query
LONGEST_HASH: Final = 64  # hexadecimal digits

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_WEB: Final = frozenset(("http", "https", "ftp", "ftps", "ws", "wss"))
_INERT: Final = frozenset(("mailto", "tel", "sms", "urn", "doi", "geo", "news", "isbn", "cid", "mid"))
_ESCAPED: Final = re.compile(r"\\([!-/:-@\[-`{-~])")
_UNSEEN: Final = re.compile(
    "[\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f"
    "\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_DOTS: Final = str.maketrans("。．｡․﹒", ".....")
_BEGINS: Final = re.compile(r"(?:https?|ftps?|wss?)://", re.IGNORECASE)
_HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_-]{1,63})*|\[[0-9a-f:.]+\]")
_DOMAIN: Final = re.compile(
    r"(?:[\w-]+\.)+(?!html?\b|php\b|png\b|jpe?g\b|gif\b|md\b|txt\b|pdf\b|js\b|css\b|py\b|json\b|"
    r"svg\b)[A-Za-z]{2,18}(?=[/:?#]|$)"
)
_REDIRECTS: Final = frozenset(
    "url u uri link href target dest destination redirect redirect_url redirect_uri redir next continue return "
    "return_to returnto returnurl goto go to out "
    "r q image img src source proxy feed host site page callback open file path ref location forward fwd l lp load "
    "fetch remote import data resource".split()
)
_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+\.\w")
_DIGITS: Final = re.compile(r"(?:\d[ .\-/()]?){9,}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_BASE32: Final = re.compile(r"[A-Z2-7]{16,}={0,6}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}){8,}")
_CODED: Final = re.compile(r"[A-Za-z0-9+/_-]{8,}")
_DIGITS_OF_HASH: Final = re.compile(r"[0-9a-fA-F]{8,}")
_QUERY: Final = re.compile(r"[?#]")
_PARTS: Final = "/?&#;="  # what ends a part of an address


class Target(NamedTuple):
    """An address taken apart. host is "" where it leads nowhere outside."""

    scheme: str
    host: str
    port: str
    user: str
    rest: str


def resolved(address: str) -> list[Target]:
    """How an address may be read: in Markdown a backslash escapes, in a browser it is a slash."""
    plain = _UNSEEN.sub("", html.unescape(address))
    return [_taken_apart(reading) for reading in dict.fromkeys((_ESCAPED.sub(r"\1", plain), plain.replace("\\", "/")))]


def _taken_apart(address: str) -> Target:
    wide = unicodedata.normalize("NFKC", address[:12]) + address[12:] if not address.isascii() else address
    scheme = _SCHEME.match(wide)
    if scheme and scheme[1].lower() not in _WEB:
        return Target(scheme[1].lower(), "", "", "", wide[scheme.end() :])
    name = scheme[1].lower() if scheme else ""
    rest = wide[scheme.end() :] if scheme else wide
    if not scheme and not rest.replace("\\", "/").startswith("//"):
        return Target("", "", "", "", rest)
    rest = rest.lstrip("/\\")
    cut = re.search(r"[/?#\\]", rest)
    authority, rest = (rest[: cut.start()], rest[cut.start() :]) if cut else (rest, "")
    user, _, place = authority.rpartition("@")
    place = unquote(place)
    port = re.search(r":([^\]]*)$", place)
    host = place[: port.start()] if port else place
    return Target(name or "https", _ascii(host) or "?", port[1] if port else "", user, rest)


def _ascii(host: str) -> str:
    """The one form of a host's name; "" where it has none."""
    host = unicodedata.normalize("NFKC", host.translate(_DOTS)).lower().rstrip(".")
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            return ""
    return host if _HOST.fullmatch(host) and len(host) < 254 else ""


def _nothing(text: str) -> bool:
    return False


class Addresses:
    """Which addresses an answer may have. told: whether a text repeats what must not be told."""

    def __init__(
        self,
        allowed: Sequence[str] = (),
        *,
        links: Literal["any", "allowed_hosts"] = "any",
        told: Callable[[str], bool] = _nothing,
    ) -> None:
        hosts = [host.strip().lower() for host in allowed]
        self._exact = {host if ":" in host else _ascii(host) for host in hosts if not host.startswith("*.")}
        self._below = tuple("." + _ascii(host[2:]) for host in hosts if host.startswith("*.") and _ascii(host[2:]))
        self._links, self._told = links, told

    def allowed(self, target: Target) -> bool:
        """Whether the host is one that is allowed, reached in the ordinary way."""
        if target.user:
            return False
        if target.port not in ("", "80", "443"):
            return f"{target.host}:{target.port}" in self._exact
        return target.host in self._exact or target.host.endswith(self._below)

    def against(self, address: str, *, loads: bool = False, depth: int = 0, goes_on: bool = False) -> str:
        """What speaks against an address, for people; "" where nothing does.

        loads: it is fetched without a click. goes_on: it is not yet whole, and only what will still speak against it
        then counts.
        """
        for target in resolved(address):
            reason = self._against(target, loads, depth, goes_on)
            if reason:
                return reason
        return ""

    def against_each(self, address: str, *, loads: bool = False, goes_on: bool = False) -> str:
        """The same, where in a text it may not be one address, and another begins within it."""
        against = self.against(address, loads=loads, goes_on=goes_on)
        if against:
            return against
        inner = _BEGINS.search(address, 1)
        return self.against(address[inner.start() :], goes_on=goes_on) if inner else ""

    def leaving(self, address: str, left: int, *, loads: bool = False) -> tuple[int, str]:
        """Up to where an address may leave that goes on, and of which so much has left; or what speaks against it."""
        reason = self.against_each(address, loads=loads, goes_on=True)
        if reason:
            return left, reason
        hosts = [target.host for target in resolved(address)]
        for cut in _cuts(address, left):
            targets = resolved(address[:cut])
            named = all(target.rest or not target.host for target in targets)
            if (
                named
                and [target.host for target in targets] == hosts
                and not self.against_each(address[:cut], loads=loads)
            ):
                return cut, ""
        cut = address.rfind(".", left) + 1  # a host that is longer than what is held back leaves name by name
        if cut > left + 1 and "@" not in address and not self.against(address[:cut], loads=loads):
            return cut, ""
        return left, TOO_LONG

    def _against(self, target: Target, loads: bool, depth: int, goes_on: bool) -> str:
        if depth >= NESTED:
            return "an address inside an address, too deep"
        if target.scheme in _INERT:
            if loads:
                return f"{target.scheme}: is nothing to load"
            body = target.rest.partition("?")[2]
            carries = body and self._carried(body.split("&"), LONGEST_VALUE, goes_on=goes_on)
            return "a message that carries data" if carries else ""
        if not target.host:
            if target.scheme:
                return f"{target.scheme}: is not allowed"
            return self._nested(target, loads, depth, goes_on)
        if goes_on and not target.rest:
            return ""  # its host is not yet whole
        if not self.allowed(target):
            if loads:
                return f"host {target.host} is not allowed"
            if self._links == "allowed_hosts":
                return f"host {target.host} is not allowed"
            if target.user or target.host == "?":
                return "a host in disguise"
            if self._carries(target, goes_on):
                return f"carries data to {target.host}"
        return self._nested(target, loads, depth, goes_on)

    def _nested(self, target: Target, loads: bool, depth: int, goes_on: bool) -> str:
        """What speaks against the addresses in a query, to which a redirector or a proxy would go on."""
        path, _, beyond = target.rest.partition("?")
        path, _, fragment = path.partition("#")
        pairs = [pair for pair in re.split("[&;#]", f"{beyond}&{fragment}") if pair] if beyond or fragment else []
        if len(pairs) > MOST_VALUES:
            return "too many values to be judged"
        for number, pair in enumerate(pairs, start=1):
            name, equals, value = pair.partition("=")
            for inner in _inner(value if equals else name, name.lower() if equals else ""):
                open_end = goes_on and number == len(pairs)
                reason = self.against(inner, loads=loads, depth=depth + 1, goes_on=open_end)
                if reason:
                    return f"leads on: {reason}"
        if loads:
            deep = _unquoted(path)
            at = re.search(r"(?:https?|ftp):/|//(?=[\w-]+\.)", deep)
            if at:
                open_end = goes_on and not pairs
                reason = self.against(deep[at.start() :], loads=True, depth=depth + 1, goes_on=open_end)
                if reason:
                    return f"leads on: {reason}"
        return ""

    def _carries(self, target: Target, goes_on: bool) -> bool:
        labels = target.host.split(".")
        if len(target.host) > 100 or len(labels) > 7:
            return True
        for label in labels[:-1]:
            name = label.removeprefix("xn--")
            if (
                len(name) > 40
                or (len(name) >= 12 and looks_random(name))
                or _HEX.fullmatch(name)
                or _readable(name.upper(), least=6)
            ):
                return True
        if self._told(target.host):
            return True
        path, _, query = target.rest.partition("?")
        path, _, fragment = path.partition("#")
        query, _, more = query.partition("#")
        if len(_unquoted(query)) > LONGEST_QUERY or len(path) > 1500:
            return True
        values = [pair.partition("=")[2] or pair for pair in re.split("[&;]", query) if pair]
        if self._told(_unquoted(target.rest.replace("+", " "))):
            return True
        beyond = [part for part in (*values, fragment, more) if part]
        return (
            self._carried(beyond, LONGEST_VALUE, goes_on=goes_on)
            or self._carried(path.split("/"), LONGEST_PART, in_path=True, goes_on=goes_on and not beyond)
            or (len(path) > 32 and bool(_readable(path.replace("/", ""), least=12)))
        )

    def _carried(self, parts: Sequence[str], longest: int, *, in_path: bool = False, goes_on: bool = False) -> bool:
        for number, part in enumerate(parts, start=1):
            if not part:
                continue
            open_end = goes_on and number == len(parts)
            plain = _unquoted(part.replace("+", " "))
            if (
                len(plain) > longest
                or _EMAIL.search(plain)
                or _data(plain, in_path=in_path, goes_on=open_end)
                or _data(_unquoted(part), in_path=in_path, goes_on=open_end)
            ):
                return True
            if not in_path and ((_DIGITS.search(plain) and not plain.isdigit()) or len(plain.split()) > 9):
                return True
        return False


def _cuts(address: str, left: int) -> list[int]:
    """Where an address may be cut, best first: before a value, after a part, after a word, in the middle."""
    value = 0
    if query := _QUERY.search(address):
        last = max(query.start(), *(address.rfind(sign) for sign in "&;#"))
        value = max(last, address.find("=", last)) + 1
    part = max(address.rfind(sign, left) for sign in _PARTS) + 1
    words = [n + 1 for n in range(len(address) - 1, left, -1) if not address[n].isalnum()]
    cuts = (value, part, *words[:4], (left + len(address)) // 2, left + 16)
    whole = (len(address[:cut].rstrip("![]")) for cut in cuts)  # these mean something with what follows them
    return [cut for cut in dict.fromkeys(whole) if cut > left]


def _unquoted(text: str) -> str:
    for _ in range(3):
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    return text


def _inner(value: str, name: str) -> list[str]:
    """The addresses in one value of a query."""
    plain = _unquoted(value)
    found = []
    at = re.search(r"[A-Za-z][A-Za-z0-9+.\-]{1,20}:[/\\]{1,2}|(?:javascript|data|vbscript):", plain, re.IGNORECASE)
    if at:
        found.append(plain[at.start() :])
    elif re.match(r"[/\\]{2}", plain):
        found.append(plain)
    elif name in _REDIRECTS and _DOMAIN.match(plain):
        found.append("//" + plain)
    elif len(plain) >= 12 and _BASE64.fullmatch(plain):
        decoded = _readable(plain, least=8)
        if re.match(r"(?:https?:)?//", decoded):
            found.append(decoded)
    return found


def _data(text: str, *, in_path: bool, goes_on: bool) -> bool:
    """Whether a part of an address is something encoded."""
    stripped = text.strip()
    if goes_on and _CODED.fullmatch(stripped) and _readable(stripped, least=5):
        return True  # so far; hardly any name does that by chance
    if len(stripped) < 12:
        return False
    if goes_on and _DIGITS_OF_HASH.fullmatch(stripped):
        stripped = stripped[: len(stripped) // 2 * 2]
        return len(stripped) > LONGEST_HASH or bool(_text_of(bytes.fromhex(stripped)))
    if _HEX.fullmatch(stripped):
        if _text_of(bytes.fromhex(stripped)):
            return True
        return not (in_path and len(stripped) in (32, 40, 64)) and len(stripped) >= 24
    for word in re.findall(r"[A-Za-z0-9+/_=-]{12,}", stripped):
        if _readable(word, least=8):
            return True
    return (
        not goes_on
        and len(stripped) >= 20
        and looks_random(stripped)
        and not re.fullmatch(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", stripped)
    )


def _text_of(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":  # in the middle of a letter
            return ""
        text = data[: error.start].decode()
    plain = sum(c.isalnum() or c in " .,:;-_@/'\"\n!?" for c in text)
    return text if plain >= 0.9 * len(text) and sum(c.isalpha() for c in text) >= len(text) * 0.3 else ""


def _readable(text: str, *, least: int) -> str:
    """What base64, base32 or hexadecimal digits say, where that is a text of at least so many characters; else ""."""
    if _HEX.fullmatch(text):
        plain = _text_of(bytes.fromhex(text))
        if len(plain) >= least:
            return plain
    if _BASE32.fullmatch(text):
        try:
            plain = _text_of(base64.b32decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 8)))
        except (ValueError, binascii.Error):
            plain = ""
        if len(plain) >= least:
            return plain
    if not _BASE64.fullmatch(text) or not (
        any(c.isdigit() or c in "+/=" for c in text) or (text != text.lower() and text != text.upper())
    ):
        return ""
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        plain = _text_of(
            base64.b64decode(bare[: len(bare) // 4 * 4] if len(bare) % 4 == 1 else bare + "=" * (-len(bare) % 4))
        )
    except (ValueError, binascii.Error):
        return ""
    return plain if len(plain) >= least else ""
