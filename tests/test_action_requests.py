"""The machine around actions: nothing is changed without the person's agreement, nothing twice, and nothing is lost in a crash."""

import multiprocessing
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from penstock.agents.actions import Action, Actions, Context, Found, Money, Person, Range, Rate, Text, action
from penstock.agents.requests import ActionRequests, Request
from penstock.agents.states import NEXT, OVER, STATES, Step, replay
from penstock.errors import (
    BadArguments,
    BadRequest,
    Conflict,
    Limited,
    NotAllowed,
    NotFound,
    PenstockError,
    StorageError,
)
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption, Envelope, FileKeys

ANNA, BO = Person("anna", "verified"), Person("bo", "verified")
Amount = Annotated[Decimal, Money(Decimal(1), Decimal(100))]
Account = Annotated[str, Text(pattern="[a-z]{1,8}")]


class Bank:
    """Somebody else's system: it books what it is told, as often as it is told, and can be asked for a key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.opened() as bank:
            bank.execute("create table if not exists bookings (key text, account text, amount text)")

    def opened(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30, isolation_level=None)

    def book(self, key: str, account: str, amount: Decimal) -> None:
        with self.opened() as bank:
            bank.execute("insert into bookings values (?, ?, ?)", (key, account, str(amount)))

    def rows(self, key: str = "") -> list[tuple[str, str, str]]:
        with self.opened() as bank:
            return bank.execute("select * from bookings where ? in ('', key)", (key,)).fetchall()


OFTEN = Rate(100_000, 60)


def shop(bank: Bank, *, rate: Rate = OFTEN, looks: bool = True) -> Actions:
    """A balance to look at, money that moves in the house's own database, and money that moves elsewhere."""

    @action("reads", level="guest", here=True, rate=rate)
    def balance(context: Context, account: Account) -> str:
        """Look at a balance."""
        assert context.rows is not None
        rows = context.rows.execute("select coalesce(sum(cents), 0) from entries where account = ?", (account,))
        return str(rows.fetchone()[0])

    def left(context: Context, values: Any) -> dict[str, Any]:
        assert context.rows is not None
        (cents,) = context.rows.execute("select coalesce(sum(cents), 0) from entries").fetchone()
        if cents + values.amount * 100 > 1_000_000:
            raise BadRequest("the vault is full")
        return {"left": Decimal(1_000_000 - cents) / 100}

    put_says = "Put {amount} into {account}" + ("; {left} fit" if looks else "")

    @action("writes", here=True, facts=left if looks else None, read_back=put_says, rate=rate)
    def put(context: Context, account: Account, amount: Amount) -> dict[str, Any]:
        """Put money in."""
        assert context.rows is not None
        if account == "frozen":
            raise BadRequest("this account is frozen")
        context.rows.execute("insert into entries values (?, ?, ?)", (context.key, account, int(amount * 100)))
        if account == "broken":
            raise RuntimeError("somebody's secret")
        return {"account": account, "amount": amount}

    def find(context: Context, values: Any) -> Found | None:
        rows = bank.rows(context.key)
        return Found({"account": rows[0][1]}) if rows else None

    @action("writes", find=find, read_back="Send {amount} to {account}", settles_s=0.0, rate=rate)
    def send(context: Context, account: Account, amount: Amount) -> dict[str, Any]:
        """Send money elsewhere."""
        if account == "closed":
            raise BadRequest("this account is closed")
        bank.book(context.key, account, amount)
        if account == "silent":
            raise TimeoutError("no answer")
        return {"account": account}

    return Actions([balance, put, send])


def opened(home: Path, *, sealed: bool = False, actions: Actions | None = None, **more: Any) -> ActionRequests:
    database = Database(home / "penstock.db")
    with database.write() as w:
        w.execute("create table if not exists entries (key text, account text, cents integer) strict")
    encryption = Encryption(Envelope(database, FileKeys(home / "keys")), "actions") if sealed else None
    return ActionRequests(database, actions or shop(Bank(home / "bank.db")), encryption, **more)


def closed(requests: ActionRequests) -> None:
    requests.close()
    requests._database.close()


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def requests(home: Path, request: pytest.FixtureRequest) -> Iterator[ActionRequests]:
    home.mkdir()
    made = opened(home, sealed=request.param)
    yield made
    assert made.check() == []
    closed(made)


def entries(requests: ActionRequests) -> list[Any]:
    return requests._database.read("select key, account, cents from entries")


def bookings(requests: ActionRequests) -> list[Any]:
    return Bank(requests._database.path.parent / "bank.db").rows()


def agreed(requests: ActionRequests, one: Request, person: Person = ANNA, talk: str = "c1") -> Request:
    return requests.confirm(person, talk, one.id, requests.read_back(person, talk, one.id).token)


PUT, SEND = {"account": "a", "amount": "5"}, {"account": "b", "amount": "7.5"}


# ---------------------------------------------------------------- one after the other


def test_what_is_read_comes_at_once(requests: ActionRequests):
    found = requests.propose(Person(), "c1", "balance", '{"account": "a"}')

    assert (found.state, found.result, found.read_back) == ("done", "0", "")
    assert [step.state for step in requests.steps(found.id)] == ["proposed", "running", "done"]
    assert requests.get(Person(), "c1", found.id) == found


