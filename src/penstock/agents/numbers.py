"""Whether what a reply says in numbers stands where it may come from: amounts, dates, counts, and codes such as an order's number.

A number is held against values, not against texts: 12.5 in a row is 12.50 in a sentence. What only the person has said may be
repeated to them; as an amount of money, a share or a time it may not. Numbers that are written as words are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from penstock.agents.talks import Row
from penstock.text.quantities import Date, dates

__all__ = ["Founded", "stands"]

LONGEST: Final = 20_000  # characters of one text that are looked at
_TOKEN: Final = re.compile(r"#?\w+(?:[.,:/’'\-]\w+)*")
_NUMBER: Final = re.compile(r"\d+(?:[.,’']\d+)*")
_MONEY_BEFORE: Final = re.compile(r"(?:[€$£¥₹]|\b(?:EUR|USD|GBP|CHF|US\$))\s?$", re.I)
_MONEY_AFTER: Final = re.compile(
    r"^\s?(?:[€$£¥₹]|(?:EUR|USD|GBP|CHF|JPY|PLN|SEK|NOK|DKK|euros?|dollars?|pounds?|francs?|zł|kr)\b)", re.I
)
# What stands behind a share or a span of time: a shop's rules are made of these, so that they are no echo either.
_TERM_AFTER: Final = re.compile(
    r"^[\s-]?(?:%|percent\b|per cent\b|prozent\b|por ciento\b|pour cent\b|per cento\b|procent\b"
    r"|(?:hours?|days?|weeks?|months?|years?|stunden?|tagen?|tage|wochen?|monaten?|monate|jahren?|jahre|heures?|jours?|semaines?"
    r"|mois|ans?|horas?|d[ií]as?|semanas?|mes(?:es)?|a[ñn]os?|ore|giorn[oi]|settiman[ae]|mes[ei]|ann[oi]|dias?|anos?|uren?|dagen?"
    r"|weken|maanden?|jaren?)\b)",
    re.I,
)
_CENTS: Final = re.compile(r"\d+[.,]\d\d")  # an amount, though no currency stands beside it
_LISTED: Final = re.compile(r"^[ \t]*(\d{1,2})[.)][ \t]", re.M)


@dataclass
class Founded:
    """What numbers may come from: rows as they were read, texts (quotes, what was read back, words of the author), and what the
    person has said, which may be echoed."""

    rows: Sequence[Row] = ()
    texts: Sequence[str] = ()
    echoes: Sequence[str] = ()
    _numbers: set[Decimal] = field(init=False, default_factory=set)
    _codes: set[str] = field(init=False, default_factory=set)
    _dates: list[Date] = field(init=False, default_factory=list)
    _counts: set[int] = field(
        init=False, default_factory=set
    )  # how many rows there are, and how many values a list has
    _said: Founded | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._counts = {len(self.rows), *(count for row in self.rows for count in _counts(row.values))}
        for row in self.rows:
            for value in _leaves(row.values):
                self._take(value)
            self._take_text(f"{row.source} {row.label}")
        for text in self.texts:
            self._take_text(text)
        if self.echoes:
            self._said = Founded(texts=self.echoes)

    def missing(self, text: str) -> list[str]:
        """The numbers, dates and codes of a text that stand nowhere, as they are written."""
        text = _without_places(text)
        found = []
        covered = [one for one in dates(text) if (one.day or one.month) and self._has_date(one)]
        for token in _TOKEN.finditer(text):
            if not any(letter.isdigit() for letter in token[0]):
                continue
            if any(one.start <= token.start() and token.end() <= one.end for one in covered):
                continue
            if not self._has(token[0]) and not self._counted_or_echoed(text, token):
                found.append(token[0])
        return found

    def _counted_or_echoed(self, text: str, token: re.Match[str]) -> bool:
        before, after = text[max(0, token.start() - 8) : token.start()], text[token.end() : token.end() + 12]
        if _MONEY_BEFORE.search(before) or _MONEY_AFTER.match(after) or _CENTS.fullmatch(token[0]):
            return False
        number = _NUMBER.match(token[0])
        if number and _TERM_AFTER.match(token[0][number.end() :] + after):  # "30 days", and "30-day"
            return False
        return self._counted(token[0]) or (self._said is not None and self._said._has(token[0]))

    def _counted(self, token: str) -> bool:
        return token.isdecimal() and len(token) < 9 and int(token) in self._counts

    def _has(self, token: str) -> bool:
        if token.casefold() in self._codes or _values(token) & self._numbers:
            return True
        if _NUMBER.fullmatch(token):
            return False
        parts = re.split(r"[\-/:]", token)
        if len(parts) > 1 and not all(part.isdigit() for part in parts):  # "10-day", and no date or time of pieces
            return all(
                self._has(part) or self._counted(part) for part in parts if any(letter.isdigit() for letter in part)
            )
        unit = re.fullmatch(r"(\d[\d.,’']*)([^\W\d_]{1,4})", token)  # "12.50EUR"
        return unit is not None and bool(_values(unit[1]) & self._numbers)

    def _has_date(self, said: Date) -> bool:
        return any(
            all(mine in (0, theirs) for mine, theirs in zip(said[:3], there[:3], strict=True))
            and there.decade == said.decade
            for there in (*self._dates, *(self._said._dates if self._said else ()))
        )

    def _take(self, value: Any) -> None:
        match value:
            case bool() | None:
                return
            case int() | Decimal():
                self._numbers |= {Decimal(value), abs(Decimal(value))}
            case float():
                self._numbers |= {Decimal(repr(value)), abs(Decimal(repr(value)))}
            case str():
                self._take_text(value)

    def _take_text(self, text: str) -> None:
        text = text[:LONGEST]
        if not any(map(str.isdigit, text)):
            return
        for token in _TOKEN.findall(text):
            if any(letter.isdigit() for letter in token):
                self._codes.add(token.casefold())
                self._numbers |= _values(token)
                if not _NUMBER.fullmatch(token):
                    unit = re.fullmatch(r"(\d[\d.,’']*)([^\W\d_]{1,4})", token)
                    self._numbers |= _values(unit[1]) if unit else set()
        self._dates += [one for one in dates(text) if one.year or one.month]


def stands(value: Any, text: str) -> bool:
    """Whether a value of a row is said in a text."""
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, int | float | Decimal):
        wanted = Decimal(repr(value) if isinstance(value, float) else value)
        return any(wanted in _values(token) for token in _TOKEN.findall(text) if token[0].isdigit())
    if isinstance(value, str) and re.fullmatch(r"-?\d+(?:\.\d+)?", value):  # an amount, as JSON has it
        return any(Decimal(value) in _values(token) for token in _TOKEN.findall(text) if token[0].isdigit())
    said = " ".join(str(value).split()).casefold()
    return bool(said) and re.search(rf"(?<!\w){re.escape(said)}(?!\w)", " ".join(text.split()).casefold()) is not None


def _without_places(text: str) -> str:
    """A text without the numbers in front of the lines of a list."""
    expected = 1
    for place in list(_LISTED.finditer(text)):
        if int(place[1]) == expected:
            text = f"{text[: place.start(1)]}{' ' * len(place[1])}{text[place.end(1) :]}"
            expected += 1
    return text


def _leaves(value: Any) -> Iterator[Any]:
    """The single values of a row."""
    if isinstance(value, Mapping | list | tuple):
        inside: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
        for one in inside:
            yield from _leaves(one)
    else:
        yield value


def _counts(value: Any) -> Iterator[int]:
    """How many values each list of a row has."""
    if isinstance(value, list | tuple):
        yield len(value)
    if isinstance(value, Mapping | list | tuple):
        inside: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
        for one in inside:
            yield from _counts(one)


def _values(token: str) -> set[Decimal]:
    """What a number may be worth: "1.500" is one and a half, or fifteen hundred."""
    if not _NUMBER.fullmatch(token) or len(token) > 40:
        return set()
    plain = re.sub(r"[’']", "", token)
    readings = {plain.replace(",", "."), plain.replace(".", "").replace(",", "."), plain.replace(",", "")}
    if re.fullmatch(r"\d{1,3}(?:[.,]\d{3})+", plain):
        readings.add(re.sub(r"[.,]", "", plain))
    found = set()
    for one in readings:
        if one.count(".") > 1 or (
            one.count(".") == 1 and plain.count(".") + plain.count(",") > 1 and not _grouped(plain)
        ):
            continue
        try:
            found.add(Decimal(one))
        except InvalidOperation:
            continue
    if _grouped(plain) and "," in plain and "." in plain:
        first = "," if plain.index(",") < plain.index(".") else "."
        found = {Decimal(plain.replace(first, "").replace(",", "."))}
    if re.fullmatch(r"\d+\.\d+", plain) and not re.fullmatch(r"\d{1,3}\.\d{3}", plain):
        found = {Decimal(plain)}  # 12.50 is never 1250
    if re.fullmatch(r"\d+,\d+", plain) and not re.fullmatch(r"\d{1,3},\d{3}", plain):
        found = {Decimal(plain.replace(",", "."))}
    return found


def _grouped(plain: str) -> bool:
    """Whether it has groups of three digits, and perhaps decimals."""
    return re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})+(?:,\d+)?", plain) is not None
