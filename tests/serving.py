"""Real servers on loopback: in a thread of the tests, or as the program that people start."""

import functools
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from penstock import encoder
from penstock.assemble import House
from penstock.config import load
from penstock.documents.library import Library
from penstock.evaluate import cases
from penstock.evaluate.kept import told_of
from penstock.evaluate.result import Result
from penstock.evaluation import Evaluation
from penstock.server.app import App
from penstock.server.run import Server, free_socket
from penstock.types import Embedder

TLS = Path(__file__).parent / "data" / "tls"
shipped = functools.cache(encoder.shipped)  # loaded once for all servers of a test run

HANDBOOK = {
    "returns.md": "# Returns\n\nBooks can be returned within thirty days. Sale items are final.\n\n"
    "Gift cards cannot be returned 🎁. Refunds arrive after five working days.\n",
    "shipping.md": "# Shipping\n\n## Norway\n\nParcels to Norway take five days. Express parcels take two days.\n\n"
    "## Japan\n\nParcels to Japan take twelve days.\n",
    "hours.txt": "The shop in Bergen opens at nine and closes at six. On Sundays the shop is closed.\n",
}
PAY = {"salaries.md": "# Salaries\n\nThe director earns 90,000 a year.\n"}
KEYS = {"boss": "boss-key-0123456789", "clerk": "clerk-key-0123456789"}
WITH_KEYS = f"""
[[documents.handbook.rules]]
match = "salaries*"
access = ["hr"]
[keys.boss]
key = "{KEYS["boss"]}"
roles = ["hr"]
admin = true
[keys.clerk]
key = "{KEYS["clerk"]}"
roles = ["sales"]
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@dataclass
class Served:
    """A running server."""

    house: House
    server: Server
    url: str
    clients: list[httpx2.Client] = field(default_factory=list)

    def client(self, key: str = "", **headers: str) -> httpx2.Client:
        if key:
            headers["authorization"] = f"Bearer {key}"
        trusted = ssl.create_default_context(cafile=TLS / "authority.pem") if self.url.startswith("https") else True
        self.clients.append(httpx2.Client(base_url=self.url, headers=headers, timeout=60, verify=trusted))
        return self.clients[-1]


@contextmanager
def serving(
    folder: Path, toml: str = "", *, embedder: Embedder | None = None, wait: bool = True, documents: bool = True
) -> Iterator[Served]:
    """Index what the settings name, and serve it from a home in that folder. Without documents it is a plain gateway."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "penstock.toml").write_text(toml, "utf-8")
    settings = load(folder / "penstock.toml", environment={})
    library = documents and Library(
        settings.home_path,
        lambda: embedder or shipped(),
        folder=settings.folder,
        collections=settings.documents,
        web=settings.web,
    )
    house = House(settings, library or None)
    for name in library.names() if library else ():
        library[name].sync()
    ready = threading.Event()
    server = Server(App(house), started=ready.set)
    listener = free_socket("127.0.0.1", 0)
    scheme = "https" if settings.server.tls_cert else "http"
    served = Served(house, server, f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert not wait or ready.wait(60)
        yield served
    finally:
        for client in served.clients:
            client.close()
        server.should_exit = True
        thread.join(60)


@contextmanager
def up(folder: Path, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`penstock up` as a process of its own, and its address. What it prints afterwards is in its pipes."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "up", "--port", "0", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout
            lines = iter(process.stdout.readline, "")
            address = next((found[0] for line in lines if (found := re.search(r"https?://[\w.:\[\]]+", line))), "")
            assert address, process.stderr.read() if process.stderr else ""
            yield process, address
        finally:
            if process.poll() is None:
                process.kill()


ROWS = [
    {"id": "good", "question": "How long can books be returned?", "expected": "thirty days", "answer": "Thirty days."},
    {
        "id": "poor",
        "question": "What costs <b>express</b>?",
        "expected": "ten euros",
        "answer": "=SUM(1) and nine pounds",
    },
    {"id": "none", "question": "Who is Eve Adams?", "expected": "nobody", "answer": "", "status": "failed"},
]


def evaluated(folder: Path, rows: Iterable[dict[str, Any]] = ROWS) -> Result:
    """Answers that were given, scored."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Evaluation(cases=cases.load(path), scores=("token_f1", "answered")).run()


def kept(house: House, result: Result) -> str:
    """The id of a run that came to this."""
    run = house.runs.begin("evaluation", target="helper", by="somebody")
    house.runs.end(run, "done", told_of(result), result.plain())
    return run


SHOP_LOG = [
    {
        "id": f"talk-{n}", "release": f"2026.{5 + n % 2}", "intent": ("order status", "refund")[n // 2 % 2], "language": "en",
        "customer": f"c{n % 17}", "started": f"2026-05-{1 + n % 28:02}T10:00:00+00:00",
        "turns": [
            {"role": "customer", "text": "Where is my order #W12?", "at": f"2026-05-{1 + n % 28:02}T10:00:00+00:00"},
            {
                "role": "bot", "text": f"Order #W12 is delivered, it cost {'99.00' if n % 5 == 0 else '25.00'} EUR. <b>Thanks</b>",
                "latency_ms": 120 + n,
                "rows": [{"source": "orders/#W12", "values": {"order": "#W12", "status": "delivered", "total": "25.00"}}],
            },
            {"role": "customer", "text": "Thank you, that helps." if n % 3 else "That is useless, I am angry!"},
            {"role": "bot", "text": "You are welcome."},
        ],
    }
    for n in range(60)
]  # fmt: skip


def kept_log(house: House, folder: Path) -> str:
    """The id of a run in which a log of conversations was evaluated, as the console does it."""
    from penstock.server.console import supporting

    run = house.runs.begin("support", target="may.jsonl", by="somebody")
    files = folder / "home" / "support" / run
    files.mkdir(parents=True)
    (files / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SHOP_LOG))
    (files / "changes.txt").write_text("2026-05-09 a new prompt\n")
    (files / "ratings.csv").write_text(
        "conversation,rater,metric,value\n" + "".join(f"talk-{n},anna,resolved,{int(n % 3 > 0)}\n" for n in range(40))
    )
    supporting.evaluated(house, run, files, {"parent": 0, "name": "may.jsonl"})
    return run


def asked(model: str, *said: str, **more: Any) -> dict[str, Any]:
    """The body of a chat request; what was said before goes user, assistant, user."""
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]
    return {"model": model, "messages": messages, **more}


def chunks(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The chunks of a stream, which must end as OpenAI's do."""
    *found, last = [line.removeprefix("data: ") for line in lines if line]
    assert last == "[DONE]"
    return [json.loads(chunk) for chunk in found]
