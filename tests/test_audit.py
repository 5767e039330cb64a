"""The audit trail: nothing in it is changed, taken out, put in, put elsewhere or cut off unseen, and no name is in the chain."""

import hashlib
import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import KEYS, WITH_KEYS, serving

from penstock.cli.main import cli
from penstock.documents.library import Library
from penstock.errors import PenstockError
from penstock.keys import Keys
from penstock.storage import audit as module
from penstock.storage.audit import GENESIS, KINDS, SIGNED, Audit, Note, acting
from penstock.storage.database import Database
from penstock.storage.ocsf import SHAPES, event
from penstock.testing import WordEmbedder

Make = Callable[[], Audit]


@pytest.fixture
def make(home: Path) -> Iterator[Make]:
    """The trail of the test's home, as several processes see it."""
    opened: list[Audit] = []

    def make() -> Audit:
        opened.append(Audit(Database(home / "penstock.db")))
        return opened[-1]

    yield make
    for audit in opened:
        audit.close()
        audit.database.close()


@pytest.fixture
def audit(make: Make) -> Audit:
    return make()


def filled(audit: Audit, batches: int = 5, size: int = 4) -> Audit:
    """Twenty records under five signatures."""
    for batch in range(batches):
        notes = [Note(KINDS[(batch + n) % len(KINDS)], f"target {n % 3}", {"n": n}) for n in range(1, size)]
        with audit.changing("key.created", actor=f"actor {batch % 2}", target="target 0", also=notes, batch=batch):
            pass
    return audit


# ---------------------------------------------------------------- written


def test_what_was_recorded_is_read_with_who_what_and_when(audit: Audit):
    before = time.time()
    audit.record("key.created", actor="boss", target="shop", admin=True, roles=["hr"])
    token = acting.set("clerk")
    with audit.changing("key.revoked", target="shop"):
        pass
    acting.reset(token)
    audit.drain()

    first, second = sorted(audit.records(), key=lambda record: record.kind)

    assert (first.kind, first.actor, first.target) == ("key.created", "boss", "shop")
    assert first.facts == {"admin": True, "roles": ["hr"]}
    assert before - 1 < first.at / 1000 < time.time() + 1
    assert (second.kind, second.actor, second.target) == ("key.revoked", "clerk", "shop")
    assert [record.number for record in audit.records()] == [1, 2]
    assert audit.verify().problems == ()


def test_without_a_caller_the_user_of_the_machine_acts(audit: Audit):
    audit.write("policy.changed", target="default")

    assert next(audit.records()).actor.startswith("local")


