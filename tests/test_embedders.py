"""Every embedder that settings can name keeps the promise, and two of them never meet in one version."""

import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeLibrary

from penstock import encoder
from penstock.config import DocumentsSettings, EmbedderSettings
from penstock.documents.embedders import BATCH, Remote, build
from penstock.errors import BadSetting, PenstockError, StorageError, UpstreamError
from penstock.testing import EmbedderContract, WordEmbedder
from penstock.types import Embedder

TEXTS = ["Returns are free for thirty days.", "Der Versand dauert drei Tage."]


def export(folder: Path, *, inside: str = "") -> Path:
    """The shipped weights, laid out as exporters write a model."""
    (folder / inside).mkdir(parents=True)
    shipped = encoder.WEIGHTS / "minilm"
    shutil.copy(shipped / "encoder.float32.onnx", folder / inside / "model.onnx")
    shutil.copy(shipped / "encoder.bin", folder / inside / "encoder.bin")
    shutil.copy(shipped / "tokenizer.json", folder / "tokenizer.json")
    (folder / "config.json").write_text("{}")
    return folder


def named(model: str, folder: Path = Path(), **others: Any) -> Embedder:
    return build(EmbedderSettings(model=model, **others), folder)


# ---------------------------------------------------------------- the shipped one, and folders


class TestShipped(EmbedderContract):
    def make(self) -> Embedder:
        return named("minilm")


