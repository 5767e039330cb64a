"""From what a customer wants to what can be asked of the shop: which orders, which items, which variants, paid how. What the
rules do not allow becomes a note with the rule, or what the customer wants in its place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from .addresses import read_address
from .rules import called
from .shop import Address, Customer, Order, PaymentMethod, Product, Variant
from .understanding import Mention, Place, Wish, described, mentions, order_numbers
from .variants import Said, Target, choose, named_options, read_target, words

__all__ = [
    "Note",
    "Plan",
    "Question",
    "Step",
    "chosen_places",
    "methods_for",
    "original_method",
    "place_called",
    "plan",
]

Rule = Literal[
    "part_of_order",
    "not_pending",
    "not_delivered",
    "not_in_stock",
    "method",
    "not_found",
    "once",
    "balance",
    "which",
    "new_order",
    "lost",
]
ABOUT: Final = 300  # characters by which a question is found again
_SORT: Final = (
    "move",
    "change_address",
    "change_payment",
    "change_items",
    "cancel_order",
    "return_items",
    "exchange_items",
)


class Note(NamedTuple):
    """What cannot be done, and why."""

    rule: Rule
    order: str = ""
    items: tuple[str, ...] = ()  # names
    said: str = ""  # words of the customer that it is about
    choices: tuple[str, ...] = ()  # variants, orders or methods that there are


@dataclass(slots=True)
class Step:
    """An action with the arguments that are known. unsettled: candidates of what is not: `order`, `item`, `variant`, `method`."""

    action: str
    arguments: dict[str, Any]
    open: dict[str, tuple[str, ...]] = field(default_factory=dict)
    wish: Wish | None = None


class Question(NamedTuple):
    """What has to be asked before a wish can be planned: which of these things, or what a thing is to become."""

    about: str  # by which the answer is found
    what: Literal["which", "variant"]
    kind: str  # of the wish
    places: tuple[Place, ...]


@dataclass(slots=True)
class Plan:
    steps: list[Step] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


@dataclass(slots=True)
class _World:
    customer: Customer
    orders: Sequence[Order]
    products: Mapping[str, Product]
    plan: Plan
    answers: Mapping[str, str]

    def places(self) -> list[Place]:
        return [Place(order, item, at) for order in self.orders for at, item in enumerate(order.items)]


def plan(
    wishes: Sequence[Wish], customer: Customer, orders: Sequence[Order], products: Sequence[Product],
    answers: Mapping[str, str] | None = None,
) -> Plan:  # fmt: skip
    """What to ask of the shop for these wishes, in an order in which each can be done. answers: what was said to questions of a
    plan before, by what they were about."""
    world = _World(customer, orders, {one.id: one for one in products}, Plan(), answers or {})
    for wish in wishes:
        _one(world, wish)
    _merge(world)
    return world.plan


def _one(world: _World, wish: Wish) -> bool:
    """Adds the steps of a wish; False where there are none."""
    match wish.kind:
        case "cancel":
            done = _cancel(world, wish)
        case "return":
            done = _return(world, wish)
        case "change":
            done = _change(world, wish)
        case "address":
            done = _address(world, wish)
        case "move":
            done = _move(world, wish)
        case "payment":
            done = _payment(world, wish)
        case _:
            return True
    if not done and wish.otherwise:
        world.plan.notes = list(world.plan.notes)
        return any(_one(world, other) for other in wish.otherwise)
    return done


# ---------------------------------------------------------------- which


def _asked(world: _World, wish: Wish, places: Sequence[Place], what: Literal["which", "variant"] = "which") -> bool:
    """Has it asked which is meant, or plans what was answered."""
    about = f"{what}: {wish.text}"[:ABOUT]
    answer = world.answers.get(about)
    if answer is None:
        world.plan.questions.append(Question(about, what, wish.kind, tuple(places)))
        return True
    if what == "variant":
        return _one(world, replace(wish, target=answer, only=_keys(places)))
    chosen = chosen_places(answer, places, list(world.products.values()))
    if wish.kind == "change" and len(words(answer)) > 4:  # which, and perhaps what it is to become
        wish = replace(wish, target=f"{wish.target} , {' '.join(words(answer))}")
    whole = wish.kind == "cancel"
    return bool(chosen) and _one(world, replace(wish, only=_keys(chosen), everything=True, whole=whole))


def _keys(places: Sequence[Place]) -> frozenset[tuple[str, int]]:
    return frozenset((one.order.number, one.at) for one in places)


def place_called(place: Place) -> str:
    """As it is asked for: "Ridge tent (colour green) of order TH-12"."""
    return f"{called(place.item)} of order {place.order.number}"


def chosen_places(answer: str, places: Sequence[Place], products: Sequence[Product]) -> list[Place]:
    """Those of the places that an answer names: by its button, by the order's number, by their options, or all of them."""
    button = answer.strip().casefold()
    if pressed := [one for one in places if place_called(one).casefold() == button]:
        return pressed
    numbers = order_numbers(answer, [one.order for one in places])
    if numbers:
        return [one for one in places if one.order.number in numbers]
    said = words(answer)
    line = " ".join(said)
    named = mentions(said, [one for one in products if any(one.id == place.item.product for place in places)])
    found = [place for place in places if any(place.item.product in one.products for one in named)] or list(places)
    about = Mention(frozenset(one.item.product for one in found), 0, 0, tuple(said))
    fitting = described(about, found, products)
    every = re.search(r"\b(?:all|both|every|everything|each)\b", line)
    if len(fitting) < len(places) and not (every and len(fitting) == 1 and not named):
        return fitting
    count = next((int(one) for one in said if one in ("2", "3", "4")), 0)
    if every or (count and count == len(places)):
        return list(places)
    for word, at in (("first", 0), ("second", 1), ("third", 2), ("last", -1)):
        if word in said and len(places) > abs(at):
            return [list(places)[at]]
    for word, at in (("newest", 0), ("latest", 0), ("recent", 0), ("oldest", -1), ("older", -1), ("earlier", -1)):
        if word in said and all(one.order.placed for one in places):
            return [one for one in places if one.order.number == places[at].order.number]
    return []


