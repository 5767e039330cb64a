"""An evaluation runs, is summed up with honest intervals, compared, held against limits, and written down."""

import asyncio
import json
import math
import random
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import BadRequest, Blocked, BudgetSpent, UpstreamBusy
from penstock.evaluate import result as results
from penstock.evaluate.cases import Case, Cases, Reply
from penstock.evaluate.compared import compare, prefer, preference
from penstock.evaluate.gate import Gate, held
from penstock.evaluate.judged import OfflineJudge, Preferred
from penstock.evaluate.page import compared_page, page
from penstock.evaluate.report import compared_markdown, junit, markdown
from penstock.evaluate.result import Result, Summary, effective, interval, share_end
from penstock.evaluate.run import Row, planned, run
from penstock.evaluate.scored import ABSENT, About, Scored, Scorer, unscored
from penstock.evaluate.scorers import scorers
from penstock.stats import clopper_pearson

RIGHT = About(name="right", what="whether it is right", note="Nothing else.", needs="x", passes=True)
SHARE = About(name="share", what="a share", note="Nothing else.", needs="x")
HARM = About(name="harm", what="harm", note="Nothing else.", needs="x", higher_is_better=False)
TIME = About(
    name="time", what="a time", note="Nothing else.", needs="x", higher_is_better=False, high=math.inf, of_measured=True
)


class By:
    """A scorer that is a function of the answer."""

    def __init__(self, about: About, value: Callable[[Case, Reply], Scored]) -> None:
        self.about, self._value = about, value

    def score(self, case: Case, reply: Reply) -> Scored:
        return self._value(case, reply)


def cases(n: int, **more: Any) -> Cases:
    return Cases(
        tuple(Case(id=f"c{k}", question=f"What is {k}?", lang="en", **more) for k in range(n)), name="cases.jsonl"
    )


def made(values: Sequence[float | None], about: About = SHARE, **more: Any) -> Result:
    """A result of one score: a value for each case, None where it has none. more: lists of what each case has."""
    found = [
        Case(id=f"c{n}", question=f"What is {n}?", lang="en", **{name: each[n] for name, each in more.items()})
        if "lang" not in more
        else Case(id=f"c{n}", question=f"What is {n}?", **{name: each[n] for name, each in more.items()})
        for n in range(len(values))
    ]
    rows = [
        Row(case, 0, Reply(text=f"said {value}"), {about.name: unscored("no") if value is None else Scored(value)})
        for case, value in zip(found, values, strict=True)
    ]
    return Result(Cases(tuple(found), name="cases.jsonl"), rows, {about.name: about}, "app")


def summary(result: Result) -> Summary:
    (only,) = result.summaries()
    return only


# ---------------------------------------------------------------- running


def ran(rows: list[Row], scored: Sequence[Scorer], ask: Any = None, **more: Any) -> list[Row]:
    asyncio.run(run(rows, scored, ask, **more))
    return rows


def test_all_cases_are_asked_once_before_any_is_asked_again():
    asked = []

    async def ask(case: Case, trial: int) -> Reply:
        asked.append((case.id, trial))
        return Reply(text=f"{case.id}/{trial}")

    rows = ran(planned(cases(3), repeats=2), [], ask, concurrent=1)

    assert asked == [(f"c{n}", trial) for trial in (0, 1) for n in range(3)]
    assert [row.reply.text for row in rows if row.reply] == [f"c{n}/{trial}" for trial in (0, 1) for n in range(3)]


def test_at_most_so_many_are_asked_at_a_time_and_the_order_stays():
    running, most = 0, 0

    async def ask(case: Case, trial: int) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (10 - int(case.id[1:])))
        running -= 1
        return Reply(text=case.id)

    rows = ran(planned(cases(10)), [], ask, concurrent=3)

    assert most == 3
    assert [row.reply.text for row in rows if row.reply] == [f"c{n}" for n in range(10)]


