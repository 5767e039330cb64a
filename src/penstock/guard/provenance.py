"""Who said what: the origin of each text of a request, and whether a value is in the user's own words.

What speaks for a value is literal. It stands, whole, in what the system or the user said, or it does not; nothing is decoded,
put together or understood in its favour. Only to name where a value came from are encodings looked through.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from penstock.guard.bodies import Path, Piece

__all__ = ["DEFINITION", "MODEL", "SYSTEM", "UNKNOWN", "USER", "Context", "Kind", "Origin", "Url", "apart", "url_of"]

MOST_LOOKS: Final = 10_000  # at places where a value stands as a part of a longer word
MOST_SAID: Final = 1_000_000  # characters of trusted text in which numbers and addresses are looked for
MOST_TRACED: Final = 4_000_000  # characters of a conversation that are looked through for where a value is from
MOST_DECODED: Final = 400_000  # and of those, for encodings of it

Kind = Literal["system", "user", "document", "tool", "model", "definition"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who said it. A definition is what a tool says of itself: it neither speaks for a value nor makes a request tainted."""

    kind: Kind
    name: str = ""  # of the document or the tool; of a model's text, the tool that it called there

    @property
    def trusted(self) -> bool:
        return self.kind in ("system", "user")

    @property
    def tainted(self) -> bool:
        """Whether anybody may have written it."""
        return self.kind in ("document", "tool")

    def __str__(self) -> str:
        name = f" '{shown(self.name, 60)}'" if self.name else ""
        return {
            "system": "the system's text",
            "user": "the user",
            "document": f"the document{name}",
            "tool": f"the result of the tool{name}",
            "model": "the model",
            "definition": "a tool's definition",
        }[self.kind]


SYSTEM: Final = Origin("system")
USER: Final = Origin("user")
MODEL: Final = Origin("model")
DEFINITION: Final = Origin("definition")
UNKNOWN: Final = Origin("tool")  # nobody says who: treated as if anybody had written it


def apart(pieces: Iterable[Piece], between: Sequence[tuple[str, str]]) -> list[Piece]:
    """The pieces, with the data in what users and systems say as documents of their own.

    between: the marks that a client puts around data. All from the first opening mark to the last closing one is data, or to
    the end where none closes, so that a document cannot end its own quotation.
    """
    found: list[Piece] = []
    for piece in pieces:
        if not piece.origin.trusted:
            found.append(piece)
            continue
        rest = [piece]
        for opening, closing in between:
            rest = [cut for part in rest for cut in _cut(part, opening, closing)]
        found += rest
    return found


def _cut(piece: Piece, opening: str, closing: str) -> list[Piece]:
    start = piece.text.find(opening) if piece.origin.trusted else -1
    if start < 0:
        return [piece]
    last = piece.text.rfind(closing, start + len(opening))
    end = last + len(closing) if last >= 0 else len(piece.text)
    data = replace(piece, text=piece.text[start:end], surface="document", origin=Origin("document"))
    kept = [replace(piece, text=text) for text in (piece.text[:start], piece.text[end:])]
    return [part for part in (kept[0], data, kept[1]) if part.text]


def shown(value: str, most: int) -> str:
    """A value as a person can trust to read it in quotes: quotes and what is invisible are written out, the end is cut off."""
    cut = value if len(value) <= most else f"{value[:most]}… ({len(value)} characters)"
    return "".join(
        character
        if character == " " or (character != '"' and unicodedata.category(character)[0] not in "CZ")
        else f"\\u{{{ord(character):x}}}"
        for character in cut
    )


# ---------------------------------------------------------------- addresses


class Url(NamedTuple):
    scheme: str
    host: str  # small letters, as it is asked for: `xn--` where it has other letters
    port: str
    rest: str  # path and query, "/" at least; what is behind # never leaves

    @property
    def bare(self) -> bool:
        """Whether it names a host and nothing on it."""
        return self.rest == "/"


_URL: Final = re.compile(
    r"(https?)://([^/?#\\@\s%:\[\]]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?([/?][^#\\\s]*)?(?:#\S*)?", re.I
)
_HOST: Final = re.compile(r"[\w-]+(?:\.[\w-]+)*\.?", re.ASCII)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


def url_of(value: str) -> Url | None:
    """A web address in its one form, or None where it is not plainly one: other schemes, a password, anything that two
    programs may read in two ways."""
    match = _URL.fullmatch(value)
    if match is None or not value.isprintable():
        return None
    scheme, port, rest = match[1].lower(), match[3] or "", match[4] or "/"
    host = host_of(match[2])
    if not host:
        return None
    return Url(scheme, host, "" if port == _DEFAULT_PORTS[scheme] else port, rest if rest[0] == "/" else f"/{rest}")