def test_a_change_that_fails_is_not_recorded_and_one_that_cannot_be_recorded_is_not_made(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
):
    filled(audit, 1)
    with audit.database.write() as w:
        w.execute("create table things (name text)")

    def changed(target: str) -> None:
        with audit.changing("key.created", target=target) as w:
            w.execute("insert into things values (?)", (target,))
            if target == "a":
                raise RuntimeError

    with pytest.raises(RuntimeError):
        changed("a")

    monkeypatch.setattr(module, "_name_id", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        changed("b")

    assert audit.database.read("select * from things") == []
    assert audit.verify().records == 4


def test_several_processes_write_one_chain(make: Make):
    trails = [make() for _ in range(4)]
    filled(trails[0], 1)

    def write(audit: Audit, n: int) -> None:
        for m in range(20):
            audit.record("request.blocked", actor=f"a{n}", target=f"t{m}")
            if m % 5 == 0:
                audit.write("key.created", target=f"k{m}")
        audit.drain()

    threads = [threading.Thread(target=write, args=(audit, n)) for n, audit in enumerate(trails)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    verdict = trails[0].verify()
    assert (verdict.records, verdict.problems) == (4 + 4 * 24, ())


@pytest.mark.parametrize("text", ["", "\x00", "\ud800", "x" * 100_000, '"}\n{"', "名前 🎁", '"kind":"subject.erased"'])
def test_any_text_can_be_a_name_or_a_fact(audit: Audit, text: str):
    audit.record("document.added", actor=text, target=text, said=text)
    audit.drain()

    (found,) = audit.records()
    assert found.target == text.encode("utf-8", "replace").decode()
    assert audit.verify().problems == ()


def test_the_chain_itself_holds_no_name(audit: Audit):
    audit.write("document.added", target="anna's cv.pdf", actor="anna@example.com")

    chain = "".join(record for (record,) in audit.database.read("select record from audit"))
    assert "anna" not in chain


def test_the_key_that_signs_can_be_read_by_its_owner_alone(audit: Audit, home: Path):
    filled(audit, 1)

    assert stat.S_IMODE((home / "audit" / "key.pem").stat().st_mode) == 0o600


# ---------------------------------------------------------------- a process that is killed

PROGRAM = """
import sys
from pathlib import Path
from penstock.storage import audit
from penstock.storage.database import Database
audit.EVERY_S = float(sys.argv[2])
trail = audit.Audit(Database(Path(sys.argv[1]) / "penstock.db"))
n = 0
while True:
    trail.record("request.blocked", target="chat", n=n)
    n += 1
    print(n, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("every_s", ["0.01", "600"])
def test_what_was_acknowledged_survives_the_process_being_killed(make: Make, home: Path, every_s: str):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(home), every_s], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if int(line) >= 500:
            break
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    acknowledged = int(rest[-1]) if rest else 500

    found = [record.facts["n"] for record in make().records()]

    assert found[:acknowledged] == list(range(acknowledged))
    assert found == list(range(len(found)))  # each once
    assert make().verify().problems == ()
    assert not list((home / "audit" / "spool").glob("*.spool"))


def test_what_was_stored_and_not_yet_forgotten_when_the_process_died_is_there_once(
    audit: Audit, make: Make, home: Path
):
    audit.record("key.created", target="shop")
    (spool,) = (home / "audit" / "spool").glob("*.spool")
    content = spool.read_bytes()
    audit.drain()
    audit.close()
    spool.with_name("1-dead.1.spool").write_bytes(content)
    with audit.database.write() as w:
        w.execute("insert into audit_spools values ('1-dead.1.spool')")

    assert len(list(make().records())) == 1
    assert not spool.with_name("1-dead.1.spool").exists()


def test_while_the_database_is_locked_records_wait(audit: Audit, home: Path, monkeypatch: pytest.MonkeyPatch):
    filled(audit, 1)
    monkeypatch.setattr("penstock.storage.database.BUSY_S", 0.05)
    waiting = Audit(Database(home / "penstock.db"))
    with closing(sqlite3.connect(home / "penstock.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        waiting.record("key.created", target="shop")
        with pytest.raises(PenstockError):
            waiting.drain()
        other.execute("rollback")
    waiting.drain()

    assert audit.verify().records == 5
    waiting.close()
    waiting.database.close()


# ---------------------------------------------------------------- changed


class Attacker:
    """Somebody who may write every file but has not the key."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.anchors = home / "audit" / "anchors.jsonl"

    def run(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.home / "penstock.db")) as database, database:
            database.execute("pragma synchronous = off")
            database.execute(sql, values)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.home / "penstock.db")) as database:
            return database.execute(sql).fetchall()

    def rechain(self) -> None:
        """Make all hashes fit, as whoever reads this code can."""
        head = GENESIS
        for number, record in self.rows("select number, record from audit order by number"):
            head = hashlib.sha256(head + str(record).encode()).digest()
            self.run("update audit set hash = ? where number = ?", head, number)


@pytest.fixture
def attacked(audit: Audit, home: Path) -> Attacker:
    filled(audit)
    return Attacker(home)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_any_row_is_found(audit: Audit, home: Path, data: st.DataObject):
    if not (home / "penstock.db").exists():
        filled(audit)
    attacker = Attacker(home)
    columns = {
        "audit": ("record", "hash"),
        "audit_checkpoints": ("head", "key", "digest", "signature"),
        "audit_names": ("id", "name", "salt"),
    }
    table = data.draw(st.sampled_from(sorted(columns)))
    column = data.draw(st.sampled_from(columns[table]))
    count = attacker.rows(f"select count(*) from {table}")[0][0]
    rowid = data.draw(st.sampled_from([row for (row,) in attacker.rows(f"select rowid from {table}")]))
    ((value, kind),) = attacker.rows(
        f"select cast({column} as blob), typeof({column}) from {table} where rowid = {rowid}"
    )
    assert count
    assert isinstance(value, bytes)
    at = data.draw(st.integers(0, len(value) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != value[at]))
    changed = value[:at] + bytes([byte]) + value[at + 1 :]
    cast = "cast(? as text)" if kind == "text" else "?"

    attacker.run(f"update {table} set {column} = {cast} where rowid = {rowid}", changed)
    verdict = audit.verify()
    attacker.run(f"update {table} set {column} = {cast} where rowid = {rowid}", value)

    assert verdict.problems
    if table == "audit":
        assert verdict.first_bad == rowid
    assert audit.verify().problems == ()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_the_anchors_is_found(audit: Audit, home: Path, data: st.DataObject):
    if not (home / "penstock.db").exists():
        filled(audit)
    anchors = home / "audit" / "anchors.jsonl"
    whole = anchors.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))

    anchors.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
    verdict = audit.verify()
    anchors.write_bytes(whole)

    assert verdict.problems