def _candidates(world: _World, wish: Wish) -> list[Place]:
    """The bought things that a wish is about, whatever state their orders are in."""
    places = world.places()
    if wish.only is not None:
        return [one for one in places if (one.order.number, one.at) in wish.only]
    if wish.numbers:
        places = [one for one in places if one.order.number in wish.numbers]
    for hint in wish.hints:
        if hint.startswith("with "):
            ids = set(hint.split()[1:])
            places = [one for one in places if any(item.product in ids for item in one.order.items)]
    if wish.mentions and not wish.everything:
        found: list[Place] = []
        for mention in wish.mentions:
            if mention.is_order:
                numbers = {one.order.number for one in places if one.item.product in mention.products}
                found += [one for one in places if one.order.number in numbers]
            else:
                found += described(mention, places, list(world.products.values()))
        places = _unique(found)
    if wish.left_out:
        out = {number for one in wish.left_out for number in one.products}
        places = [one for one in places if one.item.product not in out]
    return places


def _unique(places: Sequence[Place]) -> list[Place]:
    found: dict[tuple[str, int], Place] = {}
    for one in places:
        found.setdefault((one.order.number, one.at), one)
    return list(found.values())


def _newest(places: Sequence[Place]) -> list[Place]:
    dates = {one.order.placed for one in places}
    if len(dates) > 1 and all(dates):
        last = max(dates)
        return [one for one in places if one.order.placed == last]
    return list(places)


def _is_pending(order: Order) -> bool:
    return order.status == "pending"


