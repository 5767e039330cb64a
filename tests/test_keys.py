"""API keys: who holds one is known at once, what was changed elsewhere a moment later, and the secret is kept nowhere."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config import BudgetSettings, KeySettings, iso, moment
from penstock.errors import BadRequest, BadSetting, Conflict, NeedsKey, NotFound, NotReady, StorageError
from penstock.keys import Keys, allowed
from penstock.storage.database import Database
from penstock.types import Caller

MakeKeys = Callable[..., Keys]


@pytest.fixture
def make(home: Path) -> Iterator[MakeKeys]:
    """The keys of the test's home, as several processes see them."""
    opened: list[Database] = []

    def make(**named: KeySettings) -> Keys:
        opened.append(Database(home / "penstock.db"))
        return Keys(opened[-1], named)

    yield make
    for database in opened:
        database.close()


@pytest.fixture
def keys(make: MakeKeys) -> Keys:
    return make()


# ---------------------------------------------------------------- made


def test_a_key_says_who_is_asking_and_what_they_may(keys: Keys):
    _, secret = keys.create("shop", team="sales", roles=["hr"], admin=True, models=["gpt-*"])

    assert keys.find(secret.encode()) == Caller("shop", ("hr",), admin=True, team="sales", models=("gpt-*",))


def test_only_the_digest_of_a_key_is_kept(keys: Keys, home: Path):
    _, first = keys.create("shop")
    _, second = keys.rotate("shop", grace_s=60)

    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    for secret in (first, second):
        assert secret.encode() not in kept
        assert secret[8:].encode() not in kept
        assert secret not in repr(keys.all())
    assert b"shop" in kept


def test_secrets_are_long_and_never_the_same(keys: Keys):
    secrets = {keys.create(f"k{n}")[1] for n in range(50)}

    assert len(secrets) == 50
    assert all(re.fullmatch(r"psk-[\w-]{43}", secret) for secret in secrets)


def test_what_a_key_was_made_with_is_what_the_next_process_reads(make: MakeKeys):
    budget = BudgetSettings(limit_usd_per_day=1.5, requests_per_minute=3)
    key, _ = make().create(
        "shop", team="sales", roles=["a", "b"], models=["x"], expires=time.time() + 60, budget=budget
    )
    other = make()
    other.refresh()

    assert other.get("shop") == key
    assert other.budgets == {"shop": budget}


def test_a_name_is_taken_once(make: MakeKeys):
    keys = make(boss=KeySettings(key="boss-key-0123456789"))
    keys.create("shop")
    keys.create("gone")
    keys.revoke("gone")

    for name in ("shop", "boss", "gone"):
        with pytest.raises(Conflict, match=f"the key '{name}' is revoked|a key '{name}' already") as refused:
            keys.create(name)
        assert not refused.value.retryable
    assert [key.name for key in keys.all()] == ["gone", "shop"]


def test_two_processes_that_take_one_name_do_not_both_get_it(make: MakeKeys):
    ways = [make() for _ in range(4)]
    ways[0].all()
    made: list[str] = []
    refused: list[str] = []

    def create(keys: Keys) -> None:
        try:
            made.append(keys.create("shop")[1])
        except Conflict as error:
            refused.append(error.message)

    threads = [threading.Thread(target=create, args=(keys,)) for keys in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(made), len(refused)) == (1, 3)
    ways[1].refresh()
    assert ways[1].find(made[0].encode()).name == "shop"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=70) | st.from_regex(r"[a-z0-9][\w.-]{0,70}", fullmatch=True))
def test_any_text_that_may_be_a_name_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, name: str):
    database = Database(tmp_path_factory.mktemp("names") / "penstock.db")
    keys = Keys(database, {})

    if re.fullmatch(r"[a-zA-Z0-9][\w.-]{0,63}", name):
        _, secret = keys.create(name)
        assert [key.name for key in keys.all()] == [name]
        assert keys.find(secret.encode()).name == name
    else:
        with pytest.raises(BadSetting, match="cannot name a key"):
            keys.create(name)
        assert keys.all() == []
    database.close()


# ---------------------------------------------------------------- needed


def test_nobody_needs_a_key_until_there_is_one(keys: Keys):
    assert not keys.needed
    keys.create("shop")
    assert keys.needed
    with pytest.raises(NeedsKey, match="needs an API key"):
        keys.find(b"")


def test_revoking_the_last_key_opens_nothing(make: MakeKeys):
    keys, other = make(), make()
    keys.create("shop")
    keys.revoke("shop")
    other.refresh()

    assert keys.needed
    assert other.needed


def test_when_the_last_key_is_removed_none_is_needed_again(make: MakeKeys):
    keys, other = make(), make()
    keys.create("shop")
    with pytest.raises(Conflict, match="the key 'shop' works"):
        keys.remove("shop")
    keys.revoke("shop")
    keys.remove("shop")
    other.refresh()

    assert not keys.needed
    assert not other.needed
    keys.create("shop")


# ---------------------------------------------------------------- changed


def test_a_key_expires_to_the_moment(keys: Keys):
    _, secret = keys.create("shop", expires=time.time() + 0.2)

    assert keys.find(secret.encode()).name == "shop"
    time.sleep(0.25)
    with pytest.raises(NeedsKey, match="has expired"):
        keys.find(secret.encode())
    assert keys.get("shop").state == "expired"
    with pytest.raises(Conflict, match="is expired"):
        keys.rotate("shop")