@pytest.mark.parametrize("number", [1, 7, 12, 20])
def test_a_record_that_was_taken_out_is_missed(audit: Audit, attacked: Attacker, number: int):
    attacked.run("delete from audit where number = ?", number)

    assert audit.verify().first_bad == number


@pytest.mark.parametrize("number", [1, 7, 12, 20])
def test_a_record_that_was_taken_out_is_missed_where_the_others_move_up_and_all_hashes_fit(
    audit: Audit, attacked: Attacker, number: int
):
    attacked.run("delete from audit where number = ?", number)
    for later in range(number + 1, 21):
        attacked.run("update audit set number = ? where number = ?", later - 1, later)
    attacked.rechain()

    verdict = audit.verify()
    assert verdict.first_bad is not None
    assert (number - 1) // 4 * 4 < verdict.first_bad <= number  # as near as the signatures stand


@pytest.mark.parametrize("rehash", [False, True])
def test_records_that_changed_places_are_found(audit: Audit, attacked: Attacker, rehash: bool):
    for one, other in ((6, 0), (15, 6), (0, 15)):
        attacked.run("update audit set number = ? where number = ?", other, one)
    if rehash:
        attacked.rechain()

    first = audit.verify().first_bad
    assert first in ((5, 6) if rehash else (6,))


@pytest.mark.parametrize("number", [0, 7, 21])
@pytest.mark.parametrize("rehash", [False, True])
def test_a_record_that_was_put_in_is_found(audit: Audit, attacked: Attacker, number: int, rehash: bool):
    for later in range(20, max(number, 1) - 1, -1) if number else ():
        attacked.run("update audit set number = ? where number = ?", later + 1, later)
    attacked.run("insert into audit select ?, record, hash from audit where number = 3", number)
    if rehash:
        attacked.rechain()

    verdict = audit.verify()
    assert verdict.first_bad is not None
    assert verdict.first_bad <= max(number, 0)


@pytest.mark.parametrize("left", [0, 1, 8, 19])
def test_a_tail_that_was_cut_off_is_missed_with_its_signatures_or_without(audit: Audit, attacked: Attacker, left: int):
    attacked.run("delete from audit where number > ?", left)
    assert audit.verify().first_bad == left + 1

    attacked.run("delete from audit_checkpoints where records > ?", left)
    assert audit.verify().first_bad == left // 4 * 4 + 1


def test_what_is_written_after_a_cut_does_not_hide_it(audit: Audit, attacked: Attacker, make: Make):
    attacked.run("delete from audit where number > 8")
    attacked.run("delete from audit_checkpoints where records > 8")
    filled(make(), 8)

    assert audit.verify().first_bad == 9


def test_a_cut_of_database_and_anchors_together_is_found_by_a_copy_that_was_kept_elsewhere(
    audit: Audit, attacked: Attacker, tmp_path: Path
):
    copy = tmp_path / "anchors.jsonl"
    copy.write_bytes(attacked.anchors.read_bytes())
    filled(audit, 1)
    assert audit.verify(anchors=copy).problems == ()  # an older copy agrees

    attacked.run("delete from audit where number > 8")
    attacked.run("delete from audit_checkpoints where records > 8")
    attacked.anchors.write_bytes(b"".join(attacked.anchors.read_bytes().splitlines(keepends=True)[:2]))

    assert audit.verify().problems == ()  # nothing here can tell
    assert audit.verify(anchors=copy).first_bad == 9


def test_a_chain_that_was_made_anew_with_another_key_is_found_by_a_copy(
    audit: Audit, attacked: Attacker, tmp_path: Path, make: Make
):
    copy = tmp_path / "anchors.jsonl"
    copy.write_bytes(attacked.anchors.read_bytes())
    for table in ("audit", "audit_checkpoints"):
        attacked.run(f"delete from {table}")
    attacked.anchors.unlink()
    (attacked.home / "audit" / "key.pem").unlink()
    filled(make())

    assert make().verify().problems == ()
    assert make().verify(anchors=copy).first_bad == 1


