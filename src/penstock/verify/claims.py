"""An answer taken apart into what it claims: its sentences, each of which is checked by itself.

What claims nothing is left out: questions, courtesies, code, headings of one word. Marks of Markdown and of citations are blanked,
so that places stay those of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.text.sentences import sentences

__all__ = ["blanked", "claims", "first_unit", "introduced", "is_item"]

MOST = 200  # sentences of one answer that are looked at
LONG = 200  # characters of a sentence that may be several
FEW_WORDS = 3  # what has fewer goes with its neighbour: "No. 5", "Yes."

_CODE = re.compile(r"^(```|~~~).*?^\1[ \t]*$|`[^`\n]*`", re.M | re.S)
_MARKS = re.compile(
    r"\[(?:\d{1,3}|\^[\w-]{1,20})(?:\s*,\s*\d{1,3})*\]"  # citations: [1], [2, 3], [^note]
    r"|(?m:^[ \t]*(?:#{1,6}|[-*+•‣–]|>)[ \t]+)"  # headings, lists, quotations
    r"|(?<!\w)[*_]{1,3}(?=\S)|(?<=\S)[*_]{1,3}(?!\w)"
)
_ITEM = re.compile(r"\s*(?:[-*+•‣–]|\d{1,2}[.)])\s")
_GAP = re.compile(r"(?<=[a-z0-9)\]'’”\"][.!?])\s+(?=[A-Z\"'`“‘])")
_NUMBERED = re.compile(r"(?m)^[ \t]*\d{1,2}[.)][ \t]+")
_WORD = re.compile(r"[^\W\d_]+|\d+")
_COURTESY = re.compile(
    r"(?:of course|sure|certainly|hello|hi|dear|thank|you(?:'|’)re welcome|i hope|hope this|let me know|feel free"
    r"|please (?:let|feel)|happy to|glad to"
    r"|danke|vielen dank|gern|ich hoffe|hallo|merci|bonjour|j(?:'|’)espère|gracias|hola|espero|de nada|grazie|ciao|spero"
    r"|obrigad|olá|bedankt|ik hoop)\b[^\d]*$",
    re.I,
)
_LEADS_IN = re.compile(
    r"[^\d]*[:：]\s*$|(?:so |thus )?the (?:final )?answer(?: to .{1,60})? is(?: that)?\W*$", re.I
)  # to what follows
MOST_COURTESY = 90  # characters
_ENDS = re.compile(  # and no end is the point in "on 3. December"
    r"(?<!\s\d)(?<!\s\d\d)[.!?…][\"'”’)\]]*(?:\s*\[\d{1,3}\])*(?=\s+[^\s\[])|[。！？।؟](?=.)|\n(?=\s*\S)",
    re.S,
)
_ASKS = re.compile(r"[?？؟][\"'”’)]*\s*$")


def blanked(text: str) -> str:
    """The text with spaces in place of marks of Markdown, citations and code."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found.group())

    return _NUMBERED.sub(blank, _MARKS.sub(blank, _CODE.sub(blank, text)))


def claims(text: str, language: str = "") -> list[tuple[int, int]]:
    """(start, end) of the sentences that claim something."""
    plain = blanked(text)
    found = [span for span in _joined(plain, list(_sentences(plain, language))) if _claims(plain[slice(*span)])]
    return found[:MOST]


def _claims(sentence: str) -> bool:
    courtesy = len(sentence) <= MOST_COURTESY and _COURTESY.match(sentence)
    return not (courtesy or _ASKS.search(sentence) or _LEADS_IN.match(sentence))


def _sentences(text: str, language: str) -> Iterator[tuple[int, int]]:
    for line in re.finditer(r"[^\n]+", text):
        for start, end in sentences(text, line.start(), line.end(), language):
            at = start
            for gap in _GAP.finditer(text, start, end) if end - start > LONG else ():  # a quotation that never closes
                yield at, gap.start()
                at = gap.end()
            yield at, end


def _joined(text: str, spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Sentences of less than three words joined with the one before them in the same line, or else with the one after."""
    waiting: tuple[int, int] | None = None
    for start, end in spans:
        if waiting is not None and "\n" not in text[waiting[1] : start]:
            few = min(_words(text, *waiting), _words(text, start, end)) < FEW_WORDS
            if few:
                waiting = (waiting[0], end)
                continue
        if waiting is not None and _words(text, *waiting):
            yield waiting
        waiting = (start, end)
    if waiting is not None and _words(text, *waiting):
        yield waiting


def _words(text: str, start: int, end: int) -> int:
    found = 0
    for word in _WORD.finditer(text, start, end):
        found += 1 if word.end() - word.start() < 12 or word.group().isascii() else FEW_WORDS
        if found >= FEW_WORDS:
            break
    return found


def is_item(text: str) -> bool:
    """Whether a text begins like the item of a list."""
    return bool(_ITEM.match(text))


def introduced(text: str, start: int) -> str:
    """What announces the item of a list that begins at a place: "These can be read:". "" where nothing does."""
    lines = text[: text.rfind("\n", 0, start) + 1].split("\n")
    line = text[text.rfind("\n", 0, start) + 1 :]
    if not _ITEM.match(line):
        return ""
    for before in reversed(lines):
        if before.strip() and not _ITEM.match(before):
            return before.strip() if before.rstrip().endswith((":", "：")) else ""
    return ""


def first_unit(text: str) -> int:
    """Where the first part of a text ends that can be looked at by itself, while more of it is still being written: a sentence of
    three words at least, and never half of a block of code. 0 where that cannot be told yet."""
    for mark in _ENDS.finditer(text):
        part = text[: mark.end()]
        if part.count("```") % 2 == 0 and _words(part, 0, len(part)) >= FEW_WORDS:
            return mark.end()
    return 0
