"""What the retail bot suggests: what goes with what somebody has, each with its reason, and nothing that cannot be had."""

from datetime import date
from decimal import Decimal
from pathlib import Path

from penstock.apps.retail_bot import generate
from penstock.apps.retail_bot.demo import demo_shop
from penstock.apps.retail_bot.recommend import Recommender
from penstock.apps.retail_bot.shop import Address, Item, Order, Product, Status, Variant

HOME = Address("Street 1", "", "City", "", "1", "Germany")


def product(number: str, category: str = "camping", stock: int = 5) -> Product:
    variants = (Variant(f"{number}-1", {}, Decimal("10.00"), stock), Variant(f"{number}-2", {}, Decimal("10.00"), 0))
    return Product(number, f"the {number}", variants, category)


def order(*products: str, status: Status = "delivered", back: tuple[str, ...] = ()) -> Order:
    items = tuple(Item(f"{one}-1", one, f"the {one}", {}, Decimal("10.00")) for one in products)
    notes = {"return": {"items": [f"{one}-1" for one in back]}} if back else None
    return Order("N1", "c", status, items, HOME, (), (), "2026-01-01", "", notes)


TENT, MAT, STOVE, BULB, DESK = (
    product("tent"),
    product("mat"),
    product("stove"),
    product("bulb", "lamps"),
    product("desk", "office"),
)
SOLD = (TENT, MAT, STOVE, BULB, DESK)
OTHERS = [[["tent"], ["mat"]]] * 20 + [[["tent", "stove"]]] * 6 + [[["bulb"]]] * 60 + [[["desk"], ["bulb"]]] * 3


def suggested(orders: list[Order], sold: tuple[Product, ...] = SOLD, count: int = 3) -> list[str]:
    return [one.product.id for one in Recommender(SOLD, OTHERS).recommend(orders, sold, count=count)]


def test_what_others_bought_with_it_comes_first_with_its_reason():
    first, second, *_ = Recommender(SOLD, OTHERS).recommend([order("tent")], SOLD)

    assert (first.product.id, first.because, first.reason) == ("mat", "tent", "because you bought the tent")
    assert second.product.id == "stove"


def test_what_comes_before_is_no_reason_for_what_comes_after():
    suggestions = Recommender(SOLD, OTHERS).recommend([order("mat")], SOLD, count=9)

    assert [one.because for one in suggestions if one.product.id == "tent"] == [""]


def test_nothing_is_suggested_that_is_out_of_stock():
    gone = product("mat", stock=0)

    assert "mat" not in suggested([order("tent")], (TENT, gone, STOVE, BULB, DESK), count=9)
    for one in Recommender(SOLD, OTHERS).recommend([order("tent")], SOLD, count=9):
        assert one.variant.stock > 0


def test_nothing_is_suggested_that_they_have_or_have_sent_back():
    orders = [order("tent", "mat", status="return requested", back=("mat",)), order("stove")]

    assert not {"tent", "mat", "stove"} & set(suggested(orders, count=9))


def test_a_cancelled_order_is_no_purchase():
    assert suggested([order("tent", status="cancelled")]) == suggested([])


def test_whoever_has_bought_nothing_is_shown_what_most_people_buy():
    first, *_ = Recommender(SOLD, OTHERS).recommend([], SOLD)

    assert (first.product.id, first.because, first.reason) == ("bulb", "", "because many customers like it")


def test_one_case_is_no_reason():
    recommender = Recommender(SOLD, [[["desk", "tent"]], *OTHERS])

    assert [
        one.because for one in recommender.recommend([order("desk")], SOLD, count=9) if one.product.id == "tent"
    ] == [""]


def test_a_shop_without_customers_suggests_in_a_fixed_order():
    assert [one.product.id for one in Recommender(SOLD, []).recommend([order("tent")], SOLD)] == ["bulb", "desk", "mat"]
    assert Recommender((), []).recommend([order("tent")], ()) == ()


def test_it_finds_what_people_buy_next_in_the_demo_shop(tmp_path: Path):
    shop = demo_shop(tmp_path / "shop.db", today=lambda: date(2026, 11, 30), customers=400)
    histories = list(shop.histories())
    hits = popular = asked = 0
    known = [baskets[:-1] if len(baskets) > 2 else baskets for baskets in histories]
    recommender = Recommender(shop.products(), known)
    most = [one.product.id for one in recommender.recommend([], shop.products(), count=99)]
    sold = generate.products()
    for baskets in histories:
        if len(baskets) > 2:
            bought = list(dict.fromkeys(one for basket in baskets[:-1] for one in basket))
            new = set(baskets[-1]) - set(bought)
            asked += bool(new)
            ranked = sorted(
                (one.id for one in sold if one.id not in bought), key=lambda one: -recommender.score(bought, one)[0]
            )
            hits += bool(new & set(ranked[:5]))
            popular += bool(new & set([one for one in most if one not in bought][:5]))
    shop.close()

    assert asked > 50
    assert hits > 1.5 * popular