def test_whoever_signs_with_a_key_of_their_own_is_found(audit: Audit, attacked: Attacker):
    own = Ed25519PrivateKey.generate()
    ((digest,),) = attacked.rows("select digest from audit_checkpoints where records = 20")
    assert isinstance(digest, bytes)
    attacked.run("update audit_checkpoints set signature = ? where records = 20", own.sign(SIGNED + digest))
    assert audit.verify().problems

    attacked.run("update audit_checkpoints set key = ? where records = 20", own.public_key().public_bytes_raw())
    assert audit.verify().problems


def test_anchors_that_were_cut_are_missed_and_the_last_may_be_on_its_way(audit: Audit, attacked: Attacker):
    lines = attacked.anchors.read_bytes().splitlines(keepends=True)

    attacked.anchors.write_bytes(b"".join(lines[:-1]))
    assert audit.verify().problems == ()
    for left in (lines[:-2], lines[1:], [], [*lines, lines[-1]], [*lines[:2], *lines[3:]]):
        attacked.anchors.write_bytes(b"".join(left))
        assert audit.verify().problems, left
    attacked.anchors.write_bytes(b"".join(lines[:-1]) + lines[-1][:30])  # a power cut
    filled(audit, 1)
    assert audit.verify().problems == ()


def test_a_record_that_was_never_signed_is_found(audit: Audit, attacked: Attacker):
    ((head,),) = attacked.rows("select hash from audit where number = 20")
    record = attacked.rows("select record from audit where number = 5")[0][0]
    assert isinstance(head, bytes)
    attacked.run("insert into audit values (21, ?, ?)", record, hashlib.sha256(head + str(record).encode()).digest())

    assert audit.verify().first_bad == 21


def test_a_name_that_was_put_in_place_of_another_or_taken_out_is_found(audit: Audit, attacked: Attacker):
    ((name,),) = attacked.rows("select name from audit_names where name = 'actor 1'")
    attacked.run("update audit_names set name = 'somebody else' where name = ?", name)
    assert "name was changed" in audit.verify().problems[0].text

    attacked.run("update audit_names set name = ? where name = 'somebody else'", name)
    attacked.run("delete from audit_names where name = ?", name)
    assert "taken out" in audit.verify().problems[0].text


def test_bytes_flipped_in_the_database_file_are_found_or_change_nothing(audit: Audit, attacked: Attacker, home: Path):
    audit.database.read("pragma wal_checkpoint(truncate)")
    before = [tuple(record) for record in audit.records()]
    audit.close()
    audit.database.close()
    file, drawn = home / "penstock.db", random.Random(7)
    whole = file.read_bytes()
    for _ in range(60):
        at = drawn.randrange(100, len(whole))
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << drawn.randrange(8)]) + whole[at + 1 :])
        fresh = Audit(Database(file))
        try:
            same = fresh.verify().problems != () or [tuple(record) for record in fresh.records()] == before
        except (PenstockError, sqlite3.Error):
            same = True  # it says that it cannot be read
        fresh.database.close()
        for left in home.glob("penstock.db-*"):
            left.unlink()
        file.write_bytes(whole)
        assert same, at


# ---------------------------------------------------------------- forgotten names


def test_a_name_that_is_forgotten_is_nowhere_and_the_chain_still_verifies(audit: Audit):
    audit.write("document.added", target="cv of anna", actor="anna")
    audit.write("key.created", target="shop", actor="anna")

    number, _ = audit.forget(["anna", "cv of anna", "nobody"], {"passages": 3})

    assert number == 3
    assert audit.verify().problems == ()
    kept = list(audit.records())
    assert [(record.actor, record.target) for record in kept[:2]] == [("", ""), ("", "shop")]
    assert (kept[2].kind, kept[2].facts["passages"]) == ("subject.erased", 3)
    assert set(kept[2].facts["names"]) == {kept[0].actor_id, kept[0].target_id}


def test_whoever_erases_themselves_is_not_named_by_it(audit: Audit):
    audit.write("key.created", target="shop", actor="anna")
    token = acting.set("anna")
    audit.forget(["anna"], {})
    acting.reset(token)

    assert "anna" not in audit.names().values()
    assert audit.verify().problems == ()


# ---------------------------------------------------------------- who writes it


def test_what_is_done_with_keys_is_recorded_with_it(audit: Audit):
    keys = Keys(audit.database, {})
    keys.create("shop", roles=["hr"], admin=True)
    keys.rotate("shop", grace_s=60)
    keys.revoke("shop")
    keys.remove("shop")

    assert [(record.kind, record.target) for record in audit.records()] == [
        ("key.created", "shop"), ("key.rotated", "shop"), ("key.revoked", "shop"), ("key.removed", "shop"),
    ]  # fmt: skip
    assert next(audit.records()).facts == {"admin": True, "models": [], "roles": ["hr"]}


