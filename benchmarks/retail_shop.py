"""Claim: what the retail bot reads of one customer takes less than a millisecond of CPU, and a change or the whole catalogue a few.

    python -m benchmarks.retail_shop

CPU time of this process for each call, one thread, on the demo shop in two sizes; the time on the clock beside it, since a change
waits for the disk.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, show, versions, write
from penstock.apps.retail_bot.demo import demo_shop
from penstock.apps.retail_bot.recommend import Recommender
from penstock.apps.retail_bot.shop import Address, Order
from penstock.apps.retail_bot.sql import SqlShop
from penstock.errors import PenstockError

DAY = date(2026, 11, 30)


def timed(calls: list[Callable[[], Any]]) -> Row:
    spent, waited, refused = [], [], 0
    for call in calls:
        began, clock = time.process_time_ns(), time.perf_counter_ns()
        try:
            call()
        except PenstockError:
            refused += 1
        spent.append((time.process_time_ns() - began) / 1e6)
        waited.append((time.perf_counter_ns() - clock) / 1e6)
    p95 = statistics.quantiles(waited, n=20)[-1]
    row = {"cpu_ms": statistics.median(spent), "wall_ms": statistics.median(waited), "wall_p95_ms": p95}
    return {key: round(value, 3) for key, value in row.items()} | {"n": len(calls), "refused": refused}


def reads(shop: SqlShop, people: list[str]) -> dict[str, Row]:
    customers = [found for one in people if (found := shop.customer(one))]
    names = [(one.first_name, one.last_name, one.address.postcode) for one in customers]
    return {
        "products": timed([shop.products] * 100),
        "product": timed([partial(shop.product, f"P{1 + n % 71:03}") for n in range(500)]),
        "customer": timed([partial(shop.customer, one) for one in people]),
        "by e-mail": timed([partial(shop.by_email, one.email) for one in customers]),
        "by name": timed([partial(shop.by_name, *name) for name in names]),
        "orders": timed([partial(shop.orders, one) for one in people]),
    }


def changes(shop: SqlShop, people: list[str]) -> dict[str, Row]:
    """Each order is changed once: what can be changed in turn, so that there is some of everything."""
    sold = {product.id: product for product in shop.products()}
    work: dict[str, list[Callable[[], Any]]] = {}
    for nth, one in enumerate(order for who in people for order in shop.orders(who)):
        item, method = one.items[0], one.payments[0].method
        others = [other.id for other in sold[item.product].variants if other.stock > 3 and other.id != item.variant]
        asked = (f"k{nth}", one.customer, one.number)
        if one.status == "pending":
            work.setdefault("change address", []).append(
                partial(shop.change_address, f"a{nth}", *asked[1:], moved(one))
            )
            if nth % 2 and others:
                work.setdefault("change items", []).append(
                    partial(shop.change_items, *asked, [(item.variant, others[0])], method)
                )
            else:
                work.setdefault("cancel", []).append(partial(shop.cancel, *asked, "no longer needed"))
        if one.status == "delivered" and one.delivered >= "2026-11-01":
            if nth % 2 and others:
                work.setdefault("exchange", []).append(
                    partial(shop.exchange, *asked, [(item.variant, others[0])], method)
                )
            else:
                work.setdefault("return", []).append(partial(shop.give_back, *asked, [item.variant], method))
    rows = {name: timed(calls[:300]) for name, calls in work.items()}
    return rows | {"the same again": timed(work["cancel"][:300])}


def moved(order: Order) -> Address:
    return replace(order.address, line2="c/o a neighbour")


def measured(customers: int) -> tuple[Row, dict[str, Row]]:
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        shop = demo_shop(Path(folder) / "shop.db", today=lambda: DAY, customers=customers)
        made = time.process_time()
        Recommender(shop.products(), shop.histories())
        whole = {
            "made_cpu_s": round(made - began, 2),
            "what_goes_with_what_cpu_s": round(time.process_time() - made, 2),
            "file_mb": round((Path(folder) / "shop.db").stat().st_size / 2**20, 1),
        }
        people = [f"C{1 + n * (customers // 1_000 or 1) % customers:06}" for n in range(1_000)]
        rows = reads(shop, people) | changes(shop, people)
        shop.close()
    return whole, rows


def main() -> None:
    figures: dict[str, Any] = {
        "versions": versions(["orjson"]),
        "conditions": "one process, temporary folder, disk synced at each change",
    }
    for customers in (2_000, 50_000):
        whole, rows = measured(customers)
        columns = {
            "CPU ms": "cpu_ms",
            "wall ms": "wall_ms",
            "wall p95 ms": "wall_p95_ms",
            "n": "n",
            "refused": "refused",
        }
        show(f"{customers:,} customers: {whole}", columns, rows)
        figures[f"{customers} customers"] = whole | {"each": rows}
    write("retail_shop", claim=__doc__, command="python -m benchmarks.retail_shop", figures=figures)


if __name__ == "__main__":
    main()