def _ambiguous(wish: Wish, places: Sequence[Place], products: Mapping[str, Product]) -> list[list[Place]]:
    """For each mention that fits more than one thing and doesn't mean all of them: what it fits."""
    found = []
    for mention in wish.mentions:
        if mention.is_order or mention.every:
            continue
        its = [one for one in places if one.item.product in mention.products]
        its = described(mention, its, list(products.values()))
        wanted = max(mention.count, 1)
        if len({(one.order.number, one.item.variant) for one in its}) > wanted:
            found.append(its)
    return found


# ---------------------------------------------------------------- cancel


def _cancel(world: _World, wish: Wish) -> bool:
    found = _candidates(world, wish)
    pending = [one for one in found if _is_pending(one.order)]
    if not wish.numbers and not wish.mentions and not wish.everything and wish.only is None:
        if "partly" in wish.hints:
            return False
        every = re.search(r"\b(?:all|both|every|orders)\b", wish.text.lower())
        numbers = list(dict.fromkeys(one.order.number for one in pending))
        if count := re.search(r"\b(\d+) item", " ".join(words(wish.text))):
            numbers = [
                order.number for order in world.orders if order.number in numbers and len(order.items) == int(count[1])
            ]
        if len(numbers) > 1 and not every:
            if "recent" in wish.hints:
                numbers = numbers[:1]
            elif "older" in wish.hints:
                numbers = numbers[-1:]
            else:
                return _asked(world, wish, pending)
        for number in numbers:
            _step(world, "cancel_order", {"order": number, "reason": wish.reason}, wish)
        return bool(numbers)
    if not pending:
        if any(one.order.status == "delivered" for one in found):
            return _return(world, replace(wish, kind="return", otherwise=[]))
        world.plan.notes.append(Note("not_pending" if found else "not_found", *_about(found), said=wish.text))
        return False
    numbers = list(dict.fromkeys(one.order.number for one in pending))
    if len(numbers) > 1 and wish.whole and wish.only is None and wish.hints & {"older", "recent"}:
        placed = [order.placed for order in world.orders if order.number in numbers]
        if not all(placed) or len(set(placed)) < len(placed):
            return _asked(world, wish, pending)  # nobody knows which is the older one
        kept = numbers[-1] if "older" in wish.hints else numbers[0]
        pending = [one for one in pending if one.order.number == kept]
    done = False
    for order in [order for order in world.orders if any(one.order.number == order.number for one in pending)]:
        meant = {one.at for one in pending if one.order.number == order.number}
        if not wish.whole and len(meant) < len(order.items) and not wish.everything:
            if len({one.order.number for one in pending}) > 1 and _covers(world, wish, pending):
                continue  # another order has exactly that
            world.plan.notes.append(
                Note("part_of_order", order.number, tuple(order.items[at].name for at in sorted(meant)), wish.text)
            )
            continue
        _step(world, "cancel_order", {"order": order.number, "reason": wish.reason}, wish)
        done = True
    delivered = [one for one in found if one.order.status == "delivered"]
    if wish.mentions and delivered:
        left = {number for one in wish.mentions for number in one.products} - {one.item.product for one in pending}
        rest = [one for one in wish.mentions if one.products & left]
        if rest:
            done |= _return(world, replace(wish, kind="return", mentions=rest, otherwise=[]))
    return done


def _covers(world: _World, wish: Wish, pending: Sequence[Place]) -> bool:
    numbers = {one.order.number for one in pending}
    return any(
        len(order.items) == sum(one.order.number == order.number for one in pending)
        for order in world.orders
        if order.number in numbers
    )


def _about(found: Sequence[Place]) -> tuple[str, tuple[str, ...]]:
    return (found[0].order.number if found else "", tuple(one.item.name for one in found[:5]))


# ---------------------------------------------------------------- return