# ---------------------------------------------------------------- listed, verified, exported


def run(home: Path, *arguments: str) -> tuple[int, str]:
    os.environ["PENSTOCK_HOME"] = str(home)
    try:
        done = CliRunner().invoke(cli, ["audit", *arguments])
    finally:
        del os.environ["PENSTOCK_HOME"]
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_the_terminal_lists_what_is_asked_for(audit: Audit, home: Path):
    filled(audit)
    audit.write("key.created", target="shop", actor="boss", admin=True)

    _, whole = run(home, "list")
    _, chosen = run(home, "list", "--kind", "key.*", "--actor", "boss", "--json")

    assert len(whole.splitlines()) == 22
    assert [record["target"] for record in json.loads(chosen)] == ["shop"]
    assert run(home, "list", "--actor", "nobody")[1] == "no such record\n"
    assert json.loads(run(home, "list", "--since", "2999-01-01", "--json")[1]) == []


def test_the_terminal_says_whether_the_trail_is_whole_and_ends_so(audit: Audit, home: Path, attacked: Attacker):
    status, text = run(home, "verify")
    assert (status, text) == (0, "20 records and 5 signatures are as they were written\n")

    attacked.run("update audit set record = replace(record, '1', '2') where number = 6")
    status, text = run(home, "verify")
    assert status == 1
    assert "record 6 is not as it was written" in text
    status, text = run(home, "verify", "--json")
    assert (status, json.loads(text)["first_bad"]) == (1, 6)


def test_a_restored_home_says_so_and_its_trail_is_whole(audit: Audit, home: Path, tmp_path: Path):
    filled(audit)
    CliRunner().invoke(
        cli, ["backup", str(tmp_path / "a.tar")], env={"PENSTOCK_HOME": str(home)}, catch_exceptions=False
    )
    other = {"PENSTOCK_HOME": str(tmp_path / "other")}
    CliRunner().invoke(cli, ["restore", str(tmp_path / "a.tar")], env=other, catch_exceptions=False)

    restored = Audit(Database(tmp_path / "other" / "penstock.db"))
    assert restored.verify().problems == ()
    assert [record.kind for record in restored.records()][20:] == ["home.restored"]
    restored.database.close()


def test_an_empty_home_stays_empty(home: Path):
    with pytest.raises(PenstockError, match="nothing recorded"):
        run(home, "verify")
    assert not home.exists()


CLASSES = {3001: 3, 3002: 3, 3004: 3, 6003: 6}


def test_every_kind_is_exported_as_an_event_of_ocsf(audit: Audit, home: Path):
    for kind in KINDS:
        audit.record(kind, actor="boss", target="shop", n=1)
    audit.drain()

    _, text = run(home, "export")

    events = [json.loads(line) for line in text.splitlines()]
    assert len(events) == len(KINDS) == len(SHAPES)
    for found, record in zip(events, audit.records(), strict=False):
        assert CLASSES[found["class_uid"]] == found["category_uid"]
        assert found["type_uid"] == found["class_uid"] * 100 + found["activity_id"]
        assert found["time"] == record.at
        assert found["severity_id"] in range(1, 7)
        assert (found["metadata"]["version"], found["metadata"]["product"]["name"]) == ("1.3.0", "Penstock")
        assert found["actor"]["user"]["name"] == "boss"
        assert found["unmapped"]["kind"] == record.kind
        needed = {3001: "user", 3002: "user", 3004: "entity", 6003: "api"}[found["class_uid"]]
        assert needed in found
    assert [record.kind for record in audit.records()][-1] == "audit.exported"


def test_an_erased_name_is_exported_by_its_id(audit: Audit):
    audit.write("key.created", target="shop", actor="anna")
    audit.forget(["anna"], {})

    found = event(next(audit.records()))

    assert found["actor"]["user"].keys() == {"uid"}


