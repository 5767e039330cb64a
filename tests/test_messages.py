"""Messages between agents: typed, in order, handled once, stopped in time, and checked by running the agents again."""

import itertools
import multiprocessing
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.agents.actions import Money, Range, Text
from penstock.agents.exchange import Exchange
from penstock.agents.messages import Agent, Handler, Limits, Message, Replayed, Send, read_lines, replay
from penstock.assemble import House
from penstock.config import EncryptionSettings, Settings
from penstock.erase import Subject, carry_out, plan
from penstock.errors import BadArguments, BadRequest, BadSetting, Conflict, Limited, NotFound, PenstockError, TooLarge
from penstock.retention import enforce, look
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption, Envelope, FileKeys

Amount = Annotated[Decimal, Money(Decimal("0.01"), Decimal(500))]


@dataclass(frozen=True, slots=True)
class Complaint:
    order: Annotated[str, Text(pattern=r"#W\d{3}")]
    amount: Amount


@dataclass(frozen=True, slots=True)
class Proposal:
    order: str
    amount: Amount
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    order: str
    agreed: bool
    why: Annotated[str, Text(0, 100)] = ""


@dataclass(frozen=True, slots=True)
class Number:
    n: Annotated[int, Range(0)]


def desk(limit: str = "50.00", share: str = "1") -> list[Agent]:
    """A clerk who proposes refunds, and a checker who vetoes those above a limit."""

    def propose(message: Message, asked: Complaint) -> Send:
        return Send("checker", Proposal(asked.order, asked.amount * Decimal(share), ("late", "broken")))

    def check(message: Message, proposal: Proposal) -> Send:
        agreed = proposal.amount <= Decimal(limit)
        return Send("clerk", Verdict(proposal.order, agreed, "" if agreed else f"more than {limit}"))

    return [
        Agent("clerk", {Complaint: propose, Verdict: lambda message, body: None}),
        Agent("checker", {Proposal: check}),
    ]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "penstock.db")
    yield database
    database.close()


def counting(handler: Handler, **agents: Handler) -> list[Agent]:
    return [Agent("one", {Number: handler}), *(Agent(name, {Number: other}) for name, other in agents.items())]


def agree(replayed: list[Replayed]) -> set[bool | None]:
    return {one.agrees for one in replayed}


# ---------------------------------------------------------------- delivered


def test_a_message_leads_to_others_and_each_says_which_one_led_to_it(database: Database):
    exchange = Exchange(database, desk())
    sent = exchange.send("c1", "clerk", Complaint("#W123", Decimal("70.00")))
    ended = exchange.run("c1")

    log = exchange.messages("c1")
    assert [(one.sender, one.receiver, one.kind) for one in log] == [
        ("", "clerk", "Complaint"), ("clerk", "checker", "Proposal"), ("checker", "clerk", "Verdict"),
    ]  # fmt: skip
    assert {one.state for one in log} == {"handled"}
    assert [(one.cause, one.depth) for one in log] == [("", 0), (sent.id, 1), (log[1].id, 2)]
    assert log[1].body == {"order": "#W123", "amount": "70.00", "reasons": ["late", "broken"]}
    assert log[2].body == {"order": "#W123", "agreed": False, "why": "more than 50.00"}
    assert ended == log
    assert exchange.run() == []


def test_messages_come_in_the_order_in_which_they_were_sent(database: Database):
    seen: list[int] = []

    def note(message: Message, body: Number) -> list[Send]:
        seen.append(body.n)
        return [Send("one", Number(body.n * 10 + place)) for place in (1, 2)] if body.n < 10 else []

    exchange = Exchange(database, counting(note))
    for n in (1, 2, 3):
        exchange.send("c", "one", Number(n))
    exchange.run()

    assert seen == [1, 2, 3, 11, 12, 21, 22, 31, 32]
    assert [one.body["n"] for one in exchange.messages("c")] == seen