def _return(world: _World, wish: Wish) -> bool:
    found = _candidates(world, wish)
    delivered = [one for one in found if one.order.status == "delivered"]
    if not wish.mentions and not wish.everything and not wish.left_out and wish.only is None:
        orders = {one.order.number for one in delivered}
        if not (wish.numbers or len(orders) == 1) or re.search(r"\bitems?\b|\bsome\b", wish.text.lower()):
            return _asked(world, wish, delivered)
    lost = {one.item.name for one in delivered if _is_lost(wish, one)}
    if lost and wish.otherwise:
        world.plan.notes.append(Note("lost", delivered[0].order.number, tuple(sorted(lost)), wish.text))
        return False
    if not delivered:
        if found and all(_is_pending(one.order) for one in found):
            number, names = _about(found)
            world.plan.notes.append(Note("not_delivered", number, names, wish.text))
        else:
            world.plan.notes.append(Note("not_delivered" if found else "not_found", *_about(found), said=wish.text))
        return False
    if unsettled := _ambiguous(wish, delivered, world.products):
        picked = [_narrower(wish, its) for its in unsettled]
        if any(len({(one.order.number, one.item.variant) for one in its}) > 1 for its in picked):
            return _asked(world, wish, [one for its in picked for one in its])
        kept = [one for its in picked for one in its]
        loose = {(one.order.number, one.at) for its in unsettled for one in its}
        delivered = [one for one in delivered if (one.order.number, one.at) not in loose] + kept
    done = False
    for order in world.orders:
        its = [one for one in delivered if one.order.number == order.number]
        if not its:
            continue
        method, why = _refund_method(world.customer, order, wish.methods)
        if method is None and wish.methods and wish.otherwise:
            world.plan.notes.append(
                Note(
                    "method",
                    order.number,
                    choices=tuple(one.id for one in methods_for(world.customer, order, "return")),
                    said=why,
                )
            )
            for other in wish.otherwise:
                other.numbers = other.numbers or (order.number,)
            return False
        if method is None and wish.methods:
            world.plan.notes.append(
                Note(
                    "method",
                    order.number,
                    choices=tuple(one.id for one in methods_for(world.customer, order, "return")),
                    said=why,
                )
            )
        arguments: dict[str, Any] = {"order": order.number, "items": [one.item.variant for one in its]}
        if method:
            arguments["method"] = method
        _step(world, "return_items", arguments, wish)
        done = True
    return done


def _is_lost(wish: Wish, place: Place) -> bool:
    """Whether the customer says that they no longer have it: nothing can be sent back then."""
    return "lost" in wish.hints and any(place.item.product in one.products for one in wish.mentions)


def _narrower(wish: Wish, its: Sequence[Place]) -> list[Place]:
    """By when it was bought, and which order was spoken of."""
    if "recent" in wish.hints:
        return _newest(its)
    return list(its)


def original_method(order: Order) -> str:
    return next((one.method for one in order.payments if one.amount > 0), "")


def methods_for(customer: Customer, order: Order, what: str) -> list[PaymentMethod]:
    """The ways in which something of an order may be paid, or given back."""
    original = original_method(order)
    if what == "return":
        return [one for one in customer.payment_methods if one.id == original or one.kind == "gift_card"]
    if what == "payment":
        total = sum((item.price for item in order.items), Decimal(0))
        return [
            one
            for one in customer.payment_methods
            if one.id != original and (one.balance is None or one.balance >= total)
        ]
    return list(customer.payment_methods)


def method_named(customer: Customer, order: Order, name: str) -> list[PaymentMethod]:
    """Those of the customer's methods that a word for them means."""
    original = original_method(order)
    if name == "original":
        return [one for one in customer.payment_methods if one.id == original]
    if name == "other":
        return [one for one in customer.payment_methods if one.id != original]
    if name.isdigit():
        return [one for one in customer.payment_methods if one.last_four == name]
    its = [one for one in customer.payment_methods if one.kind == name]
    return sorted(its, key=lambda one: one.id != original)


def _refund_method(customer: Customer, order: Order, names: Sequence[str]) -> tuple[str | None, str]:
    may = {one.id for one in methods_for(customer, order, "return")}
    for name in names:
        for one in method_named(customer, order, name):
            if one.id in may:
                return one.id, ""
    if not names and len(may) == 1:
        return next(iter(may)), ""
    return None, ", ".join(names)


