"""A BERT of MiniLM's shape as an ONNX graph, in int8 and in float, from its float weights.

Three things keep the int8 outputs close to the float ones. The word table has one scale per row. The matrices have one
per output column. And the few channels whose activations are far above the others are scaled down before they are
quantised and their weights scaled up by as much (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438, for outliers only).
Which channels those are is found by running some inputs (`largest_activations`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

__all__ = ["Arithmetic", "Array", "Graph", "largest_activations"]

Array = np.ndarray[Any, Any]
Arithmetic = Literal["int8", "float32", "probe"]  # probe: float weights, and the inputs of every matrix as outputs

HEADS, EPSILON = 12, 1e-12
OUTLIER = 2.2  # a channel whose maximum is over 2.2 times the median maximum is scaled down to it
FUSED = "com.microsoft"  # ONNX Runtime's fused operators


class Graph:
    """Nodes and tensors of one graph in the making. weights: by the names that Hugging Face's BERT gives them.

    largest: for each matrix, the largest absolute activation of each of its input channels; nothing for a probe.
    """

    def __init__(self, weights: Mapping[str, Array], arithmetic: Arithmetic, largest: Mapping[str, Array]) -> None:
        self.weights, self.arithmetic, self.largest = weights, arithmetic, largest
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []

    def const(self, name: str, value: Array) -> str:
        self._tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind: str, inputs: list[str], name: str, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **attributes))
        return name

    def layer_norm(self, key: str) -> tuple[str, str]:
        return (
            self.const(f"{key}.g", self.weights[f"{key}.weight"]),
            self.const(f"{key}.b", self.weights[f"{key}.bias"]),
        )

    def word_table(self) -> None:
        """The table of words as int8, one scale for each row: `words`, `words.s`."""
        words = self.weights["embeddings.word_embeddings.weight"]
        row = np.maximum(np.abs(words).max(1, keepdims=True) / 127, 1e-12).astype(np.float32)
        self.const("words", np.round(words / row).astype(np.int8))
        self.const("words.s", row)

    def embeddings_norm(self, x: str) -> str:
        return self.op(
            "LayerNormalization", [x, *self.layer_norm("embeddings.LayerNorm")], "x", axis=-1, epsilon=EPSILON
        )

    def layers(self, x: str, count: int) -> str:
        """The states after so many layers of those before them. It reads `mask`, int32 (batch, tokens)."""
        for n in range(count):
            p = f"encoder.layer.{n}."
            heads = [p + f"attention.self.{part}." for part in ("query", "key", "value")]
            qkv = np.concatenate([self.weights[h + "weight"].T for h in heads], 1)  # (384, 3 x 384)
            bias = self.const(f"qkv{n}.b", np.concatenate([self.weights[h + "bias"] for h in heads]))
            y = self._attention(x, qkv, bias, f"qkv{n}")
            y = self._linear(y, self.weights[p + "attention.output.dense.weight"].T, f"out{n}")
            x = self._add_norm(y, x, p, "attention.output.dense", "attention.output.LayerNorm", f"attended{n}")
            y = self._linear(x, self.weights[p + "intermediate.dense.weight"].T, f"up{n}")
            bias = self.const(f"up{n}.b", self.weights[p + "intermediate.dense.bias"])
            y = self.op("BiasGelu", [y, bias], f"gelu{n}", FUSED)
            y = self._linear(y, self.weights[p + "output.dense.weight"].T, f"down{n}")
            x = self._add_norm(y, x, p, "output.dense", "output.LayerNorm", f"layer{n}")
        return x

    def save(self, out: Path, *, inputs: list[Any], outputs: list[Any], location: str) -> None:
        """Write the graph, and its tensors beside it in the file `location`."""
        if self.arithmetic == "probe":
            read = dict.fromkeys(node.input[0] for node in self._nodes if node.op_type in ("MatMul", "Attention"))
            outputs = [*outputs, *(helper.make_empty_tensor_value_info(name) for name in read)]
        graph = helper.make_graph(self._nodes, f"minilm-{self.arithmetic}", inputs, outputs, self._tensors)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid(FUSED, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="penstock")
        # small tensors stay in the graph: ONNX infers shapes from them
        onnx.save(model, out, save_as_external_data=True, location=location, size_threshold=1024)

    def _add_norm(self, y: str, skip: str, p: str, matrix: str, norm: str, name: str) -> str:
        inputs = [y, skip, *self.layer_norm(p + norm), self.const(f"{name}.b", self.weights[p + matrix + ".bias"])]
        return self.op("SkipLayerNormalization", inputs, name, FUSED, epsilon=EPSILON)

    def _scaled_down(self, x: str, matrix: Array, name: str) -> tuple[str, str, str]:
        """Returns the input with its outliers scaled down, the int8 matrix (in, out), and its scales (out,)."""
        largest = self.largest[name]
        scale = np.maximum(1, largest / (OUTLIER * np.median(largest))).astype(np.float32)
        matrix = matrix * scale[:, None]
        column = (np.abs(matrix).max(0) / 127).astype(np.float32)
        self.const(f"{name}.w", np.round(matrix / column).astype(np.int8))
        x = self.op("Mul", [x, self.const(f"{name}.in", 1 / scale)], f"{name}.x")
        return x, f"{name}.w", self.const(f"{name}.s", column)

    def _in_float(self, matrix: str, scales: str, name: str) -> str:
        return self.op(
            "Mul", [self.op("Cast", [matrix], f"{name}.cast", to=TensorProto.FLOAT), scales], f"{name}.float"
        )

    def _linear(self, x: str, matrix: Array, name: str) -> str:
        if self.arithmetic == "probe":
            return self.op("MatMul", [x, self.const(f"{name}.w", matrix)], f"{name}.y")
        x, w, s = self._scaled_down(x, matrix, name)
        if self.arithmetic == "int8":
            return self.op("DynamicQuantizeMatMul", [x, w, s], f"{name}.y", FUSED)
        return self.op("MatMul", [x, self._in_float(w, s, name)], f"{name}.y")

    def _attention(self, x: str, matrix: Array, bias: str, name: str) -> str:
        def attend(x: str, w: str) -> str:
            return self.op("Attention", [x, w, bias, "mask"], f"{name}.y", FUSED, num_heads=HEADS)

        if self.arithmetic == "probe":
            return attend(x, self.const(f"{name}.w", matrix))
        x, w, s = self._scaled_down(x, matrix, name)
        if self.arithmetic == "float32":
            return attend(x, self._in_float(w, s, name))
        if name == "qkv0":
            self.const("qkv.shape", np.array([matrix.shape[1]], np.int64))
        quantised = [f"{name}.q", f"{name}.qs", f"{name}.qz"]
        self._nodes.append(helper.make_node("DynamicQuantizeLinear", [x], quantised))
        nothing = helper.make_tensor("", TensorProto.INT8, [1], [0])
        zero = self.op("ConstantOfShape", ["qkv.shape"], f"{name}.wz", value=nothing)
        inputs = [quantised[0], w, bias, quantised[1], s, "mask", quantised[2], zero]
        return self.op("QAttention", inputs, f"{name}.y", FUSED, num_heads=HEADS)


def largest_activations(
    build: Callable[[Path], None], inputs: Iterable[Mapping[str, Array]], folder: Path
) -> dict[str, Array]:
    """For each matrix, the largest absolute value of each input channel over some inputs. build: writes the probe."""
    build(folder / "probe.onnx")
    graph = onnx.load(folder / "probe.onnx", load_external_data=False).graph
    reads = {n.output[0].removesuffix(".y"): n.input[0] for n in graph.node if n.op_type in ("MatMul", "Attention")}
    reads = {matrix: name for matrix, name in reads.items() if matrix[:2] in ("qk", "ou", "up", "do")}
    session = onnxruntime.InferenceSession(folder / "probe.onnx", providers=["CPUExecutionProvider"])
    names = sorted(set(reads.values()))
    largest: dict[str, Array] = {}
    for feed in inputs:
        for name, value in zip(names, session.run(names, dict(feed)), strict=True):
            peak = np.abs(value).max((0, 1))
            largest[name] = np.maximum(largest.get(name, peak), peak)
    return {matrix: largest[name] for matrix, name in reads.items()}