def test_conversations_know_nothing_of_each_other(database: Database):
    exchange = Exchange(database, desk())
    for talk in ("a", "b"):
        exchange.send(talk, "clerk", Complaint("#W123", Decimal(1)))

    assert {one.conversation for one in exchange.run("a")} == {"a"}
    assert [one.state for one in exchange.messages("b")] == ["waiting"]
    assert len(exchange.run()) == 3


def test_a_key_sends_a_message_once_and_no_other(database: Database):
    exchange = Exchange(database, desk())
    first = exchange.send("c", "clerk", Complaint("#W123", Decimal(1)), key="k")

    assert exchange.send("c", "clerk", Complaint("#W123", Decimal("1.00")), key="k") == first
    with pytest.raises(Conflict, match="used for something else"):
        exchange.send("c", "clerk", Complaint("#W123", Decimal(2)), key="k")
    assert exchange.send("d", "clerk", Complaint("#W123", Decimal(2)), key="k").id != first.id
    assert len(exchange.messages("c")) == 1


def test_messages_to_agents_of_another_exchange_are_left_to_it(database: Database):
    ours, theirs = Exchange(database, desk()), Exchange(database, counting(lambda message, body: None))
    theirs.send("c", "one", Number(1))

    assert ours.run() == ours.run("c") == []
    assert len(theirs.run()) == 1


# ---------------------------------------------------------------- what does not fit


class Deep(list[Any]):
    """A list that has itself in it."""

    def __init__(self) -> None:
        super().__init__([self])


@pytest.mark.parametrize(
    ("to", "body", "error", "said"),
    [
        ("nobody", Number(1), NotFound, "no agent 'nobody'"),
        (["clerk"], Number(1), NotFound, "no agent"),
        ("clerk", Number(1), BadRequest, "takes no Number"),
        ("clerk", Complaint, BadRequest, "takes no type"),
        ("clerk", None, BadRequest, "takes no NoneType"),
        ("clerk", {"order": "#W123", "amount": 1}, BadRequest, "takes no dict"),
        ("clerk", Complaint("W1", Decimal(1)), BadArguments, "'order' must have the form"),
        ("clerk", Complaint("#W123", Decimal(501)), BadArguments, "'amount' must be from"),
        ("clerk", Complaint("#W123", Decimal("NaN")), BadArguments, "'amount' must be an amount"),
        ("clerk", Complaint(b"#W123", Decimal(1)), BadRequest, "cannot be written as JSON"),  # type: ignore[arg-type]
        ("checker", Proposal("x\x00", Decimal(1)), BadArguments, r"U\+0000"),
        ("checker", Proposal("x\ud800", Decimal(1)), BadArguments, r"U\+D800"),
        ("checker", Proposal("x", Decimal(1), Deep()), BadRequest, "cannot be written as JSON"),  # type: ignore[arg-type]
        ("checker", Proposal("x", Decimal(1), ("y",) * 21), BadArguments, "'reasons' must have"),
        ("checker", Proposal("x", Decimal(1), ("y" * 500,) * 20), TooLarge, "more than 4,000 bytes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_its_receiver_is_refused_and_sent_to_nobody(
    database: Database, to: Any, body: Any, error: type[PenstockError], said: str
):
    exchange = Exchange(database, desk(), limits=Limits(body_bytes=4_000))

    with pytest.raises(error, match=said):
        exchange.send("c", to, body)
    assert exchange.messages("c") == []


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "a\ud800", 7, None])
def test_a_conversation_has_a_name_that_can_be_seen(database: Database, name: Any):
    with pytest.raises(BadRequest, match="'conversation' must be a text"):
        Exchange(database, desk()).send(name, "clerk", Complaint("#W123", Decimal(1)))


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        ("hello", "returned a str, which is no Send"), (7, "TypeError"), ([None], "returned a NoneType"),
        (Send("nobody", Number(1)), "no agent 'nobody'"), (Send("one", Number(-1)), "'n' must be from 0"),
        ([Send("one", Number(2)), Send("one", Verdict("x", True))], "takes no Verdict"),
    ],
)  # fmt: skip
def test_a_handler_that_returns_what_cannot_be_sent_has_failed_and_sends_nothing(
    database: Database, returned: Any, why: str
):
    exchange = Exchange(database, counting(lambda message, body: returned))
    exchange.send("c", "one", Number(1))
    exchange.run()

    (only,) = exchange.messages("c")
    assert only.state == "failed"
    assert why in only.why


