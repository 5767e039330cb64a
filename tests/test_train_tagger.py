"""The recipe of the tagger: a tiny run makes files that the tagger reads, and the rows it learns from are right."""

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("faker", reason="the extra `train` is not installed")

from penstock.guard.gazetteers import Gazetteer
from penstock.guard.names import LABELS, Features, Names
from penstock.train.tagger import labelled, train
from penstock.train.tagger_rows import Row, Rows, sentences
from penstock.train.tagger_values import LOCALES, Values, held_out

CITIES = {language: ["Paris", "Berlin"] for language in LOCALES}


@pytest.mark.slow
def test_a_tiny_run_makes_a_tagger_that_can_be_loaded(tmp_path: Path):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")

    train(tmp_path / "data", tmp_path / "out", check=True)

    card = json.loads((tmp_path / "out" / "card.json").read_text("utf-8"))
    assert card["trained"]["steps"] == 30
    assert isinstance(Names(tmp_path / "out").find("Hello, my name is Sarah Mitchell."), list)


@pytest.mark.parametrize("language", sorted(LOCALES))
def test_every_language_has_sentences_enough_and_all_their_slots_can_be_filled(language: str):
    given = sentences(language)
    rows = Rows(language, given, Values(language, CITIES, size=40), given.nobody, random.Random(1))

    assert len(given.people) >= 40
    assert len(given.nobody) >= 40
    for sentence in given.people + given.nobody:
        assert "{" not in "".join(piece.text for piece in rows.pieces(sentence))
    for people in (True, False):
        for _ in range(60):
            row = rows.row(people=people)
            assert all(0 <= start < end <= len(row.text) for start, end, _ in row.spans)


def test_a_row_about_nobody_has_no_person_and_no_address():
    given = sentences("en")
    rows = Rows("en", given, Values("en", CITIES, size=40), given.nobody, random.Random(2))

    kinds = {kind for _ in range(300) for _, _, kind in rows.row(people=False).spans}

    assert kinds <= {"ORGANIZATION", "LOCATION"}


def test_words_that_are_held_out_are_in_no_value_that_trains():
    training, measuring = Values("de", CITIES, size=200), Values("de", CITIES, size=200, held=True)

    assert not any(held_out(person.full) for person in training.people)
    assert all(held_out(person.full) for person in measuring.people)


def test_labels_follow_the_tokens():
    text = "Hi Anna Maier, +49 30 1234"

    _, labels = labelled(Row(text, [(3, 13, "PERSON")], [(15, len(text))]), Features(Gazetteer(b"")))

    assert [LABELS[label] for label in labels] == ["O", "B-PERSON", "I-PERSON", "O", "O"]
