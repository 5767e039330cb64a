"""Markdown and HTML in a stream: pictures, links and tags judged before they leave, everything else passed on at once.

Nothing is rendered. Where renderers disagree about what a text means, it is taken for the most dangerous of its meanings;
what is taken out leaves a space, so that no two halves meet and mean something new. What replaces it is read again.
Code in fences and in backticks on one line passes as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from penstock.guard.links import Addresses
from penstock.guard.trail import Trail

__all__ = ["LINK", "Markup"]

LINK: Final = "[LINK]"
LONGEST: Final = 4096  # characters of a construct that is not finished; what is longer is taken out
LONGEST_ALT: Final = 1000
DEEPEST: Final = 8  # brackets inside the words of a picture
MOST_LABELS: Final = 1000

On = Literal["remove", "allow", "block"]

_PLAIN: Final = re.compile(r"[\n<!\[\]`~\\]|(?i:https?|ftps?|wss?):|(?i:www)\.")
_IN_TAG: Final = re.compile(r"[\n<!\[\]`~\\=>]|(?i:https?|ftps?|wss?):|(?i:www)\.")
_PARTIAL: Final = re.compile(r"(?i:h(?:t(?:t(?:ps?)?)?)?|f(?:t(?:ps?)?)?|w(?:ww?|ss?)?)$")
_IN_CODE: Final = re.compile(r"[\n<!\[\]`|]|(?i:https?|ftps?|wss?):|(?i:www)\.")
_START: Final = re.compile(r"[ \t]*(?:(?:>|[-+*]|\d{1,9}[.)])[ \t]*)*")
_ITEM: Final = re.compile(r"[-+*]|\d[.)]")
_INDENT: Final = re.compile(r"[ \t>]*")
_LABEL: Final = re.compile(r"\[(?:[^\[\]\\]|\\.)*+\]", re.DOTALL)
_BRACKETS: Final = re.compile(r"\\.|[\[\]]|\n[ \t]*\n", re.DOTALL)
_SPACE: Final = re.compile(r"[ \t\n\r\f\v]*")
_NAME: Final = re.compile(r"[A-Za-z][^\s/><]{0,80}")
_NAME_ALONE: Final = re.compile(r"</?[A-Za-z0-9-]*")
_NESTED: Final = re.compile(r"<|!\[|\]\(")
_ADDRESS: Final = re.compile(r"[^\s<>\"'`|\\]*")
_ATTRIBUTE: Final = re.compile(r"""[\s/]*(?:([^\s"'<>/=][^\s>/=]*)|([=]+)|(["'<]))""")
_ATTRIBUTE_BEFORE: Final = re.compile(r"([^\s\"'<>/=]{1,60})\s*$")
_BLANK: Final = re.compile(r"\n[ \t]*\n")
_POINTED: Final = re.compile(r"<[^<>\n]*")
_WORD: Final = re.compile(r"\S+")
_SCOPED: Final = re.compile(r"<\w+::")  # std::string is no address
_TITLE: Final = re.compile(r"[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'|\([^()\n]*\))[ \t]*(?=\n|$)")
_MARKED: Final = re.compile(r"<|!\[|\]\(|[A-Za-z]:[/\\]{2}")
_TRAILING: Final = ".,;:!?'\"*_~"

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
_BLOCKS: Final = {  # HTML that may have blank lines in it, and what ends it
    **{name: f"</{name}>" for name in ("pre", "textarea", "script", "style")},
    "!--": "-->",
    "?": "?>",
    "!": ">",
}


class _Fence(NamedTuple):
    sign: str
    size: int
    indent: int
    quoted: int  # marks of quotation before it
    listed: bool


class Markup:
    """One stream. note is told of each thing taken out: its kind, the stretch of the input, and why."""

    def __init__(
        self,
        addresses: Addresses,
        note: Callable[[str, int, int, str], None],
        *,
        images: On = "remove",
        links: bool = True,
        html: On = "remove",
    ) -> None:
        self.trail = Trail()
        self._addresses, self._note = addresses, note
        self._images, self._links, self._html = images != "allow", links, html != "allow"
        self._text, self._at = "", 0
        self._origins: list[tuple[int, int]] = [(0, 0)]  # place in _text -> place in the input, where that jumps
        self._out: list[str] = []
        self._line = ""  # what left of the line that is being written, its beginning and
        self._tail = ""  # its end
        self._last = ""
        self._fence: _Fence | None = None
        self._trusted = True  # whether a fence means code; no longer once one was left in a doubtful way
        self._block = ""  # inside HTML that Markdown does not read: "blank", or what ends it
        self._code = 0  # backticks that may have begun code
        self._tag: Literal["", "open", "far"] = ""  # inside a tag that is let pass; far: since before a blank line
        self._skip: re.Pattern[str] | None = None  # up to where everything is dropped
        self._known: dict[str, bool] = {}  # labels that were defined: whether a picture may use it
        self._pictured: set[str] = set()
        self._wake = 0  # nothing can be decided before the text is so long

    def feed(self, text: str) -> str:
        """What may leave by now."""
        self._text += text
        if len(self._text) < self._wake:
            return ""
        return self._run(final=False)

    def close(self) -> str:
        return self._run(final=True)

    def _run(self, *, final: bool) -> str:
        self._wake = 0
        while self._text and self._step(final):
            pass
        if final and self._text:
            self._pass(len(self._text))
        out = "".join(self._out)
        self._out.clear()
        return out

    # ------------------------------------------------------------ the buffer

    def _origin(self, place: int) -> int:
        for start, origin in reversed(self._origins):
            if start <= place:
                return origin + place - start
        return place

    def _drop(self, count: int) -> None:
        """Forget so many characters of the buffer."""
        if len(self._origins) == 1:
            start, origin = self._origins[0]
            self._origins[0] = (0, origin + count - start)
        else:
            first = self._origin(count)
            self._origins = [(0, first), *((s - count, o) for s, o in self._origins if s > count)]
        self._text = self._text[count:]

    def _emit(self, text: str, origin: int) -> None:
        if not text:
            return
        self.trail.add(len(text), origin)
        self._out.append(text)
        self._last = text[-1]
        cut = text.rfind("\n")
        if cut >= 0:
            self._line = text[cut + 1 :][:200]
            self._tail = self._line
        else:
            if len(self._line) < 200:
                self._line += text[: 200 - len(self._line)]
            self._tail = (self._tail + text)[-120:]

    def _pass(self, count: int) -> None:
        """Let so many characters leave as they are."""
        if len(self._origins) == 1:
            self._emit(self._text[:count], self._origin(0))
        else:
            at = 0
            for start in [s for s, _ in self._origins if 0 < s < count] + [count]:
                self._emit(self._text[at:start], self._origin(at))
                at = start
        self._drop(count)

    def _replace(self, count: int, kept: str, kept_at: int, kind: str, why: str) -> bool:
        """Put something in place of the next characters, to be read again. kept_at: where it stood among them; "
        "-1: nowhere."""
        start, end = self._origin(0), self._origin(count - 1) + 1
        self._note(kind, min(start, end), max(start, end), why)
        glue = "" if not self._last or self._last.isspace() or (kept.startswith("[") and self._last in "(\"'") else " "
        inside = self._origin(kept_at) if kept_at >= 0 else start
        self._drop(count)
        after = self._origin(0)
        if glue:
            self._emit(glue, start)
        if kept:
            self._origins = [(0, inside), *((s + len(kept), o) for s, o in self._origins if s > 0)]
            self._origins.insert(1, (len(kept), after))
            self._text = kept + self._text
        return True

    def _wait(self, final: bool) -> bool:
        return False

    # ------------------------------------------------------------ one step

    def _step(self, final: bool) -> bool:
        if self._skip is not None:
            return self._skipped()
        if self._fence is not None:
            return self._fenced(final)
        if self._code:
            return self._maybe_code(final)
        found = (_IN_TAG if self._tag else _PLAIN).search(self._text)
        if found is None:
            partial = None if final else _PARTIAL.search(self._text, max(0, len(self._text) - 6))
            self._pass(partial.start() if partial else len(self._text))
            return False
        if found.start():
            self._pass(found.start())
        sign = self._text[0]
        match sign:
            case "\n":
                return self._newline()
            case "<":
                return self._opening(final)
            case "!":
                return self._bang(final)
            case "[":
                return self._bracket(final)
            case "]":
                return self._closed(final)
            case "`" | "~":
                return self._ticks(final)
            case "\\":
                if len(self._text) < 2 and not final:
                    return False
                self._pass(2 if self._text[1:2] and self._text[1] in "![]`()\\~*_#" else 1)
                return True
            case "=":
                return self._attribute(final)
            case ">":
                self._tag = ""
                self._pass(1)
                return True
        return self._bare(final)

    def _skipped(self) -> bool:
        assert self._skip is not None
        stop = self._skip.search(self._text)
        if stop is None:
            self._drop(len(self._text))
            return False
        self._drop(stop.start())
        self._skip = None
        return True

    def _newline(self) -> bool:
        blank = not self._line.strip(" \t>")
        if blank and self._tag:
            self._tag = "far"
        if blank if self._block == "blank" else self._block in (self._line + self._tail).lower():
            self._block = ""
        self._code = 0
        self._pass(1)
        return True

    @property
    def _at_start(self) -> bool:
        return len(self._line) < 160 and _START.fullmatch(self._line) is not None

    # ------------------------------------------------------------ code

    def _ticks(self, final: bool) -> bool:
        text = self._text
        sign = text[0]
        size = len(text) - len(text.lstrip(sign)) if len(text) < 64 else len(re.match(re.escape(sign) + "+", text)[0])  # type: ignore[index]
        if size == len(text) and not final and size < 200:
            return False
        if size >= 3 and self._at_start and not self._block and self._tag != "open" and self._trusted:
            line_end = text.find("\n")
            info = text[size : line_end if line_end >= 0 else len(text)]
            if line_end < 0 and not final and len(info) < 300 and not (sign == "`" and "`" in info):
                return False
            if not (sign == "`" and "`" in info) and len(info) < 300:
                prefix = self._line
                self._fence = _Fence(
                    sign, size, len(prefix.expandtabs(4)), prefix.count(">"), _ITEM.search(prefix) is not None
                )
                self._pass(line_end if line_end >= 0 else len(text))
                if self._text:
                    self._pass(1)
                return True
        self._pass(size)
        if sign == "`" and not self._block and self._tag != "open":
            self._code = size
        return True

    def _fenced(self, final: bool) -> bool:
        """One line of code, or the end of it."""
        assert self._fence is not None
        fence, text = self._fence, self._text
        if self._line:
            line_end = text.find("\n")
            self._pass(line_end + 1 if line_end >= 0 else len(text))
            return bool(self._text)
        indent = _INDENT.match(text)
        at = indent.end() if indent else 0
        if at == len(text) and not final and at < 160:
            return False
        first = text[at : at + 1]
        prefix = text[:at]
        if first not in ("\n", "") or fence.quoted:
            if prefix.count(">") < fence.quoted:
                self._fence = None  # a quotation ends, and what is fenced in it
                return True
            if (
                fence.quoted == 0
                and (fence.indent or fence.listed)
                and first != fence.sign
                and len(prefix.expandtabs(4)) < fence.indent
            ):
                self._trusted, self._fence = False, None  # a list may have ended here, and its code with it
                return True
        if first == fence.sign:
            line_end = text.find("\n", at)
            if line_end < 0 and not final and len(text) - at < 300:
                return False
            line = text[at : line_end if line_end >= 0 else len(text)]
            if len(line) - len(line.lstrip(fence.sign)) >= fence.size and not line.strip(fence.sign).strip():
                self._fence = None
                self._pass(line_end + 1 if line_end >= 0 else len(text))
                return True
        line_end = text.find("\n")
        self._pass(line_end + 1 if line_end >= 0 else len(text))
        return bool(self._text)

    def _maybe_code(self, final: bool) -> bool:
        """After backticks: code if as many close it on the same line, and the cell of the table goes on."""
        found = _IN_CODE.search(self._text)
        if found is None:
            partial = None if final else _PARTIAL.search(self._text, max(0, len(self._text) - 6))
            self._pass(partial.start() if partial else len(self._text))
            return False
        if found.start():
            self._pass(found.start())
        sign = self._text[0]
        if sign == "\n":
            return self._newline()
        if sign == "|":
            self._code = 0
            self._pass(1)
            return True
        if sign == "`":
            size = len(re.match("`+", self._text)[0])  # type: ignore[index]
            if size == len(self._text) and not final and size < 200:
                return False
            if size == self._code:
                self._code = 0
            self._pass(size)
            return True
        for stop in re.finditer(r"`+|[\n|]", self._text):
            if stop[0] in "\n|":
                self._code = 0
                return True
            if stop.end() == len(self._text) and not final:
                return False
            if stop.end() - stop.start() == self._code:
                self._code = 0
                self._pass(stop.end())
                return True
        if final or len(self._text) > LONGEST:
            self._code = 0
            return True
        return False

    # ------------------------------------------------------------ Markdown

    def _bang(self, final: bool) -> bool:
        if len(self._text) < 2 and not final:
            return False
        if self._text[1:2] != "[" or not self._images:
            self._pass(1)
            return True
        return self._picture(1, final)

    def _bracket(self, final: bool) -> bool:
        if self._last == "!" and self._images:
            return self._picture(0, final)
        if self._at_start and (self._links or self._images):
            label = _LABEL.match(self._text, 0, LONGEST_ALT)
            if label is None:
                if (
                    not final
                    and len(self._text) < LONGEST_ALT
                    and self._text.find("[", 1) < 0
                    and not _BLANK.search(self._text)
                ):
                    return False
            else:
                if label.end() == len(self._text) and not final:
                    return False
                if self._text[label.end() : label.end() + 1] == ":" and self._text[1:2] != "^":
                    return self._definition(label.end(), final)
        self._pass(1)
        return True

    def _definition(self, colon: int, final: bool) -> bool:
        text = self._text
        space = _SPACE.match(text, colon + 1)
        at = space.end() if space else colon + 1
        if text.count("\n", colon, at) > 1:
            self._pass(colon + 1)
            return True
        if at == len(text):
            if final or len(text) > LONGEST:
                self._pass(len(text))
                return True
            return False
        pattern = _POINTED if text[at] == "<" else _WORD
        word = pattern.match(text, at)
        end = word.end() if word else at
        if end >= len(text) and not final and len(text) < LONGEST + LONGEST_ALT:
            return False
        if text[at] == "<" and text[end : end + 1] != ">":
            self._pass(1)
            return True
        end += text[at] == "<"
        address = text[at:end].strip("<>")
        label = _folded(text[1 : colon - 1])
        loads = label in self._pictured or len(self._pictured) >= MOST_LABELS
        against = self._addresses.against(address) if self._links else ""
        picture = self._addresses.against(address, loads=True) if self._images else ""
        if against or (loads and picture) or (label in self._known and self._known[label] and picture):
            if "\n" not in text[end:] and not final and len(text) < LONGEST + LONGEST_ALT:
                return False
            title = _TITLE.match(text, end)
            return self._replace(title.end() if title else end, "", -1, "LINK", against or picture)
        self._known[label] = not picture and self._known.get(label, True)
        self._pass(1)  # the rest is read as what it also is
        return True

    def _picture(self, bang: int, final: bool) -> bool:
        """At `![`, or at `[` where the ! has left. Leaves it, or leaves its words."""
        text = self._text
        depth, close = 0, -1
        for found in _BRACKETS.finditer(text, bang, LONGEST_ALT):
            if found[0] == "[":
                depth += 1
                if depth > DEEPEST:
                    return self._no_picture(bang)
            elif found[0] == "]":
                depth -= 1
                if depth == 0:
                    close = found.start()
                    break
            elif found[0][0] == "\n":
                self._pass(bang + 1)
                return True
        if close < 0:
            if len(text) >= LONGEST_ALT:
                return self._no_picture(bang)
            if not final:
                return False
            self._pass(bang + 1)
            return True
        if close + 1 == len(text) and not final:
            return False
        words = text[bang + 1 : close]
        following = text[close + 1 : close + 2]
        if following == "(":
            inside = _destination(text, close + 1, final)
            if inside is None:
                return False
            end, address, exact = inside
            against = self._addresses.against(address, loads=True)
            if not exact:
                stop = _balanced(text, end)
                blank = _BLANK.search(text, end)
                if stop < 0 and blank is None and not final and len(text) < LONGEST:
                    return False
                ends = (stop + 1 if stop >= 0 else len(text), blank.start() if blank else len(text), LONGEST)
                stop = min(ends)
                whole = text[close + 2 : max(end, stop)].rstrip(")")
                against = against or self._addresses.against(re.sub(r"\s", "", whole), loads=True)
                if against:
                    end = max(end, stop)
            if against:
                if end >= len(text) and len(text) >= LONGEST:
                    self._skip = re.compile(r"[)\n]")
                return self._replace(end, words, bang + 1, "IMAGE", against)
        else:
            label, end = words, close + 1
            if following == "[":
                other = _LABEL.match(text, close + 1, close + 2 + LONGEST_ALT)
                if other is None and not final and len(text) < close + LONGEST_ALT and text.find("[", close + 2) < 0:
                    return False
                if other is not None:
                    label, end = text[close + 2 : other.end() - 1] or words, other.end()
            name = _folded(label)
            if self._known.get(name) is False:
                return self._replace(
                    end, words, bang + 1, "IMAGE", "its definition leads to a host that is not allowed"
                )
            if name not in self._known and len(self._pictured) < MOST_LABELS:
                self._pictured.add(name)
        self._pass(bang + 1)
        return True

    def _no_picture(self, bang: int) -> bool:
        """What cannot be judged as a picture becomes none."""
        if bang:
            return self._replace(2, "[", 1, "IMAGE", "too long or too deep to be judged")
        self._emit(" ", self._origin(0))
        self._pass(1)
        return True

    def _closed(self, final: bool) -> bool:
        if len(self._text) < 2 and not final:
            return False
        if self._text[1:2] != "(" or not self._links:
            self._pass(1)
            return True
        inside = _destination(self._text, 1, final)
        if inside is None:
            return False
        end, address, exact = inside
        against = self._addresses.against(address)
        if not against:
            self._pass(end if exact and not _NESTED.search(self._text, 2, end) else 2)
            return True
        if end >= len(self._text) and len(self._text) >= LONGEST:
            self._skip = re.compile(r"[)\n]")
        start, stop = self._origin(1), self._origin(end - 1) + 1
        self._note("LINK", min(start, stop), max(start, stop), against)
        kept = "]" if exact or self._text[end : end + 1] in ("(", "[", ":", "") else "] "
        moved = [(place - end + len(kept), origin) for place, origin in self._origins if place > end]
        self._origins = [(0, self._origin(0)), (len(kept), self._origin(end)), *moved]
        self._text = kept + self._text[end:]
        return True

    def _bare(self, final: bool) -> bool:
        """An address as it is, at `https:` or `www.`."""
        text = self._text
        head = re.match(r"(?i:www)\.|[A-Za-z]+:", text)
        assert head is not None
        size = head.end()
        if head[0][-1] == ":":
            if len(text) < size + 2 and not final:
                return False
            if text[size : size + 2] != "//":
                self._pass(size)
                return True
            size += 2
        elif self._last.isalnum() or self._last in ("/", "."):
            self._pass(size)
            return True
        body = _ADDRESS.match(text, size, LONGEST + 1)
        end = body.end() if body else size
        if end == len(text) and not final and len(text) <= LONGEST:
            return False
        address = text[:end]
        for sign in ("![", "](", "][", "]:", "**", "__"):
            address = address.partition(sign)[0] if sign in address[8:] else address
        if "]" in address and "[" not in address:
            address = address.partition("]")[0]
        while address and (
            address[-1] in _TRAILING or (address[-1] == ")" and address.count("(") < address.count(")"))
        ):
            address = address[:-1]
        address = address or text[:size]
        against = (
            self._addresses.against(address if head[0][-1] == ":" else "https://" + address) if self._links else ""
        )
        if len(address) > LONGEST:
            against = against or "too long to be judged"
        if not against or len(address) <= size:
            self._pass(len(address))
            return True
        if len(address) > LONGEST:
            self._skip = re.compile(r"[\s<>\"'`|\\]")
        return self._replace(len(address), LINK, -1, "LINK", against)

    # ------------------------------------------------------------ HTML

    def _opening(self, final: bool) -> bool:
        text = self._text
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
        if name.end() == len(text) and not final and len(name[0]) < 81:
            return False
        lowered = name[0].lower()
        if (
            ":" in lowered
            and not closing
            and re.match(r"[a-z][a-z0-9+.-]{1,31}:", lowered)
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
                return self._replace(1, "&lt;", 0, "HTML", f"</{base}>")
            return self._escaped(base) if broken else self._whole_tag(base, name.end(), final)
        if broken and (written in _UNSAFE or written in _LOADING):
            return self._escaped(written)
        self._pass(alone.end() if alone else 1)
        self._tag = "" if closing else "open"
        return True

    def _autolink(self, final: bool) -> bool:
        stop = re.compile(r"[\s<>]").search(self._text, 1)
        if stop is None and not final and len(self._text) < LONGEST:
            return False
        if stop is None or stop[0] != ">" or _SCOPED.match(self._text) or _NESTED.search(self._text, 1, stop.start()):
            self._pass(1)
            return True
        against = self._addresses.against(self._text[1 : stop.start()]) if self._links else ""
        if not against:
            self._pass(stop.end())
            return True
        return self._replace(stop.end(), LINK, -1, "LINK", against)

    def _whole_tag(self, name: str, at: int, final: bool) -> bool:
        """A tag that runs or loads something: held until it is whole."""
        text = self._text
        parsed = _tag(text, at, final)
        if parsed is None:
            if len(text) < LONGEST:
                head = text[at : at + 64]
                if len(head) == 64 and "=" not in head:
                    return self._escaped(name)
                return False
            self._skip = re.compile(r">|\n[ \t]*\n")
            return self._replace(len(text), "", -1, "HTML", f"<{name}> is too long to be judged")
        end, attributes, whole = parsed
        if not whole and not attributes:
            return self._escaped(name)
        if name in _UNSAFE:
            if not attributes:
                return self._escaped(name)
            return self._replace(end, "", -1, "HTML", f"<{name}>")
        why, words = "", ""
        if _NESTED.search(text, 1, end):
            why = f"<{name}> hides markup"
        for key, value in attributes:
            if key == "alt":
                words = value
            elif key.startswith("on") or (key == "style" and _STYLE.search(value)) or key == "srcdoc":
                why = why or f"<{name} {key}>"
            elif key in _ADDRESSES and self._images:
                for part in (
                    re.split(r"\s*,\s+|\s+\d+(?:\.\d+)?[wx]\s*,?\s*", value.strip()) if "srcset" in key else [value]
                ):
                    if part:
                        why = why or self._addresses.against(part.split()[0] if "srcset" in key else part, loads=True)
        if why:
            return self._replace(end, words, -1, "IMAGE" if name != "source" or attributes else "HTML", why)
        self._pass(end)
        return True

    def _escaped(self, name: str) -> bool:
        start = self._origin(0)
        self._note("HTML", start, start + 1, f"<{name}>")
        self._drop(1)
        self._emit("&lt;", start)
        return True

    def _attribute(self, final: bool) -> bool:
        """At the = of an attribute of a tag that is let pass."""
        before = _ATTRIBUTE_BEFORE.search(self._tail)
        if before is None:
            self._pass(1)
            return True
        text, key = self._text, before[1].lower()
        if self._tag == "far" and not (key.startswith("on") or key == "style" or key in _ADDRESSES):
            self._pass(1)
            return True
        space = _SPACE.match(text, 1)
        at = space.end() if space else 1
        if at == len(text) and not final:
            return False
        quote = text[at : at + 1]
        if quote and quote in "\"'":
            end = text.find(quote, at + 1) + 1
            if not end:
                if not final and len(text) < LONGEST:
                    return False
                end = len(text)
            value = text[at + 1 : end - 1]
        else:
            word = re.compile(r"[^\s>]*").match(text, at)
            end = word.end() if word else at
            if end == len(text) and not final and len(text) < LONGEST:
                return False
            value = text[at:end]
        why = ""
        if key.startswith("on") and len(key) > 3:
            why = f"{key}="
        elif key == "style" and (_STYLE.search(value) or "&" in value):
            why = "style="
        elif key in _ADDRESSES:
            why = f"{key}=" if key in ("srcdoc", "ping") or _NESTED.search(value) else ""
            why = why or self._addresses.against(value, loads=key not in ("href", "cite"))
        elif _MARKED.search(value):
            why = f"{key}= hides markup"
        if why:
            return self._replace(end, "", -1, "LINK" if key == "href" else "HTML", why)
        self._pass(end)
        return True


def _balanced(text: str, at: int) -> int:
    """Where the parenthesis that is open here closes; -1 where it does not."""
    depth = 0
    for found in re.compile(r"[()]").finditer(text, at, LONGEST):
        depth += 1 if found[0] == "(" else -1
        if depth < 0:
            return found.start()
    return -1


def _folded(label: str) -> str:
    return " ".join(label.replace("\\", "").casefold().split())[:200]


def _destination(text: str, at: int, final: bool) -> tuple[int, str, bool] | None:
    """After `](`: where it ends, the address, and whether it is a link in Markdown. None: that cannot be told yet."""
    size = len(text)
    over = final or size >= LONGEST + LONGEST_ALT
    space = _SPACE.match(text, at + 1)
    start = at = space.end() if space else at + 1
    if at == size:
        return (size, "", False) if over else None
    if text[at] == "<":
        stop = re.compile(r"[>\n]").search(text, at)
        if stop is None:
            return (size, text[at + 1 :], False) if over else None
        address, at = text[at + 1 : stop.start()], stop.end()
        if stop[0] == "\n":
            return at - 1, address, False
    else:
        depth = 0
        for found in re.compile(r"\\.|[()\s]", re.DOTALL).finditer(text, at):
            if found[0] == "(":
                depth += 1
                if depth > DEEPEST:
                    return found.start(), text[start : found.start()], False
            elif found[0] == ")":
                if depth == 0:
                    at = found.start()
                    break
                depth -= 1
            elif len(found[0]) == 1:
                at = found.start()
                break
        else:
            return (size, text[start:], False) if over else None
        address = text[start:at]
    space = _SPACE.match(text, at)
    after = space.end() if space else at
    if after == size:
        return (at, address, False) if over else None
    if text[after] == ")":
        return after + 1, address, True
    if after == at or text[after] not in "\"'(":
        return at, address, False
    closing = ")" if text[after] == "(" else text[after]
    title = re.compile(rf"(?:[^{re.escape(closing)}\\]|\\.)*", re.DOTALL).match(text, after + 1)
    stop_at = title.end() if title else after + 1
    if _BLANK.search(text, after, stop_at):
        return at, address, False
    if stop_at >= size:
        return (at, address, False) if over else None
    space = _SPACE.match(text, stop_at + 1)
    after = space.end() if space else stop_at + 1
    if after == size:
        return (at, address, False) if over else None
    return (after + 1, address, True) if text[after] == ")" else (at, address, False)


def _tag(text: str, at: int, final: bool) -> tuple[int, list[tuple[str, str]], bool] | None:
    """Of a tag whose name ends here: where it ends, its attributes, and whether a > closed it. None: not yet whole."""
    attributes: list[tuple[str, str]] = []
    size = len(text)
    while True:
        space = re.compile(r"[\s/]*").match(text, at)
        at = space.end() if space else at
        if at >= size:
            return (size, attributes, False) if final else None
        if text[at] == ">":
            return at + 1, attributes, True
        key = re.compile(r"=?[^\s/>=]*").match(text, at)
        name = key[0].lower() if key else ""
        at = max(key.end() if key else at, at + 1)
        space = _SPACE.match(text, at)
        beyond = space.end() if space else at
        if text[beyond : beyond + 1] != "=":
            if beyond >= size:
                return (size, [*attributes, (name, "")], False) if final else None
            attributes.append((name, ""))
            continue
        space = _SPACE.match(text, beyond + 1)
        at = space.end() if space else beyond + 1
        if at >= size:
            return (size, [*attributes, (name, "")], False) if final else None
        if text[at] in "\"'":
            close = text.find(text[at], at + 1)
            if close < 0:
                return (size, [*attributes, (name, text[at + 1 :])], False) if final else None
            attributes.append((name, text[at + 1 : close]))
            at = close + 1
        else:
            word = re.compile(r"[^\s>]*").match(text, at)
            stop = word.end() if word else at
            if stop >= size and not final:
                return None
            attributes.append((name, text[at:stop]))
            at = stop