def test_names_that_cannot_be_are_found_nowhere(database: Database):
    exchange = Exchange(database, desk())

    assert exchange.run("\ud800") == exchange.messages("\ud800") == []
    with pytest.raises(NotFound):
        exchange.retry("\ud800")
    for limits in ({"messages": 0}, {"handling_s": float("nan")}, {"depth": -1}):
        with pytest.raises(BadSetting, match="more than 0"):
            Limits(**limits)  # type: ignore[arg-type]


def test_agents_that_could_not_keep_their_promises_are_refused():
    @dataclass
    class Loose:
        n: int

    @dataclass(frozen=True, slots=True)
    class Fuzzy:
        n: float

    async def later(message: Message, body: Number) -> None: ...

    for agents, said in [
        (lambda: [Agent("a", {Loose: print})], "is no message"),
        (lambda: [Agent("a", {int: print})], "is no message"),
        (lambda: [Agent("A b", {Number: print})], "cannot be the name"),
        (lambda: [Agent("a", {Number: later})], "is async"),  # type: ignore[dict-item]
        (lambda: [Agent("a", {Fuzzy: print})], "Fuzzy"),
        (lambda: [Agent("a", {Number: print}), Agent("a", {})], "one name"),
    ]:
        made: Any = agents
        with pytest.raises(BadSetting, match=said):
            replay([], made())


# ---------------------------------------------------------------- failures and limits


def test_a_failure_is_recorded_while_others_go_on_and_can_be_tried_again(database: Database):
    broken = [True]

    def handle(message: Message, body: Number) -> Send | None:
        if body.n == 1 and broken[0]:
            raise ValueError("Sigrid said something that nobody else may read")
        return Send("two", Number(body.n))

    exchange = Exchange(database, counting(handle, two=lambda message, body: None))
    one, two = (exchange.send("c", "one", Number(n)) for n in (1, 2))
    exchange.run()

    assert [(one.state, one.why) for one in exchange.messages("c")] == [
        ("failed", "ValueError"),
        ("handled", ""),
        ("handled", ""),
    ]
    assert exchange.run() == []
    with pytest.raises(Conflict, match="it is handled"):
        exchange.retry(two.id)
    with pytest.raises(NotFound):
        exchange.retry("nothing")

    broken[0] = False
    exchange.retry(one.id)
    with pytest.raises(Conflict, match="it is waiting"):
        exchange.retry(one.id)
    assert [(ended.receiver, ended.state) for ended in exchange.run()] == [("one", "handled"), ("two", "handled")]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError])
def test_whatever_a_handler_raises_is_a_failure_of_its_message_alone(database: Database, error: type[BaseException]):
    def handle(message: Message, body: Number) -> None:
        raise error

    exchange = Exchange(database, counting(handle))
    exchange.send("c", "one", Number(1))

    assert [(one.state, one.why) for one in exchange.run()] == [("failed", error.__name__)]


def echo(other: str) -> Handler:
    return lambda message, body: Send(other, Number(body.n + 1))


