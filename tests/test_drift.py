"""Drift: streams that change are told from streams that do not, at a rate of false alarms that holds for every kind of stream."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cli.main import cli
from penstock.errors import BadRequest
from penstock.observe.baseline import found_period
from penstock.observe.charts import ChartBank, Detector
from penstock.observe.detectors import ADWIN, DDM, EDDM, PageHinkley
from penstock.observe.pictures import line, principal, scatter, tsne
from penstock.observe.shift import chi_squared_tail, kolmogorov_tail, psi, shifts, smirnov
from penstock.observe.text_drift import TextWatch, compare, told_apart

Draw = np.random.Generator
Values = np.ndarray


def autoregressive(draw: Draw, n: int, weight: float) -> Values:
    noise, values = draw.normal(size=n), np.zeros(n)
    for at in range(1, n):
        values[at] = weight * values[at - 1] + noise[at]
    return values


def daily(draw: Draw, n: int) -> Values:
    return np.sin(2 * np.pi * np.arange(n) / 1440) + draw.normal(size=n)


def seldom(share: float) -> Callable[[Draw, int], Values]:
    return lambda draw, n: (draw.random(n) < share) * 1.0


QUIET: dict[str, tuple[Callable[[Draw, int], Values], int]] = {  # streams without a change, and their period
    "normal": (lambda draw, n: draw.normal(size=n), 0),
    "neighbours alike": (lambda draw, n: autoregressive(draw, n, 0.6), 0),
    "neighbours very alike": (lambda draw, n: autoregressive(draw, n, 0.9), 0),
    "daily": (daily, 1440),
    "daily, not told": (daily, 0),
    "hourly, not told": (lambda draw, n: 2 * np.sin(2 * np.pi * np.arange(n) / 24) + draw.normal(size=n), 0),
    "latency": (lambda draw, n: draw.lognormal(6, 0.9, n), 0),
    "no variance": (lambda draw, n: draw.standard_cauchy(n), 0),
    "errors 1 %": (seldom(0.01), 0),
    "errors 20 %": (seldom(0.2), 0),
    "counts": (lambda draw, n: draw.poisson(2, n) * 1.0, 0),
    "two kinds": (lambda draw, n: draw.normal(size=n) + 5 * (draw.random(n) < 0.3), 0),
    "daily errors": (
        lambda draw, n: (draw.random(n) < 0.05 * (1 + 0.8 * np.sin(np.arange(n) / 1440 * 2 * np.pi))) * 1.0, 1440
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", QUIET)
def test_a_stream_that_stays_the_same_gives_no_more_false_alarms_than_were_allowed(kind: str):
    make, period = QUIET[kind]
    alarms = events = 0
    for seed in range(4):
        values = make(np.random.default_rng([seed, 5]), 12_000)
        alarms += len(ChartBank(false_alarms=0.5, period=period).watch(values))
        events += len(values) - 1500

    assert alarms <= 6, f"{alarms} in {events} events"  # 2.1 are expected; so many more than six once in a thousand


CHANGES: dict[str, tuple[Callable[[Draw, int], Values], Callable[[Values, Draw], Values], str, str, int]] = {
    "mean": (lambda draw, n: draw.normal(size=n), lambda x, draw: x + 1.0, "mean", "up", 100),
    "mean, down": (lambda draw, n: draw.normal(size=n), lambda x, draw: x - 1.0, "mean", "down", 100),
    "spread": (lambda draw, n: draw.normal(size=n), lambda x, draw: x * 1.8, "spread", "up", 150),
    "less spread": (lambda draw, n: draw.normal(size=n), lambda x, draw: x * 0.4, "spread", "down", 150),
    "latency": (lambda draw, n: draw.lognormal(6, 0.6, n), lambda x, draw: x * 1.5, "mean", "up", 250),
    "errors": (seldom(0.05), lambda x, draw: seldom(0.2)(draw, len(x)), "share", "up", 150),
    "successes": (seldom(0.95), lambda x, draw: seldom(0.8)(draw, len(x)), "share", "down", 150),
    "alike": (lambda draw, n: autoregressive(draw, n, 0.6), lambda x, draw: x + 2.0, "mean", "up", 200),
    "never before": (lambda draw, n: np.zeros(n), lambda x, draw: seldom(0.1)(draw, len(x)), "mean", "up", 200),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_is_found_with_its_place_its_direction_and_what_it_was_and_is(kind: str):
    make, change, statistic, direction, latest = CHANGES[kind]
    draw = np.random.default_rng(12)
    values = make(draw, 5000)
    values[4000:] = change(values[4000:], draw)

    first = next(alarm for alarm in ChartBank().watch(values) if alarm.position >= 4000)

    assert (first.statistic, first.direction) == (statistic, direction)
    assert first.position < 4000 + latest
    assert abs(first.changed_at - 4000) <= 100
    assert (first.after > first.before) == (direction == "up")


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from([*QUIET]),
    cuts=st.lists(st.integers(1, 3500), max_size=8),
    gone=st.floats(0, 0.2),
    period=st.sampled_from([0, 7, 200]),
)
def test_one_value_at_a_time_many_at_once_and_any_cut_give_the_same_alarms(
    seed: int, kind: str, cuts: list[int], gone: float, period: int
):
    draw = np.random.default_rng(seed)
    values = QUIET[kind][0](draw, 3500)
    values[1800:] = np.where(values[1800:] == 0, draw.random(1700) < 0.3, values[1800:] * 2)
    values[draw.random(3500) < gone] = draw.choice([math.nan, math.inf, -math.inf])

    def bank() -> ChartBank:
        return ChartBank(false_alarms=5, period=period, warm_up=500)

    whole, single, pieces, kept = bank(), bank(), bank(), bank()
    at_once = whole.watch(values)
    one_by_one = [alarm for value in values.tolist() if (alarm := single.update(value))]
    edges = sorted({0, *cuts, 3500})
    in_pieces = [alarm for a, b in pairwise(edges) for alarm in pieces.watch(values[a:b])]
    saved = []
    for a, b in pairwise(edges):
        saved += kept.watch(values[a:b])
        kept = ChartBank.of_plain(json.loads(json.dumps(kept.plain())))

    assert at_once == one_by_one == in_pieces == saved
    assert json.dumps(whole.plain()) == json.dumps(single.plain()) == json.dumps(kept.plain())


def test_after_an_alarm_the_new_state_is_learnt_and_the_next_change_found():
    values = np.random.default_rng(3).normal(size=9000)
    values[3000:6000] += 2
    bank = ChartBank()

    alarms = bank.watch(values)

    assert [round(alarm.changed_at, -2) for alarm in alarms] == [3000, 6000]
    assert [alarm.direction for alarm in alarms] == ["up", "down"]
    assert bank.left_to_learn == 0


def test_a_reference_replaces_the_warm_up():
    draw = np.random.default_rng(8)
    bank = ChartBank(reference=draw.normal(size=3000))

    (alarm,) = bank.watch(draw.normal(1, 1, size=200))

    assert bank.left_to_learn > 0  # it learns anew
    assert (alarm.statistic, alarm.changed_at <= 10) == ("mean", True)


def test_a_short_period_is_found_and_a_long_one_is_not_guessed():
    draw, n = np.random.default_rng(2), np.arange(1500)

    assert found_period(np.sin(2 * np.pi * n / 24) + draw.normal(size=1500)) == 24
    assert found_period((n % 7 >= 5) * 1.5 + draw.normal(size=1500)) == 7
    assert found_period(draw.normal(size=1500)) == 0
    assert found_period(np.sin(2 * np.pi * n / 700) + draw.normal(size=1500)) == 0


NOBODY_SENDS = {
    "nothing": [], "missing": [math.nan] * 50, "one": [1.0], "constant": [7.0] * 5000, "huge": [1e308, -1e308] * 1500,
    "tiny": [0.0, 1e-320] * 1500, "mixed": [1e300, 1.0, math.inf] * 1000, "repeated": [float(n % 7) for n in range(3500)],
    "repeated and tiny": [1e-9 * (n % 24) for n in range(2400)], "repeated and huge": [1e140 * (n % 5) for n in range(2000)],
}  # fmt: skip


@pytest.mark.parametrize("values", NOBODY_SENDS.values(), ids=NOBODY_SENDS)
def test_streams_that_nobody_sends_are_watched_all_the_same(values: list[float]):
    bank = ChartBank(warm_up=300)

    assert bank.watch(values) == []
    assert bank.seen == len(values)
    assert (bank.left_to_learn > 0) == (bank.seen - bank.missing < 300)


def test_what_makes_no_sense_is_refused():
    for refused in (
        lambda: ChartBank(false_alarms=0), lambda: ChartBank(false_alarms=math.nan), lambda: ChartBank(warm_up=10),
        lambda: ChartBank(period=-1), lambda: ChartBank(reference=[1.0] * 20), lambda: ChartBank().watch([[1.0]]),
        lambda: ChartBank().watch(["a"]), lambda: ChartBank.of_plain({"format": 99}), lambda: ChartBank.of_plain({}),
        lambda: TextWatch(false_alarms=0), lambda: TextWatch(warm_up=3), lambda: TextWatch().watch([1.0]),
        lambda: TextWatch(reference=np.ones((3, 2))), lambda: TextWatch.of_plain({"format": 1}),
        lambda: compare(np.ones((30, 2)), np.ones((30, 3))), lambda: compare([[math.nan, 1]] * 30, np.ones((30, 2))),
        lambda: shifts({"a": [1]}, {"a": [2]}), lambda: tsne(np.zeros((2001, 2), np.float32)),
    ):  # fmt: skip
        with pytest.raises(BadRequest):
            refused()


# ---------------------------------------------------------------- the others


# positions at which river 0.26.1 gives an alarm for the same values
RIVER: list[tuple[Detector, list[int]]] = [
    (ADWIN(), [3071]),
    (ADWIN(delta=0.3), [1023, 1919, 3039]),
    (PageHinkley(), [1083, 3050]),
    (DDM(), [3077]),
    (EDDM(), [601, 1113, 2545, 3031]),
]


def plain_numbers(n: int) -> list[float]:
    """The same on every machine and with every version of numpy: a linear congruential generator (Numerical Recipes, 7.1)."""
    state, found = 12345, []
    for _ in range(n):
        state = (1664525 * state + 1013904223) % 2**32
        found.append(state / 2**32)
    return found


@pytest.mark.parametrize(("detector", "positions"), RIVER, ids=["ADWIN", "ADWIN eager", "Page-Hinkley", "DDM", "EDDM"])
def test_the_other_detectors_give_the_alarms_that_river_gives(detector: Detector, positions: list[int]):
    uniform = plain_numbers(6000)
    if isinstance(detector, DDM | EDDM):
        values = [float(value < (0.05 if at < 3000 else 0.25)) for at, value in enumerate(uniform)]
    else:
        values = [3.4 * value + (0.8 if at >= 3000 else 0.0) for at, value in enumerate(uniform)]

    assert [alarm.position for alarm in detector.watch(values)] == positions


def test_every_detector_passes_over_what_is_no_number():
    values = [0.0, 1.0, math.nan, math.inf] * 500
    for detector in (ADWIN(), PageHinkley(), DDM(), EDDM()):
        assert all(math.isfinite(alarm.after) for alarm in detector.watch(values))
        assert detector.missing == 1000


# ---------------------------------------------------------------- features


def test_tails_agree_with_tables():
    assert chi_squared_tail(3.841459, 1) == pytest.approx(0.05, abs=1e-6)
    assert chi_squared_tail(18.30704, 10) == pytest.approx(0.05, abs=1e-6)
    assert chi_squared_tail(124.3421, 100) == pytest.approx(0.05, abs=1e-6)
    assert kolmogorov_tail(1.3581) == pytest.approx(0.05, abs=1e-4)
    assert chi_squared_tail(0, 3) == kolmogorov_tail(0) == 1.0


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30), st.lists(st.floats(-10, 10), min_size=2, max_size=30))
def test_smirnovs_distance_is_the_largest_between_the_two(a: list[float], b: list[float]):
    slow = max(abs(sum(x <= at for x in a) / len(a) - sum(x <= at for x in b) / len(b)) for at in [*a, *b])

    assert smirnov(np.array(a), np.array(b))[0] == pytest.approx(slow)


def test_the_features_that_shifted_are_named_and_the_others_are_not():
    draw = np.random.default_rng(1)

    def features(shift: float, share: float) -> dict[str, list[object]]:
        return {
            **{f"n{k}": draw.normal(size=400).tolist() for k in range(20)},
            "length": (draw.normal(size=400) + shift).tolist(),
            "language": draw.choice(["en", "de", "fr"], 400, p=[1 - share, share / 2, share / 2]).tolist(),
            "empty": [None] * 400,
        }

    found = shifts(features(0, 0.2), features(0.6, 0.5))

    assert {one.feature for one in found if one.shifted} == {"length", "language"}
    assert all(one.psi > 5 * one.psi_by_chance for one in found if one.shifted)
    assert "empty" not in {one.feature for one in found}


def test_the_chance_of_any_false_alarm_among_many_features_is_what_was_asked_for():
    draw = np.random.default_rng(4)
    tables = [{f"f{k}": draw.normal(size=100).tolist() for k in range(20)} for _ in range(200)]

    alarms = sum(any(one.shifted for one in shifts(a, b)) for a, b in zip(tables[::2], tables[1::2], strict=True))

    assert alarms <= 12  # 5 are expected of 100
    assert psi(np.array([50.0, 50.0]), np.array([50.0, 50.0])) == 0


# ---------------------------------------------------------------- texts


def topics(draw: Draw, n: int, share: float = 0.0, dim: int = 32) -> Values:
    """Unit vectors about one thing, a share of them about another."""
    centres = np.eye(dim)[:2]
    rows = centres[(draw.random(n) < share) * 1] + draw.normal(size=(n, dim)) * 0.3
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_quarter_of_foreign_texts_is_found_within_300():
    draw = np.random.default_rng(6)
    vectors = np.concatenate([topics(draw, 600), topics(draw, 400, 0.25)])

    (alarm,) = TextWatch().watch(vectors)

    assert 600 < alarm.position < 900
    assert abs(alarm.changed_at - 600) < 60
    assert alarm.told_apart > 0.52
    assert all(vectors[at][1] > 0.25 for at in alarm.newest)  # what is most unlike is about the other thing


def test_texts_about_the_same_give_no_alarm_also_where_neighbours_are_alike():
    draw = np.random.default_rng(7)
    talks = np.repeat(topics(draw, 150), 10, axis=0) + draw.normal(size=(1500, 32)).astype(np.float32) * 0.02

    assert TextWatch().watch(topics(draw, 1500)) == []
    assert TextWatch().watch(talks) == []


def test_probabilities_of_equal_texts_are_uniform():
    draw = np.random.default_rng(9)
    found = [compare(topics(draw, 60), topics(draw, 40), level=0.9, seed=n).p for n in range(100)]

    assert sum(p <= 0.1 for p in found) <= 20  # 10 are expected
    assert sum(p <= 0.5 for p in found) == pytest.approx(50, abs=20)


def test_texts_in_pieces_or_kept_in_between_give_the_same_alarms():
    draw = np.random.default_rng(10)
    vectors = np.concatenate([topics(draw, 500), topics(draw, 800, 0.6)])
    whole, pieces = TextWatch(), TextWatch()

    found = []
    for at in range(0, 1300, 37):
        found += pieces.watch(vectors[at : at + 37])
        pieces = TextWatch.of_plain(json.loads(json.dumps(pieces.plain())))

    assert found == whole.watch(vectors) != []
    assert pieces.plain() == whole.plain()


def test_a_classifier_tells_apart_what_differs_and_nothing_else():
    draw = np.random.default_rng(11)

    assert told_apart(topics(draw, 200), topics(draw, 200, 1.0)) > 0.95
    assert told_apart(topics(draw, 200), topics(draw, 200)) == pytest.approx(0.5, abs=0.12)
    assert told_apart(np.ones((30, 4)), np.ones((30, 4))) == pytest.approx(0.5, abs=0.01)


# ---------------------------------------------------------------- pictures and the terminal


def test_pictures_keep_groups_together_and_can_be_read_aloud():
    draw = np.random.default_rng(5)
    vectors = np.concatenate([topics(draw, 60), topics(draw, 60, 1.0)])
    places, (first, second) = principal(vectors)

    for found in (places, tsne(vectors, steps=200)):
        near = np.argsort(((found[:, None] - found[None]) ** 2).sum(2), axis=1)[:, 1]
        assert np.mean((near >= 60) == (np.arange(120) >= 60)) > 0.9
    assert 0 < second < first < 1
    drawn = scatter(places, [0] * 60 + [1] * 60, ["<old>", "new"], title="a & b")
    assert "<title>a &amp; b</title>" in drawn
    assert "&lt;old&gt;: 60 points" in drawn
    assert 'role="img"' in line(np.array([1.0, math.nan, 3.0]), [], title="t")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["drift", *map(str, arguments)])


def test_the_terminal_finds_a_change_in_numbers_of_csv_and_counts_what_is_missing(tmp_path: Path):
    draw = np.random.default_rng(1)
    values = [*draw.lognormal(6, 0.5, 2500), *draw.lognormal(6.4, 0.5, 800)]
    cells = ["" if at % 100 == 7 else f"{value:.1f}" for at, value in enumerate(values)]
    (tmp_path / "a.csv").write_text("id;ms\n" + "".join(f"{n};{cell}\n" for n, cell in enumerate(cells)), "utf-8")

    found = json.loads(run("--stream", tmp_path / "a.csv", "--column", "ms", "--json").stdout)
    failed = run("--stream", tmp_path / "a.csv", "--column", "ms", "--fail-on-drift", "--report", tmp_path / "a.html")

    assert (found["taken_for"], found["events"], found["missing"], len(found["alarms"])) == ("numbers", 3300, 33, 1)
    assert 2500 <= found["alarms"][0]["position"] < 2700
    assert failed.exit_code == 1
    assert "<caption>Alarms</caption>" in (tmp_path / "a.html").read_text("utf-8")


def test_the_terminal_takes_json_lines_of_texts_and_says_so(tmp_path: Path):
    numbers = np.random.default_rng(1).integers(1000, size=460).tolist()
    lines = [{"question": f"When does parcel {n} to Norway arrive?"} for n in numbers[:400]]
    lines += [{"question": f"<b>My</b> invoice {n} has the wrong tax, who corrects it?"} for n in numbers[400:]]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), "utf-8")

    result = run("--stream", tmp_path / "q.jsonl", "--json", "--report", tmp_path / "q.html")

    found = json.loads(result.stdout)
    assert (found["taken_for"], len(found["alarms"])) == ("texts", 1)
    assert abs(found["alarms"][0]["changed_at"] - 400) <= 10
    page = (tmp_path / "q.html").read_text("utf-8")
    assert "<svg" in page
    assert "<b>My" not in page


def test_zeros_and_ones_in_json_lines_are_a_share_and_a_reference_is_used(tmp_path: Path):
    draw = np.random.default_rng(2)
    for name, share in (("good", 0.05), ("now", 0.3)):
        rows = [json.dumps({"failed": bool(one)}) for one in draw.random(1000) < share]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows), "utf-8")

    result = run("--stream", tmp_path / "now.jsonl", "--reference", tmp_path / "good.jsonl")

    assert result.exit_code == 0
    assert "share up" in result.stdout


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("", [], "no events"),
        ("a,b\n1,2\n", [], "choose with --column: a, b"),
        ("a,b\n1,2\n", ["--column", "c"], "no column 'c'"),
        ('{"a": 1}\n{"a": \n', [], "line 2"),
        ("a\n" + "1\nx\n" * 20, [], "neither numbers nor texts"),
        ("a\n" + "\n" * 3 + "nan\n", [], "no values"),
        ('{"a": [1]}\n', [], "0 columns"),
    ],
)
def test_files_that_are_no_stream_are_refused_with_the_reason(tmp_path: Path, text: str, more: list[str], said: str):
    (tmp_path / "s").write_text(text, "utf-8")

    with pytest.raises(BadRequest) as refused:
        CliRunner().invoke(
            cli, ["drift", "--stream", str(tmp_path / "s"), *more], catch_exceptions=False, standalone_mode=False
        )
    assert said in str(refused.value)


def test_a_stream_that_is_too_short_says_what_is_missing(tmp_path: Path):
    (tmp_path / "s.csv").write_text("\n".join(str(n % 7) for n in range(100)), "utf-8")

    result = run("--stream", tmp_path / "s.csv", "--fail-on-drift")

    assert result.exit_code == 0
    assert "1,400 more events are needed" in result.stderr
