"""What a customer may like, from what others bought who bought the same. It is counted, so that each suggestion has its reason.

For two products it is counted how many customers bought the second with, or after, the first. Few cases say little, so the share is
pulled towards what is bought from the same category anyway (shrinkage). Nothing is suggested that is out of stock, that they have,
or that they have sent back. Nobody's name is needed: it counts baskets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from .shop import Order, Product, Variant

__all__ = ["Recommendation", "Recommender"]

SHRINKAGE: Final = 8.0  # customers that what is usual counts for
FADES: Final = 0.9  # what each newer purchase leaves of an older one's weight
RECENT: Final = 12  # purchases that are looked at
LONGEST: Final = 200  # purchases of one customer that are counted: beyond is no household


class Recommendation(NamedTuple):
    """variant: one that is in stock. because: number of the product that led to it; "" where it is what most people buy."""

    product: Product
    variant: Variant
    because: str
    reason: str


class Recommender:
    """Counts once, when it is made. products: for their categories. histories: as a shop's `histories` gives them."""

    def __init__(self, products: Sequence[Product], histories: Iterable[Sequence[Sequence[str]]]) -> None:
        self._category = {product.id: product.category for product in products}
        self._buyers: Counter[str] = Counter()  # product -> customers who bought it
        self._both: dict[str, Counter[str]] = {}  # product -> another, with or after it -> customers
        self._of_category: Counter[str] = Counter()  # category -> purchases
        self._categories: dict[str, Counter[str]] = {}  # category -> category with or after it -> pairs
        for baskets in histories:
            self._count([[one for one in basket if one in self._category] for basket in baskets])
        self._most = max(self._buyers.values(), default=1)

    def recommend(
        self, orders: Sequence[Order], products: Sequence[Product], *, count: int = 3
    ) -> tuple[Recommendation, ...]:
        """orders: the customer's, the newest first. products: as they are now, with their stock."""
        bought, unwanted = _purchases(orders)
        names = {product.id: product.name for product in products}
        found = []
        for product in products:
            variant = _in_stock(product)
            if variant is None or product.id in unwanted or product.id in bought:
                continue
            score, because = self.score(bought, product.id)
            because = because if because in names else ""
            found.append(
                (-score, product.id, Recommendation(product, variant, because, _reason(names.get(because, ""))))
            )
        return tuple(one for _, _, one in sorted(found, key=lambda one: one[:2])[:count])

    def score(self, bought: Sequence[str], product: str) -> tuple[float, str]:
        """How much is for a product, and which of those bought (the oldest first) says the most for it; "" where none does."""
        usual = self._buyers[product] / self._most * 0.01  # among equals, what most people buy
        score, best, because = usual, 0.0, ""
        weight = 1.0
        for one in reversed(bought[-RECENT:]):
            more = weight * self._share(one, product)
            score += more
            if more > best and self._both.get(one, Counter())[product] >= 2:  # one case is no reason
                best, because = more, one
            weight *= FADES
        return score, because

    def _share(self, first: str, second: str) -> float:
        """Of those who bought the first, how many buy the second too; with few of them nearly what is usual for its category."""
        near = self._categories.get(self._category.get(first, ""), Counter())
        category = self._category.get(second, "")
        usual = near[category] / (near.total() or 1) * self._buyers[second] / (self._of_category[category] or 1)
        return (self._both.get(first, Counter())[second] + SHRINKAGE * usual) / (self._buyers[first] + SHRINKAGE)

    def _count(self, baskets: Sequence[Sequence[str]]) -> None:
        when: dict[str, int] = {}
        for nth, basket in enumerate(baskets):
            for one in basket:
                if len(when) < LONGEST:
                    when.setdefault(one, nth)
        for one, nth in when.items():
            self._buyers[one] += 1
            self._of_category[self._category[one]] += 1
            for other, later in when.items():
                if other != one and later >= nth:
                    self._both.setdefault(one, Counter())[other] += 1
                    self._categories.setdefault(self._category[one], Counter())[self._category[other]] += 1


def _purchases(orders: Sequence[Order]) -> tuple[list[str], set[str]]:
    """What they bought and kept, the oldest first, and what they have sent back."""
    kept: list[str] = []
    back: set[str] = set()
    for order in reversed(orders):
        if order.status == "cancelled":
            continue
        returned = (order.notes or {}).get("return", {}).get("items", ())
        for item in order.items:
            if item.variant in returned:
                back.add(item.product)
            elif item.product not in kept:
                kept.append(item.product)
    return kept, back


def _in_stock(product: Product) -> Variant | None:
    """The one of which there is the most: it will still be there when they have read of it."""
    return max((one for one in product.variants if one.stock > 0), key=lambda one: one.stock, default=None)


def _reason(name: str) -> str:
    return f"because you bought {name}" if name else "because many customers like it"
