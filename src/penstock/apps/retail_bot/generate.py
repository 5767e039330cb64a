"""A demo shop from a seed: what it sells, who bought what in the last eighteen months, and how it went.

The same seed, version, size and day give the same bytes, on every machine. Everything is invented: people, addresses, e-mails at
example.com and example.org. There is something to find in it: people have interests, and some things are bought along with others.

    python -m penstock.apps.retail_bot.generate --customers 50_000 --database shop.db
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson

from penstock.agents.actions import plain
from penstock.errors import BadRequest, PenstockError

from .catalogue import CATALOGUE, INTERESTS
from .rules import OURS
from .shop import (
    Address,
    Customer,
    Item,
    Order,
    Payment,
    PaymentMethod,
    Product,
    Status,
    Variant,
)

__all__ = ["CUSTOMERS", "SEED", "people", "products"]

VERSION = 1  # another one gives other bytes for the same seed
SEED, CUSTOMERS = 1, 600
DAYS = 548  # eighteen months
MOST_VARIANTS = 12
LARGEST = 9_000_000  # numbers of orders
_T = TypeVar("_T")


class Land(NamedTuple):
    """Where some customers live. postcode: # is a digit, ? a letter. street: with the house number."""

    country: str
    weight: float
    first_names: str
    last_names: str
    cities: Sequence[tuple[str, str, str]]  # name, region, postcode
    streets: Sequence[str]
    street: str = "{street} {number}"
    line2: Sequence[str] = ("",)


