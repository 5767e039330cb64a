"""Objectives and alerts: the workbook's rules by hand, nothing told without cause, and everything told once, whoever looks."""

import hashlib
import hmac
import itertools
import json
import math
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from services import Service
from serving import TLS, Served, serving
from upstream import upstream

from penstock.assemble import assemble
from penstock.cli.main import cli
from penstock.config import ChannelSettings, load
from penstock.errors import BadRequest, BadSetting, NotFound, UpstreamError
from penstock.observe import counts
from penstock.observe import tally as tallies
from penstock.observe.alerts import Alerts, Channel, Condition, outbox
from penstock.observe.counts import Counts, Observed
from penstock.observe.deliver import SIGNATURE, Courier, send, signature, subject, text
from penstock.observe.journal import Journal, Row
from penstock.observe.lookout import Lookout
from penstock.observe.objectives import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Counted,
    Objective,
    judged,
    least_bad,
    rules,
    standing,
    subject_of,
)  # fmt: skip
from penstock.observe.tally import Opinion, Tally
from penstock.review.feedback import About
from penstock.storage.database import Database

NOW = 1_800_000_000.0
DATABASE = "penstock.db"
AVAILABLE = Objective("availability", "availability", 0.999)


def row(number: int = 0, *, at: float = NOW, outcome: str = "ok", app: str = "handbook", **more: Any) -> Row:
    values = {
        "id": f"r{number}", "trace_id": f"r{number}", "at": at, "key": "", "person": "", "team": "", "app": app, "model": "small",
        "dialect": "chat", "streamed": False, "status": 200, "outcome": outcome, "error": "", "cached": False, "first_ms": 100.0,
        "duration_ms": 0.0, "input_tokens": 10, "output_tokens": 100, "cached_tokens": 0, "reasoning_tokens": 0,
        "cost_pico_usd": 10**9, "calls": "",
    }  # fmt: skip
    return Row(**{**values, **more})


def told(**values: Any) -> dict[str, Any]:
    return values


def at_rates(*windows: tuple[float, float], per_s: float = 1.0) -> Callable[[float], Counted]:
    """Counts of a service with constant traffic. windows: (seconds back from now, share of bad ones), the newest first."""

    def counted(window_s: float) -> Counted:
        bad, before = 0.0, 0.0
        for back, share in windows:
            reach = min(back, window_s)
            bad += max(0.0, reach - before) * share * per_s
            before = max(before, reach)
        return Counted(round(window_s * per_s - bad), round(bad))

    return counted


# ---------------------------------------------------------------- the workbook


def test_the_rules_are_those_of_the_workbook():
    assert [(rule.severity, rule.rate, rule.long_s, rule.short_s, rule.share) for rule in rules(30 * DAY_S)] == [
        ("page", 14.4, 3600, 300, 0.02),
        ("page", 6, 21_600, 1800, 0.05),
        ("ticket", 1, 259_200, 21_600, 0.10),
    ]


@given(st.floats(7 * DAY_S, 90 * DAY_S))
def test_for_another_period_a_rule_means_the_same_share_of_the_budget(period_s: float):
    for rule in rules(period_s):
        gone = rule.rate * rule.long_s / period_s
        rounding = rule.rate * MINUTE_S / period_s  # windows are whole minutes
        assert rule.share - 1e-9 <= gone <= rule.share + rounding


def test_a_total_outage_pages_within_a_minute_and_a_half():
    def severity(outage_s: float) -> str:
        return standing(AVAILABLE, "handbook", at_rates((outage_s, 1.0))).severity

    # 14.4 * 0.1 % of an hour is 51.84 s
    assert severity(51) == ""
    assert severity(52) == "page"
    assert severity(600) == "page"


def test_errors_at_twice_the_budget_make_a_ticket_and_no_page():
    found = standing(AVAILABLE, "handbook", at_rates((30 * DAY_S, 0.002)))

    assert found.severity == "ticket"
    assert [burn.state for burn in found.burns] == ["calm", "calm", "burning"]
    assert [round(burn.long_rate, 3) for burn in found.burns] == [
        1.944,
        1.991,
        1.998,
    ]  # 7 of 3,600; 43 of 21,600; 518 of 259,200
    assert found.budget_left == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("share", "hours", "severity"),
    [
        (0.0143, 1, ""),  # 14.3 times for an hour
        (0.0145, 1, "page"),
        (0.0059, 6, ""),  # 5.9 times for six hours
        (0.0061, 6, "page"),
        (0.0009, 72, ""),  # 0.9 times for three days
        (0.0011, 72, "ticket"),
    ],
)
def test_each_rule_fires_at_its_rate(share: float, hours: int, severity: str):
    assert standing(AVAILABLE, "handbook", at_rates((hours * HOUR_S, share), per_s=100)).severity == severity


def test_what_is_over_fires_no_more_though_the_hour_is_still_bad():
    counted = at_rates((5 * MINUTE_S, 0.0), (10 * MINUTE_S, 1.0))

    found = standing(AVAILABLE, "handbook", counted)

    assert found.burns[0].long_rate > 14.4
    assert found.burns[0].state == "calm"


def test_a_large_budget_can_burn_out_too():
    """Of 20 % five budgets a period are the most that can burn, so 14.4 and 6 would never be reached."""
    generous = Objective("liked", "satisfaction", 0.8)

    assert standing(generous, "handbook", at_rates((HOUR_S, 1.0))).severity == "page"
    assert standing(generous, "handbook", at_rates((6 * HOUR_S, 0.85))).severity == ""


# ---------------------------------------------------------------- little traffic


def test_nothing_asked_nothing_told():
    found = standing(AVAILABLE, "handbook", lambda window_s: Counted())

    assert (found.severity, found.budget_left, found.silent) == ("", 1.0, False)


