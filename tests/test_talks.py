"""Conversations with bots are kept: for whoever has them, one message at a time, across threads, processes and their ends."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from shop import bot, filled

from penstock.agents.actions import Actions, Person
from penstock.agents.answering import Answering
from penstock.agents.kept_talks import Kept, KeptTalks, Said, Whose
from penstock.agents.numbers import Founded
from penstock.agents.requests import ActionRequests
from penstock.agents.scripted import Wanted
from penstock.agents.talks import Reply, Row, Talk
from penstock.answer import whole
from penstock.errors import BadRequest, Conflict, Limited, NotFound
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption, Envelope, FileKeys
from penstock.types import Answer, Caller, Record, Turn

NUMBER = "0123456789abcdef" * 2
ANNA = Whose("anna", "acme")
SOURCE = str(Path(__file__).parent)


def talks(folder: Path, **more) -> KeptTalks:
    return KeptTalks(Database(folder / "penstock.db"), **more)


def test_a_conversation_is_found_again_as_it_was_left(tmp_path: Path):
    kept = talks(tmp_path).find(ANNA, "shop", NUMBER)
    kept.person, kept.state, kept.rows = (
        Person("a7", "verified", ("vip",), "acme"),
        {"open": {"kind": "slot"}},
        [{"source": "x"}],
    )
    talks(tmp_path).keep(kept, Said("hello", {"text": "hi"}, "=k"))
    again = talks(tmp_path).find(ANNA, "shop", NUMBER)

    assert (again.person, again.state, again.rows, again.turns) == (kept.person, kept.state, kept.rows, 1)
    assert [message.content for message in talks(tmp_path).messages(again)] == ["hello", "hi"]
    assert talks(tmp_path).said(again, "=k").reply == {"text": "hi"}


@pytest.mark.parametrize(
    ("whose", "app"),
    [
        (Whose("bob", "acme"), "shop"),
        (Whose("anna", "other"), "shop"),
        (Whose("anna/visit", "acme"), "shop"),
        (ANNA, "bank"),
    ],
)
def test_nobody_elses_conversation_is_found(tmp_path: Path, whose: Whose, app: str):
    store = talks(tmp_path)
    store.keep(store.find(ANNA, "shop", NUMBER), Said("hello", {"text": "hi"}))

    with pytest.raises(NotFound):
        store.find(whose, app, NUMBER)


@pytest.mark.parametrize("number", ["", "abc", "g" * 32, "A" * 32, "0" * 33, None, 7, "../" + "0" * 29])
def test_a_conversation_is_named_by_32_digits(tmp_path: Path, number):
    with pytest.raises(BadRequest):
        talks(tmp_path).find(ANNA, "shop", number)


def test_words_are_sealed_where_content_is(tmp_path: Path):
    database = Database(tmp_path / "penstock.db")
    store = KeptTalks(database, Encryption(Envelope(database, FileKeys(tmp_path / "keys")), "talks"))
    kept = store.find(ANNA, "shop", NUMBER)
    kept.state = {"token": "a-secret-token"}
    store.keep(kept, Said("my name is Rumpelstiltskin", {"text": "Hello Rumpelstiltskin"}))
    database.read("pragma wal_checkpoint(truncate)")
    written = b"".join(path.read_bytes() for path in tmp_path.glob("penstock.db*"))

    assert b"Rumpelstiltskin" not in written
    assert b"a-secret-token" not in written
    assert store.find(ANNA, "shop", NUMBER).state == {"token": "a-secret-token"}
    assert store.mentions(lambda *texts: any("Rumpelstiltskin" in text for text in texts)) == [NUMBER]
    assert store.erase(lambda *texts: any("Rumpelstiltskin" in text for text in texts)) == 1
    assert store.find(ANNA, "shop", NUMBER).turns == 0


def test_what_is_past_its_time_is_not_found_and_goes(tmp_path: Path):
    store = talks(tmp_path, keep_s=60.0)
    store.keep(store.find(ANNA, "shop", NUMBER), Said("hello", {"text": "hi"}))
    with Database(tmp_path / "penstock.db").write() as w:
        w.execute("update talks set changed = changed - 3600")

    with pytest.raises(NotFound):
        store.find(ANNA, "shop", NUMBER)
    assert store.unchanged_since(time.time() - 60) == 1
    assert store.remove_unchanged_since(time.time() - 60) == 1


def test_a_key_that_was_given_anew_finds_nothing_of_who_had_it_before(tmp_path: Path):
    store = talks(tmp_path)
    store.keep(store.find(ANNA, "shop", NUMBER), Said("hello", {"text": "hi"}))

    with pytest.raises(NotFound):
        talks(tmp_path, since=lambda name: time.time() + 1 if name == "anna" else 0.0).find(ANNA, "shop", NUMBER)


def test_two_at_once_do_not_write_over_each_other(tmp_path: Path):
    store = talks(tmp_path)
    first, second = store.find(ANNA, "shop", NUMBER), store.find(ANNA, "shop", NUMBER)
    store.keep(first, Said("a", {"text": "a"}))

    with pytest.raises(Conflict):
        store.keep(second, Said("b", {"text": "b"}))


def test_a_conversation_has_an_end(tmp_path: Path):
    with pytest.raises(Limited):
        talks(tmp_path).keep(Kept(NUMBER, "shop", ANNA, turns=1_001), Said("a", {"text": "a"}))


# ---------------------------------------------------------------- answered


class Slow:
    """A bot that takes its time and counts."""

    actions = ()

    def __init__(self, takes_s: float = 0.0) -> None:
        self.takes_s, self.running, self.most, self.replies = takes_s, 0, 0, 0
        self.lock = threading.Lock()

    def reply(self, talk: Talk, said: str) -> Reply:
        with self.lock:
            self.running += 1
            self.most, self.replies = max(self.most, self.running), self.replies + 1
        time.sleep(self.takes_s)
        with self.lock:
            self.running -= 1
        talk.state["said"] = [*talk.state.get("said", []), said]
        return Reply(" ".join(talk.state["said"]))

    def look_again(self, talk: Talk, source: str) -> Row | None:
        return None


def answering(folder: Path, bot, pool: ThreadPoolExecutor, **more) -> Answering:
    database = Database(folder / "penstock.db")
    return Answering("shop", bot, ActionRequests(database, Actions(bot.actions)), KeptTalks(database), pool, **more)


def ask(
    answering: Answering, text: str, *, number: str = NUMBER, message: str = "", record: Record | None = None
) -> Answer:
    turn = Turn(text, Caller("anna"), conversation=number, message=message, language="en", record=record)
    return asyncio.run(whole(answering.stream(turn)))


def test_messages_of_one_conversation_wait_for_each_other_and_others_do_not(tmp_path: Path):
    slow = Slow(0.2)
    with ThreadPoolExecutor(8) as pool:
        made = answering(tmp_path, slow, pool)

        async def all_at_once(numbers: list[str]) -> list[Answer]:
            turns = [Turn(f"m{n}", Caller("anna"), conversation=one, language="en") for n, one in enumerate(numbers)]
            return await asyncio.gather(*(whole(made.stream(turn)) for turn in turns))

        asyncio.run(all_at_once([NUMBER] * 4))
        assert slow.most == 1
        assert len(made.talks.find(Whose("anna"), "shop", NUMBER).state["said"]) == 4
        asyncio.run(all_at_once([f"{n:08x}" + "0" * 24 for n in range(4)]))
        assert slow.most == 4


def test_too_many_that_wait_are_sent_away(tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        made = answering(tmp_path, Slow(0.1), pool)

        async def all_at_once() -> list[object]:
            turns = [Turn("hi", Caller("anna"), conversation=NUMBER, language="en") for _ in range(30)]
            return await asyncio.gather(*(whole(made.stream(turn)) for turn in turns), return_exceptions=True)

        found = asyncio.run(all_at_once())
    assert any(isinstance(one, Limited) for one in found)
    assert all(isinstance(one, Answer | Limited) for one in found)


def test_a_retry_beside_the_first_try_is_the_same_reply(tmp_path: Path):
    slow = Slow(0.2)
    with ThreadPoolExecutor(8) as pool:
        made = answering(tmp_path, slow, pool)

        async def twice() -> list[Answer]:
            turn = Turn("hi", Caller("anna"), conversation=NUMBER, message="1", language="en")
            return await asyncio.gather(whole(made.stream(turn)), whole(made.stream(turn)))

        first, second = asyncio.run(twice())
        assert first == second
        assert slow.replies == 1
        with pytest.raises(Conflict):
            ask(made, "another text", message="1")


def test_whoever_leaves_finds_the_reply_when_they_come_back(tmp_path: Path):
    slow = Slow(0.3)
    with ThreadPoolExecutor(8) as pool:
        made = answering(tmp_path, slow, pool)

        async def leaves() -> None:
            turn = Turn("hi", Caller("anna"), conversation=NUMBER, message="1", language="en")
            task = asyncio.create_task(whole(made.stream(turn)))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(leaves())
        assert ask(made, "hi", message="1").text == "hi"
        assert slow.replies == 1


def test_a_bot_that_fails_breaks_nothing(tmp_path: Path, capsys):
    class Fails(Slow):
        def reply(self, talk: Talk, said: str) -> Reply:
            talk.state["half"] = True
            if said == "fail":
                raise RuntimeError("a secret of the bot")
            return Reply(f"state {sorted(talk.state)}")

    with ThreadPoolExecutor(2) as pool:
        made = answering(tmp_path, Fails(), pool)
        said = ask(made, "fail")
        assert "went wrong" in said.text
        assert "secret" not in said.text
        assert made.talks.find(Whose("anna"), "shop", NUMBER).state == {}
        assert ask(made, "go on").text == "state ['half']"


PROGRAM = """
    import asyncio, sys, time
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    sys.path.insert(0, {source!r})
    import shop
    from test_talks import answering
    from penstock.agents.scripted import Scripted, Wanted
    from penstock.answer import whole
    from penstock.storage.database import Database
    from penstock.types import Caller, Turn
    folder, said, stop = Path(sys.argv[1]), sys.argv[2:-1], sys.argv[-1]

    def understand(talk, said, current):
        return [Wanted("cancel_order", {{"order": "#W123", "reason": "too late"}})] if "cancel" in said else []

    bot = Scripted(list(shop.bot().abilities.values()), understand=understand)
    shop.filled(Database(folder / "penstock.db"))
    made = answering(folder, bot, ThreadPoolExecutor(2))
    if stop == "before it is kept":
        def keep(kept, said, real=made.talks.keep):
            if said.text == "yes":
                print("done", flush=True)
                time.sleep(60)
            real(kept, said)
        made.talks.keep = keep
    for n, text in enumerate(said):
        turn = Turn(text, Caller("anna"), conversation={number!r}, message=text, language="en")
        print(asyncio.run(whole(made.stream(turn))).text, flush=True)
