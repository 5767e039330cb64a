"""An OpenTelemetry receiver for tests: takes OTLP over HTTP as the collector does, or answers as it is told.

with receiver(Reply(503), Reply()) as got:      # each message takes the next reply, and the last one stays
    ...                                         # endpoint = got.url
    assert got.spans[0].name == "chat small"
"""

import gzip
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["Receiver", "Reply", "plain", "receiver"]


@dataclass(frozen=True)
class Reply:
    """What becomes of one message."""

    status: int = 200
    wait_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    rejected: int = 0  # spans
    trickle_s: float = 0.0  # between two bytes of an answer that does not end


@dataclass
class Receiver:
    """The server, and what it has taken."""

    replies: Sequence[Reply]
    url: str = ""
    seen: list[tuple[str, dict[str, str], float]] = field(default_factory=list)  # path, headers, when
    traces: list[ExportTraceServiceRequest] = field(default_factory=list)
    numbers: list[ExportMetricsServiceRequest] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for message in list(self.traces)
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def metrics(self) -> dict[str, Metric]:
        """Those of the last message."""
        if not self.numbers:
            return {}
        found = self.numbers[-1].resource_metrics[0].scope_metrics[0].metrics
        return {metric.name: metric for metric in found}

    def resource(self) -> dict[str, Any]:
        return plain(self.traces[0].resource_spans[0].resource.attributes)


def plain(attributes: Any) -> dict[str, Any]:
    """OTLP's attributes as plain values."""

    def value(one: Any) -> Any:
        kind = one.WhichOneof("value")
        if kind == "array_value":
            return [value(each) for each in one.array_value.values]
        return getattr(one, kind)

    return {attribute.key: value(attribute.value) for attribute in attributes}


@contextmanager
def receiver(*replies: Reply, port: int = 0) -> Iterator[Receiver]:
    got = Receiver(replies or (Reply(),))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            reply = got.replies[min(len(got.seen), len(got.replies) - 1)]
            got.seen.append(
                (self.path, {name.lower(): value for name, value in self.headers.items()}, time.monotonic())
            )
            if reply.wait_s and got.over.wait(reply.wait_s):
                return
            assert self.headers["content-type"] == "application/x-protobuf"
            assert self.headers["content-encoding"] == "gzip"
            answer = b""
            if reply.status == 200:
                answer = self.taken(gzip.decompress(data), reply)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(1_000_000 if reply.trickle_s else len(answer)))
            self.end_headers()
            while reply.trickle_s and not got.over.wait(reply.trickle_s):
                self.wfile.write(b"x")
            self.wfile.write(answer)

        def taken(self, data: bytes, reply: Reply) -> bytes:
            if self.path.endswith("/v1/metrics"):
                got.numbers.append(ExportMetricsServiceRequest.FromString(data))
                return ExportMetricsServiceResponse().SerializeToString()
            assert self.path.endswith("/v1/traces")
            got.traces.append(ExportTraceServiceRequest.FromString(data))
            answer = ExportTraceServiceResponse()
            if reply.rejected:
                answer.partial_success.rejected_spans = reply.rejected
                answer.partial_success.error_message = "too many attributes"
            return answer.SerializeToString()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            """A client that has left is no news."""

    server = Server(("127.0.0.1", port), Handler)
    got.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield got
    finally:
        got.over.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