def test_a_key_that_has_expired_already_is_not_made(keys: Keys):
    with pytest.raises(BadRequest, match="expired already"):
        keys.create("shop", expires=time.time() - 1)


def test_after_a_rotation_the_old_key_works_for_its_grace_and_no_longer(make: MakeKeys):
    keys, server = make(), make()
    _, old = keys.create("shop", team="sales")
    server.refresh()
    _, new = keys.rotate("shop", grace_s=0.3)
    server.refresh()

    assert server.find(old.encode()) == server.find(new.encode()) == Caller("shop", team="sales")
    time.sleep(0.35)
    assert server.find(new.encode()).name == "shop"
    with pytest.raises(NeedsKey):
        server.find(old.encode())


def test_without_grace_the_old_key_ends_with_the_rotation(keys: Keys):
    _, old = keys.create("shop")
    _, new = keys.rotate("shop")

    assert keys.find(new.encode()).name == "shop"
    with pytest.raises(NeedsKey, match="not known"):
        keys.find(old.encode())


def test_grace_does_not_outlast_the_key(keys: Keys):
    _, old = keys.create("shop", expires=time.time() + 0.2)
    keys.rotate("shop", grace_s=60)

    time.sleep(0.25)
    with pytest.raises(NeedsKey, match="expired"):
        keys.find(old.encode())


def test_a_revoked_key_and_its_old_one_work_no_more(make: MakeKeys):
    keys, server = make(), make()
    _, old = keys.create("shop")
    _, new = keys.rotate("shop", grace_s=60)
    keys.revoke("shop")
    server.refresh()

    for secret in (old, new):
        with pytest.raises(NeedsKey, match="not known"):
            server.find(secret.encode())
    assert keys.get("shop").state == "revoked"
    with pytest.raises(Conflict, match="is revoked"):
        keys.rotate("shop")


def test_what_another_process_changed_is_seen_by_whichever_thread_looks(make: MakeKeys):
    server, terminal = make(), make()
    first = threading.Thread(target=server.refresh)
    first.start()
    first.join()
    _, secret = terminal.create("shop")

    second = threading.Thread(target=server.refresh)  # another thread has another connection, which counts by itself
    second.start()
    second.join()

    assert server.find(secret.encode()).name == "shop"


def test_a_key_that_is_not_there_is_told_the_known_ones(make: MakeKeys):
    keys = make(boss=KeySettings(key="boss-key-0123456789"))
    keys.create("shop")

    with pytest.raises(NotFound) as refused:
        keys.get("shopp")
    assert refused.value.hint == "known: shop"
    with pytest.raises(NotFound) as refused:
        keys.revoke("boss")
    assert "settings file" in refused.value.hint


# ---------------------------------------------------------------- the database is away


def test_while_the_database_cannot_be_read_known_keys_work_and_unknown_ones_are_told_to_try_again(
    make: MakeKeys, home: Path
):
    server, terminal = make(), make()
    _, secret = terminal.create("shop")
    server.refresh()
    with Database(home / "penstock.db").write() as w:
        w.execute("alter table keys rename to lost")

    with pytest.raises(StorageError):
        server.refresh()

    assert server.find(secret.encode()).name == "shop"
    with pytest.raises(NotReady) as refused:
        server.find(b"psk-perhaps-made-just-now")
    assert (refused.value.status, refused.value.retryable) == (503, True)
    with pytest.raises(NeedsKey):
        server.find(b"")

    with Database(home / "penstock.db").write() as w:
        w.execute("alter table lost rename to keys")
    server.refresh()
    with pytest.raises(NeedsKey):
        server.find(b"psk-perhaps-made-just-now")


# ---------------------------------------------------------------- models, times


@pytest.mark.parametrize(
    ("patterns", "name", "may"),
    [
        ((), "anything", True),
        (("gpt-*",), "gpt-5", True),
        (("gpt-*",), "claude", False),
        (("any/*",), "any/deep/model", True),
        (("small",), "Small", False),
        (("a", "b"), "b", True),
    ],
)
def test_patterns_say_which_models_a_key_may_use(patterns: tuple[str, ...], name: str, may: bool):
    assert allowed(name, Caller(models=patterns)) is may


@given(st.integers(min_value=1, max_value=250_000_000_000))
def test_a_time_that_was_written_down_is_read_as_it_was(unix: int):
    assert moment(str(iso(unix))) == unix


def test_a_day_ends_with_its_last_second():
    assert iso(moment("2027-01-31")) == "2027-01-31T00:00:00+00:00"
    assert iso(moment("2027-01-31", ahead=True)) == "2027-01-31T23:59:59+00:00"


def test_a_duration_goes_back_or_ahead():
    assert moment("12h") == pytest.approx(time.time() - 43_200, abs=5)
    assert moment("30d", ahead=True) == pytest.approx(time.time() + 30 * 86_400, abs=5)


@pytest.mark.parametrize("text", ["", "soon", "30", "-3d", "2027-02-30", "1e9d", "0001-01-01", "T", "40000d"])
def test_what_is_no_time_is_refused_with_an_example(text: str):
    with pytest.raises(BadRequest, match="2027-01-31") as refused:
        moment(text)
    assert f"'{text}' is no time" in refused.value.message
