"""How codes reach a customer: a file and the log for the demo, or a mail server."""

from __future__ import annotations

import os
import smtplib
import ssl
import time
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Literal

from penstock.errors import BadRequest, NotReady
from penstock.storage.files import storage_errors
from penstock.trace import log

__all__ = ["Outbox", "Smtp"]


@dataclass(frozen=True, slots=True)
class Outbox:
    """Writes each mail to a file of its own, for whoever tries the demo: `demo` says that there is no mail server."""

    folder: Path

    def send(self, to: str, subject: str, text: str) -> None:
        message = _message("shop@localhost", to, subject, text)
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self.folder / f"{time.time_ns()}.eml"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(bytes(message))
        log("a mail of the demo shop was written to a file", level="info", to=to, file=str(path))


@dataclass(frozen=True, slots=True)
class Smtp:
    """Sends through a mail server. tls: `starttls` on port 587, `tls` on 465; `off` for one on this machine."""

    host: str
    sender: str
    port: int = 587
    tls: Literal["starttls", "tls", "off"] = "starttls"
    user: str = ""
    password: str = ""
    timeout_s: float = 10.0

    def send(self, to: str, subject: str, text: str) -> None:
        """Raises NotReady where the server does not take it."""
        message = _message(self.sender, to, subject, text)
        try:
            context = ssl.create_default_context()
            if self.tls == "tls":
                server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_s, context=context)
            else:
                server = smtplib.SMTP(self.host, self.port, timeout=self.timeout_s)
            with server:
                if self.tls == "starttls":
                    server.starttls(context=context)
                if self.user:
                    server.login(self.user, self.password)
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise NotReady(f"the mail server {self.host} did not take the mail", hint="look at PENSTOCK_SHOP_SMTP") from error


def _message(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    """Raises BadRequest for an address with which headers could be written."""
    if any(sign in value for value in (sender, to, subject) for sign in "\r\n"):
        raise BadRequest("an address has no line breaks")
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="localhost")
    message.set_content(text)
    return message
