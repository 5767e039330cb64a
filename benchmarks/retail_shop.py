"""Claim: what the retail bot reads of one customer takes less than a millisecond of CPU, and a change or the whole catalogue a few.

    python -m benchmarks.retail_shop [--customers 50_000]

CPU time of this process for each call, one thread, on the demo shop; the time on the clock beside it, since a change waits for
the disk. The file is made anew each time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from penstock.apps.retail_bot.demo import demo_shop
from penstock.apps.retail_bot.recommend import Recommender
from penstock.apps.retail_bot.shop import Address, Order
from penstock.apps.retail_bot.sql import SqlShop
from penstock.errors import PenstockError

DAY = date(2026, 11, 30)


def timed(name: str, calls: list[Callable[[], Any]]) -> None:
    spent, waited, refused = [], [], 0
    for call in calls:
        began, clock = time.process_time_ns(), time.perf_counter_ns()
        try:
            call()
        except PenstockError:
            refused += 1
        spent.append((time.process_time_ns() - began) / 1e3)
        waited.append((time.perf_counter_ns() - clock) / 1e3)
    took = f"{statistics.median(spent):7.0f} us of CPU   {statistics.median(waited):7.0f} us on the clock"
    print(f"  {name:16} {took}, p95 {statistics.quantiles(waited, n=20)[-1]:7.0f}   n {len(calls)}, {refused} refused")


def reads(shop: SqlShop, people: list[str]) -> None:
    customers = [found for one in people if (found := shop.customer(one))]
    names = [(one.first_name, one.last_name, one.address.postcode) for one in customers]
    timed("products", [shop.products] * 100)
    timed("product", [partial(shop.product, f"P{1 + n % 71:03}") for n in range(500)])
    timed("customer", [partial(shop.customer, one) for one in people])
    timed("by e-mail", [partial(shop.by_email, one.email) for one in customers])
    timed("by name", [partial(shop.by_name, *name) for name in names])
    timed("orders", [partial(shop.orders, one) for one in people])


def changes(shop: SqlShop, people: list[str]) -> None:
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
    for name, calls in work.items():
        timed(name, calls[:300])
    timed("the same again", work["cancel"][:300])


def moved(order: Order) -> Address:
    return replace(order.address, line2="c/o a neighbour")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, default=2_000)
    customers = parser.parse_args().customers
    with tempfile.TemporaryDirectory() as folder:
        began, cpu = time.perf_counter(), time.process_time()
        shop = demo_shop(Path(folder) / "shop.db", today=lambda: DAY, customers=customers)
        size = (Path(folder) / "shop.db").stat().st_size / 2**20
        took = f"{time.perf_counter() - began:.1f} s, {time.process_time() - cpu:.1f} s of CPU"
        print(f"{customers:,} customers: made in {took}, {size:.0f} MB")
        began = time.process_time()
        Recommender(shop.products(), shop.histories())
        print(f"  what is bought with what: {time.process_time() - began:.2f} s of CPU")
        people = [f"C{1 + n * (customers // 1_000 or 1) % customers:06}" for n in range(1_000)]
        reads(shop, people)
        changes(shop, people)
        shop.close()


if __name__ == "__main__":
    main()
