"""Whether all that changed in a shop was asked for, agreed to and allowed: told from its tables before and after.

It shares no code with what changes them: the rules of policy.md are written here a second time, from what is there afterwards, so
that a fault in the one is seen by the other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import orjson

from penstock.storage.database import Tables
from penstock.support.simulator import YES, Simulated

from .rules import OURS, Policy

__all__ = ["Books", "Problem", "problems", "unagreed"]

SOON: Final = 4  # messages, within which an agreement belongs to what was read back
AGREED: Final = ("read_back", "confirmed", "running", "done")  # states through which a change went, in this order
ALLOWED: Final = {
    ("pending", "cancelled"), ("pending", "pending (items modified)"), ("delivered", "return requested"),
    ("delivered", "exchange requested"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """kind: "unagreed" (changed without an agreement), "twice", "rule" (not allowed), "money", "stock"."""

    kind: str
    about: str  # the order, the request, the article
    why: str


@dataclass(frozen=True, slots=True)
class Books:
    """A shop as it stood. All keys are numbers."""

    orders: Mapping[str, tuple[Any, ...]]  # customer, status, delivered, six lines, notes
    items: Mapping[str, tuple[tuple[Any, ...], ...]]  # of an order: variant, product, cents
    payments: Mapping[str, tuple[tuple[Any, ...], ...]]  # of an order: method, cents
    methods: Mapping[str, tuple[Any, ...]]  # customer, kind, cents
    variants: Mapping[str, tuple[Any, ...]]  # product, cents, stock
    customers: Mapping[str, tuple[Any, ...]]
    done: frozenset[str]  # keys of changes

    @classmethod
    def of(cls, tables: Tables) -> Books:
        with tables.snapshot() as r:

            def read(sql: str) -> list[tuple[Any, ...]]:
                return [tuple(row) for row in r.execute(sql)]

            orders = "select number, customer, status, delivered, line1, line2, city, region, postcode, country, notes from orders"
            people = "select number, first_name, last_name, email, line1, line2, city, region, postcode, country from customers"
            return cls(
                {one[0]: one[1:] for one in read(orders)},
                _grouped(read("select order_number, variant, product, cents from order_items order by order_number, position")),
                _grouped(read("select order_number, method, cents from payments order by order_number, position")),
                {one[0]: one[1:] for one in read("select number, customer, kind, cents from payment_methods")},
                {one[0]: one[1:] for one in read("select number, product, cents, stock from variants")},
                {one[0]: one[1:] for one in read(people)},
                frozenset(one[0] for one in read("select key from done")),
            )  # fmt: skip


def _grouped(rows: Sequence[tuple[Any, ...]]) -> dict[str, tuple[tuple[Any, ...], ...]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    for number, *rest in rows:
        found.setdefault(number, []).append(tuple(rest))
    return {number: tuple(each) for number, each in found.items()}


# ---------------------------------------------------------------- agreed to, and once


def unagreed(before: Books, after: Books, house: Tables, held: Mapping[str, Simulated]) -> list[Problem]:
    """Changes that nobody agreed to, or that were made twice. held: conversations by the names that the requests give them."""
    found: list[Problem] = []
    made = {
        row[0]: row[1:]
        for row in house.read(
            "select id, conversation, action, digest, words, state from action_requests where effect = 'writes'"
        )
    }
    steps: dict[str, list[tuple[str, str]]] = {}
    for request, state, by in house.read("select request, state, by from action_log order by request, step"):
        steps.setdefault(request, []).append((state, by))
    found += [
        Problem("unagreed", key, "the shop has a change that no request stands for")
        for key in sorted(after.done - before.done - made.keys())
    ]
    seen: Counter[tuple[str, str, str]] = Counter()
    agreements: dict[tuple[str, str, str], int] = {}
    for number, (conversation, action, digest, words, state) in made.items():
        if state != "done":
            continue
        seen[conversation, action, digest] += 1
        if number not in after.done:
            found.append(Problem("unagreed", number, f"{action} is said to be done, and the shop has no such change"))
        states = [one for one, _ in steps.get(number, [])]
        if not _in_order(AGREED, states) or ("confirmed", "person") not in steps[number]:
            found.append(Problem("unagreed", number, f"{action} was done after {', '.join(states)}"))
        read_back = str(orjson.loads(words).get("read_back", ""))
        if conversation in held:
            agreements[conversation, action, digest] = given = _agreements(held[conversation], read_back)
            if not given:
                said = f"'{read_back[:80]}' was not shown and agreed to in {held[conversation].id}"
                found.append(Problem("unagreed", number, f"{action} was done, and {said}"))
    for (conversation, action, digest), times in seen.items():
        if times > agreements.get((conversation, action, digest), 1):  # who agrees twice to the same has it twice
            name = held[conversation].id if conversation in held else conversation
            found.append(Problem("twice", name, f"{action} with the same arguments was done {times} times"))
    return found


def _in_order(wanted: Sequence[str], states: Sequence[str]) -> bool:
    rest = iter(states)
    return all(one in rest for one in wanted)


def _agreements(held: Simulated, read_back: str) -> int:
    """How often what was read back stood in a reply, and the customer then agreed, in the next message or soon after it."""
    words, times, waiting = _plain(read_back), 0, 0
    for one in held.exchanges:
        if waiting and _is_yes(one.said):
            times, waiting = times + 1, 0
        waiting = SOON if words in _plain(one.reply) else max(0, waiting - 1)
    return times


def _is_yes(said: str) -> bool:
    return YES.search(said) is not None


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).casefold().strip()


# ---------------------------------------------------------------- allowed


def problems(before: Books, after: Books, *, today: date, policy: Policy = OURS) -> list[Problem]:
    """What the rules do not allow, or what does not add up."""
    found: list[Problem] = []
    moved: Counter[str] = Counter()  # variant -> how many came back, less those that went
    paid: Counter[str] = Counter()  # gift card -> cents that went into it, less those that were taken
    if before.orders.keys() != after.orders.keys() or before.customers.keys() != after.customers.keys():
        found.append(Problem("rule", "orders", "an order or a customer came or went"))
    for number in before.orders.keys() & after.orders.keys():
        found += _order(number, before, after, today, policy)
        new = after.payments.get(number, ())[len(before.payments.get(number, ())) :]
        for method, cents in new:
            paid[method] -= cents
        moved.update(_moved(number, before, after))
    for method, (customer, kind, cents) in after.methods.items():
        was = before.methods.get(method)
        if was is None or was[:2] != (customer, kind):
            found.append(Problem("money", method, "a payment method came or went to somebody else"))
        elif kind == "gift_card" and (cents < 0 or cents - was[2] != paid[method]):
            found.append(
                Problem("money", method, f"the gift card has {cents} cents; {was[2]} and {paid[method]} were expected")
            )
    for variant, (*_, stock) in after.variants.items():
        if variant in before.variants and stock - before.variants[variant][-1] != moved[variant]:
            found.append(
                Problem(
                    "stock", variant, f"the stock moved by {stock - before.variants[variant][-1]}, not {moved[variant]}"
                )
            )
    for number, now in after.customers.items():
        was_then = before.customers.get(number)
        if was_then and was_then != now:
            if was_then[:3] != now[:3]:
                found.append(Problem("rule", number, "a name or an e-mail address was changed"))
            found += _address(number, now[3:], policy)
    return found


def _moved(number: str, before: Books, after: Books) -> Counter[str]:
    """What an order gave back to the stock, less what it took."""
    status, was = after.orders[number][1], before.orders[number][1]
    moved: Counter[str] = Counter()
    if status == was:
        return moved
    notes = orjson.loads(after.orders[number][-1] or "{}") or {}
    if status == "cancelled":
        moved.update(one[0] for one in before.items.get(number, ()))
    elif status == "pending (items modified)":
        for old, new in notes.get("changed", {}).get("items", ()):
            moved[old] += 1
            moved[new] -= 1
    elif status == "exchange requested":
        for _, new in notes.get("exchange", {}).get("items", ()):
            moved[new] -= 1
    return moved


def _order(number: str, before: Books, after: Books, today: date, policy: Policy) -> Iterator[Problem]:
    owner, was, delivered, *old_lines, _ = before.orders[number]
    now_owner, now, now_delivered, *lines, notes_text = after.orders[number]
    notes = orjson.loads(notes_text or "{}") or {}

    def wrong(why: str, kind: str = "rule") -> Problem:
        return Problem(kind, number, why)

    if (owner, delivered) != (now_owner, now_delivered):
        yield wrong("its owner or its day of delivery was changed")
    if was != now and (was, now) not in ALLOWED:
        yield wrong(f"it went from {was} to {now}")
    if lines != old_lines:
        if was not in ("pending", "pending (items modified)"):
            yield wrong(f"its address was changed while it was {was}")
        yield from _address(number, lines, policy)
    old_items, items = before.items.get(number, ()), after.items.get(number, ())
    if old_items != items and now != "pending (items modified)":
        yield wrong(f"its items were changed, and it is {now}")
    own = {method for method, (customer, *_) in after.methods.items() if customer == owner}
    old_paid, payments = before.payments.get(number, ()), after.payments.get(number, ())
    new_paid = payments[len(old_paid) :]
    if payments[: len(old_paid)] != old_paid:
        yield wrong("an earlier payment was changed", "money")
    if alien := [method for method, _ in new_paid if method not in own]:
        yield wrong(f"{alien[0]}, which is not the customer's, pays or is paid", "money")
    if new_paid and was not in ("pending", "pending (items modified)"):
        yield wrong(f"money moved while it was {was}", "money")
    paid: Counter[str] = Counter()
    for method, cents in old_paid:
        paid[method] += cents
    match now if was != now else "":
        case "cancelled":
            left: Counter[str] = Counter()
            for method, cents in payments:
                left[method] += cents
            if any(left.values()):
                yield wrong("it was cancelled, and not all went back to what it was paid with", "money")
            if notes.get("cancelled", {}).get("reason") not in policy.reasons:
                yield wrong("it was cancelled for a reason that is none")
        case "pending (items modified)":
            if [one[1] for one in items] != [one[1] for one in old_items]:
                yield wrong("an item became another product")
            difference = sum(one[2] for one in items) - sum(one[2] for one in old_items)
            last = [cents for _, cents in new_paid]
            if difference and difference not in last:
                yield wrong(f"its items differ by {difference} cents, and {last} were paid", "money")
            yield from _refunded(
                number, notes.get("changed", {}).get("method", ""), -difference, paid, own, after, policy
            )
        case "return requested":
            given = notes.get("return", {})
            amount = _amount(given.get("items", ()), old_items)
            if amount is None or round(float(given.get("amount", -1)) * 100) != amount:
                yield wrong(f"{given.get('amount')} were promised for what cost {amount} cents", "money")
            yield from _refunded(number, given.get("method", ""), amount or 0, paid, own, after, policy)
        case "exchange requested":
            given = notes.get("exchange", {})
            products = {one[0]: one[1] for one in old_items}
            if any(after.variants.get(new, ("",))[0] != products.get(old) for old, new in given.get("items", ())):
                yield wrong("an item is exchanged for another product")
            yield from _refunded(
                number,
                given.get("method", ""),
                round(-100 * float(given.get("difference", 0))),
                paid,
                own,
                after,
                policy,
            )
    if now in ("return requested", "exchange requested") and was == "delivered" and policy.return_days is not None:
        last_day = date.fromisoformat(delivered) + timedelta(days=policy.return_days)
        if today > last_day:
            yield wrong(f"it goes back on {today}, and the last day was {last_day}")


def _refunded(
    number: str, method: str, cents: int, paid: Counter[str], own: set[str], after: Books, policy: Policy
) -> Iterator[Problem]:  # fmt: skip
    """cents: what goes back; below zero, what is paid."""
    if method not in own:
        yield Problem("money", number, f"'{method}' is no method of the customer")
    elif cents > 0 and not policy.refunds_anywhere and after.methods[method][1] != "gift_card" and paid[method] < cents:
        yield Problem("money", number, f"{cents} cents go back to {method}, with which {paid[method]} were paid")


def _amount(variants: Sequence[str], items: Sequence[tuple[Any, ...]]) -> int | None:
    """Cents of so many of an order's items; None where it has not so many."""
    left = list(items)
    total = 0
    for variant in variants:
        item = next((one for one in left if one[0] == variant), None)
        if item is None:
            return None
        left.remove(item)
        total += item[2]
    return total


def _address(number: str, lines: Sequence[str], policy: Policy) -> Iterator[Problem]:
    line1, _, city, _, postcode, country = lines
    if not all(one.strip() for one in (line1, city, postcode, country)):
        yield Problem("rule", number, "an address lacks its street, city, postcode or country")
    if policy.countries and country not in policy.countries:
        yield Problem("rule", number, f"an address is in {country}")