def host_of(value: str) -> str:
    """A host as it is asked for, or "" where it is none."""
    if value.startswith("["):
        return value.lower()
    try:
        name = value if value.isascii() else value.encode("idna").decode("ascii")
    except UnicodeError:
        return ""
    return name.lower().removesuffix(".") if len(name) < 254 and _HOST.fullmatch(name) else ""


# ---------------------------------------------------------------- a conversation


@dataclass(frozen=True)
class Context:
    """The texts of a request, ready to be asked who said what. What costs time is done when it is first asked for."""

    pieces: Sequence[Piece]

    @cached_property
    def tainted(self) -> bool:
        return any(piece.origin.tainted for piece in self.pieces)

    @cached_property
    def _said(self) -> str:
        """All that the system and the user said. NUL stands between texts, so that no value spans two."""
        return "\n\0\n".join(_composed(piece.text) for piece in self.pieces if piece.origin.trusted)

    @cached_property
    def _said_small(self) -> str:
        return self._said.lower()

    @cached_property
    def _numbers(self) -> frozenset[Decimal]:
        return frozenset(number for match in _NUMBER.finditer(self._said[:MOST_SAID]) for number in numbers(match[0]))

    @cached_property
    def _urls(self) -> frozenset[Url]:
        """The web addresses that were given, those without a scheme with either."""
        found: set[Url] = set()
        for match in _WORD.finditer(self._said[:MOST_SAID]):
            word = (
                _FOREIGN_START.sub("", match[0].lstrip(_OPENING), 1)
                if not match[0].isascii()
                else match[0].lstrip(_OPENING)
            )
            if "." not in word or len(word) > 4_000:
                continue
            for cut in {word, word.rstrip(_CLOSING), _ascii_start(word)}:
                if "://" in cut:
                    found |= {url for url in [url_of(cut)] if url}
                elif "@" not in cut and _BARE.fullmatch(cut):
                    found |= {url for scheme in ("https", "http") if (url := url_of(f"{scheme}://{cut}"))}
        return frozenset(found)

    @cached_property
    def _hosts(self) -> frozenset[str]:
        return frozenset(url.host for url in self._urls)

    # ---------------------------------------------------------------- in the words of system and user

    def says_name(self, value: str) -> bool:
        """A name, e-mail address or handle stands there, whole."""
        return self._says(value, _NAME_EDGE, small=True)

    def says_path(self, value: str) -> bool:
        return self._says(value, _PATH_EDGE, small=False)

    def says_code(self, value: str) -> bool:
        """An account, card or telephone number stands there, however it is grouped."""
        characters = [c for c in _composed(value) if c.isalnum()]
        if not characters or len(characters) > 80:
            return False
        plus = r"(?:\+|\b00)" if value.strip().startswith("+") else ""
        whole = plus + r"[\s().\-/]{0,3}".join(map(re.escape, characters))
        pattern = rf"(?<![^\W_])(?<!\d[ -]){whole}(?![^\W_]|[ -]\d)"  # and no group of a longer one
        return re.search(pattern, self._said, re.I if value.isascii() else 0) is not None

    def says_number(self, value: Decimal) -> bool:
        return value in self._numbers

    def says_url(self, url: Url) -> bool:
        """The address was given as it is; or its host was, and it asks for nothing but that."""
        return url in self._urls or (url.bare and not url.port and url.host in self._hosts)

    def says_host(self, host: str) -> bool:
        return host in self._hosts

    def _says(self, value: str, edge: re.Pattern[str], *, small: bool) -> bool:
        value = _composed(value).strip(" \t\u00a0")
        if not value or "\0" in value:
            return False
        small = small and value.isascii()  # other letters have more than one small form
        text, wanted = (self._said_small, value.lower()) if small else (self._said, value)
        start = text.find(wanted)
        for _ in range(MOST_LOOKS):
            if start < 0:
                return False
            end = start + len(wanted)
            before, after = text[max(0, start - 2) : start], text[end : end + 2]
            if not _goes_on(before[::-1], wanted[0], edge) and not _goes_on(after, wanted[-1], edge):
                return True
            start = text.find(wanted, start + 1)
        return False

    # ---------------------------------------------------------------- what was asked for

    def asked_for(self, tool: str, words: Sequence[str]) -> bool:
        """Whether the user named the tool, or used one of the words for what it does, and it was not done since.

        An order counts until the next message of the user after the tool was called. Where no user speaks, the system does.
        """
        speaker = "user" if any(piece.origin.kind == "user" for piece in self.pieces) else "system"
        pattern = _words((tool, *words))
        asked = called = False
        message: tuple[str | int, ...] | None = None
        for piece in self.pieces:
            if piece.origin.kind == "model" and piece.origin.name == tool:
                called = asked
            elif piece.origin.kind == speaker:
                if piece.path[:2] != message:
                    message = piece.path[:2]
                    asked, called = asked and not called, False
                asked = asked or pattern.search(piece.text.encode(errors="replace")) is not None
        return asked

    def called(self, tool: str) -> list[Mapping[str, Any]]:
        """The arguments of the calls of a tool since the user last spoke, as far as they are text."""
        spoke = max((n for n, piece in enumerate(self.pieces) if piece.origin.kind == "user"), default=-1)
        found: dict[Path, dict[str, Any]] = {}
        for piece in self.pieces[spoke + 1 :]:
            if piece.origin.kind != "model" or piece.origin.name != tool:
                continue
            end = next((n for n, key in enumerate(piece.path) if key in ("arguments", "input") and n), len(piece.path))
            arguments = found.setdefault(piece.path[:end], {})
            if len(piece.path) > end + 1:
                arguments.setdefault(str(piece.path[end + 1]), []).append(piece.text)
            else:
                with suppress(ValueError, RecursionError):
                    said = json.loads(piece.text)
                    arguments.update(said if isinstance(said, dict) else {})
        return list(found.values())

    # ---------------------------------------------------------------- where else a value comes from

    def is_written(self, value: str) -> bool:
        """Whether a document or a tool said it, whole, before the model did: a tool may repeat what it was asked."""
        first = next((piece.origin for piece in self.pieces if value in piece.text), None)
        return first is not None and first.tainted

    def traced(self, value: str) -> str:
        """Where a value that is not the user's came from, for people: as it is, encoded, or put together."""
        wanted = squashed(value[:2_000])
        untrusted = [(origin, text) for origin, text in self._squashed if not origin.trusted]
        for origin, text in untrusted if wanted else ():
            if wanted in text:
                return f"it stands in {origin}"
        for origin, text in self._decoded if wanted else ():
            if wanted in text:
                return f"it stands, encoded, in {origin}"
        if parts := _covered(wanted, [*untrusted, *self._decoded]):
            return "it is put together from " + " and ".join(dict.fromkeys(map(str, parts)))
        return "nobody wrote it, the model made it up"

    def carries(self, value: str) -> str:
        """Which text of the conversation a value takes along, plainly or encoded; "" where none was found."""
        if sum(len(piece.text) for piece in self.pieces) > MOST_TRACED:
            return "a conversation too long to look through"
        probes: dict[str, None] = {}
        for form in (value, *decodings(value)):
            for word in _WORTH.findall(form):
                if not word.isalpha() or len(word) > 11:
                    probes[squashed(word)] = None
            run = squashed(form)
            probes.update(dict.fromkeys(run[at : at + 14] for at in range(0, len(run) - 13, 7)))
        for probe in list(probes)[:200]:
            for origin, text in self._squashed:
                if probe and probe in text:
                    return str(origin)
        return ""

    @cached_property
    def _squashed(self) -> list[tuple[Origin, str]]:
        found, left = [], MOST_TRACED
        for piece in self.pieces:
            if piece.origin.kind != "definition" and left > 0:
                found.append((piece.origin, squashed(piece.text[:left])))
                left -= len(piece.text)
        return found

    @cached_property
    def _decoded(self) -> list[tuple[Origin, str]]:
        found, left = [], MOST_DECODED
        for piece in self.pieces:
            if (piece.origin.tainted or piece.origin.kind == "model") and left > 0:
                found += [(piece.origin, squashed(form)) for form in decodings(piece.text[:left])]
                left -= len(piece.text)
        return found


