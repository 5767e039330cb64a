"""The shop behind the retail bot: in a file, and behind an HTTP API; what it promises holds for both."""

import itertools
import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from services import Service
from serving import up

from penstock.agents.actions import plain
from penstock.apps.retail_bot import contract, generate
from penstock.apps.retail_bot.contract import PEOPLE, PRODUCTS, TODAY, Person, ShopContract, books, check_books, play
from penstock.apps.retail_bot.demo import demo_shop, somebody
from penstock.apps.retail_bot.rest import RestShop
from penstock.apps.retail_bot.rules import OURS
from penstock.apps.retail_bot.serve_shop import serve_shop
from penstock.apps.retail_bot.shop import PaymentMethod, Product, Shop
from penstock.apps.retail_bot.sql import SqlShop, fill
from penstock.errors import (
    BadRequest,
    BadSetting,
    Conflict,
    PenstockError,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from penstock.storage.database import Database

TOKEN = "a-token-for-the-tests"
DAY = date(2026, 11, 30)


def in_a_file(path: Path, products: Sequence[Product], people: Sequence[Person], today: Callable[[], date]) -> SqlShop:
    tables = Database(path)
    fill(tables, products, people)
    return SqlShop(tables, today=today)


class TestInAFile(ShopContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> Iterator[None]:
        self.folder, self.made = tmp_path, []
        yield
        for one in self.made:
            one.close()

    def make(self, products: Sequence[Product], people: Sequence[Person], today: Callable[[], date]) -> Shop:
        self.made.append(in_a_file(self.folder / f"{len(self.made)}.db", products, people, today))
        return self.made[-1]


class Peer:
    """A shop's HTTP API on this machine, that serves whatever shop it was given last."""

    def __init__(self) -> None:
        self.shop: Any = None
        peer = self

        class Now:
            def __getattr__(self, name: str) -> Any:
                return getattr(peer.shop, name)

        config = uvicorn.Config(serve_shop(Now(), TOKEN), port=0, log_level="error", lifespan="off")
        self.server = uvicorn.Server(config)
        threading.Thread(target=self.server.run, daemon=True).start()
        while not self.server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.server.should_exit = True


class TestOverHttp(TestInAFile):
    @pytest.fixture(autouse=True)
    def _peer(self, peer: Peer) -> None:
        self.peer = peer

    def make(self, products: Sequence[Product], people: Sequence[Person], today: Callable[[], date]) -> Shop:
        self.peer.shop = super().make(products, people, today)
        self.made.append(RestShop(self.peer.url, TOKEN))
        return self.made[-1]


def test_both_say_the_same_after_the_same(tmp_path: Path, peer: Peer):
    file = in_a_file(tmp_path / "a.db", PRODUCTS, PEOPLE, lambda: TODAY)
    peer.shop = in_a_file(tmp_path / "b.db", PRODUCTS, PEOPLE, lambda: TODAY)
    behind = RestShop(peer.url, TOKEN)

    told = [play(shop, seed=3, steps=200) for shop in (file, behind)]

    assert told[0] == told[1]
    assert sum(not isinstance(came, str) for _, came in told[0]) >= 10
    assert [books(file, who.id) for who, _ in PEOPLE] == [books(behind, who.id) for who, _ in PEOPLE]
    assert [tuple(map(tuple, one)) for one in file.histories()] == [
        tuple(map(tuple, one)) for one in behind.histories()
    ]
    for shop in (file, behind, peer.shop):
        shop.close()


@given(seed=st.integers(0, 1 << 30), steps=st.integers(1, 60))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_is_lost_or_made_whatever_is_tried(tmp_path: Path, seed: int, steps: int):
    whole, now = tmp_path / "whole.db", tmp_path / "now.db"
    if not whole.exists():
        in_a_file(whole, PRODUCTS, PEOPLE, lambda: TODAY).close()
    for suffix in ("", "-wal", "-shm"):
        now.with_name(f"now.db{suffix}").unlink(missing_ok=True)
    shutil.copy(whole, now)
    shop = SqlShop(Database(now), today=lambda: TODAY)
    before = {who.id: books(shop, who.id) for who, _ in PEOPLE}

    play(shop, seed=seed, steps=steps)

    check_books(shop, before)
    shop.close()


# ---------------------------------------------------------------- several processes


def _wants_the_last(path: str, who: str, order: str, start: Any, said: Any) -> None:
    shop = SqlShop(Database(Path(path)), today=lambda: TODAY)
    start.wait()
    try:
        said.put(shop.change_items(f"{who}{order}", who, order, [("mug-1", "mug-2")], f"{who}-card").status)
    except PenstockError as error:
        said.put(error.message)


def test_of_several_processes_one_gets_the_last_one(tmp_path: Path):
    shop = in_a_file(tmp_path / "shop.db", PRODUCTS, PEOPLE, lambda: TODAY)
    spawn = multiprocessing.get_context("spawn")
    start, said = spawn.Event(), spawn.Queue()
    wanting = [
        spawn.Process(target=_wants_the_last, args=(str(tmp_path / "shop.db"), who, order, start, said))
        for who, order in (("anna", "A-01"), ("bo", "B-01"), ("bo", "B-02"))
    ]
    for one in wanting:
        one.start()
    start.set()
    told = Counter(said.get(timeout=60) for _ in wanting)
    for one in wanting:
        one.join()

    assert told["pending (items modified)"] == 1
    assert told["mug (colour blue) cannot be had: it is out of stock."] == 2
    assert shop.product("mug").variants[1].stock == 0
    shop.close()


def _makes(folder: str, customers: int) -> None:
    demo_shop(Path(folder) / "shop.db", today=lambda: DAY, customers=customers)


def test_a_shop_whose_making_was_killed_is_made_anew(tmp_path: Path):
    spawn = multiprocessing.get_context("spawn")
    making = spawn.Process(target=_makes, args=(str(tmp_path), 30_000))
    making.start()
    until = time.monotonic() + 60
    while not list(tmp_path.glob(".shop.db.part*")) and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(0.2)
    assert not (tmp_path / "shop.db").exists()
    os.kill(making.pid, signal.SIGKILL)
    making.join()

    shop = demo_shop(tmp_path / "shop.db", today=lambda: DAY, customers=20)

    assert len(list(shop.histories())) <= 20
    assert shop.customer("C000020") is not None
    shop.close()
    assert not list(tmp_path.glob(".shop.db.part*"))


def test_processes_that_start_together_make_one_shop(tmp_path: Path):
    spawn = multiprocessing.get_context("spawn")
    making = [spawn.Process(target=_makes, args=(str(tmp_path), 300)) for _ in range(3)]
    for one in making:
        one.start()
    for one in making:
        one.join()

    assert [one.exitcode for one in making] == [0, 0, 0]
    shop = demo_shop(tmp_path / "shop.db", today=lambda: DAY)
    assert shop.customer("C000300") is not None
    assert shop.customer("C000301") is None
    shop.close()


def test_what_a_change_had_begun_is_gone_when_it_could_not_end(tmp_path: Path):
    shop = in_a_file(tmp_path / "shop.db", PRODUCTS, PEOPLE, lambda: TODAY)
    before = books(shop, "anna")
    with sqlite3.connect(tmp_path / "shop.db") as other:
        other.execute("create trigger no before insert on done begin select raise(abort, 'no'); end")
    other.close()

    with pytest.raises(sqlite3.IntegrityError):
        shop.cancel("k", "anna", "A-01", "no longer needed")

    assert books(shop, "anna") == before
    shop.close()


def test_a_row_that_somebody_else_changes_is_seen_at_the_next_look(tmp_path: Path):
    shop = in_a_file(tmp_path / "shop.db", PRODUCTS, PEOPLE, lambda: TODAY)
    assert shop.product("mug").variants[0].stock == 5
    with sqlite3.connect(tmp_path / "shop.db") as other:
        other.execute("update variants set stock = 4, cents = 1099 where number = 'mug-1'")
        other.execute("update orders set status = 'processed' where number = 'A-01'")
    other.close()

    assert (shop.product("mug").variants[0].stock, shop.product("mug").variants[0].price) == (4, Decimal("10.99"))
    with pytest.raises(BadRequest, match="on its way"):
        shop.cancel("k", "anna", "A-01", "no longer needed")
    shop.close()


OLD_TABLES = """
    create table article (no text primary key, title text, department text);
    create table sku (code text primary key, article text, facets text, price integer, on_hand integer);
    create table person (id text primary key, given text, family text, mail text, mail_key text, seek text, a text, b text,
                         town text, county text, zip text, land text);
    create table wallet (id text primary key, owner text, what text, card text, digits text, left_over integer);
    create table purchase (no text primary key, buyer text, state text, on_day text, came text, a text, b text, town text,
                           county text, zip text, land text, parcels text, remarks text);
    create table line (purchase text, nr integer, code text, article text, title text, facets text, price integer);
    create table ledger (purchase text, nr integer, wallet text, cents integer);
    create table done (key text primary key, request text, result text, day text)
"""
STATES = {
    "pending": "open", "pending (items modified)": "open, changed", "processed": "packed", "delivered": "there",
    "cancelled": "off", "return requested": "coming back", "returned": "back",
    "exchange requested": "swapping", "exchanged": "swapped",
}  # fmt: skip
TO_OURS = " ".join(f"when '{theirs}' then '{ours}'" for ours, theirs in STATES.items())
TO_THEIRS = " ".join(f"when '{ours}' then '{theirs}'" for ours, theirs in STATES.items())


class OldShop(SqlShop):
    """A shop whose tables, columns and states have other names: nothing but statements is written."""

    PRODUCTS = """
        select a.no, a.title, a.department, s.code, s.facets, s.price, s.on_hand from article a join sku s on s.article = a.no
    """
    PRODUCT = PRODUCTS + " where a.no = ?"
    CUSTOMER = "select id, given, family, mail, a, b, town, county, zip, land from person where id = ?"
    BY_EMAIL = "select id from person where mail_key = ?"
    BY_NAME = "select id from person where seek = ?"
    METHODS = "select id, what, card, digits, left_over from wallet where owner = ?"
    ORDERS = f"""
        select no, case state {TO_OURS} end, on_day, came, a, b, town, county, zip, land, parcels, remarks
        from purchase where buyer = ?
    """
    ITEMS = """
        select l.purchase, l.nr, l.code, l.article, l.title, l.facets, l.price from line l join purchase p on p.no = l.purchase
        where p.buyer = ?
    """
    PAYMENTS = "select l.purchase, l.nr, l.wallet, l.cents from ledger l join purchase p on p.no = l.purchase where p.buyer = ?"
    SET_STATUS = f"""
        update purchase set state = case ? {TO_THEIRS} end, remarks = ?
        where no = ? and buyer = ? and state = case ? {TO_THEIRS} end
    """
    SET_ADDRESS = f"""
        update purchase set a = ?, b = ?, town = ?, county = ?, zip = ?, land = ?
        where no = ? and buyer = ? and state = case ? {TO_THEIRS} end
    """
    SET_ITEM = "update line set code = ?, facets = ?, price = ? where purchase = ? and nr = ? and code = ?"
    PAY = "insert into ledger (purchase, nr, wallet, cents) values (?, ?, ?, ?)"
    SET_BALANCE = "update wallet set left_over = left_over + ? where id = ? and owner = ? and left_over + ? >= 0"
    SET_STOCK = "update sku set on_hand = on_hand + ? where code = ? and on_hand + ? >= 0"
    SET_HOME = "update person set a = ?, b = ?, town = ?, county = ?, zip = ?, land = ?, seek = ? where id = ?"


class TestInTablesWithOtherNames(TestInAFile):
    def make(self, products: Sequence[Product], people: Sequence[Person], today: Callable[[], date]) -> Shop:
        ours = self.folder / f"ours{len(self.made)}.db"
        in_a_file(ours, products, people, today).close()
        tables = Database(self.folder / f"theirs{len(self.made)}.db")
        with tables.write() as w:
            for statement in OLD_TABLES.split(";"):
                w.execute(statement)
        tables.read("attach database ? as ours", (str(ours),))
        with tables.write() as w:
            w.execute("insert into article select * from ours.products")
            w.execute("insert into sku select * from ours.variants")
            w.execute(
                "insert into person select number, first_name, last_name, email, email_key, name_key, line1, line2, city, region, "
                "postcode, country from ours.customers"
            )
            w.execute("insert into wallet select * from ours.payment_methods")
            w.execute("insert into purchase select * from ours.orders")
            w.execute(f"update purchase set state = case state {TO_THEIRS} end")
            w.execute("insert into line select * from ours.order_items")
            w.execute("insert into ledger select * from ours.payments")
        tables.read("detach database ours")
        self.made.append(OldShop(tables, today=today))
        return self.made[-1]


def _changes_for_ever(path: str) -> None:
    shop = SqlShop(Database(Path(path)), today=lambda: TODAY)
    for nth in itertools.count():
        with suppress(PenstockError):
            method = ("bo-card", "bo-other")[nth % 2]
            shop.change_payment(f"{os.getpid()}-{nth}", "bo", "B-01", method)


def test_a_process_that_is_killed_among_changes_leaves_the_books_right(tmp_path: Path):
    other = PaymentMethod("bo-other", "gift_card", balance=Decimal("500.00"))
    people = [
        (replace(who, payment_methods=(*who.payment_methods, other)) if who.id == "bo" else who, orders)
        for who, orders in PEOPLE
    ]
    shop = in_a_file(tmp_path / "shop.db", PRODUCTS, people, lambda: TODAY)
    before = {who.id: books(shop, who.id) for who, _ in PEOPLE}
    spawn = multiprocessing.get_context("spawn")

    for least in (5, 30):  # payments that there are when somebody pulls the plug
        changing = [spawn.Process(target=_changes_for_ever, args=(str(tmp_path / "shop.db"),)) for _ in range(2)]
        for one in changing:
            one.start()
        until = time.monotonic() + 60
        while len(shop.orders("bo")[-1].payments) < least and time.monotonic() < until:
            time.sleep(0.001)
        for one in changing:
            os.kill(one.pid, signal.SIGKILL)
            one.join()

        again = SqlShop(Database(tmp_path / "shop.db"), today=lambda: TODAY)
        assert len(again.orders("bo")[-1].payments) >= least
        check_books(again, before)
        again.close()
    shop.close()


def test_what_is_kept_for_whoever_asks_twice_can_be_forgotten(tmp_path: Path):
    shop = in_a_file(tmp_path / "shop.db", PRODUCTS, PEOPLE, lambda: TODAY)
    shop.cancel("k", "bo", "B-01", "no longer needed")

    assert shop.forget(TODAY) == 0
    assert shop.done("k") is not None
    assert shop.forget(TODAY + timedelta(days=1)) == 1
    assert shop.done("k") is None
    shop.close()


# ---------------------------------------------------------------- the demo shop


def test_the_same_seed_and_day_give_the_same_bytes():
    def made(seed: int, customers: int) -> bytes:
        sold = generate.products(seed)
        return b"".join(generate.written(sold, generate.people(sold, today=DAY, seed=seed, customers=customers)))

    assert made(1, 60) == made(1, 60)
    assert made(1, 60) != made(2, 60)
    assert made(1, 90).startswith(made(1, 60))  # who is there does not depend on who comes after


def test_the_demo_shop_is_whole_and_its_books_are_right():
    sold = generate.products()
    everybody = list(generate.people(sold, today=DAY))
    variants = {one.id for product in sold for one in product.variants}
    orders = [order for _, theirs in everybody for order in theirs]

    assert len(sold) >= 60
    assert len({product.category for product in sold}) >= 8
    assert all(3 <= len(product.variants) <= 12 for product in sold)
    assert len(everybody) >= 500
    assert len(orders) >= 1_500
    assert len({order.number for order in orders}) == len(orders)
    assert len({who.email for who, _ in everybody}) == len(everybody)
    assert {order.status for order in orders} == set(contract.Status.__args__)
    assert all(who.email.endswith(("@example.com", "@example.org")) for who, _ in everybody)
    assert len({who.address.country for who, _ in everybody}) >= 10
    assert {way.kind for who, _ in everybody for way in who.payment_methods} == {"gift_card", "paypal", "credit_card"}
    for who, theirs in everybody:
        ours = {way.id for way in who.payment_methods}
        assert [order.placed for order in theirs] == sorted(order.placed for order in theirs)
        for order in theirs:
            gone = Decimal(order.notes["return"]["amount"]) if order.status == "returned" else Decimal(0)
            assert order.paid == (0 if order.status == "cancelled" else order.total - gone)
            assert {paid.method for paid in order.payments} <= ours
            assert {item.variant for item in order.items} <= variants
            assert DAY - timedelta(days=generate.DAYS) <= date.fromisoformat(order.placed) <= DAY
            assert order.delivered <= DAY.isoformat()
            assert bool(order.tracking) == (order.status not in ("pending", "pending (items modified)", "cancelled"))


def test_who_tries_the_demo_finds_something_of_everything():
    sold = generate.products()
    for _, orders in generate.people(sold, today=DAY, customers=3):
        assert {"pending", "processed", "delivered"} <= {order.status for order in orders}


# ---------------------------------------------------------------- a shop's API that misbehaves


@pytest.fixture
def behind(service: Service) -> Iterator[RestShop]:
    shop = RestShop(service.url, TOKEN, timeout_s=1.0, max_mb=1)
    yield shop
    shop.close()


def test_a_change_goes_out_with_its_key_and_the_token(service: Service, behind: RestShop):
    service.answers = [plain(PEOPLE[0][1][0])]

    behind.cancel("key-1", "anna", "#A/01", "no longer needed")

    ((method, path, headers, said),) = service.asked
    sent = {name.lower(): value for name, value in headers.items()}
    assert (method, path, said) == ("POST", "/customers/anna/orders/%23A%2F01/cancel", {"reason": "no longer needed"})
    assert sent["idempotency-key"] == "key-1"
    assert sent["authorization"] == f"Bearer {TOKEN}"


def test_a_failure_is_tried_again_with_the_same_key(service: Service, behind: RestShop):
    service.answers = [503, 502, plain(PEOPLE[0][1][0])]

    assert behind.cancel("key-1", "anna", "A-01", "no longer needed").number == "A-01"
    assert [headers.get("idempotency-key", headers.get("Idempotency-Key")) for _, _, headers, _ in service.asked] == [
        "key-1"
    ] * 3


@pytest.mark.parametrize(
    ("answer", "kind", "tries"),
    [
        (500, UpstreamError, 3),
        (429, UpstreamBusy, 3),
        (401, UpstreamRefused, 1),
        (403, UpstreamRefused, 1),
        (302, UpstreamRefused, 1),
        (418, UpstreamRefused, 1),
        (404, UpstreamRefused, 1),  # not the shop's own: there is nothing of the contract at this address
        (409, Conflict, 1),
        (422, BadRequest, 1),
        (b"<html>", UpstreamRefused, 1),
        (b"[1]", UpstreamRefused, 1),
        (b"", UpstreamRefused, 1),
        (b'{"products": [{"id": 7}]}', UpstreamRefused, 1),
        (b'{"products": null}', UpstreamRefused, 1),
        (b"[" * 200_000, UpstreamRefused, 1),
        (b'{"products": "' + b"x" * (1 << 20) + b'"}', UpstreamRefused, 1),
    ],
)
def test_what_a_shop_answers_wrongly_is_an_error_that_says_so(
    service: Service, behind: RestShop, answer: Any, kind: type, tries: int
):
    service.answers = [answer]

    with pytest.raises(kind) as caught:
        behind.products()

    assert type(caught.value) is kind
    assert len(service.asked) == tries
    assert TOKEN not in str(caught.value)
    assert "Anna" not in str(caught.value)  # the words of an answer that is no refusal of ours


@pytest.mark.parametrize("price", ["NaN", "Infinity", "1e9999", "1.005", "", " 1", 10, None, "٣", "9" * 29])
def test_a_price_that_is_none_is_not_believed(service: Service, behind: RestShop, price: Any):
    product = json.loads(json.dumps(plain(PRODUCTS[0])))
    product["variants"][0]["price"] = price
    service.answers = [{"products": [product]}]

    with pytest.raises(UpstreamError, match="price"):
        behind.products()


def test_a_slow_shop_is_given_up(service: Service, behind: RestShop):
    service.answers, service.slow_s = [{"products": []}], 3.0
    began = time.monotonic()

    with pytest.raises(UpstreamTimeout, match="within 1 s"):
        behind.products()

    assert time.monotonic() - began < 2.0


def test_a_shop_that_answers_by_drops_is_given_up(service: Service):
    def drip() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            with suppress(OSError):
                for _ in range(100):
                    connection.sendall(b" ")
                    time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        dripping = threading.Thread(target=drip)
        dripping.start()
        shop, began = RestShop(f"http://127.0.0.1:{listening.getsockname()[1]}", TOKEN, timeout_s=0.5), time.monotonic()
        with pytest.raises(UpstreamTimeout):
            shop.products()
        assert time.monotonic() - began < 2.0
        shop.close()
        dripping.join()


def test_the_token_may_be_in_the_environment(service: Service, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OUR_SHOP", TOKEN)
    service.answers = [{"products": []}]

    shop = RestShop(service.url, "env:OUR_SHOP")
    assert shop.products() == ()
    shop.close()
    with pytest.raises(BadSetting, match="NOWHERE"):
        RestShop(service.url, "env:NOWHERE")


def test_a_shop_that_is_not_there_is_said_to_be():
    shop = RestShop("http://127.0.0.1:9", TOKEN, timeout_s=1.0)
    with pytest.raises(UpstreamError, match="cannot be reached: ConnectError") as caught:
        shop.customer("anna")
    assert caught.value.retryable
    shop.close()


@pytest.mark.parametrize(
    ("base_url", "token"),
    [
        ("ftp://shop", TOKEN), ("https://user:word@shop.example", TOKEN), ("http://shop.example", TOKEN), ("", TOKEN),
        ("https://shop.example", ""), ("https://shop.example", "a token"), ("https://shop.example", "token\r\nx: y"),
    ],
)  # fmt: skip
def test_an_address_or_token_that_cannot_be_is_refused_at_once(base_url: str, token: str):
    with pytest.raises(BadSetting):
        RestShop(base_url, token)


def test_whoever_has_no_token_is_told_nothing(peer: Peer):
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": b"Bearer \xff"}):
        answer = httpx2.get(f"{peer.url}/products", headers=headers)
        assert (answer.status_code, set(answer.json())) == (401, {"error"})


def test_the_served_shop_refuses_what_is_no_request(tmp_path: Path, peer: Peer):
    peer.shop = in_a_file(tmp_path / "a.db", PRODUCTS, PEOPLE, lambda: TODAY)
    with httpx2.Client(base_url=peer.url, headers={"authorization": f"Bearer {TOKEN}"}) as client:
        path, key = "/customers/anna/orders/A-01/cancel", {"idempotency-key": "k"}
        assert client.post(path, json={"reason": "no longer needed"}).status_code == 422  # no key
        assert client.post(path, content=b"{", headers=key).status_code == 422
        assert client.post(path, json=[], headers=key).status_code == 422
        assert client.post(path, json={"reason": 7}, headers=key).status_code == 422
        assert client.post(path, content=b"x" * 70_000, headers=key).status_code == 413
        assert client.post("/customers/anna/orders/A-01/burn", json={}, headers=key).status_code == 404
        assert client.get("/customers/anna/orders/A-01").status_code == 404
        assert client.delete("/products").status_code == 404
        assert client.post("/customers/find", json={"email": ["x"]}).status_code == 422
        assert client.get("/products/a%2Fb").status_code == 404
    assert peer.shop.done("k") is None
    peer.shop.close()


# ---------------------------------------------------------------- what is written about it

APP = Path(contract.__file__).parent


def test_the_served_shop_keeps_its_written_contract(tmp_path: Path, peer: Peer):
    yaml = pytest.importorskip("yaml", reason="no reader of YAML")
    jsonschema = pytest.importorskip("jsonschema", reason="nothing that checks a schema")
    written = yaml.safe_load((APP / "shop.openapi.yaml").read_text("utf-8"))
    peer.shop = in_a_file(tmp_path / "a.db", PRODUCTS, PEOPLE, lambda: TODAY)
    address = plain(contract.ELSEWHERE)
    order = "/customers/{customer}/orders/{order}"
    calls: list[tuple[str, str, Any, int]] = [
        ("get", "/products", None, 200),
        ("get", "/products/{product}", None, 200),
        ("get", "/customers/{customer}", None, 200),
        ("get", "/customers/{customer}/orders", None, 200),
        ("get", "/histories", None, 200),
        ("post", "/customers/find", {"email": "anna@example.com"}, 200),
        ("post", "/customers/find", {"email": "nobody@example.com"}, 404),
        ("post", f"{order}/address", {"address": address}, 200),
        ("post", f"{order}/payment", {"method": "anna-paypal"}, 200),
        ("post", f"{order}/items", {"changes": [["mug-1", "mug-2"]], "method": "anna-paypal"}, 200),
        ("post", f"{order}/cancel", {"reason": "no longer needed"}, 422),
        ("post", f"{order}/return", {"variants": ["mug-1"], "method": "anna-card"}, 422),
        ("post", f"{order}/exchange", {"changes": [["mug-1", "mug-2"]], "method": "anna-card"}, 422),
        ("post", "/customers/{customer}/address", {"address": address}, 200),
        ("get", "/changes/{key}", None, 200),
    ]
    assert {path for _, path, _, _ in calls} == set(written["paths"])

    with httpx2.Client(base_url=peer.url, headers={"authorization": f"Bearer {TOKEN}"}) as client:
        for nth, (method, path, said, status) in enumerate(calls):
            operation = written["paths"][path][method]
            if said is not None:
                _fits(jsonschema, written, operation["requestBody"], said)
            asked = path.format(product="mug", customer="anna", order="A-01", key="k7")
            answer = client.request(method, asked, json=said, headers={"idempotency-key": f"k{nth}"})
            assert answer.status_code == status, (path, answer.text)
            _fits(
                jsonschema,
                written,
                operation["responses"].get(str(status), operation["responses"]["default"]),
                answer.json(),
            )
    peer.shop.close()


def _fits(jsonschema: Any, written: Any, where: Any, value: Any) -> None:
    for step in where.get("$ref", "#")[2:].split("/") if "$ref" in where else ():
        where = written[step] if step == "components" else where[step]
    schema = where["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": written["components"]}).validate(value)


def test_the_written_policy_says_what_the_rules_say():
    policy = " ".join((APP / "policy.md").read_text("utf-8").split())

    assert f"until the {OURS.return_days}th day" in policy
    assert all(reason in policy for reason in OURS.reasons)
    assert all(country in policy for country in OURS.countries)


def test_the_articles_promise_what_the_rules_allow():
    articles = {path.stem: " ".join(path.read_text("utf-8").split()) for path in (APP / "articles").glob("*.md")}

    assert len(articles) >= 25
    assert all(text.startswith("# ") and len(text) < 2_000 for text in articles.values())
    assert f"within {OURS.return_days} days of its delivery" in articles["returns"]
    assert f"within {OURS.return_days} days of its delivery" in articles["exchange"]
    assert all(country in articles["delivery-countries"] for country in OURS.countries)


def test_the_app_says_how_a_shop_is_connected(tmp_path: Path):
    for code in re.findall(
        r"(?<!-->\n)^```(?:python|sh)\n(.*?)^```$", (APP / "README.md").read_text("utf-8"), re.M | re.S
    ):
        kind = (
            [sys.executable, "-c", code]
            if "import " in code
            else ["sh", "-ec", code.replace("python ", f"{sys.executable} ")]
        )
        done = subprocess.run(kind, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "larger.db").exists()


def test_a_newcomer_is_told_whom_to_be_and_what_to_ask(tmp_path: Path):
    shutil.copytree(APP, tmp_path / "retail_bot", ignore=shutil.ignore_patterns("__pycache__"))

    with up(tmp_path, "retail_bot") as (process, address):
        assert process.stdout
        said = "".join(iter(process.stdout.readline, "Ctrl-C stops.\n"))
        process.terminate()
        told = process.communicate(timeout=60)[1]
    named = re.search(
        r"sign in as (\S+) \(codes are written to (.+)\), or with the name (.+) and the postcode (.+)\.", told
    )

    assert named, told
    assert f"curl {address}/v1/chat/completions" in said
    assert '"model": "retail_bot", "messages": [{"role": "user", "content": "Where is my order?"}]' in said
    assert 'model="retail_bot"' in said
    assert Path(named[2]).name == "outbox"
    shop = demo_shop(tmp_path / "retail_bot" / ".penstock" / "shop.db")
    customer = shop.by_email(named[1])
    assert customer
    assert (f"{customer.first_name} {customer.last_name}", customer.address.postcode) == (named[3], named[4])
    orders = shop.orders(customer.id)
    assert any(order.status == "pending" for order in orders)
    since = (date.today() - timedelta(days=OURS.return_days or 0)).isoformat()
    assert any(order.status == "delivered" and order.delivered >= since for order in orders)


def test_in_an_old_demo_shop_a_newcomer_is_somebody_with_an_order_to_cancel(tmp_path: Path):
    shop = demo_shop(tmp_path / "shop.db")
    later = date.today() + timedelta(days=90)

    customer = somebody(shop, today=later)

    assert customer
    assert any(order.status == "pending" for order in shop.orders(customer.id))