def test_what_may_go_better_is_asked_again_and_what_does_not_is_a_failure(monkeypatch: pytest.MonkeyPatch):
    async def no_wait(seconds: float) -> None: ...

    monkeypatch.setattr("penstock.evaluate.run.asyncio.sleep", no_wait)
    tries: dict[str, int] = {}

    async def ask(case: Case, trial: int) -> Reply:
        tries[case.id] = tries.get(case.id, 0) + 1
        if case.id == "c0" and tries["c0"] == 1:
            raise UpstreamBusy("busy", retry_after_s=1)
        if case.id == "c1":
            raise UpstreamBusy("busy")
        if case.id == "c2":
            raise Blocked("no", said="That is not allowed.")
        return Reply(text="x")

    rows = ran(planned(cases(3)), [], ask)

    assert [(row.reply.state, row.reply.error) for row in rows if row.reply] == [
        ("answered", ""),
        ("failed", "upstream_busy"),
        ("refused", "blocked_by_guard"),
    ]
    assert tries == {"c0": 2, "c1": 3, "c2": 1}


def test_no_money_left_ends_it_and_what_is_done_stays():
    async def ask(case: Case, trial: int) -> Reply:
        if case.id == "c2":
            raise BudgetSpent("spent")
        return Reply(text="x")

    rows = planned(cases(6))
    with pytest.raises(BudgetSpent):
        ran(rows, [], ask, concurrent=1)

    assert [row.reply is not None for row in rows] == [True, True, False, False, False, False]


def test_a_scorer_that_fails_has_no_value_and_harms_no_other():
    def broken(case: Case, reply: Reply) -> Scored:
        raise ZeroDivisionError("no")

    async def later() -> Scored:
        return Scored(0.5)

    rows = [Row(case, 0, Reply(text="x")) for case in cases(2).cases]
    theirs: Any = [
        By(SHARE, broken),
        By(RIGHT, lambda c, r: Scored(1.0)),
        By(HARM, lambda c, r: later()),
        By(TIME, lambda c, r: 3),
    ]  # type: ignore[arg-type,return-value]
    ran(rows, theirs)

    assert rows[0].scores["share"].state == "unscored"
    assert "ZeroDivisionError" in rows[0].scores["share"].why
    assert (rows[1].scores["right"].value, rows[1].scores["harm"].value) == (1.0, 0.5)
    assert rows[1].scores["time"].state == "unscored"


def test_a_score_that_is_no_number_cannot_be_made():
    with pytest.raises(BadRequest, match="finite"):
        Scored(math.nan)


# ---------------------------------------------------------------- together


def test_a_case_counts_once_however_often_it_was_asked():
    first, second = cases(2).cases
    rows = [
        Row(first, trial, Reply(text="x"), {"share": Scored(value)}) for trial, value in enumerate((0.0, 0.0, 0.0, 1.0))
    ]
    rows.append(Row(second, 0, Reply(text="x"), {"share": Scored(1.0)}))

    found = summary(Result(Cases((first, second)), rows, {"share": SHARE}, "app", repeats=4))

    assert found.all.mean == (0.25 + 1.0) / 2
    assert found.within == pytest.approx(math.sqrt(3) / 4)


def test_what_has_no_score_enters_no_mean_and_is_the_worst_where_limits_hold():
    found, harm = summary(made([1.0, 1.0, None, None])), summary(made([0.0, None], HARM))

    assert (found.all.mean, found.all.n, found.all.unscored, found.all.held) == (1.0, 2, 2, 0.5)
    assert (harm.all.mean, harm.all.held) == (0.0, 0.5)
    assert summary(made([5.0, None], TIME)).all.held is None


def test_a_score_that_no_case_asks_for_is_not_there():
    result = made([1.0])
    result.rows[0].scores["share"] = ABSENT  # before anything is summed up

    assert result.summaries() == []


def test_one_case_or_one_group_has_no_interval():
    assert summary(made([0.5])).all.low is None
    assert summary(made([0.5, 0.6, 0.7], group=["g"] * 3)).all.low is None


def test_what_never_varies_still_leaves_something_open():
    part = summary(made([1.0] * 5, RIGHT)).all
    low = 0.025 ** (1 / 5)

    assert part.by == "wilson"
    assert part.low is not None
    assert 0.4 < part.low < 1 == part.high
    assert interval([0.7] * 5, list("abcde"), low=0.0, high=1.0)[0] == pytest.approx(
        (0.7, 0.7 * low, 1 - 0.3 * low, 0.95)
    )


