"""How alerts reach people: a webhook, Slack, mail. Each channel has a thread of its own, so a dead one delays no other.

What waits for a channel goes out in one message. One that cannot be delivered is tried again, ever more seldom, for a day. It is
handed over before it is crossed out, so one whose delivery was interrupted may come twice, with the same id. The addresses and
secrets of channels are in no log line and in no error.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

import orjson

from penstock.config import ChannelSettings
from penstock.errors import PenstockError, UpstreamError
from penstock.observe.alerts import migrate
from penstock.storage.database import Database
from penstock.trace import log

__all__ = ["SIGNATURE", "Courier", "Message", "send", "signature", "subject", "text"]

SIGNATURE = "x-penstock-signature"
Message = Mapping[str, Any]  # an alert as JSON, with its `event`

EVERY_S = 1.0
GAP_S = 5.0  # between two messages of one channel: what happens meanwhile goes into the next one
AT_ONCE = 50  # alerts in one message
FIRST_RETRY_S, LONGEST_RETRY_S = 2.0, 600.0
GIVE_UP_S = 86_400.0
LEASE_S = 120.0  # who has taken messages and is not heard of any more
LONGEST_SLACK = 3000  # characters


class Courier:
    """Delivers what is in the outbox of one home."""

    def __init__(
        self, database: Database, channels: Mapping[str, ChannelSettings], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database, self._channels, self._clock = database, channels, clock
        self._stop, self._threads = threading.Event(), list[threading.Thread]()
        self._wakes = {name: threading.Event() for name in channels}

    def start(self) -> None:
        if self._channels:
            migrate(self._database)
            marks = ", ".join("?" * len(self._channels))
            with self._database.write() as w:  # what waits for one that the settings do not name any more
                w.execute(f"delete from alert_outbox where channel not in ({marks})", list(self._channels))  # noqa: S608
        for name in self._channels:
            thread = threading.Thread(target=self._run, args=(name,), daemon=True, name=f"alerts {name}")
            self._threads.append(thread)
            thread.start()

    def wake(self) -> None:
        """There is something to deliver."""
        for event in self._wakes.values():
            event.set()

    def stop(self, *, within_s: float = 2.0) -> None:
        """What could not be delivered until then stays for the next time."""
        self._stop.set()
        self.wake()
        until = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, name: str) -> None:
        warned = False
        while not self._stop.is_set():
            self._wakes[name].wait(EVERY_S)
            self._wakes[name].clear()
            try:
                delivered, warned = self.deliver(name), False
            except Exception as error:  # a background task ends here: what waits goes on waiting
                delivered = 0
                if not warned:
                    log("alerts wait", level="error", channel=name, error=type(error).__name__)
                warned = True
            if delivered:
                self._stop.wait(GAP_S)

    def deliver(self, name: str) -> int:
        """Send what is due for a channel, in one message. Returns how many alerts were in it; a failure is recorded.

        Raises StorageError or Conflict.
        """
        now = self._clock()
        taken = self._take(name, now)
        if not taken:
            return 0
        numbers, messages = [number for number, *_ in taken], [message for _, _, message in taken]
        try:
            send(self._channels[name], messages, now=now, number=f"{numbers[0]}-{numbers[-1]}")
        except PenstockError as error:
            tries = max(tries for _, tries, _ in taken) + 1
            self._failed(name, numbers, tries, error.message, self._clock())
            return 0
        with self._database.write() as w:
            w.executemany("delete from alert_outbox where number = ?", [(number,) for number in numbers])
            w.execute(
                "insert into alert_channels values (?, ?, 0, 0, '') on conflict do update set delivered = excluded.delivered,"
                " failures = 0, error = ''",
                (name, self._clock()),
            )
        log("alerts delivered", channel=name, alerts=len(numbers))
        return len(numbers)

    def _take(self, name: str, now: float) -> list[tuple[int, int, dict[str, Any]]]:
        """(number, tries, message) of what is due, which nobody else gets meanwhile."""
        if not self._database.read("select 1 from alert_outbox where channel = ? limit 1", (name,)):
            return []
        with self._database.write() as w:
            w.execute("delete from alert_outbox where channel = ? and made < ?", (name, now - GIVE_UP_S))
            rows = w.execute(
                "select number, tries, message from alert_outbox where channel = ?"
                " and (due <= ? or due > ?) and (leased <= ? or leased > ?) order by number limit ?",
                (
                    name,
                    now,
                    now + 2 * LONGEST_RETRY_S,
                    now,
                    now + 2 * LEASE_S,
                    AT_ONCE,
                ),  # the clock may have been put back
            ).fetchall()
            w.executemany("update alert_outbox set leased = ? where number = ?", [(now + LEASE_S, n) for n, *_ in rows])
        return [(number, tries, orjson.loads(message)) for number, tries, message in rows]

    def _failed(self, name: str, numbers: Sequence[int], tries: int, error: str, now: float) -> None:
        pause = min(FIRST_RETRY_S * 2 ** min(tries - 1, 20), LONGEST_RETRY_S)
        with self._database.write() as w:
            # all that waits, too: it would find the same closed door
            w.execute("update alert_outbox set due = ? where channel = ?", (now + pause, name))
            w.executemany(
                "update alert_outbox set tries = ?, leased = 0 where number = ?",
                [(tries, number) for number in numbers],
            )
            w.execute(
                "insert into alert_channels values (?, 0, ?, 1, ?) on conflict do update set failed = excluded.failed,"
                " failures = failures + 1, error = excluded.error",
                (name, now, error),
            )
        log("alerts not delivered", level="error", channel=name, alerts=len(numbers), tries=tries, error=error)


# ---------------------------------------------------------------- one message


def send(channel: ChannelSettings, messages: Sequence[Message], *, now: float, number: str = "") -> None:
    """Send alerts through a channel as one message. Raises UpstreamError. number: the same when it is sent again."""
    match channel.kind:
        case "webhook":
            body = orjson.dumps({"id": number or secrets.token_hex(8), "sent": int(now), "alerts": list(messages)})
            headers = {SIGNATURE: signature(channel.secret, body, int(now))} if channel.secret else {}
            _post(channel, body, headers)
        case "slack":
            said = f"*{_escaped(subject(messages))}*\n{_escaped(text(messages))}"
            _post(channel, orjson.dumps({"text": said[:LONGEST_SLACK]}), {})
        case "email":
            _mail(channel, subject(messages), text(messages), number)


def signature(secret: str, body: bytes, at: int) -> str:
    """`t=UNIX,v1=HEX`: HMAC-SHA256 of the time, a dot and the body, so that nobody else's body and no old one is taken."""
    return f"t={at},v1={hmac.new(secret.encode(), b'%d.%b' % (at, body), hashlib.sha256).hexdigest()}"