_NAME_EDGE: Final = re.compile(r"[\w@]|[.+%-][^\W_]")
_PATH_EDGE: Final = re.compile(r"[\w@~]|[./\\-]+[^\W_]|[/\\]\.")
_WORD: Final = re.compile(r"[^\s<>\"'`\0]+")
_FOREIGN_START: Final = re.compile(r"\A[^\x00-\x7f]+")
_OPENING: Final = "([{«“„‘*_"
_CLOSING: Final = ".,;:!?)]}»”“’*_"
_BARE: Final = re.compile(r"(?:[\w-]+\.)+[a-zA-Z]{2,24}(?::\d{1,5})?(?:[/?]\S*)?", re.ASCII)
_NUMBER: Final = re.compile(r"\d[\d.,'’\u00a0\u202f ]*")
_WORTH: Final = re.compile(r"[^\W_]{6,}|\d{4,}")


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _goes_on(neighbours: str, last: str, edge: re.Pattern[str]) -> bool:
    """Whether a word does not end between its last letter and what stands next to it.

    Scripts that are written without spaces, and particles of one script after a word of another, end a word.
    """
    if not neighbours:
        return False
    first = neighbours[0]
    if not first.isascii() and first.isalnum():
        return ord(first) < 0x590 and not (last.isascii() and ord(first) >= 0x370)
    return edge.match(neighbours) is not None and (last.isascii() or ord(last) < 0x590 or not first.isalnum())


