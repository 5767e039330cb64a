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
from penstock.types import Document

__all__ = ["read_mail"]


def read_mail(raw: Raw, read_any: Callable[[Raw], Iterator[Document | Skipped]]) -> Iterator[Document | Skipped]:
    """read_any reads an attachment, whatever its kind; one that cannot be read is told with its reason."""
    message = email.message_from_bytes(raw.data, policy=email.policy.default)
    if not message.keys():
        raise Unreadable(f"'{raw.source}' is not a mail")
    draft = Draft(raw)
    subject = str(message.get("Subject", ""))
    names = ("From", "To", "Cc", "Date", "Subject")
    draft.add("\n".join(f"{name}: {message[name]}" for name in names if message[name]))
    for paragraph in _body(raw, message).replace("\r\n", "\n").split("\n\n"):
        draft.add(paragraph)
    yield draft.finish("message/rfc822", title=subject, date=_date(message))
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


def _date(message: EmailMessage) -> str:
    try:
        return parsedate_to_datetime(str(message["Date"])).date().isoformat()
    except (TypeError, ValueError):
        return ""