def subject(messages: Sequence[Message]) -> str:
    """One line."""
    worst = max(messages, key=lambda m: (m["event"] != "resolved", m["severity"] == "page"))
    more = f", and {len(messages) - 1} more" if len(messages) > 1 else ""
    return f"{_head(worst)} {worst['title']}{more}"[:200]


def text(messages: Sequence[Message]) -> str:
    """What has happened, one paragraph for each alert."""
    return "\n\n".join(_paragraph(message) for message in messages)


def _paragraph(message: Message) -> str:
    lines = [f"{_head(message)} {message['title']}", *message["facts"].get("said", ())]
    lines.append(f"since {message['started']}" + (f", until {message['ended']}" if message["ended"] else ""))
    if message["requests"] and message["event"] != "resolved":
        lines.append(f"requests: {', '.join(message['requests'])}")
    lines.append(f"alert {message['id']}, {message['key']}")
    return "\n".join(lines)


def _head(message: Message) -> str:
    event = {"fired": "", "worse": ", worse", "still": ", still", "eased": ", no page any more"}.get(message["event"])
    return "[resolved]" if event is None else f"[{message['severity']}{event}]"


def _escaped(said: str) -> str:
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post(channel: ChannelSettings, body: bytes, headers: Mapping[str, str]) -> None:
    import httpx2  # a server without channels does without it

    trusted = ssl.create_default_context(cafile=channel.ca_file) if channel.ca_file else True
    headers = {"content-type": "application/json", "user-agent": "penstock", **headers}
    try:
        with httpx2.Client(timeout=channel.timeout_s, verify=trusted, follow_redirects=False) as client:
            response = client.post(channel.url, content=body, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise UpstreamError(f"no answer: {type(error).__name__}") from None  # its words may have the address in them
    if not 200 <= response.status_code < 300:
        raise UpstreamError(f"the answer was status {response.status_code}")


def mail(channel: ChannelSettings, to: str, subject: str, text: str) -> None:
    """Send one mail by the server of a channel, to somebody else than it tells of alerts. Raises UpstreamError."""
    _mail(replace(channel, to=(to,)), subject, text, "")


def _mail(channel: ChannelSettings, head: str, body: str, number: str) -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = " ".join(head.split()), channel.sender, ", ".join(channel.to)
    message["Date"], message["Auto-Submitted"] = formatdate(), "auto-generated"
    message["Message-ID"] = make_msgid(number or None, domain=channel.sender.rpartition("@")[2] or None)
    message.set_content(body)
    context = ssl.create_default_context(cafile=channel.ca_file or None)
    port = channel.port or {"starttls": 587, "tls": 465, "off": 25}[channel.tls]
    try:
        if channel.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(channel.host, port, timeout=channel.timeout_s, context=context)
        else:
            server = smtplib.SMTP(channel.host, port, timeout=channel.timeout_s)
        with server:
            if channel.tls == "starttls":
                server.starttls(context=context)
            if channel.user:
                server.login(channel.user, channel.password)
            refused = server.send_message(message)
    except smtplib.SMTPResponseException as error:
        raise UpstreamError(f"the mail server said {error.smtp_code}") from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise UpstreamError(f"the mail server could not be used: {type(error).__name__}") from None
    if refused:
        log("alert refused for some", level="warning", refused=len(refused), of=len(channel.to))