@pytest.mark.parametrize(
    ("limits", "count", "why"),
    [
        (Limits(messages=10), 10, "a conversation has at most 10 messages"),
        (Limits(depth=4), 5, "4 messages led to each other"),
        (Limits(), 51, "50 messages led to each other"),
    ],
)
def test_two_agents_cannot_talk_for_ever(database: Database, limits: Limits, count: int, why: str):
    exchange = Exchange(database, counting(echo("two"), two=echo("one")), limits=limits)
    exchange.send("c", "one", Number(0))
    exchange.run()

    log = exchange.messages("c")
    assert len(log) == count
    assert Counter(one.state for one in log) == {"handled": count - 1, "stopped": 1}
    assert log[-1].why == why


def test_agents_that_multiply_are_stopped_and_nobody_may_add_to_it(database: Database):
    def twice(message: Message, body: Number) -> list[Send]:
        return [Send("one", Number(body.n + 1))] * 2

    exchange = Exchange(database, counting(twice), limits=Limits(messages=20))
    exchange.send("c", "one", Number(0))
    exchange.run()

    assert len(exchange.messages("c")) == 19
    exchange.send("c", "one", Number(0))
    with pytest.raises(Limited, match="at most 20 messages"):
        exchange.send("c", "one", Number(0))
    assert exchange.send("d", "one", Number(0)).state == "waiting"


def test_a_handler_that_sends_without_end_or_too_much_is_stopped(database: Database):
    def endless(message: Message, body: Number) -> Iterator[Send]:
        return (Send("one", Number(n)) for n in itertools.count())

    exchange = Exchange(database, [*counting(endless), *desk()], limits=Limits(body_bytes=100))
    exchange.send("c", "one", Number(1))
    (ended,) = exchange.run()
    assert (ended.state, ended.why) == ("stopped", "a conversation has at most 200 messages")

    def long(message: Message, body: Number) -> Send:
        return Send("clerk", Verdict("x" * 90, True, "y" * 90))

    exchange = Exchange(database, [*counting(long), *desk()], limits=Limits(body_bytes=100))
    exchange.send("d", "one", Number(1))
    (ended,) = exchange.run()
    assert (ended.state, ended.why) == ("stopped", "a Verdict of more than 100 bytes")


def test_a_handler_that_takes_too_long_is_left_alone_and_nothing_comes_of_it(database: Database):
    go_on = threading.Event()

    def slow(message: Message, body: Number) -> Send:
        go_on.wait(20 if body.n == 1 else 0)
        return Send("two", Number(body.n))

    exchange = Exchange(database, counting(slow, two=lambda message, body: None), limits=Limits(handling_s=0.2))
    first = exchange.send("c", "one", Number(1))
    exchange.send("c", "one", Number(2))
    ended = exchange.run()
    go_on.set()

    assert [(one.receiver, one.body["n"], one.state) for one in ended] == [
        ("one", 1, "stopped"),
        ("one", 2, "handled"),
        ("two", 2, "handled"),
    ]
    assert ended[0].why == "it took more than 0.2 s"
    exchange.retry(first.id)
    assert [one.state for one in exchange.run()] == ["handled", "handled"]


# ---------------------------------------------------------------- run again

AGENTS = ("a", "b", "c")
Table = dict[tuple[str, int], list[tuple[str, int]]]  # what an agent that is told a number sends to whom


def tabled(table: Table) -> list[Agent]:
    def handler(name: str) -> Handler:
        def handle(message: Message, body: Number) -> list[Send]:
            if (name, body.n) == ("a", 4):
                raise ValueError
            return [Send(to, Number(n)) for to, n in table.get((name, body.n), [])]

        return handle

    return [Agent(name, {Number: handler(name)}) for name in AGENTS]


places = st.tuples(st.sampled_from(AGENTS), st.integers(0, 4))
tables = st.dictionaries(places, st.lists(places, max_size=3), max_size=15)