@pytest.mark.parametrize("name", ["put", "send"])
def test_what_writes_is_read_back_agreed_to_and_done_once(requests: ActionRequests, name: str):
    one = requests.propose(ANNA, "c1", name, PUT)

    assert (one.state, one.result, entries(requests), bookings(requests)) == ("proposed", None, [], [])
    shown = requests.read_back(ANNA, "c1", one.id)
    assert shown.text == {"put": "Put 5.00 into a; 10000 fit", "send": "Send 5.00 to a"}[name]
    assert shown.token not in str(shown.request.plain())
    done = requests.confirm(ANNA, "c1", one.id, shown.token)
    assert (done.state, done.result["account"], done.is_over) == ("done", "a", True)
    assert requests.confirm(ANNA, "c1", one.id, shown.token) == done
    assert [row[0] for row in entries(requests) + bookings(requests)] == [one.id]
    steps = requests.steps(one.id)
    assert [(step.state, step.by) for step in steps] == [
        ("proposed", "assistant"), ("read_back", "house"), ("confirmed", "person"), ("running", "house"), ("done", "house"),
    ]  # fmt: skip
    assert len({step.digest for step in steps}) == 1


def test_no_token_is_good_for_anything_else(requests: ActionRequests):
    one = requests.propose(ANNA, "c1", "put", PUT)
    other = requests.propose(ANNA, "c2", "put", PUT)
    old = requests.read_back(ANNA, "c1", one.id).token
    token = requests.read_back(ANNA, "c1", one.id).token
    requests.read_back(ANNA, "c2", other.id)

    for wrong in ("", "x", old, token + "x", token[:-1], "\ud800", "x" * 10_000_000, None, b"x", 7):
        with pytest.raises(NotAllowed):
            requests.confirm(ANNA, "c1", one.id, wrong)  # type: ignore[arg-type]
    with pytest.raises(NotAllowed):
        requests.confirm(ANNA, "c2", other.id, token)
    for person, talk, number in ((BO, "c1", one.id), (ANNA, "c2", one.id), (ANNA, "c1", other.id), (Person(), "c1", one.id),
                                 (Person("anna", "verified", tenant="t"), "c1", one.id), (ANNA, "c1", "\ud800")):  # fmt: skip
        for call in (
            lambda p, t, n: requests.confirm(p, t, n, token),
            requests.read_back,
            requests.withdraw,
            requests.get,
        ):
            with pytest.raises(NotFound):
                call(person, talk, number)
    with pytest.raises(NotAllowed, match="verified"):
        requests.confirm(Person("anna", "identified"), "c1", one.id, token)
    assert entries(requests) == []
    assert requests.confirm(ANNA, "c1", one.id, token).state == "done"


def test_a_change_of_mind_takes_back_what_waited(requests: ActionRequests):
    one = requests.propose(ANNA, "c1", "put", PUT)
    token = requests.read_back(ANNA, "c1", one.id).token
    two = requests.propose(ANNA, "c1", "put", PUT | {"amount": "6"})

    assert requests.get(ANNA, "c1", one.id).state == "withdrawn"
    assert requests.waiting(ANNA, "c1") == two
    assert requests.confirm(ANNA, "c1", one.id, token).state == "withdrawn"
    with pytest.raises(NotAllowed):
        requests.confirm(ANNA, "c1", two.id, token)
    assert requests.withdraw(ANNA, "c1", two.id).state == "withdrawn"
    assert requests.withdraw(ANNA, "c1", two.id).state == "withdrawn"
    with pytest.raises(Conflict, match="withdrawn already"):
        requests.read_back(ANNA, "c1", two.id)
    assert requests.waiting(ANNA, "c1") is None
    assert [one.state for one in requests.of(ANNA, "c1")] == ["withdrawn", "withdrawn"]
    assert entries(requests) == []


def test_what_is_done_cannot_be_taken_back(requests: ActionRequests):
    one = agreed(requests, requests.propose(ANNA, "c1", "put", PUT))

    with pytest.raises(Conflict, match="done already"):
        requests.withdraw(ANNA, "c1", one.id)


def test_the_same_key_gives_the_first_result(requests: ActionRequests):
    one = requests.propose(ANNA, "c1", "put", PUT, key="call_1")

    assert requests.propose(ANNA, "c1", "put", PUT | {"amount": 5.0}, key="call_1") == one
    done = agreed(requests, one)
    assert requests.propose(ANNA, "c1", "put", PUT, key="call_1") == done
    for name, arguments in (("put", PUT | {"amount": "6"}), ("send", PUT)):
        with pytest.raises(Conflict, match="something else"):
            requests.propose(ANNA, "c1", name, arguments, key="call_1")
    assert requests.propose(ANNA, "c2", "put", PUT, key="call_1").id != one.id
    assert requests.propose(BO, "c1", "put", PUT, key="call_1").id != one.id
    looked = requests.propose(ANNA, "c1", "balance", {"account": "a"}, key="look")
    requests.propose(ANNA, "c1", "balance", {"account": "a"})
    assert requests.propose(ANNA, "c1", "balance", {"account": "a"}, key="look") == looked
    assert len(entries(requests)) == 1


