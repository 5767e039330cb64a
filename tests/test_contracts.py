"""Every implementation of a promise keeps it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import take

from penstock import encoder
from penstock.answer import Quoted
from penstock.config import WebSettings
from penstock.documents.embedders import Remote
from penstock.documents.library import Library
from penstock.documents.quote import Quotes
from penstock.testing import AnswererContract, EmbedderContract, IndexContract, QuoterContract, WordEmbedder
from penstock.types import Answerer, Embedder, Index, Quoter


class TestWordEmbedder(EmbedderContract):
    def make(self) -> Embedder:
        return WordEmbedder()


class TestShippedEncoderInInt8(EmbedderContract):
    def make(self) -> Embedder:
        return encoder.shipped(precision="int8")


class TestShippedEncoderInFloat32(EmbedderContract):
    def make(self) -> Embedder:
        return encoder.shipped(precision="float32", threads=2)


class _Embeddings(BaseHTTPRequestHandler):
    """An OpenAI-compatible /embeddings endpoint in front of the word embedder, rows in the wrong order as some servers send."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        rows = [{"index": n, "embedding": v.tolist()} for n, v in enumerate(WordEmbedder().embed(body["input"]))]
        answer = json.dumps({"data": rows[::-1], "model": body["model"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None: ...


class TestRemoteEmbedder(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Embeddings)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}/v1"
        self.made: list[Remote] = []
        yield
        for remote in self.made:
            remote.close()
        server.shutdown()
        server.server_close()

    def make(self) -> Embedder:
        self.made.append(Remote(self.url, "words", "", timeout_s=5))
        return self.made[-1]


class TestCollection(IndexContract):
    @pytest.fixture(autouse=True)
    def _library(self, tmp_path: Path) -> Iterator[None]:
        self.library = Library(tmp_path / "home", WordEmbedder, folder=tmp_path, collections={}, web=WebSettings())
        yield
        self.library.close()

    def make(self) -> Index:
        collection = self.library.create("shop")
        if not collection.versions():
            take(collection, *self.DOCUMENTS)
        return collection


class TestCollectionInManySegments(TestCollection):
    """The same promises, with every document in a segment of its own."""

    def make(self) -> Index:
        collection = self.library.create("shop")
        if not collection.versions():
            for n in range(1, len(self.DOCUMENTS) + 1):
                take(collection, *self.DOCUMENTS[:n])
        return collection


class TestQuotes(QuoterContract):
    def make(self) -> Quoter:
        return Quotes()


class TestQuoted(AnswererContract):
    """The answers of quote mode, over a collection."""

    @pytest.fixture(autouse=True)
    def _collection(self, tmp_path: Path) -> Iterator[None]:
        library = Library(tmp_path / "home", WordEmbedder, folder=tmp_path, collections={}, web=WebSettings())
        self.collection = library.create("shop")
        take(self.collection, *IndexContract.DOCUMENTS)
        yield
        library.close()

    def make(self) -> Answerer:
        return Quoted(self.collection, Quotes())
