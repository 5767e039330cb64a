"""One system takes in one folder, and says what that took: `benchmarks.ingest` starts this, once per round.

Each system is used as its own documentation shows it: its readers, its splitter, its index in memory (Penstock's on disk,
as it always is). Everything is loaded, and a folder with one file of each kind taken in, before the clock starts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import Stopwatch, peak_mb, report, versions

DIMENSIONS = 384
PACKAGES = (
    "penstock", "onnxruntime", "tokenizers", "numpy", "pypdfium2", "python-calamine", "selectolax", "sentencex",
    "llama-index-core", "llama-index-readers-file", "llama-index-embeddings-huggingface", "haystack-ai",
    "sentence-transformers-haystack", "sentence-transformers", "transformers", "torch", "pypdf", "docx2txt", "python-docx",
    "python-pptx", "openpyxl", "pandas", "trafilatura", "beautifulsoup4", "nltk", "tiktoken",
)  # fmt: skip


class Taken(NamedTuple):
    """What an index holds after a folder was taken in: the files that gave text, and the length of every chunk."""

    files: set[str]
    lengths: list[int]


@dataclass(frozen=True, slots=True)
class Index:
    """A folder that was taken in: `count` says what it holds, `save` writes it to disk where that has not been done."""

    count: Callable[[], Taken]
    save: Callable[[], None]


Ingest = Callable[[Path], Index]


def penstock(model: str | None, chunk: int, scratch: Path) -> Ingest:
    """Read, split into sentences and passages, find near-duplicates, index words and vectors, publish; all of it on disk."""
    from penstock.config import WebSettings
    from penstock.documents.library import Library
    from penstock.encoder import shipped

    embedder = shipped(threads=1) if model else Constant()

    def ingest(folder: Path) -> Index:
        home = scratch / folder.name
        library = Library(home, lambda: embedder, folder=home, collections={}, web=WebSettings())
        collection = library.create("folder")
        collection.add([str(folder)])

        def count() -> Taken:
            rows = collection.documents()
            passages = library.catalog.passages_of([row.id for row in rows])
            return Taken({row.file for row in rows}, [len(passage.text) for passage in passages])

        return Index(count, lambda: None)

    return ingest


class Constant:
    """Vectors that cost nothing: they are all the same."""

    id, dim = f"constant@{DIMENSIONS}", DIMENSIONS

    def __init__(self) -> None:
        import numpy as np

        self._row = np.full(DIMENSIONS, DIMENSIONS**-0.5, np.float32)

    def embed(self, texts: Sequence[str]) -> Any:
        return self._row[None].repeat(len(texts), axis=0)

    def embed_parts(self, items: Sequence[tuple[str, Sequence[tuple[int, int]]]]) -> list[Any]:
        return [self._row[None].repeat(1 + len(spans), axis=0) for _, spans in items]

    def count_tokens(self, texts: Sequence[str]) -> int:
        return 0

    def familiarity(self, text: str) -> float:
        return 1.0


def llamaindex(model: str | None, chunk: int, scratch: Path) -> Ingest:
    """SimpleDirectoryReader, SentenceSplitter, VectorStoreIndex in memory. It has no word index of its own.

    chunk: tokens, of which its metadata take a share. HTML goes through its HTMLTagReader: without it, the markup itself
    would be indexed.
    """
    from llama_index.core import MockEmbedding, SimpleDirectoryReader, VectorStoreIndex
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.readers.file import HTMLTagReader

    embedder: Any = MockEmbedding(embed_dim=DIMENSIONS)
    if model:
        _one_torch_thread()
        from llama_index.embeddings.huggingface import HuggingFaceEmbedding

        embedder = HuggingFaceEmbedding(model_name=model, device="cpu")
    splitter = SentenceSplitter(chunk_size=chunk, chunk_overlap=0)

    def ingest(folder: Path) -> Index:
        html = {".html": HTMLTagReader(tag="body")}
        documents = SimpleDirectoryReader(str(folder), recursive=True, file_extractor=html).load_data()
        index = VectorStoreIndex.from_documents(documents, transformations=[splitter], embed_model=embedder)

        def count() -> Taken:
            nodes = list(index.docstore.docs.values())
            return Taken({node.metadata["file_path"] for node in nodes}, [len(node.get_content()) for node in nodes])

        return Index(count, lambda: index.storage_context.persist(str(scratch / folder.name)))

    return ingest


def haystack(model: str | None, chunk: int, scratch: Path) -> Ingest:
    """MultiFileConverter, DocumentSplitter by words, DocumentWriter into InMemoryDocumentStore, which counts words for BM25.

    chunk: words. What MultiFileConverter does not know (mail, source code) is read as text.
    """
    from haystack import Pipeline
    from haystack.components.converters import MultiFileConverter, TextFileToDocument
    from haystack.components.embedders import MockDocumentEmbedder
    from haystack.components.joiners import DocumentJoiner
    from haystack.components.preprocessors import DocumentSplitter
    from haystack.components.writers import DocumentWriter
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    embedder: Any = MockDocumentEmbedder([DIMENSIONS**-0.5] * DIMENSIONS)
    if model:
        _one_torch_thread()
        from haystack.utils import ComponentDevice
        from haystack_integrations.components.embedders.sentence_transformers import (
            SentenceTransformersDocumentEmbedder,
        )

        cpu = ComponentDevice.from_str("cpu")
        embedder = SentenceTransformersDocumentEmbedder(model=model, device=cpu, progress_bar=False)
    store = InMemoryDocumentStore()
    pipeline = Pipeline()
    pipeline.add_component("convert", MultiFileConverter())
    pipeline.add_component("others", TextFileToDocument())
    pipeline.add_component("join", DocumentJoiner())
    pipeline.add_component("split", DocumentSplitter(split_by="word", split_length=chunk))
    pipeline.add_component("embed", embedder)
    pipeline.add_component("write", DocumentWriter(store))
    pipeline.connect("convert.unclassified", "others.sources")
    pipeline.connect("convert.documents", "join.documents")
    pipeline.connect("others.documents", "join.documents")
    pipeline.connect("join", "split")
    pipeline.connect("split", "embed")
    pipeline.connect("embed", "write")

    def ingest(folder: Path) -> Index:
        store.delete_documents([document.id for document in store.filter_documents()])  # those of the warm-up
        pipeline.run({"convert": {"sources": sorted(path for path in folder.rglob("*") if path.is_file())}})

        def count() -> Taken:
            chunks = store.filter_documents()
            return Taken({c.meta["file_path"] for c in chunks}, [len(c.content or "") for c in chunks])

        return Index(count, lambda: store.save_to_disk(str(scratch / f"{folder.name}.json")))

    return ingest


def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)


SYSTEMS = {"penstock": penstock, "llamaindex": llamaindex, "haystack": haystack}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--warm", type=Path, required=True, help="a folder with one file of each kind")
    parser.add_argument("--model", help="folder of all-MiniLM-L6-v2; without it, vectors cost nothing")
    parser.add_argument("--chunk", type=int, default=0, help="size of a chunk in the system's own unit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        watch = Stopwatch()
        ingest = SYSTEMS[options.system](options.model, options.chunk, Path(scratch))
        ingest(options.warm)
        start = watch.lap()
        index = ingest(options.folder)
        taking = watch.lap()
        index.save()
        saving = watch.lap()
        peak = peak_mb()
        files, lengths = index.count()
    kinds = Counter(Path(file).suffix for file in files)
    report(
        {
            "documents": len(files),
            "chunks": len(lengths),
            "characters": sum(lengths),
            "start_cpu_s": round(start, 3),
            "cpu_s": round(taking, 3),
            "save_cpu_s": round(saving, 3),
            "peak_mb": round(peak),
            "kinds": dict(sorted(kinds.items())),
            "versions": versions(PACKAGES),
        }
    )


if __name__ == "__main__":
    main()
