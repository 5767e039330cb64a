"""What all tests share: no network but loopback, no settings from outside, a home folder of their own."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from services import Service

from penstock.config import DocumentsSettings, WebSettings
from penstock.documents.catalog import digest
from penstock.documents.collection import Collection
from penstock.documents.draft import Raw
from penstock.documents.ingest import Incoming, Opened
from penstock.documents.library import Library
from penstock.documents.read_text import read_plain
from penstock.testing import WordEmbedder
from penstock.types import Document, Embedder

hypothesis.settings.register_profile("penstock", deadline=None)  # a slow machine is no mistake of the code
hypothesis.settings.load_profile("penstock")

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that forgets to bring its own server fails, instead of asking somebody else's."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:  # type: ignore[index]
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    workplace = tmp_path / "workplace"
    workplace.mkdir()
    monkeypatch.chdir(workplace)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


MakeLibrary = Callable[..., Library]


@pytest.fixture
def make_library(home: Path, tmp_path: Path) -> Iterator[MakeLibrary]:
    """Open a library in the test's home: several times where a test wants several processes' views."""
    opened: list[Library] = []

    def make(embedder: Embedder | None = None, **collections: DocumentsSettings) -> Library:
        chosen = embedder or WordEmbedder()
        web = WebSettings(allow_private=True, delay_s=0)
        opened.append(Library(home, lambda: chosen, folder=tmp_path, collections=collections, web=web))
        return opened[-1]

    yield make
    for library in opened:
        library.close()


@pytest.fixture
def library(make_library: MakeLibrary) -> Library:
    return make_library()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three documents."""
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "returns.md").write_text("# Returns\n\nBooks can be returned within thirty days. Sale items are final.\n")
    (folder / "shipping.md").write_text(
        "# Shipping\n\nParcels to Norway take five days. Express parcels take two days.\n"
    )
    (folder / "hours.txt").write_text("The shop in Bergen opens at nine and closes at six.\n")
    return folder


def incoming(document: Document) -> Incoming:
    """A document as if it had been read from somewhere."""
    if not document.blocks:
        (read,) = read_plain(Raw(document.source, document.text.encode()))
        fields = {name: getattr(document, name) for name in Document.__slots__ if name != "blocks"}
        document = Document(blocks=read.blocks, **fields)
    content = digest(document.source, document.text, document.title, repr(document.access), repr(document.metadata))
    return Incoming(document.source, "", lambda: Opened(content, "", [document]))


def take(collection: Collection, *documents: Document) -> None:
    collection.take([incoming(document) for document in documents])


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()
