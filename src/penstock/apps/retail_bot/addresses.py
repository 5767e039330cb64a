"""Addresses in free text: a whole one, a part that changes, or one that the customer has used before and only names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from .shop import Address, Customer, Order

__all__ = ["known_addresses", "read_address", "shown_address"]

_STATES: Final = {
    name: code
    for code, name in (
        pair.split(" ", 1)
        for pair in [
            "AL alabama",
            "AK alaska",
            "AZ arizona",
            "AR arkansas",
            "CA california",
            "CO colorado",
            "CT connecticut",
            "DE delaware",
            "FL florida",
            "GA georgia",
            "HI hawaii",
            "ID idaho",
            "IL illinois",
            "IN indiana",
            "IA iowa",
            "KS kansas",
            "KY kentucky",
            "LA louisiana",
            "ME maine",
            "MD maryland",
            "MA massachusetts",
            "MI michigan",
            "MN minnesota",
            "MS mississippi",
            "MO missouri",
            "MT montana",
            "NE nebraska",
            "NV nevada",
            "NH new hampshire",
            "NJ new jersey",
            "NM new mexico",
            "NY new york",
            "NC north carolina",
            "ND north dakota",
            "OH ohio",
            "OK oklahoma",
            "OR oregon",
            "PA pennsylvania",
            "RI rhode island",
            "SC south carolina",
            "SD south dakota",
            "TN tennessee",
            "TX texas",
            "UT utah",
            "VT vermont",
            "VA virginia",
            "WA washington",
            "WV west virginia",
            "WI wisconsin",
            "WY wyoming",
            "DC district of columbia",
        ]
    )
}
COUNTRIES: Final = frozenset(
    [
        "austria",
        "australia",
        "belgium",
        "canada",
        "denmark",
        "finland",
        "france",
        "germany",
        "greece",
        "hungary",
        "iceland",
        "ireland",
        "italy",
        "japan",
        "luxembourg",
        "mexico",
        "netherlands",
        "new zealand",
        "norway",
        "poland",
        "portugal",
        "romania",
        "spain",
        "sweden",
        "switzerland",
        "united kingdom",
        "united states",
        "usa",
        "uk",
        "czechia",
        "brazil",
        "india",
        "china",
    ]
)
_POSTCODE: Final = (
    r"\b(?:[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}|[A-Z]\d{2}\s?[A-Z\d]{4}|\d{5}(?:-\d{4})?|"
    r"\d{4}\s?[A-Z]{2}|\d{3}\s\d{2}|\d{2}-\d{3}|\d{4}-\d{3}|\d{4})\b"
)
_SHORT: Final = {
    "nyc": "new york",
    "la": "los angeles",
    "sf": "san francisco",
    "philly": "philadelphia",
    "dc": "washington",
}
_STREET = (
    r"\d{1,6}[a-zA-Z]?\s+(?:[A-Z][\w.'-]*\s+){1,4}?(?:Street|St|Avenue|Ave|Road|Rd|Drive|Dr|Lane|Ln|"
    r"Boulevard|Blvd|Way|Court|Ct|Place|Pl|Terrace|"
    r"Square|Circle|Highway|Hwy|Parkway|Broadway|Close|Crescent|Gardens|Grove|Hill|Row|Bank|Mews|"
    r"Park|Walk|Green|Quay)\b\.?|\d{1,6}\s+Broadway\b|"
    r"[A-Z][\wäöüß]+(?:strasse|straße|str\.|weg|gasse|platz|allee|straat|gatan|vej|laan|gade)\s+\d+\w?|"
    r"(?:\d{1,4},?\s+)?(?:[Rr]ue|[Aa]venue|[Vv]ia|[Cc]alle|[Rr]ua|[Uu]l\.|[Pp]iazza|[Pp]laza|"
    r"[Bb]oulevard)\s+[\w' .-]+?(?:\s+\d+\w?)?(?=,|$)"
)
_POLITE: Final = re.compile(r"\s+(?:instead|please|thanks|thank you|then|now)\b.*$", re.I)
_UNIT = r"\b(?:Suite|Apartment|Apt|Unit|Flat|Floor|Room)\b\.?\s*#?\s?\d\w{0,5}"


def known_addresses(customer: Customer, orders: Iterable[Order]) -> list[Address]:
    """The customer's own address and those of their orders, each once."""
    return list(dict.fromkeys([customer.address, *(order.address for order in orders)]))


