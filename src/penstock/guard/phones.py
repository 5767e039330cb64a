"""Phone numbers: which groups of digits can be one, and how sure that is without a word beside it.

Country codes and the numbers of each country come from phonenumbers' tables, read when first needed. Its parser is not used:
it takes some fifty microseconds for each number and country, and refuses numbers that are written as people write them.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Number", "phone"]

_REGIONS: Final = {
    "en": ("US", "GB", "AU", "IN", "IE", "ZA", "NZ"), "de": ("DE", "AT", "CH"), "fr": ("FR", "BE", "CH"),
    "es": ("ES", "MX", "AR", "CO", "CL"), "it": ("IT", "CH"), "nl": ("NL", "BE"), "pt": ("BR", "PT"), "pl": ("PL",),
    "sv": ("SE", "FI"), "tr": ("TR",), "ru": ("RU", "KZ"), "ar": ("SA", "EG", "AE", "MA", "DZ", "JO"),
    "hi": ("IN",),
    "ja": ("JP",), "ko": ("KR",), "zh": ("CN", "TW", "HK"), "": ("GB", "DE", "FR", "IT", "NL", "SE", "TR"),
}  # fmt: skip
_OFTEN_BARE: Final = frozenset(("pt", "tr", "hi"))  # the languages in which the trunk prefix is often left out
_BARE_SHAPES: Final = {  # groups of numbers without a trunk prefix, as they are written in these languages
    "es": ((3, 3, 3), (3, 2, 2, 2), (2, 3, 2, 2)), "pl": ((3, 3, 3), (2, 3, 2, 2)), "it": ((3, 7), (3, 3, 4), (3, 6)),
    "pt": ((2, 5, 4), (2, 4, 4), (3, 3, 3)), "tr": ((3, 3, 2, 2), (3, 3, 4), (3, 7)), "hi": ((5, 5), (2, 4, 4), (2, 8)),
}  # fmt: skip
_TRUNKED: Final = frozenset(("", "en", "de", "fr", "nl", "sv", "tr", "ar", "hi", "ja", "ko", "zh", "it"))
_EXTENSION: Final = re.compile(
    r"(?:[ ,;]{0,2}(?:x|ext\.?|extn\.?|extension|durchwahl|dw\.?|poste|int\.?|interno|ramal|toestel|tst\.?|wew\.?|anknytning|"
    r"dahili|доб\.?|内線|내선|分机|轉|转|تحويلة|एक्सटेंशन)[ .:]{0,2}[0-9]{1,6}|#[0-9]{1,5})(?![0-9A-Za-z])",
    re.I,
)
_JOINTS: Final = frozenset(("-", ".", ") ", ")", ")-", " ", " (", "(", "/", " / ", " - ", "-(", ") - ", ")/"))


_WIDE: Final = frozenset((" / ", "/", " - "))


class Span(Protocol):
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


class Number(NamedTuple):
    """plain[start:end] may be a phone number. rank: 3 is as sure as a check digit, 1 is nothing without a word beside it."""

    rank: float
    groups: int  # of the chain, that it takes
    start: int
    end: int
    rule: str
    digits: int = 0
    plus: bool = False
    loose: bool = False  # of a shape that numbers of any kind have


@cache
def _codes() -> frozenset[str]:
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    return frozenset(str(code) for code in COUNTRY_CODE_TO_REGION_CODE)


@cache
def _national(region: str, *, bare: bool) -> re.Pattern[str]:
    """The numbers of a country, with the trunk prefix where it has one. bare: it may be left out."""
    from phonenumbers.phonemetadata import PhoneMetadata

    table = PhoneMetadata.metadata_for_region(region)
    if table is None:
        raise LookupError(region)
    numbers = "|".join(
        kind.national_number_pattern
        for kind in (table.fixed_line, table.mobile, table.toll_free, table.premium_rate, table.voip, table.shared_cost)
        if kind is not None and kind.national_number_pattern
    )
    trunk = f"(?:{table.national_prefix})" if table.national_prefix else ""
    return re.compile(f"{trunk}{'?' if trunk and bare else ''}(?:{numbers})")


def _country_code(digits: str) -> str:
    for size in (1, 2, 3):
        if digits[:size] in _codes():
            return digits[:size]
    return ""


def phone(plain: str, groups: Sequence[Span], at: int, languages: Sequence[str]) -> Number | None:
    """What the groups of a chain from `at` on may be, read as one phone number. `plain` has ASCII digits only."""
    start = first = groups[at].start
    before = plain[max(0, first - 3) : first]
    plus = False
    if before.endswith("(+") or before.endswith("+("):
        start, plus = first - 2, True
    elif before.endswith("+"):
        start, plus = first - 1, True
    elif before.endswith(("+ ", "+-")):
        start, plus = first - 2, True
    elif before.endswith("("):
        start = first - 1
    if plus and start and plain[start - 1].isascii() and plain[start - 1].isalnum():
        return None
    last, digits = _extent(plain, groups, at, plus=plus)
    total = len(digits)
    if total < 6 or total > 15:
        return None
    end = groups[last].end
    if plain[start] == "(" and ")" not in plain[first:end]:  # (030 1234567)
        start = first - plus
    if extension := _EXTENSION.match(plain, end):
        end = extension.end()
    size = last - at + 1
    lengths = tuple(group.end - group.start for group in groups[at : last + 1])
    if plus or (digits.startswith("00") and total >= 10 and (size == 1 or lengths[0] <= 5)):
        found = _international(digits, size, start, end, plus=plus)
        if found or plus:
            return found
    if total > 13 or len(set(digits)) < 3 or lengths.count(1) > 2 or lengths[-1] == 1:
        return None
    if size == 1 and total == 8 and digits[:2] in ("19", "20"):
        return None  # a date
    gaps = [plain[groups[i].end : groups[i + 1].start] for i in range(at, last)]
    rank, rule = _in_country(digits, lengths, gaps, languages, bracket=plain[start] == "(")
    return Number(rank, size, start, end, rule, total, loose=rank == 1 and (size == 1 or total < 7))


def _extent(plain: str, groups: Sequence[Span], at: int, *, plus: bool) -> tuple[int, str]:
    """The last group that may belong to the number, and all its digits."""
    most = 15 if plus else 13
    digits = plain[groups[at].start : groups[at].end]
    if digits.startswith("00"):
        most = 15
    last = at
    for index in range(at + 1, min(len(groups), at + 8)):
        gap = plain[groups[index - 1].end : groups[index].start]
        more = plain[groups[index].start : groups[index].end]
        if gap not in _JOINTS or len(digits) + len(more) > most:
            break
        if len(digits) >= 9 and (len(more) >= 7 or (gap in (" / ", " - ", "/") and len(more) > 4)):
            break
        if len(digits) >= 10 and len(more) == 4 and more[:2] in ("19", "20") and gap == " " and not plus:
            break
        digits += more
        last = index
    return last, digits


def _international(digits: str, size: int, start: int, end: int, *, plus: bool) -> Number | None:
    bare = digits if plus else digits[2:]
    code = _country_code(bare)
    if not code or not 7 <= len(bare) <= 15 or len(bare) - len(code) < 5:
        return None
    if not plus and size == 1 and len(bare) < 10:
        return None
    return Number(
        3.2 if plus else 3.0, size, start, end, f"phone number with the country code +{code}", len(bare), plus
    )


def _in_country(
    digits: str, lengths: tuple[int, ...], gaps: Sequence[str], languages: Sequence[str], *, bracket: bool
) -> tuple[float, str]:
    """How sure it is that this is a number without a country code, and why."""
    total, size, zero = len(digits), len(lengths), digits[0] == "0" and digits[1] != "0"
    long = lengths[0] == 1 and digits[0] in "1780"  # 1-800-…
    local = digits[long:]
    if lengths[long:] == (3, 3, 4) and local[0] in "23456789" and local[3] in "23456789" and "/" not in gaps:
        return 2.2, "phone number of North America by its groups"
    if lengths == (2, 2, 2, 2, 2) and zero and len(set(gaps)) == 1:
        return 2.2, "French phone number by its groups"
    if bracket and 8 <= total <= 12 and 2 <= size <= 5:
        return 2.0, "phone number with its area in brackets"
    if total == 11 and digits[0] == "8" and "ru" in languages and (size > 1 or digits[1] in "3489"):
        return 2.0, "Russian phone number"
    if total == 11 and digits[0] == "1" and digits[1] in "3456789" and ("zh" in languages or lengths == (3, 4, 4)):
        return 2.0, "Chinese mobile number"
    grouped = size > 1 and (8 if "sv" in languages else 9) <= total <= 12 and min(lengths) > 1
    if zero and grouped and not _TRUNKED.isdisjoint(languages) and sum(gap in _WIDE for gap in gaps) < 2:
        return 1.8, "phone number with a trunk prefix, in groups"
    for language in languages if total >= 9 else ():
        bare = lengths in _BARE_SHAPES.get(language, ()) and "." not in gaps and "/" not in gaps
        if bare or (digits[0] == "0" and (size > 1 or (total >= 10 and language))):
            for region in _REGIONS.get(language, ()):
                if _national(region, bare=language in _OFTEN_BARE).fullmatch(digits):
                    return 1.4, f"phone number of {region}"
    return 1.0, "phone number"