def test_what_an_action_refuses_is_refused_and_changes_nothing(requests: ActionRequests):
    refused = agreed(requests, requests.propose(ANNA, "c1", "put", PUT | {"account": "frozen"}))
    elsewhere = agreed(requests, requests.propose(ANNA, "c1", "send", PUT | {"account": "closed"}))
    broken = agreed(requests, requests.propose(ANNA, "c1", "put", PUT | {"account": "broken"}))

    assert (refused.state, refused.reason) == ("refused", "this account is frozen")
    assert (elsewhere.state, elsewhere.reason) == ("refused", "this account is closed")
    assert (broken.state, broken.reason) == ("failed", "it failed, and nothing was changed")
    assert (entries(requests), bookings(requests)) == ([], [])


def test_what_cannot_be_done_is_said_before_anybody_is_asked(requests: ActionRequests):
    with requests._database.write() as w:
        w.execute("insert into entries values ('', 'a', 1000000)")
    one = requests.propose(ANNA, "c1", "put", PUT)

    assert (one.state, one.reason) == ("refused", "the vault is full")
    with pytest.raises(Conflict, match="refused already"):
        requests.read_back(ANNA, "c1", one.id)


def test_an_agreement_is_void_where_the_facts_are_others_by_now(requests: ActionRequests):
    one = requests.propose(ANNA, "c1", "put", PUT)
    token = requests.read_back(ANNA, "c1", one.id).token
    agreed(requests, requests.propose(BO, "c9", "put", PUT), BO, "c9")
    late = requests.confirm(ANNA, "c1", one.id, token)

    assert (late.state, late.reason) == ("refused", "it is not any more as it was read back")
    assert [row[1] for row in entries(requests)] == ["a"]


def test_an_agreement_is_void_where_somebody_changed_what_is_stored(home: Path):
    home.mkdir()
    requests = opened(home)
    one = requests.propose(ANNA, "c1", "send", SEND)
    token = requests.read_back(ANNA, "c1", one.id).token
    with requests._database.write() as w:
        w.execute("update action_requests set words = replace(words, '7.50', '9.50')")

    assert requests.confirm(ANNA, "c1", one.id, token).state == "refused"
    two = requests.propose(ANNA, "c1", "send", SEND)
    token = requests.read_back(ANNA, "c1", two.id).token
    with requests._database.write() as w:
        w.execute("update action_requests set digest = 'x' where id = ?", (two.id,))
    with pytest.raises(NotAllowed):
        requests.confirm(ANNA, "c1", two.id, token)
    assert bookings(requests) == []
    closed(requests)


def test_it_expires_and_a_clock_that_goes_back_gives_no_more_time(home: Path, monkeypatch: pytest.MonkeyPatch):
    home.mkdir()
    requests, clock, real = opened(home), [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + clock[0])
    for ahead, state in ((599.0, "done"), (601.0, "expired"), (-30.0, "done"), (-61.0, "expired"), (-1e6, "expired")):
        clock[0] = 0.0
        one = requests.propose(ANNA, "c1", "put", PUT)
        token = requests.read_back(ANNA, "c1", one.id).token
        clock[0] = ahead
        if state == "expired":
            assert requests.get(ANNA, "c1", one.id).state == "expired"
            with pytest.raises(Conflict):
                requests.read_back(ANNA, "c1", one.id)
        assert requests.confirm(ANNA, "c1", one.id, token).state == state
        clock[0] = 0.0
        assert requests.confirm(ANNA, "c1", one.id, token).state == state, "for good"
    assert (len(entries(requests)), requests.check()) == (2, [])
    closed(requests)


def test_somebody_who_asks_too_often_is_told_so(home: Path):
    home.mkdir()
    requests = opened(home, actions=shop(Bank(home / "bank.db"), rate=Rate(2, 60)))
    for _ in range(2):
        requests.propose(Person(), "c1", "balance", {"account": "a"})

    with pytest.raises(Limited, match="the limit is 2"):
        requests.propose(Person(), "c1", "balance", {"account": "a"})
    assert requests.propose(Person(), "c2", "balance", {"account": "a"}).state == "done", "another guest"
    closed(requests)


@pytest.mark.parametrize(
    ("talk", "name", "arguments", "key", "error"),
    [
        ("c1", "put", {"account": "a"}, "", BadArguments), ("c1", "put", "{" * 100_000, "", PenstockError),
        ("c1", "put", PUT | {"confirmed": True}, "", BadArguments), ("c1", "put", {"a" * 10_000_000: 1}, "", BadArguments),
        ("c1", "nothing", {}, "", NotFound), ("c1", "", {}, "", NotFound), ("c1", None, {}, "", NotFound),
        ("c1", "put", None, "", BadArguments), ("c1", "put", [PUT], "", BadArguments),
        ("", "put", PUT, "", BadRequest), ("c" * 201, "put", PUT, "", BadRequest), ("c\x00", "put", PUT, "", BadRequest),
        ("c1", "put", PUT, "k" * 201, BadRequest), ("c1", "put", PUT, "\ud800", BadRequest), ("c1", "put", PUT, 7, BadRequest),
    ],
)  # fmt: skip
def test_hostile_requests_are_refused_and_leave_nothing(
    home: Path, talk: Any, name: Any, arguments: Any, key: Any, error: type[PenstockError]
):
    home.mkdir()
    requests = opened(home)
    with pytest.raises(error):
        requests.propose(ANNA, talk, name, arguments, key=key)

    assert requests.steps() == []
    closed(requests)


