"""How one argument of an action is learnt from what somebody says: by its type, where its author says nothing else."""

from __future__ import annotations

import enum
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin

from penstock.agents.actions import Money, Text
from penstock.agents.talks import Talk
from penstock.agents.words import agreement, folded

__all__ = ["Finder", "Heard", "Several", "Slot", "choices_of", "finder", "is_free_text"]

MOST_SEVERAL: Final = 6
_NUMBER: Final = re.compile(
    r"(?<![\w.,#/-])\d{1,3}(?:[,’' ]\d{3})+(?:\.\d+)?(?![\w#/-])|(?<![\w.,#/-])\d+(?:[.,]\d+)?(?![\w#/-])"
)
_ONES: Final = "zero one two three four five six seven eight nine ten eleven twelve".split()
_DAYS: Final = {
    "today": 0,
    "tomorrow": 1,
    "yesterday": -1,
    "heute": 0,
    "morgen": 1,
    "gestern": -1,
    "hoy": 0,
    "manana": 1,
    "demain": 1,
    "oggi": 0,
    "domani": 1,
}
_WEEKDAYS: Final = [  # from Monday on, without accents
    "monday|montag|lunes|lundi|lunedi|segunda-feira|maandag",
    "tuesday|dienstag|martes|mardi|martedi|terca-feira|dinsdag",
    "wednesday|mittwoch|miercoles|mercredi|mercoledi|quarta-feira|woensdag",
    "thursday|donnerstag|jueves|jeudi|giovedi|quinta-feira|donderdag",
    "friday|freitag|viernes|vendredi|venerdi|sexta-feira|vrijdag",
    "saturday|samstag|sonnabend|sabado|samedi|sabato|zaterdag",
    "sunday|sonntag|domingo|dimanche|domenica|zondag",
]


class Heard(NamedTuple):
    """What a finder of an argument looks at."""

    text: str  # the message, or the part of it that this is about
    talk: Talk
    known: Mapping[str, Any]  # arguments that are known already
    asked: bool  # whether the person was asked for this argument, and the text is what they said to it


class Several(NamedTuple):
    """What a finder gives where more than one value fits: each with how people call it. The person is asked which."""

    values: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """How one argument of an action is learnt.

    ask: the question, with {names} of what is known. find: the value in what was said, None for none, `Several` where more than
    one fits; without, by the argument's type: a pattern, a choice, a number, an amount, a day. choices: quick replies.
    usual: a value where nothing was said, so that nobody is asked; None for none.
    """

    ask: str
    find: Callable[[Heard], Any] | None = None
    choices: Sequence[str] | Callable[[Heard], Sequence[str]] = ()
    usual: Callable[[Heard], Any] | None = None


Finder = Callable[[Heard], Any]


def finder(hint: Any) -> Finder | None:
    """What finds a value of a type in a text; None for a type whose values nobody says in one sentence."""
    hint, limits = _bare(hint)
    if found := _choices(hint):
        return lambda heard: _choice(heard, found)
    if hint is str:
        pattern = next((one.pattern for one in limits if isinstance(one, Text)), "")
        return (lambda heard: _pattern(heard, pattern)) if pattern else _free
    if hint is bool:
        return _truth
    if hint is int:
        return _whole
    if hint is Decimal:
        places = next((one.places for one in limits if isinstance(one, Money)), 2)
        return lambda heard: _amount(heard, places)
    return _day if hint is date else None


def is_free_text(hint: Any) -> bool:
    """Whether any text is a value, so that whatever is said might be one."""
    hint, limits = _bare(hint)
    return hint is str and not any(isinstance(one, Text) and one.pattern for one in limits)


def choices_of(hint: Any) -> tuple[str, ...]:
    """The values of a type that has few, as people read them."""
    hint, _ = _bare(hint)
    return tuple(str(one) for one in _choices(hint))


def _bare(hint: Any) -> tuple[Any, Sequence[Any]]:
    """A type without its limits and without "or nothing"."""
    limits: Sequence[Any] = ()
    if get_origin(hint) is Annotated:
        hint, *limits = get_args(hint)
    if get_origin(hint) in (typing.Union, types.UnionType):
        others = [one for one in get_args(hint) if one is not type(None)]
        if len(others) == 1:
            inner, more = _bare(others[0])
            return inner, [*limits, *more]
    return hint, limits