@pytest.mark.parametrize("bad", range(1, 5))
def test_one_or_a_few_failures_alone_are_no_alert(bad: int):
    assert standing(AVAILABLE, "handbook", lambda window_s: Counted(0, bad)).severity == ""
    assert standing(AVAILABLE, "handbook", lambda window_s: Counted(0, 5)).severity == "page"


def test_nobody_who_asks_is_neither_good_nor_bad():
    def counted(window_s: float) -> Counted:
        return Counted() if window_s <= HOUR_S / 2 else Counted(10, 10)

    found = standing(AVAILABLE, "handbook", counted)

    assert found.severity == "ticket"  # six hours and three days have some
    assert [burn.state for burn in found.burns] == ["silent", "silent", "burning"]


@given(st.integers(1, 5000), st.floats(0.0001, 0.9))
def test_what_half_the_rate_gives_by_chance_is_not_enough(n: int, share: float):
    least, mean = least_bad(n, share), n * share / 2

    def above(count: int) -> float:
        """P(X >= count) of a Poisson distribution, from its definition."""
        logs = [k * math.log(mean) - mean - math.lgamma(k + 1) for k in range(count)]
        return 1 - math.fsum(map(math.exp, logs))

    assert 5 <= least <= 40
    if least < 40:
        assert above(least) <= 1.001e-3
    if least > 5:
        assert above(least - 1) > 0.999e-3


def test_a_service_in_order_is_left_alone_for_thirty_days():
    """Failures at half the budget, by chance, through busy days and quiet nights: the rules see each minute."""
    draw, alarms = random.Random(5), 0
    for _ in range(3):
        counts = Counts(30 * DAY_S)
        for minute in range(30 * 1440):
            at, calls = NOW + 60 * minute, 2 + round(2 * math.sin(minute / 1440 * 2 * math.pi))
            for _ in range(calls):
                counts.add(at, draw.random() >= 0.0005)
            if counts.last_bad == at:  # only then a rule can begin to fire
                alarms += bool(standing(AVAILABLE, "", lambda w, c=counts, t=at: c.counted(w, now=t)).severity)
    assert alarms == 0


# ---------------------------------------------------------------- what is good


@pytest.mark.parametrize(
    ("kind", "more", "answer", "good"),
    [
        ("availability", {}, {}, True),
        ("availability", {"outcome": "failed"}, {}, False),
        ("availability", {"outcome": "lost"}, {}, False),
        ("availability", {"outcome": "cancelled"}, {}, None),
        ("availability", {"outcome": "refused", "error": "rate_limit_exceeded"}, {}, None),
        ("availability", {"outcome": "refused", "error": "upstream_busy"}, {}, False),
        ("latency", {"duration_ms": 2000.0}, {}, True),
        ("latency", {"duration_ms": 2000.1}, {}, False),
        ("latency", {"duration_ms": 9e9, "outcome": "failed"}, {}, None),
        ("latency", {"duration_ms": math.nan}, {}, False),
        ("first_piece", {"first_ms": 2001.0}, {}, False),
        ("first_piece", {"first_ms": 0.0}, {}, None),
        ("cost", {"cost_pico_usd": 10**10}, {}, True),
        ("cost", {"cost_pico_usd": 10**10 + 1}, {}, False),
        ("grounded", {}, told(status="answer", claims={"supported": 3}), True),
        ("grounded", {}, told(status="answer", claims={"supported": 3, "not_found": 1}), False),
        ("grounded", {}, told(status="answer", claims={"unscored": 3}), None),
        ("grounded", {}, told(status="not_found"), None),
        ("grounded", {}, {}, None),
        ("refusals", {}, told(status="answer", faults=[]), True),
        ("refusals", {}, told(status="answer", faults=["refusal"]), False),
        ("refusals", {}, told(status="not_found"), False),
        ("refusals", {"outcome": "refused", "error": "blocked_by_guard"}, {}, False),
        ("refusals", {"outcome": "refused"}, {}, None),
        ("refusals", {}, {}, True),
        ("satisfaction", {}, {}, None),
    ],
)
def test_what_counts_as_good(kind: Any, more: dict[str, Any], answer: dict[str, Any], good: bool | None):
    objective = Objective("x", kind, 0.9, within_ms=2000.0, most_pico_usd=10**10)

    assert judged(objective, row(**more), answer) is good


def test_made_up_names_of_models_are_counted_together():
    assert subject_of("", "openai/whatever") == "openai/*"
    assert subject_of("handbook", "openai/whatever") == "handbook"


# ---------------------------------------------------------------- the counts


