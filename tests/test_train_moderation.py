"""The recipe of the moderation heads: rows are pairs, templates are filled whole, and heads learn what rows say."""

from collections import defaultdict

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")

from penstock.guard.moderation import FOLDER, HEADS, Lexicon, plain
from penstock.train.moderation import FOLDS, ROWS, Row, contrast_rows


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return contrast_rows(per_template=4)


def test_every_slot_of_every_template_is_filled(rows: list[Row]):
    assert not [each.text for each in rows if "{" in each.text or "/" in each.text or "|" in each.text]


def test_sixteen_languages_have_both_sides_of_every_head(rows: list[Row]):
    sides: dict[tuple[str, str], set[int]] = defaultdict(set)
    for each in rows:
        for head, label in zip(HEADS, each.labels, strict=True):
            sides[each.language, head].add(label)

    assert len({language for language, _ in sides}) == 16
    assert all(found == {0, 1} for found in sides.values())


def test_the_same_seed_makes_the_same_rows(rows: list[Row]):
    assert contrast_rows(per_template=4) == rows


def test_what_a_row_says_is_read_in_its_language(rows: list[Row]):
    lexicon = Lexicon((FOLDER / "concepts.txt").read_text("utf-8"))
    right = [lexicon.read(plain(each.text))[0] == each.language for each in rows]

    assert sum(right) / len(right) > 0.97


def test_every_source_of_our_own_is_left_out_once(rows: list[Row]):
    left_out = [source for fold in FOLDS for source in fold]

    assert len(left_out) == len(set(left_out))
    assert {each.source for each in rows} <= set(left_out)
    assert "olid" not in left_out


def test_labels_given_by_hand_name_rows_once_per_head():
    for line in (ROWS / "labels_of_hh.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            letter, _, numbers = line.partition(": ")
            assert letter in "HAVSUIT?"
            assert len(numbers.split()) == len(set(numbers.split()))
