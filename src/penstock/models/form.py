"""Forms with files in them, as transcriptions and uploads come: read, and written anew.

What goes on to an upstream is never the form as it came: two readers may see two different fields in one that is crooked,
and it is our reading that was checked.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import multipart

from penstock.errors import BadRequest

__all__ = ["Part", "fields", "read", "with_model", "write"]

MOST_PARTS = 100


@dataclass(frozen=True, slots=True)
class Part:
    """One field, or one file."""

    name: str
    data: bytes
    filename: str | None = None  # of a file
    media_type: str = ""


def read(data: bytes, content_type: str) -> list[Part]:
    """The parts of a multipart form, in its order. Raises BadRequest."""
    kind, options = multipart.parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise BadRequest("the body must be a form", hint="content-type: multipart/form-data; boundary=…")
    found: list[Part] = []
    pieces: list[bytes] = []
    part = None
    try:
        with multipart.PushMultipartParser(options["boundary"], max_segment_count=MOST_PARTS) as parser:
            for event in parser.parse(data):
                if event is None and part is not None:
                    found.append(Part(part.name, b"".join(pieces), part.filename, part.content_type or ""))
                elif isinstance(event, multipart.MultipartSegment):
                    part, pieces = event, []
                elif event is not None:
                    pieces.append(bytes(event))
    except multipart.MultipartError as error:
        raise BadRequest(f"the form cannot be read: {error}") from error
    return found


def fields(parts: Sequence[Part]) -> dict[str, Any]:
    """The plain fields by name. One that comes several times is a list. Raises BadRequest where one is not text."""
    found: dict[str, Any] = {}
    for part in parts:
        if part.filename is not None:
            continue
        try:
            value = part.data.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(f"the field '{part.name}' is not text") from error
        if part.name in found:
            before = found[part.name]
            found[part.name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            found[part.name] = value
    return found


def write(parts: Sequence[Part]) -> tuple[bytes, str]:
    """A form and its media type. The field `model`, where there is one, comes first."""
    boundary = f"penstock-{secrets.token_hex(16)}"
    written = []
    for part in sorted(parts, key=lambda part: part.name != "model"):
        written += [_head(boundary, part), part.data, b"\r\n"]
    return b"".join((*written, b"--%b--\r\n" % boundary.encode())), f"multipart/form-data; boundary={boundary}"


def with_model(data: bytes, media_type: str, model: str) -> bytes:
    """A form that `write` made, with another model's name in it."""
    boundary = media_type.partition("boundary=")[2]
    head = _head(boundary, Part("model", b""))
    end = data.index(b"\r\n--" + boundary.encode(), len(head))
    return b"".join((head, model.encode(), memoryview(data)[end:]))


def _head(boundary: str, part: Part) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(part.name)}"'
    if part.filename is not None:
        head += f'; filename="{_quoted(part.filename)}"'
    if re.fullmatch(r"[\w.+-]+/[\w.+-]+", part.media_type):
        head += f"\r\nContent-Type: {part.media_type}"
    return f"{head}\r\n\r\n".encode()


def _quoted(text: str) -> str:
    """As browsers write names in forms."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