LANDS = (
    Land("Germany", 4, "Anke Bernd Claudia Detlef Elke Frieda Gerrit Heike Jonas Katrin Lennart Maren Nils Ortrun Piet Silke",
         "Albers Brandt Claasen Dreyer Ehlers Fröhlich Grothe Hinrichs Jürgens Köster Lüders Meinecke Nolte Petersen Röhrs Sievers",
         (("Hannover", "Niedersachsen", "301##"), ("Leipzig", "Sachsen", "041##"), ("Freiburg", "Baden-Württemberg", "791##"),
          ("Kiel", "Schleswig-Holstein", "241##"), ("Münster", "Nordrhein-Westfalen", "481##")),
         ("Ahornweg", "Bachstraße", "Lindenallee", "Mühlenweg", "Gartenstraße", "Am Anger")),
    Land("Austria", 1, "Alois Brigitte Dominik Eva Florian Gudrun Hannes Ilse Johanna Klemens Lisbeth Matthias",
         "Aigner Brunner Dorfer Egger Fellner Gruber Hofstätter Innauer Kogler Lechner Moosbrugger Pichler",
         (("Graz", "Steiermark", "80##"), ("Linz", "Oberösterreich", "40##"), ("Innsbruck", "Tirol", "60##")),
         ("Hauptstraße", "Kirchengasse", "Feldweg", "Schulgasse")),
    Land("Switzerland", 1, "Beat Corinne Daniela Fabio Giulia Heidi Luca Nadja Reto Seraina Urs Yannick",
         "Ammann Bianchi Caduff Frei Gerber Hürlimann Imboden Keller Lüthi Meier Rochat Zbinden",
         (("Chur", "Graubünden", "70##"), ("Winterthur", "Zürich", "84##"), ("Biel", "Bern", "25##")),
         ("Bergstrasse", "Dorfplatz", "Seeweg", "Rebenweg")),
    Land("France", 2, "Adèle Baptiste Camille Denis Élodie Fabrice Gaëlle Hugo Inès Julien Léa Maxime Noémie Océane",
         "Arnaud Besson Chauvin Delmas Émery Ferrand Gaillard Hamel Jacquet Lacombe Marchand Pasquier Renaud Vasseur",
         (("Nantes", "Pays de la Loire", "440##"), ("Grenoble", "Auvergne-Rhône-Alpes", "380##"), ("Rennes", "Bretagne", "350##"),
          ("Pau", "Nouvelle-Aquitaine", "640##")),
         ("rue des Lilas", "avenue du Parc", "chemin des Vignes", "rue du Moulin"), "{number} {street}",
         ("", "", "", "Bâtiment B", "2e étage")),
    Land("Spain", 1, "Aitana Benito Carmen Diego Elvira Fermín Gloria Hernán Itziar Jimena Lorenzo Marisol",
         "Aguilar Bermejo Cabrera Domínguez Esteban Fuentes Gallardo Herrero Ibáñez Lozano Montero Peñalver",
         (("Zaragoza", "Aragón", "500##"), ("Gijón", "Asturias", "332##"), ("Murcia", "Murcia", "300##")),
         ("calle Mayor", "calle del Olmo", "paseo del Río", "calle Nueva"), "{street} {number}", ("", "", "3º A", "1º izquierda")),
    Land("Italy", 1, "Agnese Bruno Chiara Davide Elena Filippo Ginevra Ivan Lorenza Michele Nicoletta Ottavio",
         "Amato Barone Conte Donati Esposito Ferrara Galli Leone Marchetti Negri Palumbo Rinaldi",
         (("Trento", "Trentino", "381##"), ("Modena", "Emilia-Romagna", "411##"), ("Lecce", "Puglia", "731##")),
         ("via Garibaldi", "via dei Tigli", "viale Europa", "via Roma")),
    Land("Netherlands", 1.5, "Anouk Bram Daan Esmée Femke Gijs Hanneke Joris Lotte Maarten Niels Sanne",
         "Bakker|de Boer|Dekker|van Dijk|Hoekstra|Jansma|Kuipers|Meijer|Postma|Smit|Terpstra|de Wit",
         (("Utrecht", "Utrecht", "35## ??"), ("Groningen", "Groningen", "97## ??"), ("Zwolle", "Overijssel", "80## ??")),
         ("Kerkstraat", "Molenweg", "Beukenlaan", "Nieuwstraat")),
    Land("Poland", 1, "Agnieszka Bartosz Celina Dariusz Ewa Filip Grażyna Jakub Kinga Łukasz Małgorzata Zofia",
         "Adamczyk Bielski Czajka Dudek Gajda Jaworski Kubiak Lis Mazur Nowicki Pawlak Wróbel",
         (("Poznań", "wielkopolskie", "60-###"), ("Lublin", "lubelskie", "20-###"), ("Gdynia", "pomorskie", "81-###")),
         ("ul. Lipowa", "ul. Polna", "ul. Słoneczna", "ul. Leśna")),
    Land("Sweden", 1, "Astrid Birger Ebba Fredrik Greta Henning Ingrid Jonatan Kerstin Linus Maja Sixten",
         "Ahlgren Berglind Dahlström Ekdahl Forslund Granqvist Hedlund Isaksson Lindqvist Nordin Sandell Åkerman",
         (("Umeå", "Västerbotten", "903 ##"), ("Örebro", "Örebro", "702 ##"), ("Visby", "Gotland", "621 ##")),
         ("Storgatan", "Skolgatan", "Björkvägen", "Strandvägen")),
    Land("Denmark", .7, "Anders Birthe Dorthe Esben Freja Gorm Hanne Jeppe Kirsten Lasse Mette Søren",
         "Andersen Bæk Clemmensen Dam Friis Gravesen Holst Iversen Kjær Lund Mortensen Østergaard",
         (("Aarhus", "Midtjylland", "80##"), ("Odense", "Syddanmark", "50##")), ("Skovvej", "Kirkegade", "Strandgade", "Møllevej")),
    Land("Ireland", .8, "Aoife Brendan Ciara Declan Eimear Fintan Gráinne Niall Orla Padraig Róisín Tadhg",
         "Brennan Corrigan Dunne Fallon Hegarty Keane Lenihan Mulcahy Nolan O'Dowd Quill Rafferty",
         (("Galway", "Co. Galway", "H91 ?#?#"), ("Sligo", "Co. Sligo", "F91 ?#?#"), ("Cork", "Co. Cork", "T12 ?#?#")),
         ("Abbey Street", "Harbour Road", "Castle Lane", "Mill Road"), "{number} {street}", ("", "", "Flat 2")),
    Land("United Kingdom", 2,
         "Alistair Bethan Callum Daphne Elspeth Fergus Georgina Harvey Imogen Jasper Kirsty Leonard Morag Nigel",
         "Ashworth Bainbridge Cartwright Dewhurst Entwistle Fairclough Garside Holroyd Ingham Kershaw Lomax Murgatroyd Thwaite",
         (("Leeds", "West Yorkshire", "LS# #??"), ("Inverness", "Highland", "IV# #??"), ("Cardiff", "Cardiff", "CF1# #??"),
          ("Norwich", "Norfolk", "NR# #??")),
         ("Orchard Road", "Church Lane", "Station Road", "Beacon Hill", "Mill Bank"), "{number} {street}",
         ("", "", "", "Flat 3", "The Old Dairy")),
)  # fmt: skip