class TestFolderOfOnnx(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        export(tmp_path / "mine", inside="onnx")

    def make(self) -> Embedder:
        return named("mine", self.folder)


def test_a_folder_with_the_shipped_weights_gives_the_shipped_vectors(tmp_path: Path):
    export(tmp_path / "models/mine")
    local = named("models/mine", tmp_path)
    shipped = named("minilm", precision="float32")

    assert np.allclose(local.embed(TEXTS), shipped.embed(TEXTS), atol=1e-5)
    assert local.id.startswith("mine@")
    assert local.id != shipped.id


def test_a_text_is_read_as_far_as_the_folder_says(tmp_path: Path):
    export(tmp_path / "mine")
    (tmp_path / "mine/sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    vectors = named(str(tmp_path / "mine")).embed(["one two three four five six " + end for end in ("seven", "eight")])

    assert np.allclose(vectors[0], vectors[1])


def test_the_precision_of_the_shipped_one_is_part_of_its_name():
    assert len({named("minilm", precision=precision).id for precision in ("int8", "float32")}) == 2


def test_a_folder_that_is_not_there_is_refused_with_what_there_could_be(tmp_path: Path):
    with pytest.raises(BadSetting, match=r"'minlm', which is no folder\n.*minilm, a folder, hub:owner/name"):
        named("minlm", tmp_path)


@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json"])
def test_a_folder_without_a_model_is_refused_with_how_to_make_one(tmp_path: Path, missing: str):
    (export(tmp_path / "mine") / missing).unlink()

    with pytest.raises(BadSetting, match="optimum-cli export onnx"):
        named("mine", tmp_path)


@pytest.mark.parametrize("damaged", ["model.onnx", "encoder.bin", "tokenizer.json"])
def test_a_damaged_model_is_named(tmp_path: Path, damaged: str):
    (export(tmp_path / "mine") / damaged).write_bytes(b"not what it was")

    with pytest.raises(StorageError, match=r"the encoder in .*mine cannot be loaded"):
        named("mine", tmp_path)


# ---------------------------------------------------------------- the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's own cache in a folder of the test, and nothing behind it that answers."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_a_repository_in_the_hubs_cache_is_used_without_the_network(hub: Path):
    revision = "0123456789012345678901234567890123456789"
    repository = hub / "models--acme--small"
    export(repository / "snapshots" / revision, inside="onnx")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(revision)
    found = named("hub:acme/small")

    assert found.id.startswith("acme/small@")
    assert found.embed(TEXTS).shape == (2, 384)


def test_a_hub_that_cannot_be_reached_is_an_upstream_error(hub: Path):
    with pytest.raises(UpstreamError, match=r"did not give 'acme/small'.*(?s:.)*download it elsewhere"):
        named("hub:acme/small")


def test_what_can_be_no_repository_is_a_wrong_setting(hub: Path):
    for name in ("", "a/b/c", "../x"):
        with pytest.raises(BadSetting, match="is no repository on the hub"):
            named(f"hub:{name}")


def test_a_missing_hub_package_says_what_installs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    with pytest.raises(BadSetting, match="pip install huggingface_hub"):
        named("hub:acme/small")


# ---------------------------------------------------------------- a server

Answer = tuple[int, dict[str, str], bytes]


class Models:
    """An OpenAI-compatible server. `answer` says what it answers to a body; without one it embeds."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, Any]], Answer | None] = lambda _: None
        self.embedder = WordEmbedder()
        models = self

        class Door(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                models.bodies.append(body)
                models.headers.append({name.lower(): value for name, value in self.headers.items()})
                status, headers, data = models.answer(body) or models.embedded(body)
                if self.path != "/v1/embeddings":
                    status, headers, data = 404, {}, b"no such path"
                self.send_response(status)
                for name, value in {"content-length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # whoever asked did not wait
                    self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def embedded(self, body: dict[str, Any]) -> Answer:
        rows = [{"index": n, "embedding": v.tolist()} for n, v in enumerate(self.embedder.embed(body["input"]))]
        return 200, {}, json.dumps({"data": rows[::-1]}).encode()  # in the wrong order, as some send them

    def in_turn(self, *answers: Answer | None) -> None:
        """Give these answers first; None embeds."""
        left = list(answers)
        self.answer = lambda _: left.pop(0) if left else None


@pytest.fixture
def models() -> Iterator[Models]:
    models = Models()
    yield models
    models.server.shutdown()
    models.server.server_close()


@pytest.fixture
def remote(models: Models) -> Iterator[Remote]:
    remote = Remote(models.url, "words", "sk-0123", timeout_s=5, pauses_s=(0, 0))
    yield remote
    remote.close()


def vectors(*rows: object) -> Answer:
    data = [{"index": n, "embedding": row} for n, row in enumerate(rows)]
    return 200, {}, json.dumps({"data": data}).encode()


class TestServer(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _server(self, models: Models) -> Iterator[None]:
        self.url, self.made = models.url, list[Remote]()
        yield
        for made in self.made:
            made.close()

    def make(self) -> Embedder:
        made = named(self.url + "/", name="words")
        assert isinstance(made, Remote)
        self.made.append(made)
        return made


def test_texts_go_in_batches_and_vectors_come_in_their_order(models: Models, remote: Remote):
    texts = [f"passage number {n}" for n in range(2 * BATCH + 3)]
    found = remote.embed(texts)

    assert np.allclose(found, WordEmbedder().embed(texts), atol=1e-6)
    assert [len(body["input"]) for body in models.bodies] == [BATCH, BATCH, 3]
    assert models.bodies[0] | {"input": []} == {"model": "words", "input": [], "encoding_format": "float"}


def test_the_key_goes_in_the_header_and_nowhere_else(models: Models, remote: Remote):
    remote.embed(TEXTS)

    assert models.headers[0]["authorization"] == "Bearer sk-0123"
    assert "sk-0123" not in json.dumps(models.bodies) + remote.id


def test_without_a_key_no_key_is_sent(models: Models):
    remote = Remote(models.url, "words", "", timeout_s=5)
    remote.embed(TEXTS)
    remote.close()

    assert "authorization" not in models.headers[0]


@pytest.mark.parametrize("busy", [(429, {"retry-after": "0"}, b"slow down"), (500, {}, b""), (503, {}, b"loading")])
def test_a_server_that_is_busy_for_a_moment_is_asked_again(models: Models, remote: Remote, busy: Answer):
    models.in_turn(busy, busy, None)

    assert remote.embed(TEXTS).shape == (2, 64)
    assert len(models.bodies) == 3


def test_a_server_that_stays_down_is_given_up_with_its_own_words(models: Models, remote: Remote):
    models.answer = lambda _: (503, {}, b"the model is not loaded" + b"." * 1000)

    with pytest.raises(UpstreamError, match="answered 503: the model is not loaded") as caught:
        remote.embed(TEXTS)
    assert len(models.bodies) == 3
    assert len(str(caught.value)) < 400


def test_a_refused_key_is_not_tried_again(models: Models, remote: Remote):
    models.answer = lambda _: (401, {}, b'{"error": {"message": "missing key"}}')

    with pytest.raises(UpstreamError, match="set embedder"):
        remote.embed(TEXTS)
    assert len(models.bodies) == 1


def test_a_request_that_is_wrong_is_not_tried_again(models: Models, remote: Remote):
    models.answer = lambda _: (400, {}, b"input too long")

    with pytest.raises(UpstreamError, match="answered 400: input too long"):
        remote.embed(TEXTS)
    assert len(models.bodies) == 1


def test_a_redirect_is_not_followed_with_the_key(models: Models, remote: Remote):
    models.answer = lambda _: (307, {"location": "http://127.0.0.1:9/v1/embeddings"}, b"")

    with pytest.raises(UpstreamError, match="answered 307"):
        remote.embed(TEXTS)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, b"<html>hello</html>"),
        (200, {}, b"[]"),
        (200, {}, b'{"data": 3}'),
        (200, {}, b'{"data": ["x", "y"]}'),
        (200, {}, b'{"data": [{"embedding": [1]}, {"embedding": [1]}]}'),
        (200, {}, b"\xff\xfe"),
        vectors([1.0, 2.0]),
        vectors([1.0], [1.0], [1.0]),
        vectors([1.0, 2.0], [1.0]),
        vectors([], []),
        vectors(1.0, 2.0),
        vectors([[1.0]], [[2.0]]),
        vectors([1.0, None], [1.0, 2.0]),
        vectors([1.0, float("nan")], [1.0, 2.0]),
        vectors([1e300, 1.0], [1.0, 2.0]),
        vectors(["x"], ["y"]),
    ],
)
def test_what_are_no_embeddings_is_an_upstream_error(models: Models, remote: Remote, answer: Answer):
    models.answer = lambda _: answer

    with pytest.raises(UpstreamError, match="gave no embeddings for 2 texts"):
        remote.embed(TEXTS)


def test_a_server_that_changes_its_dimension_is_refused(models: Models, remote: Remote):
    models.in_turn(vectors([3.0, 4.0], [1.0, 0.0]), vectors([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]))

    assert remote.embed(TEXTS).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [1.0, 0.0]]
    with pytest.raises(UpstreamError, match="gave 3 dimensions where it gave 2 before"):
        remote.embed(TEXTS)


def test_a_vector_without_a_direction_gets_one(models: Models, remote: Remote):
    models.answer = lambda _: vectors([0.0, 0.0], [0.0, 2.0])

    assert np.linalg.norm(remote.embed(TEXTS), axis=1).tolist() == [1.0, 1.0]


def test_a_server_that_does_not_answer_in_time_is_given_up(models: Models):
    release = threading.Event()
    models.answer = lambda _: (release.wait(5), vectors([1.0], [1.0]))[1]  # type: ignore[func-returns-value]
    remote = Remote(models.url, "words", "", timeout_s=0.1)

    with pytest.raises(UpstreamError, match="did not answer in time"):
        remote.embed(TEXTS)
    release.set()
    remote.close()


def test_a_server_that_is_not_there_is_an_upstream_error():
    remote = Remote("http://127.0.0.1:9/v1", "words", "", timeout_s=1, pauses_s=(0,))

    with pytest.raises(UpstreamError, match="9/v1 did not answer"):
        remote.embed(TEXTS)
    remote.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EmbedderSettings(model="http://127.0.0.1:9/v1"), "embedder.name is empty"),
        (EmbedderSettings(model="http://[::1", name="x"), "which is no address"),
        (EmbedderSettings(model="http://127.0.0.1:9/v1", name="x", api_key="sk-ü"), "no key can have"),  # type: ignore[arg-type]
        (EmbedderSettings(model="http://127.0.0.1:9/v1", name="x", api_key="a\nb"), "no key can have"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_no_server_can_have_are_refused(settings: EmbedderSettings, message: str):
    with pytest.raises(BadSetting, match=message):
        build(settings, Path())


# ---------------------------------------------------------------- one version, one embedder


def test_another_embedder_makes_a_new_version_in_which_every_passage_is_embedded_anew(
    make_library: MakeLibrary, folder: Path
):
    make_library(WordEmbedder("one")).create("shop").add([str(folder)])
    collection = make_library(WordEmbedder("two", dim=32)).create("shop")
    report = collection.sync()
    embedders = {segment.embedder for segment in collection.snapshot().segments}

    assert (report.version, report.embedded, report.reused) == (2, report.passages, 0)
    assert embedders == {"two@32"}
    assert [version.embedder for version in collection.versions()] == ["one@64", "two@32"]
    assert collection.search("Parcels to Norway").hits[0].passage.source == "shipping.md"


def test_a_new_file_with_another_embedder_never_makes_a_mixed_version(make_library: MakeLibrary, folder: Path):
    make_library(WordEmbedder("one")).create("shop").add([str(folder)])
    (folder / "gifts.md").write_text("# Gifts\n\nGift cards are valid for three years.\n")
    collection = make_library(WordEmbedder("two")).create("shop")
    collection.sync()

    assert {segment.embedder for segment in collection.snapshot().segments} == {"two@64"}
    assert collection.search("How long are gift cards valid?").hits[0].passage.source == "gifts.md"
    assert collection.search("Parcels to Norway").hits[0].passage.source == "shipping.md"


def test_an_embedder_that_fails_leaves_the_live_version_as_it_was(
    make_library: MakeLibrary, folder: Path, models: Models, remote: Remote
):
    collection = make_library(remote).create("shop")
    collection.add([str(folder)])
    (folder / "gifts.md").write_text("# Gifts\n\nGift cards are valid for three years.\n")
    models.answer = lambda _: (400, {}, b"out of credit")
    with pytest.raises(UpstreamError, match="out of credit"):
        collection.sync()
    models.answer = lambda _: None

    assert [version.name for version in collection.versions()] == ["v1"]
    assert collection.sync().added == ["gifts.md"]


@pytest.mark.parametrize("dim", [64, 32])
def test_a_question_in_the_vectors_of_another_embedder_is_refused(make_library: MakeLibrary, folder: Path, dim: int):
    make_library(WordEmbedder("one")).create("shop").add([str(folder)])
    collection = make_library(WordEmbedder("two", dim=dim)).create("shop")

    with pytest.raises(PenstockError, match=r"docs sync"):
        collection.search("Parcels to Norway")


def test_going_back_to_the_first_embedder_is_one_more_version(make_library: MakeLibrary, folder: Path):
    one, two = WordEmbedder("one"), WordEmbedder("two")
    for embedder in (one, two, one):
        make_library(embedder, shop=DocumentsSettings(paths=(str(folder),)))["shop"].sync()
    collection = make_library(one)["shop"]

    assert [version.embedder for version in collection.versions()] == ["one@64", "two@64", "one@64"]
    assert collection.search("Parcels to Norway").hits[0].passage.source == "shipping.md"
