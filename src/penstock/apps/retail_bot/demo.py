"""The demo shop in a file of its own: made from the seed at the first start, whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from penstock.storage.database import Database
from penstock.storage.files import storage_errors, sync_folder

from . import generate
from .rules import OURS
from .shop import Customer
from .sql import SqlShop, fill

__all__ = ["demo_shop", "somebody"]

LOOKED_AT = 50  # customers, of whom one is named to newcomers


def demo_shop(
    path: Path,
    *,
    today: Callable[[], date] = date.today,
    seed: int = generate.SEED,
    customers: int = generate.CUSTOMERS,
) -> SqlShop:
    """The shop in this SQLite file. Where there is none it is made, with what was bought until today. Processes that start
    together make one; of one that was killed in between, nothing is left."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not path.exists():
                _make(path, today(), seed, customers)
    return SqlShop(Database(path), today=today)


def somebody(shop: SqlShop, *, today: date) -> Customer | None:
    """Whom to be when trying the bot: the first customer with an order that can be cancelled and one that can be returned. In an
    old file nothing can be returned any more: then the first with an order that can be cancelled."""
    since = (today - timedelta(days=OURS.return_days or 0)).isoformat()
    cancels: Customer | None = None
    for number in range(1, LOOKED_AT + 1):
        if (customer := shop.customer(f"C{number:06}")) is None:
            break
        orders = shop.orders(customer.id)
        if any(order.status == "pending" for order in orders):
            cancels = cancels or customer
            if any(order.status == "delivered" and order.delivered >= since for order in orders):
                return customer
    return cancels


def _make(path: Path, today: date, seed: int, customers: int) -> None:
    for left_over in path.parent.glob(f".{path.name}.part*"):
        left_over.unlink()
    part = path.with_name(f".{path.name}.part")
    sold = generate.products(seed)
    people = generate.people(sold, today=today, seed=seed, customers=customers)
    tables = Database(part)
    fill(
        tables,
        sold,
        tqdm(people, total=customers, desc="demo shop", unit="customer", leave=False, disable=not sys.stderr.isatty()),
    )
    tables.close()  # which takes what SQLite wrote beside it into the file
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)