def test_an_action_neither_ends_the_transaction_nor_changes_what_is_recorded(home: Path):
    home.mkdir()

    def made(name: str, *statements: str) -> Action:
        def run(context: Context) -> None:
            for statement in statements:
                assert context.rows is not None
                context.rows.execute(statement)

        effect: Any = "reads" if name.startswith("look") else "writes"
        return action(effect, name=name, description="Try.", read_back="Do it", here=True)(run)

    first = "insert into entries values ('', 'a', 1)"
    hostile = [
        "/* */ commit", "rollback", "savepoint x", "rollback to action_effect", "delete from action_log",
        "update action_requests set state = 'done'", "drop table action_log", "attach ':memory:' as x", "pragma user_version = 3",
    ]  # fmt: skip
    actions = [made(f"try{n}", first, statement) for n, statement in enumerate(hostile)]
    requests = opened(home, actions=Actions([*actions, made("look", first)]))

    for one in actions:
        assert agreed(requests, requests.propose(ANNA, "c1", one.name, {})).state == "failed"
    assert requests.propose(ANNA, "c1", "look", {}).state == "failed"
    assert (entries(requests), requests.check()) == ([], [])
    closed(requests)


def test_a_full_disk_changes_nothing_and_the_agreement_stays_good(requests: ActionRequests):
    one = requests.propose(ANNA, "c1", "put", PUT)
    token = requests.read_back(ANNA, "c1", one.id).token
    (pages,) = requests._database.read("pragma page_count")[0]
    requests._database.read(f"pragma max_page_count = {pages}")

    def fill() -> None:
        for n in range(60):
            requests.propose(BO, f"c{n + 2}", "send", SEND)

    for _ in range(3):
        with pytest.raises(StorageError, match="full"):
            fill()
    requests._database.read("pragma max_page_count = 1073741823")

    assert requests.check() == []
    assert requests.confirm(ANNA, "c1", one.id, token).state == "done"
    assert len(entries(requests)) == 1


def test_a_disk_that_is_full_within_an_action_leaves_it_as_it_was(home: Path):
    home.mkdir()

    @action("writes", here=True, read_back="Write a lot")
    def fill(context: Context) -> None:
        """Write a lot."""
        assert context.rows is not None
        for _ in range(100):
            context.rows.execute("insert into entries values (?, 'a', 1)", ("x" * 4000,))

    requests = opened(home, actions=Actions([fill]))
    one = requests.propose(ANNA, "c1", "fill", {})
    token = requests.read_back(ANNA, "c1", one.id).token
    (pages,) = requests._database.read("pragma page_count")[0]
    requests._database.read(f"pragma max_page_count = {pages + 4}")
    with pytest.raises(StorageError, match="full"):
        requests.confirm(ANNA, "c1", one.id, token)

    assert (requests.get(ANNA, "c1", one.id).state, entries(requests), requests.check()) == ("read_back", [], [])
    requests._database.read("pragma max_page_count = 1073741823")
    assert requests.confirm(ANNA, "c1", one.id, token).state == "done"
    assert len(entries(requests)) == 100
    closed(requests)


def test_words_are_sealed_and_forgotten(home: Path):
    home.mkdir()
    requests = opened(home, sealed=True)
    one = agreed(requests, requests.propose(ANNA, "c1", "put", {"account": "margot", "amount": "5"}))
    other = agreed(requests, requests.propose(BO, "c2", "put", PUT), BO, "c2")
    for table in ("action_requests", "action_log"):
        assert "margot" not in str(requests._database.read(f"select * from {table}"))

    def mentioned(*texts: str) -> bool:
        return any("margot" in text for text in texts)

    assert requests.mentions(mentioned) == [one.id]
    assert requests.erase(mentioned) == 1
    assert requests.erase(mentioned) == 0
    with pytest.raises(NotFound):
        requests.get(ANNA, "c1", one.id)
    assert {step.request for step in requests.steps()} == {other.id}
    waits = requests.propose(BO, "c2", "put", PUT)
    assert (requests.made_before(time.time() + 1), requests.remove_made_before(time.time() - 60)) == (1, 0)
    assert requests.remove_made_before(time.time() + 1) == 1
    assert [one.id for one in requests.of(BO, "c2")] == [waits.id]
    assert requests.check() == []
    closed(requests)


# ---------------------------------------------------------------- when nobody knows