class Dice:
    """Chances from names and a seed. Of the library's generator only `random()` is used, which no version of Python changes."""

    def __init__(self, *name: object) -> None:
        digest = hashlib.sha256(repr((VERSION, *name)).encode()).digest()
        self.random = random.Random(int.from_bytes(digest[:8], "big")).random  # noqa: S311 - a demo, no secret

    def below(self, most: int) -> int:
        return int(self.random() * most)

    def pick(self, things: Sequence[_T]) -> _T:
        return things[self.below(len(things))]

    def weighted(self, things: Mapping[_T, float]) -> _T:
        left = self.random() * sum(things.values())
        names = list(things)
        for name in names:
            left -= things[name]
            if left < 0:
                return name
        return names[-1]


# ---------------------------------------------------------------- what is sold


def products(seed: int = SEED) -> tuple[Product, ...]:
    """All that the shop sells, with three to twelve variants each. One in eight is out of stock, of one in sixteen there is one."""
    found = []
    for place, kind in enumerate(CATALOGUE, 1):
        dice = Dice(seed, "product", kind.name)
        ways = list(itertools.product(*(enumerate(values) for values in kind.options.values())))
        while len(ways) > MOST_VARIANTS:
            ways.pop(dice.below(len(ways)))
        variants = []
        for nth, way in enumerate(ways, 1):
            dearer = sum(step * share for (step, _), share in zip(way, (0.14, 0.06), strict=False))
            price = Decimal(round(kind.euros * (1 + dearer))) - Decimal("0.10" if kind.euros < 50 else "0.05")
            stock = dice.weighted({0: 2, 1: 1, 2 + dice.below(8): 5, 10 + dice.below(50): 8})
            options = {name: value for name, (_, value) in zip(kind.options, way, strict=True)}
            variants.append(Variant(f"P{place:03}-{nth:02}", options, price, stock))
        found.append(Product(f"P{place:03}", kind.name, tuple(variants), kind.category))
    return tuple(found)