def shown_address(address: Address) -> str:
    parts = (
        address.line1,
        address.line2,
        address.city,
        f"{address.region} {address.postcode}".strip(),
        address.country,
    )
    return ", ".join(filter(None, parts))


def read_address(
    text: str, customer: Customer, orders: Iterable[Order], current: Address | None = None, *, own: bool = True
) -> Address | None:
    """The address that a text gives or names. current: that of the order, which `another suite` changes. own: whether `my home
    address` names one. None for none."""
    orders = list(orders)
    street = re.search(_STREET, text)
    unit = re.search(_UNIT, text, re.I)
    if street:
        return _whole(text, street, unit, customer, orders)
    if named := _named(text, customer, orders, own=own):
        return named
    if unit and current is not None:
        written = unit[0].strip()
        return replace(current, line2=written[:1].upper() + written[1:])
    return None


def _whole(
    text: str, street: re.Match[str], unit: re.Match[str] | None, customer: Customer, orders: list[Order]
) -> Address | None:
    """An address that is given line by line. Nothing of it is made up: one without a postcode is none, unless it is known."""
    line1, line2, tail = street[0].strip(" ."), "", text[street.end() :]
    if unit and unit.start() >= street.end():
        line2, tail = unit[0].strip(), text[unit.end() :]
    same = [one for one in known_addresses(customer, orders) if one.line1.casefold() == line1.casefold()]
    found = re.search(_POSTCODE, tail)
    if found is None:
        return replace(same[0], line2=line2 or same[0].line2) if same else None
    before = [part.strip(" .") for part in re.split(r"[,\n]| in ", tail[: found.start()]) if part.strip(" .")]
    after = [_POLITE.sub("", part.strip(" .!")) for part in re.split(r"[,\n.;]", tail[found.end() :])]
    first = after[0] if after and tail[found.end() : found.end() + 1] == " " and re.match(r"[A-Z]", after[0]) else ""
    region = ""
    if first and (not before or first.casefold() not in COUNTRIES):  # 10115 Berlin
        city, after = first, after[1:]
    elif before:
        whole = before[-1]
        code = re.fullmatch(r"(.*?)[ ]?\b([A-Z]{2})", whole)
        if code and code[2] in _STATES.values():
            region, whole = code[2], code[1]
        elif whole.casefold() in _STATES and len(before) > 1:
            region, whole = _STATES[whole.casefold()], ""
        city = whole or (before[-2] if len(before) > 1 else "")
    else:
        return None
    country = next((one for one in after if one.casefold() in COUNTRIES), customer.address.country)
    return Address(line1, line2, city, region, found[0], country) if city else None


def _named(text: str, customer: Customer, orders: list[Order], *, own: bool) -> Address | None:
    line = " ".join(re.findall(r"[a-z0-9]+", text.lower()))
    for short, whole in _SHORT.items():
        line = re.sub(rf"\b{short}\b", whole, line) if short != "la" or re.search(r"\bLA\b", text) else line
    known = known_addresses(customer, orders)
    by_post = [one for one in known if re.search(rf"\b{re.escape(one.postcode)}\b", text)]
    by_city = [one for one in known if one.city and re.search(rf"\b{re.escape(one.city.lower())}\b", line)]
    by_state = [
        one
        for one in known
        if one.region and any(code == one.region and re.search(rf"\b{name}\b", line) for name, code in _STATES.items())
    ]
    for found in (by_post, by_city, by_state):
        if found:
            return found[0]
    if (
        own
        and re.search(r"\b(?:my |the |your )?(?:default|home|profile|account|usual|user)\b", line)
        and re.search(r"\b(?:to|as|use|with)\b", line)
    ):
        return customer.address
    if re.search(
        r"\b(?:other|another|different|elsewhere|previous|1 of)\b[\w ]{0,20}\border", line.replace("one of", "1 of")
    ):
        others = [one for one in known if one != customer.address]
        return others[0] if len(others) == 1 else None
    return None
