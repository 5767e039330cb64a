"""The one small ONNX encoder that search, guard and verify share: texts in, unit vectors out.

Every text runs by itself. On a processor that is as fast as batching, it wastes nothing on padding, and it makes a
vector a function of its text alone: the dynamic int8 scales of one text never depend on its neighbours.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from penstock.errors import BadSetting, StorageError

if TYPE_CHECKING:
    from penstock.types import Vectors

__all__ = ["Encoder", "Precision", "WordTable", "fast_int8", "shipped", "tokenizer"]

Precision = Literal["auto", "int8", "float32"]
WEIGHTS = Path(__file__).parent / "weights"

MANY_LANGUAGES = 60_000  # pieces; vocabularies of one language have about 30,000

_WORD = re.compile(r"[^\s!-/:-@\[-`{-~]+")  # with the combining marks that Hindi and Thai write inside words


class Encoder:
    """A sentence encoder in ONNX with its tokenizer. Safe to share between threads; satisfies `Embedder`.

    The graph reads input_ids and attention_mask, int64 (1, tokens), and token_type_ids where it asks for them. It gives
    token states (1, tokens, dim), and its own pooled vector (1, dim) where it has one; otherwise the states are averaged.
    """

    def __init__(self, graph: Path, tokenizer: Path, *, name: str, longest_tokens: int = 384, threads: int = 1) -> None:
        import onnxruntime  # takes 60 MB and a tenth of a second: only who embeds pays for it
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # parallel over texts, not inside one
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # an arena keeps the memory of the longest text for ever
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # both libraries raise their own bare types
            raise StorageError(f"the encoder in {graph.parent} cannot be loaded: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(longest_tokens)
        outputs = {output.name: output for output in self._session.get_outputs()}
        states = [o.name for o in outputs.values() if len(o.shape) == 3]
        pooled = [o.name for o in outputs.values() if len(o.shape) == 2]
        if not states:
            raise BadSetting(
                f"{graph} gives no token states (batch, tokens, dim)",
                hint="export the encoder with its last hidden state",
            )
        self._states, self._pooled = states[0], next((n for n in pooled if "embed" in n), None)
        self._types = any(i.name == "token_type_ids" for i in self._session.get_inputs())
        self._graph, self._tokenizer_file, self._threads = graph, tokenizer, max(1, threads)
        self._name = name
        self.dim = int(outputs[self._states].shape[-1])

    @cached_property
    def id(self) -> str:
        """Its name and the hash of all it is made of: the graph, the weights beside it, the tokenizer."""
        digest = hashlib.sha256()
        weights = [f for f in self._graph.parent.glob("*") if f.suffix in (".bin", ".data", ".onnx_data")]
        for file in sorted({self._graph, *weights, self._tokenizer_file}):
            digest.update(file.read_bytes())
        return f"{self._name}@{digest.hexdigest()[:12]}"

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, "encoder")

    def close(self) -> None:
        """Let the threads go; they come again when they are needed. An interrupt in the moment one starts would leave it
        waiting, and the process with it."""
        if pool := self.__dict__.pop("_pool", None):
            pool.shutdown(wait=False, cancel_futures=True)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), unit rows. Text beyond the longest that the encoder reads is left out."""
        rows = self._each(self._vector, texts)
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def embed_parts(self, items: Sequence[tuple[str, Sequence[tuple[int, int]]]]) -> list[Vectors]:
        """For each (text, spans) return float32 (1 + spans, dim), unit rows: the text, then each of its spans.

        One pass over a text gives them all: a span is pooled from the token states of the whole text, so a sentence is
        read in its context ("late chunking", Günther et al. 2024, arXiv:2409.04701). A span beyond the longest text that
        the encoder reads gets the vector of the whole.
        """
        return self._each(self._parts, items)

    def familiarity(self, text: str) -> float:
        """The share of a text's letters that stand in words which the vocabulary holds whole, 0 to 1.

        It is near 1 in the vocabulary's own language, 0.2 to 0.4 in others of its script, and 0 in other scripts. A
        vocabulary of more than 60,000 pieces was made for many languages and splits words in all of them: 1.0.
        """
        if self._tokenizer.get_vocab_size() > MANY_LANGUAGES:
            return 1.0
        words = {m.start(): m.end() for m in _WORD.finditer(text)}
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        unknown = self._tokenizer.token_to_id("[UNK]")
        pieces = zip(encoding.ids, encoding.offsets, strict=True)
        whole = sum(end - start for piece, (start, end) in pieces if words.get(start) == end and piece != unknown)
        return whole / letters if (letters := sum(end - start for start, end in words.items())) else 1.0

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens that embedding these texts takes, marks included."""
        return sum(len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(list(texts)))

    def _vector(self, text: str) -> Vectors:
        return self._run(self._tokenizer.encode(text).ids, with_states=False)[0]

    def _parts(self, item: tuple[str, Sequence[tuple[int, int]]]) -> Vectors:
        text, spans = item
        encoding = self._tokenizer.encode(text)
        whole, states = self._run(encoding.ids, with_states=True)
        starts, ends = np.array(encoding.offsets).T
        rows = [whole]
        for start, end in spans:
            inside = (starts >= start) & (ends <= end) & (ends > starts)
            rows.append(_unit(states[inside].mean(0)) if inside.any() else whole)
        return np.stack(rows)

    def _run(self, ids: list[int], *, with_states: bool) -> tuple[Vectors, Vectors]:
        tokens = np.array([ids], np.int64)
        feed = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        if self._types:
            feed["token_type_ids"] = np.zeros_like(tokens)
        if self._pooled and not with_states:
            return self._session.run([self._pooled], feed)[0][0], np.empty(0, np.float32)
        states = self._session.run([self._states], feed)[0][0]
        return _unit(states.mean(0)), states

    def _each(self, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        if self._threads == 1 or len(items) < 2:
            return [work(item) for item in items]
        return list(self._pool.map(work, items))


def _unit(vector: Vectors) -> Vectors:
    length = float(np.linalg.norm(vector))
    return (vector / length if length > 0 else vector).astype(np.float32)


class WordTable:
    """The shipped encoder's vectors of word pieces and positions, as they are before any layer. Mapped into memory, not loaded."""

    def __init__(self) -> None:
        file, tables = WEIGHTS / "minilm" / "encoder.bin", card()["tables"]

        def table(name: str, kind: type) -> Any:
            offset, *shape = tables[name]
            return np.memmap(file, kind, "r", offset, tuple(shape))

        self._words, self._scales = table("words", np.int8), table("words.s", np.float32)
        self._positions = table("positions", np.float32)

    def words(self, ids: Sequence[int]) -> Vectors:
        """float32 (n, 384) of pieces of words, by their numbers in the tokenizer."""
        rows: Vectors = self._words[ids] * self._scales[ids]
        return rows

    def positions(self, count: int) -> Vectors:
        """float32 (count, 384) of the first so many places of a text, the vector of the first segment included."""
        rows: Vectors = self._positions[:count]
        return rows