class Home:
    """A home whose journal is written row by row, and whose clock is ours."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now, self._number = folder, NOW, itertools.count()
        self.database = Database(folder / DATABASE)
        self.journal = Journal(self.database, folder / "journal")
        self.journal.drain()
        self.journal.spent()

    def asked(self, good: int, bad: int = 0, **more: Any) -> list[str]:
        """Requests that end now. Returns the ids of the bad ones, the newest first."""
        failed = []
        for n in range(good + bad):
            one = row(next(self._number), at=self.now, outcome="ok" if n < good else "failed", **more)
            self.journal.write(one, [])
            failed += [one.id] if n >= good else []
        self.journal.drain()
        return failed[::-1]

    def tally(self, *objectives: Objective, **more: Any) -> Tally:
        return Tally(self.database, objectives or (AVAILABLE,), **more)

    def lookout(self, *names: str, **more: Any) -> Lookout:
        channels = {name: ChannelSettings(url="http://127.0.0.1:9/none") for name in names}
        return Lookout(
            self.database, self.folder / "lock", (AVAILABLE,), channels, clock=lambda: self.now, **more
        )  # fmt: skip

    def messages(self) -> list[tuple[str, str]]:
        """(channel, event) of all that waits to be delivered."""
        return [(channel, message["event"]) for channel, message in outbox(self.database)]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.journal.close()
    home.database.close()


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=60), st.integers(1, 70))
def test_a_ring_counts_as_a_list_would(events: list[tuple[int, bool]], window: int):
    ring, counted, last = counts._Ring(90), [], 0
    for number, good in events:
        ring.add(number, good, not good)
        counted.append((number, good, last))
        last = max(last, number)
    expected = [0, 0]
    for number, good, before in counted:
        if last - window < number <= last and number > before - 90:
            expected[not good] += 1

    assert tuple(ring.between(last - window + 1, last)) == tuple(expected)


def test_a_request_counts_in_the_minute_in_which_it_ended(home: Home):
    home.asked(0, 6, duration_ms=600_000.0)  # began now, ended ten minutes later
    tally = home.tally()

    tally.follow(NOW + 660)

    (counts,) = tally.counts.values()
    assert counts.counted(5 * MINUTE_S, now=NOW + 660).bad == 6


def test_counts_survive_a_restart_in_the_middle_and_nothing_is_counted_twice(home: Home):
    tally = home.tally()
    home.asked(10, 3)
    tally.follow(home.now)
    tally.save()
    lost = home.asked(10, 3)
    tally.follow(home.now)  # and killed before it was written down

    again = home.tally()
    again.follow(home.now)

    (found,) = again.standings(home.now)
    assert found.counted == Counted(20, 6)
    assert again.samples("availability", "handbook")[:3] == lost


def test_counts_outlive_the_rows_and_row_numbers_that_begin_again(home: Home):
    tally = home.tally()
    home.asked(10, 3)
    tally.follow(home.now)
    with home.database.write() as w:
        w.execute("delete from requests")
    home.now += 60
    tally.follow(home.now)
    home.asked(2, 1)
    home.now += 60
    home.asked(2, 1)

    tally.follow(home.now)

    (found,) = tally.standings(home.now)
    assert found.counted == Counted(14, 5)


def test_other_objectives_are_counted_from_the_rows_that_are_there(home: Home):
    home.asked(10, 3)
    tally = home.tally()
    tally.follow(home.now)
    tally.save()

    other = home.tally(Objective("fast", "latency", 0.9, within_ms=1.0), AVAILABLE)
    other.follow(home.now)
    other.save()
    once_more = home.tally(Objective("fast", "latency", 0.9, within_ms=1.0), AVAILABLE)
    once_more.follow(home.now)

    for one in (other, once_more):
        assert [found.counted for found in one.standings(home.now)] == [Counted(10, 3), Counted(10, 0)]


@pytest.mark.parametrize("jump_s", [3 * DAY_S, 400 * DAY_S])
def test_a_clock_that_jumps_ahead_and_back_loses_no_counts(home: Home, jump_s: float):
    tally = home.tally()
    home.asked(10, 3)
    tally.follow(home.now)
    tally.save()
    home.now += jump_s
    home.asked(1)
    tally.follow(home.now)
    home.now -= jump_s - 5
    home.asked(1)

    tally.follow(home.now)

    (found,) = tally.standings(home.now)
    assert found.counted.bad == 3
    assert found.counted.good >= 11


def test_there_is_a_limit_to_how_many_apps_and_models_are_counted(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tallies, "MOST_SUBJECTS", 3)
    for n in range(6):
        home.asked(1, app=f"app{n}")
    tally = home.tally()

    tally.follow(home.now)

    assert {found.subject: found.counted.total for found in tally.standings(home.now)} == {
        "app0": 1, "app1": 1, "app2": 1, "(others)": 3,
    }  # fmt: skip


def test_opinions_that_are_changed_are_counted_as_they_are_now(home: Home):
    said = {"r1": (NOW - 60, False), "r2": (NOW - 60, True), "r3": (NOW - 50, None)}

    def opinions(since: float) -> Iterator[Opinion]:
        for number, (changed, good) in said.items():
            if changed >= since:
                yield Opinion(NOW - 60, changed, "handbook", "small", number, good)

    tally = home.tally(Objective("liked", "satisfaction", 0.8), opinions=opinions)
    tally.follow(NOW)
    before = [found.counted for found in tally.standings(NOW)]
    said["r1"] = (NOW + 1, True)
    tally.follow(NOW + 2)

    assert before == [Counted(1, 1)]
    assert [found.counted for found in tally.standings(NOW + 2)] == [Counted(2, 0)]


def test_what_people_say_of_answers_is_held_to_an_objective(tmp_path: Path):
    (tmp_path / "penstock.toml").write_text('home = "home"\n[objectives.liked]\nkind = "satisfaction"\n')
    house = assemble(load(tmp_path / "penstock.toml", environment={}))
    for n, opinion in enumerate([{"thumb": "up"}, {"csat": 4}, {"csat": 3}, {"csat": 1}, *[{"thumb": "down"}] * 6]):
        house.review.feedback.give(About(f"r{n}", "key", app="handbook"), "anna", opinion)
    now = time.time()
    tally = house.tally()
    tally.follow(now)
    before = tally.standings(now)
    house.review.feedback.give(About("r9", "key", app="handbook"), "anna", {"thumb": "up"})
    tally.follow(now + 1)
    after = tally.standings(now + 1)
    house.close()

    (found,) = before
    assert (found.subject, found.counted, found.severity) == ("handbook", Counted(2, 7), "ticket")
    assert tally.samples("liked", "handbook")[0] == "r8"
    assert [one.counted for one in after] == [Counted(3, 6)]


def test_what_cannot_be_read_of_an_answer_is_passed_over(home: Home):
    home.asked(1, answer="{broken")
    home.asked(1, answer="[1]")
    home.asked(1, answer='{"status": 7, "claims": 3, "characters": "many"}')
    tally = home.tally(Objective("grounded", "grounded", 0.9), AVAILABLE)

    assert tally.follow(home.now) == 3


# ---------------------------------------------------------------- alerts


def test_an_alert_fires_once_names_its_requests_and_resolves(home: Home):
    lookout = home.lookout("ops")
    home.asked(50)
    assert lookout.look() == 0
    failed = home.asked(0, 10)
    assert lookout.look() == 1
    for _ in range(5):
        home.now += 10
        lookout.look()
    assert home.messages() == [("ops", "fired")]
    (alert,) = lookout.alerts.firing(now=home.now)
    assert alert.severity == "page"
    assert list(alert.samples) == failed[:5]

    for _ in range(45):  # the page is over after minutes, the ticket when six hours are well again
        home.now += 600
        home.asked(20)
        lookout.look()

    assert home.messages() == [("ops", "fired"), ("ops", "eased"), ("ops", "still"), ("ops", "resolved")]
    assert lookout.alerts.firing(now=home.now) == []
    (ended,) = lookout.alerts.past(now=home.now)
    assert ended.ended - ended.started == pytest.approx(6.5 * HOUR_S, abs=1300)


def test_a_restart_in_the_middle_of_an_alert_tells_nothing_twice(home: Home):
    first = home.lookout("ops")
    home.asked(0, 10)
    first.look()
    home.now += 5

    second = home.lookout("ops")
    second.look()
    home.now += 5
    home.asked(0, 1)
    second.look()

    assert home.messages() == [("ops", "fired")]


def test_a_long_journal_is_counted_piece_by_piece_and_told_at_its_end(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penstock.observe.lookout.AT_ONCE", 20)
    monkeypatch.setattr(tallies, "AT_ONCE", 10)
    lookout = home.lookout("ops")
    home.asked(0, 50)

    assert [lookout.look() for _ in range(4)] == [0, 0, 1, 0]
    again = home.tally()
    again.follow(home.now)
    assert [found.counted for found in again.standings(home.now)] == [Counted(0, 50)]


LOOK = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_objectives import AVAILABLE, DATABASE
from penstock.config import ChannelSettings
from penstock.observe.lookout import Lookout
from penstock.storage.database import Database
here = Path(sys.argv[1])
channels = {"ops": ChannelSettings(url="http://127.0.0.1:9/none")}
lookout = Lookout(Database(here / DATABASE), here / sys.argv[3], (AVAILABLE,), channels)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    lookout.look()
    time.sleep(0.02)
"""