# ---------------------------------------------------------------- who bought what


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The products as people look for them."""

    by_name: dict[str, Product]
    by_category: dict[str, list[Product]]
    weights: dict[str, float]  # by name: how popular a product is
    goes_with: dict[str, tuple[str, ...]]


def people(
    sold: Sequence[Product], *, today: date, seed: int = SEED, customers: int = CUSTOMERS
) -> Iterator[tuple[Customer, tuple[Order, ...]]]:
    """Customers with their orders, the oldest first. Nobody depends on how many others there are."""
    shelf = _Shelf({one.name: one for one in sold}, {}, {}, {kind.name: tuple(kind.goes_with) for kind in CATALOGUE})
    for one in sold:
        shelf.by_category.setdefault(one.category, []).append(one)
        shelf.weights[one.name] = math.exp(1.6 * Dice(seed, "popular", one.name).random())
    for place in range(1, customers + 1):
        customer = _customer(Dice(seed, "customer", place), place)
        yield customer, tuple(_orders(Dice(seed, "orders", place), customer, place, shelf, seed, today))


def _customer(dice: Dice, place: int) -> Customer:
    land = dice.weighted({one: one.weight for one in LANDS})
    first = dice.pick(land.first_names.split())
    last = dice.pick(land.last_names.split("|" if "|" in land.last_names else None))
    city, region, postcode = dice.pick(land.cities)
    street = land.street.format(street=dice.pick(land.streets), number=1 + dice.below(140))
    code = "".join(
        str(dice.below(10)) if one == "#" else dice.pick("ABDEFHJKLNPRSTUW") if one == "?" else one for one in postcode
    )
    address = Address(street, dice.pick(land.line2), city, region, code, land.country)
    name = "".join(one for one in _ascii(f"{first}.{last}") if one.isalnum() or one == ".")
    email = f"{name}{place}@example.{dice.pick(('com', 'org'))}"
    return Customer(f"C{place:06}", first, last, email, address, tuple(_methods(dice, place)))


def _methods(dice: Dice, place: int) -> Iterator[PaymentMethod]:
    has = [dice.random() < share for share in (0.7, 0.5, 0.45)]
    if has[0] or not any(has):
        brand = dice.weighted({"Visa": 5, "Mastercard": 4, "American Express": 1})
        yield PaymentMethod(f"card-{place:06}", "credit_card", brand, f"{dice.below(10_000):04}")
    if has[2]:
        cents = 0 if dice.random() < 0.15 else 500 + 5 * dice.below(4_000)
        yield PaymentMethod(f"gift-{place:06}", "gift_card", balance=Decimal(cents).scaleb(-2))
    if has[1]:
        yield PaymentMethod(f"paypal-{place:06}", "paypal")


def _orders(dice: Dice, customer: Customer, place: int, shelf: _Shelf, seed: int, today: date) -> Iterator[Order]:
    if place <= 3:  # whoever tries the demo finds something of everything
        ages = [0, 3, 12, 120]
    else:
        ages = [DAYS - dice.below(DAYS - 35) for _ in range(dice.weighted({0: 2, 1: 5, 2: 5, 3: 4, 4: 2, 6: 1}))]
        ages += [5 + dice.below(30)] if dice.random() < 0.25 else []
        ages += [dice.below(5)] if dice.random() < 0.25 or not ages else []
    tastes = {dice.pick(tuple(INTERESTS)): 1.0, dice.pick(tuple(INTERESTS)): 0.5}
    owned: list[str] = []
    for nth, age in enumerate(sorted(ages, reverse=True)):
        names = list(_basket(dice, tastes, owned, shelf))
        owned += names
        number = _number(seed, place * 16 + nth)
        yield _order(dice, number, customer, [shelf.by_name[name] for name in names], age, today)


def _basket(dice: Dice, tastes: Mapping[str, float], owned: Sequence[str], shelf: _Shelf) -> Iterator[str]:
    """Names of what is bought: something that goes with what they have, or what they care for, or what everybody buys."""
    chosen: list[str] = []
    for _ in range(dice.weighted({1: 5, 2: 4, 3: 2, 4: 1})):
        have = [*owned, *chosen]
        fitting = [name for one in have[-6:] for name in shelf.goes_with[one] if name not in have]
        if fitting and dice.random() < 0.5:
            chosen.append(dice.pick(fitting))
        elif dice.random() < 0.85:
            category = dice.pick(INTERESTS[dice.weighted(tastes)])
            chosen.append(dice.weighted({one.name: shelf.weights[one.name] for one in shelf.by_category[category]}))
        else:
            chosen.append(dice.weighted(shelf.weights))
    yield from chosen


def _order(dice: Dice, number: str, customer: Customer, bought: Sequence[Product], age: int, today: date) -> Order:
    placed = today - timedelta(days=age)
    took = 3 + dice.below(5)
    arrived = placed + timedelta(days=took)
    items = [_item(dice, product, age) for product in bought]
    status: Status
    if age <= 1 or (age <= 4 and dice.random() < 0.45):
        status = dice.weighted({"pending": 17, "pending (items modified)": 2, "cancelled": 1})
    elif arrived > today:
        status = "processed"
    elif (today - arrived).days <= 30:
        status = dice.weighted({"delivered": 17, "return requested": 2, "exchange requested": 1, "cancelled": 1})
    else:
        status = dice.weighted({"delivered": 16, "returned": 2, "exchanged": 1, "cancelled": 1})
    method = dice.pick(customer.payment_methods).id
    payments = _first_payments(dice, customer, method, sum((item.price for item in items), Decimal(0)))
    notes: dict[str, Any] = {}
    pays_with_gift = payments[0].method.startswith("gift")  # which may have too little left for something dearer
    others = [
        [one for one in product.variants if one.id != item.variant and not (pays_with_gift and one.price > item.price)]
        for product, item in zip(bought, items, strict=True)
    ]
    if not any(others) and status in ("pending (items modified)", "exchange requested", "exchanged"):
        status = "pending" if status == "pending (items modified)" else "delivered"
    match status:
        case "pending (items modified)" | "exchange requested" | "exchanged":
            place = next(nth for nth, some in enumerate(others) if some)
            old = items[place]
            new = dice.pick(others[place])
            amount = new.price - old.price
            said = {"items": [[old.variant, new.id]], "difference": str(amount), "method": payments[0].method}
            if status == "pending (items modified)":
                notes["changed"] = {**said, "day": placed.isoformat()}
            else:
                done = min(arrived + timedelta(days=2 + dice.below(20)), today)
                back = done + timedelta(days=5) if status == "exchanged" else None
                notes["exchange"] = {**said, "arrived": back.isoformat() if back else "", "day": done.isoformat()}
            if status != "exchange requested":
                items[place] = Item(new.id, old.product, old.name, new.options, new.price)
                payments += [Payment(amount, payments[0].method)] if amount else []
        case "return requested" | "returned":
            gone = items[: 1 + dice.below(len(items))]
            amount = sum((item.price for item in gone), Decimal(0))
            to = _refund_to(customer, payments, amount)
            done = min(arrived + timedelta(days=2 + dice.below(20)), today)
            back = done + timedelta(days=5) if status == "returned" else None
            notes["return"] = {
                "items": [item.variant for item in gone], "amount": str(amount), "method": to,
                "arrived": back.isoformat() if back else "", "day": done.isoformat(),
            }  # fmt: skip
            payments += [Payment(-amount, to)] if back else []
        case "cancelled":
            notes["cancelled"] = {"reason": dice.pick(OURS.reasons), "day": placed.isoformat()}
            payments += [Payment(-one.amount, one.method) for one in payments]
    sent = status not in ("pending", "pending (items modified)", "cancelled")
    tracking = (f"TH{dice.below(10**10):010}",) if sent else ()
    delivered = arrived.isoformat() if sent and status != "processed" else ""
    return Order(number, customer.id, status, tuple(items), customer.address, tuple(payments), tracking, placed.isoformat(),
                 delivered, notes or None)  # fmt: skip


def _item(dice: Dice, product: Product, age: int) -> Item:
    variant = dice.pick(product.variants)
    price = variant.price
    if age > 60 and dice.random() < 0.2:  # it has cost something else then
        price = (price * Decimal(90 + dice.below(16)) / 100).quantize(Decimal("0.01"))
    return Item(variant.id, product.id, product.name, variant.options, price)


def _first_payments(dice: Dice, customer: Customer, method: str, total: Decimal) -> list[Payment]:
    """One payment; now and then part of it with a gift card."""
    gift = next((one.id for one in customer.payment_methods if one.kind == "gift_card"), method)
    if gift != method and total > 20 and dice.random() < 0.08:
        part = Decimal(5 * (1 + dice.below(3))).quantize(Decimal("0.01"))
        return [Payment(part, gift), Payment(total - part, method)]
    return [Payment(total, method)]


def _refund_to(customer: Customer, payments: Sequence[Payment], amount: Decimal) -> str:
    for one in payments:
        if one.amount >= amount:
            return one.method
    return next(one.id for one in customer.payment_methods if one.kind == "gift_card")  # it was split, so there is one


def _number(seed: int, place: int) -> str:
    """Seven digits that tell nobody the next. Places are shuffled by four rounds of a Feistel network, so no two have the same."""
    if place >= LARGEST:
        raise BadRequest(f"a demo shop has fewer than {LARGEST // 16:,} customers")
    while True:
        left, right = divmod(place, 1 << 12)
        for round_ in range(4):
            digest = hashlib.blake2b(b"%d %d %d %d" % (VERSION, seed, round_, right), digest_size=2).digest()
            left, right = right, left ^ (int.from_bytes(digest, "big") >> 4)
        place = (left << 12) + right
        if place < LARGEST:  # else it is shuffled again: the way back is as clear
            return f"TH-{1_000_000 + place}"


def _ascii(text: str) -> str:
    letters = str.maketrans({"ß": "ss", "ø": "oe", "Ø": "Oe", "ł": "l", "Ł": "L", "æ": "ae", "å": "aa", "Å": "Aa"})
    decomposed = unicodedata.normalize("NFKD", text.translate(letters))
    return "".join(one for one in decomposed if not unicodedata.combining(one)).lower()


# ---------------------------------------------------------------- by itself


def written(sold: Sequence[Product], everybody: Iterator[tuple[Customer, tuple[Order, ...]]]) -> Iterator[bytes]:
    """The whole shop as lines of JSON."""
    for product in sold:
        yield orjson.dumps({"product": plain(product)}) + b"\n"
    for customer, orders in everybody:
        yield orjson.dumps({"customer": plain(customer), "orders": plain(orders)}) + b"\n"


def main() -> None:
    import argparse
    import sys

    from tqdm import tqdm

    from penstock.storage.database import Database

    from .sql import fill

    parser = argparse.ArgumentParser(
        prog="python -m penstock.apps.retail_bot.generate", description="A demo shop from a seed."
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument(
        "--today", type=date.fromisoformat, default=date.today(), help="the last day of the eighteen months"
    )
    parser.add_argument(
        "--database", type=Path, help="fill this SQLite file, which must not be there; else JSON lines are printed"
    )
    said = parser.parse_args()
    sold = products(said.seed)
    everybody = people(sold, today=said.today, seed=said.seed, customers=said.customers)
    try:
        if said.database:
            tables = Database(said.database)
            fill(tables, sold, tqdm(everybody, total=said.customers, unit="customer", disable=not sys.stderr.isatty()))
            tables.close()
        else:
            for line in written(sold, everybody):
                sys.stdout.buffer.write(line)
    except PenstockError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