@given(tables, st.lists(places, min_size=1, max_size=4), places, st.lists(places, max_size=3))
@settings(max_examples=60, deadline=None)
def test_agents_that_only_depend_on_what_they_are_told_agree_and_changed_ones_are_found(
    table: Table, sent: list[tuple[str, int]], where: tuple[str, int], instead: list[tuple[str, int]]
):
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "penstock.db")
        database.read("pragma synchronous = off")
        exchange = Exchange(database, tabled(table), limits=Limits(messages=30, depth=6))
        for to, n in sent:
            exchange.send("c", to, Number(n))
        exchange.run()
        log, copy = exchange.messages("c"), read_lines(exchange.lines("c"))
        database.close()

    assert copy == log
    assert not {one.state for one in log} & {"waiting"}
    replayed = replay(copy, tabled(table))
    assert agree(replayed) <= {True, None}
    assert all(one.agrees is None for one in replayed if one.message.state == "stopped")

    differs = {
        one.id
        for one in log
        if one.state == "handled" and (one.receiver, one.body["n"]) == where and table.get(where, []) != instead
    }
    changed = replay(copy, tabled(table | {where: instead}))
    assert {one.message.id for one in changed if one.agrees is False} == differs
    assert all(one.difference for one in changed if one.agrees is False)


@pytest.mark.parametrize(
    ("agents", "place", "difference"),
    [
        (desk(limit="100.00"), 1, "messages[1].body.agreed: false is recorded, and true comes out"),
        (desk(share="0.5"), 0, 'messages[1].body.amount: "70.00" is recorded, and "35.00" comes out'),
        (
            desk(share="10"),
            0,
            "it is recorded as handled, and is failed now: Proposal: 'amount' must be from 0.01 to 500",
        ),
    ],
)
def test_a_replay_says_where_a_changed_agent_first_differs(
    database: Database, agents: list[Agent], place: int, difference: str
):
    exchange = Exchange(database, desk())
    exchange.send("c", "clerk", Complaint("#W123", Decimal(70)))
    exchange.run()
    replayed = replay(exchange.messages("c"), agents)

    assert [one.agrees for one in replayed] == [at != place for at in range(3)]
    assert replayed[place].difference == difference
    assert len(exchange.messages("c")) == 3, "nothing was delivered"


@dataclass(frozen=True, slots=True)
class Row:
    values: tuple[Annotated[str, Text(0)] | None, ...]


@pytest.mark.parametrize(
    ("was", "now", "difference"),
    [
        ((), (None,), "messages[1].body.values[1]: nothing is recorded, and null comes out"),
        (("a", None), ("a",), "messages[1].body.values[2]: null is recorded, and nothing comes out"),
        (("a", "b"), ("a", "c"), 'messages[1].body.values[2]: "b" is recorded, and "c" comes out'),
        (
            None,
            ("a",),
            'messages[1]: nothing is recorded, and {"body":{"values":["a"]},"kind":"Row","receiver":"two"} comes out',
        ),
    ],
)
def test_what_is_there_once_and_missing_once_differs(database: Database, was: Any, now: Any, difference: str):
    def agents(row: Any) -> list[Agent]:
        handler: Handler = lambda message, body: [] if row is None else Send("two", Row(row))  # noqa: E731
        return [*counting(handler), Agent("two", {Row: lambda message, body: None})]

    exchange = Exchange(database, agents(was))
    exchange.send("c", "one", Number(1))
    exchange.run()

    assert agree(replay(exchange.messages("c"), agents(was))) == {True}
    assert replay(exchange.messages("c"), agents(now))[0].difference == difference


def test_an_agent_that_depends_on_something_else_is_found(database: Database):
    count = itertools.count()
    agents = counting(lambda message, body: Send("two", Number(next(count))), two=lambda message, body: None)
    exchange = Exchange(database, agents)
    exchange.send("c", "one", Number(1))
    exchange.run()

    assert [one.agrees for one in replay(exchange.messages("c"), agents)] == [False, True]


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", "no JSON", '{"id": 1}', '{"id": "1", "more": 2}', "null", '"x"', "[" * 100_000]
)
def test_a_line_that_is_no_message_is_refused_by_its_number(database: Database, line: str):
    exchange = Exchange(database, desk())
    exchange.send("c", "clerk", Complaint("#W123", Decimal(70)))
    (good,) = exchange.lines("c")

    with pytest.raises(BadRequest, match="line 2 is no message"):
        read_lines([good, line])
    for written, instead, name in [
        ('"depth":0', '"depth":"0"', "depth"),
        ('"waiting"', '"lost"', "state"),
        ('"c"', "3", "conversation"),
    ]:
        with pytest.raises(BadRequest, match=f"line 1 .*'{name}'"):
            read_lines([good.replace(written, instead)])


