"""Search: a caller's result is the one that an index of only their passages gives, however the index came about."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeLibrary, take
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from penstock.config import WebSettings
from penstock.documents.collection import Collection
from penstock.documents.library import Library
from penstock.documents.segment import Entry, Segment, SegmentWriter, merge
from penstock.errors import BadRequest
from penstock.testing import WordEmbedder
from penstock.types import Caller, Document, Found

WORDS = ("books", "boats", "parcel", "Norway", "return", "thirty", "days", "shop", "director", "earns", "gift", "card")
ANYBODY = Caller()


@contextmanager
def fresh_library() -> Iterator[tuple[Library, Path]]:
    """For properties, which need one for each example."""
    with tempfile.TemporaryDirectory() as name:
        library = Library(Path(name) / "home", WordEmbedder, folder=Path(name), collections={}, web=WebSettings())
        try:
            yield library, Path(name)
        finally:
            library.close()


def scored(found: Found) -> list[tuple[str, str, float, float]]:
    """What a search gave, without the order of equals and without numbers of the catalog."""
    rows = [(h.passage.text, h.passage.source, round(h.score, 4), round(h.parts["bm25"], 4)) for h in found.hits]
    return sorted(rows, key=lambda row: (-row[2], row))


texts = st.lists(st.sampled_from(WORDS), min_size=3, max_size=12).map(" ".join)
questions = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)


guarded = st.tuples(texts, st.sampled_from(["", "hr", "board"]))


@given(documents=st.lists(guarded, min_size=1, max_size=12, unique_by=lambda d: d[0]), question=questions)
@settings(max_examples=25, deadline=None)
def test_passages_that_a_caller_may_not_read_leave_no_trace_in_the_result(
    documents: list[tuple[str, str]], question: str
):
    everything = [Document(f"{n}.md", text, access=(role,) if role else ()) for n, (text, role) in enumerate(documents)]
    caller = Caller("ann", ("hr",))
    readable = [d for d in everything if not d.access or "hr" in d.access]

    with fresh_library() as (library, _):
        both = []
        for name, some in (("all", everything), ("readable", readable)):
            if some:
                take(library.create(name), *some)
                both.append(library[name].search(question, caller=caller, k=50))

    if readable:
        assert scored(both[0]) == scored(both[1])
        assert (both[0].searched, both[0].dense_weight) == (both[1].searched, both[1].dense_weight)
        assert both[0].spread == pytest.approx(both[1].spread, abs=1e-3)
        assert both[0].terms == pytest.approx(both[1].terms)
    else:
        assert both[0].hits == ()


changes = st.lists(st.tuples(st.integers(0, 5), st.none() | texts), min_size=1, max_size=8)


@given(rounds=st.lists(changes, min_size=1, max_size=5), question=questions)
@settings(max_examples=25, deadline=None)
def test_an_index_that_grew_step_by_step_answers_as_one_built_at_once(
    rounds: list[list[tuple[int, str | None]]], question: str
):
    with fresh_library() as (library, root):
        folder = root / "docs"
        folder.mkdir()
        (folder / "fixed.txt").write_text("The shop opens at nine.")
        grown, built = library.create("grown"), library.create("built")
        for some in rounds:
            for number, text in some:
                path = folder / f"{number}.txt"
                path.write_text(f"{text} {number} {number}") if text else path.unlink(missing_ok=True)
            grown.add([str(folder)])
        built.add([str(folder)])

        one, other = (c.search(question, k=50) for c in (grown, built))

        assert scored(one) == scored(other)
        assert one.searched == other.searched


passages = st.tuples(
    st.lists(st.integers(1, 9), max_size=6), st.integers(0, 3), st.booleans()
)  # terms, sentences, alive


@given(rows=st.lists(passages, min_size=2, max_size=20), data=st.data())
@settings(max_examples=50, deadline=None)
def test_merged_segments_hold_what_one_written_at_once_holds(
    rows: list[tuple[list[int], int, bool]], data: st.DataObject
):
    assume(any(alive for *_, alive in rows))
    cut = data.draw(st.integers(1, len(rows) - 1))
    generator = np.random.default_rng(len(rows))
    entries = [
        Entry(n, n, n.to_bytes(16, "big"), "en" if n % 2 else "de", terms,
              generator.normal(size=(1 + sentences, 8)).astype(np.float32), [(s, s + 1) for s in range(sentences)], [n] * 8)
        for n, (terms, sentences, _) in enumerate(rows)
    ]  # fmt: skip
    live = [alive for *_, alive in rows]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def written(some: list[Entry]) -> Segment:
            writer = SegmentWriter("words", 8)
            for entry in some:
                writer.add(entry)
            return Segment.open(folder / writer.write(folder))

        parts = [
            (written(entries[:cut]), np.array(live[:cut], bool)),
            (written(entries[cut:]), np.array(live[cut:], bool)),
        ]
        merged = Segment.open(folder / merge(parts, folder))
        at_once = written([entry for entry, alive in zip(entries, live, strict=True) if alive])

        assert len(merged) == sum(live)
        for field in ("passage", "document", "key", "signature", "length", "vectors", "sentence_at", "sentence_span"):
            assert np.array_equal(getattr(merged, field), getattr(at_once, field)), field
        for row in range(len(merged)):
            assert np.array_equal(merged.parts(row), at_once.parts(row))
        for term in range(11):
            for one, other in zip(merged.postings(term), at_once.postings(term), strict=True):
                assert one.tolist() == other.tolist()


# ---------------------------------------------------------------- filters


@pytest.fixture
def shelf(library: Library) -> Collection:
    collection = library.create("shelf")
    take(
        collection,
        Document(
            "hr/pay.md", "Pay day is the last working day.", tags=("pay", "staff"), date="2026-03-01", language="en"
        ),
        Document("hr/leave.md", "Leave is thirty days a year.", tags=("staff",), date="2025-01-01", language="en"),
        Document(
            "shop/rabatt.md", "Rabatt gibt es am Freitag im Laden.", language="de", metadata={"shop": 7, "open": True}
        ),
    )
    return collection


@pytest.mark.parametrize(
    ("where", "sources"),
    [
        ({"source": "hr/*"}, {"hr/pay.md", "hr/leave.md"}),
        ({"tag": "pay"}, {"hr/pay.md"}),
        ({"tag": ["pay", "staff"], "until": "2025-12-31"}, {"hr/leave.md"}),
        ({"since": "2026-01-01"}, {"hr/pay.md"}),
        ({"language": "de"}, {"shop/rabatt.md"}),
        ({"shop": 7}, {"shop/rabatt.md"}),
        ({"shop": "7"}, {"shop/rabatt.md"}),
        ({"shop": 8}, set()),
    ],
)
def test_a_filter_lets_through_what_fits_all_its_conditions(
    shelf: Collection, where: dict[str, object], sources: set[str]
):
    found = shelf.search("day", where=where, k=10)

    assert {hit.passage.source for hit in found.hits} == sources
    assert found.searched == len(sources)


def test_a_field_that_no_document_has_is_more_likely_mistyped(shelf: Collection):
    with pytest.raises(BadRequest, match="no document has a field 'colour'") as refused:
        shelf.search("day", where={"colour": "red"})

    assert "shop" in refused.value.hint


def test_a_date_that_is_none_is_refused(shelf: Collection):
    with pytest.raises(BadRequest, match="'since' must be a date"):
        shelf.search("day", where={"since": "last week"})


# ---------------------------------------------------------------- scores


def test_every_part_of_a_score_is_shown(shelf: Collection):
    found = shelf.search("How many days of leave?", k=3)
    hit = found.hits[0]

    assert hit.passage.source == "hr/leave.md"
    assert set(hit.parts) == {"bm25", "dense", "bm25_share", "dense_share"}
    weighted = found.dense_weight * hit.parts["dense_share"] + (1 - found.dense_weight) * hit.parts["bm25_share"]
    assert hit.score == pytest.approx(weighted, abs=1e-5)


def test_a_question_without_a_known_word_is_searched_by_meaning_alone(shelf: Collection):
    found = shelf.search("xyzzy plugh", k=3)

    assert found.dense_weight == 1.0
    assert len(found.hits) == 3


def test_words_are_stemmed_in_the_language_of_the_documents(make_library: MakeLibrary):
    collection = make_library().create("de")
    take(
        collection,
        Document("a.md", "Die Rückgabe der gekauften Bücher ist dreißig Tage möglich.", language="de"),
        Document("b.md", "Pakete werden innerhalb von fünf Tagen zugestellt.", language="de"),
    )

    hit = collection.search("Buch zurückgeben: welches Buch?").hits[0]

    assert (hit.passage.source, hit.parts["bm25"] > 0) == ("a.md", True)


def test_equal_passages_come_in_the_order_in_which_they_were_taken_in(library: Library):
    collection = library.create("equal")
    take(collection, *(Document(f"{n}.md", f"books parcel {'ab'[n % 2]}{n}") for n in range(6)))

    orders = {tuple(h.passage.source for h in collection.search("books", k=6).hits if h) for _ in range(3)}

    assert len(orders) == 1