"""


def program(folder: Path, *said: str, stop: str = "") -> subprocess.Popen[str]:
    code = textwrap.dedent(PROGRAM).format(source=SOURCE, number=NUMBER)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *said, stop], stdout=subprocess.PIPE, text=True, env=os.environ
    )


def test_kill_9_in_the_middle_of_a_message_leaves_nothing_broken_and_does_nothing_twice(tmp_path: Path):
    first = program(tmp_path, "cancel it", "yes", stop="before it is kept")
    assert first.stdout
    assert "Cancel order #W123" in first.stdout.readline()
    assert (
        first.stdout.readline() == "done\n"
    )  # the order is cancelled, and nobody has written that down in the conversation
    first.send_signal(signal.SIGKILL)
    first.communicate()
    database = Database(tmp_path / "penstock.db")
    assert [tuple(row) for row in database.read("select state, times from orders where id = '#W123'")] == [
        ("cancelled", 1)
    ]

    again = program(tmp_path, "yes")
    assert "Order #W123 is cancelled." in again.communicate(timeout=120)[0]
    assert [tuple(row) for row in database.read("select state, times from orders where id = '#W123'")] == [
        ("cancelled", 1)
    ]


def test_two_processes_with_the_same_conversation_do_it_once(tmp_path: Path):
    program(tmp_path, "cancel it").communicate(timeout=120)
    both = [program(tmp_path, "yes") for _ in range(2)]
    texts = [one.communicate(timeout=120)[0] for one in both]

    assert texts[0] == texts[1]
    assert "Order #W123 is cancelled." in texts[0]
    database = Database(tmp_path / "penstock.db")
    assert [tuple(row) for row in database.read("select state, times from orders where id = '#W123'")] == [
        ("cancelled", 1)
    ]


# ---------------------------------------------------------------- numbers


class Says(Slow):
    """A bot that says what it is told, on rows as they are in a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.prices = {"lamp": 1300}
        self.read = 0
        self.changes = 0

    def look_again(self, talk: Talk, source: str) -> Row | None:
        self.read += 1
        name = source.removeprefix("prices/")
        return Row(source, {"price": self.prices[name] / 100}, "the lamp") if name in self.prices else None

    def reply(self, talk: Talk, said: str) -> Reply:
        row = self.look_again(talk, "prices/lamp")
        if said == "changes" and not self.changes:
            self.changes = 1
            self.prices["lamp"] = 1250
        if said == "keeps changing":
            self.prices["lamp"] += 1
        if said == "hello":
            return Reply("Hello.")
        wrong = "99.00" if said == "wrong" else f"{row.values['price']:.2f}"
        return Reply(f"It costs {wrong} EUR.", rows=(row,) if row else ())


