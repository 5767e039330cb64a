"""Embedders that a user can name: a folder with ONNX, a repository on the hub, an OpenAI-compatible server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.config import EmbedderSettings
from penstock.encoder import Encoder, shipped
from penstock.errors import BadSetting, UpstreamError

if TYPE_CHECKING:
    from penstock.types import Embedder, Vectors

__all__ = ["Remote", "build"]

BATCH = 64


def build(settings: EmbedderSettings, folder: Path, *, threads: int = 1) -> Embedder:
    """The embedder that the settings name; relative folders start from `folder`."""
    model = settings.model
    if model == "minilm":
        return shipped(precision=settings.precision, threads=threads)
    if model.startswith(("http://", "https://")):
        return Remote(model, settings.name, settings.api_key, timeout_s=settings.timeout_s)
    if model.startswith("hub:"):
        return local(_from_hub(model.removeprefix("hub:")), name=model.removeprefix("hub:"), threads=threads)
    path = (folder / Path(model).expanduser()).resolve()
    if not path.is_dir():
        raise BadSetting(
            f"embedder.model is '{model}', which is no folder",
            hint="minilm, a folder, hub:owner/name, or a URL that ends in /v1",
        )
    return local(path, name=path.name, threads=threads)


def local(folder: Path, *, name: str, threads: int) -> Encoder:
    """A folder as exporters write it: model.onnx (or onnx/model.onnx) beside tokenizer.json."""
    graph = next((p for p in (folder / "model.onnx", folder / "onnx/model.onnx") if p.is_file()), None)
    tokenizer = folder / "tokenizer.json"
    if graph is None or not tokenizer.is_file():
        raise BadSetting(
            f"{folder} holds no model.onnx and tokenizer.json", hint="optimum-cli export onnx --model NAME FOLDER"
        )
    return Encoder(graph, tokenizer, name=name, longest_tokens=_longest(folder), threads=threads)


def _longest(folder: Path) -> int:
    """What sentence-transformers says the model reads, else 512 tokens."""
    file = folder / "sentence_bert_config.json"
    found = re.search(r'"max_seq_length"\s*:\s*(\d+)', file.read_text("utf-8")) if file.is_file() else None
    return int(found[1]) if found else 512


def _from_hub(repository: str) -> Path:
    """Download, or find in the hub's own cache. This is a network call that the user asked for by naming a repository."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        patterns = ["*.json", "onnx/model.onnx*", "model.onnx*"]
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UpstreamError(
            f"the hub did not give '{repository}': {error}", hint="download it elsewhere and name its folder"
        ) from error
    except ValueError as error:
        raise BadSetting(f"'{repository}' is no repository on the hub: {error}") from error


class Remote:
    """An OpenAI-compatible `/embeddings` endpoint. It gives one vector per text and no more."""

    def __init__(self, url: str, name: str, api_key: str, *, timeout_s: float) -> None:
        import httpx2

        if not name:
            raise BadSetting("embedder.name is empty", hint='the model\'s name at that server, as in name = "bge-m3"')
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx2.Client(base_url=url.rstrip("/") + "/", headers=headers, timeout=timeout_s)
        self._name, self._url = name, url
        self.id = f"{name}@{url}"

    @cached_property
    def dim(self) -> int:
        return int(self.embed(["dimension"]).shape[1])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), unit rows. Raises UpstreamError when the server fails or answers something else."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        rows: list[Any] = []
        for start in range(0, len(texts), BATCH):
            rows += self._request([text or " " for text in texts[start : start + BATCH]])
        vectors = np.array(rows, np.float32).reshape(len(texts), -1)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def _request(self, texts: list[str]) -> list[Any]:
        import httpx2

        try:
            response = self._client.post(
                "embeddings", json={"model": self._name, "input": texts, "encoding_format": "float"}
            )
            response.raise_for_status()
            items = sorted(response.json()["data"], key=lambda item: item["index"])
            rows = [item["embedding"] for item in items]
        except httpx2.HTTPStatusError as error:
            raise UpstreamError(
                f"{self._url} answered {error.response.status_code}: {error.response.text[:200]}"
            ) from error
        except httpx2.HTTPError as error:
            raise UpstreamError(f"{self._url} did not answer: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UpstreamError(f"{self._url} gave no embeddings") from error
        if len(rows) != len(texts):
            raise UpstreamError(f"{self._url} gave {len(rows)} vectors for {len(texts)} texts")
        return rows

    def embed_parts(self, items: Sequence[tuple[str, Sequence[tuple[int, int]]]]) -> list[Vectors]:
        """Each text's vector, for itself and for its spans: there are no token states to pool."""
        vectors = self.embed([text for text, _ in items])
        return [
            np.repeat(vector[None], 1 + len(spans), axis=0) for vector, (_, spans) in zip(vectors, items, strict=True)
        ]

    def close(self) -> None:
        self._client.close()

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Not known here: the server that embeds counts for itself."""
        return 0

    def familiarity(self, text: str) -> float:
        """Not known from outside; a model that is named on purpose is taken to read what it is given."""
        return 1.0
