"""The vault: tokens that stay, for one tenant and no other, and that are gone for good when they are erased."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import StorageError
from penstock.guard.masking import Scope, masked, restored
from penstock.guard.vault import Lookup, Vault
from penstock.storage.database import Database
from penstock.storage.envelope import Envelope, FileKeys
from penstock.types import Finding

MakeVault = Callable[..., Vault]

VALUES = st.text(st.characters(exclude_categories=()), max_size=20)
PEOPLE = ("Anna Schmidt", "Schmidt, Anna", "Frau Schmidt", "ANNA SCHMIDT", "Anna")


@pytest.fixture
def make(home: Path) -> Iterator[MakeVault]:
    """The vault of the test's home, as several processes see it."""
    opened: list[Database] = []

    def make(seen: Callable[[Lookup], None] | None = None) -> Vault:
        opened.append(Database(home / "penstock.db"))
        return Vault(opened[-1], Envelope(opened[-1], FileKeys(home / "keys")), seen=seen)

    yield make
    for database in opened:
        database.close()


@pytest.fixture
def vault(make: MakeVault) -> Vault:
    return make()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else is at work: a rotation need not wait for them."""
    monkeypatch.setattr("penstock.guard.vault.REMEMBERED_S", 0.0)


def everything(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


# ---------------------------------------------------------------- kept


def test_a_token_is_the_same_today_and_tomorrow(make: MakeVault):
    today = [make().scope("acme", "chat 1").token("PERSON", name) for name in PEOPLE]
    tomorrow = make().scope("acme", "chat 1")

    assert today == ["PERSON_1A", "PERSON_1B", "PERSON_1C", "PERSON_1D", "PERSON_1E"]
    assert [tomorrow.token("PERSON", name) for name in PEOPLE] == today
    assert [tomorrow.value(token) for token in today] == list(PEOPLE)
    assert tomorrow.token("PERSON", "Peter Maier") == "PERSON_2A"


def test_another_scope_and_another_tenant_know_nothing_of_it(vault: Vault):
    vault.scope("acme", "chat 1").token("PERSON", "Anna Schmidt")

    for other in (vault.scope("acme", "chat 2"), vault.scope("umbrella", "chat 1")):
        assert other.value("PERSON_1A") is None
        assert restored("PERSON_1A", other) == "PERSON_1A"


def everything_of(vault: Vault, tenant: str) -> set[bytes]:
    """Every hash and sealed value that the database has of a tenant, and every stretch of eight bytes of them."""
    blobs: set[bytes] = set()
    for table, columns in (("values", "exact, alike, sealed"), ("words", "hash"), ("likes", "hash")):
        rows = vault.database.read(
            f"select {columns} from vault_{table} join vault_scopes on id = scope where tenant = ?", (tenant,)
        )
        blobs.update(blob[n : n + 8] for row in rows for blob in row for n in range(len(blob) - 7))
    return blobs


def test_tokens_of_two_tenants_for_the_same_values_cannot_be_linked(vault: Vault):
    for tenant in ("acme", "umbrella"):
        scope = vault.scope(tenant, "chat")
        scope.stand_ins([("PERSON", name) for name in PEOPLE], like={"PERSON"}, text="")
        scope.stand_ins([("EMAIL_ADDRESS", f"user{n}@example.org") for n in range(50)])

    assert len(everything_of(vault, "acme")) > 1_000
    assert not everything_of(vault, "acme") & everything_of(vault, "umbrella")
    hashes = {vault.passing(tenant).hashed("PERSON", "Anna") for tenant in ("acme", "umbrella")}
    assert len(hashes) == 2


def test_scopes_of_one_tenant_cannot_be_linked_without_the_keys_either(vault: Vault):
    for name in ("one", "two"):
        vault.scope("acme", name).token("PERSON", "Anna Schmidt")

    rows = vault.database.read("select exact, alike from vault_values order by scope")
    assert not set(rows[0]) & set(rows[1])


def test_no_file_holds_a_value_in_the_clear(home: Path, vault: Vault):
    scope = vault.scope("acme", "chat")
    scope.stand_ins(
        [("PERSON", "Wilhelmina Krähenbühl"), ("EMAIL_ADDRESS", "w.kraehen@firma.de")], like={"PERSON"}, text="x"
    )
    found = everything(home)

    for value in ("Wilhelmina", "wilhelmina", "Krähen", "kr\\u00e4hen", "w.kraehen", "firma.de"):
        assert value.encode() not in found
        assert value.encode("utf-16-le") not in found


def test_hashes_stay_the_same_for_a_tenant(make: MakeVault):
    one = make().passing("acme").hashed("EMAIL_ADDRESS", "anna@example.org")

    assert make().passing("acme").hashed("EMAIL_ADDRESS", "Anna@Example.org") == one
    assert make().scope("acme", "chat").hashed("EMAIL_ADDRESS", "anna@example.org") == one


def test_a_passing_scope_leaves_nothing_behind(vault: Vault):
    vault.passing("acme").token("PERSON", "Anna Schmidt")

    assert vault.scopes("acme") == []
    assert vault.database.read("select count(*) from vault_values") == [(0,)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(["PERSON", "EMAIL_ADDRESS", "IBAN_CODE"]), VALUES), max_size=12),
    st.sampled_from([frozenset(), frozenset({"PERSON", "EMAIL_ADDRESS"})]),
)
def test_a_scope_that_stays_gives_the_tokens_that_one_in_memory_gives(
    vault: Vault, items: list[tuple[str, str]], like: frozenset[str]
):
    stored, passing = vault.scope("acme", os.urandom(8).hex()), Scope()
    tokens = stored.stand_ins(items)

    assert tokens == passing.stand_ins(items)
    assert [stored.value(token) for token in tokens] == [value for _, value in items]
    likes = stored.stand_ins(items, like=like, text="")
    assert [stored.value(stand_in) for stand_in in likes] == [value for _, value in items]


def test_a_text_is_restored_in_another_process_also_its_look_alikes_when_it_is_masked_again(make: MakeVault):
    text = "Anna Schmidt has anna@example.de, says Frau Schmidt."
    findings = [Finding("PERSON", 0, 12), Finding("EMAIL_ADDRESS", 17, 32), Finding("PERSON", 39, 51)]
    actions = {"PERSON": "pseudonymise", "EMAIL_ADDRESS": "pseudonymise"}
    alike = frozenset({"PERSON", "EMAIL_ADDRESS"})
    first = masked(text, findings, make().scope("acme", "chat"), actions, lookalike=alike).text
    later = make().scope("acme", "chat")

    assert masked(text, findings, later, actions, lookalike=alike).text == first
    assert restored(first, later) == text
    tokens = masked(text, findings, make().scope("acme", "chat"), actions).text
    assert tokens == "PERSON_1A has EMAIL_2A, says PERSON_1B."
    assert restored(tokens, make().scope("acme", "chat", whole=True)) == text


def test_a_model_that_was_talked_into_saying_other_tokens_learns_nobody_their_values(make: MakeVault):
    make().scope("acme", "team").stand_ins(
        [("PERSON", "Anna Schmidt"), ("PERSON", "Frau Schmidt"), ("DATE_TIME", "today")]
    )
    scope, text = make().scope("acme", "team"), "Who is Peter, or Frau Schmidt?"
    findings = [Finding("PERSON", 7, 12, action="pseudonymise"), Finding("PERSON", 17, 29, action="pseudonymise")]
    said = masked(text, findings, scope).text

    assert said == "Who is PERSON_3A, or PERSON_1B?"
    assert restored(f"{said} PERSON_1A, DATE_2A, person 1a, PERSON_1 and PERSON_3", scope) == (
        "Who is Peter, or Frau Schmidt? PERSON_1A, DATE_2A, person 1a, Frau Schmidt and Peter"
    )


# ---------------------------------------------------------------- who looked


def test_each_look_up_is_told_without_the_value(make: MakeVault):
    seen: list[Lookup] = []
    vault = make(seen.append)
    scope = vault.scope("acme", "chat")
    token = scope.token("PERSON", "Anna Schmidt")
    assert seen == []

    assert restored(f"{token} and {token.lower()}", scope) == "Anna Schmidt and Anna Schmidt"
    assert scope.value(token) == "Anna Schmidt"
    assert scope.value("PERSON_9A") is None
    assert seen == [Lookup("acme", "chat", "PERSON_1A")] * 3
    assert "Anna" not in repr(seen)


def test_a_look_up_that_may_not_be_is_stopped_by_who_is_told(make: MakeVault):
    def refuse(lookup: Lookup) -> None:
        raise PermissionError(lookup.token)

    scope = make(refuse).scope("acme", "chat")
    token = scope.token("PERSON", "Anna")

    with pytest.raises(PermissionError):
        scope.value(token)


# ---------------------------------------------------------------- at the same time


def test_threads_that_ask_for_the_same_values_get_the_same_tokens(make: MakeVault):
    vaults, tokens, together = [make() for _ in range(4)], list[tuple[str, ...]](), threading.Barrier(4, timeout=30)

    def ask(vault: Vault) -> None:
        scope = vault.scope("acme", "chat")
        together.wait()
        tokens.append(tuple(scope.token("EMAIL_ADDRESS", f"user{n % 5}@example.org") for n in range(10)))

    threads = [threading.Thread(target=ask, args=(vault,)) for vault in vaults]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(tokens) == 4
    assert len(set(tokens)) == 1
    assert len(set(tokens[0])) == 5


_ASKING = """
import sys
from pathlib import Path
from penstock.guard.vault import Vault
from penstock.storage.database import Database
from penstock.storage.envelope import Envelope, FileKeys
home = Path(sys.argv[1])
database = Database(home / "penstock.db")
scope = Vault(database, Envelope(database, FileKeys(home / "keys"))).scope("acme", "chat")
for n in range(int(sys.argv[2])):
    name = "Anna " + "abcdefghijklmnopqrstuvwxyz"[n % 26] * (n // 26 + 2)
    print(*scope.stand_ins([("PERSON", name), ("DATE_TIME", str(n))]), flush=True)
"""


def test_processes_that_ask_for_the_same_values_get_the_same_tokens(home: Path):
    home.mkdir()
    running = [
        subprocess.Popen([sys.executable, "-c", _ASKING, str(home), "20"], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = [process.communicate(timeout=60)[0] for process in running]

    assert len(printed[0].split()) == 40
    assert len(set(printed[0].split())) == 40
    assert printed[0] == printed[1] == printed[2]


# ---------------------------------------------------------------- broken


def test_a_process_that_is_killed_leaves_whole_tokens_only(home: Path, make: MakeVault):
    home.mkdir()
    process = subprocess.Popen([sys.executable, "-c", _ASKING, str(home), "100000"], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said = [process.stdout.readline().split() for _ in range(25)]
    process.send_signal(signal.SIGKILL)
    said += [line.split() for line in process.stdout.read().split("\n")[:-1]]
    process.wait()
    process.stdout.close()
    scope = make().scope("acme", "chat")

    for n, (person, date) in enumerate(said):
        assert scope.value(date) == str(n)
        assert (scope.value(person) or "").startswith("Anna ")
    (rows,) = make().database.read("select count(*), max(number) from vault_values")
    assert rows[0] % 2 == 0
    assert scope.token("PERSON", "Peter Maier") == f"PERSON_{rows[1] + 1}A"


def test_what_breaks_in_the_middle_of_a_step_leaves_nothing_of_it(vault: Vault, monkeypatch: pytest.MonkeyPatch):
    scope = vault.scope("acme", "chat")
    scope.token("PERSON", "Anna Schmidt")
    seal, calls = vault.keys.seal, []

    def failing(*given: bytes, **named: str) -> bytes:
        calls.append(given)
        if len(calls) == 4:
            raise StorageError("the disk is full")
        return seal(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(vault.keys, "seal", failing)
    with pytest.raises(StorageError, match="disk is full"):
        scope.stand_ins([("PERSON", name) for name in ("Peter Maier", "Paul Huber", "Frau Schmidt", "Eva Braun")])
    monkeypatch.undo()

    assert vault.database.read("select count(*) from vault_values") == [(1,)]
    assert scope.stand_ins([("PERSON", "Paul Huber"), ("PERSON", "Frau Schmidt")]) == ["PERSON_2A", "PERSON_1B"]


def test_a_wrong_key_is_said(home: Path, make: MakeVault):
    make().scope("acme", "chat").token("PERSON", "Anna Schmidt")
    shutil.copy(home / "keys", home / "right")
    (home / "keys").unlink()
    FileKeys(home / "keys").create()

    with pytest.raises(StorageError, match="has no key"):
        make().scope("acme", "chat").value("PERSON_1A")
    shutil.copy(home / "right", home / "keys")
    assert make().scope("acme", "chat").value("PERSON_1A") == "Anna Schmidt"


def test_a_missing_key_file_is_said_with_what_to_do(home: Path, make: MakeVault):
    make().scope("acme", "chat").token("PERSON", "Anna Schmidt")
    (home / "keys").unlink()

    with pytest.raises(StorageError, match="is missing") as refused:
        make().scope("acme", "chat").token("PERSON", "Peter")
    assert "copy" in refused.value.hint


def test_a_damaged_row_is_said_and_the_others_are_read(vault: Vault):
    scope = vault.scope("acme", "chat")
    scope.stand_ins([("PERSON", "Anna Schmidt"), ("PERSON", "Peter Maier")])
    with vault.database.write() as w:
        w.execute("update vault_values set sealed = substr(sealed, 1, 30) where number = 1")

    with pytest.raises(StorageError, match="is damaged"):
        scope.value("PERSON_1A")
    assert scope.value("PERSON_2A") == "Peter Maier"


def test_a_value_moved_to_another_token_is_noticed(vault: Vault):
    scope = vault.scope("acme", "chat")
    scope.stand_ins([("PERSON", "Anna Schmidt"), ("PERSON", "Peter Maier")])
    with vault.database.write() as w:
        w.execute(
            "update vault_values set sealed = (select sealed from vault_values where number = 2) where number = 1"
        )

    with pytest.raises(StorageError, match="cannot be opened"):
        scope.value("PERSON_1A")


# ---------------------------------------------------------------- rotated


@pytest.mark.usefixtures("quick")
def test_after_a_rotation_tokens_are_the_same_and_the_old_keys_are_gone(home: Path, make: MakeVault):
    vault = make()
    scope = vault.scope("acme", "chat")
    tokens = scope.stand_ins([("PERSON", f"Anna {letter}a") for letter in "bcdefghi"])
    before = {sealed for (sealed,) in vault.database.read("select sealed from vault_values")}
    assert vault.rotate() == 8
    later = make().scope("acme", "chat")

    assert [later.value(token) for token in tokens] == [f"Anna {letter}a" for letter in "bcdefghi"]
    assert later.token("PERSON", "Anna ba") == tokens[0]
    after = {sealed for (sealed,) in vault.database.read("select sealed from vault_values")}
    assert not {sealed[1:9] for sealed in before} & {sealed[1:9] for sealed in after}
    (old,) = {sealed[1:9] for sealed in before}
    (wrapped, destroyed) = vault.database.read("select wrapped, destroyed from data_keys where id = ?", (old,))[0]
    assert wrapped == b""
    assert destroyed


@pytest.mark.usefixtures("quick")
def test_a_rotation_that_broke_off_is_finished_by_the_next(make: MakeVault, monkeypatch: pytest.MonkeyPatch):
    vault = make()
    tokens = vault.scope("acme", "chat").stand_ins([("DATE_TIME", str(n)) for n in range(30)])
    monkeypatch.setattr("penstock.guard.vault.BATCH", 10)
    seal, calls = vault.keys.seal, []

    def failing(*given: bytes, **named: str) -> bytes:
        calls.append(given)
        if len(calls) == 15:
            raise StorageError("the disk is full")
        return seal(*given, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(vault.keys, "seal", failing)
        with pytest.raises(StorageError):
            vault.rotate()
    assert [make().scope("acme", "chat").value(token) for token in tokens] == [str(n) for n in range(30)]
    assert make().rotate() == 30
    assert [make().scope("acme", "chat").value(token) for token in tokens] == [str(n) for n in range(30)]


def test_what_is_added_while_keys_are_rotated_is_not_lost(make: MakeVault):
    rotating, adding = make(), make()
    scope = adding.scope("acme", "chat")
    tokens = scope.stand_ins([("DATE_TIME", "0")])
    stop = threading.Event()

    def add() -> None:
        while not stop.is_set():
            tokens.append(scope.token("DATE_TIME", str(len(tokens))))

    thread = threading.Thread(target=add)
    thread.start()
    rotating.rotate()
    stop.set()
    thread.join()
    later = make().scope("acme", "chat")

    assert len(tokens) > 10
    assert [later.value(token) for token in tokens] == [str(n) for n in range(len(tokens))]


# ---------------------------------------------------------------- erased


def test_an_erased_scope_is_gone_its_keys_too_and_others_are_not(home: Path, make: MakeVault):
    vault = make()
    for name in ("one", "two"):
        vault.scope("acme", name).stand_ins([("PERSON", person) for person in PEOPLE])
    copy = home.parent / "stolen.db"
    sealed = vault.database.read("select sealed from vault_values where scope = 1")[0][0]
    assert vault.erase("acme", "one") == 5
    with sqlite3.connect(copy) as connection:
        vault.database.copy_to(copy)
    connection.close()

    assert vault.scopes("acme") == ["two"]
    assert vault.scope("acme", "two").value("PERSON_1A") == "Anna Schmidt"
    assert vault.scope("acme", "one").value("PERSON_1A") is None
    with pytest.raises(StorageError, match="erased"):
        make().keys.open(sealed, tenant="acme", purpose="vault 1 values", aad=b"1A")
    assert sealed not in everything(home)
    assert sealed not in copy.read_bytes()


def test_rows_that_come_back_from_a_copy_stay_unreadable(make: MakeVault):
    """What was copied before can be put back row by row; the key cannot."""
    vault = make()
    vault.scope("acme", "one").token("PERSON", "Anna Schmidt")
    scopes = vault.database.read("select * from vault_scopes")
    values = vault.database.read("select * from vault_values")
    vault.erase("acme")
    with vault.database.write() as w:
        w.execute("insert into vault_scopes values (?, ?, ?, ?, ?, ?)", scopes[0])
        w.execute("insert into vault_values values (?, ?, ?, ?, ?, ?)", values[0])

    with pytest.raises(StorageError, match="erased"):
        make().scope("acme", "one").value("PERSON_1A")


def test_an_erased_tenant_is_gone_and_others_are_not(make: MakeVault):
    vault = make()
    for tenant in ("acme", "umbrella"):
        for name in ("one", "two"):
            vault.scope(tenant, name).token("PERSON", "Anna Schmidt")
    hashed = vault.passing("acme").hashed("PERSON", "Anna")
    assert vault.erase("acme") == 2

    assert vault.scopes("acme") == []
    assert vault.database.read("select count(*) from data_keys where tenant = 'acme' and not destroyed") == [(0,)]
    assert vault.passing("acme").hashed("PERSON", "Anna") != hashed
    assert vault.scope("umbrella", "two").value("PERSON_1A") == "Anna Schmidt"


def test_a_person_is_erased_from_all_scopes_however_the_name_was_written(home: Path, make: MakeVault):
    vault = make()
    for name in ("one", "two"):
        scope = vault.scope("acme", name)
        scope.stand_ins([("PERSON", person) for person in (*PEOPLE, "Peter Maier")], like={"PERSON"}, text="")
        scope.token("EMAIL_ADDRESS", "Anna.Schmidt@example.org")
    vault.scope("umbrella", "one").token("PERSON", "Anna Schmidt")
    sealed = [
        row[0] for row in vault.database.read("select sealed from vault_values where number = 1 and scope in (1, 2)")
    ]

    assert vault.erase_value("acme", "Schmidt, Anna") == 10
    assert vault.erase_value("acme", "anna.schmidt@EXAMPLE.org") == 2
    assert vault.erase_value("acme", "Nobody") == 0
    for name in ("one", "two"):
        scope = vault.scope("acme", name)
        assert [scope.value(f"PERSON_1{letter}") for letter in "ABCDE"] == [None] * 5
        assert scope.value("PERSON_2A") == "Peter Maier"
        assert scope.value("EMAIL_3A") is None
        assert scope.token("PERSON", "Anna Schmidt") == "PERSON_4A"
    assert vault.scope("umbrella", "one").value("PERSON_1A") == "Anna Schmidt"
    found = everything(home)
    assert not any(one in found for one in sealed)


def test_a_scope_that_another_process_erased_takes_nothing_more(make: MakeVault):
    here, elsewhere = make(), make()
    scope = here.scope("acme", "chat")
    scope.token("PERSON", "Anna Schmidt")
    elsewhere.erase("acme", "chat")

    with pytest.raises(StorageError, match="was erased"):
        scope.token("PERSON", "Peter Maier")
    assert restored("PERSON_1A", scope) == "PERSON_1A"
    assert here.scope("acme", "chat").token("PERSON", "Peter Maier") == "PERSON_1A"


# ---------------------------------------------------------------- many


def test_a_thousand_persons_who_share_a_name_take_time_in_proportion(vault: Vault):
    def seconds(persons: int) -> float:
        scope = vault.scope("acme", str(persons))
        started = time.process_time()
        letters = "abcdefghijklmnopqrstuvwxyz"
        names = [f"Anna {letters[n // 26 % 26]}{letters[n % 26]}{letters[n // 676]}o" for n in range(persons)]
        tokens = scope.stand_ins([("PERSON", name) for name in names])
        assert len(set(tokens)) == persons
        return time.process_time() - started

    seconds(100)
    assert seconds(2_000) < 30 * max(seconds(200), 0.001)


def test_what_is_stored_of_a_scope_is_what_the_guide_says(vault: Vault):
    vault.scope("acme", "chat 1").token("PERSON", "Anna Schmidt")
    (row,) = vault.database.read("select tenant, name, last, labels from vault_scopes")

    assert row == ("acme", "chat 1", 1, "PERSON")
    text = json.dumps([str(value) for value in vault.database.read("select number, letter from vault_values")[0]])
    assert re.fullmatch(r'\["1", "A"\]', text)