def test_two_processes_that_both_look_tell_once(home: Home):
    home.now = time.time()
    tests = str(Path(__file__).parent)
    command = [sys.executable, "-c", LOOK, str(home.folder), tests]
    both = [
        subprocess.Popen([*command, f"lock{n}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in (1, 2)
    ]
    for process in both:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    home.asked(0, 10)
    for process in both:
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0

    assert home.messages() == [("ops", "fired")]


def test_one_of_two_looks_and_the_other_takes_over(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penstock.observe.lookout.LOCK_EVERY_S", 0.05)
    monkeypatch.setattr("penstock.observe.lookout.EVERY_S", 0.05)
    stops = [threading.Event(), threading.Event()]
    lookouts = [home.lookout(), home.lookout()]
    looked = [threading.Event(), threading.Event()]
    for lookout, event in zip(lookouts, looked, strict=True):
        monkeypatch.setattr(lookout, "look", lambda *, stop, event=event: event.set())
    threads = [
        threading.Thread(target=lookout.run, args=(stop,)) for lookout, stop in zip(lookouts, stops, strict=True)
    ]
    threads[0].start()
    assert looked[0].wait(20)
    threads[1].start()
    assert not looked[1].wait(0.5)

    stops[0].set()

    assert looked[1].wait(20)
    stops[1].set()
    for thread in threads:
        thread.join(20)


def conditions(alerts: Alerts, now: float, *severities: str, key: str = "k") -> int:
    return alerts.update([Condition(key, severity, "t") for severity in severities], now=now)  # type: ignore[arg-type]


@pytest.fixture
def alerts(tmp_path: Path) -> Iterator[Alerts]:
    database = Database(tmp_path / DATABASE)
    yield Alerts(database, [Channel("all"), Channel("pages", ("page",))], repeat_s=3600, quiet_s=60, quiet_ticket_s=60)
    database.close()


def waiting(alerts: Alerts) -> list[tuple[str, str]]:
    return [(channel, message["event"]) for channel, message in outbox(alerts._database)]


def test_what_gets_worse_is_told_again_and_to_those_who_want_pages(alerts: Alerts):
    conditions(alerts, NOW, "ticket")
    conditions(alerts, NOW + 1, "page")
    conditions(alerts, NOW + 2, "ticket")
    conditions(alerts, NOW + 3, "page")
    alerts.update([], now=NOW + 100)

    assert waiting(alerts) == [
        ("all", "fired"),
        ("all", "worse"),
        ("pages", "fired"),
        ("all", "resolved"),
        ("pages", "resolved"),
    ]


def test_who_is_called_for_pages_hears_when_it_is_none_any_more(alerts: Alerts):
    conditions(alerts, NOW, "page")
    for n in range(10):
        conditions(alerts, NOW + 10 + 10 * n, "ticket")
    eased = waiting(alerts)
    conditions(alerts, NOW + 200, "page")
    conditions(alerts, NOW + 201, "page")

    assert eased == [("all", "fired"), ("pages", "fired"), ("all", "eased"), ("pages", "eased")]
    assert waiting(alerts)[4:] == [("all", "worse"), ("pages", "fired")]


def test_what_goes_on_is_told_again_after_a_while(alerts: Alerts):
    for minute in range(0, 130, 10):
        conditions(alerts, NOW + 60 * minute, "ticket")

    assert waiting(alerts) == [("all", "fired"), ("all", "still"), ("all", "still")]


def test_what_comes_and_goes_is_one_alert(alerts: Alerts):
    for n in range(20):
        conditions(alerts, NOW + 20 * n, *(["ticket"] if n % 2 else []))

    assert waiting(alerts) == [("all", "fired")]


def test_what_cannot_be_told_neither_ends_nor_begins(alerts: Alerts):
    conditions(alerts, NOW, "ticket")
    alerts.update([], now=NOW + 500, unknown={"k"})
    alerts.update([], now=NOW + 550)
    assert [alert.state for alert in alerts.firing(now=NOW + 550)] == ["firing"]

    alerts.update([], now=NOW + 561)

    assert alerts.firing(now=NOW + 561) == []


def test_of_what_is_silenced_nobody_is_told_until_the_silence_ends(alerts: Alerts):
    made = alerts.silence("k*", until=NOW + 600, now=NOW, by="anna")
    conditions(alerts, NOW, "page")
    assert waiting(alerts) == []
    assert [alert.silenced for alert in alerts.firing(now=NOW)] == [True]
    assert [silence.id for silence in alerts.silences(now=NOW)] == [made.id]

    conditions(alerts, NOW + 601, "page")

    assert waiting(alerts) == [("all", "fired"), ("pages", "fired")]


def test_a_silence_can_be_ended_and_none_is_made_by_mistake(alerts: Alerts):
    made = alerts.silence("k", until=NOW + 600, now=NOW)
    alerts.end_silence(made.id, now=NOW + 1)

    assert alerts.silences(now=NOW + 2) == []
    with pytest.raises(NotFound):
        alerts.end_silence(made.id, now=NOW + 2)
    with pytest.raises(BadRequest):
        alerts.silence("  ", until=NOW + 600, now=NOW)
    with pytest.raises(BadRequest):
        alerts.silence("k", until=NOW - 1, now=NOW)


@pytest.mark.parametrize("jump_s", [-DAY_S, DAY_S])
def test_a_clock_that_jumps_leaves_no_alert_stuck(alerts: Alerts, jump_s: float):
    conditions(alerts, NOW, "ticket")
    conditions(alerts, NOW + jump_s, "ticket")
    alerts.update([], now=NOW + jump_s + 1)
    assert len(alerts.firing(now=NOW)) == 1

    alerts.update([], now=NOW + jump_s + 62)

    assert alerts.firing(now=NOW) == []


def test_who_looks_at_an_empty_home_leaves_it_empty(tmp_path: Path):
    database = Database(tmp_path / "home" / DATABASE)
    alerts = Alerts(database, [Channel("all")])

    assert alerts.firing(now=NOW) == alerts.past(now=NOW) == alerts.silences(now=NOW) == []
    assert [channel["name"] for channel in alerts.standing()] == ["all"]
    assert Tally(database, [AVAILABLE], only_looks=True).follow(NOW) == 0
    assert not (tmp_path / "home").exists()


# ---------------------------------------------------------------- delivery


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    service.answers = [{}]
    yield service
    service.server.shutdown()
    service.server.server_close()


MESSAGE: dict[str, Any] = {
    "event": "fired", "id": "a1", "key": "objective/x/y", "state": "firing", "severity": "page", "title": "<x> & y\r\nBcc: z@y.z",
    "facts": {"said": ["one", "two"]}, "requests": ["r1", "r2"], "started": "2027-01-15T08:00:00+00:00", "ended": None,
}  # fmt: skip


def test_a_webhook_gets_signed_json(service: Service):
    send(ChannelSettings(url=service.url, secret="hush"), [MESSAGE], now=NOW, number="7-7")

    ((_, _, headers, body),) = service.asked
    assert (body["id"], body["alerts"][0]["requests"]) == ("7-7", ["r1", "r2"])
    sent = dict(part.split("=", 1) for part in headers[SIGNATURE].split(","))
    data = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    assert sent["t"] == str(int(NOW))
    assert sent["v1"] == hmac.new(b"hush", f"{sent['t']}.".encode() + data, hashlib.sha256).hexdigest()
    assert signature("hush", data, int(NOW)) == headers[SIGNATURE]


def test_slack_gets_text_that_is_no_markup(service: Service):
    send(ChannelSettings(kind="slack", url=service.url), [MESSAGE], now=NOW)

    ((_, _, _, body),) = service.asked
    assert list(body) == ["text"]
    assert "&lt;x&gt; &amp; y" in body["text"]
    assert "requests: r1, r2" in body["text"]


@pytest.mark.parametrize("answer", [302, 404, 500])
def test_a_refusal_says_its_status_and_not_the_address(service: Service, answer: int):
    service.answers = [answer]

    with pytest.raises(UpstreamError, match=f"status {answer}") as error:
        send(ChannelSettings(kind="slack", url=f"{service.url}/T000/secret"), [MESSAGE], now=NOW)

    assert "secret" not in str(error.value)


def test_several_alerts_are_one_message():
    resolved = {**MESSAGE, "event": "resolved", "title": "z", "ended": "2027-01-15T09:00:00+00:00"}

    assert subject([resolved, MESSAGE, MESSAGE]).startswith("[page] <x> & y")
    assert subject([resolved, MESSAGE, MESSAGE]).endswith(", and 2 more")
    assert text([resolved, MESSAGE]).count("\n\n") == 1


class Post:
    """A mail server that takes one message after the other, and keeps them. tls: with STARTTLS."""

    def __init__(self, *, tls: bool = True, refuses: bytes = b"") -> None:
        self.got: list[str] = []
        self.logins: list[str] = []
        self._tls, self._refuses = tls, refuses
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                self._talk(connection)
            except (OSError, ssl.SSLError):
                pass
            finally:
                connection.close()

    def _talk(self, connection: socket.socket) -> None:
        connection.sendall(b"220 here\r\n")
        if self._read(connection):
            connection.sendall(b"220 go\r\n")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(TLS / "server.pem")
            with context.wrap_socket(connection, server_side=True) as secret:
                self._read(secret)

    def _read(self, connection: socket.socket) -> bool:
        """Answer line by line. Returns whether it goes on in secret."""
        with connection.makefile("rb") as lines:
            while line := lines.readline():
                verb = line.split()[0].upper() if line.split() else b""
                if verb == b"STARTTLS":
                    return True
                if verb == b"EHLO":
                    connection.sendall(
                        b"250-here\r\n" + (b"250-STARTTLS\r\n" if self._tls else b"") + b"250 AUTH PLAIN\r\n"
                    )
                elif verb == b"AUTH":
                    self.logins.append(line.split()[-1].decode())
                    connection.sendall(b"235 welcome\r\n")
                elif verb == b"DATA":
                    connection.sendall(b"354 go on\r\n")
                    body = b""
                    while (part := lines.readline()) != b".\r\n":
                        body += part
                    self.got.append(body.decode())
                    connection.sendall(b"250 taken\r\n")
                elif verb == b"QUIT":
                    connection.sendall(b"221 bye\r\n")
                    return False
                else:
                    connection.sendall((self._refuses if verb == b"MAIL" and self._refuses else b"250 ok") + b"\r\n")
        return False


@pytest.fixture
def post() -> Iterator[Post]:
    post = Post()
    yield post
    post.close()


def mail(post: Post, **more: Any) -> ChannelSettings:
    values: dict[str, Any] = {
        "kind": "email", "host": "localhost", "port": post.port, "sender": "penstock@example.com", "to": ("ops@example.com",),
        "ca_file": str(TLS / "authority.pem"),
    }  # fmt: skip
    return ChannelSettings(**{**values, **more})


def test_a_mail_is_sent_behind_starttls_with_a_login(post: Post):
    send(mail(post, user="me", password="hush"), [MESSAGE], now=NOW)

    (got,) = post.got
    head, _, body = got.partition("\r\n\r\n")
    assert "Subject: [page] <x> & y Bcc: z@y.z" in head
    assert "\r\nBcc" not in head
    assert "requests: r1, r2" in body
    assert len(post.logins) == 1


def test_a_mail_server_without_starttls_gets_nothing():
    post = Post(tls=False)
    with pytest.raises(UpstreamError):
        send(mail(post, user="me", password="hush"), [MESSAGE], now=NOW)
    post.close()

    assert (post.got, post.logins) == ([], [])


def test_a_mail_server_that_refuses_is_told_by_its_code():
    post = Post(refuses=b"550 no such person anna@example.com")
    with pytest.raises(UpstreamError, match=r"refused|550|could not be used") as error:
        send(mail(post), [MESSAGE], now=NOW)
    post.close()

    assert "anna" not in str(error.value)


def test_a_dead_channel_is_tried_again_shown_and_delays_no_other(home: Home, service: Service):
    service.answers = [500, 500, {}]
    channels = {"dead": ChannelSettings(url="http://127.0.0.1:9/"), "shaky": ChannelSettings(url=service.url)}
    known = Alerts(home.database, [Channel(name) for name in channels])
    courier = Courier(home.database, channels, clock=lambda: home.now)
    conditions(known, home.now, "page")
    delivered = []
    for _ in range(8):
        delivered.append((courier.deliver("dead"), courier.deliver("shaky")))
        home.now += 1

    assert sum(shaky for _, shaky in delivered) == 1
    assert [body["id"] for *_, body in service.asked] == ["2-2"] * 3  # the same message, tried again after 2 and 4 s
    dead, shaky = known.standing()
    assert (dead["waiting"], dead["error"]) == (1, "no answer: ConnectError")
    assert dead["failures"] == 3
    assert (shaky["waiting"], shaky["failures"], bool(shaky["delivered"])) == (0, 0, True)


def test_what_could_not_be_delivered_for_a_day_is_given_up(home: Home):
    channels = {"dead": ChannelSettings(url="http://127.0.0.1:9/")}
    known, courier = Alerts(home.database, [Channel("dead")]), Courier(home.database, channels, clock=lambda: home.now)
    conditions(known, home.now, "page")
    courier.deliver("dead")

    home.now += DAY_S + 1
    courier.deliver("dead")

    assert home.messages() == []


def test_what_waits_for_a_channel_that_is_gone_is_forgotten(home: Home, service: Service):
    both = {name: ChannelSettings(url=service.url) for name in ("old", "new")}
    conditions(Alerts(home.database, [Channel(name) for name in both]), home.now, "page")

    courier = Courier(home.database, {"new": both["new"]})
    courier.start()
    until(lambda: not home.messages())
    courier.stop()

    assert len(service.asked) == 1


def test_two_couriers_deliver_once(home: Home, service: Service):
    service.slow_s = 0.3
    channels = {"ops": ChannelSettings(url=service.url)}
    known = Alerts(home.database, [Channel("ops")])
    conditions(known, home.now, "page")
    threads = [
        threading.Thread(target=Courier(home.database, channels, clock=lambda: home.now).deliver, args=("ops",))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(service.asked) == 1


def test_what_was_taken_by_a_process_that_died_is_delivered_by_the_next(home: Home, service: Service):
    channels = {"ops": ChannelSettings(url=service.url)}
    known, courier = Alerts(home.database, [Channel("ops")]), Courier(home.database, channels, clock=lambda: home.now)
    conditions(known, home.now, "page")
    assert courier._take("ops", home.now)  # and nothing more is heard of it

    assert courier.deliver("ops") == 0
    home.now += 121
    assert courier.deliver("ops") == 1


# ---------------------------------------------------------------- as people run it


MODELS = """
[models.good]
base_url = "{upstream}"
[models.fail]
base_url = "{upstream}"
[objectives.answered]
target = 0.999
[channels.hook]
url = "{hook}"
secret = "hush"
[channels.mail]
kind = "email"
host = "localhost"
port = {port}
sender = "penstock@example.com"
to = ["ops@example.com"]
ca_file = "{ca}"
[keys.boss]
key = "boss-key-0123456789"
admin = true
[keys.clerk]
key = "clerk-key-0123456789"
"""


@pytest.fixture
def served(tmp_path: Path, service: Service, post: Post) -> Iterator[Served]:
    with upstream() as up:
        toml = MODELS.format(upstream=up.url, hook=service.url, port=post.port, ca=TLS / "authority.pem")
        with serving(tmp_path / "served", toml, documents=False) as served:
            yield served


def until(happened: Callable[[], object], within_s: float = 60.0) -> float:
    """How long that took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < within_s
        time.sleep(0.05)
    return time.monotonic() - began


def test_a_burn_reaches_webhook_and_mail_within_ten_seconds_and_is_shown(served: Served, service: Service, post: Post):
    boss, clerk = served.client("boss-key-0123456789"), served.client("clerk-key-0123456789")
    for _ in range(8):
        said = {"model": "fail", "messages": [{"role": "user", "content": "Hello"}]}
        assert boss.post("/v1/chat/completions", json=said).status_code >= 500
    began = time.monotonic()

    until(lambda: service.asked and post.got)

    assert time.monotonic() - began < 10
    (_, _, headers, body), *_ = service.asked
    (alert,) = body["alerts"]
    assert (alert["key"], alert["severity"]) == ("objective/answered/fail", "page")
    assert SIGNATURE in headers
    ids = {one["id"] for one in boss.get("/api/requests").json()["requests"]}
    assert len(alert["requests"]) == 5
    assert set(alert["requests"]) <= ids
    assert alert["requests"][0] in post.got[0]
    (shown,) = boss.get("/v1/objectives").json()["objectives"]
    assert (shown["subject"], shown["bad"], shown["severity"]) == ("fail", 8, "page")
    found = boss.get("/v1/alerts").json()
    assert [one["key"] for one in found["firing"]] == ["objective/answered/fail"]
    assert {one["name"] for one in found["channels"]} == {"hook", "mail"}
    for path in ("/v1/objectives", "/v1/alerts"):
        assert clerk.get(path).status_code == 403
    made = boss.post("/v1/alerts/silences", json={"pattern": "objective/*", "for": "2h", "reason": "known"})
    assert made.status_code == 201
    assert boss.get("/v1/alerts").json()["firing"][0]["silenced"] is True
    assert boss.delete(f"/v1/alerts/silences/{made.json()['id']}").status_code == 200
    assert boss.delete("/v1/alerts/silences/none").status_code == 404
    assert boss.post("/v1/alerts/silences", json={"pattern": 7}).status_code == 400


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.output


def test_the_terminal_shows_objectives_and_alerts(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "penstock.toml").write_text(f'home = "home"\n[channels.hook]\nurl = "{service.url}"\n')
    monkeypatch.chdir(tmp_path)
    assert "nothing was asked" in run("objectives")
    assert "nothing is wrong" in run("alerts", "list")
    home = Home(tmp_path / "home")
    home.now = time.time()
    home.asked(0, 10)
    home.lookout("hook").look()

    assert "page" in run("objectives")
    assert json.loads(run("objectives", "--json"))[0]["subject"] == "handbook"
    assert "objective/availability/handbook" in run("alerts", "list")
    assert "delivered" in run("alerts", "test", "hook")
    assert "test of Penstock" in service.asked[-1][3]["alerts"][0]["title"]
    silenced = run("alerts", "silence", "objective/*", "--for", "2h")
    assert json.loads(run("alerts", "list", "--json"))["firing"][0]["silenced"] is True
    run("alerts", "silence", "--end", silenced.split()[1].rstrip(":"))
    service.answers = [500]
    assert "status 500" in run("alerts", "test", status=1)
    home.journal.close()
    home.database.close()


@pytest.mark.parametrize(
    ("toml", "wrong"),
    [
        ("[objectives.a]\ntarget = 1", "target"),
        ("[objectives.a]\nkind = 'latency'", "within"),
        ("[objectives.a]\nkind = 'cost'", "most_usd"),
        ("[objectives.a]\nperiod = '1d'", "period"),
        ("[objectives.a]\napp = 'none'", "no app"),
        ("[objectives.a]\nmodel = 'none'", "no model"),
        ("[alerts]\nrepeat = '1s'", "repeat"),
        ("[channels.a]", "url"),
        ("[channels.a]\nkind = 'email'\nhost = 'x'\nsender = 'a@b'", "to"),
        ("[channels.a]\nkind = 'email'\nhost = 'x'\nsender = 'a@b'\nto = ['a@b\\nBcc: c@d']", "mail address"),
        ("[channels.a]\nkind = 'email'\nhost = 'x'\nsender = 'a@b'\nto = ['c@d']\ntls = 'off'\npassword = 'p'", "in the open"),
        ("[channels.a]\nurl = 'ftp://x'", "no address"),
        ("[channels.a]\nurl = 'https://x'\nkind = 'pigeon'", "pigeon"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(tmp_path: Path, toml: str, wrong: str):
    (tmp_path / "penstock.toml").write_text(toml)

    with pytest.raises(BadSetting, match=wrong):
        load(tmp_path / "penstock.toml", environment={})


# ---------------------------------------------------------------- what is unusual


def weeks(observed: Observed, *, hours: int, mean: Callable[[int], float], n: int = 60, seed: int = 1) -> Iterator[int]:
    """Fill in hour after hour, foretold before it begins, and stop after each."""
    from penstock.observe.anomalies import Usual

    draw, first = random.Random(seed), int(NOW // HOUR_S)
    for hour in range(first, first + hours):
        usual = Usual.learnt(observed, hour)
        if usual:
            observed.foretell(hour, usual.expected)
        for slot in range(hour * 6, hour * 6 + 6):
            for k in range(n // 6):
                observed.add(slot * 600.0 + k, draw.gauss(mean(hour), 0.6), f"{hour}-{k}")
        yield hour


def season(hour: int) -> float:
    return 1.0 + 0.3 * math.sin(2 * math.pi * hour / 24) + (0.2 if hour // 24 % 7 > 4 else 0.0)


def unusual_at(observed: Observed, hour: int) -> Any:
    from penstock.observe.anomalies import Usual, unusual

    usual = Usual.learnt(observed, hour)
    return usual and unusual("cost", "handbook", observed, usual, (hour + 1) * HOUR_S - 1)


def test_two_weeks_with_their_season_are_usual_and_half_as_much_again_is_not():
    observed, first = Observed(), int(NOW // HOUR_S)

    def mean(hour: int) -> float:
        return season(hour) + (math.log(1.5) if hour >= first + 330 else 0.0)

    found = {hour - first: unusual_at(observed, hour) for hour in weeks(observed, hours=340, mean=mean)}

    told = [hour for hour, anomaly in found.items() if anomaly]
    assert told
    assert 330 <= told[0] <= 336
    anomaly = found[told[0]]
    assert (anomaly.direction, anomaly.measure) == ("up", "cost")
    assert anomaly.seen > 1.2 * anomaly.usual
    assert len(anomaly.samples) == 5
    assert all(abs(int(sample.split("-")[0]) - first - told[0]) <= 24 for sample in anomaly.samples)


def test_in_the_first_days_only_a_large_change_is_told():
    def told(factor: float) -> bool:
        observed, first = Observed(), int(NOW // HOUR_S)

        def mean(hour: int) -> float:
            return 1.0 + (math.log(factor) if hour >= first + 40 else 0.0)

        return any(unusual_at(observed, hour) for hour in weeks(observed, hours=44, mean=mean))

    assert told(4.0)
    assert not told(1.1)


def test_what_was_unusual_is_so_until_it_is_well_below_the_limit():
    from penstock.observe.anomalies import Usual, unusual

    observed, first = Observed(), int(NOW // HOUR_S)
    for hour in weeks(observed, hours=201, mean=lambda hour: 1.0 + (0.27 if hour >= first + 200 else 0.0), n=240):
        usual = Usual.learnt(observed, hour)
    assert usual
    found = unusual("cost", "x", observed, usual, (hour + 1) * HOUR_S - 1, eased=0.1)
    assert found
    edge = found.far / found.limit * 0.1  # what was seen lies so far on the way to the limit

    assert unusual("cost", "x", observed, usual, (hour + 1) * HOUR_S - 1, eased=edge * 0.99)
    assert not unusual("cost", "x", observed, usual, (hour + 1) * HOUR_S - 1, eased=max(edge * 1.01, 1.0))


def test_a_change_that_stays_becomes_usual():
    observed, first = Observed(), int(NOW // HOUR_S)
    found = {}
    for hour in weeks(observed, hours=24 * 24, mean=lambda hour: 1.0 + (0.5 if hour >= first + 200 else 0.0)):
        if (hour - first) % 6 == 0:
            found[hour - first] = unusual_at(observed, hour)

    assert any(found[hour] for hour in range(204, 260, 6))
    assert not any(found[hour] for hour in range(540, 576, 6))


def test_a_share_of_refusals_that_was_never_seen_needs_more_than_one():
    from penstock.observe.anomalies import Usual, unusual

    def told(refused: int) -> Any:
        observed, first = Observed(), int(NOW // HOUR_S)
        for hour in range(first, first + 100):
            usual = Usual.learnt(observed, hour)
            if usual:
                observed.foretell(hour, usual.expected)
            for slot in range(hour * 6, hour * 6 + 6):
                for k in range(10):
                    observed.add(slot * 600.0 + k, float(hour == first + 99 and (slot - hour * 6) * 10 + k < refused))
        usual = Usual.learnt(observed, hour)
        return usual and unusual("refusals", "handbook", observed, usual, (hour + 1) * HOUR_S - 1)

    assert told(0) is None
    assert told(1) is None
    assert told(30).direction == "up"


def test_hours_of_no_or_strange_values_break_nothing(home: Home):
    home.asked(3, duration_ms=math.inf)
    home.asked(3, duration_ms=-5.0, cost_pico_usd=0, output_tokens=0)
    lookout = home.lookout()
    lookout.look()
    for _ in range(60):
        home.now += HOUR_S
        lookout.look()
    observed = Observed()
    for hour in range(100):
        observed.hours.add(hour, 1, 0.0, 0.0)
    assert unusual_at(observed, 100) is None


def test_an_anomaly_is_an_alert_with_requests(home: Home):
    draw = random.Random(3)
    lookout = home.lookout("ops")
    home.now = home.now // HOUR_S * HOUR_S + 30
    for hour in range(60):
        for _ in range(6):
            for _ in range(20):
                cost = 4e9 * math.exp(draw.gauss(0, 0.3)) * (5 if hour >= 58 else 1)
                home.journal.write(
                    row(next(home._number), at=home.now, cost_pico_usd=round(cost), duration_ms=500.0), []
                )
            home.journal.drain()
            lookout.look()
            home.now += 600

    keys = {alert.key for alert in lookout.alerts.firing(now=home.now)}
    assert keys == {"anomaly/cost/handbook"}
    (alert,) = lookout.alerts.firing(now=home.now)
    assert alert.facts["direction"] == "up"
    assert len(alert.samples) == 5
    assert "usually" in alert.title


def test_a_server_that_was_asked_little_does_without_numpy(home: Home):
    home.asked(20)
    code = (
        "import sys; from pathlib import Path; from penstock.observe.lookout import Lookout;"
        "from penstock.storage.database import Database; from penstock.observe.objectives import Objective;"
        "here = Path(sys.argv[1]); look = Lookout(Database(here / 'penstock.db'), here / 'lock',"
        " [Objective('a', 'availability', 0.99)], {}); look.look(); assert look.tally.counts;"
        "assert not {'numpy', 'httpx2', 'onnxruntime'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code, str(home.folder)], check=True)