def test_cases_of_one_group_are_drawn_together():
    values = [float(n % 2) for n in range(20) for _ in range(5)]
    groups = [f"g{n}" for n in range(20) for _ in range(5)]

    alone, together = summary(made(values)).all, summary(made(values, group=groups)).all

    assert alone.low is not None
    assert together.low is not None
    assert together.by == "korn-graubard"
    assert (together.high or 0) - together.low > 1.8 * ((alone.high or 0) - alone.low)  # the root of five would be 2.2


def test_a_group_whose_cases_are_alike_is_worth_one_case():
    alike = [float(n % 4 > 0) for n in range(16) for _ in range(5)]
    groups = [f"g{n}" for n in range(16) for _ in range(5)]
    apart = [float(n % 4 > 0) for n in range(80)]

    assert effective(apart, [str(n) for n in range(80)]) == 80
    assert effective([1.0] * 80, groups) == 16
    assert 12 < effective(alike, groups) < 16  # a little less, since sixteen groups tell their own variance roughly
    assert interval(alike, groups, low=0.0, high=1.0, once=True)[1] == "korn-graubard"


@given(n=st.integers(2, 400), good=st.integers(0, 400))
def test_the_exact_interval_of_single_cases_is_that_of_clopper_and_pearson(n: int, good: int):
    good = min(n, good)

    assert share_end(good / n, n, 0.025) == pytest.approx(clopper_pearson(good, n).low, abs=1e-9)


def test_intervals_are_the_same_each_time_and_cover_as_often_as_they_say():
    draw = random.Random(5)
    hits = 0
    for _ in range(200):
        values = [draw.random() ** 2 for _ in range(12)]  # mean 1/3, skewed
        found, by = interval(values, [str(n) for n in range(12)], low=0.0, high=1.0)
        assert found is not None
        assert by == "bootstrap"
        hits += found.low <= 1 / 3 <= found.high

    assert interval([0.1, 0.5, 0.9], ["a", "b", "c"], low=0.0, high=1.0) == interval(
        [0.1, 0.5, 0.9], ["a", "b", "c"], low=0.0, high=1.0
    )
    assert hits >= 172  # of 200; with twelve cases the bootstrap covers some 91 %


def test_a_language_in_which_nothing_is_answered_is_the_widest_gap():
    result = made([1.0, 1.0, None, None, 0.5], lang=["en", "en", "de", "de", "fr"])

    found = summary(result)

    assert list(found.by_language) == ["en", "de", "fr"]
    assert (found.gap, found.worst_language) == (1.0, "de")
    assert summary(made([0.1, 0.4], HARM, lang=["en", "de"])).gap == pytest.approx(0.3)
    assert summary(made([0.1, 0.4], lang=["en", "de"])).gap == 0
    assert summary(made([0.1, 0.4])).gap is None


def test_pass_at_k_and_pass_hat_k_count_what_has_no_score_as_not_passed():
    always, once, never = cases(3).cases
    told = {"c0": [1.0, 1.0], "c1": [1.0, 0.0], "c2": [None, 0.0]}
    rows = [
        Row(case, trial, Reply(text="x"), {"right": unscored("no") if value is None else Scored(value)})
        for case in (always, once, never)
        for trial, value in enumerate(told[case.id])
    ]

    found = summary(Result(Cases((always, once, never)), rows, {"right": RIGHT}, "app", repeats=2))

    assert found.pass_at_k is not None
    assert found.pass_hat_k is not None
    assert found.k == 2
    assert (found.pass_at_k.mean, found.pass_hat_k.mean) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


# ---------------------------------------------------------------- files


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
replies = st.builds(
    Reply, text=texts, state=st.sampled_from(["answered", "abstained", "refused", "failed"]), error=texts,
    context=st.lists(texts, max_size=2).map(tuple), cited=st.none() | st.lists(texts, max_size=2).map(tuple),
    latency_ms=st.none() | st.floats(0, 1e9), cost_usd=st.none() | st.floats(0, 100), human=st.none() | st.floats(0, 1),
    versions=st.dictionaries(texts, texts, max_size=2),
)  # fmt: skip


maybe_values = st.lists(st.none() | st.floats(0, 1), min_size=4, max_size=4)


