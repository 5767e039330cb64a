"""The articles of the demo shop, asked as customers ask: what they answer without a model, what they leave alone, and whether they
say what the shop's rules say.

data/retail_questions.jsonl was written before the articles. They were worded with its half "tuned"; of the half "unseen"
83 % were then answered rightly. A few sentences were changed after that, so it is no longer unseen.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import serving

from penstock.api import Penstock
from penstock.apps import retail_bot
from penstock.apps.retail_bot.rules import OURS
from penstock.config import load
from penstock.types import Answer

APP = Path(retail_bot.__file__).parent
ARTICLES = {path.stem: " ".join(path.read_text("utf-8").split()) for path in sorted((APP / "articles").glob("*.md"))}
QUESTIONS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "retail_questions.jsonl").read_text("utf-8").splitlines()
]
BUTTONS = {
    "Where is my order?": "e-mail address",  # the bot asks who it is
    "I want to return something": "e-mail address",
    "How long does a refund take?": "5 to 7 working days",
    "What does shipping cost?": "free",
}
ANSWERED = {"tuned": 0.94, "unseen": 0.80}  # a little below what was measured
LEFT_ALONE = 0.90


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("-", "").split())


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Answer]]:
    folder = tmp_path_factory.mktemp("articles")
    shutil.copytree(APP / "articles", folder / "articles")
    (folder / "penstock.toml").write_text('home = "home"\n[documents.shop_articles]\npaths = ["articles/"]\n')
    with Penstock.open(name="shop_articles", settings=load(folder / "penstock.toml", environment={})) as penstock:
        penstock.sync()
        yield {row["id"]: penstock.ask(row["question"]) for row in QUESTIONS}


def _right(row: dict[str, Any], answer: Answer) -> bool:
    """Whether it is an answer, from the article, with what it has to say."""
    from_it = any(answer.citations[n].source.endswith(f"{row['article']}.md") for n in answer.quoted)
    return answer.status == "answer" and from_it and _plain(row["contains"]) in _plain(answer.text)


@pytest.mark.parametrize("half", ANSWERED)
def test_everyday_questions_are_answered_in_the_words_of_the_right_article(answers: dict[str, Answer], half: str):
    asked = [row for row in QUESTIONS if row["half"] == half and row["article"]]
    wrong = [(row["question"], answers[row["id"]].text) for row in asked if not _right(row, answers[row["id"]])]

    assert len(asked) >= 60
    assert 1 - len(wrong) / len(asked) >= ANSWERED[half], wrong


def test_what_is_not_the_shops_to_say_is_not_answered(answers: dict[str, Answer]):
    asked = [row for row in QUESTIONS if not row["article"]]
    answered = [(row["question"], answers[row["id"]].text) for row in asked if answers[row["id"]].status == "answer"]

    assert len(asked) >= 30
    assert 1 - len(answered) / len(asked) >= LEFT_ALONE, answered


def test_no_article_is_withheld_as_if_it_gave_orders(answers: dict[str, Answer]):
    withheld = {citation.source for answer in answers.values() for citation in answer.withheld}
    quoted = {citation.source for answer in answers.values() for citation in answer.citations}

    assert withheld == set()
    assert {Path(source).stem for source in quoted} == set(ARTICLES)


def test_the_buttons_of_the_demo_are_answered(tmp_path: Path):
    offered = tomllib.loads((APP / "penstock.toml").read_text("utf-8"))["apps"]["retail_bot"]["questions"]
    assert set(offered) == set(BUTTONS)
    folder = tmp_path / "retail_bot"
    shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("__pycache__"))

    with serving(folder, f'home = "home"\n{(APP / "penstock.toml").read_text("utf-8")}') as served:
        for question in offered:
            asked = {"model": "retail_bot", "messages": [{"role": "user", "content": question}]}
            reply = served.client().post("/v1/chat/completions", json=asked)
            assert reply.status_code == 200, reply.text
            said = reply.json()["choices"][0]["message"]["content"]
            assert BUTTONS[question] in said, said
            assert "Possibly related" not in said


def test_each_article_is_short_and_its_facts_stand_in_sentences():
    for path in (APP / "articles").glob("*.md"):
        lines = path.read_text("utf-8").splitlines()
        assert len(lines) <= 25, path.name
        assert lines[0].startswith("# "), path.name
        assert all(len(line) <= 132 and not line.startswith("|") for line in lines), path.name


def test_the_articles_have_the_numbers_of_the_rules():
    policy = " ".join((APP / "policy.md").read_text("utf-8").split())
    days = {int(found) for name in ("returns", "exchange") for found in re.findall(r"(\d+) days", ARTICLES[name])}
    refunds = re.findall(r"\d+ to \d+ working days", policy)

    assert days == {OURS.return_days}
    assert refunds
    assert set(re.findall(r"\d+ to \d+ working days", ARTICLES["refund-times"])) == set(refunds)
    assert "gift card is there at once" in ARTICLES["refund-times"]
    assert "to a gift card at once" in policy
    assert all(country in ARTICLES["delivery-countries"] for country in OURS.countries)
    for reason in ("no longer need it", "ordered by mistake", "takes too long", "found it cheaper"):
        assert reason in ARTICLES["cancellation"]
    assert len(OURS.reasons) == 4
    assert "one of four reasons" in ARTICLES["cancellation"]


def test_delivery_takes_as_long_as_packing_and_the_way_together():
    numbers = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "seven": 7, "nine": 9}
    spans = [
        (numbers[a], numbers[b]) for a, b in re.findall(r"(\w+) to (\w+) working days", ARTICLES["shipping-times"])
    ]
    near, far, packing, near_way, far_way = spans

    assert near == (packing[0] + near_way[0], packing[1] + near_way[1])
    assert far == (packing[0] + far_way[0], packing[1] + far_way[1])
    assert all(country in ARTICLES["shipping-times"] for country in OURS.countries)
