"""The weights that come with Penstock: they are the recorded ones, they load, and they agree with the model they stand for."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock import encoder
from penstock.encoder import Encoder, Precision
from penstock.errors import StorageError
from penstock.testing import EmbedderContract
from penstock.types import Embedder

REFERENCE = json.loads((Path(__file__).parent / "data" / "minilm_reference.json").read_text("utf-8"))["rows"]
TEXTS = [row["text"] for row in REFERENCE]


@pytest.fixture(scope="module")
def int8() -> Encoder:
    return encoder.shipped(precision="int8")


def reference() -> NDArray[np.float32]:
    """What sentence-transformers gives for the same texts."""
    rows = [np.frombuffer(base64.b64decode(row["vector"]), "<f2") for row in REFERENCE]
    vectors = np.stack(rows).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class TestShipped(EmbedderContract):
    def make(self) -> Embedder:
        return encoder.shipped()


class TestShippedFloat32(EmbedderContract):
    def make(self) -> Embedder:
        return encoder.shipped(precision="float32", threads=2)


def test_the_files_are_the_recorded_ones():
    folder = encoder.WEIGHTS / "minilm"
    recorded = encoder.card()["sha256"]

    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != "card.json"}

    assert found == recorded


@pytest.mark.parametrize("name", ["checker", "languages"])
def test_a_card_has_the_hashes_of_its_files(name: str):
    folder = encoder.WEIGHTS / name
    card = json.loads((folder / "card.json").read_text("utf-8"))

    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != "card.json"}

    assert card["sha256"] == found
    assert card["licence"]


def test_the_weights_are_small_enough_to_ship():
    def size(*names: str) -> int:
        return sum(path.stat().st_size for name in names for path in (encoder.WEIGHTS / name).rglob("*"))

    assert size("minilm") < 25e6
    assert size("injection", "moderation") < 3e6  # the guard's heads
    assert size("names") < 4e6
    assert size("checker") < 24e6


@pytest.mark.parametrize(("precision", "least", "mean"), [("int8", 0.975, 0.993), ("float32", 0.985, 0.995)])
def test_the_encoder_agrees_with_the_float_model(precision: Precision, least: float, mean: float):
    """Without the dot product of VNNI some sums of int8 saturate: the worst text has 0.979 there and 0.981 with it."""
    cosines = (encoder.shipped(precision=precision).embed(TEXTS) * reference()).sum(1)

    assert cosines.min() > least
    assert cosines.mean() > mean


def test_neighbours_are_the_same_as_the_float_models(int8: Encoder):
    ours, exact = int8.embed(TEXTS), reference()

    assert np.abs(ours @ ours.T - exact @ exact.T).max() < 0.05


def test_a_card_says_where_the_weights_come_from_and_what_they_are_worth():
    card = encoder.card()

    assert {"source", "source_sha256", "licence", "recipe", "cosine_to_float_weights", "sha256"} <= card.keys()
    assert card["licence"] == "Apache-2.0"
    assert {"cranfield", "xquad/en", "pubmedqa", "ecommerce_faq"} <= card["quality"].keys()


def test_the_card_of_the_quoting_weights_is_plain_json_and_names_its_data():
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    card = json.loads((encoder.WEIGHTS / "quote.json").read_text("utf-8"), parse_constant=refuse)["card"]

    assert {"data", "licence", "recipe", "encoder", "expected_calibration_error"} <= card.keys()
    assert card["encoder"] == encoder.shipped(precision="int8").id


def test_text_beyond_the_longest_is_cut_and_said_by_its_token_count(int8: Encoder):
    long = "word " * 5000

    assert np.allclose(int8.embed([long]), int8.embed([long + "more"]), atol=1e-6)
    assert int8.count_tokens(["word " * 10]) == 12


def test_familiarity_tells_english_from_what_the_vocabulary_does_not_hold(int8: Encoder):
    english, greek = int8.familiarity("How do I return a book?"), int8.familiarity("Πώς επιστρέφω ένα βιβλίο;")

    assert english > 0.9
    assert greek < 0.3


def test_a_folder_that_holds_no_encoder_says_so(tmp_path: Path):
    with pytest.raises(StorageError, match="cannot be loaded"):
        Encoder(tmp_path / "model.onnx", tmp_path / "tokenizer.json", name="x")
