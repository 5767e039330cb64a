"""Signing in by a code: what is said is the same for everybody, tries are few, and nothing of it is kept in the clear."""

import re
import threading
import time
from pathlib import Path

import pytest
from shop import Played, bot

from penstock.agents.actions import Person
from penstock.agents.scripted import Scripted, Wanted
from penstock.agents.sign_in import EmailCode, EmailSayings, ToFolder
from penstock.agents.talks import Talk
from penstock.agents.tries import Limit, Tries
from penstock.errors import UpstreamError
from penstock.storage.database import Database
from penstock.types import Caller

SAYS = EmailSayings()
CANCEL = Wanted("cancel_order", {"order": "#W123", "reason": "too late"})


class Post:
    """Satisfies `Mailer`."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.broken = False

    def send(self, to: str, subject: str, text: str) -> None:
        if self.broken:
            raise UpstreamError("the mail server could not be used")
        self.sent.append((to, re.search(r"\d{6}", text)[0]))

    def code(self, number: int = 1) -> str:
        until = time.monotonic() + 20
        while len(self.sent) < number and time.monotonic() < until:
            time.sleep(0.01)
        return self.sent[number - 1][1]


class Door:
    def __init__(self, folder: Path) -> None:
        self.post = Post()
        self.database = Database(folder / "penstock.db")
        self.secret = b"s" * 32
        self.people = {"anna@example.com": Person("anna", "verified")}
        self.sign_in = self.made()

    def made(self) -> EmailCode:
        return EmailCode(self.database, lambda: self.secret, self.people.get, self.post)

    def talk(self, number: str = "a" * 32, caller: str = "shop") -> Talk:
        talk = Talk(number, "shop", None, caller=Caller(caller))
        self.sign_in.begin(talk, "verified", "")
        return talk


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


def test_a_code_that_came_by_mail_says_who_it_is(door: Door):
    talk = door.talk()
    asked = door.sign_in.go_on(talk, "it is Anna@Example.com.")
    done = door.sign_in.go_on(talk, f"the code is {door.post.code()}")

    assert asked.text == SAYS.sent
    assert asked.person is None
    assert done.person == Person("anna", "verified")


def test_nobody_learns_whether_an_address_is_known(door: Door):
    known, unknown = door.talk("a" * 32), door.talk("b" * 32)

    for said in ("anna@example.com", "000000", "again", "hello", "111111"):
        said_to_other = said.replace("anna", "nobody")
        assert door.sign_in.go_on(known, said)[:2] == door.sign_in.go_on(unknown, said_to_other)[:2]
    door.post.code(2)
    assert {to for to, _ in door.post.sent} == {"anna@example.com"}


def test_a_code_works_in_the_conversation_that_asked_for_it_alone(door: Door):
    first, second = door.talk("a" * 32), door.talk("b" * 32)
    door.sign_in.go_on(first, "anna@example.com")
    code = door.post.code()
    door.sign_in.go_on(second, "anna@example.com")
    other = door.post.code(2)

    assert door.sign_in.go_on(second, code).person is None or code == other
    assert door.sign_in.go_on(first, code).person is not None


def test_a_new_code_makes_the_old_one_void(door: Door):
    talk = door.talk()
    door.sign_in.go_on(talk, "anna@example.com")
    first = door.post.code()
    door.sign_in.go_on(talk, "again please")
    second = door.post.code(2)

    assert door.sign_in.go_on(talk, first).person is None or first == second
    assert door.sign_in.go_on(talk, second).person is not None


def test_a_code_is_too_old_after_ten_minutes(door: Door):
    talk = door.talk()
    door.sign_in.go_on(talk, "anna@example.com")
    code = door.post.code()
    with door.database.write() as w:
        w.execute("update sign_in_codes set expires = expires - 601")

    assert door.sign_in.go_on(talk, code).person is None


def test_after_five_wrong_codes_nobody_signs_in_in_that_conversation(door: Door):
    talk = door.talk()
    door.sign_in.go_on(talk, "anna@example.com")
    code = door.post.code()
    for _ in range(5):
        assert door.sign_in.go_on(talk, wrong(code)).text == SAYS.wrong
    locked = door.sign_in.go_on(talk, code)

    assert (locked.text, locked.over, locked.person) == (SAYS.locked, True, None)


def test_after_ten_wrong_codes_nobody_signs_in_as_that_person_from_anywhere(door: Door):
    for n in range(2):
        talk = door.talk(f"{n:032x}")
        door.sign_in.go_on(talk, "anna@example.com")
        for _ in range(5):
            door.sign_in.go_on(talk, wrong(door.post.code(n + 1)))
    door.sign_in = door.made()  # another process, or the next day's
    talk = door.talk("c" * 32, caller="another")
    door.sign_in.go_on(talk, "anna@example.com")

    assert door.sign_in.go_on(talk, door.post.code(3)).text == SAYS.locked


def test_fifty_tries_at_once_are_fifty(door: Door):
    talk = door.talk()
    door.sign_in.go_on(talk, "anna@example.com")
    code, found = door.post.code(), []

    def tried() -> None:
        found.append(door.sign_in.go_on(talk, wrong(code)).text)

    threads = [threading.Thread(target=tried) for _ in range(50)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found.count(SAYS.wrong) == 5
    assert found.count(SAYS.locked) == 45


def test_nobody_is_sent_more_than_a_few_mails(door: Door):
    talk = door.talk()
    for _ in range(20):
        assert door.sign_in.go_on(talk, "anna@example.com").text == SAYS.sent
    time.sleep(0.3)

    assert len(door.post.sent) <= 5


def test_a_mail_server_that_is_down_says_nothing_of_who_is_known(door: Door, capsys):
    door.post.broken = True

    assert door.sign_in.go_on(door.talk(), "anna@example.com").text == SAYS.sent


def test_neither_codes_nor_addresses_are_kept_in_the_clear(door: Door, tmp_path: Path):
    talk = door.talk()
    door.sign_in.go_on(talk, "anna@example.com")
    code = door.post.code()
    door.sign_in.go_on(talk, wrong(code))
    door.database.read("pragma wal_checkpoint(truncate)")
    written = b"".join(path.read_bytes() for path in tmp_path.glob("penstock.db*"))

    assert b"anna@" not in written
    assert code.encode() not in written


def test_what_is_no_answer_is_asked_again(door: Door):
    talk = door.talk()

    assert not door.sign_in.go_on(talk, "what do you mean?").heard
    door.sign_in.go_on(talk, "anna@example.com")
    for said in ("12345", "x" * 100_000, "1234567", "", "anna@", "@example.com"):
        step = door.sign_in.go_on(talk, said)
        assert (step.person, step.heard) == (None, False), said[:10]


def test_a_bot_signs_somebody_in_and_goes_on_with_what_was_wanted(tmp_path: Path):
    door = Door(tmp_path / "door")
    abilities = list(bot(level="verified").abilities.values())
    made = Scripted(
        abilities, sign_in=door.sign_in,
        understand=lambda talk, said, _: [CANCEL] if "cancel" in said else [],
    )  # fmt: skip
    anna = Played(tmp_path, made)

    assert anna.says("cancel it").text == SAYS.ask
    assert anna.says("anna@example.com").text == SAYS.sent
    assert "\n\nCancel order #W123" in anna.says(door.post.code()).text
    assert anna.talk.person == Person("anna", "verified")
    assert "sign_in" not in anna.talk.state
    anna.says("yes")
    assert anna.order("#W123") == ("cancelled", 1)


def test_a_clock_that_goes_back_frees_nobody(tmp_path: Path, monkeypatch):
    tries = Tries(Database(tmp_path / "penstock.db"), lambda: b"k" * 32)
    limit = [Limit("person/anna", 2, 3600.0)]
    assert tries.begin(limit)
    assert tries.begin(limit)
    assert not tries.begin(limit)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 7200)

    assert not tries.begin(limit)


def test_a_try_that_was_right_does_not_count(tmp_path: Path):
    tries = Tries(Database(tmp_path / "penstock.db"), lambda: b"k" * 32)
    for _ in range(5):
        tries.forgive(tries.begin([Limit("person/anna", 1, 3600.0)]))

    assert tries.begin([Limit("person/anna", 1, 3600.0)])


def test_for_trying_out_mails_are_files(tmp_path: Path):
    ToFolder(tmp_path / "mails").send("anna@example.com", "Your code", "123456")

    (mail,) = (tmp_path / "mails").iterdir()
    assert "123456" in mail.read_text()
