"""Whether what an answer says is in its sources: rules, verdicts, spans, and rows of them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.main import cli
from penstock.text.quantities import agrees, dates, quantities, same
from penstock.types import Verdict
from penstock.verify.check import plain, verifier
from penstock.verify.claims import blanked, claims, introduced
from penstock.verify.compare import mismatches

SHOP = "You may return goods within 30 days of delivery. Shipping costs 5 euros. The shop is open on Sundays."
TIERS = ("lexical", "")  # the best there is


def checked(text: str, *sources: str, tier: Any = "lexical", question: str = "") -> Verdict:
    return verifier(tier).check(text, sources, question=question)


# ---------------------------------------------------------------- numbers and dates


@pytest.mark.parametrize(
    ("claim", "source", "equal"),
    [
        ("5 km", "5,000 m", True),
        ("12 percent", "12 %", True),
        ("twelve percent", "12%", True),
        ("1.5 million euros", "€1,500,000", True),
        ("1.5 million euros", "$1,500,000", False),
        ("about 1,200", "1,234", True),
        ("1,250", "1,234", False),
        ("1.250,50 €", "1,250.50 euros", True),
        ("two weeks", "14 days", True),
        ("three hours", "90 minutes", False),
        ("seventeen years", "seventeen or eighteen years", True),
        ("20 °C", "20 °F", False),
        ("500 mb", "0.5 GB", True),
    ],
)
def test_quantities_are_compared_by_what_they_mean(claim: str, source: str, equal: bool):
    assert any(same(quantities(claim)[0], other) for other in quantities(source)) is equal


@pytest.mark.parametrize(
    ("claim", "source", "equal"),
    [
        ("May 3, 2026", "on 3 May 2026", True),
        ("3. Mai 2026", "2026-05-03", True),
        ("in May 2026", "3 May 2026", True),
        ("3 May 2026", "in May 2026", False),
        ("in 1994", "in the 1990s", False),
        ("in the 1990s", "in 1994", True),
        ("in 1930", "from 1928-1932", False),
        ("until 1932", "from 1928-1932", True),
        ("until 1856", "the war of 1854–56", True),
    ],
)
def test_dates_are_compared_by_what_they_say(claim: str, source: str, equal: bool):
    assert any(agrees(dates(claim)[0], other) for other in dates(source)) is equal


@pytest.mark.parametrize(
    ("claim", "source", "kind", "instead"),
    [
        ("Goods may be returned within 60 days.", SHOP, "number", "30 days"),
        ("It was born on May 5, 2011 in Rome.", "Born on May 3, 2011 in Rome.", "date", "May 3, 2011"),
        ("The parcel weighs 5 kg.", "The parcel weighs 5 g.", "unit", "5 g"),
        ("Ask for Anna Berg at the desk.", "Ask at the desk.", "name", ""),
        ("It costs 12 euros.", "It is free.", "number", ""),
    ],
)
def test_what_is_not_or_otherwise_in_the_sources_is_found(claim: str, source: str, kind: str, instead: str):
    (found,) = mismatches(claim, [source])

    assert (found.kind, found.instead) == (kind, instead)


@pytest.mark.parametrize(
    "claim",
    [
        "Goods come back within 30 days.",
        "It costs five euros.",
        "Two things count.",
        "The shop is open on Sundays.",
        "",
    ],
)
def test_what_is_in_the_sources_is_not_found_missing(claim: str):
    assert mismatches(claim, [SHOP]) == []


def test_what_holds_for_a_range_does_not_contradict_one_year():
    assert [m.instead for m in mismatches("It was built before 2005.", ["It was built in 2001."])] == [""]


# ---------------------------------------------------------------- sentences that claim something


def test_questions_greetings_and_marks_of_sources_claim_nothing():
    text = "Hello! You can return it within 30 days [1]. Does that help? Thank you for asking."

    (found,) = claims(blanked(text))

    assert text[slice(*found)] == "Hello! You can return it within 30 days [1]."


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Shipping costs 5 euros.", "supported"),
        ("You may return goods within 30 days of delivery.", "supported"),
        ("The shop is not open on Sundays.", "contradicted"),
        ("Shipping costs 50 euros.", "contradicted"),
        ("Our founder Zebediah Quill plays the trombone on weekends in Lisbon.", "not_found"),
    ],
)
def test_an_answer_is_supported_contradicted_or_not_found(tier: str, text: str, label: str):
    assert checked(text, SHOP, tier=tier).label == label


@pytest.mark.parametrize("tier", TIERS)
def test_each_sentence_is_judged_and_cites_where_it_is_from(tier: str):
    text = "Shipping costs 5 euros. Shipping takes 40 weeks by camel."
    sources = ["Nothing of use is here.", SHOP]

    found = checked(text, *sources, tier=tier)

    first, second = found.claims
    assert (first.label, second.label) == ("supported", "not_found")
    evidence = first.evidence[0]
    assert evidence.source == 1
    assert "5 euros" in sources[1][evidence.start : evidence.end]
    assert any("40 weeks" in text[a:b] or "weeks" in text[a:b] for a, b in second.unsupported)


def test_another_language_is_compared_too():
    source = "Sie können Waren innerhalb von 30 Tagen zurückgeben. Der Versand kostet 5 Euro."

    assert checked("Der Versand kostet 5 Euro.", source).label == "supported"
    assert checked("Der Versand kostet 9 Euro.", source).label == "contradicted"


@pytest.mark.parametrize("text", ["", "   ", "\n", "?", "…", "😀", "[1]", "a", "x" * 50_000, "\x00", "word " * 5_000])
@pytest.mark.parametrize("sources", [[], [""], [SHOP], ["\x00", "x" * 20_000]])
def test_no_text_breaks_the_check(text: str, sources: list[str]):
    found = checked(text, *sources)

    assert 0.0 <= found.support <= 1.0


@given(st.text(max_size=150), st.lists(st.text(max_size=150), max_size=3), st.text(max_size=30))
def test_spans_and_citations_lie_in_what_they_are_of(text: str, sources: list[str], question: str):
    found = checked(text, *sources, question=question)

    for claim in found.claims:
        assert 0 <= claim.start < claim.end <= len(text)
        assert all(claim.start <= a < b <= claim.end for a, b in claim.unsupported)
        assert claim.unsupported or claim.label == "supported"  # which may have words in it that are doubtful
        for e in claim.evidence:
            assert 0 <= e.start < e.end <= len(sources[e.source])


def test_the_async_face_gives_the_same():
    tier = verifier("lexical")

    assert asyncio.run(tier.verify("It is free.", [SHOP])) == tier.check("It is free.", [SHOP])


def test_a_verdict_as_json_says_what_rests_on_what():
    text = "Shipping costs 50 euros."
    said = plain(checked(text, SHOP), text, [SHOP])

    assert said["label"] == "contradicted"
    assert text[slice(*said["spans"][0])] == "50 euros"
    assert said["citations"][0]["sources"][0]["text"].startswith("Shipping costs 5 euros")
    assert "which say '5 euros'" in said["citations"][0]["why"][0]


# ---------------------------------------------------------------- from the command line and over HTTP


def test_rows_come_back_in_order_and_a_bad_one_does_not_stop_the_others(tmp_path: Path):
    rows = [
        {"id": 1, "context": SHOP, "response": "Shipping costs 5 euros."},
        {"id": 2, "context": 5, "response": "x"},
        {
            "id": 3,
            "context": [SHOP, "Nothing."],
            "response": "Shipping costs 50 euros.",
            "question": "What does it cost?",
        },
        {"id": 4, "context": SHOP},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join([*map(json.dumps, rows), "not json", ""]))

    done = CliRunner().invoke(cli, ["verify", "--jsonl", str(file), "--tier", "lexical"])

    assert done.exit_code == 0, done.output
    back = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row.get("label") for row in back] == ["supported", None, "contradicted", None, None]
    assert [row.get("id") for row in back] == [1, 2, 3, 4, None]
    assert [row["line"] for row in back if "error" in row] == [2, 4, 5]
    assert back[0]["support"] > back[2]["support"]


def test_one_text_is_checked_against_files(tmp_path: Path):
    source = tmp_path / "shop.md"
    source.write_text(SHOP)

    done = CliRunner().invoke(cli, ["verify", "Shipping costs 50 euros.", "--source", str(source), "--tier", "lexical"])

    assert done.exit_code == 0
    assert "contradicted" in done.stdout
    assert "5 euros" in done.stderr


def test_a_source_has_to_be_given():
    done = CliRunner().invoke(cli, ["verify", "It is so."])

    assert done.exit_code == 2
    assert "--source" in done.output


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    source = tmp_path / "x.bin"
    source.write_bytes(b"\xff\xfe\x00\x01")

    done = CliRunner().invoke(cli, ["verify", "It is so.", "--source", str(source)])

    assert "not UTF-8" in str(done.exception)


# ---------------------------------------------------------------- rows, promises


def test_rows_in_a_context_hold_every_number(tmp_path: Path):
    context = [{"order": 4711, "total": "12.50 EUR"}, {"order": 4712, "total": "8 EUR"}]
    rows = [
        {"response": "The total of order 4711 is 12.50 EUR.", "context": context},
        {"response": "The total of order 4711 is 15.20 EUR.", "context": context},
        {"response": "x", "context": [1]},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    done = CliRunner().invoke(cli, ["verify", "--jsonl", str(tmp_path / "rows.jsonl"), "--tier", "lexical"])

    first, second, third = map(json.loads, done.stdout.splitlines())
    assert (first["label"], second["label"] == "supported", third["line"]) == ("supported", False, 3)


def test_a_promise_is_kept_and_says_what_it_costs(tmp_path: Path):
    good = [
        {"response": f"Shop {n} opens at nine.", "context": f"Shop {n} opens at nine.", "supported": True}
        for n in range(60)
    ]
    bad = [
        {"response": "Whales sing in winter.", "context": f"Shop {n} opens at nine.", "supported": False}
        for n in range(40)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, good + bad)))
    asked = ["verify", "--tier", "lexical", "--promise", "0.05", "--jsonl", str(tmp_path / "rows.jsonl")]

    done = CliRunner().invoke(cli, asked)
    as_json = json.loads(CliRunner().invoke(cli, [*asked, "--json"]).stdout)

    assert done.stdout.startswith("supported_from = 0.")
    assert as_json["coverage"] == 0.6
    assert as_json["unsupported"] == 0.0


@pytest.mark.parametrize("line", ["{", "[]", '{"response": "x", "context": "x"}'])
def test_a_promise_names_the_line_that_cannot_be_used(tmp_path: Path, line: str):
    (tmp_path / "rows.jsonl").write_text(line)

    done = CliRunner().invoke(cli, ["verify", "--promise", "0.05", "--jsonl", str(tmp_path / "rows.jsonl")])

    assert done.exit_code != 0
    assert "line 1" in f"{done.stderr}{done.exception}"


def test_an_item_of_a_list_claims_what_stands_above_it():
    source = "PDF, Word and CSV are read. Pictures are not read."

    def labels(text: str) -> list[str]:
        return [claim.label for claim in checked(text, source).claims]

    assert labels("These are read:\n\n- PDF\n- Word files") == ["supported", "supported"]
    assert introduced("These are read:\n\n- PDF\n- Word files", 26) == "These are read:"
    assert introduced("Hello.\n\n- PDF", 10) == ""
    assert introduced("Hello: PDF", 7) == ""


# ---------------------------------------------------------------- one fact in another's place

PANTHERS = (
    "The Panthers defense gave up just 308 points, ranking sixth in the league, while also leading the NFL in interceptions with "
    "24 and boasting four Pro Bowl selections. Kawann Short joined them on 5 March 2015 in Charlotte."
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("308", "412"),
        ("24", "31"),
        ("Pro Bowl", "Super Cup"),
        ("5 March 2015", "9 March 2015"),
        ("Charlotte", "Denver"),
    ],
)
@pytest.mark.parametrize("tier", ["lexical", "checker"])
def test_a_copied_sentence_with_another_fact_in_it_is_contradicted(tier: Any, old: str, new: str):
    sentence = next(one for one in PANTHERS.split(". ") if old in one)
    verdict = verifier(tier).check(
        f"{sentence.replace(old, new).rstrip('.')}.", ["Something else entirely.", PANTHERS], language="en"
    )

    assert verdict.label == "contradicted"
    assert any(old.split()[0] in why for claim in verdict.claims for why in claim.why)
    assert verifier(tier).check(f"{sentence.rstrip('.')}.", [PANTHERS], language="en").label == "supported"


@pytest.mark.parametrize("source", ["It was seen more than 235, 000 times.", "It was seen more than 235 , 000 times."])
def test_a_number_with_spaces_in_it_is_the_same(source: str):
    assert mismatches("It was seen more than 235,000 times.", [source]) == []
    assert mismatches("It was seen more than 236,000 times.", [source]) != []


def test_other_words_for_the_same_are_no_swap():
    source = "Books can be returned within thirty days of delivery, says Anna Clark, who leads the shop in Bergen."
    assert (
        verifier("lexical").check("Books can be returned within 30 days of delivery.", [source], language="en").label
        == "supported"
    )
