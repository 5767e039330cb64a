"""Figures of a support evaluation: right on known logs, honest where there is little, and the same in whatever order a log is
read."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.support_logs import conversations
from penstock.errors import BadRequest
from penstock.support.comparing import moved
from penstock.support.conversations import Conversation, Spoken
from penstock.support.evaluating import Evaluation, report_of
from penstock.support.figures import clusters_of, figure_of, figures_of, worth
from penstock.support.grouping import with_intents
from penstock.support.human import agreed, drawn, read_ratings
from penstock.support.keeping import read_kept, writing
from penstock.support.metrics import METRICS
from penstock.support.page import page
from penstock.support.report import Report
from penstock.support.returning import survival, with_returns
from penstock.support.scored import Scored
from penstock.support.scoring import Scorer
from penstock.support.words import markdown

DAY = 86_400.0


def chat(*turns: str, **about: object) -> Conversation:
    """`c: …` of a customer, `b: …` of the bot, `p: …` of a person."""
    roles = {"c": "customer", "b": "bot", "p": "person"}
    spoken = tuple(Spoken(role=roles[one[0]], text=one[3:]) for one in turns)  # type: ignore[arg-type]
    return Conversation(**{"id": "x", "turns": spoken} | about)  # type: ignore[arg-type]


def scored(conversation: Conversation) -> Scored:
    return Scorer().score([conversation])[0]


def report(some: list[Conversation], **more: object) -> Report:
    return report_of(Scorer().score(some), name="log", **more)  # type: ignore[arg-type]


# ---------------------------------------------------------------- what is counted


def test_an_upset_customer_who_gets_a_word_of_understanding_counts_for_empathy():
    cold = scored(
        chat(
            "c: Where is it?", "b: Pending.", "c: No! This is ridiculous, nobody helps me.", "b: The order is pending."
        )
    )
    warm = scored(
        chat(
            "c: Where is it?",
            "b: Pending.",
            "c: No! This is ridiculous, nobody helps me.",
            "b: I am sorry about that. It is pending.",
        )
    )

    assert cold.counts["empathy"] == (0.0, 1.0)
    assert warm.counts["empathy"] == (1.0, 1.0)
    assert [one.kind for one in cold.findings if one.turn == 3] == ["no_empathy", "silent_failure"]


def test_who_is_handed_over_is_escalated_and_who_is_asked_whether_is_not():
    assert scored(chat("c: Help", "b: I am connecting you to a colleague now.")).escalated
    assert scored(chat("c: Help", "b: Hello", "p: This is Tom, how can I help?")).escalated
    assert not scored(chat("c: Help", "b: Shall I connect you to a colleague?")).escalated
    assert not scored(chat("c: Help", "b: I am connecting you to a colleague now.", escalated=False)).escalated


def test_a_conversation_that_ends_in_an_open_question_is_no_success():
    one = scored(chat("c: Where is it?", "b: It is on its way.", "c: And when will it arrive exactly?"))

    assert not one.resolved
    assert one.counts["silent_failure"] == (1.0, 1.0)
    assert "unanswered" in {finding.kind for finding in one.findings}


def test_the_same_answer_to_another_message_is_a_repetition():
    answer = "b: You can send parcels back within thirty days from the shop page."
    one = scored(chat("c: How do I return my jacket?", answer, "c: No, what does shipping to Norway cost?", answer))

    assert [finding.turn for finding in one.findings if finding.kind == "repetition"] == [3]


def test_tokens_are_counted_for_each_conversation_that_was_resolved():
    def one(n: int, resolved: bool) -> Conversation:
        turns = (
            Spoken(role="customer", text="Hi"),
            Spoken(role="bot", text="Hello", input_tokens=80, output_tokens=20),
        )
        return Conversation(id=f"c{n}", turns=turns, resolved=resolved)

    found = report([one(1, True), one(2, False)])

    assert found.all.figure("tokens_per_resolved").value == 200.0  # type: ignore[union-attr]


def test_references_are_compared_where_there_are_any():
    turns = (
        Spoken(role="customer", text="When?"),
        Spoken(role="bot", text="It comes on Monday.", references=("It comes on Monday.",)),
    )
    (one,) = Scorer().score([Conversation(id="c", turns=turns)])

    assert one.counts["rougeL"] == (1.0, 1.0)
    assert one.counts["meteor"][0] > 0.9
    assert one.unscored["bertscore"][0] == "there is no encoder"


def test_words_are_left_out_of_everything_where_they_are_not_kept():
    some, injected = conversations(60, seed=2, wrong=0.6)
    found = report_of(Scorer(keep_text=False).score(some), name="log", texts_kept=False)

    told = page(found) + markdown(found) + str(found.plain())
    assert found.findings
    assert injected
    assert not [one for one in injected if one.field in ("total", "tracking", "amount") and one.said in told]
    assert "Where is my order" not in told
    assert "@example.com" not in told


# ---------------------------------------------------------------- who comes back


def visit(n: int, day: float, *, customer: str = "anna", intent: str = "refund") -> Scored:
    return Scored(
        id=f"v{n}",
        customer=customer,
        intent=intent,
        started=day * DAY,
        ended=day * DAY,
        counts={"silent_failure": (0.0, 1.0)},
    )


def test_who_comes_back_within_a_week_for_the_same_makes_a_silent_failure():
    first, second, other = with_returns([visit(1, 0), visit(2, 3), visit(3, 4, intent="stock")], until=40 * DAY)

    assert first.counts["recontact_7d"] == (1.0, 1.0)
    assert first.counts["silent_failure"] == (1.0, 1.0)
    assert second.counts["recontact_7d"] == (0.0, 1.0)
    assert other.counts["recontact_7d"] == (0.0, 1.0)


def test_a_conversation_whose_week_is_not_over_is_not_counted_yet():
    early, late = with_returns([visit(1, 0), visit(2, 8)], until=10 * DAY)

    assert "recontact_7d" in early.counts
    assert "recontact_30d" not in early.counts
    assert "recontact_7d" not in late.counts


def test_retention_counts_those_who_may_still_come_back_until_the_log_ends():
    some = [visit(n, 0, customer=f"c{n}") for n in range(50)] + [visit(100 + n, 5, customer=f"c{n}") for n in range(20)]
    some += [visit(200 + n, 18, customer=f"late{n}") for n in range(50)]  # two days before the end

    figure = figure_of(METRICS["retention_7d"], some, until=20 * DAY)

    assert figure.value == pytest.approx(0.4)  # and not 20 of 100
    assert figure.low is not None
    assert figure.low < 0.4 < (figure.high or 0)
    assert figure_of(METRICS["retention_30d"], some, until=20 * DAY).value is None


# ---------------------------------------------------------------- how sure


def test_a_group_of_few_tells_nothing():
    some, _ = conversations(15, seed=1)
    found = report(some)

    assert not any(figure.tells for figure in found.all.figures)
    assert "(" in markdown(found)
    assert not found.all.apart


def test_the_interval_of_a_rate_counts_conversations_and_not_their_turns():
    alike = [Scored(id=f"c{n}", counts={"coherence": (20.0 * (n % 2), 20.0)}) for n in range(30)]
    alone = [Scored(id=f"c{n}", counts={"coherence": (float(n % 2), 1.0)}) for n in range(600)]

    wide, narrow = (figure_of(METRICS["coherence"], some, until=None) for some in (alike, alone))

    assert wide.n == narrow.n == 600
    assert (wide.high - wide.low) > 3 * (narrow.high - narrow.low)  # type: ignore[operator]
    assert worth(clusters_of("coherence", alike)) < 40


def test_a_rate_without_a_failure_is_not_sure_to_have_none():
    figure = figure_of(
        METRICS["escalated"], [Scored(id=f"c{n}", counts={"escalated": (0.0, 1.0)}) for n in range(40)], until=None
    )

    assert figure.value == 0.0
    assert figure.low == 0.0
    assert 0.05 < (figure.high or 0) < 0.12


# ---------------------------------------------------------------- order, parts


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_order_of_a_log_makes_no_difference(seed):
    some, _ = conversations(40, seed=9, wrong=0.2)
    shuffled = random.Random(seed).sample(some, len(some))

    assert replace(report(shuffled), seconds=0.0) == replace(report(some), seconds=0.0)


def test_scored_in_parts_is_the_same_as_scored_at_once(tmp_path):
    some, _ = conversations(50, seed=4, wrong=0.2)
    whole = Evaluation(Scorer())
    whole.run(some)
    path = tmp_path / "kept.jsonl"
    with writing(path, {"log": "log"}, further=False) as writer:
        Evaluation(Scorer(), writer=writer).run(some[:20])
    broken = path.read_bytes() + b'{"id": "half of a line'
    path.write_bytes(broken)

    kept = read_kept(path)
    rest = Evaluation(Scorer(), {one.id: one for one in kept.scored})
    rest.run(some)

    assert not kept.complete
    assert len(kept.scored) == 20
    assert report_of(rest.scored, name="log") == report_of(whole.scored, name="log")


def test_intents_that_nobody_named_are_found_whatever_the_order():
    pytest.importorskip("onnxruntime")
    from penstock.encoder import shipped

    topics = {
        "refund": "I want my money back for the {0}",
        "password": "I cannot log in, my password for the {0} is wrong",
    }
    some = [
        chat(f"c: {text.format(thing)}", "b: Let me see.", id=f"{name}-{n}")
        for name, text in topics.items()
        for n, thing in enumerate("mug lamp tent chair kettle jacket bicycle blender".split() * 3)
    ]
    found = Scorer(encoder=shipped(), find_intents=True).score(some)

    named = {one.id: one.intent for one in with_intents(found)}
    again = {one.id: one.intent for one in with_intents(found[::-1])}

    assert named == again
    assert not {named[f"refund-{n}"] for n in range(24)} & {named[f"password-{n}"] for n in range(24)}


# ---------------------------------------------------------------- what surely changed


def test_one_wrong_fact_in_ten_conversations_is_an_alarm_that_leads_to_the_claim():
    before, _ = conversations(200, seed=31)
    after, injected = conversations(200, seed=32, wrong=0.1, release="r2")

    found = report(after, against=Scorer().score(before), against_name="r1")

    assert {"accuracy", "hallucination"} <= {one.metric for one in found.alarms}
    first = next(one for one in found.findings if one.kind == "wrong_fact")
    (truth,) = [one for one in injected if (one.conversation, one.turn) == (first.conversation, first.turn)]
    assert truth.said in first.text
    assert first.against[0].value
    assert f"id='{first.id}'" in page(found)
    assert "<mark>" in page(found)


def test_two_halves_of_the_same_release_are_no_alarm():
    some = Scorer().score(conversations(400, seed=33)[0])

    assert not [one for one in moved(some[:200], some[200:]) if one.sure]
    assert not [one for one in moved(some[:200], some[200:], anytime=True) if one.sure]


def test_the_last_two_releases_of_a_log_are_compared_by_themselves():
    before, _ = conversations(150, seed=34, release="r1")
    after, _ = conversations(150, seed=35, release="r2", wrong=0.4, start=1_779_000_000.0)

    found = report(before + after)

    assert found.against == "release r1"
    assert "accuracy" in {one.metric for one in found.alarms}
    assert [change.what for change in found.changes] == ["release r1 is first seen", "release r2 is first seen"]
    assert {point.metric for point in found.trends} >= {"accuracy", "resolved"}


def test_a_group_that_is_unlike_the_others_is_marked_over_all_groups():
    good, _ = conversations(200, seed=36)
    bad = [replace(one, intent="bad", id=f"b{n}") for n, one in enumerate(conversations(60, seed=37, wrong=0.8)[0])]

    found = report(good + bad)

    (group,) = [one for one in found.of("intent") if one.name == "bad"]
    assert "accuracy" in {one.metric for one in group.apart if one.worse}


# ---------------------------------------------------------------- people beside it


def test_ratings_of_people_stand_beside_the_figures(tmp_path):
    some = Scorer().score(conversations(80, seed=41)[0])
    path = tmp_path / "ratings.csv"
    rows = ["conversation,rater,resolved"]
    for n, one in enumerate(some):
        rows.append(f"{one.id},anna,{'yes' if one.resolved else 'no'}")
        rows.append(f"{one.id},bert,{'yes' if one.resolved != (n % 20 == 0) else 'no'}")
    path.write_text("\n".join(rows))

    people, pair = agreed(some, read_ratings(path))

    assert (people.metric, people.between, people.n) == ("resolved", "people", 80)
    assert pair.between == "anna, bert"
    assert pair.kappa is not None
    assert 0.5 < pair.kappa < 1
    assert people.kappa is not None
    assert people.kappa > 0.6
    assert people.kappa_low is not None
    assert people.kappa_low < people.kappa


def test_ratings_that_name_no_figure_say_which_there_are(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"conversation": "c1", "metric": "niceness", "value": 3}\n')

    with pytest.raises(BadRequest, match=r"line 1 of .* rates 'niceness'"):
        read_ratings(path)


def test_what_is_drawn_for_people_is_where_something_may_be_wrong():
    some = Scorer().score(conversations(300, seed=42, wrong=0.15)[0])
    chosen = {one.item.id for one in drawn(some, 60, seed=1)}
    bad = {one.id for one in some if any(finding.kind == "wrong_fact" for finding in one.findings)}

    assert len(chosen) == 60
    assert len(chosen & bad) / len(bad) > 1.3 * 60 / 300


# ---------------------------------------------------------------- what to try


def test_what_is_wrong_most_becomes_an_experiment_that_can_be_run(tmp_path):
    from penstock.evaluate.cases import load
    from penstock.experiments import read

    found = report(conversations(200, seed=51, wrong=0.5)[0], app="shop")
    first = found.suggestions[0]
    name = first.settings.split('"')[1]
    (tmp_path / name).write_text(first.cases)
    (tmp_path / "try.toml").write_text(first.settings)

    experiment = read(tmp_path / "try.toml")

    assert first.metric == "accuracy"
    assert first.findings
    assert experiment.against == "shop"
    assert "apps" in experiment.variants["rewritten"]
    assert any(case.must_contain for case in load(experiment.cases).cases)


def test_retention_without_anybody_who_came_back_has_an_upper_end():
    some = [Scored(id=str(n), customer=f"c{n}", started=0.0) for n in range(40)]

    figure = survival("retention_7d", some, days=7, until=10 * 86_400.0)

    assert figure.value == 0
    assert figure.high is not None
    assert 0 < figure.high < 0.1


def test_how_slow_answers_are_is_drawn_by_customer():
    some = [Scored(id=f"{n}", customer=f"c{n % 5}", latencies_ms=(100.0 + n % 5,)) for n in range(500)]

    (figure,) = figures_of(some, until=None, only=("latency_p50",))

    assert figure.units == 5
