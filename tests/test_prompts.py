"""Prompts: told by part and language, in versions that can be taken back, with the examples that fit the question."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from penstock.answer import Quoted, Told, Written, whole
from penstock.assemble import assemble
from penstock.cli.main import cli
from penstock.config import load
from penstock.errors import BadRequest, NotFound
from penstock.prompts import Example, Prompt, Prompts, chosen, parsed, read_prompt, styled
from penstock.storage.database import Database
from penstock.testing import WordEmbedder
from penstock.types import ModelEvent, ModelRequest, Record, Stopped, TextDelta, Turn, Usage
from penstock.writing import _After

TOML = """
role = "You are the assistant of Larkspur Books."
task = "Answer in two sentences."
style = "few"
shots = 2
examples = "examples.jsonl"

[languages.de]
role = "Du bist der Assistent von Larkspur Books."
"""
EXAMPLES = [
    Example("How long can books be returned?", "For thirty days."),
    Example("When can a book be returned?", "Within thirty days."),
    Example("What does delivery to Norway cost?", "Twelve euros."),
    Example("Wann kommt mein Paket?", "In fünf Tagen.", "de"),
]
ROWS = "\n".join(json.dumps({"question": e.question, "answer": e.answer, "lang": e.lang}) for e in EXAMPLES)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "support.toml").write_text(TOML)
    (tmp_path / "prompts" / "examples.jsonl").write_text(ROWS)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Returns\n\nBooks can be returned within thirty days of delivery.\n")
    (tmp_path / "penstock.toml").write_text(
        'home = "home"\n[prompts.support]\nfile = "prompts/support.toml"\n[documents.shop]\npaths = ["docs"]\n'
        '[models.house]\nbase_url = "http://127.0.0.1:9/v1"\n'
        '[apps.help]\ndocuments = "shop"\nprompt = "support"\nmodels = ["house"]\ngrounded = false\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_prompt_is_told_part_by_part_and_in_a_language(folder: Path):
    prompt = read_prompt(folder / "prompts" / "support.toml")

    assert prompt.told("en") == "You are the assistant of Larkspur Books.\n\nAnswer in two sentences."
    assert prompt.told("de-AT").startswith("Du bist der Assistent")
    assert prompt.told("de").endswith("Answer in two sentences.")  # what has no words there is told as it is
    assert "Question: a\nAnswer: b" in prompt.told("en", [Example("a", "b")])
    assert "step by step" in styled(prompt, "steps").told("en")


def test_the_examples_shown_are_like_the_question_and_unlike_each_other():
    vectors = np.array([[1, 0, 0], [0.9, 0.436, 0], [0.9, 0.436, 0], [0.8, 0, 0.6]])
    shown = chosen("How long can books be returned?", EXAMPLES[:3], 2, lambda texts: vectors)

    assert [one.answer for one in shown] == ["Twelve euros.", "For thirty days."]  # the most alike last
    embed = WordEmbedder().embed
    assert Prompt(examples=tuple(EXAMPLES), shots=2).shown("Wann kommt es?", "de", embed)[-1].lang == "de"
    assert styled(Prompt(examples=tuple(EXAMPLES)), "zero").shown("x", "en", embed) == []


@given(count=st.integers(0, 12), wanted=st.integers(1, 12), seed=st.integers(0, 99))
def test_as_many_examples_as_there_are_and_none_twice(count: int, wanted: int, seed: int):
    draw = random.Random(seed)
    examples = [Example(f"q{n} {draw.choice('abcdef')}", "a") for n in range(count)]

    def embed(texts: Any) -> Any:
        vectors = np.random.default_rng(seed).normal(size=(len(texts), 8))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    shown = chosen("question", examples, wanted, embed)
    assert len(shown) == min(count, wanted)
    assert len(set(shown)) == len(shown)


WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@given(
    role=WORDS,
    task=WORDS,
    examples=st.lists(st.tuples(WORDS.filter(bool), WORDS.filter(bool)), max_size=4),
    shots=st.integers(0, 50),
)
def test_what_is_written_down_is_read_back(role: str, task: str, examples: list[tuple[str, str]], shots: int):
    prompt = Prompt(role=role, task=task or "x", examples=tuple(Example(*one) for one in examples), shots=shots)

    assert parsed(json.loads(prompt.body()), "here") == prompt
    assert parsed(json.loads(prompt.body()), "here").hash == prompt.hash


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({}, "says nothing"),
        ({"rol": "x"}, "did you mean 'role'"),
        ({"role": 7}, "role must be text"),
        ({"role": "x" * 20_001}, "more than 20,000"),
        ({"role": "x", "style": "many"}, "style"),
        ({"role": "x", "shots": True}, "shots"),
        ({"role": "x", "examples": [{"question": "a"}]}, "example 1"),
        ({"role": "x", "examples": {}}, "examples"),
        ({"role": "x", "languages": {"german": {"role": "y"}}}, "languages.german"),
        ({"role": "x", "languages": {"de": {"tone": "y"}}}, "languages.de"),
        ([], "is a table"),
    ],
)
def test_a_prompt_that_is_none_is_refused_by_name(tree: Any, said: str):
    with pytest.raises(BadRequest) as caught:
        parsed(tree, "support.toml")
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_versions_never_change_and_can_be_taken_back(tmp_path: Path):
    library = Prompts(Database(tmp_path / "p.db"))
    one, two = Prompt(role="one"), Prompt(role="two")

    assert library.live("a") is None
    assert [library.publish("a", prompt, note="n").number for prompt in (one, two, two)] == [1, 2, 2]
    assert library.live("a") == library.version("a", 2)
    assert library.roll_back("a").prompt == one
    assert library.publish("a", one).number == 1  # the same again
    assert library.roll_back("a", 2).prompt == two
    assert [(v.number, v.live) for v in library.versions("a")] == [(1, False), (2, True)]
    library.roll_back("a", 1)
    with pytest.raises(NotFound):
        library.roll_back("a")
    with pytest.raises(NotFound, match="v9"):
        library.roll_back("a", 9)
    assert library.names() == ["a"]


class Speaking:
    def __init__(self, text: str) -> None:
        self.text, self.asked = text, list[ModelRequest]()

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.asked.append(request)
        for letter in self.text:
            yield TextDelta(letter)
        yield Stopped(Usage(3, 4))


def test_an_app_tells_its_models_the_prompt_that_is_live(folder: Path):
    house = assemble(load(None, keys=False))
    house.library.create("shop", shared=True).add([str(folder / "docs")])
    model = Speaking("Within thirty days [1].")
    answerer = house.answerer("help")
    assert isinstance(answerer, Written)

    def ask() -> tuple[str, str]:
        record = Record("t")
        written = Written(answerer.quoted, {"house": model}, answerer.checks, answerer.told)
        asyncio.run(whole(written.stream(Turn("How long can books be returned?", record=record, language="en"))))
        return model.asked[-1].body["messages"][0]["content"], record.versions["prompt"]

    told, label = ask()
    assert told.startswith("You are the assistant of Larkspur Books.\n\nAnswer in two sentences.\n\nExamples:")
    assert told.index("For thirty days") < told.index("ource")
    assert label == f"support@{read_prompt(folder / 'prompts' / 'support.toml').hash}"
    house.prompts.publish("support", Prompt(role="Be brief."))
    told, label = ask()
    assert (told.split("\n")[0], label) == ("Be brief.", "support@v1")
    house.close()


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("First I look.\nAnswer: Thirty days.", "Thirty days."),
        ("Step 1. The answer is near.\n\n**Answer:**\nThirty days.", "Thirty days."),
        ("answer: yes", "yes"),
        ("There is no marker here.", "There is no marker here."),
        ("The answer: none", "The answer: none"),
        ("x\nAnswer:", ""),
    ],
)
@given(cuts=st.lists(st.integers(0, 60), max_size=8))
def test_only_what_comes_after_the_steps_is_said_wherever_it_is_cut(said: str, heard: str, cuts: list[int]):
    after = _After("Answer:")
    places = sorted({0, len(said), *(min(cut, len(said)) for cut in cuts)})
    pieces = [said[a:b] for a, b in pairwise(places)]

    out = "".join(after.feed(piece) for piece in pieces) + after.feed("", last=True)

    assert out.strip() == heard


def test_without_a_prompt_nothing_is_told_besides(folder: Path):
    house = assemble(load(None, keys=False))
    house.library.create("shop", shared=True).add([str(folder / "docs")])
    quoted = house.answerer("help").quoted  # type: ignore[attr-defined]
    assert isinstance(quoted, Quoted)
    model = Speaking("Thirty days [1].")
    asyncio.run(
        whole(Written(quoted, {"m": model}, told=lambda turn: Told()).stream(Turn("How long can books be returned?")))
    )
    assert "Larkspur" not in model.asked[0].body["messages"][0]["content"]
    house.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["prompts", *arguments])


def test_the_terminal_publishes_compares_and_rolls_back(folder: Path):
    assert "the file differs" in run("list").output
    assert "support@v1 is live" in run("publish", "support", "--note", "first").output
    assert run("diff", "support").exit_code == 0
    (folder / "prompts" / "support.toml").write_text(TOML.replace("two sentences", "one sentence"))
    changed = run("diff", "support")
    assert changed.exit_code == 1
    assert "-  Answer in two sentences." in changed.output
    assert "+  Answer in one sentence." in changed.output
    assert "support@v2 is live; support@v1 was" in run("publish", "support").output
    assert "says the same" in run("publish", "support").output
    assert "support@v1 is live" in run("rollback", "support").output
    assert json.loads(run("versions", "support", "--json").output)[0]["live"] is False
    assert "two sentences" in run("show", "support").output
    assert "Du bist" in run("show", "support", "draft", "--language", "de").output
    assert json.loads(run("show", "support", "v2", "--json").output)["task"] == "Answer in one sentence."
    assert isinstance(run("show", "support", "v9").exception, NotFound)
    assert isinstance(run("publish", "nothing").exception, NotFound)
    assert run("rollback", "support", "x").exit_code == 2