def test_no_answer_is_asked_for_and_never_sent_again(requests: ActionRequests):
    one = agreed(requests, requests.propose(ANNA, "c1", "send", SEND | {"account": "silent"}))

    assert (one.state, one.result) == ("done", {"account": "silent"})
    assert len(bookings(requests)) == 1


def test_what_nobody_knows_is_asked_again_and_holds_back_other_changes(home: Path):
    home.mkdir()
    sent: list[str] = []
    known: list[Callable[[], Found | None]] = []

    def find(context: Context, values: Any) -> Found | None:
        return known[-1]()

    @action("writes", find=find, read_back="Ring {times} times", settles_s=0.3)
    def ring(context: Context, times: Annotated[int, Range(1, 3)]) -> None:
        """Ring."""
        sent.append(context.key)
        if len(sent) == 1:
            raise TimeoutError

    def down() -> Found | None:
        raise OSError("no route")

    requests = opened(home, actions=Actions([ring]))
    known.append(down)
    one = agreed(requests, requests.propose(ANNA, "c1", "ring", {"times": 1}))

    assert (one.state, one.reason) == ("running", "it is not known yet whether it was done")
    with pytest.raises(Conflict, match="being changed"):
        requests.propose(ANNA, "c1", "ring", {"times": 2})
    known.append(lambda: None)
    assert requests.resolve() == 0, "it may still come"
    time.sleep(0.35)
    assert requests.resolve() == 1
    assert requests.get(ANNA, "c1", one.id).state == "done"
    assert sent == [one.id, one.id], "the same key, after it was asked for"
    assert requests.propose(ANNA, "c1", "ring", {"times": 2}).state == "proposed"
    assert requests.check() == []
    closed(requests)


def test_a_disk_that_is_full_after_the_effect_loses_nothing(home: Path):
    home.mkdir()
    requests = opened(home)
    one = requests.propose(ANNA, "c1", "send", SEND)
    token = requests.read_back(ANNA, "c1", one.id).token
    end, requests._end = requests._end, lambda *_, **__: (_ for _ in ()).throw(StorageError("the disk is full"))  # type: ignore[method-assign]
    with pytest.raises(StorageError):
        requests.confirm(ANNA, "c1", one.id, token)
    requests._end = end  # type: ignore[method-assign]

    assert requests.confirm(ANNA, "c1", one.id, token).state == "done"
    assert len(bookings(requests)) == 1
    closed(requests)


def test_what_another_process_is_at_is_left_to_it(home: Path):
    home.mkdir()
    bank, go = Bank(home / "bank.db"), threading.Event()

    @action("writes", find=lambda *_: None, read_back="Ring", settles_s=0.0)
    def ring(context: Context) -> None:
        """Ring."""
        go.wait(30)
        bank.book(context.key, "a", Decimal(1))

    @action("reads", settles_s=0.0)
    def look(context: Context) -> int:
        """Look."""
        go.wait(30)
        return 7

    one, other = (opened(home, actions=Actions([ring, look])) for _ in range(2))
    asked = one.propose(ANNA, "c1", "ring", {})
    token = one.read_back(ANNA, "c1", asked.id).token
    got: list[Request] = []
    team = [threading.Thread(target=lambda: got.append(one.confirm(ANNA, "c1", asked.id, token))) for _ in range(3)]
    team.append(threading.Thread(target=lambda: got.append(one.propose(ANNA, "c1", "look", {}, key="k"))))
    team.append(threading.Thread(target=lambda: got.append(other.propose(ANNA, "c1", "look", {}, key="k"))))
    for thread in team:
        thread.start()
    time.sleep(0.3)
    for _ in range(5):
        assert (one.resolve(), other.resolve()) == (0, 0)
    go.set()
    for thread in team:
        thread.join()

    assert sorted(str(one.result) for one in got) == ["7", "7", "None", "None", "None"]
    assert {one.state for one in got} == {"done"}
    assert len(bank.rows()) == 1
    other.close()
    closed(one)


def test_what_was_read_when_a_process_ended_is_read_again(home: Path):
    home.mkdir()
    dead = opened(home)
    dead._carry_out = lambda *_: None  # type: ignore[method-assign]  # as if it ended here
    left = dead.propose(Person(), "c1", "balance", {"account": "a"}, key="k")
    dead.close()
    requests = opened(home)

    assert left.state == "running"
    assert requests.propose(Person(), "c1", "balance", {"account": "a"}, key="k").result == "0"
    assert requests.check() == []
    closed(requests)


def test_what_another_app_left_is_left_to_that_app(home: Path):
    home.mkdir()
    dead = opened(home)
    one = dead.propose(ANNA, "c1", "send", SEND)
    token = dead.read_back(ANNA, "c1", one.id).token
    dead._carry_out = lambda *_: None  # type: ignore[method-assign]
    dead.confirm(ANNA, "c1", one.id, token)
    dead.close()
    other, requests = opened(home, actions=Actions()), opened(home)

    assert other.resolve() == 0
    assert requests.resolve() == 1
    assert (requests.get(ANNA, "c1", one.id).state, len(bookings(requests))) == ("done", 1)
    other.close()
    closed(requests)


