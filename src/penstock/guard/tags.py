"""HTML in a stream: what runs or asks is taken out, what loads is judged, attributes are judged in every tag.

A tag that is longer than what is held back leaves attribute by attribute. One that is refused is left out, and what is left
of the tag does nothing.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from penstock.guard.buffer import Note, Put
from penstock.guard.links import Addresses
from penstock.guard.outlet import HELD
from penstock.guard.written import LINK, NESTED, Address, How, Written

__all__ = ["Tags"]

On = Literal["remove", "allow", "block"]

_NAME: Final = re.compile(r"[A-Za-z][^\s/><]{0,80}")
_NAME_ALONE: Final = re.compile(r"</?[A-Za-z0-9-]*")
_SPACE: Final = re.compile(r"[ \t\n\r\f\v]*")
_SLASHES: Final = re.compile(r"[\s/]*")
_KEY: Final = re.compile(r"=?[^\s/>=]*")
_BARE_VALUE: Final = re.compile(r"[^\s>]*")
_ATTRIBUTE_BEFORE: Final = re.compile(r"([^\s\"'<>/=]{1,60})\s*$")
_SCOPED: Final = re.compile(r"<\w+::")  # std::string is no address
_PLACEHOLDER: Final = re.compile(r"<(?:/?[\w-]+>|(?![A-Za-z/!?]))")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{1,31}:")
_AUTOLINK_ENDS: Final = re.compile(r"[\s<>]")
_MARKED: Final = re.compile(r"<|!\[|\]\(|[A-Za-z]:[/\\]{2}")
_SOURCES: Final = re.compile(r"\s*,\s+|\s+\d+(?:\.\d+)?[wx]\s*,?\s*")
_BARE_ENDS: Final = re.compile(r"[\s>]")
_QUOTED_ENDS: Final = {sign: re.compile(rf"[{sign}\n]") for sign in "\"'"}
_START: Final = re.compile(r"[ \t]*(?:(?:>|[-+*]|\d{1,9}[.)])[ \t]*)*")

# What runs, asks, draws or reaches beyond the text it stands in.
_UNSAFE: Final = frozenset(
    "script iframe frame frameset object embed applet form input button textarea select option optgroup meta base "
    "link style svg math template noscript "
    "xml portal fencedframe dialog foreignobject animate animatetransform animatemotion set use isindex plaintext "
    "xmp listing noembed noframes param "
    "bgsound keygen layer ilayer html head body title marquee datalist slot nextid comment server".split()
)
_LOADING: Final = frozenset("img image source video audio track picture amp-img".split())
_ADDRESSES: Final = frozenset(
    "src srcset href xlink:href background poster data action formaction cite ping manifest longdesc usemap icon "
    "dynsrc lowsrc code codebase archive "
    "classid profile imagesrcset srcdoc data-src data-srcset data-original data-url data-href".split()
)
_STYLE: Final = re.compile(
    r"url|expression|import|image|behavior|binding|src|script|\\|/\*|position|content|&#|var\(", re.IGNORECASE
)
_STYLE_ANYWHERE: Final = re.compile(_STYLE.pattern + "|&", re.IGNORECASE)
_LONGEST_STYLE: Final = 12  # characters of what those patterns match, and more
_BLOCKS: Final = {  # HTML that may have blank lines in it, and what ends it
    **{name: f"</{name}>" for name in ("pre", "textarea", "script", "style")},
    "!--": "-->",
    "?": "?>",
    "!": ">",
}


class _Attribute(NamedTuple):
    key: str
    value: str = ""
    start: int = -1  # of the value


class _Tag(NamedTuple):
    end: int
    attributes: list[_Attribute]
    closed: bool  # by a >


class Tags(Written):
    """A buffer that knows how to read tags."""

    def __init__(self, put: Put, note: Note, addresses: Addresses, *, images: On, links: bool, html: On) -> None:
        super().__init__(put, note, addresses)
        self._images, self._links, self._html = images != "allow", links, html != "allow"
        self._block = ""  # inside HTML that Markdown does not read: "blank", or what ends it
        self._tag: Literal["", "open", "far"] = ""  # inside a tag that is let pass; far: since before a blank line
        self._loading = False  # one that loads something, and is longer than the window
        self._quote = ""  # inside a value of it that is longer than the window
        self._style = ""  # inside a style that is, and what ends it;
        self._sources = ""  # inside a list of sources

    def _refuse(self, it: Address, why: str) -> bool:
        self._sources = ""
        return super()._refuse(it, why)

    @property
    def _at_start(self) -> bool:
        return len(self._line) < 160 and _START.fullmatch(self._line) is not None

    def _opening(self, final: bool) -> bool:
        text = self._window
        if len(text) < 2 and not final:
            return False
        second = text[1:2]
        if not self._html or not ((second.isascii() and second.isalpha()) or second in ("/", "!", "?")):
            self._pass(1)
            return True
        if second in "!?":
            if len(text) < 4 and not final:
                return False
            if self._at_start:
                self._block = _BLOCKS["!--" if text.startswith("<!--") else second]
            self._pass(2)
            return True
        closing = second == "/"
        name = _NAME.match(text, 1 + closing)
        if name is None:
            if len(text) < 3 and not final:
                return False
            self._pass(1)
            return True
        if name.end() == len(text) and not self._all(final):
            return False
        lowered = name[0].lower()
        if (
            ":" in lowered
            and not closing
            and _SCHEME.match(lowered)
            and not lowered.startswith(("xlink:", "svg:", "o:", "v:"))
        ):
            return self._autolink(final)
        if self._at_start and self._block in ("", "blank"):
            self._block = _BLOCKS.get(lowered, "blank")
        base = lowered.rpartition(":")[2]
        alone = _NAME_ALONE.match(text)
        written = alone[0].lstrip("</").lower() if alone else ""
        broken = text[name.end() : name.end() + 1] == "<" or written != lowered  # it goes on with what is in no name
        if base in _UNSAFE or (base in _LOADING and not closing):
            if closing:
                return self._replace(1, "&lt;", -1, "HTML", f"</{base}>")
            return self._escaped(base) if broken else self._whole_tag(base, name.end(), final)
        if broken and (written in _UNSAFE or written in _LOADING):
            return self._escaped(written)
        self._pass(alone.end() if alone else 1)
        self._tag, self._quote, self._loading = "" if closing else "open", "", False
        return True

    def _tag_goes_on(self, sign: str) -> None:
        """At a sign that ends a tag that is let pass, or a value in it."""
        if sign == self._quote:
            self._quote = ""
        elif sign == ">" and not self._quote:
            self._tag = ""

    def _names_nothing(self, text: str) -> int:
        """How many characters at a < are no tag that could do anything, such as `<name>`."""
        found = _PLACEHOLDER.match(text)
        if found is None or found[0].strip("</>").lower() in _UNSAFE | _LOADING:
            return 0
        return found.end()

    def _autolink(self, final: bool) -> bool:
        text = self._window
        stop = _AUTOLINK_ENDS.search(text, 1)
        if stop is None and not self._all(final):
            return False
        goes_on = stop is None and len(text) >= HELD
        last = stop.start() if stop else len(text)
        if (
            not (goes_on or (stop and stop[0] == ">"))
            or _SCOPED.match(text)
            or NESTED.search(text, 1, last)
            or (goes_on and not self._links)
        ):
            self._pass(1)
            return True
        if goes_on:
            why = self._begin("auto", 1)
            return not why or self._lose(1, "auto", LINK, -1, "LINK", why)
        against = self._addresses.against(text[1:last]) if self._links else ""
        if not against:
            self._let(last + 1)
            return True
        return self._replace(last + 1, LINK, -1, "LINK", against)

    def _whole_tag(self, name: str, at: int, final: bool) -> bool:
        """A tag that runs or loads something: held until it is whole, or as long as one may be."""
        text = self._window
        full = len(text) >= HELD
        parsed = _tag(text, at, final=final and not full)
        if parsed is None and not full:
            return False
        whole = parsed is not None
        end, attributes, closed = parsed or _tag(text, at, final=True) or _Tag(len(text), [], closed=False)
        if (not closed and not attributes) or (not whole and "=" not in text[at:]):
            return self._escaped(name)
        if name in _UNSAFE:
            if not attributes:
                return self._escaped(name)
            if not whole:
                return self._lose(end, "tag", "", -1, "HTML", f"<{name}>")
            return self._replace(end, "", -1, "HTML", f"<{name}>")
        why = f"<{name}> hides markup" if NESTED.search(text, 1, end) else ""
        words, words_at = "", -1
        for number, (key, value, start) in enumerate(attributes, start=1):
            if key == "alt":
                words, words_at = value, start
            why = why or self._against_attribute(name, key, value, goes_on=not whole and number == len(attributes))
        if why:
            kind = "IMAGE" if name != "source" or attributes else "HTML"
            if not whole:
                return self._lose(end, "tag", words, words_at, kind, why)
            return self._replace(end, words, words_at, kind, why)
        if whole:
            self._let(end)
        else:
            self._pass(at)
            self._tag, self._quote, self._loading = "open", "", True
        return True

    def _against_attribute(self, name: str, key: str, value: str, *, goes_on: bool) -> str:
        """What speaks against an attribute of what loads something."""
        if key.startswith("on") or (key == "style" and _STYLE.search(value)) or key == "srcdoc":
            return f"<{name} {key}>"
        if key not in _ADDRESSES or not self._images:
            return ""
        parts = [part for part in _parts(key, value) if part]
        for number, part in enumerate(parts, start=1):
            open_end = goes_on and number == len(parts)
            if why := self._addresses.against(part, loads=True, goes_on=open_end):
                return why
        return ""

    def _escaped(self, name: str) -> bool:
        start = self._origin(0)
        self._note("HTML", start, start + 1, f"<{name}>")
        self._insert("&lt;")
        self._drop(1)
        return True

    def _attribute(self, final: bool) -> bool:
        """At the = of an attribute of a tag that is let pass."""
        before = _ATTRIBUTE_BEFORE.search(self._tail)
        if before is None:
            self._pass(1)
            return True
        text, key = self._window, before[1].lower()
        addressed = key in _ADDRESSES and (self._images or not self._loading)
        styled = key == "style"
        if self._tag == "far" and not (key.startswith("on") or styled or addressed):
            self._pass(1)
            return True
        space = _SPACE.match(text, 1)
        at = space.end() if space else 1
        if at == len(text) and not self._all(final):
            return False
        quote = text[at : at + 1]
        if quote and quote in "\"'":
            end = text.find(quote, at + 1) + 1
            goes_on = not end
            end = end or len(text)
            begin, value = at + 1, text[at + 1 : end if goes_on else end - 1]
        else:
            quote = ""
            word = _BARE_VALUE.match(text, at)
            end = word.end() if word else at
            goes_on = end == len(text)
            begin, value = at, text[at:end]
        if goes_on and not self._all(final):
            return False
        goes_on = goes_on and len(text) >= HELD
        loads = key not in ("href", "cite")
        kind = "IMAGE" if addressed and self._loading else "LINK" if key == "href" else "HTML"
        why = ""
        if key.startswith("on") and len(key) > 3:
            why = f"{key}="
        elif styled and (_STYLE.search(value) or "&" in value):
            why = "style="
        elif addressed:
            why = f"{key}=" if key in ("srcdoc", "ping") or NESTED.search(value) else ""
            for part in _parts(key, value):
                why = why or ("" if goes_on else self._addresses.against(part, loads=loads))
        elif _MARKED.search(value):
            why = f"{key}= hides markup"
        how: How = '"' if quote == '"' else "'" if quote else "value"
        if not why and goes_on and addressed:
            if "srcset" in key and quote:
                self._pass(begin)
                self._sources = quote
                return True
            why = self._begin(how, begin, kind=kind, loads=loads)
            if not why:
                return True
        if why:
            return self._lose(end, how, "", -1, kind, why) if goes_on else self._replace(end, "", -1, kind, why)
        if not goes_on:
            self._let(end)
        elif styled:
            self._pass(begin)
            self._style = quote or "value"
        else:
            self._pass(begin)
            self._quote = quote
        return True

    def _listed(self, final: bool) -> bool:
        """Inside a list of sources. Each of its words is judged as an address."""
        text, quote = self._window, self._sources
        kind = "IMAGE" if self._loading else "HTML"
        if text[0] == "\n" and not self._line.strip(" \t>"):
            self._sources = ""
            return self._value_ends(quote, kind)
        if text[0].isspace():
            self._pass(1)
            return True
        word = re.compile(rf"[^\s{quote}]*").match(text)
        end = word.end() if word else 0
        if end == len(text) and not self._all(final):
            return False
        if end < HELD:
            why = "hides markup" if NESTED.search(text[:end]) else self._addresses.against(text[:end], loads=True)
        else:
            why = self._begin("source", 0, kind=kind, loads=True, closing=quote)
            if not why:
                return True
        if why:
            self._sources = ""
            self._insert(quote)
            return self._lose(0, '"' if quote == '"' else "'", "", -1, kind, f"srcset= {why}")
        self._let(end)
        if self._text[:1] == quote or not self._text:
            self._pass(len(self._text[:1]))
            self._sources = ""
        return True

    def _styled(self, final: bool) -> bool:
        """Inside the style of a tag that is let pass."""
        text = self._text
        how: How = '"' if self._style == '"' else "'" if self._style == "'" else "value"
        ends = (_BARE_ENDS if how == "value" else _QUOTED_ENDS[how]).search(text)
        found = _STYLE_ANYWHERE.search(text, 0, ends.start() if ends else len(text))
        stop = found.start() if found else ends.start() if ends else len(text) if final else len(text) - _LONGEST_STYLE
        if stop > 0:
            self._let(stop)
        if found:
            self._style = ""
            self._insert(" " if how == "value" else how)
            return self._lose(0, how, "", -1, "HTML", "style=")
        if ends is None:
            return False
        if ends[0] == "\n" and how != "value":
            if self._line.strip(" \t>"):
                self._pass(1)
                return True
            self._style = ""
            return self._value_ends(how, "HTML")
        self._pass(how != "value")
        self._style = ""
        return True


def _parts(key: str, value: str) -> list[str]:
    """The addresses in a value."""
    if "srcset" not in key:
        return [value]
    return [part.split()[0] for part in _SOURCES.split(value.strip()) if part]


def _tag(text: str, at: int, *, final: bool) -> _Tag | None:
    """Of a tag whose name ends here: where it ends, its attributes, and whether a > closed it. None: not yet whole."""
    attributes: list[_Attribute] = []
    size = len(text)
    while True:
        space = _SLASHES.match(text, at)
        at = space.end() if space else at
        if at >= size:
            return _Tag(size, attributes, closed=False) if final else None
        if text[at] == ">":
            return _Tag(at + 1, attributes, closed=True)
        key = _KEY.match(text, at)
        name = key[0].lower() if key else ""
        at = max(key.end() if key else at, at + 1)
        space = _SPACE.match(text, at)
        beyond = space.end() if space else at
        if text[beyond : beyond + 1] != "=":
            if beyond >= size:
                return _Tag(size, [*attributes, _Attribute(name)], closed=False) if final else None
            attributes.append(_Attribute(name))
            continue
        space = _SPACE.match(text, beyond + 1)
        at = space.end() if space else beyond + 1
        if at >= size:
            return _Tag(size, [*attributes, _Attribute(name)], closed=False) if final else None
        if text[at] in "\"'":
            close = text.find(text[at], at + 1)
            if close < 0:
                cut = _Attribute(name, text[at + 1 :], at + 1)
                return _Tag(size, [*attributes, cut], closed=False) if final else None
            attributes.append(_Attribute(name, text[at + 1 : close], at + 1))
            at = close + 1
        else:
            word = _BARE_VALUE.match(text, at)
            stop = word.end() if word else at
            if stop >= size and not final:
                return None
            attributes.append(_Attribute(name, text[at:stop], at))
            at = stop
