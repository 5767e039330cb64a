"""DOCX and PPTX, from the XML inside them.

The usual packages for this bring 45 MB (lxml, Pillow, XlsxWriter) to read what is paragraphs, runs and tables in two
documented formats (ECMA-376), so these two readers are ours. Entities are refused: neither format has a use for them.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from hashlib import blake2b
from xml.etree import ElementTree

from penstock.documents.draft import Draft, Raw
from penstock.documents.markup import parse
from penstock.errors import TooLarge, Unreadable
from penstock.types import BlockKind, Document

__all__ = ["read_docx", "read_pptx"]

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_REL = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_DC, _DCT = "{http://purl.org/dc/elements/1.1/}", "{http://purl.org/dc/terms/}"


LARGEST_PART = 32 << 20  # bytes of XML: a thousand pages have about ten million


class _Package:
    """An Office file: a zip of XML parts."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(raw.data))
        except zipfile.BadZipFile as error:
            encrypted = raw.data.startswith(b"\xd0\xcf\x11\xe0")  # a password wraps the file in an OLE container
            reason = "is encrypted, or of the old binary kind" if encrypted else f"is not a complete file: {error}"
            raise Unreadable(f"'{raw.source}' {reason}", hint="save it again without a password") from error
        if sum(info.file_size for info in self._zip.infolist()) > raw.limits.max_bytes * 4:
            raise TooLarge(f"'{raw.source}' unpacks to more than {raw.limits.max_file_mb * 4} MB")

    def data(self, name: str) -> bytes:
        """A part's bytes, empty where the file has no such part."""
        try:
            if self._zip.getinfo(name).file_size > LARGEST_PART:
                raise TooLarge(f"'{self._raw.source}' holds {name} of more than {LARGEST_PART >> 20} MB")
            data = self._zip.read(name)
        except KeyError:
            return b""
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            raise self.damaged(error) from error
        return data

    def part(self, name: str) -> ElementTree.Element | None:
        data = self.data(name)
        try:
            return parse(data) if data else None
        except ValueError as error:
            raise self.damaged(error) from error

    def damaged(self, error: Exception) -> Unreadable:
        return Unreadable(f"'{self._raw.source}' is damaged: {error}")

    def related(self, name: str) -> dict[str, str]:
        """relation id -> the part it names."""
        folder, file = posixpath.split(name)
        root = self.part(f"{folder}/_rels/{file}.rels")
        targets = (
            (r.get("Id", ""), r.get("Target", ""))
            for r in (root if root is not None else [])
            if r.tag == _REL + "Relationship"
        )
        return {key: posixpath.normpath(posixpath.join(folder, target)).lstrip("/") for key, target in targets}

    def properties(self) -> tuple[str, str]:
        """Title and date of the last change, as the file says itself."""
        root = self.part("docProps/core.xml")
        if root is None:
            return "", ""
        date = re.match(r"\d{4}-\d{2}-\d{2}", root.findtext(_DCT + "modified") or "")
        return (root.findtext(_DC + "title") or "").strip(), date[0] if date else ""


def read_docx(raw: Raw) -> Iterator[Document]:
    """Paragraphs with their heading levels, lists, tables by row, and notes at the end."""
    package = _Package(raw)
    root = package.part("word/document.xml")
    body = root.find(_W + "body") if root is not None else None
    if body is None:
        raise Unreadable(f"'{raw.source}' is no Word document")
    styles = package.data("word/styles.xml")
    try:
        levels = _styles(styles)
    except ValueError as error:
        raise package.damaged(error) from error
    draft = Draft(raw)
    _add_body(draft, body, levels)
    for notes in ("word/footnotes.xml", "word/endnotes.xml"):
        root = package.part(notes)
        for note in root if root is not None else []:
            draft.add("\n".join(filter(None, map(_paragraph_text, note.iter(_W + "p")))))
    title, date = package.properties()
    media_type = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    yield draft.finish(media_type, title=title, date=date)


_known_styles: dict[bytes, dict[str, int]] = {}  # documents of one template have the same, and they are most of the XML
MOST_STYLES = 64


