"""Contracts and stand-ins, shipped so that others can test what they plug in.

A contract is a class of tests. Subclass it, say how to make the thing, and pytest runs every promise against it:

    class TestMyEmbedder(EmbedderContract):
        def make(self): return MyEmbedder()
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from penstock.types import Caller, Document, Embedder, Index

if TYPE_CHECKING:
    from penstock.types import Vectors

__all__ = ["EmbedderContract", "IndexContract", "WordEmbedder"]


class WordEmbedder:
    """A stand-in that knows words and no meaning: each word adds a direction of its own. Fast, and the same everywhere."""

    def __init__(self, name: str = "words", dim: int = 64) -> None:
        self.id, self.dim = f"{name}@{dim}", dim
        self.embedded = 0  # texts so far, for tests of caches

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.embedded += len(texts)
        rows = np.stack([self._row(text) for text in texts]) if texts else np.zeros((0, self.dim), np.float32)
        return rows.astype(np.float32)

    def embed_parts(self, items: Sequence[tuple[str, Sequence[tuple[int, int]]]]) -> list[Vectors]:
        return [self.embed([text, *(text[a:b] for a, b in spans)]) for text, spans in items]

    def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(len(text.split()) for text in texts)

    def familiarity(self, text: str) -> float:
        return 1.0

    def _row(self, text: str) -> Vectors:
        row = np.full(self.dim, 1e-3, np.float32)
        for word in re.findall(r"\w+", text.lower()):
            digest = blake2b(word.encode(), digest_size=4, person=self.id.encode()[:16]).digest()
            row[int.from_bytes(digest[:2], "little") % self.dim] += 1 if digest[2] % 2 else -1
        length = float(np.linalg.norm(row))
        return (row / length).astype(np.float32)


class EmbedderContract(ABC):
    """What every `Embedder` promises."""

    TEXTS = (
        "Returns are free for thirty days.",
        "Der Versand dauert drei Tage.",
        "",
        "x" * 5000,
        "数量 · ١٢٣ · \u202eabc",
    )

    @abstractmethod
    def make(self) -> Embedder: ...

    def test_rows_come_in_order_with_length_one(self) -> None:
        embedder = self.make()
        vectors = embedder.embed(self.TEXTS)

        assert vectors.shape == (len(self.TEXTS), embedder.dim)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
        assert np.allclose(vectors[1], embedder.embed([self.TEXTS[1]])[0], atol=1e-5)

    def test_no_text_gives_no_row(self) -> None:
        embedder = self.make()

        assert embedder.embed([]).shape == (0, embedder.dim)
        assert embedder.embed_parts([]) == []

    def test_a_vector_depends_on_its_text_alone(self) -> None:
        embedder = self.make()
        alone = embedder.embed([self.TEXTS[0]])[0]
        beside = embedder.embed([self.TEXTS[3], self.TEXTS[0]])[1]

        assert np.allclose(alone, beside, atol=1e-5)

    def test_parts_are_the_text_and_then_its_spans(self) -> None:
        embedder = self.make()
        text = "Returns are free. Shipping is not."
        whole, first, second = embedder.embed_parts([(text, [(0, 17), (18, 34)])])[0]

        assert np.allclose(whole, embedder.embed([text])[0], atol=1e-3)
        assert np.allclose([np.linalg.norm(first), np.linalg.norm(second)], 1, atol=1e-3)

    def test_familiarity_is_a_share(self) -> None:
        embedder = self.make()

        assert all(0 <= embedder.familiarity(text) <= 1 for text in self.TEXTS)

    def test_the_id_stays_the_same(self) -> None:
        assert self.make().id == self.make().id


class IndexContract(ABC):
    """What every `Index` promises. `make` returns an index that holds DOCUMENTS, published."""

    DOCUMENTS = (
        Document(
            "returns.md", "Books can be returned within thirty days.", title="Returns", metadata={"shop": "north"}
        ),
        Document("shipping.md", "Parcels to Norway take five days.", title="Shipping", metadata={"shop": "south"}),
        Document("salaries.md", "The director earns 90,000 a year.", title="Salaries", access=("hr",)),
    )

    @abstractmethod
    def make(self) -> Index: ...

    def test_the_passage_that_says_it_comes_first(self) -> None:
        found = self.make().search("How long can I return books?", caller=Caller())

        assert found.hits[0].passage.source == "returns.md"
        assert found.version

    def test_scores_fall_and_stay_between_zero_and_one(self) -> None:
        scores = [hit.score for hit in self.make().search("parcels to Norway", caller=Caller()).hits]

        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1.0001 for score in scores)

    def test_k_is_the_most_there_is(self) -> None:
        assert len(self.make().search("days", caller=Caller(), k=1).hits) == 1

    def test_what_a_caller_may_not_read_is_not_there(self) -> None:
        index = self.make()
        question = "What does the director earn?"
        stranger, clerk = index.search(question, caller=Caller()), index.search(question, caller=Caller("ann", ("hr",)))

        assert "salaries.md" not in {hit.passage.source for hit in stranger.hits}
        assert clerk.hits[0].passage.source == "salaries.md"
        assert stranger.searched == 2
        assert clerk.searched == 3

    def test_a_filter_is_part_of_the_query(self) -> None:
        found = self.make().search("days", caller=Caller(), k=1, where={"shop": "south"})

        assert [hit.passage.source for hit in found.hits] == ["shipping.md"]

    def test_a_filter_that_nothing_fits_finds_nothing(self) -> None:
        assert self.make().search("days", caller=Caller(), where={"shop": "nowhere"}).hits == ()

    def test_every_sentence_lies_in_its_passage(self) -> None:
        for hit in self.make().search("return books to Norway", caller=Caller()).hits:
            assert hit.sentences
            assert all(0 <= s.start < s.end <= len(hit.passage.text) for s in hit.sentences)

    def test_hostile_questions_are_only_text(self) -> None:
        index = self.make()

        for question in ("", "   ", "'; drop table documents; --", "\x00\ud800", "?" * 4000, "🙂" * 50, "%s %n {0}"):
            index.search(question.encode("utf-8", "replace").decode(), caller=Caller())
