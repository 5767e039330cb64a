"""Contracts and stand-ins, shipped so that others can test what they plug in.

A contract is a class of tests. Subclass it, say how to make the thing, and pytest runs every promise against it:

    class TestMyEmbedder(EmbedderContract):
        def make(self): return MyEmbedder()
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from penstock.errors import BadRequest
from penstock.types import (
    Answer,
    Answerer,
    Caller,
    Document,
    Embedder,
    Event,
    Finished,
    Found,
    Hit,
    Index,
    Passage,
    Quoter,
    Sentence,
    Status,
    TextDelta,
    Turn,
)  # fmt: skip

if TYPE_CHECKING:
    from penstock.evaluate.cases import Case, Reply
    from penstock.evaluate.scored import Scored, Scorer
    from penstock.types import Vectors

__all__ = ["AnswererContract", "EmbedderContract", "IndexContract", "QuoterContract", "ScorerContract", "WordEmbedder"]


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


class ScorerContract(ABC):
    """What every `Scorer` promises."""

    ANSWERS = ("", "Within thirty days.", "x" * 5000, "数量 · ١٢٣ · \u202eabc\x00", "'; drop table answers; --")

    @abstractmethod
    def make(self) -> Scorer: ...

    def case(self) -> Case:
        """A case that asks for this score."""
        from penstock.evaluate.cases import Case

        return Case(id="1", question="How long can books be returned?", expected=("within thirty days",), lang="en")

    def reply(self, text: str) -> Reply:
        """An answer that can be scored."""
        from penstock.evaluate.cases import Reply

        return Reply(text=text)

    def scored(self, scorer: Scorer, reply: Reply) -> Scored:
        from penstock.evaluate.scored import Scored

        found = scorer.score(self.case(), reply)

        async def waited() -> Scored:
            assert not isinstance(found, Scored)
            return await found

        return found if isinstance(found, Scored) else asyncio.run(waited())

    def test_it_says_what_it_is_and_what_it_does_not_show(self) -> None:
        about = self.make().about

        assert about.name.isidentifier()
        assert about.what
        assert about.needs
        assert about.note.endswith(".")

    def test_values_are_in_the_range_that_it_says(self) -> None:
        scorer = self.make()
        found = [self.scored(scorer, self.reply(text)) for text in self.ANSWERS]

        assert any(one.state == "scored" for one in found)
        assert all(scorer.about.low <= one.value <= scorer.about.high for one in found if one.state == "scored")
        assert all(one.why for one in found if one.state == "unscored")
        assert not scorer.about.passes or {one.value for one in found if one.state == "scored"} <= {0.0, 1.0}

    def test_the_same_answer_has_the_same_score(self) -> None:
        first, second = self.make(), self.make()

        for text in self.ANSWERS:
            assert self.scored(first, self.reply(text)) == self.scored(second, self.reply(text))

    def test_a_request_that_failed_is_never_good(self) -> None:
        from penstock.evaluate.cases import Reply

        scorer = self.make()
        found = self.scored(scorer, Reply(state="failed", error="upstream_error"))

        assert found.state != "scored" or found.value == scorer.about.worst


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


class QuoterContract(ABC):
    """What every `Quoter` promises."""

    SENTENCES = (
        "Books can be returned within thirty days.",
        "Sale items are final.",
        "Parcels to Norway take five days.",
    )
    TEXT = " ".join(SENTENCES)

    @abstractmethod
    def make(self) -> Quoter: ...

    def found(self) -> Found:
        """What a search for the return of books may have found: one passage of three sentences."""
        starts = [self.TEXT.index(sentence) for sentence in self.SENTENCES]
        spans = [(a, a + len(text), 0.8 / n) for n, (a, text) in enumerate(zip(starts, self.SENTENCES, strict=True), 1)]
        passage = Passage("7", "3", "returns.md", self.TEXT, 100, 100 + len(self.TEXT), title="Returns", language="en")
        parts = {"bm25": 3.0, "dense": 0.7, "bm25_share": 1.0, "dense_share": 1.0}
        hit = Hit(passage, 1.0, parts, tuple(Sentence(*span) for span in spans))
        return Found((hit,), "v1", terms={"books": 1.2, "returned": 1.5}, languages=("en",), searched=1, spread=4.0)

    def test_a_quote_is_the_words_of_the_document_where_it_says_it_is(self) -> None:
        answer = self.make().quote("How long can books be returned?", self.found())

        for citation in (*answer.citations, *answer.nearest):
            assert self.TEXT[citation.start - 100 : citation.end - 100] == citation.quote
            assert (citation.source, citation.document_id, citation.passage_id) == ("returns.md", "3", "7")

    def test_there_are_no_more_quotes_than_asked_for(self) -> None:
        answer = self.make().quote("How long can books be returned?", self.found(), limit=1)

        assert len(answer.citations) + len(answer.nearest) <= 1

    def test_the_text_is_made_of_what_is_quoted(self) -> None:
        answer = self.make().quote("How long can books be returned?", self.found())

        assert answer.text.endswith(" ".join(answer.citations[n].quote for n in answer.quoted))
        assert 0 <= answer.confidence <= 1

    def test_where_nothing_was_found_nothing_is_quoted(self) -> None:
        answer = self.make().quote("How long can books be returned?", Found((), "v1"))

        assert (answer.status, answer.citations, answer.quoted) == (Status.NOT_FOUND, (), ())
        assert answer.text


class AnswererContract(ABC):
    """What every `Answerer` promises. `make` returns one that answers from IndexContract.DOCUMENTS."""

    QUESTION = "How long can books be returned?"

    @abstractmethod
    def make(self) -> Answerer: ...

    def told(self, turn: Turn) -> list[Event]:
        async def listen() -> list[Event]:
            return [event async for event in self.make().stream(turn)]

        return asyncio.run(listen())

    def answer(self, turn: Turn) -> Answer:
        last = self.told(turn)[-1]
        assert isinstance(last, Finished)
        return last.answer

    def test_the_stream_is_the_text_in_pieces_and_then_the_end(self) -> None:
        *pieces, last = self.told(Turn(self.QUESTION))

        assert isinstance(last, Finished)
        assert all(isinstance(piece, TextDelta) for piece in pieces)
        assert "".join(piece.text for piece in pieces if isinstance(piece, TextDelta)) == last.answer.text

    def test_pieces_name_the_citation_they_come_from(self) -> None:
        *pieces, last = self.told(Turn(self.QUESTION))

        assert isinstance(last, Finished)
        for piece in pieces:
            if isinstance(piece, TextDelta) and piece.citation is not None:
                assert last.answer.citations[piece.citation].quote in piece.text

    def test_a_caller_is_answered_from_what_they_may_read(self) -> None:
        turn = Turn("What does the director earn?", Caller("ann"))

        assert not any("90,000" in citation.quote for citation in self.answer(turn).citations)

    def test_a_question_that_is_none_is_refused_before_anything_is_said(self) -> None:
        try:
            self.told(Turn("   "))
        except BadRequest:
            return
        raise AssertionError("an empty question was answered")
