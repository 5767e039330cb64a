"""A file in, documents out: which reader a file gets, archives, and the limits that hold for all of them.

Nothing is ever unpacked to disk, so a path inside an archive is a name and no more.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from lzma import LZMAError

from penstock.documents.draft import Limits, Raw, Skipped
from penstock.documents.read_html import read_html
from penstock.documents.read_image import IMAGE_SUFFIXES, read_image
from penstock.documents.read_mail import read_mail
from penstock.documents.read_office import read_docx, read_pptx
from penstock.documents.read_pdf import read_pdf
from penstock.documents.read_tables import read_csv, read_json, read_jsonl, read_sheets
from penstock.documents.read_text import CODE_SUFFIXES, read_code, read_markdown, read_plain
from penstock.errors import PenstockError, TooLarge, Unreadable
from penstock.types import Document

__all__ = ["READERS", "Limits", "Raw", "Skipped", "read", "reads"]

Reader = Callable[[Raw], Iterator[Document]]

READERS: dict[str, Reader] = {
    ".pdf": read_pdf,
    ".docx": read_docx,
    ".docm": read_docx,
    ".pptx": read_pptx,
    ".pptm": read_pptx,
    ".xlsx": read_sheets,
    ".xlsm": read_sheets,
    ".xls": read_sheets,
    ".ods": read_sheets,
    ".html": read_html,
    ".htm": read_html,
    ".xhtml": read_html,
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".txt": read_plain,
    ".text": read_plain,
    ".rst": read_plain,
    ".log": read_plain,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    **dict.fromkeys(CODE_SUFFIXES, read_code),
    **dict.fromkeys(IMAGE_SUFFIXES, read_image),
}
UNREAD = {  # kinds that people expect to be read, and what helps
    ".doc": "save it as DOCX", ".dot": "save it as DOCX", ".odt": "save it as DOCX", ".rtf": "save it as DOCX",
    ".pages": "export it as PDF", ".ppt": "save it as PPTX", ".odp": "save it as PPTX", ".key": "export it as PDF",
    ".epub": "convert it to HTML", ".mobi": "convert it to HTML", ".msg": "save it as EML", ".pst": "export it as EML",
    ".7z": "unpack it", ".rar": "unpack it", ".parquet": "export it as CSV", ".sqlite": "export it as CSV",
}  # fmt: skip
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".gz")

_PIECE = 1 << 20


def reads(name: str) -> bool:
    """Whether a file of this name is taken up: it is of a kind that can be read, or of one that people expect to be."""
    return name.lower().endswith((*READERS, *ARCHIVES, *UNREAD, ".eml"))


def read(raw: Raw) -> Iterator[Document | Skipped]:
    """Every document in a file, and every part of an archive that could not be read.

    Raises Unreadable or TooLarge for a file that gives nothing at all; the message names the file and the reason.
    """
    if raw.suffix in UNREAD and not raw.data.startswith(b"%PDF-"):
        raise Unreadable(f"'{raw.source}' is of a kind that is not read", hint=UNREAD[raw.suffix])
    if not raw.data:
        raise Unreadable(f"'{raw.source}' is empty")
    if len(raw.data) > raw.limits.max_bytes:
        limit = raw.limits.max_file_mb
        raise TooLarge(f"'{raw.source}' is {len(raw.data) >> 20} MB, the limit is {limit} MB", hint="raise max_file_mb")
    if _kind(raw) in ARCHIVES:
        yield from _read_archive(raw)
    else:
        yield from _read_one(raw)


def _read_one(raw: Raw) -> Iterator[Document | Skipped]:
    kind = _kind(raw)
    try:
        if kind == ".eml":
            yield from read_mail(raw, read)
        else:
            yield from READERS.get(kind, read_plain)(raw)
    except PenstockError:
        raise
    except Exception as error:  # a damaged file can break a library in ways of its own
        raise Unreadable(f"'{raw.source}' cannot be read: {type(error).__name__}: {error}") from error


def _kind(raw: Raw) -> str:
    """The ending that decides on the reader. Content that is plainly something else than its name says wins."""
    lowered = raw.name.lower()
    if raw.data.startswith(b"%PDF-"):
        return ".pdf"
    if raw.kind:
        return raw.kind
    for ending in ARCHIVES:
        if lowered.endswith(ending):
            return ending
    if raw.data.startswith(b"PK\x03\x04") and raw.suffix not in READERS:
        inside = raw.data[:4096]
        return (
            ".docx" if b"word/" in inside else ".pptx" if b"ppt/" in inside else ".xlsx" if b"xl/" in inside else ".zip"
        )
    if raw.suffix in READERS or raw.suffix == ".eml":
        return raw.suffix
    start = raw.data[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return ".html"
    return raw.suffix


def _read_archive(raw: Raw) -> Iterator[Document | Skipped]:
    if raw.depth >= raw.limits.max_depth:
        raise Unreadable(f"'{raw.source}' is an archive {raw.depth} archives deep, the limit is {raw.limits.max_depth}")
    for name, data in _entries(raw):
        inner = replace(raw, source=f"{raw.source}!/{name}", data=data, depth=raw.depth + 1, kind="")
        if not reads(name):
            continue
        try:
            yield from read(inner)
        except PenstockError as error:
            yield Skipped(inner.source, error.message, error.hint)


def _entries(raw: Raw) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files in an archive, unpacked in memory piece by piece and never beyond the limit."""
    left = raw.limits.max_bytes
    kind = _kind(raw)
    try:
        if kind == ".zip":
            with zipfile.ZipFile(io.BytesIO(raw.data)) as archive:
                for count, info in enumerate(archive.infolist()):
                    _check_count(raw, count)
                    if info.flag_bits & 1:
                        raise Unreadable(f"'{raw.source}' is encrypted", hint="unpack it first")
                    if not info.is_dir() and not _is_link(info):
                        with archive.open(info) as file:
                            data = _bounded(file, left, raw)
                        left -= len(data)
                        yield _safe(info.filename), data
        elif kind == ".gz":
            with gzip.open(io.BytesIO(raw.data)) as file:
                yield raw.name.removesuffix(".gz"), _bounded(file, left, raw)
        else:
            with tarfile.open(fileobj=io.BytesIO(raw.data), mode="r:*") as tar:
                for count, member in enumerate(tar):
                    _check_count(raw, count)
                    stream = tar.extractfile(member) if member.isfile() else None
                    if stream:
                        data = _bounded(stream, left, raw)
                        left -= len(data)
                        yield _safe(member.name), data
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        EOFError,
        OSError,
        zlib.error,
        LZMAError,
        NotImplementedError,
        ValueError,  # zipfile's own for a directory that lies
    ) as error:
        raise Unreadable(f"'{raw.source}' is not a complete archive: {error}") from error


def _bounded(file: object, left: int, raw: Raw) -> bytes:
    pieces, total = [], 0
    while piece := file.read(_PIECE):  # type: ignore[attr-defined]
        total += len(piece)
        if total > left:
            raise TooLarge(
                f"'{raw.source}' unpacks to more than {raw.limits.max_file_mb} MB",
                hint="raise max_file_mb, or unpack it",
            )
        pieces.append(piece)
    return b"".join(pieces)


def _check_count(raw: Raw, count: int) -> None:
    if count >= raw.limits.max_entries:
        raise TooLarge(f"'{raw.source}' holds more than {raw.limits.max_entries} files")


def _is_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 16) & 0o170000 == 0o120000


def _safe(name: str) -> str:
    """An archive's own path as a name to show: no way up, no root, no control characters."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "".join(c if c.isprintable() else "_" for c in "/".join(parts)) or "unnamed"
