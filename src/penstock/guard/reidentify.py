"""How well rows hide in each other once names are gone: k-anonymity (Samarati and Sweeney, 1998) of a table.

Columns such as age, postcode and profession name nobody, and together often do: quasi-identifiers. Rows that agree in all of
them are a group; who knows these things of a person finds them among k rows, k being the size of their group.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Risk", "quasi_identifiers", "risk"]

ENOUGH = 5  # rows in a group, as health authorities usually ask
_NAMES = re.compile(
    r"(^|[_\W])(age|alter|edad|âge|età|leeftijd|idade|wiek|ålder|yaş|возраст|年龄|年齢|나이|"
    r"birth\w*|dob|geb\w*|nacimiento|naissance|nascita|nascimento|"
    r"zip\w*|plz|post\w*|cep|cap|código_postal|index|"
    r"gender|sex\w*|geschlecht|género|genre|genere|geslacht|płeć|kön|cinsiyet|пол|性别|性別|성별|"
    r"city|town|ort|stadt|ciudad|ville|città|cidade|miasto|şehir|город|county|state|province|region|country|land|país|pays|"
    r"nation\w*|ethnic\w*|race|religion|marital\w*|civil\w*|job|profession|occupation|beruf|title|department|employer|"
    r"education|income|salary|height|weight|blood\w*|diagnosis_date|admi\w*_date|hire\w*|start_date)($|[_\W])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Risk:
    """What somebody who knows the quasi-identifiers of a person learns from a table."""

    rows: int
    columns: tuple[str, ...]  # taken as quasi-identifiers
    k: int  # the smallest group
    alone: float  # share of rows that are the only one in their group
    few: float  # share of rows in groups of fewer than 5
    found: float  # mean chance to pick the right row of a group: groups / rows
    distinct: Mapping[str, int]  # values of each of these columns


def quasi_identifiers(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The columns whose names say that they describe a person, in the order of the table."""
    names = dict.fromkeys(name for row in rows[:100] for name in row)
    return [name for name in names if _NAMES.search(name) and len({row.get(name, "") for row in rows}) > 1]


def risk(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> Risk:
    """How well the rows hide in each other. An empty table, or one without such columns, gives nobody away."""
    groups = Counter(tuple(row.get(name, "") for name in columns) for row in rows)
    if not rows or not columns:
        return Risk(len(rows), tuple(columns), len(rows), 0.0, 0.0, 0.0, {})
    alone = sum(size for size in groups.values() if size == 1)
    few = sum(size for size in groups.values() if size < ENOUGH)
    distinct = {name: len({row.get(name, "") for row in rows}) for name in columns}
    return Risk(
        len(rows),
        tuple(columns),
        min(groups.values()),
        alone / len(rows),
        few / len(rows),
        len(groups) / len(rows),
        distinct,
    )