def shipped(*, precision: Precision = "auto", threads: int = 1) -> Encoder:
    """The encoder that comes with Penstock: all-MiniLM-L6-v2, 384 dimensions, English, at most 384 tokens."""
    folder = WEIGHTS / "minilm"
    arithmetic = ("int8" if fast_int8() else "float32") if precision == "auto" else precision
    graph = folder / f"encoder.{arithmetic}.onnx"
    return Encoder(graph, folder / "tokenizer.json", name="minilm", threads=threads)


def tokenizer(longest: int | None = None) -> Any:
    """The shipped encoder's tokenizer, of Hugging Face's `tokenizers`; without padding, and cut where it is said."""
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(WEIGHTS / "minilm" / "tokenizer.json"))
    found.no_padding()
    found.enable_truncation(longest) if longest else found.no_truncation()
    return found


def card() -> dict[str, Any]:
    """Where the shipped encoder comes from, its licence and hashes, and what was measured of it."""
    loaded: dict[str, Any] = json.loads((WEIGHTS / "minilm" / "card.json").read_text("utf-8"))
    return loaded


def fast_int8() -> bool:
    """Whether this processor multiplies int8 without the overflow that x86 has before VNNI."""
    if platform.machine().lower() in ("arm64", "aarch64") and platform.system() == "Darwin":
        return True  # every Apple processor has the dot product
    try:
        flags = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        return _numpy_knows_vnni()
    return bool(flags & {"avx512_vnni", "avx_vnni", "asimddp"})


def _numpy_knows_vnni() -> bool:
    """Where there is no /proc/cpuinfo. numpy's list has the AVX-512 kind of VNNI only, so this errs to float32."""
    features: dict[str, bool] = getattr(import_module("numpy._core._multiarray_umath"), "__cpu_features__", {})
    return features.get("AVX512_CLX", False) or features.get("ASIMDDP", False)
