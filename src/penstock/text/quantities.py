"""Numbers with their units, and dates, as they are written in a dozen languages.

A quantity is a value with a unit: "12 %", "twelve percent", "1.5 million euros", "3 km", "€5". It is there when another text has
the same value, in another unit of the same kind too, or one that rounds to it. A date is there when another text has one that
says no other day, month or year.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Date", "Quantity", "agrees", "dates", "quantities", "same"]


class Quantity(NamedTuple):
    """A value in the base unit of its kind: text[start:end]. step: what the last digit that is written stands for."""

    value: float
    kind: str  # "", "%", "money", "length", "mass", "time", "volume", "temperature", "data"
    unit: str  # as it is written; for money the currency
    step: float
    start: int
    end: int
    grouped: bool = False  # "1.500" may as well be 1500
    plain: float = 0.0  # the value in the unit that is written


class Date(NamedTuple):
    """A day, a month, a year or a decade: text[start:end]. 0 where that is not said."""

    year: int
    month: int
    day: int
    start: int
    end: int
    decade: bool = False  # "the 1990s": year is its first


_SCALES = {
    "hundred": 1e2, "thousand": 1e3, "k": 1e3, "million": 1e6, "mio": 1e6, "mn": 1e6, "billion": 1e9, "bn": 1e9,
    "trillion": 1e12, "tausend": 1e3, "millionen": 1e6, "milliarde": 1e9, "milliarden": 1e9, "mrd": 1e9, "mil": 1e3,
    "millones": 1e6, "millón": 1e6, "milhões": 1e6, "milhão": 1e6, "millions": 1e6, "milliard": 1e9, "milliards": 1e9,
    "mille": 1e3, "milioni": 1e6, "miliardi": 1e9, "miljoen": 1e6, "miljard": 1e9, "dozen": 12.0,
}  # fmt: skip
_UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("%", "percent", "per cent", "prozent", "por ciento", "pour cent", "per cento", "pct"), ("%", 1.0)),
    **dict.fromkeys(("mm", "millimetre", "millimetres", "millimeter", "millimeters"), ("length", 1e-3)),
    **dict.fromkeys(("cm", "centimetre", "centimetres", "centimeter", "centimeters"), ("length", 1e-2)),
    **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), ("length", 1.0)),
    **dict.fromkeys(("km", "kilometre", "kilometres", "kilometer", "kilometers"), ("length", 1e3)),
    **dict.fromkeys(("inch", "inches"), ("length", 0.0254)),
    **dict.fromkeys(("ft", "foot", "feet"), ("length", 0.3048)),
    **dict.fromkeys(("mi", "mile", "miles"), ("length", 1609.344)),
    **dict.fromkeys(("mg", "milligram", "milligrams"), ("mass", 1e-6)),
    **dict.fromkeys(("g", "gram", "grams", "gramm"), ("mass", 1e-3)),
    **dict.fromkeys(("kg", "kilo", "kilos", "kilogram", "kilograms", "kilogramm"), ("mass", 1.0)),
    **dict.fromkeys(("t", "tonne", "tonnes"), ("mass", 1e3)),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds"), ("mass", 0.45359237)),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), ("time", 1e-3)),
    **dict.fromkeys(("s", "sec", "second", "seconds", "sekunden", "segundos", "secondes"), ("time", 1.0)),
    **dict.fromkeys(("min", "mins", "minute", "minutes", "minuten", "minutos"), ("time", 60.0)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "stunde", "stunden", "horas", "heures"), ("time", 3600.0)),
    **dict.fromkeys(("day", "days", "tag", "tage", "tagen", "días", "dias", "jours", "giorni"), ("time", 86_400.0)),
    **dict.fromkeys(("week", "weeks", "woche", "wochen", "semanas", "semaines", "settimane"), ("time", 604_800.0)),
    **dict.fromkeys(("month", "months", "monat", "monate", "monaten", "meses", "mois", "mesi"), ("months", 1.0)),
    **dict.fromkeys(("year", "years", "jahr", "jahre", "jahren", "años", "anos", "ans", "anni"), ("months", 12.0)),
    **dict.fromkeys(("ml", "millilitre", "millilitres", "milliliter", "milliliters"), ("volume", 1e-3)),
    **dict.fromkeys(("l", "litre", "litres", "liter", "liters"), ("volume", 1.0)),
    **dict.fromkeys(("kb", "kilobyte", "kilobytes"), ("data", 1e3)),
    **dict.fromkeys(("mb", "megabyte", "megabytes"), ("data", 1e6)),
    **dict.fromkeys(("gb", "gigabyte", "gigabytes"), ("data", 1e9)),
    **dict.fromkeys(("tb", "terabyte", "terabytes"), ("data", 1e12)),
    **dict.fromkeys(("°c", "celsius", "°f", "fahrenheit"), ("temperature", 1.0)),
    **dict.fromkeys(("€", "euro", "euros", "eur"), ("money", 1.0)),
    **dict.fromkeys(("$", "usd", "dollar", "dollars", "us$"), ("money", 1.0)),
    **dict.fromkeys(("£", "gbp", "pounds sterling"), ("money", 1.0)),
    **dict.fromkeys(("¥", "jpy", "yen"), ("money", 1.0)),
    **dict.fromkeys(("chf", "francs", "franken"), ("money", 1.0)),
    **dict.fromkeys(("kroner", "kronor", "nok", "sek", "dkk"), ("money", 1.0)),
    **dict.fromkeys(("₹", "inr", "rupees"), ("money", 1.0)),
    **dict.fromkeys(("zł", "pln", "złotych"), ("money", 1.0)),
}
_CURRENCIES = {
    "€": "eur", "euro": "eur", "euros": "eur", "$": "usd", "us$": "usd", "dollar": "usd", "dollars": "usd", "£": "gbp",
    "pounds sterling": "gbp", "¥": "jpy", "yen": "jpy", "francs": "chf", "franken": "chf", "₹": "inr", "rupees": "inr",
    "zł": "pln", "złotych": "pln",
}  # fmt: skip

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
_WORDS = {word: float(n) for n, word in enumerate(f"{_ONES} eighteen nineteen".split())}
_WORDS |= {word: 10.0 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)}
_SPACES = str.maketrans("\u00a0\u202f\u2009", "   ")
_NUMBER = r"\d+(?:[.,’' \u00a0\u202f]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d+(?:[.,]\d+)?"
_SPELLED = "|".join(sorted(_WORDS, key=len, reverse=True))
_SCALE = "|".join(sorted(map(re.escape, _SCALES), key=len, reverse=True))
_SORT = "(?:working|business|calendar|full|whole|consecutive)"  # of days, months, hours
_UNIT = "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True))
_QUANTITY = re.compile(
    rf"(?P<before>us\$|[€$£¥₹])?\s?(?<![\w.,])(?:(?P<digits>{_NUMBER})|(?P<spelled>(?:{_SPELLED})(?:[ -](?:{_SPELLED}))?)\b)"
    rf"(?:[ -\u00a0\u202f]?(?P<scale>{_SCALE})\b)?(?:[ \-\u00a0\u202f]?(?:{_SORT} )?(?P<unit>{_UNIT})(?!\w))?",
    re.I,
)

_DIGITS = re.compile(r"\d+")
_MAY_COUNT = re.compile(rf"\d+|\b(?:{_SPELLED})\b")  # in lower case
AROUND = 40  # characters: longer than any month, unit or scale with what may stand between it and its number
_EITHER = re.compile(r"\d{1,3}\.\d{3}")

_MONTHS: dict[str, int] = {}
for _number, _names in enumerate(
    (
        "january jan januar enero janvier gennaio janeiro januari stycznia ianuarie ocak",
        "february feb februar febrero février febbraio fevereiro februari lutego februarie şubat",
        "march mar märz marzo mars março maart marca martie mart",
        "april apr abril avril aprile abril kwietnia aprilie nisan",
        "may mai mayo maggio maio mei maj maja mayıs",
        "june jun juni junio juin giugno junho czerwca iunie haziran",
        "july jul juli julio juillet luglio julho lipca iulie temmuz",
        "august aug agosto août augustus augusti sierpnia ağustos",
        "september sep sept septiembre septembre settembre setembro września septembrie eylül",
        "october oct oktober octubre octobre ottobre outubro października octombrie ekim",
        "november nov noviembre novembre novembro listopada noiembrie kasım",
        "december dec dezember diciembre décembre dicembre dezembro grudnia decembrie aralık",
    ),
    1,
):
    _MONTHS |= dict.fromkeys(_names.split(), _number)
_MONTH = "|".join(sorted(map(re.escape, _MONTHS), key=len, reverse=True))
_DATES = (
    re.compile(r"(?<!\d)(?P<year>[12]\d{3})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?!\d)"),
    re.compile(
        rf"(?<!\w)(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.|er)?(?: of| de)? (?P<name>{_MONTH})\.?"
        r"(?:,? (?:de )?(?P<year>[12]\d{3}))?(?!\w)",
        re.I,
    ),
    re.compile(
        rf"(?<!\w)(?P<name>{_MONTH})\.? (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?!\d)(?:,? ?,? (?P<year>[12]\d{{3}}))?(?!\w)",
        re.I,
    ),
    re.compile(rf"(?<!\w)(?P<name>{_MONTH})\.?,? (?:de )?(?P<year>[12]\d{{3}})(?!\w)", re.I),
    re.compile(r"(?<!\d)(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>[12]\d{3})(?!\d)"),
    re.compile(r"(?<![\w.,:/])(?P<decade>(?:1[5-9]|20)\d0|['’]?[2-9]0)['’]?s(?!\w)"),
    re.compile(r"(?<![\d.,:/-])(?P<from>1[5-9]\d\d|20\d\d) ?[-–—] ?(?P<to>1[5-9]\d\d|20\d\d|\d\d)(?!\d|[.,:/-]\d)"),
    re.compile(r"(?<![\d.,:/-])(?P<year>1[5-9]\d\d|20\d\d)(?![\d%]|[.,:/-]\d)"),
)


def dates(text: str) -> list[Date]:
    """The dates of a text, in its order; a year or a decade by itself is one, and each end of a range of years."""
    text = text.translate(_SPACES)
    taken: list[Date] = []
    windows = _windows(text, _DIGITS)
    for pattern in _DATES if windows else ():
        for start, end in windows:
            for found in pattern.finditer(text, start, end):
                if not any(d.start < found.end() and found.start() < d.end for d in taken):
                    taken += _dates(found)
    return sorted(taken, key=lambda date: date.start)


def _windows(text: str, places: re.Pattern[str]) -> list[tuple[int, int]]:
    """(start, end) of the stretches around what a pattern finds: the patterns that take a text apart are slow, and what they look
    for is rare."""
    found: list[tuple[int, int]] = []
    for place in places.finditer(text):
        start, end = max(0, place.start() - AROUND), place.end() + AROUND
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


def _dates(found: re.Match[str]) -> list[Date]:
    parts = found.groupdict()
    if decade := parts.get("decade"):
        year = int(decade[-2:]) + 1900 if len(decade) < 4 else int(decade)
        return [Date(year, 0, 0, *found.span(), decade=True)]
    if begin := parts.get("from"):
        end = parts["to"] if len(parts["to"]) == 4 else begin[:2] + parts["to"]
        if int(end) < int(begin):
            return [Date(int(begin), 0, 0, *found.span("from"))]
        return [Date(int(begin), 0, 0, *found.span("from")), Date(int(end), 0, 0, *found.span("to"))]
    month = _MONTHS[parts["name"].lower()] if parts.get("name") else int(parts.get("month") or 0)
    day, year = int(parts.get("day") or 0), int(parts.get("year") or 0)
    return [] if month > 12 or day > 31 else [Date(year, month, day, *found.span())]


def quantities(text: str) -> list[Quantity]:
    """The numbers of a text with their units, in its order."""
    return list(_quantities(text.translate(_SPACES)))


def _quantities(text: str) -> Iterator[Quantity]:
    windows = _windows(text.lower() if len(text.lower()) == len(text) else text, _MAY_COUNT)
    for found in (found for start, end in windows for found in _QUANTITY.finditer(text, start, end)):
        digits, spelled, scale = found["digits"], found["spelled"], found["scale"]
        if digits:
            value, step = _valued(digits)
        else:
            value, step = sum(_WORDS[word] for word in re.split("[ -]", spelled.lower())), 1.0
        factor = _SCALES[scale.lower()] if scale else 1.0
        unit = (found["unit"] or found["before"] or "").lower()
        kind, base = _UNITS.get(unit, ("", 1.0))
        if kind == "temperature":
            unit = unit.strip("°")[0]
        start = found.start("before") if found["before"] else found.start("digits" if digits else "spelled")
        yield Quantity(
            value * factor * base, kind, _CURRENCIES.get(unit, unit), step * factor * base, start, found.end(),
            bool(digits and _EITHER.fullmatch(digits)), value * factor,
        )  # fmt: skip


def _valued(digits: str) -> tuple[float, float]:
    """The value of a number as it is written anywhere, and what its last digit stands for."""
    plain = re.sub(r"[’' \u00a0\u202f]", "", digits)
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", plain):
        plain = plain.replace(",", "")
    elif re.fullmatch(r"\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?|\d{1,3}\.\d{3},\d+", plain):
        plain = plain.replace(".", "").replace(",", ".")
    plain = plain.replace(",", ".")
    if plain.count(".") > 1:
        plain = plain.replace(".", "")
    whole, _, fraction = plain.partition(".")
    zeros = len(whole) - len(whole.rstrip("0")) if not fraction and len(whole) > 1 else 0
    return float(plain), 10.0 ** (-len(fraction) if fraction else zeros)


def same(claimed: Quantity, there: Quantity) -> bool:
    """Whether a source's quantity is what a claim says, or rounds to it."""
    if claimed.kind and there.kind and claimed.kind != there.kind:
        return False
    if claimed.kind in ("money", "temperature") and there.kind == claimed.kind and claimed.unit != there.unit:
        return False
    if claimed.kind != there.kind:  # "seventeen or eighteen years": only one of them has its unit beside it
        return math.isclose(claimed.plain, there.plain, rel_tol=1e-9)
    for one in (1.0, 1000.0) if claimed.grouped else (1.0,):
        for other in (1.0, 1000.0) if there.grouped else (1.0,):
            if math.isclose(claimed.value * one, there.value * other, rel_tol=1e-9):
                return True
    finer = there.step < claimed.step
    return finer and abs(claimed.value - there.value) <= claimed.step / 2 * (1 + 1e-9)


def agrees(claimed: Date, there: Date) -> bool:
    """Whether a source's date says all that a claim's does, and nothing else; a year is one of its decade."""
    if claimed.decade:
        return there.year // 10 == claimed.year // 10
    return all(not one or one == other for one, other in zip(claimed[:3], there[:3], strict=True))
