"""What texts want: learnt from a few examples, in several languages, or none of it; and the files that examples come in."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.main import cli
from penstock.encoder import shipped
from penstock.errors import PenstockError
from penstock.language.intents import MOST_EXAMPLES, OTHER, Example, Intents, read_examples

ENGLISH = {
    "track": [
        "Where is my parcel?", "Has my order shipped yet?", "I am still waiting for my delivery", "Track my order please",
        "When will the package arrive?", "My parcel has not come",
    ],
    "refund": [
        "I want my money back", "When do I get my refund?", "Please refund the order", "The refund is not on my account",
        "Can I be reimbursed for this?", "Return the payment to my card",
    ],
    "password": [
        "I forgot my password", "Reset my password please", "I cannot log in to my account", "The login does not work",
        "My account is locked", "How can I change my password?",
    ],
}  # fmt: skip
GERMAN = {
    "track": [
        "Wo ist mein Paket?", "Wurde meine Bestellung schon verschickt?", "Ich warte noch auf meine Lieferung",
        "Wann kommt das Paket an?", "Mein Paket ist nicht gekommen", "Bitte den Versand meiner Bestellung prüfen",
    ],
    "refund": [
        "Ich möchte mein Geld zurück", "Wann bekomme ich die Erstattung?", "Bitte erstatten Sie die Bestellung",
        "Die Erstattung ist nicht auf meinem Konto", "Kann ich das Geld zurückbekommen?", "Erstattung auf meine Karte",
    ],
    "password": [
        "Ich habe mein Passwort vergessen", "Passwort bitte zurücksetzen", "Ich kann mich nicht anmelden",
        "Die Anmeldung geht nicht", "Mein Konto ist gesperrt", "Wie ändere ich mein Passwort?",
    ],
}  # fmt: skip
ASKED = {
    "track": ("where has my package got to?", "Wo bleibt denn mein Paket?"),
    "refund": ("give me back my money", "Wann kommt mein Geld zurück?"),
    "password": ("what do I do, the password is gone", "Mein Passwort geht nicht mehr"),
}
ELSEWHERE = ["Who won the football match?", "Tell me a joke about penguins", "What is the capital of France?"]


def examples(*languages: dict[str, list[str]]) -> list[Example]:
    return [Example(text, intent) for each in languages for intent, texts in each.items() for text in texts]


@pytest.fixture(scope="module")
def both() -> Intents:
    return Intents(examples(ENGLISH, GERMAN), embedder=shipped())


@pytest.mark.parametrize(("intent", "texts"), ASKED.items())
def test_an_intent_is_found_in_both_languages(both: Intents, intent: str, texts: tuple[str, str]):
    english, german = (both.of(text) for text in texts)

    assert (english.name, german.name) == (intent, intent)
    assert (english.language, german.language) == ("en", "de")
    assert english.confidence > 0.5


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_nobody_gave_an_example_of_is_something_else(both: Intents, text: str):
    assert both.of(text).name == OTHER


def test_examples_of_none_draw_what_is_like_them():
    without = Intents(examples(ENGLISH))
    with_some = Intents([*examples(ENGLISH), *(Example(text, OTHER) for text in ELSEWHERE)])

    assert with_some.names == without.names
    assert with_some.of(ELSEWHERE[1] + "!").name == OTHER


def test_letters_alone_do_where_there_is_no_encoder():
    learnt = Intents(examples(GERMAN))

    assert [learnt.of(texts[1]).name for texts in ASKED.values()] == list(ASKED)


def test_the_encoder_is_left_alone_in_languages_that_it_does_not_know():
    class Asked:
        id, dim = "asked", 2

        def embed(self, texts: Sequence[str]) -> Any:
            raise AssertionError

        def familiarity(self, text: str) -> float:
            return 0.2

    learnt: Any = Intents(examples(GERMAN), embedder=Asked())  # type: ignore[arg-type]

    assert learnt.of("Wo ist mein Paket?").name == "track"


def test_a_language_without_examples_of_every_intent_is_judged_by_all_examples():
    some = {"track": GERMAN["track"]}
    learnt = Intents(examples(ENGLISH, some))

    found = learnt.of("Wo ist denn mein Paket?")

    assert (found.name, found.language) == ("track", "")


def test_a_text_in_a_script_that_no_example_is_in_is_something_else(both: Intents):
    found = both.of("Где моя посылка?")

    assert (found.name, found.language) == (OTHER, "")


def test_a_language_that_is_known_is_not_told_again(both: Intents):
    assert both.of("Login?", language="de-AT").language == "de"


def test_one_example_each_is_enough_to_begin_with():
    learnt = Intents([Example("Where is my parcel?", "track"), Example("I forgot my password", "password")])

    assert learnt.of("where is the parcel").name in ("track", OTHER)
    assert Intents([Example("Where is my parcel?", "track")]).of("Where is my parcel?").name == "track"


def test_the_order_of_the_examples_does_not_matter():
    one, other = Intents(examples(ENGLISH)), Intents(examples(ENGLISH)[::-1])

    for texts in ASKED.values():
        assert one.of(texts[0]).name == other.of(texts[0]).name
        assert one.of(texts[0]).confidence == pytest.approx(other.of(texts[0]).confidence, abs=1e-3)


def test_many_threads_get_the_same_answers(both: Intents):
    texts = [text for pair in ASKED.values() for text in pair] * 10
    expected = [both.of(text) for text in texts]
    fresh = Intents(examples(ENGLISH, GERMAN), embedder=shipped())

    with ThreadPoolExecutor(8) as pool:
        assert [one.name for one in pool.map(fresh.of, texts)] == [one.name for one in expected]


@given(st.text(st.characters(), max_size=300))
def test_any_text_has_an_answer(text: str):
    found = LETTERS.of(text)

    assert found.name in (*ENGLISH, OTHER)
    assert 0 <= found.confidence <= 1


LETTERS = Intents(examples(ENGLISH))


@pytest.mark.parametrize("text", ["", " ", "?!", "\ud800", "x" * 200_000, "Where is my parcel? " * 5_000])
def test_a_strange_text_has_an_answer_too(both: Intents, text: str):
    assert 0 <= both.of(text).confidence <= 1


@pytest.mark.parametrize(
    "given_",
    [[], [Example("a", OTHER)], [Example(" ", "x")], [Example("a", " ")],
     [Example(str(n), "x") for n in range(MOST_EXAMPLES + 1)]],
)  # fmt: skip
def test_what_nothing_can_be_learnt_from_is_refused(given_: list[Example]):
    with pytest.raises(PenstockError):
        Intents(given_)


# ---------------------------------------------------------------- files


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=30).filter(str.strip)
names = st.text("abcdefghij_ä", min_size=1, max_size=10)


@given(st.lists(st.tuples(texts, names, st.sampled_from(["", "de", "pt"])), max_size=8))
def test_examples_that_are_written_are_read(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]):
    folder = tmp_path_factory.mktemp("examples")
    lines, toml = folder / "examples.jsonl", folder / "examples.toml"
    lines.write_text("".join(json.dumps({"text": t, "intent": i, "lang": lang}) + "\n" for t, i, lang in rows), "utf-8")
    tables: dict[str, dict[str, list[str]]] = {}
    for text, intent, language in rows:
        tables.setdefault(language, {}).setdefault(f"i{intent}", []).append(text)
    toml.write_text(
        "\n".join(
            (f"[{language}]\n" if language else "")
            + "".join(
                f"{json.dumps(i, ensure_ascii=True)} = {json.dumps(t, ensure_ascii=False)}\n" for i, t in own.items()
            )
            for language, own in sorted(tables.items())
        ),
        "utf-8",
    )

    assert read_examples(lines) == [Example(*row) for row in rows]
    assert sorted(read_examples(toml)) == sorted(Example(t, f"i{i}", lang) for t, i, lang in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b"no json"), ("a.jsonl", b"[]"), ("a.jsonl", b'{"text": "a"}'), ("a.jsonl", b'{"text": "a", "intent": 1}'),
        ("a.jsonl", b'{"text": " ", "intent": "a"}'), ("a.jsonl", b"\xff\xfe\x00"), ("a.jsonl", b"[" * 100_000),
        ("a.jsonl", b'{"text": "a", "intent": "b", "lang": 5}'), ("a.jsonl", b""), ("a.toml", b"no toml"),
        ("a.toml", b"track = 5"), ("a.toml", b"track = [1]"), ("a.toml", b'[de]\ntrack = "a"'), ("a.toml", b"\xff"),
        ("a.toml", b'track = [" "]'),
    ],
)  # fmt: skip
def test_a_file_that_has_no_examples_is_refused(tmp_path: Path, name: str, content: bytes):
    file = tmp_path / name
    file.write_bytes(content)

    found = CliRunner().invoke(cli, ["intents", str(file), "hello"])

    assert isinstance(found.exception, PenstockError)


# ---------------------------------------------------------------- the terminal


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "intents.toml"
    path.write_text(
        "".join(f"{intent} = {json.dumps(own)}\n" for intent, own in ENGLISH.items())
        + "[de]\n"
        + "".join(f"{intent} = {json.dumps(own, ensure_ascii=False)}\n" for intent, own in GERMAN.items()),
        "utf-8",
    )
    return str(path)


def test_a_text_and_rows_are_answered(file: str):
    one = CliRunner().invoke(cli, ["intents", file, "Where is the parcel?"])
    rows = "".join(json.dumps(row) + "\n" for row in ({"text": "Wo ist mein Paket?", "id": 3}, {"no": 1})) + "no json\n"
    found = CliRunner().invoke(cli, ["intents", file, "--jsonl", "-"], input=rows)

    assert one.stdout.startswith("track  ")
    first, second, third = map(json.loads, found.stdout.splitlines())
    assert (first["id"], first["intent"], first["lang"]) == (3, "track", "de")
    assert (second["line"], third["line"]) == (2, 3)


def test_json_and_standard_input_go_with_one_text(file: str):
    found = CliRunner().invoke(cli, ["intents", file, "--json"], input="I forgot my password\n")

    assert json.loads(found.stdout)["intent"] == "password"
    assert CliRunner().invoke(cli, ["intents", file, "hello", "--jsonl", "-"]).exit_code == 2


# ---------------------------------------------------------------- many examples, and what is kept


def many(count: int) -> list[Example]:
    """Examples of letters alone: each intent has words of its own, in other orders each time."""
    words = {f"i{n}": [f"{chr(97 + n)}{chr(97 + k)}{chr(98 + k)}" for k in range(6)] for n in range(8)}
    return [
        Example(" ".join(own[(k * step) % 6] for step in range(1, 5)) + f" {k}", intent)
        for k in range(count // 8)
        for intent, own in words.items()
    ]


def test_thousands_of_examples_are_learnt_from():
    learnt = Intents(many(2_400))
    learnt.learn()

    assert learnt.of("bab bbc bcd").name == "i1"
    assert learnt.of("completely different, unheard of").name == OTHER


def test_too_many_intents_are_refused():
    with pytest.raises(PenstockError, match="501 intents, the limit is 500"):
        Intents([Example("a", f"i{n}") for n in range(501)])


def test_the_intent_that_comes_first_is_told_beside_other(both: Intents):
    found = both.of("Who won the football match, and where is it?")

    assert found.nearest in ENGLISH
    assert 0 <= found.inside <= 1
    assert both.of("Where is my parcel?").nearest == "track"


def test_what_was_learnt_is_kept_and_the_same_afterwards(tmp_path: Path):
    class Once:
        def __init__(self) -> None:
            self.inner, self.texts = shipped(), 0
            self.id, self.dim, self.familiarity = self.inner.id, self.inner.dim, self.inner.familiarity

        def embed(self, texts: Sequence[str]) -> Any:
            self.texts += len(texts)
            return self.inner.embed(texts)

    first, second = Once(), Once()
    learnt = Intents(examples(ENGLISH), embedder=first, keep=tmp_path / "intents")  # type: ignore[arg-type]
    learnt.learn()

    again = Intents(examples(ENGLISH)[::-1], embedder=second, keep=tmp_path / "intents")  # type: ignore[arg-type]
    again.learn()

    assert (first.texts, second.texts) == (18, 0)
    for texts in (*ASKED.values(), ELSEWHERE):
        before, after = learnt.of(texts[0]), again.of(texts[0])
        assert (after.name, after.nearest, after.language) == (before.name, before.nearest, before.language)
        assert after.confidence == pytest.approx(before.confidence, abs=1e-4)
    assert not any(b"parcel" in file.read_bytes() for file in tmp_path.rglob("*.arrays"))


def test_what_was_kept_and_is_damaged_is_learnt_anew(tmp_path: Path):
    expected = Intents(examples(ENGLISH), keep=tmp_path).of("Where is my parcel?")
    for file in tmp_path.rglob("*.arrays"):
        file.write_bytes(b"damaged")

    assert Intents(examples(ENGLISH), keep=tmp_path).of("Where is my parcel?") == expected
    (tmp_path / "file").write_text("no folder")
    assert Intents(examples(ENGLISH), keep=tmp_path / "file").of("Where is my parcel?") == expected


def test_other_examples_are_not_taken_for_the_same(tmp_path: Path):
    Intents(examples(ENGLISH), keep=tmp_path).learn()
    Intents([*examples(ENGLISH), Example("Tell me a joke", OTHER)], keep=tmp_path).learn()
    for n in range(10):
        Intents([*examples(ENGLISH), Example(f"Joke {n}", OTHER)], keep=tmp_path).learn()

    assert len(list(tmp_path.iterdir())) == 8
