"""Documents into passages and sentences; words as the index sees them; what counts as the same."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.documents import duplicates
from penstock.documents.draft import Raw
from penstock.documents.reading import read
from penstock.documents.split import LARGE, context_of, split
from penstock.errors import Unreadable
from penstock.text.languages import language_of
from penstock.text.sentences import LONGEST, sentences_of
from penstock.text.words import cut, query_terms, term_ids
from penstock.types import Document


def document(text: str, name: str = "x.md") -> Document:
    (found,) = read(Raw(name, text.encode()))
    assert isinstance(found, Document)
    return found


def test_passages_follow_the_headings():
    found = document(
        "# Shop\n\nintro words\n\n## Returns\n\nBooks, thirty days.\n\n### Sale\n\nFinal.\n\n## Shipping\n\nFive days.\n"
    )

    pieces = split(found)

    assert [(p.section, found.text[p.start : p.end]) for p in pieces] == [
        (("Shop",), "intro words"),
        (("Shop", "Returns"), "Books, thirty days."),
        (("Shop", "Returns", "Sale"), "Final."),
        (("Shop", "Shipping"), "Five days."),
    ]
    assert context_of(found.title, found.source, pieces[2].section) == "Shop > Returns > Sale"


def test_small_paragraphs_are_taken_together_and_large_ones_stay_apart():
    small = "A short paragraph of a few words."
    large = "This sentence is one of many in a long paragraph. " * 20

    pieces = split(document(f"{small}\n\n{small}\n\n{large}\n\n{large}\n"))

    assert len(pieces) == 2
    assert pieces[0].sentences[0] == (0, len(small))


def test_a_document_of_headings_alone_is_its_headings():
    found = document("# One\n\n## Two\n")

    assert " ".join(found.text[p.start : p.end] for p in split(found)) == "One\n\n## Two"


def test_list_numbers_go_with_what_they_count():
    text = "1. Open the box. 2. Remove the foil. Done."

    assert [text[a:b] for a, b in sentences_of(text, "en")] == ["1. Open the box.", "2. Remove the foil.", "Done."]


TEXTS = st.text(alphabet=st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=4000)


@given(TEXTS)
@example("_")
@example("* * *")
@settings(max_examples=200, deadline=None)
@pytest.mark.parametrize("name", ["x.md", "x.txt", "x.py"])
def test_passages_cover_every_word_once_and_in_order(name: str, text: str):
    try:
        found = document(text, name)
    except Unreadable:
        return
    pieces = split(found)
    covered = [False] * len(found.text)
    last = 0

    for piece in pieces:
        assert last <= piece.start < piece.end <= len(found.text)
        assert piece.end - piece.start <= max(LARGE, LONGEST)
        assert all(0 <= a < b <= piece.end - piece.start for a, b in piece.sentences)
        assert piece.sentences
        last = piece.end
        covered[piece.start : piece.end] = [True] * (piece.end - piece.start)
    headings = [(b.start, b.end) for b in found.blocks if b.kind == "heading"]
    for block in found.blocks:
        if block.kind != "heading" or len(headings) == len(found.blocks):
            assert all(covered[n] or found.text[n].isspace() for n in range(block.start, block.end))


@given(st.text(max_size=1500), st.sampled_from(["en", "de", "zh", "th", "ar", ""]))
@settings(max_examples=200, deadline=None)
def test_sentences_leave_out_nothing_but_space_and_emphasis(text: str, language: str):
    text = text.encode("utf-8", "replace").decode()
    spans = sentences_of(text, language)

    def bare(some: str) -> str:
        return re.sub(r"[\s*_]", "", some)

    assert all(a < b for a, b in spans)
    assert [a for a, _ in spans] == sorted(a for a, _ in spans)
    assert bare(text) == bare("".join(text[a:b] for a, b in spans))


# ---------------------------------------------------------------- words


def test_words_of_spaced_and_unspaced_scripts():
    assert cut("Größe: 1,000.50 — naïve") == ["größe", "1", "000", "50", "naïve"]
    assert cut("如何退货ABC") == ["如何", "何退", "退货", "abc"]
    assert cut("क्या मैं वापस") == ["क्या", "मैं", "वापस"]
    assert cut("ﬁne ½") == ["fine", "1⁄2"] or cut("ﬁne") == ["fine"]


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [("en", "returned items", "return item"), ("de", "Bücher zurückgeben", "Buch zurückgebend"),
     ("es", "devoluciones rápidas", "devolucion rapida"), ("ru", "возвраты товаров", "возврат товара"),
     ("fr", "les retours", "retour")],
)  # fmt: skip
def test_inflected_words_are_one_term(language: str, one: str, other: str):
    assert term_ids(one, language) == term_ids(other, language)


def test_stop_words_are_left_out_in_their_own_language_only():
    assert term_ids("the of and", "en") == []
    assert len(term_ids("the of and", "fi")) == 3


def test_a_question_brings_its_stems_in_every_language_of_the_documents():
    found = query_terms("How do I return the Autos", ["en", "de"])

    assert set(found) == {"return", "autos"}
    assert len(found["autos"]) == 2


@pytest.mark.parametrize(
    ("text", "language"),
    [("The parcel is delivered within five working days.", "en"),
     ("Das Paket wird innerhalb von fünf Tagen zugestellt.", "de"), ("El paquete se entrega en cinco días laborables.", "es"),
     ("商品は三十日以内に返品できます。返金は五日以内です。", "ja"), ("12345 !!", ""), ("", "")],
)  # fmt: skip
def test_languages_are_told_apart(text: str, language: str):
    assert language_of(text) == language


# ---------------------------------------------------------------- the same


LONG = "Books can be returned within thirty days of delivery if they are unread and in their original wrapping with the receipt"


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (LONG.upper().replace(" ", "  ") + ".", True),
        (LONG.replace("if they are", "when they are"), True),
        (LONG.replace("thirty", "30").replace("30 days", "30 days"), False),
        (LONG.replace("can be", "can not be"), False),
        (LONG.replace("Books", "Lamps"), False),
        (LONG.replace("the receipt", "Ann's receipt"), False),
        ("delivery of days thirty within returned be can Books", False),
        ("", False),
    ],
)
def test_near_duplicates_differ_in_nothing_that_matters(other: str, alike: bool):
    assert duplicates.same(LONG, other) is alike
    assert duplicates.same(other, LONG) is alike


def test_bands_do_not_depend_on_what_is_beside_them():
    passages = [term_ids(text, "en") for text in (LONG, "", "two words", "one two three")]

    assert duplicates.signatures(passages) == [duplicates.signatures([terms])[0] for terms in passages]


def test_near_duplicates_share_a_band_and_strangers_do_not():
    texts = (LONG * 3, LONG * 3 + " thank you", "Parcels to Norway take five days and need a customs form " * 3)
    bands, near, far = map(set, duplicates.signatures([term_ids(text, "en") for text in texts]))

    assert bands & near
    assert not bands & far
