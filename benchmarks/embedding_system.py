"""One encoder embeds the passages and the questions of a file: `benchmarks.embedding` starts this, once per round."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Stopwatch, peak_mb, report, versions

PACKAGES = ("penstock", "onnxruntime", "tokenizers", "numpy", "sentence-transformers", "transformers", "torch")

Embed = Callable[[Sequence[str]], Any]


def penstock(arithmetic: str) -> Embed:
    from penstock.encoder import shipped

    return shipped(precision="int8" if arithmetic == "int8" else "float32", threads=1).embed


def sentence_transformers(model: str, batch: int) -> Embed:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    encoder = SentenceTransformer(model, device="cpu")
    return lambda texts: encoder.encode(
        list(texts), batch_size=batch, normalize_embeddings=True, show_progress_bar=False
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("encoder", help='"int8", "float32", or the folder of a model for sentence-transformers')
    parser.add_argument("texts", type=Path, help='JSON: {"passages": […], "questions": […]}')
    parser.add_argument("--batch", type=int, default=32, help="texts that sentence-transformers embeds together")
    parser.add_argument("--vectors", type=Path, required=True, help="where to write them, for comparison")
    options = parser.parse_args()
    texts = json.loads(options.texts.read_text("utf-8"))
    watch = Stopwatch()
    shipped = options.encoder in ("int8", "float32")
    embed = penstock(options.encoder) if shipped else sentence_transformers(options.encoder, options.batch)
    embed(texts["passages"][:2])
    embed(texts["questions"][:1])
    start = watch.lap()
    passages = embed(texts["passages"])
    together = watch.lap()
    questions = [embed([question])[0] for question in texts["questions"]]
    alone = watch.lap()
    np.save(options.vectors, np.concatenate([passages, questions]))
    report(
        {
            "start_cpu_s": round(start, 3),
            "passages_per_cpu_s": round(len(texts["passages"]) / together, 2),
            "question_cpu_ms": round(alone / len(questions) * 1000, 3),
            "peak_mb": round(peak_mb()),
            "versions": versions(PACKAGES),
        }
    )


if __name__ == "__main__":
    main()
