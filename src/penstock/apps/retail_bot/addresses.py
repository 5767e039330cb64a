"""Addresses in free text: a whole one, a part that changes, or one that the customer has used before and only names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from penstock.apps.retail_bot.shop import Address, Customer, Order

__all__ = ["known_addresses", "read_address", "shown_address"]

_STATES: Final = {
    name: code for code, name in (
        pair.split(" ", 1) for pair in (
            "AL alabama|AK alaska|AZ arizona|AR arkansas|CA california|CO colorado|CT connecticut|DE delaware|FL florida|GA georgia|"
            "HI hawaii|ID idaho|IL illinois|IN indiana|IA iowa|KS kansas|KY kentucky|LA louisiana|ME maine|MD maryland|"
            "MA massachusetts|MI michigan|MN minnesota|MS mississippi|MO missouri|MT montana|NE nebraska|NV nevada|NH new hampshire|"
            "NJ new jersey|NM new mexico|NY new york|NC north carolina|ND north dakota|OH ohio|OK oklahoma|OR oregon|"
            "PA pennsylvania|RI rhode island|SC south carolina|SD south dakota|TN tennessee|TX texas|UT utah|VT vermont|"
            "VA virginia|WA washington|WV west virginia|WI wisconsin|WY wyoming|DC district of columbia"
        ).split("|")
    )
}  # fmt: skip
_SHORT: Final = {"nyc": "new york", "la": "los angeles", "sf": "san francisco", "philly": "philadelphia", "dc": "washington"}
_STREET = (
    r"\d{1,6}[a-zA-Z]?\s+(?:[A-Z][\w.'-]*\s+){1,4}?(?:Street|St|Avenue|Ave|Road|Rd|Drive|Dr|Lane|Ln|Boulevard|Blvd|Way|Court|Ct|Place|Pl|Terrace|"
    r"Square|Circle|Highway|Hwy|Parkway|Broadway)\b\.?|\d{1,6}\s+Broadway\b|[A-Z]\w+(?:strasse|straße|weg|gasse|platz)\s+\d+\w?"
)
_UNIT = r"\b(?:Suite|Apartment|Apt|Unit|Flat|Floor|Room)\b\.?\s*#?\s?\d\w{0,5}"


def known_addresses(customer: Customer, orders: Iterable[Order]) -> list[Address]:
    """The customer's own address and those of their orders, each once."""
    return list(dict.fromkeys([customer.address, *(order.address for order in orders)]))


def shown_address(address: Address) -> str:
    parts = (address.line1, address.line2, address.city, f"{address.region} {address.postcode}".strip(), address.country)
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


def _whole(text: str, street: re.Match[str], unit: re.Match[str] | None, customer: Customer, orders: list[Order]) -> Address:
    known = known_addresses(customer, orders)
    line1 = street[0].strip(" .")
    same = [one for one in known if one.line1.lower() == line1.lower()]
    tail = text[street.end() :]
    line2 = ""
    if unit and unit.start() >= street.end():
        line2, tail = unit[0].strip(), text[unit.end() :]
    match = re.match(
        r"[\s,]*(?:in\s+)?(?P<city>[A-Z][A-Za-z.' -]+?)\s*(?:,\s*|\s+)(?P<state>[A-Z]{2}|[A-Z][a-z]+(?: [A-Z][a-z]+)?)?\s*(?:,\s*)?(?P<post>\d{4,5}(?:-\d{4})?)\b", tail
    )
    if match is None and same:
        return replace(same[0], line2=line2 or same[0].line2)
    if match is None:
        city = re.match(r"[\s,]*(?:in\s+)?([A-Z][A-Za-z.' -]+)", tail)
        return replace(customer.address, line1=line1, line2=line2, city=city[1].strip() if city else customer.address.city)
    state = match["state"] or ""
    return Address(line1, line2, match["city"].strip(" ,"), _STATES.get(state.lower(), state), match["post"], customer.address.country)


def _named(text: str, customer: Customer, orders: list[Order], *, own: bool) -> Address | None:
    line = " ".join(re.findall(r"[a-z0-9]+", text.lower()))
    for short, whole in _SHORT.items():
        line = re.sub(rf"\b{short}\b", whole, line) if short != "la" or re.search(r"\bLA\b", text) else line
    known = known_addresses(customer, orders)
    by_post = [one for one in known if re.search(rf"\b{re.escape(one.postcode)}\b", text)]
    by_city = [one for one in known if one.city and re.search(rf"\b{re.escape(one.city.lower())}\b", line)]
    by_state = [one for one in known if one.region and any(code == one.region and re.search(rf"\b{name}\b", line) for name, code in _STATES.items())]
    for found in (by_post, by_city, by_state):
        if found:
            return found[0]
    if own and re.search(r"\b(?:my |the |your )?(?:default|home|profile|account|usual|user)\b", line) and re.search(r"\b(?:to|as|use|with)\b", line):
        return customer.address
    if re.search(r"\b(?:other|another|different|elsewhere|previous|1 of)\b[\w ]{0,20}\border", line.replace("one of", "1 of")):
        others = [one for one in known if one != customer.address]
        return others[0] if len(others) == 1 else None
    return None