# ---------------------------------------------------------------- change, exchange


def _change(world: _World, wish: Wish) -> bool:
    found = [one for one in _candidates(world, wish) if one.order.status in ("pending", "delivered")]
    if not found:
        anything = _candidates(world, wish)
        world.plan.notes.append(Note("not_pending" if anything else "not_found", *_about(anything), said=wish.text))
        return False
    everything = wish.everything or (not wish.mentions and bool(re.search(r"\b(?:all|every)\b", wish.text.lower())))
    if not wish.mentions and not everything and wish.only is None:
        fitting = [one for one in found if _reads(world, one, wish)]
        if not fitting and not wish.numbers:
            return False
        found = fitting or found
    found = _of_state(wish, found) if wish.only is None else found
    every = everything or any(one.every for one in wish.mentions)
    if not every:
        narrowed = _by_source(world, wish, found)
        count = max((one.count for one in wish.mentions), default=0)
        if re.search(r"\b2\b[\w ]{0,20}\b", " ".join(words(wish.target))) and re.search(
            r"\b(?:actually|two|2) \w+", wish.text.lower()
        ):
            count = max(count, 2)
        if len(narrowed) > max(count, 1) and len({(one.order.number, one.item.variant) for one in narrowed}) > 1:
            narrowed = _newest(narrowed) if "recent" in wish.hints else narrowed
            if len(narrowed) > max(count, 1):
                return _asked(world, wish, narrowed)
        if len(narrowed) > max(count, 1):
            narrowed = narrowed[: max(count, 1)]
        found = narrowed
    done = False
    orders: dict[str, list[Place]] = {}
    for one in found:
        orders.setdefault(one.order.number, []).append(one)
    for number, its in orders.items():
        order = its[0].order
        changes: list[tuple[str, str]] = []
        unsettled: dict[str, tuple[str, ...]] = {}
        total = Decimal(0)
        for place in its:
            target = target_of(world, wish, place)
            if not target:
                if not every or len(found) == 1:
                    done |= _asked(world, wish, [place], "variant")
                continue
            product = world.products[place.item.product]
            variants = choose(product, place.item.options, place.item.price, target, old_id=place.item.variant)
            if not variants:
                if not every:
                    world.plan.notes.append(
                        Note("not_in_stock", number, (place.item.name,), wish.target, _closest(product, place, target))
                    )
                continue
            best = min(variants, key=lambda one: (abs(one.price - place.item.price), one.id))
            if len(variants) > 1:
                unsettled["variants"] = tuple(one.id for one in variants)
            changes.append((place.item.variant, best.id))
            total += best.price - place.item.price
        if not changes:
            continue
        action = "change_items" if order.status == "pending" else "exchange_items"
        arguments: dict[str, Any] = {"order": number, "changes": changes}
        if method := _difference_method(world.customer, order, wish.methods, total):
            arguments["method"] = method
        _step(world, action, arguments, wish, unsettled)
        done = True
    return done


def _reads(world: _World, place: Place, wish: Wish) -> bool:
    product = world.products.get(place.item.product)
    return product is not None and bool(read_target(product, wish.target))


def _of_state(wish: Wish, found: list[Place]) -> list[Place]:
    """The pending ones or the delivered ones, by what was said of the order, or the word for the change."""
    pending = [one for one in found if one.order.status == "pending"]
    delivered = [one for one in found if one.order.status == "delivered"]
    if not pending or not delivered:
        return found
    head = wish.text.lower()
    if "pending" in wish.hints and "delivered" not in wish.hints:
        return pending
    if "delivered" in wish.hints and "pending" not in wish.hints:
        return delivered
    before = re.split(r"\b(?:to|for|as)\b", head)[0]
    if re.search(r"pending|just ordered|just bought|just placed", before):
        return pending
    if re.search(r"received|delivered|arrived", before):
        return delivered
    return delivered if wish.verb.startswith(("exchang", "return", "swap", "replac")) else pending


