"""HTML: what a reader of the page would see, in order, without scripts, navigation and hidden elements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from penstock.documents.draft import Draft, Raw
from penstock.documents.read_text import decode
from penstock.errors import Unreadable
from penstock.types import BlockKind, Document

__all__ = ["html_text", "read_html"]

_UNSEEN = frozenset(
    ("script style template noscript svg canvas iframe object embed button select textarea nav head -comment").split()
)
_HEADINGS = {f"h{n}": n for n in range(1, 7)}
_BLOCKS = frozenset(
    (
        "address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure "
        "footer form header hgroup hr li main menu ol p section summary table tbody tfoot thead ul"
    ).split()
)
_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])|opacity\s*:\s*0(?![.\d])", re.I
)
_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.I)
_DATES = ("meta[property='article:modified_time']", "meta[property='article:published_time']", "meta[name=date]")
_CONTAINER = re.compile(
    r"<(/?)(?:div|span|section|article|main|ul|ol|dl|table|blockquote|b|i|em|strong|font|a|p|form|fieldset|center)\b",
    re.I,
)
MANY_TAGS, DEEPEST = 5_000, 12_000
MOST_MARKED = 200  # parts of a page that say they are the main one
_BREAK = "\x1e"  # a <br>, while all other white space is still one space


def read_html(raw: Raw) -> Iterator[Document]:
    """One document. The main part of the page is taken where it is marked as such."""
    tree = _parsed(raw, _decode(raw))
    draft = _draft(raw, tree)
    title = tree.css_first("title")
    language = ((tree.root.attributes.get("lang") if tree.root else "") or "").split("-")[0].lower()
    dates = (
        re.match(r"\d{4}-\d{2}-\d{2}", node.attributes.get("content") or "")
        for s in _DATES
        if (node := tree.css_first(s))
    )
    yield draft.finish(
        "text/html",
        title=title.text() if title else "",
        language=language if re.fullmatch("[a-z]{2,3}", language) else "",
        date=next((date[0] for date in dates if date), ""),
    )


def html_text(raw: Raw, html: str) -> str:
    """The visible text alone, for a mail that has no plain part."""
    return _draft(raw, _parsed(raw, html)).finish("text/html").text


def _parsed(raw: Raw, html: str) -> Any:
    """The tree. Raises Unreadable for one that is thousands of elements deep: no page is, and parsing takes its square."""
    from selectolax.lexbor import LexborHTMLParser

    if html.count("<") > MANY_TAGS:
        depth = 0
        for tag in _CONTAINER.finditer(html):
            depth += -1 if tag[1] else 1
            if depth > DEEPEST:
                raise Unreadable(f"'{raw.source}' has elements nested more than {DEEPEST} deep")
    return LexborHTMLParser(html)


def _decode(raw: Raw) -> str:
    declared = _CHARSET.search(raw.data[:4096])
    if declared and not raw.data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            return raw.data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            pass  # the page is wrong about itself
    return decode(raw.data, raw.source)


def _draft(raw: Raw, tree: Any) -> Draft:
    draft = Draft(raw)
    candidates = tree.css("main, article, [role=main]")[:MOST_MARKED]
    marked = max(candidates, key=lambda node: len(node.text()), default=None)
    start = marked if marked is not None and len(marked.text().strip()) >= 200 else tree.body
    line: list[str] = []  # inline text gathers here until a block begins or ends

    def flush() -> None:
        if line:
            lines = (" ".join(part.split()) for part in "".join(line).split(_BREAK))
            draft.add("\n".join(part for part in lines if part))
            line.clear()

    # depth first without recursion: pages nest deeper than Python's stack
    stack: list[tuple[Any, bool]] = [(start, False)] if start is not None else []
    while stack:
        node, leaving = stack.pop()
        tag = node.tag
        if leaving:
            flush()
        elif tag == "-text":
            line.append(node.text_content or "")
        elif _unseen(node):
            continue
        elif tag in _HEADINGS:
            flush()
            draft.add(_visible(node), BlockKind.HEADING, level=_HEADINGS[tag])
        elif tag == "pre":
            flush()
            draft.add(node.text(), BlockKind.CODE)
        elif tag == "tr":
            flush()
            cells = (_visible(cell) for cell in node.iter() if cell.tag in ("td", "th"))
            draft.add(" | ".join(cell for cell in cells if cell), BlockKind.ROW)
        elif tag == "br":
            line.append(_BREAK)
        else:
            if tag in _BLOCKS:
                flush()
                stack.append((node, True))
            stack += [(child, False) for child in reversed(list(node.iter(include_text=True)))]
    flush()
    return draft


def _unseen(node: Any) -> bool:
    if node.tag in _UNSEEN:
        return True
    attributes = node.attributes
    if not attributes:
        return False
    hidden = "hidden" in attributes or attributes.get("aria-hidden") == "true"
    return hidden or bool(_HIDDEN.search(attributes.get("style") or ""))


def _visible(root: Any) -> str:
    """The text of an element on one line, without what is hidden inside it."""
    words, stack = [], [root]
    while stack:
        node = stack.pop()
        if node.tag == "-text":
            words.append(node.text_content or "")
        elif node is root or not _unseen(node):
            words += [" "] if node.tag in _BLOCKS or node.tag == "br" else []
            stack += reversed(list(node.iter(include_text=True)))
    return " ".join("".join(words).split())