@settings(max_examples=40)
@given(said=st.lists(replies, min_size=1, max_size=4), values=maybe_values, question=texts.filter(str.strip))
def test_a_result_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, said: list[Reply], values: list[float | None], question: str
):
    path = tmp_path_factory.mktemp("results") / "r.json"
    found = tuple(
        Case(id=f"c{n}", question=question, lang="de", tags=("a",), metadata={"k": n}) for n in range(len(said))
    )
    rows = [
        Row(case, 0, reply, {"share": unscored("no") if value is None else Scored(value)})
        for case, reply, value in zip(found, said, values, strict=False)
    ]
    result = Result(
        Cases(found, name="x"), rows, {"share": SHARE}, "app", versions={"index": "v1"}, began="now", seconds=1.5
    )

    results.save(result, path)
    again = results.load(path)

    assert [row.reply for row in again.rows] == [row.reply for row in rows]
    assert again.cases.digest == result.cases.digest
    assert again.plain()["scores"] == result.plain()["scores"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"kind": "evaluation", "format": 99}', '{"kind": "evaluation", "format": 1}', "null"]
)
def test_a_damaged_result_is_refused(tmp_path: Path, text: str):
    (tmp_path / "r.json").write_text(text)

    with pytest.raises(BadRequest):
        results.load(tmp_path / "r.json")