def _by_source(world: _World, wish: Wish, found: list[Place]) -> list[Place]:
    """By values of the old one that the target's words name too: `from the 17 inch one`; and by what can be had."""
    if len(found) < 2:
        return found
    can = []
    for place in found:
        product = world.products[place.item.product]
        target = target_of(world, wish, place)
        already = target.values and all(
            place.item.options.get(one.options[0]) == one.value for one in target.values if not one.negated
        )
        if (
            target
            and not already
            and choose(product, place.item.options, place.item.price, target, old_id=place.item.variant)
        ):
            can.append(place)
    return can or found


def target_of(world: _World, wish: Wish, place: Place) -> Target:
    """What the new one has to be, as far as the words and the customer's other things tell."""
    product = world.products.get(place.item.product)
    if product is None:
        return Target()
    target = read_target(product, wish.target, price=place.item.price)
    target = _kept_options(product, _without_source(product, target, wish, place), wish, place)
    target = _like_another(world, wish, place, product, target)
    alternatives = []
    for text in wish.later:
        other = read_target(product, text, price=place.item.price)
        spoken = {name for one in other.values for name in one.options}
        kept = tuple(one for one in target.values if not spoken & set(one.options))
        extremes = tuple(one for one in target.extremes if one.option not in spoken)
        if other:
            alternatives.append(
                replace(other, values=(*kept, *other.values), extremes=other.extremes or extremes, rest=target.rest)
            )
    if not target and alternatives:  # the same again is no change
        target, *alternatives = alternatives
    return replace(target, alternatives=tuple(alternatives))


def _without_source(product: Product, target: Target, wish: Wish, place: Place) -> Target:
    """Where an option is said to be two things, what it is now describes what is to go; and more of what is given as a value is
    that value."""
    values = []
    for one in target.values:
        rivals = [
            other
            for other in target.values
            if other != one and set(other.options) & set(one.options) and not other.negated
        ]
        is_now = all(place.item.options.get(name) == one.value for name in one.options)
        if rivals and is_now and not one.negated:
            continue
        values.append(one)
    given = {name for one in values for name in one.options if not one.negated}
    extremes = tuple(one for one in target.extremes if one.option not in given)
    return replace(target, values=tuple(values), extremes=extremes)


def _kept_options(product: Product, target: Target, wish: Wish, place: Place) -> Target:
    """Options that are to stay as they are: `the same size`, `keeping the leather strap`, `I only care about the size`."""
    line = " ".join(words(wish.target))
    given = {name for one in target.values for name in one.options}
    kept = []
    for name in place.item.options:
        for word in words(name):
            if (
                len(word) > 2
                and name not in given
                and re.search(
                    rf"\b(?:same|keep|keeping|retain|only care about)\b(?: the| its| my| current| original)* (?:\w+ "
                    rf"(?:and|or) )?{re.escape(word)}\b(?! (?:as|of) )",
                    line,
                )
            ):
                kept.append(Said((name,), place.item.options[name], 0, 0))
                break
    return replace(target, values=(*target.values, *kept)) if kept and target else target


_LIKE = re.compile(
    r"\b(?:same|like|type|match\w*|identical|other)\b[\w ,]{0,60}\b(?:as|that|which|like|the 1|the "
    r"one|one)\b[\w ,]{0,60}|\bother\b|\bthe (?:type|one|kind|version) (?:that|which|i|in)\b"
)
_OWNED = re.compile(r"\b(?:received|already|pending|other|another|ordered|bought|placed|purchased|previous|have|own)\b")