# ---------------------------------------------------------------- many at once, and killed

WORK = Limits(messages=1_000, depth=100)


def worker(notes: Path) -> list[Agent]:
    """Counts down from a number, and writes down each time that it is asked."""

    def count(message: Message, body: Number) -> list[Send]:
        with notes.open("a") as out:
            print(message.id, file=out)
        time.sleep(0.002)
        return [Send("two", Number(body.n)), Send("one", Number(body.n - 1))] if body.n else []

    return counting(count, two=lambda message, body: None)


def _serve(home: str) -> None:
    exchange = Exchange(Database(Path(home) / "penstock.db"), worker(Path(home) / "notes"), limits=WORK)
    (Path(home) / f"ready{os.getpid()}").touch()
    while True:
        exchange.run()


def _is_ready(home: Path, process: Any) -> bool:
    return (home / f"ready{process.pid}").exists()


def _wait(until: Callable[[], bool]) -> None:
    patience = time.monotonic() + 60
    while not until():
        assert time.monotonic() < patience
        time.sleep(0.01)


def test_processes_that_are_killed_lose_no_message_and_handle_none_again(tmp_path: Path):
    chance, context = random.Random(5), multiprocessing.get_context("spawn")
    exchange = Exchange(Database(tmp_path / "penstock.db"), worker(tmp_path / "notes"), limits=WORK)
    for talk in "abcdef":
        exchange.send(talk, "one", Number(60))
    killed = 0
    for _ in range(6):
        process = context.Process(target=_serve, args=(str(tmp_path),))
        process.start()
        _wait(lambda process=process: _is_ready(tmp_path, process))  # type: ignore[misc]
        time.sleep(chance.uniform(0.02, 0.2))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        killed += 1
    left = sum(one.state == "waiting" for talk in "abcdef" for one in exchange.messages(talk))
    exchange.run()

    assert left, "they were killed before they were done"
    asked = Counter((tmp_path / "notes").read_text().split())
    for talk in "abcdef":
        log = exchange.messages(talk)
        assert [one.body["n"] for one in log if one.receiver == "one"] == [*range(60, -1, -1)]
        assert [one.body["n"] for one in log if one.receiver == "two"] == [*range(60, 0, -1)]
        assert {one.state for one in log} == {"handled"}
        assert {one.id for one in log if one.receiver == "one"} <= asked.keys()
    assert asked.total() - len(asked) <= killed, "only what was at work when a process ended is asked for again"
    (handled,) = exchange._database.read("select count(*), count(distinct message) from agent_steps")
    assert handled == (6 * 121, 6 * 121)


