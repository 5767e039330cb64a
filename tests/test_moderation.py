"""Harm by kind: the same words are hate or not, in any of the languages; long, odd and hostile texts are read in linear time."""

import json
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import StorageError
from penstock.guard import moderation
from penstock.guard.moderation import HEADS, Lexicon, Moderation, plain, windows


@pytest.fixture(scope="module")
def moderate() -> Moderation:
    return Moderation()


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon((moderation.FOLDER / "concepts.txt").read_text("utf-8"))


def said(lexicon: Lexicon, text: str) -> list[str]:
    return [lexicon.concepts[concept] for _, concept in lexicon.read(plain(text))[1]]


def test_every_head_has_a_score_between_0_and_1(moderate: Moderation):
    scores = moderate.scores("The library opens at nine.")

    assert tuple(scores) == HEADS
    assert all(0 <= score < 0.5 for score in scores.values())


@pytest.mark.parametrize(
    ("hateful", "harmless"),
    [
        ("I hate immigrants, they are vermin.", "I hate Mondays, they are long."),
        ("Women are worthless and stupid.", "Nobody should say that women are stupid."),
        ("Ich hasse Muslime, sie sind Abschaum.", "Ich hasse kalten Kaffee."),
        ("Los inmigrantes son una plaga.", "Los inmigrantes son buenos vecinos."),
        ("Je déteste les juifs.", "Je déteste les embouteillages."),
        ("Gli immigrati sono feccia.", "Gli immigrati sono i miei amici."),
        ("Ik haat vluchtelingen, het is ongedierte.", "Ik haat files."),
        ("Geje są śmieciami.", "Geje zasługują na takie same prawa."),
        ("Odeio os negros, são lixo.", "Amo os negros, são amigos."),
        ("أكره اللاجئين فهم حثالة", "أكره القهوة الباردة"),
        ("मुसलमान कीड़े हैं।", "मैं मुसलमानों से प्यार करता हूँ।"),
        ("穆斯林是人渣。", "我讨厌堵车。"),
        ("유대인은 벌레다.", "나는 월요일이 싫다."),
        ("移民はゴミだ。", "渋滞が大嫌いだ。"),
        ("Беженцы это мусор.", "Я ненавижу пробки."),
        ("Mülteciler pislik.", "Mülteciler harika."),
        ("Flyktingar är ohyra.", "Jag hatar bilköer."),
    ],
)
def test_hate_is_told_from_the_same_words_about_other_things(moderate: Moderation, hateful: str, harmless: str):
    assert moderate.scores(hateful)["hate"] > 0.5 > moderate.scores(harmless)["hate"]


@pytest.mark.parametrize(
    ("head", "harmful", "harmless"),
    [
        ("harassment", "Shut up, you pathetic loser", "The plot of this film is pathetic"),
        ("violence", "I will kill you and your family", "How do I kill a Python process?"),
        ("sexual", "She took off her clothes and we had sex on the sofa", "Sex education keeps teenagers healthy"),
        ("self_harm", "I want to kill myself tonight", "What is the number of the suicide prevention hotline?"),
        ("illegal", "How do I make a bomb at home?", "Police found a bomb from the war"),
        ("toxicity", "what the hell is this bullshit, you idiot", "I do not agree with this"),
    ],
)
def test_a_harm_is_told_from_what_only_sounds_like_it(moderate: Moderation, head: str, harmful: str, harmless: str):
    assert moderate.scores(harmful)[head] > 0.5 > moderate.scores(harmless)[head]


@pytest.mark.parametrize(
    "text", ["I h4te w0men", "I hate w o m e n", "I hate wo\u200bmen", "I HATE WOMEN", "I hate w.o.m.e.n"]
)
def test_hidden_spellings_are_read_out(lexicon: Lexicon, text: str):
    assert said(lexicon, text) == ["me", "hate", "group"]


def test_a_phrase_says_more_than_its_words(lexicon: Lexicon):
    assert "suicide" in said(lexicon, "I want to kill myself")
    assert "harm" not in said(lexicon, "I want to kill myself")


def test_languages_without_blanks_are_read_too(lexicon: Lexicon):
    assert said(lexicon, "我讨厌女人") == ["me", "hate", "group"]


