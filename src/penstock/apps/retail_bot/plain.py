"""A shop's nouns from plain values, as JSON has them. The other way is `penstock.agents.actions.plain`. Whatever does not fit
exactly is refused with the place where it does not: what comes from another system is checked once, here."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from penstock.errors import BadRequest

__all__ = ["Misfit", "check_key", "read"]

KEY = re.compile(r"[\x21-\x7e]{1,200}")  # it must fit into a header

LONGEST = 10_000  # characters of one text
MOST = 100_000  # things in one list
AMOUNT = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,2})?")
_T = TypeVar("_T")


class Misfit(ValueError):
    """A value that is not what it should be."""


def read(kind: type[_T], value: Any, where: str = "") -> _T:
    """Raises Misfit. Fields that are not known are left out, so that another system may say more than we asked."""
    return typing.cast(_T, _read(kind, value, where or kind.__name__.lower()))


def check_key(key: Any) -> None:
    """Raises BadRequest for what cannot be the idempotency key of a change."""
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise BadRequest("the key of a change is a text of 1 to 200 letters, digits and signs")


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _object(kind, value, where)
    if kind is Any:
        return value
    if kind is str:
        if not isinstance(value, str) or len(value) > LONGEST:
            raise Misfit(f"{where} is no text, or too long")
        return value
    if kind is int:
        if type(value) is not int or abs(value) >= 1 << 63:
            raise Misfit(f"{where} is no whole number, or too large")
        return value
    if kind is Decimal:
        return _amount(value, where)
    if origin is Literal:
        if value not in inner:
            raise Misfit(f"{where} is none of {', '.join(map(str, inner))}")
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else _read(next(one for one in inner if one is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) > MOST:
            raise Misfit(f"{where} is no list, or too long")
        return tuple(_read(inner[0], one, f"{where}[{place}]") for place, one in enumerate(value))
    if not isinstance(value, Mapping) or len(value) > MOST:
        raise Misfit(f"{where} is no object")
    return {_read(str, name, where): _read(inner[1], one, f"{where}.{name[:50]}") for name, one in value.items()}


def _object(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise Misfit(f"{where} is no object")
    found = {}
    for name, (hint, needed) in _fields(kind).items():
        if name in value:
            found[name] = _read(hint, value[name], f"{where}.{name}")
        elif needed:
            raise Misfit(f"{where} has no {name}")
    return kind(**found)


@lru_cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    hints = typing.get_type_hints(kind)
    return {
        one.name: (hints[one.name], one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING)
        for one in dataclasses.fields(kind)
    }


def _amount(value: Any, where: str) -> Decimal:
    """An amount is a text with at most two decimals, and comes back with two."""
    if not isinstance(value, str) or not AMOUNT.fullmatch(value):
        raise Misfit(f"{where} is no amount such as '12.50'")
    return Decimal(value).quantize(Decimal("0.01"))
