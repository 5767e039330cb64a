"""The recipe of the tagger: a tiny run makes files that the tagger reads, and the rows it learns from are right."""

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("faker", reason="the extra `train` is not installed")

from penstock.guard.gazetteers import Gazetteer
from penstock.guard.names import LABELS, Features, Names
from penstock.train.tagger import clean_texts, labelled, nobody_in, train
from penstock.train.tagger_rows import Row, Rows, sentences
from penstock.train.tagger_things import things_of
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


@pytest.mark.parametrize("language", sorted(LOCALES))
def test_things_in_a_row_are_nobody_and_people_in_a_row_are_people(language: str):
    given, things = sentences(language), things_of(language)
    rows = Rows(language, given, Values(language, CITIES, size=40), given.nobody, random.Random(3))

    assert len(things.ambiguous) >= 50
    assert len(things.labels) >= 30
    assert len(things.people) >= 15
    assert all("{x}" in sentence for sentence in things.sentences)
    for _ in range(60):
        nobody = [*rows.listing(people=False), *rows.of_things()]
        assert not any(piece.kind in ("PERSON", "ADDRESS") for piece in nobody)
        assert sum(piece.kind == "PERSON" for piece in rows.listing()) >= 2


def test_only_rows_whose_licence_allows_it_are_searched_for_nobody(tmp_path: Path):
    sources = ["wildguard-benign", "promptshield5k/Alpaca", "olid", "davidson"]
    rows = [{"text": f"{source} {n}", "label": 0, "source": source} for source in sources for n in range(50)]
    rows += [{"text": f"attack {n}", "label": 1, "source": "wildguard-benign"} for n in range(50)]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "injection_train.jsonl").write_text("\n".join(lines[:100] + lines[200:]), "utf-8")
    (tmp_path / "moderation_train.jsonl").write_text("\n".join(lines[100:200]), "utf-8")

    texts = clean_texts(tmp_path)

    assert {text.split()[0] for text in texts} == {"wildguard-benign", "davidson"}
    assert 60 < len(texts) < 95  # one in five is for measuring
    assert clean_texts(tmp_path / "nothing here") == []


def test_sentences_about_nobody_are_those_in_which_a_tagger_sees_nobody():
    texts = ["Hello, my name is Sarah Mitchell. How long do I boil an egg for breakfast?", "Short."]

    assert list(nobody_in(texts, Names())) == ["How long do I boil an egg for breakfast?"]