def _styles(data: bytes) -> dict[str, int]:
    """style id -> level of the headings."""
    key = blake2b(data, digest_size=16).digest()
    if key not in _known_styles:
        if len(_known_styles) >= MOST_STYLES:
            _known_styles.clear()
        _known_styles[key] = _heading_styles(data)
    return _known_styles[key]


def _heading_styles(data: bytes) -> dict[str, int]:
    levels: dict[str, int] = {}
    for style in parse(data).iter(_W + "style") if data else ():
        name = style.find(_W + "name")
        label = (name.get(_W + "val", "") if name is not None else "").lower()
        if match := re.fullmatch(r"heading (\d)", label):
            levels[style.get(_W + "styleId", "")] = int(match[1])
        elif label == "title":
            levels[style.get(_W + "styleId", "")] = 1
    return levels


def _add_body(draft: Draft, body: ElementTree.Element, levels: dict[str, int]) -> None:
    for element in body:
        if element.tag == _W + "p":
            style = element.find(f"{_W}pPr/{_W}pStyle")
            level = levels.get(style.get(_W + "val", ""), 0) if style is not None else 0
            draft.add(_paragraph_text(element), BlockKind.HEADING if level else BlockKind.PARAGRAPH, level=level)
        elif element.tag == _W + "tbl":
            for row in element.findall(_W + "tr"):  # a table in a cell is part of that cell
                cells = (
                    " ".join(filter(None, map(_paragraph_text, cell.iter(_W + "p")))) for cell in row.findall(_W + "tc")
                )
                draft.add(" | ".join(filter(None, cells)), BlockKind.ROW)
        elif element.tag == _W + "sdt":  # a content control, such as a table of contents, holds a body of its own
            content = element.find(_W + "sdtContent")
            if content is not None:
                _add_body(draft, content, levels)


def _paragraph_text(paragraph: ElementTree.Element) -> str:
    pieces = []
    for node in paragraph.iter():
        if node.tag == _W + "t":
            pieces.append(node.text or "")
        elif node.tag in (_W + "tab", _W + "br", _W + "cr"):
            pieces.append(" " if node.tag == _W + "tab" else "\n")
    return "".join(pieces).strip()


def read_pptx(raw: Raw) -> Iterator[Document]:
    """Slides in their order, each a page: its title as a heading, its text, tables by row, and the speaker's notes."""
    package = _Package(raw)
    name = "ppt/presentation.xml"
    root = package.part(name)
    if root is None:
        raise Unreadable(f"'{raw.source}' is no presentation")
    related, draft = package.related(name), Draft(raw)
    for page, slide_id in enumerate(root.iter(_P + "sldId"), 1):
        slide = related.get(slide_id.get(_R + "id", ""), "")
        tree = package.part(slide)
        if tree is not None:
            _add_slide(draft, tree, page)
        for target in package.related(slide).values():
            notes = package.part(target) if "/notesSlides/" in target else None
            for shape in notes.iter(_P + "sp") if notes is not None else ():
                if _placeholder(shape) == "body":
                    draft.add(_shape_text(shape), page=page)
    title, date = package.properties()
    media_type = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    yield draft.finish(media_type, title="" if title == "PowerPoint Presentation" else title, date=date)


def _add_slide(draft: Draft, tree: ElementTree.Element, page: int) -> None:
    for shape in tree.iter():
        if shape.tag == _P + "sp":
            heading = _placeholder(shape) in ("title", "ctrTitle")
            draft.add(
                _shape_text(shape), BlockKind.HEADING if heading else BlockKind.PARAGRAPH, level=int(heading), page=page
            )
        elif shape.tag == _A + "tr":
            cells = (_shape_text(cell).replace("\n", " ") for cell in shape.findall(_A + "tc"))
            draft.add(" | ".join(filter(None, cells)), BlockKind.ROW, page=page)


def _placeholder(shape: ElementTree.Element) -> str:
    found = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
    return found.get("type", "body") if found is not None else ""


def _shape_text(shape: ElementTree.Element) -> str:
    lines = ("".join(t.text or "" for t in paragraph.iter(_A + "t")) for paragraph in shape.iter(_A + "p"))
    return "\n".join(filter(None, map(str.strip, lines)))
