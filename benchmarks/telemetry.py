"""OpenTelemetry costs a request nothing while it runs, and in the background under half a millisecond of CPU for eight rooms.

    python -m benchmarks.telemetry

On the way: CPU of the thread that serves, for the record of one request, with a receiver and without, in turn. Behind it: CPU of
the threads that add up, turn rows into spans, pack and send them to a receiver on this machine, for each request. Beside it: how
long another thread of the process, which works for 50 µs and rests for a millisecond, is kept waiting meanwhile.
"""

from __future__ import annotations

import gzip
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from benchmarks.journal import row as answered
from benchmarks.measure import show, versions, write
from penstock.observe.conventions import Names, Served
from penstock.observe.export import Exporter, Receiver
from penstock.observe.journal import Journal, Row
from penstock.observe.measures import Measures
from penstock.observe.metrics import Metrics
from penstock.observe.otlp import Tracing
from penstock.storage.database import Database

REQUESTS, ROUNDS = 4_000, 7
SERVED = {name: Served("openai", "gpt-5-mini", "api.openai.com", 443) for name in ("house", "small")}
NAMES = {"stable": Names(), "both, and OpenInference": Names("both", True)}


def plain(at: float) -> Row:
    """A call of one model."""
    return answered(at)._replace(app="", model="small", answer="", spans="", calls="")


KINDS: dict[str, Callable[[float], Row]] = {"a plain call": plain, "an answer of eight rooms": answered}


@contextmanager
def receiving(*, hangs: bool = False) -> Iterator[str]:
    """A receiver that takes everything, or one that never answers."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            if hangs:
                over.wait()
                return
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Who has left is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def exporter(url: str, names: Names) -> Exporter:
    return Exporter(Receiver(endpoint=url), names=names, served=SERVED, routes={}, label=lambda row: row.model)


def on_the_way(kind: Callable[[float], Row]) -> dict[str, float]:
    """µs of CPU of the serving thread for one `write`, by what the journal shows its rows to."""
    with tempfile.TemporaryDirectory() as name, receiving() as url, receiving(hangs=True) as hanging:
        ways: dict[str, Exporter | None] = {
            "nobody": None,
            "receiver": exporter(url, Names()),
            "hangs": exporter(hanging, Names()),
            "gone": exporter("http://127.0.0.1:9", Names()),
        }
        metrics = Metrics()

        def seen(to: Exporter) -> Callable[[Any], None]:
            def both(rows: Any) -> None:
                metrics.note(rows, lambda row: row.model)
                to.seen(rows)

            return both

        journals = {
            way: Journal(Database(Path(name) / f"{way}.db"), Path(name) / way, seen=seen(to) if to else None)
            for way, to in ways.items()
        }
        took: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(ROUNDS + 1):
            for way, journal in journals.items():
                rows = [kind(0.0) for _ in range(REQUESTS)]
                began = time.thread_time()
                for one in rows:
                    journal.write(one, ())
                if turn:  # the first is for warming up
                    took[way].append((time.thread_time() - began) / REQUESTS * 1e6)
                journal.drain()
        for journal in journals.values():
            journal.close()
        for to in ways.values():
            if to:
                to.close(within_s=0.2)
    return {way: statistics.median(each) for way, each in took.items()}


def behind(kind: Callable[[float], Row], names: Names) -> dict[str, float]:
    """µs of CPU in the background for each request, by what is done, and the bytes that are sent."""
    rows = [kind(0.0) for _ in range(REQUESTS)]
    metrics, measures = Metrics(), Measures(names, SERVED, label=lambda row: row.model)
    tracing, resource = Tracing(names, SERVED), Resource()
    found: dict[str, float] = {}

    def timed(what: str, work: Callable[[], Any]) -> Any:
        best = []
        for _ in range(3):
            began = time.process_time()
            result = work()
            best.append((time.process_time() - began) / REQUESTS * 1e6)
        found[what] = statistics.median(best)
        return result

    timed("numbers for /metrics", lambda: metrics.note(rows, lambda row: row.model))
    timed("numbers for OTLP", lambda: measures.note(rows))
    batches = [rows[n : n + 256] for n in range(0, len(rows), 256)]
    messages = timed("spans", lambda: [tracing.request(batch, resource) for batch in batches])
    data = timed("serialised", lambda: [message.SerializeToString() for message in messages])
    packed = timed("packed", lambda: [gzip.compress(each, 3, mtime=0) for each in data])
    found["bytes, unpacked"] = sum(map(len, data)) / REQUESTS
    found["bytes"] = sum(map(len, packed)) / REQUESTS
    with receiving() as url:
        to = exporter(url, names)
        began, wall = time.process_time(), time.perf_counter()
        to.seen(rows)
        to.close(within_s=120)
        found["all, with the receiver"] = (time.process_time() - began) / REQUESTS * 1e6
        found["requests a second"] = REQUESTS / (time.perf_counter() - wall)
        assert to.numbers()["exported_requests",] == REQUESTS
    return found


def beside(*, sending: bool) -> dict[str, float]:
    """Milliseconds that a short piece of work of another thread takes, while as many rows are sent as fit, and while none is."""
    rows = [answered(0.0) for _ in range(REQUESTS)]
    took: list[float] = []
    with receiving() as url:
        to = exporter(url, Names())
        if sending:
            to.seen(rows)
        over = time.perf_counter() + 60
        while len(took) < 500 and time.perf_counter() < over:
            began = time.perf_counter()
            time.sleep(0.001)
            until = time.thread_time() + 50e-6
            while time.thread_time() < until:
                pass
            took.append((time.perf_counter() - began) * 1e3 - 1)
        waiting = to.numbers()["export_waiting_requests",]
        assert bool(waiting) is sending, "there was something to send all the time"
        to.close(within_s=0.1)
    took.sort()
    return {"p50": took[len(took) // 2], "p95": took[len(took) * 95 // 100], "p99": took[len(took) * 99 // 100]}


def main() -> None:
    felt = {"nothing is sent": beside(sending=False), "all is sent at once": beside(sending=True)}
    show("ms that 50 µs of work of another thread take", {key: key for key in ("p50", "p95", "p99")}, felt)
    way = {kind: on_the_way(make) for kind, make in KINDS.items()}
    back = {f"{kind}; {which}": behind(make, names) for kind, make in KINDS.items() for which, names in NAMES.items()}
    show("µs of CPU of the serving thread for one record", {k: k for k in ("nobody", "receiver", "hangs", "gone")}, way)
    show("µs of CPU in the background for one request", {key: key for key in next(iter(back.values()))}, back)
    figures = {
        "versions": versions(["opentelemetry-proto", "protobuf", "httpx2"]), "requests": REQUESTS, "rounds": ROUNDS,
        "serving_thread_us": way, "background": back,
        "beside_ms": felt,
    }  # fmt: skip
    write("telemetry", claim=__doc__, command="python -m benchmarks.telemetry", figures=figures)


if __name__ == "__main__":
    main()