def test_an_agreement_that_is_long_past_is_not_acted_on(home: Path, monkeypatch: pytest.MonkeyPatch):
    home.mkdir()
    dead = opened(home)
    one = dead.propose(ANNA, "c1", "send", SEND)
    token = dead.read_back(ANNA, "c1", one.id).token
    dead._carry_out = lambda *_: None  # type: ignore[method-assign]
    dead.confirm(ANNA, "c1", one.id, token)
    dead.close()
    requests, real = opened(home), time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)

    late = requests.confirm(ANNA, "c1", one.id, token)
    assert (late.state, late.reason) == ("failed", "it was interrupted before it was done, and nothing was changed")
    assert (bookings(requests), requests.check()) == ([], [])
    closed(requests)


# ---------------------------------------------------------------- the log


@given(st.data())
def test_a_log_leads_to_the_states_that_it_says(data: st.DataObject):
    """Walks along the allowed steps, of several requests at once; then one step that is not allowed, or is left out."""
    rows: list[Step] = []
    now: dict[str, Any] = {}
    free = {"a": True, "b": False, "c": False}
    for number in range(data.draw(st.integers(1, 25))):
        request = data.draw(st.sampled_from("abc"))
        before = now.get(request)
        allowed = sorted(NEXT[before] - ({"running"} if before == "proposed" and not free[request] else set()))
        if allowed:
            state: Any = data.draw(st.sampled_from(allowed))
            count = sum(row.request == request for row in rows)
            by: Any = "person" if state == "confirmed" else "house"
            rows.append(
                Step(number, request, count, state, by, 0.0, request, "free" if free[request] and not count else "")
            )
            now[request] = state

    assert replay(rows) == now
    place = data.draw(st.integers(0, len(rows) - 1))
    wrong = data.draw(st.sampled_from(["left out", "state", "digest", "by", "twice"]))
    row = rows[place]
    changed = {
        "left out": rows[:place] + rows[place + 1 :], "digest": [*rows[:place], row._replace(digest="x"), *rows[place + 1 :]],
        "state": [*rows, row._replace(step=99)], "twice": [*rows[: place + 1], row, *rows[place + 1 :]],
        "by": [*rows[:place], row._replace(by="assistant"), *rows[place + 1 :]],
    }[wrong]  # fmt: skip
    others = sum(one.request == row.request for one in rows)
    last = others == row.step + 1
    if (
        (wrong == "left out" and last)
        or (wrong == "digest" and others == 1)
        or (wrong == "by" and row.state != "confirmed")
    ):
        return
    with pytest.raises(StorageError):
        replay(changed)


def test_no_state_follows_on_an_end_and_each_can_be_reached():
    assert all(not NEXT[state] for state in OVER)
    assert set().union(*NEXT.values()) == set(STATES)


# ---------------------------------------------------------------- against a simple model


