"""The demo shop in a file of its own: made from the seed at the first start, whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from penstock.storage.database import Database
from penstock.storage.files import storage_errors, sync_folder

from . import generate
from .sql import SqlShop, fill

__all__ = ["demo_shop"]


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
