"""Embedders that a user can name: a folder with ONNX, a repository on the hub, an OpenAI-compatible server."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from penstock.config import EmbedderSettings
from penstock.encoder import Encoder, shipped
from penstock.errors import BadSetting, UpstreamError
from penstock.storage.hub import from_hub

if TYPE_CHECKING:
    import httpx2

    from penstock.types import Embedder, Vectors

__all__ = ["Remote", "build"]

BATCH = 64
HUB_FILES = ("*.json", "onnx/model.onnx*", "model.onnx*")
PAUSES_S = (0.5, 2.0, 8.0)  # before a server that was busy is asked again
LONGEST_PAUSE_S = 30.0  # whatever it asks for
LARGEST = 1e15  # number in a vector: beyond it there is no length to divide by


def build(settings: EmbedderSettings, folder: Path, *, threads: int = 1) -> Embedder:
    """The embedder that the settings name; relative folders start from `folder`."""
    model = settings.model
    if model == "minilm":
        return shipped(precision=settings.precision, threads=threads)
    if model.startswith(("http://", "https://")):
        return Remote(model, settings.name, settings.api_key, timeout_s=settings.timeout_s)
    if model.startswith("hub:"):
        repository = model.removeprefix("hub:")
        return local(from_hub(repository, HUB_FILES, setting="embedder.model"), name=repository, threads=threads)
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


class _Busy(UpstreamError):
    """A refusal that will pass. pause_s: how long the server asks to be left alone, where it says so."""

    def __init__(self, message: str, pause_s: float | None = None) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class Remote:
    """An OpenAI-compatible `/embeddings` endpoint. It gives one vector per text and no more."""

    def __init__(
        self, url: str, name: str, api_key: str, *, timeout_s: float, pauses_s: Sequence[float] = PAUSES_S
    ) -> None:
        import httpx2

        if not name:
            raise BadSetting("embedder.name is empty", hint='the model\'s name at that server, as in name = "bge-m3"')
        if not api_key.isascii() or not api_key.isprintable():
            raise BadSetting("embedder.api_key holds characters that no key can have")
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._client = httpx2.Client(base_url=url.rstrip("/") + "/", headers=headers, timeout=timeout_s)
        except httpx2.InvalidURL as error:
            raise BadSetting(f"embedder.model is '{url}', which is no address: {error}") from error
        self._name, self._url, self._pauses_s = name, url, pauses_s
        self._dim = 0  # until the first vector says
        self.id = f"{name}@{url}"

    @property
    def dim(self) -> int:
        return self._dim or int(self.embed(["dimension"]).shape[1])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), unit rows. Raises UpstreamError when the server fails or answers something else."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        batches = [
            self._batch([text or " " for text in texts[start : start + BATCH]]) for start in range(0, len(texts), BATCH)
        ]
        return np.concatenate(batches)

    def _batch(self, texts: list[str]) -> Vectors:
        """The vectors of a few texts. A server that is busy or down for a moment is asked again."""
        for pause_s in self._pauses_s:
            try:
                return self._vectors(self._post(texts), len(texts))
            except _Busy as busy:
                time.sleep(min(pause_s if busy.pause_s is None else busy.pause_s, LONGEST_PAUSE_S))
        return self._vectors(self._post(texts), len(texts))

    def _post(self, texts: list[str]) -> httpx2.Response:
        import httpx2

        try:
            response = self._client.post(
                "embeddings", json={"model": self._name, "input": texts, "encoding_format": "float"}
            )
        except httpx2.TimeoutException as error:
            raise UpstreamError(f"{self._url} did not answer in time: {error}") from error
        except httpx2.HTTPError as error:
            raise _Busy(f"{self._url} did not answer: {error or type(error).__name__}") from error
        if response.is_success:
            return response
        refusal = f"{self._url} answered {response.status_code}: {response.text[:200]}"
        if response.status_code == 429 or response.status_code >= 500:
            asked = response.headers.get("retry-after", "")
            raise _Busy(refusal, float(asked) if re.fullmatch(r"\d{1,6}(\.\d+)?", asked, re.ASCII) else None)
        hint = "set embedder.api_key" if response.status_code in (401, 403) else ""
        raise UpstreamError(refusal, hint=hint)

    def _vectors(self, response: httpx2.Response, count: int) -> Vectors:
        try:
            rows = {item["index"]: item["embedding"] for item in response.json()["data"]}
            vectors = np.array([rows[n] for n in range(count)], np.float64)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise UpstreamError(f"{self._url} gave no embeddings for {count} texts") from error
        if vectors.ndim != 2 or not vectors.shape[1] or not (np.abs(vectors) < LARGEST).all() or len(rows) != count:
            raise UpstreamError(f"{self._url} gave no embeddings for {count} texts")
        if self._dim and self._dim != vectors.shape[1]:
            raise UpstreamError(f"{self._url} gave {vectors.shape[1]} dimensions where it gave {self._dim} before")
        self._dim = int(vectors.shape[1])
        lengths = np.linalg.norm(vectors, axis=1)
        vectors[lengths == 0, 0] = 1  # a text with no direction gets some
        lengths[lengths == 0] = 1
        unit: Vectors = (vectors / lengths[:, None]).astype(np.float32)
        return unit

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