def test_a_result_whose_cases_were_changed_is_refused(tmp_path: Path):
    results.save(made([1.0]), tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    (tmp_path / "r.json").write_text(text.replace("What is 0?", "What is 1?"))

    with pytest.raises(BadRequest, match="not those that were asked"):
        results.load(tmp_path / "r.json")


# ---------------------------------------------------------------- comparing


def test_an_improvement_is_seen_with_the_cases_that_it_moved():
    before, after = made([0.0] * 12 + [1.0] * 8), made([1.0] * 12 + [1.0] * 8)

    (found,) = compare(before, after).differences

    assert (found.decision, found.wins, found.losses, found.n) == ("better", 12, 0, 20)
    assert found.apart is not None
    assert found.apart.low > 0
    assert found.p == pytest.approx(2 / 2**12)
    assert compare(after, before).differences[0].decision == "worse"
    assert [one.case.id for one in compare(after, before).losses][:2] == ["c0", "c1"]
    assert compare(made([0.9] * 9, HARM), made([0.1] * 9, HARM)).differences[0].decision == "better"


def test_no_difference_says_which_one_would_have_been_seen():
    draw = random.Random(1)
    before, after = (made([draw.random() for _ in range(30)]) for _ in range(2))

    (found,) = compare(before, after).differences

    assert found.decision == "no difference shown"
    assert found.seen_from is not None
    assert 0.1 < found.seen_from < 0.4
    assert "would mostly be seen" in found.words


def test_groups_move_together_so_that_a_copied_case_proves_nothing():
    before, after = [0.0] * 10, [1.0] * 10

    alone = compare(made(before), made(after)).differences[0]
    together = compare(made(before, group=["g"] * 5 + ["h"] * 5), made(after, group=["g"] * 5 + ["h"] * 5)).differences[
        0
    ]

    assert alone.decision == "better"
    assert (together.decision, together.p) == ("no difference shown", 0.5)


def test_every_score_that_is_looked_at_makes_all_less_sure():
    def both(value: float) -> Result:
        result = made([value] * 6)
        for row in result.rows:
            row.scores |= {"harm": Scored(0.0), "right": Scored(1.0)}
        result.abouts |= {"harm": HARM, "right": RIGHT}
        return result

    every = {one.about.name: one for one in compare(both(0.0), both(1.0)).differences}
    (alone,) = compare(both(0.0), both(1.0), scores=["share"]).differences

    assert (every["share"].p, every["share"].p_holm) == (2 / 64, 3 * 2 / 64)
    assert (every["share"].decision, alone.decision) == ("no difference shown", "better")
    assert every["harm"].decision == "the same"


def test_only_cases_that_say_the_same_are_compared():
    other = made([1.0, 1.0])
    changed = Cases((other.cases.cases[0], Case(id="c1", question="Something else?", lang="en")))
    other.cases = changed

    assert compare(made([0.0, 0.0]), other).shared == 1
    with pytest.raises(BadRequest, match="share no case"):
        compare(made([0.0]), Result(Cases((Case(id="z", question="?"),)), [], {"share": SHARE}))
    with pytest.raises(BadRequest, match="share no score"):
        compare(made([0.0]), made([0.0], HARM))
    with pytest.raises(BadRequest, match="must have 'blue'"):
        compare(made([0.0]), made([0.0]), by="blue")


def test_a_case_that_one_result_has_no_score_for_is_counted():
    (found,) = compare(made([1.0, None, 0.0]), made([1.0, 1.0, None])).differences

    assert (found.n, found.only_first, found.only_second) == (1, 1, 1)
    assert found.decision == "too few"


def test_a_judge_compares_answers_and_a_refusal_has_lost():
    before, after = made([0.0, 0.0, 0.0]), made([1.0, 1.0, 1.0])
    for row in (*before.rows, *after.rows):
        row.case = Case(id=row.case.id, question=row.case.question, lang="en", expected=("thirty days",))
    for result in (before, after):
        result.cases = Cases(tuple(row.case for row in result.rows))
    for row, text in zip(before.rows, ("never", "thirty days", "x"), strict=True):
        row.reply = Reply(text=text)
    for row, text in zip(after.rows, ("thirty days", "thirty days", ""), strict=True):
        row.reply = Reply(text=text, state="answered" if text else "refused")

    found = asyncio.run(prefer(before, after, OfflineJudge()))

    assert (found.first, found.second, found.ties, found.n) == (1, 1, 1, 3)
    assert found.share.estimate == 0.5


def test_a_judge_that_takes_whatever_stands_first_is_seen():
    found = preference("big", [Preferred("tie", ("first", "second"))] * 10)

    assert found.first_place == 1.0
    assert found.kappa is not None
    assert found.kappa.estimate <= 0
    assert found.share.estimate == 0.5


# ---------------------------------------------------------------- limits


def failing(result: Result, **gate: Any) -> dict[str, str]:
    return {one.name: one.words for one in held(result, Gate(**gate)) if not one.holds}


def test_a_limit_is_held_against_the_mean_and_says_how_sure_that_is():
    result = made([1.0] * 7 + [0.0] * 3, RIGHT)

    (passed,) = held(result, Gate(limits={"right": 0.6}))

    assert passed.holds
    assert "0.7 over 10 cases" in passed.words
    assert "though not surely" in passed.words
    assert set(failing(result, limits={"right": 0.8})) == {"right"}
    assert "not surely" in failing(result, limits={"right": 0.6}, sure=True)["right"]
    assert failing(made([1.0] * 60 + [0.0] * 3, RIGHT), limits={"right": 0.8}, sure=True) == {}


def test_a_limit_of_what_should_be_low_is_the_most():
    assert failing(made([0.1, 0.2], HARM), limits={"harm": 0.2}) == {}
    assert set(failing(made([0.1, 0.4], HARM), limits={"harm": 0.2})) == {"harm"}
    assert set(failing(made([900.0, 1100.0], TIME), limits={"time": 999.0})) == {"time"}


def test_what_could_not_be_scored_counts_as_the_worst():
    assert "2 of them counted as the worst" in failing(made([1.0, 1.0, None, None]), limits={"share": 0.6})["share"]
    assert "none of 2 answers" in failing(made([None, None]), limits={"share": 0.0})["share"]
    absent = made([1.0])
    absent.rows[0].scores["share"] = ABSENT
    assert "no case asks for it" in failing(absent, limits={"share": 0.1})["share"]


def test_a_limit_for_what_was_not_scored_is_a_mistake():
    with pytest.raises(BadRequest, match="'shar'"):
        held(made([1.0]), Gate(limits={"shar": 1.0}))


def test_all_alike_is_as_sure_as_so_many_make_it():
    assert "not surely" in failing(made([1.0] * 5, RIGHT), limits={"right": 0.9}, sure=True)["right"]
    assert failing(made([1.0] * 40, RIGHT), limits={"right": 0.9}, sure=True) == {}
    assert failing(made([0.0] * 40, HARM), limits={"harm": 0.1}, sure=True) == {}
    assert "not surely" in failing(made([0.0] * 5, HARM), limits={"harm": 0.1}, sure=True)["harm"]


def test_a_gap_that_is_too_wide_fails_and_names_the_language():
    result = made([1.0, 1.0, 0.6, 0.4], lang=["en", "en", "de", "de"])

    assert (
        "0.500 in 'de' beside 1.000 in English" in failing(result, limits={"share": 0.1}, max_gap=0.2)["gap of share"]
    )
    assert failing(result, limits={"share": 0.1}, max_gap=0.5) == {}


def test_a_loss_against_a_baseline_fails_and_noise_does_not():
    good, bad = made([1.0] * 20), made([0.0] * 8 + [1.0] * 12)
    one_off = made([0.0] + [1.0] * 19)

    assert "worse by 0.4" in failing(bad, baseline=good)["baseline of share"]
    assert failing(one_off, baseline=good) == {}
    assert failing(good, baseline=bad) == {}


def test_an_unfinished_result_does_not_pass():
    result = made([1.0, 1.0])
    result.rows[1].reply = None

    assert set(failing(result, limits={"share": 0.5})) == {"complete"}


# ---------------------------------------------------------------- reports

NASTY = "</script><img src=x onerror=alert(1)> | `x` \x00\x1b[2J ]]> & \u202e \ud83d"


def nasty() -> Result:
    result = made([0.2, 0.9, None], lang=["en", "de", "de"], tags=[("<b>",), (), ()])
    for row in result.rows:
        row.case = Case(
            id=f"<{row.case.id}>|", question=NASTY, expected=(NASTY,), lang=row.case.lang, tags=row.case.tags
        )
        row.reply = Reply(text=NASTY)
        row.scores = {name: Scored(one.value, one.state, NASTY) for name, one in row.scores.items()}
    result.cases = Cases(tuple(row.case for row in result.rows), name=NASTY)
    result.target = NASTY
    return result


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, int] = {}
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1