def _like_another(world: _World, wish: Wish, place: Place, product: Product, target: Target) -> Target:
    line = " ".join(words(wish.target))
    others = [
        one
        for one in world.places()
        if one.item.product == product.id and (one.order.number, one.at) != (place.order.number, place.at)
    ]
    others = [one for one in others if one.order.status != "cancelled" and one.item.variant != place.item.variant]
    if not others or not (_LIKE.search(line) and _OWNED.search(line)):
        return target
    if re.search(r"pending", line):
        others = [one for one in others if one.order.status == "pending"] or others
    elif re.search(r"received|delivered", line):
        others = [one for one in others if one.order.status == "delivered"] or others
    fitting = [
        one
        for one in others
        if all(one.item.options.get(name) == said.value for said in target.values for name in said.options[:1])
    ]
    other = (fitting or others)[0]
    about = re.search(r"same ([\w ]{2,40}?) (?:level |type )?(?:as|of)\b|([\w ]{2,30}?) to be (?:the )?same", line)
    aspect = words(about[1] or about[2]) if about else []
    named = (
        [name for name, _ in named_options(product, aspect)]
        if aspect not in (["type"], ["kind"], ["model"], ["version"])
        else []
    )
    if named:
        values = tuple(Said((name,), other.item.options.get(name, ""), 0, 0) for name in named)
        if not re.search(r"\bother\b.*\bbut\b|if (?:the )?exact", line):
            return replace(target, values=(*target.values, *values))
    exact = next((one for one in product.variants if one.id == other.item.variant and one.stock > 0), None)
    if exact is not None and not named:
        return Target(variant=exact.id)
    loose = {
        name
        for name, at in named_options(product, words(line))
        if re.search(rf"{words(name)[0]}[\w ]{{0,20}}different", line)
    }
    wanted = tuple(Said((name,), value, 0, 0) for name, value in other.item.options.items())
    firm = tuple(one for one in wanted if one.options[0] not in loose)
    return replace(target, values=firm if loose else target.values, wishes=wanted, rest="free")


def _closest(product: Product, place: Place, target: Target) -> tuple[str, ...]:
    """What there is of it in stock that comes nearest, for the customer to choose from."""

    def near(variant: Variant) -> tuple[int, int]:
        fitting = sum(variant.options.get(one.options[0]) == one.value for one in target.values if not one.negated)
        return -fitting, -sum(variant.options.get(name) == value for name, value in place.item.options.items())

    there = [one for one in product.variants if one.stock > 0 and one.id != place.item.variant]
    return tuple(one.id for one in sorted(there, key=near)[:5])


def _difference_method(customer: Customer, order: Order, names: Sequence[str], difference: Decimal) -> str | None:
    for name in names:
        for one in method_named(customer, order, name):
            if one.balance is None or one.balance >= difference:
                return one.id
    may = [one for one in customer.payment_methods if one.balance is None or one.balance >= difference]
    return may[0].id if len(may) == 1 and not names else None


# ---------------------------------------------------------------- addresses, payment


def _orders_meant(world: _World, wish: Wish) -> list[Order] | None:
    """Pending orders that a wish names; None where it has to be asked which."""
    pending = [order for order in world.orders if _is_pending(order)]
    if wish.only is not None:
        return [order for order in world.orders if any(number == order.number for number, _ in wish.only)]
    if wish.numbers:
        return [order for order in world.orders if order.number in wish.numbers]
    if wish.everything or re.search(r"\b(?:all|both|every)\b[\w ]{0,25}\border", wish.text.lower()):
        return pending
    if wish.mentions:
        ids = {number for one in wish.mentions for number in one.products}
        named = [order for order in pending if any(item.product in ids for item in order.items)]
        if named:
            return named if len(named) == 1 else None
    if "recent" in wish.hints and pending:
        return pending[:1]
    return pending if len(pending) <= 1 else None


def _fields(address: Address) -> dict[str, str]:
    return {
        "line1": address.line1, "line2": address.line2, "city": address.city, "region": address.region,
        "postcode": address.postcode, "country": address.country,
    }  # fmt: skip