def test_what_is_done_with_documents_is_recorded_with_whoever_did_it(
    make_library: Callable[..., Library], folder: Path, audit: Audit
):
    token = acting.set("clerk")
    library = make_library()
    collection = library.create("shop")
    collection.add([str(folder)])
    collection.put("prices.txt", b"Books cost ten kroner.")
    collection.remove("prices.txt")
    collection.use("previous")
    acting.reset(token)
    library.remove("shop")

    found = [(record.kind, record.actor == "clerk", record.target) for record in audit.records()]
    added = [("document.added", True, f"shop/{name}") for name in ("hours.txt", "returns.md", "shipping.md")]
    assert found == [
        ("collection.created", True, "shop"),
        ("version.published", True, "shop"), *added,
        ("version.published", True, "shop"), ("document.added", True, "shop/prices.txt"),
        ("version.published", True, "shop"), ("document.removed", True, "shop/prices.txt"),
        ("version.rolled_back", True, "shop"),
        ("collection.removed", False, "shop"),
    ]  # fmt: skip
    assert audit.verify().problems == ()


def test_over_http_the_holder_of_the_key_is_who_acts(tmp_path: Path):

    with serving(tmp_path / "shop", WITH_KEYS, embedder=WordEmbedder()) as served:
        boss = served.client(KEYS["boss"])
        assert (
            boss.post("/api/collections/handbook/documents?name=a.txt", content=b"Open on Mondays.").status_code == 201
        )
        assert boss.post("/api/keys", json={"name": "shop"}).status_code == 201
        trail = list(Audit(served.house.database).records())

    done = {(record.kind, record.target): record.actor for record in trail}
    assert done["document.added", "handbook/a.txt"] == "boss"
    assert done["key.created", "shop"] == "boss"


# ---------------------------------------------------------------- kept for a time


@pytest.fixture
def spread(audit: Audit, home: Path, monkeypatch: pytest.MonkeyPatch) -> Attacker:
    """Twenty records under five signatures, a day apart."""
    day = [0]
    monkeypatch.setattr(module.time, "time_ns", lambda: 1_700_000_000_000_000_000 + day[0] * 86_400_000_000_000)
    for batch in range(5):
        day[0] = batch
        filled(audit, batches=1)
    monkeypatch.undo()
    return Attacker(home)


def day(number: float) -> float:
    return 1_700_000_000 + number * 86_400


def test_records_past_their_time_go_as_far_as_a_signature_and_the_rest_still_verifies(audit: Audit, spread: Attacker):
    removed = audit.prune(day(1.5))

    verdict = audit.verify()
    assert removed == 8
    assert verdict.problems == ()
    assert (verdict.records, verdict.pruned) == (13, 8)
    assert next(audit.records()).number == 9
    last = next(audit.records(newest=True))
    assert (last.kind, last.facts["records"]) == ("audit.pruned", 8)


def test_what_is_written_after_a_pruning_and_another_pruning_verify_too(audit: Audit, spread: Attacker):
    audit.prune(day(0.5))
    audit.write("key.created", target="later")
    audit.prune(day(3.5))

    verdict = audit.verify()
    assert verdict.problems == ()
    assert verdict.pruned == 16
    assert audit.prune(day(3.5)) == 0
    assert audit.verify().records == verdict.records


def test_the_last_records_are_never_pruned(audit: Audit, spread: Attacker):
    assert audit.prune(time.time() + 1_000) == 16

    assert audit.verify().problems == ()


def test_names_that_no_record_is_about_any_more_are_forgotten(audit: Audit, home: Path):
    audit.write("key.created", target="early")
    time.sleep(0.002)
    moment = time.time()
    audit.write("key.created", target="late")

    audit.prune(moment)

    names = set(audit.names().values())
    assert "late" in names
    assert "early" not in names
    assert audit.verify().problems == ()


def test_taking_records_out_at_the_beginning_by_hand_is_found(audit: Audit, spread: Attacker):
    spread.run("delete from audit where number <= 8")

    assert audit.verify().first_bad == 1


def test_taking_more_out_than_was_pruned_is_found(audit: Audit, spread: Attacker):
    audit.prune(day(1.5))
    spread.run("delete from audit where number <= 12")

    assert audit.verify().problems


@pytest.mark.parametrize("number", [9, 12, 20, 21])
def test_after_a_pruning_a_changed_record_is_found(audit: Audit, spread: Attacker, number: int):
    audit.prune(day(1.5))
    spread.run("update audit set record = replace(record, 'at', 'ta') where number = ?", number)

    assert audit.verify().first_bad == number


def test_after_a_pruning_the_old_anchors_still_agree(audit: Audit, spread: Attacker, tmp_path: Path):
    kept = tmp_path / "anchors.jsonl"
    kept.write_bytes(spread.anchors.read_bytes())

    audit.prune(day(1.5))

    assert audit.verify(anchors=kept).problems == ()