def test_a_number_that_stands_nowhere_is_not_sent_and_recorded(tmp_path: Path, capsys):
    record = Record("")
    with ThreadPoolExecutor(2) as pool:
        made = answering(tmp_path, Says(), pool)
        said = ask(made, "wrong", record=record)

    assert "99" not in said.text
    assert "not sure of a figure" in said.text
    assert record.faults == ("ungrounded",)
    assert "a reply was held back" in capsys.readouterr().err


def test_a_row_that_changes_while_the_reply_is_made_makes_it_anew_once(tmp_path: Path):
    with ThreadPoolExecutor(2) as pool:
        made = answering(tmp_path, Says(), pool)
        assert ask(made, "changes").text == "It costs 12.50 EUR."
        assert "not sure of a figure" in ask(made, "keeps changing").text


def test_a_row_that_was_spoken_of_is_told_when_it_changes_or_goes(tmp_path: Path):
    says = Says()
    with ThreadPoolExecutor(2) as pool:
        made = answering(tmp_path, says, pool)
        ask(made, "price")
        assert ask(made, "hello").text == "Hello."
        says.prices["lamp"] = 1250
        first, _, rest = ask(made, "hello").text.partition("\n\n")
        assert first.endswith(" UTC: the lamp: price is now 12.5; it was 13.0.")
        assert rest == "Hello."
        del says.prices["lamp"]
        assert "the lamp is not there any more" in ask(made, "hello").text
        assert ask(made, "hello").text == "Hello."


