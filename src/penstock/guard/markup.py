"""Markdown and HTML in a stream: pictures, links and tags judged before they leave, everything else passed on at once.

Nothing is rendered. Where renderers disagree about what a text means, it is taken for the most dangerous of its meanings;
what is taken out leaves a space, so that no two halves meet and mean something new. What replaces it is read again.
Code in fences and in backticks on one line passes as it is.

No more than a window of the text is looked at before something is decided. What is whole within it is judged as a whole.
Of what is longer each part leaves when it is judged, and what is still open is remembered: a picture whose words have left,
an address of which the beginning has (see `Written`), a tag between two attributes (see `Tags`), code that must end.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from penstock.guard.buffer import Note, Put
from penstock.guard.links import TOO_LONG, Addresses
from penstock.guard.outlet import HELD
from penstock.guard.tags import On, Tags
from penstock.guard.written import DEEPEST, LINK, MARKED, NESTED, How, in_parentheses, marked_off, trimmed

__all__ = ["Markup"]

MOST_LABELS: Final = 1000
BADLY_DEFINED: Final = "its definition leads to a host that is not allowed"

_PLAIN: Final = re.compile(r"[\n<!\[\]`~\\]|(?i:https?|ftps?|wss?):|(?i:www)\.")
_IN_TAG: Final = re.compile(r"[\n<!\[\]`~\\=>\"']|(?i:https?|ftps?|wss?):|(?i:www)\.")
_IN_CODE: Final = re.compile(r"[\n<`|]|!\[|!\Z|\]\(|\]\Z|(?i:https?|ftps?|wss?):|(?i:www)\.")
_ADDRESS_BEGINS: Final = re.compile(r"(?i:https?|ftps?|wss?):|(?i:www)\.")
_PARTIAL: Final = re.compile(r"(?i:h(?:t(?:t(?:ps?)?)?)?|f(?:t(?:ps?)?)?|w(?:ww?|ss?)?)$")
_ITEM: Final = re.compile(r"[-+*]|\d[.)]")
_WHITE: Final = re.compile(r"[\s<]")
_INDENT: Final = re.compile(r"[ \t>]*")
_LABEL: Final = re.compile(r"\[(?:[^\[\]\\]|\\.)*+\]", re.DOTALL)
_LABEL_BEGUN: Final = re.compile(r"\[(?:[^\[\]\\]|\\.)*+\\?", re.DOTALL)
_BRACKETS: Final = re.compile(r"\\.|[\[\]]|\n[ \t]*\n", re.DOTALL)
_SPACE: Final = re.compile(r"[ \t\n\r\f\v]*")
_HEAD: Final = re.compile(r"(?i:www)\.|[A-Za-z]+:")
_ADDRESS: Final = re.compile(r"[^\s<>\"'`|\\]*")
_BLANK: Final = re.compile(r"\n[ \t]*\n")
_POINTED: Final = re.compile(r"<[^<>\n]*")
_POINTED_ENDS: Final = re.compile(r"[>\n]")
_WORD: Final = re.compile(r"\S+")
_TITLE: Final = re.compile(r"[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'|\([^()\n]*\))[ \t]*(?=\n|$)")
_CODE_ENDS: Final = re.compile(r"`+|[\n|]")
_PARENTHESES: Final = re.compile(r"[()]")
_TITLES: Final = {sign: re.compile(rf"(?:[^{sign}\\]|\\.)*", re.DOTALL) for sign in "\"')"}


class _Fence(NamedTuple):
    sign: str
    size: int
    indent: int
    quoted: int  # marks of quotation before it
    listed: bool


class _Destination(NamedTuple):
    """What stands in the parentheses of a link."""

    end: int
    address: str
    exact: bool  # whether it is a link in Markdown


class Markup(Tags):
    """One stream. put takes what leaves; note is told of each thing taken out: its kind, the stretch, and why."""

    def __init__(
        self,
        put: Put,
        note: Note,
        addresses: Addresses,
        *,
        images: On = "remove",
        links: bool = True,
        html: On = "remove",
    ) -> None:
        super().__init__(put, note, addresses, images=images, links=links, html=html)
        self._fence: _Fence | None = None
        self._fence_begun: _Fence | None = None  # by a line that is longer than the window
        self._run = 0  # backticks that nothing has closed on this line
        self._code = 0  # the same where they may be taken for the beginning of code, whatever else they may mean
        self._sure = False  # whether it is code: what could do something has left, and so it will be closed
        self._near = False  # whether an address stands before, without a space, of which backticks may be a part
        self._waits = False  # whether the line before is a label with nothing after it
        self._cell = False  # whether a cell of a table may have ended on this line, and code with it
        self._alt = 0  # brackets that are open in the words of a picture which have begun to leave
        self._doubtful = False  # whether something in them may hide a bracket
        self._defining = False  # whether a label has begun to leave that may be defined
        self._known: dict[str, bool] = {}  # labels that were defined: whether a picture may use it
        self._pictured: set[str] = set()

    def feed(self, text: str) -> None:
        """Let leave what may by now."""
        self._text += text
        while self._text and self._step(final=False):
            pass

    def close(self) -> None:
        """Let the rest leave."""
        while self._text or self._lost is not None:
            if not self._step(final=True) and self._text:
                self._pass(len(self._text))
        if self._sure:
            self._end_code()

    # ------------------------------------------------------------ one step

    def _step(self, final: bool) -> bool:
        if self._lost is not None:
            return self._losing(final)
        if self._address is not None:
            return self._written(final)
        if self._after:
            return self._closing(final)
        if self._style:
            return self._styled(final)
        if self._sources:
            return self._listed(final)
        if self._fence is not None:
            return self._fenced(final)
        if self._code:
            return self._maybe_code(final)
        found = (_IN_TAG if self._tag else _PLAIN).search(self._text)
        if found is None:
            partial = None if final else _PARTIAL.search(self._text, max(0, len(self._text) - 6))
            self._plainly(partial.start() if partial else len(self._text))
            return False
        if found.start():
            self._plainly(found.start())
        sign = self._text[0]
        match sign:
            case "\n":
                return self._newline()
            case "<":
                self._doubtful = True
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
            case ">" | '"' | "'":
                self._tag_goes_on(sign)
                self._pass(1)
                return True
        return self._bare(final)

    def _plainly(self, count: int) -> None:
        """Let so many characters leave that mean nothing."""
        self._near = self._near and not _WHITE.search(self._text, 0, count)
        self._pass(count)

    def _newline(self) -> bool:
        if self._sure:
            self._end_code()
        if self._fence_begun is not None:
            self._fence, self._fence_begun, self._run = self._fence_begun, None, 0
        blank = not self._line.strip(" \t>")
        self._loose = (self._loose or self._run > 0) and not blank
        self._run, self._code, self._cell, self._near = 0, 0, False, False
        self._waits = self._line.rstrip().endswith("]:")
        if blank:
            self._alt, self._defining, self._label = 0, False, None
            if self._tag:
                self._tag = "far"
        ends = not self._line.strip(" \t")  # a > alone goes on with the block
        if ends if self._block == "blank" else self._block in (self._line + self._tail).lower():
            self._block = ""
        self._pass(1)
        return True

    # ------------------------------------------------------------ code

    def _ticks(self, final: bool) -> bool:
        text = self._window
        sign = text[0]
        size = len(text) - len(text.lstrip(sign))
        if size == len(text) and not self._all(final):
            return False
        fences = size >= 3 and self._at_start
        if size >= HELD or (fences and (self._waits or self._block == "blank" or self._tag == "open")):
            self._trusted, self._loose, self._doubtful = False, True, True  # it may be one or not
        elif fences and not self._block and self._trusted:
            line_end = text.find("\n")
            info = text[size : line_end if line_end >= 0 else len(text)]
            inline = sign == "`" and "`" in info
            if line_end < 0 and not inline and not self._all(final):
                return False
            prefix = self._line
            quoted, listed = prefix.count(">"), _ITEM.search(prefix) is not None
            fence = _Fence(sign, size, len(prefix.expandtabs(4)), quoted, listed)
            if not inline and (line_end >= 0 or len(text) < HELD):
                self._fence = fence
                self._pass(line_end + 1 if line_end >= 0 else len(text))
                return True
            self._fence_begun = None if inline else fence
            self._pass(size)
            self._run = self._code = size if sign == "`" else 0
            return True
        self._pass(size)
        if sign != "`":
            return True
        self._loose = self._loose or self._near
        if self._fence_begun and self._fence_begun.sign == "`":
            self._fence_begun = None
        self._doubtful = True
        if self._run:
            self._run = 0 if size == self._run else self._run
        else:
            self._run = size
            fit = not (self._block or self._tag == "open" or self._loose or self._cell or self._near or self._alt)
            self._code = size if fit else 0
        return True

    def _fenced(self, final: bool) -> bool:
        """One line of code, or the end of it."""
        assert self._fence is not None
        fence, text = self._fence, self._text
        if self._line:
            line_end = text.find("\n")
            self._pass(line_end + 1 if line_end >= 0 else len(text))
            return bool(self._text)
        window = self._window
        indent = _INDENT.match(window)
        at = indent.end() if indent else 0
        if at == len(window) and not self._all(final):
            return False
        first = window[at : at + 1]
        prefix = window[:at]
        if not fence.quoted and ">" in prefix:
            prefix, _, _ = prefix.partition(">")  # no part of what the fence stands in
            at, first = len(prefix), ">"
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
            line_end = window.find("\n", at)
            line = window[at : line_end if line_end >= 0 else len(window)]
            beyond = line.lstrip(fence.sign)
            if line_end < 0 and not beyond.strip() and not self._all(final):
                return False
            if len(line) - len(beyond) >= fence.size and not beyond.strip():
                self._fence = None
                self._trusted = self._trusted and (line_end >= 0 or len(window) < HELD)
                self._pass(line_end + 1 if line_end >= 0 else len(window))
                return True
        line_end = text.find("\n")
        self._pass(line_end + 1 if line_end >= 0 else len(text))
        return bool(self._text)

    def _maybe_code(self, final: bool) -> bool:
        """After backticks: code if as many close it on the same line, and the cell of the table goes on."""
        found = (_CODE_ENDS if self._sure else _IN_CODE).search(self._text)
        if found is None:
            partial = None if final or self._sure else _PARTIAL.search(self._text, max(0, len(self._text) - 6))
            self._pass(partial.start() if partial else len(self._text))
            return False
        if found.start():
            self._pass(found.start())
        text = self._window
        if text[0] == "\n":
            return self._newline()
        if text[0] == "|":
            self._cell_ends()
            return True
        if text[0] == "`":
            size = len(text) - len(text.lstrip("`"))
            if size == len(text) and not self._all(final):
                return False
            if size == self._run:
                self._run, self._code, self._sure = 0, 0, False
            if self._fence_begun and self._fence_begun.sign == "`":
                self._fence_begun = None
            self._pass(size)
            return True
        if len(text) < 2 and not final:
            return False
        if (text[0] == "]" and text[1:2] != "(") or (text[0] == "!" and text[1:2] != "["):
            self._pass(1)
            return True
        for stop in _CODE_ENDS.finditer(text):
            if stop[0] in "\n|":
                self._code = 0
                return True
            if stop.end() == len(text) and not (final and len(text) < HELD):
                break
            if stop.end() - stop.start() == self._run:
                self._run, self._code = 0, 0
                self._pass(stop.end())
                return True
        if not self._all(final):
            return False
        if len(text) < HELD:
            self._code = 0
        elif _ADDRESS_BEGINS.match(text):
            return self._bare(final)
        elif text[0] == "<" and (count := self._names_nothing(text)):
            self._pass(count)
        else:
            self._sure = True
        return True

    def _cell_ends(self) -> None:
        """At a | in what may be code: in a table code ends here."""
        if self._sure:
            escapes = len(self._tail) - len(self._tail.rstrip("\\"))
            if escapes % 2 == 0:
                start = self._origin(0)
                self._note("HTML", start, start, "the cell of a table may end in code")
                self._insert("\\")
        else:
            self._code, self._cell = 0, True
        self._pass(1)

    def _end_code(self) -> None:
        """Close code that nothing has closed, for it has in it what must be code."""
        start = self._origin(0)
        self._note("HTML", start, start, "code that does not end")
        self._insert(" " * (self._last == "`") + "`" * self._run)
        self._run, self._code, self._sure, self._fence_begun = 0, 0, False, None

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
        self._defining = False
        if self._at_start and (self._links or self._images):
            text = self._window
            end = _label(text, 0)
            if (end == 0 or end == len(text)) and not self._all(final):
                return False
            if len(text) >= HELD and (end == 0 or end == HELD):
                self._defining = True
            elif end > 0 and text[end : end + 1] == ":" and text[1:2] != "^":
                return self._definition(text[1 : end - 1], end, final)
        self._pass(1)
        self._open_bracket()
        return True

    def _open_bracket(self) -> None:
        self._alt += self._alt > 0
        if self._alt or self._defining:
            self._label = ""

    def _definition(self, label: str, colon: int, final: bool) -> bool:
        """At `[label]:`, or at `]:` where the label has left."""
        text = self._window
        here = text[0] == "["
        space = _SPACE.match(text, colon + 1)
        at = space.end() if space else colon + 1
        if text.count("\n", colon, at) > 1:
            self._pass(colon + 1)
            return True
        if at == len(text):
            if not self._all(final):
                return False
            self._pass(colon)
            if len(text) >= HELD:
                self._note("LINK", self._origin(0), self._origin(0), "a definition too long to be judged")
                self._insert(" ")
            self._pass(1)
            return True
        pointed = text[at] == "<"
        word = (_POINTED if pointed else _WORD).match(text, at)
        end = word.end() if word else at
        if end == len(text) and not self._all(final):
            return False
        name = _folded(label)
        loads = self._images and (
            name in self._pictured or len(self._pictured) >= MOST_LABELS or self._known.get(name, False)
        )
        if end == HELD:
            if here:  # its label leaves first
                self._defining = True
                self._pass(1)
                self._open_bracket()
                return True
            how: How = "pointed" if pointed else "word"
            why = (
                self._begin(how, at + pointed, loads=loads, label=name, closing=">" * pointed)
                if self._links or loads
                else ""
            )
            if why:
                self._known[name] = False
                return self._lose(at + pointed, "auto" if pointed else "word", f"] {LINK}", -1, "LINK", why)
            if self._address is None:
                self._known[name] = False
                self._pass(HELD)
            return True
        if pointed and text[end : end + 1] != ">":
            self._pass(1)
            return True
        address = text[at + pointed : end].strip("<>")
        end += pointed
        against = self._addresses.against(address) if self._links else ""
        picture = self._addresses.against(address, loads=True) if self._images else ""
        if against or (loads and picture):
            if not here:
                self._known[name] = False
                return self._replace(end, f"] {LINK}", -1, "LINK", against or picture)
            if "\n" not in text[end:] and not self._all(final):
                return False
            title = _TITLE.match(text, end)
            return self._replace(title.end() if title else end, "", -1, "LINK", against or picture)
        self._defined(name, address)
        self._pass(1)  # the rest is read as what it also is
        return True

    def _defined(self, label: str, address: str) -> None:
        fit = bool(address) and not (self._images and self._addresses.against(address, loads=True))
        self._known[label] = fit and self._known.get(label, True)

    def _picture(self, bang: int, final: bool) -> bool:
        """At `![`, or at `[` where the ! has left. Leaves it, or leaves its words."""
        text = self._window
        full = len(text) >= HELD
        depth, close = 0, -1
        for found in _BRACKETS.finditer(text, bang):
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
                break
        else:
            if not self._all(final):
                return False
        if close < 0 or (full and close + 1 == len(text)):
            return self._open_picture(bang)
        if close + 1 == len(text) and not final:
            return False
        words = text[bang + 1 : close]
        following = text[close + 1 : close + 2]
        if following == "(":
            inside = _destination(text, close + 1, final=final and not full)
            if inside is None:
                return self._long_picture(bang, close) if full else False
            end, address, exact = inside
            against = self._addresses.against(address, loads=True)
            if not exact:
                stop = _balanced(text, end)
                blank = _BLANK.search(text, end)
                if stop < 0 and blank is None and not self._all(final):
                    return False
                if stop < 0 and blank is None and full and not against:
                    return self._open_picture(bang)
                stop = min(stop + 1 if stop >= 0 else len(text), blank.start() if blank else len(text))
                whole = text[close + 2 : max(end, stop)].rstrip(")")
                against = against or self._addresses.against(re.sub(r"\s", "", whole), loads=True)
                end = max(end, stop)
            if against:
                return self._replace(end, words, bang + 1, "IMAGE", against)
        else:
            label, end = words, close + 1
            if following == "[":
                other = _label(text, close + 1)
                if other == 0 and not self._all(final):
                    return False
                if other == 0 and full:
                    return self._open_picture(bang)
                if other > 0:
                    label, end = text[close + 2 : other - 1] or words, other
            if not self._may_be_used(label):
                return self._replace(end, words, bang + 1, "IMAGE", BADLY_DEFINED)
        self._pass(bang + 1)
        self._open_bracket()
        return True

    def _may_be_used(self, label: str) -> bool:
        """Whether a picture may use a label. Its definition may come later, and is then judged for that."""
        name = _folded(label)
        if name not in self._known and len(self._pictured) < MOST_LABELS:
            self._pictured.add(name)
        return self._known.get(name) is not False

    def _no_picture(self, bang: int) -> bool:
        """What cannot be judged as a picture becomes none."""
        if bang:
            return self._replace(2, "[", 1, "IMAGE", "too deep to be judged")
        self._insert(" ")
        self._pass(1)
        return True

    def _open_picture(self, bang: int) -> bool:
        """Let the words of a picture leave. What they lead to is judged when it comes."""
        self._pass(bang + 1)
        self._doubtful = self._doubtful and self._alt > 0
        self._alt += 1
        self._label = ""
        return True

    def _long_picture(self, bang: int, close: int) -> bool:
        """A picture whose words are whole, and whose address may go on."""
        text = self._window
        start, pointed, end = _begun(text, close + 1)
        if start == len(text) or _PLAIN.search(text, bang + 1, close):
            return self._open_picture(bang)
        how: How = "pointed" if pointed else "link"
        if end < 0:
            why = self._begin(how, start + pointed, kind="IMAGE", loads=True)
            if not why:
                return True
            if why == TOO_LONG:
                return self._open_picture(bang)  # it may be judged when the words have left
        else:
            address = text[start + pointed : end]
            why = MARKED if self._is_marked(how, address) else self._addresses.against_each(address, loads=True)
            if not why:
                self._let(end + pointed)
                self._after = True
                return True
        return self._lose(start + pointed, how, text[bang + 1 : close], bang + 1, "IMAGE", why)

    def _closed(self, final: bool) -> bool:
        text = self._window
        if len(text) < 2 and not final:
            return False
        if text[1:2] == "(" and (self._links or self._alt):
            return self._linked(final)
        if self._defining and text[1:2] == ":" and self._label and not self._label.startswith("^"):
            decided = self._definition(self._label, 1, final)
            self._defining = not decided
            return decided
        if self._alt:
            return self._labelled(final)
        self._defining, self._label = False, None
        self._pass(1)
        return True

    def _linked(self, final: bool) -> bool:
        """At `](`: the destination of a link, or of a picture whose words have left."""
        text = self._window
        full = len(text) >= HELD
        loads = self._alt > 0
        kind = "IMAGE" if loads else "LINK"
        inside = _destination(text, 1, final=final and not full)
        if inside is None:
            return self._long_link(kind, loads=loads) if full else False
        end, address, exact = inside
        against = self._addresses.against(address, loads=loads)
        if not against:
            if loads and not exact:
                return self._labelled(final, apart=True)
            self._let(end if exact and not NESTED.search(text, 2, end) else 2)
            self._close_bracket()
            return True
        start, stop = self._origin(1), self._origin(end - 1) + 1
        self._note(kind, min(start, stop), max(start, stop), against)
        kept = "]" if exact or text[end : end + 1] in ("(", "[", ":", "") else "] "
        begin = self._origin(0)
        self._drop(end)
        self._push(kept, begin, 0)
        return True

    def _long_link(self, kind: str, *, loads: bool) -> bool:
        text = self._window
        start, pointed, end = _begun(text, 1)
        if start == len(text):
            if loads:
                return self._labelled(final=False, apart=True)
            self._note("LINK", self._origin(1), self._origin(1), TOO_LONG)
            self._pass(1)
            self._insert(" ")
            return True
        how: How = "pointed" if pointed else "link"
        if end < 0:
            why = self._begin(how, start + pointed, kind=kind, loads=loads)
        else:
            address = text[start + pointed : end]
            marked = self._is_marked(how, address)
            why = self._addresses.against_each(address, loads=loads) or (MARKED if loads and marked else "")
            if not why:
                self._let(2 if marked or (pointed and not loads) else end + pointed)
                self._after = loads
        if why:
            return self._lose(start + pointed, how, "]", 0, kind, why)
        self._close_bracket()
        return True

    def _labelled(self, final: bool, *, apart: bool = False) -> bool:
        """At the ] of a picture whose words have left, with no destination. apart: what follows is kept from being one."""
        text = self._window
        label = self._label
        if text[1:2] == "[" and not apart:
            other = _label(text, 1)
            if other == 0 and not self._all(final):
                return False
            apart = other == 0 and len(text) >= HELD
            if other > 0:
                label = text[2 : other - 1] or label
        start = self._origin(0)
        if label is not None and not self._may_be_used(label):
            self._note("IMAGE", start, start + 1, BADLY_DEFINED)
            self._insert("\\")
            self._pass(1)
            self._label = None
        else:
            self._pass(1)
            self._close_bracket()
        if apart:
            self._note("IMAGE", start, start + 1, "what follows it cannot be judged")
            self._insert(" ")
        return True

    def _close_bracket(self) -> None:
        if self._alt > 1 or (self._alt and not self._doubtful):
            self._alt -= 1
        self._label = None

    def _bare(self, final: bool) -> bool:
        """An address as it is, at `https:` or `www.`."""
        text = self._window
        head = _HEAD.match(text)
        assert head is not None
        size = head.end()
        before = ""
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
        else:
            before = "https://"
        body = _ADDRESS.match(text, size)
        end = body.end() if body else size
        if end == len(text) and not self._all(final):
            return False
        address = before + text[:end]
        if end == HELD and marked_off(address) == address and self._links:
            why = self._begin("bare", 0, before=before)
            self._near = True
            return not why or self._lose(size, "bare", LINK, -1, "LINK", why)
        address = trimmed(address)[len(before) :] or text[:size]
        against = self._addresses.against(before + address) if self._links else ""
        if not against or len(address) <= size:
            self._pass(len(address))
            self._near = True
            return True
        return self._replace(len(address), LINK, -1, "LINK", against)


def _balanced(text: str, at: int) -> int:
    """Where the parenthesis that is open here closes; -1 where it does not."""
    depth = 0
    for found in _PARENTHESES.finditer(text, at):
        depth += 1 if found[0] == "(" else -1
        if depth < 0:
            return found.start()
    return -1


def _folded(label: str) -> str:
    return " ".join(label.replace("\\", "").casefold().split())[:200]


def _label(text: str, at: int) -> int:
    """Where a label ends that begins here; -1: it is none; 0: that cannot be told yet."""
    found = _LABEL.match(text, at)
    if _BLANK.search(text, at, found.end() if found else len(text)):
        return -1
    return found.end() if found else 0 if _LABEL_BEGUN.fullmatch(text, at) else -1


def _begun(text: str, at: int) -> tuple[int, bool, int]:
    """After `](`: where the address begins, whether it stands in < and >, where it ends; -1 where it goes on."""
    space = _SPACE.match(text, at + 1)
    start = space.end() if space else at + 1
    if text[start : start + 1] == "<":
        stop = _POINTED_ENDS.search(text, start)
        return start, True, stop.start() if stop else -1
    return start, False, in_parentheses(text, at=start).at


def _destination(text: str, at: int, *, final: bool) -> _Destination | None:
    """What stands after `](`. None: that cannot be told yet."""
    size = len(text)
    start, pointed, end = _begun(text, at)
    if start == size or end < 0:
        return _Destination(size, text[start + pointed :], exact=False) if final else None
    address, at = text[start + pointed : end], end + pointed
    if pointed and text[end] == "\n":
        return _Destination(end, address, exact=False)
    if not pointed and text[end] == "(":
        return _Destination(end, address, exact=False)
    space = _SPACE.match(text, at)
    after = space.end() if space else at
    if after == size:
        return _Destination(at, address, exact=False) if final else None
    if text[after] == ")":
        return _Destination(after + 1, address, exact=True)
    if after == at or text[after] not in "\"'(":
        return _Destination(at, address, exact=False)
    closing = ")" if text[after] == "(" else text[after]
    title = _TITLES[closing].match(text, after + 1)
    stop_at = title.end() if title else after + 1
    if _BLANK.search(text, after, stop_at):
        return _Destination(at, address, exact=False)
    if stop_at >= size:
        return _Destination(at, address, exact=False) if final else None
    space = _SPACE.match(text, stop_at + 1)
    after = space.end() if space else stop_at + 1
    if after == size:
        return _Destination(at, address, exact=False) if final else None
    return (
        _Destination(after + 1, address, exact=True) if text[after] == ")" else _Destination(at, address, exact=False)
    )