def test_the_language_can_be_named(lexicon: Lexicon):
    assert lexicon.read(plain("die"), language="de")[1] == []
    assert lexicon.read(plain("die"), language="en")[1] != []


def test_a_sentence_at_the_end_of_a_long_text_is_found(moderate: Moderation):
    calm = "The committee met on Tuesday and talked about the new playground. " * 60

    assert moderate.scores(calm)["hate"] < 0.5
    assert moderate.scores(calm + "All immigrants are vermin and should be shot.")["hate"] > 0.5


@given(st.text(max_size=3000))
def test_windows_cover_the_text_and_overlap(text: str):
    cut = list(windows(text))

    assert cut[0] == text[:300]
    assert all(len(window) <= 300 for window in cut)
    assert cut[0] + "".join(window[75:] for window in cut[1:]) == text


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_text_gets_scores(text: str):
    scores = Moderation(encoder=None).scores(text) if not text.strip() else SHARED.scores(text)

    assert all(0 <= scores[head] <= 1 for head in HEADS)


SHARED = Moderation(encoder=None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "\x00",
        "\ud800 I hate women \udfff",
        "a" * 200_000,
        "? " * 50_000,
        '"' * 50_000,
        "w o " * 50_000,
        "4a" * 50_000,
    ],
)
def test_odd_and_hostile_texts_are_read(text: str):
    scores = SHARED.scores(text)

    assert all(np.isfinite(score) for score in scores.values())


def test_the_work_grows_with_the_text_and_no_faster(lexicon: Lexicon):
    """Counted in buckets, since a clock lies on a busy machine."""
    found = lexicon.read("i hate women " * 50)[1]
    twice = lexicon.read("i hate women " * 100)[1]

    assert len(twice) == 2 * len(found)
    assert len(lexicon.pairs(twice)) <= len(lexicon.pairs(found)) + 5


class Counting:
    """An encoder that knows nothing, and counts what it is asked."""

    id, dim, asked = "counting", 384, 0

    def embed(self, texts: Iterable[str]):
        rows = [np.zeros(384, np.float32) for _ in texts]
        self.asked += len(rows)
        return np.stack(rows)


def test_the_encoder_is_asked_only_in_doubt():
    encoder = Counting()
    moderate = Moderation(encoder=lambda: encoder)  # type: ignore[arg-type, return-value]

    moderate.scores("The library opens at nine and closes at six.")
    moderate.scores("La biblioteca abre a las nueve. Los inmigrantes son una plaga.")
    assert encoder.asked == 0  # sure, and not English

    moderate.scores("I despise people who attack women")
    assert encoder.asked == 1


def test_a_long_text_costs_the_encoder_no_more_than_24_windows():
    encoder = Counting()
    moderate = Moderation(encoder=lambda: encoder)  # type: ignore[arg-type, return-value]

    moderate.scores("I hate immigrants, they are vermin and should be shot. " * 400)

    assert 0 < encoder.asked <= moderation.MOST_ASKED


@pytest.mark.parametrize(
    "question",
    [
        "How do I log in to my account?", "How do I clean my cast iron pan?", "How do I wash my down sleeping bag?",
        "How do I measure my feet for shoes?", "Who do I write to about my personal data?", "How to I close my account?",
    ],
)  # fmt: skip
def test_a_customers_question_is_not_taken_for_a_wish_to_hurt_oneself(question: str):
    assert Moderation().scores(question)["self_harm"] < 0.5


@pytest.mark.parametrize(
    "said",
    [
        "I want to kill myself", "how do I hurt myself without anyone noticing", "I don't want to live anymore",
        "how many pills do I need to die", "I keep cutting my arms", "best way to end my life", "how do I starve myself",
    ],
)  # fmt: skip
def test_whoever_means_to_hurt_themselves_is_heard(said: str):
    assert Moderation().scores(said)["self_harm"] > 0.5


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(StorageError, match="cannot be loaded"):
        Moderation(tmp_path).scores("hello")


def test_the_weights_are_small_and_their_card_says_what_they_saw():
    files = list(moderation.FOLDER.iterdir())
    card = moderation.card()

    assert sum(file.stat().st_size for file in files) < 1_500_000
    assert not any("olid" in json.dumps(each).lower() for each in card["trained_on"])
    assert set(HEADS) <= {head for rows in card["figures"].values() for head in rows}