def test_what_cannot_be_said_leaves_nothing_open(tmp_path: Path):
    """A read-back that was not shown can be agreed to by nobody."""
    from penstock.agents.scripted import Ability, Scripted, Slot

    _, cancel, _ = bot().actions
    made = Scripted(
        [Ability(cancel, ["cancel"], "Done.", {"order": Slot("?"), "reason": Slot("?")})],
        understand=lambda talk, said, current: (
            [Wanted("cancel_order", {"order": "#W123", "reason": "too late"})] if said == "c" else []
        ),
    )
    filled(Database(tmp_path / "penstock.db"))

    class Lies(Scripted):
        def reply(self, talk: Talk, said: str) -> Reply:
            found = made.reply(talk, said)
            return Reply(found.text.replace("25.99", "1.00"), found.quick_replies, found.rows)

    lies = Lies(list(made.abilities.values()))
    with ThreadPoolExecutor(2) as pool:
        engine = answering(tmp_path, lies, pool)
        assert "not sure of a figure" in ask(engine, "c").text
        ask(engine, "yes")
    state = Database(tmp_path / "penstock.db").read("select state from orders where id = '#W123'")
    assert state[0][0] == "paid"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("The price is 12.50 EUR.", []), ("12,50 €", []), ("12.5", []), ("It is 12.51 EUR.", ["12.51"]), ("1250 EUR", ["1250"]),
        ("on 30 November 2026", []), ("on 2026-11-30", []), ("on 29 November 2026", ["29", "2026"]), ("2026-11-29", ["2026-11-29"]),
        ("order #W123", []), ("order #W124", ["#W124"]), ("3 things", []), ("4 things", ["4"]), ("3 EUR", ["3"]),
        ("3.00", ["3.00"]),
        ("parcel 1Z999AA1", []),
        ("1z999aa1", []), ("1Z999AA2", ["1Z999AA2"]), ("You said #W999.", []), ("You said 5 EUR.", ["5"]), ("1. red\n2. blue", []),
        ("1. red\n4. blue", ["4"]), ("a 3-part lamp", []), ("1,234.50 EUR", []), ("1234.5", []),
        ("12345", ["12345"]),
        ("", []), ("nothing at all", []), ("at 14:02", ["14:02"]),
    ],
)  # fmt: skip
def test_each_number_stands_in_a_row_or_a_quote_or_is_an_echo(text: str, missing: list[str]):
    from decimal import Decimal

    row = Row(
        "orders/#W123",
        {
            "price": Decimal("12.5"),
            "items": ["a", "b", "c"],
            "placed": "2026-11-30",
            "parcel": "1Z999AA1",
            "sum": 1234.5,
        },
    )

    assert Founded([row], echoes=["what about #W999 for 5 EUR?"]).missing(text) == missing


def test_a_million_characters_are_looked_at_in_time():
    begun = time.process_time()
    Founded(texts=["1,234 " * 100_000], echoes=["9" * 1_000_000]).missing("7 " * 10_000)

    assert time.process_time() - begun < 5