def _choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(one.value for one in hint)
    return ()


# ---------------------------------------------------------------- by type


def _one_of(found: Sequence[Any]) -> Any:
    """The only value; several where the person is to say which, none where too many fit."""
    values = list(dict.fromkeys(found))
    if len(values) == 1:
        return values[0]
    return Several(tuple((str(one), one) for one in values)) if 1 < len(values) <= MOST_SEVERAL else None


def _choice(heard: Heard, values: Sequence[Any]) -> Any:
    said = f" {_spaced(heard.text)} "
    found = [one for one in values if f" {_spaced(str(one))} " in said]
    found = [
        one for one in found if not any(one != other and _spaced(str(one)) in _spaced(str(other)) for other in found)
    ]
    if not found and heard.asked:
        near = get_close_matches(said.strip(), [_spaced(str(one)) for one in values], 1, 0.8)
        found = [one for one in values if near and _spaced(str(one)) == near[0]]
    return _one_of(found)


def _spaced(text: str) -> str:
    return " ".join(re.findall(r"\w+", folded(text)))


def _pattern(heard: Heard, pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = False
    looking = re2.compile(rf"(?:^|[^\w#])({pattern})(?:$|[^\w])", options)
    exact = re2.compile(pattern)
    found, at = list[str](), 0
    text = heard.text[:4_000]
    while (place := looking.search(text, at)) is not None and len(found) <= MOST_SEVERAL:
        value = place.group(1)
        found += [one for one in (value, value.upper(), value.lower()) if exact.fullmatch(one)][:1]
        at = max(place.end(1), at + 1)
    return _one_of(found)


def _free(heard: Heard) -> Any:
    return " ".join(heard.text.split()) or None if heard.asked else None


def _truth(heard: Heard) -> Any:
    said = agreement(heard.text) if heard.asked else "unclear"
    return {"yes": True, "no": False}.get(said)


def _whole(heard: Heard) -> Any:
    found = [int(one) for one in _digits(heard.text) if one.isdigit() and len(one) < 16]
    if not found:
        words = re.findall(r"\w+", folded(heard.text))
        found = [_ONES.index(one) for one in words if one in _ONES and (one != "one" or heard.asked)]
    return _one_of(found)


def _amount(heard: Heard, places: int) -> Any:
    numbers = [one for one in _digits(heard.text) if len(one) < 24 and len(one.partition(".")[2]) <= places]
    return _one_of([str(Decimal(one)) for one in numbers])


def _digits(text: str) -> list[str]:
    """Numbers as they stand in a text, with a point before the decimals."""
    found = []
    for one in _NUMBER.findall(text[:4_000]):
        plain = re.sub(r"[’' ]", "", one)
        if "," in plain and ("." in plain or re.fullmatch(r"\d{1,3}(?:,\d{3})+", plain)):
            plain = plain.replace(",", "")
        found.append(plain.replace(",", "."))
    return found


def _day(heard: Heard) -> Any:
    from penstock.text.quantities import dates

    said, today = folded(heard.text), date.today()
    written = [tuple(map(int, one)) for one in re.findall(r"\b(\d{4})-(\d\d)-(\d\d)\b", said)]
    written = written or [one[:3] for one in dates(heard.text[:4_000]) if all(one[1:3])]
    found = [day for year, *rest in written if (day := _iso(year, *rest) if year else _coming(*rest))]
    if not found:
        ahead = [days for word, days in _DAYS.items() if re.search(rf"\b{word}\b", said)]
        for n, names in enumerate(_WEEKDAYS):
            if re.search(rf"(?<!\blast )\b(?:{names})\b", said):
                ahead.append((n - today.weekday() - 1) % 7 + 1)  # the next one: today is called so
        found = [(today + timedelta(days=days)).isoformat() for days in ahead]
    return _one_of(found)


def _coming(month: int, day: int) -> str:
    """The next such day, from today on; "" for one that never comes."""
    today = date.today()
    years = range(today.year, today.year + 9)  # 29 February may be that far away
    return next((found for year in years if (found := _iso(year, month, day)) >= today.isoformat()), "")


def _iso(year: int, month: int, day: int) -> str:
    """A day as JSON has it; "" for one that is in no calendar."""
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return ""