def _ascii_start(text: str) -> str:
    """What stands before the first character of another script: a Chinese sentence goes on where an address ends."""
    cut = next((place for place, character in enumerate(text) if ord(character) > 0x7F), len(text))
    return text[:cut].rstrip(_CLOSING)


@lru_cache(maxsize=512)
def _words(words: tuple[str, ...]) -> Any:
    """A pattern, of bytes, for any of the words. `send*` is any word that begins so; scripts without spaces have no words."""
    import re2

    words = tuple(word.encode(errors="replace").decode() for word in words)  # half a character is none
    spaced = [word for word in words if word and all(ord(character) < 0x2E80 for character in word)]
    whole = "|".join(re2.escape(word) for word in spaced if word[-1] != "*")
    begun = "|".join(re2.escape(word[:-1]) for word in spaced if word[-1] == "*")
    others = "|".join(re2.escape(word) for word in words if word and word not in spaced)
    edge = r"[^\pL\pM\pN_]"
    inner = "|".join(part for part in (f"(?:{whole})(?:$|{edge})" if whole else "", begun) if part)
    outer = "|".join(part for part in (f"(?:^|{edge})(?:{inner})" if inner else "", others) if part)
    options = re2.Options()
    options.case_sensitive = options.log_errors = False
    return re2.compile((outer or r"\z\A.").encode(errors="replace"), options)


def numbers(text: str) -> Iterator[Decimal]:
    """The numbers that some digits may mean: 1.200 is twelve hundred to some, and one and a fifth to others."""
    for part in {text.strip(" .,'’\u00a0\u202f"), *re.split(r"[ \u00a0\u202f]+|, |\. ", text)}:
        bare = re.sub(r"[ '’\u00a0\u202f]", "", part).strip(".,")
        if len(bare) > 40:
            continue
        for decimal in (bare.replace(",", ""), bare.replace(".", "").replace(",", ".")):
            try:
                yield Decimal(decimal)
            except InvalidOperation:
                continue


# ---------------------------------------------------------------- encodings


def squashed(text: str) -> str:
    """Letters and digits alone, in one form: what is left when spaces, signs, case and invisible characters are not told apart."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _NO_LETTERS.sub("", text.lower())


_NO_LETTERS: Final = re.compile(r"[\W_]+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}[ :,]?){4,}")
_TAGS: Final = {0xE0000 + code: chr(code) for code in range(0x20, 0x7F)}


def decodings(text: str, *, depth: int = 2) -> list[str]:
    """What a text may say when it is decoded: escapes, base64, hexadecimal, rot13, backwards, tag characters; and again."""
    found: dict[str, None] = {}
    layer = [text]
    for level in range(depth):
        layer = [form for inner in layer for form in _decoded(inner, whole=level == 0) if form not in found]
        found.update(dict.fromkeys(layer))
        if sum(map(len, found)) > 8 * len(text) + 10_000:
            break
    return list(found)


def _decoded(text: str, *, whole: bool) -> Iterator[str]:
    if "%" in text or "+" in text:
        yield unquote(text.replace("+", " "), errors="replace")
    if "&" in text:
        yield html.unescape(text)
    if not text.isascii():
        yield text.translate(_TAGS)
    encoded = [part for match in _BASE64.finditer(text) for part in dict.fromkeys((match[0], *match[0].split("/")))]
    if blobs := [said for part in encoded if len(part) > 7 and (said := _from_base64(part))]:
        yield " ".join(blobs)
    if blobs := [said for match in _HEX.finditer(text) if (said := _from_hex(match[0]))]:
        yield " ".join(blobs)
    if whole:
        yield codecs.encode(text, "rot13")
        yield text[::-1]


def _from_base64(blob: str) -> str:
    blob = blob.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(blob + "=" * (-len(blob) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def _from_hex(blob: str) -> str:
    digits = re.sub(r"[ :,]", "", blob)
    try:
        return bytes.fromhex(digits[: len(digits) // 2 * 2]).decode()
    except (UnicodeDecodeError, ValueError):
        return ""


def _covered(wanted: str, texts: Sequence[tuple[Origin, str]]) -> list[Origin]:
    """The origins of at most four stretches that make up a value, longest first; none where they do not."""
    parts: list[Origin] = []
    rest = wanted[:200]
    while rest and len(parts) < 4:
        length, best = 2, None
        for origin, text in texts:
            while length < len(rest) and rest[: length + 1] in text:
                length, best = length + 1, origin
        if best is None:
            return []
        parts.append(best)
        rest = rest[length:]
    return [] if rest else parts