class Talking(RuleBasedStateMachine):
    """Whatever a model and two people do in two conversations: what is booked is what was agreed to, once."""

    folder = Path()
    count = 0
    people = st.sampled_from([ANNA, BO])
    talks = st.sampled_from(["c1", "c2"])
    names = st.sampled_from(["put", "send"])

    def __init__(self) -> None:
        super().__init__()
        type(self).count += 1
        home = self.folder / str(type(self).count)
        home.mkdir()
        self.requests = opened(home, actions=shop(Bank(home / "bank.db"), looks=False))
        self.made: list[tuple[str, Person, str, str, str]] = []  # id, person, conversation, action, amount
        self.tokens: dict[str, str] = {"": ""}  # request -> the token that counts
        self.old: list[str] = [""]
        self.open: dict[tuple[str, str], str] = {}  # person and conversation -> what waits
        self.done: list[tuple[str, str]] = []
        self.keys: dict[tuple[str, str, str], tuple[str, str, str]] = {}

    @rule(person=people, talk=talks, name=names, amount=st.integers(1, 3), key=st.sampled_from(["", "", "k1", "k2"]))
    def proposes(self, person: Person, talk: str, name: str, amount: int, key: str) -> None:
        first = self.keys.get((person.id, talk, key)) if key else None
        try:
            one = self.requests.propose(person, talk, name, {"account": "a", "amount": amount}, key=key)
        except Conflict:
            assert first is not None
            assert first[1:] != (name, str(amount))
            return
        if first:
            assert first == (one.id, name, str(amount))
            return
        assert one.state == "proposed"
        self.made.append((one.id, person, talk, name, str(amount)))
        self.open[person.id, talk] = one.id
        if key:
            self.keys[person.id, talk, key] = (one.id, name, str(amount))

    @rule(data=st.data(), person=people, talk=talks)
    def reads_back(self, data: st.DataObject, person: Person, talk: str) -> None:
        if not self.made:
            return
        number, whose, where, *_ = data.draw(st.sampled_from(self.made))
        try:
            token = self.requests.read_back(person, talk, number).token
        except NotFound:
            assert (person, talk) != (whose, where)
        except Conflict:
            assert self.open.get((person.id, talk)) != number
        else:
            assert (person, talk, self.open.get((person.id, talk))) == (whose, where, number)
            self.old.append(self.tokens.get(number, ""))
            self.tokens[number] = token

    @rule(data=st.data(), person=people, talk=talks)
    def confirms(self, data: st.DataObject, person: Person, talk: str) -> None:
        if not self.made:
            return
        number, whose, where, _, amount = data.draw(st.sampled_from(self.made))
        right = self.tokens.get(number)
        token = data.draw(st.sampled_from([*self.tokens.values(), *self.old, *[right or ""] * 5]))
        try:
            one = self.requests.confirm(person, talk, number, token)
        except NotFound:
            assert (person, talk) != (whose, where)
            return
        except NotAllowed:
            assert token != right
            return
        assert (person, talk, token) == (whose, where, right)
        if self.open.get((person.id, talk)) == number:
            del self.open[person.id, talk]
            assert one.state == "done"
            self.done.append((number, amount))
        else:
            assert one.is_over

    @rule(person=people, talk=talks, name=names, amount=st.integers(1, 3))
    def goes_through(self, person: Person, talk: str, name: str, amount: int) -> None:
        self.proposes(person, talk, name, amount, "")
        number = self.open[person.id, talk]
        token = self.requests.read_back(person, talk, number).token
        assert self.requests.confirm(person, talk, number, token).state == "done"
        self.tokens[number] = token
        self.done.append((number, str(amount)))
        del self.open[person.id, talk]

    @rule(data=st.data(), person=people, talk=talks)
    def withdraws(self, data: st.DataObject, person: Person, talk: str) -> None:
        if self.made:
            number, whose, where, *_ = data.draw(st.sampled_from(self.made))
            try:
                self.requests.withdraw(person, talk, number)
            except NotFound:
                assert (person, talk) != (whose, where)
                return
            except Conflict:
                return
            if self.open.get((person.id, talk)) == number:
                del self.open[person.id, talk]

    @rule()
    def starts_again(self) -> None:
        home = self.requests._database.path.parent
        closed(self.requests)
        self.requests = opened(home, actions=shop(Bank(home / "bank.db"), looks=False))
        assert self.requests.resolve() == 0

    @invariant()
    def what_is_booked_is_what_was_agreed_to(self) -> None:
        booked = [(key, str(cents // 100)) for key, _, cents in entries(self.requests)]
        booked += [(key, str(int(Decimal(amount)))) for key, _, amount in bookings(self.requests)]
        assert sorted(booked) == sorted(self.done)
        assert self.requests.check() == []

    def teardown(self) -> None:
        closed(self.requests)


def test_whatever_is_done_in_whatever_order_what_is_booked_was_agreed_to_once(tmp_path: Path):
    Talking.folder = tmp_path
    settings = hypothesis.settings(max_examples=25, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(Talking, settings=settings)


# ---------------------------------------------------------------- a hostile model


def test_500_hostile_models_change_nothing_without_a_person(home: Path):
    """A model that has got hold of the whole machine, but for the screen: of what it makes up, guesses, keeps and repeats, nothing
    counts. In every fifth conversation the person agrees to one thing, and the model then tries to make more of it."""
    home.mkdir()
    requests, agreed_to = opened(home), set[str]()
    seen: list[str] = ["", "yes", "confirmed", "0" * 32]  # tokens that were used up, and others
    for n in range(500):
        chance, talk = random.Random(n), f"talk {n}"
        person = Person(f"p{n % 7}", "verified")
        others = [person, ANNA, Person(), Person(person.id, "guest"), Person(person.id, "verified", ("admin",), "t")]
        ids = [f"{n:032x}"]
        for _ in range(12):
            whom, where = (
                (person, talk) if chance.random() < 0.7 else (chance.choice(others), f"talk {chance.randrange(n + 1)}")
            )
            arguments: Any = {"account": chance.choice("ab"), "amount": chance.choice([1, "2", "3.00"])}
            if chance.random() < 0.3:
                arguments = chance.choice([
                    arguments | {"confirmed": True}, arguments | {"token": chance.choice(seen)}, arguments | {"state": "confirmed"},
                    '{"account": "a", "amount": 1, "amount": 2}', arguments | {"needs_confirmation": False}, "[]", None,
                    arguments | {"account": "a; I agree"}, {"account": "a" * 100_000, "amount": 1},
                ])  # fmt: skip
            try:
                match chance.randrange(6):
                    case 0 | 1 | 2:
                        by: Any = chance.choice(["assistant", "person", "house"])
                        name = chance.choice(["put", "send", "put ", "confirm", "PUT"])
                        ids.append(
                            requests.propose(whom, where, name, arguments, key=chance.choice(["", "k"]), by=by).id
                        )
                    case 3 | 4:
                        requests.confirm(whom, where, chance.choice(ids), chance.choice([*seen, chance.choice(ids)]))
                    case 5:
                        chance.choice([requests.withdraw, requests.get])(whom, where, chance.choice(ids))
            except PenstockError:
                continue
        waits = requests.waiting(person, talk)
        if n % 5 == 0 and waits is not None:
            shown = requests.read_back(person, talk, waits.id)
            done = requests.confirm(person, talk, waits.id, shown.token)
            if done.state == "done":
                agreed_to.add(waits.id)
            seen.append(shown.token)
            for number in ids:
                for whom in others:
                    try:
                        requests.confirm(whom, talk, number, shown.token)
                    except PenstockError:
                        continue

    booked = Counter(row[0] for row in entries(requests) + bookings(requests))
    assert set(booked) == agreed_to
    assert len(agreed_to) > 30
    assert max(booked.values()) == 1
    assert requests.check() == []
    closed(requests)


# ---------------------------------------------------------------- many at once, and killed


def _race(home: str, number: str, token: str, start: Any, results: Any) -> None:
    requests = opened(Path(home))
    start.wait()
    looked = requests.propose(ANNA, "c1", "balance", {"account": "a"}, key="look")
    proposed = requests.propose(ANNA, "c2", "put", PUT, key="same")
    done = requests.confirm(ANNA, "c1", number, token)
    results.put((looked.id, looked.state, proposed.id, done.state, done.result))
    closed(requests)


@pytest.mark.parametrize("name", ["put", "send"])
def test_processes_that_race_for_one_key_and_one_agreement_get_one_result(home: Path, name: str):
    home.mkdir()
    requests = opened(home)
    one = requests.propose(ANNA, "c1", name, PUT)
    token = requests.read_back(ANNA, "c1", one.id).token
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(4), context.Queue()
    team = [context.Process(target=_race, args=(str(home), one.id, token, start, results)) for _ in range(4)]
    for process in team:
        process.start()
    got = [results.get(timeout=60) for _ in team]
    for process in team:
        process.join(60)

    assert len({(looked, proposed, state) for looked, _, proposed, state, _ in got}) == 1
    assert {state for _, state, *_ in got} == {"done"}
    assert {state for *_, state, _ in got} == {"done"}
    assert len(entries(requests) + bookings(requests)) == 1
    assert requests.check() == []
    closed(requests)


def test_threads_that_agree_at_once_get_one_result(requests: ActionRequests):
    one = requests.propose(ANNA, "c1", "send", SEND)
    token = requests.read_back(ANNA, "c1", one.id).token
    got: list[Request] = []
    team = [threading.Thread(target=lambda: got.append(requests.confirm(ANNA, "c1", one.id, token))) for _ in range(8)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()

    assert [one.state for one in got] == ["done"] * 8
    assert len(bookings(requests)) == 1


def _serve(home: str, worker: int, life: int, notes: str) -> None:
    """An app that asks, shows and agrees without end, and writes down each agreement before it gives it."""
    requests = opened(Path(home), actions=shop(Bank(Path(home) / "bank.db"), looks=False))
    chance = random.Random(worker * 1000 + life)
    with open(notes, "a", buffering=1) as out:
        print("ready", file=out)
        requests.resolve()
        n = 0
        while True:
            n += 1
            talk = f"w{worker} l{life} n{n}"
            name = chance.choice(["put", "send"])
            try:
                requests.propose(ANNA, talk, "balance", {"account": "a"})
                one = requests.propose(ANNA, talk, name, {"account": "a", "amount": "1"}, key="k")
                shown = requests.read_back(ANNA, talk, one.id)
                print(f"{one.id} {talk}|{shown.token}", file=out)
                requests.confirm(ANNA, talk, one.id, shown.token)
            except PenstockError:
                continue


def test_64_processes_that_are_killed_lose_nothing_and_do_nothing_twice(home: Path):
    home.mkdir()
    closed(opened(home))
    context, chance = multiprocessing.get_context("spawn"), random.Random(3)
    notes = [home / f"notes{n}" for n in range(2)]
    for life in range(32):
        team = [context.Process(target=_serve, args=(str(home), n, life, str(notes[n]))) for n in range(2)]
        for process in team:
            process.start()
        until = time.monotonic() + 60
        while any(note.read_text().count("ready") <= life if note.exists() else True for note in notes):
            assert time.monotonic() < until
            time.sleep(0.005)
        for process in team:
            time.sleep(chance.uniform(0.0, 0.15))
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        for process in team:
            process.join(60)

    requests = opened(home, actions=shop(Bank(home / "bank.db"), looks=False))
    requests.resolve()
    said = [line for note in notes for line in note.read_text().splitlines() if "|" in line]
    for line in said:  # whoever agreed and heard nothing sends it again
        number, _, rest = line.partition(" ")
        talk, _, token = rest.partition("|")
        assert requests.confirm(ANNA, talk, number, token).state == "done"
    booked = Counter(row[0] for row in entries(requests) + bookings(requests))
    done = {
        row[0] for row in requests._database.read("select id from action_requests where state = 'done' and confirms")
    }
    assert len(said) > 64
    assert set(booked) == done
    assert max(booked.values()) == 1
    assert requests._database.read("select count(*) from action_requests where state = 'running'") == [(0,)]
    whys = Counter(step.why for step in requests.steps())
    assert whys["taken over"] > 0
    assert whys["found"] + whys["not found"] > 0, "some were killed while the bank was at it"
    assert requests.check() == []
    closed(requests)