def _address(world: _World, wish: Wish) -> bool:
    orders = _orders_meant(world, wish)
    if orders is None:
        to = read_address(wish.text, world.customer, world.orders)
        differing = [order for order in world.orders if _is_pending(order) and to is not None and order.address != to]
        if len(differing) != 1:
            return _asked(
                world, wish, [Place(order, order.items[0], 0) for order in world.orders if _is_pending(order)]
            )
        orders = differing
    if not orders or not any(_is_pending(order) for order in orders):
        world.plan.notes.append(Note("not_pending", orders[0].number if orders else "", said=wish.text))
        return False
    for order in orders:
        if not _is_pending(order):
            continue
        to = read_address(wish.text, world.customer, world.orders, order.address)
        arguments: dict[str, Any] = {"order": order.number}
        if to is not None:
            if to == order.address:
                continue
            arguments["address"] = _fields(to)
        _step(world, "change_address", arguments, wish)
    return True


def _move(world: _World, wish: Wish) -> bool:
    to = read_address(wish.text, world.customer, world.orders, world.customer.address, own=False)
    _step(world, "move", {"address": _fields(to)} if to is not None else {}, wish)
    return True


def _payment(world: _World, wish: Wish) -> bool:
    orders = _orders_meant(world, wish)
    if orders is None:
        return _asked(world, wish, [Place(order, order.items[0], 0) for order in world.orders if _is_pending(order)])
    done = False
    for order in orders:
        if not _is_pending(order):
            world.plan.notes.append(Note("not_pending", order.number, said=wish.text))
            continue
        may = methods_for(world.customer, order, "payment")
        chosen = next(
            (one for name in wish.methods for one in method_named(world.customer, order, name) if one in may), None
        )
        if chosen is None and wish.methods:
            world.plan.notes.append(
                Note("method", order.number, choices=tuple(one.id for one in may), said=", ".join(wish.methods))
            )
            continue
        _step(world, "change_payment", {"order": order.number, **({"method": chosen.id} if chosen else {})}, wish)
        done = True
    return done


# ---------------------------------------------------------------- together


def _step(
    world: _World,
    action: str,
    arguments: dict[str, Any],
    wish: Wish,
    unsettled: dict[str, tuple[str, ...]] | None = None,
) -> None:
    world.plan.steps.append(Step(action, arguments, unsettled or {}, wish))


def _merge(world: _World) -> None:
    """The items of an order can be changed once, so all that is wanted of one order is one step. Addresses and payments come
    before the items, after which an order cannot be changed any more."""
    made: list[Step] = []
    for step in world.plan.steps:
        same = next(
            (
                one
                for one in made
                if one.action == step.action and one.arguments.get("order") == step.arguments.get("order")
            ),
            None,
        )
        if same is None or step.action == "move":
            made.append(step)
            continue
        match step.action:
            case "return_items":
                same.arguments["items"] = _with_counts(world, same, step)
            case "change_items" | "exchange_items":
                old = [one for one, _ in same.arguments["changes"]]
                bought = [
                    item.variant
                    for order in world.orders
                    if order.number == same.arguments["order"]
                    for item in order.items
                ]
                for one in step.arguments["changes"]:
                    if old.count(one[0]) < bought.count(one[0]):
                        same.arguments["changes"].append(one)
                        old.append(one[0])
                    else:
                        place = old.index(one[0])
                        same.arguments["changes"][place] = one  # a change of mind
                same.open |= step.open
        if "method" in step.arguments and "method" not in same.arguments:
            same.arguments["method"] = step.arguments["method"]
    world.plan.steps = sorted(made, key=lambda one: _SORT.index(one.action))


def _with_counts(world: _World, first: Step, second: Step) -> list[str]:
    bought = [
        item.variant for order in world.orders if order.number == first.arguments["order"] for item in order.items
    ]
    wanted = [*first.arguments["items"]]
    for one in second.arguments["items"]:
        if wanted.count(one) < bought.count(one) and (one not in first.arguments["items"]):
            wanted.append(one)
    return wanted