def test_processes_that_deliver_from_one_log_handle_each_message_once_and_in_order(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    exchange = Exchange(Database(tmp_path / "penstock.db"), worker(tmp_path / "notes"), limits=WORK)
    exchange.messages("a")
    team = [context.Process(target=_serve, args=(str(tmp_path),)) for _ in range(2)]
    for process in team:
        process.start()
    _wait(lambda: all(_is_ready(tmp_path, process) for process in team))
    for talk in "abcd":
        exchange.send(talk, "one", Number(20))
    _wait(lambda: all(len(log := exchange.messages(talk)) == 41 and log[-1].state == "handled" for talk in "abcd"))
    for process in team:
        process.kill()
        process.join(60)

    asked = Counter((tmp_path / "notes").read_text().split())
    assert set(asked.values()) == {1}
    assert len(asked) == 4 * 21
    for talk in "abcd":
        assert agree(replay(exchange.messages(talk), worker(tmp_path / "again"))) == {True}


def test_threads_that_send_and_deliver_at_once_handle_each_message_once(tmp_path: Path):
    exchange = Exchange(Database(tmp_path / "penstock.db"), worker(tmp_path / "notes"), limits=WORK)

    def work(number: int) -> None:
        exchange.send("same", "one", Number(5), key=f"{number % 2}")
        exchange.run("same")

    team = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()

    assert Counter(one.receiver for one in exchange.messages("same")) == {"one": 12, "two": 10}
    assert set(Counter((tmp_path / "notes").read_text().split()).values()) == {1}


# ---------------------------------------------------------------- what a house keeps


@pytest.mark.parametrize("content", [False, True])
def test_a_house_seals_them_keeps_them_for_a_time_and_forgets_whoever_is_erased(tmp_path: Path, content: bool):
    house = House(
        Settings(home=str(tmp_path / "home"), folder=tmp_path, encryption=EncryptionSettings(content=content))
    )
    with closing(house.database):
        exchange, subject = house.exchange(desk()), Subject.of("Sigrid Undset")
        exchange.send("hers", "checker", Proposal("x", Decimal(1), ("for Sigrid\nUndset",)))
        exchange.send("other", "clerk", Complaint("#W123", Decimal(70)))
        exchange.run()
        house.database.read("pragma wal_checkpoint(truncate)")
        assert (b"more than 50.00" in house.database.path.read_bytes()) is not content

        assert plan(house, subject).counts()["messages"] == 1
        receipt = carry_out(house, plan(house, subject))
        assert (receipt["erased"]["messages"], receipt["scan"]["found"]) == (1, [])
        assert exchange.messages("hers") == []
        assert len(exchange.messages("other")) == 3

        assert {one.what: one.count for one in look(house)}["conversations of agents"] == 0
        with house.database.write() as w:
            w.execute("update agent_messages set at = at - 181 * 86400")
        assert {one.what: one.count for one in enforce(house)}["conversations of agents"] == 1
        assert exchange.messages("other") == []
        for table in ("agent_messages", "agent_steps", "agent_queue"):
            assert house.database.read(f"select count(*) from {table}") == [(0,)]


def test_what_was_sealed_for_one_message_opens_in_no_other(tmp_path: Path, database: Database):
    encryption = Encryption(Envelope(database, FileKeys(tmp_path / "keys")), "messages")
    exchange = Exchange(database, desk(), encryption)
    one, two = (exchange.send("c", "clerk", Complaint("#W123", Decimal(n))) for n in (1, 2))
    with database.write() as w:
        w.execute(
            "update agent_messages set body = (select body from agent_messages where id = ?) where id = ?",
            (one.id, two.id),
        )

    with pytest.raises(PenstockError, match="cannot be opened"):
        exchange.messages("c")


def test_a_conversation_that_is_erased_while_it_is_handled_stays_erased(database: Database):
    exchange: Exchange

    def handle(message: Message, body: Number) -> Send:
        exchange.erase(lambda *texts: True)
        return Send("one", Number(2))

    exchange = Exchange(database, counting(handle))
    exchange.send("c", "one", Number(1))

    assert exchange.run() == []
    assert exchange.messages("c") == []


def test_an_exchange_removes_what_is_past_its_time_by_itself(database: Database):
    exchange = Exchange(database, desk(), keep_s=60)
    exchange.send("old", "clerk", Complaint("#W123", Decimal(1)))
    with database.write() as w:
        w.execute("update agent_messages set at = at - 61")
    exchange._swept = 0
    exchange.send("new", "clerk", Complaint("#W123", Decimal(1)))

    assert exchange.messages("old") == []
    assert len(exchange.messages("new")) == 1
