"""What is wrong with answers: each fault where it is, and not where it is not."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.main import cli
from penstock.observe.faults import FAULTS, Checks, Form, breaks_off, faults, faults_of, goes_round, refuses
from penstock.types import Answer, Claim, Status, Verdict

TEXTS = Path(__file__).parent.parent / "benchmarks" / "faults_texts.jsonl"
GOOD = "Books can be returned within thirty days of delivery. They must be in the condition in which they were sent."


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        (GOOD, False),
        (GOOD[:-30], True),
        ("It costs 12", False),
        ("Books can be returned within", True),
        ("Books, maps and", True),
        ("```python\nprint(1)", True),
        ("```python\nprint(1)\n```", False),
        ("- one\n- two\n- three", False),
        ("Opening hours", False),
        ("图书可以在三十天内退还。", False),
        ("See https://example.com/a.", False),
        ("**Yes**", False),
        ("The list (of all", False),
    ],
)
def test_a_text_that_breaks_off(text: str, broken: bool):
    assert breaks_off(text) is broken


def test_a_text_that_goes_round():
    stretch = "you can use the previous command to go back to it"
    assert goes_round(f"{stretch}. {stretch}. {stretch}.")
    assert not goes_round(f"{GOOD} {stretch}. {stretch}.")
    assert not goes_round("no " * 10)


@pytest.mark.parametrize("text", ["I can help you with that.", GOOD, "We can't ship to Norway.", ""])
def test_an_answer_is_no_refusal(text: str):
    assert not refuses(text)


@pytest.mark.parametrize(
    ("text", "form", "fits"),
    [
        ('{"a": 1}', "json", True),
        ('```json\n{"a": 1}\n```', "json", True),
        ("7", "json", False),
        ("- a\n- b", "list", True),
        ("A list:\n- a\n- b", "list", True),
        ("a and b.", "list", False),
        ("12.5 %", "number", True),
        ("about 12.", "number", False),
        ("Yes, it is.", "yes_or_no", True),
        ("Nein.", "yes_or_no", True),
        ("Perhaps.", "yes_or_no", False),
    ],
)
def test_a_form_that_was_asked_for(text: str, form: Form, fits: bool):
    assert ("wrong_format" not in faults_of(text, form=form)) is fits


def test_another_language_is_named_and_quotations_and_code_do_not_count():
    assert "wrong_language" in faults_of(GOOD, language="de")
    assert "wrong_language" not in faults_of(GOOD, language="en")
    assert "wrong_language" not in faults_of("OK.", language="de")
    assert "wrong_language" not in faults_of(f"Im Handbuch steht dazu auf der ersten Seite: “{GOOD}”", language="de")


def test_what_other_parts_say_is_named():
    checks = Checks(supported=lambda text: False, relation=lambda question, text: 0.0, harm=lambda text: 0.9)
    assert faults_of(GOOD, question="Why?", checks=checks) == ["ungrounded", "off_topic", "toxic"]
    fine = Checks(supported=lambda text: True, relation=lambda question, text: 0.5, harm=lambda text: 0.1)
    assert faults_of(GOOD, question="Why?", checks=fine) == []


def test_the_reason_that_a_model_gave_for_ending_decides():
    assert "truncated" in faults_of(GOOD, cut=True)
    assert "truncated" not in faults_of(GOOD[:-30], cut=False)


def test_an_apps_answer_is_named_by_what_is_known_of_it():
    def answer(status: Status = Status.ANSWER, text: str = GOOD, label: str = "supported", by: str = "m") -> Answer:
        verdict = Verdict("supported", 1.0, (Claim(0, 9, label, 0.5),))  # type: ignore[arg-type]
        return Answer(text, status, 0.9, written_by=by, verdict=verdict, language="en")

    assert faults(answer()) == ()
    assert faults(answer(label="contradicted")) == ("ungrounded",)
    assert faults(answer(Status.REFUSED)) == ("refusal",)
    assert faults(answer(text=GOOD[:-30])) == ("truncated",)
    assert faults(answer(text=GOOD[:-30], by="")) == ()  # what is quoted is as it stands in the document


@given(
    text=st.text(max_size=300),
    language=st.sampled_from(["", "en", "de", "zh"]),
    form=st.sampled_from(["", "json", "list", "number"]),
)
def test_any_text_at_all_has_names_that_are_known(text: str, language: str, form: Form):
    found = faults_of(text, language=language, form=form)
    assert set(found) <= set(FAULTS)
    assert len(found) == len(set(found))
    assert (found == ["empty"]) is (not text.strip())


def test_the_terminal_names_faults_row_by_row(tmp_path: Path):
    rows = [
        {"answer": "I'm sorry, but I can't help with that."},
        {"answer": GOOD, "context": GOOD, "question": "How long can books be returned?"},
        {
            "answer": "Octopuses have three hearts and blue blood.",
            "context": [GOOD],
            "question": "How long can books be returned?",
        },
        {"answer": GOOD, "finish_reason": "length"},
        {"answer": 7},
        {"answer": GOOD, "form": "poem"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    done = CliRunner().invoke(cli, ["faults", "--jsonl", str(tmp_path / "rows.jsonl")])

    told = [json.loads(line) for line in done.output.splitlines()]
    assert [row.get("faults") for row in told] == [
        ["refusal"],
        [],
        ["ungrounded", "off_topic"],
        ["truncated"],
        None,
        None,
    ]
    assert "answer" in told[4]["error"]["message"]
    assert "none" in CliRunner().invoke(cli, ["faults", GOOD]).output
