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

from penstock.apps.retail_bot import generate
from penstock.apps.retail_bot.recommend import Recommender

SHOWN = 5
Suggest = Callable[[Sequence[str]], list[str]]


def measured(seed: int, customers: int) -> None:
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

    print(f"seed {seed}, {customers:,} customers, {len(asked):,} held-out orders; counted in {counted_s:.2f} s of CPU")
    ways: dict[str, Suggest] = {"ours": ours, "popular": popular, "popular in their categories": near}
    for name, suggest in ways.items():
        began, hits = time.process_time(), 0
        for bought, new in asked:
            hits += bool(new & set([one for one in suggest(bought) if one not in bought][:SHOWN]))
        each_ms = (time.process_time() - began) / len(asked) * 1e3
        print(f"  {name:28} hit rate at {SHOWN}: {hits / len(asked):.3f}   {each_ms:.2f} ms")


if __name__ == "__main__":
    measured(2, 600)
    measured(2, 6_000)
    measured(3, 6_000)