def tags(text: str) -> dict[str, int]:
    parser = Tags()
    parser.feed(text)
    return parser.seen


def test_a_page_shows_everybodys_words_as_words_and_needs_nothing_else():
    result = nasty()

    seen = tags(page(result, held(result, Gate(limits={"share": 0.5}))))

    assert not {"img", "script", "link", "iframe"} & seen.keys()
    assert seen["svg"] >= 3
    assert seen["title"] >= seen["svg"]  # each picture has words, and the page has some
    assert "src=" not in page(made([0.5]))
    assert "\x00" not in page(result)


def test_a_page_tells_the_gap_the_worst_case_and_what_is_not_shown():
    text = page(made([1.0, 0.2, None], lang=["en", "de", "de"]))

    assert "gap to English" in text
    assert "<b>0.900</b>, in 'de'" in text
    assert "said 0.2" in text
    assert "Nothing else." in text
    assert "Not scored" in text


def test_markdown_escapes_what_people_wrote():
    lines = markdown(nasty()).splitlines()
    table = [line for line in lines if line.startswith("|")]

    assert len({line.count("|") for line in table}) == 1
    assert not any("<img" in line.replace("\\<", "") for line in lines)
    assert "### app on cases.jsonl: 1 cases" in markdown(made([1.0]))


def test_junit_is_xml_whatever_people_wrote_and_a_limit_that_fails_is_a_failure():
    result = nasty()

    root = ET.fromstring(junit(result, held(result, Gate(limits={"share": 0.99}))))

    assert root.attrib["failures"] == "1"
    assert root.findall(".//failure")[0].attrib["message"].startswith("share is")
    assert len(root.findall("testsuite[@name='cases']/testcase")) == 3
    assert ET.fromstring(junit(made([1.0]), held(made([1.0]), Gate(limits={"share": 0.5})))).attrib["failures"] == "0"


def test_a_comparison_is_written_for_people_and_machines():
    found = compare(nasty(), nasty())
    moved = compare(made([0.0] * 9), made([1.0] * 9))

    assert not {"img", "script"} & tags(compared_page(found)).keys()
    assert "✅ better" in compared_markdown(moved)
    assert "0 → 1" in compared_markdown(moved)
    assert json.loads(json.dumps(moved.plain()))["scores"][0]["decision"] == "better"


def test_shipped_scores_of_an_unfinished_run_are_written_too(tmp_path: Path):
    rows = planned(cases(2))
    rows[0].reply = Reply(text="x")
    result = Result(cases(2), rows, {scorer.about.name: scorer.about for scorer in scorers()}, "app")

    results.save(result, tmp_path / "r.json")
    again = results.load(tmp_path / "r.json")

    assert [row.reply is None for row in again.rows] == [False, True]
    assert not again.complete
    assert "Not finished" in page(again)
