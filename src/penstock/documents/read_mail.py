"""Mail (EML): the message with its headers, then each attachment as a document of its own."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import cast

from penstock.documents.draft import Draft, Raw, Skipped
from penstock.documents.read_html import html_text
from penstock.errors import PenstockError, Unreadable
from penstock.types import BlockKind, Document

__all__ = ["read_mail"]


def read_mail(raw: Raw, read_any: Callable[[Raw], Iterator[Document | Skipped]]) -> Iterator[Document | Skipped]:
    """read_any reads an attachment, whatever its kind; one that cannot be read is told with its reason."""
    message = email.message_from_bytes(raw.data, policy=email.policy.default)
    if not message.keys():
        raise Unreadable(f"'{raw.source}' is not a mail")
    draft = Draft(raw)
    headers = {name: value for name in ("From", "To", "Cc", "Date", "Subject") if (value := _header(message, name))}
    for name, value in headers.items():
        draft.add(f"{name}: {value}", BlockKind.ROW)
    for paragraph in _body(raw, message).replace("\r\n", "\n").split("\n\n"):
        draft.add(paragraph)
    yield draft.finish("message/rfc822", title=headers.get("Subject", ""), date=_date(headers.get("Date", "")))
    if raw.depth >= raw.limits.max_depth:
        return
    for part in message.iter_attachments():
        name = (part.get_filename() or "attachment").replace("/", "_")
        content = part.get_payload(decode=True)
        if isinstance(content, bytes) and content:
            try:
                yield from read_any(replace(raw, source=f"{raw.source}!/{name}", data=content, depth=raw.depth + 1))
            except PenstockError as error:
                yield Skipped(f"{raw.source}!/{name}", error.message, error.hint)


def _body(raw: Raw, message: EmailMessage) -> str:
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    try:
        content = str(part.get_content())
    except (LookupError, UnicodeError):  # an encoding nobody knows
        content = cast(bytes, part.get_payload(decode=True) or b"").decode("utf-8", "replace")
    if part.get_content_type() != "text/html" or not content.strip():
        return content
    try:
        return html_text(raw, content)
    except Unreadable:
        return ""


def _header(message: EmailMessage, name: str) -> str:
    """A header as text. The standard library fails on addresses that are none: then as it stands in the file."""
    try:
        return str(message.get(name, ""))
    except (AttributeError, IndexError, ValueError, TypeError, RecursionError):
        return next((str(value)[:500] for key, value in message.raw_items() if key.lower() == name.lower()), "")


def _date(date: str) -> str:
    try:
        return parsedate_to_datetime(date).date().isoformat()
    except (TypeError, ValueError):
        return ""
