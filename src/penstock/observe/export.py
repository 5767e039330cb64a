"""Sends what the journal has stored to an OpenTelemetry receiver, from a thread of its own.

No request waits for it, and none is slower or fails since a receiver is slow or gone. What cannot be sent waits, up to a limit;
then the oldest is dropped. What is lost is counted and logged. A receiver that is busy is asked again when it says, or after pauses
that grow; what it refuses is not sent again. Needs the extra `otel`.
"""

from __future__ import annotations

import gzip
import random
import re
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from penstock.errors import BadSetting, MissingExtra
from penstock.observe.conventions import Names, Served
from penstock.observe.journal import Row
from penstock.trace import log

if TYPE_CHECKING:
    import httpx2
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

__all__ = ["Exporter", "Receiver"]

MOST_WAITING = 10_000  # requests
AT_ONCE = 256  # requests in one message
NOTED_AT_ONCE = 32
EVERY_S = 1.0
METRICS_EVERY_S = 60.0
PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # before a receiver is asked again
LONGEST_SAID_S = 300.0  # that a receiver may ask to wait
TIMEOUT_S = 10.0
LOG_EVERY_S = 60.0
AGAIN = (408, 429, 502, 503, 504)  # as OTLP has it, and a timeout
MOST_ANSWERED = 64 << 10  # bytes
MOST_SAID = 200  # characters of what a receiver says


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where to send, and how. headers: the secrets that it wants."""

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: str = ""
    metrics: bool = True
    resource: Mapping[str, str] = field(default_factory=dict)  # what all spans and numbers are from

    def address(self, signal: str) -> str:
        """The address for `traces` or `metrics`."""
        return re.sub(r"/(v1/(traces|metrics))?/*$", "", self.endpoint) + f"/v1/{signal}"


class _Message(Protocol):
    def SerializeToString(self) -> bytes: ...


class _Later(Exception):
    """The receiver may take it another time. after_s: when it said so."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


class _Never(Exception):
    """The receiver does not take it."""


