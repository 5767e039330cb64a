"""Claim: what the retail bot suggests is what customers buy next, more often than what is most popular.

    python -m benchmarks.retail_recommend

The last order of each customer of a generated shop is held out. A hit: one of its products, new to the customer, is among the five
suggested. Beside it: the most popular products, and the most popular of the categories that the customer bought from.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from benchmarks.measure import Row, show, write
from penstock.apps.retail_bot import generate
from penstock.apps.retail_bot.recommend import Recommender

SHOWN = 5
Suggest = Callable[[Sequence[str]], list[str]]


def measured(seed: int, customers: int) -> tuple[Row, dict[str, Row]]:
    sold = generate.products(seed)
    known, asked = [], []
    for _, orders in generate.people(sold, today=date(2026, 11, 30), seed=seed, customers=customers):
        baskets = [[item.product for item in order.items] for order in orders if order.status != "cancelled"]
        new = set(baskets[-1]) - {one for basket in baskets[:-1] for one in basket} if len(baskets) > 1 else set()
        if new:
            asked.append(([one for basket in baskets[:-1] for one in basket], new))
            baskets.pop()
        known.append(baskets)
    began = time.process_time()
    recommender = Recommender(sold, known)
    counted_s = time.process_time() - began
    numbers = [product.id for product in sold]
    category = {product.id: product.category for product in sold}
    buyers = Counter(one for baskets in known for one in {one for basket in baskets for one in basket})

    def ours(bought: Sequence[str]) -> list[str]:
        return sorted(numbers, key=lambda one: -recommender.score(list(dict.fromkeys(bought)), one)[0])

    def popular(bought: Sequence[str]) -> list[str]:
        return sorted(numbers, key=lambda one: -buyers[one])

    def near(bought: Sequence[str]) -> list[str]:
        theirs = Counter(category[one] for one in bought)
        return sorted(numbers, key=lambda one: (-theirs[category[one]], -buyers[one]))

    ways: dict[str, Suggest] = {"ours": ours, "popular": popular, "popular in their categories": near}
    rows: dict[str, Row] = {}
    for name, suggest in ways.items():
        began, hits = time.process_time(), 0
        for bought, new in asked:
            hits += bool(new & set([one for one in suggest(bought) if one not in bought][:SHOWN]))
        each_ms = (time.process_time() - began) / len(asked) * 1e3
        rows[name] = {"hit_rate": round(hits / len(asked), 3), "cpu_ms": round(each_ms, 2)}
    return {"held_out": len(asked), "counted_cpu_s": round(counted_s, 2)}, rows


def main() -> None:
    figures: dict[str, Any] = {"conditions": f"{SHOWN} suggestions, none of what was bought before"}
    for seed, customers in ((2, 600), (2, 6_000), (3, 6_000)):
        whole, rows = measured(seed, customers)
        show(f"seed {seed}, {customers:,} customers: {whole}", {"hit rate": "hit_rate", "CPU ms": "cpu_ms"}, rows)
        figures[f"seed {seed}, {customers} customers"] = whole | {"each": rows}
    write("retail_recommend", claim=__doc__, command="python -m benchmarks.retail_recommend", figures=figures)


if __name__ == "__main__":
    main()
