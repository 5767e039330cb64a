"""How content people are, turn by turn: unhappy turns stand above content ones, in seven languages, and nothing breaks it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cli.main import cli
from penstock.errors import BadRequest, StorageError
from penstock.observe.satisfaction import FOLDER, LANGUAGES, WEIGHTS, Satisfaction, card, lists_of, plain, spoken
from penstock.stats import auroc
from penstock.train import satisfaction as recipe
from penstock.train.satisfaction_rows import ABLE, ANSWERS, SYSTEM, TASTES, UNABLE, USER, dialogues
from penstock.types import Message

OWN = Path(__file__).parent.parent / "benchmarks" / "satisfaction_dialogues.jsonl"


@pytest.fixture(scope="module")
def judge() -> Satisfaction:
    return Satisfaction()


@pytest.fixture(scope="module")
def words() -> Satisfaction:
    return Satisfaction(encoder=None)


def last(judge: Satisfaction, *texts: str, language: str = "en") -> float:
    """Of the last turn: a person and an assistant speak in turn, the person last."""
    roles = ("user", "assistant") if len(texts) % 2 else ("assistant", "user")
    return judge.of([(roles[n % 2], text) for n, text in enumerate(texts)], language=language)[-1].low


SCENE = ("I need a table for four at eight.", "Bella Roma has a table for two at nine.")


@pytest.mark.parametrize(
    "unhappy",
    [
        "No, that is not what I asked for.",
        "I already told you, four people.",
        "This is ridiculous, let me talk to a human.",
        "Got anything else?",
        "Never mind, I'll call them.",
        "That's too late for me.",
    ],
)
@pytest.mark.parametrize(
    "content",
    [
        "Perfect, book it please.",
        "No, that's all, thanks.",
        "Great, thank you so much!",
        "No problem, that works.",
        "Yes please.",
    ],
)
def test_an_unhappy_turn_stands_above_a_content_one(
    judge: Satisfaction, words: Satisfaction, unhappy: str, content: str
):
    assert last(judge, *SCENE, unhappy) > last(judge, *SCENE, content)
    assert last(words, *SCENE, unhappy) > last(words, *SCENE, content)


def test_the_encoder_knows_words_that_no_list_has(judge: Satisfaction):
    dull = last(judge, "What did you think of it?", "It put me to sleep within minutes and the plot was a mess.")
    bright = last(judge, "What did you think of it?", "It kept me up all night and the plot was a delight.")

    assert dull > 1.5 * bright


def test_failures_of_the_assistant_weigh_and_fade(words: Satisfaction):
    asked, failed, found = "A hotel in Leeds.", "Sorry, I couldn't find any hotels.", "The Grand is in Leeds."
    more = "What about York?"

    after_failure = last(words, asked, failed, more)
    one_later = last(words, asked, failed, more, found, "How much is it?")
    never = last(words, asked, "Queens has rooms.", more, found, "How much is it?")

    assert after_failure > one_later > never


def test_a_repetition_weighs(words: Satisfaction):
    asked = "Which platform does the train to Oslo leave from?"

    assert last(words, asked, "It is blue.", asked) > last(words, "Who painted this house?", "It is blue.", asked)
    assert last(words, asked, "Try restarting the router.", "Done.", "Try restarting the router.", "Done.") > last(
        words, asked, "Try restarting the router.", "Done.", "Hold the green button.", "Done."
    )


SAID = {
    "en": ("No, that's wrong, I said Friday.", "Thanks, perfect!", "Sorry, I couldn't find anything."),
    "de": ("Nein, das ist falsch, ich sagte Freitag.", "Danke, perfekt!", "Leider konnte ich nichts finden."),
    "es": ("No, eso es un error, dije el viernes.", "¡Gracias, perfecto!", "Lo siento, no encontré nada."),
    "fr": ("Non, c'est une erreur, j'ai dit vendredi.", "Merci, c'est parfait !", "Désolé, je n'ai rien trouvé."),
    "it": ("No, è sbagliato, ho detto venerdì.", "Grazie, perfetto!", "Mi dispiace, non ho trovato niente."),
    "nl": ("Nee, dat is fout, ik zei vrijdag.", "Bedankt, perfect!", "Sorry, ik heb niets gevonden."),
    "pt": ("Não, está errado, eu disse sexta-feira.", "Obrigado, perfeito!", "Desculpe, não encontrei nada."),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_signs_are_read_in_each_language(words: Satisfaction, language: str):
    wrong, thanks, failed = SAID[language]
    turns = [("user", "…"), ("assistant", failed), ("user", wrong), ("assistant", "OK."), ("user", thanks)]

    _, unhappy, content = words.of(turns, language=language)

    named = {name for name, _ in unhappy.why}
    assert named >= {"negation", "refusal", "correction", "assistant apologised", "assistant failed"}
    assert {"thanks", "praise"} <= {name for name, _ in content.why}
    assert unhappy.low > 2 * content.low
    assert words.judge([("user", wrong), ("assistant", failed), ("user", wrong)]).language == language


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_concept_has_words_in_every_language(language: str):
    lists = lists_of(FOLDER, language)

    assert {"no", "yes", "negation", "frustration", "apology", "failure", "success", "stopwords"} <= set(lists)
    assert not any(lists[name].search("") for name in lists if name != "stopwords")


def test_harmless_words_with_a_no_in_them_are_none(words: Satisfaction):
    for harmless in ("No problem.", "Why not, let's see.", "Not bad at all.", "I can't wait!"):
        (felt,) = words.of([("user", harmless)], language="en")
        assert not {"negation", "refusal"} & {name for name, _ in felt.why}


def test_a_language_without_lists_is_not_judged_and_not_called_satisfied(words: Satisfaction):
    turns = [
        ("user", "これは私が頼んだものではありません。"),
        ("assistant", "申し訳ありません。"),
        ("user", "もう結構です。"),
    ]

    judged = words.judge(turns)

    assert (judged.language, judged.turns) == ("ja", ())
    assert judged.unscored
    with pytest.raises(BadRequest, match="'ja'"):
        words.of(turns)


def test_instructions_and_tools_are_passed_over_and_system_may_be_the_assistant():
    instructed = [
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "Bye"),
    ]
    called = [("customer", "Hi"), ("system", "Hello"), ("tool", "{}"), ("system", "How are you?"), ("customer", "Bye")]

    assert [(one.at, one.answered) for one in spoken(instructed)] == [(1, ""), (3, "Hello")]
    assert [(one.at, one.answered) for one in spoken(called)] == [(0, ""), (4, "Hello How are you?")]
    with pytest.raises(BadRequest, match="wizard"):
        spoken([("wizard", "Hi")])


def test_damaged_heads_are_named(tmp_path: Path):
    (tmp_path / "heads.npz").write_bytes(b"PK\x03\x04 not much")
    (tmp_path / "words.txt").write_bytes((FOLDER / "words.txt").read_bytes())

    with pytest.raises(StorageError, match="heads"):
        Satisfaction(tmp_path, encoder=None).of([("user", "hello")], language="en")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system", "tool"]), st.text(max_size=60)), max_size=12))
def test_any_conversation_is_judged_and_later_turns_change_nothing(turns: list[tuple[str, str]]):
    words = Satisfaction(encoder=None)
    turns = [("assistant", "Hello."), *turns]  # who is the assistant is settled

    felt = words.of(turns, language="en")

    assert [one.at for one in felt] == [at for at, (role, _) in enumerate(turns) if role == "user"]
    assert all(0 < one.low < 1 for one in felt)
    for cut in range(len(turns)):
        assert words.of(turns[:cut], language="en") == [one for one in felt if one.at < cut]


@given(st.text())
def test_a_plain_text_stays_as_it_is(text: str):
    assert plain(plain(text)) == plain(text)


def test_surrogates_and_long_texts_are_read(judge: Satisfaction):
    felt = judge.of([("user", "bad \ud800 news " * 5000), ("assistant", ""), ("user", "")], language="en-GB")

    assert len(felt) == 2


def test_own_dialogues_are_ordered_well(judge: Satisfaction):
    """Read as optimistic: the hand that wrote the lists wrote these too."""
    said, low = [], []
    for line in OWN.read_text("utf-8").splitlines():
        row = json.loads(line)
        turns = [(message["role"], message["content"]) for message in row["messages"]]
        for felt in judge.of(turns):
            if row["ratings"][felt.at] is not None:
                said.append(felt.low)
                low.append(row["ratings"][felt.at] < 3)

    assert auroc(said, low).estimate > 0.8


# ---------------------------------------------------------------- the terminal


def test_rows_come_back_in_order_and_bad_ones_stop_nothing(tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    parts = [{"type": "text", "text": "No, wrong."}, {"type": "image_url"}]
    rows = [
        {"id": 1, "messages": [
            {"role": "user", "content": "Hi"}, {"role": "assistant", "content": None}, {"role": "user", "content": parts},
        ]},
        {"id": 2, "messages": "none"},
        {"id": 3, "messages": [{"role": "user", "content": 7}]},
        {"id": 4, "lang": "ja", "messages": [{"role": "user", "content": "はい"}]},
        {"id": 5, "messages": []},
    ]  # fmt: skip
    file.write_text("\n".join([*map(json.dumps, rows), "{"]))

    done = CliRunner().invoke(cli, ["satisfaction", "--words", "--jsonl", str(file)])

    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert [row.get("id") for row in found] == [1, 2, 3, 4, 5, None]
    assert [turn["at"] for turn in found[0]["satisfaction"]] == [0, 2]
    assert found[0]["satisfaction"][1]["why"]["negation"] > 0
    assert [("error" in row, row.get("line")) for row in found[1:3]] == [(True, 2), (True, 3)]
    assert found[3]["satisfaction"] is None
    assert "ja" in found[3]["unscored"]
    assert found[4]["satisfaction"] == []
    assert found[5]["line"] == 6


def test_a_file_is_needed():
    assert CliRunner().invoke(cli, ["satisfaction"]).exit_code == 2


# ---------------------------------------------------------------- the recipe


def test_generated_dialogues_know_what_they_are_about():
    found = dialogues(300, seed=3)

    assert found == dialogues(300, seed=3)
    assert {dialogue.family for dialogue in found} == {"tasks", "tastes", "support", "questions", "home"}
    assert not any("{" in text or "|" in text for dialogue in found for _, text in dialogue.turns)
    rated = [one for dialogue in found for one in dialogue.rated]
    assert {"complain", "praise", "dislike", "close", "repeat"} <= {one.act for one in rated}
    share = {act: np.mean([one.low for one in rated if one.act == act]) for act in ("complain", "accept", "close")}
    assert share["complain"] > 0.9 > 0.4 > max(share["accept"], share["close"])


def test_every_act_has_an_effect_and_an_answer():
    for table in (ANSWERS, TASTES):
        assert set(table) <= set(SYSTEM)
        assert {act for nexts in table.values() for act in nexts} <= set(USER)
    assert {act for nexts in ABLE.values() for act in nexts} | set(UNABLE) <= set(ANSWERS)
    assert set(ABLE) == set(USER)


def test_halves_share_no_line():
    def lines(half: int) -> set[str]:
        found = dialogues(400, seed=1, half=half)
        return {
            text.lower() for dialogue in found for role, text in dialogue.turns if role == "system" and len(text) > 60
        }

    assert len(lines(0) & lines(1)) < 0.02 * len(lines(0))


def test_the_recipe_runs_and_what_it_writes_is_read(tmp_path: Path, words: Satisfaction):
    recipe.main(["--out", str(tmp_path), "--check"])

    trained = Satisfaction(tmp_path)
    assert trained.heads.person.shape == (384,)
    assert trained.heads.calibration["with"][0] > 0
    assert last(trained, *SCENE, "No, that's wrong!") > last(trained, *SCENE, "Perfect, thanks!")


def test_calibration_gives_the_share_that_was_said():
    draw = np.random.default_rng(0)
    low = draw.random(20_000) < 0.5
    scores = draw.normal(size=20_000) + low

    slope, offset = recipe.calibrated(scores, low)

    weights = np.where(low, recipe.LOW / 0.5, (1 - recipe.LOW) / 0.5)
    said = 1 / (1 + np.exp(-(slope * scores + offset)))
    assert slope == pytest.approx(1, abs=0.05)  # two normals one deviation apart: the logit's slope is 1
    assert np.average(said, weights=weights) == pytest.approx(recipe.LOW, abs=0.01)


def test_the_card_says_where_the_weights_come_from():
    said = card()

    assert said["licence"] == "Apache-2.0"
    assert said["sha256"]["words.txt"] == hashlib.sha256((FOLDER / "words.txt").read_bytes()).hexdigest()
    assert "optimistic" in said["set by hand"]
    assert set(WEIGHTS) >= {"negation", "assistant apologised"}