class Exporter:
    """Rows in, spans and numbers out."""

    def __init__(
        self,
        receiver: Receiver,
        *,
        names: Names,
        served: Mapping[str, Served],
        routes: Mapping[str, str],
        label: Callable[[Row], str],
        words: Callable[[str], Mapping[str, Any]] | None = None,
        own: Callable[[], Iterable[Any]] = tuple,
        version: str = "",
    ) -> None:
        """words: reads what rows have of questions and answers, where those are to be sent. own: our own numbers, as families of
        Prometheus's library. Raises MissingExtra, and BadSetting for certificates that cannot be read."""
        try:
            from penstock.observe.measures import Measures
            from penstock.observe.otlp import Tracing, attributes
        except ImportError as error:
            raise MissingExtra("what [observe] otlp_endpoint needs", extra="otel") from error
        from opentelemetry.proto.resource.v1.resource_pb2 import Resource

        self._receiver, self._own, self._version = receiver, own, version
        self._tracing = Tracing(names, served, routes, words, version)
        self._measures = Measures(names, served, label=label)
        self._resource: Resource = Resource(attributes=attributes(receiver.resource))
        self._trusted = _trusted(receiver.ca_file)
        self._waiting: deque[Row] = deque()
        self._lost: Counter[str] = Counter()
        self._sent = self._failed = self._rejected = self._in_flight = 0
        self._unlogged: Counter[str] = Counter()
        self._logged_at = -LOG_EVERY_S
        self._changed = threading.Condition()
        self._until = 0.0  # monotonic; when it must have ended, once it is to end
        self._client: httpx2.Client | None = None
        self._measured_at, self._takes_metrics = time.monotonic(), receiver.metrics
        self._thread: threading.Thread | None = None

    # ---------------------------------------------------------------- from the journal

    def seen(self, rows: Sequence[Row]) -> None:
        """Take rows to be sent, and add up what they took. Sends nothing itself."""
        with self._changed:
            self._waiting.extend(rows)
            self._drop_oldest()
            if self._thread is None and not self._until:
                self._thread = threading.Thread(target=self._run, daemon=True, name="otlp")
                self._thread.start()
            self._changed.notify()
        for n in range(0, len(rows), NOTED_AT_ONCE):
            self._measures.note(rows[n : n + NOTED_AT_ONCE])
            time.sleep(0)  # requests in other threads do not wait for all of them

    def numbers(self) -> dict[tuple[str, ...], float]:
        """What /metrics says of it."""
        with self._changed:
            lost = {
                ("export_lost_requests", reason): float(self._lost[reason]) for reason in ("full", "refused", "closed")
            }
            return lost | {
                ("export_waiting_requests",): len(self._waiting) + self._in_flight,
                ("exported_requests",): self._sent,
                ("export_rejected_spans",): self._rejected,
                ("export_failures",): self._failed,
            }

    def close(self, *, within_s: float = 5.0) -> None:
        """Send what waits, in this time at most. What is left is lost, and counted."""
        with self._changed:
            self._until = time.monotonic() + within_s
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(within_s)
        with self._changed:
            left = len(self._waiting) + self._in_flight
            self._waiting.clear()
            self._in_flight = 0
        if left:
            self._lose("closed", left, "the server ends", now=True)
        elif self._unlogged:
            self._log_losses()

    # ---------------------------------------------------------------- to the receiver

    def _run(self) -> None:
        pause_s = PAUSE_S
        while rows := self._next():
            try:
                if rows[0] is not None:
                    self._send([row for row in rows if row is not None])
                pause_s = PAUSE_S
                self._send_metrics()
            except _Later as error:
                self._put_back([row for row in rows if row is not None], error)
                if self._until:
                    break
                wait_s = error.after_s or pause_s * random.uniform(0.8, 1.2)  # noqa: S311  so that not all come at once
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                self._sleep(wait_s)
            except Exception as error:  # a background task ends here: these rows are lost, the others are not
                self._give_up(len(rows), f"{type(error).__name__}: {error}")
        if self._until:
            self._last_metrics()
        if self._client is not None:
            self._client.close()

    def _next(self) -> list[Row | None]:
        """The rows to send next, [None] where it is only time for numbers; nothing where it is to end and nothing waits."""
        with self._changed:
            if not self._until and len(self._waiting) < AT_ONCE:
                self._changed.wait(EVERY_S)
            while not self._waiting:
                if self._until:
                    return []
                left_s = self._measured_at + METRICS_EVERY_S - time.monotonic()
                if self._takes_metrics and left_s <= 0:
                    return [None]
                self._changed.wait(left_s if self._takes_metrics else None)
            rows: list[Row | None] = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            self._in_flight = len(rows)
            return rows

    def _send(self, rows: Sequence[Row]) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        message = self._tracing.request(rows, self._resource)
        try:
            answered = self._post("traces", message)
        except _Never as error:
            self._give_up(len(rows), str(error))
            return
        with self._changed:
            self._sent += len(rows)
            self._in_flight = 0
        try:
            said = ExportTraceServiceResponse.FromString(answered).partial_success
        except Exception:  # some answer in JSON, or with words
            return
        if said.rejected_spans:
            with self._changed:
                self._rejected += said.rejected_spans
            log("spans rejected", level="warning", spans=said.rejected_spans, said=said.error_message[:MOST_SAID])

    def _send_metrics(self, *, now: bool = False) -> None:
        """The numbers, when it is time. They are sums since the start: what did not arrive is in the next ones."""
        if not self._takes_metrics or (not now and time.monotonic() - self._measured_at < METRICS_EVERY_S):
            return
        self._measured_at = time.monotonic()
        try:
            self._post("metrics", self._measures.request(self._own(), self._resource, self._version))
        except _Later as error:
            self._fail(f"metrics: {error}")
        except _Never as error:  # some receivers take spans only
            self._takes_metrics = False
            log("numbers are not sent any more", level="warning", why=str(error))

    def _last_metrics(self) -> None:
        if self._sent and not self._waiting:
            self._send_metrics(now=True)

    def _post(self, signal: str, message: _Message) -> bytes:
        """What the receiver answered. Raises _Later or _Never."""
        import httpx2

        if self._client is None:
            self._client = httpx2.Client(verify=self._trusted, follow_redirects=False)
        timeout_s = max(0.1, min(TIMEOUT_S, self._until - time.monotonic())) if self._until else TIMEOUT_S
        headers = {
            "content-type": "application/x-protobuf", "content-encoding": "gzip", "user-agent": f"penstock/{self._version}",
            **self._receiver.headers,
        }  # fmt: skip
        data = gzip.compress(message.SerializeToString(), 3, mtime=0)
        address, until = self._receiver.address(signal), time.monotonic() + timeout_s
        try:
            with self._client.stream("POST", address, content=data, headers=headers, timeout=timeout_s) as response:
                if response.status_code in AGAIN:
                    raise _Later(f"status {response.status_code}", _seconds(response.headers.get("retry-after", "")))
                if not response.is_success:
                    raise _Never(f"status {response.status_code}")
                return _read(response, until)
        except httpx2.HTTPError as error:
            raise _Later(f"no answer: {type(error).__name__}") from error

    # ---------------------------------------------------------------- what goes wrong

    def _put_back(self, rows: Sequence[Row], error: Exception) -> None:
        with self._changed:
            self._waiting.extendleft(reversed(rows))
            self._in_flight = 0
            self._drop_oldest()
        self._fail(str(error))

    def _drop_oldest(self) -> None:
        over = len(self._waiting) - MOST_WAITING
        for _ in range(over):
            self._waiting.popleft()
        if over > 0:
            self._lose("full", over, "too many wait")

    def _give_up(self, rows: int, why: str) -> None:
        with self._changed:
            self._in_flight = 0
        self._failed += 1
        self._lose("refused", rows, why)

    def _fail(self, why: str) -> None:
        self._failed += 1
        self._unlogged[f"failed: {why}"] += 1
        self._log_losses(seldom=True)

    def _lose(self, reason: str, rows: int, why: str, *, now: bool = False) -> None:
        self._lost[reason] += rows
        self._unlogged[f"{reason}: {why}"] += rows
        self._log_losses(seldom=not now)

    def _log_losses(self, *, seldom: bool = False) -> None:
        """Once a minute at most: a receiver that is gone for a day is no news each second."""
        if seldom and time.monotonic() - self._logged_at < LOG_EVERY_S:
            return
        self._logged_at = time.monotonic()
        why = "; ".join(sorted(self._unlogged))[: 2 * MOST_SAID]
        self._unlogged.clear()
        log(
            "telemetry not sent", level="warning", lost_requests=sum(self._lost.values()), failures=self._failed,
            waiting=len(self._waiting), why=why,
        )  # fmt: skip

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with self._changed:
            while not self._until and (left_s := until - time.monotonic()) > 0:
                self._changed.wait(left_s)


def _read(response: httpx2.Response, until: float) -> bytes:
    """The answer of a receiver that has taken what it was sent; as much of it as is worth waiting for."""
    answered = b""
    for piece in response.iter_bytes():
        answered += piece
        if len(answered) > MOST_ANSWERED or time.monotonic() > until:
            break
    return answered


def _seconds(said: str) -> float:
    """Of a Retry-After: seconds, or a date. 0 where it says neither."""
    if re.fullmatch(r"\d{1,9}", said, re.ASCII):
        return min(float(said), LONGEST_SAID_S)
    from email.utils import parsedate_to_datetime

    try:
        return min(max(0.0, parsedate_to_datetime(said).timestamp() - time.time()), LONGEST_SAID_S)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _trusted(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=str(Path(ca_file).expanduser()))
    except (OSError, ValueError) as error:
        raise BadSetting(
            f"observe.otlp_ca_file: {ca_file} cannot be used: {error}", hint="certificates as PEM"
        ) from error
